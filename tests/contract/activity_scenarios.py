"""Scenarios of activities: completed from outside, paused, reset, changed, timed out, retried, cancelled, eager."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Client, RetryPolicy, activity, workflow
from durable_anyio.client import AsyncActivityHandle
from durable_anyio.exceptions import (
    ActivityError,
    ApplicationError,
    AsyncActivityCancelledError,
    CancelledError,
    TimeoutError,
)
from durable_anyio.workflow import ActivityCancellationType

from .scenario import Handle, Scenario, gives

QUICK = timedelta(seconds=10)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
ID = "the-activity"
NOBODY = "a queue that nobody polls"
#: Workflows whose activity was here once: attempts are counted anew by a reset.
SEEN: set[str] = set()
ASKED = activity.ActivityCancellationDetails(cancel_requested=True)


# -- activities


@activity.defn(start_to_close_timeout=HOUR)
async def completed_outside() -> str:
    """Tells its token with a heartbeat; from the second attempt on it tells what the first left."""
    info = activity.info()
    if info.attempt > 1:
        return f"attempt {info.attempt} {list(info.heartbeat_details)}"
    activity.heartbeat(info.task_token.hex())
    activity.raise_complete_async()


@activity.defn(start_to_close_timeout=HOUR)
async def leaves_in_a_group() -> Any:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
        activity.heartbeat(activity.info().task_token.hex())
        activity.raise_complete_async()


@activity.defn(start_to_close_timeout=HOUR)
def leaves_a_thread() -> str:
    activity.heartbeat(activity.info().task_token.hex())
    activity.raise_complete_async()


@activity.defn(start_to_close_timeout=HOUR, heartbeat_timeout=SECOND)
async def beats_until_stopped() -> str:
    """On the first attempt it works until it is stopped; then it tells why."""
    info = activity.info()
    if info.attempt > 1 or info.workflow_id in SEEN:
        return f"attempt {info.attempt} {list(info.heartbeat_details)}"
    SEEN.add(info.workflow_id)
    while True:
        activity.heartbeat("alive")
        await anyio.sleep(0.02)


@activity.defn(start_to_close_timeout=HOUR, heartbeat_timeout=SECOND)
async def tells_why_it_stops() -> str:
    with anyio.CancelScope(shield=True) as scope:
        async with anyio.create_task_group() as group:

            async def beat() -> None:
                while True:
                    activity.heartbeat()
                    await anyio.sleep(0.02)

            group.start_soon(beat)
            await activity.wait_for_cancelled()
            scope.cancel()
    return str(activity.cancellation_details())


@activity.defn(start_to_close_timeout=QUICK, retry_policy=RetryPolicy(initial_interval=HOUR))
async def fails_once() -> str:
    info = activity.info()
    if info.workflow_id not in SEEN:
        SEEN.add(info.workflow_id)
        raise ApplicationError("not yet")
    return f"attempt {info.attempt}"


@activity.defn(start_to_close_timeout=QUICK)
async def word(text: str) -> str:
    return text


@activity.defn(start_to_close_timeout=QUICK)
async def word_of_attempt() -> str:
    return f"attempt {activity.info().attempt}"


@activity.defn(start_to_close_timeout=QUICK, retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)))
async def beats_and_fails(*details: str) -> list[Any]:
    if activity.info().attempt == 1:
        for detail in details:
            activity.heartbeat(*[detail] if detail else [])
        raise ApplicationError("once")
    return list(activity.info().heartbeat_details)


@activity.defn(start_to_close_timeout=SECOND, retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)))
async def hangs_once() -> int:
    if activity.info().attempt == 1:
        await anyio.sleep_forever()
    return activity.info().attempt


@activity.defn(start_to_close_timeout=QUICK)
async def raises(kind: str, delay: float) -> None:
    raise ApplicationError(f"attempt {activity.info().attempt}", type=kind, next_retry_delay=timedelta(seconds=delay) if delay else None)


@activity.defn(start_to_close_timeout=QUICK, retry_policy=RetryPolicy(maximum_attempts=1))
async def cancels_itself() -> None:
    raise CancelledError("its own idea")


@activity.defn(start_to_close_timeout=QUICK)
async def signals_its_workflow() -> None:
    info = activity.info()
    await activity.client().get_workflow_handle(info.workflow_id).signal("tell", f"from {info.activity_type}")


CONTRACT_ACTIVITIES: list[Callable[..., Any]] = [
    completed_outside, leaves_in_a_group, leaves_a_thread, beats_until_stopped, tells_why_it_stops, fails_once, word, word_of_attempt,
    beats_and_fails, hangs_once, raises, cancels_itself, signals_its_workflow,
]  # fmt: skip


# -- workflows


@workflow.defn
class RunsOne:
    """Runs one activity by its name; an empty task queue is the workflow's own."""

    @workflow.run
    async def run(self, name: str, task_queue: str) -> Any:
        options: dict[str, Any] = {"task_queue": task_queue} if task_queue else {}
        fn: Any = next(a for a in CONTRACT_ACTIVITIES if getattr(a, "name", "") == name)
        try:
            return await workflow.execute_activity(fn, activity_id=ID, **options)
        except ActivityError as error:
            return f"{type(error.cause).__name__}: {error.cause} {getattr(error.retry_state, 'name', None)}"


