"""The scheduler of one workflow run.

Contract for whoever drives it: make one a run; `spawn` root tasks; then for every activation `advance` the clock, resolve operations and
`fire_timer`s (plain sleeps before deadlines: `is_deadline`), and `run` until it answers True, then `settle` and read `poison`. Nothing else
may reach the run while `run` answered False. `close` ends everything. All of it on one thread at a time, never from inside a step.

Tasks run first-in first-out. Nothing depends on `id()`, hashes or wall time: what needs an order has a sequence number.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from ._clock import Clock, TimerHost
from ._closing import Generators, close_generators, close_tasks, quiet_resource_warnings
from ._forbidden import foreign_trap, poisoned
from ._guard import CallGuard, RunGuard
from ._hosts import Step
from ._scope import CancelScope
from ._stubborn import UNCLOSABLE, Stubborn
from ._task import CHECKPOINT, LOCAL, PARK, YIELD, Cancelled, Task, current_task, park

if TYPE_CHECKING:
    from ._operation import Operation

T = TypeVar("T")

MAX_SWITCHES = 1_000_000
"""Switches allowed in one step. A loop over checkpoints with nothing to wait for reaches it within seconds; honest fan-outs do not."""


class SwitchLimitError(RuntimeError):
    """A step did not come to rest: its tasks wake each other for ever."""


def current_scheduler() -> Scheduler | None:
    """Return the scheduler whose step runs on this thread; None outside workflows."""
    return LOCAL.scheduler


class Scheduler:
    """Runs the tasks of one workflow run, one step at a time."""

    __slots__ = (
        "__weakref__", "_failed_operations", "_idle_waiters", "_max_switches", "_policy", "_ready", "_sequence", "_switches", "clock",
        "closing", "context", "current_task", "events_made", "extra", "generators", "guard", "poison", "raise_exits", "read_only", "tasks",
    )  # fmt: skip

    def __init__(self, timers: TimerHost, *, policy: Callable[[list[Task]], int] | None = None, max_switches: int = MAX_SWITCHES) -> None:
        self.extra: Any = None
        """For the owner: what the run's code finds through `current_scheduler()`."""
        self.poison: BaseException | None = None
        self.guard: CallGuard | RunGuard | None = None
        """Watches the calls of each step; None, as in production, costs nothing."""
        self.closing = False
        self.read_only = False
        self.raise_exits = True
        """Whether KeyboardInterrupt and SystemExit leave `run` at once. Off only under the test runner."""
        self.current_task: Task | None = None
        self.tasks: dict[Task, None] = {}
        self.generators = Generators()
        self.context = Context()
        """What root tasks start with: nothing of the host's, and what calls like the workflow's constructor have set."""
        self.clock = Clock(self, timers)
        self._failed_operations: weakref.WeakSet[Operation[Any]] | None = None
        self._policy = policy
        self._max_switches = max_switches
        self._switches = 0
        self._sequence = 0
        self.events_made = 0
        # A deque during a step, and while one is interrupted; a list between steps, because an empty deque takes 700 bytes.
        self._ready: deque[Task] | list[Task] = []
        self._idle_waiters: list[Task] = []

    # -- time

    @property
    def current_time(self) -> float:
        """Seconds since the run's start."""
        return self.clock.now

    def advance(self, seconds: float) -> None:
        """Set the clock to `seconds` since the run's start, unless it is later already."""
        self.clock.advance(seconds)

    def fire_timer(self, timer: int) -> None:
        """Wake the sleep, or cancel the scope, that this timer was started for."""
        self.clock.fire(timer)

    def is_deadline(self, timer: int) -> bool:
        """Whether a timer belongs to a scope's deadline; those fire after the other resolutions of an activation."""
        return self.clock.is_deadline(timer)

    def settle(self) -> None:
        """End a step: bring the deadline timers in line with the open scopes."""
        self.clock.settle()

    # -- tasks

    def next_sequence(self) -> int:
        """Return the next number; whatever needs an identity or an order in this run has one."""
        self._sequence += 1
        return self._sequence

    def spawn(
        self, func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...] = (), *, name: str, context: Context | None = None
    ) -> Task:
        """Add a root task, in a cancel scope of its own. `func` is called when the task first runs."""
        task = self.add_task(_root(func, args), name, self.context.copy() if context is None else context)
        task.own_scope = _in_run(self, CancelScope)
        return task

    def add_task(self, coro: Coroutine[Any, Any, Any], name: str, context: Context) -> Task:
        """Make `coro` a task and put it at the end of the queue."""
        task = Task(self, coro, name, context)
        self.tasks[task] = None
        task.scheduled = True
        self._ready.append(task)
        return task

    def reschedule(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        """End a task's wait: it gets `value`, or `error` raised, when its turn comes."""
        if task.done or task.scheduled:
            return
        task.abort = None
        task.value = value
        task.error = error
        task.scheduled = True
        self._ready.append(task)

    async def wait_idle(self) -> None:
        """Wait until every other task waits for something."""
        self._idle_waiters.append(current_task())
        await park(self._no_longer_idle)

    def _no_longer_idle(self, task: Task) -> bool:
        self._idle_waiters.remove(task)
        return True

    # -- steps

    def run(self, budget_seconds: float | None = None) -> bool:
        """Run until no task is ready (True), or until the budget is spent (False; call again).

        Stops early, with True, when the step was poisoned.

        :raises KeyboardInterrupt, SystemExit: raised by workflow code; they are the host's business
        """
        now = time.perf_counter
        stop_at = None if budget_seconds is None else now() + budget_seconds
        # Locals: this loop is most of what a switch costs beside the task's own code.
        ready = self._ready = self._ready if isinstance(self._ready, deque) else deque(self._ready)
        overdue, idle, resume = self.clock.overdue, self._idle_waiters, self._resume
        switches, policy, limit = self._switches, self._policy, self._max_switches
        with Step(self):
            try:
                while ready or overdue or idle:
                    if overdue:
                        self.clock.expire_overdue()
                    if not ready:
                        self._wake_idle_waiters()
                        continue
                    if switches >= limit:
                        poisoned(SwitchLimitError(f"the step did not come to rest within {limit} task switches: an endless loop?"))
                    if self.poison is not None:
                        break
                    switches += 1
                    resume(ready.popleft() if policy is None else self._take())
                    if stop_at is not None and ready and now() >= stop_at:
                        self._switches = switches
                        return False
            finally:
                self.current_task = None
        self._switches = 0
        self._ready = list(ready)  # empty, unless the step was poisoned
        return True

    def call(self, func: Callable[..., T], *args: Any, read_only: bool = False) -> T:
        """Call a synchronous function inside a step and return what it returns. With `read_only`, changes are refused."""
        with Step(self):
            if not read_only:
                return self.context.run(func, *args)
            self.read_only = True
            # What it builds is gone afterwards, and a replay does not call it: the numbers it used are given out again.
            numbers = self._sequence, self.events_made
            try:
                return self.context.copy().run(func, *args)
            finally:
                self._sequence, self.events_made = numbers
                self.read_only = False

    def close(self) -> list[Stubborn]:
        """End every coroutine and async generator of the run; return those that did not end by themselves, for the log.

        :raises KeyboardInterrupt, SystemExit: raised by clean-up code; after everything else was closed
        """
        if self.closing:
            return []
        self.closing = True
        if not self.tasks and not self.generators and not self._failed_operations:
            self._ready.clear()
            return []
        exits: list[BaseException] = []
        with Step(self), quiet_resource_warnings():
            stubborn = close_tasks(self, exits)
            janitor = Task(self, _nothing(), "closing async generators", Context())
            janitor.coro.close()
            scope = CancelScope()
            janitor.scope = scope
            stubborn += close_generators(self, janitor, exits)
            stubborn += close_tasks(self, exits)
        self._ready.clear()
        for operation in self._failed_operations or ():
            operation.release()
        UNCLOSABLE.extend(stubborn)
        if exits:
            raise exits[0]
        return stubborn

    def note_failed_operation(self, operation: Operation[Any]) -> None:
        """Remember an operation whose error has to be dropped when the run is closed."""
        if self._failed_operations is None:
            self._failed_operations = weakref.WeakSet()
        self._failed_operations.add(operation)

    def release(self) -> None:
        """Let go of everything that would keep a closed run alive in a circle. The run can do nothing any more, not even be read."""
        self.extra = None
        self.poison = None
        self.tasks.clear()
        self._idle_waiters.clear()
        self.clock.release()

    # -- inside a step

    def _wake_idle_waiters(self) -> None:
        for task in self._idle_waiters:
            self.reschedule(task)
        self._idle_waiters.clear()

    def _take(self) -> Task:
        assert self._policy is not None
        index = self._policy(list(self._ready))
        task = self._ready[index]
        del self._ready[index]
        return task

    def _resume(self, task: Task) -> None:
        value, error = task.value, task.error
        task.scheduled = False
        self.current_task = task
        if value is CHECKPOINT:
            task.value = value = None
            if task.cancel_pending:
                # A second switch, as in Trio: the two schedules can then be compared switch by switch.
                self.reschedule(task, error=task.cancelled_error())
                return
        if not task.started:
            task.started = True
            if task.own_scope is not None:
                task.own_scope.enter(task)
        try:
            if error is None:
                trap = task.context.run(task.coro.send, value)
            else:
                task.error = None
                trap = task.context.run(task.coro.throw, error)
        except StopIteration as stop:
            self.end_task(task, stop.value, None)
        except (KeyboardInterrupt, SystemExit) as exit_error:
            self.end_task(task, None, exit_error)
            if self.raise_exits:
                raise
        except BaseException as failure:
            # Without this frame, which holds the task, which holds the failure.
            if failure.__traceback__ is not None:
                failure.__traceback__ = failure.__traceback__.tb_next
            self.end_task(task, None, failure)
            if self.raise_exits and isinstance(failure, BaseExceptionGroup):
                _raise_exit_in(failure)
        else:
            if trap is PARK:
                if task.abort is not None and task.cancel_pending:
                    task.deliver_cancel()
            elif trap is CHECKPOINT or trap is YIELD:
                task.scheduled = True
                task.value = CHECKPOINT if trap is CHECKPOINT else None
                self._ready.append(task)
            else:
                task.abort = None
                self.reschedule(task, error=poisoned(foreign_trap(trap, task.name)))
        finally:
            error = None

    def end_task(self, task: Task, result: Any, error: BaseException | None) -> None:
        """Take a task that ended out of the run and tell its handle and its group."""
        if task.handle is not None:
            task.handle.finish(result, error)
            task.handle = None
        own = task.own_scope
        if own is not None and own.active:
            raised, error = error, own.leave(task, error)
            if task.group is None and error is None and raised is not None:
                # The cancellation of a root task ends here: nobody is outside to see it. It is the task's outcome.
                error = Cancelled(own.effective_reason())
        if task.child_groups:
            for group in task.child_groups:
                group.abandon()
            if error is None:
                error = RuntimeError(f"task {task.name!r} ended inside an open task group: was it entered in a generator?")
        if task.scope is not None and task.scope.abandoned and error is None:
            error = RuntimeError(f"the cancel scope around task {task.name!r} was closed before the task ended")
        task.activate(None)
        task.abort = None
        # A child's outcome is its group's: kept here too it would keep its traceback, and the frames in it, alive.
        if task.group is None:
            task.finish(result, error)
        else:
            task.done = True
        self.tasks.pop(task, None)
        if task.held_locks:
            for lock in list(task.held_locks):
                lock.break_waiters()
            task.held_locks.clear()
        if task.group is not None:
            task.group.child_ended(task, error)
        if task.on_done is not None:
            task.on_done(task)


async def _root(func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> Any:
    """The body of a root task: `func` is called when the task first runs."""
    return await func(*args)


def _raise_exit_in(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise the first KeyboardInterrupt or SystemExit in a group, if there is one: the host knows them by their own type only."""
    exits: BaseException | None = group.subgroup((KeyboardInterrupt, SystemExit))
    while isinstance(exits, BaseExceptionGroup):
        exits = exits.exceptions[0]
    if exits is not None:
        raise exits


async def _nothing() -> None:
    """Never run: a task needs a coroutine."""


def _in_run(scheduler: Scheduler, build: Callable[[], T]) -> T:
    """Build something that looks up the running scheduler, while none may be running."""
    outer = LOCAL.scheduler
    LOCAL.scheduler = scheduler
    try:
        return build()
    finally:
        LOCAL.scheduler = outer
