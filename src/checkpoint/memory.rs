//! The checkpoint without a disk: the same ledger and bytes over ordered maps, for tests and for a
//! simulator that cuts the power.
//!
//! A [`MemoryDisk`] outlives the checkpoints opened on it. [`MemoryDisk::crash`] forgets what was not
//! synced; [`MemoryDisk::fail_writes_after`] and a [`Judge`] make it fail.

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    batch::VisibleFact,
    checkpoint::{
        Announcement, CheckpointError, Recovered,
        codec::Family,
        ledger::{Durability, Edit, Families, Ledger, SharedFamilies, Store, Visit},
    },
};

type Image = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

#[derive(Default)]
struct Disk {
    /// What a reader sees.
    current: Image,
    /// What a power cut leaves.
    synced: Image,
    /// What was written since the last sync, write by write.
    unsynced: Vec<Vec<Edit>>,
    visible: VisibleFile,
    /// What a power cut leaves of it: two slots are written in turn, so that it is the one before.
    visible_synced: VisibleFile,
    judge: Option<Box<dyn Judge>>,
    /// How many more writes succeed.
    writes_left: Option<u64>,
}

/// The announce file.
#[derive(Clone, Debug, Default)]
enum VisibleFile {
    #[default]
    Absent,
    Names(Announcement),
    Unreadable,
}

/// A write, as a [`Judge`] is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// One that need not last.
    Write,
    /// One that is durable, with all before it, when it returns.
    SyncedWrite,
    /// The announce file.
    Announce,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It succeeds.
    Done,
    /// It fails, and nothing of it is there.
    Fails,
    /// It fails, and is there until the power is cut.
    FailsButRead,
    /// It fails, and is on the disk.
    FailsButDurable,
}

/// Decides what becomes of each write to a disk.
pub trait Judge: Send {
    /// Called for every write, before anything of it is done.
    fn judge(&mut self, attempt: Attempt) -> Fate;
}

