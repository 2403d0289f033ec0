"""What bad input gets on the embedded engine: an error that says what to do, nothing lost, nothing that hangs."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from durable_anyio import Client, RetryPolicy, Worker, activity, workflow
from durable_anyio.exceptions import (
    ActivityError,
    ApplicationError,
    DataConversionError,
    RPCError,
    RPCStatusCode,
    WorkflowAlreadyStartedError,
    WorkflowFailureError,
)
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

T = TypeVar("T")
MEBIBYTE = 1024 * 1024
ONCE = RetryPolicy(maximum_attempts=1)


@dataclass
class Order:
    number: int
    name: str


@activity.defn(start_to_close_timeout=timedelta(seconds=5), retry_policy=ONCE)
async def give_bytes(count: int) -> bytes:
    return bytes(count)


@activity.defn(start_to_close_timeout=timedelta(seconds=5), retry_policy=ONCE)
async def give_object() -> Any:
    return object()


@activity.defn(start_to_close_timeout=timedelta(seconds=5), retry_policy=ONCE)
async def count_bytes(data: bytes) -> int:
    return len(data)


@workflow.defn
class Good:
    @workflow.run
    async def run(self, order: Order) -> str:
        return f"{order.number} {order.name}"


@workflow.defn
class GivesObject:
    @workflow.run
    async def run(self) -> Any:
        return object()


@workflow.defn(name="GivesObject")
class GivesObjectMended:
    @workflow.run
    async def run(self) -> Any:
        return "mended"


@workflow.defn
class GivesBytes:
    @workflow.run
    async def run(self, count: int) -> bytes:
        return bytes(count)


@workflow.defn
class Calls:
    @workflow.run
    async def run(self, what: str, count: int) -> int:
        if what == "object":
            return len(str(await give_object()))
        if what == "argument":
            return await count_bytes(bytes(count))
        return len(await give_bytes(count))


@workflow.defn
class Waits:
    def __init__(self) -> None:
        self.orders: list[Order] = []

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: bool(self.orders))
        return self.orders[0].number

    @workflow.signal
    def take(self, order: Order) -> None:
        self.orders.append(order)

    @workflow.query
    def count(self, add: int) -> int:
        return len(self.orders) + add


WORKFLOWS: list[type] = [Good, GivesObject, GivesBytes, Calls, Waits]
ACTIVITIES: list[Any] = [give_bytes, give_object, count_bytes]


@asynccontextmanager
async def worker(env: WorkflowEnvironment, task_queue: str, workflows: list[type] = WORKFLOWS) -> AsyncIterator[None]:
    with anyio.fail_after(60):
        async with Worker(env.client, task_queue=task_queue, workflows=workflows, activities=ACTIVITIES):
            yield


async def until(probe: Callable[[], Awaitable[T | None]]) -> T:
    """What the probe answers as soon as it answers something."""
    with anyio.fail_after(60):
        while not (found := await probe()):
            await anyio.sleep(0.005)
        return found


async def problem(handle: Any, *parts: str) -> str:
    """The first problem of the workflow's description that contains all parts."""

    async def probe() -> str | None:
        found = (await handle.describe()).problems
        return next((text for text in found if all(part in text for part in parts)), None)

    return await until(probe)


async def stored(client: Client) -> list[str]:
    return [run.id async for run in client.list_workflows()]


async def works(env: WorkflowEnvironment, task_queue: str) -> None:
    """The engine and a worker still do what they should."""
    started = await env.client.execute_workflow(Good.run, Order(7, "still"), id="afterwards", task_queue=task_queue)
    assert started == "7 still"


# -- files


def content(path: Path) -> bytes:
    return path.read_bytes()


async def refusal(path: Path) -> str:
    """Why the file is refused; it is left as it was."""
    before = content(path)
    with anyio.fail_after(60), pytest.raises(RPCError) as caught:
        async with Client.connect(f"sqlite:{path}"):
            pass
    assert content(path) == before
    text = caught.value.message
    assert str(path) in text
    assert "hint:" in text
    return text


