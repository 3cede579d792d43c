//! One batch as history keeps it, and the chain that ties batches together.

use std::collections::BTreeMap;

use crate::{
    spec::OutputMode,
    types::{
        BatchId, Digest, EventTimes, FaultReason, Incarnation, Lineage, Offset, OperatorCounts,
        Partition, Position,
    },
    window::Watermarks,
};

/// Everything about a batch but its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// Its number.
    pub batch: BatchId,
    /// The start that computed it.
    pub incarnation: Incarnation,
    /// Its one reading of the clock, Unix milliseconds.
    pub clock_ms: i64,
    /// From that reading until it was planned, in milliseconds.
    pub took_ms: i64,
    /// What it read.
    pub ranges: BTreeMap<Partition, Range>,
    /// The watermarks it worked under.
    pub watermarks: Watermarks,
    /// The watermarks of the batch after it.
    pub next_watermarks: Watermarks,
    /// Which rows it publishes.
    pub output_mode: OutputMode,
    /// What it counted.
    pub counts: Counts,
    /// What all batches up to and with this one counted.
    pub totals: Counts,
    /// What Spark's progress shows of each stateful operator, the last one in the chain first.
    pub operators: Vec<OperatorCounts>,
    /// Event times of its records, where there is a watermark and there were records.
    pub event_times: Option<EventTimes>,
    /// Digest of its result rows.
    pub rows_digest: Digest,
    /// Link of the batch before it, [`Digest::ZERO`] for the first.
    pub previous: Digest,
    /// Its own link: [`BatchRecord::link`].
    pub digest: Digest,
}

/// What a batch read of one partition: `[begin, end)`, or what was still there of it where records were
/// lost; then the end may lie before the beginning (a log that was cut off), and nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The end of the batch before it; its first record where there is none.
    pub begin: Offset,
    /// First record of the next batch.
    pub end: Position,
}

/// A history that this one replaced, and how far it was known to have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The other history.
    pub lineage: Lineage,
    /// Its newest batch that anyone had seen.
    pub seen: Option<BatchId>,
}

/// By what a history was begun.
///
/// It is told outside of the directory too (in the metadata of Kafka's commits), so that a permission
/// left in a command is not used again on the very history it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begun {
    /// Nobody knew another history; or a version that did not note it.
    #[default]
    Freely,
    /// `--start-over`
    StartOver,
    /// `--accept-rollback`, or `checkpoints restore --accept-rollback`
    AcceptedRollback,
}

/// What is counted of a batch, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub rows_in: u64,
    /// Records a condition left out, or without a gap where there are sessions.
    pub filtered: u64,
    /// Records that came too late for a window of theirs.
    pub late: u64,
    /// Records equal to one seen before.
    pub duplicates: u64,
    /// Records with a fault, by [`FaultReason`].
    pub faults: [u64; FaultReason::ALL.len()],
    /// Groups touched.
    pub groups_touched: u64,
    /// Rows published.
    pub rows_out: u64,
    /// Results that did not fit their type and are NULL.
    pub nulled: u64,
    /// Results whose sum had to be added up as doubles.
    pub inexact_sums: u64,
    /// Records kept for the dead-letter sink.
    pub dead_letters: u64,
    /// Offsets passed over because what was to be read there is gone (`--fail-on-data-loss false`).
    pub lost: u64,
}

impl Counts {
    /// All faults together.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Adds another batch's counts.
    pub fn add(&mut self, other: &Counts) {
        let Counts {
            rows_in,
            filtered,
            late,
            duplicates,
            faults,
            groups_touched,
            rows_out,
            nulled,
            inexact_sums,
            dead_letters,
            lost,
        } = other;
        self.rows_in += rows_in;
        self.filtered += filtered;
        self.late += late;
        self.duplicates += duplicates;
        self.faults.iter_mut().zip(faults).for_each(|(mine, more)| *mine += more);
        self.groups_touched += groups_touched;
        self.rows_out += rows_out;
        self.nulled += nulled;
        self.inexact_sums += inexact_sums;
        self.dead_letters += dead_letters;
        self.lost += lost;
    }

    fn as_numbers(&self) -> impl Iterator<Item = u64> {
        [self.rows_in, self.filtered, self.late, self.duplicates]
            .into_iter()
            .chain(self.faults)
            .chain([self.groups_touched, self.rows_out, self.nulled, self.inexact_sums])
            .chain([self.dead_letters, self.lost])
    }
}

impl BatchRecord {
    /// The link this record must carry: a hash over the previous link, the batch's number, ranges,
    /// watermarks, output mode and counts (the operators' too), and the digest of its rows. Neither the clock nor the
    /// incarnation is in it: the same input gives the same chain.
    #[must_use]
    pub fn link(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("sales-stream batch link 1");
        let mut number = |value: i64| {
            hasher.update(&value.to_le_bytes());
        };
        number(self.batch.0.cast_signed());
        number(i64::try_from(self.ranges.len()).expect("partitions are few"));
        for (partition, range) in &self.ranges {
            number(i64::from(partition.0));
            number(range.begin.0);
            number(range.end.offset.0);
        }
        for watermarks in [self.watermarks, self.next_watermarks] {
            number(watermarks.late_bound.0);
            number(watermarks.closing_bound.0);
        }
        if let Some(EventTimes { min_ms, average_ms, max_ms }) = self.event_times {
            [min_ms, average_ms, max_ms].into_iter().for_each(&mut number);
        }
        self.counts.as_numbers().for_each(|count| number(count.cast_signed()));
        for OperatorCounts { total, updated, removed, dropped } in &self.operators {
            for count in [total, updated, removed, dropped] {
                number(count.cast_signed());
            }
        }
        hasher.update(self.output_mode.name().as_bytes());
        hasher.update(&self.rows_digest.0);
        hasher.update(&self.previous.0);
        Digest(*hasher.finalize().as_bytes())
    }

    /// Where each partition is read next.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<Partition, Position> {
        self.ranges.iter().map(|(partition, range)| (*partition, range.end)).collect()
    }
}
