"""Task groups: children, their results and errors, `start()`, names and contexts."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint

pytestmark = pytest.mark.anyio

variable: ContextVar[str] = ContextVar("variable")


async def double(value: int) -> int:
    await checkpoint()
    return value * 2


async def fail(text: str, after: float = 0.0) -> None:
    await anyio.sleep(after)
    raise ValueError(text)


async def serve(value: str, *, task_status: TaskStatus[str]) -> str:
    await checkpoint()
    task_status.started(value)
    await anyio.sleep(5)
    return value + " ended"


def texts(group: BaseExceptionGroup[Any]) -> list[str]:
    return sorted(str(error) for error in group.exceptions)


async def test_a_handle_gives_the_result() -> None:
    async with anyio.create_task_group() as group:
        soon = group.start_soon(double, 1)
        task = group.create_task(double(2))
        with pytest.raises(anyio.TaskNotFinished):
            _ = soon.return_value
        assert await task == 4
    assert (soon.return_value, task.return_value) == (2, 4)


async def test_a_cancelled_handle_ends_alone() -> None:
    async with anyio.create_task_group() as group:
        doomed = group.start_soon(anyio.sleep_forever)
        other = group.start_soon(anyio.sleep, 1)
        await checkpoint()
        doomed.cancel()
        with pytest.raises(anyio.TaskCancelled):
            await doomed
        assert other.status is anyio.TaskHandle.Status.PENDING
    assert other.status is anyio.TaskHandle.Status.FINISHED
    assert not group.cancel_scope.cancel_called


async def test_names() -> None:
    async def name_of(task: Any = None) -> str:
        return str(anyio.get_current_task().name)

    async with anyio.create_task_group() as group:
        given = group.start_soon(name_of, name="mine")
        default = group.start_soon(name_of)
        of_coroutine = group.create_task(name_of(), name=7)
    assert given.return_value == "mine"
    assert default.return_value == f"{__name__}.test_names.<locals>.name_of"
    assert of_coroutine.return_value == "7"


async def test_a_child_inherits_a_copy_of_the_context() -> None:
    async def look_and_change() -> str:
        seen = variable.get()
        variable.set("changed by the child")
        return seen

    variable.set("outer")
    async with anyio.create_task_group() as group:
        child = group.start_soon(look_and_change)
        variable.set("set after the start")
        await child
    assert child.return_value == "outer"
    assert variable.get() == "set after the start"


async def test_create_task_runs_in_the_context_it_is_given() -> None:
    async def look_and_change() -> str:
        seen = variable.get("nothing")
        variable.set("changed")
        return seen

    variable.set("outer")
    async with anyio.create_task_group() as group:
        first = group.create_task(look_and_change(), context=Context())
        second = group.create_task(look_and_change(), context=copy_context())
    assert (first.return_value, second.return_value) == ("nothing", "outer")
    assert variable.get() == "outer"


async def test_start_returns_what_started_was_given() -> None:
    async with anyio.create_task_group() as group:
        assert await group.start(serve, "up", name="server") == "up"
        handle = await group.start(serve, "again", return_handle=True)
        assert handle.start_value == "again"
    assert handle.return_value == "again ended"


async def test_a_child_says_started_only_once() -> None:
    async def twice(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        with pytest.raises(RuntimeError, match="started"):
            task_status.started()

    async with anyio.create_task_group() as group:
        await group.start(twice)


async def test_cancelling_start_cancels_the_child_that_has_not_started() -> None:
    ended = []

    async def never_starts(*, task_status: TaskStatus[None]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.get_cancelled_exc_class())

    async with anyio.create_task_group() as group:
        with anyio.move_on_after(3) as scope:
            await group.start(never_starts)
        assert scope.cancelled_caught
        assert len(ended) == 1
        assert not group.cancel_scope.cancel_called


async def test_the_first_error_cancels_the_siblings_and_all_errors_leave_together() -> None:
    async def fails_while_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("clean-up")

    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as group:
            group.start_soon(fails_while_cancelled)
            group.start_soon(fail, "first", 1)
            group.start_soon(anyio.sleep, 100)
            try:
                await anyio.sleep_forever()
            finally:
                raise OSError("body")
    assert texts(caught.value) == ["'clean-up'", "body", "first"]
    assert group.cancel_scope.cancel_called


async def test_an_inner_group_is_an_inner_exception_group() -> None:
    after = []
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as outer:
            outer.start_soon(fail, "outer", 2)
            async with anyio.create_task_group() as inner:
                inner.start_soon(fail, "inner", 1)
            after.append("unreachable")
    (error,) = caught.value.exceptions
    assert isinstance(error, ExceptionGroup)
    assert texts(error) == ["inner"]
    assert not after


async def test_except_star_takes_its_part_out() -> None:
    seen: list[str] = []
    with pytest.raises(ExceptionGroup) as caught:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(fail, "expected")
                with anyio.CancelScope(shield=True):
                    await checkpoint()
                    await checkpoint()
                    await checkpoint()
                raise OSError("another")
        except* ValueError as matched:
            seen += texts(matched)
    assert seen == ["expected"]
    assert texts(caught.value) == ["another"]


async def test_a_cancelled_group_leaves_without_an_error() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        group.cancel_scope.cancel()
        await anyio.sleep_forever()
    assert group.cancel_scope.cancelled_caught


async def test_children_may_be_added_until_the_last_one_ends() -> None:
    log = []

    async def child(depth: int) -> None:
        await anyio.sleep(1)
        log.append(depth)
        if depth:
            group.start_soon(child, depth - 1)

    async with anyio.create_task_group() as group:
        group.start_soon(child, 3)
    assert log == [3, 2, 1, 0]
    with pytest.raises(RuntimeError, match="not active"):
        group.start_soon(child, 0)


async def test_leaving_a_group_is_no_cancellation_point() -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group():
            scope.cancel()
        went_on = True
    assert went_on
    assert not scope.cancelled_caught


async def test_waiting_for_children_delivers_a_cancellation_to_them_only() -> None:
    ended = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.current_time())

    start = anyio.current_time()
    with anyio.move_on_after(2) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
    assert ended == [start + 2]
    assert scope.cancelled_caught
