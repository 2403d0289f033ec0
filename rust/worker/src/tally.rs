//! What a worker counts about itself for its heartbeats: written where it happens, read by whoever tells of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// All of a worker's counts. They are read one by one: two of them need not be of the same moment.
#[derive(Default)]
pub(crate) struct Tally {
    pub workflow_tasks: Tasks,
    pub activities: Tasks,
    pub local_activities: Tasks,
    pub normal_polls: Arc<Polls>,
    pub sticky_polls: Arc<Polls>,
    pub activity_polls: Arc<Polls>,
    cached_runs: AtomicUsize,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
}

impl Tally {
    pub fn set_cached_runs(&self, count: usize) {
        self.cached_runs.store(count, Ordering::Relaxed);
    }

    pub fn cached_runs(&self) -> usize {
        self.cached_runs.load(Ordering::Relaxed)
    }

    /// A task's run was in the cache.
    pub fn hit_cache(&self) {
        self.cache_hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn cache_hits(&self) -> u64 {
        self.cache_hits.load(Ordering::Relaxed)
    }

    /// A task brought the rest of a history whose beginning was not there.
    pub fn miss_cache(&self) {
        self.cache_misses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn cache_misses(&self) -> u64 {
        self.cache_misses.load(Ordering::Relaxed)
    }
}

/// Tasks of one kind.
#[derive(Default)]
pub(crate) struct Tasks {
    pub open: Gauge,
    processed: AtomicU64,
    failed: AtomicU64,
}

impl Tasks {
    pub fn ended(&self, is_failed: bool) {
        self.processed.fetch_add(1, Ordering::Relaxed);
        if is_failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn processed(&self) -> u64 {
        self.processed.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Polls of one queue.
#[derive(Default)]
pub(crate) struct Polls {
    pub open: Gauge,
    /// Milliseconds since 1970; 0: none.
    answered_ms: AtomicU64,
}

impl Polls {
    /// The service has answered one, with a task or without.
    pub fn answered(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.answered_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn last_answer(&self) -> Option<SystemTime> {
        let milliseconds = self.answered_ms.load(Ordering::Relaxed);
        (milliseconds != 0).then(|| UNIX_EPOCH + Duration::from_millis(milliseconds))
    }
}

/// How many of something there are at the moment.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    /// One more, until what is returned is dropped.
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self.0.clone())
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
