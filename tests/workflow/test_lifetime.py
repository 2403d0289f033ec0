"""A run leaves nothing behind: when it has ended or was evicted, its objects die at once, without the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from durable_anyio import activity, workflow
from durable_anyio.exceptions import ApplicationError

from .activations import Driver, Job, cancel, evict, failed, fired, query, result, signal, update

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@activity.defn(start_to_close_timeout=HOUR)
async def work(number: int) -> int:
    return number


class Canary:
    """Something of the user's that a frame, a closure or an exception may hold."""


canaries: list[weakref.ref[Canary]] = []


def canary() -> Canary:
    made = Canary()
    canaries.append(weakref.ref(made))
    return made


async def numbers() -> AsyncIterator[int]:
    held = canary()
    try:
        for number in range(10):
            yield number
            await anyio.lowlevel.checkpoint()
    finally:
        await anyio.lowlevel.checkpoint()
        del held


@asynccontextmanager
async def opened() -> AsyncIterator[Canary]:
    yield canary()


@workflow.defn
class Run:
    """Waits in every way there is."""

    def __init__(self) -> None:
        self.canary = canary()
        self.event = anyio.Event()
        self.lock = anyio.Lock()
        self.waits = False
        self.streams = anyio.create_memory_object_stream[Canary](1)
        self.streams[0].send_nowait(canary())

    async def child(self) -> None:
        held = canary()
        async with self.lock:
            await self.event.wait()
        del held

    @workflow.run
    async def run(self, how: str) -> int:
        held = canary()
        async with opened() as other, anyio.create_task_group() as tg:
            tg.start_soon(self.child)
            tg.start_soon(self.child)
            tg.start_soon(self.receive_twice)
            tg.start_soon(workflow.wait_condition, lambda: held is None)
            started = workflow.start_activity(work, 1)
            tg.start_soon(self.wait_for, started)
            async for number in numbers():
                if number == 3:
                    break
            with anyio.move_on_after(3600) as scope:
                scope.deadline += 10
                await self.event.wait()
            if how == "fail":
                raise ValueError("no", held)
            tg.cancel_scope.cancel()
        del other
        return 1

    async def receive_twice(self) -> None:
        for _ in range(2):
            await self.streams[1].receive()

    async def wait_for(self, started: Any) -> None:
        held = canary()
        try:
            await started
        except ApplicationError as error:
            raise ValueError("again", held) from error

    @workflow.signal
    async def talk_to_others(self) -> None:
        held = canary()
        async with anyio.create_task_group() as tg:
            tg.start_soon(workflow.get_external_workflow_handle("other").cancel)
            child = await workflow.start_child_workflow("Child", id="child")
            tg.start_soon(child.signal, "hurry")
            await child
        del held

    @workflow.signal
    def go(self) -> None:
        self.event.set()

    @workflow.signal
    async def slow(self) -> None:
        held = canary()
        self.waits = True
        await anyio.sleep(1000)
        del held

    @workflow.update
    async def change(self) -> None:
        held = canary()
        workflow.set_signal_handler("other", self.slow)
        await anyio.sleep(1000)
        del held

    @workflow.query
    def state(self) -> bool:
        return self.waits


def child_started(seq: int) -> Any:
    job = Job()
    job.resolve_child_workflow_execution_start.seq = seq
    job.resolve_child_workflow_execution_start.succeeded.run_id = "child-run"
    return job


def end(driver: Driver) -> None:
    driver.step(signal("go"))


def end_with_a_handler(driver: Driver) -> None:
    driver.step(signal("slow"))
    driver.step(update("change"))
    driver.step(query("state"))
    driver.step(signal("go"))


def fail_in_activity(driver: Driver) -> None:
    driver.step(failed(1, ApplicationError("no")))


def time_out(driver: Driver) -> None:
    driver.step(result(1, 1))
    driver.seconds = 4000
    driver.step(fired(1))


WAYS: dict[str, tuple[str, Callable[[Driver], Any]]] = {
    "result": ("", end),
    "a group of errors": ("fail", end),
    "failed activity": ("", fail_in_activity),
    "deadline": ("", time_out),
    "handler waiting": ("", end_with_a_handler),
    "cancelled": ("", lambda driver: driver.step(cancel("enough"))),
    "evicted": ("", lambda driver: driver.step(evict())),
    "closed": ("", lambda driver: driver.instance.close()),
}


def leftovers(ref: weakref.ref[Any]) -> str:
    """Who holds an object that should be gone."""
    found = ref()
    return "" if found is None else f"{found!r} is held by {[type(one).__name__ for one in gc.get_referrers(found)]}"


@pytest.mark.parametrize("others", ["none", "asked", "child"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left(way: str, others: str) -> None:
    canaries.clear()
    how, act = WAYS[way]
    driver = Driver(Run, how)
    driver.start()
    if others != "none":
        driver.step(signal("talk_to_others"))
    if others == "child":
        driver.step(child_started(1))
    act(driver)
    assert driver.instance.closed
    instance = driver.instance
    refs: list[weakref.ref[Any]] = [weakref.ref(instance), weakref.ref(instance.object), weakref.ref(instance.scheduler)]
    driver.release()
    del instance
    alive = [text for ref in [*refs, *canaries] if (text := leftovers(ref))]
    assert not alive, "\n".join(alive)
    assert len(canaries) >= 8
