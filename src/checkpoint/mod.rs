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
//! Output that is not state (rows of a stateless pipeline, dead letters), and rows of state that are too many,
//! can be larger than memory: it goes [`Ahead`] of its batch while that is read, chunk by chunk, unsynced and under the batch's
//! number, and [`Visible`] gives it back chunk by chunk. Until the batch itself is durable nobody sees
//! it.
//!
//! State can be larger than memory too: a [`StateReader`] gives back what is durable, place by place.
//!
//! Not here: the bytes (`codec`), RocksDB (`rocks`), what a start may do (`batch::recover`).

pub mod codec;
mod ledger;
pub mod memory;
mod published;
pub mod rocks;
#[cfg(test)]
mod trials;
pub mod visible;

use std::path::PathBuf;

pub use published::{Durable, Visible};
pub use visible::{Announcement, VisibleFile};

use crate::{
    batch::{
        BatchRecord, Genesis, Mark, OutputChunk, Plan, Publication, VisibleFact, WrittenAhead,
    },
    spark::StateLog,
    types::{BatchId, Incarnation, Place, SinkName},
    window::{Group, Wanted},
};

/// A checkpoint directory held open by this process alone.
///
/// Every method that writes may block for a disk sync.
pub trait Checkpoint: Send {
    /// Writes, synced, who this checkpoint belongs to, before its first batch or as a new history
    /// on the state that is there, and with it how far its sinks are; any other sink is forgotten.
    ///
    /// # Errors
    /// The write failed; nothing may be assumed of it.
    fn begin(&mut self, genesis: &Genesis, marks: Vec<Mark>) -> Result<(), CheckpointError>;

    /// Counts this start, durably, and returns its number. Behind that, an announce file that cannot be
    /// read is emptied: a start that comes this far may go on without it, and so may the next.
    ///
    /// # Errors
    /// The write failed.
    fn next_incarnation(&mut self) -> Result<Incarnation, CheckpointError>;

    /// Output for the batch that is being read, to be written ahead of it beside this checkpoint,
    /// also from another thread.
    fn ahead(&self) -> Box<dyn Ahead>;

    /// Reads rows of state back beside this checkpoint, also from another thread.
    fn state_reader(&self) -> Box<dyn StateReader>;

    /// Writes a batch in one synced, atomic write: groups, positions, watermarks, history, the rows
    /// that are not state and the dead letters that did not go ahead, and which of those that did
    /// belong to it; these are durable with it. Deletes what batch n−1 closed and its output.
    ///
    /// # Errors
    /// The write or its sync failed: the batch may or may not be on disk. Stop and recover; never
    /// retry in the process.
    ///
    /// # Panics
    /// When the batch does not directly follow the newest one.
    fn persist(&mut self, plan: Plan) -> Result<Durable, CheckpointError>;

    /// Proof for the newest batch, read back after a restart; `publication` was computed again.
    /// Stored rows are read, under the columns they were written with, and their digest compared.
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

    /// Notes, unsynced, a sink that joins the history behind `newest`: it is owed every batch after that,
    /// and may not be left out while it lacks one. What makes the next batch durable makes this durable.
    ///
    /// # Errors
    /// The write failed.
    fn admit_sink(
        &mut self,
        sink: &SinkName,
        newest: Option<BatchId>,
    ) -> Result<(), CheckpointError>;

    /// Forgets a sink that this run no longer has.
    ///
    /// # Errors
    /// The write failed.
    fn forget_sink(&mut self, sink: &SinkName) -> Result<(), CheckpointError>;

