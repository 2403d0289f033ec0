//! The local activities of a run: requests to the worker, results from it, and the markers that a replay looks ahead to.
//!
//! A replay must tell the code of an outcome in the activation in which it was told live, although the marker comes only
//! with the commands of that task: so the markers of the next stretch are looked at before the code runs. Each carries the
//! index of its activation within the task; one of a later activation is held until then.

use super::{Annotations, Key, Subject, Workflow};
use crate::{
    fault::Fault,
    local::{LocalRequest, LocalResult, LocalStart},
    machines::{CancelAction, Finding, LocalActivity, Machine, cancelled},
    marker::Marker,
};
use prost_wkt_types::{Duration, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration as StdDuration,
};
use temporalio_protos::{coresdk::workflow_commands::ScheduleLocalActivity, temporal::api::history::v1::HistoryEvent};

/// Backoffs longer than this are waited for by a timer of the run, when the command does not say otherwise.
const DEFAULT_RETRY_THRESHOLD_SECONDS: i64 = 60;

#[derive(Debug, Default)]
pub(super) struct LocalWork {
    requests: Vec<LocalRequest>,
    /// Requested from the worker, by number, and not resolved.
    running: BTreeSet<u32>,
    /// Asked for in the replay, with no marker so far, in the order of asking.
    awaiting: BTreeMap<Key, ScheduleLocalActivity>,
    annotations: BTreeMap<Key, Annotations>,
    /// Markers of the next stretch that were not told yet, in the order of the history.
    known: VecDeque<Marker>,
    /// Results that came while the code was busy or no task was open.
    deferred: Vec<LocalResult>,
    /// When the run's timers are due.
    timers: BTreeMap<u32, StdDuration>,
    /// How many activations the current task has had. It goes into the markers.
    activation_index: u64,
}

impl LocalWork {
    pub(super) fn begin_task(&mut self) {
        self.activation_index = 0;
    }

    pub(super) fn count_activation(&mut self) {
        self.activation_index += 1;
    }

    /// The run has ended: nothing of it matters any more.
    pub(super) fn finish(&mut self) {
        self.requests.clear();
        self.running.clear();
        self.awaiting.clear();
        self.deferred.clear();
    }

    pub(super) fn note_timer(&mut self, seq: u32, length: Option<Duration>, now: Option<Timestamp>) {
        let length = length.and_then(|length| StdDuration::try_from(length).ok()).unwrap_or_default();
        self.timers.insert(seq, since_epoch(now).saturating_add(length));
    }

    pub(super) fn forget_timer(&mut self, seq: u32) {
        self.timers.remove(&seq);
    }

    /// Takes a request to start back, if the worker does not have it yet.
    fn take_back(&mut self, seq: u32) -> bool {
        let before = self.requests.len();
        self.requests.retain(|request| !matches!(request, LocalRequest::Start(start) if start.command.seq == seq));
        self.requests.len() < before
    }

    fn is_held(&self, marker: &Marker) -> bool {
        marker.data.activation_index.is_some_and(|index| index > self.activation_index)
    }
}

impl Workflow {
    /// What the worker is to do.
    pub(crate) fn take_local_requests(&mut self) -> Vec<LocalRequest> {
        std::mem::take(&mut self.local.requests)
    }

    /// True while the worker runs something whose outcome the code waits for, or has brought one that was not told yet.
    pub(crate) fn has_local_work(&self) -> bool {
        !self.local.running.is_empty()
    }

    /// True while the worker runs something whose outcome the code waits for.
    pub(crate) fn has_running_locals(&self) -> bool {
        self.local.running.len() > self.local.deferred.len()
    }

    /// From the start of the task to the first timer that is due; none when no timer runs.
    pub(crate) fn until_first_timer(&self) -> Option<StdDuration> {
        let first = self.local.timers.values().min()?;
        Some(first.saturating_sub(since_epoch(self.task_time)))
    }

    /// Keeps a result until the code can be told.
    pub(crate) fn defer_local_result(&mut self, result: LocalResult) {
        if self.local.running.contains(&result.seq) && !self.local.deferred.iter().any(|other| other.seq == result.seq) {
            self.local.deferred.push(result);
        }
    }

