//! From accumulators to result rows: the output casts and the columns in their order.
//!
//! A result that does not fit its output type is NULL and counted (Spark with ANSI mode off would
//! saturate; a wrong number is worse than none).

use crate::{
    spec::{AggregateFunction, OutputSource},
    types::{DataType, Decimal, Rows, Value},
    window::{
        Accumulator, Group, KeyError, Sum, WindowPlan,
        key::{self, DecodedKey},
        plan::PlannedAggregate,
    },
};

/// Results that were not what a user might expect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misfits {
    /// Results that did not fit their output type and are NULL.
    pub nulled: u64,
    /// Sums that had to be added up as doubles.
    pub inexact_sums: u64,
}

impl WindowPlan {
    /// Appends the rows of groups in the order given.
    ///
    /// # Errors
    /// A group whose key is not of this plan's key columns.
    pub fn results<'g>(
        &self,
        groups: impl IntoIterator<Item = Group<'g>>,
        rows: &mut Rows,
        misfits: &mut Misfits,
    ) -> Result<(), KeyError> {
        self.results_while(&mut groups.into_iter(), rows, misfits, |_| true).map(|_| ())
    }

    /// The same for as long as there are groups, which then is true, and `goes_on` says so.
    pub(super) fn results_while<'g>(
        &self,
        groups: &mut impl Iterator<Item = Group<'g>>,
        rows: &mut Rows,
        misfits: &mut Misfits,
        goes_on: impl Fn(&Rows) -> bool,
    ) -> Result<bool, KeyError> {
        let mut scratch = Scratch::default();
        for group in groups {
            self.result(group, &mut scratch, rows, misfits)?;
            if !goes_on(rows) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a key is of this plan's key columns, at least in its beginning.
    ///
    /// # Errors
    /// A key that is not.
    pub fn check_key(&self, mut encoded: &[u8]) -> Result<(), KeyError> {
        self.key_types.iter().try_for_each(|&data_type| key::check(data_type, &mut encoded))
    }

    #[inline]
    fn result<'g>(
        &self,
        group: Group<'g>,
        scratch: &mut Scratch<'g>,
        rows: &mut Rows,
        misfits: &mut Misfits,
    ) -> Result<(), KeyError> {
        let Scratch { texts, keys, results } = scratch;
        texts.clear();
        keys.clear();
        results.clear();
        let mut encoded = group.key;
        for &data_type in &self.key_types {
            keys.push(key::decode(data_type, &mut encoded, texts)?);
        }
        for (planned, accumulator) in self.aggregates.iter().zip(group.accumulators) {
            let result = finish(planned, accumulator);
            misfits.inexact_sums += u64::from(is_inexact(accumulator));
            misfits.nulled += u64::from(matches!(result, Outcome::Misfit));
            results.push(result);
        }
        let mut row = rows.begin();
        for column in &self.output {
            match column.source {
                OutputSource::WindowStart => row.put_time(group.start),
                OutputSource::WindowEnd => row.put_time(group.end),
                OutputSource::Key(index) => match &keys[index] {
                    DecodedKey::Text(text) => row.put_text(*text),
                    DecodedKey::Joined(range) => row.put_text(texts[range.clone()].into()),
                    DecodedKey::Value(value) => row.put(*value),
                },
                OutputSource::Aggregate(index) => match &results[index] {
                    Outcome::Value(value) => row.put(*value),
                    Outcome::Text(text) => row.put_text((&**text).into()),
                    Outcome::Misfit => row.put(Value::Null),
                },
                OutputSource::Column(_) | OutputSource::EventTime | OutputSource::Computed(_) => {
                    unreachable!("a checked aggregation outputs keys, windows and aggregates")
                }
            }
        }
        row.end();
        Ok(())
    }
}

/// What one row after the other is made of, kept so that rows allocate nothing.
#[derive(Default)]
struct Scratch<'g> {
    texts: String,
    keys: Vec<DecodedKey<'g>>,
    results: Vec<Outcome<'g>>,
}

/// A finished aggregate.
#[derive(Clone, Debug, PartialEq)]
enum Outcome<'a> {
    Value(Value<'a>),
    Text(String),
    Misfit,
}

fn is_inexact(accumulator: &Accumulator) -> bool {
    matches!(accumulator, Accumulator::Sum(Sum { inexact: Some(_), .. }))
}

