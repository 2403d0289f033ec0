//! What was asked of the engine and what it answered: the other side's memory, which no power cut touches.

use durable_client::{Request, Response, Status};
use temporalio_protos::temporal::api::{update::v1::outcome, workflowservice::v1::execute_multi_operation_response::response};

/// What a request wants to be true when it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Start {
        workflow_id: String,
    },
    /// Each has a name of its own.
    Signal {
        workflow_id: String,
        name: String,
    },
    Update {
        workflow_id: String,
        update_id: String,
    },
    /// The reason is this request's alone.
    Cancel {
        workflow_id: String,
        reason: String,
    },
    Terminate {
        workflow_id: String,
        reason: String,
    },
    CreateSchedule {
        schedule_id: String,
    },
    DeleteSchedule {
        schedule_id: String,
    },
    TriggerSchedule,
    CompleteTask {
        run_id: String,
        started_event_id: i64,
    },
    CompleteActivity {
        run_id: String,
        activity_id: String,
    },
    /// Nothing that can be seen afterwards.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub deed: Deed,
    pub request: Request,
    /// How much had been done to the disk when it was asked.
    pub asked: usize,
    /// How much had been done to the disk when the answer was there.
    pub answered: Option<(usize, Result<Response, Status>)>,
}

impl Entry {
    /// Whether it was answered, and well, before the cut.
    pub fn is_acknowledged(&self, cut: usize) -> bool {
        self.answered.as_ref().is_some_and(|(at, answer)| *at <= cut && answer.as_ref().is_ok_and(is_final))
    }

    pub fn is_answered(&self, cut: usize) -> bool {
        self.answered.as_ref().is_some_and(|(at, _)| *at <= cut)
    }
}

/// An update that takes longer than its call is answered without an outcome, and a refused one with a failure.
fn is_final(answer: &Response) -> bool {
    let updated = match answer {
        Response::UpdateWorkflowExecution(answer) => Some((**answer).clone()),
        Response::ExecuteMultiOperation(answer) => answer.responses.iter().find_map(|part| match &part.response {
            Some(response::Response::UpdateWorkflow(answer)) => Some(answer.clone()),
            _ => None,
        }),
        _ => return true,
    };
    updated.and_then(|answer| answer.outcome).is_some_and(|outcome| matches!(outcome.value, Some(outcome::Value::Success(_))))
}

/// An attempt of an activity that a worker was given.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub given: usize,
    pub run_id: String,
    pub activity_id: String,
    pub number: i32,
}

#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
    pub attempts: Vec<Attempt>,
}

impl Ledger {
    pub fn ask(&mut self, deed: Deed, request: Request, at: usize) -> usize {
        self.entries.push(Entry { deed, request, asked: at, answered: None });
        self.entries.len() - 1
    }

    pub fn answer(&mut self, entry: usize, at: usize, answer: Result<Response, Status>) {
        self.entries[entry].answered = Some((at, answer));
    }
}
