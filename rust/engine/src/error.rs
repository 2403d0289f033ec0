//! Why a file could not be opened, and what the user can do about it.

use std::path::PathBuf;

use crate::state::Limits;

/// A refusal to open. The file is left exactly as it was found.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: this is not a database\nhint: give another file name, or move this file away")]
    NotADatabase { path: PathBuf },
    #[error("{path}: this SQLite database belongs to another program (application id {application_id:#x})\nhint: give another file name")]
    NotOurs { path: PathBuf, application_id: i32 },
    #[error("{path}: written by a newer version (schema {found}, this version knows {known})\nhint: upgrade durable_anyio")]
    NewerSchema { path: PathBuf, found: i32, known: i32 },
    #[error("{path}: the database is damaged: {reason}\nhint: restore it from a backup, or give another file name")]
    Corrupt { path: PathBuf, reason: String },
    #[error("{path}: in use by another process{}\nhint: stop that process, or give another file name", holder(*.pid))]
    Held { path: PathBuf, pid: Option<u32> },
    #[error("{path}: the directory does not exist\nhint: create it first")]
    MissingDirectory { path: PathBuf },
    #[error("{path}: not a file\nhint: give the name of a file")]
    NotAFile { path: PathBuf },
    #[error("{path}: no permission to read and write it: {reason}\nhint: check the permissions of the file and its directory")]
    Permission { path: PathBuf, reason: String },
    #[error(
        "{path}: it is open in this process with other options (namespace {namespace:?}, time skipping {time_skipping}, \
         history limits of {} events and {} bytes)\n\
         hint: use the same options everywhere",
        limits.history_events,
        limits.history_bytes
    )]
    OtherOptions { path: PathBuf, namespace: String, time_skipping: bool, limits: Limits },
    #[error("{path}: cannot be opened: {reason}")]
    Io { path: PathBuf, reason: String },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}
