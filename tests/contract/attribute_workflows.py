"""Workflows with patches, memo and search attributes. Their recorded histories are kept, so changing one's commands needs a new name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio

from durable_anyio import workflow
from durable_anyio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from .activities import double

CUSTOMER = SearchAttributeKey.for_keyword("ShopCustomer")
NOTE = SearchAttributeKey.for_text("ShopNote")
COUNT = SearchAttributeKey.for_int("ShopCount")
PRICE = SearchAttributeKey.for_float("ShopPrice")
OPEN = SearchAttributeKey.for_bool("ShopOpen")
DUE = SearchAttributeKey.for_datetime("ShopDue")
TAGS = SearchAttributeKey.for_keyword_list("ShopTags")
UNKNOWN = SearchAttributeKey.for_keyword("ShopNobodyKnowsIt")
#: The customer's name is a keyword.
MISTYPED = SearchAttributeKey.for_int("ShopCustomer")
KEYS: Sequence[SearchAttributeKey[Any]] = (CUSTOMER, NOTE, COUNT, PRICE, OPEN, DUE, TAGS)
DAY = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
EVERY: Sequence[SearchAttributePair[Any]] = (
    SearchAttributePair(CUSTOMER, "Ada"),
    SearchAttributePair(NOTE, "two words"),
    SearchAttributePair(COUNT, 5),
    SearchAttributePair(PRICE, 1.5),
    SearchAttributePair(OPEN, True),
    SearchAttributePair(DUE, DAY),
    SearchAttributePair(TAGS, ["a", "b"]),
)


def shown() -> dict[str, str]:
    """The run's search attributes as it sees them."""
    return {pair.key.name: str(pair.value) for pair in workflow.info().typed_search_attributes}


@workflow.defn
class OnePatch:
    @workflow.run
    async def run(self) -> str:
        return "new" if workflow.patched("first") else "old"


@workflow.defn
class TwoPatches:
    @workflow.run
    async def run(self) -> list[bool]:
        first = workflow.patched("zebra")
        await anyio.sleep(1)
        return [first, workflow.patched("apple")]


@workflow.defn
class PatchInLoop:
    @workflow.run
    async def run(self) -> int:
        count = 0
        for _ in range(3):
            count += workflow.patched("in-loop")
            await anyio.sleep(1)
        return count


@workflow.defn
class DeprecatedPatch:
    @workflow.run
    async def run(self) -> int:
        workflow.deprecate_patch("over")
        return await double(1)


@workflow.defn
class PatchesInHandlers:
    """Asks in a signal's and an update's handler, and reads what it knows in a query."""

    def __init__(self) -> None:
        self.answers: list[bool] = []

    @workflow.run
    async def run(self) -> list[bool]:
        await workflow.wait_condition(lambda: len(self.answers) == 3)
        return self.answers

    @workflow.signal
    async def ask(self) -> None:
        self.answers.append(workflow.patched("in-signal"))

    @workflow.update
    async def ask_and_wait(self) -> bool:
        self.answers.append(workflow.patched("in-update"))
        await anyio.sleep(1)
        self.answers.append(workflow.patched("in-signal"))
        return self.answers[-1]

    @workflow.query
    def known(self) -> bool:
        return workflow.patched("in-signal")


@workflow.defn
class PatchInChild:
    @workflow.run
    async def run(self) -> list[str]:
        mine = "new" if workflow.patched("first") else "old"
        child = await workflow.execute_child_workflow(OnePatch.run, id=workflow.info().workflow_id + "-child")
        return [mine, child]


@workflow.defn
class PatchAmongActivities:
    @workflow.run
    async def run(self) -> list[int]:
        results = [await double(1)]
        if workflow.patched("second-activity"):
            results.append(await double(2))
        results.append(await workflow.step(abs, -3))
        if workflow.patched("after-step"):
            results.append(await workflow.step(abs, -4))
        return results


@workflow.defn
class PatchesSideBySide:
    @workflow.run
    async def run(self) -> list[str]:
        seen: list[str] = []

        async def branch(name: str, seconds: float) -> None:
            await anyio.sleep(seconds)
            if workflow.patched(name):
                seen.append(name)

        async with anyio.create_task_group() as tg:
            for number in range(3):
                tg.start_soon(branch, f"branch-{number}", number + 1)
        return seen


@workflow.defn
class ManyPatches:
    """Their list does not fit into a search attribute."""

    @workflow.run
    async def run(self) -> int:
        return sum(workflow.patched(f"{number:02}-{'x' * 97}") for number in range(25))


