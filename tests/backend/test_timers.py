"""Which timer commands sleeps and deadlines make, and when."""

from __future__ import annotations

import math

import anyio
import pytest
from anyio.lowlevel import checkpoint

from durable_anyio._backend import Cancelled

from .recorder import Run


def test_a_sleep_starts_its_timer_where_the_program_stands() -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            group.start_soon(anyio.sleep, 0.0001)
            with anyio.move_on_after(9):
                await anyio.sleep(0.3)

    run = Run()
    task = run.spawn(main)
    assert run.step() == [("start", 1, 0.3), ("start", 2, 5.0), ("start", 3, 0.001), ("start", 4, 9.0)]
    assert run.fire(3) == []
    assert run.fire(1) == [("cancel", 4, None)]
    assert run.scheduler.current_time == 0.3
    run.fire(2)
    assert task.done
    assert run.scheduler.current_time == 5


def test_a_timeout_that_is_never_waited_for_costs_nothing() -> None:
    async def main() -> None:
        for _ in range(3):
            with anyio.fail_after(10):
                await checkpoint()
        with anyio.CancelScope(deadline=math.inf):
            with anyio.CancelScope(deadline=-1) as past:
                await anyio.sleep(1)
            assert past.cancelled_caught
            await anyio.sleep(0)  # noqa: ASYNC115 - that it is a checkpoint is what is tested

    run = Run()
    task = run.spawn(main)
    assert run.step() == []
    task.outcome()


def test_deadlines_get_timers_in_entry_order_after_the_other_commands() -> None:
    async def main() -> None:
        with anyio.move_on_after(30) as outer, anyio.move_on_after(20), anyio.CancelScope() as late:
            outer.deadline = 25
            late.deadline = 10
            await anyio.sleep(40)

    run = Run()
    run.spawn(main)
    assert run.step() == [("start", 1, 40.0), ("start", 2, 25.0), ("start", 3, 20.0), ("start", 4, 10.0)]


def test_shortening_restarts_and_lengthening_waits_for_the_firing() -> None:
    run = Run()
    scopes: list[anyio.CancelScope] = []

    async def main() -> None:
        with anyio.move_on_after(30) as entered:
            scopes.append(entered)
            await anyio.sleep_forever()

    task = run.spawn(main)
    assert run.step() == [("start", 1, 30.0)]
    (scope,) = scopes
    scope.deadline = 20
    assert run.step() == [("cancel", 1, None), ("start", 2, 20.0)]
    scope.deadline = 50
    assert run.step() == []
    assert run.fire(2) == [("start", 3, 30.0)]
    assert run.scheduler.current_time == 20
    scope.deadline = math.inf
    assert run.step() == [("cancel", 3, None)]
    scope.deadline = 5  # in the past
    assert run.step() == []
    assert task.done


def test_a_rounded_deadline_is_reached_when_it_fires() -> None:
    async def main() -> None:
        await anyio.sleep(0.1)
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.2):
                await anyio.sleep_forever()

    run = Run()
    task = run.spawn(main)
    run.step()
    assert run.fire(1) == [("start", 2, 0.2)]
    run.fire(2)
    task.outcome()


def test_a_sleep_wins_over_a_deadline_of_the_same_instant_and_the_cancellation_stays() -> None:
    seen = []

    async def main() -> None:
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(5)
            seen.append("slept")
            assert scope.cancel_called
            await checkpoint()
            seen.append("unreachable")
        assert scope.cancelled_caught

    run = Run()
    task = run.spawn(main)
    run.step()
    run.fire(2, 1)
    task.outcome()
    assert seen == ["slept"]


def test_a_cancelled_sleep_cancels_its_timer() -> None:
    async def main() -> None:
        await anyio.sleep(5)

    run = Run()
    task = run.spawn(main)
    run.step()
    task.cancel("enough")
    assert run.step() == [("cancel", 1, None)]
    with pytest.raises(Cancelled, match="enough"):
        task.outcome()


def test_sleep_in_a_cancelled_scope_emits_nothing() -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(5)

    run = Run()
    task = run.spawn(main)
    assert run.step() == []
    task.outcome()


def test_the_clock_never_goes_back() -> None:
    run = Run()
    run.scheduler.advance(3)
    run.scheduler.advance(2)
    assert run.scheduler.current_time == 3


def test_changed_deadlines_get_their_timers_in_entry_order() -> None:
    scopes: list[anyio.CancelScope] = []

    async def main() -> None:
        with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
            scopes.extend((outer, inner))
            await anyio.sleep_forever()

    run = Run()
    run.spawn(main)
    assert run.step() == []
    scopes[1].deadline = 7
    scopes[0].deadline = 8
    assert run.step() == [("start", 1, 8.0), ("start", 2, 7.0)]


def test_a_deadline_moved_into_the_past_and_back_does_nothing() -> None:
    async def main() -> bool:
        with anyio.CancelScope() as scope:
            scope.deadline = -1
            scope.deadline = math.inf
            await checkpoint()
        return scope.cancelled_caught

    run = Run()
    task = run.spawn(main)
    run.step()
    assert not task.outcome()


def test_a_cancelled_scope_gives_its_timer_up_at_once() -> None:
    async def main() -> None:
        with anyio.move_on_after(5) as scope:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
                scope.cancel()
                await anyio.sleep(1)

    run = Run()
    run.spawn(main)
    assert run.step() == [("start", 1, 1.0), ("start", 2, 5.0)]
    assert run.fire(1) == [("cancel", 2, None), ("start", 3, 1.0)]


def test_the_noise_of_a_difference_is_no_millisecond() -> None:
    async def main() -> None:
        await anyio.sleep(0.1)
        await anyio.sleep_until(0.1 + 0.2)

    run = Run()
    run.spawn(main)
    assert run.step() == [("start", 1, 0.1)]
    assert run.fire(1) == [("start", 2, 0.2)]
