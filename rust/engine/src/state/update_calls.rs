//! The calls about updates: asking for one, waiting for one, and starting a workflow together with one.

use durable_client::{Code, Response, Status};
use prost::Message as _;
use temporalio_protos::{
    google::rpc,
    temporal::api::{
        common::v1::WorkflowExecution,
        enums::v1::{UpdateWorkflowExecutionLifecycleStage as Lifecycle, WorkflowIdConflictPolicy},
        errordetails::v1::{MultiOperationExecutionFailure, PermissionDeniedFailure, multi_operation_execution_failure::OperationStatus},
        failure::v1::MultiOperationExecutionAborted,
        history::v1::history_event::Attributes,
        update::v1::{Outcome, Request, UpdateRef, WaitPolicy},
        workflowservice::v1::{
            self as api, execute_multi_operation_request::operation::Operation, execute_multi_operation_response as multi,
        },
    },
};

use super::{
    limit::{MAX_ID_LENGTH, check_blob, invalid, not_found},
    run::RunKey,
    start::check_start,
    time::{Nanos, SECOND, length},
    update::{AnswerTo, Ended, Stage, Waiter, outlived, update_id},
    world::{Answer, CallId, Env, Waiting, World},
};

/// The server's long poll: after it the caller is told the stage that is reached, and asks again.
const WAIT: Nanos = 20 * SECOND;

/// What is known of an update.
enum Known {
    InFlight,
    Outcome(Box<Outcome>),
}

fn policy_stage(policy: &Option<WaitPolicy>) -> Lifecycle {
    policy.as_ref().map_or(Lifecycle::Unspecified, WaitPolicy::lifecycle_stage)
}

/// The frontend's checks of a request; a missing update id is made up.
fn check(env: &Env, request: &mut api::UpdateWorkflowExecutionRequest) -> Result<Lifecycle, Status> {
    super::world::check_execution(&request.workflow_execution)?;
    let Some(update) = request.request.as_mut() else { return Err(invalid("Update meta is not set on request.")) };
    let Some(meta) = update.meta.as_mut() else { return Err(invalid("Update meta is not set on request.")) };
    if meta.update_id.len() > MAX_ID_LENGTH {
        return Err(invalid("UpdateId length exceeds limit."));
    }
    if meta.update_id.is_empty() {
        meta.update_id = (env.new_id)();
    }
    let Some(input) = &update.input else { return Err(invalid("Update input is not set on request.")) };
    if input.name.is_empty() {
        return Err(invalid("Update name is not set on request."));
    }
    check_blob("UpdateWorkflowExecutionRequest.Request.Input", &input.args)?;
    match policy_stage(&request.wait_policy) {
        Lifecycle::Admitted => Err(Status::with_detail(
            Code::PermissionDenied,
            "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.",
            "temporal.api.errordetails.v1.PermissionDeniedFailure",
            &PermissionDeniedFailure::default(),
        )),
        Lifecycle::Unspecified => Ok(Lifecycle::Completed),
        stage => Ok(stage),
    }
}

fn multi_error(start: Option<Status>, update: Status) -> Status {
    let to_operation = |status: &Status| OperationStatus {
        code: status.code as i32,
        message: status.message.clone(),
        details: rpc::Status::decode(status.details.as_slice()).map(|status| status.details).unwrap_or_default(),
    };
    let statuses: Vec<OperationStatus> = vec![start.as_ref().map(to_operation).unwrap_or_default(), to_operation(&update)];
    let is_cause = |status: &&OperationStatus| status.code != Code::Ok as i32 && status.code != Code::Aborted as i32;
    let code = statuses.iter().find(is_cause).map_or(Code::Aborted, |status| Code::from_i32(status.code));
    Status::with_detail(
        code,
        "Update-with-Start could not be executed.",
        "temporal.api.errordetails.v1.MultiOperationExecutionFailure",
        &MultiOperationExecutionFailure { statuses },
    )
}

fn aborted() -> Status {
    Status::with_detail(
        Code::Aborted,
        "Operation was aborted.",
        "temporal.api.failure.v1.MultiOperationExecutionAborted",
        &MultiOperationExecutionAborted::default(),
    )
}

