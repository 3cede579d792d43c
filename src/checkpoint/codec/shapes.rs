//! The shapes of everything but groups: keys, values, and their way from and to the core's types.

use std::sync::Arc;

use bincode::{Decode, Encode};

use super::{
    Chunk, ChunkReader, CodecError, Entry, Family, TotalsReader,
    envelope::{self, Shape},
};
use crate::{
    batch::{
        BatchRecord, Begun, Chunks, Counts, DeadLetter, DeadLetterReason, Genesis, Mark, Payload,
        Range, Superseded,
    },
    spec::OutputMode,
    types::{
        BatchId, Column, DataType, Digest, EventTimes, FaultReason, Incarnation, Keeper,
        LeaderEpoch, Lineage, Offset, OperatorCounts, Partition, Place, Position, SinkName,
        Timestamp, Watermark,
    },
    window::Watermarks,
};

pub(in crate::checkpoint) use super::chunk::{ChunkKey, behind_chunks_of, is_row_form};
pub(in crate::checkpoint) use super::envelope::stored_checksum;

pub(in crate::checkpoint) const GENESIS_KEY: &[u8] = b"genesis";
pub(in crate::checkpoint) const HEAD_KEY: &[u8] = b"head";
pub(in crate::checkpoint) const INCARNATION_KEY: &[u8] = b"incarnation";
pub(in crate::checkpoint) const ROLLBACK_ACCEPTED_KEY: &[u8] = b"rollback_accepted";
const MARK_PREFIX: &[u8] = b"mark/";

const DESCRIPTOR_FORM: u8 = 1;
const RESULT_ROWS_FORM: u8 = 2;
const DEAD_LETTERS_FORM: u8 = 3;

fn entry(family: Family, key: Vec<u8>, shape: Shape, stored: &impl Encode) -> Entry {
    let mut payload = Vec::new();
    envelope::write(stored, &mut payload);
    let value = envelope::seal(family, &key, shape, &payload);
    Entry { family, key, value }
}

/// Behind a genesis, where a permission began it: one byte. None is the form of before.
const BEGUN_FREELY: u8 = 0;
const BEGUN_BY_START_OVER: u8 = 1;
const BEGUN_BY_ACCEPTED_ROLLBACK: u8 = 2;

#[derive(Encode, Decode)]
struct StoredGenesis {
    lineage: u128,
    superseded: Vec<StoredSuperseded>,
    began_after: Option<u64>,
    pipeline: String,
    spec_text: String,
    identity: Vec<(String, String)>,
    cluster_id: Option<String>,
    topic_id: Option<String>,
    starting: Vec<StoredStart>,
    created_ms: i64,
}

#[derive(Encode, Decode)]
struct StoredSuperseded {
    lineage: u128,
    seen: Option<u64>,
}

#[derive(Encode, Decode)]
struct StoredStart {
    partition: i32,
    offset: i64,
    epoch: i32,
}

/// Who the checkpoint belongs to.
pub(in crate::checkpoint) fn encode_genesis(genesis: &Genesis) -> Entry {
    let stored = StoredGenesis {
        lineage: genesis.lineage.0,
        superseded: genesis
            .superseded
            .iter()
            .map(|Superseded { lineage, seen }| StoredSuperseded {
                lineage: lineage.0,
                seen: seen.map(|batch| batch.0),
            })
            .collect(),
        began_after: genesis.began_after.map(|batch| batch.0),
        pipeline: genesis.pipeline.clone(),
        spec_text: genesis.spec_text.clone(),
        identity: genesis.identity.clone(),
        cluster_id: genesis.cluster_id.clone(),
        topic_id: genesis.topic_id.clone(),
        starting: genesis
            .starting
            .iter()
            .map(|(partition, position)| StoredStart {
                partition: partition.0,
                offset: position.offset.0,
                epoch: position.epoch.0,
            })
            .collect(),
        created_ms: genesis.created_ms,
    };
    let mut payload = Vec::new();
    envelope::write(&stored, &mut payload);
    match (genesis.begun, genesis.topic_since) {
        (Begun::Freely, None) => {}
        (Begun::Freely, Some(_)) => payload.push(BEGUN_FREELY),
        (Begun::StartOver, _) => payload.push(BEGUN_BY_START_OVER),
        (Begun::AcceptedRollback, _) => payload.push(BEGUN_BY_ACCEPTED_ROLLBACK),
    }
    if let Some(since) = genesis.topic_since {
        payload.extend(since.0.to_le_bytes());
    }
    let key = GENESIS_KEY.to_vec();
    let value = envelope::seal(Family::Meta, &key, Shape::Genesis, &payload);
    Entry { family: Family::Meta, key, value }
}

