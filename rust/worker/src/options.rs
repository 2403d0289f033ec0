//! What a worker is told at its start.

use std::time::Duration;

use temporalio_protos::temporal::api::worker::v1::WorkerHeartbeat;

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
    /// Of the workflow task pollers the part that polls the normal queue, the others poll the worker's own; none: half.
    pub nonsticky_to_sticky_poll_ratio: Option<f64>,
    /// Activities that this worker starts a second at most.
    pub max_activities_per_second: Option<f64>,
    /// Activities that the service gives from the whole task queue a second at most.
    pub max_task_queue_activities_per_second: Option<f64>,
    /// Whether activities of its workflows may come with the answer to the workflow task that scheduled them, if a slot is free.
    pub takes_eager_activities: bool,
    /// How often the service hears of the worker itself, if it takes that; none: never.
    pub worker_heartbeat_interval: Option<Duration>,
    /// What those heartbeats say of program and host; the rest is filled in.
    pub worker_heartbeat_template: WorkerHeartbeat,
}

impl WorkerOptions {
    /// Rates are kept by polls: what comes without one would not be counted.
    pub(crate) fn may_take_eager_activities(&self) -> bool {
        let is_limited = self.max_activities_per_second.is_some() || self.max_task_queue_activities_per_second.is_some();
        self.takes_eager_activities && self.polls_activities && !is_limited
    }

    /// How many of the workflow task pollers poll the normal queue, and how many the worker's own.
    pub(crate) fn workflow_pollers(&self) -> (usize, usize) {
        let count = self.workflow_task_pollers.max(2);
        let normal = match self.nonsticky_to_sticky_poll_ratio {
            Some(ratio) => (count as f64 * ratio.clamp(0.0, 1.0)).ceil() as usize,
            None => count - count / 2,
        };
        let normal = normal.clamp(1, count - 1);
        (normal, count - normal)
    }
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
            nonsticky_to_sticky_poll_ratio: None,
            max_activities_per_second: None,
            max_task_queue_activities_per_second: None,
            takes_eager_activities: true,
            worker_heartbeat_interval: None,
            worker_heartbeat_template: WorkerHeartbeat::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WorkerOptions;

    fn pollers(count: usize, ratio: Option<f64>) -> (usize, usize) {
        let options = WorkerOptions { workflow_task_pollers: count, nonsticky_to_sticky_poll_ratio: ratio, ..WorkerOptions::default() };
        options.workflow_pollers()
    }

    #[test]
    fn each_queue_has_a_poller_and_the_ratio_divides_the_others() {
        assert_eq!(pollers(5, None), (3, 2));
        assert_eq!(pollers(64, None), (32, 32));
        assert_eq!(pollers(5, Some(0.2)), (1, 4));
        assert_eq!(pollers(10, Some(0.25)), (3, 7));
        assert_eq!((pollers(1, None), pollers(0, Some(0.5))), ((1, 1), (1, 1)));
        assert_eq!((pollers(4, Some(0.0)), pollers(4, Some(1.0))), ((1, 3), (3, 1)));
    }

    #[test]
    fn limited_rates_and_no_activities_leave_nothing_eager() {
        let options = WorkerOptions::default();
        assert!(options.may_take_eager_activities());
        for changed in [
            WorkerOptions { takes_eager_activities: false, ..options.clone() },
            WorkerOptions { polls_activities: false, ..options.clone() },
            WorkerOptions { max_activities_per_second: Some(2.0), ..options.clone() },
            WorkerOptions { max_task_queue_activities_per_second: Some(2.0), ..options.clone() },
        ] {
            assert!(!changed.may_take_eager_activities());
        }
    }
}
