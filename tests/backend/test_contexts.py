"""Context variables: nothing comes in from the host, nothing leaks out, and each task has its own copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from .recorder import Run

variable: ContextVar[str] = ContextVar("variable", default="nothing")


@pytest.fixture
def host_value() -> Iterator[None]:
    token = variable.set("the host's")
    yield
    variable.reset(token)


async def get() -> str:
    return variable.get()


@pytest.mark.usefixtures("host_value")
def test_a_run_starts_from_an_empty_context() -> None:
    run = Run()
    task = run.spawn(get)
    run.step()
    assert task.outcome() == "nothing"
    assert run.scheduler.call(variable.get) == "nothing"
    assert run.scheduler.call(variable.get, read_only=True) == "nothing"


@pytest.mark.usefixtures("host_value")
def test_what_a_run_sets_stays_in_it() -> None:
    async def main() -> None:
        variable.set("the run's")
        await checkpoint()

    run, other = Run(), Run()
    run.scheduler.call(variable.set, "the constructor's")
    run.spawn(main)
    run.step()
    task = other.spawn(get)
    other.step()
    assert task.outcome() == "nothing"
    assert variable.get() == "the host's"


def test_what_the_constructor_sets_is_there_in_all_tasks_of_the_run() -> None:
    run = Run()
    run.scheduler.call(variable.set, "the constructor's")
    first, second = run.spawn(get), run.spawn(get)
    run.step()
    assert (first.outcome(), second.outcome()) == ("the constructor's", "the constructor's")


def test_a_query_changes_no_context() -> None:
    run = Run()
    run.scheduler.call(variable.set, "the query's", read_only=True)
    assert run.scheduler.call(variable.get) == "nothing"


def test_tasks_do_not_see_each_others_changes() -> None:
    seen: dict[str, str] = {}

    async def child(name: str) -> None:
        before = variable.get()
        variable.set(name)
        await anyio.sleep(1)
        seen[name] = f"{before}, {variable.get()}"

    async def main() -> None:
        variable.set("the parent's")
        async with anyio.create_task_group() as group:
            group.start_soon(child, "first")
            group.start_soon(child, "second")
            await checkpoint()
            assert variable.get() == "the parent's"

    run = Run()
    task = run.spawn(main)
    run.step()
    run.fire(1, 2)
    task.outcome()
    assert seen == {"first": "the parent's, first", "second": "the parent's, second"}


def test_two_root_tasks_have_contexts_of_their_own() -> None:
    async def change() -> None:
        variable.set("changed")

    run = Run()
    run.spawn(change)
    task = run.spawn(get)
    run.step()
    assert task.outcome() == "nothing"
