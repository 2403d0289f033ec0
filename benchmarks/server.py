"""Measures a served engine under the official SDK's worker: `python benchmarks/server.py --temporal COMMAND [--rounds 2]`.

`durable-anyio server` and `temporal server start-dev --db-filename` each serve a file of their own; one worker and client of the
official Python SDK runs workflows that do nothing, 50 at a time, on one and then on the other. Prints workflows a second and the CPU
time of the server's process a workflow. Both are compared as ratios: absolute figures belong to a machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

CONCURRENCY = 50
WARM_UP = 20
START_SECONDS = 60


@workflow.defn
class Noop:
    """Nothing but a start and an end."""

    @workflow.run
    async def run(self) -> None: ...


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _serving(command: list[str]) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def _connect(address: str) -> Client:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return await Client.connect(address)
        except (RPCError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def _round(address: str, pid: int, count: int) -> tuple[float, float]:
    """Workflows a second, and the server's CPU milliseconds a workflow."""
    client = await _connect(address)
    queue = uuid.uuid4().hex
    limit = asyncio.Semaphore(CONCURRENCY)

    async def one(number: int) -> None:
        async with limit:
            await client.execute_workflow(Noop.run, id=f"{queue}-{number}", task_queue=queue)

    async with Worker(client, task_queue=queue, workflows=[Noop], workflow_runner=UnsandboxedWorkflowRunner()):
        await asyncio.gather(*(one(-number) for number in range(1, WARM_UP)))
        begun, used = time.monotonic(), _cpu_seconds(pid)
        await asyncio.gather(*(one(number) for number in range(count)))
        return count / (time.monotonic() - begun), (_cpu_seconds(pid) - used) / count * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--temporal", required=True, metavar="COMMAND", help="the temporal command, which has the development server inside"
    )
    parser.add_argument("--workflows", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
        serve = [sys.executable, "-m", "durable_anyio.cli", "server", "--db", f"{directory}/ours.db", "--listen", ours]
        develop = [options.temporal, "server", "start-dev", "--headless", "--port", theirs.rpartition(":")[2]]
        with _serving(serve) as own, _serving([*develop, "--db-filename", f"{directory}/theirs.db"]) as other:
            places = {"durable-anyio server": (ours, own), "development server": (theirs, other)}
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
            for _ in range(options.rounds):
                for name, (address, pid) in places.items():
                    figures[name].append(asyncio.run(_round(address, pid, options.workflows)))
                    rate, used = figures[name][-1]
                    print(f"{name}: {rate:.1f} workflows/s, {used:.2f} ms of the server's CPU a workflow", flush=True)
    mine, peer = (tuple(median(column) for column in zip(*figures[name], strict=True)) for name in places)
    print(f"ratios: {mine[0] / peer[0]:.1f} times the workflows a second, {mine[1] / peer[1]:.2f} of the CPU a workflow")


if __name__ == "__main__":
    main()
