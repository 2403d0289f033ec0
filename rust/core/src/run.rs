//! One run of a workflow: the contract between the state machines and their driver.

use crate::{
    fault::{Fault, application_failure},
    local::{LocalRequest, LocalResult},
    report,
    workflow::Workflow,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use temporalio_protos::{
    coresdk::{
        workflow_activation::{
            QueryWorkflow, RemoveFromCache, WorkflowActivation, WorkflowActivationJob, query_to_job,
            remove_from_cache::EvictionReason as WireReason, workflow_activation_job::Variant as Job,
        },
        workflow_commands::{QueryResult, WorkflowCommand, workflow_command::Variant as LangCommand},
        workflow_completion::{self, Success, WorkflowActivationCompletion, workflow_activation_completion::Status as CompletionStatus},
    },
    temporal::api::{
        enums::v1::WorkflowTaskFailedCause,
        failure::v1::Failure,
        history::v1::{HistoryEvent, history_event::Attributes},
        workflowservice::v1::{
            PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
            RespondWorkflowTaskFailedRequest,
        },
    },
};

/// The id that the code sees for the query of a query task of the old kind, as in every core-based SDK.
const OLD_QUERY_ID: &str = "legacy_query";

/// The service's default, for histories that do not say.
const DEFAULT_TASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a run needs to know of its worker; constant for the run's life in the cache.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    pub namespace: String,
    pub identity: String,
    /// The worker's own queue for follow-up tasks, or empty when nothing is cached (0 cached runs).
    pub sticky_task_queue: String,
    /// The queue that sticky falls back to.
    pub task_queue: String,
    pub sticky_schedule_to_start_timeout_ms: u64,
    /// True when the histories are given and no task is to be completed (the replayer).
    pub replay_only: bool,
}

/// What the run wants from its driver. Take them with [`Run::poll`] until it gives none.
#[derive(Debug)]
pub enum Output {
    /// Give this to the workflow's code; exactly one [`Run::handle_completion`] answers it. At most one is open.
    Activation(Box<WorkflowActivation>),
    /// Send this to the service. The driver then calls [`Run::handle_completed`] with the service's answer, or
    /// [`Run::handle_refused`].
    Complete(Box<RespondWorkflowTaskCompletedRequest>),
    /// Send this to the service; nothing is to be called with the answer. The run wants to be evicted: an eviction activation
    /// follows, or came before when the code differed from its history, because only the code's side knows where it did.
    Fail(Box<RespondWorkflowTaskFailedRequest>),
    /// Send this to the service: the answer to a query task of the old kind. Nothing is to be called with the answer.
    AnswerQuery(Box<RespondQueryTaskCompletedRequest>),
    /// Do this with a local activity of the run.
    Local(LocalRequest),
    /// Nothing is to be said to the service while local activities run, but before the task times out: then call
    /// [`Run::handle_heartbeat_due`]. Given again when what it says changes.
    AwaitLocal(Wait),
    /// The task's history does not continue what is cached, or ends before the task's own start: fetch it from event 1 and
    /// call [`Run::handle_history`]. A driver that cannot fetch it calls [`Run::handle_evict`].
    NeedHistory,
    /// Send this to the service; nothing is to be called with the answer. It ends a workflow whose code differs from its history, as
    /// the code's side asked in its answer to the eviction.
    Conclude(Box<RespondWorkflowTaskCompletedRequest>),
    /// The eviction was confirmed by the workflow's code; the driver forgets the run.
    Evicted,
}

/// How long a task may be kept open for local activities. The lengths are from when it was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub task_timeout: Duration,
    /// The first timer of the run is due: it is told in a new task only, and a deadline round a local activity is one.
    pub first_timer: Option<Duration>,
    /// Commands wait to be sent: the sooner the better, because other things begin with them.
    pub has_commands: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionReason {
    CacheFull,
    TaskNotFound,
    Fatal,
    Shutdown,
    Nondeterminism,
    LangRequested,
}

