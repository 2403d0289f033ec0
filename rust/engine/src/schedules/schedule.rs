//! One schedule: which starts are due, and what calls and ended workflows change.
//!
//! The driver calls [`Schedule::advance`] with the time before anything else, then what happened (`handle_*`), then
//! [`Schedule::poll_decision`] until it answers none: it starts and ends what the decision says and tells the schedule with
//! [`Schedule::handle_started`] and, when a workflow has ended, [`Schedule::handle_closed`]. [`Schedule::next_deadline`] says
//! when to call again.

use prost_wkt_types::Duration;
use temporalio_protos::temporal::api::{
    common::v1::{Payloads, WorkflowExecution},
    enums::v1::{ScheduleOverlapPolicy as Policy, WorkflowExecutionStatus as Status},
    failure::v1::Failure,
    schedule::v1::{Schedule as Definition, ScheduleActionResult, ScheduleInfo, SchedulePatch, SchedulePolicies, ScheduleState},
};

use super::{
    overlap::{Decision, decide},
    record::{BackfillRecord, BufferedStart, ScheduleRecord},
    spec::{Due, Spec},
};
use crate::state::time::{Nanos, SECOND, duration, length, nanos, timestamp};

const DEFAULT_CATCHUP: Nanos = 365 * 24 * 3600 * SECOND;
const MIN_CATCHUP: Nanos = 10 * SECOND;
/// How long a schedule is kept that has nothing more to do.
const RETENTION: Nanos = 7 * 24 * 3600 * SECOND;
/// Starts that wait; more are dropped and counted.
const MAX_BUFFER: usize = 1000;
/// Backfills fill no more, so that there is room for what the spec brings.
const MAX_BUFFERED_BY_BACKFILL: usize = MAX_BUFFER / 2;
/// Starts that one call of `advance` adds, and times it looks at: the writer has other work between two calls.
const MAX_STARTS_AT_ONCE: usize = 100;
const MAX_TIMES_AT_ONCE: usize = 10_000;
const MAX_BACKFILLS: usize = 1000;
const RECENT_ACTIONS: usize = 10;
/// Request ids of patches that are remembered.
const MAX_REQUESTS: usize = 100;

#[derive(Debug)]
pub struct Schedule {
    pub record: ScheduleRecord,
    spec: Spec,
    seed: String,
    /// The times it is filed under.
    pub deadline: Option<Nanos>,
    pub expiration: Option<Nanos>,
    /// The last `advance` stopped before its end.
    behind: bool,
}

/// How a workflow of the schedule ended.
pub struct Closed {
    pub status: Status,
    pub result: Option<Payloads>,
    pub failure: Option<Failure>,
}

/// A definition with what the caller left open. Its spec has to be canonical.
fn complete(mut schedule: Definition) -> Definition {
    let policies = schedule.policies.get_or_insert_with(SchedulePolicies::default);
    if policies.overlap_policy() == Policy::Unspecified {
        policies.overlap_policy = Policy::Skip as i32;
    }
    policies.catchup_window = Some(match &policies.catchup_window {
        None => duration(DEFAULT_CATCHUP),
        Some(Duration { seconds, .. }) if *seconds < MIN_CATCHUP / SECOND => duration(MIN_CATCHUP),
        Some(window) => *window,
    });
    schedule.state.get_or_insert_with(ScheduleState::default);
    schedule.spec.get_or_insert_default();
    schedule.action.get_or_insert_default();
    schedule
}

impl Schedule {
    /// A new one, from a definition with a canonical spec.
    pub fn new(id: String, namespace: &str, schedule: Definition, now: Nanos) -> Result<Schedule, String> {
        let info = ScheduleInfo { create_time: Some(timestamp(now)), ..Default::default() };
        let schedule = complete(schedule);
        Schedule::stored(
            ScheduleRecord { id, schedule, info, conflict_token: 1, done_until: now, create_time: now, ..Default::default() },
            namespace,
        )
    }

    /// One as it is in the file.
    pub fn stored(record: ScheduleRecord, namespace: &str) -> Result<Schedule, String> {
        let spec = Spec::new(record.schedule.spec.as_ref().unwrap_or(&Default::default()))?;
        let seed = format!("{namespace}-{}", record.id);
        Ok(Schedule { record, spec, seed, deadline: None, expiration: None, behind: false })
    }

    fn state(&self) -> &ScheduleState {
        static EMPTY: std::sync::LazyLock<ScheduleState> = std::sync::LazyLock::new(Default::default);
        self.record.schedule.state.as_ref().unwrap_or(&EMPTY)
    }

    fn state_mut(&mut self) -> &mut ScheduleState {
        self.record.schedule.state.get_or_insert_default()
    }

    fn catchup(&self) -> Nanos {
        self.record.schedule.policies.as_ref().map_or(DEFAULT_CATCHUP, |policies| length(&policies.catchup_window))
    }

