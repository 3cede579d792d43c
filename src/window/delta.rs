//! What one batch adds ([`Delta`]) and everything that is open ([`Windows`]), for windows of a fixed
//! length and for groups of keys alone.
//!
//! The two are apart so that a batch can be dropped without a trace until it is planned.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use crate::{
    faults::{Mutant, is_planted},
    spec::{OutputMode, SlidingWindow},
    types::{Event, Place, Timestamp, Verdict, Watermark},
    window::{Group, ResultsError, Shelf, Table, WindowPlan, cold, key, plan::Windowing},
};

/// The window of groups of keys alone, which no output column shows.
const ALWAYS: (Timestamp, Timestamp) = (Timestamp(0), Place::NEVER);

/// The groups one batch touches, with what the batch adds to each.
#[derive(Debug)]
pub struct Delta {
    plan: Arc<WindowPlan>,
    late_bound: Watermark,
    tables: Vec<(Timestamp, Table)>,
    /// Index into `tables` of the window last used: neighbours in a topic share windows.
    recent: usize,
    /// The tumbling window of the event last added: most of its neighbours are in it too.
    latest: (Timestamp, Timestamp),
    key: Vec<u8>,
    /// How many groups of a window the batch before touched.
    groups_before: usize,
}

impl Delta {
    /// An empty delta of a batch that drops windows ending at or before `late_bound`.
    #[must_use]
    pub fn new(windows: &Windows, late_bound: Watermark) -> Delta {
        Delta {
            plan: windows.plan.clone(),
            late_bound,
            tables: Vec::new(),
            recent: 0,
            latest: (Timestamp(0), Timestamp(0)),
            key: Vec::new(),
            groups_before: windows.touched_a_window,
        }
    }

    /// Adds an event to the groups it belongs to. It is late when any of its windows had closed; the
    /// others take it all the same.
    #[inline]
    pub fn add(&mut self, event: &Event<'_>) -> Verdict {
        let window = match self.plan.windowing {
            Windowing::Sliding(window) => window,
            Windowing::None => {
                self.set_key(event);
                self.add_to(ALWAYS, event);
                return Verdict::Counted;
            }
            Windowing::Session => unreachable!("sessions have a delta of their own"),
        };
        let Some(time) = event.time else { return Verdict::NoTime };
        if !window.is_tumbling() {
            return self.add_to_each(time, window, event);
        }
        let (start, end) = self.latest;
        if time < start || time >= end {
            self.latest = latest_window(time, window);
        }
        if self.plan.closes && self.late_bound.closes(self.latest.1) {
            return Verdict::Late;
        }
        self.set_key(event);
        self.add_to(self.latest, event);
        Verdict::Counted
    }

    fn add_to_each(
        &mut self,
        time: Timestamp,
        window: SlidingWindow,
        event: &Event<'_>,
    ) -> Verdict {
        let mut verdict = Verdict::Counted;
        let mut has_key = false;
        for (start, end) in windows_of(time, window) {
            if self.plan.closes && self.late_bound.closes(end) {
                verdict = Verdict::Late;
                continue;
            }
            if !has_key {
                self.set_key(event);
                has_key = true;
            }
            self.add_to((start, end), event);
        }
        verdict
    }

    #[inline]
    fn set_key(&mut self, event: &Event<'_>) {
        self.key.clear();
        for &column in &self.plan.key_columns {
            key::encode_column(event, column, &mut self.key);
        }
    }

    #[inline]
    fn add_to(&mut self, window: (Timestamp, Timestamp), event: &Event<'_>) {
        let table = self.table(self.plan.closing(window.1));
        let (plan, key) = (&self.plan, &self.key);
        let table = &mut self.tables[table].1;
        let group = table.find_or_insert(key, window, plan);
        plan.add_event(table.accumulators_mut(group), event);
    }

    /// Touches the one group that is there even without events, where the plan has such a one.
    pub(super) fn touch_global(&mut self) {
        if self.plan.is_global() {
            let table = self.table(Place::NEVER);
            self.tables[table].1.find_or_insert(&[], ALWAYS, &self.plan);
        }
    }

