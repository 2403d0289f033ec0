//! The commands of a completed workflow task: all are checked before the first is applied.

use std::collections::BTreeSet;

use temporalio_protos::temporal::api::{
    command::v1::{Command, RecordMarkerCommandAttributes, ScheduleActivityTaskCommandAttributes, command::Attributes as C},
    common::v1::{Payload, Payloads, RetryPolicy},
    enums::v1::{TaskQueueKind, WorkflowExecutionStatus, WorkflowTaskFailedCause as Cause},
    history::v1::{
        ActivityTaskCancelRequestedEventAttributes, ActivityTaskScheduledEventAttributes, MarkerRecordedEventAttributes,
        TimerCanceledEventAttributes, TimerStartedEventAttributes, WorkflowExecutionCanceledEventAttributes,
        WorkflowExecutionCompletedEventAttributes, WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionFailedEventAttributes,
        history_event::Attributes,
    },
    taskqueue::v1::TaskQueue,
};

use super::{
    activity::End,
    chain::{Continued, Following},
    limit::{MAX_ID_LENGTH, MAX_PENDING_ACTIVITIES},
    outgoing::{Outgoing, check_outgoing},
    record::{ActivityRecord, TimerRecord},
    run::{Ready, Run},
    start::check_priority,
    time::{Nanos, SECOND, duration, is_negative, length},
    update::{Messages, Said},
};

/// Why a completion is refused: the workflow task fails with it.
pub type Refusal = (Cause, String);

/// What comes with the commands of a completion.
pub struct Given<'a> {
    pub messages: Messages,
    /// The id of the task's completed event.
    pub completed: i64,
    pub identity: &'a str,
}

/// What a completion did beyond its events.
#[derive(Default)]
pub struct Applied {
    /// The run goes on as another.
    pub following: Option<Following>,
    pub closed: bool,
    /// What other runs are to do.
    pub outgoing: Vec<Outgoing>,
    /// Activities that the worker wants to start at once, by their scheduled events.
    pub eager: Vec<i64>,
}

fn is_closing(attributes: &C) -> bool {
    matches!(
        attributes,
        C::CompleteWorkflowExecutionCommandAttributes(_)
            | C::FailWorkflowExecutionCommandAttributes(_)
            | C::CancelWorkflowExecutionCommandAttributes(_)
            | C::ContinueAsNewWorkflowExecutionCommandAttributes(_)
    )
}

/// The checks of a retry policy, as the service does them.
pub fn check_retry_policy(policy: &Option<RetryPolicy>) -> Result<(), String> {
    let Some(policy) = policy else { return Ok(()) };
    for (name, interval) in [("InitialInterval", &policy.initial_interval), ("MaximumInterval", &policy.maximum_interval)] {
        if is_negative(interval) {
            return Err(format!("invalid {name} set on retry policy: negative duration"));
        }
    }
    if policy.backoff_coefficient != 0.0 && (policy.backoff_coefficient < 1.0 || !policy.backoff_coefficient.is_finite()) {
        return Err("BackoffCoefficient cannot be less than 1 on retry policy.".into());
    }
    if policy.maximum_interval.is_some()
        && length(&policy.maximum_interval) != 0
        && length(&policy.maximum_interval) < length(&policy.initial_interval)
    {
        return Err("MaximumInterval cannot be less than InitialInterval on retry policy.".into());
    }
    if policy.maximum_attempts < 0 {
        return Err("MaximumAttempts cannot be negative on retry policy.".into());
    }
    Ok(())
}

/// The policy with what the service sets where it says nothing.
pub fn with_defaults(policy: Option<RetryPolicy>) -> RetryPolicy {
    let mut policy = policy.unwrap_or_default();
    let initial = if length(&policy.initial_interval) == 0 { SECOND } else { length(&policy.initial_interval) };
    policy.initial_interval = Some(duration(initial));
    if policy.backoff_coefficient == 0.0 {
        policy.backoff_coefficient = 2.0;
    }
    if length(&policy.maximum_interval) == 0 {
        policy.maximum_interval = Some(duration(initial.saturating_mul(100)));
    }
    policy
}

