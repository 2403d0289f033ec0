"""What schedules look like from outside: descriptions and list entries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ._schedule import Schedule
from ._schedule_spec import ScheduleSpec, get_time
from ._search_attributes import TypedSearchAttributes, decode_search_attributes
from ._visibility import message_time

if TYPE_CHECKING:
    from .client import Client

__all__ = [
    "ScheduleActionExecution",
    "ScheduleActionExecutionStartWorkflow",
    "ScheduleActionResult",
    "ScheduleAsyncIterator",
    "ScheduleDescription",
    "ScheduleInfo",
    "ScheduleListAction",
    "ScheduleListActionStartWorkflow",
    "ScheduleListDescription",
    "ScheduleListInfo",
    "ScheduleListSchedule",
    "ScheduleListState",
]


class ScheduleActionExecution:
    """What came of an action; today there is `ScheduleActionExecutionStartWorkflow`."""


@dataclass(frozen=True)
class ScheduleActionExecutionStartWorkflow(ScheduleActionExecution):
    """A workflow that a schedule started."""

    workflow_id: str
    first_execution_run_id: str


@dataclass(frozen=True)
class ScheduleActionResult:
    """An action that was taken. `scheduled_at` has the jitter in it. Times are aware and in UTC."""

    scheduled_at: datetime
    started_at: datetime
    action: ScheduleActionExecution

    @staticmethod
    def from_proto(result: Any) -> ScheduleActionResult:
        """The result of a `temporal.api.schedule.v1.ScheduleActionResult`."""
        return ScheduleActionResult(
            scheduled_at=message_time(result.schedule_time),
            started_at=message_time(result.actual_time),
            action=_execution(result.start_workflow_result),
        )


def _execution(execution: Any) -> ScheduleActionExecutionStartWorkflow:
    return ScheduleActionExecutionStartWorkflow(execution.workflow_id, execution.run_id)


@dataclass(frozen=True)
class ScheduleInfo:
    """What a schedule did and will do. Times are aware and in UTC."""

    num_actions: int
    num_actions_missed_catchup_window: int
    num_actions_skipped_overlap: int
    running_actions: Sequence[ScheduleActionExecution]
    recent_actions: Sequence[ScheduleActionResult]
    """The last ten, the newest at the end."""
    next_action_times: Sequence[datetime]
    """The next ten; also while it is paused."""
    created_at: datetime
    last_updated_at: datetime | None
    last_refusal: str | None = None
    """Why the last action could not be taken, if it was refused; embedded engines say it, a service has it in its log only."""

    @staticmethod
    def from_proto(info: Any) -> ScheduleInfo:
        """The info of a `temporal.api.schedule.v1.ScheduleInfo`."""
        return ScheduleInfo(
            num_actions=info.action_count,
            num_actions_missed_catchup_window=info.missed_catchup_window,
            num_actions_skipped_overlap=info.overlap_skipped,
            running_actions=[_execution(execution) for execution in info.running_workflows],
            recent_actions=[ScheduleActionResult.from_proto(result) for result in info.recent_actions],
            next_action_times=[message_time(at) for at in info.future_action_times],
            created_at=message_time(info.create_time),
            last_updated_at=get_time(info, "update_time"),
            last_refusal=info.invalid_schedule_error or None,
        )


@dataclass(frozen=True)
class ScheduleDescription:
    """A schedule as it is now. `raw_description` is the service's `DescribeScheduleResponse`."""

    id: str
    schedule: Schedule
    info: ScheduleInfo
    memo: Mapping[str, Any]
    typed_search_attributes: TypedSearchAttributes
    """The schedule's own; its workflows' are the action's."""
    raw_description: Any

    @staticmethod
    def from_proto(id: str, response: Any, client: Client) -> ScheduleDescription:
        """The description of a `DescribeScheduleResponse`."""
        return ScheduleDescription(
            id=id,
            schedule=Schedule.from_proto(response.schedule, client),
            info=ScheduleInfo.from_proto(response.info),
            memo=_memo(response.memo, client),
            typed_search_attributes=decode_search_attributes(response.search_attributes.indexed_fields),
            raw_description=response,
        )


def _memo(memo: Any, client: Client) -> dict[str, Any]:
    return dict(zip(memo.fields, client.data_converter.from_payloads(list(memo.fields.values())), strict=True))


class ScheduleListAction:
    """What a listed schedule does; today there is `ScheduleListActionStartWorkflow`."""


@dataclass(frozen=True)
class ScheduleListActionStartWorkflow(ScheduleListAction):
    """It starts a workflow of this type."""

    workflow: str


@dataclass(frozen=True)
class ScheduleListState:
    """A listed schedule's state."""

    note: str | None
    paused: bool


@dataclass(frozen=True)
class ScheduleListSchedule:
    """What a list says of a schedule."""

    action: ScheduleListAction
    spec: ScheduleSpec
    state: ScheduleListState


@dataclass(frozen=True)
class ScheduleListInfo:
    """What a listed schedule did last and will do next, five each."""

    recent_actions: Sequence[ScheduleActionResult]
    next_action_times: Sequence[datetime]


@dataclass(frozen=True)
class ScheduleListDescription:
    """An entry of a list. A service's lists may be some seconds old; `raw_entry` is its `ScheduleListEntry`."""

    id: str
    schedule: ScheduleListSchedule | None
    info: ScheduleListInfo | None
    memo: Mapping[str, Any]
    typed_search_attributes: TypedSearchAttributes
    raw_entry: Any

    @staticmethod
    def from_proto(entry: Any, client: Client) -> ScheduleListDescription:
        """The entry of a `temporal.api.schedule.v1.ScheduleListEntry`."""
        schedule = info = None
        if entry.HasField("info"):
            schedule = ScheduleListSchedule(
                action=ScheduleListActionStartWorkflow(entry.info.workflow_type.name),
                spec=ScheduleSpec.from_proto(entry.info.spec),
                state=ScheduleListState(note=entry.info.notes or None, paused=entry.info.paused),
            )
            info = ScheduleListInfo(
                recent_actions=[ScheduleActionResult.from_proto(result) for result in entry.info.recent_actions],
                next_action_times=[message_time(at) for at in entry.info.future_action_times],
            )
        attributes = decode_search_attributes(entry.search_attributes.indexed_fields)
        return ScheduleListDescription(entry.schedule_id, schedule, info, _memo(entry.memo, client), attributes, entry)


class ScheduleAsyncIterator(AsyncIterator[ScheduleListDescription]):
    """The schedules that a list finds; pages are fetched as they are needed. Awaiting it is allowed and gives itself."""

    def __init__(self, client: Client, query: str, page_size: int) -> None:
        self._client = client
        self._request = client.service.request("ListSchedules", namespace=client.namespace, query=query, maximum_page_size=page_size)
        self._page: list[ScheduleListDescription] = []
        self._next = 0
        self._last_page = False

    def __await__(self) -> Generator[Any, Any, ScheduleAsyncIterator]:
        yield from ()
        return self

    async def __anext__(self) -> ScheduleListDescription:
        while self._next >= len(self._page):
            if self._last_page:
                raise StopAsyncIteration
            response = await self._client.service.call("ListSchedules", self._request)
            self._page = [ScheduleListDescription.from_proto(entry, self._client) for entry in response.schedules]
            self._next = 0
            self._request.next_page_token = response.next_page_token
            self._last_page = not response.next_page_token
        self._next += 1
        return self._page[self._next - 1]
