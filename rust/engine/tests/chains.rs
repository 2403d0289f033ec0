//! What follows a run, what ends it for good, and what takes its place.

mod support;

use std::time::Duration;

use durable_client::Code;
use durable_engine::{Engine, EngineOptions, Limits, Location};
use support::*;
use temporalio_protos::temporal::api::{
    command::v1::{
        ContinueAsNewWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
        command::Attributes,
    },
    common::v1::{Payload, Payloads, RetryPolicy, WorkflowExecution},
    enums::v1::{EventType as E, ResetReapplyExcludeType, RetryState, WorkflowExecutionStatus as Status},
    failure::v1::Failure,
    history::v1::{HistoryEvent, history_event},
    workflowservice::v1::*,
};

fn failed(message: &str) -> Attributes {
    let failure = Some(Failure { message: message.into(), ..Default::default() });
    Attributes::FailWorkflowExecutionCommandAttributes(FailWorkflowExecutionCommandAttributes { failure })
}

fn payloads(size: usize) -> Option<Payloads> {
    Some(Payloads { payloads: vec![Payload { data: vec![7; size], ..Default::default() }] })
}

fn run(id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), run_id: run_id.into() })
}

async fn events_of(engine: &Engine, id: &str, run_id: &str) -> Vec<HistoryEvent> {
    let request = GetWorkflowExecutionHistoryRequest { namespace: "default".into(), execution: run(id, run_id), ..Default::default() };
    ask(engine, request).await.expect("answers").history.unwrap_or_default().events
}

async fn describe(engine: &Engine, id: &str, run_id: &str) -> DescribeWorkflowExecutionResponse {
    let request = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: run(id, run_id) };
    ask(engine, request).await.expect("answers")
}

fn started(events: &[HistoryEvent]) -> &temporalio_protos::temporal::api::history::v1::WorkflowExecutionStartedEventAttributes {
    match events.first().and_then(|event| event.attributes.as_ref()) {
        Some(history_event::Attributes::WorkflowExecutionStartedEventAttributes(started)) => started,
        other => panic!("{other:?} is no start"),
    }
}

#[test]
fn retries_keep_the_arguments_and_count() {
    block_on(async {
        let engine = memory(true);
        let policy = RetryPolicy { initial_interval: seconds(60), maximum_attempts: 2, ..Default::default() };
        let request = StartWorkflowExecutionRequest { retry_policy: Some(policy), input: payloads(3), ..start_request("a") };
        let first = ask(&engine, request).await.expect("starts").run_id;
        complete(&engine, poll(&engine).await.task_token, vec![failed("once")]).await.expect("completes");
        let Some(history_event::Attributes::WorkflowExecutionFailedEventAttributes(end)) =
            events_of(&engine, "a", &first).await.pop().and_then(|event| event.attributes)
        else {
            panic!("failed")
        };
        assert_eq!(end.retry_state(), RetryState::InProgress);
        let events = events_of(&engine, "a", "").await;
        assert_eq!(events.len(), 1, "its first task waits");
        let second = started(&events);
        assert_eq!((second.attempt, second.input.clone(), second.first_workflow_task_backoff), (2, payloads(3), seconds(60)));
        assert_eq!((&second.first_execution_run_id, &second.continued_execution_run_id), (&first, &first));
        assert_eq!(second.original_execution_run_id, end.new_execution_run_id);
        engine.advance(Duration::from_secs(61)).await;
        complete(&engine, poll(&engine).await.task_token, vec![failed("twice")]).await.expect("completes");
        let last = describe(&engine, "a", "").await.workflow_execution_info.expect("is there");
        assert_eq!((last.status(), last.execution.expect("is there").run_id), (Status::Failed, end.new_execution_run_id));
    });
}

#[test]
fn a_chain_begins_one_run_a_second() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        let next = ContinueAsNewWorkflowExecutionCommandAttributes::default();
        let command = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(next);
        complete(&engine, poll(&engine).await.task_token, vec![command.clone()]).await.expect("completes");
        let pause = started(&events_of(&engine, "a", "").await).first_workflow_task_backoff.expect("is set");
        assert!(pause.seconds <= 1 && (pause.seconds, pause.nanos) > (0, 500_000_000), "{pause:?}");
        engine.advance(Duration::from_secs(1)).await;
        let task = poll(&engine).await;
        engine.advance(Duration::from_secs(5)).await;
        complete(&engine, task.task_token, vec![command]).await.expect("completes");
        let pause = started(&events_of(&engine, "a", "").await).first_workflow_task_backoff.expect("is set");
        assert_eq!((pause.seconds, pause.nanos), (0, 0), "a run that took longer waits no more");
    });
}