    /// A start's policy, or the schedule's own.
    pub fn resolve(&self, policy: i32) -> Policy {
        let own = || self.record.schedule.policies.as_ref().map_or(Policy::Skip, SchedulePolicies::overlap_policy);
        match Policy::try_from(policy) {
            Ok(Policy::Unspecified) | Err(_) => Some(own()).filter(|own| *own != Policy::Unspecified).unwrap_or(Policy::Skip),
            Ok(policy) => policy,
        }
    }

    fn may_act(&self) -> bool {
        let state = self.state();
        !state.paused && (!state.limited_actions || state.remaining_actions > 0)
    }

    /// Whether an action may be taken now; it then counts.
    pub fn take_action(&mut self, manual: bool) -> bool {
        if !manual {
            if !self.may_act() {
                return false;
            }
            if self.state().limited_actions {
                self.state_mut().remaining_actions -= 1;
                self.record.conflict_token += 1;
            }
        }
        true
    }

    fn add_start(&mut self, due: Due, overlap_policy: i32, manual: bool) {
        if self.record.buffer.len() >= MAX_BUFFER {
            self.record.info.buffer_dropped += 1;
        } else {
            self.record.buffer.push(BufferedStart { nominal: due.nominal, at: due.at, overlap_policy, manual });
        }
    }

    /// Buffers what is due until `now`, then some of the backfills.
    pub fn advance(&mut self, now: Nanos) {
        self.behind = false;
        if !self.may_act() {
            // Nothing of this time is made up for later.
            self.record.done_until = self.record.done_until.max(now);
        } else {
            let mut starts = 0;
            for _ in 0..MAX_TIMES_AT_ONCE {
                let Some(due) = self.spec.next(&self.seed, self.record.done_until).filter(|due| due.at <= now) else {
                    self.advance_backfills();
                    return;
                };
                self.record.done_until = due.at;
                if self.record.update_time > due.at {
                    continue;
                }
                if now - due.at > self.catchup() {
                    self.record.info.missed_catchup_window += 1;
                    continue;
                }
                self.add_start(due, Policy::Unspecified as i32, false);
                starts += 1;
                if starts == MAX_STARTS_AT_ONCE {
                    break;
                }
            }
            self.behind = true;
        }
        self.advance_backfills();
    }

    fn advance_backfills(&mut self) {
        let mut left = MAX_STARTS_AT_ONCE;
        while left > 0 && self.record.buffer.len() < MAX_BUFFERED_BY_BACKFILL {
            let Some(backfill) = self.record.backfills.first().cloned() else { return };
            match self.spec.next(&self.seed, backfill.after).filter(|due| due.at <= backfill.until) {
                Some(due) => {
                    self.add_start(due, backfill.overlap_policy, true);
                    self.record.backfills[0].after = due.at;
                    left -= 1;
                }
                None => drop(self.record.backfills.remove(0)),
            }
        }
    }

    /// Whether a call with this id was done before; it is remembered.
    pub fn knows_request(&mut self, request_id: &str) -> bool {
        if request_id.is_empty() {
            return false;
        }
        if self.record.requests.iter().any(|known| known == request_id) {
            return true;
        }
        if self.record.requests.len() >= MAX_REQUESTS {
            self.record.requests.remove(0);
        }
        self.record.requests.push(request_id.into());
        false
    }

    pub fn handle_patch(&mut self, now: Nanos, patch: SchedulePatch) {
        if let Some(trigger) = patch.trigger_immediately {
            let at = trigger.scheduled_time.as_ref().map_or(now, nanos);
            self.add_start(Due { nominal: at, at }, trigger.overlap_policy, true);
        }
        for backfill in patch.backfill_request {
            if self.record.backfills.len() >= MAX_BACKFILLS {
                self.record.info.buffer_dropped += 1;
                continue;
            }
            let edge = |at: &Option<prost_wkt_types::Timestamp>| at.as_ref().map_or(0, nanos);
            self.record.backfills.push(BackfillRecord {
                // The time itself is included.
                after: edge(&backfill.start_time).saturating_sub(1_000_000),
                until: edge(&backfill.end_time),
                overlap_policy: backfill.overlap_policy,
            });
        }
        for (notes, paused) in [(patch.pause, true), (patch.unpause, false)] {
            if !notes.is_empty() {
                let state = self.state_mut();
                state.paused = paused;
                state.notes = notes;
                self.record.conflict_token += 1;
            }
        }
        self.advance_backfills();
    }

    /// Replaces the definition by one with a canonical spec.
    pub fn handle_update(&mut self, now: Nanos, schedule: Definition) -> Result<(), String> {
        let schedule = complete(schedule);
        self.spec = Spec::new(schedule.spec.as_ref().unwrap_or(&Default::default()))?;
        // Looked at again: what jitter put off until after the update is still to do.
        self.record.done_until = self.last_event().max(now - self.spec.longest_jitter());
        self.record.schedule = schedule;
        self.record.update_time = now;
        self.record.info.update_time = Some(timestamp(now));
        self.record.conflict_token += 1;
        self.advance(now);
        Ok(())
    }

