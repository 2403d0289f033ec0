//! Tasks on their way to workers and back: polls, matching, and the workers' answers.

use durable_client::{Response, Status};
use prost::Message as _;
use temporalio_protos::temporal::api::{
    command::v1::Command,
    common::v1::WorkflowExecution,
    enums::v1::{QueryResultType, WorkflowTaskFailedCause as Cause},
    failure::v1::{Failure, ServerFailureInfo, failure::FailureInfo},
    history::v1::{History, TimerFiredEventAttributes, WorkflowTaskCompletedEventAttributes, history_event::Attributes},
    protocol::v1::Message,
    taskqueue::v1::{StickyExecutionAttributes, TaskQueue},
    workflowservice::v1 as api,
};

use super::{
    chain::Again,
    command::Given,
    limit::{check_queue, invalid, not_found},
    matching::{Kind, LISTED, QueueKey, Task},
    oversize::oversized,
    record::TaskToken,
    run::{Ready, Run, RunKey},
    time::{Nanos, SECOND, length, timestamp},
    update::{Messages, Said},
    workflow_task::pascal,
    world::{Answer, Env, Waiting, World},
};

/// Events that a dropped speculative task may have brought: they are brought again with the next one.
const MAX_BROUGHT_TWICE: i64 = 10;
/// The server's long poll.
const POLL: Nanos = 60 * SECOND;

/// What is due in one run, in the order of the moments; answers the run that follows, if this one ended.
pub fn handle_deadlines(run: &mut Run, now: Nanos, new_id: &dyn Fn() -> String) -> Option<Again> {
    // Each turn removes or moves one deadline; the bound is a guard against a deadline that stays.
    for _ in 0..100_000 {
        if run.next_deadline().is_none_or(|at| at > now) {
            return None;
        }
        let over = |at: Nanos| at > 0 && at <= now;
        if over(run.record.run_deadline) || over(run.record.execution_deadline) {
            return run.time_out(now, new_id);
        } else if over(run.record.first_task_time) {
            run.record.first_task_time = 0;
            run.schedule_task(now);
        } else if let Some((_, started_event_id, timer_id)) = run
            .record
            .timers
            .iter()
            .filter(|(_, timer)| timer.fire_time <= now)
            .map(|(id, timer)| (timer.fire_time, timer.started_event_id, id.clone()))
            .min()
        {
            run.record.timers.remove(&timer_id);
            run.add_outside(now, Attributes::TimerFiredEventAttributes(TimerFiredEventAttributes { timer_id, started_event_id }));
            run.schedule_task(now);
        } else if let Some((_, id, deadline)) = run
            .activities
            .values()
            .filter_map(|activity| {
                super::activity::next_deadline(activity).map(|(at, deadline)| (at, activity.scheduled_event_id, deadline))
            })
            .filter(|(at, ..)| *at <= now)
            .min_by_key(|(at, id, _)| (*at, *id))
        {
            run.handle_activity_deadline(now, id, deadline);
        } else {
            run.handle_task_deadline(now);
        }
    }
    None
}

fn task_gone() -> Status {
    not_found("Workflow task not found.")
}

pub fn decode(token: &[u8]) -> Result<TaskToken, Status> {
    if token.is_empty() {
        return Err(invalid("Task token not set on request."));
    }
    TaskToken::decode(token).map_err(|_| invalid("Invalid TaskToken."))
}

impl World {
    /// An activity worker's poll, which may say how many tasks a second the whole queue is to give.
    pub fn poll_activities(&mut self, env: &Env, call: u64, request: api::PollActivityTaskQueueRequest) -> Answer {
        let name = request.task_queue.as_ref().map(|queue| queue.name.clone()).unwrap_or_default();
        let answer = self.poll(env, call, Kind::Activity, &request.namespace, request.task_queue, request.identity);
        if let Some(queue) = self.queues.get_mut(&(Kind::Activity, name)) {
            queue.set_rate(request.task_queue_metadata.and_then(|metadata| metadata.max_tasks_per_second));
        }
        answer
    }

