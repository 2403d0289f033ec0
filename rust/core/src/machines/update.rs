//! An update.
//!
//! The service asks with a message; the code accepts or rejects. An acceptance and, later or at once, the outcome are each a message
//! and a command that marks the message's place among the other commands; the history answers each with an event. A rejection is a
//! message alone: it leaves no trace in the history. In replay the messages are not sent again.

use super::{Effect, refused, step};
use crate::fault::Fault;
use prost::Message as _;
use temporalio_protos::{
    coresdk::{
        workflow_activation::DoUpdate,
        workflow_commands::{UpdateResponse, update_response::Response as Answer},
    },
    temporal::api::{
        command::v1::{ProtocolMessageCommandAttributes, command::Attributes as CommandAttributes},
        common::v1::Payloads,
        history::v1::{HistoryEvent, history_event::Attributes},
        protocol::v1::Message,
        update::v1::{Acceptance, Meta, Outcome, Rejection, Request, Response, outcome},
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Requested,        Input::Accept,    State::AcceptCommanded),
    (State::Requested,        Input::Reject,    State::Rejected),
    (State::AcceptCommanded,  Input::Accepted,  State::Accepted),
    (State::AcceptCommanded,  Input::Finish,    State::BothCommanded),
    (State::BothCommanded,    Input::Accepted,  State::FinishCommanded),
    (State::Accepted,         Input::Finish,    State::FinishCommanded),
    (State::FinishCommanded,  Input::Completed, State::Completed),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Requested,
    AcceptCommanded,
    BothCommanded,
    Accepted,
    FinishCommanded,
    Completed,
    Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Accept,
    Reject,
    Finish,
    Accepted,
    Completed,
}

/// A request as it came, in a message or in the event that accepted it.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) message_id: String,
    pub(crate) instance_id: String,
    /// The code may know of the update after this event.
    pub(crate) sequencing_event_id: i64,
    pub(crate) request: Request,
}

impl Incoming {
    fn meta(&self) -> Meta {
        self.request.meta.clone().unwrap_or_default()
    }

