//! What a run asks of other runs: children to start, signals and cancel requests to deliver; and what its end means for them.
//!
//! One writer owns all runs, so the request, its effect and the event that confirms it are one transaction: a crash leaves
//! either all of them or none.

use durable_client::Code;
use temporalio_protos::temporal::api::{
    command::v1::{
        RequestCancelExternalWorkflowExecutionCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
        StartChildWorkflowExecutionCommandAttributes, command::Attributes as C,
    },
    common::v1::{WorkflowExecution, WorkflowType},
    enums::v1::{
        CancelExternalWorkflowExecutionFailedCause as CancelCause, ParentClosePolicy,
        SignalExternalWorkflowExecutionFailedCause as SignalCause, StartChildWorkflowExecutionFailedCause as StartCause, TaskQueueKind,
        WorkflowIdReusePolicy, WorkflowTaskFailedCause as Cause,
    },
    history::v1::{
        ChildWorkflowExecutionCanceledEventAttributes, ChildWorkflowExecutionCompletedEventAttributes,
        ChildWorkflowExecutionFailedEventAttributes, ChildWorkflowExecutionStartedEventAttributes,
        ChildWorkflowExecutionTerminatedEventAttributes, ChildWorkflowExecutionTimedOutEventAttributes,
        ExternalWorkflowExecutionCancelRequestedEventAttributes, ExternalWorkflowExecutionSignaledEventAttributes,
        RequestCancelExternalWorkflowExecutionFailedEventAttributes, RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
        SignalExternalWorkflowExecutionFailedEventAttributes, SignalExternalWorkflowExecutionInitiatedEventAttributes,
        StartChildWorkflowExecutionFailedEventAttributes, StartChildWorkflowExecutionInitiatedEventAttributes,
        WorkflowExecutionCancelRequestedEventAttributes, WorkflowExecutionSignaledEventAttributes, history_event::Attributes,
    },
    sdk::v1::UserMetadata,
    taskqueue::v1::TaskQueue,
    workflowservice::v1 as api,
};

use super::{
    command::{Refusal, check_retry_policy, with_defaults},
    limit::{MAX_ID_LENGTH, MAX_PENDING_CHILDREN},
    record::ChildRecord,
    reset::was_reset,
    run::{Run, RunKey},
    start::{Parent, check_cron, check_priority, inherited_priority},
    time::{Nanos, duration, is_negative, length},
    world::{Env, World},
};

/// The service's own name in the events that it makes in other runs.
const SERVICE: &str = "history-service";
const CLOSE_POLICY: &str = "by parent close policy";

/// A request to another run, by the event that recorded it.
pub enum Outgoing {
    Child(i64, Box<StartChildWorkflowExecutionCommandAttributes>, Option<UserMetadata>),
    Signal(i64, Box<SignalExternalWorkflowExecutionCommandAttributes>),
    Cancel(i64, Box<RequestCancelExternalWorkflowExecutionCommandAttributes>),
}

/// Checks a command that concerns another run; `children` is how many are pending with it.
pub fn check_outgoing(namespace: &str, attributes: &C, children: usize) -> Result<(), Refusal> {
    match attributes {
        C::StartChildWorkflowExecutionCommandAttributes(child) => {
            if children > MAX_PENDING_CHILDREN {
                return Err((
                    Cause::PendingChildWorkflowsLimitExceeded,
                    format!("more than {MAX_PENDING_CHILDREN} child workflows are pending"),
                ));
            }
            check_child(namespace, child)
        }
        C::SignalExternalWorkflowExecutionCommandAttributes(signal) => {
            let bad = |text: &str| Err((Cause::BadSignalWorkflowExecutionAttributes, text.to_owned()));
            let target = signal.execution.clone().unwrap_or_default();
            if signal.signal_name.is_empty() {
                return bad("SignalName is not set on SignalExternalWorkflowExecutionCommand");
            }
            check_target(namespace, &signal.namespace, &target).or_else(|text| bad(&text))
        }
        C::RequestCancelExternalWorkflowExecutionCommandAttributes(cancel) => {
            let target = WorkflowExecution { workflow_id: cancel.workflow_id.clone(), run_id: cancel.run_id.clone() };
            check_target(namespace, &cancel.namespace, &target)
                .map_err(|text| (Cause::BadRequestCancelExternalWorkflowExecutionAttributes, text))
        }
        _ => Ok(()),
    }
}

