"""A paused workflow, by the service's own calls: ours does nothing meanwhile and goes on after."""

from __future__ import annotations

from typing import Any

import pytest

from durable_anyio import Client, Worker
from durable_anyio.common import WorkflowExecutionStatus
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .chain_workflows import Told
from .conftest import REAL

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("place", [REAL])
async def test_a_paused_workflow_does_nothing_and_goes_on_after(client: Client, unique: str) -> None:
    queue = f"pause-{unique}"

    async def call(name: str) -> Any:
        request = client.service.request(
            name, namespace=client.namespace, workflow_id=handle.id, identity="a test", reason="a rest", request_id=f"{name}-{unique}"
        )
        return await client.service.call(name, request)

    async with Worker(client, task_queue=queue, workflows=[Told]):
        handle = await client.start_workflow(Told.run, 2, id=f"paused-{unique}", task_queue=queue)
        assert await handle.query(Told.so_far) == []
        try:
            await call("PauseWorkflowExecution")
        except RPCError as error:
            if error.status is RPCStatusCode.UNIMPLEMENTED:
                pytest.skip("this server cannot pause workflows")
            raise
        await handle.signal(Told.tell, "while it rests")
        description = await handle.describe()
        assert description.status is WorkflowExecutionStatus.PAUSED
        assert description.pending_workflow_task is None
        kinds = [event.WhichOneof("attributes") for event in (await handle.fetch_history()).events]
        assert kinds.count("workflow_task_completed_event_attributes") == 1
        await call("UnpauseWorkflowExecution")
        await handle.signal(Told.tell, "after")
        assert await handle.result() == ["while it rests", "after"]
    for cached in (1000, 0):
        async with Worker(client, task_queue=queue, workflows=[Told], max_cached_workflows=cached):
            assert await handle.query(Told.so_far) == ["while it rests", "after"]
