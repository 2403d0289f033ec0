"""Locks, conditions, semaphores, capacity limiters and resource guards: who gets what, and when."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from durable_anyio._backend import current_scheduler

pytestmark = pytest.mark.anyio


async def queue_up(group: anyio.abc.TaskGroup, func: Any, *args: Any) -> None:
    """Start a task and wait until it waits, so that the order of a queue is that of the calls."""
    group.start_soon(func, *args)
    await anyio.wait_all_tasks_blocked()


def in_order(numbers: list[int]) -> list[int]:
    """The numbers as they came; sorted on Trio, which shuffles the tasks that become ready together."""
    return numbers if current_scheduler() is not None else sorted(numbers)


async def test_an_event_wakes_everybody_and_stays_set() -> None:
    event = anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            await queue_up(group, event.wait)
        assert event.statistics().tasks_waiting == 3
        event.set()
        event.set()
    assert event.is_set()
    assert event.statistics().tasks_waiting == 0
    await event.wait()


async def test_a_lock_passes_in_the_order_of_the_queue() -> None:
    lock = anyio.Lock()
    order: list[int] = []

    async def worker(number: int) -> None:
        async with lock:
            order.append(number)
            await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        await lock.acquire()
        for number in range(4):
            await queue_up(group, worker, number)
        assert lock.statistics().tasks_waiting == 4
        lock.release()
        with pytest.raises(anyio.WouldBlock):
            lock.acquire_nowait()
    assert order == [0, 1, 2, 3]
    assert not lock.locked()


@pytest.mark.parametrize("fast", [False, True])
async def test_a_lock_knows_its_owner(fast: bool) -> None:
    lock = anyio.Lock(fast_acquire=fast)
    with pytest.raises(RuntimeError, match=r"not holding|don't own"):
        lock.release()
    async with lock:
        with pytest.raises(RuntimeError, match="already"):
            await lock.acquire()
        assert lock.statistics().owner == anyio.get_current_task()

        async def thief() -> None:
            with pytest.raises(RuntimeError, match=r"not holding|don't own"):
                lock.release()

        async with anyio.create_task_group() as group:
            group.start_soon(thief)


async def test_a_cancelled_waiter_does_not_get_the_lock() -> None:
    lock = anyio.Lock()
    got: list[str] = []

    async def waiter(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with lock:
                got.append(name)

    impatient = anyio.CancelScope()
    async with anyio.create_task_group() as group, lock:
        await queue_up(group, waiter, "impatient", impatient)
        await queue_up(group, waiter, "patient", anyio.CancelScope())
        impatient.cancel()
        await anyio.wait_all_tasks_blocked()
        assert lock.statistics().tasks_waiting == 1
    assert got == ["patient"]


async def test_a_condition_wakes_as_many_as_were_notified_in_order() -> None:
    condition = anyio.Condition()
    order: list[int] = []

    async def waiter(number: int) -> None:
        async with condition:
            await condition.wait()
            order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(4):
            await queue_up(group, waiter, number)
        async with condition:
            condition.notify(2)
        await anyio.wait_all_tasks_blocked()
        assert in_order(order) == [0, 1]
        assert condition.statistics().tasks_waiting == 2
        async with condition:
            condition.notify_all()
    assert in_order(order) == [0, 1, 2, 3]


async def test_a_condition_is_locked_again_after_a_cancelled_wait() -> None:
    condition = anyio.Condition()
    with anyio.move_on_after(1) as scope:
        async with condition:
            try:
                await condition.wait()
            finally:
                assert condition.locked()
    assert scope.cancelled_caught
    assert not condition.locked()


async def test_a_notification_that_meets_a_cancellation_is_passed_on() -> None:
    condition = anyio.Condition()
    woken: list[str] = []

    async def waiter(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with condition:
                await condition.wait()
                woken.append(name)

    first = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        await queue_up(group, waiter, "first", first)
        await queue_up(group, waiter, "second", anyio.CancelScope())
        async with condition:
            first.cancel()
            condition.notify()
        await anyio.wait_all_tasks_blocked()
        assert len(woken) == 1
        group.cancel_scope.cancel()


async def test_waiting_for_a_condition_without_its_lock_is_refused() -> None:
    condition = anyio.Condition()
    with pytest.raises(RuntimeError):
        await condition.wait()
    with pytest.raises(RuntimeError):
        condition.notify()


async def test_a_semaphore_counts() -> None:
    semaphore = anyio.Semaphore(2, max_value=2)
    running = most = 0

    async def worker() -> None:
        nonlocal running, most
        async with semaphore:
            running += 1
            most = max(most, running)
            await anyio.sleep(1)
            running -= 1

    start = anyio.current_time()
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(worker)
    assert most == 2
    assert anyio.current_time() == start + 3
    assert (semaphore.value, semaphore.max_value) == (2, 2)
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()
    semaphore.acquire_nowait()
    semaphore.acquire_nowait()
    with pytest.raises(anyio.WouldBlock):
        semaphore.acquire_nowait()


async def test_a_released_semaphore_goes_to_the_queue_and_not_to_the_next_comer() -> None:
    semaphore = anyio.Semaphore(0)
    async with anyio.create_task_group() as group:
        await queue_up(group, semaphore.acquire)
        semaphore.release()
        with pytest.raises(anyio.WouldBlock):
            semaphore.acquire_nowait()


async def test_a_limiter_knows_its_borrowers() -> None:
    limiter = anyio.CapacityLimiter(2)
    async with limiter:
        with pytest.raises(RuntimeError, match="already holding"):
            await limiter.acquire()
        await limiter.acquire_on_behalf_of("other")
        assert limiter.borrowed_tokens == 2
        assert limiter.available_tokens == 0
        assert set(limiter.statistics().borrowers) >= {"other"}
        # AnyIO 4.14 lets Trio's own exception through.
        with pytest.raises((anyio.WouldBlock, trio.WouldBlock)):
            limiter.acquire_on_behalf_of_nowait("third")
        limiter.release_on_behalf_of("other")
        with pytest.raises(RuntimeError, match="isn't holding"):
            limiter.release_on_behalf_of("other")
    assert limiter.borrowed_tokens == 0


async def test_a_limiter_that_grows_lets_the_waiting_in() -> None:
    limiter = anyio.CapacityLimiter(1)
    order: list[int] = []

    async def worker(number: int) -> None:
        async with limiter:
            order.append(number)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        for number in range(4):
            await queue_up(group, worker, number)
        assert order == [0]
        limiter.total_tokens = 3
        await anyio.wait_all_tasks_blocked()
        assert in_order(order) == [0, 1, 2]
        limiter.total_tokens = 1
        assert limiter.available_tokens == -2
        limiter.total_tokens = math.inf
        await anyio.wait_all_tasks_blocked()
        assert in_order(order) == [0, 1, 2, 3]
        group.cancel_scope.cancel()
    assert limiter.borrowed_tokens == 0


@pytest.mark.parametrize(("tokens", "error"), [(1.5, TypeError), ("1", TypeError), (-1, ValueError)])
async def test_a_limiter_refuses_what_is_no_number_of_tokens(tokens: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="total_tokens"):
        anyio.CapacityLimiter(tokens)
    limiter = anyio.CapacityLimiter(1)
    with pytest.raises(error, match="total_tokens"):
        limiter.total_tokens = tokens
    assert limiter.total_tokens == 1


async def test_a_resource_guard_names_the_conflict() -> None:
    guard = anyio.ResourceGuard("reading from")

    async def use() -> None:
        with guard:
            await checkpoint()

    with guard, pytest.raises(anyio.BusyResourceError, match="reading from"):
        await use()
    await use()
