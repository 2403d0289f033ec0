//! The activity side: one actor that owns every open activity, its heartbeats and its result.

use std::{collections::HashMap, sync::Arc, time::Duration};

use durable_client::{Code, Rpc, Status, call};
use temporalio_protos::{
    coresdk::{
        ActivityHeartbeat, ActivityTaskCompletion,
        activity_result::{ActivityExecutionResult, Cancellation, activity_execution_result::Status as Outcome},
        activity_task::ActivityCancelReason,
    },
    temporal::api::{
        common::v1::{Payload, Payloads},
        enums::v1::ActivityTaskFailedCause,
        failure::v1::{Failure, failure::FailureInfo},
        workflowservice::v1::{
            PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatRequest, RecordActivityTaskHeartbeatResponse,
            RespondActivityTaskCanceledRequest, RespondActivityTaskCompletedRequest, RespondActivityTaskFailedRequest,
        },
    },
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    activity_task::{application_failure, cancel_task, duration, payloads, start_task},
    heartbeat::{Heartbeat, throttle_interval},
    poller::Slot,
    report::{report, shortened},
    shared::{DEBUG, Shared, WARNING},
};

pub(crate) enum Input {
    Task(Box<PollActivityTaskQueueResponse>, Option<Slot>),
    Completion(Box<ActivityTaskCompletion>),
    Heartbeat(ActivityHeartbeat),
    HeartbeatAnswered(Vec<u8>, Result<RecordActivityTaskHeartbeatResponse, Status>),
    HeartbeatPauseOver(Vec<u8>),
    /// The attempt may be over by its time.
    TimeOver(Vec<u8>),
    Reported,
    /// No task comes any more, neither from a poll nor with the answer to a workflow task.
    NoMoreTasks,
    /// The worker stops: activities that are open after the grace are told to cancel.
    Stop(Duration),
    GraceOver,
}

struct Open {
    name: String,
    slot: Option<Slot>,
    heartbeat: Heartbeat,
    throttle: Duration,
    /// The call in flight and the pause after it.
    beat: Option<AbortHandle>,
    cancelled: Option<ActivityCancelReason>,
    limits: Limits,
    /// Waits for the next of the limits.
    timer: Option<AbortHandle>,
}

impl Drop for Open {
    fn drop(&mut self) {
        for task in self.beat.iter().chain(&self.timer) {
            task.abort();
        }
    }
}

/// The service has given up an attempt that its own clock ends; this margin is for clocks and calls that are slow.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);

/// When an attempt is over for the service, whatever its code does.
struct Limits {
    end: Option<Instant>,
    heartbeat_timeout: Option<Duration>,
    last_heartbeat: Instant,
}

impl Limits {
    fn of(task: &PollActivityTaskQueueResponse, now: Instant) -> Limits {
        let waited = match (&task.scheduled_time, &task.started_time) {
            (Some(scheduled), Some(started)) => seconds(started) - seconds(scheduled),
            _ => 0.0,
        };
        let left = duration(task.schedule_to_close_timeout)
            .map(|timeout| timeout.saturating_sub(Duration::try_from_secs_f64(waited).unwrap_or_default()));
        let attempt = duration(task.start_to_close_timeout).into_iter().chain(left).min();
        let end = attempt.and_then(|attempt| now.checked_add(attempt.saturating_add(TIMEOUT_MARGIN)));
        Limits { end, heartbeat_timeout: duration(task.heartbeat_timeout), last_heartbeat: now }
    }

    fn next(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat_timeout.and_then(|timeout| self.last_heartbeat.checked_add(timeout.saturating_add(TIMEOUT_MARGIN)));
        self.end.into_iter().chain(heartbeat).min()
    }
}

