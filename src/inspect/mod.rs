//! What is in a checkpoint, as people and scripts want to see it.
//!
//! A [`View`] is built from what a read-only store gave; it shows the newest batch that is announced
//! and nothing newer. Start at [`View::new`].
//!
//! Not here: reading the store (`checkpoint::rocks`), asking a broker for lag (`commands::inspect`).

mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::{
    batch::{BatchRecord, Counts, Genesis},
    checkpoint::Recovered,
    source::TopicDescription,
    spark::{Failure, OpenGroup, SparkEngine, SparkError, StateLog},
    spec::{self, Asked, Compat, OutputMode, Overrides, Pipeline},
    types::{
        BatchId, DataType, FaultReason, Keeper, Offset, Partition, Place, Rows, Timestamp, Value,
        timestamp_iso,
    },
    window::{Group, KeyError, Misfits, Table, WindowPlan},
};

/// Which windows and groups to show in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only the window that starts at this instant.
    pub window: Option<Timestamp>,
    /// Only groups one of whose key columns prints as this.
    pub key: Option<String>,
}

impl Filter {
    fn shows_groups(&self) -> bool {
        self.window.is_some() || self.key.is_some()
    }
}

/// A checkpoint without its groups' details.
#[derive(Debug)]
pub struct View {
    recovered: Recovered,
    history: Vec<BatchRecord>,
    pipeline: Pipeline,
    windows: Vec<WindowView>,
    filter: Filter,
    /// Why this is older or other than what was announced, if it is.
    pub problem: Option<String>,
    /// Keys that a deduplication remembers.
    remembered: u64,
    /// Whether the state cannot be told at this moment.
    is_hidden: bool,
    /// End offsets that a broker told, if one answered.
    pub ends: BTreeMap<Partition, Offset>,
}

/// One open window, or the groups that have none.
#[derive(Clone, Debug)]
struct WindowView {
    /// Start and end; `None` for groups of keys alone.
    window: Option<(Timestamp, Timestamp)>,
    groups: u64,
    /// The groups asked for: result columns with their values.
    rows: Vec<Vec<(String, Json)>>,
}

