"""Many workflows that are ready at once leave the host its turns: measured by the processor time of the host's thread."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from durable_anyio import Client, Worker, workflow
from durable_anyio._bridge.turns import Turns
from durable_anyio.testing import WorkflowEnvironment
from durable_anyio.worker import WorkerError

pytestmark = pytest.mark.anyio

WORKFLOWS = 500
# One resumption of a task in these tests takes this long, by the thread's own clock.
RESUMPTION = 0.0005
BUDGET = 0.005
# A slice ends after the resumption during which its time is over. The rest is what may be on top of that once: making an activation's
# objects, encoding its answer, the pump's own work, and the host task.
GRANULARITY = RESUMPTION + 0.010
# On a virtual machine that is short of processors the thread's clock sometimes jumps: the fault must show in each of several rounds.
ROUNDS = 3


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Switches the garbage collector on again after the tests that switch it off."""
    yield
    gc.enable()


# What ran on this thread since the test began: "host", or a workflow's number.
order: list[Any] = []


def spin(seconds: float) -> None:
    """Keeps the processor busy, by the thread's own clock: other processes do not count."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@workflow.defn
class Busy:
    def __init__(self) -> None:
        self.go = anyio.Event()

    @workflow.run
    async def run(self, number: int, resumptions: int) -> None:
        await self.go.wait()
        for _ in range(resumptions):
            order.append(number)
            spin(RESUMPTION)
            await anyio.lowlevel.checkpoint()

    @workflow.signal
    def start(self) -> None:
        self.go.set()


class HostTask:
    """A task of the host that is always ready, and notes how long it had to wait in between."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.turns = 0

    async def run(self) -> None:
        before = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            self.longest = max(self.longest, now - before)
            self.turns += 1
            order.append("host")
            before = time.thread_time()


def slices() -> list[list[int]]:
    """The workflows' resumptions between two turns of the host."""
    found: list[list[int]] = [[]]
    for entry in order:
        if entry == "host":
            found.append([])
        else:
            found[-1].append(entry)
    return [one for one in found if one]


async def run_busy(client: Client, task_queue: str, count: int, resumptions: int, **options: Any) -> HostTask:
    """Runs workflows that are all ready at the same time, beside a host task."""
    host = HostTask()
    starter = Worker(client, task_queue=task_queue, workflows=[Busy], forbidden_calls="off")
    handles = []
    async with starter:
        for number in range(count):
            handles.append(await client.start_workflow(Busy.run, number, resumptions, id=f"{task_queue}-{number}", task_queue=task_queue))
    for handle in handles:
        await handle.signal(Busy.start)
    order.clear()
    budget = timedelta(seconds=BUDGET)
    gc.collect()
    gc.disable()  # a full collection of a test session's objects takes longer than a slice
    async with anyio.create_task_group() as tg:
        tg.start_soon(host.run)
        options = {"max_concurrent_workflow_tasks": count, "step_time_budget": budget, "forbidden_calls": "off", **options}
        async with Worker(client, task_queue=task_queue, workflows=[Busy], **options):
            for handle in handles:
                await handle.result()
        tg.cancel_scope.cancel()
    return host


@pytest.mark.parametrize(("count", "resumptions"), [(WORKFLOWS, 2), (5, 100)], ids=["many", "long"])
async def test_a_host_task_runs_between_any_two_slices(env: WorkflowEnvironment, task_queue: str, count: int, resumptions: int) -> None:
    longest = []
    for round_ in range(ROUNDS):
        with anyio.fail_after(100):
            host = await run_busy(env.client, f"{task_queue}-{round_}", count, resumptions)
        most = max(len(one) for one in slices())
        assert most <= BUDGET / RESUMPTION + 1, f"{most} resumptions without a turn of the host"
        assert sorted(number for one in slices() for number in one) == sorted([*range(count)] * resumptions)
        longest.append(host.longest)
        if longest[-1] <= BUDGET + GRANULARITY:
            return
    raise AssertionError(f"the host had to wait for {longest} seconds of processor time")


async def test_no_budget_means_one_resumption_a_slice(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(60):
        await run_busy(env.client, task_queue, 10, 5, step_time_budget=timedelta(0))
    assert [len(one) for one in slices()] == [1] * 50


@workflow.defn
class Closed:
    """Tells when it is closed."""

    @workflow.run
    async def run(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            order.append(0)

    @workflow.query
    def is_loaded(self) -> bool:
        return True


async def test_runs_are_closed_in_slices_too(anyio_backend: str, task_queue: str) -> None:
    count = 20
    order.clear()
    with anyio.fail_after(60), pytest.raises(ExceptionGroup) as caught:
        client = await Client.connect("sqlite::memory:")
        async with anyio.create_task_group() as service:
            worker = Worker(client, task_queue=task_queue, workflows=[Closed], step_time_budget=timedelta(0))
            for number in range(count):
                await client.start_workflow(Closed.run, id=f"c{number}", task_queue=task_queue)
            await service.start(worker.run)
            for number in range(count):
                assert await client.get_workflow_handle_for(Closed.run, f"c{number}").query(Closed.is_loaded)
            service.start_soon(HostTask().run)
            await client.close()  # under the worker, whose core can no longer tell it to forget one run after another
            await anyio.sleep_forever()
    assert caught.group_contains(WorkerError)
    assert [len(one) for one in slices()] == [1] * count


def test_a_budget_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="step_time_budget must not be negative"):
        Worker(None, task_queue="q", workflows=[Busy], step_time_budget=timedelta(seconds=-1))  # type: ignore[arg-type]


def test_turns_share_the_time_of_a_slice() -> None:
    turns = Turns()
    done: list[str] = []

    def work(name: str, slices: int) -> Any:
        left = [slices]

        def advance(seconds: float) -> bool:
            done.append(name)
            left[0] -= 1
            time.sleep(max(seconds, 0))
            return not left[0]

        return advance

    turns.add(work("long", 3), 0.001)
    turns.add(work("short", 1), 0.001)
    seen = []
    while turns:
        turns.run_slice()
        seen.append("".join(name[0] for name in done))
        done.clear()
    assert seen == ["l", "s", "l", "l"]
