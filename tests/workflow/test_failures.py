"""What leaves `run` and what a caller gets: groups, nesting, causes, cancellations, and what suspends instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import RetryPolicy, Worker, activity, workflow
from durable_anyio.client import WorkflowExecutionStatus, WorkflowHandle
from durable_anyio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    DataConversionError,
    ForbiddenCallError,
    WorkflowFailureError,
)
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


@activity.defn(start_to_close_timeout=SECOND, retry_policy=RetryPolicy(maximum_attempts=1))
async def fail(word: str) -> None:
    raise ApplicationError(word, "detail", type="Broken")


@activity.defn(start_to_close_timeout=SECOND, retry_policy=RetryPolicy(maximum_attempts=1))
async def fail_as_group() -> None:
    async with anyio.create_task_group() as tg:
        tg.start_soon(_raise, ValueError("one"))
        tg.start_soon(_raise, KeyError("two"))


@activity.defn(start_to_close_timeout=timedelta(hours=1), heartbeat_timeout=2 * SECOND)
async def wait() -> None:
    while True:
        activity.heartbeat()
        await anyio.sleep(0.005)


async def _raise(error: BaseException) -> None:
    raise error


async def _fail_while_cancelled(error: Exception) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise error


async def nested_groups() -> None:
    async with anyio.create_task_group() as outer:

        async def inner() -> None:
            async with anyio.create_task_group() as tg:
                tg.start_soon(_raise, ValueError("inner one"))
                tg.start_soon(_raise, ApplicationError("inner two", 2, type="Two"))

        outer.start_soon(inner)
        outer.start_soon(_fail_while_cancelled, OSError("outer"))


async def all_activities() -> None:
    async with anyio.create_task_group() as tg:
        tg.start_soon(fail, "a")
        tg.start_soon(_fail_while_cancelled, RuntimeError("clean-up"))


async def except_star() -> None:
    caught: list[str] = []
    try:
        async with anyio.create_task_group() as tg:
            tg.start_soon(fail, "a")
            tg.start_soon(_raise_later, ValueError("v"))
    except* ActivityError as group:
        caught += [str(error.cause) for error in group.exceptions if isinstance(error, ActivityError)]
    except* ValueError:
        caught.append("v")
    assert caught == ["Broken: a"], caught


async def _raise_later(error: Exception) -> None:
    await anyio.sleep(3600)
    raise error


async def part_of_a_group() -> None:
    try:
        async with anyio.create_task_group() as tg:
            tg.start_soon(_raise, ValueError("kept"))
            tg.start_soon(_raise, KeyError("dropped"))
    except* KeyError:
        pass


async def group_of_an_activity() -> None:
    await fail_as_group()


async def group_with_a_cause() -> None:
    try:
        raise LookupError("before")
    except LookupError as error:
        raise ExceptionGroup("after", [ValueError("v")]) from error


async def group_in_a_context() -> None:
    try:
        await nested_groups()
    finally:
        raise RuntimeError("while cleaning up")


async def with_a_note() -> None:
    error = ValueError("noted")
    error.add_note("order 7")
    raise error


async def group_with_a_cancellation() -> None:
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class() as cancelled:
        raise BaseExceptionGroup("both", [cancelled, ValueError("beside")]) from None


async def only_cancelled() -> None:
    async with anyio.create_task_group() as tg:
        tg.start_soon(wait)
        tg.start_soon(anyio.sleep_forever)


async def activities_waited_for() -> None:
    async with anyio.create_task_group() as tg:
        for _ in range(2):
            tg.start_soon(wait.with_options(cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED))


async def clean_up_fails() -> None:
    async with anyio.create_task_group() as tg:
        tg.start_soon(wait)
        tg.start_soon(_fail_while_cancelled, ValueError("clean-up"))


BODIES: dict[str, Callable[[], Any]] = {
    body.__name__: body
    for body in (
        nested_groups, all_activities, except_star, part_of_a_group, group_of_an_activity, group_with_a_cause, group_in_a_context,
        with_a_note, group_with_a_cancellation, only_cancelled, activities_waited_for, clean_up_fails,
    )
}  # fmt: skip


@workflow.defn
class Fails:
    def __init__(self) -> None:
        self.running = False

    @workflow.run
    async def run(self, body: str) -> None:
        self.running = True
        await BODIES[body]()

    @workflow.query
    def is_running(self) -> bool:
        return self.running


ACTIVITIES: list[Any] = [fail, fail_as_group, wait]


async def outcome(env: WorkflowEnvironment, task_queue: str, body: str, *, cancel: bool = False) -> BaseException | None:
    """What the workflow failed with; None if it did not."""
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[Fails], activities=ACTIVITIES):
            handle = await env.client.start_workflow(Fails.run, body, id=body, task_queue=task_queue)
            if cancel:
                assert await handle.query(Fails.is_running)
                await handle.cancel()
            try:
                await handle.result()
            except WorkflowFailureError as error:
                return error.cause
            return None


def shape(error: BaseException | None) -> Any:
    """An error as nested tuples: kinds and messages, members and causes."""
    if isinstance(error, BaseExceptionGroup):
        return [shape(member) for member in error.exceptions]
    if isinstance(error, ActivityError):
        return ("activity", shape(error.cause))
    if isinstance(error, ApplicationError):
        return (error.type, error.message)
    return type(error).__name__


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


async def test_nested_groups_come_back_whole(env: WorkflowEnvironment, task_queue: str) -> None:
    error = await outcome(env, task_queue, "nested_groups")
    assert shape(error) == [[("ValueError", "inner one"), ("Two", "inner two")], ("OSError", "outer")]
    assert isinstance(error, ExceptionGroup)
    (note,) = error.__notes__
    assert "in nested_groups" in note, "the stack trace of the group, as text"
    inner = error.exceptions[0]
    assert isinstance(inner, ExceptionGroup)
    first = inner.exceptions[0]
    assert isinstance(first, ApplicationError)
    assert "in _raise" in first.stack_trace


async def test_a_failed_activity_and_failed_clean_up(env: WorkflowEnvironment, task_queue: str) -> None:
    error = await outcome(env, task_queue, "all_activities")
    assert shape(error) == [("activity", ("Broken", "a")), ("RuntimeError", "clean-up")]


async def test_except_star_around_activities(env: WorkflowEnvironment, task_queue: str) -> None:
    assert await outcome(env, task_queue, "except_star") is None


async def test_what_except_star_leaves_fails_the_workflow(env: WorkflowEnvironment, task_queue: str) -> None:
    assert shape(await outcome(env, task_queue, "part_of_a_group")) == [("ValueError", "kept")]


async def test_the_group_of_an_activity_is_its_cause(env: WorkflowEnvironment, task_queue: str) -> None:
    error = await outcome(env, task_queue, "group_of_an_activity")
    kind, members = shape(error)
    assert kind == "activity"
    assert sorted(members) == [("KeyError", "'two'"), ("ValueError", "one")], "in the order of the activity's own host"


async def test_the_cause_of_a_group(env: WorkflowEnvironment, task_queue: str) -> None:
    error = await outcome(env, task_queue, "group_with_a_cause")
    assert shape(error) == [("ValueError", "v")]
    assert [shape(link) for link in chain(error)][1:] == [("LookupError", "before")]


async def test_a_group_as_context(env: WorkflowEnvironment, task_queue: str) -> None:
    error = await outcome(env, task_queue, "group_in_a_context")
    first, second = list(chain(error))[:2]
    assert shape(first) == ("RuntimeError", "while cleaning up")
    assert shape(second) == [[("ValueError", "inner one"), ("Two", "inner two")], ("OSError", "outer")]


async def test_notes_are_told_with_the_stack_trace(env: WorkflowEnvironment, task_queue: str) -> None:
    error = await outcome(env, task_queue, "with_a_note")
    assert isinstance(error, ApplicationError)
    assert error.stack_trace.endswith("order 7\n")


async def test_a_group_with_a_cancellation_in_it(env: WorkflowEnvironment, task_queue: str) -> None:
    """The cancellation is the run's own and ends at the scope around `run`; what is left fails the workflow."""
    error = await outcome(env, task_queue, "group_with_a_cancellation", cancel=True)
    assert shape(error) == [("ValueError", "beside")]