@workflow.defn
class PatchedAndContinued:
    @workflow.run
    async def run(self, runs: int) -> bool:
        answer = workflow.patched("continued")
        if runs:
            workflow.continue_as_new(runs - 1)
        return answer


@workflow.defn
class ReadsMemo:
    @workflow.run
    async def run(self) -> list[Any]:
        note = workflow.memo_value("note", type_hint=str)
        return [note, workflow.memo_value("nothing", "default"), sorted(workflow.memo())]


@workflow.defn
class ChangesMemo:
    @workflow.run
    async def run(self) -> Mapping[str, Any]:
        workflow.upsert_memo({"kept": [1, 2], "changed": "new"})
        await anyio.sleep(1)
        workflow.upsert_memo({"gone": None})
        workflow.upsert_memo({})
        return workflow.memo()


@workflow.defn
class ChangesAttributes:
    @workflow.run
    async def run(self) -> list[dict[str, str]]:
        seen = [shown()]
        workflow.upsert_search_attributes([pair.key.value_set(pair.value) for pair in EVERY])
        seen.append(shown())
        await anyio.sleep(1)
        workflow.upsert_search_attributes([NOTE.value_unset(), TAGS.value_set([]), COUNT.value_set(6)])
        workflow.upsert_search_attributes([])
        seen.append(shown())
        return seen


@workflow.defn
class ShowsAttributes:
    @workflow.run
    async def run(self) -> dict[str, str]:
        return shown()


@workflow.defn
class Continues:
    """Continues once: as it is then, with other values, or with none."""

    @workflow.run
    async def run(self, how: str) -> list[Any]:
        if how == "over":
            return [shown(), workflow.memo()]
        workflow.upsert_search_attributes([COUNT.value_set(7), CUSTOMER.value_unset()])
        workflow.upsert_memo({"changed": 2, "gone": None})
        if how == "as it is":
            workflow.continue_as_new("over")
        attributes = TypedSearchAttributes([SearchAttributePair(NOTE, "other")]) if how == "others" else TypedSearchAttributes.empty
        workflow.continue_as_new("over", memo={"other": 3}, search_attributes=attributes)


@workflow.defn
class ParentOfShown:
    @workflow.run
    async def run(self) -> list[Any]:
        attributes = TypedSearchAttributes([SearchAttributePair(CUSTOMER, "child"), SearchAttributePair(TAGS, ["x"])])
        id = workflow.info().workflow_id
        own = await workflow.execute_child_workflow(Shows.run, id=f"{id}-1", search_attributes=attributes, memo={"note": "child"})
        bare = await workflow.execute_child_workflow(Shows.run, id=f"{id}-2")
        return [own, bare]


@workflow.defn
class Shows:
    @workflow.run
    async def run(self) -> list[Any]:
        return [shown(), workflow.memo()]


@workflow.defn
class RefusedAttributes:
    """Gives what the service refuses: its task fails until it is told to give something else."""

    @workflow.run
    async def run(self, what: str) -> None:
        updates: dict[str, SearchAttributeUpdate[Any]] = {
            "unknown": UNKNOWN.value_set("x"),
            "mistyped": MISTYPED.value_set(5),
            "system": SearchAttributeKey.for_keyword("WorkflowId").value_set("x"),
        }
        workflow.upsert_search_attributes([updates[what]])


@workflow.defn
class RefusedChild:
    @workflow.run
    async def run(self) -> None:
        attributes = TypedSearchAttributes([SearchAttributePair(MISTYPED, 5)])
        await workflow.start_child_workflow(Shows.run, id="never-started", search_attributes=attributes)


@workflow.defn
class PatchMemoAndAttributes:
    @workflow.run
    async def run(self) -> list[Any]:
        workflow.upsert_memo({"note": 1})
        if workflow.patched("count"):
            workflow.upsert_search_attributes([COUNT.value_set(1)])
        await anyio.sleep(1)
        workflow.deprecate_patch("older")
        workflow.upsert_memo({"note": 2})
        return [shown(), workflow.memo()]


ATTRIBUTE_WORKFLOWS: list[type] = [
    OnePatch, TwoPatches, PatchInLoop, DeprecatedPatch, PatchesInHandlers, PatchInChild, PatchAmongActivities, PatchesSideBySide,
    ManyPatches, PatchedAndContinued, ReadsMemo, ChangesMemo, ChangesAttributes, ShowsAttributes, Continues, ParentOfShown, Shows,
    RefusedAttributes, RefusedChild, PatchMemoAndAttributes,
]  # fmt: skip