#[test]
fn cron_schedules_are_checked_at_the_start() {
    block_on(async {
        let engine = memory(true);
        for schedule in ["often", "0 0 30 2 *", "CRON_TZ=Nowhere/Never 0 0 * * *"] {
            let request = StartWorkflowExecutionRequest { cron_schedule: schedule.into(), ..start_request("a") };
            let refused = ask(&engine, request).await.expect_err(schedule);
            assert_eq!((refused.code, refused.message.starts_with("invalid CronSchedule")), (Code::InvalidArgument, true));
        }
        let both = StartWorkflowExecutionRequest { cron_schedule: "@daily".into(), workflow_start_delay: seconds(1), ..start_request("a") };
        assert_eq!(ask(&engine, both).await.expect_err("both").code, Code::InvalidArgument);
    });
}

#[test]
fn an_eager_start_brings_the_first_task() {
    block_on(async {
        let engine = memory(false);
        let eager = |id: &str| StartWorkflowExecutionRequest { request_eager_execution: true, ..start_request(id) };
        let task = ask(&engine, eager("a")).await.expect("starts").eager_workflow_task.expect("its task");
        assert_eq!(task.history.expect("is there").events.len(), 3);
        complete(&engine, task.task_token, vec![done()]).await.expect("completes");
        assert_eq!(types(&engine, "a").await.last(), Some(&E::WorkflowExecutionCompleted));
        let delayed = StartWorkflowExecutionRequest { workflow_start_delay: seconds(60), ..eager("b") };
        assert_eq!(ask(&engine, delayed).await.expect("starts").eager_workflow_task, None);
        assert!(!started(&events_of(&engine, "b", "").await).eager_execution_accepted);
    });
}

#[test]
fn a_further_start_with_a_signal_ends_the_delay_of_the_first() {
    block_on(async {
        let engine = memory(false);
        let request = |number: i32| SignalWithStartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: "a".into(),
            workflow_type: start_request("a").workflow_type,
            task_queue: queue("q"),
            request_id: format!("request {number}"),
            signal_name: format!("signal {number}"),
            workflow_start_delay: seconds(3600),
            ..Default::default()
        };
        assert!(ask(&engine, request(1)).await.expect("starts").started);
        signal(&engine, "a", "in between").await;
        let waiting = [E::WorkflowExecutionStarted, E::WorkflowExecutionSignaled, E::WorkflowExecutionSignaled];
        assert_eq!(types(&engine, "a").await, waiting);
        assert!(!ask(&engine, request(2)).await.expect("signals").started);
        assert!(!ask(&engine, request(2)).await.expect("is one request").started);
        let expected = [waiting.as_slice(), &[E::WorkflowExecutionSignaled, E::WorkflowTaskScheduled, E::WorkflowTaskStarted]].concat();
        let task = poll(&engine).await;
        assert_eq!(types(&engine, "a").await, expected);
        complete(&engine, task.task_token, vec![done()]).await.expect("completes");
    });
}

#[test]
fn a_history_that_is_too_long_is_ended() {
    block_on(async {
        let limits = Some(Limits { history_events: 10, ..Limits::default() });
        let engine = Engine::open(EngineOptions { limits, ..EngineOptions::new(Location::Memory) }).expect("opens");
        start(&engine, "a").await;
        let timers = (0..8).map(|number| timer(&number.to_string(), 60)).collect();
        complete(&engine, poll(&engine).await.task_token, timers).await.expect("completes");
        let events = events_of(&engine, "a", "").await;
        let Some(history_event::Attributes::WorkflowExecutionTerminatedEventAttributes(end)) =
            events.last().and_then(|event| event.attributes.clone())
        else {
            panic!("terminated")
        };
        assert_eq!((end.reason.as_str(), end.identity.as_str()), ("Workflow history count exceeds limit.", "history-service"));
    });
}

