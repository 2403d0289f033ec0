"""Code that swallows every exception, `GeneratorExit` included, and so does not end when its run is closed.

It must not be let go either: the collector would raise `GeneratorExit` in it once more, outside any step, where awaiting fails at once
instead of waiting, and `while True: try: await … except BaseException: pass` would spin for ever. So it is ended by force: Python's tracing
raises `GeneratorExit` at one of its lines after another, until it is at one that no handler of its own guards. What withstands that too is
kept for the life of the process.
"""

from __future__ import annotations

import sys
import traceback
import types
from collections import deque
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from ._task import CLOSE

LINES_TRIED = 12
"""Which lines are tried, counted from where the code wakes up. The first that no handler guards is rarely more than a few lines away."""

LINES_TRIED_OUTSIDE = 8
"""The same for the callers further out, counted from where the exception reaches them; they may swallow it, too."""

MAX_REMEMBERED = 100
"""How many of the last ones can be looked at; each was logged when it happened."""

MAX_FRAMES = 100
"""An await chain deeper than this is cut: its beginning, and not the recursion in it, says who does not end."""


@dataclass(frozen=True, slots=True)
class Stubborn:
    """A task or an async generator that had to be ended by force, or could not be ended."""

    name: str
    stack: str
    """Where it waits, after all the times that `GeneratorExit` was raised in it, as a traceback shows it."""
    ended: bool

    def __str__(self) -> str:
        return (
            f"{self.name} does not end: it swallows GeneratorExit"
            + (", and was ended by force" if self.ended else " whatever is done, and is kept in memory")
            + f". It waits at:\n{self.stack.rstrip()}\nhint: catch Exception instead of BaseException, or raise what was caught again"
        )


UNCLOSABLE: deque[Stubborn] = deque(maxlen=MAX_REMEMBERED)
"""The last ones, oldest first."""

_kept: list[Any] = []
"""Coroutines and async generators that withstood force. Without a bound on purpose; see above."""


def keep(subject: Any) -> None:
    """Hold a coroutine for ever, because letting it go would hang the process."""
    _kept.append(subject)


def end_by_force(coro: Any, context: Context) -> bool:
    """Make a waiting coroutine end although it swallows what is raised in it; False if even this does not help."""
    for outside in range(1, LINES_TRIED_OUTSIDE + 1):
        for first in range(1, LINES_TRIED + 1):
            try:
                with _RaiseAtLines(first, outside):
                    context.run(coro.send, CLOSE)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # it has ended, and nobody is left to hear of what
                return True
    return False


class _RaiseAtLines:
    """Raises at the line numbered `first` that runs outside AnyIO and this package, then at the one numbered `then` in each caller.

    Python switches tracing off when a trace function raises. The profiling function, which has its own switch, sees the frame end that the
    exception leaves, and switches tracing on again.
    """

    def __init__(self, first: int, then: int) -> None:
        self._left = first
        self._then = then

    def __enter__(self) -> None:
        self._before = sys.gettrace(), sys.getprofile()
        sys.setprofile(self._profile)
        sys.settrace(self._called)

    def __exit__(self, *error: object) -> None:
        tracer, profiler = self._before
        sys.settrace(tracer)
        sys.setprofile(profiler)

    def _called(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        return self._line if _may_raise_in(frame) else None

    def _line(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self._left -= 1
            if self._left == 0:
                raise GeneratorExit
        return self._line

    def _profile(self, frame: types.FrameType, event: str, argument: Any) -> None:
        if event == "return" and self._left <= 0:
            self._left = self._then
            caller = frame.f_back
            if caller is not None and _may_raise_in(caller):
                caller.f_trace = self._line
            sys.settrace(self._called)


def _may_raise_in(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] not in ("anyio", "durable_anyio")


def waiting_frames(awaited: Any) -> Iterator[tuple[types.FrameType, int]]:
    """Iterate over the frames of a suspended coroutine or generator and of what it awaits, outermost first."""
    for _ in range(MAX_FRAMES):
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None) or getattr(awaited, "ag_await", None)


def waiting_stack(awaited: Any) -> str:
    """Where a suspended coroutine or generator waits, as a traceback shows it."""
    return "".join(traceback.StackSummary.extract(waiting_frames(awaited), lookup_lines=True).format())
