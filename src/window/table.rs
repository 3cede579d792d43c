//! Groups that are kept together, by window start and key: an insert-only table whose keys and accumulators lie
//! in flat buffers, so that a group costs no allocation of its own, and that can be put in order, so that whoever
//! walks through the groups walks through memory.
//!
//! Invariants: the index finds all groups, or a first part of them while all of them are in order; it is completed
//! before it is asked. No two groups have the same window start and key. Start at `Table::find_or_push` and
//! `Table::settle`.

use foldhash::fast::FixedState;
use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher as _},
    hint::black_box,
    mem,
    ops::Range,
    sync::OnceLock,
};

use crate::{
    types::Timestamp,
    window::{Accumulator, WindowPlan, index::Index},
};

/// Keys of groups come from outside, so the seed is not the crate's own default; it need not be
/// secret, because an attacker who can choose keys can fill the table anyway.
const HASHER: FixedState = FixedState::with_seed(0x5a1e_5057_4e55_7ea7);

/// What a group is found by.
#[inline(always)]
pub(super) fn hash(start: Timestamp, key: &[u8]) -> u32 {
    // Starts differ in few bits; an odd factor spreads them over all.
    let mut hasher = HASHER.build_hasher();
    // Without its length, which the hash of bytes takes in anyway.
    hasher.write(key);
    let hash = hasher.finish() ^ start.0.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(hash >> 32).expect("half of the bits are left")
}

/// Groups that are kept together.
#[derive(Clone, Debug)]
pub struct Table {
    stride: usize,
    index: Index,
    windows: GroupWindows,
    /// Where each group's key ends in `keys`; it begins where the one before it ends.
    key_ends: Vec<usize>,
    keys: Vec<u8>,
    accumulators: Vec<Accumulator>,
    /// Whether accumulators may own bytes elsewhere, and how many they do.
    has_texts: bool,
    text_bytes: usize,
    /// So many first groups are ordered by window start, then key.
    in_order: usize,
    /// All of them in that order, once somebody has asked and until there is one more.
    order: OnceLock<Box<[u32]>>,
}

/// Start and end of each group's window.
#[derive(Clone, Debug)]
enum GroupWindows {
    /// All have the same, as windows of a fixed length that close together do.
    Same(Timestamp, Timestamp),
    Each(Vec<(Timestamp, Timestamp)>),
}

/// One group of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group<'a> {
    /// Start of its window.
    pub start: Timestamp,
    /// End of its window.
    pub end: Timestamp,
    /// Its encoded key.
    pub key: &'a [u8],
    /// What it adds up to, one for each aggregate.
    pub accumulators: &'a [Accumulator],
}

impl<'a> Group<'a> {
    /// What groups are sorted by.
    #[inline]
    pub(super) fn order(&self) -> (Timestamp, &'a [u8]) {
        (self.start, self.key)
    }
}

impl Table {
    /// So many groups are looked up at once where that helps: as many as the processor can wait for, and some.
    pub(super) const AT_ONCE: usize = 32;

    /// An empty table for groups of `stride` accumulators.
    #[must_use]
    pub fn new(stride: usize) -> Table {
        Table {
            stride,
            index: Index::new(),
            windows: GroupWindows::Each(Vec::new()),
            key_ends: Vec::new(),
            keys: Vec::new(),
            accumulators: Vec::new(),
            has_texts: false,
            text_bytes: 0,
            in_order: 0,
            order: OnceLock::new(),
        }
    }

