"""Durable operations: who wins when an answer and a cancellation meet."""

from __future__ import annotations

from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from durable_anyio._backend import Cancelled, Operation, Task, park

from .recorder import Run


class Case:
    """A run with one task that waits for an operation inside a scope."""

    def __init__(self, mode: Literal["try", "wait", "abandon"]) -> None:
        self.run = Run()
        self.log: list[Any] = []
        self.operation: Operation[str] = Operation(self.run.scheduler, name="op", on_cancel=lambda: self.log.append("request"), mode=mode)
        self.scope: anyio.CancelScope | None = None
        self.task = self.run.spawn(self.main)
        self.run.step()

    async def main(self) -> None:
        with anyio.CancelScope() as self.scope:
            try:
                self.log.append(await self.operation.wait())
            except BaseException as error:
                self.log.append(type(error).__name__)
                raise
            await checkpoint()
            self.log.append("went on")
        self.log.append(("caught", self.scope.cancelled_caught))

    def cancel(self) -> None:
        assert self.scope is not None
        self.scope.cancel("stop")


def test_a_result_reaches_the_waiter() -> None:
    case = Case("try")
    case.operation.set_result("answer")
    case.run.step()
    assert case.log == ["answer", "went on", ("caught", False)]


def test_try_asks_once_and_leaves_at_once() -> None:
    case = Case("try")
    case.cancel()
    case.cancel()
    case.run.step()
    assert case.log == ["request", "Cancelled", ("caught", True)]
    case.operation.set_result("too late")
    case.run.step()
    assert case.log[-1] == ("caught", True)


def test_abandon_tells_nobody() -> None:
    case = Case("abandon")
    case.cancel()
    case.run.step()
    assert case.log == ["Cancelled", ("caught", True)]


def test_wait_holds_the_scope_until_the_answer() -> None:
    case = Case("wait")
    case.cancel()
    case.run.step()
    assert case.log == ["request"]
    case.operation.set_error(RuntimeError("cancelled over there"), cancelled=True)
    case.run.step()
    assert case.log == ["request", "Cancelled", ("caught", True)]


@pytest.mark.parametrize("answer", ["result", "error"])
def test_wait_another_answer_wins_and_the_cancellation_stays(answer: str) -> None:
    case = Case("wait")
    case.cancel()
    case.run.step()
    if answer == "result":
        case.operation.set_result("done after all")
        case.run.step()
        assert case.log == ["request", "done after all", ("caught", True)]
    else:
        case.operation.set_error(ValueError("failed after all"))
        case.run.step()
        assert case.log == ["request", "ValueError"]
        with pytest.raises(ValueError, match="failed after all"):
            case.task.outcome()


def test_an_answer_wins_over_a_cancellation_of_the_same_step() -> None:
    case = Case("try")
    case.operation.set_result("answer")
    case.cancel()
    case.run.step()
    assert case.log == ["answer", ("caught", True)]


def test_a_cancelled_answer_that_nobody_asked_for_is_an_error() -> None:
    case = Case("wait")
    case.operation.set_error(ValueError("cancelled by somebody else"), cancelled=True)
    case.run.step()
    with pytest.raises(ValueError, match="somebody else"):
        case.task.outcome()


def test_a_resolved_operation_still_lets_the_others_run() -> None:
    run = Run()
    operation: Operation[int] = Operation(run.scheduler, name="op")
    operation.set_result(1)
    order: list[str] = []

    async def first() -> None:
        await operation.wait()
        order.append("first")

    async def second() -> None:
        order.append("second")

    run.spawn(first)
    run.spawn(second)
    run.step()
    assert order == ["second", "first"]


def test_a_root_cancellation_is_the_outcome() -> None:
    case = Case("try")
    case.task.cancel("from outside")
    case.run.step()
    with pytest.raises(Cancelled, match="from outside"):
        case.task.outcome()


def test_the_first_answer_counts_and_ends_the_asking() -> None:
    asked: list[str] = []
    run = Run()
    result: Operation[str] = Operation(run.scheduler, name="result", on_cancel=lambda: asked.append("result"))
    error: Operation[str] = Operation(run.scheduler, name="error", on_cancel=lambda: asked.append("error"))
    result.set_result("first")
    result.set_result("second")
    result.set_error(ValueError("third"))
    error.set_error(ValueError("first"))
    error.set_error(KeyError("second"))
    error.set_result("third")
    result.request_cancel()
    error.request_cancel()
    assert not result.cancel_requested, "a later 'cancelled' would be taken for the answer to it"

    async def main() -> None:
        assert await result.wait() == "first"
        with pytest.raises(ValueError, match="first"):
            await error.wait()

    task = run.spawn(main)
    run.step()
    task.outcome()
    assert asked == []


def test_two_cancelled_scopes_ask_once() -> None:
    asked: list[str] = []
    run = Run()
    operation: Operation[str] = Operation(run.scheduler, name="op", on_cancel=lambda: asked.append("request"), mode="wait")
    scopes: list[anyio.CancelScope] = []

    async def main() -> str:
        with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
            scopes.extend((outer, inner))
            return await operation.wait()
        return "cancelled"

    task = run.spawn(main)
    run.step()
    scopes[1].cancel()
    run.step()
    scopes[0].cancel()
    run.step()
    operation.set_result("done after all")
    run.step()
    assert task.outcome() == "done after all"
    assert asked == ["request"]


def test_a_wait_that_goes_on_is_asked_to_end_only_once() -> None:
    asked: list[str] = []
    run = Run()
    scopes: list[anyio.CancelScope] = []

    def refuse(task: Task) -> bool:
        asked.append("asked")
        return False

    async def main() -> None:
        with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
            scopes.extend((outer, inner))
            await park(refuse)

    task = run.spawn(main)
    run.step()
    scopes[0].cancel()
    scopes[1].shield = True
    scopes[1].shield = False
    scopes[1].cancel()
    run.step()
    assert asked == ["asked"]
    assert not task.done


def test_closing_asks_nobody_to_cancel() -> None:
    case = Case("try")
    case.run.scheduler.close()
    case.cancel()
    case.operation.request_cancel()
    assert "request" not in case.log


def test_two_cancelled_waiters_ask_once() -> None:
    asked: list[str] = []
    run = Run()
    operation: Operation[str] = Operation(run.scheduler, name="op", on_cancel=lambda: asked.append("request"))
    tasks = [run.spawn(operation.wait), run.spawn(operation.wait)]
    run.step()
    for task in tasks:
        task.cancel()
    run.step()
    assert all(task.done for task in tasks)
    assert asked == ["request"]
