//! Updates in the engine: what is written, what is not, and who is told what.

mod support;

use std::sync::Arc;

use durable_client::{Code, Status};
use durable_engine::Engine;
use prost::Message as _;
use support::*;
use temporalio_protos::temporal::api::{
    command::v1::{Command, ProtocolMessageCommandAttributes, command::Attributes},
    enums::v1::EventType,
    failure::v1::Failure,
    protocol::v1::{Message, message::SequencingId},
    update::v1::{Acceptance, Input, Meta, Outcome, Rejection, Request, Response, UpdateRef, WaitPolicy, outcome},
    workflowservice::v1::{
        execute_multi_operation_request::{Operation, operation},
        respond_workflow_task_completed_request::Capabilities,
        *,
    },
};

const ACCEPTED: i32 = 2;
const COMPLETED: i32 = 3;

fn update_request(id: &str, update_id: &str, stage: i32) -> UpdateWorkflowExecutionRequest {
    UpdateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: execution(id),
        wait_policy: Some(WaitPolicy { lifecycle_stage: stage }),
        request: Some(Request {
            meta: Some(Meta { update_id: update_id.into(), identity: "c".into() }),
            input: Some(Input { name: "change".into(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

type Asked = tokio::task::JoinHandle<Result<UpdateWorkflowExecutionResponse, Status>>;

/// Sends an update from a task of its own, and returns when the engine has it.
async fn send(engine: &Arc<Engine>, id: &str, update_id: &str, stage: i32) -> Asked {
    let request = update_request(id, update_id, stage);
    let asked = tokio::spawn({
        let engine = engine.clone();
        async move { ask(&engine, request).await }
    });
    let unknown =
        |answer: &Result<PollWorkflowExecutionUpdateResponse, Status>| answer.as_ref().is_err_and(|status| status.code == Code::NotFound);
    while unknown(&look(engine, id, update_id, 0).await) {
        tokio::task::yield_now().await;
    }
    asked
}

async fn look(engine: &Engine, id: &str, update_id: &str, stage: i32) -> Result<PollWorkflowExecutionUpdateResponse, Status> {
    let request = PollWorkflowExecutionUpdateRequest {
        namespace: "default".into(),
        update_ref: Some(UpdateRef { workflow_execution: execution(id), update_id: update_id.into() }),
        wait_policy: Some(WaitPolicy { lifecycle_stage: stage }),
        ..Default::default()
    };
    ask(engine, request).await
}

fn message(update_id: &str, kind: &str, value: Vec<u8>) -> Message {
    Message {
        id: format!("{update_id}/{kind}"),
        protocol_instance_id: update_id.into(),
        body: Some(prost_wkt_types::Any { type_url: format!("type.googleapis.com/temporal.api.update.v1.{kind}"), value }),
        ..Default::default()
    }
}

fn accepted(update_id: &str, task: &PollWorkflowTaskQueueResponse) -> Message {
    let request = task.messages.iter().find(|message| message.protocol_instance_id == update_id).expect("the task brings the update");
    let Some(SequencingId::EventId(event_id)) = request.sequencing_id else { panic!("no sequencing id") };
    assert_eq!(event_id, task.started_event_id - 1);
    let acceptance = Acceptance {
        accepted_request_message_id: request.id.clone(),
        accepted_request_sequencing_event_id: event_id,
        accepted_request: None,
    };
    message(update_id, "Acceptance", acceptance.encode_to_vec())
}

fn rejected(update_id: &str) -> Message {
    let failure = Some(Failure { message: "no".into(), ..Default::default() });
    message(update_id, "Rejection", Rejection { failure, ..Default::default() }.encode_to_vec())
}

fn finished(update_id: &str) -> Message {
    let response = Response {
        meta: Some(Meta { update_id: update_id.into(), ..Default::default() }),
        outcome: Some(Outcome { value: Some(outcome::Value::Success(Default::default())) }),
    };
    message(update_id, "Response", response.encode_to_vec())
}

/// Completes a task with messages, each with its command if it has one, and then `attributes`.
async fn answer(
    engine: &Engine,
    task_token: Vec<u8>,
    messages: Vec<Message>,
    attributes: Vec<Attributes>,
) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
    let with_command = messages.iter().filter(|message| !message.id.ends_with("Rejection"));
    let protocol = with_command
        .map(|message| Attributes::ProtocolMessageCommandAttributes(ProtocolMessageCommandAttributes { message_id: message.id.clone() }));
    let commands = protocol.chain(attributes).map(|attributes| Command { attributes: Some(attributes), ..Default::default() }).collect();
    let capabilities = Some(Capabilities { discard_speculative_workflow_task_with_events: true });
    let request = RespondWorkflowTaskCompletedRequest {
        task_token,
        commands,
        messages,
        capabilities,
        namespace: "default".into(),
        ..Default::default()
    };
    ask(engine, request).await
}

/// A workflow whose first task is done.
async fn idle(engine: &Engine, id: &str) {
    start(engine, id).await;
    let task = poll(engine).await;
    complete(engine, task.task_token, vec![]).await.expect("completes");
}

const BEGIN: [EventType; 4] = [
    EventType::WorkflowExecutionStarted,
    EventType::WorkflowTaskScheduled,
    EventType::WorkflowTaskStarted,
    EventType::WorkflowTaskCompleted,
];

async fn types_after_begin(engine: &Engine, id: &str) -> Vec<EventType> {
    let types = types(engine, id).await;
    assert_eq!(types[..4], BEGIN);
    types[4..].to_vec()
}

fn failure_of(outcome: Option<Outcome>) -> Failure {
    match outcome.and_then(|outcome| outcome.value) {
        Some(outcome::Value::Failure(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

use EventType::{
    WorkflowExecutionSignaled, WorkflowExecutionTerminated, WorkflowExecutionUpdateAccepted, WorkflowExecutionUpdateCompleted,
    WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskScheduled, WorkflowTaskStarted,
};

#[test]
fn an_update_is_accepted_and_completed() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        let asked = send(&engine, "w", "u", COMPLETED).await;
        let task = poll(&engine).await;
        let accept = accepted("u", &task);
        answer(&engine, task.task_token, vec![accept, finished("u")], vec![]).await.expect("completes");
        let told = asked.await.unwrap().expect("answers");
        assert_eq!(told.stage, COMPLETED);
        assert!(told.outcome.is_some());
        let expected = [
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            WorkflowExecutionUpdateAccepted,
            WorkflowExecutionUpdateCompleted,
        ];
        assert_eq!(types_after_begin(&engine, "w").await, expected);
        // The same id again is the same update.
        let again = ask(&engine, update_request("w", "u", COMPLETED)).await.expect("answers");
        assert_eq!(again.outcome, told.outcome);
    });
}

#[test]
fn a_rejected_update_leaves_no_trace() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        let asked = send(&engine, "w", "u", ACCEPTED).await;
        let task = poll(&engine).await;
        assert_eq!((task.started_event_id, task.messages.len()), (6, 1));
        assert_eq!(task.history.unwrap().events.len(), 6);
        let told = answer(&engine, task.task_token, vec![rejected("u")], vec![]).await.expect("completes");
        assert_eq!(told.reset_history_event_id, 3);
        let told = asked.await.unwrap().expect("answers");
        assert_eq!((told.stage, failure_of(told.outcome).message.as_str()), (COMPLETED, "no"));
        assert!(types_after_begin(&engine, "w").await.is_empty());
        assert_eq!(look(&engine, "w", "u", 0).await.unwrap_err().code, Code::NotFound);
    });
}

#[test]
fn an_event_makes_a_speculative_task_ordinary() {
    block_on(async {
        let engine = memory(false);
        for (id, started) in [("before", false), ("after", true)] {
            idle(&engine, id).await;
            let asked = send(&engine, id, "u", ACCEPTED).await;
            let task = if started {
                let task = poll(&engine).await;
                signal(&engine, id, "s").await;
                task
            } else {
                signal(&engine, id, "s").await;
                poll(&engine).await
            };
            answer(&engine, task.task_token, vec![rejected("u")], vec![]).await.expect("completes");
            asked.await.unwrap().expect("answers");
            let mut expected = vec![WorkflowTaskScheduled, WorkflowExecutionSignaled, WorkflowTaskStarted, WorkflowTaskCompleted];
            if started {
                expected = vec![
                    WorkflowTaskScheduled,
                    WorkflowTaskStarted,
                    WorkflowTaskCompleted,
                    WorkflowExecutionSignaled,
                    WorkflowTaskScheduled,
                ];
            }
            assert_eq!(types_after_begin(&engine, id).await, expected, "a signal {id} the start");
        }
    });
}

#[test]
fn a_failed_task_sends_its_updates_again() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        let asked = send(&engine, "w", "u", COMPLETED).await;
        let task = poll(&engine).await;
        let failed = RespondWorkflowTaskFailedRequest { task_token: task.task_token, namespace: "default".into(), ..Default::default() };
        ask(&engine, failed).await.expect("fails");
        let task = poll(&engine).await;
        assert_eq!((task.attempt, task.messages.len()), (2, 1));
        let accept = accepted("u", &task);
        answer(&engine, task.task_token, vec![accept, finished("u")], vec![]).await.expect("completes");
        assert_eq!(asked.await.unwrap().expect("answers").stage, COMPLETED);
        let types = types_after_begin(&engine, "w").await;
        assert_eq!(types[..3], [WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskFailed]);
        assert_eq!(types[5..], [WorkflowTaskCompleted, WorkflowExecutionUpdateAccepted, WorkflowExecutionUpdateCompleted]);
    });
}

