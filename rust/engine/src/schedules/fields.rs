//! The text forms of a calendar: its fields ("1-5/2,8", "MON-FRI") and cron strings, read into ranges.
//!
//! A field is a list of parts between commas; a part is `*`, a value, `a-b`, each with an optional `/step`. A value with a step
//! and no end goes on to the field's last value. Months and days of the week have names, of which a beginning is enough;
//! Sunday is 0 or 7. Words of refusals are the service's.

use prost_wkt_types::Duration;
use temporalio_protos::temporal::api::schedule::v1::{CalendarSpec, IntervalSpec, Range, StructuredCalendarSpec};

pub const MIN_YEAR: i32 = 2000;
/// Later times match nothing.
pub const MAX_YEAR: i32 = 2100;
const SUNDAY_AS_SEVEN: i32 = 7;

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// What one field may hold.
struct Field {
    name: &'static str,
    default: &'static str,
    min: i32,
    max: i32,
    /// Names of values, the first of them worth `min`; so many letters at least.
    names: (&'static [&'static str], usize),
}

const SECOND: Field = Field { name: "Second", default: "0", min: 0, max: 59, names: (&[], 0) };
const MINUTE: Field = Field { name: "Minute", default: "0", min: 0, max: 59, names: (&[], 0) };
const HOUR: Field = Field { name: "Hour", default: "0", min: 0, max: 23, names: (&[], 0) };
const DAY_OF_WEEK: Field = Field { name: "DayOfWeek", default: "*", min: 0, max: SUNDAY_AS_SEVEN, names: (&DAYS, 2) };
const DAY_OF_MONTH: Field = Field { name: "DayOfMonth", default: "*", min: 1, max: 31, names: (&[], 0) };
const MONTH: Field = Field { name: "Month", default: "*", min: 1, max: 12, names: (&MONTHS, 3) };
const YEAR: Field = Field { name: "Year", default: "*", min: MIN_YEAR, max: MAX_YEAR, names: (&[], 0) };

impl Field {
    fn ranges(&self, text: &str) -> Result<Vec<Range>, String> {
        let text = match text.trim() {
            "" => self.default,
            text => text,
        };
        // All years are no ranges: there is no end to list.
        if text == "*" && self.name == YEAR.name {
            return Ok(Vec::new());
        }
        let mut ranges = Vec::new();
        for part in text.split(',') {
            self.part(part, &mut ranges)?;
        }
        Ok(ranges)
    }

    fn part(&self, part: &str, ranges: &mut Vec<Range>) -> Result<(), String> {
        let name = self.name;
        let (span, step) = match part.split_once('/') {
            None => (part, None),
            Some((_, step)) if step.contains('/') => return Err(format!("{name} has too many slashes")),
            Some((_, "")) => return Err(format!("{name} missing step value")),
            Some((span, step)) => match integer(step)? {
                step if step < 1 => return Err(format!("{name} has invalid Step")),
                step => (span, Some(step)),
            },
        };
        let (start, mut end) = self.span(span, step.is_some())?;
        let step = step.unwrap_or(1);
        if name == DAY_OF_WEEK.name && end == SUNDAY_AS_SEVEN {
            // 7 becomes 0, in a range of its own unless the range has 0 or may begin with it.
            let hit = (SUNDAY_AS_SEVEN - start) % step == 0;
            if hit && (step > 1 || start > 1) {
                ranges.push(Range::default());
                if start == SUNDAY_AS_SEVEN {
                    return Ok(());
                }
            }
            end = SUNDAY_AS_SEVEN - 1;
        }
        // One value and every value are the defaults of the message.
        ranges.push(Range { start, end: if end == start { 0 } else { end }, step: if step == 1 { 0 } else { step } });
        Ok(())
    }

    fn span(&self, span: &str, has_step: bool) -> Result<(i32, i32), String> {
        let Field { name, min, max, .. } = *self;
        if span == "*" {
            return Ok((min, max));
        }
        if let Some((first, last)) = span.split_once('-') {
            if last.contains('-') {
                return Err(format!("{name} has too many dashes"));
            }
            let start = self.value(first, min).ok_or_else(|| format!("{name} Start is not in range [{min}-{max}]"))?;
            let end = self.value(last, start).ok_or_else(|| format!("{name} End is before Start or not in range [{start}-{max}]"));
            // The service names the whole field's range here.
            let end = end.map_err(|_| format!("{name} End is before Start or not in range [{min}-{max}]"))?;
            return Ok((start, end));
        }
        let start = self.value(span, min).ok_or_else(|| format!("{name} is not in range [{min}-{max}]"))?;
        Ok((start, if has_step { max } else { start }))
    }

