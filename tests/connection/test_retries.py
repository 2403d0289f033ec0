"""Calls that meet a service which stops, restarts, limits or goes away: tried again where that does no harm, and no log full of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import grpc
import pytest

from durable_anyio import Worker, _connection, activity, workflow
from durable_anyio.client import Client, KeepAliveConfig, RetryConfig
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .proxy import Proxy, proxy
from .service import Answer, FakeService, encoded, in_turn, refuse
from .test_connect import list_namespaces

pytestmark = pytest.mark.anyio

QUICK = RetryConfig(initial_interval_millis=1, max_interval_millis=20)
PATIENT = RetryConfig(initial_interval_millis=10, max_interval_millis=50, max_retries=0, max_elapsed_time_millis=None)


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        pass


@activity.defn
async def nothing() -> None:
    pass


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as one:
        yield one


def link_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says, a word for each line about the connection."""
    words = {"lost, trying again": "lost", "is back": "back"}
    lines = [record.getMessage() for record in caplog.records if record.name == "durable_anyio" and record.levelno >= logging.INFO]
    return [next((word for text, word in words.items() if text in line), line) for line in lines]


async def eventually(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.005)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.ABORTED])
async def test_a_refusal_that_passes_is_tried_again(service: FakeService, code: grpc.StatusCode) -> None:
    service.answers["ListNamespaces"] = in_turn(refuse(code, "once"), refuse(code, "twice"), service.answers["ListNamespaces"])
    async with Client.connect(service.target, retry_config=QUICK) as client:
        assert (await list_namespaces(client)).next_page_token == b"more"
    assert len(service.asked("ListNamespaces")) == 3


async def test_attempts_are_limited(service: FakeService) -> None:
    service.answers["ListNamespaces"] = refuse(grpc.StatusCode.UNAVAILABLE, "always")
    quick = RetryConfig(initial_interval_millis=1, max_retries=2)
    async with Client.connect(service.target, retry_config=quick) as client:
        with pytest.raises(RPCError, match="always") as caught:
            await list_namespaces(client)
    assert caught.value.status is RPCStatusCode.UNAVAILABLE
    assert len(service.asked("ListNamespaces")) == 3


@pytest.mark.parametrize(
    ("rpc", "code"),
    [
        ("ListNamespaces", grpc.StatusCode.INVALID_ARGUMENT),
        ("ListNamespaces", grpc.StatusCode.PERMISSION_DENIED),
        ("RegisterNamespace", grpc.StatusCode.UNAVAILABLE),  # it may have been registered: the second answer would be a lie
        ("StartWorkflowExecution", grpc.StatusCode.UNAVAILABLE),  # without a request id
    ],
)
async def test_what_is_not_tried_again(service: FakeService, rpc: str, code: grpc.StatusCode) -> None:
    service.answers[rpc] = refuse(code, "no")
    async with Client.connect(service.target, retry_config=QUICK) as client:
        with pytest.raises(RPCError) as caught:
            await client.service.call(rpc, client.service.request(rpc))
    assert caught.value.status == code.value[0]
    assert len(service.asked(rpc)) == 1


async def test_a_start_is_tried_again_under_one_request_id(service: FakeService) -> None:
    started = encoded("temporal.api.workflowservice.v1.StartWorkflowExecutionResponse", run_id="run")
    service.answers["StartWorkflowExecution"] = in_turn(refuse(grpc.StatusCode.UNAVAILABLE, "stopping"), started)
    async with Client.connect(service.target, retry_config=QUICK) as client:
        handle = await client.start_workflow("W", id="w", task_queue="q")
    assert handle.result_run_id == "run"
    first, second = service.asked("StartWorkflowExecution")
    assert first.request == second.request


async def test_connections_that_the_service_closes_for_their_age_lose_no_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ages = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 2_000)]
    with FakeService(options=ages) as service:
        peers: set[str] = set()

        def answer(_request: bytes, context: Any) -> bytes:
            peers.add(context.peer())
            return b""

        service.answers["RegisterNamespace"] = answer  # one that would not be tried again
        async with Client.connect(service.target) as client:
            request = client.service.request("RegisterNamespace")

            async def call_often() -> None:
                while len(peers) < 6:
                    await client.service.call("RegisterNamespace", request)

            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    for _ in range(4):
                        tasks.start_soon(call_often)
    assert len(peers) >= 6
    assert link_lines(caplog) == []


