//! Heartbeats, cancellation, results and stopping of activities.

use std::{sync::Arc, time::Duration};

use durable_client::{Code, Request, Status};
use temporalio_protos::{
    coresdk::{
        ActivityHeartbeat, ActivityTaskCompletion,
        activity_result::{
            ActivityExecutionResult, Cancellation, Failure as Failed, Success, WillCompleteAsync,
            activity_execution_result::Status as Outcome,
        },
        activity_task::{ActivityCancelReason, ActivityTask, activity_task::Variant},
    },
    temporal::api::{
        common::v1::{ActivityType, Payload},
        workflowservice::v1::{
            PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatRequest, RecordActivityTaskHeartbeatResponse,
            RespondActivityTaskCompletedRequest,
        },
    },
};

use super::{
    scripted_run::ScriptedRun,
    scripted_service::{Handle, ScriptedService},
    sink::{Items, TestSink, next, none_within},
};
use crate::{Worker, WorkerOptions};

struct Bench {
    service: Arc<ScriptedService>,
    sink: Arc<TestSink>,
    items: Items,
    worker: Worker,
}

fn bench(max_concurrent_activities: usize) -> Bench {
    bench_with(|options| options.max_concurrent_activities = max_concurrent_activities)
}

fn bench_with(change: impl FnOnce(&mut WorkerOptions)) -> Bench {
    let service = ScriptedService::new();
    let (sink, items) = TestSink::new();
    let mut options = WorkerOptions { task_queue: "shop".into(), polls_workflows: false, ..WorkerOptions::default() };
    change(&mut options);
    let worker = Worker::start_driving::<ScriptedRun>(Arc::new(Handle(service.clone())), options, sink.clone());
    Bench { service, sink, items, worker }
}

impl Bench {
    /// Offers an activity with a heartbeat timeout of 10 s and waits for its start.
    async fn start(&mut self, token: &str) {
        self.service.offer_activity(PollActivityTaskQueueResponse {
            task_token: token.into(),
            activity_type: Some(ActivityType { name: "charge".into() }),
            attempt: 3,
            heartbeat_timeout: Some(prost_wkt_types::Duration { seconds: 10, nanos: 0 }),
            ..Default::default()
        });
        let task = next(&mut self.items.activities).await;
        assert!(matches!(task.variant, Some(Variant::Start(start)) if start.attempt == 3 && start.activity_type == "charge"));
    }

    fn beat(&self, token: &str, detail: &str) {
        self.worker.heartbeat(ActivityHeartbeat { task_token: token.into(), details: vec![payload(detail)] });
    }

    fn end(&self, token: &str, outcome: Outcome) {
        let result = Some(ActivityExecutionResult { status: Some(outcome) });
        self.worker.complete_activity(ActivityTaskCompletion { task_token: token.into(), result });
    }

    fn beats(&self) -> Vec<String> {
        let calls = self.service.calls("RecordActivityTaskHeartbeat");
        let detail = |call: &Request| match call {
            Request::RecordActivityTaskHeartbeat(call) => {
                String::from_utf8(call.details.clone().unwrap().payloads[0].data.clone()).unwrap()
            }
            other => panic!("{}", other.name()),
        };
        calls.iter().map(detail).collect()
    }
}

fn payload(text: &str) -> Payload {
    Payload { data: text.into(), ..Default::default() }
}

fn reason(task: ActivityTask) -> ActivityCancelReason {
    match task.variant {
        Some(Variant::Cancel(cancel)) => cancel.reason(),
        other => panic!("not a cancel: {other:?}"),
    }
}

fn succeeded() -> Outcome {
    Outcome::Completed(Success { result: Some(payload("ok")) })
}

