"""State that runs of a process share is named as the mistake it is: who holds it, and where."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from durable_anyio._backend import CallGuard, ForbiddenCallError

from .recorder import Run

SOURCE = """\
import functools
import anyio
import anyio.functools

GATE = anyio.Event()
LOCK: anyio.Lock = anyio.Lock()
SEMAPHORE = anyio.Semaphore(1)
LIMITER = anyio.CapacityLimiter(1)
CONDITION = anyio.Condition()
SEND, RECEIVE = anyio.create_memory_object_stream(10)


class Holder:
    gate = anyio.Event()
    items = []
    number = 1
    found = {"a": {1}}


@anyio.functools.lru_cache(maxsize=2)
async def sized(number):
    return number


@anyio.functools.cache
async def unsized(number):
    return number


async def waits():
    GATE.set()
    await GATE.wait()

async def locks():
    async with LOCK:
        await anyio.sleep(0)

async def counts():
    async with SEMAPHORE:
        await anyio.sleep(0)

async def limits():
    async with LIMITER:
        await anyio.sleep(0)

async def notifies():
    async with CONDITION:
        CONDITION.notify()

async def of_class():
    Holder.gate.set()
    await Holder.gate.wait()

async def streams():
    SEND.send_nowait(1)
"""
_numbers = itertools.count(1)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A fresh module: its proxies have not been used yet."""
    name = f"shared_state_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(name)
    yield module
    module.SEND.close()
    module.RECEIVE.close()
    del sys.modules[name]


def _place(module: ModuleType, text: str) -> str:
    lines = SOURCE.splitlines()
    return f"({module.__file__}:{next(number for number, line in enumerate(lines, 1) if line.strip().startswith(text))})"


def _run(function: Callable[..., Any], *args: Any, guard: Any = None) -> Run:
    run = Run()
    run.scheduler.guard = guard
    run.spawn(function, *args)
    run.scheduler.run()
    return run


USES = {
    "waits": "Event {}.GATE",
    "locks": "Lock {}.LOCK",
    "counts": "Semaphore {}.SEMAPHORE",
    "limits": "CapacityLimiter {}.LIMITER",
    "of_class": "Event {}.Holder.gate",
}


@pytest.mark.parametrize("use", USES)
def test_the_second_run_is_told(module: ModuleType, use: str) -> None:
    assert _run(getattr(module, use)).scheduler.poison is None
    error = _run(getattr(module, use)).scheduler.poison
    assert isinstance(error, ForbiddenCallError)
    named = USES[use].format(module.__name__)
    place = _place(module, named.rpartition(".")[2])
    # An event that is set already is only looked at, and says so at the first wait.
    assert str(error).startswith(f"the {named} {place} belongs to another workflow run, and is used in a second one: make it inside")


@pytest.mark.parametrize("use", [*USES, "notifies"])
def test_a_test_environment_tells_the_first(module: ModuleType, use: str) -> None:
    error = _run(getattr(module, use), guard=CallGuard()).scheduler.poison
    assert isinstance(error, ForbiddenCallError)
    if use in USES:
        assert str(error).startswith(f"the {USES[use].format(module.__name__)} ({module.__file__}:")
    assert "is shared by all runs of the process" in str(error)
    assert f"\n  at {module.__file__}:" in str(error)
    assert str(error).endswith(f", in {use}")


def test_is_set_of_another_run_is_refused() -> None:
    made: list[anyio.Event] = []

    async def makes() -> None:
        made.append(anyio.Event())

    async def looks() -> bool:
        return made[0].is_set()

    _run(makes)
    assert "this Event belongs to another workflow run" in str(_run(looks).scheduler.poison)
    assert not made[0].is_set()  # from outside one may look


def test_use_by_the_host_says_so(module: ModuleType) -> None:
    _run(module.waits)
    with pytest.raises(ForbiddenCallError, match="belongs to another workflow run, and is used outside of it"):
        anyio.run(module.waits)


def test_a_stream_used_by_a_second_run(module: ModuleType) -> None:
    guard = CallGuard()
    assert _run(module.streams, guard=guard).scheduler.poison is None
    error = _run(module.streams, guard=guard).scheduler.poison
    assert str(error).startswith(
        f"the memory object stream {module.__name__}.SEND {_place(module, 'SEND')} is used by a second workflow run"
    )


def test_a_cache_with_a_size(module: ModuleType) -> None:
    guard = CallGuard()
    assert _run(module.unsized, 1, guard=guard).scheduler.poison is None
    error = _run(module.sized, 1, guard=guard).scheduler.poison
    assert f"the cache of {module.__name__}.sized has a size that all runs of the process share" in str(error)


CHANGES: dict[str, tuple[Callable[[type[Any]], Any], str]] = {
    "assigned": (lambda holder: setattr(holder, "number", 2), "number was"),
    "added": (lambda holder: setattr(holder, "other", 2), "other was"),
    "deleted": (lambda holder: delattr(holder, "number"), "number was"),
    "appended": (lambda holder: holder.items.append(1), "items was"),
    "put into a dict": (lambda holder: holder.found.update(b=1), "found was"),
    "two at once": (lambda holder: (holder.items.append(1), holder.found.clear()), "items, Holder.found were"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_class_attribute_changed_in_a_step(module: ModuleType, how: str) -> None:
    change, named = CHANGES[how]

    class Derived(module.Holder):  # type: ignore[name-defined, misc]
        pass

    async def changes() -> None:
        change(module.Holder)

    error = _run(changes, guard=CallGuard().for_run_of(Derived)).scheduler.poison
    assert isinstance(error, ForbiddenCallError)
    assert f"Holder.{named} changed in a step, which all runs of the process see: set attributes of self in __init__" in str(error)


def test_a_class_changed_between_steps_is_the_hosts_business(module: ModuleType) -> None:
    async def waits() -> None:
        self = module.Holder()
        self.own = [1]
        await anyio.sleep(1)
        self.number = 3

    run = _run(waits, guard=CallGuard().for_run_of(module.Holder))
    module.Holder.number = 2
    run.scheduler.settle()
    run.fire(1)
    assert run.scheduler.poison is None
