"""Runs activity tasks: `async def` ones as tasks of the host, plain `def` ones in worker threads."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import TaskGroup

from ._activity_context import (
    ActivityCancellationDetails,
    ActivityContext,
    CompleteAsyncError,
    Info,
    ShutdownNotice,
    current_context,
    unasked_failure,
)
from ._bridge.proto import message
from ._commands import STEP_HEADER
from ._definitions import ActivityDefinition, check_arguments
from ._failure import activity_failure, failure_to_tell
from .common import Priority, RetryPolicy
from .converter import PayloadConverter
from .exceptions import ApplicationError, CancelledError

if TYPE_CHECKING:
    from .client import Client

__all__ = ["ActivityRunner"]

_Task = message("coresdk.activity_task.ActivityTask")
_Completion = message("coresdk.ActivityTaskCompletion")
_Heartbeat = message("coresdk.ActivityHeartbeat")
_log = logging.getLogger("durable_anyio.activity")


class _Attempt(ActivityContext):
    """An attempt that a worker runs."""

    def __init__(self, runner: ActivityRunner, info: Info) -> None:
        super().__init__(info, converter=runner.converter, shutdown=runner.shutdown, client=runner.client)
        self._send = runner.send_heartbeat

    def send_heartbeat(self, details: Sequence[Any]) -> None:
        payloads = self.converter.to_payloads(details)
        data = _Heartbeat(task_token=self.info.task_token, details=payloads).SerializeToString()
        if self.in_thread:
            anyio.from_thread.run_sync(self._send, data)
        else:
            self._send(data)


class ActivityRunner:
    """The activities of one worker. `send_completion` and `send_heartbeat` take encoded messages, on the host's thread."""

    def __init__(
        self,
        activities: Mapping[str, tuple[ActivityDefinition, Callable[..., Any]]],
        *,
        converter: PayloadConverter,
        task_queue: str,
        max_concurrent: int,
        max_concurrent_local: int,
        find_step: Callable[[str, int], Callable[[], Any] | None],
        send_completion: Callable[[bytes], None],
        send_heartbeat: Callable[[bytes], None],
        client: Client | None = None,
    ) -> None:
        self._activities = activities
        self.converter = converter
        self.client = client
        self._task_queue = task_queue
        self._max_concurrent = max_concurrent
        self._max_concurrent_local = max_concurrent_local
        self._find_step = find_step
        self._limiter: anyio.CapacityLimiter | None = None
        # Of their own: a workflow task waits for them, so that ordinary activities must not keep them waiting.
        self._local_limiter: anyio.CapacityLimiter | None = None
        self._send_completion = send_completion
        self.send_heartbeat = send_heartbeat
        self._shutdown: ShutdownNotice | None = None
        self._attempts: dict[bytes, _Attempt] = {}

    @property
    def open_count(self) -> int:
        """Attempts that have not been answered."""
        return len(self._attempts)

    @property
    def shutdown(self) -> ShutdownNotice:
        """What tells attempts that the worker stops; made at its first use, inside the host."""
        if self._shutdown is None:
            self._shutdown = ShutdownNotice()
        return self._shutdown

    def cancel_all(self, details: ActivityCancellationDetails) -> None:
        """Asks every open attempt to stop."""
        for attempt in list(self._attempts.values()):
            attempt.cancel(details)

    def handle(self, data: bytes, group: TaskGroup) -> None:
        """Takes an encoded ActivityTask; attempts become tasks of `group`."""
        task = _Task.FromString(data)
        if task.WhichOneof("variant") == "cancel":
            attempt = self._attempts.get(task.task_token)
            if attempt is not None:
                attempt.cancel(_details(task.cancel.details))
            return
        group.start_soon(self._run, task.task_token, task.start, name=f"activity {task.start.activity_type} {task.start.activity_id}")

    async def _run(self, token: bytes, start: Any) -> None:
        completion = _Completion(task_token=token)
        attempt: _Attempt | None = None
        try:
            attempt = _Attempt(self, _info(token, start, self._task_queue, self.converter))
            self._attempts[token] = attempt
            result = await self._execute(attempt, start)
            payload = self.converter.to_payloads([result])[0]
            completion.result.completed.result.CopyFrom(payload)
        except Exception as error:
            self._fill_failure(completion, error, start, attempt.details if attempt is not None else None)
        except CompleteAsyncError:
            completion.result.will_complete_async.SetInParent()
        except anyio.get_cancelled_exc_class():
            # The host stops: answer, so that the attempt is retried at once and not after its timeout.
            self._fill_failure(completion, ApplicationError("the worker stopped", type="WorkerShutdown"), start, None)
            self._send_completion(completion.SerializeToString())
            raise
        except BaseExceptionGroup as group:
            if group.split(CompleteAsyncError)[1] is not None:
                raise
            completion.result.will_complete_async.SetInParent()  # raised inside a task group
        finally:
            self._attempts.pop(token, None)
        self._send_completion(completion.SerializeToString())

    async def _execute(self, attempt: _Attempt, start: Any) -> Any:
        if start.is_local and STEP_HEADER in start.header_fields:
            return await self._execute_step(attempt, start)
        found = self._activities.get(start.activity_type)
        if found is None:
            known = ", ".join(sorted(self._activities)) or "none"
            raise ApplicationError(
                f"the activity {start.activity_type!r} is not registered with this worker of task queue {self._task_queue!r}; "
                f"it has: {known}",
                type="NotFoundError",
            )
        definition, function = found
        arguments = self.converter.from_payloads(start.input, definition.handler.types_for(len(start.input)))
        check_arguments(definition, arguments)
        current_context.set(attempt)
        with attempt.scope:
            if definition.handler.is_async:
                return await function(*arguments)
            attempt.in_thread = True
            return await self._in_thread(function, arguments, is_local=start.is_local)
        raise attempt.cancelled_error()

    async def _execute_step(self, attempt: _Attempt, start: Any) -> Any:
        function = self._find_step(start.workflow_execution.run_id, int(start.header_fields[STEP_HEADER].data))
        if function is None:
            raise ApplicationError(f"the run that asked for the step {start.activity_type!r} is no longer here", type="NotFoundError")
        current_context.set(attempt)
        with attempt.scope:
            if inspect.iscoroutinefunction(function):
                return await function()
            attempt.in_thread = True
            result = await self._in_thread(function, (), is_local=True)
            if inspect.isawaitable(result):  # a lambda round a coroutine function, or a callable object
                attempt.in_thread = False
                return await result
            return result
        raise attempt.cancelled_error()

    async def _in_thread(self, function: Callable[..., Any], arguments: Sequence[Any], *, is_local: bool) -> Any:
        if self._limiter is None or self._local_limiter is None:
            self._limiter = anyio.CapacityLimiter(self._max_concurrent)
            self._local_limiter = anyio.CapacityLimiter(self._max_concurrent_local)
        limiter = self._local_limiter if is_local else self._limiter

        def call() -> tuple[Any]:
            return (function(*arguments),)  # wrapped, because Trio refuses a function that returns a coroutine

        # Not abandoned: the attempt's answer is the thread's, also when it was asked to stop and went on to its end.
        (result,) = await anyio.to_thread.run_sync(call, limiter=limiter)
        return result

    def _fill_failure(self, completion: Any, error: Exception, start: Any, details: ActivityCancellationDetails | None) -> None:
        is_cancelled = isinstance(error, CancelledError)
        if isinstance(error, CancelledError):
            instead = unasked_failure(error, details)
            is_cancelled, error = instead is None, instead or error
        failure = failure_to_tell(error, self.converter) if is_cancelled else activity_failure(error, self.converter)
        if is_cancelled:
            completion.result.cancelled.failure.CopyFrom(failure)
            return
        completion.result.failed.failure.CopyFrom(failure)
        _log.warning(
            "activity %s (%s) of workflow %s failed in attempt %d: %s",
            start.activity_type, start.activity_id, start.workflow_execution.workflow_id, start.attempt, error,
        )  # fmt: skip