    /// What to start and to end now; none when nothing changes.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        if self.record.buffer.is_empty() {
            return None;
        }
        let waiting = std::mem::take(&mut self.record.buffer);
        let before = waiting.len();
        let mut decision = decide(waiting, !self.record.info.running_workflows.is_empty(), |policy| self.resolve(policy));
        self.record.buffer = std::mem::take(&mut decision.kept);
        self.record.info.overlap_skipped += decision.skipped;
        (self.record.buffer.len() < before || decision.end.is_some()).then_some(decision)
    }

    /// A workflow was started; what runs beside others is not followed.
    #[allow(deprecated)] // nothing else in a description has room for it
    pub fn handle_started(&mut self, now: Nanos, start: &BufferedStart, execution: WorkflowExecution, alone: bool) {
        let info = &mut self.record.info;
        info.invalid_schedule_error.clear();
        info.action_count += 1;
        if alone {
            info.running_workflows.push(execution.clone());
        }
        info.recent_actions.push(ScheduleActionResult {
            schedule_time: Some(timestamp(start.at)),
            actual_time: Some(timestamp(now)),
            start_workflow_result: Some(execution),
            start_workflow_status: Status::Running as i32,
        });
        if info.recent_actions.len() > RECENT_ACTIONS {
            info.recent_actions.remove(0);
        }
    }

    /// An action could not be taken: descriptions say so until one can.
    #[allow(deprecated)]
    pub fn handle_refused(&mut self, start: &BufferedStart, reason: &str) {
        let scheduled = super::shown::rfc3339(start.nominal.div_euclid(SECOND));
        self.record.info.invalid_schedule_error = format!("the start of {scheduled} was refused: {reason}");
    }

    /// A workflow that it follows has ended.
    pub fn handle_closed(&mut self, workflow_id: &str, closed: Closed) {
        let info = &mut self.record.info;
        info.running_workflows.retain(|running| running.workflow_id != workflow_id);
        let is_it = |action: &&mut ScheduleActionResult| {
            action.start_workflow_result.as_ref().is_some_and(|execution| execution.workflow_id == workflow_id)
        };
        if let Some(action) = info.recent_actions.iter_mut().rev().find(is_it) {
            action.start_workflow_status = closed.status as i32;
        }
        let pauses = self.record.schedule.policies.as_ref().is_some_and(|policies| policies.pause_on_failure);
        let notes = match closed.status {
            Status::Failed => {
                let message = closed.failure.as_ref().map_or("", |failure| &failure.message);
                Some(format!("paused due to workflow failure: {workflow_id}: {message}"))
            }
            Status::TimedOut => Some(format!("paused due to workflow timeout: {workflow_id}")),
            _ => None,
        };
        if let Some(notes) = notes.filter(|_| pauses && !self.state().paused) {
            let state = self.state_mut();
            state.paused = true;
            state.notes = notes;
            self.record.conflict_token += 1;
        }
        if closed.result.is_some() {
            self.record.last_completion_result = closed.result;
            self.record.continued_failure = None;
        } else if closed.failure.is_some() {
            self.record.continued_failure = closed.failure;
        }
    }

    /// When to call `advance` again; none while it waits for calls and workflows only.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let fills = !self.record.backfills.is_empty() && self.record.buffer.len() < MAX_BUFFERED_BY_BACKFILL;
        if self.behind || fills {
            return Some(self.record.done_until);
        }
        if !self.may_act() {
            return None;
        }
        self.spec.next(&self.seed, self.record.done_until).map(|due| due.at)
    }

    /// When it is given up: it has nothing more to do, and nobody changed that for long.
    pub fn next_expiration(&self) -> Option<Nanos> {
        let over = !self.state().paused && self.next_deadline().is_none() && self.record.backfills.is_empty();
        (over && self.record.buffer.is_empty()).then(|| self.last_event().saturating_add(RETENTION))
    }

    fn last_event(&self) -> Nanos {
        let acted = self.record.info.recent_actions.last().and_then(|action| action.actual_time.as_ref()).map_or(0, nanos);
        acted.max(self.record.create_time).max(self.record.update_time)
    }

    /// The next times at which it will act, paused or not.
    pub fn future_times(&self, count: usize) -> Vec<Nanos> {
        let state = self.state();
        let most = if state.limited_actions { usize::try_from(state.remaining_actions).unwrap_or(0) } else { usize::MAX };
        let mut times = Vec::new();
        let mut after = self.record.done_until;
        while times.len() < count.min(most)
            && let Some(due) = self.spec.next(&self.seed, after)
        {
            after = due.at;
            if due.at >= self.record.update_time {
                times.push(due.at);
            }
        }
        times
    }

    pub fn matching_times(&self, start: Nanos, end: Nanos) -> Vec<Nanos> {
        self.spec.matching_times(&self.seed, start, end)
    }
}
