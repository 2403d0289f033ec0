//! A Nexus operation: a call of another team's service through an endpoint of the Temporal service.
//!
//! The code schedules it; the history records that, then that the handler has started it, then its end. An operation that the
//! handler answers at once has no start in the history: the code is told of a start without a token, and of the end. One that
//! ends badly without a start is told as a start that failed. A cancel before the command was sent withdraws the command.
//! Later, by cancellation type:
//! - try cancel: a request is sent and the code is told at once that the operation was cancelled;
//! - wait for the request: a request is sent, the code is told when the handler has taken or refused it;
//! - wait for the completion: a request is sent, the code is told what the history says of the operation;
//! - abandon: no request, the code is told at once.
//!
//! Of an operation that was started, the code that was told of a cancellation hears nothing more. Of one that was cancelled
//! before its start, or whose handler refused the request, it hears what the history goes on to say, as other cores tell it
//! too; it keeps what it heard first. Cancelling again, or what has ended, does nothing.

use super::{Effect, refused, step};
use crate::fault::Fault;
use temporalio_protos::{
    coresdk::{
        nexus::{NexusOperationCancellationType, NexusOperationResult, nexus_operation_result::Status},
        workflow_activation::{
            ResolveNexusOperation, ResolveNexusOperationStart, resolve_nexus_operation_start::Status as StartStatus,
            workflow_activation_job::Variant as Job,
        },
        workflow_commands::ScheduleNexusOperation,
    },
    temporal::api::{
        command::v1::{RequestCancelNexusOperationCommandAttributes, command::Attributes as CommandAttributes},
        failure::v1::{CanceledFailureInfo, Failure, NexusOperationFailureInfo, failure::FailureInfo},
        history::v1::{HistoryEvent, NexusOperationScheduledEventAttributes, history_event::Attributes},
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Commanded,           Input::Scheduled,       State::Scheduled),
    (State::Commanded,           Input::Cancel,          State::Withdrawn),
    (State::Commanded,           Input::CancelAtOnce,    State::Withdrawn),
    (State::Scheduled,           Input::Started,         State::Started),
    (State::Scheduled,           Input::Ended,           State::Ended),
    (State::Scheduled,           Input::Cancel,          State::ScheduledCancelling),
    (State::Scheduled,           Input::CancelAtOnce,    State::ScheduledCancelling),
    (State::ScheduledCancelling, Input::CancelRequested, State::ScheduledCancelling),
    (State::ScheduledCancelling, Input::Started,         State::StartedCancelling),
    (State::ScheduledCancelling, Input::Ended,           State::Ended),
    (State::Started,             Input::Ended,           State::Ended),
    (State::Started,             Input::Cancel,          State::StartedCancelling),
    (State::Started,             Input::CancelAtOnce,    State::Told),
    (State::StartedCancelling,   Input::CancelRequested, State::StartedCancelling),
    (State::StartedCancelling,   Input::CancelDelivered, State::StartedCancelling),
    (State::StartedCancelling,   Input::CancelConfirmed, State::Told),
    (State::StartedCancelling,   Input::CancelRefused,   State::StartedCancelling),
    (State::StartedCancelling,   Input::Ended,           State::Ended),
    (State::Told,                Input::CancelRequested, State::Told),
    (State::Told,                Input::CancelDelivered, State::Told),
    (State::Told,                Input::CancelRefused,   State::Told),
    (State::Told,                Input::Ended,           State::Ended),
    (State::Ended,               Input::CancelDelivered, State::Ended),
    (State::Ended,               Input::CancelConfirmed, State::Ended),
    (State::Ended,               Input::CancelRefused,   State::Ended),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Commanded,
    Scheduled,
    ScheduledCancelling,
    Started,
    StartedCancelling,
    Withdrawn,
    /// The code was told of a cancellation, the operation may go on.
    Told,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Cancel,
    CancelAtOnce,
    Scheduled,
    Started,
    Ended,
    CancelRequested,
    /// The handler has the request, for which nobody waits.
    CancelDelivered,
    /// The handler has the request, for which the code waits.
    CancelConfirmed,
    CancelRefused,
}

#[derive(Debug)]
pub(crate) struct NexusOperation {
    seq: u32,
    endpoint: String,
    service: String,
    operation: String,
    token: String,
    cancellation: NexusOperationCancellationType,
    scheduled_id: i64,
    state: State,
}

