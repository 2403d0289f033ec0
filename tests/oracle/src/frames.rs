//! Replays by the official core for a caller in another process.

use anyhow::{Context, Result, bail};
use prost::Message;
use temporalio_protos::{
    coresdk::{
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant},
        workflow_completion::WorkflowActivationCompletion,
    },
    temporal::api::history::v1::History,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Stdin, Stdout};

use crate::official::Official;

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

async fn replay(official: &Official, input: &mut Stdin, output: &mut Stdout) -> Result<()> {
    loop {
        let activation = official.next().await?;
        write_frame(output, &activation.encode_to_vec()).await?;
        let answer = read_frame(input).await?.context("the input ended inside a history")?;
        official.complete(WorkflowActivationCompletion::decode(&answer[..])?).await?;
        if evicts(&activation) {
            return Ok(());
        }
    }
}

pub async fn serve() -> Result<()> {
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    while let Some(workflow_id) = read_frame(&mut input).await? {
        let history = read_frame(&mut input).await?.context("a workflow id without its history")?;
        let official = Official::open(String::from_utf8(workflow_id)?, History::decode(&history[..])?)?;
        replay(&official, &mut input, &mut output).await?;
        official.close().await;
    }
    Ok(())
}
