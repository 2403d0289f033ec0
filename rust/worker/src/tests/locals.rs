//! Local activities: retries, timeouts, signs of life, cancellation and stopping, with the real state machines of a run.

use std::{sync::Arc, time::Duration};

use durable_client::Request;
use temporalio_protos::{
    coresdk::{
        ActivityTaskCompletion,
        activity_result::{
            ActivityExecutionResult, Cancellation, Failure as Failed, Success, activity_execution_result::Status as Outcome,
            activity_resolution::Status as Resolution,
        },
        activity_task::{ActivityCancelReason, Start, activity_task::Variant as Task},
        workflow_activation::workflow_activation_job::Variant as Job,
        workflow_commands::{
            ActivityCancellationType, CompleteWorkflowExecution, RequestCancelLocalActivity, ScheduleLocalActivity, StartTimer,
            WorkflowCommand, workflow_command::Variant as Command,
        },
        workflow_completion::{Success as Succeeded, WorkflowActivationCompletion, workflow_activation_completion::Status},
    },
    temporal::api::{
        common::v1::{Payload, RetryPolicy, WorkflowExecution},
        enums::v1::{CommandType, EventType, TimeoutType},
        failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        history::v1::{
            History, HistoryEvent, WorkflowExecutionStartedEventAttributes, WorkflowTaskCompletedEventAttributes,
            WorkflowTaskScheduledEventAttributes, WorkflowTaskStartedEventAttributes, history_event::Attributes,
        },
        workflowservice::v1::{PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse},
    },
};
use tokio::time::Instant;

use super::{
    scripted_service::{Handle, ScriptedService},
    sink::{Items, TestSink, next, none_within},
};
use crate::{Worker, WorkerOptions};

const RUN_ID: &str = "run-1";

struct Bench {
    service: Arc<ScriptedService>,
    items: Items,
    worker: Worker,
    begun: Instant,
}

fn seconds(seconds: i64) -> Option<prost_wkt_types::Duration> {
    Some(prost_wkt_types::Duration { seconds, nanos: 0 })
}

fn event(event_id: i64, kind: EventType, attributes: Attributes) -> HistoryEvent {
    let event_time = Some(prost_wkt_types::Timestamp { seconds: 1_000, nanos: 0 });
    HistoryEvent { event_id, event_type: kind as i32, event_time, attributes: Some(attributes), ..Default::default() }
}

/// The task whose started event has this id, with the three events up to it.
fn task(started_event_id: i64) -> PollWorkflowTaskQueueResponse {
    let first = if started_event_id == 3 {
        let attributes = WorkflowExecutionStartedEventAttributes { workflow_task_timeout: seconds(10), ..Default::default() };
        event(1, EventType::WorkflowExecutionStarted, Attributes::WorkflowExecutionStartedEventAttributes(attributes))
    } else {
        let attributes = WorkflowTaskCompletedEventAttributes {
            scheduled_event_id: started_event_id - 4,
            started_event_id: started_event_id - 3,
            ..Default::default()
        };
        let id = started_event_id - 2;
        event(id, EventType::WorkflowTaskCompleted, Attributes::WorkflowTaskCompletedEventAttributes(attributes))
    };
    let scheduled = Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes::default());
    let started = Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
        scheduled_event_id: started_event_id - 1,
        ..Default::default()
    });
    let events = vec![
        first,
        event(started_event_id - 1, EventType::WorkflowTaskScheduled, scheduled),
        event(started_event_id, EventType::WorkflowTaskStarted, started),
    ];
    PollWorkflowTaskQueueResponse {
        task_token: vec![1],
        workflow_execution: Some(WorkflowExecution { workflow_id: "id".into(), run_id: RUN_ID.into() }),
        previous_started_event_id: started_event_id - 3,
        started_event_id,
        history: Some(History { events }),
        ..Default::default()
    }
}

fn local(seq: u32) -> ScheduleLocalActivity {
    ScheduleLocalActivity {
        seq,
        activity_id: seq.to_string(),
        activity_type: "charge".into(),
        schedule_to_close_timeout: seconds(3_600),
        cancellation_type: ActivityCancellationType::WaitCancellationCompleted as i32,
        ..Default::default()
    }
}

fn succeeded() -> Outcome {
    Outcome::Completed(Success { result: Some(Payload::default()) })
}

