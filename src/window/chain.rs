//! The stateful operators of a pipeline, one behind the other: a deduplication, then an aggregation,
//! each where the pipeline has it.
//!
//! A [`ChainBatch`] gathers what one batch adds and can be dropped without a trace; closing it moves
//! the state forward and gives everything that follows from the batch: [`Closed`]. Groups of windows and
//! of keys alone may be elsewhere than in memory ([`Chain::set_limit`]); then closing needs a [`Shelf`], and
//! rows that are too many leave through a [`Spill`] while they are computed.
//!
//! Invariant: the rows of a batch follow from the state rows that are restored and its watermarks
//! alone, unless they are projected records ([`Chain::rows_are_state`]).

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    faults::{Mutant, is_planted},
    spec::{OutputMode, Pipeline},
    types::{
        Column, Event, Keeper, Offset, OperatorCounts, OwnedEvent, Partition, Place, Rows,
        Timestamp, Verdict, Watch, Watermark, Work,
    },
    window::{
        Deduplicator, Delta, Group, KeepRows, KeyError, Misfits, SessionDelta, Sessions, Shelf,
        Spill, Table, Watermarks, WindowPlan, Windows,
        cold::Results,
        dedup::DedupDelta,
        delta::Extent,
        plan::Windowing,
        windows::{Kept, Shared},
    },
};

/// Operators at work.
#[derive(Debug)]
pub struct Chain {
    deduplicator: Option<Deduplicator>,
    groups: Option<Groups>,
    columns: Arc<[Column]>,
    /// Groups that the newest batch touched, as they were restored.
    touched: BTreeMap<Timestamp, Table>,
}

#[derive(Debug)]
enum Groups {
    Windows(Windows),
    Sessions(Sessions),
}

/// What one batch adds.
#[derive(Debug)]
pub struct ChainBatch {
    deduplicated: Option<DedupDelta>,
    grouped: Option<GroupsDelta>,
    late: u64,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of a batch, and the large one is the usual one"
)]
enum GroupsDelta {
    Windows(Delta),
    Sessions(SessionDelta),
}

/// What follows from a batch.
#[derive(Debug)]
pub struct Closed {
    /// Its result rows, in canonical order, but for those of records that are rows as they are.
    pub rows: Rows,
    /// Records that are rows as they are, in the order they are to be published.
    pub kept: Vec<OwnedEvent>,
    /// What it changes of the state, by place, ascending.
    pub changes: Vec<Changes>,
    /// Groups it touched.
    pub groups_touched: u64,
    /// Records without a session gap that were only noticed now.
    pub without_session: u64,
    /// Results that were not what a user might expect.
    pub misfits: Misfits,
    /// What Spark's progress shows of each operator, the last one in the chain first.
    pub operators: Vec<OperatorCounts>,
}

/// What a batch changes of the rows of one place.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Whose rows, and when they are done with.
    pub place: Place,
    /// Rows that are new or changed.
    pub written: Arc<Table>,
    /// Start and key of rows that are gone before their time, none of them written.
    pub removed: Vec<(Timestamp, Box<[u8]>)>,
}

impl Changes {
    /// Rows that were written.
    #[must_use]
    pub fn written(place: Place, written: impl Into<Arc<Table>>) -> Changes {
        Changes { place, written: written.into(), removed: Vec::new() }
    }
}

/// Stored rows that are not of this pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultsError {
    /// A key that cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Accumulators of other kinds or of another number.
    #[error("a stored group has other aggregates than the pipeline")]
    Accumulators,
    /// A row of an operator that the pipeline does not have.
    #[error("a stored row is of an operator that the pipeline does not have")]
    Operator,
    /// A [`Shelf`] or a [`Spill`] failed, which knows why, or was needed and not lent.
    #[error("what is not in memory cannot be reached")]
    Beyond,
}

