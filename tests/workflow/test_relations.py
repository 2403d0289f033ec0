"""Children and other workflows, activation by activation: which commands go out, and what wins when things meet."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from durable_anyio import converter, workflow
from durable_anyio._failure import failure_from_exception
from durable_anyio.exceptions import ApplicationError, ChildWorkflowError
from durable_anyio.workflow import ChildWorkflowCancellationType

from .activations import Driver, Job, cancel, evict, names, value_of

Type = ChildWorkflowCancellationType


def payload(value: Any) -> Any:
    return converter.default().to_payloads([value])[0]


def started(seq: int = 1) -> Any:
    job = Job()
    job.resolve_child_workflow_execution_start.seq = seq
    job.resolve_child_workflow_execution_start.succeeded.run_id = "run-of-the-child"
    return job


def not_started(seq: int = 1, cause: int = 1) -> Any:
    job = Job()
    job.resolve_child_workflow_execution_start.seq = seq
    job.resolve_child_workflow_execution_start.failed.cause = cause
    return job


def start_cancelled(seq: int = 1) -> Any:
    job = Job()
    job.resolve_child_workflow_execution_start.seq = seq
    failure = job.resolve_child_workflow_execution_start.cancelled.failure
    failure.child_workflow_execution_failure_info.workflow_type.name = "Other"
    failure.cause.canceled_failure_info.SetInParent()
    return job


def ended(value: Any, seq: int = 1) -> Any:
    job = Job()
    job.resolve_child_workflow_execution.seq = seq
    job.resolve_child_workflow_execution.result.completed.result.CopyFrom(payload(value))
    return job


def failed(error: Exception, seq: int = 1) -> Any:
    job = Job()
    job.resolve_child_workflow_execution.seq = seq
    wrapped = ChildWorkflowError("failed", workflow_type="Other")
    wrapped.__cause__ = error
    job.resolve_child_workflow_execution.result.failed.failure.CopyFrom(failure_from_exception(wrapped, converter.default()))
    return job


def cancelled(seq: int = 1) -> Any:
    job = Job()
    job.resolve_child_workflow_execution.seq = seq
    failure = job.resolve_child_workflow_execution.result.cancelled.failure
    failure.child_workflow_execution_failure_info.workflow_type.name = "Other"
    failure.cause.canceled_failure_info.SetInParent()
    return job


def signalled(seq: int = 1, failure: Exception | None = None) -> Any:
    job = Job()
    job.resolve_signal_external_workflow.seq = seq
    if failure is not None:
        job.resolve_signal_external_workflow.failure.CopyFrom(failure_from_exception(failure, converter.default()))
    return job


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, kind: int) -> str:
        with anyio.move_on_after(10) as scope:
            try:
                text = await workflow.execute_child_workflow("Other", 1, id="it", result_type=str, cancellation_type=Type(kind))
            except ChildWorkflowError as error:
                text = f"failed: {error.cause}"
            await anyio.lowlevel.checkpoint()
        return f"late {scope.cancelled_caught}" if scope.cancel_called else text


def test_a_child_starts_and_ends() -> None:
    driver = Driver(Parent, Type.WAIT_CANCELLATION_COMPLETED.value)
    child, _ = driver.start()
    command = child.start_child_workflow_execution
    assert (command.seq, command.workflow_id, command.workflow_type, command.task_queue) == (1, "it", "Other", "tq")
    assert command.cancellation_type == Type.WAIT_CANCELLATION_COMPLETED
    assert names(driver.step(started())) == []
    assert value_of(driver.step(ended("done"))[-1]) == "done"


def test_a_start_and_an_end_in_one_activation() -> None:
    driver = Driver(Parent, 2)
    driver.start()
    assert value_of(driver.step(started(), ended("done"))[-1]) == "done"


def test_a_child_that_fails() -> None:
    driver = Driver(Parent, 2)
    driver.start()
    driver.step(started())
    assert value_of(driver.step(failed(ApplicationError("no", type="Bad")))[-1]) == "failed: Bad: no"


def test_an_id_that_is_taken_fails_the_workflow() -> None:
    driver = Driver(Parent, 2)
    driver.start()
    command = driver.step(not_started())[-1]
    assert command.fail_workflow_execution.failure.application_failure_info.type == "WorkflowAlreadyStartedError"


def fire(driver: Driver, *jobs: Any) -> list[Any]:
    driver.seconds = 10
    timer = Job()
    timer.fire_timer.seq = 1
    return driver.step(*jobs, timer)


@pytest.mark.parametrize(
    ("kind", "commands"),
    [
        (Type.WAIT_CANCELLATION_COMPLETED, ["cancel_child_workflow_execution"]),
        (Type.WAIT_CANCELLATION_REQUESTED, ["cancel_child_workflow_execution"]),
        (Type.TRY_CANCEL, ["cancel_child_workflow_execution", "complete_workflow_execution"]),
        (Type.ABANDON, ["complete_workflow_execution"]),
    ],
)
@pytest.mark.parametrize("has_started", [True, False])
def test_a_deadline_while_the_child_starts_or_runs(kind: Type, commands: list[str], has_started: bool) -> None:
    driver = Driver(Parent, kind.value)
    driver.start()
    if has_started:
        driver.step(started())
    assert names(fire(driver)) == commands
    if commands[-1] != "complete_workflow_execution":
        if not has_started:
            assert names(driver.step(started())) == [], "one request is enough"
        assert value_of(driver.step(cancelled())[-1]) == "late True"


@pytest.mark.parametrize("end", [ended("done"), failed(ApplicationError("no"))], ids=["result", "failure"])
def test_what_ends_the_child_wins_over_the_deadline_of_the_same_activation(end: Any) -> None:
    driver = Driver(Parent, 2)
    driver.start()
    driver.step(started())
    (command,) = fire(driver, end)
    assert value_of(command) == "late True", "and the cancellation stays pending: the next checkpoint raises it"


def test_a_result_after_the_cancel_request_wins() -> None:
    driver = Driver(Parent, 2)
    driver.start()
    driver.step(started())
    assert names(fire(driver)) == ["cancel_child_workflow_execution"]
    assert value_of(driver.step(ended("done"))[-1]) == "late True"


@workflow.defn
class SaysWhatItSaw:
    @workflow.run
    async def run(self) -> str:
        seen = "no error of the child"
        with anyio.move_on_after(10):
            try:
                await workflow.execute_child_workflow("Other")
            except ChildWorkflowError as error:
                seen = str(error)
        return seen


def test_a_start_and_a_cancelled_end_in_one_activation_are_the_scopes_cancellation() -> None:
    driver = Driver(SaysWhatItSaw)
    driver.start()
    assert names(fire(driver)) == ["cancel_child_workflow_execution"]
    assert value_of(driver.step(started(), cancelled())[-1]) == "no error of the child"


@workflow.defn
class CancelsAtOnce:
    @workflow.run
    async def run(self) -> str:
        async with anyio.create_task_group() as tg:
            tg.start_soon(workflow.execute_child_workflow, "Other")
            await anyio.lowlevel.checkpoint()
            tg.cancel_scope.cancel()
        return "nothing"


def test_a_cancel_before_the_command_is_sent() -> None:
    """Both commands go to the core, which withdraws the first and tells so in another activation of the same task."""
    driver = Driver(CancelsAtOnce)
    assert names(driver.start()) == ["start_child_workflow_execution", "cancel_child_workflow_execution"]
    assert value_of(driver.step(start_cancelled())[-1]) == "nothing"


def test_a_cancelled_workflow_asks_its_child_once() -> None:
    driver = Driver(Parent, 2)
    driver.start()
    driver.step(started())
    assert names(driver.step(cancel())) == ["cancel_child_workflow_execution"]
    assert names(fire(driver)) == [], "the deadline of the inner scope asks no second time"
    assert names(driver.step(cancelled())) == ["cancel_workflow_execution"]


def test_eviction_asks_nothing_of_a_child() -> None:
    driver = Driver(Parent, 2)
    driver.start()
    driver.step(started())
    assert driver.step(evict()) == []


@workflow.defn
class Signals:
    @workflow.run
    async def run(self, child: bool) -> str:
        handle: Any = workflow.get_external_workflow_handle("it", run_id="r")
        if child:
            handle = await workflow.start_child_workflow("Other", id="it")
        try:
            with anyio.move_on_after(10) as scope:
                await handle.signal("add", 1, "two")
        except ApplicationError as error:
            return f"{error.type}"
        return f"sent {scope.cancelled_caught}"


def test_a_signal_names_its_target() -> None:
    driver = Driver(Signals, False)
    command = driver.start()[0].signal_external_workflow_execution
    assert (command.workflow_execution.workflow_id, command.workflow_execution.run_id) == ("it", "r")
    assert (command.signal_name, len(command.args)) == ("add", 2)
    assert value_of(driver.step(signalled())[-1]) == "sent False"
    driver = Driver(Signals, True)
    driver.start()
    assert driver.step(started())[0].signal_external_workflow_execution.child_workflow_id == "it"


def test_a_signal_that_reaches_nobody() -> None:
    driver = Driver(Signals, False)
    driver.start()
    missing = ApplicationError("gone", type="ExternalWorkflowExecutionNotFound")
    assert value_of(driver.step(signalled(failure=missing))[-1]) == "ExternalWorkflowExecutionNotFound"


def test_a_deadline_meets_a_signal_on_its_way() -> None:
    driver = Driver(Signals, False)
    driver.start()
    assert names(fire(driver)) == ["cancel_signal_workflow"]
    assert value_of(driver.step(signalled())[-1]) == "sent False", "it was on its way: it counts as sent"


def test_answers_that_nobody_waits_for_suspend() -> None:
    driver = Driver(Parent, 2)
    driver.start()
    for job in (started(9), ended(1, 9), signalled(9)):
        assert "number 9" in driver.suspended(job)


def test_arguments_are_checked_before_anything_is_sent() -> None:
    @workflow.defn
    class Wrong:
        @workflow.run
        async def run(self) -> None:
            await workflow.execute_child_workflow(Parent.run)  # type: ignore[call-arg,arg-type]

    (command,) = Driver(Wrong).start()
    assert "Parent.run" in command.fail_workflow_execution.failure.message
