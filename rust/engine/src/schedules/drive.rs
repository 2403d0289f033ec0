//! All schedules of an engine, and what they do to its workflows.
//!
//! Schedules and runs have one writer: a start and the schedule's note of it are one transaction, so that after a crash an
//! action was taken once or is still to be taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use durable_client::Status;
use temporalio_protos::temporal::api::{
    common::v1::{Payload, WorkflowExecution},
    enums::v1::{WorkflowExecutionStatus, WorkflowIdReusePolicy},
    history::v1::history_event::Attributes,
    schedule::v1::schedule_action::Action,
    workflow::v1::NewWorkflowExecutionInfo,
    workflowservice::v1::StartWorkflowExecutionRequest,
};

use super::{
    overlap::End,
    record::{BufferedStart, ScheduleRecord},
    schedule::{Closed, Schedule},
    shown::rfc3339,
};
use crate::state::{
    Env, Run, RunKey, World, check_start, invalid,
    time::{Nanos, SECOND},
};

/// Those of one engine. All are in memory.
#[derive(Default)]
pub struct Schedules {
    pub all: BTreeMap<String, Schedule>,
    deadlines: BTreeSet<(Nanos, String)>,
    /// Apart, because time skipping does not jump to the end of a schedule that is only remembered.
    expirations: BTreeSet<(Nanos, String)>,
    /// The schedule that follows a workflow.
    followed: HashMap<String, String>,
    /// Something they follow has changed.
    hot: BTreeSet<String>,
    dirty: BTreeSet<String>,
}

impl Schedules {
    /// Files a schedule under its next times and notes that it needs a transaction.
    fn file(&mut self, id: &str) {
        self.dirty.insert(id.into());
        let Some(schedule) = self.all.get_mut(id) else { return };
        if let Some(at) = schedule.deadline.take() {
            self.deadlines.remove(&(at, id.into()));
        }
        if let Some(at) = schedule.expiration.take() {
            self.expirations.remove(&(at, id.into()));
        }
        schedule.deadline = schedule.next_deadline();
        schedule.expiration = if schedule.deadline.is_none() { schedule.next_expiration() } else { None };
        self.deadlines.extend(schedule.deadline.map(|at| (at, id.to_owned())));
        self.expirations.extend(schedule.expiration.map(|at| (at, id.to_owned())));
    }

    pub fn insert(&mut self, schedule: Schedule) {
        let id = schedule.record.id.clone();
        for running in &schedule.record.info.running_workflows {
            self.followed.insert(running.workflow_id.clone(), id.clone());
        }
        self.all.insert(id.clone(), schedule);
        self.file(&id);
    }

    pub fn remove(&mut self, id: &str) -> Option<Schedule> {
        let schedule = self.all.remove(id)?;
        if let Some(at) = schedule.deadline {
            self.deadlines.remove(&(at, id.into()));
        }
        if let Some(at) = schedule.expiration {
            self.expirations.remove(&(at, id.into()));
        }
        self.followed.retain(|_, follower| follower != id);
        self.dirty.insert(id.into());
        Some(schedule)
    }

    pub fn next_deadline(&self) -> Option<Nanos> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub fn is_settled(&self) -> bool {
        self.hot.is_empty()
    }

    /// The ids of schedules that need a transaction; those that are not there any more are to be deleted.
    pub fn take_dirty(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty)
    }
}

impl World {
    /// Takes stored schedules into memory, after the runs.
    pub fn adopt_schedule(&mut self, record: ScheduleRecord) -> Result<(), Status> {
        let (id, running) = (record.id.clone(), record.info.running_workflows.clone());
        let schedule = Schedule::stored(record, &self.namespace).map_err(super::damaged)?;
        self.schedules.insert(schedule);
        for execution in running {
            // Followed workflows are in memory when they are open.
            if self.open_chain(&execution).is_none()
                && let Some(schedule) = self.schedules.all.get_mut(&id)
            {
                schedule.handle_closed(
                    &execution.workflow_id,
                    Closed { status: WorkflowExecutionStatus::Unspecified, result: None, failure: None },
                );
                self.schedules.followed.remove(&execution.workflow_id);
            }
        }
        self.schedules.hot.insert(id);
        Ok(())
    }

