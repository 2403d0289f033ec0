//! Texts and what they mean, and random calendars against a search second by second.

use jiff::{Timestamp, tz::TimeZone};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use temporalio_protos::temporal::api::schedule::v1::{CalendarSpec, IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec};

use crate::{
    schedules::{
        calendar::Calendar,
        fields::{self, Cron},
        spec::{Spec, canonical, complete},
    },
    state::time::{SECOND, duration, timestamp},
};

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().expect("a time").as_second()
}

fn crons(texts: &[&str]) -> ScheduleSpec {
    ScheduleSpec { cron_string: texts.iter().map(|text| (*text).into()).collect(), ..Default::default() }
}

fn times(spec: ScheduleSpec, after: &str, count: usize) -> Vec<String> {
    let spec = Spec::new(&canonical(spec).expect("a spec")).expect("a zone");
    let mut now = at(after) * SECOND;
    let mut found = Vec::new();
    while let Some(due) = spec.next("seed", now).filter(|_| found.len() < count) {
        now = due.at;
        found.push(Timestamp::from_nanosecond(due.at.into()).expect("in range").to_string());
    }
    found
}

fn refusal(spec: ScheduleSpec) -> String {
    canonical(spec).and_then(|spec| Spec::new(&spec)).expect_err("refused")
}

#[test]
fn cron_strings() {
    for (text, expected) in [
        ("30 6 * * MON-FRI", ["2024-03-01T06:30:00Z", "2024-03-04T06:30:00Z"]),
        ("@monthly", ["2024-04-01T00:00:00Z", "2024-05-01T00:00:00Z"]),
        ("@every 90m", ["2024-03-01T01:30:00Z", "2024-03-01T03:00:00Z"]),
        ("@every 1d/6h", ["2024-03-01T06:00:00Z", "2024-03-02T06:00:00Z"]),
        ("*/20 0 29 2 * 2028", ["2028-02-29T00:00:00Z", "2028-02-29T00:20:00Z"]),
        ("15,45 0 0 1 jan * *", ["2025-01-01T00:00:15Z", "2025-01-01T00:00:45Z"]),
        ("CRON_TZ=Europe/Berlin 0 12 * * sun", ["2024-03-03T11:00:00Z", "2024-03-10T11:00:00Z"]),
        ("0 0 * * 7", ["2024-03-03T00:00:00Z", "2024-03-10T00:00:00Z"]),
        ("0 0 * * 5-7/2 # odd", ["2024-03-03T00:00:00Z", "2024-03-08T00:00:00Z"]),
    ] {
        assert_eq!(times(crons(&[text]), "2024-03-01T00:00:00Z", 2), expected, "{text}");
    }
}

#[test]
fn a_clock_that_changes() {
    // What a change skips is left out, what it repeats comes twice.
    let spring = times(crons(&["TZ=America/New_York 30 2 * * *"]), "2024-03-09T00:00:00Z", 2);
    assert_eq!(spring, ["2024-03-09T07:30:00Z", "2024-03-11T06:30:00Z"]);
    for (zone, first) in [("America/New_York", "2024-11-03T05:30:00Z"), ("Europe/Berlin", "2024-10-27T00:30:00Z")] {
        let hour = if zone == "Europe/Berlin" { 2 } else { 1 };
        let found = times(crons(&[&format!("TZ={zone} 30 {hour} * * *")]), &first.replace(":30:", ":00:"), 2);
        assert_eq!(at(&found[0]), at(first), "{zone}");
        assert_eq!(at(&found[1]), at(first) + 3600, "{zone}");
    }
}