pub(in crate::checkpoint) fn decode_genesis(value: &[u8]) -> Result<Genesis, CodecError> {
    let mut payload = envelope::open(Family::Meta, GENESIS_KEY, Shape::Genesis, value)?;
    let stored: StoredGenesis = envelope::read(&mut payload)?;
    let (begun, since) = payload.split_first().unwrap_or((&BEGUN_FREELY, &[]));
    let begun = match *begun {
        BEGUN_FREELY => Begun::Freely,
        BEGUN_BY_START_OVER => Begun::StartOver,
        BEGUN_BY_ACCEPTED_ROLLBACK => Begun::AcceptedRollback,
        _ => return Err(envelope::trailing()),
    };
    let topic_since = match since {
        [] => None,
        since => {
            let since = since.try_into().map_err(|_| envelope::trailing())?;
            Some(BatchId(u64::from_le_bytes(since)))
        }
    };
    Ok(Genesis {
        lineage: Lineage(stored.lineage),
        begun,
        superseded: stored
            .superseded
            .into_iter()
            .map(|superseded| Superseded {
                lineage: Lineage(superseded.lineage),
                seen: superseded.seen.map(BatchId),
            })
            .collect(),
        began_after: stored.began_after.map(BatchId),
        pipeline: stored.pipeline,
        spec_text: stored.spec_text,
        identity: stored.identity,
        cluster_id: stored.cluster_id,
        topic_id: stored.topic_id,
        topic_since,
        starting: stored
            .starting
            .into_iter()
            .map(|start| {
                let position =
                    Position { offset: Offset(start.offset), epoch: LeaderEpoch(start.epoch) };
                (Partition(start.partition), position)
            })
            .collect(),
        created_ms: stored.created_ms,
    })
}

/// Where the whole checkpoint stands: what the other families must agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct StateHead {
    /// The newest batch.
    pub batch: BatchId,
    /// Its link.
    pub digest: Digest,
    /// How many chunks `windows` holds.
    pub chunks: u64,
    /// Sum of the checksums those chunks carry: none is missing, none is an older version.
    pub seal: u64,
}

#[derive(Encode, Decode)]
struct StoredHead {
    batch: u64,
    digest: [u8; 32],
    chunks: u64,
    seal: u64,
}

pub(in crate::checkpoint) fn encode_head(head: &StateHead) -> Entry {
    let StateHead { batch, digest, chunks, seal } = *head;
    let stored = StoredHead { batch: batch.0, digest: digest.0, chunks, seal };
    entry(Family::Meta, HEAD_KEY.to_vec(), Shape::Head, &stored)
}

pub(in crate::checkpoint) fn decode_head(value: &[u8]) -> Result<StateHead, CodecError> {
    let payload = envelope::open(Family::Meta, HEAD_KEY, Shape::Head, value)?;
    let StoredHead { batch, digest, chunks, seal } = envelope::read_whole(payload)?;
    Ok(StateHead { batch: BatchId(batch), digest: Digest(digest), chunks, seal })
}

pub(in crate::checkpoint) fn encode_incarnation(incarnation: Incarnation) -> Entry {
    entry(Family::Meta, INCARNATION_KEY.to_vec(), Shape::Incarnation, &incarnation.0)
}

pub(in crate::checkpoint) fn decode_incarnation(value: &[u8]) -> Result<Incarnation, CodecError> {
    let payload = envelope::open(Family::Meta, INCARNATION_KEY, Shape::Incarnation, value)?;
    envelope::read_whole(payload).map(Incarnation)
}

/// A permission that the next start uses up.
pub(in crate::checkpoint) fn encode_rollback_accepted() -> Entry {
    entry(Family::Meta, ROLLBACK_ACCEPTED_KEY.to_vec(), Shape::RollbackAccepted, &())
}

