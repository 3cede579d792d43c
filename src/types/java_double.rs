//! Texts of doubles as the JVM writes them, up to JDK 18 and from JDK 19 on.
//!
//! From JDK 19 on `Double.toString` gives the shortest decimal that reads back the same, of at least two
//! digits. Before, its digits were made by the algorithm of `jdk.internal.math.FloatingDecimal`, which
//! sometimes gives a digit too many (2E23 is `1.9999999999999998E23`): what that algorithm computes is
//! stated here, so that a table printed by a JVM of that age can be matched to the byte.
//!
//! Start at [`double_text`] and [`java17_double_text`].

use std::cmp::Ordering;

/// Bits of a double's fraction.
const FRACTION_BITS: i32 = 52;
const FRACTION_MASK: u64 = (1 << FRACTION_BITS) - 1;
const EXPONENT_BIAS: i32 = 1023;

/// Which JVM's texts of doubles are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DoubleTexts {
    /// JDK 19 and later: the shortest digits that read back the same.
    #[default]
    Shortest,
    /// JDK 17, on which Spark 3.5 and 4 run by default.
    Jdk17,
}

impl DoubleTexts {
    /// A double's text.
    #[must_use]
    pub fn text(self, value: f64) -> String {
        match self {
            DoubleTexts::Shortest => double_text(value),
            DoubleTexts::Jdk17 => java17_double_text(value),
        }
    }
}

