"""A workflow whose task fails again and again: which attempt it is at, what its history says, and when its queries are refused.

The worker is played by hand, so that the test says how often the task fails, and when.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Client
from durable_anyio.client import WorkflowHandle
from durable_anyio.exceptions import RPCError, RPCStatusCode

pytestmark = pytest.mark.anyio
REFUSED = "Unable to query workflow due to Workflow Task in failed state"
SCHEDULED, FAILED = "workflow_task_scheduled_event_attributes", "workflow_task_failed_event_attributes"
ANSWERED = "QUERY_RESULT_TYPE_ANSWERED"
FINE = {"payloads": [{"metadata": {"encoding": b"json/plain"}, "data": b'"fine"'}]}


@dataclass
class Played:
    """A workflow and the worker that a test plays for it."""

    client: Client
    unique: str

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(f"failing-{self.unique}")

    async def call(self, method: str, **fields: Any) -> Any:
        request = self.client.service.request(method, namespace=self.client.namespace, **fields)
        return await self.client.service.call(method, request, timeout=timedelta(seconds=60))

    async def start(self, **more: Any) -> None:
        await self.client.start_workflow("Failing", id=f"failing-{self.unique}", task_queue=f"normal-{self.unique}", **more)

    def queue(self, kind: str) -> dict[str, Any]:
        name = {"name": f"{kind}-{self.unique}", "kind": f"TASK_QUEUE_KIND_{kind.upper()}"}
        return name | ({"normal_name": f"normal-{self.unique}"} if kind == "sticky" else {})

    async def poll(self, kind: str = "normal") -> Any:
        while not (task := await self.call("PollWorkflowTaskQueue", task_queue=self.queue(kind))).task_token:
            pass
        return task

    async def fail(self, task: Any) -> None:
        cause = "WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE"
        await self.call("RespondWorkflowTaskFailed", task_token=task.task_token, cause=cause)

    async def complete(self, task: Any, **more: Any) -> None:
        await self.call("RespondWorkflowTaskCompleted", task_token=task.task_token, **more)

    async def attempt(self) -> int:
        pending = (await self.handle.describe()).pending_workflow_task
        return 0 if pending is None else pending.attempt

    async def attempts_in_history(self) -> list[int]:
        """The attempt of each scheduled task, 0 for each failure."""
        found = []
        for event in (await self.handle.fetch_history()).events:
            if event.HasField(SCHEDULED):
                found.append(getattr(event, SCHEDULED).attempt)
            elif event.HasField(FAILED):
                found.append(0)
        return found

    async def refused(self) -> None:
        with pytest.raises(RPCError, match=REFUSED) as caught:
            await self.handle.query("state")
        assert caught.value.status is RPCStatusCode.FAILED_PRECONDITION


@pytest.fixture
def played(client: Client, unique: str) -> Played:
    return Played(client, unique)


async def test_a_query_waits_at_the_second_attempt(played: Played) -> None:
    """It may yet go well: then the query is answered, with that task or after it."""
    await played.start()
    await played.fail(await played.poll())
    assert await played.attempt() == 2
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await played.handle.query("state"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        task = await played.poll()
        await played.complete(task, query_results={id: {"result_type": ANSWERED, "answer": FINE} for id in task.queries})
        if not task.queries:
            task = await played.poll()
            assert task.query.query_type == "state"
            await played.call("RespondQueryTaskCompleted", task_token=task.task_token, completed_type=ANSWERED, query_result=FINE)
    assert answers == ["fine"]


async def test_queries_are_refused_from_the_third_attempt(played: Played) -> None:
    await played.start()
    for attempt in (2, 3):
        await played.fail(await played.poll())
        assert await played.attempt() == attempt
    await played.refused()
    task = await played.poll()
    await played.refused()
    await played.complete(task)
    assert await played.attempt() == 0
    await played.handle.signal("go_on")
    await played.fail(await played.poll())
    assert await played.attempt() == 2, "a task that went well ends the count"


async def test_a_message_meanwhile_makes_it_a_first_attempt(played: Played) -> None:
    await played.start()
    for _ in range(2):
        await played.fail(await played.poll())
    task = await played.poll()
    await played.handle.signal("go_on")
    assert await played.attempt() == 3
    await played.fail(task)
    assert await played.attempt() == 1


async def test_a_failure_on_a_sticky_queue_does_not_count(played: Played) -> None:
    """It may be the cache's fault: the next attempt, with the whole history, is a first one."""
    sticky = {"worker_task_queue": played.queue("sticky"), "schedule_to_start_timeout": {"seconds": 3600}}
    sent, received = anyio.create_memory_object_stream[tuple[str, Any]](10)

    async def poll(kind: str) -> None:
        while True:
            await sent.send((kind, await played.poll(kind)))

    async with anyio.create_task_group() as pollers, sent, received:
        await played.start()
        for kind in ("sticky", "normal"):
            pollers.start_soon(poll, kind)
        kind, task = await received.receive()
        while kind == "normal":  # the service has not seen the sticky queue's poller yet
            await played.complete(task, sticky_attributes=sticky)
            await played.handle.signal("go_on")
            kind, task = await received.receive()
        before = len(await played.attempts_in_history())
        assert await played.attempt() == 1
        await played.fail(task)
        for attempt in (1, 2):
            kind, task = await received.receive()
            assert kind == "normal"
            assert await played.attempt() == attempt
            await played.fail(task)
        assert (await played.attempts_in_history())[before - 1 : before + 3] == [1, 0, 1, 0]
        await played.refused()
        pollers.cancel_scope.cancel()


async def test_a_closed_workflow_whose_task_never_went_well(played: Played) -> None:
    await played.start()
    for _ in range(2):
        await played.fail(await played.poll())
    await played.handle.terminate()
    with pytest.raises(RPCError, match="Workflow execution closed before WorkflowTaskStarted event"):
        await played.handle.query("state")


async def test_a_workflow_that_failed_until_it_was_closed(played: Played) -> None:
    await played.start()
    await played.complete(await played.poll())
    await played.handle.signal("go_on")
    for _ in range(2):
        await played.fail(await played.poll())
    await played.handle.terminate()
    await played.refused()


async def test_a_query_before_a_delayed_start(played: Played) -> None:
    await played.start(start_delay=timedelta(hours=1))
    with pytest.raises(RPCError, match=r"Workflow task is not scheduled yet") as caught:
        await played.handle.query("state")
    assert caught.value.status is RPCStatusCode.FAILED_PRECONDITION
    await played.handle.terminate()
