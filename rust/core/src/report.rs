//! What a run says to the service.

use crate::run::RunOptions;
use prost_wkt_types::Duration;
use temporalio_protos::{
    coresdk::workflow_commands::{QueryResult, query_result},
    temporal::api::{
        command::v1::{Command, CommandAttributesExt, command::Attributes},
        common::v1::Payloads,
        enums::v1::{QueryResultType, TaskQueueKind, WorkflowTaskFailedCause},
        failure::v1::Failure,
        protocol::v1::Message,
        query::v1::WorkflowQueryResult,
        sdk::v1::WorkflowTaskCompletedMetadata,
        taskqueue::v1::{StickyExecutionAttributes, TaskQueue},
        workflowservice::v1::{
            RespondQueryTaskCompletedRequest, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest,
            respond_workflow_task_completed_request::Capabilities,
        },
    },
};

pub(crate) fn completed(
    options: &RunOptions,
    task_token: Vec<u8>,
    commands: Vec<Command>,
    messages: Vec<Message>,
    answers: Vec<QueryResult>,
    metadata: WorkflowTaskCompletedMetadata,
    versioning_behavior: i32,
) -> RespondWorkflowTaskCompletedRequest {
    let sticky_attributes = sticky(options);
    RespondWorkflowTaskCompletedRequest {
        task_token,
        commands,
        messages,
        identity: options.identity.clone(),
        namespace: options.namespace.clone(),
        // A task in the answer is a continuation, of no use to a worker that keeps nothing.
        return_new_workflow_task: sticky_attributes.is_some(),
        sticky_attributes,
        query_results: answers.into_iter().map(|answer| (answer.query_id.clone(), query_result(answer))).collect(),
        sdk_metadata: Some(metadata),
        versioning_behavior,
        capabilities: Some(Capabilities { discard_speculative_workflow_task_with_events: true }),
        ..Default::default()
    }
}

/// The answer that ends a workflow with one command, and keeps nothing of it here.
pub(crate) fn conclusion(options: &RunOptions, task_token: Vec<u8>, attributes: Attributes) -> RespondWorkflowTaskCompletedRequest {
    let command = Command { command_type: attributes.as_type() as i32, attributes: Some(attributes), ..Default::default() };
    RespondWorkflowTaskCompletedRequest {
        task_token,
        commands: vec![command],
        identity: options.identity.clone(),
        namespace: options.namespace.clone(),
        ..Default::default()
    }
}

fn sticky(options: &RunOptions) -> Option<StickyExecutionAttributes> {
    if options.sticky_task_queue.is_empty() {
        return None;
    }
    let timeout_ms = options.sticky_schedule_to_start_timeout_ms;
    Some(StickyExecutionAttributes {
        worker_task_queue: Some(TaskQueue {
            name: options.sticky_task_queue.clone(),
            kind: TaskQueueKind::Sticky as i32,
            normal_name: options.task_queue.clone(),
        }),
        schedule_to_start_timeout: Some(Duration {
            seconds: i64::try_from(timeout_ms / 1_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(timeout_ms % 1_000 * 1_000_000).unwrap_or_default(),
        }),
    })
}

pub(crate) fn failed(
    options: &RunOptions,
    task_token: Vec<u8>,
    cause: WorkflowTaskFailedCause,
    failure: Failure,
) -> RespondWorkflowTaskFailedRequest {
    RespondWorkflowTaskFailedRequest {
        task_token,
        cause: cause as i32,
        failure: Some(failure),
        identity: options.identity.clone(),
        namespace: options.namespace.clone(),
        ..Default::default()
    }
}

/// The answer to a query task of the old kind.
pub(crate) fn query_answer(options: &RunOptions, task_token: Vec<u8>, answer: QueryResult) -> RespondQueryTaskCompletedRequest {
    let result = query_result(answer);
    RespondQueryTaskCompletedRequest {
        task_token,
        completed_type: result.result_type,
        query_result: result.answer,
        error_message: result.error_message,
        failure: result.failure,
        namespace: options.namespace.clone(),
        ..Default::default()
    }
}

pub(crate) fn failed_query(query_id: String, failure: Failure) -> QueryResult {
    QueryResult { query_id, variant: Some(query_result::Variant::Failed(failure)) }
}

fn query_result(answer: QueryResult) -> WorkflowQueryResult {
    match answer.variant {
        Some(query_result::Variant::Succeeded(success)) => WorkflowQueryResult {
            result_type: QueryResultType::Answered as i32,
            answer: success.response.map(|payload| Payloads { payloads: vec![payload] }),
            ..Default::default()
        },
        Some(query_result::Variant::Failed(failure)) => WorkflowQueryResult {
            result_type: QueryResultType::Failed as i32,
            error_message: failure.message.clone(),
            failure: Some(failure),
            ..Default::default()
        },
        None => WorkflowQueryResult {
            result_type: QueryResultType::Failed as i32,
            error_message: "the workflow's code gave no answer to the query".to_owned(),
            ..Default::default()
        },
    }
}