    /// The same with room for so many groups.
    #[must_use]
    pub(super) fn with_room_for(groups: usize, stride: usize) -> Table {
        Table {
            index: Index::with_room_for(groups),
            key_ends: Vec::with_capacity(groups),
            accumulators: Vec::with_capacity(groups * stride),
            ..Table::new(stride)
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.key_ends.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.key_ends.is_empty()
    }

    /// How many windows the groups are of.
    pub(super) fn windows(&self) -> usize {
        match &self.windows {
            GroupWindows::Same(..) => self.len().min(1),
            GroupWindows::Each(windows) => {
                let starts = windows.iter().map(|(start, _)| *start);
                starts.collect::<HashSet<_, FixedState>>().len()
            }
        }
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
            + self.windows.memory_bytes()
            + self.key_ends.capacity() * size_of::<usize>()
            + self.keys.capacity()
            + self.accumulators.capacity() * size_of::<Accumulator>()
            + self.text_bytes
            + self.order.get().map_or(0, |order| size_of_val(&**order))
    }

    /// About how many bytes more it takes at most while and when as many groups are added as `other` has.
    pub(super) fn growth_bytes(&self, other: &Table) -> usize {
        let (groups, keys) = (other.len(), other.keys.len());
        // What is full becomes twice as large, and both are there while one is copied.
        let grown = |used: usize, more: usize, room: usize, unit: usize| match used + more {
            needed if needed <= room => 0,
            needed => needed.max(2 * room) * unit,
        };
        let windows = match &self.windows {
            GroupWindows::Same(..) => 0,
            GroupWindows::Each(windows) => {
                grown(self.len(), groups, windows.capacity(), size_of::<(Timestamp, Timestamp)>())
            }
        };
        self.index.growth_bytes(groups)
            + windows
            + grown(self.len(), groups, self.key_ends.capacity(), size_of::<usize>())
            + grown(self.keys.len(), keys, self.keys.capacity(), 1)
            + grown(
                self.accumulators.len(),
                groups * self.stride,
                self.accumulators.capacity(),
                size_of::<Accumulator>(),
            )
            + other.text_bytes
    }

    /// The groups, ordered by window start, then key. They are sorted once, however often that is asked.
    pub fn sorted(&self) -> impl Iterator<Item = Group<'_>> {
        let order = (self.in_order < self.len()).then(|| self.order());
        (0..self.len()).map(move |at| self.group(order.map_or(at, |order| order[at] as usize)))
    }

    /// The indices of the groups in that order.
    fn order(&self) -> &[u32] {
        self.order.get_or_init(|| self.sort())
    }

    /// Puts the groups in order, so that the one with index 0 is the first.
    pub(super) fn settle(&mut self) {
        if self.in_order == self.len() {
            return;
        }
        assert_eq!(self.index.len(), self.len(), "groups the index does not know are in order");
        let order = self.reorder();
        let mut place_of = vec![0; order.len()];
        for (place, &group) in (0..).zip(&order) {
            place_of[group as usize] = place;
        }
        self.index.renumber(&place_of);
    }

    /// Puts everything but the index in order; tells which group is where.
    fn reorder(&mut self) -> Box<[u32]> {
        let order = self.order.take().unwrap_or_else(|| self.sort());
        let mut keys = Vec::with_capacity(self.keys.len());
        let mut key_ends = Vec::with_capacity(order.len());
        for &group in &order {
            keys.extend_from_slice(self.key(group as usize));
            key_ends.push(keys.len());
        }
        let mut accumulators = Vec::with_capacity(self.accumulators.len());
        for &group in &order {
            let range = self.range_of(group as usize);
            let moved = self.accumulators[range].iter_mut();
            accumulators.extend(moved.map(|moved| mem::replace(moved, Accumulator::Count(0))));
        }
        if let GroupWindows::Each(windows) = &mut self.windows {
            *windows = order.iter().map(|&group| windows[group as usize]).collect();
        }
        (self.keys, self.key_ends, self.accumulators) = (keys, key_ends, accumulators);
        self.in_order = order.len();
        order
    }

