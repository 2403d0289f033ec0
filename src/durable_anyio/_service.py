"""Calls of the service's RPCs, and its refusals as errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from google.protobuf.message import DecodeError

from ._bridge import proto
from ._connection import CALL_TIMEOUT_SECONDS, check_metadata
from .exceptions import RPCError

if TYPE_CHECKING:
    from ._bridge.core import Core

__all__ = ["Service"]


class Service:
    """The raw service: any RPC of Temporal's WorkflowService and OperatorService and of gRPC's health service, with its own messages.

    RPCs are named as in the services' definitions, "ListNamespaces" or "AddSearchAttributes" for instance; `Check` is health's.
    An embedded engine does not have all of them: the others are refused as UNIMPLEMENTED.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.call_timeout: float | None = CALL_TIMEOUT_SECONDS
        """Seconds that a call may take unless it has a timeout of its own; None: as long as it is tried again."""

    def request(self, name: str, **fields: Any) -> Any:
        """A request message for the RPC `name`.

        :raises ValueError: if no service has such an RPC, or its request no such field.
        """
        return _method(name).request(**fields)

    async def call(
        self,
        name: str,
        request: Any,
        *,
        timeout: timedelta | Literal["default"] | None = "default",
        rpc_metadata: Mapping[str, str] | None = None,
    ) -> Any:
        """Calls the RPC `name`. Cancelling the call gives it up.

        :param timeout: of the whole call, repetitions included; None: none. Default: 30 seconds, or what a longer
            `RetryConfig.max_elapsed_time_millis` of the connection needs.
        :param request: the RPC's request message: from `request`, or a message of the same type from another package.
        :param rpc_metadata: headers of this call, beside the client's.
        :raises TypeError: if `request` is another message.
        :raises ValueError: if no service has such an RPC.
        :raises RPCError: if the service refuses or cannot be reached; UNIMPLEMENTED if it is too old for the RPC.
        """
        method = _method(name)
        wanted = method.request.DESCRIPTOR.full_name
        found = getattr(getattr(request, "DESCRIPTOR", None), "full_name", type(request).__name__)
        if found != wanted:
            raise TypeError(f"{name} takes a {wanted}, not a {found}; hint: client.service.request({name!r}, …)")
        more: dict[str, Any] = {}
        if method.service != proto.WORKFLOW_SERVICE:
            more.update(service=method.service, response=method.response)
        if rpc_metadata:
            check_metadata(rpc_metadata)
            more["metadata"] = rpc_metadata
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else self.call_timeout if timeout else None
        return await self._core.call(method.name, request, timeout=seconds, **more)


def _method(name: str) -> proto.Method:
    try:
        return proto.method(name)
    except KeyError:
        services = ", ".join(proto.SERVICES)
        raise ValueError(f"there is no RPC {name!r}; hint: names are as in the definitions of {services}") from None


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
