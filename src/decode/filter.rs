//! Expressions over one event, with SQL's three-valued logic as Spark evaluates it.
//!
//! Numbers compare as doubles unless both are whole or decimal; NaN equals NaN and is greater than
//! every other number; texts compare by their bytes. A text beside a number, a time or a boolean is
//! cast to that type. What cannot be computed (such a cast, a division by zero) is NULL, and whole
//! numbers wrap on overflow; in ANSI mode these are errors that end the run.
//!
//! Start at [`Evaluator::evaluate`]. Not here: whether an expression makes sense (`spec`), and which
//! types its columns have.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use regex::Regex;

use super::time::{self, Session};
use super::{DecodeError, Decoded, ValueError, double_texts, mark_expressions, session_of};
use crate::spec::{Arithmetic, Comparison, Compat, Expression, Function, Literal, Pipeline};
use crate::types::{
    DataType, Decimal, DecimalText, DoubleTexts, Event, Timestamp, Value, timestamp_text_in,
};

type Evaluated<'a> = Result<Value<'a>, ValueError>;

/// Computes a pipeline's expressions.
#[derive(Clone, Debug)]
pub struct Evaluator {
    rules: Rules,
    patterns: HashMap<String, Regex>,
}

#[derive(Clone, Debug)]
struct Rules {
    session: Session,
    doubles: DoubleTexts,
    ansi: bool,
    is_spark_4: bool,
}

/// Texts that expressions make, kept as long as their values are looked at.
#[derive(Debug, Default)]
pub struct Texts(OnceCell<(Box<str>, Box<Texts>)>);

impl Texts {
    fn keep(&self, text: String) -> &str {
        let mut last = self;
        while let Some((_, next)) = last.0.get() {
            last = next;
        }
        &last.0.get_or_init(|| (text.into(), Box::default())).0
    }
}

/// What an expression is computed of.
#[derive(Clone, Copy)]
struct Scope<'s, 'a> {
    evaluator: &'s Evaluator,
    event: &'s Event<'a>,
    time_error: Option<&'s ValueError>,
    texts: &'a Texts,
}

impl Evaluator {
    /// An evaluator for the expressions of `pipeline`.
    ///
    /// # Errors
    /// An unknown session time zone, or a regular expression that cannot be used.
    pub fn new(pipeline: &Pipeline) -> Result<Evaluator, DecodeError> {
        let rules = Rules {
            session: session_of(pipeline)?,
            doubles: double_texts(pipeline),
            ansi: pipeline.semantics.ansi,
            is_spark_4: pipeline.semantics.compat == Some(Compat::Spark4),
        };
        let mut patterns = HashMap::new();
        let mut failed = None;
        mark_expressions(pipeline, &mut |expression| {
            let Expression::RLike(_, pattern) = expression else { return };
            match Regex::new(pattern) {
                Ok(regex) => drop(patterns.insert(pattern.clone(), regex)),
                Err(error) => failed = Some((pattern.clone(), error.to_string())),
            }
        });
        match failed {
            Some((pattern, reason)) => Err(DecodeError::Regex { pattern, reason }),
            None => Ok(Evaluator { rules, patterns }),
        }
    }

    /// Sets the batch's clock reading, in milliseconds from 1970: texts of a time without a date are of
    /// its day.
    pub fn set_clock(&mut self, clock_ms: i64) {
        self.rules.session.clock = Timestamp(clock_ms.saturating_mul(1000));
    }

    /// Whether a record goes further: its condition, if there is one, is true. An event time that ends
    /// the run does so unless the condition leaves the record out without asking for it.
    ///
    /// # Errors
    /// A value that ends the run.
    #[inline]
    pub fn admits(
        &self,
        condition: Option<&Expression>,
        decoded: &Decoded<'_>,
    ) -> Result<bool, ValueError> {
        match (condition, &decoded.time_error) {
            (None, None) => Ok(true),
            _ => self.admits_by_rules(condition, decoded),
        }
    }

    fn admits_by_rules(
        &self,
        condition: Option<&Expression>,
        decoded: &Decoded<'_>,
    ) -> Result<bool, ValueError> {
        let texts = Texts::default();
        let time_error = decoded.time_error.as_deref();
        if let Some(condition) = condition {
            let scope = Scope { evaluator: self, event: &decoded.event, time_error, texts: &texts };
            if scope.of(condition)? != Value::Boolean(true) {
                return Ok(false);
            }
        }
        match time_error {
            Some(error) => Err(error.clone()),
            None => Ok(true),
        }
    }

