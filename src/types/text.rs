//! How whole numbers and points in time are written as text, the latter as Spark prints them.
//!
//! Not here: doubles (`java_double`).

use super::{Timestamp, Zone, decimal::POWERS};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A timestamp in UTC as Spark's console prints it: `2025-09-02 10:30:00`, with a fraction only
/// where there is one, years beyond 9999 with `+`.
#[must_use]
pub fn timestamp_text(time: Timestamp) -> String {
    timestamp_text_in(time, &Zone::UTC)
}

/// A timestamp in a zone as Spark's console prints it, without naming the zone: a time that a clock
/// change repeats is printed alike for both instants.
#[must_use]
pub fn timestamp_text_in(time: Timestamp, zone: &Zone) -> String {
    let mut text = String::with_capacity(LONGEST);
    push_timestamp(time, zone.offset_at(time), ' ', &mut text);
    text
}

/// A timestamp as ISO 8601 in UTC: `2025-09-02T10:30:00Z`.
#[must_use]
pub fn timestamp_iso(time: Timestamp) -> String {
    let mut text = String::with_capacity(LONGEST);
    push_timestamp_iso(time, &mut text);
    text
}

/// Appends what [`timestamp_iso`] gives.
pub fn push_timestamp_iso(time: Timestamp, text: &mut String) {
    push_timestamp(time, 0, 'T', text);
    text.push('Z');
}

/// `+294247-01-10T04:00:54.775807Z`.
const LONGEST: usize = 30;

