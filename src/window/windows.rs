//! Every open window of a fixed length, and groups of keys alone: by the instant they close at, each in a table in
//! memory or, where that is short, on the shelf (`cold`).
//!
//! What is on the shelf is all rows of its instant, so that a table can be dropped as a whole once its newest
//! change is durable. Start at [`Windows::merge`].
//!
//! Invariants: an instant is in memory or not, never in part; how many groups it has is known either way.
//!
//! Not here: what a batch adds (`delta`), how it is joined with the shelf (`cold`).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use crate::{
    faults::{Mutant, is_planted},
    spec::OutputMode,
    types::{Place, Timestamp, Watermark},
    window::{Delta, Group, ResultsError, Shelf, Table, WindowPlan, cold, delta::Extent},
};

/// Groups by closing instant; shared by the state and by the batch that changed them last, until the next
/// one does.
pub type Shared = (Timestamp, Arc<Table>);

/// Every open window with its groups, in memory or not.
#[derive(Clone, Debug)]
pub struct Windows {
    plan: Arc<WindowPlan>,
    open: BTreeMap<Timestamp, Kept>,
    /// How much the newest batch touched.
    pub(super) touched: Extent,
    /// How many bytes of memory tables may take.
    limit_bytes: usize,
    /// How many batches were merged.
    batches: u64,
    /// How many groups were restored.
    restored: usize,
}

/// The groups that close at one instant.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    Warm {
        table: Arc<Table>,
        /// The batch that touched it last.
        touched: u64,
    },
    /// They are on the shelf alone.
    Cold(Cold),
}

/// What is remembered of groups that are not in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold {
    groups: u64,
    /// About how many bytes they took, or would take, in memory.
    bytes: usize,
}

/// What came of merging a batch.
#[derive(Debug)]
pub struct Merged {
    /// The groups it touched with their new totals, by closing instant, ascending.
    pub touched: Vec<Shared>,
    /// Whether some groups were written anew, so that what is stored does not tell which were touched.
    pub wrote_anew: bool,
}

/// What room there is for what a batch touches, in bytes.
struct Room {
    /// For new windows.
    of_new: usize,
    /// For groups that are brought back, beside everything else.
    to_spare: usize,
}

impl Cold {
    fn of(table: &Table) -> Cold {
        Cold { groups: table.len() as u64, bytes: table.memory_bytes() }
    }

    /// One of its groups was restored.
    fn add_one(&mut self) {
        let of_one = self.bytes / usize::try_from(self.groups.max(1)).unwrap_or(usize::MAX);
        self.groups += 1;
        self.bytes = self.bytes.saturating_add(of_one);
    }

    /// So many groups came to it, of a table of these.
    fn add(&mut self, groups: u64, of: &Table) {
        let of_one = of.memory_bytes() / of.len().max(1);
        self.groups += groups;
        self.bytes = self
            .bytes
            .saturating_add(of_one.saturating_mul(usize::try_from(groups).unwrap_or(usize::MAX)));
    }
}

impl Kept {
    /// Leaves the groups to the shelf.
    fn cool(&mut self) {
        if let Kept::Warm { table, .. } = self {
            *self = Kept::Cold(Cold::of(table));
        }
    }

    fn warm(table: Table, touched: u64) -> Kept {
        Kept::Warm { table: Arc::new(table), touched }
    }

    /// How many groups there are.
    pub(super) fn groups(&self) -> u64 {
        match self {
            Kept::Warm { table, .. } => table.len() as u64,
            Kept::Cold(cold) => cold.groups,
        }
    }

    fn memory_bytes(&self) -> usize {
        let table = match self {
            Kept::Warm { table, .. } => table.memory_bytes(),
            Kept::Cold(_) => 0,
        };
        size_of::<(Timestamp, Kept)>() + table
    }

    fn is_cold(&self) -> bool {
        matches!(self, Kept::Cold(_))
    }
}

/// After how many groups that are restored the memory they take is looked at.
const LOOK_AFTER_GROUPS: usize = 4096;

impl Windows {
    /// No window is open, and there is room for every one.
    #[must_use]
    pub fn new(plan: Arc<WindowPlan>) -> Windows {
        Windows {
            plan,
            open: BTreeMap::new(),
            touched: Extent::default(),
            limit_bytes: usize::MAX,
            batches: 0,
            restored: 0,
        }
    }

    /// Lets groups take about so many bytes of memory; more of them are left to the shelf.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// What the windows do.
    #[must_use]
    pub fn plan(&self) -> &Arc<WindowPlan> {
        &self.plan
    }

