//! An activity.
//!
//! The code schedules it, the history records that, then its start (written together with its end) and its end: completed,
//! failed, timed out or canceled. A cancel before the command was sent withdraws the command. Later, by cancellation type:
//! - try cancel: a request is sent and the code is told at once that the activity was cancelled; what the history says
//!   afterwards is noted and not told;
//! - wait for the cancellation's completion: a request is sent, the code is told what the history says;
//! - abandon: no request, the code is told at once, later events are ignored.
//!
//! Cancelling again, or what has ended, does nothing.

use super::{Effect, only_payload, refused, step};
use crate::fault::Fault;
use temporalio_protos::{
    coresdk::{
        activity_result::{self, ActivityResolution, Cancellation, activity_resolution::Status},
        workflow_activation::{ResolveActivity, workflow_activation_job::Variant as Job},
        workflow_commands::{ActivityCancellationType, ScheduleActivity},
    },
    temporal::api::{
        command::v1::{RequestCancelActivityTaskCommandAttributes, command::Attributes as CommandAttributes},
        common::v1::ActivityType,
        enums::v1::RetryState,
        failure::v1::{ActivityFailureInfo, CanceledFailureInfo, Failure, failure::FailureInfo},
        history::v1::{ActivityTaskCanceledEventAttributes, HistoryEvent, history_event::Attributes},
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Commanded,                Input::Scheduled,       State::Scheduled),
    (State::Commanded,                Input::Cancel,          State::Withdrawn),
    (State::Commanded,                Input::Abandon,         State::Withdrawn),
    (State::Scheduled,                Input::Started,         State::Started),
    (State::Scheduled,                Input::TimedOut,        State::TimedOut),
    (State::Scheduled,                Input::Cancel,          State::ScheduledCancelCommanded),
    (State::Scheduled,                Input::Abandon,         State::Abandoned),
    (State::Started,                  Input::Completed,       State::Completed),
    (State::Started,                  Input::Failed,          State::Failed),
    (State::Started,                  Input::TimedOut,        State::TimedOut),
    (State::Started,                  Input::Cancel,          State::StartedCancelCommanded),
    (State::Started,                  Input::Abandon,         State::Abandoned),
    (State::ScheduledCancelCommanded, Input::CancelRequested, State::ScheduledCancelRequested),
    (State::ScheduledCancelRequested, Input::Started,         State::StartedCancelRequested),
    (State::ScheduledCancelRequested, Input::Canceled,        State::Canceled),
    (State::ScheduledCancelRequested, Input::TimedOut,        State::TimedOut),
    (State::StartedCancelCommanded,   Input::CancelRequested, State::StartedCancelRequested),
    (State::StartedCancelRequested,   Input::Completed,       State::Completed),
    (State::StartedCancelRequested,   Input::Failed,          State::Failed),
    (State::StartedCancelRequested,   Input::TimedOut,        State::TimedOut),
    (State::StartedCancelRequested,   Input::Canceled,        State::Canceled),
    (State::Abandoned,                Input::Started,         State::Abandoned),
    (State::Abandoned,                Input::Completed,       State::Abandoned),
    (State::Abandoned,                Input::Failed,          State::Abandoned),
    (State::Abandoned,                Input::TimedOut,        State::Abandoned),
    (State::Abandoned,                Input::Canceled,        State::Abandoned),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Commanded,
    Scheduled,
    Started,
    ScheduledCancelCommanded,
    ScheduledCancelRequested,
    StartedCancelCommanded,
    StartedCancelRequested,
    Withdrawn,
    Abandoned,
    Completed,
    Failed,
    TimedOut,
    Canceled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Cancel,
    Abandon,
    Scheduled,
    Started,
    CancelRequested,
    Completed,
    Failed,
    TimedOut,
    Canceled,
}

#[derive(Debug)]
pub(crate) struct Activity {
    seq: u32,
    activity_id: String,
    activity_type: String,
    cancellation: ActivityCancellationType,
    scheduled_id: i64,
    state: State,
}

