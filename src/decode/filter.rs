//! Conditions over one event, with SQL's three-valued logic as Spark evaluates it with ANSI mode off.
//!
//! Numbers compare as doubles unless both are whole or decimal; NaN equals NaN and is greater than
//! every other number; texts compare by their bytes. A text beside a number, a time or a boolean is
//! cast to that type, NULL if it cannot be. Whole numbers wrap on overflow, as in Spark.
//!
//! Not here: whether a condition makes sense (`spec`), and which types its columns have.

use std::cmp::Ordering;

use super::time;
use crate::spec::{Arithmetic, Comparison, Expression, Literal};
use crate::types::{Decimal, Event, Value};

/// Whether a record is kept: its condition is true, neither false nor NULL.
#[must_use]
pub fn keeps(condition: &Expression, event: &Event<'_>) -> bool {
    evaluate(condition, event) == Value::Boolean(true)
}

/// The value of an expression for one event.
#[must_use]
pub fn evaluate<'a>(expression: &'a Expression, event: &Event<'a>) -> Value<'a> {
    let of = |operand: &'a Expression| evaluate(operand, event);
    match expression {
        Expression::Column(column) => event.value(*column),
        Expression::EventTime => event.time.map_or(Value::Null, Value::Timestamp),
        Expression::Literal(literal) => constant(literal),
        Expression::Compare(comparison, left, right) => compared(*comparison, of(left), of(right)),
        Expression::Arithmetic(operator, left, right) => calculated(*operator, of(left), of(right)),
        Expression::And(left, right) => truth(match as_truth(of(left)) {
            Some(false) => Some(false),
            left => match (left, as_truth(of(right))) {
                (_, Some(false)) => Some(false),
                (Some(true), right) => right,
                _ => None,
            },
        }),
        Expression::Or(left, right) => truth(match as_truth(of(left)) {
            Some(true) => Some(true),
            left => match (left, as_truth(of(right))) {
                (_, Some(true)) => Some(true),
                (Some(false), right) => right,
                _ => None,
            },
        }),
        Expression::Not(operand) => truth(as_truth(of(operand)).map(|value| !value)),
        Expression::IsNull(operand) => Value::Boolean(of(operand) == Value::Null),
        Expression::In(operand, list) => truth(is_in(of(operand), list, event)),
        Expression::Like(operand, pattern) => match of(operand) {
            Value::String(text) => Value::Boolean(is_like(text, pattern)),
            _ => Value::Null,
        },
        Expression::Case(branches, otherwise) => branches
            .iter()
            .find(|(condition, _)| of(condition) == Value::Boolean(true))
            .map(|(_, value)| value)
            .or(otherwise.as_deref())
            .map_or(Value::Null, of),
        Expression::NoData => Value::Boolean(!event.has_data),
    }
}

fn constant(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Boolean(value) => Value::Boolean(*value),
        Literal::Long(value) => Value::Long(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(value) => Value::String(value),
        Literal::Timestamp(value) => Value::Timestamp(*value),
    }
}

fn truth(value: Option<bool>) -> Value<'static> {
    value.map_or(Value::Null, Value::Boolean)
}

fn as_truth(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Boolean(value) => Some(value),
        Value::String(text) => boolean_of(text),
        _ => None,
    }
}

fn is_in(value: Value<'_>, list: &[Expression], event: &Event<'_>) -> Option<bool> {
    if value == Value::Null {
        return None;
    }
    let mut found = Some(false);
    for candidate in list {
        match order(value, evaluate(candidate, event)) {
            Some(Ordering::Equal) => return Some(true),
            Some(_) => {}
            None => found = None,
        }
    }
    found
}

fn compared(comparison: Comparison, left: Value<'_>, right: Value<'_>) -> Value<'static> {
    if comparison == Comparison::NullSafeEqual {
        let nulls = (left == Value::Null, right == Value::Null);
        return Value::Boolean(match nulls {
            (true, true) => true,
            (false, false) => order(left, right) == Some(Ordering::Equal),
            _ => false,
        });
    }
    truth(order(left, right).map(|order| match comparison {
        Comparison::Equal | Comparison::NullSafeEqual => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }))
}

/// How two values compare; `None` if one is NULL or cannot be cast to the other's type.
fn order(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Value::String(text), other) => Some(order_with_text(other, text)?.reverse()),
        (other, Value::String(text)) => order_with_text(other, text),
        (Value::Boolean(left), Value::Boolean(right)) => Some(left.cmp(&right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(&right)),
        _ => match (as_decimal(left), as_decimal(right)) {
            (Some(left), Some(right)) => Some(order_of_decimals(left, right)),
            _ => Some(order_of_doubles(as_double(left)?, as_double(right)?)),
        },
    }
}