/// What cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// There is no checkpoint.
    #[error("there is no checkpoint here yet: it begins with the first run")]
    Empty,
    /// The stored spec cannot be read by this version.
    #[error("the checkpoint's own spec cannot be read: {0}")]
    Spec(String),
    /// A group is not of the stored spec.
    #[error("the checkpoint is damaged: {0}")]
    Key(#[from] KeyError),
    /// State in Spark's way is not of the stored spec.
    #[error("the checkpoint is damaged: {0}")]
    Spark(#[from] SparkError),
    /// State of other types than the stored spec's.
    #[error("the checkpoint is damaged: its state is {stored}, and its own spec says {needed}")]
    Schema {
        /// What is stored.
        stored: String,
        /// What the spec needs.
        needed: String,
    },
}

/// The state that a view shows, as it is stored.
#[derive(Debug)]
pub enum State<'a> {
    /// Rows of state by place: our own way.
    Rows(&'a BTreeMap<Place, Table>),
    /// A log of changes: Spark's way.
    Log(&'a StateLog),
    /// Spark's way, and the log begins anew with a batch that is still to be announced.
    Hidden,
}

/// What is shown of the state.
#[derive(Debug, Default)]
struct Shown {
    windows: Vec<WindowView>,
    remembered: u64,
}

impl View {
    /// Builds a view from what was read: the checkpoint without state, its state, and its newest
    /// batches in ascending order.
    ///
    /// # Errors
    /// No checkpoint, or one whose spec or groups cannot be read.
    pub fn new(
        recovered: Recovered,
        state: &State<'_>,
        history: Vec<BatchRecord>,
        filter: &Filter,
    ) -> Result<View, ViewError> {
        let pipeline = pipeline_of(recovered.genesis.as_ref().ok_or(ViewError::Empty)?)?;
        let mut shown = match state {
            State::Rows(tables) => own_state(&recovered, tables, &pipeline, filter)?,
            State::Log(log) => sparks_state(&recovered, log, &pipeline, filter)?,
            State::Hidden => Shown::default(),
        };
        shown.windows.retain(|window| !filter.shows_groups() || !window.rows.is_empty());
        Ok(View {
            recovered,
            history,
            pipeline,
            windows: shown.windows,
            filter: filter.clone(),
            problem: None,
            remembered: shown.remembered,
            is_hidden: matches!(state, State::Hidden),
            ends: BTreeMap::new(),
        })
    }

    /// The pipeline as the checkpoint has it, its topic included.
    #[must_use]
    pub fn topic(&self) -> &str {
        let genesis = self.recovered.genesis.as_ref();
        let field = |(name, _): &&(String, String)| name == "topic";
        genesis
            .and_then(|genesis| genesis.identity.iter().find(field))
            .map_or(&self.pipeline.topic, |(_, topic)| topic)
    }

    /// Whether this is the topic that the checkpoint was made from, as far as both tell their ids.
    #[must_use]
    pub fn is_of(&self, topic: &TopicDescription) -> bool {
        let same = |ours: &Option<String>, theirs: &Option<String>| !matches!((ours, theirs), (Some(ours), Some(theirs)) if ours != theirs);
        self.recovered.genesis.as_ref().is_some_and(|genesis| {
            same(&genesis.cluster_id, &topic.cluster_id) && same(&genesis.topic_id, &topic.topic_id)
        })
    }

    /// The newest announced batch.
    #[must_use]
    pub fn batch(&self) -> Option<BatchId> {
        self.recovered.last.as_ref().map(|last| last.batch)
    }

    /// Everything as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let genesis = self.recovered.genesis.as_ref();
        let last = self.recovered.last.as_ref();
        json!({
            "pipeline": genesis.map(|genesis| &genesis.pipeline),
            "topic": self.topic(),
            "lineage": genesis.map(|genesis| genesis.lineage.to_string()),
            "incarnation": last.map(|last| last.incarnation.0),
            "batch": last.map(|last| last.batch.0),
            "problem": self.problem,
            "digest": last.map(|last| last.digest.to_string()),
            "watermark": last.map(|last| watermark(last.next_watermarks.closing_bound.0)),
            "late_bound": last.map(|last| watermark(last.next_watermarks.late_bound.0)),
            "partitions": self.partitions().iter().map(partition_json).collect::<Vec<_>>(),
            "windows": (!self.is_hidden)
                .then(|| self.windows.iter().map(WindowView::to_json).collect::<Vec<_>>()),
            "remembered_keys": (!self.is_hidden).then_some(self.remembered),
            "sinks": self.recovered.marks.iter().map(|mark| json!({
                "sink": mark.sink.0,
                "published": mark.published.map(|batch| batch.0),
            })).collect::<Vec<_>>(),
            "pending": self.pending(),
            "totals": last.map(|last| counts_json(&last.totals)),
            "batches": self.history.iter().map(record_json).collect::<Vec<_>>(),
        })
    }

    /// The partitions it reads.
    #[must_use]
    pub fn partitions_read(&self) -> Vec<Partition> {
        self.partitions().iter().map(|view| view.partition).collect()
    }

    fn partitions(&self) -> Vec<PartitionView> {
        let positions = match (&self.recovered.last, &self.recovered.genesis) {
            (Some(last), _) => last.positions(),
            (None, Some(genesis)) => genesis.starting.clone(),
            (None, None) => BTreeMap::new(),
        };
        positions
            .into_iter()
            .map(|(partition, position)| PartitionView {
                partition,
                offset: position.offset,
                end: self.ends.get(&partition).copied(),
            })
            .collect()
    }

    /// The sinks that lack the newest batch.
    fn pending(&self) -> Vec<&str> {
        let last = self.batch();
        let lacks = self.recovered.marks.iter().filter(|mark| mark.published < last);
        lacks.map(|mark| mark.sink.0.as_str()).collect()
    }
}

struct PartitionView {
    partition: Partition,
    offset: Offset,
    end: Option<Offset>,
}

impl PartitionView {
    fn lag(&self) -> Option<i64> {
        self.end.map(|end| (end.0 - self.offset.0).max(0))
    }
}

fn partition_json(view: &PartitionView) -> Json {
    json!({
        "partition": view.partition.0,
        "offset": view.offset.0,
        "end": view.end.map(|end| end.0),
        "lag": view.lag(),
    })
}

impl WindowView {
    fn to_json(&self) -> Json {
        let mut window = json!({
            "window_start": self.window.map(|(start, _)| timestamp_iso(start)),
            "window_end": self.window.map(|(_, end)| timestamp_iso(end)),
            "groups": self.groups,
        });
        if !self.rows.is_empty() {
            let rows = self.rows.iter().map(|row| Json::Object(row.iter().cloned().collect()));
            window["rows"] = rows.collect();
        }
        window
    }
}

fn record_json(record: &BatchRecord) -> Json {
    let mut batch = counts_json(&record.counts);
    batch["batch"] = json!(record.batch.0);
    batch["incarnation"] = json!(record.incarnation.0);
    batch["time"] = json!(watermark(record.clock_ms));
    batch["took_ms"] = json!(record.took_ms);
    batch["watermark"] = json!(watermark(record.watermarks.closing_bound.0));
    batch["digest"] = json!(record.digest.to_string());
    let ranges = record.ranges.iter().map(|(partition, range)| {
        json!({ "partition": partition.0, "begin": range.begin.0, "end": range.end.offset.0 })
    });
    batch["ranges"] = ranges.collect();
    batch
}

fn counts_json(counts: &Counts) -> Json {
    let reasons: serde_json::Map<_, _> = FaultReason::ALL
        .iter()
        .map(|reason| (reason.name().to_owned(), json!(counts.faults[*reason as usize])))
        .collect();
    json!({
        "rows_in": counts.rows_in,
        "filtered": counts.filtered,
        "late": counts.late,
        "duplicates": counts.duplicates,
        "malformed": counts.malformed(),
        "malformed_by_reason": reasons,
        "groups_touched": counts.groups_touched,
        "rows_out": counts.rows_out,
        "nulled": counts.nulled,
        "inexact_sums": counts.inexact_sums,
        "dead_letters": counts.dead_letters,
        "lost": counts.lost,
    })
}

/// A clock reading in milliseconds since 1970, as ISO 8601 in UTC with always three digits behind the
/// second, so that columns of it line up.
#[must_use]
pub fn clock_text(milliseconds: i64) -> String {
    let second = timestamp_iso(Timestamp(milliseconds.div_euclid(1000).saturating_mul(1_000_000)));
    format!("{}.{:03}Z", second.trim_end_matches('Z'), milliseconds.rem_euclid(1000))
}

/// A watermark or clock reading in milliseconds, as ISO 8601.
fn watermark(milliseconds: i64) -> String {
    timestamp_iso(Timestamp(milliseconds.saturating_mul(1000)))
}

/// The pipeline that a checkpoint was made by, in the compatibility mode and output mode that it was made in.
fn pipeline_of(genesis: &Genesis) -> Result<Pipeline, ViewError> {
    let unreadable = |errors: spec::SpecErrors| ViewError::Spec(errors.to_string());
    let stored = |field: &str| {
        let found = genesis.identity.iter().find(|(name, _)| name == field);
        found.map_or("", |(_, value)| value.as_str())
    };
    let compat: Option<Compat> = stored("compat").parse().ok();
    let output_mode: Option<OutputMode> = stored("output_mode").parse().ok();
    let parse = |watermark_delay_ms| {
        let asked = Asked { compat, output_mode, watermark_delay_ms };
        spec::parse_for(&genesis.spec_text, "the checkpoint's spec", asked)
    };
    // Without a watermark of the spec's own there was one on the command line; looking at what is
    // stored, its delay does not matter.
    let spec = parse(None).or_else(|errors| parse(Some(0)).map_err(|_| unreadable(errors)))?;
    if compat == spec.pipeline.semantics.compat {
        return Ok(spec.pipeline);
    }
    let semantics = Some(spec.spark.semantics(compat));
    spec.pipeline
        .with_overrides(Overrides { semantics, ..Overrides::default() })
        .map_err(unreadable)
}

/// Open groups and remembered keys of our own way.
fn own_state(
    recovered: &Recovered,
    tables: &BTreeMap<Place, Table>,
    pipeline: &Pipeline,
    filter: &Filter,
) -> Result<Shown, ViewError> {
    let mut by_window: BTreeMap<_, Vec<Group<'_>>> = BTreeMap::new();
    let mut remembered = BTreeSet::new();
    // What is kept for ever never closes, whatever its own end is.
    let closed = |place: &Place, row: &Group<'_>| {
        let bound = recovered.last.as_ref().map(|last| last.watermarks.closing_bound);
        place.closing < Place::NEVER && bound.is_some_and(|bound| bound.closes(row.end))
    };
    for (place, table) in tables {
        for row in table.sorted().filter(|row| !closed(place, row)) {
            match place.keeper {
                Keeper::Groups => by_window.entry((row.end, row.start)).or_default().push(row),
                Keeper::Keys => drop(remembered.insert(row.key)),
            }
        }
    }
    let mut shown = Shown { remembered: remembered.len() as u64, windows: Vec::new() };
    let Some(plan) = WindowPlan::new(pipeline) else { return Ok(shown) };
    for ((end, start), groups) in by_window {
        let window = plan.has_windows().then_some((start, end));
        let cells = |group: &Group<'_>| {
            let mut rows = Rows::new(pipeline.output_columns());
            plan.results([*group], &mut rows, &mut Misfits::default())?;
            Ok(cells_of(&rows, filter))
        };
        shown.windows.push(window_view(window, &groups, filter, cells)?);
    }
    Ok(shown)
}

