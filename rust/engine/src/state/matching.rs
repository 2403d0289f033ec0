//! Task queues: tasks wait for pollers, pollers for tasks; nothing here is stored, it follows from the runs.

use std::collections::{HashMap, VecDeque};

use durable_client::Response;

use super::{
    run::RunKey,
    time::{Nanos, SECOND},
    world::CallId,
};

/// A poller that was here so recently is between two polls.
pub const RECENT: Nanos = 5 * SECOND;
/// How long a poller is listed after its last poll (the server's five minutes).
pub const LISTED: Nanos = 300 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Workflow,
    Activity,
}

pub type QueueKey = (Kind, String);

/// Something for a poller. Entries are hints: whether the work still waits is asked of the run.
#[derive(Debug)]
pub enum Task {
    Workflow(RunKey),
    Activity(RunKey, i64),
    Query(u64),
    /// A task that was handed to a poller that had gone.
    Again(Box<Response>),
}

#[derive(Debug, Default)]
pub struct Queue {
    pub tasks: VecDeque<Task>,
    pub pollers: VecDeque<CallId>,
    /// When each identity was last here, on the monotonic clock.
    pub seen: HashMap<String, Nanos>,
    /// The least time between two tasks, as the last poller wished; 0: none.
    pub pause: Nanos,
    /// The next task may go at this moment of the monotonic clock.
    pub next_task: Nanos,
}

impl Queue {
    /// Notes how many tasks a second a poller wants the whole queue to give.
    pub fn set_rate(&mut self, tasks_per_second: Option<f64>) {
        // A wish that is none, or not to be fulfilled, is no limit; the longest pause is an hour.
        let pause = tasks_per_second.filter(|rate| *rate > 0.0).map_or(0.0, |rate| (SECOND as f64 / rate).min(3600.0 * SECOND as f64));
        self.pause = pause as Nanos;
    }

    /// When the next task may go, if that is not now. A task that goes now is counted.
    pub fn throttle(&mut self, mono: Nanos) -> Option<Nanos> {
        if self.pause == 0 || self.pollers.is_empty() || self.tasks.is_empty() {
            return None;
        }
        (mono < self.next_task).then_some(self.next_task)
    }

    pub fn count_task(&mut self, mono: Nanos) {
        self.next_task = mono.saturating_add(self.pause);
    }

    pub fn has_worker(&self, mono: Nanos) -> bool {
        !self.pollers.is_empty() || self.seen.values().any(|at| mono - at < RECENT)
    }
}
