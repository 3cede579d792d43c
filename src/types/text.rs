//! How points in time are written as text, as Spark prints them.
//!
//! Not here: doubles (`java_double`).

use super::{Timestamp, Zone};

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
    let digits = year.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1);
    push_digits(year, digits.max(4), text);
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

/// Appends so many of the last digits of a number.
fn push_digits(number: i64, places: u32, text: &mut String) {
    let number = number.unsigned_abs();
    for place in (0..places).rev() {
        let digit = number / 10u64.pow(place) % 10;
        text.push(char::from(b'0' + u8::try_from(digit).expect("a digit is below ten")));
    }
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