fn seconds(time: &prost_wkt_types::Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

pub(crate) struct Activities {
    shared: Arc<Shared>,
    inputs: mpsc::UnboundedSender<Input>,
    open: HashMap<Vec<u8>, Open>,
    reporting: usize,
    has_no_more_tasks: bool,
    is_grace_over: bool,
    done: CancellationToken,
}

impl Activities {
    pub fn new(shared: Arc<Shared>, inputs: mpsc::UnboundedSender<Input>, done: CancellationToken) -> Activities {
        Activities { shared, inputs, open: HashMap::new(), reporting: 0, has_no_more_tasks: false, is_grace_over: false, done }
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
            if self.has_no_more_tasks && self.open.is_empty() && self.reporting == 0 {
                self.done.cancel();
            }
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Task(task, slot) => self.start(*task, slot),
            Input::Completion(completion) => self.complete(*completion),
            Input::Heartbeat(heartbeat) => {
                // Unknown: the activity has ended, and its heartbeat was on the way.
                let Some(open) = self.open.get_mut(&heartbeat.task_token) else { return };
                open.limits.last_heartbeat = Instant::now();
                if let Some(details) = open.heartbeat.handle_details(heartbeat.details) {
                    self.beat(heartbeat.task_token, details);
                }
            }
            Input::HeartbeatPauseOver(token) => {
                if let Some(details) = self.open.get_mut(&token).and_then(|open| open.heartbeat.handle_pause_over()) {
                    self.beat(token, details);
                }
            }
            Input::TimeOver(token) => self.handle_time_over(&token),
            Input::HeartbeatAnswered(token, answer) => self.handle_beat_answer(&token, answer),
            Input::Reported => self.reporting -= 1,
            Input::NoMoreTasks => self.has_no_more_tasks = true,
            Input::Stop(grace) => {
                let inputs = self.inputs.clone();
                let abort = self.shared.abort.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = sleep(grace) => drop(inputs.send(Input::GraceOver)),
                        () = abort.cancelled() => {}
                    }
                });
            }
            Input::GraceOver => {
                self.is_grace_over = true;
                let tokens: Vec<Vec<u8>> = self.open.keys().cloned().collect();
                for token in tokens {
                    self.cancel(&token, ActivityCancelReason::WorkerShutdown);
                }
            }
        }
    }

    fn start(&mut self, task: PollActivityTaskQueueResponse, mut slot: Option<Slot>) {
        if let Some(slot) = &mut slot {
            slot.use_for(&self.shared.tally.activities);
        }
        let options = &self.shared.options;
        let throttle = throttle_interval(
            duration(task.heartbeat_timeout),
            options.default_heartbeat_throttle_interval,
            options.max_heartbeat_throttle_interval,
        );
        let activity_type = task.activity_type.as_ref().map_or("", |activity_type| activity_type.name.as_str());
        let workflow_id = task.workflow_execution.as_ref().map_or("", |execution| execution.workflow_id.as_str());
        let name = format!("activity {activity_type} ({}) of workflow {workflow_id:?}", task.activity_id);
        let token = task.task_token.clone();
        let limits = Limits::of(&task, Instant::now());
        let open = Open { name, slot, heartbeat: Heartbeat::default(), throttle, beat: None, cancelled: None, limits, timer: None };
        self.open.insert(token.clone(), open);
        self.arm(&token);
        self.shared.sink.activity(start_task(task));
        if self.is_grace_over {
            self.cancel(&token, ActivityCancelReason::WorkerShutdown);
        }
    }

    /// Waits for the next of the attempt's limits.
    fn arm(&mut self, token: &[u8]) {
        let Some(open) = self.open.get_mut(token) else { return };
        let Some(next) = open.limits.next() else { return };
        let (inputs, token) = (self.inputs.clone(), token.to_vec());
        let timer = tokio::spawn(async move {
            sleep_until(next).await;
            let _ = inputs.send(Input::TimeOver(token));
        });
        open.timer = Some(timer.abort_handle());
    }

    fn handle_time_over(&mut self, token: &[u8]) {
        let Some(next) = self.open.get(token).and_then(|open| open.limits.next()) else { return };
        if next <= Instant::now() {
            self.cancel(token, ActivityCancelReason::TimedOut);
        } else {
            self.arm(token);
        }
    }

    fn cancel(&mut self, token: &[u8], reason: ActivityCancelReason) {
        // One cancel an attempt: a second would say nothing new to code that is already leaving.
        let Some(open) = self.open.get_mut(token).filter(|open| open.cancelled.is_none()) else { return };
        open.cancelled = Some(reason);
        self.shared.sink.activity(cancel_task(token.to_vec(), reason));
    }

    /// Sends details, then waits out the pause.
    fn beat(&mut self, token: Vec<u8>, details: Vec<Payload>) {
        let Some(open) = self.open.get_mut(&token) else { return };
        let (shared, inputs, throttle) = (self.shared.clone(), self.inputs.clone(), open.throttle);
        let request = heartbeat_request(&self.shared, token.clone(), details);
        let task = tokio::spawn(async move {
            let next = Instant::now() + throttle;
            let answer = call(&*shared.service, request).await;
            let _ = inputs.send(Input::HeartbeatAnswered(token.clone(), answer));
            sleep_until(next).await;
            let _ = inputs.send(Input::HeartbeatPauseOver(token));
        });
        open.beat = Some(task.abort_handle());
    }

    fn handle_beat_answer(&mut self, token: &[u8], answer: Result<RecordActivityTaskHeartbeatResponse, Status>) {
        let Some(open) = self.open.get_mut(token) else { return };
        open.heartbeat.handle_answer(answer.is_ok());
        let reason = match answer {
            Ok(answer) if answer.cancel_requested => ActivityCancelReason::Cancelled,
            Ok(answer) if answer.activity_reset => ActivityCancelReason::Reset,
            Ok(answer) if answer.activity_paused => ActivityCancelReason::Paused,
            Ok(_) => return,
            Err(status) if status.code == Code::NotFound => ActivityCancelReason::NotFound,
            Err(status) => {
                self.shared.event(DEBUG, format!("a heartbeat of {} did not arrive: {status}", open.name));
                return;
            }
        };
        self.cancel(token, reason);
    }

    /// The attempt goes on elsewhere. What it told of itself here is sent before; its slot is free.
    fn release(&mut self, token: Vec<u8>, mut open: Open) {
        self.reporting += 1;
        let (shared, inputs) = (self.shared.clone(), self.inputs.clone());
        tokio::spawn(async move {
            drop(open.slot.take());
            shared.service.release_activity(token.clone());
            if let Some(details) = open.heartbeat.take_unsent() {
                let _ = report(&shared, heartbeat_request(&shared, token, details)).await;
            }
            let _ = inputs.send(Input::Reported);
        });
    }

    fn complete(&mut self, completion: ActivityTaskCompletion) {
        let ActivityTaskCompletion { task_token: token, result } = completion;
        let Some(mut open) = self.open.remove(&token) else {
            self.shared.event(DEBUG, "an activity's completion came for a task that is not open");
            return;
        };
        for task in open.beat.take().into_iter().chain(open.timer.take()) {
            task.abort();
        }
        let outcome = result.and_then(|result: ActivityExecutionResult| result.status);
        self.shared.tally.activities.ended(matches!(outcome, Some(Outcome::Failed(_)) | None));
        if matches!(outcome, Some(Outcome::WillCompleteAsync(_))) {
            self.release(token, open);
            return;
        }
        let has_timed_out = open.cancelled == Some(ActivityCancelReason::TimedOut) && matches!(outcome, Some(Outcome::Cancelled(_)));
        if open.cancelled == Some(ActivityCancelReason::NotFound) || has_timed_out {
            // Nobody would take it, or the service has had its own answer to it.
            return;
        }
        self.reporting += 1;
        let (shared, inputs) = (self.shared.clone(), self.inputs.clone());
        tokio::spawn(async move {
            report_outcome(&shared, token, outcome, &mut open).await;
            drop(open.slot.take());
            let _ = inputs.send(Input::Reported);
        });
    }
}