/// Every closed window has its times written: digit by digit, without a formatter.
fn push_timestamp(time: Timestamp, offset: i64, between: char, text: &mut String) {
    let seconds = time.0.div_euclid(MICROS_PER_SECOND) + offset;
    let micros = time.0.rem_euclid(MICROS_PER_SECOND);
    let (year, month, day) = civil_date(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    match year {
        0..=9999 => {}
        10_000.. => text.push('+'),
        _ => text.push('-'),
    }
    push_digits(year, 4, text);
    for (before, number) in [
        ('-', month),
        ('-', day),
        (between, second_of_day / 3600),
        (':', second_of_day / 60 % 60),
        (':', second_of_day % 60),
    ] {
        text.push(before);
        push_digits(number, 2, text);
    }
    if micros != 0 {
        text.push('.');
        push_digits(micros, 6, text);
        text.truncate(text.trim_end_matches('0').len());
    }
}

/// Appends a number without its sign, with zeros in front up to so many places.
fn push_digits(number: i64, places: usize, text: &mut String) {
    let mut room = DigitRoom::default();
    let digits = digits(u128::from(number.unsigned_abs()), &mut room);
    (digits.len()..places).for_each(|_| text.push('0'));
    text.extend(digits.iter().copied().map(char::from));
}

/// The numbers below a hundred, two digits each.
const PAIRS: &str = "\
    00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748\
    49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697\
    9899";

/// As many decimal digits as 128 bits have.
const MOST_DIGITS: usize = 39;

/// Where [`digits`] puts them; zeros are there already.
#[derive(Debug)]
pub(super) struct DigitRoom([u8; MOST_DIGITS]);

impl Default for DigitRoom {
    fn default() -> DigitRoom {
        DigitRoom([b'0'; MOST_DIGITS])
    }
}

/// A number's decimal digits, without zeros in front; 0 has one.
pub(super) fn digits(number: u128, room: &mut DigitRoom) -> &[u8] {
    /// The largest power of ten in 64 bits.
    const LIMB: u128 = 10u128.pow(19);
    let DigitRoom(room) = room;
    let (mut rest, mut end) = (number, MOST_DIGITS);
    // Almost all fit 64 bits, which divide many times faster.
    let first = loop {
        match u64::try_from(rest) {
            Ok(short) => break write_digits(short, &mut room[..end]),
            Err(_) => {
                let low = u64::try_from(rest % LIMB).expect("a remainder is below its divisor");
                write_digits(low, &mut room[..end]);
                (rest, end) = (rest / LIMB, end - 19);
            }
        }
    };
    &room[first..]
}

/// A number with so many places, at most 18, behind the point.
#[inline]
pub(super) fn short_decimal(number: u64, places: u8, room: &mut DigitRoom) -> &[u8] {
    let DigitRoom(room) = room;
    let mut end = MOST_DIGITS;
    let mut whole = number;
    if places > 0 {
        let unit = POWERS[usize::from(places)].unsigned_abs();
        whole = number / unit;
        let point = MOST_DIGITS - 1 - usize::from(places);
        write_digits(number % unit, room);
        room[point] = b'.';
        end = point;
    }
    let first = write_digits(whole, &mut room[..end]);
    &room[first..]
}

/// Writes a number's digits to the end of `room`, two at a time; where they begin.
fn write_digits(mut number: u64, room: &mut [u8]) -> usize {
    let pairs = PAIRS.as_bytes();
    let mut at = room.len();
    let pair = |number: u64| {
        let pair = 2 * usize::try_from(number % 100).expect("a pair is below a hundred");
        &pairs[pair..pair + 2]
    };
    while number >= 100 {
        room[at - 2..at].copy_from_slice(pair(number));
        (number, at) = (number / 100, at - 2);
    }
    if number >= 10 {
        room[at - 2..at].copy_from_slice(pair(number));
        return at - 2;
    }
    room[at - 1] = pair(number)[1];
    at - 1
}

/// Appends a whole number.
pub fn push_number(number: i64, text: &mut Vec<u8>) {
    if number < 0 {
        text.push(b'-');
    }
    let mut room = DigitRoom::default();
    text.extend_from_slice(digits(u128::from(number.unsigned_abs()), &mut room));
}

/// Year, month and day of a day counted from 1970-01-01 in the proleptic Gregorian calendar, for
/// every day a timestamp can name (calendar libraries stop at the year 9999).
fn civil_date(day: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that leap days end their year; eras of 400 years repeat.
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_in_utc_with_the_fraction_they_have() {
        let check =
            |micros, expected: &str| assert_eq!(timestamp_text(Timestamp(micros)), expected);
        check(1_756_809_000_000_000, "2025-09-02 10:30:00");
        check(-1, "1969-12-31 23:59:59.999999");
        check(1_500_000, "1970-01-01 00:00:01.5");
        check(951_782_400_000_000, "2000-02-29 00:00:00");
        check(1_756_800_000_000_000_000, "+57640-10-10 08:00:00");
        check(i64::MAX, "+294247-01-10 04:00:54.775807");
        check(i64::MIN, "-290308-12-21 19:59:05.224192");
        check(-62_198_755_200_000_000, "-0001-01-01 00:00:00");
        check(12_000, "1970-01-01 00:00:00.012");
        assert_eq!(timestamp_iso(Timestamp(0)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn numbers_print_all_their_digits() {
        let limbs = [0, 1, 9, 10, 99, 100, 101, 1 << 32, u128::from(u64::MAX), u128::MAX];
        let powers = (0..39).map(|power| 10u128.pow(power));
        for number in powers.flat_map(|power| [power - 1, power, power + 1]).chain(limbs) {
            assert_eq!(digits(number, &mut DigitRoom::default()), number.to_string().as_bytes());
        }
        for number in [i64::MIN, -10, -1, 0, 7, 1_234_567, i64::MAX] {
            let mut text = Vec::new();
            push_number(number, &mut text);
            assert_eq!(text, number.to_string().into_bytes());
        }
    }

    #[test]
    fn timestamps_print_in_the_zone_of_the_session() {
        let zone = Zone::parse("America/New_York").unwrap();
        let check = |micros, expected: &str| {
            assert_eq!(timestamp_text_in(Timestamp(micros), &zone), expected);
        };
        check(1_756_809_000_000_000, "2025-09-02 06:30:00");
        check(1_762_061_400_000_000, "2025-11-02 01:30:00");
        check(1_762_065_000_000_000, "2025-11-02 01:30:00");
        check(1_756_800_000_000_000_000, "+57640-10-10 04:00:00");
    }
}
