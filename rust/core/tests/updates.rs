//! Updates: live from messages, in replay from the events that accepted them, and the same for the code both times.

mod support;

use durable_core::{Output, Run};
use prost::Message as _;
use support::*;
use temporalio_protos::{
    coresdk::{
        workflow_activation::{DoUpdate, WorkflowActivation, workflow_activation_job::Variant as Job},
        workflow_commands::{UpdateResponse, update_response::Response as Answer, workflow_command::Variant as LangCommand},
    },
    temporal::api::{
        common::v1::Payload,
        enums::v1::EventType,
        failure::v1::Failure,
        history::v1::{
            WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateAdmittedEventAttributes,
            WorkflowExecutionUpdateCompletedEventAttributes, history_event::Attributes,
        },
        protocol::v1::{Message, message::SequencingId},
        update::v1::{Acceptance, Input, Meta, Request},
        workflowservice::v1::PollWorkflowTaskQueueResponse,
    },
};

fn request(id: &str) -> Request {
    Request {
        meta: Some(Meta { update_id: id.into(), ..Default::default() }),
        input: Some(Input { name: "change".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn message(id: &str, after: i64) -> Message {
    Message {
        id: format!("{id}/request"),
        protocol_instance_id: id.into(),
        sequencing_id: Some(SequencingId::EventId(after)),
        body: Some(prost_wkt_types::Any {
            type_url: "type.googleapis.com/temporal.api.update.v1.Request".into(),
            value: request(id).encode_to_vec(),
        }),
    }
}

fn with(messages: Vec<Message>, task: PollWorkflowTaskQueueResponse) -> PollWorkflowTaskQueueResponse {
    PollWorkflowTaskQueueResponse { messages, ..task }
}

fn accepted_event(service: &mut Service, id: &str, after: i64, request: Option<Request>) {
    service.add(
        EventType::WorkflowExecutionUpdateAccepted,
        Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: id.into(),
            accepted_request_message_id: format!("{id}/request"),
            accepted_request_sequencing_event_id: after,
            accepted_request: request,
        }),
    );
}

fn completed_event(service: &mut Service, id: &str) {
    service.add(
        EventType::WorkflowExecutionUpdateCompleted,
        Attributes::WorkflowExecutionUpdateCompletedEventAttributes(WorkflowExecutionUpdateCompletedEventAttributes {
            meta: Some(Meta { update_id: id.into(), ..Default::default() }),
            ..Default::default()
        }),
    );
}

fn answer_to(id: &str, response: Answer) -> LangCommand {
    LangCommand::UpdateResponse(UpdateResponse { protocol_instance_id: id.into(), response: Some(response) })
}

fn accept(id: &str) -> LangCommand {
    answer_to(id, Answer::Accepted(()))
}

fn finish(id: &str) -> LangCommand {
    answer_to(id, Answer::Completed(Payload::default()))
}

fn reject(id: &str) -> LangCommand {
    answer_to(id, Answer::Rejected(Failure::default()))
}

fn updates(activation: &WorkflowActivation) -> Vec<DoUpdate> {
    jobs(activation)
        .into_iter()
        .filter_map(|job| match job {
            Job::DoUpdate(update) => Some(update),
            _ => None,
        })
        .collect()
}

#[test]
fn an_update_is_validated_live_and_answered_with_messages() {
    let mut service = Service::new();
    service.signal("before");
    let started = service.start_task();
    let mut run = run();
    run.handle_task(with(vec![message("u", started - 1)], service.task(0)));
    let activation = next_activation(&mut run);
    assert_eq!(names(&activation), ["InitializeWorkflow", "SignalWorkflow", "DoUpdate"]);
    assert!(updates(&activation)[0].run_validator);
    run.handle_completion(completion(vec![accept("u"), start_timer(1), finish("u")]));
    let request = next_complete(&mut run);
    let ids: Vec<&str> = request.messages.iter().map(|message| message.id.as_str()).collect();
    assert_eq!(ids, ["u/request/accept", "u/request/complete"]);
    let acceptance = Acceptance::decode(request.messages[0].body.as_ref().unwrap().value.as_slice()).unwrap();
    assert_eq!(acceptance.accepted_request_sequencing_event_id, started - 1);
    assert_eq!(request.commands.len(), 3);
}

#[test]
fn a_rejection_is_a_message_alone_and_the_dropped_task_is_taken_back() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    run.handle_completion(completion(vec![start_timer(1)]));
    let request = next_complete(&mut run);
    service.complete_task(&request);
    run.handle_completed(0);
    // A speculative task: its two events are shown to the worker only.
    let kept = service.clone();
    let started = service.start_task();
    run.handle_task(with(vec![message("u", started - 1)], service.sticky_task()));
    assert_eq!(names(&next_activation(&mut run)), ["DoUpdate"]);
    run.handle_completion(completion(vec![reject("u")]));
    let request = next_complete(&mut run);
    assert_eq!((request.commands.len(), request.messages.len()), (0, 1));
    run.handle_completed(kept.started_id);
    // The next task has the same event ids again.
    let mut service = kept;
    service.fire_timer("1");
    service.start_task();
    run.handle_task(service.sticky_task());
    assert_eq!(names(&next_activation(&mut run)), ["FireTimer"]);
    run.handle_completion(completion(vec![complete_workflow()]));
    next_complete(&mut run);
}

/// A first task that fails, a signal, and the task in which the update comes.
fn after_a_failed_task() -> (Service, i64) {
    let mut service = Service::new();
    service.signal("first");
    service.start_task();
    service.fail_task();
    service.signal("second");
    let started = service.start_task();
    (service, started)
}

#[test]
fn the_order_after_a_failed_task_is_the_same_live_and_replayed() {
    let (mut service, started) = after_a_failed_task();
    let mut live = run();
    live.handle_task(with(vec![message("u", started - 1)], service.task(0)));
    let expected = ["InitializeWorkflow", "SignalWorkflow", "SignalWorkflow", "DoUpdate"];
    assert_eq!(names(&next_activation(&mut live)), expected);

    service.add_completed(None);
    accepted_event(&mut service, "u", started - 1, Some(request("u")));
    completed_event(&mut service, "u");
    service.completed();
    let mut replay = replayer();
    replay.handle_task(service.replay_task());
    let activation = next_activation(&mut replay);
    assert_eq!(names(&activation), expected);
    assert!(!updates(&activation)[0].run_validator);
    replay.handle_completion(completion(vec![accept("u"), finish("u"), complete_workflow()]));
    assert!(replay.is_idle() && replay.poll().is_none());
}

/// What a replay is evicted for in which the code answers the update with `commands`.
fn fault(commands: Vec<LangCommand>) -> String {
    let (mut service, started) = after_a_failed_task();
    service.add_completed(None);
    accepted_event(&mut service, "u", started - 1, Some(request("u")));
    service.timer_started("1");
    let mut run = replayer();
    run.handle_task(service.replay_task());
    next_activation(&mut run);
    run.handle_completion(completion(commands));
    expect_eviction(&mut run)
}

#[test]
fn code_that_answers_otherwise_is_found_out() {
    assert!(fault(vec![start_timer(1), accept("u")]).contains("PROTOCOL_MESSAGE was expected"));
    assert!(fault(vec![reject("u"), start_timer(1)]).contains("PROTOCOL_MESSAGE was expected"));
    assert!(fault(vec![accept("u"), finish("u"), start_timer(1)]).contains("START_TIMER was expected"));
    assert!(fault(vec![accept("u"), accept("u")]).contains("does not fit update 'u'"));
    assert!(fault(vec![accept("v")]).contains("the update 'v', which nobody asked for"));
}

#[test]
fn an_admitted_update_is_told_by_its_event() {
    let mut service = Service::new();
    let admitted = service.add(
        EventType::WorkflowExecutionUpdateAdmitted,
        Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(WorkflowExecutionUpdateAdmittedEventAttributes {
            request: Some(request("u")),
            ..Default::default()
        }),
    );
    service.start_task();
    let mut live = run();
    live.handle_task(service.task(0));
    assert_eq!(names(&next_activation(&mut live)), ["InitializeWorkflow", "DoUpdate"]);
    service.add_completed(None);
    accepted_event(&mut service, "u", admitted, None);
    service.completed();
    let mut replay = replayer();
    replay.handle_task(service.replay_task());
    let activation = next_activation(&mut replay);
    assert_eq!(names(&activation), ["InitializeWorkflow", "DoUpdate"]);
    assert_eq!(updates(&activation)[0].name, "change");
}

fn refused(message: Message) -> String {
    let mut service = Service::new();
    service.start_task();
    let mut run: Run = run();
    run.handle_task(with(vec![message], service.task(0)));
    match run.poll() {
        Some(Output::Fail(request)) => request.failure.unwrap_or_default().message,
        other => panic!("expected a failed task, got {other:?}"),
    }
}

#[test]
fn malformed_messages_fail_the_task() {
    assert!(refused(Message { sequencing_id: None, ..message("u", 2) }).contains("does not say after which event"));
    assert!(refused(Message { body: None, ..message("u", 2) }).contains("is no update request"));
    let mut other = message("u", 2);
    other.body.as_mut().unwrap().value = vec![0xff];
    assert!(refused(other).contains("cannot be decoded"));
    let mut empty = message("u", 2);
    empty.body.as_mut().unwrap().value = Request::default().encode_to_vec();
    assert!(refused(empty).contains("has no complete request"));
}
