//! What the service hears of the worker itself, and when.

use std::{sync::Arc, time::Duration};

use durable_client::{Code, Request, Response, Status};
use temporalio_protos::{
    coresdk::{
        ActivityTaskCompletion,
        activity_result::{ActivityExecutionResult, Failure as Failed, Success, activity_execution_result::Status as Outcome},
        workflow_completion::WorkflowActivationCompletion,
    },
    temporal::api::{
        enums::v1::{TaskQueueType, WorkerStatus},
        namespace::v1::{NamespaceInfo, namespace_info::Capabilities},
        worker::v1::{WorkerHeartbeat, WorkerHostInfo},
        workflowservice::v1::{
            DescribeNamespaceRequest, DescribeNamespaceResponse, PollActivityTaskQueueResponse, RecordWorkerHeartbeatRequest,
            RecordWorkerHeartbeatResponse, ShutdownWorkerRequest,
        },
    },
};

use super::{
    scripted_run::ScriptedRun,
    scripted_service::{Handle, ScriptedService},
    sink::{Items, TestSink, next},
    workflows::task,
};
use crate::{Worker, WorkerOptions};

const INTERVAL: Duration = Duration::from_secs(60);

struct Bench {
    service: Arc<ScriptedService>,
    items: Items,
    worker: Worker,
}

fn bench(namespace: Result<Response, Status>) -> Bench {
    let service = ScriptedService::new();
    service.answer::<DescribeNamespaceRequest>(namespace);
    let (sink, items) = TestSink::new();
    let host_info = Some(WorkerHostInfo { host_name: "here".into(), ..Default::default() });
    let options = WorkerOptions {
        task_queue: "shop".into(),
        identity: "me".into(),
        max_concurrent_workflow_tasks: 7,
        max_concurrent_activities: 3,
        max_concurrent_local_activities: 9,
        workflow_task_pollers: 5,
        activity_task_pollers: 2,
        worker_heartbeat_interval: Some(INTERVAL),
        worker_heartbeat_template: WorkerHeartbeat { sdk_name: "sdk".into(), host_info, ..Default::default() },
        ..WorkerOptions::default()
    };
    let worker = Worker::start_driving::<ScriptedRun>(Arc::new(Handle(service.clone())), options, sink);
    Bench { service, items, worker }
}

fn willing() -> Result<Response, Status> {
    let capabilities = Some(Capabilities { worker_heartbeats: true, ..Default::default() });
    Ok(DescribeNamespaceResponse { namespace_info: Some(NamespaceInfo { capabilities, ..Default::default() }), ..Default::default() }
        .into())
}

impl Bench {
    fn beats(&self) -> Vec<WorkerHeartbeat> {
        let of = |call: Request| match call {
            Request::RecordWorkerHeartbeat(mut call) => call.worker_heartbeat.remove(0),
            other => panic!("{}", other.name()),
        };
        self.service.calls("RecordWorkerHeartbeat").into_iter().map(of).collect()
    }

    fn shutdown(&self) -> ShutdownWorkerRequest {
        match self.service.calls("ShutdownWorker").remove(0) {
            Request::ShutdownWorker(call) => *call,
            other => panic!("{}", other.name()),
        }
    }

    async fn activity(&mut self, token: &str) {
        self.service.offer_activity(PollActivityTaskQueueResponse { task_token: token.into(), attempt: 1, ..Default::default() });
        next(&mut self.items.activities).await;
    }

