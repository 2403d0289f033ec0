"""Activities that somebody else completes: over the end of a process, and what is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from durable_anyio import Client, RetryPolicy, Worker, activity, workflow
from durable_anyio.exceptions import ApplicationError, RPCError, RPCStatusCode, TimeoutError, WorkflowFailureError
from durable_anyio.testing import ActivityEnvironment, WorkflowEnvironment

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


class Approvals:
    """Keeps the tokens of attempts that wait for an approval."""

    def __init__(self) -> None:
        self.tokens: list[bytes] = []
        self.attempts: list[int] = []

    @activity.defn(start_to_close_timeout=HOUR)
    async def approve(self) -> str:
        self.tokens.append(activity.info().task_token)
        self.attempts.append(activity.info().attempt)
        activity.raise_complete_async()

    @activity.defn(start_to_close_timeout=timedelta(seconds=5), retry_policy=RetryPolicy(maximum_attempts=1))
    async def approve_soon(self) -> str:
        activity.raise_complete_async()


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, kind: str) -> str:
        if kind == "local":
            return await workflow.execute_local_activity(Approvals.approve, retry_policy=RetryPolicy(maximum_attempts=1))
        return await (Approvals.approve() if kind == "approve" else Approvals.approve_soon())


async def until(is_true: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not is_true():
            await anyio.sleep(0.005)


async def test_it_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    approvals = Approvals()
    target = f"sqlite:{tmp_path / 'a.db'}"

    async def run(act: Callable[[Client], Awaitable[None]]) -> None:
        async with Client.connect(target) as client, Worker(client, task_queue="q", workflows=[Waits], activities=[approvals.approve]):
            await act(client)

    async def begin(client: Client) -> None:
        await client.start_workflow(Waits.run, "approve", id="w", task_queue="q")
        await until(lambda: bool(approvals.tokens))

    async def end(client: Client) -> None:
        await client.get_async_activity_handle(task_token=approvals.tokens[0]).complete("yes")
        assert await client.get_workflow_handle("w", result_type=str).result() == "yes"

    await run(begin)
    await run(end)
    assert approvals.attempts == [1]


async def test_its_timeouts_go_on() -> None:
    approvals = Approvals()
    async with (
        WorkflowEnvironment.time_skipping() as environment,
        Worker(environment.client, task_queue="q", workflows=[Waits], activities=[approvals.approve_soon]),
    ):
        handle = await environment.client.start_workflow(Waits.run, "soon", id="w", task_queue="q")
        await environment.sleep(6)
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, Exception)
        assert isinstance(caught.value.cause.__cause__, TimeoutError)
        with pytest.raises(RPCError) as refused:
            await environment.client.get_async_activity_handle(workflow_id="w", activity_id="1").complete("late")
        assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_local_activity_cannot() -> None:
    approvals = Approvals()
    async with (
        WorkflowEnvironment.time_skipping() as environment,
        Worker(environment.client, task_queue="q", workflows=[Waits], activities=[approvals.approve]),
    ):
        with pytest.raises(WorkflowFailureError) as caught:
            await environment.client.execute_workflow(Waits.run, "local", id="w", task_queue="q")
        assert isinstance(caught.value.cause, Exception)
        cause = caught.value.cause.__cause__
        assert isinstance(cause, ApplicationError)
        assert "cannot be completed from outside" in cause.message


async def test_which_activity_has_to_be_said() -> None:
    async with WorkflowEnvironment.local() as environment:
        get = environment.client.get_async_activity_handle
        with pytest.raises(ValueError, match="which activity"):
            get(workflow_id="w")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="by itself"):
            get(task_token=b"t", workflow_id="w")  # type: ignore[call-overload]
        with pytest.raises(RPCError) as refused:
            await get(task_token=b"not a token").complete()
        assert refused.value.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND)


async def test_in_an_environment_it_is_an_error_of_its_own() -> None:
    with pytest.raises(activity.CompleteAsyncError):
        await ActivityEnvironment().run(Approvals().approve)
