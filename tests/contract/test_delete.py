"""Deleting runs: what has ended, what runs, and what is not there."""

from __future__ import annotations

import anyio
import pytest

from durable_anyio import Client, Worker
from durable_anyio.common import WorkflowIDReusePolicy
from durable_anyio.exceptions import RPCError, RPCStatusCode, TerminatedError, WorkflowFailureError

from .chain_workflows import Told
from .scenario import Handle

pytestmark = pytest.mark.anyio


async def ends(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, TerminatedError)


async def test_a_deleted_workflow_ends(client: Client, unique: str) -> None:
    """What runs ends before it goes: who waits for it is told. A service takes half a minute until the run is gone."""
    queue = f"delete-{unique}"
    async with Worker(client, task_queue=queue, workflows=[Told]):
        handle = await client.start_workflow(Told.run, 1, id=f"waited-{unique}", task_queue=queue)
        async with anyio.create_task_group() as tg:
            tg.start_soon(ends, handle)
            await anyio.wait_all_tasks_blocked()
            await handle.delete()
        with pytest.raises(RPCError) as caught:
            await client.get_workflow_handle(f"nobody-{unique}").delete()
        assert caught.value.status is RPCStatusCode.NOT_FOUND


@pytest.mark.parametrize("place", ["embedded"])
async def test_a_deleted_workflow_is_gone(client: Client, unique: str) -> None:
    queue = f"delete-{unique}"
    async with Worker(client, task_queue=queue, workflows=[Told]):
        ended = await client.start_workflow(Told.run, 0, id=f"ended-{unique}", task_queue=queue)
        await ended.result()
        running = await client.start_workflow(Told.run, 1, id=f"running-{unique}", task_queue=queue)
        assert await running.query(Told.so_far) == []
        for handle in (ended, running):
            await handle.delete()
            for call in (handle.describe, handle.delete, handle.result, handle.fetch_history):
                with pytest.raises(RPCError) as caught:
                    await call()
                assert caught.value.status is RPCStatusCode.NOT_FOUND
        assert await client.count_workflows() == 0
        # The id is free.
        again = await client.start_workflow(Told.run, 0, id=f"ended-{unique}", task_queue=queue)
        assert await again.result() == []


async def test_an_older_run_does_not_take_a_deleted_ones_place(client: Client, unique: str) -> None:
    """The newest run is deleted while it is open, which a service does at once: the id has no newest run any more."""
    id, queue = f"again-{unique}", f"delete-{unique}"
    older = await client.start_workflow(Told.run, 1, id=id, task_queue=queue)
    await older.terminate()
    newer = await client.start_workflow(Told.run, 1, id=id, task_queue=queue)
    await newer.delete()
    by_id = client.get_workflow_handle(id)

    async def status() -> RPCStatusCode | None:
        try:
            await by_id.describe()
        except RPCError as error:
            return error.status
        return None

    with anyio.fail_after(60):
        while await status() is not RPCStatusCode.NOT_FOUND:
            await anyio.sleep(0.05)
    for call in (by_id.fetch_history, by_id.terminate, by_id.delete):
        with pytest.raises(RPCError) as caught:
            await call()
        assert caught.value.status is RPCStatusCode.NOT_FOUND
    assert (await client.get_workflow_handle(id, run_id=older.result_run_id).describe()).run_id == older.result_run_id
    assert await status() is RPCStatusCode.NOT_FOUND
    policy = WorkflowIDReusePolicy.REJECT_DUPLICATE
    fresh = await client.start_workflow(Told.run, 1, id=id, task_queue=queue, id_reuse_policy=policy)
    assert (await by_id.describe()).run_id == fresh.result_run_id
    await fresh.terminate()