/// A double as Java's `Double.toString` lays it out, with the shortest digits that read back the
/// same (JDK 19 and later): `1250.5`, `100.0`, `1.0E7`, `1.2345E-4`, `4.9E-324`, `NaN`, `-Infinity`.
#[must_use]
pub fn double_text(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    if !value.is_finite() {
        return special(value).to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    if digits.contains('.') {
        return format!("{digits}E{exponent}");
    }
    // Java writes two digits at least, and of all that read back the same those nearest to the value.
    let near = format!("{value:.1e}").replace('e', "E");
    if near.parse() == Ok(value) { near } else { format!("{digits}.0E{exponent}") }
}

fn special(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// A double as `Double.toString` of JDK 17 (and of those since JDK 8) writes it.
#[must_use]
pub fn java17_double_text(value: f64) -> String {
    if !value.is_finite() {
        return special(value).to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value == 0.0 {
        return format!("{sign}0.0");
    }
    let (digits, point) = Parts::of(value.abs()).digits();
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let count = i32::try_from(digits.len()).expect("a double has few digits");
    let digits: String = digits.into_iter().map(|digit| char::from(b'0' + digit)).collect();
    let at = |point: i32| digits.split_at(usize::try_from(point).unwrap_or(0));
    match point {
        1..8 if count <= point => format!("{sign}{digits}{}.0", zeros(point - count)),
        1..8 => {
            let (whole, fraction) = at(point);
            format!("{sign}{whole}.{fraction}")
        }
        -2..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = at(1);
            format!("{sign}{first}.{}E{}", if rest.is_empty() { "0" } else { rest }, point - 1)
        }
    }
}

/// A positive double taken apart: `fraction` × 2^(`exponent` − 52), the highest bit of 53 set.
struct Parts {
    fraction: u64,
    exponent: i32,
    /// How many bits of the fraction the format keeps: 53, or fewer for a subnormal number.
    significant: i32,
}

/// Digits, the first not 0 as a rule, and where the point is: before digit 0 at 0.
type Digits = (Vec<u8>, i32);

impl Parts {
    fn of(value: f64) -> Parts {
        let bits = value.to_bits();
        let fraction = bits & FRACTION_MASK;
        let exponent = i32::try_from(bits >> FRACTION_BITS).expect("eleven bits") - EXPONENT_BIAS;
        if exponent > -EXPONENT_BIAS {
            let fraction = fraction | (1 << FRACTION_BITS);
            return Parts { fraction, exponent, significant: FRACTION_BITS + 1 };
        }
        let leading = small(fraction.leading_zeros());
        let shift = leading - (63 - FRACTION_BITS);
        Parts {
            fraction: fraction << shift,
            exponent: 1 - shift - EXPONENT_BIAS,
            significant: 64 - leading,
        }
    }

    /// `FloatingDecimal.BinaryToASCIIBuffer.dtoa`.
    fn digits(&self) -> Digits {
        let tail = small(self.fraction.trailing_zeros());
        let bits = FRACTION_BITS + 1 - tail;
        let tiny = (bits - self.exponent - 1).max(0);
        if tiny == 0 && self.exponent <= 62 {
            return self.whole_digits();
        }
        let exponent = self.decimal_exponent();
        // The value is B / S, half the distance to its neighbours M / S, all times 10^exponent.
        let b5 = (-exponent).max(0);
        let s5 = exponent.max(0);
        let mut b2 = b5 + tiny + self.exponent;
        let mut s2 = s5 + tiny;
        let mut m2 = b2 - self.significant;
        b2 -= bits - 1;
        let common = b2.min(s2);
        b2 -= common;
        s2 -= common;
        m2 -= common;
        if bits == 1 {
            // Below a power of two the neighbour is half as far.
            m2 -= 1;
        }
        if m2 < 0 {
            b2 -= m2;
            s2 -= m2;
            m2 = 0;
        }
        let b_bits = bits + b2 + bits_of_power_of_5(b5);
        let ten_s_bits = s2 + 1 + bits_of_power_of_5(s5 + 1);
        let b = Big::of(self.fraction >> tail).times_power_of_5(b5).shifted(b2);
        let s = Big::of(1).times_power_of_5(s5).shifted(s2);
        let m = Big::of(1).times_power_of_5(b5).shifted(m2);
        let (digits, exponent) = if b_bits < 64 && ten_s_bits < 64 {
            let wrap = if b_bits < 32 && ten_s_bits < 32 { i32_of } else { std::convert::identity };
            native_digits([b.low(), s.low(), m.low()], exponent, wrap)
        } else {
            big_digits(b, &s, m, exponent)
        };
        (digits, exponent + 1)
    }

    /// A whole number below 2^63: its digits, but for those that its bits do not tell apart.
    fn whole_digits(&self) -> Digits {
        let insignificant = if self.exponent > self.significant {
            insignificant_digits(self.exponent - self.significant - 1)
        } else {
            0
        };
        let shift = self.exponent - FRACTION_BITS;
        let mut value = if shift >= 0 { self.fraction << shift } else { self.fraction >> -shift };
        let mut point = 0;
        if insignificant > 0 {
            let power = 10u64.pow(insignificant);
            let rest = value % power;
            value = value / power + u64::from(rest >= power / 2);
            point += small(insignificant);
        }
        let text = value.to_string();
        point += small(u32::try_from(text.len()).expect("few digits"));
        let digits = text.trim_end_matches('0').bytes().map(|digit| digit - b'0').collect();
        (digits, point)
    }

    /// The power of ten below the value, or one less (`estimateDecExp`).
    #[expect(clippy::approx_constant, reason = "Java's constant has these digits")]
    fn decimal_exponent(&self) -> i32 {
        let one = f64::from_bits((1023 << FRACTION_BITS) | (self.fraction & FRACTION_MASK));
        let estimate = (one - 1.5) * 0.289_529_654
            + 0.176_091_259
            + f64::from(self.exponent) * 0.301_029_995_663_981;
        // Between -324 and 309.
        estimate.floor() as i32
    }
}

/// The digits of B / S while they tell the value from its neighbours, in integers of Java that wrap
/// around, and the exponent of the first one.
fn native_digits([mut b, s, mut m]: [i64; 3], exponent: i32, wrap: fn(i64) -> i64) -> Digits {
    let tens = wrap(s.wrapping_mul(10));
    let mut digits = Stopped::new(exponent);
    loop {
        let digit = b / s;
        b = wrap((b % s).wrapping_mul(10));
        m = wrap(m.wrapping_mul(10));
        let (low, high) = if digits.is_first() || m > 0 {
            (b < m, wrap(b.wrapping_add(m)) > tens)
        } else {
            (true, true)
        };
        if let Some(stop) = digits.push(digit.unsigned_abs() as u8, low, high) {
            return digits.finish(stop, || wrap(b.wrapping_shl(1)).cmp(&tens));
        }
    }
}

/// The same in integers of any size, which stop one case earlier: at exactly half of the distance.
fn big_digits(mut b: Big, s: &Big, mut m: Big, exponent: i32) -> Digits {
    let tens = s.times(10);
    let mut digits = Stopped::new(exponent);
    loop {
        let digit = b.divide(s);
        b = b.times(10);
        m = m.times(10);
        let low = b.compare(&m) == Ordering::Less;
        let high = b.plus(&m).compare(&tens) != Ordering::Less;
        if let Some(stop) = digits.push(digit, low, high) {
            return digits.finish(stop, || b.times(2).compare(&tens));
        }
    }
}

/// Digits so far.
struct Stopped {
    digits: Vec<u8>,
    exponent: i32,
    iterations: u32,
}

impl Stopped {
    fn new(exponent: i32) -> Stopped {
        Stopped { digits: Vec::with_capacity(18), exponent, iterations: 0 }
    }

    fn is_first(&self) -> bool {
        self.iterations == 0
    }

    /// Takes a digit in; gives whether what is left is `low`, `high` or both once that ends the number.
    fn push(&mut self, digit: u8, low: bool, high: bool) -> Option<(bool, bool)> {
        let is_first = self.is_first();
        self.iterations += 1;
        if is_first && digit == 0 && !high {
            // The exponent was estimated one too high.
            self.exponent -= 1;
        } else {
            self.digits.push(digit);
        }
        // In the form with an exponent there is always a digit behind the point.
        let goes_on = is_first && !(-3..8).contains(&self.exponent);
        (!goes_on && (low || high)).then_some((low, high))
    }

    /// Rounds the last digit; `rest` compares what is left with half a unit of it.
    fn finish(mut self, (low, high): (bool, bool), rest: impl FnOnce() -> Ordering) -> Digits {
        let is_up = high
            && (!low
                || match rest() {
                    Ordering::Greater => true,
                    Ordering::Equal => self.digits.last().is_some_and(|digit| digit % 2 == 1),
                    Ordering::Less => false,
                });
        if is_up && round_up(&mut self.digits) {
            self.exponent += 1;
        }
        (self.digits, self.exponent)
    }
}

/// As a Java `int`.
fn i32_of(value: i64) -> i64 {
    i64::from(value as i32)
}

fn small(value: u32) -> i32 {
    i32::try_from(value).expect("a count of bits or digits is small")
}

/// Adds one to the last digit; whether all were nines, which become a one and noughts.
fn round_up(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return false;
        }
        *digit = 0;
    }
    if let Some(first) = digits.first_mut() {
        *first = 1;
    }
    true
}

