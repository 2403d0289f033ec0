//! Items on their way to Python, and the socket that says that some wait.
//!
//! The queue has no bound of its own: what can be in it is bounded by the slots of the workers and by the calls that
//! Python has open, and a bound here would make a poller's thread wait for Python.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prost::Message;

use crate::messages::{Event, Item, Items, item::Kind};

pub const DEBUG: u32 = 10;
pub const INFO: u32 = 20;
pub const WARNING: u32 = 30;
pub const ERROR: u32 = 40;

pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Python's end: readable exactly while items wait.
    readable: UnixStream,
    writable: UnixStream,
}

#[derive(Default)]
struct Waiting {
    /// Each one encoded as the `Items` message with this single item: a batch is their concatenation.
    items: VecDeque<Vec<u8>>,
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
        let bytes = Items { items: vec![Item { kind: Some(kind) }] }.encode_to_vec();
        let mut waiting = self.lock();
        if waiting.is_closed {
            return;
        }
        let was_empty = waiting.items.is_empty();
        waiting.items.push_back(bytes);
        if was_empty {
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
        if waiting.items.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_readable_exactly_while_items_wait() {
        let queue = Queue::open().expect("a socket pair");
        let readable = |queue: &Queue| {
            let mut byte = [0; 1];
            let copy = queue.readable.try_clone().expect("a copy");
            let was = (&copy).read(&mut byte).is_ok();
            if was {
                (&queue.writable).write_all(&byte).expect("put back");
            }
            was
        };
        assert!(!readable(&queue));
        for number in 0..3 {
            queue.push_event(0, ERROR, format!("{number}"), false);
        }
        assert!(readable(&queue));
        assert_eq!(Items::decode(queue.drain(2).as_slice()).expect("items").items.len(), 2);
        assert!(readable(&queue));
        assert_eq!(Items::decode(queue.drain(2).as_slice()).expect("items").items.len(), 1);
        assert!(!readable(&queue));
        assert!(queue.drain(2).is_empty());
    }
}
