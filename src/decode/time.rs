//! Points in time out of numbers and of ISO 8601 texts, by the rules of Spark's casts.
//!
//! Whatever the input, the result saturates or is `None`; nothing panics. Start at [`iso`].
//! Texts of a time without a date get the date of the batch's one clock reading, so that a batch that is
//! computed again reads them alike.
//!
//! Not here: texts in a user's pattern (`pattern`); which column is the event time (`mod`).

use jiff::tz::TimeZone;

use crate::types::{Decimal, Timestamp, Zone, timestamp_text_in};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// 9999-12-31 in seconds is 2.5e11; milliseconds of any day after 1973-03-03 are more than 1e11.
const IMPLAUSIBLE_SECONDS: i64 = 100_000_000_000;

/// What texts of times are understood by.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The zone of texts that name none.
    pub zone: Zone,
    /// The batch's clock reading.
    pub clock: Timestamp,
}

impl Session {
    /// Year, month and day in a zone at the clock reading.
    fn today(&self, zone: &Zone) -> Option<[i64; 3]> {
        let text = timestamp_text_in(self.clock, zone);
        let mut parts = text.split([' ', '-']).map(|part| part.parse().ok());
        Some([parts.next()??, parts.next()??, parts.next()??])
    }
}

/// Whether an event time that was read as seconds was more probably written in milliseconds: it lies
/// after the year 5138.
#[must_use]
pub fn looks_like_milliseconds(time: Timestamp) -> bool {
    time.0 > IMPLAUSIBLE_SECONDS * MICROS_PER_SECOND
}

/// Units in which a number counts time since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

impl Unit {
    fn micros(self) -> i64 {
        match self {
            Unit::Seconds => MICROS_PER_SECOND,
            Unit::Milliseconds => 1000,
        }
    }
}

/// Saturates at the ends of an `i64` of microseconds, as Spark's cast of a LONG does.
#[inline]
pub(super) fn from_integer(value: i64, unit: Unit) -> Timestamp {
    Timestamp(value.saturating_mul(unit.micros()))
}

/// Truncates toward zero after multiplying as doubles; NaN and infinities have no time.
pub(super) fn from_double(value: f64, unit: Unit) -> Option<Timestamp> {
    // The conversion saturates, as Java's does.
    value.is_finite().then(|| Timestamp((value * unit.micros() as f64) as i64))
}

/// As Spark computes `(number / 1000.0)` cast to a timestamp: in doubles, whose noise shows in
/// microseconds of far times.
pub(super) fn from_java_double(value: f64, unit: Unit) -> Option<Timestamp> {
    let seconds = match unit {
        Unit::Seconds => value,
        Unit::Milliseconds => value / 1000.0,
    };
    from_double(seconds, Unit::Seconds)
}

/// The largest power of ten that 128 bits hold.
const MOST_PLACES: u8 = 38;

/// Exact, then truncated toward zero; saturates.
pub(super) fn from_decimal(value: Decimal, unit: Unit) -> Timestamp {
    // A product of decimals may have more places than a divisor can be made for; they say nothing.
    let cut = u32::from(value.scale.saturating_sub(MOST_PLACES));
    let unscaled = 10i128.checked_pow(cut).map_or(0, |cut| value.unscaled / cut);
    let value = Decimal { unscaled, scale: value.scale.min(MOST_PLACES) };
    let divisor = 10i128.pow(u32::from(value.scale));
    let micros = i128::from(unit.micros());
    let whole = (value.unscaled / divisor).saturating_mul(micros);
    let rest = match (value.unscaled % divisor).checked_mul(micros) {
        Some(product) => product / divisor,
        // Above 10^32 the last digits cannot change a microsecond.
        None => (value.unscaled % divisor) / (divisor / micros),
    };
    let total = whole.saturating_add(rest);
    Timestamp(i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX }))
}

/// A date and a time of day without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micros: i64,
}

impl Local {
    /// Seconds since 1970 as if in UTC; `None` if there is no such date or time of day.
    pub(super) fn seconds(&self) -> Option<i64> {
        let date_is_good = (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day);
        let time_is_good = (0..24).contains(&self.hour)
            && (0..60).contains(&self.minute)
            && (0..60).contains(&self.second);
        if !date_is_good || !time_is_good || self.year.abs() > 999_999_999 {
            return None;
        }
        let days = days_since_1970(self.year, self.month, self.day);
        Some(days * SECONDS_PER_DAY + self.hour * 3600 + self.minute * 60 + self.second)
    }

