//! What a run is between two commits: the messages stored in the file. Fields are only ever added.

use temporalio_protos::temporal::api::{
    command::v1::ScheduleActivityTaskCommandAttributes,
    common::v1::{Memo, Payloads, SearchAttributes},
    failure::v1::Failure,
    history::v1::{HistoryEvent, WorkflowExecutionStartedEventAttributes},
};

/// Mutable state of one run, without its activities (they are rows of their own).
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunRecord {
    #[prost(string, tag = "1")]
    pub workflow_id: String,
    #[prost(string, tag = "2")]
    pub run_id: String,
    /// Of the first event, without input and header: those are only in the history.
    #[prost(message, optional, tag = "3")]
    pub started: Option<WorkflowExecutionStartedEventAttributes>,
    #[prost(int64, tag = "4")]
    pub start_time: i64,
    #[prost(int64, tag = "5")]
    pub close_time: i64,
    #[prost(int32, tag = "6")]
    pub status: i32,
    #[prost(int64, tag = "7")]
    pub next_event_id: i64,
    #[prost(int64, tag = "8")]
    pub history_bytes: i64,
    #[prost(int64, tag = "9")]
    pub transitions: i64,
    #[prost(btree_map = "string, message", tag = "10")]
    pub timers: std::collections::BTreeMap<String, TimerRecord>,
    #[prost(message, optional, tag = "11")]
    pub task: Option<TaskRecord>,
    #[prost(message, repeated, tag = "12")]
    pub buffered: Vec<HistoryEvent>,
    #[prost(string, tag = "13")]
    pub sticky_queue: String,
    #[prost(int64, tag = "14")]
    pub sticky_timeout: i64,
    /// Started event of the last completed workflow task.
    #[prost(int64, tag = "15")]
    pub previous_started_event_id: i64,
    #[prost(bool, tag = "16")]
    pub cancel_requested: bool,
    #[prost(string, repeated, tag = "17")]
    pub signal_requests: Vec<String>,
    #[prost(string, tag = "18")]
    pub request_id: String,
    /// When the first workflow task becomes due; 0 once it is scheduled.
    #[prost(int64, tag = "19")]
    pub first_task_time: i64,
    #[prost(int64, tag = "20")]
    pub run_deadline: i64,
    #[prost(int64, tag = "21")]
    pub execution_deadline: i64,
    /// Workflow tasks failed or timed out since the last completed one.
    #[prost(int32, tag = "22")]
    pub task_failures: i32,
    #[prost(string, tag = "23")]
    pub task_problem_cause: String,
    #[prost(string, tag = "24")]
    pub task_problem: String,
    #[prost(message, optional, tag = "25")]
    pub last_completion_result: Option<Payloads>,
    #[prost(message, optional, tag = "26")]
    pub user_metadata: Option<temporalio_protos::temporal::api::sdk::v1::UserMetadata>,
    #[prost(int64, tag = "27")]
    pub sticky_epoch: i64,
    #[prost(string, tag = "28")]
    pub new_run_id: String,
    /// Accepted updates and those that are completed.
    #[prost(btree_map = "string, message", tag = "29")]
    pub updates: std::collections::BTreeMap<String, UpdateRecord>,
    /// What the code made of the search attributes and the memo that the run began with; none: nothing.
    #[prost(message, optional, tag = "50")]
    pub search_attributes: Option<SearchAttributes>,
    #[prost(message, optional, tag = "51")]
    pub memo: Option<Memo>,
    /// Children that were started and have not ended, by the event that initiated each.
    #[prost(btree_map = "int64, message", tag = "40")]
    pub children: std::collections::BTreeMap<i64, ChildRecord>,
    /// The run that began when this one was reset.
    #[prost(string, tag = "60")]
    pub reset_run_id: String,
    /// Of the reset that began this run.
    #[prost(string, tag = "61")]
    pub reset_request_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ChildRecord {
    #[prost(string, tag = "1")]
    pub workflow_id: String,
    /// Of its first run.
    #[prost(string, tag = "2")]
    pub run_id: String,
    #[prost(string, tag = "3")]
    pub workflow_type: String,
    #[prost(int32, tag = "4")]
    pub parent_close_policy: i32,
    /// 0 while that event waits for the end of a workflow task.
    #[prost(int64, tag = "5")]
    pub started_event_id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRecord {
    #[prost(int64, tag = "1")]
    pub accepted_event_id: i64,
    /// 0 while its handler runs.
    #[prost(int64, tag = "2")]
    pub completed_event_id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TimerRecord {
    #[prost(int64, tag = "1")]
    pub started_event_id: i64,
    #[prost(int64, tag = "2")]
    pub fire_time: i64,
}

/// The pending workflow task.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskRecord {
    #[prost(int64, tag = "1")]
    pub scheduled_event_id: i64,
    /// 0 while it waits for a poller.
    #[prost(int64, tag = "2")]
    pub started_event_id: i64,
    /// Above 1 the task is transient: its events are written when it completes.
    #[prost(int32, tag = "3")]
    pub attempt: i32,
    #[prost(int64, tag = "4")]
    pub scheduled_time: i64,
    #[prost(int64, tag = "5")]
    pub original_scheduled_time: i64,
    #[prost(int64, tag = "6")]
    pub started_time: i64,
    #[prost(string, tag = "7")]
    pub identity: String,
    #[prost(string, tag = "8")]
    pub request_id: String,
    /// The engine's epoch at the start.
    #[prost(int64, tag = "9")]
    pub epoch: i64,
    #[prost(bool, tag = "10")]
    pub sticky: bool,
    /// A retry is not handed out before.
    #[prost(int64, tag = "11")]
    pub not_before: i64,
    #[prost(string, repeated, tag = "12")]
    pub queries: Vec<String>,
    #[prost(int64, tag = "13")]
    pub history_bytes: i64,
    #[prost(bool, tag = "14")]
    pub suggest_continue_as_new: bool,
    /// Made for updates alone: it is in memory only, and leaves no trace when all of them are rejected.
    #[prost(bool, tag = "15")]
    pub speculative: bool,
}

impl TaskRecord {
    pub fn is_started(&self) -> bool {
        self.started_event_id != 0
    }

    pub fn is_transient(&self) -> bool {
        self.attempt > 1
    }

    /// Whether its events are written only when it completes.
    pub fn is_unwritten(&self) -> bool {
        self.is_transient() || self.speculative
    }
}

/// A pending activity.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ActivityRecord {
    #[prost(message, optional, tag = "1")]
    pub command: Option<ScheduleActivityTaskCommandAttributes>,
    #[prost(int64, tag = "2")]
    pub scheduled_event_id: i64,
    #[prost(int64, tag = "3")]
    pub scheduled_time: i64,
    #[prost(int32, tag = "4")]
    pub attempt: i32,
    /// When this attempt became or becomes due.
    #[prost(int64, tag = "5")]
    pub attempt_time: i64,
    /// 0 while it waits.
    #[prost(int64, tag = "6")]
    pub started_time: i64,
    #[prost(int64, tag = "7")]
    pub heartbeat_time: i64,
    #[prost(message, optional, tag = "8")]
    pub heartbeat_details: Option<Payloads>,
    #[prost(message, optional, tag = "9")]
    pub last_failure: Option<Failure>,
    #[prost(string, tag = "10")]
    pub identity: String,
    #[prost(string, tag = "11")]
    pub request_id: String,
    #[prost(int64, tag = "12")]
    pub epoch: i64,
    #[prost(bool, tag = "13")]
    pub cancel_requested: bool,
    #[prost(int64, tag = "14")]
    pub cancel_requested_event_id: i64,
    #[prost(int64, tag = "15")]
    pub last_attempt_complete_time: i64,
    #[prost(bool, tag = "16")]
    pub queued: bool,
    #[prost(string, tag = "17")]
    pub last_identity: String,
    /// Only while a run is made of its events: else the start is written with the end.
    #[prost(int64, tag = "60")]
    pub started_event_id: i64,
    /// No attempt starts, and nothing times out, until somebody unpauses it.
    #[prost(bool, tag = "18")]
    pub paused: bool,
    #[prost(message, optional, tag = "19")]
    pub pause: Option<PauseRecord>,
    /// Somebody reset it while an attempt was under way.
    #[prost(bool, tag = "20")]
    pub reset: bool,
    /// The next attempt starts without details of heartbeats.
    #[prost(bool, tag = "21")]
    pub forgets_heartbeats: bool,
    /// The attempt goes on outside of the process that started it.
    #[prost(bool, tag = "22")]
    pub released: bool,
}

impl ActivityRecord {
    /// The task queue of its next attempt.
    pub fn queue(&self) -> &str {
        self.command.as_ref().and_then(|command| command.task_queue.as_ref()).map_or("", |queue| queue.name.as_str())
    }

    /// The id that the workflow gave it.
    pub fn id(&self) -> &str {
        self.command.as_ref().map_or("", |command| command.activity_id.as_str())
    }

    pub fn type_name(&self) -> &str {
        self.command.as_ref().and_then(|command| command.activity_type.as_ref()).map_or("", |kind| kind.name.as_str())
    }
}

/// Who paused an activity.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PauseRecord {
    #[prost(int64, tag = "1")]
    pub time: i64,
    #[prost(string, tag = "2")]
    pub identity: String,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(string, tag = "4")]
    pub request_id: String,
}

/// What a worker gets to prove which task it answers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskToken {
    #[prost(int64, tag = "1")]
    pub run_key: i64,
    #[prost(int64, tag = "2")]
    pub scheduled_event_id: i64,
    #[prost(int64, tag = "3")]
    pub started_event_id: i64,
    #[prost(int32, tag = "4")]
    pub attempt: i32,
    #[prost(int64, tag = "5")]
    pub epoch: i64,
    #[prost(int64, tag = "6")]
    pub started_time: i64,
    /// Only in the tokens of direct queries.
    #[prost(uint64, tag = "7")]
    pub query: u64,
    #[prost(string, tag = "8")]
    pub run_id: String,
}

/// Where the next page of a history begins.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryToken {
    #[prost(string, tag = "1")]
    pub run_id: String,
    #[prost(int64, tag = "2")]
    pub next_event_id: i64,
    /// The end, exclusive, of a workflow task's history; 0 for a reader's.
    #[prost(int64, tag = "3")]
    pub end_event_id: i64,
}