pub(in crate::checkpoint) fn decode_rollback_accepted(value: &[u8]) -> Result<(), CodecError> {
    let shape = Shape::RollbackAccepted;
    envelope::read_whole(envelope::open(Family::Meta, ROLLBACK_ACCEPTED_KEY, shape, value)?)
}

pub(in crate::checkpoint) fn mark_key(sink: &SinkName) -> Vec<u8> {
    [MARK_PREFIX, sink.0.as_bytes()].concat()
}

/// The sink a key of `meta` is the mark of; `None` for other keys.
pub(in crate::checkpoint) fn sink_of_mark_key(key: &[u8]) -> Result<Option<SinkName>, CodecError> {
    let Some(name) = key.strip_prefix(MARK_PREFIX) else { return Ok(None) };
    let name = std::str::from_utf8(name).map_err(|_| CodecError::Key)?;
    Ok(Some(SinkName(name.to_owned())))
}

pub(in crate::checkpoint) fn encode_mark(mark: &Mark) -> Entry {
    let published = mark.published.map(|batch| batch.0);
    entry(Family::Meta, mark_key(&mark.sink), Shape::Mark, &published)
}

pub(in crate::checkpoint) fn decode_mark(sink: SinkName, value: &[u8]) -> Result<Mark, CodecError> {
    let key = mark_key(&sink);
    let published: Option<u64> =
        envelope::read_whole(envelope::open(Family::Meta, &key, Shape::Mark, value)?)?;
    Ok(Mark { sink, published: published.map(BatchId) })
}

#[derive(Encode, Decode)]
struct StoredPosition {
    batch: u64,
    offset: i64,
    epoch: i32,
}

pub(in crate::checkpoint) fn position_key(partition: Partition) -> Vec<u8> {
    (partition.0 ^ i32::MIN).to_be_bytes().to_vec()
}

pub(in crate::checkpoint) fn encode_position(
    partition: Partition,
    batch: BatchId,
    position: Position,
) -> Entry {
    let Position { offset, epoch } = position;
    let stored = StoredPosition { batch: batch.0, offset: offset.0, epoch: epoch.0 };
    entry(Family::Offsets, position_key(partition), Shape::Position, &stored)
}

pub(in crate::checkpoint) fn decode_position(
    key: &[u8],
    value: &[u8],
) -> Result<(Partition, BatchId, Position), CodecError> {
    let bytes = key.try_into().map_err(|_| CodecError::Key)?;
    let partition = Partition(i32::from_be_bytes(bytes) ^ i32::MIN);
    let payload = envelope::open(Family::Offsets, key, Shape::Position, value)?;
    let StoredPosition { batch, offset, epoch } = envelope::read_whole(payload)?;
    let position = Position { offset: Offset(offset), epoch: LeaderEpoch(epoch) };
    Ok((partition, BatchId(batch), position))
}

/// What the newest batch publishes, and how many chunks hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Descriptor {
    pub batch: BatchId,
    /// Which rows it publishes.
    pub output_mode: OutputMode,
    /// Windows whose end is in (late bound, closing bound] are what append mode publishes.
    pub watermarks: Watermarks,
    /// Places it touched, with the chunks it wrote for each: what update mode publishes.
    pub touched: Vec<(Place, u32)>,
    /// Chunks of result rows; `None` where the rows are state.
    pub rows: Option<Chunks>,
    /// Chunks of dead letters.
    pub dead_letters: Chunks,
    /// Columns of stored rows; `None` where rows are state, and in what was written before columns were.
    pub columns: Option<Arc<[Column]>>,
}

/// Behind it, where rows are stored, come their columns.
#[derive(Encode, Decode)]
struct StoredDescriptor {
    output_mode: u8,
    late_bound_ms: i64,
    closing_bound_ms: i64,
    groups: Vec<(i64, u32)>,
    keys: Vec<(i64, u32)>,
    rows: Option<StoredChunks>,
    dead_letters: StoredChunks,
}

#[derive(Encode, Decode)]
struct StoredChunks {
    count: u32,
    seal: u64,
}

impl From<Chunks> for StoredChunks {
    fn from(Chunks { count, seal }: Chunks) -> StoredChunks {
        StoredChunks { count, seal }
    }
}

