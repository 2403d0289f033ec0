//! All runs of an engine at the end, and what must be true of each whatever has happened.

use std::collections::{BTreeMap, BTreeSet};

use temporalio_protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::EventType,
    history::v1::{HistoryEvent, history_event::Attributes as Event},
    workflowservice::v1::{GetWorkflowExecutionHistoryRequest, ListWorkflowExecutionsRequest},
};

use crate::{client::execution, driver::Driver, worker::NAMESPACE};

const PAGE: i32 = 1_000;

#[derive(Debug)]
pub struct Run {
    pub workflow_id: String,
    pub events: Vec<HistoryEvent>,
}

/// Every run by its id.
pub type Runs = BTreeMap<String, Run>;

pub fn executions(driver: &mut Driver, query: &str) -> Result<Vec<WorkflowExecution>, String> {
    let mut found = Vec::new();
    let mut next_page_token = Vec::new();
    loop {
        let request = ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), page_size: PAGE, next_page_token, query: query.into() };
        let answer = driver.look(request).map_err(|status| format!("list: {}", status.message))?;
        found.extend(answer.executions.into_iter().filter_map(|info| info.execution));
        next_page_token = answer.next_page_token;
        if next_page_token.is_empty() {
            return Ok(found);
        }
    }
}

pub fn history(driver: &mut Driver, workflow_id: &str, run_id: &str) -> Result<Vec<HistoryEvent>, String> {
    let mut events = Vec::new();
    let mut next_page_token = Vec::new();
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.into(),
            execution: execution(workflow_id, run_id),
            next_page_token,
            ..Default::default()
        };
        let answer = driver.look(request).map_err(|status| format!("history of {workflow_id} {run_id}: {}", status.message))?;
        events.extend(answer.history.unwrap_or_default().events);
        next_page_token = answer.next_page_token;
        if next_page_token.is_empty() {
            return Ok(events);
        }
    }
}

pub fn all(driver: &mut Driver) -> Result<Runs, String> {
    let mut runs = Runs::new();
    for WorkflowExecution { workflow_id, run_id } in executions(driver, "")? {
        let events = history(driver, &workflow_id, &run_id)?;
        check(&events).map_err(|wrong| format!("{workflow_id} {run_id}: {wrong}\n{}", listed(&events)))?;
        runs.insert(run_id, Run { workflow_id, events });
    }
    Ok(runs)
}

/// The events' types in a column, for a report.
pub fn listed(events: &[HistoryEvent]) -> String {
    events.iter().map(|event| format!("{:4} {}\n", event.event_id, event.event_type().as_str_name())).collect()
}

pub fn is_end(event: EventType) -> bool {
    use EventType as E;
    matches!(
        event,
        E::WorkflowExecutionCompleted
            | E::WorkflowExecutionFailed
            | E::WorkflowExecutionTimedOut
            | E::WorkflowExecutionCanceled
            | E::WorkflowExecutionTerminated
            | E::WorkflowExecutionContinuedAsNew
    )
}

/// The event that an event ends, where only one may.
fn ended(event: &HistoryEvent) -> Option<i64> {
    Some(match event.attributes.as_ref()? {
        Event::WorkflowTaskCompletedEventAttributes(e) => e.scheduled_event_id,
        Event::WorkflowTaskFailedEventAttributes(e) => e.scheduled_event_id,
        Event::WorkflowTaskTimedOutEventAttributes(e) => e.scheduled_event_id,
        Event::ActivityTaskCompletedEventAttributes(e) => e.scheduled_event_id,
        Event::ActivityTaskFailedEventAttributes(e) => e.scheduled_event_id,
        Event::ActivityTaskTimedOutEventAttributes(e) => e.scheduled_event_id,
        Event::ActivityTaskCanceledEventAttributes(e) => e.scheduled_event_id,
        Event::TimerFiredEventAttributes(e) => e.started_event_id,
        Event::TimerCanceledEventAttributes(e) => e.started_event_id,
        Event::StartChildWorkflowExecutionFailedEventAttributes(e) => e.initiated_event_id,
        Event::ChildWorkflowExecutionCompletedEventAttributes(e) => e.initiated_event_id,
        Event::ChildWorkflowExecutionFailedEventAttributes(e) => e.initiated_event_id,
        Event::ChildWorkflowExecutionCanceledEventAttributes(e) => e.initiated_event_id,
        Event::ChildWorkflowExecutionTimedOutEventAttributes(e) => e.initiated_event_id,
        Event::ChildWorkflowExecutionTerminatedEventAttributes(e) => e.initiated_event_id,
        Event::SignalExternalWorkflowExecutionFailedEventAttributes(e) => e.initiated_event_id,
        Event::ExternalWorkflowExecutionSignaledEventAttributes(e) => e.initiated_event_id,
        _ => return None,
    })
}

/// What holds for the history of every run that has ended.
pub fn check(events: &[HistoryEvent]) -> Result<(), String> {
    let Some(first) = events.first().filter(|event| event.event_type() == EventType::WorkflowExecutionStarted) else {
        return Err("it does not begin with its start".into());
    };
    let start = first.event_time.unwrap_or_default();
    let (mut over, mut begun) = (BTreeSet::new(), BTreeSet::new());
    for (event, number) in events.iter().zip(1..) {
        if event.event_id != number {
            return Err(format!("event {number} has the id {}", event.event_id));
        }
        let at = event.event_time.unwrap_or_default();
        // What came while a task was under way keeps its own time: only the beginning is before all else.
        if (at.seconds, at.nanos) < (start.seconds, start.nanos) {
            return Err(format!("event {number} is before the start"));
        }
        if is_end(event.event_type()) != (number as usize == events.len()) {
            return Err(format!("event {number}: the end is not the last event"));
        }
        if let Some(other) = ended(event)
            && (other >= number || other < 1 || !over.insert(other))
        {
            return Err(format!("event {number}: what event {other} began is over for the second time"));
        }
        let beginning = match event.attributes.as_ref() {
            Some(Event::ActivityTaskStartedEventAttributes(e)) => Some(e.scheduled_event_id),
            Some(Event::WorkflowTaskStartedEventAttributes(e)) => Some(e.scheduled_event_id),
            Some(Event::ChildWorkflowExecutionStartedEventAttributes(e)) => Some(e.initiated_event_id),
            _ => None,
        };
        if let Some(other) = beginning.filter(|other| !begun.insert(*other)) {
            return Err(format!("event {number}: what event {other} asked for has begun for the second time"));
        }
    }
    Ok(())
}
