//! The workers of a core: by the numbers that Python chose, their items put into the core's queue.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use durable_client::{Code, Status};
use durable_worker::{Reserved, Sink, Worker, WorkerEvent, WorkerOptions};
use prost::Message;
use temporalio_protos::{
    coresdk::{activity_task, workflow_activation},
    temporal::api::worker::v1::WorkerHeartbeat,
};

use crate::{
    messages::{ActivityTask, Eviction, StartWorker, WorkflowActivation, item::Kind},
    queue::Queue,
    target::{Target, invalid},
};

#[derive(Default)]
pub struct Workers(Mutex<HashMap<u64, Arc<Worker>>>);

impl Workers {
    /// Must be called inside the core's runtime.
    pub fn start(&self, target: &Target, command: StartWorker, queue: Arc<Queue>) -> Result<(), Status> {
        let number = command.worker;
        if number == 0 {
            return Err(invalid("a worker's number is not 0"));
        }
        if command.task_queue.is_empty() {
            return Err(invalid("the name of the task queue is empty"));
        }
        let mut workers = self.lock();
        if workers.contains_key(&number) {
            return Err(Status::new(Code::AlreadyExists, format!("there is a worker {number} already")));
        }
        let sink = Arc::new(QueueSink { worker: number, queue });
        workers.insert(number, Arc::new(Worker::start(target.service.clone(), options(target, command)?, sink)));
        Ok(())
    }

    /// The first worker that can take a workflow task of this queue.
    pub fn reserve(&self, task_queue: &str) -> Option<Reserved> {
        let workers = self.lock();
        let mut numbers: Vec<&u64> = workers.keys().collect();
        numbers.sort_unstable();
        numbers.into_iter().find_map(|number| workers[number].reserve(task_queue))
    }

    pub fn get(&self, number: u64) -> Option<Arc<Worker>> {
        self.lock().get(&number).cloned()
    }

    /// Takes the worker out only when it has stopped: until then its answers have to reach it.
    pub async fn stop(&self, number: u64, graceful: Duration) -> Result<(), Status> {
        let worker = self.get(number).ok_or_else(|| Status::new(Code::NotFound, format!("there is no worker {number}")))?;
        worker.stop(graceful).await;
        self.lock().remove(&number);
        Ok(())
    }

    /// Drops all workers, which ends them at once.
    pub fn abandon(&self) {
        let workers = std::mem::take(&mut *self.lock());
        drop(workers);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Worker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Open polls of each kind at an embedded engine. A commit hands out one task a poll that waits, so that few polls would cap
/// what a group commit carries; a poll that waits in process is a few hundred bytes. Below the smallest default of the limits
/// of tasks: an idle poll holds a slot.
const EMBEDDED_POLLERS: usize = 64;

fn options(target: &Target, command: StartWorker) -> Result<WorkerOptions, Status> {
    let defaults = WorkerOptions::default();
    let interval = |milliseconds: u64, default: Duration| if milliseconds == 0 { default } else { Duration::from_millis(milliseconds) };
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let pollers = |number: u32, default: usize| match (number, &target.engine) {
        (0, Some(_)) => EMBEDDED_POLLERS,
        (0, None) => default,
        (number, _) => count(number),
    };
    let template = WorkerHeartbeat::decode(&*command.worker_heartbeat_template)
        .map_err(|error| invalid(format!("the worker's heartbeat cannot be decoded: {error}")))?;
    Ok(WorkerOptions {
        namespace: target.namespace.clone(),
        identity: if command.identity.is_empty() { target.identity.clone() } else { command.identity },
        task_queue: command.task_queue,
        max_cached_workflows: count(command.max_cached_workflows),
        max_concurrent_workflow_tasks: count(command.max_concurrent_workflow_tasks).max(1),
        max_concurrent_activities: count(command.max_concurrent_activities).max(1),
        max_concurrent_local_activities: match count(command.max_concurrent_local_activities) {
            0 => defaults.max_concurrent_local_activities,
            limit => limit,
        },
        workflow_task_pollers: pollers(command.workflow_task_pollers, defaults.workflow_task_pollers),
        activity_task_pollers: pollers(command.activity_task_pollers, defaults.activity_task_pollers),
        polls_workflows: command.polls_workflows,
        polls_activities: command.polls_activities,
        sticky_schedule_to_start_timeout: interval(command.sticky_schedule_to_start_timeout_ms, defaults.sticky_schedule_to_start_timeout),
        max_heartbeat_throttle_interval: interval(command.max_heartbeat_throttle_interval_ms, defaults.max_heartbeat_throttle_interval),
        default_heartbeat_throttle_interval: interval(
            command.default_heartbeat_throttle_interval_ms,
            defaults.default_heartbeat_throttle_interval,
        ),
        build_id: command.build_id,
        nonsticky_to_sticky_poll_ratio: positive(command.nonsticky_to_sticky_poll_ratio),
        max_activities_per_second: positive(command.max_activities_per_second),
        max_task_queue_activities_per_second: positive(command.max_task_queue_activities_per_second),
        takes_eager_activities: !command.disable_eager_activity_execution,
        worker_heartbeat_interval: (command.worker_heartbeat_interval_ms != 0)
            .then(|| Duration::from_millis(command.worker_heartbeat_interval_ms)),
        worker_heartbeat_template: template,
    })
}

fn positive(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

struct QueueSink {
    worker: u64,
    queue: Arc<Queue>,
}

impl Sink for QueueSink {
    fn activation(&self, activation: workflow_activation::WorkflowActivation) {
        let activation = activation.encode_to_vec();
        self.queue.push(Kind::Activation(WorkflowActivation { worker: self.worker, activation }));
    }

    fn eviction(&self, run_id: String) {
        self.queue.push_quietly(Kind::Eviction(Eviction { worker: self.worker, run_id }));
    }

    fn activity(&self, task: activity_task::ActivityTask) {
        self.queue.push(Kind::Activity(ActivityTask { worker: self.worker, task: task.encode_to_vec() }));
    }

    fn event(&self, event: WorkerEvent) {
        self.queue.push_event(self.worker, event.level, event.message, event.fatal);
    }
}
