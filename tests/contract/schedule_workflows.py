"""The workflows that the schedules of the contract tests start."""

from __future__ import annotations

import anyio

from durable_anyio import workflow
from durable_anyio.exceptions import ApplicationError


@workflow.defn
class Report:
    """Answers at once."""

    @workflow.run
    async def run(self, title: str, pages: int) -> str:
        return f"{title}: {pages}"


@workflow.defn
class Held:
    """Runs until it is released."""

    def __init__(self) -> None:
        self.released = anyio.Event()

    @workflow.run
    async def run(self) -> str:
        await self.released.wait()
        return "released"

    @workflow.signal
    def release(self) -> None:
        self.released.set()


@workflow.defn
class Broken:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("it is broken")


SCHEDULED = [Report, Held, Broken]
