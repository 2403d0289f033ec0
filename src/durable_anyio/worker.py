"""The worker: takes tasks of one task queue and runs the program's workflows and activities for them, inside the host's own event loop."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus

from ._activity_context import ActivityCancellationDetails
from ._activity_runner import ActivityRunner
from ._bridge.proto import message
from ._debug_mode import debug_mode_of_environment
from ._definitions import ActivityDefinition, WorkflowDefinition, activity_definition, workflow_definition
from ._forbidden_option import ForbiddenCalls, call_guard
from ._polling_options import PollingOptions
from ._watchdog import Watchdog
from ._worker_heartbeat import heartbeat_template
from ._workflow_host import WorkflowHost, describe_step
from .client import Client
from .exceptions import DurableError, RPCError

__all__ = ["Worker", "WorkerError"]

_Command = message("durable_anyio.bridge.v1.Command")
_log = logging.getLogger("durable_anyio.worker")

# What attempts are told whose worker ends without a grace.
_STOPPED = ActivityCancellationDetails(worker_shutdown=True)

# Worker ids name receivers inside one process.
_worker_ids = itertools.count(1)


class WorkerError(DurableError):
    """The worker has stopped for a reason that it cannot mend; the message says which."""


class Worker:
    """Runs workflows and activities of one task queue while its `async with` block is open, or as `await tg.start(worker.run)`.

    :param client: where tasks come from; it has to stay open until the worker has ended.
    :param task_queue: whose tasks it takes.
    :param workflows: classes decorated with `@workflow.defn`.
    :param activities: functions or bound methods decorated with `@activity.defn`.
    :param max_cached_workflows: runs kept in memory between their tasks; 0 replays each task from the whole history.
    :param max_concurrent_workflow_tasks: workflow tasks at a time.
    :param max_concurrent_activities: attempts at a time, of `async def` and plain `def` activities together.
    :param max_concurrent_local_activities: attempts of local activities and steps at a time, beside those.
    :param max_concurrent_workflow_task_polls: polls for workflow tasks at a time; None: as many as the target needs.
    :param nonsticky_to_sticky_poll_ratio: of those polls the part that polls the task queue itself; the others poll this worker's own
        queue, where tasks of the runs it holds come; None: half.
    :param max_concurrent_activity_task_polls: polls for activities at a time; None: as many as the target needs.
    :param no_remote_activities: no activities are taken from the task queue; those registered are for local calls.
    :param sticky_queue_schedule_to_start_timeout: how long a task of a run that this worker holds waits for it, before any worker may
        take it.
    :param max_heartbeat_throttle_interval: heartbeats of an attempt are sent on no less often than this, if it makes any.
    :param default_heartbeat_throttle_interval: how often they are, where the activity has no heartbeat timeout; with one, after 80 % of it.
    :param max_activities_per_second: activities that this worker starts a second, at most.
    :param max_task_queue_activities_per_second: activities that the service hands out a second for the whole task queue, at most; of
        several workers' wishes the last counts.
    :param disable_eager_activity_execution: activities always wait in the task queue. Else up to three that a workflow task schedules
        start with its answer, if this worker has slots for them and no rate is limited.
    :param build_id: which build of the program this is; the service shows it with the worker.
    :param worker_heartbeat_interval: how often the service hears how this worker does, from 1 s to 60 s, if its namespace takes that:
        `temporal worker list` and `describe` show it. None: never.
    :param graceful_shutdown_timeout: how long activities may go on after `shutdown` or the end of the block before they are cancelled.
    :param identity: how histories name this worker; the client's if not given.
    :param step_time_budget: how long workflow code may keep the host's event loop before the host's other tasks get a turn. All steps
        that are ready share it; a step that needs longer goes on afterwards, and is interrupted only where its code awaits.
    :param forbidden_calls: what is done about calls that a workflow must not make, its libraries' included: "off" looks for none, the
        default outside test environments; "suspend" fails the workflow task; "raise" ends the worker with the error besides, the default in
        test environments. docs/checks.md has the list. Looking makes workflow code twenty to thirty times slower.
    :param exempt_modules: modules, with their submodules, that may make such calls.
    :param blocked_step_warning: a workflow's step that keeps the thread for longer is reported in the log, once and with its stack; None:
        none is. Nothing is reported while a debugger looks at the step.
    :param debug_mode: for stepping through workflows: no step is reported, and workflows that this client starts from now on may take an
        hour for a task, so that a person at a breakpoint does not lose it. Default: whether the environment has DURABLE_ANYIO_DEBUG=1.
    :param on_fatal_error: called with the error that ends the worker, before it is raised.
    :raises ValueError, TypeError: for registrations or limits that make no sense.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        workflows: Sequence[type] = (),
        activities: Sequence[Callable[..., Any]] = (),
        max_cached_workflows: int = 1000,
        max_concurrent_workflow_tasks: int = 100,
        max_concurrent_activities: int = 100,
        max_concurrent_local_activities: int = 100,
        max_concurrent_workflow_task_polls: int | None = None,
        nonsticky_to_sticky_poll_ratio: float | None = None,
        max_concurrent_activity_task_polls: int | None = None,
        no_remote_activities: bool = False,
        sticky_queue_schedule_to_start_timeout: timedelta = timedelta(seconds=10),
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=60),
        default_heartbeat_throttle_interval: timedelta = timedelta(seconds=30),
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        disable_eager_activity_execution: bool = False,
        build_id: str | None = None,
        worker_heartbeat_interval: timedelta | None = timedelta(seconds=60),
        graceful_shutdown_timeout: timedelta = timedelta(0),
        identity: str | None = None,
        step_time_budget: timedelta = timedelta(milliseconds=10),
        forbidden_calls: ForbiddenCalls | None = None,
        exempt_modules: Sequence[str] = (),
        blocked_step_warning: timedelta | None = timedelta(seconds=2),
        debug_mode: bool | None = None,
        on_fatal_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        if not task_queue:
            raise ValueError("the task queue has no name")
        self._options = PollingOptions(
            max_cached_workflows=max_cached_workflows,
            max_concurrent_workflow_tasks=max_concurrent_workflow_tasks,
            max_concurrent_activities=max_concurrent_activities,
            max_concurrent_local_activities=max_concurrent_local_activities,
            max_concurrent_workflow_task_polls=max_concurrent_workflow_task_polls,
            nonsticky_to_sticky_poll_ratio=nonsticky_to_sticky_poll_ratio,
            max_concurrent_activity_task_polls=max_concurrent_activity_task_polls,
            sticky_queue_schedule_to_start_timeout=sticky_queue_schedule_to_start_timeout,
            max_heartbeat_throttle_interval=max_heartbeat_throttle_interval,
            default_heartbeat_throttle_interval=default_heartbeat_throttle_interval,
            max_activities_per_second=max_activities_per_second,
            max_task_queue_activities_per_second=max_task_queue_activities_per_second,
            disable_eager_activity_execution=disable_eager_activity_execution,
            build_id=build_id or "",
            worker_heartbeat_interval=worker_heartbeat_interval,
        )
        self._options.check()
        if graceful_shutdown_timeout < timedelta(0):
            raise ValueError(f"graceful_shutdown_timeout must not be negative, got {graceful_shutdown_timeout}")
        if step_time_budget < timedelta(0):
            raise ValueError(f"step_time_budget must not be negative, got {step_time_budget}")
        if blocked_step_warning is not None and blocked_step_warning <= timedelta(0):
            raise ValueError(f"blocked_step_warning must be positive, got {blocked_step_warning}\nhint: None switches it off")
        if debug_mode if debug_mode is not None else debug_mode_of_environment():
            client._debug_mode = True
            blocked_step_warning = None
        self._workflows = _registered_workflows(workflows)
        self._activities = _registered_activities(activities)
        if not self._workflows and not self._activities:
            raise ValueError("the worker has no workflows and no activities\nhint: give Worker(workflows=[…]) or Worker(activities=[…])")
        self._client = client
        self._core = client._core
        self.task_queue = task_queue
        self.identity = identity or client.identity
        self._id = next(_worker_ids)
        self._polls_activities = bool(self._activities) and not no_remote_activities
        self._grace = graceful_shutdown_timeout
        self._step_seconds = step_time_budget.total_seconds()
        self._on_fatal_error = on_fatal_error
        self._fatal: BaseException | None = None
        forbidden_calls = forbidden_calls or client._forbidden_calls
        self._stopping: anyio.Event | None = None
        self._ended: anyio.Event | None = None
        self._outer: TaskGroup | None = None
        self._group: TaskGroup | None = None
        self._host = WorkflowHost(
            self._workflows,
            converter=client.data_converter,
            namespace=client.namespace,
            task_queue=task_queue,
            send_completion=self._send_workflow_completion,
            guard=call_guard(forbidden_calls, [*client._exempt_modules, *exempt_modules]),
            on_forbidden=self._fail if forbidden_calls == "raise" else None,
            on_quit=self._fail,
            watchdog=_watchdog(blocked_step_warning, task_queue),
        )
        self._runner = ActivityRunner(
            self._activities,
            converter=client.data_converter,
            task_queue=task_queue,
            max_concurrent=max_concurrent_activities,
            max_concurrent_local=max_concurrent_local_activities,
            find_step=self._host.find_step,
            send_completion=self._send_activity_completion,
            send_heartbeat=self._send_heartbeat,
            client=client,
        )

    # -- running

    async def __aenter__(self) -> Self:
        outer = anyio.create_task_group()
        await outer.__aenter__()
        self._outer = outer
        try:
            await outer.start(self._run_beside_block)
        except BaseException as error:
            self._outer = None
            await _leave(outer, error)
            raise
        return self

    async def _run_beside_block(self, *, task_status: TaskStatus[None]) -> None:
        try:
            await self.run(task_status=task_status)
        except (KeyboardInterrupt, SystemExit):
            if self._outer is None:
                raise
            # An exit is raised by the block's own task, at its end: raised by this one, asyncio's loop would stop under everybody.
            self._outer.cancel_scope.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        outer = self._outer
        if outer is None:
            return None
        self._begin_shutdown()
        # An ordinary error of the block leaves it as it is; a cancellation belongs to the group, which knows whose it is.
        try:
            await _leave(outer, None if isinstance(error, Exception) else error)
        finally:
            self._outer = None
            if isinstance(self._fatal, KeyboardInterrupt | SystemExit):
                raise self._fatal
        return None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Runs until `shutdown` is called, or until it is cancelled, which stops activities at once.

        `await tg.start(worker.run)` returns when it takes tasks.

        :raises WorkerError: when it cannot go on.
        """
        if self._stopping is not None:
            raise RuntimeError("the worker runs already, or has run\nhint: make a new Worker")
        stopping, self._ended = anyio.Event(), anyio.Event()
        self._stopping = stopping
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._core.attach(self._id, self)
                self._client._workers.add(self)
                try:
                    await self._core.command(self._start_command())
                    task_status.started()
                    await stopping.wait()
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._stop()
        finally:
            self._ended.set()
        if self._fatal is not None:
            raise self._fatal

    async def shutdown(self) -> None:
        """Ends `run` in order: no new tasks are taken, and activities have `graceful_shutdown_timeout` to end. Returns when all is done.

        Cancelling this call does not take the request back. Does nothing if the worker does not run.
        """
        self._begin_shutdown()
        if self._ended is not None:
            await self._ended.wait()

    def _begin_shutdown(self) -> None:
        if self._stopping is not None:
            self._stopping.set()

    async def _stop(self) -> None:
        assert self._group is not None
        self._runner.shutdown.set()
        if self._group.cancel_scope.cancel_called or anyio.get_current_task().has_pending_cancellation():
            self._runner.cancel_all(_STOPPED)
        command = _Command()
        command.stop_worker.worker = self._id
        command.stop_worker.graceful_timeout_ms = max(0, round(self._grace.total_seconds() * 1000))
        try:
            await self._core.command(command)
        except RPCError:
            # The core is closed, or never started this worker: nobody is left who would ask the activities to stop.
            self._runner.cancel_all(_STOPPED)
        finally:
            self._core.detach(self._id)
            self._client._workers.discard(self)
            await self._host.close_in_turns(self._step_seconds)

    def _start_command(self) -> Any:
        command = _Command()
        start = command.start_worker
        start.worker = self._id
        start.task_queue = self.task_queue
        self._options.write_to(start)
        start.polls_workflows = bool(self._workflows)
        start.polls_activities = self._polls_activities
        start.identity = self.identity
        if start.worker_heartbeat_interval_ms:
            start.worker_heartbeat_template = heartbeat_template(self._client._worker_grouping_key)
        return command

    # -- what the bridge calls

    def on_activation(self, activation: bytes) -> None:
        """Takes an encoded WorkflowActivation."""
        step = self._host.begin(activation)

        def advance(seconds: float) -> bool:
            try:
                return step.advance(seconds)
            except BaseException as error:  # KeyboardInterrupt and SystemExit of workflow code, and bugs of ours
                self._fail(error)
                return True

        self._core.do_in_turns(advance, self._step_seconds)

    def on_eviction(self, run_id: str) -> None:
        """Takes the id of a run that is to be forgotten."""

        def forget(_seconds: float) -> bool:
            try:
                self._host.forget(run_id)
            except BaseException as error:  # of code that a workflow runs while it is closed
                self._fail(error)
            return True

        self._core.do_in_turns(forget, self._step_seconds)

    def on_activity(self, task: bytes) -> None:
        """Takes an encoded ActivityTask."""
        assert self._group is not None
        try:
            self._runner.handle(task, self._group)
        except Exception as error:
            self._fail(error)

    def on_event(self, level: int, message: str, fatal: bool) -> None:
        """Takes what Rust wants to be logged, or the reason why the worker stopped."""
        _log.log(level, "worker of task queue %s: %s", self.task_queue, message)
        if fatal:
            self._fail(WorkerError(message))

    def on_client_close(self) -> None:
        """The client closes under the worker, which would wait for tasks for ever."""
        self._fail(WorkerError("the client was closed while the worker ran\nhint: end the worker before its client"))

    def _fail(self, error: BaseException) -> None:
        if self._fatal is None:
            self._fatal = error
            if self._on_fatal_error is not None:
                self._on_fatal_error(error)
        self._begin_shutdown()

    def _send_workflow_completion(self, data: bytes) -> None:
        self._core.post_workflow_completion(self._id, data)

    def _send_activity_completion(self, data: bytes) -> None:
        command = _Command()
        command.activity_completion.worker = self._id
        command.activity_completion.completion = data
        self._core.post(command)

    def _send_heartbeat(self, data: bytes) -> None:
        command = _Command()
        command.activity_heartbeat.worker = self._id
        command.activity_heartbeat.heartbeat = data
        self._core.post(command)


async def _leave(group: TaskGroup, error: BaseException | None) -> None:
    """Leaves the group; the only error in it is raised by itself, because the caller opened a worker and no group."""
    try:
        if error is None:
            await group.__aexit__(None, None, None)
        else:
            await group.__aexit__(type(error), error, error.__traceback__)
    except BaseExceptionGroup as raised:
        only: BaseException = raised
        while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
            only = only.exceptions[0]
        raise only from None


def _watchdog(limit: timedelta | None, task_queue: str) -> Watchdog | None:
    if limit is None:
        return None
    return Watchdog(limit.total_seconds(), describe_step, name=f"durable-anyio watchdog of {task_queue}")


def _registered_workflows(classes: Sequence[type]) -> Mapping[str, WorkflowDefinition]:
    found: dict[str, WorkflowDefinition] = {}
    for cls in classes:
        name, definition = workflow_definition(cls)
        if definition is None:
            raise TypeError(f"Worker(workflows=…) takes classes, not the name {name!r}")
        if name in found:
            raise ValueError(f"two workflows are named {name!r}: {found[name].cls.__qualname__} and {definition.cls.__qualname__}")
        found[name] = definition
    return found


def _registered_activities(functions: Sequence[Callable[..., Any]]) -> Mapping[str, tuple[ActivityDefinition, Callable[..., Any]]]:
    found: dict[str, tuple[ActivityDefinition, Callable[..., Any]]] = {}
    for function in functions:
        definition = activity_definition(function)
        if definition is None:
            what = getattr(function, "__qualname__", repr(function))
            raise TypeError(f"{what} is no activity\nhint: decorate it with @activity.defn")
        if getattr(function, "needs_instance", False):
            hint = f"register it as `instance.{definition.fn.__name__}`"
            raise TypeError(f"{definition.handler.label} is a method without its instance\nhint: {hint}")
        if definition.name in found:
            other = found[definition.name][0].handler.label
            raise ValueError(f"two activities are named {definition.name!r}: {other} and {definition.handler.label}")
        found[definition.name] = (definition, function.fn)  # type: ignore[attr-defined]
    return found
