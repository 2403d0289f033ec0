"""What today's asyncio-only SDKs for durable execution break on, found by running them. Each test is named after what is done."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import anyio
import pytest
import trio

from durable_anyio import Client, Replayer, RetryPolicy, Worker, activity, workflow
from durable_anyio.client import WorkflowHandle
from durable_anyio.exceptions import ActivityError, ApplicationError, CancelledError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
WAIT = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED


@activity.defn(start_to_close_timeout=SECOND)
async def fail(word: str) -> None:
    raise ApplicationError(word, type="Broken", non_retryable=True)


@activity.defn(start_to_close_timeout=HOUR, heartbeat_timeout=2 * SECOND, retry_policy=RetryPolicy(maximum_attempts=1))
async def heartbeat(log: str) -> None:
    """Heartbeats until it is cancelled; `CANCELLATIONS` counts how often that was."""
    try:
        while True:
            activity.heartbeat()
            await anyio.sleep(0.005)
    except anyio.get_cancelled_exc_class():
        CANCELLATIONS.append(log)
        raise


CANCELLATIONS: list[str] = []


@activity.defn(start_to_close_timeout=HOUR)
async def quick(number: int) -> int:
    return number


@activity.defn(start_to_close_timeout=SECOND)
async def charge(order: str, cents: int, express: bool) -> str:
    return f"{order}: {cents + 1} {not express}"


def cancel_requests(events: Any) -> int:
    return sum(event.HasField("activity_task_cancel_requested_event_attributes") for event in events)


async def events_of(handle: WorkflowHandle[Any, Any]) -> Any:
    return (await handle.fetch_history()).events


@workflow.defn
class FailingGroup:
    @workflow.run
    async def run(self) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(fail, "one")
            tg.start_soon(anyio.sleep_forever)


async def test_failing_activity_in_a_task_group(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[FailingGroup], activities=[fail]):
            with pytest.raises(WorkflowFailureError) as caught:
                await env.client.execute_workflow(FailingGroup.run, id="fails", task_queue=task_queue)
    group = caught.value.cause
    assert isinstance(group, ExceptionGroup)
    (member,) = group.exceptions
    assert isinstance(member, ActivityError)
    assert str(member.cause) == "Broken: one"


@workflow.defn
class HostGroup:
    @workflow.run
    async def run(self, host: str) -> None:
        if host == "asyncio":
            async with asyncio.TaskGroup() as group:
                group.create_task(quick(1))
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(quick, 1)


@pytest.mark.parametrize("host", ["asyncio", "trio"])
async def test_failing_activity_in_a_task_group_of_the_host(env: WorkflowEnvironment, task_queue: str, host: str) -> None:
    """It knows nothing of replay. The workflow stays as it is, and `describe` says what to do, until the code is fixed."""
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[HostGroup], activities=[quick], forbidden_calls="off"):
            handle = await env.client.start_workflow(HostGroup.run, host, id="refused", task_queue=task_queue)
            while not (description := await handle.describe()).problems:
                assert description.close_time is None
                await anyio.sleep(0.002)
    (problem,) = description.problems
    assert f"uses {host}" in problem.lower()
    assert "use anyio's own functions" in problem
    assert "test_breaks_elsewhere.py" in problem


@workflow.defn
class MoveOn:
    @workflow.run
    async def run(self, log: str) -> bool:
        with anyio.move_on_after(1) as scope:
            await heartbeat(log)
        return scope.cancelled_caught


@workflow.defn
class MoveOnAndWait:
    @workflow.run
    async def run(self, log: str) -> bool:
        with anyio.move_on_after(0.05) as scope:
            await heartbeat.with_options(cancellation_type=WAIT)(log)
        return scope.cancelled_caught


@pytest.mark.parametrize("definition", [MoveOn, MoveOnAndWait])
async def test_move_on_after_around_a_heartbeating_activity(definition: Any, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with (
            WorkflowEnvironment.local() as env,
            Worker(env.client, task_queue=task_queue, workflows=[definition], activities=[heartbeat]),
        ):
            handle = await env.client.start_workflow(definition.run, task_queue, id="moves on", task_queue=task_queue)
            assert await handle.result() is True
            assert cancel_requests(await events_of(handle)) == 1
            while task_queue not in CANCELLATIONS:
                await anyio.sleep(0.002)
    assert CANCELLATIONS.count(task_queue) == 1


@workflow.defn
class FailAfter:
    @workflow.run
    async def run(self, log: str) -> str:
        try:
            with anyio.fail_after(0.05):
                await heartbeat(log)
        except TimeoutError as error:
            return type(error).__module__ + "." + type(error).__name__
        return "no error"


async def test_timeout_around_an_activity(task_queue: str) -> None:
    with anyio.fail_after(20):
        async with (
            WorkflowEnvironment.local() as env,
            Worker(env.client, task_queue=task_queue, workflows=[FailAfter], activities=[heartbeat]),
        ):
            result = await env.client.execute_workflow(FailAfter.run, task_queue, id="times out", task_queue=task_queue)
    assert result == "builtins.TimeoutError"


@workflow.defn
class ImportsInside:
    @workflow.run
    async def run(self) -> list[int]:
        import anyio as again

        results: list[int] = []

        async def one(number: int) -> None:
            results.append(await quick(number))

        async with again.create_task_group() as tg:
            for number in range(3):
                tg.start_soon(one, number)
        return results


async def test_import_anyio_and_task_group_in_the_default_configuration(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[ImportsInside], activities=[quick]):
            assert sorted(await env.client.execute_workflow(ImportsInside.run, id="imports", task_queue=task_queue)) == [0, 1, 2]


@pytest.mark.parametrize("run", [trio.run, asyncio.run])
def test_trio_run_client_connect(run: Any) -> None:
    async def main() -> str:
        client = await Client.connect("sqlite::memory:")
        try:
            async with Worker(client, task_queue="q", workflows=[Charges], activities=[charge]):
                return await client.execute_workflow(Charges.run, "tea", 7, True, id="runs", task_queue="q")
        finally:
            await client.close()

    assert run(main if run is trio.run else main()) == "tea: 8 False"


@workflow.defn
class Cancelled:
    @workflow.run
    async def run(self, mode: int, queue: str | None) -> None:
        await quick.with_options(cancellation_type=workflow.ActivityCancellationType(mode), task_queue=queue)(1)
        await anyio.sleep_forever()


MODES = list(workflow.ActivityCancellationType)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
async def test_cancel_while_an_activity_completes(
    env: WorkflowEnvironment, task_queue: str, mode: workflow.ActivityCancellationType
) -> None:
    """Forty runs, each cancelled at another moment of its activity's life."""
    with anyio.fail_after(60):
        async with Worker(env.client, task_queue=task_queue, workflows=[Cancelled], activities=[quick]):

            async def one(number: int) -> None:
                handle = await env.client.start_workflow(Cancelled.run, mode.value, None, id=f"cancel-{number}", task_queue=task_queue)
                for _ in range(number % 20):
                    await anyio.lowlevel.checkpoint()
                await anyio.sleep(number % 7 / 1000)
                await handle.cancel()
                with pytest.raises(WorkflowFailureError) as caught:
                    await handle.result()
                assert type(caught.value.cause) is CancelledError
                assert cancel_requests(await events_of(handle)) <= 1

            async with anyio.create_task_group() as tg:
                for number in range(40):
                    tg.start_soon(one, number)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
