//! What a worker is told at its start.

use std::time::Duration;

/// See [`crate::Worker::start`]. The defaults are those of Temporal's SDKs.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    pub namespace: String,
    pub identity: String,
    pub task_queue: String,
    /// Runs kept between their tasks; 0: every task is replayed from its whole history. Runs with an open task do not
    /// count, so that a full cache never keeps new work waiting.
    pub max_cached_workflows: usize,
    /// At least 1; with a cache at least 2, one for each of the two queues that are then polled.
    pub max_concurrent_workflow_tasks: usize,
    pub max_concurrent_activities: usize,
    /// Attempts of local activities at a time; others wait.
    pub max_concurrent_local_activities: usize,
    pub workflow_task_pollers: usize,
    pub activity_task_pollers: usize,
    pub polls_workflows: bool,
    pub polls_activities: bool,
    /// How long a task may lie in the worker's own queue before any worker may take it.
    pub sticky_schedule_to_start_timeout: Duration,
    pub max_heartbeat_throttle_interval: Duration,
    /// For activities without a heartbeat timeout.
    pub default_heartbeat_throttle_interval: Duration,
    /// Shown by the service with each poller; empty: none.
    pub build_id: String,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions {
            namespace: "default".into(),
            identity: String::new(),
            task_queue: String::new(),
            max_cached_workflows: 1_000,
            max_concurrent_workflow_tasks: 100,
            max_concurrent_activities: 100,
            max_concurrent_local_activities: 100,
            workflow_task_pollers: 5,
            activity_task_pollers: 5,
            polls_workflows: true,
            polls_activities: true,
            sticky_schedule_to_start_timeout: Duration::from_secs(10),
            max_heartbeat_throttle_interval: Duration::from_secs(60),
            default_heartbeat_throttle_interval: Duration::from_secs(30),
            build_id: String::new(),
        }
    }
}
