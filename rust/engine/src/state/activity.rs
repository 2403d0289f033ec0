//! Pending activities: start, heartbeat, ends, retries and the four timeouts.
//!
//! An attempt's start is not an event of its own: it is written, with the attempt's number and the failure before it,
//! when the activity ends, so that retries leave no trace in the history.

use temporalio_protos::temporal::api::{
    common::v1::{Payloads, RetryPolicy},
    enums::v1::{RetryState, TimeoutType},
    failure::v1::{Failure, ServerFailureInfo, TimeoutFailureInfo, failure::FailureInfo},
    history::v1::{
        ActivityTaskCanceledEventAttributes, ActivityTaskCompletedEventAttributes, ActivityTaskFailedEventAttributes,
        ActivityTaskStartedEventAttributes, ActivityTaskTimedOutEventAttributes, history_event::Attributes,
    },
    workflowservice::v1::RecordActivityTaskHeartbeatResponse,
};

use super::{
    record::ActivityRecord,
    run::{Ready, Run},
    time::{Nanos, SECOND, length},
};

/// The service's default: a hundred times the first interval.
const DEFAULT_MAXIMUM_FACTOR: Nanos = 100;

const NO_TIME_LEFT: &str = "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying";

/// How an activity ended.
pub enum End {
    Completed(Option<Payloads>),
    Failed(Failure, RetryState),
    TimedOut(Failure, RetryState),
    Canceled(Option<Payloads>),
}

/// What the next deadline of an activity is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The attempt becomes due.
    Attempt,
    Timeout(TimeoutType),
}

/// The earliest thing that happens to the activity by itself.
pub fn next_deadline(activity: &ActivityRecord) -> Option<(Nanos, Deadline)> {
    let command = activity.command.as_ref()?;
    if activity.paused {
        return None;
    }
    let mut next: Option<(Nanos, Deadline)> = None;
    let mut consider = |from: Nanos, after: Nanos, deadline: Deadline| {
        let at = from.saturating_add(after);
        if next.is_none_or(|(best, _)| at < best) {
            next = Some((at, deadline));
        }
    };
    let schedule_to_close = length(&command.schedule_to_close_timeout);
    if activity.started_time > 0 {
        // The service's attempts begin a moment after they are scheduled, so that of equal timeouts the whole one ends first. Here both may
        // be one moment.
        if schedule_to_close > 0 {
            consider(activity.scheduled_time, schedule_to_close, Deadline::Timeout(TimeoutType::ScheduleToClose));
        }
        let start_to_close = length(&command.start_to_close_timeout);
        if start_to_close > 0 {
            consider(activity.started_time, start_to_close, Deadline::Timeout(TimeoutType::StartToClose));
        }
        let heartbeat = length(&command.heartbeat_timeout);
        if heartbeat > 0 {
            consider(activity.heartbeat_time.max(activity.started_time), heartbeat, Deadline::Timeout(TimeoutType::Heartbeat));
        }
    } else {
        if !activity.queued {
            consider(activity.attempt_time, 0, Deadline::Attempt);
        }
        let schedule_to_start = length(&command.schedule_to_start_timeout);
        if schedule_to_start > 0 {
            consider(activity.attempt_time, schedule_to_start, Deadline::Timeout(TimeoutType::ScheduleToStart));
        }
    }
    // Last: while it waits, the service takes the narrower of two timeouts at one moment.
    if schedule_to_close > 0 {
        consider(activity.scheduled_time, schedule_to_close, Deadline::Timeout(TimeoutType::ScheduleToClose));
    }
    next
}

/// The pause before attempt `attempt + 1`.
pub fn backoff(policy: &RetryPolicy, attempt: i32) -> Nanos {
    let initial = match length(&policy.initial_interval) {
        0 => SECOND,
        interval => interval,
    };
    let maximum = match length(&policy.maximum_interval) {
        0 => initial.saturating_mul(DEFAULT_MAXIMUM_FACTOR),
        interval => interval,
    };
    let coefficient = if policy.backoff_coefficient < 1.0 { 2.0 } else { policy.backoff_coefficient };
    let interval = initial as f64 * coefficient.powi(attempt - 1);
    if interval.is_finite() && interval < maximum as f64 { interval as Nanos } else { maximum }
}

