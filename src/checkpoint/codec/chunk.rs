//! Rows of state in chunks: sorted by (start, key), at most 64 KiB together, so that reading many runs at a
//! time takes little memory.
//!
//! A run is what one write made for one place: chunks numbered from 0, the last one marked.
//! A row says where its window starts and ends itself; a row without totals is a tombstone. Of two
//! rows with the same (start, key) the one in the newer run counts.

use bincode::{BorrowDecode, Encode};

use super::{
    CodecError, Entry, Family,
    envelope::{self, Shape},
};
use crate::{
    types::{BatchId, Decimal, Keeper, Place, Timestamp},
    window::{Accumulator, Scalar, Sum},
};

/// A chunk is closed before it grows beyond this; only a single larger row makes a larger chunk.
const CHUNK_BYTES: usize = 64 << 10;

const GROUPS_FORM: u8 = 1;
const ROW_FORM: u8 = 2;
const KEYS_FORM: u8 = 3;

#[derive(Encode, BorrowDecode)]
struct StoredChunkHead {
    last: bool,
    rows: u32,
}

#[derive(Encode, BorrowDecode)]
struct StoredRow<'a> {
    /// Closing instant minus the row's own end: 0 for windows of a fixed length.
    end_before_closing_us: i64,
    length_us: i64,
    key: &'a [u8],
    /// Accumulators one behind the other; `None` is a tombstone.
    totals: Option<&'a [u8]>,
}

#[derive(Encode, BorrowDecode)]
enum StoredTotal<'a> {
    Count(i64),
    Sum { exact: i128, inexact: Option<f64>, count: i64 },
    NoExtreme,
    Extreme(StoredScalar<'a>),
}

#[derive(Encode, BorrowDecode)]
enum StoredScalar<'a> {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    String(&'a str),
    Timestamp(i64),
    Decimal { unscaled: i128, scale: u8 },
}

/// One stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Row<'a> {
    pub start: Timestamp,
    pub end: Timestamp,
    pub key: &'a [u8],
    /// Its accumulators, encoded; `None` when the group is gone.
    pub totals: Option<&'a [u8]>,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::checkpoint) struct ChunkKey {
    pub place: Place,
    pub batch: BatchId,
    pub chunk: u32,
}

impl ChunkKey {
    pub fn encode(self) -> Vec<u8> {
        let mut key = row_key_prefix(self.place);
        key.extend_from_slice(&self.batch.0.to_be_bytes());
        key.extend_from_slice(&self.chunk.to_be_bytes());
        key
    }

    pub fn decode(mut key: &[u8]) -> Result<ChunkKey, CodecError> {
        let [form] = take(&mut key)?;
        let keeper = match form {
            GROUPS_FORM => Keeper::Groups,
            KEYS_FORM => Keeper::Keys,
            _ => return Err(CodecError::Key),
        };
        let closing = Timestamp(envelope::from_ordered(take(&mut key)?));
        let batch = BatchId(u64::from_be_bytes(take(&mut key)?));
        let chunk = u32::from_be_bytes(take(&mut key)?);
        let place = Place { keeper, closing };
        if key.is_empty() { Ok(ChunkKey { place, batch, chunk }) } else { Err(CodecError::Key) }
    }
}

fn form_of(keeper: Keeper) -> u8 {
    match keeper {
        Keeper::Groups => GROUPS_FORM,
        Keeper::Keys => KEYS_FORM,
    }
}

/// What the keys of all chunks of a place begin with.
pub(in crate::checkpoint) fn row_key_prefix(place: Place) -> Vec<u8> {
    let mut key = vec![form_of(place.keeper)];
    key.extend_from_slice(&envelope::ordered(place.closing.0));
    key
}

/// The first key behind all chunks of a place and of its keeper's places before it.
pub(in crate::checkpoint) fn behind_chunks_of(place: Place) -> Vec<u8> {
    place.closing.0.checked_add(1).map_or_else(
        || vec![form_of(place.keeper) + 1],
        |next| row_key_prefix(Place { closing: Timestamp(next), ..place }),
    )
}

/// Whether a key of `windows` is of the form with one row each.
pub(in crate::checkpoint) fn is_row_form(key: &[u8]) -> bool {
    key.first() == Some(&ROW_FORM)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], CodecError> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(CodecError::Key)?;
    *bytes = rest;
    Ok(*head)
}

/// Cuts sorted rows into the chunks of one run.
#[derive(Debug)]
pub(in crate::checkpoint) struct ChunkWriter {
    place: Place,
    batch: BatchId,
    rows: u32,
    bytes: Vec<u8>,
    /// Chunks that were cut.
    chunks: u32,
    entries: Vec<Entry>,
}

