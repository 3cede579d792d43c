//! The checkpoint port: what makes a batch durable, and the proofs that it is.
//!
//! A [`Plan`] goes in and comes back as [`Durable`]; announcing turns it into [`Visible`]; sinks
//! and the source's committer take only [`Visible`]. Neither can be made outside of this room, so that
//! no batch can be published or committed before it is durable and announced. (That the commit comes
//! behind every sink is the engine's steps' doing.)
//!
//! Invariants: a batch is on disk whole or not at all; batches follow each other without a hole; the
//! groups of a batch's closed windows stay until the batch after it is written, which is after every
//! sink was given it.
//!
//! Not here: the bytes (`codec`), RocksDB (`rocks`), what a start may do (`batch::recover`).

pub mod codec;
mod ledger;
pub mod memory;
pub mod rocks;
#[cfg(test)]
mod trials;
pub mod visible;

use std::{path::PathBuf, sync::Arc};

pub use visible::{Announcement, VisibleFile};

use crate::{
    batch::{BatchRecord, DeadLetter, Genesis, Mark, Plan, Publication, VisibleFact},
    spark::StateLog,
    types::{BatchId, Incarnation, Place, SinkName},
    window::Group,
};

/// Proof that a batch is durable: written and synced.
#[derive(Clone, Debug)]
pub struct Durable {
    publication: Arc<Publication>,
}

impl Durable {
    /// Only a store that has synced the batch, or read it back and synced it, may say so.
    pub(in crate::checkpoint) fn new(publication: Publication) -> Durable {
        Durable { publication: Arc::new(publication) }
    }

    /// Number of the batch.
    #[must_use]
    pub fn batch(&self) -> BatchId {
        self.publication.identity.batch
    }
}

/// Proof that a batch is durable and announced: it may be seen.
#[derive(Clone, Debug)]
pub struct Visible {
    publication: Arc<Publication>,
}

impl Visible {
    /// Only the announce file's writer may say so.
    pub(in crate::checkpoint) fn new(durable: Durable) -> Visible {
        Visible { publication: durable.publication }
    }

    /// What may be seen.
    #[must_use]
    pub fn publication(&self) -> &Publication {
        &self.publication
    }
}

#[cfg(test)]
impl Visible {
    /// A token for the unit tests of those who take one; there is no store behind it.
    pub(crate) fn for_test(publication: Publication) -> Visible {
        Visible::new(Durable::new(publication))
    }
}

/// A checkpoint directory held open by this process alone.
///
/// Every method that writes may block for a disk sync.
pub trait Checkpoint: Send {
    /// Writes, synced, who this checkpoint belongs to, before its first batch or as a new history
    /// on the state that is there. Every named sink that has no mark gets one that says "nothing".
    ///
    /// # Errors
    /// The write failed; nothing may be assumed of it.
    fn begin(&mut self, genesis: &Genesis, sinks: &[SinkName]) -> Result<(), CheckpointError>;

    /// Counts this start, durably, and returns its number.
    ///
    /// # Errors
    /// The write failed.
    fn next_incarnation(&mut self) -> Result<Incarnation, CheckpointError>;

    /// Writes a batch in one synced, atomic write: groups, positions, watermarks, history and, where
    /// they are not state, rows and dead letters. Deletes what batch n−1 closed.
    ///
    /// # Errors
    /// The write or its sync failed: the batch may or may not be on disk. Stop and recover; never
    /// retry in the process.
    ///
    /// # Panics
    /// When the batch does not directly follow the newest one.
    fn persist(&mut self, plan: Plan) -> Result<Durable, CheckpointError>;

    /// Proof for the newest batch, read back after a restart; `publication` was computed again.
    ///
    /// # Errors
    /// `Corrupt` when its digest is not the stored one.
    fn durable_again(&mut self, publication: Publication) -> Result<Durable, CheckpointError>;

