//! Result rows: a compact, append-only table of typed values.
//!
//! Rows are kept encoded, row after row, in chunks of at most one MiB, so that a million rows cost
//! what their bytes cost and reading them back allocates nothing; full chunks can be taken away while
//! rows are still being added. The same bytes are hashed into a batch's digest and stored in the
//! outbox, so the encoding is frozen (see the fixtures of `checkpoint/codec`): per value a tag byte,
//! then little-endian fields.
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
        Rows { columns, chunk_bytes, chunks: Vec::new(), count: 0, count_in_last: 0 }
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
        Ok(Rows { columns, chunk_bytes: Rows::CHUNK_BYTES, chunks, count, count_in_last })
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
    pub fn begin(&mut self) -> NewRow<'_> {
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        let chunk = self.chunks.last_mut().expect("a chunk was just made sure of");
        NewRow { before: chunk.len(), values: 0, rows: self }
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
        Reader {
            chunks: self.chunks.iter(),
            bytes: &[],
            row: vec![Value::Null; self.columns.len()],
        }
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
        let chunk = self.rows.chunks.last_mut().expect("a row begins in a chunk");
        encode(value, chunk);
        self.values += 1;
    }

    /// Ends the row.
    ///
    /// # Panics
    /// When the number of values is not the number of columns.
    pub fn end(self) {
        let NewRow { rows, before, values } = self;
        assert_eq!(values, rows.columns.len(), "a row has a value for each column");
        let chunk = rows.chunks.last_mut().expect("a row begins in a chunk");
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
    chunks: std::slice::Iter<'a, Vec<u8>>,
    bytes: &'a [u8],
    row: Vec<Value<'a>>,
}

impl<'a> Reader<'a> {
    /// The next row, until there is none. (Not an `Iterator`: each row borrows the reader.)
    #[expect(clippy::should_implement_trait, reason = "a row borrows the reader's buffer")]
    pub fn next(&mut self) -> Option<Row<'_, 'a>> {
        while self.bytes.is_empty() {
            self.bytes = self.chunks.next()?;
        }
        for value in &mut self.row {
            decode(&mut self.bytes, value).expect("chunks are checked when they are taken in");
        }
        Some(&self.row)
    }
}

fn encode(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Boolean(value) => out.push(1 + u8::from(value)),
        Value::Int(value) => tagged(out, 3, &value.to_le_bytes()),
        Value::Long(value) => tagged(out, 4, &value.to_le_bytes()),
        Value::Double(value) => tagged(out, 5, &value.to_bits().to_le_bytes()),
        Value::String(text) => {
            let len = u32::try_from(text.len()).expect("a text is shorter than 4 GiB");
            tagged(out, 6, &len.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Timestamp(value) => tagged(out, 7, &value.0.to_le_bytes()),
        Value::Decimal(value) => {
            tagged(out, 8, &[value.scale]);
            out.extend_from_slice(&value.unscaled.to_le_bytes());
        }
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// Reads into its place: a value that is moved there costs more than reading it.
#[inline]
fn decode<'a>(bytes: &mut &'a [u8], value: &mut Value<'a>) -> Result<(), &'static str> {
    let [tag] = take(bytes)?;
    match tag {
        0 => *value = Value::Null,
        1 => *value = Value::Boolean(false),
        2 => *value = Value::Boolean(true),
        3 => *value = Value::Int(i32::from_le_bytes(take(bytes)?)),
        4 => *value = Value::Long(i64::from_le_bytes(take(bytes)?)),
        5 => *value = Value::Double(f64::from_bits(u64::from_le_bytes(take(bytes)?))),
        6 => {
            let len = u32::from_le_bytes(take(bytes)?);
            let len = usize::try_from(len).map_err(|_| "a text is too long")?;
            let (text, rest) = bytes.split_at_checked(len).ok_or("it ends inside a text")?;
            *bytes = rest;
            let text = std::str::from_utf8(text).map_err(|_| "a text is not UTF-8")?;
            *value = Value::String(text);
        }
        7 => *value = Value::Timestamp(Timestamp(i64::from_le_bytes(take(bytes)?))),
        8 => {
            let [scale] = take(bytes)?;
            let unscaled = i128::from_le_bytes(take(bytes)?);
            *value = Value::Decimal(Decimal { unscaled, scale });
        }
        _ => return Err("a value has an unknown tag"),
    }
    Ok(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or("it ends inside a value")?;
    *bytes = rest;
    Ok(*head)
}

fn check_chunk(columns: &[Column], mut bytes: &[u8]) -> Result<u64, RowsError> {
    let (mut row, mut value) = (0, Value::Null);
    while !bytes.is_empty() {
        for column in columns {
            decode(&mut bytes, &mut value).map_err(|problem| RowsError { row, problem })?;
            if !value_fits(value, column.data_type) {
                return Err(RowsError { row, problem: "a value is not of its column's type" });
            }
        }
        row += 1;
    }
    Ok(row)
}

fn value_fits(value: Value<'_>, data_type: DataType) -> bool {
    match (value, data_type) {
        (Value::Null, _)
        | (Value::Boolean(_), DataType::Boolean)
        | (Value::Int(_), DataType::Int)
        | (Value::Long(_), DataType::Long)
        | (Value::Double(_), DataType::Double)
        | (Value::String(_), DataType::String)
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
