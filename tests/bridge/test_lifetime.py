"""Opening and closing at every moment: nothing hangs, nothing aborts, no thread is left."""

from __future__ import annotations

import gc
import os
import random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from durable_anyio._bridge import proto
from durable_anyio._bridge.core import Core
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .conftest import rust_threads

pytestmark = pytest.mark.anyio

TIMES = 200


def request(name: str, **fields: Any) -> Any:
    return proto.message(f"temporal.api.workflowservice.v1.{name}Request")(**fields)


def poll() -> Any:
    """A call that is answered only when somebody starts a workflow: never."""
    made = request("PollWorkflowTaskQueue", namespace="default", identity="tester")
    made.task_queue.name = "nobody"
    return made


async def connected() -> Core:
    core = await Core.open()
    await core.connect("sqlite::memory:", identity="tester")
    return core


async def test_open_and_close_with_a_cancellation_anywhere() -> None:
    chance = random.Random(3)
    for _ in range(TIMES):
        core = await Core.open()
        try:
            with anyio.move_on_after(chance.random() * 0.004):
                await core.connect("sqlite::memory:")
                async with anyio.create_task_group() as group:
                    group.start_soon(core.call, "PollWorkflowTaskQueue", poll())
                    await core.call("GetSystemInfo", request("GetSystemInfo"))
        finally:
            await core.close()
    assert rust_threads() == 0


async def test_a_cancelled_call_is_given_up_and_the_next_is_answered() -> None:
    core = await connected()
    for _ in range(20):
        with anyio.move_on_after(0.001) as scope:
            await core.call("PollWorkflowTaskQueue", poll())
        assert scope.cancelled_caught
    answer = await core.call("GetSystemInfo", request("GetSystemInfo"))
    assert answer.DESCRIPTOR.name == "GetSystemInfoResponse"
    await core.close()


async def test_a_call_with_a_timeout_ends() -> None:
    core = await connected()
    with pytest.raises(RPCError) as caught:
        await core.call("PollWorkflowTaskQueue", poll(), timeout=0.01)
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED
    await core.close()


async def test_closing_ends_what_waits() -> None:
    core = await connected()
    ended: list[RPCStatusCode] = []

    async def wait() -> None:
        try:
            await core.call("PollWorkflowTaskQueue", poll())
        except RPCError as error:
            ended.append(error.status)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await core.close()
    assert ended == [RPCStatusCode.CANCELLED] * 3
    await core.close()
    with pytest.raises(RPCError, match="closed"):
        await core.call("GetSystemInfo", request("GetSystemInfo"))


async def test_calls_at_the_same_time() -> None:
    core = await connected()
    done = 0

    async def call() -> None:
        nonlocal done
        await core.call("GetSystemInfo", request("GetSystemInfo"))
        done += 1

    async with anyio.create_task_group() as group:
        for _ in range(600):  # more than one drain takes
            group.start_soon(call)
    assert done == 600
    await core.close()


async def test_a_core_that_nobody_closes_is_reported() -> None:
    core = await Core.open()
    core._pump.cancel()
    await core._pump.wait()
    del core
    with pytest.warns(ResourceWarning, match="never closed"):
        gc.collect()  # a core and its pump hold each other


@pytest.mark.parametrize("target", ["", "nonsense", "sqlite:", "host:0", "http://host:1"])
async def test_a_bad_target_is_refused_with_a_hint(target: str) -> None:
    core = await Core.open()
    with pytest.raises(RPCError, match="hint") as caught:
        await core.connect(target)
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    await core.connect("sqlite::memory:")  # another attempt is welcome
    await core.close()


async def test_a_second_connection_is_refused() -> None:
    core = await connected()
    with pytest.raises(RPCError, match="already"):
        await core.connect("sqlite::memory:")
    await core.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads is what is tested
async def test_a_forked_process_is_told() -> None:
    core = await connected()
    child = os.fork()
    if child == 0:  # the parent looks at how it ended
        try:
            core._check_process()
        except RuntimeError as error:
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(2)
    _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - the child ends at once
    assert os.waitstatus_to_exitcode(status) == 7
    await core.call("GetSystemInfo", request("GetSystemInfo"))
    await core.close()
