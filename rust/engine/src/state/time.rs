//! Time as the engine counts it: nanoseconds since the Unix epoch, always an argument.

use prost_wkt_types::{Duration, Timestamp};

pub type Nanos = i64;

pub const SECOND: Nanos = 1_000_000_000;

pub fn timestamp(at: Nanos) -> Timestamp {
    Timestamp { seconds: at.div_euclid(SECOND), nanos: at.rem_euclid(SECOND) as i32 }
}

pub fn duration(length: Nanos) -> Duration {
    Duration { seconds: length / SECOND, nanos: (length % SECOND) as i32 }
}

/// The length in nanoseconds; unset and negative are 0, too long is the longest.
pub fn length(duration: &Option<Duration>) -> Nanos {
    let Some(duration) = duration else { return 0 };
    duration.seconds.saturating_mul(SECOND).saturating_add(i64::from(duration.nanos)).max(0)
}

/// The moment of a message, with its sign.
pub fn nanos(at: &Timestamp) -> Nanos {
    at.seconds.saturating_mul(SECOND).saturating_add(i64::from(at.nanos))
}

/// A length with its sign; unset is 0.
pub fn nanos_of(duration: &Option<Duration>) -> Nanos {
    duration.as_ref().map_or(0, |value| value.seconds.saturating_mul(SECOND).saturating_add(i64::from(value.nanos)))
}

pub fn is_negative(duration: &Option<Duration>) -> bool {
    duration.as_ref().is_some_and(|value| value.seconds < 0 || value.nanos < 0)
}
