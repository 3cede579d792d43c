//! A decoded record: typed cells over borrowed text, and what was wrong with it.
//!
//! An [`Event`] is a view. Its cells are plain copies, its texts are spans into the record's payload
//! or into the decoder's scratch buffer, so that decoding an ordinary record allocates nothing.
//!
//! Not here: how bytes become cells (`decode`); what is done with them (`window`, `batch`).

use super::{Decimal, Timestamp, Value};

/// Which buffer a [`Span`] points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// The record's own bytes.
    Payload,
    /// The decoder's scratch buffer: texts that had to be rewritten (escapes, re-serialised JSON).
    Scratch,
}

/// A piece of UTF-8 text in one of the event's two buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The buffer.
    pub source: TextSource,
    /// First byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A double as it was written, kept in the cheapest form that loses nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// `mantissa` × 10^-`scale`, exactly as written: the common case (prices, counts).
    /// Never holds a negative zero.
    Short {
        /// All digits, with sign.
        mantissa: i64,
        /// Digits after the point, at most 18.
        scale: u8,
    },
    /// The JSON number's text: more digits, or an exponent.
    Text(Span),
    /// A value with no decimal text worth keeping: NaN, ±Infinity, -0.0.
    Value(f64),
}

/// One column's value in an event. `Null` also stands for a column nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// Missing, JSON null, or not readable as the column's type.
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// INT.
    Int(i32),
    /// LONG.
    Long(i64),
    /// DOUBLE.
    Double(Number),
    /// STRING.
    String(Span),
    /// TIMESTAMP.
    Timestamp(Timestamp),
    /// DECIMAL, already at the column's scale.
    Decimal(Decimal),
}

/// The two buffers that an event's spans point into.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The record's value.
    pub payload: &'a [u8],
    /// What the decoder rewrote. Always valid UTF-8.
    pub scratch: &'a [u8],
}

impl<'a> Source<'a> {
    /// The bytes of a span. The decoder only makes spans of valid UTF-8 that lie in their buffer.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &'a [u8] {
        let buffer = match span.source {
            TextSource::Payload => self.payload,
            TextSource::Scratch => self.scratch,
        };
        &buffer[span.start as usize..span.start as usize + span.len as usize]
    }

    /// The text of a span.
    #[must_use]
    pub fn text(&self, span: Span) -> &'a str {
        std::str::from_utf8(self.bytes(span)).expect("the decoder only makes spans of valid UTF-8")
    }
}

/// A decoded record.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Event time, if the pipeline names a column for it and the record has a usable one.
    pub time: Option<Timestamp>,
    /// One cell for each column of the schema, in its order.
    pub cells: &'a [Cell],
    /// What the cells' spans point into.
    pub source: Source<'a>,
}

impl<'a> Event<'a> {
    /// The typed value of one column; a double is parsed here, from its shortest form.
    #[must_use]
    pub fn value(&self, column: usize) -> Value<'a> {
        match self.cells[column] {
            Cell::Null => Value::Null,
            Cell::Boolean(value) => Value::Boolean(value),
            Cell::Int(value) => Value::Int(value),
            Cell::Long(value) => Value::Long(value),
            Cell::Double(number) => Value::Double(self.double(number)),
            Cell::String(span) => Value::String(self.source.text(span)),
            Cell::Timestamp(value) => Value::Timestamp(value),
            Cell::Decimal(value) => Value::Decimal(value),
        }
    }

    /// A number as whole 10^-9 units, if it is exactly that many.
    #[must_use]
    pub fn exact_nanos(&self, number: Number) -> Option<i128> {
        match number {
            Number::Short { mantissa, scale: scale @ 0..=9 } => {
                Some(i128::from(mantissa) * 10i128.pow(u32::from(9 - scale)))
            }
            _ => None,
        }
    }

    /// The IEEE double nearest to a number as it was written.
    #[must_use]
    pub fn double(&self, number: Number) -> f64 {
        match number {
            Number::Short { mantissa, scale } => short_to_double(mantissa, scale),
            // A JSON number is always a Rust float literal; beyond the range it becomes ±infinity.
            Number::Text(span) => self.source.text(span).parse().unwrap_or(f64::NAN),
            Number::Value(value) => value,
        }
    }
}

/// Correctly rounded: both operands are exact doubles for the fast case (Clinger 1990), and the
/// standard library parses the rest.
fn short_to_double(mantissa: i64, scale: u8) -> f64 {
    const EXACT: u64 = 1 << 53;
    const POWERS: [f64; 19] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    match POWERS.get(usize::from(scale)) {
        Some(power) if mantissa.unsigned_abs() <= EXACT => mantissa as f64 / power,
        _ => format!("{mantissa}e-{scale}")
            .parse()
            .expect("an integer with an exponent is a float literal"),
    }
}

/// Why a record was not, or not wholly, used. The reasons are counted one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FaultReason {
    /// The record has no value (a tombstone).
    NullValue = 0,
    /// The value is empty or blank.
    Empty = 1,
    /// Not JSON: a syntax error, a truncated object, bad UTF-8 outside of strings.
    Syntax = 2,
    /// JSON, but not an object at its root.
    NotAnObject = 3,
    /// Nested deeper than the reader allows.
    TooDeep = 4,
    /// Larger than the reader allows.
    TooLarge = 5,
    /// A field's JSON value is not of the column's type.
    WrongType = 6,
    /// A field's number does not fit the column's type.
    OutOfRange = 7,
    /// The pipeline needs an event time and the record has none.
    NoEventTime = 8,
    /// The event time is further ahead of the clock than `--max-future-skew` allows.
    Future = 9,
}

impl FaultReason {
    /// Every reason, in the order of its number.
    pub const ALL: [FaultReason; 10] = [
        FaultReason::NullValue,
        FaultReason::Empty,
        FaultReason::Syntax,
        FaultReason::NotAnObject,
        FaultReason::TooDeep,
        FaultReason::TooLarge,
        FaultReason::WrongType,
        FaultReason::OutOfRange,
        FaultReason::NoEventTime,
        FaultReason::Future,
    ];

    /// The name used in counts, dead letters and `inspect --json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultReason::NullValue => "null_value",
            FaultReason::Empty => "empty",
            FaultReason::Syntax => "syntax",
            FaultReason::NotAnObject => "not_an_object",
            FaultReason::TooDeep => "too_deep",
            FaultReason::TooLarge => "too_large",
            FaultReason::WrongType => "wrong_type",
            FaultReason::OutOfRange => "out_of_range",
            FaultReason::NoEventTime => "no_event_time",
            FaultReason::Future => "future",
        }
    }
}

/// What was wrong with a record: the first fault found, with the column where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason it is counted under.
    pub reason: FaultReason,
    /// Index of the schema's column, for `WrongType`, `OutOfRange`, `NoEventTime` and `Future`.
    pub column: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_become_the_nearest_double() {
        let check = |mantissa, scale, text: &str| {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(short_to_double(mantissa, scale), expected, "{text}");
        };
        check(1, 1, "0.1");
        check(-12345, 2, "-123.45");
        check(9_007_199_254_740_993, 0, "9007199254740993");
        check(999_999_999_999_999_999, 18, "0.999999999999999999");
    }

    #[test]
    fn reasons_are_numbered_in_the_order_they_are_listed() {
        for (index, reason) in FaultReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
