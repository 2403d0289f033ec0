//! A local activity.
//!
//! The worker that has the workflow task runs it; the history knows only its outcome, as a marker. Live, the code asks for
//! it, the worker runs it, the outcome makes the marker's command and is told to the code, and the history records the
//! marker. In a replay nothing runs: the outcome is found by looking ahead to the marker, told to the code, and then the
//! marker's event comes. When the replay reaches the live task and there was no marker, the worker runs it after all.
//!
//! A cancel, by cancellation type:
//! - try cancel: the worker is asked to cancel it, the code is told at once that it was cancelled, and that is recorded;
//! - wait for the cancellation's completion: the worker is asked, the outcome is what it answers;
//! - abandon: as try cancel, but the worker lets it run.
//!
//! In a replay a cancel changes nothing: the marker says what came of it. When the replay reaches the live task without one,
//! the cancel was of an earlier life of the run: what it asked to stop is not run again, its outcome is that cancellation.
//! Cancelling what has an outcome does nothing, and so does an outcome that comes after another.

use super::{Effect, refused, step};
use crate::{fault::Fault, marker::Marker};
use prost_wkt_types::{Duration, Timestamp};
use temporalio_protos::{
    coresdk::{
        activity_result::{
            self, ActivityResolution, Cancellation, DoBackoff, activity_execution_result::Status as Outcome, activity_resolution::Status,
        },
        external_data::LocalActivityMarkerData,
        workflow_activation::{ResolveActivity, workflow_activation_job::Variant as Job},
        workflow_commands::{ActivityCancellationType, ScheduleLocalActivity},
    },
    temporal::api::{
        common::v1::ActivityType,
        enums::v1::RetryState,
        failure::v1::{ActivityFailureInfo, CanceledFailureInfo, Failure, failure::FailureInfo},
        history::v1::HistoryEvent,
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Running,        Input::Outcome,      State::Resolved),
    (State::Running,        Input::Cancel,       State::Running),
    (State::Running,        Input::CancelNow,    State::Resolved),
    (State::Resolved,       Input::Outcome,      State::Resolved),
    (State::Resolved,       Input::Cancel,       State::Resolved),
    (State::Resolved,       Input::CancelNow,    State::Resolved),
    (State::Resolved,       Input::Recorded,     State::Recorded),
    (State::AwaitingMarker, Input::KnownOutcome, State::Foreseen),
    (State::AwaitingMarker, Input::LiveTask,     State::Running),
    (State::AwaitingMarker, Input::Cancel,       State::AwaitingMarker),
    (State::AwaitingMarker, Input::CancelNow,    State::AwaitingMarker),
    (State::Foreseen,       Input::Cancel,       State::Foreseen),
    (State::Foreseen,       Input::CancelNow,    State::Foreseen),
    (State::Foreseen,       Input::Recorded,     State::Recorded),
    (State::Recorded,       Input::Outcome,      State::Recorded),
    (State::Recorded,       Input::Cancel,       State::Recorded),
    (State::Recorded,       Input::CancelNow,    State::Recorded),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Given to the worker.
    Running,
    /// Told to the code; the marker's command is made.
    Resolved,
    /// Asked for in a replay.
    AwaitingMarker,
    /// Told to the code, from a marker further on in the history.
    Foreseen,
    /// The history has the marker.
    Recorded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Outcome,
    KnownOutcome,
    LiveTask,
    Cancel,
    CancelNow,
    Recorded,
}

/// How a cancel is to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelAction {
    /// Nothing is left to cancel.
    Nothing,
    /// The worker is to cancel it; its outcome follows.
    AskWorker,
    /// The outcome is in what was looked ahead to, if it is due.
    LookAhead,
    /// The code is told at once; the worker is to cancel it, or to let it run.
    Told { let_run: bool },
}

/// What the worker found out.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) outcome: Outcome,
    pub(crate) attempt: u32,
    /// From the request to the outcome.
    pub(crate) runtime: std::time::Duration,
    /// The code is to wait for so long and then to ask for the next attempt.
    pub(crate) backoff: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct LocalActivity {
    seq: u32,
    activity_id: String,
    activity_type: String,
    attempt: u32,
    cancellation: ActivityCancellationType,
    original_schedule_time: Option<Timestamp>,
    /// The run's time when the code asked.
    asked_time: Option<Timestamp>,
    /// The history has the marker, or will have had it.
    is_success: Option<bool>,
    /// The code cancelled it in a replay.
    is_cancel_replayed: bool,
    state: State,
}

