"""Updates as their callers see them: sent, waited for, and sent together with a workflow's start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, TypeVarTuple, Unpack, overload
from uuid import uuid4

import anyio

from . import _definitions
from ._bridge import proto
from ._failure import exception_from_failure
from ._service import error_detail
from ._start import StartOptions, start_refused, start_request
from .common import WorkflowIDConflictPolicy, WorkflowUpdateStage
from .exceptions import RPCError, RPCStatusCode, WorkflowUpdateFailedError

if TYPE_CHECKING:
    from ._handle import WorkflowHandle
    from .client import Client

__all__ = ["WithStartWorkflowOperation", "WorkflowUpdateHandle", "start_update", "start_update_with_start"]

SelfT = TypeVar("SelfT")
ResultT = TypeVar("ResultT")
AnswerT = TypeVar("AnswerT")
Ts = TypeVarTuple("Ts")

# An embedded engine refuses more than ten updates of one workflow at a time; a connection to a service tries again by itself.
BUSY_ATTEMPTS = 10
FIRST_BUSY_PAUSE_SECONDS = 0.05
LONGEST_BUSY_PAUSE_SECONDS = 2.0


class WorkflowUpdateHandle(Generic[AnswerT]):
    """One update of one run."""

    def __init__(
        self,
        client: Client,
        id: str,
        *,
        workflow_id: str,
        workflow_run_id: str | None = None,
        result_type: Any | None = None,
        outcome: Any | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._workflow_id = workflow_id
        self._workflow_run_id = workflow_run_id
        self._result_type = result_type
        self._outcome = outcome

    def __repr__(self) -> str:
        return f"<WorkflowUpdateHandle id={self._id!r} workflow_id={self._workflow_id!r}>"

    @property
    def id(self) -> str:
        """The update's id."""
        return self._id

    @property
    def workflow_id(self) -> str:
        """The id of the workflow it was sent to."""
        return self._workflow_id

    @property
    def workflow_run_id(self) -> str | None:
        """The run it was sent to; None if only the workflow is known."""
        return self._workflow_run_id

    async def result(self) -> AnswerT:
        """Waits for the handler's end and returns what it returned. Cancelling the wait does not cancel the handler.

        :raises WorkflowUpdateFailedError: if the validator refused it or the handler raised; `cause` is the reason.
        :raises DataConversionError: if the result cannot be read as the declared type.
        :raises RPCError: NOT_FOUND if there is no such update.
        """
        while self._outcome is None:
            await self._poll()
        converter = self._client.data_converter
        if self._outcome.HasField("failure"):
            cause = exception_from_failure(self._outcome.failure, converter)
            raise WorkflowUpdateFailedError(f"update {self._id!r} of workflow {self._workflow_id!r} failed", cause=cause)
        payloads = self._outcome.success.payloads
        return converter.from_payloads(payloads[:1], [self._result_type])[0] if payloads else None  # type: ignore[return-value]

    async def _poll(self) -> None:
        service = self._client.service
        request = service.request(
            "PollWorkflowExecutionUpdate",
            namespace=self._client.namespace,
            update_ref={
                "workflow_execution": {"workflow_id": self._workflow_id, "run_id": self._workflow_run_id or ""},
                "update_id": self._id,
            },
            identity=self._client.identity,
            wait_policy={"lifecycle_stage": int(WorkflowUpdateStage.COMPLETED)},
        )
        try:
            response = await service.call("PollWorkflowExecutionUpdate", request, timeout=None)
        except RPCError as error:
            if error.status is not RPCStatusCode.DEADLINE_EXCEEDED:  # a long poll may run into its own end
                raise
            return
        self.take(response)

    def take(self, response: Any) -> None:
        """Keeps what an answer of the service says."""
        if response.HasField("outcome"):
            self._outcome = response.outcome
        self._workflow_run_id = response.update_ref.workflow_execution.run_id or self._workflow_run_id


class WithStartWorkflowOperation(Generic[SelfT, ResultT]):
    """The start in an update-with-start; arguments and options as `Client.start_workflow`.

    `id_conflict_policy` is required: FAIL if a running workflow of the id is a mistake, USE_EXISTING if it is to take the update. One
    operation serves one call.
    """

    @overload
    def __init__(self, workflow: Callable[[SelfT, *Ts], Awaitable[ResultT]], *args: *Ts, **options: Unpack[StartOptions]) -> None: ...
    @overload
    def __init__(self, workflow: str, *args: Any, result_type: type[ResultT], **options: Unpack[StartOptions]) -> None: ...
    @overload
    def __init__(self: WithStartWorkflowOperation[Any, Any], workflow: str, *args: Any, **options: Unpack[StartOptions]) -> None: ...
    def __init__(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self, workflow: Any, *args: Any, result_type: Any | None = None, **options: Unpack[StartOptions]
    ) -> None:
        policy = options.get("id_conflict_policy", WorkflowIDConflictPolicy.UNSPECIFIED)
        if policy is WorkflowIDConflictPolicy.UNSPECIFIED:
            raise ValueError("update-with-start needs an id_conflict_policy\nhint: FAIL or USE_EXISTING")
        self.name, definition = _definitions.workflow_definition(workflow)
        if definition is not None:
            _definitions.check_arguments(definition, args)
            result_type = result_type or definition.return_type
        self.args = args
        self.options = options
        self.result_type = result_type
        self.is_used = False
        self._started = anyio.Event()
        self._handle: WorkflowHandle[SelfT, ResultT] | None = None
        self._error: BaseException | None = None

    async def workflow_handle(self) -> WorkflowHandle[SelfT, ResultT]:
        """Waits until the workflow is known: started, or found running.

        :raises WorkflowAlreadyStartedError: the id is taken, and the policy says that this is a mistake.
        """
        await self._started.wait()
        if self._handle is None:
            raise self._error or RuntimeError("the start ended without a handle")
        return self._handle

    def settle(self, outcome: WorkflowHandle[SelfT, ResultT] | BaseException) -> None:
        """Tells those that wait for the handle; the first outcome counts."""
        if self._started.is_set():
            return
        if isinstance(outcome, BaseException):
            self._error = outcome
        else:
            self._handle = outcome
        self._started.set()