/// Fills in the timeouts that follow from others, and shortens those that could never be reached.
pub fn fit_timeouts(command: &mut ScheduleActivityTaskCommandAttributes, run_timeout: Nanos) {
    let within = |timeout: Nanos| if run_timeout > 0 && timeout > run_timeout { run_timeout } else { timeout };
    let close = match within(length(&command.schedule_to_close_timeout)) {
        0 => run_timeout,
        timeout => timeout,
    };
    let fit = |timeout: Nanos| if timeout == 0 || (close > 0 && timeout > close) { close } else { timeout };
    let start_to_close = fit(within(length(&command.start_to_close_timeout)));
    let heartbeat = length(&command.heartbeat_timeout);
    command.schedule_to_close_timeout = Some(duration(close));
    command.schedule_to_start_timeout = Some(duration(fit(within(length(&command.schedule_to_start_timeout)))));
    command.start_to_close_timeout = Some(duration(start_to_close));
    command.heartbeat_timeout = Some(duration(if start_to_close > 0 && heartbeat > start_to_close { start_to_close } else { heartbeat }));
}

impl Run {
    /// Checks every command; nothing has changed when this refuses.
    pub fn check_commands(&self, namespace: &str, commands: &[Command]) -> Result<(), Refusal> {
        let mut memo = None;
        let mut children = self.record.children.len();
        let mut activity_ids: BTreeSet<&str> =
            self.activities.values().filter_map(|activity| activity.command.as_ref()).map(|command| command.activity_id.as_str()).collect();
        let mut timer_ids: BTreeSet<&str> = self.record.timers.keys().map(String::as_str).collect();
        let mut scheduled: i64 = 0;
        for (index, command) in commands.iter().enumerate() {
            let Some(attributes) = &command.attributes else {
                return Err((Cause::Unspecified, format!("command {index} has no attributes")));
            };
            if is_closing(attributes) && index + 1 != commands.len() {
                return Err((Cause::UnhandledCommand, "a command follows the one that ends the workflow".into()));
            }
            match attributes {
                C::ScheduleActivityTaskCommandAttributes(activity) => {
                    check_activity(activity)?;
                    scheduled += 1;
                    if !activity_ids.insert(&activity.activity_id) {
                        return Err((Cause::ScheduleActivityDuplicateId, format!("ActivityId {} is in use", activity.activity_id)));
                    }
                    if activity_ids.len() > MAX_PENDING_ACTIVITIES {
                        return Err((
                            Cause::PendingActivitiesLimitExceeded,
                            format!("more than {MAX_PENDING_ACTIVITIES} activities are pending"),
                        ));
                    }
                }
                C::RequestCancelActivityTaskCommandAttributes(cancel) => {
                    let id = cancel.scheduled_event_id;
                    // An activity of this very completion gets its id only when the commands are applied.
                    let own = id > self.last_event_id() && scheduled > 0;
                    match self.activities.get(&id) {
                        Some(activity) => {
                            if let Some(command) = &activity.command {
                                activity_ids.remove(command.activity_id.as_str());
                            }
                        }
                        None if own || self.has_buffered_end(id) => {}
                        None => {
                            return Err((
                                Cause::BadRequestCancelActivityAttributes,
                                format!("no activity was scheduled by event {id} and is pending"),
                            ));
                        }
                    }
                }
                C::StartTimerCommandAttributes(timer) => {
                    let bad = |text: &str| Err((Cause::BadStartTimerAttributes, text.to_owned()));
                    if timer.timer_id.is_empty() || timer.timer_id.len() > MAX_ID_LENGTH {
                        return bad("TimerId is not set on StartTimerCommand, or too long");
                    }
                    if length(&timer.start_to_fire_timeout) == 0 {
                        return bad("An invalid StartToFireTimeout is set on StartTimerCommand");
                    }
                    if !timer_ids.insert(&timer.timer_id) {
                        return Err((Cause::StartTimerDuplicateId, format!("TimerId {} is in use", timer.timer_id)));
                    }
                }
                C::CancelTimerCommandAttributes(timer) => {
                    if !timer_ids.remove(timer.timer_id.as_str()) && self.buffered_fire(&timer.timer_id).is_none() {
                        return Err((Cause::BadCancelTimerAttributes, format!("no timer {} is pending", timer.timer_id)));
                    }
                }
                C::StartChildWorkflowExecutionCommandAttributes(_)
                | C::SignalExternalWorkflowExecutionCommandAttributes(_)
                | C::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => {
                    children += usize::from(matches!(attributes, C::StartChildWorkflowExecutionCommandAttributes(_)));
                    check_outgoing(namespace, attributes, children)?;
                }
                C::RecordMarkerCommandAttributes(marker) => check_marker(marker)?,
                C::ProtocolMessageCommandAttributes(_) => {}
                C::ScheduleNexusOperationCommandAttributes(operation) => {
                    return Err((
                        Cause::BadScheduleNexusOperationAttributes,
                        format!(
                            "an embedded engine has no Nexus endpoints, so that no operation of endpoint '{}' can start; \
                             hint: connect to a Temporal service that has the endpoint",
                            operation.endpoint
                        ),
                    ));
                }
                C::UpsertWorkflowSearchAttributesCommandAttributes(_) => {}
                C::ModifyWorkflowPropertiesCommandAttributes(modify) => self.check_memo(modify, &mut memo)?,
                other => check_closing(other)?,
            }
        }
        Ok(())
    }

