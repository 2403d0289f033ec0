"""What a service knows of the workers themselves: who they are, how much they have to do, how they go."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.to_thread
import pytest

from durable_anyio import Client, Worker, activity, workflow
from durable_anyio.exceptions import ActivityError, ApplicationError, RPCError, RPCStatusCode

from .conftest import SERVER

pytestmark = pytest.mark.anyio

COMMAND = os.environ.get("DURABLE_ANYIO_TEMPORAL") or shutil.which("temporal")
SECOND = timedelta(seconds=1)
# Heartbeats come each second; a busy machine may need many.
PATIENCE = 60


@workflow.defn
class Holding:
    """Runs an activity that ends when it is told, and another that fails."""

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.execute_activity("fail", start_to_close_timeout=timedelta(minutes=1))
        except ActivityError:
            await workflow.execute_activity("hold", start_to_close_timeout=timedelta(minutes=2))


class Activities:
    def __init__(self) -> None:
        self.started = anyio.Event()
        self.go = anyio.Event()

    @activity.defn
    async def hold(self) -> None:
        self.started.set()
        await self.go.wait()

    @activity.defn
    async def fail(self) -> None:
        raise ApplicationError("so be it", non_retryable=True)


async def listed(client: Client, task_queue: str) -> list[Any]:
    request = client.service.request("ListWorkers", namespace=client.namespace, query=f"TaskQueue = '{task_queue}'")
    return list((await client.service.call("ListWorkers", request)).workers)


async def described(client: Client, key: str) -> Any:
    request = client.service.request("DescribeWorker", namespace=client.namespace, worker_instance_key=key)
    return (await client.service.call("DescribeWorker", request)).worker_info.worker_heartbeat


async def the_worker(client: Client, task_queue: str) -> str:
    """The key of the only worker of the queue, once the service has heard of it."""
    with anyio.fail_after(PATIENCE):
        while True:
            match await listed(client, task_queue):
                case []:
                    await anyio.sleep(0.05)
                case [worker]:
                    return str(worker.worker_instance_key)
                case several:
                    raise AssertionError(several)


async def once(client: Client, key: str, is_so: Callable[[Any], bool]) -> Any:
    """What the worker says of itself once it says this."""
    heartbeat = None
    try:
        with anyio.fail_after(PATIENCE):
            while not is_so(heartbeat := await described(client, key)):
                await anyio.sleep(0.05)
            return heartbeat
    except TimeoutError:
        raise AssertionError(f"never so:\n{heartbeat}") from None


async def test_a_worker_tells_what_it_is_and_does(client: Client, unique: str) -> None:
    activities = Activities()
    worker = Worker(
        client,
        task_queue=f"beats-{unique}",
        workflows=[Holding],
        activities=[activities.hold, activities.fail],
        max_concurrent_workflow_tasks=7,
        max_concurrent_activities=3,
        max_concurrent_local_activities=9,
        max_concurrent_workflow_task_polls=4,
        max_concurrent_activity_task_polls=2,
        disable_eager_activity_execution=True,
        identity=f"me-{unique}",
        worker_heartbeat_interval=SECOND,
    )
    async with worker:
        handle = await client.start_workflow(Holding.run, id=f"beats-{unique}", task_queue=worker.task_queue)
        await activities.started.wait()
        key = await the_worker(client, worker.task_queue)
        # The task that scheduled the activity may not have been counted when that began.
        heartbeat = await once(
            client,
            key,
            lambda h: h.activity_task_slots_info.current_used_slots == 1 and h.workflow_task_slots_info.total_processed_tasks >= 2,
        )
        status = heartbeat.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[heartbeat.status].name
        assert status == "WORKER_STATUS_RUNNING"
        assert (heartbeat.worker_identity, heartbeat.task_queue, heartbeat.sdk_name) == (f"me-{unique}", worker.task_queue, "durable-anyio")
        assert (heartbeat.host_info.host_name, heartbeat.host_info.process_id) == (socket.gethostname(), str(os.getpid()))
        assert heartbeat.host_info.worker_grouping_key
        assert heartbeat.environment.runtimes[0].version == platform.python_version()
        slots = heartbeat.activity_task_slots_info
        assert (slots.current_available_slots, slots.total_processed_tasks, slots.total_failed_tasks) == (2, 1, 1)
        assert slots.slot_supplier_kind == "Fixed"
        tasks = heartbeat.workflow_task_slots_info
        assert (tasks.current_available_slots, tasks.current_used_slots, tasks.total_failed_tasks) == (7, 0, 0)
        assert heartbeat.local_activity_slots_info.current_available_slots == 9
        polls = (heartbeat.workflow_poller_info, heartbeat.workflow_sticky_poller_info)
        assert [poll.current_pollers for poll in polls] == [2, 2]
        assert heartbeat.activity_poller_info.current_pollers == 2
        assert heartbeat.activity_poller_info.last_successful_poll_time.seconds
        assert (heartbeat.current_sticky_cache_size, heartbeat.total_sticky_cache_miss) == (1, 0)
        assert heartbeat.total_sticky_cache_hit >= 1
        later = await once(client, key, lambda h: h.heartbeat_time.seconds > heartbeat.heartbeat_time.seconds)
        assert later.elapsed_since_last_heartbeat.ToTimedelta() >= timedelta(milliseconds=500)
        activities.go.set()
        await handle.result()


async def test_a_worker_that_stops_is_seen_to_stop_and_then_no_more(client: Client, unique: str) -> None:
    activities = Activities()
    worker = Worker(
        client,
        task_queue=f"beats-{unique}",
        workflows=[Holding],
        activities=[activities.hold, activities.fail],
        graceful_shutdown_timeout=timedelta(seconds=PATIENCE),
        worker_heartbeat_interval=SECOND,
    )
    async with anyio.create_task_group() as group:
        await group.start(worker.run)
        await client.start_workflow(Holding.run, id=f"beats-{unique}", task_queue=worker.task_queue)
        await activities.started.wait()
        key = await the_worker(client, worker.task_queue)
        group.start_soon(worker.shutdown)
        stopping = await once(client, key, lambda h: h.status == 2)
        assert stopping.activity_task_slots_info.current_used_slots == 1
        activities.go.set()
    assert await listed(client, worker.task_queue) == []
    with pytest.raises(RPCError) as refused:
        await described(client, key)
    assert refused.value.status == RPCStatusCode.NOT_FOUND


async def test_a_worker_may_keep_to_itself(client: Client, unique: str) -> None:
    activities = Activities()
    queues = [f"silent-{unique}", f"telling-{unique}"]
    silent = Worker(client, task_queue=queues[0], activities=[activities.hold], worker_heartbeat_interval=None)
    telling = Worker(client, task_queue=queues[1], activities=[activities.hold])
    async with silent, telling:
        key = await the_worker(client, queues[1])
        heartbeat = await described(client, key)
        assert not heartbeat.HasField("workflow_task_slots_info")
        assert heartbeat.activity_task_slots_info.current_available_slots == 100
        assert await listed(client, queues[0]) == []


async def test_lists_of_workers_have_pages_and_can_be_counted(client: Client, unique: str) -> None:
    queue = f"paged-{unique}"
    activities = Activities()
    query = f"TaskQueue = '{queue}' AND Status = 'Running'"
    async with anyio.create_task_group() as group:
        workers = [Worker(client, task_queue=queue, activities=[activities.hold]) for _ in range(3)]
        for worker in workers:
            await group.start(worker.run)
        with anyio.fail_after(PATIENCE):
            while len(await listed(client, queue)) < 3:
                await anyio.sleep(0.05)
        count = client.service.request("CountWorkers", namespace=client.namespace, query=query)
        assert (await client.service.call("CountWorkers", count)).count == 3
        page = client.service.request("ListWorkers", namespace=client.namespace, query=query, page_size=2)
        first = await client.service.call("ListWorkers", page)
        page.next_page_token = first.next_page_token
        second = await client.service.call("ListWorkers", page)
        keys = [worker.worker_instance_key for worker in [*first.workers, *second.workers]]
        assert (len(first.workers), len(second.workers), second.next_page_token) == (2, 1, b"")
        assert keys == sorted(set(keys))
        for worker in workers:
            group.start_soon(worker.shutdown)


@pytest.mark.skipif(not SERVER or not COMMAND, reason="needs a real server and the temporal command")
async def test_the_command_shows_the_worker(unique: str) -> None:
    async with Client.connect(SERVER) as client:
        activities = Activities()
        async with Worker(client, task_queue=f"shown-{unique}", activities=[activities.hold], identity=f"me-{unique}"):
            key = await the_worker(client, f"shown-{unique}")
            command = [str(COMMAND), "worker", "describe", "--worker-instance-key", key, "--address", SERVER]
            shown = await anyio.to_thread.run_sync(
                lambda: subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
            )
            assert f"me-{unique}" in shown.stdout
            assert "Running" in shown.stdout
