"""What a worker costs, beside the one of Temporal's Python SDK: `python benchmarks/worker_cost.py --server HOST:PORT --official PYTHON`.

Both workers are processes of their own on one server, in turns, and each says what CPU time it has used; who starts the workflows and
waits for them is this process, the same for both. `--official` is a Python with `temporalio` installed. The Rust side should be built for
release.

- CPU of the worker's process for one workflow: with no activity, with one, with ten, and with none 100 at a time;
- CPU for the replay of one history of about 3,000 events, by each one's replayer;
- memory for each of 2,000 workflows that wait, cached.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import anyio

from durable_anyio import Client

HERE = Path(__file__).parent
REPLAYED_ACTIVITIES = 500
IN_FLIGHT = 2_000


@dataclass
class Job:
    """Some workflows of one kind."""

    name: str
    activities: int
    count: int
    at_a_time: int


JOBS = [
    Job("no activity", 0, 100, 10),
    Job("one activity", 1, 100, 10),
    Job("ten activities", 10, 30, 10),
    Job("no activity, 100 at a time", 0, 300, 100),
]


class WorkerProcess:
    def __init__(self, command: list[str], address: str) -> None:
        self.queue = f"cost-{uuid.uuid4().hex[:8]}"
        self._process = subprocess.Popen([*command, address, self.queue], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the worker did not start"

    def ask(self, *words: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


@contextmanager
def worker(command: list[str], address: str) -> Iterator[WorkerProcess]:
    process = WorkerProcess(command, address)
    try:
        yield process
    finally:
        process.stop()


async def run_all(client: Client, queue: str, job: Job) -> None:
    limiter = anyio.CapacityLimiter(job.at_a_time)

    async def one() -> None:
        async with limiter:
            await client.execute_workflow("Cost", job.activities, False, id=f"cost-{uuid.uuid4()}", task_queue=queue)

    async with anyio.create_task_group() as group:
        for _ in range(job.count):
            group.start_soon(one)


async def cpu_ms(client: Client, process: WorkerProcess, job: Job) -> float:
    """CPU milliseconds of the worker for one workflow."""
    await run_all(client, process.queue, Job(job.name, job.activities, job.at_a_time, job.at_a_time))
    before = process.ask("cpu")
    await run_all(client, process.queue, job)
    return float(process.ask("cpu")["cpu_s"] - before["cpu_s"]) * 1_000 / job.count


async def memory_kib(client: Client, command: list[str], address: str) -> float:
    """Resident KiB for one waiting workflow, in a worker of its own."""
    with worker(command, address) as process:
        await run_all(client, process.queue, Job("warm", 1, 50, 50))
        before = process.ask("cpu")
        limiter = anyio.CapacityLimiter(50)
        ids = [f"cost-{uuid.uuid4()}" for _ in range(IN_FLIGHT)]

        async def start(workflow_id: str) -> None:
            async with limiter:
                await client.start_workflow("Cost", 1, True, id=workflow_id, task_queue=process.queue)

        async with anyio.create_task_group() as group:
            for workflow_id in ids:
                group.start_soon(start, workflow_id)
        # The worker has no event for this: it is asked twice a second, and then given time for the last workflow tasks.
        for last in (0.5, 2.0):
            while process.ask("cpu")["noted"] < before["noted"] + IN_FLIGHT:  # noqa: ASYNC110
                await anyio.sleep(0.5)
            await anyio.sleep(last)
        now = process.ask("cpu")

        async def end(workflow_id: str) -> None:
            async with limiter:
                await client.get_workflow_handle(workflow_id).terminate()

        async with anyio.create_task_group() as group:
            for workflow_id in ids:
                group.start_soon(end, workflow_id)
        return float(now["resident_kib"] - before["resident_kib"]) / IN_FLIGHT


async def record(client: Client, process: WorkerProcess, path: Path) -> int:
    """Writes the history that is replayed; answers how many events it has."""
    handle = await client.start_workflow("Cost", REPLAYED_ACTIVITIES, False, id=f"cost-{uuid.uuid4()}", task_queue=process.queue)
    await handle.result()
    history = await handle.fetch_history()
    await anyio.Path(path).write_text(history.to_json(), encoding="utf-8")
    return len(history.events)


def show(name: str, ours: list[float], theirs: list[float], unit: str) -> None:
    ratio = median(mine / other for mine, other in zip(ours, theirs, strict=True))
    print(f"{name:32} {median(ours):9.3f} {median(theirs):9.3f} {unit:8} ratio {ratio:.2f}", flush=True)


async def main(options: argparse.Namespace) -> None:
    own = [sys.executable, str(HERE / "cost_durable.py")]
    official = [options.official, str(HERE / "cost_official.py")]
    print(f"{'':32} {'ours':>9} {'official':>9}")
    with tempfile.TemporaryDirectory() as directory:
        async with Client.connect(options.server) as client:
            with worker(own, options.server) as ours, worker(official, options.server) as theirs:
                for job in JOBS:
                    rounds = [(await cpu_ms(client, ours, job), await cpu_ms(client, theirs, job)) for _ in range(options.rounds)]
                    show(job.name, [mine for mine, _ in rounds], [other for _, other in rounds], "ms")
                path = Path(directory) / "history.json"
                events = await record(client, theirs, path)
                replays = [(ours.ask("replay", str(path)), theirs.ask("replay", str(path))) for _ in range(options.rounds)]
                mine, other = ([pair[side]["replay_s"] * 1e6 / events for pair in replays] for side in (0, 1))
                show(f"replay of {events} events, each", mine, other, "µs")
            if not options.no_memory:
                show(
                    "a waiting workflow",
                    [await memory_kib(client, own, options.server)],
                    [await memory_kib(client, official, options.server)],
                    "KiB",
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--official", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true")
    anyio.run(main, parser.parse_args())
