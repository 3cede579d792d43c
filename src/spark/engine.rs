//! A pipeline at work in Spark's way: batches come in record by record and leave as rows, changes of
//! state and counts.
//!
//! Start at [`SparkEngine::close`], which runs the operators in the order of Spark's plan.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    spark::{
        Change, Failure, Field, Operator, SparkError, aggregate, dedup, emit,
        groups::Groups,
        plan::{AggregationPlan, Plan, WindowKind},
        session::{self, Starts},
        store::Store,
        topic_order,
    },
    spec::{Compat, OutputMode, Pipeline, StateStore},
    types::{
        Column, DataType, Event, Keeper, OperatorCounts, Partition, Rows, Timestamp, Value,
        Verdict, Watch, Watermark,
    },
};

/// The watermarks a batch works under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// W(n-1): what ends at or before it is late.
    pub late: Watermark,
    /// W(n): what ends at or before it is done.
    pub closing: Watermark,
}

/// A pipeline at work in Spark's way.
#[derive(Clone, Debug)]
pub struct SparkEngine {
    plan: Arc<Plan>,
    /// How many batches have run: Spark's version of the state.
    version: u64,
    aggregation: Option<Store>,
    starts: Starts,
    deduplication: Option<Store>,
}

/// A group in the state.
#[derive(Clone, Copy, Debug)]
pub struct OpenGroup<'e> {
    /// Its window or session; `None` for groups of keys alone.
    pub window: Option<(Timestamp, Timestamp)>,
    key: &'e [u8],
    value: &'e [Field],
}

/// A batch that is being read. Dropping it leaves no trace.
#[derive(Debug)]
pub struct SparkBatch {
    plan: Arc<Plan>,
    late: Watermark,
    tasks: BTreeMap<Partition, Task>,
}

/// What was read of one partition: one task of Spark's first stage.
#[derive(Debug)]
struct Task {
    groups: Groups,
    records: Rows,
}

/// What a batch comes to.
#[derive(Debug)]
pub struct SparkOutcome {
    /// Its rows in Spark's order.
    pub rows: Rows,
    /// What it did to the state of each operator, in the order of Spark's progress.
    pub operators: Vec<OperatorCounts>,
    /// Records that were dropped as equal to one seen before.
    pub duplicates: u64,
    /// What it did to the state, in Spark's order.
    pub changes: Vec<Change>,
}