@workflow.defn
class CancelsOne:
    """Cancels an activity when it is told to, and waits for its end."""

    def __init__(self) -> None:
        self.told = anyio.Event()

    @workflow.signal
    def stop(self) -> None:
        self.told.set()

    @workflow.run
    async def run(self, name: str) -> str:
        fn: Any = next(a for a in CONTRACT_ACTIVITIES if getattr(a, "name", "") == name)
        wait = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        running = workflow.start_activity(fn, activity_id=ID, cancellation_type=wait)
        await self.told.wait()
        running.cancel()
        try:
            return f"result {await running}"
        except ActivityError as error:
            details = error.cause.details if isinstance(error.cause, CancelledError) else [error.cause]
            return f"cancelled {list(details)}"


@workflow.defn
class RetryOptions:
    """Activities that fail for good, one for each reason."""

    @workflow.run
    async def run(self) -> list[str]:
        soon = timedelta(milliseconds=10)
        found = []
        reasons: list[tuple[str, float, Any]] = [
            ("Never", 0.0, {"retry_policy": RetryPolicy(initial_interval=soon, non_retryable_error_types=["Never"])}),
            ("Twice", 0.0, {"retry_policy": RetryPolicy(initial_interval=soon, maximum_attempts=2)}),
            ("Delayed", 0.01, {"retry_policy": RetryPolicy(initial_interval=HOUR, maximum_attempts=3)}),
            ("Late", 0.0, {"retry_policy": RetryPolicy(initial_interval=HOUR), "schedule_to_close_timeout": QUICK}),
        ]
        for kind, delay, options in reasons:
            try:
                await workflow.execute_activity(raises, kind, delay, **options)
            except ActivityError as error:
                cause = error.cause
                text = f"{cause.type} {cause.message}" if isinstance(cause, ApplicationError) else f"{type(cause).__name__}"
                found.append(f"{text} {getattr(error.retry_state, 'name', None)}")
        return found


@workflow.defn
class NobodyStarts:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_activity(word, "x", task_queue=NOBODY, schedule_to_start_timeout=timedelta(milliseconds=300))
        except ActivityError as error:
            kind = error.cause.type if isinstance(error.cause, TimeoutError) else None
            return str(getattr(kind, "name", error.cause))
        return "started"


@workflow.defn
class Beats:
    @workflow.run
    async def run(self, details: list[str]) -> list[Any]:
        return await beats_and_fails(*details)


@workflow.defn
class EagerAndNot:
    """More activities at once than come with an answer, some of them on no account."""

    @workflow.run
    async def run(self, count: int) -> list[str]:
        found = [""] * count

        async def say(number: int) -> None:
            found[number] = await workflow.execute_activity(word, str(number), disable_eager_execution=number % 3 == 1)

        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(say, number)
        return [*found, await word("then"), await word("one more")]


@workflow.defn
class WithdrawsEager:
    """Schedules an activity and cancels it in the same task: it is never commanded, whatever was wished."""

    @workflow.run
    async def run(self) -> str:
        running = workflow.start_activity(word, "never")
        running.cancel()
        kept = workflow.start_activity(word, "kept")
        return await kept


@workflow.defn
class ToldByItsActivity:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def tell(self, text: str) -> None:
        self.words.append(text)

    @workflow.run
    async def run(self) -> list[str]:
        await signals_its_workflow()
        await workflow.wait_condition(lambda: bool(self.words))
        return self.words


CONTRACT_ACTIVITY_WORKFLOWS: list[type] = [
    RunsOne, CancelsOne, RetryOptions, NobodyStarts, Beats, EagerAndNot, WithdrawsEager, ToldByItsActivity,
]  # fmt: skip


# -- what is done meanwhile


async def pending(handle: Handle, is_there: Callable[[Any], bool]) -> Any:
    """The workflow's one pending activity, once it is as it is waited for."""
    service, execution = handle._client.service, {"workflow_id": handle.id}
    request = service.request("DescribeWorkflowExecution", namespace=handle._client.namespace, execution=execution)
    with anyio.fail_after(60):
        while True:
            infos = (await service.call("DescribeWorkflowExecution", request)).pending_activities
            if infos and is_there(infos[0]):
                return infos[0]
            await anyio.sleep(0.01)