    fn end(&self, token: &str, outcome: Outcome) {
        let result = Some(ActivityExecutionResult { status: Some(outcome) });
        self.worker.complete_activity(ActivityTaskCompletion { task_token: token.into(), result });
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_tells_what_the_worker_is() {
    let bench = bench(willing());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let beats = bench.beats();
    let [beat] = &*beats else { panic!("{beats:?}") };
    assert_eq!((&*beat.worker_identity, &*beat.task_queue, &*beat.sdk_name), ("me", "shop", "sdk"));
    assert_eq!(beat.status(), WorkerStatus::Running);
    let host = beat.host_info.clone().unwrap();
    assert_eq!((host.host_name, host.process_id), ("here".into(), std::process::id().to_string()));
    assert!(beat.start_time.is_some() && beat.heartbeat_time.is_some() && beat.elapsed_since_last_heartbeat.is_none());
    assert!(!beat.worker_instance_key.is_empty());
}

#[tokio::test(start_paused = true)]
async fn slots_polls_and_counts_are_true() {
    let mut bench = bench(willing());
    bench.activity("a").await;
    bench.activity("b").await;
    bench.end("a", Outcome::Failed(Failed::default()));
    bench.service.offer(task("run", "waits", 1));
    let activation = next(&mut bench.items.activations).await;
    tokio::time::sleep(INTERVAL + Duration::from_secs(1)).await;
    bench.worker.complete_workflow(WorkflowActivationCompletion { run_id: activation.run_id, ..Default::default() });
    bench.end("b", Outcome::Completed(Success::default()));
    tokio::time::sleep(INTERVAL).await;
    let beats = bench.beats();
    let [_, open, closed] = &*beats else { panic!("{beats:?}") };
    assert_eq!(open.elapsed_since_last_heartbeat.unwrap().seconds, 60);
    let activities = open.activity_task_slots_info.clone().unwrap();
    assert_eq!((activities.current_used_slots, activities.current_available_slots), (1, 2));
    assert_eq!((activities.total_processed_tasks, activities.total_failed_tasks), (1, 1));
    assert_eq!(activities.slot_supplier_kind, "Fixed");
    let tasks = open.workflow_task_slots_info.clone().unwrap();
    assert_eq!((tasks.current_used_slots, tasks.current_available_slots, tasks.total_processed_tasks), (1, 6, 0));
    assert_eq!(open.local_activity_slots_info.clone().unwrap().current_available_slots, 9);
    assert_eq!(open.workflow_poller_info.unwrap().current_pollers, 3);
    assert_eq!(open.workflow_sticky_poller_info.unwrap().current_pollers, 2);
    let polls = open.activity_poller_info.unwrap();
    assert!(polls.current_pollers == 2 && polls.last_successful_poll_time.is_some());
    assert_eq!(open.current_sticky_cache_size, 1);

    let activities = closed.activity_task_slots_info.clone().unwrap();
    assert_eq!((activities.current_used_slots, activities.total_processed_tasks, activities.last_interval_processed_tasks), (0, 2, 1));
    assert_eq!((activities.total_failed_tasks, activities.last_interval_failure_tasks), (1, 0));
    let tasks = closed.workflow_task_slots_info.clone().unwrap();
    assert_eq!((tasks.current_used_slots, tasks.last_interval_processed_tasks), (0, 1));
    assert_eq!((closed.total_sticky_cache_hit, closed.total_sticky_cache_miss), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_says_so_and_then_goodbye() {
    let mut bench = bench(willing());
    bench.activity("a").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grace = INTERVAL * 2;
    let stopping = bench.worker.stop(grace);
    let others = async {
        tokio::time::sleep(INTERVAL).await;
        bench.end("a", Outcome::Completed(Success::default()));
    };
    futures_util::join!(stopping, others);
    let shutdown = bench.shutdown();
    let last_words = shutdown.worker_heartbeat.unwrap();
    assert_eq!(last_words.status(), WorkerStatus::ShuttingDown);
    assert_eq!(last_words.activity_task_slots_info.unwrap().current_used_slots, 1);
    assert_eq!(last_words.worker_instance_key, shutdown.worker_instance_key);
    let statuses: Vec<WorkerStatus> = bench.beats().iter().map(WorkerHeartbeat::status).collect();
    assert_eq!(statuses, [WorkerStatus::Running, WorkerStatus::ShuttingDown, WorkerStatus::Shutdown]);
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(bench.beats().len(), 3, "a worker that has ended is silent");
}

#[tokio::test(start_paused = true)]
async fn polls_are_left_to_a_service_that_ends_them() {
    let capabilities = Some(Capabilities { worker_poll_complete_on_shutdown: true, ..Default::default() });
    let namespace =
        DescribeNamespaceResponse { namespace_info: Some(NamespaceInfo { capabilities, ..Default::default() }), ..Default::default() };
    let mut bench = bench(Ok(namespace.into()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let open_polls = bench.service.open_polls();
    let mut activities = std::mem::replace(&mut bench.items.activities, tokio::sync::mpsc::unbounded_channel().1);
    let stopping = bench.worker.stop(Duration::ZERO);
    let service = async {
        bench.service.wait_for("ShutdownWorker", 1).await;
        assert_eq!(bench.service.open_polls(), open_polls);
        // One of them brings what was handed out before the service heard of the stop.
        bench.service.offer_activity(PollActivityTaskQueueResponse { task_token: "late".into(), attempt: 1, ..Default::default() });
        next(&mut activities).await;
        bench.end("late", Outcome::Completed(Success::default()));
    };
    futures_util::join!(stopping, service);
    assert_eq!(bench.service.calls("RespondActivityTaskCompleted").len(), 1);
    assert_eq!(bench.shutdown().task_queue_types, [TaskQueueType::Workflow as i32, TaskQueueType::Activity as i32]);
    // This one does not end them after all.
    assert_eq!(bench.service.open_polls(), 0);
}

#[tokio::test(start_paused = true)]
async fn polls_are_given_up_where_the_service_does_not_end_them() {
    let bench = bench(willing());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let service = async {
        bench.service.wait_for("ShutdownWorker", 1).await;
        assert_eq!(bench.service.open_polls(), 0);
    };
    futures_util::join!(bench.worker.stop(Duration::ZERO), service);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_where_nobody_wants_it() {
    let unwilling = Ok(DescribeNamespaceResponse::default().into());
    for namespace in [unwilling, Err(Status::new(Code::Unimplemented, "no")), Err(Status::new(Code::PermissionDenied, "no"))] {
        let bench = bench(namespace);
        tokio::time::sleep(INTERVAL * 3).await;
        bench.worker.stop(Duration::ZERO).await;
        assert!(bench.beats().is_empty() && bench.shutdown().worker_heartbeat.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_service_is_left_alone_and_one_that_is_away_is_asked_again() {
    let older = bench(willing());
    older.service.answer::<RecordWorkerHeartbeatRequest>(Err(Status::new(Code::Unimplemented, "unknown method")));
    tokio::time::sleep(INTERVAL * 3).await;
    assert!(older.beats().is_empty());
    older.worker.stop(Duration::ZERO).await;
    assert!(older.shutdown().worker_heartbeat.is_none());

    let away = bench(Err(Status::new(Code::Unavailable, "away")));
    away.service.answer::<DescribeNamespaceRequest>(willing());
    away.service.answer::<RecordWorkerHeartbeatRequest>(Err(Status::new(Code::Unavailable, "away again")));
    away.service.answer::<RecordWorkerHeartbeatRequest>(Ok(RecordWorkerHeartbeatResponse::default().into()));
    tokio::time::sleep(INTERVAL * 3 + Duration::from_secs(1)).await;
    assert_eq!(away.service.answered("DescribeNamespace").len(), 2);
    assert_eq!((away.service.answered("RecordWorkerHeartbeat").len(), away.beats().len()), (2, 1));
}