fn check_target(own: &str, namespace: &str, target: &WorkflowExecution) -> Result<(), String> {
    if !namespace.is_empty() && namespace != own {
        return Err(format!("Namespace {namespace} is not found: one file of the embedded engine has the namespace {own} only"));
    }
    if target.workflow_id.is_empty() {
        return Err("WorkflowId is not set on the command".into());
    }
    if target.workflow_id.len() > MAX_ID_LENGTH {
        return Err(format!("WorkflowId is longer than {MAX_ID_LENGTH} bytes"));
    }
    if !target.run_id.is_empty() && uuid::Uuid::parse_str(&target.run_id).is_err() {
        return Err("Invalid RunId set on the command".into());
    }
    Ok(())
}

fn check_child(namespace: &str, child: &StartChildWorkflowExecutionCommandAttributes) -> Result<(), Refusal> {
    let bad = |text: String| Err((Cause::BadStartChildExecutionAttributes, text));
    let target = WorkflowExecution { workflow_id: child.workflow_id.clone(), run_id: String::new() };
    check_target(namespace, &child.namespace, &target).or_else(bad)?;
    let name = child.workflow_type.as_ref().map_or("", |kind| kind.name.as_str());
    let queue = child.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
    if name.is_empty() {
        return bad("WorkflowType is not set on StartChildWorkflowExecutionCommand".into());
    }
    if name.len() > MAX_ID_LENGTH || queue.len() > MAX_ID_LENGTH {
        return bad(format!("a name of child workflow {} is longer than {MAX_ID_LENGTH} bytes", child.workflow_id));
    }
    let timeouts = [&child.workflow_execution_timeout, &child.workflow_run_timeout, &child.workflow_task_timeout];
    if timeouts.iter().any(|timeout| is_negative(timeout)) {
        return bad(format!("a timeout of child workflow {} is negative", child.workflow_id));
    }
    check_cron(&child.cron_schedule).or_else(bad)?;
    check_priority(&child.priority).map_err(|status| status.message).or_else(bad)?;
    check_retry_policy(&child.retry_policy).or_else(bad)
}