    /// Whether a condition is true for a record, neither false nor NULL.
    ///
    /// # Errors
    /// A value that ends the run.
    pub fn keeps(&self, condition: &Expression, event: &Event<'_>) -> Result<bool, ValueError> {
        Ok(self.evaluate(condition, event, &Texts::default())? == Value::Boolean(true))
    }

    /// The value of an expression for one event.
    ///
    /// # Errors
    /// A value that ends the run.
    pub fn evaluate<'a>(
        &self,
        expression: &'a Expression,
        event: &Event<'a>,
        texts: &'a Texts,
    ) -> Evaluated<'a> {
        Scope { evaluator: self, event, time_error: None, texts }.of(expression)
    }
}

impl<'a> Scope<'_, 'a> {
    fn of(&self, expression: &'a Expression) -> Evaluated<'a> {
        let rules = &self.evaluator.rules;
        Ok(match expression {
            Expression::Column(column) => self.event.value(*column),
            Expression::EventTime => match self.time_error {
                Some(error) => return Err(error.clone()),
                None => self.event.time.map_or(Value::Null, Value::Timestamp),
            },
            Expression::Literal(literal) => constant(literal),
            Expression::Compare(comparison, left, right) => {
                compared(*comparison, self.of(left)?, self.of(right)?, rules)?
            }
            Expression::Arithmetic(operator, left, right) => {
                calculated(*operator, self.of(left)?, self.of(right)?, rules)?
            }
            Expression::And(left, right) => truth(match as_truth(self.of(left)?) {
                Some(false) => Some(false),
                left => match (left, as_truth(self.of(right)?)) {
                    (_, Some(false)) => Some(false),
                    (Some(true), right) => right,
                    _ => None,
                },
            }),
            Expression::Or(left, right) => truth(match as_truth(self.of(left)?) {
                Some(true) => Some(true),
                left => match (left, as_truth(self.of(right)?)) {
                    (_, Some(true)) => Some(true),
                    (Some(false), right) => right,
                    _ => None,
                },
            }),
            Expression::Not(operand) => truth(as_truth(self.of(operand)?).map(|value| !value)),
            Expression::IsNull(operand) => Value::Boolean(self.of(operand)? == Value::Null),
            Expression::In(operand, list) => truth(self.is_in(operand, list)?),
            Expression::Like(operand, pattern) => match self.of(operand)? {
                Value::String(text) => Value::Boolean(is_like(text, pattern)),
                _ => Value::Null,
            },
            Expression::RLike(operand, pattern) => {
                match (self.of(operand)?, self.evaluator.patterns.get(pattern)) {
                    (Value::String(text), Some(regex)) => Value::Boolean(regex.is_match(text)),
                    _ => Value::Null,
                }
            }
            Expression::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    if self.of(condition)? == Value::Boolean(true) {
                        return self.of(value);
                    }
                }
                otherwise.as_deref().map_or(Ok(Value::Null), |value| self.of(value))?
            }
            Expression::Cast(operand, to) => self.cast(self.of(operand)?, *to)?,
            Expression::Call(function, operands) => self.call(*function, operands)?,
            Expression::NoData => Value::Boolean(!self.event.has_data),
        })
    }

    fn is_in(
        &self,
        operand: &'a Expression,
        list: &'a [Expression],
    ) -> Result<Option<bool>, ValueError> {
        let value = self.of(operand)?;
        if value == Value::Null {
            return Ok(None);
        }
        let mut found = Some(false);
        for candidate in list {
            match order(value, self.of(candidate)?, &self.evaluator.rules)? {
                Some(Ordering::Equal) => return Ok(Some(true)),
                Some(_) => {}
                None => found = None,
            }
        }
        Ok(found)
    }

    fn call(&self, function: Function, operands: &'a [Expression]) -> Evaluated<'a> {
        match function {
            Function::Coalesce => {
                for operand in operands {
                    let value = self.of(operand)?;
                    if value != Value::Null {
                        return Ok(value);
                    }
                }
                return Ok(Value::Null);
            }
            Function::Concat => {
                let mut whole = String::new();
                for operand in operands {
                    match self.text_of(self.of(operand)?) {
                        Some(text) => whole.push_str(text),
                        None => return Ok(Value::Null),
                    }
                }
                return Ok(Value::String(self.texts.keep(whole)));
            }
            _ => {}
        }
        let Some(operand) = operands.first() else { return Ok(Value::Null) };
        let rules = &self.evaluator.rules;
        Ok(match (function, self.of(operand)?) {
            (_, Value::Null) if function != Function::IsNan => Value::Null,
            (Function::Abs, value) => absolute(value, rules)?,
            (Function::Negate, value) => negated(value, rules)?,
            (Function::IsNan, value) => Value::Boolean(as_double(value).is_some_and(f64::is_nan)),
            (Function::Length, Value::String(text)) => {
                Value::Int(i32::try_from(text.chars().count()).unwrap_or(i32::MAX))
            }
            (Function::Lower, Value::String(text)) => {
                Value::String(self.texts.keep(text.to_lowercase()))
            }
            (Function::Upper, Value::String(text)) => {
                Value::String(self.texts.keep(text.to_uppercase()))
            }
            (Function::Trim, Value::String(text)) => Value::String(text.trim_matches(' ')),
            (Function::LeftTrim, Value::String(text)) => {
                Value::String(text.trim_start_matches(' '))
            }
            (Function::RightTrim, Value::String(text)) => Value::String(text.trim_end_matches(' ')),
            (function, value) => match as_timestamp(value, rules)? {
                Some(time) => part_of(function, time, rules),
                None => Value::Null,
            },
        })
    }

    /// A value as SQL casts it to STRING.
    fn text_of(&self, value: Value<'a>) -> Option<&'a str> {
        let rules = &self.evaluator.rules;
        let text = match value {
            Value::Null => return None,
            Value::String(text) => return Some(text),
            Value::Boolean(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Long(value) => value.to_string(),
            Value::Double(value) => rules.doubles.text(value),
            Value::Timestamp(time) => timestamp_text_in(time, &rules.session.zone),
            Value::Decimal(value) => value.to_string(),
        };
        Some(self.texts.keep(text))
    }

    fn cast(&self, value: Value<'a>, to: DataType) -> Evaluated<'a> {
        let rules = &self.evaluator.rules;
        let null = |value: Option<Value<'a>>| value.unwrap_or(Value::Null);
        Ok(match (value, to) {
            (Value::Null, _) => Value::Null,
            (value, DataType::String) => null(self.text_of(value).map(Value::String)),
            (Value::String(text), to) => from_text(text, to, rules)?,
            (value, DataType::Double) => null(match value {
                Value::Boolean(value) => Some(Value::Double(f64::from(u8::from(value)))),
                Value::Timestamp(time) => Some(Value::Double(time.0 as f64 / 1e6)),
                value => as_double(value).map(Value::Double),
            }),
            (value, DataType::Long | DataType::Int) => whole_cast(value, to, rules)?,
            (Value::Boolean(value), DataType::Boolean) => Value::Boolean(value),
            (value, DataType::Boolean) => {
                null(as_double(value).map(|value| Value::Boolean(value != 0.0)))
            }
            (value, DataType::Timestamp) => null(as_timestamp(value, rules)?.map(Value::Timestamp)),
            (value, DataType::Decimal { precision, scale }) => {
                let text = self.text_of(value).unwrap_or_default();
                let limit = 10u128.pow(u32::from(precision));
                let unscaled = DecimalText::parse(text.as_bytes())
                    .and_then(|text| text.half_up(i64::from(scale)))
                    .filter(|unscaled| unscaled.unsigned_abs() < limit);
                null(unscaled.map(|unscaled| Value::Decimal(Decimal { unscaled, scale })))
            }
        })
    }
}

fn absolute<'a>(value: Value<'a>, rules: &Rules) -> Evaluated<'a> {
    match value {
        Value::Double(value) => Ok(Value::Double(value.abs())),
        value if as_double(value).is_some_and(|value| value < 0.0) => negated(value, rules),
        value => Ok(value),
    }
}

fn negated<'a>(value: Value<'a>, rules: &Rules) -> Evaluated<'a> {
    Ok(match value {
        Value::Int(i32::MIN) if rules.ansi => return Err(ValueError::Overflow("integer")),
        Value::Long(i64::MIN) if rules.ansi => return Err(ValueError::Overflow("long")),
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Long(value) => Value::Long(value.wrapping_neg()),
        Value::Double(value) => Value::Double(-value),
        Value::Decimal(value) => {
            Value::Decimal(Decimal { unscaled: value.unscaled.saturating_neg(), ..value })
        }
        value => as_double(value).map_or(Value::Null, |value| Value::Double(-value)),
    })
}

