//! Rows of state in chunks: sorted by (start, key), at most 64 KiB together, so that reading many runs at a
//! time takes little memory.
//!
//! A run is what one write made for one place: chunks numbered from 0, the last one marked.
//! A row says where its window starts and ends itself; a row without totals is a tombstone. Of two
//! rows with the same (start, key) the one in the newer run counts.
//!
//! What rows of a chunk have in common is written once, because most of what is written are rows:
//!
//! ```text
//! chunk   1 for the last one of its run, otherwise 0; number of rows (u32, little-endian); the rows
//! row     HEAD, how many bytes its key has in common with the one before it,
//!         [its end before the closing instant, its length], [length of the totals], rest of the key, totals
//! HEAD    length of the rest of the key * 4, + 2 where there are totals (otherwise it is a tombstone),
//!         + 1 where start and end are not those of the row before it
//! totals  one accumulator behind the other: its kind, its numbers (a sum of money in whole units of its own)
//! ```
//!
//! Numbers are those of `varint`, times microseconds with a sign; the first row of a chunk has nothing in common
//! with another one, so that every chunk can be read alone.
//!
//! Start at [`ChunkWriter`] and [`ChunkReader`].

use std::ops::Range;

use bincode::{BorrowDecode, Encode};

use super::{
    CodecError, Entry, Family,
    envelope::{self, Shape},
    varint,
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

/// Bytes of a chunk before its rows: format and shape, whether it is the last one, how many rows.
const HEAD_BYTES: usize = 7;
/// What a row takes beside its key and its totals, at most: five numbers.
const ROW_HEAD_BYTES: usize = 5 * varint::MOST_BYTES;

/// Set in a row's head where times follow.
const HAS_TIMES: u64 = 1;
/// Set in a row's head where totals follow.
const HAS_TOTALS: u64 = 2;
/// What the length of the rest of the key is shifted by in a row's head.
const LENGTH_SHIFT: u32 = 2;

/// Kinds of accumulators.
const COUNT: u8 = 0;
const EXACT_SUM: u8 = 1;
const INEXACT_SUM: u8 = 2;
const NO_EXTREME: u8 = 3;
const EXTREME: u8 = 4;
const ROUND_SUM: u8 = 5;

/// Sums of doubles are in units of 10^-9; those of money are whole numbers of this.
const ROUND: i64 = 10_000_000;

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
    /// The chunk so far, with room for its head.
    bytes: Vec<u8>,
    /// The row before, if it is in this chunk.
    key: Vec<u8>,
    times: Option<(Timestamp, Timestamp)>,
    /// Chunks that were cut.
    chunks: u32,
    entries: Vec<Entry>,
}

impl ChunkWriter {
    pub fn new(place: Place, batch: BatchId) -> ChunkWriter {
        ChunkWriter {
            place,
            batch,
            rows: 0,
            bytes: Vec::new(),
            key: Vec::new(),
            times: None,
            chunks: 0,
            entries: Vec::new(),
        }
    }

    pub fn push(&mut self, row: Row<'_>) {
        let most = row.key.len() + row.totals.map_or(0, <[u8]>::len) + ROW_HEAD_BYTES;
        if self.rows > 0 && self.bytes.len() + most + envelope::CHECKSUM_BYTES > CHUNK_BYTES {
            self.cut(false);
        }
        if self.rows == 0 {
            // Where there was a full one there may be another; doubling ends at the same.
            let room = if self.chunks > 0 { CHUNK_BYTES } else { 256 };
            self.bytes = Vec::with_capacity(room);
            self.bytes.resize(HEAD_BYTES, 0);
        }
        let shared = common_prefix(&self.key, row.key);
        let times = Some((row.start, row.end));
        let head = RowHead {
            shared,
            rest: row.key.len() - shared,
            times: (self.times != times).then(|| stored_times(self.place.closing, row)),
            totals: row.totals.map(<[u8]>::len),
        };
        head.write(&mut self.bytes);
        let rest = &row.key[shared..];
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(row.totals.unwrap_or_default());
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        self.times = times;
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
        let mut value = std::mem::take(&mut self.bytes);
        value[2] = u8::from(last);
        value[3..HEAD_BYTES].copy_from_slice(&self.rows.to_le_bytes());
        envelope::seal_in_place(Family::Windows, &key, Shape::WindowChunk, &mut value);
        if value.len() < value.capacity() / 2 {
            value.shrink_to_fit();
        }
        self.entries.push(Entry { family: Family::Windows, key, value });
        self.rows = 0;
        self.key.clear();
        self.times = None;
    }
}

