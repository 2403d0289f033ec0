//! The local activities: one actor that runs them with their timeouts and retries, without the service.
//!
//! A local activity is *queued* until one of the worker's slots for them is free, *running* as one attempt that the user's
//! code has, or *resting* between two attempts. Its outcome goes to the run that asked for it, unless nobody waits for it any
//! more. What a stopping worker cuts off has no outcome: the run is told that it is lost, and does it again elsewhere.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use durable_core::{LocalRequest, LocalResult, LocalStart};
use temporalio_protos::{
    coresdk::{
        ActivityTaskCompletion,
        activity_result::{ActivityExecutionResult, Cancellation, Failure as Failed, activity_execution_result::Status as Outcome},
        activity_task::ActivityCancelReason,
    },
    temporal::api::{
        enums::v1::TimeoutType,
        failure::v1::{CanceledFailureInfo, Failure, TimeoutFailureInfo, failure::FailureInfo},
    },
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    activity_task::{application_failure, cancel_task, duration, local_start_task},
    local_token::{local_token, parse_local_token},
    retry::backoff,
    shared::{DEBUG, Shared},
    tally::Held,
    workflows,
};

/// The type of the failure with which user's code says that it was cut off by the worker's end.
const SHUTDOWN_TYPE: &str = "WorkerShutdown";

pub(crate) enum Input {
    Request {
        run_id: String,
        request: LocalRequest,
    },
    /// The run is evicted: nobody waits for its activities.
    Forget {
        run_id: String,
    },
    Completion(Box<ActivityTaskCompletion>),
    StartTimeout(u64),
    CloseTimeout(u64),
    AttemptTimeout(u64, u32),
    RestOver(u64),
    Stop(Duration),
    GraceOver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    Running,
    Resting,
}

struct Local {
    run_id: String,
    start: Box<LocalStart>,
    attempt: u32,
    requested: Instant,
    /// No attempt may begin or run after this.
    close: Option<Instant>,
    state: State,
    /// Counts the running attempt.
    running: Option<Held>,
    is_wanted: bool,
    /// The user's code was asked to stop, and why.
    cancelled: Option<ActivityCancelReason>,
    timers: Vec<AbortHandle>,
}

pub(crate) struct Locals {
    shared: Arc<Shared>,
    inputs: mpsc::UnboundedSender<Input>,
    workflows: mpsc::UnboundedSender<workflows::Input>,
    open: HashMap<u64, Local>,
    queue: VecDeque<u64>,
    last_id: u64,
    running: usize,
    is_stopping: bool,
    is_grace_over: bool,
    done: CancellationToken,
}

impl Locals {
    pub fn new(
        shared: Arc<Shared>,
        inputs: mpsc::UnboundedSender<Input>,
        workflows: mpsc::UnboundedSender<workflows::Input>,
        done: CancellationToken,
    ) -> Locals {
        Locals {
            shared,
            inputs,
            workflows,
            open: HashMap::new(),
            queue: VecDeque::new(),
            last_id: 0,
            running: 0,
            is_stopping: false,
            is_grace_over: false,
            done,
        }
    }

