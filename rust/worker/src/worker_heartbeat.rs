//! The worker's signs of life: what it is, how much it has to do, how it goes. The service lists workers by them.
//!
//! They are sent only where the namespace says that it takes them. Nothing depends on them: one that is lost is not sent again,
//! the next one says more.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use durable_client::{Code, Status, call};
use temporalio_protos::temporal::api::{
    enums::v1::WorkerStatus,
    worker::v1::{WorkerHeartbeat, WorkerPollerInfo, WorkerSlotsInfo},
    workflowservice::v1::{DescribeNamespaceRequest, RecordWorkerHeartbeatRequest},
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{
    machine_load::LoadMeter,
    shared::{DEBUG, Shared},
    tally::{Polls, Tasks},
};

/// How the kind of slots that have a fixed number is named.
const FIXED: &str = "Fixed";
/// The last sign of life may keep a worker that stops no longer than this.
const LAST_CALL_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct WorkerHeartbeats {
    shared: Arc<Shared>,
    instance_key: String,
    begun: SystemTime,
    told: Mutex<Told>,
}

/// What the last heartbeat said.
#[derive(Default)]
struct Told {
    /// The service takes heartbeats, as far as is known.
    is_wanted: bool,
    /// The service ends the polls of a worker that says that it stops, as far as is known.
    ends_polls: bool,
    at: Option<Instant>,
    workflow_tasks: Counts,
    activities: Counts,
    local_activities: Counts,
    load: LoadMeter,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    processed: u64,
    failed: u64,
}

impl WorkerHeartbeats {
    pub fn new(shared: Arc<Shared>, instance_key: String) -> WorkerHeartbeats {
        WorkerHeartbeats { shared, instance_key, begun: SystemTime::now(), told: Mutex::default() }
    }

    /// Sends one at once and then one each interval, until the worker has ended or the service wants none.
    pub async fn run(&self) {
        let Some(pause) = self.shared.options.worker_heartbeat_interval else {
            let _ = self.ask_whether_wanted().await;
            return;
        };
        let mut ticks = interval(pause.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sending = async {
            loop {
                ticks.tick().await;
                if let Err(status) = self.beat().await {
                    self.shared.event(DEBUG, format!("a heartbeat of the worker did not arrive: {status}"));
                    if is_final(&status) {
                        self.told().is_wanted = false;
                        return;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = self.shared.abort.cancelled() => {}
            () = sending => {}
        }
    }

    async fn beat(&self) -> Result<(), Status> {
        if !self.told().is_wanted {
            self.ask_whether_wanted().await?;
            self.told().is_wanted = true;
        }
        self.send(self.next(self.status())).await
    }

    async fn ask_whether_wanted(&self) -> Result<(), Status> {
        let request = DescribeNamespaceRequest { namespace: self.shared.options.namespace.clone(), ..Default::default() };
        let answer = call(&*self.shared.service, request).await?;
        let capabilities = answer.namespace_info.and_then(|info| info.capabilities);
        self.told().ends_polls = capabilities.is_some_and(|capabilities| capabilities.worker_poll_complete_on_shutdown);
        if capabilities.is_some_and(|capabilities| capabilities.worker_heartbeats) {
            Ok(())
        } else {
            Err(Status::new(Code::Unimplemented, "the namespace takes no heartbeats of workers"))
        }
    }

    async fn send(&self, heartbeat: WorkerHeartbeat) -> Result<(), Status> {
        let request = RecordWorkerHeartbeatRequest {
            namespace: self.shared.options.namespace.clone(),
            identity: self.shared.options.identity.clone(),
            worker_heartbeat: vec![heartbeat],
            ..Default::default()
        };
        call(&*self.shared.service, request).await.map(drop)
    }

    /// Whether polls need not be given up when the worker stops: the service answers them.
    pub fn service_ends_polls(&self) -> bool {
        self.told().ends_polls
    }

    /// What goes along with the news that the worker stops.
    pub fn on_shutdown(&self) -> Option<WorkerHeartbeat> {
        let is_wanted = self.told().is_wanted;
        is_wanted.then(|| self.next(WorkerStatus::ShuttingDown))
    }

    /// The last one: the service strikes the worker from its list.
    pub async fn say_goodbye(&self) {
        if self.told().is_wanted {
            let _ = timeout(LAST_CALL_TIMEOUT, self.send(self.next(WorkerStatus::Shutdown))).await;
        }
    }

    fn status(&self) -> WorkerStatus {
        if self.shared.polling.is_cancelled() { WorkerStatus::ShuttingDown } else { WorkerStatus::Running }
    }

    /// A heartbeat of now; the one after it counts from here.
    fn next(&self, status: WorkerStatus) -> WorkerHeartbeat {
        let (options, tally) = (&self.shared.options, &self.shared.tally);
        let mut told = self.told();
        let told = &mut *told;
        let now = Instant::now();
        let elapsed = told.at.replace(now).map(|last| now - last);
        let mut heartbeat = options.worker_heartbeat_template.clone();
        let load = told.load.read();
        let host = heartbeat.host_info.get_or_insert_default();
        host.process_id = std::process::id().to_string();
        host.current_host_cpu_usage = load.processor;
        host.current_host_mem_usage = load.memory;
        heartbeat.worker_instance_key.clone_from(&self.instance_key);
        heartbeat.worker_identity.clone_from(&options.identity);
        heartbeat.task_queue.clone_from(&options.task_queue);
        heartbeat.status = status as i32;
        heartbeat.start_time = Some(self.begun.into());
        heartbeat.heartbeat_time = Some(SystemTime::now().into());
        heartbeat.elapsed_since_last_heartbeat = elapsed.and_then(|elapsed| elapsed.try_into().ok());
        if options.polls_workflows {
            let limit = options.max_concurrent_workflow_tasks;
            heartbeat.workflow_task_slots_info = Some(slots(&tally.workflow_tasks, limit, &mut told.workflow_tasks));
            heartbeat.workflow_poller_info = Some(pollers(&tally.normal_polls));
            heartbeat.workflow_sticky_poller_info = Some(pollers(&tally.sticky_polls));
            let limit = options.max_concurrent_local_activities;
            heartbeat.local_activity_slots_info = Some(slots(&tally.local_activities, limit, &mut told.local_activities));
        }
        if options.polls_activities {
            let limit = options.max_concurrent_activities;
            heartbeat.activity_task_slots_info = Some(slots(&tally.activities, limit, &mut told.activities));
            heartbeat.activity_poller_info = Some(pollers(&tally.activity_polls));
        }
        heartbeat.total_sticky_cache_hit = number(tally.cache_hits());
        heartbeat.total_sticky_cache_miss = number(tally.cache_misses());
        heartbeat.current_sticky_cache_size = number(tally.cached_runs());
        heartbeat
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True when it makes no sense to send another one.
fn is_final(status: &Status) -> bool {
    matches!(status.code, Code::Unimplemented | Code::PermissionDenied | Code::InvalidArgument | Code::NotFound)
}

fn slots(tasks: &Tasks, limit: usize, told: &mut Counts) -> WorkerSlotsInfo {
    let used = tasks.open.get();
    let now = Counts { processed: tasks.processed(), failed: tasks.failed() };
    let last = std::mem::replace(told, now);
    WorkerSlotsInfo {
        current_available_slots: number(limit.saturating_sub(used)),
        current_used_slots: number(used),
        slot_supplier_kind: FIXED.into(),
        total_processed_tasks: number(now.processed),
        total_failed_tasks: number(now.failed),
        last_interval_processed_tasks: number(now.processed - last.processed),
        last_interval_failure_tasks: number(now.failed - last.failed),
    }
}

fn pollers(polls: &Polls) -> WorkerPollerInfo {
    WorkerPollerInfo {
        current_pollers: number(polls.open.get()),
        last_successful_poll_time: polls.last_answer().map(Into::into),
        is_autoscaling: false,
    }
}

fn number(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}
