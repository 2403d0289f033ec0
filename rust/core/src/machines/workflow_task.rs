//! A workflow task.
//!
//! It is scheduled by the service, started by a worker, and completes, fails or times out; it may time out before it is started.
//! A started task that ends its stretch of the history (see `history`) moves the run's time and position, and so does a
//! completed one. A task that failed because of a reset begins a new sequence of random numbers.

use super::{Effect, refused, step};
use crate::fault::Fault;
use prost_wkt_types::Timestamp;
use temporalio_protos::temporal::api::{
    enums::v1::{EventType, WorkflowTaskFailedCause},
    history::v1::{HistoryEvent, history_event::Attributes},
};

#[rustfmt::skip]
const TABLE: &[(State, EventType, State)] = &[
    (State::Scheduled, EventType::WorkflowTaskStarted,   State::Started),
    (State::Scheduled, EventType::WorkflowTaskTimedOut,  State::TimedOut),
    (State::Started,   EventType::WorkflowTaskCompleted, State::Completed),
    (State::Started,   EventType::WorkflowTaskFailed,    State::Failed),
    (State::Started,   EventType::WorkflowTaskTimedOut,  State::TimedOut),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Scheduled,
    Started,
    Completed,
    Failed,
    TimedOut,
}

#[derive(Debug)]
pub(crate) struct WorkflowTask {
    state: State,
    /// The started event at the end of the stretch in which this task was scheduled.
    awaited_started_id: i64,
    started_id: i64,
    time: Option<Timestamp>,
}

impl WorkflowTask {
    pub(crate) fn new(awaited_started_id: i64) -> WorkflowTask {
        WorkflowTask { state: State::Scheduled, awaited_started_id, started_id: 0, time: None }
    }

    pub(crate) fn handle_event(&mut self, event: HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let Some(after) = step(TABLE, self.state, event.event_type()) else {
            return Err(refused("the workflow task", &self.state, &event));
        };
        if after == State::Started && event.event_time.is_none() {
            return Err(Fault::Fatal(format!("event {} (workflow task started) has no time", event.event_id)));
        }
        self.state = after;
        Ok(match after {
            State::Started => {
                self.started_id = event.event_id;
                self.time = event.event_time;
                if event.event_id < self.awaited_started_id {
                    return Ok(Vec::new());
                }
                vec![Effect::TaskStarted { started_id: self.awaited_started_id, time: self.time }]
            }
            State::Completed => vec![Effect::TaskStarted { started_id: self.started_id, time: self.time }],
            State::Failed => match event.attributes {
                Some(Attributes::WorkflowTaskFailedEventAttributes(attributes))
                    if attributes.cause() == WorkflowTaskFailedCause::ResetWorkflow =>
                {
                    vec![Effect::NewSeed { run_id: attributes.new_run_id }]
                }
                _ => Vec::new(),
            },
            State::Scheduled | State::TimedOut => Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        let states = [State::Scheduled, State::Started, State::Completed, State::Failed, State::TimedOut];
        let inputs = [
            EventType::WorkflowTaskStarted,
            EventType::WorkflowTaskCompleted,
            EventType::WorkflowTaskFailed,
            EventType::WorkflowTaskTimedOut,
            EventType::TimerFired,
        ];
        table::check(TABLE, &states, &inputs, |state, input| {
            let mut task = WorkflowTask { state, awaited_started_id: 3, started_id: 3, time: None };
            let event_time = Some(Timestamp::default());
            let event = HistoryEvent { event_id: 3, event_type: input as i32, event_time, ..Default::default() };
            let accepted = task.handle_event(event).is_ok();
            (accepted, task.state)
        });
    }

    #[test]
    fn a_task_that_does_not_end_its_stretch_moves_nothing() {
        let mut task = WorkflowTask::new(6);
        let event = HistoryEvent {
            event_id: 3,
            event_type: EventType::WorkflowTaskStarted as i32,
            event_time: Some(Timestamp::default()),
            ..Default::default()
        };
        assert!(task.handle_event(event).unwrap().is_empty());
    }
}
