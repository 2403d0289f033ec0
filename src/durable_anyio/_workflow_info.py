"""From the first activation's message to `workflow.Info`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from ._failure import exception_from_failure
from ._workflow_runtime import Info, ParentInfo, RootInfo
from .common import Priority, RetryPolicy
from .converter import PayloadConverter

__all__ = ["LastRun", "info_from_activation"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LastRun:
    """What the run before this one, of a retry or a cron schedule, left behind."""

    result: Sequence[Any]
    failure: Any | None

    @staticmethod
    def before(start: Any) -> LastRun | None:
        """What the InitializeWorkflow job holds of it; None: nothing, as in nearly every run."""
        failure = start.continued_failure if start.HasField("continued_failure") else None
        result = start.last_completion_result.payloads
        return LastRun(list(result), failure) if result or failure is not None else None

    def decoded_result(self, converter: PayloadConverter, type_hint: Any | None) -> Any:
        """The result, None if there is none.

        :raises DataConversionError: it cannot be read as `type_hint`.
        """
        return converter.from_payloads(self.result[:1], [type_hint])[0] if self.result else None

    def decoded_failure(self, converter: PayloadConverter) -> BaseException | None:
        """The failure as an exception."""
        return None if self.failure is None else exception_from_failure(self.failure, converter)


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
        original_execution_run_id=start.original_execution_run_id or activation.run_id,
        parent=ParentInfo(parent.namespace, parent.run_id, parent.workflow_id) if parent is not None else None,
        priority=Priority.from_proto(start.priority) if start.HasField("priority") else Priority.default,
        raw_memo=dict(start.memo.fields) if start.memo.fields else _NOTHING,
        raw_search_attributes=dict(start.search_attributes.indexed_fields) if start.search_attributes.indexed_fields else _NOTHING,
        retry_policy=RetryPolicy.from_proto(start.retry_policy) if start.HasField("retry_policy") else None,
        root=RootInfo(start.root_workflow.run_id, start.root_workflow.workflow_id) if start.HasField("root_workflow") else None,
        run_id=activation.run_id,
        run_timeout=_duration(start, "workflow_run_timeout"),
        start_time=started,
        task_queue=task_queue,
        task_timeout=_duration(start, "workflow_task_timeout") or timedelta(seconds=10),
        workflow_id=start.workflow_id,
        workflow_start_time=started,
        workflow_type=start.workflow_type,
    )
