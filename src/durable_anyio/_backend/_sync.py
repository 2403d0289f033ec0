"""Event, Lock, Semaphore and CapacityLimiter. Condition, ResourceGuard and the memory streams are AnyIO's own, on top of these.

Waiters queue first-in first-out, and what is released is handed straight to the first of them: a task that comes later cannot overtake.
Primitives hash by their sequence number, because AnyIO iterates over sets of them.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING, Any

from anyio import (
    BrokenResourceError,
    CapacityLimiterStatistics,
    EventStatistics,
    LockStatistics,
    SemaphoreStatistics,
    WouldBlock,
)
from anyio import CapacityLimiter as BaseCapacityLimiter
from anyio import Event as BaseEvent
from anyio import Lock as BaseLock
from anyio import Semaphore as BaseSemaphore

from ._forbidden import ForbiddenCallError, poisoned, refuse_changes
from ._shared import foreign_primitive
from ._task import LOCAL, DurableTaskInfo, Task, checkpoint, checkpoint_if_cancelled, current_task, park, shielded_checkpoint

if TYPE_CHECKING:
    from typing import Self

    from ._scheduler import Scheduler


def _running_scheduler() -> Scheduler:
    scheduler = LOCAL.scheduler
    if scheduler is None:
        raise RuntimeError("this primitive belongs to a workflow and can only be used inside a step")
    return scheduler


def _check_owner(primitive: Event | Lock | Semaphore | CapacityLimiter, kind: str) -> None:
    """Refuse a primitive of another run.

    Built at module level it is a proxy that binds to the first run that uses it; a second run, or a replay of the first, would then
    share it.
    """
    if LOCAL.scheduler is not primitive._scheduler:
        raise poisoned(ForbiddenCallError(foreign_primitive(primitive, kind)))


async def _queue_up(waiters: dict[Task, None]) -> None:
    """Wait in `waiters` until somebody takes the task out and reschedules it."""
    waiters[current_task()] = None

    def abort(task: Task) -> bool:
        waiters.pop(task, None)
        return True

    await park(abort)


def _checked_tokens(value: float) -> float:
    if not isinstance(value, int) and value != math.inf:
        raise TypeError("total_tokens must be an int or math.inf")
    if value < 0:
        raise ValueError("total_tokens must be >= 0")
    return value


def _first(waiters: dict[Task, None]) -> Task:
    task = next(iter(waiters))
    del waiters[task]
    return task


class Event(BaseEvent):
    """A durable event; AnyIO's contract."""

    _flag: bool
    _number: int
    _scheduler: Scheduler
    # None, or the only one, or all of them: events are many, and hardly any has more than one waiter.
    _waiters: Any

    __slots__ = ("_flag", "_number", "_scheduler", "_waiters")

    def __new__(cls) -> Self:
        # Here and not in __init__, which Python would call a second time when AnyIO's class is the one that is called.
        self = object.__new__(cls)
        scheduler = LOCAL.scheduler
        if scheduler is None:
            scheduler = _running_scheduler()
        self._scheduler = scheduler
        # Numbered apart: AnyIO's order in a set of events comes from the numbers, and must not change with what else the scheduler counts.
        scheduler.events_made = self._number = scheduler.events_made + 1
        self._flag = False
        self._waiters = None
        return self

    def __hash__(self) -> int:
        return self._number

    def set(self) -> None:
        if self._flag:
            return
        scheduler = self._scheduler
        if LOCAL.scheduler is not scheduler:
            _check_owner(self, "Event")
        if scheduler.read_only:
            refuse_changes("Event.set()")
        self._flag = True
        waiters, self._waiters = self._waiters, None
        if type(waiters) is dict:
            for task in waiters:
                scheduler.reschedule(task)
        elif waiters is not None:
            scheduler.reschedule(waiters)

    def is_set(self) -> bool:
        scheduler = LOCAL.scheduler
        if scheduler is not None and scheduler is not self._scheduler:
            _check_owner(self, "Event")
        return self._flag

    async def wait(self) -> None:
        if LOCAL.scheduler is not self._scheduler:
            _check_owner(self, "Event")
        if self._flag:
            # A full checkpoint: what is cancelled while the others run is noticed here, not one wait later.
            await checkpoint()
            return
        task, waiters = current_task(), self._waiters
        if waiters is None:
            self._waiters = task
        elif type(waiters) is dict:
            waiters[task] = None
        else:
            self._waiters = {waiters: None, task: None}
        await park(self._withdraw)

    def _withdraw(self, task: Task) -> bool:
        waiters = self._waiters
        if type(waiters) is dict:
            waiters.pop(task, None)
        elif waiters is task:
            self._waiters = None
        return True

    def statistics(self) -> EventStatistics:
        waiters = self._waiters
        return EventStatistics(tasks_waiting=len(waiters) if type(waiters) is dict else int(waiters is not None))


