//! Polls that were given up when their answer was on its way: the task in it goes to the next one at once, not after its timeout.

mod support;

use std::time::Duration;

use durable_client::call;
use support::*;
use temporalio_protos::temporal::api::{enums::v1::TaskQueueKind, taskqueue::v1::TaskQueue, workflowservice::v1::*};
use tokio::time::timeout;

/// Far below a workflow task's timeout.
const SOON: Duration = Duration::from_secs(5);

fn poll_request(queue: TaskQueue) -> PollWorkflowTaskQueueRequest {
    PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: Some(queue), identity: "leaver".into(), ..Default::default() }
}

/// Polls until the answer is there, and does not take it.
async fn leave(engine: &durable_engine::Engine, queue: TaskQueue, cause: impl Future<Output = ()>) {
    let mut left = Box::pin(call(engine, poll_request(queue)));
    assert!(futures_util::poll!(&mut left).is_pending());
    cause.await;
    // The turn after the one that answered the poll.
    types(engine, "a").await;
}

#[test]
fn a_task_for_a_poll_that_is_left_goes_to_the_next() {
    block_on(async {
        let engine = memory(false);
        let normal = queue("q").expect("a queue");
        leave(&engine, normal, async { drop(start(&engine, "a").await) }).await;
        let task = timeout(SOON, poll(&engine)).await.expect("the same task");
        assert_eq!(task.attempt, 1);
        complete(&engine, task.task_token, vec![done()]).await.expect("is still the task");
    });
}

#[test]
fn a_task_of_a_worker_that_leaves_goes_to_the_normal_queue() {
    block_on(async {
        let engine = memory(false);
        start(&engine, "a").await;
        let task = poll(&engine).await;
        complete_sticky(&engine, task.task_token, vec![timer("1", 60)]).await;
        let sticky = TaskQueue { name: "sticky".into(), kind: TaskQueueKind::Sticky as i32, normal_name: "q".into() };
        leave(&engine, sticky, signal(&engine, "a", "s")).await;
        let shutdown = ShutdownWorkerRequest { namespace: "default".into(), sticky_task_queue: "sticky".into(), ..Default::default() };
        ask(&engine, shutdown).await.expect("is heard");
        let task = timeout(SOON, poll(&engine)).await.expect("the same task");
        complete(&engine, task.task_token, vec![done()]).await.expect("is still the task");
    });
}
