"""Activities: ordinary functions that do the work. A workflow calls them durably; they run in a worker, outside the workflow."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, Protocol, TypeVar, overload

from ._activity_context import ActivityCancellationDetails, ActivityContext, CompleteAsyncError, Info, current_context
from ._definitions import ActivityDefinition, ActivityOptions, HandlerDefinition, caller_locals
from ._workflow_runtime import ActivityCancellationType, find_runtime
from .common import Priority, RetryPolicy
from .converter import PayloadConverter
from .metrics import MetricMeter

if TYPE_CHECKING:
    from .client import Client

__all__ = [
    "Activity",
    "ActivityCancellationDetails",
    "CompleteAsyncError",
    "Info",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "metric_meter",
    "payload_converter",
    "raise_complete_async",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")


class Activity(Generic[P, R]):
    """A decorated activity. Called in a workflow it runs durably in a worker; `fn` is the undecorated function, for unit tests."""

    def __init__(self, definition: ActivityDefinition, fn: Callable[..., Any], *, is_method: bool = False) -> None:
        functools.update_wrapper(self, definition.fn)
        self.definition = definition
        self.fn = fn
        self._is_method = is_method

    @property
    def name(self) -> str:
        """The activity's type: the name that histories hold."""
        return self.definition.name

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the activity durably, with the options of its decorator.

        :raises RuntimeError: outside a workflow.
        :raises ActivityError: the activity failed for good.
        """
        runtime = find_runtime()
        if runtime is None:
            raise RuntimeError(
                f"the activity {self.name!r} was called outside a workflow\n"
                f"hint: {self.definition.handler.label}.fn(…) is the plain function"
            )
        values = _positional(self.definition.handler, args, kwargs) if kwargs else args
        result = await runtime.execute_activity(self.name, values, self.definition.options, self.definition.handler.return_type)
        return result  # type: ignore[no-any-return]

    def with_options(
        self,
        *,
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
    ) -> Activity[P, R]:
        """The same activity with other options for direct calls; what is not given stays."""
        options = ActivityOptions(
            activity_id=activity_id,
            task_queue=task_queue,
            schedule_to_close_timeout=schedule_to_close_timeout,
            schedule_to_start_timeout=schedule_to_start_timeout,
            start_to_close_timeout=start_to_close_timeout,
            heartbeat_timeout=heartbeat_timeout,
            retry_policy=retry_policy,
            cancellation_type=cancellation_type,
            summary=summary,
            priority=priority,
            disable_eager_execution=disable_eager_execution,
        )
        changed = dataclasses.replace(self.definition, options=self.definition.options.merged(options))
        return Activity(changed, self.fn, is_method=self._is_method)

    def __get__(self: Activity[Concatenate[S, Q], T], instance: S | None, owner: type | None = None) -> Activity[Q, T]:
        """A method's activity: `Class.method` names it, `instance.method` is what a worker registers."""
        if not self._is_method:
            return self  # type: ignore[return-value]
        fn = self.fn if instance is None else functools.partial(self.fn, instance)
        return Activity(self.definition, fn, is_method=instance is None)

    @property
    def needs_instance(self) -> bool:
        """True for a method that is not bound to an instance: it can be called in workflows, but not registered."""
        return self._is_method

    def __repr__(self) -> str:
        return f"<activity {self.name!r}>"


