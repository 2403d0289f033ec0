//! The state of a run from its events alone: what a reset begins with.

use temporalio_protos::temporal::api::{
    command::v1::ScheduleActivityTaskCommandAttributes,
    history::v1::{
        ActivityTaskScheduledEventAttributes, HistoryEvent, StartChildWorkflowExecutionInitiatedEventAttributes,
        WorkflowExecutionStartedEventAttributes, history_event::Attributes,
    },
};

use super::{
    record::{ActivityRecord, ChildRecord, TaskRecord, TimerRecord, UpdateRecord},
    run::Run,
    time::{Nanos, SECOND, length},
};

fn moment(event: &HistoryEvent) -> Nanos {
    event.event_time.map_or(0, |at| at.seconds.saturating_mul(SECOND).saturating_add(i64::from(at.nanos)))
}

impl Run {
    /// Takes over an event of another run's history, and what follows from it.
    pub fn apply_event(&mut self, event: HistoryEvent) {
        let at = moment(&event);
        let metadata = event.user_metadata.clone();
        let attributes = event.attributes.clone();
        let id = self.push(event);
        match attributes {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => {
                self.record.user_metadata = metadata;
                self.attributes_changed = true;
                self.record.started =
                    Some(WorkflowExecutionStartedEventAttributes { input: None, header: None, continued_failure: None, ..started });
            }
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) if !signal.request_id.is_empty() => {
                self.record.signal_requests.push(signal.request_id);
            }
            Some(Attributes::UpsertWorkflowSearchAttributesEventAttributes(upsert)) => self.take_attributes(&upsert.search_attributes),
            Some(Attributes::WorkflowPropertiesModifiedEventAttributes(modified)) => self.take_memo(&modified.upserted_memo),
            Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(_)) => self.record.cancel_requested = true,
            Some(attributes) => {
                self.apply_task_event(id, at, &attributes);
                self.apply_activity_event(id, at, &attributes);
                self.apply_timer_event(id, at, &attributes);
                self.apply_child_event(id, &attributes);
                self.apply_update_event(id, &attributes);
            }
            None => {}
        }
    }

    fn apply_task_event(&mut self, id: i64, at: Nanos, attributes: &Attributes) {
        match attributes {
            Attributes::WorkflowTaskScheduledEventAttributes(scheduled) => {
                self.record.task = Some(TaskRecord {
                    scheduled_event_id: id,
                    attempt: scheduled.attempt.max(1),
                    scheduled_time: at,
                    original_scheduled_time: at,
                    ..Default::default()
                });
            }
            Attributes::WorkflowTaskStartedEventAttributes(_) => {
                if let Some(task) = self.record.task.as_mut() {
                    task.started_event_id = id;
                    task.started_time = at;
                }
            }
            Attributes::WorkflowTaskCompletedEventAttributes(completed) => {
                self.record.task = None;
                self.record.previous_started_event_id = completed.started_event_id;
            }
            Attributes::WorkflowTaskFailedEventAttributes(_) | Attributes::WorkflowTaskTimedOutEventAttributes(_) => {
                self.record.task = None
            }
            _ => {}
        }
    }

    fn apply_activity_event(&mut self, id: i64, at: Nanos, attributes: &Attributes) {
        match attributes {
            Attributes::ActivityTaskScheduledEventAttributes(scheduled) => {
                let command = command_of(scheduled);
                let record = ActivityRecord {
                    command: Some(command),
                    scheduled_event_id: id,
                    scheduled_time: at,
                    attempt: 1,
                    attempt_time: at,
                    queued: true,
                    ..Default::default()
                };
                self.activities.insert(id, record);
            }
            Attributes::ActivityTaskStartedEventAttributes(started) => {
                if let Some(activity) = self.activities.get_mut(&started.scheduled_event_id) {
                    activity.started_time = at;
                    activity.started_event_id = id;
                    activity.attempt = started.attempt;
                    activity.identity.clone_from(&started.identity);
                }
            }
            Attributes::ActivityTaskCancelRequestedEventAttributes(cancel) => {
                if let Some(activity) = self.activities.get_mut(&cancel.scheduled_event_id) {
                    activity.cancel_requested = true;
                    activity.cancel_requested_event_id = id;
                }
            }
            _ => {
                let event = HistoryEvent { attributes: Some(attributes.clone()), ..Default::default() };
                if let Some(scheduled) = super::history::scheduled_event_id(&event) {
                    self.activities.remove(&scheduled);
                }
            }
        }
    }

    fn apply_timer_event(&mut self, id: i64, at: Nanos, attributes: &Attributes) {
        match attributes {
            Attributes::TimerStartedEventAttributes(timer) => {
                let fire_time = at.saturating_add(length(&timer.start_to_fire_timeout));
                self.record.timers.insert(timer.timer_id.clone(), TimerRecord { started_event_id: id, fire_time });
            }
            Attributes::TimerFiredEventAttributes(timer) => drop(self.record.timers.remove(&timer.timer_id)),
            Attributes::TimerCanceledEventAttributes(timer) => drop(self.record.timers.remove(&timer.timer_id)),
            _ => {}
        }
    }

    fn apply_child_event(&mut self, id: i64, attributes: &Attributes) {
        match attributes {
            Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(initiated) => {
                self.record.children.insert(id, child_of(initiated));
            }
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(failed) => {
                self.record.children.remove(&failed.initiated_event_id);
            }
            Attributes::ChildWorkflowExecutionStartedEventAttributes(started) => {
                if let Some(child) = self.record.children.get_mut(&started.initiated_event_id) {
                    child.started_event_id = id;
                    child.run_id = started.workflow_execution.as_ref().map(|execution| execution.run_id.clone()).unwrap_or_default();
                }
            }
            _ => {
                let mut event = HistoryEvent { attributes: Some(attributes.clone()), ..Default::default() };
                if let Some((initiated, _)) = super::history::end_ids(&mut event) {
                    self.record.children.remove(&initiated);
                }
            }
        }
    }

    fn apply_update_event(&mut self, id: i64, attributes: &Attributes) {
        match attributes {
            Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(admitted) => {
                if let Some(request) = &admitted.request {
                    self.adopt_admitted_update(&super::update::update_id(request));
                }
            }
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted) => {
                let update_id = accepted.protocol_instance_id.clone();
                self.updates.remove(&update_id);
                self.adopt_accepted_update(&update_id);
                self.record.updates.insert(update_id, UpdateRecord { accepted_event_id: id, completed_event_id: 0 });
            }
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(completed) => {
                let update_id = completed.meta.as_ref().map(|meta| meta.update_id.clone()).unwrap_or_default();
                self.updates.remove(&update_id);
                let record = UpdateRecord { accepted_event_id: completed.accepted_event_id, completed_event_id: id };
                self.record.updates.insert(update_id, record);
            }
            _ => {}
        }
    }
}

