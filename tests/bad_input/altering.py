"""A gRPC proxy before a real server that changes what a test wants changed, and passes on everything else as it is."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc
from connection.service import Answer, Call, FakeService

from durable_anyio._bridge import proto


class AlteringProxy(FakeService):
    """`with AlteringProxy(target) as proxy:`. `answers` are given instead of the server's, `alter` changes the server's own.

    Many threads: each long poll keeps one.
    """

    def __init__(self, target: str) -> None:
        super().__init__(threads=100, options=[("grpc.max_receive_message_length", -1)])
        self.answers.clear()
        self._changes: dict[str, Callable[[Any, Any], None]] = {}
        self._channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", -1)])

    def alter(self, method: str, change: Callable[[Any, Any], None]) -> None:
        """From now on `change` gets each request of `method` and the server's answer, which it may change."""
        self._changes[method] = change

    def leave(self, method: str) -> None:
        """The calls of `method` are passed on unchanged again."""
        self._changes.pop(method, None)
        self.answers.pop(method, None)

    def service(self, handler_call_details: Any) -> Any:
        path, metadata = handler_call_details.method, handler_call_details.invocation_metadata
        service, name = path.strip("/").split("/")

        def handle(request: bytes, context: Any) -> bytes:
            self.calls.append(Call(service, name, request, dict(metadata)))
            answer = self.answers.get(name) or self._forward(path, metadata)
            return self._changed(name, request, answer(request, context))

        return grpc.unary_unary_rpc_method_handler(handle)

    def forward(self, method: str, metadata: Any = (("temporal-namespace", "default"),)) -> Answer:
        """What gives the server's own answer to `method`."""
        found = proto.method(method)
        return self._forward(f"/{found.service}/{found.name}", metadata)

    def _forward(self, path: str, metadata: Any) -> Answer:
        passed = tuple((key, value) for key, value in metadata if key.startswith(("temporal-", "client-", "authorization")))

        def forward(request: bytes, context: Any) -> bytes:
            call = self._channel.unary_unary(path).future(request, metadata=passed, timeout=context.time_remaining())
            context.add_callback(call.cancel)
            try:
                return bytes(call.result())
            except grpc.FutureCancelledError:
                context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")
            except grpc.RpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                context.abort(error.code(), error.details() or "")
            raise AssertionError("abort raises")

        return forward

    def _changed(self, name: str, request: bytes, answer: bytes) -> bytes:
        change = self._changes.get(name)
        if change is None:
            return answer
        method = proto.method(name)
        message = method.response.FromString(answer)
        change(method.request.FromString(request), message)
        return bytes(message.SerializeToString())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        self._channel.close()
