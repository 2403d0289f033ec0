"""The relations of one run to others: children it started, workflows it signals or asks to cancel themselves.

Commands go out with a sequence number of their kind; activations bring the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from random import Random
from typing import Any, Literal

from . import _commands
from ._backend import Operation, Scheduler, checkpoint_if_cancelled, refuse_changes
from ._definitions import signal_name
from ._failure import exception_from_failure
from ._search_attributes import encode_search_attributes
from ._workflow_children import ChildWorkflowCancellationType, ChildWorkflowHandle, ExternalWorkflowHandle
from ._workflow_resolution import deliver
from ._workflow_runtime import Info, random_uuid
from .converter import PayloadConverter
from .exceptions import ChildWorkflowError, WorkflowAlreadyStartedError

__all__ = ["RELATION_JOBS", "External", "Relations", "StartedChild"]

_MODES: dict[int, Literal["try", "wait", "abandon"]] = {
    ChildWorkflowCancellationType.TRY_CANCEL: "try",
    ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED: "wait",
    ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED: "wait",
    ChildWorkflowCancellationType.ABANDON: "abandon",
}
# coresdk.child_workflow.StartChildWorkflowExecutionFailedCause
_ALREADY_EXISTS = 1


class StartedChild(ChildWorkflowHandle[Any, Any]):
    """A child whose command was emitted."""

    def __init__(
        self, owner: Relations, seq: int, name: str, workflow_id: str, cancellation: ChildWorkflowCancellationType, result_type: Any | None
    ) -> None:
        self.id = workflow_id
        self.first_execution_run_id = ""
        self.seq = seq
        self.name = name
        self.result_type = result_type
        self._owner = owner
        self._cancelled = False
        self._reason = ""
        mode = _MODES[cancellation]
        label = f"child workflow {workflow_id}"
        self.started: Operation[None] = Operation(owner.scheduler, name=f"start of {label}", on_cancel=self._on_cancel, mode=mode)
        self.result: Operation[Any] = Operation(owner.scheduler, name=label, on_cancel=self._on_cancel, mode=mode)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.result.wait().__await__()

    def done(self) -> bool:
        return self.result.done

    def cancel(self, reason: str = "") -> None:
        self._reason = reason
        self.result.request_cancel()

    async def _signal(self, signal: Any, args: tuple[Any, ...]) -> None:
        await self._owner.signal(signal, args, child=self.id)

    def _on_cancel(self) -> None:
        # Both waits lead here, the one for the start and the one for the end; one request is enough.
        if not self._cancelled:
            self._cancelled = True
            # Start and end may come together: the wait for the end then never asks, but its answer is to the same request.
            self.started.cancel_requested = self.result.cancel_requested = True
            self._owner.emit(_commands.cancel_child_workflow(self.seq, self._reason))

    def set_result(self, value: Any) -> None:
        self.result.set_result(value)

    def set_error(self, error: BaseException, *, cancelled: bool = False) -> None:
        self.started.set_error(error, cancelled=cancelled)
        self.result.set_error(error, cancelled=cancelled)


class External(ExternalWorkflowHandle[Any]):
    """A workflow that is only named."""

    def __init__(self, owner: Relations, workflow_id: str, run_id: str | None) -> None:
        self.id = workflow_id
        self.run_id = run_id
        self._owner = owner

    async def _signal(self, signal: Any, args: tuple[Any, ...]) -> None:
        await self._owner.signal(signal, args, workflow=(self.id, self.run_id))

    async def cancel(self, reason: str = "") -> None:
        await self._owner.cancel(self.id, self.run_id, reason)


class Relations:
    """What was asked of other workflows and is not yet answered, by sequence number."""

    def __init__(self, scheduler: Scheduler, converter: PayloadConverter, emit: Callable[[Any], None], info: Info) -> None:
        self.scheduler = scheduler
        self.emit = emit
        self._converter = converter
        self._info = info
        self._last = {"child": 0, "signal": 0, "cancel": 0}
        self._children: dict[int, StartedChild] = {}
        self._signals: dict[int, Operation[None]] = {}
        self._cancels: dict[int, Operation[None]] = {}

    def release(self) -> None:
        """Forgets the run."""
        for child in self._children.values():
            child.started.release()
            child.result.release()
        self._children.clear()
        self._signals.clear()
        self._cancels.clear()
        del self.scheduler, self.emit

    def _next(self, kind: str) -> int:
        self._last[kind] += 1
        return self._last[kind]

    def start_child(
        self, name: str, args: Sequence[Any], options: Mapping[str, Any], result_type: Any | None, random: Random
    ) -> StartedChild:
        """Emits the command.

        :raises TypeError: an option that does not exist.
        :raises DataConversionError: an argument or a memo value cannot be encoded.
        :raises ForbiddenCallError: in a query.
        """
        refuse_changes(f"starting the child workflow {name!r}")
        payloads = self._converter.to_payloads(args)
        encoded = dict(options)
        encoded["memo"] = {key: self._converter.to_payloads([value])[0] for key, value in (encoded.get("memo") or {}).items()}
        if encoded.get("search_attributes") is not None:
            encoded["search_attributes"] = encode_search_attributes(encoded["search_attributes"])
        for text in ("static_summary", "static_details"):
            if encoded.get(text) is not None:
                encoded[text] = self._converter.to_payloads([encoded[text]])[0]
        cancellation = ChildWorkflowCancellationType(
            encoded.pop("cancellation_type", ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED)
        )
        workflow_id = encoded.pop("id", None) or str(random_uuid(random))
        seq = self._next("child")
        command = _commands.start_child_workflow(
            seq,
            name,
            payloads,
            workflow_id=workflow_id,
            namespace=self._info.namespace,
            task_queue=encoded.pop("task_queue", None) or self._info.task_queue,
            cancellation_type=int(cancellation),
            **encoded,
        )
        child = StartedChild(self, seq, name, workflow_id, cancellation, result_type)
        self._children[seq] = child
        self.emit(command)
        return child

    def external(self, workflow_id: str, run_id: str | None) -> External:
        return External(self, workflow_id, run_id)

    async def signal(
        self, signal: Any, args: Sequence[Any], *, child: str | None = None, workflow: tuple[str, str | None] | None = None
    ) -> None:
        name = signal_name(signal)
        refuse_changes(f"sending the signal {name!r}")
        payloads = self._converter.to_payloads(args)
        await checkpoint_if_cancelled()
        seq = self._next("signal")
        operation: Operation[None] = Operation(
            self.scheduler, name=f"signal {name}", on_cancel=lambda: self.emit(_commands.cancel_signal(seq)), mode="wait"
        )
        self._signals[seq] = operation
        self.emit(_commands.signal_external_workflow(seq, name, payloads, child=child, workflow=workflow, namespace=self._info.namespace))
        await operation.wait()

    async def cancel(self, workflow_id: str, run_id: str | None, reason: str) -> None:
        refuse_changes(f"cancelling the workflow {workflow_id!r}")
        await checkpoint_if_cancelled()
        seq = self._next("cancel")
        operation: Operation[None] = Operation(self.scheduler, name=f"cancel request for {workflow_id}", mode="wait")
        self._cancels[seq] = operation
        self.emit(_commands.cancel_external_workflow(seq, workflow_id, run_id, reason, namespace=self._info.namespace))
        await operation.wait()

    # -- answers

    def resolve(self, variant: str, job: Any) -> None:
        """Delivers an answer.

        :raises DataConversionError: a result cannot be decoded; it is delivered to the waiting task as well.
        :raises LookupError: nothing waits under this number, which is a bug of ours or of the history.
        """
        if variant == "resolve_child_workflow_execution_start":
            self._resolve_start(job)
        elif variant == "resolve_child_workflow_execution":
            self._resolve_end(job)
        elif variant == "resolve_signal_external_workflow":
            self._resolve_request(self._signals, job, "signal")
        else:
            self._resolve_request(self._cancels, job, "cancel request")

    def _resolve_start(self, job: Any) -> None:
        child = self._children.get(job.seq)
        if child is None:
            raise LookupError(f"the start of child workflow number {job.seq} arrived, which the workflow did not ask for")
        status = job.WhichOneof("status")
        if status == "succeeded":
            child.first_execution_run_id = job.succeeded.run_id
            child.started.set_result(None)
            return
        del self._children[job.seq]
        if status == "cancelled":
            child.set_error(exception_from_failure(job.cancelled.failure, self._converter), cancelled=True)
        elif job.failed.cause == _ALREADY_EXISTS:
            child.set_error(WorkflowAlreadyStartedError(child.id, child.name))
        else:
            text = "the child workflow could not be started: its namespace was not found, or the service gave no reason"
            child.set_error(ChildWorkflowError(text, namespace=self._info.namespace, workflow_id=child.id, workflow_type=child.name))

    def _resolve_end(self, job: Any) -> None:
        child = self._children.pop(job.seq, None)
        if child is None:
            raise LookupError(f"the end of child workflow number {job.seq} arrived, which the workflow did not start")
        deliver(child, job.result, self._converter, child.result_type, f"the child workflow {child.name!r} ({child.id})")

    def _resolve_request(self, pending: dict[int, Operation[None]], job: Any, what: str) -> None:
        operation = pending.pop(job.seq, None)
        if operation is None:
            raise LookupError(f"the answer to {what} number {job.seq} arrived, which the workflow did not send")
        if not job.HasField("failure"):
            operation.set_result(None)
            return
        cancelled = job.failure.HasField("canceled_failure_info")
        operation.set_error(exception_from_failure(job.failure, self._converter), cancelled=cancelled)


RELATION_JOBS = frozenset(
    {
        "resolve_child_workflow_execution",
        "resolve_child_workflow_execution_start",
        "resolve_request_cancel_external_workflow",
        "resolve_signal_external_workflow",
    }
)
