"""`client.service`: any RPC by its name and message."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest

from durable_anyio.client import Client
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .service import FakeService, encoded

pytestmark = pytest.mark.anyio

SERVER = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")
needs_server = pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one")


async def test_calls_of_every_service_go_to_the_right_one() -> None:
    with FakeService() as service:
        service.answers["ListClusters"] = encoded("temporal.api.operatorservice.v1.ListClustersResponse", next_page_token=b"clusters")
        service.answers["Check"] = encoded("grpc.health.v1.HealthCheckResponse", status=1)
        async with Client.connect(service.target) as client:
            raw = client.service
            assert (await raw.call("ListNamespaces", raw.request("ListNamespaces"))).next_page_token == b"more"
            assert (await raw.call("ListClusters", raw.request("ListClusters"))).next_page_token == b"clusters"
            assert (await raw.call("grpc.health.v1.Health/Check", raw.request("Check", service="x"))).status == 1
    assert [(call.service, call.method) for call in service.calls[2:]] == [
        ("temporal.api.workflowservice.v1.WorkflowService", "ListNamespaces"),
        ("temporal.api.operatorservice.v1.OperatorService", "ListClusters"),
        ("grpc.health.v1.Health", "Check"),
    ]
    assert service.calls[-1].request == b"\n\x01x"


async def test_the_requests_namespace_is_a_header_whatever_the_call_is() -> None:
    with FakeService() as service:
        service.answers["ListSchedules"] = encoded("temporal.api.workflowservice.v1.ListSchedulesResponse")
        async with Client.connect(service.target) as client:
            await client.service.call("ListSchedules", client.service.request("ListSchedules", namespace="orders"))
    assert service.calls[-1].metadata["temporal-namespace"] == "orders"


async def test_messages_of_the_official_package_are_taken() -> None:
    api = pytest.importorskip("temporalio.api.workflowservice.v1")
    with FakeService() as service:
        async with Client.connect(service.target) as client:
            request = api.ListNamespacesRequest(page_size=7)
            assert (await client.service.call("ListNamespaces", request)).next_page_token == b"more"
    assert service.calls[-1].request == request.SerializeToString()


@pytest.mark.parametrize("name", ["ListNamespace", "temporal.api.operatorservice.v1.OperatorService/ListNamespaces", "Watch", ""])
async def test_a_call_that_nobody_has(name: str) -> None:
    async with Client.connect("sqlite::memory:") as client:
        with pytest.raises(ValueError, match=f"there is no RPC '{name}'"):
            client.service.request(name)
        with pytest.raises(ValueError, match=f"there is no RPC '{name}'"):
            await client.service.call(name, None)


@pytest.mark.parametrize("request_kind", ["DescribeNamespace", None])
async def test_another_message_is_refused_before_it_is_sent(request_kind: str | None) -> None:
    async with Client.connect("sqlite::memory:") as client:
        request: Any = client.service.request(request_kind) if request_kind else {"page_size": 1}
        with pytest.raises(TypeError, match=r"ListNamespaces takes a temporal\.api\.workflowservice\.v1\.ListNamespacesRequest, not a"):
            await client.service.call("ListNamespaces", request)


@pytest.mark.parametrize("name", ["ListClusters", "Check"])
async def test_what_an_embedded_engine_does_not_have_is_refused_by_name(name: str) -> None:
    async with Client.connect("sqlite::memory:") as client:
        with pytest.raises(RPCError, match=f"/{name} is not there on an embedded engine") as caught:
            await client.service.call(name, client.service.request(name))
    assert caught.value.status is RPCStatusCode.UNIMPLEMENTED


@needs_server
async def test_the_real_services_three_interfaces() -> None:
    async with Client.connect(SERVER) as client:
        raw = client.service
        namespaces = await raw.call("ListNamespaces", raw.request("ListNamespaces", page_size=100))
        assert "default" in [one.namespace_info.name for one in namespaces.namespaces]
        attributes = await raw.call("ListSearchAttributes", raw.request("ListSearchAttributes", namespace="default"))
        assert "WorkflowType" in attributes.system_attributes
        health = await raw.call("Check", raw.request("Check", service="temporal.api.workflowservice.v1.WorkflowService"))
        assert health.status == 1


@needs_server
async def test_a_real_namespace_that_does_not_exist() -> None:
    with pytest.raises(RPCError, match='has no namespace "nowhere-to-be-found"') as caught:
        async with Client.connect(SERVER, namespace="nowhere-to-be-found"):
            pass
    assert caught.value.status is RPCStatusCode.NOT_FOUND
    async with Client.connect(SERVER, namespace="nowhere-to-be-found", lazy=True) as client:
        with pytest.raises(RPCError, match="nowhere-to-be-found"):
            await client.start_workflow("W", id="w", task_queue="q", run_timeout=timedelta(seconds=1))
