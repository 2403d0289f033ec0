//! A child workflow.
//!
//! The code starts it; the history records that the start was initiated, then that the child has started or could not be
//! started, then its end. A cancel before the command was sent withdraws the command. Later, by cancellation type:
//! - try cancel: a request is sent and the code is told at once that the child was cancelled; what the history says
//!   afterwards is noted and not told;
//! - wait (for the request or for the completion): a request is sent, the code is told what the history says;
//! - abandon: no request, the code is told at once.
//!
//! Cancelling again while the end is waited for sends another request: histories of other core-based SDKs hold one for each cancel.
//! Cancelling what has ended, or what the code was told of, does nothing.

use super::{Effect, only_payload, refused, step};
use crate::fault::Fault;
use temporalio_protos::{
    coresdk::{
        child_workflow::{
            self, ChildWorkflowCancellationType, ChildWorkflowResult, StartChildWorkflowExecutionFailedCause, child_workflow_result::Status,
        },
        workflow_activation::{
            ResolveChildWorkflowExecution, ResolveChildWorkflowExecutionStart, ResolveChildWorkflowExecutionStartCancelled,
            ResolveChildWorkflowExecutionStartFailure, ResolveChildWorkflowExecutionStartSuccess,
            resolve_child_workflow_execution_start::Status as StartStatus, workflow_activation_job::Variant as Job,
        },
        workflow_commands::StartChildWorkflowExecution,
    },
    temporal::api::{
        command::v1::RequestCancelExternalWorkflowExecutionCommandAttributes,
        common::v1::{WorkflowExecution, WorkflowType},
        enums::v1::{RetryState, TimeoutType},
        failure::v1::{
            CanceledFailureInfo, ChildWorkflowExecutionFailureInfo, Failure, TerminatedFailureInfo, TimeoutFailureInfo,
            failure::FailureInfo,
        },
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Commanded, Input::Initiated,    State::Initiated),
    (State::Commanded, Input::Cancel,       State::Withdrawn),
    (State::Commanded, Input::CancelAtOnce, State::Withdrawn),
    (State::Initiated, Input::Started,      State::Started),
    (State::Initiated, Input::StartFailed,  State::Ended),
    (State::Initiated, Input::Cancel,       State::Initiated),
    (State::Initiated, Input::CancelAtOnce, State::Told),
    (State::Started,   Input::Ended,        State::Ended),
    (State::Started,   Input::Cancel,       State::Started),
    (State::Started,   Input::CancelAtOnce, State::Told),
    (State::Told,      Input::Started,      State::Told),
    (State::Told,      Input::StartFailed,  State::ToldEnded),
    (State::Told,      Input::Ended,        State::ToldEnded),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Commanded,
    Initiated,
    Started,
    Withdrawn,
    /// The code was told of a cancellation, the child goes on.
    Told,
    ToldEnded,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Cancel,
    CancelAtOnce,
    Initiated,
    Started,
    StartFailed,
    Ended,
}

#[derive(Debug)]
pub(crate) struct ChildWorkflow {
    seq: u32,
    namespace: String,
    workflow_id: String,
    workflow_type: String,
    run_id: String,
    cancellation: ChildWorkflowCancellationType,
    initiated_id: i64,
    started_id: i64,
    state: State,
}

impl ChildWorkflow {
    pub(crate) fn new(command: &StartChildWorkflowExecution) -> ChildWorkflow {
        ChildWorkflow {
            seq: command.seq,
            namespace: command.namespace.clone(),
            workflow_id: command.workflow_id.clone(),
            workflow_type: command.workflow_type.clone(),
            run_id: String::new(),
            cancellation: command.cancellation_type(),
            initiated_id: 0,
            started_id: 0,
            state: State::Commanded,
        }
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.state == State::Withdrawn
    }

    pub(crate) fn describe(&self) -> String {
        format!("child workflow '{}' of type '{}'", self.workflow_id, self.workflow_type)
    }

    fn is_told_at_once(&self) -> bool {
        matches!(self.cancellation, ChildWorkflowCancellationType::Abandon | ChildWorkflowCancellationType::TryCancel)
    }

