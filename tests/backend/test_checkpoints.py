"""Trio's rule for checkpoints: an async function always lets the others run and notices a cancellation, or it never does.

What is an exception to the rule says so in AnyIO's documentation, and is listed here. Trio counts its checkpoints itself; on `durable` a
second task counts the turns that it is given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from durable_anyio._backend import current_scheduler

pytestmark = pytest.mark.anyio

TURNS = 50
"""More than any operation here takes, and not for ever: a step ends when nothing is ready any more."""

Operation = Callable[[], Awaitable[Any]]
Setup = Callable[[AsyncExitStack], Awaitable[Operation]]


@asynccontextmanager
async def counted(turns: list[int]) -> AsyncIterator[Callable[[], int]]:
    """Answer with a function that counts the schedule points of this task."""
    if current_scheduler() is None:
        task: Any = trio.lowlevel.current_task()
        yield lambda: task._schedule_points
        return

    async def count() -> None:
        for _ in range(TURNS):
            turns[0] += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await checkpoint()
        yield lambda: turns[0]
        group.cancel_scope.cancel()


def simple(operation: Operation) -> Setup:
    async def setup(stack: AsyncExitStack) -> Operation:
        return operation

    return setup


async def set_event(stack: AsyncExitStack) -> Operation:
    event = anyio.Event()
    event.set()
    return event.wait


async def free_lock(stack: AsyncExitStack) -> Operation:
    return anyio.Lock().acquire


async def fast_lock(stack: AsyncExitStack) -> Operation:
    return anyio.Lock(fast_acquire=True).acquire


async def free_semaphore(stack: AsyncExitStack) -> Operation:
    return anyio.Semaphore(1).acquire


async def fast_semaphore(stack: AsyncExitStack) -> Operation:
    return anyio.Semaphore(1, fast_acquire=True).acquire


async def free_limiter(stack: AsyncExitStack) -> Operation:
    return anyio.CapacityLimiter(1).acquire


async def free_condition(stack: AsyncExitStack) -> Operation:
    return anyio.Condition().acquire


def streams(stack: AsyncExitStack) -> tuple[Any, Any]:
    send, receive = anyio.create_memory_object_stream[int](1)
    stack.enter_context(send)
    stack.enter_context(receive)
    return send, receive


async def room_to_send(stack: AsyncExitStack) -> Operation:
    send, _ = streams(stack)
    return lambda: send.send(1)


async def something_to_receive(stack: AsyncExitStack) -> Operation:
    send, receive = streams(stack)
    send.send_nowait(1)
    return lambda: receive.receive()


async def finished_task(stack: AsyncExitStack) -> Operation:
    group = await stack.enter_async_context(anyio.create_task_group())
    handle = group.start_soon(checkpoint)
    await handle
    return handle.wait


async def empty_group() -> None:
    async with anyio.create_task_group():
        pass


async def now() -> None:
    await anyio.sleep_until(anyio.current_time())


ALWAYS: dict[str, Setup] = {
    "checkpoint": simple(checkpoint),
    "sleep(0)": simple(lambda: anyio.sleep(0)),  # noqa: ASYNC115
    "sleep(1)": simple(lambda: anyio.sleep(1)),
    "sleep_until(now)": simple(now),
    "sleep_until(the past)": simple(lambda: anyio.sleep_until(anyio.current_time() - 1)),
    "Event.wait, set": set_event,
    "Lock.acquire": free_lock,
    "Semaphore.acquire": free_semaphore,
    "CapacityLimiter.acquire": free_limiter,
    "Condition.acquire": free_condition,
    "send": room_to_send,
    "receive": something_to_receive,
    "TaskHandle.wait, ended": finished_task,
}

ONLY_CANCELLATION: dict[str, Setup] = {
    "checkpoint_if_cancelled": simple(checkpoint_if_cancelled),
    "Lock.acquire, fast": fast_lock,
    "Semaphore.acquire, fast": fast_semaphore,
}

ONLY_SCHEDULE: dict[str, Setup] = {
    "cancel_shielded_checkpoint": simple(cancel_shielded_checkpoint),
    "leaving a group": simple(empty_group),
}


@pytest.mark.parametrize("name", [*ALWAYS, *ONLY_SCHEDULE])
async def test_it_lets_the_others_run(name: str) -> None:
    async with AsyncExitStack() as stack:
        operation = await {**ALWAYS, **ONLY_SCHEDULE}[name](stack)
        async with counted([0]) as turns:
            before = turns()
            await operation()
            assert turns() > before


@pytest.mark.parametrize("name", ONLY_CANCELLATION)
async def test_it_goes_on_at_once(name: str) -> None:
    async with AsyncExitStack() as stack:
        operation = await ONLY_CANCELLATION[name](stack)
        async with counted([0]) as turns:
            before = turns()
            await operation()
            assert turns() == before


@pytest.mark.parametrize("name", [*ALWAYS, *ONLY_CANCELLATION])
async def test_it_notices_a_cancellation_and_does_nothing(name: str) -> None:
    async with AsyncExitStack() as stack:
        operation = await {**ALWAYS, **ONLY_CANCELLATION}[name](stack)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await operation()
            pytest.fail("a cancellation was not noticed")
        assert scope.cancelled_caught
        # Had it taken effect, the second time would wait for ever, or fail.
        with anyio.fail_after(10):
            await operation()


@pytest.mark.parametrize("name", ONLY_SCHEDULE)
async def test_it_lets_a_cancellation_wait(name: str) -> None:
    async with AsyncExitStack() as stack:
        operation = await ONLY_SCHEDULE[name](stack)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await operation()
            reached = True
        assert reached
        assert not scope.cancelled_caught
