"""Workers through the whole embedded stack, on both hosts: several of them, small caches, ends that nobody prepared."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from durable_anyio import Client, RetryPolicy, Worker, activity, workflow
from durable_anyio.client import WorkflowExecutionStatus
from durable_anyio.exceptions import CancelledError, RPCError, TerminatedError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment
from durable_anyio.worker import WorkerError

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@activity.defn(start_to_close_timeout=SECOND)
async def queue_of(number: int) -> str:
    return f"{number} on {activity.info().task_queue}"


@activity.defn(start_to_close_timeout=HOUR, retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1)))
async def tell_attempt(path: str) -> int:
    """Says which attempt it is; the first one never ends."""
    attempt = activity.info().attempt
    await anyio.Path(f"{path}.{attempt}").touch()
    if attempt == 1:
        await anyio.sleep_forever()
    return attempt


@workflow.defn
class Steps:
    """Signals, timers and activities in turn, so that it leaves and enters the cache often."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.log: list[str] = []

    @workflow.run
    async def run(self, number: int, activity_queue: str) -> list[str]:
        self.log.append(await queue_of.with_options(task_queue=activity_queue)(number))
        await self.go.wait()
        await anyio.sleep(60)
        self.log.append(await queue_of.with_options(task_queue=activity_queue)(-number))
        return self.log

    @workflow.signal
    def start(self) -> None:
        self.go.set()

    @workflow.query
    def so_far(self) -> list[str]:
        return self.log


@workflow.defn
class Survives:
    def __init__(self) -> None:
        self.names: list[str] = []

    @workflow.run
    async def run(self, path: str) -> list[str]:
        attempt = await tell_attempt(path)
        await workflow.wait_condition(lambda: bool(self.names))
        return [f"attempt {attempt}", *self.names]

    @workflow.signal
    def name(self, name: str) -> None:
        self.names.append(name)


@workflow.defn
class Sleeps:
    @workflow.run
    async def run(self) -> None:
        await anyio.sleep_forever()


WORKFLOWS: list[type] = [Steps, Survives, Sleeps]


def worker(client: Client, task_queue: str, *, max_cached_workflows: int = 1000) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=[queue_of, tell_attempt],
        max_cached_workflows=max_cached_workflows,
    )


async def exists(path: Path) -> None:
    with anyio.fail_after(20):
        while not await anyio.Path(path).exists():
            await anyio.sleep(0.005)


async def test_several_workers_in_one_task_group(env: WorkflowEnvironment, task_queue: str) -> None:
    other = task_queue + "-activities"
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tg:
            for _ in range(2):
                await tg.start(Worker(env.client, task_queue=task_queue, workflows=[Steps]).run)
                await tg.start(Worker(env.client, task_queue=other, activities=[queue_of]).run)
            handles = [await env.client.start_workflow(Steps.run, n, other, id=f"w{n}", task_queue=task_queue) for n in range(1, 11)]
            for handle in handles:
                await handle.signal(Steps.start)
            for number, handle in enumerate(handles, 1):
                assert await handle.result() == [f"{number} on {other}", f"{-number} on {other}"]
            tg.cancel_scope.cancel()


@pytest.mark.parametrize("cached", [0, 1, 7])
async def test_more_workflows_than_the_cache_holds(env: WorkflowEnvironment, task_queue: str, cached: int) -> None:
    with anyio.fail_after(30):
        async with worker(env.client, task_queue, max_cached_workflows=cached):
            handles = [await env.client.start_workflow(Steps.run, n, task_queue, id=f"w{n}", task_queue=task_queue) for n in range(1, 51)]
            for handle in handles:
                await handle.signal(Steps.start)
            assert len(await handles[-1].query(Steps.so_far)) <= 1
            for number, handle in enumerate(handles, 1):
                assert await handle.result() == [f"{number} on {task_queue}", f"{-number} on {task_queue}"]