def _request(
    client: Client, workflow: dict[str, str], update: Any, args: tuple[Any, ...], id: str | None, stage: WorkflowUpdateStage
) -> Any:
    name = _definitions.update_name(update)
    _definitions.check_arguments(update, args)
    if stage is WorkflowUpdateStage.ADMITTED:
        raise ValueError("wait_for_stage=ADMITTED is not possible: the service keeps admitted updates in memory only\nhint: ACCEPTED")
    if id is not None and not id:
        raise ValueError("the update id is empty; hint: leave it out for one that is made up")
    request = client.service.request(
        "UpdateWorkflowExecution",
        namespace=client.namespace,
        workflow_execution=workflow,
        request={"meta": {"update_id": id or str(uuid4()), "identity": client.identity}, "input": {"name": name}},
        wait_policy={"lifecycle_stage": int(stage)},
    )
    if args:
        request.request.input.args.payloads.extend(client.data_converter.to_payloads(args))
    return request


def _update_handle(client: Client, request: Any, update: Any, result_type: Any | None) -> WorkflowUpdateHandle[Any]:
    definition = getattr(update, _definitions.UPDATE, None)
    hint = result_type if definition is None else definition.return_type
    return WorkflowUpdateHandle(
        client, request.request.meta.update_id, workflow_id=request.workflow_execution.workflow_id, result_type=hint
    )


async def start_update(
    handle: WorkflowHandle[Any, Any],
    update: Any,
    args: tuple[Any, ...],
    *,
    id: str | None,
    stage: WorkflowUpdateStage,
    result_type: Any | None,
    first_execution_run_id: str | None,
) -> WorkflowUpdateHandle[Any]:
    """Sends an update and waits until it has reached `stage`."""
    client = handle.client
    workflow = {"workflow_id": handle.id, "run_id": handle.run_id or ""}
    request = _request(client, workflow, update, args, id, stage)
    request.first_execution_run_id = first_execution_run_id or ""
    started = _update_handle(client, request, update, result_type)
    # The service answers after a while even if the update was not taken; with the same id the same is asked again.
    while True:
        response = await _call(client, "UpdateWorkflowExecution", request)
        if response is not None:
            started.take(response)
            if response.stage >= WorkflowUpdateStage.ACCEPTED:
                return started


async def start_update_with_start(
    client: Client,
    operation: WithStartWorkflowOperation[Any, Any],
    update: Any,
    args: tuple[Any, ...],
    *,
    id: str | None,
    stage: WorkflowUpdateStage,
    result_type: Any | None,
) -> WorkflowUpdateHandle[Any]:
    """Starts a workflow, or takes the one that runs, and sends it an update, as one transaction."""
    if operation.is_used:
        raise RuntimeError("this WithStartWorkflowOperation was used already\nhint: make one for each call")
    operation.is_used = True
    try:
        start = start_request(client, operation.name, operation.args, operation.options)
        request = _request(client, {"workflow_id": start.workflow_id}, update, args, id, stage)
        started = _update_handle(client, request, update, result_type)
        operations = [{"start_workflow": start}, {"update_workflow": request}]
        both = client.service.request("ExecuteMultiOperation", namespace=client.namespace, operations=operations)
        while True:
            try:
                response = await _call(client, "ExecuteMultiOperation", both)
            except RPCError as error:
                raise _told(client, error, start, operation) from None
            if response is None:
                continue
            run_id = response.responses[0].start_workflow.run_id
            operation.settle(client.started_handle(start, run_id, operation.result_type))
            answer = response.responses[1].update_workflow
            started.take(answer)
            if answer.stage >= WorkflowUpdateStage.ACCEPTED:
                return started
    except BaseException as error:
        operation.settle(error)
        raise


async def _call(client: Client, name: str, request: Any) -> Any | None:
    """One long poll; None if the service let it run into its deadline, which long polls may."""
    pause = FIRST_BUSY_PAUSE_SECONDS
    for attempt in range(1, BUSY_ATTEMPTS + 1):
        try:
            return await client.service.call(name, request, timeout=None)
        except RPCError as error:
            if error.status is RPCStatusCode.DEADLINE_EXCEEDED:
                return None
            if error.status is not RPCStatusCode.RESOURCE_EXHAUSTED or not client.is_embedded or attempt == BUSY_ATTEMPTS:
                raise
        await anyio.sleep(pause)
        pause = min(2 * pause, LONGEST_BUSY_PAUSE_SECONDS)
    return None


def _told(client: Client, error: RPCError, start: Any, operation: WithStartWorkflowOperation[Any, Any]) -> BaseException:
    """The refusal of the operation that failed: the other one was only aborted."""
    detail = error_detail(error, "MultiOperationExecutionFailure")
    if detail is None:
        return error
    for index, status in enumerate(detail.statuses):
        aborted = any(packed.type_url.endswith("MultiOperationExecutionAborted") for packed in status.details)
        if status.code == RPCStatusCode.OK or aborted:
            continue
        packed = proto.message("google.rpc.Status")(code=status.code, message=status.message, details=status.details)
        refusal = RPCError(status.message, status.code, packed.SerializeToString())
        return start_refused(refusal, start) if index == 0 else refusal
    return error
