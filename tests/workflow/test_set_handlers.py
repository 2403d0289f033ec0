"""Handlers that are set while the workflow runs, dynamic ones, and `workflow.init`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from durable_anyio import workflow

from .activations import Driver, answers, query, signal, update, value_of


@workflow.defn
class SetsHandlers:
    def __init__(self) -> None:
        self.got: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: "go" in self.got)
        workflow.set_signal_handler("later", self.take)
        workflow.set_query_handler("count", lambda: len(self.got))
        workflow.set_update_handler("change", self.change, validator=self.refuse_empty)
        await workflow.wait_condition(lambda: "end" in self.got)
        return self.got

    @workflow.signal
    def take(self, word: str) -> None:
        self.got.append(word)

    async def change(self, word: str) -> str:
        self.got.append(word)
        return word.upper()

    def refuse_empty(self, word: str) -> None:
        if not word:
            raise ValueError("empty")


def test_signals_wait_for_their_handler(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(SetsHandlers)
    with caplog.at_level(logging.WARNING, "durable_anyio.workflow"):
        driver.start(signal("later", "first"), signal("later", "second"))
    assert "keeps the signal 'later', for which it has no handler; it has: take" in caplog.text
    driver.step(signal("take", "go"))
    (command,) = driver.step(signal("later", "end"))
    assert value_of(command) == ["go", "first", "second", "end"]


def test_queries_and_updates_take_what_is_set() -> None:
    driver = Driver(SetsHandlers)
    driver.start()
    ((_, kind, message),) = answers(driver.step(update("change", "x")))
    assert (kind, message) == ("rejected", "the workflow SetsHandlers has no update 'change'; it has: none")
    driver.step(signal("take", "go"))
    assert value_of(driver.step(query("count"))[0]) == 1
    assert answers(driver.step(update("change", "x"))) == [("u", "accepted", None), ("u", "completed", "X")]
    assert answers(driver.step(update("change", ""))) == [("u", "rejected", "empty")]


@workflow.defn
class Dynamic:
    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self, takes_away: bool) -> None:
        if takes_away:
            workflow.set_signal_handler(None, None)
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def known(self, word: str) -> None:
        self.got.append(("known", word))

    @workflow.signal(dynamic=True)
    async def any_signal(self, name: str, *args: int) -> None:
        self.got.append((name, *args))

    @workflow.query
    def all_got(self) -> list[Any]:
        return self.got

    @workflow.query(dynamic=True)
    def any_query(self, name: str, *args: Any) -> list[Any]:
        return [name, *args]

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, *args: Any) -> list[Any]:
        return [name, *args]

    @any_update.validator
    def check(self, name: str, *args: Any) -> None:
        if name == "bad":
            raise ValueError("bad")


def test_dynamic_handlers_take_what_has_no_handler() -> None:
    driver = Driver(Dynamic, False)
    driver.start(signal("known", "a"), signal("other", 1, 2))
    assert value_of(driver.step(query("all_got"))[0]) == [["known", "a"], ["other", 1, 2]]
    assert value_of(driver.step(query("what", "x"))[0]) == ["what", "x"]
    assert answers(driver.step(update("change", 1))) == [("u", "accepted", None), ("u", "completed", ["change", 1])]
    assert answers(driver.step(update("bad"))) == [("u", "rejected", "bad")]
    assert "the arguments of the signal Dynamic.any_signal" in driver.suspended(signal("other", "no number"))


def test_a_dynamic_handler_can_be_taken_away() -> None:
    driver = Driver(Dynamic, True)
    driver.start()
    driver.step(signal("other", 1))
    assert value_of(driver.step(query("all_got"))[0]) == []


def test_a_query_cannot_set_handlers() -> None:
    @workflow.defn
    class Sets:
        @workflow.run
        async def run(self) -> None:
            await workflow.wait_condition(lambda: False)

        @workflow.query
        def sets(self) -> None:
            workflow.set_signal_handler("x", None)

    driver = Driver(Sets)
    driver.start()
    (command,) = driver.step(query("sets"))
    assert "tried to set a handler" in command.respond_to_query.failed.message


def test_init_gets_the_arguments_before_the_first_message() -> None:
    @workflow.defn
    class Greets:
        @workflow.init
        def __init__(self, name: str, times: int = 1) -> None:
            self.greeting = f"hello {name}" * times

        @workflow.run
        async def run(self, name: str, times: int = 1) -> str:
            return self.greeting

        @workflow.update
        def greet(self) -> str:
            return self.greeting

    driver = Driver(Greets, "Ada")
    commands = driver.start(update("greet"))
    assert answers(commands)[1] == ("u", "completed", "hello Ada")
    assert value_of(commands[-1]) == "hello Ada"


def other_init() -> None:
    @workflow.defn
    class Other:
        @workflow.init
        def __init__(self, name: str) -> None: ...

        @workflow.run
        async def run(self, number: int) -> None: ...


def misplaced_init() -> None:
    class Other:
        @workflow.init
        def start(self) -> None: ...


def async_validator() -> None:
    class Other:
        @workflow.update
        def change(self) -> None: ...

        @change.validator  # type: ignore[arg-type]
        async def check(self) -> None: ...


def other_validator() -> None:
    class Other:
        @workflow.update
        def change(self, word: str) -> None: ...

        @change.validator  # type: ignore[arg-type]
        def check(self) -> None: ...


def two_validators() -> None:
    class Other:
        @workflow.update
        def change(self) -> None: ...

        @change.validator
        def check(self) -> None: ...

        @change.validator
        def check_again(self) -> None: ...


def two_dynamic() -> None:
    @workflow.defn
    class Other:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.signal(dynamic=True)
        def one(self, name: str, *args: Any) -> None: ...

        @workflow.signal(dynamic=True)
        def two(self, name: str, *args: Any) -> None: ...


def dynamic_without_arguments() -> None:
    class Other:
        @workflow.signal(dynamic=True)
        def one(self, name: str) -> None: ...


def dynamic_with_name() -> None:
    class Other:
        @workflow.update(dynamic=True, name="x")
        def one(self, name: str, *args: Any) -> None: ...


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (other_init, "Other.__init__ is marked with @workflow.init, but takes other arguments than Other.run"),
        (misplaced_init, "@workflow.init decorates `__init__`"),
        (async_validator, "hint: a validator answers at once"),
        (other_validator, "takes other arguments than its update"),
        (two_validators, "has a validator already"),
        (two_dynamic, "has two dynamic handlers of one kind"),
        (dynamic_without_arguments, "must take a name and then any arguments"),
        (dynamic_with_name, "a dynamic handler has no name of its own"),
    ],
)
def test_mistakes_are_told_at_definition(define: Callable[[], None], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        define()
