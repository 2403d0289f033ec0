"""Values to payloads and back: typed JSON.

The encodings are those every Temporal SDK knows: `binary/null` for None, `binary/plain` for bytes and `json/plain` for the
rest. JSON is read back into the type that the receiving function declares, so dataclasses, enums, datetimes, UUIDs,
decimals, sets, tuples and bytes arrive as what they were; without a declared type plain JSON values arrive.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Protocol

import msgspec

from ._bridge import proto
from .exceptions import DataConversionError

__all__ = ["DataConverter", "PayloadConverter", "default"]

# The service refuses more in one request field (its blob size limit); said here the message names the value.
MAX_PAYLOADS_SIZE_BYTES = 2 * 1024 * 1024
# How deep an error message's path goes into a value before it stops looking.
MAX_PATH_DEPTH = 20

_Payload = proto.message("temporal.api.common.v1.Payload")
_JSON_HINT = "pass dataclasses, enums, datetimes, UUIDs, bytes and built-in containers of them"


class PayloadConverter(Protocol):
    """What clients and workers need of a converter; `DataConverter` is the default one."""

    def to_payloads(self, values: Sequence[Any]) -> list[Any]:
        """One payload a value, or `DataConversionError`."""
        ...

    def from_payloads(self, payloads: Sequence[Any], types: Sequence[Any | None] = ()) -> list[Any]:
        """One value a payload, of the declared types (None or missing: untyped), or `DataConversionError`."""
        ...


class DataConverter:
    """The default converter; it holds no state. Subclass it to encode otherwise.

    Floats that are not finite are refused, because JSON has no form for them. Integers are accepted where floats are
    declared; nothing else is coerced.
    """

    def to_payloads(self, values: Sequence[Any]) -> list[Any]:
        """Encodes values.

        :raises DataConversionError: naming the type and the path of what cannot be encoded, or the size if it is over 2 MiB.
        """
        payloads = [self.to_payload(value, where=f"value {index + 1}") for index, value in enumerate(values)]
        size = sum(len(payload.data) for payload in payloads)
        if size > MAX_PAYLOADS_SIZE_BYTES:
            index = max(range(len(payloads)), key=lambda at: len(payloads[at].data))
            raise DataConversionError(
                f"the payload has {size:,} bytes, the limit is {MAX_PAYLOADS_SIZE_BYTES:,}",
                f"value {index + 1} ({_type_name(type(values[index]))})",
                "store large data elsewhere and pass a path or a key",
            )
        return payloads

    def to_payload(self, value: Any, *, where: str = "value") -> Any:
        """Encodes one value; `where` names it in errors."""
        if value is None:
            return _Payload(metadata={"encoding": b"binary/null"})
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _Payload(metadata={"encoding": b"binary/plain"}, data=bytes(value))
        try:
            data = _encoder.encode(value)
        except Exception as error:
            raise _encode_error(value, where, error) from error
        if b"null" in data:
            # msgspec writes NaN and infinities as null: the value would come back as another one.
            for path in _paths_of_unfinite(value):
                raise DataConversionError("a float that is not finite cannot be written as JSON", where + path, "use None or a string")
        return _Payload(metadata={"encoding": b"json/plain"}, data=data)

    def from_payloads(self, payloads: Sequence[Any], types: Sequence[Any | None] = ()) -> list[Any]:
        """Decodes payloads into the declared types.

        :raises DataConversionError: for an unknown encoding, broken JSON, or JSON that does not fit the type.
        """
        return [
            self.from_payload(payload, types[index] if index < len(types) else None, where=f"payload {index + 1}")
            for index, payload in enumerate(payloads)
        ]

    def from_payload(self, payload: Any, type_hint: Any | None = None, *, where: str = "payload") -> Any:
        """Decodes one payload; `type_hint` None means untyped. `where` names it in errors."""
        encoding = payload.metadata.get("encoding", b"")
        try:
            # Messages of other programs are read as the JSON that they are.
            if encoding in (b"json/plain", b"json/protobuf"):
                return _decode(payload.data, type_hint)
            if encoding == b"binary/null":
                return None if type_hint is None else _convert(None, type_hint)
            if encoding == b"binary/plain":
                return bytes(payload.data) if type_hint is None else _convert(bytes(payload.data), type_hint)
        except Exception as error:
            what = f"cannot be read as {_type_name(type_hint)}" if type_hint is not None else "cannot be read"
            raise DataConversionError(
                f"{what}: {error}",
                f"{where} ({_preview(payload.data)})",
                "sender and receiver must declare the same type",
            ) from error
        name = encoding.decode("utf-8", "replace")
        raise DataConversionError(
            f"has the unknown encoding {name!r}" if name else "says no encoding",
            where,
            "it was written by another converter or codec; give the client the same one",
        )


def default() -> DataConverter:
    """The converter that clients use if they are given none."""
    return _DEFAULT


def _encode_hook(value: Any) -> Any:
    """What msgspec does not know by itself: pydantic's models, paths, subclasses of built-in types."""
    if hasattr(type(value), "__pydantic_serializer__") and hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, PurePath):
        return str(value)
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, AbstractSet)):
        return list(value)
    raise NotImplementedError


