"""A timer host that notes the commands it is given, and a hand-driven run over it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from durable_anyio._backend import Scheduler, Task

RUNS: list[Run] = []
"""The runs of the test that runs now."""


class Recorder:
    """Notes `start` and `cancel` commands, as the workflow instance would emit them."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, int, float | None]] = []
        self._count = 0

    def start_timer(self, seconds: float, summary: object = None) -> int:
        self._count += 1
        self.commands.append(("start", self._count, seconds))
        return self._count

    def cancel_timer(self, timer: int) -> None:
        self.commands.append(("cancel", timer, None))

    def take(self) -> list[tuple[str, int, float | None]]:
        """Return the commands since the last time."""
        commands, self.commands = self.commands, []
        return commands


class Run:
    """A scheduler stepped by hand."""

    def __init__(self, **options: Any) -> None:
        self.timers = Recorder()
        self.scheduler = Scheduler(self.timers, **options)
        RUNS.append(self)

    def spawn(self, func: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Task:
        return self.scheduler.spawn(func, args, name=func.__name__)

    def step(self) -> list[tuple[str, int, float | None]]:
        """Run one step and return the timer commands it made."""
        assert self.scheduler.run()
        self.scheduler.settle()
        return self.timers.take()

    def fire(self, *timers: int) -> list[tuple[str, int, float | None]]:
        """Fire timers, sleeps first, and run a step."""
        for timer in sorted(timers, key=self.scheduler.is_deadline):
            self.scheduler.fire_timer(timer)
        return self.step()
