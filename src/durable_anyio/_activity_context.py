"""The attempt of an activity that the current task or thread runs: what `durable_anyio.activity` asks, and what stops it."""

from __future__ import annotations

import contextvars
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio

from .common import Priority, RetryPolicy
from .converter import PayloadConverter
from .exceptions import ApplicationError, CancelledError
from .metrics import MetricMeter

if TYPE_CHECKING:
    from .client import Client

__all__ = [
    "ActivityCancellationDetails",
    "ActivityContext",
    "CompleteAsyncError",
    "Info",
    "ShutdownNotice",
    "current_context",
]


@dataclass(frozen=True)
class Info:
    """What an attempt of an activity knows about itself; the names are Temporal's."""

    activity_id: str
    activity_type: str
    attempt: int
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    heartbeat_timeout: timedelta | None
    is_local: bool
    priority: Priority
    retry_policy: RetryPolicy | None
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    workflow_id: str
    workflow_namespace: str
    workflow_run_id: str
    workflow_type: str


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why an attempt was asked to stop. The first reason stays, whatever happens afterwards."""

    not_found: bool = False
    """The service does not know the attempt any more: it timed out there, or its workflow has ended."""
    cancel_requested: bool = False
    """The workflow asked for it."""
    paused: bool = False
    """Somebody paused the activity."""
    reset: bool = False
    """Somebody reset the activity: it is to start from the beginning."""
    timed_out: bool = False
    """The time of the attempt is over."""
    worker_shutdown: bool = False
    """The worker stops, and its grace is over."""


_REASONS = {
    "not_found": "the activity is no longer known",
    "cancel_requested": "cancelled",
    "paused": "paused",
    "reset": "reset",
    "timed_out": "timed out",
    "worker_shutdown": "the worker is shutting down",
}


def reason_text(details: ActivityCancellationDetails) -> str:
    """The reason in words, for an exception's text."""
    return next((text for name, text in _REASONS.items() if getattr(details, name)), "cancelled")


class CompleteAsyncError(BaseException):
    """Raised by `activity.raise_complete_async`: the attempt goes on elsewhere. Let it leave the activity."""


class ShutdownNotice:
    """Whether the worker stops, for tasks and for threads; made inside the host's event loop."""

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.thread_event = threading.Event()

    def set(self) -> None:
        self.thread_event.set()
        self.event.set()


class ActivityContext(ABC):
    """One attempt: its scope is what a cancellation cancels."""

    def __init__(self, info: Info, *, converter: PayloadConverter, shutdown: ShutdownNotice, client: Client | None) -> None:
        self.info = info
        self.converter = converter
        self.client = client
        self.shutdown = shutdown
        self.scope = anyio.CancelScope()
        self.details: ActivityCancellationDetails | None = None
        self.in_thread = False
        self.cancelled_event = anyio.Event()
        self.cancelled_thread_event = threading.Event()

    @property
    def cancelled(self) -> bool:
        return self.details is not None

    @property
    def meter(self) -> MetricMeter:
        """The process's meter, with the attempt's names as attributes."""
        names = {"namespace": self.info.workflow_namespace, "task_queue": self.info.task_queue, "activity_type": self.info.activity_type}
        return MetricMeter(names)

    def cancel(self, details: ActivityCancellationDetails) -> None:
        """Asks the attempt to stop; a second time does nothing."""
        if self.details is None:
            self.details = details
            self.cancelled_thread_event.set()
            self.cancelled_event.set()
            self.scope.cancel()

    def cancelled_error(self) -> CancelledError:
        """What a cancelled attempt raises."""
        return CancelledError(reason_text(self.details or ActivityCancellationDetails()))

    def heartbeat(self, details: Sequence[Any]) -> None:
        """:raises CancelledError: in a thread, when the attempt was asked to stop."""
        if self.in_thread and self.cancelled:
            raise self.cancelled_error()
        self.send_heartbeat(details)

    @abstractmethod
    def send_heartbeat(self, details: Sequence[Any]) -> None: ...


def unasked_failure(error: CancelledError, details: ActivityCancellationDetails | None) -> Exception | None:
    """The failure that a cancellation is which left an activity unasked: the service takes one only if the workflow asked for it.

    None: report the cancellation.
    """
    if details is None:
        return error
    if details.paused:
        return ApplicationError("the activity stopped because it was paused", type="ActivityPause")
    if details.reset:
        return ApplicationError("the activity stopped because it was reset", type="ActivityReset")
    return None


current_context: contextvars.ContextVar[ActivityContext] = contextvars.ContextVar("durable_anyio_activity")