    /// Whether a command would end the run although it has not seen everything yet.
    pub fn ends_unseen(&self, commands: &[Command]) -> bool {
        let cancelled: BTreeSet<&str> = commands
            .iter()
            .filter_map(|command| match &command.attributes {
                Some(C::CancelTimerCommandAttributes(timer)) => Some(timer.timer_id.as_str()),
                _ => None,
            })
            .collect();
        let unseen = self.record.buffered.iter().any(|event| match &event.attributes {
            Some(Attributes::TimerFiredEventAttributes(timer)) => !cancelled.contains(timer.timer_id.as_str()),
            _ => true,
        });
        unseen && commands.last().and_then(|command| command.attributes.as_ref()).is_some_and(is_closing)
    }

    fn buffered_fire(&self, timer_id: &str) -> Option<usize> {
        self.record
            .buffered
            .iter()
            .position(|event| matches!(&event.attributes, Some(Attributes::TimerFiredEventAttributes(timer)) if timer.timer_id == timer_id))
    }

    /// Applies checked commands.
    pub fn apply_commands(
        &mut self,
        now: Nanos,
        namespace: &str,
        commands: Vec<Command>,
        given: Given,
        new_run_id: &dyn Fn() -> String,
    ) -> Applied {
        let Given { mut messages, completed, identity } = given;
        let mut applied = Applied::default();
        for command in commands {
            let Some(attributes) = command.attributes else { continue };
            let before = self.tail.len();
            applied.closed |= is_closing(&attributes);
            match attributes {
                C::ScheduleActivityTaskCommandAttributes(activity) => {
                    let is_eager = activity.request_eager_execution;
                    let id = self.schedule_activity(now, activity, completed);
                    applied.eager.extend(is_eager.then_some(id));
                }
                C::RequestCancelActivityTaskCommandAttributes(cancel) => {
                    self.cancel_activity(now, cancel.scheduled_event_id, completed, identity)
                }
                C::StartTimerCommandAttributes(timer) => {
                    let fire_time = now.saturating_add(length(&timer.start_to_fire_timeout));
                    let started_event_id = self.add(
                        now,
                        Attributes::TimerStartedEventAttributes(TimerStartedEventAttributes {
                            timer_id: timer.timer_id.clone(),
                            start_to_fire_timeout: timer.start_to_fire_timeout,
                            workflow_task_completed_event_id: completed,
                        }),
                    );
                    self.record.timers.insert(timer.timer_id, TimerRecord { started_event_id, fire_time });
                }
                C::CancelTimerCommandAttributes(timer) => self.cancel_timer(now, timer.timer_id, completed, identity),
                C::RecordMarkerCommandAttributes(marker) => {
                    self.add(
                        now,
                        Attributes::MarkerRecordedEventAttributes(MarkerRecordedEventAttributes {
                            marker_name: marker.marker_name,
                            details: marker.details,
                            workflow_task_completed_event_id: completed,
                            header: marker.header,
                            failure: marker.failure,
                        }),
                    );
                }
                C::ProtocolMessageCommandAttributes(protocol) => {
                    if let Some((_, id, said)) = messages.remove(&protocol.message_id) {
                        self.apply_message(now, id, said);
                    }
                }
                C::UpsertWorkflowSearchAttributesCommandAttributes(upsert) => self.upsert_attributes(now, upsert, completed),
                C::ModifyWorkflowPropertiesCommandAttributes(modify) => self.modify_properties(now, modify, completed),
                C::CompleteWorkflowExecutionCommandAttributes(end) => {
                    let again = self.following_completion(now, &end.result, new_run_id);
                    let new_execution_run_id = again.as_ref().map(|again| again.run_id.clone()).unwrap_or_default();
                    self.record.new_run_id.clone_from(&new_execution_run_id);
                    self.add(
                        now,
                        Attributes::WorkflowExecutionCompletedEventAttributes(WorkflowExecutionCompletedEventAttributes {
                            result: end.result,
                            workflow_task_completed_event_id: completed,
                            new_execution_run_id,
                        }),
                    );
                    self.close(now, WorkflowExecutionStatus::Completed);
                    applied.following = again.map(|again| Following::Again(Box::new(again)));
                }
                C::FailWorkflowExecutionCommandAttributes(end) => {
                    let (state, again) = self.following_failure(now, &end.failure.clone().unwrap_or_default(), new_run_id);
                    let new_execution_run_id = again.as_ref().map(|again| again.run_id.clone()).unwrap_or_default();
                    self.record.new_run_id.clone_from(&new_execution_run_id);
                    self.add(
                        now,
                        Attributes::WorkflowExecutionFailedEventAttributes(WorkflowExecutionFailedEventAttributes {
                            failure: end.failure,
                            retry_state: state as i32,
                            workflow_task_completed_event_id: completed,
                            new_execution_run_id,
                        }),
                    );
                    self.close(now, WorkflowExecutionStatus::Failed);
                    applied.following = again.map(|again| Following::Again(Box::new(again)));
                }
                C::CancelWorkflowExecutionCommandAttributes(end) => {
                    self.add(
                        now,
                        Attributes::WorkflowExecutionCanceledEventAttributes(WorkflowExecutionCanceledEventAttributes {
                            details: end.details,
                            workflow_task_completed_event_id: completed,
                        }),
                    );
                    self.close(now, WorkflowExecutionStatus::Canceled);
                }
                C::ContinueAsNewWorkflowExecutionCommandAttributes(next) => {
                    let retry_policy = next.retry_policy.clone().map(|policy| with_defaults(Some(policy)));
                    let attributes = self.continue_as_new(now, next, completed, new_run_id());
                    applied.following = Some(Following::Continued(Box::new(Continued { attributes, retry_policy })));
                }
                other => applied.outgoing.extend(self.initiate(now, namespace, other, &command.user_metadata, completed)),
            }
            self.annotate(before, command.user_metadata);
        }
        let mut rest: Vec<_> = messages.into_values().collect();
        rest.sort_by_key(|(index, ..)| *index);
        for (_, id, said) in rest {
            // After the end nothing can be accepted: the updates end with the run.
            if self.is_open() || matches!(said, Said::Rejected(_)) {
                self.apply_message(now, id, said);
            }
        }
        applied
    }

