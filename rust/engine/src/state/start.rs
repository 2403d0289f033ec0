//! Calls that begin, signal and end runs from outside.

use durable_client::{Code, Status};
use prost::Message;
use prost_wkt_types::Duration;
use temporalio_protos::temporal::api::{
    common::v1::{Payload, Payloads, Priority, WorkflowExecution},
    enums::v1::{
        ContinueAsNewInitiator, TaskQueueKind, WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
        WorkflowTaskFailedCause,
    },
    errordetails::v1::WorkflowExecutionAlreadyStartedFailure,
    history::v1::{
        WorkflowExecutionCancelRequestedEventAttributes, WorkflowExecutionSignaledEventAttributes, WorkflowExecutionStartedEventAttributes,
        WorkflowExecutionTerminatedEventAttributes, history_event::Attributes,
    },
    workflowservice::v1 as api,
};

use super::{
    attributes::drop_removed,
    command::{check_retry_policy, with_defaults},
    cron::{self, Cron},
    limit::{
        MAX_BLOB_BYTES, MAX_FAIRNESS_KEY_LENGTH, MAX_ID_LENGTH, MAX_SIGNAL_REQUESTS, check_blob, check_id, check_length, invalid, not_found,
    },
    run::{Run, RunKey},
    time::{Nanos, duration, is_negative, length, timestamp},
    world::{Answer, Env, World},
};

/// The run that starts a child.
pub struct Parent {
    pub namespace: String,
    pub execution: WorkflowExecution,
    pub root: WorkflowExecution,
    pub initiated_event_id: i64,
}

/// What a run begins with.
pub struct First {
    pub workflow_id: String,
    pub run_id: String,
    pub attributes: WorkflowExecutionStartedEventAttributes,
    pub request_id: String,
    /// Above 0: that of the chain it belongs to.
    pub execution_deadline: Nanos,
}

enum Conflict {
    Free,
    Existing(RunKey, bool),
    Terminate(RunKey),
}

impl Run {
    /// Delivers a signal, unless its request id says that it has been already.
    pub fn signal(&mut self, now: Nanos, signal: WorkflowExecutionSignaledEventAttributes) {
        if !signal.request_id.is_empty() {
            if self.record.signal_requests.contains(&signal.request_id) {
                return;
            }
            if self.record.signal_requests.len() >= MAX_SIGNAL_REQUESTS {
                self.record.signal_requests.remove(0);
            }
            self.record.signal_requests.push(signal.request_id.clone());
        }
        self.add_outside(now, Attributes::WorkflowExecutionSignaledEventAttributes(signal));
        self.schedule_task(now);
    }

    /// Ends a started task before the run is ended from outside.
    pub fn force_close(&mut self, now: Nanos) {
        if self.record.task.as_ref().is_some_and(|task| task.is_started()) {
            self.write_speculative();
        }
        if self.record.task.as_ref().is_some_and(|task| task.is_started() && !task.is_transient()) {
            let task = self.record.task.take().unwrap_or_default();
            self.add(
                now,
                Attributes::WorkflowTaskFailedEventAttributes(
                    temporalio_protos::temporal::api::history::v1::WorkflowTaskFailedEventAttributes {
                        scheduled_event_id: task.scheduled_event_id,
                        started_event_id: task.started_event_id,
                        cause: WorkflowTaskFailedCause::ForceCloseCommand as i32,
                        identity: task.identity,
                        ..Default::default()
                    },
                ),
            );
        }
        self.record.task = None;
        self.flush_buffered();
    }

    pub fn terminate(&mut self, now: Nanos, reason: String, details: Option<Payloads>, identity: String) {
        self.force_close(now);
        self.add(
            now,
            Attributes::WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes {
                reason,
                details,
                identity,
            }),
        );
        self.close(now, WorkflowExecutionStatus::Terminated);
    }
}

/// The service's words where whoever terminates says nothing.
const NO_REASON: &str = "terminated by user via frontend";