async fn report_outcome(shared: &Shared, token: Vec<u8>, outcome: Option<Outcome>, open: &mut Open) {
    let refused = match outcome {
        Some(Outcome::Completed(success)) => {
            let result = success.result.map(|payload| Payloads { payloads: vec![payload] });
            report_completed(shared, token, result, open).await
        }
        Some(Outcome::Failed(failed)) => report_failed(shared, token, failed.failure.unwrap_or_default(), failed.cause, open).await,
        // The service never asked for this cancel: the attempt failed, and another worker may take the next.
        Some(Outcome::Cancelled(_)) if open.cancelled == Some(ActivityCancelReason::WorkerShutdown) => {
            let failure = application_failure("the worker was stopped while the activity ran".into(), "WorkerShutdown", false);
            report_failed(shared, token, failure, 0, open).await
        }
        Some(Outcome::Cancelled(cancellation)) => report_cancelled(shared, token, cancellation).await,
        Some(Outcome::WillCompleteAsync(_)) => Ok(()),
        None => {
            let failure = application_failure("the activity ended without an outcome".into(), "InternalError", false);
            report_failed(shared, token, failure, 0, open).await
        }
    };
    match refused {
        Ok(()) => {}
        Err(status) if matches!(status.code, Code::NotFound | Code::Cancelled) => {
            shared.event(DEBUG, format!("the outcome of {} came too late: {status}", open.name));
        }
        Err(status) => shared.event(WARNING, format!("the outcome of {} could not be reported: {status}", open.name)),
    }
}

