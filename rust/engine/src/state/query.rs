//! Queries: carried by a workflow task when one is on its way, else handed out by themselves.

use durable_client::{Code, Response, Status};
use temporalio_protos::temporal::api::{
    enums::v1::{QueryRejectCondition, QueryResultType, WorkflowExecutionStatus},
    errordetails::v1::QueryFailedFailure,
    failure::v1::Failure,
    query::v1::{QueryRejected, WorkflowQuery},
    workflowservice::v1 as api,
};

use super::{
    limit::{MAX_QUERIES, check_blob, invalid, not_found},
    matching::{Kind, QueueKey, Task},
    record::TaskToken,
    run::RunKey,
    time::{Nanos, SECOND},
    update::not_ready,
    world::{Answer, CallId, Env, Waiting, World},
};
use prost::Message;

/// A caller in process has no deadline of its own; the SDKs' default is 10 s.
const QUERY_WAIT: Nanos = 10 * SECOND;

#[derive(Debug)]
pub struct Query {
    pub call: CallId,
    pub run: RunKey,
    pub query: WorkflowQuery,
    /// On a task queue or in a worker's hands, by itself.
    pub direct: bool,
}

pub fn query_failed(message: String, failure: Option<Failure>) -> Status {
    Status::with_detail(Code::InvalidArgument, message, "temporal.api.errordetails.v1.QueryFailedFailure", &QueryFailedFailure { failure })
}

impl World {
    pub fn query(&mut self, env: &Env, call: CallId, request: api::QueryWorkflowRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let condition = request.query_reject_condition();
        let Some(query) = request.query else { return Err(invalid("WorkflowQuery is not set on request.")) };
        if query.query_type.is_empty() {
            return Err(invalid("QueryType is not set on request."));
        }
        check_blob("QueryWorkflowRequest.Query", &query.query_args)?;
        let key = self.find(env, &request.execution)?;
        let Some(run) = self.run_mut(key) else { return Err(not_found("the run has gone")) };
        let completed = run.record.status == WorkflowExecutionStatus::Completed as i32;
        let rejected = !run.is_open()
            && match condition {
                QueryRejectCondition::NotOpen => true,
                QueryRejectCondition::NotCompletedCleanly => !completed,
                _ => false,
            };
        if rejected {
            let status = run.record.status;
            return Ok(Some(api::QueryWorkflowResponse { query_rejected: Some(QueryRejected { status }), ..Default::default() }.into()));
        }
        let never_ran = run.record.previous_started_event_id == 0;
        if !run.is_open() && never_ran {
            // Nobody ever ran it, and nobody will.
            return Err(not_ready("Workflow execution closed before WorkflowTaskStarted event"));
        }
        if never_ran && run.record.task.is_none() && run.record.first_task_time > env.now + QUERY_WAIT {
            return Err(not_ready("Workflow task is not scheduled yet."));
        }
        if run.keeps_failing() {
            let problem = &run.record.task_problem;
            return Err(not_ready(&format!("Unable to query workflow due to Workflow Task in failed state: {problem}")));
        }
        if run.queries.len() >= MAX_QUERIES {
            return Err(Status::new(Code::ResourceExhausted, "too many queries wait for this workflow"));
        }
        let id = self.next_query;
        self.next_query += 1;
        if let Some(run) = self.runs.get_mut(&key) {
            run.queries.push(id);
        }
        self.queries.insert(id, Query { call, run: key, query, direct: false });
        self.wait(call, env.mono + QUERY_WAIT, Waiting::Query(id));
        Ok(None)
    }

    /// Queries of a run without a pending workflow task go to a worker by themselves.
    pub fn route_queries(&mut self, env: &Env, key: RunKey) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        if run.queries.is_empty() || (run.is_open() && (run.record.task.is_some() || run.record.previous_started_event_id == 0)) {
            return;
        }
        let ids = std::mem::take(&mut run.queries);
        let sticky = (Kind::Workflow, run.record.sticky_queue.clone());
        let normal = (Kind::Workflow, run.task_queue().to_owned());
        let alive = !sticky.1.is_empty() && self.queues.get(&sticky).is_some_and(|queue| queue.has_worker(env.mono));
        for id in ids {
            if let Some(query) = self.queries.get_mut(&id) {
                query.direct = true;
                self.enqueue(if alive { sticky.clone() } else { normal.clone() }, Task::Query(id), false);
            }
        }
    }

    /// A query whose task queue has gone waits in its run again.
    pub fn route_query_again(&mut self, id: u64) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        query.direct = false;
        let key = query.run;
        if let Some(run) = self.run_mut(key) {
            run.queries.push(id);
        }
    }

    pub fn hand_out_query(&mut self, env: &Env, id: u64, queue: &QueueKey) -> Result<Option<Response>, Status> {
        let Some(query) = self.queries.get(&id) else { return Ok(None) };
        let Some(run) = self.runs.get(&query.run) else { return Ok(None) };
        let token = TaskToken { run_key: query.run, query: id, run_id: run.record.run_id.clone(), epoch: self.epoch, ..Default::default() };
        let sticky = run.record.sticky_queue == queue.1;
        let from = if sticky { run.record.next_event_id } else { 1 };
        let mut response = self.workflow_response(env, query.run, token, from)?;
        response.query = Some(query.query.clone());
        Ok(Some(response.into()))
    }

    pub fn query_completed(&mut self, request: api::RespondQueryTaskCompletedRequest) -> Answer {
        if request.task_token.is_empty() {
            return Err(invalid("Task token not set on request."));
        }
        let token = TaskToken::decode(request.task_token.as_slice()).map_err(|_| invalid("Invalid TaskToken."))?;
        if token.epoch != self.epoch || !self.queries.contains_key(&token.query) {
            return Err(not_found("query task not found, or already expired"));
        }
        let answer = match request.completed_type() {
            QueryResultType::Answered => Ok(api::QueryWorkflowResponse { query_result: request.query_result, ..Default::default() }.into()),
            _ => Err(query_failed(request.error_message, request.failure)),
        };
        self.end_query(token.query, answer);
        Ok(Some(api::RespondQueryTaskCompletedResponse::default().into()))
    }

    pub fn end_query(&mut self, id: u64, answer: Result<Response, Status>) {
        if let Some(query) = self.queries.remove(&id) {
            self.waiting.remove(&query.call);
            self.reply(query.call, answer);
        }
    }

    pub fn query_timeout(&self, env: &Env, id: u64) -> Status {
        let queue =
            self.queries.get(&id).and_then(|query| self.runs.get(&query.run)).map(|run| run.task_queue().to_owned()).unwrap_or_default();
        let alive = self.queues.get(&(Kind::Workflow, queue.clone())).is_some_and(|queue| queue.has_worker(env.mono));
        let hint =
            if alive { "the worker did not answer in time".to_owned() } else { format!("no worker polls task queue {queue:?}; start one") };
        Status::new(Code::DeadlineExceeded, format!("the query was not answered within 10 s\nhint: {hint}"))
    }
}
