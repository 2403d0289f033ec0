"""Workflow time: it stands still in a step, starts at 0, and what fires finds it exactly at its deadline."""

from __future__ import annotations

import math

import anyio
import pytest
from anyio.lowlevel import checkpoint

from .recorder import Run

pytestmark = pytest.mark.anyio


async def test_sleep_until_waits_for_the_instant() -> None:
    start = anyio.current_time()
    await anyio.sleep_until(start + 7)
    assert anyio.current_time() == start + 7
    await anyio.sleep_until(start)
    assert anyio.current_time() == start + 7


async def test_sleep_forever_ends_only_by_cancellation() -> None:
    with anyio.move_on_after(1_000_000) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_sleeping_for_infinity_is_sleeping_for_ever() -> None:
    with anyio.move_on_after(5) as scope:
        await anyio.sleep(math.inf)
    assert scope.cancelled_caught


async def test_sleeps_end_in_the_order_of_their_instants() -> None:
    order: list[float] = []

    async def sleeper(seconds: float) -> None:
        await anyio.sleep(seconds)
        order.append(seconds)

    async with anyio.create_task_group() as group:
        for seconds in (3, 1, 2.5, 2):
            group.start_soon(sleeper, seconds)
    assert order == [1, 2, 2.5, 3]


def test_time_stands_still_in_a_step() -> None:
    seen: list[float] = []

    async def main() -> None:
        for _ in range(3):
            for _ in range(100):
                seen.append(anyio.current_time())
                await checkpoint()
            await anyio.sleep(0.25)

    run = Run()
    run.spawn(main)
    run.step()
    run.fire(1)
    run.fire(2)
    assert seen == [0.0] * 100 + [0.25] * 100 + [0.5] * 100


def test_time_counts_from_the_start_of_the_run() -> None:
    """Seconds since 1970 as a float would lose the microseconds: 1.7e9 + 0.3 - 1.7e9 is 0.2999999523162842."""
    seen: list[float] = []

    async def main() -> None:
        start = anyio.current_time()
        await anyio.sleep(0.3)
        seen.append(anyio.current_time() - start)

    run = Run()
    run.spawn(main)
    run.step()
    run.fire(1)
    assert seen == [0.3]


def test_the_time_of_an_activation_moves_the_clock_and_a_late_one_does_not_move_it_back() -> None:
    run = Run()
    run.scheduler.advance(10)
    assert run.scheduler.call(anyio.current_time) == 10
    run.scheduler.advance(4)
    assert run.scheduler.call(anyio.current_time) == 10


@pytest.mark.parametrize("timeout", [0.0004, 0.0014, 1 / 3, 0.1 + 0.2])
def test_a_timer_is_never_rounded_down(timeout: float) -> None:
    """A timer that fires too early leaves `fail_after` without its `TimeoutError`: it compares the clock with its deadline."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(timeout):
                await anyio.sleep_forever()

    run = Run()
    task = run.spawn(main)
    ((_, timer, seconds),) = run.step()
    assert seconds is not None
    assert timeout - 1e-9 <= seconds < timeout + 0.001
    assert seconds * 1000 == round(seconds * 1000)
    run.scheduler.advance(seconds)
    run.fire(timer)
    task.outcome()
