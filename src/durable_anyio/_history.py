"""Workflow histories in the protobuf JSON form, the one that `temporal workflow show --output json` and the web UI write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from ._bridge import proto

__all__ = ["WorkflowHistory"]

_History = proto.message("temporal.api.history.v1.History")


@dataclass(frozen=True)
class WorkflowHistory:
    """The events of one run. `events` are `temporal.api.history.v1.HistoryEvent` messages, the first one first."""

    workflow_id: str
    events: Sequence[Any]

    @property
    def run_id(self) -> str:
        """The run's id, from its first event; empty if the history is empty or starts with another event."""
        if not self.events:
            return ""
        return str(self.events[0].workflow_execution_started_event_attributes.original_execution_run_id)

    @property
    def workflow_type(self) -> str:
        """The workflow's type, from the first event."""
        if not self.events:
            return ""
        return str(self.events[0].workflow_execution_started_event_attributes.workflow_type.name)

    @staticmethod
    def from_json(history: str | bytes | dict[str, Any], *, workflow_id: str | None = None) -> WorkflowHistory:
        """Reads a history in JSON; enum values may have their long names or the short ones of older tools.

        :param workflow_id: the id, where the history itself does not hold it.
        :raises ValueError: saying what is wrong with the text.
        """
        try:
            tree = history if isinstance(history, dict) else json.loads(history)
        except ValueError as error:
            raise ValueError(f"the history is not JSON: {error}") from error
        if isinstance(tree, dict) and "events" not in tree and isinstance(tree.get("history"), dict):
            tree = tree["history"]  # the whole answer of GetWorkflowExecutionHistory
        if not isinstance(tree, dict) or not isinstance(tree.get("events"), list):
            raise ValueError('the JSON has no list "events"; hint: pass what `temporal workflow show --output json` prints')
        message = _History()
        try:
            json_format.ParseDict(
                _with_long_names(tree, _History.DESCRIPTOR), message, ignore_unknown_fields=True, descriptor_pool=proto.pool
            )
        except json_format.ParseError as error:
            raise ValueError(f"the JSON is no workflow history: {error}") from error
        if not message.events:
            raise ValueError("the history has no events")
        for given, event in zip(tree["events"], message.events, strict=True):
            kind = given.get("eventType")
            if event.event_type == 0 and kind and not str(kind).upper().endswith("UNSPECIFIED"):
                raise ValueError(f"event {event.event_id} has the unknown type {kind!r}; hint: a newer version of this package may know it")
        found = message.events[0].workflow_execution_started_event_attributes.workflow_id
        return WorkflowHistory(workflow_id or found or "unknown", list(message.events))

    @staticmethod
    def from_file(path: str | PathLike[str]) -> WorkflowHistory:
        """Reads a history from a JSON file; its name is the workflow's id where the history does not hold one.

        :raises ValueError: saying which file, and what is wrong with it.
        :raises OSError: if it cannot be read.
        """
        file = Path(path)
        try:
            history = WorkflowHistory.from_json(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        return WorkflowHistory(file.stem, history.events) if history.workflow_id == "unknown" else history

    @staticmethod
    def from_directory(path: str | PathLike[str]) -> Iterator[WorkflowHistory]:
        """Reads all `*.json` files of a directory and its subdirectories, in the order of their paths, one at a time.

        :raises ValueError: if there are none, and as `from_file`.
        """
        files = sorted(Path(path).rglob("*.json"))
        if not files:
            raise ValueError(f"{path} has no *.json files\nhint: `handle.fetch_history()` and `to_json()` make them")
        return map(WorkflowHistory.from_file, files)

    def to_json(self) -> str:
        """The history in the protobuf JSON form, with the long names; `from_json` reads it back equal."""
        return str(json_format.MessageToJson(self.to_proto(), indent=1, descriptor_pool=proto.pool))

    def to_proto(self) -> Any:
        """The `temporal.api.history.v1.History` of the events."""
        return _History(events=self.events)


def _with_long_names(tree: Any, descriptor: Any) -> Any:
    """A copy of a JSON tree in which short enum names ("WorkflowExecutionStarted") are the long ones that protobuf reads."""
    if not isinstance(tree, dict) or descriptor.full_name.startswith("google.protobuf."):
        return tree
    fields = _fields_by_json_name(descriptor)
    return {key: _field_with_long_names(value, fields[key]) if key in fields else value for key, value in tree.items()}


def _field_with_long_names(value: Any, field: Any) -> Any:
    if isinstance(value, list):
        return [_field_with_long_names(item, field) for item in value]
    if field.enum_type is not None:
        return _long_name(value, field.enum_type)
    if field.message_type is None:
        return value
    if field.message_type.GetOptions().map_entry:
        value_field = field.message_type.fields_by_name["value"]
        return {key: _field_with_long_names(item, value_field) for key, item in value.items()} if isinstance(value, dict) else value
    return _with_long_names(value, field.message_type)


def _long_name(value: Any, enum: Any) -> Any:
    if not isinstance(value, str) or value in enum.values_by_name:
        return value
    return _long_names(enum).get(value.lower(), value)


@cache
def _fields_by_json_name(descriptor: Any) -> dict[str, Any]:
    return {name: field for field in descriptor.fields for name in (field.name, field.json_name)}


@cache
def _long_names(enum: Any) -> dict[str, str]:
    """The enum's value names by their short form in lower case: EVENT_TYPE_TIMER_FIRED of EventType by "timerfired"."""
    kind = enum.name.lower()
    return {name.replace("_", "").lower().removeprefix(kind): name for name in enum.values_by_name}