pub fn check_start(request: &api::StartWorkflowExecutionRequest) -> Result<(), Status> {
    check_policies(request)?;
    if request.workflow_id.len() > MAX_ID_LENGTH {
        return Err(invalid(format!("WorkflowId exceeds maximum allowed length ({}/{MAX_ID_LENGTH})", request.workflow_id.len())));
    }
    check_id("WorkflowId", &request.workflow_id)?;
    check_id("WorkflowType", request.workflow_type.as_ref().map_or("", |kind| &kind.name))?;
    match request.task_queue.as_ref().map_or("", |queue| &queue.name) {
        "" => return Err(invalid("missing task queue name")),
        queue => check_length("taskQueue", queue)?,
    }
    check_length("RequestId", &request.request_id)?;
    for (name, timeout) in [
        ("WorkflowExecutionTimeout", &request.workflow_execution_timeout),
        ("WorkflowRunTimeout", &request.workflow_run_timeout),
        ("WorkflowTaskTimeout", &request.workflow_task_timeout),
        ("WorkflowStartDelay", &request.workflow_start_delay),
    ] {
        if is_negative(timeout) {
            return Err(invalid(format!("An invalid {name}Seconds is set on request. cause: negative duration")));
        }
    }
    if !request.cron_schedule.is_empty() && request.workflow_start_delay.is_some() {
        return Err(invalid("CronSchedule and WorkflowStartDelay may not be used together."));
    }
    check_cron(&request.cron_schedule).map_err(invalid)?;
    check_priority(&request.priority)?;
    check_retry_policy(&request.retry_policy).map_err(invalid)?;
    check_blob("StartWorkflowExecutionRequest.Input", &request.input)?;
    match request.memo.as_ref().map_or(0, Message::encoded_len) {
        size if size > MAX_BLOB_BYTES => {
            Err(invalid(format!("Memo size exceeds limit. It has {size} bytes, the limit is {MAX_BLOB_BYTES}.")))
        }
        _ => Ok(()),
    }
}

/// A schedule must be readable and have a next moment.
pub fn check_cron(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Ok(());
    }
    let cron = Cron::parse(schedule).map_err(|problem| format!("invalid CronSchedule. {schedule:?}: {problem}"))?;
    // Whether there is a next moment does not depend on when it is asked, but for schedules that end with the calendar.
    match cron.next(0) {
        Some(_) => Ok(()),
        None => Err("invalid CronSchedule, no time can be found to satisfy the schedule".into()),
    }
}

/// The checks of a priority, as the service does them.
pub fn check_priority(priority: &Option<Priority>) -> Result<(), Status> {
    let Some(priority) = priority else { return Ok(()) };
    if priority.priority_key < 0 {
        return Err(invalid("priority key can't be negative"));
    }
    if priority.fairness_key.len() > MAX_FAIRNESS_KEY_LENGTH {
        return Err(invalid("fairness key length exceeds limit"));
    }
    if priority.fairness_weight < 0.0 {
        return Err(invalid("must be greater than zero"));
    }
    Ok(())
}

/// A priority whose unset fields are those of what it belongs to.
pub fn inherited_priority(base: &Option<Priority>, own: &Option<Priority>) -> Option<Priority> {
    let (Some(base), Some(own)) = (base, own) else { return own.clone().or_else(|| base.clone()) };
    Some(Priority {
        priority_key: if own.priority_key == 0 { base.priority_key } else { own.priority_key },
        fairness_key: if own.fairness_key.is_empty() { base.fairness_key.clone() } else { own.fairness_key.clone() },
        fairness_weight: if own.fairness_weight == 0.0 { base.fairness_weight } else { own.fairness_weight },
    })
}

