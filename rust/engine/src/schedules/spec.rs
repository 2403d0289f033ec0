//! When a schedule acts: a spec in its canonical form, and the next time after a given one.

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use temporalio_protos::temporal::api::schedule::v1::{IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec};

use super::{
    calendar::{Calendar, Seconds, check},
    fields::{self, Cron, MAX_YEAR},
};
use crate::state::time::{Nanos, SECOND, length, nanos, nanos_of};

/// Steps of one search for a time that nothing excludes. Beyond, the spec is taken to have no more times: the search would keep
/// the writer from everything else. Stretches that an exclusion covers are jumped over, so that ordinary specs need few.
const MAX_STEPS: usize = 20_000;
/// What one call lists.
const MAX_MATCHING_TIMES: usize = 1000;
const CONFLICTING_ZONES: &str = "conflicting timezone names";

/// A time at which a schedule acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// As the spec has it: what the started workflow is named after.
    pub nominal: Nanos,
    /// The same with jitter.
    pub at: Nanos,
}

#[derive(Debug)]
pub struct Spec {
    zone: TimeZone,
    calendars: Vec<Calendar>,
    excluded: Vec<Calendar>,
    /// Length and phase, in seconds.
    intervals: Vec<(Seconds, Seconds)>,
    start: Nanos,
    end: Option<Nanos>,
    jitter: Nanos,
}

/// The spec with all texts read: calendars and cron strings become calendars of ranges and intervals.
pub fn canonical(mut spec: ScheduleSpec) -> Result<ScheduleSpec, String> {
    for calendar in std::mem::take(&mut spec.calendar) {
        spec.structured_calendar.push(fields::calendar(&calendar)?);
    }
    #[allow(deprecated)]
    for calendar in std::mem::take(&mut spec.exclude_calendar) {
        spec.exclude_structured_calendar.push(fields::calendar(&calendar)?);
    }
    let mut zone: Option<String> = None;
    for text in std::mem::take(&mut spec.cron_string) {
        let own = match fields::cron(&text)? {
            Cron::Calendar(calendar, own) => {
                spec.structured_calendar.push(calendar);
                own
            }
            Cron::Interval(interval) => {
                spec.interval.push(interval);
                String::new()
            }
        };
        if zone.as_ref().is_some_and(|zone| *zone != own) {
            return Err(CONFLICTING_ZONES.into());
        }
        zone = Some(own);
    }
    if let Some(zone) = zone.filter(|zone| !zone.is_empty()) {
        if !spec.timezone_data.is_empty() || (!spec.timezone_name.is_empty() && spec.timezone_name != zone) {
            return Err(CONFLICTING_ZONES.into());
        }
        spec.timezone_name = zone;
    }
    spec.structured_calendar.iter().try_for_each(check)?;
    spec.interval.iter().try_for_each(check_interval)?;
    // The service lets a bad exclusion pass, which then excludes nothing; here it is the same mistake as above.
    spec.exclude_structured_calendar.iter().try_for_each(check)?;
    Ok(spec)
}

fn check_interval(interval: &IntervalSpec) -> Result<(), String> {
    let every = nanos_of(&interval.interval);
    match nanos_of(&interval.phase) {
        _ if every < SECOND => Err("interval is too small".into()),
        phase if phase < 0 => Err("phase is negative".into()),
        phase if phase >= every => Err("phase cannot be greater than Interval".into()),
        _ => Ok(()),
    }
}

/// A zone by its name or its data. Names are exact, and the data is the library's own: the same on every machine.
fn zone(name: &str, data: &[u8]) -> Result<TimeZone, String> {
    if !data.is_empty() {
        return TimeZone::tzif(name, data).map_err(|_| "malformed time zone information".into());
    }
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err("time: invalid location name".into());
    }
    match TimeZoneDatabase::bundled().get(name) {
        Ok(zone) if zone.iana_name() == Some(name) => Ok(zone),
        _ => Err(format!("unknown time zone {name}")),
    }
}

/// What descriptions show: every range with its end and step.
pub fn complete(spec: &mut ScheduleSpec) {
    fn ranges(ranges: &mut [Range]) {
        for range in ranges {
            range.end = range.end.max(range.start);
            if range.step == 0 {
                range.step = 1;
            }
        }
    }
    fn calendar(calendar: &mut StructuredCalendarSpec) {
        ranges(&mut calendar.second);
        ranges(&mut calendar.minute);
        ranges(&mut calendar.hour);
        ranges(&mut calendar.day_of_month);
        ranges(&mut calendar.month);
        ranges(&mut calendar.year);
        ranges(&mut calendar.day_of_week);
    }
    spec.structured_calendar.iter_mut().chain(&mut spec.exclude_structured_calendar).for_each(calendar);
}

