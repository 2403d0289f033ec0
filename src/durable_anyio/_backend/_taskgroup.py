"""Task groups: children live under the group's cancel scope, and the group ends after the last of them.

The rules are Trio's. The body of the `async with` counts as a child. The first failure cancels the scope; all failures leave together as
one exception group. A group of nothing but cancellations leaves as a single `Cancelled`. Leaving is a schedule point but no
cancellation point. `start()` runs the new child under a group of its own until it says `started()`, then moves it over.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from anyio import TaskHandle as BaseTaskHandle
from anyio.abc import TaskGroup as BaseTaskGroup
from anyio.abc import TaskStatus as BaseTaskStatus

from ._forbidden import refuse_changes
from ._scope import CancelScope
from ._sync import Event
from ._task import Cancelled, Task, current_task, park, shielded_checkpoint

if TYPE_CHECKING:
    from typing import Self

T = TypeVar("T")
StartValue = TypeVar("StartValue")

_NOT_STARTED: Any = object()


class TaskHandle(BaseTaskHandle[T]):  # type: ignore[misc]  # final for users; it is what `create_task` has to return
    """AnyIO's task handle, told by the scheduler how the task ended.

    AnyIO's own wraps the coroutine in one that does this. Here the scheduler enters and leaves the handle's scope, and the event is made
    for those who wait: nearly every handle is dropped at once, and every task has one.
    """

    __slots__ = ("_ended", "_event")

    def __init__(self, coro: Coroutine[Any, Any, T], name: str) -> None:
        self._coro = coro
        self._name = name
        self._cancel_scope = CancelScope()
        self._exception = None
        self._ended = False
        self._event: Event | None = None

    @property
    def _finished_event(self) -> Event:  # type: ignore[override]
        if self._event is None:
            self._event = Event()
            self._event._flag = self._ended
        return self._event

    def finish(self, result: T, error: BaseException | None) -> None:
        """Called by the scheduler, once, when the coroutine has ended."""
        self._ended = True
        if error is None:
            self._return_value = result
        else:
            self._exception = error
        if self._event is not None:
            self._event.set()


class TaskGroup(BaseTaskGroup):
    """A durable task group; AnyIO's contract."""

    cancel_scope: CancelScope

    __slots__ = (
        "_body_running", "_closed", "_entered", "_errors", "_host_waiting", "cancel_scope", "children", "host", "pending_starts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.cancel_scope = CancelScope()  # pyright: ignore[reportIncompatibleVariableOverride]
        self.host: Task | None = None
        self.children: dict[Task, None] = {}
        self.pending_starts = 0
        self._entered = False
        self._body_running = False
        self._closed = False
        self._host_waiting = False
        self._errors: list[BaseException] | None = None

    # -- entering and leaving

    async def __aenter__(self) -> Self:
        self.enter()
        return self

    def enter(self) -> None:
        """Open the group in the running task."""
        if self._entered:
            raise RuntimeError("TaskGroup cannot be entered more than once")
        self._entered = self._body_running = True
        host = self.host = current_task()
        self.cancel_scope.enter(host)
        if host.child_groups is None:
            host.child_groups = []
        host.child_groups.append(self)

    async def __aexit__(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None) -> bool:
        error = await self.leave(exc_val)
        if isinstance(error, BaseExceptionGroup) and error.split(Cancelled)[1] is None:
            cause, error = error, Cancelled(self._reason(), None if self.host is None else self.host.name)
            error.__cause__ = cause
        if error is None:
            return True
        if error is exc_val:
            return False
        context = error.__context__
        try:
            raise error
        finally:
            error.__context__ = context
            del error, exc_val, context

    async def leave(self, error: BaseException | None) -> BaseException | None:
        """Wait for the children; return what is left to raise."""
        host = self.host
        assert host is not None
        if isinstance(error, KeyboardInterrupt | SystemExit) and host.scheduler.raise_exits:
            # The host's business, and at once: the children may take long to end, and none of what they do would count.
            self._forget(host)
            self.abandon()
            return self.cancel_scope.close(error)
        if error is not None:
            self._add_error(error)
        self._body_running = False
        self._check_closed()
        try:
            if not self._closed:
                self._host_waiting = True
                await park(None)
            elif not host.scheduler.closing:
                await shielded_checkpoint()
        except BaseException as interruption:
            # Only an eviction gets here: the children are closed, or refuse to be.
            self._forget(host)
            return self.cancel_scope.close(interruption)
        self._forget(host)
        errors, self._errors = self._errors, None
        if not errors:
            return self.cancel_scope.close(None)
        if len(errors) == 1 and isinstance(errors[0], GeneratorExit) and host.scheduler.closing:
            return self.cancel_scope.close(errors[0])
        return self.cancel_scope.close(BaseExceptionGroup("unhandled errors in a TaskGroup", errors))

    def _reason(self) -> str | None:
        return None if self.host is None or self.host.scope is None else self.host.scope.effective_reason()

    def _forget(self, host: Task) -> None:
        if host.child_groups is not None:
            host.child_groups.remove(self)
            if not host.child_groups:
                host.child_groups = None

    def _add_error(self, error: BaseException) -> None:
        if self._errors is None:
            self._errors = []
        self._errors.append(error)
        self.cancel_scope.cancel(f"{type(error).__name__} in a task of the group")

    def _check_closed(self) -> None:
        if self._body_running or self.children or self.pending_starts:
            return
        self._closed = True
        if self._host_waiting and self.host is not None:
            self._host_waiting = False
            self.host.scheduler.reschedule(self.host)

    # -- children

    def child_ended(self, task: Task, error: BaseException | None) -> None:
        """Called by the scheduler when a child has ended."""
        self.children.pop(task, None)
        if error is not None and not task.scheduler.closing:
            self._add_error(error)
        self._check_closed()

    def abandon(self) -> None:
        """The host ended without leaving the group: nobody will wait for the children any more."""
        self.cancel_scope.cancel("the task that opened this group ended without leaving it")
        self._closed = True

    def check_active(self, coro: Coroutine[Any, Any, Any] | None = None) -> None:
        """Refuse new children of a group that is not open."""
        try:
            if self.host is None or not self._entered or self._closed or self.host.scheduler.closing:
                raise RuntimeError("This task group is not active; no new tasks can be started.")
            refuse_changes("starting a task")
        except RuntimeError:
            if coro is not None:
                coro.close()
            raise

    def add(self, handle: TaskHandle[Any], context: Context) -> None:
        """Make the coroutine of a handle a child."""
        assert self.host is not None
        coro = handle._coro
        if type(coro) is not CoroutineType:
            coro = _await(coro)
        task = self.host.scheduler.add_task(coro, handle._name, context)
        task.handle = handle
        task.own_scope = handle._cancel_scope  # type: ignore[assignment]
        task.group = self
        self.children[task] = None
        scope = task.scope = self.cancel_scope
        scope.add_task(task)

    def create_task(self, coro: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None) -> TaskHandle[T]:
        if not isinstance(coro, Coroutine):
            raise TypeError(f"expected a coroutine, got {coro.__class__.__qualname__}")
        self.check_active(coro)
        handle = TaskHandle(coro, name if type(name) is str else _coroutine_name(coro, name))
        self.add(handle, copy_context() if context is None else context)
        return handle

    async def start(
        self, func: Callable[..., Coroutine[Any, Any, T]], *args: object, name: object = None, return_handle: bool = False
    ) -> Any:
        self.check_active()
        self.pending_starts += 1
        waiting = TaskGroup()
        status: _TaskStatus[Any] = _TaskStatus(waiting, self)
        try:
            waiting.enter()
            failure: BaseException | None = None
            handle: TaskHandle[T] | None = None
            try:
                coro = _call(func, args, status)
                handle = TaskHandle(coro, function_name(func, name))
                waiting.add(handle, copy_context())
                status.live = True
                if status.value is not _NOT_STARTED:
                    status.move()
            except BaseException as exc:
                failure = exc
            error = await waiting.leave(failure)
            if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            if error is not None:
                context = error.__context__
                try:
                    raise error
                finally:
                    error.__context__ = context
                    del error, failure, context
            if status.value is _NOT_STARTED:
                raise RuntimeError("child exited without calling task_status.started()")
            if not return_handle:
                return status.value
            assert handle is not None
            handle._start_value = status.value
            return handle
        finally:
            self.pending_starts -= 1
            self._check_closed()


async def _await(coro: Coroutine[Any, Any, T]) -> T:
    """For what only behaves like a coroutine."""
    return await coro


class _TaskStatus(BaseTaskStatus[StartValue], Generic[StartValue]):
    """What a child of `start()` calls back on."""

    __slots__ = ("_target", "_waiting", "live", "value")

    def __init__(self, waiting: TaskGroup, target: TaskGroup) -> None:
        self._waiting = waiting
        self._target = target
        self.value: Any = _NOT_STARTED
        self.live = False
        """False until the child is a task: `started()` may be called while the function builds its coroutine."""

    def started(self, value: Any = None) -> None:
        if self.value is not _NOT_STARTED:
            raise RuntimeError("called 'started' twice on the same task status")
        self.value = value
        if self.live:
            self.move()

    def move(self) -> None:
        """Take the child out of the waiting group and put it into the real one."""
        waiting, target = self._waiting, self._target
        old, new = waiting.cancel_scope, target.cancel_scope
        if old.effective:
            return  # `start()` was cancelled: the child ends where the cancellation can be caught
        for task in list(waiting.children):
            waiting.children.pop(task)
            task.group = target
            target.children[task] = None
        scopes = old.children
        tasks = [task for task in old.tasks if task is not waiting.host]
        # First everything off, then everything on: an effective target wakes tasks, and what they do must find one tree.
        for scope in scopes:
            scope.attach(None)
        for task in tasks:
            task.activate(None)
        for scope in scopes:
            scope.attach(new)
        for task in tasks:
            task.activate(new)
        waiting._check_closed()


def _call(func: Callable[..., Coroutine[Any, Any, T]], args: tuple[object, ...], status: BaseTaskStatus[Any]) -> Coroutine[Any, Any, T]:
    coro: Any = func(*args, task_status=status)
    if not isinstance(coro, Coroutine):
        prefix = f"{func.__module__}." if hasattr(func, "__module__") else ""
        name = getattr(func, "__qualname__", repr(func))
        raise TypeError(f"Expected {prefix}{name}() to return a coroutine, but the return value ({coro!r}) is not a coroutine object")
    result: Coroutine[Any, Any, T] = coro
    return result


def function_name(func: Callable[..., Any], name: object = None) -> str:
    """Name a task after what it runs, as AnyIO does, unless it was given a name."""
    if name is not None:
        return str(name)
    parts = (getattr(func, "__module__", None), getattr(func, "__qualname__", None))
    return ".".join(part for part in parts if part)


def _coroutine_name(coro: Coroutine[Any, Any, Any], name: object) -> str:
    if name is not None:
        return str(name)
    frame = getattr(coro, "cr_frame", None)
    module = None if frame is None else frame.f_globals.get("__name__")
    return ".".join(part for part in (module, getattr(coro, "__qualname__", None)) if part)