impl NexusOperation {
    pub(crate) fn new(command: &ScheduleNexusOperation) -> NexusOperation {
        NexusOperation {
            seq: command.seq,
            endpoint: command.endpoint.clone(),
            service: command.service.clone(),
            operation: command.operation.clone(),
            token: String::new(),
            cancellation: command.cancellation_type(),
            scheduled_id: 0,
            state: State::Commanded,
        }
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.state == State::Withdrawn
    }

    pub(crate) fn describe(&self) -> String {
        describe(&self.endpoint, &self.service, &self.operation)
    }

    pub(crate) fn cancel(&mut self) -> Vec<Effect> {
        use NexusOperationCancellationType::{Abandon, TryCancel};
        let at_once = matches!(self.cancellation, Abandon | TryCancel);
        let input = if at_once { Input::CancelAtOnce } else { Input::Cancel };
        let Some(after) = step(TABLE, self.state, input) else { return Vec::new() };
        self.state = after;
        if after == State::Withdrawn {
            let failure = self.cancelled("Nexus Operation cancelled before scheduled");
            return vec![self.resolve_start(StartStatus::Failed(failure))];
        }
        let mut effects = Vec::new();
        if self.cancellation != Abandon {
            let attributes = RequestCancelNexusOperationCommandAttributes { scheduled_event_id: self.scheduled_id };
            effects.push(Effect::Command(CommandAttributes::RequestCancelNexusOperationCommandAttributes(attributes)));
        }
        if at_once {
            effects.push(self.resolve(Status::Cancelled(self.cancelled("Nexus operation cancelled after starting"))));
        }
        effects
    }

    pub(crate) fn handle_event(&mut self, event: HistoryEvent, check_ids: bool) -> Result<Vec<Effect>, Fault> {
        let waits_for_request = self.cancellation == NexusOperationCancellationType::WaitCancellationRequested;
        let input = match &event.attributes {
            Some(Attributes::NexusOperationScheduledEventAttributes(_)) => Input::Scheduled,
            Some(Attributes::NexusOperationStartedEventAttributes(_)) => Input::Started,
            Some(
                Attributes::NexusOperationCompletedEventAttributes(_)
                | Attributes::NexusOperationFailedEventAttributes(_)
                | Attributes::NexusOperationCanceledEventAttributes(_)
                | Attributes::NexusOperationTimedOutEventAttributes(_),
            ) => Input::Ended,
            Some(Attributes::NexusOperationCancelRequestedEventAttributes(_)) => Input::CancelRequested,
            Some(Attributes::NexusOperationCancelRequestCompletedEventAttributes(_)) if waits_for_request => Input::CancelConfirmed,
            Some(Attributes::NexusOperationCancelRequestCompletedEventAttributes(_)) => Input::CancelDelivered,
            Some(Attributes::NexusOperationCancelRequestFailedEventAttributes(_)) => Input::CancelRefused,
            _ => return Err(refused(&self.describe(), &self.state, &event)),
        };
        let before = self.state;
        let Some(after) = step(TABLE, before, input) else {
            return Err(refused(&self.describe(), &before, &event));
        };
        if let Some(Attributes::NexusOperationScheduledEventAttributes(attributes)) = &event.attributes {
            self.check(attributes, event.event_id, check_ids)?;
            self.scheduled_id = event.event_id;
        }
        let effects = if matches!(before, State::Told | State::Ended) { Vec::new() } else { self.tell(before, input, event) };
        self.state = after;
        Ok(effects)
    }

    /// Compares what the event says with what the code asked for.
    fn check(&self, attributes: &NexusOperationScheduledEventAttributes, event_id: i64, check_ids: bool) -> Result<(), Fault> {
        let recorded = describe(&attributes.endpoint, &attributes.service, &attributes.operation);
        if !check_ids || recorded == self.describe() {
            return Ok(());
        }
        let commanded = self.describe();
        Err(Fault::Nondeterminism(format!(
            "event {event_id} (Nexus operation scheduled) is about {recorded}, the code's command about {commanded}"
        )))
    }

