"""First-in first-out, everywhere: histories are replayed in this order, so it may not change, and must not depend on the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from durable_anyio._backend import VirtualRun

COUNT = 20
"""Enough tasks that an order by chance, or by hash, is not the right one."""

Wait = Callable[[int], Awaitable[Any]]


def order_of(prepare: Callable[[], tuple[Wait, Callable[[], Any]]]) -> list[int]:
    """Let many tasks wait, wake them, and return the order in which they went on."""
    order: list[int] = []

    async def waiter(wait: Wait, number: int) -> None:
        try:
            await wait(number)
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, TimeoutError):
            pass
        finally:
            order.append(number)

    async def main() -> None:
        wait, wake = prepare()
        async with anyio.create_task_group() as group:
            for number in range(COUNT):
                group.start_soon(waiter, wait, number)
            await anyio.wait_all_tasks_blocked()
            wake()

    VirtualRun().run(main)
    return order


def _event() -> tuple[Wait, Callable[[], Any]]:
    event = anyio.Event()
    return lambda number: event.wait(), event.set


def _limiter() -> tuple[Wait, Callable[[], Any]]:
    limiter = anyio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("main")

    async def wait(number: int) -> None:
        await limiter.acquire_on_behalf_of(number)

    def wake() -> None:
        limiter.total_tokens = COUNT + 1

    return wait, wake


def _semaphore() -> tuple[Wait, Callable[[], Any]]:
    semaphore = anyio.Semaphore(0)

    async def wait(number: int) -> None:
        await semaphore.acquire()
        semaphore.release()

    return wait, semaphore.release


def _condition() -> tuple[Wait, Callable[[], Any]]:
    condition = anyio.Condition()

    async def wait(number: int) -> None:
        async with condition:
            await condition.wait()

    def wake() -> None:
        condition.acquire_nowait()
        condition.notify_all()
        condition.release()

    return wait, wake


def _receivers() -> tuple[Wait, Callable[[], Any]]:
    send, receive = anyio.create_memory_object_stream[int](COUNT)

    async def wait(number: int) -> None:
        await receive.receive()

    def wake() -> None:
        for number in range(COUNT):
            send.send_nowait(number)
        send.close()
        receive.close()

    return wait, wake


def _receivers_of_a_closed_clone() -> tuple[Wait, Callable[[], Any]]:
    send, receive = anyio.create_memory_object_stream[int](0)
    clone = receive.clone()

    async def wait(number: int) -> None:
        await clone.receive()

    def wake() -> None:
        clone.close()
        receive.close()
        send.close()

    return wait, wake


def _senders_of_a_closed_clone() -> tuple[Wait, Callable[[], Any]]:
    send, receive = anyio.create_memory_object_stream[int](0)
    clone = send.clone()

    async def wait(number: int) -> None:
        await clone.send(number)

    def wake() -> None:
        clone.close()
        receive.close()
        send.close()

    return wait, wake


def _equal_sleeps() -> tuple[Wait, Callable[[], Any]]:
    return lambda number: anyio.sleep(1), lambda: None


def _equal_deadlines() -> tuple[Wait, Callable[[], Any]]:
    async def wait(number: int) -> None:
        with anyio.fail_after(1):
            await anyio.sleep_forever()

    return wait, lambda: None


def _idle() -> tuple[Wait, Callable[[], Any]]:
    return lambda number: anyio.wait_all_tasks_blocked(), lambda: None


PREPARED = [_event, _limiter, _semaphore, _condition, _receivers, _equal_sleeps, _equal_deadlines, _idle]


@pytest.mark.parametrize("prepare", PREPARED, ids=lambda prepare: prepare.__name__.strip("_"))
def test_who_waits_first_goes_on_first(prepare: Callable[[], tuple[Wait, Callable[[], Any]]]) -> None:
    assert order_of(prepare) == list(range(COUNT))


@pytest.mark.parametrize(
    "prepare", [_receivers_of_a_closed_clone, _senders_of_a_closed_clone], ids=lambda prepare: prepare.__name__.strip("_")
)
def test_closing_a_clone_wakes_in_an_order_that_no_address_decides(prepare: Callable[[], tuple[Wait, Callable[[], Any]]]) -> None:
    order = order_of(prepare)
    # AnyIO iterates over a set of events there. They hash by their number, so it starts somewhere and goes round.
    first = order.index(0)
    assert order[first:] + order[:first] == list(range(COUNT))


def test_a_cancellation_reaches_tasks_depth_first_and_in_the_order_of_their_scopes() -> None:
    order: list[str] = []

    async def wait(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            order.append(name)

    async def nested(name: str) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait, name + ".0")
            group.start_soon(wait, name + ".1")
            await wait(name)

    async def scoped(name: str) -> None:
        with anyio.CancelScope():
            await wait(name)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(nested, "a")
            group.start_soon(wait, "b")
            group.start_soon(scoped, "c")
            group.start_soon(nested, "d")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    VirtualRun().run(main)
    assert order == ["a", "a.0", "a.1", "b", "c", "d", "d.0", "d.1"]


def test_a_newcomer_does_not_overtake_those_who_wait_for_a_limiter() -> None:
    order: list[str] = []

    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)

        async def borrow(name: str) -> None:
            async with limiter:
                order.append(name)

        async with anyio.create_task_group() as group:
            await limiter.acquire()
            limiter.release()
            await limiter.acquire_on_behalf_of("somebody")
            group.start_soon(borrow, "first")
            group.start_soon(borrow, "second")
            await anyio.wait_all_tasks_blocked()
            limiter.release_on_behalf_of("somebody")
            with pytest.raises(anyio.WouldBlock):
                limiter.acquire_nowait()
            await borrow("newcomer")

    VirtualRun().run(main)
    assert order == ["first", "second", "newcomer"]


@pytest.mark.parametrize("kind", ["lock", "semaphore", "limiter", "event"])
def test_acquiring_what_is_free_lets_the_others_run(kind: str) -> None:
    order: list[str] = []

    async def main() -> None:
        event = anyio.Event()
        event.set()
        acquire = {
            "lock": anyio.Lock().acquire,
            "semaphore": anyio.Semaphore(1).acquire,
            "limiter": anyio.CapacityLimiter(1).acquire,
            "event": event.wait,
        }[kind]

        async def first() -> None:
            await acquire()
            order.append("first")

        async def second() -> None:
            order.append("second")

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            group.start_soon(second)

    VirtualRun().run(main)
    assert order == ["second", "first"]


def test_leaving_an_empty_group_lets_the_others_run() -> None:
    order: list[str] = []

    async def first() -> None:
        async with anyio.create_task_group():
            pass
        order.append("first")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await checkpoint()
            order.append("second")

    VirtualRun().run(main)
    assert order == ["second", "first"]
