//! The connection to a cluster: the service's calls over gRPC.

mod channel;
mod codec;
mod gather;
mod headers;
mod link;
mod options;
mod reason;
mod retry;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use temporalio_protos::temporal::api::workflowservice::v1 as api;
use tonic::{
    client::Grpc, codec::Codec, codec::CompressionEncoding, codegen::http::uri::PathAndQuery, metadata::MetadataMap, transport::Channel,
};
use tonic_prost::ProstCodec;

use self::{
    headers::Headers,
    link::Link,
    retry::{Failed, Nature, Origin, Patience},
};
use crate::{CallOptions, Code, RawCall, RawFuture, Request, Response, Rpc, Service, ServiceFuture, Status};

pub use self::{
    codec::BytesCodec,
    link::{Change, Observer},
    options::{CallHeaders, GrpcOptions, HttpConnectProxy, KeepAlive, RetryOptions, Secret, Tls},
};

/// Histories with many payloads are far over gRPC's 4 MiB; the service bounds what it sends.
const MAX_RECEIVED_BYTES: usize = 128 * 1024 * 1024;
const SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";

/// A connection. Calls share it; it reconnects by itself.
pub struct GrpcConnection {
    wire: Wire,
}

impl GrpcConnection {
    /// Connects, asks the service for its version and for the namespace, so that a wrong address, wrong credentials and a wrong name are
    /// noticed here and not in the first call. A lazy connection asks nothing. `observer` hears when the connection is lost and back.
    pub async fn connect(options: GrpcOptions, observer: Observer) -> Result<Arc<GrpcConnection>, Status> {
        let limit = options.connect_timeout;
        let is_lazy = options.is_lazy;
        let options = Arc::new(options);
        let connecting = async {
            let headers = Headers::new(&options)?;
            let channel = channel::open(&options).await?;
            // Until it stands, the caller hears of failures from `connect` itself.
            let link = Link::new(if is_lazy { observer.clone() } else { Arc::new(|_| {}) });
            let mut wire = Wire { channel, headers, link, options: options.clone() };
            if !is_lazy {
                wire.ask(limit).await?;
                wire.link = Link::new(observer);
            }
            Ok(Arc::new(GrpcConnection { wire }))
        };
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err(reason::no_answer(&options)))
    }

    pub fn options(&self) -> &GrpcOptions {
        &self.wire.options
    }

    /// Exchanges the headers of all calls that begin from now on.
    pub fn set_headers(&self, headers: &CallHeaders) -> Result<(), Status> {
        self.wire.headers.set(&self.wire.options, headers)
    }
}

impl Service for GrpcConnection {
    fn call(&self, request: Request) -> ServiceFuture {
        self.call_with(request, CallOptions::default())
    }

    fn call_with(&self, request: Request, options: CallOptions) -> ServiceFuture {
        let wire = self.wire.clone();
        Box::pin(async move {
            let nature = Nature::of(&request);
            let CallOptions { timeout, metadata, .. } = options;
            let namespace = namespace_of(&request).unwrap_or_default();
            within(timeout, request.name(), wire.retry(nature, request.name(), || wire.attempt(&request, nature, namespace, &metadata)))
                .await
        })
    }

    fn call_raw(&self, call: RawCall, options: CallOptions) -> RawFuture {
        let wire = self.wire.clone();
        Box::pin(async move {
            let path = path(&call.service, &call.method)?;
            let nature = Nature::of_name(&call.method);
            let CallOptions { timeout, metadata, .. } = options;
            let attempt = || async {
                let limit = nature.attempt_timeout();
                let headers = wire.headers.of_call(&call.namespace, &metadata).map_err(Failed::refused)?;
                let sent = wire.unary(call.request.clone(), path.clone(), BytesCodec, headers, limit);
                bounded(limit, &call.method, sent).await
            };
            within(timeout, &call.method, wire.retry(nature, &call.method, attempt)).await
        })
    }

    fn is_known_to_be_lost(&self) -> bool {
        self.wire.link.is_lost()
    }
}

/// The part of a connection that a call's future owns.
#[derive(Clone)]
struct Wire {
    channel: Channel,
    headers: Headers,
    link: Link,
    options: Arc<GrpcOptions>,
}

impl Wire {
    /// The questions of a connect.
    async fn ask(&self, limit: Duration) -> Result<(), Status> {
        let hello = Request::GetSystemInfo(Box::default());
        self.refused(self.attempt_within(&hello, limit, "", &[]).await)?;
        if self.options.namespace.is_empty() {
            return Ok(());
        }
        let namespace = self.options.namespace.clone();
        let describe = Request::DescribeNamespace(Box::new(api::DescribeNamespaceRequest { namespace, ..Default::default() }));
        self.refused(self.attempt_within(&describe, limit, &self.options.namespace, &[]).await)
    }

    /// The answer to a question of a connect, where it means that no call will go through.
    fn refused(&self, answer: Result<Response, Failed>) -> Result<(), Status> {
        match answer {
            Err(failed) if failed.status.code == Code::DeadlineExceeded => Err(reason::no_answer(&self.options)),
            Err(failed) if failed.origin != Origin::Service || failed.status.code == Code::InvalidArgument => Err(failed.status),
            Err(failed) if failed.status.code == Code::Unavailable => {
                Err(reason::unreachable(&self.options, &failed.status.message, "the service is there but not ready: try again"))
            }
            // Other refusals belong to the calls that need what is refused: an older service does not know every question.
            Err(failed) => reason::of_refused_connect(&failed.status, &self.options).map_or(Ok(()), Err),
            Ok(_) => Ok(()),
        }
    }

