//! What the service may write of one operation, and when: the history that it makes of the code's commands and of what happens outside.

use super::{kind::Kind, support::Service};
use temporalio_protos::temporal::api::{
    command::v1::{Command, command::Attributes as CommandAttributes},
    common::v1::WorkflowExecution,
    enums::v1::EventType,
    failure::v1::Failure,
    history::v1::{self as events, history_event::Attributes},
    workflowservice::v1::RespondWorkflowTaskCompletedRequest,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Started,
    NotStarted,
    Completed,
    Failed,
    TimedOut,
    Canceled,
    /// Of the request that a cancel made.
    CancelDelivered,
    CancelRefused,
}

pub struct Outside {
    pub service: Service,
    kind: Kind,
    /// The event of the operation's command; 0 when there is none.
    initial_id: i64,
    started_id: i64,
    is_over: bool,
    /// Requests to cancel that were not answered, by event.
    open_requests: Vec<i64>,
    /// How many commands to cancel the operation came.
    pub cancels: usize,
    pub log: Vec<Happening>,
}

impl Outside {
    pub fn new(kind: Kind) -> Outside {
        Outside {
            service: Service::new(),
            kind,
            initial_id: 0,
            started_id: 0,
            is_over: false,
            open_requests: Vec::new(),
            cancels: 0,
            log: Vec::new(),
        }
    }

    pub fn has_begun(&self) -> bool {
        self.initial_id > 0
    }

    // ---- what the code asks for ----

    pub fn take(&mut self, request: &RespondWorkflowTaskCompletedRequest) {
        self.service.add_completed(request.sdk_metadata.clone());
        for command in &request.commands {
            self.take_command(command);
        }
    }

    fn take_command(&mut self, command: &Command) {
        match command.attributes.clone().expect("a command has attributes") {
            CommandAttributes::StartTimerCommandAttributes(a) => self.initial_id = self.service.timer_started(&a.timer_id),
            CommandAttributes::CancelTimerCommandAttributes(a) => {
                self.check_cancel();
                self.is_over = true;
                let attributes =
                    events::TimerCanceledEventAttributes { timer_id: a.timer_id, started_event_id: self.initial_id, ..Default::default() };
                self.service.add(EventType::TimerCanceled, Attributes::TimerCanceledEventAttributes(attributes));
            }
            CommandAttributes::ScheduleActivityTaskCommandAttributes(a) => {
                self.initial_id = self.service.activity_scheduled(&a.activity_id, &a.activity_type.unwrap_or_default().name);
            }
            CommandAttributes::RequestCancelActivityTaskCommandAttributes(a) => {
                assert_eq!(a.scheduled_event_id, self.initial_id);
                self.check_cancel();
                let attributes =
                    events::ActivityTaskCancelRequestedEventAttributes { scheduled_event_id: a.scheduled_event_id, ..Default::default() };
                self.service
                    .add(EventType::ActivityTaskCancelRequested, Attributes::ActivityTaskCancelRequestedEventAttributes(attributes));
            }
            CommandAttributes::StartChildWorkflowExecutionCommandAttributes(a) => {
                let attributes = events::StartChildWorkflowExecutionInitiatedEventAttributes {
                    workflow_id: a.workflow_id,
                    workflow_type: a.workflow_type,
                    ..Default::default()
                };
                self.initial_id = self.service.add(
                    EventType::StartChildWorkflowExecutionInitiated,
                    Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(attributes),
                );
            }
            CommandAttributes::SignalExternalWorkflowExecutionCommandAttributes(_) => {
                let attributes = events::SignalExternalWorkflowExecutionInitiatedEventAttributes::default();
                self.initial_id = self.service.add(
                    EventType::SignalExternalWorkflowExecutionInitiated,
                    Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(attributes),
                );
            }
            CommandAttributes::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => self.take_cancel_of_workflow(),
            CommandAttributes::ScheduleNexusOperationCommandAttributes(a) => {
                let attributes = events::NexusOperationScheduledEventAttributes {
                    endpoint: a.endpoint,
                    service: a.service,
                    operation: a.operation,
                    ..Default::default()
                };
                self.initial_id =
                    self.service.add(EventType::NexusOperationScheduled, Attributes::NexusOperationScheduledEventAttributes(attributes));
            }
            CommandAttributes::RequestCancelNexusOperationCommandAttributes(a) => {
                assert_eq!(a.scheduled_event_id, self.initial_id);
                self.check_cancel();
                let attributes =
                    events::NexusOperationCancelRequestedEventAttributes { scheduled_event_id: a.scheduled_event_id, ..Default::default() };
                let id = self
                    .service
                    .add(EventType::NexusOperationCancelRequested, Attributes::NexusOperationCancelRequestedEventAttributes(attributes));
                self.open_requests.push(id);
            }
            other => panic!("nobody asked for {other:?}"),
        }
    }

