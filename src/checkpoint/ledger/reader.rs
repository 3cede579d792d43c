//! State read back while the ledger is in use: what is not in memory.
//!
//! Between two batches nothing changes what is stored of state, so all that a reader needs of the ledger is
//! which runs there are. Start at [`Reader`].
//!
//! Invariant: the runs here are those of the newest durable batch, or there are none while one is written.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Run, SharedFamilies, contents::visit_rows};
use crate::{
    checkpoint::{CheckpointError, RestoreGroup, StateReader},
    types::{BatchId, Place},
    window::Wanted,
};

/// Fewer runs are read as they are. With more of them a place is written anew once the others have as much in
/// them as the largest: so every row is written a number of times that grows with the logarithm of all.
const SCATTERED_RUNS: usize = 4;

/// The runs of the newest durable batch, as the ledger tells of them.
#[derive(Clone, Debug)]
pub(super) struct Shelved(Arc<Mutex<Runs>>);

#[derive(Debug)]
struct Runs {
    newest: Option<BatchId>,
    by_place: BTreeMap<Place, Vec<Run>>,
}

impl Shelved {
    pub(super) fn new(newest: Option<BatchId>, by_place: BTreeMap<Place, Vec<Run>>) -> Shelved {
        Shelved(Arc::new(Mutex::new(Runs { newest, by_place })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Runs) -> T) -> T {
        // It is whole after every change.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A batch is being written: until it is durable nothing can be read.
    pub(super) fn begin(&self) {
        self.with(|runs| runs.newest = None);
    }

    /// A batch is durable, and these places have other runs than before, or none. Of those that it wrote `anew`
    /// its own run is all that has to be read.
    pub(super) fn finish<'r>(
        &self,
        batch: BatchId,
        changed: impl Iterator<Item = (Place, Option<&'r Vec<Run>>)>,
        anew: &[Place],
    ) {
        self.with(|runs| {
            runs.newest = Some(batch);
            for (place, new) in changed {
                match new.map(Vec::as_slice) {
                    Some([.., whole]) if anew.contains(&place) => {
                        runs.by_place.insert(place, vec![whole.clone()])
                    }
                    Some(new) => runs.by_place.insert(place, new.to_vec()),
                    None => runs.by_place.remove(&place),
                };
            }
        });
    }

    fn of(&self, place: Place, newest: BatchId) -> Vec<Run> {
        self.with(|runs| {
            assert_eq!(
                runs.newest,
                Some(newest),
                "state is read behind the newest durable batch alone"
            );
            runs.by_place.get(&place).cloned().unwrap_or_default()
        })
    }
}

/// Reads rows of state beside the ledger.
pub(super) struct Reader {
    families: Arc<dyn SharedFamilies>,
    shelved: Shelved,
}

impl Reader {
    pub(super) fn new(families: Arc<dyn SharedFamilies>, shelved: Shelved) -> Reader {
        Reader { families, shelved }
    }
}

impl StateReader for Reader {
    fn rows(
        &mut self,
        place: Place,
        newest: BatchId,
        wanted: &mut Wanted<'_>,
        visit: &mut RestoreGroup<'_>,
    ) -> Result<(), CheckpointError> {
        let runs = self.shelved.of(place, newest);
        visit_rows(&*self.families, (place, &runs), newest, wanted, visit)
    }

    fn is_scattered(&mut self, place: Place, newest: BatchId) -> bool {
        let runs = self.shelved.of(place, newest);
        let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
        let largest = runs.iter().map(|run| run.bytes).max().unwrap_or(0);
        runs.len() >= SCATTERED_RUNS && bytes - largest >= largest
    }
}
