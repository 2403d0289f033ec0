//! One core: a runtime, a connection, workers, and the queue of items for Python.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use durable_client::{CallHeaders, CallOptions, Change, Code, Observer, RawCall, Request, Response, Secret, Status};
use durable_worker::Reserved;
use prost::Message;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::AbortHandle,
};

use crate::{
    answer::Owed,
    error::{BridgeError, Result, report_panics_to},
    messages::{Call, Command, Commands, Connect, SetHeaders, StartServer, StartWorker, StopServer, StopWorker, command::Kind},
    queue::{ERROR, INFO, Queue, WARNING},
    serving::Serving,
    target::{self, Target},
    workers::Workers,
};

/// For an engine: enough to decode and apply at the same time; the work that is heavy has threads of its own (the engine's writer).
const ENGINE_THREADS: usize = 2;
/// For a connection: its tasks hand one call on to the next, and between threads each of these steps is a system call, or two. One
/// thread is enough for more calls than an interpreter can make or answer.
const CONNECTION_THREADS: usize = 1;
/// Tasks end at their next await; what takes longer than this is stuck, and left to the process's end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";

pub struct Core {
    life: Mutex<Life>,
    state: Arc<State>,
}

/// The threads begin with the first commands, which say what for.
enum Life {
    New,
    Running(Runtime),
    Closed,
}

/// What the core's tasks share.
struct State {
    queue: Arc<Queue>,
    connection: Mutex<Connection>,
    workers: Workers,
    serving: Serving,
    /// Calls that are open, by their command's id.
    calls: Mutex<HashMap<u64, AbortHandle>>,
}

enum Connection {
    None,
    Pending,
    Made(Box<Target>),
    Closed,
}

impl Core {
    pub fn open() -> Result<Core> {
        let queue = Arc::new(Queue::open().map_err(|error| no_start(&error))?);
        let state = State {
            queue,
            connection: Mutex::new(Connection::None),
            workers: Workers::default(),
            serving: Serving::default(),
            calls: Mutex::default(),
        };
        Ok(Core { life: Mutex::new(Life::New), state: Arc::new(state) })
    }

    pub fn wake_fd(&self) -> i32 {
        self.state.queue.wake_fd()
    }

