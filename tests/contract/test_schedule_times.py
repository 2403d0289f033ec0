"""When random schedules act: the embedded engine and a real server name the same times.

Left out is what differs by intent: within some hours of a change of the zone's clock. What a clock that is put back repeats matches twice
here, in every zone; a server skips the first copy in zones east of Greenwich.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from durable_anyio import Client
from durable_anyio.client import ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleRange, ScheduleSpec
from durable_anyio.exceptions import RPCError
from durable_anyio.testing import WorkflowEnvironment

from .conftest import SERVER

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]

#: For a long run, by hand.
COUNT = int(os.environ.get("DURABLE_ANYIO_SCHEDULE_SPECS", "25"))
ZONES = [None, "UTC", "America/New_York", "America/Sao_Paulo", "Europe/Berlin", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe"]
NEAR = timedelta(hours=4)
#: What one call lists at most.
MOST = 1000


def ranges(chance: Random, low: int, high: int) -> tuple[ScheduleRange, ...]:
    """Some values of a field, sometimes all."""
    if chance.random() < 0.3:
        return (ScheduleRange(low, high),)
    found = []
    for _ in range(chance.randint(1, 2)):
        start = chance.randint(low, high)
        end = chance.randint(start, high) if chance.random() < 0.5 else 0
        found.append(ScheduleRange(start, end, chance.randint(0, 5)))
    return tuple(found)


def calendar(chance: Random) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(
        second=ranges(chance, 0, 59) if chance.random() < 0.2 else (ScheduleRange(0),),
        minute=ranges(chance, 0, 59),
        hour=ranges(chance, 0, 23),
        day_of_month=ranges(chance, 1, 31),
        month=ranges(chance, 1, 12),
        year=ranges(chance, 2020, 2030) if chance.random() < 0.3 else (),
        day_of_week=ranges(chance, 0, 6),
    )


def field(chance: Random, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    """A field of a cron expression."""
    parts = []
    for _ in range(chance.choice([1, 1, 1, 2])):
        first = chance.randint(low, high)
        last = chance.randint(first, high)
        part = chance.choice(["*", "*", f"{first}", f"{first}-{last}"])
        if names and part == f"{first}":
            part = names[first - low][: chance.randint(3, 9)]
        parts.append(part + (f"/{chance.randint(1, 7)}" if chance.random() < 0.3 else ""))
    return ",".join(parts)


DAYS = ("sunday", "Monday", "TUESDAY", "wed", "thursday", "friday", "saturday", "sun")
MONTHS = ("january", "feb", "March", "april", "may", "june", "july", "AUG", "september", "october", "november", "dec")


def cron(chance: Random) -> str:
    if chance.random() < 0.2:
        every = ["@yearly", "@monthly", "@weekly", "@daily", "@hourly", "@every 36h/5h", "@every 1.5h", "@every 2d", "@every 90m30s"]
        return chance.choice(every)
    fields = [field(chance, 0, 59), field(chance, 0, 23), field(chance, 1, 31), field(chance, 1, 12, MONTHS), field(chance, 0, 7, DAYS)]
    if chance.random() < 0.3:
        fields.append(field(chance, 2020, 2030))
        if chance.random() < 0.5:
            fields.insert(0, field(chance, 0, 59))
    return " ".join(fields) + chance.choice(["", " # a comment"])


def spec(chance: Random) -> ScheduleSpec:
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(400 * 86400))
    made = ScheduleSpec(
        calendars=[calendar(chance) for _ in range(chance.choice([0, 1, 1, 2]))],
        intervals=[
            ScheduleIntervalSpec(timedelta(seconds=every), timedelta(seconds=chance.randrange(every)) if chance.random() < 0.5 else None)
            for every in [chance.choice([chance.randint(1, 90), chance.randint(600, 90_000), 86_400])]
            if chance.random() < 0.3
        ],
        cron_expressions=[cron(chance) for _ in range(chance.choice([0, 0, 1, 2]))],
        skip=[calendar(chance)] if chance.random() < 0.4 else [],
        start_at=start if chance.random() < 0.2 else None,
        end_at=start + timedelta(days=chance.randint(1, 300)) if chance.random() < 0.2 else None,
        time_zone_name=chance.choice(ZONES),
    )
    return made


async def matching_times(client: Client, id: str, made: ScheduleSpec, begin: datetime, end: datetime) -> list[datetime] | str:
    """The times a place names, or the words of its refusal."""
    request = client.service.request("CreateSchedule", namespace="default", schedule_id=id, request_id=id)
    request.schedule.spec.CopyFrom(made.to_proto())
    request.schedule.action.start_workflow.workflow_id = "never"
    request.schedule.action.start_workflow.workflow_type.name = "Never"
    request.schedule.action.start_workflow.task_queue.name = "never"
    request.schedule.state.paused = True
    try:
        await client.service.call("CreateSchedule", request)
    except RPCError as error:
        return f"{error.status.name}: {error.message}"
    ask: Any = client.service.request("ListScheduleMatchingTimes", namespace="default", schedule_id=id)
    ask.start_time.FromDatetime(begin)
    ask.end_time.FromDatetime(end)
    answer = await client.service.call("ListScheduleMatchingTimes", ask)
    await client.get_schedule_handle(id).delete()
    return [time.ToDatetime(tzinfo=UTC) for time in answer.start_time]


def comparable(times: list[datetime], until: datetime, zone: ZoneInfo) -> list[datetime]:
    def offset(time: datetime) -> timedelta | None:
        return time.astimezone(zone).utcoffset()

    return [time for time in times if time <= until and offset(time - NEAR) == offset(time + NEAR)]


async def test_random_schedules_name_the_same_times(unique: str, anyio_backend_name: str) -> None:
    seed = os.environ.get("DURABLE_ANYIO_SCHEDULE_SEED", anyio_backend_name)
    found = refused = 0
    async with Client.connect(SERVER) as real, WorkflowEnvironment.local() as local:
        for number in range(COUNT):
            chance = Random(f"{seed}-{number}")
            made = spec(chance)
            begin = datetime(2023, 12, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(500 * 86400))
            end = begin + timedelta(seconds=chance.choice([3600, 86_400, 40 * 86_400, 900 * 86_400]))
            id = f"times-{unique}-{number}"
            theirs = await matching_times(real, id, made, begin, end)
            ours = await matching_times(local.client, id, made, begin, end)
            if isinstance(theirs, str) or isinstance(ours, str):
                assert ours == theirs, f"{seed}-{number}: {made}"
                refused += 1
                continue
            until = min([end, *(times[-1] for times in (theirs, ours) if len(times) == MOST)])
            zone = ZoneInfo(made.time_zone_name or "UTC")
            assert comparable(ours, until, zone) == comparable(theirs, until, zone), f"{seed}-{number}: {made} from {begin} to {end}"
            found += len(theirs)
    assert found > COUNT
    assert refused < COUNT