@pytest.mark.parametrize("body", ["only_cancelled", "activities_waited_for"])
async def test_a_group_around_a_cancelled_workflow(env: WorkflowEnvironment, task_queue: str, body: str) -> None:
    """A group of nothing but cancellations is a cancellation, also where the other side confirmed it."""
    error = await outcome(env, task_queue, body, cancel=True)
    assert type(error) is CancelledError


async def test_clean_up_that_fails_in_a_cancelled_workflow(env: WorkflowEnvironment, task_queue: str) -> None:
    assert shape(await outcome(env, task_queue, "clean_up_fails", cancel=True)) == [("ValueError", "clean-up")]


class Bad(Exception):
    pass


def _by_kind(kind: str) -> Exception:
    return {
        "bad": Bad("x"),
        "value": ValueError("x"),
        "failure": ApplicationError("x"),
        "group": ExceptionGroup("x", [Bad("x"), ApplicationError("y")]),
        "mixed": ExceptionGroup("x", [Bad("x"), ValueError("y")]),
    }[kind]


async def _raise_kind(kind: str) -> None:
    if kind == "forbidden":
        await anyio.to_thread.run_sync(len, "")
    if kind == "unreadable":
        raise DataConversionError("cannot read it")
    raise _by_kind(kind)


@workflow.defn
class Default:
    @workflow.run
    async def run(self, kind: str) -> None:
        await _raise_kind(kind)