    pub fn poll(&mut self, env: &Env, call: u64, kind: Kind, namespace: &str, queue: Option<TaskQueue>, identity: String) -> Answer {
        self.check_namespace(namespace)?;
        let name = queue.map(|queue| queue.name).unwrap_or_default();
        check_queue(&name)?;
        let key = (kind, name);
        let queue = self.queues.entry(key.clone()).or_default();
        queue.seen.retain(|_, at| env.mono - *at < LISTED);
        queue.seen.insert(identity.clone(), env.mono);
        queue.pollers.push_back(call);
        self.wait(call, env.mono + POLL, Waiting::Poll(key.clone(), identity));
        self.heat(key);
        Ok(None)
    }

    /// Puts what became ready in a run on its queue.
    pub fn route_ready(&mut self, env: &Env, key: RunKey) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        for ready in std::mem::take(&mut run.ready) {
            let Some(run) = self.runs.get_mut(&key) else { return };
            match ready {
                Ready::WorkflowTask => {
                    let sticky = (Kind::Workflow, run.record.sticky_queue.clone());
                    let is_sticky = run.record.task.as_ref().is_some_and(|task| task.sticky);
                    let alive = is_sticky && self.queues.get(&sticky).is_some_and(|queue| queue.has_worker(env.mono));
                    if is_sticky && !alive {
                        run.clear_sticky();
                    }
                    let queue = if alive { sticky } else { (Kind::Workflow, run.task_queue().to_owned()) };
                    self.enqueue(queue, Task::Workflow(key), false);
                }
                Ready::Activity(id) => {
                    if let Some(name) = run.activities.get(&id).map(|activity| activity.queue().to_owned()) {
                        self.enqueue((Kind::Activity, name), Task::Activity(key, id), false);
                    }
                }
            }
        }
        self.route_queries(env, key);
    }

    /// Whether an entry of a queue still stands for waiting work.
    pub fn is_waiting(&self, queue: &QueueKey, task: &Task) -> bool {
        match task {
            Task::Workflow(key) => self.runs.get(key).is_some_and(|run| {
                let expected = |task: &super::record::TaskRecord| {
                    if task.sticky { run.record.sticky_queue == queue.1 } else { run.task_queue() == queue.1 }
                };
                run.record.task.as_ref().is_some_and(|task| !task.is_started() && task.not_before <= task.scheduled_time && expected(task))
            }),
            Task::Activity(key, id) => {
                self.runs.get(key).and_then(|run| run.activities.get(id)).is_some_and(|activity| {
                    activity.queued && activity.started_time == 0 && !activity.paused && activity.queue() == queue.1
                })
            }
            Task::Query(id) => self.queries.contains_key(id),
            Task::Again(response) => match response.as_ref() {
                Response::PollWorkflowTaskQueue(r) if r.query.is_some() => {
                    decode(&r.task_token).is_ok_and(|token| self.queries.contains_key(&token.query))
                }
                Response::PollWorkflowTaskQueue(r) => decode(&r.task_token).is_ok_and(|token| self.check_task(&token).is_ok()),
                Response::PollActivityTaskQueue(r) => decode(&r.task_token).is_ok_and(|token| self.check_activity(&token).is_ok()),
                _ => false,
            },
        }
    }

    /// The queue a handed-out task came from.
    pub fn queue_of(&self, token: &[u8], kind: Kind) -> Option<QueueKey> {
        let token = decode(token).ok()?;
        let run = self.runs.get(&token.run_key)?;
        let name = match kind {
            Kind::Activity => run.activities.get(&token.scheduled_event_id)?.queue().to_owned(),
            Kind::Workflow if run.record.task.as_ref().is_some_and(|task| task.sticky) && !run.record.sticky_queue.is_empty() => {
                run.record.sticky_queue.clone()
            }
            Kind::Workflow => run.task_queue().to_owned(),
        };
        Some((kind, name))
    }

    pub fn match_queue(&mut self, env: &Env, key: &QueueKey) {
        loop {
            let Some(queue) = self.queues.get_mut(key) else { return };
            if let Some(at) = queue.throttle(env.mono) {
                self.heat_later(at, key.clone());
                return;
            }
            let Some(call) = queue.pollers.front().copied() else { return };
            let Some(task) = queue.tasks.pop_front() else { return };
            if !self.is_waiting(key, &task) {
                continue;
            }
            let identity = match self.waiting.get(&call) {
                Some(Waiting::Poll(_, identity)) => identity.clone(),
                _ => String::new(),
            };
            self.hand_to(call);
            let response = match task {
                Task::Workflow(run) => self.hand_out_workflow(env, run, &identity),
                Task::Activity(run, id) => Ok(self.take_activity(env, run, id, &identity).map(Into::into)),
                Task::Query(id) => self.hand_out_query(env, id, key),
                Task::Again(response) => Ok(Some(*response)),
            };
            match response {
                Ok(None) => {}
                Ok(Some(response)) => {
                    if let Some(queue) = self.queues.get_mut(key) {
                        queue.count_task(env.mono);
                    }
                    self.gone(call);
                    self.reply(call, Ok(response));
                }
                Err(status) => {
                    self.gone(call);
                    self.reply(call, Err(status));
                }
            }
        }
    }

    fn hand_out_workflow(&mut self, env: &Env, key: RunKey, identity: &str) -> Result<Option<Response>, Status> {
        Ok(self.take_workflow_task(env, key, identity)?.map(Into::into))
    }

    /// Starts the waiting workflow task of a run for a worker that is not at a queue.
    pub fn take_workflow_task(
        &mut self,
        env: &Env,
        key: RunKey,
        identity: &str,
    ) -> Result<Option<api::PollWorkflowTaskQueueResponse>, Status> {
        let epoch = self.hand_out_epoch();
        let request_id = (env.new_id)();
        let Some(run) = self.run_mut(key) else { return Ok(None) };
        if run.start_task(env.now, identity, request_id, epoch).is_none() {
            return Ok(None);
        }
        run.started_queries = std::mem::take(&mut run.queries);
        let started_event_id = run.record.task.as_ref().map_or(0, |task| task.started_event_id);
        let messages = run.send_updates(started_event_id);
        let run = &*run;
        let Some(task) = &run.record.task else { return Ok(None) };
        let token = TaskToken {
            run_key: key,
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            epoch: task.epoch,
            started_time: task.started_time,
            query: 0,
            run_id: run.record.run_id.clone(),
        };
        let from = if task.sticky { run.record.previous_started_event_id + 1 } else { 1 };
        let queries: Vec<u64> = run.started_queries.clone();
        let mut response = self.workflow_response(env, key, token, from)?;
        response.messages = messages;
        for id in queries {
            if let Some(query) = self.queries.get(&id) {
                response.queries.insert(id.to_string(), query.query.clone());
            }
        }
        Ok(Some(response))
    }

    /// The answer to a poll with the history from event `from` on.
    pub fn workflow_response(
        &self,
        env: &Env,
        key: RunKey,
        token: TaskToken,
        from: i64,
    ) -> Result<api::PollWorkflowTaskQueueResponse, Status> {
        let Some(run) = self.runs.get(&key) else { return Err(task_gone()) };
        let end = run.record.next_event_id;
        let (mut events, next) = self.events_page(env, run, from, end, usize::MAX)?;
        let next_page_token = if next < end { super::read::page_token(run, next, end) } else { Vec::new() };
        let task = run.record.task.clone().filter(|_| token.query == 0).unwrap_or_default();
        if next_page_token.is_empty() && token.query == 0 {
            events.extend(run.transient_events());
        }
        let started = if token.query == 0 { task.started_event_id } else { run.record.previous_started_event_id };
        Ok(api::PollWorkflowTaskQueueResponse {
            task_token: token.encode_to_vec(),
            workflow_execution: Some(WorkflowExecution { workflow_id: run.record.workflow_id.clone(), run_id: run.record.run_id.clone() }),
            workflow_type: run.started().workflow_type.clone(),
            previous_started_event_id: run.record.previous_started_event_id,
            started_event_id: started,
            attempt: task.attempt.max(1),
            history: Some(History { events }),
            next_page_token,
            workflow_execution_task_queue: run.started().task_queue.clone(),
            scheduled_time: (task.scheduled_time > 0).then(|| timestamp(task.scheduled_time)),
            started_time: (task.started_time > 0).then(|| timestamp(task.started_time)),
            ..Default::default()
        })
    }

    fn check_task(&self, token: &TaskToken) -> Result<(), Status> {
        let run = self.runs.get(&token.run_key).filter(|run| run.record.run_id == token.run_id).ok_or_else(task_gone)?;
        if !run.is_open() {
            return Err(not_found("workflow execution already completed"));
        }
        run.record
            .task
            .as_ref()
            .filter(|task| {
                task.is_started()
                    && task.started_event_id == token.started_event_id
                    && task.scheduled_event_id == token.scheduled_event_id
                    && task.attempt == token.attempt
                    && task.epoch == token.epoch
                    && task.started_time == token.started_time
            })
            .map(|_| ())
            .ok_or_else(task_gone)
    }

    pub fn workflow_task_completed(&mut self, env: &Env, mut request: api::RespondWorkflowTaskCompletedRequest) -> Answer {
        let token = decode(&request.task_token)?;
        self.check_task(&token)?;
        let key = token.run_key;
        let identity = request.identity.clone();
        let messages = std::mem::take(&mut request.messages);
        let namespace = self.namespace.clone();
        let completed = self.attributes.complete_commands(&mut request.commands).map_err(named);
        let Some(run) = self.run_mut(key) else { return Err(task_gone()) };
        if let Some((cause, message)) = oversized(&request.commands) {
            let message = refusal(cause, &message);
            run.abort_sent_updates();
            run.end_by_refusal(env.now, cause, message.clone(), &identity);
            return Err(invalid(message));
        }
        let messages = match completed.and_then(|()| run.check_completion(&namespace, &request.commands, messages)) {
            Ok(messages) => messages,
            Err((cause, message)) => {
                run.abort_sent_updates();
                run.fail_task(env.now, cause, Some(server_failure(message.clone(), false)), &identity);
                return Err(invalid(message));
            }
        };
        if run.never_was(&request, &messages) {
            return Ok(Some(self.drop_task(env, key, request, messages).into()));
        }
        run.write_transient();
        let completed = run.add(
            env.now,
            Attributes::WorkflowTaskCompletedEventAttributes(WorkflowTaskCompletedEventAttributes {
                scheduled_event_id: token.scheduled_event_id,
                started_event_id: token.started_event_id,
                identity: identity.clone(),
                binary_checksum: request.binary_checksum,
                worker_version: request.worker_version_stamp,
                sdk_metadata: request.sdk_metadata,
                metering_metadata: request.metering_metadata,
                ..Default::default()
            }),
        );
        run.record.transitions += 1;
        run.record.previous_started_event_id = token.started_event_id;
        run.record.task = None;
        run.record.task_failures = 0;
        run.attributes_changed |= !run.record.task_problem_cause.is_empty();
        run.record.task_problem.clear();
        run.record.task_problem_cause.clear();
        run.set_sticky(request.sticky_attributes);
        // An activity cancelled before its start ends while the commands are applied: one workflow task for all, after them.
        run.record.first_task_time = Nanos::MAX;
        run.applies_commands = true;
        let applied =
            run.apply_commands(env.now, &namespace, request.commands, Given { messages, completed, identity: &identity }, env.new_id);
        run.applies_commands = false;
        run.record.first_task_time = 0;
        if !applied.closed {
            if !request.force_create_new_workflow_task {
                run.reject_unprocessed_updates();
            }
            if run.flush_buffered() || request.force_create_new_workflow_task {
                run.schedule_task(env.now);
            } else if run.has_unsent_updates() {
                run.schedule_speculative_task(env.now);
            }
        }
        // Asked for by a worker that has something to tell in it: it goes nowhere else.
        let hand_back = request.force_create_new_workflow_task && request.return_new_workflow_task && !applied.closed;
        let carried = std::mem::take(&mut run.started_queries);
        self.answer_queries(carried, key, request.query_results);
        if let Some(following) = applied.following {
            self.begin_following(env, key, following);
        }
        for outgoing in applied.outgoing {
            self.send(env, key, outgoing);
        }
        let activity_tasks = self.take_eager_activities(env, key, applied.eager, &identity);
        let workflow_task = if hand_back { self.take_workflow_task(env, key, &identity)? } else { None };
        Ok(Some(api::RespondWorkflowTaskCompletedResponse { workflow_task, activity_tasks, ..Default::default() }.into()))
    }

    /// A speculative task whose updates were all rejected: the history does not know of it, and the worker takes back what it saw of it.
    fn drop_task(
        &mut self,
        env: &Env,
        key: RunKey,
        request: api::RespondWorkflowTaskCompletedRequest,
        messages: Messages,
    ) -> api::RespondWorkflowTaskCompletedResponse {
        let Some(run) = self.run_mut(key) else { return api::RespondWorkflowTaskCompletedResponse::default() };
        run.record.task = None;
        run.set_sticky(request.sticky_attributes);
        for (_, id, said) in messages.into_values() {
            run.apply_message(env.now, id, said);
        }
        run.reject_unprocessed_updates();
        if run.has_unsent_updates() {
            run.schedule_speculative_task(env.now);
        }
        let reset_history_event_id = run.record.previous_started_event_id;
        let carried = std::mem::take(&mut run.started_queries);
        self.answer_queries(carried, key, request.query_results);
        api::RespondWorkflowTaskCompletedResponse { reset_history_event_id, ..Default::default() }
    }

    fn answer_queries(
        &mut self,
        carried: Vec<u64>,
        key: RunKey,
        mut results: std::collections::HashMap<String, temporalio_protos::temporal::api::query::v1::WorkflowQueryResult>,
    ) {
        for id in carried {
            match results.remove(&id.to_string()) {
                Some(result) if result.result_type() == QueryResultType::Answered => {
                    self.end_query(id, Ok(api::QueryWorkflowResponse { query_result: result.answer, ..Default::default() }.into()));
                }
                Some(result) => self.end_query(id, Err(super::query::query_failed(result.error_message, result.failure))),
                None => {
                    if let Some(run) = self.runs.get_mut(&key) {
                        run.queries.push(id);
                    }
                }
            }
        }
    }

    pub fn workflow_task_failed(&mut self, env: &Env, request: api::RespondWorkflowTaskFailedRequest) -> Answer {
        let token = decode(&request.task_token)?;
        self.check_task(&token)?;
        let cause = request.cause();
        if let Some(run) = self.run_mut(token.run_key) {
            run.fail_task(env.now, cause, request.failure, &request.identity);
        }
        Ok(Some(api::RespondWorkflowTaskFailedResponse::default().into()))
    }

    pub fn reset_sticky(&mut self, env: &Env, request: api::ResetStickyTaskQueueRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let run = self.find_open(env, &request.execution)?;
        unstick(run);
        Ok(Some(api::ResetStickyTaskQueueResponse::default().into()))
    }

    /// The worker has gone: its sticky runs go back to the normal queue, its parked polls end.
    pub fn shutdown_worker(&mut self, env: &Env, request: api::ShutdownWorkerRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        self.note_worker(env, request.worker_heartbeat);
        let name = request.sticky_task_queue;
        if !name.is_empty() {
            let stuck: Vec<RunKey> = self.runs.values().filter(|run| run.record.sticky_queue == name).map(|run| run.key).collect();
            for key in stuck {
                if let Some(run) = self.run_mut(key) {
                    unstick(run);
                }
            }
            let queue = self.queues.remove(&(Kind::Workflow, name)).unwrap_or_default();
            for call in queue.pollers {
                self.waiting.remove(&call);
                self.reply(call, Ok(api::PollWorkflowTaskQueueResponse::default().into()));
            }
            // Its workflow tasks are their runs' and find their way from there; a query is nobody's but its caller's, and a task that was
            // handed out to nobody is started.
            for task in queue.tasks {
                match task {
                    Task::Query(id) => self.route_query_again(id),
                    Task::Again(response) => self.undelivered(*response),
                    Task::Workflow(_) | Task::Activity(..) => {}
                }
            }
        }
        Ok(Some(api::ShutdownWorkerResponse::default().into()))
    }
}