#[inline]
fn finish<'a>(planned: &PlannedAggregate, accumulator: &'a Accumulator) -> Outcome<'a> {
    let output = planned.aggregate.output_type;
    match accumulator {
        Accumulator::Count(count) => cast(Value::Long(*count), output),
        Accumulator::Extreme(None) => Outcome::Value(Value::Null),
        Accumulator::Extreme(Some(scalar)) => cast(scalar.as_value(), output),
        Accumulator::Sum(Sum { count: 0, .. }) => Outcome::Value(Value::Null),
        Accumulator::Sum(sum) => match planned.aggregate.function {
            AggregateFunction::Avg => finish_average(planned, sum),
            _ => finish_sum(planned, sum),
        },
    }
}

/// An exact sum is cast straight from its decimal, so that it is rounded at most once.
#[inline]
fn finish_sum(planned: &PlannedAggregate, sum: &Sum) -> Outcome<'static> {
    let (result, output) = (planned.aggregate.result_type, planned.aggregate.output_type);
    if sum.inexact.is_some() {
        return cast(Value::Double(sum.as_double(planned.scale)), output);
    }
    let total = Decimal { unscaled: sum.exact, scale: planned.scale };
    match result {
        DataType::Double if output == DataType::String => {
            cast(Value::Double(sum.as_double(planned.scale)), output)
        }
        DataType::Long => match i64::try_from(sum.exact) {
            Ok(total) => cast(Value::Long(total), output),
            Err(_) => Outcome::Misfit,
        },
        DataType::Decimal { precision, .. } if total.digits() > precision => Outcome::Misfit,
        _ => match output {
            DataType::Decimal { precision, scale } => total
                .within(precision, scale)
                .map_or(Outcome::Misfit, |total| Outcome::Value(Value::Decimal(total))),
            _ => cast(Value::Decimal(total), output),
        },
    }
}

fn finish_average(planned: &PlannedAggregate, sum: &Sum) -> Outcome<'static> {
    let output = planned.aggregate.output_type;
    if let DataType::Decimal { precision, scale } = planned.aggregate.result_type
        && sum.inexact.is_none()
    {
        let total = Decimal { unscaled: sum.exact, scale: planned.scale };
        return match total.divided_by(sum.count, scale) {
            Some(average) if average.digits() <= precision => cast(Value::Decimal(average), output),
            _ => Outcome::Misfit,
        };
    }
    cast(Value::Double(average_double(sum, planned.scale)), output)
}

/// The double nearest to sum ÷ count: 17 more digits than the sum has are enough to round once.
fn average_double(sum: &Sum, scale: u8) -> f64 {
    let exact = sum.inexact.is_none().then_some(sum.exact);
    let average = exact.and_then(|unscaled| {
        let sum_of_all = Decimal { unscaled, scale };
        let extra = 37u8.checked_sub(sum_of_all.digits())?.min(18);
        sum_of_all.divided_by(sum.count, scale + extra)
    });
    match average {
        Some(average) => average.to_double(),
        None => sum.as_double(scale) / sum.count as f64,
    }
}