fn order_with_text(value: Value<'_>, text: &str) -> Option<Ordering> {
    match value {
        Value::Timestamp(value) => Some(value.cmp(&time::iso(text.as_bytes())?)),
        Value::Boolean(value) => Some(value.cmp(&boolean_of(text)?)),
        Value::Int(value) => Some(i64::from(value).cmp(&whole_of(text)?)),
        Value::Long(value) => Some(value.cmp(&whole_of(text)?)),
        Value::Double(_) | Value::Decimal(_) => {
            Some(order_of_doubles(as_double(value)?, double_of(text)?))
        }
        Value::Null | Value::String(_) => None,
    }
}

fn order_of_doubles(left: f64, right: f64) -> Ordering {
    // Only NaN does not compare: it equals itself and is the greatest. -0.0 equals 0.0.
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

fn order_of_decimals(left: Decimal, right: Decimal) -> Ordering {
    match aligned(left, right) {
        Some((left, right, _)) => left.cmp(&right),
        // One is too large for the other's scale: far apart, so that doubles tell them.
        None => order_of_doubles(decimal_to_double(left), decimal_to_double(right)),
    }
}

/// Both unscaled values at the larger scale.
fn aligned(left: Decimal, right: Decimal) -> Option<(i128, i128, u8)> {
    let scale = left.scale.max(right.scale);
    let at_scale = |value: Decimal| {
        value.unscaled.checked_mul(10i128.checked_pow(u32::from(scale - value.scale))?)
    };
    Some((at_scale(left)?, at_scale(right)?, scale))
}

/// Whole numbers and decimals.
fn as_decimal(value: Value<'_>) -> Option<Decimal> {
    match value {
        Value::Int(value) => Some(Decimal { unscaled: i128::from(value), scale: 0 }),
        Value::Long(value) => Some(Decimal { unscaled: i128::from(value), scale: 0 }),
        Value::Decimal(value) => Some(value),
        _ => None,
    }
}

fn as_double(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(f64::from(value)),
        // Rounds to the nearest double, as SQL's cast does.
        Value::Long(value) => Some(value as f64),
        Value::Double(value) => Some(value),
        Value::Decimal(value) => Some(decimal_to_double(value)),
        Value::String(text) => double_of(text),
        Value::Null | Value::Boolean(_) | Value::Timestamp(_) => None,
    }
}

fn decimal_to_double(value: Decimal) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// Spark's cast of a text to DOUBLE, but for Java's hexadecimal form.
fn double_of(text: &str) -> Option<f64> {
    let text = text.trim_matches(|char| char <= ' ');
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    if digits.as_bytes().last().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return digits.parse().ok();
    }
    match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Spark's cast of a text to a whole number, which cuts a fraction off.
fn whole_of(text: &str) -> Option<i64> {
    let text = text.trim_matches(|char| char <= ' ');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction_is_good = fraction.bytes().all(|byte| byte.is_ascii_digit());
    fraction_is_good.then(|| whole.parse().ok()).flatten()
}

fn boolean_of(text: &str) -> Option<bool> {
    let is_any = |words: [&str; 5]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is_any(["t", "true", "y", "yes", "1"]) {
        return Some(true);
    }
    is_any(["f", "false", "n", "no", "0"]).then_some(false)
}

fn calculated(operator: Arithmetic, left: Value<'_>, right: Value<'_>) -> Value<'static> {
    if operator == Arithmetic::Divide {
        let quotient = as_double(left).zip(as_double(right)).filter(|(_, right)| *right != 0.0);
        return quotient.map_or(Value::Null, |(left, right)| Value::Double(left / right));
    }
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => {
            whole_result(operator, i64::from(left), i64::from(right))
                // The low 32 bits, as Java's int arithmetic keeps them.
                .map_or(Value::Null, |value| Value::Int(value as i32))
        }
        _ => match (as_long(left), as_long(right)) {
            (Some(left), Some(right)) => {
                whole_result(operator, left, right).map_or(Value::Null, Value::Long)
            }
            _ => calculated_with_fractions(operator, left, right),
        },
    }
}

fn as_long(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(i64::from(value)),
        Value::Long(value) => Some(value),
        _ => None,
    }
}

fn whole_result(operator: Arithmetic, left: i64, right: i64) -> Option<i64> {
    match operator {
        Arithmetic::Add => Some(left.wrapping_add(right)),
        Arithmetic::Subtract => Some(left.wrapping_sub(right)),
        Arithmetic::Multiply => Some(left.wrapping_mul(right)),
        Arithmetic::Remainder if right != 0 => Some(left.wrapping_rem(right)),
        Arithmetic::Remainder | Arithmetic::Divide => None,
    }
}

