//! Frames that are written one after another leave in one piece.
//!
//! A call is three frames (headers, message, end), which HTTP/2's connection writes as each one comes, in a system call and a packet of
//! its own. They come within microseconds of each other, from tasks that are ready to run: so a flush first lets those run.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than this is not gathered: it is written at once.
const MOST: usize = 64 * 1024;

/// A stream whose writes wait for the second look at a flush.
pub(super) struct Gathering<S> {
    inner: S,
    gathered: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// Others had their turn since something was gathered.
    has_yielded: bool,
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    pub fn new(inner: S) -> Gathering<S> {
        Gathering { inner, gathered: Vec::new(), written: 0, has_yielded: false }
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, &self.gathered[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.gathered.clear();
        self.gathered.shrink_to(MOST);
        self.written = 0;
        self.has_yielded = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= MOST {
            ready!(self.poll_write_out(context))?;
        }
        let count = bytes.len().min(MOST);
        self.gathered.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.is_empty() && self.written == 0 && !self.has_yielded {
            self.has_yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Remembers the pieces in which it was written, and takes few bytes at a time.
    #[derive(Clone, Default)]
    struct Pieces {
        taken: Arc<Mutex<Vec<Vec<u8>>>>,
        at_most: usize,
    }

    impl AsyncWrite for Pieces {
        fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = if self.at_most == 0 { bytes.len() } else { bytes.len().min(self.at_most) };
            self.taken.lock().unwrap().push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }
        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_while_others_have_their_turn_leaves_with_it() {
        let pieces = Pieces::default();
        let stream = Arc::new(tokio::sync::Mutex::new(Gathering::new(pieces.clone())));
        let mut first = Box::pin(async { stream.lock().await.flush().await });
        stream.lock().await.write_all(b"headers ").await.unwrap();
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        stream.lock().await.write_all(b"message").await.unwrap();
        assert!(pieces.taken.lock().unwrap().is_empty());
        stream.lock().await.flush().await.unwrap();
        assert_eq!(*pieces.taken.lock().unwrap(), [b"headers message".to_vec()]);
    }

    #[tokio::test]
    async fn nothing_is_lost_in_small_steps_and_large_writes() {
        let pieces = Pieces { at_most: 1000, ..Pieces::default() };
        let mut stream = Gathering::new(pieces.clone());
        let sent: Vec<u8> = (0..MOST * 3 + 77).map(|number| u8::try_from(number % 251).unwrap()).collect();
        for part in sent.chunks(40_000) {
            stream.write_all(part).await.unwrap();
        }
        stream.flush().await.unwrap();
        stream.write_all(b"end").await.unwrap();
        stream.shutdown().await.unwrap();
        let received = pieces.taken.lock().unwrap().concat();
        assert_eq!(received.len(), sent.len() + 3);
        assert!(received.starts_with(&sent) && received.ends_with(b"end"));
    }

    #[tokio::test]
    async fn reading_is_the_inner_streams() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut stream = Gathering::new(ours);
        theirs.write_all(b"answer").await.unwrap();
        let mut read = [0; 6];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"answer");
    }
}
