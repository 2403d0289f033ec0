"""Patches, memo and search attributes in the instance: which commands come out, and what the code sees."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from durable_anyio import converter, workflow
from durable_anyio._search_attributes import decode_search_attributes
from durable_anyio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from .activations import Driver, Job, close_all, names, query, signal, update, value_of

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
COUNT = SearchAttributeKey.for_int("Count")


@pytest.fixture(autouse=True)
def _close_runs() -> Iterator[None]:
    yield
    close_all()


def patch(patch_id: str) -> Any:
    job = Job()
    job.notify_has_patch.patch_id = patch_id
    return job


@workflow.defn
class Asks:
    def __init__(self) -> None:
        self.early = workflow.patched("in-init")
        self.answers: list[bool] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def ask(self, id: Any) -> None:
        self.answers.append(workflow.patched(id))

    @workflow.signal
    def deprecate(self, id: str) -> None:
        workflow.deprecate_patch(id)

    @workflow.query
    def known(self, id: str) -> bool:
        return workflow.patched(id)

    @workflow.query
    def seen(self) -> list[bool]:
        return [self.early, *self.answers]

    @workflow.update
    def change(self) -> None: ...

    @change.validator
    def check(self) -> None:
        workflow.patched("in-validator")


def seen(driver: Driver) -> Any:
    return value_of(driver.step(query("seen"))[0])


def test_live_a_patch_is_new_and_told_once() -> None:
    driver = Driver(Asks)
    commands = driver.start()
    assert names(commands) == ["set_patch_marker"]
    assert (commands[0].set_patch_marker.patch_id, commands[0].set_patch_marker.deprecated) == ("in-init", False)
    assert names(driver.step(signal("ask", "a"), signal("ask", "a"))) == ["set_patch_marker"]
    assert seen(driver) == [True, True, True]


def test_in_a_replay_the_history_decides_and_the_answer_stays() -> None:
    driver = Driver(Asks, replaying=True)
    commands = driver.start(patch("in-init"), signal("ask", "a"))
    assert [command.set_patch_marker.patch_id for command in commands] == ["in-init"]
    assert names(driver.step(patch("b"), signal("ask", "a"), signal("ask", "b"))) == ["set_patch_marker"]
    driver.replaying = False
    assert driver.step(signal("ask", "a")) == []
    assert names(driver.step(signal("ask", "c"))) == ["set_patch_marker"]
    assert seen(driver) == [True, False, False, True, False, True]


def test_a_deprecated_patch_says_so() -> None:
    driver = Driver(Asks)
    driver.start()
    (command,) = driver.step(signal("deprecate", "a"), signal("deprecate", "a"))
    assert command.set_patch_marker.deprecated
    replayed = Driver(Asks, replaying=True)
    assert replayed.start(signal("deprecate", "a")) == []


def test_a_query_knows_answers_and_asks_for_none() -> None:
    driver = Driver(Asks)
    driver.start()
    assert value_of(driver.step(query("known", "in-init"))[0]) is True
    (refused,) = driver.step(query("known", "other"))
    assert "asking for the patch 'other'" in refused.respond_to_query.failed.message
    assert "in-validator" in driver.suspended(update("change"))


@pytest.mark.parametrize(("id", "words"), [("", "is empty"), (5, "is a string, not 5")])
def test_bad_ids(id: Any, words: str) -> None:
    driver = Driver(Asks)
    driver.start()
    (command,) = driver.step(signal("ask", id))
    assert words in command.fail_workflow_execution.failure.message


@workflow.defn
class Shows:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def set(self, count: int) -> None:
        workflow.upsert_search_attributes([COUNT.value_set(count)])
        workflow.upsert_memo({"count": count})

    @workflow.signal
    def clear(self) -> None:
        workflow.upsert_search_attributes([COUNT.value_unset()])
        workflow.upsert_memo({"count": None})

    @workflow.signal
    def misuse(self, what: str) -> None:
        wrong: Any = {"mapping": {"Count": [1]}, "pair": [SearchAttributePair(COUNT, 1)], "text": "Count"}[what]
        workflow.upsert_search_attributes(wrong)

    @workflow.query
    def shown(self) -> list[Any]:
        return [workflow.info().typed_search_attributes.get(COUNT), dict(workflow.memo()), workflow.memo_value("count", 0)]

    @workflow.query
    def change_in_query(self, what: str) -> None:
        if what == "memo":
            workflow.upsert_memo({"a": 1})
        else:
            workflow.upsert_search_attributes([COUNT.value_set(1)])


def test_changes_are_commands_and_seen_at_once() -> None:
    driver = Driver(Shows)
    commands = driver.start(signal("set", 5))
    assert names(commands) == ["upsert_workflow_search_attributes", "modify_workflow_properties"]
    payload = commands[0].upsert_workflow_search_attributes.search_attributes.indexed_fields["Count"]
    assert (payload.data, payload.metadata["type"], payload.metadata["encoding"]) == (b"5", b"Int", b"json/plain")
    assert value_of(driver.step(query("shown"))[0]) == [5, {"count": 5}, 5]
    commands = driver.step(signal("clear"))
    fields = commands[1].modify_workflow_properties.upserted_memo.fields
    assert fields["count"].metadata["encoding"] == b"binary/null"
    assert value_of(driver.step(query("shown"))[0]) == [None, {}, 0]


@pytest.mark.parametrize("what", ["memo", "attributes"])
def test_a_query_changes_nothing(what: str) -> None:
    driver = Driver(Shows)
    driver.start()
    (refused,) = driver.step(query("change_in_query", what))
    assert "is not possible in a query" in refused.respond_to_query.failed.message


@pytest.mark.parametrize("what", ["mapping", "pair", "text"])
def test_updates_are_made_by_keys(what: str) -> None:
    driver = Driver(Shows)
    driver.start()
    (command,) = driver.step(signal("misuse", what))
    assert "hint: " in command.fail_workflow_execution.failure.message


def test_what_the_run_began_with() -> None:
    fields = Driver(Shows).first.initialize_workflow.search_attributes.indexed_fields
    for name, value, kind in (("Count", 3, b"Int"), ("Customer", ["Ada"], b"Keyword"), ("Odd", 5, b"Keyword"), ("Untyped", 5, b"")):
        fields[name].CopyFrom(converter.default().to_payloads([value])[0])
        fields[name].metadata["type"] = kind
    # A list of one is a value; what is not of its type, or of none, is left out.
    assert list(decode_search_attributes(fields)) == [SearchAttributePair(COUNT, 3), SearchAttributePair(CUSTOMER, "Ada")]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (SearchAttributeKey.for_int("Count"), "5", "'Count' of type Int takes int, not '5'"),
        (SearchAttributeKey.for_int("Count"), True, "takes int, not True"),
        (SearchAttributeKey.for_bool("Open"), 1, "takes bool, not 1"),
        (SearchAttributeKey.for_keyword("Word"), ["a"], "takes str"),
        (SearchAttributeKey.for_keyword_list("Words"), "ab", "takes a list of strings, not 'ab'"),
        (SearchAttributeKey.for_keyword_list("Words"), [1], "takes a list of strings"),
        (SearchAttributeKey.for_datetime("Due"), datetime(2026, 1, 1), "aware datetime"),
        (SearchAttributeKey.for_keyword(""), "a", "needs a name"),
        ("Word", "a", "is a SearchAttributeKey, not 'Word'"),
    ],
)
def test_values_are_of_their_keys_type(key: Any, value: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match="search attribute") as caught:
        TypedSearchAttributes([SearchAttributePair(key, value)])
    assert words in str(caught.value)


def test_typed_attributes_are_a_collection() -> None:
    due = SearchAttributePair(SearchAttributeKey.for_datetime("Due"), datetime(2026, 1, 1, tzinfo=UTC))
    attributes = TypedSearchAttributes([SearchAttributePair(CUSTOMER, "Ada"), due])
    assert (len(attributes), list(attributes)[1], attributes[CUSTOMER]) == (2, due, "Ada")
    assert CUSTOMER in attributes
    assert SearchAttributeKey.for_text("Customer") not in attributes
    assert attributes.get(COUNT) is None
    assert attributes.get(COUNT, 7) == 7
    assert attributes.updated(SearchAttributePair(CUSTOMER, "Bob"), SearchAttributePair(COUNT, 1))[CUSTOMER] == "Bob"
    assert len(TypedSearchAttributes.empty) == 0
    with pytest.raises(KeyError):
        attributes[COUNT]
    with pytest.raises(ValueError, match="given twice"):
        TypedSearchAttributes([due, due])
    with pytest.raises(TypeError, match="SearchAttributePair"):
        TypedSearchAttributes([SearchAttributeUpdate(CUSTOMER, "Ada")])  # type: ignore[list-item]
