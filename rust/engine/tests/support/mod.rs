//! What the engine's tests say in one word.
#![allow(dead_code)]

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use durable_client::{Rpc, Status, call};
use durable_engine::{Engine, EngineOptions, Location};
use temporalio_protos::temporal::api::{
    command::v1::{
        Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes, StartTimerCommandAttributes,
        command::Attributes,
    },
    common::v1::{ActivityType, RetryPolicy, WorkflowExecution, WorkflowType},
    enums::v1::EventType,
    failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    taskqueue::v1::{StickyExecutionAttributes, TaskQueue},
    workflowservice::v1::*,
};

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time") })
}

pub fn memory(time_skipping: bool) -> Arc<Engine> {
    Engine::open(EngineOptions { time_skipping, ..EngineOptions::new(Location::Memory) }).expect("opens")
}

pub fn file(path: &Path) -> Arc<Engine> {
    Engine::open(EngineOptions::new(Location::File(path.into()))).expect("opens")
}

pub fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.into(), ..Default::default() })
}

pub fn seconds(seconds: i64) -> Option<prost_wkt_types::Duration> {
    Some(prost_wkt_types::Duration { seconds, nanos: 0 })
}

pub fn execution(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), ..Default::default() })
}

pub async fn ask<R: Rpc>(engine: &Engine, request: R) -> Result<R::Response, Status> {
    call(engine, request).await
}

pub fn start_request(id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "W".into() }),
        task_queue: queue("q"),
        request_id: format!("request-{id}"),
        ..Default::default()
    }
}

pub async fn start(engine: &Engine, id: &str) -> String {
    ask(engine, start_request(id)).await.expect("starts").run_id
}

pub async fn poll_on(engine: &Engine, name: &str) -> PollWorkflowTaskQueueResponse {
    let request =
        PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: queue(name), identity: "w".into(), ..Default::default() };
    ask(engine, request).await.expect("polls")
}

pub async fn poll(engine: &Engine) -> PollWorkflowTaskQueueResponse {
    poll_on(engine, "q").await
}

pub async fn poll_activity(engine: &Engine) -> PollActivityTaskQueueResponse {
    let request =
        PollActivityTaskQueueRequest { namespace: "default".into(), task_queue: queue("q"), identity: "w".into(), ..Default::default() };
    ask(engine, request).await.expect("polls")
}

fn commands(attributes: Vec<Attributes>) -> Vec<Command> {
    attributes.into_iter().map(|attributes| Command { attributes: Some(attributes), ..Default::default() }).collect()
}

pub async fn complete(
    engine: &Engine,
    task_token: Vec<u8>,
    attributes: Vec<Attributes>,
) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
    let commands = commands(attributes);
    ask(engine, RespondWorkflowTaskCompletedRequest { task_token, commands, namespace: "default".into(), ..Default::default() }).await
}

pub async fn complete_sticky(engine: &Engine, task_token: Vec<u8>, attributes: Vec<Attributes>) {
    let commands = commands(attributes);
    let sticky_attributes = Some(StickyExecutionAttributes { worker_task_queue: queue("sticky"), schedule_to_start_timeout: seconds(10) });
    let request =
        RespondWorkflowTaskCompletedRequest { task_token, commands, sticky_attributes, namespace: "default".into(), ..Default::default() };
    ask(engine, request).await.expect("completes");
}

pub fn done() -> Attributes {
    Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes::default())
}

pub fn timer(id: &str, length: i64) -> Attributes {
    Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes { timer_id: id.into(), start_to_fire_timeout: seconds(length) })
}

pub fn activity(id: &str, timeout: i64, attempts: i32) -> Attributes {
    Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "A".into() }),
        task_queue: queue("q"),
        start_to_close_timeout: seconds(timeout),
        retry_policy: Some(RetryPolicy { maximum_attempts: attempts, ..Default::default() }),
        ..Default::default()
    })
}

pub fn application_failure(message: &str) -> Failure {
    let info = FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default());
    Failure { message: message.into(), failure_info: Some(info), ..Default::default() }
}

pub async fn signal(engine: &Engine, id: &str, name: &str) {
    let request = SignalWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: execution(id),
        signal_name: name.into(),
        ..Default::default()
    };
    ask(engine, request).await.expect("signals");
}

pub async fn history(engine: &Engine, id: &str, wait: bool) -> GetWorkflowExecutionHistoryResponse {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: "default".into(),
        execution: execution(id),
        wait_new_event: wait,
        history_event_filter_type: if wait { 2 } else { 1 },
        ..Default::default()
    };
    ask(engine, request).await.expect("answers")
}

/// The types of all events; their ids have no gap.
pub async fn types(engine: &Engine, id: &str) -> Vec<EventType> {
    let events = history(engine, id, false).await.history.unwrap_or_default().events;
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.event_id, index as i64 + 1);
    }
    events.iter().map(|event| event.event_type()).collect()
}
