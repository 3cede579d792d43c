//! Lengths of time as users write them: `30s`, `10 seconds`, `1 minute 30 seconds`, `500ms`.
//!
//! Not here: points in time (`decode`); when a duration of zero makes sense (whoever asks for one).

use std::time::Duration;

use super::errors::{InvalidOption, suggestion};

/// The longest duration a spec or an option may name: 100 years of 365 days. Keeps every sum of a
/// duration and a time of this era inside of 64-bit microseconds.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const UNITS: [(&str, &[&str], u64); 6] = [
    ("us", &["us", "µs", "microsecond", "microseconds"], 1),
    ("ms", &["ms", "milli", "millis", "millisecond", "milliseconds"], 1_000),
    ("s", &["s", "sec", "secs", "second", "seconds"], 1_000_000),
    ("m", &["m", "min", "mins", "minute", "minutes"], 60_000_000),
    ("h", &["h", "hour", "hours"], 3_600_000_000),
    ("d", &["d", "day", "days"], 86_400_000_000),
];
const WEEK: (&[&str], u64) = (&["w", "week", "weeks"], 7 * 86_400_000_000);

/// Reads a duration: one or more of a number with a unit, added up. Whole numbers only.
///
/// # Errors
/// No number, no or an unknown unit, a negative value, or more than [`MAX_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration, InvalidOption> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(invalid(text, "it is empty"));
    }
    let mut total_us: u64 = 0;
    while !rest.is_empty() {
        let (part_us, after) = parse_part(text, rest)?;
        total_us = total_us.checked_add(part_us).ok_or_else(|| too_long(text))?;
        rest = after.trim_start();
    }
    let duration = Duration::from_micros(total_us);
    if duration > MAX_DURATION { Err(too_long(text)) } else { Ok(duration) }
}

/// Reads an interval as Spark's SQL has it: like [`parse_duration`], and also negative, with fractions
/// of seconds, months (31 days) and the word `INTERVAL` before it. Gives microseconds.
///
/// # Errors
/// No number, no or an unknown unit, or more than [`MAX_DURATION`] either way.
pub fn parse_interval(text: &str) -> Result<i64, InvalidOption> {
    let mut rest = text.trim();
    if let Some((word, after)) = rest.split_once(char::is_whitespace)
        && word.eq_ignore_ascii_case("interval")
    {
        rest = after.trim_start();
    }
    if rest.is_empty() {
        return Err(invalid(text, "it is empty"));
    }
    let mut total_us: i64 = 0;
    while !rest.is_empty() {
        let (negative, unsigned) = match rest.strip_prefix('-') {
            Some(after) => (true, after.trim_start()),
            None => (false, rest.strip_prefix('+').unwrap_or(rest).trim_start()),
        };
        let (part_us, after) = interval_part(text, unsigned)?;
        let part_us = i64::try_from(part_us).map_err(|_| too_long(text))?;
        let signed = if negative { -part_us } else { part_us };
        total_us = total_us.checked_add(signed).ok_or_else(|| too_long(text))?;
        rest = after.trim_start();
    }
    let longest = i64::try_from(MAX_DURATION.as_micros()).unwrap_or(i64::MAX);
    if total_us.unsigned_abs() > longest.unsigned_abs() {
        Err(too_long(text))
    } else {
        Ok(total_us)
    }
}

/// A part of an interval: seconds with a fraction and months, besides what a duration has.
fn interval_part<'a>(whole: &str, text: &'a str) -> Result<(u64, &'a str), InvalidOption> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, after) = text.split_at(digits);
    let (fraction, after) = match after.strip_prefix('.') {
        Some(after) => {
            let len = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            after.split_at(len)
        }
        None => ("", after),
    };
    let unit_text = after.trim_start();
    let len = unit_text.len() - unit_text.trim_start_matches(char::is_alphabetic).len();
    let (unit, rest) = unit_text.split_at(len);
    let unit_is = |names: &[&str]| names.contains(&unit.to_lowercase().as_str());
    let number_of = |text: &str| match text {
        "" => Ok(0_u64),
        digits => digits.parse().map_err(|_| too_long(whole)),
    };
    if unit_is(&["month", "months"]) && fraction.is_empty() && digits > 0 {
        let month_us = 31 * 86_400_000_000;
        return Ok((
            number_of(number)?.checked_mul(month_us).ok_or_else(|| too_long(whole))?,
            rest,
        ));
    }
    if unit_is(&["s", "sec", "secs", "second", "seconds"]) && !fraction.is_empty() {
        let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
        let whole_us = number_of(number)?.checked_mul(1_000_000).ok_or_else(|| too_long(whole))?;
        return Ok((whole_us.saturating_add(number_of(&micros)?), rest));
    }
    parse_part(whole, text)
}

/// Writes a duration so that [`parse_duration`] reads it back, in the largest units that leave
/// nothing over: `1h 30m`, `500ms`, `0s`. What is below a microsecond is left out.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, _, unit_us) in UNITS.iter().rev() {
        if rest >= *unit_us {
            parts.push(format!("{}{unit}", rest / unit_us));
            rest %= unit_us;
        }
    }
    parts.join(" ")
}

