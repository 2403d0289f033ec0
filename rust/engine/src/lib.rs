//! The embedded engine: the service's semantics over one SQLite file, inside the process.
//!
//! [`Engine`] is a handle; one writer thread (`host`) owns the state (`state`, pure) and the file (`store`). Requests
//! queue up, are applied together, committed in one transaction, and only then answered. [`Stepped`] is the same without
//! the thread, for whoever wants every run to be the same.

mod engine;
mod error;
mod host;
mod lock;
mod options;
mod schedules;
mod state;
mod stepped;
mod store;
mod surroundings;

pub use engine::Engine;
pub use error::OpenError;
pub use options::{EngineOptions, Limits, Location};
pub use stepped::{CallId, Contents, Stepped};
pub use surroundings::Surroundings;
