//! The end of the workflow, as its own code chose it: completed, failed, canceled or continued as new.
//!
//! The code gives one such command; the history answers with the event of the same kind. Nothing comes after it.

use super::{Effect, refused, step};
use crate::fault::Fault;
use temporalio_protos::temporal::api::{enums::v1::EventType, history::v1::HistoryEvent};

#[rustfmt::skip]
const TABLE: &[(State, EventType, State)] = &[
    (State::CompleteCommanded,      EventType::WorkflowExecutionCompleted,      State::Ended),
    (State::FailCommanded,          EventType::WorkflowExecutionFailed,         State::Ended),
    (State::CancelCommanded,        EventType::WorkflowExecutionCanceled,       State::Ended),
    (State::ContinueAsNewCommanded, EventType::WorkflowExecutionContinuedAsNew, State::Ended),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    CompleteCommanded,
    FailCommanded,
    CancelCommanded,
    ContinueAsNewCommanded,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Ending {
    state: State,
}

impl Ending {
    pub(crate) fn completed() -> Ending {
        Ending { state: State::CompleteCommanded }
    }

    pub(crate) fn failed() -> Ending {
        Ending { state: State::FailCommanded }
    }

    pub(crate) fn canceled() -> Ending {
        Ending { state: State::CancelCommanded }
    }

    pub(crate) fn continued_as_new() -> Ending {
        Ending { state: State::ContinueAsNewCommanded }
    }

    pub(crate) fn handle_event(&mut self, event: &HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let Some(after) = step(TABLE, self.state, event.event_type()) else {
            return Err(refused("the end of the workflow", &self.state, event));
        };
        self.state = after;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        let states = [State::CompleteCommanded, State::FailCommanded, State::CancelCommanded, State::ContinueAsNewCommanded, State::Ended];
        let inputs = [
            EventType::WorkflowExecutionCompleted,
            EventType::WorkflowExecutionFailed,
            EventType::WorkflowExecutionCanceled,
            EventType::WorkflowExecutionContinuedAsNew,
            EventType::TimerStarted,
        ];
        table::check(TABLE, &states, &inputs, |state, input| {
            let mut ending = Ending { state };
            let event = HistoryEvent { event_type: input as i32, ..Default::default() };
            let accepted = ending.handle_event(&event).is_ok();
            (accepted, ending.state)
        });
    }
}
