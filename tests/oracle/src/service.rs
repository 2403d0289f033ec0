//! A model of the service's history of one run: which events it writes, in which order, and what it keeps back meanwhile.
//!
//! The rules, as the real server keeps them:
//! - While a workflow task is started, what happens is kept back, and written after the task's end and the events of its commands;
//!   ends of activities and of children go behind the rest.
//! - The second and later attempts of a workflow task are not written unless they complete, or something happened in between.
//! - A task for an update alone (speculative) is not written either; if it only rejects, it never was.
//! - A task that would end the run although something was kept back fails, and the run goes on.

use prost_wkt_types::Timestamp;
use temporalio_protos::temporal::api::{
    common::v1::{WorkflowExecution, WorkflowType},
    enums::v1::{EventType, TimeoutType, WorkflowTaskFailedCause},
    history::v1::{
        History, HistoryEvent, WorkflowExecutionStartedEventAttributes, WorkflowTaskCompletedEventAttributes,
        WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes, WorkflowTaskStartedEventAttributes,
        WorkflowTaskTimedOutEventAttributes, history_event::Attributes,
    },
    protocol::v1::{Message, message::SequencingId},
    sdk::v1::WorkflowTaskCompletedMetadata,
    taskqueue::v1::TaskQueue,
    update::v1::Request,
    workflowservice::v1::PollWorkflowTaskQueueResponse,
};

use crate::{known::Known, program::seconds, world::World};

pub const WORKFLOW_ID: &str = "generated";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    None,
    Scheduled,
    Started,
}

/// The workflow task that waits or is worked on.
#[derive(Clone, Debug)]
pub struct Task {
    pub state: TaskState,
    attempt: i32,
    /// Its two events are in the history, as far as they happened.
    is_written: bool,
    /// Only an update asked for it.
    is_speculative: bool,
    scheduled_id: i64,
    started_id: i64,
    /// When it was started.
    history_events: i64,
    started_ms: i64,
}

const NO_TASK: Task = Task {
    state: TaskState::None,
    attempt: 1,
    is_written: false,
    is_speculative: false,
    scheduled_id: 0,
    started_id: 0,
    history_events: 0,
    started_ms: 0,
};

#[derive(Debug)]
pub struct Kept {
    pub kind: EventType,
    pub attributes: Attributes,
    time: Timestamp,
}

#[derive(Debug)]
pub struct Service {
    pub run_id: String,
    pub events: Vec<HistoryEvent>,
    pub kept: Vec<Kept>,
    pub task: Task,
    /// Of the last completed task.
    pub previous_started_id: i64,
    pub world: World,
    /// Updates that wait to be sent, or were sent and not answered.
    pub updates: Vec<(String, Request)>,
    pub is_closed: bool,
    /// A known difference between the cores that the history may have.
    pub allows: Option<Known>,
    /// One that it has.
    pub known: Option<Known>,
    time_ms: i64,
}

impl Service {
    pub fn new(run_id: String) -> Service {
        let mut service = Service {
            run_id: run_id.clone(),
            events: Vec::new(),
            kept: Vec::new(),
            task: NO_TASK,
            previous_started_id: 0,
            world: World::default(),
            updates: Vec::new(),
            is_closed: false,
            allows: None,
            known: None,
            time_ms: 1_700_000_000_000,
        };
        service.write(
            EventType::WorkflowExecutionStarted,
            Attributes::WorkflowExecutionStartedEventAttributes(WorkflowExecutionStartedEventAttributes {
                workflow_type: Some(WorkflowType { name: "Generated".to_owned() }),
                task_queue: Some(queue()),
                workflow_task_timeout: seconds(10),
                original_execution_run_id: run_id.clone(),
                first_execution_run_id: run_id,
                attempt: 1,
                workflow_id: WORKFLOW_ID.to_owned(),
                ..Default::default()
            }),
        );
        service.schedule_task(1, false);
        service
    }

    pub fn pass(&mut self, milliseconds: i64) {
        self.time_ms += milliseconds;
    }

    fn time(&self) -> Timestamp {
        timestamp(self.time_ms)
    }

    fn event(&self, event_id: i64, kind: EventType, attributes: Attributes) -> HistoryEvent {
        HistoryEvent {
            event_id,
            event_type: kind as i32,
            event_time: Some(self.time()),
            task_id: 1_000 + event_id,
            attributes: Some(attributes),
            ..Default::default()
        }
    }

    /// Writes an event now.
    pub fn write(&mut self, kind: EventType, attributes: Attributes) -> i64 {
        let event_id = self.events.len() as i64 + 1;
        let mut event = self.event(event_id, kind, attributes);
        self.world.resolve_references(&mut event);
        self.is_closed |= event.is_final_wf_execution_event();
        self.events.push(event);
        event_id
    }

