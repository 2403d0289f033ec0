"""Nexus operations on a real server: live, with nothing cached, replayed from the recorded history; and what goes wrong with them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from durable_anyio import Client, Replayer, Worker
from durable_anyio.testing import WorkflowEnvironment

from .conftest import REAL, SERVER
from .nexus_handler import serving
from .nexus_scenarios import NEXUS_SCENARIOS, NexusScenario
from .nexus_workflows import NEXUS_WORKFLOWS, CallsOperation
from .scenario import Handle, record

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[REAL])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with Client.connect(SERVER) as client:
        yield client


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
@pytest.mark.parametrize("scenario", NEXUS_SCENARIOS, ids=lambda scenario: scenario.name)
async def test_scenario(service: Client, unique: str, scenario: NexusScenario, cached: int) -> None:
    name, queue = f"endpoint-{unique}", f"nexus-{unique}"
    worker = Worker(service, task_queue=queue, workflows=NEXUS_WORKFLOWS, max_cached_workflows=cached)
    async with serving(service, name, queue, is_served=scenario.is_served) as handler, worker:
        handler.caller = f"{scenario.name}-{unique}"
        handle = await service.start_workflow(scenario.workflow.run, name, *scenario.args, id=handler.caller, task_queue=queue)
        assert await handle.result() == scenario.result
    history = await handle.fetch_history()
    Replayer(workflows=NEXUS_WORKFLOWS).replay(history)
    if cached:
        record(scenario.name, history)


async def problem(handle: Handle, text: str) -> None:
    """Returns when the workflow's description has a problem with this text in it."""
    with anyio.fail_after(60):
        while not any(text in found for found in (await handle.describe()).problems):
            await anyio.sleep(0.02)


async def test_an_endpoint_that_does_not_exist_yet(service: Client, unique: str) -> None:
    name, queue = f"endpoint-{unique}", f"nexus-{unique}"
    async with Worker(service, task_queue=queue, workflows=NEXUS_WORKFLOWS):
        handle = await service.start_workflow(CallsOperation.run, name, "double", 21, id=f"no endpoint-{unique}", task_queue=queue)
        await problem(handle, f'endpoint "{name}" not found')
        async with serving(service, name, queue):
            assert await handle.result() == 42
    Replayer(workflows=NEXUS_WORKFLOWS).replay(await handle.fetch_history())


async def test_an_embedded_engine_has_no_endpoints(unique: str) -> None:
    async with (
        WorkflowEnvironment.time_skipping() as environment,
        Worker(environment.client, task_queue=unique, workflows=NEXUS_WORKFLOWS),
    ):
        handle = await environment.client.start_workflow(CallsOperation.run, "bank", "double", 21, id=unique, task_queue=unique)
        await problem(handle, "an embedded engine has no Nexus endpoints, so that no operation of endpoint 'bank' can start")
