"""A change in a workflow's code while it runs: the worker with the old code goes, one with the new code comes."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from durable_anyio import Client, Worker, workflow
from durable_anyio.common import SearchAttributeKey

pytestmark = pytest.mark.anyio

PATCHES = SearchAttributeKey.for_keyword_list("TemporalChangeVersion")


class _Base:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.go_on = anyio.Event()

    @workflow.signal
    def proceed(self) -> None:
        self.go_on.set()

    @workflow.query
    def so_far(self) -> list[str]:
        return self.seen


@workflow.defn(name="Versioned")
class Before(_Base):
    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("old")
        await self.go_on.wait()
        self.seen.append("old")
        return self.seen


@workflow.defn(name="Versioned")
class Patched(_Base):
    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("new" if workflow.patched("change") else "old")
        await self.go_on.wait()
        self.seen.append("new" if workflow.patched("change") else "old")
        return self.seen


@workflow.defn(name="Versioned")
class PatchedLater(_Base):
    """The first question comes after the wait: a run that waits there is on the new side."""

    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("old")
        await self.go_on.wait()
        self.seen.append("new" if workflow.patched("change") else "old")
        return self.seen


@workflow.defn(name="Versioned")
class Deprecated(_Base):
    @workflow.run
    async def run(self) -> list[str]:
        workflow.deprecate_patch("change")
        self.seen.append("new")
        await self.go_on.wait()
        self.seen.append("new")
        return self.seen


@workflow.defn(name="Versioned")
class Gone(_Base):
    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("new")
        await self.go_on.wait()
        self.seen.append("new")
        return self.seen


async def change(client: Client, unique: str, first: type) -> None:
    """Starts a run on a worker with the first code and lets it wait there."""
    async with Worker(client, task_queue=f"versions-{unique}", workflows=[first]):
        handle = await client.start_workflow("Versioned", id=f"versions-{unique}", task_queue=f"versions-{unique}")
        while not await handle.query("so_far"):
            pass


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (Before, Patched, ["old", "old"]),
        (Before, PatchedLater, ["old", "new"]),
        (Patched, Patched, ["new", "new"]),
        (Patched, Deprecated, ["new", "new"]),
        (Deprecated, Gone, ["new", "new"]),
        (Deprecated, Deprecated, ["new", "new"]),
        (Gone, Deprecated, ["new", "new"]),
        (Gone, Gone, ["new", "new"]),
    ],
)
async def test_a_run_survives_the_change(client: Client, unique: str, first: type, second: type, result: list[str]) -> None:
    await change(client, unique, first)
    handle = client.get_workflow_handle(f"versions-{unique}")
    async with Worker(client, task_queue=f"versions-{unique}", workflows=[second]):
        await handle.signal("proceed")
        assert await handle.result() == result
    attributes = (await handle.describe()).typed_search_attributes
    recorded = first in (Patched, Deprecated) or second is PatchedLater
    assert attributes.get(PATCHES) == (["change"] if recorded else None)


async def test_a_patch_that_the_code_forgot_suspends_and_comes_back(client: Client, unique: str) -> None:
    await change(client, unique, Patched)
    handle = client.get_workflow_handle(f"versions-{unique}")
    async with Worker(client, task_queue=f"versions-{unique}", workflows=[Gone]):
        await handle.signal("proceed")
        while (task := (await handle.describe()).pending_workflow_task) is None or task.last_failure is None:
            pass
        assert "the history has RecordMarker (patch 'change'), the code gave no command" in str(task.last_failure)
    async with Worker(client, task_queue=f"versions-{unique}", workflows=[Deprecated]):
        with anyio.fail_after(timedelta(seconds=30).total_seconds()):
            assert await handle.result() == ["new", "new"]