impl From<StoredChunks> for Chunks {
    fn from(StoredChunks { count, seal }: StoredChunks) -> Chunks {
        Chunks { count, seal }
    }
}

fn outbox_key(form: u8, batch: BatchId) -> Vec<u8> {
    let mut key = vec![form];
    key.extend_from_slice(&batch.0.to_be_bytes());
    key
}

fn outbox_chunk_key(form: u8, batch: BatchId, chunk: u32) -> Vec<u8> {
    let mut key = outbox_key(form, batch);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// What a key of `outbox` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum OutboxKey {
    Descriptor(BatchId),
    ResultRows(BatchId, u32),
    DeadLetters(BatchId, u32),
}

impl OutboxKey {
    pub fn encode(self) -> Vec<u8> {
        match self {
            OutboxKey::Descriptor(batch) => outbox_key(DESCRIPTOR_FORM, batch),
            OutboxKey::ResultRows(batch, chunk) => outbox_chunk_key(RESULT_ROWS_FORM, batch, chunk),
            OutboxKey::DeadLetters(batch, chunk) => {
                outbox_chunk_key(DEAD_LETTERS_FORM, batch, chunk)
            }
        }
    }

    pub fn decode(key: &[u8]) -> Result<OutboxKey, CodecError> {
        let (&form, rest) = key.split_first().ok_or(CodecError::Key)?;
        let (batch, rest) = rest.split_first_chunk::<8>().ok_or(CodecError::Key)?;
        let batch = BatchId(u64::from_be_bytes(*batch));
        let chunk = || rest.try_into().map(u32::from_be_bytes).map_err(|_| CodecError::Key);
        match form {
            DESCRIPTOR_FORM if rest.is_empty() => Ok(OutboxKey::Descriptor(batch)),
            RESULT_ROWS_FORM => Ok(OutboxKey::ResultRows(batch, chunk()?)),
            DEAD_LETTERS_FORM => Ok(OutboxKey::DeadLetters(batch, chunk()?)),
            _ => Err(CodecError::Key),
        }
    }
}

pub(in crate::checkpoint) fn encode_descriptor(descriptor: &Descriptor) -> Entry {
    let stored = StoredDescriptor {
        output_mode: output_mode_number(descriptor.output_mode),
        late_bound_ms: descriptor.watermarks.late_bound.0,
        closing_bound_ms: descriptor.watermarks.closing_bound.0,
        groups: stored_places(&descriptor.touched, Keeper::Groups),
        keys: stored_places(&descriptor.touched, Keeper::Keys),
        rows: descriptor.rows.map(StoredChunks::from),
        dead_letters: descriptor.dead_letters.into(),
    };
    let mut payload = Vec::new();
    envelope::write(&stored, &mut payload);
    if let Some(columns) = &descriptor.columns {
        let columns: Vec<_> = columns.iter().map(StoredColumn::from).collect();
        envelope::write(&columns, &mut payload);
    }
    let key = OutboxKey::Descriptor(descriptor.batch).encode();
    let value = envelope::seal(Family::Outbox, &key, Shape::Descriptor, &payload);
    Entry { family: Family::Outbox, key, value }
}

pub(in crate::checkpoint) fn decode_descriptor(
    batch: BatchId,
    value: &[u8],
) -> Result<Descriptor, CodecError> {
    let key = OutboxKey::Descriptor(batch).encode();
    let mut bytes = envelope::open(Family::Outbox, &key, Shape::Descriptor, value)?;
    let stored: StoredDescriptor = envelope::read(&mut bytes)?;
    let columns = if bytes.is_empty() {
        None
    } else {
        let columns: Vec<StoredColumn> = envelope::read_whole(bytes)?;
        Some(columns.into_iter().map(StoredColumn::column).collect::<Result<_, _>>()?)
    };
    Ok(Descriptor {
        batch,
        output_mode: output_mode(stored.output_mode)?,
        watermarks: Watermarks {
            late_bound: Watermark(stored.late_bound_ms),
            closing_bound: Watermark(stored.closing_bound_ms),
        },
        touched: places(&stored.groups, Keeper::Groups)
            .chain(places(&stored.keys, Keeper::Keys))
            .collect(),
        rows: stored.rows.map(Chunks::from),
        dead_letters: stored.dead_letters.into(),
        columns,
    })
}

