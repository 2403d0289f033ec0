"""A service of gRPC's own implementation that answers as a test tells it to, and remembers who asked how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc

from durable_anyio._bridge import proto

Answer = Callable[[bytes, Any], bytes]


@dataclass
class Call:
    """One call that arrived."""

    service: str
    method: str
    request: bytes
    metadata: dict[str, str] = field(repr=False)


def encoded(name: str, **fields: Any) -> Answer:
    """An answer that is always this message."""
    return lambda _request, _context: bytes(proto.message(name)(**fields).SerializeToString())


def refuse(code: grpc.StatusCode, text: str) -> Answer:
    def answer(_request: bytes, context: Any) -> bytes:
        context.abort(code, text)
        raise AssertionError("abort raises")

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Each answer once; the last one stays."""
    waiting = list(answers)
    return lambda request, context: (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request, context)


class FakeService(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """`with FakeService() as service:`, then `service.target`. What it has no answer for is unimplemented."""

    def __init__(
        self,
        credentials: grpc.ServerCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        compression: grpc.Compression | None = None,
        threads: int = 16,
    ) -> None:
        self.calls: list[Call] = []
        self.answers: dict[str, Answer] = {
            "GetSystemInfo": encoded("temporal.api.workflowservice.v1.GetSystemInfoResponse", server_version="1.0.0"),
            "DescribeNamespace": encoded("temporal.api.workflowservice.v1.DescribeNamespaceResponse"),
            "ListNamespaces": encoded("temporal.api.workflowservice.v1.ListNamespacesResponse", next_page_token=b"more"),
        }
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=threads), handlers=[self], options=[("grpc.so_reuseport", 0), *options], compression=compression
        )
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def asked(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    def service(self, handler_call_details: Any) -> Any:
        details = handler_call_details
        _, service, method = details.method.split("/")
        answer = self.answers.get(method)

        def handle(request: bytes, context: Any) -> bytes:
            self.calls.append(Call(service, method, request, dict(details.invocation_metadata)))
            if answer is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, f"unknown method {method}")
                raise AssertionError("abort raises")
            return answer(request, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.stop(None).wait()