class Lock(BaseLock):
    """A durable lock; AnyIO's contract. A lock whose owner ended without releasing it is broken, as in Trio: waiters raise."""

    __slots__ = ("_fast_acquire", "_number", "_owner", "_scheduler", "_waiters")

    def __new__(cls, *, fast_acquire: bool = False) -> Self:
        return object.__new__(cls)

    def __init__(self, *, fast_acquire: bool = False) -> None:
        self._fast_acquire = fast_acquire
        self._scheduler = _running_scheduler()
        self._number = self._scheduler.next_sequence()
        self._owner: Task | None = None
        self._waiters: dict[Task, None] = {}

    def __hash__(self) -> int:
        return self._number

    async def acquire(self) -> None:
        await checkpoint_if_cancelled()
        try:
            self.acquire_nowait()
        except WouldBlock:
            if self._owner is not None and self._owner.done:
                raise BrokenResourceError from None
            await _queue_up(self._waiters)
            if self._owner is not current_task():
                raise BrokenResourceError from None
        else:
            if not self._fast_acquire:
                await shielded_checkpoint()

    def acquire_nowait(self) -> None:
        _check_owner(self, "Lock")
        refuse_changes("Lock.acquire()")
        task = current_task()
        if self._owner is task:
            raise RuntimeError("Attempted to acquire an already held Lock")
        if self._owner is not None:
            raise WouldBlock
        self._take(task)

    def _take(self, task: Task) -> None:
        self._owner = task
        if task.held_locks is None:
            task.held_locks = {}
        task.held_locks[self] = None

    def release(self) -> None:
        if self._owner is None or self._owner is not self._scheduler.current_task:
            raise RuntimeError("The current task is not holding this lock")
        if self._owner.held_locks is not None:
            self._owner.held_locks.pop(self, None)
        if self._waiters:
            self._take(_first(self._waiters))
            self._scheduler.reschedule(self._owner)
        else:
            self._owner = None

    def break_waiters(self) -> None:
        """The owner ended while it held the lock: wake everybody, who will find that they do not own it."""
        waiters, self._waiters = self._waiters, {}
        for task in waiters:
            self._scheduler.reschedule(task)

    def locked(self) -> bool:
        return self._owner is not None

    def statistics(self) -> LockStatistics:
        owner = None if self._owner is None else DurableTaskInfo(self._owner)
        return LockStatistics(self._owner is not None, owner, len(self._waiters))