impl SparkEngine {
    /// The engine of a pipeline in a compatibility mode, without any state; `None` if the pipeline is
    /// in none.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Option<SparkEngine> {
        let compat: Compat = pipeline.semantics.compat?;
        Some(SparkEngine::of(Plan::new(pipeline, compat)))
    }

    fn of(plan: Plan) -> SparkEngine {
        let store = |operator| Store::new(operator, plan.partitions_of(operator));
        let aggregation = plan.aggregation.as_ref().map(|_| store(Operator::Aggregation));
        let starts = match (&plan.aggregation, &aggregation) {
            (Some(plan), Some(store)) if matches!(plan.window, WindowKind::Session(_)) => {
                Starts::of(plan, store).expect("an empty store has no keys")
            }
            _ => Starts::default(),
        };
        let deduplication = plan.deduplication.as_ref().map(|_| store(Operator::Deduplication));
        SparkEngine { plan: Arc::new(plan), version: 0, aggregation, starts, deduplication }
    }

    /// Takes over the shuffle partitions and the state store of a checkpoint; the engine must be as it
    /// was made.
    pub fn pin(&mut self, partitions: u32, state_store: StateStore) {
        let mut plan = Plan::clone(&self.plan);
        plan.partitions = usize::try_from(partitions).expect("32 bits fit").max(1);
        plan.state_store = state_store;
        *self = SparkEngine::of(plan);
    }

    /// What [`SparkEngine::pin`] would be given now.
    #[must_use]
    pub fn pinned(&self) -> (u32, StateStore) {
        let partitions = u32::try_from(self.plan.partitions).expect("they were given in 32 bits");
        (partitions, self.plan.state_store)
    }

    /// Puts back what batches did, in their order, from the first one or a snapshot on; the engine must be as
    /// it was made, or have been given what was done before. [`SparkEngine::resume`] ends that.
    ///
    /// # Errors
    /// Changes that are not of this pipeline.
    pub fn replay<'c>(
        &mut self,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Result<(), SparkError> {
        for change in changes {
            let store = match change.operator {
                Operator::Aggregation => &mut self.aggregation,
                Operator::Deduplication => &mut self.deduplication,
            };
            match store {
                Some(store) if (change.partition as usize) < store.partitions() => {
                    store.apply(change);
                }
                _ => return Err(super::row::KeyError.into()),
            }
        }
        Ok(())
    }

    /// All that the batches up to and with `version` - 1 did was put back. The order of keys is that of Spark
    /// after a restart.
    ///
    /// # Errors
    /// Changes that are not of this pipeline.
    pub fn resume(&mut self, version: u64) -> Result<(), SparkError> {
        self.version = version;
        if let (Some(plan), Some(store)) = (&self.plan.aggregation, &self.aggregation)
            && matches!(plan.window, WindowKind::Session(_))
        {
            self.starts = Starts::of(plan, store)?;
        }
        Ok(())
    }

    /// Types of the state's keys and values: state of another schema cannot be gone on from.
    #[must_use]
    pub fn schema(&self) -> String {
        self.plan.schema()
    }

    /// How many keys the state of all operators has.
    #[must_use]
    pub fn keys(&self) -> u64 {
        [&self.aggregation, &self.deduplication].into_iter().flatten().map(Store::len).sum()
    }

    /// The groups in the state, in Spark's order.
    ///
    /// # Errors
    /// Keys that are not of this pipeline.
    pub fn open_groups(&self) -> Result<Vec<OpenGroup<'_>>, SparkError> {
        let (Some(plan), Some(store)) = (&self.plan.aggregation, &self.aggregation) else {
            return Ok(Vec::new());
        };
        let stored = (0..store.partitions()).flat_map(|partition| store.keys(partition));
        let group = |(key, value)| {
            let window = emit::window_of(plan, key, value)?;
            Ok(OpenGroup { window, key, value })
        };
        stored.map(group).collect()
    }

    /// The row that a group of [`SparkEngine::open_groups`] is published as if nothing more comes.
    ///
    /// # Errors
    /// With ANSI mode on, a value that does not fit.
    pub fn row_of(&self, group: &OpenGroup<'_>) -> Result<Rows, SparkError> {
        let mut rows = Rows::new(self.plan.columns.clone());
        if let Some(plan) = &self.plan.aggregation {
            let row = emit::stored_row(plan, (group.window, group.key, group.value))?;
            rows.push(&row.iter().map(Field::as_value).collect::<Vec<_>>());
        }
        Ok(rows)
    }

    /// How many keys the deduplication remembers.
    #[must_use]
    pub fn remembered_keys(&self) -> u64 {
        self.deduplication.as_ref().map_or(0, Store::len)
    }

    /// The state as changes that make it again from nothing, in the order of the maps: what Spark
    /// writes into a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let stores = [
            (Operator::Aggregation, &self.aggregation),
            (Operator::Deduplication, &self.deduplication),
        ];
        for (operator, store) in stores {
            let Some(store) = store else { continue };
            for partition in 0..store.partitions() {
                changes.extend(store.keys(partition).map(|(key, value)| Change {
                    operator,
                    partition: u32::try_from(partition).expect("they were given in 32 bits"),
                    key: key.into(),
                    value: Some(value.into()),
                }));
            }
        }
        changes
    }

    /// Opens a batch. `late` is the bound that [`SparkEngine::close`] will be given.
    #[must_use]
    pub fn open(&self, late: Watermark) -> SparkBatch {
        SparkBatch { plan: self.plan.clone(), late, tasks: BTreeMap::new() }
    }

    /// About how many bytes of memory an operator's state takes.
    #[must_use]
    pub fn memory_bytes(&self, keeper: Keeper) -> usize {
        let store = match keeper {
            Keeper::Groups => &self.aggregation,
            Keeper::Keys => &self.deduplication,
        };
        store.as_ref().map_or(0, Store::memory_bytes)
    }

    /// Runs the batch over a topic of `partitions` partitions. `watch` is told what is being done.
    ///
    /// # Errors
    /// With ANSI mode on, a value that does not fit: the engine must not be used any more.
    pub fn close(
        &mut self,
        batch: SparkBatch,
        bounds: Bounds,
        partitions: usize,
        watch: &mut Watch<'_>,
    ) -> Result<SparkOutcome, SparkError> {
        let plan = self.plan.clone();
        if self.version > 0 {
            self.aggregation.iter_mut().for_each(Store::load);
            self.deduplication.iter_mut().for_each(Store::load);
        }
        self.version += 1;
        let tasks = batch.in_order(partitions);
        let mut rows = Rows::new(plan.columns.clone());
        let mut changes = Vec::new();
        let mut operators = Vec::new();
        let mut duplicates = 0;
        let groups = match &mut self.deduplication {
            None => {
                let (groups, records): (Vec<_>, Vec<_>) =
                    tasks.into_iter().map(|task| (task.groups, task.records)).unzip();
                if plan.aggregation.is_none() {
                    records.into_iter().for_each(|records| rows.append(records));
                }
                groups
            }
            Some(store) => {
                let records: Vec<Rows> = tasks.into_iter().map(|task| task.records).collect();
                let mut kept = Kept::new(&plan, store.partitions());
                let keep =
                    |partition, time, payload: &[Value<'_>]| kept.take(partition, time, payload);
                let state = dedup::run(&plan, store, &records, bounds, &mut changes, watch, keep)?;
                operators.push(state);
                let read: u64 = records.iter().map(Rows::len).sum();
                duplicates = read - state.dropped - state.updated;
                kept.rows.into_iter().for_each(|records| rows.append(records));
                kept.groups
            }
        };
        if let Some(store) = &mut self.aggregation {
            let is_session = plan.aggregation.as_ref().is_some_and(AggregationPlan::is_session);
            let state = if is_session {
                let stores = (store, &mut self.starts);
                session::run(&plan, stores, groups, bounds, &mut changes, &mut rows, watch)?
            } else {
                aggregate::run(&plan, store, groups, bounds, &mut changes, &mut rows, watch)?
            };
            operators.insert(0, state);
        }
        Ok(SparkOutcome { rows, operators, duplicates, changes })
    }
}

