"""What workflow code uses. Importing this module makes AnyIO durable inside workflows; outside it changes nothing."""

from __future__ import annotations

import inspect
import logging
import random as _random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar, TypeVarTuple, overload

import anyio

from . import _backend
from ._definitions import (
    QUERY,
    RUN,
    SIGNAL,
    UPDATE,
    WORKFLOW,
    HandlerDefinition,
    WorkflowDefinition,
    activity_call,
    caller_locals,
)
from ._handlers import check_init, collect, init, query, signal, update
from ._workflow_children import (
    ChildWorkflowCancellationType,
    ChildWorkflowHandle,
    ExternalWorkflowHandle,
    ParentClosePolicy,
    execute_child_workflow,
    get_external_workflow_handle,
    get_external_workflow_handle_for,
    start_child_workflow,
)
from ._workflow_local_calls import execute_local_activity, start_local_activity, step
from ._workflow_nexus import (
    NexusClient,
    NexusOperationCancellationType,
    NexusOperationHandle,
    create_nexus_client,
)
from ._workflow_runtime import (
    CURRENT_UPDATE,
    ActivityCancellationType,
    ActivityHandle,
    ContinueAsNewError,
    ContinueAsNewOptions,
    Info,
    NotInWorkflowError,
    ParentInfo,
    RootInfo,
    UpdateInfo,
    current_runtime,
    find_runtime,
    random_uuid,
)
from .common import Priority, RetryPolicy, SearchAttributeUpdate, TypedSearchAttributes
from .metrics import MetricMeter

__all__ = [
    "ActivityCancellationType",
    "ActivityHandle",
    "ChildWorkflowCancellationType",
    "ChildWorkflowHandle",
    "ContinueAsNewError",
    "ExternalWorkflowHandle",
    "Info",
    "NexusClient",
    "NexusOperationCancellationType",
    "NexusOperationHandle",
    "NotInWorkflowError",
    "ParentClosePolicy",
    "ParentInfo",
    "RootInfo",
    "UpdateInfo",
    "all_handlers_finished",
    "cancellation_reason",
    "continue_as_new",
    "create_nexus_client",
    "current_update_info",
    "defn",
    "deprecate_patch",
    "execute_activity",
    "execute_child_workflow",
    "execute_local_activity",
    "get_current_details",
    "get_external_workflow_handle",
    "get_external_workflow_handle_for",
    "get_last_completion_result",
    "get_last_failure",
    "has_last_completion_result",
    "in_workflow",
    "info",
    "init",
    "logger",
    "memo",
    "memo_value",
    "metric_meter",
    "now",
    "patched",
    "query",
    "random",
    "run",
    "set_current_details",
    "set_query_handler",
    "set_signal_handler",
    "set_update_handler",
    "signal",
    "sleep",
    "start_activity",
    "start_child_workflow",
    "start_local_activity",
    "step",
    "time",
    "unsafe",
    "update",
    "upsert_memo",
    "upsert_search_attributes",
    "uuid4",
    "wait_condition",
]

_backend.register()

_MISSING = object()

C = TypeVar("C", bound=type)
P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")
RunFunction = TypeVar("RunFunction", bound=Callable[..., Coroutine[Any, Any, Any]])


@overload
def defn(cls: C, /) -> C: ...
@overload
def defn(*, name: str | None = None, failure_exception_types: Sequence[type[BaseException]] | None = None) -> Callable[[C], C]: ...
def defn(cls: Any = None, /, *, name: str | None = None, failure_exception_types: Sequence[type[BaseException]] | None = None) -> Any:
    """Makes a workflow of a class that has one method decorated with `@workflow.run`.

    :param name: its type in histories; the class's name if not given.
    :param failure_exception_types: which exceptions fail the workflow when they leave `run` or a signal handler. The default: every
        `Exception` but `NondeterminismError`, `ForbiddenCallError` and `DataConversionError`, which suspend it. If given: these types,
        whichever they are, and `FailureError`s fail it; every other exception suspends it. Of an exception group every member must be one
        that fails it. A suspended workflow stays as it was before the step: the workflow task fails with the reason, which is logged and
        visible in `describe`, and is tried again until the code is fixed.
    """

    def decorate(decorated: C) -> C:
        definition = _define(decorated, name, failure_exception_types)
        setattr(decorated, WORKFLOW, definition)
        setattr(definition.run.fn, WORKFLOW, definition)
        return decorated

    return decorate if cls is None else decorate(cls)