    /// A table for each instant at which some of the groups close, in their order; `closing` tells it of a window's end,
    /// and later for later ones.
    pub(super) fn parted(
        mut self,
        closing: impl Fn(Timestamp) -> Timestamp,
    ) -> Vec<(Timestamp, Table)> {
        if self.in_order < self.len() {
            self.reorder();
        }
        let windows: Vec<_> = (0..self.len()).map(|group| self.windows.of(group)).collect();
        let mut accumulators = self.accumulators.into_iter();
        let (mut first, mut begin) = (0, 0);
        let alike = windows.chunk_by(|one, other| closing(one.1) == closing(other.1));
        let part = |windows: &[(Timestamp, Timestamp)]| {
            let groups = first..first + windows.len();
            let key_ends = &self.key_ends[groups.clone()];
            let end = key_ends[windows.len() - 1];
            let (start, last) = windows[0];
            let mut part = Table {
                windows: GroupWindows::Same(start, last),
                key_ends: key_ends.iter().map(|end| end - begin).collect(),
                keys: self.keys[begin..end].to_vec(),
                accumulators: accumulators.by_ref().take(groups.len() * self.stride).collect(),
                has_texts: self.has_texts,
                in_order: groups.len(),
                ..Table::new(self.stride)
            };
            if windows.iter().any(|window| *window != windows[0]) {
                part.windows = GroupWindows::Each(windows.to_vec());
            }
            if part.has_texts {
                part.text_bytes = text_bytes(&part.accumulators);
            }
            (first, begin) = (groups.end, end);
            (closing(last), part)
        };
        alike.map(part).collect()
    }

    /// Most keys differ within eight bytes behind what all have in common: these are compared as one
    /// number, beside the index they belong to.
    fn sort(&self) -> Box<[u32]> {
        let common = self.common_key_bytes();
        let leading = |group: u32| leading(self.key(group as usize), common);
        let groups = 0..short(self.len());
        match &self.windows {
            GroupWindows::Same(..) => {
                let mut order: Vec<u128> = groups
                    .map(|group| u128::from(leading(group)) << 32 | u128::from(group))
                    .collect();
                order.sort_unstable();
                let group = |entry: &u128| (entry & u128::from(u32::MAX)) as u32;
                let mut sorted: Box<[u32]> = order.iter().map(group).collect();
                let alike = order.chunk_by(|a, b| a >> 32 == b >> 32);
                let mut at = 0;
                for alike in alike {
                    let range = at..at + alike.len();
                    at = range.end;
                    if range.len() > 1 {
                        sorted[range].sort_unstable_by_key(|&group| self.key(group as usize));
                    }
                }
                sorted
            }
            GroupWindows::Each(windows) => {
                let mut order: Vec<(Timestamp, u64, u32)> = groups
                    .map(|group| (windows[group as usize].0, leading(group), group))
                    .collect();
                order.sort_unstable_by(|a, b| {
                    (a.0, a.1)
                        .cmp(&(b.0, b.1))
                        .then_with(|| self.key(a.2 as usize).cmp(self.key(b.2 as usize)))
                });
                order.into_iter().map(|(_, _, group)| group).collect()
            }
        }
    }

    /// How many bytes all keys begin with alike.
    fn common_key_bytes(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let first = self.key(0);
        let first_word = leading(first, 0);
        (1..self.len()).fold(first.len(), |common, group| {
            let key = self.key(group);
            let alike = (leading(key, 0) ^ first_word).leading_zeros() as usize / 8;
            if common <= alike && common <= key.len() {
                return common;
            }
            if key.get(..common) == Some(&first[..common]) {
                return common;
            }
            first[..common].iter().zip(key).take_while(|(a, b)| a == b).count()
        })
    }

    /// Puts a group in, in place of the one with the same window start and key.
    ///
    /// # Panics
    /// When it has another number of accumulators than the table was made for.
    pub fn put(&mut self, group: Group<'_>) {
        assert_eq!(group.accumulators.len(), self.stride, "groups of one table are alike");
        let last = self.in_order == self.len();
        // In order they come without an index, which may never be needed.
        if last && self.len().checked_sub(1).is_none_or(|at| self.group(at).order() < group.order())
        {
            self.add_accumulators(group.accumulators);
            self.push(group.key, (group.start, group.end));
            self.in_order = self.len();
            return;
        }
        let window = (group.start, group.end);
        let (index, is_new) = self.find_or_push(hash(group.start, group.key), group.key, window);
        if is_new {
            self.add_accumulators(group.accumulators);
            return;
        }
        if self.windows.of(index).1 != group.end {
            let groups = self.len();
            self.windows.make_each(groups)[index].1 = group.end;
        }
        self.change(index, |accumulators| accumulators.clone_from_slice(group.accumulators));
    }

