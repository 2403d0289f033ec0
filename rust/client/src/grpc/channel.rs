//! The HTTP/2 channel: addresses, TLS, a proxy between.

use std::{
    io,
    task::{Context, Poll},
};

use base64::Engine as _;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
};
use tonic::{
    codegen::http::Uri,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tower_service::Service;

use super::{
    gather::Gathering,
    options::{GrpcOptions, HttpConnectProxy, Tls},
    reason::{self, NoAddress, ProxyRefused, invalid},
};
use crate::Status;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A proxy's answer is one line and a few headers.
const MAX_PROXY_ANSWER_BYTES: usize = 8 * 1024;

/// A channel that connects by itself, now or at the first call, and again whenever the connection is lost.
pub(super) async fn open(options: &GrpcOptions) -> Result<Channel, Status> {
    let endpoint = endpoint(options)?;
    let connector = Tcp { address: options.target.clone(), proxy: options.proxy.clone() };
    if options.is_lazy {
        return Ok(endpoint.connect_with_connector_lazy(connector));
    }
    endpoint.connect_with_connector(connector).await.map_err(|error| reason::of_connection(&error, options).status)
}

fn endpoint(options: &GrpcOptions) -> Result<Endpoint, Status> {
    let target = &options.target;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{target}"))
        .map_err(|error| invalid(format!("{target:?} is not an address: {error}\nhint: write host:port, \"localhost:7233\" for instance")))?
        .connect_timeout(options.connect_timeout);
    if let Some(keep_alive) = &options.keep_alive {
        endpoint =
            endpoint.http2_keep_alive_interval(keep_alive.interval).keep_alive_timeout(keep_alive.timeout).keep_alive_while_idle(true);
    }
    let Some(tls) = &options.tls else { return Ok(endpoint) };
    if !tls.domain.is_empty() {
        let origin = format!("https://{}", tls.domain)
            .parse()
            .map_err(|error| invalid(format!("TLSConfig(domain={:?}) is not a host's name: {error}", tls.domain)))?;
        endpoint = endpoint.origin(origin);
    }
    endpoint.tls_config(tls_config(tls)).map_err(|error| {
        let told = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        invalid(format!("the TLS configuration cannot be used: {told}\nhint: certificates and the private key are given as PEM"))
    })
}

fn tls_config(tls: &Tls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new();
    config = if tls.server_root_ca_cert.is_empty() {
        config.with_native_roots()
    } else {
        config.ca_certificate(Certificate::from_pem(&tls.server_root_ca_cert))
    };
    if !tls.domain.is_empty() {
        config = config.domain_name(&tls.domain);
    }
    if !tls.client_cert.is_empty() {
        config = config.identity(Identity::from_pem(&tls.client_cert, &tls.client_private_key));
    }
    config
}

/// Connects sockets. Of our own, because what the usual connector says cannot be told apart, and for the proxy.
#[derive(Clone)]
struct Tcp {
    /// `host:port`
    address: String,
    proxy: Option<HttpConnectProxy>,
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<Gathering<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let Tcp { address, proxy } = self.clone();
        Box::pin(async move {
            let stream = match proxy {
                None => connect(&address).await?,
                Some(proxy) => through(&proxy, &address).await?,
            };
            Ok(TokioIo::new(Gathering::new(stream)))
        })
    }
}

/// Tries the host's addresses in order.
async fn connect(address: &str) -> Result<TcpStream, BoxError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let addresses = lookup_host(address).await.map_err(|source| NoAddress { host: host.to_owned(), source })?;
    let mut last = None;
    for one in addresses {
        match TcpStream::connect(one).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| NoAddress { host: host.to_owned(), source: io::Error::from(io::ErrorKind::NotFound) }.into(), BoxError::from))
}

async fn through(proxy: &HttpConnectProxy, address: &str) -> Result<TcpStream, BoxError> {
    let at = &proxy.target;
    let mut stream = connect(at).await.map_err(|error| ProxyRefused(format!("the proxy {at} cannot be reached: {error}")))?;
    let mut request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n");
    if !proxy.basic_auth.is_empty() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(proxy.basic_auth.expose());
        request.push_str(&format!("Proxy-Authorization: Basic {encoded}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    // Byte by byte: what follows the empty line is the target's.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_PROXY_ANSWER_BYTES {
            return Err(ProxyRefused(format!("what listens at the proxy's address {at} is no HTTP proxy")).into());
        }
        let byte = stream.read_u8().await.map_err(|error| ProxyRefused(format!("the proxy {at} closed the connection: {error}")))?;
        answer.push(byte);
    }
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().unwrap_or_default();
    if line.split_ascii_whitespace().nth(1).is_some_and(|status| status.starts_with('2')) {
        Ok(stream)
    } else {
        Err(ProxyRefused(format!("the proxy {at} does not connect to {address}: {line}")).into())
    }
}
