//! Runs from start to end, in memory and in a file.

mod support;

use durable_client::Code;
use support::*;
use temporalio_protos::temporal::api::{
    command::v1::{RequestCancelActivityTaskCommandAttributes, command::Attributes},
    enums::v1::{EventType as E, QueryResultType},
    failure::v1::Failure,
    query::v1::WorkflowQuery,
    workflowservice::v1::*,
};

#[test]
fn a_run_completes() {
    block_on(async {
        let engine = memory(false);
        let run = start(&engine, "a").await;
        assert_eq!(start(&engine, "a").await, run, "the same request id starts once");
        let refused = ask(&engine, StartWorkflowExecutionRequest { request_id: "other".into(), ..start_request("a") }).await;
        assert_eq!(refused.expect_err("is running").code, Code::AlreadyExists);
        let task = poll(&engine).await;
        assert_eq!(task.history.as_ref().map(|history| history.events.len()), Some(3));
        let (ended, _) = tokio::join!(history(&engine, "a", true), complete(&engine, task.task_token, vec![done()]));
        assert_eq!(ended.history.unwrap_or_default().events[0].event_type(), E::WorkflowExecutionCompleted);
        let expected = [
            E::WorkflowExecutionStarted,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::WorkflowExecutionCompleted,
        ];
        assert_eq!(types(&engine, "a").await, expected);
        engine.close();
        assert_eq!(ask(&engine, start_request("b")).await.expect_err("closed").code, Code::Unavailable);
    });
}

#[test]
fn events_wait_for_the_end_of_the_task() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let task = poll(&engine).await;
        signal(&engine, "a", "s").await;
        let refused = complete(&engine, task.task_token, vec![done()]).await.expect_err("has not seen the signal");
        assert_eq!(refused.message, "UnhandledCommand");
        let task = poll(&engine).await;
        complete(&engine, task.task_token, vec![done()]).await.expect("has seen it");
        let expected = [
            E::WorkflowExecutionStarted,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskFailed,
            E::WorkflowExecutionSignaled,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::WorkflowExecutionCompleted,
        ];
        assert_eq!(types(&engine, "a").await, expected);
    });
}

#[test]
fn a_failing_task_is_transient_and_visible() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let failure = Some(Failure { message: "unknown workflow type".into(), ..Default::default() });
        let task_token = poll(&engine).await.task_token;
        ask(&engine, RespondWorkflowTaskFailedRequest { task_token, failure, ..Default::default() }).await.expect("fails");
        let described = ask(&engine, DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: execution("a") })
            .await
            .expect("describes");
        assert_eq!(described.pending_workflow_task.map(|task| task.attempt), Some(2));
        let info = format!("{:?}", described.workflow_execution_info);
        assert!(info.contains("TemporalReportedProblems"));
        let task = poll(&engine).await;
        assert_eq!(task.history.as_ref().map(|history| history.events.len()), Some(6), "four events and two transient ones");
        assert_eq!((task.attempt, task.started_event_id), (2, 6));
        complete(&engine, task.task_token, vec![done()]).await.expect("completes");
        assert_eq!(types(&engine, "a").await.len(), 8);
    });
}

#[test]
fn an_activity_is_retried() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![activity("1", 5, 2)]).await.expect("schedules");
        let first = poll_activity(&engine).await;
        let beat = RecordActivityTaskHeartbeatRequest {
            task_token: first.task_token.clone(),
            details: Some(Default::default()),
            ..Default::default()
        };
        ask(&engine, beat).await.expect("beats");
        let failure = Some(application_failure("no"));
        let failed = RespondActivityTaskFailedRequest { task_token: first.task_token.clone(), failure, ..Default::default() };
        ask(&engine, failed).await.expect("fails");
        let (second, ()) = tokio::join!(poll_activity(&engine), engine.advance(std::time::Duration::from_secs(1)));
        assert_eq!((second.attempt, second.heartbeat_details.is_some()), (2, true));
        let stale = ask(&engine, RespondActivityTaskCompletedRequest { task_token: first.task_token, ..Default::default() }).await;
        assert_eq!(stale.expect_err("stale").code, Code::NotFound);
        ask(&engine, RespondActivityTaskCompletedRequest { task_token: second.task_token, ..Default::default() }).await.expect("completes");
        complete(&engine, poll(&engine).await.task_token, vec![timer("t", 3600)]).await.expect("waits");
        let (task, ()) = tokio::join!(poll(&engine), engine.advance(std::time::Duration::from_secs(3600)));
        complete(&engine, task.task_token, vec![done()]).await.expect("ends");
        let types = types(&engine, "a").await;
        assert_eq!(types[4..8], [E::ActivityTaskScheduled, E::ActivityTaskStarted, E::ActivityTaskCompleted, E::WorkflowTaskScheduled]);
        assert!(types.contains(&E::TimerFired));
    });
}

#[test]
fn a_lost_activity_times_out() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![activity("1", 1, 1)]).await.expect("schedules");
        poll_activity(&engine).await;
        let task = poll(&engine).await;
        let events = task.history.unwrap_or_default().events;
        assert!(events.iter().any(|event| event.event_type() == E::ActivityTaskTimedOut));
    });
}

