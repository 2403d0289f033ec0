//! The table of handles. One per process id: a forked child has copies of the memory but none of the threads.

use std::{
    collections::HashMap,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, AtomicU64, Ordering},
    },
};

use crate::error::{BridgeError, Result};

/// Never 0, and never the same twice in a process and its forked children.
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// Handles of things of one kind.
pub struct Registry<T> {
    what: &'static str,
    table: AtomicPtr<Table<T>>,
}

struct Table<T> {
    owner: u32,
    /// Smaller ones, but for 0, are a parent process's.
    first_handle: u64,
    things: Mutex<HashMap<u64, Arc<T>>>,
}

impl<T: 'static> Registry<T> {
    pub const fn new(what: &'static str) -> Registry<T> {
        Registry { what, table: AtomicPtr::new(std::ptr::null_mut()) }
    }

    pub fn insert(&self, thing: T) -> u64 {
        let handle = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
        self.own_table(handle).lock().insert(handle, Arc::new(thing));
        handle
    }

    pub fn get(&self, handle: u64) -> Result<Arc<T>> {
        let table = self.table().ok_or_else(|| self.bad(handle))?;
        if table.owner != process::id() || (1..table.first_handle).contains(&handle) {
            return Err(BridgeError::Forked(format!(
                "{} {handle} belongs to the process that opened it; hint: open a new client in the forked process",
                self.what
            )));
        }
        table.lock().get(&handle).cloned().ok_or_else(|| self.bad(handle))
    }

    /// Takes a thing out. None if it is not there, or another process's: its threads do not exist here and its files are
    /// not ours to close.
    pub fn remove(&self, handle: u64) -> Option<Arc<T>> {
        self.table().filter(|table| table.owner == process::id())?.lock().remove(&handle)
    }

    pub fn remove_all(&self) -> Vec<Arc<T>> {
        let Some(table) = self.table().filter(|table| table.owner == process::id()) else { return Vec::new() };
        table.lock().drain().map(|(_, thing)| thing).collect()
    }

    fn bad(&self, handle: u64) -> BridgeError {
        BridgeError::BadHandle(format!("{} {handle} was never opened, or is closed", self.what))
    }

    fn table(&self) -> Option<&'static Table<T>> {
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::leak` in `own_table`; a table is never freed.
        unsafe { table.as_ref() }
    }

    /// The table of this process, made at its first use. A parent's is left alone, not locked: another thread may have
    /// held its lock when the process was forked.
    fn own_table(&self, first_handle: u64) -> &'static Table<T> {
        loop {
            let seen = self.table.load(Ordering::Acquire);
            if let Some(table) = self.table().filter(|table| table.owner == process::id()) {
                return table;
            }
            // Without a table before, nothing was forked: a small handle is only a wrong one.
            let first_handle = if seen.is_null() { 1 } else { first_handle };
            let fresh = Box::into_raw(Box::new(Table { owner: process::id(), first_handle, things: Mutex::default() }));
            if self.table.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: `fresh` came from `Box::into_raw` just now and was not published.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

impl<T> Table<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<T>>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
