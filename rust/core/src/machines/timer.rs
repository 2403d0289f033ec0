//! A timer.
//!
//! The code starts it, the history records the start, then it fires, or the code cancels it and the history records that.
//! Cancelling it before its command was sent withdraws the command. The code knows of its own cancels, so that a cancelled
//! timer gives no job. Cancelling what has ended is allowed and does nothing.

use super::{Effect, refused, step};
use crate::fault::Fault;
use temporalio_protos::{
    coresdk::workflow_activation::{FireTimer, workflow_activation_job::Variant as Job},
    temporal::api::{
        command::v1::{CancelTimerCommandAttributes, command::Attributes as CommandAttributes},
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Commanded,       Input::Started,  State::Running),
    (State::Commanded,       Input::Cancel,   State::Withdrawn),
    (State::Running,         Input::Fired,    State::Fired),
    (State::Running,         Input::Cancel,   State::CancelCommanded),
    (State::CancelCommanded, Input::Cancel,   State::CancelCommanded),
    (State::CancelCommanded, Input::Canceled, State::Canceled),
    (State::Withdrawn,       Input::Cancel,   State::Withdrawn),
    (State::Fired,           Input::Cancel,   State::Fired),
    (State::Canceled,        Input::Cancel,   State::Canceled),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Commanded,
    Running,
    CancelCommanded,
    Withdrawn,
    Fired,
    Canceled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Started,
    Fired,
    Canceled,
    Cancel,
}

#[derive(Debug)]
pub(crate) struct Timer {
    seq: u32,
    state: State,
}

impl Timer {
    pub(crate) fn new(seq: u32) -> Timer {
        Timer { seq, state: State::Commanded }
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.state == State::Withdrawn
    }

    pub(crate) fn describe(&self) -> String {
        format!("timer {}", self.seq)
    }

    pub(crate) fn cancel(&mut self) -> Vec<Effect> {
        let before = self.state;
        let Some(after) = step(TABLE, before, Input::Cancel) else { return Vec::new() };
        self.state = after;
        if before == State::Running {
            let attributes = CancelTimerCommandAttributes { timer_id: self.seq.to_string() };
            return vec![Effect::Command(CommandAttributes::CancelTimerCommandAttributes(attributes))];
        }
        Vec::new()
    }

    pub(crate) fn handle_event(&mut self, event: HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let (input, timer_id) = match &event.attributes {
            Some(Attributes::TimerStartedEventAttributes(attributes)) => (Input::Started, &attributes.timer_id),
            Some(Attributes::TimerFiredEventAttributes(attributes)) => (Input::Fired, &attributes.timer_id),
            Some(Attributes::TimerCanceledEventAttributes(attributes)) => (Input::Canceled, &attributes.timer_id),
            _ => return Err(refused(&self.describe(), &self.state, &event)),
        };
        let Some(after) = step(TABLE, self.state, input) else {
            return Err(refused(&self.describe(), &self.state, &event));
        };
        if *timer_id != self.seq.to_string() {
            return Err(Fault::Nondeterminism(format!(
                "event {} ({}) is about timer '{timer_id}', the code's command about timer '{}'",
                event.event_id,
                event.event_type().as_str_name(),
                self.seq
            )));
        }
        self.state = after;
        Ok(match input {
            Input::Fired => vec![Effect::Job(Box::new(Job::FireTimer(FireTimer { seq: self.seq })))],
            _ => Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;
    use temporalio_protos::temporal::api::history::v1::{
        TimerCanceledEventAttributes, TimerFiredEventAttributes, TimerStartedEventAttributes,
    };

    const STATES: [State; 6] = [State::Commanded, State::Running, State::CancelCommanded, State::Withdrawn, State::Fired, State::Canceled];

    fn event(input: Input, id: &str) -> HistoryEvent {
        let timer_id = id.to_owned();
        let attributes = match input {
            Input::Started => Attributes::TimerStartedEventAttributes(TimerStartedEventAttributes { timer_id, ..Default::default() }),
            Input::Fired => Attributes::TimerFiredEventAttributes(TimerFiredEventAttributes { timer_id, ..Default::default() }),
            _ => Attributes::TimerCanceledEventAttributes(TimerCanceledEventAttributes { timer_id, ..Default::default() }),
        };
        HistoryEvent { event_id: 5, attributes: Some(attributes), ..Default::default() }
    }

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        table::check(TABLE, &STATES, &[Input::Started, Input::Fired, Input::Canceled, Input::Cancel], |state, input| {
            let mut timer = Timer { seq: 7, state };
            let accepted = match input {
                Input::Cancel => {
                    let effects = timer.cancel();
                    assert_eq!(effects.len(), usize::from(state == State::Running));
                    step(TABLE, state, input).is_some()
                }
                _ => timer.handle_event(event(input, "7")).is_ok(),
            };
            (accepted, timer.state)
        });
    }

    #[test]
    fn another_timers_event_is_refused() {
        let mut timer = Timer::new(7);
        let fault = timer.handle_event(event(Input::Started, "8")).unwrap_err();
        assert!(fault.to_string().contains("about timer '8', the code's command about timer '7'"), "{fault}");
        assert_eq!(timer.state, State::Commanded);
    }
}