/// How many bits 5^`power` has; beyond the 26th power an estimate (`N_5_BITS`).
fn bits_of_power_of_5(power: i32) -> i32 {
    match power {
        0 => 0,
        1..27 => {
            let value = 5u64.pow(power.unsigned_abs());
            small(64 - value.leading_zeros())
        }
        _ => power * 3,
    }
}

/// How many decimal digits are below 2^`power` (`insignificantDigitsForPow2`).
fn insignificant_digits(power: i32) -> u32 {
    const DIGITS: [u8; 64] = [
        0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 8, 8, 8,
        9, 9, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15, 15,
        16, 16, 16, 17, 17, 17, 18, 18, 18, 19,
    ];
    let power = usize::try_from(power).ok().filter(|power| *power > 1);
    power.and_then(|power| DIGITS.get(power)).map_or(0, |digits| u32::from(*digits))
}

/// A natural number of any size, lowest words first, without zero words at the end.
#[derive(Clone, Debug)]
struct Big(Vec<u32>);

impl Big {
    fn of(value: u64) -> Big {
        Big(vec![low_word(value), low_word(value >> 32)]).trimmed()
    }

    fn trimmed(mut self) -> Big {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn times(&self, factor: u32) -> Big {
        let mut carry = 0u64;
        let mut words: Vec<u32> = Vec::with_capacity(self.0.len() + 1);
        for word in &self.0 {
            carry += u64::from(*word) * u64::from(factor);
            words.push(low_word(carry));
            carry >>= 32;
        }
        words.push(low_word(carry));
        Big(words).trimmed()
    }

    fn times_power_of_5(self, power: i32) -> Big {
        (0..power).fold(self, |value, _| value.times(5))
    }

    fn shifted(self, bits: i32) -> Big {
        let bits = u32::try_from(bits).expect("shifts are made positive");
        let mut words = vec![0; (bits / 32) as usize];
        words.extend(self.0);
        Big(words).times(1 << (bits % 32))
    }

    fn plus(&self, other: &Big) -> Big {
        let mut carry = 0u64;
        let mut words = Vec::with_capacity(self.0.len().max(other.0.len()) + 1);
        for index in 0..self.0.len().max(other.0.len()) {
            let word = |big: &Big| u64::from(big.0.get(index).copied().unwrap_or(0));
            carry += word(self) + word(other);
            words.push(low_word(carry));
            carry >>= 32;
        }
        words.push(low_word(carry));
        Big(words).trimmed()
    }

    fn compare(&self, other: &Big) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Leaves the remainder and gives the quotient, which is below ten.
    fn divide(&mut self, divisor: &Big) -> u8 {
        let mut quotient = 0;
        while self.compare(divisor) != Ordering::Less {
            self.subtract(divisor);
            quotient += 1;
        }
        quotient
    }

    fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (index, word) in self.0.iter_mut().enumerate() {
            let (value, first) = word.overflowing_sub(other.0.get(index).copied().unwrap_or(0));
            let (value, second) = value.overflowing_sub(u32::from(borrow));
            *word = value;
            borrow = first || second;
        }
        *self = Big(std::mem::take(&mut self.0)).trimmed();
    }

