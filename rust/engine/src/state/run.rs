//! One run in memory: its record, its activities, the end of its history, and what changed since the last commit.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use temporalio_protos::temporal::api::{
    enums::v1::{EventType, WorkflowExecutionStatus},
    history::v1::{HistoryEvent, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    sdk::v1::UserMetadata,
};

use super::{
    history::{event_type, moves_to_the_end},
    limit::MAX_TAIL_EVENTS,
    record::{ActivityRecord, RunRecord},
    time::{Nanos, timestamp},
    update::{Ended, Update},
};

pub type RunKey = i64;

/// The service numbers events' tasks from far above zero; ours only need to grow.
const FIRST_TASK_ID: i64 = 1 << 20;

/// Work that became ready for the task queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    WorkflowTask,
    Activity(i64),
}

#[derive(Debug, Default)]
pub struct Run {
    pub key: RunKey,
    pub record: RunRecord,
    pub activities: BTreeMap<i64, ActivityRecord>,
    /// The last events, decoded; the first of them has the id `tail_first`.
    pub tail: Vec<HistoryEvent>,
    pub tail_first: i64,
    /// Events below are in the file.
    pub stored_next_event_id: i64,
    /// What lists find it by changed since the last commit.
    pub attributes_changed: bool,
    /// Needs a transaction.
    pub dirty: bool,
    /// Its row is not in the file yet.
    pub is_new: bool,
    pub dirty_activities: BTreeSet<i64>,
    pub ready: Vec<Ready>,
    /// Queries that wait for a workflow task, and those the started task carries.
    pub queries: Vec<u64>,
    pub started_queries: Vec<u64>,
    /// Updates that are not over, and those that are but whose callers were not told.
    pub updates: BTreeMap<String, Update>,
    pub ended_updates: Vec<Ended>,
    pub update_count: u64,
    /// The deadline this run is filed under.
    pub deadline: Option<Nanos>,
    /// Ended, and neither parent nor children have been told.
    pub just_closed: bool,
    /// What was filed in the busy counter: started tasks and activities.
    pub busy: usize,
    /// The commands of a workflow task are being applied: their events come first, what follows from them waits.
    pub applies_commands: bool,
    /// Its rows go with the next commit.
    pub is_deleted: bool,
}

impl Run {
    /// A run whose history is empty; the caller adds the first event.
    pub fn new(key: RunKey, workflow_id: String, run_id: String, now: Nanos) -> Run {
        let record = RunRecord {
            workflow_id,
            run_id,
            start_time: now,
            status: WorkflowExecutionStatus::Running as i32,
            next_event_id: 1,
            ..Default::default()
        };
        Run { key, record, tail_first: 1, stored_next_event_id: 1, dirty: true, is_new: true, ..Default::default() }
    }

    /// A run as it is in the file.
    pub fn stored(key: RunKey, record: RunRecord, activities: BTreeMap<i64, ActivityRecord>) -> Run {
        let next = record.next_event_id;
        Run { key, record, activities, tail_first: next, stored_next_event_id: next, ..Default::default() }
    }

    pub fn is_open(&self) -> bool {
        self.record.status == WorkflowExecutionStatus::Running as i32
    }

    pub fn started(&self) -> &WorkflowExecutionStartedEventAttributes {
        static EMPTY: std::sync::LazyLock<WorkflowExecutionStartedEventAttributes> = std::sync::LazyLock::new(Default::default);
        self.record.started.as_ref().unwrap_or(&EMPTY)
    }

    pub fn task_queue(&self) -> &str {
        self.started().task_queue.as_ref().map_or("", |queue| queue.name.as_str())
    }

    pub fn workflow_type(&self) -> &str {
        self.started().workflow_type.as_ref().map_or("", |kind| kind.name.as_str())
    }

    pub fn last_event_id(&self) -> i64 {
        self.record.next_event_id - 1
    }

    /// Appends an event and answers its id.
    pub fn add(&mut self, now: Nanos, attributes: Attributes) -> i64 {
        let event = self.event(now, attributes);
        self.push(event)
    }

    fn event(&self, now: Nanos, attributes: Attributes) -> HistoryEvent {
        let kind = event_type(&attributes);
        HistoryEvent { event_time: Some(timestamp(now)), event_type: kind as i32, attributes: Some(attributes), ..Default::default() }
    }

    pub fn push(&mut self, mut event: HistoryEvent) -> i64 {
        let id = self.record.next_event_id;
        event.event_id = id;
        event.task_id = FIRST_TASK_ID + id;
        self.record.history_bytes += event.encoded_len() as i64;
        self.record.next_event_id = id + 1;
        self.tail.push(event);
        self.dirty = true;
        id
    }

