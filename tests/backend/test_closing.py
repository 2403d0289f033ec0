"""Eviction finds tasks in every kind of wait: each ends at once, runs its clean-up, makes no command, and leaves no warning."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint

from durable_anyio._backend import Operation, current_scheduler
from durable_anyio._backend._task import LOCAL

from .recorder import Run

log: list[str] = []


async def hold_lock() -> None:
    lock = anyio.Lock()

    async def holder() -> None:
        async with lock:
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(holder)
        await checkpoint()
        async with lock:
            pass


async def wait_for_condition() -> None:
    condition = anyio.Condition()
    async with condition:
        await condition.wait()


async def wait_for_semaphore() -> None:
    async with anyio.Semaphore(0):
        pass


async def wait_for_limiter() -> None:
    limiter = anyio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("somebody")
    async with limiter:
        pass


async def receive() -> None:
    send, stream = anyio.create_memory_object_stream[int](0)
    async with send, stream:
        await stream.receive()


async def send() -> None:
    stream, receiver = anyio.create_memory_object_stream[int](0)
    async with stream, receiver:
        await stream.send(1)


async def leave_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)


async def wait_for_handle() -> None:
    async with anyio.create_task_group() as group:
        await group.start_soon(anyio.sleep_forever)


async def start_child() -> None:
    async def never(*, task_status: TaskStatus[None]) -> None:
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        await group.start(never)


async def time_out() -> None:
    with anyio.fail_after(10), anyio.move_on_after(20, shield=True):
        await anyio.sleep_forever()


async def wait_for_answer() -> None:
    scheduler = current_scheduler()
    assert scheduler is not None
    operation: Operation[None] = Operation(scheduler, name="op", on_cancel=lambda: log.append("a cancel command"), mode="wait")
    with anyio.fail_after(10):
        await operation.wait()


async def clean_up_slowly() -> None:
    try:
        await anyio.sleep(5)
    finally:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 1)
                await anyio.sleep(1)


async def start_while_closing() -> None:
    async with anyio.create_task_group() as group:
        try:
            await anyio.sleep_forever()
        finally:
            group.start_soon(anyio.sleep, 1)


async def cancelled_and_shielded() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()


WAITS: list[Callable[[], Awaitable[Any]]] = [
    anyio.sleep_forever, hold_lock, wait_for_condition, wait_for_semaphore, wait_for_limiter, receive, send, leave_group, wait_for_handle,
    start_child, time_out, wait_for_answer, clean_up_slowly, start_while_closing, cancelled_and_shielded,
]  # fmt: skip


@pytest.mark.parametrize("wait", WAITS, ids=lambda func: func.__name__)
def test_a_waiting_task_ends_at_once(wait: Callable[[], Awaitable[Any]]) -> None:
    log.clear()

    async def main() -> None:
        try:
            await wait()
        finally:
            log.append("cleaned up")

    run = Run()
    task = run.spawn(main)
    run.step()
    assert list(run.scheduler.tasks)
    assert run.scheduler.close() == []
    assert log == ["cleaned up"]
    assert run.timers.take() == []
    assert task.done
    assert not run.scheduler.tasks
    gc.collect()  # a coroutine that was never awaited would say so now


def test_closing_twice_is_closing_once() -> None:
    run = Run()
    run.spawn(anyio.sleep_forever)
    run.step()
    assert run.scheduler.close() == []
    assert run.scheduler.close() == []


def test_closing_before_the_first_step() -> None:
    run = Run()
    task = run.spawn(leave_group)
    assert run.scheduler.close() == []
    assert task.done
    gc.collect()


def test_an_exit_while_closing_goes_to_the_host_after_the_others_have_ended() -> None:
    log.clear()

    async def tidy(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append(name)

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            log.append("generator")

    async def leaves() -> None:
        async for _ in numbers():
            break
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyboardInterrupt("from clean-up")

    run = Run()
    run.spawn(tidy, "older")
    run.spawn(leaves)
    run.spawn(tidy, "newer")
    run.step()
    with pytest.raises(KeyboardInterrupt, match="from clean-up"):
        run.scheduler.close()
    assert log == ["newer", "older", "generator"]
    assert not run.scheduler.tasks
    assert LOCAL.scheduler is None