    /// Puts back a group read from a checkpoint. They come by closing instant, each group once; where there
    /// is no room, they are only counted.
    pub fn restore(&mut self, closing: Timestamp, group: Group<'_>) {
        self.restored += 1;
        if self.restored.is_multiple_of(LOOK_AFTER_GROUPS) {
            self.fit();
        }
        let stride = self.plan.stride();
        let kept = self.open.entry(closing).or_insert_with(|| Kept::warm(Table::new(stride), 0));
        match kept {
            Kept::Warm { table, .. } => Arc::make_mut(table).put(group),
            Kept::Cold(cold) => cold.add_one(),
        }
    }

    /// Leaves groups to the shelf until the others fit, those that close first before others. Only for
    /// groups that are all on the shelf.
    pub(super) fn fit(&mut self) {
        let mut taken = self.memory_bytes();
        for kept in self.open.values_mut() {
            if taken <= self.limit_bytes {
                return;
            }
            taken -= kept.memory_bytes();
            kept.cool();
            taken += kept.memory_bytes();
        }
    }

    /// Whether a batch can only be merged and closed with a shelf: it touches or closes groups that are not in
    /// memory, publishes all groups and some are not, or others must make room for it.
    #[must_use]
    pub fn wants_shelf(&self, delta: &mut Delta, closing_bound: Watermark) -> bool {
        if self.limit_bytes == usize::MAX {
            return false;
        }
        delta.part();
        let is_cold = |closing: &Timestamp| self.open.get(closing).is_some_and(Kept::is_cold);
        let all = self.plan.output_mode == OutputMode::Complete;
        // Every batch touches it.
        let global = self.plan.is_global().then_some(Place::NEVER);
        let mut closes =
            self.open.iter().take_while(|(closing, _)| closing_bound.closes(**closing));
        delta.tables.iter().map(|(closing, _)| closing).chain(&global).any(is_cold)
            || closes.any(|(_, kept)| kept.is_cold())
            || all && self.has_cold()
            || self.memory_bytes().saturating_add(self.growth_bytes(&delta.tables))
                > self.limit_bytes
    }

    /// Whether some batch may only be merged and closed with a shelf.
    #[must_use]
    pub fn may_want_shelf(&self) -> bool {
        self.limit_bytes < usize::MAX
            && (self.has_cold() || self.memory_bytes() > self.limit_bytes / 4)
    }

    /// Whether some groups are not in memory.
    fn has_cold(&self) -> bool {
        self.open.values().any(Kept::is_cold)
    }

    /// How many bytes of memory tables take while and when a batch is merged, at most, besides what they take
    /// now.
    fn growth_bytes(&self, touched: &[(Timestamp, Table)]) -> usize {
        let growth = |(closing, touched): &(Timestamp, Table)| match self.open.get(closing) {
            Some(Kept::Warm { table, .. }) => table.growth_bytes(touched),
            Some(Kept::Cold(_)) => 0,
            None => touched.memory_bytes(),
        };
        touched.iter().map(growth).sum()
    }

    /// Leaves groups to the shelf until what a batch touches fits beside the others: those that were touched
    /// longest ago first, those that it touches last.
    fn make_room(&mut self, touched: &[(Timestamp, Table)]) -> Room {
        let mut taken = self.memory_bytes().saturating_add(self.growth_bytes(touched));
        let of_batch = |closing: Timestamp| {
            touched.binary_search_by_key(&closing, |(instant, _)| *instant).ok()
        };
        let warm = self.open.iter().filter_map(|(closing, kept)| match kept {
            Kept::Warm { touched, .. } => Some((of_batch(*closing), *touched, *closing)),
            Kept::Cold(_) => None,
        });
        let mut coldest: Vec<_> = warm.collect();
        coldest.sort_unstable();
        for (of_batch, _, closing) in coldest {
            if taken <= self.limit_bytes {
                break;
            }
            let kept = self.open.get_mut(&closing).expect("it was just found");
            if let (Kept::Warm { table, .. }, Some(index)) = (&*kept, of_batch) {
                taken -= table.growth_bytes(&touched[index].1);
            }
            taken -= kept.memory_bytes();
            kept.cool();
            taken += kept.memory_bytes();
        }
        match self.limit_bytes.checked_sub(taken) {
            Some(to_spare) => Room { of_new: usize::MAX, to_spare },
            None => {
                let of_new = self.limit_bytes.saturating_sub(self.memory_bytes());
                Room { of_new, to_spare: 0 }
            }
        }
    }

