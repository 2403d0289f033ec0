"""What a schedule is: its action, spec, policy and state, and the service's messages of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from . import _definitions
from ._bridge import proto
from ._schedule_spec import ScheduleSpec, set_time
from ._search_attributes import TypedSearchAttributes, decode_search_attributes, encode_search_attributes
from ._start import start_request
from .common import RetryPolicy

if TYPE_CHECKING:
    from .client import Client

__all__ = [
    "Schedule",
    "ScheduleAction",
    "ScheduleActionStartWorkflow",
    "ScheduleBackfill",
    "ScheduleOverlapPolicy",
    "SchedulePolicy",
    "ScheduleState",
]

SelfT = TypeVar("SelfT")
ResultT = TypeVar("ResultT")
Ts = TypeVarTuple("Ts")

_Payload = proto.message("temporal.api.common.v1.Payload")


class ScheduleOverlapPolicy(IntEnum):
    """What happens when a schedule is to start a workflow while one that it started runs."""

    SKIP = 1
    """Nothing."""
    BUFFER_ONE = 2
    """It is started when that one has ended; more of them are skipped."""
    BUFFER_ALL = 3
    """It is started when all before have ended."""
    CANCEL_OTHER = 4
    """That one is cancelled; when it has ended, this one is started."""
    TERMINATE_OTHER = 5
    """That one is terminated, this one is started."""
    ALLOW_ALL = 6
    """Both run."""


@dataclass
class ScheduleBackfill:
    """Asks to do now what a schedule would have done from `start_at` to `end_at`, both included."""

    start_at: datetime
    end_at: datetime
    overlap: ScheduleOverlapPolicy | None = None
    """None: the schedule's own policy, which may skip nearly all of them; BUFFER_ALL runs them one after another."""

    def to_proto(self) -> Any:
        """The `temporal.api.schedule.v1.BackfillRequest` of this backfill.

        :raises ValueError: it ends before it begins.
        """
        if self.end_at.astimezone() < self.start_at.astimezone():
            raise ValueError(f"the backfill ends ({self.end_at}) before it begins ({self.start_at})")
        request = proto.message("temporal.api.schedule.v1.BackfillRequest")(overlap_policy=self.overlap or 0)
        set_time(request.start_time, self.start_at)
        set_time(request.end_time, self.end_at)
        return request


class ScheduleAction(ABC):
    """What a schedule does; today there is `ScheduleActionStartWorkflow`."""

    @abstractmethod
    def to_proto(self, client: Client) -> Any:
        """The `temporal.api.schedule.v1.ScheduleAction` of this action."""

    @staticmethod
    def from_proto(action: Any, client: Client) -> ScheduleAction:
        """The action of a `ScheduleAction` message.

        :raises ValueError: it is of a kind that is not known here.
        """
        kind = action.WhichOneof("action")
        if kind != "start_workflow":
            raise ValueError(f"the schedule has an action of an unknown kind ({kind}); hint: a newer version may know it")
        return _start_from_proto(action.start_workflow, client)


@dataclass(init=False)
class ScheduleActionStartWorkflow(ScheduleAction):
    """Starts a workflow; the scheduled time is appended to its id, as in "report-2026-03-01T06:00:00Z".

    In a described schedule `workflow` is the type's name, and `args` and the values of `memo` are the service's encoded payloads; an update
    sends them back as they are.
    """

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    typed_search_attributes: TypedSearchAttributes
    """Of the workflows; in a description those without a known type are left out, and an update keeps them."""

    @overload
    def __init__(
        self,
        workflow: Callable[[SelfT, *Ts], Awaitable[ResultT]],
        *args: *Ts,
        id: str,
        task_queue: str,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty,
    ) -> None: ...

    @overload
    def __init__(
        self,
        workflow: str,
        *args: Any,
        id: str,
        task_queue: str,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty,
    ) -> None: ...

    def __init__(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self,
        workflow: Any,
        *args: Any,
        id: str,
        task_queue: str,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty,
    ) -> None:
        """What to start.

        :param workflow: the `run` method of a workflow class, or a type name.
        :raises TypeError: the arguments do not fit `run`.
        """
        name, definition = _definitions.workflow_definition(workflow)
        if definition is not None:
            _definitions.check_arguments(definition, args)
        self.workflow = name
        self.args = args
        self.id = id
        self.task_queue = task_queue
        self.execution_timeout = execution_timeout
        self.run_timeout = run_timeout
        self.task_timeout = task_timeout
        self.retry_policy = retry_policy
        self.memo = memo
        self.typed_search_attributes = typed_search_attributes
        self._raw: Any = None
        """The message that it was described by, for what has no field here."""

    def to_proto(self, client: Client) -> Any:
        """The `temporal.api.schedule.v1.ScheduleAction` of this action.

        :raises ValueError, TypeError: the service would refuse a start like this.
        :raises DataConversionError: an argument cannot be encoded.
        """
        args = [None if isinstance(arg, _Payload) else arg for arg in self.args]
        start = start_request(
            client,
            self.workflow,
            tuple(args),
            {
                "id": self.id,
                "task_queue": self.task_queue,
                "execution_timeout": self.execution_timeout,
                "run_timeout": self.run_timeout,
                "task_timeout": self.task_timeout,
                "retry_policy": self.retry_policy,
            },
        )
        action = proto.message("temporal.api.schedule.v1.ScheduleAction")()
        info = action.start_workflow
        if self._raw is not None:
            info.CopyFrom(self._raw)
        info.workflow_id = start.workflow_id
        for name in ("workflow_type", "task_queue", "input", "workflow_execution_timeout", "workflow_run_timeout", "workflow_task_timeout"):
            _copy(start, info, name)
        _copy(start, info, "retry_policy")
        for payload, arg in zip(info.input.payloads, self.args, strict=True):
            if isinstance(arg, _Payload):
                payload.CopyFrom(arg)
        info.ClearField("memo")
        for key, value in (self.memo or {}).items():
            payload = value if isinstance(value, _Payload) else client.data_converter.to_payloads([value])[0]
            info.memo.fields[key].CopyFrom(payload)
        _write_search_attributes(info, self.typed_search_attributes)
        return action


