"""What must type-check, and in `refused` what must not: strict mypy complains about an ignore comment that is not needed."""

from __future__ import annotations

from datetime import timedelta

import anyio

from durable_anyio import activity, workflow

SECOND = timedelta(seconds=1)


@activity.defn(start_to_close_timeout=SECOND)
async def charge(order: str, cents: int) -> float:
    return cents / 100


@activity.defn
def count(order: str) -> int:
    return len(order)


class Shop:
    @activity.defn
    async def charge(self, order: str, cents: int) -> float:
        return cents / 100

    @activity.defn(name="other")
    def count(self, order: str) -> int:
        return len(order)


async def accepted() -> None:
    a: float = await charge("a", 1)
    b: int = await count("a")
    c: float = await workflow.execute_activity(charge, "a", 1, start_to_close_timeout=SECOND)
    d: float = await workflow.execute_activity(Shop.charge, "a", 1)
    e: int = await workflow.execute_activity(Shop().count, "a")
    f: int = await workflow.execute_activity("name", 1, 2, result_type=int)
    g: float = await workflow.start_activity(charge, "a", 1)
    async with anyio.create_task_group() as tg:
        tg.start_soon(charge, "a", 1)
        tg.start_soon(Shop.charge, "a", 1)
        tg.start_soon(charge.with_options(summary="charging"), "a", 1)
    assert [a, b, c, d, e, f, g]


async def refused() -> None:
    await charge("a", "b")  # type: ignore[arg-type]
    await workflow.execute_activity(charge, "a", "b")  # type: ignore[call-arg,arg-type]
    await workflow.execute_activity(Shop.charge, "a")  # type: ignore[arg-type]
    workflow.start_activity(charge, 1, 1)  # type: ignore[call-arg,arg-type]
    async with anyio.create_task_group() as tg:
        tg.start_soon(charge, "a", "b")  # type: ignore[arg-type]