#[test]
fn a_sticky_poll_gets_the_new_events_only() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let task = poll(&engine).await;
        complete_sticky(&engine, task.task_token, vec![timer("t", 3600)]).await;
        let (task, ()) = tokio::join!(poll_on(&engine, "sticky"), signal(&engine, "a", "s"));
        assert_eq!((task.previous_started_event_id, task.history.unwrap_or_default().events[0].event_id), (3, 4));
        let shutdown = ShutdownWorkerRequest { namespace: "default".into(), sticky_task_queue: "sticky".into(), ..Default::default() };
        ask(&engine, shutdown).await.expect("shuts down");
        signal(&engine, "a", "s2").await;
        complete(&engine, task.task_token, vec![]).await.expect("completes");
        assert_eq!(poll(&engine).await.history.unwrap_or_default().events[0].event_id, 1);
    });
}

#[test]
fn a_query_is_answered_by_itself() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![done()]).await.expect("ends");
        let query = QueryWorkflowRequest {
            namespace: "default".into(),
            execution: execution("a"),
            query: Some(WorkflowQuery { query_type: "q".into(), ..Default::default() }),
            ..Default::default()
        };
        let answer = async {
            let task = poll(&engine).await;
            assert_eq!(task.query.map(|query| query.query_type), Some("q".into()));
            let answer = RespondQueryTaskCompletedRequest {
                task_token: task.task_token,
                completed_type: QueryResultType::Answered as i32,
                query_result: Some(Default::default()),
                ..Default::default()
            };
            ask(&engine, answer).await.expect("answers");
        };
        let (result, ()) = tokio::join!(ask(&engine, query), answer);
        assert!(result.expect("answered").query_result.is_some());
    });
}

#[test]
fn a_failure_of_a_cached_workflow_does_not_count() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        complete_sticky(&engine, poll(&engine).await.task_token, vec![]).await;
        let (mut cached, ()) = tokio::join!(poll_on(&engine, "sticky"), signal(&engine, "a", "s"));
        for attempt in [1, 1, 2] {
            let task = if cached.task_token.is_empty() { poll(&engine).await } else { std::mem::take(&mut cached) };
            assert_eq!(task.attempt, attempt);
            let failed =
                RespondWorkflowTaskFailedRequest { task_token: task.task_token, namespace: "default".into(), ..Default::default() };
            ask(&engine, failed).await.expect("fails");
        }
        let failures = types(&engine, "a").await.into_iter().filter(|kind| *kind == E::WorkflowTaskFailed).count();
        assert_eq!(failures, 2, "the third failure is a repeated one");
        let query = WorkflowQuery { query_type: "q".into(), ..Default::default() };
        let request =
            QueryWorkflowRequest { namespace: "default".into(), execution: execution("a"), query: Some(query), ..Default::default() };
        let refusal = ask(&engine, request).await.expect_err("is refused");
        assert!(refusal.message.starts_with("Unable to query workflow due to Workflow Task in failed state"), "{refusal:?}");
    });
}

#[test]
fn a_file_is_continued() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("d.db");
    block_on(async {
        let engine = file(&path);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![activity("1", 5, 0)]).await.expect("schedules");
        assert_eq!(poll_activity(&engine).await.attempt, 1);
        signal(&engine, "a", "s").await;
        let before = types(&engine, "a").await;
        let lost = poll(&engine).await;
        drop(engine);
        let engine = file(&path);
        let second = file(&path);
        assert_eq!(poll_activity(&engine).await.attempt, 2, "the lost attempt counts and is repeated at once");
        engine.close();
        assert_eq!(types(&second, "a").await[..before.len()], before);
        assert_eq!(complete(&second, lost.task_token, vec![done()]).await.expect_err("of another epoch").code, Code::NotFound);
        complete(&second, poll(&second).await.task_token, vec![done()]).await.expect("ends");
        let list = |query: &str| ListWorkflowExecutionsRequest { namespace: "default".into(), query: query.into(), ..Default::default() };
        let found = ask(&second, list("ExecutionStatus = 'Completed' AND (WorkflowId STARTS_WITH 'a' OR RunId IN ('x'))")).await;
        assert_eq!(found.expect("lists").executions.len(), 1);
        assert_eq!(ask(&second, list("Color = 'red'")).await.expect_err("refused").code, Code::InvalidArgument);
    });
}

#[test]
fn an_activity_cancelled_before_its_start_ends_after_the_commands() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let task = poll(&engine).await;
        complete(&engine, task.task_token, vec![activity("1", 10, 1)]).await.expect("scheduled");
        signal(&engine, "a", "s").await;
        let task = poll(&engine).await;
        let cancel = RequestCancelActivityTaskCommandAttributes { scheduled_event_id: 5 };
        let cancel = Attributes::RequestCancelActivityTaskCommandAttributes(cancel);
        complete(&engine, task.task_token, vec![cancel, timer("1", 60), timer("2", 60)]).await.expect("cancelled");
        let expected = [
            E::ActivityTaskScheduled,
            E::WorkflowExecutionSignaled,
            E::WorkflowTaskScheduled,
            E::WorkflowTaskStarted,
            E::WorkflowTaskCompleted,
            E::ActivityTaskCancelRequested,
            E::TimerStarted,
            E::TimerStarted,
            E::ActivityTaskCanceled,
            E::WorkflowTaskScheduled,
        ];
        assert_eq!(types(&engine, "a").await[4..], expected);
    });
}
