//! Result rows: a compact, append-only table of typed values.
//!
//! Rows are kept encoded, row after row, in chunks of at most one MiB, so that a million rows cost
//! what their bytes cost and reading them back allocates nothing; full chunks can be taken away while
//! rows are still being added. The same bytes are hashed into a batch's digest and stored in the
//! outbox, so the encoding is frozen (a test below pins it): per value a tag byte, then
//! little-endian fields.
//!
//! Invariants: every chunk inside a [`Rows`] holds whole, valid rows of its columns; where rows are
//! cut into chunks means nothing, neither to a digest nor to equality.
//!
//! Not here: how values are printed (`sink`), how results are computed (`batch`).

use std::sync::Arc;

use super::{DataType, Decimal, Timestamp};

/// Name and type of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// The name as printed.
    pub name: String,
    /// The type of its values; every column may also hold NULL.
    pub data_type: DataType,
}

/// One typed value, texts borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// INT.
    Int(i32),
    /// LONG.
    Long(i64),
    /// DOUBLE.
    Double(f64),
    /// STRING.
    String(&'a str),
    /// TIMESTAMP.
    Timestamp(Timestamp),
    /// DECIMAL.
    Decimal(Decimal),
}

/// A text by its bytes, which are UTF-8: to find that out costs more than anything else that is done with a
/// short text, so it is done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8<'a>(&'a [u8]);

impl<'a> Utf8<'a> {
    /// Takes bytes that are UTF-8; `None` for others.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Utf8<'a>> {
        (is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()).then_some(Utf8(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text.
    ///
    /// # Panics
    /// Never: the bytes are UTF-8.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).expect("that was made sure of")
    }
}

impl<'a> From<&'a str> for Utf8<'a> {
    fn from(text: &'a str) -> Utf8<'a> {
        Utf8(text.as_bytes())
    }
}

/// Whether no byte has its top bit set; eight at a time, without a call.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(u8::is_ascii);
    };
    let mut any = u64::from_le_bytes(*last);
    for word in bytes.as_chunks::<8>().0 {
        any |= u64::from_le_bytes(*word);
    }
    any & 0x8080_8080_8080_8080 == 0
}

/// A value as [`Cells`] give it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored<'a> {
    /// A text.
    Text(Utf8<'a>),
    /// Anything else.
    Other(Value<'a>),
}

/// One row, as many values as the table has columns.
pub type Row<'r, 'a> = &'r [Value<'a>];

/// Bytes that are not rows of the expected columns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row} of a chunk of result rows cannot be read: {problem}")]
pub struct RowsError {
    /// Index of the row inside its chunk.
    pub row: u64,
    /// What is wrong.
    pub problem: &'static str,
}

/// A table of rows.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Arc<[Column]>,
    chunk_bytes: usize,
    chunks: Vec<Vec<u8>>,
    count: u64,
    /// How many of them are in the last chunk.
    count_in_last: u64,
    /// Bytes of the longest row that was put here.
    longest: usize,
}

impl PartialEq for Rows {
    fn eq(&self, other: &Rows) -> bool {
        let bytes = |rows: &Rows| rows.chunks.iter().map(Vec::len).sum::<usize>();
        self.columns == other.columns
            && self.count == other.count
            && bytes(self) == bytes(other)
            && self.chunks.iter().flatten().eq(other.chunks.iter().flatten())
    }
}

impl Eq for Rows {}

impl Rows {
    /// A chunk is closed before it grows beyond this; only a single larger row makes a larger chunk.
    pub const CHUNK_BYTES: usize = 1 << 20;

    /// A table without rows.
    #[must_use]
    pub fn new(columns: Arc<[Column]>) -> Rows {
        Rows::with_chunks_of(columns, Rows::CHUNK_BYTES)
    }

    /// A table without rows whose chunks are at most this long, unless a single row is longer.
    #[must_use]
    pub fn with_chunks_of(columns: Arc<[Column]>, chunk_bytes: usize) -> Rows {
        Rows { columns, chunk_bytes, chunks: Vec::new(), count: 0, count_in_last: 0, longest: 0 }
    }

