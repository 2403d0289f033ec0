//! All runs and queues of one engine. The driver calls [`World::handle`] for each request, [`World::handle_time`] when
//! time has passed, then [`World::settle`]; it stores [`World::take_dirty`] and only then sends [`World::take_replies`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use durable_client::{Code, Request, Response, Status};
use temporalio_protos::temporal::api::{errordetails::v1::NamespaceNotFoundFailure, history::v1::HistoryEvent, workflowservice::v1 as api};

use super::{
    attributes::Registry,
    chain::Following,
    filter::{Filter, Value},
    limit::{Limits, MAX_CLOSED_RUNS, invalid, not_found},
    matching::{Kind, Queue, QueueKey, Task},
    query::Query,
    read::HistoryWait,
    run::{Ready, Run, RunKey},
    time::{Nanos, SECOND},
    worker_registry::WorkerRegistry,
};
use crate::schedules::Schedules;

pub type CallId = u64;

/// Where runs and events that are not in memory come from.
pub trait Source {
    fn current(&self, workflow_id: &str) -> Result<Option<Run>, Status>;
    fn by_run_id(&self, run_id: &str) -> Result<Option<Run>, Status>;
    fn events(&self, key: RunKey, from: i64, to: i64) -> Result<Vec<HistoryEvent>, Status>;
}

/// What the pure state may not get by itself.
pub struct Env<'a> {
    /// Workflow time.
    pub now: Nanos,
    /// Monotonic time: polls and limits.
    pub mono: Nanos,
    pub source: &'a dyn Source,
    pub new_id: &'a dyn Fn() -> String,
}

/// A read that must see this batch's commit.
pub enum Read {
    List { filter: Filter, page_size: usize, after: Option<Position> },
    Count(Filter),
}

/// The last run of a page: its value of what the list is sorted by, which may be missing, and its key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Position {
    #[prost(string, optional, tag = "1")]
    pub text: Option<String>,
    #[prost(int64, optional, tag = "2")]
    pub number: Option<i64>,
    #[prost(double, optional, tag = "3")]
    pub real: Option<f64>,
    #[prost(int64, tag = "4")]
    pub key: RunKey,
}

impl Position {
    pub fn value(&self) -> Option<Value> {
        let text = self.text.clone().map(Value::Text);
        text.or(self.number.map(Value::Number)).or(self.real.map(Value::Real))
    }
}

pub enum Waiting {
    Poll(QueueKey, String),
    History(RunKey, HistoryWait),
    Query(u64),
    /// An update's caller: the run and the update's id.
    Update(RunKey, String),
}

#[derive(Default)]
pub struct World {
    pub schedules: Schedules,
    pub workers: WorkerRegistry,
    pub namespace: String,
    pub attributes: Registry,
    pub epoch: i64,
    pub next_key: RunKey,
    pub limits: Limits,
    pub runs: HashMap<RunKey, Run>,
    latest: HashMap<String, RunKey>,
    by_run_id: HashMap<String, RunKey>,
    deadlines: BTreeSet<(Nanos, RunKey)>,
    pub queues: HashMap<QueueKey, Queue>,
    hot: BTreeSet<QueueKey>,
    /// Queues that may give their next task only later, on the monotonic clock.
    throttled: BTreeSet<(Nanos, QueueKey)>,
    pub waiting: HashMap<CallId, Waiting>,
    /// Calls of other processes, with their deadline where they have one.
    remote: HashMap<CallId, Option<Nanos>>,
    /// Whether what is handed out now goes to another process.
    hands_to_remote: bool,
    waits: BTreeSet<(Nanos, CallId)>,
    /// The deadline of each waiting call, so that an answered one leaves `waits` at once: polls come by the thousand a second.
    waits_until: HashMap<CallId, Nanos>,
    pub watchers: HashMap<RunKey, Vec<CallId>>,
    pub queries: BTreeMap<u64, Query>,
    pub next_query: u64,
    touched: BTreeSet<RunKey>,
    dirty: BTreeSet<RunKey>,
    closed: VecDeque<RunKey>,
    busy: usize,
    replies: Vec<(CallId, Result<Response, Status>)>,
    reads: Vec<(CallId, Read)>,
}

