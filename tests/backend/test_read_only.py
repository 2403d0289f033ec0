"""Queries and update validators: they are not in the history, so nothing they do may show in the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from durable_anyio._backend import ForbiddenCallError

from .recorder import Run


class State:
    """What a workflow object may hold on to."""

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.lock = anyio.Lock()
        self.semaphore = anyio.Semaphore(1)
        self.limiter = anyio.CapacityLimiter(1)
        self.scope = anyio.CancelScope()
        self.group = anyio.create_task_group()

    async def main(self) -> None:
        self.limiter.acquire_on_behalf_of_nowait("somebody")
        async with self.group:
            with self.scope:
                await anyio.sleep(1000)


CHANGES: dict[str, Callable[[State], Any]] = {
    "Event.set": lambda state: state.event.set(),
    "Semaphore.acquire_nowait": lambda state: state.semaphore.acquire_nowait(),
    "Semaphore.release": lambda state: state.semaphore.release(),
    "CapacityLimiter.acquire_nowait": lambda state: state.limiter.acquire_on_behalf_of_nowait("another"),
    "CapacityLimiter.release": lambda state: state.limiter.release_on_behalf_of("somebody"),
    "CapacityLimiter.total_tokens": lambda state: setattr(state.limiter, "total_tokens", 2),
    "CancelScope.cancel": lambda state: state.scope.cancel(),
    "CancelScope.deadline": lambda state: setattr(state.scope, "deadline", 5.0),
    "CancelScope.shield": lambda state: setattr(state.scope, "shield", True),
    "TaskGroup.start_soon": lambda state: state.group.start_soon(anyio.sleep, 1),
    "TaskGroup.cancel": lambda state: state.group.cancel_scope.cancel(),
}


def started() -> tuple[Run, State]:
    run = Run()
    state = run.scheduler.call(State)
    run.spawn(state.main)
    assert run.step() == [("start", 1, 1000.0)]
    return run, state


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_refused_and_does_not_happen(change: str) -> None:
    run, state = started()
    with pytest.raises(ForbiddenCallError, match=r"not possible in a query or an update validator"):
        run.scheduler.call(CHANGES[change], state, read_only=True)
    assert run.scheduler.poison is None
    assert not state.event.is_set()
    assert state.semaphore.value == 1
    assert (state.limiter.borrowed_tokens, state.limiter.total_tokens) == (1, 1)
    assert not state.scope.cancel_called
    assert not state.scope.shield
    assert state.scope.deadline == float("inf")
    assert run.step() == []


def test_what_a_query_builds_does_not_move_the_order_of_the_run() -> None:
    """Primitives hash by their number, and AnyIO iterates over sets of them: a number used up by a query would show as another order."""

    def numbers(queries: int) -> list[int]:
        run, _ = started()
        for _ in range(queries):
            run.scheduler.call(State, read_only=True)
        return [hash(run.scheduler.call(anyio.Event)) for _ in range(3)]

    assert numbers(0) == numbers(7)


def test_reading_is_allowed() -> None:
    run, state = started()

    def read() -> tuple[Any, ...]:
        return (
            state.event.is_set(),
            state.lock.locked(),
            state.semaphore.value,
            state.limiter.statistics().borrowed_tokens,
            state.scope.cancel_called,
            anyio.current_time(),
        )

    assert run.scheduler.call(read, read_only=True) == (False, False, 1, 1, False, 0.0)
