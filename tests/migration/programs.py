"""The workflows of `official_programs.py` as they are written for this package, command for command."""

from __future__ import annotations

from datetime import timedelta

import anyio
import anyio.lowlevel

from durable_anyio import activity, workflow

SOON = timedelta(seconds=10)


@activity.defn(start_to_close_timeout=SOON)
async def note(text: str) -> str:
    return text


@activity.defn(start_to_close_timeout=SOON)
async def mark(text: str) -> str:
    return text


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
    @workflow.run
    async def run(self) -> list[bool | str]:
        token = str(workflow.uuid4())
        recorded = await note(token)
        await anyio.sleep(0.05)
        number = workflow.random().random()
        recorded_number = await note(str(number))
        await self.halt()
        last = await note("last")
        return [token == recorded, str(number) == recorded_number, last]


@workflow.defn
class Family(Halting):
    @workflow.run
    async def run(self) -> list[str]:
        own = workflow.info().workflow_id
        first = await workflow.execute_child_workflow(Small.run, "one", id=f"{own}-one")
        await self.halt()
        second = await workflow.execute_child_workflow(Small.run, "two", id=f"{own}-two")
        return [first, second]


@workflow.defn
class Account(Halting):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []

    @workflow.signal
    async def add(self, text: str) -> None:
        self.entries.append(await note(f"signal {text}"))

    @workflow.update
    async def book(self, text: str) -> int:
        self.entries.append(await note(f"update {text}"))
        return len(self.entries)

    @workflow.run
    async def run(self) -> list[str]:
        await self.halt()
        self.entries.append(await note("run"))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return sorted(self.entries)


@workflow.defn
class Together(Halting):
    @workflow.signal
    async def early(self) -> None:
        await anyio.lowlevel.checkpoint()
        await mark("signal")

    @workflow.run
    async def run(self) -> str:
        await note("run")
        await self.halt()
        return await note("last")


@workflow.defn
class Deadline(Halting):
    @workflow.run
    async def run(self) -> list[str]:
        with anyio.fail_after(60):
            first = await note("in time")
        second = ""

        async def beside() -> None:
            nonlocal second
            second = await note("beside")

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.05)
            group.start_soon(beside)
        await self.halt()
        return [first, second, await note("last")]


@workflow.defn
class Changed(Halting):
    @workflow.run
    async def run(self) -> list[bool | str]:
        first = workflow.patched("first")
        before = await note("new" if first else "old")
        workflow.deprecate_patch("settled")
        await self.halt()
        again, second = workflow.patched("first"), workflow.patched("second")
        return [first, before, again, second, await note("last")]


ACTIVITIES = [note, mark]
PROGRAMS = [Small, Steps, Family, Account, Together, Deadline, Changed]