    pub fn drain(&self, limit: u32) -> Vec<u8> {
        self.state.queue.drain(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    pub fn submit(&self, commands: &[u8]) -> Result<()> {
        let commands =
            Commands::decode(commands).map_err(|error| BridgeError::BadMessage(format!("the commands cannot be decoded: {error}")))?;
        let runtime = self.running(&commands)?;
        let _inside = runtime.enter();
        for command in commands.commands {
            self.state.handle(&runtime, command);
        }
        Ok(())
    }

    /// The runtime, begun if these commands are the first.
    fn running(&self, commands: &Commands) -> Result<Handle> {
        let mut life = lock(&self.life);
        if matches!(*life, Life::New) {
            let is_connection = commands.commands.iter().any(|command| match &command.kind {
                Some(Kind::Connect(connect)) => !target::is_engine(&connect.target),
                _ => false,
            });
            let reports = Arc::downgrade(&self.state.queue);
            let runtime = Builder::new_multi_thread()
                .worker_threads(if is_connection { CONNECTION_THREADS } else { ENGINE_THREADS })
                .thread_name("durable-core")
                .on_thread_start(move || report_panics_to(reports.clone()))
                .enable_all()
                .build()
                .map_err(|error| no_start(&error))?;
            *life = Life::Running(runtime);
        }
        match &*life {
            Life::Running(runtime) => Ok(runtime.handle().clone()),
            Life::New | Life::Closed => Err(BridgeError::BadHandle("the core is closed".into())),
        }
    }

    /// Ends everything within a bounded time: calls are given up, workers end as in a crash, the engine commits what it
    /// has acknowledged, threads are joined.
    pub fn close(&self) {
        let runtime = match std::mem::replace(&mut *lock(&self.life), Life::Closed) {
            Life::Running(runtime) => runtime,
            Life::New => return self.state.queue.close(),
            Life::Closed => return,
        };
        let connection = std::mem::replace(&mut *lock(&self.state.connection), Connection::Closed);
        for (_, call) in lock(&self.state.calls).drain() {
            call.abort();
        }
        {
            let _inside = runtime.enter();
            self.state.workers.abandon();
            self.state.serving.abandon();
        }
        if let Connection::Made(target) = connection {
            target.close();
        }
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        self.state.queue.close();
    }
}

fn no_start(error: &std::io::Error) -> BridgeError {
    BridgeError::Start(format!("the core cannot be started: {error}"))
}

impl Drop for Core {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    fn handle(self: &Arc<Self>, runtime: &Handle, command: Command) {
        let owed = Owed::new(command.id, self.queue.clone());
        match command.kind {
            None => owed.give(Err(target::invalid("a command of no kind that this version knows"))),
            Some(Kind::Connect(connect)) => self.connect(runtime, connect, owed),
            Some(Kind::Call(call)) => self.call(runtime, command.id, call, owed),
            Some(Kind::CancelCall(cancel)) => {
                if let Some(call) = lock(&self.calls).remove(&cancel.call) {
                    call.abort();
                }
            }
            Some(Kind::StartWorker(start)) => owed.give(self.start_worker(start)),
            Some(Kind::StopWorker(stop)) => self.stop_worker(runtime, stop, owed),
            Some(Kind::WorkflowCompletion(completion)) => {
                self.to_worker(completion.worker, &completion.completion, durable_worker::Worker::complete_workflow);
            }
            Some(Kind::ActivityCompletion(completion)) => {
                self.to_worker(completion.worker, &completion.completion, durable_worker::Worker::complete_activity);
            }
            Some(Kind::ActivityHeartbeat(heartbeat)) => {
                self.to_worker(heartbeat.worker, &heartbeat.heartbeat, durable_worker::Worker::heartbeat);
            }
            Some(Kind::AdvanceTime(advance)) => self.advance(runtime, Duration::from_millis(advance.by_ms), owed),
            Some(Kind::CurrentTime(_)) => owed.give(self.current_time()),
            Some(Kind::SetHeaders(headers)) => owed.give(self.set_headers(headers)),
            Some(Kind::StartServer(start)) => owed.give(self.start_server(start)),
            Some(Kind::StopServer(stop)) => self.stop_server(runtime, &stop, owed),
        }
    }

    fn connect(self: &Arc<Self>, runtime: &Handle, command: Connect, owed: Owed) {
        {
            let mut connection = lock(&self.connection);
            if !matches!(*connection, Connection::None) {
                return owed.give(Err(Status::new(Code::FailedPrecondition, "the core is connected already")));
            }
            *connection = Connection::Pending;
        }
        let state = self.clone();
        runtime.spawn(async move {
            let observer = state.observer(&command.target);
            let made = target::connect(command, observer).await;
            let outcome = {
                let mut connection = lock(&state.connection);
                match (made, &*connection) {
                    (Ok(target), Connection::Pending) => {
                        *connection = Connection::Made(Box::new(target));
                        Ok(Vec::new())
                    }
                    (Ok(target), _) => {
                        drop(connection);
                        target.close();
                        Err(Status::new(Code::Cancelled, "the core was closed meanwhile"))
                    }
                    (Err(status), Connection::Pending) => {
                        *connection = Connection::None; // another attempt is welcome
                        Err(status)
                    }
                    (Err(status), _) => Err(status),
                }
            };
            owed.give(outcome);
        });
    }

    fn call(self: &Arc<Self>, runtime: &Handle, id: u64, call: Call, owed: Owed) {
        let (target, mut asked) = match self.target().and_then(|target| Ok((target, Asked::of(&call)?))) {
            Ok(ready) => ready,
            Err(status) => return owed.give(Err(status)),
        };
        let timeout = (call.timeout_ms != 0).then(|| Duration::from_millis(call.timeout_ms));
        let mut metadata: Vec<(String, String)> = call.metadata.into_iter().collect();
        metadata.sort();
        let reserved = asked.reserve(&self.workers);
        let state = self.clone();
        // Held while the task is entered, so that a call which ends at once does not leave its entry behind.
        let mut calls = lock(&self.calls);
        let task = runtime.spawn(async move {
            let answer = asked.answer(&target, CallOptions { timeout, metadata, is_remote: false }, reserved);
            let outcome = match timeout {
                // In process nobody else bounds the call.
                Some(timeout) => tokio::time::timeout(timeout, answer)
                    .await
                    .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, format!("{}: no answer within {timeout:?}", call.rpc)))),
                None => answer.await,
            };
            lock(&state.calls).remove(&id);
            owed.give(outcome);
        });
        if id != 0 {
            calls.insert(id, task.abort_handle());
        }
    }

    /// Says in the log when the network connection is lost and when it is back.
    fn observer(&self, target: &str) -> Observer {
        let (queue, target) = (Arc::downgrade(&self.queue), target.to_owned());
        Arc::new(move |change| {
            let Some(queue) = queue.upgrade() else { return };
            match change {
                Change::Lost { reason } => {
                    queue.push_event(0, WARNING, format!("connection to {target} lost, trying again: {reason}"), false);
                }
                Change::Back { after_ms } => {
                    queue.push_event(0, INFO, format!("connection to {target} is back after {:.1} s", after_ms as f64 / 1000.0), false);
                }
            }
        })
    }

    fn set_headers(&self, command: SetHeaders) -> std::result::Result<Vec<u8>, Status> {
        let mut metadata: Vec<(String, String)> = command.metadata.into_iter().collect();
        metadata.sort();
        self.target()?.set_headers(&CallHeaders { metadata, api_key: Secret::new(command.api_key) })?;
        Ok(Vec::new())
    }

    fn start_worker(&self, command: StartWorker) -> std::result::Result<Vec<u8>, Status> {
        self.workers.start(&self.target()?, command, self.queue.clone())?;
        Ok(Vec::new())
    }

    fn stop_worker(self: &Arc<Self>, runtime: &Handle, command: StopWorker, owed: Owed) {
        let state = self.clone();
        runtime.spawn(async move {
            let stopped = state.workers.stop(command.worker, Duration::from_millis(command.graceful_timeout_ms)).await;
            owed.give(stopped.map(|()| Vec::new()));
        });
    }

    fn start_server(&self, command: StartServer) -> std::result::Result<Vec<u8>, Status> {
        self.serving.start(&self.target()?, command, &self.queue)
    }

    fn stop_server(self: &Arc<Self>, runtime: &Handle, command: &StopServer, owed: Owed) {
        let (state, grace) = (self.clone(), Duration::from_millis(command.graceful_timeout_ms));
        runtime.spawn(async move { owed.give(state.serving.stop(grace).await) });
    }

    /// Hands an answer of Python's to its worker. A worker that is gone has nobody waiting for it.
    fn to_worker<M: Message + Default>(&self, number: u64, bytes: &[u8], hand_over: fn(&durable_worker::Worker, M)) {
        let Some(worker) = self.workers.get(number) else { return };
        match M::decode(bytes) {
            Ok(message) => hand_over(&worker, message),
            Err(error) => self.queue.push_event(number, ERROR, format!("an answer cannot be decoded: {error}"), true),
        }
    }

    fn advance(self: &Arc<Self>, runtime: &Handle, by: Duration, owed: Owed) {
        match self.target() {
            Ok(target) => drop(runtime.spawn(async move { owed.give(target.advance(by).await.map(|()| Vec::new())) })),
            Err(status) => owed.give(Err(status)),
        }
    }

    fn current_time(&self) -> std::result::Result<Vec<u8>, Status> {
        Ok(prost_wkt_types::Timestamp::from(self.target()?.now()).encode_to_vec())
    }

    fn target(&self) -> std::result::Result<Target, Status> {
        match &*lock(&self.connection) {
            Connection::Made(target) => Ok((**target).clone()),
            Connection::None | Connection::Pending => Err(Status::new(Code::FailedPrecondition, "the core is not connected yet")),
            Connection::Closed => Err(Status::new(Code::Cancelled, "the core is closed")),
        }
    }
}

