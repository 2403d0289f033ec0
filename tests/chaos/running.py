"""Runs workflows on a real server while the server and the workers are killed, and looks at what came of them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from durable_anyio import Client, Replayer
from durable_anyio.client import RetryConfig, WorkflowHandle

from . import workflows
from .server import Server, running_server
from .workflows import TASK_TIMEOUT, Order, Part

TASK_QUEUE = "chaos"
PATIENT = RetryConfig(max_interval_millis=500, max_retries=0, max_elapsed_time_millis=None)
MOST_AT_ONCE = 60
WORKERS = 2


@dataclass(frozen=True)
class Plan:
    workflows: int
    server_kills: int
    worker_kills: int
    backend: str
    seed: int


@dataclass
class Summary:
    """What happened; `wrong` is empty when everything ended once, with the right result."""

    server_kills: int = 0
    worker_kills: int = 0
    attempts: int = 0
    effects: int = 0
    failed_tasks: int = 0
    lost_and_back: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Chaos:
    def __init__(self, plan: Plan, directory: Path, server: Server) -> None:
        self._plan = plan
        self._directory = directory
        self._server = server
        self._workers: list[Process] = []
        self._started = 0
        self._attempts = 0
        self._moved = anyio.Event()
        self.summary = Summary()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(WORKERS):
                await self._start_worker(tasks.start_soon)
            async with Client.connect(self._server.target, retry_config=PATIENT) as client, anyio.create_task_group() as work:
                work.start_soon(self._kill_all, tasks.start_soon)
                limiter = anyio.CapacityLimiter(MOST_AT_ONCE)
                for number in range(self._plan.workflows):
                    work.start_soon(self._one, client, limiter, number)
            for worker in self._workers:
                worker.kill()
        self._look_at_effects()
        self._look_at_logs()

    # -- killing

    async def _kill_all(self, start_soon: Callable[..., object]) -> None:
        """Kills at points of the workflows' progress and not of the clock, the last one well before they have ended."""
        plan = self._plan
        least = sum(len(workflows.keys(number)) for number in range(plan.workflows))
        chance = Random(plan.seed)
        points = sorted(chance.sample(range(1, least * 9 // 10), plan.server_kills + plan.worker_kills))
        kinds = ["server"] * plan.server_kills + ["worker"] * plan.worker_kills
        chance.shuffle(kinds)
        for point, kind in zip(points, kinds, strict=True):
            while self._attempts < point:
                await self._moved.wait()
            if kind == "server":
                await self._server.kill()
                await self._server.start()
                self.summary.server_kills += 1
            else:
                self._workers.pop(0).kill()
                await self._start_worker(start_soon)
                self.summary.worker_kills += 1

    async def _start_worker(self, start_soon: Callable[..., object]) -> None:
        self._started += 1
        with (self._directory / f"worker-{self._started}.log").open("w") as log:
            command = [sys.executable, "-m", "chaos.worker", self._server.target, str(self._directory), self._plan.backend]
            worker = await anyio.open_process(command, cwd=Path(__file__).parents[1], stdin=subprocess.DEVNULL, stderr=log)
        self._workers.append(worker)
        start_soon(self._listen, worker)

    async def _listen(self, worker: Process) -> None:
        assert worker.stdout is not None
        async with worker:
            async for text in TextReceiveStream(worker.stdout):
                self._attempts += text.count("\n")
                self._moved.set()
                self._moved = anyio.Event()

    # -- working

    async def _one(self, client: Client, limiter: anyio.CapacityLimiter, number: int) -> None:
        async with limiter:
            handle = await client.start_workflow(Order.run, number, id=f"order-{number}", task_queue=TASK_QUEUE, task_timeout=TASK_TIMEOUT)
            await handle.signal(Order.say, "go")
            result = await handle.result()
            self._expect(result, workflows.result(number), f"the result of {handle.id}")
            await self._look_at_history(handle, client)

    async def _look_at_history(self, handle: WorkflowHandle[Order, list[str]], client: Client) -> None:
        history = await client.get_workflow_handle(handle.id).fetch_history()
        self._expect(history.events[-1].event_type, 2, f"the last event of {handle.id}")
        kinds = Counter(str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in history.events)
        self.summary.failed_tasks += kinds["workflow_task_failed"]
        for one, other in (("activity_task_scheduled", "activity_task_completed"), ("timer_started", "timer_fired")):
            self._expect(kinds[one], kinds[other], f"{one} and {other} of {handle.id}")
        self._expect(kinds["workflow_execution_signaled"], 1, f"the signals of {handle.id}")
        await anyio.lowlevel.checkpoint()
        Replayer(workflows=[Order, Part]).replay(history)

    # -- looking

    def _expect(self, found: object, expected: object, what: str) -> None:
        if found != expected:
            self.summary.wrong.append(f"{what}: {found!r} instead of {expected!r}")

    def _look_at_effects(self) -> None:
        expected = {key for number in range(self._plan.workflows) for key in workflows.keys(number)}
        found = workflows.effects(self._directory)
        self._expect(found - expected, set(), "unexpected effects")
        self._expect(expected - found, set(), "missing effects")
        self.summary.effects = len(found)
        self.summary.attempts = len((self._directory / "attempts").read_text().splitlines())

    def _look_at_logs(self) -> None:
        """A line for each change of the connection's state in each process, and nothing that says of a bug."""
        for log in sorted(self._directory.glob("worker-*.log")):
            state = "back"
            for line in log.read_text().splitlines():
                change = "lost" if "lost, trying again" in line else "back" if "is back" in line else ""
                if change:
                    self.summary.lost_and_back[change] += 1
                    if change == state:
                        self.summary.wrong.append(f"{log.name}: told twice that the connection is {state}: {line}")
                    state = change
                elif line.startswith(("ERROR", "CRITICAL", "Traceback")):
                    self.summary.wrong.append(f"{log.name}: {line}")


async def run_chaos(plan: Plan, directory: Path, seconds: float) -> Summary:
    """Runs the plan; `directory` is empty before, and has the server's file, the effects and the workers' logs after."""
    (directory / "effects").mkdir()
    async with running_server(directory / "server.db") as server:
        chaos = Chaos(plan, directory, server)
        with anyio.fail_after(seconds):
            await chaos.run()
    return chaos.summary
