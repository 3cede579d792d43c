//! What takes records into an open batch: decodes them, filters them, and gives them to the operators.
//!
//! A batch can be read in several lanes at once, each on a thread of its own and with the records of other
//! partitions. A lane has its own decoder and adds to its own [`Share`] of the batch, so that lanes meet in nothing;
//! the shares are joined, in the order of the lanes, when all records are there.
//!
//! Invariant: what a batch comes to does not depend on how many lanes it was read in, but for what depends on the order
//! in which records of different partitions come, which no source promises: the last digits of sums that are not exact,
//! and the order of dead letters of different partitions.
//!
//! Not here: which batches are read in several lanes (`job`); threads (`source`).

use std::sync::Arc;

use crate::{
    batch::{
        Counts, DeadLetter, DeadLetterReason, Payload,
        operators::{OperatorBatch, Operators},
        output::Output,
    },
    decode::{self, DecodeError, Decoder, Evaluator, Texts, ValueError},
    faults::{Mutant, is_planted},
    spec::{self, OutputSource, ParseMode, Pipeline, Query, SessionGap, Window},
    types::{Event, Fault, FaultReason, Offset, Partition, PartitionTimes, Value, Verdict},
    window::NewestTime,
};

/// A raw record, its bytes borrowed from the source.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The partition it is in.
    pub partition: Partition,
    /// Its own offset.
    pub offset: Offset,
    /// Its value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

impl Record<'_> {
    /// Which of so many lanes takes it, where one thread hands out to all of them.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn lane_of(&self, lanes: usize) -> usize {
        usize::try_from(self.partition.0).unwrap_or_default() % lanes
    }
}

/// A record that ends a run in fail-fast mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {offset} of partition {partition} of topic {topic} cannot be read: {}{}{}; \
     nothing of its batch was written. Mend the producer, start past the record \
     (--starting-offsets with a new --checkpoint-dir), or run with --mode permissive",
    reason.name(),
    column.as_ref().map(|column| format!(" in column {column}")).unwrap_or_default(),
    error.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
)]
pub struct BadRecord {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: Partition,
    /// The record's offset.
    pub offset: Offset,
    /// What is wrong.
    pub reason: FaultReason,
    /// In which column.
    pub column: Option<String>,
    /// The value that cannot be computed, where the time parser's policy or ANSI mode ends the run.
    pub error: Option<ValueError>,
}

impl BadRecord {
    /// Whether a value of it cannot be computed, rather than the record be read.
    #[must_use]
    pub fn is_of_value(&self) -> bool {
        !matches!(self.error, None | Some(ValueError::Malformed(_)))
    }
}

/// What a lane works with, batch after batch. Not on a cache line with another lane's.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Tools {
    decoder: Decoder,
    evaluator: Evaluator,
}

impl Tools {
    pub(super) fn new(pipeline: &Arc<Pipeline>) -> Result<Tools, DecodeError> {
        Ok(Tools { decoder: Decoder::new(pipeline)?, evaluator: Evaluator::new(pipeline)? })
    }

    pub(super) fn set_clock(&mut self, clock_ms: i64) {
        self.decoder.set_clock(clock_ms);
        self.evaluator.set_clock(clock_ms);
    }

    pub(super) fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }
}

/// What a lane has added to the open batch. Not on a cache line with another lane's.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Share {
    pub(super) operators: OperatorBatch,
    pub(super) output: Output,
    pub(super) newest: NewestTime,
    /// Event times, where there is a watermark that they move.
    pub(super) times: Option<PartitionTimes>,
    pub(super) counts: Counts,
}

impl Share {
    /// An empty one.
    pub(super) fn new(operators: OperatorBatch, output: Output, observes_times: bool) -> Share {
        Share {
            operators,
            output,
            newest: NewestTime::default(),
            times: observes_times.then(PartitionTimes::default),
            counts: Counts::default(),
        }
    }

    /// Adds what another lane added.
    pub(super) fn absorb(&mut self, other: Share) {
        let Share { operators, output, newest, times, counts } = other;
        self.operators.absorb(operators);
        self.output.absorb(output);
        self.newest = self.newest.max(newest);
        if let (Some(mine), Some(times)) = (&mut self.times, &times) {
            mine.merge(times);
        }
        self.counts.add(&counts);
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.operators.memory_bytes() + self.output.memory_bytes()
    }
}

