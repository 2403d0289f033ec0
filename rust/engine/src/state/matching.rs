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
}

impl Queue {
    pub fn has_worker(&self, mono: Nanos) -> bool {
        !self.pollers.is_empty() || self.seen.values().any(|at| mono - at < RECENT)
    }
}
