//! Batches to try checkpoints with: made from numbers, without a pipeline.

use std::collections::BTreeMap;

use crate::{
    batch::{
        BatchRecord, Begun, Counts, DeadLetter, DeadLetterReason, Genesis, Identity, Mark,
        OutputChunk, Payload, Plan, Publication, Range, RowsHasher, WrittenAhead,
    },
    checkpoint::{Ahead, Checkpoint, CheckpointError, Recovered},
    spec::OutputMode,
    types::{
        BatchId, Column, DataType, Digest, FaultReason, Incarnation, LeaderEpoch, Lineage, Offset,
        Partition, Place, Position, Rows, SinkName, Timestamp, Value, Watermark,
    },
    window::{Accumulator, Changes, Group, Sum, Table, Watermarks},
};

pub(super) const WINDOW_US: i64 = 30_000_000;

/// A group as it was restored: end of its window, key, totals, whether the newest batch touched it.
pub(super) type Restored = (i64, Vec<u8>, Vec<Accumulator>, bool);

pub(super) fn genesis() -> Genesis {
    Genesis {
        lineage: Lineage(0x1234_5678_9abc_def0_0fed_cba9_8765_4321),
        begun: Begun::Freely,
        superseded: Vec::new(),
        began_after: None,
        pipeline: "sales".to_owned(),
        spec_text: "name = \"sales\"\n".to_owned(),
        identity: vec![("topic".to_owned(), "sales".to_owned())],
        cluster_id: Some("cluster".to_owned()),
        topic_id: None,
        topic_since: None,
        starting: [(Partition(0), position(0)), (Partition(1), position(5))].into(),
        created_ms: 1_756_809_000_000,
    }
}

pub(super) fn position(offset: i64) -> Position {
    Position { offset: Offset(offset), epoch: LeaderEpoch(3) }
}

pub(super) fn sink() -> SinkName {
    SinkName("console".to_owned())
}

/// The mark of a sink that has nothing yet.
pub(super) fn marks() -> Vec<Mark> {
    vec![Mark { sink: sink(), published: None }]
}

/// Makes one batch after the other.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub last: Option<BatchRecord>,
    pub incarnation: Incarnation,
    pub output_mode: OutputMode,
    /// What every open group adds up to, as a model.
    pub model: BTreeMap<(i64, Vec<u8>), i64>,
}

impl Trial {
    pub fn new() -> Trial {
        Trial {
            last: None,
            incarnation: Incarnation(1),
            output_mode: OutputMode::Append,
            model: BTreeMap::new(),
        }
    }

    pub fn next_batch(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.batch.0 + 1)
    }

    /// A batch that adds one to each of these (window number, store) groups and then moves the
    /// watermark to `watermark_s`.
    pub fn plan(&mut self, touched: &[(i64, &str)], watermark_s: i64) -> Plan {
        let last_watermarks = self.last.as_ref().map_or(Watermarks::FIRST, |l| l.next_watermarks);
        let late = last_watermarks.late_bound;
        self.model.retain(|(closing, _), _| {
            self.output_mode == OutputMode::Complete || !late.closes(Timestamp(*closing))
        });
        let mut tables = BTreeMap::new();
        for (window, store) in touched {
            let end = (window + 1) * WINDOW_US;
            let key = store.as_bytes().to_vec();
            let total = self.model.entry((end, key)).or_default();
            *total += 1;
            let sum = Sum { exact: i128::from(*total) * 25, inexact: None, count: *total };
            let complete = self.output_mode == OutputMode::Complete;
            let closing = if complete { Place::NEVER } else { Timestamp(end) };
            tables.entry(closing).or_insert_with(|| Table::new(2)).put(Group {
                start: Timestamp(end - WINDOW_US),
                end: Timestamp(end),
                key: store.as_bytes(),
                accumulators: &[Accumulator::Count(*total), Accumulator::Sum(sum)],
            });
        }
        let rows = Rows::new(columns());
        let next = Watermarks {
            late_bound: last_watermarks.closing_bound,
            closing_bound: last_watermarks.closing_bound.max(Watermark(watermark_s * 1000)),
        };
        let changes = tables
            .into_iter()
            .map(|(closing, table)| Changes::written(Place::groups(closing), table));
        self.close(changes.collect(), rows, true, (last_watermarks, next))
    }

    /// A batch of a stateless pipeline with rows and a dead letter for each.
    pub fn stateless(&mut self, texts: &[&str]) -> Plan {
        self.stateless_after(&[], WrittenAhead::default(), texts)
    }

    /// The same, where output `ahead` was written already.
    pub fn stateless_after(
        &mut self,
        ahead: &[&str],
        written: WrittenAhead,
        texts: &[&str],
    ) -> Plan {
        let all: Vec<_> = ahead.iter().chain(texts).copied().collect();
        let mut plan =
            self.close(Vec::new(), rows(&all), false, (Watermarks::FIRST, Watermarks::FIRST));
        plan.ahead = written;
        plan.publication.rows = rows(texts);
        plan.publication.dead_letters = texts.iter().map(|text| dead_letter(text)).collect();
        plan
    }

    fn close(
        &mut self,
        changes: Vec<Changes>,
        rows: Rows,
        rows_are_state: bool,
        (watermarks, next_watermarks): (Watermarks, Watermarks),
    ) -> Plan {
        let batch = BatchId(self.next_batch());
        let begin = i64::try_from(batch.0).unwrap() * 10;
        let range = |partition, begin| {
            (Partition(partition), Range { begin: Offset(begin), end: position(begin + 10) })
        };
        let dead_letters = if rows_are_state { 0 } else { rows.len() };
        let counts =
            Counts { rows_in: 20, rows_out: rows.len(), dead_letters, ..Counts::default() };
        let mut totals = self.last.as_ref().map_or_else(Counts::default, |last| last.totals);
        totals.add(&counts);
        let mut record = BatchRecord {
            batch,
            incarnation: self.incarnation,
            clock_ms: 1_756_809_000_000 + begin,
            took_ms: 12,
            ranges: [range(0, begin), range(1, begin + 5)].into(),
            watermarks,
            next_watermarks,
            output_mode: self.output_mode,
            counts,
            totals,
            operators: Vec::new(),
            event_times: None,
            rows_digest: RowsHasher::digest_of(&rows),
            previous: self.last.as_ref().map_or(Digest::ZERO, |last| last.digest),
            digest: Digest::ZERO,
        };
        record.digest = record.link();
        self.last = Some(record.clone());
        let identity = identity(&record);
        let publication = Publication { identity, record, rows, dead_letters: [].into() };
        let ahead = WrittenAhead::default();
        Plan { changes, log: None, rows_are_state, ahead, publication }
    }

    /// What must be restored: the model's groups that the newest batch did not find closed.
    pub fn expected(&self) -> Vec<(i64, Vec<u8>, i64)> {
        let late = self.last.as_ref().map(|last| last.watermarks.late_bound);
        let kept = self.model.iter().filter(|((closing, _), _)| {
            self.output_mode == OutputMode::Complete
                || late.is_none_or(|late| !late.closes(Timestamp(*closing)))
        });
        kept.map(|((closing, key), total)| (*closing, key.clone(), *total)).collect()
    }
}

