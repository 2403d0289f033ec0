//! The handle: opening, calling, closing. Handles on one file in one process share one writer thread.

use std::{
    collections::HashMap,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Sender, TrySendError, bounded};
use durable_client::{CallOptions, Code, RawCall, RawFuture, Request, Response, Service, ServiceFuture, Status};
use tokio::sync::oneshot;

use crate::{
    EngineOptions, Limits, Location, OpenError,
    host::{Caller, Host, Message, Shown},
    lock::FileLock,
    state::{OPERATOR_SERVICE, Operation},
    store::{self, Store},
    surroundings::Machine,
};

/// Requests waiting for the writer; more are refused, so that memory stays bounded.
const MAX_WAITING: usize = 10_000;

/// Open files of this process by device and inode.
type Files = HashMap<(u64, u64), Weak<Shared>>;
static FILES: LazyLock<Mutex<Files>> = LazyLock::new(Mutex::default);

struct Shared {
    sender: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    handles: AtomicUsize,
    calls: AtomicU64,
    shown: Arc<Shown>,
    namespace: String,
    time_skipping: bool,
    limits: Limits,
    file: Option<(u64, u64)>,
    lock: Mutex<Option<FileLock>>,
}

/// A running engine. Every handle is closed by itself; the last one stops the writer.
pub struct Engine {
    shared: Arc<Shared>,
    closed: AtomicBool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("namespace", &self.shared.namespace).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the database, creating it when missing; refuses files that are not ours without touching them.
    pub fn open(options: EngineOptions) -> Result<Arc<Engine>, OpenError> {
        let Location::File(path) = &options.location else {
            let store = Store::open(None, None)?;
            return Ok(Engine::handle(Arc::new(Shared::start(store, &options, Path::new(":memory:"), None, None)?)));
        };
        let path = resolve(path);
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = identity(&path).and_then(|id| files.get(&id)).and_then(Weak::upgrade)
            && shared.handles.load(Ordering::Acquire) > 0
        {
            let has_other_limits = options.limits.is_some_and(|limits| limits != shared.limits);
            if shared.namespace != options.namespace || shared.time_skipping != options.time_skipping || has_other_limits {
                let (namespace, time_skipping, limits) = (shared.namespace.clone(), shared.time_skipping, shared.limits);
                return Err(OpenError::OtherOptions { path, namespace, time_skipping, limits });
            }
            return Ok(Engine::handle(shared));
        }
        store::check(&path)?;
        let lock = FileLock::take(&path)?;
        // Again, now that nobody else writes.
        if !store::check(&path)? {
            create(&path)?;
        }
        let store = Store::open(Some(&path), None)?;
        let id = identity(&path);
        let shared = Arc::new(Shared::start(store, &options, &path, Some(lock), id)?);
        if let Some(id) = id {
            files.insert(id, Arc::downgrade(&shared));
        }
        Ok(Engine::handle(shared))
    }

    fn handle(shared: Arc<Shared>) -> Arc<Engine> {
        shared.handles.fetch_add(1, Ordering::AcqRel);
        Arc::new(Engine { shared, closed: AtomicBool::new(false) })
    }