impl LocalActivity {
    pub(crate) fn new(command: &ScheduleLocalActivity, asked_time: Option<Timestamp>, is_replaying: bool) -> LocalActivity {
        LocalActivity {
            seq: command.seq,
            activity_id: command.activity_id.clone(),
            activity_type: command.activity_type.clone(),
            attempt: command.attempt,
            cancellation: command.cancellation_type(),
            original_schedule_time: command.original_schedule_time,
            asked_time,
            is_success: None,
            is_cancel_replayed: false,
            state: if is_replaying { State::AwaitingMarker } else { State::Running },
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("local activity '{}' of type '{}'", self.activity_id, self.activity_type)
    }

    pub(crate) fn awaits_marker(&self) -> bool {
        self.state == State::AwaitingMarker
    }

    /// True when the marker's event answers no command.
    pub(crate) fn is_foreseen(&self) -> bool {
        self.state == State::Foreseen
    }

    /// The outcome as the worker found it, in the activation of that index in the workflow task.
    pub(crate) fn resolve(&mut self, finding: Finding, activation_index: u64) -> Vec<Effect> {
        let before = self.state;
        let Some(after) = step(TABLE, before, Input::Outcome) else { return Vec::new() };
        self.state = after;
        if before != State::Running {
            return Vec::new();
        }
        let complete_time = self.asked_time.map(|asked| later(asked, finding.runtime));
        self.end(finding.outcome, finding.attempt, finding.backoff, complete_time, activation_index)
    }

    /// The outcome as a marker has it.
    pub(crate) fn foresee(&mut self, marker: Marker) -> Vec<Effect> {
        let Some(after) = step(TABLE, self.state, Input::KnownOutcome) else { return Vec::new() };
        self.state = after;
        let data = marker.data;
        let status = self.status(marker.outcome, data.attempt, data.backoff, data.original_schedule_time);
        vec![Effect::Time(data.complete_time), self.job(status)]
    }

    /// The run has reached its live task. True when there was no marker: it is to have its outcome now.
    pub(crate) fn go_live(&mut self) -> bool {
        let Some(after) = step(TABLE, self.state, Input::LiveTask) else { return false };
        self.state = after;
        true
    }

    /// True when the code cancelled it in a replay: the worker that it ran on then is gone.
    pub(crate) fn is_cancel_replayed(&self) -> bool {
        self.is_cancel_replayed
    }

    pub(crate) fn cancel(&mut self, activation_index: u64) -> (CancelAction, Vec<Effect>) {
        let input = match self.cancellation {
            ActivityCancellationType::WaitCancellationCompleted => Input::Cancel,
            ActivityCancellationType::TryCancel | ActivityCancellationType::Abandon => Input::CancelNow,
        };
        let before = self.state;
        let Some(after) = step(TABLE, before, input) else { return (CancelAction::Nothing, Vec::new()) };
        self.state = after;
        match (before, input) {
            (State::AwaitingMarker, _) => {
                self.is_cancel_replayed = true;
                (CancelAction::LookAhead, Vec::new())
            }
            (State::Running, Input::Cancel) => (CancelAction::AskWorker, Vec::new()),
            (State::Running, _) => {
                let let_run = self.cancellation == ActivityCancellationType::Abandon;
                // No completion time: the clock stays where it is.
                let effects = self.end(cancelled(), self.attempt, None, None, activation_index);
                (CancelAction::Told { let_run }, effects)
            }
            _ => (CancelAction::Nothing, Vec::new()),
        }
    }

    pub(crate) fn handle_event(&mut self, event: &HistoryEvent, check_ids: bool) -> Result<Vec<Effect>, Fault> {
        let Some(marker) = Marker::of_event(event)? else {
            return Err(refused(&self.describe(), &self.state, event));
        };
        let Some(after) = step(TABLE, self.state, Input::Recorded) else {
            return Err(refused(&self.describe(), &self.state, event));
        };
        self.check(event.event_id, &marker, check_ids)?;
        self.state = after;
        Ok(Vec::new())
    }

    fn check(&self, event_id: i64, marker: &Marker, check_ids: bool) -> Result<(), Fault> {
        let data = &marker.data;
        let same_name = data.activity_id == self.activity_id && data.activity_type == self.activity_type;
        if data.seq != self.seq || (check_ids && !same_name) {
            return Err(Fault::Nondeterminism(format!(
                "event {event_id} (local activity marker) is about local activity '{}' of type '{}' with number {}, \
                 the code's command about {} with number {}",
                data.activity_id,
                data.activity_type,
                data.seq,
                self.describe(),
                self.seq
            )));
        }
        let succeeded = matches!(marker.outcome, Outcome::Completed(_));
        if self.state == State::Resolved && self.is_success.is_some_and(|own| own != succeeded) {
            return Err(Fault::Nondeterminism(format!(
                "event {event_id} (local activity marker) has another outcome of {} than this worker",
                self.describe()
            )));
        }
        Ok(())
    }

    fn end(
        &mut self,
        outcome: Outcome,
        attempt: u32,
        backoff: Option<Duration>,
        complete_time: Option<Timestamp>,
        activation_index: u64,
    ) -> Vec<Effect> {
        self.is_success = Some(matches!(outcome, Outcome::Completed(_)));
        let data = LocalActivityMarkerData {
            seq: self.seq,
            attempt,
            activity_id: self.activity_id.clone(),
            activity_type: self.activity_type.clone(),
            complete_time,
            backoff,
            original_schedule_time: self.original_schedule_time,
            activation_index: Some(activation_index),
        };
        let status = self.status(outcome.clone(), attempt, backoff, self.original_schedule_time);
        vec![Effect::Time(complete_time), self.job(status), Effect::Command(Marker { data, outcome }.into_command())]
    }

    /// What the code is told: the same live and in a replay.
    fn status(&self, outcome: Outcome, attempt: u32, backoff: Option<Duration>, original_schedule_time: Option<Timestamp>) -> Status {
        if let Some(backoff) = backoff {
            return Status::Backoff(DoBackoff {
                attempt: attempt.saturating_add(1),
                backoff_duration: Some(backoff),
                original_schedule_time,
            });
        }
        match outcome {
            Outcome::Completed(success) => Status::Completed(success),
            Outcome::Failed(failed) => Status::Failed(failed),
            Outcome::Cancelled(cancellation) => Status::Cancelled(Cancellation { failure: cancellation.failure.map(|f| self.wrap(f)) }),
            Outcome::WillCompleteAsync(_) => Status::Failed(activity_result::Failure::default()),
        }
    }

    /// A bare cancellation gets the activity's name round it, as one from the service has.
    fn wrap(&self, failure: Failure) -> Failure {
        if !matches!(failure.failure_info, Some(FailureInfo::CanceledFailureInfo(_))) {
            return failure;
        }
        Failure {
            message: "Local Activity cancelled".to_owned(),
            cause: Some(Box::new(failure)),
            failure_info: Some(FailureInfo::ActivityFailureInfo(ActivityFailureInfo {
                activity_type: Some(ActivityType { name: self.activity_type.clone() }),
                activity_id: self.activity_id.clone(),
                retry_state: RetryState::CancelRequested as i32,
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn job(&self, status: Status) -> Effect {
        Effect::Job(Box::new(Job::ResolveActivity(ResolveActivity {
            seq: self.seq,
            result: Some(ActivityResolution { status: Some(status) }),
            is_local: true,
        })))
    }
}

/// The outcome of a cancel that nobody waits for.
pub(crate) fn cancelled() -> Outcome {
    Outcome::Cancelled(Cancellation {
        failure: Some(Failure {
            message: "Activity cancelled".to_owned(),
            failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())),
            ..Default::default()
        }),
    })
}

fn later(time: Timestamp, by: std::time::Duration) -> Timestamp {
    const BILLION: i64 = 1_000_000_000;
    let nanos = i64::from(time.nanos) + i64::from(by.subsec_nanos());
    Timestamp {
        seconds: time.seconds.saturating_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX)).saturating_add(nanos / BILLION),
        nanos: i32::try_from(nanos % BILLION).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;
    use temporalio_protos::temporal::api::{
        command::v1::command::Attributes as CommandAttributes,
        history::v1::{MarkerRecordedEventAttributes, history_event::Attributes},
    };

    const STATES: [State; 5] = [State::Running, State::Resolved, State::AwaitingMarker, State::Foreseen, State::Recorded];
    const INPUTS: [Input; 6] = [Input::Outcome, Input::KnownOutcome, Input::LiveTask, Input::Cancel, Input::CancelNow, Input::Recorded];

    fn activity(state: State, cancellation: ActivityCancellationType) -> LocalActivity {
        let command = ScheduleLocalActivity {
            seq: 1,
            activity_id: "1".to_owned(),
            activity_type: "charge".to_owned(),
            attempt: 1,
            cancellation_type: cancellation as i32,
            ..Default::default()
        };
        let mut activity = LocalActivity::new(&command, Some(Timestamp { seconds: 10, nanos: 900_000_000 }), false);
        activity.state = state;
        activity
    }

    fn marker(seq: u32, activity_type: &str) -> Marker {
        Marker {
            data: LocalActivityMarkerData {
                seq,
                attempt: 1,
                activity_id: "1".to_owned(),
                activity_type: activity_type.to_owned(),
                ..Default::default()
            },
            outcome: succeeded(),
        }
    }

    fn event(marker: Marker) -> HistoryEvent {
        let CommandAttributes::RecordMarkerCommandAttributes(command) = marker.into_command() else { panic!("not a marker") };
        let attributes = MarkerRecordedEventAttributes {
            marker_name: command.marker_name,
            details: command.details,
            failure: command.failure,
            ..Default::default()
        };
        HistoryEvent { event_id: 5, attributes: Some(Attributes::MarkerRecordedEventAttributes(attributes)), ..Default::default() }
    }

    fn succeeded() -> Outcome {
        Outcome::Completed(activity_result::Success::default())
    }

    fn finding(outcome: Outcome) -> Finding {
        Finding { outcome, attempt: 1, runtime: std::time::Duration::from_millis(1_200), backoff: None }
    }

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        table::check(TABLE, &STATES, &INPUTS, |state, input| {
            let cancellation = match input {
                Input::Cancel => ActivityCancellationType::WaitCancellationCompleted,
                _ => ActivityCancellationType::TryCancel,
            };
            let mut activity = activity(state, cancellation);
            let accepted = match input {
                Input::Outcome => {
                    let told = !activity.resolve(finding(succeeded()), 0).is_empty();
                    assert_eq!(told, state == State::Running);
                    step(TABLE, state, input).is_some()
                }
                Input::KnownOutcome => !activity.foresee(marker(1, "charge")).is_empty(),
                Input::LiveTask => activity.go_live(),
                Input::Cancel | Input::CancelNow => {
                    let (_, effects) = activity.cancel(0);
                    assert_eq!(!effects.is_empty(), state == State::Running && input == Input::CancelNow);
                    true
                }
                Input::Recorded => activity.handle_event(&event(marker(1, "charge")), true).is_ok(),
            };
            (accepted, activity.state)
        });
    }

    #[test]
    fn an_outcome_is_told_recorded_and_moves_time() {
        let mut activity = activity(State::Running, ActivityCancellationType::TryCancel);
        let effects = activity.resolve(finding(succeeded()), 2);
        let [Effect::Time(Some(time)), Effect::Job(job), Effect::Command(command)] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!((time.seconds, time.nanos), (12, 100_000_000));
        assert!(matches!(&**job, Job::ResolveActivity(resolve) if resolve.is_local && resolve.seq == 1));
        let CommandAttributes::RecordMarkerCommandAttributes(command) = command else { panic!("{command:?}") };
        assert!(String::from_utf8_lossy(&command.details["data"].payloads[0].data).contains("\"activation_index\":2"));
    }

    #[test]
    fn a_cancel_goes_by_its_type() {
        use ActivityCancellationType::{Abandon, TryCancel, WaitCancellationCompleted};
        for (kind, expected) in [
            (TryCancel, CancelAction::Told { let_run: false }),
            (Abandon, CancelAction::Told { let_run: true }),
            (WaitCancellationCompleted, CancelAction::AskWorker),
        ] {
            assert_eq!(activity(State::Running, kind).cancel(0).0, expected);
            assert_eq!(activity(State::AwaitingMarker, kind).cancel(0).0, CancelAction::LookAhead);
            assert_eq!(activity(State::Resolved, kind).cancel(0).0, CancelAction::Nothing);
        }
    }

    #[test]
    fn a_backoff_asks_for_the_next_attempt() {
        let mut activity = activity(State::Running, ActivityCancellationType::TryCancel);
        let backoff = Some(Duration { seconds: 90, nanos: 0 });
        let effects = activity.resolve(Finding { backoff, attempt: 4, ..finding(Outcome::Failed(Default::default())) }, 0);
        let Some(Effect::Job(job)) = effects.get(1) else { panic!("{effects:?}") };
        let Job::ResolveActivity(ResolveActivity { result: Some(ActivityResolution { status: Some(Status::Backoff(told)) }), .. }) = &**job
        else {
            panic!("{job:?}")
        };
        assert_eq!((told.attempt, told.backoff_duration), (5, backoff));
    }

    #[test]
    fn another_activitys_marker_is_refused() {
        for (seq, kind, check_ids, refused) in
            [(2, "charge", false, true), (1, "refund", true, true), (1, "refund", false, false), (1, "charge", true, false)]
        {
            let mut activity = activity(State::Foreseen, ActivityCancellationType::TryCancel);
            let answer = activity.handle_event(&event(marker(seq, kind)), check_ids);
            assert_eq!(answer.is_err(), refused, "{seq} {kind}");
        }
        let mut failed = activity(State::Running, ActivityCancellationType::TryCancel);
        failed.resolve(finding(Outcome::Failed(Default::default())), 0);
        let fault = failed.handle_event(&event(marker(1, "charge")), true).unwrap_err();
        assert!(fault.to_string().contains("another outcome"), "{fault}");
    }
}