pub(super) fn columns() -> std::sync::Arc<[Column]> {
    [Column { name: "store".to_owned(), data_type: DataType::String }].into()
}

pub(super) fn dead_letter(text: &str) -> DeadLetter {
    DeadLetter {
        partition: Partition(1),
        offset: Offset(7),
        reason: DeadLetterReason::Fault(FaultReason::WrongType),
        column: Some("price".to_owned()),
        payload: Some(Payload::Text(text.to_owned())),
    }
}

fn identity(record: &BatchRecord) -> Identity {
    let BatchRecord { batch, incarnation, digest, .. } = *record;
    Identity { lineage: genesis().lineage, incarnation, batch, digest }
}

/// A table of one column of texts.
pub(super) fn rows(texts: &[&str]) -> Rows {
    let mut rows = Rows::new(columns());
    texts.iter().for_each(|text| rows.push(&[Value::String(text)]));
    rows
}

/// Writes a row and a dead letter ahead for each text, each a chunk of its own.
pub(super) fn write_ahead(ahead: &mut dyn Ahead, texts: &[&str]) -> Result<(), CheckpointError> {
    for text in texts {
        ahead.write(&OutputChunk::Rows(rows(&[text]).chunks()[0].clone()))?;
        ahead.write(&OutputChunk::DeadLetters(vec![dead_letter(text)]))?;
    }
    Ok(())
}

/// What a checkpoint gives out of a trial's newest stateless batch again; each row must have its
/// dead letter.
pub(super) fn published_again(
    checkpoint: &mut dyn Checkpoint,
    trial: &Trial,
) -> Result<Rows, CheckpointError> {
    let record = trial.last.clone().expect("there was a batch");
    let identity = identity(&record);
    let rows = Rows::new(columns());
    let durable = checkpoint.durable_again(Publication {
        identity,
        record,
        rows,
        dead_letters: [].into(),
    })?;
    let whole = checkpoint.announce(durable)?.whole()?;
    let mut reader = whole.rows.reader();
    let mut letters = whole.dead_letters.iter();
    while let Some(row) = reader.next() {
        let [Value::String(text)] = row else { panic!("{row:?} is a text") };
        assert_eq!(letters.next(), Some(&dead_letter(text)));
    }
    assert_eq!(letters.next(), None, "there are as many letters as rows");
    Ok(whole.rows)
}

/// Persists and announces.
pub(super) fn run(checkpoint: &mut dyn Checkpoint, plan: Plan) -> Result<(), CheckpointError> {
    let durable = checkpoint.persist(plan)?;
    checkpoint.announce(durable)?;
    Ok(())
}

/// Everything a checkpoint restores.
pub(super) fn load(
    checkpoint: &mut dyn Checkpoint,
) -> Result<(Recovered, Vec<Restored>), CheckpointError> {
    let mut groups = Vec::new();
    let recovered = checkpoint.load(&mut |_, group, newest| {
        groups.push((group.end.0, group.key.to_vec(), group.accumulators.to_vec(), newest));
        Ok(())
    })?;
    Ok((recovered, groups))
}

/// The counts of restored groups, to compare with [`Trial::expected`].
pub(super) fn totals(groups: &[Restored]) -> Vec<(i64, Vec<u8>, i64)> {
    let total = |accumulators: &[Accumulator]| match accumulators {
        [Accumulator::Count(count), Accumulator::Sum(sum)] => {
            assert_eq!((sum.exact, sum.count), (i128::from(*count) * 25, *count));
            *count
        }
        other => panic!("{other:?} are not the accumulators that were written"),
    };
    groups
        .iter()
        .map(|(closing, key, accumulators, _)| (*closing, key.clone(), total(accumulators)))
        .collect()
}
