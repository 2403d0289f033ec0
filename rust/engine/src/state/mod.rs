//! The pure state of the engine: no clock, no randomness, no file, no thread. Drivers pass `now`, ids and a [`Source`].

mod activity;
mod command;
mod filter;
mod history;
mod limit;
mod matching;
mod query;
mod read;
pub mod record;
mod run;
mod start;
mod task;
pub mod time;
mod workflow_task;
mod world;

pub use filter::{Filter, Value};
pub use run::{Run, RunKey};
pub use world::{CallId, Env, Read, Source, World};