/// What a `Call` asks for: a message that this side knows, or bytes for somebody who does.
enum Asked {
    Known(Request),
    Raw(RawCall),
}

impl Asked {
    fn of(call: &Call) -> std::result::Result<Asked, Status> {
        let is_workflow_service = call.service.is_empty() || call.service == WORKFLOW_SERVICE;
        if is_workflow_service && Request::NAMES.contains(&call.rpc.as_str()) {
            return Ok(Asked::Known(Request::decode(&call.rpc, &call.request)?));
        }
        Ok(Asked::Raw(RawCall {
            service: if is_workflow_service { WORKFLOW_SERVICE.to_owned() } else { call.service.clone() },
            method: call.rpc.clone(),
            namespace: call.namespace.clone(),
            request: call.request.clone(),
        }))
    }

    /// A start may ask for the workflow's first task only where a worker of this core is ready to take it.
    fn reserve(&mut self, workers: &Workers) -> Option<Reserved> {
        let Asked::Known(Request::StartWorkflowExecution(start)) = self else { return None };
        if !start.request_eager_execution {
            return None;
        }
        let reserved = workers.reserve(start.task_queue.as_ref().map_or("", |queue| &queue.name));
        start.request_eager_execution = reserved.is_some();
        reserved
    }

    async fn answer(self, target: &Target, options: CallOptions, reserved: Option<Reserved>) -> std::result::Result<Vec<u8>, Status> {
        match self {
            Asked::Known(request) => {
                let mut response = target.service.call_with(request, options).await?;
                if let (Some(reserved), Response::StartWorkflowExecution(started)) = (reserved, &mut response)
                    && let Some(task) = started.eager_workflow_task.as_mut()
                {
                    // The caller learns that there was one.
                    reserved.take(std::mem::take(task));
                }
                Ok(response.encode())
            }
            Asked::Raw(call) => target.service.call_raw(call, options).await,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that may panic runs under these locks in a way that leaves them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
