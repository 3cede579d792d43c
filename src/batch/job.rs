//! The job as a value: state, decoder and position, moved forward one batch at a time.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    batch::{
        BatchRecord, Counts, DeadLetter, DeadLetterReason, Identity, OutputChunk, Payload, Plan,
        Publication, Range, WrittenAhead,
        output::{Closed, Output, RowsHasher},
    },
    decode::{self, Decoder, Evaluator, Texts, ValueError},
    spec::{OutputMode, OutputSource, ParseMode, Pipeline},
    types::{
        BatchId, Digest, Event, Fault, FaultReason, Incarnation, Lineage, Offset, Partition,
        Position, Rows, Timestamp, Value,
    },
    window::{
        Delta, Group, KeyError, Misfits, NewestTime, Table, Verdict, Watermarks, WindowPlan,
        Windows,
    },
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

/// Where the job stands: everything the next batch follows from, besides the windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The history.
    pub lineage: Lineage,
    /// This start.
    pub incarnation: Incarnation,
    /// The newest batch, if there is one.
    pub last: Option<BatchRecord>,
    /// Where each partition is read next.
    pub positions: BTreeMap<Partition, Position>,
    /// The watermarks of the next batch.
    pub watermarks: Watermarks,
}

impl Head {
    /// Number of the next batch.
    #[must_use]
    pub fn next_batch(&self) -> BatchId {
        self.last.as_ref().map_or(BatchId(0), |last| last.batch.next())
    }

    /// Link of the newest batch.
    #[must_use]
    pub fn digest_of_last(&self) -> Option<Digest> {
        self.last.as_ref().map(|last| last.digest)
    }

    fn advance(&mut self, record: &BatchRecord) {
        self.positions = record.positions();
        self.watermarks = record.next_watermarks;
        self.last = Some(record.clone());
    }
}

/// A pipeline at work.
#[derive(Debug)]
pub struct Job {
    pipeline: Arc<Pipeline>,
    keep_dead_letters: bool,
    chunk_bytes: usize,
    decoder: Decoder,
    evaluator: Evaluator,
    windows: Option<Windows>,
    head: Head,
}

/// A batch that is being read. Dropping it leaves no trace but what was taken of its output.
#[derive(Debug)]
pub struct OpenBatch {
    clock_ms: i64,
    ends: BTreeMap<Partition, Offset>,
    delta: Option<Delta>,
    output: Output,
    newest: NewestTime,
    counts: Counts,
}

impl OpenBatch {
    /// Where each partition's part of the batch ends.
    #[must_use]
    pub fn ends(&self) -> &BTreeMap<Partition, Offset> {
        &self.ends
    }

    /// The newest event time so far.
    #[must_use]
    pub fn newest(&self) -> NewestTime {
        self.newest
    }

    /// Takes the full chunks of its output away, in order, so that they can be kept elsewhere than in
    /// memory.
    pub fn take_full_output(&mut self) -> Vec<OutputChunk> {
        self.output.take_full()
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

/// Stored groups that are not of this pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultsError {
    /// A group key that cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Accumulators of other kinds or of another number.
    #[error("a stored group has other aggregates than the pipeline")]
    Accumulators,
}

impl Job {
    /// A job at `head` without any open window.
    ///
    /// # Errors
    /// What the decoder says of the pipeline, such as a time pattern it does not know.
    pub fn new(
        pipeline: Arc<Pipeline>,
        head: Head,
        keep_dead_letters: bool,
    ) -> Result<Job, decode::DecodeError> {
        let decoder = Decoder::new(&pipeline)?;
        let evaluator = Evaluator::new(&pipeline)?;
        let windows = WindowPlan::new(&pipeline).map(|plan| Windows::new(Arc::new(plan)));
        let chunk_bytes = Rows::CHUNK_BYTES;
        Ok(Job { pipeline, keep_dead_letters, chunk_bytes, decoder, evaluator, windows, head })
    }

    /// Cuts output into chunks of at most so many bytes, instead of [`Rows::CHUNK_BYTES`].
    #[must_use]
    pub fn with_output_chunks_of(self, chunk_bytes: usize) -> Job {
        Job { chunk_bytes, ..self }
    }

    /// The pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Where the job stands.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The open windows; `None` for a stateless pipeline.
    #[must_use]
    pub fn windows(&self) -> Option<&Windows> {
        self.windows.as_ref()
    }

    /// Takes new partitions in, to be read from `position`. Known ones are left alone.
    pub fn add_partitions(&mut self, found: impl IntoIterator<Item = (Partition, Position)>) {
        for (partition, position) in found {
            self.head.positions.entry(partition).or_insert(position);
        }
    }

