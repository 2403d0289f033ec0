//! Makes a history: our core works on the tasks of the model, a random program is its code, and all sorts of things happen meanwhile.

use std::time::Duration as StdDuration;

use durable_core::{LocalRequest, LocalResult, Output, Run, RunOptions};
use prost_wkt_types::Duration;
use temporalio_protos::{
    coresdk::{
        activity_result::{self, Cancellation, activity_execution_result::Status as Outcome},
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant as Job},
    },
    temporal::api::{
        enums::v1::{CommandType, EventType, RetryState, WorkflowTaskFailedCause},
        failure::v1::{CanceledFailureInfo, Failure, failure::FailureInfo},
        history::v1::{
            HistoryEvent, WorkflowExecutionTerminatedEventAttributes, WorkflowExecutionTimedOutEventAttributes, history_event::Attributes,
        },
        workflowservice::v1::RespondWorkflowTaskCompletedRequest,
    },
};

use crate::{
    commands::{Taken, complete},
    dice::Dice,
    known::Known,
    program::{Program, failure, payload},
    service::{Service, TaskState},
    world::happen,
};

pub struct Generated {
    pub seed: u64,
    pub run_id: String,
    pub events: Vec<HistoryEvent>,
    /// What the program was told live, by a worker that had the run cached since its last failure: a replay tells the same first.
    pub seen: Vec<WorkflowActivation>,
    /// A difference that only who was there can know of.
    pub known: Option<Known>,
}

/// A worker's cached run.
struct Cached {
    run: Run,
    program: Program,
    seen: Vec<WorkflowActivation>,
    /// Local activities at work, and whether they were asked to stop.
    locals: Vec<(u32, bool)>,
    /// In the open task there was an activation of nothing but rejected updates.
    was_traceless: bool,
}

impl Cached {
    fn new(seed: u64, run_id: &str) -> Cached {
        let options = RunOptions {
            namespace: "default".to_owned(),
            identity: "worker".to_owned(),
            sticky_task_queue: "sticky".to_owned(),
            task_queue: "generated".to_owned(),
            sticky_schedule_to_start_timeout_ms: 10_000,
            replay_only: false,
        };
        Cached {
            run: Run::new(run_id.to_owned(), options),
            program: Program::new(seed),
            seen: Vec::new(),
            locals: Vec::new(),
            was_traceless: false,
        }
    }

    fn is_cold(&self) -> bool {
        self.run.statistics().activations == 0
    }
}

/// An activation as a replay shows it: live it differs in what only the moment decides.
pub fn as_replayed(seed: u64, activation: &WorkflowActivation) -> Option<WorkflowActivation> {
    let mut seen = activation.clone();
    seen.is_replaying = false;
    seen.available_internal_flags.clear();
    seen.last_sdk_version.clear();
    seen.jobs.retain_mut(|job| match &mut job.variant {
        Some(Job::DoUpdate(update)) => {
            update.run_validator = false;
            !Program::rejects(seed, &update.protocol_instance_id)
        }
        // Live the code itself is the first to know of a patch.
        Some(Job::NotifyHasPatch(_)) => false,
        _ => true,
    });
    (!seen.jobs.is_empty()).then_some(seen)
}

