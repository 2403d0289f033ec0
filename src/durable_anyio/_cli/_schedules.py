"""`durable-anyio schedule …`."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from datetime import timedelta

from durable_anyio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleListActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)

from . import _output

_YEAR = timedelta(days=365)


def _overlap(name: str) -> ScheduleOverlapPolicy:
    return ScheduleOverlapPolicy[name.upper().replace("-", "_")]


def _handle(client: Client, options: argparse.Namespace) -> ScheduleHandle:
    return client.get_schedule_handle(options.schedule_id)


async def create(client: Client, options: argparse.Namespace) -> None:
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            options.type, *options.input, id=options.workflow_id or options.schedule_id, task_queue=options.task_queue
        ),
        spec=ScheduleSpec(
            cron_expressions=options.cron,
            intervals=[ScheduleIntervalSpec(every, offset) for every, offset in options.interval],
            start_at=options.start_time,
            end_at=options.end_time,
            jitter=options.jitter,
            time_zone_name=options.time_zone,
        ),
        policy=SchedulePolicy(_overlap(options.overlap_policy), options.catchup_window or _YEAR, options.pause_on_failure),
        state=ScheduleState(
            note=options.notes,
            paused=options.paused,
            limited_actions=options.remaining_actions is not None,
            remaining_actions=options.remaining_actions or 0,
        ),
    )
    await client.create_schedule(options.schedule_id, schedule)


async def listing(client: Client, options: argparse.Namespace) -> None:
    entries = [entry async for entry in client.list_schedules(options.query)]
    if options.format == "json":
        for entry in entries:
            _output.message(entry.raw_entry)
        return
    rows = []
    for entry in entries:
        paused = kind = following = "?"
        if entry.schedule is not None and entry.info is not None:
            paused = "paused" if entry.schedule.state.paused else "active"
            action = entry.schedule.action
            kind = action.workflow if isinstance(action, ScheduleListActionStartWorkflow) else "?"
            following = _output.time(next(iter(entry.info.next_action_times), None))
        rows.append((paused, entry.id, kind, following))
    _output.table(("STATE", "SCHEDULE ID", "TYPE", "NEXT"), rows)


async def describe(client: Client, options: argparse.Namespace) -> None:
    seen = await _handle(client, options).describe()
    if options.format == "json":
        _output.message(seen.raw_description, indent=2)
        return
    schedule, info = seen.schedule, seen.info
    action = schedule.action
    limit = schedule.state.remaining_actions if schedule.state.limited_actions else None
    _output.fields(
        {
            "schedule id": seen.id,
            "state": "paused" if schedule.state.paused else "active",
            "note": schedule.state.note,
            "starts": f"{action.workflow} on {action.task_queue}" if isinstance(action, ScheduleActionStartWorkflow) else "?",
            "overlap policy": schedule.policy.overlap.name.lower().replace("_", "-"),
            "actions": info.num_actions,
            "remaining actions": limit,
            "skipped": info.num_actions_skipped_overlap or None,
            "missed": info.num_actions_missed_catchup_window or None,
            "last": _output.time(info.recent_actions[-1].started_at) if info.recent_actions else None,
            "next": ", ".join(_output.time(at) for at in info.next_action_times[:5]),
        }
    )


async def trigger(client: Client, options: argparse.Namespace) -> None:
    await _handle(client, options).trigger(overlap=_overlap(options.overlap_policy) if options.overlap_policy else None)


async def pause(client: Client, options: argparse.Namespace) -> None:
    await _handle(client, options).pause(note=options.reason)


async def unpause(client: Client, options: argparse.Namespace) -> None:
    await _handle(client, options).unpause(note=options.reason)


async def backfill(client: Client, options: argparse.Namespace) -> None:
    overlap = _overlap(options.overlap_policy) if options.overlap_policy else None
    await _handle(client, options).backfill(ScheduleBackfill(options.start_time, options.end_time, overlap))


async def delete(client: Client, options: argparse.Namespace) -> None:
    await _handle(client, options).delete()


ACTIONS: dict[str, Callable[[Client, argparse.Namespace], Awaitable[None]]] = {
    "create": create,
    "list": listing,
    "describe": describe,
    "trigger": trigger,
    "pause": pause,
    "unpause": unpause,
    "backfill": backfill,
    "delete": delete,
}