    /// The operation itself, or the request for a child, which is an operation of its own.
    fn take_cancel_of_workflow(&mut self) {
        let attributes = events::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes::default();
        let id = self.service.add(
            EventType::RequestCancelExternalWorkflowExecutionInitiated,
            Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(attributes),
        );
        if self.kind == Kind::CancelRequest {
            self.initial_id = id;
        } else {
            self.check_cancel();
            self.open_requests.push(id);
        }
    }

    fn check_cancel(&mut self) {
        assert!(self.has_begun(), "a cancel of what was never asked for");
        assert!(!self.is_over, "a cancel of what has ended: the service refuses it");
        self.cancels += 1;
    }

    // ---- what happens ----

    /// What the service may write next.
    pub fn possible(&self) -> Vec<Happening> {
        use Happening::{CancelDelivered, CancelRefused, Canceled, Completed, Failed, NotStarted, Started, TimedOut};
        if !self.has_begun() {
            return vec![];
        }
        let has_started = self.started_id > 0;
        let mut possible = match self.kind {
            _ if self.is_over => vec![],
            Kind::Timer => vec![Completed],
            Kind::Activity(_) if !has_started => vec![Started, TimedOut],
            Kind::Activity(_) => vec![Completed, Failed, TimedOut],
            Kind::Child(_) if !has_started => vec![Started, NotStarted],
            // Timed out and terminated take the machine's same way as failed.
            Kind::Child(_) => vec![Completed, Failed, Canceled],
            Kind::Signal | Kind::CancelRequest => vec![Completed, Failed],
            Kind::Nexus(_) if !has_started => vec![Started, Completed, Failed, Canceled, TimedOut],
            Kind::Nexus(_) => vec![Completed, Failed, Canceled, TimedOut],
        };
        if matches!(self.kind, Kind::Activity(_)) && self.cancels > 0 && !self.is_over {
            possible.push(Canceled);
        }
        // The handler of a Nexus operation is asked after it has started.
        if !self.open_requests.is_empty() && (has_started || !matches!(self.kind, Kind::Nexus(_))) {
            possible.extend([CancelDelivered, CancelRefused]);
        }
        possible
    }

    /// Writes it. True when the service makes a workflow task of it.
    pub fn happen(&mut self, what: Happening) -> bool {
        self.log.push(what);
        let (kind, attributes) = match what {
            Happening::CancelDelivered | Happening::CancelRefused => {
                let request = self.open_requests.remove(0);
                cancel_event(self.kind, what, self.initial_id, request)
            }
            _ => event(self.kind, what, self.initial_id, self.started_id),
        };
        let id = self.service.add(kind, attributes);
        match what {
            Happening::Started => self.started_id = id,
            Happening::CancelDelivered | Happening::CancelRefused => {}
            _ => self.is_over = true,
        }
        kind != EventType::ActivityTaskStarted
    }