    pub(crate) fn cancel(&mut self, reason: String) -> Vec<Effect> {
        let input = if self.is_told_at_once() { Input::CancelAtOnce } else { Input::Cancel };
        let Some(after) = step(TABLE, self.state, input) else { return Vec::new() };
        self.state = after;
        if after == State::Withdrawn {
            let message = format!("Child Workflow Execution cancelled before scheduled: {reason}");
            let failure = Some(self.cancelled(message));
            return vec![self.resolve_start(StartStatus::Cancelled(ResolveChildWorkflowExecutionStartCancelled { failure }))];
        }
        let mut effects = Vec::new();
        if self.cancellation != ChildWorkflowCancellationType::Abandon {
            #[allow(deprecated, reason = "the service still reads the namespace")]
            effects.push(Effect::CancelExternal(RequestCancelExternalWorkflowExecutionCommandAttributes {
                namespace: self.namespace.clone(),
                workflow_id: self.workflow_id.clone(),
                run_id: self.run_id.clone(),
                child_workflow_only: true,
                reason,
                ..Default::default()
            }));
        }
        if after == State::Told {
            effects.push(self.told_cancelled());
        }
        effects
    }

    pub(crate) fn handle_event(&mut self, event: HistoryEvent, check_ids: bool) -> Result<Vec<Effect>, Fault> {
        let input = match &event.attributes {
            Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(_)) => Input::Initiated,
            Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(_)) => Input::Started,
            Some(Attributes::StartChildWorkflowExecutionFailedEventAttributes(_)) => Input::StartFailed,
            Some(
                Attributes::ChildWorkflowExecutionCompletedEventAttributes(_)
                | Attributes::ChildWorkflowExecutionFailedEventAttributes(_)
                | Attributes::ChildWorkflowExecutionCanceledEventAttributes(_)
                | Attributes::ChildWorkflowExecutionTimedOutEventAttributes(_)
                | Attributes::ChildWorkflowExecutionTerminatedEventAttributes(_),
            ) => Input::Ended,
            _ => return Err(refused(&self.describe(), &self.state, &event)),
        };
        let before = self.state;
        let Some(after) = step(TABLE, before, input) else {
            return Err(refused(&self.describe(), &before, &event));
        };
        self.check(&event, check_ids)?;
        let effects = if before == State::Told { Vec::new() } else { self.tell(event)? };
        self.state = after;
        Ok(effects)
    }

    /// Compares what the event says with what the code asked for.
    fn check(&mut self, event: &HistoryEvent, check_ids: bool) -> Result<(), Fault> {
        let Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(attributes)) = &event.attributes else {
            return Ok(());
        };
        let workflow_type = attributes.workflow_type.as_ref().map_or("", |kind| kind.name.as_str());
        if check_ids && (attributes.workflow_id != self.workflow_id || workflow_type != self.workflow_type) {
            return Err(Fault::Nondeterminism(format!(
                "event {} (child workflow initiated) is about child workflow '{}' of type '{workflow_type}', the code's command about {}",
                event.event_id,
                attributes.workflow_id,
                self.describe()
            )));
        }
        self.initiated_id = event.event_id;
        Ok(())
    }

    /// What the code learns of an event.
    fn tell(&mut self, event: HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let told = match event.attributes {
            Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(attributes)) => {
                self.started_id = event.event_id;
                self.run_id = attributes.workflow_execution.unwrap_or_default().run_id;
                self.resolve_start(StartStatus::Succeeded(ResolveChildWorkflowExecutionStartSuccess { run_id: self.run_id.clone() }))
            }
            Some(Attributes::StartChildWorkflowExecutionFailedEventAttributes(attributes)) => {
                // The two enumerations have the same numbers; an unknown one of a newer service stays what it is.
                let cause = StartChildWorkflowExecutionFailedCause::try_from(attributes.cause).unwrap_or_default();
                self.resolve_start(StartStatus::Failed(ResolveChildWorkflowExecutionStartFailure {
                    workflow_id: self.workflow_id.clone(),
                    workflow_type: self.workflow_type.clone(),
                    cause: cause as i32,
                }))
            }
            Some(Attributes::ChildWorkflowExecutionCompletedEventAttributes(attributes)) => {
                let result = only_payload(event.event_id, "child workflow completed", attributes.result)?;
                self.resolve(Status::Completed(child_workflow::Success { result }))
            }
            Some(Attributes::ChildWorkflowExecutionFailedEventAttributes(attributes)) => {
                let retry_state = attributes.retry_state();
                self.failed("Child Workflow execution failed", retry_state, attributes.failure)
            }
            Some(Attributes::ChildWorkflowExecutionTimedOutEventAttributes(attributes)) => {
                let info = TimeoutFailureInfo { timeout_type: TimeoutType::StartToClose as i32, ..Default::default() };
                let cause = because("Timed out", FailureInfo::TimeoutFailureInfo(info));
                self.failed("Child Workflow execution timed out", attributes.retry_state(), Some(cause))
            }
            Some(Attributes::ChildWorkflowExecutionTerminatedEventAttributes(_)) => {
                let cause = because("Terminated", FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default()));
                self.failed("Child Workflow execution terminated", RetryState::NonRetryableFailure, Some(cause))
            }
            Some(Attributes::ChildWorkflowExecutionCanceledEventAttributes(_)) => self.told_cancelled(),
            _ => return Ok(Vec::new()),
        };
        Ok(vec![told])
    }

    fn failed(&self, message: &str, retry_state: RetryState, cause: Option<Failure>) -> Effect {
        let failure = Failure {
            message: message.to_owned(),
            failure_info: Some(self.info(retry_state)),
            cause: cause.map(Box::new),
            ..Default::default()
        };
        self.resolve(Status::Failed(child_workflow::Failure { failure: Some(failure) }))
    }

    fn cancelled(&self, message: String) -> Failure {
        Failure {
            message,
            cause: Some(Box::new(because("", FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())))),
            failure_info: Some(self.info(RetryState::NonRetryableFailure)),
            ..Default::default()
        }
    }

    fn told_cancelled(&self) -> Effect {
        let failure = Some(self.cancelled("Child Workflow execution cancelled".to_owned()));
        self.resolve(Status::Cancelled(child_workflow::Cancellation { failure }))
    }

    fn info(&self, retry_state: RetryState) -> FailureInfo {
        FailureInfo::ChildWorkflowExecutionFailureInfo(ChildWorkflowExecutionFailureInfo {
            namespace: self.namespace.clone(),
            workflow_execution: Some(WorkflowExecution { workflow_id: self.workflow_id.clone(), run_id: self.run_id.clone() }),
            workflow_type: Some(WorkflowType { name: self.workflow_type.clone() }),
            initiated_event_id: self.initiated_id,
            started_event_id: self.started_id,
            retry_state: retry_state as i32,
        })
    }

    fn resolve_start(&self, status: StartStatus) -> Effect {
        let resolution = ResolveChildWorkflowExecutionStart { seq: self.seq, status: Some(status) };
        Effect::Job(Box::new(Job::ResolveChildWorkflowExecutionStart(resolution)))
    }

    fn resolve(&self, status: Status) -> Effect {
        let result = Some(ChildWorkflowResult { status: Some(status) });
        Effect::Job(Box::new(Job::ResolveChildWorkflowExecution(ResolveChildWorkflowExecution { seq: self.seq, result })))
    }
}

