//! How a column holds a point in time, as `[event_time]` names it.
//!
//! Not here: reading times (`decode`).

use super::errors::{InvalidOption, suggestion};
use super::pipeline::TimeFormat;
use super::typing::is_number;
use crate::types::DataType;

const FORMS: [&str; 4] = ["seconds", "milliseconds", "iso", "timestamp"];

/// Letters of a datetime pattern that have a meaning here, a subset of Spark's: year, month, day,
/// hours, minute, second, fraction, AM/PM, and the forms of a zone.
const PATTERN_LETTERS: &str = "yuMdHhmsSaXxZ";

/// Reads a format: `seconds`, `milliseconds`, `iso`, `timestamp`, or a datetime pattern.
///
/// # Errors
/// A pattern with neither a date nor hours (what it lacks is taken from 1970-01-01, as in Spark), or
/// with letters that have no meaning.
pub fn parse_time_format(text: &str) -> Result<TimeFormat, InvalidOption> {
    match text {
        "seconds" => return Ok(TimeFormat::Seconds),
        "milliseconds" => return Ok(TimeFormat::Milliseconds),
        "iso" => return Ok(TimeFormat::Iso),
        "timestamp" => return Ok(TimeFormat::Timestamp),
        _ => {}
    }
    let meant = meant_form(text);
    let refuse = |problem: &str| {
        let problem = if meant.is_empty() { problem } else { "" };
        Err(InvalidOption(format!(
            "{text:?} is not a format of time{problem}; write seconds, milliseconds, iso, timestamp, \
             or a pattern like \"yyyy-MM-dd HH:mm:ss\"{meant}"
        )))
    };
    let Some(letters) = letters_outside_of_quotes(text) else {
        return refuse(": a quote in the pattern is not closed");
    };
    let has = |letter| letters.contains(letter);
    if let Some(unknown) = letters.chars().find(|letter| !PATTERN_LETTERS.contains(*letter)) {
        return refuse(&format!(": the letter {unknown:?} has no meaning in a pattern"));
    }
    if !((has('y') || has('u')) && has('M') && has('d')) && !(has('H') || has('h')) {
        return refuse(": a pattern has year, month and day");
    }
    if has('h') != has('a') {
        return refuse(": hh (1 to 12) and a (AM or PM) go together, HH is 0 to 23");
    }
    Ok(TimeFormat::Pattern(text.to_owned()))
}

/// Checks that a column can hold times of that form.
///
/// # Errors
/// Names the forms or types that fit.
pub fn check_format_fits(
    format: &TimeFormat,
    column: &str,
    data_type: DataType,
) -> Result<(), InvalidOption> {
    let (fits, needed) = match format {
        TimeFormat::Seconds | TimeFormat::Milliseconds => {
            (is_number(data_type), "a number (long, int, double or decimal)")
        }
        TimeFormat::Iso | TimeFormat::Pattern(_) => (data_type == DataType::String, "a string"),
        TimeFormat::Timestamp => (data_type == DataType::Timestamp, "a timestamp"),
    };
    if fits {
        return Ok(());
    }
    let forms = match data_type {
        DataType::String => "iso or a pattern",
        DataType::Timestamp => "timestamp",
        DataType::Boolean => "none, use another column",
        DataType::Double | DataType::Long | DataType::Int | DataType::Decimal { .. } => {
            "seconds or milliseconds"
        }
    };
    Err(InvalidOption(format!(
        "this format needs {needed}, and column {column:?} is {data_type}; for it the format is {forms}"
    )))
}

/// The ASCII letters of a pattern that are not between `'`; `None` where a quote stays open.
fn letters_outside_of_quotes(pattern: &str) -> Option<String> {
    let mut quoted = false;
    let mut letters = String::new();
    for character in pattern.chars() {
        match character {
            '\'' => quoted = !quoted,
            letter if letter.is_alphabetic() && !quoted => letters.push(letter),
            _ => {}
        }
    }
    (!quoted).then_some(letters)
}

fn meant_form(text: &str) -> String {
    let meant = match text.to_lowercase().as_str() {
        "s" | "sec" | "unix" | "epoch" | "unix_seconds" => "seconds",
        "ms" | "millis" | "epoch_ms" | "unix_ms" | "unix_millis" => "milliseconds",
        "iso8601" | "iso-8601" | "rfc3339" => "iso",
        _ => return suggestion(text, FORMS),
    };
    format!("; did you mean {meant:?}?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_words_or_patterns() {
        assert_eq!(parse_time_format("seconds"), Ok(TimeFormat::Seconds));
        assert_eq!(parse_time_format("milliseconds"), Ok(TimeFormat::Milliseconds));
        assert_eq!(parse_time_format("iso"), Ok(TimeFormat::Iso));
        assert_eq!(parse_time_format("timestamp"), Ok(TimeFormat::Timestamp));
        for pattern in [
            "yyyy-MM-dd HH:mm:ss",
            "dd/MM/uuuu",
            "yyyy-MM-dd'T'HH:mm:ss.SSSX",
            "MM/dd/yy hh:mm a",
            "HH:mm",
        ] {
            let expected = TimeFormat::Pattern(pattern.to_owned());
            assert_eq!(parse_time_format(pattern), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_format_says_why() {
        let check = |text: &str, part: &str| {
            let message = parse_time_format(text).expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
        };
        check("second", "did you mean \"seconds\"?");
        check("ms", "did you mean \"milliseconds\"?");
        check("rfc3339", "did you mean \"iso\"?");
        check("yyyy-MM", "a pattern has year, month and day");
        check("yyyy-MM-dd QQ", "the letter 'Q' has no meaning");
        check("yyyy-MM-dd'T", "is not closed");
        check("yyyy-MM-dd hh:mm", "go together");
        check("", "write seconds, milliseconds");
    }

    #[test]
    fn a_format_fits_columns_of_its_types() {
        let check = |format: &str, data_type, fits: bool| {
            let format = parse_time_format(format).unwrap();
            assert_eq!(check_format_fits(&format, "ts", data_type).is_ok(), fits, "{format:?}");
        };
        for number in [DataType::Long, DataType::Int, DataType::Double] {
            check("seconds", number, true);
            check("milliseconds", number, true);
            check("iso", number, false);
        }
        check("seconds", DataType::String, false);
        check("iso", DataType::String, true);
        check("yyyy-MM-dd", DataType::String, true);
        check("timestamp", DataType::Timestamp, true);
        check("timestamp", DataType::Long, false);
        check("iso", DataType::Boolean, false);
    }
}
