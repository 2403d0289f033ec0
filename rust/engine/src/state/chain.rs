//! What follows a run: the rest of one that continues as new, another attempt of one that failed, the next of a cron schedule.

use prost_wkt_types::Duration;
use temporalio_protos::temporal::api::{
    common::v1::{Payloads, RetryPolicy},
    enums::v1::{ContinueAsNewInitiator as Initiator, RetryState, TimeoutType},
    failure::v1::{Failure, TimeoutFailureInfo, failure::FailureInfo},
    history::v1::{
        WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionStartedEventAttributes, WorkflowExecutionTimedOutEventAttributes,
        history_event::Attributes,
    },
};

use super::{
    activity::{backoff, is_retryable},
    cron,
    run::{Run, RunKey},
    start::First,
    time::{Nanos, SECOND, duration, length},
    world::{Env, World},
};

/// The server's `history.workflowIdReuseMinimalInterval`: a chain begins no more than one run in this time, so that a workflow which
/// continues as new for ever does not spin.
pub const MINIMAL_INTERVAL: Nanos = SECOND;

/// The run that a closed one began.
pub enum Following {
    Continued(Box<Continued>),
    Again(Box<Again>),
}

/// The code asked for it.
pub struct Continued {
    pub attributes: WorkflowExecutionContinuedAsNewEventAttributes,
    pub retry_policy: Option<RetryPolicy>,
}

/// The same once more, with the same arguments.
pub struct Again {
    pub run_id: String,
    initiator: Initiator,
    pause: Nanos,
    failure: Option<Failure>,
    last_completion_result: Option<Payloads>,
}

impl Run {
    fn execution_time(&self) -> Nanos {
        self.record.start_time.saturating_add(length(&self.started().first_workflow_task_backoff))
    }

    /// When the next attempt of this run may begin, or why there is none.
    fn retry_pause(&self, now: Nanos, failure: &Failure) -> Result<Nanos, RetryState> {
        let started = self.started();
        let Some(policy) = &started.retry_policy else { return Err(RetryState::RetryPolicyNotSet) };
        if !is_retryable(failure, policy) {
            return Err(RetryState::NonRetryableFailure);
        }
        let attempt = started.attempt.max(1);
        if policy.maximum_attempts > 0 && attempt >= policy.maximum_attempts {
            return Err(RetryState::MaximumAttemptsReached);
        }
        let pause = match &failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) if info.next_retry_delay.is_some() => {
                let longest = length(&policy.maximum_interval);
                let asked = length(&info.next_retry_delay);
                if longest > 0 { asked.min(longest) } else { asked }
            }
            _ => backoff(policy, attempt),
        };
        let expires = self.record.execution_deadline;
        if expires > 0 && now.saturating_add(pause) > expires { Err(RetryState::Timeout) } else { Ok(pause) }
    }

    fn cron_pause(&self, now: Nanos) -> Option<Nanos> {
        let schedule = self.started().cron_schedule.as_str();
        if schedule.is_empty() { None } else { cron::pause(schedule, self.execution_time(), now) }
    }

    /// The cron schedule's next run after one that completed.
    pub fn following_completion(&self, now: Nanos, result: &Option<Payloads>, new_id: &dyn Fn() -> String) -> Option<Again> {
        let pause = self.cron_pause(now)?;
        let last_completion_result = result.clone();
        Some(Again { run_id: new_id(), initiator: Initiator::CronSchedule, pause, failure: None, last_completion_result })
    }

    /// What follows a failed run: another attempt if the policy has one, else the cron schedule's next.
    pub fn following_failure(&self, now: Nanos, failure: &Failure, new_id: &dyn Fn() -> String) -> (RetryState, Option<Again>) {
        let again = |initiator, pause, last_completion_result| {
            let failure = Some(failure.clone());
            Again { run_id: new_id(), initiator, pause, failure, last_completion_result }
        };
        match self.retry_pause(now, failure) {
            Ok(pause) => (RetryState::InProgress, Some(again(Initiator::Retry, pause, None))),
            Err(state) => {
                let last = self.started().last_completion_result.clone();
                (state, self.cron_pause(now).map(|pause| again(Initiator::CronSchedule, pause, last)))
            }
        }
    }

    /// Ends a run whose time is over. An execution whose time is over begins no further run.
    pub fn time_out(&mut self, now: Nanos, new_id: &dyn Fn() -> String) -> Option<Again> {
        let expires = self.record.execution_deadline;
        let (state, mut again) = if expires > 0 && expires <= now {
            (RetryState::Timeout, None)
        } else {
            self.following_failure(now, &run_timeout_failure(), new_id)
        };
        if let Some(again) = again.as_mut() {
            again.last_completion_result.clone_from(&self.started().last_completion_result);
        }
        self.force_close(now);
        self.add(
            now,
            Attributes::WorkflowExecutionTimedOutEventAttributes(WorkflowExecutionTimedOutEventAttributes {
                retry_state: state as i32,
                new_execution_run_id: again.as_ref().map(|again| again.run_id.clone()).unwrap_or_default(),
            }),
        );
        self.record.new_run_id = again.as_ref().map(|again| again.run_id.clone()).unwrap_or_default();
        self.close(now, temporalio_protos::temporal::api::enums::v1::WorkflowExecutionStatus::TimedOut);
        again
    }

    /// The first workflow task of the next run waits so long, at least until this run is a second old.
    fn pause_before_next(&self, now: Nanos, asked: Nanos) -> Nanos {
        let lifetime = now.saturating_sub(self.execution_time());
        if lifetime.saturating_add(asked) < MINIMAL_INTERVAL { MINIMAL_INTERVAL.saturating_sub(lifetime) } else { asked }
    }
}

