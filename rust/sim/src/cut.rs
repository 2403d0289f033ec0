//! The disk as it may be found after a power cut.
//!
//! What a file had when it was last synced is there. Of what was written to it since, any part may be there, in any order and by sectors.
//! The same holds for names: a directory entry is certain once its directory was synced.

use std::collections::BTreeMap;

use crate::{
    chance::Chance,
    disk::{Image, Inode, Op, put},
};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of it is there.
    Everything,
    /// All of it is there: the program was killed, the machine was not.
    Nothing,
    /// The first writes are there, and of the last one some sectors.
    Tail,
    /// Some writes are there, whole and in order.
    Writes,
    /// Some sectors of some writes are there, later ones below earlier ones; where a file has grown without its data there may be anything.
    Sectors,
}

pub const LOSSES: [Loss; 5] = [Loss::Everything, Loss::Nothing, Loss::Tail, Loss::Writes, Loss::Sectors];

#[derive(Default)]
struct File {
    synced: Vec<u8>,
    /// Places in the log of what came after.
    since: Vec<usize>,
}

/// Walks through a log once; at each place it stops, the power can be cut any number of times.
pub struct Platter<'a> {
    log: &'a [Op],
    at: usize,
    files: BTreeMap<Inode, File>,
    names: BTreeMap<String, Inode>,
    /// What each name meant since the directory was synced.
    renamed: BTreeMap<String, Vec<Option<Inode>>>,
}

impl<'a> Platter<'a> {
    pub fn new(log: &'a [Op]) -> Platter<'a> {
        Platter { log, at: 0, files: BTreeMap::new(), names: BTreeMap::new(), renamed: BTreeMap::new() }
    }

    /// Goes on to where `end` operations of the log are done; never back.
    pub fn advance(&mut self, end: usize) {
        assert!(end >= self.at, "a platter turns in one direction");
        while self.at < end {
            match &self.log[self.at] {
                Op::Create { name, inode } => {
                    self.files.insert(*inode, File::default());
                    self.renamed.entry(name.clone()).or_default().push(Some(*inode));
                }
                Op::Delete { name } => self.renamed.entry(name.clone()).or_default().push(None),
                Op::Write { inode, .. } | Op::Truncate { inode, .. } => self.files.entry(*inode).or_default().since.push(self.at),
                Op::Sync { inode } => {
                    let file = self.files.entry(*inode).or_default();
                    for place in std::mem::take(&mut file.since) {
                        apply(&mut file.synced, &self.log[place]);
                    }
                }
                Op::SyncDirectory => {
                    for (name, meanings) in std::mem::take(&mut self.renamed) {
                        match meanings.last() {
                            Some(Some(inode)) => self.names.insert(name, *inode),
                            _ => self.names.remove(&name),
                        };
                    }
                }
            }
            self.at += 1;
        }
    }

    /// The disk after a cut here.
    pub fn cut(&self, loss: Loss, chance: &mut Chance) -> Image {
        let mut image = Image::new();
        let names: Vec<&String> = self.names.keys().chain(self.renamed.keys().filter(|name| !self.names.contains_key(*name))).collect();
        for name in names {
            let before = self.names.get(name).copied();
            let since = self.renamed.get(name).map(Vec::as_slice).unwrap_or_default();
            let kept = match loss {
                Loss::Everything => 0,
                Loss::Nothing => since.len(),
                _ => chance.below(since.len() + 1),
            };
            let inode = if kept == 0 { before } else { since[kept - 1] };
            if let Some(file) = inode.and_then(|inode| self.files.get(&inode)) {
                image.insert(name.clone(), self.left(file, loss, chance));
            }
        }
        image
    }

    fn left(&self, file: &File, loss: Loss, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = file.synced.clone();
        let since: Vec<&Op> = file.since.iter().map(|place| &self.log[*place]).collect();
        match loss {
            Loss::Everything => {}
            Loss::Nothing => since.iter().for_each(|op| apply(&mut bytes, op)),
            Loss::Tail => {
                let kept = chance.below(since.len() + 1);
                since[..kept].iter().for_each(|op| apply(&mut bytes, op));
                if let Some(torn) = since.get(kept) {
                    tear(&mut bytes, torn, 50, chance);
                }
            }
            Loss::Writes => since.iter().filter(|_| chance.percent(50)).for_each(|op| apply(&mut bytes, op)),
            Loss::Sectors => {
                let kept = 10 + chance.below(85);
                let mut since = since;
                let size = since.iter().fold(bytes.len(), |size, op| size.max(reach(op)));
                if chance.percent(50) {
                    grow(&mut bytes, size, chance);
                }
                if chance.percent(50) {
                    chance.shuffle(&mut since);
                }
                since.iter().for_each(|op| tear(&mut bytes, op, kept, chance));
            }
        }
        bytes
    }
}

fn apply(file: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write { at, bytes, .. } => put(file, *at, bytes),
        Op::Truncate { size, .. } => file.resize(*size, 0),
        _ => unreachable!("only changes of contents wait for a sync"),
    }
}