/// How many bytes both begin with.
#[inline]
pub(super) fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let shorter = one.len().min(other.len());
    let Some(last) = shorter.checked_sub(8) else {
        return one.iter().zip(other).take_while(|(one, other)| one == other).count();
    };
    let mut at = 0;
    while let (Some(one), Some(other)) = (word_at(one, at), word_at(other, at)) {
        if one != other {
            return at + ((one ^ other).trailing_zeros() / 8) as usize;
        }
        if at == last {
            break;
        }
        // The last word may begin inside the one before it.
        at = last.min(at + 8);
    }
    shorter
}

/// Eight bytes, the first of them the lowest.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|word| u64::from_le_bytes(*word))
}

/// What comes before a row's bytes.
#[derive(Clone, Copy, Debug)]
struct RowHead {
    /// Bytes of the key that the one before it has, too, and how many it has behind them.
    shared: usize,
    rest: usize,
    /// Its end before the closing instant (0 for windows of a fixed length) and its length in microseconds, unless
    /// both are those of the row before it.
    times: Option<(i64, i64)>,
    /// Length of its totals; `None` for a tombstone.
    totals: Option<usize>,
}

impl RowHead {
    fn write(self, out: &mut Vec<u8>) {
        let has_times = if self.times.is_some() { HAS_TIMES } else { 0 };
        let has_totals = if self.totals.is_some() { HAS_TOTALS } else { 0 };
        let first = (self.rest as u64) << LENGTH_SHIFT | has_totals | has_times;
        varint::put(first, out);
        varint::put(self.shared as u64, out);
        if let Some((end_before_closing, length)) = self.times {
            varint::put_signed(end_before_closing, out);
            varint::put_signed(length, out);
        }
        if let Some(totals) = self.totals {
            varint::put(totals as u64, out);
        }
    }

    fn read(bytes: &mut &[u8]) -> Result<RowHead, CodecError> {
        let head = varint::take(bytes)?;
        let rest = usize::try_from(head >> LENGTH_SHIFT).map_err(|_| CodecError::Short)?;
        let shared = varint::take_length(bytes)?;
        let times = match head & HAS_TIMES {
            0 => None,
            _ => Some((varint::take_signed(bytes)?, varint::take_signed(bytes)?)),
        };
        let totals = match head & HAS_TOTALS {
            0 => None,
            _ => Some(varint::take_length(bytes)?),
        };
        Ok(RowHead { shared, rest, times, totals })
    }
}

fn stored_times(closing: Timestamp, row: Row<'_>) -> (i64, i64) {
    (closing.0.wrapping_sub(row.end.0), row.end.0.wrapping_sub(row.start.0))
}

/// Start and end.
fn read_times(closing: Timestamp, (end_before_closing, length): (i64, i64)) -> [Timestamp; 2] {
    let end = closing.0.wrapping_sub(end_before_closing);
    [end.wrapping_sub(length), end].map(Timestamp)
}

/// A chunk whose checksum fits.
#[derive(Clone, Copy, Debug)]
pub(in crate::checkpoint) struct Chunk {
    pub key: ChunkKey,
    /// Whether its run ends here.
    pub last: bool,
    rows: u32,
}

