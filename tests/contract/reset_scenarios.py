"""Resets: a new run takes over from a point of an old one."""

from __future__ import annotations

from typing import Any

import pytest

from durable_anyio import Client
from durable_anyio.client import ResetType
from durable_anyio.common import ResetReapplyExcludeType, WorkflowUpdateStage
from durable_anyio.exceptions import RPCError, RPCStatusCode, TerminatedError, WorkflowFailureError

from .reset_workflows import AnswersLate, Basket2, Draws, Steps3, Waits2, WaitsForChild, WaitsForTimer
from .scenario import Handle, Scenario, gives

FIRST, LAST = ResetType.FIRST_WORKFLOW_TASK, ResetType.LAST_WORKFLOW_TASK


def kept(handle: Handle) -> Handle:
    """The handle of a reset, in the form whose run's history is the one that is kept."""
    return handle.client.get_workflow_handle(handle.id, run_id=handle.run_id, first_execution_run_id=handle.run_id)


async def started(client: Client, workflow: Any, task_queue: str, workflow_id: str) -> Handle:
    start: Any = client.start_workflow
    handle: Handle = await start(workflow.run, id=workflow_id, task_queue=task_queue)
    return handle


async def reaches(handle: Handle, steps: int) -> None:
    """Waits until the workflow has come so far: then it is known which event comes before which."""
    while await handle.query("done") < steps:
        pass


async def has_event(handle: Handle, name: str, count: int = 1) -> None:
    """Waits until the history has so many events of a kind."""
    field = f"{name}_event_attributes"
    while sum(event.HasField(field) for event in (await handle.fetch_history()).events) < count:
        pass


async def reset_first(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, Steps3, task_queue, workflow_id)
    await reaches(handle, 1)
    await handle.signal(Steps3.tell, "again")
    assert await handle.result() == [2, 4, "again"]
    again = await handle.reset(type=FIRST, reason="from the start")
    assert again.run_id != handle.result_run_id
    return kept(again)


async def reset_last(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, Steps3, task_queue, workflow_id)
    await reaches(handle, 1)
    await handle.signal(Steps3.tell, "once")
    assert await handle.result() == [2, 4, "once"]
    return kept(await handle.reset(reason="the last one"))


async def reset_without_signals(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, Steps3, task_queue, workflow_id)
    await reaches(handle, 1)
    await handle.signal(Steps3.tell, "old")
    await handle.result()
    again = await handle.reset(type=FIRST, reapply_exclude_types=[ResetReapplyExcludeType.SIGNAL])
    await reaches(again, 1)
    await again.signal(Steps3.tell, "new")
    return kept(again)


async def reset_running(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, Basket2, task_queue, workflow_id)
    await handle.execute_update(Basket2.add, "apple", id="1")
    again = await handle.reset(type=FIRST, reason="while it runs")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, TerminatedError)
    assert caught.value.cause.message == "while it runs"
    description = await client.get_workflow_handle(handle.id).describe()
    assert description.run_id == again.run_id
    assert await again.execute_update(Basket2.add, "pear", id="2") == 2
    await again.signal(Basket2.close)
    return kept(again)


async def reset_without_updates(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, Basket2, task_queue, workflow_id)
    await handle.execute_update(Basket2.add, "apple", id="1")
    again = await handle.reset(type=FIRST, reapply_exclude_types=[ResetReapplyExcludeType.UPDATE])
    assert await again.execute_update(Basket2.add, "pear", id="2") == 1
    await again.signal(Basket2.close)
    return kept(again)


async def reset_draws(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, Draws, task_queue, workflow_id)
    before = await handle.query(Draws.drawn)
    await handle.signal(Draws.go)
    assert await handle.result() == "drawn"
    drawn = await handle.query(Draws.drawn)
    again = kept(await handle.reset())
    assert await again.result() == "drawn"
    drawn_again = await again.query(Draws.drawn)
    assert before == drawn[:1] == drawn_again[:1]
    assert drawn[1] != drawn_again[1]
    return again