/// Policies that contradict each other.
fn check_policies(request: &api::StartWorkflowExecutionRequest) -> Result<(), Status> {
    let conflict = request.workflow_id_conflict_policy();
    match request.workflow_id_reuse_policy() {
        WorkflowIdReusePolicy::TerminateIfRunning if conflict != WorkflowIdConflictPolicy::Unspecified => Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with \
             a WorkflowIDConflictPolicy",
        )),
        WorkflowIdReusePolicy::RejectDuplicate if conflict == WorkflowIdConflictPolicy::TerminateExisting => Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with \
             WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
        )),
        _ => Ok(()),
    }
}

/// A run may not take longer than its execution; what nobody set stays unset in the history.
fn limited_run_timeout(run: Option<Duration>, execution: &Option<Duration>) -> Option<Duration> {
    match (length(&run), length(execution)) {
        (_, 0) => run,
        (0, limit) => Some(duration(limit)),
        (asked, limit) if asked > limit => Some(duration(limit)),
        _ => run,
    }
}

/// A task may not take longer than its run.
fn limited_task_timeout(task: &Option<Duration>, run: &Option<Duration>) -> Duration {
    let task = match length(task) {
        0 => super::workflow_task::DEFAULT_TASK_TIMEOUT,
        task => task,
    };
    duration(match length(run) {
        0 => task,
        run => task.min(run),
    })
}

/// A text as the service itself writes one.
fn encoded(text: &str) -> Option<Payloads> {
    let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
    let payload = Payload { metadata, data: format!("\"{}\"", text.escape_default()).into_bytes(), ..Default::default() };
    Some(Payloads { payloads: vec![payload] })
}

fn already_started(run: &Run, message: String) -> Status {
    let detail = WorkflowExecutionAlreadyStartedFailure {
        start_request_id: run.record.request_id.clone(),
        run_id: run.record.run_id.clone(),
        first_execution_run_id: run.started().first_execution_run_id.clone(),
    };
    Status::with_detail(Code::AlreadyExists, message, "temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure", &detail)
}

impl World {
    fn conflict(&mut self, env: &Env, request: &api::StartWorkflowExecutionRequest) -> Result<Conflict, Status> {
        let Some(key) = self.current(env, &request.workflow_id)? else { return Ok(Conflict::Free) };
        let Some(run) = self.runs.get(&key) else { return Ok(Conflict::Free) };
        if !request.request_id.is_empty() && run.record.request_id == request.request_id {
            return Ok(Conflict::Existing(key, true));
        }
        let (id, run_id) = (&request.workflow_id, &run.record.run_id);
        let reuse = request.workflow_id_reuse_policy();
        if run.is_open() {
            return match request.workflow_id_conflict_policy() {
                WorkflowIdConflictPolicy::UseExisting => Ok(Conflict::Existing(key, false)),
                WorkflowIdConflictPolicy::TerminateExisting => Ok(Conflict::Terminate(key)),
                WorkflowIdConflictPolicy::Unspecified if reuse == WorkflowIdReusePolicy::TerminateIfRunning => Ok(Conflict::Terminate(key)),
                _ => Err(already_started(run, format!("Workflow execution is already running. WorkflowId: {id}, RunId: {run_id}."))),
            };
        }
        let done = run.record.status == WorkflowExecutionStatus::Completed as i32;
        match reuse {
            WorkflowIdReusePolicy::RejectDuplicate => Err(already_started(
                run,
                format!(
                    "Workflow execution already finished. WorkflowId: {id}, RunId: {run_id}. \
                     Workflow Id reuse policy: reject duplicate workflow Id."
                ),
            )),
            WorkflowIdReusePolicy::AllowDuplicateFailedOnly if done => Err(already_started(
                run,
                format!(
                    "Workflow execution already finished successfully. WorkflowId: {id}, RunId: {run_id}. \
                     Workflow Id reuse policy: allow duplicate workflow Id if last run failed."
                ),
            )),
            _ => Ok(Conflict::Free),
        }
    }

