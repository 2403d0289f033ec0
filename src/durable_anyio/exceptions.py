"""What durable_anyio raises on purpose. `WorkerError` is in `worker`, `NotInWorkflowError` and `ContinueAsNewError` are in `workflow`.

Three branches: the caller's mistake (`DataConversionError`, Python's own `TypeError` and `ValueError`), the service's
refusal (`RPCError` and what derives from it), and failures that travelled through a history (`FailureError`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ._backend._forbidden import ForbiddenCallError

if TYPE_CHECKING:
    from ._activity_context import ActivityCancellationDetails

__all__ = [
    "ActivityError",
    "ApplicationError",
    "AsyncActivityCancelledError",
    "CancelledError",
    "ChildWorkflowError",
    "DataConversionError",
    "DurableError",
    "FailureError",
    "ForbiddenCallError",
    "NexusHandlerError",
    "NexusOperationError",
    "NondeterminismError",
    "RPCError",
    "RPCStatusCode",
    "RetryState",
    "ScheduleAlreadyRunningError",
    "ServerError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "WorkflowAlreadyStartedError",
    "WorkflowContinuedAsNewError",
    "WorkflowFailureError",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowUpdateFailedError",
]


class DurableError(Exception):
    """The base of this package's errors, but for `ForbiddenCallError` and `workflow.NotInWorkflowError`, which are `RuntimeError`s."""

    @property
    def message(self) -> str:
        """The message without the causes."""
        return str(self.args[0]) if self.args else ""


class RPCStatusCode(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RPCError(DurableError):
    """The service refused a request, or could not be reached.

    `status` says which, `details` is an encoded `google.rpc.Status` or empty.
    """

    def __init__(self, message: str, status: RPCStatusCode | int = RPCStatusCode.UNKNOWN, details: bytes = b"") -> None:
        super().__init__(message, status, details)
        try:
            self.status = RPCStatusCode(status)
        except ValueError:
            self.status = RPCStatusCode.UNKNOWN
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.status.name})"


class WorkflowAlreadyStartedError(DurableError):
    """A workflow with this id runs already, or ran and its id may not be used again."""

    def __init__(self, workflow_id: str, workflow_type: str, run_id: str | None = None) -> None:
        super().__init__(
            f"workflow {workflow_id!r} has been started already; "
            "hint: use another id, get_workflow_handle(id) for the one that exists, or another id_conflict_policy or id_reuse_policy"
        )
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id

    def __reduce__(self) -> Any:
        return type(self), (self.workflow_id, self.workflow_type, self.run_id)


class ScheduleAlreadyRunningError(DurableError):
    """A schedule with this id exists already."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"schedule {schedule_id!r} exists already; hint: use another id, or get_schedule_handle(id) and update it")
        self.schedule_id = schedule_id

    def __reduce__(self) -> Any:
        return type(self), (self.schedule_id,)


class DataConversionError(DurableError):
    """A value cannot become a payload, or a payload cannot become the value that was asked for."""

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint

    def at(self, where: str) -> DataConversionError:
        """The same error, with the larger thing that it is in named first."""
        return DataConversionError(self.what, f"{where}, {self.where}" if self.where else where, self.hint)

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"; hint: {self.hint}" if self.hint else ""
        return f"{where}{self.what}{hint}"


class NondeterminismError(DurableError):
    """Workflow code did something else than its history says.

    What is not known, or does not apply, is None or empty.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str | None = None,
        actual: str | None = None,
        event_id: int | None = None,
        source: str | None = None,
        stack: str = "",
    ) -> None:
        super().__init__(message)
        self.expected = expected
        """The command that the history has there; "no command" if it has none."""
        self.actual = actual
        """The command that the code gave; "no command" if it gave none."""
        self.event_id = event_id
        """The event of the history at which they differ."""
        self.source = source
        """The line of the program that gave the command: file, number, function, text."""
        self.stack = stack
        """The program's lines that led there, innermost last; if it gave no command, where its tasks wait."""