impl Activity {
    pub(crate) fn new(command: &ScheduleActivity) -> Activity {
        Activity {
            seq: command.seq,
            activity_id: command.activity_id.clone(),
            activity_type: command.activity_type.clone(),
            cancellation: command.cancellation_type(),
            scheduled_id: 0,
            state: State::Commanded,
        }
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.state == State::Withdrawn
    }

    pub(crate) fn describe(&self) -> String {
        format!("activity '{}' of type '{}'", self.activity_id, self.activity_type)
    }

    pub(crate) fn cancel(&mut self) -> Vec<Effect> {
        let input = match self.cancellation {
            ActivityCancellationType::Abandon => Input::Abandon,
            _ => Input::Cancel,
        };
        let Some(after) = step(TABLE, self.state, input) else { return Vec::new() };
        self.state = after;
        let told = self.resolve(Status::Cancelled(Cancellation {
            failure: Some(self.cancel_failure(ActivityTaskCanceledEventAttributes::default())),
        }));
        match after {
            State::Withdrawn | State::Abandoned => vec![told],
            _ => {
                let request = RequestCancelActivityTaskCommandAttributes { scheduled_event_id: self.scheduled_id };
                let mut effects = vec![Effect::Command(CommandAttributes::RequestCancelActivityTaskCommandAttributes(request))];
                if self.cancellation == ActivityCancellationType::TryCancel {
                    effects.push(told);
                }
                effects
            }
        }
    }

