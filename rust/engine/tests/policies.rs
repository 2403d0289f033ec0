//! Ids that are used again, signals that start, and answers in pages.

#![allow(deprecated, reason = "the old policy is still a request that clients send")]

mod support;

use durable_client::{Code, Status};
use durable_engine::Engine;
use support::*;
use temporalio_protos::temporal::api::{
    command::v1::{FailWorkflowExecutionCommandAttributes, command::Attributes},
    common::v1::{WorkflowExecution, WorkflowType},
    enums::v1::{EventType as E, WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse},
    failure::v1::Failure,
    workflowservice::v1::*,
};

/// Starts "a" anew under the policies.
async fn again(engine: &Engine, request_id: &str, reuse: Reuse, conflict: Conflict) -> Result<StartWorkflowExecutionResponse, Status> {
    ask(
        engine,
        StartWorkflowExecutionRequest {
            request_id: request_id.into(),
            workflow_id_reuse_policy: reuse as i32,
            workflow_id_conflict_policy: conflict as i32,
            ..start_request("a")
        },
    )
    .await
}

#[test]
fn an_open_workflow_conflicts_as_the_policy_says() {
    block_on(async {
        let engine = memory(false);
        let first = start(&engine, "a").await;
        let refused = again(&engine, "1", Reuse::Unspecified, Conflict::Fail).await.expect_err("is running");
        assert_eq!((refused.code, refused.message.starts_with("Workflow execution is already running.")), (Code::AlreadyExists, true));
        let used = again(&engine, "2", Reuse::Unspecified, Conflict::UseExisting).await.expect("the existing one");
        assert_eq!((used.run_id.as_str(), used.started), (first.as_str(), false));
        let second = again(&engine, "3", Reuse::Unspecified, Conflict::TerminateExisting).await.expect("starts");
        assert!(second.started && second.run_id != first);
        let third = again(&engine, "4", Reuse::TerminateIfRunning, Conflict::Unspecified).await.expect("starts");
        assert!(third.run_id != second.run_id);
        for conflict in [Conflict::Fail, Conflict::UseExisting] {
            assert_eq!(
                again(&engine, "5", Reuse::TerminateIfRunning, conflict).await.expect_err("contradiction").code,
                Code::InvalidArgument
            );
        }
        assert_eq!(
            again(&engine, "5", Reuse::RejectDuplicate, Conflict::TerminateExisting).await.expect_err("contradiction").code,
            Code::InvalidArgument
        );
    });
}

#[test]
fn a_closed_workflow_is_repeated_as_the_policy_says() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![done()]).await.expect("completes");
        for reuse in [Reuse::RejectDuplicate, Reuse::AllowDuplicateFailedOnly] {
            assert_eq!(again(&engine, "1", reuse, Conflict::Unspecified).await.expect_err("completed").code, Code::AlreadyExists);
        }
        again(&engine, "2", Reuse::AllowDuplicate, Conflict::Unspecified).await.expect("starts");
        let failure = Some(Failure { message: "no".into(), ..Default::default() });
        let fail = Attributes::FailWorkflowExecutionCommandAttributes(FailWorkflowExecutionCommandAttributes { failure });
        complete(&engine, poll(&engine).await.task_token, vec![fail]).await.expect("fails");
        again(&engine, "3", Reuse::AllowDuplicateFailedOnly, Conflict::Unspecified).await.expect("starts after a failure");
    });
}

fn signal_with_start(id: &str, request_id: &str) -> SignalWithStartWorkflowExecutionRequest {
    SignalWithStartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "W".into() }),
        task_queue: queue("q"),
        request_id: request_id.into(),
        signal_name: "s".into(),
        ..Default::default()
    }
}