def _define(cls: type, name: str | None, failures: Sequence[type[BaseException]] | None) -> WorkflowDefinition:
    if not isinstance(cls, type):
        raise TypeError(f"@workflow.defn decorates classes, not {cls!r}")
    members = [member for _, member in inspect.getmembers_static(cls)]
    runs = [member for member in members if isinstance(getattr(member, RUN, None), HandlerDefinition)]
    if len(runs) != 1:
        hint = "decorate one `async def` method with @workflow.run" if not runs else "leave @workflow.run on one of them"
        raise TypeError(f"{cls.__qualname__} has {len(runs) or 'no'} run method{'s' if runs else ''}\nhint: {hint}")
    if hasattr(runs[0], WORKFLOW):
        raise TypeError(f"{cls.__qualname__} inherits its run method from another workflow\nhint: define a run method of its own")
    return WorkflowDefinition(
        name=name or cls.__name__,
        cls=cls,
        run=getattr(runs[0], RUN),
        signals=collect(cls, members, SIGNAL),
        queries=collect(cls, members, QUERY),
        updates=collect(cls, members, UPDATE),
        init_takes_arguments=check_init(cls, getattr(runs[0], RUN)),
        failure_exception_types=None if failures is None else tuple(failures),
    )


def run(fn: RunFunction) -> RunFunction:
    """Marks the method that is the workflow: it runs once, and its return is the workflow's result."""
    if not inspect.iscoroutinefunction(fn):
        raise TypeError(f"@workflow.run needs an `async def` method, not {fn!r}")
    setattr(fn, RUN, HandlerDefinition("run", fn, skips_self=True, local_names=caller_locals(1)))
    return fn


def in_workflow() -> bool:
    """True in a workflow's own code."""
    return find_runtime() is not None


def info() -> Info:
    """What the run knows about itself."""
    return current_runtime().info


def now() -> datetime:
    """The workflow's time, in UTC: the same again in a replay."""
    return current_runtime().now()


def time() -> float:
    """The workflow's time in seconds since 1970: the same again in a replay."""
    return current_runtime().now().timestamp()


def uuid4() -> uuid.UUID:
    """A random UUID that is the same again in a replay."""
    return random_uuid(current_runtime().random)


def random() -> _random.Random:
    """A random number generator that gives the same numbers again in a replay."""
    return current_runtime().random


def memo() -> Mapping[str, Any]:
    """The workflow's memo, decoded, with what its code has changed."""
    return current_runtime().attributes.memo()


@overload
def memo_value(key: str) -> Any: ...
@overload
def memo_value(key: str, *, type_hint: type[R]) -> R: ...
@overload
def memo_value(key: str, default: R) -> R: ...
def memo_value(key: str, default: Any = _MISSING, *, type_hint: Any = None) -> Any:
    """One value of the memo.

    :param type_hint: what it is decoded to.
    :raises KeyError: it is not there, and no default is given.
    """
    try:
        return current_runtime().attributes.memo_value(key, type_hint)
    except KeyError:
        if default is _MISSING:
            raise
        return default


def upsert_memo(updates: Mapping[str, Any]) -> None:
    """Changes the workflow's memo, which lists and descriptions show. A value of None removes the key.

    :raises DataConversionError: a value cannot be encoded.
    """
    current_runtime().attributes.upsert_memo(updates)


def upsert_search_attributes(updates: Sequence[SearchAttributeUpdate[Any]]) -> None:
    """Changes the workflow's search attributes: `[key.value_set(value), other_key.value_unset()]`.

    An attribute that the namespace does not know, or knows with another type, fails the workflow task; add it and the workflow goes on.

    :raises TypeError: for something else than updates.
    """
    current_runtime().attributes.upsert(updates)


def patched(id: str) -> bool:
    """True where the run is on the new side of a change in its code: `if workflow.patched("use-new-api"): … else: …`.

    Runs that come here for the first time get True, and a marker in their history says so; runs that were here before the change replay
    with False. The answer for an id stays the same for as long as the run lives.
    """
    return current_runtime().patched(id, deprecated=False)


