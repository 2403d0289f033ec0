"""The commands a workflow sends: one small builder each, so that the names of the wire stay in one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ._bridge.proto import message
from ._definitions import ActivityOptions
from ._workflow_nexus import NexusCall
from ._workflow_runtime import LocalCall
from .common import Priority, RetryPolicy

__all__ = [
    "cancel_child_workflow",
    "cancel_external_workflow",
    "cancel_signal",
    "cancel_timer",
    "cancel_workflow",
    "complete_workflow",
    "continue_as_new",
    "fail_workflow",
    "modify_memo",
    "query_failed",
    "query_succeeded",
    "request_cancel_activity",
    "request_cancel_local_activity",
    "request_cancel_nexus_operation",
    "schedule_activity",
    "schedule_local_activity",
    "schedule_nexus_operation",
    "set_patch_marker",
    "signal_external_workflow",
    "start_child_workflow",
    "start_timer",
    "update_accepted",
    "update_completed",
    "update_rejected",
    "upsert_search_attributes",
]

_Command = message("coresdk.workflow_commands.WorkflowCommand")
_Payload = message("temporal.api.common.v1.Payload")

# The header with which a step's command finds its function again: only this process can read it.
STEP_HEADER = "durable-anyio-step"

# A cancellation type travels as this number when the program names none: TRY_CANCEL.
_DEFAULT_CANCELLATION_TYPE = 0


def _set_duration(target: Any, field: str, value: timedelta | None) -> None:
    if value is not None:
        getattr(target, field).FromTimedelta(value)


def _set_activity_options(command: Any, activity: Any, options: ActivityOptions, summary: Any | None) -> None:
    """What activities and local activities have both."""
    _set_duration(activity, "schedule_to_close_timeout", options.schedule_to_close_timeout)
    _set_duration(activity, "schedule_to_start_timeout", options.schedule_to_start_timeout)
    _set_duration(activity, "start_to_close_timeout", options.start_to_close_timeout)
    if options.retry_policy is not None:
        activity.retry_policy.CopyFrom(options.retry_policy.to_proto())
    activity.cancellation_type = _DEFAULT_CANCELLATION_TYPE if options.cancellation_type is None else int(options.cancellation_type)
    if summary is not None:
        command.user_metadata.summary.CopyFrom(summary)


def _set_fields(target: Any, fields: Mapping[str, Any]) -> None:
    for name, payload in fields.items():
        target[name].CopyFrom(payload)


def start_timer(seq: int, seconds: float, summary: Any | None = None) -> Any:
    """`seconds` rounded up to a millisecond: a timer that fires early would find its deadline not yet reached."""
    command = _Command()
    timer = command.start_timer
    timer.seq = seq
    milliseconds = max(1, math.ceil(round(seconds * 1000, 6)))
    timer.start_to_fire_timeout.FromMilliseconds(milliseconds)
    if summary is not None:
        command.user_metadata.summary.CopyFrom(summary)
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
    _set_duration(activity, "heartbeat_timeout", options.heartbeat_timeout)
    if options.priority is not None and options.priority != Priority.default:
        activity.priority.CopyFrom(options.priority.to_proto())
    activity.do_not_eagerly_execute = bool(options.disable_eager_execution)
    _set_activity_options(command, activity, options, summary)
    return command


def schedule_local_activity(
    seq: int, call: LocalCall, payloads: Sequence[Any], *, activity_id: str, summary: Any | None, backoff: Any | None
) -> Any:
    """`backoff` is the resolution that asked for this further attempt."""
    command = _Command()
    activity = command.schedule_local_activity
    activity.seq = seq
    activity.activity_id = activity_id
    activity.activity_type = call.name
    activity.arguments.extend(payloads)
    if call.step is not None:
        activity.headers[STEP_HEADER].CopyFrom(_Payload(data=str(seq).encode()))
    if backoff is not None:
        activity.attempt = backoff.attempt
        if backoff.HasField("original_schedule_time"):
            activity.original_schedule_time.CopyFrom(backoff.original_schedule_time)
    _set_duration(activity, "local_retry_threshold", call.retry_threshold)
    _set_activity_options(command, activity, call.options, summary)
    return command


def request_cancel_local_activity(seq: int) -> Any:
    command = _Command()
    command.request_cancel_local_activity.seq = seq
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
    backoff_start_interval: timedelta | None = None,
    search_attributes: Mapping[str, Any] | None = None,
) -> Any:
    command = _Command()
    following = command.continue_as_new_workflow_execution
    following.workflow_type = workflow_type
    following.task_queue = task_queue
    following.arguments.extend(payloads)
    _set_duration(following, "workflow_run_timeout", run_timeout)
    _set_duration(following, "workflow_task_timeout", task_timeout)
    _set_duration(following, "backoff_start_interval", backoff_start_interval)
    if retry_policy is not None:
        following.retry_policy.CopyFrom(retry_policy)
    for key, payload in memo.items():
        following.memo[key].CopyFrom(payload)
    if search_attributes is not None:
        following.search_attributes.SetInParent()
        _set_fields(following.search_attributes.indexed_fields, search_attributes)
    return command


def start_child_workflow(
    seq: int,
    workflow_type: str,
    payloads: Sequence[Any],
    *,
    workflow_id: str,
    namespace: str,
    task_queue: str,
    cancellation_type: int,
    parent_close_policy: int = 0,
    execution_timeout: timedelta | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    id_reuse_policy: int = 0,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str = "",
    memo: Mapping[str, Any] | None = None,
    search_attributes: Mapping[str, Any] | None = None,
    static_summary: Any | None = None,
    static_details: Any | None = None,
    priority: Priority | None = None,
) -> Any:
    command = _Command()
    child = command.start_child_workflow_execution
    child.seq = seq
    child.workflow_type = workflow_type
    child.workflow_id = workflow_id
    child.namespace = namespace
    child.task_queue = task_queue
    child.input.extend(payloads)
    child.cancellation_type = cancellation_type
    child.parent_close_policy = int(parent_close_policy)
    child.workflow_id_reuse_policy = int(id_reuse_policy)
    child.cron_schedule = cron_schedule
    _set_duration(child, "workflow_execution_timeout", execution_timeout)
    _set_duration(child, "workflow_run_timeout", run_timeout)
    _set_duration(child, "workflow_task_timeout", task_timeout)
    if retry_policy is not None:
        child.retry_policy.CopyFrom(retry_policy.to_proto())
    for key, payload in (memo or {}).items():
        child.memo[key].CopyFrom(payload)
    if priority is not None and priority != Priority.default:
        child.priority.CopyFrom(priority.to_proto())
    if search_attributes:
        _set_fields(child.search_attributes.indexed_fields, search_attributes)
    if static_summary is not None:
        command.user_metadata.summary.CopyFrom(static_summary)
    if static_details is not None:
        command.user_metadata.details.CopyFrom(static_details)
    return command


def set_patch_marker(patch_id: str, *, deprecated: bool) -> Any:
    command = _Command()
    command.set_patch_marker.patch_id = patch_id
    command.set_patch_marker.deprecated = deprecated
    return command


def upsert_search_attributes(payloads: Mapping[str, Any]) -> Any:
    command = _Command()
    _set_fields(command.upsert_workflow_search_attributes.search_attributes.indexed_fields, payloads)
    return command


def modify_memo(payloads: Mapping[str, Any]) -> Any:
    command = _Command()
    _set_fields(command.modify_workflow_properties.upserted_memo.fields, payloads)
    return command


def cancel_child_workflow(seq: int, reason: str) -> Any:
    command = _Command()
    command.cancel_child_workflow_execution.child_workflow_seq = seq
    command.cancel_child_workflow_execution.reason = reason
    return command


def signal_external_workflow(
    seq: int, name: str, payloads: Sequence[Any], *, child: str | None, workflow: tuple[str, str | None] | None, namespace: str
) -> Any:
    """Either `child`, the id of an own child, or `workflow`, an id and a run id, says whom."""
    command = _Command()
    signal = command.signal_external_workflow_execution
    signal.seq = seq
    signal.signal_name = name
    signal.args.extend(payloads)
    if child is not None:
        signal.child_workflow_id = child
    if workflow is not None:
        signal.workflow_execution.namespace = namespace
        signal.workflow_execution.workflow_id = workflow[0]
        signal.workflow_execution.run_id = workflow[1] or ""
    return command


def cancel_signal(seq: int) -> Any:
    command = _Command()
    command.cancel_signal_workflow.seq = seq
    return command


def cancel_external_workflow(seq: int, workflow_id: str, run_id: str | None, reason: str, *, namespace: str) -> Any:
    command = _Command()
    request = command.request_cancel_external_workflow_execution
    request.seq = seq
    request.workflow_execution.namespace = namespace
    request.workflow_execution.workflow_id = workflow_id
    request.workflow_execution.run_id = run_id or ""
    request.reason = reason
    return command


def schedule_nexus_operation(seq: int, call: NexusCall, payload: Any, cancellation_type: int, summary: Any | None) -> Any:
    command = _Command()
    operation = command.schedule_nexus_operation
    operation.seq = seq
    operation.endpoint = call.endpoint
    operation.service = call.service
    operation.operation = call.operation
    operation.input.CopyFrom(payload)
    operation.cancellation_type = cancellation_type
    operation.nexus_header.update(call.options.get("headers") or {})
    _set_duration(operation, "schedule_to_close_timeout", call.options.get("schedule_to_close_timeout"))
    _set_duration(operation, "schedule_to_start_timeout", call.options.get("schedule_to_start_timeout"))
    _set_duration(operation, "start_to_close_timeout", call.options.get("start_to_close_timeout"))
    if summary is not None:
        command.user_metadata.summary.CopyFrom(summary)
    return command


def request_cancel_nexus_operation(seq: int) -> Any:
    command = _Command()
    command.request_cancel_nexus_operation.seq = seq
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


def update_accepted(instance_id: str) -> Any:
    command = _Command()
    command.update_response.protocol_instance_id = instance_id
    command.update_response.accepted.SetInParent()
    return command


def update_rejected(instance_id: str, failure: Any) -> Any:
    """Before the acceptance a refusal, after it the outcome."""
    command = _Command()
    command.update_response.protocol_instance_id = instance_id
    command.update_response.rejected.CopyFrom(failure)
    return command


def update_completed(instance_id: str, payload: Any) -> Any:
    command = _Command()
    command.update_response.protocol_instance_id = instance_id
    command.update_response.completed.CopyFrom(payload)
    return command