    /// Takes chunks back that [`Rows::chunks`] once gave.
    ///
    /// # Errors
    /// A chunk that does not hold whole rows of these columns.
    pub fn from_chunks(columns: Arc<[Column]>, chunks: Vec<Vec<u8>>) -> Result<Rows, RowsError> {
        let (mut count, mut count_in_last) = (0, 0);
        for chunk in &chunks {
            count_in_last = check_chunk(&columns, chunk)?;
            count += count_in_last;
        }
        Ok(Rows {
            columns,
            chunk_bytes: Rows::CHUNK_BYTES,
            chunks,
            count,
            count_in_last,
            longest: 0,
        })
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &Arc<[Column]> {
        &self.columns
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded rows.
    #[must_use]
    pub fn chunks(&self) -> &[Vec<u8>] {
        &self.chunks
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When the number of values is not the number of columns.
    pub fn push(&mut self, row: Row<'_, '_>) {
        let mut new = self.begin();
        row.iter().for_each(|value| new.put(*value));
        new.end();
    }

    /// Begins a row, whose values are then put one by one.
    #[inline]
    pub fn begin(&mut self) -> NewRow<'_> {
        // A few long ones do not make chunks of one row.
        let room = self.chunk_bytes - self.longest.min(self.chunk_bytes / 16);
        if self.chunks.last().is_none_or(|chunk| chunk.len() > room && !chunk.is_empty()) {
            self.begin_chunk();
        }
        let chunk = self.chunks.last_mut().expect("a chunk was just made sure of");
        NewRow { before: chunk.len(), values: 0, rows: self }
    }

    /// Begins a chunk; where there was a full one there may be another.
    #[cold]
    fn begin_chunk(&mut self) {
        let room = match self.chunks.last_mut() {
            Some(full) => {
                full.shrink_to_fit();
                self.chunk_bytes
            }
            None => 0,
        };
        self.chunks.push(Vec::with_capacity(room));
        self.count_in_last = 0;
    }

    /// Takes away the chunks that no row will be added to any more; what is left is the last one.
    pub fn take_full(&mut self) -> Vec<Vec<u8>> {
        let full = self.chunks.len().saturating_sub(1);
        if full > 0 {
            self.count = self.count_in_last;
        }
        self.chunks.drain(..full).collect()
    }

    /// Puts the rows of another table with the same columns behind these.
    ///
    /// # Panics
    /// When the columns are others.
    pub fn append(&mut self, other: Rows) {
        assert_eq!(self.columns, other.columns, "both tables have the same columns");
        self.count += other.count;
        match (self.chunks.last_mut(), &other.chunks[..]) {
            (_, []) => {}
            // Many small tables do not become as many chunks.
            (Some(last), [more]) if last.len() + more.len() <= self.chunk_bytes => {
                last.extend_from_slice(more);
                self.count_in_last += other.count_in_last;
            }
            _ => {
                self.chunks.extend(other.chunks);
                self.count_in_last = other.count_in_last;
            }
        }
    }

    /// Reads the rows in order.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { cells: self.cells(), row: vec![Value::Null; self.columns.len()] }
    }

    /// Reads the values of all rows in order.
    #[must_use]
    pub fn cells(&self) -> Cells<'_> {
        Cells { chunks: self.chunks.iter(), bytes: &[] }
    }
}

/// A row that is being added. One that is not ended is a mistake of the caller's.
#[derive(Debug)]
#[must_use = "a row is added once it is ended"]
pub struct NewRow<'a> {
    rows: &'a mut Rows,
    /// Length of the chunk before it.
    before: usize,
    values: usize,
}

impl NewRow<'_> {
    /// Puts the value of the next column.
    pub fn put(&mut self, value: Value<'_>) {
        encode(value, self.next());
    }

    /// Puts a text as the value of the next column.
    #[inline]
    pub fn put_text(&mut self, text: Utf8<'_>) {
        encode_text(text, self.next());
    }

    /// Puts a time as the value of the next column.
    #[inline]
    pub fn put_time(&mut self, time: Timestamp) {
        encode_time(time, self.next());
    }

    /// Where the next value goes.
    #[inline]
    fn next(&mut self) -> &mut Vec<u8> {
        self.values += 1;
        self.rows.chunks.last_mut().expect("a row begins in a chunk")
    }

    /// Ends the row.
    ///
    /// # Panics
    /// When the number of values is not the number of columns.
    #[inline]
    pub fn end(self) {
        let NewRow { rows, before, values } = self;
        assert_eq!(values, rows.columns.len(), "a row has a value for each column");
        let chunk = rows.chunks.last_mut().expect("a row begins in a chunk");
        rows.longest = rows.longest.max(chunk.len() - before);
        if chunk.len() > rows.chunk_bytes && before > 0 {
            let overflowing = chunk.split_off(before);
            chunk.shrink_to_fit();
            rows.chunks.push(overflowing);
            rows.count_in_last = 0;
        }
        rows.count += 1;
        rows.count_in_last += 1;
    }
}

