//! Rows as JSON lines: one object a row, its keys the columns in their order.
//!
//! Timestamps are ISO 8601 in UTC, decimals numbers with all their places, doubles the shortest
//! numbers that read back the same. JSON has no NaN and no infinities: they are the strings `"NaN"`,
//! `"Infinity"` and `"-Infinity"`, as Spark's JSON writer has them.
//!
//! Invariant: the bytes are a function of columns and values alone, so that a batch published again
//! compares equal.
//!
//! Not here: where lines go (`batch_files`).

use std::io::{self, Write};

use crate::types::{
    Cells, Column, DataType, Rows, Stored, Utf8, Value, double_text, push_number,
    push_timestamp_iso,
};

/// Lines are written so many bytes at a time, or a little more.
pub(super) const LINES_BYTES: usize = 256 << 10;

/// Writes rows of one set of columns.
#[derive(Debug)]
pub(super) struct RowWriter {
    fields: Vec<Fields>,
    /// The rows that are not written yet.
    lines: Vec<u8>,
}

/// Columns that are written together. A key is what comes before a value: the bracket or comma, the escaped
/// name, the colon.
#[derive(Debug)]
enum Fields {
    One(Vec<u8>),
    Times(Times),
}

/// Times side by side. Rows of one window come one after the other.
#[derive(Debug, Default)]
struct Times {
    keys: Vec<Vec<u8>>,
    /// Those of the row before as it has them.
    last: Vec<u8>,
    /// The same with their keys as they were written.
    text: Vec<u8>,
}

impl RowWriter {
    /// Prepares the keys.
    pub(super) fn new(columns: &[Column]) -> RowWriter {
        let mut fields: Vec<Fields> = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            let mut key = if index == 0 { b"{".to_vec() } else { b",".to_vec() };
            push_string(Utf8::from(&*column.name), &mut key);
            key.push(b':');
            match (column.data_type, fields.last_mut()) {
                (DataType::Timestamp, Some(Fields::Times(times))) => times.keys.push(key),
                (DataType::Timestamp, _) => {
                    fields.push(Fields::Times(Times { keys: vec![key], ..Times::default() }));
                }
                _ => fields.push(Fields::One(key)),
            }
        }
        RowWriter { fields, lines: Vec::new() }
    }

    /// Writes rows of these columns, each with its line end, now or together with others.
    ///
    /// # Errors
    /// What `out` returned.
    pub(super) fn write(&mut self, rows: &Rows, out: &mut dyn Write) -> io::Result<()> {
        let mut cells = rows.cells();
        for _ in 0..rows.len() {
            cells.begin_row();
            if self.fields.is_empty() {
                self.lines.push(b'{');
            }
            self.fields.iter_mut().for_each(|fields| fields.push(&mut cells, &mut self.lines));
            self.lines.extend_from_slice(b"}\n");
            if self.lines.len() >= LINES_BYTES {
                self.finish(out)?;
            }
        }
        Ok(())
    }

    /// Writes the rows that are not written yet.
    ///
    /// # Errors
    /// What `out` returned.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}

impl Fields {
    /// Appends keys and values.
    #[inline]
    fn push(&mut self, cells: &mut Cells<'_>, line: &mut Vec<u8>) {
        match self {
            Fields::One(key) => push_field(key, cells.take(), line),
            Fields::Times(times) if times.are_next(cells) => line.extend_from_slice(&times.text),
            Fields::Times(times) => times.push(cells, line),
        }
    }
}

impl Times {
    /// Takes the next values if they are those of the row before.
    #[inline]
    fn are_next(&self, cells: &mut Cells<'_>) -> bool {
        !self.last.is_empty() && cells.skip(&self.last)
    }

    /// Appends keys and values.
    #[cold]
    fn push(&mut self, cells: &mut Cells<'_>, line: &mut Vec<u8>) {
        let (before, begin) = (cells.rest(), line.len());
        for key in &self.keys {
            line.extend_from_slice(key);
            match cells.take() {
                Stored::Text(text) => push_string(text, line),
                Stored::Other(value) => push_value(value, line),
            }
        }
        self.last.clear();
        self.last.extend_from_slice(&before[..before.len() - cells.rest().len()]);
        self.text.clear();
        self.text.extend_from_slice(&line[begin..]);
    }
}

