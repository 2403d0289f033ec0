"""Exceptions to `temporal.api.failure.v1.Failure` and back.

An `ExceptionGroup` is an application failure of type "ExceptionGroup": its members are Failures in the details
(`json/protobuf`, so that the web interface shows them), the first one is the cause too, so that other SDKs and the
interface, which know no groups, name a true reason. Reading uses the details only: the group's own cause, if it has one,
is a detail too, marked as such.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format

from ._backend import Cancelled
from ._bridge import proto
from .converter import PayloadConverter, default
from .exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    DataConversionError,
    FailureError,
    NexusHandlerError,
    NexusOperationError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
)

__all__ = ["activity_failure", "exception_from_failure", "failure_from_exception", "failure_to_tell"]

SOURCE = "durable-anyio"
GROUP_TYPE = "ExceptionGroup"
# A chain or nesting longer than this is cut: messages nest, and protobuf refuses to parse more than 100 levels.
MAX_DEPTH = 12
# The last frames are the telling ones; a failure is stored in the history and must stay far below 2 MiB.
MAX_STACK_FRAMES = 40
MAX_MESSAGE_CHARACTERS = 10_000
# Members of a group are kept until they have this size; the rest is counted in one last member.
MAX_GROUP_SIZE_BYTES = 512 * 1024

# temporal.api.enums.v1.NexusHandlerErrorRetryBehavior
_RETRY_BEHAVIORS = {None: 0, True: 1, False: 2}

_Failure = proto.message("temporal.api.failure.v1.Failure")
_Payload = proto.message("temporal.api.common.v1.Payload")
_MEMBER_METADATA = {"encoding": b"json/protobuf", "messageType": b"temporal.api.failure.v1.Failure"}
# The place of a group's cause is taken by its first member.
_RELATION = "durable-anyio-relation"
_CAUSE_METADATA = {**_MEMBER_METADATA, _RELATION: b"cause"}


def failure_from_exception(error: BaseException, converter: PayloadConverter) -> Any:
    """The Failure that tells `error`.

    :raises DataConversionError: if the details of a `FailureError` cannot be encoded.
    """
    return _encode(error, converter, MAX_DEPTH)


def failure_to_tell(error: BaseException, converter: PayloadConverter) -> Any:
    """The Failure that tells `error`, also where details of it or of its causes cannot be encoded: a text in their place says why."""
    return _encode(error, _Lenient(converter), MAX_DEPTH)


def activity_failure(error: BaseException, converter: PayloadConverter) -> Any:
    """The failure with which an activity's attempt ends: the service takes an application's only, so that any other becomes its cause."""
    failure = failure_to_tell(error, converter)
    if failure.HasField("application_failure_info"):
        return failure
    name = type(error).__name__
    wrapped = _Failure(message=f"{name}: {failure.message}", cause=failure)
    wrapped.application_failure_info.type = name
    return wrapped


class _Lenient(PayloadConverter):
    """Encodes what it can, and says of the rest why it cannot."""

    def __init__(self, converter: PayloadConverter) -> None:
        self._converter = converter

    def to_payloads(self, values: Sequence[Any]) -> list[Any]:
        try:
            return self._converter.to_payloads(values)
        except DataConversionError as problem:
            return default().to_payloads([f"the details could not be encoded: {problem}"])

    def from_payloads(self, payloads: Sequence[Any], types: Sequence[Any | None] = ()) -> list[Any]:
        return self._converter.from_payloads(payloads, types)


def exception_from_failure(failure: Any, converter: PayloadConverter) -> Exception:
    """The exception that a Failure tells; `__cause__` holds its causes. Never raises for odd content."""
    return _decode(failure, converter, MAX_DEPTH)


def _encode(error: BaseException, converter: PayloadConverter, depth: int) -> Any:
    if isinstance(error, FailureError) and error.failure is not None:
        kept = _Failure()
        kept.CopyFrom(error.failure)
        return kept
    failure = _Failure(source=SOURCE, message=_message(error), stack_trace=_stack(error))
    if isinstance(error, BaseExceptionGroup):
        _encode_group(error, failure, converter, depth)
        return failure
    _encode_info(error, failure, converter)
    cause = _cause(error)
    if cause is not None and depth > 0:
        failure.cause.CopyFrom(_encode(cause, converter, depth - 1))
    return failure


def _encode_group(group: BaseExceptionGroup[Any], failure: Any, converter: PayloadConverter, depth: int) -> None:
    info = failure.application_failure_info
    info.type = GROUP_TYPE
    if depth <= 0:
        return
    members = info.details.payloads
    cause = _cause(group)
    if cause is not None:
        members.append(_Payload(metadata=_CAUSE_METADATA, data=_to_json(_encode(cause, converter, depth - 1))))
    size = 0
    for index, error in enumerate(group.exceptions):
        member = _encode(error, converter, depth - 1)
        payload = _Payload(metadata=_MEMBER_METADATA, data=_to_json(member))
        size += len(payload.data)
        if index and size > MAX_GROUP_SIZE_BYTES:
            more = _Failure(source=SOURCE, message=f"{len(group.exceptions) - index} more errors were left out to keep the failure small")
            more.application_failure_info.type = "ErrorsLeftOut"
            members.append(_Payload(metadata=_MEMBER_METADATA, data=_to_json(more)))
            return
        members.append(payload)
        if not index:
            failure.cause.CopyFrom(_outline(member))


def _outline(member: Any) -> Any:
    """A member as cause: without a nested group's own members, or the size would double at each level."""
    if member.application_failure_info.type == GROUP_TYPE:
        outline = _Failure()
        outline.CopyFrom(member)
        outline.application_failure_info.ClearField("details")
        return outline
    return member


