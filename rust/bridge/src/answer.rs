//! The one answer that a command with an id gets.

use std::sync::Arc;

use durable_client::{Code, Status};

use crate::{
    messages::{Answer, Refusal, answer::Outcome, item::Kind},
    queue::Queue,
};

/// Owed to Python until it is given. Dropped without having been given (a panic, a core that closes) it says so itself:
/// nobody waits for ever.
pub struct Owed {
    id: u64,
    queue: Arc<Queue>,
    is_given: bool,
}

impl Owed {
    pub fn new(id: u64, queue: Arc<Queue>) -> Owed {
        Owed { id, queue, is_given: id == 0 }
    }

    pub fn give(mut self, outcome: Result<Vec<u8>, Status>) {
        self.give_once(outcome);
    }

    fn give_once(&mut self, outcome: Result<Vec<u8>, Status>) {
        if std::mem::replace(&mut self.is_given, true) {
            return;
        }
        let outcome = match outcome {
            Ok(value) => Outcome::Value(value),
            Err(status) => Outcome::Refusal(Refusal { code: status.code as i32, message: status.message, details: status.details }),
        };
        self.queue.push(Kind::Answer(Answer { id: self.id, outcome: Some(outcome) }));
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        let status = if std::thread::panicking() {
            Status::new(Code::Internal, "a bug in durable_anyio's Rust side, please report it: a panic during the call")
        } else {
            Status::new(Code::Cancelled, "the call was given up")
        };
        self.give_once(Err(status));
    }
}