    /// Adds a batch's delta; groups that close under `closing_bound` are about to go. What comes back are the
    /// groups it touched with their new totals, by closing instant, ascending. Without a shelf nothing leaves
    /// memory, and [`Windows::wants_shelf`] must have said that none is needed.
    ///
    /// # Errors
    /// What the shelf says.
    pub fn merge(
        &mut self,
        mut delta: Delta,
        closing_bound: Watermark,
        mut shelf: Option<&mut (dyn Shelf + '_)>,
    ) -> Result<Merged, ResultsError> {
        delta.part();
        self.touched = delta.extent();
        self.batches += 1;
        let mut tables = delta.tables;
        tables.sort_by_key(|(closing, _)| *closing);
        let Room { mut of_new, mut to_spare } = match shelf {
            Some(_) => self.make_room(&tables),
            None => Room { of_new: usize::MAX, to_spare: usize::MAX },
        };
        let mut merged = Merged { touched: Vec::with_capacity(tables.len()), wrote_anew: false };
        for (closing, touched) in tables {
            let bytes = touched.memory_bytes();
            let touched = match self.open.get(&closing) {
                None if bytes > of_new => self.pass(closing, touched),
                None => {
                    of_new -= bytes;
                    self.take(closing, touched)
                }
                Some(Kept::Warm { .. }) => self.take(closing, touched),
                Some(Kept::Cold(cold)) => {
                    let shelf = shelf.as_deref_mut().ok_or(ResultsError::Beyond)?;
                    let bytes = cold.bytes.saturating_add(bytes);
                    // Brought back they shall not be the next to leave.
                    if bytes.saturating_mul(2) > to_spare {
                        let touched = self.join(closing, touched, shelf)?;
                        if !closing_bound.closes(closing) && shelf.is_scattered(closing) {
                            shelf.write_anew(closing, &touched)?;
                            merged.wrote_anew = true;
                        }
                        touched
                    } else {
                        to_spare -= bytes;
                        self.bring_back(closing, shelf)?;
                        self.take(closing, touched)
                    }
                }
            };
            merged.touched.push((closing, touched));
        }
        Ok(merged)
    }

    /// Leaves new groups to the shelf: the batch that has them writes them.
    fn pass(&mut self, closing: Timestamp, touched: Table) -> Arc<Table> {
        self.open.insert(closing, Kept::Cold(Cold::of(&touched)));
        Arc::new(touched)
    }

    /// Adds what a batch touched to groups that stay where they are.
    fn join(
        &mut self,
        closing: Timestamp,
        mut touched: Table,
        shelf: &mut dyn Shelf,
    ) -> Result<Arc<Table>, ResultsError> {
        let found = cold::add_stored(&self.plan, closing, &mut touched, shelf)?;
        if let Some(Kept::Cold(cold)) = self.open.get_mut(&closing) {
            cold.add((touched.len() as u64).saturating_sub(found), &touched);
        }
        Ok(Arc::new(touched))
    }

    /// Brings groups back into memory.
    fn bring_back(
        &mut self,
        closing: Timestamp,
        shelf: &mut dyn Shelf,
    ) -> Result<(), ResultsError> {
        let mut table = Table::new(self.plan.stride());
        shelf.groups(closing, &mut |_, _| true, &mut |group| {
            table.put(group);
            Ok(())
        })?;
        self.open.insert(closing, Kept::warm(table, self.batches));
        Ok(())
    }

    fn take(&mut self, closing: Timestamp, mut touched: Table) -> Arc<Table> {
        // Everything that is done with them from here on goes through them in order.
        touched.settle();
        match self.open.entry(closing) {
            // All of the window is in this batch.
            Entry::Vacant(entry) => {
                let table = Arc::new(touched);
                entry.insert(Kept::Warm { table: table.clone(), touched: self.batches });
                table
            }
            Entry::Occupied(mut entry) => {
                let Kept::Warm { table, touched: newest } = entry.get_mut() else {
                    unreachable!("what is not in memory is joined or brought back")
                };
                *newest = self.batches;
                Arc::make_mut(table).add_and_total(&mut touched, &self.plan);
                Arc::new(touched)
            }
        }
    }

    /// Takes out the windows that close under `watermark`, in the order they end.
    pub(super) fn close(&mut self, watermark: Watermark) -> Vec<(Timestamp, Kept)> {
        let mut closed = Vec::new();
        let watermark = if is_planted(Mutant::CloseEarly) {
            Watermark(watermark.0.saturating_add(10_000))
        } else {
            watermark
        };
        if is_planted(Mutant::KeepClosedWindows) {
            let ended = self.open.iter().filter(|(closing, _)| watermark.closes(**closing));
            return ended.map(|(closing, kept)| (*closing, kept.clone())).collect();
        }
        while let Some(entry) = self.open.first_entry()
            && self.plan.closes
            && watermark.closes(*entry.key())
        {
            closed.push(entry.remove_entry());
        }
        closed
    }

    /// The open groups by closing instant.
    pub(super) fn open(&self) -> impl Iterator<Item = (Timestamp, &Kept)> {
        self.open.iter().map(|(closing, kept)| (*closing, kept))
    }

    /// About how many bytes of memory they take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.open.values().map(Kept::memory_bytes).sum()
    }

