"""Search attributes: typed keys, values with their keys, and their form on the wire. The public names are in `durable_anyio.common`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, overload

from ._bridge import proto

__all__ = [
    "SearchAttributeIndexedValueType",
    "SearchAttributeKey",
    "SearchAttributePair",
    "SearchAttributeUpdate",
    "TypedSearchAttributes",
    "decode_search_attributes",
    "encode_search_attributes",
    "encode_updates",
]

T = TypeVar("T")
DefaultT = TypeVar("DefaultT")

_Payload = proto.message("temporal.api.common.v1.Payload")


class SearchAttributeIndexedValueType(IntEnum):
    """Types of search attributes; the numbers are the service's."""

    TEXT = 1
    """Words: found by any of them."""
    KEYWORD = 2
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7


_Type = SearchAttributeIndexedValueType
# As the service and every SDK write them beside a value.
_NAMES = {
    _Type.TEXT: "Text",
    _Type.KEYWORD: "Keyword",
    _Type.INT: "Int",
    _Type.DOUBLE: "Double",
    _Type.BOOL: "Bool",
    _Type.DATETIME: "Datetime",
    _Type.KEYWORD_LIST: "KeywordList",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}
_PYTHON_TYPES: dict[SearchAttributeIndexedValueType, tuple[type, ...]] = {
    _Type.TEXT: (str,),
    _Type.KEYWORD: (str,),
    _Type.INT: (int,),
    _Type.DOUBLE: (float, int),
    _Type.BOOL: (bool,),
    _Type.DATETIME: (datetime,),
    _Type.KEYWORD_LIST: (list, tuple),
}


@dataclass(frozen=True, slots=True)
class SearchAttributeKey(Generic[T]):
    """The name and the type of a search attribute; made with `for_text`, `for_keyword` and the others."""

    name: str
    indexed_value_type: SearchAttributeIndexedValueType

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """A text, found by its words."""
        return SearchAttributeKey(name, _Type.TEXT)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """A string, found as a whole."""
        return SearchAttributeKey(name, _Type.KEYWORD)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        """A whole number of 64 bits."""
        return SearchAttributeKey(name, _Type.INT)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        """A number."""
        return SearchAttributeKey(name, _Type.DOUBLE)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        """True or False."""
        return SearchAttributeKey(name, _Type.BOOL)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """An aware datetime."""
        return SearchAttributeKey(name, _Type.DATETIME)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """Strings, found by each of them."""
        return SearchAttributeKey(name, _Type.KEYWORD_LIST)

    def value_set(self, value: T) -> SearchAttributeUpdate[T]:
        """For `workflow.upsert_search_attributes`: sets the attribute.

        :raises TypeError, ValueError: the value is not of the key's type.
        """
        _check(self, value)
        return SearchAttributeUpdate(self, value)

    def value_unset(self) -> SearchAttributeUpdate[T]:
        """For `workflow.upsert_search_attributes`: removes the attribute."""
        return SearchAttributeUpdate(self, None)


class SearchAttributePair(NamedTuple, Generic[T]):
    """A search attribute and its value."""

    key: SearchAttributeKey[T]
    value: T


@dataclass(frozen=True, slots=True)
class SearchAttributeUpdate(Generic[T]):
    """A change of a search attribute; `value` None removes it. Made with `SearchAttributeKey.value_set` and `value_unset`."""

    key: SearchAttributeKey[T]
    value: T | None


@dataclass(frozen=True)
class TypedSearchAttributes:
    """Search attributes with their values, each at most once. Use `TypedSearchAttributes.empty` for none.

    :raises TypeError, ValueError: a value is not of its key's type, or a key is there twice.
    """

    search_attributes: Sequence[SearchAttributePair[Any]]

    def __post_init__(self) -> None:
        names = set()
        for pair in self.search_attributes:
            if not isinstance(pair, SearchAttributePair):
                raise TypeError(f"TypedSearchAttributes takes SearchAttributePair(key, value)s, not {pair!r}")
            _check(pair.key, pair.value)
            if pair.key.name in names:
                raise ValueError(f"the search attribute {pair.key.name!r} is given twice")
            names.add(pair.key.name)

    empty: ClassVar[TypedSearchAttributes]

    def __len__(self) -> int:
        return len(self.search_attributes)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        """Whether there is a value for the key: name and type."""
        return any(pair.key == key for pair in self.search_attributes)

    def __getitem__(self, key: SearchAttributeKey[T]) -> T:
        """The value of the key.

        :raises KeyError: there is none of this name and type.
        """
        for pair in self.search_attributes:
            if pair.key == key:
                return pair.value  # type: ignore[no-any-return]
        raise KeyError(key)

    @overload
    def get(self, key: SearchAttributeKey[T]) -> T | None: ...
    @overload
    def get(self, key: SearchAttributeKey[T], default: DefaultT) -> T | DefaultT: ...
    def get(self, key: SearchAttributeKey[Any], default: Any = None) -> Any:
        """The value of the key, or the default."""
        found = [pair.value for pair in self.search_attributes if pair.key == key]
        return found[0] if found else default

    def updated(self, *pairs: SearchAttributePair[Any]) -> TypedSearchAttributes:
        """These attributes, with the pairs added or in the place of those of the same name."""
        values = {pair.key.name: pair for pair in self.search_attributes}
        values.update((pair.key.name, pair) for pair in pairs)
        return TypedSearchAttributes(list(values.values()))


