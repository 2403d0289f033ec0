"""Local activities and steps through the whole embedded stack, on both hosts, with and without a cache; every history replays."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import anyio
import anyio.from_thread
import pytest

from durable_anyio import Replayer, RetryPolicy, Worker, activity, workflow
from durable_anyio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,
    TimeoutType,
    WorkflowFailureError,
)
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
MOMENT = timedelta(milliseconds=10)
ONCE = RetryPolicy(maximum_attempts=1)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=1))
Type = workflow.ActivityCancellationType


class Acts:
    """The activities of one test, and what they tell it."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.started = threading.Event()
        self.stopped = threading.Event()
        self.release = anyio.Event()

    @activity.defn(start_to_close_timeout=HOUR)
    async def note(self, what: str) -> str:
        self.seen.append(what)
        return f"{what} noted"

    @activity.defn(start_to_close_timeout=HOUR)
    def note_in_thread(self, what: str) -> str:
        self.seen.append(what)
        return f"{what} noted"

    @activity.defn(start_to_close_timeout=HOUR, retry_policy=QUICKLY)
    async def fail_twice(self) -> tuple[int, bool]:
        info = activity.info()
        if info.attempt < 3:
            raise ApplicationError("not yet", type="Flaky")
        return info.attempt, info.is_local

    @activity.defn(start_to_close_timeout=HOUR)
    async def fail(self) -> None:
        raise ApplicationError("no", "a detail", type="Broken", non_retryable=True)

    @activity.defn(start_to_close_timeout=HOUR, retry_policy=RetryPolicy(initial_interval=HOUR))
    async def fail_for_an_hour(self) -> int:
        self.seen.append((activity.info().attempt, activity.info().activity_id))
        if activity.info().attempt < 3:
            raise ApplicationError("come back later")
        return activity.info().attempt

    @activity.defn(start_to_close_timeout=HOUR)
    async def wait(self) -> str:
        self.seen.append("waits")
        self.started.set()
        try:
            await self.release.wait()
        finally:
            self.stopped.set()
        return "released"


ACTS: list[Acts] = []


@workflow.defn
class Calls:
    @workflow.run
    async def run(self) -> list[str]:
        handle = workflow.start_local_activity(Acts.note, "first")
        return [
            await workflow.execute_local_activity(Acts.note_in_thread, "second"),
            await handle,
            await workflow.execute_local_activity("note", "third", result_type=str, start_to_close_timeout=MINUTE),
        ]


@workflow.defn
class ManyAtOnce:
    """Each caller gets its own result, however the results are mixed and grouped."""

    @workflow.run
    async def run(self) -> dict[str, str]:
        results: dict[str, str] = {}

        async def call(name: str) -> None:
            results[name] = await workflow.execute_local_activity(Acts.note, name)
            results[f"{name} again"] = await workflow.step(str.upper, name)

        async with anyio.create_task_group() as tg:
            for number in range(8):
                tg.start_soon(call, f"n{number}")
        return results


@workflow.defn
class Retries:
    @workflow.run
    async def run(self) -> tuple[int, bool]:
        return await workflow.execute_local_activity(Acts.fail_twice)


@workflow.defn
class RestsForHours:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_local_activity(Acts.fail_for_an_hour, summary="patient")


@workflow.defn
class GivesUpResting:
    @workflow.run
    async def run(self) -> str:
        with anyio.move_on_after(60):
            await workflow.execute_local_activity(Acts.fail_for_an_hour)
        return await workflow.execute_local_activity(Acts.note, "gave up")


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, kind: str) -> str:
        try:
            if kind == "application":
                await workflow.execute_local_activity(Acts.fail)
            elif kind == "START_TO_CLOSE":
                await workflow.execute_local_activity(Acts.wait, start_to_close_timeout=MOMENT, retry_policy=ONCE)
            elif kind == "SCHEDULE_TO_CLOSE":
                await workflow.execute_local_activity(Acts.wait, schedule_to_close_timeout=MOMENT)
        except ActivityError as error:
            if isinstance(error.cause, TimeoutError) and error.cause.type is not None:
                return f"{error.activity_type}: {error.cause.type.name}"
            details = (error.cause.type, error.cause.details) if isinstance(error.cause, ApplicationError) else ()
            return f"{error.activity_type}: {details}"
        return "no failure"


