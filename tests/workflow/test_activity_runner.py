"""Activity tasks in, completions out, on both hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import pytest

from durable_anyio import activity, converter
from durable_anyio._activity_runner import ActivityRunner
from durable_anyio._bridge.proto import message
from durable_anyio._definitions import activity_definition
from durable_anyio.exceptions import ApplicationError

Task = message("coresdk.activity_task.ActivityTask")
Completion = message("coresdk.ActivityTaskCompletion")
Heartbeat = message("coresdk.ActivityHeartbeat")

pytestmark = pytest.mark.anyio


@activity.defn
async def double(number: int) -> int:
    assert activity.info().activity_type == "double"
    return number * 2


@activity.defn
def double_in_thread(number: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    activity.heartbeat("from", "thread")
    return number * 2


@activity.defn
async def fail() -> None:
    raise ApplicationError("no", 1, type="Bad", non_retryable=True)


@activity.defn
async def odd() -> object:
    return object()


class Blocking:
    def __init__(self) -> None:
        self.started = anyio.Event()
        self.clean_up: list[str] = []

    @activity.defn
    async def forever(self) -> None:
        self.started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.clean_up.append(f"cancelled {activity.is_cancelled()}")

    @activity.defn
    def check(self) -> None:
        anyio.from_thread.run_sync(self.started.set)
        pause = threading.Event()
        while True:
            pause.wait(0.001)
            anyio.from_thread.check_cancelled()

    @activity.defn
    def beat(self) -> None:
        anyio.from_thread.run_sync(self.started.set)
        pause = threading.Event()
        while True:
            pause.wait(0.001)
            activity.heartbeat()


class Harness:
    def __init__(self, *activities: Any) -> None:
        table = {}
        for item in activities:
            definition = activity_definition(item)
            assert definition is not None
            table[definition.name] = (definition, item.fn)
        self.completions: list[Any] = []
        self.heartbeats: list[Any] = []
        self.runner = ActivityRunner(
            table,
            converter=converter.default(),
            task_queue="q",
            max_concurrent_local=2,
            find_step=lambda run_id, seq: None,
            max_concurrent=2,
            send_completion=lambda data: self.completions.append(Completion.FromString(data)),
            send_heartbeat=lambda data: self.heartbeats.append(Heartbeat.FromString(data)),
        )

    async def run(self, name: str, *args: Any) -> Any:
        async with anyio.create_task_group() as group:
            self.start(group, name, *args)
        return self.completions.pop().result

    def start(self, group: Any, name: str, *args: Any) -> None:
        task = Task(task_token=b"t")
        task.start.activity_type = name
        task.start.attempt = 1
        task.start.input.extend(converter.default().to_payloads(args))
        self.runner.handle(task.SerializeToString(), group)

    def cancel(self, group: Any) -> None:
        task = Task(task_token=b"t")
        task.cancel.reason = 1
        self.runner.handle(task.SerializeToString(), group)


async def test_results(anyio_backend: str) -> None:
    harness = Harness(double, double_in_thread)
    assert (await harness.run("double", 2)).completed.result.data == b"4"
    assert (await harness.run("double_in_thread", 2)).completed.result.data == b"4"
    assert [payload.data for payload in harness.heartbeats[0].details] == [b'"from"', b'"thread"']


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("fail", (), "no"),
        ("odd", (), "object"),
        ("missing", (), "'missing' is not registered"),
        ("double", ("x",), "payload 1"),
        ("double", (), "takes 1 argument"),
    ],
)
async def test_failures(anyio_backend: str, name: str, args: tuple[Any, ...], text: str) -> None:
    result = await Harness(fail, odd, double).run(name, *args)
    assert text in result.failed.failure.message


@pytest.mark.parametrize("name", ["forever", "check", "beat"])
async def test_cancellation(anyio_backend: str, name: str) -> None:
    blocking = Blocking()
    harness = Harness(blocking.forever, blocking.check, blocking.beat)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            harness.start(group, name)
            await blocking.started.wait()
            harness.cancel(group)
    (completion,) = harness.completions
    assert completion.result.cancelled.failure.HasField("canceled_failure_info")
    assert harness.runner.open_count == 0
    if name == "forever":
        assert blocking.clean_up == ["cancelled True"]


async def test_the_host_stops(anyio_backend: str) -> None:
    blocking = Blocking()
    harness = Harness(blocking.forever)
    async with anyio.create_task_group() as group:
        harness.start(group, "forever")
        await blocking.started.wait()
        group.cancel_scope.cancel()
    assert harness.completions[0].result.failed.failure.application_failure_info.type == "WorkerShutdown"


def test_outside_an_activity() -> None:
    calls: list[Callable[[], object]] = [activity.info, activity.heartbeat, activity.is_cancelled]
    for call in calls:
        with pytest.raises(RuntimeError, match="not in an activity"):
            call()
    assert not activity.in_activity()