async def reset_with_child(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, WaitsForChild, task_queue, workflow_id)
    await reaches(handle, 1)
    await handle.signal(WaitsForChild.nudge)
    await reaches(handle, 2)
    child: Handle = client.get_workflow_handle(f"{workflow_id}/child")
    again = await handle.reset(reason="with a child")
    await child.signal(Waits2.tell, "grown up")
    return kept(again)


async def reset_with_timer(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, WaitsForTimer, task_queue, workflow_id)
    # Not by a query: where time is skipped, it goes on while somebody waits.
    await has_event(handle, "timer_started")
    await handle.signal(WaitsForTimer.nudge)
    await has_event(handle, "workflow_task_completed", 2)
    return kept(await handle.reset(type=LAST))


async def reset_within_update(client: Client, task_queue: str, workflow_id: str) -> Handle:
    """The update was accepted before the point and is answered after it, in the new run."""
    handle = await started(client, AnswersLate, task_queue, workflow_id)
    await handle.start_update(AnswersLate.ask, "why", wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="1")
    await handle.signal(AnswersLate.tell, "nothing")
    await reaches(handle, 1)
    again = await handle.reset(reason="within")
    await again.signal(AnswersLate.tell, "answer")
    await reaches(again, 3)
    assert await again.get_update_handle("1").result() == "why answered"
    await again.signal(AnswersLate.tell, "end")
    return kept(again)


async def reset_to_event(client: Client, task_queue: str, workflow_id: str) -> Handle:
    """To a task that had not been started."""
    handle = await started(client, Steps3, task_queue, workflow_id)
    await reaches(handle, 1)
    await handle.signal(Steps3.tell, "again")
    await handle.result()
    again = await handle.reset(event_id=3, reason="to an event")
    return kept(again)


async def reset_twice(client: Client, task_queue: str, workflow_id: str) -> Handle:
    handle = await started(client, Steps3, task_queue, workflow_id)
    await reaches(handle, 1)
    await handle.signal(Steps3.tell, "again")
    await handle.result()
    once = await handle.reset(type=FIRST, reason="once")
    await once.result()
    # By the id alone: the newest run is meant.
    return kept(await client.get_workflow_handle(workflow_id).reset(reason="twice"))


async def refuse_resets(handle: Handle) -> None:
    await handle.result()
    for event_id in (1, 10_000):
        with pytest.raises(RPCError) as caught:
            await handle.reset(event_id=event_id)
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError) as caught:
        await handle.reset(event_id=2)
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError) as caught:
        await handle.client.get_workflow_handle(f"{handle.id}-nobody").reset(event_id=3)
    assert caught.value.status is RPCStatusCode.NOT_FOUND


async def tell_once(handle: Handle) -> None:
    await reaches(handle, 1)
    await handle.signal(Steps3.tell, "once")
    await refuse_resets(handle)


RESET_SCENARIOS = [
    Scenario("a reset to the first workflow task", Steps3, (), gives([2, 4, "again"]), begin=reset_first),
    Scenario("a reset to the last workflow task", Steps3, (), gives([2, 4, "once"]), begin=reset_last),
    Scenario("a reset without its signals", Steps3, (), gives([2, 4, "new"]), begin=reset_without_signals),
    Scenario("a reset of a running workflow", Basket2, (), gives(["apple", "pear"]), begin=reset_running),
    Scenario("a reset without its updates", Basket2, (), gives(["pear"]), begin=reset_without_updates),
    Scenario("a reset draws other numbers", Draws, (), gives("drawn"), begin=reset_draws),
    Scenario("a reset within an update", AnswersLate, (), gives(["nothing", "answer", "why", "end"]), begin=reset_within_update),
    Scenario("a reset to an event", Steps3, (), gives([2, 4, "again"]), begin=reset_to_event),
    Scenario("a reset of a reset", Steps3, (), gives([2, 4, "again"]), begin=reset_twice),
    Scenario("a reset beside a child", WaitsForChild, (), gives([42, "grown up"]), begin=reset_with_child),
    Scenario("a reset beside a timer", WaitsForTimer, (), gives(3), begin=reset_with_timer),
    Scenario("resets that are refused", Steps3, (), gives([2, 4, "once"]), tell_once),
]
