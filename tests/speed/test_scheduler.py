"""The scheduler takes at most half of Trio's time for the same code. `benchmarks/scheduler.py` measures it properly."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from .benchmark import load

BOUND = 0.5
ROUNDS = 5
MOST_ROUNDS = 40
"""A busy machine disturbs a round, not forty: the ratio is of CPU times, and both sides take turns."""

SHARE = 10
"""The size of the benchmark's programs divided by this."""


benchmark = load("scheduler")
CASES = [pytest.param(program, count // SHARE, id=program.__name__) for _, program, count in benchmark.PROGRAMS]


@pytest.mark.parametrize(("program", "count"), CASES)
def test_it_takes_at_most_half_of_trios_time(program: Any, count: int, anyio_backend: str) -> None:
    figures = benchmark.measure(program, count, anyio_backend, ROUNDS)
    while median(figures.ratios) > BOUND and len(figures.ratios) < MOST_ROUNDS:
        benchmark.measure(program, count, anyio_backend, ROUNDS, figures)
    ratio = median(figures.ratios)
    assert ratio <= BOUND, f"{program.__name__}: {ratio:.2f} of Trio's time in {len(figures.ratios)} rounds"
