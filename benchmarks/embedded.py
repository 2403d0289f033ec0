"""Measures the embedded engine on a file: `python benchmarks/embedded.py [--peer] [--backend trio] [--seconds 5]`.

Prints, for a no-op workflow, the time from start to result one at a time and the rate with 50 at a time; the rate of workflows
with ten sequential activities; the process's CPU time a workflow; and the device's own fdatasync, measured in the same
run: absolute numbers mean nothing without it. With --peer the same program shape runs on DBOS with SQLite, in a
process of its own, and the ratios are printed: those can be compared between machines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from uuid import uuid4

import anyio

from durable_anyio import Client, Worker, activity, workflow

CONCURRENCY = 50
ACTIVITIES = 10
TASK_QUEUE = "benchmark"


@dataclass
class Figures:
    """One program's results; higher is better for the rates, lower for the rest."""

    noop_p50_ms: float
    noop_p99_ms: float
    noop_per_s: float
    noop_cpu_ms: float
    ten_activities_per_s: float
    ten_activities_cpu_ms: float


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def add_one(number: int) -> int:
    return number + 1


@workflow.defn
class Noop:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


@workflow.defn
class TenActivities:
    @workflow.run
    async def run(self, number: int) -> int:
        for _ in range(ACTIVITIES):
            number = await add_one(number)
        return number


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


async def ours(directory: str, seconds: float) -> Figures:
    async with (
        Client.connect(f"sqlite:{directory}/benchmark.db") as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Noop, TenActivities], activities=[add_one]),
    ):

        async def noop() -> None:
            assert await client.execute_workflow(Noop.run, 7, id=uuid4().hex, task_queue=TASK_QUEUE) == 7

        async def ten() -> None:
            result = await client.execute_workflow(TenActivities.run, 7, id=uuid4().hex, task_queue=TASK_QUEUE)
            assert result == 7 + ACTIVITIES

        return await measure(noop, ten, seconds)


async def peer(directory: str, seconds: float) -> Figures:
    """The same on DBOS: steps instead of activities, its SQLite system database on the same device."""
    from dbos import DBOS

    config = {
        "name": "benchmark",
        "system_database_url": f"sqlite:///{directory}/dbos.sqlite",
        "log_level": "ERROR",
        "run_admin_server": False,
    }
    DBOS(config=config)

    @DBOS.step()
    async def step(number: int) -> int:
        return number + 1

    @DBOS.workflow()
    async def noop_workflow(number: int) -> int:
        return number

    @DBOS.workflow()
    async def ten_workflow(number: int) -> int:
        for _ in range(ACTIVITIES):
            number = await step(number)
        return number

    DBOS.launch()

    async def noop() -> None:
        assert await (await DBOS.start_workflow_async(noop_workflow, 7)).get_result() == 7

    async def ten() -> None:
        assert await (await DBOS.start_workflow_async(ten_workflow, 7)).get_result() == 7 + ACTIVITIES

    try:
        return await measure(noop, ten, seconds)
    finally:
        DBOS.destroy()


def fdatasync_p50_ms(directory: str) -> float:
    """The device's share: a 4 KiB overwrite made durable."""
    file = os.open(Path(directory, "sync"), os.O_RDWR | os.O_CREAT)
    sync = getattr(os, "fdatasync", os.fsync)
    durations = []
    for _ in range(200):
        os.pwrite(file, os.urandom(4096), 0)
        begin = time.perf_counter()
        sync(file)
        durations.append(time.perf_counter() - begin)
    os.close(file)
    return median(durations) * 1e3


def child(role: str, options: argparse.Namespace) -> Figures:
    """A process of its own: neither side pays for what the other imported or left running."""
    command = [sys.executable, __file__, "--role", role, "--backend", options.backend, "--seconds", str(options.seconds)]
    if options.directory:
        command += ["--directory", options.directory]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def report(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        sync_before = fdatasync_p50_ms(directory)
        mine = child("ours", options)
        other = child("peer", options) if options.peer else None
        sync_after = fdatasync_p50_ms(directory)
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {options.backend}; {CONCURRENCY} at a time where not said otherwise")
    print(f"fdatasync of 4 KiB, p50: {sync_before:.2f} ms before, {sync_after:.2f} ms after\n")
    print(f"{'':44}{'durable_anyio':>14}" + (f"{'DBOS':>12}{'ratio':>9}" if other else ""))
    rows = [
        ("no-op, one at a time, p50 (ms)", "noop_p50_ms", False),
        ("no-op, one at a time, p99 (ms)", "noop_p99_ms", False),
        ("no-op (workflows/s)", "noop_per_s", True),
        ("no-op, CPU of the process (ms/workflow)", "noop_cpu_ms", False),
        (f"{ACTIVITIES} sequential activities (workflows/s)", "ten_activities_per_s", True),
        (f"{ACTIVITIES} activities, CPU (ms/workflow)", "ten_activities_cpu_ms", False),
    ]
    for label, name, more_is_better in rows:
        value = getattr(mine, name)
        text = f"{label:44}{value:>14.2f}"
        if other:
            theirs = getattr(other, name)
            # Above 1 is better for us, in every row.
            text += f"{theirs:>12.2f}{(value / theirs if more_is_better else theirs / value):>8.2f}x"
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="measure DBOS on SQLite too (pip install dbos)")
    parser.add_argument(
        "--backend", choices=["asyncio", "trio"], default="asyncio", help="the host of durable_anyio; DBOS has asyncio only"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each figure is measured")
    parser.add_argument("--directory", help="where the databases go (default: the system's temporary directory)")
    parser.add_argument("--role", choices=["ours", "peer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is None:
        report(options)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        if options.role == "ours":
            figures = anyio.run(ours, directory, options.seconds, backend=options.backend)
        else:
            figures = anyio.run(peer, directory, options.seconds)
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