def deprecate_patch(id: str) -> None:
    """In the place of `patched` when no run on the old side is left: histories may have the patch's marker or not.

    When no run is left that has a marker without this mark, the call may go, too.
    """
    current_runtime().patched(id, deprecated=True)


def cancellation_reason() -> str | None:
    """Why the workflow was asked to cancel itself: the text that the request gave, perhaps empty; None if it was not asked."""
    return current_runtime().cancellation_reason


def has_last_completion_result() -> bool:
    """True if a run before this one, of the same cron schedule, has completed."""
    return current_runtime().has_last_completion_result


def get_last_completion_result(type_hint: Any | None = None) -> Any:
    """What the last run of the same cron schedule that completed has returned; None if there was none.

    :param type_hint: the type to read it as.
    """
    return current_runtime().last_completion_result(type_hint)


def get_last_failure() -> BaseException | None:
    """How the run before this one has failed, in a retry or a cron schedule; None if it did not."""
    return current_runtime().last_failure()


def get_current_details() -> str:
    """What `set_current_details` has set; empty before."""
    return current_runtime().current_details


def set_current_details(details: str) -> None:
    """Sets a text for people who look at the workflow, in Markdown: what it does now. The query `__temporal_workflow_metadata` gives it."""
    current_runtime().set_current_details(details)


def metric_meter() -> MetricMeter:
    """A meter whose metrics carry the namespace, the task queue and the workflow's type. In a replay it measures nothing.

    Make its metrics where they are used: they are the process's, not the run's.
    """
    runtime = current_runtime()
    names = {"namespace": runtime.info.namespace, "task_queue": runtime.info.task_queue, "workflow_type": runtime.info.workflow_type}

    def perform(record: Callable[[], None]) -> None:
        if runtime.may_log:
            _backend.unguarded(record)

    return MetricMeter(names, perform=perform)


def current_update_info() -> UpdateInfo | None:
    """The update that the running handler or validator is for; None elsewhere."""
    current_runtime()
    return CURRENT_UPDATE.get()


def all_handlers_finished() -> bool:
    """True when no handler of a signal or an update runs: `await workflow.wait_condition(workflow.all_handlers_finished)`."""
    return current_runtime().all_handlers_finished


def set_signal_handler(name: str | None, handler: Callable[..., Any] | None) -> None:
    """Sets the handler of the signal `name`, or takes it away with None. Signals that came before are delivered now, in their order.

    :param name: None for every signal that has no handler of its own; the handler then takes the name, then `*args`.
    """
    current_runtime().set_handler(SIGNAL, name, handler, None)


def set_query_handler(name: str | None, handler: Callable[..., Any] | None) -> None:
    """Sets the handler of the query `name`, or takes it away with None; a plain `def`.

    :param name: None for every query that has no handler of its own; the handler then takes the name, then `*args`.
    """
    current_runtime().set_handler(QUERY, name, handler, None)


def set_update_handler(name: str | None, handler: Callable[..., Any] | None, *, validator: Callable[..., None] | None = None) -> None:
    """Sets the handler of the update `name`, or takes it away with None. An update that comes before is rejected.

    :param name: None for every update that has no handler of its own; handler and validator then take the name, then `*args`.
    :param validator: refuses an update by raising; it changes nothing.
    """
    current_runtime().set_handler(UPDATE, name, handler, validator)