fn reach(op: &Op) -> usize {
    match op {
        Op::Write { at, bytes, .. } => at + bytes.len(),
        _ => 0,
    }
}

/// The file's new size got to the disk before its new data: there may be anything.
fn grow(file: &mut Vec<u8>, size: usize, chance: &mut Chance) {
    let garbage = chance.percent(50);
    while file.len() < size {
        file.push(if garbage { chance.number() as u8 } else { 0 });
    }
}

/// Applies some sectors of a write; a change of the size happens or not.
fn tear(file: &mut Vec<u8>, op: &Op, kept: usize, chance: &mut Chance) {
    match op {
        Op::Write { at, bytes, .. } => {
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                if chance.percent(kept) {
                    put(file, at + from, &bytes[from..to]);
                }
                from = to;
            }
        }
        op => {
            if chance.percent(kept) {
                apply(file, op);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<Op> {
        let name = || "f".to_owned();
        vec![
            Op::Create { name: name(), inode: 0 },
            Op::Write { inode: 0, at: 0, bytes: vec![1; 1024] },
            Op::Sync { inode: 0 },
            Op::SyncDirectory,
            Op::Write { inode: 0, at: 512, bytes: vec![2; 1024] },
            Op::Write { inode: 0, at: 0, bytes: vec![3; 10] },
            Op::Delete { name: name() },
        ]
    }

    fn cuts(end: usize, loss: Loss) -> Vec<Image> {
        let log = log();
        let mut platter = Platter::new(&log);
        platter.advance(end);
        (0..200).map(|seed| platter.cut(loss, &mut Chance::new(seed))).collect()
    }

    #[test]
    fn what_was_synced_is_there() {
        assert!(cuts(4, Loss::Sectors).iter().all(|image| image["f"] == vec![1; 1024]));
        assert!(cuts(6, Loss::Everything).iter().all(|image| image["f"] == vec![1; 1024]));
        assert!(cuts(6, Loss::Sectors).iter().all(|image| image["f"][10..512] == [1; 502]));
    }

    #[test]
    fn what_was_not_synced_may_be_there() {
        let files: Vec<Vec<u8>> =
            cuts(6, Loss::Sectors).into_iter().map(|mut image| image.remove("f").expect("its name is synced")).collect();
        let mut found: Vec<(u8, u8, u8)> =
            files.iter().map(|file| (file[0], file[600], file.get(1200).copied().unwrap_or(9))).map(|(a, b, c)| (a, b, c.min(9))).collect();
        found.sort_unstable();
        found.dedup();
        for first in [1, 3] {
            for second in [1, 2] {
                for third in [0, 2, 9] {
                    assert!(found.contains(&(first, second, third)), "{first} {second} {third}");
                }
            }
        }
        assert!(cuts(6, Loss::Nothing).iter().all(|image| image["f"].len() == 1536 && image["f"][0] == 3));
    }

    #[test]
    fn names_are_certain_when_the_directory_is_synced() {
        assert!(cuts(3, Loss::Everything).iter().all(Image::is_empty), "synced, under no name");
        let after: Vec<bool> = cuts(7, Loss::Writes).iter().map(Image::is_empty).collect();
        assert!(after.contains(&true) && after.contains(&false), "a deletion is not certain either");
        assert!(cuts(7, Loss::Nothing).iter().all(Image::is_empty));
    }
}
