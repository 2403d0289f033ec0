//! Makes a workflow task of a history that is given, for replays without a service.

use temporalio_protos::temporal::api::{
    common::v1::{WorkflowExecution, WorkflowType},
    enums::v1::EventType,
    history::v1::{History, HistoryEvent, history_event::Attributes},
    workflowservice::v1::PollWorkflowTaskQueueResponse,
};

/// A whole history as the service would hand it to a worker: for a run with `replay_only`.
#[must_use]
pub fn replay_task(history: History, workflow_id: String, run_id: String, workflow_type: WorkflowType) -> PollWorkflowTaskQueueResponse {
    let started = |event: &HistoryEvent| event.event_type() == EventType::WorkflowTaskStarted;
    let last_started = history.events.iter().rev().find(|event| started(event)).map_or(0, |event| event.event_id);
    // Up to the last task that was completed the code is held against the history; a task that is open at the end is
    // given to the code, and what it answers is compared with nothing.
    let completed = history.events.iter().filter_map(|event| match &event.attributes {
        Some(Attributes::WorkflowTaskCompletedEventAttributes(completed)) => Some(completed.started_event_id),
        _ => None,
    });
    let last_completed = completed.max().unwrap_or(0);
    PollWorkflowTaskQueueResponse {
        task_token: b"replay".to_vec(),
        workflow_execution: Some(WorkflowExecution { workflow_id, run_id }),
        workflow_type: Some(workflow_type),
        previous_started_event_id: last_completed,
        started_event_id: last_started,
        attempt: 1,
        history: Some(history),
        ..Default::default()
    }
}
