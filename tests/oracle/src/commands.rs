//! What the service makes of the answer to a workflow task: events, and things that get under way.

use prost::Message as _;
use temporalio_protos::temporal::api::{
    command::v1::{Command, command::Attributes as Asked},
    enums::v1::{EventType, WorkflowTaskFailedCause},
    history::v1::{
        ActivityTaskCancelRequestedEventAttributes, ActivityTaskCanceledEventAttributes, ActivityTaskScheduledEventAttributes,
        MarkerRecordedEventAttributes, RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
        SignalExternalWorkflowExecutionInitiatedEventAttributes, StartChildWorkflowExecutionInitiatedEventAttributes,
        TimerCanceledEventAttributes, TimerStartedEventAttributes, UpsertWorkflowSearchAttributesEventAttributes,
        WorkflowExecutionCanceledEventAttributes, WorkflowExecutionCompletedEventAttributes,
        WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionFailedEventAttributes,
        WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes,
        WorkflowPropertiesModifiedEventAttributes, history_event::Attributes,
    },
    protocol::v1::Message,
    update::v1::{Acceptance, Response},
    workflowservice::v1::RespondWorkflowTaskCompletedRequest,
};

use crate::{
    known::Known,
    program::LEFT_ALONE,
    service::Service,
    world::{Activity, Child},
};

/// The service's answer to the answer.
pub enum Taken {
    Completed { reset_to_event_id: i64 },
    Refused,
}

pub fn complete(service: &mut Service, request: &RespondWorkflowTaskCompletedRequest) -> Taken {
    // Updates are answered by messages; a rejection is a message alone.
    let answered: Vec<&str> = request.messages.iter().map(|message| message.protocol_instance_id.as_str()).collect();
    let ends = request.commands.iter().filter_map(|command| command.attributes.as_ref()).any(is_end);
    if ends && !service.kept.is_empty() {
        service.fail_task(WorkflowTaskFailedCause::UnhandledCommand, "");
        return Taken::Refused;
    }
    service.updates.retain(|(instance_id, _)| !answered.contains(&instance_id.as_str()));
    if service.is_forgettable() && request.commands.is_empty() && !request.force_create_new_workflow_task {
        let reset_to_event_id = service.forget_task();
        service.settle(false);
        return Taken::Completed { reset_to_event_id };
    }
    let completed_id = service.write_completed(request.sdk_metadata.clone());
    for command in &request.commands {
        apply(service, command, &request.messages, completed_id);
    }
    service.settle(request.force_create_new_workflow_task);
    Taken::Completed { reset_to_event_id: 0 }
}

fn is_end(asked: &Asked) -> bool {
    matches!(
        asked,
        Asked::CompleteWorkflowExecutionCommandAttributes(_)
            | Asked::FailWorkflowExecutionCommandAttributes(_)
            | Asked::CancelWorkflowExecutionCommandAttributes(_)
            | Asked::ContinueAsNewWorkflowExecutionCommandAttributes(_)
    )
}

#[allow(deprecated, reason = "the events still have the fields")]
fn apply(service: &mut Service, command: &Command, messages: &[Message], completed_id: i64) {
    let workflow_task_completed_event_id = completed_id;
    match command.attributes.clone().expect("a command has attributes") {
        Asked::StartTimerCommandAttributes(asked) => {
            let attributes = TimerStartedEventAttributes {
                timer_id: asked.timer_id.clone(),
                start_to_fire_timeout: asked.start_to_fire_timeout,
                workflow_task_completed_event_id,
            };
            let event_id = service.write(EventType::TimerStarted, Attributes::TimerStartedEventAttributes(attributes));
            service.world.timers.push((asked.timer_id, event_id));
        }
        Asked::CancelTimerCommandAttributes(asked) => cancel_timer(service, asked.timer_id, completed_id),
        Asked::ScheduleActivityTaskCommandAttributes(asked) => {
            let is_left_alone = asked.activity_type.as_ref().is_some_and(|kind| kind.name == LEFT_ALONE);
            let only_completes = is_left_alone && service.allows != Some(Known::AbandonedFails);
            let attributes = ActivityTaskScheduledEventAttributes {
                activity_id: asked.activity_id,
                activity_type: asked.activity_type,
                task_queue: asked.task_queue,
                start_to_close_timeout: asked.start_to_close_timeout,
                workflow_task_completed_event_id,
                ..Default::default()
            };
            let attributes = Attributes::ActivityTaskScheduledEventAttributes(attributes);
            let scheduled_id = service.write(EventType::ActivityTaskScheduled, attributes);
            let activity = Activity { scheduled_id, only_completes, is_started: false, is_start_written: false, cancel_requested_id: 0 };
            service.world.activities.push(activity);
        }
        Asked::RequestCancelActivityTaskCommandAttributes(asked) => cancel_activity(service, asked.scheduled_event_id, completed_id),
        Asked::RecordMarkerCommandAttributes(asked) => {
            let attributes = MarkerRecordedEventAttributes {
                marker_name: asked.marker_name,
                details: asked.details,
                failure: asked.failure,
                header: asked.header,
                workflow_task_completed_event_id,
            };
            service.write(EventType::MarkerRecorded, Attributes::MarkerRecordedEventAttributes(attributes));
        }
        Asked::ProtocolMessageCommandAttributes(asked) => {
            let message = messages.iter().find(|message| message.id == asked.message_id).expect("a command names its message");
            answer_update(service, message);
        }
        other => apply_relation(service, other, completed_id),
    }
}

