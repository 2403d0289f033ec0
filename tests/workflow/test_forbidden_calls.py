"""Forbidden calls through the whole stack: test environments end with the error, production looks for nothing, replays look on demand."""

from __future__ import annotations

import time
from typing import Any, Literal

import anyio
import pytest

from durable_anyio import Replayer, Worker, WorkflowHistory, workflow
from durable_anyio.exceptions import ForbiddenCallError, NondeterminismError, WorkflowQueryFailedError
from durable_anyio.testing import WorkflowEnvironment

from .activations import Driver

pytestmark = pytest.mark.anyio


@workflow.defn
class Looks:
    """Looks at the host's clock, in the way that it is told."""

    @workflow.run
    async def run(self, how: str) -> bool:
        self.ready = True
        if how == "swallows":
            try:
                time.time()
            except Exception:
                await anyio.sleep(1)
            return True
        if how == "asks":
            await workflow.wait_condition(lambda: not self.ready)
        if how == "unsafe":
            return workflow.unsafe.call(time.time) > 0
        return time.time() > 0

    @workflow.query
    def clock(self) -> float:
        return time.time()

    @workflow.signal
    def go(self) -> None:
        self.ready = False


@workflow.defn
class LooksAtOnce:
    def __init__(self) -> None:
        self.made = time.time()

    @workflow.run
    async def run(self) -> None: ...


@pytest.mark.parametrize("how", ["plainly", "swallows"])
async def test_a_test_environment_ends_with_the_error(env: WorkflowEnvironment, task_queue: str, how: str) -> None:
    with pytest.raises(ForbiddenCallError, match=r"time\.time\(\) is not possible inside a workflow: use workflow\.now\(\)") as caught:
        async with Worker(env.client, task_queue=task_queue, workflows=[Looks]):
            await env.client.execute_workflow(Looks.run, how, id="looks", task_queue=task_queue)
    assert caught.value.call == "time.time"
    assert str(caught.value.location).startswith(__file__)


async def test_the_constructor_is_watched(env: WorkflowEnvironment, task_queue: str) -> None:
    with pytest.raises(ForbiddenCallError, match=r"LooksAtOnce\.__init__"):
        async with Worker(env.client, task_queue=task_queue, workflows=[LooksAtOnce]):
            await env.client.execute_workflow(LooksAtOnce.run, id="looks", task_queue=task_queue)


async def test_suspend_keeps_the_worker(env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Looks], forbidden_calls="suspend"):
        handle = await env.client.start_workflow(Looks.run, "plainly", id="looks", task_queue=task_queue)
        with anyio.fail_after(30):
            while "time.time() is not possible" not in caplog.text:
                await anyio.lowlevel.checkpoint()
        await handle.terminate()


@pytest.mark.parametrize("options", [{"forbidden_calls": "off"}, {"exempt_modules": [__name__]}], ids=["off", "exempt"])
async def test_a_worker_may_be_told_otherwise(env: WorkflowEnvironment, task_queue: str, options: dict[str, Any]) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Looks], **options):
        assert await env.client.execute_workflow(Looks.run, "plainly", id="looks", task_queue=task_queue)


async def test_an_environment_may_be_told_otherwise() -> None:
    async with WorkflowEnvironment.time_skipping(forbidden_calls="off") as env, Worker(env.client, task_queue="q", workflows=[Looks]):
        assert await env.client.execute_workflow(Looks.run, "plainly", id="looks", task_queue="q")
    async with (
        WorkflowEnvironment.local(exempt_modules=[__name__]) as env,
        Worker(env.client, task_queue="q", workflows=[Looks]),
    ):
        assert await env.client.execute_workflow(Looks.run, "plainly", id="looks", task_queue="q")


async def test_an_unsafe_call_passes(env: WorkflowEnvironment, task_queue: str) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Looks]):
        assert await env.client.execute_workflow(Looks.run, "unsafe", id="looks", task_queue=task_queue)


async def test_a_query_fails_alone(env: WorkflowEnvironment, task_queue: str) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Looks], exempt_modules=["nobody"]):
        handle = await env.client.start_workflow(Looks.run, "asks", id="looks", task_queue=task_queue)
        with pytest.raises(WorkflowQueryFailedError, match=r"time\.time"):
            await handle.query(Looks.clock)
        await handle.terminate()


async def test_a_replay_looks_when_it_is_asked_to(env: WorkflowEnvironment, task_queue: str) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Looks], forbidden_calls="off"):
        handle = await env.client.start_workflow(Looks.run, "plainly", id="looks", task_queue=task_queue)
        assert await handle.result()
        history: WorkflowHistory = await handle.fetch_history()
    Replayer(workflows=[Looks]).replay(history)
    with pytest.raises(NondeterminismError, match=r"time\.time"):
        Replayer(workflows=[Looks], forbidden_calls="raise").replay(history)
    Replayer(workflows=[Looks], forbidden_calls="raise", exempt_modules=[__name__]).replay(history)


def test_production_looks_for_nothing() -> None:
    driver = Driver(Looks, "plainly")
    assert driver.start()
    assert driver.instance.scheduler.guard is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"forbidden_calls": "error"}, r"must be one of 'off', 'suspend', 'raise', not 'error'"),
        ({"forbidden_calls": "raise", "exempt_modules": "json"}, r"takes a list of module names, not the text 'json'"),
        ({"forbidden_calls": "raise", "exempt_modules": ["a b"]}, r"names of modules, such as 'package.module', not 'a b'"),
    ],
)
def test_options_that_make_no_sense(options: dict[Literal["forbidden_calls", "exempt_modules"], Any], error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        Replayer(workflows=[Looks], **options)