#[test]
fn a_command_that_carries_too_much_ends_the_workflow() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let details = [("large".to_owned(), payloads(3 << 20).expect("some"))].into();
        let marker = RecordMarkerCommandAttributes { marker_name: "m".into(), details, ..Default::default() };
        let refused = complete(&engine, poll(&engine).await.task_token, vec![Attributes::RecordMarkerCommandAttributes(marker)]).await;
        let text = "BadRecordMarkerAttributes: RecordMarkerCommandAttributes.Details exceeds size limit.";
        assert_eq!(refused.expect_err("too large").message, text);
        let types = types(&engine, "a").await;
        assert_eq!(types[3..], [E::WorkflowTaskFailed, E::WorkflowExecutionTerminated]);
    });
}

async fn reset(engine: &Engine, id: &str, finish: i64) -> String {
    let request = ResetWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: execution(id),
        workflow_task_finish_event_id: finish,
        request_id: format!("reset-{finish}"),
        ..Default::default()
    };
    ask(engine, request).await.expect("resets").run_id
}

#[test]
fn a_reset_run_has_the_timers_and_activities_of_its_history() {
    block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("reset.db");
        let engine = file(&path);
        let base = start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![timer("t", 3600), activity("one", 60, 1)]).await.expect("completes");
        signal(&engine, "a", "wakes").await;
        complete(&engine, poll(&engine).await.task_token, vec![]).await.expect("completes");
        let again = reset(&engine, "a", 10).await;
        assert_eq!(reset(&engine, "a", 10).await, again, "a repeated request is one reset");
        let old = describe(&engine, "a", &base).await;
        assert_eq!(old.workflow_execution_info.expect("is there").status(), Status::Terminated);
        assert_eq!(old.workflow_extended_info.expect("is there").reset_run_id, again);
        engine.close();
        let engine = file(&path);
        let new = describe(&engine, "a", "").await;
        assert_eq!(new.workflow_execution_info.expect("is there").execution.expect("is there").run_id, again);
        assert_eq!(new.pending_activities.len(), 1, "not started before, it is handed out again");
        assert_eq!(poll_activity(&engine).await.workflow_execution.expect("is there").run_id, again);
        let kinds = types(&engine, "a").await;
        assert_eq!(kinds[kinds.len() - 3..], [E::WorkflowTaskStarted, E::WorkflowTaskFailed, E::WorkflowTaskScheduled]);
        complete(&engine, poll(&engine).await.task_token, vec![done()]).await.expect("completes");
    });
}

#[test]
fn a_reset_follows_the_runs_that_continued() {
    block_on(async {
        let engine = memory(true);
        let base = start(&engine, "a").await;
        let next = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Default::default());
        complete(&engine, poll(&engine).await.task_token, vec![next]).await.expect("completes");
        signal(&engine, "a", "to the second run").await;
        let mut request = ResetWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: run("a", &base),
            workflow_task_finish_event_id: 4,
            request_id: "1".into(),
            ..Default::default()
        };
        ask(&engine, request.clone()).await.expect("resets");
        assert!(types(&engine, "a").await.contains(&E::WorkflowExecutionSignaled), "the signal came again");
        request.request_id = "2".into();
        request.reset_reapply_exclude_types = vec![ResetReapplyExcludeType::Signal as i32];
        ask(&engine, request).await.expect("resets");
        assert!(!types(&engine, "a").await.contains(&E::WorkflowExecutionSignaled));
    });
}

#[test]
fn a_deleted_run_is_gone_from_the_file_too() {
    block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("delete.db");
        let engine = file(&path);
        start(&engine, "a").await;
        start(&engine, "b").await;
        let delete = |id: &str| DeleteWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: execution(id) };
        // Who waits for the end is told of it.
        let (waited, deleted) = futures_util::join!(history(&engine, "a", true), ask(&engine, delete("a")));
        deleted.expect("deletes");
        let events = waited.history.expect("is there").events;
        assert_eq!(events.iter().map(|event| event.event_type()).collect::<Vec<_>>(), [E::WorkflowExecutionTerminated]);
        assert_eq!(ask(&engine, delete("a")).await.expect_err("is gone").code, Code::NotFound);
        engine.close();
        let engine = file(&path);
        let listed = ask(&engine, ListWorkflowExecutionsRequest { namespace: "default".into(), ..Default::default() }).await;
        let ids: Vec<String> =
            listed.expect("lists").executions.into_iter().filter_map(|info| info.execution).map(|run| run.workflow_id).collect();
        assert_eq!(ids, ["b"]);
        start(&engine, "a").await;
    });
}
