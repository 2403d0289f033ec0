"""Ending coroutines and async generators that did not end by themselves: eviction, and the end of a run.

Everything is closed on the host's thread, newest task first. `GeneratorExit` is raised where the code waits, and again whenever it awaits
something, a bounded number of times: code that swallows everything must not hang the worker, and is dealt with in `_stubborn`.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ._stubborn import Stubborn, end_by_force, keep, waiting_stack
from ._task import CLOSE

if TYPE_CHECKING:
    from ._scheduler import Scheduler
    from ._task import Task

CLOSE_ATTEMPTS = 50
"""How often `GeneratorExit` is raised in one coroutine. Honest clean-up awaits once or twice for each open block."""

MAX_CLOSED_TASKS = 10_000
"""How many tasks, and how many generators, one closing deals with, those counted in that clean-up code starts meanwhile."""

PRUNE_AT_LEAST = 64
"""Finished generators are dropped when the number held has doubled, and is at least this."""


class Generators:
    """The async generators of one run in the order of their first use, held so that no collector ends them."""

    __slots__ = ("_held", "_prune_at")

    def __init__(self) -> None:
        self._held: list[AsyncGenerator[Any, Any]] = []
        self._prune_at = PRUNE_AT_LEAST

    def first_iteration(self, generator: AsyncGenerator[Any, Any]) -> None:
        if len(self._held) >= self._prune_at:
            self._held = [held for held in self._held if getattr(held, "ag_frame", None) is not None]
            self._prune_at = max(PRUNE_AT_LEAST, 2 * len(self._held))
        self._held.append(generator)

    def finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Do nothing: a held generator is not collected, and one that was let go is finished."""

    def __bool__(self) -> bool:
        return bool(self._held)

    def take(self) -> list[AsyncGenerator[Any, Any]]:
        """Hand over the unfinished generators."""
        held, self._held = self._held, []
        return [generator for generator in held if getattr(generator, "ag_frame", None) is not None]


def quiet_resource_warnings() -> AbstractContextManager[None]:
    """Keep what dies with a run from warning that it was not closed, a memory stream for instance: nobody forgot anything.

    Only where such warnings are shown at all, because changing the filters makes Python show old warnings once more.
    """
    for action, message, category, module, _ in warnings.filters:
        if message is None and module is None and issubclass(ResourceWarning, category):
            if action == "ignore":
                return _QUIET
            break
    return _quietened()


_QUIET = nullcontext()


@contextmanager
def _quietened() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def exhaust(coro: Any, context: Context) -> bool:
    """Raise `GeneratorExit` in `coro` where it waits until it ends; False if it would not."""
    for _ in range(CLOSE_ATTEMPTS):
        try:
            context.run(coro.send, CLOSE)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # whatever it raises, it has ended, and nobody is left to hear it
            return True
    return False


def end(subject: Any, awaited: Any, context: Context, name: str) -> Stubborn | None:
    """Make `awaited` end, by force if need be; None if it did so by itself.

    :param subject: what is kept should it not end: the coroutine itself, or the generator that it closes
    """
    if exhaust(awaited, context):
        return None
    stack = waiting_stack(subject)
    ended = end_by_force(awaited, context)
    if not ended:
        keep(subject)
    return Stubborn(name, stack, ended)


def close_tasks(scheduler: Scheduler, exits: list[BaseException]) -> list[Stubborn]:
    """Close every living task, newest first; return those that did not close by themselves.

    :param exits: gets what is the host's business, so that the other tasks are closed before it is raised
    """
    stubborn = []
    for _ in range(MAX_CLOSED_TASKS):
        if not scheduler.tasks:
            break
        task = next(reversed(scheduler.tasks))
        try:
            found = _close_task(scheduler, task)
        except (KeyboardInterrupt, SystemExit) as error:
            exits.append(error)
            found = None
        if found is not None:
            stubborn.append(found)
        if not task.done:
            scheduler.end_task(task, None, GeneratorExit())
    return stubborn


def _close_task(scheduler: Scheduler, task: Task) -> Stubborn | None:
    if not task.started:
        task.coro.close()
        if task.handle is not None:
            task.handle.coro.close()
        return None
    abort, task.abort = task.abort, None
    if abort is not None:
        abort(task)  # what it waits for forgets it
    scheduler.current_task = task
    try:
        return end(task.coro, task.coro, task.context, task.name)
    finally:
        scheduler.current_task = None


def close_generators(scheduler: Scheduler, task: Task, exits: list[BaseException]) -> list[Stubborn]:
    """Close the held generators in first-use order, as if `task` awaited each one's `aclose()`. `exits` is as for the tasks."""
    stubborn = []
    scheduler.current_task = task
    try:
        for generator in _unfinished(scheduler.generators):
            closing: Any = generator.aclose()
            try:
                task.context.run(closing.send, None)
                found = end(generator, closing, task.context, getattr(generator, "__qualname__", repr(generator)))
            except (KeyboardInterrupt, SystemExit) as error:
                exits.append(error)
                continue
            except BaseException:  # ended; see `exhaust`
                continue
            if found is not None:
                stubborn.append(found)
    finally:
        scheduler.current_task = None
    return stubborn


def _unfinished(generators: Generators) -> Iterator[AsyncGenerator[Any, Any]]:
    """Iterate over the generators that are held, and over those that closing them begins."""
    closed = 0
    while closed < MAX_CLOSED_TASKS and (batch := generators.take()):
        closed += len(batch)
        yield from batch
