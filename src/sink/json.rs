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

use crate::types::{Column, Row, Timestamp, Value, double_text, push_number, push_timestamp_iso};

/// Lines are written so many bytes at a time, or a little more.
pub(super) const LINES_BYTES: usize = 256 << 10;

/// Writes rows of one set of columns.
#[derive(Debug)]
pub(super) struct RowWriter {
    fields: Vec<Field>,
    /// The rows that are not written yet.
    lines: Vec<u8>,
}

/// A column.
#[derive(Debug)]
struct Field {
    /// What comes before each value: the bracket or comma, the escaped name, the colon.
    key: Vec<u8>,
    /// Rows of one window come one after the other.
    last: Option<Timestamp>,
    /// The key and that timestamp.
    last_text: Vec<u8>,
}

impl RowWriter {
    /// Prepares the keys.
    pub(super) fn new(columns: &[Column]) -> RowWriter {
        let field = |(index, column): (usize, &Column)| {
            let mut key = if index == 0 { b"{".to_vec() } else { b",".to_vec() };
            push_string(&column.name, &mut key);
            key.push(b':');
            Field { key, last: None, last_text: Vec::new() }
        };
        let fields = columns.iter().enumerate().map(field).collect();
        RowWriter { fields, lines: Vec::new() }
    }

    /// Writes one row and its line end, now or together with others.
    ///
    /// # Errors
    /// What `out` returned.
    pub(super) fn write(&mut self, row: Row<'_, '_>, out: &mut dyn Write) -> io::Result<()> {
        let RowWriter { fields, lines } = self;
        if row.is_empty() {
            lines.push(b'{');
        }
        for (field, value) in fields.iter_mut().zip(row) {
            field.push(value, lines);
        }
        lines.extend_from_slice(b"}\n");
        if lines.len() >= LINES_BYTES { self.finish(out) } else { Ok(()) }
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

impl Field {
    /// Appends key and value.
    fn push(&mut self, value: &Value<'_>, line: &mut Vec<u8>) {
        if !matches!(value, Value::Timestamp(_)) {
            line.extend_from_slice(&self.key);
        }
        match *value {
            Value::Timestamp(time) => line.extend_from_slice(self.with_key(time)),
            Value::Null => line.extend_from_slice(b"null"),
            Value::Boolean(true) => line.extend_from_slice(b"true"),
            Value::Boolean(false) => line.extend_from_slice(b"false"),
            Value::Int(value) => push_number(i64::from(value), line),
            Value::Long(value) => push_number(value, line),
            Value::Double(value) if value.is_finite() => push_json(&value, line),
            Value::Double(value) => push_string(&double_text(value), line),
            Value::String(text) => push_string(text, line),
            Value::Decimal(value) => value.push_to(line),
        }
    }

    /// The key and a timestamp.
    fn with_key(&mut self, time: Timestamp) -> &[u8] {
        if self.last != Some(time) {
            let mut text = String::with_capacity(32);
            push_timestamp_iso(time, &mut text);
            self.last_text.clear();
            self.last_text.extend_from_slice(&self.key);
            push_string(&text, &mut self.last_text);
            self.last = Some(time);
        }
        &self.last_text
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
fn push_string(text: &str, line: &mut Vec<u8>) {
    let is_escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a way out of the loop it is done many bytes at a time.
    if text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
        return push_json(text, line);
    }
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

fn push_json<T: serde::Serialize + ?Sized>(value: &T, line: &mut Vec<u8>) {
    serde_json::to_writer(line, value).expect("a vector takes every write");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{DataType, Decimal, Timestamp};

    fn line(names: &[&str], row: Row<'_, '_>) -> String {
        let columns: Vec<Column> = names
            .iter()
            .map(|name| Column { name: (*name).to_owned(), data_type: DataType::String })
            .collect();
        let mut out = Vec::new();
        let mut writer = RowWriter::new(&columns);
        writer.write(row, &mut out).unwrap();
        writer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
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
        let column = |name: &str| Column { name: name.to_owned(), data_type: DataType::Timestamp };
        let mut writer = RowWriter::new(&[column("a"), column("b")]);
        let mut out = Vec::new();
        let mut write = |a, b| {
            out.clear();
            writer.write(&[a, b], &mut out).unwrap();
            writer.finish(&mut out).unwrap();
            String::from_utf8(out.clone()).unwrap()
        };
        let [zero, one] = [0, 1_000_000].map(|micros| Value::Timestamp(Timestamp(micros)));
        let (zeros, ones) = ("\"1970-01-01T00:00:00Z\"", "\"1970-01-01T00:00:01Z\"");
        assert_eq!(write(zero, one), format!("{{\"a\":{zeros},\"b\":{ones}}}\n"));
        assert_eq!(write(zero, zero), format!("{{\"a\":{zeros},\"b\":{zeros}}}\n"));
        assert_eq!(write(one, Value::Null), format!("{{\"a\":{ones},\"b\":null}}\n"));
        assert_eq!(write(zero, zero), format!("{{\"a\":{zeros},\"b\":{zeros}}}\n"));
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
        (0..LINES_BYTES).for_each(|_| writer.write(&[], &mut out).unwrap());
        writer.write(&[], &mut out).unwrap();
        writer.finish(&mut out).unwrap();
        assert_eq!(out.0.iter().sum::<usize>(), 3 * (LINES_BYTES + 1));
        assert_eq!(out.0.len(), 3);
        assert!(out.0[..2].iter().all(|bytes| (LINES_BYTES..LINES_BYTES + 3).contains(bytes)));
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
