//! Keys as the bytes of Spark's UnsafeRow: what its state stores hash, compare and order.
//!
//! A row is a bitmap of its NULLs, eight bytes a field, and a tail of texts, long decimals and nested
//! rows, to which their fields point with offset and length. Source: `UnsafeRow`, `UnsafeRowWriter`,
//! `Murmur3Hash`. Two keys are equal if their bytes are.
//!
//! A layout is `[window] columns… [time]`: the window of sliding windows comes first, the start of a
//! session and the event time of a deduplication last.

use crate::{
    spark::murmur,
    types::{DataType, Decimal, Timestamp, Value},
};

/// The fields of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyLayout {
    /// Whether its first field is a window, a nested row of start and end.
    pub(super) window: bool,
    /// Types of its columns.
    pub(super) columns: Vec<DataType>,
    /// Whether its last field is a point in time.
    pub(super) time: bool,
    /// Whether -0.0 becomes 0.0 (Spark's `NormalizeFloatingNumbers`).
    pub(super) zeros_are_one: bool,
}

/// A key, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key<'a> {
    /// Start and end of the window, if it has one.
    pub(super) window: Option<(Timestamp, Timestamp)>,
    /// Its columns.
    pub(super) columns: Vec<Value<'a>>,
    /// Its last field, if it is a point in time that is not NULL.
    pub(super) time: Option<Timestamp>,
}

/// Bytes that are no key of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored key cannot be read: it is not of the pipeline's columns")]
pub struct KeyError;

const WORD: usize = 8;
const WINDOW_BYTES: usize = 3 * WORD;

impl KeyLayout {
    fn fields(&self) -> usize {
        usize::from(self.window) + self.columns.len() + usize::from(self.time)
    }

    fn bitmap_bytes(&self) -> usize {
        self.fields().div_ceil(64) * WORD
    }

    /// Appends the row to `out`, which is cleared first.
    pub(super) fn encode(
        &self,
        window: Option<(i64, i64)>,
        columns: &[Value<'_>],
        time: Option<i64>,
        out: &mut Vec<u8>,
    ) {
        debug_assert_eq!((self.window, self.columns.len()), (window.is_some(), columns.len()));
        out.clear();
        out.resize(self.bitmap_bytes() + self.fields() * WORD, 0);
        let mut field = 0;
        if let Some((start, end)) = window {
            self.point_to_tail(out, field, WINDOW_BYTES);
            out.extend_from_slice(&[0; WORD]);
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
            field += 1;
        }
        for (value, data_type) in columns.iter().zip(&self.columns) {
            self.encode_column(*value, *data_type, field, out);
            field += 1;
        }
        if self.time {
            match time {
                Some(time) => self.set(out, field, time.cast_unsigned()),
                None => set_null(out, field),
            }
        }
    }

    fn encode_column(
        &self,
        value: Value<'_>,
        data_type: DataType,
        field: usize,
        out: &mut Vec<u8>,
    ) {
        let is_long_decimal =
            matches!(data_type, DataType::Decimal { precision, .. } if precision > 18);
        match value {
            Value::Null => {
                set_null(out, field);
                if is_long_decimal {
                    self.point_to_tail(out, field, 0);
                    out.extend_from_slice(&[0; 2 * WORD]);
                }
            }
            Value::Boolean(value) => self.set(out, field, u64::from(value)),
            Value::Int(value) => self.set(out, field, u64::from(value.cast_unsigned())),
            Value::Long(value) | Value::Timestamp(Timestamp(value)) => {
                self.set(out, field, value.cast_unsigned());
            }
            Value::Double(value) => self.set(out, field, self.canonical(value).to_bits()),
            Value::String(text) => {
                self.point_to_tail(out, field, text.len());
                out.extend_from_slice(text.as_bytes());
                out.resize(out.len().next_multiple_of(WORD), 0);
            }
            Value::Decimal(value) if is_long_decimal => {
                let bytes = java_bytes(value.unscaled);
                self.point_to_tail(out, field, bytes.len());
                let end = out.len() + 2 * WORD;
                out.extend_from_slice(&bytes);
                out.resize(end, 0);
            }
            // At most 18 digits fit.
            Value::Decimal(value) => self.set(out, field, (value.unscaled as i64).cast_unsigned()),
        }
    }

    /// The double that stands for all that are one key.
    fn canonical(&self, value: f64) -> f64 {
        if value.is_nan() {
            f64::NAN
        } else if self.zeros_are_one && value == 0.0 {
            0.0
        } else {
            value
        }
    }

    fn set(&self, row: &mut [u8], field: usize, word: u64) {
        let place = self.bitmap_bytes() + field * WORD;
        row[place..place + WORD].copy_from_slice(&word.to_le_bytes());
    }

    fn point_to_tail(&self, row: &mut [u8], field: usize, len: usize) {
        self.set(row, field, ((row.len() as u64) << 32) | len as u64);
    }

    fn word(&self, row: &[u8], field: usize) -> Result<u64, KeyError> {
        let place = self.bitmap_bytes() + field * WORD;
        let bytes = row.get(place..place + WORD).ok_or(KeyError)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    fn tail<'a>(&self, row: &'a [u8], field: usize) -> Result<&'a [u8], KeyError> {
        let word = self.word(row, field)?;
        let start = usize::try_from(word >> 32).map_err(|_| KeyError)?;
        let len = usize::try_from(word & 0xffff_ffff).map_err(|_| KeyError)?;
        row.get(start..start + len).ok_or(KeyError)
    }

