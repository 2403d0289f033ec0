"""What is done to the workflows of `attribute_workflows`, and what lists and descriptions show of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable_anyio import Client
from durable_anyio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable_anyio.exceptions import RPCError, RPCStatusCode

from . import attribute_workflows as w
from .scenario import Handle, Scenario, gives

PATCHES = SearchAttributeKey.for_keyword_list("TemporalChangeVersion")
SHOWN = {
    "ShopCustomer": "Ada",
    "ShopNote": "two words",
    "ShopCount": "5",
    "ShopPrice": "1.5",
    "ShopOpen": "True",
    "ShopDue": str(w.DAY),
    "ShopTags": "['a', 'b']",
}


async def add_attributes(client: Client) -> None:
    """Makes the attributes of the workflows known to the namespace; those that are known stay as they are."""
    kinds = {key.name: int(key.indexed_value_type) for key in w.KEYS}
    request = client.service.request("AddSearchAttributes", namespace=client.namespace, search_attributes=kinds)
    await client.service.call("AddSearchAttributes", request)


def start(workflow: Any, *args: object, **more: Any) -> Callable[[Client, str, str], Awaitable[Handle]]:
    async def begin(client: Client, task_queue: str, workflow_id: str) -> Handle:
        await add_attributes(client)
        handle: Handle = await client.start_workflow(workflow.run, *args, id=workflow_id, task_queue=task_queue, **more)
        return handle

    return begin


def both(expected: object, *, memo: dict[str, Any] | None = None, patches: list[str] | None = None) -> Callable[[Handle], Awaitable[None]]:
    """The result, and what a description shows beside it."""

    async def check(handle: Handle) -> None:
        assert await handle.result() == expected
        description = await handle.describe()
        if memo is not None:
            assert description.memo == memo
        if patches is not None:
            assert description.typed_search_attributes.get(PATCHES) == patches

    return check


async def ask_in_handlers(handle: Handle) -> None:
    await handle.signal(w.PatchesInHandlers.ask)
    assert await handle.execute_update(w.PatchesInHandlers.ask_and_wait, id="1")
    assert await handle.query(w.PatchesInHandlers.known)


async def shows_the_rest(handle: Handle) -> None:
    rest = {name: value for name, value in SHOWN.items() if name not in ("ShopNote", "ShopTags")} | {"ShopCount": "6"}
    assert await handle.result() == [{}, SHOWN, rest]
    attributes = (await handle.describe()).typed_search_attributes
    assert {pair.key.name: str(pair.value) for pair in attributes if pair.key in w.KEYS} == rest
    assert attributes[w.DUE] == w.DAY


async def shows_every(handle: Handle) -> None:
    assert await handle.result() == SHOWN
    attributes = (await handle.describe()).typed_search_attributes
    assert [pair for pair in attributes if pair.key in w.KEYS] == sorted(w.EVERY, key=lambda pair: pair.key.name)


def continues(result: list[Any]) -> Callable[[Handle], Awaitable[None]]:
    async def check(handle: Handle) -> None:
        assert await handle.result() == result
        description = await handle.describe()
        assert {pair.key.name: str(pair.value) for pair in description.typed_search_attributes if pair.key in w.KEYS} == result[0]
        assert description.memo == result[1]

    return check


def task_fails(words: str) -> Callable[[Handle], Awaitable[None]]:
    """Waits for the failed task, then ends the workflow."""

    async def during(handle: Handle) -> None:
        while (task := (await handle.describe()).pending_workflow_task) is None or task.last_failure is None:
            pass
        assert str(task.last_failure).startswith("BadSearchAttributes: ")
        assert words in str(task.last_failure)
        await handle.terminate()

    return during


async def ended(handle: Handle) -> None:
    assert (await handle.describe()).closed


async def refuse_starts(handle: Handle) -> None:
    """Starts with attributes that the namespace does not have so are refused before anything begins."""
    client, id = handle._client, f"{handle.id}-refused"
    for pair, words in (
        (SearchAttributePair(w.UNKNOWN, "x"), "has no mapping defined for search attribute ShopNobodyKnowsIt"),
        (SearchAttributePair(w.MISTYPED, 5), "invalid value for search attribute ShopCustomer of type Keyword: 5"),
    ):
        with pytest.raises(RPCError, match=words) as caught:
            await client.start_workflow(w.Shows.run, id=id, task_queue="q", search_attributes=TypedSearchAttributes([pair]))
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


MEMO = {"note": "text", "other": [1]}
CHANGED = {"kept": 0, "changed": "old", "gone": 1}
SOME = TypedSearchAttributes([SearchAttributePair(w.CUSTOMER, "Ada"), SearchAttributePair(w.OPEN, False)])
EVERY = TypedSearchAttributes(w.EVERY)
BEFORE: dict[str, Any] = {"search_attributes": SOME, "memo": {"kept": 0, "changed": 1, "gone": 1}}

ATTRIBUTE_SCENARIOS = [
    Scenario("a patch", w.OnePatch, (), both("new", patches=["first"])),
    Scenario("two patches", w.TwoPatches, (), both([True, True], patches=["apple", "zebra"])),
    Scenario("a patch in a loop", w.PatchInLoop, (), both(3, patches=["in-loop"])),
    Scenario("a deprecated patch", w.DeprecatedPatch, (), both(2, patches=["over"])),
    Scenario("patches in handlers", w.PatchesInHandlers, (), both([True, True, True], patches=["in-signal", "in-update"]), ask_in_handlers),
    Scenario("a patch in a child", w.PatchInChild, (), gives(["new", "new"])),
    Scenario("a patch among activities", w.PatchAmongActivities, (), gives([2, 4, 3, 4])),
    Scenario("patches side by side", w.PatchesSideBySide, (), gives(["branch-0", "branch-1", "branch-2"])),
    Scenario("more patches than a search attribute holds", w.ManyPatches, (), gives(25)),
    Scenario("a patch and continue as new", w.PatchedAndContinued, (1,), both(True, patches=["continued"])),
    Scenario("a memo", w.ReadsMemo, (), both(["text", "default", ["note", "other"]], memo=MEMO), begin=start(w.ReadsMemo, memo=MEMO)),
    Scenario(
        "a changed memo",
        w.ChangesMemo,
        (),
        both({"kept": [1, 2], "changed": "new"}, memo={"kept": [1, 2], "changed": "new"}),
        begin=start(w.ChangesMemo, memo=CHANGED),
    ),
    Scenario("search attributes", w.ShowsAttributes, (), shows_every, begin=start(w.ShowsAttributes, search_attributes=EVERY)),
    Scenario("changed search attributes", w.ChangesAttributes, (), shows_the_rest, begin=start(w.ChangesAttributes)),
    Scenario(
        "what a continued run shows",
        w.Continues,
        (),
        continues([{"ShopOpen": "False", "ShopCount": "7"}, {"kept": 0, "changed": 2}]),
        begin=start(w.Continues, "as it is", **BEFORE),
    ),
    Scenario(
        "what a run continued with other values shows",
        w.Continues,
        (),
        continues([{"ShopNote": "other"}, {"other": 3}]),
        begin=start(w.Continues, "others", **BEFORE),
    ),
    Scenario(
        "a run continued with nothing to show", w.Continues, (), continues([{}, {"other": 3}]), begin=start(w.Continues, "", **BEFORE)
    ),
    Scenario(
        "what children show",
        w.ParentOfShown,
        (),
        gives([[{"ShopCustomer": "child", "ShopTags": "['x']"}, {"note": "child"}], [{}, {}]]),
        begin=start(w.ParentOfShown, search_attributes=SOME, memo=MEMO),
    ),
    Scenario(
        "an unknown search attribute",
        w.RefusedAttributes,
        (),
        ended,
        task_fails("has no mapping defined for search attribute ShopNobodyKnowsIt"),
        begin=start(w.RefusedAttributes, "unknown"),
    ),
    Scenario(
        "a search attribute of another type",
        w.RefusedAttributes,
        (),
        ended,
        task_fails("invalid value for search attribute ShopCustomer of type Keyword: 5"),
        begin=start(w.RefusedAttributes, "mistyped"),
    ),
    Scenario(
        "a search attribute of the service",
        w.RefusedAttributes,
        (),
        ended,
        task_fails("WorkflowId attribute can't be set in SearchAttributes"),
        begin=start(w.RefusedAttributes, "system"),
    ),
    Scenario(
        "a child with a refused search attribute",
        w.RefusedChild,
        (),
        ended,
        task_fails("invalid SearchAttributes on StartChildWorkflowCommand: invalid value for search attribute ShopCustomer"),
        begin=start(w.RefusedChild),
        since=(1, 30),  # before, the child is refused in another way, and the task is repeated without a reason
    ),
    Scenario("starts with refused search attributes", w.Shows, (), gives([{}, {}]), refuse_starts, begin=start(w.Shows)),
    Scenario(
        "a patch beside a memo and search attributes",
        w.PatchMemoAndAttributes,
        (),
        both([{"ShopCount": "1"}, {"note": 2}], memo={"note": 2}, patches=["count", "older"]),
        begin=start(w.PatchMemoAndAttributes),
    ),
]
