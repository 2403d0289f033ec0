"""One run in memory: applies activations to the scheduler and answers with completions.

Host-free and synchronous: the worker, the replayer and tests drive it alike. The contract for the driver: make one with the first
activation's InitializeWorkflow job, then for each activation call `activate`; or, to let the host breathe, `begin`, then `advance(budget)`
until it answers True, then `finish`. One thread, never two activations at a time. After an activation that evicts, drop the instance.
"""

from __future__ import annotations

import functools
import logging
import random as random_module
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import anyio

from . import _commands, _workflow_job_sets
from ._backend import (
    CallGuard,
    ForbiddenCallError,
    Operation,
    Scheduler,
    Stubborn,
    Task,
    checkpoint_if_cancelled,
    quiet_resource_warnings,
    shielded_checkpoint,
)
from ._bridge.proto import message
from ._definitions import (
    QUERY,
    SIGNAL,
    UPDATE,
    ActivityOptions,
    HandlerDefinition,
    WorkflowDefinition,
    check_arguments,
    workflow_definition,
)
from ._failure import failure_to_tell
from ._handlers import make_handler
from ._workflow_activities import Activities, StartedActivity
from ._workflow_attributes import Attributes, Patches
from ._workflow_held import holds
from ._workflow_info import LastRun, info_from_activation
from ._workflow_local_activities import LocalActivities, StartedLocalActivity
from ._workflow_messages import Messages
from ._workflow_nexus import NexusCall
from ._workflow_nexus_operations import NEXUS_JOBS, NexusOperations, StartedNexusOperation
from ._workflow_origins import Origins, difference
from ._workflow_outcome import SuspendError, command_for_error, command_for_result, fails_by_definition
from ._workflow_queries import answer_query
from ._workflow_relations import RELATION_JOBS, External, Relations, StartedChild
from ._workflow_runtime import LocalCall, WorkflowRuntime
from .converter import PayloadConverter
from .exceptions import DataConversionError, NondeterminismError

__all__ = ["WorkflowInstance", "failed_completion"]

_Completion = message("coresdk.workflow_completion.WorkflowActivationCompletion")
_log = logging.getLogger("durable_anyio.workflow")

# temporal.api.enums.v1.WorkflowTaskFailedCause
_CAUSE_UNHANDLED_FAILURE = 14
_CAUSE_NONDETERMINISM = 24
# coresdk.workflow_activation.RemoveFromCache.EvictionReason
_EVICTED_FOR_NONDETERMINISM = 3


def failed_completion(run_id: str, error: BaseException, converter: PayloadConverter) -> Any:
    """The completion that fails the workflow task with `error` as the reason."""
    completion = _Completion(run_id=run_id)
    completion.failed.failure.CopyFrom(failure_to_tell(error, converter))
    nondeterminism = isinstance(error, NondeterminismError)
    completion.failed.force_cause = _CAUSE_NONDETERMINISM if nondeterminism else _CAUSE_UNHANDLED_FAILURE
    return completion


def _grouped(pairs: Sequence[_workflow_job_sets.JobPair]) -> dict[str, list[Any]]:
    """Jobs by their kind; those that keep the order in which they came, together with their kind."""
    jobs: dict[str, list[Any]] = {}
    for variant, job in pairs:
        together = _TOGETHER.get(variant)
        jobs.setdefault(together or variant, []).append(job if together is None else (variant, job))
    return jobs