/// Groups and remembered keys of Spark's way, which takes out at once what is done with.
fn sparks_state(
    recovered: &Recovered,
    log: &StateLog,
    pipeline: &Pipeline,
    filter: &Filter,
) -> Result<Shown, ViewError> {
    let Some(mut engine) = SparkEngine::new(pipeline) else { return Ok(Shown::default()) };
    let needed = engine.schema();
    if log.schema != needed {
        return Err(ViewError::Schema { stored: log.schema.clone(), needed });
    }
    engine.pin(log.partitions, log.state_store);
    let batches = recovered.last.as_ref().map_or(0, |last| last.batch.0 + 1);
    engine.replay(batches, &log.changes)?;
    let mut by_window: BTreeMap<_, Vec<OpenGroup<'_>>> = BTreeMap::new();
    for group in engine.open_groups()? {
        let order = group.window.map(|(start, end)| (end, start));
        by_window.entry(order).or_default().push(group);
    }
    let mut shown = Shown { remembered: engine.remembered_keys(), windows: Vec::new() };
    for (order, groups) in by_window {
        let window = order.map(|(end, start)| (start, end));
        let cells = |group: &OpenGroup<'_>| match engine.row_of(group) {
            Ok(rows) => Ok(cells_of(&rows, filter)),
            Err(SparkError::Failure(failure)) => Ok(failed_cells(&failure, filter)),
            Err(error) => Err(error.into()),
        };
        shown.windows.push(window_view(window, &groups, filter, cells)?);
    }
    Ok(shown)
}

