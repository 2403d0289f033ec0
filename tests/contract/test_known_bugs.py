"""Mistakes that cores of this kind have made, each with the behaviour that must be instead. On the embedded engine and a real server.

Three more are tested where a proxy can spoil things, in `tests/bad_input`: a completion over 4 MiB that is tried for ever
(`test_a_completion_over_four_mebibytes`), a history page that is incomplete (`test_a_history_that_is_cut_off`), a worker that does not end
where ShutdownWorker is not implemented (`test_a_service_without_what_can_be_done_without`). The order of the jobs in one activation is in
`rust/core/tests/conversation.rs` (`jobs_of_one_task_are_ordered`), the size of the search attribute that lists a run's patches in
`rust/core/tests/patches.rs` (`the_list_of_patches_stays_under_the_services_limit`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import grpc
import pytest
from connection.service import FakeService, refuse

from durable_anyio import Client, Replayer, Worker, WorkflowIDConflictPolicy, activity, workflow
from durable_anyio.client import WithStartWorkflowOperation
from durable_anyio.exceptions import NondeterminismError, TerminatedError, WorkflowAlreadyStartedError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment

from .conftest import SERVER
from .scenario import Handle

pytestmark = pytest.mark.anyio
SECOND = timedelta(seconds=1)

runs: Counter[str] = Counter()
"""How often the function of each step ran, by workflow id and name."""
gates: dict[str, threading.Event] = {}
"""What a step of a workflow waits for."""


def gate(name: str) -> threading.Event:
    return gates.setdefault(name, threading.Event())


def pass_gate(name: str) -> str:
    runs[name] += 1
    assert gate(name).wait(60)
    return f"{name} passed"


def count(name: str) -> str:
    runs[name] += 1
    return f"{name} counted"


@activity.defn(start_to_close_timeout=timedelta(seconds=20))
def count_later(name: str) -> str:
    return count(name)


@workflow.defn
class Gated:
    """A step that waits for its gate, beside others; collects the words that are signalled."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.done: list[str] = []

    @workflow.run
    async def run(self, name: str) -> list[str]:
        async def step(function: Callable[[str], str], word: str) -> None:
            self.done.append(await workflow.step(function, word))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(step, pass_gate, name)
            tasks.start_soon(step, count, f"{name}-quick")
        await workflow.step(count, f"{name}-after")
        await workflow.wait_condition(lambda: bool(self.words))
        return [*self.done, *self.words]

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def so_far(self) -> list[str]:
        return self.done


@workflow.defn
class CancelsAtOnce:
    """Steps that run, beside things that are cancelled in the step that begins them: before and after they have given their command."""

    @workflow.run
    async def run(self, name: str) -> list[str]:
        done: list[str] = []

        async def one(number: int) -> None:
            done.append(await workflow.step(count, f"{name}-{number}"))

        async def cancelled(call: Callable[[], Coroutine[Any, Any, None]], checkpoints: int) -> None:
            async with anyio.create_task_group() as inner:
                inner.start_soon(call)
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                inner.cancel_scope.cancel()
                inner.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(one, number)
                for call in (self.step, self.timer, self.activity):
                    tasks.start_soon(cancelled, call, number)
        await anyio.sleep(0.01)
        return sorted(done)

    async def step(self) -> None:
        await workflow.step(count, f"{workflow.info().workflow_id}-cancelled")

    async def timer(self) -> None:
        await anyio.sleep(60)

    async def activity(self) -> None:
        await workflow.execute_activity(count_later, f"{workflow.info().workflow_id}-cancelled")


made: Counter[str] = Counter()
"""How often an instance was made of each workflow: more than once when it had left the cache."""


@workflow.defn
class Waits:
    def __init__(self) -> None:
        made[workflow.info().workflow_id] += 1
        self.words: list[str] = []

    @workflow.run
    async def run(self, count: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.words) >= count)
        return self.words

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def heard(self) -> int:
        return len(self.words)


@workflow.defn
class ChildThatFailsToStart:
    """Starts a child whose id is taken, at a moment in which its own cancellation is on its way."""

    @workflow.run
    async def run(self, name: str, taken: str) -> list[str]:
        seen = []
        try:
            await workflow.step(pass_gate, name)
            await workflow.start_child_workflow(Waits.run, 1, id=taken)
        except WorkflowAlreadyStartedError:
            seen.append("taken")
        try:
            await anyio.sleep(3600)
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.01)
        return seen


attempts: Counter[str] = Counter()
"""How often the update of each workflow came to its handler."""


@workflow.defn
class FailsItsFirstTask:
    def __init__(self) -> None:
        self.asked: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        self.asked.append("run")
        await workflow.wait_condition(lambda: len(self.asked) > 1)
        await anyio.sleep(0.01)
        return self.asked

    @workflow.update
    def ask(self) -> str:
        name = workflow.info().workflow_id
        attempts[name] += 1
        if attempts[name] == 1:
            raise NondeterminismError("on purpose: the task fails")
        self.asked.append("update")
        return ",".join(self.asked)


