//! What goes wrong at the boundary, and how a panic becomes an error there.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Once, Weak},
};

use crate::queue::{ERROR, Queue};

#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    #[error("{0}")]
    BadHandle(String),
    #[error("{0}")]
    BadMessage(String),
    #[error("{0}")]
    Start(String),
    #[error("{0}")]
    Forked(String),
    #[error("a bug in durable_anyio's Rust side, please report it: {0}")]
    Panic(String),
}

pub type Result<T> = std::result::Result<T, BridgeError>;

thread_local! {
    /// How deep this thread is inside `guard`: a panic there is reported by the error, not on stderr.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Set on the threads of a core's runtime: where their panics are reported.
    static REPORTS: RefCell<Weak<Queue>> = const { RefCell::new(Weak::new()) };
}

/// Runs the body of a function that Python calls. UniFFI would turn a panic into an untyped error by itself; this one has
/// a type, the place and the request to report it.
pub fn guard<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    install_hook();
    GUARDED.set(GUARDED.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    GUARDED.set(GUARDED.get() - 1);
    outcome.unwrap_or_else(|payload| {
        let told = LAST_PANIC.take().unwrap_or_else(|| text(&*payload).to_owned());
        Err(BridgeError::Panic(told))
    })
}

/// Makes the panics of this thread, one of a core's runtime, fatal events of the core. Tokio catches them, so nobody else
/// would hear of one in a task that nobody waits for.
pub fn report_panics_to(queue: Weak<Queue>) {
    install_hook();
    REPORTS.replace(queue);
}

fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // The hook belongs to this library's own standard library: no other code of the process is affected.
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
            let told = format!("{}{place}", text(info.payload()));
            if GUARDED.get() > 0 {
                LAST_PANIC.replace(Some(told));
                return;
            }
            match REPORTS.with_borrow(Weak::upgrade) {
                Some(queue) => queue.push_event(0, ERROR, BridgeError::Panic(told).to_string(), true),
                None => default(info),
            }
        }));
    });
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_place() {
        let error = guard::<()>(|| panic!("number {}", 7)).expect_err("a panic");
        let BridgeError::Panic(told) = error else { panic!("{error:?}") };
        assert!(told.starts_with("number 7 at ") && told.contains("error.rs"), "{told}");
        assert!(guard(|| Ok(1)).is_ok());
    }
}
