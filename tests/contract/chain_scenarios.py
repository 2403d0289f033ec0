"""What a start can ask for, and what follows a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable_anyio import Client, RetryPolicy
from durable_anyio.common import Priority, WorkflowExecutionStatus, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable_anyio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
)

from .chain_workflows import (
    ONCE_A_SECOND,
    SECOND,
    ContinuesOnce,
    ContinuesWithOptions,
    Counts,
    FailsUntil,
    ForPeople,
    HangsFirst,
    RetriesChild,
    Sleeps,
    TellsInfo,
    TellsPriorities,
    TellsReason,
    Told,
)
from .scenario import Handle, Scenario, gives

Begin = Callable[[Client, str, str], Awaitable[Handle]]
EVERY_SECOND = "@every 1s"
TWICE = RetryPolicy(initial_interval=SECOND, backoff_coefficient=1.0, maximum_attempts=2)


def starts(workflow: Any, *args: object, **options: Any) -> Begin:
    """Starts the workflow with options."""

    async def begin(client: Client, task_queue: str, workflow_id: str) -> Handle:
        start: Any = client.start_workflow
        handle: Handle = await start(workflow.run, *args, id=workflow_id, task_queue=task_queue, **options)
        return handle

    return begin


async def next_run(handle: Handle) -> Handle:
    """A handle of the run that follows; waits for the end of this one. Its history is the one that is kept."""
    with contextlib.suppress(WorkflowContinuedAsNewError, WorkflowFailureError):
        await handle.result(follow_runs=False)
    run = handle.client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
    end = (await run.fetch_history()).events[-1]
    attributes = getattr(end, end.WhichOneof("attributes"))
    following = attributes.new_execution_run_id
    return handle.client.get_workflow_handle(handle.id, run_id=following, first_execution_run_id=following)


def later(begin: Begin, runs: int = 1) -> Begin:
    """A later run of what is begun."""

    async def begin_later(client: Client, task_queue: str, workflow_id: str) -> Handle:
        handle = await begin(client, task_queue, workflow_id)
        for _ in range(runs):
            handle = await next_run(handle)
        return handle

    return begin_later


async def retry_state_of(handle: Handle, run_id: str | None = None) -> int:
    events = (await handle.client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()).events
    return int(getattr(events[-1], events[-1].WhichOneof("attributes")).retry_state)


def fails_with(message: str, retry_state: int) -> Callable[[Handle], Awaitable[None]]:
    async def check(handle: Handle) -> None:
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.message == message
        assert await retry_state_of(handle) == retry_state

    return check


def times_out(retry_state: int) -> Callable[[Handle], Awaitable[None]]:
    async def check(handle: Handle) -> None:
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, TimeoutError)
        assert await retry_state_of(handle) == retry_state

    return check


def counts(expected: list[Any]) -> Callable[[Handle], Awaitable[None]]:
    """What a run of a cron schedule returns; then the schedule ends."""

    async def check(handle: Handle) -> None:
        assert await handle.result(follow_runs=False) == expected
        await handle.client.get_workflow_handle(handle.id).terminate(reason="seen enough")

    return check


async def takes_its_place(client: Client, task_queue: str, workflow_id: str) -> Handle:
    first = await client.start_workflow(Told.run, 1, id=workflow_id, task_queue=task_queue)
    second = await client.start_workflow(
        Told.run, 1, id=workflow_id, task_queue=task_queue, id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING
    )
    assert second.result_run_id != first.result_run_id
    with pytest.raises(WorkflowFailureError) as caught:
        await first.result()
    assert isinstance(caught.value.cause, TerminatedError)
    assert caught.value.cause.message == "TerminateIfRunning WorkflowIdReusePolicy"
    assert caught.value.cause.details == (f"terminated by new runID: {second.result_run_id}",)
    await second.signal(Told.tell, "here")
    return second


async def shares_it(client: Client, task_queue: str, workflow_id: str) -> Handle:
    first = await client.start_workflow(Told.run, 1, id=workflow_id, task_queue=task_queue)
    with pytest.raises(WorkflowAlreadyStartedError):
        await client.start_workflow(Told.run, 1, id=workflow_id, task_queue=task_queue)
    second = await client.start_workflow(
        Told.run, 1, id=workflow_id, task_queue=task_queue, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    assert second.result_run_id == first.result_run_id
    await second.signal(Told.tell, "shared")
    return first


async def uses_id_again(client: Client, task_queue: str, workflow_id: str) -> Handle:
    def start(policy: WorkflowIDReusePolicy) -> Awaitable[Handle]:
        return client.start_workflow(FailsUntil.run, 0, id=workflow_id, task_queue=task_queue, id_reuse_policy=policy)

    first = await start(WorkflowIDReusePolicy.REJECT_DUPLICATE)
    await first.result()
    for policy in (WorkflowIDReusePolicy.REJECT_DUPLICATE, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY):
        with pytest.raises(WorkflowAlreadyStartedError) as caught:
            await start(policy)
        assert caught.value.run_id == first.result_run_id
    failed = await client.start_workflow(FailsUntil.run, 2, id=workflow_id, task_queue=task_queue)
    with pytest.raises(WorkflowFailureError):
        await failed.result()
    return await start(WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)


async def signals_with_start(client: Client, task_queue: str, workflow_id: str) -> Handle:
    first = await client.start_workflow(
        Told.run, 3, id=workflow_id, task_queue=task_queue, start_signal=Told.tell, start_signal_args=["one"]
    )
    second = await client.start_workflow(Told.run, 3, id=workflow_id, task_queue=task_queue, start_signal="tell", start_signal_args=["two"])
    assert second.result_run_id == first.result_run_id
    await first.signal(Told.tell, "three")
    return first


async def tell_early(handle: Handle) -> None:
    await handle.signal(Told.tell, "early")


async def starts_and_tells(handle: Handle) -> None:
    """The words are there before the first task."""
    description = await handle.describe()
    assert description.execution_time is not None
    assert description.start_time is not None
    assert description.execution_time - description.start_time == SECOND
    await tell_early(handle)


async def cancel_with_reason(handle: Handle) -> None:
    assert await handle.query(TellsReason.is_there)  # then it waits
    await handle.cancel(reason="it rains")


async def is_for_people(handle: Handle) -> None:
    assert await handle.result() == "asks for its priority"
    description = await handle.describe()
    assert (description.static_summary, description.static_details) == ("one line", "# more\nthan that")
    child = await handle.client.get_workflow_handle(f"{handle.id}/child").describe()
    assert (child.static_summary, child.static_details) == ("a *small* one", "It does nothing.")
    # A run that has ended answers, too.
    metadata = await handle.query("__temporal_workflow_metadata")
    assert metadata["currentDetails"] == "asks for its priority"
    definition = metadata["definition"]
    assert definition["type"] == "ForPeople"
    assert definition["queryDefinitions"] == [{"name": "anything", "description": "Whether there is anything."}]
    assert definition["signalDefinitions"] == [{"name": "hint"}]
    assert definition["updateDefinitions"] == [{"name": "change", "description": "Changes nothing."}]
    events = json.loads((await handle.fetch_history()).to_json())["events"]
    assert sum("userMetadata" in event for event in events) == 5


async def is_waiting(handle: Handle) -> None:
    """The stack of a run shows where it waits."""
    assert "wait_condition" in await handle.query("__stack_trace")
    await handle.signal(Told.tell, "go")


async def keeps_status(handle: Handle) -> None:
    assert await handle.result() == [2, "Flaky: attempt 1", True]
    first = await handle.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).describe()
    assert first.status is WorkflowExecutionStatus.FAILED
    assert first.raw.first_run_id == handle.first_execution_run_id


async def cancel_early(handle: Handle) -> None:
    await handle.cancel(reason="never mind")


async def is_cancelled(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)


async def cancel_there(handle: Handle) -> None:
    assert await handle.query(Sleeps.is_there)
    await handle.cancel()


async def wakes_it(client: Client, task_queue: str, workflow_id: str) -> Handle:
    """A second start with a signal ends the delay of the first."""
    handle = await client.start_workflow(
        Told.run, 2, id=workflow_id, task_queue=task_queue, start_delay=3600 * SECOND, start_signal=Told.tell, start_signal_args=["one"]
    )
    await handle.signal(Told.tell, "two")
    assert len((await handle.fetch_history()).events) == 3
    await client.start_workflow(
        Told.run, 2, id=workflow_id, task_queue=task_queue, start_delay=3600 * SECOND, start_signal=Told.tell, start_signal_args=["three"]
    )
    return handle


INFO = {
    "attempt": 1,
    "first": True,
    "continued": None,
    "cron": None,
    "task": 10.0,
    "retries": None,
    "is small": True,
    "length": 3,
    "suggested": False,
    "priority": True,
}


async def tells_info(handle: Handle) -> None:
    told = await handle.result()
    parent = handle.id.rpartition("-")[0]
    child = {**INFO, "execution": None, "run": 30.0, "parent": parent, "root": parent}
    assert told == {**INFO, "execution": 60.0, "run": 40.0, "task": 7.0, "retries": 3, "parent": None, "root": None, "child": child}


PRIORITY = Priority(priority_key=2, fairness_key="team", fairness_weight=2.5)
SPECIAL = [[2, "special", 2.5], [2, "special", 2.5], [5, "special", 2.5]]
PLAIN = [[2, "team", 2.5], [2, "team", 2.5], [5, "team", 2.5]]
NOT_RETRYABLE, TIMEOUT, ATTEMPTS, NO_POLICY = 2, 3, 4, 5
FLAKY = RetryPolicy(initial_interval=SECOND, non_retryable_error_types=["Flaky"])
GROWING = RetryPolicy(initial_interval=SECOND, backoff_coefficient=60.0)
twice = starts(FailsUntil, 2, retry_policy=ONCE_A_SECOND)
cron = starts(Counts, 2, cron_schedule=EVERY_SECOND)

CHAIN_SCENARIOS = [
    Scenario("a retried workflow", FailsUntil, (2,), keeps_status, begin=twice),
    Scenario("the second attempt of a workflow", FailsUntil, (2,), gives([2, "Flaky: attempt 1", True]), begin=later(twice)),
    Scenario(
        "a workflow out of attempts", FailsUntil, (9,), fails_with("attempt 2", ATTEMPTS), begin=starts(FailsUntil, 9, retry_policy=TWICE)
    ),
    Scenario(
        "a workflow failure of a type not retried",
        FailsUntil,
        (2,),
        fails_with("attempt 1", NOT_RETRYABLE),
        begin=starts(FailsUntil, 2, retry_policy=FLAKY),
    ),
    Scenario(
        "a workflow failure not retried",
        FailsUntil,
        (2, True),
        fails_with("attempt 1", NOT_RETRYABLE),
        begin=starts(FailsUntil, 2, True, retry_policy=TWICE),
    ),
    Scenario("a workflow failure without a policy", FailsUntil, (2,), fails_with("attempt 1", NO_POLICY)),
    Scenario(
        "a workflow retried when it asks",
        FailsUntil,
        (2, False, 2.0),
        gives([2, "Flaky: attempt 1", True]),
        begin=later(starts(FailsUntil, 2, False, 2.0, retry_policy=TWICE)),
    ),
    Scenario(
        "a workflow retried after its time",
        HangsFirst,
        (),
        gives(2),
        begin=later(starts(HangsFirst, run_timeout=5 * SECOND, retry_policy=TWICE)),
    ),
    Scenario(
        "a workflow not retried beyond its time",
        FailsUntil,
        (9,),
        fails_with("attempt 2", TIMEOUT),
        begin=starts(FailsUntil, 9, retry_policy=GROWING, execution_timeout=30 * SECOND),
    ),
    Scenario("a run out of time", HangsFirst, (), times_out(NO_POLICY), begin=starts(HangsFirst, run_timeout=SECOND)),
    Scenario(
        "an execution out of time",
        HangsFirst,
        (),
        times_out(TIMEOUT),
        begin=starts(HangsFirst, execution_timeout=SECOND, retry_policy=TWICE),
    ),
    Scenario("a retried child", RetriesChild, (2,), gives("[2, 'Flaky: attempt 1']")),
    Scenario("a child out of attempts", RetriesChild, (9,), gives("Flaky: attempt 2")),
    Scenario("a cron schedule", Counts, (2,), counts([1, EVERY_SECOND, None]), begin=cron),
    Scenario("a cron schedule after a failure", Counts, (2,), counts([2, EVERY_SECOND, "Unlucky: number 2"]), begin=later(cron, 2)),
    Scenario("a delayed start", FailsUntil, (0,), gives([1, "None", False]), begin=starts(FailsUntil, 0, start_delay=SECOND)),
    Scenario(
        "a delayed start that is signalled", Told, (1,), gives(["early"]), starts_and_tells, begin=starts(Told, 1, start_delay=SECOND)
    ),
    Scenario("a delayed start that is cancelled", Sleeps, (), is_cancelled, cancel_early, begin=starts(Sleeps, start_delay=SECOND)),
    Scenario("a delayed start that is woken", Told, (2,), gives(["one", "two", "three"]), begin=wakes_it),
    Scenario(
        "a workflow with a policy that is cancelled", Sleeps, (), is_cancelled, cancel_there, begin=starts(Sleeps, retry_policy=TWICE)
    ),
    Scenario("a cron schedule that is cancelled", Sleeps, (), is_cancelled, cancel_there, begin=starts(Sleeps, cron_schedule=EVERY_SECOND)),
    Scenario(
        "a cron schedule that continues as new",
        ContinuesOnce,
        (1,),
        gives([1, None]),
        begin=starts(ContinuesOnce, 1, cron_schedule=EVERY_SECOND),
    ),
    Scenario(
        "a continued run that is retried",
        ContinuesOnce,
        (1, True),
        gives([2, None]),
        begin=later(starts(ContinuesOnce, 1, True, retry_policy=TWICE), 2),
    ),
    Scenario("a workflow that takes another's place", Told, (1,), gives(["here"]), begin=takes_its_place),
    Scenario("a workflow that is shared", Told, (1,), gives(["shared"]), begin=shares_it),
    Scenario("an id that is used again", FailsUntil, (0,), gives([1, "None", False]), begin=uses_id_again),
    Scenario("continue as new with options", ContinuesWithOptions, (True,), gives([50.0, 5.0, None, 1.0, {"more": 1}])),
    Scenario(
        "a run continued with options",
        ContinuesWithOptions,
        (True,),
        gives([50.0, 5.0, None, 1.0, {"more": 1}]),
        begin=later(starts(ContinuesWithOptions, True)),
    ),
    Scenario("an eager start", FailsUntil, (0,), gives([1, "None", False]), begin=starts(FailsUntil, 0, request_eager_start=True)),
    Scenario(
        "an eager start that is delayed",
        FailsUntil,
        (0,),
        gives([1, "None", False]),
        begin=starts(FailsUntil, 0, request_eager_start=True, start_delay=SECOND),
    ),
    Scenario("a start with a signal", Told, (3,), gives(["one", "two", "three"]), begin=signals_with_start),
    Scenario(
        "texts for people",
        ForPeople,
        (),
        is_for_people,
        begin=starts(ForPeople, static_summary="one line", static_details="# more\nthan that"),
    ),
    Scenario("a stack for people", Told, (1,), gives(["go"]), is_waiting),
    Scenario("priorities", TellsPriorities, (), gives([*PLAIN, SPECIAL, PLAIN]), begin=starts(TellsPriorities, priority=PRIORITY)),
    Scenario(
        "what a run knows",
        TellsInfo,
        (),
        tells_info,
        begin=starts(
            TellsInfo,
            execution_timeout=60 * SECOND,
            run_timeout=40 * SECOND,
            task_timeout=7 * SECOND,
            retry_policy=RetryPolicy(maximum_attempts=3),
        ),
    ),
    Scenario("the reason of a cancellation", TellsReason, (), gives("cancelled: it rains"), cancel_with_reason),
]
