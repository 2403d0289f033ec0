//! What is under way outside of the run (timers, activities, children, requests to other workflows), and how it ends.

use std::collections::BTreeMap;

use temporalio_protos::temporal::api::{
    common::v1::{Payloads, WorkflowExecution, WorkflowType},
    enums::v1::{
        CancelExternalWorkflowExecutionFailedCause, EventType, RetryState, SignalExternalWorkflowExecutionFailedCause,
        StartChildWorkflowExecutionFailedCause, TimeoutType,
    },
    failure::v1::{Failure, TimeoutFailureInfo, failure::FailureInfo},
    history::v1::{
        ActivityTaskCanceledEventAttributes, ActivityTaskCompletedEventAttributes, ActivityTaskFailedEventAttributes,
        ActivityTaskStartedEventAttributes, ActivityTaskTimedOutEventAttributes, ChildWorkflowExecutionCanceledEventAttributes,
        ChildWorkflowExecutionCompletedEventAttributes, ChildWorkflowExecutionFailedEventAttributes,
        ChildWorkflowExecutionStartedEventAttributes, ChildWorkflowExecutionTerminatedEventAttributes,
        ChildWorkflowExecutionTimedOutEventAttributes, ExternalWorkflowExecutionCancelRequestedEventAttributes,
        ExternalWorkflowExecutionSignaledEventAttributes, HistoryEvent, RequestCancelExternalWorkflowExecutionFailedEventAttributes,
        SignalExternalWorkflowExecutionFailedEventAttributes, StartChildWorkflowExecutionFailedEventAttributes, TimerFiredEventAttributes,
        WorkflowExecutionCancelRequestedEventAttributes, WorkflowExecutionSignaledEventAttributes, history_event::Attributes,
    },
    update::v1::{Input, Meta, Request},
};

use crate::{
    dice::Dice,
    program::{failure, payload},
    service::Service,
};

#[derive(Debug, Clone)]
pub struct Activity {
    pub scheduled_id: i64,
    /// The program may abandon it: see `Known::AbandonedFails`.
    pub only_completes: bool,
    pub is_started: bool,
    /// Its start has an event at once; otherwise (it may be retried) only when it ends.
    pub is_start_written: bool,
    /// The event of the request, or 0.
    pub cancel_requested_id: i64,
}

#[derive(Debug, Clone)]
pub struct Child {
    pub initiated_id: i64,
    pub workflow_id: String,
    pub workflow_type: String,
    pub is_started: bool,
}

#[derive(Debug, Default)]
pub struct World {
    /// Timer id and the event that started it.
    pub timers: Vec<(String, i64)>,
    pub activities: Vec<Activity>,
    pub children: Vec<Child>,
    /// The event that initiated it, and the workflow it is for.
    pub signals: Vec<(i64, String)>,
    pub cancel_requests: Vec<(i64, String)>,
    updates_asked: u32,
    is_cancel_requested: bool,
    /// By the event that scheduled it: the event that started it.
    started_ids: BTreeMap<i64, i64>,
    /// By the update's instance: the event that accepted it.
    pub accepted_ids: BTreeMap<String, i64>,
}

fn payloads(text: &str) -> Option<Payloads> {
    Some(Payloads { payloads: vec![payload(text)] })
}

fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() })
}

