//! Whether what was asked before a cut is found done after it: once if it was answered, at most once if not.

use std::collections::BTreeMap;

use durable_client::{Request, Response};
use temporalio_protos::temporal::api::{
    enums::v1::EventType,
    history::v1::{HistoryEvent, history_event::Attributes as Event},
};

use crate::{
    histories::{Run, Runs, listed},
    ledger::{Attempt, Deed, Entry, Ledger},
};

/// Compares the books with all histories at the end. `again` are the books of the time after the cut, where what had no answer was asked
/// for once more.
pub fn check(before: &Ledger, again: &Ledger, cut: usize, runs: &Runs) -> Result<(), String> {
    for entry in before.entries.iter().filter(|entry| entry.asked <= cut) {
        let repeated = again.entries.iter().filter(|other| other.deed == entry.deed);
        let is_done = entry.is_acknowledged(cut) || repeated.clone().any(|other| other.is_acknowledged(usize::MAX));
        let Some(count) = done(entry, before, cut, runs) else { continue };
        if is_done && count == 0 {
            let whom = if entry.is_acknowledged(cut) { "acknowledged before the cut" } else { "acknowledged after the cut" };
            return Err(format!("{:?} was {whom} and is not found\n{}", entry.deed, about(&entry.deed, runs)));
        }
        if count > 1 {
            return Err(format!("{:?} is found {count} times\n{}", entry.deed, about(&entry.deed, runs)));
        }
    }
    attempts(&before.attempts, &again.attempts, cut)
}

/// The histories that a deed is about.
fn about(deed: &Deed, runs: &Runs) -> String {
    let is_meant = |run_id: &str, run: &Run| match deed {
        Deed::Start { workflow_id }
        | Deed::Signal { workflow_id, .. }
        | Deed::Update { workflow_id, .. }
        | Deed::Cancel { workflow_id, .. }
        | Deed::Terminate { workflow_id, .. } => run.workflow_id == *workflow_id,
        Deed::CompleteTask { run_id: other, .. } | Deed::CompleteActivity { run_id: other, .. } => run_id == other,
        _ => false,
    };
    let meant = runs.iter().filter(|(run_id, run)| is_meant(run_id, run));
    meant.map(|(run_id, run)| format!("{} {run_id}\n{}", run.workflow_id, listed(&run.events))).collect()
}

fn of<'a>(runs: &'a Runs, workflow_id: &'a str) -> impl Iterator<Item = &'a Run> {
    runs.values().filter(move |run| run.workflow_id == workflow_id)
}

fn count<'a>(runs: impl Iterator<Item = &'a Run>, is: impl Fn(&Event) -> bool) -> usize {
    runs.flat_map(|run| &run.events).filter(|event| event.attributes.as_ref().is_some_and(&is)).count()
}

/// The same for the run in which it is most often: a run remembers what it was asked, not what the one before it in its chain was.
fn most<'a>(runs: impl Iterator<Item = &'a Run>, is: impl Fn(&Event) -> bool) -> usize {
    runs.map(|run| count(std::iter::once(run), &is)).max().unwrap_or(0)
}

