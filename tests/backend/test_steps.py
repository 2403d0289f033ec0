"""Steps: hidden hosts, refusals, limits, closing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
import sniffio
import trio
from anyio.lowlevel import RunVar, checkpoint

from durable_anyio._backend import (
    Cancelled,
    ForbiddenCallError,
    SwitchLimitError,
    VirtualRun,
    current_scheduler,
)

from .recorder import Run


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_a_step_hides_its_host_and_gives_it_back(host: str) -> None:
    seen: list[Any] = []

    async def inside() -> None:
        seen.append(sniffio.current_async_library())
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        with pytest.raises(RuntimeError):
            trio.lowlevel.current_task()
        with pytest.raises(RuntimeError):
            trio.CancelScope().__enter__()
        await checkpoint()

    async def main() -> None:
        hooks = sys.get_asyncgen_hooks()
        run = Run()
        task = run.spawn(inside)
        run.step()
        task.outcome()
        assert sniffio.current_async_library() == host
        assert sys.get_asyncgen_hooks() == hooks
        assert current_scheduler() is None
        await checkpoint()

    anyio.run(main, backend=host)
    assert seen == ["durable"]


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (lambda: asyncio.sleep(0), "asyncio.sleep"),
        (trio.lowlevel.cancel_shielded_checkpoint, "Trio"),
    ],
)
def test_foreign_primitives_are_refused_by_name(wait: Any, text: str) -> None:
    async def main() -> None:
        with suppress(ForbiddenCallError):  # swallowing it does not help: the step is poisoned
            await wait()

    run = Run()
    run.spawn(main)
    run.step()
    assert isinstance(run.scheduler.poison, ForbiddenCallError)
    assert text in str(run.scheduler.poison)


def test_steps_do_not_nest() -> None:
    run = Run()
    with pytest.raises(RuntimeError, match="do not nest"):
        run.scheduler.call(Run().scheduler.run)


def test_an_endless_step_is_stopped() -> None:
    rounds = 0

    async def main() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await checkpoint()

    run = Run(max_switches=100)
    run.spawn(main)
    run.step()
    assert isinstance(run.scheduler.poison, SwitchLimitError)
    assert rounds == 100
    run.scheduler.close()


def test_a_budget_pauses_between_two_tasks() -> None:
    async def main() -> None:
        for _ in range(5):
            await checkpoint()

    run = Run()
    task = run.spawn(main)
    slices = 1
    while not run.scheduler.run(budget_seconds=0):
        slices += 1
    assert task.done
    assert slices == 6


def test_a_read_only_call_cannot_change_the_run() -> None:
    run = Run()
    event = run.scheduler.call(anyio.Event)
    assert run.scheduler.call(event.is_set, read_only=True) is False
    with pytest.raises(ForbiddenCallError, match="query"):
        run.scheduler.call(event.set, read_only=True)
    assert run.scheduler.poison is None
    run.scheduler.call(event.set)
    assert event.is_set()


def test_a_primitive_shared_by_runs_is_named() -> None:
    lock = anyio.Lock()

    async def main() -> None:
        async with lock:
            await checkpoint()

    VirtualRun().run(main)
    with pytest.raises(ForbiddenCallError, match="another workflow run"):
        VirtualRun().run(main)


@pytest.mark.parametrize("exit_type", [KeyboardInterrupt, SystemExit])
def test_exits_go_to_the_host(exit_type: type[BaseException]) -> None:
    async def main() -> None:
        raise exit_type

    run = Run()
    run.spawn(main)
    with pytest.raises(exit_type):
        run.step()
    assert current_scheduler() is None


def test_run_variables_are_per_run() -> None:
    variable: RunVar[int] = RunVar("variable")

    async def main() -> int | None:
        before = variable.get(None)
        variable.set(1)
        return before

    assert VirtualRun().run(main) is None
    assert VirtualRun().run(main) is None


def test_closing_ends_everything_newest_first_without_commands() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def resource(name: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append(name)

    async def child(name: str) -> None:
        async with resource(name):
            try:
                await anyio.sleep(100)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1)
                log.append("unreachable")

    async def main() -> None:
        async with resource("main"), anyio.create_task_group() as group:
            group.start_soon(child, "first")
            group.start_soon(child, "second")
            with anyio.fail_after(50):
                await anyio.sleep_forever()

    run = Run()
    run.spawn(main)
    run.step()
    assert run.scheduler.close() == []
    assert run.timers.take() == []
    assert log == ["second", "first", "main"]
    assert not run.scheduler.tasks


def test_closing_unstarted_tasks_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
            await anyio.sleep(1)

    run = Run(policy=lambda ready: 0)
    run.spawn(main)
    run.spawn(_raise_exit)
    with pytest.raises(KeyboardInterrupt):
        run.step()
    assert run.scheduler.close() == []
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


async def _raise_exit() -> None:
    raise KeyboardInterrupt


def test_async_generators_are_closed_in_first_use_order() -> None:
    log: list[str] = []

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            log.append(name)

    async def main() -> None:
        for name in ("a", "b"):
            async for _ in numbers(name):
                break
        log.append("main")

    VirtualRun().run(main)
    assert log == ["main", "a", "b"]


def test_closing_a_stream_wakes_waiters_in_order() -> None:
    order: list[int] = []

    async def main() -> None:
        send, receive = anyio.create_memory_object_stream[int](0)

        async def wait(number: int) -> None:
            with pytest.raises(anyio.EndOfStream):
                await receive.receive()
            order.append(number)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            send.close()
        receive.close()

    VirtualRun().run(main)
    assert order == list(range(20))


def test_a_lock_of_an_ended_owner_is_broken() -> None:
    async def main() -> None:
        lock = anyio.Lock()
        async with anyio.create_task_group() as group:
            group.start_soon(lock.acquire)
            await checkpoint()
            await checkpoint()
            with pytest.raises(anyio.BrokenResourceError):
                await lock.acquire()

    VirtualRun().run(main)


def test_the_cancelled_class_is_no_exception() -> None:
    assert not issubclass(Cancelled, Exception)
