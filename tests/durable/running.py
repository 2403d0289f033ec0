"""Runs programs through the whole embedded stack, and compares what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from backend.programs import Body

from durable_anyio import Replayer, Worker, WorkflowHistory
from durable_anyio._connection import ConnectionOptions
from durable_anyio.client import Client, WorkflowHandle, _connecting
from durable_anyio.exceptions import WorkflowFailureError

from . import workflows
from .workflows import Errand, Program, error_shape, without_times, work

# Two causes nearer to each other than this may change places in another run, because work takes real time.
SECONDS_APART = 20

STUCK_SECONDS = 120
"""What takes longer than that in real time does not end: its task fails again and again."""

CAUSES = ("timer_fired", "activity_task_started", "workflow_execution_signaled", "workflow_execution_cancel_requested")
"""Events that come at a time of their own; the others follow from them."""

OWN_SIGNAL = {"activity_task_started", "workflow_execution_signaled"}


@dataclass
class Run:
    """What one run of one program left behind."""

    history: WorkflowHistory
    outcome: Any
    """The result without its times, or the failure."""
    attempts: list[tuple[int, int]]
    children: list[WorkflowHistory]

    def events(self) -> list[str]:
        """The history without workflow tasks, times and ids."""
        return [_normal(event) for event in self.history.events if not _kind(event).startswith("workflow_task")]

    def is_close(self) -> bool:
        """Whether two causes came so close to each other that they could have come the other way round."""
        causes = sorted((event.event_time.ToNanoseconds() / 1e9, _kind(event)) for event in self.history.events if _kind(event) in CAUSES)
        moment: list[tuple[float, str]] = []
        for time, kind in causes:
            if moment and time - moment[-1][0] >= SECONDS_APART:
                moment = []
            # Timers that fire together have an order; an attempt that signals its own workflow is one cause, although it has two events.
            if any((time, kind) != other and {kind, other[1]} != OWN_SIGNAL for other in moment):
                return True
            moment.append((time, kind))
        return any(self._stops_several(time) for time, kind in causes if kind == "workflow_execution_signaled")

    def _stops_several(self, time: float) -> bool:
        """Whether a signal leads to several cancel requests: an activity that is stopped ends in real time, beside all that follows."""
        requests = [event for event in self.history.events if event.HasField("activity_task_cancel_requested_event_attributes")]
        return len([one for one in requests if abs(one.event_time.ToNanoseconds() / 1e9 - time) < SECONDS_APART]) > 1


def client(target: str = "sqlite::memory:") -> Any:
    """An engine that skips time; without the guard of test environments, which is not what is tested here and takes its time."""
    return _connecting(target, "default", None, None, ConnectionOptions(), time_skipping=True)


async def run_all(programs: Mapping[str, Body], *, max_cached_workflows: int) -> dict[str, Run]:
    """Runs all programs side by side on one engine. The name says whether what leaves a program ends it."""
    runs: dict[str, Run] = {}
    async with client() as connected:
        workflows.clients.append(connected)
        try:
            worker = Worker(
                connected, task_queue="q", workflows=[Program, Errand], activities=[work], max_cached_workflows=max_cached_workflows
            )
            async with worker, anyio.create_task_group() as group:
                for name, program in programs.items():
                    group.start_soon(_run, connected, name, program, runs)
        finally:
            workflows.clients.remove(connected)
    return runs


async def _run(connected: Client, name: str, program: Body, runs: dict[str, Run]) -> None:
    workflows.attempts.pop(name, None)
    raises = name.endswith("0")
    handle = await connected.start_workflow(Program.run, repr(program), raises, id=name, task_queue="q")
    outcome = await outcome_of(handle)
    history = await handle.fetch_history()
    runs[name] = Run(history, outcome, workflows.attempts.pop(name, []), await _children(connected, history))


async def _children(connected: Client, history: WorkflowHistory) -> list[WorkflowHistory]:
    found = []
    for event in history.events:
        if event.HasField("child_workflow_execution_started_event_attributes"):
            child = event.child_workflow_execution_started_event_attributes.workflow_execution
            handle: WorkflowHandle[Any, Any] = connected.get_workflow_handle(child.workflow_id, run_id=child.run_id)
            found.append(await handle.fetch_history())
    return found


async def outcome_of(handle: WorkflowHandle[Any, str]) -> Any:
    """The result without its times, the failure, or "stuck"."""
    outcome: Any = "stuck"
    try:
        with anyio.move_on_after(STUCK_SECONDS) as scope:
            outcome = without_times(await handle.result())
        if scope.cancelled_caught:
            await handle.terminate("stuck")
    except WorkflowFailureError as error:
        outcome = error_shape(error.cause or error)
    return outcome


def replay_problem(run: Run) -> str | None:
    """What is wrong when the histories are replayed, as a whole and evicted after every activation; None if nothing is."""
    return next(filter(None, map(_history_problem, [run.history, *run.children])), None)


def _history_problem(history: WorkflowHistory) -> str | None:
    events = list(history.events)
    try:
        whole = list(_commands(history))
        started = [index for index, event in enumerate(events) if _kind(event) == "workflow_task_started"]
        completed = {event.workflow_task_completed_event_attributes.started_event_id for event in events}
        for index in started:
            if events[index].event_id not in completed:
                continue
            part = list(_commands(WorkflowHistory(history.workflow_id, events[: index + 1])))
            if part != whole[: len(part)]:
                number = next(n for n, pair in enumerate(zip(part, whole + [b""] * len(part), strict=False)) if pair[0] != pair[1])
                there = whole[number] if number < len(whole) else None
                return f"evicted before event {events[index].event_id + 1}: command {number + 1} is {part[number]!r}, not {there!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


_REPLAYER = Replayer(workflows=[Program, Errand])


def _commands(history: WorkflowHistory) -> Iterator[bytes]:
    completions: list[Any] = []
    _REPLAYER.replay(history, watch=lambda _, completion: completions.append(completion))
    for completion in completions:
        for command in completion.successful.commands:
            yield command.SerializeToString(deterministic=True)


def difference(one: Run, other: Run) -> str | None:
    """In what two runs of one program differ; None if in nothing."""
    pairs = ("events", one.events(), other.events()), ("outcome", one.outcome, other.outcome), ("attempts", one.attempts, other.attempts)
    for what, left, right in pairs:
        if left != right:
            return f"the {what} differ: {_first_difference(left, right)}"
    return None


def _first_difference(left: Any, right: Any) -> str:
    if isinstance(left, list) and isinstance(right, list):
        for number, (ours, theirs) in enumerate(zip(left, right, strict=False)):
            if ours != theirs:
                return f"number {number} is {ours!r} or {theirs!r}, after {left[max(0, number - 3) : number]!r}"
        return f"one has {len(left)}, the other {len(right)}: {(left + right)[min(len(left), len(right))]!r}"
    return f"{left!r} or {right!r}"


def _kind(event: Any) -> str:
    return str(event.WhichOneof("attributes")).removesuffix("_event_attributes")


def _normal(event: Any) -> str:
    kind = _kind(event)
    attributes = getattr(event, f"{kind}_event_attributes")
    about: list[Any] = [kind]
    for field in ("activity_id", "timer_id", "signal_name", "retry_state"):
        if field in attributes.DESCRIPTOR.fields_by_name:
            about.append(getattr(attributes, field))
    if "failure" in attributes.DESCRIPTOR.fields_by_name:
        about.append(attributes.failure.message)
        about.append(attributes.failure.cause.message)
    if "attempt" in attributes.DESCRIPTOR.fields_by_name and kind == "activity_task_started":
        about.append(attributes.attempt)
    return " ".join(map(str, about))
