"""A service whose clock is not ours, or jumps: workflows see time that never goes back, and nothing runs early, twice or never."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Client, Replayer, Worker, activity, workflow

from .altering import AlteringProxy
from .conftest import SERVER
from .workflows import TASK_TIMEOUT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]
POLL, POLL_ACTIVITY = "PollWorkflowTaskQueue", "PollActivityTaskQueue"
DAY = 24 * 3600


@activity.defn(start_to_close_timeout=timedelta(seconds=20), heartbeat_timeout=timedelta(seconds=10))
async def beat(number: int) -> int:
    activity.heartbeat(number)
    return number


def add(number: int) -> int:
    return number + 1


@workflow.defn
class Clockwork:
    """Looks at the clock between a timer, an activity, a local activity and a timeout that must not fire."""

    @workflow.run
    async def run(self) -> list[float]:
        times = [anyio.current_time()]
        wall = [workflow.now()]
        for step in range(3):
            await anyio.sleep(0.05)
            times.append(anyio.current_time())
            wall.append(workflow.now())
            with anyio.fail_after(3600):
                assert await beat(step) == step
            times.append(anyio.current_time())
            wall.append(workflow.now())
            with anyio.fail_after(3600):
                assert await workflow.step(add, step) == step + 1
            times.append(anyio.current_time())
            wall.append(workflow.now())
        assert wall == sorted(wall), wall
        return times


def shifted(messages: Any, seconds: float) -> None:
    """Moves every timestamp in a message."""
    for field, value in messages.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for one in value if field.is_repeated else [value]:
            if field.message_type.full_name == "google.protobuf.Timestamp":
                one.FromNanoseconds(one.ToNanoseconds() + int(seconds * 1e9))
            else:
                shifted(one, seconds)


async def run_on(client: Client, unique: str, cached: int) -> tuple[list[float], Any]:
    with anyio.fail_after(60):
        async with Worker(client, task_queue=f"q-{unique}", workflows=[Clockwork], activities=[beat], max_cached_workflows=cached):
            handle = await client.start_workflow(
                Clockwork.run, id=f"clock-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT * 5
            )
            times = await handle.result()
            return times, await handle.fetch_history()


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
@pytest.mark.parametrize("seconds", [-DAY, DAY], ids=["a day behind", "a day ahead"])
async def test_a_service_with_another_date(proxy: AlteringProxy, client: Client, unique: str, seconds: float, cached: int) -> None:
    for method in (POLL, POLL_ACTIVITY, "GetWorkflowExecutionHistory", "RespondWorkflowTaskCompleted"):
        proxy.alter(method, lambda _, answer: shifted(answer, seconds))
    times, history = await run_on(client, unique, cached)
    assert times == sorted(times)
    assert times[-1] < 60
    Replayer(workflows=[Clockwork]).replay(history)
    kinds = [event.event_type for event in history.events]
    assert kinds.count(10) == 3, "each activity was scheduled once"


async def test_a_clock_that_goes_back(proxy: AlteringProxy, client: Client, unique: str) -> None:
    """The events of each later task seem to be older than those before."""
    tasks: list[int] = []

    def earlier(_request: Any, task: Any) -> None:
        if task.task_token:
            tasks.append(len(task.history.events))
            for event in task.history.events:
                shifted(event, -30 * event.event_id)

    proxy.alter(POLL, earlier)
    times, history = await run_on(client, unique, 1000)
    assert len(tasks) > 3
    assert times == sorted(times)
    Replayer(workflows=[Clockwork]).replay(history)


async def test_a_history_whose_times_go_back(client: Client, unique: str) -> None:
    """Replayed where each event is older than the one before: the same commands, and time that stands still."""
    _, history = await run_on(client, unique, 1000)
    for event in history.events:
        shifted(event, -10 * event.event_id)
    Replayer(workflows=[Clockwork]).replay(history)