    /// Adds every group of another table.
    pub(super) fn add_all(&mut self, other: &Table, plan: &WindowPlan) {
        for groups in Table::blocks(other.len()) {
            let hashes = self.look_up(other, groups.clone());
            for (hash, index) in hashes.into_iter().zip(groups) {
                self.add(hash, other.group(index), plan);
            }
        }
    }

    /// The same, and `other`'s groups have the totals afterwards.
    pub(super) fn add_and_total(&mut self, other: &mut Table, plan: &WindowPlan) {
        for groups in Table::blocks(other.len()) {
            let hashes = self.look_up(other, groups.clone());
            for (hash, index) in hashes.into_iter().zip(groups) {
                let group = self.add(hash, other.group(index), plan);
                let totals = self.accumulators(group);
                other.change(index, |added| added.clone_from_slice(totals));
            }
        }
    }

    /// So many groups in blocks that are looked up at once.
    fn blocks(groups: usize) -> impl Iterator<Item = Range<usize>> {
        let block = move |first: usize| first..(first + Table::AT_ONCE).min(groups);
        (0..groups).step_by(Table::AT_ONCE).map(block)
    }

    /// The hashes of a block of another table's groups. What they are most likely added to here is looked at: the
    /// processor waits for the memory of all of them together.
    fn look_up(&self, other: &Table, block: Range<usize>) -> [u32; Table::AT_ONCE] {
        let mut hashes = [0; Table::AT_ONCE];
        let mut looks = 0;
        for (found, group) in hashes.iter_mut().zip(block) {
            *found = hash(other.windows.of(group).0, other.key(group));
            looks += self.look_at(self.likely(*found));
        }
        black_box(looks);
        hashes
    }

    /// Adds to the group with the same window and key, made from the plan where there is none; its index.
    fn add(&mut self, hash: u32, added: Group<'_>, plan: &WindowPlan) -> usize {
        let window = (added.start, added.end);
        let group = self.find_or_insert_hashed(hash, added.key, window, plan);
        self.change(group, |totals| plan.merge(totals, added.accumulators));
        group
    }

    /// Index of the group with this window and key, made from the plan where there is none.
    #[inline(always)]
    pub(super) fn find_or_insert(
        &mut self,
        key: &[u8],
        window: (Timestamp, Timestamp),
        plan: &WindowPlan,
    ) -> usize {
        self.find_or_insert_hashed(hash(window.0, key), key, window, plan)
    }

    /// The same of a key whose hash is known.
    #[inline(always)]
    pub(super) fn find_or_insert_hashed(
        &mut self,
        hash: u32,
        key: &[u8],
        window: (Timestamp, Timestamp),
        plan: &WindowPlan,
    ) -> usize {
        let (index, is_new) = self.find_or_push(hash, key, window);
        if is_new {
            self.accumulators.extend(plan.fresh());
            self.has_texts |= plan.keeps_texts;
        }
        index
    }

    /// The group that a hash most likely belongs to, to be looked at by [`Table::look_at`].
    #[inline(always)]
    pub(super) fn likely(&self, hash: u32) -> u32 {
        self.index.likely(hash)
    }

    /// Reads a byte of all that is kept of a group, so that it is near when it is worked on; what it gives means
    /// nothing.
    #[inline(always)]
    pub(super) fn look_at(&self, group: u32) -> usize {
        let group = group as usize;
        let Some(end) = self.key_ends.get(group) else { return 0 };
        let key = self.keys.get(end.wrapping_sub(1)).map_or(0, |byte| usize::from(*byte));
        let window = match &self.windows {
            GroupWindows::Same(..) => 0,
            GroupWindows::Each(windows) => {
                windows.get(group).map_or(0, |it| usize::from(it.0.0 == 0))
            }
        };
        let first = self.accumulators.get(group * self.stride);
        key + window + first.map_or(0, |first| usize::from(matches!(first, Accumulator::Count(_))))
    }

