//! Calls that only read: histories, descriptions, lists.

use durable_client::{Code, Response, Status};
use prost::Message;
use temporalio_protos::temporal::api::{
    common::v1::{Payload, SearchAttributes, WorkflowExecution},
    enums::v1::{HistoryEventFilterType, PendingActivityState, PendingWorkflowTaskState},
    history::v1::{History, HistoryEvent},
    workflow::v1::{
        PendingActivityInfo, PendingChildExecutionInfo, PendingWorkflowTaskInfo, WorkflowExecutionConfig, WorkflowExecutionExtendedInfo,
        WorkflowExecutionInfo,
        pending_activity_info::{
            PauseInfo,
            pause_info::{Manual, PausedBy},
        },
    },
    workflowservice::v1 as api,
};

use super::{
    filter::{Filter, Value},
    history::is_close,
    limit::{MAX_PAGE_BYTES, invalid, not_found},
    record::{ActivityRecord, ChildRecord, HistoryToken, RunRecord},
    run::{Run, RunKey},
    time::{Nanos, SECOND, duration, length, timestamp},
    world::{Answer, CallId, Env, Position, Read, Waiting, World},
};

/// The server's long poll of a history.
const HISTORY_WAIT: Nanos = 20 * SECOND;
const DEFAULT_PAGE: usize = 1000;
pub const SERVER_VERSION: &str = "1.32.0-durable-anyio";

/// A reader that waits for events.
#[derive(Clone, Debug)]
pub struct HistoryWait {
    from: i64,
    close_only: bool,
    page: usize,
}

pub fn page_token(run: &Run, next: i64, end: i64) -> Vec<u8> {
    HistoryToken { run_id: run.record.run_id.clone(), next_event_id: next, end_event_id: end }.encode_to_vec()
}

/// What lists and descriptions say of a run.
pub fn info(record: &RunRecord) -> WorkflowExecutionInfo {
    let empty = Default::default();
    let started = record.started.as_ref().unwrap_or(&empty);
    let closed = record.close_time > 0;
    let mut search_attributes = record.search_attributes.clone().or_else(|| started.search_attributes.clone());
    if !record.task_problem_cause.is_empty() {
        let category = if record.task_problem_cause.starts_with("WorkflowTaskTimedOut") {
            "category=WorkflowTaskTimedOut"
        } else {
            "category=WorkflowTaskFailed"
        };
        let words = [category.to_owned(), format!("cause={}", record.task_problem_cause), format!("message={}", record.task_problem)];
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{}\"", word.escape_default())).collect();
        let metadata = [("encoding".to_owned(), b"json/plain".to_vec()), ("type".to_owned(), b"KeywordList".to_vec())].into();
        search_attributes.get_or_insert_with(SearchAttributes::default).indexed_fields.insert(
            "TemporalReportedProblems".into(),
            Payload { metadata, data: format!("[{}]", quoted.join(",")).into_bytes(), ..Default::default() },
        );
    }
    if record.previous_started_event_id > 0 {
        // What the service says of runs whose workers have no versions.
        let metadata = [("encoding".to_owned(), b"json/plain".to_vec()), ("type".to_owned(), b"KeywordList".to_vec())].into();
        let value = Payload { metadata, data: b"[\"unversioned\"]".to_vec(), ..Default::default() };
        search_attributes.get_or_insert_with(SearchAttributes::default).indexed_fields.entry("BuildIds".into()).or_insert(value);
    }
    WorkflowExecutionInfo {
        execution: Some(WorkflowExecution { workflow_id: record.workflow_id.clone(), run_id: record.run_id.clone() }),
        r#type: started.workflow_type.clone(),
        start_time: Some(timestamp(record.start_time)),
        close_time: closed.then(|| timestamp(record.close_time)),
        status: record.status,
        history_length: record.next_event_id - 1,
        execution_time: Some(timestamp(record.start_time + length(&started.first_workflow_task_backoff))),
        memo: record.memo.clone().or_else(|| started.memo.clone()),
        search_attributes,
        task_queue: started.task_queue.as_ref().map_or(String::new(), |queue| queue.name.clone()),
        state_transition_count: record.transitions,
        history_size_bytes: record.history_bytes,
        execution_duration: closed.then(|| duration(record.close_time - record.start_time)),
        parent_namespace_id: started.parent_workflow_namespace_id.clone(),
        parent_execution: started.parent_workflow_execution.clone(),
        root_execution: started.root_workflow_execution.clone().or_else(|| {
            Some(WorkflowExecution { workflow_id: record.workflow_id.clone(), run_id: started.first_execution_run_id.clone() })
        }),
        first_run_id: started.first_execution_run_id.clone(),
        ..Default::default()
    }
}