    /// Something happened: it is written when no task is at work, and asks for one.
    pub fn happened(&mut self, kind: EventType, attributes: Attributes) {
        if self.task.is_speculative && self.task.state == TaskState::Scheduled {
            if self.is_last(EventType::WorkflowTaskCompleted) && self.allows != Some(Known::MergedTasks) {
                self.task = NO_TASK;
            } else {
                self.task.is_speculative = false;
                self.write_scheduled();
            }
        }
        let time = self.time();
        self.kept.push(Kept { kind, attributes, time });
        if self.task.state != TaskState::Started {
            self.flush();
            self.ask_for_updates();
        }
    }

    /// Like `happened`, by the workflow's own command: it stands behind the events of the other commands.
    pub fn keep(&mut self, kind: EventType, attributes: Attributes) {
        let time = self.time();
        self.kept.push(Kept { kind, attributes, time });
    }

    /// Writes what was kept back; ends of activities and of children go last.
    fn flush(&mut self) -> bool {
        let (ends, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.kept).into_iter().partition(|kept| is_end(kept.kind));
        let flushed = !ends.is_empty() || !others.is_empty();
        let mut asks = false;
        for kept in others.into_iter().chain(ends) {
            asks |= kept.kind != EventType::ActivityTaskStarted;
            let event_id = self.write(kept.kind, kept.attributes);
            self.events[event_id as usize - 1].event_time = Some(kept.time);
        }
        if asks && self.task.state == TaskState::None {
            self.schedule_task(1, false);
        }
        flushed
    }

    fn is_last(&self, kind: EventType) -> bool {
        self.events.last().is_some_and(|event| event.event_type() == kind)
    }

    /// The open task follows another one with nothing between them.
    pub fn follows_task(&self) -> bool {
        let of_task = [EventType::WorkflowTaskScheduled, EventType::WorkflowTaskStarted];
        let before = self.events.iter().rev().map(HistoryEvent::event_type).find(|kind| !of_task.contains(kind));
        before == Some(EventType::WorkflowTaskCompleted)
    }

    // ---- workflow tasks ----

    fn schedule_task(&mut self, attempt: i32, is_speculative: bool) {
        self.task = Task { state: TaskState::Scheduled, attempt, is_speculative, ..NO_TASK };
        self.task.scheduled_id = self.events.len() as i64 + 1;
        if attempt == 1 && !is_speculative {
            self.write_scheduled();
        }
    }

    fn write_scheduled(&mut self) {
        self.task.is_written = true;
        self.task.scheduled_id = self.write(EventType::WorkflowTaskScheduled, scheduled());
    }

    pub fn ask_update(&mut self, instance_id: String, request: Request) {
        self.updates.push((instance_id, request));
        self.ask_for_updates();
    }

    fn ask_for_updates(&mut self) {
        if self.task.state == TaskState::None && !self.updates.is_empty() {
            self.schedule_task(1, true);
        }
    }

    pub fn start_task(&mut self) {
        assert_eq!(self.task.state, TaskState::Scheduled);
        let next_id = self.events.len() as i64 + 1;
        if !self.task.is_written && !self.task.is_speculative && self.task.scheduled_id != next_id {
            // Something happened since the attempt before: it is a first attempt again.
            self.task.attempt = 1;
            self.write_scheduled();
        }
        self.task.state = TaskState::Started;
        self.task.history_events = self.events.len() as i64;
        self.task.started_ms = self.time_ms;
        if self.task.is_written {
            let attributes = self.started_attributes();
            self.task.started_id = self.write(EventType::WorkflowTaskStarted, attributes);
        } else {
            self.task.scheduled_id = next_id;
            self.task.started_id = next_id + 1;
        }
    }

