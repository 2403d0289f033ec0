//! The file: an integer-keyed row a run, a row a pending activity, one blob of events a commit and run.

mod check;
mod contents;
mod lists;
mod rows;

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::OpenError;
pub use check::check;
pub use contents::Contents;

/// "durA": what `file` and we recognise the database by.
pub const APPLICATION_ID: i32 = 0x6475_7241;
pub const SCHEMA: i32 = 1;
/// A checkpoint of more pages makes commits wait noticeably.
const CHECKPOINT_PAGES: i32 = 2000;

const DDL: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE runs(
  run_key INTEGER PRIMARY KEY, workflow_id TEXT NOT NULL, run_id TEXT NOT NULL, type TEXT NOT NULL, task_queue TEXT NOT NULL,
  status INTEGER NOT NULL, start_time INTEGER NOT NULL, close_time INTEGER NOT NULL, history_length INTEGER NOT NULL,
  next_timer INTEGER, has_task INTEGER NOT NULL, state BLOB NOT NULL);
CREATE INDEX runs_by_workflow ON runs(workflow_id, run_key);
CREATE UNIQUE INDEX runs_by_run ON runs(run_id);
CREATE INDEX runs_by_start ON runs(start_time, run_key);
CREATE INDEX open_runs ON runs(run_key) WHERE status = 1;
CREATE INDEX run_timers ON runs(next_timer) WHERE next_timer IS NOT NULL;
CREATE TABLE activities(run_key INTEGER, scheduled_event_id INTEGER, state BLOB NOT NULL,
    PRIMARY KEY(run_key, scheduled_event_id)) WITHOUT ROWID;
CREATE TABLE events(run_key INTEGER, first_event_id INTEGER, blob BLOB NOT NULL, PRIMARY KEY(run_key, first_event_id));
INSERT INTO meta VALUES('epoch', 0);
";

/// Tables that came later; a program that does not know them leaves them alone. A text is in `attributes` word by word. `gone` has the
/// newest run of an id that was deleted while older ones remain.
const LATER: &str = "
CREATE TABLE IF NOT EXISTS schedules(schedule_id TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attribute_kinds(name TEXT PRIMARY KEY, kind INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attributes(name TEXT, value, run_key INTEGER, PRIMARY KEY(name, value, run_key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attributes_by_run ON attributes(run_key, name);
CREATE TABLE IF NOT EXISTS gone(workflow_id TEXT PRIMARY KEY, run_key INTEGER NOT NULL) WITHOUT ROWID;
";

pub struct Store {
    connection: Connection,
    /// Transactions that were committed for the writer.
    pub commits: u64,
}

impl Store {
    /// Opens a checked file, or memory; a new one gets its schema. `vfs` is the name of the registered file system it is in, none
    /// the machine's.
    pub fn open(path: Option<&Path>, vfs: Option<&str>) -> Result<Store, OpenError> {
        let shown = path.unwrap_or(Path::new(":memory:"));
        let fail = |error: rusqlite::Error| check::open_error(shown, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match (path, vfs) {
            (Some(path), Some(vfs)) => Connection::open_with_flags_and_vfs(path, flags, vfs),
            (Some(path), None) => Connection::open_with_flags(path, flags),
            (None, _) => Connection::open_in_memory(),
        }
        .map_err(fail)?;
        // Before anything is read: with one owner, the log's index is in the owner's memory.
        connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE").map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(64);
        lists::add_functions(&connection).map_err(fail)?;
        let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
        if version == 0 {
            let script = format!("BEGIN IMMEDIATE; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA}; {DDL} COMMIT;");
            connection.execute_batch(&script).map_err(fail)?;
        }
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; \
                 PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"
            ))
            .map_err(fail)?;
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {LATER} COMMIT;")).map_err(fail)?;
        if path.is_some_and(|path| path.metadata().is_ok_and(|data| data.len() < check::QUICK_CHECK_BYTES)) {
            let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
            if answer != "ok" {
                return Err(OpenError::Corrupt { path: shown.into(), reason: answer });
            }
        }
        Ok(Store { connection, commits: 0 })
    }
}