async def make_database(path: Path, ids: tuple[str, ...] = ("kept",)) -> None:
    async with Client.connect(f"sqlite:{path}") as client:
        for one in ids:
            await client.start_workflow("Good", Order(1, "x"), id=one, task_queue="nobody")


async def test_a_file_that_is_no_database(anyio_backend: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes\n" * 1000)
    assert "not a database" in await refusal(path)


async def test_a_database_of_another_program(anyio_backend: str, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("create table things (name text)")
        other.execute("insert into things values ('precious')")
    other.close()
    assert "another program" in await refusal(path)


async def test_a_newer_schema(anyio_backend: str, tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    await make_database(path)
    with sqlite3.connect(path) as database:
        (version,) = database.execute("pragma user_version").fetchone()
        database.execute(f"pragma user_version = {version + 1}")
    database.close()
    text = await refusal(path)
    assert "newer version" in text
    assert "upgrade durable_anyio" in text
    with sqlite3.connect(path) as database:
        database.execute(f"pragma user_version = {version}")
    database.close()
    async with Client.connect(f"sqlite:{path}") as client:
        assert await stored(client) == ["kept"]


@pytest.mark.parametrize("left", [50, 3000, 0.6])
async def test_a_truncated_file(anyio_backend: str, tmp_path: Path, left: float) -> None:
    path = tmp_path / "cut.db"
    await make_database(path, tuple(f"order-{number}" for number in range(50)))
    data = path.read_bytes()
    path.write_bytes(data[: int(left if left > 1 else len(data) * left)])
    text = await refusal(path)
    assert "damaged" in text or "not a database" in text


HOLDER = """
import sys, anyio
from durable_anyio import Client

async def main():
    async with Client.connect(sys.argv[1]) as client:
        await client.start_workflow("Good", 1, id="theirs", task_queue="q")
        print("open", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


def hold(path: Path) -> subprocess.Popen[bytes]:
    """Another process that has the file open until its input ends."""
    command = [sys.executable, "-c", HOLDER, f"sqlite:{path}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


async def test_a_file_held_by_another_process(anyio_backend: str, tmp_path: Path) -> None:
    path = tmp_path / "held.db"
    holder = hold(path)
    try:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        text = await refusal(path)
        assert f"in use by another process (pid {holder.pid})" in text
        assert "stop that process" in text
    finally:
        holder.communicate(timeout=20)
    assert holder.returncode == 0
    async with Client.connect(f"sqlite:{path}") as client:
        assert await stored(client) == ["theirs"]


@pytest.mark.parametrize("target", ["sqlite:", "sqlite:/no/such/directory/x.db", "sqlite:/", "nonsense", ""])
async def test_a_target_that_is_none(anyio_backend: str, target: str) -> None:
    with anyio.fail_after(60), pytest.raises(RPCError) as caught:
        async with Client.connect(target):
            pass
    assert "hint:" in caught.value.message


# -- starting


async def test_an_unknown_workflow_type(env: WorkflowEnvironment, task_queue: str) -> None:
    handle = await env.client.start_workflow("Good", Order(1, "late"), id="unknown", task_queue=task_queue, result_type=str)
    async with worker(env, task_queue, [Waits]):
        text = await problem(handle, "workflow task fails", "'Good' is not registered")
        assert "Waits" in text, "the message says what the worker has"
    async with worker(env, task_queue):
        assert await handle.result() == "1 late"
    assert (await handle.describe()).problems == ()


async def test_a_task_queue_without_a_worker(env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        await env.client.start_workflow(Good.run, Order(1, "x"), id=name, task_queue=task_queue)
    hints = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING and task_queue in one.getMessage()]
    assert len(hints) == 1, "said once for a queue"
    assert "no worker polls" in hints[0]
    handle = env.client.get_workflow_handle_for(Good.run, "a")
    await problem(handle, "no worker polls task queue", task_queue)
    async with worker(env, task_queue):
        assert await handle.result() == "1 x"
        assert (await handle.describe()).problems == ()


async def test_a_mistyped_task_queue(env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture) -> None:
    async with worker(env, task_queue):
        handle = await env.client.start_workflow(Good.run, Order(1, "x"), id="a", task_queue=task_queue + "s")
        await problem(handle, f"no worker polls task queue '{task_queue}s'")
        assert any(task_queue + "s" in one.getMessage() for one in caplog.records)
        await works(env, task_queue)


@pytest.mark.parametrize("args", [(), (Order(1, "x"), 2), (1,), ("text",), (None,), ({"number": 1},)], ids=repr)
async def test_arguments_that_do_not_fit(env: WorkflowEnvironment, task_queue: str, args: tuple[Any, ...]) -> None:
    start: Any = env.client.start_workflow
    with pytest.raises(TypeError, match=r"Good\.run"):
        await start(Good.run, *args, id="wrong", task_queue=task_queue)
    assert await stored(env.client) == []


async def test_arguments_of_signals_and_queries_that_do_not_fit(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        handle: Any = await env.client.start_workflow(Waits.run, id="waits", task_queue=task_queue)
        await handle.query(Waits.count, 1)
        before = len((await handle.fetch_history()).events)
        for call, args in ((handle.signal, (Waits.take,)), (handle.signal, (Waits.take, 3)), (handle.query, (Waits.count, "x"))):
            with pytest.raises(TypeError, match="Waits"):
                await call(*args)
        assert len((await handle.fetch_history()).events) == before
        await handle.signal(Waits.take, Order(5, "x"))
        assert await handle.result() == 5


@pytest.mark.parametrize("value", [object(), float("nan"), "\ud800", {1: {2: object()}}], ids=["object", "nan", "surrogate", "nested"])
async def test_an_argument_that_cannot_be_encoded(env: WorkflowEnvironment, task_queue: str, value: Any) -> None:
    with pytest.raises(DataConversionError):
        await env.client.start_workflow("Good", value, id="wrong", task_queue=task_queue)
    assert await stored(env.client) == []


async def test_a_duplicate_id(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        first = await env.client.start_workflow(Waits.run, id="twice", task_queue=task_queue)
        with pytest.raises(WorkflowAlreadyStartedError, match="hint:") as caught:
            await env.client.start_workflow(Good.run, Order(1, "x"), id="twice", task_queue=task_queue)
        assert (caught.value.workflow_id, caught.value.run_id) == ("twice", first.result_run_id)
        await first.signal(Waits.take, Order(2, "x"))
        assert await first.result() == 2
        again = await env.client.execute_workflow(Good.run, Order(3, "new"), id="twice", task_queue=task_queue)
        assert again == "3 new", "the id of a closed workflow is free"


async def test_two_workers_on_one_queue(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue), worker(env, task_queue):
        handles = [
            await env.client.start_workflow(Calls.run, "bytes", number, id=f"w{number}", task_queue=task_queue) for number in range(40)
        ]
        assert [await handle.result() for handle in handles] == list(range(40))
    await works_with_new_worker(env, task_queue)


async def works_with_new_worker(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        await works(env, task_queue)


@pytest.mark.parametrize("identifier", ["x" * 1001, "ä" * 501, ""])
async def test_ids_that_are_too_long_or_empty(env: WorkflowEnvironment, task_queue: str, identifier: str) -> None:
    async with worker(env, task_queue):
        with pytest.raises(ValueError, match=r"1,000|empty"):
            await env.client.start_workflow(Good.run, Order(1, "x"), id=identifier, task_queue=task_queue)
        with pytest.raises(ValueError, match=r"1,000|empty"):
            await env.client.start_workflow(Good.run, Order(1, "x"), id="x", task_queue=identifier)
        with pytest.raises(ValueError, match=r"1,000|empty"):
            await env.client.start_workflow(identifier, id="x", task_queue=task_queue)
        assert await stored(env.client) == []
        assert await env.client.execute_workflow(Good.run, Order(1, "x"), id="x" * 1000, task_queue=task_queue) == "1 x"


async def test_the_engine_refuses_long_ids_by_itself(env: WorkflowEnvironment, task_queue: str) -> None:
    request = env.client.service.request("StartWorkflowExecution", namespace="default", workflow_id="x" * 1001, request_id="r")
    request.workflow_type.name, request.task_queue.name = "Good", task_queue
    with pytest.raises(RPCError, match=r"1000|1,000|length") as caught:
        await env.client.service.call("StartWorkflowExecution", request)
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    assert await stored(env.client) == []


# -- values


async def test_a_payload_that_cannot_be_decoded(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        handle = await env.client.start_workflow("Good", {"number": "seven"}, id="garbled", task_queue=task_queue)
        await problem(handle, "workflow task fails", "Good.run", "seven")
        await works(env, task_queue)
        await handle.terminate()


async def test_a_signal_that_cannot_be_decoded(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        handle = await env.client.start_workflow(Waits.run, id="waits", task_queue=task_queue)
        await handle.signal("take", "no order")
        await problem(handle, "workflow task fails", "take")
        await works(env, task_queue)
        await handle.terminate()
        with pytest.raises(WorkflowFailureError):
            await handle.result()


async def test_a_result_that_cannot_be_read_as_the_type_asked_for(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        await env.client.execute_workflow(Good.run, Order(1, "x"), id="read", task_queue=task_queue)
        with pytest.raises(DataConversionError, match="int"):
            await env.client.get_workflow_handle("read", result_type=int).result()
        assert await env.client.get_workflow_handle("read").result() == "1 x"


async def test_a_workflow_result_that_cannot_be_encoded(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        handle = await env.client.start_workflow(GivesObject.run, id="object", task_queue=task_queue)
        await problem(handle, "the result of GivesObject.run", "object")
        await works(env, task_queue)
    async with worker(env, task_queue, [GivesObjectMended]):
        assert await handle.result() == "mended"


async def test_an_activity_result_that_cannot_be_encoded(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        with pytest.raises(WorkflowFailureError, match="cannot be written as JSON") as caught:
            await env.client.execute_workflow(Calls.run, "object", 0, id="object", task_queue=task_queue)
        assert isinstance(caught.value.cause, ActivityError)
        assert isinstance(caught.value.cause.cause, ApplicationError)
        await works(env, task_queue)


@pytest.mark.parametrize("count", [2 * MEBIBYTE + 1, 8 * MEBIBYTE])
async def test_an_argument_over_two_mebibytes(env: WorkflowEnvironment, task_queue: str, count: int) -> None:
    with pytest.raises(DataConversionError, match="2,097,152"):
        await env.client.start_workflow("Good", bytes(count), id="large", task_queue=task_queue)
    assert await stored(env.client) == []


async def test_the_engine_refuses_large_payloads_by_itself(env: WorkflowEnvironment, task_queue: str) -> None:
    request = env.client.service.request("StartWorkflowExecution", namespace="default", workflow_id="large", request_id="r")
    request.workflow_type.name, request.task_queue.name = "Good", task_queue
    request.input.payloads.add(data=bytes(2 * MEBIBYTE + 1)).metadata["encoding"] = b"binary/plain"
    with pytest.raises(RPCError) as caught:
        await env.client.service.call("StartWorkflowExecution", request)
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    assert await stored(env.client) == []


async def test_an_activity_result_over_two_mebibytes(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        with pytest.raises(WorkflowFailureError, match="2,097,152") as caught:
            await env.client.execute_workflow(Calls.run, "bytes", 2 * MEBIBYTE + 1, id="large", task_queue=task_queue)
        assert isinstance(caught.value.cause, ActivityError)
        largest = await env.client.execute_workflow(Calls.run, "bytes", MEBIBYTE * 2 - 100, id="fits", task_queue=task_queue)
        assert largest == MEBIBYTE * 2 - 100


async def test_an_activity_argument_over_two_mebibytes(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        handle = await env.client.start_workflow(Calls.run, "argument", 2 * MEBIBYTE + 1, id="large", task_queue=task_queue)
        await problem(handle, "workflow task fails", "2,097,152")
        await works(env, task_queue)


async def test_a_workflow_result_over_two_mebibytes(env: WorkflowEnvironment, task_queue: str) -> None:
    async with worker(env, task_queue):
        handle = await env.client.start_workflow(GivesBytes.run, 2 * MEBIBYTE + 1, id="large", task_queue=task_queue)
        await problem(handle, "workflow task fails", "the result of GivesBytes.run", "2,097,152")
        await works(env, task_queue)