/// Names and values of a row's columns.
type Cells = Vec<(String, Json)>;

/// The groups of one window; `cells` gives those of a group that is asked for.
fn window_view<G>(
    window: Option<(Timestamp, Timestamp)>,
    groups: &[G],
    filter: &Filter,
    cells: impl Fn(&G) -> Result<Option<Cells>, ViewError>,
) -> Result<WindowView, ViewError> {
    let mut view = WindowView { window, groups: groups.len() as u64, rows: Vec::new() };
    let start = window.map(|(start, _)| start);
    if filter.shows_groups() && (filter.window.is_none() || filter.window == start) {
        for group in groups {
            view.rows.extend(cells(group)?);
        }
    }
    Ok(view)
}

/// The one row of a group, if it has the key that is asked for.
fn cells_of(rows: &Rows, filter: &Filter) -> Option<Cells> {
    let columns = rows.columns();
    let mut reader = rows.reader();
    let row = reader.next()?;
    let keys = columns.iter().zip(row).filter(|(column, _)| column.data_type == DataType::String);
    let is_wanted = filter.key.as_ref().is_none_or(|key| {
        keys.into_iter().any(|(_, value)| matches!(value, Value::String(text) if text == key))
    });
    let cells = columns.iter().zip(row);
    is_wanted
        .then(|| cells.map(|(column, value)| (column.name.clone(), value_json(*value))).collect())
}

/// A group that will end the run, because one of its results does not fit.
fn failed_cells(failure: &Failure, filter: &Filter) -> Option<Cells> {
    let is_wanted =
        filter.key.as_ref().is_none_or(|key| failure.key.iter().any(|(_, text)| text == key));
    let mut cells: Cells =
        failure.key.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    cells.push((failure.column.clone(), json!(failure.class.name())));
    is_wanted.then_some(cells)
}

fn value_json(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::String(text) => json!(text),
        Value::Timestamp(value) => json!(timestamp_iso(value)),
        Value::Decimal(value) => json!(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_readings_are_all_of_one_width() {
        assert_eq!(clock_text(1_756_809_000_700), "2025-09-02T10:30:00.700Z");
        assert_eq!(clock_text(1_756_809_000_000), "2025-09-02T10:30:00.000Z");
        assert_eq!(clock_text(-1), "1969-12-31T23:59:59.999Z");
    }
}
