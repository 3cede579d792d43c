//! Groups that are kept together, by window start and key: an insert-only hash table whose keys and
//! accumulators lie in three flat buffers, so that a group costs no allocation of its own.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::{hash::BuildHasher, sync::OnceLock};

use crate::{
    types::Timestamp,
    window::{Accumulator, WindowPlan},
};

/// Keys of groups come from outside, so the seed is not the crate's own default; it need not be
/// secret, because an attacker who can choose keys can fill the table anyway.
const HASHER: FixedState = FixedState::with_seed(0x5a1e_5057_4e55_7ea7);

fn hash(start: Timestamp, key: &[u8]) -> u64 {
    // Starts differ in few bits; an odd factor spreads them over all.
    HASHER.hash_one(key) ^ start.0.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Groups that are kept together.
#[derive(Clone, Debug)]
pub struct Table {
    stride: usize,
    index: HashTable<u32>,
    groups: Vec<GroupHead>,
    keys: Vec<u8>,
    accumulators: Vec<Accumulator>,
    /// The groups by window start, then key, once somebody has asked and until there is one more.
    order: OnceLock<Box<[u32]>>,
}

#[derive(Clone, Copy, Debug)]
struct GroupHead {
    hash: u64,
    key_start: usize,
    key_len: u32,
    start: Timestamp,
    end: Timestamp,
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
    /// An empty table for groups of `stride` accumulators.
    #[must_use]
    pub fn new(stride: usize) -> Table {
        Table {
            stride,
            index: HashTable::new(),
            groups: Vec::new(),
            keys: Vec::new(),
            accumulators: Vec::new(),
            order: OnceLock::new(),
        }
    }

    /// The same with room for so many groups.
    #[must_use]
    pub(super) fn with_room_for(groups: usize, stride: usize) -> Table {
        Table {
            index: HashTable::with_capacity(groups),
            groups: Vec::with_capacity(groups),
            accumulators: Vec::with_capacity(groups * stride),
            ..Table::new(stride)
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // An index's slot has a byte of its own beside its number.
        self.index.capacity() * (size_of::<u32>() + 1)
            + self.groups.capacity() * size_of::<GroupHead>()
            + self.keys.capacity()
            + self.accumulators.capacity() * size_of::<Accumulator>()
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
        grown(self.len(), groups, self.index.capacity(), size_of::<u32>() + 1)
            + grown(self.len(), groups, self.groups.capacity(), size_of::<GroupHead>())
            + grown(self.keys.len(), keys, self.keys.capacity(), 1)
            + grown(
                self.accumulators.len(),
                groups * self.stride,
                self.accumulators.capacity(),
                size_of::<Accumulator>(),
            )
    }

    /// The groups, ordered by window start, then key. They are sorted once, however often that is asked.
    pub fn sorted(&self) -> impl Iterator<Item = Group<'_>> {
        self.order().iter().map(|&index| self.group(index as usize))
    }

    /// The indices of the groups in that order.
    pub(super) fn order(&self) -> &[u32] {
        self.order.get_or_init(|| self.sort())
    }

    /// Most keys differ within eight bytes behind what all have in common: these are compared as one
    /// number, beside the index they belong to.
    fn sort(&self) -> Box<[u32]> {
        let common = self.common_key_bytes();
        let mut order: Vec<(Timestamp, u64, u32)> = self
            .groups
            .iter()
            .zip(0..)
            .map(|(head, index)| (head.start, leading(&self.key(head)[common..]), index))
            .collect();
        order.sort_unstable_by(|a, b| {
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| {
                let key = |index: u32| self.key(&self.groups[index as usize]);
                key(a.2).cmp(key(b.2))
            })
        });
        order.into_iter().map(|(_, _, index)| index).collect()
    }

    /// How many bytes all keys begin with alike.
    fn common_key_bytes(&self) -> usize {
        let Some(first) = self.groups.first() else { return 0 };
        let first = self.key(first);
        self.groups.iter().fold(first.len(), |common, head| {
            let alike = first[..common].iter().zip(self.key(head)).take_while(|(a, b)| a == b);
            alike.count()
        })
    }

    /// The group with this window start and key, if there is one.
    #[must_use]
    pub fn get(&self, start: Timestamp, key: &[u8]) -> Option<Group<'_>> {
        self.find(hash(start, key), start, key).map(|index| self.group(index))
    }

    /// Puts a group in, in place of the one with the same window start and key.
    ///
    /// # Panics
    /// When it has another number of accumulators than the table was made for.
    pub fn put(&mut self, group: Group<'_>) {
        assert_eq!(group.accumulators.len(), self.stride, "groups of one table are alike");
        let hash = hash(group.start, group.key);
        match self.find(hash, group.start, group.key) {
            Some(index) => {
                self.groups[index].end = group.end;
                self.accumulators_mut(index).clone_from_slice(group.accumulators);
            }
            None => {
                self.accumulators.extend_from_slice(group.accumulators);
                self.insert(hash, group.key, group.start, group.end);
            }
        }
    }

    /// Index of the group with this window and key, made from the plan where there is none.
    pub(super) fn find_or_insert(
        &mut self,
        key: &[u8],
        window: (Timestamp, Timestamp),
        plan: &WindowPlan,
    ) -> usize {
        let hash = hash(window.0, key);
        if let Some(index) = self.find(hash, window.0, key) {
            return index;
        }
        self.accumulators.extend(plan.fresh());
        self.insert(hash, key, window.0, window.1)
    }

    pub(super) fn group(&self, index: usize) -> Group<'_> {
        let head = &self.groups[index];
        Group {
            start: head.start,
            end: head.end,
            key: self.key(head),
            accumulators: &self.accumulators[index * self.stride..(index + 1) * self.stride],
        }
    }

    pub(super) fn accumulators_mut(&mut self, index: usize) -> &mut [Accumulator] {
        &mut self.accumulators[index * self.stride..(index + 1) * self.stride]
    }

    fn find(&self, hash: u64, start: Timestamp, key: &[u8]) -> Option<usize> {
        let found = self.index.find(hash, |&index| {
            let head = &self.groups[index as usize];
            head.hash == hash && head.start == start && self.key(head) == key
        });
        found.map(|&index| index as usize)
    }

    fn insert(&mut self, hash: u64, key: &[u8], start: Timestamp, end: Timestamp) -> usize {
        let index = self.groups.len();
        let short = u32::try_from(index).expect("a window has fewer than 2^32 groups");
        let key_len = u32::try_from(key.len()).expect("a key is shorter than 4 GiB");
        self.groups.push(GroupHead { hash, key_start: self.keys.len(), key_len, start, end });
        self.keys.extend_from_slice(key);
        self.order.take();
        let groups = &self.groups;
        self.index.insert_unique(hash, short, |&other| groups[other as usize].hash);
        index
    }

    fn key(&self, head: &GroupHead) -> &[u8] {
        &self.keys[head.key_start..head.key_start + head.key_len as usize]
    }
}

/// The first eight bytes as a number that compares as they do; shorter ones are less than longer ones
/// or equal to them.
fn leading(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = key.len().min(8);
    bytes[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(bytes)
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
        let group = table.get(start, b"a").unwrap();
        assert_eq!(group.accumulators, [Accumulator::Count(2)]);
        assert_eq!(table.get(start, b"b"), None);
        assert_eq!(table.get(end, b"a"), None, "the start is part of what a group is found by");
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