def in_state(name: str) -> Callable[[Any], bool]:
    number = {"SCHEDULED": 1, "STARTED": 2, "CANCEL_REQUESTED": 3, "PAUSED": 4, "PAUSE_REQUESTED": 5}[name]
    return lambda info: bool(info.state == number)


async def ask(handle: Handle, rpc: str, **fields: Any) -> Any:
    """Asks something of the workflow's activity; `fields` over an id."""
    service = handle._client.service
    given = {"namespace": handle._client.namespace, "execution": {"workflow_id": handle.id}, "id": ID, "identity": "the test", **fields}
    return await service.call(rpc, service.request(rpc, **given))


async def by_token(handle: Handle) -> AsyncActivityHandle:
    info = await pending(handle, lambda info: bool(info.heartbeat_details.payloads))
    (token,) = handle._client.data_converter.from_payloads(info.heartbeat_details.payloads, [str])
    return handle._client.get_async_activity_handle(task_token=bytes.fromhex(token))


async def by_id(handle: Handle) -> AsyncActivityHandle:
    await by_token(handle)
    return handle._client.get_async_activity_handle(workflow_id=handle.id, activity_id=ID)


Find = Callable[[Handle], Awaitable[AsyncActivityHandle]]


def completes(find: Find) -> Callable[[Handle], Awaitable[None]]:
    async def act(handle: Handle) -> None:
        found = await find(handle)
        await found.heartbeat("half way")
        await found.complete("from outside")

    return act


def fails(find: Find, **options: Any) -> Callable[[Handle], Awaitable[None]]:
    async def act(handle: Handle) -> None:
        await (await find(handle)).fail(ApplicationError("it broke", type="Outside", **options), "what there was")

    return act


async def never_started_is_completed(handle: Handle) -> None:
    await pending(handle, in_state("SCHEDULED"))
    await handle._client.get_async_activity_handle(workflow_id=handle.id, activity_id=ID).complete("nobody started it")


async def stops_and_reports(handle: Handle) -> None:
    found = await by_id(handle)
    await handle.signal("stop")
    with anyio.fail_after(60), pytest.raises(AsyncActivityCancelledError) as caught:
        while True:
            await found.heartbeat()
            await anyio.sleep(0.01)
    assert caught.value.details == ASKED
    await found.report_cancellation("a detail")


async def stops(handle: Handle) -> None:
    await pending(handle, in_state("STARTED"))
    await handle.signal("stop")


async def pauses_while_it_runs(handle: Handle) -> None:
    await pending(handle, in_state("STARTED"))
    await ask(handle, "PauseActivity", reason="lunch")
    info = await pending(handle, in_state("PAUSED"))
    assert (info.attempt, info.paused, info.pause_info.manual.reason) == (2, True, "lunch")
    assert info.last_failure.application_failure_info.type == "ActivityPause"
    await ask(handle, "UnpauseActivity")


async def pauses_before_it_starts(handle: Handle) -> None:
    queue = (await handle.describe()).task_queue
    await pending(handle, in_state("SCHEDULED"))
    await ask(handle, "PauseActivity")
    moved = {"task_queue": {"name": queue}}
    changed = await ask(handle, "UpdateActivityOptions", activity_options=moved, update_mask={"paths": ["task_queue.name"]})
    assert changed.activity_options.task_queue.name == queue
    await pending(handle, in_state("PAUSED"))
    await ask(handle, "UnpauseActivity", reset_attempts=True)


async def resets_while_it_waits(handle: Handle) -> None:
    await pending(handle, lambda info: bool(info.attempt == 2))
    await ask(handle, "ResetActivity")


async def resets_while_it_runs(handle: Handle) -> None:
    await pending(handle, lambda info: bool(info.state == 2 and info.heartbeat_details.payloads))
    await ask(handle, "ResetActivity", reset_heartbeat=True)


async def shortens_the_wait(handle: Handle) -> None:
    await pending(handle, lambda info: bool(info.attempt == 2))
    policy = {"retry_policy": {"initial_interval": timedelta(milliseconds=1)}}
    await ask(handle, "UpdateActivityOptions", activity_options=policy, update_mask={"paths": ["retry_policy.initial_interval"]})


