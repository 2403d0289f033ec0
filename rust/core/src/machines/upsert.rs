//! A change of what lists and descriptions show of the run: its search attributes or its memo. Commanded once, recorded once.

use super::{Effect, refused, step};
use crate::fault::Fault;
use temporalio_protos::temporal::api::{enums::v1::EventType, history::v1::HistoryEvent};

#[rustfmt::skip]
const TABLE: &[(State, EventType, State)] = &[
    (State::AttributesCommanded, EventType::UpsertWorkflowSearchAttributes, State::Recorded),
    (State::MemoCommanded,       EventType::WorkflowPropertiesModified,     State::Recorded),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AttributesCommanded,
    MemoCommanded,
    Recorded,
}

#[derive(Debug)]
pub(crate) struct Upsert {
    state: State,
}

impl Upsert {
    pub(crate) fn attributes() -> Upsert {
        Upsert { state: State::AttributesCommanded }
    }

    pub(crate) fn memo() -> Upsert {
        Upsert { state: State::MemoCommanded }
    }

    pub(crate) fn describe(&self) -> String {
        "change of search attributes or memo".to_owned()
    }

    pub(crate) fn handle_event(&mut self, event: &HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let Some(after) = step(TABLE, self.state, event.event_type()) else {
            return Err(refused(&self.describe(), &self.state, event));
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
        let states = [State::AttributesCommanded, State::MemoCommanded, State::Recorded];
        let inputs = [EventType::UpsertWorkflowSearchAttributes, EventType::WorkflowPropertiesModified, EventType::TimerStarted];
        table::check(TABLE, &states, &inputs, |state, input| {
            let mut upsert = Upsert { state };
            let event = HistoryEvent { event_type: input as i32, ..Default::default() };
            let accepted = upsert.handle_event(&event).is_ok();
            (accepted, upsert.state)
        });
    }
}
