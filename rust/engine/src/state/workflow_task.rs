//! The workflow task of a run: at most one is pending, scheduled or started.
//!
//! A task above attempt 1 is transient: nothing of it is in the history until it completes, so that a workflow that
//! fails a thousand times does not grow. Events that come in meanwhile make it an ordinary first attempt again, and so does a failure
//! of a worker that had the workflow in its cache.
//!
//! A speculative task is one that only updates asked for. It has no events either, and no place in the file: if all its updates are
//! rejected, it never was. Anything else that happens to the run makes an ordinary task of it first.

use temporalio_protos::temporal::api::{
    enums::v1::{TaskQueueKind, TimeoutType, WorkflowTaskFailedCause},
    failure::v1::Failure,
    history::v1::{
        HistoryEvent, WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes, WorkflowTaskStartedEventAttributes,
        WorkflowTaskTimedOutEventAttributes, history_event::Attributes,
    },
    taskqueue::v1::TaskQueue,
};

use super::{
    limit::{SUGGEST_BYTES, SUGGEST_EVENTS},
    record::TaskRecord,
    run::{Ready, Run},
    time::{Nanos, SECOND, duration, length, timestamp},
    update::SUGGEST_TOTAL,
};

/// The service's default workflow task timeout.
pub const DEFAULT_TASK_TIMEOUT: Nanos = 10 * SECOND;
/// The second attempt follows at once, later ones after a pause that doubles up to ten minutes.
const FIRST_RETRY_PAUSE: Nanos = SECOND;
/// A speculative task that no worker takes for so long becomes an ordinary one.
const SPECULATIVE_WAIT: Nanos = 5 * SECOND;
const MAXIMUM_RETRY_PAUSE: Nanos = 600 * SECOND;
/// The service refuses queries and updates of a workflow whose task is at this attempt or a later one.
const FAILING_ATTEMPT: i32 = 3;

impl Run {
    pub fn task_timeout(&self) -> Nanos {
        match length(&self.started().workflow_task_timeout) {
            0 => DEFAULT_TASK_TIMEOUT,
            timeout => timeout,
        }
    }

    /// Schedules a workflow task unless one is pending or the first is put off.
    pub fn schedule_task(&mut self, now: Nanos) {
        if self.is_open() && self.record.task.is_none() && self.record.first_task_time == 0 {
            self.schedule_attempt(now, 1, now, 0);
        }
    }

    /// Schedules a speculative task unless there is one that can take the updates along.
    pub fn schedule_speculative_task(&mut self, now: Nanos) {
        if !self.is_open() || self.record.task.is_some() || self.record.first_task_time != 0 {
            return;
        }
        self.record.task = Some(TaskRecord {
            scheduled_event_id: self.record.next_event_id,
            attempt: 1,
            scheduled_time: now,
            original_scheduled_time: now,
            sticky: !self.record.sticky_queue.is_empty(),
            speculative: true,
            ..Default::default()
        });
        self.ready.push(Ready::WorkflowTask);
    }

    /// Makes an ordinary task of a speculative one: writes the events that it has so far.
    pub fn write_speculative(&mut self) {
        let Some(mut task) = self.record.task.take_if(|task| task.speculative) else { return };
        task.speculative = false;
        let scheduled = self.add(task.scheduled_time, self.scheduled_attributes(task.attempt, task.sticky));
        debug_assert_eq!(scheduled, task.scheduled_event_id);
        if task.is_started() {
            let started = self.add(task.started_time, Self::started_attributes(&task));
            debug_assert_eq!(started, task.started_event_id);
        }
        self.record.task = Some(task);
    }

    fn schedule_attempt(&mut self, now: Nanos, attempt: i32, original: Nanos, not_before: Nanos) {
        let sticky = !self.record.sticky_queue.is_empty() && attempt == 1;
        let scheduled_event_id =
            if attempt > 1 { self.record.next_event_id } else { self.add(now, self.scheduled_attributes(attempt, sticky)) };
        self.record.task = Some(TaskRecord {
            scheduled_event_id,
            attempt,
            scheduled_time: now,
            original_scheduled_time: original,
            not_before,
            sticky,
            ..Default::default()
        });
        self.dirty = true;
        if not_before <= now {
            self.ready.push(Ready::WorkflowTask);
        }
    }

