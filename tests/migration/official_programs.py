"""The workflows of the migration tests as they are written for Temporal's Python SDK; `programs.py` has the same ones for this package."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow

SOON = timedelta(seconds=10)


@activity.defn
async def note(text: str) -> str:
    return text


@activity.defn
async def mark(text: str) -> str:
    return text


async def noted(text: str) -> str:
    return await workflow.execute_activity(note, text, start_to_close_timeout=SOON)


class Halting:
    """Waits in its midst for a signal; an update tells when it does."""

    def __init__(self) -> None:
        self.waiting = False
        self.released = False

    async def halt(self) -> None:
        self.waiting = True
        await workflow.wait_condition(lambda: self.released)

    @workflow.signal
    def go(self) -> None:
        self.released = True

    @workflow.update
    async def reached(self) -> bool:
        await workflow.wait_condition(lambda: self.waiting)
        return True


@workflow.defn
class Small:
    @workflow.run
    async def run(self, text: str) -> str:
        return f"child {text}"


@workflow.defn
class Steps(Halting):
    """Activities, timers and random values."""

    @workflow.run
    async def run(self) -> list[bool | str]:
        token = str(workflow.uuid4())
        recorded = await noted(token)
        await asyncio.sleep(0.05)
        number = workflow.random().random()
        recorded_number = await noted(str(number))
        await self.halt()
        last = await noted("last")
        return [token == recorded, str(number) == recorded_number, last]


@workflow.defn
class Family(Halting):
    """Child workflows before and after."""

    @workflow.run
    async def run(self) -> list[str]:
        own = workflow.info().workflow_id
        first = await workflow.execute_child_workflow(Small.run, "one", id=f"{own}-one")
        await self.halt()
        second = await workflow.execute_child_workflow(Small.run, "two", id=f"{own}-two")
        return [first, second]


@workflow.defn
class Account(Halting):
    """Signals and updates, with activities in their handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []

    @workflow.signal
    async def add(self, text: str) -> None:
        self.entries.append(await noted(f"signal {text}"))

    @workflow.update
    async def book(self, text: str) -> int:
        self.entries.append(await noted(f"update {text}"))
        return len(self.entries)

    @workflow.run
    async def run(self) -> list[str]:
        await self.halt()
        self.entries.append(await noted("run"))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return sorted(self.entries)


@workflow.defn
class Together(Halting):
    """A signal that comes before the first task, beside `run`: who is first is for the SDK to say."""

    @workflow.signal
    async def early(self) -> None:
        await asyncio.sleep(0)
        await workflow.execute_activity(mark, "signal", start_to_close_timeout=SOON)

    @workflow.run
    async def run(self) -> str:
        await noted("run")
        await self.halt()
        return await noted("last")


@workflow.defn
class Deadline(Halting):
    """A deadline round an activity, and a timer beside one."""

    @workflow.run
    async def run(self) -> list[str]:
        first = await asyncio.wait_for(noted("in time"), 60)
        _, second = await asyncio.gather(asyncio.sleep(0.05), noted("beside"))
        await self.halt()
        return [first, second, await noted("last")]


@workflow.defn
class Changed(Halting):
    """Patches on both sides of the move, one of them deprecated."""

    @workflow.run
    async def run(self) -> list[bool | str]:
        first = workflow.patched("first")
        before = await noted("new" if first else "old")
        workflow.deprecate_patch("settled")
        await self.halt()
        again, second = workflow.patched("first"), workflow.patched("second")
        return [first, before, again, second, await noted("last")]


ACTIVITIES = [note, mark]
PROGRAMS = [Small, Steps, Family, Account, Together, Deadline, Changed]