/// Appends key and value.
#[inline]
fn push_field(key: &[u8], value: Stored<'_>, line: &mut Vec<u8>) {
    line.extend_from_slice(key);
    match value {
        Stored::Text(text) => push_string(text, line),
        Stored::Other(Value::Decimal(value)) => value.push_to(line),
        Stored::Other(value) => push_value(value, line),
    }
}

fn push_value(value: Value<'_>, line: &mut Vec<u8>) {
    match value {
        Value::Null => line.extend_from_slice(b"null"),
        Value::Boolean(true) => line.extend_from_slice(b"true"),
        Value::Boolean(false) => line.extend_from_slice(b"false"),
        Value::Int(value) => push_number(i64::from(value), line),
        Value::Long(value) => push_number(value, line),
        Value::Double(value) if value.is_finite() => push_json(&value, line),
        Value::Double(value) => push_string(Utf8::from(&*double_text(value)), line),
        Value::String(text) => push_string(Utf8::from(text), line),
        Value::Timestamp(time) => {
            let mut text = String::with_capacity(32);
            push_timestamp_iso(time, &mut text);
            push_string(Utf8::from(&*text), line);
        }
        Value::Decimal(value) => value.push_to(line),
    }
}

/// Writes a JSON string with its quotes.
///
/// # Errors
/// What `out` returned.
pub(super) fn write_string(text: &str, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// Appends a JSON string with its quotes.
#[inline]
fn push_string(text: Utf8<'_>, line: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if has_escaped(bytes) {
        return push_json(text.as_str(), line);
    }
    line.push(b'"');
    line.extend_from_slice(bytes);
    line.push(b'"');
}

/// Whether a byte is written otherwise than as it is: a control character, a quote, a backslash. Eight at a time.
#[inline]
fn has_escaped(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Sets the top bit of bytes below a bound, if there are any; what borrows do above the first one is no matter.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let of_word = |word: u64| {
        let (quote, backslash) =
            (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
        below(word, 0x20) | below(quote, 1) | below(backslash, 1)
    };
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
    };
    let mut any = of_word(u64::from_le_bytes(*last));
    for word in bytes.as_chunks::<8>().0 {
        any |= of_word(u64::from_le_bytes(*word));
    }
    any & (ONES * 0x80) != 0
}

