//! What one aggregate of one group has added up so far.
//!
//! Sums are exact: they add integers of a fixed unit (10^-9 for doubles, 1 for whole numbers, the
//! column's last place for decimals) in 128 bits, so that 0.1 + 0.2 is 0.3 and no cut into batches
//! changes an answer. A value that has no such integer (NaN, infinities, more digits, overflow) turns
//! its group's sum into a double for good; such sums are counted.

use crate::{
    faults::{Mutant, is_planted},
    types::{Cell, Decimal, Source, Timestamp, Value},
};

/// One aggregate of one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Accumulator {
    /// `count`.
    Count(i64),
    /// `sum` and `avg`.
    Sum(Sum),
    /// `min` and `max`: the extreme so far, if any value was not NULL.
    Extreme(Option<Scalar>),
}

/// A running sum. Packed to 40 bytes: there are millions of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(Rust, packed(8))]
pub struct Sum {
    /// Total in the aggregate's unit; meaningless once `inexact` is set.
    pub exact: i128,
    /// Total as a double, in ones, once some value did not fit.
    pub inexact: Option<f64>,
    /// How many values were added.
    pub count: i64,
}

/// An owned value that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
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

impl Sum {
    /// Adds an exact number where the total stays exact; false, and nothing was added, where it does not.
    #[inline(always)]
    fn add_exact(&mut self, value: i128) -> bool {
        match (self.inexact, self.exact.checked_add(value)) {
            (None, Some(total)) => {
                self.count += 1;
                self.exact = total;
                true
            }
            _ => false,
        }
    }

    /// Adds one number of `10^-scale` units, given exactly or as a double.
    pub fn add(&mut self, exact: Option<i128>, double: impl FnOnce() -> f64, scale: u8) {
        self.count += 1;
        match (self.inexact, exact.and_then(|value| self.exact.checked_add(value))) {
            (None, Some(total)) => self.exact = total,
            _ => self.inexact = Some(self.as_double(scale) + double()),
        }
    }

    /// Adds another sum of the same unit.
    pub fn merge(&mut self, other: &Sum, scale: u8) {
        self.count += other.count;
        match (self.inexact, other.inexact, self.exact.checked_add(other.exact)) {
            (None, None, Some(total)) => self.exact = total,
            _ => self.inexact = Some(self.as_double(scale) + other.as_double(scale)),
        }
    }

    /// The total as a double, rounded once.
    #[must_use]
    pub fn as_double(&self, scale: u8) -> f64 {
        self.inexact.unwrap_or_else(|| Decimal { unscaled: self.exact, scale }.to_double())
    }
}

impl Accumulator {
    /// Bytes of memory it owns besides its own.
    #[inline]
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Accumulator::Extreme(Some(Scalar::String(text))) => text.len(),
            _ => 0,
        }
    }

    /// Adds one event's cell; none where events alone are counted. `scale` is the unit of sums.
    #[inline(always)]
    pub fn add(&mut self, source: Source<'_>, cell: Option<Cell>, scale: u8, keep_greater: bool) {
        if let (Accumulator::Sum(sum), Some(Cell::Double(number))) = (&mut *self, cell)
            && let Some(nanos) = number.short_nanos()
            && !is_planted(Mutant::SumAsDouble)
            && !is_planted(Mutant::TruncateBeforeSum)
            && sum.add_exact(nanos)
        {
            return;
        }
        self.add_any(source, cell, scale, keep_greater);
    }

    #[inline(never)]
    fn add_any(&mut self, source: Source<'_>, cell: Option<Cell>, scale: u8, keep_greater: bool) {
        let Some(cell) = cell else {
            if let Accumulator::Count(count) = self {
                *count += 1;
            }
            return;
        };
        if cell == Cell::Null {
            return;
        }
        match self {
            Accumulator::Count(count) => *count += 1,
            Accumulator::Sum(sum) => add_to_sum(sum, source, cell, scale),
            Accumulator::Extreme(extreme) => {
                let value = source.value(cell);
                if extreme.as_ref().is_none_or(|kept| replaces(value, kept, keep_greater)) {
                    *extreme = Scalar::from_value(value);
                }
            }
        }
    }

    /// Adds what another accumulator of the same aggregate has added up, later or in another lane.
    pub fn merge(&mut self, other: &Accumulator, scale: u8, keep_greater: bool) {
        match (self, other) {
            (Accumulator::Count(count), Accumulator::Count(more)) => *count += more,
            (Accumulator::Sum(sum), Accumulator::Sum(more)) => sum.merge(more, scale),
            (Accumulator::Extreme(kept), Accumulator::Extreme(Some(value))) => {
                if kept.as_ref().is_none_or(|kept| replaces(value.as_value(), kept, keep_greater)) {
                    *kept = Some(value.clone());
                }
            }
            (Accumulator::Extreme(_), Accumulator::Extreme(None)) => {}
            (mine, other) => unreachable!("{mine:?} and {other:?} are not of one aggregate"),
        }
    }
}

