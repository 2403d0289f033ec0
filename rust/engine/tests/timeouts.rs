//! What ends by itself: every timeout. Time is virtual, but it stands still for no worker: what a worker holds takes real milliseconds.

mod support;

use std::time::Duration;

use durable_engine::Engine;
use support::*;
use temporalio_protos::temporal::api::{
    command::v1::{CancelTimerCommandAttributes, StartTimerCommandAttributes, command::Attributes},
    enums::v1::{EventType as E, RetryState, TimeoutType, WorkflowExecutionStatus},
    failure::v1::failure::FailureInfo,
    history::v1::{ActivityTaskTimedOutEventAttributes, history_event::Attributes as H},
    taskqueue::v1::StickyExecutionAttributes,
    workflowservice::v1::*,
};

fn millis(millis: i32) -> Option<prost_wkt_types::Duration> {
    Some(prost_wkt_types::Duration { seconds: 0, nanos: millis * 1_000_000 })
}

/// The only activity's end, after so many milliseconds of workflow time.
async fn timed_out(engine: &Engine, length: u64) -> ActivityTaskTimedOutEventAttributes {
    let (task, ()) = tokio::join!(poll(engine), engine.advance(Duration::from_millis(length)));
    let events = task.history.unwrap_or_default().events;
    let found = events.into_iter().find_map(|event| match event.attributes {
        Some(H::ActivityTaskTimedOutEventAttributes(attributes)) => Some(attributes),
        _ => None,
    });
    found.expect("the activity timed out")
}

fn kind(event: &ActivityTaskTimedOutEventAttributes) -> TimeoutType {
    match event.failure.as_ref().and_then(|failure| failure.failure_info.as_ref()) {
        Some(FailureInfo::TimeoutFailureInfo(info)) => info.timeout_type(),
        _ => TimeoutType::Unspecified,
    }
}

fn with(
    change: impl FnOnce(&mut temporalio_protos::temporal::api::command::v1::ScheduleActivityTaskCommandAttributes),
    attempts: i32,
) -> Attributes {
    let mut command = activity("1", 100, attempts);
    if let Attributes::ScheduleActivityTaskCommandAttributes(attributes) = &mut command {
        change(attributes);
    }
    command
}

async fn scheduled(command: Attributes) -> std::sync::Arc<Engine> {
    let engine = memory(true);
    start(&engine, "a").await;
    complete(&engine, poll(&engine).await.task_token, vec![command]).await.expect("schedules");
    engine
}

#[test]
fn an_activity_without_heartbeats_times_out() {
    block_on(async {
        let engine = scheduled(with(|activity| activity.heartbeat_timeout = millis(300), 1)).await;
        let task = poll_activity(&engine).await;
        engine.advance(Duration::from_millis(200)).await;
        let beat =
            RecordActivityTaskHeartbeatRequest { task_token: task.task_token, details: Some(Default::default()), ..Default::default() };
        ask(&engine, beat.clone()).await.expect("beats");
        engine.advance(Duration::from_millis(200)).await;
        ask(&engine, beat).await.expect("the first beat moved the deadline");
        let event = timed_out(&engine, 400).await;
        assert_eq!((kind(&event), event.retry_state()), (TimeoutType::Heartbeat, RetryState::MaximumAttemptsReached));
        assert!(format!("{:?}", event.failure).contains("last_heartbeat_details: Some"));
    });
}

#[test]
fn an_activity_that_nobody_starts_times_out() {
    block_on(async {
        let engine = scheduled(with(|activity| activity.schedule_to_start_timeout = seconds(5), 0)).await;
        let event = timed_out(&engine, 6000).await;
        assert_eq!((kind(&event), event.started_event_id, event.retry_state()), (TimeoutType::ScheduleToStart, 0, RetryState::Timeout));
    });
}

#[test]
fn schedule_to_close_ends_all_attempts() {
    block_on(async {
        let engine = scheduled(with(
            |activity| {
                activity.schedule_to_close_timeout = millis(900);
                activity.start_to_close_timeout = millis(400);
                activity.retry_policy.get_or_insert_default().initial_interval = millis(100);
            },
            0,
        ))
        .await;
        poll_activity(&engine).await;
        let (second, ()) = tokio::join!(poll_activity(&engine), engine.advance(Duration::from_millis(600)));
        assert_eq!(second.attempt, 2);
        let event = timed_out(&engine, 400).await;
        assert_eq!((kind(&event), event.retry_state()), (TimeoutType::ScheduleToClose, RetryState::Timeout));
        assert!(event.failure.unwrap_or_default().message.starts_with("Not enough time to schedule next retry"));
    });
}

