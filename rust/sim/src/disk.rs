//! A disk in memory that writes down whatever is done to it, and fails when it is told to.

use std::collections::BTreeMap;

/// A file, whatever its name is.
pub type Inode = usize;

/// Names and what is in the files.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What was done to the disk, in the order in which it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create { name: String, inode: Inode },
    Write { inode: Inode, at: usize, bytes: Vec<u8> },
    Truncate { inode: Inode, size: usize },
    Sync { inode: Inode },
    Delete { name: String },
    SyncDirectory,
}

/// What can be wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Full,
    Broken,
}

/// The changes that fail: from the one with this number on, so many.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    pub fault: Fault,
    pub first: u64,
    pub count: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Disk {
    names: BTreeMap<String, Inode>,
    files: Vec<Vec<u8>>,
    pub log: Vec<Op>,
    /// Whether changes are written down in `log`.
    logs: bool,
    lies: bool,
    pub failing: Option<Failing>,
    /// Changes so far, those that failed among them.
    pub changes: u64,
    pub syncs: u64,
}

impl Disk {
    /// An empty disk that writes everything down.
    pub fn logging() -> Disk {
        Disk { logs: true, ..Disk::default() }
    }

    /// An empty disk that says "synced" and does nothing: what a program sees of it is right until the power is cut.
    pub fn lying() -> Disk {
        Disk { lies: true, ..Disk::logging() }
    }

    pub fn of(image: Image) -> Disk {
        let (names, files): (Vec<String>, Vec<Vec<u8>>) = image.into_iter().unzip();
        Disk { names: names.into_iter().zip(0..).collect(), files, ..Disk::default() }
    }

    /// What a program that has just been killed leaves to the next.
    pub fn image(&self) -> Image {
        self.names.iter().map(|(name, inode)| (name.clone(), self.files[*inode].clone())).collect()
    }

    pub fn find(&self, name: &str) -> Option<Inode> {
        self.names.get(name).copied()
    }

    pub fn create(&mut self, name: &str) -> Result<Inode, Fault> {
        self.change()?;
        let inode = self.unnamed();
        self.names.insert(name.into(), inode);
        self.note(|| Op::Create { name: name.into(), inode });
        Ok(inode)
    }

    /// A file that nobody can find again; it is gone after a power cut.
    pub fn unnamed(&mut self) -> Inode {
        self.files.push(Vec::new());
        self.files.len() - 1
    }

    pub fn delete(&mut self, name: &str) -> Result<bool, Fault> {
        self.change()?;
        let was_there = self.names.remove(name).is_some();
        if was_there {
            self.note(|| Op::Delete { name: name.into() });
        }
        Ok(was_there)
    }

    /// Copies what is there from `at` on and returns how much that was.
    pub fn read(&self, inode: Inode, at: usize, target: &mut [u8]) -> usize {
        let file = &self.files[inode];
        let found = file.get(at.min(file.len())..).unwrap_or_default();
        let length = found.len().min(target.len());
        target[..length].copy_from_slice(&found[..length]);
        length
    }

    pub fn size(&self, inode: Inode) -> usize {
        self.files[inode].len()
    }

    pub fn write(&mut self, inode: Inode, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.change()?;
        put(&mut self.files[inode], at, bytes);
        self.note(|| Op::Write { inode, at, bytes: bytes.into() });
        Ok(())
    }

    pub fn truncate(&mut self, inode: Inode, size: usize) -> Result<(), Fault> {
        self.change()?;
        self.files[inode].resize(size, 0);
        self.note(|| Op::Truncate { inode, size });
        Ok(())
    }

    pub fn sync(&mut self, inode: Inode) -> Result<(), Fault> {
        self.change()?;
        self.syncs += 1;
        if !self.lies {
            self.note(|| Op::Sync { inode });
        }
        Ok(())
    }

    pub fn sync_directory(&mut self) -> Result<(), Fault> {
        self.change()?;
        if !self.lies {
            self.note(|| Op::SyncDirectory);
        }
        Ok(())
    }

    fn change(&mut self) -> Result<(), Fault> {
        let number = self.changes;
        self.changes += 1;
        match self.failing {
            Some(failing) if number >= failing.first && number - failing.first < failing.count => Err(failing.fault),
            _ => Ok(()),
        }
    }

    fn note(&mut self, op: impl FnOnce() -> Op) {
        if self.logs {
            self.log.push(op());
        }
    }
}

/// Writes into a file, which grows with zeros where it must.
pub fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}
