//! A whole worker against a scripted service and scripted runs, on tokio's paused clock: no test waits in real time.

mod activities;
mod eager;
mod heartbeats;
mod locals;
mod scripted_run;
mod scripted_service;
mod sink;
mod workflows;