    /// The open run of the chain that began with an execution.
    fn open_chain(&self, execution: &WorkflowExecution) -> Option<RunKey> {
        let key = self.latest_in_memory(&execution.workflow_id)?;
        let run = self.runs.get(&key)?;
        (run.is_open() && run.started().first_execution_run_id == execution.run_id).then_some(key)
    }

    /// Schedules whose time has come are run when the state settles; those that are over go.
    pub fn handle_schedule_times(&mut self, env: &Env) {
        let due = self.schedules.deadlines.iter().take_while(|(at, _)| *at <= env.now).map(|(_, id)| id.clone());
        let due: Vec<String> = due.collect();
        self.schedules.hot.extend(due);
        let over = self.schedules.expirations.iter().take_while(|(at, _)| *at <= env.now).map(|(_, id)| id.clone());
        for id in over.collect::<Vec<String>>() {
            self.schedules.remove(&id);
        }
    }

    /// Runs the schedules for which something has changed; true if there was one.
    pub fn settle_schedules(&mut self, env: &Env) -> bool {
        let hot = std::mem::take(&mut self.schedules.hot);
        for id in &hot {
            self.run_schedule(env, id);
        }
        !hot.is_empty()
    }

    /// Brings a schedule to the present and does what it decides.
    pub fn run_schedule(&mut self, env: &Env, id: &str) {
        let Some(mut schedule) = self.schedules.all.remove(id) else { return };
        schedule.advance(env.now);
        while let Some(decision) = schedule.poll_decision() {
            let alone = decision.alone.into_iter().map(|start| (start, true));
            for (start, alone) in decision.beside.into_iter().map(|start| (start, false)).chain(alone) {
                if !schedule.take_action(start.manual) {
                    continue;
                }
                match self.start_scheduled(env, &schedule, &start) {
                    Ok(execution) => {
                        if alone {
                            self.schedules.followed.insert(execution.workflow_id.clone(), id.into());
                        }
                        schedule.handle_started(env.now, &start, execution, alone);
                    }
                    // A start that is refused is lost, as on the service: its id is taken, or its definition has become wrong.
                    Err(status) => schedule.handle_refused(&start, &status.message),
                }
            }
            if let Some(end) = decision.end {
                for execution in &schedule.record.info.running_workflows {
                    self.end_scheduled(env, execution, end, &schedule.record.id);
                }
                break;
            }
        }
        self.schedules.all.insert(id.into(), schedule);
        self.schedules.file(id);
    }

    fn identity(&self, id: &str) -> String {
        format!("temporal-scheduler-{}-{id}", self.namespace)
    }

    fn start_scheduled(&mut self, env: &Env, schedule: &Schedule, start: &BufferedStart) -> Result<WorkflowExecution, Status> {
        let action = schedule.record.schedule.action.clone().and_then(|action| action.action);
        let Some(Action::StartWorkflow(workflow)) = action else { return Err(invalid("the schedule has no action that is known here")) };
        let request = self.start_request(env, schedule, start, workflow);
        check_start(&request)?;
        let (key, _) = self.start_checked(env, request, None)?;
        let run = self.runs.get(&key).ok_or_else(|| invalid("the run ended with its start"))?;
        Ok(WorkflowExecution { workflow_id: run.record.workflow_id.clone(), run_id: run.record.run_id.clone() })
    }

