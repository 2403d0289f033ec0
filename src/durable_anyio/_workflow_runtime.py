"""What the functions of `durable_anyio.workflow` need from the run they are called in.

`WorkflowRuntime` is implemented by the workflow instance; the public modules see only this, so that they import no protos.
"""

from __future__ import annotations

import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Generic, TypeVar

from ._backend import current_scheduler
from ._definitions import ActivityOptions
from .common import Priority, RetryPolicy, SearchAttributeUpdate, TypedSearchAttributes

__all__ = [
    "ActivityCancellationType",
    "ActivityHandle",
    "ContinueAsNewError",
    "ContinueAsNewOptions",
    "Info",
    "LocalCall",
    "NotInWorkflowError",
    "ParentInfo",
    "RootInfo",
    "RunAttributes",
    "UpdateInfo",
    "WorkflowRuntime",
    "current_runtime",
    "find_runtime",
    "random_uuid",
]

R_co = TypeVar("R_co", covariant=True)


class NotInWorkflowError(RuntimeError):
    """A function of `durable_anyio.workflow` was called outside a workflow."""


class ActivityCancellationType(IntEnum):
    """What the cancellation of the waiting scope does to an activity."""

    TRY_CANCEL = 0
    """Ask the activity to stop, do not wait for it: it may outlive the scope."""
    WAIT_CANCELLATION_COMPLETED = 1
    """Ask the activity to stop and hold the scope until it has ended."""
    ABANDON = 2
    """Leave the activity running."""


@dataclass(frozen=True, slots=True)
class ParentInfo:
    """The workflow that started this one."""

    namespace: str
    run_id: str
    workflow_id: str


@dataclass(frozen=True, slots=True)
class RootInfo:
    """The workflow at the top of the tree of children that this one is in."""

    run_id: str
    workflow_id: str


@dataclass(frozen=True, slots=True)
class Info:
    """What a run knows about itself; the names are Temporal's."""

    attempt: int
    continued_run_id: str | None
    cron_schedule: str | None
    execution_timeout: timedelta | None
    first_execution_run_id: str
    headers: Mapping[str, Any]
    namespace: str
    original_execution_run_id: str
    """The run id of the start: a reset keeps it."""
    parent: ParentInfo | None
    priority: Priority
    raw_memo: Mapping[str, Any]
    raw_search_attributes: Mapping[str, Any]
    retry_policy: RetryPolicy | None
    root: RootInfo | None
    run_id: str
    run_timeout: timedelta | None
    start_time: datetime
    task_queue: str
    task_timeout: timedelta
    workflow_id: str
    workflow_start_time: datetime
    workflow_type: str

    @property
    def typed_search_attributes(self) -> TypedSearchAttributes:
        """The run's search attributes, with what its code has changed."""
        return current_runtime().attributes.typed()

    @property
    def history_length(self) -> int:
        """Events in the history, up to the current workflow task."""
        return current_runtime().history_length

    @property
    def history_size_bytes(self) -> int:
        """Size of the history in bytes, up to the current workflow task."""
        return current_runtime().history_size_bytes

    @property
    def is_continue_as_new_suggested(self) -> bool:
        """True once the service suggests to continue as new, because the history has grown large."""
        return current_runtime().continue_as_new_suggested

    def get_current_history_length(self) -> int:
        """Temporal's spelling of `history_length`."""
        return self.history_length

    def get_current_history_size(self) -> int:
        """Temporal's spelling of `history_size_bytes`."""
        return self.history_size_bytes


@dataclass(frozen=True)
class ContinueAsNewOptions:
    """With what the next run starts; None: as this run."""

    workflow: Any = None
    args: Sequence[Any] = ()
    task_queue: str | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    memo: Mapping[str, Any] | None = None
    backoff_start_interval: timedelta | None = None
    search_attributes: TypedSearchAttributes | None = None


class ContinueAsNewError(BaseException):
    """Raised by `workflow.continue_as_new`: ends this run and starts the next. Let it leave `run`."""

    def __init__(self, options: ContinueAsNewOptions) -> None:
        super().__init__("continue as new")
        self.options = options


@dataclass(frozen=True)
class UpdateInfo:
    """The update that a handler or validator runs for."""

    id: str
    name: str


CURRENT_UPDATE: ContextVar[UpdateInfo | None] = ContextVar("current_update", default=None)
"""Of the handler's task and the tasks it starts."""


class ActivityHandle(ABC, Awaitable[R_co], Generic[R_co]):
    """An activity that was started: await it for its result."""

    activity_id: str

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, R_co]: ...

    @abstractmethod
    def cancel(self) -> None:
        """Asks the activity to stop; awaiting it then raises an `ActivityError` whose cause is a `CancelledError`."""

    @abstractmethod
    def done(self) -> bool:
        """True once the outcome is known to the workflow."""


