//! Session windows: Spark's `SessionWindowStateStoreRestore`, `MergingSessions` and
//! `SessionWindowStateStoreSave`.
//!
//! Each record is a session of its own; sessions of a key merge where one starts at or before another's
//! end. They are added up in the order of their starts, new ones before stored ones of the same start.

use std::collections::BTreeMap;

use crate::{
    spark::{
        Change, Field, SparkError,
        aggregate::merge,
        emit::{Emitter, compare_keys, session_end},
        engine::Bounds,
        groups::{Group, Groups},
        plan::{AggregationPlan, Plan},
        store::Store,
    },
    spec::OutputMode,
    types::{Keeper, OperatorCounts, Rows, Timestamp, Watch, Work},
};

/// Starts of the stored sessions by the row of their keys, for each shuffle partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts {
    partitions: Vec<BTreeMap<Box<[u8]>, Vec<i64>>>,
}

impl Starts {
    /// The starts in a store, which replaces what was known.
    pub(super) fn of(plan: &AggregationPlan, store: &Store) -> Result<Starts, SparkError> {
        let mut starts = Starts { partitions: vec![BTreeMap::new(); store.partitions()] };
        for partition in 0..store.partitions() {
            for (key, _) in store.keys(partition) {
                let start = start_of(plan, key)?;
                starts.insert(partition, &prefix(plan, key), start);
            }
        }
        Ok(starts)
    }

    fn insert(&mut self, partition: usize, prefix: &[u8], start: i64) {
        let starts = self.partitions[partition].entry(prefix.into()).or_default();
        if let Err(place) = starts.binary_search(&start) {
            starts.insert(place, start);
        }
    }

    fn remove(&mut self, partition: usize, prefix: &[u8], start: i64) {
        if let Some(starts) = self.partitions[partition].get_mut(prefix) {
            starts.retain(|known| *known != start);
            if starts.is_empty() {
                self.partitions[partition].remove(prefix);
            }
        }
    }

    fn get(&self, partition: usize, prefix: &[u8]) -> Vec<i64> {
        self.partitions[partition].get(prefix).cloned().unwrap_or_default()
    }
}

/// The row of a session's keys: its own with the start set to 0.
fn prefix(plan: &AggregationPlan, key: &[u8]) -> Box<[u8]> {
    let mut prefix = Box::from(key);
    plan.layout.set_time(&mut prefix, 0);
    prefix
}

fn start_of(plan: &AggregationPlan, key: &[u8]) -> Result<i64, SparkError> {
    Ok(plan.layout.closing(key)?.map_or(0, |start| start.0))
}

/// The row of a key without a start, and the groups of the key.
type OfKey = (Box<[u8]>, Vec<Group>);

/// A session while it grows.
struct Session {
    start: i64,
    end: i64,
    buffer: Box<[Field]>,
}

