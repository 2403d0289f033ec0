//! Activities that come with the answer to a workflow task.

use std::{sync::Arc, time::Duration};

use durable_client::{Code, Request, Status};
use temporalio_protos::{
    coresdk::{
        ActivityTaskCompletion,
        activity_result::{ActivityExecutionResult, Success, activity_execution_result::Status as Outcome},
        workflow_completion::WorkflowActivationCompletion,
    },
    temporal::api::{
        command::v1::command::Attributes,
        workflowservice::v1::{PollActivityTaskQueueResponse, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse},
    },
};

use super::{
    scripted_run::ScriptedRun,
    scripted_service::{Handle, ScriptedService},
    sink::{Items, TestSink, next, none_within},
    workflows::task,
};
use crate::{Worker, WorkerOptions};

struct Bench {
    service: Arc<ScriptedService>,
    items: Items,
    worker: Worker,
}

/// A worker whose one activity poller never gets anything and holds one slot.
fn bench(change: impl FnOnce(&mut WorkerOptions)) -> Bench {
    let service = ScriptedService::new();
    let (sink, items) = TestSink::new();
    let mut options = WorkerOptions { task_queue: "shop".into(), activity_task_pollers: 1, ..WorkerOptions::default() };
    change(&mut options);
    let worker = Worker::start_driving::<ScriptedRun>(Arc::new(Handle(service.clone())), options, sink);
    Bench { service, items, worker }
}

impl Bench {
    /// Runs a workflow task that schedules activities on these queues; answers for which of them the worker asked.
    async fn schedule(&mut self, queues: &str, answer: Option<Result<Vec<&str>, Status>>) -> Vec<bool> {
        const NAME: &str = "RespondWorkflowTaskCompleted";
        let (calls, answered) = (self.service.calls(NAME).len(), self.service.answered(NAME).len());
        let is_scripted = answer.is_some();
        if let Some(answer) = answer {
            let answer = answer.map(|tokens| {
                let activity = |token: &str| PollActivityTaskQueueResponse { task_token: token.into(), ..Default::default() };
                let activity_tasks = tokens.into_iter().map(activity).collect();
                RespondWorkflowTaskCompletedResponse { activity_tasks, ..Default::default() }.into()
            });
            self.service.answer::<RespondWorkflowTaskCompletedRequest>(answer);
        }
        let run = format!("run-{}", calls + answered);
        self.service.offer(task(&run, &format!("schedules {queues}"), 1));
        let activation = next(&mut self.items.activations).await;
        self.worker.complete_workflow(WorkflowActivationCompletion { run_id: activation.run_id, ..Default::default() });
        let calls = if is_scripted {
            self.service.wait_for_answered(NAME, answered + 1).await
        } else {
            self.service.wait_for(NAME, calls + 1).await
        };
        let Some(Request::RespondWorkflowTaskCompleted(call)) = calls.last() else { panic!("{calls:?}") };
        let asked = call.commands.iter().map(|command| match &command.attributes {
            Some(Attributes::ScheduleActivityTaskCommandAttributes(activity)) => activity.request_eager_execution,
            other => panic!("{other:?}"),
        });
        asked.collect()
    }

    fn complete(&self, token: &str) {
        let result = Some(ActivityExecutionResult { status: Some(Outcome::Completed(Success::default())) });
        self.worker.complete_activity(ActivityTaskCompletion { task_token: token.into(), result });
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_three_of_the_own_queue_are_asked_for() {
    let mut bench = bench(|_| {});
    assert_eq!(bench.schedule("shop other shop shop shop", None).await, [true, false, true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn each_takes_a_slot_until_it_has_ended() {
    // One slot is the poller's.
    let mut bench = bench(|options| options.max_concurrent_activities = 2);
    assert_eq!(bench.schedule("shop shop", Some(Ok(vec!["a"]))).await, [true, false]);
    assert_eq!(next(&mut bench.items.activities).await.task_token, b"a");
    assert_eq!(bench.schedule("shop", None).await, [false]);
    bench.complete("a");
    bench.service.wait_for("RespondActivityTaskCompleted", 1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.schedule("shop", None).await, [true]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_the_service_does_not_use_is_free_again() {
    let mut bench = bench(|options| options.max_concurrent_activities = 2);
    assert_eq!(bench.schedule("shop", Some(Ok(vec![]))).await, [true]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.schedule("shop", None).await, [true]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_completion_frees_its_slots() {
    let mut bench = bench(|options| options.max_concurrent_activities = 2);
    bench.service.answer::<RespondWorkflowTaskCompletedRequest>(Err(Status::new(Code::NotFound, "gone")));
    bench.service.offer(task("refused", "schedules shop", 1));
    let activation = next(&mut bench.items.activations).await;
    bench.worker.complete_workflow(WorkflowActivationCompletion { run_id: activation.run_id, ..Default::default() });
    let eviction = next(&mut bench.items.activations).await;
    bench.worker.complete_workflow(WorkflowActivationCompletion { run_id: eviction.run_id, ..Default::default() });
    assert_eq!(bench.schedule("shop", None).await, [true]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_where_it_is_switched_off_or_rates_are_limited() {
    let changes: [fn(&mut WorkerOptions); 4] = [
        |options| options.takes_eager_activities = false,
        |options| options.polls_activities = false,
        |options| options.max_activities_per_second = Some(1000.0),
        |options| options.max_task_queue_activities_per_second = Some(1000.0),
    ];
    for change in changes {
        assert_eq!(bench(change).schedule("shop", None).await, [false]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_while_the_worker_stops_is_run_to_its_end() {
    let mut bench = bench(|_| {});
    assert_eq!(bench.schedule("shop", Some(Ok(vec!["a"]))).await, [true]);
    let Bench { service, mut items, worker } = bench;
    let worker = Arc::new(worker);
    let stopping = tokio::spawn({
        let worker = worker.clone();
        async move { worker.stop(Duration::from_secs(5)).await }
    });
    assert_eq!(next(&mut items.activities).await.task_token, b"a");
    let eviction = next(&mut items.activations).await;
    worker.complete_workflow(WorkflowActivationCompletion { run_id: eviction.run_id, ..Default::default() });
    assert!(none_within(&mut items.activities, Duration::from_secs(1)).await);
    let result = Some(ActivityExecutionResult { status: Some(Outcome::Completed(Success::default())) });
    worker.complete_activity(ActivityTaskCompletion { task_token: b"a".into(), result });
    stopping.await.unwrap();
    assert_eq!(service.calls("RespondActivityTaskCompleted").len(), 1);
}
