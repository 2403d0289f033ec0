"""Local activities and steps, as workflow code calls them; `durable_anyio.workflow` has them."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar, TypeVarTuple, overload

from ._definitions import ActivityOptions, activity_call, activity_definition
from ._workflow_runtime import ActivityCancellationType, ActivityHandle, LocalCall, current_runtime
from .common import RetryPolicy

__all__ = ["execute_local_activity", "start_local_activity", "step"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

# The service's form wants a bound; a step without one of its own is bounded by its scopes.
_UNBOUNDED = timedelta(days=3650)


@overload
async def execute_local_activity(
    activity: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    activity_id: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
) -> R: ...
@overload
async def execute_local_activity(
    activity: str,
    *args: Any,
    result_type: type[R],
    activity_id: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
) -> R: ...
@overload
async def execute_local_activity(
    activity: str,
    *args: Any,
    activity_id: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
) -> Any: ...
async def execute_local_activity(activity: Any, *args: Any, result_type: Any = None, **options: Any) -> Any:  # type: ignore[misc]
    """Runs an activity in this worker and returns its result, which the history keeps in one event.

    For short work: it is not given to a task queue, and a worker that dies while it runs does it again from the first attempt.
    Retries are the worker's own; a pause longer than `local_retry_threshold` (a minute if not given) is a durable timer.
    Otherwise as `execute_activity`.

    :raises ActivityError: the activity failed for good, timed out or was cancelled; its `cause` says why.
    :raises TypeError: number or types of the arguments are wrong.
    """
    return await current_runtime().execute_local(_call(activity, args, result_type, options))


@overload
def start_local_activity(
    activity: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    activity_id: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
) -> ActivityHandle[R]: ...
@overload
def start_local_activity(
    activity: str,
    *args: Any,
    result_type: Any = None,
    activity_id: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
) -> ActivityHandle[Any]: ...
def start_local_activity(activity: Any, *args: Any, result_type: Any = None, **options: Any) -> ActivityHandle[Any]:  # type: ignore[misc]
    """Starts an activity in this worker without waiting for it. Await the handle for the result; else as `execute_local_activity`."""
    return current_runtime().start_local(_call(activity, args, result_type, options))


def _call(activity: Any, args: Sequence[Any], result_type: Any, options: dict[str, Any]) -> LocalCall:
    threshold = options.pop("local_retry_threshold", None)
    name, merged, result_type = activity_call(activity, args, options, result_type)
    return LocalCall(name, args, merged, result_type, threshold)


@overload
async def step(
    fn: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    name: str | None = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
) -> R: ...
@overload
async def step(
    fn: Callable[[*Ts], R],
    *args: *Ts,
    name: str | None = None,
    start_to_close_timeout: timedelta | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    summary: str | None = None,
) -> R: ...
async def step(  # type: ignore[misc]
    fn: Callable[..., Any],
    *args: Any,
    name: str | None = None,
    local_retry_threshold: timedelta | None = None,
    **options: Any,
) -> Any:
    """Calls any function outside the workflow, once as far as the workflow can see, and returns its result, which the history keeps.

    Nothing is registered: `async def` runs on the host's event loop, plain `def` in a worker thread, while the run goes on. In a replay the
    function is not called; after a crash it may be called again, with the same arguments, which need no encoding. The result is encoded,
    and decoded to the function's annotation. The function must not touch the workflow's state.

    It is a local activity underneath: without a `retry_policy` it is tried until it succeeds, without a timeout for as long as it takes.

    :param name: what the history calls it; the function's name if not given.
    :raises ActivityError: it failed for good, timed out or was cancelled; its `cause` says why.
    :raises TypeError: `fn` cannot be called, or holds the workflow's own object.
    """
    runtime = current_runtime()
    fn = getattr(fn, "fn", fn) if activity_definition(fn) is not None else fn
    if not callable(fn):
        raise TypeError(f"workflow.step calls a function, not {fn!r}\nhint: pass the function and its arguments, not its result")
    name = name or _name_of(fn)
    if runtime.holds_workflow(fn, args):
        raise TypeError(
            f"the step {name!r} holds the workflow's own object, which another thread or task must not touch\n"
            "hint: pass the values it needs as arguments, and use what it returns"
        )
    merged = ActivityOptions(**options)
    if merged.start_to_close_timeout is None and merged.schedule_to_close_timeout is None:
        merged = merged.merged(ActivityOptions(start_to_close_timeout=_UNBOUNDED))
    return await runtime.execute_local(LocalCall(name, args, merged, _return_type(fn), local_retry_threshold, fn))


def _name_of(fn: Any) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", type(fn).__name__)
    return "step" if name == "<lambda>" else str(name)


def _return_type(fn: Any) -> Any | None:
    """The annotation of what it returns, None if there is none that can be resolved."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    target = fn if inspect.isroutine(fn) or isinstance(fn, type) else type(fn).__call__
    try:
        return typing.get_type_hints(target, include_extras=True).get("return")
    except (NameError, TypeError, AttributeError):
        return None
