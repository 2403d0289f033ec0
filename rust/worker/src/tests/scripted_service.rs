//! A service that hands out what a test put in, and remembers what it was told.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use durable_client::{Request, Response, Rpc, Service, ServiceFuture, Status};
use temporalio_protos::temporal::api::{history::v1::History, workflowservice::v1 as api};
use tokio::{sync::Notify, time::timeout};

#[derive(Default)]
pub(super) struct ScriptedService {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    workflow_tasks: VecDeque<api::PollWorkflowTaskQueueResponse>,
    activity_tasks: VecDeque<api::PollActivityTaskQueueResponse>,
    calls: Vec<Request>,
    /// The calls that got one of `answers`.
    answered: Vec<Request>,
    /// Answers for the next calls of an RPC; without one, the default message.
    answers: HashMap<&'static str, VecDeque<Result<Response, Status>>>,
    open_polls: usize,
}

impl ScriptedService {
    pub fn new() -> Arc<ScriptedService> {
        Arc::default()
    }

    pub fn offer(&self, task: api::PollWorkflowTaskQueueResponse) {
        self.state.lock().unwrap().workflow_tasks.push_back(task);
        self.changed.notify_waiters();
    }

    pub fn offer_activity(&self, task: api::PollActivityTaskQueueResponse) {
        self.state.lock().unwrap().activity_tasks.push_back(task);
        self.changed.notify_waiters();
    }

    pub fn answer<R: Rpc>(&self, answer: Result<Response, Status>) {
        self.state.lock().unwrap().answers.entry(R::NAME).or_default().push_back(answer);
    }

    pub fn open_polls(&self) -> usize {
        self.state.lock().unwrap().open_polls
    }

    /// The calls of one RPC so far.
    pub fn calls(&self, name: &str) -> Vec<Request> {
        self.state.lock().unwrap().calls.iter().filter(|call| call.name() == name).cloned().collect()
    }

    /// The same of those that got an answer of the script.
    pub fn answered(&self, name: &str) -> Vec<Request> {
        self.state.lock().unwrap().answered.iter().filter(|call| call.name() == name).cloned().collect()
    }

    /// The calls of one RPC once there are `count`.
    pub async fn wait_for(&self, name: &str, count: usize) -> Vec<Request> {
        self.wait_until(name, count, || self.calls(name)).await
    }

    /// The answered ones once there are `count`.
    pub async fn wait_for_answered(&self, name: &str, count: usize) -> Vec<Request> {
        self.wait_until(name, count, || self.answered(name)).await
    }

    async fn wait_until(&self, name: &str, count: usize, find: impl Fn() -> Vec<Request>) -> Vec<Request> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                let calls = find();
                if calls.len() >= count {
                    return calls;
                }
                changed.await;
            }
        };
        timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("no {count} calls of {name}"))
    }
}

/// A poll that is open until it is dropped.
struct OpenPoll(ServiceHandle);
struct ServiceHandle(Arc<ScriptedService>);

impl Drop for OpenPoll {
    fn drop(&mut self) {
        self.0.0.state.lock().unwrap().open_polls -= 1;
    }
}

/// The trait is on the handle because a call's future owns its service.
pub(super) struct Handle(pub Arc<ScriptedService>);

impl Service for Handle {
    fn call(&self, request: Request) -> ServiceFuture {
        let service = self.0.clone();
        Box::pin(async move {
            let is_sticky = matches!(&request, Request::PollWorkflowTaskQueue(poll)
                if poll.task_queue.as_ref().is_some_and(|queue| !queue.normal_name.is_empty()));
            let name = request.name();
            let answer = service.state.lock().unwrap().answers.get_mut(name).and_then(VecDeque::pop_front);
            if let Some(answer) = answer {
                service.state.lock().unwrap().answered.push(request);
                service.changed.notify_waiters();
                return answer;
            }
            match request {
                Request::PollWorkflowTaskQueue(_) | Request::PollActivityTaskQueue(_) => {
                    service.state.lock().unwrap().open_polls += 1;
                    let _open = OpenPoll(ServiceHandle(service.clone()));
                    loop {
                        let changed = service.changed.notified();
                        if let Some(task) = take(&service, name, is_sticky) {
                            return Ok(task);
                        }
                        changed.await;
                    }
                }
                request => {
                    let answer = default_answer(&request);
                    service.state.lock().unwrap().calls.push(request);
                    service.changed.notify_waiters();
                    Ok(answer)
                }
            }
        })
    }
}

fn take(service: &ScriptedService, name: &str, is_sticky: bool) -> Option<Response> {
    let mut state = service.state.lock().unwrap();
    match name {
        "PollWorkflowTaskQueue" if !is_sticky => state.workflow_tasks.pop_front().map(Response::from),
        "PollActivityTaskQueue" => state.activity_tasks.pop_front().map(Response::from),
        _ => None,
    }
}

fn default_answer(request: &Request) -> Response {
    match request {
        Request::RespondWorkflowTaskCompleted(_) => api::RespondWorkflowTaskCompletedResponse::default().into(),
        Request::RespondWorkflowTaskFailed(_) => api::RespondWorkflowTaskFailedResponse::default().into(),
        Request::RespondQueryTaskCompleted(_) => api::RespondQueryTaskCompletedResponse::default().into(),
        Request::RecordActivityTaskHeartbeat(_) => api::RecordActivityTaskHeartbeatResponse::default().into(),
        Request::RespondActivityTaskCompleted(_) => api::RespondActivityTaskCompletedResponse::default().into(),
        Request::RespondActivityTaskFailed(_) => api::RespondActivityTaskFailedResponse::default().into(),
        Request::RespondActivityTaskCanceled(_) => api::RespondActivityTaskCanceledResponse::default().into(),
        Request::RecordWorkerHeartbeat(_) => api::RecordWorkerHeartbeatResponse::default().into(),
        Request::ShutdownWorker(_) => api::ShutdownWorkerResponse::default().into(),
        Request::GetWorkflowExecutionHistory(_) => api::GetWorkflowExecutionHistoryResponse {
            history: Some(History { events: vec![super::workflows::event(1)] }),
            ..Default::default()
        }
        .into(),
        other => panic!("{} is not in the script", other.name()),
    }
}
