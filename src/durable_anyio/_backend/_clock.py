"""Workflow time: sleeps and deadlines over durable timers.

A sleep starts its timer when it begins to wait, so that its command stands where the program stood. Deadlines get theirs at the end of the
step, in the order in which the scopes were entered: a timeout that was never waited for costs nothing. Timers count whole milliseconds,
rounded up; what fires sets the clock to the exact deadline, because code compares `current_time()` with it.

Shortening a deadline restarts its timer. Lengthening keeps it: when it fires too early, the rest is armed again. Most deadlines that move
are pushed back again and again, and never fire.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from ._forbidden import refuse_changes
from ._scope import CancelScope
from ._task import Task, current_task, park

if TYPE_CHECKING:
    from ._scheduler import Scheduler


class TimerHost(Protocol):
    """Where durable timers come from."""

    def start_timer(self, seconds: float, summary: Any | None = None) -> int:
        """Start a timer and return its number; `summary` is for people who look at it."""
        ...

    def cancel_timer(self, timer: int) -> None:
        """Cancel a timer that has not fired."""


class Sleep:
    """One waiting sleep."""

    __slots__ = ("_clock", "deadline", "task", "timer")

    def __init__(self, clock: Clock, task: Task, deadline: float) -> None:
        self._clock = clock
        self.task = task
        self.deadline = deadline
        self.timer = 0

    def abort(self, task: Task) -> bool:
        """Give the timer up."""
        self._clock.cancel(self.timer)
        return True


def whole_milliseconds(seconds: float) -> float:
    """Round a duration up to a millisecond, without counting the noise of a floating-point difference as one."""
    return math.ceil(round(seconds * 1000.0, 4)) / 1000.0


class Clock:
    """The timers of one run."""

    __slots__ = ("_armed", "_changed", "_scheduler", "_timers", "now", "overdue")

    def __init__(self, scheduler: Scheduler, timers: TimerHost) -> None:
        self.now = 0.0
        self._scheduler = scheduler
        self._timers = timers
        self._armed: dict[int, Sleep | CancelScope] = {}
        self._changed: dict[int, CancelScope] = {}
        self.overdue: list[CancelScope] = []
        """Scopes whose deadline was moved into the past: `expire_overdue` has to look at them."""

    def advance(self, seconds: float) -> None:
        """Move the clock forward; it never goes back."""
        if seconds > self.now:
            self.now = seconds

    async def sleep(self, seconds: float, summary: Any | None = None) -> None:
        """Wait for `seconds` > 0; infinity waits for the cancellation. The host gets `summary` with the timer."""
        task = current_task()
        if seconds == math.inf or task.cancel_pending:
            await park()
            return
        refuse_changes("anyio.sleep()")
        sleep = Sleep(self, task, self.now + seconds)
        sleep.timer = self._start(seconds, sleep, summary)
        await park(sleep.abort)

    def release(self) -> None:
        """Forget the run and its timers."""
        self._armed.clear()
        self._changed.clear()
        self.overdue.clear()
        del self._scheduler, self._timers

    def watch(self, scope: CancelScope) -> None:
        """Note that the deadline of an open scope is new or changed."""
        if scope.deadline <= self.now:
            self.overdue.append(scope)
        self._changed[scope.id] = scope

    def forget(self, scope: CancelScope) -> None:
        """Note that a scope needs no timer any more."""
        self._changed.pop(scope.id, None)
        if scope.timer is not None:
            self.cancel(scope.timer)
            scope.timer = None

    def expire_overdue(self) -> None:
        """Cancel the scopes whose deadline was moved into the past, unless it was moved again since."""
        for scope in self.overdue:  # may grow as it goes
            if scope.active and scope.deadline <= self.now:
                scope.expire()
        self.overdue.clear()

    def settle(self) -> None:
        """Start, restart and cancel the timers of the scopes whose deadlines changed since the last time."""
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        for number in sorted(changed):
            scope = changed[number]
            if not scope.active or scope.cancel_called:
                continue
            deadline = scope.deadline
            if scope.timer is not None:
                if deadline != math.inf and deadline >= scope.armed_for:
                    continue
                self.cancel(scope.timer)
                scope.timer = None
            if deadline != math.inf:
                scope.timer = self._start(deadline - self.now, scope, scope.timer_summary)
                scope.armed_for = deadline

    def is_deadline(self, timer: int) -> bool:
        """Tell the timer of a scope's deadline from that of a sleep."""
        return isinstance(self._armed.get(timer), CancelScope)

    def tasks_before(self, timer: int) -> list[Task]:
        """The tasks inside the scope whose deadline this timer is; none for another timer."""
        armed = self._armed.get(timer)
        scopes = [armed] if isinstance(armed, CancelScope) else []
        tasks: list[Task] = []
        for scope in scopes:  # grows as it goes
            tasks.extend(scope.tasks)
            scopes.extend(scope.children)
        return tasks

    def fire(self, timer: int) -> None:
        """Let a timer have its effect. A timer that nobody waits for is ignored: its cancellation crossed its firing."""
        armed = self._armed.pop(timer, None)
        if armed is None:
            return
        if isinstance(armed, Sleep):
            self.advance(armed.deadline)
            self._scheduler.reschedule(armed.task)
            return
        armed.timer = None
        self.advance(armed.armed_for)
        if armed.deadline <= self.now:
            armed.expire()
        else:
            self._changed[armed.id] = armed

    def _start(self, seconds: float, armed: Sleep | CancelScope, summary: Any | None) -> int:
        if self._scheduler.closing:
            return 0
        timer = self._timers.start_timer(whole_milliseconds(seconds), summary)
        self._armed[timer] = armed
        return timer

    def cancel(self, timer: int) -> None:
        """Cancel a timer, unless it has fired."""
        if self._armed.pop(timer, None) is not None and not self._scheduler.closing:
            self._timers.cancel_timer(timer)