/// How often a deed is found; none if that does not show in histories.
fn done(entry: &Entry, before: &Ledger, cut: usize, runs: &Runs) -> Option<usize> {
    Some(match &entry.deed {
        Deed::Start { workflow_id } => match &entry.answered {
            Some((at, Ok(Response::StartWorkflowExecution(answer)))) if *at <= cut => usize::from(runs.contains_key(&answer.run_id)),
            _ => {
                // Another request may have begun the workflow again after its end.
                let is_alone = before.entries.iter().filter(|other| other.asked <= cut && begins(other) == Some(workflow_id)).count() == 1;
                let found = chains(runs, workflow_id);
                if is_alone { found } else { found.min(1) }
            }
        },
        Deed::Signal { workflow_id, name } => most(
            of(runs, workflow_id),
            |event| matches!(event, Event::WorkflowExecutionSignaledEventAttributes(e) if e.signal_name == *name),
        ),
        Deed::Update { workflow_id, update_id } => {
            let accepted = most(
                of(runs, workflow_id),
                |event| matches!(event, Event::WorkflowExecutionUpdateAcceptedEventAttributes(e) if e.protocol_instance_id == *update_id),
            );
            let is_meant = |event: &Event| match event {
                Event::WorkflowExecutionUpdateCompletedEventAttributes(e) => {
                    e.meta.as_ref().is_some_and(|meta| meta.update_id == *update_id)
                }
                _ => false,
            };
            let completed = most(of(runs, workflow_id), is_meant);
            accepted.max(completed)
        }
        Deed::Cancel { workflow_id, reason } => {
            let found = most(
                of(runs, workflow_id),
                |event| matches!(event, Event::WorkflowExecutionCancelRequestedEventAttributes(e) if e.cause == *reason),
            );
            // A run that has ended, or was asked before, is not changed, and whoever asks is told that all is well.
            if found == 0 {
                return None;
            }
            found
        }
        Deed::Terminate { workflow_id, reason } => most(
            of(runs, workflow_id),
            |event| matches!(event, Event::WorkflowExecutionTerminatedEventAttributes(e) if e.reason == *reason),
        ),
        Deed::CompleteTask { run_id, started_event_id } => {
            let run = runs.get(run_id);
            if is_cut_short(run) {
                return None;
            }
            let found =
                |event: &Event| matches!(event, Event::WorkflowTaskCompletedEventAttributes(e) if e.started_event_id == *started_event_id);
            // A task that brought nothing but rejected updates leaves no trace; ours bring none.
            count(run.into_iter(), found)
        }
        Deed::CompleteActivity { run_id, activity_id } => {
            let run = runs.get(run_id);
            if is_cut_short(run) {
                return None;
            }
            let names = scheduled(run);
            let found = |event: &Event| match event {
                Event::ActivityTaskCompletedEventAttributes(e) => names.get(&e.scheduled_event_id) == Some(activity_id),
                _ => false,
            };
            count(run.into_iter(), found)
        }
        Deed::CreateSchedule { .. } | Deed::DeleteSchedule { .. } | Deed::TriggerSchedule | Deed::Nothing => return None,
    })
}

/// The workflow that a request begins if it is not there.
fn begins(entry: &Entry) -> Option<&str> {
    match (&entry.deed, &entry.request) {
        (Deed::Start { workflow_id }, _)
        | (
            Deed::Signal { workflow_id, .. } | Deed::Update { workflow_id, .. },
            Request::SignalWithStartWorkflowExecution(_) | Request::ExecuteMultiOperation(_),
        ) => Some(workflow_id),
        _ => None,
    }
}

/// Runs that continue no other.
fn chains(runs: &Runs, workflow_id: &str) -> usize {
    count(
        of(runs, workflow_id),
        |event| matches!(event, Event::WorkflowExecutionStartedEventAttributes(e) if e.continued_execution_run_id.is_empty()),
    )
}

/// A run that ended while its worker did something else has not everything in its history.
fn is_cut_short(run: Option<&Run>) -> bool {
    run.and_then(|run| run.events.last()).is_some_and(|event| event.event_type() == EventType::WorkflowExecutionTerminated)
}

fn scheduled(run: Option<&Run>) -> BTreeMap<i64, String> {
    let name = |event: &HistoryEvent| match event.attributes.as_ref() {
        Some(Event::ActivityTaskScheduledEventAttributes(e)) => Some((event.event_id, e.activity_id.clone())),
        _ => None,
    };
    run.into_iter().flat_map(|run| &run.events).filter_map(name).collect()
}

/// An attempt that a worker was given is never given again: whatever kills its process would be given to the next one for ever.
fn attempts(before: &[Attempt], again: &[Attempt], cut: usize) -> Result<(), String> {
    let mut last = BTreeMap::new();
    for attempt in before.iter().filter(|attempt| attempt.given <= cut) {
        let number = last.entry((&attempt.run_id, &attempt.activity_id)).or_insert(0);
        *number = attempt.number.max(*number);
    }
    for attempt in again {
        let number = last.entry((&attempt.run_id, &attempt.activity_id)).or_insert(0);
        if attempt.number <= *number {
            return Err(format!("attempt {} of {} {} was given twice", attempt.number, attempt.run_id, attempt.activity_id));
        }
        *number = attempt.number;
    }
    Ok(())
}
