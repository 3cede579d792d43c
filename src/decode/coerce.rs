//! What a JSON value means for a column of a type, as Spark's `JacksonParser` converts it.
//!
//! | column | takes |
//! |---|---|
//! | STRING | any value: texts as they are, numbers as Spark prints them, containers as compact JSON |
//! | DOUBLE | numbers; the texts and bare tokens NaN, ±Infinity, ±INF (as a text not `INF`) |
//! | LONG, INT | whole numbers in range, without point or exponent |
//! | BOOLEAN | `true`, `false` |
//! | DECIMAL | numbers, and texts of numbers whose commas are dropped; rounded half up |
//! | TIMESTAMP | whole numbers of seconds, ISO 8601 texts |
//!
//! Not here: which column a value belongs to, and what becomes of one that does not fit (`mod`).

use super::Rules;
use super::jackson::{Jackson, Token};
use super::scan::{self, NumberForm, RawNumber, RawString, Scanner, Stop};
use super::text::{self, Render};
use super::time::{self, Unit};
use crate::types::{Cell, DataType, Decimal, DecimalText, FaultReason, Number, Span, TextSource};

/// A cell, or why the value does not fit its column.
type Coerced = Result<Cell, FaultReason>;

const WRONG_TYPE: Coerced = Err(FaultReason::WrongType);

/// Reads the value that begins `rest`, the end of `payload`, and lies inside the root object, as
/// `data_type` into `cell`, and leaves what follows it. Where it does not fit, gives the reason and leaves
/// the cell as it was.
///
/// The common types are written straight into the cell: a cell that is returned is copied in pieces
/// that do not line up with how it was written, which costs more than all the rest.
#[inline(always)]
pub(super) fn read<'a>(
    payload: &'a [u8],
    rest: &mut &'a [u8],
    data_type: DataType,
    scratch: &mut Vec<u8>,
    cell: &mut Cell,
    rules: &Rules,
) -> Result<Option<FaultReason>, Stop> {
    match data_type {
        DataType::String => {
            if let Some((len, true, after)) = scan::plain_text(rest) {
                let end = payload.len() - after.len() - 1;
                *cell = Cell::String(payload_span(end - len, end));
                *rest = after;
                return Ok(None);
            }
        }
        DataType::Double => {
            if let Some((mantissa, scale, after)) = scan::short_decimal(rest) {
                *cell = Cell::Double(Number::Short { mantissa, scale });
                *rest = after;
                return Ok(None);
            }
        }
        DataType::Long => {
            if let Some((value, after)) = scan::short_integer(rest) {
                *cell = Cell::Long(value);
                *rest = after;
                return Ok(None);
            }
        }
        _ => {}
    }
    // A scanner of its own, so that `rest` need not lie in memory.
    let mut scanner = Scanner::at(payload, rest);
    let coerced = read_rarer(&mut scanner, data_type, scratch, rules)?;
    *rest = scanner.rest();
    Ok(put(cell, coerced))
}

fn put(cell: &mut Cell, coerced: Coerced) -> Option<FaultReason> {
    match coerced {
        Ok(value) => {
            *cell = value;
            None
        }
        Err(reason) => Some(reason),
    }
}

/// Reads the value of the parser's current token as [`read`] does. A syntax error that the token's own
/// text has is the column's alone.
pub(super) fn read_token(
    parser: &mut Jackson<'_>,
    data_type: DataType,
    scratch: &mut Vec<u8>,
    cell: &mut Cell,
    rules: &Rules,
) -> Result<Option<FaultReason>, Stop> {
    let mut token = parser.current();
    while let Some(Token::Name) = token {
        token = parser.next_token()?;
    }
    let bytes = parser.bytes();
    let coerced = match token {
        None | Some(Token::Null) => Ok(Cell::Null),
        Some(Token::Text(_)) => {
            let text = parser.finish_text()?;
            from_string(bytes, text, data_type, scratch, rules)
        }
        Some(Token::Number(number)) => from_number(bytes, number, data_type, scratch, rules),
        Some(Token::NonFinite(value)) => from_non_finite(value, data_type, scratch),
        Some(token @ (Token::True | Token::False)) => {
            let value = matches!(token, Token::True);
            match data_type {
                DataType::Boolean => Ok(Cell::Boolean(value)),
                DataType::String => {
                    let start = scratch.len();
                    scratch.extend_from_slice(if value { b"true" } else { b"false" });
                    Ok(Cell::String(scratch_span(start, scratch.len())))
                }
                _ => WRONG_TYPE,
            }
        }
        Some(Token::StartObject | Token::StartArray) if data_type == DataType::String => {
            let start = scratch.len();
            let copied = parser.copy(&mut Render { out: scratch, doubles: rules.doubles });
            if let Err(stop) = copied {
                scratch.truncate(start);
                return Err(stop);
            }
            Ok(Cell::String(scratch_span(start, scratch.len())))
        }
        Some(_) => WRONG_TYPE,
    };
    Ok(put(cell, coerced))
}

