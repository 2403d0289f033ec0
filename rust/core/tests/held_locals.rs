//! Markers of local activities that are held in a replay until the activation in which their outcome was told live.

mod support;

use durable_core::{Output, Run};
use support::*;
use temporalio_protos::{
    constants::LOCAL_ACTIVITY_MARKER_NAME,
    coresdk::{
        common::build_local_activity_marker_details,
        external_data::LocalActivityMarkerData,
        workflow_commands::{ScheduleLocalActivity, UpdateResponse, update_response::Response, workflow_command::Variant as LangCommand},
    },
    temporal::api::{
        enums::v1::EventType,
        history::v1::{MarkerRecordedEventAttributes, WorkflowExecutionUpdateAcceptedEventAttributes, history_event::Attributes},
        update::v1::{Input, Meta, Request},
    },
};

fn local(seq: u32) -> LangCommand {
    LangCommand::ScheduleLocalActivity(ScheduleLocalActivity {
        seq,
        activity_id: seq.to_string(),
        activity_type: "look".to_owned(),
        start_to_close_timeout: Some(prost_wkt_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    })
}

/// The outcome of the local activity `seq`, told in the activation of its task with this index, counted from 0.
fn marker(service: &mut Service, seq: u32, activation_index: u64) {
    let data = LocalActivityMarkerData {
        seq,
        attempt: 1,
        activity_id: seq.to_string(),
        activity_type: "look".to_owned(),
        activation_index: Some(activation_index),
        ..Default::default()
    };
    let details = build_local_activity_marker_details(data, None);
    let attributes = MarkerRecordedEventAttributes { marker_name: LOCAL_ACTIVITY_MARKER_NAME.to_owned(), details, ..Default::default() };
    service.add(EventType::MarkerRecorded, Attributes::MarkerRecordedEventAttributes(attributes));
}

fn replay(service: &Service) -> Run {
    let mut run = replayer();
    run.handle_task(service.replay_task());
    run
}

fn shows(run: &mut Run, expected: &[&str], commands: Vec<LangCommand>) {
    assert_eq!(names(&next_activation(run)), expected);
    run.handle_completion(completion(commands));
}

#[test]
fn an_update_gives_the_code_its_turn_before_an_outcome_that_was_told_after_it() {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    let started = service.start_task();
    service.add_completed(None);
    service.add(
        EventType::WorkflowExecutionUpdateAccepted,
        Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: "u".to_owned(),
            accepted_request_sequencing_event_id: started - 1,
            accepted_request: Some(Request { meta: Some(Meta::default()), input: Some(Input::default()), ..Default::default() }),
            ..Default::default()
        }),
    );
    marker(&mut service, 1, 1);
    service.completed();
    let accept = UpdateResponse { protocol_instance_id: "u".to_owned(), response: Some(Response::Accepted(())) };
    let mut run = replay(&service);
    shows(&mut run, &["InitializeWorkflow"], vec![local(1)]);
    shows(&mut run, &["DoUpdate"], vec![LangCommand::UpdateResponse(accept)]);
    shows(&mut run, &["ResolveActivity"], vec![complete_workflow()]);
    assert!(run.poll().is_none() && run.is_idle());
}

/// The activation before them held nothing but a rejected update, and so is not in the history.
#[test]
fn outcomes_after_an_activation_without_trace_stay_apart() {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    marker(&mut service, 1, 2);
    marker(&mut service, 2, 3);
    service.completed();
    let mut run = replay(&service);
    shows(&mut run, &["InitializeWorkflow"], vec![local(1), local(2)]);
    shows(&mut run, &["ResolveActivity"], vec![]);
    shows(&mut run, &["ResolveActivity"], vec![complete_workflow()]);
    assert!(run.poll().is_none() && run.is_idle());
}

#[test]
fn an_outcome_that_was_not_asked_for_is_no_reason_to_go_on() {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    marker(&mut service, 1, 2);
    service.completed();
    let mut run = replay(&service);
    shows(&mut run, &["InitializeWorkflow"], vec![complete_workflow()]);
    assert!(matches!(run.poll(), Some(Output::Activation(_))), "the code differs from its history");
}
