"""What list filters find, embedded and on a real server: attributes that no row has by itself, and counts in groups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Client, Worker, workflow
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .scenario import Handle

pytestmark = pytest.mark.anyio

# A service's lists are late, and it answers few of them a second.
PATIENCE = 90


@workflow.defn
class Ends:
    @workflow.run
    async def run(self) -> None:
        pass


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await anyio.sleep_forever()


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, child_id: str) -> None:
        await workflow.execute_child_workflow(Waits.run, id=child_id)


@dataclass
class Family:
    """Runs of one task queue, by name: "later" begins in an hour, "gone" was terminated before any worker came."""

    client: Client
    unique: str
    runs: dict[str, Handle]

    def query(self, template: str) -> str:
        for name, handle in self.runs.items():
            template = template.replace(f"<{name}>", f"'{handle.id}'").replace(f"<run of {name}>", f"'{handle.result_run_id}'")
        return f"TaskQueue = 'q-{self.unique}' AND ({template})"

    async def found(self, template: str) -> set[str]:
        return {execution.id.removesuffix(f"-{self.unique}") async for execution in self.client.list_workflows(self.query(template))}

    async def finds(self, template: str, names: set[str]) -> None:
        found: set[str] = set()
        with anyio.move_on_after(PATIENCE):
            while (found := await self.found(template)) != names:
                await anyio.sleep(0.5)
        assert found == names, template
        assert await self.client.count_workflows(self.query(template)) == len(names), template


async def family(client: Client, unique: str) -> Family:
    queue = f"q-{unique}"

    async def start(name: str, run: Any, *args: str, delay: timedelta | None = None) -> Handle:
        handle: Handle = await client.start_workflow(run, *args, id=f"{name}-{unique}", task_queue=queue, start_delay=delay)
        return handle

    runs = {"gone": await start("gone", Ends.run)}
    await runs["gone"].terminate()
    async with Worker(client, task_queue=queue, workflows=[Ends, Waits, Parent]):
        runs["ended"] = await start("ended", Ends.run)
        await runs["ended"].result()
        runs["parent"] = await start("parent", Parent.run, f"child-{unique}")
        with anyio.fail_after(PATIENCE):
            while not await has_done_a_task(client, f"child-{unique}"):
                await anyio.sleep(0.05)
    runs["later"] = await start("later", Ends.run, delay=timedelta(hours=1))
    return Family(client, unique, runs)


async def has_done_a_task(client: Client, id: str) -> bool:
    try:
        return (await client.get_workflow_handle(id).describe()).history_length >= 4
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise


ALL = {"gone", "ended", "parent", "child", "later"}
WORKED_ON = {"ended", "parent", "child"}
FOUND = {
    "RootWorkflowId = <parent>": {"parent", "child"},
    "RootWorkflowId != <parent>": {"ended", "gone", "later"},
    "RootWorkflowId IN (<ended>, <gone>)": {"ended", "gone"},
    "RootWorkflowId STARTS_WITH 'par'": {"parent", "child"},
    "RootWorkflowId IS NULL": set(),
    "RootRunId = <run of parent>": {"parent", "child"},
    "ParentWorkflowId = <parent>": {"child"},
    "NOT RootRunId = <run of parent> AND RootWorkflowId != <ended>": {"gone", "later"},
    "ExecutionTime >= '2000-01-01T00:00:00Z'": ALL,
    "ExecutionTime BETWEEN '2000-01-01T00:00:00Z' AND '2001-01-01T00:00:00Z'": set(),
    "ExecutionTime IS NULL": set(),
    "BuildIds = 'unversioned'": WORKED_ON,
    "BuildIds != 'unversioned'": ALL - WORKED_ON,
    "BuildIds IN ('other', 'unversioned')": WORKED_ON,
    "BuildIds = 'other'": set(),
    "BuildIds IS NULL": ALL - WORKED_ON,
    "BuildIds IS NOT NULL": WORKED_ON,
    "HistorySizeBytes > 0": {"ended", "gone"},
    "StateTransitionCount IS NULL": {"parent", "child", "later"},
}
REFUSED = {
    "TaskQueue = 'q' GROUP BY WorkflowType": "'GROUP BY' clause is not supported for search attribute WorkflowType",
    "TaskQueue = 'q' GROUP BY ExecutionStatus, WorkflowType": "'GROUP BY' clause supports only a single field",
    "GROUP BY Nope": "invalid search attribute: Nope",
    "TaskQueue = 'q' GROUP BY 'x'": "must be a column name",
    "TaskQueue = 'q' GROUP BY": "malformed SQL query",
    "TaskQueue = 'q' GROUP BY ExecutionStatus ORDER BY StartTime": "'ORDER BY' clause",
    "TaskQueue = 'q' LIMIT 3": "'LIMIT' clause",
    "RootWorkflowId = 3": "invalid value type for search attribute RootWorkflowId",
    "ExecutionTime = 'x'": "unable to parse datetime 'x'",
    "ExecutionTime > StartTime": "column name on the right side",
    "BuildIds > 'x'": "not supported for KeywordList type search attribute 'BuildIds'",
}


async def test_filters(client: Client, unique: str) -> None:
    runs = await family(client, unique)
    later = (await runs.runs["later"].describe()).start_time
    assert later is not None
    soon = (later + timedelta(minutes=30)).isoformat().replace("+00:00", "Z")
    found = FOUND | {f"ExecutionTime > '{soon}'": {"later"}, f"ExecutionTime < '{soon}'": ALL - {"later"}}
    for template, names in found.items():
        await runs.finds(template, names)
    for handle in (runs.runs["parent"], runs.runs["later"]):
        await handle.terminate()


async def test_counts_in_groups(client: Client, unique: str) -> None:
    runs = await family(client, unique)
    query = f"TaskQueue = 'q-{unique}' GROUP BY ExecutionStatus"
    expected = [("Running", 3), ("Completed", 1), ("Terminated", 1)]
    groups: list[tuple[str, int]] = []
    with anyio.move_on_after(PATIENCE):
        while groups != expected:
            count = await client.count_workflows(query)
            groups = [(group.group_values[0], group.count) for group in count.groups]
    assert groups == expected
    assert (count, count.count) == (5, 5)
    assert (await client.count_workflows(f"TaskQueue = 'q-{unique}'")).groups == ()
    # A list is one list all the same.
    assert len([execution async for execution in client.list_workflows(query)]) == 5
    for handle in (runs.runs["parent"], runs.runs["later"]):
        await handle.terminate()


async def test_refusals(client: Client) -> None:
    for query, words in REFUSED.items():
        with pytest.raises(RPCError) as caught:
            await client.count_workflows(query)
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT, query
        assert words in str(caught.value), query
