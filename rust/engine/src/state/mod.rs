//! The pure state of the engine: no clock, no randomness, no file, no thread. Drivers pass `now`, ids and a [`Source`].

// Fields the API calls deprecated are still part of what histories carry.
#![allow(deprecated)]

mod activity;
mod activity_calls;
mod activity_control;
mod attributes;
mod chain;
mod command;
mod cron;
mod delete;
mod filter;
mod filter_token;
mod history;
mod limit;
mod matching;
mod namespace;
mod operator;
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
mod upsert;
mod worker_filter;
mod worker_registry;
mod workflow_task;
mod world;

pub use attributes::Registry;
pub use filter::{Filter, Order, Value, status_name};
pub use filter_token::{Token, tokens};
pub use limit::{Limits, check_blob, invalid, not_found};
pub use operator::{Operation, SERVICE as OPERATOR_SERVICE};
pub use read::{info, shown_value};
pub use run::{Run, RunKey};
pub use start::check_start;
pub use world::{Answer, CallId, Env, Position, Read, Source, World};
