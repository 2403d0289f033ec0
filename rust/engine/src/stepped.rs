//! The engine without its thread: whoever drives it says what comes when, on which clocks and with which ids. It is the same writer on
//! the same state and the same file, so that what holds for it holds for an [`Engine`](crate::Engine); and the same calls give the same
//! bytes.

use std::{path::Path, sync::Arc, time::Duration};

use crossbeam_channel::{Sender, unbounded};
use durable_client::{Request, Response, Status};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    EngineOptions, OpenError, Surroundings,
    host::{Caller, Host, Message, Shown},
    store::Store,
};
pub use crate::{state::CallId, store::Contents};

type Answer = Result<Response, Status>;

/// The contract: [`Stepped::call`] any number of times, then [`Stepped::step`], then [`Stepped::take_answers`]; again when there are more
/// calls or [`Stepped::pause`] has passed on the clocks. When a step has failed the engine has stopped, as when its file cannot be
/// written.
pub struct Stepped {
    host: Host,
    sender: Sender<Message>,
    waiting: Vec<(CallId, oneshot::Receiver<Answer>)>,
    calls: CallId,
}

impl Stepped {
    /// Opens `file` in SQLite's file system of the name `vfs`. The location in `options` is not looked at. Nobody checks that the file
    /// has no other owner.
    pub fn open(vfs: &str, file: &Path, options: &EngineOptions, surroundings: Box<dyn Surroundings>) -> Result<Stepped, OpenError> {
        let store = Store::open(Some(file), Some(vfs))?;
        let (sender, receiver) = unbounded();
        let how = (options.time_skipping, options.limits.unwrap_or_default());
        let host = Host::new(store, options.namespace.clone(), how, receiver, Arc::new(Shown::default()), surroundings)
            .map_err(|status| OpenError::Corrupt { path: file.into(), reason: status.message })?;
        Ok(Stepped { host, sender, waiting: Vec::new(), calls: 0 })
    }

    /// Puts a request in the writer's queue, as from a worker or client of this process.
    pub fn call(&mut self, request: Request) -> CallId {
        self.calls += 1;
        let (sender, receiver) = oneshot::channel();
        // The other end is in `host`.
        let _ = self.sender.send(Message::Call(self.calls, request, Caller::default(), sender));
        self.waiting.push((self.calls, receiver));
        self.calls
    }

    /// One turn of the writer with all that is in its queue: applied, committed in one transaction, answered.
    pub fn step(&mut self) -> Result<(), String> {
        self.host.step()
    }

    /// The answers that have come, in the order of their calls.
    pub fn take_answers(&mut self) -> Vec<(CallId, Answer)> {
        let mut answers = Vec::new();
        self.waiting.retain_mut(|(call, receiver)| match receiver.try_recv() {
            Ok(answer) => {
                answers.push((*call, answer));
                false
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Closed) => false,
        });
        answers
    }

    /// How long nothing happens by itself.
    pub fn pause(&self) -> Duration {
        self.host.pause()
    }

    /// Transactions that the writer has committed.
    pub fn commits(&self) -> u64 {
        self.host.store.commits
    }

    /// What the file says at this moment.
    pub fn contents(&self) -> Result<Contents, String> {
        self.host.store.contents().map_err(|error| error.to_string())
    }

    /// "ok", or what SQLite finds wrong with the file.
    pub fn integrity(&self) -> Result<String, String> {
        self.host.store.integrity().map_err(|error| error.to_string())
    }
}
