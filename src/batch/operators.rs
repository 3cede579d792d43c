//! The engines a job can have behind it: whatever keeps state between batches.
//!
//! Every engine answers the same calls, in this order: [`Operators::restore`] for each stored row and
//! [`Operators::resume`] after a restart; then for each batch [`Operators::open`] under its
//! watermarks, [`Operators::add`] or [`Operators::add_row`] for each record that passed the filters,
//! and [`Operators::close`], which gives rows, changes of state and counts. An open batch can be
//! dropped without a trace.
//!
//! There are two engines: our own way ([`Chain`]), whose state is rows of state, and Spark's
//! ([`SparkEngine`]), whose state is a log of changes, because there the order of changes decides the
//! order of rows: [`Operators::restore_log`]. Its rows are stored, never computed again.

use crate::{
    decode::ValueError,
    spark::{
        Bounds, Failure, KeyError, LogWrite, SparkBatch, SparkEngine, SparkError, SparkOutcome,
        StateLog, topic_order,
    },
    spec::Pipeline,
    types::{
        BatchId, Event, Keeper, Offset, OperatorCounts, OwnedEvent, Partition, Place, Rows,
        Timestamp, Value, Verdict, Watch,
    },
    window::{Chain, ChainBatch, Changes, Group, Misfits, ResultsError, Shelf, Spill, Watermarks},
};

/// A log is begun anew with a snapshot once it has so many times the keys there are...
const LOG_PER_KEY: u64 = 8;
/// ...and this many changes.
const LOG_AT_LEAST: u64 = 100_000;

/// What keeps a job from going on from its state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Stored rows of state that are not of this pipeline.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// Stored keys that are not of this pipeline.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// State of keys or values of other types.
    #[error(
        "the checkpoint's state is {stored}, and this pipeline needs {needed}; Spark refuses this too \
         (its state schema is not compatible). Run the pipeline it was made for, or start over with \
         another --checkpoint-dir"
    )]
    Schema {
        /// What is stored.
        stored: String,
        /// What the pipeline keeps.
        needed: String,
    },
    /// A value that ends the run, with ANSI mode on.
    #[error(transparent)]
    Failure(#[from] Box<Failure>),
    /// A value that ends the run where a kept record becomes a row.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl From<SparkError> for StateError {
    fn from(error: SparkError) -> StateError {
        match error {
            SparkError::Failure(failure) => StateError::Failure(failure),
            SparkError::Key(error) => StateError::Key(error),
        }
    }
}

/// What follows from a batch, whichever engine ran it.
#[derive(Debug)]
pub(super) struct Closed {
    /// Its rows, in the order they are to be published; of records that are rows as they are, only
    /// those the engine keeps in an order of its own.
    pub(super) rows: Rows,
    /// Records that are rows as they are, in the order they are to be published behind `rows`.
    pub(super) kept: Vec<OwnedEvent>,
    pub(super) changes: Vec<Changes>,
    pub(super) log: Option<LogWrite>,
    pub(super) groups_touched: u64,
    pub(super) without_session: u64,
    pub(super) duplicates: u64,
    pub(super) misfits: Misfits,
    pub(super) operators: Vec<OperatorCounts>,
}

/// Spark's engine with what is known of its log.
#[derive(Debug)]
pub(super) struct SparkOperators {
    engine: SparkEngine,
    /// Changes in the log since its last snapshot.
    logged: u64,
}

/// A batch of Spark's engine.
#[derive(Debug)]
pub(super) struct SparkOpen {
    batch: SparkBatch,
    /// What ended the query, first of all.
    failure: Option<Box<Failure>>,
}

/// The engine of a job.
#[derive(Debug)]
pub(super) enum Operators {
    Ours(Chain),
    Spark(SparkOperators),
}

/// What one batch adds, of the same engine.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of a batch, and the large one is the usual one"
)]
pub(super) enum OperatorBatch {
    Ours(ChainBatch),
    Spark(Box<SparkOpen>),
}

impl Operators {
    /// The engine that a pipeline asks for, without any state.
    pub(super) fn new(pipeline: &Pipeline) -> Operators {
        match SparkEngine::new(pipeline) {
            Some(engine) => Operators::Spark(SparkOperators { engine, logged: 0 }),
            None => Operators::Ours(Chain::new(pipeline)),
        }
    }