impl Chunk {
    pub fn open(key: &[u8], value: &[u8]) -> Result<Chunk, CodecError> {
        let at = ChunkKey::decode(key)?;
        let mut payload = envelope::open(Family::Windows, key, Shape::WindowChunk, value)?;
        let [last, rows @ ..] = take::<5>(&mut payload).map_err(|_| CodecError::Short)?;
        let last = match last {
            0 => false,
            1 => true,
            _ => return Err(broken("it is neither the last of its run nor another one")),
        };
        Ok(Chunk { key: at, last, rows: u32::from_le_bytes(rows) })
    }
}

/// Reads the rows of a run's chunks, one by one, without keeping the chunks. No row makes it allocate more than
/// there are bytes of keys.
#[derive(Debug)]
pub(in crate::checkpoint) struct ChunkReader {
    closing: Timestamp,
    /// Rows of the chunk that are not read yet, and where they begin in its value.
    rows: u32,
    at: usize,
    is_first: bool,
    /// The row that was read.
    start: Timestamp,
    end: Timestamp,
    key: Vec<u8>,
    /// Where its totals are in the chunk's value.
    totals: Option<Range<usize>>,
    /// Whether a row was read.
    is_set: bool,
}

impl ChunkReader {
    /// Reads chunks of a place.
    pub fn new(place: Place) -> ChunkReader {
        ChunkReader {
            closing: place.closing,
            rows: 0,
            at: 0,
            is_first: true,
            start: Timestamp(0),
            end: Timestamp(0),
            key: Vec::new(),
            totals: None,
            is_set: false,
        }
    }

    /// Goes on with a run's next chunk.
    pub fn begin(&mut self, chunk: Chunk) {
        (self.rows, self.at, self.is_first) = (chunk.rows, HEAD_BYTES, true);
    }

    /// Reads the next row of a chunk, whose value this is; false behind the last one.
    ///
    /// # Errors
    /// Bytes that are not a row behind the one before it. There is nothing more to read then.
    pub fn advance(&mut self, value: &[u8]) -> Result<bool, CodecError> {
        let end = value.len().checked_sub(envelope::CHECKSUM_BYTES).ok_or(CodecError::Short)?;
        let mut bytes = value.get(self.at..end).ok_or(CodecError::Short)?;
        let Some(rows) = self.rows.checked_sub(1) else {
            return if bytes.is_empty() { Ok(false) } else { Err(envelope::trailing()) };
        };
        let head = RowHead::read(&mut bytes)?;
        let (rest, behind) = bytes.split_at_checked(head.rest).ok_or(CodecError::Short)?;
        self.take_in(head, rest)?;
        let left = behind.len();
        let left = left.checked_sub(head.totals.unwrap_or(0)).ok_or(CodecError::Short)?;
        self.at = end - left;
        self.totals = head.totals.map(|totals| self.at - totals..self.at);
        self.rows = rows;
        Ok(true)
    }

    /// Makes the next row's times and key of those of the row before it, which must be less.
    fn take_in(&mut self, head: RowHead, rest: &[u8]) -> Result<(), CodecError> {
        let before = self.start;
        match head.times {
            Some(times) => [self.start, self.end] = read_times(self.closing, times),
            None if self.is_first => return Err(broken("its first row has no times")),
            None => {}
        }
        if self.is_first && head.shared > 0 {
            return Err(broken("its first row has no whole key"));
        }
        let gone = self.key.get(head.shared..).ok_or_else(|| broken("a row has no whole key"))?;
        if self.is_set && (self.start, rest) <= (before, gone) {
            return Err(broken("its rows are not in order"));
        }
        self.key.truncate(head.shared);
        self.key.extend_from_slice(rest);
        (self.is_set, self.is_first) = (true, false);
        Ok(())
    }

    /// The row that was read from a chunk with this value.
    pub fn row<'r>(&'r self, value: &'r [u8]) -> Row<'r> {
        let totals = self.totals.clone().and_then(|totals| value.get(totals));
        Row { start: self.start, end: self.end, key: &self.key, totals }
    }

