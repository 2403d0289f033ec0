"""What each contract test does and expects: the same on the embedded engine and on a real server."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from durable_anyio.exceptions import ActivityError, ApplicationError, CancelledError, TerminatedError, WorkflowFailureError

from . import relations as r
from . import workflows as w
from .activities import Colour, Order
from .activity_scenarios import ACTIVITY_SCENARIOS
from .attribute_scenarios import ATTRIBUTE_SCENARIOS
from .chain_scenarios import CHAIN_SCENARIOS
from .message_scenarios import MESSAGE_SCENARIOS
from .reset_scenarios import RESET_SCENARIOS
from .scenario import Handle, Scenario, gives

ORDER = Order(UUID(int=7), Colour.BLUE, {"a": 1}, b"\x00\xff")


async def fails_plainly(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert (caught.value.cause.type, caught.value.cause.message) == ("ValueError", "no good")


async def fails_as_group(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    group = caught.value.cause
    assert isinstance(group, ExceptionGroup)
    (member,) = group.exceptions
    assert isinstance(member, ActivityError)
    assert isinstance(member.cause, ApplicationError)
    assert member.cause.type == "Broken"


async def is_cancelled(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)


async def is_terminated(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, TerminatedError)


async def approve_twice(handle: Handle) -> None:
    await handle.signal(w.Approval.approve, "Ada")
    assert await handle.query(w.Approval.so_far) == ["Ada"]
    await handle.signal(w.Approval.approve, "Grace")


async def add_numbers(handle: Handle) -> None:
    for number in (1, 2, 3):
        await handle.signal(w.WaitsForCondition.add, number)


async def cancel(handle: Handle) -> None:
    await handle.cancel()


async def terminate(handle: Handle) -> None:
    await handle.terminate(reason="enough")


SCENARIOS = [
    *MESSAGE_SCENARIOS,
    *CHAIN_SCENARIOS,
    *RESET_SCENARIOS,
    *ACTIVITY_SCENARIOS,
    *ATTRIBUTE_SCENARIOS,
    Scenario("nothing", w.Nothing, (), gives(None)),
    Scenario("one activity", w.OneActivity, (21,), gives(42)),
    Scenario("an activity in a thread", w.ThreadActivity, (21,), gives(42)),
    Scenario("activities in sequence", w.Sequence, (5,), gives(20)),
    Scenario("activities side by side", w.FanOut, (5,), gives([0, 2, 4, 6, 8])),
    Scenario("a limited fan-out", w.LimitedFanOut, (5,), gives(20)),
    Scenario("a sleep", w.Sleeper, (0.2,), gives(True)),
    Scenario("a timeout that wins", w.TimeoutWins, (), gives(True)),
    Scenario("a timeout that loses", w.TimeoutLoses, (), gives(42)),
    Scenario("fail_after", w.FailAfter, (), gives("timed out")),
    Scenario("an activity cancelled by its scope", w.CancelActivityByScope, (), gives("left")),
    Scenario("a retried activity", w.RetriedActivity, ("it",), gives("it on attempt 3")),
    Scenario("a failure caught", w.CaughtFailure, (), gives("Broken: it failed ('a detail',)")),
    Scenario("a failed task group", w.FailedGroup, (), fails_as_group),
    Scenario("a plain failure", w.PlainFailure, (), fails_plainly),
    Scenario("signals and a query", w.Approval, (), gives(["Ada", "Grace"]), approve_twice),
    Scenario("a condition", w.WaitsForCondition, (6,), gives(6), add_numbers),
    Scenario("a cancelled workflow", w.CleansUp, (), is_cancelled, cancel),
    Scenario("a workflow that survives its cancellation", w.SurvivesCancel, (), gives("cleaned 8"), cancel),
    Scenario("a terminated workflow", w.Approval, (), is_terminated, terminate),
    Scenario("continue as new", w.ContinuesAsNew, (2, 0), gives(6)),
    Scenario("memory object streams", w.Streams, (4,), gives([0, 2, 4, 6])),
    Scenario(
        "locks, conditions, semaphores",
        w.Locks,
        (),
        gives(["a", "a locked", "b", "b locked", "a passed", "notified", "b passed"]),
    ),
    Scenario("time and randomness", w.Deterministic, (), gives(True)),
    Scenario("typed payloads", w.Typed, (ORDER,), gives(ORDER)),
    Scenario("a race of scopes", w.RaceOfScopes, (), gives("winner [2]")),
    Scenario(
        "local activities",
        w.LocalActivities,
        (21,),
        gives(["42", "42", "it on attempt 3", "42", "Broken: it failed ('a detail',)"]),
    ),
    Scenario("local activities side by side", w.LocalFanOut, (5,), gives([0, 3, 6, 9, 12])),
    Scenario("a local activity that rests", w.LocalRest, (), gives("it on attempt 3")),
    Scenario("local activities with deadlines", w.LocalDeadline, (), gives("left")),
    Scenario("steps", w.Steps, (), gives(["hello Ada", "ADA", "x"])),
    Scenario("a step longer than its workflow task", w.LongStep, (1.3,), gives("slept"), task_timeout=timedelta(seconds=1)),
]

NOT_FOUND = "ExternalWorkflowExecutionNotFound: Unable to {} external workflow because {}"
WAIT, TRY, ABANDON = 2, 1, 0

SCENARIOS += [
    Scenario("a child workflow", r.OneChild, (21,), gives(42)),
    Scenario("a child of a child", r.Grandchild, (21,), gives(42)),
    Scenario("children side by side", r.ChildrenSideBySide, (4,), gives([0, 2, 4, 6])),
    Scenario("a child that fails", r.CatchesChild, (), gives("Breaks: Broken: no good True")),
    Scenario("a child that fails in a task group", r.ChildFailsInGroup, (), r.fails_with_child),
    Scenario("signals to a child", r.SignalsChild, (), gives(["one", "two"])),
    Scenario("a child cancelled by its scope", r.ChildInScope, (WAIT, False), gives("[] True")),
    Scenario("a child that survives its scope", r.ChildInScope, (WAIT, True), gives("['survived'] True")),
    Scenario("a child asked to cancel and not waited for", r.ChildInScope, (TRY, False), gives("[] True")),
    Scenario("a child left by its scope", r.ChildInScope, (ABANDON, False), gives("[] True")),
    Scenario("a child cancelled before its start", r.CancelledBeforeItsStart, (), gives("nothing was started")),
    Scenario("a child cancelled by its handle", r.CancelsChild, (), gives("CancelledError")),
    Scenario("a parent cancelled with its child", r.ChildInScope, (WAIT, False), r.is_cancelled_with_child, r.cancel_when_running),
    Scenario("a child whose id is taken", r.IdIsTaken, (), gives("refused twice True")),
    Scenario("a child that continues as new", r.ChildContinues, (), gives("landed")),
    Scenario("a child that times out", r.ChildTimesOut, (), gives("TimeoutError")),
    Scenario("a child that is terminated", r.ChildIsTerminated, (), gives("TerminatedError"), r.terminate_child),
    Scenario("a parent that ends before its children", r.ClosesBeforeItsChildren, (), r.close_policies),
    Scenario("a parent that continues as new before its children", r.ContinuesBeforeItsChildren, (True,), r.children_follow_their_policies),
    Scenario("signals to another workflow", r.SignalsAnother, (), gives(["by id", "by run"])),
    Scenario("signals to nobody", r.SignalsNobody, (), gives([NOT_FOUND.format("signal", "it was not found")] * 2)),
    Scenario("cancelling another workflow", r.CancelsAnother, (), gives(["CancelledError"])),
    Scenario("cancelling nobody", r.CancelsNobody, (), gives(NOT_FOUND.format("cancel", "not found"))),
]
