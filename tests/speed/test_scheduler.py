"""The scheduler takes at most half of Trio's time for the same code. `benchmarks/scheduler.py` measures it properly."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

BOUND = 0.5
ROUNDS = 5
MOST_ROUNDS = 40
"""A busy machine disturbs a round, not forty: the ratio is of CPU times, and both sides take turns."""

SHARE = 10
"""The size of the benchmark's programs divided by this."""


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "scheduler.py"
    spec = importlib.util.spec_from_file_location("scheduler_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


benchmark: Any = _benchmark()


@pytest.mark.parametrize(
    ("program", "count"), [case[1:] for case in benchmark.PROGRAMS], ids=[case[1].__name__ for case in benchmark.PROGRAMS]
)
def test_it_takes_at_most_half_of_trios_time(program: Any, count: int, anyio_backend: str) -> None:
    figures = benchmark.measure(program, count, anyio_backend, ROUNDS)
    while median(figures.ratios) > BOUND and len(figures.ratios) < MOST_ROUNDS:
        benchmark.measure(program, count, anyio_backend, ROUNDS, figures)
    ratio = median(figures.ratios)
    assert ratio <= BOUND, f"{program.__name__}: {ratio:.2f} of Trio's time in {len(figures.ratios)} rounds"