/// Spark's casts with ANSI mode off, except that what does not fit is NULL.
fn cast(value: Value<'_>, output: DataType) -> Outcome<'_> {
    let outcome = match (value, output) {
        (Value::Null, _) => Some(Value::Null),
        (Value::String(_), DataType::String)
        | (Value::Boolean(_), DataType::Boolean)
        | (Value::Timestamp(_), DataType::Timestamp)
        | (Value::Int(_), DataType::Int)
        | (Value::Long(_), DataType::Long)
        | (Value::Double(_), DataType::Double) => Some(value),
        (_, DataType::String) => return Outcome::Text(text_of(value)),
        (_, DataType::Double) => as_double(value).map(Value::Double),
        (_, DataType::Long) => {
            as_integer(value).and_then(|value| i64::try_from(value).ok()).map(Value::Long)
        }
        (_, DataType::Int) => {
            as_integer(value).and_then(|value| i32::try_from(value).ok()).map(Value::Int)
        }
        (_, DataType::Decimal { precision, scale }) => Decimal::of(value, scale)
            .filter(|value| value.digits() <= precision)
            .map(Value::Decimal),
        _ => None,
    };
    outcome.map_or(Outcome::Misfit, Outcome::Value)
}

/// A value as one of a column's type: NULL where it does not fit, or would have to become a text.
#[must_use]
pub fn cast_value(value: Value<'_>, output: DataType) -> Value<'_> {
    match cast(value, output) {
        Outcome::Value(value) => value,
        Outcome::Text(_) | Outcome::Misfit => Value::Null,
    }
}

fn as_double(value: Value<'_>) -> Option<f64> {
    Some(match value {
        Value::Double(value) => value,
        Value::Int(value) => f64::from(value),
        Value::Long(value) => value as f64,
        Value::Decimal(value) => value.to_double(),
        _ => return None,
    })
}

/// The whole part, cut toward zero.
fn as_integer(value: Value<'_>) -> Option<i128> {
    Some(match value {
        Value::Int(value) => i128::from(value),
        Value::Long(value) => i128::from(value),
        Value::Decimal(value) => value.unscaled / 10i128.checked_pow(u32::from(value.scale))?,
        // Doubles of 2^64 and more fit neither LONG nor INT, so the bound loses nothing.
        Value::Double(value) if value.abs() < 1e20 => value.trunc() as i128,
        _ => return None,
    })
}

fn text_of(value: Value<'_>) -> String {
    match value {
        Value::Null => String::new(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => crate::types::double_text(value),
        Value::String(text) => text.to_owned(),
        Value::Timestamp(value) => crate::types::timestamp_text(value),
        Value::Decimal(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Aggregate;

    fn sum_cast(exact: i128, output: DataType) -> Outcome<'static> {
        let aggregate = Aggregate {
            name: "total".to_owned(),
            function: AggregateFunction::Sum,
            column: Some(0),
            result_type: DataType::Double,
            output_type: output,
        };
        let planned = PlannedAggregate { aggregate, scale: 9, keep_greater: false };
        finish_sum(&planned, &Sum { exact, inexact: None, count: 1 })
    }

    fn money(unscaled: i128) -> Outcome<'static> {
        Outcome::Value(Value::Decimal(Decimal { unscaled, scale: 2 }))
    }

    #[test]
    fn an_exact_sum_is_cut_toward_zero_for_ints_and_rounded_half_up_for_decimals() {
        let cents = DataType::Decimal { precision: 18, scale: 2 };
        assert_eq!(sum_cast(287_999_999_999, DataType::Int), Outcome::Value(Value::Int(287)));
        assert_eq!(sum_cast(-287_999_999_999, DataType::Int), Outcome::Value(Value::Int(-287)));
        assert_eq!(sum_cast(2_005_000_000, cents), money(201));
        assert_eq!(sum_cast(-5_000_000, cents), money(-1));
        assert_eq!(sum_cast(4_999_999, cents), money(0));
        assert_eq!(sum_cast(300_000_000, DataType::Double), Outcome::Value(Value::Double(0.3)));
    }

    #[test]
    fn what_does_not_fit_is_a_misfit_and_never_saturates() {
        assert_eq!(sum_cast(2_147_483_648_000_000_000, DataType::Int), Outcome::Misfit);
        let small = DataType::Decimal { precision: 3, scale: 2 };
        assert_eq!(sum_cast(10_000_000_000, small), Outcome::Misfit);
        assert_eq!(cast(Value::Double(f64::NAN), DataType::Int), Outcome::Misfit);
        assert_eq!(cast(Value::Double(f64::INFINITY), DataType::Long), Outcome::Misfit);
    }

    #[test]
    fn an_average_is_rounded_once() {
        let sum = Sum { exact: 600_000_000, inexact: None, count: 3 };
        assert_eq!(average_double(&sum, 9), 0.2);
        let third = Sum { exact: 1_000_000_000, inexact: None, count: 3 };
        assert_eq!(average_double(&third, 9), 1.0 / 3.0);
    }

    #[test]
    fn doubles_become_decimals_by_their_shortest_text() {
        let cents = DataType::Decimal { precision: 18, scale: 2 };
        assert_eq!(cast(Value::Double(2.005), cents), money(201));
        assert_eq!(cast(Value::Double(1e15), cents), money(100_000_000_000_000_000));
    }
}
