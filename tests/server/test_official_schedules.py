"""Schedules by the official SDK's client, on our server; and on the real one, where there is one, to say what is right."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

temporalio = pytest.importorskip("temporalio")

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest  # noqa: E402  # after the check that it is there
from temporalio.client import (  # noqa: E402
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes  # noqa: E402
from temporalio.service import RPCError, RPCStatusCode  # noqa: E402

pytestmark = pytest.mark.anyio

REAL = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")
NEVER = ScheduleSpec(calendars=[ScheduleCalendarSpec(year=[ScheduleRange(2099)])])
CUSTOMER = SearchAttributeKey.for_keyword("ShopCustomer")
CHANGE_VERSION = SearchAttributeKey.for_keyword_list("TemporalChangeVersion")


@pytest.fixture
def anyio_backend() -> str:
    """The official SDK runs on asyncio only."""
    return "asyncio"


@dataclass
class Place:
    """A client and ids of the test's own; schedules made with it are deleted."""

    client: Client
    unique: str

    def action(self, **options: Any) -> ScheduleActionStartWorkflow:
        return ScheduleActionStartWorkflow("Report", args=["sales", 3], id=f"w-{self.unique}", task_queue=f"q-{self.unique}", **options)

    async def create(self, schedule: Schedule | None = None, name: str = "s", **options: Any) -> ScheduleHandle:
        return await self.client.create_schedule(f"{name}-{self.unique}", schedule or Schedule(self.action(), NEVER), **options)


@pytest.fixture(
    params=["served", pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="DURABLE_ANYIO_TEST_SERVER=HOST:PORT names none"))]
)
async def place(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Place]:
    address = REAL if request.param == "real" else str(request.getfixturevalue("server").address)
    place = Place(await Client.connect(address), uuid.uuid4().hex[:12])
    yield place
    for name in ("s", "t", "u"):
        try:
            await place.client.get_schedule_handle(f"{name}-{place.unique}").delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


async def until(handle: ScheduleHandle, holds: Callable[[ScheduleDescription], bool]) -> ScheduleDescription:
    """The first description that `holds`: a service needs a moment."""
    async with asyncio.timeout(30):
        while True:
            seen = await handle.describe()
            if holds(seen):
                return seen
            await asyncio.sleep(0.05)


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await look():
            await asyncio.sleep(0.05)


def actions(seen: ScheduleDescription) -> int:
    return seen.info.num_actions


async def test_created_and_described(place: Place) -> None:
    spec = ScheduleSpec(
        calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(6, 18, 4)], day_of_week=[ScheduleRange(1, 5)], comment="work")],
        intervals=[ScheduleIntervalSpec(timedelta(days=300), timedelta(hours=5))],
        cron_expressions=["30 12 * * MON"],
        skip=[ScheduleCalendarSpec(month=[ScheduleRange(12)], day_of_month=[ScheduleRange(24, 26)])],
        start_at=datetime(2090, 1, 1, tzinfo=UTC),
        jitter=timedelta(seconds=10),
        time_zone_name="Europe/Berlin",
    )
    action = place.action(
        execution_timeout=timedelta(hours=3),
        retry_policy=RetryPolicy(maximum_attempts=2),
        memo={"who": "me"},
        static_summary="a report",
        typed_search_attributes=TypedSearchAttributes([SearchAttributePair(CHANGE_VERSION, ["one"])]),
    )
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ONE, catchup_window=timedelta(minutes=1), pause_on_failure=True)
    state = ScheduleState(note="quiet", paused=True, limited_actions=True, remaining_actions=7)
    handle = await place.create(Schedule(action, spec, policy, state), memo={"owner": "us"})
    seen = await handle.describe()
    assert (seen.schedule.policy, seen.schedule.state) == (policy, state)
    got = seen.schedule.action
    assert isinstance(got, ScheduleActionStartWorkflow)
    completed = RetryPolicy(maximum_attempts=2, maximum_interval=timedelta(seconds=100))  # with the service's defaults
    assert (got.workflow, got.id, got.task_queue) == ("Report", action.id, action.task_queue)
    assert (got.execution_timeout, got.retry_policy) == (timedelta(hours=3), completed)
    assert got.typed_search_attributes[CHANGE_VERSION] == ["one"]
    assert [arg.data for arg in got.args] == [b'"sales"', b"3"]
    assert len(seen.schedule.spec.calendars) == 2  # the cron expression is one
    assert seen.schedule.spec.intervals == spec.intervals
    assert (seen.schedule.spec.start_at, seen.schedule.spec.jitter) == (spec.start_at, spec.jitter)
    assert seen.schedule.spec.time_zone_name == "Europe/Berlin"
    assert await seen.memo_value("owner", type_hint=str) == "us"
    assert len(seen.info.next_action_times) == 7  # no more actions remain
    assert seen.info.next_action_times[0].year == 2090
    with pytest.raises(ScheduleAlreadyRunningError):
        await place.create()


