//! The pure state of the engine: no clock, no randomness, no file, no thread. Drivers pass `now`, ids and a [`Source`].

// Fields the API calls deprecated are still part of what histories carry.
#![allow(deprecated)]

mod activity;
mod activity_calls;
mod activity_control;
mod chain;
mod command;
mod cron;
mod delete;
mod filter;
mod history;
mod limit;
mod matching;
mod namespace;
mod outgoing;
mod oversize;
mod query;
mod read;
mod rebuild;
pub mod record;
mod reset;
mod run;
mod start;
mod task;
mod task_queue;
pub mod time;
mod update;
mod update_calls;
mod workflow_task;
mod world;

pub use filter::{Filter, Token, Value, tokens};
pub use limit::{Limits, check_blob, invalid, not_found};
pub use read::info;
pub use run::{Run, RunKey};
pub use start::check_start;
pub use world::{Answer, CallId, Env, Read, Source, World};
