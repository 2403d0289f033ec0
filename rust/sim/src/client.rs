//! A client that asks for anything at any time.

use durable_client::{Request, Rpc};
use temporalio_protos::temporal::api::{
    common::v1::{WorkflowExecution, WorkflowType},
    enums::v1::{ScheduleOverlapPolicy, WorkflowIdConflictPolicy},
    schedule::v1::{
        IntervalSpec, Schedule, ScheduleAction, SchedulePatch, SchedulePolicies, ScheduleSpec, TriggerImmediatelyRequest,
        schedule_action::Action,
    },
    update::v1::{Input as UpdateInput, Meta, Request as Update, WaitPolicy},
    workflow::v1::NewWorkflowExecutionInfo,
    workflowservice::v1::{
        CreateScheduleRequest, DeleteScheduleRequest, ExecuteMultiOperationRequest, PatchScheduleRequest,
        RequestCancelWorkflowExecutionRequest, SignalWithStartWorkflowExecutionRequest, SignalWorkflowExecutionRequest,
        StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest, UpdateWorkflowExecutionRequest,
        execute_multi_operation_request::{Operation, operation},
    },
};

use crate::{
    chance::Chance,
    driver::Want,
    ledger::Deed,
    plan::{Input, QUEUE, TYPE, milliseconds, queue, text, workflow_id},
    worker::NAMESPACE,
};

const COMPLETED: i32 = 3;
/// Open workflows, roughly.
const MAX_OPEN: i64 = 12;
const MAX_SCHEDULES: usize = 3;

/// What it has asked for so far, as far as it needs that to ask for more.
#[derive(Default)]
pub struct Client {
    requests: usize,
    workflows: Vec<StartWorkflowExecutionRequest>,
    schedules: Vec<String>,
    pub open: i64,
}

pub fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() })
}

/// The signal that a workflow waits for, under a name of its own that ends with what is waited for.
pub fn signal(workflow_id: &str, run_id: &str, name: String) -> (Deed, Request) {
    let request = SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: execution(workflow_id, run_id),
        request_id: format!("request-{name}"),
        signal_name: name.clone(),
        input: text("signal"),
        ..Default::default()
    };
    (Deed::Signal { workflow_id: workflow_id.into(), name }, request.into_request())
}

impl Client {
    /// The next request, if it has an idea.
    pub fn next(&mut self, chance: &mut Chance, wants: &mut Vec<Want>) -> Option<(Deed, Request)> {
        self.requests += 1;
        let number = self.requests;
        match chance.below(100) {
            0..=24 if self.open < MAX_OPEN => Some(self.start(chance)),
            25..=27 => self.start_again(chance),
            28..=60 if !wants.is_empty() => {
                let want = wants.swap_remove(chance.below(wants.len()));
                Some(signal(&want.workflow_id, &want.run_id, format!("n{number}/{}", want.signal)))
            }
            61..=66 => Some(signal(&self.any(chance)?, "", format!("n{number}/s{}", chance.below(3)))),
            67..=70 if self.open < MAX_OPEN => Some(self.signal_with_start(chance, number)),
            71..=80 => Some(self.update(chance, number)?),
            81..=84 if self.open < MAX_OPEN => Some(self.update_with_start(chance, number)),
            85..=87 => Some(self.cancel(chance, number)?),
            88..=89 => Some(self.terminate(chance, number)?),
            90..=91 if self.schedules.len() < MAX_SCHEDULES => Some(self.create_schedule(chance, number)),
            92..=93 => self.trigger(chance),
            94 if !self.schedules.is_empty() => Some(self.delete_schedule(chance)),
            _ => None,
        }
    }

    fn any(&self, chance: &mut Chance) -> Option<String> {
        // The later ones are more often still open.
        let count = self.workflows.len();
        (count > 0).then(|| self.workflows[count - 1 - chance.below(count.min(10))].workflow_id.clone())
    }

