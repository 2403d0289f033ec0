//! One call: decoded by its name, bounded by its deadline, given up when the caller or the server goes.

use std::{sync::Arc, time::Duration};

use durable_client::{CallOptions, Code, RawCall, Request, Service, Status};
use tokio::sync::watch;

use crate::{router::WORKFLOW_SERVICE, status::stopping};

/// Calls that wait for something to happen: at a stop nobody waits for them.
const WAITING: &[&str] =
    &["PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue", "GetWorkflowExecutionHistory", "PollWorkflowExecutionUpdate"];

/// A worker's polls: without a deadline nobody would know how long the worker waits, and a short one leaves no time to wait in.
const POLLING: &[&str] = &["PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue"];
const MIN_POLL: Duration = Duration::from_secs(2);
/// The transport watches the same deadline and would call it a cancellation; it is answered just before.
const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

/// The service's refusals of polls, in its words.
fn check_patience(timeout: Option<Duration>) -> Result<(), Status> {
    match timeout {
        None => Err(Status::new(Code::InvalidArgument, "Context timeout is not set.")),
        Some(timeout) if timeout < MIN_POLL => Err(Status::new(Code::FailedPrecondition, "Context timeout is too short.")),
        Some(_) => Ok(()),
    }
}

/// Answers one call with its encoded response.
pub async fn answer(
    service: Arc<dyn Service>,
    path: (String, String),
    message: Vec<u8>,
    timeout: Option<Duration>,
    mut stops: watch::Receiver<bool>,
) -> Result<Vec<u8>, Status> {
    let (name, method) = path;
    let waits = WAITING.contains(&method.as_str());
    if POLLING.contains(&method.as_str()) {
        check_patience(timeout)?;
    }
    let options = CallOptions { timeout, is_remote: true, ..CallOptions::default() };
    let answer = async {
        if name == WORKFLOW_SERVICE && Request::NAMES.contains(&method.as_str()) {
            let request = Request::decode(&method, &message).map_err(undecodable)?;
            drop(message);
            return Ok(service.call_with(request, options).await?.encode());
        }
        let call = RawCall { service: name.clone(), method: method.clone(), namespace: String::new(), request: message };
        service.call_raw(call, options).await.map_err(|status| match status.code {
            Code::Unimplemented => unknown(&name, &method),
            _ => status,
        })
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        () = expired(timeout) => Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")),
        _ = stops.wait_for(|is_stopping| *is_stopping), if waits => Err(stopping()),
    }
}

/// Ready at the deadline, where there is one.
async fn expired(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout.saturating_sub(DEADLINE_MARGIN)).await,
        None => std::future::pending().await,
    }
}

/// As gRPC's own servers say it: a caller cannot tell an old server from one that lacks the call.
pub fn unknown(service: &str, method: &str) -> Status {
    Status::new(Code::Unimplemented, format!("unknown method {method} for service {service}"))
}

const UNDECODABLE: &str = "grpc: error unmarshalling request: ";

/// Bytes that are no message are the transport's error on the wire, not the service's.
fn undecodable(status: Status) -> Status {
    match status.code {
        Code::InvalidArgument => Status::new(Code::Internal, format!("{UNDECODABLE}{}", status.message)),
        _ => status,
    }
}

/// Internal by its code, but the caller's fault.
pub fn is_undecodable(status: &Status) -> bool {
    status.message.starts_with(UNDECODABLE)
}

/// The value of a `grpc-timeout` header; what cannot be read is no deadline.
pub fn timeout(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<u32>().ok().map(u64::from)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Option<Duration> {
        timeout(&[(http::HeaderName::from_static("grpc-timeout"), http::HeaderValue::from_static(text))].into_iter().collect())
    }

    #[test]
    fn timeouts_as_grpc_writes_them() {
        assert_eq!(of("70S"), Some(Duration::from_secs(70)));
        assert_eq!(of("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(of("1M"), Some(Duration::from_secs(60)));
        assert_eq!(of("1500m"), Some(Duration::from_millis(1_500)));
        assert_eq!(of("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(of("5n"), Some(Duration::from_nanos(5)));
        for bad in ["", "S", "5", "5x", "-1S", "1.5S", "99999999999S"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
