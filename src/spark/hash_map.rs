//! `java.util.concurrent.ConcurrentHashMap`, as far as the order of its entries goes.
//!
//! Spark's default state store keeps the keys of a shuffle partition in such a map and publishes rows
//! in its order. Every batch works on a new map into which the one before was copied
//! (`HDFSBackedStateStoreProvider.getStore`): [`JavaMap::copy_anew`].
//!
//! Bins that Java turns into trees are modelled as far as they are listed: new keys come first in
//! them. One thing is not: when a tree that loses keys becomes a list again depends on its balance
//! there, here on its length. A bin must hold nine keys for that, among at least 64 bins.

use crate::spark::murmur;

/// A bin with so many keys becomes a tree.
const TREEIFY: usize = 8;
/// A tree with so few keys becomes a list when the table grows.
const UNTREEIFY: usize = 6;
/// Smaller tables grow instead of having trees.
const MIN_TREEIFY_CAPACITY: usize = 64;
const NONE: u32 = u32::MAX;

/// A map from the bytes of keys to values, in Java's order.
#[derive(Clone, Debug)]
pub(super) struct JavaMap<V> {
    bins: Vec<Bin>,
    entries: Vec<Option<Entry<V>>>,
    free: Vec<u32>,
    len: usize,
    /// Bytes of all keys.
    key_bytes: usize,
    /// The table grows when it has so many keys (`sizeCtl`).
    grows_at: usize,
    /// Whether nothing was put in or taken out since it was copied anew: copying it again changes
    /// nothing.
    is_fresh_copy: bool,
}

#[derive(Clone, Copy, Debug)]
struct Bin {
    head: u32,
    is_tree: bool,
}

const EMPTY: Bin = Bin { head: NONE, is_tree: false };

#[derive(Clone, Debug)]
struct Entry<V> {
    hash: u32,
    key: Box<[u8]>,
    value: V,
    next: u32,
}

impl<V> Default for JavaMap<V> {
    fn default() -> JavaMap<V> {
        JavaMap {
            bins: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            len: 0,
            key_bytes: 0,
            grows_at: 0,
            is_fresh_copy: false,
        }
    }
}