fn calculated_with_fractions(
    operator: Arithmetic,
    left: Value<'_>,
    right: Value<'_>,
) -> Value<'static> {
    if let Some((left, right)) = as_decimal(left).zip(as_decimal(right)) {
        return decimal_result(operator, left, right).map_or(Value::Null, Value::Decimal);
    }
    let Some((left, right)) = as_double(left).zip(as_double(right)) else { return Value::Null };
    match operator {
        Arithmetic::Add => Value::Double(left + right),
        Arithmetic::Subtract => Value::Double(left - right),
        Arithmetic::Multiply => Value::Double(left * right),
        Arithmetic::Remainder if right != 0.0 => Value::Double(left % right),
        Arithmetic::Remainder | Arithmetic::Divide => Value::Null,
    }
}

fn decimal_result(operator: Arithmetic, left: Decimal, right: Decimal) -> Option<Decimal> {
    if operator == Arithmetic::Multiply {
        let unscaled = left.unscaled.checked_mul(right.unscaled)?;
        return Some(Decimal { unscaled, scale: left.scale.checked_add(right.scale)? });
    }
    let (left, right, scale) = aligned(left, right)?;
    let unscaled = match operator {
        Arithmetic::Add => left.checked_add(right)?,
        Arithmetic::Subtract => left.checked_sub(right)?,
        _ => left.checked_rem(right)?,
    };
    Some(Decimal { unscaled, scale })
}