#[test]
fn a_signal_starts_what_does_not_run() {
    block_on(async {
        let engine = memory(false);
        let first = ask(&engine, signal_with_start("a", "1")).await.expect("starts");
        assert!(first.started);
        assert!(!ask(&engine, signal_with_start("a", "2")).await.expect("signals").started);
        ask(&engine, signal_with_start("a", "2")).await.expect("the same request signals once");
        let expected = [E::WorkflowExecutionStarted, E::WorkflowExecutionSignaled, E::WorkflowTaskScheduled, E::WorkflowExecutionSignaled];
        let mut types = types(&engine, "a").await;
        let mut expected = expected.to_vec();
        types.sort();
        expected.sort();
        assert_eq!(types, expected);
        let terminating = SignalWithStartWorkflowExecutionRequest {
            workflow_id_reuse_policy: Reuse::TerminateIfRunning as i32,
            ..signal_with_start("a", "3")
        };
        let second = ask(&engine, terminating).await.expect("starts");
        assert!(second.started && second.run_id != first.run_id);
    });
}

#[test]
fn a_cancelled_request_on_a_closed_workflow_is_no_error() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![done()]).await.expect("completes");
        let request =
            RequestCancelWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: execution("a"), ..Default::default() };
        ask(&engine, request).await.expect("nothing to cancel");
        assert_eq!(types(&engine, "a").await.last(), Some(&E::WorkflowExecutionCompleted));
    });
}

#[test]
fn a_history_comes_in_pages() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        for _ in 0..20 {
            signal(&engine, "a", "s").await;
        }
        let (mut ids, mut next_page_token) = (Vec::new(), Vec::new());
        loop {
            let page = ask(
                &engine,
                GetWorkflowExecutionHistoryRequest {
                    namespace: "default".into(),
                    execution: execution("a"),
                    maximum_page_size: 7,
                    next_page_token,
                    ..Default::default()
                },
            )
            .await
            .expect("a page");
            let events = page.history.unwrap_or_default().events;
            assert!(events.len() <= 7);
            ids.extend(events.iter().map(|event| event.event_id));
            next_page_token = page.next_page_token;
            if next_page_token.is_empty() {
                break;
            }
        }
        assert_eq!(ids, (1..=22).collect::<Vec<i64>>());
    });
}

#[test]
fn a_list_comes_in_pages_and_is_counted() {
    block_on(async {
        let engine = memory(false);
        for number in 0..10 {
            start(&engine, &format!("w{number}")).await;
        }
        let (mut ids, mut next_page_token) = (Vec::new(), Vec::new());
        loop {
            let page = ask(
                &engine,
                ListWorkflowExecutionsRequest { namespace: "default".into(), page_size: 3, next_page_token, ..Default::default() },
            )
            .await
            .expect("a page");
            assert!(page.executions.len() <= 3);
            ids.extend(page.executions.into_iter().filter_map(|info| info.execution).map(|execution| execution.workflow_id));
            next_page_token = page.next_page_token;
            if next_page_token.is_empty() {
                break;
            }
        }
        ids.sort();
        assert_eq!(ids, (0..10).map(|number| format!("w{number}")).collect::<Vec<_>>());
        let count = ask(&engine, CountWorkflowExecutionsRequest { namespace: "default".into(), query: "WorkflowId = 'w3'".into() })
            .await
            .expect("counts");
        assert_eq!(count.count, 1);
    });
}

#[test]
fn refusals_say_what_the_service_says() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let describe = |id: &str, run_id: &str| DescribeWorkflowExecutionRequest {
            namespace: "default".into(),
            execution: Some(WorkflowExecution { workflow_id: id.into(), run_id: run_id.into() }),
        };
        let missing = ask(&engine, describe("b", "")).await.expect_err("does not exist");
        assert_eq!((missing.code, missing.message.as_str()), (Code::NotFound, "workflow not found for ID: b"));
        assert!(String::from_utf8_lossy(&missing.details).contains("NotFoundFailure"));
        let no_uuid = ask(&engine, describe("a", "x")).await.expect_err("is no run id");
        assert_eq!((no_uuid.code, no_uuid.message.as_str()), (Code::InvalidArgument, "Invalid RunId."));
        let Attributes::ScheduleActivityTaskCommandAttributes(bad) = activity("", 1, 1) else { panic!("schedules") };
        let task = poll(&engine).await;
        let refused =
            complete(&engine, task.task_token, vec![Attributes::ScheduleActivityTaskCommandAttributes(bad)]).await.expect_err("has no id");
        assert!(refused.message.starts_with("BadScheduleActivityAttributes: "), "{}", refused.message);
    });
}
