"""What the wire itself promises: names, codes, limits, compression, deadlines, disconnects. Spoken to by grpcio."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from durable_anyio._bridge import proto

from .calls import HEALTH_SERVICE, OPERATOR_SERVICE, WORKFLOW_SERVICE, Api, status
from .running import Running

POLL = f"/{WORKFLOW_SERVICE}/PollWorkflowTaskQueue"


@pytest.fixture
def api(server: Running) -> Api:
    return Api(server.address)


def _refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return status(caught.value)


@pytest.mark.parametrize("service", [WORKFLOW_SERVICE, OPERATOR_SERVICE, HEALTH_SERVICE])
def test_unknown_methods_are_refused_by_name(api: Api, service: str) -> None:
    code, message = _refusal(lambda: api.raw(f"/{service}/Nope"))
    assert (code, message) == (grpc.StatusCode.UNIMPLEMENTED, f"unknown method Nope for service {service}")


def test_unknown_services_are_refused_by_name(api: Api) -> None:
    assert _refusal(lambda: api.raw("/some.Other/Call")) == (grpc.StatusCode.UNIMPLEMENTED, "unknown service some.Other")


def test_bytes_that_are_no_message(api: Api) -> None:
    code, message = _refusal(lambda: api.raw(f"/{WORKFLOW_SERVICE}/DescribeNamespace", b"\xff\xff\xff"))
    assert code is grpc.StatusCode.INTERNAL
    assert message.startswith("grpc: error unmarshalling request: ")


def test_refusals_have_their_details(api: Api) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        api.call("DescribeNamespace", namespace="nobody's")
    error = caught.value
    assert isinstance(error, grpc.Call)
    trailers: Any = error.trailing_metadata()
    detail = proto.message("google.rpc.Status").FromString(dict(trailers)["grpc-status-details-bin"])
    assert (detail.code, detail.message) == (grpc.StatusCode.NOT_FOUND.value[0], error.details())
    assert detail.details[0].type_url.endswith("/temporal.api.errordetails.v1.NamespaceNotFoundFailure")


def test_four_mebibytes_are_the_limit(api: Api) -> None:
    size = 4 * 1024 * 1024
    too_large = _refusal(lambda: api.raw(f"/{WORKFLOW_SERVICE}/GetSystemInfo", b"\0" * (size + 1)))
    assert too_large == (grpc.StatusCode.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({size + 1} vs. {size})")
    # At the limit the bytes are looked at.
    assert _refusal(lambda: api.raw(f"/{WORKFLOW_SERVICE}/GetSystemInfo", b"\0" * size))[0] is grpc.StatusCode.INTERNAL


def test_a_small_message_that_unpacks_to_a_large_one(api: Api) -> None:
    bomb = b"\0" * (64 * 1024 * 1024)
    assert len(gzip.compress(bomb)) < 100_000
    code, message = _refusal(lambda: api.raw(f"/{WORKFLOW_SERVICE}/GetSystemInfo", bomb, compression=grpc.Compression.Gzip))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, message


def test_gzip_both_ways(api: Api) -> None:
    api.start("compressed", task_queue="nobody", memo={"fields": {"text": {"data": b"x" * 100_000}}})
    request = proto.message("temporal.api.workflowservice.v1.DescribeWorkflowExecutionRequest")(namespace="default")
    request.execution.workflow_id = "compressed"
    answer = api.method("DescribeWorkflowExecution")(request, compression=grpc.Compression.Gzip, timeout=30)
    assert answer.workflow_execution_info.memo.fields["text"].data == b"x" * 100_000


@pytest.mark.parametrize("name", ["PollWorkflowTaskQueue", "PollActivityTaskQueue"])
def test_polls_need_a_deadline_and_time_to_wait_in(api: Api, name: str) -> None:
    def poll(timeout: float | None) -> Any:
        return api.future(name, timeout=timeout, namespace="default", task_queue={"name": "empty"}).result()

    assert _refusal(lambda: poll(None)) == (grpc.StatusCode.INVALID_ARGUMENT, "Context timeout is not set.")
    assert _refusal(lambda: poll(1.5)) == (grpc.StatusCode.FAILED_PRECONDITION, "Context timeout is too short.")


def test_a_poll_is_answered_empty_before_its_deadline(api: Api) -> None:
    assert api.poll("empty", timeout=2.5).task_token == b""


def test_a_history_that_is_waited_for_is_answered_before_the_deadline(api: Api) -> None:
    api.start("waited-for", task_queue="nobody")
    fields: dict[str, Any] = {"namespace": "default", "execution": {"workflow_id": "waited-for"}, "wait_new_event": True}
    first = api.call("GetWorkflowExecutionHistory", **fields)
    assert len(first.history.events) > 0
    second = api.call("GetWorkflowExecutionHistory", **fields, next_page_token=first.next_page_token, timeout=1.5)
    assert len(second.history.events) == 0
    assert second.next_page_token == first.next_page_token


def test_a_deadline_ends_a_call(api: Api) -> None:
    api.start("never-answers", task_queue="nobody-answers")
    query: dict[str, Any] = {"namespace": "default", "execution": {"workflow_id": "never-answers"}, "query": {"query_type": "any"}}
    assert _refusal(lambda: api.call("QueryWorkflow", **query, timeout=0.5))[0] is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_caller_that_has_gone_gets_no_task(server: Running) -> None:
    gone, other = Api(server.address), Api(server.address)
    poll = gone.future("PollWorkflowTaskQueue", timeout=60, namespace="default", task_queue={"name": "left"})
    gone.call("GetSystemInfo")
    poll.cancel()
    gone.channel.close()
    # Answered only when the server has seen the disconnect: pollers are served in order.
    waits = other.future("PollWorkflowTaskQueue", timeout=60, namespace="default", task_queue={"name": "left"})
    other.call("GetSystemInfo")
    other.start("for-who-is-there", task_queue="left")
    assert waits.result().workflow_execution.workflow_id == "for-who-is-there"


def test_health(api: Api) -> None:
    request = proto.message("grpc.health.v1.HealthCheckRequest")
    for name in ("", WORKFLOW_SERVICE, OPERATOR_SERVICE, HEALTH_SERVICE):
        assert api.raw(f"/{HEALTH_SERVICE}/Check", request(service=name).SerializeToString()) == b"\x08\x01"
    refusal = _refusal(lambda: api.raw(f"/{HEALTH_SERVICE}/Check", request(service="other").SerializeToString()))
    assert refusal == (grpc.StatusCode.NOT_FOUND, "unknown service")


def test_health_watched(api: Api) -> None:
    watch = api.channel.unary_stream(f"/{HEALTH_SERVICE}/Watch", request_serializer=None, response_deserializer=None)
    stream = watch(b"", timeout=30)
    assert next(stream) == b"\x08\x01"
    stream.cancel()
    unknown = watch(proto.message("grpc.health.v1.HealthCheckRequest")(service="later").SerializeToString(), timeout=30)
    assert next(unknown) == b"\x08\x03"
    unknown.cancel()