    /// Puts back a group read from a checkpoint; of two with the same key the later one counts.
    ///
    /// # Errors
    /// A group that is not of this pipeline: the checkpoint is damaged.
    pub fn restore(&mut self, closing: Timestamp, group: Group<'_>) -> Result<(), ResultsError> {
        let windows = self.windows.as_mut().ok_or(ResultsError::Accumulators)?;
        if !windows.plan().accepts(group.accumulators) {
            return Err(ResultsError::Accumulators);
        }
        windows.plan().decode_key(group.key, &mut String::new())?;
        windows.restore(closing, group);
        Ok(())
    }

    /// Opens the batch that ends at `ends` and whose one clock reading is `clock_ms`.
    #[must_use]
    pub fn open(&self, ends: BTreeMap<Partition, Offset>, clock_ms: i64) -> OpenBatch {
        let late_bound = self.head.watermarks.late_bound;
        let plan = self.windows.as_ref().map(|windows| windows.plan().clone());
        OpenBatch {
            clock_ms,
            ends,
            delta: plan.map(|plan| Delta::new(plan, late_bound)),
            output: Output::new(self.pipeline.output_columns(), self.chunk_bytes),
            newest: NewestTime::default(),
            counts: Counts::default(),
        }
    }

    /// Takes one record into the batch.
    ///
    /// # Errors
    /// In fail-fast mode, a record that cannot be read; in ANSI mode and by the time parser's policy,
    /// one with a value that cannot be computed.
    pub fn add(&mut self, batch: &mut OpenBatch, record: Record<'_>) -> Result<(), BadRecord> {
        batch.counts.rows_in += 1;
        self.decoder.set_clock(batch.clock_ms);
        let decoded = self.decoder.decode(record.value);
        let (event, mut fault) = (decoded.event, decoded.fault);
        let malformed = fault.filter(|fault| decode::is_malformed(fault.reason));
        if let Some(fault) = malformed
            && self.pipeline.parse_mode == ParseMode::FailFast
        {
            let class = decode::malformed_class(&self.pipeline, &decoded, record.value);
            return Err(bad_record(&self.pipeline, record, fault, class));
        }
        self.evaluator.set_clock(batch.clock_ms);
        let is_left_out =
            malformed.is_some() && self.pipeline.parse_mode == ParseMode::SkipMalformed;
        let admitted = !is_left_out
            && self
                .evaluator
                .admits(self.pipeline.filter.as_ref(), &decoded)
                .map_err(|error| bad_value(&self.pipeline, record, error))?;
        if is_left_out {
            // Counted by its fault below.
        } else if !admitted {
            batch.counts.filtered += 1;
        } else if is_future(&self.pipeline, &event, batch.clock_ms) {
            fault = Some(future_fault(&self.pipeline));
        } else {
            let verdict = take(&self.pipeline, &self.evaluator, batch, &event)
                .map_err(|error| bad_value(&self.pipeline, record, error))?;
            if verdict == Verdict::Late {
                batch.counts.late += 1;
                if fault.is_none() && self.keep_dead_letters {
                    batch.output.push_letter(dead_letter(record, DeadLetterReason::Late, None));
                }
            }
        }
        if let Some(fault) = fault {
            batch.counts.faults[fault.reason as usize] += 1;
            if self.keep_dead_letters {
                let column = column_name(&self.pipeline, fault);
                let reason = DeadLetterReason::Fault(fault.reason);
                batch.output.push_letter(dead_letter(record, reason, column));
            }
        }
        Ok(())
    }

    /// Closes a batch that was read up to `reached` and plans what it does. The job then stands
    /// behind it: the plan must be carried out, or the process must end. Where output of the batch
    /// was taken, the caller says in [`Plan::ahead`] what became of it. `now_ms` only tells how long
    /// it took.
    ///
    /// # Errors
    /// Stored groups that are not of this pipeline.
    pub fn close(
        &mut self,
        batch: OpenBatch,
        reached: &BTreeMap<Partition, Position>,
        now_ms: i64,
    ) -> Result<Plan, ResultsError> {
        let OpenBatch { clock_ms, mut delta, output, newest, mut counts, .. } = batch;
        let Closed { mut row_count, mut rows_digest, mut rows, letter_count, letters } =
            output.close();
        let watermarks = self.head.watermarks;
        let mut misfits = Misfits::default();
        if let (Some(windows), Some(delta)) = (&mut self.windows, &mut delta) {
            windows.merge(delta);
            counts.groups_touched = delta.groups();
        }
        let touched = delta.map(Delta::into_tables).unwrap_or_default();
        let rows_are_state = self.windows.is_some();
        if rows_are_state {
            self.results(&touched, watermarks, &mut rows, &mut misfits)?;
            (row_count, rows_digest) = (rows.len(), RowsHasher::digest_of(&rows));
        }
        counts.rows_out = row_count;
        counts.nulled = misfits.nulled;
        counts.inexact_sums = misfits.inexact_sums;
        counts.dead_letters = letter_count;
        let times = (clock_ms, now_ms);
        let record = self.record(times, reached, newest, counts, rows_digest);
        self.head.advance(&record);
        let publication = self.publication(record, rows, letters.into());
        Ok(Plan { touched, rows_are_state, ahead: WrittenAhead::default(), publication })
    }

