"""Values survive the way through payloads, or are refused with a reason that names them."""

from __future__ import annotations

import enum
import os
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, TypedDict, is_typeddict
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_anyio._bridge import proto
from durable_anyio.converter import MAX_PAYLOADS_SIZE_BYTES, DataConverter, default
from durable_anyio.exceptions import DataConversionError

Payload = proto.message("temporal.api.common.v1.Payload")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: float


class Options(TypedDict, total=False):
    name: str
    size: int


class Name(str):
    __slots__ = ()


class Model(pydantic.BaseModel):
    at: datetime
    tags: set[str] = set()


@dataclass
class Inner:
    data: bytes
    when: datetime | None = None


@dataclass
class Order:
    id: UUID
    price: Decimal
    inner: list[Inner]
    colours: set[Colour] = field(default_factory=set)
    by_level: dict[Level, Point] = field(default_factory=dict)
    parent: Order | None = None


ORDER = Order(
    UUID(int=7),
    Decimal("1.10"),
    [Inner(b"\x00\xff", datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=UTC)), Inner(b"")],
    {Colour.RED},
    {Level.LOW: Point(1, 2.5)},
)

VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (None, type(None)),
    (None, int | None),
    (True, bool),
    (2**70, int),
    (-(2**63), int),
    (1.5, float),
    (3, float),
    ("", str),
    ("héllo\u2028", str),
    (b"\x00\xff", bytes),
    (b"", bytes),
    (b"x", bytes | None),
    (bytearray(b"x"), bytearray),
    (ORDER, Order),
    ([ORDER], list[Order]),
    ({"a": ORDER}, dict[str, Order]),
    (Order(UUID(int=1), Decimal(0), [], parent=ORDER), Order),
    (Colour.RED, Colour),
    (Level.LOW, Level),
    (date(2024, 2, 29), date),
    (time(1, 2, 3, 4), time),
    (datetime(2024, 1, 1, 1), datetime),
    (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))), datetime),
    (timedelta(days=-1, microseconds=1), timedelta),
    (UUID(int=3), UUID),
    (Decimal("0.1"), Decimal),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    (frozenset({1}), frozenset[int]),
    ({1: "a"}, dict[int, str]),
    ({"name": "n"}, Options),
    (Point(1, 2.0), Point),
    ("on", Literal["on", "off"]),
    (PurePosixPath("/a/b"), PurePosixPath),
    (Name("n"), Name),
    (deque([1, 2]), list[int]),
    (OrderedDict(a=1), dict[str, int]),
    (defaultdict(list, {"a": [1]}), dict[str, list[int]]),
    (Model(at=datetime(2024, 1, 1, tzinfo=UTC), tags={"x"}), Model),
    ([Model(at=datetime(2024, 1, 1, tzinfo=UTC))], list[Model]),
]


@pytest.mark.parametrize(("value", "hint"), VALUES, ids=lambda part: str(part)[:30])
def test_values_come_back_equal_in_their_declared_type(value: Any, hint: Any) -> None:
    [payload] = default().to_payloads([value])
    [back] = default().from_payloads([Payload.FromString(payload.SerializeToString())], [hint])
    assert back == (list(value) if isinstance(value, deque) else value)
    if isinstance(hint, type) and not is_typeddict(hint):
        assert isinstance(back, hint)


@pytest.mark.parametrize(
    ("value", "encoding", "data"),
    [(None, b"binary/null", b""), (b"x", b"binary/plain", b"x"), ({"a": [1, "é"]}, b"json/plain", '{"a":[1,"é"]}'.encode())],
)
def test_the_wire_form_is_the_one_of_other_sdks(value: Any, encoding: bytes, data: bytes) -> None:
    [payload] = default().to_payloads([value])
    assert (payload.metadata["encoding"], payload.data) == (encoding, data)


def test_without_types_plain_json_arrives() -> None:
    payloads = default().to_payloads([ORDER.inner[1], 1, None, b"x"])
    assert default().from_payloads(payloads) == [{"data": "", "when": None}, 1, None, b"x"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(json_values)
def test_any_json_value_comes_back(value: Any) -> None:
    assert default().from_payloads(default().to_payloads([value])) == [value]


class Opaque:
    pass


LOOP: list[Any] = []
LOOP.append(LOOP)

REFUSED: list[tuple[Any, str]] = [
    (Opaque(), r"value 1: a value of type .*Opaque cannot be written"),
    ({"a": [1, (2, Opaque())]}, r"value 1\['a'\]\[1\]\[1\]: .*Opaque"),
    (Inner(data=b"", when=Opaque()), r"value 1\.when: .*Opaque"),  # type: ignore[arg-type]
    (lambda: None, "function"),
    (float("nan"), "not finite"),
    ({"a": [1.0, float("inf")]}, r"value 1\['a'\]\[1\]: a float that is not finite"),
    (LOOP, "contains itself"),
    (os.fsdecode(b"\xff"), "os.fsencode"),
    ("x" * MAX_PAYLOADS_SIZE_BYTES, r"value 1 \(str\): the payload has 2,097,154 bytes, the limit is 2,097,152"),
    (b"x" * (MAX_PAYLOADS_SIZE_BYTES + 1), "the limit is"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=[message[-20:] for _, message in REFUSED])
def test_values_that_do_not_encode_are_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(DataConversionError, match=message) as caught:
        default().to_payloads([value])
    assert "hint: " in str(caught.value)


def test_the_limit_is_of_all_values_together() -> None:
    half = b"x" * (MAX_PAYLOADS_SIZE_BYTES // 2)
    assert len(default().to_payloads([half, half])) == 2
    with pytest.raises(DataConversionError, match=r"value 2 \(bytes\)"):
        default().to_payloads([half, half + b"x"])


UNREADABLE: list[tuple[bytes, bytes, Any]] = [
    (b"json/plain", b'"x"', int),
    (b"json/plain", b"true", int),
    (b"json/plain", b'"1"', float),
    (b"json/plain", b"{", None),
    (b"json/plain", b"", dict),
    (b"json/plain", b"\xff", str),
    (b"json/plain", b'{"data": "eHk="}', Order),
    (b"json/plain", b"1", Opaque),
    (b"json/plain", b'{"at": "never"}', Model),
    (b"binary/null", b"", int),
    (b"binary/plain", b"x", str),
    (b"json/encrypted", b"x", str),
    (b"", b"x", None),
]


@pytest.mark.parametrize(("encoding", "data", "hint"), UNREADABLE)
def test_payloads_that_do_not_decode_are_refused(encoding: bytes, data: bytes, hint: Any) -> None:
    payload = Payload(metadata={"encoding": encoding} if encoding else {}, data=data)
    good = default().to_payloads([1])[0]
    with pytest.raises(DataConversionError, match=r"(?s)payload 2.*hint: "):
        default().from_payloads([good, payload], [int, hint])


def test_a_field_of_the_wrong_type_is_named() -> None:
    payloads = default().to_payloads([{"data": "eHk=", "when": 7}])
    with pytest.raises(DataConversionError, match=r"Inner.*\$\.when"):
        default().from_payloads(payloads, [Inner])


def test_a_subclass_changes_the_encoding_of_single_values() -> None:
    class Upper(DataConverter):
        def to_payload(self, value: Any, *, where: str = "value") -> Any:
            return super().to_payload(value.upper(), where=where)

    assert default().from_payloads(Upper().to_payloads(["a"])) == ["A"]
