"""What was made on the host's loop and is used inside a workflow: refused by name on both hosts, and the host goes on unharmed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from durable_anyio._backend import ForbiddenCallError, host_refusal

from .recorder import Run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """These tests run on a host, and step a run inside it."""
    return str(request.param)


async def enter(scope: anyio.CancelScope) -> None:
    with scope:
        await checkpoint()


async def open_group(group: anyio.abc.TaskGroup) -> None:
    async with group:
        await checkpoint()


def set_event() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event


FOREIGN: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "Event": (anyio.Event, lambda event: event.wait()),
    "Event, set": (set_event, lambda event: event.wait()),
    "Lock": (anyio.Lock, lambda lock: lock.acquire()),
    "Lock, fast": (lambda: anyio.Lock(fast_acquire=True), lambda lock: lock.acquire()),
    "Condition": (anyio.Condition, lambda condition: condition.acquire()),
    "Semaphore": (lambda: anyio.Semaphore(1), lambda semaphore: semaphore.acquire()),
    "CapacityLimiter": (lambda: anyio.CapacityLimiter(1), lambda limiter: limiter.acquire()),
    "CancelScope": (anyio.CancelScope, enter),
    "TaskGroup": (anyio.create_task_group, open_group),
}


@pytest.mark.parametrize("name", FOREIGN)
async def test_it_is_refused_with_the_line(name: str) -> None:
    make, use = FOREIGN[name]
    primitive = make()

    async def main() -> None:
        answer = use(primitive)
        if inspect.isawaitable(answer):
            await answer

    run = Run()
    task = run.spawn(main)
    run.step()
    refusal = run.scheduler.poison
    if refusal is None:
        with pytest.raises((RuntimeError, AttributeError)) as caught:
            task.outcome()
        refusal = host_refusal(caught.value)
        assert __file__ in str(refusal)
    assert isinstance(refusal, ForbiddenCallError)
    assert "inside a workflow use anyio's own functions" in str(refusal)
    # The host is still itself.
    with anyio.move_on_after(60):
        await checkpoint()


async def test_another_missing_attribute_is_no_refusal() -> None:
    nothing: Any = None
    with pytest.raises(AttributeError) as caught:
        nothing.create_future()
    assert host_refusal(caught.value) is None


async def test_a_scope_inside_does_not_see_the_one_around_the_step() -> None:
    seen: list[float] = []

    async def main() -> None:
        seen.append(anyio.current_effective_deadline())
        await checkpoint()
        seen.append(anyio.current_time())

    with anyio.move_on_after(60) as around:  # noqa: ASYNC100
        around.cancel()
        run = Run()
        task = run.spawn(main)
        run.step()
        task.outcome()
    assert seen == [float("inf"), 0.0]