async def test_triggered(place: Place) -> None:
    handle = await place.create(trigger_immediately=True)
    first = await until(handle, lambda seen: actions(seen) == 1)
    started: Any = first.info.recent_actions[0].action
    assert started.workflow_id.startswith(f"w-{place.unique}-20")
    described = await place.client.get_workflow_handle(started.workflow_id).describe()
    assert described.run_id == started.first_execution_run_id
    assert described.typed_search_attributes[SearchAttributeKey.for_keyword("TemporalScheduledById")] == handle.id
    # It runs, so that another one is skipped, unless it may run beside it.
    await handle.trigger()
    skipped = await until(handle, lambda seen: seen.info.num_actions_skipped_overlap == 1)
    assert actions(skipped) == 1
    await place.client.get_workflow_handle(started.workflow_id).terminate()
    await until(handle, lambda seen: not seen.info.running_actions)


async def test_paused_and_unpaused(place: Place) -> None:
    handle = await place.create()
    await handle.pause(note="not now")
    paused = await until(handle, lambda seen: seen.schedule.state.paused)
    assert paused.schedule.state.note == "not now"
    await handle.unpause(note="again")
    state = (await until(handle, lambda seen: not seen.schedule.state.paused)).schedule.state
    assert state.note == "again"


async def test_updated(place: Place) -> None:
    handle = await place.create()

    async def change(seen: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = seen.description.schedule
        schedule.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(days=2))], start_at=datetime(2090, 1, 1, tzinfo=UTC))
        schedule.state.note = "changed"
        return ScheduleUpdate(schedule)

    await handle.update(change)
    seen = await until(handle, lambda seen: seen.schedule.state.note == "changed")
    assert seen.schedule.spec.intervals == [ScheduleIntervalSpec(timedelta(days=2))]
    got = seen.schedule.action
    assert isinstance(got, ScheduleActionStartWorkflow)
    assert [arg.data for arg in got.args] == [b'"sales"', b"3"]
    assert seen.info.last_updated_at is not None

    await handle.update(lambda seen: None)


async def test_search_attributes_of_its_own_updated(place: Place) -> None:
    kinds: Any = {CUSTOMER.name: int(CUSTOMER.indexed_value_type)}
    add = AddSearchAttributesRequest(namespace="default", search_attributes=kinds)
    await place.client.operator_service.add_search_attributes(add)
    handle = await place.create(search_attributes=TypedSearchAttributes([SearchAttributePair(CUSTOMER, "Ada")]))
    assert (await handle.describe()).typed_search_attributes[CUSTOMER] == "Ada"
    bob = TypedSearchAttributes([SearchAttributePair(CUSTOMER, "Bob")])
    await handle.update(lambda seen: ScheduleUpdate(seen.description.schedule, search_attributes=bob))
    await until(handle, lambda seen: seen.typed_search_attributes.get(CUSTOMER) == "Bob")


async def test_backfilled(place: Place) -> None:
    every_hour = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))])
    handle = await place.create(Schedule(place.action(), every_hour, state=ScheduleState(paused=True)))
    start = datetime(2025, 3, 1, 0, 30, tzinfo=UTC)
    await handle.backfill(ScheduleBackfill(start, start + timedelta(hours=3), overlap=ScheduleOverlapPolicy.ALLOW_ALL))
    seen = await until(handle, lambda seen: actions(seen) == 3)
    ids = [result.action.workflow_id for result in seen.info.recent_actions]  # type: ignore[attr-defined]
    assert sorted(ids) == [f"w-{place.unique}-2025-03-01T0{hour}:00:00Z" for hour in (1, 2, 3)]
    for one in ids:
        await place.client.get_workflow_handle(one).terminate()


async def test_listed(place: Place) -> None:
    await place.create(memo={"number": 1}, name="s")
    await place.create(Schedule(place.action(), NEVER, state=ScheduleState(paused=True, note="quiet")), name="t")
    found: dict[str, Any] = {}

    async def both() -> bool:
        async for entry in await place.client.list_schedules(f"ScheduleId STARTS_WITH 's-{place.unique}'"):
            found[entry.id] = entry
        async for entry in await place.client.list_schedules(f"ScheduleId = 't-{place.unique}'", page_size=1):
            found[entry.id] = entry
        return len(found) == 2

    await eventually(both)
    one, other = found[f"s-{place.unique}"], found[f"t-{place.unique}"]
    assert await one.memo_value("number", type_hint=int) == 1
    assert one.schedule.action.workflow == "Report"
    assert (other.schedule.state.paused, other.schedule.state.note) == (True, "quiet")


async def test_deleted(place: Place) -> None:
    handle = await place.create()
    await handle.delete()

    async def is_gone() -> bool:
        try:
            await handle.describe()
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return False

    await eventually(is_gone)
    for call in (handle.trigger, handle.pause, handle.delete):
        with pytest.raises(RPCError) as refused:
            await call()
        assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_refused(place: Place) -> None:
    for spec in (ScheduleSpec(cron_expressions=["nonsense"]), ScheduleSpec(time_zone_name="Nowhere/Land")):
        with pytest.raises(RPCError) as refused:
            await place.create(Schedule(place.action(), spec))
        assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError) as refused:
        await place.client.get_schedule_handle(f"nobody-{place.unique}").trigger()
    assert refused.value.status is RPCStatusCode.NOT_FOUND
