//! Group keys as bytes whose order is the order of the values: NULL first, then ascending; texts by
//! their UTF-8 bytes, doubles with NaN last. -0.0 and 0.0 are one key, as in Spark.
//!
//! The bytes are stored in checkpoints: a test below pins them.

use crate::types::{Cell, DataType, Decimal, Event, Timestamp, Utf8, Value};

/// Key bytes that no encoder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a group key cannot be read: {0}")]
pub struct KeyError(&'static str);

/// Appends the value of an event's column to a key.
#[inline(always)]
pub fn encode_column(event: &Event<'_>, column: usize, key: &mut Vec<u8>) {
    match event.cells[column] {
        // As [`encode`] does, without a look at whether the decoder's texts are UTF-8.
        Cell::String(span) => encode_text(event.source.bytes(span), key),
        _ => encode(event.value(column), key),
    }
}

/// Appends one value to a key.
pub fn encode(value: Value<'_>, key: &mut Vec<u8>) {
    key.push(u8::from(value != Value::Null));
    match value {
        Value::Null => {}
        Value::Boolean(value) => key.push(u8::from(value)),
        Value::Int(value) => {
            key.extend_from_slice(&(value.cast_unsigned() ^ (1 << 31)).to_be_bytes());
        }
        Value::Long(value) | Value::Timestamp(Timestamp(value)) => {
            key.extend_from_slice(&(value.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        }
        Value::Double(value) => key.extend_from_slice(&ordered_bits(value).to_be_bytes()),
        Value::String(text) => {
            key.pop();
            encode_text(text.as_bytes(), key);
        }
        Value::Decimal(value) => {
            key.extend_from_slice(&(value.unscaled.cast_unsigned() ^ (1 << 127)).to_be_bytes());
        }
    }
}

/// A zero byte inside a text is written as 00 FF, its end as 00 00, so that a shorter text sorts
/// before every longer one that begins with it. Before it stands that it is not NULL.
#[inline(always)]
fn encode_text(text: &[u8], key: &mut Vec<u8>) {
    match short_text(text) {
        // In pieces of a fixed length, which needs no call.
        Some(word) => {
            let end = key.len() + text.len() + 3;
            key.extend_from_slice(&(word << 8 | 1).to_le_bytes());
            key.extend_from_slice(&[word.to_le_bytes()[15], 0, 0]);
            key.truncate(end);
        }
        None => encode_long_text(text, key),
    }
}

/// The bytes of a text of at most sixteen bytes without a zero among them, and zeros behind them.
#[inline(always)]
fn short_text(text: &[u8]) -> Option<u128> {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        let is_short = text.len() <= 16 && !has_zero(first) && !has_zero(last);
        // What both have is the same at the same place.
        return is_short.then(|| u128::from(first) | u128::from(last) << (8 * (text.len() - 8)));
    }
    let word = match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(first) | u64::from(last) << (8 * (text.len() - 4))
        }
        _ => text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let behind = u64::MAX << (8 * text.len());
    (!has_zero(word | behind)).then_some(u128::from(word))
}

/// Whether one of eight bytes is zero.
#[inline]
fn has_zero(word: u64) -> bool {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080 != 0
}

fn encode_long_text(text: &[u8], key: &mut Vec<u8>) {
    key.push(1);
    let mut rest = text;
    while let Some(zero) = memchr::memchr(0, rest) {
        key.extend_from_slice(&rest[..=zero]);
        key.push(0xFF);
        rest = &rest[zero + 1..];
    }
    key.extend_from_slice(rest);
    key.extend_from_slice(&[0, 0]);
}

fn ordered_bits(value: f64) -> u64 {
    let canonical = if value.is_nan() {
        f64::NAN.to_bits() & !(1 << 63)
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    };
    if canonical >> 63 == 1 { !canonical } else { canonical ^ (1 << 63) }
}

/// Reads the value of the next key column from `key`; a text that is not in one piece there is appended to
/// `texts` and borrowed from it by the returned range.
///
/// # Errors
/// Bytes that [`encode`] does not write for this type.
#[inline]
pub fn decode<'k>(
    data_type: DataType,
    key: &mut &'k [u8],
    texts: &mut String,
) -> Result<DecodedKey<'k>, KeyError> {
    let [present] = take(key)?;
    if present == 0 {
        return Ok(DecodedKey::Value(Value::Null));
    }
    Ok(DecodedKey::Value(match data_type {
        DataType::Boolean => Value::Boolean(take::<1>(key)? != [0]),
        DataType::Int => Value::Int((u32::from_be_bytes(take(key)?) ^ (1 << 31)).cast_signed()),
        DataType::Long => Value::Long((u64::from_be_bytes(take(key)?) ^ (1 << 63)).cast_signed()),
        DataType::Timestamp => {
            Value::Timestamp(Timestamp((u64::from_be_bytes(take(key)?) ^ (1 << 63)).cast_signed()))
        }
        DataType::Double => {
            let ordered = u64::from_be_bytes(take(key)?);
            let bits = if ordered >> 63 == 1 { ordered ^ (1 << 63) } else { !ordered };
            Value::Double(f64::from_bits(bits))
        }
        DataType::Decimal { scale, .. } => {
            let unscaled = (u128::from_be_bytes(take(key)?) ^ (1 << 127)).cast_signed();
            Value::Decimal(Decimal { unscaled, scale })
        }
        DataType::String => return decode_text(key, texts),
    }))
}

