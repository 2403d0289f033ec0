"""Search attributes for clients: which there are, and which runs lists find by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from durable_anyio import Client, workflow
from durable_anyio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable_anyio.exceptions import RPCError, RPCStatusCode

pytestmark = pytest.mark.anyio

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
NOTE = SearchAttributeKey.for_text("Note")
COUNT = SearchAttributeKey.for_int("Number")
PRICE = SearchAttributeKey.for_float("Price")
OPEN = SearchAttributeKey.for_bool("IsOpen")
DUE = SearchAttributeKey.for_datetime("Due")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
KEYS: list[SearchAttributeKey[Any]] = [CUSTOMER, NOTE, COUNT, PRICE, OPEN, DUE, TAGS]
JANUARY, JUNE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


async def add(client: Client, *keys: SearchAttributeKey[Any]) -> None:
    kinds = {key.name: int(key.indexed_value_type) for key in keys}
    request = client.service.request("AddSearchAttributes", namespace=client.namespace, search_attributes=kinds)
    await client.service.call("AddSearchAttributes", request)


async def custom(client: Client) -> dict[str, int]:
    request = client.service.request("ListSearchAttributes", namespace=client.namespace)
    return dict((await client.service.call("ListSearchAttributes", request)).custom_attributes)


async def remove(client: Client, *names: str) -> None:
    request = client.service.request("RemoveSearchAttributes", namespace=client.namespace, search_attributes=names)
    await client.service.call("RemoveSearchAttributes", request)


async def start(client: Client, id: str, *pairs: SearchAttributePair[Any], delay: timedelta | None = None) -> None:
    await client.start_workflow(Waits.run, id=id, task_queue="q", search_attributes=TypedSearchAttributes(pairs), start_delay=delay)


async def fill(client: Client) -> None:
    await add(client, *KEYS)
    pair = SearchAttributePair
    ada = (pair(CUSTOMER, "Ada"), pair(NOTE, "Two words"), pair(COUNT, 5), pair(PRICE, 1.5))
    await start(client, "ada", *ada, pair(OPEN, True), pair(DUE, JANUARY), pair(TAGS, ["a", "b"]))
    await start(client, "bob", pair(CUSTOMER, "Bob"), pair(COUNT, 7), pair(PRICE, 2), pair(OPEN, False), pair(DUE, JUNE), pair(TAGS, ["b"]))
    await start(client, "none")


ALL = "ada bob none"
FOUND = {
    "Customer = 'Ada'": "ada",
    'Customer = "Ada"': "ada",
    "Customer != 'Ada'": "bob",
    "NOT Customer = 'Ada'": "bob",
    "Customer > 'Ada'": "bob",
    "Customer BETWEEN 'A' AND 'B'": "ada",
    "Customer NOT BETWEEN 'A' AND 'B'": "bob",
    "Customer IN ('Ada', 'Bob')": "ada bob",
    "Customer NOT IN ('Ada')": "bob",
    "NOT Customer NOT IN ('Ada')": "ada",
    "Customer STARTS_WITH 'A'": "ada",
    "Customer NOT STARTS_WITH 'A'": "bob",
    "NOT Customer STARTS_WITH 'A'": "bob",
    "Customer IS NULL": "none",
    "Customer IS NOT NULL": "ada bob",
    "NOT Customer IS NULL": "ada bob",
    "`Customer` = 'Ada'": "ada",
    "Note = 'TWO'": "ada",
    "Note = 'other words'": "ada",
    "Note != 'two'": "bob none",
    "Note = 'other'": "",
    "Number = 5": "ada",
    "Number >= 5 AND Number < 7": "ada",
    "Number BETWEEN 6 AND 9": "bob",
    "Number IN (5, 6)": "ada",
    "Number = -5": "",
    "Price = 2": "bob",
    "Price > 1.4": "ada bob",
    "IsOpen = true": "ada",
    "IsOpen != true": "bob",
    "Due > '2026-02-01T00:00:00Z'": "bob",
    "Due = '2026-01-01T01:00:00+01:00'": "ada",
    "Due < 1780272000000000000": "ada",
    "Tags = 'a'": "ada",
    "Tags IN ('a', 'b')": "ada bob",
    "Tags != 'a'": "bob none",
    "Tags NOT IN ('b')": "none",
    "WorkflowId STARTS_WITH 'b' OR Number = 5": "ada bob",
    "(Customer = 'Ada' OR Customer = 'Bob') AND Tags = 'b'": "ada bob",
    "WorkflowType = 'Waits' AND ExecutionStatus = 'Running'": ALL,
    "ExecutionStatus = 1": ALL,
    "StartTime > '2020-01-01T00:00:00Z'": ALL,
    "CloseTime IS NULL": ALL,
    "HistoryLength > 1": "",
    "TemporalChangeVersion IS NULL": ALL,
    "ParentWorkflowId IS NULL": ALL,
}


async def test_lists_find_runs_by_what_they_show() -> None:
    async with Client.connect("sqlite::memory:") as client:
        await fill(client)
        found = {query: " ".join(sorted([run.id async for run in client.list_workflows(query)])) for query in FOUND}
        assert found == FOUND
        assert await client.count_workflows("Tags = 'b'") == 2
        (ada,) = [run async for run in client.list_workflows("Customer = 'Ada'")]
        assert ada.typed_search_attributes[DUE] == JANUARY
        assert ada.typed_search_attributes[TAGS] == ["a", "b"]


TYPE = "invalid expression: invalid value type for search attribute"
OPERATOR = "operation is not supported: operator"
REFUSED = {
    "Nope = 'x'": "invalid search attribute: Nope",
    "customer = 'x'": "invalid search attribute: customer",
    "Customer = 5": f"{TYPE} Customer of type Keyword: 5 (type: int64)",
    "Customer = 5.5": f"{TYPE} Customer of type Keyword: 5.5 (type: float64)",
    "Customer = true": f"{TYPE} Customer of type Keyword: true (type: bool)",
    "Customer IN (1, 'a')": f"{TYPE} Customer of type Keyword: 1 (type: int64)",
    "Price = '1.5'": f'{TYPE} Price of type Double: "1.5" (type: string)',
    "Tags = 5": f"{TYPE} Tags of type KeywordList: 5 (type: int64)",
    "Customer LIKE 'k%'": f"{OPERATOR} 'LIKE' not supported for Keyword type search attribute 'Customer'",
    "Tags > 'a'": f"{OPERATOR} '>' not supported for KeywordList type search attribute 'Tags'",
    "Tags STARTS_WITH 'a'": f"{OPERATOR} 'STARTS_WITH' not supported for KeywordList type search attribute 'Tags'",
    "Note IN ('a')": f"{OPERATOR} 'IN' not supported for Text type search attribute 'Note'",
    "Note > 'a'": f"{OPERATOR} '>' not supported for Text type search attribute 'Note'",
    "Tags BETWEEN 'a' AND 'b'": "invalid expression: cannot do range condition on search attribute 'Tags' of type KeywordList",
    "Due = 'x'": "invalid expression: unable to parse datetime 'x'",
    "Due > '2020-01-01'": "invalid expression: unable to parse datetime '2020-01-01'",
    "ExecutionStatus = 'running'": "invalid expression: invalid ExecutionStatus value 'running'",
    "Customer": "invalid expression: incomplete expression",
    "Customer = Note": 'column name on the right side of comparison expression (did you forget to quote "Note"?)',
    "Customer IS TRUE": "invalid expression: 'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'",
    "Customer = 'a' ORDER BY StartTime": "operation is not supported: 'ORDER BY' clause",
    "Customer = 'a": "a quote is not closed",
    "(Customer = 'a'": "a parenthesis is not closed",
    "Customer = 'a' 'b'": "unexpected",
    "TemporalExternalPayloadCount = 1": "TemporalExternalPayloadCount is not supported here",
}


async def test_queries_that_make_no_sense_are_refused() -> None:
    async with Client.connect("sqlite::memory:") as client:
        await add(client, *KEYS)
        for query, words in REFUSED.items():
            with pytest.raises(RPCError) as caught:
                await client.count_workflows(query)
            assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT, query
            assert str(caught.value).startswith("invalid query: "), query
            assert words in str(caught.value), query


async def test_attributes_and_what_they_find_survive_a_restart(tmp_path: Path) -> None:
    target = f"sqlite:{tmp_path / 'a.db'}"
    async with Client.connect(target) as client:
        await fill(client)
    async with Client.connect(target) as client:
        assert await custom(client) == {key.name: int(key.indexed_value_type) for key in KEYS}
        assert await client.count_workflows("Customer = 'Ada'") == 1
        await remove(client, "Customer", "NeverThere")
        with pytest.raises(RPCError, match="invalid search attribute: Customer"):
            await client.count_workflows("Customer = 'Ada'")
        with pytest.raises(RPCError, match="no mapping defined for search attribute Customer"):
            await start(client, "eve", SearchAttributePair(CUSTOMER, "Eve"))
        number = SearchAttributeKey.for_int("Customer")
        await add(client, number)
        assert await client.count_workflows("Customer IS NOT NULL") == 0
        await start(client, "eve", SearchAttributePair(number, 1))
        assert await client.count_workflows("Customer = 1") == 1


async def test_what_an_operator_cannot_do() -> None:
    async with Client.connect("sqlite::memory:") as client:
        for key, words in (
            (SearchAttributeKey.for_keyword("WorkflowId"), "Search attribute WorkflowId is reserved by system."),
            (SearchAttributeKey.for_keyword("TemporalX"), "Search attribute TemporalX is reserved by system."),
        ):
            with pytest.raises(RPCError, match=words):
                await add(client, key)
        with pytest.raises(RPCError, match="SearchAttributes are not set on request"):
            await add(client)
        with pytest.raises(RPCError, match="Unable to remove non-custom search attributes: RunId"):
            await remove(client, "RunId")
        with pytest.raises(RPCError, match="cannot have more than 3 search attribute of type Text"):
            await add(client, *(SearchAttributeKey.for_text(f"T{number}") for number in range(4)))
        assert await custom(client) == {}
        request = client.service.request("ListSearchAttributes", namespace="elsewhere")
        with pytest.raises(RPCError, match="Namespace elsewhere is not found") as caught:
            await client.service.call("ListSearchAttributes", request)
        assert caught.value.status is RPCStatusCode.NOT_FOUND
        with pytest.raises(RPCError, match="not there on an embedded engine"):
            await client.service.call("ListClusters", client.service.request("ListClusters"))


async def test_something_else_than_typed_attributes_is_refused() -> None:
    async with Client.connect("sqlite::memory:") as client:
        wrong: Any = {"Customer": ["Ada"]}
        with pytest.raises(TypeError, match=r"search_attributes takes TypedSearchAttributes, not dict\nhint: "):
            await client.start_workflow(Waits.run, id="a", task_queue="q", search_attributes=wrong)
