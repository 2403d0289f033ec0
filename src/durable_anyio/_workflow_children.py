"""Child workflows and other workflows, as workflow code sees them: the functions and types that `durable_anyio.workflow` re-exports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import timedelta
from enum import IntEnum
from typing import Any, Generic, TypedDict, TypeVar, TypeVarTuple, Unpack, overload

from ._definitions import check_arguments, workflow_definition
from ._workflow_runtime import current_runtime
from .common import Priority, RetryPolicy, TypedSearchAttributes, WorkflowIDReusePolicy

__all__ = [
    "ChildWorkflowCancellationType",
    "ChildWorkflowHandle",
    "ChildWorkflowOptions",
    "ExternalWorkflowHandle",
    "ParentClosePolicy",
    "execute_child_workflow",
    "get_external_workflow_handle",
    "get_external_workflow_handle_for",
    "start_child_workflow",
]

SelfT = TypeVar("SelfT")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")


class ChildWorkflowCancellationType(IntEnum):
    """What the cancellation of the waiting scope does to a child workflow."""

    ABANDON = 0
    """Leave the child running."""
    TRY_CANCEL = 1
    """Ask the child to cancel itself, do not wait for it: it may outlive the scope."""
    WAIT_CANCELLATION_COMPLETED = 2
    """Ask the child to cancel itself and hold the scope until it has ended. The default."""
    WAIT_CANCELLATION_REQUESTED = 3
    """As `WAIT_CANCELLATION_COMPLETED`, which is also how the official core treats it."""


class ParentClosePolicy(IntEnum):
    """What becomes of a running child when its parent ends, and also when its parent continues as new."""

    UNSPECIFIED = 0
    TERMINATE = 1
    """The child is terminated. The default."""
    ABANDON = 2
    """The child goes on."""
    REQUEST_CANCEL = 3
    """The child is asked to cancel itself."""


class ChildWorkflowOptions(TypedDict, total=False):
    """With what a child workflow starts; what is left out is as in the parent, or the service's default."""

    id: str
    """Its workflow id; a random UUID, the same in a replay, if not given."""
    task_queue: str
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta
    run_timeout: timedelta
    task_timeout: timedelta
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy
    cron_schedule: str
    memo: Mapping[str, Any]
    search_attributes: TypedSearchAttributes
    static_summary: str
    """One line for the web interface."""
    static_details: str
    """More text for the web interface, in Markdown."""
    priority: Priority
    """Which of the tasks that wait go first; what is not set is as in this workflow."""


class _SignalTarget(ABC, Generic[SelfT]):
    id: str

    @overload
    async def signal(self, signal: Callable[[SelfT, *Ts], Awaitable[None] | None], *args: *Ts) -> None: ...
    @overload
    async def signal(self, signal: str, *args: Any) -> None: ...
    async def signal(self, signal: Any, *args: Any) -> None:  # type: ignore[misc]  # mypy cannot match *Ts with Any
        """Sends a signal and returns when the other workflow has it; its handler may run later.

        :raises ApplicationError: the other workflow does not exist or has ended; `type` is then "ExternalWorkflowExecutionNotFound".
        :raises TypeError: the arguments do not fit the handler.
        """
        check_arguments(signal, args)
        await self._signal(signal, args)

    @abstractmethod
    async def _signal(self, signal: Any, args: tuple[Any, ...]) -> None: ...


class ChildWorkflowHandle(_SignalTarget[SelfT], Awaitable[R_co], Generic[SelfT, R_co]):
    """A child workflow that was started: await it for its result."""

    first_execution_run_id: str
    """The id of its first run."""

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, R_co]: ...

    @abstractmethod
    def cancel(self, reason: str = "") -> None:
        """Asks the child to cancel itself, at most once; awaiting it then tells how it ended."""

    @abstractmethod
    def done(self) -> bool:
        """True once the outcome is known to the workflow."""