async def asks_for_nothing(handle: Handle) -> None:
    """What is refused, and with which words."""
    await pending(handle, in_state("SCHEDULED"))
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("PauseActivity", {"id": "no such"}, "Can't find pending activity"),
        ("PauseActivity", {"execution": {}}, "WorkflowId is not set"),
        ("ResetActivity", {"id": "no such"}, "Can't find pending activity"),
        ("UpdateActivityOptions", {}, "not provided"),
        ("UpdateActivityOptions", {"restore_original": True, "update_mask": {"paths": ["heartbeat_timeout"]}}, "Both UpdateMask"),
    ]
    for rpc, fields, words in refused:
        with pytest.raises(Exception, match=words):
            await ask(handle, rpc, **fields)
    client: Client = handle._client
    with pytest.raises(Exception, match="cannot find pending activity"):
        await client.get_async_activity_handle(workflow_id=handle.id, activity_id="no such").complete()
    with pytest.raises(Exception, match="activity already timed out"):
        await client.get_async_activity_handle(workflow_id=handle.id, activity_id=ID).fail(ValueError("not started"))
    await never_started_is_completed(handle)


ACTIVITY_SCENARIOS = [
    Scenario("an activity completed by its id", RunsOne, ("completed_outside", ""), gives("from outside"), completes(by_id)),
    Scenario("an activity completed by its token", RunsOne, ("completed_outside", ""), gives("from outside"), completes(by_token)),
    Scenario("an activity completed from a group", RunsOne, ("leaves_in_a_group", ""), gives("from outside"), completes(by_token)),
    Scenario("an activity completed from a thread", RunsOne, ("leaves_a_thread", ""), gives("from outside"), completes(by_token)),
    Scenario("an activity that failed outside", RunsOne, ("completed_outside", ""), gives("attempt 2 ['what there was']"), fails(by_token)),
    Scenario(
        "an activity that failed outside for good",
        RunsOne,
        ("completed_outside", ""),
        gives("ApplicationError: Outside: it broke NON_RETRYABLE_FAILURE"),
        fails(by_id, non_retryable=True),
    ),
    Scenario("an activity stopped outside", CancelsOne, ("completed_outside",), gives("cancelled ['a detail']"), stops_and_reports),
    Scenario(
        "an activity completed before its start",
        RunsOne,
        ("word_of_attempt", NOBODY),
        gives("nobody started it"),
        never_started_is_completed,
    ),
    Scenario(
        "requests about activities that are refused", RunsOne, ("word_of_attempt", NOBODY), gives("nobody started it"), asks_for_nothing
    ),
    Scenario("an activity that says why it stops", CancelsOne, ("tells_why_it_stops",), gives(f"result {ASKED}"), stops),
    Scenario("an activity paused while it runs", RunsOne, ("beats_until_stopped", ""), gives("attempt 2 ['alive']"), pauses_while_it_runs),
    Scenario("an activity paused and moved", RunsOne, ("word_of_attempt", NOBODY), gives("attempt 1"), pauses_before_it_starts),
    Scenario("an activity reset while it waits", RunsOne, ("fails_once", ""), gives("attempt 1"), resets_while_it_waits),
    Scenario("an activity reset while it runs", RunsOne, ("beats_until_stopped", ""), gives("attempt 2 []"), resets_while_it_runs),
    Scenario("an activity whose wait is shortened", RunsOne, ("fails_once", ""), gives("attempt 2"), shortens_the_wait),
    Scenario("the last details of heartbeats", Beats, (["a", "b", "c"],), gives(["c"])),
    Scenario("a heartbeat without details", Beats, (["a", ""],), gives([])),
    Scenario("an attempt that times out", RunsOne, ("hangs_once", ""), gives(2)),
    Scenario("an activity that nobody starts", NobodyStarts, (), gives("SCHEDULE_TO_START")),
    Scenario(
        "reasons to retry no more",
        RetryOptions,
        (),
        gives(
            [
                "Never attempt 1 NON_RETRYABLE_FAILURE",
                "Twice attempt 2 MAXIMUM_ATTEMPTS_REACHED",
                "Delayed attempt 3 MAXIMUM_ATTEMPTS_REACHED",
                "Late attempt 1 TIMEOUT",
            ]
        ),
    ),
    Scenario(
        "an activity that cancels itself",
        RunsOne,
        ("cancels_itself", ""),
        gives("ApplicationError: CancelledError: CancelledError: its own idea MAXIMUM_ATTEMPTS_REACHED"),
    ),
    Scenario("eager activities and others", EagerAndNot, (7,), gives([*map(str, range(7)), "then", "one more"])),
    Scenario("an eager activity that is withdrawn", WithdrawsEager, (), gives("kept")),
    Scenario("an activity that signals its workflow", ToldByItsActivity, (), gives(["from signals_its_workflow"])),
]