    /// Reads a row back.
    ///
    /// # Errors
    /// Bytes that [`KeyLayout::encode`] did not write for this layout.
    pub(super) fn decode<'a>(&self, row: &'a [u8]) -> Result<Key<'a>, KeyError> {
        if row.len() < self.bitmap_bytes() + self.fields() * WORD {
            return Err(KeyError);
        }
        let first = usize::from(self.window);
        let columns = self.columns.iter().enumerate();
        let columns = columns.map(|(index, data_type)| self.column(row, first + index, *data_type));
        let time_field = first + self.columns.len();
        Ok(Key {
            window: if self.window { Some(self.window_of(row)?) } else { None },
            columns: columns.collect::<Result<_, _>>()?,
            time: if self.time && !is_null(row, time_field) {
                Some(Timestamp(self.word(row, time_field)?.cast_signed()))
            } else {
                None
            },
        })
    }

    fn window_of(&self, row: &[u8]) -> Result<(Timestamp, Timestamp), KeyError> {
        let nested = self.tail(row, 0)?;
        let long = |index: usize| {
            let bytes = nested.get(index * WORD..(index + 1) * WORD).ok_or(KeyError)?;
            Ok(i64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        };
        Ok((Timestamp(long(1)?), Timestamp(long(2)?)))
    }

    /// End of the window, or the last field: what decides when a key is late or done with.
    ///
    /// # Errors
    /// Bytes that are no row of this layout.
    pub(super) fn closing(&self, row: &[u8]) -> Result<Option<Timestamp>, KeyError> {
        if self.window {
            return Ok(Some(self.window_of(row)?.1));
        }
        let field = self.columns.len();
        if self.time && !is_null(row, field) {
            return Ok(Some(Timestamp(self.word(row, field)?.cast_signed())));
        }
        Ok(None)
    }

    fn column<'a>(
        &self,
        row: &'a [u8],
        field: usize,
        data_type: DataType,
    ) -> Result<Value<'a>, KeyError> {
        if is_null(row, field) {
            return Ok(Value::Null);
        }
        let word = self.word(row, field)?;
        Ok(match data_type {
            DataType::Boolean => Value::Boolean(word & 1 == 1),
            DataType::Int => Value::Int((word as u32).cast_signed()),
            DataType::Long => Value::Long(word.cast_signed()),
            DataType::Timestamp => Value::Timestamp(Timestamp(word.cast_signed())),
            DataType::Double => Value::Double(f64::from_bits(word)),
            DataType::String => {
                let text = std::str::from_utf8(self.tail(row, field)?).map_err(|_| KeyError)?;
                Value::String(text)
            }
            DataType::Decimal { precision, scale } if precision > 18 => {
                let unscaled = from_java_bytes(self.tail(row, field)?)?;
                Value::Decimal(Decimal { unscaled, scale })
            }
            DataType::Decimal { scale, .. } => {
                Value::Decimal(Decimal { unscaled: i128::from(word.cast_signed()), scale })
            }
        })
    }

    /// The shuffle partition of a row among `partitions`: `pmod(hash(fields…), partitions)`. The
    /// start of a session takes no part, the event time of a deduplication does.
    ///
    /// # Errors
    /// Bytes that are no row of this layout.
    pub(super) fn partition(
        &self,
        row: &[u8],
        partitions: usize,
        with_time: WithTime,
    ) -> Result<usize, KeyError> {
        if partitions == 1 {
            return Ok(0);
        }
        let key = self.decode(row)?;
        let mut hash = murmur::SEED;
        if let Some((start, end)) = key.window {
            hash = murmur::long(end.0, murmur::long(start.0, hash));
        }
        for (value, data_type) in key.columns.iter().zip(&self.columns) {
            hash = hash_value(*value, *data_type, hash);
        }
        if let (Some(time), WithTime::Yes) = (key.time, with_time) {
            hash = murmur::long(time.0, hash);
        }
        let partitions = i64::try_from(partitions).expect("partitions are few");
        let place = i64::from(hash.cast_signed()).rem_euclid(partitions);
        Ok(usize::try_from(place).expect("a remainder is not negative"))
    }

    /// Sets the last field of a row.
    pub(super) fn set_time(&self, row: &mut [u8], time: i64) {
        self.set(row, self.fields() - 1, time.cast_unsigned());
    }
}

/// Whether the last field takes part in a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithTime {
    /// It does.
    Yes,
    /// It does not.
    No,
}