/// One of those that take records into a batch at once.
#[derive(Debug)]
pub struct Lane<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) operators: &'a Operators,
    pub(super) clock_ms: i64,
    pub(super) keep_dead_letters: bool,
    /// Whether no batch came before.
    #[cfg(feature = "faults")]
    pub(super) is_first_batch: bool,
    pub(super) tools: &'a mut Tools,
    pub(super) share: &'a mut Share,
}

impl Lane<'_> {
    /// Takes one record into the batch.
    ///
    /// # Errors
    /// In fail-fast mode, a record that cannot be read; in ANSI mode and by the time parser's policy,
    /// one with a value that cannot be computed.
    pub fn add(&mut self, record: Record<'_>) -> Result<(), BadRecord> {
        self.share.counts.rows_in += 1;
        if is_planted(Mutant::DropFirstRecord) && self.share.counts.rows_in == 1 {
            return Ok(());
        }
        #[cfg(feature = "faults")]
        if is_planted(Mutant::ApplyTwice) && !self.is_first_batch && crate::faults::is_first() {
            self.add(record)?;
        }
        let decoded = self.tools.decoder.decode(record.value);
        let (event, mut fault) = (decoded.event, decoded.fault);
        let malformed = fault.filter(|fault| decode::is_malformed(fault.reason));
        if let Some(fault) = malformed
            && self.pipeline.parse_mode == ParseMode::FailFast
        {
            let class = decode::malformed_class(self.pipeline, &decoded, record.value);
            return Err(bad_record(self.pipeline, record, fault, class));
        }
        let is_left_out =
            malformed.is_some() && self.pipeline.parse_mode == ParseMode::SkipMalformed;
        let admitted = !is_left_out
            && self
                .tools
                .evaluator
                .admits(self.pipeline.filter.as_ref(), &decoded)
                .map_err(|error| bad_value(self.pipeline, record, error))?;
        if is_left_out {
            // Counted by its fault below.
        } else if !admitted {
            self.share.counts.filtered += 1;
        } else if is_future(self.pipeline, &event, self.clock_ms) {
            fault = Some(future_fault(self.pipeline));
        } else {
            let engines = (self.operators, &self.tools.evaluator);
            let late = take(self.pipeline, engines, self.share, record, &event)
                .map_err(|error| bad_value(self.pipeline, record, error))?;
            let is_kept = self.keep_dead_letters && !is_planted(Mutant::DropLateLetters);
            if late && fault.is_none() && is_kept {
                self.share.output.push_letter(dead_letter(record, DeadLetterReason::Late, None));
            }
        }
        if let Some(fault) = fault {
            self.share.counts.faults[fault.reason as usize] +=
                u64::from(!is_planted(Mutant::ForgetMalformed));
            if self.keep_dead_letters {
                let column = column_name(self.pipeline, fault);
                let reason = DeadLetterReason::Fault(fault.reason);
                self.share.output.push_letter(dead_letter(record, reason, column));
            }
        }
        Ok(())
    }
}

/// Moves the watermark and gives the event to the operators, or makes it a row; tells whether it was
/// late.
fn take(
    pipeline: &Pipeline,
    (operators, evaluator): (&Operators, &Evaluator),
    share: &mut Share,
    record: Record<'_>,
    event: &Event<'_>,
) -> Result<bool, ValueError> {
    if let Some(time) = event.time {
        share.newest.observe(time);
    }
    if let Some(times) = &mut share.times {
        times.observe(record.partition, event.time);
    }
    if let Some(filter) = &pipeline.filter_above_watermark
        && !evaluator.keeps(filter, event)?
    {
        share.counts.filtered += 1;
        return Ok(false);
    }
    let at = (record.partition, record.offset);
    let verdict = match &pipeline.query {
        Query::Aggregation(aggregation) => {
            let gap_us = match &aggregation.window {
                Some(Window::Session(gap)) => gap_of(gap, evaluator, event)?,
                _ => None,
            };
            operators.add(&mut share.operators, at, event, gap_us)
        }
        Query::Projection => take_row(pipeline, (operators, evaluator), share, at, event)?,
    };
    match verdict {
        Verdict::Counted | Verdict::NoTime | Verdict::Row => {}
        Verdict::Late => share.counts.late += 1,
        Verdict::NoSession => share.counts.filtered += 1,
        Verdict::Duplicate => share.counts.duplicates += 1,
    }
    Ok(verdict == Verdict::Late)
}

