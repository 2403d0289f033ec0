//! The writer thread: takes what is waiting, applies it, commits once, and only then answers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use durable_client::{Code, Request, Response, Status};
use temporalio_protos::temporal::api::workflowservice::v1 as api;
use tokio::sync::oneshot;

use crate::{
    state::{CallId, Env, Limits, Operation, World, time::Nanos},
    store::Store,
    surroundings::Surroundings,
};

/// Requests applied and committed together.
const MAX_BATCH: usize = 1024;
/// The longest pause without a look at the clocks: the wall clock may be set.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// How long time skipping waits for a worker that is between two polls.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

pub type Sender = oneshot::Sender<Result<Response, Status>>;

/// What is known of whoever made a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    pub is_remote: bool,
    pub timeout: Option<Duration>,
}

pub enum Message {
    Call(CallId, Request, Caller, Sender),
    Operate(Operation, oneshot::Sender<Result<Vec<u8>, Status>>),
    Gone(CallId),
    /// An answer that its caller did not wait for.
    Undelivered(Box<Response>),
    /// The attempt of this token goes on outside of this process.
    Release(Vec<u8>),
    Advance(Duration, oneshot::Sender<()>),
    Stop,
}

/// What handles read without asking the thread.
#[derive(Default)]
pub struct Shown {
    pub now: AtomicI64,
    /// Why the engine stopped by itself.
    pub reason: Mutex<Option<String>>,
}

pub struct Host {
    pub store: Store,
    world: World,
    receiver: Receiver<Message>,
    senders: HashMap<CallId, Sender>,
    advances: Vec<(Nanos, oneshot::Sender<()>)>,
    shown: Arc<Shown>,
    time_skipping: bool,
    offset: Nanos,
    last: Nanos,
    surroundings: Box<dyn Surroundings>,
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 4)
}

impl Host {
    /// Takes the stored runs into memory; work of an earlier process is rescheduled here.
    pub fn new(
        mut store: Store,
        namespace: String,
        (time_skipping, limits): (bool, Limits),
        receiver: Receiver<Message>,
        shown: Arc<Shown>,
        surroundings: Box<dyn Surroundings>,
    ) -> Result<Host, Status> {
        let (epoch, next_key) = store.boot().map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
        let mut world = World::new(namespace, epoch, next_key, limits);
        world.attributes.set_custom(store.attribute_kinds()?);
        let now = surroundings.wall();
        for run in store.open_runs()? {
            world.adopt(run, now, true);
        }
        for schedule in store.schedules()? {
            world.adopt_schedule(schedule)?;
        }
        shown.now.store(now, Ordering::Relaxed);
        Ok(Host {
            store,
            world,
            receiver,
            senders: HashMap::new(),
            advances: Vec::new(),
            shown,
            time_skipping,
            offset: 0,
            last: now,
            surroundings,
        })
    }

    pub fn run(mut self) {
        if let Err(reason) = self.serve() {
            *self.shown.reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(reason);
        }
    }

    fn tick(&mut self) {
        self.last = self.last.max(self.surroundings.wall().saturating_add(self.offset));
        self.shown.now.store(self.last, Ordering::Relaxed);
    }

    fn mono(&self) -> Nanos {
        self.surroundings.mono()
    }