    /// Reads everything back for a restart. `restore` is given every stored row of state once, by
    /// place, start and key; its flag says whether the newest batch wrote the row. A log of changes is
    /// left to [`Checkpoint::load_log`].
    ///
    /// # Errors
    /// `Corrupt` naming what does not fit, or whatever `restore` returned.
    fn load(&mut self, restore: &mut RestoreGroup<'_>) -> Result<Recovered, CheckpointError>;

    /// Reads the log of changes back for a restart, part by part, oldest first; nothing where the state is
    /// not one.
    ///
    /// # Errors
    /// `Corrupt` naming what does not fit, or whatever `restore` returned.
    fn load_log(&mut self, restore: &mut VisitLog<'_>) -> Result<(), CheckpointError>;
}

/// Takes what is to be in the checkpoint ahead of the batch that is being read: its output, state that is
/// written anew, and which topic it reads.
///
/// No output that goes here is seen by anyone before a batch that names it is durable. What no batch
/// names, because the process ended first, is deleted when the checkpoint is opened.
pub trait Ahead: Send {
    /// Begins a batch, or the same one anew: what was written for it before is deleted first.
    ///
    /// # Errors
    /// The write failed.
    fn begin(&mut self, batch: BatchId) -> Result<(), CheckpointError>;

    /// Writes the next chunk, unsynced. It takes its place in the log before the batch's own synced
    /// write, which makes it durable.
    ///
    /// # Errors
    /// The write failed: stop and recover, as with [`Checkpoint::persist`].
    fn write(&mut self, chunk: &OutputChunk) -> Result<(), CheckpointError>;

    /// Begins to write all rows of a place anew, as they are behind the batch that is read. They count with it,
    /// in place of what is stored and of what the plan changes there.
    ///
    /// # Panics
    /// When another place was begun and not ended.
    fn begin_place(&mut self, place: Place);

    /// Writes the next of them, unsynced; they come by start and key.
    ///
    /// # Errors
    /// As [`Ahead::write`].
    fn put_row(&mut self, row: Group<'_>) -> Result<(), CheckpointError>;

    /// The place has no more rows.
    ///
    /// # Errors
    /// As [`Ahead::write`].
    fn end_place(&mut self) -> Result<(), CheckpointError>;

    /// What was written for the batch, to be named by its plan.
    fn written(&self) -> WrittenAhead;

    /// Notes, synced, that the topic was made again and is read on under this id, before batch `since`,
    /// the first to do so, reads it: from then on the history is of this topic and no other, and the
    /// leader epochs of batches before are not of its log.
    ///
    /// # Errors
    /// The write failed: stop and recover. `Corrupt` when there is no history yet.
    fn follow_topic(&mut self, topic_id: &str, since: BatchId) -> Result<(), CheckpointError>;

    /// Deletes what was written for a batch that will not be persisted.
    ///
    /// # Errors
    /// The write failed; the next start deletes it.
    fn discard(&mut self) -> Result<(), CheckpointError>;
}

/// Reads state that is not in memory.
pub trait StateReader: Send {
    /// Hands out the rows of a place as they are after batch `newest`, by start and key, each once; none where
    /// nothing is stored. Of rows that are not `wanted`, which is asked in the same order, nothing more is read.
    /// The flag says whether that batch wrote the row.
    ///
    /// # Errors
    /// `Corrupt` or `Storage`, when they cannot be read; and whatever `visit` returned.
    ///
    /// # Panics
    /// When `newest` is not the newest durable batch, or while another is being written: what is read would
    /// be of no batch.
    fn rows(
        &mut self,
        place: Place,
        newest: BatchId,
        wanted: &mut Wanted<'_>,
        visit: &mut RestoreGroup<'_>,
    ) -> Result<(), CheckpointError>;

    /// Whether what is stored of a place lies in so many pieces, with so much in them that is not current, that
    /// it should be written anew as one. Asked as [`StateReader::rows`] is.
    fn is_scattered(&mut self, place: Place, newest: BatchId) -> bool;
}

/// Takes a row of state read from disk: its place, itself, and whether the newest batch wrote it.
pub type RestoreGroup<'a> = dyn FnMut(Place, Group<'_>, bool) -> Result<(), CheckpointError> + 'a;

/// Takes the next part of a log of changes.
pub type VisitLog<'a> = dyn FnMut(&StateLog) -> Result<(), CheckpointError> + 'a;

/// What a checkpoint holds, besides its state and its newest batch's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// Who it belongs to; `None` when nothing was ever written.
    pub genesis: Option<Genesis>,
    /// The newest batch.
    pub last: Option<BatchRecord>,
    /// How far each sink got.
    pub marks: Vec<Mark>,
    /// What the announce file says.
    pub visible: VisibleFact,
    /// Whether the rows of the newest batch are stored, because they are not state or were too many.
    pub rows_are_stored: bool,
    /// The newest start, 0 before the first.
    pub incarnation: Incarnation,
    /// Whether `checkpoints restore --accept-rollback` allows this start to go on from an older
    /// batch. [`Checkpoint::begin`] and [`Checkpoint::next_incarnation`] use the permission up.
    pub rollback_accepted: bool,
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
    /// It is not where it was when it was opened (exit 14).
    #[error(
        "the state directory {} was taken away or exchanged while it was in use. Nothing more was shown; \
         bring it back as it was and start again, or restore the newest backup (`sales-stream \
         checkpoints restore`)", directory.display()
    )]
    TakenAway {
        /// The state directory.
        directory: PathBuf,
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

impl CheckpointError {
    /// Ends a reading from inside: whoever does so knows why, and lets nobody see this.
    #[must_use]
    pub fn stopped(why: &impl ToString) -> CheckpointError {
        CheckpointError::Corrupt { directory: PathBuf::new(), problem: why.to_string() }
    }
}

/// For fuzzers: any bytes as a stored value.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any_value(bytes: &[u8]) {
    codec::read_any(bytes);
}

/// For fuzzers: any bytes as the slots of the announce file.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any_slots(bytes: &[u8]) {
    visible::read_any(bytes);
}
