//! The service as its callers see it: one trait, its requests and answers, and the connection to a cluster.

#[macro_use] // grpc.rs needs the table of calls, whose macro is only in textual scope here
mod service;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "grpc")]
mod grpc_retry;
mod status;

#[cfg(feature = "grpc")]
pub use grpc::{GrpcConnection, GrpcOptions};
pub use service::{CallOptions, Request, Response, Rpc, Service, ServiceFuture, call};
pub use status::{Code, Status};