async fn ends_with(request: StartWorkflowExecutionRequest, after: u64) {
    let engine = memory(true);
    ask(&engine, request).await.expect("starts");
    engine.advance(Duration::from_secs(after - 1)).await;
    assert!(!types(&engine, "a").await.contains(&E::WorkflowExecutionTimedOut));
    engine.advance(Duration::from_secs(2)).await;
    assert_eq!(types(&engine, "a").await.last(), Some(&E::WorkflowExecutionTimedOut));
    let described =
        ask(&engine, DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: execution("a") }).await.expect("describes");
    assert_eq!(described.workflow_execution_info.map(|info| info.status()), Some(WorkflowExecutionStatus::TimedOut));
}

#[test]
fn a_run_times_out() {
    block_on(ends_with(StartWorkflowExecutionRequest { workflow_run_timeout: seconds(30), ..start_request("a") }, 30));
}

#[test]
fn an_execution_times_out_although_its_run_may_go_on() {
    block_on(ends_with(
        StartWorkflowExecutionRequest { workflow_execution_timeout: seconds(30), workflow_run_timeout: seconds(90), ..start_request("a") },
        30,
    ));
}

#[test]
fn unset_timeouts_stay_unset_in_the_history() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        ask(&engine, StartWorkflowExecutionRequest { workflow_execution_timeout: seconds(30), ..start_request("b") })
            .await
            .expect("starts");
        for (id, expected) in [("a", (None, None)), ("b", (seconds(30), seconds(30)))] {
            let events = history(&engine, id, false).await.history.unwrap_or_default().events;
            let Some(H::WorkflowExecutionStartedEventAttributes(started)) = &events[0].attributes else { panic!("starts with its start") };
            assert_eq!((started.workflow_execution_timeout, started.workflow_run_timeout), expected);
        }
    });
}

#[test]
fn a_sticky_task_falls_back_to_the_normal_queue() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: poll(&engine).await.task_token,
            sticky_attributes: Some(StickyExecutionAttributes {
                worker_task_queue: queue("sticky"),
                schedule_to_start_timeout: millis(300),
            }),
            ..Default::default()
        };
        ask(&engine, request).await.expect("completes");
        // A worker that has just polled counts as alive: the task waits for it, for as long as the worker asked.
        let gone = poll_on(&engine, "sticky");
        assert!(tokio::time::timeout(Duration::from_millis(50), gone).await.is_err());
        signal(&engine, "a", "s").await;
        let (task, ()) = tokio::join!(poll(&engine), engine.advance(Duration::from_millis(400)));
        let events = task.history.unwrap_or_default().events;
        assert_eq!(events[0].event_id, 1, "the whole history");
        let kinds: Vec<TimeoutType> = events
            .iter()
            .filter_map(|event| match &event.attributes {
                Some(H::WorkflowTaskTimedOutEventAttributes(attributes)) => Some(attributes.timeout_type()),
                _ => None,
            })
            .collect();
        assert_eq!(kinds, [TimeoutType::ScheduleToStart]);
    });
}

#[test]
fn a_started_task_times_out_and_is_repeated() {
    block_on(async {
        let engine = memory(true);
        ask(&engine, StartWorkflowExecutionRequest { workflow_task_timeout: millis(300), ..start_request("a") }).await.expect("starts");
        let lost = poll(&engine).await;
        let (task, ()) = tokio::join!(poll(&engine), engine.advance(Duration::from_millis(400)));
        assert_eq!(task.attempt, 2);
        complete(&engine, lost.task_token, vec![done()]).await.expect_err("the task was given to another");
        complete(&engine, task.task_token, vec![done()]).await.expect("completes");
    });
}

#[test]
fn a_timer_that_fired_unseen_can_still_be_cancelled() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        let short = Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
            timer_id: "t".into(),
            start_to_fire_timeout: millis(200),
        });
        complete(&engine, poll(&engine).await.task_token, vec![short]).await.expect("waits");
        signal(&engine, "a", "s").await;
        let task = poll(&engine).await;
        engine.advance(Duration::from_millis(300)).await;
        let cancel = Attributes::CancelTimerCommandAttributes(CancelTimerCommandAttributes { timer_id: "t".into() });
        complete(&engine, task.task_token, vec![cancel, done()]).await.expect("the worker has not seen the fire");
        let types = types(&engine, "a").await;
        assert!(!types.contains(&E::TimerFired));
        assert_eq!(types[types.len() - 2..], [E::TimerCanceled, E::WorkflowExecutionCompleted]);
    });
}

#[test]
fn a_client_that_waits_skips_the_time() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![timer("t", 365 * 86_400)]).await.expect("waits");
        let worker = async {
            let task = poll(&engine).await;
            complete(&engine, task.task_token, vec![done()]).await.expect("ends");
        };
        let (ended, ()) = tokio::join!(history(&engine, "a", true), worker);
        assert_eq!(ended.history.unwrap_or_default().events[0].event_type(), E::WorkflowExecutionCompleted);
    });
}
