//! One owner a file: a held `flock` on `<file>-lock`. The pid inside is information only; the lock is the truth.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::OpenError;

/// Released when dropped, also by the kernel when the process dies.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    PathBuf::from(name)
}

impl FileLock {
    /// Takes the lock or says who holds it.
    pub fn take(path: &Path) -> Result<FileLock, OpenError> {
        let io = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => OpenError::Permission { path: path.into(), reason: error.to_string() },
            _ => OpenError::Io { path: path.into(), reason: format!("lock file: {error}") },
        };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(lock_path(path)).map_err(io)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(OpenError::Io { path: path.into(), reason: format!("lock file: {error}") });
            }
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(OpenError::Held { path: path.into(), pid: text.trim().parse().ok() });
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
        Ok(FileLock { _file: file })
    }
}
