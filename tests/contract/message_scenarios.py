"""What is said to the workflows of `message_workflows`, and what they answer."""

from __future__ import annotations

import anyio
import pytest

from durable_anyio import Client, WorkflowIDConflictPolicy
from durable_anyio.client import WithStartWorkflowOperation, WorkflowUpdateStage
from durable_anyio.exceptions import ApplicationError, WorkflowUpdateFailedError

from .message_workflows import AnswersAtOnce, Basket, Relay
from .scenario import Handle, Scenario, gives

ACCEPTED = WorkflowUpdateStage.ACCEPTED


async def fails(handle: Handle, update: str, *args: object, id: str) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update(update, *args, id=id)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def add_two(handle: Handle) -> None:
    assert await handle.execute_update(Basket.add, "apple", id="1") == 1
    assert await handle.execute_update(Basket.add, "pear", id="2") == 2
    assert await handle.execute_update(Basket.add, "pear", id="2") == 2
    await handle.signal(Basket.close)


async def reject_one(handle: Handle) -> None:
    assert await handle.execute_update(Basket.add, "apple", id="1") == 1
    assert (await fails(handle, "add", "", id="2")).message == "an item needs a name"
    assert (await fails(handle, "unknown", id="3")).type == "UnknownUpdate"
    assert "takes 1 argument" in (await fails(handle, "add", id="4")).message
    await handle.signal(Basket.close)


async def accept_first(handle: Handle) -> None:
    started = await handle.start_update(Basket.add_doubled, 21, wait_for_stage=ACCEPTED, id="1")
    assert await started.result() == "42"
    assert await handle.get_update_handle("1").result() == "42"
    await handle.signal(Basket.close)


async def fail_one(handle: Handle) -> None:
    cause = await fails(handle, "fail", "it", id="1")
    assert (cause.type, cause.message) == ("ValueError", "it failed")
    await handle.signal(Basket.close)


async def add_many(handle: Handle) -> None:
    async def add(number: int) -> None:
        await handle.execute_update(Basket.add_doubled, 2, id=str(number))

    async with anyio.create_task_group() as tg:
        for number in range(5):
            tg.start_soon(add, number)
    await handle.signal(Basket.close)


async def leave_one(handle: Handle) -> None:
    started = await handle.start_update(Basket.never, wait_for_stage=ACCEPTED, id="1")
    await handle.signal(Basket.close)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await started.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "AcceptedUpdateCompletedWorkflow"


async def leave_behind(handle: Handle) -> None:
    started = await handle.start_update(Relay.never, wait_for_stage=ACCEPTED, id="1")
    await handle.signal(Relay.go)
    with pytest.raises(WorkflowUpdateFailedError, match="completed before the Update"):
        await started.result()
    await handle.signal(Relay.go)


async def start_with_update(client: Client, task_queue: str, workflow_id: str) -> Handle:
    def operation(policy: WorkflowIDConflictPolicy) -> WithStartWorkflowOperation[Basket, list[str]]:
        return WithStartWorkflowOperation(Basket.run, id=workflow_id, task_queue=task_queue, id_conflict_policy=policy)

    first = operation(WorkflowIDConflictPolicy.FAIL)
    assert await client.execute_update_with_start_workflow(Basket.add, "apple", start_workflow_operation=first, id="1") == 1
    second = operation(WorkflowIDConflictPolicy.USE_EXISTING)
    assert await client.execute_update_with_start_workflow(Basket.add, "pear", start_workflow_operation=second, id="2") == 2
    handle = await first.workflow_handle()
    assert (await second.workflow_handle()).result_run_id == handle.result_run_id
    await handle.signal(Basket.close)
    return handle


async def start_and_end(client: Client, task_queue: str, workflow_id: str) -> Handle:
    operation = WithStartWorkflowOperation(
        AnswersAtOnce.run, "over", id=workflow_id, task_queue=task_queue, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    answer = await client.execute_update_with_start_workflow(AnswersAtOnce.ask, "why?", start_workflow_operation=operation, id="1")
    assert answer == "ask 1: why?"
    return await operation.workflow_handle()


MESSAGE_SCENARIOS = [
    Scenario("updates", Basket, (), gives(["apple", "pear"]), add_two),
    Scenario("rejected updates", Basket, (), gives(["apple"]), reject_one),
    Scenario("an accepted update", Basket, (), gives(["42"]), accept_first),
    Scenario("a failed update", Basket, (), gives([]), fail_one),
    Scenario("updates side by side", Basket, (), gives(["4"] * 5), add_many),
    Scenario("an update that outlives the workflow", Basket, (), gives([]), leave_one),
    Scenario("an update that is left behind", Relay, (1,), gives("arrived"), leave_behind),
    Scenario("an update with start", Basket, (), gives(["apple", "pear"]), begin=start_with_update),
    Scenario("an update that ends the workflow", AnswersAtOnce, ("over",), gives("over"), begin=start_and_end),
]
