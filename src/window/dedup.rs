//! Which records are seen as one: of those with equal keys only the first is kept, for as long as its
//! key is remembered.
//!
//! Records of a batch that may be kept wait for its end: partitions are read beside each other, and
//! the first is the one that comes first by partition, then offset. So a batch needs memory for the
//! distinct new records in it.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use foldhash::fast::FixedState;

use crate::{
    spec::{DeduplicationScope, Pipeline},
    types::{
        Event, Keeper, Offset, OperatorCounts, OwnedEvent, Partition, Place, Timestamp, Value,
        Verdict, Watch, Watermark, Work,
    },
    window::{Changes, Group, Table, key, plan::together},
};

/// A key and the instant at which it is forgotten.
type Expiring = (Timestamp, Arc<[u8]>);

type Keyed<T> = HashMap<Arc<[u8]>, T, FixedState>;

/// The keys that were seen and are not forgotten.
#[derive(Debug)]
pub struct Deduplicator {
    columns: Vec<usize>,
    scope: DeduplicationScope,
    /// Without a watermark nothing is late and nothing is forgotten.
    delay_us: Option<i64>,
    /// Every key with the instant at which it is forgotten.
    seen: Keyed<Timestamp>,
    /// Bytes of the keys in `seen`.
    key_bytes: usize,
    /// The same by that instant, several instants together; without those that are never forgotten.
    expiring: BTreeMap<Timestamp, Vec<Expiring>>,
}

/// The records that one batch may keep.
#[derive(Debug)]
pub(super) struct DedupDelta {
    late_bound: Watermark,
    held: Keyed<Held>,
    /// Bytes of the keys in `held`, and of what its records own.
    owned_bytes: usize,
    key: Vec<u8>,
}

/// A record that waits for the end of its batch.
#[derive(Debug)]
pub(super) struct Held {
    at: (Partition, Offset),
    expiry: Timestamp,
    pub(super) gap_us: Option<i64>,
    pub(super) event: OwnedEvent,
}

impl DedupDelta {
    pub(super) fn new(late_bound: Watermark) -> DedupDelta {
        DedupDelta { late_bound, held: Keyed::default(), owned_bytes: 0, key: Vec::new() }
    }

    /// Whether no record is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        // A slot of a map has a byte of its own, a shared key two counters.
        let slots = self.held.capacity() * (size_of::<(Arc<[u8]>, Held)>() + 1);
        slots + self.held.len() * 2 * size_of::<usize>() + self.owned_bytes
    }
}

