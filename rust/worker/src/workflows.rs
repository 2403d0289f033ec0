//! The workflow side: one actor that owns every cached run and drives its state machines.
//!
//! A run is *busy* (a task, an activation or an answer is open), *idle* (in the cache, evictable) or *evicting* (the
//! user's code was told to forget it). Tasks for a run that is not idle wait in its entry. Nothing here waits: what
//! takes time is spawned and comes back as an [`Input`].

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use durable_client::{Code, Rpc, Status};
use durable_core::{EvictionReason, LocalRequest, LocalResult, Output, RunOptions, Wait};
use temporalio_protos::{
    coresdk::{
        workflow_activation::{WorkflowActivation, remove_from_cache::EvictionReason as WireReason, workflow_activation_job::Variant},
        workflow_completion::WorkflowActivationCompletion,
    },
    temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::{CommandType, EventType, WorkflowTaskFailedCause},
        failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        history::v1::HistoryEvent,
        workflowservice::v1::{
            PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
            RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedRequest,
        },
    },
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    eager::Eager,
    history::{fetch_history, fetch_rest},
    locals,
    machine::Machine,
    poller::Slot,
    report::{is_too_large, report, shortened},
    shared::{DEBUG, Shared, WARNING, first_line},
};

type Task = Box<PollWorkflowTaskQueueResponse>;

pub(crate) enum Input {
    /// A workflow task as polled or as handed over with the answer to another.
    Task(Task, Option<Slot>),
    /// The same with all its pages, or none if they could not be fetched.
    Paged(Option<Task>, Option<Slot>),
    Completion(Box<WorkflowActivationCompletion>),
    History {
        run_id: String,
        events: Result<Vec<HistoryEvent>, Status>,
    },
    Completed {
        run_id: String,
        answer: Result<Box<RespondWorkflowTaskCompletedResponse>, Status>,
        /// For activities that the answer may bring.
        reserved: Vec<Slot>,
    },
    LocalResult {
        run_id: String,
        result: Box<LocalResult>,
    },
    /// A local activity of the run was cut off by the worker's end.
    LocalLost {
        run_id: String,
    },
    /// The run's task, the one of this number, has waited long enough for local activities.
    HeartbeatDue {
        run_id: String,
        task: u64,
    },
    /// A report whose answer changes nothing has ended.
    Reported,
    /// Runs may wait for local activities for so long.
    Stop(Duration),
    GraceOver,
}

/// The attempts whose failure is told without a pause: what failed by chance goes on at once.
const FAILURES_TOLD_AT_ONCE: i32 = 2;
/// Before the failure after those is told; doubled each time.
const FIRST_FAILURE_PAUSE: Duration = Duration::from_millis(100);
/// Part of the workflow task's timeout that passes before the service is told that the task is still worked on.
const HEARTBEAT_SHARE: f64 = 0.8;
/// How long commands may wait beside a local activity: what they start should not wait for its end.
const COMMANDS_WAIT: Duration = Duration::from_millis(100);
/// What a service needs to notice that a timer is due.
const TIMER_MARGIN: Duration = Duration::from_millis(20);
/// How long a task lasts when a timer was due before it and was not told: a service may be late by a second.
const OVERDUE_PAUSE: Duration = Duration::from_millis(500);

struct Entry<M> {
    run: M,
    execution: WorkflowExecution,
    slot: Option<Slot>,
    waiting: VecDeque<(Task, Option<Slot>)>,
    /// Key in `Workflows::idle` while the run is idle.
    idle_since: Option<u64>,
    /// The run has no future: it is evicted as soon as it is idle.
    is_closed: bool,
    is_evicting: bool,
    /// The number of the task that was begun last, and when that was.
    task: u64,
    task_begun: Instant,
    /// Which attempt at its task the service says that this is, from 1.
    attempt: i32,
    heartbeat: Option<AbortHandle>,
    /// The worker stops and has cut off a local activity: the run goes on elsewhere.
    is_given_away: bool,
}

pub(crate) struct Workflows<M> {
    shared: Arc<Shared>,
    inputs: mpsc::UnboundedSender<Input>,
    eager: Eager,
    locals: mpsc::UnboundedSender<locals::Input>,
    run_options: Arc<RunOptions>,
    /// Boxed: a map keeps room for twice what it holds, and an entry is large.
    entries: HashMap<String, Box<Entry<M>>>,
    /// Idle runs by when they became so: the first is the least recently used.
    idle: BTreeMap<u64, String>,
    ticks: u64,
    evicting: usize,
    /// Spawned calls whose input is still to come.
    spawned: usize,
    is_stopping: bool,
    is_grace_over: bool,
    done: CancellationToken,
}