/// What a deduplication lets through, by its shuffle partition.
struct Kept<'p> {
    plan: &'p Plan,
    rows: Vec<Rows>,
    groups: Vec<Groups>,
}

impl<'p> Kept<'p> {
    fn new(plan: &'p Plan, partitions: usize) -> Kept<'p> {
        let is_projection = plan.aggregation.is_none();
        let count = |wanted: bool| if wanted { partitions } else { 0 };
        Kept {
            plan,
            rows: vec![Rows::new(plan.columns.clone()); count(is_projection)],
            groups: vec![Groups::default(); count(!is_projection)],
        }
    }

    fn take(
        &mut self,
        partition: usize,
        time: Option<Timestamp>,
        payload: &[Value<'_>],
    ) -> Result<(), SparkError> {
        let Some(aggregation) = &self.plan.aggregation else {
            self.rows[partition].push(payload);
            return Ok(());
        };
        let gap = if let Value::Long(gap) = payload[0] { Some(gap) } else { None };
        let (keys, arguments) = payload[1..].split_at(aggregation.keys.len());
        self.groups[partition].add(aggregation, (time, gap), keys, arguments)?;
        Ok(())
    }
}

impl SparkBatch {
    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let of_task = |task: &Task| {
            let records: usize = task.records.chunks().iter().map(Vec::capacity).sum();
            task.groups.memory_bytes() + records
        };
        self.tasks.values().map(of_task).sum()
    }

    /// Takes a record. `gap_us` is its session's where each record brings its own, `row` its row where
    /// the pipeline computes no groups.
    ///
    /// # Errors
    /// With ANSI mode on, arithmetic that overflows.
    pub fn add(
        &mut self,
        partition: Partition,
        event: &Event<'_>,
        gap_us: Option<i64>,
        row: &[Value<'_>],
    ) -> Result<Verdict, Box<Failure>> {
        let plan = self.plan.clone();
        let verdict = self.verdict(event.time, gap_us);
        let task = self.task(partition);
        let values = |columns: &[usize]| -> Vec<Value<'_>> {
            columns.iter().map(|&column| event.value(column)).collect()
        };
        let arguments = |plan: &AggregationPlan| -> Vec<Value<'_>> {
            let argument = |column: &Option<usize>| {
                column.map_or(Value::Boolean(true), |column| event.value(column))
            };
            plan.arguments.iter().map(argument).collect()
        };
        match (&plan.deduplication, &plan.aggregation) {
            (None, None) => task.records.push(row),
            (None, Some(aggregation)) => {
                let times = (event.time, gap_us);
                let keys = values(&aggregation.keys);
                task.groups.add(aggregation, times, &keys, &arguments(aggregation))?;
            }
            (Some(deduplication), aggregation) => {
                let mut record = vec![event.time.map_or(Value::Null, Value::Timestamp)];
                record.extend(values(&deduplication.columns));
                match aggregation {
                    None => record.extend_from_slice(row),
                    Some(aggregation) => {
                        record.push(gap_us.map_or(Value::Null, Value::Long));
                        record.extend(values(&aggregation.keys));
                        record.extend(arguments(aggregation));
                    }
                }
                task.records.push(&record);
            }
        }
        Ok(verdict)
    }

