"""The client's own logic, on a scripted core: what is checked before anything is sent, and how answers are told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import RetryPolicy, workflow
from durable_anyio._bridge import proto
from durable_anyio._failure import failure_from_exception
from durable_anyio.converter import default
from durable_anyio.exceptions import (
    ApplicationError,
    CancelledError,
    DataConversionError,
    RPCError,
    RPCStatusCode,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)

from .fake_core import FakeCore, client, close_event, refusal, response

pytestmark = pytest.mark.anyio

HISTORY = "GetWorkflowExecutionHistory"


@dataclass
class Order:
    id: int


@workflow.defn
class Checkout:
    @workflow.run
    async def run(self, order: Order, cents: int = 0) -> Order:
        return order

    @workflow.signal
    def approve(self, by: str) -> None: ...

    @workflow.query
    def order(self) -> Order:
        return Order(1)


@pytest.fixture
def core() -> FakeCore:
    core = FakeCore()
    core.on("StartWorkflowExecution", {"run_id": "run-1"})
    core.on("DescribeTaskQueue", {"pollers": [{"identity": "w"}]})
    return core


def payloads(*values: Any) -> dict[str, Any]:
    return {"payloads": default().to_payloads(values)}


async def test_a_start_carries_its_options(core: FakeCore) -> None:
    handle = await client(core).start_workflow(
        Checkout.run, Order(1), 5, id="a", task_queue="q", run_timeout=timedelta(seconds=3),
        retry_policy=RetryPolicy(maximum_attempts=2), memo={"k": [1]},
    )  # fmt: skip
    assert (handle.id, handle.run_id, handle.result_run_id, handle.first_execution_run_id) == ("a", None, "run-1", "run-1")
    [request] = core.sent("StartWorkflowExecution")
    assert request.workflow_type.name == "Checkout"
    assert default().from_payloads(request.input.payloads, [Order, int]) == [Order(1), 5]
    assert request.workflow_run_timeout.ToTimedelta() == timedelta(seconds=3)
    assert request.retry_policy.maximum_attempts == 2
    assert default().from_payloads([request.memo.fields["k"]]) == [[1]]
    assert (request.identity, request.namespace) == ("me", "default")


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((), {}, TypeError, "takes 1 to 2 arguments"),
        ((Order(1), 2, 3), {}, TypeError, "got 3"),
        (("x",), {}, TypeError, "'order' must be Order, got str"),
        ((Order(1),), {"id": "x" * 1001}, ValueError, "workflow id has 1,001 bytes, the limit is 1,000"),
        ((Order(1),), {"id": "é" * 501}, ValueError, "1,002 bytes"),
        ((Order(1),), {"id": ""}, ValueError, "workflow id is empty"),
        ((Order(1),), {"task_queue": ""}, ValueError, "task queue is empty"),
        ((Order(1),), {"id": 7}, TypeError, "must be a string, not int"),
        ((Order(1),), {"run_timeout": timedelta(-1)}, ValueError, "run_timeout must not be negative"),
        ((Order(1),), {"run_timeout": 5}, TypeError, "must be a timedelta, not int"),
        ((Order(1),), {"retry_policy": RetryPolicy(backoff_coefficient=0.5)}, ValueError, "backoff_coefficient"),
        ((Order(1),), {"memo": {"a": object()}}, DataConversionError, "object"),
    ],
)  # fmt: skip
async def test_mistakes_are_refused_before_anything_is_sent(
    core: FakeCore, args: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    start: Any = client(core).start_workflow
    with pytest.raises(error, match=message):
        await start(Checkout.run, *args, **{"id": "a", "task_queue": "q", **options})
    assert core.calls == []


async def test_an_argument_over_two_mebibytes_is_refused(core: FakeCore) -> None:
    with pytest.raises(DataConversionError, match="the limit is 2,097,152"):
        await client(core).start_workflow("Any", b"x" * 2**21 + b"x", id="a", task_queue="q")
    assert core.calls == []


async def test_an_id_that_is_taken(core: FakeCore) -> None:
    detail = proto.message("temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure")(run_id="other")
    core.answers["StartWorkflowExecution"].clear()
    core.on("StartWorkflowExecution", refusal(6, detail))
    with pytest.raises(WorkflowAlreadyStartedError, match="'a' has been started already; hint: ") as caught:
        await client(core).start_workflow("T", id="a", task_queue="q")
    assert (caught.value.workflow_id, caught.value.workflow_type, caught.value.run_id) == ("a", "T", "other")


async def test_a_queue_without_workers_is_said_once(core: FakeCore, caplog: pytest.LogCaptureFixture) -> None:
    core.answers["DescribeTaskQueue"].clear()
    core.on("DescribeTaskQueue", {})
    ours = client(core)
    for number in range(3):
        await ours.start_workflow("T", id=str(number), task_queue="lonely")
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "no worker polls task queue 'lonely'" in record.getMessage()
    assert len(core.sent("DescribeTaskQueue")) == 1


async def test_a_result_has_its_declared_type_and_the_last_run_counts(core: FakeCore) -> None:
    core.on(
        HISTORY,
        response(HISTORY, next_page_token=b"more"),
        close_event("continued_as_new", new_execution_run_id="run-2"),
        close_event("completed", result=payloads(Order(3))),
    )
    assert await client(core).execute_workflow(Checkout.run, Order(1), id="a", task_queue="q") == Order(3)
    sent = [(request.execution.run_id, request.next_page_token, request.wait_new_event) for request in core.sent(HISTORY)]
    assert sent == [("run-1", b"", True), ("run-1", b"more", True), ("run-2", b"", True)]


async def test_one_run_of_several_can_be_waited_for(core: FakeCore) -> None:
    core.on(HISTORY, close_event("continued_as_new", new_execution_run_id="run-2"))
    with pytest.raises(WorkflowContinuedAsNewError) as caught:
        await client(core).get_workflow_handle("a", run_id="run-1").result(follow_runs=False)
    assert caught.value.new_run_id == "run-2"


async def test_a_poll_that_runs_into_its_deadline_is_repeated(core: FakeCore) -> None:
    core.on(HISTORY, refusal(4), close_event("completed", result=payloads(7)))
    assert await client(core).get_workflow_handle("a", result_type=int).result() == 7


FAILED = failure_from_exception(ApplicationError("no", type="Stock"), default())
GROUP = failure_from_exception(ExceptionGroup("g", [ValueError("v"), OSError("o")]), default())


@pytest.mark.parametrize(
    ("event", "cause", "text"),
    [
        (("failed", {"failure": FAILED}), ApplicationError, "workflow 'a' failed: Stock: no"),
        (("failed", {"failure": GROUP}), ExceptionGroup, "2 sub-exceptions"),
        (("canceled", {"details": payloads("d")}), CancelledError, "was cancelled"),
        (("terminated", {"reason": "why"}), TerminatedError, "was terminated: why"),
        (("timed_out", {}), TimeoutError, "timed out"),
    ],
)
async def test_other_ends_raise_with_their_cause(
    core: FakeCore, event: tuple[str, dict[str, Any]], cause: type[Exception], text: str
) -> None:
    core.on(HISTORY, close_event(event[0], **event[1]))
    with pytest.raises(WorkflowFailureError) as caught:
        await client(core).get_workflow_handle("a").result()
    assert isinstance(caught.value.cause, cause)
    assert text in str(caught.value)


async def test_a_result_of_another_type_is_refused(core: FakeCore) -> None:
    core.on(HISTORY, close_event("completed", result=payloads("x")))
    with pytest.raises(DataConversionError, match="cannot be read as int"):
        await client(core).get_workflow_handle("a", result_type=int).result()


async def test_signals_are_checked_and_sent(core: FakeCore) -> None:
    core.on("SignalWorkflowExecution", {})
    handle = client(core).get_workflow_handle_for(Checkout.run, "a", run_id="r")
    untyped: Any = Checkout.approve
    with pytest.raises(TypeError, match="takes 1 argument"):
        await handle.signal(untyped)
    assert core.calls == []
    await handle.signal(Checkout.approve, "ann")
    [request] = core.sent("SignalWorkflowExecution")
    assert (request.signal_name, request.workflow_execution.run_id) == ("approve", "r")
    assert default().from_payloads(request.input.payloads) == ["ann"]


async def test_a_query_answers_in_its_declared_type(core: FakeCore) -> None:
    core.on("QueryWorkflow", {"query_result": payloads(Order(4))})
    handle = client(core).get_workflow_handle_for(Checkout.run, "a")
    assert await handle.query(Checkout.order) == Order(4)
    assert await handle.query("order") == {"id": 4}
    assert await handle.query("order", result_type=Order) == Order(4)


async def test_queries_that_fail(core: FakeCore) -> None:
    detail = proto.message("temporal.api.errordetails.v1.QueryFailedFailure")(failure=FAILED)
    core.on("QueryWorkflow", refusal(3, detail, "no"), refusal(4), {"query_rejected": {"status": 2}}, refusal(5))
    handle = client(core).get_workflow_handle("a")
    with pytest.raises(WorkflowQueryFailedError, match="no") as failed:
        await handle.query("q")
    assert isinstance(failed.value.cause, ApplicationError)
    with pytest.raises(RPCError, match="hint: queries need a worker") as late:
        await handle.query("q")
    assert late.value.status is RPCStatusCode.DEADLINE_EXCEEDED
    with pytest.raises(WorkflowQueryRejectedError, match="COMPLETED"):
        await handle.query("q")
    with pytest.raises(RPCError, match="NOT_FOUND"):
        await handle.query("q")


async def test_cancel_and_terminate_reach_the_chain_that_was_started(core: FakeCore) -> None:
    core.on("RequestCancelWorkflowExecution", {})
    core.on("TerminateWorkflowExecution", {})
    handle = await client(core).start_workflow("T", id="a", task_queue="q")
    await handle.cancel(reason="late")
    await handle.terminate("d", reason="later")
    [cancel] = core.sent("RequestCancelWorkflowExecution")
    [terminate] = core.sent("TerminateWorkflowExecution")
    assert (cancel.workflow_execution.run_id, cancel.first_execution_run_id, cancel.reason) == ("", "run-1", "late")
    assert (terminate.first_execution_run_id, terminate.reason) == ("run-1", "later")
    assert default().from_payloads(terminate.details.payloads) == ["d"]


def execution(number: int) -> dict[str, Any]:
    return {
        "execution": {"workflow_id": f"w{number}", "run_id": "r"},
        "status": 2,
        "type": {"name": "T"},
        "start_time": {"seconds": number},
    }


async def test_lists_go_over_all_pages(core: FakeCore) -> None:
    rpc = "ListWorkflowExecutions"
    core.on(rpc, {"executions": [execution(1)], "next_page_token": b"2"}, {"next_page_token": b"3"}, {"executions": [execution(2)]})
    found = [run async for run in client(core).list_workflows("WorkflowType = 'T'")]
    assert [run.id for run in found] == ["w1", "w2"]
    assert found[0].start_time is not None
    assert found[0].start_time.timestamp() == 1
    assert found[0].closed
    assert [request.next_page_token for request in core.sent(rpc)] == [b"", b"2", b"3"]
    core.on("CountWorkflowExecutions", {"count": 2})
    assert await client(core).count_workflows() == 2


async def test_a_description_says_why_nothing_happens(core: FakeCore) -> None:
    failed = proto.enum("temporal.api.enums.v1.EventType").Value("EVENT_TYPE_WORKFLOW_TASK_FAILED")
    core.on(
        "DescribeWorkflowExecution",
        {
            "workflow_execution_info": {**execution(1), "status": 1, "task_queue": "q"},
            "pending_workflow_task": {"state": 1, "attempt": 3},
            "pending_activities": [
                {"activity_id": "7", "activity_type": {"name": "charge"}, "state": 1, "attempt": 2, "maximum_attempts": 5}
                | {"last_failure": FAILED}
            ],
        },
    )  # fmt: skip
    core.on("GetWorkflowExecutionHistoryReverse", refusal(12))
    attributes = {"failure": {"message": "workflow type 'T' is not registered"}}
    core.on(HISTORY, {"history": {"events": [{"event_id": 4, "event_type": failed, "workflow_task_failed_event_attributes": attributes}]}})
    core.answers["DescribeTaskQueue"].clear()
    core.on("DescribeTaskQueue", {})
    description = await client(core).get_workflow_handle("w1").describe()
    assert description.status is not None
    assert description.status.name == "RUNNING"
    assert description.pending_workflow_task is not None
    assert (description.pending_workflow_task.state, description.pending_workflow_task.attempt) == ("SCHEDULED", 3)
    [activity] = description.pending_activities
    assert (activity.activity_id, activity.activity_type, activity.state, activity.attempt) == ("7", "charge", "SCHEDULED", 2)
    text = "\n".join(description.problems)
    for part in (
        "attempt 3): workflow type 'T' is not registered",
        "no worker polls task queue 'q' for workflows",
        "no worker polls task queue 'q' for activities",
        "activity charge (7) fails and is retried (attempt 2 of 5): Stock: no",
    ):
        assert part in text


async def test_a_history_has_all_pages(core: FakeCore) -> None:
    core.on(HISTORY, {"history": {"events": [{"event_id": 1}]}, "next_page_token": b"x"}, {"history": {"events": [{"event_id": 2}]}})
    history = await client(core).get_workflow_handle("a").fetch_history()
    assert [event.event_id for event in history.events] == [1, 2]


async def test_an_unknown_rpc_is_named(core: FakeCore) -> None:
    with pytest.raises(ValueError, match="no RPC 'Nope'"):
        client(core).service.request("Nope")


async def test_closing_works_in_a_cancelled_task(core: FakeCore) -> None:
    with anyio.CancelScope() as scope:
        async with client(core):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert core.closed == 1