impl ChunkWriter {
    pub fn new(place: Place, batch: BatchId) -> ChunkWriter {
        ChunkWriter { place, batch, rows: 0, bytes: Vec::new(), chunks: 0, entries: Vec::new() }
    }

    pub fn push(&mut self, row: Row<'_>) {
        let before = self.bytes.len();
        write_row(self.place.closing, row, &mut self.bytes);
        if self.bytes.len() > CHUNK_BYTES && self.rows > 0 {
            let overflowing = self.bytes.split_off(before);
            self.cut(false);
            self.bytes.extend_from_slice(&overflowing);
        }
        self.rows += 1;
    }

    /// How many full chunks there are.
    pub fn full(&self) -> usize {
        self.entries.len()
    }

    /// Takes the full chunks away.
    pub fn take_full(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// The chunks that were not taken; none when there was no row.
    pub fn finish(mut self) -> Vec<Entry> {
        if self.rows > 0 {
            self.cut(true);
        }
        self.entries
    }

    fn cut(&mut self, last: bool) {
        let key = ChunkKey { place: self.place, batch: self.batch, chunk: self.chunks }.encode();
        self.chunks = self.chunks.checked_add(1).expect("a run has fewer than 2^32 chunks");
        let mut head = Vec::new();
        envelope::write(&StoredChunkHead { last, rows: self.rows }, &mut head);
        let parts = [&head[..], &self.bytes];
        let value = envelope::seal_parts(Family::Windows, &key, Shape::WindowChunk, parts);
        self.bytes.clear();
        self.entries.push(Entry { family: Family::Windows, key, value });
        self.rows = 0;
    }
}

fn write_row(closing: Timestamp, row: Row<'_>, out: &mut Vec<u8>) {
    let stored = StoredRow {
        end_before_closing_us: closing.0.wrapping_sub(row.end.0),
        length_us: row.end.0.wrapping_sub(row.start.0),
        key: row.key,
        totals: row.totals,
    };
    envelope::write(&stored, out);
}

fn read_row<'a>(closing: Timestamp, bytes: &mut &'a [u8]) -> Result<Row<'a>, CodecError> {
    let stored: StoredRow<'a> = envelope::read(bytes)?;
    let end = closing.0.wrapping_sub(stored.end_before_closing_us);
    Ok(Row {
        start: Timestamp(end.wrapping_sub(stored.length_us)),
        end: Timestamp(end),
        key: stored.key,
        totals: stored.totals,
    })
}

/// A chunk whose checksum fits, ready to be read row by row.
#[derive(Clone, Copy, Debug)]
pub(in crate::checkpoint) struct Chunk<'a> {
    pub key: ChunkKey,
    /// Whether its run ends here.
    pub last: bool,
    rows: u32,
    bytes: &'a [u8],
}

impl<'a> Chunk<'a> {
    pub fn open(key: &[u8], value: &'a [u8]) -> Result<Chunk<'a>, CodecError> {
        let at = ChunkKey::decode(key)?;
        let mut bytes = envelope::open(Family::Windows, key, Shape::WindowChunk, value)?;
        let head: StoredChunkHead = envelope::read(&mut bytes)?;
        Ok(Chunk { key: at, last: head.last, rows: head.rows, bytes })
    }

    /// The next row; `None` behind the last one.
    pub fn next_row(&mut self) -> Result<Option<Row<'a>>, CodecError> {
        match (self.rows, self.bytes.is_empty()) {
            (0, true) => Ok(None),
            (0, false) => Err(envelope::trailing()),
            _ => {
                self.rows -= 1;
                read_row(self.key.place.closing, &mut self.bytes).map(Some)
            }
        }
    }

    /// What is left to read, so that reading can go on after the bytes were put down.
    pub fn progress(&self) -> (u32, usize) {
        (self.rows, self.bytes.len())
    }

    /// Goes on where [`Chunk::progress`] was.
    pub fn resume(
        key: ChunkKey,
        value: &'a [u8],
        (rows, left): (u32, usize),
    ) -> Result<Chunk<'a>, CodecError> {
        let end = value.len().checked_sub(4).ok_or(CodecError::Short)?;
        let start = end.checked_sub(left).ok_or(CodecError::Short)?;
        let bytes = value.get(start..end).ok_or(CodecError::Short)?;
        Ok(Chunk { key, last: false, rows, bytes })
    }
}

