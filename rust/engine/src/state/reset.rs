//! Reset: a new run that shares the history of an old one up to a workflow task and goes on from there.
//!
//! What the new run is comes from the shared events alone, so they are applied to an empty run one by one. Signals and updates that came
//! after the point are brought again, and so are the ends of children that were started before it.

use temporalio_protos::temporal::api::{
    enums::v1::{
        EventType, ResetReapplyExcludeType as Exclude, ResetReapplyType, RetryState, UpdateAdmittedEventOrigin,
        WorkflowTaskFailedCause as Cause,
    },
    failure::v1::{Failure, ResetWorkflowFailureInfo, failure::FailureInfo},
    history::v1::{
        ActivityTaskFailedEventAttributes, HistoryEvent, WorkflowExecutionUpdateAdmittedEventAttributes, WorkflowTaskFailedEventAttributes,
        history_event::Attributes,
    },
    update::v1::Request,
    workflowservice::v1 as api,
};

use super::{
    limit::{check_length, invalid, not_found},
    run::{Ready, Run, RunKey},
    time::{Nanos, length},
    update::update_id,
    world::{Answer, Env, World},
};
use durable_client::Status;

/// The service's name in what it ends for a reset.
pub const RESETTER: &str = "history-resetter";
const SERVICE: &str = "history-service";

/// What a caller wants not to be brought again.
#[derive(Clone, Copy)]
struct Excluded {
    signals: bool,
    updates: bool,
}

impl Excluded {
    fn of(request: &api::ResetWorkflowExecutionRequest) -> Excluded {
        let has = |kind: Exclude| request.reset_reapply_exclude_types.contains(&(kind as i32));
        let only = request.reset_reapply_type();
        Excluded {
            signals: has(Exclude::Signal) || only == ResetReapplyType::None,
            updates: has(Exclude::Update) || matches!(only, ResetReapplyType::None | ResetReapplyType::Signal),
        }
    }
}

fn reset_failure(reason: &str) -> Failure {
    Failure {
        message: reason.into(),
        failure_info: Some(FailureInfo::ResetWorkflowFailureInfo(ResetWorkflowFailureInfo::default())),
        ..Default::default()
    }
}

impl Run {
    /// Ends the task at the point of the reset as failed, which is how workers learn of it.
    fn fail_task_for_reset(&mut self, env: &Env, base_run_id: &str, reason: &str) -> Result<(), Status> {
        let finish = self.record.next_event_id;
        let identity = SERVICE.to_owned();
        if self.record.task.as_ref().is_some_and(|task| !task.is_started()) {
            self.start_task(env.now, SERVICE, (env.new_id)(), 0);
        }
        let Some(task) = self.record.task.take() else {
            return Err(invalid(format!(
                "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {finish}"
            )));
        };
        let new_run_id = self.record.run_id.clone();
        self.add(
            env.now,
            Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
                scheduled_event_id: task.scheduled_event_id,
                started_event_id: task.started_event_id,
                cause: Cause::ResetWorkflow as i32,
                failure: Some(reset_failure(reason)),
                identity,
                base_run_id: base_run_id.into(),
                new_run_id,
                ..Default::default()
            }),
        );
        Ok(())
    }

    /// Activities that were not started begin anew; of one that was, nobody here would hear the end.
    fn begin_activities_anew(&mut self, now: Nanos, reason: &str) {
        let pending: Vec<i64> = self.activities.keys().copied().collect();
        for id in pending {
            let Some(activity) = self.activities.get_mut(&id) else { continue };
            self.dirty_activities.insert(id);
            if activity.started_time == 0 {
                activity.scheduled_time = now;
                activity.attempt_time = now;
                self.ready.push(Ready::Activity(id));
                continue;
            }
            let started_event_id = activity.started_event_id;
            let identity = activity.identity.clone();
            self.activities.remove(&id);
            self.add(
                now,
                Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
                    failure: Some(reset_failure(reason)),
                    scheduled_event_id: id,
                    started_event_id,
                    identity,
                    retry_state: RetryState::NonRetryableFailure as i32,
                    ..Default::default()
                }),
            );
        }
    }

    /// The times of the new run count from the reset.
    fn renew_deadlines(&mut self, now: Nanos) {
        let (execution, run) = (length(&self.started().workflow_execution_timeout), length(&self.started().workflow_run_timeout));
        let after = |timeout: Nanos| if timeout > 0 { now.saturating_add(timeout) } else { 0 };
        self.record.execution_deadline = after(execution);
        self.record.run_deadline = match (after(run), after(execution)) {
            (run, 0) | (run @ 0, _) => run,
            (run, execution) => run.min(execution),
        };
    }

    /// Brings an event of the old run again, if it is of a kind that outlives the reset.
    fn bring_again(&mut self, now: Nanos, event: HistoryEvent, excluded: Excluded) {
        match event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) if !excluded.signals => {
                self.add(now, Attributes::WorkflowExecutionSignaledEventAttributes(signal));
            }
            Some(Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(admitted)) if !excluded.updates => {
                self.admit_by_event(now, admitted.request);
            }
            // The event has a request only if no admitted event came before it.
            Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted)) if !excluded.updates => {
                self.admit_by_event(now, accepted.accepted_request);
            }
            Some(attributes) => {
                let mut again = HistoryEvent { attributes: Some(attributes), ..Default::default() };
                let Some((initiated, started)) = super::history::end_ids(&mut again) else { return };
                let Some(child) = self.record.children.remove(&initiated) else { return };
                *started = child.started_event_id;
                if let Some(attributes) = again.attributes {
                    self.add(now, attributes);
                }
            }
            None => {}
        }
    }

    fn admit_by_event(&mut self, now: Nanos, request: Option<Request>) {
        let Some(request) = request else { return };
        self.add(
            now,
            Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(WorkflowExecutionUpdateAdmittedEventAttributes {
                request: Some(request.clone()),
                origin: UpdateAdmittedEventOrigin::Reapply as i32,
            }),
        );
        self.adopt_admitted_update(&update_id(&request));
    }
}

