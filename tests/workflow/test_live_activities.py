"""Activities through the whole embedded stack, on both hosts: heartbeats, cancellation, timeouts, stopping workers."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import anyio.from_thread
import pytest

from durable_anyio import RetryPolicy, Worker, activity, workflow
from durable_anyio.client import WorkflowHandle
from durable_anyio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RetryState,
    TimeoutError,
    TimeoutType,
    WorkflowFailureError,
)
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
# Workflow time does not jump while an activity runs: what runs out meanwhile is waited for.
SHORT = timedelta(milliseconds=40)
HOUR = timedelta(hours=1)
ONCE = RetryPolicy(maximum_attempts=1)


class Acts:
    """The activities of one test, and what they tell it."""

    def __init__(self) -> None:
        self.attempts = 0
        self.seen: list[Any] = []
        self.started = threading.Event()
        self.stopped = threading.Event()
        self.may_beat = threading.Event()
        self.release = anyio.Event()

    @activity.defn(start_to_close_timeout=HOUR, heartbeat_timeout=timedelta(minutes=1))
    async def count_on(self, upto: int) -> int:
        """Counts from where the last attempt was, and fails after every second number."""
        details = activity.info().heartbeat_details
        self.seen.append(list(details))
        first = details[0] if details else 0
        for number in range(first + 1, upto + 1):
            activity.heartbeat(number, "so far")
            if number % 2 == 0 and number < upto:
                raise ApplicationError(f"failed at {number}")
        return len(self.seen)

    @activity.defn(start_to_close_timeout=HOUR)
    def block_in_thread(self, how: str) -> str:
        """Runs until it notices that it was asked to stop. The answer to its first heartbeat says so, if the test has waited for that."""
        self.started.set()
        self.may_beat.wait()
        try:
            while True:
                if how == "heartbeat":
                    activity.heartbeat()
                else:
                    # The answers to heartbeats are how a worker learns that an activity is to stop.
                    with suppress(CancelledError):
                        activity.heartbeat()
                if how == "check":
                    anyio.from_thread.check_cancelled()
                if how == "is_cancelled" and activity.is_cancelled():
                    return "gave up by itself"
                self.stopped.wait(0.005)
        finally:
            self.stopped.set()

    @activity.defn(start_to_close_timeout=HOUR)
    async def wait(self) -> int:
        self.attempts += 1
        self.started.set()
        try:
            await self.release.wait()
        finally:
            self.stopped.set()
        return activity.info().attempt

    @activity.defn(start_to_close_timeout=HOUR)
    async def fail(self) -> None:
        self.attempts += 1
        raise ApplicationError("again and again")


@workflow.defn
class CountsOn:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(Acts.count_on, 5)


@workflow.defn
class CancelsThread:
    def __init__(self) -> None:
        self.cancel = anyio.Event()

    @workflow.run
    async def run(self, how: str) -> str:
        async with anyio.create_task_group() as tg:

            async def call() -> None:
                await workflow.execute_activity(
                    Acts.block_in_thread,
                    how,
                    heartbeat_timeout=timedelta(minutes=1),
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                )

            tg.start_soon(call)
            await self.cancel.wait()
            tg.cancel_scope.cancel()
        return "cancelled"

    @workflow.signal
    def stop(self) -> None:
        self.cancel.set()


@workflow.defn
class TimesOut:
    @workflow.run
    async def run(self, kind: str) -> str:
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "START_TO_CLOSE": lambda: workflow.execute_activity(Acts.wait, start_to_close_timeout=SHORT, retry_policy=ONCE),
            "HEARTBEAT": lambda: workflow.execute_activity(Acts.wait, heartbeat_timeout=SHORT, retry_policy=ONCE),
            "SCHEDULE_TO_START": lambda: workflow.execute_activity(
                Acts.wait, task_queue="no worker is here", schedule_to_start_timeout=SECOND
            ),
            "SCHEDULE_TO_CLOSE": lambda: workflow.execute_activity(
                Acts.wait, task_queue="no worker is here", schedule_to_close_timeout=SECOND
            ),
        }
        try:
            await calls[kind]()
        except ActivityError as error:
            if isinstance(error.cause, TimeoutError) and error.cause.type is not None:
                return error.cause.type.name
            return f"{error!r}, {error.cause!r}"
        return "no timeout"


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(Acts.wait, retry_policy=RetryPolicy(initial_interval=SECOND))


@workflow.defn
class Retries:
    @workflow.run
    async def run(self) -> None:
        policy = RetryPolicy(initial_interval=SECOND, backoff_coefficient=2)
        await workflow.execute_activity(Acts.fail, schedule_to_close_timeout=10 * SECOND, retry_policy=policy)


WORKFLOWS: list[type] = [CountsOn, CancelsThread, TimesOut, Waits, Retries]


def worker(env: WorkflowEnvironment, task_queue: str, acts: Acts, **options: Any) -> Worker:
    activities: list[Any] = [acts.count_on, acts.block_in_thread, acts.wait, acts.fail]
    return Worker(env.client, task_queue=task_queue, workflows=WORKFLOWS, activities=activities, **options)


async def until(event: threading.Event) -> None:
    while not event.is_set():
        await anyio.sleep(0.002)


async def until_cancel_is_requested(handle: WorkflowHandle[Any, Any]) -> None:
    while not any(event.HasField("activity_task_cancel_requested_event_attributes") for event in (await handle.fetch_history()).events):
        await anyio.sleep(0.002)


async def test_heartbeat_details_reach_the_next_attempt(env: WorkflowEnvironment, task_queue: str) -> None:
    acts = Acts()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            assert await env.client.execute_workflow(CountsOn.run, id="counts", task_queue=task_queue) == 3
    assert acts.seen == [[], [2, "so far"], [4, "so far"]]


@pytest.mark.parametrize("how", ["heartbeat", "check", "is_cancelled"])
async def test_an_activity_is_cancelled_in_its_thread(env: WorkflowEnvironment, task_queue: str, how: str) -> None:
    acts = Acts()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            handle = await env.client.start_workflow(CancelsThread.run, how, id="thread", task_queue=task_queue)
            await until(acts.started)
            await handle.signal(CancelsThread.stop)
            await until_cancel_is_requested(handle)
            acts.may_beat.set()
            assert await handle.result() == "cancelled"
            assert acts.stopped.is_set()


@pytest.mark.parametrize("how", ["heartbeat", "check", "is_cancelled"])
async def test_a_stopping_worker_ends_its_threads(env: WorkflowEnvironment, task_queue: str, how: str) -> None:
    acts = Acts()
    acts.may_beat.set()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            await env.client.start_workflow(CancelsThread.run, how, id="thread", task_queue=task_queue)
            await until(acts.started)
    assert acts.stopped.is_set(), "the worker does not end before its threads"


@pytest.mark.parametrize("kind", [TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT])
async def test_timeouts_of_an_attempt_that_runs(env: WorkflowEnvironment, task_queue: str, kind: TimeoutType) -> None:
    acts = Acts()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            handle = await env.client.start_workflow(TimesOut.run, kind.name, id="slow", task_queue=task_queue)
            await until(acts.started)
            await env.sleep(SHORT)
            assert await handle.result() == kind.name
    assert acts.attempts == 1
    assert acts.stopped.is_set()


@pytest.mark.parametrize("bound", [TimeoutType.SCHEDULE_TO_START, TimeoutType.SCHEDULE_TO_CLOSE])
async def test_timeouts_of_an_activity_that_waits(env: WorkflowEnvironment, task_queue: str, bound: TimeoutType) -> None:
    """Both bounds end the wait at the same moment, and of two timeouts at one moment the service reports the narrower."""
    acts = Acts()
    before = await env.get_current_time()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            assert await env.client.execute_workflow(TimesOut.run, bound.name, id="waits", task_queue=task_queue) == "SCHEDULE_TO_START"
    assert await env.get_current_time() - before < timedelta(seconds=5)
    assert acts.attempts == 0


async def test_retries_end_before_the_schedule_to_close_timeout(env: WorkflowEnvironment, task_queue: str) -> None:
    acts = Acts()
    before = await env.get_current_time()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            with pytest.raises(WorkflowFailureError, match="again and again") as caught:
                await env.client.execute_workflow(Retries.run, id="retries", task_queue=task_queue)
    cause = caught.value.cause
    assert isinstance(cause, ActivityError)
    assert cause.retry_state is RetryState.TIMEOUT
    assert acts.attempts == 4, "after 0, 1, 3 and 7 seconds; the next one, after 15, would be too late"
    assert await env.get_current_time() - before < timedelta(seconds=15)


async def test_a_stopping_worker_lets_activities_finish(env: WorkflowEnvironment, task_queue: str) -> None:
    acts = Acts()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tg:

            async def release_later() -> None:
                await anyio.sleep(0.02)
                acts.release.set()

            async with worker(env, task_queue, acts, graceful_shutdown_timeout=timedelta(seconds=10)):
                handle = await env.client.start_workflow(Waits.run, id="graceful", task_queue=task_queue)
                await until(acts.started)
                tg.start_soon(release_later)
        async with worker(env, task_queue, acts):
            assert await handle.result() == 1
    assert acts.attempts == 1


async def test_an_activity_that_a_stop_cuts_off_runs_again(env: WorkflowEnvironment, task_queue: str) -> None:
    acts = Acts()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            handle = await env.client.start_workflow(Waits.run, id="cut", task_queue=task_queue)
            await until(acts.started)
        assert acts.stopped.is_set()
        acts.release.set()
        async with worker(env, task_queue, acts):
            assert await handle.result() == 2
    assert acts.attempts == 2


async def test_an_activity_whose_worker_is_cancelled_runs_again(env: WorkflowEnvironment, task_queue: str) -> None:
    acts = Acts()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tg:
            await tg.start(worker(env, task_queue, acts, graceful_shutdown_timeout=HOUR).run)
            handle = await env.client.start_workflow(Waits.run, id="cut", task_queue=task_queue)
            await until(acts.started)
            tg.cancel_scope.cancel()
        acts.release.set()
        async with worker(env, task_queue, acts):
            assert await handle.result() == 2


async def test_cancelling_a_workflow_cancels_its_activity(env: WorkflowEnvironment, task_queue: str) -> None:
    acts = Acts()
    with anyio.fail_after(20):
        async with worker(env, task_queue, acts):
            handle = await env.client.start_workflow(Waits.run, id="cancel", task_queue=task_queue)
            await until(acts.started)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