    pub fn start(&mut self, env: &Env, request: api::StartWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        check_start(&request)?;
        let identity = request.request_eager_execution.then(|| request.identity.clone());
        let (key, started) = self.start_checked(env, request, None)?;
        // Handed out with the start's own commit; a start that is put off has no task yet.
        let eager_workflow_task = match identity {
            Some(identity) if started => self.take_workflow_task(env, key, &identity)?,
            _ => None,
        };
        let Some(run) = self.runs.get(&key) else { return Err(Status::new(Code::Internal, "the run has gone")) };
        Ok(Some(
            api::StartWorkflowExecutionResponse {
                eager_workflow_task,
                run_id: run.record.run_id.clone(),
                first_execution_run_id: run.started().first_execution_run_id.clone(),
                started,
                status: run.record.status,
                ..Default::default()
            }
            .into(),
        ))
    }

    /// Starts a run unless its id is in use, as the policies say. Answers the run and whether it is the request's own.
    pub fn start_checked(
        &mut self,
        env: &Env,
        request: api::StartWorkflowExecutionRequest,
        parent: Option<Parent>,
    ) -> Result<(RunKey, bool), Status> {
        self.start_with(env, request, parent, |_| {})
    }

    /// The same; `prepare` does what is to happen in a new run before its first task.
    fn start_with(
        &mut self,
        env: &Env,
        mut request: api::StartWorkflowExecutionRequest,
        parent: Option<Parent>,
        prepare: impl FnOnce(&mut Run),
    ) -> Result<(RunKey, bool), Status> {
        let run_id = (env.new_id)();
        self.attributes.complete(&mut request.search_attributes).map_err(|refused| invalid(refused.text(|text| text)))?;
        drop_removed(&mut request.search_attributes, &mut request.memo);
        match self.conflict(env, &request)? {
            Conflict::Existing(key, started) => return Ok((key, started)),
            Conflict::Terminate(key) => {
                if let Some(run) = self.run_mut(key) {
                    let details = encoded(&format!("terminated by new runID: {run_id}"));
                    run.terminate(env.now, "TerminateIfRunning WorkflowIdReusePolicy".into(), details, "history-service".into());
                }
            }
            Conflict::Free => {}
        }
        let queue = request.task_queue.unwrap_or_default();
        let run_timeout = limited_run_timeout(request.workflow_run_timeout, &request.workflow_execution_timeout);
        let first_workflow_task_backoff = match cron::pause(&request.cron_schedule, env.now, env.now) {
            Some(pause) => duration(pause),
            None => request.workflow_start_delay.unwrap_or_default(),
        };
        let mut attributes = WorkflowExecutionStartedEventAttributes {
            workflow_type: request.workflow_type,
            task_queue: Some(temporalio_protos::temporal::api::taskqueue::v1::TaskQueue {
                name: queue.name,
                kind: TaskQueueKind::Normal as i32,
                ..Default::default()
            }),
            input: request.input,
            workflow_execution_timeout: request.workflow_execution_timeout,
            workflow_run_timeout: run_timeout,
            workflow_task_timeout: Some(limited_task_timeout(&request.workflow_task_timeout, &run_timeout)),
            original_execution_run_id: run_id.clone(),
            first_execution_run_id: run_id.clone(),
            identity: request.identity,
            retry_policy: request.retry_policy.map(|policy| with_defaults(Some(policy))),
            attempt: 1,
            initiator: if request.cron_schedule.is_empty() { 0 } else { ContinueAsNewInitiator::CronSchedule as i32 },
            first_workflow_task_backoff: Some(first_workflow_task_backoff),
            eager_execution_accepted: request.request_eager_execution && length(&Some(first_workflow_task_backoff)) == 0,
            cron_schedule: request.cron_schedule,
            memo: request.memo,
            search_attributes: request.search_attributes,
            header: request.header,
            workflow_id: request.workflow_id.clone(),
            continued_failure: request.continued_failure,
            last_completion_result: request.last_completion_result,
            priority: request.priority,
            ..Default::default()
        };
        if let Some(parent) = parent {
            attributes.parent_workflow_namespace.clone_from(&parent.namespace);
            attributes.parent_workflow_namespace_id = parent.namespace;
            attributes.parent_workflow_execution = Some(parent.execution);
            attributes.parent_initiated_event_id = parent.initiated_event_id;
            attributes.root_workflow_execution = Some(parent.root);
        }
        let first = First { workflow_id: request.workflow_id, run_id, attributes, request_id: request.request_id, execution_deadline: 0 };
        let key = self.begin(env, first, prepare);
        if let Some(run) = self.runs.get_mut(&key) {
            run.record.user_metadata = request.user_metadata.clone();
            if let (Some(event), Some(metadata)) = (run.tail.first_mut(), request.user_metadata) {
                event.user_metadata = Some(metadata);
            }
        }
        Ok((key, true))
    }

