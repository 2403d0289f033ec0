//! A signal to another workflow, and a cancel request for one.
//!
//! The code asks; the history records that it was initiated, and then that the other workflow got it or that it could not be
//! reached. A signal can be withdrawn before its command is sent, not later; a cancel request cannot. A request that a child's
//! cancellation made belongs to the child: the code never hears of it.

use super::{Effect, refused, step};
use crate::fault::Fault;
use temporalio_protos::{
    coresdk::workflow_activation::{
        ResolveRequestCancelExternalWorkflow, ResolveSignalExternalWorkflow, workflow_activation_job::Variant as Job,
    },
    temporal::api::{
        enums::v1::{CancelExternalWorkflowExecutionFailedCause as CancelCause, SignalExternalWorkflowExecutionFailedCause as SignalCause},
        failure::v1::{ApplicationFailureInfo, CanceledFailureInfo, Failure, failure::FailureInfo},
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Commanded, Input::Initiated, State::Initiated),
    (State::Commanded, Input::Withdraw,  State::Withdrawn),
    (State::Initiated, Input::Delivered, State::Ended),
    (State::Initiated, Input::Failed,    State::Ended),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Commanded,
    Initiated,
    Withdrawn,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Withdraw,
    Initiated,
    Delivered,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signal,
    Cancel,
    /// A cancel request of a child's own.
    ChildCancel,
}

#[derive(Debug)]
pub(crate) struct External {
    seq: u32,
    kind: Kind,
    workflow_id: String,
    state: State,
}

impl External {
    pub(crate) fn signal(seq: u32, workflow_id: String) -> External {
        External { seq, kind: Kind::Signal, workflow_id, state: State::Commanded }
    }

    pub(crate) fn cancel_request(seq: u32, workflow_id: String) -> External {
        External { seq, kind: Kind::Cancel, workflow_id, state: State::Commanded }
    }

    pub(crate) fn child_cancel_request(workflow_id: String) -> External {
        External { seq: 0, kind: Kind::ChildCancel, workflow_id, state: State::Commanded }
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.state == State::Withdrawn
    }

    pub(crate) fn describe(&self) -> String {
        let what = if self.kind == Kind::Signal { "signal to" } else { "cancel request for" };
        format!("{what} workflow '{}'", self.workflow_id)
    }

    /// Takes a signal back. What was sent, or is a cancel request, stays.
    pub(crate) fn withdraw(&mut self) -> Vec<Effect> {
        if self.kind != Kind::Signal {
            return Vec::new();
        }
        let Some(after) = step(TABLE, self.state, Input::Withdraw) else { return Vec::new() };
        self.state = after;
        vec![self.resolve(
            Some(Failure {
                message: "Signal was cancelled before being sent".to_owned(),
                failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())),
                ..Default::default()
            }),
            0,
        )]
    }

    pub(crate) fn handle_event(&mut self, event: HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let is_signal = self.kind == Kind::Signal;
        let input = match &event.attributes {
            Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)) if is_signal => Input::Initiated,
            Some(Attributes::ExternalWorkflowExecutionSignaledEventAttributes(_)) if is_signal => Input::Delivered,
            Some(Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(_)) if is_signal => Input::Failed,
            Some(Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_)) if !is_signal => Input::Initiated,
            Some(Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(_)) if !is_signal => Input::Delivered,
            Some(Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(_)) if !is_signal => Input::Failed,
            _ => return Err(refused(&self.describe(), &self.state, &event)),
        };
        let Some(after) = step(TABLE, self.state, input) else {
            return Err(refused(&self.describe(), &self.state, &event));
        };
        self.state = after;
        let (failure, cause) = match event.attributes {
            Some(Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(attributes)) => {
                let cause = attributes.cause();
                let reason = match cause {
                    SignalCause::Unspecified => "unknown",
                    SignalCause::ExternalWorkflowExecutionNotFound | SignalCause::NamespaceNotFound => "it was not found",
                    SignalCause::SignalCountLimitExceeded => "The per-workflow signal limit was exceeded",
                };
                (Some(unable("signal", reason, signal_cause_name(cause))), attributes.cause)
            }
            Some(Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(attributes)) => {
                let cause = attributes.cause();
                let reason = if cause == CancelCause::Unspecified { "unknown" } else { "not found" };
                (Some(unable("cancel", reason, cancel_cause_name(cause))), attributes.cause)
            }
            _ if input == Input::Delivered => (None, 0),
            _ => return Ok(Vec::new()),
        };
        Ok(if self.kind == Kind::ChildCancel { Vec::new() } else { vec![self.resolve(failure, cause)] })
    }

    fn resolve(&self, failure: Option<Failure>, cause: i32) -> Effect {
        Effect::Job(Box::new(match self.kind {
            Kind::Signal => Job::ResolveSignalExternalWorkflow(ResolveSignalExternalWorkflow { seq: self.seq, failure, cause }),
            Kind::Cancel | Kind::ChildCancel => {
                Job::ResolveRequestCancelExternalWorkflow(ResolveRequestCancelExternalWorkflow { seq: self.seq, failure, cause })
            }
        }))
    }
}