impl Deduplicator {
    /// The deduplication of a pipeline; `None` where it has none.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Option<Deduplicator> {
        let deduplication = pipeline.deduplication.as_ref()?;
        let event_time = pipeline.event_time.as_ref();
        let delay_ms = event_time.and_then(|event_time| event_time.watermark_delay_ms);
        Some(Deduplicator {
            columns: deduplication.columns.clone(),
            scope: deduplication.scope,
            delay_us: delay_ms.map(|delay_ms| delay_ms.saturating_mul(1000)),
            seen: Keyed::default(),
            key_bytes: 0,
            expiring: BTreeMap::new(),
        })
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.seen.len() as u64
    }

    /// About how many bytes of memory they take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // A slot of a map has a byte of its own, a shared key two counters.
        let slots = self.seen.capacity() * (size_of::<(Arc<[u8]>, Timestamp)>() + 1);
        let expiring = self.expiring.values().map(|keys| keys.capacity() * size_of::<Expiring>());
        let counters = self.seen.len() * 2 * size_of::<usize>();
        slots + expiring.sum::<usize>() + counters + self.key_bytes
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Remembers a key read from a checkpoint until `expiry`.
    pub fn restore(&mut self, key: &[u8], expiry: Timestamp) {
        // A key that was forgotten and seen again may be stored twice; the later one counts.
        if self.seen.get(key).is_none_or(|known| *known < expiry) {
            self.remember(key.into(), expiry);
        }
    }

    /// Holds a record that is the first of its kind so far. Whether its key's time is up is not asked
    /// here: only the end of a batch forgets.
    pub(super) fn add(
        &self,
        delta: &mut DedupDelta,
        at: (Partition, Offset),
        event: &Event<'_>,
        gap_us: Option<i64>,
    ) -> Verdict {
        if self.delay_us.is_some() && event.time.is_some_and(|time| delta.late_bound.closes(time)) {
            return Verdict::Late;
        }
        delta.key.clear();
        for &column in &self.columns {
            key::encode(event.value(column), &mut delta.key);
        }
        if self.scope == DeduplicationScope::WithEventTime {
            key::encode(event.time.map_or(Value::Null, Value::Timestamp), &mut delta.key);
        }
        if self.seen.contains_key(&delta.key[..]) {
            return Verdict::Duplicate;
        }
        let hold = || {
            let expiry = self.expiry(event.time);
            Held { at, expiry, gap_us, event: event.to_owned_event() }
        };
        if let Some(first) = delta.held.get_mut(&delta.key[..]) {
            if at < first.at {
                delta.owned_bytes -= first.event.memory_bytes();
                *first = hold();
                delta.owned_bytes += first.event.memory_bytes();
            }
            return Verdict::Duplicate;
        }
        let held = hold();
        delta.owned_bytes += delta.key.len() + held.event.memory_bytes();
        delta.held.insert(delta.key.as_slice().into(), held);
        Verdict::Counted
    }

    /// Keeps what a batch holds, in the order of partitions and offsets, and forgets keys whose time
    /// is up under `watermark`.
    pub(super) fn close(
        &mut self,
        delta: DedupDelta,
        watermark: Watermark,
        changes: &mut Vec<Changes>,
        watch: &mut Watch<'_>,
    ) -> (Vec<Held>, OperatorCounts) {
        watch(Work::Updates(Keeper::Keys));
        let mut places: BTreeMap<Timestamp, Table> = BTreeMap::new();
        let mut kept = Vec::with_capacity(delta.held.len());
        for (key, held) in delta.held {
            let expiry = held.expiry;
            // What is forgotten at once need not be stored.
            if !watermark.closes(expiry) {
                let place = places.entry(together(expiry)).or_insert_with(|| Table::new(0));
                place.put(Group { start: expiry, end: expiry, key: &key, accumulators: &[] });
            }
            self.remember(key, expiry);
            kept.push(held);
        }
        let written =
            places.into_iter().map(|(at, table)| Changes::written(Place::keys(at), table));
        changes.extend(written);
        watch(Work::Removals(Keeper::Keys));
        let removed = self.forget(watermark);
        watch(Work::Rest);
        kept.sort_unstable_by_key(|held| held.at);
        let updated = kept.len() as u64;
        (kept, OperatorCounts { total: self.len(), updated, removed, dropped: 0 })
    }

    /// Forgets the keys whose time is up; how many these are.
    pub(super) fn forget(&mut self, watermark: Watermark) -> u64 {
        let mut forgotten = 0;
        let mut waiting = BTreeMap::new();
        while let Some(entry) = self.expiring.first_entry() {
            let (place, mut keys) = entry.remove_entry();
            let before = keys.len();
            keys.retain(|(expiry, key)| {
                let up = watermark.closes(*expiry);
                if up && let Entry::Occupied(seen) = self.seen.entry(key.clone()) {
                    // One that was restored twice is forgotten by its later instant.
                    if seen.get() == expiry {
                        seen.remove();
                        self.key_bytes -= key.len();
                        forgotten += 1;
                    }
                }
                !up
            });
            let untouched = keys.len() == before;
            if !keys.is_empty() {
                waiting.insert(place, keys);
            }
            // Behind a place where nothing was up nothing is, once it lies behind the watermark.
            if untouched && !watermark.closes(place) {
                break;
            }
        }
        self.expiring.extend(waiting);
        forgotten
    }

    fn expiry(&self, time: Option<Timestamp>) -> Timestamp {
        match (self.scope, self.delay_us) {
            (DeduplicationScope::Forever, _) | (_, None) => Place::NEVER,
            (DeduplicationScope::WithEventTime, _) => time.unwrap_or(Place::NEVER),
            (DeduplicationScope::WithinWatermark, Some(delay_us)) => {
                // Without an event time it is kept as if it were of 1970 (Spark).
                Timestamp(time.unwrap_or(Timestamp(0)).0.saturating_add(delay_us))
            }
        }
    }

    fn remember(&mut self, key: Arc<[u8]>, expiry: Timestamp) {
        if expiry < Place::NEVER {
            self.expiring.entry(together(expiry)).or_default().push((expiry, key.clone()));
        }
        let bytes = key.len();
        if self.seen.insert(key, expiry).is_none() {
            self.key_bytes += bytes;
        }
    }
}