    /// Puts the job behind the newest durable batch, after its groups were restored, and computes
    /// what that batch published again: from those groups or from those it `touched`. The windows it
    /// closed are taken out. Rows that are not state, and dead letters, stay in the checkpoint.
    ///
    /// # Errors
    /// Stored groups that are not of this pipeline.
    pub fn resume(
        &mut self,
        record: BatchRecord,
        touched: &[(Timestamp, Table)],
    ) -> Result<Publication, ResultsError> {
        let mut rows = Rows::new(self.pipeline.output_columns());
        self.results(touched, record.watermarks, &mut rows, &mut Misfits::default())?;
        self.head.advance(&record);
        Ok(self.publication(record, rows, Arc::new([])))
    }

    /// The rows of a batch, and the windows it closes taken out.
    fn results(
        &mut self,
        touched: &[(Timestamp, Table)],
        watermarks: Watermarks,
        rows: &mut Rows,
        misfits: &mut Misfits,
    ) -> Result<(), ResultsError> {
        let Some(windows) = &mut self.windows else { return Ok(()) };
        let plan = windows.plan().clone();
        if self.pipeline.output_mode == OutputMode::Complete {
            for (_, table) in windows.open() {
                plan.results(table, rows, misfits)?;
            }
            return Ok(());
        }
        let closed = windows.close(watermarks.closing_bound);
        let published = match self.pipeline.output_mode {
            OutputMode::Update => touched,
            _ => &closed,
        };
        for (_, table) in published {
            plan.results(table, rows, misfits)?;
        }
        Ok(())
    }

    fn record(
        &self,
        (clock_ms, now_ms): (i64, i64),
        reached: &BTreeMap<Partition, Position>,
        newest: NewestTime,
        counts: Counts,
        rows_digest: Digest,
    ) -> BatchRecord {
        let ranges = self.head.positions.iter().map(|(partition, begin)| {
            let end = reached.get(partition).copied().unwrap_or(*begin);
            (*partition, Range { begin: begin.offset, end })
        });
        let mut totals = self.head.last.as_ref().map_or_else(Counts::default, |last| last.totals);
        totals.add(&counts);
        let event_time = self.pipeline.event_time.as_ref();
        let delay_ms = event_time.and_then(|event_time| event_time.watermark_delay_ms);
        let mut record = BatchRecord {
            batch: self.head.next_batch(),
            incarnation: self.head.incarnation,
            clock_ms,
            took_ms: now_ms.saturating_sub(clock_ms).max(0),
            ranges: ranges.collect(),
            watermarks: self.head.watermarks,
            next_watermarks: self.head.watermarks.next(newest, delay_ms),
            output_mode: self.pipeline.output_mode,
            counts,
            totals,
            rows_digest,
            previous: self.head.digest_of_last().unwrap_or(Digest::ZERO),
            digest: Digest::ZERO,
        };
        record.digest = record.link();
        record
    }

    fn publication(
        &self,
        record: BatchRecord,
        rows: Rows,
        dead_letters: Arc<[DeadLetter]>,
    ) -> Publication {
        let identity = Identity {
            lineage: self.head.lineage,
            incarnation: self.head.incarnation,
            batch: record.batch,
            digest: record.digest,
        };
        Publication { identity, record, rows, dead_letters }
    }
}

/// Gives the event to the windows, or makes it a row.
fn take(
    pipeline: &Pipeline,
    evaluator: &Evaluator,
    batch: &mut OpenBatch,
    event: &Event<'_>,
) -> Result<Verdict, ValueError> {
    if let Some(time) = event.time {
        batch.newest.observe(time);
    }
    if let Some(delta) = &mut batch.delta {
        return Ok(delta.add(event));
    }
    let texts = Texts::default();
    let row: Result<Vec<Value<'_>>, ValueError> = pipeline
        .output
        .iter()
        .map(|column| match column.source {
            OutputSource::Column(index) => Ok(event.value(index)),
            OutputSource::EventTime => Ok(event.time.map_or(Value::Null, Value::Timestamp)),
            OutputSource::Computed(index) => {
                evaluator.evaluate(&pipeline.computed[index], event, &texts)
            }
            other => unreachable!("a checked projection outputs columns, not {other:?}"),
        })
        .collect();
    batch.output.rows().push(&row?);
    Ok(Verdict::Counted)
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
