//! The driver of the state machines: polls the service for tasks, keeps runs in a cache, throttles heartbeats, reports
//! results.
//!
//! A [`Worker`] is a handful of tokio tasks: pollers (`poller`), one actor that owns every cached run (`workflows`), one
//! that owns every open activity (`activities`), one that runs local activities (`locals`). Whoever runs the user's code
//! takes items from a [`Sink`] and answers with the worker's methods, none of which waits. The channels between the parts
//! are unbounded on purpose: what can be in them is bounded by the slots that a poller takes before it polls.

mod activities;
mod activity_task;
mod eager;
mod heartbeat;
mod history;
mod local_token;
mod locals;
mod machine;
mod machine_load;
mod options;
mod poller;
mod report;
mod retry;
mod shared;
mod tally;
mod worker;
mod worker_heartbeat;
mod workflows;

pub use options::WorkerOptions;
pub use shared::{Sink, WorkerEvent};
pub use worker::{Reserved, Worker};

#[cfg(test)]
mod tests;