/// A history, and what went wrong while it was made.
pub fn generate(seed: u64, allows: Option<Known>) -> (Generated, Option<String>) {
    let run_id = format!("00000000-0000-4000-8000-{seed:012x}");
    let mut service = Service::new(run_id.clone());
    service.allows = allows;
    let seen = fill(seed, &mut service);
    let (seen, fault) = match seen {
        Ok(seen) => (seen, None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    (Generated { seed, run_id, events: service.events, seen, known: service.known }, fault)
}

fn fill(seed: u64, service: &mut Service) -> Result<Vec<WorkflowActivation>, String> {
    let mut dice = Dice::named(seed, "service");
    let run_id = service.run_id.clone();
    let mut cached: Option<Cached> = None;
    // Some workers keep runs, some lose them now and then, some keep none.
    let forgets = dice.pick(&[1_000, 5, 1]);
    for _ in 0..2 + dice.roll(24) {
        while service.task.state == TaskState::None {
            happen(service, &mut dice);
        }
        for _ in 0..dice.roll(3) {
            // A task that goes on after a sign of life is started at once.
            if !service.follows_task() || service.allows == Some(Known::MergedTasks) {
                happen(service, &mut dice);
            }
        }
        service.start_task();
        service.pass(1);
        let may_be_lost = !service.follows_task() || service.allows == Some(Known::MergedTasks);
        if may_be_lost && dice.one_in(16) {
            lose_task(service, &mut dice);
            cached = None;
            continue;
        }
        let mut worker = cached.take().unwrap_or_else(|| Cached::new(seed, &run_id));
        let from_id = if worker.is_cold() { 0 } else { service.previous_started_id };
        worker.run.handle_task(service.task(from_id));
        let Some(request) = work(&mut worker, service, &mut dice, !may_be_lost)? else {
            return Err("the worker has nothing to say to its task".to_owned());
        };
        if may_be_lost && dice.one_in(16) {
            lose_task(service, &mut dice);
            continue;
        }
        let has_marker = request.commands.iter().any(|command| command.command_type() == CommandType::RecordMarker);
        if std::mem::take(&mut worker.was_traceless) && has_marker {
            service.known = Some(Known::LocalsAfterRejection);
        }
        match complete(service, &request) {
            Taken::Refused => continue,
            Taken::Completed { reset_to_event_id } => worker.run.handle_completed(reset_to_event_id),
        }
        if service.is_closed {
            cached = Some(worker);
            break;
        }
        if !dice.one_in(forgets) {
            cached = Some(worker);
        }
    }
    leave(service, &mut dice);
    Ok(cached.map(|cached| cached.seen).unwrap_or_default())
}

/// The worker dies with the task, or fails it.
fn lose_task(service: &mut Service, dice: &mut Dice) {
    for _ in 0..dice.roll(2) {
        happen(service, dice);
    }
    match dice.roll(5) {
        0 | 1 => service.time_task_out(),
        2 | 3 => service.fail_task(WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure, ""),
        _ => {
            let new_run_id = format!("00000000-0000-4000-9000-{:012x}", service.events.len());
            service.fail_task(WorkflowTaskFailedCause::ResetWorkflow, &new_run_id);
        }
    }
}

/// How an open run's history looks when it is fetched: mostly in the midst of something.
fn leave(service: &mut Service, dice: &mut Dice) {
    if service.is_closed {
        return;
    }
    for _ in 0..dice.roll(3) {
        happen(service, dice);
    }
    match dice.roll(4) {
        0 if service.task.state == TaskState::Scheduled => {
            service.start_task();
            service.write_task();
        }
        1 => {
            let attributes = WorkflowExecutionTerminatedEventAttributes { reason: "enough".to_owned(), ..Default::default() };
            service.write(EventType::WorkflowExecutionTerminated, Attributes::WorkflowExecutionTerminatedEventAttributes(attributes));
        }
        2 => {
            let retry_state = RetryState::Timeout as i32;
            let attributes = WorkflowExecutionTimedOutEventAttributes { retry_state, ..Default::default() };
            service.write(EventType::WorkflowExecutionTimedOut, Attributes::WorkflowExecutionTimedOutEventAttributes(attributes));
        }
        _ => {}
    }
}

/// Works on the open task until it is to be answered. What happens meanwhile may make it fail, unless it is to be quiet.
fn work(
    worker: &mut Cached,
    service: &mut Service,
    dice: &mut Dice,
    is_quiet: bool,
) -> Result<Option<Box<RespondWorkflowTaskCompletedRequest>>, String> {
    loop {
        match worker.run.poll() {
            Some(Output::Activation(activation)) => {
                if let Some(Job::RemoveFromCache(eviction)) = activation.jobs.first().and_then(|job| job.variant.as_ref()) {
                    return Err(format!("our core gave a live run up: {}", eviction.message));
                }
                let seen = as_replayed(worker.program.seed(), &activation);
                worker.was_traceless |= seen.is_none();
                worker.seen.extend(seen);
                if !is_quiet && dice.one_in(4) {
                    happen(service, dice);
                }
                let completion = worker.program.answer(&activation);
                if !worker.locals.is_empty() && dice.one_in(6) {
                    end_local(worker, dice);
                }
                worker.run.handle_completion(completion);
            }
            Some(Output::Local(LocalRequest::Start(start))) => worker.locals.push((start.command.seq, false)),
            Some(Output::Local(LocalRequest::Cancel { seq })) => {
                worker.locals.iter_mut().filter(|local| local.0 == seq).for_each(|local| local.1 = true);
            }
            Some(Output::Local(LocalRequest::Drop { seq } | LocalRequest::LetRun { seq })) => {
                worker.locals.retain(|local| local.0 != seq);
            }
            Some(Output::AwaitLocal(_)) => {}
            Some(Output::Complete(request)) => return Ok(Some(request)),
            Some(other) => return Err(format!("our core wants {other:?} of a live run")),
            None if worker.locals.is_empty() => return Ok(None),
            None if dice.one_in(5) => {
                service.pass(8_000);
                worker.run.handle_heartbeat_due();
            }
            None => {
                if !is_quiet && dice.one_in(4) {
                    happen(service, dice);
                }
                end_local(worker, dice);
            }
        }
    }
}

fn end_local(worker: &mut Cached, dice: &mut Dice) {
    let (seq, is_stopped) = worker.locals.remove(dice.roll(worker.locals.len()));
    let mut backoff = None;
    let outcome = match dice.roll(6) {
        0 => Outcome::Failed(activity_result::Failure { failure: Some(failure("local failed")), ..Default::default() }),
        1 if !is_stopped => {
            backoff = Some(Duration { seconds: 100, nanos: 0 });
            Outcome::Failed(activity_result::Failure { failure: Some(failure("try again")), ..Default::default() })
        }
        2..=4 if is_stopped => {
            let info = FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default());
            let failure = Failure { failure_info: Some(info), ..failure("stopped") };
            Outcome::Cancelled(Cancellation { failure: Some(failure) })
        }
        _ => Outcome::Completed(activity_result::Success { result: Some(payload("local result")) }),
    };
    let runtime = StdDuration::from_millis(dice.roll(3_000) as u64);
    worker.run.handle_local_result(LocalResult { seq, outcome, attempt: 1, runtime, backoff });
}
