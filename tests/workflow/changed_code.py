"""One workflow as it was recorded, and the ways in which somebody changed it afterwards without a thought for the runs under way.

The recorded history is tests/histories/changed/shop.json: `Recorded` in the time-skipping environment.
"""

from __future__ import annotations

from datetime import timedelta

import anyio

from durable_anyio import activity, workflow

SECOND = timedelta(seconds=1)


@activity.defn(start_to_close_timeout=SECOND)
async def reserve(item: str) -> str:
    return f"reserved {item}"


@activity.defn(start_to_close_timeout=SECOND)
async def charge(item: str) -> str:
    return f"charged {item}"


@activity.defn(start_to_close_timeout=SECOND)
async def invoice(item: str) -> str:
    return f"invoiced {item}"


@workflow.defn(name="Shop")
class Recorded:
    @workflow.run
    async def run(self, item: str) -> str:
        await reserve(item)
        await anyio.sleep(60)
        return await charge(item)


@workflow.defn(name="Shop")
class AnotherActivity:
    @workflow.run
    async def run(self, item: str) -> str:
        await reserve(item)
        await anyio.sleep(60)
        return await invoice(item)  # was: charge


@workflow.defn(name="Shop")
class AnotherOrder:
    @workflow.run
    async def run(self, item: str) -> str:
        await anyio.sleep(60)  # was: reserve first
        await reserve(item)
        return await charge(item)


@workflow.defn(name="Shop")
class NoTimer:
    @workflow.run
    async def run(self, item: str) -> str:
        await reserve(item)
        return await charge(item)  # was: after a sleep


@workflow.defn(name="Shop")
class OneMore:
    @workflow.run
    async def run(self, item: str) -> str:
        async with anyio.create_task_group() as tg:
            tg.start_soon(reserve, item)
            tg.start_soon(invoice, item)  # was: not there
        await anyio.sleep(60)
        return await charge(item)


@workflow.defn(name="Shop")
class EarlyEnd:
    @workflow.run
    async def run(self, item: str) -> str:
        return await reserve(item)


@workflow.defn(name="Shop")
class EarlyFailure:
    @workflow.run
    async def run(self, item: str) -> str:
        await reserve(item)
        raise ValueError("sold out")  # was: not there


@workflow.defn(name="Shop")
class NeverEnds:
    @workflow.run
    async def run(self, item: str) -> str:
        await reserve(item)
        await anyio.sleep(60)
        await charge(item)
        await anyio.sleep(1)  # was: the end
        return "late"


@workflow.defn(name="Shop")
class Waits:
    @workflow.run
    async def run(self, item: str) -> str:
        await reserve(item)
        async with anyio.create_task_group() as tg:
            tg.start_soon(self.wait, anyio.Event())
        return item

    async def wait(self, event: anyio.Event) -> None:
        await event.wait()  # was: a sleep


@workflow.defn(name="Shop")
class Deadline:
    @workflow.run
    async def run(self, item: str) -> str:
        with anyio.fail_after(600):
            await reserve(item)  # was: without a deadline
        await anyio.sleep(60)
        return await charge(item)
