//! Items on their way to Python, and the socket that says that some wait.
//!
//! The queue has no bound of its own: what can be in it is bounded by the slots of the workers and by the calls that
//! Python has open, and a bound here would make a poller's thread wait for Python.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prost::Message;

use crate::messages::{Event, Item, Items, item::Kind};

pub const DEBUG: u32 = 10;
pub const INFO: u32 = 20;
pub const WARNING: u32 = 30;
pub const ERROR: u32 = 40;

/// How long Python may not hear of what was pushed quietly.
const QUIET_TIME: Duration = Duration::from_millis(100);

pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Python's end: readable while items wait, those that were pushed quietly after a while.
    readable: UnixStream,
    writable: UnixStream,
}

#[derive(Default)]
struct Waiting {
    /// Each one encoded as the `Items` message with this single item: a batch is their concatenation.
    items: VecDeque<Vec<u8>>,
    /// The byte is in the socket.
    is_told: bool,
    /// Somebody will tell of what was pushed quietly.
    is_timed: bool,
    is_closed: bool,
}

impl Queue {
    pub fn open() -> io::Result<Queue> {
        let (readable, writable) = UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        writable.set_nonblocking(true)?;
        Ok(Queue { waiting: Mutex::default(), readable, writable })
    }

    pub fn wake_fd(&self) -> i32 {
        self.readable.as_raw_fd()
    }

    pub fn push(&self, kind: Kind) {
        // Encoded here, outside the lock and on the caller's thread, so that Python's thread only copies.
        let bytes = encoded(kind);
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.items.push_back(bytes);
            self.tell(&mut waiting);
        }
    }

    /// For what nobody waits for: Python takes it with the next item that somebody does wait for, or after [`QUIET_TIME`]. To wake
    /// Python for each of them would cost more than all the rest of them. Call inside a tokio runtime.
    pub fn push_quietly(self: &Arc<Self>, kind: Kind) {
        let bytes = encoded(kind);
        let mut waiting = self.lock();
        if waiting.is_closed {
            return;
        }
        waiting.items.push_back(bytes);
        if waiting.is_told || waiting.is_timed {
            return;
        }
        waiting.is_timed = true;
        let queue = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(QUIET_TIME).await;
            let Some(queue) = queue.upgrade() else { return };
            let mut waiting = queue.lock();
            waiting.is_timed = false;
            if !waiting.items.is_empty() && !waiting.is_closed {
                queue.tell(&mut waiting);
            }
        });
    }

    fn tell(&self, waiting: &mut Waiting) {
        if !waiting.is_told {
            waiting.is_told = true;
            // At most one byte is ever in the socket, so it cannot be full; a peer that is gone is a closed core.
            let _ = (&self.writable).write(&[1]);
        }
    }

    pub fn push_event(&self, worker: u64, level: u32, message: impl Into<String>, fatal: bool) {
        self.push(Kind::Event(Event { worker, level, message: message.into(), fatal }));
    }

    /// Up to `limit` items as one encoded `Items`.
    pub fn drain(&self, limit: usize) -> Vec<u8> {
        let mut waiting = self.lock();
        let count = limit.min(waiting.items.len());
        let taken: Vec<Vec<u8>> = waiting.items.drain(..count).collect();
        if waiting.items.is_empty() && std::mem::take(&mut waiting.is_told) {
            // Under the lock: a byte written after this read belongs to an item pushed after it.
            let _ = (&self.readable).read(&mut [0; 8]);
        }
        drop(waiting);
        taken.concat()
    }

    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.items.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under the lock leaves the queue half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encoded(kind: Kind) -> Vec<u8> {
    Items { items: vec![Item { kind: Some(kind) }] }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(queue: &Queue) -> bool {
        let mut byte = [0; 1];
        let copy = queue.readable.try_clone().expect("a copy");
        let was = (&copy).read(&mut byte).is_ok();
        if was {
            (&queue.writable).write_all(&byte).expect("put back");
        }
        was
    }

    fn count(items: &[u8]) -> usize {
        Items::decode(items).expect("items").items.len()
    }

    #[test]
    fn the_socket_is_readable_exactly_while_items_wait() {
        let queue = Queue::open().expect("a socket pair");
        assert!(!is_readable(&queue));
        for number in 0..3 {
            queue.push_event(0, ERROR, format!("{number}"), false);
        }
        assert!(is_readable(&queue));
        assert_eq!(count(&queue.drain(2)), 2);
        assert!(is_readable(&queue));
        assert_eq!(count(&queue.drain(2)), 1);
        assert!(!is_readable(&queue));
        assert!(queue.drain(2).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_pushed_quietly_waits_for_other_items_or_a_while() {
        let queue = Arc::new(Queue::open().expect("a socket pair"));
        let evict = |run_id: &str| Kind::Eviction(crate::messages::Eviction { worker: 1, run_id: run_id.to_owned() });
        queue.push_quietly(evict("first"));
        assert!(!is_readable(&queue));
        queue.push_event(0, ERROR, "another", false);
        assert!(is_readable(&queue));
        assert_eq!(count(&queue.drain(9)), 2);
        assert!(!is_readable(&queue));
        queue.push_quietly(evict("second"));
        queue.push_quietly(evict("third"));
        assert!(!is_readable(&queue));
        tokio::time::sleep(QUIET_TIME * 2).await;
        assert!(is_readable(&queue));
        assert_eq!(count(&queue.drain(9)), 2);
        assert!(!is_readable(&queue));
    }
}