@workflow.defn(failure_exception_types=[Bad])
class Narrow:
    @workflow.run
    async def run(self, kind: str) -> None:
        await _raise_kind(kind)


@workflow.defn(failure_exception_types=[])
class Strict:
    @workflow.run
    async def run(self, kind: str) -> None:
        await _raise_kind(kind)


@workflow.defn(failure_exception_types=[Exception])
class Everything:
    @workflow.run
    async def run(self, kind: str) -> None:
        await _raise_kind(kind)


@workflow.defn(failure_exception_types=[ForbiddenCallError])
class Forbidden:
    @workflow.run
    async def run(self, kind: str) -> None:
        await _raise_kind(kind)


FAILING: dict[type, set[str]] = {
    Default: {"bad", "value", "failure", "group", "mixed"},
    Narrow: {"bad", "failure", "group"},
    Strict: {"failure"},
    Everything: {"bad", "value", "failure", "group", "mixed", "forbidden", "unreadable"},
    Forbidden: {"failure", "forbidden"},
}
KINDS = ["bad", "value", "failure", "group", "mixed", "forbidden", "unreadable"]


async def ends(handle: WorkflowHandle[Any, Any]) -> bool:
    """True when the workflow failed; False when `describe` says that it is suspended."""
    while True:
        description = await handle.describe()
        if description.status is WorkflowExecutionStatus.FAILED:
            return True
        if description.problems:
            assert description.status is WorkflowExecutionStatus.RUNNING
            return False
        await anyio.sleep(0.002)


@pytest.mark.parametrize("definition", FAILING, ids=lambda definition: definition.__name__)
async def test_what_fails_and_what_suspends(env: WorkflowEnvironment, task_queue: str, definition: Any) -> None:
    failing = set()
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[definition], activities=[], forbidden_calls="off"):
            for kind in KINDS:
                handle = await env.client.start_workflow(definition.run, kind, id=kind, task_queue=task_queue)
                if await ends(handle):
                    failing.add(kind)
    assert failing == FAILING[definition]
