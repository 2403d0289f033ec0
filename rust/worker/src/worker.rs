//! A worker's life: start, answers from the user's code, stop.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use durable_client::{Service, call};
use temporalio_protos::{
    coresdk::{ActivityHeartbeat, ActivityTaskCompletion, workflow_completion::WorkflowActivationCompletion},
    temporal::api::{
        common::v1::WorkerVersionCapabilities,
        enums::v1::{TaskQueueKind, TaskQueueType},
        taskqueue::v1::{TaskQueue, TaskQueueMetadata},
        workflowservice::v1::{
            PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
            ShutdownWorkerRequest,
        },
    },
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Sink, WorkerOptions,
    activities::{self, Activities},
    eager::Eager,
    local_token::is_local_token,
    locals::{self, Locals},
    machine::Machine,
    poller::{Link, Pace, Slot, Slots, run_poller},
    shared::{Shared, WARNING},
    tally::{Polls, Tally},
    worker_heartbeat::WorkerHeartbeats,
    workflows::{self, Workflows},
};

/// What `stop` waits beyond the grace given to activities.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// The service answers open polls as soon as it hears that the worker stops.
const LAST_POLLS_TIMEOUT: Duration = Duration::from_secs(5);
/// Telling the service is a courtesy: its own timeouts find out too.
const SHUTDOWN_CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// A running worker. Dropping it without [`Worker::stop`] ends it abruptly, as a crash would.
pub struct Worker {
    shared: Arc<Shared>,
    workflows: mpsc::UnboundedSender<workflows::Input>,
    activities: mpsc::UnboundedSender<activities::Input>,
    locals: mpsc::UnboundedSender<locals::Input>,
    workflows_done: CancellationToken,
    activities_done: CancellationToken,
    locals_done: CancellationToken,
    pollers: Mutex<Vec<JoinHandle<()>>>,
    /// Of the workflow tasks of the normal queue; none: it polls for none.
    slots: OnceLock<Slots>,
    sticky_queue: String,
    /// Tells this worker from all others, also from another of the same identity.
    instance_key: String,
    heartbeats: Arc<WorkerHeartbeats>,
    is_stopping: AtomicBool,
    finished: CancellationToken,
}

impl Worker {
    /// Starts polling; must be called inside a tokio runtime.
    pub fn start(service: Arc<dyn Service>, options: WorkerOptions, sink: Arc<dyn Sink>) -> Worker {
        Worker::start_driving::<durable_core::Run>(service, options, sink)
    }

