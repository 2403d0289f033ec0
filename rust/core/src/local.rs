//! Local activities as the driver sees them: what it is asked for, and what it answers.

use prost_wkt_types::{Duration, Timestamp};
use temporalio_protos::coresdk::{activity_result::activity_execution_result::Status as Outcome, workflow_commands::ScheduleLocalActivity};

/// Something for the worker to do with a local activity of the run.
#[derive(Debug, Clone)]
pub enum LocalRequest {
    /// Run it, with retries, until [`crate::Run::handle_local_result`] can be called with its outcome.
    Start(Box<LocalStart>),
    /// Ask it to stop. Its outcome is still wanted.
    Cancel { seq: u32 },
    /// Ask it to stop. Its outcome is not wanted.
    Drop { seq: u32 },
    /// Let it run, even when the run is evicted. Its outcome is not wanted.
    LetRun { seq: u32 },
}

/// A local activity to run. Its timeouts fit into each other, one of the close timeouts is there, and the attempt is at least 1.
#[derive(Debug, Clone)]
pub struct LocalStart {
    pub command: ScheduleLocalActivity,
    pub workflow_id: String,
    pub workflow_type: String,
    /// The run's time now; the original schedule time is on the same clock.
    pub now: Option<Timestamp>,
}

/// How a local activity ended, or that its next attempt is too far away to wait for.
#[derive(Debug, Clone)]
pub struct LocalResult {
    pub seq: u32,
    pub outcome: Outcome,
    /// The last attempt that was made.
    pub attempt: u32,
    /// From the request to the outcome.
    pub runtime: std::time::Duration,
    /// The next attempt is due after this, which is longer than the activity's local retry threshold.
    pub backoff: Option<Duration>,
}