async def sleep(duration: timedelta | float, *, summary: str | None = None) -> None:
    """`anyio.sleep`, with one line for people who look at the timer.

    :param duration: a timedelta, or seconds.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    await current_runtime().sleep(seconds, summary)


async def wait_condition(fn: Callable[[], bool], *, timeout: timedelta | float | None = None, timeout_summary: str | None = None) -> None:
    """Waits until `fn` is true. It is looked at when all tasks of the workflow wait, and must change nothing.

    :param timeout_summary: one line for people who look at the timeout's timer.
    :raises TimeoutError: Python's own, when `timeout` (a timedelta, or seconds) is over first.
    """
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        await current_runtime().wait_condition(fn)
        return
    with anyio.fail_after(seconds) as scope:
        if timeout_summary is not None and isinstance(scope, _backend.CancelScope):
            scope.timer_summary = current_runtime().encoded(timeout_summary)
        await current_runtime().wait_condition(fn)


def continue_as_new(
    *args: Any,
    workflow: Callable[..., Any] | type | str | None = None,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: TypedSearchAttributes | None = None,
    backoff_start_interval: timedelta | None = None,
) -> NoReturn:
    """Ends this run and starts the next one, with an empty history and `args` as its arguments.

    Memo and search attributes that are not given are those of this run, with what its code has changed.
    A cron schedule ends with it: the next run is no run of the schedule.

    :param backoff_start_interval: how long the first workflow task of the next run waits. The service lets a chain begin at most one run
        a second in any case.
    :raises ContinueAsNewError: always. It is no `Exception`: let it leave `run`.
    """
    current_runtime().check_continue_as_new(workflow, args)
    timeouts = (run_timeout, task_timeout, retry_policy)
    options = ContinueAsNewOptions(workflow, args, task_queue, *timeouts, memo, backoff_start_interval, search_attributes)
    raise ContinueAsNewError(options)


@overload
async def execute_activity(
    activity: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    activity_id: str | None = None,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
    priority: Priority | None = None,
    disable_eager_execution: bool | None = None,
) -> R: ...
@overload
async def execute_activity(
    activity: str,
    *args: Any,
    result_type: type[R],
    activity_id: str | None = None,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
    priority: Priority | None = None,
    disable_eager_execution: bool | None = None,
) -> R: ...
@overload
async def execute_activity(
    activity: str,
    *args: Any,
    activity_id: str | None = None,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
    priority: Priority | None = None,
    disable_eager_execution: bool | None = None,
) -> Any: ...
async def execute_activity(activity: Any, *args: Any, result_type: Any = None, **options: Any) -> Any:  # type: ignore[misc]
    """Runs an activity durably and returns its result.

    Options that are not given come from the activity's decorator. One of `start_to_close_timeout` and `schedule_to_close_timeout` is
    needed. With a name instead of an activity, `result_type` says what the result is decoded to. `disable_eager_execution`: it waits in its
    task queue even where the workflow's own worker could start it at once.

    :raises ActivityError: the activity failed for good, timed out or was cancelled; its `cause` says why.
    :raises TypeError: number or types of the arguments are wrong.
    """
    name, merged, result_type = activity_call(activity, args, options, result_type)
    return await current_runtime().execute_activity(name, args, merged, result_type)


@overload
def start_activity(
    activity: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    activity_id: str | None = None,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
    priority: Priority | None = None,
    disable_eager_execution: bool | None = None,
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: str,
    *args: Any,
    result_type: Any = None,
    activity_id: str | None = None,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
    priority: Priority | None = None,
    disable_eager_execution: bool | None = None,
) -> ActivityHandle[Any]: ...
def start_activity(activity: Any, *args: Any, result_type: Any = None, **options: Any) -> ActivityHandle[Any]:  # type: ignore[misc]
    """Starts an activity without waiting for it. Await the handle for the result; options and errors as `execute_activity`."""
    name, merged, result_type = activity_call(activity, args, options, result_type)
    return current_runtime().start_activity(name, args, merged, result_type)


class unsafe:
    """What can break a workflow's determinism when it is used to decide anything."""

    @staticmethod
    def is_replaying() -> bool:
        """True while the run repeats what its history holds."""
        return current_runtime().is_replaying

    @staticmethod
    def call(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls `function` and lets it do what workflow code must not: test environments look the other way, and so does the checker.

        What it returns may differ in a replay, and must not decide what the workflow does.
        """
        return _backend.unguarded(function, *args, **kwargs)


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Silent in a replay, so that each record is written once; records carry the run's ids."""

    def isEnabledFor(self, level: int) -> bool:
        runtime = find_runtime()
        return super().isEnabledFor(level) and (runtime is None or runtime.may_log)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        runtime = find_runtime()
        if runtime is not None:
            ids = {"workflow_id": runtime.info.workflow_id, "run_id": runtime.info.run_id, "workflow_type": runtime.info.workflow_type}
            kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return msg, kwargs


logger = _Logger(logging.getLogger("durable_anyio.workflow"), {})
"""A logger for workflow code: silent in a replay."""
