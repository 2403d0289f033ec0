"""The local activities and steps of one run: asked for by commands, resolved by activations, between long attempts resting on a timer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from typing import Any

from . import _commands
from ._backend import Operation, Scheduler
from ._failure import exception_from_failure
from ._workflow_activities import MODES
from ._workflow_resolution import check_activity, deliver
from ._workflow_runtime import ActivityHandle, LocalCall
from .converter import PayloadConverter
from .exceptions import ActivityError, ApplicationError, CancelledError, RetryState

__all__ = ["LocalActivities", "StartedLocalActivity"]


class StartedLocalActivity(ActivityHandle[Any]):
    """A local activity whose command was emitted."""

    def __init__(self, owner: LocalActivities, seq: int, call: LocalCall) -> None:
        self.seq = seq
        """The number of the command that stands for it now: each long rest is followed by a new one."""
        self.call = call
        self.activity_id = call.options.activity_id or str(seq)
        self.payloads: Sequence[Any] = ()
        self.summary: Any | None = None
        self.timer: int | None = None
        mode = MODES[int(call.options.cancellation_type or 0)]
        on_cancel = functools.partial(owner.request_cancel, seq)
        self.operation: Operation[Any] = Operation(owner.scheduler, name=f"local activity {call.name}", on_cancel=on_cancel, mode=mode)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.operation.wait().__await__()

    def done(self) -> bool:
        return self.operation.done

    def cancel(self) -> None:
        self.operation.request_cancel()


class LocalActivities:
    """What was asked for and is not resolved, by the number of its first command."""

    def __init__(
        self,
        scheduler: Scheduler,
        converter: PayloadConverter,
        emit: Callable[[Any], None],
        start_timer: Callable[[float], int],
        cancel_timer: Callable[[int], None],
    ) -> None:
        self.scheduler = scheduler
        self._converter = converter
        self._emit = emit
        self._start_timer = start_timer
        self._cancel_timer = cancel_timer
        self._last_seq = 0
        self._pending: dict[int, StartedLocalActivity] = {}
        self._first_seq: dict[int, int] = {}
        self._resting: dict[int, tuple[int, Any]] = {}

    def start(self, call: LocalCall) -> StartedLocalActivity:
        """Emits the command.

        :raises ValueError: no timeout that bounds an attempt.
        :raises DataConversionError: an argument cannot be encoded.
        :raises ForbiddenCallError: in a query.
        """
        kind = "step" if call.step is not None else "local activity"
        check_activity(self.scheduler, kind, call.name, call.options)
        payloads = self._converter.to_payloads(call.args) if call.step is None else ()
        text = call.options.summary
        summary = None if text is None else self._converter.to_payloads([text])[0]
        self._last_seq += 1
        seq = self._last_seq
        handle = StartedLocalActivity(self, seq, call)
        handle.payloads, handle.summary = payloads, summary
        self._pending[seq], self._first_seq[seq] = handle, seq
        self._schedule(handle, None)
        return handle

    def _schedule(self, handle: StartedLocalActivity, backoff: Any | None) -> None:
        command = _commands.schedule_local_activity(
            handle.seq, handle.call, handle.payloads, activity_id=handle.activity_id, summary=handle.summary, backoff=backoff
        )
        self._emit(command)

    def request_cancel(self, first: int) -> None:
        """Asks a local activity to stop; one that rests between two attempts is over at once."""
        handle = self._pending.get(first)
        if handle is None:
            return
        if handle.timer is None:
            self._emit(_commands.request_cancel_local_activity(handle.seq))
            return
        self._cancel_timer(handle.timer)
        self._resting.pop(handle.timer, None)
        self._end_as_cancelled(first, handle)

    def _end_as_cancelled(self, first: int, handle: StartedLocalActivity) -> None:
        self._pending.pop(first, None)
        error = self._activity_error(handle, "the local activity was cancelled", RetryState.CANCEL_REQUESTED)
        error.__cause__ = CancelledError("cancelled")
        handle.operation.set_error(error, cancelled=True)

    def release(self) -> None:
        """Forgets the run."""
        self._pending.clear()
        self._resting.clear()
        del self.scheduler, self._emit, self._start_timer, self._cancel_timer

    def find_step(self, seq: int) -> LocalCall | None:
        """The step whose command has this number, if it is not resolved."""
        handle = self._pending.get(self._first_seq.get(seq, 0))
        return handle.call if handle is not None and handle.seq == seq and handle.call.step is not None else None

    def fire_timer(self, timer: int) -> bool:
        """Asks for the next attempt if this is the timer of a rest; False if it is another's."""
        found = self._resting.pop(timer, None)
        if found is None:
            return False
        first, backoff = found
        handle = self._pending[first]
        self._last_seq += 1
        handle.seq, handle.timer = self._last_seq, None
        self._first_seq[handle.seq] = first
        self._schedule(handle, backoff)
        return True

    def resolve(self, seq: int, resolution: Any) -> None:
        """Delivers an outcome, or begins a rest.

        :raises DataConversionError: the result cannot be decoded; it is delivered to the waiting task as well.
        :raises LookupError: nothing waits under this number, which is a bug of ours or of the history.
        """
        first = self._first_seq.pop(seq, 0)
        status = resolution.WhichOneof("status")
        if status == "backoff" and first in self._pending:
            handle = self._pending[first]
            if handle.operation.cancel_requested:  # the attempt had failed when the request came: nobody would ask again
                self._end_as_cancelled(first, handle)
                return
            handle.timer = self._start_timer(resolution.backoff.backoff_duration.ToTimedelta() / timedelta(seconds=1))
            self._resting[handle.timer] = (first, resolution.backoff)
            return
        found = self._pending.pop(first, None)
        if found is None:
            raise LookupError(f"an outcome for the local activity number {seq} arrived, which the workflow did not ask for")
        what = f"the local activity {found.call.name!r} ({found.activity_id})"
        decode_failure = functools.partial(self._wrapped, found)
        deliver(found.operation, resolution, self._converter, found.call.result_type, what, decode_failure=decode_failure)

    def _wrapped(self, handle: StartedLocalActivity, failure: Any, converter: PayloadConverter) -> Exception:
        """An outcome of the worker's own is bare: it gets the activity's name round it, as one from the service has."""
        cause = exception_from_failure(failure, converter)
        if isinstance(cause, ActivityError):
            return cause
        non_retryable = isinstance(cause, ApplicationError) and cause.non_retryable
        state = RetryState.NON_RETRYABLE_FAILURE if non_retryable else None
        error = self._activity_error(handle, "the local activity failed", state)
        error.__cause__ = cause
        return error

    def _activity_error(self, handle: StartedLocalActivity, text: str, state: RetryState | None) -> ActivityError:
        return ActivityError(text, activity_type=handle.call.name, activity_id=handle.activity_id, retry_state=state)
