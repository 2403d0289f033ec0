"""Many histories at once: from files, from directories, from a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from durable_anyio import Replayer, Worker, WorkflowHistory, activity, workflow
from durable_anyio.client import Client
from durable_anyio.exceptions import NondeterminismError
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio


@activity.defn(start_to_close_timeout=timedelta(seconds=10))
async def double(number: int) -> int:
    return number * 2


@activity.defn(start_to_close_timeout=timedelta(seconds=10))
async def triple(number: int) -> int:
    return number * 3


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, number: int) -> int:
        return await double(number) if number >= 0 else 0


@workflow.defn(name="Doubles")
class Changed:
    """What became of it: only runs with negative numbers still fit."""

    @workflow.run
    async def run(self, number: int) -> int:
        return await triple(number) if number >= 0 else 0


async def play(client: Client) -> list[str]:
    """Runs three workflows, and answers their run ids."""
    async with Worker(client, task_queue="q", workflows=[Doubles], activities=[double]):
        runs = []
        for number in (1, -1, 2):
            handle = await client.start_workflow(Doubles.run, number, id=f"doubles {number}", task_queue="q")
            await handle.result()
            runs.append(handle.first_execution_run_id or "")
    return runs


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with WorkflowEnvironment.time_skipping() as environment:
        yield environment.client


async def test_histories_of_a_service(client: Client) -> None:
    runs = await play(client)
    found = client.list_workflows("WorkflowType = 'Doubles'").map_histories()
    results = await Replayer(workflows=[Doubles]).replay_workflows(found)
    assert {result.history.workflow_id for result in results.results} == {"doubles 1", "doubles -1", "doubles 2"}
    assert results.replay_failures == {}
    found = client.list_workflows("WorkflowType = 'Doubles'").map_histories()
    results = await Replayer(workflows=[Changed]).replay_workflows(found, raise_on_replay_failure=False)
    assert set(results.replay_failures) == {runs[0], runs[2]}
    assert all(isinstance(failure, NondeterminismError) for failure in results.replay_failures.values())
    assert len(results.results) == 3
    with pytest.raises(NondeterminismError, match="triple"):
        await Replayer(workflows=[Changed]).replay_workflows(client.list_workflows().map_histories())


async def test_histories_of_a_directory(client: Client, tmp_path: Path) -> None:
    await play(client)
    (tmp_path / "deeper").mkdir()
    async for history in client.list_workflows().map_histories():
        place = tmp_path / "deeper" if history.workflow_id.endswith("-1") else tmp_path
        (place / f"{history.workflow_id}.json").write_text(history.to_json(), encoding="utf-8")
    read = list(WorkflowHistory.from_directory(tmp_path))
    assert [history.workflow_id for history in read] == ["doubles -1", "doubles 1", "doubles 2"]
    results = await Replayer(workflows=[Doubles]).replay_workflows(read)
    assert [result.failure for result in results.results] == [None] * 3
    one = WorkflowHistory.from_file(tmp_path / "doubles 2.json")
    assert (await Replayer(workflows=[Doubles]).replay_workflow(one)).failure is None
    assert (await Replayer(workflows=[Changed]).replay_workflow(one, raise_on_replay_failure=False)).failure is not None


async def test_files_that_are_no_histories_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no \*\.json files"):
        WorkflowHistory.from_directory(tmp_path)
    bad = tmp_path / "bad.json"
    bad.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.json: the JSON has no list"):
        list(WorkflowHistory.from_directory(tmp_path))
    with pytest.raises(FileNotFoundError):
        WorkflowHistory.from_file(tmp_path / "none.json")


async def test_a_file_names_a_history_that_does_not_name_itself(tmp_path: Path) -> None:
    file = tmp_path / "order-7.json"
    event = {"eventId": "1", "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED", "workflowExecutionStartedEventAttributes": {}}
    file.write_text(f'{{"events": [{event}]}}'.replace("'", '"'), encoding="utf-8")
    assert WorkflowHistory.from_file(file).workflow_id == "order-7"
