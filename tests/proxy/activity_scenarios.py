"""Activities: outcomes, heartbeats, cancellation, pauses, and what a worker says of its free places."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from durable_anyio._bridge import proto

from .differences import ANYTHING, SPELT_OUT, TEXT, Difference
from .play import Play, Scenario
from .recording import Recording

Act = Callable[[Play], Awaitable[None]]
ENDED, CANCELED = "activity_task_completed_event_attributes", "activity_task_canceled_event_attributes"
HEARTBEAT = "RecordActivityTaskHeartbeat"


def runs(what: str, **options: Any) -> Act:
    async def act(play: Play) -> None:
        await play.start("Remote", what)
        await play.workers.start(**options)
        await play.result()

    return act


def fails(what: str, path: str = "") -> Act:
    async def act(play: Play) -> None:
        await play.start("Remote", what, path=path)
        await play.workers.start()
        await play.failure()

    return act


BEATS, THROTTLE_SECONDS = 6, 0.2


async def beats(play: Play) -> None:
    """It beats every hundredth of a second, and a fifth of a second passes between two that are sent."""
    await play.start("Remote", "beats")
    begun = anyio.current_time()
    await play.workers.start(max_heartbeat_throttle_interval=THROTTLE_SECONDS)
    await play.until_told(HEARTBEAT, BEATS)
    assert anyio.current_time() - begun >= (BEATS - 2) * THROTTLE_SECONDS
    play.release()
    assert await play.result() == "released"


def cancelled(what: str) -> Act:
    async def act(play: Play) -> None:
        await play.start("Remote", what)
        await play.workers.start(max_heartbeat_throttle_interval=0.2)
        await play.until_told(HEARTBEAT)
        await play.handle.signal("go")
        if what == "abandon":
            await play.until_told("RespondWorkflowTaskCompleted", 2)
            play.release()
            await play.until(ENDED)
        else:
            await play.until(CANCELED)
        await play.until_idle()
        await play.handle.signal("go")
        assert await play.result() == "CancelledError"

    return act


async def paused(play: Play) -> None:
    """Told by a heartbeat that somebody paused it; tried again when that is over."""
    await play.start("Remote", "beats")
    await play.workers.start(max_heartbeat_throttle_interval=0.2)
    await play.until_told(HEARTBEAT)
    await admin(play, "PauseActivity")
    await play.until_told("RespondActivityTaskFailed")
    play.release()
    await admin(play, "UnpauseActivity")
    assert await play.result() == "released"


async def reset(play: Play) -> None:
    await play.start("Remote", "beats")
    await play.workers.start(max_heartbeat_throttle_interval=0.2)
    await play.until_told(HEARTBEAT)
    await admin(play, "ResetActivity")
    await play.until_told("RespondActivityTaskFailed")
    play.release()
    assert await play.result() == "released"


async def admin(play: Play, method: str) -> None:
    request = proto.method(method).request(namespace="default", execution={"workflow_id": play.id}, type="beating")
    await play.client.service.call(method, request)


async def worker_ends(play: Play) -> None:
    """The worker stops while it works on the activity; the next one tries again."""
    await play.start("Remote", "beats")
    await play.workers.start(max_heartbeat_throttle_interval=0.2)
    await play.until_told(HEARTBEAT, 2)  # so that the service has taken one
    await play.workers.stop()
    play.release()
    await play.workers.start()
    assert await play.result() == "released"


def heartbeats_once(recording: Recording) -> Recording:
    """How many there are is a matter of time; the scenario of heartbeats looks at that. What a failure repeats of them says nothing new."""
    told: list[dict[str, Any]] = []
    last = None
    for request in recording["activity"]:
        last = request["details"] if request["method"] == HEARTBEAT else last
        if request.get("last_heartbeat_details") == last:
            request.pop("last_heartbeat_details", None)
        if not (told and request == told[-1] and request["method"] == HEARTBEAT):
            told.append(request)
    return {**recording, "activity": told}


def only_commands(recording: Recording) -> Recording:
    """Which results come together is a matter of time: only what was commanded."""
    commands = [{"commands": told["commands"]} for told in recording["workflow"] if told.get("commands")]
    return {**recording, "workflow": commands, "activity": sorted(recording["activity"], key=str)}


STOPPED = [
    Difference(r"activity\[1\]\.failure\.message", ANYTHING, ANYTHING, TEXT),
]
FAILURES = r"(activity\[0\]|workflow\[1\].*)\.failure\."
WORDS = [Difference(FAILURES + "(cause.)*message", ANYTHING, ANYTHING, TEXT)]
#: Whether an activity that cannot read its arguments is tried again.
UNREADABLE = [
    *WORDS,
    Difference(FAILURES + r"(cause\.)?application_failure_info\.type", None, "DataConversionError", "ours has a type"),
    Difference(FAILURES + r"(cause\.)*application_failure_info\.type", "TypeError", "ValidationError", "what the converters raise"),
    Difference(FAILURES + r"(cause\.)?application_failure_info\.non_retryable", None, True, "the next attempt would get the same"),
    Difference(
        FAILURES + r"activity_failure_info\.retry_state",
        "RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED",
        "RETRY_STATE_NON_RETRYABLE_FAILURE",
        "the next attempt would get the same",
    ),
]


SCENARIOS = [
    Scenario("an activity", runs("once")),
    Scenario("several activities", runs("several"), reduce=only_commands),
    Scenario("no eager activities", runs("once", disable_eager_activity_execution=True)),
    Scenario("an activity that is tried again", runs("retried")),
    Scenario("an activity that fails", fails("fails", "plain")),
    Scenario("an activity that fails with a cause", fails("fails", "chain")),
    Scenario("an activity that fails with details", fails("fails", "application")),
    Scenario("an activity that fails for good", fails("fails", "for good")),
    Scenario("an activity that nobody knows", fails("unknown"), WORDS),
    Scenario("an activity with another argument", fails("mistaken"), UNREADABLE),
    Scenario("an activity with heartbeats", beats, reduce=heartbeats_once),
    Scenario("an activity cancelled: try_cancel", cancelled("try_cancel"), (), heartbeats_once),
    Scenario("an activity cancelled: wait_cancel", cancelled("wait_cancel"), (), heartbeats_once),
    Scenario("an activity cancelled: abandon", cancelled("abandon"), reduce=heartbeats_once),
    Scenario("an activity paused", paused, STOPPED, heartbeats_once),
    Scenario("an activity reset", reset, STOPPED, heartbeats_once),
    Scenario("an activity at its worker's end", worker_ends, STOPPED[:1], heartbeats_once),
    Scenario("commands with all options", runs("options"), SPELT_OUT, only_commands),
]
