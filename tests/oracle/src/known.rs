//! Where the two cores differ for good. The generator keeps away from these, except for the test that shows each of them.

use temporalio_protos::temporal::api::{enums::v1::EventType, history::v1::HistoryEvent};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// The official core takes a completed task without commands for a sign of life when the next one is scheduled right behind it,
    /// and shows the code the events of both in one activation, also those that came between the two. A real history has that
    /// when an update asks for a task and something else happens before it starts, or when a task after a sign of life is lost.
    /// Live the code saw two activations, as our replay shows it.
    MergedTasks,
    /// Results of local activities that were told one by one after a sign of life are told together by the official core: it merges the
    /// tasks, and so counts the activations of a task differently than it was counted live.
    LocalsAfterHeartbeat,
    /// Live, an activation of nothing but a rejected update came between two results of local activities of one task. It left no trace,
    /// and the official core tells the two results together when it replays; ours tells them as they were told.
    LocalsAfterRejection,
    /// A history that was fetched while nothing was open ends with a completed task: the official core counts that event to the
    /// activation before it.
    EndsWithTask,
    /// An activity that the code abandoned fails or times out later: the official core cannot take the event.
    AbandonedFails,
}

impl Known {
    pub const ALL: [Known; 5] =
        [Known::MergedTasks, Known::LocalsAfterHeartbeat, Known::LocalsAfterRejection, Known::EndsWithTask, Known::AbandonedFails];

    /// The generator makes it on demand only, and what it made cannot be told from the rest.
    pub fn is_made(self) -> bool {
        matches!(self, Known::MergedTasks | Known::AbandonedFails)
    }

    /// A difference that a history cannot but have.
    pub fn of(events: &[HistoryEvent]) -> Option<Known> {
        if events.last().is_some_and(|event| event.event_type() == EventType::WorkflowTaskCompleted) {
            return Some(Known::EndsWithTask);
        }
        if has_locals_after_heartbeat(events) {
            return Some(Known::LocalsAfterHeartbeat);
        }
        let last = events.iter().rposition(|event| event.event_type() == EventType::WorkflowTaskCompleted);
        let follows = last.and_then(|last| events.get(last + 1));
        follows.filter(|event| event.event_type() == EventType::WorkflowTaskScheduled).map(|_| Known::MergedTasks)
    }
}

/// A task right behind another one that had no commands has markers of local activities.
fn has_locals_after_heartbeat(events: &[HistoryEvent]) -> bool {
    let kinds: Vec<EventType> = events.iter().map(HistoryEvent::event_type).collect();
    let beats = |window: &[EventType]| {
        use EventType::{WorkflowTaskCompleted as Completed, WorkflowTaskScheduled as Scheduled, WorkflowTaskStarted as Started};
        window == [Completed, Scheduled, Started, Completed]
    };
    let after = (0..kinds.len().saturating_sub(3)).filter(|index| beats(&kinds[*index..index + 4])).map(|index| index + 4);
    after.into_iter().any(|start| {
        let commands = events[start..].iter().take_while(|event| event.is_command_event());
        commands.filter(|event| event.event_type() == EventType::MarkerRecorded).count() > 0
    })
}
