"""Runs programs in a process of its own that is killed at random moments and started again on the same file, until all have ended.

As a module it is that process: it says a line for each attempt of an activity, so that the other side kills it at a point of the programs
and not of the clock, and writes down what came out before it ends.
"""

from __future__ import annotations

import ast
import logging
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio
from backend.programs import Body

from durable_anyio import Worker, WorkflowHistory
from durable_anyio.client import Client
from durable_anyio.exceptions import WorkflowAlreadyStartedError

from . import workflows
from .running import Run, client, outcome_of
from .workflows import Errand, Program, work

MOST_KILLS = 6


@dataclass
class Killed:
    """What came out, and how often the process was killed before."""

    runs: dict[str, Run]
    kills: int


def run_killed(programs: Mapping[str, Body], *, backend: str, seed: int) -> Killed:
    """Runs all programs on one file."""
    chance = Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "programs").write_text(repr(dict(programs)))
        kills = 0
        while True:
            command = [sys.executable, "-m", __name__, directory, backend]
            lines = 0
            kill_after = chance.randrange(3, 25) if kills < MOST_KILLS else 0
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
                assert process.stdout is not None
                for _ in process.stdout:
                    lines += 1
                    if lines == kill_after:
                        process.kill()
            if process.returncode == 0:
                break
            assert lines >= kill_after > 0, f"the process ended by itself with {process.returncode}"
            kills += 1
        told = pickle.loads((Path(directory) / "out").read_bytes())
    runs = {name: Run(WorkflowHistory.from_json(text), outcome, [], []) for name, (text, outcome) in told.items()}
    return Killed(runs, kills)


async def _main(directory: Path) -> None:
    logging.disable(logging.CRITICAL)
    programs: dict[str, Body] = ast.literal_eval((directory / "programs").read_text())
    told: dict[str, tuple[str, object]] = {}
    async with client(f"sqlite:{directory / 'runs.db'}") as connected:
        workflows.clients.append(connected)
        workflows.on_attempt = _say
        async with Worker(connected, task_queue="q", workflows=[Program, Errand], activities=[work]), anyio.create_task_group() as group:
            for name, program in programs.items():
                group.start_soon(_one, connected, name, program, told)
    (directory / "out").write_bytes(pickle.dumps(told))


async def _one(connected: Client, name: str, program: Body, told: dict[str, tuple[str, object]]) -> None:
    try:
        handle = await connected.start_workflow(Program.run, repr(program), name.endswith("0"), id=name, task_queue="q")
    except WorkflowAlreadyStartedError:
        handle = connected.get_workflow_handle_for(Program.run, name)
    outcome = await outcome_of(handle)
    told[name] = ((await handle.fetch_history()).to_json(), outcome)


def _say() -> None:
    print("attempt", flush=True)


if __name__ == "__main__":
    anyio.run(_main, Path(sys.argv[1]), backend=sys.argv[2])
