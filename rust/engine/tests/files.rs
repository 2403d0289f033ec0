//! Files that cannot be opened stay as they are.

mod support;

use std::path::Path;

use durable_engine::{Engine, EngineOptions, Location, OpenError};
use support::*;

fn refusal(path: &Path) -> OpenError {
    let before = std::fs::read(path).ok();
    let names = || path.parent().and_then(|parent| parent.read_dir().ok()).map(Iterator::count);
    let count = names();
    let error = Engine::open(EngineOptions::new(Location::File(path.into()))).expect_err("refused");
    assert_eq!((std::fs::read(path).ok(), names()), (before, count), "nothing was touched");
    error
}

#[test]
fn foreign_and_damaged_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("text"), "hello, this is no database").expect("writes");
    assert!(matches!(refusal(&at("text")), OpenError::NotADatabase { .. }));
    rusqlite::Connection::open(at("other")).and_then(|other| other.execute_batch("CREATE TABLE t(a)")).expect("another's");
    assert!(matches!(refusal(&at("other")), OpenError::NotOurs { .. }));
    assert!(matches!(refusal(&at("missing/d.db")), OpenError::MissingDirectory { .. }));
    file(&at("ours")).close();
    let whole = std::fs::read(at("ours")).expect("reads");
    std::fs::write(at("cut"), &whole[..whole.len() - 5000]).expect("writes");
    assert!(matches!(refusal(&at("cut")), OpenError::Corrupt { .. }));
    let mut newer = whole;
    newer[63] = 9;
    std::fs::write(at("newer"), newer).expect("writes");
    assert!(matches!(refusal(&at("newer")), OpenError::NewerSchema { found: 9, .. }));
}

#[test]
fn a_held_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("d.db");
    file(&path).close();
    let lock = std::fs::File::open(directory.path().join("d.db-lock")).expect("the lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locks");
    assert!(matches!(refusal(&path), OpenError::Held { pid: Some(_), .. }));
}
