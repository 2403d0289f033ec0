"""Activities: ordinary functions that do the work. A workflow calls them durably; they run in a worker, outside the workflow."""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import logging
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from ._definitions import ActivityDefinition, ActivityOptions, HandlerDefinition, caller_locals
from ._workflow_runtime import ActivityCancellationType, find_runtime
from .common import Priority, RetryPolicy

__all__ = ["Activity", "Info", "defn", "heartbeat", "in_activity", "info", "is_cancelled", "logger"]

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


@dataclass(frozen=True)
class Info:
    """What an attempt of an activity knows about itself; the names are Temporal's."""

    activity_id: str
    activity_type: str
    attempt: int
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    heartbeat_timeout: timedelta | None
    is_local: bool
    priority: Priority
    retry_policy: RetryPolicy | None
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    workflow_id: str
    workflow_namespace: str
    workflow_run_id: str
    workflow_type: str


class ActivityContext(Protocol):
    """The attempt that the current task or thread runs; the worker and `testing.ActivityEnvironment` implement it."""

    @property
    def info(self) -> Info: ...
    @property
    def cancelled(self) -> bool: ...
    def heartbeat(self, details: Sequence[Any]) -> None: ...


current_context: contextvars.ContextVar[ActivityContext] = contextvars.ContextVar("durable_anyio_activity")


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

    Callable from threads. In a plain `def` activity it raises once the activity is cancelled.

    :raises CancelledError: in a plain `def` activity that was asked to stop.
    """
    _context().heartbeat(details)


def is_cancelled() -> bool:
    """True once this attempt was asked to stop. :raises RuntimeError: outside an activity."""
    return _context().cancelled


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
