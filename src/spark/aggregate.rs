//! Groups of sliding windows and of keys: Spark's `StateStoreRestore` and `StateStoreSave`.

use crate::{
    spark::{
        Change, Field, SparkError,
        emit::Emitter,
        engine::Bounds,
        groups::{Group, Groups},
        plan::{AggregationPlan, Plan},
        store::Store,
    },
    spec::OutputMode,
    types::{Keeper, OperatorCounts, Rows, Timestamp, Value, Watch, Watermark, Work},
};

/// The groups of all tasks, merged task by task in each shuffle partition.
fn shuffled(
    plan: &AggregationPlan,
    partitions: usize,
    tasks: Vec<Groups>,
) -> Result<Vec<Groups>, SparkError> {
    let mut merged = vec![Groups::default(); partitions];
    for group in tasks.into_iter().flat_map(|task| task.groups) {
        let partition = plan.partition(&group.key, partitions)?;
        let total =
            merged[partition].find_or_insert(&group.key, group.end, || plan.buffers.fresh());
        merge(plan, &group.key, &mut total.buffer, &group.buffer)?;
    }
    if plan.is_global() && merged[0].groups.is_empty() {
        let mut key = Vec::new();
        plan.layout.encode(None, &[], None, &mut key);
        merged[0].find_or_insert(&key, i64::MAX, || plan.buffers.fresh());
    }
    Ok(merged)
}

/// Adds to the buffers of a key.
pub(super) fn merge(
    plan: &AggregationPlan,
    key: &[u8],
    buffer: &mut [Field],
    more: &[Field],
) -> Result<(), SparkError> {
    let Err((index, class)) = plan.buffers.merge(buffer, more) else { return Ok(()) };
    let key = plan.layout.decode(key)?;
    Err(plan.failure(key.window, &key.columns, (index, Value::Null, class)).into())
}

/// Runs the operator for one batch.
pub(super) fn run(
    plan: &Plan,
    store: &mut Store,
    tasks: Vec<Groups>,
    bounds: Bounds,
    log: &mut Vec<Change>,
    rows: &mut Rows,
    watch: &mut Watch<'_>,
) -> Result<OperatorCounts, SparkError> {
    let aggregation = plan.aggregation.as_ref().expect("there are groups");
    let mut state = OperatorCounts::default();
    let closes =
        plan.delay_us.is_some() && plan.mode != OutputMode::Complete && aggregation.layout.window;
    let merged = shuffled(aggregation, store.partitions(), tasks)?;
    for (partition, mut groups) in merged.into_iter().enumerate() {
        let mut emitter = Emitter::new(plan, aggregation);
        if aggregation.sorted {
            sort(aggregation, &mut groups.groups)?;
        }
        watch(Work::Updates(Keeper::Groups));
        for group in groups.groups {
            if closes && bounds.late.closes(Timestamp(group.end)) {
                state.dropped += 1;
                continue;
            }
            let value = total(aggregation, store.get(partition, &group.key), &group)?;
            if plan.mode == OutputMode::Update {
                emitter.window_or_keys(&group.key, &value)?;
            }
            store.change(partition, &group.key, Some(value), log);
            state.updated += 1;
        }
        watch(Work::Rest);
        if plan.mode == OutputMode::Complete {
            for (key, value) in store.keys(partition) {
                emitter.window_or_keys(key, value)?;
            }
        } else if closes {
            let is_done = |key: &[u8], _: &[Field]| closed(aggregation, key, bounds.closing);
            watch(Work::Removals(Keeper::Groups));
            let done = store.evict(partition, is_done, log)?;
            watch(Work::Rest);
            state.removed += done.len() as u64;
            if plan.mode == OutputMode::Append {
                for (key, value) in &done {
                    emitter.window_or_keys(key, value)?;
                }
            }
        }
        emitter.finish(rows);
    }
    state.total = store.len();
    Ok(state)
}

fn closed(plan: &AggregationPlan, key: &[u8], bound: Watermark) -> Result<bool, SparkError> {
    Ok(plan.layout.closing(key)?.is_some_and(|end| bound.closes(end)))
}

fn total(
    plan: &AggregationPlan,
    state: Option<&[Field]>,
    group: &Group,
) -> Result<Box<[Field]>, SparkError> {
    let mut buffer = plan.buffers.fresh();
    if let Some(state) = state {
        merge(plan, &group.key, &mut buffer, state)?;
    }
    merge(plan, &group.key, &mut buffer, &group.buffer)?;
    Ok(buffer)
}

fn sort(plan: &AggregationPlan, groups: &mut Vec<Group>) -> Result<(), SparkError> {
    let mut keyed = Vec::with_capacity(groups.len());
    for (place, group) in groups.iter().enumerate() {
        keyed.push((place, plan.layout.decode(&group.key)?));
    }
    keyed.sort_by(|(_, left), (_, right)| super::emit::compare_keys(left, right));
    let order: Vec<usize> = keyed.into_iter().map(|(place, _)| place).collect();
    let mut old: Vec<Option<Group>> = std::mem::take(groups).into_iter().map(Some).collect();
    groups.extend(order.into_iter().map(|place| old[place].take().expect("each is taken once")));
    Ok(())
}