def _decode_hook(target: Any, value: Any) -> Any:
    if hasattr(target, "__pydantic_validator__") and hasattr(target, "model_validate_json"):
        # By way of JSON, because a strict model takes a string for a datetime from JSON only.
        return target.model_validate_json(_encoder.encode(value))
    if isinstance(target, type):
        if issubclass(target, PurePath) and isinstance(value, str):
            return target(value)
        if isinstance(value, target):
            return value
        for base in (str, int, float):
            if issubclass(target, base) and type(value) is base:
                return target(value)
    raise TypeError(f"{_type_name(target)} is no type that JSON can be read into; hint: {_JSON_HINT}")


_encoder = msgspec.json.Encoder(enc_hook=_encode_hook, decimal_format="string")
_untyped = msgspec.json.Decoder()


def _decode(data: bytes, type_hint: Any | None) -> Any:
    if type_hint is None:
        return _untyped.decode(data)
    return _decoder(type_hint).decode(data)


@lru_cache(maxsize=1024)
def _cached_decoder(type_hint: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_hint, dec_hook=_decode_hook)


def _decoder(type_hint: Any) -> msgspec.json.Decoder[Any]:
    try:
        hash(type_hint)
    except TypeError:  # Annotated[…] with an unhashable note
        return msgspec.json.Decoder(type_hint, dec_hook=_decode_hook)
    return _cached_decoder(type_hint)


def _convert(value: Any, type_hint: Any) -> Any:
    return msgspec.convert(value, type_hint, dec_hook=_decode_hook)


def _encode_error(value: Any, where: str, error: Exception) -> DataConversionError:
    path, culprit = _culprit(value, MAX_PATH_DEPTH)
    if isinstance(error, UnicodeEncodeError):
        return DataConversionError(
            "a text that is no valid Unicode cannot be written as JSON", where + path, "pass bytes; os.fsencode for file names"
        )
    if isinstance(error, RecursionError):
        return DataConversionError("the value is nested too deep, or contains itself", where, _JSON_HINT)
    if isinstance(error, NotImplementedError):
        what = f"a value of type {_type_name(type(culprit))} cannot be written as JSON"
    else:
        what = f"a value of type {_type_name(type(culprit))} cannot be written as JSON: {error}"
    return DataConversionError(what, where + path, _JSON_HINT)


def _culprit(value: Any, depth: int) -> tuple[str, Any]:
    """The path to the innermost part that does not encode by itself."""
    if depth:
        for step, child in _children(value):
            try:
                _encoder.encode(child)
            except Exception:
                path, culprit = _culprit(child, depth - 1)
                return step + path, culprit
    return "", value


def _paths_of_unfinite(value: Any, depth: int = MAX_PATH_DEPTH) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield ""
    elif depth:
        for step, child in _children(value):
            for path in _paths_of_unfinite(child, depth - 1):
                yield step + path


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield f"[{key!r}]", child
    elif isinstance(value, (Sequence, AbstractSet)) and not isinstance(value, (str, bytes, bytearray)):
        for index, child in enumerate(value):
            yield f"[{index}]", child


def _type_name(kind: Any) -> str:
    if not isinstance(kind, type) or getattr(kind, "__args__", None):
        return str(kind)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _preview(data: bytes, limit: int = 60) -> str:
    text = data[:limit].decode("utf-8", "replace")
    return repr(text) + ("…" if len(data) > limit else "")


_DEFAULT = DataConverter()