    fn schedule_activity(&mut self, now: Nanos, mut command: ScheduleActivityTaskCommandAttributes, completed: i64) -> i64 {
        fit_timeouts(&mut command, length(&self.started().workflow_run_timeout));
        command.retry_policy = Some(with_defaults(command.retry_policy));
        command.request_eager_execution = false;
        if command.task_queue.as_ref().is_none_or(|queue| queue.name.is_empty()) {
            command.task_queue = Some(TaskQueue { name: self.task_queue().into(), ..Default::default() });
        }
        if let Some(queue) = command.task_queue.as_mut() {
            queue.kind = TaskQueueKind::Normal as i32;
        }
        let id = self.add(
            now,
            Attributes::ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes {
                activity_id: command.activity_id.clone(),
                activity_type: command.activity_type.clone(),
                task_queue: command.task_queue.clone(),
                header: command.header.clone(),
                input: command.input.clone(),
                schedule_to_close_timeout: command.schedule_to_close_timeout,
                schedule_to_start_timeout: command.schedule_to_start_timeout,
                start_to_close_timeout: command.start_to_close_timeout,
                heartbeat_timeout: command.heartbeat_timeout,
                workflow_task_completed_event_id: completed,
                retry_policy: command.retry_policy.clone(),
                use_workflow_build_id: command.use_workflow_build_id,
                priority: command.priority.clone(),
            }),
        );
        self.activities.insert(
            id,
            ActivityRecord {
                command: Some(command),
                scheduled_event_id: id,
                scheduled_time: now,
                attempt: 1,
                attempt_time: now,
                queued: true,
                ..Default::default()
            },
        );
        self.dirty_activities.insert(id);
        self.ready.push(Ready::Activity(id));
        id
    }

    fn cancel_activity(&mut self, now: Nanos, scheduled_event_id: i64, completed: i64, identity: &str) {
        let event = self.add(
            now,
            Attributes::ActivityTaskCancelRequestedEventAttributes(ActivityTaskCancelRequestedEventAttributes {
                scheduled_event_id,
                workflow_task_completed_event_id: completed,
            }),
        );
        let Some(activity) = self.activities.get_mut(&scheduled_event_id) else { return };
        activity.cancel_requested = true;
        activity.cancel_requested_event_id = event;
        self.dirty_activities.insert(scheduled_event_id);
        if activity.started_time == 0 {
            let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
            let payload = Payload { metadata, data: b"\"ACTIVITY_ID_NOT_STARTED\"".to_vec(), ..Default::default() };
            self.end_activity(now, scheduled_event_id, End::Canceled(Some(Payloads { payloads: vec![payload] })), identity);
        }
    }

    fn cancel_timer(&mut self, now: Nanos, timer_id: String, completed: i64, identity: &str) {
        let started_event_id = match self.record.timers.remove(&timer_id) {
            Some(timer) => timer.started_event_id,
            // It fired while the worker was deciding: the worker never sees that, so the cancellation wins.
            None => match self.buffered_fire(&timer_id).map(|index| self.record.buffered.remove(index).attributes) {
                Some(Some(Attributes::TimerFiredEventAttributes(fired))) => fired.started_event_id,
                _ => return,
            },
        };
        self.add(
            now,
            Attributes::TimerCanceledEventAttributes(TimerCanceledEventAttributes {
                timer_id,
                started_event_id,
                workflow_task_completed_event_id: completed,
                identity: identity.into(),
            }),
        );
    }

    fn continue_as_new(
        &mut self,
        now: Nanos,
        command: temporalio_protos::temporal::api::command::v1::ContinueAsNewWorkflowExecutionCommandAttributes,
        completed: i64,
        new_run_id: String,
    ) -> WorkflowExecutionContinuedAsNewEventAttributes {
        let started = self.started().clone();
        let or =
            |asked: Option<prost_wkt_types::Duration>, own: Option<prost_wkt_types::Duration>| if length(&asked) > 0 { asked } else { own };
        #[expect(deprecated, reason = "workers still send it and the service still records it")]
        let attributes = WorkflowExecutionContinuedAsNewEventAttributes {
            new_execution_run_id: new_run_id.clone(),
            workflow_type: command.workflow_type.filter(|kind| !kind.name.is_empty()).or(started.workflow_type),
            task_queue: command.task_queue.filter(|queue| !queue.name.is_empty()).or(started.task_queue),
            input: command.input,
            workflow_run_timeout: Some(or(command.workflow_run_timeout, started.workflow_run_timeout).unwrap_or_default()),
            workflow_task_timeout: or(command.workflow_task_timeout, started.workflow_task_timeout),
            workflow_task_completed_event_id: completed,
            backoff_start_interval: command.backoff_start_interval,
            initiator: command.initiator,
            inherit_build_id: command.inherit_build_id,
            failure: command.failure,
            last_completion_result: command.last_completion_result,
            header: command.header,
            memo: command.memo,
            search_attributes: command.search_attributes,
            ..Default::default()
        };
        self.add(now, Attributes::WorkflowExecutionContinuedAsNewEventAttributes(attributes.clone()));
        self.record.new_run_id = new_run_id;
        self.close(now, WorkflowExecutionStatus::ContinuedAsNew);
        attributes
    }
}

