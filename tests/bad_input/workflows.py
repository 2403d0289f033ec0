"""What the workers of these tests run, and how a test sees what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio

from durable_anyio import Client, RetryPolicy, Worker, activity, workflow
from durable_anyio.exceptions import ApplicationError, NondeterminismError

MEBIBYTE = 1024 * 1024
#: Short, so that a workflow task that got no answer comes again soon.
TASK_TIMEOUT = timedelta(seconds=1)
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn(start_to_close_timeout=timedelta(seconds=20), retry_policy=ONCE)
async def double(number: int) -> int:
    return number * 2


@activity.defn(start_to_close_timeout=timedelta(seconds=20), retry_policy=ONCE)
async def fail_with_bytes(count: int) -> None:
    raise ApplicationError("it failed", *[bytes(MEBIBYTE)] * count, type="Large")


@activity.defn(start_to_close_timeout=timedelta(seconds=20), retry_policy=ONCE)
async def fail_with_chain(count: int) -> None:
    error: ApplicationError | None = None
    for _ in range(count):
        try:
            raise ApplicationError("it failed", bytes(MEBIBYTE), type="Large") from error
        except ApplicationError as last:
            error = last
    assert error is not None
    raise error


@activity.defn(start_to_close_timeout=timedelta(seconds=20), retry_policy=ONCE)
async def give_bytes(count: int) -> bytes:
    return bytes(count)


@activity.defn(start_to_close_timeout=timedelta(seconds=20), retry_policy=ONCE)
async def count_bytes(data: bytes) -> int:
    return len(data)


@workflow.defn
class Doubles:
    """Three activities, one after another; waits for a signal before the last."""

    def __init__(self) -> None:
        self.number = 0
        self.goes_on = False

    @workflow.run
    async def run(self, number: int) -> int:
        self.number = await double(await double(number))
        await workflow.wait_condition(lambda: self.goes_on)
        return await double(self.number)

    @workflow.signal
    def go_on(self) -> None:
        self.goes_on = True

    @workflow.query
    def so_far(self) -> int:
        return self.number

    @workflow.query
    def zeros(self, count: int) -> bytes:
        return bytes(count)

    @workflow.update
    async def give_zeros(self, count: int) -> bytes:
        return bytes(count)


@workflow.defn(failure_exception_types=[NondeterminismError])
class Strict:
    """Fails where the code differs from the history: a spoiled history must not look so."""

    def __init__(self) -> None:
        self.goes_on = False

    @workflow.run
    async def run(self, number: int) -> int:
        doubled = await double(await double(number))
        await workflow.wait_condition(lambda: self.goes_on)
        return await double(doubled)

    @workflow.signal
    def go_on(self) -> None:
        self.goes_on = True


@workflow.defn
class Large:
    """Makes completions that are larger than the service takes, each part of them small enough."""

    @workflow.run
    async def run(self, what: str, count: int) -> int:
        if what == "arguments":
            sizes = []

            async def one() -> None:
                sizes.append(await count_bytes(bytes(MEBIBYTE)))

            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(one)
            return sum(sizes)
        if what == "failure":
            raise ApplicationError("it failed", *[bytes(MEBIBYTE)] * count, type="Large")
        if what == "activity failure":
            await fail_with_bytes(count)
        if what == "chain of failures":
            await fail_with_chain(count)
        return len(await give_bytes(count * MEBIBYTE))


WORKFLOWS: list[type] = [Doubles, Strict, Large]
ACTIVITIES: list[Any] = [double, fail_with_bytes, fail_with_chain, give_bytes, count_bytes]


@asynccontextmanager
async def worker(
    client: Client, task_queue: str, *, workflows: list[type] = WORKFLOWS, cached: int = 1000, **options: Any
) -> AsyncIterator[None]:
    with anyio.fail_after(60):
        async with Worker(
            client, task_queue=task_queue, workflows=workflows, activities=ACTIVITIES, max_cached_workflows=cached, **options
        ):
            yield


async def problem(handle: Any, *parts: str) -> str:
    """The first problem in the workflow's description that contains all parts."""
    problems: tuple[str, ...] = ()
    with anyio.move_on_after(50):
        while True:
            problems = (await handle.describe()).problems
            for text in problems:
                if all(part in text for part in parts):
                    return str(text)
            await anyio.sleep(0.02)
    raise AssertionError(f"no problem with {parts} in {problems}")


def failed_tasks(history: Any) -> list[Any]:
    """The attributes of the failed workflow tasks."""
    return [
        event.workflow_task_failed_event_attributes for event in history.events if event.HasField("workflow_task_failed_event_attributes")
    ]
