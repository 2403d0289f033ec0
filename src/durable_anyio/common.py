"""Policies and states that client and workflows share, under Temporal's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any

from ._bridge import proto

__all__ = [
    "QueryRejectCondition",
    "RetryPolicy",
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
