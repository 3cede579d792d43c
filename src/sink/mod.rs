//! The sink port: where published batches go.
//!
//! A sink is given whole batches, in order, each at least once and never before it is durable and
//! announced. A sink that can keep its own marker says so and is exactly-once: it recognises a batch
//! that it already has.
//!
//! Not here: the order of a batch's steps (`engine`), how a row is computed (`window`).

mod batch_files;
mod blocks;
pub mod console;
pub mod dead_letter;
pub mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod json;
pub mod memory;

use crate::{
    batch::MarkerFact,
    checkpoint::{CheckpointError, Visible},
    types::{BatchId, Lineage, SinkName},
};

/// Where published batches go.
pub trait Sink: Send {
    /// Its name in marks and messages.
    fn name(&self) -> &SinkName;

    /// What it keeps of its own; read before anything is published. Changes nothing.
    ///
    /// # Errors
    /// It could not be found out.
    fn marker(&mut self) -> Result<MarkerFact, SinkError>;

    /// Makes it this history's, durably: called at every start, after the decision to go on and
    /// before the first publish. `newest` is the newest durable batch; whatever a superseded history
    /// left above it is moved aside.
    ///
    /// # Errors
    /// The sink failed or belongs to someone else.
    fn begin(&mut self, lineage: Lineage, newest: Option<BatchId>) -> Result<(), SinkError>;

    /// Publishes a batch whole. On return it is as durable as the sink can make it. Its rows and dead
    /// letters may be more than memory holds; [`Visible`] gives them out piece by piece.
    ///
    /// # Errors
    /// `Retry` when the same call may succeed later.
    fn publish(&mut self, batch: &Visible) -> Result<(), SinkError>;
}

/// The sink that publishes nothing: state and offsets only.
#[derive(Debug)]
pub struct NoSink {
    name: SinkName,
}

impl NoSink {
    /// The sink `none`.
    #[must_use]
    pub fn new() -> NoSink {
        NoSink { name: SinkName("none".to_owned()) }
    }
}

impl Default for NoSink {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for NoSink {
    fn name(&self) -> &SinkName {
        &self.name
    }

    fn marker(&mut self) -> Result<MarkerFact, SinkError> {
        Ok(MarkerFact::NotKept)
    }

    fn begin(&mut self, _: Lineage, _: Option<BatchId>) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self, _: &Visible) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What can go wrong with a sink; each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The reader of stdout went away: the run ends with 0 and the batch unpublished.
    #[error("the reader of stdout is gone")]
    Closed,
    /// What it is to publish cannot be read back from the checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It holds something else under this batch's name (exit 13).
    #[error("{0}")]
    Diverged(String),
    /// It belongs to another history (exit 12).
    #[error("{0}")]
    Foreign(String),
    /// Its storage failed (exit 14).
    #[error("{0}")]
    Storage(String),
    /// It does not take the batch now and may later.
    #[error("{0}")]
    Retry(String),
    /// It refuses the batch for good (exit 30).
    #[error("{0}")]
    Refused(String),
}
