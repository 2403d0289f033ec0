"""The activities of one run: scheduled by commands, resolved by activations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

from . import _commands
from ._backend import Operation, Scheduler
from ._definitions import ActivityOptions
from ._workflow_resolution import check_activity, deliver
from ._workflow_runtime import ActivityCancellationType, ActivityHandle
from .converter import PayloadConverter

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

    def start(self, name: str, args: Sequence[Any], options: ActivityOptions, result_type: Any | None) -> StartedActivity:
        """Emits the command.

        :raises ValueError: no timeout that bounds an attempt.
        :raises DataConversionError: an argument cannot be encoded.
        :raises ForbiddenCallError: in a query.
        """
        check_activity(self.scheduler, "activity", name, options)
        payloads = self._converter.to_payloads(args)
        summary = None if options.summary is None else self._converter.to_payloads([options.summary])[0]
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
        what = f"the activity {activity.name!r} ({activity.activity_id})"
        deliver(activity.operation, resolution, self._converter, activity.result_type, what)
