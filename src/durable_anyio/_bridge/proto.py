"""The service's messages, in a private descriptor pool.

Private because two files of one name and other content in one pool raise `TypeError`: `temporalio` or `googleapis` may be
imported in the same process, in another version. Messages of this pool are equal in bytes to theirs, not in type.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

__all__ = ["SERVICES", "Method", "enum", "message", "method", "pool"]

WORKFLOW_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
# Whose calls have different names, so that a call's name is enough.
SERVICES = (WORKFLOW_SERVICE, "temporal.api.operatorservice.v1.OperatorService", "grpc.health.v1.Health")


def _load() -> descriptor_pool.DescriptorPool:
    private = descriptor_pool.DescriptorPool()
    data = files("durable_anyio._generated").joinpath("descriptors.bin").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        private.Add(file)
    return private


pool = _load()


_classes: dict[str, Any] = {}


@cache
def message(name: str) -> Any:
    """The class of the message with this full name, `temporal.api.common.v1.Payload` for instance."""
    return _class_of(pool.FindMessageTypeByName(name))


def _class_of(descriptor: Any) -> Any:
    """The message's class. It and those of its fields are kept: else the garbage collector takes them, and the next message that is read
    has them made again."""
    found = _classes.get(descriptor.full_name)
    if found is None:
        found = _classes[descriptor.full_name] = message_factory.GetMessageClass(descriptor)
        for field in descriptor.fields:
            if field.message_type is not None:
                _class_of(field.message_type)
    return found


@dataclass(frozen=True)
class Method:
    """A call of one of the services."""

    service: str
    name: str
    request: type[Any]
    response: type[Any]


@cache
def method(name: str) -> Method:
    """The call `name`, "ListNamespaces", or with its service "temporal.api.operatorservice.v1.OperatorService/ListClusters".

    :raises KeyError: if none of the services has it.
    """
    service, _, short = name.rpartition("/")
    for candidate in SERVICES:
        if service in ("", candidate):
            found = pool.FindServiceByName(candidate).methods_by_name.get(short)
            if found is not None and not found.server_streaming:
                return Method(candidate, short, _class_of(found.input_type), _class_of(found.output_type))
    raise KeyError(name)


@cache
def enum(name: str) -> Any:
    """The wrapper (`Name`, `Value`, `items`) of the enum with this full name."""
    return EnumTypeWrapper(pool.FindEnumTypeByName(name))