/// SQL's LIKE: `%` any text, `_` one character, `\` takes the next character as it is.
fn is_like(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // Where to go on when a guess about the last `%` was wrong: one character more belongs to it.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before = (text.clone(), pattern.clone());
        let matched = match (pattern.next(), text.next()) {
            (Some('%'), _) => {
                text = before.0;
                retry = Some((text.clone(), pattern.clone()));
                continue;
            }
            (None, None) => return true,
            (Some('_'), Some(_)) => true,
            (Some('\\'), Some(char)) => pattern.next().unwrap_or('\\') == char,
            (Some(expected), Some(char)) => expected == char,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !matched {
            let Some((from, rest)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            (text, pattern) = (from.clone(), rest.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Cell, Number, Source, Span, TextSource};

    /// Columns: 0 store (string), 1 item (string), 2 price (double), 3 ts (long), 4 decimal(18,2).
    fn check(cells: &[Cell], payload: &str, condition: &Expression, expected: Value<'_>) {
        let source = Source { payload: payload.as_bytes(), scratch: b"" };
        let event =
            Event { time: time::iso(b"2025-09-02T08:00:06Z"), has_data: true, cells, source };
        let same = match (evaluate(condition, &event), expected) {
            (Value::Double(left), Value::Double(right)) => left.to_bits() == right.to_bits(),
            (left, right) => left == right,
        };
        assert!(same, "{condition:?} is {:?}, not {expected:?}", evaluate(condition, &event));
    }

    fn text(start: u32, len: u32) -> Cell {
        Cell::String(Span { source: TextSource::Payload, start, len })
    }

    fn column(index: usize) -> Box<Expression> {
        Box::new(Expression::Column(index))
    }

    fn long(value: i64) -> Box<Expression> {
        Box::new(Expression::Literal(Literal::Long(value)))
    }

    fn string(value: &str) -> Box<Expression> {
        Box::new(Expression::Literal(Literal::String(value.to_owned())))
    }

    const NULL: Expression = Expression::Literal(Literal::Null);
    const PAYLOAD: &str = "Bapple";
    const TRUE: Value<'static> = Value::Boolean(true);
    const FALSE: Value<'static> = Value::Boolean(false);

    fn cells(price: Number) -> [Cell; 5] {
        let amount = Decimal { unscaled: 1050, scale: 2 };
        [
            text(0, 1),
            text(1, 5),
            Cell::Double(price),
            Cell::Long(1_756_800_006),
            Cell::Decimal(amount),
        ]
    }

    #[test]
    fn numbers_compare_by_value_and_nan_is_the_greatest() {
        let price = cells(Number::Short { mantissa: 105, scale: 1 });
        let compare = |comparison, left, right| Expression::Compare(comparison, left, right);
        let is = |condition: Expression, expected| check(&price, PAYLOAD, &condition, expected);
        is(compare(Comparison::Greater, column(2), long(10)), TRUE);
        is(
            compare(
                Comparison::Equal,
                column(2),
                Box::new(Expression::Literal(Literal::Double(10.5))),
            ),
            TRUE,
        );
        is(compare(Comparison::Equal, column(4), column(2)), TRUE);
        is(compare(Comparison::Less, column(4), long(11)), TRUE);
        is(compare(Comparison::GreaterOrEqual, column(3), long(1_756_800_007)), FALSE);
        is(compare(Comparison::Greater, column(2), Box::new(NULL)), Value::Null);
        let nan = cells(Number::Value(f64::NAN));
        check(&nan, PAYLOAD, &compare(Comparison::Greater, column(2), long(10)), TRUE);
        check(&nan, PAYLOAD, &compare(Comparison::Equal, column(2), string("NaN")), TRUE);
        check(&nan, PAYLOAD, &compare(Comparison::Less, column(2), long(10)), FALSE);
        assert_eq!(order_of_doubles(-0.0, 0.0), Ordering::Equal);
    }

    #[test]
    fn texts_times_and_casts_compare_as_in_spark() {
        let row = cells(Number::Short { mantissa: 20, scale: 0 });
        let compare = |comparison, left, right| Expression::Compare(comparison, left, right);
        let is = |condition: Expression, expected| check(&row, PAYLOAD, &condition, expected);
        let time = || Box::new(Expression::EventTime);
        is(compare(Comparison::Greater, column(0), string("A")), TRUE);
        is(compare(Comparison::Greater, time(), string("2025-09-02 08:00:06")), FALSE);
        is(compare(Comparison::GreaterOrEqual, time(), string("2025-09-02 08:00:06")), TRUE);
        is(compare(Comparison::Less, string("2025-09-02 08:00:05"), time()), TRUE);
        is(compare(Comparison::Greater, time(), string("soon")), Value::Null);
        is(compare(Comparison::Greater, column(1), long(5)), Value::Null);
        is(compare(Comparison::Equal, string(" 5.7 "), long(5)), TRUE);
        is(compare(Comparison::NullSafeEqual, Box::new(NULL), Box::new(NULL)), TRUE);
        is(compare(Comparison::NullSafeEqual, column(0), Box::new(NULL)), FALSE);
    }

    #[test]
    fn logic_has_three_values() {
        let row = cells(Number::Short { mantissa: 20, scale: 0 });
        let values = || [Some(true), Some(false), None];
        let literal = |value: Option<bool>| {
            Box::new(value.map_or(NULL, |value| Expression::Literal(Literal::Boolean(value))))
        };
        for left in values() {
            for right in values() {
                let and = match (left, right) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                let or = match (left, right) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                };
                check(&row, PAYLOAD, &Expression::And(literal(left), literal(right)), truth(and));
                check(&row, PAYLOAD, &Expression::Or(literal(left), literal(right)), truth(or));
            }
            check(&row, PAYLOAD, &Expression::Not(literal(left)), truth(left.map(|value| !value)));
            check(
                &row,
                PAYLOAD,
                &Expression::IsNull(literal(left)),
                Value::Boolean(left.is_none()),
            );
        }
        let list = |values: [Expression; 2]| Expression::In(column(0), values.into());
        check(&row, PAYLOAD, &list([*string("B"), NULL]), TRUE);
        check(&row, PAYLOAD, &list([*string("A"), NULL]), Value::Null);
        check(&row, PAYLOAD, &list([*string("A"), *string("C")]), FALSE);
    }

    #[test]
    fn arithmetic_divides_as_doubles_and_nothing_by_zero() {
        let row = cells(Number::Short { mantissa: 11, scale: 0 });
        let is = |operator, left, right, expected| {
            check(&row, PAYLOAD, &Expression::Arithmetic(operator, left, right), expected);
        };
        is(Arithmetic::Remainder, column(2), long(2), Value::Double(1.0));
        is(Arithmetic::Divide, column(2), long(0), Value::Null);
        is(Arithmetic::Remainder, column(3), long(0), Value::Null);
        is(Arithmetic::Divide, long(1), long(2), Value::Double(0.5));
        is(Arithmetic::Add, long(i64::MAX), long(1), Value::Long(i64::MIN));
        is(Arithmetic::Remainder, long(i64::MIN), long(-1), Value::Long(0));
        is(Arithmetic::Add, column(2), Box::new(NULL), Value::Null);
        is(
            Arithmetic::Add,
            column(4),
            long(1),
            Value::Decimal(Decimal { unscaled: 1150, scale: 2 }),
        );
        is(
            Arithmetic::Multiply,
            column(4),
            column(4),
            Value::Decimal(Decimal { unscaled: 1_102_500, scale: 4 }),
        );
    }

    #[test]
    fn like_knows_both_wildcards_and_the_escape() {
        let check = |text, pattern, expected| {
            assert_eq!(is_like(text, pattern), expected, "{text} {pattern}")
        };
        check("apple", "a%", true);
        check("Apple", "a%", false);
        check("a_b", "a_b", true);
        check("a%b", r"a\_b", false);
        check("a_b", r"a\_b", true);
        check("xab", "%b", true);
        check("abab", "%ab", true);
        check("", "%", true);
        check("", "_", false);
        check("é", "_", true);
        check("aXbXc", "a%b%d", false);
        check("a\nb", "a_b", true);
    }
}
