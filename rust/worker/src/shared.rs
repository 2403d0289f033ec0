//! What every part of a worker holds on to.

use std::sync::Arc;

use durable_client::Service;
use temporalio_protos::coresdk::{activity_task::ActivityTask, workflow_activation::WorkflowActivation};
use tokio_util::sync::CancellationToken;

use crate::{WorkerOptions, tally::Tally};

/// Where a worker puts what the user's code is to do. Called from the worker's tasks: it must not block.
pub trait Sink: Send + Sync + 'static {
    /// Answer with [`crate::Worker::complete_workflow`], evictions too.
    fn activation(&self, activation: WorkflowActivation);
    /// The run is to be forgotten; before any later activation of it. Without an answer: nobody waits for it.
    fn eviction(&self, run_id: String);
    /// A start is answered with [`crate::Worker::complete_activity`]; a cancel has no answer of its own.
    fn activity(&self, task: ActivityTask);
    fn event(&self, event: WorkerEvent);
}

/// Something to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerEvent {
    /// 10 debug, 20 info, 30 warning, 40 error.
    pub level: u32,
    pub message: String,
    /// The worker has stopped polling for this reason and will not start again.
    pub fatal: bool,
}

pub(crate) const DEBUG: u32 = 10;
pub(crate) const INFO: u32 = 20;
pub(crate) const WARNING: u32 = 30;
pub(crate) const ERROR: u32 = 40;

pub(crate) struct Shared {
    pub service: Arc<dyn Service>,
    pub options: WorkerOptions,
    pub sink: Arc<dyn Sink>,
    /// Cancelled: no more polls.
    pub polling: CancellationToken,
    /// Cancelled: polls that are open are given up.
    pub hang_up: CancellationToken,
    /// Cancelled: everything ends now, reports in flight too.
    pub abort: CancellationToken,
    pub tally: Tally,
}

impl Shared {
    pub fn event(&self, level: u32, message: impl Into<String>) {
        self.sink.event(WorkerEvent { level, message: message.into(), fatal: false });
    }
}

pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
