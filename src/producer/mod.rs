//! Makes input: generators of records, and the loop that sends them to Kafka.
//!
//! Invariants: a generator is pure, so that the same options give the same bytes for ever; a run
//! that ends well has every record acknowledged by all in-sync replicas.
//!
//! Start at [`run`]; the generators are [`SalesGenerator`] and [`TransactionGenerator`]. Not here:
//! the clock reading that a run without a given start time begins at (the caller's).

mod atomic;
mod deliveries;
mod run;
mod sales;
mod transactions;

pub use atomic::{Ended, Transactions};
pub use run::{Bounds, ProduceError, Produced, run};
pub use sales::{SalesGenerator, SalesOptions};
pub use transactions::{BANNER, TransactionGenerator, TransactionOptions};

use std::io::{self, Write};
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A record to send. Buffers are reused from one record to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Number of the event, from 0.
    pub index: u64,
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The value's bytes; of no meaning for a tombstone.
    pub value: Vec<u8>,
    /// Whether the record has no value at all.
    pub tombstone: bool,
}

impl Record {
    /// The value, or `None` for a tombstone.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        (!self.tombstone).then_some(self.value.as_slice())
    }
}

/// An endless source of records.
pub trait Generate {
    /// Makes the next record in place.
    fn generate(&mut self, record: &mut Record);

    /// How many are to be sent in a second.
    fn rate(&self) -> Rate;

    /// Tells a human about the record made last. The default says nothing.
    ///
    /// # Errors
    /// Writing to `out` failed.
    fn announce(&self, out: &mut dyn Write) -> io::Result<()> {
        let _ = out;
        Ok(())
    }
}

/// A count of millionths, for numbers that users write as decimals and that must be exact.
const MILLION: u64 = 1_000_000;

/// Events a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as they are acknowledged.
    Unlimited,
    /// So many millionths of an event a second, at least 1.
    Micro(u64),
}

impl Rate {
    /// One event a second.
    pub const ONE: Rate = Rate::Micro(MILLION);

    /// Whole events a second; `events` is at least 1.
    #[must_use]
    pub const fn per_second(events: u32) -> Rate {
        Rate::Micro(events as u64 * MILLION)
    }

    /// When event `index` is due, in nanoseconds after the first; 0 if there is no limit.
    #[must_use]
    pub fn due_ns(self, index: u64) -> u64 {
        const NANOS_TIMES_MILLION: u128 = 1_000_000_000 * 1_000_000;
        match self {
            Rate::Unlimited => 0,
            Rate::Micro(micro) => {
                let due = u128::from(index) * NANOS_TIMES_MILLION / u128::from(micro.max(1));
                u64::try_from(due).unwrap_or(u64::MAX)
            }
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `unlimited`, or a decimal number above 0 with up to 6 digits after the point.
    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "unlimited" {
            return Ok(Rate::Unlimited);
        }
        match parse_micro(text) {
            Some(micro) if micro > 0 => Ok(Rate::Micro(micro)),
            _ => Err(format!(
                "a rate is a number of events a second above 0 (0.5, 1, 20000), or unlimited, not \
                 {text:?}"
            )),
        }
    }
}

/// Seconds of event time in a second of sending, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeScale(pub u64);

impl TimeScale {
    /// Event time as fast as real time.
    pub const ONE: TimeScale = TimeScale(MILLION);
}

impl FromStr for TimeScale {
    type Err = String;

    /// A decimal number, 0 (time stands still) or above, with up to 6 digits after the point.
    fn from_str(text: &str) -> Result<TimeScale, String> {
        parse_micro(text)
            .map(TimeScale)
            .ok_or_else(|| format!("a time scale is a number from 0 on (1, 60, 0.5), not {text:?}"))
    }
}

/// A share of all events, in millionths, at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fraction(u32);

impl Fraction {
    /// No event.
    pub const ZERO: Fraction = Fraction(0);

    /// Whether a uniform draw falls into the share.
    fn hits(self, draw: u64) -> bool {
        below(draw, MILLION) < u64::from(self.0)
    }
}

impl FromStr for Fraction {
    type Err = String;