    pub async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let abort = self.shared.abort.clone();
        loop {
            tokio::select! {
                biased;
                () = abort.cancelled() => break,
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input),
                    None => break,
                },
            }
            self.dispatch();
            if self.is_stopping && self.open.is_empty() {
                self.done.cancel();
            }
        }
        for timer in self.open.values().flat_map(|local| &local.timers) {
            timer.abort();
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Request { run_id, request } => self.request(run_id, request),
            Input::Forget { run_id } => {
                let ids: Vec<u64> = self.open.iter().filter(|(_, l)| l.is_wanted && l.run_id == run_id).map(|(id, _)| *id).collect();
                for id in ids {
                    self.unwant(id, Some(ActivityCancelReason::NotFound));
                }
            }
            Input::Completion(completion) => self.complete(*completion),
            Input::StartTimeout(id) => {
                if self.open.get(&id).is_some_and(|local| local.state == State::Queued) {
                    self.end(id, timed_out(TimeoutType::ScheduleToStart), None);
                }
            }
            Input::CloseTimeout(id) => {
                if self.open.contains_key(&id) {
                    if self.is_running(id) {
                        self.shared.tally.local_activities.ended(true);
                    }
                    self.cancel_attempt(id, ActivityCancelReason::TimedOut);
                    self.end(id, timed_out(TimeoutType::ScheduleToClose), None);
                }
            }
            Input::AttemptTimeout(id, attempt) => {
                if self.open.get(&id).is_some_and(|local| local.state == State::Running && local.attempt == attempt) {
                    self.shared.tally.local_activities.ended(true);
                    self.cancel_attempt(id, ActivityCancelReason::TimedOut);
                    self.attempt_failed(id, timed_out(TimeoutType::StartToClose));
                }
            }
            Input::RestOver(id) => {
                if let Some(local) = self.open.get_mut(&id).filter(|local| local.state == State::Resting) {
                    local.attempt = local.attempt.saturating_add(1);
                    local.state = State::Queued;
                    local.cancelled = None;
                    local.timers.retain(|timer| !timer.is_finished());
                    self.queue.push_back(id);
                }
            }
            Input::Stop(grace) => {
                self.is_stopping = true;
                self.after(grace, Input::GraceOver);
            }
            Input::GraceOver => self.cut_off(),
        }
    }

    fn request(&mut self, run_id: String, request: LocalRequest) {
        match request {
            LocalRequest::Start(start) => self.start(run_id, start),
            LocalRequest::Cancel { seq } => {
                let Some(id) = self.find(&run_id, seq) else { return };
                if self.is_running(id) {
                    self.cancel_attempt(id, ActivityCancelReason::Cancelled);
                } else {
                    self.end(id, cancelled(), None);
                }
            }
            LocalRequest::Drop { seq } => {
                if let Some(id) = self.find(&run_id, seq) {
                    self.unwant(id, Some(ActivityCancelReason::Cancelled));
                }
            }
            LocalRequest::LetRun { seq } => {
                if let Some(id) = self.find(&run_id, seq) {
                    self.unwant(id, None);
                }
            }
        }
    }

    fn start(&mut self, run_id: String, start: Box<LocalStart>) {
        if self.is_grace_over {
            let _ = self.workflows.send(workflows::Input::LocalLost { run_id });
            return;
        }
        self.last_id += 1;
        let id = self.last_id;
        let requested = Instant::now();
        let command = &start.command;
        let close = duration(command.schedule_to_close_timeout).map(|timeout| timeout.saturating_sub(waited(&start)));
        let mut timers = Vec::new();
        timers.extend(close.map(|close| self.after(close, Input::CloseTimeout(id))));
        timers.extend(duration(command.schedule_to_start_timeout).map(|timeout| self.after(timeout, Input::StartTimeout(id))));
        let local = Local {
            run_id,
            attempt: command.attempt.max(1),
            start,
            requested,
            close: close.map(|close| requested + close),
            state: State::Queued,
            running: None,
            is_wanted: true,
            cancelled: None,
            timers,
        };
        self.open.insert(id, local);
        if close.is_some_and(|close| close.is_zero()) {
            self.end(id, timed_out(TimeoutType::ScheduleToClose), None);
        } else {
            self.queue.push_back(id);
        }
    }

    /// Gives out attempts while slots are free.
    fn dispatch(&mut self) {
        while self.running < self.shared.options.max_concurrent_local_activities {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(local) = self.open.get_mut(&id).filter(|local| local.state == State::Queued) else { continue };
            local.state = State::Running;
            local.running = Some(self.shared.tally.local_activities.open.hold());
            self.running += 1;
            let attempt = local.attempt;
            let task = local_start_task(
                local_token(id, attempt),
                &local.start,
                &local.run_id,
                &self.shared.options.namespace,
                attempt,
                local.requested.elapsed(),
            );
            // Of two timeouts at one moment, the one of all attempts counts: no other attempt could follow.
            let ends_later = |timeout: &Duration| local.close.is_none_or(|close| Instant::now() + *timeout < close);
            let timeout = duration(local.start.command.start_to_close_timeout).filter(ends_later);
            if let Some(timeout) = timeout {
                let timer = self.after(timeout, Input::AttemptTimeout(id, attempt));
                self.open.entry(id).and_modify(|local| local.timers.push(timer));
            }
            self.shared.sink.activity(task);
        }
    }

    fn complete(&mut self, completion: ActivityTaskCompletion) {
        let found = parse_local_token(&completion.task_token)
            .filter(|(id, attempt)| self.open.get(id).is_some_and(|l| l.state == State::Running && l.attempt == *attempt));
        let Some((id, _)) = found else {
            self.shared.event(DEBUG, "a local activity's completion came for an attempt that is not open");
            return;
        };
        let outcome = completion.result.and_then(|result: ActivityExecutionResult| result.status);
        self.shared.tally.local_activities.ended(matches!(outcome, Some(Outcome::Failed(_)) | None));
        let local = &self.open[&id];
        let was_cut_off = match &outcome {
            Some(Outcome::Completed(_)) => false,
            Some(Outcome::Failed(failed)) if self.is_stopping => {
                local.cancelled == Some(ActivityCancelReason::WorkerShutdown) || is_shutdown(failed.failure.as_ref())
            }
            // Nobody asked for that cancel.
            Some(Outcome::Cancelled(_)) if self.is_stopping => local.cancelled != Some(ActivityCancelReason::Cancelled),
            _ => false,
        };
        match outcome {
            _ if was_cut_off => self.lose(id),
            Some(outcome @ Outcome::Failed(_)) => self.attempt_failed(id, outcome),
            Some(outcome @ (Outcome::Completed(_) | Outcome::Cancelled(_))) => self.end(id, outcome, None),
            Some(Outcome::WillCompleteAsync(_)) => {
                let message = "a local activity cannot be completed from outside: use an ordinary activity".to_owned();
                self.end(id, failed(application_failure(message, "InvalidCompletion", true)), None);
            }
            None => {
                self.attempt_failed(id, failed(application_failure("the activity ended without an outcome".into(), "InternalError", false)))
            }
        }
    }

    /// The attempt is over: another one now or later, or the end.
    fn attempt_failed(&mut self, id: u64, outcome: Outcome) {
        let Some(local) = self.open.get(&id) else { return };
        let failure = match &outcome {
            Outcome::Failed(failed) => failed.failure.clone().unwrap_or_default(),
            _ => Failure::default(),
        };
        let command = &local.start.command;
        let policy = command.retry_policy.clone().unwrap_or_default();
        let asked_to_stop = local.cancelled.is_some_and(|reason| reason != ActivityCancelReason::TimedOut);
        let pause = backoff(&policy, local.attempt, &failure)
            .filter(|pause| local.close.is_none_or(|close| Instant::now() + *pause < close))
            .filter(|_| local.is_wanted && !asked_to_stop);
        let threshold = duration(command.local_retry_threshold).unwrap_or_default();
        match pause {
            None => self.end(id, outcome, None),
            Some(pause) if pause > threshold => self.end(id, outcome, Some(pause)),
            Some(pause) => {
                self.release(id);
                let timer = self.after(pause, Input::RestOver(id));
                if let Some(local) = self.open.get_mut(&id) {
                    local.state = State::Resting;
                    local.timers.push(timer);
                }
            }
        }
    }

    fn end(&mut self, id: u64, outcome: Outcome, pause: Option<Duration>) {
        let Some(local) = self.remove(id) else { return };
        if !local.is_wanted {
            return;
        }
        let backoff = pause.and_then(|pause| prost_wkt_types::Duration::try_from(pause).ok());
        let runtime = local.requested.elapsed();
        let result = LocalResult { seq: local.start.command.seq, outcome, attempt: local.attempt, runtime, backoff };
        let _ = self.workflows.send(workflows::Input::LocalResult { run_id: local.run_id, result: Box::new(result) });
    }

    /// Cut off by the worker's end: it has no outcome.
    fn lose(&mut self, id: u64) {
        if let Some(local) = self.remove(id).filter(|local| local.is_wanted) {
            let _ = self.workflows.send(workflows::Input::LocalLost { run_id: local.run_id });
        }
    }

    fn remove(&mut self, id: u64) -> Option<Local> {
        self.release(id);
        let local = self.open.remove(&id)?;
        for timer in &local.timers {
            timer.abort();
        }
        Some(local)
    }

    /// Gives the slot of a running attempt back.
    fn release(&mut self, id: u64) {
        if self.is_running(id) {
            self.running -= 1;
            self.open.entry(id).and_modify(|local| local.running = None);
        }
    }

    /// Nobody waits for the outcome any more. With a reason, it is asked to stop too; without one, it is left running.
    fn unwant(&mut self, id: u64, reason: Option<ActivityCancelReason>) {
        let is_running = self.is_running(id);
        let Some(local) = self.open.get_mut(&id) else { return };
        local.is_wanted = false;
        match reason {
            Some(reason) if is_running => self.cancel_attempt(id, reason),
            Some(_) => drop(self.remove(id)),
            None if local.state == State::Resting => drop(self.remove(id)),
            None => {}
        }
    }

    fn cancel_attempt(&mut self, id: u64, reason: ActivityCancelReason) {
        let Some(local) = self.open.get_mut(&id).filter(|local| local.state == State::Running && local.cancelled.is_none()) else {
            return;
        };
        local.cancelled = Some(reason);
        self.shared.sink.activity(cancel_task(local_token(id, local.attempt), reason));
    }

    /// The worker's grace is over: running attempts are asked to stop, nothing else begins.
    fn cut_off(&mut self) {
        self.is_grace_over = true;
        let mut ids: Vec<u64> = self.open.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if self.is_running(id) {
                self.cancel_attempt(id, ActivityCancelReason::WorkerShutdown);
            } else {
                self.lose(id);
            }
        }
    }

    fn is_running(&self, id: u64) -> bool {
        self.open.get(&id).is_some_and(|local| local.state == State::Running)
    }

    fn find(&self, run_id: &str, seq: u32) -> Option<u64> {
        let is_it = |local: &Local| local.is_wanted && local.start.command.seq == seq && local.run_id == run_id;
        self.open.iter().find(|(_, local)| is_it(local)).map(|(id, _)| *id)
    }

    fn after(&self, pause: Duration, input: Input) -> AbortHandle {
        let (inputs, abort) = (self.inputs.clone(), self.shared.abort.clone());
        let timer = tokio::spawn(async move {
            tokio::select! {
                () = sleep(pause) => drop(inputs.send(input)),
                () = abort.cancelled() => {}
            }
        });
        timer.abort_handle()
    }
}

/// How much of the schedule-to-close timeout earlier requests have used up.
fn waited(start: &LocalStart) -> Duration {
    let (Some(now), Some(original)) = (start.now, start.command.original_schedule_time) else { return Duration::ZERO };
    let nanos = i128::from(now.seconds - original.seconds) * 1_000_000_000 + i128::from(now.nanos - original.nanos);
    u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(Failed { failure: Some(failure), ..Default::default() })
}

fn timed_out(kind: TimeoutType) -> Outcome {
    let info = TimeoutFailureInfo { timeout_type: kind as i32, ..Default::default() };
    failed(Failure {
        message: "Activity timed out".into(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(info)),
        ..Default::default()
    })
}

fn cancelled() -> Outcome {
    let info = FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default());
    let failure = Failure { message: "Activity cancelled".into(), failure_info: Some(info), ..Default::default() };
    Outcome::Cancelled(Cancellation { failure: Some(failure) })
}

fn is_shutdown(failure: Option<&Failure>) -> bool {
    matches!(
        failure.and_then(|failure| failure.failure_info.as_ref()),
        Some(FailureInfo::ApplicationFailureInfo(info)) if info.r#type == SHUTDOWN_TYPE
    )
}