/// Encodes a group's accumulators.
pub(in crate::checkpoint) fn encode_totals(accumulators: &[Accumulator], out: &mut Vec<u8>) {
    for accumulator in accumulators {
        let stored = match accumulator {
            Accumulator::Count(count) => StoredTotal::Count(*count),
            Accumulator::Sum(sum) => {
                let Sum { exact, inexact, count } = *sum;
                StoredTotal::Sum { exact, inexact, count }
            }
            Accumulator::Extreme(None) => StoredTotal::NoExtreme,
            Accumulator::Extreme(Some(scalar)) => StoredTotal::Extreme(stored_scalar(scalar)),
        };
        envelope::write(&stored, out);
    }
}

fn stored_scalar(scalar: &Scalar) -> StoredScalar<'_> {
    match scalar {
        Scalar::Boolean(value) => StoredScalar::Boolean(*value),
        Scalar::Int(value) => StoredScalar::Int(*value),
        Scalar::Long(value) => StoredScalar::Long(*value),
        Scalar::Double(value) => StoredScalar::Double(*value),
        Scalar::String(value) => StoredScalar::String(value),
        Scalar::Timestamp(value) => StoredScalar::Timestamp(value.0),
        Scalar::Decimal(value) => {
            let Decimal { unscaled, scale } = *value;
            StoredScalar::Decimal { unscaled, scale }
        }
    }
}

/// Reads what [`encode_totals`] wrote, into a buffer that is used again.
#[derive(Debug, Default)]
pub(in crate::checkpoint) struct TotalsReader {
    accumulators: Vec<Accumulator>,
}

impl TotalsReader {
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<&[Accumulator], CodecError> {
        self.accumulators.clear();
        while !bytes.is_empty() {
            let accumulator = match envelope::read(&mut bytes)? {
                StoredTotal::Count(count) => Accumulator::Count(count),
                StoredTotal::Sum { exact, inexact, count } => {
                    Accumulator::Sum(Sum { exact, inexact, count })
                }
                StoredTotal::NoExtreme => Accumulator::Extreme(None),
                StoredTotal::Extreme(scalar) => Accumulator::Extreme(Some(scalar.into_scalar())),
            };
            self.accumulators.push(accumulator);
        }
        Ok(&self.accumulators)
    }
}

impl StoredScalar<'_> {
    fn into_scalar(self) -> Scalar {
        match self {
            StoredScalar::Boolean(value) => Scalar::Boolean(value),
            StoredScalar::Int(value) => Scalar::Int(value),
            StoredScalar::Long(value) => Scalar::Long(value),
            StoredScalar::Double(value) => Scalar::Double(value),
            StoredScalar::String(value) => Scalar::String(value.into()),
            StoredScalar::Timestamp(value) => Scalar::Timestamp(Timestamp(value)),
            StoredScalar::Decimal { unscaled, scale } => {
                Scalar::Decimal(Decimal { unscaled, scale })
            }
        }
    }
}

/// One row under a key of its own: the form for cold closing instants.
///
/// No version writes it yet; its bytes are fixed now so that a later one can.
#[cfg(test)]
pub(super) fn encode_row(closing: Timestamp, row: Row<'_>) -> Entry {
    let mut key = vec![ROW_FORM];
    key.extend_from_slice(&envelope::ordered(closing.0));
    key.extend_from_slice(&envelope::ordered(row.start.0));
    key.extend_from_slice(row.key);
    let mut payload = Vec::new();
    write_row(closing, Row { key: &[], ..row }, &mut payload);
    let value = envelope::seal(Family::Windows, &key, Shape::WindowRow, &payload);
    Entry { family: Family::Windows, key, value }
}

/// Reads what [`encode_row`] wrote.
#[cfg(test)]
pub(super) fn decode_row<'a>(
    key: &'a [u8],
    value: &'a [u8],
) -> Result<(Timestamp, Row<'a>), CodecError> {
    let payload = envelope::open(Family::Windows, key, Shape::WindowRow, value)?;
    let mut rest = key;
    if take(&mut rest)? != [ROW_FORM] {
        return Err(CodecError::Key);
    }
    let closing = Timestamp(envelope::from_ordered(take(&mut rest)?));
    let start = Timestamp(envelope::from_ordered(take(&mut rest)?));
    let mut bytes = payload;
    let row = read_row(closing, &mut bytes)?;
    if row.start != start || !bytes.is_empty() || !row.key.is_empty() {
        return Err(CodecError::Key);
    }
    Ok((closing, Row { key: rest, ..row }))
}