async def test_cancel_while_an_activity_is_scheduled_not_started(
    env: WorkflowEnvironment, task_queue: str, mode: workflow.ActivityCancellationType
) -> None:
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[Cancelled], activities=[quick]):
            handle = await env.client.start_workflow(Cancelled.run, mode.value, "nobody polls here", id="waits", task_queue=task_queue)
            while not (await handle.describe()).pending_activities:
                await anyio.sleep(0.002)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
            assert type(caught.value.cause) is CancelledError
            assert cancel_requests(await events_of(handle)) == (0 if mode is workflow.ActivityCancellationType.ABANDON else 1)


@workflow.defn
class CleansUp:
    @workflow.run
    async def run(self, name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            FINALLY.append((name, threading.current_thread()))
            await quick(1)
            FINALLY.append(("after an activity", threading.current_thread()))


FINALLY: list[tuple[str, threading.Thread]] = []


async def test_eviction(env: WorkflowEnvironment, task_queue: str) -> None:
    """`finally` runs at once, on the host's thread, and what it asks for is not done."""
    FINALLY.clear()
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[CleansUp], activities=[quick]):
            handle = await env.client.start_workflow(CleansUp.run, task_queue, id="evicted", task_queue=task_queue)
            while (await handle.describe()).history_length < 4:
                await anyio.sleep(0.002)
        assert [(task_queue, threading.current_thread())] == FINALLY
        assert len(await events_of(handle)) == 4, "started, task scheduled, started and completed, and no command of `finally`"


@activity.defn(start_to_close_timeout=HOUR)
async def turn(number: int) -> int:
    """The later it was asked for, the sooner it answers."""
    for _ in range(20 * (5 - number)):
        await anyio.lowlevel.checkpoint()
    return number * 10


@workflow.defn
class SeveralLocals:
    @workflow.run
    async def run(self) -> dict[int, int]:
        answers: dict[int, int] = {}

        async def one(number: int) -> None:
            answers[number] = await workflow.execute_local_activity(turn, number)

        async with anyio.create_task_group() as tg:
            for number in range(5):
                tg.start_soon(one, number)
        await anyio.sleep(1)
        return answers


@pytest.mark.parametrize("cached", [100, 0])
async def test_replay_of_several_local_activities(env: WorkflowEnvironment, task_queue: str, cached: int) -> None:
    """Each result reaches the one who asked for it: live, replayed from the first event on for each task, and in the replayer."""
    options: dict[str, Any] = {"workflows": [SeveralLocals], "activities": [turn], "max_cached_workflows": cached}
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, **options):
            handle = await env.client.start_workflow(SeveralLocals.run, id="locals", task_queue=task_queue)
            answers = await handle.result()
    # JSON has no numbers as keys; the declared type makes them numbers again.
    assert answers == {number: number * 10 for number in range(5)}
    Replayer(workflows=[SeveralLocals]).replay(await handle.fetch_history())


@workflow.defn
class Charges:
    @workflow.run
    async def run(self, order: str, cents: int, express: bool) -> str:
        return await charge(order, cents, express)


async def test_several_positional_arguments(env: WorkflowEnvironment, task_queue: str) -> None:
    """That they are typed is in `typing_cases.py`."""
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[Charges], activities=[charge]):
            assert await env.client.execute_workflow(Charges.run, "tea", 7, False, id="three", task_queue=task_queue) == "tea: 8 True"


@workflow.defn
class Plain:
    @workflow.run
    async def run(self) -> None:
        raise ValueError("plain")


async def test_plain_exception_in_a_workflow(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(20):
        async with Worker(env.client, task_queue=task_queue, workflows=[Plain], activities=[]):
            with pytest.raises(WorkflowFailureError) as caught:
                await env.client.execute_workflow(Plain.run, id="plain", task_queue=task_queue)
    assert isinstance(caught.value.cause, ApplicationError)
    assert (caught.value.cause.type, caught.value.cause.message) == ("ValueError", "plain")