    /// How many groups the batch touched.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.tables.iter().map(|(_, table)| table.len() as u64).sum()
    }

    fn groups_a_window(&self) -> usize {
        self.tables.iter().map(|(_, table)| table.len()).sum::<usize>() / self.tables.len().max(1)
    }

    #[inline]
    fn table(&mut self, closing: Timestamp) -> usize {
        if self.tables.get(self.recent).is_some_and(|(instant, _)| *instant == closing) {
            return self.recent;
        }
        self.other_table(closing)
    }

    fn other_table(&mut self, closing: Timestamp) -> usize {
        let found = self.tables.binary_search_by_key(&closing, |(instant, _)| *instant);
        self.recent = found.unwrap_or_else(|place| {
            let room = self.groups_before.max(self.groups_a_window());
            let table = Table::with_room_for(room, self.plan.stride());
            self.tables.insert(place, (closing, table));
            place
        });
        self.recent
    }
}

/// `[start, end)` of the windows that hold `time`, the latest first; at the ends of the representable
/// range they are cut off instead of overflowing.
fn windows_of(
    time: Timestamp,
    window: SlidingWindow,
) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let SlidingWindow { duration_us, slide_us, .. } = window;
    let latest = latest_window(time, window).0.0;
    let earlier = move |start: &i64| {
        let start = start.checked_sub(slide_us)?;
        (start.saturating_add(duration_us) > time.0).then_some(start)
    };
    // With a slide below the duration, as it must be, the latest window always holds the time.
    std::iter::successors(Some(latest), earlier)
        .map(move |start| (Timestamp(start), Timestamp(start.saturating_add(duration_us))))
}

/// The one of them that begins last.
#[inline]
fn latest_window(time: Timestamp, window: SlidingWindow) -> (Timestamp, Timestamp) {
    let SlidingWindow { duration_us, slide_us, offset_us } = window;
    let time = if is_planted(Mutant::EndInclusive) { Timestamp(time.0 - 1) } else { time };
    let behind_start = match time.0.checked_sub(offset_us) {
        Some(distance) => distance.rem_euclid(slide_us),
        // The same remainder, found without leaving the range.
        None => (time.0.rem_euclid(slide_us) - offset_us.rem_euclid(slide_us)).rem_euclid(slide_us),
    };
    let start = time.0.saturating_sub(behind_start);
    (Timestamp(start), Timestamp(start.saturating_add(duration_us)))
}

/// Groups by closing instant; shared by the state and by the batch that changed them last, until the next
/// one does.
pub type Shared = (Timestamp, Arc<Table>);

