"""Entering and leaving a step: hide the event loops that run around us, and show ours.

A step runs on the host's own thread inside the host's callback. Without hiding, asyncio's and Trio's primitives would find their loop
and act on the host: a `trio.CancelScope` entered inside a workflow would cancel the worker.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any

import sniffio

from ._forbidden import ForbiddenCallError
from ._task import LOCAL

if TYPE_CHECKING:
    from ._scheduler import Scheduler

BACKEND_NAME = "durable"

_sniffio_local: Any = sniffio.thread_local
_get_running_loop: Any = asyncio._get_running_loop
_set_running_loop: Any = asyncio._set_running_loop


def _trio_context() -> dict[str, Any] | None:
    """Return the attributes of Trio's per-thread run context; None while nobody imported Trio."""
    module = sys.modules.get("trio._core._run")
    context = getattr(module, "GLOBAL_RUN_CONTEXT", None)
    return None if context is None else context.__dict__


class Step:
    """The extent of one step. Steps never nest."""

    __slots__ = ("_asyncgen_hooks", "_guard", "_library", "_loop", "_scheduler", "_trio", "_trio_saved")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def __enter__(self) -> None:
        if LOCAL.scheduler is not None:
            raise RuntimeError("a workflow step is running on this thread already: steps do not nest")
        self._loop = _get_running_loop()
        if self._loop is not None:
            _set_running_loop(None)
        self._trio = _trio_context()
        self._trio_saved = None
        if self._trio:
            self._trio_saved = dict(self._trio)
            self._trio.clear()
        self._asyncgen_hooks = sys.get_asyncgen_hooks()
        generators = self._scheduler.generators
        sys.set_asyncgen_hooks(firstiter=generators.first_iteration, finalizer=generators.finalize)
        self._library = _sniffio_local.name
        _sniffio_local.name = BACKEND_NAME
        LOCAL.scheduler = self._scheduler
        # A run that is being closed does nothing that a replay would have to repeat.
        self._guard = None if self._scheduler.closing else self._scheduler.guard
        if self._guard is not None:
            self._guard.enter()

    def __exit__(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None) -> None:
        if self._guard is not None:
            self._guard.leave()
        LOCAL.scheduler = None
        _sniffio_local.name = self._library
        sys.set_asyncgen_hooks(*self._asyncgen_hooks)
        if self._trio is not None and self._trio_saved is not None:
            self._trio.clear()
            self._trio.update(self._trio_saved)
        if self._loop is not None:
            _set_running_loop(self._loop)
        self._loop = self._trio = self._trio_saved = None


# What asyncio and Trio say, or let slip, to code that finds no loop of theirs.
_NO_HOST = {
    "no running event loop": "asyncio",
    "must be called from async context": "Trio",
    "'RunContext' object has no attribute 'runner'": "Trio",
    "'RunContext' object has no attribute 'task'": "Trio",
    "'NoneType' object has no attribute 'create_future'": "asyncio",
}
_OTHER_LOOP = "is bound to a different event loop"


def host_refusal(error: BaseException) -> ForbiddenCallError | None:
    """Tell what a host's "no event loop" means inside a workflow; None for every other error."""
    if not isinstance(error, RuntimeError | AttributeError):
        return None
    text = str(error)
    host = "asyncio" if text.endswith(_OTHER_LOOP) else _NO_HOST.get(text)
    if host is None:
        return None
    trace = traceback.extract_tb(error.__traceback__)
    if isinstance(error, AttributeError) and not (trace and _is_host_code(trace[-1].filename)):
        return None  # somebody else's missing attribute
    frames = [frame for frame in trace if not _is_host_code(frame.filename)]
    where = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else "the workflow"
    return ForbiddenCallError(
        f"{where}\nuses {host}, which belongs to the host: inside a workflow use anyio's own functions, or move the work into an activity"
    )


def _is_host_code(path: str) -> bool:
    return any(f"/{package}/" in path.replace("\\", "/") for package in ("asyncio", "trio", "anyio"))
