"""Histories travel as JSON, in the form that Temporal's own tools write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from durable_anyio import WorkflowHistory

SHORT: dict[str, Any] = {
    "events": [
        {
            "eventId": "1",
            "eventTime": "2024-01-01T00:00:00.123456789Z",
            "eventType": "WorkflowExecutionStarted",
            "workflowExecutionStartedEventAttributes": {
                "workflowType": {"name": "Checkout"},
                "taskQueue": {"name": "q", "kind": "Normal"},
                "originalExecutionRunId": "run-1",
                "workflowId": "order-7",
                "initiator": "Unspecified",
                "input": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "MQ=="}]},
                "header": {"fields": {"a": {"data": "MQ=="}}},
            },
        },
        {
            "eventId": "2",
            "eventType": "ActivityTaskTimedOut",
            "activityTaskTimedOutEventAttributes": {
                "failure": {"message": "m", "timeoutFailureInfo": {"timeoutType": "StartToClose"}},
                "retryState": "MaximumAttemptsReached",
            },
        },
    ]
}


def test_short_enum_names_are_read_and_long_ones_written() -> None:
    history = WorkflowHistory.from_json(json.dumps(SHORT))
    assert (history.workflow_id, history.run_id, history.workflow_type) == ("order-7", "run-1", "Checkout")
    written = json.loads(history.to_json())["events"]
    assert written[0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    assert written[0]["eventTime"] == "2024-01-01T00:00:00.123456789Z"
    assert written[0]["workflowExecutionStartedEventAttributes"]["taskQueue"]["kind"] == "TASK_QUEUE_KIND_NORMAL"
    attributes = written[1]["activityTaskTimedOutEventAttributes"]
    assert attributes["retryState"] == "RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED"
    assert attributes["failure"]["timeoutFailureInfo"]["timeoutType"] == "TIMEOUT_TYPE_START_TO_CLOSE"


def test_a_history_read_back_is_equal() -> None:
    history = WorkflowHistory.from_json(SHORT)
    assert WorkflowHistory.from_json(history.to_json()) == history
    assert WorkflowHistory.from_json({"history": json.loads(history.to_json())}) == history


def test_the_caller_may_name_the_workflow() -> None:
    assert WorkflowHistory.from_json(SHORT, workflow_id="other").workflow_id == "other"


def test_fields_of_a_newer_service_are_skipped() -> None:
    assert WorkflowHistory.from_json({"events": [{"eventId": "1", "newField": {"x": 1}}], "more": 1}).workflow_id == "unknown"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[]", "no list"),
        ('{"events": 1}', "no list"),
        ('{"events": []}', "no events"),
        ('{"events": [1]}', "no workflow history"),
        ('{"events": [{"eventId": "x"}]}', "no workflow history"),
        ('{"events": [{"eventType": "Nonsense"}]}', "unknown type 'Nonsense'"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorkflowHistory.from_json(text)