    /// The lowest 64 bits as a Java `long`.
    fn low(&self) -> i64 {
        let word = |index: usize| u64::from(self.0.get(index).copied().unwrap_or(0));
        (word(0) | word(1) << 32).cast_signed()
    }
}

/// The lowest 32 bits.
fn low_word(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_texts_are_laid_out_as_java_does() {
        let check = |value, expected: &str| assert_eq!(double_text(value), expected);
        check(1250.5, "1250.5");
        check(100.0, "100.0");
        check(9_999_999.0, "9999999.0");
        check(1e7, "1.0E7");
        check(0.001, "0.001");
        check(0.000_123_45, "1.2345E-4");
        check(-0.0, "-0.0");
        check(f64::from_bits(1), "4.9E-324");
        check(f64::from_bits(2), "9.9E-324");
        check(2e23, "2.0E23");
        check(1e23, "1.0E23");
        check(f64::NEG_INFINITY, "-Infinity");
    }

    #[test]
    fn jdk_17_writes_digits_that_later_ones_do_not() {
        let check = |value, expected: &str| assert_eq!(java17_double_text(value), expected);
        check(2e23, "1.9999999999999998E23");
        check(1e23, "9.999999999999999E22");
        check(8.41e21, "8.409999999999999E21");
        check(2.0e-3, "0.002");
        check(2.2250738585072014e-308, "2.2250738585072014E-308");
        check(f64::from_bits(1), "4.9E-324");
        check(f64::MAX, "1.7976931348623157E308");
        check(1.0, "1.0");
        check(0.1, "0.1");
        check(-123_456.789, "-123456.789");
        check(9_999_999.0, "9999999.0");
        check(1e7, "1.0E7");
        check(0.001, "0.001");
        check(1e-5, "1.0E-5");
        check(9_007_199_254_740_993.0, "9.007199254740992E15");
        check(1e18, "1.0E18");
        check(-0.0, "-0.0");
        check(f64::NAN, "NaN");
    }

    proptest! {
        #[test]
        fn both_texts_read_back_the_same(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [double_text(value), java17_double_text(value)] {
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{}", text);
            }
        }

        #[test]
        fn both_texts_of_prices_are_mostly_the_same(cents in -1_000_000_000i64..1_000_000_000) {
            let value = cents as f64 / 100.0;
            prop_assert_eq!(double_text(value), java17_double_text(value));
        }
    }
}
