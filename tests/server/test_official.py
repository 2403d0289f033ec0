"""The official Python SDK, worker and client, against our server; and against the real one, where there is one, to say what is right."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

temporalio = pytest.importorskip("temporalio")

from temporalio.client import (  # noqa: E402  # after the check that it is there
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import (  # noqa: E402
    QueryRejectCondition,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import (  # noqa: E402
    ActivityError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode  # noqa: E402
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker  # noqa: E402

from . import official_workflows as w  # noqa: E402

pytestmark = pytest.mark.anyio

REAL = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")


@pytest.fixture
def anyio_backend() -> str:
    """The official SDK runs on asyncio only."""
    return "asyncio"


@pytest.fixture(
    params=["served", pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="DURABLE_ANYIO_TEST_SERVER=HOST:PORT names none"))]
)
def address(request: pytest.FixtureRequest) -> str:
    return REAL if request.param == "real" else str(request.getfixturevalue("server").address)


@dataclass
class Place:
    """A client, a worker's queue and ids of the test's own."""

    client: Client
    queue: str
    unique: str

    async def start(self, run: Any, *args: Any, name: str = "workflow", **options: Any) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(run, args=args, id=f"{name}-{self.unique}", task_queue=self.queue, **options)

    async def execute(self, run: Any, *args: Any, name: str = "workflow", **options: Any) -> Any:
        return await (await self.start(run, *args, name=name, **options)).result()

    def worker(self, **options: Any) -> Worker:
        return _worker(self.client, self.queue, **options)


def _worker(client: Client, queue: str, **options: Any) -> Worker:
    chosen: dict[str, Any] = {
        "workflows": w.WORKFLOWS,
        "activities": w.ACTIVITIES,
        "activity_executor": ThreadPoolExecutor(4, thread_name_prefix="threads"),
        "workflow_runner": UnsandboxedWorkflowRunner(),
    }
    return Worker(client, task_queue=queue, **(chosen | options))


@asynccontextmanager
async def _place(address: str) -> AsyncIterator[Place]:
    client = await Client.connect(address)
    unique = uuid.uuid4().hex[:12]
    yield Place(client, f"official-{unique}", unique)


@pytest.fixture
async def alone(address: str, anyio_backend: str) -> AsyncIterator[Place]:
    """Without a worker."""
    async with _place(address) as place:
        yield place


@pytest.fixture
async def place(alone: Place) -> AsyncIterator[Place]:
    async with alone.worker():
        yield alone


async def _failure(awaitable: Awaitable[Any]) -> BaseException:
    """The cause of a workflow's failure."""
    with pytest.raises(WorkflowFailureError) as caught:
        await awaitable
    cause = caught.value.cause
    assert cause is not None
    return cause


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again: the server has no call that waits for this."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.02)


# Activities


async def test_an_activity(place: Place) -> None:
    assert await place.execute(w.CallActivity.run, "double", [21]) == 42


async def test_an_activity_in_a_thread(place: Place) -> None:
    assert await place.execute(w.CallActivity.run, "in_a_thread", [1]) == "1 in threads"


async def test_several_arguments(place: Place) -> None:
    assert await place.execute(w.CallActivity.run, "join", ["a", "b"]) == "a-b"


async def test_dataclasses(place: Place) -> None:
    assert await place.execute(w.Orders.run, w.Order(1, ["ä"])) == w.Order(2, ["ä", "seen"])


async def test_retries(place: Place) -> None:
    assert await place.execute(w.CallActivity.run, "fail_until", [3]) == 3


async def test_retries_that_run_out(place: Place) -> None:
    cause = await _failure(place.execute(w.CallActivity.run, "fail_until", [9]))
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert (cause.cause.type, cause.cause.message, list(cause.cause.details)) == ("NotYet", "not yet", ["details"])
    assert cause.retry_state is not None
    assert cause.retry_state.name == "MAXIMUM_ATTEMPTS_REACHED"


async def test_a_failure_that_is_not_retried(place: Place) -> None:
    cause = await _failure(place.execute(w.CallActivity.run, "fail_for_good", []))
    assert isinstance(cause, ActivityError)
    assert cause.retry_state is not None
    assert cause.retry_state.name == "NON_RETRYABLE_FAILURE"


async def test_heartbeat_details_reach_the_next_attempt(place: Place) -> None:
    assert await place.execute(w.CallActivity.run, "beat_then_fail", []) == ["half", 50]


