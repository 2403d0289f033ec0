"""Random durable programs: cached on one host, replayed for every activation on the other, killed in the middle: always the same.

`DURABLE_SEED` repeats a run, `DURABLE_PROGRAMS` sets how many programs it has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from random import Random, SystemRandom

import anyio
import pytest
from backend.programs import Body, number, walk
from backend.shrinking import shrink

from . import running
from .killing import run_killed
from .programs import RACING, make
from .running import Run, difference, replay_problem, run_all

PROGRAMS = int(os.environ.get("DURABLE_PROGRAMS", "500"))
SEED = int(os.environ.get("DURABLE_SEED") or SystemRandom().randrange(10**9))

SIDE_BY_SIDE = 50
"""Programs on one engine: fewer would leave the machine idle while an activity waits in real time, more would let work take longer than
the waits that are meant to be longer."""

SECONDS_A_PROGRAM = 1.0
"""Many times what one takes: other work may run beside."""

MOST_CLOSE = 0.05
"""The share of programs in which two causes may come too close to each other for a comparison of two live runs."""

# Programs that found something once; each line says what.
KNOWN: list[tuple[str, Body]] = [
    (
        "an activity cancelled before its start ended in the middle of the commands of that task",
        [("group", [("sleep", 1), ("cancel", 0)], [[("activity", 4, 0)], [("sleep", 2)]]), ("sleep", 1)],
    ),
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Programs fail on purpose, thousands of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def run_both(programs: dict[str, Body], *, swapped: bool) -> Iterator[tuple[str, Run, Run]]:
    """Runs programs with a cache on one host, and without one on the other."""
    cached, uncached = ("trio", "asyncio") if swapped else ("asyncio", "trio")
    one = anyio.run(lambda: run_all(programs, max_cached_workflows=1000), backend=cached)
    other = anyio.run(lambda: run_all(programs, max_cached_workflows=0), backend=uncached)
    for name in programs:
        yield name, one[name], other[name]


def problem(one: Run, other: Run, *, comparable: bool = True) -> str | None:
    """What is wrong with two runs of one program."""
    if "stuck" in (one.outcome, other.outcome):
        return "it does not end"
    found = replay_problem(one)
    if found is None and comparable and not (one.is_close() or other.is_close()):
        return difference(one, other)
    return found or replay_problem(other)


def is_comparable(program: Body) -> bool:
    """Whether two live runs of a program must have the same history."""
    return not any(op[0] in RACING for _, op in walk(number(program)[0]))


def report(seed: int, program: Body, found: str, *, swapped: bool) -> str:
    """The failure with the smallest program that still has one."""
    comparable = is_comparable(program)

    async def fails(candidate: Body) -> bool:
        def try_it() -> bool:
            return any(problem(one, other, comparable=comparable) for _, one, other in run_both({"p-1": candidate}, swapped=swapped))

        return await anyio.to_thread.run_sync(try_it)

    patience, running.STUCK_SECONDS = running.STUCK_SECONDS, 3
    try:
        small = anyio.run(lambda: shrink(program, fails, most_tries=100))
    finally:
        running.STUCK_SECONDS = patience
    return f"DURABLE_SEED={SEED}: the program of seed {seed}: {found}\nshrunk: {small!r}"


@pytest.mark.timeout(60 + PROGRAMS * SECONDS_A_PROGRAM)
def test_random_programs() -> None:
    chance = Random(SEED)
    seeds = [chance.getrandbits(48) for _ in range(PROGRAMS)]
    close = 0
    for start in range(0, PROGRAMS, SIDE_BY_SIDE):
        programs = {f"p-{seed}": make(seed) for seed in seeds[start : start + SIDE_BY_SIDE]}
        swapped = start // SIDE_BY_SIDE % 2 == 1
        for name, one, other in run_both(programs, swapped=swapped):
            close += one.is_close() or other.is_close()
            found = problem(one, other, comparable=is_comparable(programs[name]))
            if found is not None:
                pytest.fail(report(int(name[2:]), programs[name], found, swapped=swapped))
    assert close <= max(3, PROGRAMS * MOST_CLOSE)


@pytest.mark.parametrize(("what", "program"), KNOWN, ids=[what for what, _ in KNOWN])
@pytest.mark.parametrize("swapped", [False, True])
def test_what_was_found_before(what: str, program: Body, swapped: bool) -> None:
    for _, one, other in run_both({"p-1": program}, swapped=swapped):
        assert problem(one, other) is None
        assert one.outcome != "stuck"


def test_a_difference_is_found() -> None:
    """The test of the test: two programs that differ in one operation."""
    programs: dict[str, Body] = {"p-1": [("activity", 0, 0), ("sleep", 1)], "p-2": [("activity", 0, 0), ("sleep", 1), ("activity", 1, 0)]}
    runs = {name: one for name, one, _ in run_both(programs, swapped=False)}
    assert "the events differ" in (difference(runs["p-1"], runs["p-2"]) or "")
    scheduled = next(e for e in runs["p-2"].history.events if e.HasField("activity_task_scheduled_event_attributes"))
    scheduled.activity_task_scheduled_event_attributes.activity_id = "9"
    assert "NondeterminismError" in (replay_problem(runs["p-2"]) or "")


def test_a_failure_is_told_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the report: whatever sleeps shall be wrong."""
    sleeps = "timer_fired_event_attributes"

    def find(one: Run, other: Run, **_: object) -> str | None:
        return "it sleeps" if any(event.HasField(sleeps) for event in one.history.events) else None

    monkeypatch.setattr(f"{__name__}.problem", find)
    program: Body = [("activity", 0, 0), ("group", [("scope", -2, False, [("sleep", 1)])], [[("activity", 0, 0)]])]
    text = report(7, program, "it sleeps", swapped=False)
    assert "the program of seed 7: it sleeps" in text
    assert text.endswith("shrunk: [('sleep', 1)]")


def test_killed_and_resumed() -> None:
    """In a process of its own, killed again and again at random moments, on both hosts."""
    chance = Random(SEED)
    for backend in ("asyncio", "trio"):
        programs = {f"p-{seed}": make(seed) for seed in (chance.getrandbits(48) for _ in range(25))}
        killed = run_killed(programs, backend=backend, seed=chance.getrandbits(32))
        assert killed.kills >= 3
        for name, run in killed.runs.items():
            found = replay_problem(run)
            assert found is None, f"DURABLE_SEED={SEED}: {name}: {found}"
            assert run.outcome != "stuck"
