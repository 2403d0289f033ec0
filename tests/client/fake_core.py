"""A core that answers from a script, so that the client's own logic is tested without an engine."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, cast

import anyio

from durable_anyio import converter
from durable_anyio._bridge import proto
from durable_anyio._bridge.core import Core
from durable_anyio.client import Client
from durable_anyio.exceptions import RPCError

Answer = Callable[[Any], Any] | Exception | Any


class FakeCore:
    """Answers each RPC with what `on` queued for it, in order; the last answer stays."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answers: dict[str, deque[Answer]] = defaultdict(deque)
        self.closed = 0

    def on(self, rpc: str, *answers: Answer) -> None:
        self.answers[rpc].extend(answers)

    def sent(self, rpc: str) -> list[Any]:
        return [request for name, request in self.calls if name == rpc]

    async def call(self, rpc: str, request: Any, timeout: float | None = None) -> Any:
        await anyio.lowlevel.checkpoint()
        copy = type(request)()
        copy.CopyFrom(request)
        self.calls.append((rpc, copy))
        queue = self.answers[rpc]
        if not queue:
            raise AssertionError(f"the client called {rpc}, which the test does not expect")
        answer = queue.popleft() if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        return response(rpc, **answer) if isinstance(answer, dict) else answer

    async def close(self) -> None:
        self.closed += 1


def response(rpc: str, **fields: Any) -> Any:
    return proto.message(f"temporal.api.workflowservice.v1.{rpc}Response")(**fields)


def client(core: FakeCore, target: str = "sqlite::memory:") -> Client:
    return Client(cast(Core, core), target=target, namespace="default", identity="me", data_converter=converter.default())


def refusal(status: int, detail: Any | None = None, message: str = "refused") -> RPCError:
    """A refusal of the service, with a detail message as it packs them."""
    packed = proto.message("google.rpc.Status")(code=status, message=message)
    if detail is not None:
        packed.details.add().Pack(detail)
    return RPCError(message, status, packed.SerializeToString())


def close_event(kind: str, **attributes: Any) -> Any:
    """The answer of a long poll that found the run closed."""
    upper = "EVENT_TYPE_WORKFLOW_EXECUTION_" + kind.upper()
    number = proto.enum("temporal.api.enums.v1.EventType").Value(upper)
    event = {"event_id": 9, "event_type": number, f"workflow_execution_{kind}_event_attributes": attributes}
    return response("GetWorkflowExecutionHistory", history={"events": [event]})