def _write_search_attributes(target: Any, attributes: TypedSearchAttributes) -> None:
    """Sets the field `search_attributes` of a message; what it has of no known type stays.

    :raises TypeError: for something else than `TypedSearchAttributes`.
    """
    fields = target.search_attributes.indexed_fields
    for pair in decode_search_attributes(fields):
        del fields[pair.key.name]
    for name, payload in encode_search_attributes(attributes).items():
        fields[name].CopyFrom(payload)
    if not fields:
        target.ClearField("search_attributes")


def _copy(source: Any, target: Any, name: str) -> None:
    target.ClearField(name)
    if source.HasField(name):
        getattr(target, name).CopyFrom(getattr(source, name))


def _start_from_proto(info: Any, client: Client) -> ScheduleActionStartWorkflow:
    def timeout(name: str) -> timedelta | None:
        value = getattr(info, name).ToTimedelta() if info.HasField(name) else None
        return value or None

    action = ScheduleActionStartWorkflow(
        info.workflow_type.name,
        *info.input.payloads,
        id=info.workflow_id,
        task_queue=info.task_queue.name,
        execution_timeout=timeout("workflow_execution_timeout"),
        run_timeout=timeout("workflow_run_timeout"),
        task_timeout=timeout("workflow_task_timeout"),
        retry_policy=RetryPolicy.from_proto(info.retry_policy) if info.HasField("retry_policy") else None,
        memo=dict(info.memo.fields) or None,
        typed_search_attributes=decode_search_attributes(info.search_attributes.indexed_fields),
    )
    action._raw = info
    return action


@dataclass
class SchedulePolicy:
    """What a schedule does when things do not go smoothly."""

    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    catchup_window: timedelta = timedelta(days=365)
    """How late an action may be after the engine or the service was down; ten seconds at least."""
    pause_on_failure: bool = False
    """Whether a started workflow that fails or runs out of time pauses the schedule."""


@dataclass
class ScheduleState:
    """What changes while a schedule lives."""

    note: str | None = None
    """A remark for people."""
    paused: bool = False
    limited_actions: bool = False
    """Whether `remaining_actions` counts down; triggers and backfills are not counted."""
    remaining_actions: int = 0


@dataclass
class Schedule:
    """A schedule as it is created and updated."""

    action: ScheduleAction
    spec: ScheduleSpec
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)
    state: ScheduleState = field(default_factory=ScheduleState)

    def to_proto(self, client: Client) -> Any:
        """The `temporal.api.schedule.v1.Schedule` of this schedule.

        :raises ValueError, TypeError: as the action's; or the spec has a value of another type.
        """
        schedule = proto.message("temporal.api.schedule.v1.Schedule")(
            spec=self.spec.to_proto(),
            action=self.action.to_proto(client),
            policies={"overlap_policy": self.policy.overlap, "pause_on_failure": self.policy.pause_on_failure},
            state={
                "notes": self.state.note or "",
                "paused": self.state.paused,
                "limited_actions": self.state.limited_actions,
                "remaining_actions": self.state.remaining_actions,
            },
        )
        schedule.policies.catchup_window.FromTimedelta(self.policy.catchup_window)
        return schedule

    @staticmethod
    def from_proto(schedule: Any, client: Client) -> Schedule:
        """The schedule of a `Schedule` message."""
        policies, state = schedule.policies, schedule.state
        return Schedule(
            action=ScheduleAction.from_proto(schedule.action, client),
            spec=ScheduleSpec.from_proto(schedule.spec),
            policy=SchedulePolicy(
                overlap=ScheduleOverlapPolicy(policies.overlap_policy or ScheduleOverlapPolicy.SKIP),
                catchup_window=policies.catchup_window.ToTimedelta(),
                pause_on_failure=policies.pause_on_failure,
            ),
            state=ScheduleState(
                note=state.notes or None,
                paused=state.paused,
                limited_actions=state.limited_actions,
                remaining_actions=state.remaining_actions,
            ),
        )