@pytest.mark.parametrize("kind", ["start_to_close", "heartbeat", "schedule_to_start", "schedule_to_close"])
async def test_timeouts(place: Place, kind: str) -> None:
    assert await place.execute(w.ActivityTimeouts.run, kind) == kind.upper()


async def test_an_activity_is_cancelled(place: Place) -> None:
    assert await place.execute(w.CancelActivity.run) == "was asked to stop"


async def test_what_an_activity_knows(place: Place) -> None:
    known = await place.execute(w.CallActivity.run, "ids", [])
    assert known == [f"workflow-{place.unique}", "CallActivity", place.queue, "ids"]


async def test_a_dynamic_activity(place: Place) -> None:
    assert await place.execute(w.CallActivity.run, "whatever", [1, 2]) == "whatever with 2"


async def test_fifty_activities_at_once(place: Place) -> None:
    assert await place.execute(w.ManyActivities.run, 50) == 50 * 49


async def test_twenty_activities_in_a_row(place: Place) -> None:
    assert await place.execute(w.Chain.run, 20) == 2**20


async def test_local_activities(place: Place) -> None:
    assert await place.execute(w.LocalActivities.run, 3) == [0, 2, 4, 2]


async def test_a_large_payload(place: Place) -> None:
    text = "x" * 1_500_000
    assert await place.execute(w.CallActivity.run, "join", [text, ""]) == f"{text}-"


async def test_a_payload_that_is_too_large(place: Place) -> None:
    with pytest.raises((RPCError, WorkflowFailureError)):
        await place.execute(w.CallActivity.run, "join", ["x" * 2_200_000, ""])


# Time


async def test_timers(place: Place) -> None:
    assert await place.execute(w.Timers.run) == ["first", "second", "third"]


async def test_a_condition_times_out(place: Place) -> None:
    assert await place.execute(w.WaitsFor.run) == "timed out"


async def test_time_and_chance(place: Place) -> None:
    number, identifier, passed = await place.execute(w.Chance.run)
    assert 0 <= number < 1
    assert uuid.UUID(identifier)
    assert passed


async def test_an_execution_timeout(place: Place) -> None:
    cause = await _failure(place.execute(w.Counter.run, execution_timeout=timedelta(milliseconds=500)))
    assert isinstance(cause, TimeoutError)


# Messages


