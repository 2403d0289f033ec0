"""The worker over a core that is played by the test: no Rust, both hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from durable_anyio import Worker, activity, converter, workflow
from durable_anyio._bridge.proto import message
from durable_anyio.worker import WorkerError

from .activations import START_SECONDS, evict, query, value_of

Activation = message("coresdk.workflow_activation.WorkflowActivation")
Command = message("durable_anyio.bridge.v1.Command")
Completion = message("coresdk.workflow_completion.WorkflowActivationCompletion")
ActivityTask = message("coresdk.activity_task.ActivityTask")
ActivityCompletion = message("coresdk.ActivityTaskCompletion")

pytestmark = pytest.mark.anyio


class FakeCore:
    """Keeps what it is given; `stopped` tells that the worker was stopped in order."""

    def __init__(self) -> None:
        self.receivers: dict[int, Any] = {}
        self.started: list[Any] = []
        self.stopped = 0
        self.posted: list[Any] = []
        self.something_posted = anyio.Event()

    def attach(self, worker: int, receiver: Any) -> None:
        self.receivers[worker] = receiver

    def detach(self, worker: int) -> None:
        del self.receivers[worker]

    async def command(self, command: Any) -> bytes:
        await anyio.lowlevel.checkpoint()
        if command.WhichOneof("kind") == "start_worker":
            self.started.append(command.start_worker)
        else:
            self.stopped += 1
        return b""

    def do_in_turns(self, work: Callable[[float], bool], budget_seconds: float) -> None:
        while not work(budget_seconds):
            pass

    def post(self, command: Any) -> None:
        self.posted.append(command)
        self.something_posted.set()

    def post_workflow_completion(self, worker: int, completion: bytes) -> None:
        command = Command()
        command.workflow_completion.worker = worker
        command.workflow_completion.completion = completion
        self.post(command)

    @property
    def receiver(self) -> Any:
        return next(iter(self.receivers.values()))

    async def completion(self) -> Any:
        with anyio.fail_after(5):
            await self.something_posted.wait()
        self.something_posted = anyio.Event()
        command = self.posted.pop(0)
        if command.WhichOneof("kind") == "workflow_completion":
            return Completion.FromString(command.workflow_completion.completion)
        return ActivityCompletion.FromString(command.activity_completion.completion)


class FakeClient:
    identity = "me"
    namespace = "default"
    data_converter = converter.default()

    _forbidden_calls = "off"
    _exempt_modules = ()
    _worker_grouping_key = "group"

    def __init__(self) -> None:
        self._core = FakeCore()
        self._workers: set[Worker] = set()


@workflow.defn
class Spins:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self) -> int:
        while self.count < 300:
            self.count += 1
            await anyio.lowlevel.checkpoint()
        return self.count

    @workflow.query
    def counted(self) -> int:
        return self.count


@workflow.defn
class Exits:
    @workflow.run
    async def run(self) -> None:
        raise KeyboardInterrupt


@activity.defn
async def work() -> int:
    return 7


def make() -> tuple[FakeCore, Worker]:
    client = FakeClient()
    return client._core, Worker(client, task_queue="q", workflows=[Spins, Exits], activities=[work])  # type: ignore[arg-type]


def start(name: str) -> bytes:
    activation = Activation(run_id="r")
    activation.timestamp.FromSeconds(START_SECONDS)
    job = activation.jobs.add().initialize_workflow
    job.workflow_type = name
    job.workflow_id = "w"
    data: bytes = activation.SerializeToString()
    return data


def activation_of(*jobs: Any) -> bytes:
    activation = Activation(run_id="r", jobs=jobs)
    activation.timestamp.FromSeconds(START_SECONDS)
    data: bytes = activation.SerializeToString()
    return data


async def test_runs_a_workflow_and_an_activity(anyio_backend: str) -> None:
    core, worker = make()
    async with worker:
        (command,) = core.started
        assert (command.task_queue, command.identity, command.polls_workflows, command.polls_activities) == ("q", "me", True, True)
        core.receiver.on_activation(start("Spins"))
        assert value_of((await core.completion()).successful.commands[0]) == 300
        core.receiver.on_activation(activation_of(query("counted")))
        assert value_of((await core.completion()).successful.commands[0]) == 300
        core.receiver.on_activation(activation_of(evict()))
        assert (await core.completion()).WhichOneof("status") == "successful"
        task = ActivityTask(task_token=b"t")
        task.start.activity_type = "work"
        core.receiver.on_activity(task.SerializeToString())
        assert (await core.completion()).result.completed.result.data == b"7"
    assert core.stopped == 1
    assert not core.receivers


async def test_unknown_workflow_type(anyio_backend: str, caplog: pytest.LogCaptureFixture) -> None:
    core, worker = make()
    async with worker:
        core.receiver.on_activation(start("Unknown"))
        text = (await core.completion()).failed.failure.message
    assert "'Unknown' is not registered" in text
    assert "Exits, Spins" in text
    assert "Unknown" in caplog.text


async def test_run_in_a_task_group(anyio_backend: str) -> None:
    core, worker = make()
    async with anyio.create_task_group() as tg:
        await tg.start(worker.run)
        assert core.started
        tg.cancel_scope.cancel()
    assert core.stopped == 1


async def test_errors_of_the_block_leave_it_as_they_are(anyio_backend: str) -> None:
    core, worker = make()
    with pytest.raises(ValueError, match="mine"):
        async with worker:
            raise ValueError("mine")
    assert core.stopped == 1
    with pytest.raises(RuntimeError, match="has run"):
        async with worker:
            pass


async def test_cancellation_around_the_block(anyio_backend: str) -> None:
    core, worker = make()
    with anyio.CancelScope() as scope:
        async with worker:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert core.stopped == 1


async def wait_in_worker(core: FakeCore, worker: Worker, happen: Callable[[], None]) -> None:
    async with worker:
        happen()
        with anyio.fail_after(5):
            await anyio.sleep_forever()


async def test_fatal_errors_end_the_block(anyio_backend: str) -> None:
    core, worker = make()
    with pytest.raises(WorkerError, match="the namespace is gone"):
        await wait_in_worker(core, worker, lambda: core.receiver.on_event(40, "the namespace is gone", True))


def test_keyboard_interrupt_of_workflow_code_reaches_the_host(anyio_backend: str) -> None:
    async def main() -> None:
        await wait_in_worker(core, worker, lambda: core.receiver.on_activation(start("Exits")))

    core, worker = make()
    # A loop of its own, because an interrupt ends the loop.
    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=anyio_backend)
    # The open task was given back: a worker that stops waits for the answers of its open tasks.
    assert Completion.FromString(core.posted[0].workflow_completion.completion).HasField("failed")