    /// What the code learns of an event.
    fn tell(&mut self, before: State, input: Input, event: HistoryEvent) -> Vec<Effect> {
        if input == Input::CancelConfirmed {
            return vec![self.resolve(Status::Cancelled(self.cancelled("Nexus operation cancellation request completed")))];
        }
        let is_started = matches!(before, State::Started | State::StartedCancelling);
        let (failure, wrap): (_, fn(Failure) -> Status) = match event.attributes {
            Some(Attributes::NexusOperationStartedEventAttributes(attributes)) => {
                self.token.clone_from(&attributes.operation_token);
                return vec![self.resolve_start(StartStatus::OperationToken(attributes.operation_token))];
            }
            Some(Attributes::NexusOperationCompletedEventAttributes(attributes)) => {
                let start = (!is_started).then(|| self.resolve_start(StartStatus::StartedSync(true)));
                let end = self.resolve(Status::Completed(attributes.result.unwrap_or_default()));
                return start.into_iter().chain([end]).collect();
            }
            Some(Attributes::NexusOperationFailedEventAttributes(attributes)) => (attributes.failure, Status::Failed),
            Some(Attributes::NexusOperationCanceledEventAttributes(attributes)) => (attributes.failure, Status::Cancelled),
            Some(Attributes::NexusOperationTimedOutEventAttributes(attributes)) => (attributes.failure, Status::TimedOut),
            Some(Attributes::NexusOperationCancelRequestFailedEventAttributes(attributes))
                if self.cancellation == NexusOperationCancellationType::WaitCancellationRequested =>
            {
                (Some(self.cancel_refused(attributes.failure)), Status::Failed)
            }
            _ => return Vec::new(),
        };
        let failure = failure.unwrap_or_else(|| self.failure("the service gave no reason", None));
        vec![if is_started { self.resolve(wrap(failure)) } else { self.resolve_start(StartStatus::Failed(failure)) }]
    }

    fn cancel_refused(&self, cause: Option<Failure>) -> Failure {
        let message = "Nexus operation cancellation request failed";
        self.failure(message, cause.or_else(|| Some(Failure { message: message.to_owned(), ..Default::default() })))
    }

