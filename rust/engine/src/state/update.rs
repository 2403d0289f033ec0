//! The updates of one run.
//!
//! An admitted update lives in memory only: it has no event, a restart forgets it and its caller asks again. It is sent to a worker with
//! the next workflow task. A rejected one is forgotten without a trace; an accepted one and its outcome are events, and the record
//! keeps which. Admitted → sent → accepted → completed; a task that fails sends again what it was sent.

use std::collections::BTreeMap;

use durable_client::{Code, Status};
use prost::Message as _;
use temporalio_protos::temporal::api::{
    command::v1::{Command, command::Attributes as C},
    enums::v1::WorkflowTaskFailedCause as Cause,
    errordetails::v1::{ResourceExhaustedFailure, WorkflowNotReadyFailure},
    failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    history::v1::{
        WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes, history_event::Attributes,
    },
    protocol::v1::{Message, message::SequencingId},
    update::v1::{Acceptance, Outcome, Rejection, Request, Response, outcome},
    workflowservice::v1 as api,
};

use super::{command::Refusal, record::UpdateRecord, run::Run, time::Nanos, world::CallId};

/// The server's `history.maxInFlightUpdates` and `history.maxTotalUpdates`.
pub const MAX_IN_FLIGHT: usize = 10;
pub const MAX_TOTAL: usize = 2000;
/// Beyond this share of them a worker is told to continue as new.
pub const SUGGEST_TOTAL: usize = MAX_TOTAL * 9 / 10;
const URL: &str = "type.googleapis.com/temporal.api.update.v1.";
/// The server's `ResourceExhausted` cause and scope for too many at once.
const CONCURRENT_LIMIT: i32 = 2;
const NAMESPACE_SCOPE: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Admitted,
    Sent,
    Accepted,
}

/// A caller that waits for a stage.
#[derive(Debug)]
pub struct Waiter {
    pub call: CallId,
    /// It is content with the acceptance.
    pub accepted: bool,
    pub answer: AnswerTo,
}

/// Which call waits, and what its answer needs besides the update.
#[derive(Debug)]
pub enum AnswerTo {
    Update,
    Poll,
    /// Update-with-start: the answer to its start, and the whole call to do it again on a new run.
    Multi {
        start: Box<api::StartWorkflowExecutionResponse>,
        again: Option<Box<api::ExecuteMultiOperationRequest>>,
    },
}

#[derive(Debug)]
pub struct Update {
    pub stage: Stage,
    pub request: Request,
    /// Named its run: it does not move on to the next one.
    pub pinned: bool,
    /// An event of the history holds its request: no message brings it to the worker.
    pub by_event: bool,
    /// The order in which updates came.
    pub order: u64,
    pub waiters: Vec<Waiter>,
}

/// An update that is over, for those who wait.
#[derive(Debug)]
pub struct Ended {
    pub id: String,
    pub waiters: Vec<Waiter>,
    pub outcome: Result<Outcome, Status>,
}

/// What a worker says about an update.
pub enum Said {
    Accepted(Acceptance),
    Rejected(Rejection),
    Finished(Response),
}

pub type Messages = BTreeMap<String, (usize, String, Said)>;

pub fn failed(failure: Failure) -> Outcome {
    Outcome { value: Some(outcome::Value::Failure(failure)) }
}