#[derive(Encode, Decode)]
struct StoredColumn {
    name: String,
    data_type: u8,
    /// 0 where it is no decimal.
    precision: u8,
    scale: u8,
}

impl From<&Column> for StoredColumn {
    fn from(column: &Column) -> StoredColumn {
        let (data_type, precision, scale) = match column.data_type {
            DataType::String => (0, 0, 0),
            DataType::Double => (1, 0, 0),
            DataType::Long => (2, 0, 0),
            DataType::Int => (3, 0, 0),
            DataType::Boolean => (4, 0, 0),
            DataType::Timestamp => (5, 0, 0),
            DataType::Decimal { precision, scale } => (6, precision, scale),
        };
        StoredColumn { name: column.name.clone(), data_type, precision, scale }
    }
}

impl StoredColumn {
    fn column(self) -> Result<Column, CodecError> {
        let data_type = match self.data_type {
            0 => DataType::String,
            1 => DataType::Double,
            2 => DataType::Long,
            3 => DataType::Int,
            4 => DataType::Boolean,
            5 => DataType::Timestamp,
            6 => DataType::Decimal { precision: self.precision, scale: self.scale },
            other => return Err(CodecError::Content(format!("there is no column type {other}"))),
        };
        Ok(Column { name: self.name, data_type })
    }
}

fn stored_places(touched: &[(Place, u32)], keeper: Keeper) -> Vec<(i64, u32)> {
    let of_keeper = touched.iter().filter(|(place, _)| place.keeper == keeper);
    of_keeper.map(|(place, chunks)| (place.closing.0, *chunks)).collect()
}

fn places(stored: &[(i64, u32)], keeper: Keeper) -> impl Iterator<Item = (Place, u32)> {
    stored
        .iter()
        .map(move |(closing, chunks)| (Place { keeper, closing: Timestamp(*closing) }, *chunks))
}

/// Result rows as [`crate::types::Rows`] keeps them: already encoded.
pub(in crate::checkpoint) fn encode_result_rows(batch: BatchId, chunk: u32, rows: &[u8]) -> Entry {
    let key = OutboxKey::ResultRows(batch, chunk).encode();
    let value = envelope::seal(Family::Outbox, &key, Shape::ResultRows, rows);
    Entry { family: Family::Outbox, key, value }
}

pub(in crate::checkpoint) fn decode_result_rows<'a>(
    key: &[u8],
    value: &'a [u8],
) -> Result<&'a [u8], CodecError> {
    envelope::open(Family::Outbox, key, Shape::ResultRows, value)
}

#[derive(Encode, Decode)]
struct StoredDeadLetter {
    partition: i32,
    offset: i64,
    /// 0 for late, otherwise one more than the fault's number.
    reason: u8,
    column: Option<String>,
    payload: StoredPayload,
}

#[derive(Encode, Decode)]
enum StoredPayload {
    Nothing,
    Text(String),
    Omitted(u64),
}

pub(in crate::checkpoint) fn encode_dead_letters(
    batch: BatchId,
    chunk: u32,
    letters: &[DeadLetter],
) -> Entry {
    let mut payload = Vec::new();
    for letter in letters {
        let stored = StoredDeadLetter {
            partition: letter.partition.0,
            offset: letter.offset.0,
            reason: match letter.reason {
                DeadLetterReason::Late => 0,
                DeadLetterReason::Fault(reason) => 1 + reason as u8,
            },
            column: letter.column.clone(),
            payload: match &letter.payload {
                None => StoredPayload::Nothing,
                Some(Payload::Text(text)) => StoredPayload::Text(text.clone()),
                Some(Payload::Omitted(bytes)) => StoredPayload::Omitted(*bytes),
            },
        };
        envelope::write(&stored, &mut payload);
    }
    let key = OutboxKey::DeadLetters(batch, chunk).encode();
    let value = envelope::seal(Family::Outbox, &key, Shape::DeadLetters, &payload);
    Entry { family: Family::Outbox, key, value }
}