impl World {
    /// Fills in which event started what an event ends: known only when it is written.
    pub fn resolve_references(&mut self, event: &mut HistoryEvent) {
        let (what, started_event_id) = match &mut event.attributes {
            Some(Attributes::ActivityTaskStartedEventAttributes(a)) => {
                self.started_ids.insert(a.scheduled_event_id, event.event_id);
                return;
            }
            Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(a)) => {
                self.started_ids.insert(a.initiated_event_id, event.event_id);
                return;
            }
            Some(Attributes::ActivityTaskCompletedEventAttributes(a)) => (a.scheduled_event_id, &mut a.started_event_id),
            Some(Attributes::ActivityTaskFailedEventAttributes(a)) => (a.scheduled_event_id, &mut a.started_event_id),
            Some(Attributes::ActivityTaskCanceledEventAttributes(a)) => (a.scheduled_event_id, &mut a.started_event_id),
            Some(Attributes::ActivityTaskTimedOutEventAttributes(a)) => (a.scheduled_event_id, &mut a.started_event_id),
            Some(Attributes::ChildWorkflowExecutionCompletedEventAttributes(a)) => (a.initiated_event_id, &mut a.started_event_id),
            Some(Attributes::ChildWorkflowExecutionFailedEventAttributes(a)) => (a.initiated_event_id, &mut a.started_event_id),
            Some(Attributes::ChildWorkflowExecutionCanceledEventAttributes(a)) => (a.initiated_event_id, &mut a.started_event_id),
            Some(Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a)) => (a.initiated_event_id, &mut a.started_event_id),
            Some(Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a)) => (a.initiated_event_id, &mut a.started_event_id),
            _ => return,
        };
        *started_event_id = self.started_ids.get(&what).copied().unwrap_or_default();
    }
}

/// Something happens to the run.
pub fn happen(service: &mut Service, dice: &mut Dice) {
    let time = dice.pick(&[0, 1, 20, 3_000]);
    service.pass(time);
    match dice.roll(9) {
        0 if !service.world.timers.is_empty() => fire_timer(service, dice),
        1 | 2 if !service.world.activities.is_empty() => move_activity(service, dice),
        3 if !service.world.children.is_empty() => move_child(service, dice),
        4 if !service.world.signals.is_empty() => end_signal(service, dice),
        5 if !service.world.cancel_requests.is_empty() => end_cancel_request(service, dice),
        6 => ask_update(service, dice),
        7 if !service.world.is_cancel_requested && dice.one_in(4) => {
            service.world.is_cancel_requested = true;
            let attributes = WorkflowExecutionCancelRequestedEventAttributes { cause: "enough".to_owned(), ..Default::default() };
            service.happened(
                EventType::WorkflowExecutionCancelRequested,
                Attributes::WorkflowExecutionCancelRequestedEventAttributes(attributes),
            );
        }
        _ => signal(service, dice),
    }
}

fn signal(service: &mut Service, dice: &mut Dice) {
    let attributes = WorkflowExecutionSignaledEventAttributes {
        signal_name: dice.pick(&["poke", "add"]).to_owned(),
        input: payloads("now"),
        identity: "client".to_owned(),
        ..Default::default()
    };
    service.happened(EventType::WorkflowExecutionSignaled, Attributes::WorkflowExecutionSignaledEventAttributes(attributes));
}

fn ask_update(service: &mut Service, dice: &mut Dice) {
    service.world.updates_asked += 1;
    let instance_id = format!("update-{}", service.world.updates_asked);
    let request = Request {
        meta: Some(Meta { update_id: instance_id.clone(), identity: "client".to_owned() }),
        input: Some(Input { name: dice.pick(&["set", "add"]).to_owned(), args: payloads("value"), ..Default::default() }),
        ..Default::default()
    };
    service.ask_update(instance_id, request);
}

fn fire_timer(service: &mut Service, dice: &mut Dice) {
    let index = dice.roll(service.world.timers.len());
    let (timer_id, started_event_id) = service.world.timers.remove(index);
    let attributes = TimerFiredEventAttributes { timer_id, started_event_id };
    service.happened(EventType::TimerFired, Attributes::TimerFiredEventAttributes(attributes));
}