    /// What rows are sorted by.
    pub fn order(&self) -> (Timestamp, &[u8]) {
        (self.start, &self.key)
    }
}

fn broken(problem: &str) -> CodecError {
    CodecError::Content(problem.to_owned())
}

/// Encodes a group's accumulators.
pub(in crate::checkpoint) fn encode_totals(accumulators: &[Accumulator], out: &mut Vec<u8>) {
    for accumulator in accumulators {
        match accumulator {
            Accumulator::Count(count) => {
                out.push(COUNT);
                varint::put_signed(*count, out);
            }
            Accumulator::Sum(sum) => encode_sum(*sum, out),
            Accumulator::Extreme(None) => out.push(NO_EXTREME),
            Accumulator::Extreme(Some(scalar)) => {
                out.push(EXTREME);
                envelope::write(&stored_scalar(scalar), out);
            }
        }
    }
}

fn encode_sum(Sum { exact, inexact, count }: Sum, out: &mut Vec<u8>) {
    match (inexact, round(exact)) {
        (None, Some(round)) => {
            out.push(ROUND_SUM);
            varint::put_signed(round, out);
        }
        (None, None) => {
            out.push(EXACT_SUM);
            varint::put_wide(exact, out);
        }
        (Some(inexact), _) => {
            out.push(INEXACT_SUM);
            varint::put_wide(exact, out);
            out.extend_from_slice(&inexact.to_bits().to_le_bytes());
        }
    }
    varint::put_signed(count, out);
}

/// How many [`ROUND`]s it is, if it is a whole number of them and so is shorter.
fn round(exact: i128) -> Option<i64> {
    let exact = i64::try_from(exact).ok()?;
    (exact != 0 && exact % ROUND == 0).then_some(exact / ROUND)
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
        while let [kind, rest @ ..] = bytes {
            bytes = rest;
            let accumulator = match *kind {
                COUNT => Accumulator::Count(varint::take_signed(&mut bytes)?),
                EXACT_SUM => {
                    let exact = varint::take_wide(&mut bytes)?;
                    let count = varint::take_signed(&mut bytes)?;
                    Accumulator::Sum(Sum { exact, inexact: None, count })
                }
                ROUND_SUM => {
                    let exact = i128::from(varint::take_signed(&mut bytes)?) * i128::from(ROUND);
                    let count = varint::take_signed(&mut bytes)?;
                    Accumulator::Sum(Sum { exact, inexact: None, count })
                }
                INEXACT_SUM => {
                    let exact = varint::take_wide(&mut bytes)?;
                    let bits = take(&mut bytes).map_err(|_| CodecError::Short)?;
                    let inexact = Some(f64::from_bits(u64::from_le_bytes(bits)));
                    let count = varint::take_signed(&mut bytes)?;
                    Accumulator::Sum(Sum { exact, inexact, count })
                }
                NO_EXTREME => Accumulator::Extreme(None),
                EXTREME => {
                    let scalar: StoredScalar<'_> = envelope::read(&mut bytes)?;
                    Accumulator::Extreme(Some(scalar.into_scalar()))
                }
                _ => return Err(broken("it holds an aggregate of no known kind")),
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
    let totals = row.totals.map(<[u8]>::len);
    let times = Some(stored_times(closing, row));
    RowHead { shared: 0, rest: 0, times, totals }.write(&mut payload);
    payload.extend_from_slice(row.totals.unwrap_or_default());
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
    let mut totals = payload;
    let head = RowHead::read(&mut totals)?;
    let times = head.times.map(|times| read_times(closing, times));
    let (Some([found, end]), 0, 0) = (times, head.shared, head.rest) else {
        return Err(CodecError::Key);
    };
    if found != start || totals.len() != head.totals.unwrap_or(0) {
        return Err(CodecError::Key);
    }
    Ok((closing, Row { start, end, key: rest, totals: head.totals.map(|_| totals) }))
}
