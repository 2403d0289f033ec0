//! Between the service's activity messages and those of the core interface.

use std::time::Duration;

use temporalio_protos::{
    coresdk::activity_task::{ActivityCancelReason, ActivityCancellationDetails, ActivityTask, Cancel, Start, activity_task::Variant},
    temporal::api::{
        common::v1::Payloads,
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
