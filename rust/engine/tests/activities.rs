//! Activities that start with their workflow task's answer, that are completed by id, paused, reset and changed.

mod support;

use std::time::Duration;

use durable_client::{Code, Service};
use durable_engine::Engine;
use support::*;
use temporalio_protos::temporal::api::{
    activity::v1::ActivityOptions,
    command::v1::command::Attributes,
    common::v1::{Payload, Payloads, RetryPolicy},
    enums::v1::{EventType as E, PendingActivityState as State, QueryResultType},
    failure::v1::Failure,
    query::v1::WorkflowQuery,
    taskqueue::v1::TaskQueueMetadata,
    workflow::v1::PendingActivityInfo,
    workflowservice::v1::{pause_activity_request, reset_activity_request, unpause_activity_request, update_activity_options_request, *},
};

fn eager(id: &str) -> Attributes {
    let mut command = activity(id, 100, 0);
    if let Attributes::ScheduleActivityTaskCommandAttributes(attributes) = &mut command {
        attributes.request_eager_execution = true;
    }
    command
}

fn details(text: &str) -> Option<Payloads> {
    Some(Payloads { payloads: vec![Payload { data: text.into(), ..Default::default() }] })
}

async fn pending(engine: &Engine) -> PendingActivityInfo {
    let request = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: execution("a") };
    ask(engine, request).await.expect("describes").pending_activities.remove(0)
}

/// A workflow whose one activity has been handed out, and the attempt's token.
async fn started() -> (std::sync::Arc<Engine>, Vec<u8>) {
    let engine = memory(true);
    start(&engine, "a").await;
    complete(&engine, poll(&engine).await.task_token, vec![activity("1", 100, 0)]).await.expect("schedules");
    let token = poll_activity(&engine).await.task_token;
    (engine, token)
}

async fn fail(engine: &Engine, task_token: Vec<u8>) {
    let failure = Some(application_failure("no"));
    ask(engine, RespondActivityTaskFailedRequest { task_token, failure, ..Default::default() }).await.expect("fails");
}

async fn beat(engine: &Engine, task_token: Vec<u8>) -> RecordActivityTaskHeartbeatResponse {
    ask(engine, RecordActivityTaskHeartbeatRequest { task_token, details: details("so far"), ..Default::default() }).await.expect("beats")
}

fn pause(request_id: &str) -> PauseActivityRequest {
    PauseActivityRequest {
        namespace: "default".into(),
        execution: execution("a"),
        identity: "me".into(),
        reason: "lunch".into(),
        request_id: request_id.into(),
        activity: Some(pause_activity_request::Activity::Id("1".into())),
    }
}

fn unpause() -> UnpauseActivityRequest {
    UnpauseActivityRequest {
        namespace: "default".into(),
        execution: execution("a"),
        activity: Some(unpause_activity_request::Activity::Id("1".into())),
        ..Default::default()
    }
}

fn reset() -> ResetActivityRequest {
    ResetActivityRequest {
        namespace: "default".into(),
        execution: execution("a"),
        activity: Some(reset_activity_request::Activity::MatchAll(true)),
        ..Default::default()
    }
}

#[test]
fn eager_activities_start_with_the_answer_and_the_others_wait() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let task = poll(&engine).await;
        let commands = vec![eager("1"), activity("2", 100, 0), eager("3")];
        let answer = complete(&engine, task.task_token, commands).await.expect("schedules");
        let ids: Vec<_> = answer.activity_tasks.iter().map(|task| task.activity_id.as_str()).collect();
        assert_eq!(ids, ["1", "3"]);
        assert_eq!((answer.activity_tasks[0].attempt, answer.activity_tasks[0].workflow_namespace.as_str()), (1, "default"));
        assert_eq!(poll_activity(&engine).await.activity_id, "2");
        for task in answer.activity_tasks {
            let done = RespondActivityTaskCompletedRequest { task_token: task.task_token, ..Default::default() };
            ask(&engine, done).await.expect("completes");
        }
        assert_eq!(
            types(&engine, "a").await[7..11],
            [E::ActivityTaskStarted, E::ActivityTaskCompleted, E::WorkflowTaskScheduled, E::ActivityTaskStarted]
        );
    });
}

#[test]
fn an_eager_activity_of_a_run_that_ends_does_not_start() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let answer = complete(&engine, poll(&engine).await.task_token, vec![eager("1"), done()]).await.expect("ends");
        assert!(answer.activity_tasks.is_empty());
    });
}