@workflow.defn(name="Changes")
class Before:
    @workflow.run
    async def run(self) -> str:
        await anyio.sleep(0.01)
        await workflow.wait_condition(lambda: self.is_over)
        return "before"

    def __init__(self) -> None:
        self.is_over = False

    @workflow.signal
    def end(self) -> None:
        self.is_over = True


@workflow.defn(name="Changes")
class After(Before):
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(count_later, "never")
        return "after"


WORKFLOWS: list[type] = [Gated, CancelsAtOnce, Waits, ChildThatFailsToStart, FailsItsFirstTask, Before]


@asynccontextmanager
async def worker(client: Client, unique: str, *, workflows: list[type] = WORKFLOWS, **options: Any) -> AsyncIterator[None]:
    with anyio.fail_after(50):
        async with Worker(client, task_queue=f"bugs-{unique}", workflows=workflows, activities=[count_later], **options):
            yield


async def start(client: Client, unique: str, run: Any, *args: Any, suffix: str = "", **more: Any) -> Handle:
    handle: Handle = await client.start_workflow(run, *args, id=f"bugs-{unique}{suffix}", task_queue=f"bugs-{unique}", **more)
    return handle


async def replays(handle: Handle) -> None:
    Replayer(workflows=WORKFLOWS).replay(await handle.fetch_history())


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    while not await probe():
        await anyio.sleep(0.01)


# -- local activities


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
async def test_a_signal_while_a_local_activity_runs_leaves_a_history_that_replays(client: Client, unique: str, cached: int) -> None:
    async with worker(client, unique, max_cached_workflows=cached):
        handle = await start(client, unique, Gated.run, unique)
        await ran(unique)
        await handle.signal(Gated.say, "meanwhile")
        gate(unique).set()
        result = await handle.result()
    assert sorted(result) == sorted([f"{unique} passed", f"{unique}-quick counted", "meanwhile"])
    assert {runs[name] for name in (unique, f"{unique}-quick", f"{unique}-after")} == {1}
    await replays(handle)


async def ran(name: str) -> None:
    async def probe() -> bool:
        return runs[name] > 0

    await until(probe)


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
async def test_heartbeats_of_a_workflow_task_do_not_run_its_local_activities_again(client: Client, unique: str, cached: int) -> None:
    async with worker(client, unique, max_cached_workflows=cached):
        # A task that a busy machine does not answer in time is repeated, and its local activities with it: time enough, then.
        handle = await start(client, unique, Gated.run, unique, task_timeout=5 * SECOND)
        await ran(unique)

        async def has_beaten() -> bool:
            kinds = [event.event_type for event in (await handle.fetch_history()).events]
            return kinds.count(7) >= 2  # completed workflow tasks

        await until(has_beaten)
        gate(unique).set()
        await handle.signal(Gated.say, "go")
        await handle.result()
    assert {runs[name] for name in (unique, f"{unique}-quick", f"{unique}-after")} == {1}
    await replays(handle)


async def test_a_long_local_activity_does_not_hold_back_the_results_of_others(client: Client, unique: str) -> None:
    async with worker(client, unique):
        handle = await start(client, unique, Gated.run, unique, task_timeout=SECOND)

        async def has_quick() -> bool:
            return await handle.query(Gated.so_far) == [f"{unique}-quick counted"]

        await until(has_quick)
        assert not gate(unique).is_set()
        gate(unique).set()
        await handle.signal(Gated.say, "go")
        assert (await handle.result())[0] == f"{unique}-quick counted"
    await replays(handle)


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
async def test_what_is_cancelled_in_the_step_that_starts_it_replays_in_order(client: Client, unique: str, cached: int) -> None:
    """Also: cancelling what has given its command already, and twice, is no fatal error."""
    async with worker(client, unique, max_cached_workflows=cached):
        handle = await start(client, unique, CancelsAtOnce.run, unique)
        assert await handle.result() == [f"{unique}-{number} counted" for number in range(4)]
    assert runs[f"{handle.id}-cancelled"] == 0
    await replays(handle)


# -- children and updates


