"""Where in the program a run's commands were given: what turns "the code differs from its history" into a line to look at.

While a run is replayed, each command is noted with the frames of the author's own code that led to it, innermost last. Live commands are
noted only if asked for, because nothing will be compared with them before they have become history.
"""

from __future__ import annotations

import linecache
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import anyio

from ._backend import Scheduler, Task
from .exceptions import NondeterminismError

__all__ = ["Origins", "Place", "difference", "format_stack", "waiting_stacks"]

Place = tuple[CodeType, int]
"""A line that ran: its code object and its number."""

# A program recursing deeper than this is told where it ends, not how it got there.
MAX_PLACES = 24
# A run may have thousands of tasks; the first ones say what it waits for.
MAX_STACKS = 10

_LIBRARIES = (str(Path(__file__).parent), str(Path(anyio.__file__).parent), sysconfig.get_paths()["stdlib"], "<frozen ")
# The demonstration is a program like a user's, and some systems keep packages inside the standard library's directory.
_FOREIGN = (str(Path(__file__).parent / "_demo"), sysconfig.get_paths()["purelib"])
_BOUNDARY = Scheduler.run.__code__


class Origins:
    """The places of one run's commands, by the command's number: 1 for the first, answers to queries left out."""

    __slots__ = ("_places", "_scheduler", "_timers", "always")

    def __init__(self, scheduler: Scheduler, *, always: bool = False) -> None:
        self.always = always
        self._scheduler = scheduler
        self._places: dict[int, Sequence[Place]] = {}
        self._timers: dict[int, int] = {}

    def note(self, number: int, timer: int = 0) -> None:
        """Remembers who gives the command with this number: a task, or the step's end for the deadline of a scope (`timer`)."""
        task = self._scheduler.current_task
        if task is not None:
            places = _running(sys._getframe(1))
            while not places and task is not None and task.group is not None:
                # An activity given to a task group: nobody's line but that of the group.
                task = task.group.host
                places = waiting_places(task) if task is not None else ()
            self._places[number] = places
        elif timer:
            self._timers[number] = timer

    def note_end(self, number: int, run: Callable[..., Any], error: BaseException | None) -> None:
        """Remembers why the run ends: where `error` was raised, or `run` itself."""
        trace = traceback.walk_tb(error.__traceback__) if error is not None else ()
        places = [(frame.f_code, line) for frame, line in trace if _is_authors(frame.f_code)]
        code = run.__code__ if isinstance(run, FunctionType) else None
        self._places[number] = places or ([(code, _line_of_def(code))] if code is not None else ())

    def forget(self) -> None:
        """Drops what was noted: the replay is over."""
        if not self.always:
            self._places.clear()
            self._timers.clear()

    def places(self, number: int) -> Sequence[Place]:
        """The author's lines that led to a command, innermost last: for a deadline, those in its scope. Empty if none did."""
        places = self._places.get(number)
        if places is None:
            tasks = self._scheduler.clock.tasks_before(self._timers.get(number, 0))
            places = waiting_places(tasks[0]) if tasks else ()
        return places


def difference(message: str, origins: Origins, scheduler: Scheduler, *, workflow: str) -> NondeterminismError:
    """The error for what the core said of a run that differs from its history (rust/core/src/difference.rs has the form)."""
    first, *lines = message.split("\n")
    pieces = dict(line.split(": ", 1) for line in lines if ": " in line)
    number = int(pieces.get("command", "0"))
    places = origins.places(number)
    event_id = int(pieces["event"]) if "event" in pieces else None
    expected, actual = pieces.get("expected"), pieces.get("actual")
    source = describe_place(places[-1]) if places else None
    if expected is not None:
        at = f" at event {event_id}" if event_id is not None else ""
        first = f"nondeterminism{at}: the history has {expected}, the code gave {actual}"
    text = [f"{workflow}: {first}" + (f" at {source}" if source else "")]
    text += [f"{name}: {pieces[name]}" for name in ("expected", "actual", "event") if name in pieces]
    if places:
        stack = format_stack(places)
        text.append(f"given at:\n{stack}")
    else:
        stack = waiting_stacks(scheduler)
        if stack:
            text.append(f"the workflow's tasks wait at:\n{stack}")
    text.append("hint: keep the old path for runs that took it, or put the code back that they were started with")
    return NondeterminismError(
        "\n".join(text).rstrip(), expected=expected, actual=actual, event_id=event_id, source=source, stack=stack.rstrip()
    )


def describe_place(place: Place) -> str:
    """One line: the file, the line's number, the function, the text."""
    code, number = place
    text = linecache.getline(code.co_filename, number).strip()
    return f"{code.co_filename}:{number} in {code.co_qualname}" + (f": {text}" if text else "")


def format_stack(places: Sequence[Place]) -> str:
    """As a traceback shows it, innermost last."""
    lines = []
    for code, number in places:
        lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_qualname}\n')
        text = linecache.getline(code.co_filename, number).strip()
        if text:
            lines.append(f"    {text}\n")
    return "".join(lines)


def waiting_stacks(scheduler: Scheduler) -> str:
    """Where each task of a run waits, in the author's code; empty when no task is left."""
    tasks = list(scheduler.tasks)
    lines = []
    for task in tasks[:MAX_STACKS]:
        lines.append(f"task {task.name!r}:\n{format_stack(waiting_places(task)) or '  not started'}")
    if len(tasks) > MAX_STACKS:
        lines.append(f"and {len(tasks) - MAX_STACKS} more tasks")
    return "\n".join(line.rstrip() for line in lines)


def waiting_places(task: Task) -> Sequence[Place]:
    """The author's lines in which a task waits, innermost last."""
    return [(frame.f_code, frame.f_lineno) for frame in _waiting_frames(task.coro) if _is_authors(frame.f_code)][-MAX_PLACES:]


def _waiting_frames(awaited: Any) -> Iterator[FrameType]:
    """The frames of a chain of awaits, outermost first. What hides its frame (an async generator's step) ends it."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None) or getattr(awaited, "ag_await", None)


def _line_of_def(code: CodeType) -> int:
    """A decorated function begins with its decorators."""
    number = code.co_firstlineno
    while linecache.getline(code.co_filename, number).lstrip().startswith("@"):
        number += 1
    return number


def _running(frame: FrameType | None) -> Sequence[Place]:
    """The author's lines below `frame`, up to the scheduler; innermost last."""
    places: list[Place] = []
    while frame is not None and frame.f_code is not _BOUNDARY and len(places) < MAX_PLACES:
        if _is_authors(frame.f_code):
            places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    places.reverse()
    return places


_authors: dict[str, bool] = {}


def _is_authors(code: CodeType) -> bool:
    """Whether a file is the author's own, or a library's of theirs: not ours, AnyIO's or Python's."""
    name = code.co_filename
    known = _authors.get(name)
    if known is None:
        innermost = max((root for root in _LIBRARIES + _FOREIGN if name.startswith(root)), key=len, default=None)
        known = _authors[name] = innermost not in _LIBRARIES
    return known
