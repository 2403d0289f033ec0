"""The start of a workflow: what it can ask for, and the service's messages of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Required, TypedDict
from uuid import uuid4

from . import _definitions
from ._debug_mode import DEBUG_TASK_TIMEOUT
from ._search_attributes import encode_search_attributes
from ._service import error_detail
from .common import Priority, RetryPolicy, TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from .exceptions import RPCError, RPCStatusCode, WorkflowAlreadyStartedError

if TYPE_CHECKING:
    from .client import Client

# The service's limit for ids and names.
MAX_ID_LENGTH = 1000


class StartOptions(TypedDict, total=False):
    """The options of `start_workflow` and `execute_workflow`; `id` and `task_queue` are required."""

    id: Required[str]
    """The workflow's id: at most one workflow of an id runs at a time."""
    task_queue: Required[str]
    """Where workers poll for it."""
    execution_timeout: timedelta | None
    """The limit of the whole chain of runs."""
    run_timeout: timedelta | None
    """The limit of one run."""
    task_timeout: timedelta | None
    """The limit of one workflow task; the service's default is 10 seconds."""
    id_reuse_policy: WorkflowIDReusePolicy
    """May the id of a closed workflow be used again? Default: ALLOW_DUPLICATE."""
    id_conflict_policy: WorkflowIDConflictPolicy
    """What if a workflow of that id runs? Default: FAIL, with `WorkflowAlreadyStartedError`."""
    retry_policy: RetryPolicy | None
    """Starts a failed workflow again; without one a failure is final."""
    memo: Mapping[str, Any] | None
    """Values that lists and descriptions show."""
    cron_schedule: str
    """Starts the next run when one has ended, at the times that five fields, a name or an interval say: `"0 9 * * MON-FRI"`, `"@daily"`,
    `"@every 1h30m"`; in UTC, or with `"CRON_TZ=Europe/Berlin "` before it."""
    search_attributes: TypedSearchAttributes | None
    """Values that list queries can ask for; custom ones must be known to the namespace."""
    start_delay: timedelta | None
    """How long the first workflow task waits."""
    start_signal: str | Callable[..., Any] | None
    """A signal that the workflow gets with its start; a workflow of this id that runs gets it alone."""
    start_signal_args: Sequence[Any]
    """What the signal's handler takes."""
    static_summary: str | None
    """One line about this workflow for people, in Markdown."""
    static_details: str | None
    """More about this workflow for people, in Markdown."""
    priority: Priority
    """Which of the tasks that wait go first; activities and children inherit it."""
    request_eager_start: bool
    """Asks for the first workflow task with the answer to the start: a worker of this client and task queue has it one round trip sooner.
    Without such a worker, or if the service does not do it, the start is an ordinary one."""
    request_id: str | None
    """Two starts with one request id are one start; for callers that retry by themselves."""


def start_request(client: Client, name: str, args: tuple[Any, ...], options: StartOptions) -> Any:
    """The request of a start.

    :raises ValueError, TypeError: the service would refuse it.
    """
    request = client.service.request(
        "StartWorkflowExecution",
        namespace=client.namespace,
        workflow_id=checked_name("workflow id", options.get("id")),
        identity=client.identity,
        request_id=options.get("request_id") or str(uuid4()),
        workflow_id_reuse_policy=options.get("id_reuse_policy", WorkflowIDReusePolicy.UNSPECIFIED),
        workflow_id_conflict_policy=options.get("id_conflict_policy", WorkflowIDConflictPolicy.UNSPECIFIED),
    )
    request.workflow_type.name = checked_name("workflow type", name)
    request.task_queue.name = checked_name("task queue", options.get("task_queue"))
    _set_duration(request.workflow_execution_timeout, "execution_timeout", options.get("execution_timeout"))
    _set_duration(request.workflow_run_timeout, "run_timeout", options.get("run_timeout"))
    task_timeout = options.get("task_timeout")
    if task_timeout is None and client._debug_mode:
        task_timeout = DEBUG_TASK_TIMEOUT
    _set_duration(request.workflow_task_timeout, "task_timeout", task_timeout)
    _set_duration(request.workflow_start_delay, "start_delay", options.get("start_delay"))
    policy = options.get("retry_policy")
    if policy is not None:
        request.retry_policy.CopyFrom(policy.to_proto())
    request.cron_schedule = options.get("cron_schedule") or ""
    request.request_eager_execution = bool(options.get("request_eager_start"))
    priority = options.get("priority")
    if priority is not None and priority != Priority.default:
        request.priority.CopyFrom(priority.to_proto())
    for field, text in (("summary", options.get("static_summary")), ("details", options.get("static_details"))):
        if text is not None:
            getattr(request.user_metadata, field).CopyFrom(client.data_converter.to_payloads([text])[0])
    if args:
        request.input.payloads.extend(client.data_converter.to_payloads(args))
    memo = options.get("memo") or {}
    for key, payload in zip(memo, client.data_converter.to_payloads(list(memo.values())), strict=True):
        request.memo.fields[key].CopyFrom(payload)
    attributes = options.get("search_attributes")
    if attributes is not None:
        for key, payload in encode_search_attributes(attributes).items():
            request.search_attributes.indexed_fields[key].CopyFrom(payload)
    return request


def signal_with_start(client: Client, start: Any, options: StartOptions) -> Any:
    """A start request with a signal; the request of another call.

    :raises TypeError: the arguments do not fit the signal's handler.
    """
    signal, args = options.get("start_signal"), tuple(options.get("start_signal_args") or ())
    name = _definitions.signal_name(signal)
    _definitions.check_arguments(signal, args)
    request = client.service.request("SignalWithStartWorkflowExecution", signal_name=name)
    known = {field.name for field in request.DESCRIPTOR.fields}
    for field, value in start.ListFields():
        if field.name in known and hasattr(value, "DESCRIPTOR"):
            getattr(request, field.name).CopyFrom(value)
        elif field.name in known:
            setattr(request, field.name, value)
    if args:
        request.signal_input.payloads.extend(client.data_converter.to_payloads(args))
    return request


def start_refused(error: RPCError, request: Any) -> Exception:
    """The error that tells why a start was refused."""
    if error.status is not RPCStatusCode.ALREADY_EXISTS:
        return error
    detail = error_detail(error, "WorkflowExecutionAlreadyStartedFailure")
    return WorkflowAlreadyStartedError(request.workflow_id, request.workflow_type.name, detail.run_id if detail is not None else None)


def checked_name(what: str, value: str | None) -> str:
    """An id or a name as it is.

    :raises TypeError, ValueError: the service would refuse it.
    """
    if not isinstance(value, str):
        raise TypeError(f"the {what} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"the {what} is empty")
    length = len(value.encode("utf-8", "surrogatepass"))
    if length > MAX_ID_LENGTH:
        raise ValueError(
            f"the {what} has {length:,} bytes, the limit is {MAX_ID_LENGTH:,}; hint: hash what makes it long ({value[:40]!r}…)"
        )
    return value


def _set_duration(target: Any, what: str, value: timedelta | None) -> None:
    if value is None:
        return
    if not isinstance(value, timedelta):
        raise TypeError(f"{what} must be a timedelta, not {type(value).__name__}")
    if value < timedelta(0):
        raise ValueError(f"{what} must not be negative, not {value}")
    target.FromTimedelta(value)
