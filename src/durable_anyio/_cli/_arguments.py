"""What the commands take. Imports nothing of the client: the help and a mistyped option answer at once."""

from __future__ import annotations

import argparse
import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

#: Where to connect unless `--target` says it.
TARGET_VARIABLE = "DURABLE_ANYIO_TARGET"
OVERLAPS = ("skip", "buffer-one", "buffer-all", "cancel-other", "terminate-other", "allow-all")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}; hint: a text needs quotes of its own, '\"text\"'") from None


def _duration(text: str) -> timedelta:
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; hint: 90s, 5m, 1h30m, 2d")
    parts = re.findall(r"([\d.]+)([smhd])", text)
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def _interval(text: str) -> tuple[timedelta, timedelta | None]:
    every, _, offset = text.partition("/")
    return _duration(every), _duration(offset) if offset else None


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; hint: 2026-03-01T06:00:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number above 0")
    return int(text)


def _command(group: Any, name: str, help: str, *, output: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    default = os.environ.get(TARGET_VARIABLE)
    parser.add_argument(
        "--target",
        default=default,
        required=default is None,
        metavar="TARGET",
        help=f"where to connect: 'sqlite:FILE' or 'HOST:PORT' (default: the environment's {TARGET_VARIABLE})",
    )
    parser.add_argument("--namespace", default="default", metavar="NAME", help="(default: default)")
    if output:
        parser.add_argument("--format", choices=["text", "json"], default="text", help="how it is printed (default: text)")
    return parser


def _inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", action="append", default=[], type=_json, metavar="JSON", help="an argument; again for more")


def _workflow_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow-id", required=True, metavar="ID", help="which workflow")
    parser.add_argument("--run-id", metavar="ID", help="which of its runs (default: the current one)")


def add_workflow_parser(commands: Any) -> None:
    """Adds `workflow` and what it can do."""
    workflow = commands.add_parser("workflow", help="start, look at and talk to workflows", description="Workflows.")
    group = workflow.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, help in (("start", "start a workflow"), ("execute", "start a workflow and print its result as JSON")):
        start = _command(group, name, help)
        start.add_argument("--type", required=True, metavar="TYPE", help="the workflow's type")
        start.add_argument("--task-queue", required=True, metavar="QUEUE", help="where its workers poll")
        start.add_argument("--workflow-id", metavar="ID", help="its id (default: a new one)")
        for timeout in ("execution", "run", "task"):
            start.add_argument(f"--{timeout}-timeout", type=_duration, metavar="TIME", help="as 90s, 5m, 1h30m, 2d")
        _inputs(start)
    _workflow_id(_command(group, "result", "wait for a workflow's end and print its result as JSON"))
    listing = _command(group, "list", "list workflows, the newest first", output=True)
    listing.add_argument("--query", default="", metavar="FILTER", help="in Temporal's list filter, as ExecutionStatus = 'Running'")
    listing.add_argument("--limit", type=_positive, default=100, metavar="N", help="print at most so many (default: 100)")
    _command(group, "count", "count workflows").add_argument("--query", default="", metavar="FILTER", help="in Temporal's list filter")
    _workflow_id(_command(group, "describe", "say what a workflow is at, and why it does not go on", output=True))
    _workflow_id(_command(group, "show", "print a workflow's history", output=True))
    for name, help in (
        ("signal", "send a signal"),
        ("query", "ask a running or closed workflow and print the answer as JSON"),
        ("update", "send an update and print the handler's result as JSON"),
    ):
        talk = _command(group, name, help)
        _workflow_id(talk)
        talk.add_argument("--name", required=True, metavar="NAME", help="the handler's name")
        _inputs(talk)
    _workflow_id(_command(group, "cancel", "ask a workflow to cancel itself"))
    end = _command(group, "terminate", "end a workflow at once, without its clean-up")
    _workflow_id(end)
    end.add_argument("--reason", metavar="TEXT", help="for people")


def add_schedule_parser(commands: Any) -> None:
    """Adds `schedule` and what it can do."""
    schedule = commands.add_parser("schedule", help="workflows started by the calendar or the clock", description="Schedules.")
    group = schedule.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = _command(group, "create", "create a schedule")
    _schedule_id(create)
    create.add_argument("--cron", action="append", default=[], metavar="EXPRESSION", help="as '30 6 * * MON-FRI'; again for more")
    create.add_argument("--interval", action="append", default=[], type=_interval, metavar="TIME[/OFFSET]", help="as 1h or 1h/5m")
    create.add_argument("--time-zone", metavar="NAME", help="of cron expressions (default: UTC)")
    create.add_argument("--start-time", type=_time, metavar="TIME", help="nothing happens before")
    create.add_argument("--end-time", type=_time, metavar="TIME", help="nothing happens after")
    create.add_argument("--jitter", type=_duration, metavar="TIME", help="put each time off by a part of this")
    create.add_argument("--type", required=True, metavar="TYPE", help="the workflow's type")
    create.add_argument("--task-queue", required=True, metavar="QUEUE", help="where its workers poll")
    create.add_argument("--workflow-id", metavar="ID", help="before the time in each workflow's id (default: the schedule's id)")
    create.add_argument("--overlap-policy", choices=OVERLAPS, default="skip", help="while the last one runs (default: skip)")
    create.add_argument("--catchup-window", type=_duration, metavar="TIME", help="how late a start may be (default: a year)")
    create.add_argument("--pause-on-failure", action="store_true", help="pause it when a workflow fails")
    create.add_argument("--paused", action="store_true", help="create it paused")
    create.add_argument("--remaining-actions", type=_positive, metavar="N", help="start so many workflows (default: without end)")
    create.add_argument("--notes", metavar="TEXT", help="for people")
    _inputs(create)
    listing = _command(group, "list", "list schedules, the newest first", output=True)
    listing.add_argument("--query", default="", metavar="FILTER", help="as TemporalSchedulePaused = true")
    _schedule_id(_command(group, "describe", "say what a schedule did and will do", output=True))
    trigger = _command(group, "trigger", "start its workflow now")
    _schedule_id(trigger)
    trigger.add_argument("--overlap-policy", choices=OVERLAPS, help="for this time (default: the schedule's)")
    for name, help in (("pause", "pause a schedule"), ("unpause", "let a schedule go on")):
        toggle = _command(group, name, help)
        _schedule_id(toggle)
        toggle.add_argument("--reason", metavar="TEXT", help="for people")
    backfill = _command(group, "backfill", "do now what it would have done in a time that is over")
    _schedule_id(backfill)
    backfill.add_argument("--start-time", type=_time, required=True, metavar="TIME", help="as 2026-03-01T06:00:00Z, included")
    backfill.add_argument("--end-time", type=_time, required=True, metavar="TIME", help="included")
    backfill.add_argument("--overlap-policy", choices=OVERLAPS, help="for these times (default: the schedule's)")
    _schedule_id(_command(group, "delete", "delete a schedule; what it started goes on"))


def _schedule_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schedule-id", required=True, metavar="ID", help="which schedule")
