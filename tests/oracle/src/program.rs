//! Random code of a workflow: a function of its seed and of the jobs it was given, so that a replay makes it say the same again.
//!
//! It keeps the rules that an SDK's language side keeps: it cancels only what it knows to be open, answers every update, takes a
//! backoff of a local activity over with a timer of its own, and leaves no trace of an update that it rejects.

use std::collections::{BTreeMap, BTreeSet};

use prost_wkt_types::{Duration, Timestamp};
use temporalio_protos::{
    coresdk::{
        activity_result::activity_resolution::Status as Resolution,
        common::NamespacedWorkflowExecution,
        workflow_activation::{
            ResolveActivity, WorkflowActivation, resolve_child_workflow_execution_start::Status as ChildStart,
            workflow_activation_job::Variant as Job,
        },
        workflow_commands::{
            ActivityCancellationType, CancelChildWorkflowExecution, CancelSignalWorkflow, CancelTimer, CancelWorkflowExecution,
            CompleteWorkflowExecution, ContinueAsNewWorkflowExecution, FailWorkflowExecution, ModifyWorkflowProperties,
            RequestCancelActivity, RequestCancelExternalWorkflowExecution, RequestCancelLocalActivity, ScheduleActivity,
            ScheduleLocalActivity, SetPatchMarker, SignalExternalWorkflowExecution, StartChildWorkflowExecution, StartTimer,
            UpdateResponse, UpsertWorkflowSearchAttributes, WorkflowCommand, signal_external_workflow_execution, update_response::Response,
            workflow_command::Variant as Command,
        },
        workflow_completion::{Success, WorkflowActivationCompletion, workflow_activation_completion::Status},
    },
    temporal::api::{
        common::v1::{Memo, Payload, SearchAttributes},
        failure::v1::Failure,
    },
};

use crate::dice::Dice;

const CANCELLATIONS: [ActivityCancellationType; 3] =
    [ActivityCancellationType::TryCancel, ActivityCancellationType::WaitCancellationCompleted, ActivityCancellationType::Abandon];

/// The type of activities that the program abandons when it cancels them.
pub const LEFT_ALONE: &str = "left";

pub fn payload(text: &str) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: format!("{text:?}").into_bytes(),
        ..Default::default()
    }
}

pub fn failure(text: &str) -> Failure {
    Failure { message: text.to_owned(), ..Default::default() }
}

pub fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

/// An attempt of a local activity that is to come after a timer.
#[derive(Clone)]
struct Backoff {
    attempt: u32,
    original_schedule_time: Option<Timestamp>,
}

pub struct Program {
    seed: u64,
    dice: Dice,
    next: u32,
    timers: Vec<u32>,
    /// Timers that stand between two attempts of a local activity.
    backoffs: BTreeMap<u32, Backoff>,
    /// Those that may be cancelled: only once each.
    activities: Vec<u32>,
    locals: Vec<u32>,
    children: Vec<u32>,
    signals: Vec<u32>,
    cancel_requests: Vec<u32>,
    /// Accepted and not completed.
    updates: Vec<String>,
    /// What the history told of.
    patches: BTreeSet<String>,
    /// Which side of a patch the code is on, once it asked.
    sides: BTreeMap<String, bool>,
    is_over: bool,
}

impl Program {
    pub fn new(seed: u64) -> Program {
        Program {
            seed,
            dice: Dice::named(seed, "program"),
            next: 1,
            timers: Vec::new(),
            backoffs: BTreeMap::new(),
            activities: Vec::new(),
            locals: Vec::new(),
            children: Vec::new(),
            signals: Vec::new(),
            cancel_requests: Vec::new(),
            updates: Vec::new(),
            patches: BTreeSet::new(),
            sides: BTreeMap::new(),
            is_over: false,
        }
    }

