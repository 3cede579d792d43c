//! What one batch adds, for windows of a fixed length and for groups of keys alone.
//!
//! It is apart from everything that is open ([`Windows`]), so that a batch can be dropped without a trace until
//! it is planned. Each window has a table of its own, unless there are many small ones: then an event would find
//! its way to another corner of memory each time, so that all are gathered in one table and parted at the end.

use std::{
    collections::{HashMap, hash_map::Entry},
    hint::black_box,
    sync::Arc,
};

use foldhash::fast::FixedState;

use crate::{
    faults::{Mutant, is_planted},
    spec::SlidingWindow,
    types::{Cell, Event, Place, Timestamp, Verdict, Watermark},
    window::{Table, WindowPlan, Windows, key, plan::Windowing, table},
};

/// The window of groups of keys alone, which no output column shows.
const ALWAYS: (Timestamp, Timestamp) = (Timestamp(0), Place::NEVER);

/// The groups one batch touches, with what the batch adds to each.
#[derive(Debug)]
pub struct Delta {
    plan: Arc<WindowPlan>,
    late_bound: Watermark,
    /// By closing instant, in the order they were first touched.
    pub(super) tables: Vec<(Timestamp, Table)>,
    /// Where the table of an instant is.
    places: HashMap<Timestamp, usize, FixedState>,
    /// Index into `tables` of the window last used: neighbours in a topic share windows.
    recent: usize,
    /// The tumbling window of the event last added: most of its neighbours are in it too.
    latest: (Timestamp, Timestamp),
    key: Vec<u8>,
    pending: Pending,
    /// What the batch before touched.
    before: Extent,
    /// So many groups the tables were made for.
    room_given: usize,
    /// The groups of all windows together, until they are parted into `tables`.
    together: Option<Table>,
    /// With so many groups together it is looked at again whether their windows are small.
    look_again_at: usize,
}

/// Events that are added together, in the order they came.
#[derive(Debug, Default)]
struct Pending {
    /// Their keys, one behind the other.
    keys: Vec<u8>,
    /// What the aggregates take of each.
    cells: Vec<Option<Cell>>,
    events: Vec<PendingEvent>,
}

#[derive(Debug)]
struct PendingEvent {
    /// Index into the tables of a delta that does not gather them together.
    place: usize,
    window: (Timestamp, Timestamp),
    hash: u32,
    /// Where its key ends in `keys`.
    key_end: usize,
    /// The group that it most likely belongs to; known while they are added.
    likely: u32,
}

impl Pending {
    /// A table of so many groups does not fit in the nearest caches. Trials have few, and are to get here too.
    const FROM_GROUPS: usize = if cfg!(any(test, feature = "faults")) { 3 } else { 4096 };
}

/// How much a batch touched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    windows: usize,
    groups: usize,
}

impl Extent {
    /// From so many windows on, of no more groups on average, they are gathered together. Trials have few, and are to
    /// get here too.
    const MANY_WINDOWS: usize = if cfg!(any(test, feature = "faults")) { 6 } else { 64 };
    const FEW_GROUPS: usize = if cfg!(any(test, feature = "faults")) { 8 } else { 1024 };
    /// With so many groups together it is looked at again whether their windows are small: when they are opened, all
    /// windows are.
    const LOOK_AGAIN_AT: usize = 2 * Extent::MANY_WINDOWS * Extent::FEW_GROUPS;

    fn groups_a_window(self) -> usize {
        self.groups / self.windows.max(1)
    }

    fn is_of_many_small_windows(self) -> bool {
        self.windows >= Extent::MANY_WINDOWS && self.groups_a_window() <= Extent::FEW_GROUPS
    }
}

impl Delta {
    /// An empty delta of a batch that drops windows ending at or before `late_bound`. There are so many of the batch,
    /// which share what the batch before had; one that has more of it grows.
    #[must_use]
    pub fn new(windows: &Windows, late_bound: Watermark, lanes: usize) -> Delta {
        let Extent { windows: many, groups } = windows.touched;
        let before = Extent { windows: many, groups: groups / lanes };
        let stride = windows.plan().stride();
        Delta {
            plan: windows.plan().clone(),
            late_bound,
            tables: Vec::new(),
            places: HashMap::default(),
            recent: 0,
            latest: (Timestamp(0), Timestamp(0)),
            key: Vec::new(),
            pending: Pending::default(),
            before,
            room_given: 0,
            together: before
                .is_of_many_small_windows()
                .then(|| Table::with_room_for(before.groups, stride)),
            look_again_at: Extent::LOOK_AGAIN_AT,
        }
    }

