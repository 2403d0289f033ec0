//! When a call over the wire is tried again, and how long one attempt may take.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::options::RetryOptions;
use crate::{Code, Request, Status};

/// One attempt of an ordinary call. The frontend answers in milliseconds; this is for a connection that died silently.
const ORDINARY_TIMEOUT: Duration = Duration::from_secs(10);
/// One attempt of a long poll: the service answers empty-handed after about 60 s.
const LONG_POLL_TIMEOUT: Duration = Duration::from_secs(70);
/// After ResourceExhausted the service asks for patience.
const FIRST_PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_secs(1);

/// What kind of caller waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// The answer comes at once; the retry options bound the waiting.
    Ordinary,
    /// The answer takes as long as the workflow does, hence a caller who waits: while nobody can be reached the call is tried again
    /// for as long as the caller likes.
    Waiting,
    /// A worker's poll: its caller loops anyway and has pauses of its own.
    Polling,
}

/// What a repetition would do if the first attempt did arrive and only its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetition {
    /// Nothing: it reads, or the service knows it again (by request id, update id or task token).
    Harmless,
    /// Perhaps the same again, or an error that is not true ("there is one already").
    Harmful,
}

/// What the retries of a call depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nature {
    pub patience: Patience,
    pub repetition: Repetition,
}

/// How an attempt failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub status: Status,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The service said so.
    Service,
    /// No connection: the request was not sent.
    NotSent,
    /// A connection that was being closed, as services do with old ones, did not take the request any more.
    GivenBack,
    /// The connection broke, or the answer did not come in time: nobody knows whether the request arrived.
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Always,
    IfHarmless,
}

/// The service's refusals that another attempt may overcome; all others are final.
const TRANSIENT: &[(Code, Again, &str)] = &[
    (Code::ResourceExhausted, Again::Always, "refused by a limit of rates before anything was done; slower"),
    (Code::Unavailable, Again::IfHarmless, "a frontend that stops, or the part behind it; the request may have been stored"),
    (Code::Aborted, Again::IfHarmless, "lost a race inside the service"),
    (Code::Internal, Again::IfHarmless, "a frontend that lost its connection inwards says this too"),
    (Code::Unknown, Again::IfHarmless, "a proxy between, or an error that the service could not name"),
    (Code::DataLoss, Again::IfHarmless, "told while a part of the service moves to another host"),
    (Code::OutOfRange, Again::IfHarmless, "as DataLoss"),
];

/// Calls that begin with these only read.
const READING: &[&str] = &["Get", "List", "Describe", "Count", "Scan", "Poll", "Query", "Fetch", "Check", "Validate"];
/// Writing calls whose message names the attempt: a task's token, an update's id, or a state that is set rather than moved.
const RECOGNISED: &[&str] = &[
    "Respond",
    "Record",
    "ShutdownWorker",
    "ResetStickyTaskQueue",
    "UpdateWorkflowExecution",
    "ExecuteMultiOperation",
    "TerminateWorkflowExecution",
    "DeleteWorkflowExecution",
];
const POLLING: &[&str] = &["PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue"];
const WAITING: &[&str] = &[
    "QueryWorkflow",
    "UpdateWorkflowExecution",
    "PollWorkflowExecutionUpdate",
    "ExecuteMultiOperation",
    "PollActivityExecution",
    "PollNexusOperationExecution",
];

impl Nature {
    /// Of a call that is known by its name alone.
    pub fn of_name(name: &str) -> Nature {
        let patience = if POLLING.contains(&name) {
            Patience::Polling
        } else if WAITING.contains(&name) {
            Patience::Waiting
        } else {
            Patience::Ordinary
        };
        let is_harmless = READING.iter().chain(RECOGNISED).any(|prefix| name.starts_with(prefix));
        Nature { patience, repetition: if is_harmless { Repetition::Harmless } else { Repetition::Harmful } }
    }

    pub fn of(request: &Request) -> Nature {
        let mut nature = Nature::of_name(request.name());
        let request_id = match request {
            Request::GetWorkflowExecutionHistory(message) => {
                if message.wait_new_event {
                    nature.patience = Patience::Waiting;
                }
                return nature;
            }
            Request::StartWorkflowExecution(message) => &message.request_id,
            Request::SignalWithStartWorkflowExecution(message) => &message.request_id,
            Request::SignalWorkflowExecution(message) => &message.request_id,
            Request::RequestCancelWorkflowExecution(message) => &message.request_id,
            _ => return nature,
        };
        if !request_id.is_empty() {
            nature.repetition = Repetition::Harmless;
        }
        nature
    }

    pub fn attempt_timeout(self) -> Duration {
        if self.patience == Patience::Ordinary { ORDINARY_TIMEOUT } else { LONG_POLL_TIMEOUT }
    }

    /// How long to wait before the attempt after the `attempt`-th (from 1), `elapsed` after the first; none: give up.
    pub fn pause_after(self, failed: &Failed, attempt: u32, elapsed: Duration, options: &RetryOptions) -> Option<Duration> {
        if self.patience == Patience::Polling || !self.may_repeat(failed) {
            return None;
        }
        let pause = pause(&failed.status, attempt, options);
        // A load balancer before a service that is away answers in its place.
        if self.patience == Patience::Waiting && (failed.origin != Origin::Service || failed.status.code == Code::Unavailable) {
            return Some(pause);
        }
        let is_late = options.max_elapsed.is_some_and(|limit| elapsed + pause > limit);
        let is_often = options.max_retries != 0 && attempt > options.max_retries;
        (!is_late && !is_often).then_some(pause)
    }

