//! The connection to a cluster: the service's calls over gRPC.

use std::{error::Error, sync::Arc, time::Duration};

use temporalio_protos::temporal::api::workflowservice::v1 as api;
use tonic::{
    client::Grpc,
    codec::CompressionEncoding,
    codegen::http::uri::PathAndQuery,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::{
    CallOptions, Code, Request, Response, Rpc, Service, ServiceFuture, Status,
    grpc_retry::{attempt_timeout, pause_after},
};

/// How long `connect` waits before it says that nobody answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings that notice a dead connection behind a load balancer, and keep one alive that would be closed as idle.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Histories with many payloads are far over gRPC's 4 MiB; the service bounds what it sends.
const MAX_RECEIVED_BYTES: usize = 128 * 1024 * 1024;
const SERVICE: &str = "/temporal.api.workflowservice.v1.WorkflowService/";

/// Where to connect and as whom.
#[derive(Clone, Debug, Default)]
pub struct GrpcOptions {
    /// `host:port` of the frontend.
    pub target: String,
    pub namespace: String,
    pub identity: String,
    /// The header `client-name`: the service enables behaviours by it.
    pub client_name: String,
    /// The header `client-version`, a semantic version.
    pub client_version: String,
    /// Headers for every call.
    pub metadata: Vec<(String, String)>,
}

/// A plain-text connection. Calls share it; it reconnects by itself.
pub struct GrpcConnection {
    options: GrpcOptions,
    wire: Wire,
}

impl GrpcConnection {
    /// Connects and asks the service for its version, so that a wrong address is noticed here and not in the first call.
    pub async fn connect(options: GrpcOptions) -> Result<Arc<GrpcConnection>, Status> {
        let target = options.target.clone();
        let endpoint = Endpoint::from_shared(format!("http://{target}"))
            .map_err(|error| {
                invalid(format!("{target:?} is not an address: {error}\nhint: write host:port, \"localhost:7233\" for instance"))
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let headers = headers(&options)?;
        let connecting = async {
            let channel = endpoint.connect().await.map_err(|error| unreachable(&target, &causes(&error)))?;
            let wire = Wire { channel, headers };
            let hello = Request::GetSystemInfo(Box::default());
            match wire.attempt(&hello, CONNECT_TIMEOUT, &[]).await {
                Err(status) if matches!(status.code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown) => {
                    Err(unreachable(&target, &status.message))
                }
                // Anything else was said by a service: its refusals belong to the calls that need what it refuses.
                _ => Ok(wire),
            }
        };
        let wire = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(unreachable(&target, &format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))))?;
        Ok(Arc::new(GrpcConnection { options, wire }))
    }

    pub fn options(&self) -> &GrpcOptions {
        &self.options
    }
}

impl Service for GrpcConnection {
    fn call(&self, request: Request) -> ServiceFuture {
        self.call_with(request, CallOptions::default())
    }

    fn call_with(&self, request: Request, options: CallOptions) -> ServiceFuture {
        let wire = self.wire.clone();
        Box::pin(async move {
            let CallOptions { timeout, metadata } = options;
            let Some(timeout) = timeout else { return wire.call(&request, &metadata).await };
            tokio::time::timeout(timeout, wire.call(&request, &metadata))
                .await
                .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, format!("{}: no answer within {timeout:?}", request.name()))))
        })
    }
}

/// The part of a connection that a call's future owns.
#[derive(Clone)]
struct Wire {
    channel: Channel,
    headers: MetadataMap,
}