impl Run {
    /// Records a command that concerns another run.
    pub fn initiate(
        &mut self,
        now: Nanos,
        namespace: &str,
        attributes: C,
        metadata: &Option<UserMetadata>,
        completed: i64,
    ) -> Option<Outgoing> {
        Some(match attributes {
            C::StartChildWorkflowExecutionCommandAttributes(mut child) => {
                self.complete_child(namespace, &mut child);
                let id = self.add(now, child_initiated(namespace, &child, completed));
                Outgoing::Child(id, Box::new(child), metadata.clone())
            }
            C::SignalExternalWorkflowExecutionCommandAttributes(signal) => {
                let initiated = SignalExternalWorkflowExecutionInitiatedEventAttributes {
                    workflow_task_completed_event_id: completed,
                    namespace: namespace.into(),
                    namespace_id: namespace.into(),
                    workflow_execution: signal.execution.clone(),
                    signal_name: signal.signal_name.clone(),
                    input: signal.input.clone(),
                    control: signal.control.clone(),
                    child_workflow_only: signal.child_workflow_only,
                    header: signal.header.clone(),
                };
                let id = self.add(now, Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(initiated));
                Outgoing::Signal(id, Box::new(signal))
            }
            C::RequestCancelExternalWorkflowExecutionCommandAttributes(cancel) => {
                let initiated = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
                    workflow_task_completed_event_id: completed,
                    namespace: namespace.into(),
                    namespace_id: namespace.into(),
                    workflow_execution: Some(WorkflowExecution { workflow_id: cancel.workflow_id.clone(), run_id: cancel.run_id.clone() }),
                    control: cancel.control.clone(),
                    child_workflow_only: cancel.child_workflow_only,
                    reason: cancel.reason.clone(),
                };
                let id = self.add(now, Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(initiated));
                Outgoing::Cancel(id, Box::new(cancel))
            }
            _ => return None,
        })
    }

    /// What the command leaves open is as in the parent, or the service's default.
    fn complete_child(&self, namespace: &str, child: &mut StartChildWorkflowExecutionCommandAttributes) {
        child.namespace = namespace.into();
        if child.task_queue.as_ref().is_none_or(|queue| queue.name.is_empty()) {
            child.task_queue = Some(TaskQueue { name: self.task_queue().into(), ..Default::default() });
        }
        if let Some(queue) = child.task_queue.as_mut() {
            queue.kind = TaskQueueKind::Normal as i32;
        }
        let execution = length(&child.workflow_execution_timeout);
        let run = match length(&child.workflow_run_timeout) {
            0 => execution,
            run if execution > 0 => run.min(execution),
            run => run,
        };
        let task = match length(&child.workflow_task_timeout) {
            0 => super::workflow_task::DEFAULT_TASK_TIMEOUT,
            task => task,
        };
        child.retry_policy = child.retry_policy.take().map(|policy| with_defaults(Some(policy)));
        child.memo = child.memo.take().filter(|memo| !memo.fields.is_empty());
        child.workflow_run_timeout = Some(duration(run));
        child.workflow_task_timeout = Some(duration(if run > 0 { task.min(run) } else { task }));
        if child.parent_close_policy() == ParentClosePolicy::Unspecified {
            child.parent_close_policy = ParentClosePolicy::Terminate as i32;
        }
        if child.workflow_id_reuse_policy() == WorkflowIdReusePolicy::Unspecified {
            child.workflow_id_reuse_policy = WorkflowIdReusePolicy::AllowDuplicate as i32;
        }
    }

    /// An event that answers a request of this run; the workflow is woken for it.
    fn answer(&mut self, now: Nanos, attributes: Attributes) -> Option<i64> {
        let id = self.add_outside(now, attributes);
        self.schedule_task(now);
        id
    }

    fn execution(&self) -> WorkflowExecution {
        WorkflowExecution { workflow_id: self.record.workflow_id.clone(), run_id: self.record.run_id.clone() }
    }

    /// Whether this run was started by the run `parent`, or by one that `parent` took the place of in a reset.
    fn is_child_of(&self, parent: &WorkflowExecution, original_run_id: &str) -> bool {
        let own = self.started().parent_workflow_execution.as_ref();
        own.is_some_and(|own| own.workflow_id == parent.workflow_id && [parent.run_id.as_str(), original_run_id].contains(&&*own.run_id))
    }

    pub fn ask_to_cancel(&mut self, now: Nanos, attributes: WorkflowExecutionCancelRequestedEventAttributes) {
        if self.is_open() && !self.record.cancel_requested {
            self.record.cancel_requested = true;
            self.add_outside(now, Attributes::WorkflowExecutionCancelRequestedEventAttributes(attributes));
            self.schedule_task(now);
        }
    }
}

fn child_initiated(namespace: &str, child: &StartChildWorkflowExecutionCommandAttributes, completed: i64) -> Attributes {
    Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(StartChildWorkflowExecutionInitiatedEventAttributes {
        namespace: namespace.into(),
        namespace_id: namespace.into(),
        workflow_id: child.workflow_id.clone(),
        workflow_type: child.workflow_type.clone(),
        task_queue: child.task_queue.clone(),
        input: child.input.clone(),
        workflow_execution_timeout: child.workflow_execution_timeout,
        workflow_run_timeout: child.workflow_run_timeout,
        workflow_task_timeout: child.workflow_task_timeout,
        parent_close_policy: child.parent_close_policy,
        control: child.control.clone(),
        workflow_task_completed_event_id: completed,
        workflow_id_reuse_policy: child.workflow_id_reuse_policy,
        retry_policy: child.retry_policy.clone(),
        cron_schedule: child.cron_schedule.clone(),
        header: child.header.clone(),
        memo: child.memo.clone(),
        search_attributes: child.search_attributes.clone(),
        inherit_build_id: child.inherit_build_id,
        priority: child.priority.clone(),
        versioning_override: child.versioning_override.clone(),
        ..Default::default()
    })
}

