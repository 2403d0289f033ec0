"""Runs that are evicted anywhere: no command, no task and no step is left, whatever their clean-up does."""

from __future__ import annotations

from random import Random

import pytest

from durable_anyio._backend import VirtualRun, VirtualTimers

from .interpreter import Interpreter
from .programs import make

PROGRAMS = 300
MOST_STEPS = 6
MOST_SWITCHES = 40


class StrictTimers(VirtualTimers):
    """Refuses commands once the run is closed."""

    closed = False

    def start_timer(self, seconds: float, summary: object = None) -> int:
        assert not self.closed, "a closed run started a timer"
        return super().start_timer(seconds)

    def cancel_timer(self, timer: int) -> None:
        assert not self.closed, "a closed run cancelled a timer"
        super().cancel_timer(timer)


@pytest.mark.parametrize("part", range(4))
def test_a_random_program_can_be_closed_after_any_switch(part: int) -> None:
    for seed in range(part, PROGRAMS, 4):
        chance = Random(seed)
        run = VirtualRun()
        timers = StrictTimers()
        run.timers = timers
        run.scheduler = scheduler = type(run.scheduler)(timers)
        scheduler.spawn(Interpreter(make(seed)).main, name="main")
        for _ in range(chance.randrange(MOST_STEPS)):
            scheduler.run()
            scheduler.settle()
            for timer in timers.take_due():
                scheduler.fire_timer(timer)
            scheduler.advance(timers.now)
        for _ in range(chance.randrange(MOST_SWITCHES)):
            if scheduler.run(0.0):
                break
        timers.closed = True
        assert scheduler.close() == [], f"seed {seed}"
        assert not scheduler.tasks, f"seed {seed}"
        assert scheduler.run(), f"seed {seed}"