impl World {
    pub fn reset(&mut self, env: &Env, request: api::ResetWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        if request.request_id.is_empty() {
            return Err(invalid("RequestId is not set on request."));
        }
        check_length("RequestId", &request.request_id)?;
        let base = self.find(env, &request.workflow_execution)?;
        let finish = request.workflow_task_finish_event_id;
        let Some(run) = self.runs.get(&base) else { return Err(not_found("the run has gone")) };
        let (workflow_id, base_run_id) = (run.record.workflow_id.clone(), run.record.run_id.clone());
        if finish <= 1 || finish >= run.record.next_event_id {
            return Err(invalid("Workflow task finish ID must be > 1 && <= workflow last event ID."));
        }
        let current = self.current(env, &workflow_id)?.unwrap_or(base);
        if let Some(run) = self.runs.get(&current).filter(|run| run.record.reset_request_id == request.request_id) {
            return Ok(Some(api::ResetWorkflowExecutionResponse { run_id: run.record.run_id.clone() }.into()));
        }
        let run_id = (env.new_id)();
        let mut shared = self.all_events(env, base)?;
        let after = shared.split_off(usize::try_from(finish - 1).unwrap_or(usize::MAX).min(shared.len()));
        let mut fresh = Run::new(self.next_key, workflow_id, run_id.clone(), env.now);
        for event in shared {
            fresh.apply_event(event);
        }
        fresh.ready.clear();
        fresh.record.request_id = self.runs.get(&base).map(|run| run.record.request_id.clone()).unwrap_or_default();
        fresh.record.reset_request_id = request.request_id.clone();
        fresh.renew_deadlines(env.now);
        fresh.fail_task_for_reset(env, &base_run_id, &request.reason)?;
        fresh.begin_activities_anew(env.now, &request.reason);
        let excluded = Excluded::of(&request);
        if !(excluded.signals && excluded.updates) {
            self.bring_chain_again(env, &mut fresh, after, excluded);
        }
        fresh.schedule_task(env.now);
        self.next_key += 1;
        if let Some(run) = self.run_mut(base) {
            run.record.reset_run_id.clone_from(&run_id);
            run.dirty = true;
        }
        if let Some(run) = self.run_mut(current).filter(|run| run.is_open()) {
            run.terminate(env.now, request.reason, None, RESETTER.into());
        }
        self.insert(fresh);
        Ok(Some(api::ResetWorkflowExecutionResponse { run_id }.into()))
    }

    /// Brings again what came after the point, also to the runs that continued the old one.
    fn bring_chain_again(&mut self, env: &Env, fresh: &mut Run, mut events: Vec<HistoryEvent>, excluded: Excluded) {
        loop {
            let next = match events.last().and_then(|event| event.attributes.as_ref()) {
                Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(end)) => end.new_execution_run_id.clone(),
                _ => String::new(),
            };
            for event in events {
                fresh.bring_again(env.now, event, excluded);
            }
            let execution = temporalio_protos::temporal::api::common::v1::WorkflowExecution {
                workflow_id: fresh.record.workflow_id.clone(),
                run_id: next.clone(),
            };
            if next.is_empty() {
                return;
            }
            // A run that was deleted ends the chain.
            let Ok(key) = self.find(env, &Some(execution)) else { return };
            let Ok(more) = self.all_events(env, key) else { return };
            events = more;
        }
    }

    fn all_events(&self, env: &Env, key: RunKey) -> Result<Vec<HistoryEvent>, Status> {
        let Some(run) = self.runs.get(&key) else { return Err(not_found("the run has gone")) };
        let mut events: Vec<HistoryEvent> = Vec::new();
        let end = run.record.next_event_id;
        let mut next = 1;
        while next < end {
            let (page, after) = self.events_page(env, run, next, end, usize::MAX)?;
            events.extend(page);
            next = after;
        }
        Ok(events)
    }

    /// The run that took the place of a run that was reset, else the run itself.
    pub fn after_resets(&mut self, env: &Env, mut key: RunKey) -> RunKey {
        // Run keys only grow along resets.
        while let Some(run) = self.runs.get(&key).filter(|run| !run.is_open() && !run.record.reset_run_id.is_empty()) {
            let execution = temporalio_protos::temporal::api::common::v1::WorkflowExecution {
                workflow_id: run.record.workflow_id.clone(),
                run_id: run.record.reset_run_id.clone(),
            };
            match self.find(env, &Some(execution)) {
                Ok(next) if next > key => key = next,
                _ => break,
            }
        }
        key
    }
}

/// Whether a run was ended by a reset and goes on as another.
pub fn was_reset(run: &Run) -> bool {
    let Some(event) = run.tail.last().filter(|event| event.event_type() == EventType::WorkflowExecutionTerminated) else { return false };
    matches!(&event.attributes, Some(Attributes::WorkflowExecutionTerminatedEventAttributes(end)) if end.identity == RESETTER)
}
