"""The workflows of the contract tests that are talked to: updates. Their recorded histories are kept, as those of `workflows`."""

from __future__ import annotations

import anyio

from durable_anyio import workflow

from .activities import double


@workflow.defn
class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = anyio.Event()

    @workflow.run
    async def run(self) -> list[str]:
        await self.closed.wait()
        return self.items

    @workflow.update
    def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @add.validator
    def check(self, item: str) -> None:
        if not item:
            raise ValueError("an item needs a name")

    @workflow.update
    async def add_doubled(self, number: int) -> str:
        self.items.append(str(await double(number)))
        return self.items[-1]

    @workflow.update
    async def fail(self, word: str) -> None:
        await anyio.sleep(0.01)
        raise ValueError(f"{word} failed")

    @workflow.update
    async def never(self) -> None:
        await anyio.sleep_forever()

    @workflow.signal
    def close(self) -> None:
        self.closed.set()


@workflow.defn
class Relay:
    """Continues as new when it is told to; the update that it never answers does not move on."""

    def __init__(self) -> None:
        self.told = anyio.Event()

    @workflow.run
    async def run(self, left: int) -> str:
        await self.told.wait()
        if left:
            workflow.continue_as_new(left - 1)
        return "arrived"

    @workflow.update
    async def never(self) -> None:
        await anyio.sleep_forever()

    @workflow.signal
    def go(self) -> None:
        self.told.set()


@workflow.defn
class AnswersAtOnce:
    """Ends in the workflow task that brings its update."""

    def __init__(self) -> None:
        self.asked = anyio.Event()

    @workflow.run
    async def run(self, word: str) -> str:
        await self.asked.wait()
        return word

    @workflow.update
    async def ask(self, question: str) -> str:
        self.asked.set()
        info = workflow.current_update_info()
        assert info is not None
        return f"{info.name} {info.id}: {question}"


MESSAGE_WORKFLOWS: list[type] = [Basket, Relay, AnswersAtOnce]
