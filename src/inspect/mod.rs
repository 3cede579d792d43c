//! What is in a checkpoint, as people and scripts want to see it.
//!
//! A [`View`] is built from what a read-only store gave; it shows the newest batch that is announced
//! and nothing newer. Start at [`View::new`].
//!
//! Invariant: of groups and windows no more than a page is in memory, however many there are; they are read again
//! for the next page. Spark's way is the exception: its order of groups is that of maps in memory.
//!
//! Not here: reading the store (`checkpoint::rocks`), asking a broker for lag (`commands::inspect`).

mod groups;
mod json;
mod text;
mod windows;

use std::{collections::BTreeMap, io};

use serde_json::{Value as Json, json};

use crate::{
    batch::{BatchRecord, Counts, Genesis},
    checkpoint::{CheckpointError, Recovered, RestoreGroup, VisitLog},
    source::TopicDescription,
    spark::SparkError,
    spec::{self, Asked, Compat, OutputMode, Overrides, Pipeline},
    types::{BatchId, FaultReason, Offset, Partition, Timestamp, timestamp_iso},
    window::KeyError,
};
use groups::Groups;
use windows::{PAGE_BYTES, Page};

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

/// A checkpoint; of its groups only as many as a page has.
pub struct View<'a> {
    recovered: Recovered,
    history: Vec<BatchRecord>,
    pipeline: Pipeline,
    groups: Groups<'a>,
    filter: Filter,
    page_bytes: usize,
    /// The windows that are listed first.
    first: Page,
    /// Why this is older or other than what was announced, if it is.
    pub problem: Option<String>,
    /// Keys that a deduplication remembers.
    remembered: u64,
    /// End offsets that a broker told, if one answered.
    pub ends: BTreeMap<Partition, Offset>,
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
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What is shown cannot be written.
    #[error("writing what is in the checkpoint failed: {0}")]
    Write(#[from] io::Error),
}

/// The state that a view shows, as it is stored. Whoever hands it out may be asked several times.
#[derive(Clone, Copy)]
pub enum State<'a> {
    /// Rows of state by place: our own way.
    Rows(&'a ReadRows<'a>),
    /// A log of changes: Spark's way.
    Log(&'a ReadLog<'a>),
    /// Spark's way, and the log begins anew with a batch that is still to be announced.
    Hidden,
}

/// Hands out all rows of state.
pub type ReadRows<'a> = dyn Fn(&mut RestoreGroup<'_>) -> Result<(), CheckpointError> + 'a;

/// Hands out all parts of a log of changes.
pub type ReadLog<'a> = dyn Fn(&mut VisitLog<'_>) -> Result<(), CheckpointError> + 'a;

impl<'a> View<'a> {
    /// Builds a view from what was read: the checkpoint without state, its state, and its newest
    /// batches in ascending order.
    ///
    /// # Errors
    /// No checkpoint, or one whose spec or groups cannot be read.
    pub fn new(
        recovered: Recovered,
        state: &State<'a>,
        history: Vec<BatchRecord>,
        filter: &Filter,
    ) -> Result<View<'a>, ViewError> {
        View::with_pages_of(PAGE_BYTES, recovered, state, history, filter)
    }

    fn with_pages_of(
        page_bytes: usize,
        recovered: Recovered,
        state: &State<'a>,
        history: Vec<BatchRecord>,
        filter: &Filter,
    ) -> Result<View<'a>, ViewError> {
        let pipeline = pipeline_of(recovered.genesis.as_ref().ok_or(ViewError::Empty)?)?;
        let groups = Groups::new(state, &recovered, &pipeline)?;
        let mut view = View {
            recovered,
            history,
            pipeline,
            groups,
            filter: filter.clone(),
            page_bytes,
            first: Page::default(),
            problem: None,
            remembered: 0,
            ends: BTreeMap::new(),
        };
        (view.first, view.remembered) = view.page(None)?;
        Ok(view)
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

    /// Everything but the windows.
    fn head_json(&self) -> Json {
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
            "remembered_keys": (!self.is_hidden()).then_some(self.remembered),
            "sinks": self.recovered.marks.iter().map(|mark| json!({
                "sink": mark.sink.0,
                "published": mark.published.map(|batch| batch.0),
            })).collect::<Vec<_>>(),
            "pending": self.pending(),
            "totals": last.map(|last| counts_json(&last.totals)),
            "batches": self.history.iter().map(record_json).collect::<Vec<_>>(),
        })
    }

    /// Whether the state cannot be told at this moment.
    fn is_hidden(&self) -> bool {
        matches!(self.groups, Groups::Hidden)
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