    /// Tells the code what was deferred.
    pub(crate) fn apply_deferred(&mut self) {
        for result in std::mem::take(&mut self.local.deferred) {
            let Some(key) = self.by_subject.get(&Subject::LocalActivity(result.seq)).copied() else { continue };
            let LocalResult { outcome, attempt, runtime, backoff, .. } = result;
            self.resolve_local(key, result.seq, Finding { outcome, attempt, runtime, backoff });
        }
    }

    fn resolve_local(&mut self, key: Key, seq: u32, finding: Finding) {
        self.local.running.remove(&seq);
        let index = self.local.activation_index;
        let Machine::LocalActivity(activity) = &mut self.machines[key] else { return };
        let effects = activity.resolve(finding, index);
        let annotations = self.local.annotations.remove(&key).unwrap_or_default();
        self.handle_effects(key, effects, annotations);
    }

    pub(super) fn schedule_local(&mut self, mut command: ScheduleLocalActivity, annotations: Annotations) -> Result<(), Fault> {
        complete_command(&mut command)?;
        command.original_schedule_time = command.original_schedule_time.or(self.time);
        let seq = command.seq;
        let key = self.add_machine(Machine::LocalActivity(LocalActivity::new(&command, self.time, self.replaying)));
        if self.by_subject.insert(Subject::LocalActivity(seq), key).is_some() {
            return Err(Fault::Fatal(format!("the code gave two commands for the local activity number {seq}")));
        }
        self.local.annotations.insert(key, annotations);
        if self.replaying {
            self.local.awaiting.insert(key, command);
        } else {
            self.request_local(command);
        }
        Ok(())
    }

    fn request_local(&mut self, command: ScheduleLocalActivity) {
        self.local.running.insert(command.seq);
        let (workflow_id, workflow_type) = (self.workflow_id.clone(), self.workflow_type.clone());
        self.local.requests.push(LocalRequest::Start(Box::new(LocalStart { command, workflow_id, workflow_type, now: self.time })));
    }

    /// The run has reached a live task: what still awaits a marker never got one.
    pub(super) fn start_awaiting_locals(&mut self) {
        for (key, command) in std::mem::take(&mut self.local.awaiting) {
            let Machine::LocalActivity(activity) = &mut self.machines[key] else { continue };
            if !activity.go_live() {
                continue;
            }
            if activity.is_cancel_replayed() {
                self.resolve_local(key, command.seq, never_ran());
            } else {
                self.request_local(command);
            }
        }
    }

    pub(super) fn cancel_local(&mut self, seq: u32) -> Result<(), Fault> {
        let Some(key) = self.by_subject.get(&Subject::LocalActivity(seq)).copied() else {
            return Err(Fault::Nondeterminism(format!("the code cancelled the local activity number {seq}, which it never started")));
        };
        let Machine::LocalActivity(activity) = &mut self.machines[key] else { return Ok(()) };
        let (action, effects) = activity.cancel(self.local.activation_index);
        match action {
            CancelAction::Nothing => {}
            CancelAction::LookAhead => {
                let due = self.local.known.iter().position(|marker| marker.data.seq == seq && !self.local.is_held(marker));
                if let Some(marker) = due.and_then(|index| self.local.known.remove(index)) {
                    self.foresee_local(key, marker);
                }
            }
            CancelAction::AskWorker if self.local.take_back(seq) => {
                self.resolve_local(key, seq, never_ran());
            }
            CancelAction::AskWorker => self.local.requests.push(LocalRequest::Cancel { seq }),
            CancelAction::Told { let_run } => {
                self.local.running.remove(&seq);
                self.local.deferred.retain(|result| result.seq != seq);
                if !self.local.take_back(seq) {
                    self.local.requests.push(if let_run { LocalRequest::LetRun { seq } } else { LocalRequest::Drop { seq } });
                }
                let annotations = self.local.annotations.remove(&key).unwrap_or_default();
                self.handle_effects(key, effects, annotations);
            }
        }
        Ok(())
    }

    // ---- replay ----

    /// Takes the markers of the next stretch in, and tells what is due.
    pub(super) fn look_ahead_to_markers(&mut self) -> Result<(), Fault> {
        for event in self.history.peek_next() {
            let Some(marker) = Marker::of_event(event)? else { continue };
            let machine = self.by_subject.get(&Subject::LocalActivity(marker.data.seq)).map(|key| &self.machines[*key]);
            // One that this worker ran itself waits for its event, not for its outcome.
            if machine.is_none_or(|machine| matches!(machine, Machine::LocalActivity(activity) if activity.awaits_marker())) {
                self.local.known.push_back(marker);
            }
        }
        self.apply_known();
        Ok(())
    }

