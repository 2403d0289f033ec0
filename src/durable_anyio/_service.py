"""Calls of the service's RPCs, and its refusals as errors."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from ._bridge import proto
from .exceptions import RPCError

if TYPE_CHECKING:
    from ._bridge.core import Core

__all__ = ["Service"]

# The service answers ordinary calls in milliseconds; a call without an end would hide a dead connection.
DEFAULT_TIMEOUT_SECONDS = 30.0


class Service:
    """The raw service: any RPC of `temporal.api.workflowservice.v1.WorkflowService`, with its own messages."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def request(self, name: str, **fields: Any) -> Any:
        """A request message for the RPC `name`, "ListWorkflowExecutions" for instance.

        :raises ValueError: if the service has no such RPC.
        """
        try:
            kind = proto.message(f"temporal.api.workflowservice.v1.{name}Request")
        except KeyError:
            raise ValueError(f"the service has no RPC {name!r}; hint: names are as in temporal.api.workflowservice.v1") from None
        return kind(**fields)

    async def call(self, name: str, request: Any, *, timeout: timedelta | None = timedelta(seconds=DEFAULT_TIMEOUT_SECONDS)) -> Any:
        """Calls the RPC `name`. Cancelling the call gives it up; `timeout` None waits without end.

        :raises RPCError: if the service refuses or cannot be reached.
        """
        return await self._core.call(name, request, timeout=None if timeout is None else timeout.total_seconds())


def error_detail(error: RPCError, name: str) -> Any | None:
    """The detail message `temporal.api.errordetails.v1.<name>` of a refusal, None if it carries none."""
    kind = proto.message(f"temporal.api.errordetails.v1.{name}")
    status = proto.message("google.rpc.Status")()
    detail = kind()
    try:
        status.ParseFromString(error.details)
        for packed in status.details:
            if packed.TypeName() == kind.DESCRIPTOR.full_name:
                detail.ParseFromString(packed.value)
                return detail
    except DecodeError:
        return None  # details are an extra: text and status say enough
    return None