async def test_signals_and_queries(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    for number in range(10):
        await handle.signal(w.Counter.add, number)
    await _until(lambda: _is(handle.query(w.Counter.now), 45))
    await handle.signal(w.Counter.done)
    assert await handle.result() == 45


async def _is(awaitable: Awaitable[Any], expected: object) -> bool:
    return bool(await awaitable == expected)


async def test_a_hundred_signals_at_once(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    await asyncio.gather(*(handle.signal(w.Counter.add, 1) for _ in range(100)))
    await handle.signal(w.Counter.done)
    assert await handle.result() == 100


async def test_a_dynamic_signal(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    await handle.signal("anything", 1)
    await handle.signal(w.Counter.done)
    assert await handle.result() == 1000


async def test_signal_with_start(place: Place) -> None:
    handle = await place.start(w.Counter.run, start_signal="add", start_signal_args=[5])
    await handle.signal(w.Counter.done)
    assert await handle.result() == 5


async def test_a_query_that_fails(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    with pytest.raises(WorkflowQueryFailedError, match="no answer"):
        await handle.query(w.Counter.broken)


async def test_a_query_that_does_not_exist(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    with pytest.raises(WorkflowQueryFailedError):
        await handle.query("nonsense")


async def test_queries_of_a_closed_workflow(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    await handle.signal(w.Counter.add, 3)
    await handle.signal(w.Counter.done)
    await handle.result()
    assert await handle.query(w.Counter.now) == 3
    with pytest.raises(WorkflowQueryRejectedError) as caught:
        await handle.query(w.Counter.now, reject_condition=QueryRejectCondition.NOT_OPEN)
    assert caught.value.status is WorkflowExecutionStatus.COMPLETED


async def test_the_stack_is_a_query(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    assert f"(workflow: Counter, id: {handle.id}" in await handle.query("__stack_trace")


async def test_updates(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    assert await handle.execute_update(w.Counter.add_and_tell, 2) == 2
    assert await handle.execute_update(w.Counter.add_doubled, 20) == 42
    assert await handle.query(w.Counter.now) == 42


async def test_an_update_is_started_and_polled(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    update = await handle.start_update(w.Counter.add_doubled, 5, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="mine")
    assert await update.result() == 10
    assert await handle.get_update_handle("mine").result() == 10


async def test_an_update_is_rejected_and_leaves_nothing(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    assert await handle.query(w.Counter.now) == 0
    before = (await handle.fetch_history()).events
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update(w.Counter.add_and_tell, -1)
    assert isinstance(caught.value.cause, ApplicationError)
    assert "must not be negative" in str(caught.value.cause)
    assert len((await handle.fetch_history()).events) == len(before)


async def test_an_update_fails(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update(w.Counter.fail)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.message == "the update fails"


async def test_update_with_start(place: Place) -> None:
    def operation() -> Any:
        return WithStartWorkflowOperation(
            w.Counter.run,
            id=f"both-{place.unique}",
            task_queue=place.queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )

    for expected in (4, 8):
        start = operation()
        total = await place.client.execute_update_with_start_workflow(w.Counter.add_and_tell, 4, start_workflow_operation=start)
        assert total == expected
        assert (await start.workflow_handle()).id == f"both-{place.unique}"


# Ends


async def test_a_workflow_fails(place: Place) -> None:
    cause = await _failure(place.execute(w.Fails.run, "application"))
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.type, list(cause.details)) == ("failed", "Asked", [{"why": "asked"}])


async def test_cancelled(place: Place) -> None:
    handle = await place.start(w.CancelMe.run, False)
    await handle.cancel()
    assert isinstance(await _failure(handle.result()), CancelledError)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED


async def test_cancelled_with_a_clean_up(place: Place) -> None:
    handle = await place.start(w.CancelMe.run, True)
    await _until(lambda: _has_events(handle, 4))
    await handle.cancel()
    assert await handle.result() == "cleaned up 42"


async def _has_events(handle: WorkflowHandle[Any, Any], count: int) -> bool:
    return len((await handle.fetch_history()).events) >= count


async def test_terminated(place: Place) -> None:
    handle = await place.start(w.Counter.run)
    await handle.terminate(reason="the reason")
    cause = await _failure(handle.result())
    assert isinstance(cause, TerminatedError)
    last = (await handle.fetch_history()).events[-1].workflow_execution_terminated_event_attributes
    assert last.reason == "the reason"


async def test_terminated_without_a_reason(alone: Place) -> None:
    handle = await alone.start("Any")
    await handle.terminate()
    last = (await handle.fetch_history()).events[-1].workflow_execution_terminated_event_attributes
    assert last.reason == "terminated by user via frontend"


async def test_continued_as_new(place: Place) -> None:
    handle = await place.start(w.CountsDown.run, 3)
    assert await handle.result() == "first was another"
    assert (await handle.describe()).run_id != handle.first_execution_run_id


# Relations


async def test_a_child(place: Place) -> None:
    assert await place.execute(w.Parent.run, "hello") == f"child hello of workflow-{place.unique}"


async def test_a_child_fails(place: Place) -> None:
    assert await place.execute(w.Parent.run, "fail") == "ChildFails: the child fails"


async def test_a_child_is_cancelled(place: Place) -> None:
    assert await place.execute(w.Parent.run, "cancel") == "CancelledError"


async def test_what_becomes_of_children(place: Place) -> None:
    assert await place.execute(w.Parent.run, "leave") == "left"

    async def status(policy: str) -> WorkflowExecutionStatus | None:
        return (await place.client.get_workflow_handle(f"workflow-{place.unique}-{policy}").describe()).status

    await _until(lambda: _is(status("TERMINATE"), WorkflowExecutionStatus.TERMINATED))
    await _until(lambda: _is(status("REQUEST_CANCEL"), WorkflowExecutionStatus.CANCELED))
    assert await status("ABANDON") is WorkflowExecutionStatus.RUNNING


async def test_signals_to_others(place: Place) -> None:
    other = await place.start(w.Counter.run, name="other")
    assert await place.execute(w.SignalsOther.run, other.id) == "told"
    assert await other.result() == 7


async def test_cancels_another(place: Place) -> None:
    other = await place.start(w.CancelMe.run, True, name="other")
    await _until(lambda: _has_events(other, 4))
    await place.execute(w.CancelsOther.run, other.id)
    assert await other.result() == "cleaned up 42"


# Ids


async def test_an_id_in_use(place: Place) -> None:
    first = await place.start(w.Counter.run)
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await place.start(w.Counter.run)
    assert caught.value.run_id == first.first_execution_run_id


async def test_the_existing_one_is_used(place: Place) -> None:
    first = await place.start(w.Counter.run)
    second = await place.start(w.Counter.run, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING)
    assert second.first_execution_run_id == first.first_execution_run_id


async def test_an_id_used_before(place: Place) -> None:
    await place.execute(w.Timers.run)
    await place.execute(w.Timers.run)
    with pytest.raises(WorkflowAlreadyStartedError):
        await place.execute(w.Timers.run, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE)
    with pytest.raises(WorkflowAlreadyStartedError):
        await place.execute(w.Timers.run, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)


async def test_a_workflow_that_is_not_there(place: Place) -> None:
    with pytest.raises(RPCError) as caught:
        await place.client.get_workflow_handle("nobody").describe()
    assert caught.value.status is RPCStatusCode.NOT_FOUND


# Looking


async def test_describe(place: Place) -> None:
    handle = await place.start(w.Counter.run, memo={"note": "text"})
    described = await handle.describe()
    assert (described.id, described.workflow_type, described.task_queue) == (handle.id, "Counter", place.queue)
    assert described.status is WorkflowExecutionStatus.RUNNING
    assert await described.memo() == {"note": "text"}


async def test_memo_in_the_workflow(place: Place) -> None:
    assert await place.execute(w.Memos.run, memo={"given": [1, 2]}) == [1, 2]


async def test_list_and_count(place: Place) -> None:
    for number in range(3):
        await place.execute(w.Chance.run, name=f"listed-{number}")
    query = f"TaskQueue = '{place.queue}' AND WorkflowType = 'Chance'"
    found = [execution.id async for execution in place.client.list_workflows(query)]
    assert sorted(found) == [f"listed-{number}-{place.unique}" for number in range(3)]
    assert (await place.client.count_workflows(query)).count == 3
    pages = [execution.id async for execution in place.client.list_workflows(query, page_size=1)]
    assert sorted(pages) == sorted(found)


async def test_a_history_replays_in_the_official_replayer(place: Place) -> None:
    handle = await place.start(w.Chain.run, 5)
    await handle.result()
    await Replayer(workflows=[w.Chain], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(await handle.fetch_history())


async def test_a_long_history(place: Place) -> None:
    handle = await place.start(w.ManyActivities.run, 200)
    assert await handle.result() == 200 * 199
    events = (await handle.fetch_history()).events
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    assert len(events) > 600


# Workers


async def test_nothing_cached(alone: Place) -> None:
    async with alone.worker(max_cached_workflows=0):
        assert await alone.execute(w.Chain.run, 5) == 32
        handle = await alone.start(w.Counter.run, name="uncached")
        assert await handle.execute_update(w.Counter.add_doubled, 1) == 2
        assert await handle.query(w.Counter.now) == 2


async def test_two_workers_on_one_queue(alone: Place, address: str) -> None:
    # A second client: one refuses two workers of the same kind on a queue.
    other = await Client.connect(address)
    async with alone.worker(), _worker(other, alone.queue):
        results = await asyncio.gather(*(alone.execute(w.Chain.run, 3, name=f"shared-{n}") for n in range(10)))
    assert results == [8] * 10


async def test_activities_elsewhere(alone: Place) -> None:
    async with alone.worker(activities=[]), alone.worker(workflows=[]):
        assert await alone.execute(w.CallActivity.run, "double", [4]) == 8


async def test_a_worker_comes_later_and_another_goes_on(alone: Place) -> None:
    handle = await alone.start(w.Counter.run)
    await handle.signal(w.Counter.add, 1)
    async with alone.worker():
        await _until(lambda: _is(handle.query(w.Counter.now), 1))
    await handle.signal(w.Counter.done)
    async with alone.worker():
        assert await handle.result() == 1


async def test_a_workflow_type_that_nobody_knows_is_told_by_describe(alone: Place) -> None:
    async with alone.worker(workflows=[w.Chance]):
        handle = await alone.start("Unknown")

        async def attempts() -> bool:
            return (await handle.describe()).raw_description.pending_workflow_task.attempt > 1

        await _until(attempts)
        await handle.terminate()


async def test_a_dynamic_workflow(place: Place) -> None:
    assert await place.execute("Whatever", 1, 2, 3) == "Whatever with 3"


async def test_an_unknown_namespace(address: str) -> None:
    client = await Client.connect(address, namespace="other")
    with pytest.raises(RPCError) as caught:
        await client.start_workflow("Any", id="any", task_queue="any")
    assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_health_and_the_raw_service(place: Place) -> None:
    assert await place.client.service_client.check_health()