async fn report_completed(shared: &Shared, token: Vec<u8>, result: Option<Payloads>, open: &mut Open) -> Result<(), Status> {
    let request = RespondActivityTaskCompletedRequest {
        task_token: token.clone(),
        result,
        identity: shared.options.identity.clone(),
        namespace: shared.options.namespace.clone(),
        ..Default::default()
    };
    match report(shared, request).await {
        Err(status) if is_refused_content(&status) => {
            // The result itself is what cannot be taken: say so, or the caller would wait for the timeout.
            let message = format!("the service refused the activity's result: {}", status.message);
            report_failed(shared, token, application_failure(message, "ResultRefused", true), 0, open).await
        }
        answer => answer.map(drop),
    }
}

/// True when it is what was said that the service does not take: it would be waited for until the activity's timeout.
fn is_refused_content(status: &Status) -> bool {
    matches!(status.code, Code::InvalidArgument | Code::ResourceExhausted | Code::FailedPrecondition)
}

async fn report_failed(shared: &Shared, token: Vec<u8>, failure: Failure, cause: i32, open: &mut Open) -> Result<(), Status> {
    let unsent = open.heartbeat.take_unsent();
    if let Some(details) = unsent.clone() {
        // Also in the failure itself below, but not every service reads it there. If this one is lost, that remains.
        let _ = report(shared, heartbeat_request(shared, token.clone(), details)).await;
    }
    let cause = match ActivityTaskFailedCause::try_from(cause) {
        Ok(ActivityTaskFailedCause::Unspecified) => ActivityTaskFailedCause::ActivityWorkerUnhandledFailure as i32,
        _ => cause,
    };
    let request = RespondActivityTaskFailedRequest {
        task_token: token,
        failure: Some(failure.clone()),
        identity: shared.options.identity.clone(),
        namespace: shared.options.namespace.clone(),
        last_heartbeat_details: unsent.and_then(payloads),
        cause,
        ..Default::default()
    };
    match send(shared, request.clone()).await {
        Err(status) if is_refused_content(&status) => {
            let failure = Some(shortened(&failure, &status));
            send(shared, RespondActivityTaskFailedRequest { failure, last_heartbeat_details: None, ..request }).await
        }
        answer => answer,
    }
}

async fn report_cancelled(shared: &Shared, token: Vec<u8>, cancellation: Cancellation) -> Result<(), Status> {
    let details = match cancellation.failure.and_then(|failure| failure.failure_info) {
        Some(FailureInfo::CanceledFailureInfo(info)) => info.details,
        _ => None,
    };
    let request = RespondActivityTaskCanceledRequest {
        task_token: token,
        details,
        identity: shared.options.identity.clone(),
        namespace: shared.options.namespace.clone(),
        ..Default::default()
    };
    send(shared, request).await
}

async fn send<R: Rpc + Clone>(shared: &Shared, request: R) -> Result<(), Status> {
    report(shared, request).await.map(drop)
}

fn heartbeat_request(shared: &Shared, task_token: Vec<u8>, details: Vec<Payload>) -> RecordActivityTaskHeartbeatRequest {
    RecordActivityTaskHeartbeatRequest {
        task_token,
        details: payloads(details),
        identity: shared.options.identity.clone(),
        namespace: shared.options.namespace.clone(),
        ..Default::default()
    }
}
