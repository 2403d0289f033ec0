"""The measured program on durable_anyio: `python benchmarks/program_durable.py DIRECTORY SECONDS [asyncio|trio]`."""

from __future__ import annotations

import sys
from datetime import timedelta
from uuid import uuid4

from measure import ACTIVITIES, Figures, measure, run_program

from durable_anyio import Client, Worker, activity, workflow

TASK_QUEUE = "benchmark"


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def add_one(number: int) -> int:
    return number + 1


@workflow.defn
class Noop:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


@workflow.defn
class TenActivities:
    @workflow.run
    async def run(self, number: int) -> int:
        for _ in range(ACTIVITIES):
            number = await add_one(number)
        return number


async def ours(directory: str, seconds: float) -> Figures:
    async with (
        Client.connect(f"sqlite:{directory}/benchmark.db") as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Noop, TenActivities], activities=[add_one]),
    ):

        async def noop() -> None:
            assert await client.execute_workflow(Noop.run, 7, id=uuid4().hex, task_queue=TASK_QUEUE) == 7

        async def ten() -> None:
            result = await client.execute_workflow(TenActivities.run, 7, id=uuid4().hex, task_queue=TASK_QUEUE)
            assert result == 7 + ACTIVITIES

        return await measure(noop, ten, seconds)


if __name__ == "__main__":
    run_program(ours, sys.argv[3] if len(sys.argv) > 3 else "asyncio")