/// A disk in memory that several checkpoints, one after the other, can be opened on.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Cuts the power: what was not synced is gone, and writes succeed again.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// As [`MemoryDisk::crash`], but the first `writes` of those that were not synced had reached the
    /// disk: the tail of its log is torn off behind them.
    pub fn crash_keeping(&self, writes: usize) {
        let mut disk = self.lock();
        disk.unsynced.truncate(writes);
        disk.sync();
        disk.current = disk.synced.clone();
        disk.visible = disk.visible_synced.clone();
        disk.writes_left = None;
    }

    /// How many writes a power cut would lose.
    #[must_use]
    pub fn unsynced_writes(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// Lets a judge decide what becomes of every later write.
    pub fn set_judge(&self, judge: Option<Box<dyn Judge>>) {
        self.lock().judge = judge;
    }

    /// Puts the contents of another disk in the place of this one's, as restoring a backup does.
    pub fn replace_with(&self, other: &MemoryDisk) {
        let copy = std::mem::take(&mut *other.fork().lock());
        let mut disk = self.lock();
        let (judge, writes_left) = (disk.judge.take(), disk.writes_left);
        *disk = Disk { judge, writes_left, ..copy };
    }

    /// Takes the announce file away, or leaves nothing in it that can be read.
    pub fn lose_visible(&self, is_there: bool) {
        let mut disk = self.lock();
        disk.visible = if is_there { VisibleFile::Unreadable } else { VisibleFile::Absent };
        disk.visible_synced = disk.visible.clone();
    }

    /// Lets this many more writes (announcements too) succeed and every later one fail, leaving
    /// nothing behind, until the next [`MemoryDisk::crash`].
    pub fn fail_writes_after(&self, writes: u64) {
        self.lock().writes_left = Some(writes);
    }

    /// What the announce file would say.
    #[must_use]
    pub fn visible(&self) -> VisibleFact {
        match &self.lock().visible {
            VisibleFile::Absent => VisibleFact::Absent,
            VisibleFile::Names(Announcement { lineage, batch, digest, .. }) => {
                VisibleFact::At(*lineage, *batch, *digest)
            }
            VisibleFile::Unreadable => {
                VisibleFact::Unreadable("neither of its slots can be read".to_owned())
            }
        }
    }

    /// Everything written so far reaches the disk, as a system may do at any time.
    pub fn sync(&self) {
        self.lock().sync();
    }

    /// A copy that goes its own way: a snapshot of the disk.
    #[must_use]
    pub fn fork(&self) -> MemoryDisk {
        let disk = self.lock();
        let (current, synced) = (disk.current.clone(), disk.synced.clone());
        let (unsynced, visible) = (disk.unsynced.clone(), disk.visible.clone());
        let visible_synced = disk.visible_synced.clone();
        let copy = Disk { current, synced, unsynced, visible, visible_synced, ..Disk::default() };
        MemoryDisk { disk: Arc::new(Mutex::new(copy)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A test that panicked elsewhere leaves the disk as it is, which is what a disk does.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl MemoryDisk {
    /// How many keys there are.
    pub(in crate::checkpoint) fn keys(&self) -> usize {
        self.lock().current.len()
    }

    /// How many keys a family has.
    pub(crate) fn keys_of(&self, family: &str) -> usize {
        self.lock().current.keys().filter(|(found, _)| found.name() == family).count()
    }

    /// The place of a family's first key among all, for [`MemoryDisk::remove`].
    pub(in crate::checkpoint) fn index_of(&self, family: &str) -> Option<usize> {
        self.lock().current.keys().position(|(found, _)| found.name() == family)
    }

    /// Takes one key away, as damage might; says which.
    pub(in crate::checkpoint) fn remove(&self, index: usize) -> String {
        let mut disk = self.lock();
        let (family, key) = disk.current.keys().nth(index).cloned().expect("there is such a key");
        disk.current.remove(&(family, key.clone()));
        format!("{} {}", family.name(), key.escape_ascii())
    }
}

impl Disk {
    fn judge(&mut self, attempt: Attempt) -> Fate {
        match &mut self.writes_left {
            Some(0) => return Fate::Fails,
            Some(left) => *left -= 1,
            None => {}
        }
        self.judge.as_mut().map_or(Fate::Done, |judge| judge.judge(attempt))
    }

    fn write(&mut self, edits: Vec<Edit>) {
        for edit in &edits {
            apply(&mut self.current, edit.clone());
        }
        self.unsynced.push(edits);
    }

    fn sync(&mut self) {
        for edit in std::mem::take(&mut self.unsynced).into_iter().flatten() {
            apply(&mut self.synced, edit);
        }
    }
}

fn apply(image: &mut Image, edit: Edit) {
    match edit {
        Edit::Put(entry) => {
            image.insert((entry.family, entry.key), entry.value);
        }
        Edit::Delete(family, key) => {
            image.remove(&(family, key));
        }
        Edit::DeleteRange(family, from, to) => {
            let bounds = (Bound::Included((family, from)), Bound::Excluded((family, to)));
            let keys: Vec<_> = image.range(bounds).map(|(key, _)| key.clone()).collect();
            keys.iter().for_each(|key| {
                image.remove(key);
            });
        }
    }
}

/// The store of a [`MemoryCheckpoint`].
#[derive(Clone)]
pub struct MemoryStore {
    disk: MemoryDisk,
    directory: PathBuf,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    fn write_visible(
        &self,
        content: VisibleFile,
        attempt: &'static str,
    ) -> Result<(), CheckpointError> {
        let mut disk = self.disk.lock();
        let fate = disk.judge(Attempt::Announce);
        if fate != Fate::Fails {
            disk.visible = content;
        }
        if matches!(fate, Fate::Done | Fate::FailsButDurable) {
            disk.visible_synced = disk.visible.clone();
        }
        match fate {
            Fate::Done => Ok(()),
            _ => Err(self.refused(attempt)),
        }
    }

    fn refused(&self, attempt: &'static str) -> CheckpointError {
        CheckpointError::Storage {
            directory: self.directory.clone(),
            attempt,
            problem: "the disk was told to fail".to_owned(),
        }
    }
}

impl Families for MemoryStore {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(self.disk.lock().current.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        let entries: Vec<_> = {
            let disk = self.disk.lock();
            let from = (family, Vec::new());
            let of_family =
                disk.current.range(from..).take_while(|((found, _), _)| *found == family);
            of_family.map(|((_, key), value)| (key.clone(), value.clone())).collect()
        };
        entries.iter().try_for_each(|(key, value)| visit(key, value))
    }
}

impl SharedFamilies for MemoryStore {
    fn write(&self, edits: Vec<Edit>, durability: Durability) -> Result<(), CheckpointError> {
        let mut disk = self.disk.lock();
        let attempt = match durability {
            Durability::Synced => Attempt::SyncedWrite,
            Durability::Unsynced => Attempt::Write,
        };
        let fate = disk.judge(attempt);
        if fate != Fate::Fails {
            disk.write(edits);
        }
        if fate == Fate::FailsButDurable || fate == Fate::Done && durability == Durability::Synced {
            disk.sync();
        }
        match fate {
            Fate::Done => Ok(()),
            _ => Err(self.refused("writing the checkpoint")),
        }
    }
}

impl Store for MemoryStore {
    fn families(&self) -> Arc<dyn SharedFamilies> {
        Arc::new(self.clone())
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        self.disk.lock().sync();
        Ok(())
    }

    fn announce(&mut self, announcement: &Announcement) -> Result<(), CheckpointError> {
        self.write_visible(VisibleFile::Names(*announcement), "announcing a batch")
    }

    fn clear_visible(&mut self) -> Result<(), CheckpointError> {
        self.write_visible(VisibleFile::Absent, "emptying the announce file")
    }

    fn visible(&self) -> Result<VisibleFact, CheckpointError> {
        Ok(self.disk.visible())
    }
}

/// A checkpoint on a [`MemoryDisk`].
pub type MemoryCheckpoint = Ledger<MemoryStore>;

impl Ledger<MemoryStore> {
    /// Opens what is on the disk.
    ///
    /// # Errors
    /// `Corrupt` when what is there does not belong together.
    pub fn open(disk: &MemoryDisk) -> Result<MemoryCheckpoint, CheckpointError> {
        Ledger::over(MemoryStore { disk: disk.clone(), directory: PathBuf::from("(memory)") })
    }

    /// What is there, without the groups.
    ///
    /// # Errors
    /// As [`MemoryCheckpoint::open`].
    pub fn facts(&self) -> Result<Recovered, CheckpointError> {
        self.recovered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::codec::Entry;

    fn put(key: u8) -> Vec<Edit> {
        vec![Edit::Put(Entry { family: Family::Meta, key: vec![key], value: vec![key] })]
    }

    fn store(disk: &MemoryDisk) -> MemoryStore {
        MemoryStore { disk: disk.clone(), directory: PathBuf::from("(memory)") }
    }

    fn keys(disk: &MemoryDisk) -> Vec<u8> {
        disk.lock().current.keys().map(|(_, key)| key[0]).collect()
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_some_of_what_came_after() {
        let disk = MemoryDisk::new();
        store(&disk).write(put(1), Durability::Synced).unwrap();
        for key in 2..5 {
            store(&disk).write(put(key), Durability::Unsynced).unwrap();
        }
        assert_eq!((keys(&disk), disk.unsynced_writes()), (vec![1, 2, 3, 4], 3));
        disk.crash_keeping(1);
        assert_eq!((keys(&disk), disk.unsynced_writes()), (vec![1, 2], 0));
    }

    #[test]
    fn a_judge_decides_what_a_failed_write_leaves() {
        struct Sentence(Vec<Fate>);
        impl Judge for Sentence {
            fn judge(&mut self, _: Attempt) -> Fate {
                self.0.pop().unwrap_or(Fate::Done)
            }
        }
        let disk = MemoryDisk::new();
        let fates = vec![Fate::FailsButDurable, Fate::FailsButRead, Fate::Fails];
        disk.set_judge(Some(Box::new(Sentence(fates))));
        for key in [1, 2] {
            store(&disk).write(put(key), Durability::Synced).unwrap_err();
        }
        assert_eq!((keys(&disk), disk.unsynced_writes()), (vec![2], 1), "it is not on the disk");
        store(&disk).write(put(3), Durability::Synced).unwrap_err();
        disk.crash();
        assert_eq!(keys(&disk), [2, 3], "a sync takes all before it along");
    }
}