pub fn check_activity(activity: &ScheduleActivityTaskCommandAttributes) -> Result<(), Refusal> {
    let bad = |text: String| Err((Cause::BadScheduleActivityAttributes, text));
    if activity.activity_id.is_empty() || activity.activity_type.as_ref().is_none_or(|kind| kind.name.is_empty()) {
        return bad("ActivityId or ActivityType is not set on ScheduleActivityTaskCommand".into());
    }
    let name = activity.activity_type.as_ref().map_or("", |kind| kind.name.as_str());
    let queue = activity.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
    if [activity.activity_id.as_str(), name, queue].iter().any(|id| id.len() > MAX_ID_LENGTH) {
        return bad(format!("an id of the activity is longer than {MAX_ID_LENGTH} bytes"));
    }
    let timeouts = [
        &activity.schedule_to_close_timeout,
        &activity.schedule_to_start_timeout,
        &activity.start_to_close_timeout,
        &activity.heartbeat_timeout,
    ];
    if timeouts.iter().any(|timeout| is_negative(timeout)) {
        return bad(format!("a timeout of activity {name} is negative"));
    }
    if length(&activity.schedule_to_close_timeout) == 0 && length(&activity.start_to_close_timeout) == 0 {
        return bad(format!(
            "A valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand. ActivityType={name}"
        ));
    }
    check_retry_policy(&activity.retry_policy).or_else(bad)?;
    check_priority(&activity.priority).or_else(|status| bad(status.message))
}