impl EvictionReason {
    fn to_wire(self) -> WireReason {
        match self {
            EvictionReason::CacheFull => WireReason::CacheFull,
            EvictionReason::TaskNotFound => WireReason::TaskNotFound,
            EvictionReason::Fatal => WireReason::Fatal,
            EvictionReason::Nondeterminism => WireReason::Nondeterminism,
            EvictionReason::Shutdown | EvictionReason::LangRequested => WireReason::LangRequested,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct RunStatistics {
    pub last_processed_event_id: i64,
    /// Activations given out, evictions included.
    pub activations: u64,
}

/// The workflow task that the run works on.
#[derive(Debug)]
struct Task {
    token: Vec<u8>,
    queries: Vec<QueryWorkflow>,
    /// A query task of the old kind: answered by itself, never completed.
    is_old_query: bool,
    /// The last answer of the code said so.
    versioning_behavior: i32,
    /// The service is to be told that the task is still worked on, at the next occasion.
    is_heartbeat_due: bool,
    /// What the driver was last told about waiting for local activities.
    told_waiting: Option<Wait>,
}

/// A task that failed because the code differs from its history, until the code's side has said where: the failure in its
/// answer to the eviction replaces this one. A command in that answer that fails the workflow does that instead.
#[derive(Debug)]
struct Unreported {
    token: Vec<u8>,
    cause: WorkflowTaskFailedCause,
    failure: Failure,
}

/// What the driver owes the run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Open {
    Nothing,
    Activation,
    /// An activation of nothing but queries, with their ids.
    Queries(Vec<String>),
    Eviction,
    /// The service's answer to a completion.
    Answer,
    History,
}

/// The conversation about one run: tasks of the service in, activations for the code out, and back.
///
/// The driver calls a `handle_` method when something happened, then takes everything from [`Run::poll`] and acts on it in
/// that order. Nothing here blocks, fails or panics: what goes wrong comes out as [`Output::Fail`] and an eviction.
#[derive(Debug)]
pub struct Run {
    run_id: String,
    options: Arc<RunOptions>,
    workflow: Option<Workflow>,
    task: Option<Task>,
    /// The task whose history is being fetched.
    fetching: Option<Box<PollWorkflowTaskQueueResponse>>,
    open: Open,
    outputs: VecDeque<Output>,
    eviction: Option<(WireReason, String)>,
    unreported: Option<Unreported>,
    /// The machines cannot be trusted any more; only the eviction is left.
    is_broken: bool,
    is_evicted: bool,
    activations: u64,
    task_timeout: Duration,
}

impl Run {
    #[must_use]
    pub fn new(run_id: String, options: impl Into<Arc<RunOptions>>) -> Run {
        Run {
            run_id,
            options: options.into(),
            workflow: None,
            task: None,
            fetching: None,
            open: Open::Nothing,
            outputs: VecDeque::new(),
            eviction: None,
            unreported: None,
            is_broken: false,
            is_evicted: false,
            activations: 0,
            task_timeout: DEFAULT_TASK_TIMEOUT,
        }
    }

    /// A workflow task of the service for this run, its history complete from event 1 (all pages fetched by the driver)
    /// or a continuation (sticky). Never while a task is open: the driver keeps a second task until the first is answered.
    /// A task that comes all the same is failed, so that the service gives it again.
    pub fn handle_task(&mut self, mut task: PollWorkflowTaskQueueResponse) {
        if !self.is_idle() || self.eviction.is_some() || self.is_evicted {
            let message = "the task came while the run was busy with another one or being evicted".to_owned();
            self.push_failure(task.task_token, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure, message);
            return;
        }
        let first_id = task.history.as_ref().and_then(|history| history.events.first()).map(|event| event.event_id);
        let is_continued = match (&self.workflow, first_id) {
            (Some(workflow), Some(first_id)) => first_id <= workflow.last_processed_id + 1,
            (Some(_), None) => true,
            (None, first_id) => first_id == Some(1),
        };
        if is_continued && self.reaches_start(&task) {
            let events = task.history.take().map(|history| history.events).unwrap_or_default();
            self.begin(task, events);
        } else {
            self.fetching = Some(Box::new(task));
            self.open = Open::History;
            self.outputs.push_back(Output::NeedHistory);
        }
    }

    /// The whole history after [`Output::NeedHistory`], for the task that is open.
    pub fn handle_history(&mut self, mut events: Vec<HistoryEvent>) {
        let Some(mut task) = self.fetching.take() else { return };
        self.open = Open::Nothing;
        // The task may carry events that the service has not written yet (those of a transient workflow task).
        let last_id = events.last().map_or(0, |event| event.event_id);
        let newer = task.history.take().map(|history| history.events).unwrap_or_default();
        events.extend(newer.into_iter().filter(|event| event.event_id > last_id));
        self.begin(*task, events);
    }

    /// The answer of the workflow's code to the open activation.
    pub fn handle_completion(&mut self, completion: WorkflowActivationCompletion) {
        if completion.run_id != self.run_id {
            return self.protest(&format!("a completion of run '{}' was given to run '{}'", completion.run_id, self.run_id));
        }
        let open = std::mem::replace(&mut self.open, Open::Nothing);
        match open {
            Open::Eviction => {
                self.is_evicted = true;
                self.workflow = None;
                self.report_difference(completion.status);
                self.outputs.push_back(Output::Evicted);
            }
            Open::Activation | Open::Queries(_) => {
                let asked = match open {
                    Open::Queries(asked) => asked,
                    _ => Vec::new(),
                };
                if self.is_broken {
                    return self.advance();
                }
                match completion.status {
                    Some(CompletionStatus::Successful(success)) => self.complete(success, asked),
                    Some(CompletionStatus::Failed(failure)) => self.fail_as_asked(failure, &asked),
                    None => self.fail(&Fault::Fatal("the completion of the activation is empty".to_owned())),
                }
            }
            Open::Nothing | Open::Answer | Open::History => {
                self.open = open;
                self.protest("a completion came while no activation was open");
            }
        }
    }

    /// The service took the completion. `reset_to_event_id` is its `reset_history_event_id`, or 0.
    pub fn handle_completed(&mut self, reset_to_event_id: i64) {
        if self.open != Open::Answer {
            return;
        }
        self.open = Open::Nothing;
        self.task = None;
        if let Some(workflow) = &mut self.workflow {
            if reset_to_event_id > 0 {
                workflow.reset(reset_to_event_id);
            }
            if workflow.is_finished {
                self.want_eviction(WireReason::WorkflowExecutionEnding, "the workflow has ended".to_owned());
            }
        }
        self.advance();
    }

    /// The service refused the completion (the task is gone, or the request is bad): the run asks to be evicted.
    pub fn handle_refused(&mut self, message: &str) {
        if self.open != Open::Answer {
            return;
        }
        self.open = Open::Nothing;
        self.task = None;
        self.is_broken = true;
        let reason = if message.contains("UnhandledCommand") { WireReason::UnhandledCommand } else { WireReason::TaskNotFound };
        self.want_eviction(reason, format!("the service refused the completion of the workflow task: {message}"));
        self.advance();
    }

    /// Forget the run as soon as nothing is open: an eviction activation, then [`Output::Evicted`]. While a history is being
    /// fetched, this gives the task up.
    pub fn handle_evict(&mut self, reason: EvictionReason, message: &str) {
        if self.is_evicted {
            return;
        }
        self.want_eviction(reason.to_wire(), message.to_owned());
        if let Some(task) = self.fetching.take() {
            self.open = Open::Nothing;
            if task.query.is_none() {
                let message = format!("the history of the run could not be fetched: {message}");
                self.push_failure(task.task_token, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure, message);
            }
        }
        self.advance();
    }

    /// A local activity has ended, or its next attempt is far away. One that nobody waits for is ignored.
    pub fn handle_local_result(&mut self, result: LocalResult) {
        let Some(workflow) = &mut self.workflow else { return };
        if self.is_broken {
            return;
        }
        // Between two tasks, and while the code is busy, a replay could not tell it in the same place.
        workflow.defer_local_result(result);
        if self.open == Open::Nothing && self.task.as_ref().is_some_and(|task| !task.is_old_query) {
            self.apply(Vec::new(), Vec::new());
        }
    }

    /// The open task would time out soon. It is completed as it is, and goes on in a new one, if local activities still run.
    pub fn handle_heartbeat_due(&mut self) {
        if !self.workflow.as_ref().is_some_and(Workflow::has_local_work) {
            return;
        }
        let Some(task) = self.task.as_mut().filter(|task| !task.is_old_query) else { return };
        task.is_heartbeat_due = true;
        if self.open == Open::Nothing {
            self.respond(Vec::new());
        }
    }

    /// True while local activities of this run are at work: to forget it would mean to do them again.
    #[must_use]
    pub fn has_running_locals(&self) -> bool {
        !self.is_broken && self.workflow.as_ref().is_some_and(Workflow::has_running_locals)
    }

    /// The next thing the run wants, or none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// True when no task, activation or answer is open: the run may wait in the cache or be evicted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open == Open::Nothing && self.task.is_none()
    }

    /// How long the service waits for the answer to a task of this run.
    #[must_use]
    pub fn task_timeout(&self) -> Duration {
        self.task_timeout
    }

    #[must_use]
    pub fn statistics(&self) -> RunStatistics {
        RunStatistics {
            last_processed_event_id: self.workflow.as_ref().map_or(0, |workflow| workflow.last_processed_id),
            activations: self.activations,
        }
    }

    // ---- tasks ----

    /// Whether the history that is known with this task's goes up to the task's start. Services have been seen to leave out
    /// the last page: what is missing would never be told, because the task's completion answers for it.
    fn reaches_start(&self, task: &PollWorkflowTaskQueueResponse) -> bool {
        let last_id = task.history.as_ref().and_then(|history| history.events.last()).map_or(0, |event| event.event_id);
        last_id.max(self.statistics().last_processed_event_id) >= task.started_event_id
    }

    fn begin(&mut self, task: PollWorkflowTaskQueueResponse, events: Vec<HistoryEvent>) {
        let is_old_query = task.query.is_some();
        // In the order of their ids, because the order of a map would differ from run to run.
        let mut queries: Vec<QueryWorkflow> = task.queries.into_iter().map(|(id, query)| query_to_job(id, query)).collect();
        queries.sort_by(|a, b| a.query_id.cmp(&b.query_id));
        queries.extend(task.query.map(|query| query_to_job(OLD_QUERY_ID.to_owned(), query)));
        self.task = Some(Task {
            token: task.task_token,
            queries,
            is_old_query,
            versioning_behavior: 0,
            is_heartbeat_due: false,
            told_waiting: None,
        });
        let workflow_id = task.workflow_execution.map(|execution| execution.workflow_id).unwrap_or_default();
        if let Some(other) = started_id(&events).filter(|other| *other != workflow_id && !self.options.replay_only) {
            let message = format!("the service gave the history of another workflow: it is of \"{other}\", the task of \"{workflow_id}\"");
            return self.fail(&Fault::Fatal(message));
        }
        let workflow = self.workflow.get_or_insert_with(|| {
            Workflow::new(self.run_id.clone(), workflow_id, self.options.namespace.clone(), self.options.task_queue.clone())
        });
        let last_id = events.last().map_or(0, |event| event.event_id).max(workflow.last_processed_id);
        if last_id < task.started_event_id {
            return self.fail(&Fault::Fatal(format!(
                "the history is incomplete: the task was started by event {}, and the service gave no event after {last_id}",
                task.started_event_id
            )));
        }
        let applied = workflow.handle_history(events, task.previous_started_event_id, task.messages);
        let task_timeout = workflow.task_timeout.and_then(|timeout| Duration::try_from(timeout).ok()).unwrap_or_default();
        self.task_timeout = if task_timeout.is_zero() { DEFAULT_TASK_TIMEOUT } else { task_timeout };
        if let Err(fault) = applied {
            return self.fail(&fault);
        }
        if !is_old_query && !workflow.replaying {
            workflow.apply_deferred();
        }
        if workflow.has_jobs() {
            return self.advance();
        }
        // Nothing for the code to do: as if it had been asked and had answered with no commands.
        self.apply(Vec::new(), Vec::new());
    }

    /// Gives out what is due, if nothing is open.
    fn advance(&mut self) {
        if self.open != Open::Nothing || self.is_evicted {
            return;
        }
        self.push_local_requests();
        if let (false, Some(task), Some(workflow)) = (self.is_broken, &mut self.task, &mut self.workflow) {
            if workflow.has_jobs() {
                let activation = workflow.take_activation();
                return self.push_activation(activation, Open::Activation);
            }
            if !task.queries.is_empty() {
                let mut activation = workflow.take_activation();
                let queries = std::mem::take(&mut task.queries);
                let asked = queries.iter().map(|query| query.query_id.clone()).collect();
                let jobs = queries.into_iter().map(|query| WorkflowActivationJob { variant: Some(Job::QueryWorkflow(query)) });
                activation.jobs = jobs.collect();
                return self.push_activation(activation, Open::Queries(asked));
            }
        }
        if let (None, Some((reason, message))) = (&self.task, &self.eviction) {
            let job = Job::RemoveFromCache(RemoveFromCache { message: message.clone(), reason: *reason as i32 });
            let activation = WorkflowActivation {
                run_id: self.run_id.clone(),
                history_length: u32::try_from(self.statistics().last_processed_event_id).unwrap_or(u32::MAX),
                jobs: vec![WorkflowActivationJob { variant: Some(job) }],
                ..Default::default()
            };
            self.push_activation(activation, Open::Eviction);
        }
    }

    fn push_activation(&mut self, activation: WorkflowActivation, open: Open) {
        self.activations += 1;
        self.open = open;
        self.outputs.push_back(Output::Activation(Box::new(activation)));
    }

    // ---- completions ----

    fn complete(&mut self, success: Success, asked: Vec<String>) {
        let (answers, commands): (Vec<_>, Vec<_>) =
            success.commands.into_iter().partition(|command| matches!(command.variant, Some(LangCommand::RespondToQuery(_))));
        let mut answers: Vec<QueryResult> = answers
            .into_iter()
            .filter_map(|command| match command.variant {
                Some(LangCommand::RespondToQuery(answer)) => Some(answer),
                _ => None,
            })
            .collect();
        answers.retain(|answer| asked.contains(&answer.query_id));
        for query_id in asked.into_iter().filter(|id| !answers.iter().any(|answer| answer.query_id == *id)).collect::<Vec<_>>() {
            answers.push(QueryResult { query_id, variant: None });
        }
        if let Some(workflow) = &mut self.workflow {
            workflow.add_lang_flags(&success.used_internal_flags);
        }
        if let Some(task) = &mut self.task {
            task.versioning_behavior = success.versioning_behavior;
        }
        self.apply(commands, answers);
    }

    fn apply(&mut self, commands: Vec<WorkflowCommand>, answers: Vec<QueryResult>) {
        if !answers.is_empty() && !commands.is_empty() {
            return self.fail(&Fault::Fatal("the code gave commands while it answered queries".to_owned()));
        }
        let Some(workflow) = &mut self.workflow else { return self.advance() };
        if answers.is_empty() {
            let applied = workflow.handle_commands(commands).and_then(|()| {
                if self.task.as_ref().is_some_and(|task| !task.is_old_query) {
                    workflow.apply_deferred();
                }
                workflow.apply_until_jobs()
            });
            if let Err(fault) = applied {
                return self.fail(&fault);
            }
        }
        self.push_local_requests();
        self.respond(answers);
    }

    /// Ends the task if nothing more is to be done for it.
    fn respond(&mut self, mut answers: Vec<QueryResult>) {
        let (Some(workflow), Some(task)) = (&mut self.workflow, &mut self.task) else { return self.advance() };
        if answers.is_empty() && (workflow.has_jobs() || !task.queries.is_empty()) {
            return self.advance();
        }
        if task.is_old_query {
            let token = std::mem::take(&mut task.token);
            self.task = None;
            let answer = answers.pop().unwrap_or_default();
            let request = report::query_answer(&self.options, token, answer);
            self.outputs.push_back(Output::AnswerQuery(Box::new(request)));
            return self.advance();
        }
        // A task replayed to its very end, or of a closed run, has nothing to say unless queries were asked.
        let is_over = workflow.replaying || workflow.is_closed;
        if self.options.replay_only || (is_over && answers.is_empty()) {
            self.task = None;
            return self.advance();
        }
        let has_local_work = workflow.has_local_work();
        if has_local_work && answers.is_empty() && !task.is_heartbeat_due {
            return self.await_local();
        }
        let token = std::mem::take(&mut task.token);
        let (commands, messages, metadata) = (workflow.take_commands(), workflow.take_messages(), workflow.take_metadata());
        let behavior = task.versioning_behavior;
        let mut request = report::completed(&self.options, token, commands, messages, answers, metadata, behavior);
        if has_local_work {
            // The outcomes that are still to come need a task to be told in, and it must come here, where they are.
            request.force_create_new_workflow_task = true;
            request.return_new_workflow_task = true;
        }
        self.open = Open::Answer;
        self.outputs.push_back(Output::Complete(Box::new(request)));
    }

    // ---- local activities ----

    fn push_local_requests(&mut self) {
        let Some(workflow) = &mut self.workflow else { return };
        for request in workflow.take_local_requests() {
            // A replay runs nothing: what has no marker has no outcome.
            if !self.options.replay_only {
                self.outputs.push_back(Output::Local(request));
            }
        }
    }

    fn await_local(&mut self) {
        let (Some(workflow), Some(task)) = (&self.workflow, &mut self.task) else { return };
        let wait = Wait {
            task_timeout: self.task_timeout,
            first_timer: workflow.until_first_timer(),
            has_commands: workflow.has_unsent_commands(),
        };
        if task.told_waiting != Some(wait) {
            task.told_waiting = Some(wait);
            self.outputs.push_back(Output::AwaitLocal(wait));
        }
    }

    // ---- what goes wrong ----

    fn fail_as_asked(&mut self, failed: workflow_completion::Failure, asked: &[String]) {
        let cause = match failed.force_cause() {
            WorkflowTaskFailedCause::Unspecified => WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
            cause => cause,
        };
        let failure = failed.failure.unwrap_or_else(|| {
            application_failure("WorkflowTaskError", "the workflow's code failed the activation without saying why".to_owned())
        });
        if let (Some(task), false) = (&mut self.task, asked.is_empty()) {
            task.queries.clear();
        }
        self.fail_with(cause, WireReason::LangFail, failure);
    }

    fn fail(&mut self, fault: &Fault) {
        self.fail_with(fault.cause(), fault.eviction(), fault.failure());
    }

    fn fail_with(&mut self, cause: WorkflowTaskFailedCause, reason: WireReason, failure: Failure) {
        self.is_broken = true;
        self.eviction = Some((reason, failure.message.clone()));
        if let Some(task) = self.task.take() {
            if task.is_old_query {
                let answer = report::failed_query(OLD_QUERY_ID.to_owned(), failure);
                let request = report::query_answer(&self.options, task.token, answer);
                self.outputs.push_back(Output::AnswerQuery(Box::new(request)));
            } else if reason == WireReason::Nondeterminism && !self.options.replay_only {
                self.unreported = Some(Unreported { token: task.token, cause, failure });
            } else if !self.options.replay_only {
                let request = report::failed(&self.options, task.token, cause, failure);
                self.outputs.push_back(Output::Fail(Box::new(request)));
            }
        }
        self.advance();
    }

    fn report_difference(&mut self, answer: Option<CompletionStatus>) {
        let Some(Unreported { token, cause, failure }) = self.unreported.take() else { return };
        let told = match answer {
            Some(CompletionStatus::Failed(told)) => told.failure,
            Some(CompletionStatus::Successful(success)) => {
                let commands = success.commands.into_iter().map(|command| command.variant);
                let fails = commands.into_iter().flatten().find_map(|command| match command {
                    LangCommand::FailWorkflowExecution(fail) => Some(fail),
                    _ => None,
                });
                if let Some(fail) = fails {
                    let request = report::conclusion(&self.options, token, fail.into());
                    return self.outputs.push_back(Output::Conclude(Box::new(request)));
                }
                None
            }
            None => None,
        };
        let request = report::failed(&self.options, token, cause, told.unwrap_or(failure));
        self.outputs.push_back(Output::Fail(Box::new(request)));
    }

    fn push_failure(&mut self, task_token: Vec<u8>, cause: WorkflowTaskFailedCause, message: String) {
        let failure = application_failure("WorkflowTaskError", message);
        self.outputs.push_back(Output::Fail(Box::new(report::failed(&self.options, task_token, cause, failure))));
    }

    /// The driver broke the contract: nothing it says about this run can be trusted, so that the run is given up.
    fn protest(&mut self, message: &str) {
        if self.is_evicted {
            return;
        }
        let message = format!("{message}; this is a bug in the worker, please report it");
        match self.open {
            // The answer that is under way ends the task; then the eviction follows.
            Open::Answer | Open::Eviction | Open::History => self.want_eviction(WireReason::Fatal, message),
            Open::Nothing if self.task.is_none() => {
                self.want_eviction(WireReason::Fatal, message);
                self.advance();
            }
            // The code still owes its answer to the open activation; what it is no longer matters.
            Open::Activation | Open::Queries(_) | Open::Nothing => self.fail(&Fault::Fatal(message)),
        }
    }

    /// The first reason counts, except that a failure of the run replaces a full cache.
    fn want_eviction(&mut self, reason: WireReason, message: String) {
        if self.eviction.is_none() {
            self.eviction = Some((reason, message));
        }
    }
}

/// The workflow id that the history itself has; older services do not write it.
fn started_id(events: &[HistoryEvent]) -> Option<&str> {
    match events.first()?.attributes.as_ref()? {
        Attributes::WorkflowExecutionStartedEventAttributes(started) => Some(started.workflow_id.as_str()).filter(|id| !id.is_empty()),
        _ => None,
    }
}
