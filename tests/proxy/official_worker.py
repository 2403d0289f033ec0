"""Workers of Temporal's Python SDK in a process of their own, as lines of its input say: {"start": QUEUE, "address": …, "options": {…}} and
{"stop": QUEUE}; each is answered with a line when it is done. Until its input ends."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import timedelta

import official_programs
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


async def start(address: str, queue: str, options: dict) -> Worker:
    official_programs.CHANGED = options.pop("changed", False)
    seconds = {key: timedelta(seconds=options.pop(key)) for key in list(options) if key.endswith(("_interval", "_timeout"))}
    worker = Worker(
        await Client.connect(address),
        task_queue=queue,
        workflows=official_programs.PROGRAMS,
        activities=official_programs.ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        **options,
        **seconds,
    )
    await worker.__aenter__()
    return worker


async def main() -> None:
    workers: dict[str, Worker] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if "start" in order:
            workers[order["start"]] = await start(order["address"], order["start"], order["options"])
        else:
            await workers.pop(order["stop"]).__aexit__(None, None, None)
        print("done", flush=True)


logging.disable()  # what fails here is meant to
asyncio.run(main())