#[test]
fn bad_messages_fail_the_task_and_the_update() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        let asked = send(&engine, "w", "u", COMPLETED).await;
        let task = poll(&engine).await;
        let refused = answer(&engine, task.task_token, vec![finished("u")], vec![]).await.unwrap_err();
        assert!(refused.message.starts_with("BadUpdateWorkflowExecutionMessage: invalid state transition"), "{}", refused.message);
        let told = asked.await.unwrap().unwrap_err();
        assert_eq!(told.code, Code::FailedPrecondition);
        let task = poll(&engine).await;
        assert!(task.messages.is_empty());
        let refused = answer(&engine, task.task_token, vec![finished("x")], vec![]).await.unwrap_err();
        assert!(refused.message.contains("update x wasn't found"), "{}", refused.message);
    });
}

#[test]
fn a_worker_that_ignores_an_update_rejects_it() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        let asked = send(&engine, "w", "u", COMPLETED).await;
        let task = poll(&engine).await;
        complete(&engine, task.task_token, vec![timer("t", 60)]).await.expect("completes");
        let failure = failure_of(asked.await.unwrap().expect("answers").outcome);
        assert!(failure.message.contains("it wasn't processed by worker"), "{}", failure.message);
    });
}

#[test]
fn the_end_of_a_workflow_ends_its_updates() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        let first = send(&engine, "w", "a", COMPLETED).await;
        let task = poll(&engine).await;
        let accept = accepted("a", &task);
        answer(&engine, task.task_token, vec![accept], vec![]).await.expect("completes");
        let second = send(&engine, "w", "b", COMPLETED).await;
        let terminate =
            TerminateWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: execution("w"), ..Default::default() };
        ask(&engine, terminate).await.expect("terminates");
        let failure = failure_of(first.await.unwrap().expect("answers").outcome);
        assert!(failure.message.contains("the Workflow completed before the Update completed"), "{}", failure.message);
        assert_eq!(second.await.unwrap().unwrap_err().message, "workflow update was aborted by closing workflow");
        assert_eq!(types(&engine, "w").await.last(), Some(&WorkflowExecutionTerminated));
        assert!(!types_after_begin(&engine, "w").await[4..].contains(&WorkflowTaskScheduled), "the speculative task is not written");
        // Whoever asks later is told the same.
        assert!(look(&engine, "w", "a", COMPLETED).await.expect("answers").outcome.is_some());
        assert_eq!(look(&engine, "w", "b", COMPLETED).await.unwrap_err().code, Code::NotFound);
    });
}