    /// Attempts until one is answered or the rules say that it is enough; the link hears how each ended.
    async fn retry<T, F>(&self, nature: Nature, name: &str, mut attempt: impl FnMut() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let begun = Instant::now();
        let mut number = 1;
        loop {
            let failed = match attempt().await {
                Ok(answer) => {
                    self.link.answered();
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            if failed.origin == Origin::Service {
                self.link.answered();
            } else if failed.origin != Origin::GivenBack && failed.status.code == Code::Unavailable {
                self.link.failed(reason::in_one_line(&failed.status.message));
            }
            if failed.origin == Origin::GivenBack && nature.patience == Patience::Polling {
                // The connection was closed for its age: the poll found nothing, and the next one has a new connection.
                return Err(Status { code: Code::Cancelled, ..failed.status });
            }
            let Some(pause) = nature.pause_after(&failed, number, begun.elapsed(), &self.options.retry) else {
                return Err(explained(failed.status, name));
            };
            tokio::time::sleep(pause).await;
            number += 1;
        }
    }

    async fn attempt(&self, request: &Request, nature: Nature, namespace: &str, metadata: &[(String, String)]) -> Result<Response, Failed> {
        self.attempt_within(request, nature.attempt_timeout(), namespace, metadata).await
    }

    async fn attempt_within(
        &self,
        request: &Request,
        limit: Duration,
        namespace: &str,
        metadata: &[(String, String)],
    ) -> Result<Response, Failed> {
        let headers = self.headers.of_call(namespace, metadata).map_err(Failed::refused)?;
        bounded(limit, request.name(), self.send(request, headers, limit)).await
    }

    /// Finds the request's message in the table and sends it.
    async fn send(&self, request: &Request, headers: MetadataMap, limit: Duration) -> Result<Response, Failed> {
        macro_rules! send_if {
            ($rpc:ident, $request:ident, $response:ident) => {
                if let Request::$rpc(message) = request {
                    return self.known::<api::$request>((**message).clone(), headers, limit).await;
                }
            };
        }
        for_each_rpc!(send_if);
        Err(Failed::refused(Status::new(Code::Unimplemented, format!("{} has no gRPC form", request.name()))))
    }

    async fn known<R>(&self, message: R, headers: MetadataMap, limit: Duration) -> Result<Response, Failed>
    where
        R: Rpc + 'static,
        R::Response: 'static,
        Response: From<R::Response>,
    {
        let path = path(SERVICE, R::NAME).map_err(Failed::refused)?;
        let answer = self.unary(message, path, ProstCodec::<R, R::Response>::default(), headers, limit).await;
        answer.map(Response::from)
    }

    async fn unary<C: Codec>(
        &self,
        message: C::Encode,
        path: PathAndQuery,
        codec: C,
        headers: MetadataMap,
        limit: Duration,
    ) -> Result<C::Decode, Failed>
    where
        C::Encode: Sync,
        C::Decode: Sync,
    {
        let mut grpc = Grpc::new(self.channel.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_RECEIVED_BYTES)
            .max_encoding_message_size(usize::MAX);
        if self.options.compresses_requests {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.map_err(|error| reason::of_connection(&error, &self.options))?;
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = headers;
        request.set_timeout(limit);
        let answer = grpc.unary(request, path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| reason::of_call(&status, &self.options))
    }
}

impl Failed {
    /// Refused before anything was sent, for good.
    fn refused(status: Status) -> Failed {
        Failed { status, origin: Origin::Service }
    }
}

/// One attempt. A service that does not answer in time is silent or gone: who may ask again does.
async fn bounded<T>(limit: Duration, name: &str, attempt: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| {
        let status = Status::new(Code::DeadlineExceeded, format!("{name}: no answer within {limit:?}"));
        Err(Failed { status, origin: Origin::Unanswered })
    })
}

/// The whole call, within the caller's bound.
async fn within<T>(timeout: Option<Duration>, name: &str, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let Some(timeout) = timeout else { return call.await };
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, format!("{name}: no answer within {timeout:?}"))))
}

/// An older service answers with the name of the call only.
fn explained(status: Status, name: &str) -> Status {
    if status.code != Code::Unimplemented {
        return status;
    }
    let message =
        format!("the service does not have {name}: {}\nhint: it is an older one, or this feature is switched off there", status.message);
    Status { message, ..status }
}

fn path(service: &str, method: &str) -> Result<PathAndQuery, Status> {
    PathAndQuery::from_maybe_shared(format!("/{service}/{method}"))
        .map_err(|error| reason::invalid(format!("{service}/{method} is not the name of a call: {error}")))
}

fn namespace_of(request: &Request) -> Option<&str> {
    macro_rules! namespace_if {
        (GetSystemInfo, $request:ident, $response:ident) => {};
        (GetClusterInfo, $request:ident, $response:ident) => {};
        (ListNamespaces, $request:ident, $response:ident) => {};
        ($rpc:ident, $request:ident, $response:ident) => {
            if let Request::$rpc(message) = request {
                return Some(&message.namespace);
            }
        };
    }
    for_each_rpc!(namespace_if);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_the_requests_own() {
        let poll = api::PollWorkflowTaskQueueRequest { namespace: "orders".into(), ..Default::default() };
        assert_eq!(namespace_of(&Request::PollWorkflowTaskQueue(Box::new(poll))), Some("orders"));
        assert_eq!(namespace_of(&Request::GetSystemInfo(Box::default())), None);
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_named_with_a_hint() {
        // Bound and dropped: the port was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = GrpcOptions { target: format!("127.0.0.1:{port}"), ..GrpcOptions::default() };
        let Err(status) = GrpcConnection::connect(options, Arc::new(|_| {})).await else { panic!("connected to nobody") };
        assert_eq!(status.code, Code::Unavailable);
        assert!(status.message.contains(&port.to_string()) && status.message.contains("hint:"), "{}", status.message);
    }
}
