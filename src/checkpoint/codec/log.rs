//! The log of changes of a state kept in Spark's way, in chunks of about one MiB.
//!
//! What a batch wrote is numbered from 0, the last chunk marked; each chunk repeats what reading the
//! log depends on.

use bincode::{BorrowDecode, Encode};

use super::{
    CodecError, Entry, Family,
    envelope::{self, Shape},
};
use crate::{
    spark::{Change, Field, LogWrite, Operator, StateLog},
    spec::StateStore,
    types::{BatchId, Decimal, Timestamp},
};

/// A chunk is closed once it holds this many bytes.
const CHUNK_BYTES: usize = 1 << 20;
const LOG_FORM: u8 = 1;

#[derive(Encode, BorrowDecode)]
struct StoredLogHead<'a> {
    last: bool,
    /// Whether everything before it is needed no more.
    is_snapshot: bool,
    partitions: u32,
    /// 0 for the hash maps of HDFS, 1 for RocksDB.
    state_store: u8,
    schema: &'a str,
    changes: u32,
}

#[derive(Encode, BorrowDecode)]
struct StoredChange<'a> {
    operator: u8,
    partition: u32,
    key: &'a [u8],
    /// `None` removes the key.
    value: Option<Vec<StoredField<'a>>>,
}

#[derive(Encode, BorrowDecode)]
enum StoredField<'a> {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    String(&'a str),
    Timestamp(i64),
    Decimal { unscaled: i128, scale: u8 },
}

/// Where a chunk of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::checkpoint) struct LogKey {
    pub batch: BatchId,
    pub chunk: u32,
}

impl LogKey {
    pub fn encode(self) -> Vec<u8> {
        let mut key = vec![LOG_FORM];
        key.extend_from_slice(&self.batch.0.to_be_bytes());
        key.extend_from_slice(&self.chunk.to_be_bytes());
        key
    }

    pub fn decode(key: &[u8]) -> Result<LogKey, CodecError> {
        let (form, key) = key.split_first().ok_or(CodecError::Key)?;
        let (batch, key) = key.split_first_chunk().ok_or(CodecError::Key)?;
        let chunk = key.try_into().map_err(|_| CodecError::Key)?;
        if *form != LOG_FORM {
            return Err(CodecError::Key);
        }
        Ok(LogKey { batch: BatchId(u64::from_be_bytes(*batch)), chunk: u32::from_be_bytes(chunk) })
    }
}

/// What is said of a chunk besides its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct LogChunk {
    pub key: LogKey,
    pub last: bool,
    pub is_snapshot: bool,
}

/// The chunks of what a batch adds: always at least one, so that a missing one shows.
pub(in crate::checkpoint) fn encode_log(batch: BatchId, write: &LogWrite) -> Vec<Entry> {
    let mut chunks: Vec<(u32, Vec<u8>)> = vec![(0, Vec::new())];
    for change in &write.log.changes {
        if chunks.last().is_some_and(|(_, bytes)| bytes.len() >= CHUNK_BYTES) {
            chunks.push((0, Vec::new()));
        }
        let (count, bytes) = chunks.last_mut().expect("there is a chunk");
        envelope::write(&stored_change(change), bytes);
        *count += 1;
    }
    let end = chunks.len() - 1;
    let numbered = chunks.into_iter().enumerate();
    let entries = numbered.map(|(index, (changes, mut bytes))| {
        let head = StoredLogHead {
            last: index == end,
            is_snapshot: write.is_snapshot,
            partitions: write.log.partitions,
            state_store: state_store_number(write.log.state_store),
            schema: &write.log.schema,
            changes,
        };
        let chunk = u32::try_from(index).expect("a batch has fewer than 2^32 chunks");
        let key = LogKey { batch, chunk }.encode();
        let mut payload = Vec::with_capacity(bytes.len() + 64);
        envelope::write(&head, &mut payload);
        payload.append(&mut bytes);
        let value = envelope::seal(Family::Order, &key, Shape::StateLog, &payload);
        Entry { family: Family::Order, key, value }
    });
    entries.collect()
}

/// Reads what is said of a chunk, without its changes.
pub(in crate::checkpoint) fn open_log(key: &[u8], value: &[u8]) -> Result<LogChunk, CodecError> {
    let at = LogKey::decode(key)?;
    let mut bytes = envelope::open(Family::Order, key, Shape::StateLog, value)?;
    let head: StoredLogHead<'_> = envelope::read(&mut bytes)?;
    Ok(LogChunk { key: at, last: head.last, is_snapshot: head.is_snapshot })
}

/// Adds a chunk's changes to the log as far as it was read.
pub(in crate::checkpoint) fn decode_log(
    key: &[u8],
    value: &[u8],
    log: &mut Option<StateLog>,
) -> Result<(), CodecError> {
    let mut bytes = envelope::open(Family::Order, key, Shape::StateLog, value)?;
    let head: StoredLogHead<'_> = envelope::read(&mut bytes)?;
    let log = log.get_or_insert_with(|| StateLog {
        partitions: 0,
        state_store: StateStore::Hdfs,
        schema: String::new(),
        changes: Vec::new(),
    });
    log.partitions = head.partitions;
    log.state_store = match head.state_store {
        0 => StateStore::Hdfs,
        1 => StateStore::RocksDb,
        other => return Err(CodecError::Content(format!("there is no state store {other}"))),
    };
    head.schema.clone_into(&mut log.schema);
    for _ in 0..head.changes {
        let stored: StoredChange<'_> = envelope::read(&mut bytes)?;
        log.changes.push(change(stored)?);
    }
    if bytes.is_empty() { Ok(()) } else { Err(envelope::trailing()) }
}

