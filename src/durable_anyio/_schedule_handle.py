"""Handles of schedules: creating, looking at and changing one."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload
from uuid import uuid4

from ._schedule import Schedule, ScheduleBackfill, ScheduleOverlapPolicy
from ._schedule_description import ScheduleDescription
from ._search_attributes import TypedSearchAttributes, encode_search_attributes
from .exceptions import RPCError, RPCStatusCode, ScheduleAlreadyRunningError

if TYPE_CHECKING:
    from .client import Client

__all__ = ["ScheduleHandle", "ScheduleUpdate", "ScheduleUpdateInput"]

# How often an update is tried whose schedule is changed by others meanwhile.
MAX_UPDATE_ATTEMPTS = 10


@dataclass(frozen=True)
class ScheduleUpdateInput:
    """What an updater gets."""

    description: ScheduleDescription


@dataclass(frozen=True)
class ScheduleUpdate:
    """What an updater returns: the schedule as it is to be, in whole."""

    schedule: Schedule
    search_attributes: TypedSearchAttributes | None = None
    """The schedule's own, in whole; None leaves them as they are."""


class ScheduleHandle:
    """One schedule, by its id. On a service changes take effect a moment after the call returns, embedded at once.

    Every method raises `RPCError`, NOT_FOUND if there is no such schedule.
    """

    def __init__(self, client: Client, id: str) -> None:
        self._client = client
        self._id = id

    def __repr__(self) -> str:
        return f"<ScheduleHandle id={self._id!r}>"

    @property
    def id(self) -> str:
        """The schedule's id."""
        return self._id

    async def describe(self) -> ScheduleDescription:
        """The schedule as it is now, what it did and what it will do."""
        request = self._client.service.request("DescribeSchedule", namespace=self._client.namespace, schedule_id=self._id)
        response = await self._client.service.call("DescribeSchedule", request)
        return ScheduleDescription.from_proto(self._id, response, self._client)

    @overload
    async def update(self, updater: Callable[[ScheduleUpdateInput], ScheduleUpdate | None]) -> None: ...

    @overload
    async def update(self, updater: Callable[[ScheduleUpdateInput], Awaitable[ScheduleUpdate | None]]) -> None: ...

    async def update(self, updater: Callable[[ScheduleUpdateInput], Any]) -> None:
        """Calls `updater` with the schedule's description and stores what it returns; None changes nothing.

        An embedded engine refuses an update of a schedule that was changed since it was described: the updater is then called again. A
        service takes the last update that comes.

        :raises ValueError, TypeError: as `Client.create_schedule`.
        """
        for attempt in range(1, MAX_UPDATE_ATTEMPTS + 1):
            description = await self.describe()
            update = updater(ScheduleUpdateInput(description))
            if inspect.isawaitable(update):
                update = await update
            if update is None:
                return
            if not isinstance(update, ScheduleUpdate):
                raise TypeError(f"the updater must return a ScheduleUpdate or None, not {type(update).__name__}")
            request = self._request("UpdateSchedule")
            request.schedule.CopyFrom(update.schedule.to_proto(self._client))
            if update.search_attributes is not None:
                request.search_attributes.SetInParent()
                _write(request, update.search_attributes)
            if self._client.is_embedded:
                # A service that finds the token too old answers as if all were well, and does nothing.
                request.conflict_token = description.raw_description.conflict_token
            try:
                await self._client.service.call("UpdateSchedule", request)
            except RPCError as error:
                if error.status is not RPCStatusCode.FAILED_PRECONDITION or attempt == MAX_UPDATE_ATTEMPTS:
                    raise
            else:
                return

    async def trigger(self, *, overlap: ScheduleOverlapPolicy | None = None) -> None:
        """Takes the action now, also while it is paused.

        :param overlap: the policy for this time; None: the schedule's own.
        """
        request = self._request("PatchSchedule")
        request.patch.trigger_immediately.overlap_policy = overlap or 0
        await self._client.service.call("PatchSchedule", request)

    async def pause(self, *, note: str | None = None) -> None:
        """Pauses it until `unpause`; `note` replaces the schedule's note."""
        request = self._request("PatchSchedule")
        request.patch.pause = note or "Paused via durable_anyio"
        await self._client.service.call("PatchSchedule", request)

    async def unpause(self, *, note: str | None = None) -> None:
        """Lets it go on; what it would have done meanwhile is not made up for."""
        request = self._request("PatchSchedule")
        request.patch.unpause = note or "Unpaused via durable_anyio"
        await self._client.service.call("PatchSchedule", request)

    async def backfill(self, *backfill: ScheduleBackfill) -> None:
        """Does now what the schedule would have done in the given times.

        :raises ValueError: none is given, or one ends before it begins.
        """
        if not backfill:
            raise ValueError("there is nothing to backfill; hint: handle.backfill(ScheduleBackfill(start_at=…, end_at=…))")
        request = self._request("PatchSchedule")
        request.patch.backfill_request.extend(part.to_proto() for part in backfill)
        await self._client.service.call("PatchSchedule", request)

    async def delete(self) -> None:
        """Deletes it; workflows that it started go on."""
        request = self._client.service.request(
            "DeleteSchedule", namespace=self._client.namespace, schedule_id=self._id, identity=self._client.identity
        )
        await self._client.service.call("DeleteSchedule", request)

    def _request(self, rpc: str) -> Any:
        return self._client.service.request(
            rpc, namespace=self._client.namespace, schedule_id=self._id, identity=self._client.identity, request_id=str(uuid4())
        )


async def create_schedule(
    client: Client,
    id: str,
    schedule: Schedule,
    *,
    trigger_immediately: bool,
    backfill: Sequence[ScheduleBackfill],
    memo: Mapping[str, Any] | None,
    search_attributes: TypedSearchAttributes | None,
) -> ScheduleHandle:
    """`Client.create_schedule` with a checked id."""
    state = schedule.state
    if not state.limited_actions and state.remaining_actions:
        raise ValueError(f"remaining_actions is {state.remaining_actions}, but limited_actions is not set")
    if state.limited_actions and state.remaining_actions <= 0:
        raise ValueError(f"limited_actions is set, but remaining_actions is {state.remaining_actions}")
    handle = ScheduleHandle(client, id)
    request = handle._request("CreateSchedule")
    request.schedule.CopyFrom(schedule.to_proto(client))
    if trigger_immediately:
        request.initial_patch.trigger_immediately.overlap_policy = schedule.policy.overlap
    request.initial_patch.backfill_request.extend(part.to_proto() for part in backfill)
    for key, payload in zip(memo or {}, client.data_converter.to_payloads(list((memo or {}).values())), strict=True):
        request.memo.fields[key].CopyFrom(payload)
    if search_attributes is not None:
        _write(request, search_attributes)
    try:
        await client.service.call("CreateSchedule", request)
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            raise ScheduleAlreadyRunningError(id) from None
        raise
    return handle


def _write(request: Any, attributes: TypedSearchAttributes) -> None:
    for name, payload in encode_search_attributes(attributes).items():
        request.search_attributes.indexed_fields[name].CopyFrom(payload)
