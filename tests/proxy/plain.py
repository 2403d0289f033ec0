"""Requests as plain values, to compare two workers by; what is by chance (ids, times, stacks) has a name in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Fields that say who sends or what it answers, by the name of the field: they are there or not, no more.
NAMES_ONLY = {
    "task_token": "given by the service",
    "identity": "a worker's own",
    "binary_checksum": "the build's",
    "build_id": "the build's",
    "worker_instance_key": "a worker's own",
    "worker_heartbeat": "how a worker does, and its machine",
    "sdk_name": "who it is",
    "sdk_version": "who it is",
    "stack_trace": "lines of another program",
    "source": "who it is",
    "complete_time": "a time, in the details of a marker",
    "original_schedule_time": "a time, in the details of a marker",
    "fileName": "a line of the program, in enhanced stack traces",
}


def plain(message: Any, names: Mapping[str, str]) -> Any:
    """`names` are the ids of this play and what is written instead."""
    kind = message.DESCRIPTOR.full_name
    if kind == "google.protobuf.Timestamp":
        return "<time>"
    if kind == "google.protobuf.Duration":
        return message.seconds + message.nanos / 1e9
    if kind == "google.protobuf.Any":
        return {"type": message.type_url.rpartition("/")[2], "value": "<set>" if message.value else ""}
    if kind == "temporal.api.common.v1.Payload":
        return _payload(message, names)
    return {field.name: _field(field, value, names) for field, value in message.ListFields()}


def _field(field: Any, value: Any, names: Mapping[str, str]) -> Any:
    if field.name in NAMES_ONLY:
        return "<set>"
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of = field.message_type.fields_by_name["value"]
        return {_text(str(key), names): _value(of, one, names) for key, one in sorted(value.items())}
    if field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED:
        values = [_value(field, one, names) for one in value]
        return " ".join(map(str, sorted(values))) if field.name.endswith("_used_flags") else values
    return _value(field, value, names)


def _value(field: Any, value: Any, names: Mapping[str, str]) -> Any:
    if field.message_type is not None:
        return plain(value, names)
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return found.name if found is not None else value
    if isinstance(value, bytes):
        return "<bytes>"
    return _text(value, names) if isinstance(value, str) else value


def _payload(payload: Any, names: Mapping[str, str]) -> Any:
    about = {key: _text(value.decode(), names) for key, value in sorted(payload.metadata.items())}
    if about.get("encoding", "").startswith("json/"):
        return {**about, "data": _json(json.loads(payload.data), names)}
    return {**about, "data": "<bytes>" if payload.data else ""}


def _json(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: "<set>" if key in NAMES_ONLY and one else _json(one, names) for key, one in sorted(value.items())}
    if isinstance(value, list):
        return [_json(one, names) for one in value]
    return _text(value, names) if isinstance(value, str) else value


def _text(text: str, names: Mapping[str, str]) -> str:
    for found, name in names.items():
        text = text.replace(found, name)
    return UUID.sub("<uuid>", text)