class Semaphore(BaseSemaphore):
    """A durable semaphore; AnyIO's contract."""

    __slots__ = ("_max_value", "_number", "_scheduler", "_value", "_waiters")

    def __new__(cls, initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False) -> Self:
        return object.__new__(cls)

    def __init__(self, initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False) -> None:
        super().__init__(initial_value, max_value=max_value, fast_acquire=fast_acquire)
        self._scheduler = _running_scheduler()
        self._number = self._scheduler.next_sequence()
        self._value = initial_value
        self._max_value = max_value
        self._waiters: dict[Task, None] = {}

    def __hash__(self) -> int:
        return self._number

    async def acquire(self) -> None:
        await checkpoint_if_cancelled()
        try:
            self.acquire_nowait()
        except WouldBlock:
            await _queue_up(self._waiters)
        else:
            if not self._fast_acquire:
                await shielded_checkpoint()

    def acquire_nowait(self) -> None:
        _check_owner(self, "Semaphore")
        refuse_changes("Semaphore.acquire()")
        if self._value == 0:
            raise WouldBlock
        self._value -= 1

    def release(self) -> None:
        _check_owner(self, "Semaphore")
        if self._max_value is not None and self._value == self._max_value:
            raise ValueError("semaphore released too many times")
        refuse_changes("Semaphore.release()")
        if self._waiters:
            self._scheduler.reschedule(_first(self._waiters))
        else:
            self._value += 1

    @property
    def value(self) -> int:
        return self._value

    @property
    def max_value(self) -> int | None:
        return self._max_value

    def statistics(self) -> SemaphoreStatistics:
        return SemaphoreStatistics(len(self._waiters))


class CapacityLimiter(BaseCapacityLimiter):
    """A durable capacity limiter; AnyIO's contract."""

    __slots__ = ("_borrowers", "_number", "_scheduler", "_total_tokens", "_waiters")

    def __new__(cls, total_tokens: float) -> Self:
        return object.__new__(cls)

    def __init__(self, total_tokens: float) -> None:
        self._scheduler = _running_scheduler()
        self._number = self._scheduler.next_sequence()
        self._borrowers: dict[object, None] = {}
        self._waiters: dict[Task, object] = {}
        self._total_tokens = _checked_tokens(total_tokens)

    def __hash__(self) -> int:
        return self._number

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None) -> None:
        self.release()

    @property
    def total_tokens(self) -> float:
        return self._total_tokens

    @total_tokens.setter
    def total_tokens(self, value: float) -> None:
        _checked_tokens(value)
        refuse_changes("CapacityLimiter.total_tokens")
        self._total_tokens = value
        self._hand_out()

    @property
    def borrowed_tokens(self) -> int:
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        return self._total_tokens - len(self._borrowers)

    def _hand_out(self) -> None:
        while self._waiters and len(self._borrowers) < self._total_tokens:
            task = next(iter(self._waiters))
            self._borrowers[self._waiters.pop(task)] = None
            self._scheduler.reschedule(task)

    def acquire_nowait(self) -> None:
        self.acquire_on_behalf_of_nowait(current_task())

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        _check_owner(self, "CapacityLimiter")
        refuse_changes("CapacityLimiter.acquire()")
        if borrower in self._borrowers:
            raise RuntimeError("this borrower is already holding one of this CapacityLimiter's tokens")
        if self._waiters or len(self._borrowers) >= self._total_tokens:
            raise WouldBlock
        self._borrowers[borrower] = None

    async def acquire(self) -> None:
        await self.acquire_on_behalf_of(current_task())

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await checkpoint_if_cancelled()
        try:
            self.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock:
            self._waiters[current_task()] = borrower
            await park(self._leave_queue)
        else:
            await shielded_checkpoint()

    def _leave_queue(self, task: Task) -> bool:
        self._waiters.pop(task, None)
        return True

    def release(self) -> None:
        self.release_on_behalf_of(current_task())

    def release_on_behalf_of(self, borrower: object) -> None:
        _check_owner(self, "CapacityLimiter")
        if borrower not in self._borrowers:
            raise RuntimeError("this borrower isn't holding any of this CapacityLimiter's tokens")
        refuse_changes("CapacityLimiter.release()")
        del self._borrowers[borrower]
        self._hand_out()

    def statistics(self) -> CapacityLimiterStatistics:
        return CapacityLimiterStatistics(len(self._borrowers), self._total_tokens, tuple(self._borrowers), len(self._waiters))