fn check_marker(marker: &RecordMarkerCommandAttributes) -> Result<(), Refusal> {
    if marker.marker_name.is_empty() {
        return Err((Cause::BadRecordMarkerAttributes, "MarkerName is not set on RecordMarkerCommand.".into()));
    }
    Ok(())
}

fn check_closing(attributes: &C) -> Result<(), Refusal> {
    match attributes {
        C::CompleteWorkflowExecutionCommandAttributes(_) | C::CancelWorkflowExecutionCommandAttributes(_) => Ok(()),
        C::FailWorkflowExecutionCommandAttributes(end) => {
            if end.failure.is_none() {
                return Err((Cause::BadFailWorkflowExecutionAttributes, "Failure is not set on FailWorkflowExecutionCommand".into()));
            }
            Ok(())
        }
        C::ContinueAsNewWorkflowExecutionCommandAttributes(next) => {
            if is_negative(&next.workflow_run_timeout)
                || is_negative(&next.workflow_task_timeout)
                || is_negative(&next.backoff_start_interval)
            {
                return Err((Cause::BadContinueAsNewAttributes, "a timeout of ContinueAsNewWorkflowExecutionCommand is negative".into()));
            }
            check_retry_policy(&next.retry_policy).map_err(|text| (Cause::BadContinueAsNewAttributes, text))
        }
        other => {
            let text = format!("{other:?}");
            let name = text.split('(').next().unwrap_or_default().trim_end_matches("CommandAttributes");
            Err((Cause::FeatureDisabled, format!("the embedded engine does not do the command {name} yet")))
        }
    }
}
