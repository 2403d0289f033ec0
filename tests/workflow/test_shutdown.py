"""A worker in somebody's task group ends in order: `shutdown` waits for activities, a cancellation does not."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from durable_anyio import RetryPolicy, Worker, activity, workflow
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

started = anyio.Event()
go_on = anyio.Event()


@activity.defn(start_to_close_timeout=timedelta(hours=1), retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1)))
async def slow() -> int:
    started.set()
    await go_on.wait()
    return activity.info().attempt


@workflow.defn
class Slow:
    @workflow.run
    async def run(self) -> int:
        return await slow()


def make(env: WorkflowEnvironment, task_queue: str) -> Worker:
    grace = timedelta(minutes=1)
    return Worker(env.client, task_queue=task_queue, workflows=[Slow], activities=[slow], graceful_shutdown_timeout=grace)


@pytest.fixture(autouse=True)
def new_events() -> None:
    global started, go_on
    started, go_on = anyio.Event(), anyio.Event()


@pytest.mark.parametrize("how", ["shutdown", "cancel"])
async def test_the_end_of_a_worker_in_a_task_group(env: WorkflowEnvironment, task_queue: str, how: str) -> None:
    ended = False

    async def shut_down() -> None:
        nonlocal ended
        await worker.shutdown()
        ended = True

    with anyio.fail_after(20):
        async with anyio.create_task_group() as service:
            worker = make(env, task_queue)
            await service.start(worker.run)
            handle = await env.client.start_workflow(Slow.run, id=task_queue, task_queue=task_queue)
            await started.wait()
            if how == "shutdown":
                service.start_soon(shut_down)
                await anyio.wait_all_tasks_blocked()
                assert not ended, "the activity still runs"
                go_on.set()
            else:
                service.cancel_scope.cancel()
        go_on.set()
        async with make(env, task_queue):
            assert await handle.result() == (1 if how == "shutdown" else 2)


async def test_shutdown_of_a_worker_that_does_not_run(env: WorkflowEnvironment, task_queue: str) -> None:
    worker = make(env, task_queue)
    await worker.shutdown()
    async with worker:
        pass
    await worker.shutdown()