    fn serve(&mut self) -> Result<(), String> {
        self.turn(Vec::new())?;
        loop {
            let first = match self.receiver.recv_timeout(self.pause()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let batch: Vec<Message> = first.into_iter().chain(self.receiver.try_iter().take(MAX_BATCH)).collect();
            if self.take(batch)? {
                return Ok(());
            }
        }
    }

    /// Takes what is waiting, without waiting for more: for a driver that has no thread.
    pub fn step(&mut self) -> Result<(), String> {
        let batch = self.receiver.try_iter().take(MAX_BATCH).collect();
        self.take(batch).map(drop)
    }

    /// One turn with these messages; true when it was the last.
    fn take(&mut self, batch: Vec<Message>) -> Result<bool, String> {
        let mut calls = Vec::new();
        let mut stop = false;
        self.tick();
        for message in batch {
            match message {
                Message::Call(id, request, caller, sender) => {
                    self.senders.insert(id, sender);
                    if caller.is_remote {
                        self.world.note_remote(id, caller.timeout.map(|timeout| self.mono().saturating_add(nanos(timeout))));
                    }
                    calls.push((id, request));
                }
                Message::Operate(operation, sender) => {
                    let _ = sender.send(self.operate(operation));
                }
                Message::Gone(id) => {
                    // A call and its end may have come in one batch.
                    calls.retain(|(call, _)| *call != id);
                    self.world.gone(id);
                    self.senders.remove(&id);
                }
                Message::Undelivered(response) => self.world.undelivered(*response),
                Message::Release(token) => self.world.release_activity(&token),
                Message::Advance(by, sender) => self.advances.push((self.last.saturating_add(nanos(by)), sender)),
                Message::Stop => stop = true,
            }
        }
        self.turn(calls)?;
        Ok(stop)
    }

    /// How long there is nothing to do.
    pub fn pause(&self) -> Duration {
        let mono = self.mono();
        let now = self.surroundings.wall().saturating_add(self.offset).max(self.last);
        let workflow = self.world.next_workflow_deadline().map(|at| at - now);
        let wait = self.world.next_wait().map(|at| at - mono);
        let next = workflow.into_iter().chain(wait).min().unwrap_or(Nanos::MAX).max(0).cast_unsigned();
        let pause = Duration::from_nanos(next).min(MAX_PAUSE);
        let skips = self.time_skipping && (!self.advances.is_empty() || self.world.has_waiting_client());
        if skips { pause.min(BUSY_PAUSE) } else { pause }
    }

    /// Applies, commits, answers; then jumps while time skipping may.
    fn turn(&mut self, calls: Vec<(CallId, Request)>) -> Result<(), String> {
        let mut calls = Some(calls);
        loop {
            let (now, mono) = (self.last, self.mono());
            let surroundings = &self.surroundings;
            let env = Env { now, mono, source: &self.store, new_id: &|| surroundings.new_id() };
            self.world.handle_time(&env);
            for (id, request) in calls.take().unwrap_or_default() {
                self.world.handle(&env, id, request);
            }
            self.world.settle(&env);
            self.commit()?;
            self.answer();
            if !self.skip() && self.world.is_settled() {
                return Ok(());
            }
            // Time that skips may never come to an end, as with a schedule that nobody works for: who asks meanwhile is heard.
            if !self.receiver.is_empty() {
                return Ok(());
            }
        }
    }

    /// Changes what the namespace has; on disk before it holds.
    fn operate(&mut self, operation: Operation) -> Result<Vec<u8>, Status> {
        let (change, answer) = self.world.operate(operation)?;
        if let Some(custom) = change {
            let written = self.store.write_attribute_kinds(&custom);
            written.map_err(|error| Status::new(Code::Unavailable, format!("the database cannot be written: {error}")))?;
            self.world.attributes.set_custom(custom);
        }
        Ok(answer)
    }

    fn commit(&mut self) -> Result<(), String> {
        let keys = self.world.take_dirty();
        let schedules = self.world.schedules.take_dirty();
        if keys.is_empty() && schedules.is_empty() {
            return Ok(());
        }
        let world = &self.world;
        let records = schedules.iter().map(|id| (id.as_str(), world.schedules.all.get(id).map(|schedule| &schedule.record)));
        match self.store.commit(keys.iter().filter_map(|key| world.runs.get(key)), records, &world.attributes) {
            Ok(()) => {
                for key in keys {
                    match self.world.runs.get_mut(&key) {
                        Some(run) if run.is_deleted => self.world.forget(key),
                        Some(run) => run.mark_stored(),
                        None => {}
                    }
                }
                Ok(())
            }
            Err(error) => {
                let reason = format!("the database cannot be written: {error}");
                let full = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
                for (_, answer) in self.world.replies_mut() {
                    *answer = match answer {
                        Ok(Response::PollWorkflowTaskQueue(_)) => Ok(api::PollWorkflowTaskQueueResponse::default().into()),
                        Ok(Response::PollActivityTaskQueue(_)) => Ok(api::PollActivityTaskQueueResponse::default().into()),
                        _ => Err(Status::new(if full { Code::ResourceExhausted } else { Code::Unavailable }, reason.clone())),
                    };
                }
                if !full {
                    self.answer();
                    return Err(reason);
                }
                for key in keys {
                    self.world.forget(key);
                    match self.store.by_key(key) {
                        Ok(Some(run)) => self.world.adopt(run, self.last, true),
                        Ok(None) => {}
                        Err(status) => return Err(status.message),
                    }
                }
                for id in schedules {
                    self.world.schedules.remove(&id);
                    let stored = self.store.schedule(&id).map_err(|status| status.message)?;
                    stored.map_or(Ok(()), |record| self.world.adopt_schedule(record)).map_err(|status| status.message)?;
                }
                self.world.schedules.take_dirty();
                Ok(())
            }
        }
    }

    fn answer(&mut self) {
        for (call, read) in self.world.take_reads() {
            let answer = self.store.read(read);
            self.world.reply(call, answer);
        }
        for (call, answer) in self.world.take_replies() {
            let undelivered = match self.senders.remove(&call) {
                Some(sender) => sender.send(answer).err(),
                None => Some(answer),
            };
            if let Some(Ok(response)) = undelivered {
                self.world.undelivered(response);
            }
        }
    }

    /// Moves workflow time to the next deadline, when somebody waits for it and nobody works.
    fn skip(&mut self) -> bool {
        if !self.time_skipping {
            return false;
        }
        let last = self.last;
        let mut reached = Vec::new();
        for (target, sender) in std::mem::take(&mut self.advances) {
            if target <= last { reached.push(sender) } else { self.advances.push((target, sender)) }
        }
        for sender in reached {
            let _ = sender.send(());
        }
        if (self.advances.is_empty() && !self.world.has_waiting_client()) || self.world.is_busy(self.mono()) {
            return false;
        }
        let target = self.advances.iter().map(|(target, _)| *target).min();
        let Some(next) = self.world.next_workflow_deadline().into_iter().chain(target).min() else { return false };
        if next <= last {
            return false;
        }
        self.offset = self.offset.saturating_add(next - last);
        self.last = next;
        self.shown.now.store(next, Ordering::Relaxed);
        true
    }
}