def _positional(handler: HandlerDefinition, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Keyword arguments in the place of their parameters, because payloads have no names."""
    values, left = list(args), dict(kwargs)
    for parameter in handler.parameters[len(args) :]:
        if parameter.name in left:
            values.append(left.pop(parameter.name))
        elif left and parameter.default is not parameter.empty:
            values.append(parameter.default)
        else:
            break
    if left:
        raise TypeError(f"{handler.label} cannot take the arguments {', '.join(sorted(left))} ({handler.signature_text})")
    return values


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]]) -> Activity[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R]) -> Activity[P, R]: ...


@overload
def defn(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Activity[P, R]: ...
@overload
def defn(fn: Callable[P, R], /) -> Activity[P, R]: ...
@overload
def defn(
    *,
    name: str | None = None,
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
) -> _Decorator: ...
def defn(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
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
) -> Any:
    """Makes an activity of a function or a method, `async def` or plain `def` (which runs in a worker thread).

    :param name: its type in histories; the function's name if not given.
    The other options are defaults for direct calls in workflows, `workflow.execute_activity` and `workflow.execute_local_activity`.
    """
    options = ActivityOptions(
        task_queue=task_queue,
        schedule_to_close_timeout=schedule_to_close_timeout,
        schedule_to_start_timeout=schedule_to_start_timeout,
        start_to_close_timeout=start_to_close_timeout,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=retry_policy,
        cancellation_type=cancellation_type,
        summary=summary,
        disable_eager_execution=disable_eager_execution,
    )
    local_names = caller_locals(1)

    def decorate(function: Callable[..., Any]) -> Activity[Any, Any]:
        if not callable(function):
            raise TypeError(f"@activity.defn decorates functions, not {function!r}")
        is_method = _is_method(function)
        handler = HandlerDefinition(name or function.__name__, function, skips_self=is_method, local_names=local_names)
        definition = ActivityDefinition(handler.name, handler, options)
        return Activity(definition, function, is_method=is_method)

    return decorate if fn is None else decorate(fn)


def _is_method(function: Callable[..., Any]) -> bool:
    """A function in a class body whose first parameter is `self`: nothing else is known while the body runs."""
    parts = function.__qualname__.split(".")
    code = getattr(function, "__code__", None)
    return len(parts) > 1 and parts[-2] != "<locals>" and code is not None and code.co_varnames[:1] == ("self",)


def _context() -> ActivityContext:
    context = current_context.get(None)
    if context is None:
        raise RuntimeError("not in an activity\nhint: testing.ActivityEnvironment runs an activity's function in a test")
    return context


def in_activity() -> bool:
    """True in an activity's own task or thread."""
    return current_context.get(None) is not None


def info() -> Info:
    """What this attempt knows about itself. :raises RuntimeError: outside an activity."""
    return _context().info


def heartbeat(*details: Any) -> None:
    """Says that this attempt is alive; the last `details` reach the next attempt as `info().heartbeat_details`.

    Heartbeats may come often: the worker sends them on no more often than its throttle interval allows, and always the last one.

    Callable from threads. In a plain `def` activity it raises once the activity is cancelled.

    :raises CancelledError: in a plain `def` activity that was asked to stop.
    """
    _context().heartbeat(details)


def is_cancelled() -> bool:
    """True once this attempt was asked to stop. :raises RuntimeError: outside an activity."""
    return _context().cancelled


def cancellation_details() -> ActivityCancellationDetails | None:
    """Why this attempt was asked to stop; None as long as it was not."""
    return _context().details


async def wait_for_cancelled() -> None:
    """Waits until this attempt is asked to stop. In its own scope that is a cancellation, so that it is of use in a shielded scope."""
    await _context().cancelled_event.wait()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> bool:
    """The same in a plain `def` activity's thread. False if `timeout` (a timedelta, or seconds) is over first."""
    return _context().cancelled_thread_event.wait(_seconds(timeout))


def is_worker_shutdown() -> bool:
    """True once the worker stops: from then on the activity has the worker's grace to end."""
    return _context().shutdown.thread_event.is_set()


async def wait_for_worker_shutdown() -> None:
    """Waits until the worker stops."""
    await _context().shutdown.event.wait()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> bool:
    """The same in a plain `def` activity's thread. False if `timeout` (a timedelta, or seconds) is over first."""
    return _context().shutdown.thread_event.wait(_seconds(timeout))


def _seconds(timeout: timedelta | float | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


def raise_complete_async() -> NoReturn:
    """Ends the function, not the activity: whoever has `info().task_token`, or the ids, reports its outcome later.

    They do it with `client.get_async_activity_handle`. The activity's timeouts go on, so does the need of heartbeats if it has a
    heartbeat timeout. Not for local activities.

    :raises CompleteAsyncError: always. It is no `Exception`: let it leave the activity.
    """
    if _context().info.is_local:
        raise RuntimeError("a local activity cannot be completed from outside\nhint: call it as an ordinary activity")
    raise CompleteAsyncError("the activity is completed from outside")


def client() -> Client:
    """The worker's client, for an `async def` activity.

    :raises RuntimeError: outside an activity; in a thread, where `anyio.from_thread.run` reaches the event loop; in an
        `ActivityEnvironment` without a client.
    """
    context = _context()
    if context.client is None:
        raise RuntimeError("this activity has no client\nhint: testing.ActivityEnvironment(client=…) gives it one")
    if context.in_thread:
        raise RuntimeError(
            "a plain `def` activity runs in a thread, where the client cannot be used\nhint: make it an `async def`, or pass the client "
            "to it and use anyio.from_thread.run"
        )
    return context.client


def payload_converter() -> PayloadConverter:
    """The converter of the activity's values."""
    return _context().converter


def metric_meter() -> MetricMeter:
    """A meter whose metrics carry the namespace, the task queue and the activity's type; `durable_anyio.metrics` reads them."""
    return _context().meter


class _Adapter(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        context = current_context.get(None)
        if context is not None:
            details = context.info
            fields = {
                "activity_id": details.activity_id,
                "activity_type": details.activity_type,
                "attempt": details.attempt,
                "workflow_id": details.workflow_id,
                "workflow_run_id": details.workflow_run_id,
            }
            kwargs["extra"] = {**fields, **(kwargs.get("extra") or {})}
        return msg, kwargs


logger = _Adapter(logging.getLogger("durable_anyio.activity"), {})
"""A logger whose records carry the attempt's ids."""
