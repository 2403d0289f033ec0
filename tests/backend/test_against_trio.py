"""The same random programs on Trio and on the durable backend: every task must see the same things at the same times.

AnyIO's own tests alone prove little: backends that ignore shields or run tasks in random order pass nearly all of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, assume, given, settings

from durable_anyio._backend import Task, VirtualRun

from .programs import PROGRAMS, Body, by_task, interpret

trio_run: Any = trio._core._run


class _Order:
    """Trio reverses a batch of ready tasks when its random number is below one half; shuffling a sorted batch does nothing here."""

    def __init__(self, answer: float) -> None:
        self._answer = answer

    def random(self) -> float:
        return self._answer

    def shuffle(self, batch: list[Any]) -> None:
        if self._answer < 0.5:
            batch.reverse()


def on_trio(program: Body, order: float, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(trio_run, "_r", _Order(order))
        return anyio.run(interpret(program), backend="trio", backend_options={"clock": trio.testing.MockClock(autojump_threshold=0)})


def on_durable(program: Body) -> Any:
    return VirtualRun().run(interpret(program))


def shuffled(chance: random.Random) -> Callable[[list[Task]], int]:
    """Return a policy that takes any ready task."""
    return lambda ready: chance.randrange(len(ready))


EXAMPLES = int(os.environ.get("DURABLE_EXAMPLES", "150"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@SETTINGS
@given(program=PROGRAMS)
def test_programs_behave_as_on_trio(program: Body) -> None:
    monkeypatch = pytest.MonkeyPatch()
    first = by_task(on_trio(program, 1.0, monkeypatch))
    # Programs whose outcome depends on Trio's order within an instant have no one right answer.
    assume(first == by_task(on_trio(program, 0.0, monkeypatch)))
    assert by_task(on_durable(program)) == first


@SETTINGS
@given(program=PROGRAMS)
def test_a_program_gives_the_same_trace_every_time(program: Body) -> None:
    assert on_durable(program) == on_durable(program)


@SETTINGS
@given(program=PROGRAMS)
def test_no_order_of_tasks_breaks_the_scheduler(program: Body) -> None:
    for seed in range(3):
        run = VirtualRun(policy=shuffled(random.Random(seed)))
        trace = run.run(interpret(program))
        assert trace[-1][1] == "root"
        assert not run.scheduler.tasks