/// The epoch of work in the hands of other processes: they outlive this one, so that no later epoch voids what they hold.
const REMOTE_EPOCH: i64 = i64::MAX;
/// How long before its caller's deadline a long poll is answered, empty: the answer has to get there.
const POLL_MARGIN: Nanos = SECOND;

pub type Answer = Result<Option<Response>, Status>;

impl World {
    pub fn new(namespace: String, epoch: i64, next_key: RunKey, limits: Limits) -> World {
        let attributes = Registry::new(namespace.clone());
        World { namespace, attributes, epoch, next_key, limits, next_query: 1, ..Default::default() }
    }

    /// Takes a stored run into memory; `recover` after a start of the engine.
    pub fn adopt(&mut self, mut run: Run, now: Nanos, recover: bool) {
        let key = run.key;
        if run.is_open() {
            if recover {
                let epoch = self.epoch;
                run.recover_task(now, epoch);
                run.fail_activities_of_earlier_epochs(now, epoch);
            }
            for (id, activity) in &run.activities {
                if activity.started_time == 0 && activity.queued {
                    run.ready.push(Ready::Activity(*id));
                }
            }
        }
        self.insert(run);
        self.touched.insert(key);
    }

    pub fn insert(&mut self, run: Run) {
        // An open run is its id's newest. One that has ended need not be: it may have been asked for by its run id.
        if run.is_open() {
            self.latest.insert(run.record.workflow_id.clone(), run.key);
        }
        self.by_run_id.insert(run.record.run_id.clone(), run.key);
        self.touched.insert(run.key);
        self.runs.insert(run.key, run);
    }

    /// Drops a run from memory, as after a failed commit.
    pub fn forget(&mut self, key: RunKey) {
        let Some(run) = self.runs.remove(&key) else { return };
        if self.latest.get(&run.record.workflow_id) == Some(&key) {
            self.latest.remove(&run.record.workflow_id);
        }
        self.by_run_id.remove(&run.record.run_id);
        if let Some(at) = run.deadline {
            self.deadlines.remove(&(at, key));
        }
        self.busy -= run.busy;
        let ended = run.ended_updates.into_iter().flat_map(|ended| ended.waiters);
        let waiters = run.updates.into_values().flat_map(|update| update.waiters).chain(ended).collect();
        self.drop_update_waiters(waiters);
        for query in run.queries.iter().chain(&run.started_queries) {
            self.end_query(*query, Err(Status::new(Code::Unavailable, "the run was reloaded; ask again")));
        }
    }

    /// The newest run of a workflow id, if it is in memory: open ones are.
    pub fn latest_in_memory(&self, workflow_id: &str) -> Option<RunKey> {
        self.latest.get(workflow_id).copied()
    }

    pub fn run_mut(&mut self, key: RunKey) -> Option<&mut Run> {
        self.touched.insert(key);
        self.runs.get_mut(&key)
    }

    /// The newest run of a workflow id, in memory or from the file; none if the newest was deleted: those before it are found by their
    /// run ids only.
    pub fn current(&mut self, env: &Env, workflow_id: &str) -> Result<Option<RunKey>, Status> {
        if let Some(key) = self.latest.get(workflow_id) {
            return Ok(Some(*key));
        }
        // Open runs are all in memory: what comes from the file has ended.
        let Some(run) = env.source.current(workflow_id)? else { return Ok(None) };
        let key = run.key;
        // What is in memory may know more than the file.
        if !self.runs.contains_key(&key) {
            self.adopt(run, env.now, false);
            self.closed.push_back(key);
        }
        self.latest.insert(workflow_id.to_owned(), key);
        Ok(Some(key))
    }

    /// The run an execution names, or NotFound.
    pub fn find(
        &mut self,
        env: &Env,
        execution: &Option<temporalio_protos::temporal::api::common::v1::WorkflowExecution>,
    ) -> Result<RunKey, Status> {
        let (workflow_id, run_id) = check_execution(execution)?;
        if run_id.is_empty() {
            return self.current(env, workflow_id)?.ok_or_else(|| not_found(format!("workflow not found for ID: {workflow_id}")));
        }
        let missing = || not_found(format!("workflow execution not found for workflow ID \"{workflow_id}\" and run ID \"{run_id}\""));
        let key = match self.by_run_id.get(run_id) {
            Some(key) => *key,
            None => {
                let run = env.source.by_run_id(run_id)?.ok_or_else(missing)?;
                let key = run.key;
                self.adopt(run, env.now, false);
                self.closed.push_back(key);
                key
            }
        };
        match self.runs.get(&key) {
            Some(run) if run.record.workflow_id == workflow_id => Ok(key),
            _ => Err(missing()),
        }
    }