    fn start_request(
        &self,
        env: &Env,
        schedule: &Schedule,
        start: &BufferedStart,
        workflow: NewWorkflowExecutionInfo,
    ) -> StartWorkflowExecutionRequest {
        let record = &schedule.record;
        let scheduled = rfc3339(start.nominal.div_euclid(SECOND));
        let mut search_attributes = workflow.search_attributes.unwrap_or_default();
        for (name, value, kind) in
            [("TemporalScheduledStartTime", &scheduled, "Datetime"), ("TemporalScheduledById", &record.id, "Keyword")]
        {
            let metadata = [("encoding".to_owned(), b"json/plain".to_vec()), ("type".to_owned(), kind.as_bytes().to_vec())].into();
            let data = super::shown::json_string(value).into_bytes();
            search_attributes.indexed_fields.insert(name.into(), Payload { metadata, data, ..Default::default() });
        }
        let beside = schedule.resolve(start.overlap_policy) == temporalio_protos::temporal::api::enums::v1::ScheduleOverlapPolicy::AllowAll;
        let reuse = if start.manual { WorkflowIdReusePolicy::AllowDuplicate } else { WorkflowIdReusePolicy::RejectDuplicate };
        StartWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_id: format!("{}-{scheduled}", workflow.workflow_id),
            workflow_type: workflow.workflow_type,
            task_queue: workflow.task_queue,
            input: workflow.input,
            workflow_execution_timeout: workflow.workflow_execution_timeout,
            workflow_run_timeout: workflow.workflow_run_timeout,
            workflow_task_timeout: workflow.workflow_task_timeout,
            identity: self.identity(&record.id),
            request_id: (env.new_id)(),
            workflow_id_reuse_policy: reuse as i32,
            retry_policy: workflow.retry_policy,
            memo: workflow.memo,
            search_attributes: Some(search_attributes),
            header: workflow.header,
            // What runs beside others takes no part in handing results on.
            last_completion_result: record.last_completion_result.clone().filter(|_| !beside),
            continued_failure: record.continued_failure.clone().filter(|_| !beside),
            user_metadata: workflow.user_metadata,
            priority: workflow.priority,
            ..Default::default()
        }
    }

    fn end_scheduled(&mut self, env: &Env, execution: &WorkflowExecution, end: End, id: &str) {
        let identity = self.identity(id);
        let Some(key) = self.open_chain(execution) else { return };
        let Some(run) = self.run_mut(key) else { return };
        match end {
            End::Cancel => run.ask_to_cancel(
                env.now,
                temporalio_protos::temporal::api::history::v1::WorkflowExecutionCancelRequestedEventAttributes {
                    cause: "cancelled by schedule overlap policy".into(),
                    identity,
                    ..Default::default()
                },
            ),
            End::Terminate => run.terminate(env.now, "terminated by schedule overlap policy".into(), None, identity),
        }
    }

    /// A run has ended: a schedule that follows its chain hears of it.
    pub fn tell_schedule(&mut self, key: RunKey) {
        let Some(run) = self.runs.get(&key) else { return };
        let Some(id) = self.schedules.followed.get(&run.record.workflow_id).cloned() else { return };
        let workflow_id = run.record.workflow_id.clone();
        let first = &run.started().first_execution_run_id;
        let Some(schedule) = self.schedules.all.get_mut(&id) else { return };
        let running = &schedule.record.info.running_workflows;
        let is_it = running.iter().any(|running| running.workflow_id == workflow_id && running.run_id == *first);
        if !is_it || goes_on(run) {
            return;
        }
        schedule.handle_closed(&workflow_id, closed(run));
        self.schedules.followed.remove(&workflow_id);
        self.schedules.hot.insert(id);
    }
}

/// Whether another run continues this one.
fn goes_on(run: &Run) -> bool {
    run.record.status == WorkflowExecutionStatus::ContinuedAsNew as i32 || !run.record.new_run_id.is_empty()
}

fn closed(run: &Run) -> Closed {
    let status = WorkflowExecutionStatus::try_from(run.record.status).unwrap_or_default();
    let (mut result, mut failure) = (None, None);
    match run.tail.last().and_then(|event| event.attributes.clone()) {
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(end)) => result = end.result,
        Some(Attributes::WorkflowExecutionFailedEventAttributes(end)) => failure = end.failure,
        _ => {}
    }
    Closed { status, result, failure }
}