    /// What the code is to be told of all this if it does not cancel, in words.
    pub fn told_by_history(&self) -> Vec<&'static str> {
        let mut told = Vec::new();
        for happening in &self.log {
            let is_start_missing = matches!(self.kind, Kind::Nexus(_)) && told.is_empty();
            match happening {
                Happening::Started if matches!(self.kind, Kind::Activity(_)) => {}
                Happening::CancelDelivered | Happening::CancelRefused => {}
                Happening::Started => told.push("started"),
                Happening::NotStarted => told.push("not started"),
                // A handler that answers at once has started, too.
                Happening::Completed if is_start_missing => told.extend(["started", "completed"]),
                _ if is_start_missing => told.push("not started"),
                Happening::Completed => told.push("completed"),
                Happening::Failed => told.push("failed"),
                Happening::TimedOut => told.push("timed out"),
                Happening::Canceled => told.push("cancelled"),
            }
        }
        told
    }
}

fn event(kind: Kind, what: Happening, initial_id: i64, started_id: i64) -> (EventType, Attributes) {
    match kind {
        Kind::Timer => {
            let attributes = events::TimerFiredEventAttributes { timer_id: "1".to_owned(), started_event_id: initial_id };
            (EventType::TimerFired, Attributes::TimerFiredEventAttributes(attributes))
        }
        Kind::Activity(_) => activity_event(what, initial_id, started_id),
        Kind::Child(_) => child_event(what, initial_id, started_id),
        Kind::Signal if what == Happening::Completed => (
            EventType::ExternalWorkflowExecutionSignaled,
            Attributes::ExternalWorkflowExecutionSignaledEventAttributes(events::ExternalWorkflowExecutionSignaledEventAttributes {
                initiated_event_id: initial_id,
                ..Default::default()
            }),
        ),
        Kind::Signal => (
            EventType::SignalExternalWorkflowExecutionFailed,
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(
                events::SignalExternalWorkflowExecutionFailedEventAttributes { initiated_event_id: initial_id, ..Default::default() },
            ),
        ),
        Kind::CancelRequest => cancel_of_workflow(what == Happening::Completed, initial_id),
        Kind::Nexus(_) => nexus_event(what, initial_id),
    }
}

/// What becomes of a request to cancel the operation.
fn cancel_event(kind: Kind, what: Happening, initial_id: i64, request: i64) -> (EventType, Attributes) {
    let is_delivered = what == Happening::CancelDelivered;
    if !matches!(kind, Kind::Nexus(_)) {
        return cancel_of_workflow(is_delivered, request);
    }
    if is_delivered {
        let attributes = events::NexusOperationCancelRequestCompletedEventAttributes {
            scheduled_event_id: initial_id,
            requested_event_id: request,
            ..Default::default()
        };
        let attributes = Attributes::NexusOperationCancelRequestCompletedEventAttributes(attributes);
        return (EventType::NexusOperationCancelRequestCompleted, attributes);
    }
    let attributes = events::NexusOperationCancelRequestFailedEventAttributes {
        scheduled_event_id: initial_id,
        requested_event_id: request,
        ..Default::default()
    };
    (EventType::NexusOperationCancelRequestFailed, Attributes::NexusOperationCancelRequestFailedEventAttributes(attributes))
}

fn cancel_of_workflow(is_delivered: bool, initiated_event_id: i64) -> (EventType, Attributes) {
    if is_delivered {
        let attributes = events::ExternalWorkflowExecutionCancelRequestedEventAttributes { initiated_event_id, ..Default::default() };
        let attributes = Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(attributes);
        return (EventType::ExternalWorkflowExecutionCancelRequested, attributes);
    }
    let attributes = events::RequestCancelExternalWorkflowExecutionFailedEventAttributes { initiated_event_id, ..Default::default() };
    let attributes = Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(attributes);
    (EventType::RequestCancelExternalWorkflowExecutionFailed, attributes)
}

/// An event of the operation with the ids that lead to its command.
macro_rules! event {
    ($kind:ident, $attributes:ident { $($field:ident: $value:expr),* }) => {
        (EventType::$kind, Attributes::$attributes(events::$attributes { $($field: $value,)* ..Default::default() }))
    };
}

