"""Replay of a history written by hand: no engine is needed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Replayer, WorkflowHistory, activity, workflow
from durable_anyio.exceptions import NondeterminismError

RUN_ID = "5b3f4f6e-8f0a-4c4f-9d7b-2f8f6f3a1c11"


@activity.defn(start_to_close_timeout=timedelta(seconds=1))
async def double(number: int) -> int:
    return number * 2


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, number: int) -> int:
        return await double(number)


def payload(data: str) -> dict[str, Any]:
    return {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": data}]}


def event(number: int, kind: str, **attributes: Any) -> dict[str, Any]:
    words = kind.split("_")
    name = words[0].lower() + "".join(word.title() for word in words[1:]) + "EventAttributes"
    time = f"2026-01-01T00:00:{number:02}Z"
    return {"eventId": str(number), "eventTime": time, "eventType": f"EVENT_TYPE_{kind}", name: attributes}


EVENTS = [
    event(
        1,
        "WORKFLOW_EXECUTION_STARTED",
        workflowType={"name": "Doubles"},
        workflowId="the-id",
        taskQueue={"name": "q"},
        input=payload("Mw=="),
        originalExecutionRunId=RUN_ID,
        firstExecutionRunId=RUN_ID,
        workflowTaskTimeout="10s",
        attempt=1,
    ),
    event(2, "WORKFLOW_TASK_SCHEDULED", taskQueue={"name": "q"}, startToCloseTimeout="10s", attempt=1),
    event(3, "WORKFLOW_TASK_STARTED", scheduledEventId="2"),
    event(4, "WORKFLOW_TASK_COMPLETED", scheduledEventId="2", startedEventId="3"),
    event(
        5,
        "ACTIVITY_TASK_SCHEDULED",
        activityId="1",
        activityType={"name": "double"},
        taskQueue={"name": "q"},
        input=payload("Mw=="),
        startToCloseTimeout="1s",
        workflowTaskCompletedEventId="4",
    ),
    event(6, "ACTIVITY_TASK_STARTED", scheduledEventId="5", attempt=1),
    event(7, "ACTIVITY_TASK_COMPLETED", scheduledEventId="5", startedEventId="6", result=payload("Ng==")),
    event(8, "WORKFLOW_TASK_SCHEDULED", taskQueue={"name": "q"}, startToCloseTimeout="10s", attempt=1),
    event(9, "WORKFLOW_TASK_STARTED", scheduledEventId="8"),
    event(10, "WORKFLOW_TASK_COMPLETED", scheduledEventId="8", startedEventId="9"),
    event(11, "WORKFLOW_EXECUTION_COMPLETED", result=payload("Ng=="), workflowTaskCompletedEventId="10"),
]


def history() -> WorkflowHistory:
    return WorkflowHistory.from_json({"events": EVENTS})


def test_same_code() -> None:
    completions: list[Any] = []
    result = Replayer(workflows=[Doubles]).replay(history(), watch=lambda _, completion: completions.append(completion))
    assert result.failure is None
    kinds = [command.WhichOneof("variant") for completion in completions for command in completion.successful.commands]
    assert kinds == ["schedule_activity", "complete_workflow_execution"]


def test_changed_code() -> None:
    @workflow.defn(name="Doubles")
    class Changed:
        @workflow.run
        async def run(self, number: int) -> int:
            await anyio.sleep(1)
            return number * 2

    result = Replayer(workflows=[Changed]).replay(history(), raise_on_failure=False)
    assert isinstance(result.failure, NondeterminismError)
    with pytest.raises(NondeterminismError, match="the-id"):
        Replayer(workflows=[Changed]).replay(history())


def test_unknown_type() -> None:
    with pytest.raises(NondeterminismError, match="'Doubles' is not registered"):
        Replayer(workflows=[]).replay(history())