/// Reads rows one after the other, into one buffer.
#[derive(Debug)]
pub struct Reader<'a> {
    cells: Cells<'a>,
    row: Vec<Value<'a>>,
}

impl<'a> Reader<'a> {
    /// The next row, until there is none. (Not an `Iterator`: each row borrows the reader.)
    #[expect(clippy::should_implement_trait, reason = "a row borrows the reader's buffer")]
    pub fn next(&mut self) -> Option<Row<'_, 'a>> {
        if !self.cells.begin_row() {
            return None;
        }
        for value in &mut self.row {
            *value = match self.cells.take() {
                Stored::Text(text) => Value::String(text.as_str()),
                Stored::Other(value) => value,
            };
        }
        Some(&self.row)
    }
}

/// Reads value after value, row after row, for whoever knows how many columns there are.
#[derive(Debug)]
pub struct Cells<'a> {
    chunks: std::slice::Iter<'a, Vec<u8>>,
    bytes: &'a [u8],
}

impl<'a> Cells<'a> {
    /// Goes on to the next row when all values of the one before it are taken; false behind the last one.
    #[inline]
    pub fn begin_row(&mut self) -> bool {
        while self.bytes.is_empty() {
            let Some(chunk) = self.chunks.next() else { return false };
            self.bytes = chunk;
        }
        true
    }

    /// Takes the next value of the row.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Stored<'a> {
        decode(&mut self.bytes).expect("chunks are checked when they are taken in")
    }

    /// What is not taken of this chunk, encoded.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Passes over values that are encoded as these; false where they are not next.
    #[inline]
    pub fn skip(&mut self, encoded: &[u8]) -> bool {
        let rest = self.bytes.strip_prefix(encoded);
        self.bytes = rest.unwrap_or(self.bytes);
        rest.is_some()
    }
}

fn encode(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Boolean(value) => out.push(1 + u8::from(value)),
        Value::Int(value) => tagged::<4, 5>(3, value.to_le_bytes(), out),
        Value::Long(value) => tagged::<8, 9>(4, value.to_le_bytes(), out),
        Value::Double(value) => tagged::<8, 9>(5, value.to_bits().to_le_bytes(), out),
        Value::String(text) => encode_text(Utf8::from(text), out),
        Value::Timestamp(value) => encode_time(value, out),
        Value::Decimal(value) => {
            let mut fields = [value.scale; 17];
            fields[1..].copy_from_slice(&value.unscaled.to_le_bytes());
            tagged::<17, 18>(8, fields, out);
        }
    }
}

#[inline]
fn encode_text(text: Utf8<'_>, out: &mut Vec<u8>) {
    let len = u32::try_from(text.0.len()).expect("a text is shorter than 4 GiB");
    tagged::<4, 5>(6, len.to_le_bytes(), out);
    out.extend_from_slice(text.0);
}

#[inline]
fn encode_time(time: Timestamp, out: &mut Vec<u8>) {
    tagged::<8, 9>(7, time.0.to_le_bytes(), out);
}

/// Appends a tag and its fields at once; `ALL` is one more than `FIELDS`.
#[inline]
fn tagged<const FIELDS: usize, const ALL: usize>(tag: u8, fields: [u8; FIELDS], out: &mut Vec<u8>) {
    let mut all = [tag; ALL];
    all[1..].copy_from_slice(&fields);
    out.extend_from_slice(&all);
}

/// Takes the next value off. Texts are those of [`encode`]: bytes from elsewhere have to be checked (`check_value`).
#[inline]
fn decode<'a>(bytes: &mut &'a [u8]) -> Result<Stored<'a>, &'static str> {
    let [tag] = take(bytes)?;
    Ok(Stored::Other(match tag {
        0 => Value::Null,
        1 => Value::Boolean(false),
        2 => Value::Boolean(true),
        3 => Value::Int(i32::from_le_bytes(take(bytes)?)),
        4 => Value::Long(i64::from_le_bytes(take(bytes)?)),
        5 => Value::Double(f64::from_bits(u64::from_le_bytes(take(bytes)?))),
        6 => {
            let len = u32::from_le_bytes(take(bytes)?);
            let len = usize::try_from(len).map_err(|_| "a text is too long")?;
            let (text, rest) = bytes.split_at_checked(len).ok_or("it ends inside a text")?;
            *bytes = rest;
            return Ok(Stored::Text(Utf8(text)));
        }
        7 => Value::Timestamp(Timestamp(i64::from_le_bytes(take(bytes)?))),
        8 => {
            let [scale] = take(bytes)?;
            let unscaled = i128::from_le_bytes(take(bytes)?);
            Value::Decimal(Decimal { unscaled, scale })
        }
        _ => return Err("a value has an unknown tag"),
    }))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or("it ends inside a value")?;
    *bytes = rest;
    Ok(*head)
}