fn part_of(function: Function, time: Timestamp, rules: &Rules) -> Value<'static> {
    let text = timestamp_text_in(time, &rules.session.zone);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.trim_start_matches('+')),
    };
    let mut parts = digits.split(['-', ' ', ':', '.']);
    let (place, sign) = match function {
        Function::Year => (0, sign),
        Function::Month => (1, 1),
        Function::Day => (2, 1),
        Function::Hour => (3, 1),
        Function::Minute => (4, 1),
        Function::Second => (5, 1),
        _ => return Value::Null,
    };
    let part: Option<i32> = parts.nth(place).and_then(|part| part.parse().ok());
    part.map_or(Value::Null, |part| Value::Int(sign * part))
}

fn as_timestamp(value: Value<'_>, rules: &Rules) -> Result<Option<Timestamp>, ValueError> {
    Ok(match value {
        Value::Timestamp(time) => Some(time),
        Value::String(text) => {
            cast_text(text, "TIMESTAMP", rules, |text| time::iso(text.as_bytes(), &rules.session))?
        }
        Value::Double(value) => time::from_double(value, time::Unit::Seconds),
        Value::Decimal(value) => Some(time::from_decimal(value, time::Unit::Seconds)),
        value => as_long(value).map(|value| time::from_integer(value, time::Unit::Seconds)),
    })
}

