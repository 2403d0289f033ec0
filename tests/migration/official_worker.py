"""A worker of Temporal's Python SDK, in a process of its own: `official_worker.py ADDRESS QUEUE`, until its input ends."""

from __future__ import annotations

import asyncio
import sys

from official_programs import ACTIVITIES, PROGRAMS
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=queue,
        workflows=PROGRAMS,
        activities=ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        identity="official",
    )
    async with worker:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
