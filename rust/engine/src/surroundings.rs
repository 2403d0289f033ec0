//! What the writer takes from outside besides requests: clocks and ids. Whoever gives its own gets the same run again.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Clocks and ids of one engine. The writer asks for them in an order that depends on its requests only.
pub trait Surroundings: Send {
    /// The wall clock, in nanoseconds since the Unix epoch. It may jump in both directions.
    fn wall(&self) -> i64;
    /// Nanoseconds since some moment; never less than before.
    fn mono(&self) -> i64;
    /// An id that nobody has, in the form of a version 4 UUID.
    fn new_id(&self) -> String;
}

/// The machine's own.
#[derive(Debug)]
pub struct Machine {
    started: Instant,
}

impl Machine {
    pub fn new() -> Machine {
        Machine { started: Instant::now() }
    }
}

impl Surroundings for Machine {
    fn wall(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
    }

    fn mono(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX / 4)
    }

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}
