//! Where a table's groups are, by hash: slots in one row of memory, each group in the first free one from
//! where its hash points to (open addressing with linear probing). Insert-only.
//!
//! A general table costs twice as much here: its control bytes are elsewhere than its slots, and an event
//! finds its group nearly always where it looks first.
//!
//! Invariants: at least a quarter of the slots is free, so that every search ends. Not here: what a group's
//! hash is, and whether it is the one that was meant (`table`).

/// A free slot's group, which no table has.
const FREE: u32 = u32::MAX;

/// The groups of a table by hash.
#[derive(Clone, Debug)]
pub(super) struct Index {
    slots: Vec<Slot>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    group: u32,
}

impl Index {
    pub(super) const fn new() -> Index {
        Index { slots: Vec::new(), len: 0 }
    }

    /// With room for so many groups.
    pub(super) fn with_room_for(groups: usize) -> Index {
        Index { slots: free(slots_for(groups)), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    /// How many bytes more it takes at most while and when so many groups are added.
    pub(super) fn growth_bytes(&self, groups: usize) -> usize {
        match slots_for(self.len + groups) {
            needed if needed <= self.slots.len() => 0,
            needed => needed.max(2 * self.slots.len()) * size_of::<Slot>(),
        }
    }

    /// The group with this hash that `is_it`.
    #[inline(always)]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.first(hash);
        loop {
            let slot = self.slots.get(at)?;
            if slot.hash == hash && slot.group != FREE && is_it(slot.group) {
                return Some(slot.group);
            }
            if slot.group == FREE {
                return None;
            }
            at = self.next(at);
        }
    }

    /// The group that is looked at first for this hash, if there is one: nearly always the one that has it.
    #[inline(always)]
    pub(super) fn likely(&self, hash: u32) -> u32 {
        self.slots.get(self.first(hash)).map_or(FREE, |slot| slot.group)
    }

    /// Adds a group that is not there.
    pub(super) fn insert(&mut self, hash: u32, group: u32) {
        self.reserve(1);
        self.put(Slot { hash, group });
        self.len += 1;
    }

    /// Makes room for so many more groups.
    pub(super) fn reserve(&mut self, groups: usize) {
        let needed = slots_for(self.len + groups);
        if needed > self.slots.len() {
            let slots = free(needed.max(2 * self.slots.len()));
            for slot in std::mem::replace(&mut self.slots, slots) {
                if slot.group != FREE {
                    self.put(slot);
                }
            }
        }
    }

    /// Gives each group another number.
    pub(super) fn renumber(&mut self, new: &[u32]) {
        for slot in self.slots.iter_mut().filter(|slot| slot.group != FREE) {
            slot.group = new[slot.group as usize];
        }
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.first(slot.hash);
        while self.slots[at].group != FREE {
            at = self.next(at);
        }
        self.slots[at] = slot;
    }

    /// Where a hash points to: hashes are spread over all numbers, so a hash's share of them is its share of
    /// the slots.
    #[inline(always)]
    fn first(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

/// How many slots so many groups need.
#[inline]
fn slots_for(groups: usize) -> usize {
    groups + groups.div_ceil(3)
}

fn free(slots: usize) -> Vec<Slot> {
    vec![Slot { hash: 0, group: FREE }; slots]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_group_is_found_by_its_hash_and_no_other(
            hashes in prop::collection::vec(prop_oneof![0u32..4, u32::MAX - 4.., any::<u32>()], 0..300),
            room in 0usize..400,
        ) {
            let mut index = Index::with_room_for(room);
            for (group, hash) in (0..).zip(&hashes) {
                prop_assert_eq!(index.find(*hash, |found| found == group), None);
                index.insert(*hash, group);
            }
            prop_assert_eq!(index.len(), hashes.len());
            let new: Vec<u32> = (0..).take(hashes.len()).map(|group: u32| group + 7).collect();
            index.renumber(&new);
            for (group, hash) in (7..).zip(&hashes) {
                prop_assert_eq!(index.find(*hash, |found| found == group), Some(group));
                prop_assert_eq!(index.find(!*hash, |found| found == group), None);
            }
        }
    }

    #[test]
    fn one_that_was_made_with_room_does_not_grow() {
        let mut index = Index::with_room_for(1000);
        let before = index.memory_bytes();
        assert_eq!(index.growth_bytes(1000), 0);
        for group in 0..1000u32 {
            index.insert(group.wrapping_mul(0x9e37_79b9), group);
        }
        assert_eq!(index.memory_bytes(), before);
        let grown = index.growth_bytes(1);
        index.insert(0, 1000);
        assert_eq!(index.memory_bytes(), grown);
    }
}
