"""Measures the durable scheduler against Trio: `python benchmarks/scheduler.py [--backend trio] [--rounds 15]`.

The same AnyIO code runs as one workflow step on the host, making the run, entering and leaving the step included, and under `trio.run`,
without starting and ending Trio. The two take turns, so that both meet the same disturbances. Times are the thread's CPU; a ratio is the
median of the rounds', with the smallest and the largest beside it. Below 1 is faster than Trio.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

import anyio
import anyio.lowlevel
import trio

from durable_anyio._backend import Scheduler, VirtualTimers, register

Program = Callable[[int], Awaitable[None]]


async def tasks(count: int) -> None:
    """Spawn tasks and join them."""

    async def child() -> None:
        pass

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(child)


async def events(count: int) -> None:
    """Two tasks that wake each other, by a new event each time."""
    pings = [anyio.Event() for _ in range(count // 2)]
    pongs = [anyio.Event() for _ in range(count // 2)]

    async def answer() -> None:
        for ping, pong in zip(pings, pongs, strict=True):
            await ping.wait()
            pong.set()

    async with anyio.create_task_group() as group:
        group.start_soon(answer)
        for ping, pong in zip(pings, pongs, strict=True):
            ping.set()
            await pong.wait()


async def stream(count: int) -> None:
    """One task sends, another receives; no buffer, so that each item is a hand-over."""
    send, receive = anyio.create_memory_object_stream[int](0)

    async def sender() -> None:
        async with send:
            for number in range(count):
                await send.send(number)

    async with anyio.create_task_group() as group, receive:
        group.start_soon(sender)
        received = [item async for item in receive]
    assert len(received) == count


async def scopes(count: int) -> None:
    """Timeouts that nothing waits for, one after the other, with a checkpoint in each."""
    for _ in range(count):
        with anyio.move_on_after(10):
            await anyio.lowlevel.checkpoint()


async def cancelling(count: int) -> None:
    """Tasks that wait for ever, cancelled at once."""
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(anyio.sleep_forever)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


PROGRAMS: list[tuple[str, Program, int]] = [
    ("tasks spawned and joined", tasks, 1_000),
    ("event hand-overs", events, 10_000),
    ("memory-stream items", stream, 10_000),
    ("scopes in sequence", scopes, 1_000),
    ("tasks cancelled", cancelling, 1_000),
]


@dataclass
class Figures:
    """CPU seconds of each round: what else the machine does must not count."""

    durable: list[float]
    trio: list[float]

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.durable, self.trio, strict=True)]


async def on_durable(program: Program, count: int) -> float:
    """Seconds for a run of one task, from its start to its end, in a step of the running host."""
    begin = time.thread_time()
    scheduler = Scheduler(VirtualTimers())
    task = scheduler.spawn(program, (count,), name="benchmark")
    assert scheduler.run()
    scheduler.settle()
    task.outcome()
    scheduler.close()
    return time.thread_time() - begin


async def on_trio(program: Program, count: int) -> float:
    """Seconds, inside a Trio that runs already."""
    begin = time.thread_time()
    await program(count)
    return time.thread_time() - begin


def measure(program: Program, count: int, backend: str, rounds: int, figures: Figures | None = None) -> Figures:
    """Both take turns; the first round of each, which warms up, does not count. With `figures`, adds rounds to them."""
    register()
    figures = figures or Figures([], [])
    for number in range(rounds + 1):
        gc.collect()
        durable = anyio.run(on_durable, program, count, backend=backend)
        gc.collect()
        theirs = trio.run(on_trio, program, count)
        if number:
            figures.durable.append(durable)
            figures.trio.append(theirs)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio", help="the host of the durable step")
    parser.add_argument("--rounds", type=int, default=15, help="how often each program runs on either side")
    options = parser.parse_args()
    versions = f"Python {platform.python_version()}, Trio {trio.__version__}, {os.cpu_count()} CPUs"
    print(f"{versions}, step on {options.backend}, {options.rounds} rounds\n")
    print(f"{'':36}{'durable (ms)':>14}{'Trio (ms)':>12}{'ratio':>8}   smallest to largest")
    for label, program, count in PROGRAMS:
        figures = measure(program, count, options.backend, options.rounds)
        ratios = figures.ratios
        ours, theirs = median(figures.durable) * 1e3, median(figures.trio) * 1e3
        print(f"{count:<8,}{label:28}{ours:>14.1f}{theirs:>12.1f}{median(ratios):>8.2f}   {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
