"""Async generators end when the run does, in the order of their first use: never earlier by the collector, never by the host's hooks."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import anyio
import pytest
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from .recorder import Run

log: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def numbers(name: str) -> AsyncIterator[int]:
    try:
        for number in range(3):
            yield number
    finally:
        log.append(f"{name} ended")


async def take_one(name: str) -> None:
    async for _ in numbers(name):
        break


def closed(run: Run) -> list[str]:
    assert run.scheduler.close() == []
    return log


def test_the_collector_does_not_end_them() -> None:
    async def main() -> None:
        await take_one("dropped")
        gc.collect()
        await checkpoint()
        log.append("still running")
        await anyio.sleep_forever()

    run = Run()
    run.spawn(main)
    run.step()
    gc.collect()
    assert log == ["still running"]
    assert closed(run) == ["still running", "dropped ended"]


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_the_hosts_loop_does_not_end_them(host: str) -> None:
    """Without hooks of our own the host's would take them over, and close them on the host's loop when it likes."""

    async def main() -> None:
        await take_one("dropped")
        await anyio.sleep_forever()

    async def on_host() -> None:
        hooks = sys.get_asyncgen_hooks()
        run = Run()
        run.spawn(main)
        run.step()
        for _ in range(5):
            gc.collect()
            await checkpoint()
        assert not log
        closed(run)
        assert log == ["dropped ended"]
        assert sys.get_asyncgen_hooks() == hooks

    anyio.run(on_host, backend=host)
    assert log == ["dropped ended"]


def test_order_is_that_of_the_first_use_and_not_of_the_making() -> None:
    async def main() -> None:
        made = [numbers(name) for name in ("first made", "second made", "never used")]
        for generator in (made[1], made[0]):
            await anext(generator)
        await anyio.sleep_forever()

    run = Run()
    run.spawn(main)
    run.step()
    assert closed(run) == ["second made ended", "first made ended"]


def test_tasks_end_before_generators() -> None:
    async def main() -> None:
        try:
            await take_one("generator")
            await anyio.sleep_forever()
        finally:
            log.append("task ended")

    run = Run()
    run.spawn(main)
    run.step()
    assert closed(run) == ["task ended", "generator ended"]


def test_clean_up_that_awaits_goes_through_every_finally() -> None:
    async def resource() -> AsyncIterator[int]:
        try:
            try:
                yield 1
            finally:
                log.append("first finally")
                await anyio.sleep(1)
                log.append("unreachable: nobody will ever wake this sleep")
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await cancel_shielded_checkpoint()
                finally:
                    log.append("second finally")

    async def main() -> None:
        async for _ in resource():
            break

    run = Run()
    run.spawn(main)
    run.step()
    assert closed(run) == ["first finally", "second finally"]
    assert run.timers.take() == []


def test_a_generator_that_clean_up_begins_is_ended_too() -> None:
    async def outer() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await take_one("begun while closing")

    async def main() -> None:
        async for _ in outer():
            break

    run = Run()
    run.spawn(main)
    run.step()
    assert closed(run) == ["begun while closing ended"]


def test_generators_inside_generators() -> None:
    async def outer() -> AsyncIterator[int]:
        try:
            async for number in numbers("inner"):
                yield number
        finally:
            log.append("outer ended")

    async def main() -> None:
        async for _ in outer():
            break
        await anyio.sleep_forever()

    run = Run()
    run.spawn(main)
    run.step()
    assert closed(run) == ["outer ended", "inner ended"]


def test_an_error_while_closing_one_does_not_keep_the_others_open() -> None:
    async def broken() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            log.append("broken ended")
            raise ValueError("nobody is left to hear this")

    async def main() -> None:
        async for _ in broken():
            break
        await take_one("next")
        await anyio.sleep_forever()

    run = Run()
    run.spawn(main)
    run.step()
    assert closed(run) == ["broken ended", "next ended"]


def test_closing_by_hand_may_wait() -> None:
    async def careful() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await anyio.sleep(5)
            log.append("closed properly")

    async def main() -> None:
        async with aclosing(careful()) as generator:
            await anext(generator)
        log.append(f"at {anyio.current_time()}")

    run = Run()
    run.spawn(main)
    assert run.step() == [("start", 1, 5.0)]
    run.fire(1)
    assert log == ["closed properly", "at 5.0"]


def test_a_generator_of_one_run_is_not_ended_with_another() -> None:
    async def main(name: str) -> None:
        await take_one(name)
        await anyio.sleep_forever()

    first, second = Run(), Run()
    for run, name in ((first, "first"), (second, "second")):
        run.spawn(main, name)
        run.step()
    assert closed(first) == ["first ended"]
    assert closed(second) == ["first ended", "second ended"]


def test_finished_generators_are_not_held() -> None:
    async def main() -> None:
        for number in range(1000):
            async for _ in numbers(str(number)):
                pass
        await anyio.sleep_forever()

    run = Run()
    run.spawn(main)
    run.step()
    assert len(run.scheduler.generators._held) <= 200
    assert run.scheduler.close() == []
