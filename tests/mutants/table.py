"""The mutants: each is one way to break the scheduler, as a replacement of text within one function.

The text must occur exactly once in the function. When the code there changes, change the mutant with it: its name says what it breaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_QUICK = ("operation", "timers", "sync", "order", "steps", "recorded_orders")
_SLOW = ("against_trio",)
_NAMES = {path.stem.removeprefix("test_") for path in (Path(__file__).parents[1] / "backend").glob("test_*.py")}

BACKEND = tuple(f"tests/backend/test_{name}.py" for name in (*_QUICK, *sorted(_NAMES - {*_QUICK, *_SLOW}), *_SLOW))
"""The quick ones first: the first test that notices is the last that runs."""

INSTANCE = ("tests/workflow/test_instance.py",)
CANCELS = ("tests/workflow/test_cancel_matrix.py", "tests/workflow/test_relations.py", "tests/workflow/test_nexus.py")


@dataclass(frozen=True)
class Mutant:
    """One mistake."""

    name: str
    file: str
    """Within the package."""
    function: str
    """Its qualified name in the file."""
    old: str
    new: str
    tests: tuple[str, ...] = BACKEND
    """Where the tests are that must notice."""


SCHEDULER, SCOPE, TASK, GROUP = "_backend/_scheduler.py", "_backend/_scope.py", "_backend/_task.py", "_backend/_taskgroup.py"
CLOCK, SYNC, OPERATION, CLOSING = "_backend/_clock.py", "_backend/_sync.py", "_backend/_operation.py", "_backend/_closing.py"
HOSTS, API, FORBIDDEN, RUN = "_backend/_hosts.py", "_backend/_backend.py", "_backend/_forbidden.py", "_workflow_instance.py"

ORDER = [
    Mutant("random order", SCHEDULER, "Scheduler.run", "ready.popleft() if",
           "(ready.pop() if now() * 1e7 % 3 < 1 else ready.popleft()) if"),
    Mutant("last in, first out", SCHEDULER, "Scheduler.run", "ready.popleft() if", "ready.pop() if"),
    Mutant("hash order", SYNC, "Event.__hash__", "self._number", "hash(str(id(self)))"),
    Mutant("Event.set wakes in reverse", SYNC, "Event.set", "in waiters:", "in reversed(waiters):"),
    Mutant("Event.set wakes only one", SYNC, "Event.set", "reschedule(task)", "reschedule(task); break"),
    Mutant("the last waiter goes first", SYNC, "_first", "next(iter(waiters))", "next(reversed(waiters))"),
    Mutant("a released lock is free for all", SYNC, "Lock.release", "self._scheduler.reschedule(self._owner)",
           "self._scheduler.reschedule(self._owner); self._owner = None"),
    Mutant("a lock that was handed over is not known as held", SYNC, "Lock.release", "self._take(_first(self._waiters))",
           "self._owner = _first(self._waiters)"),
    Mutant("a limiter hands out to the last", SYNC, "CapacityLimiter._hand_out", "next(iter(self._waiters))",
           "next(reversed(self._waiters))"),
    Mutant("a cancellation reaches the newest child first", SCOPE, "CancelScope.recalculate", "reversed(scope.children)", "scope.children"),
    Mutant("idle waiters wake in reverse", SCHEDULER, "Scheduler._wake_idle_waiters", "in self._idle_waiters:",
           "in [*self._idle_waiters][::-1]:"),
    Mutant("idle waiters do not wait", SCHEDULER, "Scheduler.run", "if not ready:", "if self._idle_waiters or not ready:"),
]  # fmt: skip

WAITS = [
    Mutant("checkpoints that never check", SCHEDULER, "Scheduler._resume", "if task.cancel_pending:", "if False:"),
    Mutant("checkpoints that do not yield", TASK, "checkpoint", "(yield CHECKPOINT)", "False and (yield CHECKPOINT)"),
    Mutant("checkpoint_if_cancelled never checks", TASK, "checkpoint_if_cancelled", "if current_task().cancel_pending:", "if False:"),
    Mutant("checkpoint_if_cancelled always yields", TASK, "checkpoint_if_cancelled", "if current_task().cancel_pending:", "if True:"),
    Mutant("shielded checkpoints check", TASK, "shielded_checkpoint", "yield YIELD", "yield CHECKPOINT"),
    Mutant("edge-triggered waits", SCHEDULER, "Scheduler._resume", "if task.abort is not None and task.cancel_pending:", "if False:"),
    Mutant("a wait is asked to end again and again", TASK, "Task.deliver_cancel", "self.abort = None", "pass"),
    Mutant("a wait that may not end ends", TASK, "Task.deliver_cancel", "if abort(self):", "if abort(self) or True:"),
    Mutant("sleeps that take no time", API, "DurableBackend.sleep", "delay > 0", "False"),
    Mutant("sleep(0) waits for a timer", API, "DurableBackend.sleep", "delay > 0", "delay >= 0"),
    Mutant("waiting for a set event runs nobody", SYNC, "Event.wait", "await checkpoint()", "pass"),
    Mutant("waiting for a set event cannot be cancelled", SYNC, "Event.wait", "await checkpoint()", "await shielded_checkpoint()"),
    Mutant("acquiring a free lock runs nobody", SYNC, "Lock.acquire", "await shielded_checkpoint()", "pass"),
    Mutant("fast_acquire runs the others", SYNC, "Lock.acquire", "if not self._fast_acquire:", "if True:"),
    Mutant("acquiring a free semaphore runs nobody", SYNC, "Semaphore.acquire", "await shielded_checkpoint()", "pass"),
    Mutant("acquiring a free limiter runs nobody", SYNC, "CapacityLimiter.acquire_on_behalf_of", "await shielded_checkpoint()", "pass"),
    Mutant("a cancelled task gets a free lock", SYNC, "Lock.acquire", "await checkpoint_if_cancelled()", "pass"),
    Mutant("a cancelled waiter keeps its place", SYNC, "_queue_up.abort", "waiters.pop(task, None)", "pass"),
    Mutant("a cancelled waiter keeps its place at a limiter", SYNC, "CapacityLimiter._leave_queue", "self._waiters.pop(task, None)",
           "pass"),
    Mutant("the lock of an ended task stays held", SCHEDULER, "Scheduler.end_task", "lock.break_waiters()", "pass"),
    Mutant("the broken lock is acquired", SYNC, "Lock.acquire", "if self._owner is not current_task():", "if False:"),
]  # fmt: skip

SCOPES = [
    Mutant("deadline changes ignored", SCOPE, "CancelScope.deadline", "self.scheduler.clock.watch(self)", "pass"),
    Mutant("shield changes ignored", SCOPE, "CancelScope.shield", "self._shield = value",
           "self._shield = self._shield if self.active else value"),
    Mutant("a shield taken away wakes nobody", SCOPE, "CancelScope.shield", "if self.active:", "if self.active and value:"),
    Mutant("a shield put up comes too late", SCOPE, "CancelScope.shield", "if self.active:", "if self.active and not value:"),
    Mutant("shields ignored", SCOPE, "CancelScope._sees_parent", "not self._shield", "True"),
    Mutant("only direct children cancelled", SCOPE, "CancelScope.recalculate", "reversed(scope.children)",
           "list(scope.children if scope is self else ())"),
    Mutant("a scope swallows its parent's cancellation", SCOPE, "CancelScope.leave", "not self._sees_parent()", "True"),
    Mutant("a scope lets its own cancellation out", SCOPE, "CancelScope._take_cancelled", "return None", "return error"),
    Mutant("cancelled_caught is not set", SCOPE, "CancelScope._take_cancelled", "self._caught = True\n            return None",
           "return None"),
    Mutant("cancelled_caught is not set for a group", SCOPE, "CancelScope._take_cancelled", "if matched is not None:",
           "if matched is None:"),
    Mutant("a scope cancelled before it is entered is open", SCOPE, "CancelScope.enter", "self._called or (parent.effective",
           "(parent.effective"),
    Mutant("a deadline past on entry waits", SCOPE, "CancelScope.enter", "scheduler.clock.now >= self._deadline", "False"),
    Mutant("cancel_called does not look at the clock", SCOPE, "CancelScope.cancel_called", "self.expire()", "pass"),
    Mutant("the effective deadline forgets the parents", SCOPE, "CancelScope.effective_deadline",
           "min(self._deadline, self.parent.effective_deadline())",
           "self._deadline"),
    Mutant("the effective deadline sees through shields", SCOPE, "CancelScope.effective_deadline", "or self._shield", ""),
    Mutant("a deadline just past is not seen by a change of the shield", SCOPE, "CancelScope.recalculate", "scope.cancel_called",
           "scope._called"),
    Mutant("the reason of a cancellation is lost", SCOPE, "CancelScope._cancel", "self._reason = reason", "pass"),
    Mutant("an exited scope can be entered again", SCOPE, "CancelScope.enter", "if self._entered:", "if self.active:"),
]  # fmt: skip

GROUPS = [
    Mutant("a group does not wait for its children", GROUP, "TaskGroup._check_closed", "self.children or ", ""),
    Mutant("a group forgets children that are starting", GROUP, "TaskGroup._check_closed", " or self.pending_starts", ""),
    Mutant("an error does not cancel the group", GROUP, "TaskGroup._add_error", "self.cancel_scope.cancel", "repr"),
    Mutant("a group keeps only the first error", GROUP, "TaskGroup._add_error", "self._errors.append(error)",
           "self._errors = self._errors or [error]"),
    Mutant("leaving a group is a cancellation point", GROUP, "TaskGroup.leave", "await shielded_checkpoint()",
           "await shielded_checkpoint(); host.cancel_pending and await park()"),
    Mutant("leaving a group runs nobody", GROUP, "TaskGroup.leave", "await shielded_checkpoint()", "pass"),
    Mutant("a waiting group can be cancelled away", GROUP, "TaskGroup.leave", "await park(None)", "await park()"),
    Mutant("a group of cancellations stays a group", GROUP, "TaskGroup.__aexit__", "error.split(Cancelled)[1] is None", "False"),
    Mutant("a single error of start() comes in a group", GROUP, "TaskGroup.start", "len(error.exceptions) == 1", "False"),
    Mutant("start() does not wait for started()", GROUP, "TaskGroup.start", "await waiting.leave(failure)", "None"),
    Mutant("start() leaves the child in the waiting scope", GROUP, "_TaskStatus.move", "task.activate(new)", "task.activate(old)"),
    Mutant("start() forgets the scopes that the child has open", GROUP, "_TaskStatus.move", "scope.attach(new)", "pass"),
    Mutant("started() moves the child of a cancelled start()", GROUP, "_TaskStatus.move", "if old.effective:", "if False:"),
    Mutant("started() twice", GROUP, "_TaskStatus.started", "if self.value is not _NOT_STARTED:", "if False:"),
    Mutant("whoever waits for a task's end is not told", GROUP, "TaskHandle.finish", "self._event.set()", "pass"),
    Mutant("a task's own scope is open from the start", GROUP, "TaskGroup.add", "scope.add_task(task)",
           "handle._cancel_scope.enter(task); task.own_scope = None"),
    Mutant("context variables shared by tasks", GROUP, "TaskGroup.create_task", "copy_context() if", "current_task().context if"),
    Mutant("a group that has ended takes new tasks", GROUP, "TaskGroup.check_active", "or self._closed ", ""),
]  # fmt: skip

TIME = [
    Mutant("timers rounded down", CLOCK, "whole_milliseconds", "math.ceil", "math.floor"),
    Mutant("timers not rounded", CLOCK, "whole_milliseconds", "math.ceil(round(seconds * 1000.0, 4)) / 1000.0", "seconds"),
    Mutant("noise counts as a millisecond", CLOCK, "whole_milliseconds", "round(seconds * 1000.0, 4)", "seconds * 1000.0"),
    Mutant("an infinite deadline gets a timer", CLOCK, "Clock.settle", "if deadline != math.inf:", "if True:"),
    Mutant("every deadline gets a timer at once", SCOPE, "CancelScope.enter", "scheduler.clock.watch(self)",
           "scheduler.clock.watch(self); scheduler.settle()"),
    Mutant("a lengthened deadline restarts its timer", CLOCK, "Clock.settle", "deadline >= scope.armed_for", "deadline == scope.armed_for"),
    Mutant("a shortened deadline keeps its timer", CLOCK, "Clock.settle", "deadline >= scope.armed_for", "True"),
    Mutant("a timer that fires for a later deadline cancels", CLOCK, "Clock.fire", "if armed.deadline <= self.now:", "if True:"),
    Mutant("a timer that fires early is not armed again", CLOCK, "Clock.fire", "self._changed[armed.id] = armed", "pass"),
    Mutant("timers of deadlines in the order of change", CLOCK, "Clock.settle", "sorted(changed)", "list(changed)"),
    Mutant("the clock goes back", CLOCK, "Clock.advance", "if seconds > self.now:", "if True:"),
    Mutant("current_time moves in a step", API, "DurableBackend.current_time", "_scheduler().clock.now",
           "_scheduler().clock.now + _scheduler()._sequence / 1e6"),
    Mutant("a fired sleep does not set the clock", CLOCK, "Clock.fire", "self.advance(armed.deadline)", "pass"),
    Mutant("a fired deadline does not set the clock", CLOCK, "Clock.fire", "self.advance(armed.armed_for)", "pass"),
    Mutant("the timer of a scope that was left runs on", SCOPE, "CancelScope.leave", "task.scheduler.clock.forget(self)", "pass"),
    Mutant("the timer of a cancelled scope runs on", SCOPE, "CancelScope._cancel", "self.scheduler.clock.forget(self)", "pass"),
    Mutant("the timer of a cancelled sleep runs on", CLOCK, "Sleep.abort", "self._clock.cancel(self.timer)", "pass"),
    Mutant("a sleep in a cancelled scope starts a timer", CLOCK, "Clock.sleep", " or task.cancel_pending", ""),
    Mutant("a deadline moved into the past does nothing yet", CLOCK, "Clock.watch", "self.overdue.append(scope)", "pass"),
    Mutant("a deadline in the past outlives its change", CLOCK, "Clock.expire_overdue", " and scope.deadline <= self.now", ""),
]  # fmt: skip

OPERATIONS = [
    Mutant("two cancel commands", OPERATION, "Operation.request_cancel", "self.cancel_requested or ", ""),
    Mutant("a cancel command after the answer", OPERATION, "Operation.request_cancel", "self.done or ", ""),
    Mutant("an operation resolves twice", OPERATION, "Operation.set_result", "if self.done:", "if False:"),
    Mutant("an operation fails twice", OPERATION, "Operation.set_error", "if self.done:", "if False:"),
    Mutant("waiting for the answer to a cancellation ends at once", OPERATION, "Operation._abort", 'self._mode != "wait"', "True"),
    Mutant("try waits for the answer to its cancellation", OPERATION, "Operation._abort", 'self._mode != "wait"',
           'self._mode == "abandon"'),
    Mutant("abandoned operations are cancelled", OPERATION, "Operation._abort", 'if self._mode != "abandon":', "if True:"),
    Mutant("cancel swallowed when a result arrives", OPERATION, "Operation.wait", "return self._value",
           "task.scope.effective = False; return self._value"),
    Mutant("a result dropped when a cancellation arrives", OPERATION, "Operation.wait", "return self._value",
           "await checkpoint(); return self._value"),
    Mutant("a cancelled answer hides the scope's cancellation", OPERATION, "Operation.wait", "task.cancel_pending:", "False:"),
    Mutant("a cancelled answer is taken for the scope's", OPERATION, "Operation.wait", "self.cancel_requested and task.cancel_pending",
           "True"),
    Mutant("an answer that is there runs nobody", OPERATION, "Operation.wait", "await shielded_checkpoint()", "pass"),
    Mutant("handlers started after run", RUN, "WorkflowInstance._apply", "timers = [job.seq for job in",
           "self.scheduler._ready = self.scheduler._ready and [*self.scheduler._ready][1:] + [self.scheduler._ready[0]]\n"
           "        timers = [job.seq for job in", INSTANCE),
    Mutant("deadlines fire before sleeps", RUN, "WorkflowInstance._apply", "if timer not in deadlines:", "if True:", INSTANCE),
    Mutant("a cancel request reaches the handlers", RUN, "WorkflowInstance._apply", "self._main.cancel(cancel.reason or None)",
           "[task.cancel() for task in self.scheduler.tasks if task.root_scope]", INSTANCE),
]  # fmt: skip

LOCALS, RELATIONS, NEXUS = "_workflow_local_activities.py", "_workflow_relations.py", "_workflow_nexus_operations.py"

CANCELLATIONS = [
    Mutant("a cancelled local activity is tried again", LOCALS, "LocalActivities.resolve", "if handle.operation.cancel_requested:",
           "if False:", CANCELS),
    Mutant("a rest outlives its cancellation", LOCALS, "LocalActivities.request_cancel", "self._cancel_timer(handle.timer)", "pass",
           CANCELS),
    Mutant("a child's end does not know what its start was asked", RELATIONS, "StartedChild._on_cancel",
           "self.started.cancel_requested = self.result.cancel_requested = True", "pass", CANCELS),
    Mutant("a signal to another workflow is left at once", RELATIONS, "Relations.signal", 'mode="wait"', 'mode="try"', CANCELS),
    Mutant("a cancel request for another workflow is left at once", RELATIONS, "Relations.cancel", 'mode="wait"', 'mode="try"', CANCELS),
]  # fmt: skip

STEPS = [
    Mutant("asyncio's loop visible in a step", HOSTS, "Step.__enter__", "_set_running_loop(None)", "pass"),
    Mutant("Trio's run visible in a step", HOSTS, "Step.__enter__", "self._trio.clear()", "pass"),
    Mutant("the host does not get its loop back", HOSTS, "Step.__exit__", "_set_running_loop(self._loop)", "pass"),
    Mutant("the host does not get its async-generator hooks back", HOSTS, "Step.__exit__",
           "sys.set_asyncgen_hooks(*self._asyncgen_hooks)", "pass"),
    Mutant("async generators are the host's", HOSTS, "Step.__enter__", "sys.set_asyncgen_hooks(", "dict("),
    Mutant("async generators close in reverse", CLOSING, "close_generators", "_unfinished(scheduler.generators)",
           "reversed([*_unfinished(scheduler.generators)])"),
    Mutant("async generators are not closed", SCHEDULER, "Scheduler.close", "stubborn += close_generators(self, janitor, exits)", "pass"),
    Mutant("steps nest", HOSTS, "Step.__enter__", "if LOCAL.scheduler is not None:", "if False:"),
    Mutant("eviction runs commands", CLOCK, "Clock._start", "if self._scheduler.closing:", "if False:"),
    Mutant("eviction cancels timers", CLOCK, "Clock.cancel", " and not self._scheduler.closing", ""),
    Mutant("eviction asks activities to cancel", OPERATION, "Operation.request_cancel", " or self._scheduler.closing", ""),
    Mutant("eviction closes the oldest task first", CLOSING, "close_tasks", "next(reversed(scheduler.tasks))",
           "next(iter(scheduler.tasks))"),
    Mutant("eviction breaks off clean-up that awaits", TASK, "park", "if value is CLOSE:", "if False:"),
    Mutant("a poisoned step goes on", SCHEDULER, "Scheduler.run", "if self.poison is not None:", "if False:"),
    Mutant("a swallowed refusal is forgotten", FORBIDDEN, "poisoned", "scheduler.poison = error", "pass"),
    Mutant("an endless step is not stopped", SCHEDULER, "Scheduler.run", "switches >= limit", "switches > 9 * limit"),
    Mutant("the budget is ignored", SCHEDULER, "Scheduler.run", "return False", "pass"),
    Mutant("a query may change the run", FORBIDDEN, "refuse_changes", "if scheduler is not None and scheduler.read_only:", "if False:"),
    Mutant("primitives of another run are not refused", SYNC, "_check_owner", "if LOCAL.scheduler is not primitive._scheduler:",
           "if False:"),
    Mutant("exits stay in the workflow", SCHEDULER, "Scheduler._resume", "if self.raise_exits:", "if False:"),
    Mutant("foreign traps are taken for checkpoints", SCHEDULER, "Scheduler._resume", "error=poisoned(foreign_trap(trap, task.name))", ""),
]  # fmt: skip

MUTANTS = ORDER + WAITS + SCOPES + GROUPS + TIME + OPERATIONS + CANCELLATIONS + STEPS