    /// Adds what a command said about itself to the event it made, the one at this place of the tail.
    pub fn annotate(&mut self, index: usize, metadata: Option<UserMetadata>) {
        let Some(event) = self.tail.get_mut(index).filter(|_| metadata.is_some()) else { return };
        let before = event.encoded_len();
        event.user_metadata = metadata;
        self.record.history_bytes += (event.encoded_len() - before) as i64;
    }

    /// Appends an event that came from outside a workflow task: while a task is started it waits for the task's end,
    /// because the worker's commands must directly follow what the worker has seen.
    ///
    /// Answers the event's id, or none while it waits.
    pub fn add_outside(&mut self, now: Nanos, attributes: Attributes) -> Option<i64> {
        self.write_speculative();
        if self.applies_commands || self.record.task.as_ref().is_some_and(|task| task.is_started()) {
            let event = self.event(now, attributes);
            self.record.buffered.push(event);
            self.dirty = true;
            None
        } else {
            Some(self.add(now, attributes))
        }
    }

    /// Moves the waiting events into the history; true when there were any. Ends of activities and children go last, as the
    /// service orders them, and learn the ids of their starts.
    pub fn flush_buffered(&mut self) -> bool {
        if self.record.buffered.is_empty() {
            return false;
        }
        let (last, first): (Vec<_>, Vec<_>) = std::mem::take(&mut self.record.buffered).into_iter().partition(moves_to_the_end);
        let mut starts = BTreeMap::new();
        for mut event in first.into_iter().chain(last) {
            if let Some((scheduled, started)) = super::history::end_ids(&mut event)
                && let Some(id) = starts.get(&scheduled)
            {
                *started = *id;
            }
            let scheduled = match &event.attributes {
                Some(Attributes::ActivityTaskStartedEventAttributes(attributes)) => Some(attributes.scheduled_event_id),
                Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(attributes)) => Some(attributes.initiated_event_id),
                _ => None,
            };
            let id = self.push(event);
            if let Some(scheduled) = scheduled {
                starts.insert(scheduled, id);
                if let Some(child) = self.record.children.get_mut(&scheduled) {
                    child.started_event_id = id;
                }
            }
        }
        true
    }

    /// The record as the file has it: a speculative task is in memory only, as are the updates it is for.
    pub fn encode_record(&self) -> Vec<u8> {
        match &self.record.task {
            Some(task) if task.speculative => RunRecord { task: None, ..self.record.clone() }.encode_to_vec(),
            _ => self.record.encode_to_vec(),
        }
    }

    /// The events not yet in the file.
    pub fn unstored(&self) -> &[HistoryEvent] {
        let from = (self.stored_next_event_id - self.tail_first).max(0) as usize;
        self.tail.get(from..).unwrap_or(&[])
    }

    /// Called after a commit.
    pub fn mark_stored(&mut self) {
        self.stored_next_event_id = self.record.next_event_id;
        self.dirty = false;
        self.attributes_changed = false;
        self.is_new = false;
        self.dirty_activities.clear();
        if self.tail.len() > 2 * MAX_TAIL_EVENTS {
            let excess = self.tail.len() - MAX_TAIL_EVENTS;
            self.tail.drain(..excess);
            self.tail_first += excess as i64;
        }
    }

    /// Ends the run; what was pending goes.
    pub fn close(&mut self, now: Nanos, status: WorkflowExecutionStatus) {
        self.record.status = status as i32;
        self.record.close_time = now;
        self.just_closed = true;
        self.record.task = None;
        self.record.timers.clear();
        self.record.buffered.clear();
        self.record.sticky_epoch = 0;
        self.dirty_activities.extend(self.activities.keys());
        self.activities.clear();
        self.dirty = true;
    }

    /// Whether an end of this activity waits in the buffer.
    pub fn has_buffered_end(&self, scheduled_event_id: i64) -> bool {
        self.record.buffered.iter().any(|event| {
            event.event_type != EventType::ActivityTaskStarted as i32
                && super::history::scheduled_event_id(event) == Some(scheduled_event_id)
        })
    }

    /// The next moment at which this run has something to do by itself.
    pub fn next_deadline(&self) -> Option<Nanos> {
        if !self.is_open() {
            return None;
        }
        let mut next = Nanos::MAX;
        for at in [self.record.first_task_time, self.record.run_deadline, self.record.execution_deadline] {
            if at > 0 {
                next = next.min(at);
            }
        }
        if let Some(at) = self.task_deadline() {
            next = next.min(at);
        }
        for timer in self.record.timers.values() {
            next = next.min(timer.fire_time);
        }
        for activity in self.activities.values() {
            if let Some((at, _)) = super::activity::next_deadline(activity) {
                next = next.min(at);
            }
        }
        (next != Nanos::MAX).then_some(next)
    }

    /// How many tasks of this run are in workers' hands.
    pub fn busy_count(&self) -> usize {
        let task = self.record.task.as_ref().is_some_and(|task| task.is_started());
        usize::from(task) + self.activities.values().filter(|activity| activity.started_time > 0).count()
    }
}
