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

use crate::types::{Column, Row, Value, double_text, push_timestamp_iso};

/// Writes rows of one set of columns.
#[derive(Debug)]
pub(super) struct RowWriter {
    /// What comes before each value: the bracket or comma, the escaped name, the colon.
    keys: Vec<Vec<u8>>,
    /// The row being written.
    line: Vec<u8>,
    /// The value being written.
    text: String,
}

impl RowWriter {
    /// Prepares the keys.
    pub(super) fn new(columns: &[Column]) -> RowWriter {
        let key = |(index, column): (usize, &Column)| {
            let mut key = if index == 0 { b"{".to_vec() } else { b",".to_vec() };
            write_string(&column.name, &mut key).expect("a vector takes every write");
            key.push(b':');
            key
        };
        let keys = columns.iter().enumerate().map(key).collect();
        RowWriter { keys, line: Vec::new(), text: String::new() }
    }

    /// Writes one row and its line end.
    ///
    /// # Errors
    /// What `out` returned.
    pub(super) fn write(&mut self, row: Row<'_, '_>, out: &mut dyn Write) -> io::Result<()> {
        let RowWriter { keys, line, text } = self;
        line.clear();
        if row.is_empty() {
            line.push(b'{');
        }
        for (key, value) in keys.iter().zip(row) {
            line.extend_from_slice(key);
            text.clear();
            write_value(*value, text, line)?;
        }
        line.extend_from_slice(b"}\n");
        out.write_all(line)
    }
}

/// Writes a JSON string with its quotes.
///
/// # Errors
/// What `out` returned.
pub(super) fn write_string(text: &str, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// Appends a value; `text` is empty.
fn write_value(value: Value<'_>, text: &mut String, line: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Value::Null => line.extend_from_slice(b"null"),
        Value::Boolean(value) => line.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Int(value) => write!(line, "{value}")?,
        Value::Long(value) => write!(line, "{value}")?,
        Value::Double(value) if value.is_finite() => serde_json::to_writer(line, &value)?,
        Value::Double(value) => serde_json::to_writer(line, &double_text(value))?,
        Value::String(text) => serde_json::to_writer(line, text)?,
        Value::Timestamp(time) => {
            push_timestamp_iso(time, text);
            line.push(b'"');
            line.extend_from_slice(text.as_bytes());
            line.push(b'"');
        }
        Value::Decimal(value) => {
            value.write_to(text).expect("a text takes every write");
            line.extend_from_slice(text.as_bytes());
        }
    }
    Ok(())
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
        RowWriter::new(&columns).write(row, &mut out).unwrap();
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