/// What a run's state says of itself under the name of a search attribute of the service's.
pub fn shown_value(record: &RunRecord, name: &str) -> Option<Value> {
    let empty = Default::default();
    let started = record.started.as_ref().unwrap_or(&empty);
    let root = started.root_workflow_execution.as_ref();
    Some(match name {
        "ExecutionTime" => Value::Number(record.start_time + length(&started.first_workflow_task_backoff)),
        "RootWorkflowId" => Value::Text(root.map_or(&record.workflow_id, |root| &root.workflow_id).clone()),
        "RootRunId" => Value::Text(root.map_or(&started.first_execution_run_id, |root| &root.run_id).clone()),
        "HistorySizeBytes" => Value::Number(record.history_bytes),
        "StateTransitionCount" => Value::Number(record.transitions),
        "BuildIds" => {
            let own = record.search_attributes.as_ref().or(started.search_attributes.as_ref());
            let has_own = own.is_some_and(|own| own.indexed_fields.contains_key(name));
            return (record.previous_started_event_id > 0 && !has_own).then(|| Value::Text("unversioned".into()));
        }
        _ => return None,
    })
}

fn pending_child(initiated_id: i64, child: &ChildRecord) -> PendingChildExecutionInfo {
    PendingChildExecutionInfo {
        workflow_id: child.workflow_id.clone(),
        run_id: child.run_id.clone(),
        workflow_type_name: child.workflow_type.clone(),
        initiated_id,
        parent_close_policy: child.parent_close_policy,
    }
}

fn pending(activity: &ActivityRecord) -> PendingActivityInfo {
    let command = activity.command.clone().unwrap_or_default();
    let started = activity.started_time > 0;
    let state = match (activity.cancel_requested, activity.paused, started) {
        (true, ..) => PendingActivityState::CancelRequested,
        (_, true, true) => PendingActivityState::PauseRequested,
        (_, true, false) => PendingActivityState::Paused,
        (_, false, true) => PendingActivityState::Started,
        (_, false, false) => PendingActivityState::Scheduled,
    };
    let close = length(&command.schedule_to_close_timeout);
    let rests = !started && !activity.queued && !activity.paused;
    PendingActivityInfo {
        activity_options: Some(super::activity_control::options(&command)),
        activity_id: command.activity_id,
        activity_type: command.activity_type,
        state: state as i32,
        heartbeat_details: activity.heartbeat_details.clone(),
        last_heartbeat_time: (activity.heartbeat_time > 0).then(|| timestamp(activity.heartbeat_time)),
        last_started_time: started.then(|| timestamp(activity.started_time)),
        attempt: activity.attempt,
        maximum_attempts: command.retry_policy.as_ref().map_or(0, |policy| policy.maximum_attempts),
        scheduled_time: (!started).then(|| timestamp(activity.attempt_time)),
        expiration_time: (close > 0).then(|| timestamp(activity.scheduled_time + close)),
        last_failure: activity.last_failure.clone(),
        last_worker_identity: activity.last_identity.clone(),
        last_attempt_complete_time: (activity.last_attempt_complete_time > 0).then(|| timestamp(activity.last_attempt_complete_time)),
        next_attempt_schedule_time: rests.then(|| timestamp(activity.attempt_time)),
        current_retry_interval: rests.then(|| duration((activity.attempt_time - activity.last_attempt_complete_time).max(0))),
        priority: command.priority,
        paused: activity.paused,
        pause_info: activity.pause.as_ref().map(|pause| PauseInfo {
            pause_time: Some(timestamp(pause.time)),
            paused_by: Some(PausedBy::Manual(Manual { identity: pause.identity.clone(), reason: pause.reason.clone() })),
        }),
        ..Default::default()
    }
}

impl World {
    /// Events `from..end` of a run, at most `count` and a page's bytes; and the id after the last of them.
    pub fn events_page(&self, env: &Env, run: &Run, from: i64, end: i64, count: usize) -> Result<(Vec<HistoryEvent>, i64), Status> {
        let end = end.min(from.saturating_add(i64::try_from(count).unwrap_or(i64::MAX)));
        let mut events = Vec::new();
        let (mut bytes, mut next) = (0, from);
        let older = if from < run.tail_first { env.source.events(run.key, from, end.min(run.tail_first))? } else { Vec::new() };
        let skip = (from.max(run.tail_first) - run.tail_first) as usize;
        for event in older.into_iter().map(std::borrow::Cow::Owned).chain(run.tail.iter().skip(skip).map(std::borrow::Cow::Borrowed)) {
            if event.event_id >= end {
                break;
            }
            if event.event_id != next {
                return Err(Status::new(Code::DataLoss, format!("event {next} of run {} is missing", run.record.run_id)));
            }
            bytes += event.encoded_len();
            if bytes > MAX_PAGE_BYTES && !events.is_empty() {
                break;
            }
            next += 1;
            events.push(event.into_owned());
        }
        Ok((events, next))
    }