class ExternalWorkflowHandle(_SignalTarget[SelfT], Generic[SelfT]):
    """Another workflow of the same namespace, which this one neither started nor waits for."""

    run_id: str | None
    """The run that is meant; None: the newest one."""

    @abstractmethod
    async def cancel(self, reason: str = "") -> None:
        """Asks the other workflow to cancel itself and returns when it has the request.

        A workflow that has ended needs none: that is no error.

        :raises ApplicationError: there is no such workflow; `type` is then "ExternalWorkflowExecutionNotFound".
        """


@overload
async def start_child_workflow(
    workflow: Callable[[SelfT, *Ts], Awaitable[R]], *args: *Ts, **options: Unpack[ChildWorkflowOptions]
) -> ChildWorkflowHandle[SelfT, R]: ...
@overload
async def start_child_workflow(
    workflow: str, *args: Any, result_type: type[R], **options: Unpack[ChildWorkflowOptions]
) -> ChildWorkflowHandle[Any, R]: ...
@overload
async def start_child_workflow(workflow: str, *args: Any, **options: Unpack[ChildWorkflowOptions]) -> ChildWorkflowHandle[Any, Any]: ...
async def start_child_workflow(  # type: ignore[misc]  # mypy cannot match *Ts with Any
    workflow: Any, *args: Any, result_type: Any = None, **options: Unpack[ChildWorkflowOptions]
) -> Any:
    """Starts another workflow and returns its handle when it has started.

    :raises WorkflowAlreadyStartedError: its id is taken.
    :raises ChildWorkflowError: it was cancelled before it started (by this workflow), or could not be started.
    :raises TypeError: the arguments do not fit, or it is no workflow.
    """
    name, result_type = _target(workflow, args, result_type)
    return await current_runtime().start_child_workflow(name, args, options, result_type)


@overload
async def execute_child_workflow(
    workflow: Callable[[SelfT, *Ts], Awaitable[R]], *args: *Ts, **options: Unpack[ChildWorkflowOptions]
) -> R: ...
@overload
async def execute_child_workflow(workflow: str, *args: Any, result_type: type[R], **options: Unpack[ChildWorkflowOptions]) -> R: ...
@overload
async def execute_child_workflow(workflow: str, *args: Any, **options: Unpack[ChildWorkflowOptions]) -> Any: ...
async def execute_child_workflow(  # type: ignore[misc]  # mypy cannot match *Ts with Any
    workflow: Any, *args: Any, result_type: Any = None, **options: Unpack[ChildWorkflowOptions]
) -> Any:
    """Starts another workflow and returns its result.

    :raises ChildWorkflowError: it failed, timed out, was terminated or cancelled; its `cause` says why.
    :raises WorkflowAlreadyStartedError: its id is taken.
    :raises TypeError: the arguments do not fit, or it is no workflow.
    """
    name, result_type = _target(workflow, args, result_type)
    return await current_runtime().execute_child_workflow(name, args, options, result_type)


def get_external_workflow_handle(workflow_id: str, *, run_id: str | None = None) -> ExternalWorkflowHandle[Any]:
    """A handle of another workflow, by its id. Whether there is one shows when it is used."""
    handle: ExternalWorkflowHandle[Any] = current_runtime().external_workflow(workflow_id, run_id)
    return handle


def get_external_workflow_handle_for(
    workflow: Callable[[SelfT, *Ts], Awaitable[Any]], workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle[SelfT]:
    """As `get_external_workflow_handle`, with the signals of the workflow whose `run` method is given."""
    workflow_definition(workflow)
    handle: ExternalWorkflowHandle[SelfT] = current_runtime().external_workflow(workflow_id, run_id)
    return handle


def _target(workflow: Any, args: tuple[Any, ...], result_type: Any) -> tuple[str, Any]:
    name, definition = workflow_definition(workflow)
    if definition is not None:
        check_arguments(definition, args)
        result_type = result_type or definition.return_type
    return name, result_type
