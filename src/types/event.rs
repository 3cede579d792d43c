//! A decoded record: typed cells over borrowed text, and what was wrong with it.
//!
//! An [`Event`] is a view. Its cells are plain copies, its texts are spans into the record's payload
//! or into the decoder's scratch buffer, so that decoding an ordinary record allocates nothing.
//!
//! Not here: how bytes become cells (`decode`); what is done with them (`window`, `batch`).

use super::{Decimal, Timestamp, Value, decimal::POWERS};

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

impl Number {
    /// A short number of at most nine places in units of 10^-9, exactly.
    #[must_use]
    #[inline]
    pub fn short_nanos(self) -> Option<i128> {
        match self {
            Number::Short { mantissa, scale } if scale <= EXACT_SCALE => {
                let power = POWERS[usize::from(EXACT_SCALE - scale)];
                Some(i128::from(mantissa) * i128::from(power))
            }
            _ => None,
        }
    }
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

impl Cell {
    /// Whether it is a value without a text somewhere else.
    #[must_use]
    #[inline]
    pub fn is_whole(self) -> bool {
        !matches!(self, Cell::String(_) | Cell::Double(Number::Text(_)))
    }
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
    /// Whether the record had any JSON text: false for a tombstone and for an empty or blank value.
    pub has_data: bool,
    /// One cell for each column of the schema, in its order.
    pub cells: &'a [Cell],
    /// What the cells' spans point into.
    pub source: Source<'a>,
}

impl<'a> Event<'a> {
    /// The typed value of one column; a double is parsed here, from its shortest form.
    #[must_use]
    pub fn value(&self, column: usize) -> Value<'a> {
        self.source.value(self.cells[column])
    }
}

impl<'a> Source<'a> {
    /// Without any text.
    pub const NONE: Source<'static> = Source { payload: &[], scratch: &[] };

    /// The typed value of a cell; a double is parsed here, from its shortest form.
    #[must_use]
    pub fn value(&self, cell: Cell) -> Value<'a> {
        match cell {
            Cell::Null => Value::Null,
            Cell::Boolean(value) => Value::Boolean(value),
            Cell::Int(value) => Value::Int(value),
            Cell::Long(value) => Value::Long(value),
            Cell::Double(number) => Value::Double(self.double(number)),
            Cell::String(span) => Value::String(self.text(span)),
            Cell::Timestamp(value) => Value::Timestamp(value),
            Cell::Decimal(value) => Value::Decimal(value),
        }
    }

    /// The IEEE double nearest to a number as it was written.
    #[must_use]
    pub fn double(&self, number: Number) -> f64 {
        match number {
            Number::Short { mantissa, scale } => short_to_double(mantissa, scale),
            // A JSON number is always a Rust float literal; beyond the range it becomes ±infinity.
            Number::Text(span) => self.text(span).parse().unwrap_or(f64::NAN),
            Number::Value(value) => value,
        }
    }

    /// The number as written in units of 10^-9, exactly; `None` if it has other digits than zero
    /// beyond the ninth place, does not fit, or is NaN or infinite.
    #[must_use]
    #[inline]
    pub fn exact_nanos(&self, number: Number) -> Option<i128> {
        match number {
            Number::Short { mantissa, scale } => {
                if let Some(nanos) = number.short_nanos() {
                    return Some(nanos);
                }
                let power = *POWERS.get(usize::from(scale - EXACT_SCALE))?;
                (mantissa % power == 0).then(|| i128::from(mantissa / power))
            }
            Number::Text(span) => {
                DecimalText::parse(self.bytes(span))?.exact(i64::from(EXACT_SCALE))
            }
            Number::Value(value) => (value == 0.0).then_some(0),
        }
    }
}

/// An event that outlives its record: its cells and the texts they point into.
#[derive(Clone, Debug)]
pub struct OwnedEvent {
    time: Option<Timestamp>,
    has_data: bool,
    cells: Box<[Cell]>,
    text: Box<[u8]>,
}

impl OwnedEvent {
    /// The event.
    #[must_use]
    pub fn borrow(&self) -> Event<'_> {
        let source = Source { payload: &self.text, scratch: &[] };
        Event { time: self.time, has_data: self.has_data, cells: &self.cells, source }
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<OwnedEvent>() + size_of_val(&*self.cells) + self.text.len()
    }
}

impl Event<'_> {
    /// A copy that outlives the record; only texts that cells point into are copied.
    ///
    /// # Panics
    /// When the texts are longer than 4 GiB together.
    #[must_use]
    pub fn to_owned_event(&self) -> OwnedEvent {
        let mut text = Vec::new();
        let mut moved = |span: Span| {
            let start = u32::try_from(text.len()).expect("texts of a record are below 4 GiB");
            text.extend_from_slice(self.source.bytes(span));
            Span { source: TextSource::Payload, start, len: span.len }
        };
        let cells = self.cells.iter().map(|cell| match *cell {
            Cell::String(span) => Cell::String(moved(span)),
            Cell::Double(Number::Text(span)) => Cell::Double(Number::Text(moved(span))),
            other => other,
        });
        let cells = cells.collect();
        OwnedEvent { time: self.time, has_data: self.has_data, cells, text: text.into() }
    }
}

/// Places after the point that exact sums keep.
const EXACT_SCALE: u8 = 9;