fn because(message: &str, info: FailureInfo) -> Failure {
    Failure { message: message.to_owned(), failure_info: Some(info), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;
    use temporalio_protos::temporal::api::history::v1::{
        ChildWorkflowExecutionCanceledEventAttributes, ChildWorkflowExecutionCompletedEventAttributes,
        ChildWorkflowExecutionStartedEventAttributes, StartChildWorkflowExecutionFailedEventAttributes,
        StartChildWorkflowExecutionInitiatedEventAttributes,
    };

    const STATES: [State; 7] =
        [State::Commanded, State::Initiated, State::Started, State::Withdrawn, State::Told, State::ToldEnded, State::Ended];
    const INPUTS: [Input; 6] = [Input::Cancel, Input::CancelAtOnce, Input::Initiated, Input::Started, Input::StartFailed, Input::Ended];

    fn child(state: State, cancellation: ChildWorkflowCancellationType) -> ChildWorkflow {
        let mut child = ChildWorkflow::new(&StartChildWorkflowExecution {
            seq: 1,
            workflow_id: "pack".to_owned(),
            workflow_type: "Pack".to_owned(),
            cancellation_type: cancellation as i32,
            ..Default::default()
        });
        child.state = state;
        child
    }

    fn event(input: Input) -> HistoryEvent {
        let attributes = match input {
            Input::Initiated => {
                Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(StartChildWorkflowExecutionInitiatedEventAttributes {
                    workflow_id: "pack".to_owned(),
                    workflow_type: Some(WorkflowType { name: "Pack".to_owned() }),
                    ..Default::default()
                })
            }
            Input::Started => {
                Attributes::ChildWorkflowExecutionStartedEventAttributes(ChildWorkflowExecutionStartedEventAttributes::default())
            }
            Input::StartFailed => {
                Attributes::StartChildWorkflowExecutionFailedEventAttributes(StartChildWorkflowExecutionFailedEventAttributes::default())
            }
            _ => Attributes::ChildWorkflowExecutionCompletedEventAttributes(ChildWorkflowExecutionCompletedEventAttributes::default()),
        };
        HistoryEvent { event_id: 5, attributes: Some(attributes), ..Default::default() }
    }

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        table::check(TABLE, &STATES, &INPUTS, |state, input| match input {
            Input::Cancel | Input::CancelAtOnce => {
                let cancellation = match input {
                    Input::Cancel => ChildWorkflowCancellationType::WaitCancellationCompleted,
                    _ => ChildWorkflowCancellationType::TryCancel,
                };
                let mut child = child(state, cancellation);
                let accepted = !child.cancel("enough".to_owned()).is_empty();
                (accepted, child.state)
            }
            _ => {
                let mut child = child(state, ChildWorkflowCancellationType::WaitCancellationCompleted);
                let accepted = child.handle_event(event(input), true).is_ok();
                (accepted, child.state)
            }
        });
    }

    fn told(effects: &[Effect]) -> Vec<&'static str> {
        effects
            .iter()
            .map(|effect| match effect {
                Effect::CancelExternal(_) => "request",
                Effect::Job(_) => "told",
                _ => "other",
            })
            .collect()
    }

    #[test]
    fn cancellation_types_differ_in_what_is_sent_and_when_the_code_is_told() {
        use ChildWorkflowCancellationType as Type;
        for (cancellation, at_cancel, at_end) in [
            (Type::TryCancel, vec!["request", "told"], vec![]),
            (Type::WaitCancellationCompleted, vec!["request"], vec!["told"]),
            (Type::WaitCancellationRequested, vec!["request"], vec!["told"]),
            (Type::Abandon, vec!["told"], vec![]),
        ] {
            let mut child = child(State::Started, cancellation);
            assert_eq!(told(&child.cancel(String::new())), at_cancel, "{cancellation:?}");
            let again = child.cancel(String::new());
            let waits = !child.is_told_at_once();
            assert_eq!(told(&again), if waits { vec!["request"] } else { vec![] }, "a second cancel: {cancellation:?}");
            let canceled =
                Attributes::ChildWorkflowExecutionCanceledEventAttributes(ChildWorkflowExecutionCanceledEventAttributes::default());
            let end = HistoryEvent { event_id: 9, attributes: Some(canceled), ..Default::default() };
            assert_eq!(told(&child.handle_event(end, true).unwrap()), at_end, "{cancellation:?}");
        }
    }

    #[test]
    fn a_cancel_while_the_start_is_in_flight_ends_with_the_childs_end() {
        let mut child = child(State::Initiated, ChildWorkflowCancellationType::WaitCancellationCompleted);
        assert_eq!(told(&child.cancel(String::new())), ["request"]);
        assert_eq!(told(&child.handle_event(event(Input::Started), true).unwrap()), ["told"]);
        assert_eq!(told(&child.handle_event(event(Input::Ended), true).unwrap()), ["told"]);
    }

    #[test]
    fn a_cancel_of_a_child_that_failed_to_start_does_nothing() {
        let mut child = child(State::Initiated, ChildWorkflowCancellationType::WaitCancellationCompleted);
        assert_eq!(told(&child.handle_event(event(Input::StartFailed), true).unwrap()), ["told"]);
        assert!(child.cancel(String::new()).is_empty());
    }

    #[test]
    fn another_child_is_refused_unless_the_history_is_older_than_the_check() {
        let mut other = event(Input::Initiated);
        if let Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(attributes)) = &mut other.attributes {
            attributes.workflow_id = "ship".to_owned();
        }
        let mut child = child(State::Commanded, ChildWorkflowCancellationType::TryCancel);
        let fault = child.handle_event(other.clone(), true).unwrap_err();
        assert!(fault.to_string().contains("child workflow 'ship' of type 'Pack', the code's command about"), "{fault}");
        assert!(child.handle_event(other, false).is_ok());
    }
}