@workflow.defn
class Cancels:
    @workflow.run
    async def run(self, kind: int) -> str:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tg:

                async def call() -> None:
                    try:
                        await workflow.execute_local_activity(Acts.wait, cancellation_type=Type(kind))
                    finally:
                        with anyio.CancelScope(shield=True):
                            await workflow.step(ACTS[-1].seen.append, "left")

                tg.start_soon(call)
                await workflow.step(until_started)
                scope.cancel()
        return "cancelled" if scope.cancelled_caught else "not cancelled"


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_local_activity(Acts.wait)


async def until_started() -> None:
    await until(ACTS[-1].started)


async def until(event: threading.Event) -> None:
    while not event.is_set():
        await anyio.sleep(0.002)


class Unencodable:
    """An argument that only this process can hold."""

    def __init__(self, number: int) -> None:
        self.number = number


async def number_of(value: Unencodable) -> set[int]:
    return {value.number}


@workflow.defn
class Steps:
    @workflow.run
    async def run(self) -> list[Any]:
        number = 20
        value = await workflow.step(number_of, Unencodable(7), name="the number", summary="reads it")
        assert isinstance(value, set), "decoded to the annotation, live and in a replay"
        return [
            sorted(value),
            await workflow.step(lambda: number + 1),
            await workflow.step(threading.get_ident) == threading.get_ident(),
            await workflow.step(lambda: number_of(Unencodable(number))),
        ]


@workflow.defn
class StepThatFails:
    @workflow.run
    async def run(self) -> str:
        def divide(number: int) -> float:
            return 1 / number

        try:
            return str(await workflow.step(divide, 0, retry_policy=ONCE))
        except ActivityError as error:
            return f"{error.activity_type}: {error.cause.type if isinstance(error.cause, ApplicationError) else error.cause}"


@workflow.defn
class BadSteps:
    @workflow.run
    async def run(self) -> list[str]:
        def touches() -> object:
            return self

        problems = []
        for fn, args in ((self.method, ()), (touches, ()), (print, (self,)), (3, ())):
            try:
                await workflow.step(fn, *args)  # type: ignore[arg-type]
            except TypeError as error:
                problems.append(str(error).split("\n")[0])
        return problems

    def method(self) -> None: ...


WORKFLOWS: list[type] = [
    Calls, ManyAtOnce, Retries, RestsForHours, GivesUpResting, Fails, Cancels, Waits, Steps, StepThatFails, BadSteps,
]  # fmt: skip


