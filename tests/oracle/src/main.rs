//! The official core beside ours.
//!
//! Without arguments: replays histories through the official core and shows its activations, one frame each. Protocol on
//! standard input and output, frames of a little-endian u32 length and that many bytes. For every history: in: the workflow's
//! id, an encoded `History`; then in turns, out: an encoded `WorkflowActivation`, in: the encoded
//! `WorkflowActivationCompletion` that answers it. An activation that evicts is the last of its history. End of input ends.
//!
//! `generated FIRST COUNT`: makes COUNT histories from the seeds FIRST on, replays each in both cores, and says where they differ.
//! `spoiled FIRST COUNT`: spoils each in one way, and says which core reports it.
//! `known NAME`: shows a difference between the cores that is there to stay, in a history that is made for it.
//! `show SEED`: one of them, event by event.

mod commands;
mod compare;
mod dice;
mod frames;
mod known;
mod live;
mod official;
mod ours;
mod program;
mod service;
mod spoil;
mod summary;
mod world;

use anyhow::{Context, Result};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| -> Result<u64> { Ok(arguments.get(index).context("a number is missing")?.parse()?) };
    match arguments.first().map(String::as_str) {
        None => frames::serve().await,
        Some("generated") => summary::generated(number(1)?, number(2)?).await,
        Some("spoiled") => summary::spoiled(number(1)?, number(2)?).await,
        Some("known") => summary::known(arguments.get(1).context("a name is missing")?).await,
        Some("show") => summary::show(number(1)?).await,
        Some(other) => anyhow::bail!("'{other}' is not known: generated or spoiled FIRST COUNT, known NAME, show SEED, or nothing"),
    }
}
