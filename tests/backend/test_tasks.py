"""What AnyIO tells about tasks: names, parents, who runs, who waits; and variables of a run."""

# ruff: noqa: ASYNC100 - some scopes are only looked at

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import RunVar, checkpoint, current_token

pytestmark = pytest.mark.anyio


async def test_the_current_task() -> None:
    task = anyio.get_current_task()
    assert task == anyio.get_current_task()
    assert task in anyio.get_running_tasks()
    assert not task.has_pending_cancellation()
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert task.has_pending_cancellation()
        with anyio.CancelScope(shield=True):
            assert not task.has_pending_cancellation()
    assert not task.has_pending_cancellation()


async def test_children_know_their_parent() -> None:
    infos: list[anyio.TaskInfo] = []

    async def child(depth: int) -> None:
        infos.append(anyio.get_current_task())
        if depth:
            async with anyio.create_task_group() as group:
                group.start_soon(child, depth - 1, name=f"child {depth - 1}")

    top = anyio.get_current_task()
    async with anyio.create_task_group() as group:
        group.start_soon(child, 2, name="child 2")
    assert [info.name for info in infos] == ["child 2", "child 1", "child 0"]
    assert [info.parent_id for info in infos] == [top.id, infos[0].id, infos[1].id]
    assert len({info.id for info in infos}) == 3
    assert "child 1" in repr(infos[1])


async def test_a_started_task_belongs_to_the_group() -> None:
    async def child(*, task_status: anyio.abc.TaskStatus[anyio.TaskInfo]) -> anyio.TaskInfo:
        task_status.started(anyio.get_current_task())
        await checkpoint()
        return anyio.get_current_task()

    async with anyio.create_task_group() as group:
        handle: Any = await group.start(child, return_handle=True)
    assert handle.start_value == handle.return_value
    assert handle.return_value.parent_id == anyio.get_current_task().id


async def test_running_tasks_are_those_that_have_not_ended() -> None:
    before = set(anyio.get_running_tasks())
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 1, name="short")
        group.start_soon(anyio.sleep, 2, name="long")
        await anyio.wait_all_tasks_blocked()
        assert sorted(str(task.name) for task in set(anyio.get_running_tasks()) - before) == ["long", "short"]
        await anyio.sleep(1.5)
        assert [task.name for task in set(anyio.get_running_tasks()) - before] == ["long"]
    assert set(anyio.get_running_tasks()) == before


async def test_waiting_until_all_others_wait() -> None:
    log: list[str] = []

    async def busy() -> None:
        for _ in range(5):
            await checkpoint()
        log.append("busy came to rest")
        await anyio.sleep(1)
        log.append("woke up")

    async with anyio.create_task_group() as group:
        group.start_soon(busy)
        await anyio.wait_all_tasks_blocked()
        log.append("all wait")
    assert log == ["busy came to rest", "all wait", "woke up"]


async def test_waiting_until_all_others_wait_can_be_cancelled() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        pytest.fail("the scope was cancelled")
    assert scope.cancelled_caught


async def test_a_run_variable_is_one_for_all_tasks_of_the_run() -> None:
    variable: RunVar[str] = RunVar("variable")
    with pytest.raises(LookupError):
        variable.get()

    async def child() -> None:
        variable.set("by the child")

    async with anyio.create_task_group() as group:
        group.start_soon(child)
    assert variable.get() == "by the child"
    token = variable.set("changed")
    variable.reset(token)
    assert variable.get() == "by the child"


async def test_the_token_of_a_run_stays_the_same() -> None:
    tokens: list[object] = [current_token()]

    async def child() -> None:
        tokens.append(current_token())

    async with anyio.create_task_group() as group:
        group.start_soon(child)
    assert tokens[0] == tokens[1]