async def test_a_query_of_a_closed_workflow(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with worker(env.client, task_queue):
            handle = await env.client.start_workflow(Steps.run, 1, task_queue, id="closed", task_queue=task_queue)
            await handle.signal(Steps.start)
            result = await handle.result()
            assert await handle.query(Steps.so_far) == result
        async with worker(env.client, task_queue, max_cached_workflows=0):
            assert await handle.query(Steps.so_far) == result, "by replay, in a worker that never saw it"
        length = (await handle.describe()).history_length
        assert length == len((await handle.fetch_history()).events), "queries leave no events"


async def test_a_cancel_before_the_first_task(env: WorkflowEnvironment, task_queue: str) -> None:
    handle = await env.client.start_workflow(Sleeps.run, id="early", task_queue=task_queue)
    await handle.cancel(reason="changed my mind")
    with anyio.fail_after(20):
        async with worker(env.client, task_queue):
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED


@pytest.mark.parametrize("has_started", [True, False])
async def test_terminate(env: WorkflowEnvironment, task_queue: str, has_started: bool) -> None:
    with anyio.fail_after(20):
        handle = await env.client.start_workflow(Steps.run, 1, task_queue, id="ended", task_queue=task_queue)
        if not has_started:
            await handle.terminate(reason="enough")
        async with worker(env.client, task_queue):
            if has_started:
                while not await handle.query(Steps.so_far):
                    await anyio.sleep(0.002)
                await handle.terminate(reason="enough")
            with pytest.raises(WorkflowFailureError, match="enough") as caught:
                await handle.result()
            assert isinstance(caught.value.cause, TerminatedError)
            with pytest.raises(RPCError):
                await handle.signal(Steps.start)
            again = await env.client.start_workflow(Steps.run, 2, task_queue, id="ended", task_queue=task_queue)
            await again.signal(Steps.start)
            assert await again.result() == [f"2 on {task_queue}", f"-2 on {task_queue}"]


async def test_a_client_that_closes_under_its_worker(anyio_backend: str, tmp_path: Path, task_queue: str) -> None:
    target = f"sqlite:{tmp_path / 'file.db'}"
    mark = tmp_path / "mark"
    with anyio.fail_after(20):
        client = await Client.connect(target)
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as tg:
                await tg.start(worker(client, task_queue).run)
                handle = await client.start_workflow(Survives.run, str(mark), id="survives", task_queue=task_queue)
                await exists(Path(f"{mark}.1"))
                await client.close()
        assert caught.group_contains(WorkerError, match="end the worker before its client")
        with pytest.raises(RPCError, match="client is closed"):
            await handle.result()
        await goes_on(target, task_queue)


PROGRAM = """
import sys, anyio
from durable_anyio import Client
from tests.workflow.test_live_workers import Survives, worker

async def main(target, task_queue, mark):
    async with Client.connect(target) as client, worker(client, task_queue):
        handle = await client.start_workflow(Survives.run, mark, id="survives", task_queue=task_queue)
        await handle.result()

anyio.run(main, *sys.argv[2:], backend=sys.argv[1])
"""


def start_program(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], cwd=Path(__file__).parents[2])


async def test_a_process_that_is_killed(anyio_backend: str, tmp_path: Path, task_queue: str) -> None:
    target = f"sqlite:{tmp_path / 'file.db'}"
    mark = tmp_path / "mark"
    process = start_program(anyio_backend, target, task_queue, str(mark))
    try:
        await exists(Path(f"{mark}.1"))
    finally:
        process.kill()
        process.wait(20)
    assert process.returncode == -signal.SIGKILL
    with anyio.fail_after(20):
        await goes_on(target, task_queue)


async def goes_on(target: str, task_queue: str) -> None:
    """The file's workflow goes on at once: its activity could have run for an hour, but nobody is left who runs it."""
    async with Client.connect(target) as client, worker(client, task_queue):
        handle = client.get_workflow_handle_for(Survives.run, "survives")
        await handle.signal(Survives.name, "after")
        with anyio.fail_after(5):
            assert await handle.result() == ["attempt 2", "after"]
