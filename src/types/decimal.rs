//! Exact decimals and the little arithmetic that both engines do with them.
//!
//! Invariant: whatever does not fit 128 bits is `None`; rounding is half up, away from zero.
//!
//! Not here: texts of JSON as decimals (`event::DecimalText`).

use std::fmt;

use super::{
    Value,
    event::DecimalText,
    text::{DigitRoom, digits, short_decimal},
};

/// An exact decimal value: `unscaled` × 10^-`scale`. Packed, so that every [`Value`] is a third smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(Rust, packed(8))]
pub struct Decimal {
    /// The digits, with sign.
    pub unscaled: i128,
    /// Digits after the point.
    pub scale: u8,
}

impl fmt::Display for Decimal {
    /// Plain notation with exactly `scale` digits after the point: `-0.05`, `1250.50`, `7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(usize::from(self.digits()) + 3);
        self.push_to(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl Decimal {
    /// A number at `scale`, rounded half up; a double by its shortest decimal text, as Java's `BigDecimal`
    /// does. `None` for what is no finite number, and on overflow.
    #[must_use]
    pub fn of(value: Value<'_>, scale: u8) -> Option<Decimal> {
        match value {
            Value::Int(value) => Decimal { unscaled: i128::from(value), scale: 0 }.at_scale(scale),
            Value::Long(value) => Decimal { unscaled: i128::from(value), scale: 0 }.at_scale(scale),
            Value::Decimal(value) => value.at_scale(scale),
            Value::Double(value) if value.is_finite() => {
                let text = format!("{value}");
                let unscaled = DecimalText::parse(text.as_bytes())?.half_up(i64::from(scale))?;
                Some(Decimal { unscaled, scale })
            }
            _ => None,
        }
    }

    /// Appends it as it is printed: every sum is.
    pub fn push_to(self, text: &mut Vec<u8>) {
        if self.unscaled < 0 {
            text.push(b'-');
        }
        let mut room = DigitRoom::default();
        // Almost all fit 64 bits, which divide many times faster.
        if let Ok(short) = u64::try_from(self.unscaled.unsigned_abs())
            && usize::from(self.scale) < POWERS.len()
        {
            text.extend_from_slice(short_decimal(short, self.scale, &mut room));
            return;
        }
        let digits = digits(self.unscaled.unsigned_abs(), &mut room);
        match (digits.len().checked_sub(usize::from(self.scale)), self.scale) {
            (_, 0) => text.extend_from_slice(digits),
            (Some(whole @ 1..), _) => {
                let (whole, places) = digits.split_at(whole);
                text.extend_from_slice(whole);
                text.push(b'.');
                text.extend_from_slice(places);
            }
            (_, scale) => {
                text.extend_from_slice(b"0.");
                text.resize(text.len() + usize::from(scale) - digits.len(), b'0');
                text.extend_from_slice(digits);
            }
        }
    }

    /// How many digits it has; 0 has one.
    #[inline]
    #[must_use]
    pub fn digits(self) -> u8 {
        let number = self.unscaled.unsigned_abs();
        let log =
            u64::try_from(number).map_or_else(|_| number.checked_ilog10(), u64::checked_ilog10);
        let digits = log.map_or(1, |log| log + 1);
        u8::try_from(digits).expect("an i128 has at most 39 digits")
    }

    /// The same number with `scale` digits after the point, rounded half up; `None` on overflow.
    #[must_use]
    pub fn at_scale(self, scale: u8) -> Option<Decimal> {
        // Almost all fit 64 bits, which divide many times faster.
        if let Ok(short) = i64::try_from(self.unscaled)
            && let Some(fewer) = self.scale.checked_sub(scale)
            && let Some(&power) = POWERS.get(usize::from(fewer))
        {
            let unscaled = i128::from(divide_short_half_up(short, power));
            return Some(Decimal { unscaled, scale });
        }
        let power = 10i128.checked_pow(u32::from(scale.abs_diff(self.scale)))?;
        let unscaled = if scale >= self.scale {
            self.unscaled.checked_mul(power)?
        } else {
            divide_half_up(self.unscaled, power)
        };
        Some(Decimal { unscaled, scale })
    }

    /// The same as long as that has at most `precision` digits, of which there is at least one.
    #[inline]
    #[must_use]
    pub fn within(self, precision: u8, scale: u8) -> Option<Decimal> {
        // Almost all fit 64 bits.
        if let Ok(short) = i64::try_from(self.unscaled)
            && let Some(fewer) = self.scale.checked_sub(scale)
            && let (Some(&power), Some(&limit)) =
                (POWERS.get(usize::from(fewer)), POWERS.get(usize::from(precision)))
        {
            let unscaled = divide_short_half_up(short, power);
            return (unscaled.unsigned_abs() < limit.unsigned_abs())
                .then_some(Decimal { unscaled: i128::from(unscaled), scale });
        }
        self.at_scale(scale).filter(|value| value.digits() <= precision)
    }

    /// The quotient with `scale` digits after the point, rounded half up; `None` on overflow or where
    /// it has fewer of them than this.
    #[must_use]
    pub fn divided_by(self, count: i64, scale: u8) -> Option<Decimal> {
        scale.checked_sub(self.scale)?;
        let numerator = self.at_scale(scale)?.unscaled;
        Some(Decimal { unscaled: divide_half_up(numerator, i128::from(count)), scale })
    }

    /// The nearest double.
    ///
    /// # Panics
    /// Never: a decimal in plain notation is a float literal.
    #[must_use]
    pub fn to_double(self) -> f64 {
        const EXACT: u128 = 1 << 53;
        if self.unscaled.unsigned_abs() <= EXACT && self.scale <= 22 {
            return self.unscaled as f64 / 10f64.powi(i32::from(self.scale));
        }
        self.to_string().parse().expect("a decimal in plain notation is a float literal")
    }
}

/// The powers of ten that fit 64 bits with a sign.
pub(super) const POWERS: [i64; 19] = {
    let mut powers = [1; 19];
    let mut power = 1;
    while power < powers.len() {
        powers[power] = 10 * powers[power - 1];
        power += 1;
    }
    powers
};

/// Quotient rounded to the nearest integer, ties away from zero.
fn divide_half_up(numerator: i128, divisor: i128) -> i128 {
    // Almost all fit 64 bits, which divide many times faster.
    if let (Ok(numerator), Ok(divisor @ 1..)) = (i64::try_from(numerator), i64::try_from(divisor)) {
        return i128::from(divide_short_half_up(numerator, divisor));
    }
    let (quotient, remainder) = (numerator / divisor, numerator % divisor);
    let away = if (numerator < 0) == (divisor < 0) { 1 } else { -1 };
    if remainder.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2) {
        quotient + away
    } else {
        quotient
    }
}

/// The same by a positive divisor; 1 leaves no remainder, and any other a quotient that is no extreme.
#[inline]
fn divide_short_half_up(numerator: i64, divisor: i64) -> i64 {
    let (quotient, remainder) = (numerator / divisor, numerator % divisor);
    let is_half = remainder.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2);
    if is_half { quotient + numerator.signum() } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_plainly_with_all_their_places() {
        let check = |unscaled, scale, expected: &str| {
            assert_eq!(Decimal { unscaled, scale }.to_string(), expected);
        };
        check(125_050, 2, "1250.50");
        check(-5, 2, "-0.05");
        check(0, 2, "0.00");
        check(7, 0, "7");
        check(i128::MIN, 9, "-170141183460469231731687303715.884105728");
        check(i128::MAX, 0, "170141183460469231731687303715884105727");
        check(i128::from(u64::MAX) + 1, 20, "0.18446744073709551616");
        check(0, 0, "0");
        assert_eq!(Decimal { unscaled: 1, scale: 255 }.to_string().len(), 257);
    }