impl Chain {
    /// The operators of a pipeline, without any state.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Chain {
        let groups = WindowPlan::new(pipeline).map(|plan| {
            let plan = Arc::new(plan);
            match plan.windowing {
                Windowing::Session => Groups::Sessions(Sessions::new(plan)),
                Windowing::Sliding(_) | Windowing::None => Groups::Windows(Windows::new(plan)),
            }
        });
        Chain {
            deduplicator: Deduplicator::new(pipeline),
            groups,
            columns: pipeline.output_columns(),
            touched: BTreeMap::new(),
        }
    }

    /// Lets groups that can be read back take about so many bytes of memory. Sessions and remembered keys
    /// cannot be.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        if let Some(Groups::Windows(windows)) = &mut self.groups {
            windows.set_limit(limit_bytes);
        }
    }

    /// Whether an operator's state is all in memory, whatever the limit.
    #[must_use]
    pub fn stays_in_memory(&self, keeper: Keeper) -> bool {
        match (keeper, &self.groups) {
            (Keeper::Keys, _) => self.deduplicator.is_some(),
            (Keeper::Groups, groups) => matches!(groups, Some(Groups::Sessions(_))),
        }
    }

    /// Whether a batch can only be closed with a shelf.
    #[must_use]
    pub fn wants_shelf(&self, batch: &mut ChainBatch, watermarks: Watermarks) -> bool {
        let (Some(Groups::Windows(windows)), Some(GroupsDelta::Windows(delta))) =
            (&self.groups, &mut batch.grouped)
        else {
            return false;
        };
        // Which groups those touch that are held until the end is not known yet.
        let held = batch.deduplicated.as_ref().is_some_and(|held| !held.is_empty());
        held && windows.may_want_shelf() || windows.wants_shelf(delta, watermarks.closing_bound)
    }

    /// Whether the rows of a batch can be computed again from state; if not, they must be stored.
    #[must_use]
    pub fn rows_are_state(&self) -> bool {
        self.groups.is_some()
    }

    /// When the next open groups close; `None` when there are none that ever do.
    #[must_use]
    pub fn first_closing(&self) -> Option<Timestamp> {
        let first = match self.groups.as_ref()? {
            Groups::Windows(windows) => windows.open().next().map(|(closing, _)| closing),
            Groups::Sessions(sessions) => sessions.first_end(),
        };
        first.filter(|closing| *closing < Place::NEVER)
    }

    /// Puts back a row read from a checkpoint; of two with the same place, start and key the later
    /// one counts. `newest`: the newest batch wrote it.
    ///
    /// # Errors
    /// A row that is not of this pipeline: the checkpoint is damaged.
    pub fn restore(
        &mut self,
        place: Place,
        row: Group<'_>,
        newest: bool,
    ) -> Result<(), ResultsError> {
        match (place.keeper, &mut self.deduplicator, &mut self.groups) {
            (Keeper::Keys, Some(deduplicator), _) => {
                deduplicator.restore(row.key, row.end);
                return Ok(());
            }
            (Keeper::Groups, _, Some(groups)) => {
                let plan = groups.plan();
                if !plan.accepts(row.accumulators) {
                    return Err(ResultsError::Accumulators);
                }
                plan.check_key(row.key)?;
                if newest && plan.output_mode == OutputMode::Update {
                    let stride = plan.stride();
                    let table = self.touched.entry(place.closing);
                    table.or_insert_with(|| Table::new(stride)).put(row);
                }
                match groups {
                    Groups::Windows(windows) => windows.restore(place.closing, row),
                    Groups::Sessions(sessions) => sessions.restore(row),
                }
            }
            _ => return Err(ResultsError::Operator),
        }
        Ok(())
    }

    /// Whether a batch may be added to in several lanes, and joined: where it comes down to sums of groups.
    #[must_use]
    pub fn can_be_shared(&self) -> bool {
        self.deduplicator.is_none() && matches!(self.groups, Some(Groups::Windows(_)))
    }

    /// Opens one of so many lanes of a batch that works under these watermarks.
    #[must_use]
    pub fn open(&self, watermarks: Watermarks, lanes: usize) -> ChainBatch {
        let late_bound = if is_planted(Mutant::ForgetLateBound) {
            Watermark(i64::MIN)
        } else if is_planted(Mutant::LateBoundTooNew) {
            watermarks.closing_bound
        } else {
            watermarks.late_bound
        };
        let grouped = self.groups.as_ref().map(|groups| match groups {
            Groups::Windows(windows) => {
                GroupsDelta::Windows(Delta::new(windows, late_bound, lanes))
            }
            Groups::Sessions(sessions) => {
                GroupsDelta::Sessions(SessionDelta::new(sessions.plan().clone(), late_bound))
            }
        });
        let deduplicated = self.deduplicator.as_ref().map(|_| DedupDelta::new(late_bound));
        ChainBatch { deduplicated, grouped, late: 0 }
    }

    /// The batch before tells no more how large the windows of the next one are.
    pub fn forget_sizes(&mut self) {
        if let Some(Groups::Windows(windows)) = &mut self.groups {
            windows.touched = Extent::default();
        }
    }

    /// Takes one record into the batch. `gap_us` is its session gap in microseconds, where there are
    /// sessions and it has one.
    #[inline]
    pub fn add(
        &self,
        batch: &mut ChainBatch,
        at: (Partition, Offset),
        event: &Event<'_>,
        gap_us: Option<i64>,
    ) -> Verdict {
        let verdict = match (&self.deduplicator, &mut batch.deduplicated) {
            (Some(deduplicator), Some(delta)) => deduplicator.add(delta, at, event, gap_us),
            _ => match &mut batch.grouped {
                Some(delta) => delta.add(event, gap_us),
                None => Verdict::Row,
            },
        };
        batch.late += u64::from(verdict == Verdict::Late);
        verdict
    }

    /// Closes a batch: the state then is that after it. The rows are put into `rows`, which is empty, as
    /// far as `spill` leaves them there; whoever lends a shelf says that every batch before this one is durable.
    /// `watch` is told what is being done.
    ///
    /// # Errors
    /// Stored rows that are not of this pipeline; [`ResultsError::Beyond`].
    pub fn close<'b>(
        &mut self,
        batch: ChainBatch,
        watermarks: Watermarks,
        (rows, shelf, spill): (Rows, Option<&'b mut (dyn Shelf + '_)>, &'b mut (dyn Spill + '_)),
        watch: &mut Watch<'_>,
    ) -> Result<Closed, ResultsError> {
        let ChainBatch { deduplicated, mut grouped, mut late } = batch;
        let mut closed = Closed::nothing(rows);
        let mut first = None;
        if let (Some(deduplicator), Some(delta)) = (&mut self.deduplicator, deduplicated) {
            let (held, mut counts) =
                deduplicator.close(delta, watermarks.closing_bound, &mut closed.changes, watch);
            counts.dropped = std::mem::take(&mut late);
            first = Some(counts);
            for held in held {
                match &mut grouped {
                    Some(delta) => {
                        let verdict = delta.add(&held.event.borrow(), held.gap_us);
                        closed.without_session += u64::from(verdict == Verdict::NoSession);
                    }
                    None => closed.kept.push(held.event),
                }
            }
        }
        if let (Some(groups), Some(delta)) = (&mut self.groups, grouped) {
            let beyond = (shelf, spill);
            let mut counts = groups.close(delta, watermarks, (&mut closed, beyond), watch)?;
            counts.dropped = late;
            closed.operators.push(counts);
        }
        closed.operators.extend(first);
        closed.changes.sort_by_key(|changes| changes.place);
        Ok(closed)
    }

    /// About how many bytes of memory an operator's state takes.
    #[must_use]
    pub fn memory_bytes(&self, keeper: Keeper) -> usize {
        match keeper {
            Keeper::Groups => self.groups.as_ref().map_or(0, |groups| match groups {
                Groups::Windows(windows) => windows.memory_bytes(),
                Groups::Sessions(sessions) => sessions.memory_bytes(),
            }),
            Keeper::Keys => self.deduplicator.as_ref().map_or(0, Deduplicator::memory_bytes),
        }
    }

    /// Puts the state behind the newest batch, whose state rows were restored, and computes its rows
    /// again where they follow from state and are needed: they are not where they are stored, or published.
    /// Where everything is in memory, no shelf is needed. All rows stay in memory: the run that made them stored
    /// them where they were more than its own room.
    ///
    /// # Errors
    /// Stored rows that are not of this pipeline; [`ResultsError::Beyond`].
    pub fn resume(
        &mut self,
        watermarks: Watermarks,
        needs_rows: bool,
        shelf: Option<&mut (dyn Shelf + '_)>,
    ) -> Result<Rows, ResultsError> {
        let mut closed = Closed::nothing(Rows::new(self.columns.clone()));
        if let Some(deduplicator) = &mut self.deduplicator {
            deduplicator.forget(watermarks.closing_bound);
        }
        let touched = std::mem::take(&mut self.touched).into_iter();
        let touched: Vec<_> = touched.map(|(closing, table)| (closing, Arc::new(table))).collect();
        match &mut self.groups {
            Some(Groups::Windows(windows)) => {
                windows.fit();
                if needs_rows {
                    let beyond: Beyond<'_, '_, '_> = (shelf, &mut KeepRows);
                    let out = (&mut closed, beyond);
                    window_results(windows, &touched, watermarks, out, &mut |_| {})?;
                } else {
                    windows.close(watermarks.closing_bound);
                }
            }
            Some(Groups::Sessions(sessions)) => {
                // Those that an earlier batch closed share a place with some that are still open.
                sessions.close(watermarks.late_bound);
                if needs_rows {
                    let out = (&mut closed, &mut KeepRows as &mut dyn Spill);
                    session_results(sessions, watermarks, out, &mut |_| {})?;
                } else {
                    sessions.close(watermarks.closing_bound);
                }
            }
            None => {}
        }
        Ok(closed.rows)
    }
}