    fn new_start(&mut self, chance: &mut Chance) -> StartWorkflowExecutionRequest {
        let workflow_id = workflow_id(self.workflows.len());
        let request = StartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            request_id: format!("start-{workflow_id}"),
            workflow_id,
            workflow_type: Some(WorkflowType { name: TYPE.into() }),
            task_queue: queue(QUEUE),
            input: Input { seed: chance.number() >> 8, depth: 0, again: 0 }.encode(),
            ..Default::default()
        };
        self.workflows.push(request.clone());
        request
    }

    fn start(&mut self, chance: &mut Chance) -> (Deed, Request) {
        let request = self.new_start(chance);
        (Deed::Start { workflow_id: request.workflow_id.clone() }, request.into_request())
    }

    /// The same request once more, as after an answer that was lost.
    fn start_again(&mut self, chance: &mut Chance) -> Option<(Deed, Request)> {
        let request = self.workflows.get(self.workflows.len().checked_sub(1 + chance.below(3))?)?.clone();
        Some((Deed::Start { workflow_id: request.workflow_id.clone() }, request.into_request()))
    }

    fn signal_with_start(&mut self, chance: &mut Chance, number: usize) -> (Deed, Request) {
        let start = self.new_start(chance);
        let name = format!("n{number}/s0");
        let deed = Deed::Signal { workflow_id: start.workflow_id.clone(), name: name.clone() };
        let request = SignalWithStartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_id: start.workflow_id,
            workflow_type: start.workflow_type,
            task_queue: start.task_queue,
            input: start.input,
            request_id: start.request_id,
            signal_name: name,
            ..Default::default()
        };
        (deed, request.into_request())
    }

    fn update_request(workflow_id: &str, number: usize) -> (Deed, UpdateWorkflowExecutionRequest) {
        let update_id = format!("u{number}");
        let deed = Deed::Update { workflow_id: workflow_id.into(), update_id: update_id.clone() };
        let input = Some(UpdateInput { name: "change".into(), args: text("update"), ..Default::default() });
        let meta = Some(Meta { update_id, identity: "client".into() });
        let request = UpdateWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(workflow_id, ""),
            wait_policy: Some(WaitPolicy { lifecycle_stage: COMPLETED }),
            request: Some(Update { meta, input, ..Default::default() }),
            ..Default::default()
        };
        (deed, request)
    }

    fn update(&mut self, chance: &mut Chance, number: usize) -> Option<(Deed, Request)> {
        let (deed, request) = Client::update_request(&self.any(chance)?, number);
        Some((deed, request.into_request()))
    }

    fn update_with_start(&mut self, chance: &mut Chance, number: usize) -> (Deed, Request) {
        let mut start = self.new_start(chance);
        start.workflow_id_conflict_policy = WorkflowIdConflictPolicy::UseExisting as i32;
        let (deed, update) = Client::update_request(&start.workflow_id, number);
        let operations = vec![
            Operation { operation: Some(operation::Operation::StartWorkflow(start)) },
            Operation { operation: Some(operation::Operation::UpdateWorkflow(update)) },
        ];
        (deed, ExecuteMultiOperationRequest { namespace: NAMESPACE.into(), operations, ..Default::default() }.into_request())
    }

    fn cancel(&mut self, chance: &mut Chance, number: usize) -> Option<(Deed, Request)> {
        let (workflow_id, reason) = (self.any(chance)?, format!("c{number}"));
        let request = RequestCancelWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(&workflow_id, ""),
            request_id: format!("request-{reason}"),
            reason: reason.clone(),
            ..Default::default()
        };
        Some((Deed::Cancel { workflow_id, reason }, request.into_request()))
    }

    fn terminate(&mut self, chance: &mut Chance, number: usize) -> Option<(Deed, Request)> {
        let (workflow_id, reason) = (self.any(chance)?, format!("t{number}"));
        let request = TerminateWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(&workflow_id, ""),
            reason: reason.clone(),
            ..Default::default()
        };
        Some((Deed::Terminate { workflow_id, reason }, request.into_request()))
    }

    fn create_schedule(&mut self, chance: &mut Chance, number: usize) -> (Deed, Request) {
        let schedule_id = format!("schedule-{number}");
        self.schedules.push(schedule_id.clone());
        let overlap = if chance.percent(50) { ScheduleOverlapPolicy::AllowAll } else { ScheduleOverlapPolicy::Skip };
        let workflow = NewWorkflowExecutionInfo {
            workflow_id: format!("by-{schedule_id}"),
            workflow_type: Some(WorkflowType { name: TYPE.into() }),
            task_queue: queue(QUEUE),
            input: Input { seed: chance.number() >> 8, depth: 1, again: 0 }.encode(),
            ..Default::default()
        };
        let schedule = Schedule {
            spec: Some(ScheduleSpec {
                interval: vec![IntervalSpec { interval: milliseconds(20_000), ..Default::default() }],
                ..Default::default()
            }),
            action: Some(ScheduleAction { action: Some(Action::StartWorkflow(workflow)) }),
            policies: Some(SchedulePolicies { overlap_policy: overlap as i32, ..Default::default() }),
            ..Default::default()
        };
        let request = CreateScheduleRequest {
            namespace: NAMESPACE.into(),
            schedule_id: schedule_id.clone(),
            schedule: Some(schedule),
            request_id: format!("request-{schedule_id}"),
            ..Default::default()
        };
        (Deed::CreateSchedule { schedule_id }, request.into_request())
    }

    fn trigger(&mut self, chance: &mut Chance) -> Option<(Deed, Request)> {
        if self.schedules.is_empty() {
            return None;
        }
        let schedule_id = self.schedules[chance.below(self.schedules.len())].clone();
        let trigger_immediately = Some(TriggerImmediatelyRequest::default());
        let patch = Some(SchedulePatch { trigger_immediately, ..Default::default() });
        Some((
            Deed::TriggerSchedule,
            PatchScheduleRequest { namespace: NAMESPACE.into(), schedule_id, patch, ..Default::default() }.into_request(),
        ))
    }

    fn delete_schedule(&mut self, chance: &mut Chance) -> (Deed, Request) {
        let schedule_id = self.schedules.swap_remove(chance.below(self.schedules.len()));
        let request = DeleteScheduleRequest { namespace: NAMESPACE.into(), schedule_id: schedule_id.clone(), ..Default::default() };
        (Deed::DeleteSchedule { schedule_id }, request.into_request())
    }
}
