//! Cron schedules of workflows: five fields, a few names, or an interval; in UTC unless a time zone is named.
//!
//! The language is the one that the service reads: `CRON_TZ=Europe/Berlin 0 9 * * MON-FRI`, `@daily`, `@every 1h30m`.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, time},
    tz::{AmbiguousOffset, TimeZone},
};

use super::time::{Nanos, SECOND};

/// A schedule that no moment within so many days fulfils (the 30th of February) has none.
const SEARCH_DAYS: usize = 5 * 366;
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const UNITS: [(&str, f64); 7] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// A parsed schedule.
#[derive(Debug)]
pub enum Cron {
    Every(Nanos),
    Fields(Box<Fields>),
}

/// The values that each field allows, as bits.
#[derive(Debug)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// One of the fields of days is a star: then the other one decides alone; else either may.
    any_day: bool,
    zone: TimeZone,
}

impl Cron {
    /// Reads a schedule; says what is wrong with one that cannot be read.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let (zone, rest) = split_zone(text.trim())?;
        if let Some(interval) = rest.strip_prefix("@every ") {
            let interval = interval_of(interval.trim())?;
            return Ok(Cron::Every((interval / SECOND).max(1) * SECOND));
        }
        let named = match rest {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(format!("unknown name {other:?}")),
            other => other,
        };
        let fields: Vec<&str> = named.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!("it has {} fields instead of 5", fields.len()));
        };
        let (minutes, _) = field("minute", minutes, 0, 59, &[])?;
        let (hours, _) = field("hour", hours, 0, 23, &[])?;
        let (days, any_day) = field("day of month", days, 1, 31, &[])?;
        let (months, _) = field("month", months, 1, 12, &MONTHS)?;
        let (weekdays, any_weekday) = field("day of week", weekdays, 0, 6, &DAYS)?;
        Ok(Cron::Fields(Box::new(Fields { minutes, hours, days, months, weekdays, any_day: any_day || any_weekday, zone })))
    }

    /// The first moment of the schedule after `after`.
    pub fn next(&self, after: Nanos) -> Option<Nanos> {
        match self {
            Cron::Every(interval) => after.div_euclid(SECOND).checked_mul(SECOND)?.checked_add(*interval),
            Cron::Fields(fields) => fields.next(after),
        }
    }
}

impl Fields {
    fn next(&self, after: Nanos) -> Option<Nanos> {
        let local = self.zone.to_datetime(Timestamp::from_nanosecond(i128::from(after)).ok()?);
        // Clocks that are put back repeat an hour, also over midnight: the day before may still hold the next moment.
        let first = local.date().yesterday().ok()?;
        first.series(jiff::Span::new().days(1)).take(SEARCH_DAYS).filter(|day| self.has_day(*day)).find_map(|day| self.on(day, after))
    }

    fn has_day(&self, day: Date) -> bool {
        let is_in = |bits: u64, value: i8| bits & (1 << value) != 0;
        let (by_date, by_weekday) = (is_in(self.days, day.day()), is_in(self.weekdays, day.weekday().to_sunday_zero_offset()));
        is_in(self.months, day.month()) && if self.any_day { by_date && by_weekday } else { by_date || by_weekday }
    }

    /// The first moment on a day after `after`. Times that a change of clocks leaves out do not happen, those that it repeats happen twice.
    fn on(&self, day: Date, after: Nanos) -> Option<Nanos> {
        let hours = (0..24).filter(|hour| self.hours & (1 << hour) != 0);
        let times = hours.flat_map(|hour| (0..60).filter(|minute| self.minutes & (1 << minute) != 0).map(move |minute| (hour, minute)));
        times.flat_map(|(hour, minute)| self.moments(day.to_datetime(time(hour, minute, 0, 0)))).filter(|at| *at > after).min()
    }

    fn moments(&self, local: DateTime) -> Vec<Nanos> {
        let offsets = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => vec![offset],
            AmbiguousOffset::Gap { .. } => Vec::new(),
            AmbiguousOffset::Fold { before, after } => vec![before, after],
        };
        let moment = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok().and_then(|at| Nanos::try_from(at.as_nanosecond()).ok());
        offsets.into_iter().filter_map(moment).collect()
    }
}

/// How long a run waits whose schedule counts from `from`, rounded up to a second; none: there is no next moment.
pub fn pause(schedule: &str, from: Nanos, now: Nanos) -> Option<Nanos> {
    let cron = Cron::parse(schedule).ok()?;
    let mut next = if now < from { from } else { cron.next(from)? };
    if next < now {
        next = match cron {
            // A long pause holds many intervals: they are not gone through one by one.
            Cron::Every(interval) => next + (now - next).div_euclid(interval) * interval,
            Cron::Fields(_) => cron.next(now - 1)?,
        };
        if next < now {
            next = cron.next(next)?;
        }
    }
    let pause = next - now;
    Some(if pause % SECOND == 0 { pause } else { (pause / SECOND + 1) * SECOND })
}

fn split_zone(text: &str) -> Result<(TimeZone, &str), String> {
    let Some(named) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else { return Ok((TimeZone::UTC, text)) };
    let (name, rest) = named.split_once(' ').ok_or("a time zone and nothing else")?;
    let zone = TimeZone::get(name).map_err(|_| format!("unknown time zone {name:?}"))?;
    Ok((zone, rest.trim()))
}