class AsyncActivityCancelledError(DurableError):
    """An activity that is completed from outside is to stop; `details` say why. `AsyncActivityHandle.heartbeat` raises it."""

    def __init__(self, details: ActivityCancellationDetails | None = None) -> None:
        super().__init__("the activity is to stop", details)
        self.details = details


class TimeoutType(IntEnum):
    """Which of an activity's or a workflow's timeouts ran out."""

    UNSPECIFIED = 0
    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4


class RetryState(IntEnum):
    """Why a failed attempt was the last one."""

    UNSPECIFIED = 0
    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7


class FailureError(DurableError):
    """A failure as histories hold it. `cause` is the failure below it; `failure` the message it was made from."""

    def __init__(self, message: str, *, failure: Any | None = None) -> None:
        super().__init__(message)
        self._failure = failure

    @property
    def failure(self) -> Any | None:
        """The `temporal.api.failure.v1.Failure` that this was made from; None if it was raised here."""
        return self._failure

    @property
    def cause(self) -> BaseException | None:
        """The failure that led to this one."""
        return self.__cause__

    @property
    def stack_trace(self) -> str:
        """The stack trace of where it was raised, as text from that process; empty if it was raised here."""
        return str(self._failure.stack_trace) if self._failure is not None else ""


class ApplicationError(FailureError):
    """An error of user code, with a type that retry policies and other languages can name.

    Raised in an activity with `non_retryable=True` it stops the retries; `next_retry_delay` replaces the policy's next interval.
    """

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        failure: Any | None = None,
    ) -> None:
        super().__init__(message, failure=failure)
        self.details: Sequence[Any] = details
        self.type = type
        self.non_retryable = non_retryable
        self.next_retry_delay = next_retry_delay

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.type and self.type != "ApplicationError" else self.message


class CancelledError(FailureError):
    """A workflow or an activity was cancelled."""

    def __init__(self, message: str = "cancelled", *details: Any, failure: Any | None = None) -> None:
        super().__init__(message, failure=failure)
        self.details: Sequence[Any] = details


class TerminatedError(FailureError):
    """A workflow was terminated; `details` are what the terminating call gave."""

    def __init__(self, message: str = "terminated", *details: Any, failure: Any | None = None) -> None:
        super().__init__(message, failure=failure)
        self.details: Sequence[Any] = details


class TimeoutError(FailureError):
    """A timeout of a workflow or an activity ran out."""

    def __init__(
        self,
        message: str,
        *,
        type: TimeoutType | None = None,
        last_heartbeat_details: Sequence[Any] = (),
        failure: Any | None = None,
    ) -> None:
        super().__init__(message, failure=failure)
        self.type = type
        self.last_heartbeat_details = list(last_heartbeat_details)


class ServerError(FailureError):
    """The service itself failed."""

    def __init__(self, message: str, *, non_retryable: bool = False, failure: Any | None = None) -> None:
        super().__init__(message, failure=failure)
        self.non_retryable = non_retryable


class ActivityError(FailureError):
    """An activity failed, timed out or was cancelled for good; `cause` says why."""

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int = 0,
        started_event_id: int = 0,
        identity: str = "",
        activity_type: str = "",
        activity_id: str = "",
        retry_state: RetryState | None = None,
        failure: Any | None = None,
    ) -> None:
        super().__init__(message, failure=failure)
        self.scheduled_event_id = scheduled_event_id
        self.started_event_id = started_event_id
        self.identity = identity
        self.activity_type = activity_type
        self.activity_id = activity_id
        self.retry_state = retry_state

    def __str__(self) -> str:
        return _with_cause(self.message, self.__cause__)