    #[inline]
    pub(super) fn group(&self, index: usize) -> Group<'_> {
        let (start, end) = self.windows.of(index);
        Group { start, end, key: self.key(index), accumulators: self.accumulators(index) }
    }

    /// Changes what a group adds up to.
    #[inline(always)]
    pub(super) fn change(&mut self, index: usize, change: impl FnOnce(&mut [Accumulator])) {
        let range = self.range_of(index);
        let accumulators = &mut self.accumulators[range];
        if !self.has_texts {
            return change(accumulators);
        }
        let before = text_bytes(accumulators);
        change(accumulators);
        self.text_bytes = self.text_bytes - before + text_bytes(accumulators);
    }

    fn add_accumulators(&mut self, accumulators: &[Accumulator]) {
        self.has_texts |= accumulators.iter().any(|it| matches!(it, Accumulator::Extreme(_)));
        self.text_bytes += text_bytes(accumulators);
        self.accumulators.extend_from_slice(accumulators);
    }

    /// Index of the group with this window and key, and whether it was made now, still without accumulators.
    fn find_or_push(
        &mut self,
        hash: u32,
        key: &[u8],
        window: (Timestamp, Timestamp),
    ) -> (usize, bool) {
        if self.index.len() < self.len() {
            self.catch_up();
        }
        let Table { index, windows, key_ends, keys, .. } = self;
        let is_it = |group: u32| {
            let group = group as usize;
            is_same(&keys[key_range(key_ends, group)], key) && windows.of(group).0 == window.0
        };
        match index.find(hash, is_it) {
            Some(group) => (group as usize, false),
            None => (self.push_indexed(hash, key, window), true),
        }
    }

    /// Adds a window and a key that are not there.
    fn push_indexed(&mut self, hash: u32, key: &[u8], window: (Timestamp, Timestamp)) -> usize {
        let group = self.len();
        self.index.insert(hash, short(group));
        self.push(key, window);
        group
    }

    /// Puts the groups into the index that came without.
    #[cold]
    fn catch_up(&mut self) {
        let missing = self.index.len()..self.len();
        self.index.reserve(missing.len());
        for group in missing {
            let hash = hash(self.windows.of(group).0, self.key(group));
            self.index.insert(hash, short(group));
        }
    }

    /// Adds a window and a key behind the others.
    #[inline]
    fn push(&mut self, key: &[u8], window: (Timestamp, Timestamp)) {
        self.windows.push(self.key_ends.len(), window);
        self.keys.extend_from_slice(key);
        self.key_ends.push(self.keys.len());
        self.order.take();
    }

    #[inline]
    fn key(&self, index: usize) -> &[u8] {
        &self.keys[key_range(&self.key_ends, index)]
    }

    #[inline]
    fn accumulators(&self, index: usize) -> &[Accumulator] {
        &self.accumulators[self.range_of(index)]
    }

    #[inline(always)]
    fn range_of(&self, index: usize) -> Range<usize> {
        index * self.stride..(index + 1) * self.stride
    }
}

impl GroupWindows {
    #[inline]
    fn of(&self, index: usize) -> (Timestamp, Timestamp) {
        match self {
            GroupWindows::Same(start, end) => (*start, *end),
            GroupWindows::Each(windows) => windows[index],
        }
    }

    /// Adds that of one more group to those of `groups`.
    #[inline]
    fn push(&mut self, groups: usize, window: (Timestamp, Timestamp)) {
        match self {
            GroupWindows::Same(start, end) if (*start, *end) == window => {}
            GroupWindows::Each(windows) if groups > 0 => windows.push(window),
            _ if groups == 0 => *self = GroupWindows::Same(window.0, window.1),
            GroupWindows::Same(..) | GroupWindows::Each(_) => self.make_each(groups).push(window),
        }
    }

    fn make_each(&mut self, groups: usize) -> &mut Vec<(Timestamp, Timestamp)> {
        if let GroupWindows::Same(start, end) = *self {
            *self = GroupWindows::Each(vec![(start, end); groups]);
        }
        match self {
            GroupWindows::Each(windows) => windows,
            GroupWindows::Same(..) => unreachable!("each has its own now"),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            GroupWindows::Same(..) => 0,
            GroupWindows::Each(windows) => windows.capacity() * size_of::<(Timestamp, Timestamp)>(),
        }
    }
}

#[inline(always)]
fn key_range(key_ends: &[usize], index: usize) -> Range<usize> {
    let begin = index.checked_sub(1).map_or(0, |before| key_ends[before]);
    begin..key_ends[index]
}

