"""A worker as one more task of a service that already has a task group, on asyncio or trio.

``python examples/service.py`` serves three orders and ends; ``python examples/service.py trio`` does so on trio. The
orders are in ``orders.db``: started again with the same numbers, the service finds them done.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta

import anyio

from durable_anyio import Client, RetryPolicy, Worker, activity, workflow
from durable_anyio.client import WorkflowIDReusePolicy
from durable_anyio.exceptions import WorkflowAlreadyStartedError

TASK_QUEUE = "orders"


@dataclass
class Order:
    number: int
    items: list[str]


@activity.defn(start_to_close_timeout=timedelta(seconds=10), retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)))
async def reserve(number: int, item: str) -> str:
    if item == "tea" and activity.info().attempt == 1:
        raise ConnectionError("the warehouse did not answer")  # retried: the workflow never sees it
    return f"{item} for {number}"


@workflow.defn
class Fulfil:
    @workflow.run
    async def run(self, order: Order) -> list[str]:
        reserved: list[str] = []

        async def one(item: str) -> None:
            reserved.append(await reserve(order.number, item))

        with anyio.fail_after(60):  # a durable timer: if it passes, the group is cancelled and the workflow fails
            async with anyio.create_task_group() as group:
                for item in order.items:
                    group.start_soon(one, item)
        return sorted(reserved)


async def serve(client: Client, number: int) -> None:
    """What a request handler of the service would do."""
    identity = f"order-{number}"
    try:
        handle = await client.start_workflow(
            Fulfil.run,
            Order(number, ["cup", "tea"]),
            id=identity,
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        handle = client.get_workflow_handle_for(Fulfil.run, identity)
    print(identity, await handle.result(), flush=True)


async def main() -> None:
    async with Client.connect("sqlite:orders.db") as client, anyio.create_task_group() as service:
        worker = Worker(client, task_queue=TASK_QUEUE, workflows=[Fulfil], activities=[reserve])
        await service.start(worker.run)
        async with anyio.create_task_group() as requests:
            for number in range(3):
                requests.start_soon(serve, client, number)
        service.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
