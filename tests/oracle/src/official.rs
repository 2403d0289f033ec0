//! A replay by the official core.

use std::time::Duration;

use anyhow::{Context, Result};
use temporalio_protos::{
    coresdk::{workflow_activation::WorkflowActivation, workflow_completion::WorkflowActivationCompletion},
    temporal::api::history::v1::History,
};
use temporalio_sdk_core::{
    Worker, WorkerConfig, WorkerVersioningStrategy, init_replay_worker,
    replay::{HistoryForReplay, ReplayWorkerInput},
};

/// Longer than any replay's step takes; a silent core is a failed test, not a hung one.
const STEP_LIMIT: Duration = Duration::from_secs(20);

pub struct Official(Worker);

impl Official {
    pub fn open(workflow_id: String, history: History) -> Result<Official> {
        let config = WorkerConfig::builder()
            .namespace("default")
            .task_queue("oracle")
            .max_outstanding_workflow_tasks(10_usize)
            .versioning_strategy(WorkerVersioningStrategy::None { build_id: String::new() })
            .task_types(temporalio_common::worker::WorkerTaskTypes::workflow_only())
            .skip_client_worker_set_check(true)
            .ignore_evicts_on_shutdown(false)
            .build()
            .map_err(|error| anyhow::anyhow!("worker configuration: {error}"))?;
        let histories = tokio_stream::iter([HistoryForReplay::new(history, workflow_id)]);
        Ok(Official(init_replay_worker(ReplayWorkerInput::new(config, histories))?))
    }

    pub async fn next(&self) -> Result<WorkflowActivation> {
        Ok(tokio::time::timeout(STEP_LIMIT, self.0.poll_workflow_activation()).await.context("no activation in time")??)
    }

    pub async fn complete(&self, completion: WorkflowActivationCompletion) -> Result<()> {
        Ok(self.0.complete_workflow_activation(completion).await?)
    }

    pub async fn close(self) {
        self.0.initiate_shutdown();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.0.finalize_shutdown()).await;
    }
}