/// Whether a failure may be retried under a policy, as the service decides it.
pub fn is_retryable(failure: &Failure, policy: &RetryPolicy) -> bool {
    match &failure.failure_info {
        Some(FailureInfo::TerminatedFailureInfo(_) | FailureInfo::CanceledFailureInfo(_)) => false,
        Some(FailureInfo::TimeoutFailureInfo(info)) => {
            let name = match info.timeout_type() {
                TimeoutType::StartToClose => "TemporalTimeout:StartToClose",
                TimeoutType::Heartbeat => "TemporalTimeout:Heartbeat",
                _ => return false,
            };
            !policy.non_retryable_error_types.iter().any(|kind| kind == name)
        }
        Some(FailureInfo::ServerFailureInfo(info)) => !info.non_retryable,
        Some(FailureInfo::ApplicationFailureInfo(info)) => !info.non_retryable && !policy.non_retryable_error_types.contains(&info.r#type),
        _ => true,
    }
}

/// When the next attempt is due, or why there is none.
fn next_attempt(activity: &ActivityRecord, failure: &Failure, run_deadline: Nanos, now: Nanos) -> Result<Nanos, RetryState> {
    let Some(command) = &activity.command else { return Err(RetryState::InternalServerError) };
    let Some(policy) = &command.retry_policy else { return Err(RetryState::RetryPolicyNotSet) };
    if activity.cancel_requested {
        return Err(RetryState::CancelRequested);
    }
    if !is_retryable(failure, policy) {
        return Err(RetryState::NonRetryableFailure);
    }
    if activity.paused {
        // It waits for somebody; neither the number of its attempts nor its time ends it.
        return Ok(now);
    }
    if policy.maximum_attempts > 0 && activity.attempt >= policy.maximum_attempts {
        return Err(RetryState::MaximumAttemptsReached);
    }
    let asked = match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) if info.next_retry_delay.is_some() => Some(length(&info.next_retry_delay)),
        _ => None,
    };
    let at = now.saturating_add(asked.unwrap_or_else(|| backoff(policy, activity.attempt)));
    let schedule_to_close = length(&command.schedule_to_close_timeout);
    let expires = if schedule_to_close > 0 { activity.scheduled_time.saturating_add(schedule_to_close) } else { Nanos::MAX };
    let expires = if run_deadline > 0 { expires.min(run_deadline) } else { expires };
    if at > expires { Err(RetryState::Timeout) } else { Ok(at) }
}

pub fn timeout_failure(kind: TimeoutType, details: Option<Payloads>, cause: Option<Failure>) -> Failure {
    let name = match kind {
        TimeoutType::StartToClose => "StartToClose",
        TimeoutType::ScheduleToStart => "ScheduleToStart",
        TimeoutType::ScheduleToClose => "ScheduleToClose",
        TimeoutType::Heartbeat => "Heartbeat",
        TimeoutType::Unspecified => "",
    };
    Failure {
        message: format!("activity {name} timeout"),
        source: "Server".into(),
        cause: cause.map(Box::new),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: kind as i32,
            last_heartbeat_details: details,
        })),
        ..Default::default()
    }
}

impl Run {
    /// Hands an attempt out.
    pub fn start_activity(
        &mut self,
        now: Nanos,
        scheduled_event_id: i64,
        identity: &str,
        request_id: String,
        epoch: i64,
    ) -> Option<&ActivityRecord> {
        let waits = |activity: &&mut ActivityRecord| activity.started_time == 0 && activity.queued && !activity.paused;
        let activity = self.activities.get_mut(&scheduled_event_id).filter(waits)?;
        activity.started_time = now;
        activity.heartbeat_time = now;
        activity.identity = identity.into();
        activity.last_identity = identity.into();
        activity.request_id = request_id;
        activity.epoch = epoch;
        self.dirty = true;
        self.dirty_activities.insert(scheduled_event_id);
        self.activities.get(&scheduled_event_id)
    }