    /// Writes `batch:digest` to the announce file and syncs it.
    ///
    /// # Errors
    /// The write or its sync failed.
    fn announce(&mut self, durable: Durable) -> Result<Visible, CheckpointError>;

    /// Notes that a sink has a batch; not synced, because losing it only publishes again.
    ///
    /// # Errors
    /// The write failed.
    fn mark(&mut self, sink: &SinkName, batch: BatchId) -> Result<(), CheckpointError>;

    /// Forgets a sink that this run no longer has.
    ///
    /// # Errors
    /// The write failed.
    fn forget_sink(&mut self, sink: &SinkName) -> Result<(), CheckpointError>;

    /// Reads everything back for a restart. `restore` is given every stored row of state once, by
    /// place, start and key; its flag says whether the newest batch wrote the row.
    ///
    /// # Errors
    /// `Corrupt` naming what does not fit, or whatever `restore` returned.
    fn load(&mut self, restore: &mut RestoreGroup<'_>) -> Result<Recovered, CheckpointError>;
}

/// Takes a row of state read from disk: its place, itself, and whether the newest batch wrote it.
pub type RestoreGroup<'a> = dyn FnMut(Place, Group<'_>, bool) -> Result<(), CheckpointError> + 'a;

/// What a checkpoint holds, besides its groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// Who it belongs to; `None` when nothing was ever written.
    pub genesis: Option<Genesis>,
    /// The newest batch.
    pub last: Option<BatchRecord>,
    /// How far each sink got.
    pub marks: Vec<Mark>,
    /// The encoded rows of the newest batch, where they are not state.
    pub stored_rows: Vec<Vec<u8>>,
    /// The dead letters of the newest batch.
    pub dead_letters: Vec<DeadLetter>,
    /// What the announce file says.
    pub visible: VisibleFact,
    /// The newest start, 0 before the first.
    pub incarnation: Incarnation,
    /// Whether `checkpoints restore --accept-rollback` allows this start to go on from an older
    /// batch. [`Checkpoint::begin`] and [`Checkpoint::next_incarnation`] use the permission up.
    pub rollback_accepted: bool,
    /// The log of changes, where the state is one; read by [`Checkpoint::load`] alone.
    pub log: Option<StateLog>,
}

/// What can go wrong with a checkpoint; each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process holds the directory (exit 10).
    #[error(
        "{} is in use by another sales-stream process; stop it, or give this one its own \
         --checkpoint-dir", directory.display()
    )]
    Locked {
        /// The state directory.
        directory: PathBuf,
    },
    /// What is on disk cannot be what was written (exit 11).
    #[error(
        "the checkpoint in {} is damaged: {problem}. Nothing was changed. Move it away and \
         restore the newest backup (`sales-stream checkpoints restore`)", directory.display()
    )]
    Corrupt {
        /// The state directory.
        directory: PathBuf,
        /// What was found, with the file or key where it is known.
        problem: String,
    },
    /// It was written by a version or for a pipeline that does not fit (exit 12).
    #[error("the checkpoint in {} does not fit: {problem}", directory.display())]
    Misfit {
        /// The state directory.
        directory: PathBuf,
        /// What does not fit and what can be done.
        problem: String,
    },
    /// It is older than what was announced (exit 13).
    #[error(
        "the checkpoint in {} is older than what was announced: {problem}. Nothing was changed. Move it \
         away and restore the newest backup (`sales-stream checkpoints restore BACKUP`); if later \
         batches were seen, the next start says how to go on from it", directory.display()
    )]
    Stale {
        /// The state directory.
        directory: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The disk or the file system failed (exit 14).
    #[error(
        "{attempt} in {} failed: {problem}. Make room or mend the disk and start again; no step by \
         hand is needed", directory.display()
    )]
    Storage {
        /// The state directory.
        directory: PathBuf,
        /// What was attempted.
        attempt: &'static str,
        /// What the system said.
        problem: String,
    },
}
