//! Cache, queries, refusals and stopping.

use std::{sync::Arc, time::Duration};

use durable_client::{Code, Request, Status};
use temporalio_protos::{
    coresdk::{
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant},
        workflow_completion::WorkflowActivationCompletion,
    },
    temporal::api::{
        common::v1::{WorkflowExecution, WorkflowType},
        history::v1::{History, HistoryEvent},
        query::v1::WorkflowQuery,
        workflowservice::v1::{
            GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
            RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedRequest,
        },
    },
};

use super::{
    scripted_run::ScriptedRun,
    scripted_service::{Handle, ScriptedService},
    sink::{Items, TestSink, next, none_within},
};
use crate::{Worker, WorkerOptions, poller::Slots};

pub(super) fn event(event_id: i64) -> HistoryEvent {
    HistoryEvent { event_id, ..Default::default() }
}

pub(super) fn task(run: &str, workflow_type: &str, first_event: i64) -> PollWorkflowTaskQueueResponse {
    PollWorkflowTaskQueueResponse {
        task_token: format!("{run}/{first_event}").into_bytes(),
        workflow_execution: Some(WorkflowExecution { workflow_id: format!("id-{run}"), run_id: run.into() }),
        workflow_type: Some(WorkflowType { name: workflow_type.into() }),
        history: Some(History { events: vec![event(first_event)] }),
        ..Default::default()
    }
}

fn query(run: &str) -> PollWorkflowTaskQueueResponse {
    PollWorkflowTaskQueueResponse { query: Some(WorkflowQuery::default()), ..task(run, "waits", 2) }
}

struct Bench {
    service: Arc<ScriptedService>,
    sink: Arc<TestSink>,
    items: Items,
    worker: Worker,
}

fn bench(max_cached_workflows: usize) -> Bench {
    let service = ScriptedService::new();
    let (sink, items) = TestSink::new();
    let options = WorkerOptions {
        task_queue: "shop".into(),
        identity: "me".into(),
        max_cached_workflows,
        max_concurrent_workflow_tasks: 4,
        polls_activities: false,
        ..WorkerOptions::default()
    };
    let worker = Worker::start_driving::<ScriptedRun>(Arc::new(Handle(service.clone())), options, sink.clone());
    Bench { service, sink, items, worker }
}

impl Bench {
    fn complete(&self, activation: &WorkflowActivation) {
        self.worker.complete_workflow(WorkflowActivationCompletion { run_id: activation.run_id.clone(), ..Default::default() });
    }

    /// The next activation, answered.
    async fn step(&mut self) -> (String, Option<String>) {
        let activation = next(&mut self.items.activations).await;
        self.complete(&activation);
        let eviction = activation.jobs.iter().find_map(|job| match &job.variant {
            Some(Variant::RemoveFromCache(remove)) => Some(remove.message.clone()),
            _ => None,
        });
        (activation.run_id, eviction)
    }

    async fn run_task(&mut self, task: PollWorkflowTaskQueueResponse, completions: usize) {
        let run_id = task.workflow_execution.clone().unwrap().run_id;
        self.service.offer(task);
        assert_eq!(self.step().await, (run_id, None));
        self.service.wait_for("RespondWorkflowTaskCompleted", completions).await;
    }

