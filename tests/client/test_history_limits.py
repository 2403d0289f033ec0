"""Limits of histories that a client sets for its embedded engine."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from durable_anyio import Client, Worker, workflow
from durable_anyio.client import HistoryLimits
from durable_anyio.exceptions import RPCError, RPCStatusCode, TerminatedError, WorkflowFailureError


@workflow.defn
class Grows:
    @workflow.run
    async def run(self, timers: int) -> str:
        async with anyio.create_task_group() as tg:
            for _ in range(timers):
                tg.start_soon(anyio.sleep, 0.001)
        return "short"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (HistoryLimits(events=100), "Workflow history count exceeds limit."),
        (HistoryLimits(size_bytes=5_000), "Workflow history size exceeds limit."),
    ],
)
async def test_a_history_that_grows_beyond_its_limit_ends_its_workflow(limits: HistoryLimits, reason: str) -> None:
    async with Client.connect("sqlite::memory:", history_limits=limits) as client, Worker(client, task_queue="q", workflows=[Grows]):
        assert await client.execute_workflow(Grows.run, 3, id="short", task_queue="q") == "short"
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Grows.run, 150, id="long", task_queue="q")
        assert isinstance(caught.value.cause, TerminatedError)
        assert caught.value.cause.message == reason


@pytest.mark.anyio
async def test_clients_of_one_file_have_the_same_limits(tmp_path: Path) -> None:
    """Whoever asks for others is told, instead of having limits that are not kept; whoever asks for none takes what there is."""
    target = f"sqlite:{tmp_path}/shop.db"
    limits = HistoryLimits(events=100)
    async with Client.connect(target, history_limits=limits):
        for same in (limits, None):
            async with Client.connect(target, history_limits=same):
                pass
        with pytest.raises(RPCError, match="history limits of 100 events") as refused:
            await Client.connect(target, history_limits=HistoryLimits(events=200))
        assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION
    async with Client.connect(target, history_limits=HistoryLimits(events=200)):
        pass
    async with Client.connect(target):
        with pytest.raises(RPCError, match="history limits of 51200 events"):
            await Client.connect(target, history_limits=limits)


@pytest.mark.parametrize(("events", "size_bytes"), [(0, 1), (1, -1)])
def test_limits_are_positive(events: int, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        HistoryLimits(events=events, size_bytes=size_bytes)
