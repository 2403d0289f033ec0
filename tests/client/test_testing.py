"""Activities run by themselves in an `ActivityEnvironment`."""

from __future__ import annotations

import dataclasses

import anyio
import pytest

from durable_anyio import activity
from durable_anyio.exceptions import CancelledError
from durable_anyio.testing import ActivityEnvironment

pytestmark = pytest.mark.anyio


@activity.defn
async def waits(event: str) -> str:
    activity.heartbeat(event, activity.info().attempt)
    await anyio.sleep_forever()
    return event


@activity.defn
def adds(a: int, b: int) -> int:
    activity.heartbeat(a)
    return a + b + activity.info().attempt


async def test_a_plain_function_runs_in_a_thread_with_its_context() -> None:
    environment = ActivityEnvironment(info=dataclasses.replace(ActivityEnvironment().info, attempt=10))
    assert await environment.run(adds.fn, 1, 2) == 13
    assert environment.heartbeats == [(1,)]
    assert not activity.in_activity()


async def test_an_async_activity_is_cancelled() -> None:
    environment = ActivityEnvironment()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with pytest.raises(CancelledError):
                await environment.run(waits, "e")

        group.start_soon(run)
        while not environment.heartbeats:
            await anyio.lowlevel.checkpoint()
        environment.cancel()
    assert environment.heartbeats == [("e", 1)]
