"""Measures what an idle cached run costs: `python benchmarks/memory.py [--runs 10000] [--backend trio] [--only python|worker|whole]`.

The run waits in three tasks, two at an event and one at a durable timer, in a task group that its main task waits for. Memory is the growth
of the process's resident set, for one run, after a warm-up:

- python: the workflow instances alone, fed with activations;
- worker: the same with the Rust core that makes the activations, without engine and connection (what a worker of a cluster keeps);
- whole: worker and embedded engine with a file, in one process.

Each is measured in a process of its own. The Rust side should be built for release.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from durable_anyio import Client, Worker, converter, workflow
from durable_anyio._bridge import core as bridge
from durable_anyio._bridge.proto import message
from durable_anyio._definitions import workflow_definition
from durable_anyio._workflow_host import WorkflowHost

TASK_QUEUE = "benchmark"
WARM_UP = 500
MODES = ("python", "worker", "whole")


@workflow.defn
class Idle:
    """Waits in three tasks, for a year."""

    def __init__(self) -> None:
        self.finished = anyio.Event()

    @workflow.run
    async def run(self, number: int) -> int:
        async with anyio.create_task_group() as group:
            group.start_soon(self.finished.wait)
            group.start_soon(self.finished.wait)
            group.start_soon(anyio.sleep, 365 * 86400)
        return number

    @workflow.query
    def waits(self) -> bool:
        return self.finished.statistics().tasks_waiting == 2


def resident() -> int:
    """Bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def new_host(send: Callable[[bytes], None]) -> Any:
    definition = workflow_definition(Idle)[1]
    assert definition is not None
    return WorkflowHost(
        {definition.name: definition},
        converter=converter.default(),
        namespace="default",
        task_queue=TASK_QUEUE,
        send_completion=send,
    )


def first_activation(number: int) -> Any:
    """As the core makes it."""
    activation = message("coresdk.workflow_activation.WorkflowActivation")(run_id=f"5f2c9e1a-0d3b-4c6e-9f10-{number:012}", history_length=3)
    activation.timestamp.FromSeconds(1_700_000_000)
    start = activation.jobs.add().initialize_workflow
    start.workflow_type, start.workflow_id = "Idle", f"benchmark-{number}"
    start.randomness_seed, start.attempt = number, 1
    start.first_execution_run_id = activation.run_id
    start.start_time.FromSeconds(1_700_000_000)
    start.workflow_task_timeout.FromSeconds(10)
    start.arguments.extend(converter.default().to_payloads([number]))
    return activation


def grow_python(host: Any, first: int, count: int) -> None:
    for number in range(first, first + count):
        completion = host.apply(first_activation(number))
        assert len(completion.successful.commands) == 1, completion


def python(runs: int) -> float:
    host = new_host(lambda data: None)
    grow_python(host, 0, WARM_UP)
    before = resident()
    grow_python(host, WARM_UP, runs)
    return (resident() - before) / runs


def history_of_one() -> tuple[bytes, str]:
    """An idle run's history, encoded, and its run id."""

    async def record() -> tuple[bytes, str]:
        async with Client.connect("sqlite::memory:") as client, Worker(client, task_queue=TASK_QUEUE, workflows=[Idle]):
            handle = await client.start_workflow(Idle.run, 7, id="benchmark-0", task_queue=TASK_QUEUE)
            assert await handle.query(Idle.waits)
            history = await handle.fetch_history()
            events = message("temporal.api.history.v1.History")(events=history.events)
            return events.SerializeToString(), history.run_id

    return anyio.run(record)


def worker(runs: int) -> float:
    history, run_id = history_of_one()
    host = new_host(lambda data: None)
    activation_type = message("coresdk.workflow_activation.WorkflowActivation")

    def grow(first: int, count: int) -> None:
        for number in range(first, first + count):
            this = f"{run_id[:24]}{number:012}"
            handle = bridge.replay_open(history, f"benchmark-{number}", this)
            activation = activation_type.FromString(bridge.replay_step(handle, b""))
            completion = host.apply(activation)
            assert len(completion.successful.commands) == 1, completion
            # The answer is the order to forget the run, as this history goes no further. It is not obeyed.
            bridge.replay_step(handle, completion.SerializeToString())

    grow(0, WARM_UP)
    before = resident()
    grow(WARM_UP, runs)
    return (resident() - before) / runs


async def whole(runs: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            Client.connect(f"sqlite:{directory}/benchmark.db") as client,
            Worker(client, task_queue=TASK_QUEUE, workflows=[Idle], max_cached_workflows=runs + WARM_UP) as cached,
        ):

            async def start(first: int, count: int) -> None:
                async def some(numbers: range) -> None:
                    for number in numbers:
                        await client.start_workflow(Idle.run, number, id=f"benchmark-{number}", task_queue=TASK_QUEUE)

                async with anyio.create_task_group() as group:
                    for offset in range(50):
                        group.start_soon(some, range(first + offset, first + count, 50))
                handle = client.get_workflow_handle(f"benchmark-{first + count - 1}")
                while not await handle.query(Idle.waits) or len(cached._host._instances) < first + count:
                    pass

            await start(0, WARM_UP)
            before = resident()
            await start(WARM_UP, runs)
            return (resident() - before) / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio", help="the host of the whole")
    parser.add_argument("--only", choices=MODES, help="in this process")
    options = parser.parse_args()
    if options.only is None:
        for mode in MODES:
            arguments = ["--runs", str(options.runs), "--backend", options.backend, "--only", mode]
            subprocess.run([sys.executable, __file__, *arguments], check=True)
        return
    if options.only == "whole":
        size = anyio.run(whole, options.runs, backend=options.backend)
    else:
        size = (python if options.only == "python" else worker)(options.runs)
    print(f"{options.only:8}{size / 1024:8.1f} KiB a run", flush=True)
    os._exit(0)  # thousands of runs are left open on purpose


if __name__ == "__main__":
    main()