fn closing() -> Status {
    not_found("workflow update was aborted by closing workflow")
}

impl World {
    pub fn update_workflow(&mut self, env: &Env, call: CallId, mut request: api::UpdateWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let stage = check(env, &mut request)?;
        let key = self.find(env, &request.workflow_execution)?;
        let pinned = request.workflow_execution.as_ref().is_some_and(|execution| !execution.run_id.is_empty());
        let update = request.request.unwrap_or_default();
        self.admit(env, key, &update, pinned, &request.first_execution_run_id)?;
        self.await_update(env, call, key, &update_id(&update), stage, AnswerTo::Update)
    }

    fn admit(&mut self, env: &Env, key: RunKey, update: &Request, pinned: bool, first_run_id: &str) -> Result<(), Status> {
        let Some(run) = self.run_mut(key) else { return Err(not_found("the run has gone")) };
        super::start::check_chain(run, first_run_id)?;
        run.admit_update(env.now, update.clone(), pinned)
    }

    pub fn poll_update(&mut self, env: &Env, call: CallId, request: api::PollWorkflowExecutionUpdateRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let Some(reference) = request.update_ref else { return Err(invalid("UpdateRef is not set on request.")) };
        // This call has words of its own for the same mistakes.
        let key = self.find(env, &reference.workflow_execution).map_err(|status| match status.message.as_str() {
            "WorkflowId is not set on request." => invalid("Can't load workflow execution.  WorkflowId not set."),
            "Invalid RunId." => invalid("RunId is not valid UUID."),
            _ => status,
        })?;
        let stage = policy_stage(&request.wait_policy);
        self.await_update(env, call, key, &reference.update_id, stage, AnswerTo::Poll)
    }

    /// Answers at once if the stage is reached, else parks the call.
    fn await_update(&mut self, env: &Env, call: CallId, key: RunKey, id: &str, stage: Lifecycle, answer: AnswerTo) -> Answer {
        match self.known_update(env, key, id)? {
            None => Err(not_found(format!("update {id:?} not found"))),
            Some(Known::Outcome(outcome)) => Ok(Some(self.update_answer(key, id, answer, Lifecycle::Completed, Some(*outcome)))),
            Some(Known::InFlight) => {
                let reached = self.reached(key, id);
                let waits = matches!(stage, Lifecycle::Completed) || (stage == Lifecycle::Accepted && reached == Lifecycle::Admitted);
                if !waits {
                    return Ok(Some(self.update_answer(key, id, answer, reached, None)));
                }
                let waiter = Waiter { call, accepted: stage == Lifecycle::Accepted, answer };
                self.park_waiter(env, key, id, waiter);
                Ok(None)
            }
        }
    }

    fn park_waiter(&mut self, env: &Env, key: RunKey, id: &str, waiter: Waiter) {
        let call = waiter.call;
        if let Some(update) = self.runs.get_mut(&key).and_then(|run| run.updates.get_mut(id)) {
            update.waiters.push(waiter);
            self.wait(call, env.mono + WAIT, Waiting::Update(key, id.to_owned()));
        }
    }

    fn reached(&self, key: RunKey, id: &str) -> Lifecycle {
        match self.runs.get(&key).and_then(|run| run.updates.get(id)).map(|update| update.stage) {
            Some(Stage::Accepted) => Lifecycle::Accepted,
            _ => Lifecycle::Admitted,
        }
    }