    /// The run whose history is asked for, and where to go on in it: pages after the first stay with the first one's run.
    fn find_page(&mut self, env: &Env, execution: Option<WorkflowExecution>, token: &[u8]) -> Result<(RunKey, HistoryToken), Status> {
        let Some(mut execution) = execution else { return Err(invalid("Execution is not set on request.")) };
        let mut page = HistoryToken::default();
        if !token.is_empty() {
            page = HistoryToken::decode(token).map_err(|_| invalid("Invalid NextPageToken."))?;
            execution.run_id = page.run_id.clone();
        }
        Ok((self.find(env, &Some(execution))?, page))
    }

    pub fn get_history(&mut self, env: &Env, call: CallId, request: api::GetWorkflowExecutionHistoryRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let close_only = request.history_event_filter_type() == HistoryEventFilterType::CloseEvent;
        let (key, token) = self.find_page(env, request.execution, &request.next_page_token)?;
        let page = usize::try_from(request.maximum_page_size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let from = token.next_event_id.max(1);
        if token.end_event_id > 0 {
            return self.task_page(env, key, from, token.end_event_id).map(Some);
        }
        let wait = HistoryWait { from, close_only, page };
        if let Some(response) = self.history_page(env, key, &wait, request.wait_new_event)? {
            return Ok(Some(response));
        }
        self.watchers.entry(key).or_default().push(call);
        self.wait(call, env.mono + HISTORY_WAIT, Waiting::History(key, wait));
        Ok(None)
    }

    /// A page from the end: the events before the token's, newest first.
    pub fn get_history_reverse(&mut self, env: &Env, request: api::GetWorkflowExecutionHistoryReverseRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let (key, token) = self.find_page(env, request.execution, &request.next_page_token)?;
        let Some(run) = self.runs.get(&key) else { return Err(not_found("the run has gone")) };
        let last = run.record.next_event_id;
        let end = if token.next_event_id > 0 { token.next_event_id.min(last) } else { last };
        let mut count = i64::from(request.maximum_page_size).clamp(0, DEFAULT_PAGE as i64);
        if count == 0 {
            count = DEFAULT_PAGE as i64;
        }
        // A page is bounded in bytes from its oldest event on; the newest must be in it.
        let (mut events, from) = loop {
            let from = (end - count).max(1);
            let (events, next) = self.events_page(env, run, from, end, usize::MAX)?;
            if next >= end || count <= 1 {
                break (events, from);
            }
            count /= 2;
        };
        events.reverse();
        let next_page_token = if from > 1 { page_token(run, from, 0) } else { Vec::new() };
        Ok(Some(api::GetWorkflowExecutionHistoryReverseResponse { history: Some(History { events }), next_page_token }.into()))
    }

    /// The next page of a workflow task's history; the last one ends with the task's transient events.
    fn task_page(&self, env: &Env, key: RunKey, from: i64, end: i64) -> Result<Response, Status> {
        let Some(run) = self.runs.get(&key) else { return Err(not_found("the run has gone")) };
        let (mut events, next) = self.events_page(env, run, from, end, usize::MAX)?;
        let next_page_token = if next < end { page_token(run, next, end) } else { Vec::new() };
        if next_page_token.is_empty() && run.record.next_event_id == end {
            events.extend(run.transient_events());
        }
        Ok(api::GetWorkflowExecutionHistoryResponse { history: Some(History { events }), next_page_token, ..Default::default() }.into())
    }

    /// A reader's page, or `None` when it has to wait.
    fn history_page(&self, env: &Env, key: RunKey, wait: &HistoryWait, waits: bool) -> Result<Option<Response>, Status> {
        let Some(run) = self.runs.get(&key) else { return Err(not_found("the run has gone")) };
        let end = run.record.next_event_id;
        let (mut events, mut next_page_token) = (Vec::new(), Vec::new());
        if wait.close_only {
            if run.is_open() && waits {
                return Ok(None);
            }
            events = self.events_page(env, run, end - 1, end, 1)?.0;
            events.retain(|event| !waits || is_close(event));
        } else {
            if wait.from >= end && run.is_open() && waits {
                return Ok(None);
            }
            if wait.from < end {
                let (page, next) = self.events_page(env, run, wait.from, end, wait.page)?;
                events = page;
                if next < end || (run.is_open() && waits) {
                    next_page_token = page_token(run, next, 0);
                }
            }
        }
        Ok(Some(
            api::GetWorkflowExecutionHistoryResponse { history: Some(History { events }), next_page_token, ..Default::default() }.into(),
        ))
    }

    pub fn answer_watchers(&mut self, env: &Env, key: RunKey) {
        let Some(calls) = self.watchers.remove(&key) else { return };
        let mut left = Vec::new();
        for call in calls {
            let Some(Waiting::History(_, wait)) = self.waiting.get(&call) else { continue };
            match self.history_page(env, key, wait, true) {
                Ok(None) => left.push(call),
                Ok(Some(response)) => {
                    self.waiting.remove(&call);
                    self.reply(call, Ok(response));
                }
                Err(status) => {
                    self.waiting.remove(&call);
                    self.reply(call, Err(status));
                }
            }
        }
        if !left.is_empty() {
            self.watchers.insert(key, left);
        }
    }

    /// What a reader gets whose wait is over: nothing, and the token to ask again.
    pub fn empty_page(&self, key: RunKey, wait: &HistoryWait) -> api::GetWorkflowExecutionHistoryResponse {
        let next_page_token = self.runs.get(&key).map(|run| page_token(run, wait.from, 0)).unwrap_or_default();
        api::GetWorkflowExecutionHistoryResponse { history: Some(History::default()), next_page_token, ..Default::default() }
    }

    pub fn describe(&mut self, env: &Env, request: api::DescribeWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let key = self.find(env, &request.execution)?;
        let Some(run) = self.runs.get(&key) else { return Err(not_found("the run has gone")) };
        let started = run.started();
        let time = |at: Nanos| (at > 0).then(|| timestamp(at));
        let state = |started: bool| if started { PendingWorkflowTaskState::Started } else { PendingWorkflowTaskState::Scheduled };
        Ok(Some(
            api::DescribeWorkflowExecutionResponse {
                execution_config: Some(WorkflowExecutionConfig {
                    task_queue: started.task_queue.clone(),
                    workflow_execution_timeout: started.workflow_execution_timeout,
                    workflow_run_timeout: started.workflow_run_timeout,
                    default_workflow_task_timeout: started.workflow_task_timeout,
                    user_metadata: run.record.user_metadata.clone(),
                }),
                workflow_execution_info: Some(info(&run.record)),
                pending_activities: run.activities.values().map(pending).collect(),
                pending_children: run.record.children.iter().map(|(id, child)| pending_child(*id, child)).collect(),
                pending_workflow_task: run.record.task.as_ref().map(|task| PendingWorkflowTaskInfo {
                    state: state(task.is_started()) as i32,
                    scheduled_time: time(task.scheduled_time),
                    original_scheduled_time: time(task.original_scheduled_time),
                    started_time: time(task.started_time),
                    attempt: task.attempt,
                }),
                workflow_extended_info: Some(WorkflowExecutionExtendedInfo {
                    execution_expiration_time: time(run.record.execution_deadline),
                    run_expiration_time: time(run.record.run_deadline),
                    cancel_requested: run.record.cancel_requested,
                    original_start_time: time(run.record.start_time),
                    reset_run_id: run.record.reset_run_id.clone(),
                    ..Default::default()
                }),
                ..Default::default()
            }
            .into(),
        ))
    }

    pub fn list(&mut self, call: CallId, request: api::ListWorkflowExecutionsRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let filter = Filter::parse(&request.query, &self.attributes).map_err(invalid)?;
        let after = match request.next_page_token.as_slice() {
            [] => None,
            token => Some(Position::decode(token).map_err(|_| invalid("Invalid NextPageToken."))?),
        };
        let page_size = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE).min(DEFAULT_PAGE);
        self.read_later(call, Read::List { filter, page_size, after });
        Ok(None)
    }

    pub fn count(&mut self, call: CallId, request: api::CountWorkflowExecutionsRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let filter = Filter::parse(&request.query, &self.attributes).map_err(invalid)?;
        if filter.order.is_some() {
            return Err(invalid("invalid query: operation is not supported: 'ORDER BY' clause"));
        }
        self.read_later(call, Read::Count(filter));
        Ok(None)
    }
}