impl<M: Machine> Workflows<M> {
    pub fn new(
        shared: Arc<Shared>,
        inputs: mpsc::UnboundedSender<Input>,
        eager: Eager,
        locals: mpsc::UnboundedSender<locals::Input>,
        sticky_task_queue: String,
        done: CancellationToken,
    ) -> Workflows<M> {
        let options = &shared.options;
        let timeout_ms = u64::try_from(options.sticky_schedule_to_start_timeout.as_millis()).unwrap_or(u64::MAX);
        let run_options = Arc::new(RunOptions {
            namespace: options.namespace.clone(),
            identity: options.identity.clone(),
            sticky_task_queue,
            task_queue: options.task_queue.clone(),
            sticky_schedule_to_start_timeout_ms: timeout_ms,
            replay_only: false,
        });
        Workflows {
            shared,
            inputs,
            eager,
            locals,
            run_options,
            entries: HashMap::new(),
            idle: BTreeMap::new(),
            ticks: 0,
            evicting: 0,
            spawned: 0,
            is_stopping: false,
            is_grace_over: false,
            done,
        }
    }

    pub async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let abort = self.shared.abort.clone();
        loop {
            tokio::select! {
                biased;
                () = abort.cancelled() => break,
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input),
                    None => break,
                },
            }
            self.shared.tally.set_cached_runs(self.entries.len() - self.evicting);
            if self.is_stopping && self.entries.is_empty() && self.spawned == 0 {
                self.done.cancel();
            }
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Task(task, slot) => self.receive(task, slot),
            Input::Paged(task, slot) => {
                self.spawned -= 1;
                if let Some(task) = task {
                    self.accept(task, slot);
                }
            }
            Input::Completion(completion) => self.handle_completion(*completion),
            Input::History { run_id, events } => self.handle_history(&run_id, events),
            Input::Completed { run_id, answer, reserved } => self.handle_completed(&run_id, answer, reserved),
            Input::LocalResult { run_id, result } => {
                if let Some(entry) = self.entries.get_mut(&run_id) {
                    entry.run.handle_local_result(*result);
                    self.drive(&run_id);
                    self.unpin(&run_id);
                }
            }
            Input::LocalLost { run_id } => self.give_away(&run_id),
            Input::HeartbeatDue { run_id, task } => {
                if self.entries.get(&run_id).is_some_and(|entry| entry.task == task) {
                    self.heartbeat(&run_id);
                }
            }
            Input::Reported => self.spawned -= 1,
            Input::Stop(grace) => self.stop(grace),
            Input::GraceOver => {
                self.is_grace_over = true;
                let mut runs: Vec<String> = self.entries.keys().cloned().collect();
                runs.sort_unstable();
                for run_id in runs {
                    self.give_away(&run_id);
                }
            }
        }
    }

    /// Takes a task from the service; fetches the rest of its history first if there is more.
    fn receive(&mut self, mut task: Task, mut slot: Option<Slot>) {
        if let Some(slot) = &mut slot {
            slot.use_for(&self.shared.tally.workflow_tasks);
        }
        if task.next_page_token.is_empty() {
            self.accept(task, slot);
            return;
        }
        let shared = self.shared.clone();
        self.spawn(async move {
            let fetched = fetch_rest(&shared, &mut task).await;
            if let Err(status) = &fetched {
                // The service will offer the task again after its timeout.
                let execution = task.workflow_execution.clone().unwrap_or_default();
                shared.event(WARNING, format!("the history of {} could not be fetched: {status}", name(&execution)));
            }
            Input::Paged(fetched.is_ok().then_some(task), slot)
        });
    }

    /// Gives a task with its whole history to its run, or keeps it until the run is idle.
    fn accept(&mut self, task: Task, slot: Option<Slot>) {
        let execution = task.workflow_execution.clone().unwrap_or_default();
        let run_id = execution.run_id.clone();
        if !self.entries.contains_key(&run_id) {
            let run = M::new(run_id.clone(), self.run_options.clone());
            let entry = Entry {
                run,
                execution,
                slot: None,
                waiting: VecDeque::new(),
                idle_since: None,
                is_closed: false,
                is_evicting: false,
                task: 0,
                task_begun: Instant::now(),
                attempt: 1,
                heartbeat: None,
                is_given_away: false,
            };
            self.entries.insert(run_id.clone(), Box::new(entry));
            self.begin(&run_id, task, slot);
            self.trim();
            return;
        }
        let Some(entry) = self.entries.get_mut(&run_id) else { return };
        if !entry.is_evicting {
            self.shared.tally.hit_cache();
        }
        if entry.idle_since.is_some() {
            self.begin(&run_id, task, slot);
            return;
        }
        // The service has one open workflow task a run, so a newer one means that the older has timed out. Queries of
        // the old kind are separate: each has its caller.
        if task.query.is_none() {
            entry.waiting.retain(|(waiting, _)| waiting.query.is_some());
        }
        entry.waiting.push_back((task, slot));
    }

    fn begin(&mut self, run_id: &str, task: Task, slot: Option<Slot>) {
        let Some(entry) = self.entries.get_mut(run_id) else { return };
        if let Some(tick) = entry.idle_since.take() {
            self.idle.remove(&tick);
        }
        entry.slot = slot;
        entry.task += 1;
        entry.task_begun = Instant::now();
        entry.attempt = task.attempt;
        entry.is_closed |= task.query.is_some() && task.history.iter().flat_map(|history| &history.events).any(closes);
        entry.run.handle_task(*task);
        self.drive(run_id);
    }

    /// Does what the run wants until it wants nothing.
    fn drive(&mut self, run_id: &str) {
        while let Some(output) = self.entries.get_mut(run_id).and_then(|entry| entry.run.poll()) {
            match output {
                Output::Activation(activation) => self.activate(run_id, *activation),
                Output::Complete(request) => self.complete(run_id, request),
                Output::Fail(request) => self.fail(run_id, request),
                Output::Conclude(request) => self.conclude(run_id, *request),
                Output::AnswerQuery(request) => self.answer_query(run_id, *request),
                Output::Local(request) => self.request_local(run_id, request),
                Output::AwaitLocal(wait) => self.await_local(run_id, wait),
                Output::NeedHistory => self.need_history(run_id),
                Output::Evicted => {
                    self.forget(run_id);
                    return;
                }
            }
        }
        self.settle(run_id);
    }

    /// Gives an activation to the user's code. An eviction for which no answer of it can matter is only told.
    fn activate(&mut self, run_id: &str, activation: WorkflowActivation) {
        if !is_mere_eviction(&activation) {
            return self.shared.sink.activation(activation);
        }
        self.shared.sink.eviction(activation.run_id.clone());
        if let Some(entry) = self.entries.get_mut(run_id) {
            let answered = WorkflowActivationCompletion { run_id: activation.run_id, ..Default::default() };
            entry.run.handle_completion(answered);
        }
    }

    /// After a run has stopped wanting things: the next waiting task, or the cache.
    fn settle(&mut self, run_id: &str) {
        let Some(entry) = self.entries.get_mut(run_id) else { return };
        if entry.is_evicting || entry.idle_since.is_some() || !entry.run.is_idle() {
            return;
        }
        entry.slot = None;
        if entry.is_closed {
            self.evict(run_id, EvictionReason::CacheFull, "the run has ended");
            return;
        }
        if let Some((task, slot)) = entry.waiting.pop_front() {
            self.begin(run_id, task, slot);
            return;
        }
        self.ticks += 1;
        entry.idle_since = Some(self.ticks);
        self.unpin(run_id);
    }

    /// Lets an idle run be evicted, unless local activities of it are at work: to forget it would mean to do them again.
    fn unpin(&mut self, run_id: &str) {
        let Some(entry) = self.entries.get(run_id).filter(|entry| !entry.is_evicting) else { return };
        let Some(tick) = entry.idle_since else { return };
        if !entry.run.has_running_locals() || self.is_grace_over || entry.is_given_away {
            self.idle.insert(tick, run_id.to_owned());
            self.trim();
        }
    }

    /// Evicts the least recently used idle runs until the cache is within its limit; all of them when stopping.
    fn trim(&mut self) {
        let limit = if self.is_stopping { 0 } else { self.shared.options.max_cached_workflows };
        while self.entries.len() - self.evicting > limit {
            let Some((_, run_id)) = self.idle.pop_first() else { return };
            if let Some(entry) = self.entries.get_mut(&run_id) {
                entry.idle_since = None;
            }
            if self.is_stopping {
                self.evict(&run_id, EvictionReason::Shutdown, "the worker stops");
            } else {
                self.evict(&run_id, EvictionReason::CacheFull, "the cache is full");
            }
        }
    }

    fn evict(&mut self, run_id: &str, reason: EvictionReason, message: &str) {
        if self.mark_evicting(run_id) {
            if let Some(entry) = self.entries.get_mut(run_id) {
                entry.run.handle_evict(reason, message);
            }
            self.drive(run_id);
        }
    }

    /// True when the run was not being evicted before.
    fn mark_evicting(&mut self, run_id: &str) -> bool {
        let Some(entry) = self.entries.get_mut(run_id).filter(|entry| !entry.is_evicting) else { return false };
        entry.is_evicting = true;
        self.evicting += 1;
        true
    }

    fn forget(&mut self, run_id: &str) {
        let Some(entry) = self.entries.remove(run_id) else { return };
        if let Some(tick) = entry.idle_since {
            self.idle.remove(&tick);
        }
        self.evicting -= usize::from(entry.is_evicting);
        if let Some(heartbeat) = entry.heartbeat {
            heartbeat.abort();
        }
        let _ = self.locals.send(locals::Input::Forget { run_id: run_id.to_owned() });
        drop(entry.slot);
        for (task, slot) in entry.waiting {
            self.accept(task, slot);
        }
    }

    /// Forgets a run of which the user's code has never heard: there is nobody to confirm its eviction.
    fn abandon(&mut self, run_id: &str) {
        while let Some(output) = self.entries.get_mut(run_id).and_then(|entry| entry.run.poll()) {
            match output {
                Output::Fail(request) => self.fail(run_id, request),
                Output::Conclude(request) => self.conclude(run_id, *request),
                _ => {}
            }
        }
        self.forget(run_id);
    }

    fn complete(&mut self, run_id: &str, mut request: Box<RespondWorkflowTaskCompletedRequest>) {
        let Some(entry) = self.entries.get_mut(run_id) else { return };
        self.shared.tally.workflow_tasks.ended(false);
        entry.is_closed |= request.commands.iter().any(|command| ends_run(command.command_type()));
        // While the grace lasts, a run that waits for a local activity stays here, where its outcome will be.
        let stays = request.force_create_new_workflow_task && !self.is_grace_over && !entry.is_given_away;
        if self.is_stopping && !stays {
            request.return_new_workflow_task = false;
            request.sticky_attributes = None;
        }
        let may_take = !self.is_stopping && !entry.is_closed && !entry.is_given_away;
        let reserved = self.eager.reserve(&mut request.commands, may_take);
        let shared = self.shared.clone();
        let run_id = run_id.to_owned();
        self.spawn(async move {
            let token = request.task_token.clone();
            let answer = report(&shared, *request).await;
            if let Err(status) = &answer
                && is_too_large(status)
            {
                fail_as_too_large(&shared, token, status).await;
            }
            Input::Completed { run_id, answer: answer.map(Box::new), reserved }
        });
    }

    fn handle_completed(
        &mut self,
        run_id: &str,
        mut answer: Result<Box<RespondWorkflowTaskCompletedResponse>, Status>,
        reserved: Vec<Slot>,
    ) {
        self.spawned -= 1;
        if let Ok(answer) = &mut answer {
            self.eager.start(std::mem::take(&mut answer.activity_tasks), reserved);
        }
        let Some(entry) = self.entries.get_mut(run_id) else { return };
        match answer {
            Ok(answer) => {
                let slot = entry.slot.take();
                if let Some(next) = answer.workflow_task.filter(|task| !task.task_token.is_empty()) {
                    self.receive(Box::new(next), slot);
                }
                if let Some(entry) = self.entries.get_mut(run_id) {
                    entry.run.handle_completed(answer.reset_history_event_id);
                }
            }
            Err(status) => {
                let level = if status.code == Code::NotFound { DEBUG } else { WARNING };
                let message = format!("the completion of a workflow task of {} was refused: {status}", name(&entry.execution));
                self.shared.event(level, message);
                entry.is_closed = false;
                entry.run.handle_refused(&status.to_string());
                self.mark_evicting(run_id);
            }
        }
        self.drive(run_id);
    }

    // ---- local activities ----

    fn request_local(&mut self, run_id: &str, request: LocalRequest) {
        let _ = self.locals.send(locals::Input::Request { run_id: run_id.to_owned(), request });
    }

    /// The run's task stays open until its local activities have ended, with a sign of life in time.
    fn await_local(&mut self, run_id: &str, wait: Wait) {
        let Some(entry) = self.entries.get_mut(run_id) else { return };
        if let Some(earlier) = entry.heartbeat.take() {
            earlier.abort();
        }
        if self.is_grace_over || entry.is_given_away {
            entry.run.handle_heartbeat_due();
            return;
        }
        let mut due = wait.task_timeout.mul_f64(HEARTBEAT_SHARE);
        if let Some(first_timer) = wait.first_timer {
            due = due.min(if first_timer.is_zero() { OVERDUE_PAUSE } else { first_timer.saturating_add(TIMER_MARGIN) });
        }
        let mut due = entry.task_begun + due;
        if wait.has_commands {
            due = due.min(Instant::now() + COMMANDS_WAIT);
        }
        let (inputs, run_id, task) = (self.inputs.clone(), run_id.to_owned(), entry.task);
        let timer = tokio::spawn(async move {
            sleep_until(due).await;
            let _ = inputs.send(Input::HeartbeatDue { run_id, task });
        });
        entry.heartbeat = Some(timer.abort_handle());
    }

    fn heartbeat(&mut self, run_id: &str) {
        if let Some(entry) = self.entries.get_mut(run_id) {
            entry.run.handle_heartbeat_due();
            self.drive(run_id);
        }
    }

    /// Hands a run that waits for local activities back to the service, with what it has done so far.
    fn give_away(&mut self, run_id: &str) {
        let Some(entry) = self.entries.get_mut(run_id) else { return };
        entry.is_given_away = true;
        self.heartbeat(run_id);
        self.unpin(run_id);
    }

    fn stop(&mut self, grace: Duration) {
        self.is_stopping = true;
        let inputs = self.inputs.clone();
        let abort = self.shared.abort.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(grace) => drop(inputs.send(Input::GraceOver)),
                () = abort.cancelled() => {}
            }
        });
        self.trim();
    }

    fn fail(&mut self, run_id: &str, request: Box<RespondWorkflowTaskFailedRequest>) {
        let Some(entry) = self.entries.get(run_id) else { return };
        self.shared.tally.workflow_tasks.ended(true);
        let reason = request.failure.as_ref().map_or("", |failure| first_line(&failure.message));
        self.shared.event(WARNING, format!("a workflow task of {} failed: {reason}", name(&entry.execution)));
        let pause = if self.shared.service.paces_failing_tasks() {
            Duration::ZERO
        } else {
            pause_before_failure(entry.attempt, entry.run.task_timeout())
        };
        self.mark_evicting(run_id);
        let shared = self.shared.clone();
        self.spawn(async move {
            tokio::select! {
                biased;
                () = shared.polling.cancelled() => {}
                () = sleep(pause) => {}
            }
            report_failed(&shared, *request).await;
            Input::Reported
        });
    }

    fn conclude(&mut self, run_id: &str, request: RespondWorkflowTaskCompletedRequest) {
        if let Some(entry) = self.entries.get(run_id) {
            self.shared
                .event(WARNING, format!("{} differs from its history, which fails it, as its definition says", name(&entry.execution)));
        }
        self.shared.tally.workflow_tasks.ended(false);
        self.spawn_report(request, "the end of a workflow");
    }

    fn answer_query(&mut self, run_id: &str, request: RespondQueryTaskCompletedRequest) {
        if let Some(entry) = self.entries.get(run_id) {
            self.shared.event(DEBUG, format!("a query of {} is answered", name(&entry.execution)));
        }
        self.shared.tally.workflow_tasks.ended(false);
        self.spawn_report(request, "the answer to a query");
    }

    fn need_history(&mut self, run_id: &str) {
        let Some(entry) = self.entries.get(run_id) else { return };
        self.shared.tally.miss_cache();
        let (shared, execution, run_id) = (self.shared.clone(), entry.execution.clone(), run_id.to_owned());
        self.spawn(async move { Input::History { run_id, events: fetch_history(&shared, execution, Vec::new()).await } });
    }

    fn handle_history(&mut self, run_id: &str, events: Result<Vec<HistoryEvent>, Status>) {
        self.spawned -= 1;
        let Some(entry) = self.entries.get_mut(run_id) else { return };
        match events {
            Ok(events) => entry.run.handle_history(events),
            Err(status) => {
                let message = format!("the history of {} could not be fetched: {status}", name(&entry.execution));
                self.shared.event(WARNING, message);
                let is_unknown = entry.run.statistics().activations == 0;
                entry.run.handle_evict(EvictionReason::TaskNotFound, &status.to_string());
                self.mark_evicting(run_id);
                if is_unknown {
                    self.abandon(run_id);
                    return;
                }
            }
        }
        self.drive(run_id);
    }

    fn handle_completion(&mut self, completion: WorkflowActivationCompletion) {
        let run_id = completion.run_id.clone();
        let Some(entry) = self.entries.get_mut(&run_id) else {
            self.shared.event(DEBUG, format!("an activation's completion came for the run {run_id}, which is not cached"));
            return;
        };
        entry.run.handle_completion(completion);
        self.drive(&run_id);
    }

    fn spawn_report<R: Rpc + Clone + 'static>(&mut self, request: R, what: &'static str) {
        let shared = self.shared.clone();
        self.spawn(async move {
            if let Err(status) = report(&shared, request).await {
                let level = if status.code == Code::NotFound { DEBUG } else { WARNING };
                shared.event(level, format!("{what} was refused: {status}"));
            }
            Input::Reported
        });
    }

    fn spawn(&mut self, work: impl Future<Output = Input> + Send + 'static) {
        self.spawned += 1;
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            // The actor is gone only when the worker has ended.
            let _ = inputs.send(work.await);
        });
    }
}

