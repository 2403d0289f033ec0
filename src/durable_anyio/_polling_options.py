"""How a worker polls and how much it takes: checked here, kept to by the Rust side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

__all__ = ["PollingOptions"]


@dataclass(frozen=True, kw_only=True)
class PollingOptions:
    """The options of `Worker` of the same names."""

    max_cached_workflows: int
    max_concurrent_workflow_tasks: int
    max_concurrent_activities: int
    max_concurrent_local_activities: int
    max_concurrent_workflow_task_polls: int | None
    nonsticky_to_sticky_poll_ratio: float | None
    max_concurrent_activity_task_polls: int | None
    sticky_queue_schedule_to_start_timeout: timedelta
    max_heartbeat_throttle_interval: timedelta
    default_heartbeat_throttle_interval: timedelta
    max_activities_per_second: float | None
    max_task_queue_activities_per_second: float | None
    disable_eager_activity_execution: bool
    build_id: str
    worker_heartbeat_interval: timedelta | None

    def check(self) -> None:
        """:raises ValueError: for a value that makes no sense."""
        if self.max_cached_workflows < 0:
            raise ValueError(f"max_cached_workflows must not be negative, got {self.max_cached_workflows}")
        for name in ("max_concurrent_workflow_tasks", "max_concurrent_activities", "max_concurrent_local_activities"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_concurrent_workflow_task_polls", "max_concurrent_activity_task_polls"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.max_concurrent_workflow_task_polls == 1 and self.max_cached_workflows:
            raise ValueError(
                "max_concurrent_workflow_task_polls must be at least 2, because a worker with a cache polls two queues\n"
                "hint: max_cached_workflows=0 polls one"
            )
        ratio = self.nonsticky_to_sticky_poll_ratio
        if ratio is not None and not 0 < ratio <= 1:
            raise ValueError(f"nonsticky_to_sticky_poll_ratio must be above 0 and at most 1, got {ratio}")
        for name in ("sticky_queue_schedule_to_start_timeout", "max_heartbeat_throttle_interval", "default_heartbeat_throttle_interval"):
            if getattr(self, name) <= timedelta(0):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        interval = self.worker_heartbeat_interval
        if interval is not None and not timedelta(seconds=1) <= interval <= timedelta(seconds=60):
            raise ValueError(f"worker_heartbeat_interval must be from 1 s to 60 s, got {interval}\nhint: None sends no heartbeats")
        for name in ("max_activities_per_second", "max_task_queue_activities_per_second"):
            rate = getattr(self, name)
            if rate is not None and not (rate > 0 and math.isfinite(rate)):
                raise ValueError(f"{name} must be positive, got {rate}\nhint: None is no limit")

    def write_to(self, start: Any) -> None:
        """Fills in the message that starts a worker."""
        start.max_cached_workflows = self.max_cached_workflows
        start.max_concurrent_workflow_tasks = self.max_concurrent_workflow_tasks
        start.max_concurrent_activities = self.max_concurrent_activities
        start.max_concurrent_local_activities = self.max_concurrent_local_activities
        start.workflow_task_pollers = self.max_concurrent_workflow_task_polls or 0
        start.nonsticky_to_sticky_poll_ratio = self.nonsticky_to_sticky_poll_ratio or 0
        start.activity_task_pollers = self.max_concurrent_activity_task_polls or 0
        start.sticky_schedule_to_start_timeout_ms = _milliseconds(self.sticky_queue_schedule_to_start_timeout)
        start.max_heartbeat_throttle_interval_ms = _milliseconds(self.max_heartbeat_throttle_interval)
        start.default_heartbeat_throttle_interval_ms = _milliseconds(self.default_heartbeat_throttle_interval)
        start.max_activities_per_second = self.max_activities_per_second or 0
        start.max_task_queue_activities_per_second = self.max_task_queue_activities_per_second or 0
        start.disable_eager_activity_execution = self.disable_eager_activity_execution
        start.build_id = self.build_id
        if self.worker_heartbeat_interval is not None:
            start.worker_heartbeat_interval_ms = _milliseconds(self.worker_heartbeat_interval)


def _milliseconds(duration: timedelta) -> int:
    return max(1, round(duration.total_seconds() * 1000))
