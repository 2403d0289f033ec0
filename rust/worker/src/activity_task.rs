//! Between the service's activity messages and those of the core interface.

use std::time::Duration;

use durable_core::LocalStart;
use prost_wkt_types::Timestamp;
use temporalio_protos::{
    coresdk::activity_task::{ActivityCancelReason, ActivityCancellationDetails, ActivityTask, Cancel, Start, activity_task::Variant},
    temporal::api::{
        common::v1::{Payloads, Priority, WorkflowExecution},
        failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        workflowservice::v1::PollActivityTaskQueueResponse,
    },
};

pub(crate) fn start_task(task: PollActivityTaskQueueResponse) -> ActivityTask {
    let start = Start {
        workflow_namespace: task.workflow_namespace,
        workflow_type: task.workflow_type.unwrap_or_default().name,
        workflow_execution: task.workflow_execution,
        activity_id: task.activity_id,
        activity_type: task.activity_type.unwrap_or_default().name,
        header_fields: task.header.unwrap_or_default().fields,
        input: task.input.unwrap_or_default().payloads,
        heartbeat_details: task.heartbeat_details.unwrap_or_default().payloads,
        scheduled_time: task.scheduled_time,
        current_attempt_scheduled_time: task.current_attempt_scheduled_time,
        started_time: task.started_time,
        attempt: u32::try_from(task.attempt).unwrap_or(1),
        schedule_to_close_timeout: task.schedule_to_close_timeout,
        start_to_close_timeout: task.start_to_close_timeout,
        heartbeat_timeout: task.heartbeat_timeout,
        retry_policy: task.retry_policy,
        priority: Some(task.priority.unwrap_or_default()),
        is_local: false,
        run_id: task.activity_run_id,
    };
    ActivityTask { task_token: task.task_token, variant: Some(Variant::Start(start)) }
}

/// The task of a local activity's attempt; `elapsed` is the time since it was requested.
pub(crate) fn local_start_task(
    task_token: Vec<u8>,
    start: &LocalStart,
    run_id: &str,
    namespace: &str,
    attempt: u32,
    elapsed: Duration,
) -> ActivityTask {
    let LocalStart { command, workflow_id, workflow_type, now } = start;
    let attempt_time = now.map(|now| later(now, elapsed));
    let start = Start {
        workflow_namespace: namespace.to_owned(),
        workflow_type: workflow_type.clone(),
        workflow_execution: Some(WorkflowExecution { workflow_id: workflow_id.clone(), run_id: run_id.to_owned() }),
        activity_id: command.activity_id.clone(),
        activity_type: command.activity_type.clone(),
        header_fields: command.headers.clone(),
        input: command.arguments.clone(),
        heartbeat_details: Vec::new(),
        scheduled_time: command.original_schedule_time,
        current_attempt_scheduled_time: attempt_time,
        started_time: attempt_time,
        attempt,
        schedule_to_close_timeout: command.schedule_to_close_timeout,
        start_to_close_timeout: command.start_to_close_timeout.or(command.schedule_to_close_timeout),
        heartbeat_timeout: None,
        retry_policy: command.retry_policy.clone(),
        priority: Some(Priority::default()),
        is_local: true,
        run_id: String::new(),
    };
    ActivityTask { task_token, variant: Some(Variant::Start(start)) }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    const BILLION: i64 = 1_000_000_000;
    let nanos = i64::from(time.nanos) + i64::from(by.subsec_nanos());
    let seconds = time.seconds.saturating_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX)).saturating_add(nanos / BILLION);
    Timestamp { seconds, nanos: i32::try_from(nanos % BILLION).unwrap_or_default() }
}

pub(crate) fn cancel_task(task_token: Vec<u8>, reason: ActivityCancelReason) -> ActivityTask {
    use ActivityCancelReason::*;
    let details = ActivityCancellationDetails {
        is_not_found: reason == NotFound,
        is_cancelled: reason == Cancelled,
        is_paused: reason == Paused,
        is_timed_out: reason == TimedOut,
        is_worker_shutdown: reason == WorkerShutdown,
        is_reset: reason == Reset,
    };
    let cancel = Cancel { reason: reason as i32, details: Some(details) };
    ActivityTask { task_token, variant: Some(Variant::Cancel(cancel)) }
}

/// None for a heartbeat without details, as the service distinguishes.
pub(crate) fn payloads(payloads: Vec<temporalio_protos::temporal::api::common::v1::Payload>) -> Option<Payloads> {
    (!payloads.is_empty()).then_some(Payloads { payloads })
}

pub(crate) fn duration(value: Option<prost_wkt_types::Duration>) -> Option<Duration> {
    value.and_then(|value| Duration::try_from(value).ok()).filter(|value| !value.is_zero())
}

/// An activity's failure that the worker itself makes.
pub(crate) fn application_failure(message: String, name: &str, non_retryable: bool) -> Failure {
    let info = ApplicationFailureInfo { r#type: name.into(), non_retryable, ..Default::default() };
    Failure { message, failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
}