/// Ranges, lists and steps as bits, and whether it is a star.
fn field(name: &str, text: &str, min: u32, max: u32, names: &[&str]) -> Result<(u64, bool), String> {
    let mut bits = 0;
    let mut is_star = false;
    for part in text.split(',') {
        let bad = || format!("{part:?} is no {name}");
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().map_err(|_| bad())?)),
            None => (part, None),
        };
        if step == Some(0) {
            return Err(bad());
        }
        let value = |text: &str| match names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            Some(index) => u32::try_from(index).map(|index| index + min).map_err(|_| bad()),
            None => text.parse::<u32>().map_err(|_| bad()),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*" | "?", _) => {
                is_star |= step.is_none_or(|step| step == 1);
                (min, max)
            }
            (_, Some((from, to))) => (value(from)?, value(to)?),
            (single, None) => (value(single)?, if step.is_some() { max } else { value(single)? }),
        };
        if from < min || to > max || from > to {
            return Err(bad());
        }
        for value in (from..=to).step_by(step.unwrap_or(1) as usize) {
            bits |= 1 << value;
        }
    }
    Ok((bits, is_star))
}

/// An interval as Go writes it: numbers with units, one after the other.
fn interval_of(text: &str) -> Result<Nanos, String> {
    let bad = || format!("{text:?} is no interval; write it as 1h30m");
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        total += number.parse::<f64>().map_err(|_| bad())? * size;
        rest = tail;
    }
    if total < i64::MAX as f64 { Ok(total as Nanos) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Nanos {
        let moment: Timestamp = text.parse().expect("a moment");
        Nanos::try_from(moment.as_nanosecond()).expect("in range")
    }

    fn next(schedule: &str, after: &str) -> Option<String> {
        let next = Cron::parse(schedule).expect(schedule).next(at(after))?;
        Some(Timestamp::from_nanosecond(i128::from(next)).expect("in range").to_string())
    }

    fn check(schedule: &str, after: &str, expected: &str) {
        assert_eq!(next(schedule, after).as_deref(), Some(expected), "{schedule} after {after}");
    }

    #[test]
    fn fields() {
        check("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        check("*/15 * * * *", "2026-01-01T00:15:00.5Z", "2026-01-01T00:30:00Z");
        check("5/20 * * * *", "2026-01-01T00:26:00Z", "2026-01-01T00:45:00Z");
        check("0 9-17/4 * * *", "2026-01-01T09:00:00Z", "2026-01-01T13:00:00Z");
        check("30 6 1,15 * *", "2026-01-01T06:30:00Z", "2026-01-15T06:30:00Z");
        check("0 0 29 feb ?", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check("0 9 * * MON-FRI", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z");
        // Both fields of days: either of them is enough.
        check("0 0 13 * 5", "2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z");
        check("0 0 13 * 5", "2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z");
        // With a step the star is a star no more.
        check("0 0 */2 * 1", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z");
        assert_eq!(next("0 0 30 2 *", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn names() {
        check("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("@annually", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("@monthly", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z");
        check("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z");
        check("@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        check("@midnight", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        check("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
        check("@every 1h30m", "2026-01-01T00:00:00.7Z", "2026-01-01T01:30:00Z");
        check("@every 1.5s", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        check("@every 10ms", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
    }

    #[test]
    fn time_zones_and_their_changes_of_clocks() {
        check("CRON_TZ=Europe/Berlin 0 9 * * *", "2026-01-01T09:00:00Z", "2026-01-02T08:00:00Z");
        check("TZ=America/New_York 0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T13:00:00Z");
        // 02:30 does not happen on the 29th of March.
        check("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z");
        // 02:30 happens twice on the 25th of October.
        check("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z");
        check("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
    }

    #[test]
    fn what_is_no_schedule() {
        let bad = [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@often",
            "@every",
            "@every soon",
            "@every 5",
            "CRON_TZ=Nowhere/Never * * * * *",
            "CRON_TZ=UTC",
            "-1 * * * *",
        ];
        for text in bad {
            assert!(Cron::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pauses_are_whole_seconds_up_to_the_next_moment() {
        let pause_at = |schedule, from, now| pause(schedule, at(from), at(now)).map(|pause| pause / SECOND);
        assert_eq!(pause_at("* * * * *", "2026-01-01T00:00:00.2Z", "2026-01-01T00:00:00.2Z"), Some(60));
        assert_eq!(pause_at("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z"), Some(0));
        assert_eq!(pause_at("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:10:30Z"), Some(30));
        // Intervals are counted from the run before, not from its end.
        assert_eq!(pause_at("@every 10s", "2026-01-01T00:00:00Z", "2026-01-01T00:00:03Z"), Some(7));
        assert_eq!(pause_at("@every 10s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:03Z"), Some(7));
        assert_eq!(pause_at("@every 10s", "2026-01-01T00:01:00Z", "2026-01-01T00:00:00Z"), Some(60));
        assert_eq!(pause("0 0 30 2 *", 0, 0), None);
    }
}
