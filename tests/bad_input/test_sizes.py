"""What is larger than the service takes is refused with that reason, once: nothing is tried for ever, nothing waits for a timeout."""

from __future__ import annotations

from typing import Any

import pytest

from durable_anyio import Client
from durable_anyio._bridge import proto
from durable_anyio.exceptions import (
    ActivityError,
    ApplicationError,
    RPCError,
    TerminatedError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
)

from .altering import AlteringProxy
from .conftest import SERVER
from .workflows import MEBIBYTE, TASK_TIMEOUT, Doubles, Large, failed_tasks, problem, worker

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]
GRPC_MESSAGE_TOO_LARGE = 36


async def fails(client: Client, unique: str, what: str, count: int) -> tuple[Any, BaseException | None]:
    handle = await client.start_workflow(Large.run, what, count, id=f"large-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT)
    async with worker(client, f"q-{unique}"):
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    return await handle.fetch_history(), caught.value.cause


async def test_a_completion_over_four_mebibytes(proxy: AlteringProxy, client: Client, unique: str) -> None:
    """The service ends such a workflow, once it is told."""
    history, cause = await fails(client, unique, "arguments", 5)
    assert isinstance(cause, TerminatedError)
    assert "GrpcMessageTooLarge" in str(cause)
    assert len(failed_tasks(history)) == 1
    (told,) = proxy.asked("RespondWorkflowTaskFailed")
    message = proto.method("RespondWorkflowTaskFailed").request.FromString(told.request)
    assert message.cause == GRPC_MESSAGE_TOO_LARGE
    assert "larger than the service takes" in message.failure.message
    assert len(proxy.asked("RespondWorkflowTaskCompleted")) == 1


@pytest.mark.parametrize("count", [3, 5])
async def test_a_failure_of_a_workflow(client: Client, unique: str, count: int) -> None:
    """As a result that cannot be encoded: the code is to be mended."""
    handle = await client.start_workflow(
        Large.run, "failure", count, id=f"large-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT
    )
    async with worker(client, f"q-{unique}"):
        await problem(handle, "workflow task fails", "2,097,152")


@pytest.mark.parametrize("count", [1, 3, 5])
async def test_a_failure_of_an_activity(client: Client, unique: str, count: int) -> None:
    """The failure itself arrives, and the worker lives on."""
    _, cause = await fails(client, unique, "activity failure", count)
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert (cause.cause.type, cause.cause.message) == ("Large", "it failed")
    if count > 1:
        assert "2,097,152" in cause.cause.details[0]


async def test_failures_that_are_too_large_together(client: Client, unique: str) -> None:
    """Each part of the chain may be told, all together not: what is told says so."""
    _, cause = await fails(client, unique, "chain of failures", 5)
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert cause.cause.type == "Large"
    assert cause.cause.message.startswith("it failed (details and causes were left out"), cause.cause.message
    assert cause.cause.details == ()


async def test_an_activitys_result(client: Client, unique: str) -> None:
    _, cause = await fails(client, unique, "result", 5)
    assert isinstance(cause, ActivityError)
    assert "2,097,152" in str(cause.cause)


async def test_a_query_and_an_update(client: Client, unique: str) -> None:
    handle = await client.start_workflow(Doubles.run, 5, id=f"doubles-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT)
    async with worker(client, f"q-{unique}"):
        with pytest.raises(WorkflowQueryFailedError, match="2,097,152"):
            await handle.query(Doubles.zeros, 5 * MEBIBYTE)
        with pytest.raises(RPCError, match="Workflow Task in failed state"):
            await handle.execute_update(Doubles.give_zeros, 5 * MEBIBYTE)
        await handle.signal(Doubles.go_on)
        assert await handle.result() == 40
