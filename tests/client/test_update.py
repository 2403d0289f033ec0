"""Updates as the client sends them: stages, long polls that end early, refusals, update-with-start."""

from __future__ import annotations

from typing import Any

import pytest

from durable_anyio import workflow
from durable_anyio._bridge import proto
from durable_anyio.client import WithStartWorkflowOperation, WorkflowIDConflictPolicy, WorkflowUpdateStage
from durable_anyio.converter import default
from durable_anyio.exceptions import (
    ApplicationError,
    RPCError,
    RPCStatusCode,
    WorkflowAlreadyStartedError,
    WorkflowUpdateFailedError,
)

from .fake_core import FakeCore, client, refusal

pytestmark = pytest.mark.anyio
UPDATE, POLL, MULTI = "UpdateWorkflowExecution", "PollWorkflowExecutionUpdate", "ExecuteMultiOperation"
ADMITTED, ACCEPTED, COMPLETED = WorkflowUpdateStage
FAILURE = {"failure": {"message": "no", "application_failure_info": {"type": "Refused"}}}


@workflow.defn
class Cart:
    @workflow.run
    async def run(self, owner: str) -> int: ...  # type: ignore[empty-body]

    @workflow.update
    async def add(self, item: str, count: int = 1) -> int: ...  # type: ignore[empty-body]

    @workflow.update(dynamic=True)
    async def other(self, name: str, *args: Any) -> None: ...


@pytest.fixture
def core() -> FakeCore:
    return FakeCore()


def answer(stage: WorkflowUpdateStage, outcome: Any | None = None) -> dict[str, Any]:
    reference = {"workflow_execution": {"workflow_id": "a", "run_id": "run-1"}, "update_id": "u"}
    return {"stage": int(stage), "update_ref": reference} | ({} if outcome is None else {"outcome": outcome})


def success(value: Any) -> dict[str, Any]:
    return {"success": {"payloads": default().to_payloads([value])}}


async def test_the_same_is_asked_again_until_it_is_accepted_then_polled(core: FakeCore) -> None:
    core.on(UPDATE, answer(ADMITTED), refusal(RPCStatusCode.DEADLINE_EXCEEDED), answer(ACCEPTED))
    core.on(POLL, answer(ACCEPTED), refusal(RPCStatusCode.DEADLINE_EXCEEDED), answer(COMPLETED, success(3)))
    handle = client(core).get_workflow_handle_for(Cart.run, "a")
    assert await handle.execute_update(Cart.add, "apple", 2) == 3
    sent = core.sent(UPDATE)
    assert len({request.request.meta.update_id for request in sent}) == 1
    assert len(sent) == 3
    assert sent[0].request.meta.identity == "me"
    assert sent[0].request.input.name == "add"
    assert default().from_payloads(sent[0].request.input.args.payloads) == ["apple", 2]
    assert sent[0].wait_policy.lifecycle_stage == COMPLETED
    assert [request.update_ref.workflow_execution.run_id for request in core.sent(POLL)] == ["run-1"] * 3


async def test_an_outcome_in_the_answer_needs_no_poll(core: FakeCore) -> None:
    core.on(UPDATE, answer(COMPLETED, success(1)))
    started = await client(core).get_workflow_handle("a", run_id="r").start_update("add", wait_for_stage=ACCEPTED, id="u", result_type=int)
    assert await started.result() == 1
    assert (started.id, started.workflow_id, started.workflow_run_id) == ("u", "a", "run-1")
    [request] = core.sent(UPDATE)
    assert (request.workflow_execution.run_id, request.wait_policy.lifecycle_stage) == ("r", ACCEPTED)


async def test_a_failure_is_raised_with_its_cause(core: FakeCore) -> None:
    core.on(UPDATE, answer(COMPLETED, FAILURE))
    with pytest.raises(WorkflowUpdateFailedError, match="update 'u' of workflow 'a' failed: Refused: no") as caught:
        await client(core).get_workflow_handle("a").execute_update("add", id="u")
    assert isinstance(caught.value.cause, ApplicationError)


async def test_a_result_without_value_is_none(core: FakeCore) -> None:
    core.on(UPDATE, answer(COMPLETED, {"success": {}}))
    assert await client(core).get_workflow_handle("a").execute_update("add") is None