    /// Tells the known outcomes that are due, in the order of their markers, up to the first that the code has not asked for.
    /// When nothing else would give the code a turn, activations passed live that left no trace (of a rejected update): the next one
    /// that is held is then due, and what was told with it, but not what came later still.
    pub(super) fn apply_known(&mut self) {
        self.apply_due();
        if !self.jobs.is_empty() {
            return;
        }
        let is_asked_for = |marker: &&Marker| self.by_subject.contains_key(&Subject::LocalActivity(marker.data.seq));
        if let Some(index) = self.local.known.front().filter(is_asked_for).and_then(|marker| marker.data.activation_index) {
            self.local.activation_index = self.local.activation_index.max(index);
            self.apply_due();
        }
    }

    fn apply_due(&mut self) {
        while let Some(marker) = self.local.known.front() {
            let Some(key) = self.by_subject.get(&Subject::LocalActivity(marker.data.seq)).copied() else { return };
            if self.local.is_held(marker) {
                return;
            }
            let Some(marker) = self.local.known.pop_front() else { return };
            self.foresee_local(key, marker);
        }
    }

    fn foresee_local(&mut self, key: Key, marker: Marker) {
        let Machine::LocalActivity(activity) = &mut self.machines[key] else { return };
        let effects = activity.foresee(marker);
        self.local.awaiting.remove(&key);
        let annotations = self.local.annotations.remove(&key).unwrap_or_default();
        self.handle_effects(key, effects, annotations);
    }

    /// Applies a local activity's marker that answers no command of this worker. False when it does, or is something else.
    pub(super) fn apply_foreseen_marker(&mut self, event: &HistoryEvent, check_ids: bool) -> Result<bool, Fault> {
        let Some(marker) = Marker::of_event(event)? else { return Ok(false) };
        let Some(key) = self.by_subject.get(&Subject::LocalActivity(marker.data.seq)).copied() else {
            return Err(Fault::Nondeterminism(format!(
                "event {} records the local activity '{}' of type '{}', which the code did not ask for",
                event.event_id, marker.data.activity_id, marker.data.activity_type
            )));
        };
        let Machine::LocalActivity(activity) = &mut self.machines[key] else { return Ok(false) };
        if !activity.is_foreseen() {
            return Ok(false);
        }
        activity.handle_event(event, check_ids)?;
        Ok(true)
    }
}

/// Of what was cancelled before this worker ran it.
fn never_ran() -> Finding {
    Finding { outcome: cancelled(), attempt: 0, runtime: StdDuration::ZERO, backoff: None }
}

fn since_epoch(time: Option<Timestamp>) -> StdDuration {
    let time = time.unwrap_or_default();
    StdDuration::new(u64::try_from(time.seconds).unwrap_or_default(), u32::try_from(time.nanos).unwrap_or_default())
}

/// Checks a command and fills in what it leaves open.
fn complete_command(command: &mut ScheduleLocalActivity) -> Result<(), Fault> {
    let length = |value: Option<Duration>| value.and_then(|value| StdDuration::try_from(value).ok()).filter(|value| !value.is_zero());
    let close = length(command.schedule_to_close_timeout);
    let fit = |timeout: Option<Duration>| match (length(timeout), close) {
        (Some(own), Some(close)) if own > close => command.schedule_to_close_timeout,
        (own, _) => own.and(timeout),
    };
    if close.is_none() && length(command.start_to_close_timeout).is_none() {
        return Err(Fault::Fatal(format!(
            "the code asked for the local activity '{}' of type '{}' without a start-to-close and without a schedule-to-close timeout",
            command.activity_id, command.activity_type
        )));
    }
    let (start_to_close, schedule_to_start) = (fit(command.start_to_close_timeout), fit(command.schedule_to_start_timeout));
    command.start_to_close_timeout = start_to_close;
    command.schedule_to_start_timeout = schedule_to_start;
    command.attempt = command.attempt.max(1);
    command.local_retry_threshold.get_or_insert(Duration { seconds: DEFAULT_RETRY_THRESHOLD_SECONDS, nanos: 0 });
    Ok(())
}
