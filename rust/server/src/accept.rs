//! Connections: how many at once, and only those that begin as HTTP/2 does.
//!
//! A connection that sends nothing, or something else, would hold a descriptor for ever: the HTTP/2 layer has no patience to lose before
//! its preface has arrived. So the preface is looked at here, without taking it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{Stream, unfold};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep, timeout_at},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::server::{Level, Log};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A client on this machine sends its preface with its first packet.
const PREFACE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a preface that comes in pieces: peeking does not wait for more than there is.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// Without descriptors or memory the system refuses to accept; trying at once would only burn a processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that said hello and wait for the server to take them: it takes them at once.
const READY_CONNECTIONS: usize = 64;
/// Processes on one machine; each uses one connection, or a few. A connection costs some 20 KiB.
pub const MAX_CONNECTIONS: usize = 4_096;

/// A connection that began as HTTP/2 does. It counts until it is dropped.
pub struct Connection {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

/// The connections of `listener`, for as long as the stream lives.
pub fn connections(listener: TcpListener, log: Log) -> impl Stream<Item = io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(READY_CONNECTIONS);
    let accepting = tokio::spawn(accept(listener, sender, log));
    unfold((receiver, AbortOnDrop(accepting)), |(mut receiver, accepting)| async move {
        receiver.recv().await.map(|connection| (Ok(connection), (receiver, accepting)))
    })
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(listener: TcpListener, sender: mpsc::Sender<Connection>, log: Log) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut is_full = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log(Level::Warning, format!("a connection cannot be accepted: {error}"));
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = places.clone().try_acquire_owned() else {
            if !std::mem::replace(&mut is_full, true) {
                log(Level::Warning, format!("{MAX_CONNECTIONS} connections are open: further ones are closed at once"));
            }
            continue;
        };
        is_full = false;
        let sender = sender.clone();
        tokio::spawn(async move {
            if begins_well(&stream).await && stream.set_nodelay(true).is_ok() {
                let _ = sender.send(Connection { stream, _permit: permit }).await;
            }
        });
    }
}

async fn begins_well(stream: &TcpStream) -> bool {
    let deadline = Instant::now() + PREFACE_PATIENCE;
    let mut seen = [0; PREFACE.len()];
    loop {
        match timeout_at(deadline, stream.peek(&mut seen)).await {
            Ok(Ok(count)) if count > 0 && seen[..count] == PREFACE[..count] => {
                if count == PREFACE.len() {
                    return true;
                }
            }
            _ => return false,
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(PREFACE_PAUSE).await;
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
