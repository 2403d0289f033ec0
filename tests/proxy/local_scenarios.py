"""Local activities: their outcomes are markers, and long ones keep their workflow task alive."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from .differences import ANYTHING, TEXT, Difference
from .play import COMPLETED, Play, Scenario
from .recording import Recording

#: Heartbeats come after 80 % of it; the rest is for a busy machine.
SHORT = timedelta(seconds=2)


async def once(play: Play) -> None:
    await play.start("Locals", "once")
    await play.workers.start()
    assert await play.result() == "once"


async def two(play: Play) -> None:
    await play.start("Locals", "two")
    await play.workers.start()
    assert await play.result() == ["one", "two"]


async def retried(play: Play) -> None:
    await play.start("Locals", "retried")
    await play.workers.start()
    assert await play.result() == 3


async def rests(play: Play) -> None:
    await play.start("Locals", "rests")
    await play.workers.start()
    assert await play.result() == 3


async def fails(play: Play) -> None:
    await play.start("Locals", "fails")
    await play.workers.start()
    await play.failure()


async def out_of_attempts(play: Play) -> None:
    await play.start("Locals", "out_of_attempts")
    await play.workers.start()
    await play.failure()


async def long(play: Play) -> None:
    await play.start("Locals", "held", task_timeout=SHORT)
    await play.workers.start()
    await play.until(COMPLETED, 2)
    play.release()
    assert await play.result() == "released"


def heartbeats_once(recording: Recording) -> Recording:
    """How many heartbeats a task needs is a matter of time: those that say the same as the one before are left out."""
    told: list[dict[str, object]] = []
    for request in recording["workflow"]:
        if not (told and request == told[-1] and request.get("force_create_new_workflow_task")):
            told.append(request)
    return {**recording, "workflow": told}


def markers_in_order(recording: Recording) -> Recording:
    """Which of two is done first is a matter of time."""

    def started(command: dict[str, Any]) -> float:
        if "record_marker_command_attributes" not in command:
            return math.inf
        data = command["record_marker_command_attributes"]["details"]["data"]["payloads"][0]["data"]
        data.pop("activation_index")
        return float(data["seq"])

    for told in recording["workflow"]:
        told["commands"].sort(key=started)
    return recording


async def out_of_time(play: Play) -> None:
    await play.start("Locals", "out_of_time")
    await play.workers.start()
    await play.failure()


async def out_of_all_time(play: Play) -> None:
    await play.start("Locals", "out_of_all_time")
    await play.workers.start()
    await play.failure()


async def withdrawn(play: Play) -> None:
    await play.start("Locals", "withdrawn")
    await play.workers.start()
    assert await play.result() == "CancelledError"


MARKER = r"workflow\[\d\]\.commands\[0\]\.record_marker_command_attributes\.(details\.data\.payloads\[0\]\.data|failure)\."
FAILURE = r"workflow\[0\]\.commands\[1\]\.fail_workflow_execution_command_attributes\.failure\."
#: The other SDK gives local activities' failures without an `ActivityError` round them.
WRAPPED = [
    Difference(FAILURE + "activity_failure_info", None, ANYTHING, "it is an `ActivityError`, as of other activities"),
    Difference(FAILURE + "application_failure_info", ANYTHING, None, "it is an `ActivityError`, and this is in its cause"),
    Difference(FAILURE + "cause", None, ANYTHING, "it is an `ActivityError` with a cause"),
    Difference(FAILURE + "message", "broken", ANYTHING, TEXT),
]
TIMED_OUT = [
    Difference(FAILURE + "activity_failure_info.retry_state", "RETRY_STATE_CANCEL_REQUESTED", None, "nobody asked for a cancellation"),
    Difference(FAILURE + "message", ANYTHING, ANYTHING, TEXT),
    Difference(FAILURE + "stack_trace", None, "<set>", "we tell what the code raised, the other SDK what it was given"),
]
TOLD_AT_ONCE = Difference(MARKER + "attempt", 0, 1, "it was the first attempt that was cancelled, whether it had begun or not")
WAITED = [
    Difference(MARKER + "message", ANYTHING, "cancelled", TEXT),
    Difference(MARKER + "attempt", 0, 1, "the other one's core may answer before the activity does", sometimes=True),
    Difference(MARKER + "stack_trace", None, "<set>", "we tell where the activity stopped"),
]


def cancelled(what: str, *differences: Difference) -> Scenario:
    async def act(play: Play) -> None:
        await play.start("Locals", what, task_timeout=SHORT)
        await play.workers.start()
        await play.until(COMPLETED)
        await play.handle.signal("go")
        assert await play.result() == "CancelledError"
        play.release()

    return Scenario(f"a local activity cancelled: {what}", act, differences, heartbeats_once)


SCENARIOS = [
    Scenario("a local activity", once),
    Scenario("two local activities", two, reduce=markers_in_order),
    Scenario("a local activity that is tried again", retried),
    Scenario(
        "a local activity that rests longer than a task",
        rests,
        [Difference(MARKER + "activity_id", ANYTHING, "1", "an activity keeps its id from attempt to attempt")],
    ),
    Scenario("a local activity that fails for good", fails, WRAPPED),
    Scenario("a local activity out of attempts", out_of_attempts, WRAPPED),
    Scenario("a local activity longer than its task", long, reduce=heartbeats_once),
    Scenario("a local activity out of time", out_of_time, TIMED_OUT),
    Scenario("a local activity out of all its time", out_of_all_time, TIMED_OUT),
    Scenario("a local activity withdrawn at once", withdrawn, [TOLD_AT_ONCE]),
    cancelled("try_cancel", TOLD_AT_ONCE),
    cancelled("wait_cancel", *WAITED),
    cancelled("abandon", TOLD_AT_ONCE),
]