    pub(crate) fn job(&self, run_validator: bool) -> DoUpdate {
        let input = self.request.input.clone().unwrap_or_default();
        let meta = self.meta();
        DoUpdate {
            id: meta.update_id.clone(),
            protocol_instance_id: self.instance_id.clone(),
            name: input.name,
            input: input.args.map(|args| args.payloads).unwrap_or_default(),
            headers: input.header.map(|header| header.fields).unwrap_or_default(),
            meta: Some(meta),
            run_validator,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Update {
    incoming: Incoming,
    state: State,
}

impl Update {
    pub(crate) fn new(incoming: Incoming) -> Update {
        Update { incoming, state: State::Requested }
    }

    pub(crate) fn is_rejected(&self) -> bool {
        self.state == State::Rejected
    }

    pub(crate) fn describe(&self) -> String {
        format!("update '{}'", self.incoming.instance_id)
    }

    pub(crate) fn handle_response(&mut self, response: UpdateResponse) -> Result<Vec<Effect>, Fault> {
        let Some(answer) = response.response else {
            return Err(Fault::Fatal(format!("the code's answer to {} is empty", self.describe())));
        };
        let input = match (&answer, self.state) {
            (Answer::Accepted(()), _) => Input::Accept,
            (Answer::Rejected(_), State::Requested) => Input::Reject,
            (Answer::Rejected(_) | Answer::Completed(_), _) => Input::Finish,
        };
        let Some(after) = step(TABLE, self.state, input) else {
            return Err(Fault::Nondeterminism(format!(
                "the code's answer ({input:?}) does not fit {}, which is in state {:?}",
                self.describe(),
                self.state
            )));
        };
        self.state = after;
        Ok(match answer {
            Answer::Accepted(()) => self.accept(),
            Answer::Rejected(failure) if input == Input::Reject => {
                let rejection = Rejection {
                    rejected_request_message_id: self.incoming.message_id.clone(),
                    rejected_request_sequencing_event_id: self.incoming.sequencing_event_id,
                    rejected_request: Some(self.incoming.request.clone()),
                    failure: Some(failure),
                };
                vec![self.message("reject", "Rejection", rejection.encode_to_vec()).1]
            }
            Answer::Rejected(failure) => self.finish(outcome::Value::Failure(failure)),
            Answer::Completed(payload) => self.finish(outcome::Value::Success(Payloads { payloads: vec![payload] })),
        })
    }

    pub(crate) fn handle_event(&mut self, event: &HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let (input, id) = match &event.attributes {
            Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(attributes)) => {
                (Input::Accepted, attributes.protocol_instance_id.as_str())
            }
            Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(attributes)) => {
                (Input::Completed, attributes.meta.as_ref().map_or("", |meta| meta.update_id.as_str()))
            }
            _ => return Err(refused(&self.describe(), &self.state, event)),
        };
        let Some(after) = step(TABLE, self.state, input) else {
            return Err(refused(&self.describe(), &self.state, event));
        };
        if id != self.incoming.instance_id {
            return Err(Fault::Nondeterminism(format!(
                "event {} ({}) is about update '{id}', the code's command about {}",
                event.event_id,
                event.event_type().as_str_name(),
                self.describe()
            )));
        }
        self.state = after;
        Ok(Vec::new())
    }

    fn accept(&self) -> Vec<Effect> {
        let acceptance = Acceptance {
            accepted_request_message_id: self.incoming.message_id.clone(),
            accepted_request_sequencing_event_id: self.incoming.sequencing_event_id,
            accepted_request: Some(self.incoming.request.clone()),
        };
        self.message_and_command("accept", "Acceptance", acceptance.encode_to_vec())
    }

    fn finish(&self, value: outcome::Value) -> Vec<Effect> {
        let response = Response { meta: Some(self.incoming.meta()), outcome: Some(Outcome { value: Some(value) }) };
        self.message_and_command("complete", "Response", response.encode_to_vec())
    }

    fn message_and_command(&self, suffix: &str, kind: &str, body: Vec<u8>) -> Vec<Effect> {
        let (message_id, message) = self.message(suffix, kind, body);
        let attributes = ProtocolMessageCommandAttributes { message_id };
        vec![message, Effect::Command(CommandAttributes::ProtocolMessageCommandAttributes(attributes))]
    }

    fn message(&self, suffix: &str, kind: &str, value: Vec<u8>) -> (String, Effect) {
        let id = format!("{}/{suffix}", self.incoming.message_id);
        let message = Message {
            id: id.clone(),
            protocol_instance_id: self.incoming.instance_id.clone(),
            body: Some(prost_wkt_types::Any { type_url: format!("type.googleapis.com/temporal.api.update.v1.{kind}"), value }),
            ..Default::default()
        };
        (id, Effect::Message(Box::new(message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;
    use temporalio_protos::temporal::api::{
        common::v1::Payload,
        failure::v1::Failure,
        history::v1::{WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes},
    };

    const STATES: [State; 7] = [
        State::Requested,
        State::AcceptCommanded,
        State::BothCommanded,
        State::Accepted,
        State::FinishCommanded,
        State::Completed,
        State::Rejected,
    ];

    fn update(state: State) -> Update {
        let request = Request { meta: Some(Meta { update_id: "u".into(), identity: "me".into() }), ..Default::default() };
        let incoming = Incoming { message_id: "u/request".into(), instance_id: "u".into(), sequencing_event_id: 4, request };
        Update { incoming, state }
    }

    fn event(input: Input, id: &str) -> HistoryEvent {
        let attributes = if input == Input::Accepted {
            let attributes = WorkflowExecutionUpdateAcceptedEventAttributes { protocol_instance_id: id.into(), ..Default::default() };
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(attributes)
        } else {
            let meta = Some(Meta { update_id: id.into(), ..Default::default() });
            let attributes = WorkflowExecutionUpdateCompletedEventAttributes { meta, ..Default::default() };
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(attributes)
        };
        HistoryEvent { event_id: 7, attributes: Some(attributes), ..Default::default() }
    }

    fn answer(input: Input) -> UpdateResponse {
        let response = match input {
            Input::Accept => Answer::Accepted(()),
            Input::Reject => Answer::Rejected(Failure::default()),
            _ => Answer::Completed(Payload::default()),
        };
        UpdateResponse { protocol_instance_id: "u".into(), response: Some(response) }
    }

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        // A rejection after the acceptance is an outcome, so that `Reject` is tried in the first state only.
        let inputs = [Input::Accept, Input::Finish, Input::Accepted, Input::Completed];
        table::check(TABLE, &STATES, &inputs, |state, input| {
            let mut update = update(state);
            let accepted = match input {
                Input::Accepted | Input::Completed => update.handle_event(&event(input, "u")).is_ok(),
                _ => update.handle_response(answer(input)).is_ok(),
            };
            (accepted, update.state)
        });
        let mut rejected = update(State::Requested);
        let effects = rejected.handle_response(answer(Input::Reject)).unwrap();
        assert!(matches!(effects.as_slice(), [Effect::Message(_)]));
        assert_eq!(rejected.state, State::Rejected);
    }

    #[test]
    fn a_rejection_after_the_acceptance_is_an_outcome() {
        let mut update = update(State::Accepted);
        let effects = update.handle_response(answer(Input::Reject)).unwrap();
        let [Effect::Message(message), Effect::Command(_)] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!(message.id, "u/request/complete");
        let response = Response::decode(message.body.as_ref().unwrap().value.as_slice()).unwrap();
        assert!(matches!(response.outcome.unwrap().value, Some(outcome::Value::Failure(_))));
    }

    #[test]
    fn another_updates_event_is_refused() {
        let mut update = update(State::AcceptCommanded);
        let fault = update.handle_event(&event(Input::Accepted, "v")).unwrap_err();
        assert!(fault.to_string().contains("about update 'v', the code's command about update 'u'"), "{fault}");
        assert_eq!(update.state, State::AcceptCommanded);
    }
}