fn hash_value(value: Value<'_>, data_type: DataType, seed: u32) -> u32 {
    match value {
        Value::Null => seed,
        Value::Boolean(value) => murmur::int(i32::from(value), seed),
        Value::Int(value) => murmur::int(value, seed),
        Value::Long(value) | Value::Timestamp(Timestamp(value)) => murmur::long(value, seed),
        Value::Double(value) => {
            let value = if value == 0.0 { 0.0 } else { value };
            murmur::long(value.to_bits().cast_signed(), seed)
        }
        Value::String(text) => murmur::bytes(text.as_bytes(), seed),
        Value::Decimal(value) => match data_type {
            DataType::Decimal { precision, .. } if precision > 18 => {
                murmur::bytes(&java_bytes(value.unscaled), seed)
            }
            _ => murmur::long(value.unscaled as i64, seed),
        },
    }
}

fn set_null(row: &mut [u8], field: usize) {
    row[field / 8] |= 1 << (field % 8);
}

fn is_null(row: &[u8], field: usize) -> bool {
    row[field / 8] & (1 << (field % 8)) != 0
}

/// `BigInteger.toByteArray`: big-endian two's complement, as short as it can be.
fn java_bytes(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xFF } else { 0 };
    let spare =
        bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    bytes[spare..].to_vec()
}

fn from_java_bytes(bytes: &[u8]) -> Result<i128, KeyError> {
    let first = *bytes.first().ok_or(KeyError)?;
    if bytes.len() > 16 {
        return Err(KeyError);
    }
    let mut whole = if first & 0x80 != 0 { [0xFF; 16] } else { [0; 16] };
    whole[16 - bytes.len()..].copy_from_slice(bytes);
    Ok(i128::from_be_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(window: bool, columns: &[DataType], time: bool) -> KeyLayout {
        KeyLayout { window, columns: columns.to_vec(), time, zeros_are_one: true }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_window_and_a_store_lie_as_in_an_unsafe_row() {
        let layout = layout(true, &[DataType::String], false);
        let mut row = Vec::new();
        layout.encode(Some((1, 2)), &[Value::String("ab")], None, &mut row);
        let expected = [
            "0000000000000000",
            "1800000018000000",
            "0200000030000000",
            "0000000000000000",
            "0100000000000000",
            "0200000000000000",
            "6162000000000000",
        ];
        assert_eq!(hex(&row), expected.concat());
        let key = layout.decode(&row).unwrap();
        assert_eq!(key.window, Some((Timestamp(1), Timestamp(2))));
        assert_eq!(key.columns, [Value::String("ab")]);
        layout.encode(Some((1, 2)), &[Value::Null], None, &mut row);
        assert_eq!(hex(&row[..24]), "020000000000000018000000180000000000000000000000");
        assert_eq!(row.len(), 48);
    }

    #[test]
    fn rows_of_all_types_read_back() {
        let long = DataType::Decimal { precision: 28, scale: 2 };
        let short = DataType::Decimal { precision: 18, scale: 2 };
        let types = [
            DataType::Boolean,
            DataType::Int,
            DataType::Long,
            DataType::Double,
            DataType::Timestamp,
            DataType::String,
            short,
            long,
            long,
            DataType::Int,
        ];
        let decimal = |unscaled| Value::Decimal(Decimal { unscaled, scale: 2 });
        let values = [
            Value::Boolean(true),
            Value::Int(-1),
            Value::Long(i64::MIN),
            Value::Double(-2.5),
            Value::Timestamp(Timestamp(-7)),
            Value::String("schön"),
            decimal(-5),
            decimal(-10i128.pow(27)),
            Value::Null,
            Value::Null,
        ];
        let layout = layout(false, &types, true);
        let mut row = Vec::new();
        layout.encode(None, &values, Some(9), &mut row);
        let key = layout.decode(&row).unwrap();
        assert_eq!((key.columns.as_slice(), key.time), (&values[..], Some(Timestamp(9))));
        assert_eq!(row.len() % 8, 0);
        assert_eq!(layout.decode(&row[..40]), Err(KeyError));
    }

    #[test]
    fn zeros_and_nans_are_one_key_each() {
        let mut layout = layout(false, &[DataType::Double], false);
        let of = |layout: &KeyLayout, value| {
            let mut row = Vec::new();
            layout.encode(None, &[Value::Double(value)], None, &mut row);
            row
        };
        assert_eq!(of(&layout, 0.0), of(&layout, -0.0));
        assert_eq!(of(&layout, f64::NAN), of(&layout, -f64::NAN));
        layout.zeros_are_one = false;
        assert_ne!(of(&layout, 0.0), of(&layout, -0.0));
    }

    #[test]
    fn big_integers_are_as_short_as_in_java() {
        for (value, expected) in [(0, "00"), (127, "7f"), (128, "0080"), (-1, "ff"), (-129, "ff7f")]
        {
            assert_eq!(hex(&java_bytes(value)), expected);
            assert_eq!(from_java_bytes(&java_bytes(value)), Ok(value));
        }
    }
}