    /// An activity that is completed from outside before a worker took it started at that moment.
    pub fn start_unstarted(&mut self, now: Nanos, scheduled_event_id: i64, identity: &str) {
        if let Some(activity) = self.activities.get_mut(&scheduled_event_id).filter(|activity| activity.started_time == 0) {
            activity.started_time = now;
            activity.identity = identity.into();
            activity.request_id.clear();
        }
    }

    /// Notes a heartbeat, and answers what the worker is to know.
    pub fn heartbeat(
        &mut self,
        now: Nanos,
        scheduled_event_id: i64,
        details: Option<Payloads>,
        identity: &str,
    ) -> RecordActivityTaskHeartbeatResponse {
        let Some(activity) = self.activities.get_mut(&scheduled_event_id) else { return Default::default() };
        activity.heartbeat_time = now;
        activity.heartbeat_details = details;
        if !identity.is_empty() {
            activity.last_identity = identity.into();
        }
        self.dirty = true;
        self.dirty_activities.insert(scheduled_event_id);
        RecordActivityTaskHeartbeatResponse {
            cancel_requested: activity.cancel_requested,
            activity_paused: activity.paused,
            activity_reset: activity.reset,
        }
    }

    /// A failed attempt: the next one, or the end.
    pub fn fail_activity(&mut self, now: Nanos, scheduled_event_id: i64, failure: Failure, identity: &str) {
        let run_deadline = self.record.run_deadline;
        let Some(activity) = self.activities.get_mut(&scheduled_event_id) else { return };
        match next_attempt(activity, &failure, run_deadline, now) {
            Ok(at) => self.retry_activity(now, scheduled_event_id, failure, at),
            Err(state) => self.end_activity(now, scheduled_event_id, End::Failed(failure, state), identity),
        }
    }

    /// The activity waits again, from `at` on; `failure` is why, if it is because of one.
    pub fn schedule_attempt_again(&mut self, now: Nanos, scheduled_event_id: i64, failure: Option<Failure>, at: Nanos) {
        let Some(activity) = self.activities.get_mut(&scheduled_event_id) else { return };
        activity.attempt_time = at;
        activity.started_time = 0;
        activity.released = false;
        activity.queued = at <= now;
        activity.identity.clear();
        activity.last_failure = failure;
        activity.reset = false;
        if std::mem::take(&mut activity.forgets_heartbeats) {
            activity.heartbeat_details = None;
            activity.heartbeat_time = 0;
        }
        if activity.queued {
            self.ready.push(Ready::Activity(scheduled_event_id));
        }
        self.dirty = true;
        self.dirty_activities.insert(scheduled_event_id);
    }

    fn retry_activity(&mut self, now: Nanos, scheduled_event_id: i64, failure: Failure, at: Nanos) {
        let Some(activity) = self.activities.get_mut(&scheduled_event_id) else { return };
        activity.attempt += 1;
        activity.last_attempt_complete_time = now;
        self.schedule_attempt_again(now, scheduled_event_id, Some(failure), at);
    }

