"""What the workflows of `nexus_workflows` call, and what they see. Only a service has Nexus endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from durable_anyio.workflow import NexusOperationCancellationType as Type

from . import nexus_workflows as n


@dataclass(frozen=True)
class NexusScenario:
    """A workflow that gets the endpoint's name and these arguments, and its result."""

    name: str
    workflow: Any
    args: tuple[object, ...]
    result: object
    #: Whether somebody takes the calls.
    is_served: bool = True


NEXUS_SCENARIOS = [
    NexusScenario("a Nexus operation", n.CallsOperation, ("double", 21), 42),
    NexusScenario("a Nexus operation that takes its time", n.StartsOperation, (21,), [42, 42, True]),
    NexusScenario("a Nexus operation that fails", n.CallsOperation, ("fail", 21), "fail: 21 is no good"),
    NexusScenario("a Nexus operation that is refused", n.CallsOperation, ("refuse", 1), "refuse: handler BAD_REQUEST False"),
    NexusScenario("a Nexus operation that is repeated", n.CallsOperation, ("flaky", 21), 42),
    NexusScenario("Nexus operations side by side", n.OperationsSideBySide, (3,), [0, 2, 4]),
    NexusScenario("a Nexus operation that does not end", n.LimitsOperation, ("wait", "start_to_close_timeout"), "wait: START_TO_CLOSE"),
    NexusScenario(
        "a Nexus operation that does not start",
        n.LimitsOperation,
        ("unserved", "schedule_to_start_timeout"),
        "unserved: SCHEDULE_TO_START",
        False,
    ),
    NexusScenario(
        "a Nexus operation out of time", n.LimitsOperation, ("unserved", "schedule_to_close_timeout"), "unserved: SCHEDULE_TO_CLOSE", False
    ),
    NexusScenario("a Nexus operation cancelled by its scope", n.CancelsOperation, ("wait", Type.WAIT_COMPLETED), ["nothing", True]),
    NexusScenario("a Nexus operation that survives its scope", n.CancelsOperation, ("stubborn", Type.WAIT_COMPLETED), [2, False]),
    NexusScenario("a Nexus operation asked to cancel", n.CancelsOperation, ("stubborn", Type.WAIT_REQUESTED), ["nothing", True]),
    NexusScenario(
        "a Nexus operation that takes no request",
        n.CancelsOperation,
        ("deaf", Type.WAIT_REQUESTED),
        ["deaf: handler NOT_IMPLEMENTED False", False],
    ),
    NexusScenario("a Nexus operation not waited for", n.CancelsOperation, ("wait", Type.TRY_CANCEL), ["nothing", True]),
    NexusScenario("a Nexus operation left by its scope", n.CancelsOperation, ("wait", Type.ABANDON), ["nothing", True]),
    NexusScenario("a Nexus operation cancelled by its handle", n.CancelsByHandle, (Type.WAIT_COMPLETED,), "wait: cancelled"),
    NexusScenario("a Nexus operation given up by its handle", n.CancelsByHandle, (Type.TRY_CANCEL,), "wait: cancelled"),
    NexusScenario("a Nexus operation never sent", n.CancelsBeforeStart, ("double", Type.WAIT_COMPLETED, False), [True]),
    NexusScenario("a Nexus operation cancelled before its start", n.CancelsBeforeStart, ("late", Type.WAIT_COMPLETED, True), [True]),
    NexusScenario("a Nexus operation asked to cancel before its start", n.CancelsBeforeStart, ("late", Type.WAIT_REQUESTED, True), [True]),
    NexusScenario("a Nexus operation given up before its start", n.CancelsBeforeStart, ("late", Type.TRY_CANCEL, True), [True]),
    NexusScenario("a Nexus operation left before its start", n.CancelsBeforeStart, ("unserved", Type.ABANDON, True), [True], False),
    NexusScenario(
        "a Nexus operation cancelled that does not start",
        n.CancelsBeforeStart,
        ("unserved", Type.WAIT_COMPLETED, True, 2),
        ["unserved: SCHEDULE_TO_CLOSE", False],
        False,
    ),
]