/// A decimal number's text in parts: an optional sign, digits with at most one point, and an optional
/// exponent, as Java's `BigDecimal` reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecimalText<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> DecimalText<'a> {
    /// Takes a text apart; `None` if it is no decimal number.
    pub(crate) fn parse(text: &'a [u8]) -> Option<DecimalText<'a>> {
        let negative = text.first() == Some(&b'-');
        let text = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
        let (whole, rest) = leading_digits(text);
        let (fraction, rest) = match rest.strip_prefix(b".") {
            Some(rest) => leading_digits(rest),
            None => (&rest[..0], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', exponent @ ..] => signed(exponent)?,
            _ => return None,
        };
        Some(DecimalText { negative, whole, fraction, exponent })
    }

    /// The value in units of 10^-`scale`; `None` if it is no whole number of them or does not fit.
    pub(crate) fn exact(&self, scale: i64) -> Option<i128> {
        let (value, kept) = self.cut(scale)?;
        self.digits_from(kept).all(|digit| digit == 0).then_some(value)
    }

    /// The value in units of 10^-`scale`, rounded half away from zero (Java's HALF_UP); `None` if it
    /// does not fit.
    pub(crate) fn half_up(&self, scale: i64) -> Option<i128> {
        let (value, kept) = self.cut(scale)?;
        // With every digit cut off and more, the first one that is cut off is a zero before them.
        let is_below = self.shift(scale).saturating_neg() > self.len();
        let up = !is_below && self.digits_from(kept).next().is_some_and(|digit| digit >= 5);
        value.checked_add(if self.negative { -i128::from(up) } else { i128::from(up) })
    }

    /// The value in units of 10^-`scale` cut toward zero, and how many digits it is made of.
    fn cut(&self, scale: i64) -> Option<(i128, usize)> {
        let shift = self.shift(scale);
        let kept = usize::try_from(self.len().saturating_add(shift.min(0)).max(0)).ok()?;
        let mut value = 0i128;
        for digit in self.digits_from(0).take(kept) {
            value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        if shift > 0 && value != 0 {
            value = value.checked_mul(10i128.checked_pow(u32::try_from(shift).ok()?)?)?;
        }
        Some((if self.negative { -value } else { value }, kept))
    }

    /// The power of ten between the digits and units of 10^-`scale`.
    fn shift(&self, scale: i64) -> i64 {
        let places = i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
        self.exponent.saturating_add(scale).saturating_sub(places)
    }

    fn len(&self) -> i64 {
        i64::try_from(self.whole.len() + self.fraction.len()).unwrap_or(i64::MAX)
    }

    fn digits_from(&self, start: usize) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).skip(start).map(|digit| digit - b'0')
    }
}

fn leading_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

/// An exponent; one beyond the range of `i64` is as good as its end.
fn signed(text: &[u8]) -> Option<i64> {
    let negative = text.first() == Some(&b'-');
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add =
        |value: i64, digit: &u8| value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    let value = digits.iter().fold(0i64, add);
    Some(if negative { -value } else { value })
}

/// Correctly rounded: both operands are exact doubles for the fast case (Clinger 1990), and the
/// standard library parses the rest.
fn short_to_double(mantissa: i64, scale: u8) -> f64 {
    const EXACT: u64 = 1 << 53;
    const DOUBLES: [f64; 19] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    match DOUBLES.get(usize::from(scale)) {
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
    fn numbers_are_exact_in_billionths_or_not_at_all() {
        let exact = |number, payload: &str| {
            let source = Source { payload: payload.as_bytes(), scratch: b"" };
            source.exact_nanos(number)
        };
        let short = |mantissa, scale| exact(Number::Short { mantissa, scale }, "");
        assert_eq!(short(1234, 2), Some(12_340_000_000));
        assert_eq!(short(-5, 0), Some(-5_000_000_000));
        assert_eq!(short(1_200, 11), Some(12));
        assert_eq!(short(1_201, 11), None);
        assert_eq!(short(i64::MIN, 0), Some(i128::from(i64::MIN) * 1_000_000_000));
        let text = |text: &str| {
            let len = u32::try_from(text.len()).unwrap();
            exact(Number::Text(Span { source: TextSource::Payload, start: 0, len }), text)
        };
        assert_eq!(text("-1.5e3"), Some(-1_500_000_000_000));
        assert_eq!(text("12345678901234567890.25"), Some(12_345_678_901_234_567_890_250_000_000));
        assert_eq!(text("1500e-12"), None);
        assert_eq!(text("15000e-13"), None);
        assert_eq!(text("3000e-12"), Some(3));
        assert_eq!(text("0e999999999999999999999"), Some(0));
        assert_eq!(text("1e400"), None);
        assert_eq!(text("1e-999999999999999999999"), None);
        assert_eq!(exact(Number::Value(-0.0), ""), Some(0));
        assert_eq!(exact(Number::Value(f64::NAN), ""), None);
    }

    #[test]
    fn decimal_texts_round_half_up() {
        let half_up =
            |text: &str| DecimalText::parse(text.as_bytes()).and_then(|text| text.half_up(2));
        for (text, expected) in [
            ("0.125", 13),
            ("2.005", 201),
            ("-0.005", -1),
            ("0.004", 0),
            ("1e2", 10_000),
            ("1e-3", 0),
            ("9e-3", 1),
            ("9e-4", 0),
            (".5", 50),
            ("5.", 500),
            ("+1", 100),
            ("-0.0", 0),
            ("9e-99", 0),
        ] {
            assert_eq!(half_up(text), Some(expected), "{text}");
        }
        for text in ["", ".", "-", "e5", "1e", "1e+", " 1", "1,5", "0x1", "NaN", "1e40"] {
            assert_eq!(half_up(text), None, "{text}");
        }
    }

    #[test]
    fn reasons_are_numbered_in_the_order_they_are_listed() {
        for (index, reason) in FaultReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
