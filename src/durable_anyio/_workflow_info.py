"""From the first activation's message to `workflow.Info`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from ._workflow_runtime import Info, ParentInfo
from .common import RetryPolicy

__all__ = ["info_from_activation"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _duration(message: Any, field: str) -> timedelta | None:
    if not message.HasField(field):
        return None
    value = getattr(message, field)
    return timedelta(seconds=value.seconds, microseconds=value.nanos // 1000) or None


def _time(timestamp: Any) -> datetime:
    # As its ToDatetime does, in a tenth of the time.
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def info_from_activation(activation: Any, start: Any, *, namespace: str, task_queue: str) -> Info:
    """`start` is the InitializeWorkflow job in `activation`."""
    parent = start.parent_workflow_info if start.HasField("parent_workflow_info") else None
    started = _time(start.start_time if start.HasField("start_time") else activation.timestamp)
    return Info(
        attempt=max(1, start.attempt),
        continued_run_id=start.continued_from_execution_run_id or None,
        cron_schedule=start.cron_schedule or None,
        execution_timeout=_duration(start, "workflow_execution_timeout"),
        first_execution_run_id=start.first_execution_run_id or activation.run_id,
        headers=dict(start.headers) if start.headers else _NOTHING,
        namespace=namespace,
        parent=ParentInfo(parent.namespace, parent.run_id, parent.workflow_id) if parent is not None else None,
        raw_memo=dict(start.memo.fields) if start.memo.fields else _NOTHING,
        retry_policy=RetryPolicy.from_proto(start.retry_policy) if start.HasField("retry_policy") else None,
        run_id=activation.run_id,
        run_timeout=_duration(start, "workflow_run_timeout"),
        start_time=started,
        task_queue=task_queue,
        task_timeout=_duration(start, "workflow_task_timeout") or timedelta(seconds=10),
        workflow_id=start.workflow_id,
        workflow_start_time=started,
        workflow_type=start.workflow_type,
    )
