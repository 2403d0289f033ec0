//! Fetching the pages of a history.

use durable_client::{Code, Status};
use temporalio_protos::temporal::api::{
    common::v1::WorkflowExecution,
    history::v1::HistoryEvent,
    workflowservice::v1::{GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueResponse},
};

use crate::{report::report, shared::Shared};

/// The service's limit is 51,200 events a run; a token that leads in a circle must not keep us for ever.
const MAX_PAGES: usize = 10_000;

/// The events from the page that `page_token` names; an empty token is the first page.
pub(crate) async fn fetch_history(
    shared: &Shared,
    execution: WorkflowExecution,
    mut page_token: Vec<u8>,
) -> Result<Vec<HistoryEvent>, Status> {
    let mut events = Vec::new();
    for _ in 0..MAX_PAGES {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: shared.options.namespace.clone(),
            execution: Some(execution.clone()),
            next_page_token: page_token,
            ..Default::default()
        };
        let page = report(shared, request).await?;
        events.extend(page.history.unwrap_or_default().events);
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        page_token = page.next_page_token;
    }
    Err(Status::new(Code::Internal, format!("the history of {} has more than {MAX_PAGES} pages", execution.workflow_id)))
}

/// Adds the remaining pages of a task's history to it.
pub(crate) async fn fetch_rest(shared: &Shared, task: &mut PollWorkflowTaskQueueResponse) -> Result<(), Status> {
    let page_token = std::mem::take(&mut task.next_page_token);
    let execution = task.workflow_execution.clone().unwrap_or_default();
    let rest = fetch_history(shared, execution, page_token).await?;
    task.history.get_or_insert_default().events.extend(rest);
    Ok(())
}
