"""Workflows with the mistakes that `check_determinism` finds, and some without. Importable: fresh processes replay them."""

from __future__ import annotations

import time
from datetime import timedelta

import anyio

from durable_anyio import activity, workflow
from durable_anyio.exceptions import ApplicationError

SECOND = timedelta(seconds=1)


@activity.defn(start_to_close_timeout=SECOND)
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Greetings:
    """Groups, timers, a signal: nothing that differs."""

    def __init__(self) -> None:
        self.go = anyio.Event()

    @workflow.run
    async def run(self, names: list[str]) -> list[str]:
        greetings: list[str] = []

        async def one(name: str) -> None:
            greetings.append(await greet(name))

        with anyio.move_on_after(60):
            await self.go.wait()
        async with anyio.create_task_group() as tg:
            for name in names:
                tg.start_soon(one, name)
        await anyio.sleep(workflow.random().random())
        return sorted(greetings)

    @workflow.signal
    def start(self) -> None:
        self.go.set()


@workflow.defn
class OrderOfASet:
    @workflow.run
    async def run(self) -> None:
        await greet("all")
        for name in {"Ada", "Grace", "Barbara", "Edith", "Frances", "Jean", "Kathleen"}:
            await greet(name)  # in the order of hashes


runs = 0


@workflow.defn
class ModuleCounter:
    @workflow.run
    async def run(self) -> None:
        global runs
        runs += 1
        await anyio.sleep(runs)


@workflow.defn
class Identity:
    @workflow.run
    async def run(self) -> int:
        await greet("Ada")
        return id(self)


@workflow.defn
class WallClock:
    @workflow.run
    async def run(self) -> float:
        return time.time()


cached_names: list[str] = []


@workflow.defn
class OnlyWhenCached:
    """Keeps its state in the module: it is there while the run is in memory, and twice after a replay."""

    @workflow.run
    async def run(self) -> None:
        cached_names.append(await greet("Ada"))
        if len(cached_names) == 1:
            await greet("only the first time")


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        await greet("Ada")
        raise ApplicationError("no", type="No")


@workflow.defn
class Continues:
    @workflow.run
    async def run(self, left: int) -> str:
        await greet("Ada")
        if left:
            workflow.continue_as_new(left - 1)
        return "done"


@workflow.defn
class ForgetsACommand:
    @workflow.run
    async def run(self) -> None:
        await anyio.sleep(1)
        if not runs_of_forgetful:
            runs_of_forgetful.append(1)
            await greet("Ada")
        else:
            await anyio.Event().wait()  # for ever


runs_of_forgetful: list[int] = []