    /// Makes a run of its first event; `prepare` does what is to happen before its first task.
    pub fn begin(&mut self, env: &Env, first: First, prepare: impl FnOnce(&mut Run)) -> RunKey {
        let First { workflow_id, run_id, mut attributes, request_id, execution_deadline } = first;
        let key = self.next_key;
        self.next_key += 1;
        let mut run = Run::new(key, workflow_id, run_id, env.now);
        let delay = length(&attributes.first_workflow_task_backoff);
        let execution_timeout = length(&attributes.workflow_execution_timeout);
        if execution_deadline > 0 {
            run.record.execution_deadline = execution_deadline;
        } else if execution_timeout > 0 {
            run.record.execution_deadline = env.now.saturating_add(execution_timeout).saturating_add(delay);
        }
        if run.record.execution_deadline > 0 {
            attributes.workflow_execution_expiration_time = Some(timestamp(run.record.execution_deadline));
        }
        if length(&attributes.workflow_run_timeout) > 0 {
            run.record.run_deadline = env.now.saturating_add(length(&attributes.workflow_run_timeout)).saturating_add(delay);
            if run.record.execution_deadline > 0 {
                run.record.run_deadline = run.record.run_deadline.min(run.record.execution_deadline);
            }
        }
        run.record.request_id = request_id;
        let kept = WorkflowExecutionStartedEventAttributes { input: None, header: None, continued_failure: None, ..attributes.clone() };
        run.add(env.now, Attributes::WorkflowExecutionStartedEventAttributes(attributes));
        run.attributes_changed = kept.search_attributes.is_some() || kept.parent_workflow_execution.is_some();
        run.record.started = Some(kept);
        if delay > 0 {
            run.record.first_task_time = env.now.saturating_add(delay);
        }
        prepare(&mut run);
        run.schedule_task(env.now);
        self.insert(run);
        key
    }

