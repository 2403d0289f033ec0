"""How answers are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf import json_format


def value(answer: Any) -> None:
    """Prints a value as JSON."""
    print(json.dumps(answer, ensure_ascii=False, default=str))


def message(raw: Any, *, indent: int | None = None) -> None:
    """Prints a protobuf message as JSON, on one line unless an indent is given."""
    print(json.dumps(json_format.MessageToDict(raw), ensure_ascii=False, indent=indent))


def time(at: datetime | None) -> str:
    """A time as people read it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else "-"


def fields(pairs: Mapping[str, object]) -> None:
    """Prints names and values; a name whose value is empty is left out."""
    shown = {name: str(text) for name, text in pairs.items() if text not in (None, "", ())}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        print(f"{name:<{width}}  {text}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints columns, as wide as they have to be."""
    lines = [tuple(head), *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
