"""Running coroutines on a virtual clock, without an engine: for tests of the backend, and for AnyIO's own tests.

The clock jumps to the next timer as soon as every task waits, so that a test of an hour's timeout takes no time.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar

from anyio.abc import TestRunner as AbstractTestRunner

from ._scheduler import Scheduler, SwitchLimitError
from ._task import Task, current_task, park
from ._taskgroup import function_name

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Every task waits for something that cannot happen any more."""


class VirtualTimers:
    """Timers that fire when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self._count = 0
        self._queue: list[tuple[float, int]] = []
        self._live: dict[int, None] = {}

    def start_timer(self, seconds: float, summary: Any | None = None) -> int:
        """Start a timer on the virtual clock."""
        self._count += 1
        self._live[self._count] = None
        heapq.heappush(self._queue, (round(self.now + seconds, 6), self._count))
        return self._count

    def cancel_timer(self, timer: int) -> None:
        """Forget a timer."""
        self._live.pop(timer, None)

    def take_due(self) -> list[int]:
        """Move to the next instant at which a timer fires; return the timers of that instant in starting order."""
        due: list[int] = []
        while self._queue and (not due or self._queue[0][0] == self.now):
            instant, timer = heapq.heappop(self._queue)
            if timer in self._live:
                del self._live[timer]
                self.now = instant
                due.append(timer)
        return due


class VirtualRun:
    """One scheduler on a virtual clock."""

    def __init__(self, *, policy: Callable[[list[Task]], int] | None = None) -> None:
        self.timers = VirtualTimers()
        self.scheduler = Scheduler(self.timers, policy=policy)

    def drive(self, finished: Callable[[], bool]) -> None:
        """Run steps until `finished` answers True.

        :raises DeadlockError: if nothing can happen any more before that
        """
        scheduler = self.scheduler
        while True:
            scheduler.run()
            if scheduler.poison is not None and not finished():
                poison, scheduler.poison = scheduler.poison, None
                if isinstance(poison, SwitchLimitError):
                    raise poison
                continue
            if finished():
                return
            scheduler.settle()
            due = self.timers.take_due()
            if not due:
                waiting = ", ".join(repr(task.name) for task in scheduler.tasks)
                raise DeadlockError(f"nothing can happen any more; waiting: {waiting}")
            scheduler.advance(self.timers.now)
            for timer in sorted(due, key=scheduler.is_deadline):
                scheduler.fire_timer(timer)

    def run(self, func: Callable[..., Awaitable[T]], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> T:
        """Run `func` to its end and return what it returns; close whatever is left."""

        async def body() -> T:
            return await func(*args, **(kwargs or {}))

        task = self.scheduler.spawn(body, name=function_name(func), context=copy_context())
        try:
            self.drive(lambda: task.done)
            result: T = task.outcome()
            return result
        finally:
            self.scheduler.close()


class TestRunner(AbstractTestRunner):
    """Runs tests and fixtures of AnyIO's pytest plugin, all in one task, as its other backends do."""

    __test__ = False

    def __init__(self, **options: Any) -> None:
        self._run = VirtualRun(**options)
        self._run.scheduler.raise_exits = False
        self._main: Task | None = None
        self._job: Callable[[], Awaitable[Any]] | None = None
        self._outcomes: list[tuple[Any, BaseException | None]] = []

    def __exit__(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None) -> None:
        self._run.scheduler.close()

    def is_running(self) -> bool:
        return self._run.scheduler.current_task is not None

    async def _serve(self) -> None:
        while True:
            if self._job is None:
                await park(None)
                continue
            job, self._job = self._job, None
            try:
                self._outcomes.append((await job(), None))
            except BaseException as error:
                if current_task().scheduler.closing:
                    raise
                self._outcomes.append((None, error))

    def _call(self, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        scheduler = self._run.scheduler
        self._job = lambda: func(*args, **kwargs)
        self._outcomes.clear()
        if self._main is None:
            self._main = scheduler.spawn(self._serve, name="durable_anyio.test_runner", context=copy_context())
        else:
            scheduler.reschedule(self._main)
        self._run.drive(lambda: bool(self._outcomes))
        value, error = self._outcomes.pop()
        if error is not None:
            raise error
        result: T = value
        return result

    def run_asyncgen_fixture(self, fixture_func: Callable[..., AsyncGenerator[T, Any]], kwargs: dict[str, Any]) -> Iterable[T]:
        generator = fixture_func(**kwargs)
        value: T = self._call(generator.asend, None)
        yield value
        try:
            self._call(generator.asend, None)
        except StopAsyncIteration:
            return
        self._call(generator.aclose)
        raise RuntimeError("Async generator fixture did not stop")

    def run_fixture(self, fixture_func: Callable[..., Coroutine[Any, Any, T]], kwargs: dict[str, Any]) -> T:
        return self._call(fixture_func, **kwargs)

    def run_test(self, test_func: Callable[..., Coroutine[Any, Any, Any]], kwargs: dict[str, Any]) -> None:
        self._call(test_func, **kwargs)
