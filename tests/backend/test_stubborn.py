"""Closing code that swallows everything: it ends by force, nothing hangs, and the log says what and where."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from durable_anyio._backend import UNCLOSABLE, Stubborn, _stubborn

from .recorder import Run


async def loops() -> None:
    while True:
        try:  # noqa: SIM105
            await anyio.sleep(1)
        except BaseException:
            pass


async def suppresses() -> None:
    while True:
        with suppress(BaseException):
            await anyio.sleep(1)


async def guards_its_handler() -> None:
    while True:
        try:
            try:
                await anyio.sleep_forever()
            except BaseException:
                len("the handler is guarded too")
        except BaseException:
            pass


async def continues_in_finally() -> None:
    while True:
        try:
            await anyio.sleep(1)
        finally:
            continue  # noqa: B012


async def swallows_twice() -> None:
    while True:
        with suppress(BaseException):
            await guards_its_handler()


async def swallows_thrice() -> None:
    while True:
        try:  # noqa: SIM105
            await swallows_twice()
        except BaseException:
            pass


async def in_a_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(loops)
        await loops()


async def recurses() -> None:
    try:
        await anyio.sleep(1)
    except BaseException:
        await recurses()


SWALLOWERS: list[Callable[[], Any]] = [
    loops,
    suppresses,
    guards_its_handler,
    continues_in_finally,
    recurses,
    swallows_twice,
    swallows_thrice,
]


def close(func: Callable[..., Any], *args: Any) -> list[Stubborn]:
    run = Run()
    run.spawn(func, *args)
    run.step()
    stubborn = run.scheduler.close()
    assert not run.scheduler.tasks
    assert run.timers.take() == []
    return stubborn


@pytest.mark.parametrize("swallower", SWALLOWERS)
def test_code_that_swallows_everything_is_ended_by_force(swallower: Callable[[], Any]) -> None:
    UNCLOSABLE.clear()
    (found,) = close(swallower)
    assert found.name == swallower.__name__
    assert found.ended
    assert list(UNCLOSABLE) == [found]


def test_the_message_says_what_where_and_what_to_do() -> None:
    (found,) = close(suppresses)
    text = str(found)
    assert text.startswith("suppresses does not end: it swallows GeneratorExit, and was ended by force")
    assert "await anyio.sleep(1)" in text
    assert f'File "{__file__}"' in text
    assert "hint: catch Exception instead of BaseException" in text


def test_every_stubborn_task_of_a_group_is_ended() -> None:
    found = close(in_a_group)
    assert [task.name.rpartition(".")[2] for task in found] == ["loops", "in_a_group"]
    assert all(task.ended for task in found)


def test_a_stubborn_async_generator_is_ended() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await loops()

    async def main() -> None:
        async for _ in numbers():
            break
        await anyio.sleep_forever()

    (found,) = close(main)
    assert found.name.endswith("numbers")
    assert found.ended


def test_what_was_ended_by_force_is_free() -> None:
    class Held:
        pass

    async def main(held: Held) -> None:
        own = held
        del held
        while own:
            with suppress(BaseException):
                await anyio.sleep(1)

    held = Held()
    reference = weakref.ref(held)
    assert len(close(main, held)) == 1
    del held
    gc.collect()
    assert reference() is None


def test_the_tracer_of_a_debugger_and_the_profiler_are_put_back() -> None:
    def tracer(*args: Any) -> None:
        return None

    before = sys.gettrace(), sys.getprofile()
    sys.setprofile(tracer)
    sys.settrace(tracer)
    try:
        found = close(loops)
        assert (sys.gettrace(), sys.getprofile()) == (tracer, tracer)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    assert [task.ended for task in found] == [True]


class Iron:
    """An awaitable that no exception ends, and that has no lines of Python around which to raise one: what a C extension may be."""

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Iron:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        from durable_anyio._backend._task import PARK

        return PARK

    def throw(self, *args: Any) -> Any:
        return self.send(None)


async def rusts() -> None:
    await Iron()


def test_what_withstands_force_is_kept_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = len(_stubborn._kept)
    # The tracer sees nothing of it, because the frame between is AnyIO's in its eyes.
    monkeypatch.setitem(globals(), "__name__", "anyio.pretended")
    (found,) = close(rusts)
    assert not found.ended
    assert len(_stubborn._kept) == kept + 1
    assert "is kept in memory" in str(found)


def test_only_the_last_ones_are_remembered() -> None:
    UNCLOSABLE.clear()
    for _ in range(_stubborn.MAX_REMEMBERED + 5):
        close(loops)
    assert len(UNCLOSABLE) == _stubborn.MAX_REMEMBERED
