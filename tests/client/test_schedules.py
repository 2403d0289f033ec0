"""Schedules on an embedded engine with a virtual clock, and what bad input gets."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Client, Worker, workflow
from durable_anyio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from durable_anyio.exceptions import RPCError, RPCStatusCode, ScheduleAlreadyRunningError
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio
HOURLY = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))])


@workflow.defn
class Tick:
    @workflow.run
    async def run(self, minutes: int) -> None:
        await anyio.sleep(60 * minutes)


def ticks(minutes: int = 1, spec: ScheduleSpec = HOURLY, **parts: Any) -> Schedule:
    return Schedule(ScheduleActionStartWorkflow(Tick.run, minutes, id="tick", task_queue="q"), spec, **parts)


async def test_virtual_time_runs_through_the_scheduled_times(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, task_queue="q", workflows=[Tick]):
        handle = await env.client.create_schedule("ticks", ticks())
        await env.sleep(timedelta(days=2))
        info = (await handle.describe()).info
        assert info.num_actions == 48
        assert info.num_actions_skipped_overlap == 0
        assert [result.scheduled_at.minute for result in info.recent_actions] == [0] * 10
        assert all(result.started_at == result.scheduled_at for result in info.recent_actions)


async def test_a_waiting_client_lets_time_run_to_the_next_action(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, task_queue="q", workflows=[Tick]):
        handle = await env.client.create_schedule("ticks", ticks(90))
        await env.client.execute_workflow(Tick.run, 6 * 60, id="long", task_queue="q")
        info = (await handle.describe()).info
        # Of two hours one is skipped: the workflow of the hour before runs.
        assert info.num_actions == 3
        assert info.num_actions_skipped_overlap == 3


async def test_a_schedule_that_is_over_goes_after_a_week(env: WorkflowEnvironment) -> None:
    state = ScheduleState(limited_actions=True, remaining_actions=1)
    handle = await env.client.create_schedule("ticks", ticks(state=state, policy=SchedulePolicy(ScheduleOverlapPolicy.ALLOW_ALL)))
    await env.sleep(timedelta(days=6))
    assert (await handle.describe()).info.num_actions == 1
    await env.sleep(timedelta(days=2))
    with pytest.raises(RPCError) as caught:
        await handle.describe()
    assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_updates_side_by_side_are_both_made(env: WorkflowEnvironment) -> None:
    handle = await env.client.create_schedule("ticks", ticks())
    met = 0
    calls = 0

    def append(letter: str) -> Any:
        async def updater(seen: ScheduleUpdateInput) -> ScheduleUpdate:
            nonlocal met, calls
            calls += 1
            schedule = seen.description.schedule
            schedule.state.note = (schedule.state.note or "") + letter
            met += 1
            while met < 2:  # both have described it before one of them stores it
                await anyio.lowlevel.checkpoint()
            return ScheduleUpdate(schedule)

        return updater

    async with anyio.create_task_group() as group:
        group.start_soon(handle.update, append("a"))
        group.start_soon(handle.update, append("b"))
    assert sorted((await handle.describe()).schedule.state.note or "") == ["a", "b"]
    assert calls == 3


async def test_lists(env: WorkflowEnvironment) -> None:
    client = env.client
    for number in range(5):
        await client.create_schedule(f"s-{number}", ticks(state=ScheduleState(paused=number % 2 == 1)))
    await client.create_schedule("other", ticks())

    async def ids(query: str = "", page_size: int = 1000) -> list[str]:
        return [entry.id async for entry in client.list_schedules(query, page_size=page_size)]

    newest_first = ["other", "s-4", "s-3", "s-2", "s-1", "s-0"]
    for page_size in (1, 2, 5, 6, 1000):
        assert await ids(page_size=page_size) == newest_first
    assert await ids("TemporalSchedulePaused = true") == ["s-3", "s-1"]
    assert await ids("ScheduleId STARTS_WITH 's-' AND NOT (TemporalSchedulePaused = true OR ScheduleId = 's-2')") == ["s-4", "s-0"]
    assert await ids("ScheduleId IN ('s-0', \"other\")") == ["other", "s-0"]
    assert await ids("ScheduleId NOT IN ('s-0', 'other') AND ScheduleId != 's-1' AND Mine IS NULL") == ["s-4", "s-3", "s-2"]
    assert [entry.id async for entry in await client.list_schedules("ScheduleId = 's-1'")] == ["s-1"]
    request = client.service.request("CountSchedules", namespace="default", query="TemporalSchedulePaused = false")
    assert (await client.service.call("CountSchedules", request)).count == 4
    for query in ("WorkflowId = 'x'", "ScheduleId", "ScheduleId IN ('x'", "(ScheduleId = 'x'", "ScheduleId = 'x' or", "ScheduleId ~ 'x'"):
        with pytest.raises(RPCError) as caught:
            await ids(query)
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_bad_input(env: WorkflowEnvironment) -> None:
    create: Any = env.client.create_schedule
    with pytest.raises(ValueError, match="the schedule id is empty"):
        await create("", ticks())
    with pytest.raises(ValueError, match="remaining_actions is 3, but limited_actions is not set"):
        await create("s", ticks(state=ScheduleState(remaining_actions=3)))
    with pytest.raises(ValueError, match="limited_actions is set, but remaining_actions is 0"):
        await create("s", ticks(state=ScheduleState(limited_actions=True)))
    with pytest.raises(TypeError, match="a sequence of strings"):
        await create("s", ticks(spec=ScheduleSpec(cron_expressions="@daily")))
    with pytest.raises(TypeError, match="a sequence of ScheduleRange"):
        await create("s", ticks(spec=ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=ScheduleRange(3))])))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Tick"):
        ScheduleActionStartWorkflow(Tick.run, id="tick", task_queue="q")  # type: ignore[call-arg, arg-type]
    with pytest.raises(ValueError, match="run_timeout must not be negative"):
        await create("s", Schedule(ScheduleActionStartWorkflow("T", id="t", task_queue="q", run_timeout=timedelta(-1)), HOURLY))
    handle = await create("s", ticks())
    with pytest.raises(ValueError, match="nothing to backfill"):
        await handle.backfill()
    now = datetime.now(UTC)
    with pytest.raises(ValueError, match="before it begins"):
        await handle.backfill(ScheduleBackfill(now, now - timedelta(1)))
    with pytest.raises(TypeError, match="must return a ScheduleUpdate or None, not str"):
        await handle.update(lambda seen: "changed")
    with pytest.raises(RPCError, match="Schedule notes exceeds limit"):
        await handle.pause(note="x" * 1001)
    error = pickle.loads(pickle.dumps(ScheduleAlreadyRunningError("s")))
    assert error.schedule_id == "s"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_file_keeps_schedules_and_what_they_started(anyio_backend: str, tmp_path: Any) -> None:
    target = f"sqlite:{tmp_path / 'schedules.db'}"
    policy = SchedulePolicy(ScheduleOverlapPolicy.BUFFER_ALL)
    never = ScheduleSpec(cron_expressions=["0 0 1 1 * 2099"])
    async with Client.connect(target) as client:
        schedule = Schedule(ScheduleActionStartWorkflow("Wait", id="wait", task_queue="q"), never, policy)
        handle = await client.create_schedule("s", schedule, memo={"a": [1]})
        await handle.trigger()
        await handle.trigger()
        before = await handle.describe()
        assert (before.info.num_actions, before.raw_description.info.buffer_size) == (1, 1)
    async with Client.connect(target) as client:
        handle = client.get_schedule_handle("s")
        seen = await handle.describe()
        assert (seen.info, seen.memo) == (before.info, before.memo)
        # Its end is noticed although another process started it.
        await client.get_workflow_handle(before.info.running_actions[0].workflow_id).terminate()  # type: ignore[attr-defined]
        after = await handle.describe()
        assert (after.info.num_actions, after.raw_description.info.buffer_size) == (2, 0)
        await handle.delete()
    async with Client.connect(target) as client:
        assert [entry.id async for entry in client.list_schedules()] == []