fn check_chunk(columns: &[Column], mut bytes: &[u8]) -> Result<u64, RowsError> {
    let mut row = 0;
    while !bytes.is_empty() {
        for column in columns {
            let check = decode(&mut bytes).and_then(|value| check_value(value, column.data_type));
            check.map_err(|problem| RowsError { row, problem })?;
        }
        row += 1;
    }
    Ok(row)
}

fn check_value(value: Stored<'_>, data_type: DataType) -> Result<(), &'static str> {
    let fits = match (value, data_type) {
        (Stored::Text(text), DataType::String) => {
            return Utf8::new(text.0).map(|_| ()).ok_or("a text is not UTF-8");
        }
        (Stored::Other(value), _) => value_fits(value, data_type),
        (Stored::Text(_), _) => false,
    };
    if fits { Ok(()) } else { Err("a value is not of its column's type") }
}

fn value_fits(value: Value<'_>, data_type: DataType) -> bool {
    match (value, data_type) {
        (Value::Null, _)
        | (Value::Boolean(_), DataType::Boolean)
        | (Value::Int(_), DataType::Int)
        | (Value::Long(_), DataType::Long)
        | (Value::Double(_), DataType::Double)
        | (Value::Timestamp(_), DataType::Timestamp) => true,
        (Value::Decimal(decimal), DataType::Decimal { scale, .. }) => decimal.scale == scale,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Arc<[Column]> {
        [
            ("store", DataType::String),
            ("total", DataType::Decimal { precision: 18, scale: 2 }),
            ("start", DataType::Timestamp),
        ]
        .into_iter()
        .map(|(name, data_type)| Column { name: name.to_owned(), data_type })
        .collect()
    }

    fn sample() -> Rows {
        let mut rows = Rows::new(columns());
        let total = Value::Decimal(Decimal { unscaled: 125, scale: 2 });
        rows.push(&[Value::String("store-1"), total, Value::Timestamp(Timestamp(1))]);
        rows.push(&[Value::Null, Value::Null, Value::Null]);
        rows
    }

    #[test]
    fn rows_read_back_what_was_pushed() {
        let rows = sample();
        let mut reader = rows.reader();
        let total = Value::Decimal(Decimal { unscaled: 125, scale: 2 });
        let expected = [Value::String("store-1"), total, Value::Timestamp(Timestamp(1))];
        assert_eq!(reader.next(), Some(&expected[..]));
        assert_eq!(reader.next(), Some(&[Value::Null; 3][..]));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn the_bytes_of_rows_in_format_1_never_change() {
        let types = [
            DataType::Boolean,
            DataType::Boolean,
            DataType::Int,
            DataType::Long,
            DataType::Double,
            DataType::String,
            DataType::Timestamp,
            DataType::Decimal { precision: 18, scale: 2 },
        ];
        let named = |data_type| Column { name: "x".to_owned(), data_type };
        let mut rows = Rows::new(types.into_iter().map(named).collect());
        rows.push(&[
            Value::Null,
            Value::Boolean(true),
            Value::Int(-5),
            Value::Long(1 << 40),
            Value::Double(-0.5),
            Value::String("é"),
            Value::Timestamp(Timestamp(-1)),
            Value::Decimal(Decimal { unscaled: -125, scale: 2 }),
        ]);
        let bytes: String = rows.chunks()[0].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            bytes,
            "000203fbffffff04000000000001000005000000000000e0bf0602000000c3a907ffffffffffffffff0802\
             83ffffffffffffffffffffffffffffff"
        );
    }

    #[test]
    fn chunks_make_the_same_table_again_and_damaged_ones_none() {
        let rows = sample();
        let again = Rows::from_chunks(columns(), rows.chunks().to_vec()).unwrap();
        assert_eq!(again, rows);
        let whole = &rows.chunks()[0];
        for len in 1..whole.len() {
            let cut = vec![whole[..len].to_vec()];
            if let Ok(shorter) = Rows::from_chunks(columns(), cut) {
                assert_eq!(shorter.len(), 1, "only a cut between rows can be read");
            }
        }
        let mut wrong = whole.clone();
        wrong[0] = 9;
        assert!(Rows::from_chunks(columns(), vec![wrong]).is_err());
    }

    #[test]
    fn only_utf8_is_a_text() {
        for text in ["", "store-1", "a store named \u{e9}t\u{e9}", "\u{e9}", "a\0b"] {
            assert_eq!(Utf8::new(text.as_bytes()).map(Utf8::as_str), Some(text));
        }
        for bytes in [&b"\xff"[..], b"store-1 \xc3", b"eight to\x80"] {
            assert_eq!(Utf8::new(bytes), None);
            let chunk =
                [&[6][..], &u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes, &[0, 0]];
            let error = Rows::from_chunks(columns(), vec![chunk.concat()]).unwrap_err();
            assert_eq!(error.problem, "a text is not UTF-8");
        }
    }

    #[test]
    fn values_that_are_encoded_alike_can_be_passed_over() {
        let rows = sample();
        let mut cells = rows.cells();
        assert!(cells.begin_row());
        assert_eq!(cells.take(), Stored::Text("store-1".into()));
        let next = cells.rest();
        assert!(!cells.skip(&next[1..]));
        assert!(cells.skip(&next[..18 + 9 + 3]));
        assert!(!cells.begin_row(), "both rows are passed");
    }

    #[test]
    fn a_long_row_does_not_make_chunks_of_one_row() {
        let mut rows = Rows::with_chunks_of(columns(), 100);
        for length in [200, 1, 1, 1, 1] {
            rows.push(&[Value::String(&"x".repeat(length)), Value::Null, Value::Null]);
        }
        assert_eq!(rows.chunks().len(), 2);
    }

    #[test]
    fn many_rows_are_spread_over_chunks() {
        let mut rows = Rows::new(columns());
        let text = "x".repeat(1000);
        for _ in 0..3000 {
            rows.push(&[Value::String(&text), Value::Null, Value::Null]);
        }
        assert!(rows.chunks().len() > 2);
        assert!(rows.chunks().iter().all(|chunk| chunk.len() <= Rows::CHUNK_BYTES));
        let mut reader = rows.reader();
        let mut count = 0;
        while reader.next().is_some() {
            count += 1;
        }
        assert_eq!((count, rows.len()), (3000, 3000));
    }

    #[test]
    fn small_tables_that_are_put_together_share_chunks() {
        let row = |text: &str| {
            let mut rows = Rows::with_chunks_of(columns(), 100);
            rows.push(&[Value::String(text), Value::Null, Value::Null]);
            rows
        };
        let (mut whole, mut rows) = (Rows::new(columns()), Rows::with_chunks_of(columns(), 100));
        for length in (0..90).chain([200, 1, 1]) {
            let text = "x".repeat(length);
            whole.push(&[Value::String(&text), Value::Null, Value::Null]);
            rows.append(row(&text));
            rows.append(Rows::new(columns()));
        }
        assert_eq!(rows, whole);
        assert!(rows.chunks().len() < 80, "{}", rows.chunks().len());
        let full: usize = rows.take_full().len();
        assert!(full > 0 && rows.chunks().len() == 1);
        assert_eq!(rows.len(), 2, "the last two share the last chunk");
    }

    #[test]
    fn full_chunks_can_be_taken_away_and_together_they_are_the_table() {
        let (mut whole, mut rows) = (Rows::new(columns()), Rows::with_chunks_of(columns(), 100));
        let mut taken = Vec::new();
        for number in 0..50 {
            let text = "x".repeat(number * 3);
            for table in [&mut whole, &mut rows] {
                table.push(&[Value::String(&text), Value::Null, Value::Null]);
            }
            taken.extend(rows.take_full());
        }
        assert!(taken.len() > 20 && rows.chunks().len() == 1);
        let short = taken.iter().filter(|chunk| chunk.len() <= 100).count();
        assert!(short > 10, "only a single longer row makes a longer chunk");
        let mut again = Rows::from_chunks(columns(), taken).unwrap();
        assert_eq!(again.len() + rows.len(), 50);
        again.append(rows);
        assert_eq!(again, whole);
        again.push(&[Value::Null; 3]);
        assert_ne!(again, whole);
    }
}
