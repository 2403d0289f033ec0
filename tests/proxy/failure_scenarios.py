"""Workflows and workflow tasks that fail."""

from __future__ import annotations

from datetime import timedelta

from durable_anyio.exceptions import WorkflowFailureError

from .differences import ANYTHING, TEXT, Difference
from .play import COMPLETED, FAILED, Play, Scenario
from .recording import Recording


async def for_good(play: Play) -> None:
    await play.start("Failing", "for_good")
    await play.workers.start()
    await play.failure()


async def by_activity(play: Play) -> None:
    await play.start("Failing", "activity")
    await play.workers.start()
    await play.failure()


async def cancelled(play: Play) -> None:
    await play.start("Failing", "forever")
    await play.workers.start()
    await play.until(COMPLETED)
    await play.handle.cancel()
    assert isinstance(await play.failure(), WorkflowFailureError)


async def changed(play: Play) -> None:
    """Code that another history belongs to, and then its own again."""
    await play.start("Failing", "changed", task_timeout=timedelta(seconds=1))
    await play.workers.start()
    await play.until("activity_task_completed_event_attributes")
    await play.until(COMPLETED, 2)
    await play.workers.stop()
    await play.workers.start(changed=True)
    await play.handle.signal("go")
    await play.until(FAILED)
    await play.workers.stop()
    await play.workers.start()
    assert await play.result() == "went"


async def plain(play: Play) -> None:
    """An exception that is no `ApplicationError`."""
    await play.start("Failing", "plain")
    await play.workers.start()
    await play.until_told("RespondWorkflowTask", 1)


async def unknown(play: Play) -> None:
    await play.start("Nobody", "")
    await play.workers.start()
    await play.until(FAILED)


def failures_once(recording: Recording) -> Recording:
    """The other worker tells of a task's first attempt only and lets the others time out; ours tells of each, after growing pauses."""
    told = recording["workflow"]
    failed = "RespondWorkflowTaskFailed"
    once = [one for one, before in zip(told, [{}, *told], strict=False) if one["method"] != failed or before.get("method") != failed]
    return {**recording, "workflow": once}


FAILED_TASK = r"workflow\[\d\]\."
NONDETERMINISM = [
    Difference(FAILED_TASK + "failure.message", ANYTHING, ANYTHING, TEXT),
    Difference(FAILED_TASK + "failure.application_failure_info.type", None, "NondeterminismError", "ours has a type"),
]
#: An exception that is no `ApplicationError` fails the task there and the workflow here.
FAILS_THE_WORKFLOW = [
    Difference(FAILED_TASK + name, official, own, "errors fail the workflow, as its caller waits for one")
    for name, official, own in [
        ("method", "RespondWorkflowTaskFailed", "RespondWorkflowTaskCompleted"),
        ("cause", "WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE", None),
        ("failure", {"message": "broken", "stack_trace": "<set>", "application_failure_info": {"type": "ValueError"}}, None),
        ("commands", None, ANYTHING),
        ("capabilities", None, ANYTHING),
        ("return_new_workflow_task", None, True),
        ("sdk_metadata", None, ANYTHING),
        ("sticky_attributes", None, ANYTHING),
    ]
]
UNKNOWN = [
    Difference(FAILED_TASK + "failure.message", ANYTHING, ANYTHING, TEXT),
]
SCENARIOS = [
    Scenario("a workflow that fails", for_good),
    Scenario("a workflow that fails by its activity", by_activity),
    Scenario("a workflow that is cancelled", cancelled),
    Scenario("a workflow whose code changed", changed, NONDETERMINISM, failures_once),
    Scenario("a workflow with a bug", plain, FAILS_THE_WORKFLOW, failures_once),
    Scenario("a workflow that nobody knows", unknown, UNKNOWN, failures_once),
]
