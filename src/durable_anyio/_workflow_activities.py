"""The activities of one run: scheduled by commands, resolved by activations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

from . import _commands
from ._backend import ForbiddenCallError, Operation, Scheduler
from ._definitions import ActivityOptions, HandlerDefinition
from ._failure import exception_from_failure
from ._workflow_runtime import ActivityCancellationType, ActivityHandle
from .converter import PayloadConverter
from .exceptions import DataConversionError

__all__ = ["MODES", "Activities", "StartedActivity"]

MODES: dict[int, Literal["try", "wait", "abandon"]] = {
    ActivityCancellationType.TRY_CANCEL: "try",
    ActivityCancellationType.WAIT_CANCELLATION_COMPLETED: "wait",
    ActivityCancellationType.ABANDON: "abandon",
}


class StartedActivity(ActivityHandle[Any]):
    """An activity whose command was emitted."""

    def __init__(self, owner: Activities, seq: int, name: str, options: ActivityOptions, result_type: Any | None) -> None:
        self.seq = seq
        self.name = name
        self.activity_id = options.activity_id or str(seq)
        self.result_type = result_type
        mode = MODES[int(options.cancellation_type or 0)]
        on_cancel = functools.partial(owner.request_cancel, seq)
        self.operation: Operation[Any] = Operation(owner.scheduler, name=f"activity {name}", on_cancel=on_cancel, mode=mode)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.operation.wait().__await__()

    def done(self) -> bool:
        return self.operation.done

    def cancel(self) -> None:
        self.operation.request_cancel()


class Activities:
    """What is scheduled and not yet resolved, by sequence number."""

    __slots__ = ("_converter", "_last_seq", "_pending", "_task_queue", "emit", "scheduler")

    def __init__(self, scheduler: Scheduler, converter: PayloadConverter, emit: Callable[[Any], None], task_queue: str) -> None:
        self.scheduler = scheduler
        self.emit = emit
        self._converter = converter
        self._task_queue = task_queue
        self._last_seq = 0
        self._pending: dict[int, StartedActivity] = {}

    def start(
        self, name: str, handler: HandlerDefinition | None, args: Sequence[Any], options: ActivityOptions, result_type: Any | None
    ) -> StartedActivity:
        """Emits the command.

        :raises ValueError: no timeout that bounds an attempt.
        :raises DataConversionError: an argument cannot be encoded.
        :raises ForbiddenCallError: in a query.
        """
        if self.scheduler.read_only:
            raise ForbiddenCallError(f"the activity {name!r} was called in a query\nhint: a query reads the state and changes nothing")
        if options.start_to_close_timeout is None and options.schedule_to_close_timeout is None:
            raise ValueError(
                f"the activity {name!r} has no start_to_close_timeout and no schedule_to_close_timeout\n"
                "hint: give one of them, here or in @activity.defn(start_to_close_timeout=…)"
            )
        payloads = self._converter.to_payloads(args)
        summary = None if options.summary is None else self._converter.to_payloads([options.summary])[0]
        if result_type is None and handler is not None:
            result_type = handler.return_type
        self._last_seq += 1
        seq = self._last_seq
        activity = StartedActivity(self, seq, name, options, result_type)
        self._pending[seq] = activity
        self.emit(_commands.schedule_activity(seq, name, payloads, options, task_queue=self._task_queue, summary=summary))
        return activity

    def request_cancel(self, seq: int) -> None:
        """Emits the command that asks an activity to stop."""
        self.emit(_commands.request_cancel_activity(seq))

    def release(self) -> None:
        """Forgets the run."""
        self._pending.clear()
        del self.scheduler, self.emit

    def resolve(self, seq: int, resolution: Any) -> None:
        """Delivers an outcome.

        :raises DataConversionError: the result cannot be decoded; it is delivered to the waiting task as well.
        :raises LookupError: nothing waits under this number, which is a bug of ours or of the history.
        """
        activity = self._pending.pop(seq, None)
        if activity is None:
            raise LookupError(f"an outcome for the activity number {seq} arrived, which the workflow did not schedule")
        operation = activity.operation
        status = resolution.WhichOneof("status")
        if status == "completed":
            try:
                operation.set_result(self._result(activity, resolution.completed))
            except DataConversionError as error:
                operation.set_error(error)
                raise
        elif status == "failed":
            operation.set_error(exception_from_failure(resolution.failed.failure, self._converter))
        elif status == "cancelled":
            operation.set_error(exception_from_failure(resolution.cancelled.failure, self._converter), cancelled=True)
        else:
            raise LookupError(f"the activity number {seq} ended as {status!r}, which this release does not know")

    def _result(self, activity: StartedActivity, success: Any) -> Any:
        if not success.HasField("result"):
            return None
        try:
            return self._converter.from_payloads([success.result], [activity.result_type])[0]
        except DataConversionError as error:
            where = f"the result of the activity {activity.name!r} ({activity.activity_id})"
            raise error.at(where) from error