    /// A decimal number from 0 to 1 with up to 6 digits after the point.
    fn from_str(text: &str) -> Result<Fraction, String> {
        match parse_micro(text) {
            Some(micro) if micro <= MILLION => {
                Ok(Fraction(u32::try_from(micro).expect("a million fits")))
            }
            _ => Err(format!("a fraction is a number from 0 to 1, as in 0.01, not {text:?}")),
        }
    }
}

/// Reads a plain decimal number as millionths; no sign, no exponent, nothing rounded.
fn parse_micro(text: &str) -> Option<u64> {
    const DIGITS: usize = 6;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(part) || part.len() > DIGITS {
        return None;
    }
    let part: u64 = format!("{part:0<DIGITS$}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(MILLION)?.checked_add(part)
}

/// The random numbers of event after event: always the same count for each, so that one option
/// (say, the share of late events) leaves everything else as it was.
///
/// ChaCha with 8 rounds is a fixed algorithm; `rand`'s own generators may change between releases.
struct Draws {
    random: ChaCha8Rng,
}

impl Draws {
    /// One ChaCha block.
    const PER_EVENT: usize = 8;

    fn new(seed: u64) -> Draws {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Draws { random: ChaCha8Rng::from_seed(key) }
    }

    fn next_event(&mut self) -> [u64; Draws::PER_EVENT] {
        std::array::from_fn(|_| self.random.next_u64())
    }
}

/// Maps a uniform draw to `0..bound` (Lemire 2019 without the rejection: the bias is below
/// bound/2^64).
fn below(draw: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(draw) * u128::from(bound)) >> 64).expect("smaller than the bound")
}

/// Appends a number in decimal.
fn push_number(buffer: &mut Vec<u8>, number: u64) {
    const MOST_DIGITS: usize = 20;
    let mut digits = [0; MOST_DIGITS];
    let (mut start, mut rest) = (MOST_DIGITS, number);
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[start..]);
}

/// Appends a number of cents as a decimal with two digits after the point.
fn push_cents(buffer: &mut Vec<u8>, cents: u64) {
    push_number(buffer, cents / 100);
    buffer.push(b'.');
    for digit in [cents / 10 % 10, cents % 10] {
        buffer.push(b'0' + u8::try_from(digit).expect("a digit"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_exact_decimals() {
        assert_eq!("0.5".parse(), Ok(Rate::Micro(500_000)));
        assert_eq!("20000".parse(), Ok(Rate::per_second(20_000)));
        assert_eq!("unlimited".parse(), Ok(Rate::Unlimited));
        for wrong in ["0", "-1", "", ".", "1e3", "0.0000001", "fast", "99999999999999999999"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_are_due_on_an_absolute_schedule() {
        assert_eq!(Rate::ONE.due_ns(3), 3_000_000_000);
        assert_eq!(Rate::per_second(3).due_ns(1), 333_333_333);
        assert_eq!(Rate::per_second(3).due_ns(3), 1_000_000_000, "thirds do not add up an error");
        assert_eq!(Rate::Micro(1).due_ns(u64::MAX), u64::MAX);
        assert_eq!(Rate::Unlimited.due_ns(5), 0);
    }

    #[test]
    fn fractions_lie_between_nothing_and_all() {
        let one: Fraction = "1".parse().unwrap();
        assert!(one.hits(0) && one.hits(u64::MAX));
        assert!(!Fraction::ZERO.hits(0) && !Fraction::ZERO.hits(u64::MAX));
        assert!("1.000001".parse::<Fraction>().is_err());
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let check = |number, expected: &str| {
            let mut buffer = Vec::new();
            push_number(&mut buffer, number);
            assert_eq!(String::from_utf8(buffer).unwrap(), expected);
        };
        check(0, "0");
        check(1_756_800_000, "1756800000");
        check(u64::MAX, "18446744073709551615");
        let mut buffer = Vec::new();
        push_cents(&mut buffer, 1_205);
        assert_eq!(buffer, b"12.05");
    }
}