impl Closed {
    fn nothing(rows: Rows) -> Closed {
        Closed {
            rows,
            kept: Vec::new(),
            changes: Vec::new(),
            groups_touched: 0,
            without_session: 0,
            misfits: Misfits::default(),
            operators: Vec::new(),
        }
    }

    fn results<'r, 's>(&'r mut self, spill: &'r mut (dyn Spill + 's)) -> Results<'r, 's> {
        Results { rows: &mut self.rows, misfits: &mut self.misfits, spill }
    }
}

/// What is used beyond memory.
type Beyond<'b, 's, 't> = (Option<&'b mut (dyn Shelf + 's)>, &'b mut (dyn Spill + 't));

impl Groups {
    fn plan(&self) -> &Arc<WindowPlan> {
        match self {
            Groups::Windows(windows) => windows.plan(),
            Groups::Sessions(sessions) => sessions.plan(),
        }
    }

    fn close(
        &mut self,
        delta: GroupsDelta,
        watermarks: Watermarks,
        (closed, (mut shelf, spill)): (&mut Closed, Beyond<'_, '_, '_>),
        watch: &mut Watch<'_>,
    ) -> Result<OperatorCounts, ResultsError> {
        watch(Work::Updates(Keeper::Groups));
        match (self, delta) {
            (Groups::Windows(windows), GroupsDelta::Windows(mut delta)) => {
                delta.end();
                closed.groups_touched = delta.groups();
                let bound = watermarks.closing_bound;
                let merged = windows.merge(delta, bound, shelf.as_deref_mut())?;
                if merged.wrote_anew && windows.plan().output_mode == OutputMode::Update {
                    spill.store();
                }
                let touched = merged.touched;
                let out = (&mut *closed, (shelf, spill));
                let removed = window_results(windows, &touched, watermarks, out, watch)?;
                let places = touched
                    .into_iter()
                    .map(|(closing, table)| Changes::written(Place::groups(closing), table));
                closed.changes.extend(places);
                Ok(counts(windows.groups(), closed.groups_touched, removed))
            }
            (Groups::Sessions(sessions), GroupsDelta::Sessions(delta)) => {
                let merged = sessions.merge(delta, &mut closed.changes);
                closed.groups_touched = merged.written;
                let out = (&mut *closed, spill);
                let removed = session_results(sessions, watermarks, out, watch)?;
                Ok(counts(sessions.len(), merged.written, removed + merged.removed))
            }
            _ => unreachable!("a batch is closed by the chain that opened it"),
        }
    }
}

impl ChainBatch {
    /// Adds what was added to the same batch in another lane.
    ///
    /// # Panics
    /// Where the operators cannot be shared ([`Chain::can_be_shared`]).
    pub fn absorb(&mut self, other: ChainBatch) {
        match (&mut self.grouped, other.grouped) {
            (Some(GroupsDelta::Windows(delta)), Some(GroupsDelta::Windows(other))) => {
                delta.absorb(other);
            }
            _ => unreachable!("only groups of windows are shared"),
        }
        self.late += other.late;
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let held = self.deduplicated.as_ref().map_or(0, DedupDelta::memory_bytes);
        held + match &self.grouped {
            Some(GroupsDelta::Windows(delta)) => delta.memory_bytes(),
            Some(GroupsDelta::Sessions(delta)) => delta.memory_bytes(),
            None => 0,
        }
    }
}

impl GroupsDelta {
    #[inline]
    fn add(&mut self, event: &Event<'_>, gap_us: Option<i64>) -> Verdict {
        match self {
            GroupsDelta::Windows(delta) => delta.add(event),
            GroupsDelta::Sessions(delta) => delta.add(event, gap_us),
        }
    }
}

fn counts(total: u64, updated: u64, removed: u64) -> OperatorCounts {
    OperatorCounts { total, updated, removed, dropped: 0 }
}

/// The rows of a batch, and the windows it closes taken out; how many groups these had.
fn window_results(
    windows: &mut Windows,
    touched: &[Shared],
    watermarks: Watermarks,
    (closed, (mut shelf, spill)): (&mut Closed, Beyond<'_, '_, '_>),
    watch: &mut Watch<'_>,
) -> Result<u64, ResultsError> {
    let plan = windows.plan().clone();
    watch(Work::Removals(Keeper::Groups));
    let finished = windows.close(watermarks.closing_bound);
    watch(Work::Rest);
    let removed = finished.iter().map(|(_, kept)| kept.groups()).sum();
    let mut results = closed.results(spill);
    let mut publish = |closing: Timestamp, kept: &Kept| match kept {
        Kept::Warm { table, .. } => results.append(&plan, table.sorted()),
        Kept::Cold(_) => {
            let shelf = shelf.as_deref_mut().ok_or(ResultsError::Beyond)?;
            let touched = touched.iter().find(|(instant, _)| *instant == closing);
            results.append_cold(&plan, closing, touched.map(|(_, table)| &**table), shelf)
        }
    };
    match plan.output_mode {
        OutputMode::Complete => {
            windows.open().try_for_each(|(closing, kept)| publish(closing, kept))?;
        }
        // Each is let go when its rows are there.
        OutputMode::Append => {
            finished.into_iter().try_for_each(|(closing, kept)| publish(closing, &kept))?;
        }
        OutputMode::Update => {
            for (_, table) in touched {
                results.append(&plan, table.sorted())?;
            }
        }
    }
    Ok(removed)
}

/// The rows of a batch, and the sessions it closes taken out; how many these were.
fn session_results(
    sessions: &mut Sessions,
    watermarks: Watermarks,
    (closed, spill): (&mut Closed, &mut (dyn Spill + '_)),
    watch: &mut Watch<'_>,
) -> Result<u64, ResultsError> {
    let plan = sessions.plan().clone();
    watch(Work::Removals(Keeper::Groups));
    let finished = sessions.close(watermarks.closing_bound);
    watch(Work::Rest);
    let published = match plan.output_mode {
        OutputMode::Complete => sessions.sorted(),
        OutputMode::Append | OutputMode::Update => finished.sorted().collect(),
    };
    closed.results(spill).append(&plan, published)?;
    Ok(finished.len() as u64)
}
