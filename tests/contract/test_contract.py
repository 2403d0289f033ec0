"""Every scenario, embedded and on a real server: live, with nothing cached, and replayed from its recorded history."""

from __future__ import annotations

import pytest

from durable_anyio import Client, Replayer, Worker

from .activities import ACTIVITIES
from .scenario import Scenario, record, server_version
from .scenarios import SCENARIOS
from .workflows import WORKFLOWS

pytestmark = pytest.mark.anyio


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    chosen = request.param
    assert isinstance(chosen, Scenario)
    return chosen


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
async def test_scenario(client: Client, place: str, unique: str, scenario: Scenario, cached: int) -> None:
    if place == "real" and scenario.since and (version := await server_version(client)) < scenario.since:
        pytest.skip(f"the server is {version}, this is there from {scenario.since}")
    queue = f"contract-{unique}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, max_cached_workflows=cached):
        handle = await scenario.play(client, queue, f"{scenario.name}-{unique}")
    history = await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).fetch_history()
    Replayer(workflows=WORKFLOWS).replay(history)
    if place == "real" and cached:
        record(scenario.name, history)
