//! One engine on one disk, with a worker and a client that keep books.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use durable_client::{Request, Response, Rpc, Status};
use durable_engine::{CallId, EngineOptions, Location, Stepped};
use temporalio_protos::temporal::api::workflowservice::v1::{PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse};

use crate::{
    clock::Clock,
    ledger::{Attempt, Deed, Ledger},
    plan::decide,
    raw::{Mount, VFS},
    worker,
};

pub const FILE: &str = "d.db";
/// Steps until a call that waits for nobody must be answered.
const MAX_STEPS: usize = 100;

/// Whom an answer is for.
enum Waiting {
    Deed(usize),
    Workflows,
    Activities,
    Look,
}

/// A signal that a workflow waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    pub workflow_id: String,
    pub run_id: String,
    pub signal: String,
}

pub struct Driver {
    pub engine: Stepped,
    pub mount: Mount,
    pub clock: Clock,
    pub ledger: Ledger,
    waiting: BTreeMap<CallId, Waiting>,
    looks: BTreeMap<CallId, Result<Response, Status>>,
    /// In the worker's hands.
    pub tasks: Vec<PollWorkflowTaskQueueResponse>,
    pub activities: Vec<PollActivityTaskQueueResponse>,
    pub wants: Vec<Want>,
}

impl Driver {
    pub fn open(mount: Mount, clock: Clock) -> Result<Driver, String> {
        let options = EngineOptions::new(Location::Memory);
        let engine = Stepped::open(VFS, &mount.path(FILE), &options, Box::new(clock.clone())).map_err(|error| error.to_string())?;
        Ok(Driver {
            engine,
            mount,
            clock,
            ledger: Ledger::default(),
            waiting: BTreeMap::new(),
            looks: BTreeMap::new(),
            tasks: Vec::new(),
            activities: Vec::new(),
            wants: Vec::new(),
        })
    }

    /// How much has been done to the disk.
    pub fn position(&self) -> usize {
        self.mount.disk().log.len()
    }

    /// Puts a request into the engine's queue and into the books.
    pub fn ask(&mut self, deed: Deed, request: Request) -> usize {
        let call = self.engine.call(request.clone());
        let entry = self.ledger.ask(deed, request, self.position());
        self.waiting.insert(call, Waiting::Deed(entry));
        entry
    }

    /// Keeps so many polls of each kind waiting.
    pub fn poll(&mut self, count: usize) {
        let waiting = |driver: &Driver, is: fn(&Waiting) -> bool| driver.waiting.values().filter(|waiting| is(waiting)).count();
        for _ in waiting(self, |waiting| matches!(waiting, Waiting::Workflows))..count {
            let call = self.engine.call(worker::poll_workflows());
            self.waiting.insert(call, Waiting::Workflows);
        }
        for _ in waiting(self, |waiting| matches!(waiting, Waiting::Activities))..count {
            let call = self.engine.call(worker::poll_activities());
            self.waiting.insert(call, Waiting::Activities);
        }
    }

    pub fn answer_task(&mut self, task: &PollWorkflowTaskQueueResponse) -> usize {
        let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
        self.ask(Deed::CompleteTask { run_id, started_event_id: task.started_event_id }, worker::answer_workflow(task))
    }

    pub fn answer_activity(&mut self, task: &PollActivityTaskQueueResponse) -> usize {
        let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
        let request = worker::answer_activity(task);
        let deed = match request {
            Request::RespondActivityTaskCompleted(_) => Deed::CompleteActivity { run_id, activity_id: task.activity_id.clone() },
            _ => Deed::Nothing,
        };
        self.ask(deed, request)
    }

    /// One turn of the engine; its answers go where they belong. How many there were.
    pub fn step(&mut self) -> Result<usize, String> {
        let stepped = self.engine.step();
        let position = self.position();
        let answers = self.engine.take_answers();
        let count = answers.len();
        for (call, answer) in answers {
            match (self.waiting.remove(&call), answer) {
                (Some(Waiting::Deed(entry)), answer) => self.ledger.answer(entry, position, answer),
                (Some(Waiting::Look), answer) => {
                    self.looks.insert(call, answer);
                }
                (Some(Waiting::Workflows), Ok(Response::PollWorkflowTaskQueue(task))) if !task.task_token.is_empty() => self.take(*task),
                (Some(Waiting::Activities), Ok(Response::PollActivityTaskQueue(task))) if !task.task_token.is_empty() => {
                    let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
                    let (activity_id, number) = (task.activity_id.clone(), task.attempt);
                    self.ledger.attempts.push(Attempt { given: position, run_id, activity_id, number });
                    self.activities.push(*task);
                }
                _ => {}
            }
        }
        stepped.map(|()| count)
    }

    fn take(&mut self, task: PollWorkflowTaskQueueResponse) {
        let execution = task.workflow_execution.clone().unwrap_or_default();
        let events = task.history.as_ref().map(|history| history.events.as_slice()).unwrap_or_default();
        for signal in decide(events).wants {
            let want = Want { workflow_id: execution.workflow_id.clone(), run_id: execution.run_id.clone(), signal };
            if !self.wants.contains(&want) {
                self.wants.push(want);
            }
        }
        self.tasks.push(task);
    }

    /// Asks something that is not for the books, and waits for the answer.
    pub fn look<R: Rpc>(&mut self, request: R) -> Result<R::Response, Status> {
        let call = self.engine.call(request.into_request());
        self.waiting.insert(call, Waiting::Look);
        for _ in 0..MAX_STEPS {
            self.step().map_err(|error| Status::new(durable_client::Code::Unavailable, error))?;
            if let Some(answer) = self.looks.remove(&call) {
                return answer.map(|response| R::from_response(response).unwrap_or_default());
            }
        }
        Err(Status::new(durable_client::Code::DeadlineExceeded, "no answer"))
    }

    /// All rows of the file in one number.
    pub fn digest(&self) -> Result<u64, String> {
        let mut hasher = DefaultHasher::new();
        self.engine.contents()?.hash(&mut hasher);
        Ok(hasher.finish())
    }
}
