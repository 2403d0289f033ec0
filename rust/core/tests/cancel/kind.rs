//! The kinds of operations that the service answers: their commands, and what the code is told, in a word.

use temporalio_protos::{
    coresdk::{
        activity_result::activity_resolution::Status as ActivityStatus,
        child_workflow::{ChildWorkflowCancellationType, child_workflow_result::Status as ChildStatus},
        common::NamespacedWorkflowExecution,
        nexus::{NexusOperationCancellationType, nexus_operation_result::Status as NexusStatus},
        workflow_activation::{
            resolve_child_workflow_execution_start::Status as ChildStart, resolve_nexus_operation_start::Status as NexusStart,
            workflow_activation_job::Variant as Job,
        },
        workflow_commands::{
            ActivityCancellationType, CancelChildWorkflowExecution, CancelSignalWorkflow, CancelTimer, RequestCancelActivity,
            RequestCancelExternalWorkflowExecution, RequestCancelNexusOperation, ScheduleActivity, ScheduleNexusOperation,
            SignalExternalWorkflowExecution, StartChildWorkflowExecution, StartTimer, signal_external_workflow_execution::Target,
            workflow_command::Variant as LangCommand,
        },
    },
    temporal::api::failure::v1::{Failure, failure::FailureInfo},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Timer,
    Activity(ActivityCancellationType),
    Child(ChildWorkflowCancellationType),
    Signal,
    CancelRequest,
    Nexus(NexusOperationCancellationType),
}

impl Kind {
    pub fn begin(self) -> LangCommand {
        match self {
            Kind::Timer => LangCommand::StartTimer(StartTimer { seq: 1, ..Default::default() }),
            Kind::Activity(kind) => LangCommand::ScheduleActivity(ScheduleActivity {
                seq: 1,
                activity_id: "1".to_owned(),
                activity_type: "charge".to_owned(),
                cancellation_type: kind as i32,
                ..Default::default()
            }),
            Kind::Child(kind) => LangCommand::StartChildWorkflowExecution(StartChildWorkflowExecution {
                seq: 1,
                workflow_id: "child".to_owned(),
                workflow_type: "Child".to_owned(),
                cancellation_type: kind as i32,
                ..Default::default()
            }),
            Kind::Signal => LangCommand::SignalExternalWorkflowExecution(SignalExternalWorkflowExecution {
                seq: 1,
                signal_name: "hello".to_owned(),
                target: Some(Target::WorkflowExecution(other())),
                ..Default::default()
            }),
            Kind::CancelRequest => LangCommand::RequestCancelExternalWorkflowExecution(RequestCancelExternalWorkflowExecution {
                seq: 1,
                workflow_execution: Some(other()),
                ..Default::default()
            }),
            Kind::Nexus(kind) => LangCommand::ScheduleNexusOperation(ScheduleNexusOperation {
                seq: 1,
                endpoint: "bank".to_owned(),
                service: "Payments".to_owned(),
                operation: "charge".to_owned(),
                cancellation_type: kind as i32,
                ..Default::default()
            }),
        }
    }

    /// A cancel request for another workflow cannot be taken back.
    pub fn cancel(self) -> Option<LangCommand> {
        Some(match self {
            Kind::Timer => LangCommand::CancelTimer(CancelTimer { seq: 1 }),
            Kind::Activity(_) => LangCommand::RequestCancelActivity(RequestCancelActivity { seq: 1 }),
            Kind::Child(_) => LangCommand::CancelChildWorkflowExecution(CancelChildWorkflowExecution {
                child_workflow_seq: 1,
                reason: "enough".to_owned(),
            }),
            Kind::Signal => LangCommand::CancelSignalWorkflow(CancelSignalWorkflow { seq: 1 }),
            Kind::CancelRequest => return None,
            Kind::Nexus(_) => LangCommand::RequestCancelNexusOperation(RequestCancelNexusOperation { seq: 1 }),
        })
    }

    /// The code is told of its own cancel at once.
    pub fn tells_at_once(self) -> bool {
        matches!(
            self,
            Kind::Activity(ActivityCancellationType::TryCancel | ActivityCancellationType::Abandon)
                | Kind::Child(ChildWorkflowCancellationType::TryCancel | ChildWorkflowCancellationType::Abandon)
                | Kind::Nexus(NexusOperationCancellationType::TryCancel | NexusOperationCancellationType::Abandon)
        )
    }

    /// What the code is told when it cancels in the very task in which it begins.
    pub fn withdrawn(self) -> &'static [&'static str] {
        match self {
            Kind::Timer | Kind::CancelRequest => &[],
            Kind::Activity(_) => &["cancelled"],
            Kind::Child(_) | Kind::Nexus(_) => &["start cancelled"],
            Kind::Signal => &["withdrawn"],
        }
    }
}

fn other() -> NamespacedWorkflowExecution {
    NamespacedWorkflowExecution { namespace: "default".to_owned(), workflow_id: "other".to_owned(), run_id: String::new() }
}

/// True of the words that end an operation.
pub fn is_end(word: &str) -> bool {
    word != "started"
}

/// What a job says of an operation, in the words of [`super::outside::Outside::told_by_history`]; none when it is about something else.
pub fn word(job: &Job) -> Option<&'static str> {
    Some(match job {
        Job::FireTimer(_) => "completed",
        Job::ResolveActivity(job) => match job.result.as_ref()?.status.as_ref()? {
            ActivityStatus::Completed(_) => "completed",
            ActivityStatus::Failed(failed) => bad_end(failed.failure.as_ref()),
            ActivityStatus::Cancelled(_) => "cancelled",
            ActivityStatus::Backoff(_) => "backoff",
        },
        Job::ResolveChildWorkflowExecutionStart(job) => match job.status.as_ref()? {
            ChildStart::Succeeded(_) => "started",
            ChildStart::Failed(_) => "not started",
            ChildStart::Cancelled(_) => "start cancelled",
        },
        Job::ResolveChildWorkflowExecution(job) => match job.result.as_ref()?.status.as_ref()? {
            ChildStatus::Completed(_) => "completed",
            ChildStatus::Failed(failed) => bad_end(failed.failure.as_ref()),
            ChildStatus::Cancelled(_) => "cancelled",
        },
        Job::ResolveSignalExternalWorkflow(job) => match &job.failure {
            None => "completed",
            Some(Failure { failure_info: Some(FailureInfo::CanceledFailureInfo(_)), .. }) => "withdrawn",
            Some(_) => "failed",
        },
        Job::ResolveRequestCancelExternalWorkflow(job) => {
            if job.failure.is_none() {
                "completed"
            } else {
                "failed"
            }
        }
        Job::ResolveNexusOperationStart(job) => match job.status.as_ref()? {
            NexusStart::OperationToken(_) | NexusStart::StartedSync(_) => "started",
            NexusStart::Failed(failure) if failure.message.contains("before scheduled") => "start cancelled",
            NexusStart::Failed(_) => "not started",
        },
        Job::ResolveNexusOperation(job) => match job.result.as_ref()?.status.as_ref()? {
            NexusStatus::Completed(_) => "completed",
            NexusStatus::Failed(_) => "failed",
            NexusStatus::Cancelled(_) => "cancelled",
            NexusStatus::TimedOut(_) => "timed out",
        },
        _ => return None,
    })
}

fn bad_end(failure: Option<&Failure>) -> &'static str {
    let message = failure.map_or("", |failure| failure.message.as_str());
    if message.ends_with("timed out") { "timed out" } else { "failed" }
}
