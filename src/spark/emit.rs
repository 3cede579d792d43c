//! From state rows to result rows: the last step of an aggregation, casts included.

use std::{cmp::Ordering, sync::Arc};

use crate::{
    spark::{
        Field, SparkError,
        field::compare,
        plan::{AggregationPlan, Plan},
        row::Key,
    },
    spec::{OutputSource, StateStore},
    types::{Column, Rows, Timestamp, Value},
};

/// Gathers the rows of one shuffle partition and puts them into Spark's order.
pub(super) struct Emitter<'p> {
    plan: &'p AggregationPlan,
    columns: &'p Arc<[Column]>,
    order: Order,
    rows: Vec<Emitted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As they come.
    Given,
    /// By the window and the keys: an aggregate that sorts.
    Sorted,
    /// By the bytes of the state's keys: the RocksDB state store.
    Bytes,
}

struct Emitted {
    place: SortKey,
    values: Vec<Field>,
}

enum SortKey {
    None,
    Key(Timestamp, Timestamp, Vec<Field>),
    Bytes(Vec<u8>),
}

impl<'p> Emitter<'p> {
    pub(super) fn new(plan: &'p Plan, aggregation: &'p AggregationPlan) -> Emitter<'p> {
        let from_store = plan.mode != crate::spec::OutputMode::Update;
        let order = match plan.state_store {
            _ if aggregation.sorted => Order::Sorted,
            StateStore::RocksDb if from_store => Order::Bytes,
            _ => Order::Given,
        };
        Emitter { plan: aggregation, columns: &plan.columns, order, rows: Vec::new() }
    }

    /// A group of a sliding window, or of keys alone.
    pub(super) fn window_or_keys(
        &mut self,
        key: &[u8],
        buffer: &[Field],
    ) -> Result<(), SparkError> {
        let decoded = self.plan.layout.decode(key)?;
        let window = decoded.window.unwrap_or((Timestamp(0), Timestamp(0)));
        let bytes = if self.order == Order::Bytes { key.to_vec() } else { Vec::new() };
        self.push(&decoded, window, buffer, bytes)
    }

    /// A session: its state row begins with its end.
    pub(super) fn session(&mut self, key: &[u8], value: &[Field]) -> Result<(), SparkError> {
        let decoded = self.plan.layout.decode(key)?;
        let window = (decoded.time.unwrap_or(Timestamp(0)), session_end(value));
        let bytes = if self.order == Order::Bytes { self.prefixed(&decoded) } else { Vec::new() };
        self.push(&decoded, window, &value[1..], bytes)
    }

    /// The key as the RocksDB store of a session encodes it: the row of the keys with its length, then
    /// the row of the start (`PrefixKeyScanStateEncoder`).
    fn prefixed(&self, key: &Key<'_>) -> Vec<u8> {
        let mut layout = self.plan.layout.clone();
        layout.time = false;
        let mut prefix = Vec::new();
        layout.encode(None, &key.columns, None, &mut prefix);
        let len = u32::try_from(prefix.len() + 1).expect("a key is shorter than 4 GiB");
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(&key.time.unwrap_or(Timestamp(0)).0.to_le_bytes());
        bytes
    }

    fn push(
        &mut self,
        key: &Key<'_>,
        window: (Timestamp, Timestamp),
        buffer: &[Field],
        bytes: Vec<u8>,
    ) -> Result<(), SparkError> {
        let values = row_of(self.plan, key, window, buffer)?;
        let place = match self.order {
            Order::Given => SortKey::None,
            Order::Bytes => SortKey::Bytes(bytes),
            Order::Sorted => {
                let columns = key.columns.iter().map(|value| Field::from_value(*value));
                SortKey::Key(window.0, window.1, columns.collect())
            }
        };
        self.rows.push(Emitted { place, values });
        Ok(())
    }

    /// Appends the partition's rows.
    pub(super) fn finish(mut self, rows: &mut Rows) {
        self.rows.sort_by(|left, right| match (&left.place, &right.place) {
            (SortKey::Bytes(left), SortKey::Bytes(right)) => left.cmp(right),
            (SortKey::Key(start, end, columns), SortKey::Key(other, other_end, others)) => {
                let window = start.cmp(other).then(end.cmp(other_end));
                window.then_with(|| compare_all(columns, others))
            }
            _ => Ordering::Equal,
        });
        debug_assert_eq!(rows.columns().len(), self.columns.len());
        for emitted in &self.rows {
            let row: Vec<Value<'_>> = emitted.values.iter().map(Field::as_value).collect();
            rows.push(&row);
        }
    }
}

/// A group of the state: what it is a group of besides keys, and its parts.
pub(super) type Stored<'a> = (Option<(Timestamp, Timestamp)>, &'a [u8], &'a [Field]);

/// The window or session of a group as the store has it; none for groups of keys alone.
pub(super) fn window_of(
    plan: &AggregationPlan,
    key: &[u8],
    value: &[Field],
) -> Result<Option<(Timestamp, Timestamp)>, SparkError> {
    let decoded = plan.layout.decode(key)?;
    let session =
        plan.layout.time.then(|| (decoded.time.unwrap_or(Timestamp(0)), session_end(value)));
    Ok(session.or(decoded.window))
}

/// The row of a group as the store has it, with its casts.
pub(super) fn stored_row(
    plan: &AggregationPlan,
    (window, key, value): Stored<'_>,
) -> Result<Vec<Field>, SparkError> {
    let window = window.unwrap_or((Timestamp(0), Timestamp(0)));
    let buffer = &value[usize::from(plan.layout.time)..];
    row_of(plan, &plan.layout.decode(key)?, window, buffer)
}

fn row_of(
    plan: &AggregationPlan,
    key: &Key<'_>,
    window: (Timestamp, Timestamp),
    buffer: &[Field],
) -> Result<Vec<Field>, SparkError> {
    let mut values = Vec::with_capacity(plan.output.len());
    for column in &plan.output {
        values.push(match column.source {
            OutputSource::WindowStart => Field::Timestamp(window.0),
            OutputSource::WindowEnd => Field::Timestamp(window.1),
            OutputSource::Key(index) => Field::from_value(key.columns[index]),
            OutputSource::Aggregate(index) => {
                plan.buffers.finish(index, buffer).map_err(|(value, class)| {
                    let is_keys_alone = !plan.layout.window && !plan.layout.time;
                    let window = (!is_keys_alone).then_some(window);
                    plan.failure(window, &key.columns, (index, value.as_value(), class))
                })?
            }
            OutputSource::Column(_) | OutputSource::EventTime | OutputSource::Computed(_) => {
                unreachable!("a checked aggregation outputs keys, windows and aggregates")
            }
        });
    }
    Ok(values)
}

/// The end of a session, the first field of its state row.
pub(super) fn session_end(value: &[Field]) -> Timestamp {
    match value.first() {
        Some(Field::Long(end)) => Timestamp(*end),
        _ => Timestamp(i64::MAX),
    }
}

fn compare_all(left: &[Field], right: &[Field]) -> Ordering {
    let pairs = left.iter().zip(right);
    pairs
        .map(|(left, right)| compare(left.as_value(), right.as_value()))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Order of keys in a sort-based aggregate: the window, then the columns, NULL first.
pub(super) fn compare_keys(left: &Key<'_>, right: &Key<'_>) -> Ordering {
    left.window.cmp(&right.window).then_with(|| {
        let pairs = left.columns.iter().zip(&right.columns);
        pairs
            .map(|(left, right)| compare(*left, *right))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    })
}
