"""The contract's scenarios over the port: what runs on the embedded engine runs on the served one, and its history replays."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from contract.activities import ACTIVITIES
from contract.scenario import Scenario
from contract.scenarios import SCENARIOS
from contract.workflows import WORKFLOWS

from durable_anyio import Client, Replayer, Worker

from .running import Running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(server: Running, anyio_backend: str) -> AsyncIterator[Client]:
    async with Client.connect(server.address) as one:
        yield one


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_scenario(client: Client, scenario: Scenario) -> None:
    unique = uuid.uuid4().hex[:12]
    queue = f"port-{unique}"
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await scenario.play(client, queue, f"{scenario.name}-{unique}")
    history = await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).fetch_history()
    Replayer(workflows=WORKFLOWS).replay(history)
