//! Why a run cannot go on.

use temporalio_protos::{
    coresdk::workflow_activation::remove_from_cache,
    temporal::api::{
        enums::v1::WorkflowTaskFailedCause,
        failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    },
};

/// Either fault fails the workflow task and evicts the run; neither fails the workflow, because new code or a new
/// version of this crate may get past it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The code does not do what the history says that it did.
    #[error("nondeterminism: {0}")]
    Nondeterminism(String),
    /// The history or the completion is malformed, or uses what this version does not know.
    #[error("{0}")]
    Fatal(String),
}

impl Fault {
    pub(crate) fn cause(&self) -> WorkflowTaskFailedCause {
        match self {
            Fault::Nondeterminism(_) => WorkflowTaskFailedCause::NonDeterministicError,
            Fault::Fatal(_) => WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
        }
    }

    pub(crate) fn eviction(&self) -> remove_from_cache::EvictionReason {
        match self {
            Fault::Nondeterminism(_) => remove_from_cache::EvictionReason::Nondeterminism,
            Fault::Fatal(_) => remove_from_cache::EvictionReason::Fatal,
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        let kind = match self {
            Fault::Nondeterminism(_) => "NondeterminismError",
            Fault::Fatal(_) => "WorkflowTaskError",
        };
        application_failure(kind, self.to_string())
    }
}

/// A failure that this crate made, as the service and the web UI show it.
pub(crate) fn application_failure(kind: &str, message: String) -> Failure {
    Failure {
        message,
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: kind.to_owned(),
            non_retryable: false,
            ..Default::default()
        })),
        ..Default::default()
    }
}
