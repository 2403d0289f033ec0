"""Measures the CPU that an activation costs the Python thread: `python benchmarks/activation.py [--backend trio] [--profile]`.

Workflows that do nothing are started first; then a worker takes them, 50 at a time, with nothing else to do in the thread. Everything the
thread does is counted: waiting for the descriptor, crossing into Rust, protobuf, the scheduler, the answer. Each workflow has two
activations: the one that runs it, and the order to forget it. The Rust side should be built for release.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import platform
import pstats
import tempfile
import time
from statistics import median

import anyio

from durable_anyio import Client, Worker, workflow

TASK_QUEUE = "benchmark"
BATCH = 50


@workflow.defn
class Noop:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


class Count:
    """Counts a worker's answers, and says when they are all there."""

    def __init__(self, worker: Worker, expected: int) -> None:
        self.left = expected
        self.done = anyio.Event()
        self._send = worker._host._send
        worker._host._send = self.send

    def send(self, data: bytes) -> None:
        self._send(data)
        self.left -= 1
        if self.left == 0:
            self.done.set()


async def measure(runs: int, profile: cProfile.Profile | None) -> float:
    """CPU seconds of this thread for one workflow."""
    with tempfile.TemporaryDirectory() as directory:
        async with Client.connect(f"sqlite:{directory}/benchmark.db") as client:

            async def start(numbers: range) -> None:
                for number in numbers:
                    await client.start_workflow(Noop.run, number, id=f"benchmark-{number}", task_queue=TASK_QUEUE)

            async with anyio.create_task_group() as group:
                for offset in range(BATCH):
                    group.start_soon(start, range(offset, runs, BATCH))
            worker = Worker(client, task_queue=TASK_QUEUE, workflows=[Noop], max_concurrent_workflow_tasks=BATCH)
            count = Count(worker, 2 * runs)
            gc.collect()
            begin = time.thread_time()
            if profile is not None:
                profile.enable()
            async with worker:
                await count.done.wait()
                if profile is not None:
                    profile.disable()
                return (time.thread_time() - begin) / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--runs", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead, which makes it longer")
    options = parser.parse_args()
    if options.profile:
        profile = cProfile.Profile(time.thread_time)
        anyio.run(measure, options.runs, profile, backend=options.backend)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    figures = [anyio.run(measure, options.runs, None, backend=options.backend) * 1e6 for _ in range(options.rounds)]
    print(
        f"Python {platform.python_version()} on {options.backend}, {options.rounds} rounds of {options.runs} workflows, {BATCH} at a time"
    )
    print(f"CPU of the Python thread: {median(figures):.0f} µs a workflow ({min(figures):.0f} to {max(figures):.0f}), two activations")


if __name__ == "__main__":
    main()