async def test_a_busy_embedded_engine_is_asked_again_a_service_is_not(core: FakeCore) -> None:
    core.on(UPDATE, refusal(RPCStatusCode.RESOURCE_EXHAUSTED), answer(COMPLETED, success(1)))
    assert await client(core).get_workflow_handle("a").execute_update("add") == 1
    other = FakeCore()
    other.on(UPDATE, refusal(RPCStatusCode.RESOURCE_EXHAUSTED))
    with pytest.raises(RPCError):
        await client(other, target="host:7233").get_workflow_handle("a").execute_update("add")
    assert len(other.sent(UPDATE)) == 1


async def test_nothing_is_sent_when_the_call_is_wrong(core: FakeCore) -> None:
    handle: Any = client(core).get_workflow_handle("a")
    with pytest.raises(TypeError, match=r"Cart.add takes 1 to 2 arguments"):
        await handle.execute_update(Cart.add)
    with pytest.raises(TypeError, match="the argument 'item' must be str, got int"):
        await handle.execute_update(Cart.add, 1)
    with pytest.raises(TypeError, match="is no update"):
        await handle.execute_update(len)
    with pytest.raises(TypeError, match="is a dynamic update"):
        await handle.execute_update(Cart.other, "x")
    with pytest.raises(ValueError, match="wait_for_stage=ADMITTED is not possible"):
        await handle.start_update(Cart.add, "x", wait_for_stage=ADMITTED)
    with pytest.raises(ValueError, match="the update id is empty"):
        await handle.execute_update(Cart.add, "x", id="")
    assert core.calls == []


def operation(policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.FAIL) -> WithStartWorkflowOperation[Cart, int]:
    return WithStartWorkflowOperation(Cart.run, "Ada", id="a", task_queue="q", id_conflict_policy=policy)


async def test_update_with_start_is_one_call(core: FakeCore) -> None:
    core.on("DescribeTaskQueue", {"pollers": [{"identity": "w"}]})
    update = answer(COMPLETED, success(1))
    core.on(MULTI, {"responses": [{"start_workflow": {"run_id": "run-1", "started": True}}, {"update_workflow": update}]})
    start = operation()
    assert await client(core).execute_update_with_start_workflow(Cart.add, "apple", start_workflow_operation=start, id="u") == 1
    handle = await start.workflow_handle()
    assert (handle.id, handle.result_run_id) == ("a", "run-1")
    [request] = core.sent(MULTI)
    first, second = request.operations
    assert first.start_workflow.workflow_type.name == "Cart"
    assert first.start_workflow.workflow_id_conflict_policy == WorkflowIDConflictPolicy.FAIL
    assert second.update_workflow.request.meta.update_id == "u"
    with pytest.raises(RuntimeError, match="make one for each call"):
        await client(core).execute_update_with_start_workflow(Cart.add, "apple", start_workflow_operation=start)


async def test_the_operation_that_failed_says_why(core: FakeCore) -> None:
    aborted = proto.message("temporal.api.failure.v1.MultiOperationExecutionAborted")()
    started = proto.message("temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure")(run_id="run-9")
    failure = proto.message("temporal.api.errordetails.v1.MultiOperationExecutionFailure")
    by_start = failure(statuses=[{"code": 6, "message": "taken"}, {"code": 10}])
    by_start.statuses[0].details.add().Pack(started)
    by_start.statuses[1].details.add().Pack(aborted)
    by_update = failure(statuses=[{"code": 10}, {"code": 5, "message": "closing"}])
    by_update.statuses[0].details.add().Pack(aborted)
    core.on(MULTI, refusal(6, by_start), refusal(5, by_update))
    start = operation()
    with pytest.raises(WorkflowAlreadyStartedError) as taken:
        await client(core).execute_update_with_start_workflow(Cart.add, "apple", start_workflow_operation=start)
    assert taken.value.run_id == "run-9"
    with pytest.raises(WorkflowAlreadyStartedError):
        await start.workflow_handle()
    with pytest.raises(RPCError, match=r"closing \(NOT_FOUND\)"):
        await client(core).start_update_with_start_workflow(
            Cart.add, "apple", start_workflow_operation=operation(), wait_for_stage=ACCEPTED
        )


def test_a_start_needs_a_policy() -> None:
    with pytest.raises(ValueError, match="needs an id_conflict_policy"):
        WithStartWorkflowOperation(Cart.run, "Ada", id="a", task_queue="q")
