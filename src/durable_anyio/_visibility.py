"""What runs look like from outside: list entries, descriptions, and why a run does not proceed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ._bridge import proto
from ._failure import exception_from_failure
from ._history import WorkflowHistory
from ._search_attributes import decode_search_attributes
from .common import TypedSearchAttributes, WorkflowExecutionStatus
from .exceptions import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from .client import Client

__all__ = [
    "PendingActivity",
    "PendingWorkflowTask",
    "WorkflowExecution",
    "WorkflowExecutionCount",
    "WorkflowExecutionCountAggregationGroup",
    "WorkflowExecutionDescription",
    "WorkflowExecutionIterator",
]

_EventType = proto.enum("temporal.api.enums.v1.EventType")
_WORKFLOW_QUEUE, _ACTIVITY_QUEUE = 1, 2  # TaskQueueType
# Enough to find the last workflow task's failure: between two of them there are few events that do not belong to one.
_RECENT_EVENTS = 50


@dataclass(frozen=True)
class WorkflowExecution:
    """A run as lists show it. Times are aware datetimes in UTC. `raw` is the `WorkflowExecutionInfo` message."""

    id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowExecutionStatus | None
    start_time: datetime | None
    execution_time: datetime | None
    close_time: datetime | None
    history_length: int
    memo: Mapping[str, Any]
    typed_search_attributes: TypedSearchAttributes
    raw: Any

    @property
    def closed(self) -> bool:
        """Whether the run has ended."""
        return self.status not in (None, WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.PAUSED)


@dataclass(frozen=True)
class PendingActivity:
    """An activity that is not done. `state` is SCHEDULED, STARTED, CANCEL_REQUESTED, PAUSED or PAUSE_REQUESTED."""

    activity_id: str
    activity_type: str
    state: str
    attempt: int
    maximum_attempts: int
    scheduled_time: datetime | None
    last_started_time: datetime | None
    last_heartbeat_time: datetime | None
    next_attempt_schedule_time: datetime | None
    last_worker_identity: str
    last_failure: BaseException | None


@dataclass(frozen=True)
class PendingWorkflowTask:
    """The workflow task that waits or runs. `state` is SCHEDULED or STARTED; `last_failure` says why the last attempt failed."""

    state: str
    attempt: int
    scheduled_time: datetime | None
    started_time: datetime | None
    last_failure: BaseException | None


@dataclass(frozen=True)
class WorkflowExecutionDescription(WorkflowExecution):
    """A run in detail. `problems` says in plain words why it does not proceed; empty if nothing is wrong."""

    pending_activities: tuple[PendingActivity, ...]
    pending_workflow_task: PendingWorkflowTask | None
    problems: tuple[str, ...]
    static_summary: str | None = None
    """What the start said about this workflow, in one line."""
    static_details: str | None = None
    """What the start said about this workflow, at length."""


@dataclass(frozen=True)
class WorkflowExecutionCountAggregationGroup:
    """A part of a count: how many runs have these values of what the query groups by."""

    count: int
    group_values: Sequence[Any]


class WorkflowExecutionCount(int):
    """How many runs a query finds. `groups` has its parts if the query asks for them."""

    groups: Sequence[WorkflowExecutionCountAggregationGroup] = ()

    @property
    def count(self) -> int:
        """The number itself."""
        return int(self)

    @staticmethod
    def from_proto(response: Any) -> WorkflowExecutionCount:
        """The count of a `CountWorkflowExecutionsResponse`."""
        count = WorkflowExecutionCount(response.count)
        count.groups = tuple(
            WorkflowExecutionCountAggregationGroup(group.count, tuple(json.loads(value.data) for value in group.group_values))
            for group in response.groups
        )
        return count


class WorkflowExecutionIterator(AsyncIterator[WorkflowExecution]):
    """The runs that a list query finds, newest first; pages are fetched as they are needed."""

    def __init__(self, client: Client, query: str, page_size: int) -> None:
        self._client = client
        self._request = client.service.request("ListWorkflowExecutions", namespace=client.namespace, query=query, page_size=page_size)
        self._page: list[WorkflowExecution] = []
        self._next = 0
        self._last_page = False

    async def __anext__(self) -> WorkflowExecution:
        while self._next >= len(self._page):
            if self._last_page:
                raise StopAsyncIteration
            response = await self._client.service.call("ListWorkflowExecutions", self._request)
            self._page = [WorkflowExecution(**_fields(info, self._client)) for info in response.executions]
            self._next = 0
            self._request.next_page_token = response.next_page_token
            self._last_page = not response.next_page_token
        self._next += 1
        return self._page[self._next - 1]

    async def map_histories(self) -> AsyncIterator[WorkflowHistory]:
        """The histories of these runs, each fetched when it is its turn: for `Replayer.replay_workflows`."""
        async for execution in self:
            yield WorkflowHistory(execution.id, await fetch_events(self._client, execution.id, execution.run_id))


async def describe(client: Client, workflow_id: str, run_id: str | None) -> WorkflowExecutionDescription:
    """Describes a run, and asks further when it does not seem to proceed."""
    execution = {"workflow_id": workflow_id, "run_id": run_id or ""}
    request = client.service.request("DescribeWorkflowExecution", namespace=client.namespace, execution=execution)
    response = await client.service.call("DescribeWorkflowExecution", request)
    fields = _fields(response.workflow_execution_info, client)
    if not fields["task_queue"]:
        fields["task_queue"] = response.execution_config.task_queue.name
    activities = tuple(_pending_activity(info, client) for info in response.pending_activities)
    task = None
    if response.HasField("pending_workflow_task"):
        pending = response.pending_workflow_task
        failure = await _last_task_failure(client, workflow_id, fields["run_id"]) if pending.attempt > 1 else None
        task = PendingWorkflowTask(
            state=_short_name("PendingWorkflowTaskState", pending.state),
            attempt=pending.attempt,
            scheduled_time=_time(pending, "scheduled_time"),
            started_time=_time(pending, "started_time"),
            last_failure=failure,
        )
    problems = await _problems(client, fields["task_queue"], task, activities, response.pending_activities)
    metadata = response.execution_config.user_metadata
    texts = [
        client.data_converter.from_payloads([getattr(metadata, field)], [str])[0] if metadata.HasField(field) else None
        for field in ("summary", "details")
    ]
    return WorkflowExecutionDescription(
        **fields,
        pending_activities=activities,
        pending_workflow_task=task,
        problems=problems,
        static_summary=texts[0],
        static_details=texts[1],
    )


async def poller_count(client: Client, task_queue: str, kind: int = _WORKFLOW_QUEUE) -> int | None:
    """How many workers the service has seen polling; None if it does not say."""
    request = client.service.request("DescribeTaskQueue", namespace=client.namespace, task_queue_type=kind)
    request.task_queue.name = task_queue
    try:
        response = await client.service.call("DescribeTaskQueue", request)
    except RPCError as error:
        if error.status in (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.NOT_FOUND, RPCStatusCode.PERMISSION_DENIED):
            return None
        raise
    return len(response.pollers)


async def _problems(
    client: Client, task_queue: str, task: PendingWorkflowTask | None, activities: tuple[PendingActivity, ...], infos: Any
) -> tuple[str, ...]:
    problems = []
    if task is not None and task.attempt > 1:
        reason = f": {task.last_failure}" if task.last_failure is not None else ""
        problems.append(
            f"the workflow task fails (attempt {task.attempt}){reason}\n"
            "hint: fix the workflow's code or register the type with the worker; the task is retried, nothing is lost"
        )
    if task is not None and task.state == "SCHEDULED" and await poller_count(client, task_queue) == 0:
        problems.append(no_worker_text(task_queue, "workflows"))
    queues = {
        info.activity_options.task_queue.name or task_queue
        for info, seen in zip(infos, activities, strict=True)
        if seen.state == "SCHEDULED"
    }
    for queue in sorted(queues):
        if await poller_count(client, queue, _ACTIVITY_QUEUE) == 0:
            problems.append(no_worker_text(queue, "activities"))
    for activity in activities:
        if activity.last_failure is not None:
            most = f" of {activity.maximum_attempts}" if activity.maximum_attempts else ""
            problems.append(
                f"activity {activity.activity_type} ({activity.activity_id}) fails and is retried "
                f"(attempt {activity.attempt}{most}): {activity.last_failure}"
            )
    return tuple(problems)


def no_worker_text(task_queue: str, what: str) -> str:
    """What to tell a user whose work waits for a worker that is not there."""
    return (
        f"no worker polls task queue {task_queue!r} for {what}\n"
        f"hint: start a Worker(client, task_queue={task_queue!r}, …), or check the queue's name; the work waits until then"
    )


async def _last_task_failure(client: Client, workflow_id: str, run_id: str) -> BaseException | None:
    """Why the last workflow task failed, from the newest events; None if they do not say."""
    for rpc in ("GetWorkflowExecutionHistoryReverse", "GetWorkflowExecutionHistory"):
        request = client.service.request(rpc, namespace=client.namespace, maximum_page_size=_RECENT_EVENTS)
        request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
        try:
            events = await _events(client, rpc, request, all_pages=not rpc.endswith("Reverse"))
        except RPCError as error:
            if error.status is RPCStatusCode.UNIMPLEMENTED:
                continue
            raise
        for event in sorted(events, key=lambda event: -int(event.event_id)):
            kind = _EventType.Name(event.event_type)
            if kind == "EVENT_TYPE_WORKFLOW_TASK_FAILED":
                return exception_from_failure(event.workflow_task_failed_event_attributes.failure, client.data_converter)
            if kind == "EVENT_TYPE_WORKFLOW_TASK_COMPLETED":
                return None
        return None
    return None


async def _events(client: Client, rpc: str, request: Any, *, all_pages: bool) -> list[Any]:
    events: list[Any] = []
    while True:
        response = await client.service.call(rpc, request)
        events.extend(response.history.events)
        request.next_page_token = response.next_page_token
        if not response.next_page_token or not all_pages:
            return events


async def fetch_events(client: Client, workflow_id: str, run_id: str | None) -> list[Any]:
    """All events of a run as they are now."""
    request = client.service.request("GetWorkflowExecutionHistory", namespace=client.namespace)
    request.execution.workflow_id, request.execution.run_id = workflow_id, run_id or ""
    return await _events(client, "GetWorkflowExecutionHistory", request, all_pages=True)


def _fields(info: Any, client: Client) -> dict[str, Any]:
    known = info.status in WorkflowExecutionStatus._value2member_map_
    memo = info.memo.fields
    return {
        "id": info.execution.workflow_id,
        "run_id": info.execution.run_id,
        "workflow_type": info.type.name,
        "task_queue": info.task_queue,
        "status": WorkflowExecutionStatus(info.status) if info.status and known else None,
        "start_time": _time(info, "start_time"),
        "execution_time": _time(info, "execution_time"),
        "close_time": _time(info, "close_time"),
        "history_length": info.history_length,
        "memo": dict(zip(memo, client.data_converter.from_payloads(list(memo.values())), strict=True)),
        "typed_search_attributes": decode_search_attributes(info.search_attributes.indexed_fields),
        "raw": info,
    }


def _pending_activity(info: Any, client: Client) -> PendingActivity:
    failed = info.HasField("last_failure")
    return PendingActivity(
        activity_id=info.activity_id,
        activity_type=info.activity_type.name,
        state=_short_name("PendingActivityState", info.state),
        attempt=info.attempt,
        maximum_attempts=info.maximum_attempts,
        scheduled_time=_time(info, "scheduled_time"),
        last_started_time=_time(info, "last_started_time"),
        last_heartbeat_time=_time(info, "last_heartbeat_time"),
        next_attempt_schedule_time=_time(info, "next_attempt_schedule_time"),
        last_worker_identity=info.last_worker_identity,
        last_failure=exception_from_failure(info.last_failure, client.data_converter) if failed else None,
    )


def _short_name(enum: str, number: int) -> str:
    wrapper = proto.enum(f"temporal.api.enums.v1.{enum}")
    prefix = wrapper.Name(0).removesuffix("UNSPECIFIED")
    return str(wrapper.Name(number)).removeprefix(prefix) if number in wrapper.values() else str(number)


def _time(message: Any, field: str) -> datetime | None:
    return message_time(getattr(message, field)) if message.HasField(field) else None


def message_time(timestamp: Any) -> datetime:
    """An aware datetime in UTC of a protobuf timestamp."""
    return timestamp.ToDatetime(tzinfo=UTC)  # type: ignore[no-any-return]
