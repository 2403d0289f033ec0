//! A calendar in a time zone: which seconds match it, and which is the next.
//!
//! A zone's clock runs straight between two of its changes, so the search goes from change to change and looks in each span for
//! a matching wall-clock time. What a change skips never matches; what it repeats matches twice.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{Offset, TimeZone},
};
use temporalio_protos::temporal::api::schedule::v1::{Range, StructuredCalendarSpec};

use super::fields::{MAX_YEAR, MIN_YEAR};

/// Seconds since the Unix epoch.
pub type Seconds = i64;

#[derive(Debug)]
pub struct Calendar {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days_of_month: u64,
    months: u64,
    days_of_week: u64,
    /// None for all; sorted.
    years: Option<Vec<i16>>,
}

fn values(ranges: &[Range]) -> impl Iterator<Item = i32> {
    ranges.iter().flat_map(|range| (range.start..=range.end.max(range.start)).step_by(usize::try_from(range.step.max(1)).unwrap_or(1)))
}

fn bits(ranges: &[Range]) -> u64 {
    values(ranges).fold(0, |bits, value| bits | 1 << value)
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

/// The first value from `from` on.
fn first(bits: u64, from: i8) -> Option<i8> {
    let left = if from > 63 { 0 } else { bits >> from << from };
    (left != 0).then(|| left.trailing_zeros() as i8)
}

fn lowest(bits: u64, count: u32) -> bool {
    bits.trailing_ones() >= count
}

impl Calendar {
    /// Of a spec that was checked: every value is in its field's range.
    pub fn new(spec: &StructuredCalendarSpec) -> Calendar {
        let years = (!spec.year.is_empty()).then(|| {
            let mut years: Vec<i16> = values(&spec.year).filter_map(|year| i16::try_from(year).ok()).collect();
            years.sort_unstable();
            years
        });
        Calendar {
            seconds: bits(&spec.second),
            minutes: bits(&spec.minute),
            hours: bits(&spec.hour),
            days_of_month: bits(&spec.day_of_month),
            months: bits(&spec.month),
            days_of_week: bits(&spec.day_of_week),
            years,
        }
    }

    fn has_year(&self, year: i16) -> bool {
        self.years.as_ref().is_none_or(|years| years.binary_search(&year).is_ok())
    }

    fn has_date(&self, date: Date) -> bool {
        self.has_year(date.year())
            && has(self.months, date.month())
            && has(self.days_of_month, date.day())
            && has(self.days_of_week, date.weekday().to_sunday_zero_offset())
    }

    pub fn matches(&self, at: Seconds, zone: &TimeZone) -> bool {
        let Ok(at) = Timestamp::from_second(at) else { return false };
        let local = zone.to_datetime(at);
        self.has_date(local.date())
            && has(self.hours, local.hour())
            && has(self.minutes, local.minute())
            && has(self.seconds, local.second())
    }

    /// How long from a matching second on everything matches: as far as can be told without a search, one second at least.
    pub fn matching_stretch(&self, at: Seconds, zone: &TimeZone) -> Seconds {
        let Ok(at) = Timestamp::from_second(at) else { return 1 };
        let local = zone.to_datetime(at);
        let (hour, minute, second) = (Seconds::from(local.hour()), Seconds::from(local.minute()), Seconds::from(local.second()));
        let stretch = match (lowest(self.seconds, 60), lowest(self.minutes, 60), lowest(self.hours, 24)) {
            (true, true, true) => 86_400 - hour * 3600 - minute * 60 - second,
            (true, true, false) => 3600 - minute * 60 - second,
            (true, false, _) => 60 - second,
            (false, ..) => 1,
        };
        let change = zone.following(at).next().map_or(stretch, |change| change.timestamp().as_second() - at.as_second());
        stretch.min(change).max(1)
    }

    /// The first matching second after `after`, at most the last of the year 2100.
    pub fn next(&self, after: Seconds, zone: &TimeZone) -> Option<Seconds> {
        let mut from = Timestamp::from_second(after.checked_add(1)?).ok()?;
        loop {
            let offset = zone.to_offset(from);
            let change = zone.following(from).next().map(|change| change.timestamp());
            let end = change.map_or(DateTime::MAX, |change| offset.to_datetime(change));
            match self.next_local(offset.to_datetime(from), end) {
                Found::At(local) => return to_seconds(local, offset),
                Found::Nothing => return None,
                Found::End => from = change?,
            }
        }
    }

    /// The first matching wall-clock time in `from..end`.
    fn next_local(&self, from: DateTime, end: DateTime) -> Found {
        let mut date = from.date();
        let mut floor = from.time();
        loop {
            if i32::from(date.year()) > MAX_YEAR {
                return Found::Nothing;
            }
            if date > end.date() {
                return Found::End;
            }
            if self.has_date(date)
                && let Some(time) = self.next_time(floor)
            {
                let local = date.to_datetime(time);
                return if local < end { Found::At(local) } else { Found::End };
            }
            floor = Time::midnight();
            match self.next_date(date) {
                Some(next) => date = next,
                None => return Found::Nothing,
            }
        }
    }

    /// A later date, before which none matches.
    fn next_date(&self, date: Date) -> Option<Date> {
        if !self.has_year(date.year()) {
            let years = self.years.as_ref()?;
            let year = *years.iter().find(|year| **year > date.year())?;
            return Date::new(year, 1, 1).ok();
        }
        if !has(self.months, date.month()) {
            return match first(self.months, date.month()) {
                Some(month) => Date::new(date.year(), month, 1).ok(),
                None => Date::new(date.year() + 1, 1, 1).ok(),
            };
        }
        date.tomorrow().ok()
    }

    fn next_time(&self, floor: Time) -> Option<Time> {
        let (hour, minute, second) = (floor.hour(), floor.minute(), floor.second());
        let begin = |hour, minute| Some(Time::constant(hour, minute, first(self.seconds, 0)?, 0));
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = first(self.seconds, second)
            {
                return Some(Time::constant(hour, minute, second, 0));
            }
            if let Some(minute) = first(self.minutes, minute + 1) {
                return begin(hour, minute);
            }
        }
        begin(first(self.hours, hour + 1)?, first(self.minutes, 0)?)
    }
}

