//! The service as its callers see it: one trait, its requests and answers, and the connection to a cluster.

#[macro_use] // grpc/ needs the table of calls, whose macro is only in textual scope here
mod service;
#[cfg(feature = "grpc")]
mod grpc;
mod status;

#[cfg(feature = "grpc")]
pub use grpc::{
    BytesCodec, CallHeaders, Change, GrpcConnection, GrpcOptions, HttpConnectProxy, KeepAlive, Observer, RetryOptions, Secret, Tls,
};
pub use service::{CallOptions, RawCall, RawFuture, Request, Response, Rpc, Service, ServiceFuture, call};
pub use status::{Code, Status};