impl World {
    /// Does what a run asked of another one. A run that ended with the request starts only children that outlive it.
    pub fn send(&mut self, env: &Env, from: RunKey, outgoing: Outgoing) {
        let open = self.runs.get(&from).is_some_and(Run::is_open);
        match outgoing {
            Outgoing::Child(initiated, child, metadata) => {
                if open || child.parent_close_policy() == ParentClosePolicy::Abandon {
                    self.start_child(env, from, initiated, *child, metadata);
                }
            }
            Outgoing::Signal(initiated, signal) if open => self.signal_external(env, from, initiated, *signal),
            Outgoing::Cancel(initiated, cancel) if open => self.cancel_external(env, from, initiated, *cancel),
            Outgoing::Signal(..) | Outgoing::Cancel(..) => {}
        }
    }

    fn start_child(
        &mut self,
        env: &Env,
        from: RunKey,
        initiated: i64,
        child: StartChildWorkflowExecutionCommandAttributes,
        user_metadata: Option<UserMetadata>,
    ) {
        let Some(run) = self.runs.get(&from) else { return };
        let execution = run.execution();
        let parent = Parent {
            namespace: self.namespace.clone(),
            root: run.started().root_workflow_execution.clone().unwrap_or_else(|| execution.clone()),
            execution,
            initiated_event_id: initiated,
        };
        let (header, workflow_type) = (child.header.clone(), child.workflow_type.clone());
        let (workflow_id, policy) = (child.workflow_id.clone(), child.parent_close_policy);
        let request = api::StartWorkflowExecutionRequest {
            workflow_id: child.workflow_id,
            workflow_type: child.workflow_type,
            task_queue: child.task_queue,
            input: child.input,
            workflow_execution_timeout: child.workflow_execution_timeout,
            workflow_run_timeout: child.workflow_run_timeout,
            workflow_task_timeout: child.workflow_task_timeout,
            request_id: (env.new_id)(),
            workflow_id_reuse_policy: child.workflow_id_reuse_policy,
            retry_policy: child.retry_policy,
            cron_schedule: child.cron_schedule,
            memo: child.memo,
            search_attributes: child.search_attributes,
            header: child.header,
            priority: inherited_priority(&run.started().priority, &child.priority),
            user_metadata,
            ..Default::default()
        };
        let started = self.start_checked(env, request, Some(parent));
        let child = started.as_ref().ok().and_then(|(key, _)| self.runs.get(key)).map(Run::execution);
        let namespace = self.namespace.clone();
        let Some(run) = self.run_mut(from).filter(|run| run.is_open()) else { return };
        let Some(execution) = child else {
            let exists = started.is_err_and(|status| status.code == Code::AlreadyExists);
            let cause = if exists { StartCause::WorkflowAlreadyExists } else { StartCause::Unspecified };
            run.answer(
                env.now,
                Attributes::StartChildWorkflowExecutionFailedEventAttributes(StartChildWorkflowExecutionFailedEventAttributes {
                    namespace: namespace.clone(),
                    namespace_id: namespace,
                    workflow_id,
                    workflow_type,
                    cause: cause as i32,
                    initiated_event_id: initiated,
                    ..Default::default()
                }),
            );
            return;
        };
        let record = ChildRecord {
            workflow_id,
            run_id: execution.run_id.clone(),
            workflow_type: workflow_type.as_ref().map_or(String::new(), |kind| kind.name.clone()),
            parent_close_policy: policy,
            started_event_id: 0,
        };
        run.record.children.insert(initiated, record);
        let event = run.answer(
            env.now,
            Attributes::ChildWorkflowExecutionStartedEventAttributes(ChildWorkflowExecutionStartedEventAttributes {
                namespace: namespace.clone(),
                namespace_id: namespace,
                initiated_event_id: initiated,
                workflow_execution: Some(execution),
                workflow_type,
                header,
            }),
        );
        if let (Some(id), Some(record)) = (event, run.record.children.get_mut(&initiated)) {
            record.started_event_id = id;
        }
    }