    /// Adds an event to the groups it belongs to. It is late when any of its windows had closed; the
    /// others take it all the same.
    #[inline(always)]
    pub fn add(&mut self, event: &Event<'_>) -> Verdict {
        let window = match self.plan.windowing {
            Windowing::None => ALWAYS,
            Windowing::Sliding(window) => {
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
                self.latest
            }
            Windowing::Session => unreachable!("sessions have a delta of their own"),
        };
        self.set_key(event);
        self.add_to(window, event);
        Verdict::Counted
    }

    #[inline(never)]
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

    #[inline(always)]
    fn set_key(&mut self, event: &Event<'_>) {
        self.key.clear();
        for &column in &self.plan.key_columns {
            key::encode_column(event, column, &mut self.key);
        }
    }

    #[inline(always)]
    fn add_to(&mut self, window: (Timestamp, Timestamp), event: &Event<'_>) {
        if self.together.as_ref().is_some_and(|table| table.len() >= self.look_again_at) {
            self.look_again();
        }
        let place = match &self.together {
            Some(_) => 0,
            None => self.table(self.plan.closing(window.1)),
        };
        let table = self.together.as_mut().unwrap_or_else(|| &mut self.tables[place].1);
        if table.len() >= Pending::FROM_GROUPS && self.add_later(place, window, event) {
            return;
        }
        let table = self.together.as_mut().unwrap_or_else(|| &mut self.tables[place].1);
        let group = table.find_or_insert(&self.key, window, &self.plan);
        table.change(group, |accumulators| self.plan.add_event(accumulators, event));
    }

    /// Adds an event, together with others, to a table that is farther away than the processor's nearest caches. Not
    /// one with texts that it would outlive: then all before it are added, and it is to be added now.
    #[inline]
    fn add_later(
        &mut self,
        place: usize,
        window: (Timestamp, Timestamp),
        event: &Event<'_>,
    ) -> bool {
        let Delta { plan, pending, key, .. } = self;
        let mut is_whole = true;
        for planned in &plan.aggregates {
            let cell = planned.aggregate.column.map(|column| event.cells[column]);
            is_whole &= cell.is_none_or(Cell::is_whole);
            pending.cells.push(cell);
        }
        if !is_whole {
            self.add_pending();
            return false;
        }
        pending.keys.extend_from_slice(key);
        let hash = table::hash(window.0, key);
        let key_end = pending.keys.len();
        pending.events.push(PendingEvent { place, window, hash, key_end, likely: 0 });
        if pending.events.len() == Table::AT_ONCE {
            self.add_pending();
        }
        true
    }

    /// Adds what was to be added later, in its order. First everything is looked at that it needs: the processor waits
    /// for the memory of all of them at once, instead of for that of each.
    #[inline(never)]
    fn add_pending(&mut self) {
        let Delta { plan, pending, tables, together, .. } = self;
        let Pending { keys, cells, events } = pending;
        let table = |place: usize| together.as_ref().unwrap_or_else(|| &tables[place].1);
        for event in events.iter_mut() {
            event.likely = table(event.place).likely(event.hash);
        }
        let mut looks = 0;
        for event in events.iter() {
            looks += table(event.place).look_at(event.likely);
        }
        black_box(looks);
        let mut begin = 0;
        for (at, PendingEvent { place, window, hash, key_end, .. }) in events.iter().enumerate() {
            let table = together.as_mut().unwrap_or_else(|| &mut tables[*place].1);
            let key = &keys[begin..*key_end];
            begin = *key_end;
            let group = table.find_or_insert_hashed(*hash, key, *window, plan);
            let cells = &cells[at * plan.stride()..][..plan.stride()];
            table.change(group, |accumulators| plan.add_cells(accumulators, cells));
        }
        keys.clear();
        cells.clear();
        events.clear();
    }

