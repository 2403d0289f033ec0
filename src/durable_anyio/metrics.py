"""Metrics of activities and workflows: counters, gauges and histograms, kept in this process and read by it.

`activity.metric_meter()` and `workflow.metric_meter()` give meters whose attributes name the activity or the workflow; what a workflow
measures is counted once, not again in each replay. `snapshot()` reads everything, `prometheus_text()` is the same in the text form that
Prometheus scrapes: serve it from a web server that is there anyway.

>>> meter = MetricMeter({"shop": "north"})
>>> meter.create_counter("orders", "Orders taken").add(2, {"kind": "book"})
>>> [(point.attributes, point.value) for metric in snapshot() if metric.name == "orders" for point in metric.points]
[({'kind': 'book', 'shop': 'north'}, 2)]
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

__all__ = [
    "Metric",
    "MetricCounter",
    "MetricGauge",
    "MetricHistogram",
    "MetricMeter",
    "MetricPoint",
    "prometheus_text",
    "snapshot",
]

Kind = Literal["counter", "gauge", "histogram"]
Attributes = Mapping[str, str | int | float | bool]

# Upper bounds, for seconds and counts alike; one more bucket holds what is above.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
# Different attributes of one metric; beyond, values are added up under no attributes, so that ids as attributes cannot fill memory.
MAX_POINTS = 1000
OVERFLOW: tuple[tuple[str, str], ...] = (("overflow", "true"),)


@dataclass(frozen=True)
class MetricPoint:
    """The values of one metric under one set of attributes."""

    attributes: Mapping[str, str]
    value: float
    """A counter's sum, a gauge's last value, the sum of what a histogram recorded."""
    count: int = 0
    """How many values a histogram recorded."""
    buckets: tuple[int, ...] = ()
    """How many of them were at most each bound of `Metric.bounds`; the last number counts those above."""


@dataclass(frozen=True)
class Metric:
    """One metric, as read by `snapshot`."""

    name: str
    kind: Kind
    description: str
    unit: str
    points: Sequence[MetricPoint]
    bounds: Sequence[float] = ()


class _Cell:
    __slots__ = ("buckets", "count", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.count = 0
        self.buckets = [0] * (len(BUCKETS) + 1)


class _Instrument:
    """All values of one name."""

    def __init__(self, name: str, kind: Kind, description: str, unit: str) -> None:
        self.name = name
        self.kind: Kind = kind
        self.description = description
        self.unit = unit
        self.cells: dict[tuple[tuple[str, str], ...], _Cell] = {}

    def cell(self, attributes: Attributes) -> _Cell:
        key = tuple(sorted((name, str(value)) for name, value in attributes.items()))
        if key not in self.cells and len(self.cells) >= MAX_POINTS:
            key = OVERFLOW
        return self.cells.setdefault(key, _Cell())


_lock = threading.Lock()
_instruments: dict[str, _Instrument] = {}


def _instrument(name: str, kind: Kind, description: str | None, unit: str | None) -> _Instrument:
    if not name:
        raise ValueError("the metric has no name")
    with _lock:
        found = _instruments.get(name)
        if found is None:
            found = _instruments[name] = _Instrument(name, kind, description or "", unit or "")
    if found.kind != kind:
        raise ValueError(f"the metric {name!r} is a {found.kind} already, and cannot be a {kind} too")
    return found


class _Recorder:
    """One instrument with the attributes of its meter."""

    def __init__(self, meter: MetricMeter, kind: Kind, name: str, description: str | None, unit: str | None) -> None:
        self._meter = meter
        self._instrument = _instrument(name, kind, description, unit)

    @property
    def name(self) -> str:
        """The metric's name."""
        return self._instrument.name

    def _change(self, change: Callable[[_Cell], None], additional: Attributes | None) -> None:
        attributes = {**self._meter.attributes, **(additional or {})}

        def apply() -> None:
            with _lock:
                change(self._instrument.cell(attributes))

        self._meter.perform(apply)


class MetricCounter(_Recorder):
    """A number that only grows."""

    def add(self, value: float, additional_attributes: Attributes | None = None) -> None:
        """Adds to it. :raises ValueError: if `value` is negative."""
        if value < 0:
            raise ValueError(f"a counter only grows, it cannot take {value}")

        def change(cell: _Cell) -> None:
            cell.value += value

        self._change(change, additional_attributes)


