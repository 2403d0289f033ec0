"""Synchronization primitives: fairness, checkpoints, limits."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from durable_anyio._backend import VirtualRun


def test_waiting_for_a_set_event_is_a_full_checkpoint() -> None:
    async def main() -> None:
        event = anyio.Event()
        event.set()

        async def wait() -> None:
            await event.wait()
            pytest.fail("the scope was cancelled while the others ran")

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await checkpoint()
            group.cancel_scope.cancel()

    VirtualRun().run(main)


def test_a_released_lock_goes_to_the_first_waiter() -> None:
    order: list[int] = []

    async def main() -> None:
        lock = anyio.Lock(fast_acquire=True)

        async def greedy(number: int) -> None:
            for _ in range(2):
                async with lock:
                    order.append(number)
                    await checkpoint()

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(greedy, number)

    VirtualRun().run(main)
    assert order == [0, 1, 2, 0, 1, 2]


def test_a_cancelled_waiter_leaves_the_queue() -> None:
    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)
        await limiter.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(limiter.acquire_on_behalf_of, "impatient")
            await anyio.wait_all_tasks_blocked()
            assert limiter.statistics().tasks_waiting == 1
            group.cancel_scope.cancel()
        assert limiter.statistics().tasks_waiting == 0
        limiter.release()
        assert limiter.available_tokens == 1

    VirtualRun().run(main)


def test_start_reports_what_happened_before_started() -> None:
    async def fails(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await checkpoint()
        raise ValueError("too early")

    async def forgets(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await checkpoint()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with pytest.raises(ValueError, match="too early"):
                await group.start(fails)
            with pytest.raises(RuntimeError, match=r"without calling task_status\.started"):
                await group.start(forgets)
            await checkpoint()

    VirtualRun().run(main)


def test_a_shield_taken_away_lets_the_cancellation_in() -> None:
    async def main() -> float:
        with anyio.move_on_after(1):
            with anyio.CancelScope(shield=True) as shield:
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 10)
                    await anyio.sleep(3)
                    shield.shield = False
                    await anyio.sleep(3)
        return anyio.current_time()

    assert VirtualRun().run(main) == 3


def test_the_lock_of_an_ended_owner_is_held_and_breaks_those_who_wait_for_it() -> None:
    seen: list[str] = []

    async def main() -> None:
        lock = anyio.Lock()

        async def leak() -> None:
            await lock.acquire()
            await anyio.sleep(1)

        async def wait() -> None:
            with pytest.raises(anyio.BrokenResourceError):
                await lock.acquire()
            seen.append("waited")

        async with anyio.create_task_group() as group:
            group.start_soon(leak)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(wait)
        # As on Trio: only waiting for it is an error, it is held as far as others can see.
        with pytest.raises(anyio.WouldBlock):
            lock.acquire_nowait()
        assert lock.locked()

    VirtualRun().run(main)
    assert seen == ["waited"]


def test_a_shield_put_up_keeps_a_cancellation_out() -> None:
    async def main() -> float:
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner:
                outer.cancel()
                inner.shield = True
                await anyio.sleep(1)
                inner.shield = False
                await anyio.sleep(1)
        return anyio.current_time()

    assert VirtualRun().run(main) == 1


def test_a_scope_takes_its_own_cancellations_out_of_a_group() -> None:
    async def fail_late() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("late")

    async def main() -> bool:
        with pytest.raises(ExceptionGroup) as caught:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(fail_late)
                    await checkpoint()
                    scope.cancel()
                    await checkpoint()
        assert [str(error) for error in caught.value.exceptions] == ["late"]
        return scope.cancelled_caught

    assert VirtualRun().run(main)


def test_a_lock_that_was_handed_over_breaks_with_its_new_owner() -> None:
    async def main() -> None:
        lock = anyio.Lock()

        async def leak() -> None:
            await lock.acquire()

        async def wait() -> None:
            with pytest.raises(anyio.BrokenResourceError):
                await lock.acquire()

        async with anyio.create_task_group() as group:
            await lock.acquire()
            group.start_soon(leak)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            lock.release()

    VirtualRun().run(main)


@pytest.mark.parametrize("fast", [False, True])
def test_a_cancelled_task_does_not_get_a_free_lock(fast: bool) -> None:
    async def main() -> bool:
        lock = anyio.Lock(fast_acquire=fast)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await lock.acquire()
        return lock.locked()

    assert not VirtualRun().run(main)


def test_a_group_waits_for_a_child_that_somebody_else_starts_in_it() -> None:
    seen: list[str] = []

    async def child(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await anyio.sleep(1)
        task_status.started()
        await anyio.sleep(1)
        seen.append("child")

    async def main() -> None:
        async with anyio.create_task_group() as outer:
            async with anyio.create_task_group() as inner:
                outer.start_soon(inner.start, child)
                await checkpoint()
            seen.append("inner")

    VirtualRun().run(main)
    assert seen == ["child", "inner"]


def test_a_child_that_said_started_before_it_is_a_task_belongs_to_its_group() -> None:
    seen: list[str] = []

    def child(*, task_status: anyio.abc.TaskStatus[str]) -> Coroutine[Any, Any, None]:
        task_status.started("early")
        return sleep()

    async def sleep() -> None:
        try:
            await anyio.sleep(2)
        finally:
            seen.append(f"{anyio.current_time():g}")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            assert await group.start(child) == "early"
            await anyio.sleep(1)
            group.cancel_scope.cancel()

    VirtualRun().run(main)
    assert seen == ["1"]