    /// What is due for one activity.
    pub fn handle_activity_deadline(&mut self, now: Nanos, scheduled_event_id: i64, deadline: Deadline) {
        let run_deadline = self.record.run_deadline;
        let Some(activity) = self.activities.get_mut(&scheduled_event_id) else { return };
        let kind = match deadline {
            Deadline::Attempt => {
                activity.queued = true;
                self.ready.push(Ready::Activity(scheduled_event_id));
                self.dirty = true;
                self.dirty_activities.insert(scheduled_event_id);
                return;
            }
            Deadline::Timeout(kind) => kind,
        };
        let details = activity.heartbeat_details.clone();
        let failure = timeout_failure(kind, details.clone(), None);
        match next_attempt(activity, &failure, run_deadline, now) {
            Ok(at) => self.retry_activity(now, scheduled_event_id, failure, at),
            Err(state) => {
                let cause = activity.last_failure.clone();
                // Whether the time is over or would be before the next attempt: the service says the same of both.
                let failure = match (kind, state) {
                    (TimeoutType::ScheduleToClose, _) | (TimeoutType::StartToClose | TimeoutType::Heartbeat, RetryState::Timeout) => {
                        Failure { message: NO_TIME_LEFT.into(), ..timeout_failure(TimeoutType::ScheduleToClose, details, cause) }
                    }
                    _ => failure,
                };
                let state = match kind {
                    TimeoutType::ScheduleToClose | TimeoutType::ScheduleToStart => RetryState::Timeout,
                    _ => state,
                };
                self.end_activity(now, scheduled_event_id, End::TimedOut(failure, state), "");
            }
        }
    }

    /// Writes the start and the end of an activity and asks for a workflow task.
    pub fn end_activity(&mut self, now: Nanos, scheduled_event_id: i64, end: End, identity: &str) {
        let Some(activity) = self.activities.remove(&scheduled_event_id) else { return };
        self.dirty_activities.insert(scheduled_event_id);
        let mut started_event_id = 0;
        if activity.started_time > 0 {
            let buffers = self.record.task.as_ref().is_some_and(|task| task.is_started());
            self.add_outside(
                activity.started_time,
                Attributes::ActivityTaskStartedEventAttributes(ActivityTaskStartedEventAttributes {
                    scheduled_event_id,
                    identity: activity.identity.clone(),
                    request_id: activity.request_id.clone(),
                    attempt: activity.attempt,
                    last_failure: activity.last_failure.clone(),
                    ..Default::default()
                }),
            );
            started_event_id = if buffers { 0 } else { self.last_event_id() };
        }
        let identity = identity.to_owned();
        let attributes = match end {
            End::Completed(result) => Attributes::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
                result,
                scheduled_event_id,
                started_event_id,
                identity,
                ..Default::default()
            }),
            End::Failed(failure, state) => Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
                failure: Some(failure),
                scheduled_event_id,
                started_event_id,
                identity,
                retry_state: state as i32,
                ..Default::default()
            }),
            End::TimedOut(failure, state) => Attributes::ActivityTaskTimedOutEventAttributes(ActivityTaskTimedOutEventAttributes {
                failure: Some(failure),
                scheduled_event_id,
                started_event_id,
                retry_state: state as i32,
            }),
            End::Canceled(details) => Attributes::ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes {
                details,
                latest_cancel_requested_event_id: activity.cancel_requested_event_id,
                scheduled_event_id,
                started_event_id,
                identity,
                ..Default::default()
            }),
        };
        self.add_outside(now, attributes);
        self.schedule_task(now);
    }

    /// Attempts of an earlier process of this engine will not be answered: they fail, retryably, at once.
    pub fn fail_activities_of_earlier_epochs(&mut self, now: Nanos, epoch: i64) {
        let lost: Vec<i64> = self
            .activities
            .values()
            .filter(|activity| activity.started_time > 0 && activity.epoch < epoch && !activity.released)
            .map(|activity| activity.scheduled_event_id)
            .collect();
        for id in lost {
            let failure = Failure {
                message: "the worker's process ended during this attempt".into(),
                source: "Server".into(),
                failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: false })),
                ..Default::default()
            };
            let run_deadline = self.record.run_deadline;
            let Some(activity) = self.activities.get(&id) else { continue };
            match next_attempt(activity, &failure, run_deadline, now) {
                // At once: nothing says that the activity is at fault, and its process has just been started again.
                Ok(_) => self.retry_activity(now, id, failure, now),
                Err(state) => self.end_activity(now, id, End::Failed(failure, state), ""),
            }
        }
    }
}
