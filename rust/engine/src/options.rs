//! What an engine is opened with.

use std::path::PathBuf;

pub use crate::state::Limits;

/// Where the state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A database file; it is created when missing (its directory is not).
    File(PathBuf),
    /// Nothing survives the engine.
    Memory,
}

#[derive(Clone, Debug)]
pub struct EngineOptions {
    pub location: Location,
    /// The one namespace the engine answers for.
    pub namespace: String,
    /// Workflow time jumps to the next timer while a client waits and nothing is handed out.
    pub time_skipping: bool,
    /// None: as whoever opened the file first in this process has them, else the defaults.
    pub limits: Option<Limits>,
}

impl EngineOptions {
    pub fn new(location: Location) -> EngineOptions {
        EngineOptions { location, namespace: "default".into(), time_skipping: false, limits: None }
    }
}
