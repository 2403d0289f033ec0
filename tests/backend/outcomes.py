"""The outcomes of one program: on Trio and on the durable backend, in many orders, with schedule points put in at random.

A program whose tasks race has several right outcomes; Trio's own random order finds them. The durable backend's must be among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio
import trio
import trio.testing

from durable_anyio._backend import Scheduler, Task, VirtualRun

from .interpreter import Interpreter, Outcome
from .programs import Body

trio_run: Any = trio._core._run

ORDERS = 3
"""In how many orders a program runs on either side at first. Order 0 is first-in first-out without extra schedule points."""

MOST_ORDERS = 4_000
"""How long Trio is asked for an outcome before it counts as impossible there."""


class _FirstInFirstOut:
    """Trio takes a batch of ready tasks from its end, and turns it round when its random number is below one half."""

    def random(self) -> float:
        return 0.0


@contextmanager
def _trio_order(order: int) -> Iterator[None]:
    """Let Trio run its tasks in an order of our choice: 0 is first-in first-out, even ones too, odd ones are shuffled."""
    saved = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    shuffled = order % 2 == 1
    trio_run._r = Random(order) if shuffled else _FirstInFirstOut()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = shuffled
    try:
        yield
    finally:
        trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = saved


def _policy(order: int) -> Callable[[list[Task]], int] | None:
    """Trio's kind of order: what is ready runs, shuffled, before what becomes ready meanwhile."""
    if order % 2 == 0:
        return None
    chance = Random(order)
    batch: set[Task] = set()

    def choose(ready: list[Task]) -> int:
        places = [place for place, task in enumerate(ready) if task in batch]
        if not places:
            batch.update(ready)
            places = list(range(len(ready)))
        place = chance.choice(places)
        batch.discard(ready[place])
        return place

    return choose


def _pauses(order: int, operations: int) -> dict[int, int]:
    """Extra schedule points: none in orders 0 and 1, then more and more."""
    if order < 2:
        return {}
    chance = Random(order)
    share = chance.choice((0.1, 0.3, 0.6))
    return {n: chance.randrange(1, 5) for n in range(-operations, operations) if chance.random() < share}


def _interpreter(program: Body, fine: bool, order: int) -> Interpreter:
    interpreter = Interpreter(program, fine=fine)
    interpreter.pauses = _pauses(order, interpreter.operations)
    return interpreter


async def on_trio(program: Body, fine: bool, order: int) -> tuple[Outcome, list[Any]]:
    """Run a program on Trio, inside `trio_time`; return its outcome and the log of all tasks together."""
    interpreter = _interpreter(program, fine, order)
    with _trio_order(order):
        outcome = await interpreter.main()
    return outcome, interpreter.log


class SlicedScheduler(Scheduler):
    """Pauses after every task, as a step does whose budget is spent."""

    __slots__ = ()

    def run(self, budget_seconds: float | None = None) -> bool:
        while not super().run(0.0):
            pass
        return True


def on_durable(program: Body, fine: bool, order: int, *, sliced: bool = False) -> tuple[Outcome, list[Any]]:
    """Run a program on the durable backend; return its outcome and the log of all tasks together."""
    run = VirtualRun(policy=_policy(order))
    if sliced:
        run.scheduler = SlicedScheduler(run.timers, policy=_policy(order))
    interpreter = _interpreter(program, fine, order)
    outcome: Outcome = run.run(interpreter.main)
    assert not run.scheduler.tasks, "tasks are left over"
    return outcome, interpreter.log


def trio_time(main: Callable[..., Any], *args: Any) -> Any:
    """Run `main` under Trio with a clock that jumps. One run serves many programs: starting one costs more than most programs do."""
    return anyio.run(main, *args, backend="trio", backend_options={"clock": trio.testing.MockClock(autojump_threshold=0)})


@dataclass
class Comparison:
    """What was found about one program."""

    program: Body
    fine: bool
    durable: dict[Outcome, int] = field(default_factory=dict)
    """Outcomes and the first order that gave each."""
    trio: dict[Outcome, int] = field(default_factory=dict)
    seen: Counter[Outcome] = field(default_factory=Counter)
    """How often Trio had each."""
    asked: int = 0
    """In how many orders Trio ran."""
    problem: str | None = None
    trio_broke: bool = False
    """Whether Trio hit an assertion of its own: what it should have done instead is not known.

    Its `checkpoint_if_cancelled()` does so when a cancellation it has seen is shielded off, by another task, while it lets the others run.
    """
    same_log: bool = False
    """Whether the logs of all tasks together agree in order 0. Mostly so; Trio cancels siblings in an order of its own."""

    @property
    def unsettled(self) -> bool:
        """Whether outcomes of ours are missing, and Trio may have them all the same.

        Those that came only once in thousands of orders say that there are more which never came.
        """
        met = len(self.missing) < len(self.durable)
        return bool(self.missing) and (self.trio_broke or (met and 1 in self.seen.values()))

    @property
    def missing(self) -> list[Outcome]:
        """Outcomes of ours that Trio did not have."""
        return [outcome for outcome in self.durable if outcome not in self.trio]


async def compare(program: Body, *, fine: bool, orders: int = ORDERS, most_orders: int = MOST_ORDERS) -> Comparison:
    """Run a program in several orders on both sides and compare. Call it inside `trio_time`."""
    found = Comparison(program, fine)
    logs: list[Any] = []
    try:
        for order in range(orders):
            outcome, log = on_durable(program, fine, order)
            found.durable.setdefault(outcome, order)
            if order == 0:
                logs.append(log)
                if on_durable(program, fine, order, sliced=True) != (outcome, log):
                    found.problem = "two runs in the same order differ, one of them in slices"
                    return found
    except Exception as error:
        found.problem = f"the durable run broke: {type(error).__name__}: {error}"
        return found
    while found.asked < orders or (found.missing and found.asked < most_orders and not found.trio_broke):
        outcome, log = await on_trio(program, fine, found.asked)
        if "AssertionError" in repr(outcome):
            found.trio_broke = True
        else:
            found.trio.setdefault(outcome, found.asked)
            found.seen[outcome] += 1
        logs.append(log)
        found.asked += 1
    found.same_log = logs[0] == logs[1]
    if found.missing and (not found.unsettled or "AssertionError" in repr(found.missing)):
        found.problem = f"{len(found.missing)} of {len(found.durable)} outcomes are not among the {len(found.trio)} that Trio has"
    return found


def report(found: Comparison) -> str:
    """Describe a problem: the program as a literal, and both sides' outcomes task by task."""
    lines = [f"{found.problem} ({found.asked} orders on Trio, {'fine' if found.fine else 'coarse'} scale)", f"PROGRAM = {found.program!r}"]
    for title, outcomes in (("ours", found.missing or list(found.durable)), ("Trio's", list(found.trio))):
        for outcome in outcomes[:2]:
            lines.append(f"{title}, in order {(found.durable if title == 'ours' else found.trio)[outcome]}:")
            lines += [f"    {name}: {list(notes)}" for name, notes in outcome]
    return "\n".join(lines)
