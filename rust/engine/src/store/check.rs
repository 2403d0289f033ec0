//! Looking at a file before anything touches it: a file that is not ours stays as it is.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use super::{APPLICATION_ID, SCHEMA};
use crate::OpenError;

/// Files below are checked in full when opened.
pub const QUICK_CHECK_BYTES: u64 = 16 * 1024 * 1024;
const HEADER: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

pub fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    let (path, reason) = (path.to_path_buf(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Corrupt { path, reason },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Held { path, pid: None },
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => OpenError::Permission { path, reason },
        _ => OpenError::Io { path, reason },
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> OpenError {
    let (path, reason) = (path.to_path_buf(), error.to_string());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => OpenError::Permission { path, reason },
        _ => OpenError::Io { path, reason },
    }
}

/// Whether the file may be opened; it is only read. True when there is a database in it.
pub fn check(path: &Path) -> Result<bool, OpenError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(OpenError::MissingDirectory { path: directory.into() });
    }
    if path.is_dir() {
        return Err(OpenError::NotAFile { path: path.into() });
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(path, &error)),
    };
    let size = file.metadata().map_err(|error| io_error(path, &error))?.len();
    if is_unfinished(path) {
        return Ok(false);
    }
    let mut header = Vec::new();
    file.by_ref().take(HEADER as u64).read_to_end(&mut header).map_err(|error| io_error(path, &error))?;
    check_header(path, &header, size)
}

fn number(header: &[u8], at: usize) -> i32 {
    header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_be_bytes)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether the file was being created when its process or the machine ended. Its journal then says that there was no page before; SQLite
/// goes back to that when it opens the file, and until then anything may be in it.
fn is_unfinished(path: &Path) -> bool {
    let mut header = Vec::new();
    let Ok(journal) = File::open(beside(path, "-journal")) else { return false };
    let read = journal.take(28).read_to_end(&mut header).is_ok();
    read && header.len() == 28 && header.starts_with(&JOURNAL_MAGIC) && number(&header, 16) == 0
}

fn check_header(path: &Path, header: &[u8], size: u64) -> Result<bool, OpenError> {
    if size == 0 {
        return Ok(false);
    }
    let magic = &header[..header.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(OpenError::NotADatabase { path: path.into() });
    }
    if header.len() < HEADER {
        return Err(OpenError::Corrupt { path: path.into(), reason: format!("it is cut off after {size} bytes") });
    }
    let application_id = number(header, 68);
    if application_id != APPLICATION_ID {
        return Err(OpenError::NotOurs { path: path.into(), application_id });
    }
    let found = number(header, 60);
    if found > SCHEMA || found < 1 {
        return Err(OpenError::NewerSchema { path: path.into(), found, known: SCHEMA });
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let has_log = beside(path, "-wal").metadata().is_ok_and(|data| data.len() > 0);
    let pages = u64::from(number(header, 28).cast_unsigned());
    if !has_log && size < pages * page {
        return Err(OpenError::Corrupt { path: path.into(), reason: format!("it is cut off: {size} of {} bytes are there", pages * page) });
    }
    Ok(true)
}
