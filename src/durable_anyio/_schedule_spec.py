"""When a schedule acts, as programs write it, and the service's messages of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ._bridge import proto

__all__ = ["ScheduleCalendarSpec", "ScheduleIntervalSpec", "ScheduleRange", "ScheduleSpec"]

_FIELDS = ("second", "minute", "hour", "day_of_month", "month", "year", "day_of_week")


@dataclass(frozen=True)
class ScheduleRange:
    """The values `start`, `start + step`, … up to and including `end`; `ScheduleRange(5)` is 5 only."""

    start: int
    end: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "end", max(self.start, self.end))
        object.__setattr__(self, "step", self.step or 1)


@dataclass
class ScheduleCalendarSpec:
    """Matches a time whose parts all match; as it is, every midnight. Days of the week begin with Sunday, which is 0."""

    second: Sequence[ScheduleRange] = (ScheduleRange(0),)
    minute: Sequence[ScheduleRange] = (ScheduleRange(0),)
    hour: Sequence[ScheduleRange] = (ScheduleRange(0),)
    day_of_month: Sequence[ScheduleRange] = (ScheduleRange(1, 31),)
    month: Sequence[ScheduleRange] = (ScheduleRange(1, 12),)
    year: Sequence[ScheduleRange] = ()
    """Empty for every year."""
    day_of_week: Sequence[ScheduleRange] = (ScheduleRange(0, 6),)
    comment: str | None = None

    def to_proto(self) -> Any:
        """The `temporal.api.schedule.v1.StructuredCalendarSpec` of this calendar."""
        spec = proto.message("temporal.api.schedule.v1.StructuredCalendarSpec")(comment=self.comment or "")
        for name in _FIELDS:
            ranges = getattr(self, name)
            if isinstance(ranges, (ScheduleRange, int, str)):
                raise TypeError(f"ScheduleCalendarSpec.{name} is a sequence of ScheduleRange, not {ranges!r}; hint: [ScheduleRange(…)]")
            for part in ranges:
                getattr(spec, name).add(start=part.start, end=part.end, step=part.step)
        return spec

    @staticmethod
    def from_proto(spec: Any) -> ScheduleCalendarSpec:
        """The calendar of a `StructuredCalendarSpec`."""
        parts: Any = {name: tuple(ScheduleRange(r.start, r.end, r.step) for r in getattr(spec, name)) for name in _FIELDS}
        return ScheduleCalendarSpec(**parts, comment=spec.comment or None)


@dataclass
class ScheduleIntervalSpec:
    """Every so often, counted from the Unix epoch plus `offset`: `every` an hour with five minutes is five past each hour, in UTC."""

    every: timedelta
    offset: timedelta | None = None

    def to_proto(self) -> Any:
        """The `temporal.api.schedule.v1.IntervalSpec` of this interval."""
        spec = proto.message("temporal.api.schedule.v1.IntervalSpec")()
        spec.interval.FromTimedelta(self.every)
        if self.offset is not None:
            spec.phase.FromTimedelta(self.offset)
        return spec

    @staticmethod
    def from_proto(spec: Any) -> ScheduleIntervalSpec:
        """The interval of an `IntervalSpec`."""
        return ScheduleIntervalSpec(spec.interval.ToTimedelta(), spec.phase.ToTimedelta() if spec.HasField("phase") else None)


@dataclass
class ScheduleSpec:
    """When a schedule acts: at every time that a calendar, an interval or a cron expression matches and none of `skip` does.

    `cron_expressions` are Temporal's: five to seven fields, `@daily`, `@every 1h`, with `CRON_TZ=Europe/Berlin` before and a
    comment behind. A described schedule has none: the service turns them into calendars and intervals.
    """

    calendars: Sequence[ScheduleCalendarSpec] = field(default_factory=list)
    intervals: Sequence[ScheduleIntervalSpec] = field(default_factory=list)
    cron_expressions: Sequence[str] = field(default_factory=list)
    skip: Sequence[ScheduleCalendarSpec] = field(default_factory=list)
    start_at: datetime | None = None
    """Nothing happens before. A datetime without a zone is local time."""
    end_at: datetime | None = None
    """Nothing happens after."""
    jitter: timedelta | None = None
    """Each time is put off by a part of this, never up to the next one."""
    time_zone_name: str | None = None
    """Of calendars and cron expressions, as "Europe/Berlin"; None is UTC."""

    def to_proto(self) -> Any:
        """The `temporal.api.schedule.v1.ScheduleSpec` of this spec.

        :raises TypeError: `cron_expressions` is one string.
        """
        if isinstance(self.cron_expressions, str):
            raise TypeError("ScheduleSpec.cron_expressions is a sequence of strings; hint: put the expression into a list")
        spec = proto.message("temporal.api.schedule.v1.ScheduleSpec")(
            structured_calendar=[calendar.to_proto() for calendar in self.calendars],
            interval=[interval.to_proto() for interval in self.intervals],
            cron_string=self.cron_expressions,
            exclude_structured_calendar=[calendar.to_proto() for calendar in self.skip],
            timezone_name=self.time_zone_name or "",
        )
        set_time(spec.start_time, self.start_at)
        set_time(spec.end_time, self.end_at)
        if self.jitter is not None:
            spec.jitter.FromTimedelta(self.jitter)
        return spec

    @staticmethod
    def from_proto(spec: Any) -> ScheduleSpec:
        """The spec of a `ScheduleSpec` message."""
        return ScheduleSpec(
            calendars=[ScheduleCalendarSpec.from_proto(calendar) for calendar in spec.structured_calendar],
            intervals=[ScheduleIntervalSpec.from_proto(interval) for interval in spec.interval],
            cron_expressions=list(spec.cron_string),
            skip=[ScheduleCalendarSpec.from_proto(calendar) for calendar in spec.exclude_structured_calendar],
            start_at=get_time(spec, "start_time"),
            end_at=get_time(spec, "end_time"),
            jitter=spec.jitter.ToTimedelta() if spec.HasField("jitter") else None,
            time_zone_name=spec.timezone_name or None,
        )


def set_time(target: Any, value: datetime | None) -> None:
    """Writes a time into a protobuf timestamp; one without a zone is local time."""
    if value is not None:
        target.FromDatetime(value.astimezone(UTC))


def get_time(message: Any, name: str) -> datetime | None:
    """The field `name` of a message as an aware datetime in UTC."""
    return getattr(message, name).ToDatetime(tzinfo=UTC) if message.HasField(name) else None