#[test]
fn intervals_bounds_and_exclusions() {
    let minutes =
        |every: i64, phase: i64| IntervalSpec { interval: Some(duration(every * 60 * SECOND)), phase: Some(duration(phase * 60 * SECOND)) };
    let nights = StructuredCalendarSpec {
        second: vec![Range { start: 0, end: 59, step: 1 }],
        minute: vec![Range { start: 0, end: 59, step: 1 }],
        hour: vec![Range { start: 2, end: 23, step: 1 }],
        day_of_month: vec![Range { start: 1, end: 31, step: 1 }],
        month: vec![Range { start: 1, end: 12, step: 1 }],
        day_of_week: vec![Range { start: 0, end: 6, step: 1 }],
        ..Default::default()
    };
    let spec = ScheduleSpec {
        interval: vec![minutes(60, 5), minutes(40, 0)],
        exclude_structured_calendar: vec![nights],
        start_time: Some(timestamp(at("2024-03-01T00:40:00Z") * SECOND)),
        end_time: Some(timestamp(at("2024-03-02T00:05:00Z") * SECOND)),
        ..Default::default()
    };
    let expected = ["2024-03-01T00:40:00Z", "2024-03-01T01:05:00Z", "2024-03-01T01:20:00Z", "2024-03-02T00:00:00Z", "2024-03-02T00:05:00Z"];
    assert_eq!(times(spec, "2024-01-01T00:00:00Z", 10), expected);
    // Every second but at week-ends: a long stretch is jumped over. And a spec that excludes itself ends.
    let mut seconds = crons(&["@every 1s"]);
    seconds.exclude_calendar.push(CalendarSpec {
        second: "*".into(),
        minute: "*".into(),
        hour: "*".into(),
        day_of_week: "SAT,SUN".into(),
        ..Default::default()
    });
    assert_eq!(times(seconds, "2024-03-01T23:59:59Z", 1), ["2024-03-04T00:00:00Z"]);
    let mut never = crons(&["@every 1s"]);
    never.exclude_calendar.extend(["0-29", "30-59"].map(|second| CalendarSpec {
        second: second.into(),
        minute: "*".into(),
        hour: "*".into(),
        ..Default::default()
    }));
    assert!(times(never, "2024-03-01T00:00:00Z", 1).is_empty());
    assert!(times(crons(&["0 0 30 2 *"]), "2024-03-01T00:00:00Z", 1).is_empty());
    assert!(times(crons(&["0 0 1 1 * 2001"]), "2024-03-01T00:00:00Z", 1).is_empty());
}

#[test]
fn jitter_is_the_same_again_and_stays_before_the_next_time() {
    let mut spec = crons(&["@every 1m"]);
    spec.jitter = Some(duration(3600 * SECOND));
    let spec = Spec::new(&canonical(spec).expect("a spec")).expect("a zone");
    let mut now = at("2024-03-01T00:00:00Z") * SECOND;
    let mut differing = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let due = spec.next("seed", now).expect("a time");
        assert_eq!(spec.next("seed", now), Some(due));
        assert!(due.nominal <= due.at && due.at < due.nominal + 60 * SECOND && due.at > now);
        differing.insert(due.at - due.nominal);
        now = due.at;
    }
    assert!(differing.len() > 90);
}

#[test]
fn refusals() {
    for (text, reason) in [
        ("1 2 3", "CronString does not have 5-7 fields"),
        ("1 2 3 4 5 2020 7 8", "CronString does not have 5-7 fields"),
        ("61 * * * *", "Minute is not in range [0-59]"),
        ("* 7-3 * * *", "Hour End is before Start or not in range [0-23]"),
        ("* 24-25 * * *", "Hour Start is not in range [0-23]"),
        ("1/2/3 * * * *", "Minute has too many slashes"),
        ("1-2-3 * * * *", "Minute has too many dashes"),
        ("*/0 * * * *", "Minute has invalid Step"),
        ("*/ * * * *", "Minute missing step value"),
        ("* * 0 13 *", "DayOfMonth is not in range [1-31], Month is not in range [1-12]"),
        ("@every", "CronString does not have interval after @every"),
        ("@every 1x", "time: unknown unit \"x\" in duration \"1x\""),
        ("@every 10ms", "interval is too small"),
        ("@every 1h/2h", "phase cannot be greater than Interval"),
        ("TZ=UTC", "CronString has time zone but missing fields"),
        ("TZ=Nowhere/Land 0 0 * * *", "unknown time zone Nowhere/Land"),
        ("TZ=europe/berlin 0 0 * * *", "unknown time zone europe/berlin"),
    ] {
        assert_eq!(refusal(crons(&[text])), reason, "{text}");
    }
    assert_eq!(refusal(crons(&["TZ=UTC 0 0 * * *", "0 1 * * *"])), "conflicting timezone names");
    let second = vec![Range { start: 70, end: 60, step: -1 }];
    let bad = StructuredCalendarSpec { second, comment: "x".repeat(201), ..Default::default() };
    assert_eq!(
        refusal(ScheduleSpec { structured_calendar: vec![bad], ..Default::default() }),
        "invalid calendar spec: Second Start is not in range [0-59], Second End is before Start or not in range [0-59], \
         Second has invalid Step, comment is too long"
    );
}

