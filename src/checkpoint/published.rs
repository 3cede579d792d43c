//! The proofs that a batch is durable, and that it may be seen; and what may be seen of it.
//!
//! A batch's output is given out piece by piece, from memory or from the checkpoint, wherever it is:
//! a sink that writes each piece away never holds more than one.
//!
//! Invariant: only this room makes these values, so that no sink can be given a batch before it is
//! durable and announced.

use std::{borrow::Cow, sync::Arc};

use crate::{
    batch::{BatchRecord, DeadLetter, Identity, Publication},
    checkpoint::{CheckpointError, ledger::Outbox},
    types::{BatchId, Column, Rows},
};

/// Proof that a batch is durable: written and synced.
#[derive(Clone, Debug)]
pub struct Durable {
    publication: Arc<Publication>,
    /// Where its stored output is; `None` when all of it is in `publication`.
    outbox: Option<Outbox>,
}

impl Durable {
    /// Only a store that has synced the batch, or read it back and synced it, may say so.
    pub(in crate::checkpoint) fn new(publication: Publication, outbox: Outbox) -> Durable {
        Durable { publication: Arc::new(publication), outbox: Some(outbox) }
    }

    /// Number of the batch.
    #[must_use]
    pub fn batch(&self) -> BatchId {
        self.publication.identity.batch
    }

    pub(in crate::checkpoint) fn identity(&self) -> &Identity {
        &self.publication.identity
    }
}

/// Proof that a batch is durable and announced: it may be seen.
#[derive(Clone, Debug)]
pub struct Visible {
    durable: Durable,
}

impl Visible {
    /// Only the announce file's writer may say so.
    pub(in crate::checkpoint) fn new(durable: Durable) -> Visible {
        Visible { durable }
    }

    /// Its name.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.durable.identity()
    }

    /// What it read and counted; how many rows and dead letters there are, too.
    #[must_use]
    pub fn record(&self) -> &BatchRecord {
        &self.durable.publication.record
    }

    /// The columns of its rows.
    #[must_use]
    pub fn columns(&self) -> &Arc<[Column]> {
        self.durable.publication.rows.columns()
    }

    /// Its results in canonical order, a piece at a time; none of them is read before it is asked for.
    ///
    /// # Errors
    /// Each piece: `Corrupt` or `Storage`, when it cannot be read back.
    pub fn rows(&self) -> impl Iterator<Item = Result<Cow<'_, Rows>, CheckpointError>> {
        let here = &self.durable.publication.rows;
        let outbox = self.durable.outbox.as_ref();
        let stored = outbox.and_then(|outbox| Some((outbox, outbox.row_chunks()?)));
        let from_memory = stored.is_none().then_some(Ok(Cow::Borrowed(here)));
        let from_store = stored.into_iter().flat_map(move |(outbox, chunks)| {
            (0..chunks).map(move |chunk| outbox.rows(chunk, here.columns()).map(Cow::Owned))
        });
        from_memory.into_iter().chain(from_store)
    }

    /// Its late and malformed records of each partition in their order, a piece at a time.
    ///
    /// # Errors
    /// As [`Visible::rows`].
    pub fn dead_letters(
        &self,
    ) -> impl Iterator<Item = Result<Cow<'_, [DeadLetter]>, CheckpointError>> {
        let here = &self.durable.publication.dead_letters[..];
        let stored = self.durable.outbox.as_ref();
        let from_memory = stored.is_none().then_some(Ok(Cow::Borrowed(here)));
        let from_store = stored.into_iter().flat_map(|outbox| {
            (0..outbox.dead_letter_chunks())
                .map(move |chunk| outbox.dead_letters(chunk).map(Cow::Owned))
        });
        from_memory.into_iter().chain(from_store)
    }

    /// All of it in memory: for those who keep little batches as a whole.
    ///
    /// # Errors
    /// As [`Visible::rows`].
    pub fn whole(&self) -> Result<Publication, CheckpointError> {
        let Publication { identity, record, .. } = &*self.durable.publication;
        let mut rows = Rows::new(self.columns().clone());
        for piece in self.rows() {
            rows.append(piece?.into_owned());
        }
        let mut dead_letters = Vec::new();
        for piece in self.dead_letters() {
            dead_letters.extend(piece?.into_owned());
        }
        let (identity, record) = (*identity, record.clone());
        Ok(Publication { identity, record, rows, dead_letters: dead_letters.into() })
    }
}

#[cfg(feature = "faults")]
impl Visible {
    /// What a mutant shows of a batch that is not durable.
    pub(crate) fn planted(publication: Publication) -> Visible {
        Visible::new(Durable { publication: Arc::new(publication), outbox: None })
    }

    /// What a mutant shows of a batch that is not announced.
    pub(crate) fn not_announced(durable: Durable) -> Visible {
        Visible::new(durable)
    }

    /// What a mutant shows of a batch under another number.
    pub(crate) fn renumbered(&self, batch: BatchId) -> Visible {
        let mut publication = Publication::clone(&self.durable.publication);
        publication.identity.batch = batch;
        let outbox = self.durable.outbox.clone();
        Visible::new(Durable { publication: Arc::new(publication), outbox })
    }
}

#[cfg(test)]
impl Visible {
    /// A token for the unit tests of those who take one; there is no store behind it.
    pub(crate) fn for_test(publication: Publication) -> Visible {
        Visible::new(Durable { publication: Arc::new(publication), outbox: None })
    }
}
