"""Reports a workflow's step that keeps its thread for too long, with the stack of where it is.

One thread a worker, started by its first step and ended with the worker. It sleeps while no step runs; a step costs two attributes. It says
nothing while a debugger looks at the step: a person at a prompt is slow on purpose.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

__all__ = ["Watchdog"]

_log = logging.getLogger("durable_anyio.workflow")

_PACKAGE = __name__.partition(".")[0]
# From here on the frames of a thread are the step's.
_STEP_MODULES = (f"{_PACKAGE}._backend._scheduler", f"{_PACKAGE}._workflow_instance")
_DEBUGGERS = {"bdb", "pdb", "ipdb", "pudb", "debugpy", "pydevd", "_pydevd_bundle", "_pydevd_frame_eval", "pydevd_tracing"}
# PEP 669 gives debuggers this number.
_DEBUGGER_TOOL = 0

MAX_FRAMES = 50
"""Innermost frames of a report: what blocks is at the end."""


class Watchdog:
    """Watches the steps of one worker, one at a time.

    :param limit_seconds: how long a step may keep the thread.
    :param describe: tells what a step belongs to; called on the watchdog's thread.
    :param name: the thread's.
    """

    def __init__(self, limit_seconds: float, describe: Callable[[Any], str], *, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._limit = limit_seconds
        self._describe = describe
        self._name = name
        self._clock = clock
        self._wake = threading.Event()
        self._is_asleep = False
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._serial = 0
        self._handled = 0
        self._seen = 0
        # What runs: the step, since when, on which thread. One tuple, so that the other thread never sees a half of it.
        self._current: tuple[int, Any, float, int] | None = None

    def enter(self, step: Any) -> None:
        """A step begins, or goes on, on this thread."""
        self._serial += 1
        self._current = (self._serial, step, self._clock(), threading.get_ident())
        if self._is_asleep:
            self._is_asleep = False
            self._wake.set()
        elif self._thread is None and not self._is_closed:
            self._start()

    def leave(self) -> None:
        """The step gave the thread back. One that never let the watchdog run, because C code kept the interpreter, is reported now."""
        current, self._current = self._current, None
        if current is None:
            return
        seconds = self._clock() - current[2]
        if seconds >= self._limit and self._handled != current[0]:
            self._handled = current[0]
            if not _is_traced(sys._getframe()):
                self._report(current[1], seconds, "it has ended now; it was in C code that let no other thread run, or ended just then")

    def close(self) -> None:
        """End the thread. Harmless to repeat."""
        self._is_closed = True
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name=self._name, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._is_closed:
            self._wake.wait(self.look())
            self._wake.clear()

    def look(self) -> float | None:
        """Look once; answers in how many seconds to look again, None: when it is woken."""
        current = self._current
        if current is None:
            if self._serial != self._seen:
                # Steps come and go: waking up now and then is cheaper than being woken by each of them.
                self._seen = self._serial
                return self._limit
            self._is_asleep = True
            # A step that began meanwhile did not see that it should wake us.
            if self._current is None:
                return None
            self._is_asleep = False
            return self._limit
        serial, step, since, thread = current
        seconds = self._clock() - since
        if seconds < self._limit:
            return self._limit - seconds
        if self._handled != serial:
            frame = sys._current_frames().get(thread)
            if frame is not None and self._current is current:
                self._handled = serial
                if not _is_traced(frame):
                    self._report(step, seconds, _stack(frame))
        return self._limit

    def _report(self, step: Any, seconds: float, where: str) -> None:
        _log.warning(
            "%s has kept its worker's thread for %.1f s: the program and all other workflows of the worker wait for it\n"
            "hint: long or blocking work belongs into an activity; Worker(blocked_step_warning=…) sets the limit\n%s",
            self._describe(step), seconds, where,
        )  # fmt: skip


def _frames(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_traced(innermost: types.FrameType) -> bool:
    """Whether a debugger looks at the thread of these frames, or at the whole process."""
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None and monitoring.get_tool(_DEBUGGER_TOOL) is not None:
        return True
    for frame in _frames(innermost):
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _DEBUGGERS:
            return True
        tracer = frame.f_trace
        # Coverage tools trace too, and are no reason to be silent.
        if tracer is not None and _module_of(tracer).partition(".")[0] != "coverage":
            return True
    return False


def _module_of(tracer: Any) -> str:
    owner = getattr(tracer, "__self__", None)
    return str(getattr(tracer, "__module__", None) or type(owner if owner is not None else tracer).__module__)


def _stack(innermost: types.FrameType) -> str:
    """The frames of the step, without the host's around it, outermost first as in a traceback."""
    frames: list[types.FrameType] = []
    for frame in _frames(innermost):
        if frame.f_globals.get("__name__") in _STEP_MODULES:
            break
        frames.append(frame)
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in reversed(frames[:MAX_FRAMES]))
    return "".join(summary.format()).rstrip()