    pub(crate) fn handle_event(&mut self, event: HistoryEvent, check_ids: bool) -> Result<Vec<Effect>, Fault> {
        let input = match &event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(_)) => Input::Scheduled,
            Some(Attributes::ActivityTaskStartedEventAttributes(_)) => Input::Started,
            Some(Attributes::ActivityTaskCancelRequestedEventAttributes(_)) => Input::CancelRequested,
            Some(Attributes::ActivityTaskCompletedEventAttributes(_)) => Input::Completed,
            Some(Attributes::ActivityTaskFailedEventAttributes(_)) => Input::Failed,
            Some(Attributes::ActivityTaskTimedOutEventAttributes(_)) => Input::TimedOut,
            Some(Attributes::ActivityTaskCanceledEventAttributes(_)) => Input::Canceled,
            _ => return Err(refused(&self.describe(), &self.state, &event)),
        };
        let before = self.state;
        let Some(after) = step(TABLE, before, input) else {
            return Err(refused(&self.describe(), &before, &event));
        };
        self.check(&event, check_ids)?;
        let already_told = before == State::Abandoned
            || (self.cancellation == ActivityCancellationType::TryCancel
                && matches!(before, State::ScheduledCancelRequested | State::StartedCancelRequested));
        let status = if already_told { None } else { self.status(event)? };
        self.state = after;
        Ok(status.map(|status| self.resolve(status)).into_iter().collect())
    }

    /// Compares what the event says with what the code asked for.
    fn check(&mut self, event: &HistoryEvent, check_ids: bool) -> Result<(), Fault> {
        match &event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(attributes)) => {
                let activity_type = attributes.activity_type.as_ref().map_or("", |kind| kind.name.as_str());
                let differs = attributes.activity_id != self.activity_id || activity_type != self.activity_type;
                if check_ids && differs {
                    return Err(Fault::Nondeterminism(format!(
                        "event {} (activity scheduled) is about activity '{}' of type '{activity_type}', \
                         the code's command about {}",
                        event.event_id,
                        attributes.activity_id,
                        self.describe()
                    )));
                }
                self.scheduled_id = event.event_id;
            }
            Some(Attributes::ActivityTaskCancelRequestedEventAttributes(attributes))
                if attributes.scheduled_event_id != self.scheduled_id =>
            {
                return Err(Fault::Nondeterminism(format!(
                    "event {} (activity cancel requested) is about the activity of event {}, the code's command about {} of event {}",
                    event.event_id,
                    attributes.scheduled_event_id,
                    self.describe(),
                    self.scheduled_id
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// How the event ends the activity, as the code is told, if it does.
    fn status(&self, event: HistoryEvent) -> Result<Option<Status>, Fault> {
        let failed = |failure| Status::Failed(activity_result::Failure { failure: Some(failure), ..Default::default() });
        Ok(Some(match event.attributes {
            Some(Attributes::ActivityTaskCompletedEventAttributes(attributes)) => Status::Completed(activity_result::Success {
                result: only_payload(event.event_id, "activity completed", attributes.result)?,
            }),
            Some(Attributes::ActivityTaskFailedEventAttributes(attributes)) => failed(Failure {
                message: "Activity task failed".to_owned(),
                failure_info: Some(self.info(
                    attributes.identity.clone(),
                    attributes.retry_state(),
                    attributes.scheduled_event_id,
                    attributes.started_event_id,
                )),
                cause: attributes.failure.map(Box::new),
                ..Default::default()
            }),
            Some(Attributes::ActivityTaskTimedOutEventAttributes(attributes)) => failed(Failure {
                message: "Activity task timed out".to_owned(),
                failure_info: Some(self.info(
                    String::new(),
                    attributes.retry_state(),
                    attributes.scheduled_event_id,
                    attributes.started_event_id,
                )),
                cause: attributes.failure.map(Box::new),
                ..Default::default()
            }),
            Some(Attributes::ActivityTaskCanceledEventAttributes(attributes)) => {
                Status::Cancelled(Cancellation { failure: Some(self.cancel_failure(attributes)) })
            }
            _ => return Ok(None),
        }))
    }

    fn cancel_failure(&self, attributes: ActivityTaskCanceledEventAttributes) -> Failure {
        let canceled = CanceledFailureInfo { details: attributes.details, ..Default::default() };
        Failure {
            message: "Activity cancelled".to_owned(),
            cause: Some(Box::new(Failure { failure_info: Some(FailureInfo::CanceledFailureInfo(canceled)), ..Default::default() })),
            failure_info: Some(self.info(
                attributes.identity,
                RetryState::CancelRequested,
                attributes.scheduled_event_id,
                attributes.started_event_id,
            )),
            ..Default::default()
        }
    }

    fn info(&self, identity: String, retry_state: RetryState, scheduled_event_id: i64, started_event_id: i64) -> FailureInfo {
        FailureInfo::ActivityFailureInfo(ActivityFailureInfo {
            identity,
            activity_type: Some(ActivityType { name: self.activity_type.clone() }),
            activity_id: self.activity_id.clone(),
            retry_state: retry_state as i32,
            scheduled_event_id,
            started_event_id,
        })
    }

    fn resolve(&self, status: Status) -> Effect {
        Effect::Job(Box::new(Job::ResolveActivity(ResolveActivity {
            seq: self.seq,
            result: Some(ActivityResolution { status: Some(status) }),
            is_local: false,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;
    use temporalio_protos::temporal::api::history::v1::{
        ActivityTaskCancelRequestedEventAttributes, ActivityTaskCompletedEventAttributes, ActivityTaskFailedEventAttributes,
        ActivityTaskScheduledEventAttributes, ActivityTaskStartedEventAttributes, ActivityTaskTimedOutEventAttributes,
    };

    const STATES: [State; 13] = [
        State::Commanded,
        State::Scheduled,
        State::Started,
        State::ScheduledCancelCommanded,
        State::ScheduledCancelRequested,
        State::StartedCancelCommanded,
        State::StartedCancelRequested,
        State::Withdrawn,
        State::Abandoned,
        State::Completed,
        State::Failed,
        State::TimedOut,
        State::Canceled,
    ];
    const INPUTS: [Input; 9] = [
        Input::Cancel,
        Input::Abandon,
        Input::Scheduled,
        Input::Started,
        Input::CancelRequested,
        Input::Completed,
        Input::Failed,
        Input::TimedOut,
        Input::Canceled,
    ];

    fn activity(state: State, cancellation: ActivityCancellationType) -> Activity {
        let mut activity = Activity::new(&ScheduleActivity {
            seq: 1,
            activity_id: "1".to_owned(),
            activity_type: "charge".to_owned(),
            cancellation_type: cancellation as i32,
            ..Default::default()
        });
        activity.state = state;
        activity
    }

    fn event(input: Input) -> HistoryEvent {
        let attributes = match input {
            Input::Scheduled => Attributes::ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes {
                activity_id: "1".to_owned(),
                activity_type: Some(ActivityType { name: "charge".to_owned() }),
                ..Default::default()
            }),
            Input::Started => Attributes::ActivityTaskStartedEventAttributes(ActivityTaskStartedEventAttributes::default()),
            Input::CancelRequested => {
                Attributes::ActivityTaskCancelRequestedEventAttributes(ActivityTaskCancelRequestedEventAttributes::default())
            }
            Input::Completed => Attributes::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes::default()),
            Input::Failed => Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes::default()),
            Input::TimedOut => Attributes::ActivityTaskTimedOutEventAttributes(ActivityTaskTimedOutEventAttributes::default()),
            _ => Attributes::ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes::default()),
        };
        HistoryEvent { event_id: 5, attributes: Some(attributes), ..Default::default() }
    }

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        table::check(TABLE, &STATES, &INPUTS, |state, input| match input {
            Input::Cancel | Input::Abandon => {
                let cancellation = match input {
                    Input::Abandon => ActivityCancellationType::Abandon,
                    _ => ActivityCancellationType::TryCancel,
                };
                let mut activity = activity(state, cancellation);
                let accepted = !activity.cancel().is_empty();
                (accepted, activity.state)
            }
            _ => {
                let mut activity = activity(state, ActivityCancellationType::WaitCancellationCompleted);
                let accepted = activity.handle_event(event(input), true).is_ok();
                (accepted, activity.state)
            }
        });
    }

    fn told(effects: &[Effect]) -> Vec<&'static str> {
        effects
            .iter()
            .map(|effect| match effect {
                Effect::Command(_) => "request",
                Effect::Job(_) => "told",
                _ => "other",
            })
            .collect()
    }

    #[test]
    fn cancellation_types_differ_in_when_the_code_is_told() {
        for (cancellation, at_cancel, at_end) in [
            (ActivityCancellationType::TryCancel, vec!["request", "told"], vec![]),
            (ActivityCancellationType::WaitCancellationCompleted, vec!["request"], vec!["told"]),
        ] {
            let mut activity = activity(State::Scheduled, cancellation);
            assert_eq!(told(&activity.cancel()), at_cancel);
            assert!(activity.cancel().is_empty(), "a second cancel does nothing");
            assert!(activity.handle_event(event(Input::CancelRequested), true).unwrap().is_empty());
            assert_eq!(told(&activity.handle_event(event(Input::Canceled), true).unwrap()), at_end);
        }
        let mut activity = activity(State::Scheduled, ActivityCancellationType::Abandon);
        assert_eq!(told(&activity.cancel()), ["told"]);
        assert!(activity.handle_event(event(Input::Completed), true).unwrap().is_empty());
    }

    #[test]
    fn another_activity_is_refused_unless_the_history_is_older_than_the_check() {
        let mut other = event(Input::Scheduled);
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(attributes)) = &mut other.attributes {
            attributes.activity_id = "2".to_owned();
        }
        let mut activity = activity(State::Commanded, ActivityCancellationType::TryCancel);
        let fault = activity.handle_event(other.clone(), true).unwrap_err();
        assert!(fault.to_string().contains("activity '2' of type 'charge', the code's command about activity '1'"), "{fault}");
        assert!(activity.handle_event(other, false).is_ok());
    }
}