#[test]
fn an_activity_is_reported_by_its_id() {
    block_on(async {
        let (engine, _token) = started().await;
        let beat = RecordActivityTaskHeartbeatByIdRequest {
            namespace: "default".into(),
            workflow_id: "a".into(),
            activity_id: "1".into(),
            details: details("half"),
            ..Default::default()
        };
        assert!(!ask(&engine, beat.clone()).await.expect("beats").cancel_requested);
        assert_eq!(pending(&engine).await.heartbeat_details, details("half"));
        let canceled = RespondActivityTaskCanceledByIdRequest {
            namespace: "default".into(),
            workflow_id: "a".into(),
            activity_id: "1".into(),
            ..Default::default()
        };
        assert_eq!(ask(&engine, canceled).await.expect_err("nobody asked").code, Code::InvalidArgument);
        let failed = RespondActivityTaskFailedByIdRequest {
            namespace: "default".into(),
            workflow_id: "a".into(),
            activity_id: "1".into(),
            failure: Some(Failure { message: "no".into(), ..Default::default() }),
            ..Default::default()
        };
        ask(&engine, failed.clone()).await.expect("fails");
        assert_eq!(pending(&engine).await.attempt, 2);
        assert_eq!(ask(&engine, beat).await.expect_err("it waits for its next attempt").code, Code::NotFound);
        assert_eq!(ask(&engine, failed).await.expect_err("it waits for its next attempt").code, Code::NotFound);
        // Completed before it started again: it started at that moment.
        let completed = RespondActivityTaskCompletedByIdRequest {
            namespace: "default".into(),
            workflow_id: "a".into(),
            activity_id: "1".into(),
            ..Default::default()
        };
        ask(&engine, completed.clone()).await.expect("completes");
        assert_eq!(types(&engine, "a").await[5..7], [E::ActivityTaskStarted, E::ActivityTaskCompleted]);
        assert!(ask(&engine, completed).await.expect_err("it has ended").message.contains("ActivityID 1"));
        let nothing = RespondActivityTaskCompletedByIdRequest { namespace: "default".into(), ..Default::default() };
        assert_eq!(ask(&engine, nothing).await.expect_err("names nothing").code, Code::InvalidArgument);
    });
}

#[test]
fn a_failure_that_is_no_applications_is_refused() {
    block_on(async {
        let (engine, task_token) = started().await;
        let failure = Some(Failure { message: "no".into(), ..Default::default() });
        let refused = ask(&engine, RespondActivityTaskFailedRequest { task_token, failure, ..Default::default() }).await;
        assert_eq!(refused.expect_err("refused").message, "Failure must have ApplicationFailureInfo.");
    });
}

#[test]
fn a_paused_activity_neither_starts_nor_times_out() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![activity("1", 100, 0)]).await.expect("schedules");
        ask(&engine, pause("r")).await.expect("pauses");
        ask(&engine, pause("r")).await.expect("the same request again");
        assert_eq!(ask(&engine, pause("s")).await.expect_err("another").code, Code::FailedPrecondition);
        let info = pending(&engine).await;
        assert_eq!((info.state(), info.paused), (State::Paused, true));
        assert!(format!("{:?}", info.pause_info).contains("lunch"));
        engine.advance(Duration::from_secs(1000)).await;
        let (task, ()) = tokio::join!(poll_activity(&engine), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ask(&engine, unpause()).await.expect("unpauses");
        });
        assert_eq!(task.attempt, 1);
        assert_eq!(pending(&engine).await.state(), State::Started);
    });
}

#[test]
fn an_attempt_under_way_hears_of_a_pause_and_its_failure_waits() {
    block_on(async {
        let (engine, token) = started().await;
        ask(&engine, pause("r")).await.expect("pauses");
        assert_eq!(pending(&engine).await.state(), State::PauseRequested);
        assert!(beat(&engine, token.clone()).await.activity_paused);
        fail(&engine, token).await;
        engine.advance(Duration::from_secs(100)).await;
        let info = pending(&engine).await;
        assert_eq!((info.state(), info.attempt), (State::Paused, 2));
        let request = UnpauseActivityRequest { reset_attempts: true, reset_heartbeat: true, ..unpause() };
        ask(&engine, request).await.expect("unpauses");
        let task = poll_activity(&engine).await;
        assert_eq!((task.attempt, task.heartbeat_details), (1, None));
    });
}

#[test]
fn a_reset_starts_from_the_first_attempt() {
    block_on(async {
        let (engine, token) = started().await;
        fail(&engine, token).await;
        assert_eq!(pending(&engine).await.attempt, 2);
        ask(&engine, reset()).await.expect("resets");
        let task = poll_activity(&engine).await;
        assert_eq!(task.attempt, 1);
        ask(&engine, ResetActivityRequest { reset_heartbeat: true, ..reset() }).await.expect("resets");
        assert!(beat(&engine, task.task_token.clone()).await.activity_reset);
        fail(&engine, task.task_token).await;
        engine.advance(Duration::from_secs(2)).await;
        assert_eq!(poll_activity(&engine).await.heartbeat_details, None);
        let nobody = ResetActivityRequest { activity: Some(reset_activity_request::Activity::Type("B".into())), ..reset() };
        assert_eq!(ask(&engine, nobody).await.expect_err("there is none").code, Code::NotFound);
        let unsaid = ResetActivityRequest { activity: None, ..reset() };
        assert_eq!(ask(&engine, unsaid).await.expect_err("names none").code, Code::InvalidArgument);
    });
}

