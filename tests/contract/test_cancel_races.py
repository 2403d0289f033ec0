"""Cancel against complete between real workers and services, where the order can be forced: in two tasks, and in one that found both.

| kind                                      | cancelled first | completed first | both while nobody looked              |
|-------------------------------------------|-----------------|-----------------|---------------------------------------|
| timer                                     | yes             | yes             | yes                                   |
| activity: try, wait, abandon              | yes             | yes             | yes                                   |
| child: wait, try, abandon                 | yes             | yes             | yes                                   |
| local activity: try, wait                 | yes             | yes             | it runs in the worker that looks      |
| signal, cancel request to another         | -               | yes             | they are over before one could cancel |
| Nexus operation                           | `nexus_scenarios.py`: each cancellation type, on a real server only       |

An update ends by its handler; what its handler waits for is one of these. `tests/workflow/test_cancel_matrix.py` has every kind of
operation in every order, activation by activation, and `rust/core/tests/cancel` event by event.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Client, Replayer, Worker, activity, workflow
from durable_anyio.testing import WorkflowEnvironment
from durable_anyio.workflow import ActivityCancellationType, ChildWorkflowCancellationType, ParentClosePolicy

from .conftest import SERVER
from .scenario import Handle

pytestmark = pytest.mark.anyio
SECOND, LONG = timedelta(seconds=1), timedelta(seconds=60)
gates: dict[str, threading.Event] = {}
running: set[str] = set()


@activity.defn(start_to_close_timeout=LONG)
def pass_gate(name: str) -> str:
    running.add(name)
    assert gates.setdefault(name, threading.Event()).wait(50)
    return "done"


@workflow.defn
class EndsWhenTold:
    def __init__(self) -> None:
        self.is_over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.is_over)
        return "done"

    @workflow.signal
    def end(self) -> None:
        self.is_over = True


CHILD_TYPES = {
    "child": ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    "left child": ChildWorkflowCancellationType.TRY_CANCEL,
    "abandoned child": ChildWorkflowCancellationType.ABANDON,
}
LOCAL = {
    "local activity": ActivityCancellationType.TRY_CANCEL,
    "waited local activity": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
EXTERNAL = ["external signal", "external cancel"]


@workflow.defn
class Race:
    """One thing in a scope that the signal `leave` cancels; then waits there for the signal `end`."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.value = ""
        self.is_over = False

    @workflow.run
    async def run(self, kind: str, seconds: float) -> list[Any]:
        with self.scope:
            self.value = await self.operate(kind, seconds)
            await workflow.wait_condition(lambda: self.is_over)
        return [self.value, self.scope.cancelled_caught]

    async def operate(self, kind: str, seconds: float) -> str:
        name = workflow.info().workflow_id
        queue = f"{workflow.info().task_queue}-others"
        if kind == "timer":
            await anyio.sleep(seconds)
            return "done"
        if kind in CHILD_TYPES:
            return await workflow.execute_child_workflow(
                EndsWhenTold.run,
                id=f"{name}/child",
                task_queue=queue,
                parent_close_policy=ParentClosePolicy.TERMINATE,
                cancellation_type=CHILD_TYPES[kind],
            )
        if kind in EXTERNAL:
            other = workflow.get_external_workflow_handle_for(EndsWhenTold.run, f"{name}/other")
            await (other.signal(EndsWhenTold.end) if kind == "external signal" else other.cancel())
            return "done"
        if kind in LOCAL:
            return await workflow.execute_local_activity(pass_gate, name, cancellation_type=LOCAL[kind])
        cancellation = {
            "activity": ActivityCancellationType.TRY_CANCEL,
            "waited activity": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            "abandoned activity": ActivityCancellationType.ABANDON,
        }[kind]
        return await workflow.execute_activity(pass_gate, name, task_queue=queue, cancellation_type=cancellation)

    @workflow.signal
    def leave(self) -> None:
        self.scope.cancel()

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def so_far(self) -> str:
        return self.value

    @workflow.query
    def has_left(self) -> bool:
        return self.scope.cancel_called