fn activity_event(what: Happening, scheduled_event_id: i64, started_event_id: i64) -> (EventType, Attributes) {
    match what {
        Happening::Started => event!(ActivityTaskStarted, ActivityTaskStartedEventAttributes { scheduled_event_id: scheduled_event_id }),
        Happening::Completed => event!(
            ActivityTaskCompleted,
            ActivityTaskCompletedEventAttributes { scheduled_event_id: scheduled_event_id, started_event_id: started_event_id }
        ),
        Happening::Failed => event!(
            ActivityTaskFailed,
            ActivityTaskFailedEventAttributes { scheduled_event_id: scheduled_event_id, started_event_id: started_event_id }
        ),
        Happening::TimedOut => event!(
            ActivityTaskTimedOut,
            ActivityTaskTimedOutEventAttributes { scheduled_event_id: scheduled_event_id, started_event_id: started_event_id }
        ),
        Happening::Canceled => event!(
            ActivityTaskCanceled,
            ActivityTaskCanceledEventAttributes { scheduled_event_id: scheduled_event_id, started_event_id: started_event_id }
        ),
        other => panic!("an activity knows no {other:?}"),
    }
}

fn child_event(what: Happening, initiated_event_id: i64, started_event_id: i64) -> (EventType, Attributes) {
    let workflow_execution = Some(WorkflowExecution { workflow_id: "child".to_owned(), run_id: "run-2".to_owned() });
    match what {
        Happening::Started => event!(
            ChildWorkflowExecutionStarted,
            ChildWorkflowExecutionStartedEventAttributes { initiated_event_id: initiated_event_id, workflow_execution: workflow_execution }
        ),
        Happening::NotStarted => event!(
            StartChildWorkflowExecutionFailed,
            StartChildWorkflowExecutionFailedEventAttributes { initiated_event_id: initiated_event_id }
        ),
        Happening::Completed => event!(
            ChildWorkflowExecutionCompleted,
            ChildWorkflowExecutionCompletedEventAttributes { initiated_event_id: initiated_event_id, started_event_id: started_event_id }
        ),
        Happening::Failed => event!(
            ChildWorkflowExecutionFailed,
            ChildWorkflowExecutionFailedEventAttributes { initiated_event_id: initiated_event_id, started_event_id: started_event_id }
        ),
        Happening::Canceled => event!(
            ChildWorkflowExecutionCanceled,
            ChildWorkflowExecutionCanceledEventAttributes { initiated_event_id: initiated_event_id, started_event_id: started_event_id }
        ),
        other => panic!("a child knows no {other:?}"),
    }
}

fn nexus_event(what: Happening, scheduled_event_id: i64) -> (EventType, Attributes) {
    let failure = Some(Failure { message: what_failed(what), ..Default::default() });
    match what {
        Happening::Started => {
            event!(NexusOperationStarted, NexusOperationStartedEventAttributes { scheduled_event_id: scheduled_event_id })
        }
        Happening::Completed => {
            event!(NexusOperationCompleted, NexusOperationCompletedEventAttributes { scheduled_event_id: scheduled_event_id })
        }
        Happening::Failed => {
            event!(NexusOperationFailed, NexusOperationFailedEventAttributes { scheduled_event_id: scheduled_event_id, failure: failure })
        }
        Happening::TimedOut => {
            event!(
                NexusOperationTimedOut,
                NexusOperationTimedOutEventAttributes { scheduled_event_id: scheduled_event_id, failure: failure }
            )
        }
        Happening::Canceled => {
            event!(
                NexusOperationCanceled,
                NexusOperationCanceledEventAttributes { scheduled_event_id: scheduled_event_id, failure: failure }
            )
        }
        other => panic!("a Nexus operation knows no {other:?}"),
    }
}

fn what_failed(what: Happening) -> String {
    format!("the handler said {what:?}")
}
