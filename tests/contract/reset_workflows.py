"""Workflows that are reset. Their histories are kept: changed commands need a new name."""

from __future__ import annotations

from typing import Any

import anyio

from durable_anyio import workflow

from .activities import double


@workflow.defn
class Steps3:
    """Three activities and a word between them."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.results: list[int] = []

    @workflow.run
    async def run(self) -> list[Any]:
        self.results.append(await double(1))
        await workflow.wait_condition(lambda: len(self.words) >= 1)
        self.results.append(await double(2))
        return [*self.results, *self.words]

    @workflow.query
    def done(self) -> int:
        return len(self.results)

    @workflow.signal
    def tell(self, word: str) -> None:
        self.words.append(word)


@workflow.defn
class Draws:
    """Random numbers before and after a word."""

    def __init__(self) -> None:
        self.told = False
        self.numbers: list[int] = []

    @workflow.run
    async def run(self) -> str:
        self.numbers.append(workflow.random().randrange(10**9))
        await workflow.wait_condition(lambda: self.told)
        self.numbers.append(workflow.random().randrange(10**9))
        return "drawn"

    @workflow.query
    def drawn(self) -> list[int]:
        return self.numbers

    @workflow.signal
    def go(self) -> None:
        self.told = True


@workflow.defn
class Basket2:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.closed)
        return self.items

    @workflow.update
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.defn
class Waits2:
    """A child that waits for its word."""

    def __init__(self) -> None:
        self.word = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self.word))
        return self.word

    @workflow.signal
    def tell(self, word: str) -> None:
        self.word = word


@workflow.defn
class WaitsForChild:
    def __init__(self) -> None:
        self.nudges = 0
        self.steps = 0

    @workflow.query
    def done(self) -> int:
        return self.steps

    @workflow.run
    async def run(self) -> list[Any]:
        child = await workflow.start_child_workflow(Waits2.run, id=f"{workflow.info().workflow_id}/child")
        self.steps = 1
        await workflow.wait_condition(lambda: self.nudges > 0)
        number = await double(21)
        self.steps = 2
        return [number, await child]

    @workflow.signal
    def nudge(self) -> None:
        self.nudges += 1


@workflow.defn
class WaitsForTimer:
    def __init__(self) -> None:
        self.nudges = 0

    @workflow.run
    async def run(self) -> float:
        async with anyio.create_task_group() as tg:
            tg.start_soon(workflow.wait_condition, lambda: self.nudges > 0)
            await anyio.sleep(3)
        return round(anyio.current_time())

    @workflow.signal
    def nudge(self) -> None:
        self.nudges += 1


@workflow.defn
class AnswersLate:
    """An update whose handler waits for a signal."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: "end" in self.words)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.words

    @workflow.update
    async def ask(self, question: str) -> str:
        await workflow.wait_condition(lambda: "answer" in self.words)
        self.words.append(question)
        return f"{question} answered"

    @workflow.signal
    def tell(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def done(self) -> int:
        return len(self.words)


RESET_WORKFLOWS: list[type] = [AnswersLate, Steps3, Draws, Basket2, Waits2, WaitsForChild, WaitsForTimer]