class WorkflowInstance(WorkflowRuntime):
    """One run of a workflow. Slots, because idle runs are kept by the thousand; what few runs need is made when it is asked for."""

    __slots__ = (
        "__weakref__", "_activities", "_attributes", "_cancel_reason", "_cancel_requested", "_commands", "_conditions",
        "_ended", "_ended_by", "_evicted", "_given", "_last_condition", "_last_run", "_last_timer", "_later", "_locals",
        "_main", "_nexus_operations", "_origin_ns", "_patches", "_queries", "_random", "_relations", "_run_id", "_seed",
        "_suspend", "_was_batch", "closed", "continue_as_new_suggested", "converter", "current_details", "definition",
        "failure", "history_length", "history_size_bytes", "info", "is_replaying", "messages", "object", "origins",
        "scheduler",
    )  # fmt: skip

    def __init__(
        self,
        definition: WorkflowDefinition,
        first_activation: Any,
        *,
        converter: PayloadConverter,
        namespace: str = "default",
        task_queue: str = "",
        guard: CallGuard | None = None,
    ) -> None:
        start = next(job.initialize_workflow for job in first_activation.jobs if job.HasField("initialize_workflow"))
        self.definition = definition
        self.converter = converter
        self.info = info_from_activation(first_activation, start, namespace=namespace, task_queue=task_queue)
        self.is_replaying = first_activation.is_replaying
        self.closed = False
        self.history_length = 0
        self.history_size_bytes = 0
        self.continue_as_new_suggested = False
        self.object: Any = None
        self.current_details = ""
        self._last_run = LastRun.before(start)
        self.scheduler = Scheduler(self)
        self.scheduler.extra = self
        self.scheduler.guard = None if guard is None else guard.for_run_of(definition.cls)
        self._seed: int = start.randomness_seed
        self._random: random_module.Random | None = None  # its state takes 2.5 KiB
        self._attributes: Attributes | None = None
        self._patches: Patches | None = None
        self._origin_ns = (start.start_time if start.HasField("start_time") else first_activation.timestamp).ToNanoseconds()
        self._activities = Activities(self.scheduler, converter, self._emit, task_queue)
        self._relations: Relations | None = None
        self._locals: LocalActivities | None = None
        self._nexus_operations: NexusOperations | None = None
        self.origins = Origins(self.scheduler)
        self.failure: BaseException | None = None
        """Why the last completion failed its task."""
        self._given = 0  # commands in earlier completions
        self._last_timer = 0
        self._commands: list[Any] = []
        self._queries: list[Any] = []
        self._conditions: dict[int, tuple[Callable[[], bool], Operation[None]]] = {}
        self._last_condition = 0
        self._main: Task | None = None
        self.messages = Messages(self, self._emit)
        self._suspend: BaseException | None = None
        self._later: list[_workflow_job_sets.JobPair] | None = None
        self._was_batch = False
        self._ended_by: BaseException | None = None
        self._cancel_requested = False
        self._cancel_reason: str | None = None
        self._ended = False
        self._evicted = False
        self._run_id = first_activation.run_id

    # -- for the driver

    def activate(self, activation: Any) -> Any:
        """Applies an activation and answers with its completion."""
        self.begin(activation)
        while not self.advance():
            pass
        return self.finish()

    def begin(self, activation: Any) -> None:
        """Takes the activation's jobs, in phases; runs no user code but the workflow's `__init__`."""
        self._commands.clear()
        self._queries = []
        self._suspend = self.failure = None
        self.is_replaying = activation.is_replaying
        self.history_length = activation.history_length
        self.history_size_bytes = activation.history_size_bytes
        self.continue_as_new_suggested = activation.continue_as_new_suggested
        pairs: list[_workflow_job_sets.JobPair] = []
        for job in activation.jobs:
            variant = job.WhichOneof("variant")
            pairs.append((variant, getattr(job, variant)) if variant else (_UNKNOWN, job))
        self._later = None
        if self.is_replaying and _workflow_job_sets.in_sets(activation):
            pairs, self._later = _workflow_job_sets.split(pairs)
        self._was_batch = not self.is_replaying and _workflow_job_sets.matters(pairs)
        jobs = _grouped(pairs)
        if "remove_from_cache" in jobs:
            self._evicted = True
            eviction = jobs["remove_from_cache"][0]
            if eviction.reason == _EVICTED_FOR_NONDETERMINISM:
                label = f"workflow {self.info.workflow_id!r} ({self.info.workflow_type})"
                try:
                    self.failure = difference(eviction.message, self.origins, self.scheduler, workflow=label)
                except Exception:  # source files that cannot be read and the like: what the core said is true all the same
                    _log.exception("where %s differs from its history cannot be told; please report it", label)
                    self.failure = NondeterminismError(f"{label}: {eviction.message}")
            return
        if not self.is_replaying:
            self.origins.forget()
        self.scheduler.advance((activation.timestamp.ToNanoseconds() - self._origin_ns) / 1e9)
        self._queries = jobs.pop("query_workflow", [])
        if not self._ended:
            try:
                self._apply(jobs)
            except (DataConversionError, LookupError, TypeError) as error:
                self._suspend = self._suspend or error

    def advance(self, budget_seconds: float | None = None) -> bool:
        """Runs tasks; False when the budget is spent and more wait."""
        if self._evicted or self._ended:
            return True
        stop_at = None if budget_seconds is None else time.perf_counter() + budget_seconds
        while self._suspend is None and self.scheduler.poison is None:
            if not self.scheduler.run(None if stop_at is None else stop_at - time.perf_counter()):
                return False
            if not self._check_conditions() and not self._apply_later():
                break
        return True

    def finish(self) -> Any:
        """Answers with the completion of the activation that was begun."""
        if self._evicted:
            self.close()
            completion = _Completion(run_id=self._run_id)
            if self.failure is not None and fails_by_definition(self.definition, self.failure):
                command = command_for_error(self.definition, self.failure, self.converter, self.info, cancel_requested=False)
                completion.successful.commands.append(command)
                return completion
            if self.failure is not None:
                return failed_completion(self._run_id, self.failure, self.converter)
            completion.successful.SetInParent()
            return completion
        reason = self._suspend or self.scheduler.poison
        if reason is not None and not self._ended and fails_by_definition(self.definition, reason):
            self._ended_by, reason = reason, None
        if reason is None and not self._ended:
            try:
                self._end_or_settle()
            except SuspendError as error:
                reason = error.reason
        if reason is not None:
            self.failure = reason
            return failed_completion(self._run_id, reason, self.converter)
        self._given += len(self._commands)
        completion = _Completion(run_id=self._run_id)
        for query in self._queries:
            self._commands.append(answer_query(self, query))
        completion.successful.commands.extend(self._commands)
        if not self._commands:
            completion.successful.SetInParent()
        if self._was_batch:
            completion.successful.used_internal_flags.append(_workflow_job_sets.SINGLE_BATCH)
        # Messages are large, and a query's keeps the whole activation alive.
        self._commands.clear()
        self._queries = []
        return completion

    def close(self) -> list[Stubborn]:
        """Closes every coroutine of the run; those that did not close by themselves, which are logged."""
        if self.closed:
            return []
        self.closed = True
        stubborn = self.scheduler.close()
        for task in stubborn:
            _log.error("workflow %s (%s): %s", self.info.workflow_id, self.info.workflow_type, task)
        return stubborn

    def release(self) -> None:
        """Closes the run and breaks the circles in it, so that it leaves memory now and not when the collector comes by."""
        self.close()
        with quiet_resource_warnings():
            self._forget_tasks()
            self.object = self._suspend = None
            self._conditions.clear()
            self._activities.release()
            if self._relations is not None:
                self._relations.release()
                self._relations = None
            if self._locals is not None:
                self._locals.release()
                self._locals = None
            if self._nexus_operations is not None:
                self._nexus_operations.release()
                self._nexus_operations = None
            self._attributes = self._patches = None
            self.messages.release()
            self.scheduler.release()

    # -- an activation's phases

    def _apply(self, jobs: Mapping[str, list[Any]]) -> None:
        for notice in jobs.get("notify_has_patch", ()):
            self._patched().note(notice.patch_id)
        for seed in jobs.get("update_random_seed", ()):
            self._seed, self._random = seed.randomness_seed, None
        starts = jobs.get("initialize_workflow", [])
        arguments = self._start(starts[0]) if starts else []
        if self._ended_by is None:
            for variant, job in jobs.get("messages", ()):
                self.messages.deliver(variant, job)
        if starts and self._ended_by is None:
            if self._later is None:
                self._spawn_main(arguments)
            else:
                self._later.insert(0, (_MAIN, arguments))
        for main in jobs.get(_MAIN, ()):
            self._spawn_main(main)
        for job in jobs.get("resolve_activity", ()):
            if not job.is_local:
                self._activities.resolve(job.seq, job.result)
        for variant, job in jobs.get("relations", ()):
            owner = self._nexus() if variant in NEXUS_JOBS else self._related()
            owner.resolve(variant, job)
        timers = [job.seq for job in jobs.get("fire_timer", ())]
        if self._locals is not None:
            timers = [timer for timer in timers if not self._locals.fire_timer(timer)]
        deadlines = [timer for timer in timers if self.scheduler.is_deadline(timer)]
        for timer in timers:
            if timer not in deadlines:
                self.scheduler.fire_timer(timer)
        for job in jobs.get("resolve_activity", ()):
            if job.is_local:
                self._local().resolve(job.seq, job.result)
        for timer in deadlines:
            self.scheduler.fire_timer(timer)
        for cancel in jobs.get("cancel_workflow", ()):
            self._cancel_requested = True
            self._cancel_reason = cancel.reason
            if self._main is not None:
                self._main.cancel(cancel.reason or None)
        if not jobs.keys() <= _KNOWN_JOBS:
            unknown = ", ".join(sorted(jobs.keys() - _KNOWN_JOBS))
            raise LookupError(f"the workflow task brings {unknown}, which this release of durable-anyio does not know")

    def _apply_later(self) -> bool:
        """Applies the second set of an activation that is replayed in sets; False when there is none."""
        later, self._later = self._later, None
        if later is None or self._ended_by is not None:
            return False
        try:
            for pair in later:
                self._apply(_grouped([pair]))
        except (DataConversionError, LookupError, TypeError) as error:
            self._suspend = self._suspend or error
        return True

    def _spawn_main(self, arguments: Sequence[Any]) -> None:
        run = functools.partial(self.definition.run.fn, self.object)
        self._main = self.scheduler.spawn(run, tuple(arguments), name=self.definition.run.label)

    def _start(self, start: Any) -> list[Any]:
        handler = self.definition.run
        arguments = self._decode(handler, start.arguments, "workflow")
        try:
            self.object = self.scheduler.call(self.definition.cls, *(arguments if self.definition.init_takes_arguments else ()))
        except Exception as error:
            self._ended_by = error
        return arguments

    def _decode(self, handler: HandlerDefinition, payloads: Sequence[Any], kind: str) -> list[Any]:
        try:
            arguments = self.converter.from_payloads(payloads, handler.types_for(len(payloads)))
        except DataConversionError as error:
            label = f"the arguments of the {kind} {handler.label}"
            raise error.at(label) from error
        check_arguments(handler, arguments)
        return arguments

    def _check_conditions(self) -> bool:
        fulfilled = False
        for condition, operation in list(self._conditions.values()):
            try:
                if self.scheduler.call(condition, read_only=True):
                    operation.set_result(None)
                    fulfilled = True
            except Exception as error:
                # Without this frame, which holds the operation, which holds the error.
                operation.set_error(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
                fulfilled = True
        return fulfilled

    def _end_or_settle(self) -> None:
        error = self._ended_by
        for task in self.messages.take_ended():
            error = error or task.failure
        command = None
        if error is None and self._main is not None and self._main.done:
            error = self._main.failure
            if error is None:
                command = command_for_result(self.definition, self._main.outcome(), self.converter)
        if error is not None:
            self._ended_by = error
            requested = self._cancel_requested
            command = command_for_error(self.definition, error, self.converter, self.info, cancel_requested=requested)
        if command is None:
            self.scheduler.settle()
            return
        self._ended = True
        unfinished = self.messages.unfinished
        if unfinished and self.may_log:
            _log.warning(
                "workflow %s (%s) ended while handlers ran, which are closed: %s",
                self.info.workflow_id, self.info.workflow_type, ", ".join(unfinished),
            )  # fmt: skip
        self.close()
        if self.is_replaying or self.origins.always:
            self.origins.note_end(self._given + len(self._commands) + 1, self.definition.run.fn, error)
        self._forget_tasks()  # a run that has ended is kept for queries only
        self._commands.append(command)

    def _forget_tasks(self) -> None:
        if self._main is not None:
            self._main.forget_outcome()
        self.messages.forget()
        self._main = self._ended_by = None

    # -- for the scheduler and the run's own code

    def _related(self) -> Relations:
        if self._relations is None:
            self._relations = Relations(self.scheduler, self.converter, self._emit, self.info)
        return self._relations

    def _emit(self, command: Any, timer: int = 0) -> None:
        if self.scheduler.closing:
            return
        if self.scheduler.read_only:
            raise ForbiddenCallError(f"a query or a validator tried to change the workflow\n{_READ_ONLY_HINT}")
        if self.is_replaying or self.origins.always:
            self.origins.note(self._given + len(self._commands) + 1, timer)
        self._commands.append(command)

    def start_timer(self, seconds: float, summary: Any | None = None) -> int:
        self._last_timer += 1
        self._emit(_commands.start_timer(self._last_timer, seconds, summary), timer=self._last_timer)
        return self._last_timer

    def cancel_timer(self, timer: int) -> None:
        self._emit(_commands.cancel_timer(timer), timer=timer)

    @property
    def may_log(self) -> bool:
        return not self.is_replaying and not self.scheduler.closing

    @property
    def random(self) -> random_module.Random:
        if self.scheduler.read_only:
            raise ForbiddenCallError("random numbers are not possible in a query or a validator: they would differ in a replay")
        if self._random is None:
            self._random = random_module.Random(self._seed)
        return self._random

    def now(self) -> datetime:
        return self.info.start_time + timedelta(seconds=self.scheduler.current_time)

    @property
    def attributes(self) -> Attributes:
        if self._attributes is None:
            self._attributes = Attributes(self.info, self.converter, self._emit)
        return self._attributes

    def patched(self, patch_id: str, *, deprecated: bool) -> bool:
        return self._patched().ask(patch_id, deprecated=deprecated, is_replaying=self.is_replaying, emit=self._emit)

    def _patched(self) -> Patches:
        if self._patches is None:
            self._patches = Patches()
        return self._patches

    @property
    def cancellation_reason(self) -> str | None:
        return self._cancel_reason

    @property
    def has_last_completion_result(self) -> bool:
        return self._last_run is not None and bool(self._last_run.result)

    def last_completion_result(self, type_hint: Any | None) -> Any:
        return None if self._last_run is None else self._last_run.decoded_result(self.converter, type_hint)

    def last_failure(self) -> BaseException | None:
        return None if self._last_run is None else self._last_run.decoded_failure(self.converter)

    def set_current_details(self, details: str) -> None:
        if self.scheduler.read_only:
            raise ForbiddenCallError(f"a query or a validator tried to change the workflow's details\n{_READ_ONLY_HINT}")
        self.current_details = details

    def encoded(self, text: str | None) -> Any | None:
        return None if text is None else self.converter.to_payloads([text])[0]

    async def sleep(self, seconds: float, summary: str | None) -> None:
        if seconds <= 0:
            await anyio.sleep(seconds)
        else:
            await self.scheduler.clock.sleep(seconds, self.encoded(summary))

    @property
    def all_handlers_finished(self) -> bool:
        return self.messages.all_finished

    def set_handler(self, kind: str, name: str | None, fn: Callable[..., Any] | None, validator: Callable[..., Any] | None) -> None:
        if self.scheduler.read_only:
            raise ForbiddenCallError(f"a query or a validator tried to set a handler\n{_READ_ONLY_HINT}")
        handlers = {SIGNAL: self.messages.signals, QUERY: self.messages.queries, UPDATE: self.messages.updates}[kind]
        if fn is None:
            handlers.set(name, None)
            return
        definition = make_handler(kind, name, fn, dynamic=name is None, skips_self=False)
        definition.validator = validator
        handlers.set(name, definition)
        if kind == SIGNAL:
            self.messages.handlers_changed()

    def start_activity(self, name: str, args: Sequence[Any], options: ActivityOptions, result_type: Any | None) -> StartedActivity:
        return self._activities.start(name, args, options, result_type)

    async def execute_activity(self, name: str, args: Sequence[Any], options: ActivityOptions, result_type: Any | None) -> Any:
        await checkpoint_if_cancelled()
        return await self._activities.start(name, args, options, result_type)

    async def start_child_workflow(
        self, name: str, args: Sequence[Any], options: Mapping[str, Any], result_type: Any | None
    ) -> StartedChild:
        await checkpoint_if_cancelled()
        child = self._related().start_child(name, args, options, result_type, self.random)
        await child.started.wait()
        return child

    async def execute_child_workflow(self, name: str, args: Sequence[Any], options: Mapping[str, Any], result_type: Any | None) -> Any:
        child = await self.start_child_workflow(name, args, options, result_type)
        return await child

    def external_workflow(self, workflow_id: str, run_id: str | None) -> External:
        return self._related().external(workflow_id, run_id)

    async def start_nexus_operation(self, call: NexusCall) -> StartedNexusOperation:
        await checkpoint_if_cancelled()
        operation = self._nexus().schedule(call)
        await operation.started.wait()
        return operation

    def _nexus(self) -> NexusOperations:
        if self._nexus_operations is None:
            self._nexus_operations = NexusOperations(self.scheduler, self.converter, self._emit)
        return self._nexus_operations

    def start_local(self, call: LocalCall) -> StartedLocalActivity:
        return self._local().start(call)

    async def execute_local(self, call: LocalCall) -> Any:
        await checkpoint_if_cancelled()
        return await self._local().start(call)

    def find_step(self, seq: int) -> LocalCall | None:
        """The step whose command has this number, if it is not resolved."""
        return None if self._locals is None else self._locals.find_step(seq)

    def _local(self) -> LocalActivities:
        if self._locals is None:
            self._locals = LocalActivities(self.scheduler, self.converter, self._emit, self.start_timer, self.cancel_timer)
        return self._locals

    def holds_workflow(self, fn: Callable[..., Any], args: Sequence[Any]) -> bool:
        return holds(self.object, fn, args)

    async def wait_condition(self, fn: Callable[[], bool]) -> None:
        await checkpoint_if_cancelled()
        if self.scheduler.current_task is not None and fn():
            await shielded_checkpoint()
            return
        self._last_condition += 1
        number = self._last_condition
        operation: Operation[None] = Operation(self.scheduler, name="wait_condition", mode="abandon")
        self._conditions[number] = (fn, operation)
        try:
            await operation.wait()
        finally:
            self._conditions.pop(number, None)

    def check_continue_as_new(self, workflow: Any, args: Sequence[Any]) -> None:
        check_arguments(self.definition if workflow is None else workflow_definition(workflow)[1], args)


_READ_ONLY_HINT = "hint: it may read the workflow's state, not change it"
#: In place of a job: the workflow's main task, with its arguments.
_MAIN = "main"
#: A kind of job that only a later core has.
_UNKNOWN = "a job of a kind"
# Jobs of several kinds that are taken in one phase.
_TOGETHER = {"signal_workflow": "messages", "do_update": "messages", **dict.fromkeys(RELATION_JOBS | NEXUS_JOBS, "relations")}
_KNOWN_JOBS = {
    "cancel_workflow",
    "fire_timer",
    "initialize_workflow",
    _MAIN,
    "notify_has_patch",
    "resolve_activity",
    "messages",
    "relations",
    "update_random_seed",
}
