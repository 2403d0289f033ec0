//! Cuts a history into stretches, each of which led to one round of the workflow's code.
//!
//! A stretch ends with the `WorkflowTaskStarted` of a task that completed, or of the last task (the live one), or with the
//! event that closed the workflow. Tasks that failed or timed out do not end one, because the code's state of then was thrown
//! away. A heartbeat (a completed task without commands that was scheduled again at once, because a local activity ran on)
//! is a stretch of its own, as it was live, although it has nothing for the code: merged with the stretch before it, it
//! would show that stretch's activation a later time than it saw live. What follows the last started task belongs to the
//! last stretch.

use std::collections::VecDeque;
use temporalio_protos::temporal::api::{
    enums::v1::EventType,
    history::v1::{HistoryEvent, WorkflowTaskCompletedEventAttributes, history_event::Attributes},
};

/// The events that are not applied yet. They are complete up to the end of the task's history.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: VecDeque<HistoryEvent>,
    /// The last task that the service believes this worker to have completed, or 0.
    pub(crate) previous_started_id: i64,
}

impl History {
    pub(crate) fn new(events: Vec<HistoryEvent>, previous_started_id: i64) -> History {
        History { events: events.into(), previous_started_id }
    }

    /// The next stretch after `started_id` and whether it is the last one, or none when nothing is left.
    pub(crate) fn take_next(&mut self, started_id: i64) -> Option<(Vec<HistoryEvent>, bool)> {
        let skipped = self.events.iter().take_while(|event| event.event_id <= started_id).count();
        self.events.drain(..skipped);
        let end = end_of_next(&self.events)?;
        let stretch = self.events.drain(..=end).collect();
        let is_last = self.events.is_empty();
        if is_last {
            // An event takes two kilobytes, and a cached run may wait for years: the space goes too.
            self.events = VecDeque::new();
        }
        Some((stretch, is_last))
    }

    /// The events of the stretch that comes next.
    pub(crate) fn peek_next(&self) -> impl Iterator<Item = &HistoryEvent> {
        self.events.iter().take(end_of_next(&self.events).map_or(0, |end| end + 1))
    }

    /// The first event of a command among what is left.
    pub(crate) fn first_command(&self) -> Option<&HistoryEvent> {
        self.events.iter().find(|event| event.is_command_event())
    }

    /// The first completed task among what is left.
    pub(crate) fn peek_completed(&self) -> Option<&WorkflowTaskCompletedEventAttributes> {
        self.events.iter().find_map(|event| match &event.attributes {
            Some(Attributes::WorkflowTaskCompletedEventAttributes(attributes)) => Some(attributes),
            _ => None,
        })
    }
}

fn end_of_next(events: &VecDeque<HistoryEvent>) -> Option<usize> {
    let mut saw_command = false;
    let mut saw_start = false;
    for (index, event) in events.iter().enumerate() {
        saw_command |= event.is_command_event();
        saw_start |= event.event_type() == EventType::WorkflowExecutionStarted;
        if event.is_final_wf_execution_event() {
            return Some(index);
        }
        if event.event_type() != EventType::WorkflowTaskStarted {
            continue;
        }
        match events.get(index + 1).map(HistoryEvent::event_type) {
            Some(
                EventType::WorkflowTaskFailed
                | EventType::WorkflowTaskTimedOut
                | EventType::WorkflowExecutionTimedOut
                | EventType::WorkflowExecutionTerminated
                | EventType::WorkflowExecutionCanceled,
            ) => continue,
            Some(EventType::WorkflowTaskCompleted) => return Some(index),
            _ => {}
        }
        if saw_command || saw_start {
            return Some(index);
        }
    }
    events.len().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(types: &[EventType]) -> Vec<(usize, bool)> {
        let events = types
            .iter()
            .zip(1..)
            .map(|(kind, event_id)| HistoryEvent { event_id, event_type: *kind as i32, ..Default::default() })
            .collect();
        let mut history = History::new(events, 0);
        let mut found = Vec::new();
        let mut started = 0;
        while let Some((stretch, last)) = history.take_next(started) {
            started = stretch.last().map_or(0, |event| event.event_id);
            found.push((stretch.len(), last));
        }
        found
    }

    use EventType::{
        TimerFired, TimerStarted, WorkflowExecutionCompleted, WorkflowExecutionSignaled, WorkflowExecutionStarted,
        WorkflowExecutionTerminated, WorkflowTaskCompleted, WorkflowTaskFailed, WorkflowTaskScheduled, WorkflowTaskStarted,
    };

    #[test]
    fn what_was_applied_takes_no_room() {
        let mut history = History::new(vec![HistoryEvent { event_id: 1, ..Default::default() }; 3], 0);
        while history.take_next(0).is_some() {}
        assert_eq!(history.events.capacity(), 0);
    }

    #[test]
    fn tasks_end_stretches() {
        let types = [
            WorkflowExecutionStarted,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            TimerStarted,
            TimerFired,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            WorkflowExecutionCompleted,
        ];
        assert_eq!(stretches(&types), [(3, false), (5, false), (2, true)]);
        assert_eq!(stretches(&types[..8]), [(3, false), (5, true)]);
        assert_eq!(stretches(&types[..6]), [(3, false), (3, true)]);
        assert_eq!(stretches(&[]), []);
    }

    #[test]
    fn failed_tasks_do_not_and_heartbeats_do() {
        let failed = [
            WorkflowExecutionStarted,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskFailed,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
        ];
        assert_eq!(stretches(&failed), [(6, true)]);
        let heartbeat = [
            WorkflowExecutionStarted,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            WorkflowExecutionCompleted,
        ];
        assert_eq!(stretches(&heartbeat), [(3, false), (3, false), (2, true)]);
    }

    #[test]
    fn a_signal_alone_ends_one_and_termination_is_last() {
        let types = [
            WorkflowExecutionStarted,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowTaskCompleted,
            WorkflowExecutionSignaled,
            WorkflowTaskScheduled,
            WorkflowTaskStarted,
            WorkflowExecutionTerminated,
        ];
        assert_eq!(stretches(&types), [(3, false), (5, true)]);
    }
}
