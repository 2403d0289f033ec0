"""This package's worker for `worker_cost.py`: `cost_durable.py ADDRESS QUEUE`, asked and answering line by line."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from datetime import timedelta

from durable_anyio import Client, Replayer, Worker, WorkflowHistory, activity, workflow

SOON = timedelta(seconds=60)
noted = 0


@activity.defn(start_to_close_timeout=SOON)
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
            total += await note(number)
        if waits:
            await workflow.wait_condition(lambda: self.released)
        return total

    @workflow.signal
    def go(self) -> None:
        self.released = True


def resident_kib() -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def replay(path: str) -> float:
    with open(path, encoding="utf-8") as file:
        history = WorkflowHistory.from_json(file.read())
    replayer = Replayer(workflows=[Cost])
    begin = time.process_time()
    replayer.replay(history)
    return time.process_time() - begin


async def main(address: str, queue: str) -> None:
    async with (
        Client.connect(address) as client,
        Worker(client, task_queue=queue, workflows=[Cost], activities=[note], max_cached_workflows=5_000),
    ):
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            word, *rest = line.split()
            if word == "replay":
                print(json.dumps({"replay_s": replay(*rest)}), flush=True)
                continue
            gc.collect()
            print(json.dumps({"cpu_s": time.process_time(), "resident_kib": resident_kib(), "noted": noted}), flush=True)


asyncio.run(main(*sys.argv[1:]))
