//! Owned values: what aggregation buffers and state rows are made of.

use std::cmp::Ordering;

use crate::types::{Decimal, Timestamp, Value};

/// A typed value that owns its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
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
    String(Box<str>),
    /// TIMESTAMP.
    Timestamp(Timestamp),
    /// DECIMAL.
    Decimal(Decimal),
}

impl Field {
    /// Owns a value.
    #[must_use]
    pub fn from_value(value: Value<'_>) -> Field {
        match value {
            Value::Null => Field::Null,
            Value::Boolean(value) => Field::Boolean(value),
            Value::Int(value) => Field::Int(value),
            Value::Long(value) => Field::Long(value),
            Value::Double(value) => Field::Double(value),
            Value::String(text) => Field::String(text.into()),
            Value::Timestamp(value) => Field::Timestamp(value),
            Value::Decimal(value) => Field::Decimal(value),
        }
    }

    /// Bytes of memory it owns besides its own.
    pub(super) fn text_bytes(&self) -> usize {
        if let Field::String(text) = self { text.len() } else { 0 }
    }

    /// Borrows the value.
    #[must_use]
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Field::Null => Value::Null,
            Field::Boolean(value) => Value::Boolean(*value),
            Field::Int(value) => Value::Int(*value),
            Field::Long(value) => Value::Long(*value),
            Field::Double(value) => Value::Double(*value),
            Field::String(text) => Value::String(text),
            Field::Timestamp(value) => Value::Timestamp(*value),
            Field::Decimal(value) => Value::Decimal(*value),
        }
    }
}

/// Bytes of texts that fields own.
pub(super) fn text_bytes(fields: &[Field]) -> usize {
    fields.iter().map(Field::text_bytes).sum()
}

/// Ascending order of two values of one column: NULL first, NaN last, -0.0 equal to 0.0, texts by
/// their bytes.
pub(super) fn compare(left: Value<'_>, right: Value<'_>) -> Ordering {
    match (left, right) {
        (Value::Null, right) => false.cmp(&(right != Value::Null)),
        (_, Value::Null) => Ordering::Greater,
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(&right),
        (Value::Int(left), Value::Int(right)) => left.cmp(&right),
        (Value::Long(left), Value::Long(right)) => left.cmp(&right),
        (Value::Double(left), Value::Double(right)) => {
            left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
        }
        (Value::String(left), Value::String(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(&right),
        (Value::Decimal(left), Value::Decimal(right)) => { left.unscaled }.cmp(&{ right.unscaled }),
        (left, right) => unreachable!("{left:?} and {right:?} are not of one column"),
    }
}