    /// A run that is in memory.
    pub fn by_run_id(&self, run_id: &str) -> Option<RunKey> {
        self.by_run_id.get(run_id).copied()
    }

    /// An open run, or the service's refusals.
    pub fn find_open(
        &mut self,
        env: &Env,
        execution: &Option<temporalio_protos::temporal::api::common::v1::WorkflowExecution>,
    ) -> Result<&mut Run, Status> {
        let key = self.find(env, execution)?;
        match self.run_mut(key) {
            Some(run) if run.is_open() => Ok(run),
            _ => Err(not_found("workflow execution already completed")),
        }
    }

    pub fn check_namespace(&self, namespace: &str) -> Result<(), Status> {
        if namespace == self.namespace {
            return Ok(());
        }
        if namespace.is_empty() {
            return Err(invalid("Namespace is empty."));
        }
        Err(namespace_not_found(namespace))
    }

    /// The call is another process's, which has a deadline on the monotonic clock. Before [`World::handle`].
    pub fn note_remote(&mut self, call: CallId, deadline: Option<Nanos>) {
        self.remote.insert(call, deadline);
    }

    /// From here on, what is handed out goes to the caller of `call`.
    pub fn hand_to(&mut self, call: CallId) {
        self.hands_to_remote = self.remote.contains_key(&call);
    }

    /// What marks work as handed out to the present caller: work of this process's own workers is void when the process ends.
    pub fn hand_out_epoch(&self) -> i64 {
        if self.hands_to_remote { REMOTE_EPOCH } else { self.epoch }
    }

