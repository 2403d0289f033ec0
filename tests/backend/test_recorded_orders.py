"""The order in which tasks run is part of every history: these logs were recorded once, and stay as they are.

`python -m tests.backend.test_recorded_orders` records anew. Do that only together with a flag in the histories that keeps the old order for
the old ones: a workflow in flight would otherwise be replayed in another order than it ran.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from durable_anyio._backend import VirtualRun, register

from .interpreter import Interpreter
from .programs import Body, make, number, walk

FILE = Path(__file__).with_name("recorded_orders.json")
COUNT = 60
SHORTEST, LONGEST = 12, 60
"""How many notes a log may have that is worth recording."""

# What AnyIO builds itself from our primitives may take another number of switches in another AnyIO.
ANYIO_BUILDS = {"send", "receive", "send_nowait", "receive_nowait", "close", "condition", "wait_condition", "notify", "join", "cancel_task"}


def log_of(program: Body) -> list[str]:
    """Run a program first-in first-out, and return everything that its tasks noted, in order."""
    interpreter = Interpreter(program)
    VirtualRun().run(interpreter.main)
    return [f"{time:.0f} {name}: {what!r}" for name, (time, what) in interpreter.log]


def _recorded() -> list[Any]:
    recorded: list[Any] = json.loads(FILE.read_text()) if FILE.exists() else []
    return recorded


@pytest.mark.parametrize("record", _recorded(), ids=lambda record: f"seed-{record['seed']}")
def test_tasks_run_in_the_recorded_order(record: dict[str, Any]) -> None:
    assert log_of(ast.literal_eval(record["program"])) == record["log"]


def test_enough_is_recorded() -> None:
    names = {op[0] for record in _recorded() for _, op in walk(number(ast.literal_eval(record["program"]))[0])}
    assert len(_recorded()) == COUNT
    assert {"group", "scope", "start", "spawn", "lock", "limit", "semaphore", "wait", "cancel", "deadline", "shield", "idle"} <= names


def record() -> None:
    """Write the file anew, from the first suitable seeds."""
    records: list[Any] = []
    seed = 0
    while len(records) < COUNT:
        seed += 1
        program = make(seed)
        if any(op[0] in ANYIO_BUILDS for _, op in walk(number(program)[0])):
            continue
        log = log_of(program)
        if SHORTEST <= len(log) <= LONGEST:
            records.append({"seed": seed, "program": repr(program), "log": log})
    FILE.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    register()
    record()