/// A number or a time as a whole number; beyond the range it ends there, or is an error in ANSI mode.
fn whole_cast(value: Value<'_>, to: DataType, rules: &Rules) -> Evaluated<'static> {
    let is_int = to == DataType::Int;
    let beyond = |value: String| ValueError::CastOverflow {
        value,
        to: if is_int { "INT" } else { "BIGINT" },
    };
    let whole = match value {
        Value::Boolean(value) => i128::from(value),
        Value::Timestamp(time) => i128::from(time.0.div_euclid(1_000_000)),
        // Of a divisor beyond all numbers, nothing whole is left.
        Value::Decimal(value) => {
            10i128.checked_pow(u32::from(value.scale)).map_or(0, |divisor| value.unscaled / divisor)
        }
        Value::Double(value) => {
            let (least, limit) = if is_int {
                (-2f64.powi(31), 2f64.powi(31))
            } else {
                (-2f64.powi(63), 2f64.powi(63))
            };
            let fits = value.trunc() >= least && value.trunc() < limit;
            if rules.ansi && !fits {
                return Err(beyond(rules.doubles.text(value)));
            }
            // Saturates, and NaN is 0, as in Java.
            if is_int { i128::from(value as i32) } else { i128::from(value as i64) }
        }
        value => match as_long(value) {
            Some(value) => i128::from(value),
            None => return Ok(Value::Null),
        },
    };
    let fits = if is_int { i32::try_from(whole).is_ok() } else { i64::try_from(whole).is_ok() };
    if rules.ansi && !fits {
        return Err(beyond(whole.to_string()));
    }
    // The low bits, as Java keeps them.
    Ok(if is_int { Value::Int(whole as i32) } else { Value::Long(whole as i64) })
}

/// A text cast to another type; NULL if it is not of it, or an error in ANSI mode.
fn from_text<'a>(text: &str, to: DataType, rules: &Rules) -> Evaluated<'a> {
    let value = match to {
        DataType::String => None,
        DataType::Boolean => cast_text(text, "BOOLEAN", rules, boolean_of)?.map(Value::Boolean),
        DataType::Int => cast_text(text, "INT", rules, |text| {
            whole_of(text, rules.ansi).and_then(|value| i32::try_from(value).ok())
        })?
        .map(Value::Int),
        DataType::Long => {
            cast_text(text, "BIGINT", rules, |text| whole_of(text, rules.ansi))?.map(Value::Long)
        }
        DataType::Double => cast_text(text, "DOUBLE", rules, double_of)?.map(Value::Double),
        DataType::Timestamp => as_timestamp(Value::String(text), rules)?.map(Value::Timestamp),
        DataType::Decimal { precision, scale } => {
            let limit = 10u128.pow(u32::from(precision));
            cast_text(text, "DECIMAL", rules, |text| {
                DecimalText::parse(text.trim().as_bytes())?
                    .half_up(i64::from(scale))
                    .filter(|unscaled| unscaled.unsigned_abs() < limit)
            })?
            .map(|unscaled| Value::Decimal(Decimal { unscaled, scale }))
        }
    };
    Ok(value.unwrap_or(Value::Null))
}

fn cast_text<T>(
    text: &str,
    to: &'static str,
    rules: &Rules,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, ValueError> {
    match read(text) {
        None if rules.ansi => Err(ValueError::InvalidInput { value: text.to_owned(), to }),
        value => Ok(value),
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

fn compared(
    comparison: Comparison,
    left: Value<'_>,
    right: Value<'_>,
    rules: &Rules,
) -> Evaluated<'static> {
    if comparison == Comparison::NullSafeEqual {
        let nulls = (left == Value::Null, right == Value::Null);
        return Ok(Value::Boolean(match nulls {
            (true, true) => true,
            (false, false) => order(left, right, rules)? == Some(Ordering::Equal),
            _ => false,
        }));
    }
    Ok(truth(order(left, right, rules)?.map(|order| match comparison {
        Comparison::Equal | Comparison::NullSafeEqual => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })))
}

/// How two values compare; `None` if one is NULL or cannot be cast to the other's type.
fn order(left: Value<'_>, right: Value<'_>, rules: &Rules) -> Result<Option<Ordering>, ValueError> {
    Ok(match (left, right) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::String(left), Value::String(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Value::String(text), other) => order_with_text(other, text, rules)?.map(Ordering::reverse),
        (other, Value::String(text)) => order_with_text(other, text, rules)?,
        (Value::Boolean(left), Value::Boolean(right)) => Some(left.cmp(&right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(&right)),
        // Of a condition and a number the condition is cast.
        (Value::Boolean(left), right) => order(Value::Long(i64::from(left)), right, rules)?,
        (left, Value::Boolean(right)) => order(left, Value::Long(i64::from(right)), rules)?,
        _ => match (as_decimal(left), as_decimal(right)) {
            (Some(left), Some(right)) => Some(order_of_decimals(left, right)),
            _ => as_double(left)
                .zip(as_double(right))
                .map(|(left, right)| order_of_doubles(left, right)),
        },
    })
}

fn order_with_text(
    value: Value<'_>,
    text: &str,
    rules: &Rules,
) -> Result<Option<Ordering>, ValueError> {
    Ok(match value {
        Value::Timestamp(value) => {
            as_timestamp(Value::String(text), rules)?.map(|text| value.cmp(&text))
        }
        Value::Boolean(value) => {
            cast_text(text, "BOOLEAN", rules, boolean_of)?.map(|text| value.cmp(&text))
        }
        Value::Int(_) | Value::Long(_) => {
            let whole = cast_text(text, "BIGINT", rules, |text| whole_of(text, rules.ansi))?;
            as_long(value).zip(whole).map(|(value, text)| value.cmp(&text))
        }
        Value::Double(_) | Value::Decimal(_) => {
            let double = cast_text(text, "DOUBLE", rules, double_of)?;
            as_double(value).zip(double).map(|(value, text)| order_of_doubles(value, text))
        }
        Value::Null | Value::String(_) => None,
    })
}

fn order_of_doubles(left: f64, right: f64) -> Ordering {
    // Only NaN does not compare: it equals itself and is the greatest. -0.0 equals 0.0.
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

fn order_of_decimals(left: Decimal, right: Decimal) -> Ordering {
    match aligned(left, right) {
        Some((left, right, _)) => left.cmp(&right),
        // One is too large for the other's scale: far apart, so that doubles tell them.
        None => order_of_doubles(left.to_double(), right.to_double()),
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
        Value::Decimal(value) => Some(value.to_double()),
        Value::String(text) => double_of(text),
        Value::Null | Value::Boolean(_) | Value::Timestamp(_) => None,
    }
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

/// Spark's cast of a text to a whole number, which cuts a fraction off, or in ANSI mode refuses it.
fn whole_of(text: &str, ansi: bool) -> Option<i64> {
    let text = text.trim_matches(|char| char <= ' ');
    if ansi {
        return text.parse().ok();
    }
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

fn calculated(
    operator: Arithmetic,
    left: Value<'_>,
    right: Value<'_>,
    rules: &Rules,
) -> Evaluated<'static> {
    if left == Value::Null || right == Value::Null {
        return Ok(Value::Null);
    }
    let divides = matches!(operator, Arithmetic::Divide | Arithmetic::Remainder);
    if divides && rules.ansi && as_double(right) == Some(0.0) {
        let is_remainder = operator == Arithmetic::Remainder && rules.is_spark_4;
        return Err(if is_remainder {
            ValueError::RemainderByZero
        } else {
            ValueError::DivideByZero
        });
    }
    if operator == Arithmetic::Divide {
        let quotient = as_double(left).zip(as_double(right)).filter(|(_, right)| *right != 0.0);
        return Ok(quotient.map_or(Value::Null, |(left, right)| Value::Double(left / right)));
    }
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        let whole = whole_result(operator, i64::from(left), i64::from(right), rules)?;
        let beyond = whole.is_some_and(|value| i32::try_from(value).is_err());
        if beyond && rules.ansi {
            return Err(ValueError::Overflow("integer"));
        }
        // The low 32 bits, as Java's int arithmetic keeps them.
        return Ok(whole.map_or(Value::Null, |value| Value::Int(value as i32)));
    }
    match (as_long(left), as_long(right)) {
        (Some(left), Some(right)) => {
            Ok(whole_result(operator, left, right, rules)?.map_or(Value::Null, Value::Long))
        }
        _ => Ok(calculated_with_fractions(operator, left, right)),
    }
}

fn as_long(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(i64::from(value)),
        Value::Long(value) => Some(value),
        _ => None,
    }
}

fn whole_result(
    operator: Arithmetic,
    left: i64,
    right: i64,
    rules: &Rules,
) -> Result<Option<i64>, ValueError> {
    let (value, beyond) = match operator {
        Arithmetic::Add => left.overflowing_add(right),
        Arithmetic::Subtract => left.overflowing_sub(right),
        Arithmetic::Multiply => left.overflowing_mul(right),
        Arithmetic::Remainder if right != 0 => (left.wrapping_rem(right), false),
        Arithmetic::Remainder | Arithmetic::Divide => return Ok(None),
    };
    if beyond && rules.ansi { Err(ValueError::Overflow("long")) } else { Ok(Some(value)) }
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
    use crate::types::{Cell, Number, Source, Span, TextSource, Zone};

    fn evaluator(ansi: bool) -> Evaluator {
        let session = Session { zone: Zone::UTC, clock: Timestamp(0) };
        let rules = Rules { session, doubles: DoubleTexts::Shortest, ansi, is_spark_4: true };
        Evaluator { rules, patterns: HashMap::new() }
    }

    #[test]
    fn in_ansi_mode_what_cannot_be_computed_is_an_error() {
        let row = cells(Number::Short { mantissa: 20, scale: 0 });
        let source = Source { payload: PAYLOAD.as_bytes(), scratch: b"" };
        let event = Event { time: None, has_data: true, cells: &row, source };
        let error = |expression: Expression| {
            evaluator(true).evaluate(&expression, &event, &Texts::default()).unwrap_err()
        };
        let compare = |left, right| Expression::Compare(Comparison::Greater, left, right);
        let shown = error(compare(column(1), long(5))).to_string();
        assert!(shown.starts_with("[CAST_INVALID_INPUT] The value 'apple'"), "{shown}");
        let calculate = |operator, left, right| Expression::Arithmetic(operator, left, right);
        let divide = calculate(Arithmetic::Divide, column(2), long(0));
        assert_eq!(error(divide), ValueError::DivideByZero);
        let remainder = calculate(Arithmetic::Remainder, column(3), long(0));
        assert_eq!(error(remainder), ValueError::RemainderByZero);
        let add = calculate(Arithmetic::Add, long(i64::MAX), long(1));
        assert_eq!(error(add), ValueError::Overflow("long"));
    }

    /// Columns: 0 store (string), 1 item (string), 2 price (double), 3 ts (long), 4 decimal(18,2).
    fn check(cells: &[Cell], payload: &str, condition: &Expression, expected: Value<'_>) {
        let source = Source { payload: payload.as_bytes(), scratch: b"" };
        let time = Some(Timestamp(1_756_800_006_000_000));
        let event = Event { time, has_data: true, cells, source };
        let evaluator = evaluator(false);
        let texts = Texts::default();
        let found = evaluator.evaluate(condition, &event, &texts).unwrap();
        let same = match (found, expected) {
            (Value::Double(left), Value::Double(right)) => left.to_bits() == right.to_bits(),
            (left, right) => left == right,
        };
        assert!(same, "{condition:?} is {found:?}, not {expected:?}");
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