impl Spec {
    /// Of a canonical spec.
    pub fn new(spec: &ScheduleSpec) -> Result<Spec, String> {
        Ok(Spec {
            zone: zone(&spec.timezone_name, &spec.timezone_data)?,
            calendars: spec.structured_calendar.iter().map(Calendar::new).collect(),
            excluded: spec.exclude_structured_calendar.iter().map(Calendar::new).collect(),
            intervals: spec
                .interval
                .iter()
                .map(|interval| (length(&interval.interval) / SECOND, length(&interval.phase) / SECOND))
                .map(|(every, phase)| (every.max(1), phase))
                .collect(),
            start: spec.start_time.as_ref().map_or(0, nanos),
            end: spec.end_time.as_ref().map(nanos),
            jitter: length(&spec.jitter),
        })
    }

    /// The first time after `after` that matches, if there is one. `seed` decides about the jitter.
    pub fn next(&self, seed: &str, after: Nanos) -> Option<Due> {
        let mut after = after.max(self.start.saturating_sub(SECOND)).div_euclid(SECOND);
        for _ in 0..MAX_STEPS {
            let nominal = self.raw_next(after)?;
            let at = nominal.checked_mul(SECOND)?;
            if self.end.is_some_and(|end| at > end) || is_too_late(nominal) {
                return None;
            }
            match self
                .excluded
                .iter()
                .filter(|calendar| calendar.matches(nominal, &self.zone))
                .map(|calendar| calendar.matching_stretch(nominal, &self.zone))
                .max()
            {
                Some(stretch) => after = nominal + stretch - 1,
                None => return Some(Due { nominal: at, at: at + self.jitter(seed, nominal) }),
            }
        }
        None
    }

    /// No time is put off for longer.
    pub fn longest_jitter(&self) -> Nanos {
        self.jitter
    }

    /// The first matching second, exclusions and jitter apart.
    fn raw_next(&self, after: Seconds) -> Option<Seconds> {
        let calendars = self.calendars.iter().filter_map(|calendar| calendar.next(after, &self.zone));
        let intervals = self.intervals.iter().map(|(every, phase)| ((after - phase).div_euclid(*every) + 1) * every + phase);
        calendars.chain(intervals).min()
    }

    /// A part of the jitter that depends on time and seed only, and never reaches the next time.
    fn jitter(&self, seed: &str, nominal: Seconds) -> Nanos {
        const MILLISECOND: Nanos = 1_000_000;
        let gap = self.raw_next(nominal).map_or(Nanos::MAX, |next| (next - nominal).saturating_mul(SECOND));
        let most = u64::try_from(self.jitter.min(gap) / MILLISECOND).unwrap_or(0).min(u64::from(u32::MAX));
        let part = u64::from(farmhash::fingerprint32(&jitter_key(seed, nominal)));
        Nanos::try_from((part * most) >> 32).unwrap_or(0) * MILLISECOND
    }

    /// Times in `start..=end`, the first thousand.
    pub fn matching_times(&self, seed: &str, start: Nanos, end: Nanos) -> Vec<Nanos> {
        let mut times = Vec::new();
        let mut after = start;
        while let Some(due) = self.next(seed, after).filter(|due| due.at <= end && times.len() < MAX_MATCHING_TIMES) {
            times.push(due.at);
            after = due.at;
        }
        times
    }
}

fn is_too_late(at: Seconds) -> bool {
    Timestamp::from_second(at).map_or(true, |at| i32::from(TimeZone::UTC.to_datetime(at).year()) > MAX_YEAR)
}

/// What the service hashes: the time as Go encodes it, then the seed. So a schedule has the same jitter here and there.
fn jitter_key(seed: &str, nominal: Seconds) -> Vec<u8> {
    const VERSION: u8 = 1;
    const UTC: [u8; 2] = [0xff, 0xff];
    const YEAR_ONE_TO_EPOCH: Seconds = 62_135_596_800;
    let mut key = vec![VERSION];
    key.extend((nominal + YEAR_ONE_TO_EPOCH).to_be_bytes());
    key.extend([0; 4]);
    key.extend(UTC);
    key.extend(seed.as_bytes());
    key
}
