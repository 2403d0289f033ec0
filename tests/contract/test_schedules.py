"""Schedules, embedded and on a real server: the same calls, the same answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Client, Worker, WorkflowExecutionStatus
from durable_anyio.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
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
from durable_anyio.common import RetryPolicy
from durable_anyio.exceptions import RPCError, RPCStatusCode, ScheduleAlreadyRunningError

from .schedule_workflows import SCHEDULED, Broken, Held, Report

pytestmark = pytest.mark.anyio

#: In no test's time.
NEVER = ScheduleSpec(calendars=[ScheduleCalendarSpec(year=[ScheduleRange(2099)])])
Overlap = ScheduleOverlapPolicy


def report(unique: str) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow(Report.run, "sales", 3, id=f"report-{unique}", task_queue=f"q-{unique}")


def held(unique: str) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow(Held.run, id=f"held-{unique}", task_queue=f"q-{unique}")


async def until(handle: ScheduleHandle, holds: Callable[[ScheduleDescription], bool]) -> ScheduleDescription:
    """The first description that `holds`: a service needs a moment."""
    with anyio.fail_after(60):
        while True:
            description = await handle.describe()
            if holds(description):
                return description


def ids(executions: Any) -> list[str]:
    return [execution.workflow_id for execution in executions]


def recent(description: ScheduleDescription) -> list[str]:
    return ids(result.action for result in description.info.recent_actions)


async def test_a_schedule_is_described_as_it_was_created(client: Client, unique: str) -> None:
    spec = ScheduleSpec(
        calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(6, 18, 4)], day_of_week=[ScheduleRange(1, 5)], comment="work")],
        intervals=[ScheduleIntervalSpec(timedelta(days=300), timedelta(hours=5))],
        cron_expressions=["30 12 * * MON # lunch"],
        skip=[ScheduleCalendarSpec(month=[ScheduleRange(12)], day_of_month=[ScheduleRange(24, 26)])],
        start_at=datetime(2090, 1, 1, tzinfo=UTC),
        end_at=datetime(2091, 1, 1, tzinfo=UTC),
        jitter=timedelta(seconds=10),
        time_zone_name="Europe/Berlin",
    )
    action = ScheduleActionStartWorkflow(
        "Report",
        "sales",
        3,
        id=f"report-{unique}",
        task_queue=f"q-{unique}",
        execution_timeout=timedelta(hours=3),
        run_timeout=timedelta(hours=2),
        task_timeout=timedelta(seconds=5),
        retry_policy=RetryPolicy(maximum_attempts=2),
        memo={"who": "me"},
    )
    policy = SchedulePolicy(overlap=Overlap.BUFFER_ONE, catchup_window=timedelta(minutes=1), pause_on_failure=True)
    state = ScheduleState(note="quiet", paused=True, limited_actions=True, remaining_actions=7)
    handle = await client.create_schedule(f"s-{unique}", Schedule(action, spec, policy, state), memo={"owner": "us"})
    assert handle.id == f"s-{unique}"
    seen = await handle.describe()
    got = seen.schedule.action
    assert isinstance(got, ScheduleActionStartWorkflow)
    assert (got.workflow, got.id, got.task_queue, got.retry_policy) == (
        "Report",
        action.id,
        action.task_queue,
        RetryPolicy(maximum_attempts=2),
    )
    assert (got.execution_timeout, got.run_timeout, got.task_timeout) == (timedelta(hours=3), timedelta(hours=2), timedelta(seconds=5))
    assert [arg.data for arg in got.args] == [b'"sales"', b"3"]
    assert got.memo is not None
    assert got.memo["who"].data == b'"me"'
    lunch = ScheduleCalendarSpec(minute=(ScheduleRange(30),), hour=(ScheduleRange(12),), day_of_week=(ScheduleRange(1),), comment="lunch")
    calendars = [ScheduleCalendarSpec(hour=(ScheduleRange(6, 18, 4),), day_of_week=(ScheduleRange(1, 5),), comment="work"), lunch]
    skip = [ScheduleCalendarSpec(month=(ScheduleRange(12),), day_of_month=(ScheduleRange(24, 26),))]
    assert seen.schedule.spec == ScheduleSpec(
        calendars, spec.intervals, [], skip, spec.start_at, spec.end_at, spec.jitter, spec.time_zone_name
    )
    assert (seen.schedule.policy, seen.schedule.state, seen.memo) == (policy, state, {"owner": "us"})
    assert (seen.info.num_actions, seen.info.recent_actions, seen.info.running_actions) == (0, [], [])
    assert len(seen.info.next_action_times) == 7
    assert all(at.year == 2090 for at in seen.info.next_action_times)
    assert seen.info.last_updated_at is None
    with anyio.fail_after(60):
        while True:
            listed = {entry.id: entry async for entry in client.list_schedules()}
            if handle.id in listed:
                break
    entry = listed[handle.id]
    assert entry.schedule is not None
    assert entry.info is not None
    assert (entry.schedule.state.note, entry.schedule.state.paused, entry.memo) == ("quiet", True, {"owner": "us"})
    assert (entry.schedule.spec, entry.info.next_action_times) == (seen.schedule.spec, seen.info.next_action_times[:5])
    await handle.delete()


async def test_refusals(client: Client, unique: str) -> None:
    schedule = Schedule(report(unique), NEVER)
    handle = await client.create_schedule(f"s-{unique}", schedule)
    with pytest.raises(ScheduleAlreadyRunningError):
        await client.create_schedule(f"s-{unique}", schedule)
    for spec, words in [
        (ScheduleSpec(cron_expressions=["61 * * * *"]), "Invalid schedule spec: Minute is not in range [0-59]"),
        (ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(0))]), "Invalid schedule spec: interval is too small"),
        (ScheduleSpec(time_zone_name="Nowhere/Land"), "Invalid schedule spec: unknown time zone Nowhere/Land"),
        (
            ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(25)])]),
            "Invalid schedule spec: invalid calendar spec: Hour Start is not in range [0-23], "
            "Hour End is before Start or not in range [0-23]",
        ),
    ]:
        with pytest.raises(RPCError, match=re.escape(words)) as caught:
            await client.create_schedule(f"bad-{unique}", Schedule(report(unique), spec))
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    await handle.delete()
    calls: list[Callable[[ScheduleHandle], Awaitable[object]]] = [
        lambda gone: gone.describe(),
        lambda gone: gone.pause(),
        lambda gone: gone.trigger(),
        lambda gone: gone.delete(),
        lambda gone: gone.backfill(ScheduleBackfill(datetime(2024, 1, 1), datetime(2024, 1, 2))),
        lambda gone: gone.update(lambda seen: ScheduleUpdate(seen.description.schedule)),
    ]
    for id in (f"s-{unique}", f"never-{unique}"):
        for call in calls:
            with pytest.raises(RPCError) as caught:
                await call(client.get_schedule_handle(id))
            assert caught.value.status is RPCStatusCode.NOT_FOUND
    again = await client.create_schedule(f"s-{unique}", schedule)
    await again.delete()


async def test_trigger_starts_the_workflow(client: Client, unique: str) -> None:
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        schedule = Schedule(report(unique), NEVER, state=ScheduleState(paused=True))
        handle = await client.create_schedule(f"s-{unique}", schedule, trigger_immediately=True)
        first = await until(handle, lambda seen: seen.info.num_actions == 1)
        (workflow_id,) = recent(first)
        assert re.fullmatch(rf"report-{unique}-\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", workflow_id)
        assert await client.get_workflow_handle(workflow_id, result_type=str).result() == "sales: 3"
        execution = first.info.recent_actions[0].action
        assert isinstance(execution, ScheduleActionExecutionStartWorkflow)
        described = await client.get_workflow_handle(workflow_id).describe()
        assert described.run_id == execution.first_execution_run_id
        fields = described.raw.search_attributes.indexed_fields
        assert fields["TemporalScheduledById"].data == f'"s-{unique}"'.encode()
        assert fields["TemporalScheduledStartTime"].data.decode() == f'"{workflow_id.removeprefix(f"report-{unique}-")}"'
        assert (await until(handle, lambda seen: not seen.info.running_actions)).schedule.state.paused
        await handle.delete()


async def test_pause_and_unpause(client: Client, unique: str) -> None:
    handle = await client.create_schedule(f"s-{unique}", Schedule(report(unique), NEVER))
    await handle.pause(note="holidays")
    assert (await until(handle, lambda seen: seen.schedule.state.paused)).schedule.state.note == "holidays"
    await handle.unpause()
    assert (await until(handle, lambda seen: not seen.schedule.state.paused)).schedule.state.note == "Unpaused via durable_anyio"
    await handle.delete()


async def test_update(client: Client, unique: str) -> None:
    handle = await client.create_schedule(f"s-{unique}", Schedule(report(unique), NEVER))

    def later(seen: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = seen.description.schedule
        assert isinstance(schedule.action, ScheduleActionStartWorkflow)
        schedule.action.args = [*schedule.action.args[:1], 4]
        schedule.spec = ScheduleSpec(cron_expressions=["0 0 1 1 * 2098"])
        schedule.state.note = "changed"
        return ScheduleUpdate(schedule)

    async def nothing(seen: ScheduleUpdateInput) -> None:
        assert seen.description.schedule.state.note == "changed"

    await handle.update(later)
    changed = await until(handle, lambda seen: seen.info.last_updated_at is not None)
    assert changed.info.next_action_times == [datetime(2098, 1, 1, tzinfo=UTC)]
    await handle.update(nothing)
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        await handle.trigger()
        (workflow_id,) = recent(await until(handle, lambda seen: seen.info.num_actions == 1))
        assert await client.get_workflow_handle(workflow_id, result_type=str).result() == "sales: 4"
    await handle.delete()


async def test_time_passes(client: Client, unique: str) -> None:
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=1))])
    state = ScheduleState(limited_actions=True, remaining_actions=2)
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        schedule = Schedule(report(unique), spec, SchedulePolicy(Overlap.ALLOW_ALL), state)
        handle = await client.create_schedule(f"s-{unique}", schedule)
        done = await until(handle, lambda seen: seen.info.num_actions == 2 and seen.schedule.state.remaining_actions == 0)
        first, second = done.info.recent_actions
        assert second.scheduled_at - first.scheduled_at == timedelta(seconds=1)
        assert first.scheduled_at <= first.started_at
        assert first.scheduled_at.microsecond == 0
        assert recent(done)[0] == f"report-{unique}-{first.scheduled_at:%Y-%m-%dT%H:%M:%SZ}"
        assert done.info.next_action_times == []
        for workflow_id in recent(done):
            assert await client.get_workflow_handle(workflow_id, result_type=str).result() == "sales: 3"
        await handle.delete()


async def test_backfill(client: Client, unique: str) -> None:
    daily = ScheduleSpec(cron_expressions=["0 5 * * *"])
    handle = await client.create_schedule(f"s-{unique}", Schedule(report(unique), daily, state=ScheduleState(paused=True)))
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        fifth = datetime(2024, 3, 1, 5, tzinfo=UTC)
        await handle.backfill(
            ScheduleBackfill(fifth, fifth + timedelta(days=2), Overlap.ALLOW_ALL),
            ScheduleBackfill(fifth + timedelta(days=9, seconds=1), fifth + timedelta(days=10), Overlap.BUFFER_ALL),
        )
        done = await until(handle, lambda seen: seen.info.num_actions == 4)
        days = ["2024-03-01", "2024-03-02", "2024-03-03", "2024-03-11"]
        assert recent(done) == [f"report-{unique}-{day}T05:00:00Z" for day in days]
    await handle.delete()


async def release(client: Client, workflow_id: str) -> None:
    await client.get_workflow_handle(workflow_id).signal(Held.release)


def times(unique: str, *hours: int) -> list[str]:
    return [f"held-{unique}-2024-03-01T0{hour}:00:00Z" for hour in hours]


async def overlapping(client: Client, unique: str, overlap: ScheduleOverlapPolicy) -> ScheduleHandle:
    """A schedule whose workflow of hour 0 runs, and for which hours 1, 2 and 3 have come with `overlap`."""
    hourly = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))])
    schedule = Schedule(held(unique), hourly, SchedulePolicy(overlap), ScheduleState(paused=True))
    handle = await client.create_schedule(f"s-{unique}", schedule)
    start = datetime(2024, 3, 1, tzinfo=UTC)
    await handle.backfill(ScheduleBackfill(start, start))
    await until(handle, lambda seen: seen.info.num_actions == 1)
    await handle.backfill(ScheduleBackfill(start + timedelta(hours=1), start + timedelta(hours=3)))
    return handle


async def test_overlap_skip(client: Client, unique: str) -> None:
    handle = await overlapping(client, unique, Overlap.SKIP)
    seen = await until(handle, lambda seen: seen.info.num_actions_skipped_overlap == 3)
    assert recent(seen) == ids(seen.info.running_actions) == times(unique, 0)
    await handle.delete()


async def test_overlap_buffer_one(client: Client, unique: str) -> None:
    handle = await overlapping(client, unique, Overlap.BUFFER_ONE)
    seen = await until(handle, lambda seen: seen.info.num_actions_skipped_overlap == 2)
    assert recent(seen) == times(unique, 0)
    assert seen.raw_description.info.buffer_size == 1
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        await release(client, times(unique, 0)[0])
        seen = await until(handle, lambda seen: seen.info.num_actions == 2)
        assert recent(seen) == times(unique, 0, 1)
        assert ids(seen.info.running_actions) == times(unique, 1)
    await handle.delete()


async def test_overlap_buffer_all(client: Client, unique: str) -> None:
    handle = await overlapping(client, unique, Overlap.BUFFER_ALL)
    await until(handle, lambda seen: seen.raw_description.info.buffer_size == 3)
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        for hour in range(3):
            await release(client, times(unique, hour)[0])
            seen = await until(handle, lambda seen, hour=hour: seen.info.num_actions == hour + 2)  # type: ignore[misc]
        assert recent(seen) == times(unique, 0, 1, 2, 3)
        assert seen.info.num_actions_skipped_overlap == 0
    await handle.delete()


@pytest.mark.parametrize("overlap", [Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER])
async def test_overlap_ends_the_other(client: Client, unique: str, overlap: ScheduleOverlapPolicy) -> None:
    status = {Overlap.CANCEL_OTHER: WorkflowExecutionStatus.CANCELED, Overlap.TERMINATE_OTHER: WorkflowExecutionStatus.TERMINATED}[overlap]
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        handle = await overlapping(client, unique, overlap)
        # Of those that came together the last one stays: before it starts there is nothing to end.
        seen = await until(handle, lambda seen: ids(seen.info.running_actions) == times(unique, 3))
        assert recent(seen) == times(unique, 0, 3)
        ended = await client.get_workflow_handle(times(unique, 0)[0]).describe()
        assert ended.status is status
    await handle.delete()


async def test_overlap_allow_all(client: Client, unique: str) -> None:
    handle = await overlapping(client, unique, Overlap.ALLOW_ALL)
    seen = await until(handle, lambda seen: seen.info.num_actions == 4)
    assert recent(seen) == times(unique, 0, 1, 2, 3)
    assert seen.info.running_actions == []
    await handle.delete()


async def test_pause_on_failure(client: Client, unique: str) -> None:
    action = ScheduleActionStartWorkflow(Broken.run, id=f"broken-{unique}", task_queue=f"q-{unique}")
    schedule = Schedule(action, NEVER, SchedulePolicy(Overlap.BUFFER_ALL, pause_on_failure=True))
    async with Worker(client, task_queue=f"q-{unique}", workflows=SCHEDULED):
        handle = await client.create_schedule(f"s-{unique}", schedule, trigger_immediately=True)
        (workflow_id,) = recent(await until(handle, lambda seen: seen.info.num_actions == 1))
        seen = await until(handle, lambda seen: seen.schedule.state.paused)
        assert seen.schedule.state.note == f"paused due to workflow failure: {workflow_id}: it is broken"
    await handle.delete()
