"""What an idle cached run costs in Python. `benchmarks/memory.py` measures the whole process, Rust included."""

from __future__ import annotations

import gc
import tracemalloc

from .benchmark import load

BOUND = 12 * 1024
"""Bytes of a run that waits in three tasks, at an event and a timer. 9,800 in Python 3.11; interpreters differ by a kilobyte."""

RUNS = 200

benchmark = load("memory")


def test_an_idle_run_is_small() -> None:
    host = benchmark.new_host(lambda data: None)
    benchmark.grow_python(host, 0, RUNS)  # fills what is shared: caches, and the keys of dictionaries
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        benchmark.grow_python(host, RUNS, RUNS)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        host.close()
    assert (after - before) / RUNS <= BOUND