    /// Whether the rows of a batch can be computed again from state; if not, they are stored.
    pub(super) fn rows_are_state(&self) -> bool {
        match self {
            Operators::Ours(chain) => chain.rows_are_state(),
            Operators::Spark(_) => false,
        }
    }

    /// The order in which the partitions of a topic count as read, of `partitions` in all.
    pub(super) fn order(&self, pipeline: &Pipeline, partitions: usize) -> Vec<Partition> {
        match pipeline.semantics.compat {
            Some(compat) => topic_order(compat, &pipeline.topic, partitions),
            None => (0..).map(Partition).take(partitions).collect(),
        }
    }

    /// When the open groups that close first do so, for a hint to the user.
    pub(super) fn first_closing(&self) -> Option<Timestamp> {
        match self {
            Operators::Ours(chain) => chain.first_closing(),
            Operators::Spark(_) => None,
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
            Operators::Spark(_) => Err(ResultsError::Operator),
        }
    }

    /// Puts back the next part of a checkpoint's log of changes.
    pub(super) fn restore_log(&mut self, part: &StateLog) -> Result<(), StateError> {
        let Operators::Spark(spark) = self else { return Err(ResultsError::Operator.into()) };
        let needed = spark.engine.schema();
        if part.schema != needed {
            return Err(StateError::Schema { stored: part.schema.clone(), needed });
        }
        // As in Spark, a checkpoint's own number of partitions and its state store go on.
        if spark.logged == 0 {
            spark.engine.pin(part.partitions, part.state_store);
        }
        spark.engine.replay(&part.changes)?;
        spark.logged += part.changes.len() as u64;
        Ok(())
    }

    /// Moves the restored state behind the newest batch, `last`, which worked under these watermarks, and
    /// computes its rows again where they follow from state and are needed.
    pub(super) fn resume(
        &mut self,
        (last, watermarks): (BatchId, Watermarks),
        needs_rows: bool,
        shelf: Option<&mut (dyn Shelf + '_)>,
    ) -> Result<Option<Rows>, StateError> {
        match self {
            Operators::Ours(chain) => Ok(Some(chain.resume(watermarks, needs_rows, shelf)?)),
            Operators::Spark(spark) => {
                spark.engine.resume(last.0 + 1)?;
                Ok(None)
            }
        }
    }

    /// Opens one of so many lanes of a batch under its watermarks.
    pub(super) fn open(&self, watermarks: Watermarks, lanes: usize) -> OperatorBatch {
        match self {
            Operators::Ours(chain) => OperatorBatch::Ours(chain.open(watermarks, lanes)),
            Operators::Spark(spark) => OperatorBatch::Spark(Box::new(SparkOpen {
                batch: spark.engine.open(watermarks.late_bound),
                failure: None,
            })),
        }
    }

    /// The batch before tells no more how large the next one is.
    pub(super) fn forget_sizes(&mut self) {
        if let Operators::Ours(chain) = self {
            chain.forget_sizes();
        }
    }

    /// Whether a batch may be added to in several lanes, and joined.
    pub(super) fn can_be_shared(&self) -> bool {
        match self {
            Operators::Ours(chain) => chain.can_be_shared(),
            // There the order of changes decides the order of rows.
            Operators::Spark(_) => false,
        }
    }

    /// Takes one record of those that become groups; `gap_us` is its session gap in microseconds,
    /// where it has one.
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
            (_, OperatorBatch::Spark(open)) => open.add(at.0, event, gap_us, &[]),
            (_, OperatorBatch::Ours(_)) => unreachable!("a batch goes back to its own engine"),
        }
    }

    /// Takes one record of those that are rows as they are; `row` is its row.
    #[inline(never)]
    pub(super) fn add_row(
        &self,
        batch: &mut OperatorBatch,
        at: (Partition, Offset),
        event: &Event<'_>,
        row: &[Value<'_>],
    ) -> Verdict {
        match batch {
            OperatorBatch::Ours(_) => self.add(batch, at, event, None),
            OperatorBatch::Spark(open) => open.add(at.0, event, None, row),
        }
    }

    /// About how many bytes of memory an operator's state takes.
    pub(super) fn memory_bytes(&self, keeper: Keeper) -> usize {
        match self {
            Operators::Ours(chain) => chain.memory_bytes(keeper),
            Operators::Spark(spark) => spark.engine.memory_bytes(keeper),
        }
    }

    /// Lets state that can be read back take about so many bytes of memory.
    pub(super) fn set_limit(&mut self, limit_bytes: usize) {
        match self {
            Operators::Ours(chain) => chain.set_limit(limit_bytes),
            Operators::Spark(_) => {}
        }
    }

    /// Whether an operator's state is all in memory, whatever the limit.
    pub(super) fn stays_in_memory(&self, keeper: Keeper) -> bool {
        match self {
            Operators::Ours(chain) => chain.stays_in_memory(keeper),
            Operators::Spark(_) => true,
        }
    }

    /// Whether a batch can only be closed with a shelf.
    pub(super) fn wants_shelf(&self, batch: &mut OperatorBatch, watermarks: Watermarks) -> bool {
        match (self, batch) {
            (Operators::Ours(chain), OperatorBatch::Ours(batch)) => {
                chain.wants_shelf(batch, watermarks)
            }
            _ => false,
        }
    }

    /// Closes a batch under the watermarks it was opened with; `watch` is told what is being done. Where
    /// rows can be computed again from state, they are put into `rows`, as far as `spill` leaves them there.
    pub(super) fn close<'b>(
        &mut self,
        batch: OperatorBatch,
        (watermarks, partitions): (Watermarks, usize),
        (rows, shelf, spill): (Rows, Option<&'b mut (dyn Shelf + '_)>, &'b mut (dyn Spill + '_)),
        watch: &mut Watch<'_>,
    ) -> Result<Closed, StateError> {
        match (self, batch) {
            (Operators::Ours(chain), OperatorBatch::Ours(batch)) => {
                let closed = chain.close(batch, watermarks, (rows, shelf, spill), watch)?;
                Ok(Closed {
                    rows: closed.rows,
                    kept: closed.kept,
                    changes: closed.changes,
                    log: None,
                    groups_touched: closed.groups_touched,
                    without_session: closed.without_session,
                    duplicates: 0,
                    misfits: closed.misfits,
                    operators: closed.operators,
                })
            }
            (Operators::Spark(spark), OperatorBatch::Spark(open)) => {
                spark.close(*open, watermarks, partitions, watch)
            }
            _ => unreachable!("a batch goes back to its own engine"),
        }
    }
}

