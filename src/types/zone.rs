//! Time zones: an offset or a region with its clock changes, by the names that Spark takes.
//!
//! The rules are those compiled into the binary, so that every machine reads and prints a time alike.
//!
//! Not here: texts of times (`decode` reads them, [`super::timestamp_text_in`] prints them).

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;
/// Seconds in 400 years, after which the calendar repeats.
const SECONDS_PER_ERA: i64 = 146_097 * 86_400;
/// Beyond these seconds the calendar library knows no times: 7999-12-31 and -7999-01-01 or so.
const LIBRARY_REACH: i64 = 190_000_000_000;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A region with clock changes.
    Named(TimeZone),
}

impl Zone {
    /// The zone that has no offset.
    pub const UTC: Zone = Zone::Fixed(0);

    /// Reads a zone as Java's `ZoneId.of` with short ids, and `+h:mm` as Spark adds it; `None` if there
    /// is no such zone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Zone> {
        let text = text.trim_matches(|char| char <= ' ');
        if text == "Z" {
            return Some(Zone::UTC);
        }
        let text = SHORT_IDS.iter().find(|(id, _)| *id == text).map_or(text, |(_, name)| name);
        let offset = ["UTC", "GMT", "UT"].iter().find_map(|prefix| text.strip_prefix(prefix));
        let offset = offset.unwrap_or(text);
        match offset.as_bytes().first() {
            None if text.is_empty() => None,
            None => Some(Zone::UTC),
            Some(b'+' | b'-') => parse_offset(offset.as_bytes()).map(Zone::Fixed),
            Some(_) => Zone::named(text),
        }
    }

    /// A region by its exact name, as `Europe/Paris`.
    #[must_use]
    pub fn named(name: &str) -> Option<Zone> {
        static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        let zone = BUNDLED.get(name).ok()?;
        (zone.iana_name() == Some(name)).then_some(Zone::Named(zone))
    }

    /// Seconds east of UTC at an instant.
    #[must_use]
    pub fn offset_at(&self, time: Timestamp) -> i64 {
        match self {
            Zone::Fixed(offset) => i64::from(*offset),
            Zone::Named(zone) => {
                let mut second = time.0.div_euclid(MICROS_PER_SECOND);
                if second.abs() > LIBRARY_REACH {
                    let back = second.signum() * (LIBRARY_REACH - SECONDS_PER_ERA);
                    second = (second - back) % SECONDS_PER_ERA + back;
                }
                let instant = jiff::Timestamp::from_second(second);
                instant.map_or(0, |instant| i64::from(zone.to_offset(instant).seconds()))
            }
        }
    }
}

/// Seconds of an offset; at most 18 hours, as Java's `ZoneOffset`.
pub(crate) fn offset_seconds(negative: bool, [hours, minutes, seconds]: [i32; 3]) -> Option<i32> {
    let total = hours * 3600 + minutes * 60 + seconds;
    let is_good = minutes < 60 && seconds < 60 && total <= 18 * 3600;
    is_good.then_some(if negative { -total } else { total })
}

/// `+h`, `+hh`, `+hhmm`, `+hh:mm`, `+hhmmss`, `+hh:mm:ss`, and Spark's `+h:mm` and `+h:m`, `+hh:m`.
fn parse_offset(text: &[u8]) -> Option<i32> {
    let (sign, rest) = text.split_first()?;
    let mut parts = [0i32; 3];
    if rest.contains(&b':') {
        let count = rest.split(|byte| *byte == b':').count();
        for (index, part) in rest.split(|byte| *byte == b':').enumerate() {
            // Spark widens a single digit of the hours, and of minutes that come last.
            let may_be_short = index == 0 || (index == 1 && count == 2);
            *parts.get_mut(index)? = two_digits(part, may_be_short)?;
        }
    } else {
        let short = rest.len() == 1;
        if !matches!(rest.len(), 1 | 2 | 4 | 6) {
            return None;
        }
        for (part, digits) in parts.iter_mut().zip(rest.chunks(2)) {
            *part = two_digits(digits, short)?;
        }
    }
    offset_seconds(*sign == b'-', parts)
}

fn two_digits(digits: &[u8], may_be_short: bool) -> Option<i32> {
    let len_is_good = digits.len() == 2 || (may_be_short && digits.len() == 1);
    if !len_is_good || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0')))
}

/// Java's `ZoneId.SHORT_IDS`, which Spark accepts.
const SHORT_IDS: [(&str, &str); 28] = [
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("EST", "-05:00"),
    ("HST", "-10:00"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("MST", "-07:00"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_follow_the_clock_changes_of_every_era() {
        let new_york = Zone::parse("America/New_York").unwrap();
        let check = |second: i64, expected| {
            let time = Timestamp(second.saturating_mul(MICROS_PER_SECOND));
            assert_eq!(new_york.offset_at(time), expected, "{second}");
        };
        check(1_741_503_599, -5 * 3600);
        check(1_741_503_600, -4 * 3600);
        check(-3_000_000_000, -17_762);
        check(1_741_503_599 + 30 * SECONDS_PER_ERA, -5 * 3600);
        check(1_741_503_600 + 30 * SECONDS_PER_ERA, -4 * 3600);
        check(i64::MIN, -17_762);
        assert_eq!(Zone::parse("+05:30").unwrap().offset_at(Timestamp(0)), 19_800);
        assert_eq!(Zone::parse("america/new_york"), None);
    }
}
