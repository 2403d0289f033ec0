"""What the profiling hook cannot see: calls that are made in C, such as `functools.partial(open)` or `io.FileIO(…)`.

The interpreter raises audit events for most of what reaches the outside world, whoever calls. Clocks and randomness have none (`time.sleep`
has one since Python 3.13). An audit hook cannot be taken back, so there is one for the process, added when the first guard begins to
watch, and it asks which guard watches its thread.
"""

from __future__ import annotations

import os
import sys
import threading
import types
from typing import Any, Protocol

from ._forbidden import IN_ACTIVITY
from ._forbidden_calls import USE_SLEEP, USE_TASKS, Rule


class Judge(Protocol):
    """A guard, as the audit hook sees it."""

    def judge(self, frame: types.FrameType, rule: Rule) -> None:
        """Refuse the call, or let it pass."""


_RULES = {
    "open": Rule("open", IN_ACTIVITY),
    "os.listdir": Rule("os.listdir", IN_ACTIVITY),
    "os.scandir": Rule("os.scandir", IN_ACTIVITY),
    "os.mkdir": Rule("os.mkdir", IN_ACTIVITY),
    "os.remove": Rule("os.remove", IN_ACTIVITY),
    "os.rename": Rule("os.rename", IN_ACTIVITY),
    "os.rmdir": Rule("os.rmdir", IN_ACTIVITY),
    "os.putenv": Rule("os.putenv", "keep the workflow's state in its own attributes"),
    "os.system": Rule("os.system", IN_ACTIVITY),
    "os.fork": Rule("os.fork", IN_ACTIVITY),
    "os.exec": Rule("os.exec", IN_ACTIVITY),
    "os.posix_spawn": Rule("os.posix_spawn", IN_ACTIVITY),
    "subprocess.Popen": Rule("subprocess.Popen", IN_ACTIVITY),
    "socket.__new__": Rule("socket.socket", IN_ACTIVITY),
    "socket.connect": Rule("socket.socket.connect", IN_ACTIVITY),
    "socket.getaddrinfo": Rule("socket.getaddrinfo", IN_ACTIVITY),
    "sqlite3.connect": Rule("sqlite3.connect", IN_ACTIVITY),
    "time.sleep": Rule("time.sleep", USE_SLEEP),
    "_thread.start_new_thread": Rule("threading.Thread.start", USE_TASKS),
    "_thread.start_joinable_thread": Rule("threading.Thread.start", USE_TASKS),
}


class _Watching(threading.local):
    guard: Judge | None = None


_watching = _Watching()
_installed: list[bool] = []


def watch(guard: Judge | None) -> None:
    """Let `guard` judge what this thread does from now on; None: nobody."""
    if not _installed and guard is not None:
        _installed.append(True)
        sys.addaudithook(_hook)
    _watching.guard = guard


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    rule = _RULES.get(event)
    if rule is None:
        return
    guard = _watching.guard
    if guard is None or (event == "open" and _is_harmless(arguments)):
        return
    # While the guard itself looks at files, for the line of a message, nobody watches.
    _watching.guard = None
    try:
        guard.judge(sys._getframe(1), rule)
    finally:
        _watching.guard = guard


def _is_harmless(arguments: tuple[Any, ...]) -> bool:
    """Whether a file is opened as the interpreter does by itself: to show the lines of a traceback that nobody caught, or a time zone's."""
    path, mode = arguments[0], arguments[1]
    if not isinstance(path, str | bytes) or not (mode is None or "r" in str(mode)):
        return False
    name = os.fsdecode(path)
    zones = getattr(sys.modules.get("zoneinfo"), "TZPATH", ())
    return name.endswith((".py", ".pyc")) or any(name.startswith(zone + os.sep) for zone in zones)