#[test]
fn the_canonical_form() {
    let Ok(Cron::Calendar(calendar, zone)) = fields::cron("*/15 9-17 * * mon,FRI # work ") else { panic!("a calendar") };
    assert_eq!((zone.as_str(), calendar.comment.as_str()), ("", "work"));
    assert_eq!(calendar.minute, [Range { start: 0, end: 59, step: 15 }]);
    assert_eq!(calendar.second, [Range::default()]);
    assert_eq!(calendar.day_of_week, [Range { start: 1, ..Default::default() }, Range { start: 5, ..Default::default() }]);
    assert!(calendar.year.is_empty());
    let once = canonical(crons(&["0 0 * * *"])).expect("a spec");
    assert_eq!(canonical(once.clone()).expect("a spec"), once);
    let mut shown = once;
    complete(&mut shown);
    assert_eq!(shown.structured_calendar[0].hour, [Range { start: 0, end: 0, step: 1 }]);
}

/// A list of values from the field, dense or sparse.
fn random_ranges(random: &mut SmallRng, min: i32, max: i32) -> Vec<Range> {
    let count = random.random_range(1..3);
    let range = |random: &mut SmallRng| {
        let start = random.random_range(min..=max);
        let end = if random.random_bool(0.5) { random.random_range(start..=max) } else { 0 };
        Range { start, end, step: random.random_range(0..4) }
    };
    if random.random_bool(0.3) { vec![Range { start: min, end: max, step: 1 }] } else { (0..count).map(|_| range(random)).collect() }
}

#[test]
fn random_calendars_against_a_search_second_by_second() {
    const ZONES: [&str; 6] = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"];
    // Round changes of these zones' clocks, and elsewhere.
    let moments = [
        at("2024-03-10T05:00:00Z"),
        at("2024-11-03T04:00:00Z"),
        at("2024-10-27T00:00:00Z"),
        at("2024-04-06T13:00:00Z"),
        at("2024-12-31T22:00:00Z"),
    ];
    let mut random = SmallRng::seed_from_u64(7);
    let mut found = 0;
    for _ in 0..300 {
        let name = ZONES[random.random_range(0..ZONES.len())];
        let zone = TimeZone::get(name).or_else(|_| jiff::tz::TimeZoneDatabase::bundled().get(name)).expect("a zone");
        let spec = StructuredCalendarSpec {
            second: random_ranges(&mut random, 0, 59),
            minute: random_ranges(&mut random, 0, 59),
            hour: random_ranges(&mut random, 0, 23),
            day_of_month: vec![Range { start: 1, end: 31, step: random.random_range(1..3) }],
            month: vec![Range { start: 1, end: 12, step: 1 }],
            day_of_week: vec![Range { start: 0, end: 6, step: random.random_range(1..3) }],
            ..Default::default()
        };
        let calendar = Calendar::new(&spec);
        let after = moments[random.random_range(0..moments.len())] + random.random_range(0..7200);
        const HOURS: i64 = 5;
        let expected = (after + 1..after + HOURS * 3600).find(|second| calendar.matches(*second, &zone));
        let next = calendar.next(after, &zone).filter(|second| *second < after + HOURS * 3600);
        assert_eq!(next, expected, "{name} after {after}: {spec:?}");
        if let Some(second) = expected {
            found += 1;
            let stretch = calendar.matching_stretch(second, &zone);
            assert!((second..second + stretch).all(|second| calendar.matches(second, &zone)), "{name}: {spec:?}");
        }
    }
    assert!(found > 100);
}

#[test]
fn jitter_is_the_services() {
    // As a service answered for this schedule: milliseconds after each hour.
    let mut spec = crons(&["@hourly"]);
    spec.jitter = Some(duration(300 * SECOND));
    let spec = Spec::new(&canonical(spec).expect("a spec")).expect("a zone");
    let mut now = at("2026-11-21T20:30:00Z") * SECOND;
    for (hour, millis) in [(21, 198_907), (22, 164_960), (23, 199_334), (24, 239_971), (25, 52_820)] {
        let due = spec.next("793de1f6-dc6c-4e5e-bd61-bf6f885ef148-s-87327450", now).expect("a time");
        assert_eq!(due.nominal, (at("2026-11-21T00:00:00Z") + hour * 3600) * SECOND);
        assert_eq!((due.at - due.nominal) / 1_000_000, millis);
        now = due.at;
    }
}