    async fn stop(&mut self) -> Vec<String> {
        let mut evicted = Vec::new();
        let stopping = self.worker.stop(Duration::ZERO);
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                biased;
                () = &mut stopping => return evicted,
                activation = self.items.activations.recv() => {
                    let activation = activation.unwrap();
                    assert!(matches!(activation.jobs[0].variant, Some(Variant::RemoveFromCache(_))));
                    evicted.push(activation.run_id.clone());
                    let completion = WorkflowActivationCompletion { run_id: activation.run_id, ..Default::default() };
                    self.worker.complete_workflow(completion);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_run_leaves_a_full_cache() {
    let mut bench = bench(2);
    bench.run_task(task("a", "waits", 1), 1).await;
    bench.run_task(task("b", "waits", 1), 2).await;
    bench.run_task(task("a", "waits", 4), 3).await;
    bench.service.offer(task("c", "waits", 1));
    let mut steps = vec![bench.step().await, bench.step().await];
    steps.sort();
    assert_eq!(steps, [("b".into(), Some("the cache is full".into())), ("c".into(), None)]);
    // The evicted run comes back with a continuation: its history is fetched.
    bench.service.wait_for("RespondWorkflowTaskCompleted", 4).await;
    bench.service.offer(task("b", "waits", 7));
    bench.service.wait_for("GetWorkflowExecutionHistory", 1).await;
    let mut steps = vec![bench.step().await, bench.step().await];
    steps.sort();
    assert_eq!(steps, [("a".into(), Some("the cache is full".into())), ("b".into(), None)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_a_run_is_evicted_after_every_task() {
    let mut bench = bench(0);
    bench.run_task(task("a", "waits", 1), 1).await;
    assert_eq!(bench.step().await, ("a".into(), Some("the cache is full".into())));
    bench.run_task(task("a", "waits", 1), 2).await;
    assert_eq!(bench.step().await, ("a".into(), Some("the cache is full".into())));
    assert!(bench.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_while_its_run_is_evicted_waits_for_that() {
    let mut bench = bench(0);
    bench.service.offer(task("a", "waits", 1));
    let first = next(&mut bench.items.activations).await;
    bench.complete(&first);
    let eviction = next(&mut bench.items.activations).await;
    bench.service.offer(task("a", "waits", 1));
    assert!(none_within(&mut bench.items.activations, Duration::from_secs(5)).await);
    bench.complete(&eviction);
    assert_eq!(bench.step().await, ("a".into(), None));
}

#[test]
fn neither_of_two_queues_takes_every_slot() {
    for limit in [0, 1, 2, 5] {
        let (normal, sticky) = Slots::two(limit);
        for (greedy, other) in [(&normal, &sticky), (&sticky, &normal)] {
            let taken: Vec<_> = std::iter::from_fn(|| greedy.try_take()).collect();
            assert!(!taken.is_empty() && other.try_take().is_some(), "of {limit} slots, one queue has {}", taken.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_finished_run_is_evicted_once_its_completion_is_taken() {
    let mut bench = bench(10);
    bench.run_task(task("a", "ends", 1), 1).await;
    assert_eq!(bench.step().await, ("a".into(), Some("the run has ended".into())));
    assert!(bench.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn queries_wait_for_the_open_task_and_all_are_answered() {
    let mut bench = bench(10);
    bench.service.offer(task("a", "waits", 1));
    let open = next(&mut bench.items.activations).await;
    bench.service.offer(query("a"));
    bench.service.offer(query("a"));
    assert!(none_within(&mut bench.items.activations, Duration::from_secs(5)).await);
    bench.complete(&open);
    assert_eq!(bench.step().await.0, "a");
    assert_eq!(bench.step().await.0, "a");
    bench.service.wait_for("RespondQueryTaskCompleted", 2).await;
    assert_eq!(bench.stop().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn the_answers_next_task_goes_to_the_same_run() {
    let mut bench = bench(10);
    let answer = RespondWorkflowTaskCompletedResponse { workflow_task: Some(task("a", "waits", 4)), ..Default::default() };
    bench.service.answer::<RespondWorkflowTaskCompletedRequest>(Ok(answer.into()));
    bench.service.offer(task("a", "waits", 1));
    assert_eq!(bench.step().await, ("a".into(), None));
    assert_eq!(bench.step().await, ("a".into(), None));
    let calls = bench.service.wait_for("RespondWorkflowTaskCompleted", 1).await;
    assert!(matches!(&calls[0], Request::RespondWorkflowTaskCompleted(call) if call.task_token == b"a/4"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_completion_evicts_and_an_unavailable_service_is_asked_again() {
    let mut bench = bench(10);
    bench.service.answer::<RespondWorkflowTaskCompletedRequest>(Err(Status::new(Code::Unavailable, "away")));
    bench.run_task(task("a", "waits", 1), 1).await;
    bench.service.answer::<RespondWorkflowTaskCompletedRequest>(Err(Status::new(Code::InvalidArgument, "bad command")));
    bench.service.offer(task("a", "waits", 4));
    assert_eq!(bench.step().await, ("a".into(), None));
    assert_eq!(bench.step().await, ("a".into(), Some("InvalidArgument: bad command".into())));
    assert!(bench.sink.has_event("bad command"));
    assert!(bench.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_reported_with_its_first_line_and_its_run_forgotten() {
    let mut bench = bench(10);
    bench.service.offer(task("a", "fails", 1));
    bench.step().await;
    assert_eq!(bench.step().await, ("a".into(), Some("the task failed".into())));
    bench.service.wait_for("RespondWorkflowTaskFailed", 1).await;
    assert!(bench.sink.has_event("workflow \"id-a\" (run a) failed: no such"));
    assert!(!bench.sink.has_event("no such\n"));
    assert!(bench.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn stopping_drops_open_polls_and_evicts_the_cache() {
    let mut bench = bench(10);
    bench.run_task(task("a", "waits", 1), 1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.service.open_polls(), 4);
    let begun = tokio::time::Instant::now();
    assert_eq!(bench.stop().await, ["a"]);
    assert_eq!(bench.service.open_polls(), 0);
    assert_eq!(bench.service.calls("ShutdownWorker").len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(1));
    bench.worker.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_up_on_code_that_never_answers() {
    let mut bench = bench(10);
    bench.service.offer(task("a", "waits", 1));
    next(&mut bench.items.activations).await;
    bench.worker.stop(Duration::from_secs(1)).await;
    assert!(bench.sink.has_event("workflow runs are not evicted"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_told_once_and_a_refusal_is_fatal() {
    let mut bench = bench(0);
    for _ in 0..12 {
        bench.service.answer::<PollWorkflowTaskQueueRequest>(Err(Status::new(Code::Unavailable, "away")));
    }
    bench.run_task(task("a", "waits", 1), 1).await;
    bench.step().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let events = bench.sink.events.lock().unwrap().clone();
    assert_eq!(events.iter().filter(|event| event.message.contains("connection lost")).count(), 1, "{events:?}");
    bench.service.answer::<PollWorkflowTaskQueueRequest>(Err(Status::new(Code::NotFound, "Namespace x is not found.")));
    bench.run_task(task("b", "waits", 1), 2).await;
    bench.step().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = bench.sink.events.lock().unwrap().clone();
    assert_eq!(events.iter().filter(|event| event.fatal).count(), 1, "{events:?}");
    assert_eq!(bench.service.open_polls(), 0);
    assert!(bench.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_history_is_forgotten_before_anybody_heard_of_it() {
    let mut bench = bench(10);
    bench.service.answer::<GetWorkflowExecutionHistoryRequest>(Err(Status::new(Code::NotFound, "no such run")));
    bench.service.offer(task("a", "waits", 4));
    assert!(none_within(&mut bench.items.activations, Duration::from_secs(5)).await);
    assert!(bench.sink.has_event("no such run"));
    assert!(bench.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_again_and_again_is_told_with_growing_pauses() {
    let mut bench = bench(10);
    for (attempt, pause_ms) in [(1, 0), (2, 0), (3, 100), (4, 200), (5, 400), (30, 8_000), (i32::MAX, 8_000)] {
        let begun = tokio::time::Instant::now();
        let told = bench.service.calls("RespondWorkflowTaskFailed").len();
        bench.service.offer(PollWorkflowTaskQueueResponse { attempt, ..task("a", "fails", 1) });
        bench.step().await;
        bench.step().await;
        bench.service.wait_for("RespondWorkflowTaskFailed", told + 1).await;
        assert_eq!(begun.elapsed().as_millis() / 50 * 50, pause_ms, "attempt {attempt}");
    }
    bench.service.offer(PollWorkflowTaskQueueResponse { attempt: 30, ..task("a", "fails", 1) });
    bench.step().await;
    bench.step().await;
    let begun = tokio::time::Instant::now();
    assert!(bench.stop().await.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(1), "a worker that stops tells it at once");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_too_large_is_told_in_short() {
    let mut bench = bench(10);
    let refusal = Status::new(Code::ResourceExhausted, "grpc: received message larger than max (5 vs. 4)");
    bench.service.answer::<RespondWorkflowTaskFailedRequest>(Err(refusal));
    bench.service.offer(task("a", "fails", 1));
    bench.step().await;
    bench.step().await;
    let calls = bench.service.wait_for("RespondWorkflowTaskFailed", 1).await;
    let Request::RespondWorkflowTaskFailed(call) = &calls[0] else { panic!("another call") };
    let message = &call.failure.as_ref().unwrap().message;
    assert!(message.starts_with("no such") && message.contains("larger than max"), "{message}");
}
