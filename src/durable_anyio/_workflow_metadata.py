"""What a workflow says about itself to people: its handlers and its current details, in the form that the web interface asks for."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from ._bridge.proto import message

if TYPE_CHECKING:
    from ._workflow_instance import WorkflowInstance
    from ._workflow_messages import Handlers

__all__ = ["METADATA", "metadata_payload"]

METADATA = "__temporal_workflow_metadata"
_TYPE = "temporal.api.sdk.v1.WorkflowMetadata"
_Payload = message("temporal.api.common.v1.Payload")
_Metadata = message(_TYPE)


def metadata_payload(instance: WorkflowInstance) -> Any:
    """The answer to the query: a `WorkflowMetadata` message as JSON."""
    metadata = _Metadata(current_details=instance.current_details)
    definition = metadata.definition
    definition.type = instance.definition.name
    messages = instance.messages
    for target, handlers in (
        (definition.query_definitions, messages.queries),
        (definition.signal_definitions, messages.signals),
        (definition.update_definitions, messages.updates),
    ):
        _add(target, handlers)
    text = json_format.MessageToJson(metadata, indent=None)
    return _Payload(metadata={"encoding": b"json/protobuf", "messageType": _TYPE.encode()}, data=text.encode())


def _add(target: Any, handlers: Handlers) -> None:
    for name, handler in handlers.definitions():
        target.add(name=name, description=inspect.getdoc(handler.fn) or "")
