"""The shop's work that must not be lost half done: no HTTP in here, and no server."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import anyio

from durable_anyio import Client, Worker, activity, workflow
from durable_anyio.exceptions import ApplicationError

TASK_QUEUE = "shop"
# Orders of this value wait for somebody to approve them.
APPROVAL_CENTS = 100_00
APPROVAL_TIME = timedelta(days=1)
# What a parcel takes; the environment variable is for the tests.
PACKING_SECONDS = float(os.environ.get("SHOP_PACKING_SECONDS", "0.2"))


@dataclass
class Order:
    number: int
    items: list[str]
    cents: int


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def pack(number: int, item: str) -> str:
    """Touches the world: retried when it fails, and by the next process when this one is stopped in the middle of it."""
    await anyio.sleep(PACKING_SECONDS)
    return f"{item} for order {number}"


@workflow.defn
class Checkout:
    def __init__(self) -> None:
        self.stage = "new"
        self.approved = anyio.Event()

    @workflow.run
    async def run(self, order: Order) -> list[str]:
        if order.cents >= APPROVAL_CENTS:
            self.stage = "waiting for approval"
            with anyio.move_on_after(APPROVAL_TIME.total_seconds()) as waited:  # a timer that outlives the process
                await self.approved.wait()
            if waited.cancelled_caught:
                raise ApplicationError("nobody approved the order in time", type="NotApproved")
        self.stage = "packing"
        packed: list[str] = []

        async def one(item: str) -> None:
            packed.append(await pack(order.number, item))

        async with anyio.create_task_group() as parcels:
            for item in order.items:
                parcels.start_soon(one, item)
        self.stage = "done"
        return sorted(packed)

    @workflow.signal
    def approve(self) -> None:
        self.approved.set()

    @workflow.query
    def current_stage(self) -> str:
        return self.stage


def make_worker(client: Client, on_fatal_error: Callable[[BaseException], None] | None = None) -> Worker:
    """The worker of either service. What is being packed when the service stops has ten seconds to get done."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[Checkout],
        activities=[pack],
        graceful_shutdown_timeout=timedelta(seconds=10),
        on_fatal_error=on_fatal_error,
    )
