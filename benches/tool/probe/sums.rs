//! Sums by (window, store), the watermark, and what changed since the last checkpoint.
//!
//! Invariant: a window closes when the least of the partitions' newest times, less the delay, reaches its end;
//! looked at behind each batch. Start at [`Sums::add`].

use std::{collections::BTreeMap, hash::BuildHasher, io::Write};

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry as Place};

use super::scan::Sale;
use crate::truth::WINDOW_S;

struct Group {
    store: Box<[u8]>,
    cents: i64,
    has_changed: bool,
}

/// The sums of all open windows.
pub struct Sums {
    windows: BTreeMap<i64, HashTable<Group>>,
    /// One past the last offset of each partition, and its newest time.
    partitions: Vec<(i64, i64)>,
    watermark: i64,
    delay_s: i64,
    hasher: FixedState,
    /// The rows of closed windows as the files sink of sales-stream writes them, kept only for a store.
    results: Option<Vec<u8>>,
    pub closed: u64,
    pub late: u64,
    closed_cents: i64,
}

/// What a checkpoint has to hold, and the results that were due since the last one.
pub struct Changes {
    pub offsets: Vec<i64>,
    /// Changed rows, packed: window, number of rows, rows of length, store, cents.
    pub rows: Vec<u8>,
    /// The newest window with rows in this, and the oldest that is still open.
    pub newest: i64,
    pub oldest: i64,
    pub results: Vec<u8>,
}

impl Sums {
    pub fn new(partitions: usize, delay_s: i64, keeps_results: bool) -> Sums {
        Sums {
            windows: BTreeMap::new(),
            partitions: vec![(0, i64::MIN); partitions],
            watermark: i64::MIN,
            delay_s,
            hasher: FixedState::default(),
            results: keeps_results.then(Vec::new),
            closed: 0,
            late: 0,
            closed_cents: 0,
        }
    }

    #[inline]
    pub fn add(&mut self, partition: usize, offset: i64, sale: &Sale<'_>) {
        let (next, newest) = &mut self.partitions[partition];
        *next = offset + 1;
        *newest = sale.ts.max(*newest);
        let window = sale.ts.div_euclid(WINDOW_S);
        if (window + 1) * WINDOW_S <= self.watermark {
            self.late += 1;
            return;
        }
        let hash = self.hasher.hash_one(sale.store);
        let groups = self.windows.entry(window).or_default();
        let hash_of = |group: &Group| self.hasher.hash_one(&*group.store);
        match groups.entry(hash, |group| *group.store == *sale.store, hash_of) {
            Place::Occupied(mut group) => {
                let group = group.get_mut();
                group.cents += sale.cents;
                group.has_changed = true;
            }
            Place::Vacant(place) => {
                place.insert(Group {
                    store: sale.store.into(),
                    cents: sale.cents,
                    has_changed: true,
                });
            }
        }
    }

    /// Moves the watermark and closes what it has passed.
    pub fn close(&mut self) {
        let newest = self.partitions.iter().map(|(_, newest)| *newest).min();
        let watermark = newest.map_or(i64::MIN, |newest| newest.saturating_sub(self.delay_s));
        self.watermark = watermark.max(self.watermark);
        while let Some(window) = self.windows.first_entry() {
            if (window.key() + 1) * WINDOW_S > self.watermark {
                break;
            }
            let (window, groups) = window.remove_entry();
            let instant = |window: i64| jiff::Timestamp::from_second(window * WINDOW_S);
            let behind = match (instant(window), instant(window + 1)) {
                (Ok(start), Ok(end)) => {
                    format!(",\"window_start\":\"{start}\",\"window_end\":\"{end}\"}}\n")
                }
                _ => unreachable!("the windows of a workload are of this age"),
            };
            for group in groups {
                self.closed += 1;
                self.closed_cents += group.cents;
                let Some(results) = &mut self.results else { continue };
                results.extend_from_slice(b"{\"store\":\"");
                results.extend_from_slice(&group.store);
                let (ones, cents) = (group.cents / 100, group.cents % 100);
                write!(results, "\",\"total_revenue\":{ones}.{cents:02}")
                    .expect("a buffer takes everything");
                results.extend_from_slice(behind.as_bytes());
            }
        }
    }

    /// Takes what a checkpoint needs.
    pub fn changes(&mut self) -> Changes {
        let mut rows = Vec::with_capacity(1 << 20);
        for (window, groups) in &mut self.windows {
            rows.extend_from_slice(&window.to_le_bytes());
            let count_at = rows.len();
            rows.extend_from_slice(&[0; 4]);
            let mut count = 0_u32;
            for group in groups.iter_mut().filter(|group| group.has_changed) {
                group.has_changed = false;
                count += 1;
                rows.push(u8::try_from(group.store.len()).unwrap_or(u8::MAX));
                rows.extend_from_slice(&group.store);
                rows.extend_from_slice(&group.cents.to_le_bytes());
            }
            rows[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        }
        Changes {
            offsets: self.partitions.iter().map(|(next, _)| *next).collect(),
            rows,
            newest: self.windows.keys().last().copied().unwrap_or(i64::MIN),
            oldest: self.windows.keys().next().copied().unwrap_or(i64::MAX),
            results: self.results.replace(Vec::new()).unwrap_or_default(),
        }
    }

    /// Of all records that were not late.
    pub fn total_cents(&self) -> i64 {
        let open = self.windows.values().flatten().map(|group| group.cents);
        self.closed_cents + open.sum::<i64>()
    }
}
