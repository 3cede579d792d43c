//! The engines a job can have behind it: whatever keeps state between batches.
//!
//! Every engine answers the same calls, in this order: [`Operators::restore`] for each stored row and
//! [`Operators::resume`] after a restart; then for each batch [`Operators::open`] under its
//! watermarks, [`Operators::add`] for each record that passed the filters, and [`Operators::close`],
//! which gives rows, changes of state and counts. An open batch can be dropped without a trace.
//!
//! There is one engine so far, our own way ([`Chain`]). Another one is a variant of [`Operators`] and
//! one of [`OperatorBatch`]; it says by [`Operators::rows_are_state`] whether its rows must be stored,
//! and keeps what it likes in rows of state.

use crate::{
    spec::Pipeline,
    types::{Event, Offset, Partition, Place, Rows, Timestamp, Verdict},
    window::{Chain, ChainBatch, Closed, Group, ResultsError, Watermarks},
};

/// The engine of a job.
#[derive(Debug)]
pub(super) enum Operators {
    Ours(Chain),
}

/// What one batch adds, of the same engine.
#[derive(Debug)]
pub(super) enum OperatorBatch {
    Ours(ChainBatch),
}

impl Operators {
    /// The engine that a pipeline asks for, without any state.
    pub(super) fn new(pipeline: &Pipeline) -> Operators {
        Operators::Ours(Chain::new(pipeline))
    }

    /// Whether the rows of a batch can be computed again from state; if not, they are stored.
    pub(super) fn rows_are_state(&self) -> bool {
        match self {
            Operators::Ours(chain) => chain.rows_are_state(),
        }
    }

    /// When the open groups that close first do so, for a hint to the user.
    pub(super) fn first_closing(&self) -> Option<Timestamp> {
        match self {
            Operators::Ours(chain) => chain.first_closing(),
        }
    }

    /// Puts back a row of state; `newest`: the newest batch wrote it.
    pub(super) fn restore(
        &mut self,
        place: Place,
        row: Group<'_>,
        newest: bool,
    ) -> Result<(), ResultsError> {
        match self {
            Operators::Ours(chain) => chain.restore(place, row, newest),
        }
    }

    /// Moves the restored state behind the newest batch, which worked under these watermarks, and
    /// computes its rows again where they follow from state.
    pub(super) fn resume(&mut self, watermarks: Watermarks) -> Result<Rows, ResultsError> {
        match self {
            Operators::Ours(chain) => chain.resume(watermarks),
        }
    }

    /// Opens a batch under its watermarks.
    pub(super) fn open(&self, watermarks: Watermarks) -> OperatorBatch {
        match self {
            Operators::Ours(chain) => OperatorBatch::Ours(chain.open(watermarks)),
        }
    }

    /// Takes one record; `gap_us` is its session gap in microseconds, where it has one.
    #[inline]
    pub(super) fn add(
        &self,
        batch: &mut OperatorBatch,
        at: (Partition, Offset),
        event: &Event<'_>,
        gap_us: Option<i64>,
    ) -> Verdict {
        match (self, batch) {
            (Operators::Ours(chain), OperatorBatch::Ours(batch)) => {
                chain.add(batch, at, event, gap_us)
            }
        }
    }

    /// Closes a batch under the watermarks it was opened with.
    pub(super) fn close(
        &mut self,
        batch: OperatorBatch,
        watermarks: Watermarks,
    ) -> Result<Closed, ResultsError> {
        match (self, batch) {
            (Operators::Ours(chain), OperatorBatch::Ours(batch)) => chain.close(batch, watermarks),
        }
    }
}
