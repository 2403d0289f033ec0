"""Policies and states that client and workflows share, under Temporal's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, ClassVar

from ._bridge import proto
from ._search_attributes import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)

__all__ = [
    "Priority",
    "QueryRejectCondition",
    "ResetReapplyExcludeType",
    "RetryPolicy",
    "SearchAttributeIndexedValueType",
    "SearchAttributeKey",
    "SearchAttributePair",
    "SearchAttributeUpdate",
    "TypedSearchAttributes",
    "WorkflowExecutionStatus",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
    "WorkflowUpdateStage",
]


class WorkflowIDReusePolicy(IntEnum):
    """May a workflow id be used again after its workflow has closed?"""

    UNSPECIFIED = 0
    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4


class WorkflowIDConflictPolicy(IntEnum):
    """What happens when a workflow of that id runs already?"""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class WorkflowExecutionStatus(IntEnum):
    """The status of a run."""

    UNSPECIFIED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7
    PAUSED = 8


class QueryRejectCondition(IntEnum):
    """In which statuses of the workflow a query is refused."""

    UNSPECIFIED = 0
    NONE = 1
    NOT_OPEN = 2
    NOT_COMPLETED_CLEANLY = 3


class ResetReapplyExcludeType(IntEnum):
    """What came after the point of a reset and is not to come again."""

    SIGNAL = 1
    UPDATE = 2
    NEXUS = 3


class WorkflowUpdateStage(IntEnum):
    """How far an update is."""

    ADMITTED = 1
    ACCEPTED = 2
    COMPLETED = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed activity or workflow is tried again.

    The wait before attempt n+1 is `initial_interval * backoff_coefficient ** (n - 1)`, at most `maximum_interval`
    (None: 100 times the initial interval). `maximum_attempts` counts the first one, 0 means without end.
    """

    initial_interval: timedelta = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    maximum_interval: timedelta | None = None
    maximum_attempts: int = 0
    non_retryable_error_types: Sequence[str] | None = None

    def validate(self) -> None:
        """Checks the values.

        :raises ValueError, TypeError: for a policy that the service would refuse.
        """
        if self.initial_interval <= timedelta(0):
            raise ValueError(f"RetryPolicy.initial_interval must be positive, not {self.initial_interval}")
        if not self.backoff_coefficient >= 1:
            raise ValueError(f"RetryPolicy.backoff_coefficient must be at least 1, not {self.backoff_coefficient}")
        if self.maximum_interval is not None and self.maximum_interval < self.initial_interval:
            raise ValueError(f"RetryPolicy.maximum_interval ({self.maximum_interval}) is below initial_interval ({self.initial_interval})")
        if self.maximum_attempts < 0:
            raise ValueError(f"RetryPolicy.maximum_attempts must not be negative, not {self.maximum_attempts}; hint: 0 means without end")
        if isinstance(self.non_retryable_error_types, str):
            raise TypeError("RetryPolicy.non_retryable_error_types is a sequence of names; hint: put the string into a list")

    def to_proto(self) -> Any:
        """The `temporal.api.common.v1.RetryPolicy` of this policy.

        :raises ValueError: as `validate`.
        """
        self.validate()
        policy = proto.message("temporal.api.common.v1.RetryPolicy")()
        policy.initial_interval.FromTimedelta(self.initial_interval)
        policy.backoff_coefficient = self.backoff_coefficient
        if self.maximum_interval is not None:
            policy.maximum_interval.FromTimedelta(self.maximum_interval)
        policy.maximum_attempts = self.maximum_attempts
        policy.non_retryable_error_types.extend(self.non_retryable_error_types or ())
        return policy

    @staticmethod
    def from_proto(policy: Any) -> RetryPolicy:
        """The policy of a `temporal.api.common.v1.RetryPolicy`."""
        return RetryPolicy(
            initial_interval=policy.initial_interval.ToTimedelta(),
            backoff_coefficient=policy.backoff_coefficient,
            maximum_interval=policy.maximum_interval.ToTimedelta() if policy.HasField("maximum_interval") else None,
            maximum_attempts=policy.maximum_attempts,
            non_retryable_error_types=list(policy.non_retryable_error_types) or None,
        )


@dataclass(frozen=True, slots=True)
class Priority:
    """Which of the tasks that wait in a task queue go first. None: as the workflow that starts it, else the service's default.

    An embedded engine carries it along and hands tasks out in the order in which they came.
    """

    priority_key: int | None = None
    """From 1, the most urgent, to 5; the service's default is 3."""
    fairness_key: str | None = None
    """Of at most 64 bytes. Keys share what the workers do; within a key first come, first served."""
    fairness_weight: float | None = None
    """The share of this key; the service's default is 1."""

    default: ClassVar[Priority]

    def __post_init__(self) -> None:
        if self.priority_key is not None and (not isinstance(self.priority_key, int) or isinstance(self.priority_key, bool)):
            raise TypeError(f"Priority.priority_key must be an integer, not {type(self.priority_key).__name__}")
        if self.priority_key is not None and self.priority_key < 1:
            raise ValueError(f"Priority.priority_key must be at least 1, not {self.priority_key}")
        if self.fairness_key is not None and len(self.fairness_key.encode()) > 64:
            raise ValueError(f"Priority.fairness_key has {len(self.fairness_key.encode())} bytes, the limit is 64")
        if self.fairness_weight is not None and not self.fairness_weight > 0:
            raise ValueError(f"Priority.fairness_weight must be positive, not {self.fairness_weight}")

    def to_proto(self) -> Any:
        """The `temporal.api.common.v1.Priority` of this priority."""
        return proto.message("temporal.api.common.v1.Priority")(
            priority_key=self.priority_key or 0, fairness_key=self.fairness_key or "", fairness_weight=self.fairness_weight or 0
        )

    @staticmethod
    def from_proto(priority: Any) -> Priority:
        """The priority of a `temporal.api.common.v1.Priority`."""
        return Priority(priority.priority_key or None, priority.fairness_key or None, priority.fairness_weight or None)


Priority.default = Priority()