    pub fn signal_with_start(&mut self, env: &Env, request: api::SignalWithStartWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        if request.signal_name.is_empty() {
            return Err(invalid("signal not set"));
        }
        check_length("SignalName", &request.signal_name)?;
        if request.workflow_type.as_ref().is_none_or(|kind| kind.name.is_empty()) {
            return Err(invalid("workflow type not set"));
        }
        if request.workflow_id_conflict_policy() == WorkflowIdConflictPolicy::Fail {
            return Err(invalid("Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation."));
        }
        check_blob("SignalWithStartWorkflowExecutionRequest.SignalInput", &request.signal_input)?;
        // The reuse policy that terminates says by itself what becomes of a running workflow.
        let policy = match (request.workflow_id_conflict_policy, request.workflow_id_reuse_policy()) {
            (0, reuse) if reuse != WorkflowIdReusePolicy::TerminateIfRunning => WorkflowIdConflictPolicy::UseExisting as i32,
            (policy, _) => policy,
        };
        let start = api::StartWorkflowExecutionRequest {
            namespace: request.namespace,
            workflow_id: request.workflow_id,
            workflow_type: request.workflow_type,
            task_queue: request.task_queue,
            input: request.input,
            workflow_execution_timeout: request.workflow_execution_timeout,
            workflow_run_timeout: request.workflow_run_timeout,
            workflow_task_timeout: request.workflow_task_timeout,
            identity: request.identity.clone(),
            request_id: request.request_id.clone(),
            workflow_id_reuse_policy: request.workflow_id_reuse_policy,
            workflow_id_conflict_policy: policy,
            retry_policy: request.retry_policy,
            cron_schedule: request.cron_schedule,
            memo: request.memo,
            search_attributes: request.search_attributes,
            header: request.header.clone(),
            workflow_start_delay: request.workflow_start_delay,
            user_metadata: request.user_metadata,
            priority: request.priority,
            ..Default::default()
        };
        check_start(&start)?;
        let mut signal = Some(WorkflowExecutionSignaledEventAttributes {
            signal_name: request.signal_name,
            input: request.signal_input,
            identity: request.identity,
            request_id: request.request_id,
            header: request.header,
            ..Default::default()
        });
        let mut send = |run: &mut Run| {
            if let Some(signal) = signal.take().filter(|_| run.is_open()) {
                run.signal(env.now, signal);
            }
        };
        let (key, started) = self.start_with(env, start, None, &mut send)?;
        let Some(run) = self.run_mut(key) else { return Err(Status::new(Code::Internal, "the run has gone")) };
        // One that runs already has not got it. If it still waits for its first task, it waits no longer.
        let first_task_time = std::mem::take(&mut run.record.first_task_time);
        send(run);
        if run.record.task.is_none() || started {
            run.record.first_task_time = first_task_time;
        }
        Ok(Some(
            api::SignalWithStartWorkflowExecutionResponse {
                run_id: run.record.run_id.clone(),
                first_execution_run_id: run.started().first_execution_run_id.clone(),
                started,
                ..Default::default()
            }
            .into(),
        ))
    }

    pub fn signal(&mut self, env: &Env, request: api::SignalWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        check_id("SignalName", &request.signal_name)?;
        check_length("RequestId", &request.request_id)?;
        check_blob("SignalWorkflowExecutionRequest.Input", &request.input)?;
        let run = self.find_open(env, &request.workflow_execution)?;
        let signal = WorkflowExecutionSignaledEventAttributes {
            signal_name: request.signal_name,
            input: request.input,
            identity: request.identity,
            request_id: request.request_id,
            header: request.header,
            ..Default::default()
        };
        run.signal(env.now, signal);
        Ok(Some(api::SignalWorkflowExecutionResponse::default().into()))
    }

    pub fn request_cancel(&mut self, env: &Env, request: api::RequestCancelWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let key = self.find(env, &request.workflow_execution)?;
        let Some(run) = self.run_mut(key) else { return Err(not_found("the run has gone")) };
        check_chain(run, &request.first_execution_run_id)?;
        // A workflow that has ended needs no cancellation: that is no error.
        run.ask_to_cancel(
            env.now,
            WorkflowExecutionCancelRequestedEventAttributes { cause: request.reason, identity: request.identity, ..Default::default() },
        );
        Ok(Some(api::RequestCancelWorkflowExecutionResponse::default().into()))
    }

    pub fn terminate(&mut self, env: &Env, request: api::TerminateWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let run = self.find_open(env, &request.workflow_execution)?;
        check_chain(run, &request.first_execution_run_id)?;
        check_blob("TerminateWorkflowExecutionRequest.Details", &request.details)?;
        let reason = if request.reason.is_empty() { NO_REASON.to_owned() } else { request.reason };
        run.terminate(env.now, reason, request.details, request.identity);
        Ok(Some(api::TerminateWorkflowExecutionResponse::default().into()))
    }
}

pub fn check_chain(run: &Run, first_execution_run_id: &str) -> Result<(), Status> {
    if !first_execution_run_id.is_empty() && run.started().first_execution_run_id != first_execution_run_id {
        return Err(not_found("workflow execution not found"));
    }
    Ok(())
}