fn state_store_number(state_store: StateStore) -> u8 {
    match state_store {
        StateStore::Hdfs => 0,
        StateStore::RocksDb => 1,
    }
}

fn stored_change(change: &Change) -> StoredChange<'_> {
    StoredChange {
        operator: match change.operator {
            Operator::Aggregation => 0,
            Operator::Deduplication => 1,
        },
        partition: change.partition,
        key: &change.key,
        value: change.value.as_ref().map(|fields| fields.iter().map(stored_field).collect()),
    }
}

fn change(stored: StoredChange<'_>) -> Result<Change, CodecError> {
    let operator = match stored.operator {
        0 => Operator::Aggregation,
        1 => Operator::Deduplication,
        other => return Err(CodecError::Content(format!("there is no operator {other}"))),
    };
    Ok(Change {
        operator,
        partition: stored.partition,
        key: stored.key.into(),
        value: stored.value.map(|fields| fields.into_iter().map(field).collect()),
    })
}

fn stored_field(field: &Field) -> StoredField<'_> {
    match field {
        Field::Null => StoredField::Null,
        Field::Boolean(value) => StoredField::Boolean(*value),
        Field::Int(value) => StoredField::Int(*value),
        Field::Long(value) => StoredField::Long(*value),
        Field::Double(value) => StoredField::Double(*value),
        Field::String(value) => StoredField::String(value),
        Field::Timestamp(value) => StoredField::Timestamp(value.0),
        Field::Decimal(value) => {
            let Decimal { unscaled, scale } = *value;
            StoredField::Decimal { unscaled, scale }
        }
    }
}

fn field(stored: StoredField<'_>) -> Field {
    match stored {
        StoredField::Null => Field::Null,
        StoredField::Boolean(value) => Field::Boolean(value),
        StoredField::Int(value) => Field::Int(value),
        StoredField::Long(value) => Field::Long(value),
        StoredField::Double(value) => Field::Double(value),
        StoredField::String(value) => Field::String(value.into()),
        StoredField::Timestamp(value) => Field::Timestamp(Timestamp(value)),
        StoredField::Decimal { unscaled, scale } => Field::Decimal(Decimal { unscaled, scale }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LogWrite {
        let value = [Field::Null, Field::Double(-0.5), Field::String("ä".into())];
        let put = Change {
            operator: Operator::Aggregation,
            partition: 3,
            key: [1, 2, 3].into(),
            value: Some(value.into()),
        };
        let removed = Change {
            operator: Operator::Deduplication,
            partition: 0,
            key: [4].into(),
            value: None,
        };
        let log = StateLog {
            partitions: 200,
            state_store: StateStore::RocksDb,
            schema: "windows of (string)".to_owned(),
            changes: vec![put, removed],
        };
        LogWrite { log, is_snapshot: true }
    }

    #[test]
    fn a_log_reads_back_what_was_written() {
        let write = sample();
        let entries = encode_log(BatchId(7), &write);
        assert_eq!(entries.len(), 1);
        let (key, value) = (&entries[0].key, &entries[0].value);
        let chunk = open_log(key, value).unwrap();
        assert_eq!(chunk.key, LogKey { batch: BatchId(7), chunk: 0 });
        assert!(chunk.last && chunk.is_snapshot);
        let mut log = None;
        decode_log(key, value, &mut log).unwrap();
        assert_eq!(log, Some(write.log));
    }

    #[test]
    fn its_bytes_are_pinned() {
        let entries = encode_log(BatchId(7), &sample());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&entries[0].key), "01000000000000000700000000");
        assert_eq!(
            hex(&entries[0].value),
            "010d0101c8011377696e646f7773206f662028737472696e67290200030301020301030004000000000000\
             e0bf0502c3a40100010400"
                .to_owned() + &hex(&entries[0].value[entries[0].value.len() - 4..])
        );
    }

    #[test]
    fn the_numbers_of_fields_stores_and_operators_are_pinned() {
        let fields = [
            Field::Null,
            Field::Boolean(true),
            Field::Int(-1),
            Field::Long(300),
            Field::Double(0.5),
            Field::String("a".into()),
            Field::Timestamp(Timestamp(-1)),
            Field::Decimal(Decimal { unscaled: -1, scale: 2 }),
        ];
        let change = Change { value: Some(fields.into()), ..sample().log.changes[0].clone() };
        let log = StateLog { state_store: StateStore::Hdfs, changes: vec![change], ..sample().log };
        let entries = encode_log(BatchId(7), &LogWrite { log, is_snapshot: false });
        let payload = &entries[0].value[2..entries[0].value.len() - 4];
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0100c8001377696e646f7773206f662028737472696e6729010003030102030108000101020103fb58020400\
             0000000000e03f0501610601070102"
        );
    }

    #[test]
    fn a_long_log_is_cut_and_an_empty_one_is_there() {
        let mut write = sample();
        let change = write.log.changes[0].clone();
        write.log.changes = vec![Change { key: vec![9; 1 << 16].into(), ..change }; 40];
        let entries = encode_log(BatchId(1), &write);
        assert!(entries.len() > 1);
        let mut log = None;
        for entry in &entries {
            decode_log(&entry.key, &entry.value, &mut log).unwrap();
        }
        assert_eq!(log, Some(write.log.clone()));
        write.log.changes.clear();
        assert_eq!(encode_log(BatchId(1), &write).len(), 1);
    }
}