class ChildWorkflowError(FailureError):
    """A child workflow failed; `cause` says why."""

    def __init__(
        self,
        message: str,
        *,
        namespace: str = "",
        workflow_id: str = "",
        run_id: str = "",
        workflow_type: str = "",
        initiated_event_id: int = 0,
        started_event_id: int = 0,
        retry_state: RetryState | None = None,
        failure: Any | None = None,
    ) -> None:
        super().__init__(message, failure=failure)
        self.namespace = namespace
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type
        self.initiated_event_id = initiated_event_id
        self.started_event_id = started_event_id
        self.retry_state = retry_state

    def __str__(self) -> str:
        return _with_cause(self.message, self.__cause__)


class NexusOperationError(FailureError):
    """A Nexus operation was refused, failed, timed out or was cancelled; `cause` says why.

    The cause is an `ApplicationError` if the operation failed, a `NexusHandlerError` if its handler could not take the call, a
    `TimeoutError` or a `CancelledError`.
    """

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int = 0,
        endpoint: str = "",
        service: str = "",
        operation: str = "",
        operation_token: str = "",
        failure: Any | None = None,
    ) -> None:
        super().__init__(message, failure=failure)
        self.scheduled_event_id = scheduled_event_id
        self.endpoint = endpoint
        self.service = service
        self.operation = operation
        self.operation_token = operation_token

    def __str__(self) -> str:
        return _with_cause(self.message, self.__cause__)


class NexusHandlerError(FailureError):
    """The handler of a Nexus operation could not take the call.

    `type` is one of the Nexus specification's error types, such as "BAD_REQUEST" or "NOT_FOUND". `retryable_override` says whether the
    handler wanted the call repeated, None if it left that to the type.
    """

    def __init__(self, message: str, *, type: str = "", retryable_override: bool | None = None, failure: Any | None = None) -> None:
        super().__init__(message, failure=failure)
        self.type = type
        self.retryable_override = retryable_override

    def __str__(self) -> str:
        return _with_cause(f"{self.type}: {self.message}" if self.type else self.message, self.__cause__)


class WorkflowFailureError(DurableError):
    """A workflow that was waited for did not complete; `cause` is the failure, or an `ExceptionGroup` of failures."""

    def __init__(self, message: str = "the workflow failed", *, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException | None:
        """What the workflow failed with: `ApplicationError`, `CancelledError`, `TerminatedError`, `TimeoutError`, …"""
        return self.__cause__

    def __str__(self) -> str:
        return _with_cause(self.message, self.__cause__)


class WorkflowContinuedAsNewError(DurableError):
    """A run that was waited for with `follow_runs=False` continued as new."""

    def __init__(self, new_run_id: str) -> None:
        super().__init__(f"the run continued as new in run {new_run_id}; hint: result(follow_runs=True) waits for the last run")
        self.new_run_id = new_run_id

    def __reduce__(self) -> Any:
        return type(self), (self.new_run_id,)


class WorkflowQueryFailedError(DurableError):
    """The query handler raised, or there is no handler of that name; `cause` is the failure if the service gave one."""

    @property
    def cause(self) -> BaseException | None:
        """What the handler raised."""
        return self.__cause__


class WorkflowQueryRejectedError(DurableError):
    """The query was refused because of the workflow's status; `status` is it."""

    def __init__(self, status: IntEnum | None) -> None:
        super().__init__(f"the query was rejected, the workflow is {status.name if status is not None else 'in an unknown status'}")
        self.status = status

    def __reduce__(self) -> Any:
        return type(self), (self.status,)


class WorkflowUpdateFailedError(DurableError):
    """The update was refused by its validator, or its handler raised; `cause` is the failure."""

    def __init__(self, message: str = "the update failed", *, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException | None:
        """What the validator or the handler raised."""
        return self.__cause__

    def __str__(self) -> str:
        return _with_cause(self.message, self.__cause__)


def _with_cause(message: str, cause: BaseException | None) -> str:
    """One line that names the reason: logs often show nothing but `str(error)`."""
    return message if cause is None else f"{message}: {cause}"