impl Wire {
    async fn call(&self, request: &Request, metadata: &[(String, String)]) -> Result<Response, Status> {
        let mut attempt = 1;
        loop {
            let status = match self.attempt(request, attempt_timeout(request), metadata).await {
                Ok(response) => return Ok(response),
                Err(status) => status,
            };
            match pause_after(request, &status, attempt) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(status),
            }
            attempt += 1;
        }
    }

    async fn attempt(&self, request: &Request, timeout: Duration, metadata: &[(String, String)]) -> Result<Response, Status> {
        let mut headers = self.headers.clone();
        if let Some(namespace) = namespace_of(request).filter(|namespace| !namespace.is_empty()) {
            insert(&mut headers, "temporal-namespace", namespace)?;
        }
        for (name, value) in metadata {
            insert(&mut headers, name, value)?;
        }
        tokio::time::timeout(timeout, self.send(request, headers, timeout))
            .await
            .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, format!("{}: no answer within {timeout:?}", request.name()))))
    }

    /// Finds the request's message in the table and sends it.
    async fn send(&self, request: &Request, headers: MetadataMap, timeout: Duration) -> Result<Response, Status> {
        macro_rules! send_if {
            ($rpc:ident, $request:ident, $response:ident) => {
                if let Request::$rpc(message) = request {
                    return self.unary::<api::$request>((**message).clone(), headers, timeout).await;
                }
            };
        }
        for_each_rpc!(send_if);
        Err(Status::new(Code::Unimplemented, format!("{} has no gRPC form", request.name())))
    }

    async fn unary<R>(&self, message: R, headers: MetadataMap, timeout: Duration) -> Result<Response, Status>
    where
        R: Rpc + 'static,
        R::Response: 'static,
        Response: From<R::Response>,
    {
        let path = PathAndQuery::from_maybe_shared(format!("{SERVICE}{}", R::NAME))
            .map_err(|error| Status::new(Code::Internal, format!("{}: {error}", R::NAME)))?;
        let mut grpc = Grpc::new(self.channel.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_RECEIVED_BYTES)
            .max_encoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::new(Code::Unavailable, causes(&error)))?;
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = headers;
        request.set_timeout(timeout);
        let answer = grpc.unary(request, path, ProstCodec::<R, R::Response>::default()).await;
        answer.map(|response| Response::from(response.into_inner())).map_err(|status| from_tonic(&status))
    }
}

fn namespace_of(request: &Request) -> Option<&str> {
    macro_rules! namespace_if {
        (GetSystemInfo, $request:ident, $response:ident) => {};
        (GetClusterInfo, $request:ident, $response:ident) => {};
        ($rpc:ident, $request:ident, $response:ident) => {
            if let Request::$rpc(message) = request {
                return Some(&message.namespace);
            }
        };
    }
    for_each_rpc!(namespace_if);
    None
}

fn headers(options: &GrpcOptions) -> Result<MetadataMap, Status> {
    let mut headers = MetadataMap::new();
    for (name, value) in [("client-name", &options.client_name), ("client-version", &options.client_version)] {
        if !value.is_empty() {
            insert(&mut headers, name, value)?;
        }
    }
    for (name, value) in &options.metadata {
        insert(&mut headers, name, value)?;
    }
    Ok(headers)
}

fn insert(headers: &mut MetadataMap, name: &str, value: &str) -> Result<(), Status> {
    let key: AsciiMetadataKey = name.to_ascii_lowercase().parse().map_err(|_| invalid(format!("{name:?} is not a header's name")))?;
    let value: AsciiMetadataValue =
        value.parse().map_err(|_| invalid(format!("the header {name} has a value that is not printable ASCII")))?;
    headers.insert(key, value);
    Ok(())
}

fn from_tonic(status: &tonic::Status) -> Status {
    let mut message = status.message().to_owned();
    // tonic's own errors say little themselves; what happened is in their sources.
    if let Some(source) = status.source() {
        message = format!("{message}: {}", causes(source));
    }
    Status { code: Code::from_i32(status.code() as i32), message, details: status.details().to_vec() }
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn invalid(message: String) -> Status {
    Status::new(Code::InvalidArgument, message)
}

fn unreachable(target: &str, reason: &str) -> Status {
    Status::new(
        Code::Unavailable,
        format!(
            "cannot connect to a Temporal service at {target}: {reason}\nhint: check that the service runs, that this is the host:port \
             of its gRPC frontend (usually port 7233), and that it takes plain text"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_cannot_be_sent_are_refused_by_name() {
        let options = GrpcOptions { metadata: vec![("x key".into(), "1".into())], ..GrpcOptions::default() };
        assert!(headers(&options).unwrap_err().message.contains("x key"));
        let options = GrpcOptions { metadata: vec![("x-key".into(), "a\nb".into())], ..GrpcOptions::default() };
        assert_eq!(headers(&options).unwrap_err().code, Code::InvalidArgument);
    }

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
        let Err(status) = GrpcConnection::connect(options).await else { panic!("connected to nobody") };
        assert_eq!(status.code, Code::Unavailable);
        assert!(status.message.contains(&port.to_string()) && status.message.contains("hint:"), "{}", status.message);
    }
}
