"""What must type-check, and in `refused` what must not: strict mypy complains about an ignore comment that is not needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

import anyio

from durable_anyio import Client, activity, workflow
from durable_anyio.client import WithStartWorkflowOperation, WorkflowIDConflictPolicy, WorkflowUpdateStage

SECOND = timedelta(seconds=1)
R = TypeVar("R")


@activity.defn(start_to_close_timeout=SECOND)
async def charge(order: str, cents: int) -> float:
    return cents / 100


@activity.defn
def count(order: str) -> int:
    return len(order)


def plain(order: str, cents: int) -> int:
    return cents


async def coroutine(cents: int) -> str:
    return str(cents)


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
    h: float = await workflow.execute_local_activity(charge, "a", 1, local_retry_threshold=SECOND)
    i: float = await workflow.execute_local_activity(Shop.charge, "a", 1, summary="charging")
    j: int = await workflow.execute_local_activity("name", 1, 2, result_type=int)
    k: float = await workflow.start_local_activity(charge.with_options(retry_policy=None), "a", 1)
    m: int = await workflow.step(plain, "a", 1)
    n: str = await workflow.step(coroutine, 1, name="another", start_to_close_timeout=SECOND)
    async with anyio.create_task_group() as tg:
        tg.start_soon(workflow.step, plain, "a", 1)
        tg.start_soon(charge, "a", 1)
        tg.start_soon(Shop.charge, "a", 1)
        tg.start_soon(charge.with_options(summary="charging"), "a", 1)
    assert [a, b, c, d, e, f, g, h, i, j, k, m, n]


@workflow.defn
class Pack:
    @workflow.run
    async def run(self, order: str, count: int) -> float:
        return count / 2

    @workflow.signal
    async def add(self, item: str) -> None: ...


async def accepted_children() -> None:
    a: float = await workflow.execute_child_workflow(Pack.run, "a", 1, id="x", run_timeout=SECOND)
    handle = await workflow.start_child_workflow(Pack.run, "a", 1)
    await handle.signal(Pack.add, "b")
    b: float = await handle
    c: int = await workflow.execute_child_workflow("Other", result_type=int)
    await workflow.get_external_workflow_handle_for(Pack.run, "x").signal(Pack.add, "b")
    await workflow.get_external_workflow_handle("x").signal("add", "b")
    assert [a, b, c]


async def refused_children() -> None:
    await workflow.execute_child_workflow(Pack.run, "a", "b")  # type: ignore[call-arg,arg-type]
    await workflow.execute_child_workflow(Pack.run, "a", 1, run_timeout=5)  # type: ignore[call-arg,call-overload]
    handle = await workflow.start_child_workflow(Pack.run, "a", 1)
    await handle.signal(Pack.add, 5)  # type: ignore[arg-type]


async def refused() -> None:
    await charge("a", "b")  # type: ignore[arg-type]
    await workflow.execute_activity(charge, "a", "b")  # type: ignore[call-arg,arg-type]
    await workflow.execute_activity(Shop.charge, "a")  # type: ignore[arg-type]
    await workflow.execute_local_activity(charge, "a", "b")  # type: ignore[call-arg,arg-type]
    workflow.start_local_activity(charge, 1, 1)  # type: ignore[call-arg,arg-type]
    await workflow.step(plain, 1, 1)  # type: ignore[call-arg,arg-type]
    await workflow.step(coroutine, "b")  # type: ignore[arg-type]
    workflow.start_activity(charge, 1, 1)  # type: ignore[call-arg,arg-type]
    async with anyio.create_task_group() as tg:
        tg.start_soon(charge, "a", "b")  # type: ignore[arg-type]


@workflow.defn
class Cart:
    @workflow.run
    async def run(self, owner: str) -> list[str]:
        return [owner]

    @workflow.update
    async def add(self, item: str, count: int) -> float:
        return len(item) * count

    @add.validator
    def check(self, item: str, count: int) -> None: ...

    @workflow.update(name="other")
    def plain(self) -> int:
        return 1

    async def uses(self) -> float:
        return await self.add("a", 1) + self.plain()


@workflow.defn
class Other:
    @workflow.run
    async def run(self) -> None: ...


async def updates_accepted(client: Client) -> None:
    cart = client.get_workflow_handle_for(Cart.run, "a")
    a: float = await cart.execute_update(Cart.add, "apple", 1)
    b: int = await cart.execute_update(Cart.plain, id="u")
    c: str = await cart.execute_update("name", 1, 2, result_type=str)
    started = await cart.start_update(Cart.add, "apple", 1, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    d: float = await started.result()
    operation = WithStartWorkflowOperation(Cart.run, "Ada", id="a", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.FAIL)
    e: float = await client.execute_update_with_start_workflow(Cart.add, "apple", 1, start_workflow_operation=operation)
    f: list[str] = await (await operation.workflow_handle()).result()
    assert [a, b, c, d, e, f]


async def updates_refused(client: Client) -> None:
    cart = client.get_workflow_handle_for(Cart.run, "a")
    await cart.execute_update(Cart.add, "apple", "1")  # type: ignore[call-arg,arg-type]
    await cart.execute_update(Cart.add, "apple")  # type: ignore[arg-type]
    other = client.get_workflow_handle_for(Other.run, "b")
    await other.execute_update(Cart.add, "apple", 1)  # type: ignore[call-arg,arg-type]
    WithStartWorkflowOperation(Cart.run, 1, id="a", task_queue="q")  # type: ignore[arg-type]


@dataclass
class Operation(Generic[R]):
    """As packages define the operations of a Nexus service."""

    name: str
    output_type: type[R] | None = None


async def nexus_accepted(charge: Operation[str]) -> None:
    payments = workflow.create_nexus_client(service="Payments", endpoint="bank")
    a: str = await payments.execute_operation(charge, 1)
    b: int = await payments.execute_operation("charge", 1, output_type=int, summary="money")
    c: list[str] = await payments.execute_operation("charge", 1)
    started = await payments.start_operation(charge, 1, cancellation_type=workflow.NexusOperationCancellationType.ABANDON)
    d: str = await started
    assert [a, b, c, d]


async def nexus_refused(charge: Operation[str]) -> None:
    payments = workflow.create_nexus_client(service="Payments", endpoint="bank")
    wrong: int = await payments.execute_operation(charge, 1)  # type: ignore[arg-type]
    await payments.execute_operation("charge")  # type: ignore[call-overload]
    await payments.execute_operation("charge", 1, timeout=5)  # type: ignore[call-overload]
    assert wrong