class Table:
    """A run of `Race`, and how its operation is ended from outside."""

    def __init__(self, client: Client, unique: str, kind: str) -> None:
        self.client = client
        self.kind = kind
        self.queue = f"race-{unique}"
        self.id = f"race-{unique}"
        self.handle: Handle

    def worker(self) -> Worker:
        return Worker(self.client, task_queue=self.queue, workflows=[Race], activities=[pass_gate])

    def others(self) -> Worker:
        return Worker(self.client, task_queue=f"{self.queue}-others", workflows=[EndsWhenTold], activities=[pass_gate])

    async def begin(self, seconds: float = 60) -> None:
        if self.kind in EXTERNAL:
            await self.client.start_workflow(EndsWhenTold.run, id=f"{self.id}/other", task_queue=f"{self.queue}-others")
        # The task is kept for a local activity for so long: then it is told of signals.
        self.handle = await self.client.start_workflow(
            Race.run, self.kind, seconds, id=self.id, task_queue=self.queue, task_timeout=SECOND if self.kind in LOCAL else None
        )
        if self.kind in EXTERNAL:
            return
        if self.kind == "timer":
            await self.until("timer_started")
        elif self.kind in CHILD_TYPES:
            await self.until("child_workflow_execution_started")
        else:
            while self.id not in running:
                await anyio.sleep(0.005)

    async def complete(self) -> None:
        """Ends the operation; returns when the service has written that down."""
        if self.kind == "timer":
            await self.until("timer_fired")
        elif self.kind in EXTERNAL:
            pass
        elif self.kind in CHILD_TYPES:
            await self.client.get_workflow_handle(f"{self.id}/child").signal("end")
            await self.until("child_workflow_execution_completed")
        else:
            gates.setdefault(self.id, threading.Event()).set()
            await self.until("marker_recorded" if self.kind in LOCAL else "activity_task_completed")

    async def until(self, kind: str) -> None:
        while kind not in await self.kinds():
            await anyio.sleep(0.005)

    async def kinds(self) -> list[str]:
        events = (await self.handle.fetch_history()).events
        return [str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in events]

    async def check(self, expected: list[Any], cancels: int) -> None:
        assert await self.handle.result() == expected
        asked = {"activity_task_cancel_requested", "timer_canceled", "request_cancel_external_workflow_execution_initiated"}
        assert len([kind for kind in await self.kinds() if kind in asked]) == cancels + (self.kind == "external cancel")
        Replayer(workflows=[Race]).replay(await self.handle.fetch_history())


@pytest.fixture
async def client(place: str) -> AsyncIterator[Client]:
    """In real time in both places: what is waited for here is outside of the workflows."""
    if place == "real":
        async with Client.connect(SERVER) as real:
            yield real
    else:
        async with WorkflowEnvironment.local() as environment:
            yield environment.client


LATER = ["timer", "activity", "waited activity", "abandoned activity", *CHILD_TYPES]
"""What waits for something outside of the worker."""

each = pytest.mark.parametrize


@pytest.fixture
async def table(kind: str, client: Client, unique: str) -> AsyncIterator[Table]:
    one = Table(client, unique, kind)
    try:
        async with one.others():
            with anyio.fail_after(40):
                yield one
            gates.setdefault(one.id, threading.Event()).set()
    finally:
        gates.setdefault(one.id, threading.Event()).set()


@each("kind", [*LATER, *LOCAL])
async def test_cancelled_first(table: Table) -> None:
    async with table.worker():
        await table.begin()
        await table.handle.signal(Race.leave)
        cancels = 0 if table.kind.startswith("abandoned") or table.kind in LOCAL else 1
        if table.kind in LOCAL:
            while not await table.handle.query(Race.has_left):
                await anyio.sleep(0.005)
            if table.kind == "local activity":
                await table.check(["", True], cancels)
                gates.setdefault(table.id, threading.Event()).set()
                return
            await table.complete()
            await table.check(["done", True], cancels)
            return
        if table.kind in ("waited activity", "child"):
            kind = "activity_task_cancel_requested" if table.kind != "child" else "request_cancel_external_workflow_execution_initiated"
            await table.until(kind)
            if table.kind == "child":  # the child does as it is asked
                await table.check(["", True], cancels)
                return
            await table.complete()
            await table.check(["done", True], cancels)
            return
        await table.check(["", True], cancels)


@each("kind", [*LATER, *LOCAL, *EXTERNAL])
async def test_completed_first(table: Table) -> None:
    async with table.worker():
        await table.begin(seconds=0.2)
        await table.complete()
        while await table.handle.query(Race.so_far) != "done":
            await anyio.sleep(0.005)
        await table.handle.signal(Race.leave)
        await table.check(["done", True], 0)


@each("kind", LATER)
@each("first", ["cancelled", "completed"])
async def test_both_while_nobody_looked(table: Table, first: str) -> None:
    """The worker finds both in one task: what came is delivered, whichever was first."""
    steps: list[Callable[[], Awaitable[None]]] = [lambda: table.handle.signal(Race.leave), table.complete]
    async with table.worker():
        await table.begin(seconds=1)
    for step in steps if first == "cancelled" else reversed(steps):
        await step()
    async with table.worker():
        await table.check(["done", True], 0)