def _cause(error: BaseException) -> BaseException | None:
    """What Python would show above the error."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _encode_info(error: BaseException, failure: Any, converter: PayloadConverter) -> None:
    if isinstance(error, ApplicationError):
        application = failure.application_failure_info
        application.type = error.type or "ApplicationError"
        application.non_retryable = error.non_retryable
        application.details.payloads.extend(converter.to_payloads(error.details))
        if error.next_retry_delay is not None:
            application.next_retry_delay.FromTimedelta(error.next_retry_delay)
    elif isinstance(error, CancelledError | Cancelled) or _is_host_cancellation(error):
        failure.canceled_failure_info.SetInParent()
        if isinstance(error, CancelledError):
            failure.canceled_failure_info.details.payloads.extend(converter.to_payloads(error.details))
    elif isinstance(error, TimeoutError):
        failure.timeout_failure_info.timeout_type = error.type or 0
        failure.timeout_failure_info.last_heartbeat_details.payloads.extend(converter.to_payloads(error.last_heartbeat_details))
    elif isinstance(error, TerminatedError):
        failure.terminated_failure_info.SetInParent()
    elif isinstance(error, ServerError):
        failure.server_failure_info.non_retryable = error.non_retryable
    elif isinstance(error, ActivityError):
        activity = failure.activity_failure_info
        activity.scheduled_event_id, activity.started_event_id = error.scheduled_event_id, error.started_event_id
        activity.identity, activity.activity_id = error.identity, error.activity_id
        activity.activity_type.name = error.activity_type
        activity.retry_state = error.retry_state or 0
    elif isinstance(error, ChildWorkflowError):
        child = failure.child_workflow_execution_failure_info
        child.namespace, child.workflow_type.name = error.namespace, error.workflow_type
        child.workflow_execution.workflow_id, child.workflow_execution.run_id = error.workflow_id, error.run_id
        child.initiated_event_id, child.started_event_id = error.initiated_event_id, error.started_event_id
        child.retry_state = error.retry_state or 0
    elif isinstance(error, NexusOperationError):
        operation = failure.nexus_operation_execution_failure_info
        operation.scheduled_event_id, operation.operation_token = error.scheduled_event_id, error.operation_token
        operation.endpoint, operation.service, operation.operation = error.endpoint, error.service, error.operation
    elif isinstance(error, NexusHandlerError):
        failure.nexus_handler_failure_info.type = error.type
        failure.nexus_handler_failure_info.retry_behavior = _RETRY_BEHAVIORS[error.retryable_override]
    else:
        failure.application_failure_info.type = type(error).__name__
        # The same code meets the same value again: retrying could only hide the mistake.
        failure.application_failure_info.non_retryable = isinstance(error, DataConversionError)


def _message(error: BaseException) -> str:
    if isinstance(error, (FailureError, BaseExceptionGroup)):
        text = str(error.message)  # without the causes and the count, which str() adds
    else:
        try:
            text = str(error)
        except Exception as broken:
            text = f"<{type(error).__name__} whose text cannot be made: {type(broken).__name__}>"
    if len(text) > MAX_MESSAGE_CHARACTERS:
        text = text[:MAX_MESSAGE_CHARACTERS] + "…"
    return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates (file names) do not fit a proto string


def _stack(error: BaseException) -> str:
    text = "".join(traceback.format_tb(error.__traceback__, limit=-MAX_STACK_FRAMES))
    for note in getattr(error, "__notes__", None) or ():
        text += f"{note}\n"[:MAX_MESSAGE_CHARACTERS]
    return text.encode("utf-8", "backslashreplace").decode()


def _is_host_cancellation(error: BaseException) -> bool:
    if isinstance(error, asyncio.CancelledError):
        return True
    trio = sys.modules.get("trio")  # asked only if something else imported it
    return trio is not None and isinstance(error, trio.Cancelled)


def _to_json(failure: Any) -> bytes:
    text = json_format.MessageToJson(failure, indent=None, descriptor_pool=proto.pool)
    return text.encode()


def _decode(failure: Any, converter: PayloadConverter, depth: int) -> Exception:
    failure = _with_encoded_attributes(failure, converter)
    kind = failure.WhichOneof("failure_info")
    if kind == "application_failure_info" and failure.application_failure_info.type == GROUP_TYPE and depth > 0:
        group = _decode_group(failure, converter, depth)
        if group is not None:
            return group
    error = _decode_info(failure, kind, converter)
    if failure.HasField("cause") and depth > 0:
        error.__cause__ = _decode(failure.cause, converter, depth - 1)
    return error


def _decode_group(failure: Any, converter: PayloadConverter, depth: int) -> Exception | None:
    """The group; None if its members cannot be read, so that what is there is told as an application failure."""
    members: list[Exception] = []
    cause: Exception | None = None
    for payload in failure.application_failure_info.details.payloads:
        member = _Failure()
        try:
            json_format.Parse(payload.data, member, ignore_unknown_fields=True, descriptor_pool=proto.pool)
        except (json_format.ParseError, UnicodeDecodeError):
            return None
        error = _decode(member, converter, depth - 1)
        if payload.metadata.get(_RELATION) == b"cause":
            cause = error
        else:
            members.append(error)
    if not members:
        return None
    group = ExceptionGroup(failure.message, members)
    group.__cause__ = cause
    if failure.stack_trace:
        group.add_note(f"stack trace from where it was raised:\n{failure.stack_trace}")
    return group


def _decode_info(failure: Any, kind: str | None, converter: PayloadConverter) -> FailureError:
    message = failure.message
    if kind == "application_failure_info":
        info = failure.application_failure_info
        return ApplicationError(
            message,
            *_values(info.details, converter),
            type=info.type or None,
            non_retryable=info.non_retryable,
            next_retry_delay=info.next_retry_delay.ToTimedelta() if info.HasField("next_retry_delay") else None,
            failure=failure,
        )
    if kind == "timeout_failure_info":
        timeout = failure.timeout_failure_info
        return TimeoutError(
            message or "timeout",
            type=_member(TimeoutType, timeout.timeout_type),
            last_heartbeat_details=_values(timeout.last_heartbeat_details, converter),
            failure=failure,
        )
    if kind == "canceled_failure_info":
        return CancelledError(message or "cancelled", *_values(failure.canceled_failure_info.details, converter), failure=failure)
    if kind == "terminated_failure_info":
        return TerminatedError(message or "terminated", failure=failure)
    if kind == "server_failure_info":
        return ServerError(message, non_retryable=failure.server_failure_info.non_retryable, failure=failure)
    if kind == "activity_failure_info":
        return _activity_error(failure)
    if kind == "child_workflow_execution_failure_info":
        return _child_error(failure)
    if kind == "nexus_operation_execution_failure_info":
        return _nexus_error(failure)
    if kind == "nexus_handler_failure_info":
        handler = failure.nexus_handler_failure_info
        overrides = {number: retryable for retryable, number in _RETRY_BEHAVIORS.items()}
        return NexusHandlerError(
            message or "the handler failed",
            type=handler.type,
            retryable_override=overrides.get(handler.retry_behavior),
            failure=failure,
        )
    return FailureError(message or "failure", failure=failure)


def _activity_error(failure: Any) -> ActivityError:
    info = failure.activity_failure_info
    return ActivityError(
        failure.message or "activity failed",
        scheduled_event_id=info.scheduled_event_id,
        started_event_id=info.started_event_id,
        identity=info.identity,
        activity_type=info.activity_type.name,
        activity_id=info.activity_id,
        retry_state=_member(RetryState, info.retry_state),
        failure=failure,
    )


def _child_error(failure: Any) -> ChildWorkflowError:
    info = failure.child_workflow_execution_failure_info
    return ChildWorkflowError(
        failure.message or "child workflow failed",
        namespace=info.namespace,
        workflow_id=info.workflow_execution.workflow_id,
        run_id=info.workflow_execution.run_id,
        workflow_type=info.workflow_type.name,
        initiated_event_id=info.initiated_event_id,
        started_event_id=info.started_event_id,
        retry_state=_member(RetryState, info.retry_state),
        failure=failure,
    )


def _nexus_error(failure: Any) -> NexusOperationError:
    info = failure.nexus_operation_execution_failure_info
    return NexusOperationError(
        failure.message or "Nexus operation failed",
        scheduled_event_id=info.scheduled_event_id,
        endpoint=info.endpoint,
        service=info.service,
        operation=info.operation,
        operation_token=info.operation_token or info.operation_id,
        failure=failure,
    )


def _values(payloads: Any, converter: PayloadConverter) -> Sequence[Any]:
    """Details, untyped. Details that cannot be read stay payloads: they must not hide the failure that carries them."""
    try:
        return converter.from_payloads(payloads.payloads)
    except DataConversionError:
        return list(payloads.payloads)


def _member(kind: Any, number: int) -> Any:
    """The enum's member; None for 0 and for numbers of a newer service."""
    return kind(number) if number and number in kind._value2member_map_ else None


def _with_encoded_attributes(failure: Any, converter: PayloadConverter) -> Any:
    """Message and stack trace put back where a sender's codec had moved them into `encoded_attributes`."""
    if not failure.HasField("encoded_attributes"):
        return failure
    attributes = converter.from_payloads([failure.encoded_attributes]) if _is_json(failure.encoded_attributes) else [None]
    if not isinstance(attributes[0], dict):
        return failure
    plain = _Failure()
    plain.CopyFrom(failure)
    plain.message = str(attributes[0].get("message", failure.message))
    plain.stack_trace = str(attributes[0].get("stack_trace", failure.stack_trace))
    return plain


def _is_json(payload: Any) -> bool:
    return bytes(payload.metadata.get("encoding", b"")) == b"json/plain"