    fn started_attributes(&self) -> Attributes {
        Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
            scheduled_event_id: self.task.scheduled_id,
            identity: "worker".to_owned(),
            request_id: "request".to_owned(),
            history_size_bytes: 100 * self.task.history_events,
            suggest_continue_as_new: self.task.history_events > 60,
            ..Default::default()
        })
    }

    /// The started task as the worker gets it, its history from the event after `from_id`.
    pub fn task(&self, from_id: i64) -> PollWorkflowTaskQueueResponse {
        let mut events: Vec<HistoryEvent> = self.events.iter().filter(|event| event.event_id > from_id).cloned().collect();
        if !self.task.is_written {
            let shown_at = |mut event: HistoryEvent| {
                event.event_time = Some(timestamp(self.task.started_ms));
                event
            };
            events.push(shown_at(self.event(self.task.scheduled_id, EventType::WorkflowTaskScheduled, scheduled())));
            events.push(shown_at(self.event(self.task.started_id, EventType::WorkflowTaskStarted, self.started_attributes())));
        }
        PollWorkflowTaskQueueResponse {
            task_token: b"token".to_vec(),
            workflow_execution: Some(WorkflowExecution { workflow_id: WORKFLOW_ID.to_owned(), run_id: self.run_id.clone() }),
            workflow_type: Some(WorkflowType { name: "Generated".to_owned() }),
            previous_started_event_id: self.previous_started_id,
            started_event_id: self.task.started_id,
            attempt: self.task.attempt,
            history: Some(History { events }),
            messages: self.updates.iter().map(|(instance_id, request)| self.update_message(instance_id, request)).collect(),
            ..Default::default()
        }
    }

    fn update_message(&self, instance_id: &str, request: &Request) -> Message {
        let body = prost_wkt_types::Any {
            type_url: "type.googleapis.com/temporal.api.update.v1.Request".to_owned(),
            value: prost::Message::encode_to_vec(request),
        };
        Message {
            id: format!("{instance_id}/request"),
            protocol_instance_id: instance_id.to_owned(),
            sequencing_id: Some(SequencingId::EventId(self.task.started_id - 1)),
            body: Some(body),
        }
    }

    /// Writes the two events of a task that were held back.
    pub fn write_task(&mut self) {
        if self.task.is_written {
            return;
        }
        let now_ms = std::mem::replace(&mut self.time_ms, self.task.started_ms);
        self.write_scheduled();
        let attributes = self.started_attributes();
        self.task.started_id = self.write(EventType::WorkflowTaskStarted, attributes);
        self.time_ms = now_ms;
    }

    /// A speculative task that left no trace: the service forgets it. Answers the event that the worker goes back to.
    pub fn forget_task(&mut self) -> i64 {
        self.task = NO_TASK;
        self.previous_started_id
    }

    pub fn is_forgettable(&self) -> bool {
        self.task.is_speculative && !self.task.is_written && self.kept.is_empty()
    }

    pub fn write_completed(&mut self, metadata: Option<WorkflowTaskCompletedMetadata>) -> i64 {
        self.write_task();
        self.previous_started_id = self.task.started_id;
        let (scheduled_event_id, started_event_id) = (self.task.scheduled_id, self.task.started_id);
        self.task = NO_TASK;
        self.write(
            EventType::WorkflowTaskCompleted,
            Attributes::WorkflowTaskCompletedEventAttributes(WorkflowTaskCompletedEventAttributes {
                scheduled_event_id,
                started_event_id,
                identity: "worker".to_owned(),
                sdk_metadata: metadata,
                ..Default::default()
            }),
        )
    }

    /// After the events of a completed task's commands.
    pub fn settle(&mut self, wants_task: bool) {
        if self.is_closed {
            self.kept.clear();
            self.task = NO_TASK;
            return;
        }
        self.flush();
        if self.task.state == TaskState::None {
            if wants_task {
                self.schedule_task(1, false);
            }
            self.ask_for_updates();
        }
    }

    pub fn fail_task(&mut self, cause: WorkflowTaskFailedCause, new_run_id: &str) {
        if cause == WorkflowTaskFailedCause::UnhandledCommand || cause == WorkflowTaskFailedCause::ResetWorkflow {
            self.write_task();
        }
        if self.task.is_written {
            let failed = WorkflowTaskFailedEventAttributes {
                scheduled_event_id: self.task.scheduled_id,
                started_event_id: self.task.started_id,
                cause: cause as i32,
                base_run_id: if new_run_id.is_empty() { String::new() } else { self.run_id.clone() },
                new_run_id: new_run_id.to_owned(),
                ..Default::default()
            };
            self.write(EventType::WorkflowTaskFailed, Attributes::WorkflowTaskFailedEventAttributes(failed));
        }
        self.retry_task(cause == WorkflowTaskFailedCause::ResetWorkflow);
    }

    pub fn time_task_out(&mut self) {
        self.pass(10_000);
        if self.task.is_written {
            let timed_out = WorkflowTaskTimedOutEventAttributes {
                scheduled_event_id: self.task.scheduled_id,
                started_event_id: self.task.started_id,
                timeout_type: TimeoutType::StartToClose as i32,
            };
            self.write(EventType::WorkflowTaskTimedOut, Attributes::WorkflowTaskTimedOutEventAttributes(timed_out));
        }
        self.retry_task(false);
    }

    fn retry_task(&mut self, as_first: bool) {
        let attempt = self.task.attempt + 1;
        self.task = NO_TASK;
        if !self.flush() && self.task.state == TaskState::None {
            self.schedule_task(if as_first { 1 } else { attempt }, false);
        }
        if self.task.state == TaskState::None {
            self.schedule_task(1, false);
        }
    }
}

fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp { seconds: milliseconds.div_euclid(1_000), nanos: milliseconds.rem_euclid(1_000) as i32 * 1_000_000 }
}

pub fn queue() -> TaskQueue {
    TaskQueue { name: "generated".to_owned(), ..Default::default() }
}

fn scheduled() -> Attributes {
    Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes {
        task_queue: Some(queue()),
        start_to_close_timeout: seconds(10),
        attempt: 1,
    })
}

fn is_end(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::ActivityTaskCompleted
            | EventType::ActivityTaskFailed
            | EventType::ActivityTaskCanceled
            | EventType::ActivityTaskTimedOut
            | EventType::ChildWorkflowExecutionCompleted
            | EventType::ChildWorkflowExecutionFailed
            | EventType::ChildWorkflowExecutionCanceled
            | EventType::ChildWorkflowExecutionTimedOut
            | EventType::ChildWorkflowExecutionTerminated
    )
}
