"""AnyIO's helpers that are built on the backend work unchanged inside a workflow. Those that an older AnyIO lacks are left out there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

pytestmark = pytest.mark.anyio

itertools: Any = pytest.importorskip("anyio.itertools")
functools: Any = pytest.importorskip("anyio.functools")
newer = pytest.mark.skipif(not hasattr(anyio, "gather"), reason="this AnyIO has no gather() and no Future")
library: Any = anyio


async def slowly(*numbers: int) -> AsyncIterator[int]:
    for number in numbers:
        await anyio.sleep(1)
        yield number


async def double(number: int) -> int:
    await anyio.sleep(number)
    return number * 2


async def test_itertools_over_async_iterators() -> None:
    assert [pair async for pair in itertools.pairwise(slowly(1, 2, 3))] == [(1, 2), (2, 3)]
    assert [total async for total in itertools.accumulate(slowly(1, 2, 3))] == [1, 3, 6]
    assert [batch async for batch in itertools.batched(slowly(1, 2, 3), 2)] == [(1, 2), (3,)]
    assert [item async for item in itertools.chain(slowly(1), [2], slowly(3))] == [1, 2, 3]


async def test_tee_gives_every_branch_all_items() -> None:
    got: dict[int, list[int]] = {0: [], 1: []}

    async def drain(index: int, branch: AsyncIterator[int]) -> None:
        async for item in branch:
            got[index].append(item)

    async with anyio.create_task_group() as group:
        for index, branch in enumerate(itertools.tee(slowly(1, 2, 3), 2)):
            group.start_soon(drain, index, branch)
    assert got == {0: [1, 2, 3], 1: [1, 2, 3]}


async def test_reduce() -> None:
    async def add(left: int, right: int) -> int:
        await checkpoint()
        return left + right

    assert await functools.reduce(add, slowly(1, 2, 3)) == 6


async def test_a_cached_function_runs_once_for_all_that_wait() -> None:
    calls: list[int] = []

    @functools.cache  # type: ignore[untyped-decorator]
    async def expensive(number: int) -> int:
        calls.append(number)
        await anyio.sleep(10)
        return number * 2

    start = anyio.current_time()
    async with anyio.create_task_group() as group:
        handles = [group.start_soon(expensive, 4) for _ in range(3)]
    assert [handle.return_value for handle in handles] == [8, 8, 8]
    assert await expensive(4) == 8
    assert calls == [4]
    assert anyio.current_time() == start + 10


@newer
async def test_gather_keeps_the_order_of_its_arguments() -> None:
    start = anyio.current_time()
    assert await library.gather(double(3), double(1), double(2)) == (6, 2, 4)
    assert anyio.current_time() == start + 3


@newer
async def test_as_completed_gives_results_as_they_come() -> None:
    async with library.as_completed(double(3), double(1), double(2)) as handles:
        assert [handle.return_value async for handle in handles] == [2, 4, 6]


@newer
async def test_amap() -> None:
    assert await library.amap(double, [2, 1]) == [4, 2]


@newer
async def test_a_future_is_waited_for_by_many() -> None:
    future = library.Future()
    got: list[str] = []

    async def wait() -> None:
        got.append(await future)

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(wait)
        await anyio.sleep(1)
        future.return_value = "answer"
    assert got == ["answer", "answer"]
    failed = library.Future()
    failed.exception = ValueError("no answer")
    with pytest.raises(library.FutureFailed):
        await failed


async def test_context_managers_made_of_generators() -> None:
    log: list[str] = []

    class Resource(anyio.AsyncContextManagerMixin):
        @asynccontextmanager
        async def __asynccontextmanager__(self) -> AsyncIterator[Any]:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                yield self
                log.append("leaving")
                await anyio.sleep(1)
                group.cancel_scope.cancel()

    class Plain(anyio.ContextManagerMixin):
        @contextmanager
        def __contextmanager__(self) -> Any:
            with anyio.CancelScope() as scope:
                yield scope

    start = anyio.current_time()
    async with Resource() as resource:
        assert isinstance(resource, Resource)
    assert log == ["leaving"]
    assert anyio.current_time() == start + 1
    with Plain() as scope:
        scope.cancel()
        await checkpoint()
    assert scope.cancelled_caught
