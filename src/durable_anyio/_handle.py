"""Handles of workflows: waiting for, talking to and looking at one workflow."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple, overload
from uuid import uuid4

import anyio

from . import _definitions, _update, _visibility
from ._bridge import proto
from ._failure import exception_from_failure
from ._history import WorkflowHistory
from ._reset import ResetType, reset
from ._service import error_detail
from ._update import WorkflowUpdateHandle
from .common import QueryRejectCondition, ResetReapplyExcludeType, WorkflowExecutionStatus, WorkflowUpdateStage
from .exceptions import (
    CancelledError,
    RPCError,
    RPCStatusCode,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)

if TYPE_CHECKING:
    from ._visibility import WorkflowExecutionDescription
    from .client import Client

__all__ = ["WorkflowHandle"]

logger = logging.getLogger("durable_anyio")

SelfT = TypeVar("SelfT")
ResultT = TypeVar("ResultT")
AnswerT = TypeVar("AnswerT")
Ts = TypeVarTuple("Ts")

# A result that takes longer is worth one look whether anybody works on it.
HINT_DELAY_SECONDS = 1.0
# A query that nobody answers: the service holds it until the caller goes away.
QUERY_TIMEOUT = timedelta(seconds=10)
_CLOSE_EVENT = 2  # HistoryEventFilterType
_EventType = proto.enum("temporal.api.enums.v1.EventType")


class WorkflowHandle(Generic[SelfT, ResultT]):
    """One workflow, by its id. With a `run_id` calls concern that run only, without one the current run.

    `first_execution_run_id` is set on handles of `start_workflow`: cancel and terminate then reach every run that continues
    that one, and never a later workflow of the same id.
    """

    def __init__(
        self,
        client: Client,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any | None = None,
        task_queue: str | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._run_id = run_id
        self._result_run_id = result_run_id
        self._first_execution_run_id = first_execution_run_id
        self._result_type = result_type
        self._task_queue = task_queue

    def __repr__(self) -> str:
        return f"<WorkflowHandle id={self._id!r} run_id={self._run_id or self._result_run_id!r}>"

    @property
    def client(self) -> Client:
        """The client that made this handle."""
        return self._client

    @property
    def id(self) -> str:
        """The workflow's id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that calls concern; None for the current one."""
        return self._run_id

    @property
    def result_run_id(self) -> str | None:
        """The run that `result` waits for first; None for the current one."""
        return self._result_run_id

    @property
    def first_execution_run_id(self) -> str | None:
        """The first run of the chain, where it is known."""
        return self._first_execution_run_id

    async def result(self, *, follow_runs: bool = True) -> ResultT:
        """Waits for the workflow's end.

        :param follow_runs: wait for the run that continues this one too (continue-as-new, retries).
        :raises WorkflowFailureError: if it failed, was cancelled or terminated, or timed out; `cause` is the reason.
        :raises WorkflowContinuedAsNewError: if the run continued as new and `follow_runs` is False.
        :raises DataConversionError: if the result cannot be read as the declared type.
        :raises RPCError: if the service refuses; NOT_FOUND if there is no such workflow.
        """
        run_id = self._result_run_id or ""
        while True:
            event = await self._close_event(run_id)
            next_run_id = _next_run_id(event)
            if not next_run_id or not follow_runs:
                return self._outcome(event, next_run_id)
            run_id = next_run_id

    async def _close_event(self, run_id: str) -> Any:
        service = self._client.service
        request = service.request(
            "GetWorkflowExecutionHistory",
            namespace=self._client.namespace,
            execution={"workflow_id": self._id, "run_id": run_id},
            wait_new_event=True,
            history_event_filter_type=_CLOSE_EVENT,
            skip_archival=True,
        )
        hinted = False
        while True:
            response = None
            with anyio.move_on_after(None if hinted else HINT_DELAY_SECONDS):
                response = await self._poll(request)
            if response is None:
                if not hinted:
                    await self._hint()
                hinted = True
                continue
            if response.history.events:
                return response.history.events[-1]
            request.next_page_token = response.next_page_token

    async def _poll(self, request: Any) -> Any | None:
        """One long poll; None if the service let it run into its deadline, which long polls may."""
        try:
            return await self._client.service.call("GetWorkflowExecutionHistory", request, timeout=None)
        except RPCError as error:
            if error.status is not RPCStatusCode.DEADLINE_EXCEEDED:
                raise
            return None

    async def _hint(self) -> None:
        """Says once when nobody works on what is waited for."""
        if self._task_queue is None:
            return
        try:
            if await _visibility.poller_count(self._client, self._task_queue) == 0:
                logger.warning("workflow %r waits: %s", self._id, _visibility.no_worker_text(self._task_queue, "workflows"))
        except RPCError as error:
            logger.debug("cannot describe task queue %r: %s", self._task_queue, error)

    def _outcome(self, event: Any, next_run_id: str) -> ResultT:
        converter = self._client.data_converter
        kind = _EventType.Name(event.event_type).removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_")
        cause: Exception
        if kind == "COMPLETED":
            payloads = event.workflow_execution_completed_event_attributes.result.payloads
            return converter.from_payloads(payloads[:1], [self._result_type])[0] if payloads else None  # type: ignore[return-value]
        if kind == "CONTINUED_AS_NEW":
            raise WorkflowContinuedAsNewError(next_run_id)
        if kind == "FAILED":
            message = f"workflow {self._id!r} failed"
            cause = exception_from_failure(event.workflow_execution_failed_event_attributes.failure, converter)
        elif kind == "CANCELED":
            message = f"workflow {self._id!r} was cancelled"
            details = event.workflow_execution_canceled_event_attributes.details.payloads
            cause = CancelledError("cancelled", *converter.from_payloads(details))
        elif kind == "TERMINATED":
            message = f"workflow {self._id!r} was terminated"
            attributes = event.workflow_execution_terminated_event_attributes
            cause = TerminatedError(attributes.reason or "terminated", *converter.from_payloads(attributes.details.payloads))
        elif kind == "TIMED_OUT":
            message = f"workflow {self._id!r} timed out"
            cause = TimeoutError("workflow timed out", type=TimeoutType.START_TO_CLOSE)
        else:
            raise RuntimeError(f"the service gave {kind} as the event that closed workflow {self._id!r}: please report this")
        raise WorkflowFailureError(message, cause=cause)

    async def cancel(self, *, reason: str = "") -> None:
        """Asks the workflow to cancel: the scope around its `run` is cancelled. Returns when the request is stored."""
        request = self._client.service.request(
            "RequestCancelWorkflowExecution",
            namespace=self._client.namespace,
            workflow_execution=self._execution(),
            identity=self._client.identity,
            request_id=str(uuid4()),
            first_execution_run_id=self._first_execution_run_id or "",
            reason=reason,
        )
        await self._client.service.call("RequestCancelWorkflowExecution", request)

    async def terminate(self, *details: Any, reason: str = "") -> None:
        """Ends the workflow at once; its code is not asked."""
        request = self._client.service.request(
            "TerminateWorkflowExecution",
            namespace=self._client.namespace,
            workflow_execution=self._execution(),
            identity=self._client.identity,
            first_execution_run_id=self._first_execution_run_id or "",
            reason=reason,
        )
        if details:
            request.details.payloads.extend(self._client.data_converter.to_payloads(details))
        await self._client.service.call("TerminateWorkflowExecution", request)

    @overload
    async def signal(self, signal: Callable[[SelfT, *Ts], Awaitable[None] | None], *args: *Ts) -> None: ...

    @overload
    async def signal(self, signal: str, *args: Any) -> None: ...

    async def signal(self, signal: Any, *args: Any) -> None:  # type: ignore[misc]  # mypy cannot match *Ts with Any
        """Sends a signal. Returns when it is stored; the handler runs after that.

        :raises TypeError: if the arguments do not fit the handler; nothing is sent then.
        """
        name = _definitions.signal_name(signal)
        _definitions.check_arguments(signal, args)
        request = self._client.service.request(
            "SignalWorkflowExecution",
            namespace=self._client.namespace,
            workflow_execution=self._execution(),
            signal_name=name,
            identity=self._client.identity,
            request_id=str(uuid4()),
        )
        request.input.payloads.extend(self._client.data_converter.to_payloads(args))
        await self._client.service.call("SignalWorkflowExecution", request)

    @overload
    async def query(
        self,
        query: Callable[[SelfT, *Ts], AnswerT],
        *args: *Ts,
        reject_condition: QueryRejectCondition | None = None,
        timeout: timedelta = QUERY_TIMEOUT,
    ) -> AnswerT: ...

    @overload
    async def query(
        self,
        query: str,
        *args: Any,
        result_type: Any | None = None,
        reject_condition: QueryRejectCondition | None = None,
        timeout: timedelta = QUERY_TIMEOUT,
    ) -> Any: ...

    async def query(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self,
        query: Any,
        *args: Any,
        result_type: Any | None = None,
        reject_condition: QueryRejectCondition | None = None,
        timeout: timedelta = QUERY_TIMEOUT,
    ) -> Any:
        """Asks the workflow's query handler; a worker must be there to answer, closed workflows answer too.

        :raises WorkflowQueryFailedError: if the handler raised or there is none of that name.
        :raises WorkflowQueryRejectedError: if `reject_condition` refuses the workflow's status.
        :raises RPCError: DEADLINE_EXCEEDED if no worker answered in time.
        """
        name = _definitions.query_name(query)
        _definitions.check_arguments(query, args)
        request = self._client.service.request(
            "QueryWorkflow", namespace=self._client.namespace, execution=self._execution(), query_reject_condition=reject_condition or 0
        )
        request.query.query_type = name
        if args:
            request.query.query_args.payloads.extend(self._client.data_converter.to_payloads(args))
        try:
            response = await self._client.service.call("QueryWorkflow", request, timeout=timeout)
        except RPCError as error:
            told = self._query_error(error, name)
            raise told from told.__cause__  # the handler's failure; the refusal itself says no more
        if response.HasField("query_rejected"):
            status = response.query_rejected.status
            raise WorkflowQueryRejectedError(WorkflowExecutionStatus(status) if status else None)
        if not response.query_result.payloads:
            return None
        hint = result_type if isinstance(query, str) else getattr(query, _definitions.QUERY).return_type
        return self._client.data_converter.from_payloads(response.query_result.payloads[:1], [hint])[0]

    def _query_error(self, error: RPCError, name: str) -> Exception:
        detail = error_detail(error, "QueryFailedFailure")
        if detail is not None or error.status is RPCStatusCode.INVALID_ARGUMENT:
            failed = WorkflowQueryFailedError(error.message)
            if detail is not None and detail.HasField("failure"):
                failed.__cause__ = exception_from_failure(detail.failure, self._client.data_converter)
            return failed
        if error.status is RPCStatusCode.DEADLINE_EXCEEDED:
            text = f"query {name!r} of workflow {self._id!r} was not answered in time"
            return RPCError(f"{text}; hint: queries need a worker of the workflow's task queue", error.status, error.details)
        return error

    @overload
    async def execute_update(self, update: Callable[[SelfT, *Ts], Awaitable[AnswerT]], *args: *Ts, id: str | None = None) -> AnswerT: ...

    @overload
    async def execute_update(self, update: Callable[[SelfT, *Ts], AnswerT], *args: *Ts, id: str | None = None) -> AnswerT: ...

    @overload
    async def execute_update(self, update: str, *args: Any, id: str | None = None, result_type: type[AnswerT]) -> AnswerT: ...

    @overload
    async def execute_update(self, update: str, *args: Any, id: str | None = None) -> Any: ...

    async def execute_update(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self, update: Any, *args: Any, id: str | None = None, result_type: Any | None = None
    ) -> Any:
        """Sends an update and returns what its handler returns.

        :param id: two updates of one id are one update: the second gets the first one's outcome.
        :raises WorkflowUpdateFailedError: if the validator refused it or the handler raised; `cause` is the reason.
        :raises TypeError: if the arguments do not fit the handler; nothing is sent then.
        :raises RPCError: NOT_FOUND if there is no such workflow, or it ended before it took the update.
        """
        started = await self._start_update(update, args, WorkflowUpdateStage.COMPLETED, id, result_type)
        return await started.result()

    @overload
    async def start_update(
        self, update: Callable[[SelfT, *Ts], Awaitable[AnswerT]], *args: *Ts, wait_for_stage: WorkflowUpdateStage, id: str | None = None
    ) -> WorkflowUpdateHandle[AnswerT]: ...

    @overload
    async def start_update(
        self, update: Callable[[SelfT, *Ts], AnswerT], *args: *Ts, wait_for_stage: WorkflowUpdateStage, id: str | None = None
    ) -> WorkflowUpdateHandle[AnswerT]: ...

    @overload
    async def start_update(
        self, update: str, *args: Any, wait_for_stage: WorkflowUpdateStage, id: str | None = None, result_type: type[AnswerT]
    ) -> WorkflowUpdateHandle[AnswerT]: ...

    @overload
    async def start_update(
        self, update: str, *args: Any, wait_for_stage: WorkflowUpdateStage, id: str | None = None
    ) -> WorkflowUpdateHandle[Any]: ...

    async def start_update(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self,
        update: Any,
        *args: Any,
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        result_type: Any | None = None,
    ) -> Any:
        """Sends an update and returns its handle when it has reached a stage; errors as `execute_update`.

        :param wait_for_stage: ACCEPTED (its validator has passed, and it will not be lost) or COMPLETED.
        """
        return await self._start_update(update, args, wait_for_stage, id, result_type)

    async def _start_update(
        self, update: Any, args: tuple[Any, ...], stage: WorkflowUpdateStage, id: str | None, result_type: Any | None
    ) -> WorkflowUpdateHandle[Any]:
        return await _update.start_update(
            self,
            update,
            args,
            id=id,
            stage=stage,
            result_type=result_type,
            first_execution_run_id=self._first_execution_run_id,
        )

    @overload
    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: type[AnswerT]
    ) -> WorkflowUpdateHandle[AnswerT]: ...

    @overload
    def get_update_handle(self, id: str, *, workflow_run_id: str | None = None) -> WorkflowUpdateHandle[Any]: ...

    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: Any | None = None
    ) -> WorkflowUpdateHandle[Any]:
        """A handle of an update that exists; nothing is asked."""
        run_id = workflow_run_id or self._run_id
        return WorkflowUpdateHandle(self._client, id, workflow_id=self._id, workflow_run_id=run_id, result_type=result_type)

    async def reset(
        self,
        *,
        event_id: int | None = None,
        type: ResetType = ResetType.LAST_WORKFLOW_TASK,
        reason: str = "",
        reapply_exclude_types: Sequence[ResetReapplyExcludeType] = (),
    ) -> WorkflowHandle[SelfT, ResultT]:
        """Ends the workflow's current run, if it has not ended, and begins one that shares the history up to a workflow task.

        Returns the handle of the new run. Signals and updates that came after that task come again. Activities that had ended before it
        do not run again, those that were running then do. Waiting for the old run's result tells that it was terminated.

        :param event_id: an event after a workflow task was scheduled and not after the one that ended it; the new run's history is what
            comes before.
        :param type: without an `event_id`: the first workflow task or the last one that has ended.
        :param reapply_exclude_types: what is not to come again.
        :raises ValueError: the history has no workflow task that has ended.
        :raises RPCError: INVALID_ARGUMENT if the event is not one to reset to.
        """
        return await reset(self, event_id, type, reason, reapply_exclude_types)

    async def delete(self) -> None:
        """Removes the run and its history for good; one that has not ended is terminated first.

        An embedded engine has done it when this returns, a service does it some time later.

        :raises RPCError: NOT_FOUND if there is no such run.
        """
        request = self._client.service.request(
            "DeleteWorkflowExecution", namespace=self._client.namespace, workflow_execution=self._execution()
        )
        await self._client.service.call("DeleteWorkflowExecution", request)

    async def describe(self) -> WorkflowExecutionDescription:
        """The workflow's status, what it waits for, and its `problems`: why it does not proceed."""
        return await _visibility.describe(self._client, self._id, self._run_id)

    async def fetch_history(self) -> WorkflowHistory:
        """The events so far of the run (without a run id: of the current one)."""
        events = await _visibility.fetch_events(self._client, self._id, self._run_id or None)
        return WorkflowHistory(self._id, events)

    def of_run(self, run_id: str) -> WorkflowHandle[SelfT, ResultT]:
        """A handle of another run of this workflow."""
        return WorkflowHandle(
            self._client, self._id, run_id=run_id, result_run_id=run_id, result_type=self._result_type, task_queue=self._task_queue
        )

    def _execution(self) -> dict[str, str]:
        return {"workflow_id": self._id, "run_id": self._run_id or ""}


def _next_run_id(event: Any) -> str:
    """The run that follows the one which this event closed; empty if none does."""
    attributes = event.WhichOneof("attributes")
    return str(getattr(getattr(event, attributes), "new_execution_run_id", "")) if attributes else ""