fn failed(info: ApplicationFailureInfo) -> Outcome {
    let failure = Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() };
    Outcome::Failed(Failed { failure: Some(failure), ..Default::default() })
}

impl Bench {
    /// A run whose code has answered its first activation with these commands.
    async fn begin(max_concurrent_local_activities: usize, commands: Vec<Command>) -> Bench {
        let service = ScriptedService::new();
        let (sink, items) = TestSink::new();
        let options = WorkerOptions {
            task_queue: "shop".into(),
            max_cached_workflows: 0,
            max_concurrent_local_activities,
            polls_activities: false,
            ..WorkerOptions::default()
        };
        let worker = Worker::start(Arc::new(Handle(service.clone())), options, sink);
        service.offer(task(3));
        let mut bench = Bench { service, items, worker, begun: Instant::now() };
        bench.activation().await;
        bench.begun = Instant::now();
        bench.answer(commands);
        bench
    }

    async fn activation(&mut self) -> Vec<Job> {
        next(&mut self.items.activations).await.jobs.into_iter().filter_map(|job| job.variant).collect()
    }

    fn answer(&self, commands: Vec<Command>) {
        let commands = commands.into_iter().map(|variant| WorkflowCommand { variant: Some(variant), ..Default::default() }).collect();
        self.worker.complete_workflow(WorkflowActivationCompletion {
            run_id: RUN_ID.into(),
            status: Some(Status::Successful(Succeeded { commands, ..Default::default() })),
            ..Default::default()
        });
    }

    async fn start(&mut self) -> (Vec<u8>, Start) {
        let task = next(&mut self.items.activities).await;
        match task.variant {
            Some(Task::Start(start)) => (task.task_token, start),
            other => panic!("expected a start, got {other:?}"),
        }
    }

    async fn cancel(&mut self) -> (Vec<u8>, ActivityCancelReason) {
        let task = next(&mut self.items.activities).await;
        match task.variant {
            Some(Task::Cancel(cancel)) => (task.task_token, cancel.reason()),
            other => panic!("expected a cancel, got {other:?}"),
        }
    }

    fn end(&self, task_token: Vec<u8>, outcome: Outcome) {
        let result = Some(ActivityExecutionResult { status: Some(outcome) });
        self.worker.complete_activity(ActivityTaskCompletion { task_token, result });
    }

    /// How the local activity of the next activation was resolved.
    async fn resolution(&mut self) -> Resolution {
        let jobs = self.activation().await;
        let [Job::ResolveActivity(resolve)] = jobs.as_slice() else { panic!("expected one resolution, got {jobs:?}") };
        assert!(resolve.is_local);
        resolve.result.clone().and_then(|result| result.status).expect("a status")
    }

    async fn completion(&self, number: usize) -> RespondWorkflowTaskCompletedRequest {
        let calls = self.service.wait_for("RespondWorkflowTaskCompleted", number).await;
        match &calls[number - 1] {
            Request::RespondWorkflowTaskCompleted(request) => (**request).clone(),
            other => panic!("{}", other.name()),
        }
    }

    fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }
}