impl<V> JavaMap<V> {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// About how many bytes of memory it takes, without what values point at.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bins.capacity() * size_of::<Bin>()
            + self.entries.capacity() * size_of::<Option<Entry<V>>>()
            + self.free.capacity() * size_of::<u32>()
            + self.key_bytes
    }

    /// What the key is mapped to.
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        self.find(key).map(|index| &self.entry(index).value)
    }

    /// Whether the key is there.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// Maps the key to a value; gives whether the key is new.
    pub(super) fn put(&mut self, key: &[u8], value: V) -> bool {
        self.is_fresh_copy = false;
        if self.bins.is_empty() {
            self.bins = vec![EMPTY; 16];
            self.grows_at = 12;
        }
        let hash = spread(key);
        let bin = self.bin_of(hash);
        let (found, last, passed) = self.walk(bin, hash, key);
        if let Some(index) = found {
            self.entry_mut(index).value = value;
        } else {
            let entry = Entry { hash, key: key.into(), value, next: NONE };
            self.link(bin, last, entry);
        }
        if !self.bins[bin].is_tree && passed >= TREEIFY {
            self.treeify(bin);
        }
        if found.is_none() {
            self.len += 1;
            self.key_bytes += key.len();
            while self.len >= self.grows_at {
                self.grow();
            }
        }
        found.is_none()
    }

    /// Takes the key out; gives whether it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        if self.bins.is_empty() {
            return false;
        }
        self.is_fresh_copy = false;
        let hash = spread(key);
        let bin = self.bin_of(hash);
        let (mut previous, mut place) = (NONE, self.bins[bin].head);
        while place != NONE {
            let entry = self.entry(place);
            let next = entry.next;
            if entry.hash == hash && *entry.key == *key {
                match previous {
                    NONE => self.bins[bin].head = next,
                    previous => self.entry_mut(previous).next = next,
                }
                self.entries[place as usize] = None;
                self.free.push(place);
                self.len -= 1;
                self.key_bytes -= key.len();
                let is_tree = self.bins[bin].is_tree;
                self.bins[bin].is_tree = is_tree && self.chain(bin).count() > UNTREEIFY;
                return true;
            }
            (previous, place) = (place, next);
        }
        false
    }

    /// The entries in Java's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        (0..self.bins.len()).flat_map(|bin| self.chain(bin)).map(|index| {
            let entry = self.entry(index);
            (&*entry.key, &entry.value)
        })
    }

    /// Becomes a new map into which all entries are put in this one's order (`putAll`).
    pub(super) fn copy_anew(&mut self) {
        if self.is_fresh_copy {
            return;
        }
        let order: Vec<u32> = (0..self.bins.len()).flat_map(|bin| self.chain(bin)).collect();
        self.bins = Vec::new();
        self.grows_at = 0;
        self.presize(order.len());
        self.len = 0;
        for index in order {
            let bin = self.bin_of(self.entry(index).hash);
            self.entry_mut(index).next = NONE;
            let (last, passed) = self.end_of(bin);
            self.attach(bin, last, index);
            if !self.bins[bin].is_tree && passed >= TREEIFY {
                self.treeify(bin);
            }
            self.len += 1;
            while self.len >= self.grows_at {
                self.grow();
            }
        }
        self.is_fresh_copy = true;
    }

    /// `tryPresize`
    fn presize(&mut self, keys: usize) {
        let wanted = (keys + (keys >> 1) + 1).next_power_of_two();
        if self.bins.is_empty() {
            self.bins = vec![EMPTY; wanted];
            self.grows_at = wanted - (wanted >> 2);
        }
        while wanted > self.grows_at {
            self.grow();
        }
    }

    fn treeify(&mut self, bin: usize) {
        if self.bins.len() < MIN_TREEIFY_CAPACITY {
            self.presize(self.bins.len() * 2);
        } else {
            self.bins[bin].is_tree = true;
        }
    }

    /// `transfer`: twice as many bins. Of a list the last run of keys that stay together keeps its
    /// order, and those before it come before it one by one, turned around.
    fn grow(&mut self) {
        let count = self.bins.len();
        let old = std::mem::replace(&mut self.bins, vec![EMPTY; 2 * count]);
        self.grows_at = 2 * count - (count >> 1);
        for (bin, Bin { head, is_tree }) in old.into_iter().enumerate() {
            let chain: Vec<u32> = self.chain_from(head).collect();
            let is_high =
                |map: &JavaMap<V>, index: u32| map.entry(index).hash as usize & count != 0;
            let (mut low, mut high) = (Vec::new(), Vec::new());
            if is_tree {
                (high, low) = chain.iter().copied().partition(|index| is_high(self, *index));
            } else if let Some(last) = chain.last() {
                let kind = is_high(self, *last);
                let run = chain.iter().rposition(|index| is_high(self, *index) != kind);
                let run = run.map_or(0, |before| before + 1);
                let turned: Vec<u32> = chain[..run].iter().rev().copied().collect();
                (high, low) = turned.into_iter().partition(|index| is_high(self, *index));
                if kind { &mut high } else { &mut low }.extend_from_slice(&chain[run..]);
            }
            for (place, chain) in [(bin, low), (bin + count, high)] {
                self.bins[place] = Bin {
                    head: chain.first().copied().unwrap_or(NONE),
                    is_tree: is_tree && chain.len() > UNTREEIFY,
                };
                for (index, &entry) in chain.iter().enumerate() {
                    self.entry_mut(entry).next = chain.get(index + 1).copied().unwrap_or(NONE);
                }
            }
        }
    }

    /// The key's entry in a bin, the bin's last entry, and what Java calls `binCount`: the place of
    /// the one that was found, from 1, or how many there are.
    fn walk(&self, bin: usize, hash: u32, key: &[u8]) -> (Option<u32>, u32, usize) {
        let (mut last, mut passed) = (NONE, 0);
        for index in self.chain(bin) {
            passed += 1;
            let entry = self.entry(index);
            if entry.hash == hash && *entry.key == *key {
                return (Some(index), last, passed);
            }
            last = index;
        }
        (None, last, passed)
    }

    fn end_of(&self, bin: usize) -> (u32, usize) {
        self.chain(bin).fold((NONE, 0), |(_, passed), index| (index, passed + 1))
    }

    fn link(&mut self, bin: usize, last: u32, entry: Entry<V>) {
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(entry);
                index
            }
            None => {
                self.entries.push(Some(entry));
                u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 keys in a partition")
            }
        };
        self.attach(bin, last, index);
    }

    /// Puts an entry at the end of a list, or at the front of a tree.
    fn attach(&mut self, bin: usize, last: u32, index: u32) {
        let Bin { head, is_tree } = self.bins[bin];
        if is_tree || last == NONE {
            self.entry_mut(index).next = head;
            self.bins[bin].head = index;
        } else {
            self.entry_mut(last).next = index;
        }
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        if self.bins.is_empty() {
            return None;
        }
        let hash = spread(key);
        self.walk(self.bin_of(hash), hash, key).0
    }

    fn bin_of(&self, hash: u32) -> usize {
        hash as usize & (self.bins.len() - 1)
    }

    fn chain(&self, bin: usize) -> impl Iterator<Item = u32> {
        self.chain_from(self.bins[bin].head)
    }

    fn chain_from(&self, head: u32) -> impl Iterator<Item = u32> {
        let start = (head != NONE).then_some(head);
        std::iter::successors(start, |&index| {
            let next = self.entry(index).next;
            (next != NONE).then_some(next)
        })
    }

    fn entry(&self, index: u32) -> &Entry<V> {
        self.entries[index as usize].as_ref().expect("linked entries are there")
    }

    fn entry_mut(&mut self, index: u32) -> &mut Entry<V> {
        self.entries[index as usize].as_mut().expect("linked entries are there")
    }
}

/// The hash by which Java chooses a bin.
fn spread(key: &[u8]) -> u32 {
    let hash = murmur::words(key);
    (hash ^ (hash >> 16)) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> [u8; 8] {
        number.to_le_bytes()
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u64..60, prop::bool::ANY), 0..300)) {
            let mut map = JavaMap::default();
            let mut model = std::collections::BTreeMap::new();
            for (step, (number, put)) in steps.into_iter().enumerate() {
                if put {
                    let is_new = model.insert(key(number), step).is_none();
                    prop_assert_eq!(map.put(&key(number), step), is_new);
                } else {
                    prop_assert_eq!(map.remove(&key(number)), model.remove(&key(number)).is_some());
                }
                if step % 17 == 0 {
                    map.copy_anew();
                }
            }
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.to_vec(), *value)).collect();
            entries.sort();
            let expected: Vec<_> = model.iter().map(|(key, value)| (key.to_vec(), *value)).collect();
            prop_assert_eq!(entries, expected);
        }

        #[test]
        fn a_copy_of_a_copy_has_its_order(count in 0u64..200) {
            let mut map = JavaMap::default();
            (0..count).for_each(|number| { map.put(&key(number), ()); });
            map.copy_anew();
            let order = |map: &JavaMap<()>| -> Vec<Vec<u8>> {
                map.iter().map(|(key, ())| key.to_vec()).collect()
            };
            let once = order(&map);
            map.is_fresh_copy = false;
            map.copy_anew();
            prop_assert_eq!(order(&map), once);
        }
    }
}