    /// The instant at a fixed offset, or in a zone: a time that a clock change skipped moves forward by
    /// the gap, one that it repeats is the earlier of the two.
    pub(super) fn instant(&self, zone: &Zone) -> Option<Timestamp> {
        let local = self.seconds()?;
        let offset = match zone {
            Zone::Fixed(offset) => i64::from(*offset),
            Zone::Named(zone) => self.offset_in(zone)?,
        };
        let micros = i128::from(local - offset) * i128::from(MICROS_PER_SECOND);
        i64::try_from(micros + i128::from(self.micros)).ok().map(Timestamp)
    }

    fn offset_in(&self, zone: &TimeZone) -> Option<i64> {
        // The calendar repeats every 400 years, and so do the rules of zones outside of recorded time.
        let year = if (-9000..=9000).contains(&self.year) {
            self.year
        } else {
            self.year.rem_euclid(400) + if self.year > 0 { 8000 } else { -8000 }
        };
        let narrow = |value: i64| i8::try_from(value).ok();
        let civil = jiff::civil::DateTime::new(
            i16::try_from(year).ok()?,
            narrow(self.month)?,
            narrow(self.day)?,
            narrow(self.hour)?,
            narrow(self.minute)?,
            narrow(self.second)?,
            0,
        )
        .ok()?;
        let instant = zone.to_ambiguous_timestamp(civil).compatible().ok()?.as_second();
        let local = Local { year, ..*self }.seconds()?;
        Some(local - instant)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Hinnant, `days_from_civil`).
pub(super) fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March end with the leap day.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads an ISO 8601 text as Spark's `CAST(... AS TIMESTAMP)`:
/// `yyyy[-M[-d[(T| )H[:m[:s[.fraction]]]]]]` or `[T]H:m[:s[.fraction]]`, and after the seconds a zone.
/// Blanks around are trimmed, digits of the fraction beyond the sixth are cut
/// (`SparkDateTimeUtils.parseTimestampString`).
#[must_use]
pub(super) fn iso(text: &[u8], session: &Session) -> Option<Timestamp> {
    let is_blank = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let end = text.iter().rposition(|byte| !is_blank(byte))? + 1;
    let text = &text[start..end];
    let mut cursor = Cursor { rest: text };
    let mut local = Local { year: 0, month: 1, day: 1, hour: 0, minute: 0, second: 0, micros: 0 };
    if is_time_alone(text) {
        cursor.rest = text.strip_prefix(b"T").unwrap_or(text);
        local.hour = cursor.number(1, 2)?;
        let zone = zone_of(fields_after(3, &mut cursor, &mut local)?, session)?;
        [local.year, local.month, local.day] = session.today(&zone)?;
        return local.instant(&zone);
    }
    let negative = text[0] == b'-';
    if negative || text[0] == b'+' {
        cursor.rest = &text[1..];
    }
    let year = cursor.number(4, 6)?;
    local.year = if negative { -year } else { year };
    match fields_after(0, &mut cursor, &mut local)? {
        [] => local.instant(&session.zone),
        zone => local.instant(&zone_of(zone, session)?),
    }
}

fn is_time_alone(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text[0] == b'T' || (digits > 0 && text.get(digits) == Some(&b':'))
}

fn zone_of(text: &[u8], session: &Session) -> Option<Zone> {
    match text {
        [] => Some(session.zone.clone()),
        text => Zone::parse(std::str::from_utf8(text).ok()?),
    }
}

/// Reads all but the first `passed` fields behind the year, and gives the text of the zone, which may be
/// empty.
fn fields_after<'t>(passed: usize, text: &mut Cursor<'t>, local: &mut Local) -> Option<&'t [u8]> {
    let fields = [
        (&b"-"[..], &mut local.month),
        (b"-", &mut local.day),
        (b"T ", &mut local.hour),
        (b":", &mut local.minute),
        (b":", &mut local.second),
    ];
    for (separators, field) in fields.into_iter().skip(passed) {
        match text.rest.split_first() {
            None => return Some(&[]),
            Some((byte, rest)) if separators.contains(byte) => text.rest = rest,
            Some(_) => return None,
        }
        *field = text.number(1, 2)?;
    }
    if let Some(rest) = text.rest.strip_prefix(b".") {
        text.rest = rest;
        local.micros = text.fraction();
    }
    Some(text.rest)
}

