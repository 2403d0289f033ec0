"""Nexus operations as workflow code sees them: the functions and types that `durable_anyio.workflow` re-exports.

An operation is called by names. Objects that have a name are taken too: definitions of the package `nexusrpc` serve as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, Generic, Protocol, TypedDict, TypeVar, Unpack, overload

from ._workflow_runtime import current_runtime

__all__ = [
    "NamedNexusOperation",
    "NexusCall",
    "NexusClient",
    "NexusOperationCancellationType",
    "NexusOperationHandle",
    "NexusOperationOptions",
    "create_nexus_client",
]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# Where the decorators of the package `nexusrpc` leave a class's definition.
_SERVICE_DEFINITION = "__nexus_service_definition__"


class NexusOperationCancellationType(IntEnum):
    """What the cancellation of the waiting scope does to a Nexus operation."""

    WAIT_COMPLETED = 0
    """Ask the operation to cancel itself and hold the scope until it has ended. The default."""
    ABANDON = 1
    """Leave the operation running."""
    TRY_CANCEL = 2
    """Ask the operation to cancel itself, do not wait for it: it may outlive the scope, and may miss the request if the workflow ends."""
    WAIT_REQUESTED = 3
    """Ask the operation to cancel itself and hold the scope until its handler has answered the request."""


class NexusOperationOptions(TypedDict, total=False):
    """How a Nexus operation is called."""

    schedule_to_close_timeout: timedelta
    """For the whole operation, with the service's repetitions of calls that failed."""
    schedule_to_start_timeout: timedelta
    """Until the handler has started or answered it."""
    start_to_close_timeout: timedelta
    """From the handler's start to the end, for operations that are not answered at once."""
    cancellation_type: NexusOperationCancellationType
    headers: Mapping[str, str]
    """Sent with the call, as text, to whoever serves the endpoint. They are kept in the history as they are."""
    summary: str
    """One line for the web interface."""


class NamedNexusOperation(Protocol[R_co]):
    """An operation's definition: its name, and the type of what it returns. Those of `nexusrpc` are such."""

    @property
    def name(self) -> str:
        """The operation's name in its service."""
        ...

    @property
    def output_type(self) -> type[R_co] | None:
        """The type of its result, None if it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class NexusCall:
    """An operation to start."""

    endpoint: str
    service: str
    operation: str
    input: Any
    options: NexusOperationOptions
    output_type: Any | None = None


class NexusOperationHandle(ABC, Awaitable[R_co], Generic[R_co]):
    """A Nexus operation that was started: await it for its result."""

    operation_token: str | None
    """By what its handler knows it; None if it was answered at once."""

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, R_co]: ...

    @abstractmethod
    def cancel(self) -> None:
        """Asks the operation to cancel itself, at most once; awaiting it then tells how it ended, or what its cancellation type says."""

    @abstractmethod
    def done(self) -> bool:
        """True once the outcome is known to the workflow."""


class NexusClient:
    """One service at one endpoint: calls its operations. Made by `create_nexus_client`."""

    def __init__(self, endpoint: str, service: str) -> None:
        self.endpoint = endpoint
        self.service = service

    @overload
    async def start_operation(
        self, operation: NamedNexusOperation[R], input: Any, **options: Unpack[NexusOperationOptions]
    ) -> NexusOperationHandle[R]: ...
    @overload
    async def start_operation(
        self, operation: str, input: Any, *, output_type: type[R], **options: Unpack[NexusOperationOptions]
    ) -> NexusOperationHandle[R]: ...
    @overload
    async def start_operation(
        self, operation: str, input: Any, *, output_type: None = None, **options: Unpack[NexusOperationOptions]
    ) -> NexusOperationHandle[Any]: ...
    async def start_operation(
        self,
        operation: NamedNexusOperation[Any] | str,
        input: Any,
        *,
        output_type: type[Any] | None = None,
        **options: Unpack[NexusOperationOptions],
    ) -> NexusOperationHandle[Any]:
        """Starts an operation and returns its handle when its handler has started it, or has answered at once.

        :param operation: its name, or an object that has one.
        :param output_type: the type of its result; without it the result comes as JSON has it.
        :raises NexusOperationError: it was refused, failed, timed out or was cancelled before it started; its `cause` says why.
        :raises DataConversionError: the input cannot be encoded.
        :raises TypeError: an option that does not exist, headers that are not text, or something that has no name.
        :raises ValueError: no name, or a negative timeout.
        """
        name, declared_type = _operation(operation)
        _check(options)
        call = NexusCall(self.endpoint, self.service, name, input, options, output_type or declared_type)
        handle: NexusOperationHandle[Any] = await current_runtime().start_nexus_operation(call)
        return handle

    @overload
    async def execute_operation(self, operation: NamedNexusOperation[R], input: Any, **options: Unpack[NexusOperationOptions]) -> R: ...
    @overload
    async def execute_operation(
        self, operation: str, input: Any, *, output_type: type[R], **options: Unpack[NexusOperationOptions]
    ) -> R: ...
    @overload
    async def execute_operation(
        self, operation: str, input: Any, *, output_type: None = None, **options: Unpack[NexusOperationOptions]
    ) -> Any: ...
    async def execute_operation(self, operation: Any, input: Any, *, output_type: Any = None, **options: Any) -> Any:
        """Starts an operation and returns its result.

        :raises NexusOperationError: it was refused, failed, timed out or was cancelled; its `cause` says why.
        :raises DataConversionError: the input cannot be encoded.
        :raises TypeError: an option that does not exist, headers that are not text, or something that has no name.
        :raises ValueError: no name, or a negative timeout.
        """
        return await (await self.start_operation(operation, input, output_type=output_type, **options))


def create_nexus_client(*, service: type[Any] | str, endpoint: str) -> NexusClient:
    """A client for the operations of one Nexus service.

    :param service: its name; or a class, whose definition by `nexusrpc` names it, or its own name.
    :param endpoint: the name of an endpoint that the Temporal service knows. Whether it does shows when it is used.
    :raises TypeError: neither a name nor a class.
    :raises ValueError: an empty name.
    """
    current_runtime()
    if isinstance(service, type):
        definition = vars(service).get(_SERVICE_DEFINITION)
        name = definition.name if definition is not None else service.__name__
    else:
        name = service
    return NexusClient(_name(endpoint, "the endpoint"), _name(name, "the service"))


def _operation(operation: Any) -> tuple[str, Any]:
    if isinstance(operation, str):
        return _name(operation, "the operation"), None
    return _name(getattr(operation, "name", operation), "the operation"), getattr(operation, "output_type", None)


def _name(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} of a Nexus call is {value!r}; hint: give its name")
    if not value:
        raise ValueError(f"{what} of a Nexus call has an empty name")
    return value


def _check(options: Mapping[str, Any]) -> None:
    unknown = sorted(options.keys() - NexusOperationOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"a Nexus operation has no option {', '.join(unknown)}; hint: {', '.join(NexusOperationOptions.__annotations__)}")
    for key in ("schedule_to_close_timeout", "schedule_to_start_timeout", "start_to_close_timeout"):
        if (value := options.get(key)) is not None and value < timedelta(0):
            raise ValueError(f"{key} of a Nexus operation is negative: {value}")
    for key, text in (options.get("headers") or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"the header {key!r} of a Nexus operation is {text!r}; hint: headers and their values are text")