fn move_activity(service: &mut Service, dice: &mut Dice) {
    let index = dice.roll(service.world.activities.len());
    let activity = &mut service.world.activities[index];
    let scheduled_event_id = activity.scheduled_id;
    if !activity.is_started && (activity.only_completes || !dice.one_in(6)) {
        activity.is_started = true;
        activity.is_start_written = dice.one_in(2);
        if activity.is_start_written {
            write_activity_start(service, scheduled_event_id);
        }
        return;
    }
    let activity = service.world.activities.remove(index);
    if !activity.is_started {
        return time_activity_out(service, &activity, TimeoutType::ScheduleToStart);
    }
    if !activity.is_start_written {
        write_activity_start(service, scheduled_event_id);
    }
    let identity = "worker".to_owned();
    match if activity.only_completes { 4 } else { dice.roll(5) } {
        0 => service.happened(
            EventType::ActivityTaskFailed,
            Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
                scheduled_event_id,
                failure: Some(failure("declined")),
                retry_state: RetryState::NonRetryableFailure as i32,
                identity,
                ..Default::default()
            }),
        ),
        1 => time_activity_out(
            service,
            &activity,
            dice.pick(&[TimeoutType::StartToClose, TimeoutType::Heartbeat, TimeoutType::ScheduleToClose]),
        ),
        2 | 3 if activity.cancel_requested_id > 0 => service.happened(
            EventType::ActivityTaskCanceled,
            Attributes::ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes {
                scheduled_event_id,
                latest_cancel_requested_event_id: activity.cancel_requested_id,
                identity,
                ..Default::default()
            }),
        ),
        _ => service.happened(
            EventType::ActivityTaskCompleted,
            Attributes::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
                scheduled_event_id,
                result: payloads("receipt"),
                identity,
                ..Default::default()
            }),
        ),
    }
}

fn write_activity_start(service: &mut Service, scheduled_event_id: i64) {
    let attributes = ActivityTaskStartedEventAttributes { scheduled_event_id, attempt: 1, ..Default::default() };
    service.happened(EventType::ActivityTaskStarted, Attributes::ActivityTaskStartedEventAttributes(attributes));
}

fn time_activity_out(service: &mut Service, activity: &Activity, kind: TimeoutType) {
    let info = TimeoutFailureInfo { timeout_type: kind as i32, ..Default::default() };
    let failure = Failure { failure_info: Some(FailureInfo::TimeoutFailureInfo(info)), ..failure("activity timeout") };
    let attributes = ActivityTaskTimedOutEventAttributes {
        scheduled_event_id: activity.scheduled_id,
        failure: Some(failure),
        retry_state: RetryState::Timeout as i32,
        ..Default::default()
    };
    service.happened(EventType::ActivityTaskTimedOut, Attributes::ActivityTaskTimedOutEventAttributes(attributes));
}

fn move_child(service: &mut Service, dice: &mut Dice) {
    let index = dice.roll(service.world.children.len());
    let child = service.world.children[index].clone();
    let initiated_event_id = child.initiated_id;
    let workflow_type = Some(WorkflowType { name: child.workflow_type.clone() });
    if child.is_started {
        service.world.children.remove(index);
        return end_child(service, dice, &child);
    }
    if dice.one_in(4) {
        service.world.children.remove(index);
        let attributes = StartChildWorkflowExecutionFailedEventAttributes {
            workflow_id: child.workflow_id,
            workflow_type,
            cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists as i32,
            initiated_event_id,
            ..Default::default()
        };
        let attributes = Attributes::StartChildWorkflowExecutionFailedEventAttributes(attributes);
        return service.happened(EventType::StartChildWorkflowExecutionFailed, attributes);
    }
    service.world.children[index].is_started = true;
    let attributes = ChildWorkflowExecutionStartedEventAttributes {
        namespace: "default".to_owned(),
        initiated_event_id,
        workflow_execution: execution(&child.workflow_id, "child-run"),
        workflow_type,
        ..Default::default()
    };
    service.happened(EventType::ChildWorkflowExecutionStarted, Attributes::ChildWorkflowExecutionStartedEventAttributes(attributes));
}