fn add_to_sum(sum: &mut Sum, source: Source<'_>, cell: Cell, scale: u8) {
    match cell {
        Cell::Double(number) => {
            let exact = source.exact_nanos(number);
            let exact = if is_planted(Mutant::SumAsDouble) {
                None
            } else if is_planted(Mutant::TruncateBeforeSum) {
                exact.map(|nanos| nanos - nanos % 1_000_000_000)
            } else {
                exact
            };
            sum.add(exact, || source.double(number), scale);
        }
        Cell::Long(value) => sum.add(Some(i128::from(value)), || value as f64, scale),
        Cell::Int(value) => sum.add(Some(i128::from(value)), || f64::from(value), scale),
        Cell::Decimal(value) => {
            let double = || value.to_double();
            sum.add(Some(value.unscaled), double, scale);
        }
        other => unreachable!("a checked pipeline sums numbers, not {other:?}"),
    }
}

/// Whether `value` is a new extreme over `kept`. Equal values keep the first seen (-0.0 and 0.0
/// compare equal); NaN is greater than every number (Spark).
fn replaces(value: Value<'_>, kept: &Scalar, keep_greater: bool) -> bool {
    let order = compare(value, kept.as_value());
    if keep_greater { order.is_gt() } else { order.is_lt() }
}

fn compare(left: Value<'_>, right: Value<'_>) -> std::cmp::Ordering {
    match (left, right) {
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(&right),
        (Value::Int(left), Value::Int(right)) => left.cmp(&right),
        (Value::Long(left), Value::Long(right)) => left.cmp(&right),
        (Value::Double(left), Value::Double(right)) => {
            left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
        }
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(&right),
        (Value::Decimal(left), Value::Decimal(right)) => { left.unscaled }.cmp(&{ right.unscaled }),
        (left, right) => unreachable!("{left:?} and {right:?} are not of one column"),
    }
}

impl Scalar {
    /// Owns a value; `None` for NULL.
    #[must_use]
    pub fn from_value(value: Value<'_>) -> Option<Scalar> {
        Some(match value {
            Value::Null => return None,
            Value::Boolean(value) => Scalar::Boolean(value),
            Value::Int(value) => Scalar::Int(value),
            Value::Long(value) => Scalar::Long(value),
            Value::Double(value) => Scalar::Double(value),
            Value::String(text) => Scalar::String(text.into()),
            Value::Timestamp(value) => Scalar::Timestamp(value),
            Value::Decimal(value) => Scalar::Decimal(value),
        })
    }

    /// Borrows the value.
    #[must_use]
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Scalar::Boolean(value) => Value::Boolean(*value),
            Scalar::Int(value) => Value::Int(*value),
            Scalar::Long(value) => Value::Long(*value),
            Scalar::Double(value) => Value::Double(*value),
            Scalar::String(text) => Value::String(text),
            Scalar::Timestamp(value) => Value::Timestamp(*value),
            Scalar::Decimal(value) => Value::Decimal(*value),
        }
    }
}

/// Most of what a group of one aggregate costs; aligned to 16 bytes it would be 64.
const _: () = assert!(size_of::<Accumulator>() == 40);

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(sum: &mut Sum, value: i128) {
        sum.add(Some(value), || Decimal { unscaled: value, scale: 9 }.to_double(), 9);
    }

    #[test]
    fn a_tenth_and_two_tenths_are_three_tenths() {
        let mut sum = Sum::default();
        nanos(&mut sum, 100_000_000);
        nanos(&mut sum, 200_000_000);
        assert_eq!(sum.as_double(9), 0.3);
        assert_eq!(sum.count, 2);
    }

    #[test]
    fn a_value_that_does_not_fit_makes_the_sum_a_double_for_good() {
        let mut sum = Sum::default();
        nanos(&mut sum, 1_000_000_000);
        sum.add(None, || 1e300, 9);
        nanos(&mut sum, 1_000_000_000);
        assert_eq!(sum.inexact, Some(1e300));
        sum.add(None, || f64::NAN, 9);
        assert!(sum.as_double(9).is_nan());
    }

    #[test]
    fn an_overflowing_sum_goes_on_as_a_double() {
        let mut sum = Sum { exact: i128::MAX, inexact: None, count: 1 };
        nanos(&mut sum, i128::MAX);
        assert!(sum.inexact.is_some_and(|total| total > 3.4e29));
    }

    #[test]
    fn nan_is_the_greatest_and_equal_values_keep_the_first() {
        let mut greatest = Accumulator::Extreme(Some(Scalar::Double(1.0)));
        greatest.merge(&Accumulator::Extreme(Some(Scalar::Double(f64::NAN))), 0, true);
        assert!(matches!(&greatest, Accumulator::Extreme(Some(Scalar::Double(v))) if v.is_nan()));
        let mut least = Accumulator::Extreme(Some(Scalar::Double(-0.0)));
        least.merge(&Accumulator::Extreme(Some(Scalar::Double(0.0))), 0, false);
        let Accumulator::Extreme(Some(Scalar::Double(kept))) = least else { panic!("a double") };
        assert!(kept.is_sign_negative());
    }
}
