//! A sink whose items a test awaits one by one.

use std::{sync::Arc, sync::Mutex, time::Duration};

use temporalio_protos::coresdk::{activity_task::ActivityTask, workflow_activation::WorkflowActivation};
use tokio::{sync::mpsc, time::timeout};

use crate::{Sink, WorkerEvent};

pub(super) struct TestSink {
    activations: mpsc::UnboundedSender<WorkflowActivation>,
    evictions: mpsc::UnboundedSender<String>,
    activities: mpsc::UnboundedSender<ActivityTask>,
    pub events: Mutex<Vec<WorkerEvent>>,
}

pub(super) struct Items {
    pub activations: mpsc::UnboundedReceiver<WorkflowActivation>,
    pub evictions: mpsc::UnboundedReceiver<String>,
    pub activities: mpsc::UnboundedReceiver<ActivityTask>,
}

impl TestSink {
    pub fn new() -> (Arc<TestSink>, Items) {
        let (activations, activation_items) = mpsc::unbounded_channel();
        let (evictions, eviction_items) = mpsc::unbounded_channel();
        let (activities, activity_items) = mpsc::unbounded_channel();
        let sink = TestSink { activations, evictions, activities, events: Mutex::default() };
        (Arc::new(sink), Items { activations: activation_items, evictions: eviction_items, activities: activity_items })
    }

    pub fn has_event(&self, part: &str) -> bool {
        self.events.lock().unwrap().iter().any(|event| event.message.contains(part))
    }
}

impl Sink for TestSink {
    fn activation(&self, activation: WorkflowActivation) {
        let _ = self.activations.send(activation);
    }
    fn eviction(&self, run_id: String) {
        let _ = self.evictions.send(run_id);
    }
    fn activity(&self, task: ActivityTask) {
        let _ = self.activities.send(task);
    }
    fn event(&self, event: WorkerEvent) {
        self.events.lock().unwrap().push(event);
    }
}

/// The next item, or a failed test after a minute of the paused clock.
pub(super) async fn next<T>(items: &mut mpsc::UnboundedReceiver<T>) -> T {
    timeout(Duration::from_secs(60), items.recv()).await.expect("an item within a minute").expect("the worker lives")
}

/// True when no item comes within `pause` of the paused clock.
pub(super) async fn none_within<T>(items: &mut mpsc::UnboundedReceiver<T>, pause: Duration) -> bool {
    timeout(pause, items.recv()).await.is_err()
}