    /// An update of a run; an accepted one that this process has not seen yet is taken into memory.
    fn known_update(&mut self, env: &Env, key: RunKey, id: &str) -> Result<Option<Known>, Status> {
        let Some(run) = self.runs.get_mut(&key) else { return Ok(None) };
        if run.updates.contains_key(id) {
            return Ok(Some(Known::InFlight));
        }
        let Some(record) = run.record.updates.get(id).cloned() else { return Ok(None) };
        if record.completed_event_id == 0 {
            if !run.is_open() {
                return Ok(Some(Known::Outcome(Box::new(outlived()))));
            }
            run.adopt_accepted_update(id);
            return Ok(Some(Known::InFlight));
        }
        let Some(run) = self.runs.get(&key) else { return Ok(None) };
        let (events, _) = self.events_page(env, run, record.completed_event_id, record.completed_event_id + 1, 1)?;
        match events.into_iter().next().and_then(|event| event.attributes) {
            Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(attributes)) => {
                Ok(Some(Known::Outcome(Box::new(attributes.outcome.unwrap_or_default()))))
            }
            _ => Err(Status::new(Code::DataLoss, format!("event {} is not the outcome of update {id:?}", record.completed_event_id))),
        }
    }

    fn update_answer(&self, key: RunKey, id: &str, answer: AnswerTo, stage: Lifecycle, outcome: Option<Outcome>) -> Response {
        let workflow_execution = self
            .runs
            .get(&key)
            .map(|run| WorkflowExecution { workflow_id: run.record.workflow_id.clone(), run_id: run.record.run_id.clone() });
        let update_ref = Some(UpdateRef { workflow_execution, update_id: id.into() });
        let stage = stage as i32;
        match answer {
            AnswerTo::Update => api::UpdateWorkflowExecutionResponse { update_ref, outcome, stage, ..Default::default() }.into(),
            AnswerTo::Poll => api::PollWorkflowExecutionUpdateResponse { update_ref, outcome, stage }.into(),
            AnswerTo::Multi { start, .. } => {
                let update = api::UpdateWorkflowExecutionResponse { update_ref, outcome, stage, ..Default::default() };
                let responses = [multi::response::Response::StartWorkflow(*start), multi::response::Response::UpdateWorkflow(update)];
                let responses = responses.into_iter().map(|response| multi::Response { response: Some(response) }).collect();
                api::ExecuteMultiOperationResponse { responses }.into()
            }
        }
    }

    /// The wait of a caller is over: it learns the stage that is reached.
    pub fn update_timeout(&mut self, call: CallId, key: RunKey, id: &str) -> Option<Response> {
        let reached = self.reached(key, id);
        let update = self.runs.get_mut(&key)?.updates.get_mut(id)?;
        let index = update.waiters.iter().position(|waiter| waiter.call == call)?;
        let waiter = update.waiters.remove(index);
        Some(self.update_answer(key, id, waiter.answer, reached, None))
    }

    /// The caller has gone; the update stays.
    pub fn forget_update_waiter(&mut self, call: CallId, key: RunKey, id: &str) {
        if let Some(update) = self.runs.get_mut(&key).and_then(|run| run.updates.get_mut(id)) {
            update.waiters.retain(|waiter| waiter.call != call);
        }
    }

    /// Tells the callers what became of their updates, and ends those of a run that has ended.
    pub fn settle_updates(&mut self, env: &Env, key: RunKey) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        if run.updates.is_empty() && run.ended_updates.is_empty() {
            return;
        }
        if !run.is_open() {
            self.end_updates_of_closed(env, key);
        }
        let Some(run) = self.runs.get_mut(&key) else { return };
        let ended = std::mem::take(&mut run.ended_updates);
        let mut content = Vec::new();
        for (id, update) in run.updates.iter_mut().filter(|(_, update)| update.stage == Stage::Accepted) {
            let (now, later) = std::mem::take(&mut update.waiters).into_iter().partition(|waiter: &Waiter| waiter.accepted);
            update.waiters = later;
            let now: Vec<Waiter> = now;
            content.extend(now.into_iter().map(|waiter| (id.clone(), waiter)));
        }
        for (id, waiter) in content {
            let response = self.update_answer(key, &id, waiter.answer, Lifecycle::Accepted, None);
            self.answer_waiter(waiter.call, Ok(response));
        }
        for Ended { id, waiters, outcome } in ended {
            for waiter in waiters {
                match &outcome {
                    Ok(outcome) => {
                        let response = self.update_answer(key, &id, waiter.answer, Lifecycle::Completed, Some(outcome.clone()));
                        self.answer_waiter(waiter.call, Ok(response));
                    }
                    Err(status) => self.fail_waiter(env, waiter, status.clone()),
                }
            }
        }
    }

    /// Accepted updates of an ended run fail; others go to the run that continues it, or their callers learn that it closed.
    fn end_updates_of_closed(&mut self, env: &Env, key: RunKey) {
        let Some(run) = self.runs.get(&key) else { return };
        let next = self.by_run_id(&run.record.new_run_id);
        let Some(run) = self.runs.get_mut(&key) else { return };
        let mut updates: Vec<_> = std::mem::take(&mut run.updates).into_iter().collect();
        updates.sort_by_key(|(_, update)| update.order);
        for (id, update) in updates {
            match (update.stage, next) {
                (Stage::Accepted, _) => self.end_one(key, id, update.waiters, Ok(outlived())),
                (_, Some(next)) if !update.pinned => match self.admit(env, next, &update.request, false, "") {
                    Ok(()) => {
                        for waiter in update.waiters {
                            self.park_waiter(env, next, &id, waiter);
                        }
                    }
                    Err(status) => self.end_one(key, id, update.waiters, Err(status)),
                },
                (_, Some(_)) => self.end_one(key, id, update.waiters, Err(not_found("workflow execution already completed"))),
                (_, None) => self.end_one(key, id, update.waiters, Err(closing())),
            }
        }
    }

    fn end_one(&mut self, key: RunKey, id: String, waiters: Vec<Waiter>, outcome: Result<Outcome, Status>) {
        if let Some(run) = self.runs.get_mut(&key) {
            run.ended_updates.push(Ended { id, waiters, outcome });
        }
    }

    fn answer_waiter(&mut self, call: CallId, answer: Result<Response, Status>) {
        self.waiting.remove(&call);
        self.reply(call, answer);
    }

    fn fail_waiter(&mut self, env: &Env, waiter: Waiter, status: Status) {
        let AnswerTo::Multi { start, again } = waiter.answer else { return self.answer_waiter(waiter.call, Err(status)) };
        let by_closing = !start.started && status.code == Code::NotFound;
        if let (true, Some(request)) = (by_closing, again) {
            // The workflow closed before it saw the update: update-with-start can start another one, once.
            self.waiting.remove(&waiter.call);
            return self.do_again(env, waiter.call, *request);
        }
        let status = if by_closing { Status::new(Code::Aborted, status.message) } else { status };
        let start = (!start.started).then(aborted);
        self.answer_waiter(waiter.call, Err(multi_error(start, status)));
    }

    fn do_again(&mut self, env: &Env, call: CallId, request: api::ExecuteMultiOperationRequest) {
        match self.execute_multi(env, call, request, false) {
            Ok(Some(response)) => self.answer_waiter(call, Ok(response)),
            Ok(None) => {}
            Err(status) => self.answer_waiter(call, Err(status)),
        }
    }

    /// Answers of a run that leaves memory because its commit failed.
    pub fn drop_update_waiters(&mut self, waiters: Vec<Waiter>) {
        for waiter in waiters {
            self.answer_waiter(waiter.call, Err(Status::new(Code::Unavailable, "workflow update was aborted")));
        }
    }

    /// Update-with-start, the only pair of operations there is. `retries`: whether it may be done again on a new run.
    pub fn execute_multi(&mut self, env: &Env, call: CallId, request: api::ExecuteMultiOperationRequest, retries: bool) -> Answer {
        self.check_namespace(&request.namespace)?;
        let again = retries.then(|| Box::new(request.clone()));
        let mut operations = request.operations.into_iter().map(|operation| operation.operation);
        let (Some(Some(Operation::StartWorkflow(start))), Some(Some(Operation::UpdateWorkflow(mut update))), None) =
            (operations.next(), operations.next(), operations.next())
        else {
            return Err(invalid("Operations have to be exactly [Start, Update]."));
        };
        let stage = self.check_multi(env, &request.namespace, &start, &mut update)?;
        let update = update.request.unwrap_or_default();
        let id = update_id(&update);
        if let Some(key) = self.current(env, &start.workflow_id).map_err(|status| multi_error(Some(status), aborted()))? {
            let mut known = self.known_update(env, key, &id)?;
            let Some(run) = self.runs.get(&key) else { return Err(not_found("the run has gone")) };
            let response = api::StartWorkflowExecutionResponse {
                run_id: run.record.run_id.clone(),
                first_execution_run_id: run.started().first_execution_run_id.clone(),
                status: run.record.status,
                ..Default::default()
            };
            if !run.is_open() && run.record.updates.get(&id).is_none_or(|update| update.completed_event_id == 0) {
                known = None;
            }
            let is_same_start = !start.request_id.is_empty() && run.record.request_id == start.request_id;
            let joins = is_same_start || start.workflow_id_conflict_policy() == WorkflowIdConflictPolicy::UseExisting;
            if matches!(known, Some(Known::Outcome(_))) || (run.is_open() && (known.is_some() || joins)) {
                let answer = AnswerTo::Multi { start: Box::new(response), again };
                let admitted = if known.is_some() { Ok(()) } else { self.admit(env, key, &update, false, "") };
                return admitted
                    .and_then(|()| self.await_update(env, call, key, &id, stage, answer))
                    .map_err(|status| multi_error(Some(aborted()), status));
            }
        }
        let (key, is_started) = self.start_checked(env, start, None).map_err(|status| multi_error(Some(status), aborted()))?;
        let Some(run) = self.runs.get(&key).filter(|_| is_started) else {
            let status = Status::new(Code::Unavailable, "Workflow was not started: the request id is of an earlier start");
            return Err(multi_error(Some(status), aborted()));
        };
        let response = api::StartWorkflowExecutionResponse {
            run_id: run.record.run_id.clone(),
            first_execution_run_id: run.started().first_execution_run_id.clone(),
            started: true,
            status: run.record.status,
            ..Default::default()
        };
        let answer = AnswerTo::Multi { start: Box::new(response), again: None };
        self.admit(env, key, &update, false, "")
            .and_then(|()| self.await_update(env, call, key, &id, stage, answer))
            .map_err(|status| multi_error(None, status))
    }

    fn check_multi(
        &self,
        env: &Env,
        namespace: &str,
        start: &api::StartWorkflowExecutionRequest,
        update: &mut api::UpdateWorkflowExecutionRequest,
    ) -> Result<Lifecycle, Status> {
        let other = |name: &str| !name.is_empty() && name != namespace;
        let mismatch = || invalid("Operation namespace did not match request's namespace.");
        let started = if other(&start.namespace) {
            Err(mismatch())
        } else if start.namespace.is_empty() {
            Err(super::world::namespace_not_found(""))
        } else if !start.cron_schedule.is_empty() {
            Err(invalid("CronSchedule is not allowed."))
        } else if start.request_eager_execution {
            Err(invalid("RequestEagerExecution is not supported."))
        } else if length(&start.workflow_start_delay) > 0 {
            Err(invalid("WorkflowStartDelay is not supported."))
        } else {
            check_start(start)
        };
        let workflow_id = update.workflow_execution.as_ref().map(|execution| execution.workflow_id.clone()).unwrap_or_default();
        let names_run = update.workflow_execution.as_ref().is_some_and(|execution| !execution.run_id.is_empty());
        let updated = if other(&update.namespace) {
            Err(mismatch())
        } else {
            check(env, update).and_then(|stage| match () {
                () if !update.first_execution_run_id.is_empty() => Err(invalid("FirstExecutionRunId is not allowed.")),
                () if names_run => Err(invalid("RunId is not allowed.")),
                () if started.is_ok() && workflow_id != start.workflow_id => {
                    Err(invalid("WorkflowId is not consistent with previous operation(s)."))
                }
                () => Ok(stage),
            })
        };
        match (started, updated) {
            (Ok(()), Ok(stage)) => Ok(stage),
            (started, updated) => Err(multi_error(Some(started.err().unwrap_or_else(aborted)), updated.err().unwrap_or_else(aborted))),
        }
    }
}
