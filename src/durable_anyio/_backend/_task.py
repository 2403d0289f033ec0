"""The task: one coroutine with its context, its cancel scope and the state of its current wait.

A coroutine talks to the scheduler by yielding one of two unique objects. `CHECKPOINT` asks to be resumed after the others; `PARK` asks
to be left alone until somebody calls `Scheduler.reschedule`, or until its scope is cancelled and the wait's `abort` agrees to end it.
Anything else that arrives is from another event loop and is refused.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any

from anyio import TaskInfo

if TYPE_CHECKING:
    from ._scheduler import Scheduler
    from ._scope import CancelScope
    from ._sync import Lock
    from ._taskgroup import TaskGroup


class _Local(threading.local):
    """What runs on this thread. Thread-local and never a context variable: contexts are copied into places that are no step."""

    scheduler: Scheduler | None = None


LOCAL = _Local()


class _Trap:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<durable trap {self.name}>"


CHECKPOINT = _Trap("checkpoint")
PARK = _Trap("park")
CLOSE = _Trap("close")
"""Sent into a waiting coroutine to end it. Throwing `GeneratorExit` from outside would not do: Python then closes the awaited coroutine
instead of throwing into it, and clean-up code that awaits breaks off in the middle."""


class Cancelled(BaseException):
    """Raised at a checkpoint in a cancelled scope. Not an `Exception`, so that ordinary handlers let it pass."""

    def __init__(self, reason: str | None = None, task: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.task = task

    def __str__(self) -> str:
        text = "cancelled"
        if self.task is not None:
            text += f" in task {self.task}"
        return text if self.reason is None else f"{text}: {self.reason}"


class Task:
    """One running coroutine. `done` tells whether it ended, `outcome()` how."""

    __slots__ = (
        "__weakref__", "_error", "_result", "abort", "child_groups", "context", "coro", "done", "error", "group", "held_locks", "id",
        "inner", "name", "on_done", "root_scope", "scheduled", "scheduler", "scope", "started", "value",
    )  # fmt: skip

    def __init__(self, scheduler: Scheduler, coro: Coroutine[Any, Any, Any], name: str, context: Context) -> None:
        self.scheduler = scheduler
        self.id = scheduler.next_sequence()
        self.coro = coro
        self.inner: Coroutine[Any, Any, Any] | None = None
        """The user's coroutine inside `coro`, to be closed when the task ends before it ever ran."""
        self.name = name
        self.context = context
        self.group: TaskGroup | None = None
        self.child_groups: list[TaskGroup] = []
        self.held_locks: dict[Lock, None] = {}
        self.scope: CancelScope | None = None
        self.root_scope: CancelScope | None = None
        self.abort: Callable[[], bool] | None = None
        self.scheduled = False
        self.started = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.on_done: Callable[[Task], None] | None = None
        self._result: Any = None
        self._error: BaseException | None = None

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.name!r}>"

    def outcome(self) -> Any:
        """Return what the task returned.

        :raises BaseException: what the task raised; `Cancelled` when it was cancelled
        :raises RuntimeError: if the task has not ended yet
        """
        if not self.done:
            raise RuntimeError(f"task {self.name!r} has not ended yet")
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self, reason: str | None = None) -> None:
        """Cancel everything in a root task. Has no effect once the task ended."""
        if self.root_scope is None:
            raise RuntimeError("only a root task can be cancelled as a whole: use a cancel scope")
        if not self.done:
            self.root_scope.cancel(reason)

    @property
    def cancel_pending(self) -> bool:
        """Whether the next checkpoint of this task raises."""
        return self.scope is not None and self.scope.effective

    def cancelled_error(self) -> Cancelled:
        """Build the exception of this task's effective cancellation."""
        return Cancelled(self.scope.effective_reason() if self.scope is not None else None, self.name)

    def deliver_cancel(self) -> None:
        """End the current wait if it can be ended. A wait is asked at most once."""
        abort = self.abort
        if abort is None:
            return
        self.abort = None
        if abort():
            self.scheduler.reschedule(self, error=self.cancelled_error())

    def activate(self, scope: CancelScope | None) -> None:
        """Make `scope` the one that decides about this task's checkpoints."""
        if self.scope is not None:
            self.scope.tasks.pop(self, None)
        self.scope = scope
        if scope is not None:
            scope.tasks[self] = None
            if scope.effective:
                self.deliver_cancel()

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Record how the coroutine ended. Called by the scheduler, once."""
        self.done = True
        self._result, self._error = result, error


class DurableTaskInfo(TaskInfo):
    """AnyIO's description of a task."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        parent = task.group.host if task.group is not None else None
        super().__init__(task.id, None if parent is None else parent.id, task.name, task.coro)
        self._task = task

    def has_pending_cancellation(self) -> bool:
        return not self._task.done and self._task.cancel_pending


@types.coroutine
def _yield(trap: _Trap) -> Generator[_Trap, Any, Any]:
    value = yield trap
    if value is CLOSE:
        raise GeneratorExit
    return value


def current_task() -> Task:
    """Return the running task.

    :raises RuntimeError: outside a task
    """
    scheduler = LOCAL.scheduler
    if scheduler is None or scheduler.current_task is None:
        raise RuntimeError("this must be called from a task of a workflow")
    return scheduler.current_task


def always_abort() -> bool:
    """The `abort` of a wait that leaves nothing behind."""
    return True


async def park(abort: Callable[[], bool] | None = always_abort) -> Any:
    """Wait until the task is rescheduled and return the value it is given.

    :param abort: called at most once when the scope is cancelled: undoes the wait and answers True, or answers False to keep waiting.
        None: the wait cannot be cancelled.
    """
    current_task().abort = abort
    return await _yield(PARK)


async def shielded_checkpoint() -> None:
    """Let the others run."""
    await _yield(CHECKPOINT)


async def checkpoint() -> None:
    """Let the others run, then raise if the scope is cancelled."""
    await _yield(CHECKPOINT)
    if current_task().cancel_pending:
        # A second switch, as in Trio: the two schedules can then be compared switch by switch.
        await park()


async def checkpoint_if_cancelled() -> None:
    """Do nothing, or let the others run and raise if the scope is cancelled."""
    if current_task().cancel_pending:
        await checkpoint()
