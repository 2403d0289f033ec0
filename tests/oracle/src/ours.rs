//! A replay by our core.

use durable_core::{Output, Run, RunOptions, replay_task};
use temporalio_protos::{
    coresdk::{workflow_activation::WorkflowActivation, workflow_completion::WorkflowActivationCompletion},
    temporal::api::{common::v1::WorkflowType, history::v1::History},
};

pub struct Ours(Run);

impl Ours {
    pub fn open(workflow_id: String, run_id: &str, history: History) -> Ours {
        let options = RunOptions { namespace: "default".into(), task_queue: "oracle".into(), replay_only: true, ..RunOptions::default() };
        let mut run = Run::new(run_id.to_owned(), options);
        let workflow_type = WorkflowType { name: "Generated".to_owned() };
        run.handle_task(replay_task(history, workflow_id, run_id.to_owned(), workflow_type));
        Ours(run)
    }

    /// The next activation, none when the replay has come to its end.
    pub fn next(&mut self) -> Option<WorkflowActivation> {
        loop {
            match self.0.poll()? {
                Output::Activation(activation) => return Some(*activation),
                Output::Evicted | Output::NeedHistory => return None,
                _ => {}
            }
        }
    }

    pub fn complete(&mut self, completion: WorkflowActivationCompletion) {
        self.0.handle_completion(completion);
    }
}
