//! The server as its owner sees it: started on an address, stopped in order.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use durable_client::Service;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    accept::connections,
    address::{Address, BadAddress},
    router::Router,
};

/// A connection whose peer died without a word is noticed after one of these and the timeout.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker with many slots polls often on one connection.
const MAX_STREAMS: u32 = 10_000;
/// Several requests of the largest size may be on their way without waiting for each other.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Headers of one request: keys, trace contexts.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
const BACKLOG: u32 = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Where the server says what happens. Called from its tasks: it must not block.
pub type Log = Arc<dyn Fn(Level, String) + Send + Sync>;

#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub listen: String,
    /// Whether every call is told to the log, and not only those that fail for a reason of the server's.
    pub logs_calls: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Address(#[from] BadAddress),
    #[error("{address} cannot be listened on: {source}{}", hint(.source))]
    Listen { address: Address, source: std::io::Error },
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "\nhint: another process listens there; choose another port, or 0 for any free one",
        std::io::ErrorKind::PermissionDenied => "\nhint: ports below 1024 are the system's; choose a higher one",
        _ => "",
    }
}

/// A service on a port.
pub struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds and serves. Must be called inside a runtime; when it returns, callers can connect.
    pub fn start(service: Arc<dyn Service>, options: &ServerOptions, log: Log) -> Result<Server, StartError> {
        let wanted = Address::parse(&options.listen)?;
        let listener = listen(wanted.socket()).map_err(|source| StartError::Listen { address: wanted, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: wanted, source })?;
        let (stopping, stops) = watch::channel(false);
        let router = Router {
            service,
            stopping: stops.clone(),
            log: log.clone(),
            logs_calls: options.logs_calls,
            calls: Arc::new(AtomicUsize::new(0)),
        };
        let task = tokio::spawn(serve(listener, router, stops, log));
        Ok(Server { address, stopping, task })
    }

    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections, gives up calls that only wait, and lets the others end for up to `grace`. True: all did.
    pub async fn stop(mut self, grace: Duration) -> bool {
        self.stopping.send_replace(true);
        let ended = tokio::time::timeout(grace, &mut self.task).await.is_ok();
        self.task.abort();
        ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that was stopped a moment ago leaves connections behind which hold its port for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, router: Router, mut stops: watch::Receiver<bool>, log: Log) {
    let served = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .serve_with_incoming_shutdown(router, connections(listener, log.clone()), async move {
            let _ = stops.wait_for(|is_stopping| *is_stopping).await;
        })
        .await;
    if let Err(error) = served {
        log(Level::Error, format!("the server has stopped by itself: {error}"));
    }
}