fn end_child(service: &mut Service, dice: &mut Dice, child: &Child) {
    let (namespace, initiated_event_id) = ("default".to_owned(), child.initiated_id);
    let workflow_execution = execution(&child.workflow_id, "child-run");
    let workflow_type = Some(WorkflowType { name: child.workflow_type.clone() });
    let (kind, attributes) = match dice.roll(7) {
        0 => {
            let failure = Some(failure("child failed"));
            let retry_state = RetryState::RetryPolicyNotSet as i32;
            let ended = ChildWorkflowExecutionFailedEventAttributes {
                failure,
                namespace,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                retry_state,
                ..Default::default()
            };
            (EventType::ChildWorkflowExecutionFailed, Attributes::ChildWorkflowExecutionFailedEventAttributes(ended))
        }
        1 | 2 => {
            let ended = ChildWorkflowExecutionCanceledEventAttributes {
                namespace,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                ..Default::default()
            };
            (EventType::ChildWorkflowExecutionCanceled, Attributes::ChildWorkflowExecutionCanceledEventAttributes(ended))
        }
        3 => {
            let retry_state = RetryState::RetryPolicyNotSet as i32;
            let ended = ChildWorkflowExecutionTimedOutEventAttributes {
                namespace,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                retry_state,
                ..Default::default()
            };
            (EventType::ChildWorkflowExecutionTimedOut, Attributes::ChildWorkflowExecutionTimedOutEventAttributes(ended))
        }
        4 => {
            let ended = ChildWorkflowExecutionTerminatedEventAttributes {
                namespace,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                ..Default::default()
            };
            (EventType::ChildWorkflowExecutionTerminated, Attributes::ChildWorkflowExecutionTerminatedEventAttributes(ended))
        }
        _ => {
            let ended = ChildWorkflowExecutionCompletedEventAttributes {
                result: payloads("child result"),
                namespace,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                ..Default::default()
            };
            (EventType::ChildWorkflowExecutionCompleted, Attributes::ChildWorkflowExecutionCompletedEventAttributes(ended))
        }
    };
    service.happened(kind, attributes);
}

fn end_signal(service: &mut Service, dice: &mut Dice) {
    let index = dice.roll(service.world.signals.len());
    let (initiated_event_id, workflow_id) = service.world.signals.remove(index);
    let (namespace, workflow_execution) = ("default".to_owned(), execution(&workflow_id, ""));
    if dice.one_in(3) {
        let cause = SignalExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound as i32;
        let attributes = SignalExternalWorkflowExecutionFailedEventAttributes {
            cause,
            namespace,
            workflow_execution,
            initiated_event_id,
            ..Default::default()
        };
        let attributes = Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(attributes);
        return service.happened(EventType::SignalExternalWorkflowExecutionFailed, attributes);
    }
    let attributes =
        ExternalWorkflowExecutionSignaledEventAttributes { initiated_event_id, namespace, workflow_execution, ..Default::default() };
    let attributes = Attributes::ExternalWorkflowExecutionSignaledEventAttributes(attributes);
    service.happened(EventType::ExternalWorkflowExecutionSignaled, attributes);
}

fn end_cancel_request(service: &mut Service, dice: &mut Dice) {
    let index = dice.roll(service.world.cancel_requests.len());
    let (initiated_event_id, workflow_id) = service.world.cancel_requests.remove(index);
    let (namespace, workflow_execution) = ("default".to_owned(), execution(&workflow_id, ""));
    if dice.one_in(3) {
        let cause = CancelExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound as i32;
        let attributes = RequestCancelExternalWorkflowExecutionFailedEventAttributes {
            cause,
            namespace,
            workflow_execution,
            initiated_event_id,
            ..Default::default()
        };
        let attributes = Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(attributes);
        return service.happened(EventType::RequestCancelExternalWorkflowExecutionFailed, attributes);
    }
    let attributes =
        ExternalWorkflowExecutionCancelRequestedEventAttributes { initiated_event_id, namespace, workflow_execution, ..Default::default() };
    let attributes = Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(attributes);
    service.happened(EventType::ExternalWorkflowExecutionCancelRequested, attributes);
}