fn push_json<T: serde::Serialize + ?Sized>(value: &T, line: &mut Vec<u8>) {
    serde_json::to_writer(line, value).expect("a vector takes every write");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::types::{Decimal, Row, Timestamp};

    fn columns(names: &[&str], data_type: DataType) -> Arc<[Column]> {
        names.iter().map(|name| Column { name: (*name).to_owned(), data_type }).collect()
    }

    fn lines(columns: &Arc<[Column]>, rows: &[Row<'_, '_>]) -> String {
        let mut table = Rows::new(columns.clone());
        rows.iter().for_each(|row| table.push(row));
        let (mut writer, mut out) = (RowWriter::new(columns), Vec::new());
        writer.write(&table, &mut out).unwrap();
        writer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn line(names: &[&str], row: Row<'_, '_>) -> String {
        lines(&columns(names, DataType::String), &[row])
    }

    fn value(value: Value<'_>) -> String {
        let line = line(&["v"], &[value]);
        line.strip_prefix("{\"v\":").unwrap().strip_suffix("}\n").unwrap().to_owned()
    }

    #[test]
    fn keys_keep_the_order_of_the_columns_and_are_escaped() {
        assert_eq!(
            line(&["b", "a \"quoted\"\n"], &[Value::Int(1), Value::Null]),
            "{\"b\":1,\"a \\\"quoted\\\"\\n\":null}\n"
        );
        assert_eq!(line(&[], &[]), "{}\n");
    }

    #[test]
    fn every_type_has_its_form() {
        assert_eq!(value(Value::Boolean(true)), "true");
        assert_eq!(value(Value::Long(i64::MIN)), "-9223372036854775808");
        assert_eq!(value(Value::Double(1250.5)), "1250.5");
        assert_eq!(value(Value::Double(0.1 + 0.2)), "0.30000000000000004");
        assert_eq!(value(Value::Double(f64::NAN)), "\"NaN\"");
        assert_eq!(value(Value::Double(f64::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(value(Value::Decimal(Decimal { unscaled: -5, scale: 2 })), "-0.05");
        assert_eq!(value(Value::Decimal(Decimal { unscaled: 100, scale: 2 })), "1.00");
        assert_eq!(value(Value::Timestamp(Timestamp(1_500_000))), "\"1970-01-01T00:00:01.5Z\"");
        assert_eq!(value(Value::String("a\u{0}\u{1b}\t\u{e9}")), "\"a\\u0000\\u001b\\t\u{e9}\"");
    }

    #[test]
    fn a_timestamp_is_the_one_of_its_row_whatever_the_rows_before_had() {
        let columns = columns(&["a", "b"], DataType::Timestamp);
        let [zero, one] = [0, 1_000_000].map(|micros| Value::Timestamp(Timestamp(micros)));
        let (zeros, ones) = ("\"1970-01-01T00:00:00Z\"", "\"1970-01-01T00:00:01Z\"");
        let (null, nulls) = (Value::Null, "null");
        let rows = [
            ([zero, one], [zeros, ones]),
            ([zero, one], [zeros, ones]),
            ([zero, zero], [zeros, zeros]),
            ([one, null], [ones, nulls]),
            ([one, null], [ones, nulls]),
            ([one, one], [ones, ones]),
            ([null, one], [nulls, ones]),
        ];
        let expected: String =
            rows.iter().map(|(_, [a, b])| format!("{{\"a\":{a},\"b\":{b}}}\n")).collect();
        let rows: Vec<Row<'_, '_>> = rows.iter().map(|(row, _)| &row[..]).collect();
        assert_eq!(lines(&columns, &rows), expected);
    }

    #[test]
    fn many_rows_are_written_a_few_times() {
        struct Counted(Vec<usize>);
        impl Write for Counted {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Counted(Vec::new());
        let mut writer = RowWriter::new(&[]);
        let mut rows = Rows::new([].into());
        (0..LINES_BYTES).for_each(|_| rows.push(&[]));
        writer.write(&rows, &mut out).unwrap();
        let mut rows = Rows::new([].into());
        rows.push(&[]);
        writer.write(&rows, &mut out).unwrap();
        writer.finish(&mut out).unwrap();
        assert_eq!(out.0.iter().sum::<usize>(), 3 * (LINES_BYTES + 1));
        assert_eq!(out.0.len(), 3);
        assert!(out.0[..2].iter().all(|bytes| (LINES_BYTES..LINES_BYTES + 3).contains(bytes)));
    }

    #[test]
    fn every_byte_that_is_escaped_is_noticed_wherever_it_is() {
        let escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        for (byte, length) in (0..=255).flat_map(|byte| (0..20).map(move |length| (byte, length))) {
            for at in 0..length {
                let mut text = vec![b' '; length];
                text[at] = byte;
                assert_eq!(has_escaped(&text), escaped(byte), "{byte} at {at} of {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_and_reads_back(text in ".*", double in any::<f64>(), name in ".+") {
            prop_assume!(name != "d" && double.is_finite());
            let line = line(&[&name, "d"], &[Value::String(&text), Value::Double(double)]);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read[&name].as_str(), Some(text.as_str()));
            // The reader may be one unit off in the last place; the digits are checked exactly.
            let digits = line.trim_end().rsplit_once(':').unwrap().1.trim_end_matches('}');
            prop_assert_eq!(digits.parse::<f64>().unwrap().to_bits(), double.to_bits());
        }
    }
}