/// Every open window with its groups, in memory or not.
#[derive(Clone, Debug)]
pub struct Windows {
    plan: Arc<WindowPlan>,
    open: BTreeMap<Timestamp, Kept>,
    /// How many groups of a window the newest batch touched.
    touched_a_window: usize,
    /// How many bytes of memory tables may take.
    limit_bytes: usize,
    /// How many batches were merged.
    batches: u64,
    /// The place whose groups were restored last, and how many of them.
    restored: Option<(Timestamp, usize)>,
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
pub(super) struct Merged {
    /// The groups it touched with their new totals, by closing instant, ascending.
    pub(super) touched: Vec<Shared>,
    /// Whether some groups were written anew, so that what is stored does not tell which were touched.
    pub(super) wrote_anew: bool,
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

/// After how many groups of one place that are restored the memory they take is looked at.
const LOOK_AFTER_GROUPS: usize = 4096;

impl Windows {
    /// No window is open, and there is room for every one.
    #[must_use]
    pub fn new(plan: Arc<WindowPlan>) -> Windows {
        Windows {
            plan,
            open: BTreeMap::new(),
            touched_a_window: 0,
            limit_bytes: usize::MAX,
            batches: 0,
            restored: None,
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
        let count = match self.restored {
            Some((instant, count)) if instant == closing => count + 1,
            _ => 0,
        };
        self.restored = Some((closing, count));
        if count.is_multiple_of(LOOK_AFTER_GROUPS) {
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
    pub fn wants_shelf(&self, delta: &Delta, closing_bound: Watermark) -> bool {
        if self.limit_bytes == usize::MAX {
            return false;
        }
        let is_cold = |closing: &Timestamp| self.open.get(closing).is_some_and(Kept::is_cold);
        let all = self.plan.output_mode == OutputMode::Complete;
        let mut closes =
            self.open.iter().take_while(|(closing, _)| closing_bound.closes(**closing));
        delta.tables.iter().any(|(closing, _)| is_cold(closing))
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

    /// Adds a batch's delta; groups that close under `closing_bound` are about to go. Without a shelf nothing leaves memory, and [`Windows::wants_shelf`] must have said
    /// that none is needed.
    ///
    /// # Errors
    /// What the shelf says.
    pub(super) fn merge(
        &mut self,
        delta: Delta,
        closing_bound: Watermark,
        mut shelf: Option<&mut (dyn Shelf + '_)>,
    ) -> Result<Merged, ResultsError> {
        self.touched_a_window = delta.groups_a_window();
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
        shelf.groups(closing, &mut |group| {
            table.put(group);
            Ok(())
        })?;
        self.open.insert(closing, Kept::warm(table, self.batches));
        Ok(())
    }

    fn take(&mut self, closing: Timestamp, mut touched: Table) -> Arc<Table> {
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
                let table = Arc::make_mut(table);
                for index in 0..touched.len() {
                    let added = touched.group(index);
                    let window = (added.start, added.end);
                    let group = table.find_or_insert(added.key, window, &self.plan);
                    let totals = table.accumulators_mut(group);
                    self.plan.merge(totals, added.accumulators);
                    touched.accumulators_mut(index).clone_from_slice(totals);
                }
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

    fn windows(time: i64, duration_us: i64, slide_us: i64, offset_us: i64) -> Vec<(i64, i64)> {
        windows_of(Timestamp(time), SlidingWindow { duration_us, slide_us, offset_us })
            .map(|(start, end)| (start.0, end.0))
            .collect()
    }

    #[test]
    fn windows_are_half_open_and_floored_before_1970() {
        let window = |time| match windows(time, 30, 30, 0)[..] {
            [window] => window,
            ref other => panic!("{other:?}"),
        };
        assert_eq!(window(0), (0, 30));
        assert_eq!(window(29), (0, 30));
        assert_eq!(window(30), (30, 60));
        assert_eq!(window(-1), (-30, 0));
        assert_eq!(window(i64::MAX).1, i64::MAX);
        assert_eq!(window(i64::MIN).0, i64::MIN);
    }

    #[test]
    fn a_hopping_event_is_in_every_window_that_holds_it_the_latest_first() {
        assert_eq!(windows(0, 30, 10, 0), [(0, 30), (-10, 20), (-20, 10)]);
        assert_eq!(
            windows(9, 25, 10, 0),
            [(0, 25), (-10, 15)],
            "3 or 2 windows of an uneven slide"
        );
        assert_eq!(windows(4, 25, 10, 0), [(0, 25), (-10, 15), (-20, 5)]);
        assert_eq!(windows(i64::MIN, 30, 10, 0), [(i64::MIN, i64::MIN + 30)]);
    }

    #[test]
    fn an_offset_moves_the_starts_either_way() {
        assert_eq!(windows(4, 30, 30, 5), [(-25, 5)]);
        assert_eq!(windows(5, 30, 30, 5), [(5, 35)]);
        assert_eq!(windows(24, 30, 30, -5), [(-5, 25)]);
        assert_eq!(windows(25, 30, 30, -5), [(25, 55)]);
        let low = windows(i64::MIN + 1, 30, 30, 5);
        assert_eq!(low.len(), 1, "{low:?}");
    }
}
