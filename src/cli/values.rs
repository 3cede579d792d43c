//! Values of options that only the command line knows, each with an error that says what would be
//! right.
//!
//! Not here: values that specs share (`crate::spec`), rates and fractions (`crate::producer`).

use std::{str::FromStr, time::Duration};

use crate::{
    batch::Permission,
    kafka::{ClientSettings, SettingsError},
    spec::{InvalidOption, parse_duration, whole_milliseconds},
    types::Timestamp,
};

/// How many events to produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// This many, at least 1.
    Limited(u64),
    /// Until told to stop.
    Unlimited,
}

impl Events {
    /// The number, if there is one.
    #[must_use]
    pub fn limit(self) -> Option<u64> {
        match self {
            Events::Limited(limit) => Some(limit),
            Events::Unlimited => None,
        }
    }
}

impl FromStr for Events {
    type Err = String;

    /// A whole number from 1, with `_` between digits if you like, or `unlimited`.
    fn from_str(text: &str) -> Result<Events, String> {
        if text == "unlimited" {
            return Ok(Events::Unlimited);
        }
        match text.replace('_', "").parse() {
            Ok(limit) if limit > 0 => Ok(Events::Limited(limit)),
            _ => Err("write a whole number from 1, or unlimited".to_owned()),
        }
    }
}

/// A permission: `true`, `false`, or the lineage that is given up.
pub(super) fn permission(text: &str) -> Result<Permission, String> {
    let digits = |byte: u8| byte.is_ascii_hexdigit();
    match text {
        "true" => Ok(Permission::Unnamed),
        "false" => Ok(Permission::NotGiven),
        lineage if lineage.len() == 32 && lineage.bytes().all(digits) => {
            lineage.parse().map(Permission::Naming).map_err(|_| HOW_TO_NAME.to_owned())
        }
        _ => Err(HOW_TO_NAME.to_owned()),
    }
}

const HOW_TO_NAME: &str = "write the flag alone, or the lineage that is given up: the 32 hexadecimal \
                           digits that the refusal prints";

/// A length of time.
pub(super) fn duration(text: &str) -> Result<Duration, InvalidOption> {
    parse_duration(text)
}

/// A length of time in whole milliseconds, as it is subtracted from times.
pub(super) fn signed_milliseconds(text: &str) -> Result<i64, InvalidOption> {
    let milliseconds = whole_milliseconds(text)?;
    Ok(i64::try_from(milliseconds).expect("the longest duration fits"))
}

/// A point in time: RFC 3339 with a zone, or Unix seconds.
///
/// # Errors
/// Says how a time is written.
pub fn parse_start_time(text: &str) -> Result<Timestamp, String> {
    let microseconds = match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1_000_000),
        Err(_) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond),
    };
    microseconds.map(Timestamp).ok_or_else(|| {
        "write a time like 2025-09-02T08:00:00Z, with its zone, or Unix seconds like 1756800000"
            .to_owned()
    })
}

/// The start of a window: as [`parse_start_time`] has it, or as result tables print it
/// (`2025-09-02 08:00:00`), which is UTC.
///
/// # Errors
/// Says how a time is written.
pub(super) fn window_start(text: &str) -> Result<Timestamp, String> {
    parse_start_time(text).or_else(|_| {
        parse_start_time(&format!("{}Z", text.trim())).map_err(|_| {
            "write a time like 2025-09-02T08:00:00Z or \"2025-09-02 08:00:00\" (UTC), or Unix \
             seconds like 1756800000"
                .to_owned()
        })
    })
}

/// How many batches of history: a number or `all`.
///
/// # Errors
/// Says what may be written.
pub(super) fn history(text: &str) -> Result<usize, String> {
    match text {
        "all" => Ok(usize::MAX),
        number => number.parse().map_err(|_| "write a number of batches, or all".to_owned()),
    }
}

/// The settings in one `--kafka-option` or its variable: usually one, in a text of several lines one
/// a line where every line is a setting (so that a certificate stays whole).
///
/// # Errors
/// A text without `=`; the error does not hold the text.
pub fn parse_kafka_options(text: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > 1 && lines.iter().all(|line| is_setting(line)) {
        return lines.into_iter().map(ClientSettings::parse_option).collect();
    }
    Ok(vec![ClientSettings::parse_option(text)?])
}

/// Whether a line is `name=value` with a name such as librdkafka's.
fn is_setting(line: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_');
    line.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.trim().chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_unix_seconds() {
        let expected = Ok(Timestamp(1_756_800_000_000_000));
        assert_eq!(parse_start_time("2025-09-02T08:00:00Z"), expected);
        assert_eq!(parse_start_time("2025-09-02T10:00:00+02:00"), expected);
        assert_eq!(parse_start_time("1756800000"), expected);
        assert_eq!(parse_start_time("-1"), Ok(Timestamp(-1_000_000)));
        for wrong in ["", "2025-09-02", "2025-09-02T08:00:00", "yesterday", "9223372036854775807"] {
            assert!(parse_start_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_start_of_a_window_is_also_read_as_tables_print_it() {
        let expected = Ok(Timestamp(1_756_800_000_000_000));
        for text in
            ["2025-09-02 08:00:00", "2025-09-02T08:00:00", "2025-09-02T08:00:00Z", "1756800000"]
        {
            assert_eq!(window_start(text), expected, "{text}");
        }
        assert_eq!(window_start("1970-01-01 00:00:01.5"), Ok(Timestamp(1_500_000)));
        for wrong in ["", "2025-09-02", "nope", "2025-09-02 08:00:00 +02:00:00:00"] {
            assert!(window_start(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_are_a_number_from_one_or_unlimited() {
        assert_eq!("1_000".parse(), Ok(Events::Limited(1000)));
        assert_eq!("unlimited".parse(), Ok(Events::Unlimited));
        for wrong in ["0", "-1", "", "many", "1.5"] {
            assert!(wrong.parse::<Events>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_kafka_options_stand_one_a_line_and_a_certificate_stays_whole() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parse_kafka_options("sasl.username=me\nsasl.password=a=b,c\n"),
            Ok(vec![pair("sasl.username", "me"), pair("sasl.password", "a=b,c")])
        );
        let pem = "ssl.ca.pem=-----BEGIN CERTIFICATE-----\nMIIBszCC+A==\n-----END CERTIFICATE-----";
        let value = pem.strip_prefix("ssl.ca.pem=").unwrap();
        assert_eq!(parse_kafka_options(pem), Ok(vec![pair("ssl.ca.pem", value)]));
        let error = parse_kafka_options("hunter2").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
