"""The client on a real embedded engine, as far as no worker is needed."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from durable_anyio.exceptions import RPCError, RPCStatusCode, TerminatedError, WorkflowAlreadyStartedError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio


async def test_a_workflow_without_a_worker_is_explained_and_can_be_ended(
    env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await env.client.start_workflow("Unknown", 1, id="a", task_queue=task_queue)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(f"no worker polls task queue {task_queue!r}" in text for text in warnings)
    description = await handle.describe()
    assert any(f"no worker polls task queue {task_queue!r}" in problem for problem in description.problems)

    with pytest.raises(WorkflowAlreadyStartedError) as taken:
        await env.client.start_workflow("Unknown", 1, id="a", task_queue=task_queue)
    assert taken.value.run_id == handle.result_run_id

    await handle.terminate("detail", reason="enough")
    with pytest.raises(WorkflowFailureError, match="enough") as ended:
        await handle.result()
    assert isinstance(ended.value.cause, TerminatedError)
    assert list(ended.value.cause.details) == ["detail"]

    history = await handle.fetch_history()
    assert (history.workflow_id, history.run_id, history.workflow_type) == ("a", handle.result_run_id, "Unknown")
    assert [run.id async for run in env.client.list_workflows()] == ["a"]
    assert await env.client.count_workflows() == 1


async def test_a_workflow_that_does_not_exist(env: WorkflowEnvironment) -> None:
    with pytest.raises(RPCError) as caught:
        await env.client.get_workflow_handle("nobody").result()
    assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_workflow_time_moves_when_told(env: WorkflowEnvironment) -> None:
    before = await env.get_current_time()
    await env.sleep(timedelta(days=30))
    assert await env.get_current_time() - before >= timedelta(days=30)