fn run_timeout_failure() -> Failure {
    Failure {
        message: "workflow timeout".into(),
        source: "Server".into(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: TimeoutType::StartToClose as i32,
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn backoff_of(pause: Nanos) -> Option<Duration> {
    Some(duration(pause))
}

impl World {
    /// Begins the run that follows a closed one.
    pub fn begin_following(&mut self, env: &Env, from: RunKey, following: Following) {
        match following {
            Following::Continued(next) => self.begin_continued(env, from, *next),
            Following::Again(again) => self.begin_again(env, from, *again),
        }
    }

    fn begin_continued(&mut self, env: &Env, from: RunKey, continued: Continued) {
        let Some(old) = self.runs.get(&from) else { return };
        let next = continued.attributes;
        let attributes = WorkflowExecutionStartedEventAttributes {
            workflow_type: next.workflow_type,
            task_queue: next.task_queue,
            input: next.input,
            workflow_run_timeout: next.workflow_run_timeout,
            workflow_task_timeout: next.workflow_task_timeout,
            initiator: if next.initiator == 0 { Initiator::Workflow as i32 } else { next.initiator },
            continued_failure: next.failure,
            last_completion_result: next.last_completion_result,
            retry_policy: continued.retry_policy,
            first_workflow_task_backoff: backoff_of(old.pause_before_next(env.now, length(&next.backoff_start_interval))),
            memo: next.memo,
            search_attributes: next.search_attributes,
            header: next.header,
            attempt: 1,
            ..Default::default()
        };
        self.begin_in_chain(env, from, next.new_execution_run_id, attributes);
    }

    fn begin_again(&mut self, env: &Env, from: RunKey, again: Again) {
        let Some(old) = self.runs.get(&from) else { return };
        // Arguments and header are in the history only.
        let first = self.events_page(env, old, 1, 2, 1).ok().and_then(|(events, _)| events.into_iter().next());
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(first)) = first.and_then(|event| event.attributes) else { return };
        let attributes = WorkflowExecutionStartedEventAttributes {
            workflow_type: first.workflow_type,
            task_queue: first.task_queue,
            input: first.input,
            workflow_run_timeout: first.workflow_run_timeout,
            workflow_task_timeout: first.workflow_task_timeout,
            initiator: again.initiator as i32,
            continued_failure: again.failure,
            last_completion_result: again.last_completion_result,
            retry_policy: first.retry_policy,
            cron_schedule: first.cron_schedule,
            first_workflow_task_backoff: backoff_of(old.pause_before_next(env.now, again.pause)),
            memo: first.memo,
            search_attributes: first.search_attributes,
            header: first.header,
            attempt: if again.initiator == Initiator::Retry { first.attempt.max(1) + 1 } else { 1 },
            ..Default::default()
        };
        self.begin_in_chain(env, from, again.run_id, attributes);
    }

    /// Begins a run with what every run of a chain shares.
    fn begin_in_chain(&mut self, env: &Env, from: RunKey, run_id: String, own: WorkflowExecutionStartedEventAttributes) {
        let Some(old) = self.runs.get(&from) else { return };
        let shared = old.started().clone();
        let (workflow_id, deadline) = (old.record.workflow_id.clone(), old.record.execution_deadline);
        let attributes = WorkflowExecutionStartedEventAttributes {
            workflow_execution_timeout: shared.workflow_execution_timeout,
            continued_execution_run_id: old.record.run_id.clone(),
            original_execution_run_id: run_id.clone(),
            first_execution_run_id: shared.first_execution_run_id,
            workflow_id: workflow_id.clone(),
            priority: shared.priority,
            parent_workflow_namespace: shared.parent_workflow_namespace,
            parent_workflow_namespace_id: shared.parent_workflow_namespace_id,
            parent_workflow_execution: shared.parent_workflow_execution,
            parent_initiated_event_id: shared.parent_initiated_event_id,
            root_workflow_execution: shared.root_workflow_execution,
            ..own
        };
        let request_id = (env.new_id)();
        let first = First { workflow_id, run_id, attributes, request_id, execution_deadline: deadline };
        self.begin(env, first, |_| {});
    }
}