    /// Closes this handle; the last one on its file stops the writer and waits for it. Later calls answer Unavailable.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.stop();
            if let Some(id) = self.shared.file {
                files.remove(&id);
            }
        }
    }

    /// Moves workflow time on by at least `by`, through every timer on the way. Only with time skipping; else nothing happens.
    pub async fn advance(&self, by: Duration) {
        let (sender, receiver) = oneshot::channel();
        if self.shared.time_skipping
            && !self.closed.load(Ordering::Acquire)
            && self.shared.sender.send(Message::Advance(by, sender)).is_ok()
        {
            let _ = receiver.await;
        }
    }

    /// Workflow time, as of the writer's last turn when it skips time.
    pub fn now(&self) -> SystemTime {
        if !self.shared.time_skipping {
            return SystemTime::now();
        }
        UNIX_EPOCH + Duration::from_nanos(self.shared.shown.now.load(Ordering::Relaxed).max(0).cast_unsigned())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl Service for Engine {
    fn call(&self, request: Request) -> ServiceFuture {
        self.call_with(request, CallOptions::default())
    }

    fn call_with(&self, request: Request, options: CallOptions) -> ServiceFuture {
        let caller = Caller { is_remote: options.is_remote, timeout: options.timeout };
        let closed = self.closed.load(Ordering::Acquire);
        let shared = self.shared.clone();
        Box::pin(async move {
            if closed {
                return Err(Status::new(Code::Unavailable, "the engine is closed"));
            }
            let id = shared.calls.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            match shared.sender.try_send(Message::Call(id, request, caller, sender)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    return Err(Status::new(Code::ResourceExhausted, "too many requests are waiting for the engine"));
                }
                Err(TrySendError::Disconnected(_)) => return Err(shared.gone()),
            }
            let mut guard = Guard { id, shared: &shared, receiver, armed: true };
            let answer = (&mut guard.receiver).await;
            guard.armed = false;
            answer.unwrap_or_else(|_| Err(shared.gone()))
        })
    }

    fn paces_failing_tasks(&self) -> bool {
        true
    }

    fn release_activity(&self, task_token: Vec<u8>) {
        if !self.closed.load(Ordering::Acquire) {
            // A full queue or a stopped engine: then the attempt ends with the process, as all others.
            let _ = self.shared.sender.try_send(Message::Release(task_token));
        }
    }

    fn call_raw(&self, call: RawCall, options: CallOptions) -> RawFuture {
        let _ = options;
        let closed = self.closed.load(Ordering::Acquire);
        let shared = self.shared.clone();
        Box::pin(async move {
            if closed {
                return Err(Status::new(Code::Unavailable, "the engine is closed"));
            }
            if call.service != OPERATOR_SERVICE {
                let message = format!("{}/{} is not there on an embedded engine", call.service, call.method);
                return Err(Status::new(Code::Unimplemented, message));
            }
            let operation = Operation::decode(&call.method, &call.request)?;
            let (sender, receiver) = oneshot::channel();
            match shared.sender.try_send(Message::Operate(operation, sender)) {
                Ok(()) => receiver.await.unwrap_or_else(|_| Err(shared.gone())),
                Err(TrySendError::Full(_)) => Err(Status::new(Code::ResourceExhausted, "too many requests are waiting for the engine")),
                Err(TrySendError::Disconnected(_)) => Err(shared.gone()),
            }
        })
    }
}

/// Tells the writer that a caller gave up, and gives back what had been said to it already: it may be a task.
struct Guard<'a> {
    id: u64,
    shared: &'a Shared,
    receiver: oneshot::Receiver<Result<Response, Status>>,
    armed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.armed {
            // Closed first: what is not there now is not said any more, and the writer notices by itself.
            self.receiver.close();
            let message = match self.receiver.try_recv() {
                Ok(Ok(response)) => Message::Undelivered(Box::new(response)),
                _ => Message::Gone(self.id),
            };
            let _ = self.shared.sender.try_send(message);
        }
    }
}

impl Shared {
    fn start(
        store: Store,
        options: &EngineOptions,
        path: &Path,
        lock: Option<FileLock>,
        file: Option<(u64, u64)>,
    ) -> Result<Shared, OpenError> {
        let (sender, receiver) = bounded(MAX_WAITING);
        let shown = Arc::new(Shown::default());
        let limits = options.limits.unwrap_or_default();
        let (how, machine) = ((options.time_skipping, limits), Box::new(Machine::new()));
        let host = Host::new(store, options.namespace.clone(), how, receiver, shown.clone(), machine)
            .map_err(|status| OpenError::Corrupt { path: path.into(), reason: status.message })?;
        let thread = std::thread::Builder::new()
            .name("durable-engine".into())
            .spawn(move || host.run())
            .map_err(|error| OpenError::Io { path: path.into(), reason: format!("no thread: {error}") })?;
        Ok(Shared {
            sender,
            thread: Mutex::new(Some(thread)),
            handles: AtomicUsize::new(0),
            calls: AtomicU64::new(1),
            shown,
            namespace: options.namespace.clone(),
            time_skipping: options.time_skipping,
            limits,
            file,
            lock: Mutex::new(lock),
        })
    }

    fn stop(&self) {
        let _ = self.sender.send(Message::Stop);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn gone(&self) -> Status {
        let reason = self.shown.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status::new(Code::Unavailable, reason.map_or("the engine is closed".into(), |reason| format!("the engine stopped: {reason}")))
    }
}

/// The file behind symbolic links: its lock and its log lie beside it.
fn resolve(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|data| (data.dev(), data.ino()))
}

/// An empty file that only its owner can read.
fn create(path: &Path) -> Result<(), OpenError> {
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .and_then(|file| file.set_permissions(std::fs::Permissions::from_mode(0o600)));
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => OpenError::Permission { path: path.into(), reason: error.to_string() },
        _ => OpenError::Io { path: path.into(), reason: error.to_string() },
    })
}