/// How long the failure of a task's attempt is kept back: the service hands the next attempt out as soon as it hears of it, and a workflow
/// whose code is broken would keep the worker and the service busy. No longer than the task's timeout, so that mended code is met soon.
fn pause_before_failure(attempt: i32, task_timeout: Duration) -> Duration {
    let Ok(earlier) = u32::try_from(attempt - FAILURES_TOLD_AT_ONCE - 1) else { return Duration::ZERO };
    let longest = task_timeout.mul_f64(HEARTBEAT_SHARE);
    FIRST_FAILURE_PAUSE.saturating_mul(2_u32.saturating_pow(earlier)).min(longest)
}

/// A failure that the service finds too large is told again in short.
async fn report_failed(shared: &Shared, request: RespondWorkflowTaskFailedRequest) {
    let mut answer = report(shared, request.clone()).await;
    if let Err(status) = &answer
        && is_too_large(status)
    {
        let failure = request.failure.as_ref().map(|failure| shortened(failure, status));
        answer = report(shared, RespondWorkflowTaskFailedRequest { failure, ..request }).await;
    }
    if let Err(status) = answer {
        let level = if status.code == Code::NotFound { DEBUG } else { WARNING };
        shared.event(level, format!("the failure of a workflow task was refused: {status}"));
    }
}