#[test]
fn options_of_a_pending_activity_change_by_mask_and_are_restored() {
    block_on(async {
        let engine = memory(true);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![activity("1", 100, 0)]).await.expect("schedules");
        let change = |options: ActivityOptions, paths: &[&str]| UpdateActivityOptionsRequest {
            namespace: "default".into(),
            execution: execution("a"),
            activity_options: Some(options),
            update_mask: Some(prost_wkt_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
            activity: Some(update_activity_options_request::Activity::Id("1".into())),
            ..Default::default()
        };
        let options = ActivityOptions {
            task_queue: queue("elsewhere"),
            start_to_close_timeout: seconds(7),
            retry_policy: Some(RetryPolicy { maximum_attempts: 3, ..Default::default() }),
            ..Default::default()
        };
        let paths = ["task_queue.name", "start_to_close_timeout", "retryPolicy.maximumAttempts"];
        let answer = ask(&engine, change(options, &paths)).await.expect("changes").activity_options.expect("options");
        assert_eq!((answer.start_to_close_timeout, answer.retry_policy.expect("a policy").maximum_attempts), (seconds(7), 3));
        let bad = ActivityOptions { start_to_close_timeout: seconds(-1), ..Default::default() };
        assert_eq!(ask(&engine, change(bad, &["start_to_close_timeout"])).await.expect_err("negative").code, Code::InvalidArgument);
        let request = PollActivityTaskQueueRequest { namespace: "default".into(), task_queue: queue("elsewhere"), ..Default::default() };
        let task = ask(&engine, request).await.expect("polls");
        assert_eq!((task.activity_id.as_str(), task.start_to_close_timeout), ("1", seconds(7)));
        let restore = UpdateActivityOptionsRequest {
            namespace: "default".into(),
            execution: execution("a"),
            restore_original: true,
            activity: Some(update_activity_options_request::Activity::MatchAll(true)),
            ..Default::default()
        };
        let answer = ask(&engine, restore).await.expect("restores").activity_options.expect("options");
        assert_eq!((answer.task_queue.expect("a queue").name.as_str(), answer.start_to_close_timeout), ("q", seconds(100)));
    });
}

#[test]
fn a_released_attempt_outlives_the_process_that_started_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("e.db");
    block_on(async {
        let engine = file(&path);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, vec![activity("1", 100, 0), activity("2", 100, 0)]).await.expect("schedules");
        let (first, second) = (poll_activity(&engine).await, poll_activity(&engine).await);
        engine.release_activity(first.task_token.clone());
        engine.close();
        let engine = file(&path);
        let gone = RespondActivityTaskCompletedRequest { task_token: second.task_token, ..Default::default() };
        assert_eq!(ask(&engine, gone).await.expect_err("it was this process's").code, Code::NotFound);
        let completed = RespondActivityTaskCompletedRequest { task_token: first.task_token, ..Default::default() };
        ask(&engine, completed).await.expect("it is the token's");
        assert_eq!(poll_activity(&engine).await.attempt, 2);
    });
}

#[test]
fn a_task_queue_gives_no_more_than_its_rate() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        complete(&engine, poll(&engine).await.task_token, (0..3).map(|id| activity(&id.to_string(), 100, 0)).collect())
            .await
            .expect("schedules");
        let request = PollActivityTaskQueueRequest {
            namespace: "default".into(),
            task_queue: queue("q"),
            task_queue_metadata: Some(TaskQueueMetadata { max_tasks_per_second: Some(20.0) }),
            ..Default::default()
        };
        let begun = std::time::Instant::now();
        for _ in 0..3 {
            ask(&engine, request.clone()).await.expect("polls");
        }
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_query_in_the_queue_of_a_worker_that_goes_finds_another() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        complete_sticky(&engine, poll(&engine).await.task_token, vec![timer("1", 1000)]).await;
        // The worker was just here, and does not poll now: the query waits in its own queue.
        assert!(tokio::time::timeout(Duration::from_millis(20), poll_on(&engine, "sticky")).await.is_err());
        let query = QueryWorkflowRequest {
            namespace: "default".into(),
            execution: execution("a"),
            query: Some(WorkflowQuery { query_type: "q".into(), ..Default::default() }),
            ..Default::default()
        };
        let (answer, ()) = tokio::join!(ask(&engine, query), async {
            let gone = ShutdownWorkerRequest { namespace: "default".into(), sticky_task_queue: "sticky".into(), ..Default::default() };
            ask(&engine, gone).await.expect("notes it");
            let task = poll(&engine).await;
            let answered = QueryResultType::Answered as i32;
            let request = RespondQueryTaskCompletedRequest { task_token: task.task_token, completed_type: answered, ..Default::default() };
            ask(&engine, request).await.expect("answers");
        });
        answer.expect("answered by another worker");
    });
}