#[test]
fn too_many_at_once_are_refused() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        for number in 0..10 {
            send(&engine, "w", &number.to_string(), COMPLETED).await;
        }
        let refused = ask(&engine, update_request("w", "more", COMPLETED)).await.unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted);
        // In the order in which they came.
        let ids: Vec<String> = poll(&engine).await.messages.into_iter().map(|message| message.protocol_instance_id).collect();
        assert_eq!(ids, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn accepted_updates_are_in_the_file_admitted_ones_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("w.db");
    block_on(async {
        let engine = file(&path);
        idle(&engine, "w").await;
        send(&engine, "w", "a", COMPLETED).await;
        let task = poll(&engine).await;
        let accept = accepted("a", &task);
        answer(&engine, task.task_token, vec![accept], vec![timer("t", 600)]).await.expect("completes");
        send(&engine, "w", "b", COMPLETED).await;
        engine.close();
        let engine = file(&path);
        assert_eq!(look(&engine, "w", "b", 0).await.unwrap_err().code, Code::NotFound);
        assert_eq!(look(&engine, "w", "a", ACCEPTED).await.expect("answers").stage, ACCEPTED);
        signal(&engine, "w", "s").await;
        let task = poll(&engine).await;
        answer(&engine, task.task_token, vec![finished("a")], vec![done()]).await.expect("completes");
        assert!(look(&engine, "w", "a", COMPLETED).await.expect("answers").outcome.is_some());
        engine.close();
        let engine = file(&path);
        assert!(look(&engine, "w", "a", COMPLETED).await.expect("answers").outcome.is_some());
        engine.close();
    });
}