def _info(token: bytes, start: Any, task_queue: str, converter: PayloadConverter) -> Info:
    return Info(
        activity_id=start.activity_id,
        activity_type=start.activity_type,
        attempt=start.attempt,
        current_attempt_scheduled_time=_time(start.current_attempt_scheduled_time),
        heartbeat_details=converter.from_payloads(start.heartbeat_details, [None] * len(start.heartbeat_details)),
        heartbeat_timeout=_duration(start, "heartbeat_timeout"),
        is_local=start.is_local,
        priority=Priority.from_proto(start.priority) if start.HasField("priority") else Priority.default,
        retry_policy=RetryPolicy.from_proto(start.retry_policy) if start.HasField("retry_policy") else None,
        schedule_to_close_timeout=_duration(start, "schedule_to_close_timeout"),
        scheduled_time=_time(start.scheduled_time),
        start_to_close_timeout=_duration(start, "start_to_close_timeout"),
        started_time=_time(start.started_time),
        task_queue=task_queue,
        task_token=token,
        workflow_id=start.workflow_execution.workflow_id,
        workflow_namespace=start.workflow_namespace,
        workflow_run_id=start.workflow_execution.run_id,
        workflow_type=start.workflow_type,
    )


def _details(message_: Any) -> ActivityCancellationDetails:
    return ActivityCancellationDetails(
        not_found=message_.is_not_found,
        cancel_requested=message_.is_cancelled,
        paused=message_.is_paused,
        reset=message_.is_reset,
        timed_out=message_.is_timed_out,
        worker_shutdown=message_.is_worker_shutdown,
    )


def _duration(message_: Any, field: str) -> timedelta | None:
    if not message_.HasField(field):
        return None
    value: timedelta = getattr(message_, field).ToTimedelta()
    return value or None


def _time(timestamp: Any) -> datetime:
    value: datetime = timestamp.ToDatetime(tzinfo=UTC)
    return value