    /// True when the program rejects this update; it does so whenever it comes.
    pub fn rejects(seed: u64, instance_id: &str) -> bool {
        Dice::named(seed, instance_id).one_in(4)
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn answer(&mut self, activation: &WorkflowActivation) -> WorkflowActivationCompletion {
        let mut commands = Vec::new();
        let mut was_moved = false;
        for job in activation.jobs.iter().filter_map(|job| job.variant.as_ref()) {
            was_moved |= self.take(job, &mut commands);
        }
        if was_moved && !self.is_over {
            self.act(activation.is_replaying, &mut commands);
        }
        let commands = commands.into_iter().map(|variant| WorkflowCommand { variant: Some(variant), ..Default::default() }).collect();
        WorkflowActivationCompletion {
            run_id: activation.run_id.clone(),
            status: Some(Status::Successful(Success { commands, ..Default::default() })),
            ..Default::default()
        }
    }

    fn seq(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Takes one job; false when it left no trace.
    fn take(&mut self, job: &Job, commands: &mut Vec<Command>) -> bool {
        match job {
            Job::NotifyHasPatch(patch) => {
                self.patches.insert(patch.patch_id.clone());
                return false;
            }
            Job::FireTimer(fired) => {
                self.timers.retain(|seq| *seq != fired.seq);
                if let Some(backoff) = self.backoffs.remove(&fired.seq) {
                    self.start_local(Some(backoff), commands);
                }
            }
            Job::ResolveActivity(resolved) => self.resolved(resolved, commands),
            Job::ResolveChildWorkflowExecutionStart(start) if !matches!(start.status, Some(ChildStart::Succeeded(_))) => {
                self.children.retain(|seq| *seq != start.seq);
            }
            Job::ResolveChildWorkflowExecution(resolved) => self.children.retain(|seq| *seq != resolved.seq),
            Job::ResolveSignalExternalWorkflow(resolved) => self.signals.retain(|seq| *seq != resolved.seq),
            Job::ResolveRequestCancelExternalWorkflow(resolved) => self.cancel_requests.retain(|seq| *seq != resolved.seq),
            Job::DoUpdate(update) => {
                let instance_id = update.protocol_instance_id.clone();
                if Program::rejects(self.seed, &instance_id) {
                    commands.push(answer(instance_id, Response::Rejected(failure("no"))));
                    return false;
                }
                commands.push(answer(instance_id.clone(), Response::Accepted(())));
                match self.dice.roll(3) {
                    0 => commands.push(answer(instance_id, Response::Completed(payload("done")))),
                    1 => commands.push(answer(instance_id, Response::Rejected(failure("late")))),
                    _ => self.updates.push(instance_id),
                }
            }
            _ => {}
        }
        true
    }

    fn resolved(&mut self, resolved: &ResolveActivity, commands: &mut Vec<Command>) {
        self.activities.retain(|seq| *seq != resolved.seq);
        self.locals.retain(|seq| *seq != resolved.seq);
        if let Some(Resolution::Backoff(backoff)) = resolved.result.as_ref().and_then(|result| result.status.as_ref()) {
            let seq = self.seq();
            let backoff_timer = StartTimer { seq, start_to_fire_timeout: backoff.backoff_duration };
            commands.push(Command::StartTimer(backoff_timer));
            let next = Backoff { attempt: backoff.attempt, original_schedule_time: backoff.original_schedule_time };
            self.backoffs.insert(seq, next);
        }
    }

    /// What the program does of itself.
    fn act(&mut self, is_replaying: bool, commands: &mut Vec<Command>) {
        for _ in 0..self.dice.roll(4) {
            match self.dice.roll(12) {
                0..4 => self.cancel(commands),
                4 => self.ask_for_patch(is_replaying, commands),
                5 => commands.push(Command::UpsertWorkflowSearchAttributes(UpsertWorkflowSearchAttributes {
                    search_attributes: Some(SearchAttributes {
                        indexed_fields: [("CustomKeywordField".to_owned(), payload("value"))].into(),
                    }),
                })),
                6 => commands.push(Command::ModifyWorkflowProperties(ModifyWorkflowProperties {
                    upserted_memo: Some(Memo { fields: [("note".to_owned(), payload("value"))].into() }),
                })),
                _ => self.begin(commands),
            }
        }
        if !self.updates.is_empty() && self.dice.one_in(2) {
            let instance_id = self.updates.remove(0);
            let response = if self.dice.one_in(3) { Response::Rejected(failure("late")) } else { Response::Completed(payload("done")) };
            commands.push(answer(instance_id, response));
        }
        if self.dice.one_in(14) {
            self.is_over = true;
            let end = self.end();
            // What comes after the end is moved in front of it.
            let place = if self.dice.one_in(4) { self.dice.roll(commands.len() + 1) } else { commands.len() };
            commands.insert(place, end);
        }
    }

    /// `patched`, or `deprecate_patch`, as a language side does them. The two sides of a patch differ in their commands.
    fn ask_for_patch(&mut self, is_replaying: bool, commands: &mut Vec<Command>) {
        let patch_id = self.dice.pick(&["faster", "cheaper", "safer"]).to_owned();
        let deprecated = self.dice.one_in(4);
        let is_told = self.patches.contains(&patch_id);
        let is_new = *self.sides.entry(patch_id.clone()).or_insert(!is_replaying || is_told);
        if deprecated || is_new {
            commands.push(Command::SetPatchMarker(SetPatchMarker { patch_id, deprecated }));
        }
        if !deprecated {
            let (before, after) = (self.dice.roll(2), self.dice.roll(2));
            for _ in 0..if is_new { after } else { before } {
                self.begin(commands);
            }
        }
    }

    fn end(&mut self) -> Command {
        match self.dice.roll(5) {
            0 => Command::FailWorkflowExecution(FailWorkflowExecution { failure: Some(failure("failed")) }),
            1 => Command::CancelWorkflowExecution(CancelWorkflowExecution::default()),
            2 => Command::ContinueAsNewWorkflowExecution(ContinueAsNewWorkflowExecution {
                workflow_type: "Generated".to_owned(),
                ..Default::default()
            }),
            _ => Command::CompleteWorkflowExecution(CompleteWorkflowExecution { result: Some(payload("result")) }),
        }
    }

    fn begin(&mut self, commands: &mut Vec<Command>) {
        match self.dice.roll(10) {
            0 | 1 => {
                let seq = self.seq();
                self.timers.push(seq);
                let length = 1 + self.dice.roll(100) as i64;
                commands.push(Command::StartTimer(StartTimer { seq, start_to_fire_timeout: seconds(length) }));
            }
            2..=4 => self.schedule_activity(commands),
            5 | 6 => self.start_local(None, commands),
            7 => self.start_child(commands),
            8 => self.signal_external(commands),
            _ => {
                let seq = self.seq();
                self.cancel_requests.push(seq);
                commands.push(Command::RequestCancelExternalWorkflowExecution(RequestCancelExternalWorkflowExecution {
                    seq,
                    workflow_execution: Some(other_workflow(seq)),
                    reason: "enough".to_owned(),
                }));
            }
        }
    }

    fn schedule_activity(&mut self, commands: &mut Vec<Command>) {
        let seq = self.seq();
        self.activities.push(seq);
        let cancellation = self.dice.pick(&CANCELLATIONS);
        let activity_type = match cancellation {
            ActivityCancellationType::Abandon => LEFT_ALONE,
            _ => self.dice.pick(&["charge", "ship", "count"]),
        };
        commands.push(Command::ScheduleActivity(ScheduleActivity {
            seq,
            activity_id: seq.to_string(),
            activity_type: activity_type.to_owned(),
            task_queue: "generated".to_owned(),
            start_to_close_timeout: seconds(60),
            cancellation_type: cancellation as i32,
            ..Default::default()
        }));
    }

    fn start_local(&mut self, backoff: Option<Backoff>, commands: &mut Vec<Command>) {
        let seq = self.seq();
        self.locals.push(seq);
        let (attempt, original_schedule_time) = backoff.map_or((1, None), |backoff| (backoff.attempt, backoff.original_schedule_time));
        commands.push(Command::ScheduleLocalActivity(ScheduleLocalActivity {
            seq,
            activity_id: seq.to_string(),
            activity_type: self.dice.pick(&["look", "sum"]).to_owned(),
            attempt,
            original_schedule_time,
            start_to_close_timeout: seconds(60),
            cancellation_type: self.dice.pick(&CANCELLATIONS) as i32,
            ..Default::default()
        }));
    }

    fn start_child(&mut self, commands: &mut Vec<Command>) {
        let seq = self.seq();
        self.children.push(seq);
        commands.push(Command::StartChildWorkflowExecution(StartChildWorkflowExecution {
            seq,
            namespace: "default".to_owned(),
            workflow_id: format!("child-{seq}"),
            workflow_type: self.dice.pick(&["Child", "Other"]).to_owned(),
            task_queue: "generated".to_owned(),
            cancellation_type: self.dice.roll(4) as i32,
            ..Default::default()
        }));
    }

    fn signal_external(&mut self, commands: &mut Vec<Command>) {
        let seq = self.seq();
        self.signals.push(seq);
        let target = match self.children.last() {
            Some(child) if self.dice.one_in(2) => signal_external_workflow_execution::Target::ChildWorkflowId(format!("child-{child}")),
            _ => signal_external_workflow_execution::Target::WorkflowExecution(other_workflow(seq)),
        };
        commands.push(Command::SignalExternalWorkflowExecution(SignalExternalWorkflowExecution {
            seq,
            target: Some(target),
            signal_name: "wake".to_owned(),
            args: vec![payload("up")],
            ..Default::default()
        }));
    }

    /// Cancels something open. What it leaves open may be cancelled again.
    fn cancel(&mut self, commands: &mut Vec<Command>) {
        let kind = self.dice.roll(5);
        let open = match kind {
            0 => &mut self.timers,
            1 => &mut self.activities,
            2 => &mut self.locals,
            3 => &mut self.children,
            _ => &mut self.signals,
        };
        if open.is_empty() {
            return;
        }
        let index = self.dice.roll(open.len());
        let seq = if kind < 2 { open.remove(index) } else { open[index] };
        commands.push(match kind {
            0 => Command::CancelTimer(CancelTimer { seq }),
            1 => Command::RequestCancelActivity(RequestCancelActivity { seq }),
            2 => Command::RequestCancelLocalActivity(RequestCancelLocalActivity { seq }),
            3 => {
                Command::CancelChildWorkflowExecution(CancelChildWorkflowExecution { child_workflow_seq: seq, reason: "enough".to_owned() })
            }
            _ => Command::CancelSignalWorkflow(CancelSignalWorkflow { seq }),
        });
    }
}

fn answer(protocol_instance_id: String, response: Response) -> Command {
    Command::UpdateResponse(UpdateResponse { protocol_instance_id, response: Some(response) })
}

fn other_workflow(seq: u32) -> NamespacedWorkflowExecution {
    NamespacedWorkflowExecution { namespace: "default".to_owned(), workflow_id: format!("other-{seq}"), run_id: String::new() }
}