fn unable(verb: &str, reason: &str, kind: &str) -> Failure {
    Failure {
        message: format!("Unable to {verb} external workflow because {reason}"),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo { r#type: kind.to_owned(), ..Default::default() })),
        ..Default::default()
    }
}

fn signal_cause_name(cause: SignalCause) -> &'static str {
    match cause {
        SignalCause::Unspecified => "Unspecified",
        SignalCause::ExternalWorkflowExecutionNotFound => "ExternalWorkflowExecutionNotFound",
        SignalCause::NamespaceNotFound => "NamespaceNotFound",
        SignalCause::SignalCountLimitExceeded => "SignalCountLimitExceeded",
    }
}

fn cancel_cause_name(cause: CancelCause) -> &'static str {
    match cause {
        CancelCause::Unspecified => "Unspecified",
        CancelCause::ExternalWorkflowExecutionNotFound => "ExternalWorkflowExecutionNotFound",
        CancelCause::NamespaceNotFound => "NamespaceNotFound",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;
    use temporalio_protos::temporal::api::history::v1::{
        ExternalWorkflowExecutionCancelRequestedEventAttributes, ExternalWorkflowExecutionSignaledEventAttributes,
        RequestCancelExternalWorkflowExecutionInitiatedEventAttributes, SignalExternalWorkflowExecutionFailedEventAttributes,
        SignalExternalWorkflowExecutionInitiatedEventAttributes,
    };

    const STATES: [State; 4] = [State::Commanded, State::Initiated, State::Withdrawn, State::Ended];
    const INPUTS: [Input; 4] = [Input::Withdraw, Input::Initiated, Input::Delivered, Input::Failed];

    fn event(input: Input) -> HistoryEvent {
        let attributes = match input {
            Input::Initiated => Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(
                SignalExternalWorkflowExecutionInitiatedEventAttributes::default(),
            ),
            Input::Failed => Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(
                SignalExternalWorkflowExecutionFailedEventAttributes::default(),
            ),
            _ => Attributes::ExternalWorkflowExecutionSignaledEventAttributes(ExternalWorkflowExecutionSignaledEventAttributes::default()),
        };
        HistoryEvent { event_id: 5, attributes: Some(attributes), ..Default::default() }
    }

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        table::check(TABLE, &STATES, &INPUTS, |state, input| {
            let mut signal = External { state, ..External::signal(1, "other".to_owned()) };
            let accepted = match input {
                Input::Withdraw => !signal.withdraw().is_empty(),
                _ => signal.handle_event(event(input)).is_ok(),
            };
            (accepted, signal.state)
        });
    }

    #[test]
    fn a_cancel_request_tells_the_code_unless_it_is_a_childs() {
        let events = [
            Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
                RequestCancelExternalWorkflowExecutionInitiatedEventAttributes::default(),
            ),
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(
                ExternalWorkflowExecutionCancelRequestedEventAttributes::default(),
            ),
        ];
        for (mut request, told) in
            [(External::cancel_request(3, "other".to_owned()), 1), (External::child_cancel_request("other".to_owned()), 0)]
        {
            assert!(request.withdraw().is_empty(), "it cannot be taken back");
            let effects: Vec<Effect> = events
                .iter()
                .flat_map(|attributes| {
                    request.handle_event(HistoryEvent { attributes: Some(attributes.clone()), ..Default::default() }).unwrap()
                })
                .collect();
            assert_eq!(effects.len(), told);
        }
    }

    #[test]
    fn an_event_of_the_other_kind_is_refused() {
        let mut request = External::cancel_request(3, "other".to_owned());
        assert!(request.handle_event(event(Input::Initiated)).is_err());
    }
}