async def test_calls_go_on_after_a_cut_with_one_line_for_each_change(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with proxy(service.target) as between, Client.connect(between.target, retry_config=PATIENT) as client:
        answers: list[bytes] = []

        async def call() -> None:
            answers.append((await list_namespaces(client)).next_page_token)

        await between.cut()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(call)
            await eventually(lambda: link_lines(caplog) == ["lost"])
            await between.restore()
        assert answers == [b"more"] * 5
        await eventually(lambda: link_lines(caplog) == ["lost", "back"])


async def test_the_line_says_where_and_why(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    async with proxy(service.target) as between, Client.connect(between.target, retry_config=RetryConfig(max_retries=1)) as client:
        await between.cut()
        with pytest.raises(RPCError, match="nobody listens there"):
            await list_namespaces(client)
        await eventually(lambda: caplog.records)
        (record,) = caplog.records
        place, _, reason = record.getMessage().partition(" lost, trying again: ")
        assert place == f"connection to {between.target}"
        assert reason  # the break of the connection or the refusal of the next one, whichever is noticed first
        assert "\n" not in reason
        assert record.levelno == logging.WARNING


async def test_workers_poll_on_and_their_many_polls_say_nothing_twice(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stop = threading.Event()

    def no_task(_request: bytes, _context: Any) -> bytes:
        stop.wait(0.05)  # long enough for a long poll
        return b""

    service.answers["PollWorkflowTaskQueue"] = service.answers["PollActivityTaskQueue"] = no_task
    async with proxy(service.target) as between, Client.connect(between.target) as client:
        workers = [Worker(client, task_queue=f"queue-{number}", workflows=[Nothing], activities=[nothing]) for number in range(2)]
        async with workers[0], workers[1]:
            await eventually(lambda: service.asked("PollActivityTaskQueue"))
            await between.cut()
            await eventually(lambda: link_lines(caplog) == ["lost"])
            polls = len(service.calls)
            await between.restore()
            await eventually(lambda: len(service.calls) > polls + 2 and link_lines(caplog) == ["lost", "back"])
        stop.set()
    assert link_lines(caplog) == ["lost", "back"]


async def waits_for_a_result(service: FakeService, between: Proxy, client: Client, break_connection: Any) -> None:
    release = anyio.Event()
    closed = _closed("done")

    def answer(request: bytes, context: Any) -> bytes:
        return closed(request, context) if release.is_set() else b""

    service.answers["GetWorkflowExecutionHistory"] = answer
    handle: Any = client.get_workflow_handle("w", result_type=str)
    results: list[str] = []

    async def wait() -> None:
        results.append(await handle.result())

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await eventually(lambda: service.asked("GetWorkflowExecutionHistory"))
            await break_connection()
            release.set()
    assert results == ["done"]


async def test_a_result_is_waited_for_through_an_outage(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    impatient = RetryConfig(initial_interval_millis=10, max_interval_millis=20, max_retries=1, max_elapsed_time_millis=50)
    async with proxy(service.target) as between, Client.connect(between.target, retry_config=impatient) as client:

        async def outage() -> None:
            await between.cut()
            await eventually(lambda: link_lines(caplog) == ["lost"])
            with pytest.raises(RPCError):  # ordinary calls end
                await list_namespaces(client)
            await between.restore()

        await waits_for_a_result(service, between, client, outage)
        assert link_lines(caplog) == ["lost", "back"]


async def test_pings_notice_a_connection_that_is_silent() -> None:
    pinged = [("grpc.http2.min_ping_interval_without_data_ms", 10), ("grpc.http2.max_ping_strikes", 0)]
    with FakeService(options=pinged) as service:
        pings = KeepAliveConfig(interval_millis=50, timeout_millis=100)
        async with proxy(service.target) as between, Client.connect(between.target, keep_alive_config=pings, retry_config=QUICK) as client:
            await list_namespaces(client)
            between.silence()
            with anyio.fail_after(8):  # less than the bound of one attempt
                assert (await list_namespaces(client)).next_page_token == b"more"
            assert between.accepted == 2


async def test_a_calls_own_timeout_ends_its_attempts(service: FakeService) -> None:
    service.answers["ListNamespaces"] = refuse(grpc.StatusCode.UNAVAILABLE, "always")
    async with Client.connect(service.target, retry_config=PATIENT) as client:
        request = client.service.request("ListNamespaces")
        with pytest.raises(RPCError) as caught:
            await client.service.call("ListNamespaces", request, timeout=timedelta(milliseconds=100))
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("retry", "seconds"),
    [
        (None, 30),
        (RetryConfig(), 30),
        (RetryConfig(max_elapsed_time_millis=1), 30),
        (RetryConfig(max_elapsed_time_millis=60_000), 70),  # the last attempt begins after 60 s and takes 10 s at most
        (RetryConfig(max_elapsed_time_millis=None), None),
    ],
)
async def test_the_bound_of_a_call_leaves_time_for_all_its_attempts(
    service: FakeService, retry: RetryConfig | None, seconds: float | None
) -> None:
    async with Client.connect(service.target, retry_config=retry) as client:
        assert client.service.call_timeout == seconds


@pytest.mark.parametrize("is_patient", [True, False])
async def test_a_call_is_tried_again_beyond_the_usual_bound_if_the_retries_say_so(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, is_patient: bool
) -> None:
    refusals = [refuse(grpc.StatusCode.UNAVAILABLE, "not yet")] * 12
    service.answers["ListNamespaces"] = in_turn(*refusals, service.answers["ListNamespaces"])
    monkeypatch.setattr(_connection, "CALL_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(_connection, "_ATTEMPT_SECONDS", 0.0)
    retries = replace(PATIENT, randomization_factor=0, multiplier=5, max_elapsed_time_millis=None if is_patient else 1)
    async with Client.connect(service.target, retry_config=retries) as client:
        if is_patient:
            assert (await list_namespaces(client)).next_page_token == b"more"
        else:
            with pytest.raises(RPCError):
                await list_namespaces(client)
    assert (len(service.asked("ListNamespaces")) == 13) is is_patient


def _closed(result: str) -> Answer:
    completed = {"result": {"payloads": [{"metadata": {"encoding": b"json/plain"}, "data": f'"{result}"'.encode()}]}}
    event = {"event_id": 9, "event_type": 2, "workflow_execution_completed_event_attributes": completed}
    return encoded("temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryResponse", history={"events": [event]})
