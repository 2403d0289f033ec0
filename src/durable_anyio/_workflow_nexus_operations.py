"""The Nexus operations of one run: scheduled by commands, resolved by activations."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Literal

from . import _commands
from ._backend import Operation, Scheduler, refuse_changes
from ._failure import exception_from_failure
from ._workflow_nexus import NexusCall, NexusOperationCancellationType, NexusOperationHandle
from .converter import PayloadConverter
from .exceptions import DataConversionError

__all__ = ["NEXUS_JOBS", "NexusOperations", "StartedNexusOperation"]

NEXUS_JOBS = frozenset({"resolve_nexus_operation", "resolve_nexus_operation_start"})

_MODES: dict[int, Literal["try", "wait", "abandon"]] = {
    NexusOperationCancellationType.TRY_CANCEL: "try",
    NexusOperationCancellationType.WAIT_REQUESTED: "wait",
    NexusOperationCancellationType.WAIT_COMPLETED: "wait",
    NexusOperationCancellationType.ABANDON: "abandon",
}


class StartedNexusOperation(NexusOperationHandle[Any]):
    """An operation whose command was emitted."""

    def __init__(self, owner: NexusOperations, seq: int, call: NexusCall, cancellation: NexusOperationCancellationType) -> None:
        self.operation_token = None
        self.seq = seq
        self.output_type = call.output_type
        self.label = f"the Nexus operation {call.operation!r} of the service {call.service!r} at the endpoint {call.endpoint!r}"
        self._owner = owner
        self._cancelled = False
        mode = _MODES[cancellation]
        self.started: Operation[None] = Operation(owner.scheduler, name=f"start of {self.label}", on_cancel=self._on_cancel, mode=mode)
        self.result: Operation[Any] = Operation(owner.scheduler, name=self.label, on_cancel=self._on_cancel, mode=mode)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.result.wait().__await__()

    def done(self) -> bool:
        return self.result.done

    def cancel(self) -> None:
        self.result.request_cancel()

    def _on_cancel(self) -> None:
        # Both waits lead here, the one for the start and the one for the end; one request is enough.
        if not self._cancelled:
            self._cancelled = True
            # Start and end may come together: the wait for the end then never asks, but its answer is to the same request.
            self.started.cancel_requested = self.result.cancel_requested = True
            self._owner.emit(_commands.request_cancel_nexus_operation(self.seq))

    def set_error(self, error: BaseException, *, cancelled: bool = False) -> None:
        self.started.set_error(error, cancelled=cancelled)
        self.result.set_error(error, cancelled=cancelled)


class NexusOperations:
    """What was scheduled and has not ended, by sequence number."""

    def __init__(self, scheduler: Scheduler, converter: PayloadConverter, emit: Callable[[Any], None]) -> None:
        self.scheduler = scheduler
        self.emit = emit
        self._converter = converter
        self._last_seq = 0
        self._pending: dict[int, StartedNexusOperation] = {}

    def release(self) -> None:
        """Forgets the run."""
        for operation in self._pending.values():
            operation.started.release()
            operation.result.release()
        self._pending.clear()
        del self.scheduler, self.emit

    def schedule(self, call: NexusCall) -> StartedNexusOperation:
        """Emits the command.

        :raises DataConversionError: the input cannot be encoded.
        :raises ForbiddenCallError: in a query.
        """
        refuse_changes(f"starting the Nexus operation {call.operation!r}")
        (payload,) = self._converter.to_payloads([call.input])
        summary = call.options.get("summary")
        encoded_summary = None if summary is None else self._converter.to_payloads([summary])[0]
        cancellation = NexusOperationCancellationType(call.options.get("cancellation_type", NexusOperationCancellationType.WAIT_COMPLETED))
        self._last_seq += 1
        operation = StartedNexusOperation(self, self._last_seq, call, cancellation)
        self._pending[operation.seq] = operation
        self.emit(_commands.schedule_nexus_operation(operation.seq, call, payload, int(cancellation), encoded_summary))
        return operation

    def resolve(self, variant: str, job: Any) -> None:
        """Delivers what the history says of an operation.

        :raises DataConversionError: a result cannot be decoded; it is delivered to the waiting task as well.
        :raises LookupError: no operation has this number, which is a bug of ours or of the history.
        """
        operation = self._pending.get(job.seq)
        if operation is None:
            if job.seq <= self._last_seq:
                return  # it was cancelled, and then went on without the workflow
            raise LookupError(f"an answer for the Nexus operation number {job.seq} arrived, which the workflow did not start")
        if variant == "resolve_nexus_operation_start":
            self._resolve_start(operation, job)
        else:
            del self._pending[job.seq]
            self._resolve_end(operation, job.result)

    def _resolve_start(self, operation: StartedNexusOperation, job: Any) -> None:
        status = job.WhichOneof("status")
        if status == "operation_token":
            operation.operation_token = job.operation_token
            operation.started.set_result(None)
        elif status == "started_sync":
            operation.started.set_result(None)  # its end comes with it
        elif status == "failed":
            del self._pending[job.seq]
            self._fail(operation, job.failed)
        else:
            raise LookupError(f"{operation.label} started as {status!r}, which this release does not know")

    def _resolve_end(self, operation: StartedNexusOperation, result: Any) -> None:
        status = result.WhichOneof("status")
        if status == "completed":
            try:
                value = self._decode(operation, result.completed)
            except DataConversionError as error:
                operation.set_error(error)
                raise
            operation.result.set_result(value)
        elif status in ("failed", "cancelled", "timed_out"):
            self._fail(operation, getattr(result, status))
        else:
            raise LookupError(f"{operation.label} ended as {status!r}, which this release does not know")

    def _decode(self, operation: StartedNexusOperation, payload: Any) -> Any:
        if not payload.ByteSize():
            return None  # handlers in other languages that return nothing
        try:
            return self._converter.from_payloads([payload], [operation.output_type])[0]
        except DataConversionError as error:
            raise error.at(f"the result of {operation.label}") from error

    def _fail(self, operation: StartedNexusOperation, failure: Any) -> None:
        cancelled = failure.HasField("canceled_failure_info") or failure.cause.HasField("canceled_failure_info")
        operation.set_error(exception_from_failure(failure, self._converter), cancelled=cancelled)