/// Gives an event to the operators as the row it is.
#[inline(never)]
fn take_row(
    pipeline: &Pipeline,
    (operators, evaluator): (&Operators, &Evaluator),
    share: &mut Share,
    at: (Partition, Offset),
    event: &Event<'_>,
) -> Result<Verdict, ValueError> {
    let texts = Texts::default();
    let row = row_of(pipeline, evaluator, event, &texts)?;
    let verdict = operators.add_row(&mut share.operators, at, event, &row);
    if verdict == Verdict::Row {
        share.output.rows().push(&row);
    }
    Ok(verdict)
}

/// The session gap of an event in microseconds; `None` where it is NULL.
fn gap_of(
    gap: &SessionGap,
    evaluator: &Evaluator,
    event: &Event<'_>,
) -> Result<Option<i64>, ValueError> {
    Ok(match gap {
        SessionGap::Fixed(gap_us) => Some(*gap_us),
        SessionGap::Dynamic(gap) => match evaluator.evaluate(gap, event, &Texts::default())? {
            Value::String(text) => spec::parse_interval(text).ok(),
            _ => None,
        },
    })
}

/// The row of a record that is one as it is.
pub(super) fn row_of<'e>(
    pipeline: &'e Pipeline,
    evaluator: &Evaluator,
    event: &Event<'e>,
    texts: &'e Texts,
) -> Result<Vec<Value<'e>>, ValueError> {
    pipeline
        .output
        .iter()
        .map(|column| match column.source {
            OutputSource::Column(index) => Ok(event.value(index)),
            OutputSource::EventTime => Ok(event.time.map_or(Value::Null, Value::Timestamp)),
            OutputSource::Computed(index) => {
                let value = evaluator.evaluate(&pipeline.computed[index], event, texts)?;
                Ok(crate::window::cast_value(value, column.data_type))
            }
            other => unreachable!("a checked projection outputs columns, not {other:?}"),
        })
        .collect()
}

fn is_future(pipeline: &Pipeline, event: &Event<'_>, clock_ms: i64) -> bool {
    match (pipeline.max_future_skew_ms, event.time) {
        (Some(skew_ms), Some(time)) => time.floor_ms() > clock_ms.saturating_add(skew_ms),
        _ => false,
    }
}

fn future_fault(pipeline: &Pipeline) -> Fault {
    let column = pipeline.event_time.as_ref().map(|event_time| event_time.column);
    Fault { reason: FaultReason::Future, column }
}

fn column_name(pipeline: &Pipeline, fault: Fault) -> Option<String> {
    fault.column.map(|column| pipeline.schema[column].name.clone())
}

fn bad_record(
    pipeline: &Pipeline,
    record: Record<'_>,
    fault: Fault,
    error: Option<ValueError>,
) -> BadRecord {
    BadRecord {
        topic: pipeline.topic.clone(),
        partition: record.partition,
        offset: record.offset,
        reason: fault.reason,
        column: column_name(pipeline, fault),
        error,
    }
}

fn bad_value(pipeline: &Pipeline, record: Record<'_>, error: ValueError) -> BadRecord {
    let fault = Fault { reason: FaultReason::WrongType, column: None };
    bad_record(pipeline, record, fault, Some(error))
}

fn dead_letter(record: Record<'_>, reason: DeadLetterReason, column: Option<String>) -> DeadLetter {
    DeadLetter {
        partition: record.partition,
        offset: record.offset,
        reason,
        column,
        payload: record.value.map(payload),
    }
}

fn payload(value: &[u8]) -> Payload {
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= DeadLetter::MAX_PAYLOAD => Payload::Text(text.to_owned()),
        _ => Payload::Omitted(value.len() as u64),
    }
}
