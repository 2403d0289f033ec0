"""The worker of Temporal's Python SDK, without its sandbox, for `worker_cost.py`: `cost_official.py ADDRESS QUEUE`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

SOON = timedelta(seconds=60)
noted = 0


@activity.defn
async def note(number: int) -> int:
    global noted
    noted += 1
    return number


@workflow.defn
class Cost:
    """Activities in sequence, then perhaps a wait for a signal."""

    def __init__(self) -> None:
        self.released = False

    @workflow.run
    async def run(self, activities: int, waits: bool) -> int:
        total = 0
        for number in range(activities):
            total += await workflow.execute_activity(note, number, start_to_close_timeout=SOON)
        if waits:
            await workflow.wait_condition(lambda: self.released)
        return total

    @workflow.signal
    def go(self) -> None:
        self.released = True


def resident_kib() -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def read(path: str) -> WorkflowHistory:
    with open(path, encoding="utf-8") as file:
        return WorkflowHistory.from_json("benchmark", file.read())


async def replay(path: str) -> float:
    history = read(path)
    replayer = Replayer(workflows=[Cost], workflow_runner=UnsandboxedWorkflowRunner())
    begin = time.process_time()
    await replayer.replay_workflow(history)
    return time.process_time() - begin


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Cost],
        activities=[note],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=5_000,
    )
    async with worker:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            word, *rest = line.split()
            if word == "replay":
                print(json.dumps({"replay_s": await replay(*rest)}), flush=True)
                continue
            gc.collect()
            print(json.dumps({"cpu_s": time.process_time(), "resident_kib": resident_kib(), "noted": noted}), flush=True)


asyncio.run(main(*sys.argv[1:]))
