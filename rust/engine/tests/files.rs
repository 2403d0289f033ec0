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

/// What is left of a database when the machine stops while it is created: a part of it, and a journal that knows of `pages` before.
fn leave_unfinished(path: &Path, whole: &[u8], pages: u8) {
    std::fs::write(path, &whole[..4096]).expect("writes");
    let mut journal = vec![0; 512];
    journal[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    journal[19] = pages;
    journal[22] = 2; // sectors of 512 bytes
    journal[26] = 16; // pages of 4,096 bytes
    std::fs::write(format!("{}-journal", path.display()), journal).expect("writes");
}

#[test]
fn a_file_that_was_being_created() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    file(&at("whole")).close();
    let whole = std::fs::read(at("whole")).expect("reads");
    leave_unfinished(&at("begun"), &whole, 0);
    block_on(async {
        let engine = file(&at("begun"));
        start(&engine, "a").await;
        assert_eq!(types(&engine, "a").await.len(), 2);
    });
    leave_unfinished(&at("cut"), &whole, 1);
    assert!(matches!(refusal(&at("cut")), OpenError::Corrupt { .. }), "there was something in it before");
}
