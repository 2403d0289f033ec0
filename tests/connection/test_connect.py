"""Connecting to a service: what it is asked, and what somebody reads who cannot connect."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import grpc
import pytest

from durable_anyio.client import Client, HttpConnectProxyConfig, KeepAliveConfig, RetryConfig
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .proxy import proxy
from .service import FakeService, encoded, refuse

pytestmark = pytest.mark.anyio


async def refused(target: str, **options: Any) -> RPCError:
    with pytest.raises(RPCError) as caught:
        async with Client.connect(target, **options):
            pass
    assert "hint: " in caught.value.message
    return caught.value


async def list_namespaces(client: Client) -> Any:
    return await client.service.call("ListNamespaces", client.service.request("ListNamespaces"))


async def test_the_service_is_asked_for_its_version_and_the_namespace() -> None:
    with FakeService() as service:
        async with Client.connect(f"temporal://{service.target}", namespace="orders", rpc_metadata={"X-Team": "shop"}):
            pass
    assert [call.method for call in service.calls] == ["GetSystemInfo", "DescribeNamespace"]
    headers = service.calls[1].metadata
    assert (headers["client-name"], headers["temporal-namespace"], headers["x-team"]) == ("durable-anyio", "orders", "shop")
    assert "authorization" not in headers


async def test_a_lazy_connection_is_made_by_the_first_call() -> None:
    with FakeService() as service:
        async with Client.connect(service.target, lazy=True) as client:
            assert service.calls == []
            assert (await list_namespaces(client)).next_page_token == b"more"
        assert [call.method for call in service.calls] == ["ListNamespaces"]


async def test_a_lazy_connection_to_nobody_is_an_error_at_the_first_call(free_port: int) -> None:
    async with Client.connect(f"127.0.0.1:{free_port}", lazy=True, retry_config=RetryConfig(max_retries=1)) as client:
        with pytest.raises(RPCError, match=f"127.0.0.1:{free_port}: nobody listens there"):
            await list_namespaces(client)


async def test_nobody_listens(free_port: int) -> None:
    error = await refused(f"127.0.0.1:{free_port}")
    assert error.status is RPCStatusCode.UNAVAILABLE
    assert f"cannot reach a Temporal service at 127.0.0.1:{free_port}: nobody listens there" in error.message


async def test_a_host_without_an_address() -> None:
    host = "a" * 64  # longer than a name may be: no name service is asked
    error = await refused(f"{host}:7233")
    assert f"the host {host!r} has no address".replace("'", '"') in error.message
    assert "check the spelling" in error.message


async def test_a_host_that_says_nothing() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        error = await refused(f"127.0.0.1:{port}", connect_timeout=timedelta(milliseconds=200))
    assert "no answer within 0.2 s" in error.message
    assert str(port) in error.message


async def test_something_that_is_no_grpc_service() -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        error = await refused(f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}")
        tasks.cancel_scope.cancel()
    assert error.status is RPCStatusCode.UNAVAILABLE
    assert "tls=True" in error.message


@pytest.mark.parametrize(
    ("method", "code", "told"),
    [
        ("GetSystemInfo", grpc.StatusCode.UNAUTHENTICATED, "does not accept the credentials"),
        ("DescribeNamespace", grpc.StatusCode.UNAUTHENTICATED, "does not accept the credentials"),
        ("DescribeNamespace", grpc.StatusCode.PERMISSION_DENIED, "does not let this caller into namespace 'orders'"),
        ("DescribeNamespace", grpc.StatusCode.NOT_FOUND, "has no namespace 'orders'"),
    ],
)
async def test_credentials_and_namespace_are_checked(method: str, code: grpc.StatusCode, told: str) -> None:
    with FakeService() as service:
        service.answers[method] = refuse(code, "because")
        error = await refused(service.target, namespace="orders")
        assert error.status == code.value[0]
        assert told.replace("'", '"') in error.message
        assert ": because" in error.message
        async with Client.connect(service.target, namespace="orders", lazy=True):
            pass  # whoever wants to, connects without the questions


async def test_a_service_too_old_for_the_questions_is_taken() -> None:
    with FakeService() as service:
        del service.answers["GetSystemInfo"]
        del service.answers["DescribeNamespace"]
        async with Client.connect(service.target) as client:
            with pytest.raises(RPCError, match="the service does not have ListSchedules") as caught:
                await client.service.call("ListSchedules", client.service.request("ListSchedules", namespace="default"))
    assert caught.value.status is RPCStatusCode.UNIMPLEMENTED
    assert "older" in caught.value.message


async def test_through_an_http_proxy() -> None:
    with FakeService() as service:
        async with proxy(service.target, basic_auth="me:secret") as between:
            through = HttpConnectProxyConfig(between.target, ("me", "secret"))
            assert "secret" not in repr(through)
            async with Client.connect(service.target, http_connect_proxy_config=through) as client:
                await list_namespaces(client)
            assert (between.accepted, between.refused) == (1, 0)
            error = await refused(service.target, http_connect_proxy_config=HttpConnectProxyConfig(between.target))
            assert "407 Proxy Authentication Required" in error.message
            assert between.refused == 1


async def test_a_proxy_that_is_not_there(free_port: int) -> None:
    error = await refused("127.0.0.1:1", http_connect_proxy_config=HttpConnectProxyConfig(f"127.0.0.1:{free_port}"))
    assert f"the proxy 127.0.0.1:{free_port} cannot be reached" in error.message


async def test_requests_and_answers_may_be_compressed() -> None:
    text = "a" * 100_000
    sent: dict[bool, int] = {}
    with FakeService(compression=grpc.Compression.Gzip) as service:
        service.answers["ListNamespaces"] = encoded("temporal.api.workflowservice.v1.ListNamespacesResponse", next_page_token=text.encode())
        for is_compressed in (False, True):
            async with proxy(service.target) as between:
                async with Client.connect(between.target, grpc_compression=is_compressed) as client:
                    request = client.service.request("ListNamespaces", next_page_token=text.encode())
                    answer = await client.service.call("ListNamespaces", request)
                assert answer.next_page_token == text.encode()
                assert between.answered_bytes < 10_000
                sent[is_compressed] = between.sent_bytes
        assert [call.request for call in service.asked("ListNamespaces")] == [request.SerializeToString()] * 2
    assert sent[False] > 100_000 > 10_000 > sent[True]


async def test_options_of_the_network_do_not_matter_to_an_embedded_engine() -> None:
    options: dict[str, Any] = {"tls": True, "api_key": "key", "lazy": True, "rpc_metadata": {"a": "b"}}
    async with Client.connect("sqlite::memory:", **options) as client:
        client.api_key = "other"
        assert await client.count_workflows() == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rpc_metadata": {"a b": "1"}}, "'a b' is not the name of a text header"),
        ({"rpc_metadata": {"a-bin": "1"}}, "'a-bin' is not the name of a text header"),
        ({"rpc_metadata": {"a": "x\ny"}}, "the value of 'a' is not printable ASCII"),
        ({"api_key": "key\n"}, "was a line break read with it"),
        ({"connect_timeout": timedelta(0)}, "connect_timeout must be positive"),
    ],
)
def test_bad_options_are_refused_before_anything_is_opened(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Client.connect("localhost:7233", **options)


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="both times must be positive"):
        KeepAliveConfig(interval_millis=0)
    with pytest.raises(ValueError, match="multiplier must be at least 1"):
        RetryConfig(multiplier=0.5)
    with pytest.raises(ValueError, match="write host:port"):
        HttpConnectProxyConfig("proxy")
    with pytest.raises(TypeError, match="tls must be True, False or a TLSConfig"):
        Client.connect("localhost:7233", tls="yes")  # type: ignore[arg-type]
