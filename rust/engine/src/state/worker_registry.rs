//! Who works for this engine, as the workers themselves say: kept in memory only, because those that live will say it again.

use std::collections::BTreeMap;

use durable_client::Status;
use prost::Message;
use temporalio_protos::temporal::api::{
    enums::v1::WorkerStatus,
    worker::v1::{WorkerHeartbeat, WorkerInfo, WorkerListInfo},
    workflowservice::v1 as api,
};

use super::{
    limit::{invalid, not_found},
    time::{Nanos, SECOND},
    worker_filter::WorkerFilter,
    world::{Answer, Env, World},
};

/// A worker that has said nothing for so long is taken for dead.
const FORGET_AFTER: Nanos = 300 * SECOND;
/// So many workers are remembered; beyond it those that were heard of first are forgotten.
const MAX_WORKERS: usize = 10_000;
/// An honest one has less than a kibibyte.
const MAX_HEARTBEAT_BYTES: usize = 16 << 10;

#[derive(Default)]
pub struct WorkerRegistry {
    /// By its key, each worker's last words and when they came on the monotonic clock.
    workers: BTreeMap<String, (Nanos, WorkerHeartbeat)>,
}

impl WorkerRegistry {
    fn record(&mut self, now: Nanos, heartbeat: WorkerHeartbeat) {
        let key = heartbeat.worker_instance_key.clone();
        if heartbeat.status() == WorkerStatus::Shutdown {
            self.workers.remove(&key);
            return;
        }
        if self.workers.len() >= MAX_WORKERS && !self.workers.contains_key(&key) {
            let oldest = self.workers.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
            oldest.map(|key| self.workers.remove(&key));
        }
        self.workers.insert(key, (now, heartbeat));
    }

    fn forget_dead(&mut self, now: Nanos) {
        self.workers.retain(|_, (at, _)| *at + FORGET_AFTER > now);
    }

    fn find<'a>(&'a self, filter: &'a WorkerFilter) -> impl Iterator<Item = &'a WorkerHeartbeat> {
        self.workers.values().map(|(_, heartbeat)| heartbeat).filter(|heartbeat| filter.takes(heartbeat))
    }
}

impl World {
    pub fn record_worker_heartbeat(&mut self, env: &Env, request: api::RecordWorkerHeartbeatRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        if request.worker_heartbeat.iter().any(|heartbeat| heartbeat.encoded_len() > MAX_HEARTBEAT_BYTES) {
            return Err(invalid(format!("a worker's heartbeat has more than {MAX_HEARTBEAT_BYTES} bytes")));
        }
        for heartbeat in request.worker_heartbeat {
            self.workers.record(env.mono, heartbeat);
        }
        Ok(Some(api::RecordWorkerHeartbeatResponse::default().into()))
    }

    /// What a worker says when it goes.
    pub fn note_worker(&mut self, env: &Env, heartbeat: Option<WorkerHeartbeat>) {
        if let Some(heartbeat) = heartbeat.filter(|heartbeat| heartbeat.encoded_len() <= MAX_HEARTBEAT_BYTES) {
            self.workers.record(env.mono, heartbeat);
        }
    }

    /// A page token is the key of the last worker of the page before.
    pub fn list_workers(&mut self, env: &Env, request: api::ListWorkersRequest) -> Answer {
        let filter = self.worker_filter(env, &request.namespace, &request.query)?;
        let after = String::from_utf8(request.next_page_token).map_err(|_| invalid("invalid next_page_token"))?;
        let size = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(usize::MAX);
        let mut page: Vec<&WorkerHeartbeat> =
            self.workers.find(&filter).filter(|worker| worker.worker_instance_key > after).take(size.saturating_add(1)).collect();
        let has_more = page.len() > size;
        page.truncate(size);
        let last = page.last().filter(|_| has_more).map(|worker| worker.worker_instance_key.clone());
        let response = api::ListWorkersResponse {
            workers_info: page.iter().map(|worker| WorkerInfo { worker_heartbeat: Some((*worker).clone()) }).collect(),
            workers: page.into_iter().map(listed).collect(),
            next_page_token: last.map(String::into_bytes).unwrap_or_default(),
        };
        Ok(Some(response.into()))
    }

    pub fn count_workers(&mut self, env: &Env, request: api::CountWorkersRequest) -> Answer {
        let filter = self.worker_filter(env, &request.namespace, &request.query)?;
        let count = i64::try_from(self.workers.find(&filter).count()).unwrap_or(i64::MAX);
        Ok(Some(api::CountWorkersResponse { count }.into()))
    }

    pub fn describe_worker(&mut self, env: &Env, request: api::DescribeWorkerRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        self.workers.forget_dead(env.mono);
        let key = request.worker_instance_key;
        let (_, heartbeat) = self.workers.workers.get(&key).ok_or_else(|| not_found(format!("Worker {key} not found")))?;
        let worker_info = Some(WorkerInfo { worker_heartbeat: Some(heartbeat.clone()) });
        Ok(Some(api::DescribeWorkerResponse { worker_info }.into()))
    }

    fn worker_filter(&mut self, env: &Env, namespace: &str, query: &str) -> Result<WorkerFilter, Status> {
        self.check_namespace(namespace)?;
        self.workers.forget_dead(env.mono);
        WorkerFilter::parse(query).map_err(invalid)
    }
}

fn listed(worker: &WorkerHeartbeat) -> WorkerListInfo {
    let worker = worker.clone();
    let host = worker.host_info.unwrap_or_default();
    WorkerListInfo {
        worker_instance_key: worker.worker_instance_key,
        worker_identity: worker.worker_identity,
        task_queue: worker.task_queue,
        deployment_version: worker.deployment_version,
        sdk_name: worker.sdk_name,
        sdk_version: worker.sdk_version,
        status: worker.status,
        start_time: worker.start_time,
        host_name: host.host_name,
        worker_grouping_key: host.worker_grouping_key,
        process_id: host.process_id,
        plugins: worker.plugins,
        drivers: worker.drivers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(key: usize) -> WorkerHeartbeat {
        WorkerHeartbeat { worker_instance_key: key.to_string(), ..Default::default() }
    }

    #[test]
    fn the_dead_and_those_who_said_goodbye_are_forgotten() {
        let mut registry = WorkerRegistry::default();
        registry.record(0, worker(1));
        registry.record(SECOND, worker(2));
        registry.record(SECOND, worker(3));
        registry.record(FORGET_AFTER, WorkerHeartbeat { status: WorkerStatus::Shutdown as i32, ..worker(3) });
        registry.forget_dead(FORGET_AFTER);
        assert_eq!(registry.workers.keys().collect::<Vec<_>>(), ["2"]);
    }

    #[test]
    fn workers_that_come_and_go_without_end_fill_no_memory() {
        let mut registry = WorkerRegistry::default();
        for key in 0..MAX_WORKERS + 5 {
            registry.record(key as Nanos, worker(key));
        }
        assert_eq!(registry.workers.len(), MAX_WORKERS);
        assert!(!registry.workers.contains_key("4") && registry.workers.contains_key("5"));
    }
}