/// Runs the operator for one batch.
pub(super) fn run(
    plan: &Plan,
    (store, starts): (&mut Store, &mut Starts),
    tasks: Vec<Groups>,
    bounds: Bounds,
    log: &mut Vec<Change>,
    rows: &mut Rows,
    watch: &mut Watch<'_>,
) -> Result<OperatorCounts, SparkError> {
    let aggregation = plan.aggregation.as_ref().expect("there are groups");
    let mut state = OperatorCounts::default();
    let has_watermark = plan.delay_us.is_some();
    let mut shuffled: Vec<Vec<Group>> = vec![Vec::new(); store.partitions()];
    for group in tasks.into_iter().flat_map(|task| task.groups) {
        if has_watermark && bounds.late.closes(Timestamp(group.end)) {
            state.dropped += 1;
        } else {
            let partition = aggregation.partition(&group.key, store.partitions())?;
            shuffled[partition].push(group);
        }
    }
    for (partition, groups) in shuffled.into_iter().enumerate() {
        watch(Work::Updates(Keeper::Groups));
        for (prefix, groups) in by_keys(aggregation, groups)? {
            let stored = starts.get(partition, &prefix);
            let merged = merged(aggregation, &prefix, groups, (store, partition, &stored))?;
            let mut key = prefix.to_vec();
            for start in stored {
                if merged.binary_search_by_key(&start, |session| session.start).is_err() {
                    aggregation.layout.set_time(&mut key, start);
                    store.change(partition, &key, None, log);
                    starts.remove(partition, &prefix, start);
                    state.removed += 1;
                }
            }
            for Session { start, end, buffer } in merged {
                aggregation.layout.set_time(&mut key, start);
                let value = std::iter::once(Field::Long(end)).chain(buffer).collect();
                store.change(partition, &key, Some(value), log);
                starts.insert(partition, &prefix, start);
                state.updated += 1;
            }
        }
        watch(Work::Rest);
        let mut emitter = Emitter::new(plan, aggregation);
        if plan.mode == OutputMode::Complete {
            for (key, value) in store.keys(partition) {
                emitter.session(key, value)?;
            }
        } else if has_watermark {
            let is_done = |_: &[u8], value: &[Field]| {
                Ok::<_, SparkError>(bounds.closing.closes(session_end(value)))
            };
            watch(Work::Removals(Keeper::Groups));
            let done = store.evict(partition, is_done, log)?;
            watch(Work::Rest);
            for (key, value) in done {
                starts.remove(partition, &prefix(aggregation, &key), start_of(aggregation, &key)?);
                emitter.session(&key, &value)?;
                state.removed += 1;
            }
        }
        emitter.finish(rows);
    }
    state.total = store.len();
    Ok(state)
}

/// The groups of each key, keys ascending, each by start and end, else in the order they came.
fn by_keys(plan: &AggregationPlan, groups: Vec<Group>) -> Result<Vec<OfKey>, SparkError> {
    let mut keyed = Vec::with_capacity(groups.len());
    for (place, group) in groups.iter().enumerate() {
        keyed.push((plan.layout.decode(&group.key)?, group.end, place));
    }
    keyed.sort_by(|(left, left_end, _), (right, right_end, _)| {
        let order = compare_keys(left, right).then(left.time.cmp(&right.time));
        order.then(left_end.cmp(right_end))
    });
    let order: Vec<usize> = keyed.into_iter().map(|(_, _, place)| place).collect();
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    let mut gathered: Vec<OfKey> = Vec::new();
    for place in order {
        let group = groups[place].take().expect("each is taken once");
        let prefix = prefix(plan, &group.key);
        match gathered.last_mut() {
            Some((last, members)) if *last == prefix => members.push(group),
            _ => gathered.push((prefix, vec![group])),
        }
    }
    Ok(gathered)
}

/// New and stored sessions of one key, merged, by start.
fn merged(
    plan: &AggregationPlan,
    prefix: &[u8],
    groups: Vec<Group>,
    (store, partition, stored): (&Store, usize, &[i64]),
) -> Result<Vec<Session>, SparkError> {
    let mut input = Vec::with_capacity(groups.len() + stored.len());
    for group in groups {
        let start = start_of(plan, &group.key)?;
        input.push(Session { start, end: group.end, buffer: group.buffer });
    }
    let mut key = prefix.to_vec();
    for &start in stored {
        plan.layout.set_time(&mut key, start);
        if let Some(value) = store.get(partition, &key) {
            let buffer = value[1..].into();
            input.push(Session { start, end: session_end(value).0, buffer });
        }
    }
    // Stable: of equal starts those of the batch stay first.
    input.sort_by_key(|session| session.start);
    let mut sessions: Vec<Session> = Vec::new();
    for next in input {
        match sessions.last_mut() {
            Some(session) if next.start <= session.end => {
                session.end = session.end.max(next.end);
                merge(plan, prefix, &mut session.buffer, &next.buffer)?;
            }
            _ => {
                let mut buffer = plan.buffers.fresh();
                merge(plan, prefix, &mut buffer, &next.buffer)?;
                sessions.push(Session { buffer, ..next });
            }
        }
    }
    Ok(sessions)
}
