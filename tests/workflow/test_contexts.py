"""Context variables of a workflow: its own, from the constructor on, for `run`, handlers and queries."""

from __future__ import annotations

from contextvars import ContextVar

import anyio

from durable_anyio import workflow

from .activations import Driver, fired, query, signal, value_of

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@workflow.defn
class Tenant:
    def __init__(self) -> None:
        self.seen = [tenant.get()]
        tenant.set("the constructor's")

    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append(tenant.get())
        tenant.set("run's")
        await anyio.sleep(1)
        self.seen.append(tenant.get())
        return self.seen

    @workflow.signal
    async def note(self) -> None:
        self.seen.append(tenant.get())

    @workflow.query
    def who(self) -> str:
        before = tenant.get()
        tenant.set("the query's")
        return before


def test_a_workflow_has_contexts_of_its_own() -> None:
    token = tenant.set("the worker's")
    try:
        driver = Driver(Tenant)
        driver.start()
        for _ in range(2):
            (answer,) = driver.step(query("who"))
            assert value_of(answer) == "the constructor's"
        driver.step(signal("note"))
        driver.seconds = 1.0
        result = value_of(driver.step(fired(1))[-1])
        assert tenant.get() == "the worker's"
    finally:
        tenant.reset(token)
    assert result == ["nobody", "the constructor's", "the constructor's", "run's"]
