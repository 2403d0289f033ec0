"""Nexus operations, activation by activation: which commands go out, what comes back, and what wins when things meet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import converter, workflow
from durable_anyio._failure import exception_from_failure, failure_from_exception
from durable_anyio.exceptions import ApplicationError, CancelledError, NexusHandlerError, NexusOperationError, TimeoutError
from durable_anyio.workflow import NexusClient, NexusOperationCancellationType

from .activations import Driver, Job, evict, names, query, value_of

Type = NexusOperationCancellationType


def payload(value: Any) -> Any:
    return converter.default().to_payloads([value])[0]


def failure_of(cause: Exception) -> Any:
    error = NexusOperationError("failed", endpoint="bank", service="Payments", operation="charge")
    error.__cause__ = cause
    return failure_from_exception(error, converter.default())


def started(token: str = "token", seq: int = 1) -> Any:
    job = Job()
    job.resolve_nexus_operation_start.seq = seq
    if token:
        job.resolve_nexus_operation_start.operation_token = token
    else:
        job.resolve_nexus_operation_start.started_sync = True
    return job


def not_started(cause: Exception, seq: int = 1) -> Any:
    job = Job()
    job.resolve_nexus_operation_start.seq = seq
    job.resolve_nexus_operation_start.failed.CopyFrom(failure_of(cause))
    return job


def ended(value: Any, seq: int = 1) -> Any:
    job = Job()
    job.resolve_nexus_operation.seq = seq
    job.resolve_nexus_operation.result.completed.CopyFrom(payload(value))
    return job


def ended_badly(status: str, cause: Exception, seq: int = 1) -> Any:
    job = Job()
    job.resolve_nexus_operation.seq = seq
    getattr(job.resolve_nexus_operation.result, status).CopyFrom(failure_of(cause))
    return job


def cancelled() -> Any:
    return ended_badly("cancelled", CancelledError())


def fire(driver: Driver, *jobs: Any) -> list[Any]:
    driver.seconds = 10
    timer = Job()
    timer.fire_timer.seq = 1
    return driver.step(*jobs, timer)


@workflow.defn
class Caller:
    @workflow.run
    async def run(self, kind: int) -> str:
        client = workflow.create_nexus_client(service="Payments", endpoint="bank")
        seen = "nothing"
        with anyio.move_on_after(10):
            try:
                seen = await client.execute_operation("charge", [1], output_type=str, cancellation_type=Type(kind))
            except NexusOperationError as error:
                seen = f"{type(error.cause).__name__}: {error.cause}"
        return seen


@workflow.defn
class AllOptions:
    @workflow.run
    async def run(self) -> None:
        client = workflow.create_nexus_client(service="Payments", endpoint="bank")
        await client.execute_operation(
            "charge",
            None,
            schedule_to_close_timeout=timedelta(seconds=3),
            schedule_to_start_timeout=timedelta(seconds=1),
            start_to_close_timeout=timedelta(seconds=2),
            headers={"who": "me"},
            summary="a charge",
        )


def test_the_command_says_it_all() -> None:
    (command,) = Driver(AllOptions).start()
    operation = command.schedule_nexus_operation
    assert (operation.seq, operation.endpoint, operation.service, operation.operation) == (1, "bank", "Payments", "charge")
    assert operation.input == payload(None)
    assert operation.cancellation_type == Type.WAIT_COMPLETED
    assert dict(operation.nexus_header) == {"who": "me"}
    timeouts = (operation.schedule_to_start_timeout, operation.start_to_close_timeout, operation.schedule_to_close_timeout)
    assert [timeout.seconds for timeout in timeouts] == [1, 2, 3]
    assert command.user_metadata.summary == payload("a charge")


@pytest.mark.parametrize("token", ["token", ""], ids=["in its time", "at once"])
def test_a_result(token: str) -> None:
    driver = Driver(Caller, 0)
    driver.start()
    assert value_of(driver.step(started(token), ended("done"))[-1]) == "done"


def test_no_result_at_all_is_none() -> None:
    driver = Driver(AllOptions)
    driver.start()
    end = Job()
    end.resolve_nexus_operation.seq = 1
    end.resolve_nexus_operation.result.completed.SetInParent()
    (command,) = driver.step(started(""), end)
    assert command.WhichOneof("variant") == "complete_workflow_execution"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (ended_badly("failed", ApplicationError("no", type="Bad")), "ApplicationError: Bad: no"),
        (ended_badly("timed_out", TimeoutError("late")), "TimeoutError: late"),
        (cancelled(), "CancelledError: cancelled"),
    ],
    ids=["failed", "timed out", "cancelled by others"],
)
def test_a_bad_end(end: Any, expected: str) -> None:
    driver = Driver(Caller, 0)
    driver.start()
    driver.step(started())
    assert value_of(driver.step(end)[-1]) == expected


def test_a_start_that_fails() -> None:
    driver = Driver(Caller, 0)
    driver.start()
    error = NexusHandlerError("what?", type="BAD_REQUEST", retryable_override=False)
    assert value_of(driver.step(not_started(error))[-1]) == "NexusHandlerError: BAD_REQUEST: what?"


@pytest.mark.parametrize(
    ("kind", "commands"),
    [
        (Type.WAIT_COMPLETED, ["request_cancel_nexus_operation"]),
        (Type.WAIT_REQUESTED, ["request_cancel_nexus_operation"]),
        (Type.TRY_CANCEL, ["request_cancel_nexus_operation", "complete_workflow_execution"]),
        (Type.ABANDON, ["complete_workflow_execution"]),
    ],
)
@pytest.mark.parametrize("has_started", [True, False])
def test_a_deadline_while_the_operation_starts_or_runs(kind: Type, commands: list[str], has_started: bool) -> None:
    driver = Driver(Caller, kind.value)
    driver.start()
    if has_started:
        driver.step(started())
    assert names(fire(driver)) == commands
    if commands[-1] != "complete_workflow_execution":
        if not has_started:
            assert names(driver.step(started())) == [], "one request is enough"
        assert value_of(driver.step(cancelled())[-1]) == "nothing"


@pytest.mark.parametrize(
    "answers", [(started(), cancelled()), (not_started(CancelledError()),)], ids=["with a start", "instead of a start"]
)
def test_a_cancelled_end_before_the_start_was_seen_is_the_scopes_cancellation(answers: tuple[Any, ...]) -> None:
    driver = Driver(Caller, 0)
    driver.start()
    assert names(fire(driver)) == ["request_cancel_nexus_operation"]
    assert value_of(driver.step(*answers)[-1]) == "nothing"


def test_a_result_after_the_cancel_request_wins() -> None:
    driver = Driver(Caller, 0)
    driver.start()
    driver.step(started())
    fire(driver)
    assert value_of(driver.step(ended("done"))[-1]) == "done"


@workflow.defn
class LeavesAndSleeps:
    @workflow.run
    async def run(self) -> str:
        with anyio.move_on_after(10):
            await workflow.create_nexus_client(service="S", endpoint="e").execute_operation("o", 1, cancellation_type=Type.TRY_CANCEL)
        await anyio.sleep(5)
        return "left"


def test_what_is_told_after_the_end_is_dropped_and_a_strange_number_is_not() -> None:
    driver = Driver(LeavesAndSleeps)
    driver.start()
    fire(driver)
    driver.step(cancelled())
    assert driver.step(started()) == []
    assert driver.step(ended("late")) == []
    assert "number 7 arrived, which the workflow did not start" in driver.suspended(started(seq=7))


def test_a_result_of_another_type_suspends_and_says_where() -> None:
    driver = Driver(Caller, 0)
    driver.start()
    message = driver.suspended(started(""), ended(7))
    assert message.startswith("the result of the Nexus operation 'charge' of the service 'Payments' at the endpoint 'bank'"), message


def test_a_run_can_be_evicted_while_it_waits() -> None:
    driver = Driver(Caller, 0)
    driver.start()
    assert driver.step(evict()) == []
    driver.release()


@workflow.defn
class StartsInQuery:
    def __init__(self) -> None:
        self.client: NexusClient | None = None

    @workflow.run
    async def run(self) -> None:
        self.client = workflow.create_nexus_client(service="S", endpoint="e")
        await anyio.sleep(5)

    @workflow.query
    def start(self) -> None:
        assert self.client is not None
        self.client.start_operation("o", 1).send(None)


def test_a_query_cannot_start_one() -> None:
    driver = Driver(StartsInQuery)
    driver.start()
    (command,) = driver.step(query("start"))
    assert command.respond_to_query.WhichOneof("variant") == "failed"


class Payments:
    """A service named by its class."""


@dataclass
class Definition:
    """As other packages define an operation."""

    name: str
    output_type: type[Any] | None = None


class Named:
    __nexus_service_definition__ = Definition("payments-of-the-bank")


async def names_by_objects() -> list[Any]:
    plain = workflow.create_nexus_client(service=Payments, endpoint="bank")
    named = workflow.create_nexus_client(service=Named, endpoint="bank")
    return [plain.service, named.service, await named.execute_operation(Definition("charge", str), 1)]


async def bad_service() -> None:
    workflow.create_nexus_client(service=5, endpoint="bank")  # type: ignore[arg-type]


async def no_endpoint() -> None:
    workflow.create_nexus_client(service="S", endpoint="")


def client() -> NexusClient:
    return workflow.create_nexus_client(service="S", endpoint="bank")


async def bad_operation() -> None:
    await client().execute_operation(7, 1)  # type: ignore[call-overload]


async def bad_option() -> None:
    await client().start_operation("o", 1, heartbeat_timeout=5)  # type: ignore[call-overload]


async def bad_timeout() -> None:
    await client().start_operation("o", 1, start_to_close_timeout=-timedelta(seconds=1))


async def bad_header() -> None:
    await client().start_operation("o", 1, headers={"a": 1})  # type: ignore[dict-item]


MISTAKES = {
    "bad_service": (bad_service, "the service of a Nexus call is 5"),
    "no_endpoint": (no_endpoint, "the endpoint of a Nexus call has an empty name"),
    "bad_operation": (bad_operation, "the operation of a Nexus call is 7"),
    "bad_option": (bad_option, "a Nexus operation has no option heartbeat_timeout"),
    "bad_timeout": (bad_timeout, "start_to_close_timeout of a Nexus operation is negative"),
    "bad_header": (bad_header, "the header 'a' of a Nexus operation is 1"),
}


@workflow.defn
class Runs:
    @workflow.run
    async def run(self, name: str) -> Any:
        if name == "names":
            return await names_by_objects()
        await MISTAKES[name][0]()
        return None


def test_objects_with_a_name_serve_as_definitions() -> None:
    driver = Driver(Runs, "names")
    (command,) = driver.start()
    assert command.schedule_nexus_operation.operation == "charge"
    assert value_of(driver.step(started(""), ended("done"))[-1]) == ["Payments", "payments-of-the-bank", "done"]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_says_what_is_wrong(name: str) -> None:
    (command,) = Driver(Runs, name).start()
    assert command.fail_workflow_execution.failure.message.startswith(MISTAKES[name][1])


@pytest.mark.parametrize("override", [None, True, False])
def test_errors_keep_what_they_say_over_the_wire(override: bool | None) -> None:
    cause = NexusHandlerError("busy", type="RESOURCE_EXHAUSTED", retryable_override=override)
    error = NexusOperationError("it failed", scheduled_event_id=5, endpoint="e", service="s", operation="o", operation_token="t")
    error.__cause__ = cause
    seen = exception_from_failure(failure_from_exception(error, converter.default()), converter.default())
    assert isinstance(seen, NexusOperationError)
    assert (seen.scheduled_event_id, seen.endpoint, seen.service, seen.operation, seen.operation_token) == (5, "e", "s", "o", "t")
    assert isinstance(seen.cause, NexusHandlerError)
    assert (seen.cause.type, seen.cause.retryable_override, str(seen)) == (cause.type, override, "it failed: RESOURCE_EXHAUSTED: busy")