async def test_a_child_that_failed_to_start_may_be_cancelled(client: Client, unique: str) -> None:
    """The request comes before the start has failed, or with it; the service says which."""
    async with worker(client, unique):
        other = await start(client, unique, Waits.run, 1, suffix="-other")
        handle = await start(client, unique, ChildThatFailsToStart.run, unique, other.id)
        await ran(unique)
        await handle.cancel()
        gate(unique).set()
        assert await handle.result() == ["taken", "cancelled"]
        await other.signal(Waits.say, "end")
        assert await other.result() == ["end"], "nobody has cancelled what has the id"
    await replays(handle)


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
async def test_an_update_that_comes_with_the_start_again_keeps_its_place(client: Client, unique: str, cached: int) -> None:
    """The first task of an update-with-start fails; in the second, both come together again, in the order of a replay."""
    operation = WithStartWorkflowOperation(
        FailsItsFirstTask.run, id=f"bugs-{unique}", task_queue=f"bugs-{unique}", id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    async with worker(client, unique, max_cached_workflows=cached):
        answer = await client.execute_update_with_start_workflow(FailsItsFirstTask.ask, start_workflow_operation=operation)
        handle = await operation.workflow_handle()
        result = await handle.result()
    assert attempts[f"bugs-{unique}"] > 1
    assert (result, answer) == (["update", "run"], "update"), "updates are begun before `run`"
    await replays(handle)


# -- queries and the cache


@pytest.mark.parametrize("cached", [1000, 1, 0])
async def test_queries_are_neither_lost_nor_starved_beside_other_work(client: Client, unique: str, cached: int) -> None:
    async with worker(client, unique, max_cached_workflows=cached, max_concurrent_workflow_tasks=2):
        handles = [await start(client, unique, Waits.run, 8, suffix=f"-{number}") for number in range(3)]
        answers: list[int] = []

        async def ask(handle: Handle) -> None:
            answers.append(await handle.query(Waits.heard))

        async def say(handle: Handle) -> None:
            for number in range(8):
                await handle.signal(Waits.say, str(number))

        async with anyio.create_task_group() as tasks:
            for handle in handles:
                tasks.start_soon(say, handle)
                for _ in range(8):
                    tasks.start_soon(ask, handle)
        assert len(answers) == 24
        for handle in handles:
            assert await handle.result() == [str(number) for number in range(8)]
            assert await handle.query(Waits.heard) == 8, "also of a run that has ended"


async def test_ended_and_terminated_runs_do_not_fill_the_cache(client: Client, unique: str) -> None:
    async with worker(client, unique, max_cached_workflows=2):
        stays = await start(client, unique, Waits.run, 1, suffix="-stays")
        for number in range(5):
            handle = await start(client, unique, Waits.run, 1, suffix=f"-{number}")
            assert await handle.query(Waits.heard) == 0
            assert await stays.query(Waits.heard) == 0, "of the two, it was used last"
            if number % 2:
                await handle.terminate()
                with pytest.raises(WorkflowFailureError) as caught:
                    await handle.result()
                assert isinstance(caught.value.cause, TerminatedError)
            else:
                await handle.signal(Waits.say, "end")
                assert await handle.result() == ["end"]
        assert made[stays.id] == 1, "what had ended was kept in its place"
        await stays.signal(Waits.say, "end")
        assert await stays.result() == ["end"]


async def test_the_cache_keeps_its_limit(client: Client, unique: str) -> None:
    async with worker(client, unique, max_cached_workflows=2):
        handles = [await start(client, unique, Waits.run, 1, suffix=f"-{number}") for number in range(4)]
        for handle in [*handles, *handles]:
            assert await handle.query(Waits.heard) == 0
        for handle in handles:
            await handle.signal(Waits.say, "end")
            assert await handle.result() == ["end"]
    assert all(made[handle.id] > 1 for handle in handles), "four runs do not fit into a cache of two"


@pytest.fixture
async def real_time(place: str) -> AsyncIterator[Client]:
    """A connection to a place where a wait that is too long takes its time: virtual time would be moved past it."""
    if place == "real":
        async with Client.connect(SERVER) as real:
            yield real
    else:
        async with WorkflowEnvironment.local() as environment:
            yield environment.client


async def test_new_work_does_not_wait_for_the_polls_of_cached_runs(real_time: Client, unique: str) -> None:
    """With as few slots as possible. A poll lasts a minute; what none takes from a cached run's queue goes elsewhere after ten seconds."""
    with anyio.fail_after(50):
        async with worker(real_time, unique, max_concurrent_workflow_tasks=1):
            for number in range(6):
                handle = await start(real_time, unique, Waits.run, 1, suffix=f"-{number}")
                assert await handle.query(Waits.heard) == 0
                await handle.signal(Waits.say, "end")
                assert await handle.result() == ["end"]


# -- workers


async def test_a_worker_goes_on_after_a_difference_from_the_history(client: Client, unique: str) -> None:
    async with worker(client, unique):
        handle = await start(client, unique, Before.run)

        async def has_slept() -> bool:
            return any(event.HasField("timer_fired_event_attributes") for event in (await handle.fetch_history()).events)

        await until(has_slept)
    async with worker(client, unique, workflows=[After, Waits]):
        await handle.signal(Before.end)

        async def is_told() -> bool:
            return any("nondeterminism" in text for text in (await handle.describe()).problems)

        await until(is_told)
        other = await start(client, unique, Waits.run, 1, suffix="-other")
        await other.signal(Waits.say, "end")
        assert await other.result() == ["end"]
    async with worker(client, unique):
        assert await handle.result() == "before"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_worker_whose_polls_fail_ends_when_it_is_asked_to(anyio_backend: str, unique: str, code: grpc.StatusCode) -> None:
    with FakeService() as service:
        for method in ("PollWorkflowTaskQueue", "PollActivityTaskQueue"):
            service.answers[method] = refuse(code, "no polls today")
        service.answers["ShutdownWorker"] = refuse(code, "no end either")
        async with Client.connect(service.target) as client:
            with anyio.fail_after(8):
                async with worker(client, unique):

                    async def has_polled() -> bool:
                        return bool(service.asked("PollWorkflowTaskQueue"))

                    await until(has_polled)