#[tokio::test(start_paused = true)]
async fn the_first_heartbeat_goes_at_once_and_the_last_of_each_interval_after_it() {
    let mut bench = bench(1);
    bench.start("t").await;
    bench.beat("t", "1");
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.beat("t", "2");
    bench.beat("t", "3");
    tokio::time::sleep(Duration::from_millis(7_900)).await;
    assert_eq!(bench.beats(), ["1"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.beats(), ["1", "3"]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.beats(), ["1", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_takes_the_last_details_along() {
    let mut bench = bench(1);
    bench.start("t").await;
    bench.beat("t", "1");
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.beat("t", "2");
    bench.end("t", Outcome::Failed(Failed::default()));
    let calls = bench.service.wait_for("RespondActivityTaskFailed", 1).await;
    assert_eq!(bench.beats(), ["1", "2"]);
    let Request::RespondActivityTaskFailed(call) = &calls[0] else { panic!("{calls:?}") };
    assert_eq!(call.last_heartbeat_details.clone().unwrap().payloads, [payload("2")]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_bring_cancellation_and_a_lost_task_is_not_reported() {
    let mut bench = bench(2);
    bench.start("t").await;
    let cancel = RecordActivityTaskHeartbeatResponse { cancel_requested: true, ..Default::default() };
    bench.service.answer::<RecordActivityTaskHeartbeatRequest>(Ok(cancel.into()));
    bench.beat("t", "1");
    assert_eq!(reason(next(&mut bench.items.activities).await), ActivityCancelReason::Cancelled);
    bench.end("t", Outcome::Cancelled(Cancellation::default()));
    bench.service.wait_for("RespondActivityTaskCanceled", 1).await;

    bench.start("u").await;
    bench.service.answer::<RecordActivityTaskHeartbeatRequest>(Err(Status::new(Code::NotFound, "gone")));
    bench.beat("u", "1");
    assert_eq!(reason(next(&mut bench.items.activities).await), ActivityCancelReason::NotFound);
    bench.end("u", Outcome::Cancelled(Cancellation::default()));
    bench.worker.stop(Duration::ZERO).await;
    assert_eq!(bench.service.calls("RespondActivityTaskCanceled").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn slots_bound_what_is_open_and_come_back_with_every_outcome() {
    let mut bench = bench(1);
    bench.start("a").await;
    bench.service.offer_activity(PollActivityTaskQueueResponse { task_token: b"b".into(), ..Default::default() });
    assert!(none_within(&mut bench.items.activities, Duration::from_secs(5)).await);
    bench.end("a", Outcome::WillCompleteAsync(WillCompleteAsync {}));
    assert_eq!(next(&mut bench.items.activities).await.task_token, b"b");
    bench.end("b", succeeded());
    bench.start("c").await;
    assert_eq!(bench.service.calls("RespondActivityTaskCompleted").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_result_fails_the_activity_with_the_reason() {
    let mut bench = bench(1);
    bench.start("t").await;
    bench.service.answer::<RespondActivityTaskCompletedRequest>(Err(Status::new(Code::InvalidArgument, "2 MiB is the limit")));
    bench.end("t", succeeded());
    let calls = bench.service.wait_for("RespondActivityTaskFailed", 1).await;
    let Request::RespondActivityTaskFailed(call) = &calls[0] else { panic!("{calls:?}") };
    assert!(call.failure.clone().unwrap().message.contains("2 MiB is the limit"));
}

#[tokio::test(start_paused = true)]
async fn stopping_cancels_after_the_grace_and_waits_for_the_outcome() {
    let mut bench = bench(1);
    bench.start("t").await;
    let (service, begun) = (bench.service.clone(), tokio::time::Instant::now());
    let Bench { worker, mut items, .. } = bench;
    let worker = Arc::new(worker);
    let stopping = tokio::spawn({
        let worker = worker.clone();
        async move { worker.stop(Duration::from_secs(5)).await }
    });
    assert_eq!(reason(next(&mut items.activities).await), ActivityCancelReason::WorkerShutdown);
    assert_eq!(begun.elapsed().as_secs(), 5);
    let result = Some(ActivityExecutionResult { status: Some(Outcome::Cancelled(Cancellation::default())) });
    worker.complete_activity(ActivityTaskCompletion { task_token: b"t".into(), result });
    stopping.await.unwrap();
    // Nobody asked for that cancel: for the service the attempt failed.
    assert_eq!(service.calls("RespondActivityTaskFailed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_up_on_an_activity_that_does_not_end() {
    let mut bench = bench(1);
    bench.start("t").await;
    let begun = tokio::time::Instant::now();
    bench.worker.stop(Duration::from_secs(5)).await;
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert!(bench.sink.has_event("activities have not ended"));
}

/// Offers an activity whose attempts may take 5 s, of 20 s in all of which 17 s have passed.
async fn start_late(bench: &mut Bench, token: &str) {
    let at = |seconds| Some(prost_wkt_types::Timestamp { seconds, nanos: 0 });
    let length = |seconds| Some(prost_wkt_types::Duration { seconds, nanos: 0 });
    bench.service.offer_activity(PollActivityTaskQueueResponse {
        task_token: token.into(),
        scheduled_time: at(100),
        started_time: at(117),
        start_to_close_timeout: length(5),
        schedule_to_close_timeout: length(20),
        ..Default::default()
    });
    next(&mut bench.items.activities).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_over_for_the_service_is_stopped_and_not_reported() {
    let mut bench = bench(1);
    let begun = tokio::time::Instant::now();
    start_late(&mut bench, "t").await;
    assert_eq!(reason(next(&mut bench.items.activities).await), ActivityCancelReason::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 4);
    bench.end("t", Outcome::Cancelled(Cancellation::default()));
    start_late(&mut bench, "u").await;
    assert_eq!(reason(next(&mut bench.items.activities).await), ActivityCancelReason::TimedOut);
    // It ended all the same: whether that is too late is for the service to say.
    bench.end("u", succeeded());
    bench.service.wait_for("RespondActivityTaskCompleted", 1).await;
    bench.worker.stop(Duration::ZERO).await;
    assert!(bench.service.calls("RespondActivityTaskCanceled").is_empty());
    assert!(bench.service.calls("RespondActivityTaskFailed").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_heartbeats_is_stopped_and_every_heartbeat_counts() {
    let mut bench = bench(1);
    bench.start("t").await;
    let begun = tokio::time::Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        bench.beat("t", "alive");
    }
    assert_eq!(reason(next(&mut bench.items.activities).await), ActivityCancelReason::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 35 + 11);
}

#[tokio::test(start_paused = true)]
async fn pauses_and_resets_are_told_with_the_answer_to_a_heartbeat() {
    let mut bench = bench(2);
    for (token, answer, expected) in [
        ("p", RecordActivityTaskHeartbeatResponse { activity_paused: true, ..Default::default() }, ActivityCancelReason::Paused),
        ("r", RecordActivityTaskHeartbeatResponse { activity_reset: true, ..Default::default() }, ActivityCancelReason::Reset),
    ] {
        bench.start(token).await;
        bench.service.answer::<RecordActivityTaskHeartbeatRequest>(Ok(answer.into()));
        bench.beat(token, "1");
        assert_eq!(reason(next(&mut bench.items.activities).await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_by_one_poller() {
    let mut bench = bench_with(|options| options.max_activities_per_second = Some(2.0));
    for number in 0..4_u8 {
        bench.service.offer_activity(PollActivityTaskQueueResponse { task_token: vec![b'a' + number], ..Default::default() });
    }
    let begun = tokio::time::Instant::now();
    for number in 0..4 {
        next(&mut bench.items.activities).await;
        assert_eq!(begun.elapsed().as_millis() / 100, number * 5);
    }
}
