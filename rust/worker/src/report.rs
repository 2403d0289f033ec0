//! Calls that report something to the service, tried again while it is away.

use std::time::Duration;

use durable_client::{Code, Rpc, Status, call};
use temporalio_protos::temporal::api::failure::v1::{Failure, failure::FailureInfo};
use tokio::time::Instant;

use crate::shared::Shared;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After this the task's own timeout at the service is the better answer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// The same while nobody can be reached: the result of an hour's work is worth waiting for a service that restarts.
const GIVE_UP_UNREACHED_AFTER: Duration = Duration::from_secs(600);

/// Calls until the service answers or refuses for good. A report is idempotent: the task's token fences it.
pub(crate) async fn report<R: Rpc + Clone>(shared: &Shared, request: R) -> Result<R::Response, Status> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let status = tokio::select! {
            biased;
            () = shared.abort.cancelled() => return Err(Status::new(Code::Cancelled, "the worker has stopped")),
            answer = call(&*shared.service, request.clone()) => match answer {
                Ok(response) => return Ok(response),
                Err(status) => status,
            },
        };
        let is_unreached = matches!(status.code, Code::Unavailable | Code::DeadlineExceeded);
        let patience = if is_unreached { GIVE_UP_UNREACHED_AFTER } else { GIVE_UP_AFTER };
        if !is_transient(&status) || begun.elapsed() + pause > patience {
            return Err(status);
        }
        tokio::select! {
            () = shared.abort.cancelled() => return Err(status),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn is_transient(status: &Status) -> bool {
    match status.code {
        Code::Unavailable | Code::Internal | Code::Unknown | Code::Aborted | Code::DataLoss | Code::OutOfRange | Code::DeadlineExceeded => {
            true
        }
        Code::ResourceExhausted => !is_too_large(status),
        _ => false,
    }
}

/// The failure without its details, stack traces and causes, for a service that refused the whole.
pub(crate) fn shortened(failure: &Failure, status: &Status) -> Failure {
    const MOST_CHARACTERS: usize = 1_000;
    let begin: String = failure.message.chars().take(MOST_CHARACTERS).collect();
    let mut info = failure.failure_info.clone();
    match &mut info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => info.details = None,
        Some(FailureInfo::CanceledFailureInfo(info)) => info.details = None,
        Some(FailureInfo::TimeoutFailureInfo(info)) => info.last_heartbeat_details = None,
        _ => {}
    }
    Failure {
        message: format!("{begin} (details and causes were left out, because the service refused the failure: {})", status.message),
        source: failure.source.clone(),
        failure_info: info,
        ..Default::default()
    }
}

/// True when the request is over gRPC's limit at the service: it will be as large the next time.
pub(crate) fn is_too_large(status: &Status) -> bool {
    status.code == Code::ResourceExhausted && status.message.contains("larger than max")
}