    /// The open run that a request means. A run is no other workflow to itself.
    fn target(&mut self, env: &Env, from: &WorkflowExecution, target: &WorkflowExecution, child_only: bool) -> Option<RunKey> {
        if target.workflow_id == from.workflow_id {
            return None;
        }
        let key = self.find(env, &Some(target.clone())).ok()?;
        let original =
            self.by_run_id(&from.run_id).and_then(|key| self.runs.get(&key)).map(|run| run.started().original_execution_run_id.as_str());
        let run = self.runs.get(&key)?;
        (!child_only || run.is_child_of(from, original.unwrap_or_default())).then_some(key)
    }

    fn signal_external(&mut self, env: &Env, from: RunKey, initiated: i64, signal: SignalExternalWorkflowExecutionCommandAttributes) {
        let Some(source) = self.runs.get(&from).map(Run::execution) else { return };
        let execution = signal.execution.unwrap_or_default();
        let key = self.target(env, &source, &execution, signal.child_workflow_only);
        let delivered = key.and_then(|key| self.run_mut(key)).filter(|run| run.is_open()).map(|run| {
            run.signal(
                env.now,
                WorkflowExecutionSignaledEventAttributes {
                    signal_name: signal.signal_name,
                    input: signal.input,
                    identity: SERVICE.into(),
                    header: signal.header,
                    external_workflow_execution: Some(source),
                    ..Default::default()
                },
            );
        });
        let (namespace, control) = (self.namespace.clone(), signal.control);
        let Some(run) = self.run_mut(from) else { return };
        run.answer(
            env.now,
            match delivered {
                Some(()) => {
                    Attributes::ExternalWorkflowExecutionSignaledEventAttributes(ExternalWorkflowExecutionSignaledEventAttributes {
                        initiated_event_id: initiated,
                        namespace: namespace.clone(),
                        namespace_id: namespace,
                        workflow_execution: Some(execution),
                        control,
                    })
                }
                None => {
                    Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(SignalExternalWorkflowExecutionFailedEventAttributes {
                        cause: SignalCause::ExternalWorkflowExecutionNotFound as i32,
                        namespace: namespace.clone(),
                        namespace_id: namespace,
                        workflow_execution: Some(execution),
                        initiated_event_id: initiated,
                        control,
                        ..Default::default()
                    })
                }
            },
        );
    }

    fn cancel_external(
        &mut self,
        env: &Env,
        from: RunKey,
        initiated: i64,
        cancel: RequestCancelExternalWorkflowExecutionCommandAttributes,
    ) {
        let Some(source) = self.runs.get(&from).map(Run::execution) else { return };
        let execution = WorkflowExecution { workflow_id: cancel.workflow_id, run_id: cancel.run_id };
        let key = self.target(env, &source, &execution, cancel.child_workflow_only);
        // A workflow that has ended needs no cancellation: that is no failure.
        let delivered = key.and_then(|key| self.run_mut(key)).map(|run| {
            run.ask_to_cancel(
                env.now,
                WorkflowExecutionCancelRequestedEventAttributes {
                    cause: cancel.reason,
                    external_initiated_event_id: initiated,
                    external_workflow_execution: Some(source),
                    identity: SERVICE.into(),
                },
            );
        });
        let namespace = self.namespace.clone();
        let Some(run) = self.run_mut(from) else { return };
        run.answer(
            env.now,
            match delivered {
                Some(()) => Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(
                    ExternalWorkflowExecutionCancelRequestedEventAttributes {
                        initiated_event_id: initiated,
                        namespace: namespace.clone(),
                        namespace_id: namespace,
                        workflow_execution: Some(execution),
                    },
                ),
                None => Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(
                    RequestCancelExternalWorkflowExecutionFailedEventAttributes {
                        cause: CancelCause::ExternalWorkflowExecutionNotFound as i32,
                        namespace: namespace.clone(),
                        namespace_id: namespace,
                        workflow_execution: Some(execution),
                        initiated_event_id: initiated,
                        control: cancel.control,
                        ..Default::default()
                    },
                ),
            },
        );
    }