    pub(crate) fn start_driving<M: Machine>(service: Arc<dyn Service>, options: WorkerOptions, sink: Arc<dyn Sink>) -> Worker {
        let sticky_queue = if options.max_cached_workflows > 0 && options.polls_workflows {
            format!("{}-{}", options.identity, uuid::Uuid::new_v4().simple())
        } else {
            String::new()
        };
        let (polling, hang_up, abort) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared { service, options, sink, polling, hang_up, abort, tally: Tally::default() });
        let instance_key = uuid::Uuid::new_v4().to_string();
        let heartbeats = Arc::new(WorkerHeartbeats::new(shared.clone(), instance_key.clone()));
        let (activity_inputs, inputs) = mpsc::unbounded_channel();
        let activities_done = CancellationToken::new();
        tokio::spawn(Activities::new(shared.clone(), activity_inputs.clone(), activities_done.clone()).run(inputs));
        let (workflow_inputs, inputs) = mpsc::unbounded_channel();
        let (local_inputs, locals_receiver) = mpsc::unbounded_channel();
        let locals_done = CancellationToken::new();
        let locals = Locals::new(shared.clone(), local_inputs.clone(), workflow_inputs.clone(), locals_done.clone());
        tokio::spawn(locals.run(locals_receiver));
        let workflows_done = CancellationToken::new();
        let activity_slots = Slots::one(shared.options.max_concurrent_activities);
        let actor = Workflows::<M>::new(
            shared.clone(),
            workflow_inputs.clone(),
            Eager::new(&shared.options, activity_slots.clone(), activity_inputs.clone()),
            local_inputs.clone(),
            sticky_queue.clone(),
            workflows_done.clone(),
        );
        tokio::spawn(actor.run(inputs));
        let worker = Worker {
            shared,
            workflows: workflow_inputs,
            activities: activity_inputs,
            locals: local_inputs,
            workflows_done,
            activities_done,
            locals_done,
            pollers: Mutex::new(Vec::new()),
            slots: OnceLock::new(),
            sticky_queue,
            instance_key,
            heartbeats: heartbeats.clone(),
            is_stopping: AtomicBool::new(false),
            finished: CancellationToken::new(),
        };
        worker.start_pollers(&activity_slots);
        tokio::spawn(async move { heartbeats.run().await });
        worker
    }

    /// The answer to an activation. Never waits; unknown runs are ignored with a debug event.
    pub fn complete_workflow(&self, completion: WorkflowActivationCompletion) {
        // A closed channel is a stopped worker: nobody waits for the answer.
        let _ = self.workflows.send(workflows::Input::Completion(Box::new(completion)));
    }

    /// The outcome of an activity. Never waits.
    pub fn complete_activity(&self, completion: ActivityTaskCompletion) {
        if is_local_token(&completion.task_token) {
            let _ = self.locals.send(locals::Input::Completion(Box::new(completion)));
        } else {
            let _ = self.activities.send(activities::Input::Completion(Box::new(completion)));
        }
    }

    /// An activity's sign of life. Never waits; sent to the service no more often than the throttle interval. A local
    /// activity's says nothing: the service does not know of it.
    pub fn heartbeat(&self, heartbeat: ActivityHeartbeat) {
        if is_local_token(&heartbeat.task_token) {
            return;
        }
        let _ = self.activities.send(activities::Input::Heartbeat(heartbeat));
    }

    /// A place for the first task of a workflow of `task_queue` that is about to be started; none if this worker could not take it.
    pub fn reserve(&self, task_queue: &str) -> Option<Reserved> {
        if task_queue != self.shared.options.task_queue || self.shared.polling.is_cancelled() {
            return None;
        }
        Some(Reserved { slot: self.slots.get()?.try_take()?, workflows: self.workflows.clone() })
    }

    /// Stops polling, finishes open workflow tasks, evicts what is cached, and tells activities that are still open
    /// after `graceful` to cancel. Returns when nothing is open any more, at the latest 10 s after the grace.
    pub async fn stop(&self, graceful: Duration) {
        if self.is_stopping.swap(true, Ordering::SeqCst) {
            self.finished.cancelled().await;
            return;
        }
        self.shared.polling.cancel();
        let pollers = std::mem::take(&mut *self.pollers.lock().unwrap_or_else(PoisonError::into_inner));
        let orderly = async {
            let is_told = self.end_polls(pollers).await;
            let _ = self.workflows.send(workflows::Input::Stop(graceful));
            let _ = self.activities.send(activities::Input::Stop(graceful));
            let _ = self.locals.send(locals::Input::Stop(graceful));
            let workflows_end = async {
                self.workflows_done.cancelled().await;
                // Until now an answer to a workflow task could bring one.
                let _ = self.activities.send(activities::Input::NoMoreTasks);
            };
            let ends = async { futures_util::join!(workflows_end, self.activities_done.cancelled(), self.locals_done.cancelled()) };
            let announced = async { is_told || self.announce_shutdown().await };
            let (is_told, _) = futures_util::join!(announced, ends);
            if is_told {
                self.heartbeats.say_goodbye().await;
            }
        };
        if timeout(graceful.saturating_add(STOP_MARGIN), orderly).await.is_err() {
            let workflows = if self.workflows_done.is_cancelled() { "" } else { " workflow runs are not evicted;" };
            let ended = self.activities_done.is_cancelled() && self.locals_done.is_cancelled();
            let activities = if ended { "" } else { " activities have not ended;" };
            self.shared.event(WARNING, format!("the worker was stopped with work open:{workflows}{activities} it was given up"));
        }
        self.shared.abort.cancel();
        self.finished.cancel();
    }

    /// Returns when no poll is open and what polls brought is in the actors' channels; true when the service has heard of the stop.
    ///
    /// A poll that is given up may take a task with it that the service has just handed out and that nobody works on until it times out. So
    /// a service that answers the polls of a worker that stops is let do so.
    async fn end_polls(&self, pollers: Vec<JoinHandle<()>>) -> bool {
        let mut ended = std::pin::pin!(futures_util::future::join_all(pollers));
        let is_told = self.heartbeats.service_ends_polls() && self.announce_shutdown().await;
        if is_told && timeout(LAST_POLLS_TIMEOUT, &mut ended).await.is_ok() {
            return true;
        }
        self.shared.hang_up.cancel();
        ended.await;
        is_told
    }

    /// True when the service has heard it.
    async fn announce_shutdown(&self) -> bool {
        let options = &self.shared.options;
        let request = ShutdownWorkerRequest {
            namespace: options.namespace.clone(),
            sticky_task_queue: self.sticky_queue.clone(),
            identity: options.identity.clone(),
            reason: "graceful shutdown".into(),
            task_queue: options.task_queue.clone(),
            task_queue_types: self.polled_types(),
            worker_heartbeat: self.heartbeats.on_shutdown(),
            worker_instance_key: self.instance_key.clone(),
        };
        // Unimplemented, unavailable, slow: all the same to a worker that goes.
        matches!(timeout(SHUTDOWN_CALL_TIMEOUT, call(&*self.shared.service, request)).await, Ok(Ok(_)))
    }

    fn polled_types(&self) -> Vec<i32> {
        let options = &self.shared.options;
        let types = [(options.polls_workflows, TaskQueueType::Workflow), (options.polls_activities, TaskQueueType::Activity)];
        types.into_iter().filter_map(|(is_polled, kind)| is_polled.then_some(kind as i32)).collect()
    }

    fn start_pollers(&self, activity_slots: &Slots) {
        let (options, tally) = (&self.shared.options, &self.shared.tally);
        let mut pollers = Vec::new();
        if options.polls_workflows {
            let link = Arc::new(Link::default());
            if self.sticky_queue.is_empty() {
                let slots = Slots::one(options.max_concurrent_workflow_tasks);
                let count = options.workflow_task_pollers.max(1);
                pollers.extend((0..count).map(|_| self.workflow_poller(normal_queue(options), &slots, &link, &tally.normal_polls)));
                let _ = self.slots.set(slots);
            } else {
                let (normal, sticky) = Slots::two(options.max_concurrent_workflow_tasks);
                let (normal_count, sticky_count) = options.workflow_pollers();
                let sticky_queue = TaskQueue {
                    name: self.sticky_queue.clone(),
                    kind: TaskQueueKind::Sticky as i32,
                    normal_name: options.task_queue.clone(),
                };
                pollers.extend((0..normal_count).map(|_| self.workflow_poller(normal_queue(options), &normal, &link, &tally.normal_polls)));
                pollers.extend((0..sticky_count).map(|_| self.workflow_poller(sticky_queue.clone(), &sticky, &link, &tally.sticky_polls)));
                let _ = self.slots.set(normal);
            }
        }
        if options.polls_activities {
            let link = Arc::new(Link::default());
            // One poller keeps a rate by itself.
            let count = if options.max_activities_per_second.is_some() { 1 } else { options.activity_task_pollers.max(1) };
            pollers.extend((0..count).map(|_| self.activity_poller(activity_slots, &link)));
        }
        *self.pollers.lock().unwrap_or_else(PoisonError::into_inner) = pollers;
    }

    #[allow(deprecated)] // the service still takes the build id of unversioned workers from there
    fn workflow_poller(&self, queue: TaskQueue, slots: &Slots, link: &Arc<Link>, polls: &Arc<Polls>) -> JoinHandle<()> {
        let options = &self.shared.options;
        let request = PollWorkflowTaskQueueRequest {
            namespace: options.namespace.clone(),
            task_queue: Some(queue),
            identity: options.identity.clone(),
            worker_instance_key: self.instance_key.clone(),
            worker_version_capabilities: version(options),
            ..Default::default()
        };
        let inputs = self.workflows.clone();
        let deliver = move |task: PollWorkflowTaskQueueResponse, slot: Slot| {
            !task.task_token.is_empty() && inputs.send(workflows::Input::Task(Box::new(task), Some(slot))).is_ok()
        };
        let (shared, slots, link, polls) = (self.shared.clone(), slots.clone(), link.clone(), polls.clone());
        tokio::spawn(run_poller(shared, slots, link, polls, Pace::default(), request, deliver))
    }

    #[allow(deprecated)]
    fn activity_poller(&self, slots: &Slots, link: &Arc<Link>) -> JoinHandle<()> {
        let options = &self.shared.options;
        let request = PollActivityTaskQueueRequest {
            namespace: options.namespace.clone(),
            task_queue: Some(normal_queue(options)),
            identity: options.identity.clone(),
            worker_instance_key: self.instance_key.clone(),
            worker_version_capabilities: version(options),
            task_queue_metadata: options
                .max_task_queue_activities_per_second
                .map(|rate| TaskQueueMetadata { max_tasks_per_second: Some(rate) }),
            ..Default::default()
        };
        let pace = Pace::per_second(options.max_activities_per_second);
        let inputs = self.activities.clone();
        let deliver = move |task: PollActivityTaskQueueResponse, slot: Slot| {
            !task.task_token.is_empty() && inputs.send(activities::Input::Task(Box::new(task), Some(slot))).is_ok()
        };
        let (shared, slots, link, polls) = (self.shared.clone(), slots.clone(), link.clone(), self.shared.tally.activity_polls.clone());
        tokio::spawn(run_poller(shared, slots, link, polls, pace, request, deliver))
    }
}

/// A worker's promise to take one workflow task.
pub struct Reserved {
    slot: Slot,
    workflows: mpsc::UnboundedSender<workflows::Input>,
}

impl Reserved {
    /// Hands the task over. A worker that has stopped meanwhile lets it time out.
    pub fn take(self, task: PollWorkflowTaskQueueResponse) {
        let _ = self.workflows.send(workflows::Input::Task(Box::new(task), Some(self.slot)));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.polling.cancel();
        self.shared.hang_up.cancel();
        self.shared.abort.cancel();
    }
}

fn normal_queue(options: &WorkerOptions) -> TaskQueue {
    TaskQueue { name: options.task_queue.clone(), kind: TaskQueueKind::Normal as i32, normal_name: String::new() }
}

fn version(options: &WorkerOptions) -> Option<WorkerVersionCapabilities> {
    let build_id = options.build_id.clone();
    (!build_id.is_empty()).then(|| WorkerVersionCapabilities { build_id, ..Default::default() })
}