    #[test]
    fn the_short_way_of_printing_and_the_long_one_agree() {
        let limits = [0, 1, u128::from(u64::MAX) - 1, u128::from(u64::MAX), 1 << 64];
        let around = (0..21).flat_map(|power| [10u128.pow(power) - 1, 10u128.pow(power)]);
        for number in around.chain(limits) {
            for scale in 0..=20 {
                let places = usize::from(scale);
                let mut expected = format!("{number:0>width$}", width = places + 1);
                if scale > 0 {
                    expected.insert(expected.len() - places, '.');
                }
                let unscaled = number.cast_signed();
                assert_eq!(Decimal { unscaled, scale }.to_string(), expected);
                if number > 0 {
                    let negative = Decimal { unscaled: -unscaled, scale }.to_string();
                    assert_eq!(negative, format!("-{expected}"));
                }
            }
        }
    }

    #[test]
    fn half_a_unit_is_rounded_away_from_zero() {
        let check = |unscaled, from, to, expected: Option<i128>| {
            let found = Decimal { unscaled, scale: from }.at_scale(to);
            assert_eq!(found.map(|found| found.unscaled), expected);
        };
        check(125, 2, 1, Some(13));
        check(-125, 2, 1, Some(-13));
        check(124, 2, 1, Some(12));
        check(12, 1, 3, Some(1200));
        check(i128::MAX, 0, 1, None);
        check(i128::from(i64::MIN), 5, 5, Some(i128::from(i64::MIN)));
        check(i128::from(i64::MAX), 18, 0, Some(9));
        check(i128::from(i64::MIN), 19, 0, Some(-1));
        check(i128::from(i64::MIN) - 1, 18, 0, Some(-9));
        let third = Decimal { unscaled: 200, scale: 2 }.divided_by(3, 4).unwrap();
        assert_eq!(third.to_string(), "0.6667");
        assert_eq!(Decimal::of(Value::Double(0.125), 2).unwrap().to_string(), "0.13");
        assert_eq!({ Decimal::of(Value::Double(-1e-60), 2).unwrap().unscaled }, 0);
        assert_eq!(Decimal::of(Value::Double(f64::NAN), 2), None);
        assert_eq!(Decimal { unscaled: -1234, scale: 2 }.digits(), 4);
        for (unscaled, from, precision, scale) in [
            (99_949, 3, 4, 2),
            (99_949, 3, 3, 1),
            (9995, 3, 3, 2),
            (-9995, 3, 3, 2),
            (9994, 3, 3, 2),
            (i128::from(i64::MAX), 0, 18, 0),
            (i128::from(i64::MAX), 0, 19, 0),
            (5, 0, 2, 2),
            (0, 9, 1, 0),
        ] {
            let value = Decimal { unscaled, scale: from };
            let expected = value.at_scale(scale).filter(|value| value.digits() <= precision);
            assert_eq!(value.within(precision, scale), expected, "{value}");
        }
        assert_eq!(Decimal { unscaled: 10i128.pow(30), scale: 31 }.to_double(), 0.1);
    }
}