/// Passes over the value of the next key column as [`decode`] would read it.
///
/// # Errors
/// As [`decode`].
pub fn check(data_type: DataType, key: &mut &[u8]) -> Result<(), KeyError> {
    let [present] = take(key)?;
    if present == 0 {
        return Ok(());
    }
    match data_type {
        DataType::Boolean => take::<1>(key).map(|_| ()),
        DataType::Int => take::<4>(key).map(|_| ()),
        DataType::Long | DataType::Timestamp | DataType::Double => take::<8>(key).map(|_| ()),
        DataType::Decimal { .. } => take::<16>(key).map(|_| ()),
        DataType::String => {
            while !next_piece(key)?.1 {}
            Ok(())
        }
    }
}

/// A key column's value.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodedKey<'k> {
    /// Not a text.
    Value(Value<'static>),
    /// A text as it is in the key.
    Text(Utf8<'k>),
    /// A text with zero bytes, in the buffer given to [`decode`].
    Joined(std::ops::Range<usize>),
}

#[inline]
fn decode_text<'k>(key: &mut &'k [u8], texts: &mut String) -> Result<DecodedKey<'k>, KeyError> {
    let (text, mut is_last) = next_piece(key)?;
    if is_last {
        return Ok(DecodedKey::Text(text));
    }
    let start = texts.len();
    texts.push_str(text.as_str());
    while !is_last {
        let piece;
        (piece, is_last) = next_piece(key)?;
        texts.push('\0');
        texts.push_str(piece.as_str());
    }
    Ok(DecodedKey::Joined(start..texts.len()))
}

/// A text up to its end or to a zero byte in it, and whether that was its end.
#[inline]
fn next_piece<'k>(key: &mut &'k [u8]) -> Result<(Utf8<'k>, bool), KeyError> {
    let zero = first_zero(key).ok_or(KeyError("a text has no end"))?;
    let mark = *key.get(zero + 1).ok_or(KeyError("a text has no end"))?;
    // A zero byte is no part of any other character, so that each piece is UTF-8 by itself.
    let piece = Utf8::new(&key[..zero]).ok_or(KeyError("a text is not UTF-8"))?;
    *key = &key[zero + 2..];
    match mark {
        0 => Ok((piece, true)),
        0xFF => Ok((piece, false)),
        _ => Err(KeyError("a text has a stray zero byte")),
    }
}

/// Where the first zero byte is; most texts are too short to be worth a call.
#[inline]
fn first_zero(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = word_at(bytes, at) {
        let zeros = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
        if zeros != 0 {
            let zero = at + zeros.trailing_zeros() as usize / 8;
            return (zero < bytes.len()).then_some(zero);
        }
        at += 8;
    }
    None
}

/// Eight bytes, the first of them the lowest, with zeros behind the end; `None` there.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    Some(match (rest.first_chunk(), bytes.last_chunk()) {
        (Some(word), _) => u64::from_le_bytes(*word),
        (None, Some(last)) => u64::from_le_bytes(*last) >> (8 * (8 - rest.len())),
        (None, None) => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    })
}

