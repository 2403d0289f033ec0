"""Calls by name over grpcio, with messages from the package's own descriptors."""

from __future__ import annotations

from typing import Any

import grpc

from durable_anyio._bridge import proto

WORKFLOW_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
OPERATOR_SERVICE = "temporal.api.operatorservice.v1.OperatorService"
HEALTH_SERVICE = "grpc.health.v1.Health"


def request_class(service: str, method: str) -> Any:
    return proto.message(f"{_package(service)}.{_stem(service, method)}Request")


def response_class(service: str, method: str) -> Any:
    return proto.message(f"{_package(service)}.{_stem(service, method)}Response")


def _package(service: str) -> str:
    return service.rpartition(".")[0]


def _stem(service: str, method: str) -> str:
    return "HealthCheck" if service == HEALTH_SERVICE else method


class Api:
    """One connection to a service."""

    def __init__(self, address: str, **options: int) -> None:
        self.channel = grpc.insecure_channel(address, options=list(options.items()))

    def method(self, name: str, service: str = WORKFLOW_SERVICE) -> Any:
        return self.channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=request_class(service, name).SerializeToString,
            response_deserializer=response_class(service, name).FromString,
        )

    def call(self, name: str, *, service: str = WORKFLOW_SERVICE, timeout: float = 30, **fields: Any) -> Any:
        return self.method(name, service)(request_class(service, name)(**fields), timeout=timeout)

    def future(self, name: str, *, service: str = WORKFLOW_SERVICE, timeout: float | None = 30, **fields: Any) -> Any:
        return self.method(name, service).future(request_class(service, name)(**fields), timeout=timeout)

    def raw(self, path: str, request: bytes = b"", timeout: float | None = 30, **options: Any) -> bytes:
        call = self.channel.unary_unary(path, request_serializer=None, response_deserializer=None)
        answer = call(request, timeout=timeout, **options)
        assert isinstance(answer, bytes)
        return answer

    def future_raw(self, path: str, request: bytes = b"", timeout: float | None = 30) -> Any:
        return self.channel.unary_unary(path, request_serializer=None, response_deserializer=None).future(request, timeout=timeout)

    def start(self, workflow_id: str, *, task_queue: str, workflow_type: str = "Any", **fields: Any) -> Any:
        return self.call(
            "StartWorkflowExecution",
            namespace="default",
            workflow_id=workflow_id,
            workflow_type={"name": workflow_type},
            task_queue={"name": task_queue},
            request_id=f"start-{workflow_id}",
            **fields,
        )

    def poll(self, task_queue: str, *, timeout: float = 30) -> Any:
        return self.call("PollWorkflowTaskQueue", namespace="default", task_queue={"name": task_queue}, identity="a test", timeout=timeout)


def status(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    assert isinstance(error, grpc.Call)
    return error.code(), error.details() or ""
