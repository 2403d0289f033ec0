//! The service's limits, with their reasons, and the checks of requests against them.

use durable_client::{Code, Status};
use prost::Message;
use temporalio_protos::temporal::api::errordetails::v1::NotFoundFailure;

/// The server's `limit.maxIDLength`.
pub const MAX_ID_LENGTH: usize = 1000;
/// What the server allows of a priority's fairness key.
pub const MAX_FAIRNESS_KEY_LENGTH: usize = 64;
/// The server's `limit.blobSize.error`: one payload field of a request or a command.
pub const MAX_BLOB_BYTES: usize = 2 * 1024 * 1024;
/// One page of a history; below gRPC's default message limit of 4 MiB.
pub const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;
/// Beyond these a worker is told to continue as new (the server's suggestions).
pub const SUGGEST_EVENTS: i64 = 4096;
pub const SUGGEST_BYTES: i64 = 4 * 1024 * 1024;
/// The server's `limit.numPendingActivities.error`.
pub const MAX_PENDING_ACTIVITIES: usize = 2000;
/// The server's `limit.numPendingChildExecutions.error`.
pub const MAX_PENDING_CHILDREN: usize = 2000;
/// Ended runs kept in memory for the readers that come right after the end.
pub const MAX_CLOSED_RUNS: usize = 1000;
/// Events of a run kept decoded; older ones are read from the file.
pub const MAX_TAIL_EVENTS: usize = 512;
/// Request ids of signals remembered per run.
pub const MAX_SIGNAL_REQUESTS: usize = 10_000;
/// Queries waiting in one run.
pub const MAX_QUERIES: usize = 1000;

/// How long a history may become before the service ends its workflow (the server's `limit.historyCount.error` and
/// `limit.historySize.error`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub history_events: i64,
    pub history_bytes: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { history_events: 50 * 1024, history_bytes: 50 * 1024 * 1024 }
    }
}

pub fn invalid(message: impl Into<String>) -> Status {
    Status::new(Code::InvalidArgument, message)
}

pub fn check_id(name: &str, value: &str) -> Result<(), Status> {
    if value.is_empty() {
        return Err(invalid(format!("{name} is not set on request.")));
    }
    check_length(name, value)
}

pub fn check_queue(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(invalid("taskQueue is not set"));
    }
    check_length("taskQueue", name)
}

/// The service gives every NotFound this detail; clients tell by it that the service said so and no proxy.
pub fn not_found(message: impl Into<String>) -> Status {
    Status::with_detail(Code::NotFound, message, "temporal.api.errordetails.v1.NotFoundFailure", &NotFoundFailure::default())
}

pub fn check_length(name: &str, value: &str) -> Result<(), Status> {
    if value.len() > MAX_ID_LENGTH {
        return Err(invalid(format!("{name} length exceeds limit: {} bytes, the limit is {MAX_ID_LENGTH}.", value.len())));
    }
    Ok(())
}

pub fn check_blob(name: &str, value: &Option<impl Message>) -> Result<(), Status> {
    let size = value.as_ref().map_or(0, Message::encoded_len);
    if size > MAX_BLOB_BYTES {
        return Err(invalid(format!("Blob data size exceeds limit: {name} has {size} bytes, the limit is {MAX_BLOB_BYTES}.")));
    }
    Ok(())
}