@pytest.fixture(params=[1000, 0], ids=["cached", "uncached"])
def cached(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def acts() -> Acts:
    ACTS[:] = [Acts()]
    return ACTS[0]


def worker(env: WorkflowEnvironment, task_queue: str, acts: Acts, **options: Any) -> Worker:
    activities: list[Any] = [acts.note, acts.note_in_thread, acts.fail_twice, acts.fail, acts.fail_for_an_hour, acts.wait]
    return Worker(env.client, task_queue=task_queue, workflows=WORKFLOWS, activities=activities, **options)


async def outcome(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int, run: Any, *args: Any) -> Any:
    """The result of a workflow, whose history replays without calling anything."""
    with anyio.fail_after(30):
        async with worker(env, task_queue, acts, max_cached_workflows=cached):
            handle = await env.client.start_workflow(run, *args, id="it", task_queue=task_queue)
            result = await handle.result()
    seen = list(acts.seen)
    Replayer(workflows=WORKFLOWS).replay(await handle.fetch_history())
    assert acts.seen == seen
    return result


async def test_calls(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    found = await outcome(env, task_queue, acts, cached, Calls.run)
    assert found == ["second noted", "first noted", "third noted"]
    assert sorted(acts.seen) == ["first", "second", "third"]


async def test_several_local_activities_results_reach_the_right_callers_on_replay(
    env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int
) -> None:
    expected = {f"n{n}": f"n{n} noted" for n in range(8)} | {f"n{n} again": f"N{n}" for n in range(8)}
    assert await outcome(env, task_queue, acts, cached, ManyAtOnce.run) == expected
    assert len(acts.seen) == 8


async def test_retries_are_the_workers_own(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    assert tuple(await outcome(env, task_queue, acts, cached, Retries.run)) == (3, True)
    history = await env.client.get_workflow_handle("it").fetch_history()
    assert len(history.events) == 6, "start, task, one marker, end"


async def test_a_long_pause_between_attempts_is_a_durable_timer(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    before = await env.get_current_time()
    assert await outcome(env, task_queue, acts, cached, RestsForHours.run) == 3
    assert acts.seen == [(1, "1"), (2, "1"), (3, "1")]
    assert await env.get_current_time() - before >= 3 * HOUR


async def test_a_rest_is_cancelled_with_its_scope(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    assert await outcome(env, task_queue, acts, cached, GivesUpResting.run) == "gave up noted"
    assert acts.seen == [(1, "1"), "gave up"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application", "fail: ('Broken', ('a detail',))"),
        ("START_TO_CLOSE", "wait: START_TO_CLOSE"),
        ("SCHEDULE_TO_CLOSE", "wait: SCHEDULE_TO_CLOSE"),
    ],
)
async def test_failures(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int, kind: str, expected: str) -> None:
    assert await outcome(env, task_queue, acts, cached, Fails.run, kind) == expected
    if kind in TimeoutType.__members__:  # or it was over before its code began
        assert acts.stopped.is_set() or not acts.started.is_set()


@pytest.mark.parametrize("kind", list(Type))
async def test_cancellation_goes_by_its_type(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int, kind: Type) -> None:
    assert await outcome(env, task_queue, acts, cached, Cancels.run, int(kind)) == "cancelled"
    assert acts.seen == ["waits", "left"]
    assert acts.stopped.is_set(), "at the latest when the worker stops"


async def test_steps(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    assert await outcome(env, task_queue, acts, cached, Steps.run) == [[7], 21, False, [20]]


async def test_a_step_that_fails(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    assert await outcome(env, task_queue, acts, cached, StepThatFails.run) == "divide: ZeroDivisionError"


async def test_steps_that_hold_the_workflow_are_refused(env: WorkflowEnvironment, task_queue: str, acts: Acts) -> None:
    problems = await outcome(env, task_queue, acts, 1000, BadSteps.run)
    held = "the step {!r} holds the workflow's own object, which another thread or task must not touch"
    assert problems == [held.format("method"), held.format("touches"), held.format("print"), "workflow.step calls a function, not 3"]


async def test_a_long_one_keeps_its_task_with_heartbeats(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    """The service would give the task to another worker after a second; the activity is started once all the same."""
    with anyio.fail_after(30):
        async with worker(env, task_queue, acts, max_cached_workflows=cached):
            handle = await env.client.start_workflow(Waits.run, id="long", task_queue=task_queue, task_timeout=timedelta(seconds=1))
            completed = 0
            while completed < 2:
                events = (await handle.fetch_history()).events
                completed = sum(event.HasField("workflow_task_completed_event_attributes") for event in events)
                assert not any(event.HasField("workflow_task_timed_out_event_attributes") for event in events)
                await anyio.sleep(0.02)
            acts.release.set()
            assert await handle.result() == "released"
    assert acts.seen == ["waits"]
    Replayer(workflows=WORKFLOWS).replay(await handle.fetch_history())


async def test_what_a_stop_cuts_off_runs_again_elsewhere(env: WorkflowEnvironment, task_queue: str, acts: Acts, cached: int) -> None:
    with anyio.fail_after(30):
        async with worker(env, task_queue, acts, max_cached_workflows=cached):
            handle = await env.client.start_workflow(Waits.run, id="cut", task_queue=task_queue)
            await until(acts.started)
        assert acts.stopped.is_set()
        acts.release.set()
        async with worker(env, task_queue, acts, max_cached_workflows=cached):
            assert await handle.result() == "released"
    assert acts.seen == ["waits", "waits"]
    events = (await handle.fetch_history()).events
    timed_out = [event for event in events if event.HasField("workflow_task_timed_out_event_attributes")]
    assert not timed_out, "it was handed back, not left to time out"


async def test_what_a_stopping_worker_lets_finish_counts(env: WorkflowEnvironment, task_queue: str, acts: Acts) -> None:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tg:

            async def release_later() -> None:
                await anyio.sleep(0.02)
                acts.release.set()

            async with worker(env, task_queue, acts, graceful_shutdown_timeout=timedelta(seconds=10)):
                handle = await env.client.start_workflow(Waits.run, id="graceful", task_queue=task_queue)
                await until(acts.started)
                tg.start_soon(release_later)
        async with worker(env, task_queue, acts):
            assert await handle.result() == "released"
    assert acts.seen == ["waits"]


async def test_cancelling_the_workflow_cancels_it(env: WorkflowEnvironment, task_queue: str, acts: Acts) -> None:
    with anyio.fail_after(30):
        async with worker(env, task_queue, acts):
            handle = await env.client.start_workflow(Waits.run, id="c", task_queue=task_queue, task_timeout=timedelta(seconds=1))
            await until(acts.started)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
            await until(acts.stopped)
    assert isinstance(caught.value.cause, CancelledError)