struct Cursor<'t> {
    rest: &'t [u8],
}

impl Cursor<'_> {
    /// All digits that come next, if they are as many as they may be.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len < least || len > most {
            return None;
        }
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    /// The digits that come next as microseconds.
    fn fraction(&mut self) -> i64 {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        let mut padded = digits.iter().map(|digit| i64::from(digit - b'0')).chain([0; 6]);
        padded.by_ref().take(6).fold(0, |value, digit| value * 10 + digit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(text: &[u8]) -> Option<Timestamp> {
        // 2026-11-21T03:00:00Z.
        let clock = Timestamp(1_795_230_000_000_000);
        super::iso(text, &Session { zone: Zone::UTC, clock })
    }

    #[test]
    fn texts_without_a_zone_are_local_and_a_time_alone_is_of_the_day_of_the_clock() {
        let clock = Timestamp(1_795_230_000_000_000);
        let session = Session { zone: Zone::parse("America/New_York").unwrap(), clock };
        let check = |text: &str, expected: &str| {
            let time = super::iso(text.as_bytes(), &session).unwrap();
            assert_eq!(timestamp_text_in(time, &session.zone), expected, "{text}");
        };
        check("2025-03-09 02:30:00", "2025-03-09 03:30:00");
        check("2025-11-02 01:30:00", "2025-11-02 01:30:00");
        check("2025-09-02T08:00:05Z", "2025-09-02 04:00:05");
        check("08:00:05", "2026-11-20 08:00:05");
        check("T8:0", "2026-11-20 08:00:00");
        check("08:00:05.5 UTC", "2026-11-21 03:00:05.5");
        check("08:00:05Z", "2026-11-21 03:00:05");
    }

    /// 2025-09-02T08:00:05Z.
    const EIGHT: i64 = 1_756_800_005_000_000;
    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn iso_texts_are_read_as_spark_casts_them() {
        let good = [
            ("2025-09-02T08:00:05Z", EIGHT),
            ("2025-09-02 08:00:05", EIGHT),
            ("2025-09-02T08:00:05.1", EIGHT + 100_000),
            ("2025-09-02T08:00:05.123456", EIGHT + 123_456),
            ("2025-09-02T08:00:05.123456789Z", EIGHT + 123_456),
            ("2025-09-02T08:00:05.", EIGHT),
            ("2025-09-02T08:00:05+02:00", EIGHT - 2 * HOUR),
            ("2025-09-02T08:00:05+0200", EIGHT - 2 * HOUR),
            ("2025-09-02T08:00:05+02", EIGHT - 2 * HOUR),
            ("2025-09-02T08:00:05+2:00", EIGHT - 2 * HOUR),
            ("2025-09-02T08:00:05-08:00", EIGHT + 8 * HOUR),
            ("2025-09-02T08:00:05+01:00:30", EIGHT - HOUR - 30_000_000),
            ("2025-09-02T08:00:05+18:00", EIGHT - 18 * HOUR),
            ("2025-09-02T08:00:05 UTC", EIGHT),
            ("2025-09-02T08:00:05GMT", EIGHT),
            ("2025-09-02T08:00:05UTC+2", EIGHT - 2 * HOUR),
            ("2025-09-02T08:00:05 Europe/Paris", EIGHT - 2 * HOUR),
            ("2025-09-02T08:00:05PST", EIGHT + 7 * HOUR),
            ("2025-9-2 8:0:5", EIGHT),
            ("2025-09-02 8:00", EIGHT - 5_000_000),
            ("2025-09-02 08", EIGHT - 5_000_000),
            ("2025-09-02", EIGHT - 8 * HOUR - 5_000_000),
            ("2025-09", 1_756_684_800_000_000),
            ("2025", 1_735_689_600_000_000),
            (" 2025-09-02 08:00:05 ", EIGHT),
            ("2024-02-29 00:00:00", 1_709_164_800_000_000),
            ("0000-01-01 00:00:00", -62_167_219_200_000_000),
            ("0001-01-01 00:00:00", -62_135_596_800_000_000),
            ("-0001-01-01 00:00:00", -62_198_755_200_000_000),
            ("10000-01-01 00:00:00", 253_402_300_800_000_000),
            ("+10000-01-01 00:00:00", 253_402_300_800_000_000),
            ("294247-01-10T04:00:54.775807", i64::MAX),
            // Skipped by the clock change: an hour later. Repeated by it: the earlier one.
            ("2025-03-30T02:30:00 Europe/Paris", 1_743_298_200_000_000),
            ("2025-10-26T02:30:00 Europe/Paris", 1_761_438_600_000_000),
        ];
        for (text, expected) in good {
            assert_eq!(iso(text.as_bytes()), Some(Timestamp(expected)), "{text}");
        }
    }

    #[test]
    fn texts_that_spark_casts_to_null_have_no_time() {
        for text in [
            "",
            "  ",
            "2025-09-02T08:00:05z",
            "2025-09-02t08:00:05",
            "2025-09-02T",
            "2025-13-01 00:00:00",
            "2025-02-29 00:00:00",
            "2025-09-02 24:00:00",
            "2025-09-02 23:59:60",
            "2025-09-02 08:60:00",
            "1756800005",
            "1756800005000",
            "abc",
            "null",
            "epoch",
            "now",
            "294248-01-01",
            "2025/09/02 08:00:05",
            "20250902T080005Z",
            "2025-09-02T08:00:05,123",
            "+",
            "-",
            "2025-09-02T08:00:05.123Zx",
            "2025-09-02T08:00:05+18:01",
            "2025-09-02T08:00:05[Europe/Paris]",
            "2025-09-02  08:00:05",
            "٢٠٢٥-09-02",
            "2025-09-02T08:00:05europe/paris",
            "2025-09-02T08:00:05 +",
            "2025-09-02T08:00:05+123",
            "2025-09-02T08:00:05+02:00:",
            "202-09-02",
            "T",
            "T08:",
            "08:00:",
            "2025-09-02T08:00Z",
        ] {
            assert_eq!(iso(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_of_seconds_saturate_and_truncate_toward_zero() {
        assert_eq!(from_integer(-1, Unit::Seconds), Timestamp(-1_000_000));
        assert_eq!(from_integer(i64::MAX, Unit::Seconds), Timestamp(i64::MAX));
        assert_eq!(from_integer(i64::MIN, Unit::Milliseconds), Timestamp(i64::MIN));
        assert_eq!(from_integer(-1500, Unit::Milliseconds), Timestamp(-1_500_000));
        assert_eq!(from_double(-1.000_000_9, Unit::Seconds), Some(Timestamp(-1_000_000)));
        assert_eq!(from_double(1e300, Unit::Seconds), Some(Timestamp(i64::MAX)));
        assert_eq!(from_double(f64::NAN, Unit::Seconds), None);
        assert_eq!(from_double(f64::NEG_INFINITY, Unit::Milliseconds), None);
        let decimal = |unscaled, scale| from_decimal(Decimal { unscaled, scale }, Unit::Seconds);
        assert_eq!(decimal(-15_000_009, 7), Timestamp(-1_500_000));
        assert_eq!(decimal(i128::MAX, 0), Timestamp(i64::MAX));
        assert_eq!(decimal(-(10i128.pow(38) - 1), 38), Timestamp(-999_999));
        assert_eq!(decimal(10i128.pow(38), 40), Timestamp(10_000));
        assert_eq!(decimal(1, 255), Timestamp(0));
    }

    #[test]
    fn milliseconds_read_as_seconds_are_recognised() {
        assert!(looks_like_milliseconds(from_integer(1_756_800_000_000, Unit::Seconds)));
        assert!(!looks_like_milliseconds(from_integer(1_756_800_000, Unit::Seconds)));
        assert!(looks_like_milliseconds(Timestamp(i64::MAX)));
        assert!(!looks_like_milliseconds(Timestamp(i64::MIN)));
    }
}
