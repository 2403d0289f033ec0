//! When a call over the wire is tried again, and how long one attempt may take.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::{Code, Request, Status};

/// One attempt of an ordinary call. The frontend answers in milliseconds; this is for a connection that died silently.
const ORDINARY_TIMEOUT: Duration = Duration::from_secs(10);
/// One attempt of a long poll: the service answers empty-handed after about 60 s.
const LONG_POLL_TIMEOUT: Duration = Duration::from_secs(70);
/// Attempts of an ordinary call, the first included: about 10 s of waiting in all.
const MAX_ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After ResourceExhausted the service asks for patience.
const FIRST_PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_secs(1);

/// True when the call's answer may take as long as the service likes.
pub(crate) fn is_long_poll(request: &Request) -> bool {
    match request {
        Request::PollWorkflowTaskQueue(_) | Request::PollActivityTaskQueue(_) | Request::QueryWorkflow(_) => true,
        Request::UpdateWorkflowExecution(_) | Request::PollWorkflowExecutionUpdate(_) | Request::ExecuteMultiOperation(_) => true,
        Request::GetWorkflowExecutionHistory(message) => message.wait_new_event,
        _ => false,
    }
}

/// True for the calls whose callers loop anyway: a retry here would only hide from them that the connection is lost.
fn is_polled(request: &Request) -> bool {
    matches!(request, Request::PollWorkflowTaskQueue(_) | Request::PollActivityTaskQueue(_))
}

pub(crate) fn attempt_timeout(request: &Request) -> Duration {
    if is_long_poll(request) { LONG_POLL_TIMEOUT } else { ORDINARY_TIMEOUT }
}

/// How long to wait before the attempt after the `attempt`-th (from 1), or none to give up with `status`.
pub(crate) fn pause_after(request: &Request, status: &Status, attempt: u32) -> Option<Duration> {
    if is_polled(request) || attempt >= MAX_ATTEMPTS || !is_transient(status) {
        return None;
    }
    let first = if status.code == Code::ResourceExhausted { FIRST_PAUSE_WHEN_EXHAUSTED } else { FIRST_PAUSE };
    let pause = first.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_PAUSE);
    Some(pause.mul_f64(jitter()))
}

fn is_transient(status: &Status) -> bool {
    // A message over the limit stays over the limit.
    let too_large = status.message.contains("message larger than max") || status.message.contains("message length too large");
    !too_large
        && matches!(
            status.code,
            Code::DataLoss
                | Code::Internal
                | Code::Unknown
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
        )
}

/// A factor from 0.8 to 1.2, so that many workers that lost one service do not come back in step.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0u8);
    0.8 + 0.4 * (random % 1024) as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Request {
        Request::StartWorkflowExecution(Box::default())
    }

    #[test]
    fn an_unavailable_service_is_tried_again_with_growing_pauses_and_then_given_up() {
        let status = Status::new(Code::Unavailable, "gone");
        let first = pause_after(&start(), &status, 1).unwrap();
        let third = pause_after(&start(), &status, 3).unwrap();
        assert!(first >= Duration::from_millis(80) && first <= Duration::from_millis(120), "{first:?}");
        assert!(third >= Duration::from_millis(320), "{third:?}");
        assert_eq!(pause_after(&start(), &status, MAX_ATTEMPTS), None);
    }

    #[test]
    fn the_users_mistakes_and_oversized_messages_are_not_tried_again() {
        for status in [
            Status::new(Code::InvalidArgument, "bad"),
            Status::new(Code::NotFound, "no"),
            Status::new(Code::DeadlineExceeded, "late"),
            Status::new(Code::ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"),
        ] {
            assert_eq!(pause_after(&start(), &status, 1), None, "{status}");
        }
    }

    #[test]
    fn polls_are_left_to_their_callers_and_have_the_long_bound() {
        let poll = Request::PollWorkflowTaskQueue(Box::default());
        assert_eq!(pause_after(&poll, &Status::new(Code::Unavailable, "gone"), 1), None);
        assert_eq!(attempt_timeout(&poll), LONG_POLL_TIMEOUT);
        assert_eq!(attempt_timeout(&start()), ORDINARY_TIMEOUT);
    }
}
