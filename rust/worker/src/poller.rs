//! One long poll after another, each with a slot in hand for what it may bring.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use durable_client::{Code, Rpc, Status, call};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    WorkerEvent,
    shared::{ERROR, INFO, Shared, WARNING},
    tally::{Held, Polls, Tasks},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A poll that comes back empty sooner than this was not a long poll; asking again at once would be a busy loop.
const QUICK: Duration = Duration::from_millis(20);

/// The right to have one more task open; given back when dropped.
pub(crate) struct Slot {
    _permits: Vec<OwnedSemaphorePermit>,
    used: Option<Held>,
}

impl Slot {
    /// A task has come for it: until it is dropped it counts as one of the open ones.
    pub fn use_for(&mut self, tasks: &Tasks) {
        if self.used.is_none() {
            self.used = Some(tasks.open.hold());
        }
    }
}

/// Slots of one kind of poller. Two queues that share the worker's limit each leave the other at least one slot:
/// otherwise idle polls of one would keep the other's work waiting for a whole long poll.
#[derive(Clone)]
pub(crate) struct Slots {
    semaphores: Vec<Arc<Semaphore>>,
}

impl Slots {
    pub fn one(limit: usize) -> Slots {
        Slots { semaphores: vec![Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS)))] }
    }

    pub fn two(limit: usize) -> (Slots, Slots) {
        let limit = limit.clamp(2, Semaphore::MAX_PERMITS);
        let all = Arc::new(Semaphore::new(limit));
        let share = || Slots { semaphores: vec![Arc::new(Semaphore::new(limit - 1)), all.clone()] };
        (share(), share())
    }

    /// A slot for a task that comes without a poll; none if all are taken.
    pub fn try_take(&self) -> Option<Slot> {
        let permits = self.semaphores.iter().map(|semaphore| semaphore.clone().try_acquire_owned().ok()).collect::<Option<_>>()?;
        Some(Slot { _permits: permits, used: None })
    }

    async fn take(&self) -> Option<Slot> {
        let mut permits = Vec::with_capacity(self.semaphores.len());
        for semaphore in &self.semaphores {
            permits.push(semaphore.clone().acquire_owned().await.ok()?);
        }
        Some(Slot { _permits: permits, used: None })
    }
}

/// How long passes between two polls at least, so that no more tasks than that come; for one poller.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    pause: Option<Duration>,
}

/// A worker that is to take a task an hour, or less, takes one an hour.
const LONGEST_PACE: f64 = 3600.0;

impl Pace {
    pub fn per_second(tasks: Option<f64>) -> Pace {
        let pause = tasks.filter(|tasks| *tasks > 0.0).map(|tasks| Duration::from_secs_f64((1.0 / tasks).min(LONGEST_PACE)));
        Pace { pause }
    }

    /// Waits until the pause after the last task is over.
    async fn wait(&self, last: Option<Instant>) {
        if let (Some(pause), Some(last)) = (self.pause, last) {
            sleep_until(last + pause).await;
        }
    }
}

/// Whether the service can be reached, for the pollers of one kind together: each change is told once.
#[derive(Default)]
pub(crate) struct Link {
    is_lost: AtomicBool,
}

impl Link {
    fn failed(&self, shared: &Shared, what: &str, status: &Status) {
        if status.code == Code::Unavailable && shared.service.is_known_to_be_lost() {
            return; // one line for the connection, not one for each of its pollers
        }
        if !self.is_lost.swap(true, Ordering::Relaxed) {
            shared.event(WARNING, format!("connection lost: {what} on {:?}: {status}; trying again", shared.options.task_queue));
        }
    }

    fn succeeded(&self, shared: &Shared) {
        if self.is_lost.load(Ordering::Relaxed) && self.is_lost.swap(false, Ordering::Relaxed) {
            shared.event(INFO, format!("connection back: polling {:?} again", shared.options.task_queue));
        }
    }
}

/// Polls until the worker stops or is refused for good. A poll that is open then goes on until it is answered, or until the worker
/// hangs up. `deliver` says whether the answer held a task.
pub(crate) async fn run_poller<R, D>(
    shared: Arc<Shared>,
    slots: Slots,
    link: Arc<Link>,
    polls: Arc<Polls>,
    pace: Pace,
    request: R,
    deliver: D,
) where
    R: Rpc + Clone,
    D: Fn(R::Response, Slot) -> bool,
{
    let polling = async {
        let mut pause = FIRST_PAUSE;
        let mut last_task = None;
        let ready = async |last_task| {
            let slot = slots.take().await?;
            pace.wait(last_task).await;
            Some(slot)
        };
        while let Some(Some(slot)) = shared.polling.run_until_cancelled(ready(last_task)).await {
            let asked = Instant::now();
            let open = polls.open.hold();
            let answer = call(&*shared.service, request.clone()).await;
            drop(open);
            let is_empty = match answer {
                Ok(answer) => {
                    link.succeeded(&shared);
                    polls.answered();
                    !deliver(answer, slot)
                }
                // A poll that ran into its own bound is one that found nothing.
                Err(status) if matches!(status.code, Code::DeadlineExceeded | Code::Cancelled) => true,
                Err(status) if is_final(&status) => {
                    stop_polling(&shared, R::NAME, &status);
                    return;
                }
                Err(status) => {
                    drop(slot);
                    link.failed(&shared, R::NAME, &status);
                    shared.polling.run_until_cancelled(sleep(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            if is_empty && asked.elapsed() < QUICK {
                shared.polling.run_until_cancelled(sleep(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                pause = FIRST_PAUSE;
            }
            if !is_empty {
                last_task = Some(Instant::now());
            }
        }
    };
    tokio::select! {
        biased;
        // Dropping the poll is the disconnect that the service waits for.
        () = shared.hang_up.cancelled() => {}
        () = polling => {}
    }
}

fn is_final(status: &Status) -> bool {
    matches!(status.code, Code::Unimplemented | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument)
}

fn stop_polling(shared: &Shared, what: &str, status: &Status) {
    // The pollers are refused together: the first to notice speaks for all.
    if shared.polling.is_cancelled() {
        return;
    }
    shared.polling.cancel();
    shared.hang_up.cancel();
    let options = &shared.options;
    let message = format!(
        "the worker of task queue {:?} in namespace {:?} has stopped polling: {what} was refused: {status}",
        options.task_queue, options.namespace
    );
    shared.sink.event(WorkerEvent { level: ERROR, message, fatal: true });
}