impl OperatorBatch {
    /// Adds what another lane added to the same batch.
    pub(super) fn absorb(&mut self, other: OperatorBatch) {
        match (self, other) {
            (OperatorBatch::Ours(batch), OperatorBatch::Ours(other)) => batch.absorb(other),
            _ => unreachable!("only batches of our own way are shared"),
        }
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            OperatorBatch::Ours(batch) => batch.memory_bytes(),
            OperatorBatch::Spark(open) => open.batch.memory_bytes(),
        }
    }
}

impl SparkOpen {
    #[inline(never)]
    fn add(
        &mut self,
        partition: Partition,
        event: &Event<'_>,
        gap_us: Option<i64>,
        row: &[Value<'_>],
    ) -> Verdict {
        let added = self.batch.add(partition, event, gap_us, row);
        added.unwrap_or_else(|failure| {
            // Nothing of a batch is written before it is closed, which then says so.
            self.failure.get_or_insert(failure);
            Verdict::Counted
        })
    }
}

impl SparkOperators {
    fn close(
        &mut self,
        open: SparkOpen,
        watermarks: Watermarks,
        partitions: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Closed, StateError> {
        if let Some(failure) = open.failure {
            return Err(failure.into());
        }
        let bounds = Bounds { late: watermarks.late_bound, closing: watermarks.closing_bound };
        let outcome = self.engine.close(open.batch, bounds, partitions, watch)?;
        let SparkOutcome { rows, operators, duplicates, changes, .. } = outcome;
        let groups_touched = operators.first().map_or(0, |counts| counts.updated);
        // A batch without a change takes room too.
        self.logged += changes.len() as u64 + 1;
        let is_snapshot = self.logged > LOG_AT_LEAST.max(self.engine.keys() * LOG_PER_KEY);
        let changes = if is_snapshot { self.engine.snapshot() } else { changes };
        if is_snapshot {
            self.logged = changes.len() as u64;
        }
        let (partitions, state_store) = self.engine.pinned();
        let log = StateLog { partitions, state_store, schema: self.engine.schema(), changes };
        Ok(Closed {
            rows,
            kept: Vec::new(),
            changes: Vec::new(),
            log: Some(LogWrite { log, is_snapshot }),
            groups_touched,
            without_session: 0,
            duplicates,
            misfits: Misfits::default(),
            operators,
        })
    }
}