fn child_of(initiated: &StartChildWorkflowExecutionInitiatedEventAttributes) -> ChildRecord {
    ChildRecord {
        workflow_id: initiated.workflow_id.clone(),
        run_id: String::new(),
        workflow_type: initiated.workflow_type.as_ref().map_or(String::new(), |kind| kind.name.clone()),
        parent_close_policy: initiated.parent_close_policy,
        started_event_id: 0,
    }
}

fn command_of(scheduled: &ActivityTaskScheduledEventAttributes) -> ScheduleActivityTaskCommandAttributes {
    ScheduleActivityTaskCommandAttributes {
        activity_id: scheduled.activity_id.clone(),
        activity_type: scheduled.activity_type.clone(),
        task_queue: scheduled.task_queue.clone(),
        header: scheduled.header.clone(),
        input: scheduled.input.clone(),
        schedule_to_close_timeout: scheduled.schedule_to_close_timeout,
        schedule_to_start_timeout: scheduled.schedule_to_start_timeout,
        start_to_close_timeout: scheduled.start_to_close_timeout,
        heartbeat_timeout: scheduled.heartbeat_timeout,
        retry_policy: scheduled.retry_policy.clone(),
        use_workflow_build_id: scheduled.use_workflow_build_id,
        priority: scheduled.priority.clone(),
        ..Default::default()
    }
}