fn unstick(run: &mut Run) {
    run.clear_sticky();
    if run.record.task.as_ref().is_some_and(|task| !task.is_started() && task.not_before <= task.scheduled_time) {
        run.ready.push(Ready::WorkflowTask);
    }
}

pub fn server_failure(message: String, non_retryable: bool) -> Failure {
    Failure { message, failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable })), ..Default::default() }
}

/// A refusal in the service's words.
fn refusal(cause: Cause, message: &str) -> String {
    format!("{}: {message}", pascal(cause.as_str_name(), "WORKFLOW_TASK_FAILED_CAUSE_"))
}

/// A refusal as the service words it.
fn named((cause, message): (Cause, String)) -> (Cause, String) {
    (cause, refusal(cause, &message))
}

impl Run {
    /// Ends the run whose task was completed with something that no later attempt would do better.
    fn end_by_refusal(&mut self, now: Nanos, cause: Cause, message: String, identity: &str) {
        self.end_failed_task(now, cause, Some(server_failure(message.clone(), false)), identity);
        self.terminate(now, message, None, "history-service".into());
    }

    /// Checks a completion as a whole: nothing has changed when this refuses.
    fn check_completion(&self, namespace: &str, commands: &[Command], messages: Vec<Message>) -> Result<Messages, (Cause, String)> {
        let checked = super::update::parse(messages).and_then(|messages| {
            self.check_messages(commands, &messages)?;
            self.check_commands(namespace, commands)?;
            Ok(messages)
        });
        let messages = checked.map_err(named)?;
        if self.ends_unseen(commands) {
            return Err((Cause::UnhandledCommand, "UnhandledCommand".into()));
        }
        Ok(messages)
    }

    /// Whether the task was speculative and leads to nothing: then it is not written. What it brought besides must not be brought too
    /// often, and only to a worker that can take it twice.
    fn never_was(&self, request: &api::RespondWorkflowTaskCompletedRequest, messages: &Messages) -> bool {
        let speculative = self.record.task.as_ref().is_some_and(|task| task.speculative);
        let takes_twice = request.capabilities.is_some_and(|capabilities| capabilities.discard_speculative_workflow_task_with_events);
        let brought = self.record.next_event_id - (self.record.previous_started_event_id + 2);
        speculative
            && request.commands.is_empty()
            && !request.force_create_new_workflow_task
            && brought <= if takes_twice { MAX_BROUGHT_TWICE } else { 0 }
            && messages.values().all(|(.., said)| matches!(said, Said::Rejected(_)))
    }

    fn set_sticky(&mut self, attributes: Option<StickyExecutionAttributes>) {
        match attributes {
            Some(sticky) => {
                self.record.sticky_timeout = length(&sticky.schedule_to_start_timeout);
                self.record.sticky_queue = sticky.worker_task_queue.map(|queue| queue.name).unwrap_or_default();
            }
            None => self.clear_sticky(),
        }
    }
}