/// What is about another workflow.
#[allow(deprecated, reason = "the events still have the fields")]
fn apply_relation(service: &mut Service, asked: Asked, completed_id: i64) {
    let workflow_task_completed_event_id = completed_id;
    match asked {
        Asked::UpsertWorkflowSearchAttributesCommandAttributes(asked) => {
            let attributes = UpsertWorkflowSearchAttributesEventAttributes {
                workflow_task_completed_event_id,
                search_attributes: asked.search_attributes,
            };
            let attributes = Attributes::UpsertWorkflowSearchAttributesEventAttributes(attributes);
            service.write(EventType::UpsertWorkflowSearchAttributes, attributes);
        }
        Asked::ModifyWorkflowPropertiesCommandAttributes(asked) => {
            let attributes =
                WorkflowPropertiesModifiedEventAttributes { workflow_task_completed_event_id, upserted_memo: asked.upserted_memo };
            let attributes = Attributes::WorkflowPropertiesModifiedEventAttributes(attributes);
            service.write(EventType::WorkflowPropertiesModified, attributes);
        }
        Asked::StartChildWorkflowExecutionCommandAttributes(asked) => {
            let (workflow_id, kind) = (asked.workflow_id.clone(), asked.workflow_type.clone().unwrap_or_default().name);
            let attributes = StartChildWorkflowExecutionInitiatedEventAttributes {
                namespace: asked.namespace,
                workflow_id: asked.workflow_id,
                workflow_type: asked.workflow_type,
                task_queue: asked.task_queue,
                parent_close_policy: asked.parent_close_policy,
                workflow_task_completed_event_id,
                ..Default::default()
            };
            let attributes = Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(attributes);
            let initiated_id = service.write(EventType::StartChildWorkflowExecutionInitiated, attributes);
            service.world.children.push(Child { initiated_id, workflow_id, workflow_type: kind, is_started: false });
        }
        Asked::SignalExternalWorkflowExecutionCommandAttributes(asked) => {
            let workflow_id = asked.execution.clone().unwrap_or_default().workflow_id;
            let attributes = SignalExternalWorkflowExecutionInitiatedEventAttributes {
                workflow_task_completed_event_id,
                namespace: asked.namespace,
                workflow_execution: asked.execution,
                signal_name: asked.signal_name,
                input: asked.input,
                child_workflow_only: asked.child_workflow_only,
                ..Default::default()
            };
            let attributes = Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(attributes);
            let initiated_id = service.write(EventType::SignalExternalWorkflowExecutionInitiated, attributes);
            service.world.signals.push((initiated_id, workflow_id));
        }
        Asked::RequestCancelExternalWorkflowExecutionCommandAttributes(asked) => {
            let workflow_id = asked.workflow_id.clone();
            let attributes = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
                workflow_task_completed_event_id,
                namespace: asked.namespace,
                workflow_execution: Some(temporalio_protos::temporal::api::common::v1::WorkflowExecution {
                    workflow_id: asked.workflow_id,
                    run_id: asked.run_id,
                }),
                child_workflow_only: asked.child_workflow_only,
                reason: asked.reason,
                ..Default::default()
            };
            let attributes = Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(attributes);
            let initiated_id = service.write(EventType::RequestCancelExternalWorkflowExecutionInitiated, attributes);
            service.world.cancel_requests.push((initiated_id, workflow_id));
        }
        other => end(service, other, completed_id),
    }
}