/// A record's whole text.
pub(super) fn whole_text(payload: &[u8], scratch: &mut Vec<u8>) -> Cell {
    if std::str::from_utf8(payload).is_ok() {
        return Cell::String(payload_span(0, payload.len()));
    }
    let start = scratch.len();
    text::append_java_text(payload, scratch);
    Cell::String(scratch_span(start, scratch.len()))
}

#[inline(never)]
fn read_rarer(
    scanner: &mut Scanner<'_>,
    data_type: DataType,
    scratch: &mut Vec<u8>,
    rules: &Rules,
) -> Result<Coerced, Stop> {
    let first = scanner.peek_token();
    let start = scanner.pos;
    match first {
        b'"' | b'\'' => {
            let string = scanner.string()?;
            Ok(from_string(scanner.bytes, string, data_type, scratch, rules))
        }
        b'-' if scanner.is_minus_infinity() => from_token(scanner, data_type, scratch),
        b'-' | b'0'..=b'9' => {
            let number = scanner.number()?;
            Ok(from_number(scanner.bytes, number, data_type, scratch, rules))
        }
        b'n' => {
            scanner.literal(b"null")?;
            Ok(Ok(Cell::Null))
        }
        first @ (b't' | b'f') => {
            scanner.literal(if first == b't' { b"true" } else { b"false" })?;
            Ok(match data_type {
                DataType::Boolean => Ok(Cell::Boolean(first == b't')),
                DataType::String => Ok(Cell::String(payload_span(start, scanner.pos))),
                _ => WRONG_TYPE,
            })
        }
        b'{' | b'[' if data_type == DataType::String => {
            let start = scratch.len();
            scanner.value(1, &mut Render { out: scratch, doubles: rules.doubles })?;
            Ok(Ok(Cell::String(scratch_span(start, scratch.len()))))
        }
        b'{' | b'[' => scanner.skip_value(1).map(|()| WRONG_TYPE),
        b'N' | b'I' | b'+' => from_token(scanner, data_type, scratch),
        _ => Err(Stop::Syntax),
    }
}

/// One of the bare tokens that are no JSON.
fn from_token(
    scanner: &mut Scanner<'_>,
    data_type: DataType,
    scratch: &mut Vec<u8>,
) -> Result<Coerced, Stop> {
    let value = scanner.non_finite()?;
    Ok(from_non_finite(value, data_type, scratch))
}

fn from_non_finite(value: f64, data_type: DataType, scratch: &mut Vec<u8>) -> Coerced {
    match data_type {
        DataType::Double => Ok(Cell::Double(Number::Value(value))),
        DataType::String => {
            let start = scratch.len();
            text::append_non_finite(value, scratch);
            Ok(Cell::String(scratch_span(start, scratch.len())))
        }
        _ => WRONG_TYPE,
    }
}

fn from_string(
    bytes: &[u8],
    string: RawString,
    data_type: DataType,
    scratch: &mut Vec<u8>,
    rules: &Rules,
) -> Coerced {
    let content = &bytes[string.start..string.end];
    let is_plain = string.unescaped && (string.ascii || std::str::from_utf8(content).is_ok());
    let start = scratch.len();
    if !is_plain {
        text::append_text(bytes, string, scratch);
    }
    if data_type == DataType::String {
        return Ok(Cell::String(if is_plain {
            payload_span(string.start, string.end)
        } else {
            scratch_span(start, scratch.len())
        }));
    }
    let text = if is_plain { content } else { &scratch[start..] };
    let coerced = from_text(text, data_type, rules);
    scratch.truncate(start);
    coerced
}

/// A text in a column that is not STRING.
fn from_text(text: &[u8], data_type: DataType, rules: &Rules) -> Coerced {
    match data_type {
        DataType::Double if !rules.json.allow_non_numeric_numbers => WRONG_TYPE,
        DataType::Double => match text {
            b"NaN" => Ok(Cell::Double(Number::Value(f64::NAN))),
            b"Infinity" | b"+Infinity" | b"+INF" => Ok(Cell::Double(Number::Value(f64::INFINITY))),
            b"-Infinity" | b"-INF" => Ok(Cell::Double(Number::Value(f64::NEG_INFINITY))),
            _ => WRONG_TYPE,
        },
        DataType::Decimal { precision, scale } if text.contains(&b',') => {
            let without: Vec<u8> = text.iter().copied().filter(|byte| *byte != b',').collect();
            decimal_of(&without, precision, scale)
        }
        DataType::Decimal { precision, scale } => decimal_of(text, precision, scale),
        DataType::Timestamp => {
            time::iso(text, &rules.session).map(Cell::Timestamp).ok_or(FaultReason::WrongType)
        }
        DataType::String | DataType::Long | DataType::Int | DataType::Boolean => WRONG_TYPE,
    }
}