    /// Applies one request; its reply comes out of [`World::take_replies`], at once or later.
    pub fn handle(&mut self, env: &Env, call: CallId, request: Request) {
        self.hand_to(call);
        let answer = match request {
            Request::GetSystemInfo(_) => Ok(Some(super::namespace::system_info().into())),
            Request::GetClusterInfo(_) => Ok(Some(super::namespace::cluster_info().into())),
            Request::DescribeNamespace(r) => self.describe_namespace(*r),
            Request::ListNamespaces(_) => self.list_namespaces(),
            Request::RegisterNamespace(r) => self.register_namespace(*r),
            Request::ListTaskQueuePartitions(r) => self.list_task_queue_partitions(*r),
            Request::GetWorkflowExecutionHistoryReverse(r) => self.get_history_reverse(env, *r),
            Request::StartWorkflowExecution(r) => self.start(env, *r),
            Request::SignalWithStartWorkflowExecution(r) => self.signal_with_start(env, *r),
            Request::GetWorkflowExecutionHistory(r) => self.get_history(env, call, *r),
            Request::DescribeWorkflowExecution(r) => self.describe(env, *r),
            Request::QueryWorkflow(r) => self.query(env, call, *r),
            Request::SignalWorkflowExecution(r) => self.signal(env, *r),
            Request::UpdateWorkflowExecution(r) => self.update_workflow(env, call, *r),
            Request::PollWorkflowExecutionUpdate(r) => self.poll_update(env, call, *r),
            Request::ExecuteMultiOperation(r) => self.execute_multi(env, call, *r, true),
            Request::RequestCancelWorkflowExecution(r) => self.request_cancel(env, *r),
            Request::TerminateWorkflowExecution(r) => self.terminate(env, *r),
            Request::ResetWorkflowExecution(r) => self.reset(env, *r),
            Request::DeleteWorkflowExecution(r) => self.delete(env, *r),
            Request::PollWorkflowTaskQueue(r) => self.poll(env, call, Kind::Workflow, &r.namespace, r.task_queue, r.identity),
            Request::PollActivityTaskQueue(r) => self.poll_activities(env, call, *r),
            Request::RespondWorkflowTaskCompleted(r) => self.workflow_task_completed(env, *r),
            Request::RespondWorkflowTaskFailed(r) => self.workflow_task_failed(env, *r),
            Request::RespondQueryTaskCompleted(r) => self.query_completed(*r),
            Request::ResetStickyTaskQueue(r) => self.reset_sticky(env, *r),
            Request::ShutdownWorker(r) => self.shutdown_worker(env, *r),
            Request::RecordWorkerHeartbeat(r) => self.record_worker_heartbeat(env, *r),
            Request::ListWorkers(r) => self.list_workers(env, *r),
            Request::CountWorkers(r) => self.count_workers(env, *r),
            Request::DescribeWorker(r) => self.describe_worker(env, *r),
            Request::RecordActivityTaskHeartbeat(r) => self.heartbeat(env, *r),
            Request::RespondActivityTaskCompleted(r) => self.activity_completed(env, *r),
            Request::RespondActivityTaskFailed(r) => self.activity_failed(env, *r),
            Request::RespondActivityTaskCanceled(r) => self.activity_canceled(env, *r),
            Request::RecordActivityTaskHeartbeatById(r) => self.heartbeat_by_id(env, *r),
            Request::RespondActivityTaskCompletedById(r) => self.activity_completed_by_id(env, *r),
            Request::RespondActivityTaskFailedById(r) => self.activity_failed_by_id(env, *r),
            Request::RespondActivityTaskCanceledById(r) => self.activity_canceled_by_id(env, *r),
            Request::PauseActivity(r) => self.pause_activity(env, *r),
            Request::UnpauseActivity(r) => self.unpause_activity(env, *r),
            Request::ResetActivity(r) => self.reset_activity(env, *r),
            Request::UpdateActivityOptions(r) => self.update_activity_options(env, *r),
            Request::ListWorkflowExecutions(r) => self.list(call, *r),
            Request::CountWorkflowExecutions(r) => self.count(call, *r),
            Request::DescribeTaskQueue(r) => self.describe_task_queue(env, *r),
            Request::CreateSchedule(r) => self.create_schedule(env, *r),
            Request::DescribeSchedule(r) => self.describe_schedule(*r),
            Request::UpdateSchedule(r) => self.update_schedule(env, *r),
            Request::PatchSchedule(r) => self.patch_schedule(env, *r),
            Request::DeleteSchedule(r) => self.delete_schedule(*r),
            Request::ListSchedules(r) => self.list_schedules(*r),
            Request::CountSchedules(r) => self.count_schedules(*r),
            Request::ListScheduleMatchingTimes(r) => self.schedule_matching_times(*r),
        };
        match answer {
            Ok(Some(response)) => self.reply(call, Ok(response)),
            Ok(None) => {}
            Err(status) => self.reply(call, Err(status)),
        }
    }

    pub fn reply(&mut self, call: CallId, answer: Result<Response, Status>) {
        self.forget_wait(call);
        self.remote.remove(&call);
        self.replies.push((call, answer));
    }

    pub fn read_later(&mut self, call: CallId, read: Read) {
        self.reads.push((call, read));
    }

    pub fn wait(&mut self, call: CallId, mut until: Nanos, waiting: Waiting) {
        if let (Waiting::Poll(..) | Waiting::History(..), Some(Some(deadline))) = (&waiting, self.remote.get(&call)) {
            until = until.min(deadline - POLL_MARGIN);
        }
        self.waiting.insert(call, waiting);
        self.waits.insert((until, call));
        self.waits_until.insert(call, until);
    }

    fn forget_wait(&mut self, call: CallId) {
        if let Some(until) = self.waits_until.remove(&call) {
            self.waits.remove(&(until, call));
        }
    }