/// Whether two keys are equal; most are too short to be worth a call.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() || one.len() > 16 {
        return one == other;
    }
    match (
        one.first_chunk::<8>(),
        other.first_chunk::<8>(),
        one.last_chunk::<8>(),
        other.last_chunk(),
    ) {
        (Some(first), Some(as_first), Some(last), Some(as_last)) => {
            first == as_first && last == as_last
        }
        _ => one == other,
    }
}

/// # Panics
/// With more groups than one table holds.
fn short(group: usize) -> u32 {
    let short = u32::try_from(group).ok().filter(|group| *group < u32::MAX);
    short.expect("a table has fewer than 2^32 - 1 groups")
}

/// Bytes that accumulators own elsewhere.
#[inline]
fn text_bytes(accumulators: &[Accumulator]) -> usize {
    accumulators.iter().map(Accumulator::text_bytes).sum()
}

/// The eight bytes behind `common` as a number that compares as they do; shorter ones are less than longer
/// ones or equal to them.
#[inline]
fn leading(key: &[u8], common: usize) -> u64 {
    let rest = &key[common..];
    match (rest.first_chunk(), key.last_chunk()) {
        (Some(first), _) => u64::from_be_bytes(*first),
        // What they have in common is shifted out.
        (None, Some(last)) => {
            let bits = 8 * (8 - rest.len() as u32);
            u64::from_be_bytes(*last).checked_shl(bits).unwrap_or(0)
        }
        (None, None) => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn putting_a_group_again_replaces_it() {
        let mut table = Table::new(1);
        let (start, end) = (Timestamp(0), Timestamp(30));
        for count in [1, 2] {
            let accumulators = [Accumulator::Count(count)];
            table.put(Group { start, end, key: b"a", accumulators: &accumulators });
        }
        assert_eq!(table.len(), 1);
        assert_eq!(table.group(0).accumulators, [Accumulator::Count(2)]);
        assert_eq!(table.windows(), 1);
        table.put(Group { start: end, end, key: b"a", accumulators: &[Accumulator::Count(1)] });
        assert_eq!(table.len(), 2, "the start is part of what a group is found by");
        table.put(Group { start: end, end, key: b"b", accumulators: &[Accumulator::Count(1)] });
        assert_eq!((table.windows(), Table::new(1).windows()), (2, 0));
    }

    #[test]
    fn groups_are_sorted_by_window_and_key() {
        let mut table = Table::new(0);
        for (start, key) in [(30, "a"), (0, "b"), (0, "a")] {
            let (start, end) = (Timestamp(start), Timestamp(60));
            let key = format!("{key}{}", start.0);
            table.put(Group { start, end, key: key.as_bytes(), accumulators: &[] });
        }
        let keys =
            |table: &Table| table.sorted().map(|group| group.key.to_vec()).collect::<Vec<_>>();
        assert_eq!(keys(&table), [b"a0".to_vec(), b"b0".to_vec(), b"a30".to_vec()]);
        table.put(Group { start: Timestamp(0), end: Timestamp(60), key: b"a", accumulators: &[] });
        assert_eq!(keys(&table)[0], b"a", "one more is sorted in, however often was asked before");
    }

    proptest! {
        #[test]
        fn groups_are_sorted_as_their_windows_and_keys_are(
            groups in prop::collection::btree_set((0i64..3, "[a\\x00]{0,3}(store)?[ab\\x00]{0,10}"), 0..40),
            seed: u64,
        ) {
            let mut shuffled: Vec<_> = groups.iter().collect();
            shuffled.sort_by_key(|(start, key)| HASHER.hash_one((start, key, seed)));
            let mut table = Table::new(0);
            for (start, key) in shuffled {
                let (start, end) = (Timestamp(*start), Timestamp(60));
                table.put(Group { start, end, key: key.as_bytes(), accumulators: &[] });
            }
            let sorted: Vec<_> = table
                .sorted()
                .map(|group| (group.start.0, String::from_utf8(group.key.to_vec()).unwrap()))
                .collect();
            prop_assert_eq!(sorted, groups.into_iter().collect::<Vec<_>>());
        }
    }
}
