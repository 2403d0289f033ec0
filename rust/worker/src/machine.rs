//! What the actor asks of a run's state machines: a trait, so that its tests can script a run without any workflow code.

use std::{sync::Arc, time::Duration};

use durable_core::{EvictionReason, LocalResult, Output, Run, RunOptions, RunStatistics};
use temporalio_protos::{
    coresdk::workflow_completion::WorkflowActivationCompletion,
    temporal::api::{history::v1::HistoryEvent, workflowservice::v1::PollWorkflowTaskQueueResponse},
};

/// The contract is on the methods of [`Run`].
pub(crate) trait Machine: Send + 'static {
    fn new(run_id: String, options: Arc<RunOptions>) -> Self;
    fn handle_task(&mut self, task: PollWorkflowTaskQueueResponse);
    fn handle_history(&mut self, events: Vec<HistoryEvent>);
    fn handle_completion(&mut self, completion: WorkflowActivationCompletion);
    fn handle_completed(&mut self, reset_to_event_id: i64);
    fn handle_refused(&mut self, message: &str);
    fn handle_evict(&mut self, reason: EvictionReason, message: &str);
    fn handle_local_result(&mut self, result: LocalResult);
    fn handle_heartbeat_due(&mut self);
    fn has_running_locals(&self) -> bool;
    fn poll(&mut self) -> Option<Output>;
    fn is_idle(&self) -> bool;
    fn statistics(&self) -> RunStatistics;
    fn task_timeout(&self) -> Duration;
}

impl Machine for Run {
    fn new(run_id: String, options: Arc<RunOptions>) -> Run {
        Run::new(run_id, options)
    }
    fn handle_task(&mut self, task: PollWorkflowTaskQueueResponse) {
        Run::handle_task(self, task);
    }
    fn handle_history(&mut self, events: Vec<HistoryEvent>) {
        Run::handle_history(self, events);
    }
    fn handle_completion(&mut self, completion: WorkflowActivationCompletion) {
        Run::handle_completion(self, completion);
    }
    fn handle_completed(&mut self, reset_to_event_id: i64) {
        Run::handle_completed(self, reset_to_event_id);
    }
    fn handle_refused(&mut self, message: &str) {
        Run::handle_refused(self, message);
    }
    fn handle_evict(&mut self, reason: EvictionReason, message: &str) {
        Run::handle_evict(self, reason, message);
    }
    fn handle_local_result(&mut self, result: LocalResult) {
        Run::handle_local_result(self, result);
    }
    fn handle_heartbeat_due(&mut self) {
        Run::handle_heartbeat_due(self);
    }
    fn has_running_locals(&self) -> bool {
        Run::has_running_locals(self)
    }
    fn poll(&mut self) -> Option<Output> {
        Run::poll(self)
    }
    fn is_idle(&self) -> bool {
        Run::is_idle(self)
    }
    fn statistics(&self) -> RunStatistics {
        Run::statistics(self)
    }
    fn task_timeout(&self) -> Duration {
        Run::task_timeout(self)
    }
}
