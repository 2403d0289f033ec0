//! A run that keeps the contract of `durable_core::Run` without any workflow: one activation a task.
//!
//! The workflow type says what happens: `ends` completes the run, `fails` fails the task, `schedules a b` schedules activities on these
//! queues, anything else goes on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use durable_core::{EvictionReason, LocalResult, Output, RunOptions, RunStatistics};
use temporalio_protos::{
    coresdk::{
        workflow_activation::{RemoveFromCache, WorkflowActivation, WorkflowActivationJob, workflow_activation_job::Variant},
        workflow_completion::WorkflowActivationCompletion,
    },
    temporal::api::{
        command::v1::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
        enums::v1::CommandType,
        failure::v1::Failure,
        history::v1::HistoryEvent,
        taskqueue::v1::TaskQueue,
        workflowservice::v1::{
            PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
            RespondWorkflowTaskFailedRequest,
        },
    },
};

use crate::machine::Machine;

pub(super) struct ScriptedRun {
    run_id: String,
    outputs: VecDeque<Output>,
    task: Option<PollWorkflowTaskQueueResponse>,
    has_history: bool,
    is_evicting: bool,
    activations: u64,
}

impl ScriptedRun {
    fn activate(&mut self, jobs: Vec<WorkflowActivationJob>) {
        self.activations += 1;
        let activation = WorkflowActivation { run_id: self.run_id.clone(), jobs, ..Default::default() };
        self.outputs.push_back(Output::Activation(Box::new(activation)));
    }

    fn start_eviction(&mut self, message: &str) {
        assert!(!self.is_evicting, "evicted twice");
        self.is_evicting = true;
        self.task = None;
        let job = Variant::RemoveFromCache(RemoveFromCache { message: message.into(), reason: 0 });
        self.activate(vec![WorkflowActivationJob { variant: Some(job) }]);
    }
}

fn activity_on(queue: &str) -> Command {
    let activity = ScheduleActivityTaskCommandAttributes {
        task_queue: Some(TaskQueue { name: queue.into(), ..Default::default() }),
        request_eager_execution: true,
        ..Default::default()
    };
    Command { attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(activity)), ..Default::default() }
}

impl Machine for ScriptedRun {
    fn new(run_id: String, _: Arc<RunOptions>) -> ScriptedRun {
        ScriptedRun { run_id, outputs: VecDeque::new(), task: None, has_history: false, is_evicting: false, activations: 0 }
    }

    fn handle_task(&mut self, task: PollWorkflowTaskQueueResponse) {
        assert!(self.is_idle(), "a task for a run that is not idle");
        let starts_at_one = task.history.as_ref().and_then(|history| history.events.first()).is_some_and(|event| event.event_id == 1);
        self.task = Some(task);
        if self.has_history || starts_at_one {
            self.has_history = true;
            self.activate(vec![]);
        } else {
            self.outputs.push_back(Output::NeedHistory);
        }
    }

    fn handle_history(&mut self, events: Vec<HistoryEvent>) {
        assert_eq!(events[0].event_id, 1);
        self.has_history = true;
        self.activate(vec![]);
    }

    fn handle_completion(&mut self, _: WorkflowActivationCompletion) {
        if self.is_evicting {
            self.outputs.push_back(Output::Evicted);
            return;
        }
        let task = self.task.as_ref().expect("a task is open");
        let (task_token, workflow_type) = (task.task_token.clone(), task.workflow_type.clone().unwrap_or_default().name);
        if task.query.is_some() {
            self.task = None;
            let answer = RespondQueryTaskCompletedRequest { task_token, ..Default::default() };
            self.outputs.push_back(Output::AnswerQuery(Box::new(answer)));
        } else if workflow_type == "fails" {
            let failure = Failure { message: "no such\nworkflow".into(), ..Default::default() };
            let request = RespondWorkflowTaskFailedRequest { task_token, failure: Some(failure), ..Default::default() };
            self.outputs.push_back(Output::Fail(Box::new(request)));
            self.start_eviction("the task failed");
        } else {
            let end = Command { command_type: CommandType::CompleteWorkflowExecution as i32, ..Default::default() };
            let commands = match workflow_type.strip_prefix("schedules ") {
                Some(queues) => queues.split(' ').map(activity_on).collect(),
                None if workflow_type == "ends" => vec![end],
                None => vec![],
            };
            let request = RespondWorkflowTaskCompletedRequest { task_token, commands, ..Default::default() };
            self.outputs.push_back(Output::Complete(Box::new(request)));
        }
    }

    fn handle_completed(&mut self, _: i64) {
        self.task = None;
    }

    fn handle_refused(&mut self, message: &str) {
        self.start_eviction(message);
    }

    fn handle_evict(&mut self, _: EvictionReason, message: &str) {
        self.start_eviction(message);
    }

    fn handle_local_result(&mut self, _: LocalResult) {}

    fn handle_heartbeat_due(&mut self) {}

    fn has_running_locals(&self) -> bool {
        false
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn is_idle(&self) -> bool {
        self.task.is_none() && !self.is_evicting && self.outputs.is_empty()
    }

    fn statistics(&self) -> RunStatistics {
        RunStatistics { last_processed_event_id: 0, activations: self.activations }
    }

    fn task_timeout(&self) -> Duration {
        Duration::from_secs(10)
    }
}