    fn cancelled(&self, message: &str) -> Failure {
        let info = FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default());
        self.failure(message, Some(Failure { failure_info: Some(info), ..Default::default() }))
    }

    fn failure(&self, message: &str, cause: Option<Failure>) -> Failure {
        Failure {
            message: message.to_owned(),
            cause: cause.map(Box::new),
            failure_info: Some(FailureInfo::NexusOperationExecutionFailureInfo(NexusOperationFailureInfo {
                scheduled_event_id: self.scheduled_id,
                endpoint: self.endpoint.clone(),
                service: self.service.clone(),
                operation: self.operation.clone(),
                operation_token: self.token.clone(),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn resolve_start(&self, status: StartStatus) -> Effect {
        let resolution = ResolveNexusOperationStart { seq: self.seq, status: Some(status) };
        Effect::Job(Box::new(Job::ResolveNexusOperationStart(resolution)))
    }

    fn resolve(&self, status: Status) -> Effect {
        let result = Some(NexusOperationResult { status: Some(status) });
        Effect::Job(Box::new(Job::ResolveNexusOperation(ResolveNexusOperation { seq: self.seq, result })))
    }
}

/// An operation as messages name it.
pub(crate) fn describe(endpoint: &str, service: &str, operation: &str) -> String {
    format!("Nexus operation '{operation}' of service '{service}' at endpoint '{endpoint}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;
    use NexusOperationCancellationType as Type;
    use temporalio_protos::temporal::api::history::v1::{
        NexusOperationCancelRequestCompletedEventAttributes, NexusOperationCancelRequestFailedEventAttributes,
        NexusOperationCancelRequestedEventAttributes, NexusOperationCanceledEventAttributes, NexusOperationCompletedEventAttributes,
        NexusOperationFailedEventAttributes, NexusOperationStartedEventAttributes, NexusOperationTimedOutEventAttributes,
    };

    const STATES: [State; 8] = [
        State::Commanded,
        State::Scheduled,
        State::ScheduledCancelling,
        State::Started,
        State::StartedCancelling,
        State::Withdrawn,
        State::Told,
        State::Ended,
    ];
    const INPUTS: [Input; 9] = [
        Input::Cancel,
        Input::CancelAtOnce,
        Input::Scheduled,
        Input::Started,
        Input::Ended,
        Input::CancelRequested,
        Input::CancelDelivered,
        Input::CancelConfirmed,
        Input::CancelRefused,
    ];

    fn operation(state: State, cancellation: Type) -> NexusOperation {
        let mut operation = NexusOperation::new(&ScheduleNexusOperation {
            seq: 1,
            endpoint: "bank".to_owned(),
            service: "Payments".to_owned(),
            operation: "charge".to_owned(),
            cancellation_type: cancellation as i32,
            ..Default::default()
        });
        operation.state = state;
        operation
    }

    fn event(input: Input) -> HistoryEvent {
        let attributes = match input {
            Input::Scheduled => Attributes::NexusOperationScheduledEventAttributes(NexusOperationScheduledEventAttributes {
                endpoint: "bank".to_owned(),
                service: "Payments".to_owned(),
                operation: "charge".to_owned(),
                ..Default::default()
            }),
            Input::Started => Attributes::NexusOperationStartedEventAttributes(NexusOperationStartedEventAttributes {
                operation_token: "token".to_owned(),
                ..Default::default()
            }),
            Input::CancelRequested => {
                Attributes::NexusOperationCancelRequestedEventAttributes(NexusOperationCancelRequestedEventAttributes::default())
            }
            Input::CancelDelivered | Input::CancelConfirmed => Attributes::NexusOperationCancelRequestCompletedEventAttributes(
                NexusOperationCancelRequestCompletedEventAttributes::default(),
            ),
            Input::CancelRefused => {
                Attributes::NexusOperationCancelRequestFailedEventAttributes(NexusOperationCancelRequestFailedEventAttributes::default())
            }
            _ => Attributes::NexusOperationCompletedEventAttributes(NexusOperationCompletedEventAttributes::default()),
        };
        HistoryEvent { event_id: 5, attributes: Some(attributes), ..Default::default() }
    }

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        table::check(TABLE, &STATES, &INPUTS, |state, input| match input {
            Input::Cancel | Input::CancelAtOnce => {
                let cancellation = if input == Input::Cancel { Type::WaitCancellationCompleted } else { Type::TryCancel };
                let mut operation = operation(state, cancellation);
                let accepted = !operation.cancel().is_empty();
                (accepted, operation.state)
            }
            _ => {
                let waits = input == Input::CancelConfirmed;
                let cancellation = if waits { Type::WaitCancellationRequested } else { Type::WaitCancellationCompleted };
                let mut operation = operation(state, cancellation);
                let accepted = operation.handle_event(event(input), true).is_ok();
                (accepted, operation.state)
            }
        });
    }

    /// Effects in short: what the code is told, or which command is sent.
    fn told(effects: &[Effect]) -> Vec<&'static str> {
        let of = |effect: &Effect| match effect {
            Effect::Command(CommandAttributes::RequestCancelNexusOperationCommandAttributes(_)) => "request",
            Effect::Job(job) => match &**job {
                Job::ResolveNexusOperationStart(start) => match start.status.as_ref().unwrap() {
                    StartStatus::OperationToken(_) => "started",
                    StartStatus::StartedSync(_) => "at once",
                    StartStatus::Failed(_) => "not started",
                },
                Job::ResolveNexusOperation(end) => match end.result.as_ref().unwrap().status.as_ref().unwrap() {
                    Status::Completed(_) => "completed",
                    Status::Failed(_) => "failed",
                    Status::Cancelled(_) => "cancelled",
                    Status::TimedOut(_) => "timed out",
                },
                _ => "another job",
            },
            _ => "another effect",
        };
        effects.iter().map(of).collect()
    }

    fn end(attributes: Attributes) -> HistoryEvent {
        HistoryEvent { event_id: 9, attributes: Some(attributes), ..Default::default() }
    }

    #[test]
    fn an_end_is_told_as_such_after_a_start_and_as_a_failed_start_before() {
        let ends = [
            (end(Attributes::NexusOperationCompletedEventAttributes(NexusOperationCompletedEventAttributes::default())), "completed"),
            (end(Attributes::NexusOperationFailedEventAttributes(NexusOperationFailedEventAttributes::default())), "failed"),
            (end(Attributes::NexusOperationCanceledEventAttributes(NexusOperationCanceledEventAttributes::default())), "cancelled"),
            (end(Attributes::NexusOperationTimedOutEventAttributes(NexusOperationTimedOutEventAttributes::default())), "timed out"),
        ];
        for (event, name) in ends {
            let mut started = operation(State::Started, Type::WaitCancellationCompleted);
            assert_eq!(told(&started.handle_event(event.clone(), true).unwrap()), [name]);
            let mut unstarted = operation(State::Scheduled, Type::WaitCancellationCompleted);
            let expected = if name == "completed" { vec!["at once", "completed"] } else { vec!["not started"] };
            assert_eq!(told(&unstarted.handle_event(event, true).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn cancellation_types_differ_in_what_is_sent_and_when_the_code_is_told() {
        for (cancellation, at_cancel, at_request, at_end) in [
            (Type::TryCancel, vec!["request", "cancelled"], vec![], vec![]),
            (Type::WaitCancellationRequested, vec!["request"], vec!["cancelled"], vec![]),
            (Type::WaitCancellationCompleted, vec!["request"], vec![], vec!["completed"]),
        ] {
            let mut operation = operation(State::Started, cancellation);
            assert_eq!(told(&operation.cancel()), at_cancel, "{cancellation:?}");
            assert!(operation.cancel().is_empty(), "a second cancel does nothing");
            assert!(operation.handle_event(event(Input::CancelRequested), true).unwrap().is_empty());
            assert_eq!(told(&operation.handle_event(event(Input::CancelDelivered), true).unwrap()), at_request, "{cancellation:?}");
            assert_eq!(told(&operation.handle_event(event(Input::Ended), true).unwrap()), at_end, "{cancellation:?}");
        }
    }

    #[test]
    fn an_abandoned_operation_gets_no_request_and_may_end_later() {
        let mut operation = operation(State::Started, Type::Abandon);
        assert_eq!(told(&operation.cancel()), ["cancelled"]);
        assert!(operation.handle_event(event(Input::Ended), true).unwrap().is_empty());
    }

    #[test]
    fn a_refused_request_fails_the_code_that_waits_for_it_and_no_other() {
        for (cancellation, expected) in
            [(Type::WaitCancellationRequested, vec!["failed"]), (Type::WaitCancellationCompleted, vec![]), (Type::TryCancel, vec![])]
        {
            let mut operation = operation(State::Started, cancellation);
            operation.cancel();
            assert_eq!(told(&operation.handle_event(event(Input::CancelRefused), true).unwrap()), expected, "{cancellation:?}");
        }
    }

    #[test]
    fn a_cancel_before_the_start_is_followed_by_what_the_history_says() {
        let mut operation = operation(State::Scheduled, Type::TryCancel);
        assert_eq!(told(&operation.cancel()), ["request", "cancelled"]);
        assert_eq!(told(&operation.handle_event(event(Input::Started), true).unwrap()), ["started"]);
        assert_eq!(told(&operation.handle_event(event(Input::Ended), true).unwrap()), ["completed"]);
    }

    #[test]
    fn a_failure_of_our_own_says_which_operation() {
        let mut operation = operation(State::Commanded, Type::TryCancel);
        operation.handle_event(event(Input::Scheduled), true).unwrap();
        operation.handle_event(event(Input::Started), true).unwrap();
        let effects = operation.cancel();
        let Some(Effect::Job(job)) = effects.last() else { panic!("{effects:?}") };
        let Job::ResolveNexusOperation(ResolveNexusOperation { result: Some(result), .. }) = &**job else { panic!("{job:?}") };
        let Some(Status::Cancelled(failure)) = &result.status else { panic!("{result:?}") };
        assert!(matches!(failure.cause.as_ref().unwrap().failure_info, Some(FailureInfo::CanceledFailureInfo(_))));
        let Some(FailureInfo::NexusOperationExecutionFailureInfo(info)) = &failure.failure_info else { panic!("{failure:?}") };
        assert_eq!((info.scheduled_event_id, info.endpoint.as_str(), info.operation_token.as_str()), (5, "bank", "token"));
    }

    #[test]
    fn another_operation_is_refused_unless_the_history_is_older_than_the_check() {
        let mut other = event(Input::Scheduled);
        if let Some(Attributes::NexusOperationScheduledEventAttributes(attributes)) = &mut other.attributes {
            attributes.operation = "refund".to_owned();
        }
        let mut operation = operation(State::Commanded, Type::TryCancel);
        let fault = operation.handle_event(other.clone(), true).unwrap_err();
        assert!(fault.to_string().contains("'refund' of service 'Payments' at endpoint 'bank', the code's command about"), "{fault}");
        assert!(operation.handle_event(other, false).is_ok());
    }
}