    /// How many groups are open.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.open.values().map(Kept::groups).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec, window::Accumulator};

    /// Nothing is there.
    struct Empty;

    impl Shelf for Empty {
        fn groups(
            &mut self,
            _: Timestamp,
            _: &mut crate::window::Wanted<'_>,
            _: &mut crate::window::VisitGroup<'_>,
        ) -> Result<(), ResultsError> {
            Ok(())
        }

        fn is_scattered(&mut self, _: Timestamp) -> bool {
            false
        }

        fn write_anew(&mut self, _: Timestamp, _: &Table) -> Result<(), ResultsError> {
            Err(ResultsError::Beyond)
        }
    }

    fn windows() -> Windows {
        let sales = spec::preset("sales").expect("the preset is there");
        let pipeline = spec::parse(sales, "sales").expect("it is right").pipeline;
        Windows::new(Arc::new(WindowPlan::new(&pipeline).expect("it has windows")))
    }

    /// A batch that touches so many groups that close at an instant.
    fn batch(windows: &Windows, closing: i64, groups: u8) -> Delta {
        let mut delta = Delta::new(windows, Watermark(i64::MIN), 1);
        let accumulators: Vec<Accumulator> = windows.plan.fresh().collect();
        let mut table = Table::new(accumulators.len());
        for key in 0..groups {
            let (start, end) = (Timestamp(0), Timestamp(closing));
            table.put(Group { start, end, key: &[key], accumulators: &accumulators });
        }
        delta.tables.push((Timestamp(closing), table));
        delta
    }

    fn merge(windows: &mut Windows, closing: i64, groups: u8) -> bool {
        let mut delta = batch(windows, closing, groups);
        let wants = windows.wants_shelf(&mut delta, Watermark(i64::MIN));
        let mut empty = Empty;
        let shelf = wants.then_some(&mut empty as &mut dyn Shelf);
        windows.merge(delta, Watermark(i64::MIN), shelf).expect("nothing fails");
        assert!(windows.memory_bytes() <= windows.limit_bytes, "it keeps to its limit");
        wants
    }

    fn cold(windows: &Windows) -> Vec<i64> {
        let cold = windows.open().filter(|(_, kept)| kept.is_cold());
        cold.map(|(closing, _)| closing.0).collect()
    }

    #[test]
    fn what_was_touched_longest_ago_makes_room_and_everything_is_counted() {
        let mut windows = windows();
        assert!(!merge(&mut windows, 30, 50));
        let of_one = windows.memory_bytes();
        assert!(!merge(&mut windows, 20, 50) && !merge(&mut windows, 30, 50));
        windows.set_limit(of_one * 5 / 2);
        assert!(merge(&mut windows, 10, 50), "there is no room for a third");
        assert_eq!((cold(&windows), windows.groups()), (vec![20], 150));
        assert!(merge(&mut windows, 40, 50));
        assert_eq!((cold(&windows), windows.groups()), (vec![20, 30], 200));
    }

    #[test]
    fn what_is_larger_than_the_limit_is_never_in_memory() {
        let mut windows = windows();
        windows.set_limit(2000);
        assert!(merge(&mut windows, 10, 200));
        assert_eq!((cold(&windows), windows.groups()), (vec![10], 200));
        // Beside it there is room for little ones.
        assert!(!merge(&mut windows, 20, 2));
        assert_eq!(cold(&windows), [10]);
        let closed = windows.close(Watermark(1));
        assert_eq!(closed.iter().map(|(_, kept)| kept.groups()).sum::<u64>(), 202);
    }

    #[test]
    fn what_is_restored_keeps_to_the_limit_and_is_counted() {
        let mut windows = windows();
        windows.set_limit(3000);
        let accumulators: Vec<Accumulator> = windows.plan.fresh().collect();
        for (closing, groups) in [(10, 10_000), (20, 5), (30, 5_000), (40, 5)] {
            for key in 0..groups {
                let (start, end) = (Timestamp(0), Timestamp(closing));
                let key = format!("{key}");
                let group = Group { start, end, key: key.as_bytes(), accumulators: &accumulators };
                windows.restore(Timestamp(closing), group);
            }
        }
        windows.fit();
        assert_eq!(windows.groups(), 15_010);
        assert_eq!(cold(&windows), [10, 20, 30], "those that close first make room");
        assert!(windows.memory_bytes() <= 3000);
    }
}
