//! The one namespace of an engine, and the cluster of one that it is.

use durable_client::{Code, Status};
use temporalio_protos::temporal::api::{
    enums::v1::{ArchivalState, NamespaceState},
    errordetails::v1::NamespaceAlreadyExistsFailure,
    namespace::v1::{NamespaceConfig, NamespaceInfo, namespace_info},
    replication::v1::{ClusterReplicationConfig, NamespaceReplicationConfig},
    taskqueue::v1::TaskQueuePartitionMetadata,
    workflowservice::v1 as api,
};

use super::{
    limit::{MAX_BLOB_BYTES, check_queue, invalid},
    read::SERVER_VERSION,
    world::{Answer, World, namespace_not_found},
};

const CLUSTER: &str = "embedded";

pub fn system_info() -> api::GetSystemInfoResponse {
    api::GetSystemInfoResponse {
        server_version: SERVER_VERSION.into(),
        capabilities: Some(api::get_system_info_response::Capabilities {
            signal_and_query_header: true,
            internal_error_differentiation: true,
            activity_failure_include_heartbeat: true,
            encoded_failure_attributes: true,
            sdk_metadata: true,
            eager_workflow_start: true,
            supports_schedules: true,
            count_group_by_execution_status: true,
            ..Default::default()
        }),
    }
}

pub fn cluster_info() -> api::GetClusterInfoResponse {
    api::GetClusterInfoResponse {
        server_version: SERVER_VERSION.into(),
        cluster_name: CLUSTER.into(),
        history_shard_count: 1,
        persistence_store: "sqlite".into(),
        visibility_store: "sqlite".into(),
        ..Default::default()
    }
}

impl World {
    fn namespace_info(&self) -> NamespaceInfo {
        NamespaceInfo {
            name: self.namespace.clone(),
            state: NamespaceState::Registered as i32,
            // There is one and it is never renamed: its name is what tells it apart.
            id: self.namespace.clone(),
            // What clients and the web interface switch features on by: only what is there.
            capabilities: Some(namespace_info::Capabilities {
                eager_workflow_start: true,
                sync_update: true,
                async_update: true,
                worker_heartbeats: true,
                reported_problems_search_attribute: true,
                ..Default::default()
            }),
            limits: Some(namespace_info::Limits { blob_size_limit_error: MAX_BLOB_BYTES as i64, ..Default::default() }),
            ..Default::default()
        }
    }

    fn namespace_config(&self) -> NamespaceConfig {
        NamespaceConfig {
            history_archival_state: ArchivalState::Disabled as i32,
            visibility_archival_state: ArchivalState::Disabled as i32,
            ..Default::default()
        }
    }

    fn replication() -> NamespaceReplicationConfig {
        NamespaceReplicationConfig {
            active_cluster_name: CLUSTER.into(),
            clusters: vec![ClusterReplicationConfig { cluster_name: CLUSTER.into(), ..Default::default() }],
            ..Default::default()
        }
    }

    fn namespace_description(&self) -> api::DescribeNamespaceResponse {
        api::DescribeNamespaceResponse {
            namespace_info: Some(self.namespace_info()),
            config: Some(self.namespace_config()),
            replication_config: Some(World::replication()),
            ..Default::default()
        }
    }

    pub fn describe_namespace(&self, request: api::DescribeNamespaceRequest) -> Answer {
        let name = if request.namespace.is_empty() { &request.id } else { &request.namespace };
        if name.is_empty() {
            return Err(invalid("Namespace not set on request."));
        }
        if *name != self.namespace {
            return Err(namespace_not_found(name));
        }
        Ok(Some(self.namespace_description().into()))
    }

    pub fn list_namespaces(&self) -> Answer {
        Ok(Some(api::ListNamespacesResponse { namespaces: vec![self.namespace_description()], ..Default::default() }.into()))
    }

    /// There is no second one to be had: what is asked for exists, or is refused with what to do.
    pub fn register_namespace(&self, request: api::RegisterNamespaceRequest) -> Answer {
        if request.namespace.is_empty() {
            return Err(invalid("Namespace not set on request."));
        }
        if request.namespace == self.namespace {
            let name = "temporal.api.errordetails.v1.NamespaceAlreadyExistsFailure";
            return Err(Status::with_detail(
                Code::AlreadyExists,
                "Namespace already exists.",
                name,
                &NamespaceAlreadyExistsFailure::default(),
            ));
        }
        let told = format!(
            "this engine has one namespace, {:?}; hint: open another file with namespace {:?}, on a port of its own",
            self.namespace, request.namespace
        );
        Err(Status::new(Code::FailedPrecondition, told))
    }

    /// Each task queue is one partition, the queue itself.
    pub fn list_task_queue_partitions(&self, request: api::ListTaskQueuePartitionsRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let name = request.task_queue.map(|queue| queue.name).unwrap_or_default();
        check_queue(&name)?;
        let partition = vec![TaskQueuePartitionMetadata { key: name, owner_host_name: CLUSTER.into() }];
        Ok(Some(
            api::ListTaskQueuePartitionsResponse {
                activity_task_queue_partitions: partition.clone(),
                workflow_task_queue_partitions: partition,
            }
            .into(),
        ))
    }
}
