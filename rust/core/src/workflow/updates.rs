//! The updates of one run: requests in, from messages or from the history; answers out.
//!
//! Live, requests come as messages of the workflow task, each with the event after which the code may know of it. In replay there
//! are no messages: the event that accepted an update lies behind the workflow task that delivered it, so that the next stretch is
//! looked at before the code runs.

use super::{Annotations, Key, Workflow};
use crate::{
    fault::Fault,
    machines::{Incoming, Machine, Update},
};
use prost::Message as _;
use std::collections::BTreeMap;
use temporalio_protos::{
    coresdk::{workflow_activation::workflow_activation_job::Variant as Job, workflow_commands::UpdateResponse},
    temporal::api::{
        history::v1::{WorkflowExecutionUpdateAcceptedEventAttributes, history_event::Attributes},
        protocol::v1::{Message, message::SequencingId},
        update::v1::Request,
    },
};

const REQUEST: &str = "temporal.api.update.v1.Request";

#[derive(Debug, Default)]
pub(super) struct Updates {
    /// Not yet told to the code.
    incoming: Vec<Incoming>,
    outgoing: Vec<Message>,
    by_instance: BTreeMap<String, Key>,
    /// Requests that the history holds in events of their own (after a reset): the accepted event then has none.
    admitted: BTreeMap<String, Request>,
}

impl Workflow {
    pub(crate) fn handle_messages(&mut self, messages: Vec<Message>) -> Result<(), Fault> {
        for message in messages {
            self.updates.incoming.push(incoming(message)?);
        }
        Ok(())
    }

    /// The answers that the live task's completion carries.
    pub(crate) fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.updates.outgoing)
    }

    pub(super) fn push_message(&mut self, message: Message) {
        if !self.replaying {
            self.updates.outgoing.push(message);
        }
    }

    /// Tells the code of the requests that may be known before event `event_id`.
    pub(super) fn deliver_updates_before(&mut self, event_id: i64) {
        let incoming = std::mem::take(&mut self.updates.incoming);
        let (due, later): (Vec<_>, Vec<_>) = incoming.into_iter().partition(|request| request.sequencing_event_id < event_id);
        self.updates.incoming = later;
        for request in due {
            self.begin_update(request);
        }
    }

    /// An update that waits in the history itself.
    pub(super) fn admit_update(&mut self, request: Option<Request>, event_id: i64) -> Result<(), Fault> {
        let request = checked(request, &format!("event {event_id} (update admitted)"))?;
        let instance_id = request.meta.as_ref().map(|meta| meta.update_id.clone()).unwrap_or_default();
        if self.replaying {
            self.updates.admitted.insert(instance_id, request);
        } else {
            let message_id = format!("{instance_id}/request");
            self.updates.incoming.push(Incoming { message_id, instance_id, sequencing_event_id: event_id, request });
        }
        Ok(())
    }

    /// Tells the code of the updates that the next stretch accepts: their requests came before it.
    pub(super) fn look_ahead_to_updates(&mut self) -> Result<(), Fault> {
        let known = |attributes: &&WorkflowExecutionUpdateAcceptedEventAttributes| {
            let machine = self.updates.by_instance.get(&attributes.protocol_instance_id).map(|key| &self.machines[*key]);
            // The id of a rejected update may be used again, also with another worker.
            matches!(machine, Some(Machine::Update(update)) if !update.is_rejected())
        };
        let accepted: Vec<_> = self
            .history
            .peek_next()
            .filter_map(|event| match &event.attributes {
                Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(attributes)) => Some(attributes),
                _ => None,
            })
            // This worker's own, which are about to have their event, are known.
            .filter(|attributes| !known(attributes))
            .cloned()
            .collect();
        for attributes in accepted {
            let instance_id = attributes.protocol_instance_id;
            let admitted = self.updates.admitted.remove(&instance_id);
            let what = format!("the event that accepted the update '{instance_id}'");
            self.begin_update(Incoming {
                message_id: attributes.accepted_request_message_id,
                sequencing_event_id: attributes.accepted_request_sequencing_event_id,
                request: checked(attributes.accepted_request.or(admitted), &what)?,
                instance_id,
            });
        }
        Ok(())
    }

    pub(super) fn handle_update_response(&mut self, response: UpdateResponse, annotations: Annotations) -> Result<(), Fault> {
        let instance_id = response.protocol_instance_id.clone();
        let Some(key) = self.updates.by_instance.get(&instance_id).copied() else {
            return Err(Fault::Fatal(format!("the code answered the update '{instance_id}', which nobody asked for")));
        };
        let effects = match &mut self.machines[key] {
            Machine::Update(update) => update.handle_response(response)?,
            _ => Vec::new(),
        };
        self.handle_effects(key, effects, annotations);
        Ok(())
    }

    fn begin_update(&mut self, incoming: Incoming) {
        self.jobs.push(Job::DoUpdate(incoming.job(!self.replaying)));
        let instance_id = incoming.instance_id.clone();
        let key = self.add_machine(Machine::Update(Box::new(Update::new(incoming))));
        self.updates.by_instance.insert(instance_id, key);
    }
}

fn incoming(message: Message) -> Result<Incoming, Fault> {
    let what = format!("the message '{}' of the workflow task", message.id);
    let Some(SequencingId::EventId(sequencing_event_id)) = message.sequencing_id else {
        return Err(Fault::Fatal(format!("{what} does not say after which event it comes")));
    };
    let Some(body) = message.body.filter(|body| body.type_url.ends_with(REQUEST)) else {
        return Err(Fault::Fatal(format!("{what} is no update request: this version does not know others")));
    };
    let request = Request::decode(body.value.as_slice()).map_err(|error| Fault::Fatal(format!("{what} cannot be decoded: {error}")))?;
    let request = checked(Some(request), &what)?;
    Ok(Incoming { message_id: message.id, instance_id: message.protocol_instance_id, sequencing_event_id, request })
}

fn checked(request: Option<Request>, what: &str) -> Result<Request, Fault> {
    match request {
        Some(request) if request.meta.is_some() && request.input.is_some() => Ok(request),
        _ => Err(Fault::Fatal(format!("{what} has no complete request"))),
    }
}