    fn may_repeat(self, failed: &Failed) -> bool {
        let is_harmless = self.repetition == Repetition::Harmless;
        match failed.origin {
            Origin::NotSent | Origin::GivenBack => true,
            Origin::Unanswered => is_harmless,
            Origin::Service if is_too_large(&failed.status) => false,
            Origin::Service => TRANSIENT
                .iter()
                .find(|(code, ..)| *code == failed.status.code)
                .is_some_and(|(_, again, _)| *again == Again::Always || is_harmless),
        }
    }
}

/// A message over the limit stays over the limit.
fn is_too_large(status: &Status) -> bool {
    status.message.contains("message larger than max") || status.message.contains("message length too large")
}

fn pause(status: &Status, attempt: u32, options: &RetryOptions) -> Duration {
    let is_exhausted = status.code == Code::ResourceExhausted;
    let first = if is_exhausted { options.initial_interval.max(FIRST_PAUSE_WHEN_EXHAUSTED) } else { options.initial_interval };
    let grown = first.as_secs_f64() * options.multiplier.max(1.0).powi(i32::try_from(attempt - 1).unwrap_or(i32::MAX));
    let longest = options.max_interval.max(first).as_secs_f64();
    Duration::from_secs_f64(grown.min(longest) * jitter(options.randomization_factor.clamp(0.0, 1.0)))
}

fn jitter(factor: f64) -> f64 {
    let random = RandomState::new().hash_one(0u8);
    1.0 + factor * (2.0 * (random % 1024) as f64 / 1023.0 - 1.0)
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::workflowservice::v1 as api;

    use super::*;

    fn refused(code: Code, message: &str) -> Failed {
        Failed { status: Status::new(code, message), origin: Origin::Service }
    }

    fn unanswered() -> Failed {
        Failed { origin: Origin::Unanswered, ..refused(Code::Unavailable, "cut") }
    }

    fn pause_of(nature: Nature, failed: &Failed, attempt: u32) -> Option<Duration> {
        nature.pause_after(failed, attempt, Duration::ZERO, &RetryOptions::default())
    }

    fn start(request_id: &str) -> Nature {
        let message = api::StartWorkflowExecutionRequest { request_id: request_id.into(), ..Default::default() };
        Nature::of(&Request::StartWorkflowExecution(Box::new(message)))
    }

    #[test]
    fn an_unavailable_service_is_tried_again_with_growing_pauses_and_then_given_up() {
        let gone = refused(Code::Unavailable, "gone");
        let first = pause_of(start("id"), &gone, 1).unwrap();
        let fifth = pause_of(start("id"), &gone, 5).unwrap();
        assert!(first >= Duration::from_millis(80) && first <= Duration::from_millis(120), "{first:?}");
        assert!(fifth >= Duration::from_millis(400), "{fifth:?}");
        assert!(pause_of(start("id"), &gone, 10).is_some());
        assert_eq!(pause_of(start("id"), &gone, 11), None);
        assert_eq!(start("id").pause_after(&gone, 2, Duration::from_secs(10), &RetryOptions::default()), None);
    }

    #[test]
    fn limits_may_be_off() {
        let options = RetryOptions { max_elapsed: None, max_retries: 0, ..RetryOptions::default() };
        let pause = start("id").pause_after(&unanswered(), 5_000_000, Duration::from_secs(9_999), &options).unwrap();
        assert!(pause <= Duration::from_secs(6), "{pause:?}");
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        let raw = Nature::of_name("CreateNexusEndpoint");
        for nature in [start(""), raw] {
            for failed in [unanswered(), refused(Code::Unavailable, ""), refused(Code::Internal, "")] {
                assert_eq!(pause_of(nature, &failed, 1), None, "{nature:?} {failed:?}");
            }
            assert!(pause_of(nature, &Failed { origin: Origin::NotSent, ..unanswered() }, 1).is_some());
            assert!(pause_of(nature, &refused(Code::ResourceExhausted, "slower"), 1).unwrap() >= Duration::from_millis(800));
        }
        for nature in [start("id"), Nature::of_name("ListNamespaces"), Nature::of_name("RespondActivityTaskCompletedById")] {
            assert!(pause_of(nature, &unanswered(), 1).is_some(), "{nature:?}");
        }
    }

    #[test]
    fn every_code_is_in_the_table_once_or_final() {
        for code in (1..17).map(Code::from_i32) {
            let rows = TRANSIENT.iter().filter(|(row, ..)| *row == code).count();
            assert!(rows <= 1, "{code:?}");
            assert_eq!(pause_of(start("id"), &refused(code, ""), 1).is_some(), rows == 1, "{code:?}");
        }
        assert_eq!(pause_of(start("id"), &refused(Code::ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), 1), None);
    }

    #[test]
    fn polls_are_left_to_their_callers_and_waiting_callers_wait() {
        let poll = Nature::of(&Request::PollWorkflowTaskQueue(Box::default()));
        assert_eq!(pause_of(poll, &unanswered(), 1), None);
        assert_eq!(poll.attempt_timeout(), LONG_POLL_TIMEOUT);
        assert_eq!(start("").attempt_timeout(), ORDINARY_TIMEOUT);
        let message = api::GetWorkflowExecutionHistoryRequest { wait_new_event: true, ..Default::default() };
        let result = Nature::of(&Request::GetWorkflowExecutionHistory(Box::new(message)));
        assert!(result.pause_after(&unanswered(), 900, Duration::from_secs(3600), &RetryOptions::default()).is_some());
        assert_eq!(pause_of(result, &refused(Code::NotFound, "no such workflow"), 1), None);
        assert_eq!(pause_of(result, &refused(Code::Internal, "broken"), 11), None);
    }
}