@dataclass(frozen=True)
class LocalCall:
    """A local activity to run."""

    name: str
    args: Sequence[Any]
    options: ActivityOptions
    result_type: Any | None = None
    retry_threshold: timedelta | None = None
    step: Callable[..., Any] | None = None
    """The function itself when it is a step: nothing is registered under the name, and the arguments stay as they are."""


class RunAttributes(ABC):
    """What a run shows to lists, as it is now."""

    __slots__ = ()

    @abstractmethod
    def typed(self) -> TypedSearchAttributes: ...

    @abstractmethod
    def upsert(self, updates: Sequence[SearchAttributeUpdate[Any]]) -> None: ...

    @abstractmethod
    def memo(self) -> Mapping[str, Any]: ...

    @abstractmethod
    def memo_value(self, key: str, type_hint: Any) -> Any:
        """:raises KeyError: there is none."""

    @abstractmethod
    def upsert_memo(self, updates: Mapping[str, Any]) -> None: ...


class WorkflowRuntime(ABC):
    """One run, as its own code sees it."""

    __slots__ = ()

    info: Info
    is_replaying: bool
    history_length: int
    history_size_bytes: int
    continue_as_new_suggested: bool

    @property
    @abstractmethod
    def random(self) -> random.Random: ...

    @property
    @abstractmethod
    def may_log(self) -> bool: ...

    @abstractmethod
    def now(self) -> datetime: ...

    @property
    @abstractmethod
    def attributes(self) -> RunAttributes:
        """Search attributes and memo."""

    @abstractmethod
    def patched(self, patch_id: str, *, deprecated: bool) -> bool: ...

    @abstractmethod
    def start_activity(self, name: str, args: Sequence[Any], options: ActivityOptions, result_type: Any | None) -> ActivityHandle[Any]: ...

    @abstractmethod
    async def execute_activity(self, name: str, args: Sequence[Any], options: ActivityOptions, result_type: Any | None) -> Any: ...

    @property
    @abstractmethod
    def all_handlers_finished(self) -> bool: ...

    @abstractmethod
    def set_handler(self, kind: str, name: str | None, fn: Callable[..., Any] | None, validator: Callable[..., Any] | None) -> None: ...

    @abstractmethod
    async def start_child_workflow(self, name: str, args: Sequence[Any], options: Mapping[str, Any], result_type: Any | None) -> Any: ...

    @abstractmethod
    async def execute_child_workflow(self, name: str, args: Sequence[Any], options: Mapping[str, Any], result_type: Any | None) -> Any: ...

    @abstractmethod
    def external_workflow(self, workflow_id: str, run_id: str | None) -> Any: ...

    @abstractmethod
    async def start_nexus_operation(self, call: Any) -> Any:
        """Starts what a `NexusCall` names."""

    @abstractmethod
    def start_local(self, call: LocalCall) -> ActivityHandle[Any]: ...

    @abstractmethod
    async def execute_local(self, call: LocalCall) -> Any: ...

    @abstractmethod
    def holds_workflow(self, fn: Callable[..., Any], args: Sequence[Any]) -> bool:
        """Whether a function or its arguments hold the workflow's own object."""

    current_details: str

    @abstractmethod
    def set_current_details(self, details: str) -> None: ...

    @property
    @abstractmethod
    def cancellation_reason(self) -> str | None: ...

    @property
    @abstractmethod
    def has_last_completion_result(self) -> bool: ...

    @abstractmethod
    def last_completion_result(self, type_hint: Any | None) -> Any: ...

    @abstractmethod
    def last_failure(self) -> BaseException | None: ...

    @abstractmethod
    def encoded(self, text: str | None) -> Any | None:
        """A text as a payload, for people who look at the history."""

    @abstractmethod
    async def sleep(self, seconds: float, summary: str | None) -> None: ...

    @abstractmethod
    async def wait_condition(self, fn: Callable[[], bool]) -> None: ...

    @abstractmethod
    def check_continue_as_new(self, workflow: Any, args: Sequence[Any]) -> None: ...


def random_uuid(generator: random.Random) -> uuid.UUID:
    """The next random UUID of a run: the same again in a replay."""
    return uuid.UUID(int=generator.getrandbits(128), version=4)


def find_runtime() -> WorkflowRuntime | None:
    """The run whose step this thread is in, or None."""
    scheduler = current_scheduler()
    runtime = scheduler.extra if scheduler is not None else None
    return runtime if isinstance(runtime, WorkflowRuntime) else None


def current_runtime() -> WorkflowRuntime:
    """The run whose step this thread is in.

    :raises NotInWorkflowError: outside a workflow.
    """
    runtime = find_runtime()
    if runtime is None:
        raise NotInWorkflowError("not in a workflow\nhint: functions of durable_anyio.workflow work in a workflow's own methods only")
    return runtime