    /// What the end of a run means for its parent and its children.
    pub fn handle_close(&mut self, env: &Env, key: RunKey) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        if !std::mem::take(&mut run.just_closed) {
            return;
        }
        let by_reset = was_reset(run);
        let mut children = std::mem::take(&mut run.record.children);
        if by_reset && !run.record.reset_run_id.is_empty() {
            // They belong to the run that took its place.
            children.clear();
        }
        let execution = run.execution();
        let parent = run.started().parent_workflow_execution.clone().map(|parent| (parent, run.started().parent_initiated_event_id));
        self.note_closed(key);
        if !by_reset {
            self.tell_schedule(key);
        }
        if let Some((parent, initiated)) = parent.filter(|_| !by_reset) {
            self.tell_parent(env, key, &parent, initiated);
        }
        for child in children.into_values() {
            let target = WorkflowExecution { workflow_id: child.workflow_id.clone(), run_id: String::new() };
            let Some(key) = self.target(env, &execution, &target, true) else { continue };
            let Some(run) = self.run_mut(key).filter(|run| run.is_open()) else { continue };
            match ParentClosePolicy::try_from(child.parent_close_policy) {
                Ok(ParentClosePolicy::Abandon) => {}
                Ok(ParentClosePolicy::RequestCancel) => run.ask_to_cancel(
                    env.now,
                    WorkflowExecutionCancelRequestedEventAttributes {
                        identity: SERVICE.into(),
                        external_workflow_execution: Some(execution.clone()),
                        ..Default::default()
                    },
                ),
                _ => run.terminate(env.now, CLOSE_POLICY.into(), None, SERVICE.into()),
            }
        }
    }

    fn tell_parent(&mut self, env: &Env, child: RunKey, parent: &WorkflowExecution, initiated: i64) {
        let Some(key) = self.find(env, &Some(parent.clone())).ok() else { return };
        let key = self.after_resets(env, key);
        let namespace = self.namespace.clone();
        let started = match self.runs.get(&key) {
            Some(run) if run.is_open() => match run.record.children.get(&initiated) {
                Some(record) => record.started_event_id,
                None => return,
            },
            _ => return,
        };
        let Some(run) = self.runs.get(&child) else { return };
        // A run that goes on as a new one has not ended for its parent.
        if !run.record.new_run_id.is_empty() {
            return;
        }
        let Some(end) = child_end(run, namespace, initiated, started) else { return };
        let Some(run) = self.run_mut(key) else { return };
        run.record.children.remove(&initiated);
        run.answer(env.now, end);
    }
}

/// The parent's event for the end of a child.
fn child_end(child: &Run, namespace: String, initiated_event_id: i64, started_event_id: i64) -> Option<Attributes> {
    let workflow_execution = Some(child.execution());
    let workflow_type = Some(WorkflowType { name: child.workflow_type().into() });
    let namespace_id = namespace.clone();
    macro_rules! end {
        ($event:ident { $($field:ident: $value:expr),* }) => {
            Attributes::$event($event {
                $($field: $value,)*
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        };
    }
    Some(match child.tail.last()?.attributes.clone()? {
        Attributes::WorkflowExecutionCompletedEventAttributes(run) => {
            end!(ChildWorkflowExecutionCompletedEventAttributes { result: run.result })
        }
        Attributes::WorkflowExecutionFailedEventAttributes(run) => {
            end!(ChildWorkflowExecutionFailedEventAttributes { failure: run.failure, retry_state: run.retry_state })
        }
        Attributes::WorkflowExecutionCanceledEventAttributes(run) => {
            end!(ChildWorkflowExecutionCanceledEventAttributes { details: run.details })
        }
        Attributes::WorkflowExecutionTimedOutEventAttributes(run) => {
            end!(ChildWorkflowExecutionTimedOutEventAttributes { retry_state: run.retry_state })
        }
        Attributes::WorkflowExecutionTerminatedEventAttributes(_) => end!(ChildWorkflowExecutionTerminatedEventAttributes {}),
        _ => return None,
    })
}
