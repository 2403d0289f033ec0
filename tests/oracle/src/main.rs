//! Replays histories through the official core and shows its activations, one frame each.
//!
//! Protocol on standard input and output, frames of a little-endian u32 length and that many bytes. For every history:
//! in: the workflow's id, an encoded `History`; then in turns, out: an encoded `WorkflowActivation`, in: the encoded
//! `WorkflowActivationCompletion` that answers it. An activation that evicts is the last of its history. End of input ends.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use prost::Message;
use temporalio_protos::{
    coresdk::{
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant},
        workflow_completion::WorkflowActivationCompletion,
    },
    temporal::api::history::v1::History,
};
use temporalio_sdk_core::{
    Worker, WorkerConfig, WorkerVersioningStrategy, init_replay_worker,
    replay::{HistoryForReplay, ReplayWorkerInput},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Stdin, Stdout};

/// Longer than any replay's step takes; a silent core is a failed test, not a hung one.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// A history of the service is at most 50 MiB.
const FRAME_LIMIT_BYTES: u32 = 64 << 20;

async fn read_frame(input: &mut Stdin) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u32::from_le_bytes(length);
    if length > FRAME_LIMIT_BYTES {
        bail!("a frame of {length} bytes");
    }
    let mut frame = vec![0; length as usize];
    input.read_exact(&mut frame).await?;
    Ok(Some(frame))
}

async fn write_frame(output: &mut Stdout, frame: &[u8]) -> Result<()> {
    output.write_all(&(frame.len() as u32).to_le_bytes()).await?;
    output.write_all(frame).await?;
    output.flush().await?;
    Ok(())
}

fn evicts(activation: &WorkflowActivation) -> bool {
    activation.jobs.iter().any(|job| matches!(job.variant, Some(Variant::RemoveFromCache(_))))
}

fn worker(workflow_id: String, history: History) -> Result<Worker> {
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
    init_replay_worker(ReplayWorkerInput::new(config, histories))
}

async fn replay(worker: &Worker, input: &mut Stdin, output: &mut Stdout) -> Result<()> {
    loop {
        let activation = tokio::time::timeout(STEP_LIMIT, worker.poll_workflow_activation()).await.context("no activation in time")??;
        write_frame(output, &activation.encode_to_vec()).await?;
        let answer = read_frame(input).await?.context("the input ended inside a history")?;
        worker.complete_workflow_activation(WorkflowActivationCompletion::decode(&answer[..])?).await?;
        if evicts(&activation) {
            return Ok(());
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    while let Some(workflow_id) = read_frame(&mut input).await? {
        let history = read_frame(&mut input).await?.context("a workflow id without its history")?;
        let worker = worker(String::from_utf8(workflow_id)?, History::decode(&history[..])?)?;
        replay(&worker, &mut input, &mut output).await?;
        worker.initiate_shutdown();
        let _ = tokio::time::timeout(Duration::from_secs(2), worker.finalize_shutdown()).await;
    }
    Ok(())
}
