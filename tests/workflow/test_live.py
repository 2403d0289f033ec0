"""Workflows through the whole embedded stack, on both hosts, and their histories replayed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Replayer, RetryPolicy, Worker, activity, workflow
from durable_anyio.exceptions import ActivityError, ApplicationError, CancelledError, NondeterminismError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


@activity.defn(start_to_close_timeout=SECOND)
async def double(number: int) -> int:
    return number * 2


@activity.defn(start_to_close_timeout=SECOND)
def double_in_thread(number: int) -> int:
    return number * 2


@activity.defn(start_to_close_timeout=SECOND, retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=2))
async def fail_once() -> int:
    if activity.info().attempt < 2:
        raise ValueError("not yet")
    return activity.info().attempt


@activity.defn(start_to_close_timeout=SECOND)
async def fail() -> None:
    raise ApplicationError("no good", type="Bad", non_retryable=True)


ACTIVITIES: list[Any] = [double, double_in_thread, fail_once, fail]


@workflow.defn
class Everything:
    def __init__(self) -> None:
        self.approved = anyio.Event()
        self.stage = "new"

    @workflow.run
    async def run(self, count: int) -> list[int]:
        results = [0] * count

        async def one(number: int) -> None:
            results[number] = await (double if number % 2 else double_in_thread)(number)

        self.stage = "fan-out"
        async with anyio.create_task_group() as tg:
            for number in range(count):
                tg.start_soon(one, number)
        self.stage = "waiting"
        await self.approved.wait()
        with anyio.move_on_after(3600):
            await anyio.sleep_forever()
        results.append(await fail_once())
        return results

    @workflow.signal
    def approve(self) -> None:
        self.approved.set()

    @workflow.query
    def state(self) -> str:
        return self.stage


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, grouped: bool) -> None:
        if not grouped:
            await fail()
        async with anyio.create_task_group() as tg:
            tg.start_soon(fail)


@workflow.defn
class Sleeps:
    @workflow.run
    async def run(self) -> None:
        await anyio.sleep_forever()


@workflow.defn
class Counts:
    @workflow.run
    async def run(self, number: int) -> int:
        if number < 3:
            workflow.continue_as_new(number + 1)
        return number


WORKFLOWS: list[type] = [Everything, Fails, Sleeps, Counts]


def worker(env: WorkflowEnvironment, task_queue: str, **options: Any) -> Worker:
    return Worker(env.client, task_queue=task_queue, workflows=WORKFLOWS, activities=ACTIVITIES, **options)


@pytest.mark.parametrize("cached", [1000, 0])
async def test_everything(env: WorkflowEnvironment, task_queue: str, cached: int) -> None:
    with anyio.fail_after(20):
        async with worker(env, task_queue, max_cached_workflows=cached):
            handle = await env.client.start_workflow(Everything.run, 5, id="everything", task_queue=task_queue)
            await handle.signal(Everything.approve)
            assert await handle.result() == [0, 2, 4, 6, 8, 2]
            assert await handle.query(Everything.state) == "waiting"
        history = await handle.fetch_history()
    assert Replayer(workflows=WORKFLOWS).replay(history).failure is None


@pytest.mark.parametrize("grouped", [False, True])
async def test_failures(env: WorkflowEnvironment, task_queue: str, grouped: bool) -> None:
    with anyio.fail_after(20):
        async with worker(env, task_queue):
            with pytest.raises(WorkflowFailureError) as caught:
                await env.client.execute_workflow(Fails.run, grouped, id="fails", task_queue=task_queue)
    cause = caught.value.cause
    if grouped:
        assert isinstance(cause, ExceptionGroup)
        (cause,) = cause.exceptions
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert cause.cause.type == "Bad"


async def test_cancel(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with worker(env, task_queue):
            handle = await env.client.start_workflow(Sleeps.run, id="sleeps", task_queue=task_queue)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
    assert isinstance(caught.value.cause, CancelledError)


async def test_continue_as_new(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with worker(env, task_queue):
            assert await env.client.execute_workflow(Counts.run, 0, id="counts", task_queue=task_queue) == 3


async def test_replay_finds_changed_code(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with worker(env, task_queue):
            handle = await env.client.start_workflow(Everything.run, 2, id="changed", task_queue=task_queue)
            await handle.signal(Everything.approve)
            await handle.result()
        history = await handle.fetch_history()

    @workflow.defn(name="Everything")
    class Changed:
        @workflow.run
        async def run(self, count: int) -> list[int]:
            await anyio.sleep(1)
            return []

    with pytest.raises(NondeterminismError):
        Replayer(workflows=[Changed]).replay(history)
