"""Payloads that nobody can read, services that lack an RPC or refuse, workers that lack a type: told by name, and nothing is lost."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import grpc
import pytest
from connection.service import refuse

from durable_anyio import Client, Worker
from durable_anyio.client import RetryConfig
from durable_anyio.exceptions import DataConversionError, RPCError, RPCStatusCode, WorkflowUpdateFailedError
from durable_anyio.worker import WorkerError

from .altering import AlteringProxy
from .conftest import SERVER
from .workflows import TASK_TIMEOUT, Doubles, Large, double, problem, worker

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]
ODD = {"metadata": {"encoding": b"x-odd/v9"}, "data": b"\x00\x01"}


async def start(client: Client, unique: str, **more: Any) -> Any:
    return await client.start_workflow(Doubles.run, 5, id=f"doubles-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT, **more)


# -- payloads with an unknown encoding


async def test_an_odd_argument(client: Client, unique: str) -> None:
    request = client.service.request("StartWorkflowExecution", namespace="default", workflow_id=f"odd-{unique}", request_id=unique)
    request.workflow_type.name, request.task_queue.name = "Doubles", f"q-{unique}"
    request.input.payloads.add(**ODD)
    await client.service.call("StartWorkflowExecution", request)
    handle = client.get_workflow_handle(f"odd-{unique}")
    async with worker(client, f"q-{unique}"):
        await problem(handle, "workflow task fails", "Doubles.run", "x-odd/v9")
        other = await start(client, unique)
        await other.signal(Doubles.go_on)
        assert await other.result() == 40
    await handle.terminate()


async def test_an_odd_signal_query_and_update(client: Client, unique: str) -> None:
    handle = await start(client, unique)
    execution = {"workflow_id": handle.id}
    async with worker(client, f"q-{unique}"):
        query = client.service.request("QueryWorkflow", namespace="default", execution=execution)
        query.query.query_type = "zeros"
        query.query.query_args.payloads.add(**ODD)
        with pytest.raises(RPCError, match="x-odd/v9"):
            await client.service.call("QueryWorkflow", query)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update("give_zeros", "no number")
        assert "no number" in str(caught.value.cause) or "int" in str(caught.value.cause)
        signal = client.service.request(
            "SignalWorkflowExecution", namespace="default", workflow_execution=execution, signal_name="go_on", request_id=unique
        )
        signal.input.payloads.add(**ODD)
        await client.service.call("SignalWorkflowExecution", signal)
        await problem(handle, "workflow task fails", "go_on")
    await handle.terminate()


async def test_an_odd_result_of_an_activity(proxy: AlteringProxy, client: Client, unique: str) -> None:
    """Told while it is so; read as soon as somebody can."""

    def odd(_request: Any, task: Any) -> None:
        for event in task.history.events:
            if event.HasField("activity_task_completed_event_attributes"):
                event.activity_task_completed_event_attributes.result.payloads[0].metadata["encoding"] = b"x-odd/v9"

    proxy.alter("PollWorkflowTaskQueue", odd)
    handle = await start(client, unique)
    await handle.signal(Doubles.go_on)
    async with worker(client, f"q-{unique}"):
        await problem(handle, "workflow task fails", "x-odd/v9")
        proxy.leave("PollWorkflowTaskQueue")
        assert await handle.result() == 40


async def test_an_odd_result_of_a_workflow(proxy: AlteringProxy, client: Client, unique: str) -> None:
    handle = await start(client, unique)
    await handle.signal(Doubles.go_on)
    async with worker(client, f"q-{unique}"):
        assert await handle.result() == 40

    def odd(_request: Any, answer: Any) -> None:
        for event in answer.history.events:
            if event.HasField("workflow_execution_completed_event_attributes"):
                event.workflow_execution_completed_event_attributes.result.payloads[0].metadata["encoding"] = b"x-odd/v9"

    proxy.alter("GetWorkflowExecutionHistory", odd)
    with pytest.raises(DataConversionError, match="x-odd/v9"):
        await handle.result()


# -- an older service


@pytest.mark.parametrize("missing", ["ShutdownWorker", "DescribeNamespace", "GetSystemInfo", "DescribeTaskQueue", "RecordWorkerHeartbeat"])
async def test_a_service_without_what_can_be_done_without(proxy: AlteringProxy, unique: str, missing: str) -> None:
    proxy.answers[missing] = refuse(grpc.StatusCode.UNIMPLEMENTED, f"unknown method {missing}")
    async with Client.connect(proxy.target) as client:
        handle = await start(client, unique)
        await handle.signal(Doubles.go_on)
        async with worker(client, f"q-{unique}"):
            assert await handle.result() == 40
        assert (await handle.describe()).problems == ()


async def test_a_service_without_updates(proxy: AlteringProxy, client: Client, unique: str) -> None:
    for method in ("UpdateWorkflowExecution", "PollWorkflowExecutionUpdate", "ExecuteMultiOperation", "QueryWorkflow"):
        proxy.answers[method] = refuse(grpc.StatusCode.UNIMPLEMENTED, f"unknown method {method}")
    handle = await start(client, unique)
    async with worker(client, f"q-{unique}"):
        with pytest.raises(RPCError, match="does not have UpdateWorkflowExecution") as caught:
            await handle.execute_update(Doubles.give_zeros, 1)
        assert caught.value.status is RPCStatusCode.UNIMPLEMENTED
        with pytest.raises(RPCError, match="does not have QueryWorkflow"):
            await handle.query(Doubles.so_far)
        await handle.signal(Doubles.go_on)
        assert await handle.result() == 40


async def test_a_worker_without_its_poll_stops_and_says_so(proxy: AlteringProxy, client: Client, unique: str) -> None:
    proxy.answers["PollWorkflowTaskQueue"] = refuse(grpc.StatusCode.UNIMPLEMENTED, "unknown method PollWorkflowTaskQueue")
    await ends_with(client, unique, "PollWorkflowTaskQueue", "Unimplemented")


# -- credentials, names


async def ends_with(client: Client, unique: str, *parts: str) -> None:
    """A worker ends with an error that contains the parts."""
    with anyio.fail_after(60), pytest.raises(WorkerError) as caught:
        await Worker(client, task_queue=f"q-{unique}", workflows=[Doubles], activities=[double]).run()
    for part in (f"q-{unique}", *parts):
        assert part in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("code", "told"),
    [(grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated"), (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied")],
)
@pytest.mark.parametrize("method", ["PollWorkflowTaskQueue", "PollActivityTaskQueue"])
async def test_a_worker_whose_credentials_are_refused(
    proxy: AlteringProxy, client: Client, unique: str, method: str, code: grpc.StatusCode, told: str
) -> None:
    proxy.answers[method] = refuse(code, "the key is not valid")
    await ends_with(client, unique, method, told, "the key is not valid")


async def test_a_worker_in_a_namespace_that_does_not_exist(unique: str) -> None:
    async with Client.connect(SERVER, namespace=f"nowhere-{unique}", lazy=True) as client:
        await ends_with(client, unique, f"nowhere-{unique}", "NotFound")


async def test_a_search_attribute_that_does_not_exist(client: Client, unique: str) -> None:
    with pytest.raises(RPCError, match="Nowhere") as caught:
        async for _ in client.list_workflows("Nowhere = 1"):
            pass
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    request = client.service.request("StartWorkflowExecution", namespace="default", workflow_id=f"odd-{unique}", request_id=unique)
    request.workflow_type.name, request.task_queue.name = "Doubles", f"q-{unique}"
    request.search_attributes.indexed_fields["Nowhere"].data = b"1"
    request.search_attributes.indexed_fields["Nowhere"].metadata["encoding"] = b"json/plain"
    with pytest.raises(RPCError, match="Nowhere") as caught:
        await client.service.call("StartWorkflowExecution", request)
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_a_worker_without_the_workflow_type(client: Client, unique: str) -> None:
    handle = await start(client, unique)
    await handle.signal(Doubles.go_on)
    async with worker(client, f"q-{unique}", workflows=[Large]):
        text = await problem(handle, "workflow task fails", "'Doubles' is not registered")
        assert "Large" in text
        # Before its third attempt the service keeps a query waiting, in the hope that the task goes well.
        while (task := (await handle.describe()).pending_workflow_task) is None or task.attempt < 3:
            await anyio.sleep(0.02)
        with pytest.raises(RPCError, match="failed state") as caught:
            await handle.query(Doubles.so_far)
        assert caught.value.status is RPCStatusCode.FAILED_PRECONDITION
    async with worker(client, f"q-{unique}"):
        assert await handle.result() == 40


# -- a service that refuses for a while


async def test_a_service_that_is_gone_for_a_while(proxy: AlteringProxy, unique: str, caplog: pytest.LogCaptureFixture) -> None:
    """A load balancer says so in its place: nothing is lost, and the log has a line for each change and kind of poll."""
    caplog.set_level(logging.INFO)
    async with Client.connect(proxy.target, retry_config=RetryConfig(max_interval_millis=100, max_retries=0)) as client:
        handle = await start(client, unique)
        methods = ["RespondWorkflowTaskCompleted", "RespondActivityTaskCompleted", "PollWorkflowTaskQueue", "PollActivityTaskQueue"]
        for method in methods:
            proxy.answers[method] = refuse(grpc.StatusCode.UNAVAILABLE, "restarting")
        async with worker(client, f"q-{unique}", disable_eager_activity_execution=True):  # the activity's poll is to bring something
            await refused(proxy, "PollWorkflowTaskQueue", 20)
            await refused(proxy, "PollActivityTaskQueue", 20)
            proxy.leave("PollWorkflowTaskQueue")
            await refused(proxy, "RespondWorkflowTaskCompleted", 3)
            for method in methods:
                proxy.leave(method)
            await handle.signal(Doubles.go_on)
            assert await handle.result() == 40
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    for kind in ("PollWorkflowTaskQueue", "PollActivityTaskQueue"):
        assert len([line for line in lines if f"connection lost: {kind}" in line and "restarting" in line]) == 1, lines
    assert len([line for line in lines if "connection back" in line]) == 2, lines


async def refused(proxy: AlteringProxy, method: str, count: int) -> None:
    while len(proxy.asked(method)) < count:
        await anyio.sleep(0.01)