/// Reads a number with its unit off the front; gives microseconds and what follows.
fn parse_part<'a>(whole: &str, text: &'a str) -> Result<(u64, &'a str), InvalidOption> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        let problem = if text.starts_with('-') {
            "it is negative".to_owned()
        } else {
            format!("there is no whole number before {text:?}")
        };
        return Err(invalid(whole, &problem));
    }
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let unit_len = rest.len() - rest.trim_start_matches(char::is_alphabetic).len();
    let (unit, rest) = rest.split_at(unit_len);
    let unit_us = unit_us(whole, number, unit, rest)?;
    let number: u64 = number.parse().map_err(|_| too_long(whole))?;
    let part_us = number.checked_mul(unit_us).ok_or_else(|| too_long(whole))?;
    Ok((part_us, rest))
}

fn unit_us(whole: &str, number: &str, unit: &str, rest: &str) -> Result<u64, InvalidOption> {
    let lower = unit.to_lowercase();
    let known = UNITS.iter().map(|(_, names, us)| (*names, *us)).chain([WEEK]);
    if let Some((_, us)) = known.clone().find(|(names, _)| names.contains(&lower.as_str())) {
        return Ok(us);
    }
    if unit.is_empty() {
        let problem = match rest.chars().next() {
            None => format!("{number} has no unit (\"{number}s\" is {number} seconds)"),
            Some('.' | ',') => "numbers are whole (0.5s is 500ms)".to_owned(),
            Some(other) => format!("{other:?} is not a unit"),
        };
        return Err(invalid(whole, &problem));
    }
    if ["month", "months", "year", "years", "mon", "y"].contains(&lower.as_str()) {
        return Err(invalid(whole, "months and years differ in length; use days"));
    }
    let hint = suggestion(&lower, known.flat_map(|(names, _)| names.iter().copied()));
    Err(invalid(whole, &format!("{unit:?} is not a unit{hint}")))
}

fn invalid(text: &str, problem: &str) -> InvalidOption {
    InvalidOption(format!(
        "{text:?} is not a duration: {problem}; write for example 30s, 10 seconds, 5m, 1h 30m or 500ms"
    ))
}

fn too_long(text: &str) -> InvalidOption {
    InvalidOption(format!("{text:?} is too long: the longest duration is 36500 days"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_are_signed_and_have_fractions_of_seconds_and_months() {
        let check = |text: &str, expected: i64| {
            assert_eq!(parse_interval(text).ok(), Some(expected), "{text}");
        };
        check("10 seconds", 10_000_000);
        check("0.5 seconds", 500_000);
        check("1 minute 500 milliseconds", 60_500_000);
        check("-7 seconds", -7_000_000);
        check("INTERVAL 20 SECONDS", 20_000_000);
        check("1 month", 31 * 86_400_000_000);
        check("0 seconds", 0);
        check("1.1234567s", 1_123_456);
        let beyond = "-9223372036854775807us -1us";
        for text in ["", "abc", "10", "interval", "1.5 minutes", "5 apples", "--1s", beyond] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_short_and_long_form() {
        let check = |text, expected_ms| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        };
        check("0s", 0);
        check("30s", 30_000);
        check("30 seconds", 30_000);
        check("  1 minute 30 seconds ", 90_000);
        check("1m30s", 90_000);
        check("500ms", 500);
        check("5M", 300_000);
        check("1h", 3_600_000);
        check("2 days", 172_800_000);
        check("1 week", 604_800_000);
        check("36500 days", 3_153_600_000_000);
        assert_eq!(parse_duration("7us"), Ok(Duration::from_micros(7)));
    }

    #[test]
    fn what_is_not_a_duration_says_why() {
        let check = |text: &str, part: &str| {
            let message = parse_duration(text).expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
        };
        check("", "it is empty");
        check("30", "30 has no unit (\"30s\" is 30 seconds)");
        check("-5s", "negative");
        check("0.5s", "500ms");
        check("soon", "no whole number");
        check("5 secnods", "did you mean \"seconds\"?");
        check("1 month", "use days");
        check("5s,", "no whole number before \",\"");
        check("36501 days", "too long");
        check("99999999999999999999s", "too long");
        check("18446744073709551615s", "too long");
        check("5/s", "'/' is not a unit");
    }

    #[test]
    fn durations_are_written_in_their_largest_units() {
        let check = |ms, expected: &str| {
            assert_eq!(format_duration(Duration::from_millis(ms)), expected);
        };
        check(0, "0s");
        check(30_000, "30s");
        check(5_400_000, "1h 30m");
        check(86_400_500, "1d 500ms");
    }

    proptest! {
        #[test]
        fn written_durations_read_back(us in 0..=3_153_600_000_000_000_u64) {
            let duration = Duration::from_micros(us);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn reading_a_duration_never_panics(text in "\\PC*|[0-9a-zµ ]{0,40}") {
            let _ = parse_duration(&text);
        }
    }
}
