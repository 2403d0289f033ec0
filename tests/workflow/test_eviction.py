"""Hundreds of cached runs are evicted, shut down and cancelled: no command and no log line of a `finally`, and nothing stays in memory."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from durable_anyio import Client, Worker, activity, workflow
from durable_anyio.client import WorkflowHandle
from durable_anyio.exceptions import WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

RUNS = 800
# Queries at a time: as many replays wait in Rust, and not all of them.
AT_ONCE = 50
# What a process may keep on its own account: a cache of the interpreter that grows, a page that is half used. An idle run has a hundred
# objects and 10 KiB in Python alone.
OBJECTS_KEPT = 200
BYTES_KEPT_A_RUN = 4 * 1024


@activity.defn(start_to_close_timeout=timedelta(seconds=1))
async def clean_up() -> None:
    """Never scheduled: only closing code asks for it."""


@workflow.defn
class Waits:
    """Waits in three tasks, and does in its `finally` blocks what a closed run must not do."""

    def __init__(self) -> None:
        self.event = anyio.Event()

    @workflow.run
    async def run(self, swallows: bool) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(self.child)
            tg.start_soon(self.child)
            while swallows:
                with suppress(BaseException):
                    await anyio.sleep_forever()
            with anyio.move_on_after(3600):
                await self.event.wait()

    async def child(self) -> None:
        try:
            await self.event.wait()
        finally:
            workflow.logger.error("from a finally block")
            workflow.start_activity(clean_up)
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
                await clean_up()

    @workflow.query
    def is_loaded(self) -> bool:
        return True


Handles = Sequence[WorkflowHandle[Any, Any]]


async def start(client: Client, task_queue: str, count: int, *, swallowing: int) -> Handles:
    async with Worker(client, task_queue=task_queue, workflows=[Waits], max_cached_workflows=count, forbidden_calls="off"):
        return [
            await client.start_workflow(Waits.run, number < swallowing, id=f"{task_queue}-{number}", task_queue=task_queue)
            for number in range(count)
        ]


async def load(handles: Handles) -> None:
    """Brings every run into the worker's cache."""
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(handle: WorkflowHandle[Any, Any]) -> None:
        async with limiter:
            assert await handle.query(Waits.is_loaded)

    async with anyio.create_task_group() as tg:
        for handle in handles:
            tg.start_soon(one, handle)


async def round_of(client: Client, task_queue: str, handles: Handles, how: str) -> None:
    """Loads every run into a new worker, which then ends."""
    cached = len(handles) // 20 if how == "evicted" else len(handles)
    with anyio.CancelScope() as scope:
        async with Worker(client, task_queue=task_queue, workflows=[Waits], max_cached_workflows=cached, forbidden_calls="off"):
            await load(handles)
            if how == "cancelled":
                scope.cancel()
                await anyio.sleep_forever()


def rust_threads() -> int:
    """How many threads the process has that are not Python's."""
    tasks = Path("/proc/self/task")
    python = {thread.native_id for thread in threading.enumerate()}
    return len({int(task) for task in os.listdir(tasks)} - python) if tasks.exists() else 0


FIELDS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


class Allocated(ctypes.Structure):
    """What glibc says of its memory: `struct mallinfo2`."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def allocated_bytes() -> int:
    """What is in use outside of Python's own objects, in all threads. The resident set says less: it also has what the allocator keeps of
    what was freed, which is the more the busier the machine is."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        pytest.skip("the system does not say how much memory is in use")
    ask.restype = Allocated
    told = ask()
    return int(told.uordblks + told.hblkhd)


OWN_EVENTS = {"workflow_execution_started 1", "timer_started 1", "timer_fired 1"}


async def kinds(handles: Handles) -> set[str]:
    """Which events the runs have and how many of each, workflow tasks left out."""
    found: set[str] = set()
    for handle in handles:
        events = (await handle.fetch_history()).events
        counts = Counter(str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in events)
        found.update(f"{kind} {count}" for kind, count in counts.items() if not kind.startswith("workflow_task"))
    return found


async def test_hundreds_of_runs_leave_nothing_behind(env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "durable_anyio")  # pytest keeps what is logged
    with anyio.fail_after(110):
        handles = await start(env.client, task_queue, RUNS, swallowing=RUNS // 100)
        await round_of(env.client, task_queue, handles, "evicted")  # what is made once is made now
        gc.collect()
        # Not how many there are: idle threads of earlier tests end meanwhile.
        python, rust = set(threading.enumerate()), rust_threads()
        objects = len(gc.get_objects())
        for _ in range(4):  # a cache may still be finding its size; a leak grows in every round
            kept = allocated_bytes()
            for how in ("cancelled", "shut down"):
                await round_of(env.client, task_queue, handles, how)
            gc.collect()
            assert len(gc.get_objects()) - objects <= OBJECTS_KEPT
            grown = (allocated_bytes() - kept) / RUNS
            if grown <= BYTES_KEPT_A_RUN:
                break
        assert grown <= BYTES_KEPT_A_RUN
        assert not set(threading.enumerate()) - python
        # A thread of the runtime may have gone to sleep, or be about to; a leak would add one for each worker at least.
        assert rust_threads() <= rust + 1
        # Virtual time goes on while queries wait, so that the deadline may have passed.
        assert await kinds(handles[:100]) <= OWN_EVENTS, "closing a run made commands"


async def test_what_closing_code_does_is_neither_done_nor_logged(
    env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(60):
        handles = await start(env.client, task_queue, 30, swallowing=3)
        for how in ("shut down", "evicted", "cancelled"):
            await round_of(env.client, task_queue, handles, how)
        assert "does not end: it swallows GeneratorExit" in caplog.text
        assert "finally" not in caplog.text
        for handle in handles:
            kinds = {event.WhichOneof("attributes") for event in (await handle.fetch_history()).events}
            assert "activity_task_scheduled_event_attributes" not in kinds
        async with Worker(env.client, task_queue=task_queue, workflows=[Waits], activities=[clean_up]):
            await handles[-1].cancel()
            with pytest.raises(WorkflowFailureError):
                await handles[-1].result()
        assert "from a finally block" in caplog.text, "and when the workflow itself leaves the block, it is"


def blocks_by_line() -> Counter[tuple[str, int]]:
    """How many blocks of memory each line of code has allocated that are still in use."""
    gc.collect()
    # The interpreter's cache of attributes keeps the name it was asked for, here one made anew for each payload, until the slot is needed.
    getattr(sys, "_clear_internal_caches", sys._clear_type_cache)()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, __file__)])  # not the counts themselves
    statistics = snapshot.statistics("lineno")
    return Counter({(line.traceback[0].filename, line.traceback[0].lineno): line.count for line in statistics})


async def test_memory_by_line(env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture) -> None:
    """No line keeps something of every run. Blocks are counted and not bytes: one block may grow much on an occasion, many have a cause."""
    caplog.set_level(logging.CRITICAL, "durable_anyio")
    runs = 200
    with anyio.fail_after(110):
        handles = await start(env.client, task_queue, runs, swallowing=2)
        await round_of(env.client, task_queue, handles, "shut down")
        tracemalloc.start()
        try:
            kept = [blocks_by_line()]
            for _ in range(2):
                for how in ("shut down", "evicted", "cancelled"):
                    await round_of(env.client, task_queue, handles, how)
                kept.append(blocks_by_line())
        finally:
            tracemalloc.stop()
        # The first rounds fill caches; what the second ones add as well is a leak.
        growing = {line: count for line, count in (kept[2] - kept[1]).items() if count >= runs // 4}
        assert not growing
