"""Updates in the instance: validators, answers, their order, and what an update may spoil."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from durable_anyio import workflow
from durable_anyio.exceptions import ApplicationError

from .activations import Driver, answers, cancel, fired, names, query, signal, update, value_of


@workflow.defn
class Counter:
    def __init__(self) -> None:
        self.value = 0
        self.seen: list[str] = []
        self.done = anyio.Event()

    @workflow.run
    async def run(self) -> int:
        self.seen.append("run")
        await self.done.wait()
        return self.value

    @workflow.update
    async def add(self, number: int) -> int:
        self.seen.append(f"add {number}")
        self.value += number
        await anyio.sleep(1)
        if number == 13:
            raise ApplicationError("unlucky", type="Unlucky")
        return self.value

    @add.validator
    def check_add(self, number: int) -> None:
        self.seen.append(f"check {number}")
        if number < 0:
            raise ValueError(f"{number} is negative")

    @workflow.update(name="at-once")
    def at_once(self) -> str:
        return "here"

    @workflow.update
    def who(self) -> str:
        info = workflow.current_update_info()
        assert info is not None
        return f"{info.name} {info.id}"

    @workflow.update
    def sets(self, value: Any) -> None:
        pass

    @sets.validator
    def spoil(self, value: Any) -> None:
        self.done.set()

    @workflow.update
    async def forbidden(self) -> None:
        await anyio.to_thread.run_sync(int)

    @workflow.update
    def unencodable(self) -> object:
        return object()

    @workflow.update
    async def group(self) -> None:
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    @workflow.signal
    def finish(self) -> None:
        self.done.set()

    @workflow.signal
    def note(self, word: str) -> None:
        self.seen.append(word)

    @workflow.query
    def all_seen(self) -> list[str]:
        return self.seen

    @workflow.query
    def finished(self) -> bool:
        return workflow.all_handlers_finished()


def test_an_update_is_validated_accepted_run_and_answered() -> None:
    driver = Driver(Counter)
    driver.start()
    first = driver.step(update("add", 2))
    assert names(first) == ["update_response", "start_timer"]
    assert answers(first) == [("u", "accepted", None)]
    driver.seconds = 1
    assert answers(driver.step(fired(1))) == [("u", "completed", 2)]


def test_a_handler_that_waits_for_nothing_is_answered_in_one_step() -> None:
    driver = Driver(Counter)
    commands = driver.start(update("at-once"), update("who", id="me"))
    assert answers(commands) == [
        ("u", "accepted", None),
        ("u", "completed", "here"),
        ("me", "accepted", None),
        ("me", "completed", "who me"),
    ]


def test_handlers_start_before_run_and_in_the_order_of_the_messages() -> None:
    driver = Driver(Counter)
    driver.start(signal("note", "a"), update("add", 1), signal("note", "b"), update("add", 2, id="v"))
    assert value_of(driver.step(query("all_seen"))[0]) == ["a", "check 1", "add 1", "b", "check 2", "add 2", "run"]


def test_a_refused_update_is_rejected_and_changes_nothing() -> None:
    driver = Driver(Counter)
    driver.start()
    assert answers(driver.step(update("add", -1))) == [("u", "rejected", "-1 is negative")]
    assert "add -1" not in value_of(driver.step(query("all_seen"))[0])


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (update("nope"), "has no update 'nope'; it has: add, at-once, forbidden, group, sets, unencodable, who"),
        (update("add"), "takes 1 argument"),
        (update("add", "x"), "the arguments of the update Counter.add"),
        (update("add", 1, 2), "takes 1 argument"),
    ],
    ids=["unknown", "too few", "wrong type", "too many"],
)
def test_what_cannot_be_handled_is_rejected(job: Any, words: str) -> None:
    driver = Driver(Counter)
    driver.start()
    ((id, kind, message),) = answers(driver.step(job))
    assert (id, kind) == ("u", "rejected")
    assert words in message


def test_a_handlers_error_goes_to_its_caller_only() -> None:
    driver = Driver(Counter)
    driver.start()
    driver.step(update("add", 13))
    driver.seconds = 1
    assert answers(driver.step(fired(1))) == [("u", "rejected", "unlucky")]
    assert answers(driver.step(update("group"))) == [("u", "accepted", None), ("u", "rejected", "two")]
    assert names(driver.step(signal("finish"))) == ["complete_workflow_execution"]


def test_a_replay_does_not_validate_again() -> None:
    driver = Driver(Counter, replaying=True)
    driver.start(update("add", -1, validated=False))
    assert value_of(driver.step(query("all_seen"))[0]) == ["add -1", "run"]


def test_a_replayed_update_without_its_handler_suspends() -> None:
    driver = Driver(Counter, replaying=True)
    driver.start()
    assert "the history has the update 'gone', which the code cannot handle" in driver.suspended(update("gone", validated=False))


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("sets", (1,), "not possible in a query or an update validator"),
        ("forbidden", (), "thread"),
        ("unencodable", (), "the result of Counter.unencodable"),
    ],
)
def test_a_bug_suspends_instead_of_telling_the_caller(name: str, args: tuple[Any, ...], words: str) -> None:
    driver = Driver(Counter)
    driver.start()
    assert words in driver.suspended(update(name, *args))


def test_a_cancel_request_leaves_handlers_alone() -> None:
    driver = Driver(Counter)
    driver.start()
    driver.step(update("add", 2))
    assert names(driver.step(cancel())) == ["cancel_workflow_execution"]


@workflow.defn
class Shielded:
    """Waits for its handlers when it is cancelled."""

    @workflow.run
    async def run(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.update
    async def slow(self) -> str:
        await anyio.sleep(1)
        return "done"


def test_run_can_wait_for_its_handlers() -> None:
    driver = Driver(Shielded)
    driver.start()
    driver.step(update("slow"))
    assert driver.step(cancel()) == []
    driver.seconds = 1
    commands = driver.step(fired(1))
    assert names(commands) == ["update_response", "cancel_workflow_execution"]
    assert answers(commands) == [("u", "completed", "done")]


def test_unfinished_handlers_are_closed_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(Counter)
    driver.start()
    driver.step(update("add", 2))
    assert value_of(driver.step(query("finished"))[0]) is False
    with caplog.at_level(logging.WARNING, "durable_anyio.workflow"):
        assert names(driver.step(signal("finish"))) == ["complete_workflow_execution"]
    assert "ended while handlers ran, which are closed: update add" in caplog.text


def test_current_update_info_is_none_elsewhere() -> None:
    @workflow.defn
    class Asks:
        @workflow.run
        async def run(self) -> bool:
            return workflow.current_update_info() is None

    assert value_of(Driver(Asks).start()[0]) is True