class MetricGauge(_Recorder):
    """A number that goes up and down."""

    def set(self, value: float, additional_attributes: Attributes | None = None) -> None:
        """Sets it."""

        def change(cell: _Cell) -> None:
            cell.value = value

        self._change(change, additional_attributes)


class MetricHistogram(_Recorder):
    """How values are distributed."""

    def record(self, value: float | timedelta, additional_attributes: Attributes | None = None) -> None:
        """Records one value; a timedelta in seconds."""
        number = value.total_seconds() if isinstance(value, timedelta) else value

        def change(cell: _Cell) -> None:
            cell.value += number
            cell.count += 1
            cell.buckets[bisect.bisect_left(BUCKETS, number)] += 1

        self._change(change, additional_attributes)


def _at_once(apply: Callable[[], None]) -> None:
    apply()


class MetricMeter:
    """Makes metrics. Metrics of one name are one metric, whoever made them; meters differ in their attributes.

    :param attributes: what every value of its metrics is labelled with.
    """

    def __init__(self, attributes: Attributes | None = None, *, perform: Callable[[Callable[[], None]], None] = _at_once) -> None:
        self.attributes = dict(attributes or {})
        self.perform = perform

    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter:
        """A counter. :raises ValueError: if the name is that of another kind of metric; so for all."""
        return MetricCounter(self, "counter", name, description, unit)

    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge:
        """A gauge."""
        return MetricGauge(self, "gauge", name, description, unit)

    def create_histogram(self, name: str, description: str | None = None, unit: str | None = None) -> MetricHistogram:
        """A histogram of numbers or timedeltas."""
        return MetricHistogram(self, "histogram", name, description, unit)

    create_gauge_float = create_gauge
    create_histogram_float = create_histogram
    create_histogram_timedelta = create_histogram

    def with_additional_attributes(self, additional_attributes: Attributes) -> MetricMeter:
        """The same meter with further attributes."""
        return MetricMeter({**self.attributes, **additional_attributes}, perform=self.perform)


def snapshot() -> list[Metric]:
    """All metrics of this process as they are now, by name."""
    with _lock:
        return [_read(instrument) for _, instrument in sorted(_instruments.items())]


def _read(instrument: _Instrument) -> Metric:
    is_histogram = instrument.kind == "histogram"
    points = [
        MetricPoint(dict(key), cell.value, cell.count, tuple(cell.buckets) if is_histogram else ())
        for key, cell in sorted(instrument.cells.items())
    ]
    bounds = BUCKETS if is_histogram else ()
    return Metric(instrument.name, instrument.kind, instrument.description, instrument.unit, points, bounds)


def prometheus_text() -> str:
    """All metrics in Prometheus' text form (`Content-Type: text/plain; version=0.0.4`)."""
    lines: list[str] = []
    for metric in snapshot():
        name = _identifier(metric.name)
        if metric.description:
            lines.append(f"# HELP {name} {_escaped(metric.description)}")
        lines.append(f"# TYPE {name} {metric.kind}")
        for point in metric.points:
            lines.extend(_sample_lines(name, metric, point))
    return "".join(f"{line}\n" for line in lines)


def _sample_lines(name: str, metric: Metric, point: MetricPoint) -> list[str]:
    if metric.kind != "histogram":
        return [f"{name}{_labels(point.attributes)} {_number(point.value)}"]
    lines, below = [], 0
    for bound, count in zip([*(f"{bound:g}" for bound in metric.bounds), "+Inf"], point.buckets, strict=True):
        below += count
        lines.append(f"{name}_bucket{_labels({**point.attributes, 'le': bound})} {below}")
    labels = _labels(point.attributes)
    return [*lines, f"{name}_sum{labels} {_number(point.value)}", f"{name}_count{labels} {point.count}"]


def _number(value: float) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)


def _identifier(name: str) -> str:
    text = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_:") else "_" for letter in name)
    return f"_{text}" if text[0].isdigit() else text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _labels(attributes: Mapping[str, str]) -> str:
    if not attributes:
        return ""
    pairs = (f'{_identifier(name)}="{_quoted(value)}"' for name, value in attributes.items())
    return "{" + ",".join(pairs) + "}"
