"""The commands a workflow sends: one small builder each, so that the names of the wire stay in one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ._bridge.proto import message
from ._definitions import ActivityOptions

__all__ = [
    "cancel_timer",
    "cancel_workflow",
    "complete_workflow",
    "continue_as_new",
    "fail_workflow",
    "query_failed",
    "query_succeeded",
    "request_cancel_activity",
    "schedule_activity",
    "start_timer",
]

_Command = message("coresdk.workflow_commands.WorkflowCommand")

# A cancellation type travels as this number when the program names none: TRY_CANCEL.
_DEFAULT_CANCELLATION_TYPE = 0


def _set_duration(target: Any, field: str, value: timedelta | None) -> None:
    if value is not None:
        getattr(target, field).FromTimedelta(value)


def start_timer(seq: int, seconds: float) -> Any:
    """`seconds` rounded up to a millisecond: a timer that fires early would find its deadline not yet reached."""
    command = _Command()
    timer = command.start_timer
    timer.seq = seq
    milliseconds = max(1, math.ceil(round(seconds * 1000, 6)))
    timer.start_to_fire_timeout.FromMilliseconds(milliseconds)
    return command


def cancel_timer(seq: int) -> Any:
    command = _Command()
    command.cancel_timer.seq = seq
    return command


def schedule_activity(
    seq: int, name: str, payloads: Sequence[Any], options: ActivityOptions, *, task_queue: str, summary: Any | None
) -> Any:
    command = _Command()
    activity = command.schedule_activity
    activity.seq = seq
    activity.activity_id = options.activity_id or str(seq)
    activity.activity_type = name
    activity.task_queue = options.task_queue or task_queue
    activity.arguments.extend(payloads)
    _set_duration(activity, "schedule_to_close_timeout", options.schedule_to_close_timeout)
    _set_duration(activity, "schedule_to_start_timeout", options.schedule_to_start_timeout)
    _set_duration(activity, "start_to_close_timeout", options.start_to_close_timeout)
    _set_duration(activity, "heartbeat_timeout", options.heartbeat_timeout)
    if options.retry_policy is not None:
        activity.retry_policy.CopyFrom(options.retry_policy.to_proto())
    activity.cancellation_type = _DEFAULT_CANCELLATION_TYPE if options.cancellation_type is None else int(options.cancellation_type)
    if summary is not None:
        command.user_metadata.summary.CopyFrom(summary)
    return command


def request_cancel_activity(seq: int) -> Any:
    command = _Command()
    command.request_cancel_activity.seq = seq
    return command


def complete_workflow(result: Any) -> Any:
    command = _Command()
    command.complete_workflow_execution.result.CopyFrom(result)
    return command


def fail_workflow(failure: Any) -> Any:
    command = _Command()
    command.fail_workflow_execution.failure.CopyFrom(failure)
    return command


def cancel_workflow() -> Any:
    command = _Command()
    command.cancel_workflow_execution.SetInParent()
    return command


def continue_as_new(
    workflow_type: str,
    payloads: Sequence[Any],
    *,
    task_queue: str,
    run_timeout: timedelta | None,
    task_timeout: timedelta | None,
    retry_policy: Any | None,
    memo: Mapping[str, Any],
) -> Any:
    command = _Command()
    following = command.continue_as_new_workflow_execution
    following.workflow_type = workflow_type
    following.task_queue = task_queue
    following.arguments.extend(payloads)
    _set_duration(following, "workflow_run_timeout", run_timeout)
    _set_duration(following, "workflow_task_timeout", task_timeout)
    if retry_policy is not None:
        following.retry_policy.CopyFrom(retry_policy)
    for key, payload in memo.items():
        following.memo[key].CopyFrom(payload)
    return command


def query_succeeded(query_id: str, payload: Any) -> Any:
    command = _Command()
    command.respond_to_query.query_id = query_id
    command.respond_to_query.succeeded.response.CopyFrom(payload)
    return command


def query_failed(query_id: str, failure: Any) -> Any:
    command = _Command()
    command.respond_to_query.query_id = query_id
    command.respond_to_query.failed.CopyFrom(failure)
    return command
