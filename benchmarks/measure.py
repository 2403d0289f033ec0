"""What is measured, and how: shared by the programs that are compared, so that they are measured alike. Knows none of them."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from statistics import median, quantiles

import anyio

CONCURRENCY = 50
ACTIVITIES = 10


@dataclass
class Figures:
    """One program's results; higher is better for the rates, lower for the rest."""

    noop_p50_ms: float
    noop_p99_ms: float
    noop_per_s: float
    noop_cpu_ms: float
    ten_activities_per_s: float
    ten_activities_cpu_ms: float


Once = Callable[[], Awaitable[None]]


async def one_at_a_time(once: Once, seconds: float) -> list[float]:
    """Durations in seconds."""
    durations = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await once()
        durations.append(time.perf_counter() - begin)
    return durations


async def many_at_a_time(once: Once, seconds: float) -> tuple[float, float]:
    """(workflows a second, CPU seconds a workflow) with CONCURRENCY of them under way."""
    done = 0
    begin, cpu = time.perf_counter(), time.process_time()

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() - begin < seconds:
            await once()
            done += 1

    async with anyio.create_task_group() as group:
        for _ in range(CONCURRENCY):
            group.start_soon(loop)
    return done / (time.perf_counter() - begin), (time.process_time() - cpu) / done


async def measure(noop: Once, ten: Once, seconds: float) -> Figures:
    await many_at_a_time(noop, 0.5)  # warms up imports, caches and pollers
    durations = await one_at_a_time(noop, seconds)
    noop_rate, noop_cpu = await many_at_a_time(noop, seconds)
    ten_rate, ten_cpu = await many_at_a_time(ten, seconds)
    return Figures(median(durations) * 1e3, quantiles(durations, n=100)[98] * 1e3, noop_rate, noop_cpu * 1e3, ten_rate, ten_cpu * 1e3)


Program = Callable[[str, float], Awaitable[Figures]]


def run_program(program: Program, backend: str = "asyncio") -> None:
    """The main function of a measured process: `SCRIPT DIRECTORY SECONDS`, figures as JSON on the last line of its output."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as directory:
        figures = anyio.run(program, directory, float(sys.argv[2]), backend=backend)
    print(json.dumps(asdict(figures)))
