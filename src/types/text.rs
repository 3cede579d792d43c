//! How values are written as text: doubles and timestamps as Spark prints them.

use super::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A double as Java's `Double.toString` lays it out, with the shortest digits that read back the
/// same (JDK 19 and later): `1250.5`, `100.0`, `1.0E7`, `1.2345E-4`, `NaN`, `-Infinity`.
#[must_use]
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    // Java writes two digits at least, and of all numbers with two that read back the same it takes
    // the nearest: 4.9E-324, where one digit would do as 5E-324.
    let two_digits = format!("{value:.1e}");
    let one_is_enough = !scientific.contains('.');
    let scientific =
        if one_is_enough && two_digits.parse() == Ok(value) { two_digits } else { scientific };
    let (digits, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// A timestamp in UTC as Spark's console prints it: `2025-09-02 10:30:00`, with a fraction only
/// where there is one, years beyond 9999 with `+`.
#[must_use]
pub fn timestamp_text(time: Timestamp) -> String {
    let (date, clock) = date_and_clock(time);
    format!("{date} {clock}")
}

/// A timestamp as ISO 8601 in UTC: `2025-09-02T10:30:00Z`.
#[must_use]
pub fn timestamp_iso(time: Timestamp) -> String {
    let (date, clock) = date_and_clock(time);
    format!("{date}T{clock}Z")
}

fn date_and_clock(time: Timestamp) -> (String, String) {
    let seconds = time.0.div_euclid(MICROS_PER_SECOND);
    let micros = time.0.rem_euclid(MICROS_PER_SECOND);
    let (year, month, day) = civil_date(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) =
        (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        10_000.. => format!("+{year}"),
        _ => format!("-{:04}", year.unsigned_abs()),
    };
    let fraction = match micros {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    };
    (format!("{year}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}{fraction}"))
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
    fn doubles_are_laid_out_as_java_does() {
        let check = |value, expected: &str| assert_eq!(double_text(value), expected);
        check(1250.5, "1250.5");
        check(100.0, "100.0");
        check(9_999_999.0, "9999999.0");
        check(1e7, "1.0E7");
        check(0.001, "0.001");
        check(0.000_123_45, "1.2345E-4");
        check(-0.0, "-0.0");
        check(4.9e-324, "4.9E-324");
        check(-9.9e-324, "-9.9E-324");
        check(1.5e-323, "1.5E-323");
        check(2e-323, "2.0E-323");
        check(1e23, "1.0E23");
        check(f64::NEG_INFINITY, "-Infinity");
    }

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
        assert_eq!(timestamp_iso(Timestamp(0)), "1970-01-01T00:00:00Z");
    }
}