    /// What becomes of a record, by its own time: sliding windows take it until the last of them is
    /// closed, sessions and deduplications until its own time is.
    fn verdict(&self, time: Option<Timestamp>, gap_us: Option<i64>) -> Verdict {
        let window = self.plan.aggregation.as_ref().map(|plan| plan.window);
        let has_dedup = self.plan.deduplication.is_some();
        let drops = self.plan.delay_us.is_some();
        let end = match (window, time) {
            (Some(WindowKind::Sliding(_) | WindowKind::Session(_)), None) => {
                return Verdict::NoTime;
            }
            (_, Some(time)) if has_dedup => time,
            (Some(WindowKind::Session(fixed)), Some(time)) => match fixed.or(gap_us) {
                Some(gap) if gap > 0 => Timestamp(time.0.saturating_add(gap)),
                _ => return Verdict::NoSession,
            },
            (Some(WindowKind::Sliding(window)), Some(time))
                if self.plan.mode != OutputMode::Complete =>
            {
                let into = time.0.wrapping_sub(window.offset_us).rem_euclid(window.slide_us);
                Timestamp(time.0.saturating_sub(into).saturating_add(window.duration_us))
            }
            _ => return Verdict::Counted,
        };
        if drops && self.late.closes(end) { Verdict::Late } else { Verdict::Counted }
    }

    fn task(&mut self, partition: Partition) -> &mut Task {
        let plan = &self.plan;
        self.tasks.entry(partition).or_insert_with(|| Task {
            groups: Groups::default(),
            records: Rows::new(record_columns(plan)),
        })
    }

    /// The tasks in the order in which Spark reads the topic's partitions.
    fn in_order(mut self, partitions: usize) -> Vec<Task> {
        let last = self.tasks.keys().next_back().map_or(0, |last| last.0 + 1);
        let count = partitions.max(usize::try_from(last).unwrap_or(0));
        topic_order(self.plan.compat, &self.plan.topic, count)
            .into_iter()
            .filter_map(|partition| self.tasks.remove(&partition))
            .collect()
    }
}

impl AggregationPlan {
    fn is_session(&self) -> bool {
        matches!(self.window, WindowKind::Session(_))
    }
}

/// Columns of the records that a task keeps. Their names and types are of no use to anyone.
fn record_columns(plan: &Plan) -> Arc<[Column]> {
    let Some(deduplication) = &plan.deduplication else { return plan.columns.clone() };
    let payload = match &plan.aggregation {
        None => plan.columns.len(),
        Some(aggregation) => 1 + aggregation.keys.len() + aggregation.arguments.len(),
    };
    let column = |_| Column { name: String::new(), data_type: DataType::String };
    (0..1 + deduplication.columns.len() + payload).map(column).collect()
}
