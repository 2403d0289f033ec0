//! The state machines of one workflow run: history in, activations out; completions in, commands out.
//!
//! Pure: no clock, no randomness, no sockets, no threads, no async. The driver (`durable-worker`, a replayer, a test)
//! owns a [`Run`] per cached run and follows the contract in its documentation.
//!
//! From the outside in:
//! - [`Run`] is the conversation: tasks, activations, answers, queries, eviction.
//! - `workflow` applies the history of one run to its machines and turns commands into machines.
//! - `machines` holds one machine a file, its transition table first.
//! - `history` cuts a history into the stretches that were one workflow task each.
//! - `difference` says how the code differs from its history.
//! - `flags` remembers which behaviours a history was recorded with.

mod difference;
mod fault;
mod flags;
mod history;
mod local;
mod machines;
mod marker;
mod replay_task;
mod report;
mod run;
mod workflow;

pub use local::{LocalRequest, LocalResult, LocalStart};
pub use replay_task::replay_task;
pub use run::{EvictionReason, Output, Run, RunOptions, RunStatistics, Wait};