TypedSearchAttributes.empty = TypedSearchAttributes(())


def _check(key: SearchAttributeKey[Any], value: Any) -> None:
    items: Any = value  # apart, because type checkers narrow the other name
    if not isinstance(key, SearchAttributeKey):
        raise TypeError(
            f"the key of a search attribute is a SearchAttributeKey, not {key!r}\nhint: SearchAttributeKey.for_keyword({key!r})"
        )
    if not key.name:
        raise ValueError("a search attribute needs a name")
    kind = key.indexed_value_type
    what = f"the search attribute {key.name!r} of type {_NAMES[kind]}"
    wrong = not isinstance(value, _PYTHON_TYPES[kind]) or (isinstance(value, bool) and kind is not _Type.BOOL)
    if wrong or (kind is _Type.KEYWORD_LIST and not all(isinstance(item, str) for item in items)):
        wanted = "a list of strings" if kind is _Type.KEYWORD_LIST else _PYTHON_TYPES[kind][0].__name__
        raise TypeError(f"{what} takes {wanted}, not {value!r}")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"{what} takes an aware datetime, not {value!r}\nhint: datetime(…, tzinfo=UTC)")


def _payload(kind: SearchAttributeIndexedValueType, value: Any) -> Any:
    metadata = {"type": _NAMES[kind].encode()}
    if value is None:
        return _Payload(metadata={**metadata, "encoding": b"binary/null"})
    plain = value.isoformat() if isinstance(value, datetime) else value
    return _Payload(metadata={**metadata, "encoding": b"json/plain"}, data=json.dumps(plain, separators=(",", ":")).encode())


def encode_search_attributes(attributes: TypedSearchAttributes) -> dict[str, Any]:
    """Payloads by name. :raises TypeError: for something else than `TypedSearchAttributes`."""
    if not isinstance(attributes, TypedSearchAttributes):
        raise TypeError(
            f"search_attributes takes TypedSearchAttributes, not {type(attributes).__name__}\n"
            "hint: TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword('Customer'), 'ada')])"
        )
    return {pair.key.name: _payload(pair.key.indexed_value_type, pair.value) for pair in attributes}


def encode_updates(updates: Sequence[SearchAttributeUpdate[Any]]) -> dict[str, Any]:
    """Payloads by name; a null removes. :raises TypeError: for something else than updates."""
    if isinstance(updates, Mapping | str):
        raise TypeError(f"upsert_search_attributes takes a list of updates, not {updates!r}\nhint: [key.value_set(value)]")
    payloads = {}
    for update in updates:
        if not isinstance(update, SearchAttributeUpdate):
            raise TypeError(f"upsert_search_attributes takes updates, not {update!r}\nhint: key.value_set(value) or key.value_unset()")
        payloads[update.key.name] = _payload(update.key.indexed_value_type, update.value)
    return payloads


def decode_search_attributes(fields: Mapping[str, Any]) -> TypedSearchAttributes:
    """The attributes of payloads by name. Those that are null or of no type that is known here are left out."""
    pairs = []
    for name in sorted(fields):
        kind = _TYPES.get(fields[name].metadata.get("type", b"").decode("utf-8", "replace"))
        value = None if kind is None else _value(kind, fields[name])
        if kind is not None and value is not None:
            pairs.append(SearchAttributePair(SearchAttributeKey(name, kind), value))
    return TypedSearchAttributes(pairs)


def _value(kind: SearchAttributeIndexedValueType, payload: Any) -> Any:
    if payload.metadata.get("encoding") != b"json/plain":
        return None
    try:
        value: Any = json.loads(payload.data)
        if isinstance(value, list) and kind is not _Type.KEYWORD_LIST:
            # The service takes a list of one for a single value.
            (value,) = value
        if kind is _Type.DATETIME:
            value = datetime.fromisoformat(str(value))
        _check(SearchAttributeKey("any", kind), value)
    except (ValueError, TypeError):
        return None
    return value
