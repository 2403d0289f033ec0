"""Activations in, commands out: one run driven by hand."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import activity, workflow
from durable_anyio.exceptions import ActivityError, ApplicationError

from .activations import (
    START_SECONDS,
    Driver,
    Job,
    cancel,
    cancelled,
    evict,
    failed,
    fired,
    names,
    query,
    result,
    signal,
    value_of,
)

SECOND = timedelta(seconds=1)
QUERIES_THAT_FAIL = [("breaks", "broken"), ("nothing", "no query 'nothing'"), ("set_it", "quer"), ("call_it", "quer")]


@activity.defn(start_to_close_timeout=SECOND)
async def work(number: int) -> int:
    return number


@dataclass
class Item:
    name: str


@activity.defn(start_to_close_timeout=SECOND)
def make(item: Item) -> Item:
    return item


@workflow.defn
class Direct:
    @workflow.run
    async def run(self, number: int) -> int:
        return await work(number) + 1


def test_direct_call_of_an_activity() -> None:
    driver = Driver(Direct, 1)
    (command,) = driver.start()
    scheduled = command.schedule_activity
    assert (scheduled.seq, scheduled.activity_id, scheduled.activity_type, scheduled.task_queue) == (1, "1", "work", "tq")
    assert scheduled.start_to_close_timeout.ToTimedelta() == SECOND
    assert scheduled.arguments[0].data == b"1"
    assert value_of(driver.step(result(1, 41))[0]) == 42


def test_activity_failure_fails_the_workflow() -> None:
    driver = Driver(Direct, 1)
    driver.start()
    (command,) = driver.step(failed(1, ApplicationError("no", type="Bad")))
    failure = command.fail_workflow_execution.failure
    assert failure.WhichOneof("failure_info") == "activity_failure_info"
    assert failure.cause.application_failure_info.type == "Bad"


@workflow.defn
class Group:
    @workflow.run
    async def run(self) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(work, 1)
            tg.start_soon(work, 2)


def test_group_fails_with_members_and_cancels_the_sibling() -> None:
    driver = Driver(Group)
    assert names(driver.start()) == ["schedule_activity"] * 2
    commands = driver.step(failed(1, ApplicationError("no")))
    assert names(commands) == ["request_cancel_activity", "fail_workflow_execution"]
    failure = commands[1].fail_workflow_execution.failure
    assert failure.application_failure_info.type == "ExceptionGroup"


@workflow.defn
class Deadline:
    @workflow.run
    async def run(self, seconds: float) -> str:
        with anyio.move_on_after(seconds):
            return f"result {await work(1)}"
        return f"late at {anyio.current_time()}"


def test_deadline_cancels_the_activity() -> None:
    driver = Driver(Deadline, 1.5)
    commands = driver.start()
    assert names(commands) == ["schedule_activity", "start_timer"]
    assert commands[1].start_timer.start_to_fire_timeout.ToMilliseconds() == 1500
    driver.seconds = 1.6
    commands = driver.step(fired(1))
    assert names(commands) == ["request_cancel_activity", "complete_workflow_execution"]
    assert value_of(commands[1]) == "late at 1.6"


def test_result_wins_over_a_deadline_of_the_same_activation() -> None:
    driver = Driver(Deadline, 1)
    driver.start()
    driver.seconds = 1
    (command,) = driver.step(fired(1), result(1, 5))
    assert value_of(command) == "result 5"


@workflow.defn
class Waits:
    def __init__(self) -> None:
        self.approved = anyio.Event()
        self.names: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await self.approved.wait()
        return self.names

    @workflow.signal
    async def approve(self, name: str) -> None:
        self.names.append(name)
        self.approved.set()

    @workflow.signal(name="later")
    def note(self, name: str) -> None:
        self.names.append(name)

    @workflow.query
    def seen(self) -> list[str]:
        return self.names

    @workflow.query
    def set_it(self) -> None:
        self.approved.set()

    @workflow.query
    def call_it(self) -> None:
        workflow.start_activity(work, 1)

    @workflow.query
    def breaks(self) -> None:
        raise ValueError("broken")


def test_signals_and_queries() -> None:
    driver = Driver(Waits)
    assert driver.start(signal("later", "first")) == []
    assert value_of(driver.step(query("seen"))[0]) == ["first"]
    assert value_of(driver.step(signal("approve", "last"))[0]) == ["first", "last"]
    assert value_of(driver.step(query("seen"))[0]) == ["first", "last"]


@pytest.mark.parametrize(("name", "text"), QUERIES_THAT_FAIL)
def test_queries_that_fail_answer_and_leave_the_run_alone(name: str, text: str) -> None:
    driver = Driver(Waits)
    driver.start()
    (command,) = driver.step(query(name))
    assert text in command.respond_to_query.failed.message
    assert names(driver.step(signal("approve", "x"))) == ["complete_workflow_execution"]


def test_stack_trace_query() -> None:
    driver = Driver(Waits)
    driver.start()
    assert "self.approved.wait()" in value_of(driver.step(query("__stack_trace"))[0])


def test_unhandled_signal_is_kept_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(Waits)
    driver.start(signal("unknown"))
    assert "unknown" in caplog.text
    assert "approve, later" in caplog.text


def test_argument_that_does_not_fit_suspends() -> None:
    driver = Driver(Waits)
    driver.start()
    assert "approve" in driver.suspended(signal("approve", 5))


@workflow.defn
class FailingSignal:
    @workflow.run
    async def run(self) -> None:
        await anyio.sleep_forever()

    @workflow.signal
    async def fail(self) -> None:
        raise ValueError("no good")


def test_error_of_a_signal_handler_fails_the_workflow() -> None:
    driver = Driver(FailingSignal)
    driver.start()
    (command,) = driver.step(signal("fail"))
    assert command.fail_workflow_execution.failure.message == "no good"


@workflow.defn
class CleansUp:
    @workflow.run
    async def run(self) -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await work(1)


def test_cancel_request_runs_shielded_clean_up() -> None:
    driver = Driver(CleansUp)
    assert names(driver.start()) == ["start_timer"]
    assert names(driver.step(cancel("enough"))) == ["cancel_timer", "schedule_activity"]
    assert names(driver.step(result(1, 1))) == ["cancel_workflow_execution"]


@workflow.defn
class WaitsForCancellation:
    @workflow.run
    async def run(self) -> str:
        with anyio.move_on_after(1) as scope:
            value = await workflow.execute_activity(
                work, 1, cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
            )
            return f"{value}"
        return f"cancelled {scope.cancelled_caught}"


@pytest.mark.parametrize(("answer", "expected"), [(cancelled(1), "cancelled True"), (result(1, 7), "7")])
def test_wait_for_cancellation(answer: Any, expected: str) -> None:
    driver = Driver(WaitsForCancellation)
    driver.start()
    driver.seconds = 1
    assert names(driver.step(fired(1))) == ["request_cancel_activity"]
    (command,) = driver.step(answer)
    assert value_of(command) == expected


@workflow.defn
class Handles:
    @workflow.run
    async def run(self) -> list[int]:
        first = workflow.start_activity(work, 1)
        second = workflow.start_activity("other", Item("a"), start_to_close_timeout=SECOND, result_type=int)
        second.cancel()
        with pytest.raises(ActivityError) as caught:
            await second
        assert "cancel" in str(caught.value.__cause__)
        return [await first, await first]


def test_started_activities() -> None:
    driver = Driver(Handles)
    assert names(driver.start()) == ["schedule_activity", "schedule_activity", "request_cancel_activity"]
    assert driver.step(cancelled(2)) == []
    assert value_of(driver.step(result(1, 3))[0]) == [3, 3]


@workflow.defn
class Conditions:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.count >= 2)
        try:
            await workflow.wait_condition(lambda: self.count >= 9, timeout=SECOND)
        except TimeoutError:
            return "late"
        return "early"

    @workflow.signal
    def add(self) -> None:
        self.count += 1


def test_wait_condition() -> None:
    driver = Driver(Conditions)
    assert driver.start(signal("add")) == []
    assert names(driver.step(signal("add"))) == ["start_timer"]
    driver.seconds = 1
    assert value_of(driver.step(fired(1))[0]) == "late"


@workflow.defn
class Again:
    @workflow.run
    async def run(self, number: int) -> None:
        async with anyio.create_task_group():
            workflow.continue_as_new(number + 1)


def test_continue_as_new_also_out_of_a_group() -> None:
    (command,) = Driver(Again, 1).start()
    following = command.continue_as_new_workflow_execution
    assert (following.workflow_type, following.task_queue, following.arguments[0].data) == ("Again", "tq", b"2")


@workflow.defn
class Facts:
    @workflow.run
    async def run(self) -> list[Any]:
        await anyio.sleep(0.25)
        info = workflow.info()
        assert workflow.now() == datetime.fromtimestamp(START_SECONDS + 0.25, UTC)
        assert (info.workflow_id, info.run_id, info.history_length, info.is_continue_as_new_suggested) == ("the-id", "the-run", 3, False)
        workflow.logger.warning("here I am")
        return [str(workflow.uuid4()), workflow.random().random(), workflow.unsafe.is_replaying(), workflow.memo()]


@pytest.mark.parametrize("replaying", [False, True])
def test_time_random_and_log(replaying: bool, caplog: pytest.LogCaptureFixture) -> None:
    values = []
    for _ in range(2):
        driver = Driver(Facts, replaying=replaying)
        driver.start()
        driver.seconds = 0.25
        values.append(value_of(driver.step(fired(1))[0]))
    assert values[0] == values[1]
    assert values[0][2:] == [replaying, {}]
    assert ("here I am" in caplog.text) is not replaying
    if not replaying:
        assert caplog.records[0].workflow_id == "the-id"  # type: ignore[attr-defined]


@workflow.defn
class Unencodable:
    @workflow.run
    async def run(self) -> object:
        return object()


def test_result_that_cannot_be_encoded_suspends() -> None:
    driver = Driver(Unencodable)
    assert "the result of Unencodable.run" in driver.suspended(driver.first)


@workflow.defn
class Typed:
    @workflow.run
    async def run(self) -> str:
        try:
            return (await make(Item("a"))).name
        except Exception:
            return "swallowed"


def test_payload_that_cannot_be_decoded_suspends_even_if_swallowed() -> None:
    driver = Driver(Typed)
    driver.start()
    assert "the result of the activity 'make'" in driver.suspended(result(1, "no item"))


@workflow.defn(failure_exception_types=[KeyError])
class Narrow:
    @workflow.run
    async def run(self, kind: str) -> None:
        raise {"key": KeyError("x"), "value": ValueError("x"), "failure": ApplicationError("x")}[kind]


def test_failure_exception_types() -> None:
    assert names(Driver(Narrow, "key").start()) == ["fail_workflow_execution"]
    assert names(Driver(Narrow, "failure").start()) == ["fail_workflow_execution"]
    driver = Driver(Narrow, "value")
    driver.suspended(driver.first)


@workflow.defn
class Forbidden:
    @workflow.run
    async def run(self) -> str:
        with contextlib.suppress(Exception):
            await anyio.to_thread.run_sync(time.time)
        return "swallowed"


def test_forbidden_call_suspends_even_if_swallowed() -> None:
    driver = Driver(Forbidden)
    assert "thread" in driver.suspended(driver.first)


def test_eviction_closes_without_commands(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(CleansUp)
    driver.start()
    with caplog.at_level(logging.DEBUG):
        assert driver.step(evict()) == []
    assert driver.instance.closed
    assert not caplog.records


@workflow.defn
class Untimed:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("work")


def test_activity_without_a_timeout_is_refused() -> None:
    (command,) = Driver(Untimed).start()
    assert "start_to_close_timeout" in command.fail_workflow_execution.failure.message


@workflow.defn
class Spins:
    @workflow.run
    async def run(self) -> int:
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        return 100


def test_a_step_in_slices() -> None:
    driver = Driver(Spins)
    driver.instance.begin(driver.activation(driver.first))
    slices = 1
    while not driver.instance.advance(0):
        slices += 1
    assert slices > 50
    assert value_of(driver.instance.finish().successful.commands[0]) == 100


@workflow.defn
class CancelledGroup:
    @workflow.run
    async def run(self) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.sleep, 10)
            tg.start_soon(work.with_options(cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED), 1)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(cancelled(1), "cancel_workflow_execution"), (failed(1, ApplicationError("no")), "fail_workflow_execution")],
)
def test_cancel_request_through_a_group(answer: Any, outcome: str) -> None:
    driver = Driver(CancelledGroup)
    assert names(driver.start()) == ["start_timer", "schedule_activity"]
    assert names(driver.step(cancel())) == ["cancel_timer", "request_cancel_activity"]
    assert names(driver.step(answer)) == [outcome]


def test_cancel_request_before_the_first_step_emits_nothing() -> None:
    assert names(Driver(CancelledGroup).start(cancel())) == ["cancel_workflow_execution"]


def test_unknown_job_suspends() -> None:
    driver = Driver(Waits)
    driver.start()
    # Every job of today's core is known: what a later one sends is a job without a kind to the messages of this release.
    assert "which this release of durable-anyio does not know" in driver.suspended(Job())


@workflow.defn
class StartOrder:
    def __init__(self) -> None:
        self.order: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        self.order.append("run")
        return self.order

    @workflow.signal
    async def note(self, what: str) -> None:
        self.order.append(what)


def test_handlers_start_before_run() -> None:
    assert value_of(Driver(StartOrder).start(signal("note", "first"), signal("note", "second"))[0]) == ["first", "second", "run"]


@workflow.defn
class SleepAndDeadline:
    @workflow.run
    async def run(self) -> list[str]:
        order = []
        with anyio.move_on_after(2):
            # The deadline's timer starts last, at the step's end, and fires first in the activation below.
            await anyio.sleep(2)
            order.append("slept")
            await anyio.sleep(1)
            order.append("unreachable")
        return order


def test_sleep_wins_over_a_deadline_of_the_same_activation() -> None:
    driver = Driver(SleepAndDeadline)
    assert names(driver.start()) == ["start_timer", "start_timer"]
    driver.seconds = 2
    assert value_of(driver.step(fired(2), fired(1))[0]) == ["slept"]