fn multi(id: &str, update_id: &str, policy: i32) -> ExecuteMultiOperationRequest {
    let start = StartWorkflowExecutionRequest { workflow_id_conflict_policy: policy, request_id: update_id.into(), ..start_request(id) };
    let operations =
        [operation::Operation::StartWorkflow(start), operation::Operation::UpdateWorkflow(update_request(id, update_id, ACCEPTED))];
    let operations = operations.into_iter().map(|operation| Operation { operation: Some(operation) }).collect();
    ExecuteMultiOperationRequest { namespace: "default".into(), operations, ..Default::default() }
}

#[test]
fn update_with_start_moves_to_a_new_run_when_the_old_one_closes() {
    block_on(async {
        let engine = memory(false);
        idle(&engine, "w").await;
        let asked = tokio::spawn({
            let engine = engine.clone();
            async move { ask(&engine, multi("w", "u", 2)).await }
        });
        while look(&engine, "w", "u", 0).await.is_err() {
            tokio::task::yield_now().await;
        }
        let task = poll(&engine).await;
        assert_eq!(task.messages.len(), 1);
        answer(&engine, task.task_token, vec![], vec![done()]).await.expect("completes");
        // A new run was started with the update in its first task.
        let task = poll(&engine).await;
        assert_eq!((task.started_event_id, task.messages.len()), (3, 1));
        let accept = accepted("u", &task);
        answer(&engine, task.task_token, vec![accept], vec![]).await.expect("completes");
        let told = asked.await.unwrap().expect("answers");
        assert_eq!(told.responses.len(), 2);
        let refused = ask(&engine, multi("w", "v", 1)).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (Code::AlreadyExists, "Update-with-Start could not be executed."));
    });
}
