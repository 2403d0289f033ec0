//! The worker's answers to tasks: a function of the task and of nothing else, as of a worker that has just been started.

use durable_client::{Request, Rpc};
use prost::Message as _;
use temporalio_protos::temporal::api::{
    command::v1::{Command, ProtocolMessageCommandAttributes, command::Attributes},
    protocol::v1::{Message, message::SequencingId},
    update::v1::{Acceptance, Outcome, Request as Update, Response, outcome},
    workflowservice::v1::{
        PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
        RespondActivityTaskCompletedRequest, RespondActivityTaskFailedRequest, RespondWorkflowTaskCompletedRequest,
        respond_workflow_task_completed_request::Capabilities,
    },
};

use crate::plan::{QUEUE, decide, failure, queue, text};

pub const NAMESPACE: &str = "default";
const IDENTITY: &str = "worker";

pub fn poll_workflows() -> Request {
    let task_queue = queue(QUEUE);
    PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue, identity: IDENTITY.into(), ..Default::default() }.into_request()
}

pub fn poll_activities() -> Request {
    let task_queue = queue(QUEUE);
    PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue, identity: IDENTITY.into(), ..Default::default() }.into_request()
}

/// Accepts and completes the updates that came with the task and does what is next in the workflow.
pub fn answer_workflow(task: &PollWorkflowTaskQueueResponse) -> Request {
    let messages: Vec<Message> = task.messages.iter().flat_map(answer_update).collect();
    let protocol = messages
        .iter()
        .map(|message| Attributes::ProtocolMessageCommandAttributes(ProtocolMessageCommandAttributes { message_id: message.id.clone() }));
    let events = task.history.as_ref().map(|history| history.events.as_slice()).unwrap_or_default();
    let commands =
        protocol.chain(decide(events).commands).map(|attributes| Command { attributes: Some(attributes), ..Default::default() }).collect();
    let capabilities = Some(Capabilities { discard_speculative_workflow_task_with_events: true });
    RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token.clone(),
        identity: IDENTITY.into(),
        namespace: NAMESPACE.into(),
        commands,
        messages,
        capabilities,
        ..Default::default()
    }
    .into_request()
}

fn answer_update(request: &Message) -> Vec<Message> {
    let Some(body) = request.body.as_ref().filter(|body| body.type_url.ends_with("update.v1.Request")) else { return Vec::new() };
    let Ok(update) = Update::decode(body.value.as_slice()) else { return Vec::new() };
    let sequence = match request.sequencing_id {
        Some(SequencingId::EventId(event_id)) => event_id,
        _ => 0,
    };
    let meta = update.meta.clone();
    let acceptance = Acceptance {
        accepted_request_message_id: request.id.clone(),
        accepted_request_sequencing_event_id: sequence,
        accepted_request: Some(update),
    };
    let outcome = Some(Outcome { value: text("updated").map(outcome::Value::Success) });
    let id = &request.protocol_instance_id;
    vec![message(id, "Acceptance", acceptance.encode_to_vec()), message(id, "Response", Response { meta, outcome }.encode_to_vec())]
}

fn message(update_id: &str, kind: &str, value: Vec<u8>) -> Message {
    Message {
        id: format!("{update_id}/{kind}"),
        protocol_instance_id: update_id.into(),
        body: Some(prost_wkt_types::Any { type_url: format!("type.googleapis.com/temporal.api.update.v1.{kind}"), value }),
        ..Default::default()
    }
}

/// Fails as often as the activity's input says.
pub fn answer_activity(task: &PollActivityTaskQueueResponse) -> Request {
    let input = task.input.as_ref().and_then(|input| input.payloads.first());
    let failures = input.and_then(|payload| std::str::from_utf8(&payload.data).ok()?.trim_matches('"').parse::<i32>().ok()).unwrap_or(0);
    let (task_token, namespace, identity) = (task.task_token.clone(), NAMESPACE.to_owned(), IDENTITY.to_owned());
    if task.attempt <= failures {
        let failure = failure("not yet");
        return RespondActivityTaskFailedRequest { task_token, failure, namespace, identity, ..Default::default() }.into_request();
    }
    let result = text("acted");
    RespondActivityTaskCompletedRequest { task_token, result, namespace, identity, ..Default::default() }.into_request()
}
