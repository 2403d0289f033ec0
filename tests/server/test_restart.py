"""What workers in other processes hold stays theirs over a restart of the server, in order or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from durable_anyio._bridge import proto

from .calls import Api
from .running import Running, running

NAMESPACE: dict[str, Any] = {"namespace": "default"}


def _end(server: Running, how: str) -> None:
    if how == "stopped":
        assert server.stop() == 0
    else:
        server.kill()


def _schedule_activity(task_queue: str) -> Any:
    command = proto.message("temporal.api.command.v1.Command")(command_type="COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK")
    attributes = command.schedule_activity_task_command_attributes
    attributes.activity_id, attributes.activity_type.name, attributes.task_queue.name = "a", "Any", task_queue
    attributes.start_to_close_timeout.FromSeconds(300)
    return command


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_an_activity_in_somebodys_hands(tmp_path: Path, how: str) -> None:
    db, log = tmp_path / "own.db", tmp_path / "log"
    with running(db, log=log) as server:
        api = Api(server.address)
        api.start("held", task_queue="queue")
        task = api.poll("queue")
        api.call("RespondWorkflowTaskCompleted", **NAMESPACE, task_token=task.task_token, commands=[_schedule_activity("queue")])
        activity = api.call("PollActivityTaskQueue", **NAMESPACE, task_queue={"name": "queue"}, identity="a test")
        assert activity.activity_id == "a"
        _end(server, how)
    with running(db, log=log) as server:
        api = Api(server.address)
        pending = api.call("DescribeWorkflowExecution", **NAMESPACE, execution={"workflow_id": "held"}).pending_activities
        assert [(one.attempt, one.HasField("last_failure")) for one in pending] == [(1, False)]
        api.call("RespondActivityTaskCompleted", **NAMESPACE, task_token=activity.task_token, identity="a test")
        events = api.call("GetWorkflowExecutionHistory", **NAMESPACE, execution={"workflow_id": "held"}).history.events
        names = [event.WhichOneof("attributes") for event in events]
        assert "activity_task_completed_event_attributes" in names


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_workflow_task_that_was_waited_for(tmp_path: Path, how: str) -> None:
    """Its start is stored with what caused it, so that its worker answers it after the restart."""
    db, log = tmp_path / "own.db", tmp_path / "log"
    with running(db, log=log) as server:
        api = Api(server.address)
        poll = api.future("PollWorkflowTaskQueue", timeout=60, **NAMESPACE, task_queue={"name": "queue"}, identity="a test")
        api.call("GetSystemInfo")
        api.start("held", task_queue="queue")
        task = poll.result()
        _end(server, how)
    with running(db, log=log) as server:
        _complete(Api(server.address), task)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_workflow_task_that_waited(tmp_path: Path, how: str) -> None:
    """Its start alone is not worth a commit: it is given out again, at once and as if for the first time."""
    db, log = tmp_path / "own.db", tmp_path / "log"
    with running(db, log=log) as server:
        api = Api(server.address)
        api.start("held", task_queue="queue")
        assert api.poll("queue").workflow_execution.workflow_id == "held"
        _end(server, how)
    with running(db, log=log) as server:
        api = Api(server.address)
        task = api.poll("queue")
        assert (task.workflow_execution.workflow_id, task.attempt) == ("held", 1)
        _complete(api, task)


def _complete(api: Api, task: Any) -> None:
    completion = proto.message("temporal.api.command.v1.Command")(command_type="COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION")
    completion.complete_workflow_execution_command_attributes.SetInParent()
    api.call("RespondWorkflowTaskCompleted", **NAMESPACE, task_token=task.task_token, commands=[completion])
    described = api.call("DescribeWorkflowExecution", **NAMESPACE, execution={"workflow_id": "held"})
    # 2: completed; five events: no attempt was lost between.
    assert (described.workflow_execution_info.status, described.workflow_execution_info.history_length) == (2, 5)
