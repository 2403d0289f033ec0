//! Time and ids of a simulated engine: time stands still until it is moved, ids follow from a seed.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use durable_engine::Surroundings;

use crate::chance::Chance;

/// The wall clock at the beginning: a moment in 2026.
const BEGIN: i64 = 1_790_000_000_000_000_000;

/// A handle; all handles move together.
#[derive(Clone)]
pub struct Clock {
    now: Arc<AtomicI64>,
    ids: Arc<Mutex<Chance>>,
}

impl Clock {
    /// So many nanoseconds after the beginning.
    pub fn new(now: i64, ids: Chance) -> Clock {
        Clock { now: Arc::new(AtomicI64::new(now)), ids: Arc::new(Mutex::new(ids)) }
    }

    pub fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    pub fn advance(&self, nanos: i64) {
        self.now.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Surroundings for Clock {
    fn wall(&self) -> i64 {
        BEGIN + self.now()
    }

    fn mono(&self) -> i64 {
        self.now()
    }

    fn new_id(&self) -> String {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let random = (u128::from(ids.number()) << 64) | u128::from(ids.number());
        uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid().to_string()
    }
}