fn take<const N: usize>(key: &mut &[u8]) -> Result<[u8; N], KeyError> {
    let (head, rest) = key.split_first_chunk::<N>().ok_or(KeyError("it is too short"))?;
    *key = rest;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: Value<'_>) -> Vec<u8> {
        let mut key = Vec::new();
        encode(value, &mut key);
        key
    }

    fn decoded(data_type: DataType, mut key: &[u8]) -> (DecodedKey<'_>, String) {
        let mut texts = String::new();
        let value = decode(data_type, &mut key, &mut texts).unwrap();
        assert!(key.is_empty());
        let text = match &value {
            DecodedKey::Text(text) => text.as_str().to_owned(),
            DecodedKey::Joined(range) => texts[range.clone()].to_owned(),
            DecodedKey::Value(_) => String::new(),
        };
        (value, text)
    }

    #[test]
    fn the_bytes_of_keys_in_format_1_never_change() {
        let decimal = |unscaled| Value::Decimal(Decimal { unscaled, scale: 3 });
        for (value, hex) in [
            (Value::Null, "00"),
            (Value::Boolean(false), "0100"),
            (Value::Boolean(true), "0101"),
            (Value::Int(-5), "017ffffffb"),
            (Value::Long(1 << 40), "018000010000000000"),
            (Value::Timestamp(Timestamp(-1)), "017fffffffffffffff"),
            (Value::Double(0.5), "01bfe0000000000000"),
            (Value::Double(-0.5), "01401fffffffffffff"),
            (Value::Double(f64::NAN), "01fff8000000000000"),
            (Value::String(""), "010000"),
            (Value::String("a\0b"), "016100ff620000"),
            (Value::String("é"), "01c3a90000"),
            (decimal(-1250), "017ffffffffffffffffffffffffffffb1e"),
        ] {
            let bytes: String = encoded(value).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(bytes, hex, "{value:?}");
        }
    }

    #[test]
    fn null_sorts_before_everything_and_nan_after_every_number() {
        let doubles = [f64::NEG_INFINITY, -1.5, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        let mut keys = vec![encoded(Value::Null)];
        keys.extend(doubles.map(|value| encoded(Value::Double(value))));
        assert!(keys.is_sorted());
        assert_eq!(encoded(Value::Double(-0.0)), encoded(Value::Double(0.0)));
    }

    #[test]
    fn a_text_never_runs_into_the_next_column() {
        let two = |left, right| {
            let mut key = encoded(Value::String(left));
            encode(Value::String(right), &mut key);
            key
        };
        assert!(two("a", "z") < two("a\0", "a"));
        assert_ne!(two("a", "b"), two("ab", ""));
    }

    proptest! {
        #[test]
        fn longs_keep_their_order_and_value(left: i64, right: i64) {
            let (a, b) = (encoded(Value::Long(left)), encoded(Value::Long(right)));
            prop_assert_eq!(a.cmp(&b), left.cmp(&right));
            prop_assert_eq!(decoded(DataType::Long, &a).0, DecodedKey::Value(Value::Long(left)));
        }

        #[test]
        fn texts_keep_their_order_and_value(
            left in "[\\x00\\x01a-c\u{e9}]{0,6}a{0,40}", right in "[\\x00\\x01a-c\u{e9}]{0,6}",
        ) {
            let (a, b) = (encoded(Value::String(&left)), encoded(Value::String(&right)));
            prop_assert_eq!(a.cmp(&b), left.as_bytes().cmp(right.as_bytes()));
            prop_assert_eq!(decoded(DataType::String, &a).1, left);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let decimal = DataType::Decimal { precision: 38, scale: 2 };
            for data_type in [
                DataType::String, DataType::Int, DataType::Long, DataType::Double,
                DataType::Boolean, DataType::Timestamp, decimal,
            ] {
                let (mut read, mut passed) = (&bytes[..], &bytes[..]);
                let decoded = decode(data_type, &mut read, &mut String::new()).map(|_| ());
                prop_assert_eq!(check(data_type, &mut passed), decoded, "one rule for both");
                prop_assert_eq!(read, passed);
            }
        }
    }
}
