"""Cancel scopes: deadlines, shields, nesting, who catches, and what the exception says."""

# ruff: noqa: ASYNC100 - some scopes are only looked at

from __future__ import annotations

import math

import anyio
import pytest
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from durable_anyio._backend import current_scheduler

pytestmark = pytest.mark.anyio


async def test_every_checkpoint_of_a_cancelled_scope_raises() -> None:
    times = 0
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(3):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                times += 1
        assert not scope.cancelled_caught
    assert times == 3
    assert scope.cancel_called
    assert not scope.cancelled_caught


async def test_a_scope_cancelled_before_it_is_entered() -> None:
    scope = anyio.CancelScope()
    scope.cancel()
    with scope:
        await checkpoint()
        pytest.fail("a checkpoint in a cancelled scope")
    assert scope.cancelled_caught


async def test_the_cancellation_ends_at_the_scope_that_was_cancelled() -> None:
    with anyio.CancelScope() as outer:
        with anyio.CancelScope() as middle:
            with anyio.CancelScope() as inner:
                middle.cancel()
                await anyio.sleep_forever()
            pytest.fail("the inner scope is not where it ends")
        await checkpoint()
    assert [scope.cancelled_caught for scope in (outer, middle, inner)] == [False, True, False]
    assert [scope.cancel_called for scope in (outer, middle, inner)] == [False, True, False]


async def test_a_scope_is_used_once() -> None:
    with anyio.CancelScope() as scope:
        pass
    with pytest.raises(RuntimeError, match="single 'with' block"):
        scope.__enter__()


async def test_a_shield_switched_on_inside_holds_the_cancellation_off() -> None:
    with anyio.CancelScope() as outer:
        with anyio.CancelScope() as inner:
            outer.cancel()
            inner.shield = True
            await anyio.sleep(1)
            inner.shield = False
            await checkpoint()
            pytest.fail("the shield is down")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_a_shield_does_not_hold_its_own_cancellation_off() -> None:
    with anyio.CancelScope(shield=True) as scope:
        scope.cancel()
        await checkpoint()
        pytest.fail("cancelled itself")
    assert scope.cancelled_caught


async def test_clean_up_in_a_shield_has_its_own_timeout() -> None:
    start = anyio.current_time()
    with anyio.move_on_after(1):
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.move_on_after(2, shield=True) as grace:
                await anyio.sleep_forever()
    assert grace.cancelled_caught
    assert anyio.current_time() == start + 3


async def test_a_deadline_can_be_read_and_moved_inside() -> None:
    start = anyio.current_time()
    with anyio.move_on_after(10) as scope:
        assert scope.deadline == start + 10
        scope.deadline += 5
        await anyio.sleep(12)
        scope.deadline = anyio.current_time() + 1
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() == start + 13


async def test_a_deadline_moved_into_the_past_cancels_at_the_next_checkpoint() -> None:
    with anyio.CancelScope() as scope:
        await anyio.sleep(2)
        scope.deadline = anyio.current_time() - 1
        await checkpoint()
        await checkpoint()
        pytest.fail("the deadline has passed")
    assert scope.cancelled_caught


async def test_a_deadline_taken_away_never_comes() -> None:
    with anyio.move_on_after(1) as scope:
        scope.deadline = math.inf
        await anyio.sleep(100)
    assert not scope.cancel_called


async def test_the_outer_deadline_wins_when_it_is_earlier() -> None:
    start = anyio.current_time()
    with anyio.move_on_after(1) as outer:
        with anyio.move_on_after(5) as inner:
            await anyio.sleep_forever()
        pytest.fail("the cancellation is the outer one's")
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)
    assert anyio.current_time() == start + 1


async def test_the_effective_deadline_sees_through_scopes_and_stops_at_shields() -> None:
    assert anyio.current_effective_deadline() == math.inf
    start = anyio.current_time()
    with anyio.move_on_after(10):
        with anyio.move_on_after(20):
            assert anyio.current_effective_deadline() == start + 10
            with anyio.move_on_after(30, shield=True) as shield:
                assert anyio.current_effective_deadline() == start + 30
                shield.cancel()
                assert anyio.current_effective_deadline() == -math.inf
        with anyio.move_on_after(5):
            assert anyio.current_effective_deadline() == start + 5


async def test_fail_after_raises_only_when_its_deadline_came() -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(1):
            await anyio.sleep_forever()
    with anyio.fail_after(1) as scope:
        scope.cancel()
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_timeout_of_a_group_reaches_grandchildren() -> None:
    ended: list[int] = []

    async def child(depth: int) -> None:
        try:
            async with anyio.create_task_group() as group:
                if depth:
                    group.start_soon(child, depth - 1)
                await anyio.sleep_forever()
        finally:
            ended.append(depth)

    with anyio.move_on_after(1):
        await child(3)
    assert sorted(ended) == [0, 1, 2, 3]


async def test_the_cancellation_says_why_and_in_which_task() -> None:
    texts: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as error:
            texts.append(str(error))
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(child, name="the child")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel(reason="enough is enough")
    (text,) = texts
    assert "enough is enough" in text
    if current_scheduler() is not None:
        assert "the child" in text


async def test_a_cancelled_checkpoint_lets_the_others_run_before_it_raises() -> None:
    ran: list[bool] = []

    async def other() -> None:
        ran.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        with anyio.CancelScope() as scope:
            scope.cancel()
            # Twice: in Trio the new task may come second in the first batch.
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await checkpoint()
            await checkpoint()
        assert ran


async def test_a_shielded_checkpoint_does_not_raise() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await cancel_shielded_checkpoint()
        reached = True
    assert reached
    assert not scope.cancelled_caught
