//! The order in which Spark reads the partitions of a topic within a batch.
//!
//! It is the order of hash maps over `TopicPartition`, so it depends on the topic's name. The offsets
//! come in a Java map, go through a Scala map that can be changed, and end in one that cannot: up to
//! four entries that one keeps the order they came in, more are in the order of their hashes.
//! Seen in real runs for up to four partitions; for more it follows from the source of Scala's maps
//! (2.12: `HashTrieMap`; 2.13: `BitmapIndexedMapNode`, entries before branches).

use crate::{spec::Compat, types::Partition};

/// The partitions 0 to `count` - 1 of `topic` in the order a version of Spark reads them.
#[must_use]
pub fn topic_order(compat: Compat, topic: &str, count: usize) -> Vec<Partition> {
    let count = i32::try_from(count).expect("Kafka counts partitions in 32 bits");
    let hash = |partition: &i32| topic_partition_hash(topic, *partition);
    let mut order: Vec<i32> = (0..count).collect();
    if count > 4 {
        match compat {
            Compat::Spark35 => order.sort_by_key(|partition| trie_path(hash(partition))),
            Compat::Spark4 => order = champ_order(order, 0, &|partition| improve(hash(partition))),
        }
    } else {
        // A Java map for so few has 8 bins at most, and lists them in their order.
        let bins = java_bins(order.len());
        order.sort_by_key(|partition| (hash(partition) ^ (hash(partition) >> 16)) & (bins - 1));
        match compat {
            Compat::Spark4 => {
                order.sort_by_key(|partition| (hash(partition) ^ (hash(partition) >> 16)) & 15);
            }
            Compat::Spark35 => {
                order.reverse();
                order.sort_by_key(|partition| std::cmp::Reverse(scala_212_bin(hash(partition))));
            }
        }
    }
    order.into_iter().map(Partition).collect()
}

/// `TopicPartition.hashCode`
fn topic_partition_hash(topic: &str, partition: i32) -> u32 {
    let text = topic
        .encode_utf16()
        .fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    31u32.wrapping_add(partition.cast_unsigned()).wrapping_mul(31).wrapping_add(text)
}

/// Bins of `new java.util.HashMap(count)` after `count` entries came in.
fn java_bins(count: usize) -> u32 {
    let bins = count.next_power_of_two();
    let grown = if count * 4 > bins * 3 { bins * 2 } else { bins };
    u32::try_from(grown).expect("at most eight")
}

/// The bin of a `scala.collection.mutable.HashMap` of 2.12 with 16 bins.
fn scala_212_bin(hash: u32) -> u32 {
    let swapped = hash.wrapping_mul(0x9e37_75cd).swap_bytes().wrapping_mul(0x9e37_75cd);
    swapped.rotate_right(4) >> 28
}

/// `scala.collection.Hashing.improve`
fn improve(hash: u32) -> u32 {
    let hash = hash.wrapping_add(!(hash << 9));
    let hash = hash ^ (hash >> 14);
    let hash = hash.wrapping_add(hash << 4);
    hash ^ (hash >> 10)
}

/// The way through a trie of five bits a level, the lowest first.
fn trie_path(hash: u32) -> [u32; 7] {
    let hash = improve(hash);
    std::array::from_fn(|level| (hash >> (5 * level)) & 31)
}

/// A node's own entries by their five bits, then its branches by theirs.
fn champ_order(members: Vec<i32>, shift: u32, hash: &dyn Fn(&i32) -> u32) -> Vec<i32> {
    let mut branches: Vec<Vec<i32>> = vec![Vec::new(); 32];
    if shift >= 32 {
        return members;
    }
    for member in members {
        branches[(hash(&member) >> shift & 31) as usize].push(member);
    }
    let (entries, branches): (Vec<_>, Vec<_>) = branches
        .into_iter()
        .filter(|branch| !branch.is_empty())
        .partition(|branch| branch.len() == 1);
    let deeper = branches.into_iter().flat_map(|branch| champ_order(branch, shift + 5, hash));
    entries.into_iter().flatten().chain(deeper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(compat: Compat, topic: &str, count: usize) -> Vec<i32> {
        topic_order(compat, topic, count).into_iter().map(|partition| partition.0).collect()
    }

    #[test]
    fn three_partitions_are_read_as_seen_in_real_runs() {
        assert_eq!(order(Compat::Spark35, "real-time-transactions", 3), [2, 1, 0]);
        assert_eq!(order(Compat::Spark4, "real-time-transactions", 3), [2, 0, 1]);
    }

    #[test]
    fn every_partition_is_read_once() {
        for compat in [Compat::Spark35, Compat::Spark4] {
            for count in [0, 1, 4, 5, 33, 1000] {
                let mut found = order(compat, "sales", count);
                found.sort_unstable();
                assert_eq!(found.len(), count);
                assert!(found.into_iter().eq(0..i32::try_from(count).unwrap()));
            }
        }
    }
}
