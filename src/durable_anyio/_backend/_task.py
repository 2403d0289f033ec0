"""The task: one coroutine with its context, its cancel scope and the state of its current wait.

A coroutine talks to the scheduler by yielding one of three unique objects. `YIELD` asks to be resumed after the others; `CHECKPOINT` asks
for the same and for the scope's cancellation, should it be cancelled by then; `PARK` asks to be left alone until somebody calls
`Scheduler.reschedule`, or until its scope is cancelled and the wait's `abort` agrees to end it. Anything else that arrives is from another
event loop and is refused.

The functions that yield are generators and not `async def`: every wait of every task goes through them, and a frame less is felt.
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
    from ._taskgroup import TaskGroup, TaskHandle


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


YIELD = _Trap("yield")
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
        "__weakref__", "_error", "_result", "abort", "child_groups", "context", "coro", "done", "error", "group", "handle", "held_locks",
        "id", "name", "on_done", "own_scope", "scheduled", "scheduler", "scope", "started", "value",
    )  # fmt: skip

    def __init__(self, scheduler: Scheduler, coro: Coroutine[Any, Any, Any], name: str, context: Context) -> None:
        self.scheduler = scheduler
        self.id = scheduler.next_sequence()
        self.coro = coro
        self.name = name
        self.context = context
        self.group: TaskGroup | None = None
        self.handle: TaskHandle[Any] | None = None
        self.child_groups: list[TaskGroup] | None = None
        self.held_locks: dict[Lock, None] | None = None
        # Made when the first one comes: most tasks have neither, and idle runs are kept by the thousand.
        self.scope: CancelScope | None = None
        self.own_scope: CancelScope | None = None
        """The scope around the whole task, entered when it first runs."""
        self.abort: Callable[[Task], bool] | None = None
        self.scheduled = False
        self.started = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.on_done: Callable[[Task], None] | None = None
        self._result: Any = None
        self._error: BaseException | None = None

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

    @property
    def failure(self) -> BaseException | None:
        """What an ended task raised, or None; `outcome` without the raising, which would add frames to the traceback."""
        return self._error

    def forget_outcome(self) -> None:
        """Drop what the task returned or raised: frames in a traceback may hold the task itself, through its groups."""
        self._result = self._error = None

    def cancel(self, reason: str | None = None) -> None:
        """Cancel everything in a root task. Has no effect once the task ended."""
        if self.own_scope is None:
            raise RuntimeError("only a root task can be cancelled as a whole: use a cancel scope")
        if not self.done:
            self.own_scope.cancel(reason)

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
        if abort(self):
            self.scheduler.reschedule(self, error=self.cancelled_error())

    def activate(self, scope: CancelScope | None) -> None:
        """Make `scope` the one that decides about this task's checkpoints."""
        if self.scope is not None:
            self.scope.remove_task(self)
        self.scope = scope
        if scope is not None:
            scope.add_task(self)
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


def current_task() -> Task:
    """Return the running task.

    :raises RuntimeError: outside a task
    """
    scheduler = LOCAL.scheduler
    if scheduler is None or scheduler.current_task is None:
        raise RuntimeError("this must be called from a task of a workflow")
    return scheduler.current_task


def always_abort(task: Task) -> bool:
    """The `abort` of a wait that leaves nothing behind."""
    return True


@types.coroutine
def park(abort: Callable[[Task], bool] | None = always_abort) -> Generator[_Trap, Any, Any]:
    """Wait until the task is rescheduled and return the value it is given.

    :param abort: called at most once, with the task, when the scope is cancelled: undoes the wait and answers True, or answers False to
        keep waiting. None: the wait cannot be cancelled.
    """
    current_task().abort = abort
    value = yield PARK
    if value is CLOSE:
        raise GeneratorExit
    return value


@types.coroutine
def shielded_checkpoint() -> Generator[_Trap, Any, None]:
    """Let the others run."""
    if (yield YIELD) is CLOSE:
        raise GeneratorExit


@types.coroutine
def checkpoint() -> Generator[_Trap, Any, None]:
    """Let the others run, then raise if the scope is cancelled."""
    if (yield CHECKPOINT) is CLOSE:
        raise GeneratorExit


async def checkpoint_if_cancelled() -> None:
    """Do nothing, or let the others run and raise if the scope is cancelled."""
    if current_task().cancel_pending:
        await checkpoint()
