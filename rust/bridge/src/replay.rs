//! Replays of one history, step by step, without threads.

use std::sync::Mutex;

use durable_core::{Output, Run, RunOptions, replay_task};
use prost::Message;
use temporalio_protos::{
    coresdk::workflow_completion::WorkflowActivationCompletion,
    temporal::api::history::v1::{History, history_event::Attributes},
};

use crate::error::{BridgeError, Result};

/// The state of a replay between two steps.
pub struct Replay(Mutex<State>);

struct State {
    run: Run,
    /// An activation was given out and not answered.
    is_open: bool,
}

impl Replay {
    pub fn open(history: &[u8], workflow_id: String, run_id: String) -> Result<Replay> {
        let history =
            History::decode(history).map_err(|error| BridgeError::BadMessage(format!("the history cannot be decoded: {error}")))?;
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) =
            history.events.first().and_then(|event| event.attributes.as_ref())
        else {
            return Err(BridgeError::BadMessage(
                "the history does not begin with WorkflowExecutionStarted\nhint: give the whole history, from its first event".into(),
            ));
        };
        let workflow_type = started.workflow_type.clone().unwrap_or_default();
        let run_id = if run_id.is_empty() { started.original_execution_run_id.clone() } else { run_id };
        let options = RunOptions {
            namespace: "replay".into(),
            task_queue: started.task_queue.as_ref().map(|queue| queue.name.clone()).unwrap_or_default(),
            replay_only: true,
            ..RunOptions::default()
        };
        let mut run = Run::new(run_id.clone(), options);
        run.handle_task(replay_task(history, workflow_id, run_id, workflow_type));
        Ok(Replay(Mutex::new(State { run, is_open: false })))
    }

    /// See `replay_step` in the contract.
    pub fn step(&self, completion: &[u8]) -> Result<Vec<u8>> {
        // A panic in the state machines was reported as one; afterwards the run may be in any state, so it is not used.
        let mut state = self.0.lock().map_err(|_| BridgeError::BadHandle("the replay ended with a panic".into()))?;
        if completion.is_empty() == state.is_open {
            let what = if state.is_open { "the open activation is to be answered" } else { "no activation is open" };
            return Err(BridgeError::BadMessage(what.into()));
        }
        if state.is_open {
            let completion = WorkflowActivationCompletion::decode(completion)
                .map_err(|error| BridgeError::BadMessage(format!("the completion cannot be decoded: {error}")))?;
            state.is_open = false;
            state.run.handle_completion(completion);
        }
        while let Some(output) = state.run.poll() {
            match output {
                Output::Activation(activation) => {
                    state.is_open = true;
                    return Ok(activation.encode_to_vec());
                }
                Output::Evicted => break,
                Output::NeedHistory => return Err(BridgeError::BadMessage("the history has a gap or is cut off".into())),
                // Nobody is there to take what a replay answers.
                Output::Complete(_)
                | Output::Conclude(_)
                | Output::Fail(_)
                | Output::AnswerQuery(_)
                | Output::Local(_)
                | Output::AwaitLocal(_) => {}
            }
        }
        Ok(Vec::new())
    }
}
