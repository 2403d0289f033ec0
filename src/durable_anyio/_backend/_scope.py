"""Cancel scopes: where a cancellation starts, how far it reaches, and where it ends.

Open scopes form a tree that mirrors the nesting of their `with` blocks; a task group's children hang under the group's scope. A scope
is *effective* when it was cancelled itself or when its parent is effective and it is no shield. Tasks in an effective scope get
`Cancelled` at every checkpoint. A scope swallows `Cancelled` on exit when the cancellation was its own, not one that its parent
also sees. All traversals follow entry order: nothing here may depend on hashes.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING, Any

from anyio import CancelScope as BaseCancelScope

from ._forbidden import refuse_changes
from ._task import LOCAL, Cancelled, Task, current_task

if TYPE_CHECKING:
    from typing import Self

    from ._scheduler import Scheduler


class CancelScope(BaseCancelScope):
    """A durable cancel scope; AnyIO's contract."""

    _called: bool
    _caught: bool
    _children: Any  # usually none or one: see `_add`
    _deadline: float
    _entered: bool
    _number: int
    _reason: str | None
    _shield: bool
    _tasks: Any
    abandoned: bool
    active: bool
    armed_for: float
    effective: bool
    id: int
    parent: CancelScope | None
    scheduler: Scheduler | None
    timer: int | None
    timer_summary: Any
    """What the host is told with the timer of the deadline."""

    __slots__ = (
        "_called", "_caught", "_children", "_deadline", "_entered", "_number", "_reason", "_shield", "_tasks", "abandoned", "active",
        "armed_for", "effective", "id", "parent", "scheduler", "timer", "timer_summary",
    )  # fmt: skip

    def __new__(cls, *, deadline: float = math.inf, shield: bool = False) -> Self:
        # Here and not in __init__, which Python would call a second time when AnyIO's class is the one that is called.
        if deadline != deadline:
            raise ValueError("deadline must not be NaN")
        self = object.__new__(cls)
        scheduler = LOCAL.scheduler
        self._deadline = deadline
        self._shield = shield
        self._called = self._caught = self._entered = False
        self._reason = None
        self.scheduler = scheduler
        self._number = 0 if scheduler is None else scheduler.next_sequence()
        self.active = self.effective = self.abandoned = False
        self.id = 0
        self.parent = self._children = self._tasks = self.timer = self.timer_summary = None
        self.armed_for = math.inf
        return self

    def __hash__(self) -> int:
        return self._number

    def __repr__(self) -> str:
        state = "active" if self.active else "exited" if self._entered else "unbound"
        return f"<CancelScope {state}{' cancelled' if self._called else ''} deadline={self._deadline}>"

    # -- entering and leaving

    def __enter__(self) -> Self:
        self.enter(current_task())
        return self

    def enter(self, task: Task) -> None:
        """Open the scope in a task, inside the scope that the task is in."""
        if self._entered:
            raise RuntimeError("Each CancelScope may only be used for a single 'with' block")
        self._entered = self.active = True
        scheduler = self.scheduler = task.scheduler
        self.id = scheduler.next_sequence()
        if self._deadline != math.inf:
            if not self._called and scheduler.clock.now >= self._deadline:
                self._called = True
                self._reason = "deadline"
            if not self._called:
                scheduler.clock.watch(self)
        parent = self.parent = task.scope
        if parent is None:
            self.effective = self._called
        else:
            parent._children = _add(parent._children, self)
            parent.remove_task(task)
            self.effective = self._called or (parent.effective and not self._shield)
        # Nobody else can be inside yet, and who runs does not wait: no cancellation has to be delivered.
        task.scope = self
        self._tasks = task

    def __exit__(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None) -> bool:
        remaining = self.close(exc_val)
        if remaining is None:
            return True
        if remaining is exc_val:
            return False
        context = remaining.__context__
        try:
            raise remaining
        finally:
            remaining.__context__ = context
            del remaining, exc_val, context

    def close(self, error: BaseException | None) -> BaseException | None:
        """Leave the scope in the running task; see `leave`."""
        return self.leave(current_task(), error)

    def leave(self, task: Task, error: BaseException | None) -> BaseException | None:
        """Leave the scope; return what remains of `error` after the scope took its own cancellation out."""
        if not self.active:
            return _chained(RuntimeError("this cancel scope has been exited already, or was never entered"), error)
        if task.scope is self:
            task.activate(self.parent)
        elif not self.abandoned:
            if not self._encloses(task.scope):
                return _chained(RuntimeError("Attempted to exit cancel scope in a different task than it was entered in"), error)
            error = _chained(RuntimeError("Attempted to exit a cancel scope that isn't the current task's innermost one"), error)
            task.activate(self.parent)
        if error is not None and ((self.effective and not self._sees_parent()) or (task.scope is not self and self.abandoned)):
            error = self._take_cancelled(error)
        self._detach()
        self.active = False
        if self._deadline != math.inf or self.timer is not None:
            task.scheduler.clock.forget(self)
        return error

    def _take_cancelled(self, error: BaseException | None) -> BaseException | None:
        if isinstance(error, Cancelled):
            self._caught = True
            return None
        if isinstance(error, BaseExceptionGroup):
            matched, rest = error.split(Cancelled)
            if matched is not None:
                self._caught = True
            return rest
        return error

    # -- the tree

    def add_task(self, task: Task) -> None:
        """Note that a task is directly in this scope now."""
        self._tasks = task if self._tasks is None else _add(self._tasks, task)

    def remove_task(self, task: Task) -> None:
        """Note that a task has left."""
        self._tasks = None if self._tasks is task else _remove(self._tasks, task)

    @property
    def tasks(self) -> list[Task]:
        """The tasks whose innermost scope this is, in the order in which they came."""
        return _listed(self._tasks)

    @property
    def children(self) -> list[CancelScope]:
        """The scopes directly inside this one, in the order in which they came."""
        return _listed(self._children)

    def attach(self, parent: CancelScope | None) -> None:
        """Hang this scope under `parent`, leaving the old one."""
        if self.parent is not None:
            self.parent._children = _remove(self.parent._children, self)
        self.parent = parent
        if parent is not None:
            parent._children = _add(parent._children, self)
            self.recalculate()
        elif self._called:
            self.recalculate()

    def _detach(self) -> None:
        self.attach(None)
        if self._tasks is not None or self._children is not None:
            # Somebody is still inside (misnested scopes): they stay cancelled, so that they come to an end.
            self._abandon()
            self.effective = True
            for task in self.tasks:
                task.deliver_cancel()
            for child in self.children:
                child.recalculate()

    def _abandon(self) -> None:
        self.abandoned = True
        for child in self.children:
            child._abandon()

    def _encloses(self, other: CancelScope | None) -> bool:
        while other is not None:
            if other is self:
                return True
            other = other.parent
        return False

    def _sees_parent(self) -> bool:
        return self.parent is not None and not self._shield and self.parent.effective

    def recalculate(self) -> None:
        """Bring `effective` up to date here and below, outermost and oldest first, and wake the tasks it newly reaches."""
        pending: list[CancelScope] = [self]
        while pending:
            scope = pending.pop()
            # Not `_called`: as on Trio, whoever looks at a scope whose deadline has just been moved into the past cancels it.
            effective = scope.cancel_called or scope._sees_parent()
            if effective != scope.effective:
                scope.effective = effective
                if effective:
                    for task in scope.tasks:
                        task.deliver_cancel()
                if scope._children is not None:
                    pending.extend(reversed(scope.children))

    def effective_deadline(self) -> float:
        """Return the earliest deadline that reaches into this scope; minus infinity when it is cancelled."""
        if self.effective:
            return -math.inf
        if self.parent is None or self._shield:
            return self._deadline
        return min(self._deadline, self.parent.effective_deadline())

    def effective_reason(self) -> str | None:
        """Return the reason of the innermost cancelled scope that reaches here."""
        scope: CancelScope | None = self
        while scope is not None:
            if scope._called:
                return scope._reason
            scope = None if scope._shield else scope.parent
        return None

    # -- AnyIO's interface

    def _cancel(self, reason: str | None) -> None:
        if self._called:
            return
        self._called = True
        self._reason = reason
        if self.active and self.scheduler is not None:
            self.scheduler.clock.forget(self)
            self.recalculate()

    def cancel(self, reason: str | None = None) -> None:
        if not self._called:
            refuse_changes("CancelScope.cancel()")
            self._cancel(reason)

    def expire(self) -> None:
        """Cancel the scope because its deadline has passed."""
        self._cancel("deadline")

    @property
    def deadline(self) -> float:
        return self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        if math.isnan(value):
            raise ValueError("deadline must not be NaN")
        refuse_changes("CancelScope.deadline")
        self._deadline = float(value)
        if self.active and not self._called and self.scheduler is not None:
            self.scheduler.clock.watch(self)

    @property
    def cancel_called(self) -> bool:
        if not self._called and (self.active or not self._entered):
            scheduler = self.scheduler
            if scheduler is not None and scheduler.current_time >= self._deadline:
                self.expire()
        return self._called

    @property
    def cancelled_caught(self) -> bool:
        return self._caught

    @property
    def shield(self) -> bool:
        return self._shield

    @shield.setter
    def shield(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError("shield must be a bool")
        refuse_changes("CancelScope.shield")
        self._shield = value
        if self.active:
            self.recalculate()


def _add(members: Any, member: Any) -> Any:
    """Add to an ordered set that is None while empty, and the member itself while it is the only one.

    Nearly every scope holds one task or one scope; a dictionary for it would be larger than the scope, in every idle run.
    """
    if members is None:
        return member
    if type(members) is not dict:
        members = {members.id: members}
    members[member.id] = member
    return members


def _remove(members: Any, member: Any) -> Any:
    """Take a member out of such a set, if it is there."""
    if members is member:
        return None
    if type(members) is dict:
        members.pop(member.id, None)
        if len(members) == 1:
            return members.popitem()[1]
    return members


def _listed(members: Any) -> list[Any]:
    """Such a set as a list."""
    if members is None:
        return []
    return list(members.values()) if type(members) is dict else [members]


def _chained(error: RuntimeError, cause: BaseException | None) -> RuntimeError:
    error.__context__ = cause
    return error
