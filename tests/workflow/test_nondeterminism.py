"""A replay that differs says what was expected, what came, at which event, and which line of the program is to blame."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

import anyio
import pytest

from durable_anyio import Replayer, Worker, WorkflowHistory, workflow
from durable_anyio.exceptions import ApplicationError, NondeterminismError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment

from . import changed_code as code

HISTORY = Path(__file__).parents[1] / "histories" / "changed" / "shop.json"
ACTIVITIES = [code.reserve, code.charge, code.invoice]


def differs(cls: type) -> NondeterminismError:
    history = WorkflowHistory.from_json(HISTORY.read_text(encoding="utf-8"))
    with pytest.raises(NondeterminismError) as caught:
        Replayer(workflows=[cls]).replay(history)
    return caught.value


def line_of(cls: type, text: str) -> str:
    """Where in changed_code.py the line with this text stands."""
    lines, first = inspect.getsourcelines(cls)
    (number,) = (first + index for index, line in enumerate(lines) if text in line)
    return f"{code.__file__}:{number} in "


def test_the_recorded_code() -> None:
    Replayer(workflows=[code.Recorded]).replay(WorkflowHistory.from_json(HISTORY.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("cls", "text", "expected", "actual", "event_id"),
    [
        (code.AnotherActivity, "invoice", "ScheduleActivityTask (activity '2' of type 'charge')", "activity '2' of type 'invoice'", 16),
        (code.AnotherOrder, "sleep", "ScheduleActivityTask (activity '1' of type 'reserve')", "StartTimer (timer 1)", 5),
        (code.NoTimer, "charge", "StartTimer (timer 1)", "ScheduleActivityTask (activity '2' of type 'charge')", 11),
        (code.OneMore, "async with", "no command", "ScheduleActivityTask (activity '2' of type 'invoice')", 6),
        (code.EarlyFailure, "raise", "StartTimer (timer 1)", "FailWorkflowExecution", 11),
        (code.NeverEnds, "sleep(1)", "CompleteWorkflowExecution", "StartTimer (timer 2)", 22),
        (code.Deadline, "reserve", "no command", "StartTimer (timer 1)", 6),
    ],
)
def test_changed_code(cls: type, text: str, expected: str, actual: str, event_id: int) -> None:
    error = differs(cls)
    assert error.expected == expected
    assert error.actual is not None
    assert actual in error.actual
    assert error.event_id == event_id
    assert error.source is not None
    assert error.source.startswith(line_of(cls, text)), error
    assert text in error.source
    for part in (expected, error.actual, error.source, f"event: {event_id}", "Shop"):
        assert part in str(error)
    assert error.source in str(error).splitlines()[0]


def test_an_end_that_came_early_names_the_workflow() -> None:
    error = differs(code.EarlyEnd)
    assert (error.expected, error.actual) == ("StartTimer (timer 1)", "CompleteWorkflowExecution")
    assert error.source is not None
    assert "EarlyEnd.run" in error.source


def test_a_missing_command_shows_where_the_tasks_wait() -> None:
    error = differs(code.Waits)
    assert (error.expected, error.actual, error.event_id) == ("StartTimer (timer 1)", "no command", 11)
    assert error.source is None
    assert "await event.wait()  # was: a sleep" in error.stack
    assert "async with anyio.create_task_group()" in error.stack
    assert error.stack in str(error)


def test_what_cannot_be_told_in_detail_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def unreadable(*_: object, **__: object) -> NondeterminismError:
        raise OSError("no such file")

    monkeypatch.setattr("durable_anyio._workflow_instance.difference", unreadable)
    error = differs(code.NoTimer)
    assert "expected: StartTimer (timer 1)" in str(error)
    assert "shop-1" in str(error)
    assert any("please report it" in record.getMessage() for record in caplog.records)


@workflow.defn(name="Live")
class Before:
    def __init__(self) -> None:
        self.go = anyio.Event()

    @workflow.run
    async def run(self, item: str) -> str:
        await code.reserve(item)
        await self.go.wait()
        return await code.charge(item)

    @workflow.signal(name="go")
    def start(self) -> None:
        self.go.set()


@workflow.defn(name="Live")
class After(Before):
    @workflow.run
    async def run(self, item: str) -> str:
        await code.invoice(item)  # differs
        await self.go.wait()
        return await code.charge(item)


@pytest.mark.anyio
async def test_a_live_task_fails_with_the_line(env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture) -> None:
    """In `describe`, in the history and in the log; and with the old code the run goes on."""
    client = env.client
    async with Worker(client, task_queue=task_queue, workflows=[Before], activities=ACTIVITIES):
        handle = await client.start_workflow(Before.run, "tea", id="live", task_queue=task_queue)
        while (await handle.describe()).history_length < 10:
            await anyio.sleep(0.01)
    failed = None
    with caplog.at_level(logging.WARNING):
        async with Worker(client, task_queue=task_queue, workflows=[After], activities=ACTIVITIES):
            await handle.signal(Before.start)
            while failed is None:
                history = await handle.fetch_history()
                failed = next((e.workflow_task_failed_event_attributes for e in history.events if e.HasField(FAILED)), None)
                await anyio.sleep(0.01)
            while (pending := (await handle.describe()).pending_workflow_task) is None or pending.attempt < 2:
                await anyio.sleep(0.01)
    place = f"{__file__}:{line_of_differs()} in After.run: await code.invoice(item)  # differs"
    first, *rest = failed.failure.message.splitlines()
    assert "the history has ScheduleActivityTask (activity '1' of type 'reserve')" in first
    assert "the code gave ScheduleActivityTask (activity '1' of type 'invoice')" in first
    assert first.endswith(place)
    assert "event: 5" in rest
    assert failed.failure.application_failure_info.type == "NondeterminismError"
    assert failed.cause == 24
    assert place in str(pending.last_failure)
    assert any(place in record.getMessage() for record in caplog.records)
    async with Worker(client, task_queue=task_queue, workflows=[Before], activities=ACTIVITIES):
        assert await handle.result() == "charged tea"


@workflow.defn(name="Live", failure_exception_types=[NondeterminismError])
class AfterThatFails(Before):
    @workflow.run
    async def run(self, item: str) -> str:
        return await code.invoice(item)


@pytest.mark.anyio
async def test_a_difference_may_fail_the_workflow(env: WorkflowEnvironment, task_queue: str) -> None:
    """Where the definition says so; what the caller gets names the line."""
    client = env.client
    async with Worker(client, task_queue=task_queue, workflows=[Before], activities=ACTIVITIES):
        handle = await client.start_workflow(Before.run, "tea", id="fails", task_queue=task_queue)
        while (await handle.describe()).history_length < 10:
            await anyio.sleep(0.01)
    async with Worker(client, task_queue=task_queue, workflows=[AfterThatFails], activities=ACTIVITIES):
        await handle.signal(Before.start)
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "NondeterminismError"
    assert "in AfterThatFails.run" in caught.value.cause.message


FAILED = "workflow_task_failed_event_attributes"


def line_of_differs() -> int:
    lines, first = inspect.getsourcelines(After)
    return first + next(index for index, line in enumerate(lines) if "# differs" in line)