fn from_number(
    bytes: &[u8],
    number: RawNumber,
    data_type: DataType,
    scratch: &mut Vec<u8>,
    rules: &Rules,
) -> Coerced {
    match data_type {
        DataType::Double => Ok(Cell::Double(double(bytes, number))),
        DataType::Long => integer(bytes, number).map(Cell::Long),
        DataType::Int => {
            let value = i32::try_from(integer(bytes, number)?);
            value.map(Cell::Int).map_err(|_| FaultReason::OutOfRange)
        }
        DataType::Timestamp => integer(bytes, number)
            .map(|value| Cell::Timestamp(time::from_integer(value, Unit::Seconds))),
        DataType::Decimal { precision, scale } => decimal(bytes, number, precision, scale),
        DataType::String => Ok(Cell::String(number_text(bytes, number, scratch, rules))),
        DataType::Boolean => WRONG_TYPE,
    }
}

fn double(bytes: &[u8], number: RawNumber) -> Number {
    if number.is_short && number.form != NumberForm::Exponent {
        let mantissa = if number.negative { -number.mantissa } else { number.mantissa };
        if mantissa != 0 || !number.negative {
            // At most 18 digits.
            return Number::Short { mantissa, scale: number.scale as u8 };
        }
    }
    rarer_double(bytes, number)
}

fn rarer_double(bytes: &[u8], number: RawNumber) -> Number {
    let text = &bytes[number.start..number.end];
    if number.negative && text::parse_double(text) == 0.0 {
        // A whole number has no negative zero; a negative number too small for a double keeps its text.
        let digits = text.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or(text);
        let is_zero = !digits.iter().any(|digit| matches!(digit, b'1'..=b'9'));
        match (is_zero, number.form) {
            (true, NumberForm::Integer) => return Number::Short { mantissa: 0, scale: 0 },
            (true, _) => return Number::Value(-0.0),
            (false, _) => {}
        }
    }
    Number::Text(payload_span(number.start, number.end))
}

fn integer(bytes: &[u8], number: RawNumber) -> Result<i64, FaultReason> {
    if number.form != NumberForm::Integer {
        return Err(FaultReason::WrongType);
    }
    if number.is_short {
        return Ok(if number.negative { -number.mantissa } else { number.mantissa });
    }
    let text = std::str::from_utf8(&bytes[number.start..number.end]).unwrap_or_default();
    text.parse().map_err(|_| FaultReason::OutOfRange)
}

fn decimal(bytes: &[u8], number: RawNumber, precision: u8, scale: u8) -> Coerced {
    let is_direct = number.is_short && number.form != NumberForm::Exponent;
    if let Some(more) = usize::from(scale).checked_sub(number.scale).filter(|_| is_direct) {
        let digits = i128::from(if number.negative { -number.mantissa } else { number.mantissa });
        // `more` is at most 38, as a scale is.
        let unscaled = digits.checked_mul(10i128.pow(more as u32));
        return in_precision(unscaled, precision, scale);
    }
    decimal_of(&bytes[number.start..number.end], precision, scale)
}

fn decimal_of(text: &[u8], precision: u8, scale: u8) -> Coerced {
    let text = DecimalText::parse(text).ok_or(FaultReason::WrongType)?;
    in_precision(text.half_up(i64::from(scale)), precision, scale)
}

fn in_precision(unscaled: Option<i128>, precision: u8, scale: u8) -> Coerced {
    let limit = 10u128.pow(u32::from(precision));
    match unscaled.filter(|unscaled| unscaled.unsigned_abs() < limit) {
        Some(unscaled) => Ok(Cell::Decimal(Decimal { unscaled, scale })),
        None => Err(FaultReason::OutOfRange),
    }
}

fn number_text(bytes: &[u8], number: RawNumber, scratch: &mut Vec<u8>, rules: &Rules) -> Span {
    // `-0` is written `0`; noughts that lead (an option) are not written.
    let has_zero = number.negative && bytes[number.start + 1] == b'0';
    if number.form == NumberForm::Integer && !has_zero {
        return payload_span(number.start, number.end);
    }
    let start = scratch.len();
    text::append_number(bytes, number, rules.doubles, scratch);
    scratch_span(start, scratch.len())
}

/// Records are shorter than 4 GiB (`Decoder::MAX_VALUE_BYTES`).
#[inline(always)]
fn payload_span(start: usize, end: usize) -> Span {
    Span { source: TextSource::Payload, start: start as u32, len: (end - start) as u32 }
}

/// The scratch buffer grows to at most three times a record.
fn scratch_span(start: usize, end: usize) -> Span {
    Span { source: TextSource::Scratch, start: start as u32, len: (end - start) as u32 }
}