/// Tells the service why no completion comes, instead of letting the task time out without a reason.
async fn fail_as_too_large(shared: &Shared, task_token: Vec<u8>, status: &Status) {
    let failure = Failure {
        message: format!("the completion of the workflow task is larger than the service takes: {status}"),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())),
        ..Default::default()
    };
    let request = RespondWorkflowTaskFailedRequest {
        task_token,
        cause: WorkflowTaskFailedCause::GrpcMessageTooLarge as i32,
        failure: Some(failure),
        identity: shared.options.identity.clone(),
        namespace: shared.options.namespace.clone(),
        ..Default::default()
    };
    // The refusal of the completion itself is the event; this is a second way of saying it.
    let _ = report(shared, request).await;
}

/// True for an eviction that says nothing about the run but that it is to be forgotten.
fn is_mere_eviction(activation: &WorkflowActivation) -> bool {
    let [job] = activation.jobs.as_slice() else { return false };
    let Some(Variant::RemoveFromCache(eviction)) = &job.variant else { return false };
    matches!(
        eviction.reason(),
        WireReason::CacheFull
            | WireReason::WorkflowExecutionEnding
            | WireReason::LangRequested
            | WireReason::TaskNotFound
            | WireReason::UnhandledCommand
    )
}

fn name(execution: &WorkflowExecution) -> String {
    format!("workflow {:?} (run {})", execution.workflow_id, execution.run_id)
}

fn ends_run(command: CommandType) -> bool {
    matches!(
        command,
        CommandType::CompleteWorkflowExecution
            | CommandType::FailWorkflowExecution
            | CommandType::CancelWorkflowExecution
            | CommandType::ContinueAsNewWorkflowExecution
    )
}

fn closes(event: &HistoryEvent) -> bool {
    matches!(
        event.event_type(),
        EventType::WorkflowExecutionCompleted
            | EventType::WorkflowExecutionFailed
            | EventType::WorkflowExecutionCanceled
            | EventType::WorkflowExecutionTerminated
            | EventType::WorkflowExecutionTimedOut
            | EventType::WorkflowExecutionContinuedAsNew
    )
}