fn from_server(kind: &str, message: &str) -> Failure {
    Failure {
        message: message.into(),
        source: "Server".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: kind.into(),
            non_retryable: true,
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// The outcome of an accepted update whose workflow ended before it.
pub fn outlived() -> Outcome {
    let message = "Workflow Update failed because the Workflow completed before the Update completed.";
    failed(from_server("AcceptedUpdateCompletedWorkflow", message))
}

/// The workflow is in no state to be asked.
pub fn not_ready(message: &str) -> Status {
    Status::with_detail(
        Code::FailedPrecondition,
        message,
        "temporal.api.errordetails.v1.WorkflowNotReadyFailure",
        &WorkflowNotReadyFailure::default(),
    )
}

/// The messages of a completion by their ids.
pub fn parse(messages: Vec<Message>) -> Result<Messages, Refusal> {
    let bad = |text: String| (Cause::BadUpdateWorkflowExecutionMessage, text);
    let mut parsed = Messages::new();
    for (index, message) in messages.into_iter().enumerate() {
        let body = message.body.ok_or_else(|| bad(format!("Update {} received message with nil body", message.protocol_instance_id)))?;
        let bytes = body.value.as_slice();
        let said = match body.type_url.strip_prefix(URL) {
            Some("Acceptance") => Acceptance::decode(bytes).map(Said::Accepted),
            Some("Rejection") => Rejection::decode(bytes).map(Said::Rejected),
            Some("Response") => Response::decode(bytes).map(Said::Finished),
            _ => return Err(bad(format!("Message type {} not supported", body.type_url))),
        };
        let said = said.map_err(|error| bad(format!("unable to unmarshal request: {error}")))?;
        parsed.insert(message.id, (index, message.protocol_instance_id, said));
    }
    Ok(parsed)
}

impl Run {
    /// Takes an update in, unless it is known already.
    pub fn admit_update(&mut self, now: Nanos, request: Request, pinned: bool) -> Result<(), Status> {
        let id = update_id(&request);
        if self.updates.contains_key(&id) || self.record.updates.contains_key(&id) {
            return Ok(());
        }
        if !self.is_open() {
            return Err(super::limit::not_found("workflow execution already completed"));
        }
        if self.keeps_failing() {
            return Err(not_ready("Unable to perform workflow execution update due to Workflow Task in failed state."));
        }
        if self.updates.len() >= MAX_IN_FLIGHT {
            return Err(Status::with_detail(
                Code::ResourceExhausted,
                format!("limit on number of concurrent in-flight updates has been reached ({MAX_IN_FLIGHT})"),
                "temporal.api.errordetails.v1.ResourceExhaustedFailure",
                &ResourceExhaustedFailure { cause: CONCURRENT_LIMIT, scope: NAMESPACE_SCOPE },
            ));
        }
        if self.total_updates() >= MAX_TOTAL {
            return Err(Status::new(
                Code::FailedPrecondition,
                format!(
                    "The limit on the total number of distinct updates in this workflow has been reached ({MAX_TOTAL}). Make sure any \
                     duplicate updates share an Update ID so the server can deduplicate them, and consider rejecting updates that you \
                     aren't going to process. You can also Continue-as-New to avoid this; we recommend you check Continue-as-New \
                     Suggested in your Workflow."
                ),
            ));
        }
        self.update_count += 1;
        let update = Update { stage: Stage::Admitted, request, pinned, by_event: false, order: self.update_count, waiters: Vec::new() };
        self.updates.insert(id, update);
        self.schedule_speculative_task(now);
        Ok(())
    }

    /// Updates in flight and completed ones: accepted ones are in both maps.
    pub fn total_updates(&self) -> usize {
        let completed = self.record.updates.values().filter(|update| update.completed_event_id > 0).count();
        self.updates.len() + completed
    }

    /// Whether a workflow task would have something to bring.
    pub fn has_unsent_updates(&self) -> bool {
        self.updates.values().any(|update| update.stage != Stage::Accepted)
    }

    /// The messages of the workflow task that was just started: all that is not accepted, also what an earlier attempt was sent.
    pub fn send_updates(&mut self, started_event_id: i64) -> Vec<Message> {
        let mut unsent: Vec<(&String, &mut Update)> =
            self.updates.iter_mut().filter(|(_, update)| update.stage != Stage::Accepted).collect();
        unsent.sort_by_key(|(_, update)| update.order);
        unsent
            .into_iter()
            .filter_map(|(id, update)| {
                update.stage = Stage::Sent;
                (!update.by_event).then(|| Message {
                    id: format!("{id}/request"),
                    protocol_instance_id: id.clone(),
                    sequencing_id: Some(SequencingId::EventId(started_event_id - 1)),
                    body: Some(prost_wkt_types::Any { type_url: format!("{URL}Request"), value: update.request.encode_to_vec() }),
                })
            })
            .collect()
    }

    /// Checks the messages of a completion against its commands and the states of the updates; nothing changes.
    pub fn check_messages(&self, commands: &[Command], messages: &Messages) -> Result<(), Refusal> {
        let bad = |text: String| Err((Cause::BadUpdateWorkflowExecutionMessage, text));
        let mut stages: BTreeMap<&str, Stage> = self.updates.iter().map(|(id, update)| (id.as_str(), update.stage)).collect();
        for message_id in in_order(commands, messages) {
            let Some((_, id, said)) = messages.get(message_id) else {
                return bad(format!("ProtocolMessageCommand referenced absent message ID {message_id}"));
            };
            let resurrected = matches!(said, Said::Accepted(Acceptance { accepted_request: Some(_), .. }))
                || matches!(said, Said::Rejected(Rejection { rejected_request: Some(_), .. }));
            let stage = stages.get(id.as_str()).copied().or(resurrected.then_some(Stage::Sent));
            match (said, stage) {
                (_, None) => {
                    return bad(format!(
                        "update {id} wasn't found on the server. This is most likely a transient error which will be resolved \
                         automatically by retries"
                    ));
                }
                (Said::Accepted(_), Some(Stage::Admitted | Stage::Sent)) => {
                    stages.insert(id, Stage::Accepted);
                }
                (Said::Rejected(_), Some(Stage::Admitted | Stage::Sent)) | (Said::Finished(_), Some(Stage::Accepted)) => {
                    stages.remove(id.as_str());
                }
                (_, Some(stage)) => return bad(format!("invalid state transition attempted for Update {id} while in state {stage:?}")),
            }
        }
        Ok(())
    }

    /// What a worker said; checked before.
    pub fn apply_message(&mut self, now: Nanos, id: String, said: Said) {
        match said {
            Said::Accepted(acceptance) => self.accept_update(now, id, acceptance),
            Said::Rejected(rejection) => {
                let outcome = failed(rejection.failure.unwrap_or_default());
                self.end_update(id, Ok(outcome));
            }
            Said::Finished(response) => {
                let accepted_event_id = self.record.updates.get(&id).map_or(0, |update| update.accepted_event_id);
                let completed_event_id = self.add(
                    now,
                    Attributes::WorkflowExecutionUpdateCompletedEventAttributes(WorkflowExecutionUpdateCompletedEventAttributes {
                        meta: response.meta,
                        accepted_event_id,
                        outcome: response.outcome.clone(),
                    }),
                );
                self.record.updates.insert(id.clone(), UpdateRecord { accepted_event_id, completed_event_id });
                self.end_update(id, Ok(response.outcome.unwrap_or_default()));
            }
        }
    }

    fn accept_update(&mut self, now: Nanos, id: String, acceptance: Acceptance) {
        let count = self.update_count + 1;
        let update = self.updates.entry(id.clone()).or_insert_with(|| Update {
            stage: Stage::Sent,
            request: acceptance.accepted_request.unwrap_or_default(),
            pinned: true,
            by_event: false,
            order: count,
            waiters: Vec::new(),
        });
        update.stage = Stage::Accepted;
        let request = std::mem::take(&mut update.request);
        let accepted_request = (!update.by_event).then_some(request);
        let accepted_event_id = self.add(
            now,
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(WorkflowExecutionUpdateAcceptedEventAttributes {
                protocol_instance_id: id.clone(),
                accepted_request_message_id: format!("{id}/request"),
                accepted_request_sequencing_event_id: acceptance.accepted_request_sequencing_event_id,
                accepted_request,
            }),
        );
        self.record.updates.insert(id, UpdateRecord { accepted_event_id, completed_event_id: 0 });
    }

    /// An update that was accepted before the engine was started.
    pub fn adopt_accepted_update(&mut self, id: &str) {
        self.adopt_update(id, Stage::Accepted);
    }

    /// An update that waits in the history.
    pub fn adopt_admitted_update(&mut self, id: &str) {
        self.adopt_update(id, Stage::Admitted);
    }

    fn adopt_update(&mut self, id: &str, stage: Stage) {
        self.update_count += 1;
        let (request, order) = (Request::default(), self.update_count);
        let update = Update { stage, request, pinned: true, by_event: true, order, waiters: Vec::new() };
        self.updates.insert(id.to_owned(), update);
    }

    pub fn end_update(&mut self, id: String, outcome: Result<Outcome, Status>) {
        if let Some(update) = self.updates.remove(&id) {
            self.ended_updates.push(Ended { id, waiters: update.waiters, outcome });
        }
    }

    /// A worker that completes a task without a word on an update it was sent does not know updates.
    pub fn reject_unprocessed_updates(&mut self) {
        let message = "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported by \
                       the worker.";
        for id in self.sent_updates() {
            self.end_update(id, Ok(failed(from_server("UnprocessedUpdate", message))));
        }
    }

    /// The service refused a completion: what the worker was sent fails, because sending it again would fail again.
    pub fn abort_sent_updates(&mut self) {
        for id in self.sent_updates() {
            let message = "Unable to perform workflow execution update due to unexpected workflow task failure.";
            self.end_update(id, Err(not_ready(message)));
        }
    }

    fn sent_updates(&self) -> Vec<String> {
        self.updates.iter().filter(|(_, update)| update.stage == Stage::Sent).map(|(id, _)| id.clone()).collect()
    }
}

/// The messages in the order in which they count: those with a command where the command is, then the others.
pub fn in_order<'a>(commands: &'a [Command], messages: &'a Messages) -> Vec<&'a String> {
    let mut order: Vec<&String> = commands
        .iter()
        .filter_map(|command| match &command.attributes {
            Some(C::ProtocolMessageCommandAttributes(attributes)) => Some(&attributes.message_id),
            _ => None,
        })
        .collect();
    let mut rest: Vec<(&usize, &String)> =
        messages.iter().filter(|(id, _)| !order.contains(id)).map(|(id, (index, ..))| (index, id)).collect();
    rest.sort();
    order.extend(rest.into_iter().map(|(_, id)| id));
    order
}

pub fn update_id(request: &Request) -> String {
    request.meta.as_ref().map(|meta| meta.update_id.clone()).unwrap_or_default()
}
