"""Sorted lists of an embedded engine: every page goes on where the last one ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_anyio import Client
from durable_anyio.common import SearchAttributePair
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .test_search_attributes import COUNT, CUSTOMER, PRICE, add, start

pytestmark = pytest.mark.anyio

# Customers, numbers and prices by id, some alike, some missing.
RUNS: dict[str, tuple[str | None, int | None, float | None]] = {
    "a": ("Bob", 3, None),
    "b": ("Ada", None, 1.5),
    "c": (None, 1, 2.5),
    "d": ("Bob", 3, 0.5),
    "e": ("Cy", None, None),
}
SORTED = {
    "": "edcba",
    "ORDER BY StartTime": "abcde",
    "ORDER BY StartTime DESC": "edcba",
    "ORDER BY WorkflowId ASC": "abcde",
    "ORDER BY WorkflowId DESC": "edcba",
    "ORDER BY Customer": "badec",
    "ORDER BY Customer DESC": "edabc",
    "ORDER BY Number": "cadbe",
    "ORDER BY Number DESC": "daceb",
    "ORDER BY `Price`": "dbcae",
    "order by Price desc": "cbdea",
    "Number >= 1 ORDER BY Customer": "adc",
    "ORDER BY CloseTime DESC": "bedca",
    "ORDER BY ExecutionTime DESC": "aedcb",
    "GROUP BY ExecutionStatus ORDER BY WorkflowId": "abcde",
}


async def fill(client: Client) -> None:
    await add(client, CUSTOMER, COUNT, PRICE)
    for id, (customer, number, price) in RUNS.items():
        pairs = [(CUSTOMER, customer), (COUNT, number), (PRICE, price)]
        given = [SearchAttributePair(key, value) for key, value in pairs if value is not None]  # type: ignore[arg-type]
        await start(client, id, *given, delay=timedelta(hours=1) if id == "a" else None)
    await client.get_workflow_handle("b").terminate()


async def test_sorted_in_pages() -> None:
    async with Client.connect("sqlite::memory:") as client:
        await fill(client)
        for query, ids in SORTED.items():
            for page_size in (1, 2, 5, 100):
                listed = [execution.id async for execution in client.list_workflows(query, page_size=page_size)]
                assert "".join(listed) == ids, (query, page_size)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ORDER BY Nope", "invalid search attribute: Nope"),
        ("ORDER BY BuildIds", "unable to sort by search attribute BuildIds of type KeywordList"),
        ("ORDER BY StartTime, RunId", "supports only a single field"),
        ("ORDER BY StartTime DESC, RunId", "supports only a single field"),
        ("ORDER BY", "malformed SQL query"),
        ("ORDER BY 'x'", "must be a column name"),
        ("ORDER BY StartTime GROUP BY ExecutionStatus", "unexpected"),
    ],
)
async def test_what_cannot_be_sorted(query: str, words: str) -> None:
    async with Client.connect("sqlite::memory:") as client:
        with pytest.raises(RPCError) as caught:
            _ = [execution async for execution in client.list_workflows(query)]
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
        assert words in str(caught.value)


async def test_a_page_token_of_another_kind_is_refused() -> None:
    async with Client.connect("sqlite::memory:") as client:
        request = client.service.request("ListWorkflowExecutions", namespace="default", next_page_token=b"\xff" * 16)
        with pytest.raises(RPCError, match="NextPageToken"):
            await client.service.call("ListWorkflowExecutions", request)