    /// A number or a name that lies in `min` to the field's end.
    fn value(&self, text: &str, min: i32) -> Option<i32> {
        let (names, letters) = self.names;
        let lower = text.to_lowercase();
        let named = if letters > 0 && lower.len() >= letters { names.iter().position(|name| name.starts_with(&lower)) } else { None };
        let value = match named {
            Some(index) => i32::try_from(index).ok()? + self.min,
            None => text.parse().ok()?,
        };
        (min..=self.max).contains(&value).then_some(value)
    }
}

fn integer(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
}

/// Reads a calendar of texts; every field that is wrong is named.
pub fn calendar(spec: &CalendarSpec) -> Result<StructuredCalendarSpec, String> {
    let mut errors = Vec::new();
    let mut ranges = |field: &Field, text: &str| field.ranges(text).map_err(|error| errors.push(error)).unwrap_or_default();
    let structured = StructuredCalendarSpec {
        second: ranges(&SECOND, &spec.second),
        minute: ranges(&MINUTE, &spec.minute),
        hour: ranges(&HOUR, &spec.hour),
        day_of_week: ranges(&DAY_OF_WEEK, &spec.day_of_week),
        day_of_month: ranges(&DAY_OF_MONTH, &spec.day_of_month),
        month: ranges(&MONTH, &spec.month),
        year: ranges(&YEAR, &spec.year),
        comment: spec.comment.clone(),
    };
    if errors.is_empty() { Ok(structured) } else { Err(errors.join(", ")) }
}

/// What a cron string says.
#[derive(Debug, PartialEq)]
pub enum Cron {
    /// And the name of the time zone before it, which may be empty.
    Calendar(StructuredCalendarSpec, String),
    Interval(IntervalSpec),
}

/// Reads a cron string of five to seven fields (seconds before, a year behind), or `@daily` and the like, or `@every 1h/5m`;
/// before it may stand `CRON_TZ=Name`, behind it a `# comment`.
pub fn cron(text: &str) -> Result<Cron, String> {
    let mut text = text.trim();
    let mut zone = "";
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let (name, rest) = text.split_once(' ').ok_or("CronString has time zone but missing fields")?;
        zone = name.split_once('=').map_or("", |(_, name)| name);
        text = rest;
    }
    let (text, comment) = text.split_once('#').unwrap_or((text, ""));
    let text = text.trim();
    if text.starts_with("@every") {
        return interval(text).map(Cron::Interval);
    }
    let text = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        text => text,
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let (second, rest) = if words.len() == 7 { (words[0], &words[1..]) } else { ("", &words[..]) };
    let [minute, hour, day_of_month, month, day_of_week, year @ ..] = rest else {
        return Err("CronString does not have 5-7 fields".into());
    };
    if year.len() > 1 {
        return Err("CronString does not have 5-7 fields".into());
    }
    let spec = CalendarSpec {
        second: second.into(),
        minute: (*minute).into(),
        hour: (*hour).into(),
        day_of_month: (*day_of_month).into(),
        month: (*month).into(),
        day_of_week: (*day_of_week).into(),
        year: year.first().copied().unwrap_or_default().into(),
        comment: comment.trim().into(),
    };
    Ok(Cron::Calendar(calendar(&spec)?, zone.into()))
}

fn interval(text: &str) -> Result<IntervalSpec, String> {
    let (_, rest) = text.split_once(' ').ok_or("CronString does not have interval after @every")?;
    let (every, phase) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(IntervalSpec { interval: Some(duration(every)?), phase: if phase.is_empty() { None } else { Some(duration(phase)?) } })
}

/// A length of time as Go writes it, "1h30m" or "1.5h", and days as "2d".
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if rest == "0" {
        return Ok(Duration::default());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        if digits == 0 {
            return Err(invalid());
        }
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        seconds += number.parse::<f64>().map_err(|_| invalid())? * unit;
        rest = tail;
    }
    let nanos = (sign * seconds * 1e9).round();
    if nanos.abs() > 9e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is below i64's limit by the check above")]
    let nanos = nanos as i64;
    Ok(Duration { seconds: nanos / 1_000_000_000, nanos: (nanos % 1_000_000_000) as i32 })
}
