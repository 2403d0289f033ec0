//! What is told of a task queue: who polls it, and what waits in it.

use temporalio_protos::temporal::api::{
    enums::v1::{DescribeTaskQueueMode, RateLimitSource, TaskQueueType},
    taskqueue::v1::{PollerInfo, TaskQueueStats, TaskQueueStatus, TaskQueueTypeInfo, TaskQueueVersionInfo},
    workflowservice::v1 as api,
};

use super::{
    limit::check_queue,
    matching::{Kind, LISTED, QueueKey, Task},
    time::{Nanos, duration, timestamp},
    world::{Answer, Env, World},
};

/// The rate that the service reports where nothing limits it.
const UNLIMITED: f64 = 100_000.0;

impl World {
    pub fn describe_task_queue(&mut self, env: &Env, request: api::DescribeTaskQueueRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let is_enhanced = request.api_mode() == DescribeTaskQueueMode::Enhanced;
        let kind = if request.task_queue_type() == TaskQueueType::Activity { Kind::Activity } else { Kind::Workflow };
        let name = request.task_queue.clone().map(|queue| queue.name).unwrap_or_default();
        check_queue(&name)?;
        if is_enhanced {
            return Ok(Some(self.enhanced(env, &name, &request).into()));
        }
        let key = (kind, name);
        let stats = self.stats(env, &key);
        let task_queue_status = request
            .include_task_queue_status
            .then(|| TaskQueueStatus { backlog_count_hint: stats.approximate_backlog_count, ..Default::default() });
        let effective_rate_limit = request.report_config.then_some(api::describe_task_queue_response::EffectiveRateLimit {
            requests_per_second: UNLIMITED as f32,
            rate_limit_source: RateLimitSource::System as i32,
        });
        Ok(Some(
            api::DescribeTaskQueueResponse {
                pollers: self.pollers(env, &key),
                stats: request.report_stats.then_some(stats),
                task_queue_status,
                effective_rate_limit,
                ..Default::default()
            }
            .into(),
        ))
    }

    /// The older form, by build id and kind; nothing here has a build id.
    fn enhanced(&self, env: &Env, name: &str, request: &api::DescribeTaskQueueRequest) -> api::DescribeTaskQueueResponse {
        let asked: Vec<TaskQueueType> = request.task_queue_types().collect();
        let wants = |one: TaskQueueType| asked.is_empty() || asked.contains(&one);
        let mut version = TaskQueueVersionInfo::default();
        for (one, kind) in [(TaskQueueType::Workflow, Kind::Workflow), (TaskQueueType::Activity, Kind::Activity)] {
            if wants(one) {
                let key = (kind, name.to_owned());
                let info = TaskQueueTypeInfo {
                    pollers: if request.report_pollers { self.pollers(env, &key) } else { Vec::new() },
                    stats: request.report_stats.then(|| self.stats(env, &key)),
                };
                version.types_info.insert(one as i32, info);
            }
        }
        api::DescribeTaskQueueResponse { versions_info: [(String::new(), version)].into(), ..Default::default() }
    }

    fn stats(&self, env: &Env, key: &QueueKey) -> TaskQueueStats {
        let waiting = || self.queues.get(key).into_iter().flat_map(|queue| &queue.tasks).filter(|task| self.is_waiting(key, task));
        let oldest = waiting().filter_map(|task| self.waits_since(task)).min();
        TaskQueueStats {
            approximate_backlog_count: waiting().count() as i64,
            approximate_backlog_age: Some(duration(oldest.map_or(0, |since| (env.now - since).max(0)))),
            ..Default::default()
        }
    }

    fn waits_since(&self, task: &Task) -> Option<Nanos> {
        match task {
            Task::Workflow(key) => self.runs.get(key)?.record.task.as_ref().map(|task| task.scheduled_time),
            Task::Activity(key, id) => self.runs.get(key)?.activities.get(id).map(|activity| activity.attempt_time),
            _ => None,
        }
    }

    fn pollers(&self, env: &Env, key: &QueueKey) -> Vec<PollerInfo> {
        let seen = self.queues.get(key).into_iter().flat_map(|queue| &queue.seen);
        let mut pollers: Vec<PollerInfo> = seen
            .filter(|(_, at)| env.mono - **at < LISTED)
            .map(|(identity, at)| PollerInfo {
                last_access_time: Some(timestamp(env.now - (env.mono - at))),
                identity: identity.clone(),
                rate_per_second: UNLIMITED,
                ..Default::default()
            })
            .collect();
        pollers.sort_by(|a, b| a.identity.cmp(&b.identity));
        pollers
    }
}