fn end(service: &mut Service, asked: Asked, completed_id: i64) {
    let workflow_task_completed_event_id = completed_id;
    let (kind, attributes) = match asked {
        Asked::CompleteWorkflowExecutionCommandAttributes(asked) => {
            let ended = WorkflowExecutionCompletedEventAttributes {
                result: asked.result,
                workflow_task_completed_event_id,
                new_execution_run_id: String::new(),
            };
            (EventType::WorkflowExecutionCompleted, Attributes::WorkflowExecutionCompletedEventAttributes(ended))
        }
        Asked::FailWorkflowExecutionCommandAttributes(asked) => {
            let ended =
                WorkflowExecutionFailedEventAttributes { failure: asked.failure, workflow_task_completed_event_id, ..Default::default() };
            (EventType::WorkflowExecutionFailed, Attributes::WorkflowExecutionFailedEventAttributes(ended))
        }
        Asked::CancelWorkflowExecutionCommandAttributes(asked) => {
            let ended = WorkflowExecutionCanceledEventAttributes { workflow_task_completed_event_id, details: asked.details };
            (EventType::WorkflowExecutionCanceled, Attributes::WorkflowExecutionCanceledEventAttributes(ended))
        }
        Asked::ContinueAsNewWorkflowExecutionCommandAttributes(asked) => {
            let ended = WorkflowExecutionContinuedAsNewEventAttributes {
                new_execution_run_id: "next-run".to_owned(),
                workflow_type: asked.workflow_type,
                workflow_task_completed_event_id,
                ..Default::default()
            };
            (EventType::WorkflowExecutionContinuedAsNew, Attributes::WorkflowExecutionContinuedAsNewEventAttributes(ended))
        }
        other => panic!("the model of the service does not know the command {other:?}"),
    };
    service.write(kind, attributes);
}

fn cancel_timer(service: &mut Service, timer_id: String, completed_id: i64) {
    let running = service.world.timers.iter().position(|(id, _)| *id == timer_id);
    let started_event_id = match running {
        Some(index) => service.world.timers.remove(index).1,
        None => {
            // It fired while the task was at work: the service forgets that.
            let fired = |kept: &crate::service::Kept| match &kept.attributes {
                Attributes::TimerFiredEventAttributes(fired) if fired.timer_id == timer_id => Some(fired.started_event_id),
                _ => None,
            };
            let started_id = service.kept.iter().find_map(fired).expect("a timer that is cancelled runs");
            service.kept.retain(|kept| fired(kept).is_none());
            started_id
        }
    };
    let attributes = TimerCanceledEventAttributes {
        timer_id,
        started_event_id,
        workflow_task_completed_event_id: completed_id,
        identity: "worker".to_owned(),
    };
    service.write(EventType::TimerCanceled, Attributes::TimerCanceledEventAttributes(attributes));
}

fn cancel_activity(service: &mut Service, scheduled_event_id: i64, completed_id: i64) {
    let attributes = ActivityTaskCancelRequestedEventAttributes { scheduled_event_id, workflow_task_completed_event_id: completed_id };
    let attributes = Attributes::ActivityTaskCancelRequestedEventAttributes(attributes);
    let requested_id = service.write(EventType::ActivityTaskCancelRequested, attributes);
    let Some(index) = service.world.activities.iter().position(|activity| activity.scheduled_id == scheduled_event_id) else {
        return;
    };
    if service.world.activities[index].is_started {
        service.world.activities[index].cancel_requested_id = requested_id;
        return;
    }
    // Nobody has it yet: it is over at once. It stands behind the events of the other commands.
    service.world.activities.remove(index);
    let attributes =
        ActivityTaskCanceledEventAttributes { scheduled_event_id, latest_cancel_requested_event_id: requested_id, ..Default::default() };
    service.keep(EventType::ActivityTaskCanceled, Attributes::ActivityTaskCanceledEventAttributes(attributes));
}

fn answer_update(service: &mut Service, message: &Message) {
    let body = message.body.as_ref().expect("a message has a body");
    let protocol_instance_id = message.protocol_instance_id.clone();
    if body.type_url.ends_with("Acceptance") {
        let accepted = Acceptance::decode(body.value.as_slice()).expect("an acceptance");
        let attributes = WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: protocol_instance_id.clone(),
            accepted_request_message_id: accepted.accepted_request_message_id,
            accepted_request_sequencing_event_id: accepted.accepted_request_sequencing_event_id,
            accepted_request: accepted.accepted_request,
        };
        let attributes = Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(attributes);
        let event_id = service.write(EventType::WorkflowExecutionUpdateAccepted, attributes);
        service.world.accepted_ids.insert(protocol_instance_id, event_id);
    } else {
        let response = Response::decode(body.value.as_slice()).expect("a response");
        let attributes = WorkflowExecutionUpdateCompletedEventAttributes {
            meta: response.meta,
            accepted_event_id: service.world.accepted_ids[&protocol_instance_id],
            outcome: response.outcome,
        };
        let attributes = Attributes::WorkflowExecutionUpdateCompletedEventAttributes(attributes);
        service.write(EventType::WorkflowExecutionUpdateCompleted, attributes);
    }
}
