//! One activity's heartbeats: which details are sent when.
//!
//! The first is sent at once; after each one sent comes a pause, in which newer details replace older ones that are
//! still waiting. Nothing is sent twice, and the last details are never lost: a failure takes them along.

use std::time::Duration;

use temporalio_protos::temporal::api::common::v1::Payload;

/// Part of the heartbeat timeout that passes between two heartbeats: room for a slow call.
const TIMEOUT_SHARE: f64 = 0.8;

pub(crate) fn throttle_interval(timeout: Option<Duration>, default: Duration, max: Duration) -> Duration {
    timeout.map_or(default, |timeout| timeout.mul_f64(TIMEOUT_SHARE)).min(max)
}

#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    waiting: Option<Vec<Payload>>,
    /// Sent, and the service has not said that it has them.
    unconfirmed: Option<Vec<Payload>>,
    is_pausing: bool,
}

impl Heartbeat {
    /// New details from the activity. Answers what to send now, if anything; a pause begins with it.
    pub fn handle_details(&mut self, details: Vec<Payload>) -> Option<Vec<Payload>> {
        self.waiting = Some(details);
        self.send()
    }

    /// The pause is over. Answers as `handle_details`.
    pub fn handle_pause_over(&mut self) -> Option<Vec<Payload>> {
        self.is_pausing = false;
        self.send()
    }

    /// The service has answered the last one sent.
    pub fn handle_answer(&mut self, is_taken: bool) {
        let sent = self.unconfirmed.take();
        if !is_taken && self.waiting.is_none() {
            self.waiting = sent;
        }
    }

    /// The last details that the service may not have.
    pub fn take_unsent(&mut self) -> Option<Vec<Payload>> {
        let unconfirmed = self.unconfirmed.take();
        self.waiting.take().or(unconfirmed)
    }

    fn send(&mut self) -> Option<Vec<Payload>> {
        if self.is_pausing {
            return None;
        }
        let details = self.waiting.take()?;
        self.unconfirmed = Some(details.clone());
        self.is_pausing = true;
        Some(details)
    }
}
