"""A real service that goes away in the middle of workflows and comes back: everything ends once, with the right result."""

from __future__ import annotations

import logging
import os
from datetime import timedelta

import anyio
import pytest

from durable_anyio import Client, Worker, activity, workflow

from .proxy import proxy
from .test_retries import eventually, link_lines

SERVER = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]
# Shorter than a workflow task's timeout, so that the run does not depend on when the cut falls.
OUTAGE_SECONDS = float(os.environ.get("DURABLE_ANYIO_TEST_OUTAGE_SECONDS", "1.5"))
WORKFLOWS = 10

started = 0
go_on: anyio.Event


@activity.defn(start_to_close_timeout=timedelta(minutes=5))
async def wait_and_double(number: int) -> int:
    global started
    started += 1
    await go_on.wait()
    return number * 2


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, number: int) -> int:
        doubled = await wait_and_double(number)
        await anyio.sleep(0.01)
        return doubled + await wait_and_double(number)


@pytest.mark.timeout(OUTAGE_SECONDS + 120)
async def test_workflows_go_on_after_an_outage(task_queue: str, caplog: pytest.LogCaptureFixture) -> None:
    global started, go_on
    started, go_on = 0, anyio.Event()
    caplog.set_level(logging.INFO)
    async with (
        proxy(SERVER) as between,
        Client.connect(between.target) as client,
        Worker(client, task_queue=task_queue, workflows=[Doubles], activities=[wait_and_double]),
    ):
        results: dict[int, int] = {}

        async def execute(number: int) -> None:
            results[number] = await client.execute_workflow(Doubles.run, number, id=f"{task_queue}-{number}", task_queue=task_queue)

        with anyio.fail_after(OUTAGE_SECONDS + 90):
            async with anyio.create_task_group() as tasks:
                for number in range(WORKFLOWS):
                    tasks.start_soon(execute, number)
                await eventually(lambda: started == WORKFLOWS)
                await between.cut()
                go_on.set()  # the activities' results meet the outage
                await eventually(lambda: "lost" in link_lines(caplog))
                await anyio.sleep(OUTAGE_SECONDS)
                await between.restore()
        assert results == {number: number * 4 for number in range(WORKFLOWS)}
        assert started == 2 * WORKFLOWS  # no activity ran again: its result was kept
        assert link_lines(caplog) == ["lost", "back"], caplog.text
