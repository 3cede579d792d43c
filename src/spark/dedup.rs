//! Deduplication: Spark's `StreamingDeduplicate` and `StreamingDeduplicateWithinWatermark`.

use crate::{
    spark::{
        Change, Field, SparkError,
        engine::Bounds,
        plan::{DeduplicationPlan, Plan},
        row::WithTime,
        store::Store,
    },
    spec::DeduplicationScope,
    types::{Keeper, OperatorCounts, Rows, Timestamp, Value, Watch, Work},
};

/// Runs the operator over the records of a batch, each `[event time, columns…, payload…]`, task by
/// task, and gives those that are kept to `keep`, with their shuffle partition and payload.
pub(super) fn run(
    plan: &Plan,
    store: &mut Store,
    tasks: &[Rows],
    bounds: Bounds,
    log: &mut Vec<Change>,
    watch: &mut Watch<'_>,
    mut keep: impl FnMut(usize, Option<Timestamp>, &[Value<'_>]) -> Result<(), SparkError>,
) -> Result<OperatorCounts, SparkError> {
    let deduplication = plan.deduplication.as_ref().expect("there is a deduplication");
    let mut state = OperatorCounts::default();
    let width = deduplication.columns.len();
    let mut key = Vec::new();
    watch(Work::Updates(Keeper::Keys));
    for task in tasks {
        let mut reader = task.reader();
        while let Some(row) = reader.next() {
            let time = if let Value::Timestamp(time) = row[0] { Some(time) } else { None };
            if plan.delay_us.is_some() && time.is_some_and(|time| bounds.late.closes(time)) {
                state.dropped += 1;
                continue;
            }
            let (columns, payload) = row[1..].split_at(width);
            deduplication.layout.encode(None, columns, time.map(|time| time.0), &mut key);
            let partition =
                deduplication.layout.partition(&key, store.partitions(), WithTime::Yes)?;
            if store.contains(partition, &key) {
                continue;
            }
            let value = deduplication.value(time, plan.delay_us);
            store.change(partition, &key, Some(value), log);
            state.updated += 1;
            keep(partition, time, payload)?;
        }
    }
    if plan.delay_us.is_some() && deduplication.scope != DeduplicationScope::Forever {
        let is_done = |key: &[u8], value: &[Field]| {
            let expiry = deduplication.expiry(key, value)?;
            Ok::<_, SparkError>(expiry.is_some_and(|expiry| bounds.closing.closes(expiry)))
        };
        watch(Work::Removals(Keeper::Keys));
        for partition in 0..store.partitions() {
            state.removed += store.evict(partition, is_done, log)?.len() as u64;
        }
    }
    watch(Work::Rest);
    state.total = store.len();
    Ok(state)
}

impl DeduplicationPlan {
    /// What is stored with a key: when it is forgotten, where it does not follow from the key. Of a
    /// record without event time that is the delay after 1970.
    fn value(&self, time: Option<Timestamp>, delay_us: Option<i64>) -> Box<[Field]> {
        match self.scope {
            DeduplicationScope::WithinWatermark => {
                let time = time.map_or(0, |time| time.0);
                Box::new([Field::Long(time.saturating_add(delay_us.unwrap_or(0)))])
            }
            DeduplicationScope::WithEventTime | DeduplicationScope::Forever => Box::new([]),
        }
    }

    fn expiry(&self, key: &[u8], value: &[Field]) -> Result<Option<Timestamp>, SparkError> {
        Ok(match (self.scope, value.first()) {
            (DeduplicationScope::WithinWatermark, Some(Field::Long(expiry))) => {
                Some(Timestamp(*expiry))
            }
            (DeduplicationScope::WithEventTime, _) => self.layout.closing(key)?,
            _ => None,
        })
    }
}