    /// The caller has gone.
    pub fn gone(&mut self, call: CallId) {
        self.forget_wait(call);
        self.remote.remove(&call);
        match self.waiting.remove(&call) {
            Some(Waiting::Poll(queue, _)) => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.pollers.retain(|poller| *poller != call);
                }
            }
            Some(Waiting::History(run, _)) => {
                if let Some(calls) = self.watchers.get_mut(&run) {
                    calls.retain(|watcher| *watcher != call);
                }
            }
            Some(Waiting::Query(query)) => {
                self.queries.remove(&query);
            }
            Some(Waiting::Update(run, id)) => self.forget_update_waiter(call, run, &id),
            None => {}
        }
    }

    /// A reply found nobody: a task in it goes to another poller.
    pub fn undelivered(&mut self, response: Response) {
        if let Response::RespondWorkflowTaskCompleted(answer) = response {
            // Its activities have started, for nobody: whoever polls next gets them as they are.
            for task in answer.activity_tasks {
                self.undelivered(task.into());
            }
            return;
        }
        let queue = match &response {
            Response::PollWorkflowTaskQueue(r) if !r.task_token.is_empty() => self.queue_of(&r.task_token, Kind::Workflow),
            Response::PollActivityTaskQueue(r) if !r.task_token.is_empty() => self.queue_of(&r.task_token, Kind::Activity),
            Response::StartWorkflowExecution(r) => {
                // The task that an eager start brought along.
                if let Some(task) = r.eager_workflow_task.clone().filter(|task| !task.task_token.is_empty()) {
                    self.undelivered(task.into());
                }
                None
            }
            _ => None,
        };
        if let Some(queue) = queue {
            self.enqueue(queue, Task::Again(Box::new(response)), true);
        }
    }

    pub fn enqueue(&mut self, key: QueueKey, task: Task, first: bool) {
        let queue = self.queues.entry(key.clone()).or_default();
        if first {
            queue.tasks.push_front(task)
        } else {
            queue.tasks.push_back(task)
        }
        self.hot.insert(key);
    }

    pub fn heat(&mut self, key: QueueKey) {
        self.hot.insert(key);
    }

    pub fn heat_later(&mut self, at: Nanos, key: QueueKey) {
        self.throttled.insert((at, key));
    }

    /// Everything that is due on either clock.
    pub fn handle_time(&mut self, env: &Env) {
        self.handle_schedule_times(env);
        while let Some((at, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= env.now) {
            self.deadlines.remove(&(at, key));
            let again = self.run_mut(key).and_then(|run| {
                run.deadline = None;
                super::task::handle_deadlines(run, env.now, env.new_id)
            });
            if let Some(again) = again {
                self.begin_following(env, key, Following::Again(Box::new(again)));
            }
            self.file(key);
        }
        while let Some((at, call)) = self.waits.first().copied().filter(|(at, _)| *at <= env.mono) {
            self.waits.remove(&(at, call));
            self.waits_until.remove(&call);
            self.give_up(env, call);
        }
        while self.throttled.first().is_some_and(|(at, _)| *at <= env.mono) {
            if let Some((_, key)) = self.throttled.pop_first() {
                self.heat(key);
            }
        }
    }

    fn give_up(&mut self, env: &Env, call: CallId) {
        if let Some(Waiting::Update(run, id)) = self.waiting.get(&call) {
            let (run, id) = (*run, id.clone());
            if let Some(response) = self.update_timeout(call, run, &id) {
                self.waiting.remove(&call);
                self.reply(call, Ok(response));
            }
            return;
        }
        let answer = match self.waiting.get(&call) {
            None | Some(Waiting::Update(..)) => return,
            Some(Waiting::Poll((Kind::Workflow, _), _)) => Ok(api::PollWorkflowTaskQueueResponse::default().into()),
            Some(Waiting::Poll((Kind::Activity, _), _)) => Ok(api::PollActivityTaskQueueResponse::default().into()),
            Some(Waiting::History(run, wait)) => Ok(self.empty_page(*run, wait).into()),
            Some(Waiting::Query(query)) => Err(self.query_timeout(env, *query)),
        };
        self.gone(call);
        self.reply(call, answer);
    }

    /// Files a run under its next deadline and counts what it has in workers' hands.
    fn file(&mut self, key: RunKey) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        let deadline = run.next_deadline();
        if deadline != run.deadline {
            if let Some(at) = run.deadline {
                self.deadlines.remove(&(at, key));
            }
            if let Some(at) = deadline {
                self.deadlines.insert((at, key));
            }
            run.deadline = deadline;
        }
        let busy = run.busy_count();
        self.busy = self.busy + busy - run.busy;
        run.busy = busy;
    }

    /// Routes what became ready, matches it with pollers and answers those that watch a run.
    pub fn settle(&mut self, env: &Env) {
        loop {
            let scheduled = self.settle_schedules(env);
            let touched = std::mem::take(&mut self.touched);
            if touched.is_empty() && self.hot.is_empty() && !scheduled {
                break;
            }
            for key in &touched {
                self.end_if_too_long(env, *key);
                self.handle_close(env, *key);
                self.settle_updates(env, *key);
                self.route_ready(env, *key);
                self.file(*key);
                if self.runs.get(key).is_some_and(|run| run.dirty) {
                    self.dirty.insert(*key);
                }
                self.answer_watchers(env, *key);
            }
            for queue in std::mem::take(&mut self.hot) {
                self.match_queue(env, &queue);
            }
        }
        self.evict();
    }

    /// A history that has grown beyond every use: the service ends its workflow.
    fn end_if_too_long(&mut self, env: &Env, key: RunKey) {
        let limits = self.limits;
        let Some(run) = self.runs.get_mut(&key).filter(|run| run.is_open()) else { return };
        let reason = if run.record.history_bytes > limits.history_bytes {
            "Workflow history size exceeds limit."
        } else if run.last_event_id() > limits.history_events {
            "Workflow history count exceeds limit."
        } else {
            return;
        };
        run.terminate(env.now, reason.into(), None, "history-service".into());
    }

    fn evict(&mut self) {
        while self.closed.len() > MAX_CLOSED_RUNS {
            let Some(key) = self.closed.pop_front() else { break };
            let idle = self.runs.get(&key).is_some_and(|run| !run.is_open() && !run.dirty && run.queries.is_empty());
            if idle && !self.watchers.contains_key(&key) {
                self.forget(key);
            } else if self.runs.contains_key(&key) {
                self.closed.push_back(key);
                break;
            }
        }
    }

    /// The run waits for its turn to leave the memory; called once, by `handle_close`.
    pub fn note_closed(&mut self, key: RunKey) {
        self.closed.push_back(key);
    }

    pub fn take_replies(&mut self) -> Vec<(CallId, Result<Response, Status>)> {
        std::mem::take(&mut self.replies)
    }

    pub fn take_reads(&mut self) -> Vec<(CallId, Read)> {
        std::mem::take(&mut self.reads)
    }

    pub fn replies_mut(&mut self) -> &mut [(CallId, Result<Response, Status>)] {
        &mut self.replies
    }

    /// The runs that need a transaction.
    pub fn take_dirty(&mut self) -> BTreeSet<RunKey> {
        std::mem::take(&mut self.dirty)
    }

    /// Whether nothing is left to route or match.
    pub fn is_settled(&self) -> bool {
        self.touched.is_empty() && self.hot.is_empty() && self.schedules.is_settled()
    }

    pub fn next_workflow_deadline(&self) -> Option<Nanos> {
        let run = self.deadlines.first().map(|(at, _)| *at);
        run.into_iter().chain(self.schedules.next_deadline()).min()
    }

    pub fn next_wait(&self) -> Option<Nanos> {
        self.waits.first().map(|(at, _)| *at).into_iter().chain(self.throttled.first().map(|(at, _)| *at)).min()
    }

    /// Whether workers have, or are about to take, something: workflow time must not jump then.
    pub fn is_busy(&self, mono: Nanos) -> bool {
        self.busy > 0
            || self.queues.iter().any(|(key, queue)| queue.has_worker(mono) && queue.tasks.iter().any(|task| self.is_waiting(key, task)))
    }

    /// Whether a client waits for workflow time to pass.
    pub fn has_waiting_client(&self) -> bool {
        self.waiting.values().any(|waiting| !matches!(waiting, Waiting::Poll(..)))
    }
}

/// The workflow id and the run id that an execution names.
pub fn check_execution(
    execution: &Option<temporalio_protos::temporal::api::common::v1::WorkflowExecution>,
) -> Result<(&str, &str), Status> {
    let Some(execution) = execution else { return Err(invalid("Execution is not set on request.")) };
    let (workflow_id, run_id) = (execution.workflow_id.as_str(), execution.run_id.as_str());
    if workflow_id.is_empty() {
        return Err(invalid("WorkflowId is not set on request."));
    }
    if !run_id.is_empty() && uuid::Uuid::parse_str(run_id).is_err() {
        return Err(invalid("Invalid RunId."));
    }
    Ok((workflow_id, run_id))
}

pub fn namespace_not_found(namespace: &str) -> Status {
    let detail = NamespaceNotFoundFailure { namespace: namespace.into() };
    Status::with_detail(
        Code::NotFound,
        format!("Namespace {namespace} is not found."),
        "temporal.api.errordetails.v1.NamespaceNotFoundFailure",
        &detail,
    )
}