    fn scheduled_attributes(&self, attempt: i32, sticky: bool) -> Attributes {
        let normal = self.task_queue().to_owned();
        let task_queue = if sticky {
            TaskQueue { name: self.record.sticky_queue.clone(), kind: TaskQueueKind::Sticky as i32, normal_name: normal }
        } else {
            TaskQueue { name: normal, kind: TaskQueueKind::Normal as i32, normal_name: String::new() }
        };
        Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes {
            task_queue: Some(task_queue),
            start_to_close_timeout: Some(duration(self.task_timeout())),
            attempt,
        })
    }

    fn started_attributes(task: &TaskRecord) -> Attributes {
        Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            identity: task.identity.clone(),
            request_id: task.request_id.clone(),
            suggest_continue_as_new: task.suggest_continue_as_new,
            history_size_bytes: task.history_bytes,
            ..Default::default()
        })
    }

    /// Hands the task out. The started event needs no commit of its own: without one, a crash leaves the task
    /// scheduled, and that is the truth again.
    pub fn start_task(&mut self, now: Nanos, identity: &str, request_id: String, epoch: i64) -> Option<&TaskRecord> {
        let mut task = self.record.task.take().filter(|task| !task.is_started())?;
        let was_dirty = self.dirty;
        if task.is_unwritten() && task.scheduled_event_id != self.record.next_event_id {
            task.attempt = 1;
            task.speculative = false;
            task.scheduled_event_id = self.add(task.scheduled_time, self.scheduled_attributes(1, task.sticky));
        }
        task.started_time = now;
        task.identity = identity.into();
        task.request_id = request_id;
        task.epoch = epoch;
        task.history_bytes = self.record.history_bytes;
        task.suggest_continue_as_new =
            self.last_event_id() >= SUGGEST_EVENTS || self.record.history_bytes >= SUGGEST_BYTES || self.total_updates() >= SUGGEST_TOTAL;
        task.started_event_id =
            if task.is_unwritten() { self.record.next_event_id + 1 } else { self.add(now, Self::started_attributes(&task)) };
        self.dirty = was_dirty;
        self.record.task = Some(task);
        self.record.task.as_ref()
    }

    /// The events of a started task that are not written yet, for the poller only.
    pub fn transient_events(&self) -> Vec<HistoryEvent> {
        let Some(task) = self.record.task.as_ref().filter(|task| task.is_unwritten() && task.is_started()) else { return Vec::new() };
        let scheduled = self.scheduled_attributes(task.attempt, task.sticky);
        let event = |id: i64, at: Nanos, attributes: Attributes| HistoryEvent {
            event_id: id,
            event_time: Some(timestamp(at)),
            event_type: super::history::event_type(&attributes) as i32,
            attributes: Some(attributes),
            ..Default::default()
        };
        vec![
            event(task.scheduled_event_id, task.scheduled_time, scheduled),
            event(task.started_event_id, task.started_time, Self::started_attributes(task)),
        ]
    }

    /// Writes the events of a transient or speculative task that completes.
    pub fn write_transient(&mut self) {
        let Some(task) = self.record.task.clone().filter(|task| task.is_unwritten() && task.is_started()) else { return };
        let scheduled = self.add(task.scheduled_time, self.scheduled_attributes(task.attempt, task.sticky));
        let started = self.add(task.started_time, Self::started_attributes(&task));
        debug_assert_eq!((scheduled, started), (task.scheduled_event_id, task.started_event_id));
    }

    /// The started task failed; the next attempt is scheduled.
    pub fn fail_task(&mut self, now: Nanos, cause: WorkflowTaskFailedCause, failure: Option<Failure>, identity: &str) {
        if let Some(task) = self.end_failed_task(now, cause, failure, identity) {
            self.after_failure(now, &task, cause != WorkflowTaskFailedCause::UnhandledCommand);
        }
    }

    /// The started task failed and no attempt follows from it.
    pub fn end_failed_task(
        &mut self,
        now: Nanos,
        cause: WorkflowTaskFailedCause,
        failure: Option<Failure>,
        identity: &str,
    ) -> Option<TaskRecord> {
        self.write_speculative();
        let task = self.record.task.take()?;
        let message = failure.as_ref().map_or(String::new(), |failure| failure.message.clone());
        if !task.is_transient() {
            self.add(
                now,
                Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
                    scheduled_event_id: task.scheduled_event_id,
                    started_event_id: task.started_event_id,
                    cause: cause as i32,
                    failure,
                    identity: identity.into(),
                    ..Default::default()
                }),
            );
        }
        self.record.task_problem_cause = format!("WorkflowTaskFailedCause{}", pascal(cause.as_str_name(), "WORKFLOW_TASK_FAILED_CAUSE_"));
        self.record.task_problem = message;
        self.attributes_changed = true;
        Some(task)
    }

    fn time_out_task(&mut self, now: Nanos, kind: TimeoutType) {
        self.write_speculative();
        let Some(task) = self.record.task.take() else { return };
        if !task.is_transient() {
            self.add(
                now,
                Attributes::WorkflowTaskTimedOutEventAttributes(WorkflowTaskTimedOutEventAttributes {
                    scheduled_event_id: task.scheduled_event_id,
                    started_event_id: task.started_event_id,
                    timeout_type: kind as i32,
                }),
            );
        }
        if kind == TimeoutType::ScheduleToStart {
            self.clear_sticky();
            self.flush_buffered();
            self.schedule_attempt(now, 1, task.original_scheduled_time, 0);
        } else {
            self.record.task_problem_cause = "WorkflowTaskTimedOutCauseStartToClose".into();
            self.record.task_problem = "the worker did not answer within the workflow task timeout".into();
            self.attributes_changed = true;
            self.after_failure(now, &task, true);
        }
    }

    fn after_failure(&mut self, now: Nanos, task: &TaskRecord, counts: bool) {
        // What fails on a sticky queue may be the cache's fault: the first attempt with the whole history is yet to come.
        let sticky = !self.record.sticky_queue.is_empty();
        if counts && !sticky {
            self.record.task_failures += 1;
        }
        self.clear_sticky();
        let started = std::mem::take(&mut self.started_queries);
        self.queries.extend(started);
        if self.flush_buffered() || sticky {
            self.schedule_attempt(now, 1, now, self.retry_time(now));
        } else {
            self.schedule_attempt(now, task.attempt + 1, task.original_scheduled_time, self.retry_time(now));
        }
    }

    /// So often that queries and updates are refused. A closed workflow stays as it was.
    pub fn keeps_failing(&self) -> bool {
        self.record.task.as_ref().map_or(self.record.task_failures + 1, |task| task.attempt) >= FAILING_ATTEMPT
    }

    fn retry_time(&self, now: Nanos) -> Nanos {
        match self.record.task_failures {
            failures if failures < 2 => 0,
            failures => now + (FIRST_RETRY_PAUSE << (failures - 2).min(10)).min(MAXIMUM_RETRY_PAUSE),
        }
    }

    pub fn clear_sticky(&mut self) {
        if !self.record.sticky_queue.is_empty() {
            self.record.sticky_queue.clear();
            self.record.sticky_timeout = 0;
            self.dirty = true;
        }
        if let Some(task) = self.record.task.as_mut().filter(|task| !task.is_started()) {
            task.sticky = false;
        }
    }

    /// When the pending task times out or its retry becomes due.
    pub fn task_deadline(&self) -> Option<Nanos> {
        let task = self.record.task.as_ref()?;
        if task.is_started() {
            Some(task.started_time + self.task_timeout())
        } else if task.not_before > task.scheduled_time {
            Some(task.not_before)
        } else if task.speculative {
            Some(task.scheduled_time + SPECULATIVE_WAIT)
        } else if task.sticky && self.record.sticky_timeout > 0 {
            Some(task.scheduled_time + self.record.sticky_timeout)
        } else {
            None
        }
    }

    /// What is due for the workflow task.
    pub fn handle_task_deadline(&mut self, now: Nanos) {
        let Some(task) = self.record.task.as_mut() else { return };
        if task.is_started() {
            self.time_out_task(now, TimeoutType::StartToClose);
        } else if task.not_before > task.scheduled_time {
            task.scheduled_time = task.not_before;
            self.dirty = true;
            self.ready.push(Ready::WorkflowTask);
        } else {
            self.time_out_task(now, TimeoutType::ScheduleToStart);
        }
    }

    /// A task of an earlier process of this engine times out at once; sticky queues of that process are gone.
    pub fn recover_task(&mut self, now: Nanos, epoch: i64) {
        self.clear_sticky();
        let Some(task) = self.record.task.as_ref() else { return };
        if task.is_started() {
            if task.epoch < epoch {
                let failures = self.record.task_failures;
                let (cause, text) = (self.record.task_problem_cause.clone(), self.record.task_problem.clone());
                self.time_out_task(now, TimeoutType::StartToClose);
                // The workflow is not at fault: neither a pause nor a reported problem.
                self.record.task_failures = failures;
                (self.record.task_problem_cause, self.record.task_problem) = (cause, text);
                self.ready.clear();
                if let Some(task) = self.record.task.as_mut() {
                    task.not_before = 0;
                }
                self.ready.push(Ready::WorkflowTask);
            }
        } else if task.not_before <= task.scheduled_time {
            self.ready.push(Ready::WorkflowTask);
        }
    }
}

pub fn pascal(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix)
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_string() + &letters.as_str().to_lowercase()).unwrap_or_default()
        })
        .collect()
}
