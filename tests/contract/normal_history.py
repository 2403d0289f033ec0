"""A history without what differs between two runs of the same workflow, so that two places' histories can be compared."""

from __future__ import annotations

import base64
import json
from typing import Any

from durable_anyio import WorkflowHistory

#: Left out wherever it appears, with the reason why two faithful runs may differ in it.
DIFFERS = {
    "eventTime": "the clock",
    "workflowExecutionExpirationTime": "the clock",
    "taskId": "a counter of the whole service",
    "identity": "the process that called",
    "requestId": "random for each call",
    "originalExecutionRunId": "random for each run",
    "firstExecutionRunId": "random for each run",
    "continuedExecutionRunId": "random for each run",
    "newExecutionRunId": "random for each run",
    "runId": "random for each run",
    "namespaceId": "random for each namespace",
    "parentWorkflowNamespaceId": "random for each namespace",
    "workflowId": "each test has its own",
    "historySizeBytes": "counts the bytes of the other fields named here",
    "sdkVersion": "the version of the worker that recorded",
    "langUsedFlags": "the version of the worker that recorded",
    "prevAutoResetPoints": "a service's notes on which worker's version did the first task; an engine has none",
    "baseRunId": "random for each run",
    "newRunId": "random for each run",
    "stackTrace": "line numbers of the tests and of the package",
}
#: Says which event another event follows from; a race earlier in the history renumbers them.
REFERENCES = (
    "acceptedEventId", "acceptedRequestSequencingEventId", "initiatedEventId", "latestCancelRequestedEventId", "scheduledEventId",
    "startedEventId", "workflowTaskCompletedEventId",
)  # fmt: skip
MARKER_DATA = {"data", "result"}
#: Of what a local activity's marker says: the clock, and how the results fell together.
MARKER_DIFFERS = ("complete_time", "original_schedule_time", "activation_index")
JSON_PROTOBUF = base64.b64encode(b"json/protobuf").decode()
WORKFLOW_TASK = "EVENT_TYPE_WORKFLOW_TASK_"


def normal(history: WorkflowHistory) -> list[dict[str, Any]]:
    """The events in their order, as JSON without the fields of `DIFFERS`, with queues named by their kind."""
    return [_normal(event) for event in json.loads(history.to_json())["events"]]


def _normal(value: Any) -> Any:
    if isinstance(value, list):
        return [_normal(member) for member in value]
    if not isinstance(value, dict):
        return value
    if str(value.get("kind", "")).startswith("TASK_QUEUE_KIND_"):
        return value["kind"]  # each test has its own queue, each worker its own sticky one
    if value.get("metadata", {}).get("encoding") == JSON_PROTOBUF:  # a failure within a payload
        value = {**value, "data": json.loads(base64.b64decode(value["data"]))}
    if MARKER_DATA.issuperset(value) and "data" in value:
        payload = value["data"]["payloads"][0]  # of a local activity's marker
        data = {key: member for key, member in json.loads(base64.b64decode(payload["data"])).items() if key not in MARKER_DIFFERS}
        value = {**value, "data": data}
    return {key: _normal(member) for key, member in value.items() if key not in DIFFERS}


def lines(history: WorkflowHistory) -> list[str]:
    """Everything, in its order."""
    return [line for event in normal(history) for line in json.dumps(event, indent=1, sort_keys=True).splitlines()]


def without_tasks(history: WorkflowHistory) -> list[str]:
    """What happened but for workflow tasks, in its order; events that an event follows from are named by their type.

    How many workflow tasks there are, and between which events they fall, is decided by who is faster: two signals, or two ends of
    activities, make one task or two.
    """
    events = normal(history)
    types = {event["eventId"]: event["eventType"] for event in events}
    seen = []
    for event in events:
        if not event["eventType"].startswith(WORKFLOW_TASK):
            named = {key: _with_types(member, types) for key, member in event.items() if key != "eventId"}
            seen.append(json.dumps(named, sort_keys=True))
    return seen


def _with_types(attributes: Any, types: dict[str, str]) -> Any:
    if not isinstance(attributes, dict):
        return attributes
    return {key: types.get(member, member) if key in REFERENCES else member for key, member in attributes.items()}


def unordered(history: WorkflowHistory) -> list[str]:
    """The events of `without_tasks` sorted, for what runs side by side."""
    return sorted(without_tasks(history))
