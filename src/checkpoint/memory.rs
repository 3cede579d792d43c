//! The checkpoint without a disk: the same ledger and bytes over ordered maps, for tests and for a
//! simulator that cuts the power.
//!
//! A [`MemoryDisk`] outlives the checkpoints opened on it. [`MemoryDisk::crash`] forgets what was not
//! synced; [`MemoryDisk::fail_writes_after`] makes it fail.

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    batch::{Genesis, Plan, Publication, VisibleFact},
    checkpoint::{
        Announcement, Checkpoint, CheckpointError, Durable, Recovered, RestoreGroup, Visible,
        codec::Family,
        ledger::{Durability, Edit, Families, Ledger, Store, Visit},
    },
    types::{BatchId, Incarnation, SinkName},
};

type Image = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

#[derive(Debug, Default)]
struct Disk {
    /// What a reader sees.
    current: Image,
    /// What a power cut leaves.
    synced: Image,
    /// What was written since the last sync.
    unsynced: Vec<Edit>,
    visible: Option<Announcement>,
    /// How many more writes succeed.
    writes_left: Option<u64>,
}

/// A disk in memory that several checkpoints, one after the other, can be opened on.
#[derive(Clone, Debug, Default)]
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
        let mut disk = self.lock();
        disk.current = disk.synced.clone();
        disk.unsynced.clear();
        disk.writes_left = None;
    }

    /// Lets this many more writes (announcements too) succeed and every later one fail, leaving
    /// nothing behind, until the next [`MemoryDisk::crash`].
    pub fn fail_writes_after(&self, writes: u64) {
        self.lock().writes_left = Some(writes);
    }

    /// What the announce file would say.
    #[must_use]
    pub fn visible(&self) -> VisibleFact {
        self.lock().visible.map_or(VisibleFact::Absent, |announcement| {
            let Announcement { lineage, batch, digest, .. } = announcement;
            VisibleFact::At(lineage, batch, digest)
        })
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
        let (unsynced, visible) = (disk.unsynced.clone(), disk.visible);
        let copy = Disk { current, synced, unsynced, visible, writes_left: None };
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
    pub(in crate::checkpoint) fn keys_of(&self, family: &str) -> usize {
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
    fn take_write(&mut self) -> bool {
        match &mut self.writes_left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        true
    }

    fn sync(&mut self) {
        for edit in std::mem::take(&mut self.unsynced) {
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

#[derive(Debug)]
struct MemoryStore {
    disk: MemoryDisk,
    directory: PathBuf,
}

impl MemoryStore {
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

impl Store for MemoryStore {
    fn write(&mut self, edits: Vec<Edit>, durability: Durability) -> Result<(), CheckpointError> {
        let mut disk = self.disk.lock();
        if !disk.take_write() {
            return Err(self.refused("writing the checkpoint"));
        }
        for edit in edits {
            disk.unsynced.push(edit.clone());
            apply(&mut disk.current, edit);
        }
        if durability == Durability::Synced {
            disk.sync();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        self.disk.lock().sync();
        Ok(())
    }

    fn announce(&mut self, announcement: &Announcement) -> Result<(), CheckpointError> {
        let mut disk = self.disk.lock();
        if !disk.take_write() {
            return Err(self.refused("announcing a batch"));
        }
        disk.visible = Some(*announcement);
        Ok(())
    }

    fn visible(&self) -> Result<VisibleFact, CheckpointError> {
        Ok(self.disk.visible())
    }
}

/// A checkpoint on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryCheckpoint {
    ledger: Ledger<MemoryStore>,
}

impl MemoryCheckpoint {
    /// Opens what is on the disk.
    ///
    /// # Errors
    /// `Corrupt` when what is there does not belong together.
    pub fn open(disk: &MemoryDisk) -> Result<MemoryCheckpoint, CheckpointError> {
        let store = MemoryStore { disk: disk.clone(), directory: PathBuf::from("(memory)") };
        Ok(MemoryCheckpoint { ledger: Ledger::open(store)? })
    }

    /// What is there, without the groups.
    ///
    /// # Errors
    /// As [`MemoryCheckpoint::open`].
    pub fn facts(&self) -> Result<Recovered, CheckpointError> {
        self.ledger.facts()
    }
}

impl Checkpoint for MemoryCheckpoint {
    fn begin(&mut self, genesis: &Genesis, sinks: &[SinkName]) -> Result<(), CheckpointError> {
        self.ledger.begin(genesis, sinks)
    }

    fn next_incarnation(&mut self) -> Result<Incarnation, CheckpointError> {
        self.ledger.next_incarnation()
    }

    fn persist(&mut self, plan: Plan) -> Result<Durable, CheckpointError> {
        self.ledger.persist(plan)
    }

    fn durable_again(&mut self, publication: Publication) -> Result<Durable, CheckpointError> {
        self.ledger.durable_again(publication)
    }

    fn announce(&mut self, durable: Durable) -> Result<Visible, CheckpointError> {
        self.ledger.announce(durable)
    }

    fn mark(&mut self, sink: &SinkName, batch: BatchId) -> Result<(), CheckpointError> {
        self.ledger.mark(sink, batch)
    }

    fn forget_sink(&mut self, sink: &SinkName) -> Result<(), CheckpointError> {
        self.ledger.forget_sink(sink)
    }

    fn load(&mut self, restore: &mut RestoreGroup<'_>) -> Result<Recovered, CheckpointError> {
        self.ledger.load(restore)
    }
}
