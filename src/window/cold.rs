//! Groups that are not in memory: where they are read, and how a batch works with them without bringing
//! them back.
//!
//! Every row of state is in the checkpoint once its batch is durable, by closing instant, start and key. So a
//! table can be dropped, and what touches or closes its groups is joined with a stream of their rows: both are
//! sorted alike, and neither has to be held.
//!
//! Invariant: a shelf shows the state after the newest batch, and is only asked while that batch is durable
//! and no other is being written; whoever closes a batch says so by lending one.
//!
//! Start at [`Shelf`]. Not here: which tables are dropped and when ([`super::Windows`]), how rows are read back
//! (`checkpoint`).

use std::cell::{Cell, RefCell};

use crate::{
    faults::{Mutant, is_planted},
    types::{Rows, Timestamp},
    window::{Group, Misfits, ResultsError, Table, WindowPlan},
};

/// Where the groups are that are not in memory.
pub trait Shelf {
    /// Hands out the groups that close at an instant and are wanted, as they were after the newest batch, by start
    /// and key; none where there are none.
    ///
    /// # Errors
    /// [`ResultsError::Beyond`] when they cannot be read; whoever lent the shelf knows why. And whatever
    /// `visit` returned.
    fn groups(
        &mut self,
        closing: Timestamp,
        wanted: &mut Wanted<'_>,
        visit: &mut VisitGroup<'_>,
    ) -> Result<(), ResultsError>;

    /// Whether the groups that close at an instant should be written anew, because what is stored of them lies
    /// in too many pieces.
    fn is_scattered(&mut self, closing: Timestamp) -> bool;

    /// Writes the groups that close at an instant anew, all of them, as they are behind the batch that is being
    /// closed, which has touched `touched`. A restart then does not know any more which these are, so that rows
    /// that follow from them must be stored.
    ///
    /// # Errors
    /// As [`Shelf::groups`].
    fn write_anew(&mut self, closing: Timestamp, touched: &Table) -> Result<(), ResultsError>;
}

/// Hands out the groups of an instant as they are behind a batch: those it touched, which have their new totals,
/// and the others from the shelf.
///
/// # Errors
/// As [`Shelf::groups`].
pub fn overlaid(
    shelf: &mut (dyn Shelf + '_),
    closing: Timestamp,
    touched: Option<&Table>,
    visit: &mut VisitGroup<'_>,
) -> Result<(), ResultsError> {
    let mut touched = touched.into_iter().flat_map(Table::sorted).peekable();
    shelf.groups(closing, &mut |_, _| true, &mut |stored| {
        while let Some(newer) = touched.next_if(|group| group.order() < stored.order()) {
            visit(newer)?;
        }
        match touched.next_if(|group| group.order() == stored.order()) {
            Some(newer) => visit(newer),
            None => visit(stored),
        }
    })?;
    touched.try_for_each(visit)
}

/// Says whether a group with this start and key is wanted, before its totals are read.
pub type Wanted<'a> = dyn FnMut(Timestamp, &[u8]) -> bool + 'a;

/// Takes a group.
pub type VisitGroup<'a> = dyn FnMut(Group<'_>) -> Result<(), ResultsError> + 'a;

/// Takes result rows away while more of them come, so that they need not all be in memory.
pub trait Spill {
    /// There are full chunks in `rows`; they may be taken, in order.
    ///
    /// # Errors
    /// [`ResultsError::Beyond`] when they cannot be put anywhere; whoever lent it knows why.
    fn look(&mut self, rows: &mut Rows) -> Result<(), ResultsError>;

    /// All rows must be stored, because a restart could not compute them again.
    fn store(&mut self);
}

/// Keeps all rows where they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepRows;

impl Spill for KeepRows {
    fn look(&mut self, _: &mut Rows) -> Result<(), ResultsError> {
        Ok(())
    }

    fn store(&mut self) {}
}

/// What is appended to while results are computed.
pub(super) struct Results<'r, 's> {
    pub(super) rows: &'r mut Rows,
    pub(super) misfits: &'r mut Misfits,
    pub(super) spill: &'r mut (dyn Spill + 's),
}

impl Results<'_, '_> {
    /// Appends the rows of groups in the order given.
    pub(super) fn append<'g>(
        &mut self,
        plan: &WindowPlan,
        groups: impl IntoIterator<Item = Group<'g>>,
    ) -> Result<(), ResultsError> {
        let mut groups = groups.into_iter();
        loop {
            let chunks = self.rows.chunks().len();
            // As many as make another chunk.
            if plan.results_while(&mut groups, self.rows, self.misfits, |rows| {
                rows.chunks().len() == chunks
            })? {
                return Ok(());
            }
            self.spill.look(self.rows)?;
        }
    }

    /// Appends the rows of groups that are not in memory, but for those that the batch touched, which it has.
    pub(super) fn append_cold(
        &mut self,
        plan: &WindowPlan,
        closing: Timestamp,
        touched: Option<&Table>,
        shelf: &mut dyn Shelf,
    ) -> Result<(), ResultsError> {
        overlaid(shelf, closing, touched, &mut |group| self.append(plan, [group]))
    }
}

/// Adds what is stored of the groups that a batch touched to what it adds to them; how many of them are
/// stored.
pub(super) fn add_stored(
    plan: &WindowPlan,
    closing: Timestamp,
    touched: &mut Table,
    shelf: &mut dyn Shelf,
) -> Result<u64, ResultsError> {
    touched.settle();
    let groups = touched.len();
    let touched = RefCell::new(touched);
    // The first that no stored group has passed.
    let next = Cell::new(0);
    let (mut found, mut totals) = (0, Vec::new());
    let mut wanted = |start: Timestamp, key: &[u8]| {
        let (touched, mut at) = (touched.borrow(), next.get());
        while at < groups && touched.group(at).order() < (start, key) {
            at += 1;
        }
        next.set(at);
        at < groups && touched.group(at).order() == (start, key)
    };
    shelf.groups(closing, &mut wanted, &mut |stored| {
        found += 1;
        totals.clear();
        totals.extend_from_slice(stored.accumulators);
        let mut touched = touched.borrow_mut();
        if !is_planted(Mutant::ForgetColdTotals) {
            touched.change(next.get(), |added| {
                plan.merge(&mut totals, added);
                added.clone_from_slice(&totals);
            });
        }
        Ok(())
    })?;
    Ok(found)
}