    /// The batch has all its events: those that were to be added later are, and the one group is touched that is
    /// there even without events, where the plan has such a one.
    pub(super) fn end(&mut self) {
        self.add_pending();
        if self.plan.is_global() {
            let table = self.table(Place::NEVER);
            self.tables[table].1.find_or_insert(&[], ALWAYS, &self.plan);
        }
    }

    /// Adds what was added to the same batch elsewhere.
    pub(super) fn absorb(&mut self, mut other: Delta) {
        self.part();
        other.part();
        for (closing, added) in other.tables {
            match self.places.entry(closing) {
                Entry::Occupied(place) => self.tables[*place.get()].1.add_all(&added, &self.plan),
                Entry::Vacant(place) => {
                    place.insert(self.tables.len());
                    self.tables.push((closing, added));
                }
            }
        }
    }

    /// How many groups the batch touched, once it has ended.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.all_tables().map(|table| table.len() as u64).sum()
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.all_tables().map(Table::memory_bytes).sum::<usize>() + self.pending.keys.capacity()
    }

    fn all_tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().map(|(_, table)| table).chain(&self.together)
    }

    /// How much it touched, while or once each window has a table of its own.
    pub(super) fn extent(&self) -> Extent {
        let groups = self.tables.iter().map(|(_, table)| table.len()).sum();
        Extent { windows: self.tables.len(), groups }
    }

    /// Gives each window a table of its own. What is added later finds it there.
    pub(super) fn part(&mut self) {
        self.add_pending();
        let Some(together) = self.together.take() else { return };
        self.tables = together.parted(|end| self.plan.closing(end));
        self.places =
            (0..).zip(&self.tables).map(|(place, (closing, _))| (*closing, place)).collect();
    }

    /// Where the table of an instant is, unless there turn out to be so many that all are gathered together.
    #[inline(always)]
    fn table(&mut self, closing: Timestamp) -> usize {
        if self.tables.get(self.recent).is_some_and(|(instant, _)| *instant == closing) {
            return self.recent;
        }
        let place = self.other_table(closing);
        // Looked at when one was opened, not each time it is come back to.
        let is_new = self.tables[place].1.is_empty();
        let are_many = is_new && self.tables.len() == Extent::MANY_WINDOWS;
        if are_many && self.extent().is_of_many_small_windows() {
            self.gather();
        }
        place
    }

    /// Gives each window a table of its own, if those that are together are not many small ones after all.
    #[cold]
    fn look_again(&mut self) {
        let Some(together) = &self.together else { return };
        let extent = Extent { windows: together.windows(), groups: together.len() };
        // With fewer groups so many windows are small anyway.
        self.look_again_at = (2 * extent.groups).max(extent.windows * (Extent::FEW_GROUPS + 1));
        if !extent.is_of_many_small_windows() {
            self.part();
        }
    }

    /// Gathers all groups in one table: the batch before could not tell that there would be many small windows.
    #[cold]
    fn gather(&mut self) {
        self.add_pending();
        let mut together = Table::new(self.plan.stride());
        for (_, table) in self.tables.drain(..) {
            table.sorted().for_each(|group| together.put(group));
        }
        self.places.clear();
        self.together = Some(together);
    }

    fn other_table(&mut self, closing: Timestamp) -> usize {
        let next = self.tables.len();
        self.recent = *self.places.entry(closing).or_insert(next);
        if self.recent == next {
            let room = self.room_of_next();
            self.room_given += room;
            let table = Table::with_room_for(room, self.plan.stride());
            self.tables.push((closing, table));
        }
        self.recent
    }

    /// How many groups the next window is made for: windows of a batch are much alike, and so are batches. But
    /// stragglers may open many windows of one group each, so that the room of all stays in proportion to the groups
    /// there are, or were in the batch before.
    fn room_of_next(&self) -> usize {
        let few = self.tables.len().min(Extent::MANY_WINDOWS);
        let of_few: usize = self.tables[..few].iter().map(|(_, table)| table.len()).sum();
        let left = (2 * self.before.groups).saturating_sub(self.room_given);
        (of_few / self.tables.len().max(1)).max(self.before.groups_a_window().min(left))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec,
        types::{Cell, Number, Source, Span, TextSource},
    };

    fn windows(time: i64, duration_us: i64, slide_us: i64, offset_us: i64) -> Vec<(i64, i64)> {
        windows_of(Timestamp(time), SlidingWindow { duration_us, slide_us, offset_us })
            .map(|(start, end)| (start.0, end.0))
            .collect()
    }

    /// Sales of some stores in so many windows: store, second, cents.
    fn sales(windows: i64) -> impl Iterator<Item = (usize, i64, i64)> {
        (0..windows * 7).map(move |sale| {
            let store = usize::try_from(sale * 3 / 7 % 5).expect("it is small");
            (store, (sale * 31 % windows) * 30, sale * 25)
        })
    }

    fn add_sales(delta: &mut Delta, sales: impl Iterator<Item = (usize, i64, i64)>) {
        let names = ["a", "b", "store-3", "store-4", "a shop of a very long name indeed"];
        for (store, seconds, cents) in sales {
            let payload = names[store].as_bytes();
            let span = Span { source: TextSource::Payload, start: 0, len: payload.len() as u32 };
            let price = Cell::Double(Number::Short { mantissa: cents, scale: 2 });
            let cells = [Cell::String(span), Cell::Null, price, Cell::Null];
            let time = Some(Timestamp(seconds * 1_000_000));
            let source = Source { payload, scratch: &[] };
            delta.add(&Event { time, has_data: true, cells: &cells, source });
        }
    }

    #[test]
    fn groups_that_are_gathered_together_are_those_that_are_gathered_apart() {
        let sales_spec = spec::preset("sales").expect("the preset is there");
        let pipeline = spec::parse(sales_spec, "sales").expect("it is right").pipeline;
        let mut windows = Windows::new(Arc::new(WindowPlan::new(&pipeline).expect("it has some")));
        let mut apart = Delta::new(&windows, Watermark(i64::MIN), 1);
        windows.touched = Extent { windows: 100, groups: 500 };
        let mut together = Delta::new(&windows, Watermark(i64::MIN), 1);
        assert!(apart.together.is_none() && together.together.is_some());
        for delta in [&mut apart, &mut together] {
            add_sales(delta, sales(100));
            delta.part();
            // Some that were held until now.
            add_sales(delta, sales(103));
        }
        assert_eq!(together.tables.len(), 103);
        assert!(together.groups() > 3 * 103, "{}", together.groups());
        assert_eq!((apart.groups(), apart.extent().windows), (together.groups(), 103));
        let rows = |mut delta: Delta| {
            delta.tables.sort_by_key(|(closing, _)| *closing);
            let tables = delta.tables.iter();
            let rows = tables.flat_map(|(closing, table)| {
                table.sorted().map(move |group| format!("{closing:?} {group:?}"))
            });
            rows.collect::<Vec<_>>()
        };
        assert_eq!(rows(together), rows(apart));
    }

    /// An event of a store, `text` being its name and then its price.
    fn sale<'a>(
        text: &'a str,
        name: usize,
        price: Number,
        seconds: i64,
        cells: &'a mut Vec<Cell>,
    ) -> Event<'a> {
        let name = Span { source: TextSource::Payload, start: 0, len: name as u32 };
        cells.clear();
        cells.extend([Cell::String(name), Cell::Null, Cell::Double(price), Cell::Null]);
        let source = Source { payload: text.as_bytes(), scratch: &[] };
        Event { time: Some(Timestamp(seconds * 1_000_000)), has_data: true, cells, source }
    }

    #[test]
    fn events_that_are_added_together_add_up_as_those_that_are_added_one_by_one() {
        let sales_spec = spec::preset("sales").expect("the preset is there");
        let pipeline = spec::parse(sales_spec, "sales").expect("it is right").pipeline;
        let plan = WindowPlan::new(&pipeline).expect("it has windows");
        let mut windows = Windows::new(Arc::new(plan.clone()));
        let many_before = Extent { windows: 100, groups: 500 };
        let none_before = Extent::default();
        // Windows and stores, and whether they are gathered together in the middle and at the end.
        for (before, many, stores, gathered) in [
            (none_before, 3, 9001, (false, false)),
            (many_before, 3, 9001, (true, false)),
            (none_before, 100, 9001, (true, false)),
            (none_before, 100, 7, (true, true)),
            (many_before, 100, 7, (true, true)),
        ] {
            windows.touched = before;
            let mut delta = Delta::new(&windows, Watermark(i64::MIN), 1);
            let mut was_gathered = false;
            let (mut one_by_one, mut cells) = (Table::new(plan.stride()), Vec::new());
            for at in 0..40_000_i64 {
                // Some are met again while others of theirs are still to be added.
                let store = if at % 2 == 0 { 0 } else { at * 7919 % stores };
                let name = format!("store-{store}");
                let seconds = (at % many) * 30;
                // Sums of such prices are inexact: the order counts.
                let text = format!(
                    "{name}{}",
                    ["1e300", "0.1234567890123", "-1e300"][at as usize / 11 % 3]
                );
                let (start, len) = (name.len() as u32, (text.len() - name.len()) as u32);
                let price = match at % 11 {
                    0 => Number::Text(Span { source: TextSource::Payload, start, len }),
                    1 => Number::Value(0.1),
                    _ => Number::Short { mantissa: at, scale: 2 },
                };
                let event = sale(&text, name.len(), price, seconds, &mut cells);
                assert_eq!(delta.add(&event), Verdict::Counted);
                was_gathered |= delta.together.is_some();
                let mut key = Vec::new();
                key::encode_column(&event, plan.key_columns[0], &mut key);
                let window = windows_of(
                    Timestamp(seconds * 1_000_000),
                    SlidingWindow { duration_us: 30_000_000, slide_us: 30_000_000, offset_us: 0 },
                );
                let group = one_by_one.find_or_insert(&key, window.last().expect("one"), &plan);
                one_by_one.change(group, |totals| plan.add_event(totals, &event));
            }
            assert_eq!((was_gathered, delta.together.is_some()), gathered, "{many} windows");
            delta.end();
            assert_eq!(delta.groups(), one_by_one.len() as u64);
            delta.part();
            delta.tables.sort_by_key(|(closing, _)| *closing);
            let together = delta.tables.iter().flat_map(|(_, table)| table.sorted());
            assert!(
                together
                    .map(|group| format!("{group:?}"))
                    .eq(one_by_one.sorted().map(|group| format!("{group:?}")))
            );
        }
    }

    #[test]
    fn many_windows_of_stragglers_take_no_room_of_large_ones() {
        let sales_spec = spec::preset("sales").expect("the preset is there");
        let pipeline = spec::parse(sales_spec, "sales").expect("it is right").pipeline;
        let mut windows = Windows::new(Arc::new(WindowPlan::new(&pipeline).expect("it has some")));
        for before in [Extent::default(), Extent { windows: 2, groups: 20_000 }] {
            windows.touched = before;
            let mut delta = Delta::new(&windows, Watermark(i64::MIN), 1);
            let mut cells = Vec::new();
            let mut add = |store: usize, seconds: i64| {
                let name = format!("store-{store}");
                let price = Number::Short { mantissa: 1, scale: 0 };
                delta.add(&sale(&name, name.len(), price, seconds, &mut cells));
            };
            (0..10_000).for_each(|store| add(store, 0));
            for straggler in 1..200 {
                add(0, -30 * straggler);
                add(0, 0);
            }
            let of_a_group = 150;
            let most = (10_000 * 8 + 20_000 * 3) * of_a_group;
            assert!(delta.memory_bytes() < most, "{} bytes", delta.memory_bytes());
        }
    }

    #[test]
    fn lanes_take_together_the_room_of_one() {
        let sales_spec = spec::preset("sales").expect("the preset is there");
        let pipeline = spec::parse(sales_spec, "sales").expect("it is right").pipeline;
        let mut windows = Windows::new(Arc::new(WindowPlan::new(&pipeline).expect("it has some")));
        for before in
            [Extent { windows: 2, groups: 20_000 }, Extent { windows: 9_000, groups: 20_000 }]
        {
            windows.touched = before;
            let bytes_of = |lanes: usize| {
                let mut delta = Delta::new(&windows, Watermark(i64::MIN), lanes);
                let price = Number::Short { mantissa: 1, scale: 0 };
                delta.add(&sale("a", 1, price, 0, &mut Vec::new()));
                delta.memory_bytes()
            };
            assert!(4 * bytes_of(4) < bytes_of(1) * 5 / 4, "{} and {}", bytes_of(4), bytes_of(1));
        }
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