pub(in crate::checkpoint) fn decode_dead_letters(
    key: &[u8],
    value: &[u8],
    out: &mut Vec<DeadLetter>,
) -> Result<(), CodecError> {
    let mut payload = envelope::open(Family::Outbox, key, Shape::DeadLetters, value)?;
    while !payload.is_empty() {
        let stored: StoredDeadLetter = envelope::read(&mut payload)?;
        let reason = match stored.reason.checked_sub(1) {
            None => DeadLetterReason::Late,
            Some(number) => FaultReason::ALL
                .get(usize::from(number))
                .map(|reason| DeadLetterReason::Fault(*reason))
                .ok_or_else(|| unknown("a reason"))?,
        };
        out.push(DeadLetter {
            partition: Partition(stored.partition),
            offset: Offset(stored.offset),
            reason,
            column: stored.column,
            payload: match stored.payload {
                StoredPayload::Nothing => None,
                StoredPayload::Text(text) => Some(Payload::Text(text)),
                StoredPayload::Omitted(bytes) => Some(Payload::Omitted(bytes)),
            },
        });
    }
    Ok(())
}

#[derive(Encode, Decode)]
struct StoredRecord {
    incarnation: u64,
    clock_ms: i64,
    took_ms: i64,
    ranges: Vec<StoredRange>,
    /// Late bound and closing bound of the batch, then of the next one, in milliseconds.
    watermarks_ms: [i64; 4],
    output_mode: u8,
    counts: StoredCounts,
    totals: StoredCounts,
    /// Of each operator: rows in all, updated, removed, dropped.
    operators: Vec<[u64; 4]>,
    /// Least, average and greatest event time in milliseconds.
    event_times_ms: Option<[i64; 3]>,
    rows_digest: [u8; 32],
    previous: [u8; 32],
    digest: [u8; 32],
}

#[derive(Encode, Decode)]
struct StoredRange {
    partition: i32,
    begin: i64,
    end: i64,
    end_epoch: i32,
}

#[derive(Encode, Decode)]
struct StoredCounts {
    rows_in: u64,
    filtered: u64,
    late: u64,
    duplicates: u64,
    /// By the fault's number; an older version may have known fewer.
    faults: Vec<u64>,
    groups_touched: u64,
    rows_out: u64,
    nulled: u64,
    inexact_sums: u64,
    dead_letters: u64,
    lost: u64,
}

pub(in crate::checkpoint) fn record_key(batch: BatchId) -> Vec<u8> {
    batch.0.to_be_bytes().to_vec()
}

pub(in crate::checkpoint) fn encode_record(record: &BatchRecord) -> Entry {
    let ranges = record.ranges.iter().map(|(partition, range)| StoredRange {
        partition: partition.0,
        begin: range.begin.0,
        end: range.end.offset.0,
        end_epoch: range.end.epoch.0,
    });
    let stored = StoredRecord {
        incarnation: record.incarnation.0,
        clock_ms: record.clock_ms,
        took_ms: record.took_ms,
        ranges: ranges.collect(),
        watermarks_ms: [
            record.watermarks.late_bound.0,
            record.watermarks.closing_bound.0,
            record.next_watermarks.late_bound.0,
            record.next_watermarks.closing_bound.0,
        ],
        output_mode: output_mode_number(record.output_mode),
        counts: stored_counts(&record.counts),
        totals: stored_counts(&record.totals),
        operators: record.operators.iter().map(stored_operator).collect(),
        event_times_ms: record
            .event_times
            .map(|EventTimes { min_ms, average_ms, max_ms }| [min_ms, average_ms, max_ms]),
        rows_digest: record.rows_digest.0,
        previous: record.previous.0,
        digest: record.digest.0,
    };
    entry(Family::History, record_key(record.batch), Shape::Record, &stored)
}

