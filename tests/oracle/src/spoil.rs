//! Histories that no longer fit their code: one thing in them is changed.

use temporalio_protos::temporal::api::{
    enums::v1::EventType,
    history::v1::{HistoryEvent, history_event::Attributes},
};

use crate::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spoiled {
    ActivityType,
    ActivityId,
    LocalActivityGone,
    TimerId,
    ChildType,
    ChildId,
    /// Two events of commands of different kinds change places.
    Order,
    /// An event of a command is one of another kind.
    Kind,
    /// The event of a command is missing.
    Missing,
    /// A workflow ended otherwise than its code.
    End,
}

pub const ALL: [Spoiled; 10] = [
    Spoiled::ActivityType,
    Spoiled::ActivityId,
    Spoiled::LocalActivityGone,
    Spoiled::TimerId,
    Spoiled::ChildType,
    Spoiled::ChildId,
    Spoiled::Order,
    Spoiled::Kind,
    Spoiled::Missing,
    Spoiled::End,
];

impl Spoiled {
    /// The official core does not compare the ids of timers, nor does it miss the event of a command when no other command follows.
    pub fn may_pass_official(self) -> bool {
        matches!(self, Spoiled::TimerId | Spoiled::Missing)
    }
}

/// Changes the history; false when it has nothing of that kind.
pub fn spoil(events: &mut Vec<HistoryEvent>, how: Spoiled, dice: &mut Dice) -> bool {
    let fits: Vec<usize> = (0..events.len()).filter(|index| is_candidate(events, *index, how)).collect();
    if fits.is_empty() {
        return false;
    }
    let index = dice.pick(&fits);
    match how {
        Spoiled::Order => {
            let (first, second) = (events[index].clone(), events[index + 1].clone());
            take_content(&mut events[index], second);
            take_content(&mut events[index + 1], first);
        }
        Spoiled::Kind | Spoiled::LocalActivityGone => {
            let other = events.iter().find(|event| event.event_type() == EventType::TimerStarted).cloned().expect("a candidate");
            take_content(&mut events[index], other);
        }
        Spoiled::Missing => {
            let removed_id = events.remove(index).event_id;
            events[index..].iter_mut().for_each(|event| renumber(event, removed_id));
        }
        Spoiled::End => {
            let kind = if events[index].event_type() == EventType::WorkflowExecutionFailed {
                (EventType::WorkflowExecutionCanceled, Attributes::WorkflowExecutionCanceledEventAttributes(Default::default()))
            } else {
                (EventType::WorkflowExecutionFailed, Attributes::WorkflowExecutionFailedEventAttributes(Default::default()))
            };
            events[index].event_type = kind.0 as i32;
            events[index].attributes = Some(kind.1);
        }
        _ => rename(&mut events[index], how),
    }
    true
}

/// The event as if the one with `removed_id` had never been.
fn renumber(event: &mut HistoryEvent, removed_id: i64) {
    let lower = |event_id: &mut i64| *event_id -= i64::from(*event_id > removed_id);
    lower(&mut event.event_id);
    match event.attributes.as_mut() {
        Some(Attributes::WorkflowTaskStartedEventAttributes(a)) => lower(&mut a.scheduled_event_id),
        Some(Attributes::WorkflowTaskCompletedEventAttributes(a)) => {
            lower(&mut a.scheduled_event_id);
            lower(&mut a.started_event_id);
        }
        Some(Attributes::WorkflowTaskFailedEventAttributes(a)) => {
            lower(&mut a.scheduled_event_id);
            lower(&mut a.started_event_id);
        }
        Some(Attributes::WorkflowTaskTimedOutEventAttributes(a)) => {
            lower(&mut a.scheduled_event_id);
            lower(&mut a.started_event_id);
        }
        // Whatever is left of a later thing does not matter: the missing event is found out before.
        _ => {}
    }
}

/// Everything but the place in the history.
fn take_content(event: &mut HistoryEvent, other: HistoryEvent) {
    let (event_id, event_time) = (event.event_id, event.event_time);
    *event = HistoryEvent { event_id, event_time, ..other };
}

fn rename(event: &mut HistoryEvent, how: Spoiled) {
    let other = || "spoiled".to_owned();
    match (event.attributes.as_mut(), how) {
        (Some(Attributes::ActivityTaskScheduledEventAttributes(a)), Spoiled::ActivityType) => {
            a.activity_type.get_or_insert_default().name = other();
        }
        (Some(Attributes::ActivityTaskScheduledEventAttributes(a)), _) => a.activity_id = other(),
        (Some(Attributes::TimerStartedEventAttributes(a)), _) => a.timer_id = other(),
        (Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a)), Spoiled::ChildType) => {
            a.workflow_type.get_or_insert_default().name = other();
        }
        (Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a)), _) => a.workflow_id = other(),
        (attributes, _) => panic!("{how:?} does not fit {attributes:?}"),
    }
}

fn is_candidate(events: &[HistoryEvent], index: usize, how: Spoiled) -> bool {
    let (event, kind) = (&events[index], events[index].event_type());
    let has_timer = || events.iter().any(|event| event.event_type() == EventType::TimerStarted);
    match how {
        Spoiled::ActivityType | Spoiled::ActivityId => kind == EventType::ActivityTaskScheduled,
        Spoiled::TimerId => kind == EventType::TimerStarted,
        Spoiled::ChildType | Spoiled::ChildId => kind == EventType::StartChildWorkflowExecutionInitiated,
        Spoiled::LocalActivityGone => kind == EventType::MarkerRecorded && has_timer(),
        Spoiled::Order => {
            let is_command = |event: &HistoryEvent| event.is_command_event() && event.event_type() != EventType::MarkerRecorded;
            is_command(event) && events.get(index + 1).is_some_and(|next| is_command(next) && next.event_type() != kind)
        }
        Spoiled::Kind => event.is_command_event() && kind != EventType::MarkerRecorded && kind != EventType::TimerStarted && has_timer(),
        // What nothing else refers to.
        Spoiled::Missing => {
            matches!(kind, EventType::TimerCanceled | EventType::ActivityTaskCancelRequested | EventType::WorkflowExecutionUpdateCompleted)
        }
        Spoiled::End => event.is_command_event() && event.is_final_wf_execution_event(),
    }
}
