//! From the path of an HTTP/2 request to an answer.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use durable_client::{BytesCodec, Code, Service, Status};
use futures_util::stream::BoxStream;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use tokio::sync::watch;
use tonic::{
    body::Body,
    codec::CompressionEncoding,
    server::{Grpc, ServerStreamingService, UnaryService},
};

use crate::{
    call,
    health::{self, HEALTH_SERVICE},
    server::{Level, Log},
    status::to_wire,
};

pub const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";
pub const OPERATOR_SERVICE: &str = "temporal.api.operatorservice.v1.OperatorService";
/// gRPC's default, which clients expect of the service.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// Calls under way, polls included: what a caller can make the server remember.
const MAX_CALLS: usize = 20_000;

type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, tonic::Status>> + Send>>;
type Reply = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What all connections share.
#[derive(Clone)]
pub struct Router {
    pub service: Arc<dyn Service>,
    pub stopping: watch::Receiver<bool>,
    pub log: Log,
    pub logs_calls: bool,
    pub calls: Arc<AtomicUsize>,
}

impl tower_service::Service<Request<Body>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Reply {
        let router = self.clone();
        Box::pin(async move { Ok(router.reply(request).await) })
    }
}

impl Router {
    async fn reply(self, request: Request<Body>) -> Response<Body> {
        let is_grpc = |value: &HeaderValue| {
            let rest = value.as_bytes().strip_prefix(b"application/grpc");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";"))
        };
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let path = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        let Some((service, method)) = path.map(|(service, method)| (service.to_owned(), method.to_owned())) else {
            let message = format!("malformed method name: {:?}", request.uri().path());
            return tonic::Status::unimplemented(message).into_http();
        };
        let mut grpc = Grpc::new(BytesCodec)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(usize::MAX);
        // Only for who compresses too: nearly every client could read it, and between processes of one machine it only costs time.
        if request.headers().get("grpc-encoding").is_some_and(|encoding| encoding == "gzip") {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        let response = match (service.as_str(), method.as_str()) {
            (HEALTH_SERVICE, "Watch") => grpc.server_streaming(Watch(self.stopping), request).await,
            (HEALTH_SERVICE | WORKFLOW_SERVICE | OPERATOR_SERVICE, _) => {
                let timeout = call::timeout(request.headers());
                grpc.unary(Unary { router: self, service, method, timeout }, request).await
            }
            _ => tonic::Status::unimplemented(format!("unknown service {service}")).into_http(),
        };
        as_the_service_says_it(response)
    }
}

/// tonic has a code and words of its own for a message that is too large; clients know the service's.
fn as_the_service_says_it(response: Response<Body>) -> Response<Body> {
    let Some(status) = tonic::Status::from_header_map(response.headers()) else { return response };
    let is_too_large = status.message().contains("message length too large") || status.message().contains("exceeded while decompressing");
    if !is_too_large {
        return response;
    }
    let found = status.message().split_ascii_whitespace().find_map(|word| word.parse::<u64>().ok());
    let message = match (status.code(), found) {
        (tonic::Code::OutOfRange, Some(size)) => format!("grpc: received message larger than max ({size} vs. {MAX_REQUEST_BYTES})"),
        _ => format!("grpc: received message after decompression larger than max {MAX_REQUEST_BYTES}"),
    };
    tonic::Status::resource_exhausted(message).into_http()
}

struct Watch(watch::Receiver<bool>);

impl ServerStreamingService<Vec<u8>> for Watch {
    type Response = Vec<u8>;
    type ResponseStream = BoxStream<'static, Result<Vec<u8>, tonic::Status>>;
    type Future = Answer<Self::ResponseStream>;

    fn call(&mut self, request: tonic::Request<Vec<u8>>) -> Self::Future {
        let stream = health::watch(request.into_inner(), self.0.clone());
        Box::pin(async move { Ok(tonic::Response::new(stream)) })
    }
}

struct Unary {
    router: Router,
    service: String,
    method: String,
    timeout: Option<Duration>,
}

impl UnaryService<Vec<u8>> for Unary {
    type Response = Vec<u8>;
    type Future = Answer<Vec<u8>>;

    fn call(&mut self, request: tonic::Request<Vec<u8>>) -> Self::Future {
        let (router, timeout) = (self.router.clone(), self.timeout);
        let path = (std::mem::take(&mut self.service), std::mem::take(&mut self.method));
        if path.0 == HEALTH_SERVICE {
            let answer = match path.1.as_str() {
                "Check" => health::check_now(&request.into_inner(), &router.stopping),
                other => Err(to_wire(call::unknown(HEALTH_SERVICE, other))),
            };
            return Box::pin(async move { answer.map(tonic::Response::new) });
        }
        Box::pin(async move {
            let begun = Instant::now();
            let method = path.1.clone();
            let answer = match Place::take(&router.calls) {
                Some(_place) => call::answer(router.service.clone(), path, request.into_inner(), timeout, router.stopping.clone()).await,
                None => Err(Status::new(Code::ResourceExhausted, format!("{MAX_CALLS} calls are under way"))),
            };
            router.log_call(&method, &answer, begun);
            answer.map(tonic::Response::new).map_err(to_wire)
        })
    }
}

impl Router {
    fn log_call(&self, method: &str, answer: &Result<Vec<u8>, Status>, begun: Instant) {
        let told = |level, code: Code, message: &str| {
            (self.log)(level, format!("call method={method} code={code:?} ms={} {message}", begun.elapsed().as_millis()));
        };
        match answer {
            // Ours to look at, not the caller's.
            Err(status) if matches!(status.code, Code::Internal | Code::DataLoss | Code::Unknown) && !call::is_undecodable(status) => {
                told(Level::Error, status.code, &status.message);
            }
            Err(status) if self.logs_calls => told(Level::Debug, status.code, &status.message),
            Ok(_) if self.logs_calls => told(Level::Debug, Code::Ok, ""),
            _ => {}
        }
    }
}

/// One of the calls that may be under way.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(calls: &Arc<AtomicUsize>) -> Option<Place> {
        let place = Place(calls.clone());
        (calls.fetch_add(1, Ordering::Relaxed) < MAX_CALLS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