pub(in crate::checkpoint) fn decode_record(
    key: &[u8],
    value: &[u8],
) -> Result<BatchRecord, CodecError> {
    let batch = BatchId(u64::from_be_bytes(key.try_into().map_err(|_| CodecError::Key)?));
    let stored: StoredRecord =
        envelope::read_whole(envelope::open(Family::History, key, Shape::Record, value)?)?;
    let [late, closing, next_late, next_closing] = stored.watermarks_ms.map(Watermark);
    let ranges = stored.ranges.into_iter().map(|range| {
        let end = Position { offset: Offset(range.end), epoch: LeaderEpoch(range.end_epoch) };
        (Partition(range.partition), Range { begin: Offset(range.begin), end })
    });
    Ok(BatchRecord {
        batch,
        incarnation: Incarnation(stored.incarnation),
        clock_ms: stored.clock_ms,
        took_ms: stored.took_ms,
        ranges: ranges.collect(),
        watermarks: Watermarks { late_bound: late, closing_bound: closing },
        next_watermarks: Watermarks { late_bound: next_late, closing_bound: next_closing },
        output_mode: output_mode(stored.output_mode)?,
        counts: counts(stored.counts)?,
        totals: counts(stored.totals)?,
        operators: stored.operators.into_iter().map(operator).collect(),
        event_times: stored.event_times_ms.map(|[min_ms, average_ms, max_ms]| EventTimes {
            min_ms,
            average_ms,
            max_ms,
        }),
        rows_digest: Digest(stored.rows_digest),
        previous: Digest(stored.previous),
        digest: Digest(stored.digest),
    })
}

fn stored_counts(counts: &Counts) -> StoredCounts {
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
    } = *counts;
    let faults = faults.to_vec();
    StoredCounts {
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
    }
}

fn counts(stored: StoredCounts) -> Result<Counts, CodecError> {
    let mut faults = [0; FaultReason::ALL.len()];
    let known = faults.get_mut(..stored.faults.len()).ok_or_else(|| unknown("a fault"))?;
    known.copy_from_slice(&stored.faults);
    let StoredCounts {
        rows_in,
        filtered,
        late,
        duplicates,
        faults: _,
        groups_touched,
        rows_out,
        nulled,
        inexact_sums,
        dead_letters,
        lost,
    } = stored;
    Ok(Counts {
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
    })
}

fn stored_operator(counts: &OperatorCounts) -> [u64; 4] {
    let OperatorCounts { total, updated, removed, dropped } = *counts;
    [total, updated, removed, dropped]
}

fn operator([total, updated, removed, dropped]: [u64; 4]) -> OperatorCounts {
    OperatorCounts { total, updated, removed, dropped }
}

fn output_mode_number(mode: OutputMode) -> u8 {
    match mode {
        OutputMode::Append => 0,
        OutputMode::Update => 1,
        OutputMode::Complete => 2,
    }
}

fn output_mode(number: u8) -> Result<OutputMode, CodecError> {
    match number {
        0 => Ok(OutputMode::Append),
        1 => Ok(OutputMode::Update),
        2 => Ok(OutputMode::Complete),
        _ => Err(unknown("an output mode")),
    }
}

fn unknown(what: &str) -> CodecError {
    CodecError::Content(format!("it names {what} that is not known"))
}

/// Decodes any value under its key, for a check of every single one; gives back a record of history.
pub(in crate::checkpoint) fn check_value(
    family: Family,
    key: &[u8],
    value: &[u8],
) -> Result<Option<BatchRecord>, CodecError> {
    match family {
        Family::Meta => check_meta(key, value)?,
        Family::Offsets => drop(decode_position(key, value)?),
        Family::Windows => {
            let chunk = Chunk::open(key, value)?;
            let (mut rows, mut totals) =
                (ChunkReader::new(chunk.key.place), TotalsReader::default());
            rows.begin(chunk);
            while rows.advance(value)? {
                totals.read(rows.row(value).totals.unwrap_or_default())?;
            }
        }
        Family::Outbox => match OutboxKey::decode(key)? {
            OutboxKey::Descriptor(batch) => drop(decode_descriptor(batch, value)?),
            OutboxKey::ResultRows(..) => drop(decode_result_rows(key, value)?),
            OutboxKey::DeadLetters(..) => decode_dead_letters(key, value, &mut Vec::new())?,
        },
        Family::Order => super::decode_log(key, value, &mut None)?,
        Family::History => return decode_record(key, value).map(Some),
    }
    Ok(None)
}

fn check_meta(key: &[u8], value: &[u8]) -> Result<(), CodecError> {
    match key {
        GENESIS_KEY => drop(decode_genesis(value)?),
        HEAD_KEY => drop(decode_head(value)?),
        INCARNATION_KEY => drop(decode_incarnation(value)?),
        ROLLBACK_ACCEPTED_KEY => decode_rollback_accepted(value)?,
        _ => drop(decode_mark(sink_of_mark_key(key)?.ok_or(CodecError::Key)?, value)?),
    }
    Ok(())
}