enum Found {
    At(DateTime),
    /// Not before the end of the span.
    End,
    /// Never.
    Nothing,
}

fn to_seconds(local: DateTime, offset: Offset) -> Option<Seconds> {
    offset.to_timestamp(local).ok().map(Timestamp::as_second)
}

/// Checks a calendar of ranges; every field that is wrong is named.
pub fn check(spec: &StructuredCalendarSpec) -> Result<(), String> {
    const MAX_COMMENT_BYTES: usize = 200;
    let fields = [
        (&spec.second, "Second", 0, 59),
        (&spec.minute, "Minute", 0, 59),
        (&spec.hour, "Hour", 0, 23),
        (&spec.day_of_month, "DayOfMonth", 1, 31),
        (&spec.month, "Month", 1, 12),
        (&spec.year, "Year", MIN_YEAR, MAX_YEAR),
        (&spec.day_of_week, "DayOfWeek", 0, 6),
    ];
    let mut errors = Vec::new();
    for (ranges, name, min, max) in fields {
        for range in ranges {
            if range.start < min || range.start > max {
                errors.push(format!("{name} Start is not in range [{min}-{max}]"));
            }
            if range.end != 0 && (range.end < range.start || range.end > max) {
                errors.push(format!("{name} End is before Start or not in range [{min}-{max}]"));
            }
            if range.step < 0 {
                errors.push(format!("{name} has invalid Step"));
            }
        }
    }
    if spec.comment.len() > MAX_COMMENT_BYTES {
        errors.push("comment is too long".into());
    }
    if errors.is_empty() { Ok(()) } else { Err(format!("invalid calendar spec: {}", errors.join(", "))) }
}