fn timeout_type(resolution: &Resolution) -> Option<TimeoutType> {
    match resolution {
        Resolution::Failed(failed) => match failed.failure.as_ref().and_then(|failure| failure.failure_info.as_ref()) {
            Some(FailureInfo::TimeoutFailureInfo(info)) => Some(info.timeout_type()),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_goes_into_the_workflow_tasks_completion() {
    let mut bench = Bench::begin(4, vec![Command::ScheduleLocalActivity(local(1))]).await;
    let (token, start) = bench.start().await;
    assert!(start.is_local && start.attempt == 1 && start.workflow_execution.is_some_and(|execution| execution.run_id == RUN_ID));
    bench.end(token, succeeded());
    assert!(matches!(bench.resolution().await, Resolution::Completed(_)));
    bench.answer(vec![Command::CompleteWorkflowExecution(CompleteWorkflowExecution::default())]);
    let request = bench.completion(1).await;
    let kinds: Vec<_> = request.commands.iter().map(|command| command.command_type()).collect();
    assert_eq!(kinds, [CommandType::RecordMarker, CommandType::CompleteWorkflowExecution]);
    assert!(!request.force_create_new_workflow_task);
}

#[tokio::test(start_paused = true)]
async fn retries_wait_in_the_worker_up_to_the_threshold_and_then_in_the_workflow() {
    let command = ScheduleLocalActivity { local_retry_threshold: seconds(3), ..local(1) };
    let mut bench = Bench::begin(4, vec![Command::ScheduleLocalActivity(command)]).await;
    for (attempt, at) in [(1, 0), (2, 1), (3, 3)] {
        let (token, start) = bench.start().await;
        assert_eq!((start.attempt, bench.seconds()), (attempt, at));
        bench.end(token, failed(ApplicationFailureInfo::default()));
    }
    let Resolution::Backoff(backoff) = bench.resolution().await else { panic!("a pause of 4 s is the workflow's") };
    assert_eq!((backoff.attempt, backoff.backoff_duration), (4, seconds(4)));
}

#[tokio::test(start_paused = true)]
async fn retries_end_as_the_policy_says_and_before_the_schedule_to_close_timeout() {
    let once = RetryPolicy { maximum_attempts: 1, ..Default::default() };
    let short = ScheduleLocalActivity { schedule_to_close_timeout: seconds(2), ..local(2) };
    let commands = vec![ScheduleLocalActivity { retry_policy: Some(once), ..local(1) }, short];
    let mut bench = Bench::begin(4, commands.into_iter().map(Command::ScheduleLocalActivity).collect()).await;
    let (first, second) = (bench.start().await.0, bench.start().await.0);
    bench.end(first, failed(ApplicationFailureInfo::default()));
    assert!(matches!(bench.resolution().await, Resolution::Failed(_)));
    bench.answer(vec![]);
    bench.end(second, failed(ApplicationFailureInfo::default()));
    let (again, start) = bench.start().await;
    assert_eq!((start.attempt, bench.seconds()), (2, 1));
    // The third attempt would come after 3 s.
    bench.end(again, failed(ApplicationFailureInfo::default()));
    assert!(matches!(bench.resolution().await, Resolution::Failed(_)));
    assert_eq!(bench.seconds(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_cancelled_and_followed_by_another() {
    let command = ScheduleLocalActivity { start_to_close_timeout: seconds(5), schedule_to_close_timeout: seconds(9), ..local(1) };
    let mut bench = Bench::begin(4, vec![Command::ScheduleLocalActivity(command)]).await;
    let (first, _) = bench.start().await;
    assert_eq!(bench.cancel().await, (first.clone(), ActivityCancelReason::TimedOut));
    assert_eq!(bench.seconds(), 5);
    let (second, start) = bench.start().await;
    assert_eq!((start.attempt, bench.seconds()), (2, 6));
    // What the first says now is too late.
    bench.end(first, succeeded());
    assert!(none_within(&mut bench.items.activations, Duration::from_secs(1)).await);
    // The task is near its own timeout before the activity is.
    assert!(bench.completion(1).await.force_create_new_workflow_task);
    bench.service.offer(task(6));
    assert_eq!(bench.cancel().await, (second, ActivityCancelReason::TimedOut));
    assert_eq!(bench.seconds(), 9);
    assert_eq!(timeout_type(&bench.resolution().await), Some(TimeoutType::ScheduleToClose));
}

#[tokio::test(start_paused = true)]
async fn what_waits_too_long_for_a_slot_times_out() {
    let commands = vec![local(1), ScheduleLocalActivity { schedule_to_start_timeout: seconds(2), ..local(2) }, local(3)];
    let mut bench = Bench::begin(1, commands.into_iter().map(Command::ScheduleLocalActivity).collect()).await;
    let (token, start) = bench.start().await;
    assert_eq!(start.activity_id, "1");
    assert_eq!(timeout_type(&bench.resolution().await), Some(TimeoutType::ScheduleToStart));
    assert_eq!(bench.seconds(), 2);
    bench.answer(vec![]);
    assert!(none_within(&mut bench.items.activities, Duration::from_secs(1)).await);
    bench.end(token, succeeded());
    assert_eq!(bench.start().await.1.activity_id, "3");
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_keep_the_task_and_the_run() {
    let mut bench = Bench::begin(4, vec![Command::ScheduleLocalActivity(local(1))]).await;
    let (token, _) = bench.start().await;
    let next_task = RespondWorkflowTaskCompletedResponse { workflow_task: Some(task(6)), ..Default::default() };
    bench.service.answer::<RespondWorkflowTaskCompletedRequest>(Ok(next_task.into()));
    // The scripted answer is to the first one, which is not among the calls.
    let request = bench.completion(1).await;
    assert!(request.force_create_new_workflow_task && request.return_new_workflow_task && request.commands.is_empty());
    assert_eq!(bench.seconds(), 16, "each after 80 % of the task's ten seconds");
    // The second one's task does not come back at once; nothing is cached, but the run stays while the activity runs.
    assert!(none_within(&mut bench.items.activations, Duration::from_secs(30)).await);
    bench.service.offer(task(9));
    bench.end(token, succeeded());
    assert!(matches!(bench.resolution().await, Resolution::Completed(_)));
}

#[tokio::test(start_paused = true)]
async fn commands_and_timers_do_not_wait_for_a_long_activity() {
    let timer = StartTimer { seq: 1, start_to_fire_timeout: seconds(3) };
    let mut bench = Bench::begin(4, vec![Command::ScheduleLocalActivity(local(1)), Command::StartTimer(timer)]).await;
    bench.start().await;
    let request = bench.completion(1).await;
    assert!(request.force_create_new_workflow_task && request.commands.len() == 1);
    assert_eq!(bench.begun.elapsed().as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_what_runs_and_ends_what_rests() {
    let mut bench = Bench::begin(1, vec![Command::ScheduleLocalActivity(local(1)), Command::ScheduleLocalActivity(local(2))]).await;
    let (token, _) = bench.start().await;
    bench.end(token, failed(ApplicationFailureInfo { next_retry_delay: seconds(50), ..Default::default() }));
    let (token, start) = bench.start().await;
    assert_eq!(start.activity_id, "2");
    bench.end(token, succeeded());
    assert!(matches!(bench.resolution().await, Resolution::Completed(_)));
    bench.answer(vec![Command::RequestCancelLocalActivity(RequestCancelLocalActivity { seq: 1 })]);
    assert!(matches!(bench.resolution().await, Resolution::Cancelled(_)));
    bench.answer(vec![Command::ScheduleLocalActivity(local(3)), Command::ScheduleLocalActivity(local(4))]);
    let (token, start) = bench.start().await;
    assert_eq!(start.activity_id, "3");
    bench.end(token, succeeded());
    assert!(matches!(bench.resolution().await, Resolution::Completed(_)));
    bench.answer(vec![Command::RequestCancelLocalActivity(RequestCancelLocalActivity { seq: 4 })]);
    let (token, start) = bench.start().await;
    assert_eq!(start.activity_id, "4");
    assert_eq!(bench.cancel().await, (token.clone(), ActivityCancelReason::Cancelled));
    bench.end(token, Outcome::Cancelled(Cancellation::default()));
    assert!(matches!(bench.resolution().await, Resolution::Cancelled(_)));
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_hands_the_run_back() {
    let mut bench = Bench::begin(4, vec![Command::ScheduleLocalActivity(local(1))]).await;
    let (token, _) = bench.start().await;
    let Bench { service, mut items, worker, .. } = bench;
    let worker = Arc::new(worker);
    let stopping = tokio::spawn({
        let worker = worker.clone();
        async move { worker.stop(Duration::from_secs(5)).await }
    });
    let cancel = next(&mut items.activities).await;
    assert!(matches!(cancel.variant, Some(Task::Cancel(cancel)) if cancel.reason() == ActivityCancelReason::WorkerShutdown));
    let calls = service.wait_for("RespondWorkflowTaskCompleted", 1).await;
    let Request::RespondWorkflowTaskCompleted(request) = &calls[0] else { panic!("{calls:?}") };
    assert!(request.force_create_new_workflow_task && !request.return_new_workflow_task && request.sticky_attributes.is_none());
    assert_eq!(next(&mut items.evictions).await, RUN_ID); // which nobody answers
    // What the activity makes of its end interests nobody.
    let result = Some(ActivityExecutionResult { status: Some(Outcome::Cancelled(Cancellation::default())) });
    worker.complete_activity(ActivityTaskCompletion { task_token: token, result });
    stopping.await.unwrap();
    assert_eq!(service.calls("RespondWorkflowTaskCompleted").len(), 1);
}
