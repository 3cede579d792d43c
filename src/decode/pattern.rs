//! Datetime patterns: the letters of Java's `DateTimeFormatter` that Spark's `to_timestamp` takes.
//!
//! | letters | meaning |
//! |---|---|
//! | `y` `u` | year; `yy` is 2000 to 2099 |
//! | `M` `L` | month: `M` `MM` as number, `MMM` as `Sep`, `MMMM` as `September` |
//! | `d` | day of month |
//! | `E` `EE` `EEE` / `EEEE` | day of week, `Tue` / `Tuesday`; must agree with the date |
//! | `H` `k` `K` `h` | hour 0-23, 1-24, 0-11 with `a`, 1-12 with `a` |
//! | `m` `s` | minute, second |
//! | `S` to `SSSSSSSSS` | fraction of a second, at least one digit, at most as many as letters |
//! | `a` | AM or PM |
//! | `X` `x` `Z` | offset: `X` +HHmm, `XX` +HHMM, `XXX` +HH:MM, `XXXX` +HHMMss, `XXXXX` +HH:MM:ss, each or `Z`; `x` without `Z`; `Z` to `ZZZ` as `xx`, `ZZZZZ` as `XXXXX` |
//! | `z` `VV` | zone name: `UTC`, `GMT`, `UT`, `Z`, `Europe/Paris`, with `z` also `PST`, `CET`… |
//! | `'T'` `''` `[ ]` | literal, quote, optional part |
//!
//! As in Spark, letters match without regard to case, the whole text must match, dates are strict, and
//! what the text lacks is 1970-01-01 00:00:00 in the
//! session's zone. Everything else is refused when the pattern is read.
//!
//! Not here: texts without a pattern (`time::iso`).

use super::time::{self, Local};
use crate::types::{Timestamp, Zone, offset_seconds};

/// Whether event times can be read in this pattern.
///
/// # Errors
/// A sentence that names the letter or the place that is not supported.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    Pattern::new(pattern).map(drop)
}

/// A pattern that can be used.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    items: Vec<Item>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    ReducedYear,
    Month,
    Day,
    HourOfDay,
    ClockHourOfDay,
    HourOfHalf,
    ClockHourOfHalf,
    Minute,
    Second,
    Half,
    Weekday,
}

const FIELDS: usize = Field::Weekday as usize + 1;

#[derive(Clone, Debug)]
enum Item {
    Literal(String),
    Number {
        field: Field,
        least: usize,
        most: usize,
        /// More digits than `least` need a `+`, as years beyond 9999 do.
        plus_beyond_least: bool,
        /// Digits that belong to the numbers directly after this one (`yyyyMMdd`).
        reserved: usize,
    },
    Fraction(usize),
    Name {
        field: Field,
        names: &'static [&'static str],
        first: i64,
    },
    Offset {
        minutes: Part,
        seconds: Part,
        colon: bool,
        zero: &'static str,
    },
    ZoneName {
        abbreviations: bool,
    },
    Optional(Vec<Item>),
}

/// Whether an offset has minutes or seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Absent,
    Optional,
    Required,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const SHORT_MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const SHORT_WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const HALVES: [&str; 2] = ["AM", "PM"];

/// Names of zones that `z` reads besides region names, as the US locale has them.
const ABBREVIATIONS: [(&str, &str); 12] = [
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CET", "Europe/Paris"),
    ("CEST", "Europe/Paris"),
    ("JST", "Asia/Tokyo"),
    ("IST", "Asia/Kolkata"),
];

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Pattern, String> {
        let mut chars = pattern.chars().peekable();
        let mut open = vec![Vec::new()];
        while let Some(char) = chars.next() {
            let items = open.last_mut().expect("the outermost part is never closed");
            match char {
                '\'' => push_literal(items, &quoted(&mut chars)?),
                '[' => open.push(Vec::new()),
                ']' => {
                    let part = open.pop().unwrap_or_default();
                    let outer = open.last_mut().ok_or("a `]` has no `[` before it")?;
                    outer.push(Item::Optional(part));
                }
                '{' | '}' | '#' => {
                    return Err(format!("`{char}` is reserved; quote it as '{char}'"));
                }
                letter if letter.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while chars.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    let item = letters(letter, count)?;
                    push_item(items, item);
                }
                other => push_literal(items, &other.to_string()),
            }
        }
        // Java closes optional parts that are open at the end.
        while open.len() > 1 {
            let part = open.pop().unwrap_or_default();
            if let Some(outer) = open.last_mut() {
                outer.push(Item::Optional(part));
            }
        }
        match open.pop() {
            Some(items) if !items.is_empty() => Ok(Pattern { text: pattern.to_owned(), items }),
            _ => Err("the pattern is empty".to_owned()),
        }
    }

    /// The pattern as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The instant that `text` names.
    pub(super) fn parse(&self, text: &str, zone: &Zone) -> Option<Timestamp> {
        let mut found = Found { fields: [None; FIELDS], nanos: 0, zone: None };
        let end = parse_items(&self.items, text, 0, &mut found)?;
        if end != text.len() {
            return None;
        }
        found.instant(zone)
    }
}

/// The text up to the closing quote; `''` is one quote.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    if chars.next_if_eq(&'\'').is_some() {
        return Ok("'".to_owned());
    }
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') => return Ok(text),
            Some(char) => text.push(char),
            None => return Err("a quote `'` is not closed".to_owned()),
        }
    }
}

fn push_literal(items: &mut Vec<Item>, text: &str) {
    match items.last_mut() {
        Some(Item::Literal(literal)) => literal.push_str(text),
        _ => items.push(Item::Literal(text.to_owned())),
    }
}

/// Appends an item; a number of fixed width takes its digits from the number that begins the run.
fn push_item(items: &mut Vec<Item>, item: Item) {
    if let Item::Number { least, most, .. } = item
        && least == most
    {
        let run = items.iter_mut().rev().take_while(|item| matches!(item, Item::Number { .. }));
        if let Some(Item::Number { reserved, least: first_least, most: first_most, .. }) =
            run.last()
            && first_least != first_most
        {
            *reserved += most;
        }
    }
    items.push(item);
}

fn letters(letter: char, count: usize) -> Result<Item, String> {
    let fixed = |field, width| number(field, width, width);
    let item = match (letter, count) {
        ('y' | 'u', 2) => fixed(Field::ReducedYear, 2),
        ('y' | 'u', 1 | 3) => number(Field::Year, count, 19),
        ('y' | 'u', 4..=6) => Item::Number {
            field: Field::Year,
            least: count,
            most: 19,
            plus_beyond_least: true,
            reserved: 0,
        },
        ('M' | 'L', 3) => Item::Name { field: Field::Month, names: &SHORT_MONTHS, first: 1 },
        ('M' | 'L', 4) => Item::Name { field: Field::Month, names: &MONTHS, first: 1 },
        ('E', 1..=3) => Item::Name { field: Field::Weekday, names: &SHORT_WEEKDAYS, first: 0 },
        ('E', 4) => Item::Name { field: Field::Weekday, names: &WEEKDAYS, first: 0 },
        ('a', 1) => Item::Name { field: Field::Half, names: &HALVES, first: 0 },
        ('S', 1..=9) => Item::Fraction(count),
        ('X', 1..=5) => offset(count, "Z"),
        ('x', 1) => offset(1, "+00"),
        ('x', 2 | 4) => offset(count, "+0000"),
        ('x', 3 | 5) => offset(count, "+00:00"),
        ('Z', 1..=3) => offset(2, "+0000"),
        ('Z', 5) => offset(5, "Z"),
        ('z', 1..=3) => Item::ZoneName { abbreviations: true },
        ('V', 2) => Item::ZoneName { abbreviations: false },
        _ => match (number_field(letter), count) {
            (Some(field), 1) => number(field, 1, 19),
            (Some(field), 2) => fixed(field, 2),
            _ => return Err(unsupported(letter, count)),
        },
    };
    Ok(item)
}

fn unsupported(letter: char, count: usize) -> String {
    let letters = letter.to_string().repeat(count.min(20));
    format!(
        "`{letters}` is not supported; use y M d E H k K h m s S a X x Z z VV, 'text' for literals and \
         [ ] for optional parts, as in yyyy-MM-dd'T'HH:mm:ss[.SSS]XXX"
    )
}

fn number_field(letter: char) -> Option<Field> {
    Some(match letter {
        'M' | 'L' => Field::Month,
        'd' => Field::Day,
        'H' => Field::HourOfDay,
        'k' => Field::ClockHourOfDay,
        'K' => Field::HourOfHalf,
        'h' => Field::ClockHourOfHalf,
        'm' => Field::Minute,
        's' => Field::Second,
        _ => return None,
    })
}

fn number(field: Field, least: usize, most: usize) -> Item {
    Item::Number { field, least, most, plus_beyond_least: false, reserved: 0 }
}

/// The offset that `count` letters stand for.
fn offset(count: usize, zero: &'static str) -> Item {
    let minutes = if count == 1 { Part::Optional } else { Part::Required };
    let seconds = if count > 3 { Part::Optional } else { Part::Absent };
    Item::Offset { minutes, seconds, colon: matches!(count, 3 | 5), zero }
}

/// What has been read of a text so far.
#[derive(Clone, Debug)]
struct Found {
    fields: [Option<i64>; FIELDS],
    nanos: i64,
    zone: Option<Zone>,
}

/// Reads `items` from `pos` on and gives where they end.
fn parse_items(items: &[Item], text: &str, mut pos: usize, found: &mut Found) -> Option<usize> {
    for item in items {
        pos = match item {
            Item::Literal(literal) => after_text(text, pos, literal)?,
            Item::Number { field, least, most, plus_beyond_least, reserved } => {
                let width = Width { least: *least, most: *most, reserved: *reserved };
                let (value, end) = parse_number(text, pos, width, *plus_beyond_least)?;
                found.set(*field, value)?;
                end
            }
            Item::Fraction(most) => parse_fraction(text, pos, *most, found)?,
            Item::Name { field, names, first } => {
                let named = names.iter().zip(*first..);
                let (end, value) = named
                    .into_iter()
                    .find_map(|(name, value)| Some((after_text(text, pos, name)?, value)))?;
                found.set(*field, value)?;
                end
            }
            Item::Offset { minutes, seconds, colon, zero } => {
                let (offset, end) = parse_offset(text, pos, [*minutes, *seconds], *colon, zero)?;
                found.zone = Some(Zone::Fixed(offset));
                end
            }
            Item::ZoneName { abbreviations } => parse_zone_name(text, pos, *abbreviations, found)?,
            Item::Optional(part) => {
                let before = found.clone();
                parse_items(part, text, pos, found).unwrap_or_else(|| {
                    *found = before;
                    pos
                })
            }
        };
    }
    Some(pos)
}

/// One past `expected` at `pos`, without regard to case.
fn after_text(text: &str, pos: usize, expected: &str) -> Option<usize> {
    let end = pos + expected.len();
    text.get(pos..end).filter(|part| part.eq_ignore_ascii_case(expected)).map(|_| end)
}

fn digits_at(text: &str, pos: usize) -> usize {
    text.as_bytes()[pos..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

struct Width {
    least: usize,
    most: usize,
    reserved: usize,
}

fn parse_number(text: &str, pos: usize, width: Width, years: bool) -> Option<(i64, usize)> {
    let sign = text.as_bytes().get(pos).copied().filter(|byte| matches!(byte, b'+' | b'-'));
    let is_fixed = width.least == width.most;
    let plus_is_good = years;
    match sign {
        Some(_) if is_fixed => return None,
        Some(b'+') if !plus_is_good => return None,
        _ => {}
    }
    let start = pos + usize::from(sign.is_some());
    let there = digits_at(text, start).min(width.most + width.reserved);
    let len = if width.reserved > 0 {
        there.saturating_sub(width.reserved).max(width.least).min(there)
    } else {
        there.min(width.most)
    };
    let needs_plus = years && sign != Some(b'-');
    if len < width.least || (needs_plus && (len > width.least) != (sign == Some(b'+'))) {
        return None;
    }
    let value: i64 = text[start..start + len].parse().ok()?;
    if sign == Some(b'-') && value == 0 {
        return None;
    }
    Some((if sign == Some(b'-') { -value } else { value }, start + len))
}

fn parse_fraction(text: &str, pos: usize, most: usize, found: &mut Found) -> Option<usize> {
    let len = digits_at(text, pos).min(most);
    if len == 0 {
        return None;
    }
    let digits = text.as_bytes()[pos..pos + len].iter().map(|digit| i64::from(digit - b'0'));
    found.nanos = digits.chain([0; 9]).take(9).fold(0, |value, digit| value * 10 + digit);
    Some(pos + len)
}

fn parse_offset(
    text: &str,
    pos: usize,
    parts: [Part; 2],
    colon: bool,
    zero: &str,
) -> Option<(i32, usize)> {
    let sign = match text.as_bytes().get(pos) {
        Some(sign @ (b'+' | b'-')) => *sign,
        _ => return after_text(text, pos, zero).map(|end| (0, end)),
    };
    let (hours, mut end) = two_digits(text, pos + 1)?;
    let mut values = [hours, 0, 0];
    for (value, part) in values[1..].iter_mut().zip(parts) {
        let at = if colon { after_text(text, end, ":") } else { Some(end) };
        match (part, at.and_then(|at| two_digits(text, at))) {
            (Part::Absent, _) | (Part::Optional, None) => break,
            (Part::Required, None) => return None,
            (_, Some((digits, after))) => {
                *value = digits;
                end = after;
            }
        }
    }
    Some((offset_seconds(sign == b'-', values)?, end))
}

fn two_digits(text: &str, pos: usize) -> Option<(i32, usize)> {
    let digits =
        text.get(pos..pos + 2).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((digits.parse().ok()?, pos + 2))
}

fn parse_zone_name(
    text: &str,
    pos: usize,
    abbreviations: bool,
    found: &mut Found,
) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_+-:".contains(byte);
    let len = text.as_bytes()[pos..].iter().take_while(|byte| is_part(byte)).count();
    let name = &text[pos..pos + len];
    let known = ABBREVIATIONS.iter().find(|(short, _)| abbreviations && *short == name);
    let zone = match known {
        Some((_, region)) => Zone::named(region),
        None => Zone::parse(name),
    };
    found.zone = Some(zone?);
    Some(pos + len)
}

impl Found {
    /// Notes a field; a second value must agree with the first.
    fn set(&mut self, field: Field, value: i64) -> Option<()> {
        let slot = &mut self.fields[field as usize];
        match slot.replace(value) {
            Some(before) if before != value => None,
            _ => Some(()),
        }
    }

    fn get(&self, field: Field) -> Option<i64> {
        self.fields[field as usize]
    }

    fn instant(&self, zone: &Zone) -> Option<Timestamp> {
        let reduced = self.get(Field::ReducedYear).map(|year| 2000 + year);
        let local = Local {
            year: self.get(Field::Year).or(reduced).unwrap_or(1970),
            month: self.get(Field::Month).unwrap_or(1),
            day: self.get(Field::Day).unwrap_or(1),
            hour: self.hour()?,
            minute: self.get(Field::Minute).unwrap_or(0),
            second: self.get(Field::Second).unwrap_or(0),
            micros: self.nanos / 1000,
        };
        local.seconds()?;
        if let Some(weekday) = self.get(Field::Weekday) {
            // 1970-01-01 was a Thursday.
            let days = time::days_since_1970(local.year, local.month, local.day);
            if (days + 3).rem_euclid(7) != weekday {
                return None;
            }
        }
        local.instant(self.zone.as_ref().unwrap_or(zone))
    }

    fn hour(&self) -> Option<i64> {
        let checked = |value: Option<i64>, least: i64, most: i64| match value {
            Some(value) if value < least || value > most => Err(()),
            value => Ok(value),
        };
        let of_day = checked(self.get(Field::HourOfDay), 0, 23).ok()?;
        let clock = checked(self.get(Field::ClockHourOfDay), 1, 24).ok()?.map(|hour| hour % 24);
        let of_half = checked(self.get(Field::HourOfHalf), 0, 11).ok()?;
        let clock_half =
            checked(self.get(Field::ClockHourOfHalf), 1, 12).ok()?.map(|hour| hour % 12);
        let half = self.get(Field::Half);
        let in_half = of_half.or(clock_half);
        let hour = match (of_day.or(clock), in_half) {
            (Some(hour), _) => hour,
            (None, Some(hour)) => hour + 12 * half.unwrap_or(0),
            (None, None) => 12 * half.unwrap_or(0),
        };
        let agrees = half.is_none_or(|half| hour / 12 == half)
            && in_half.is_none_or(|in_half| hour % 12 == in_half);
        agrees.then_some(hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: i64 = 1_756_800_005_000_000;

    fn check(pattern: &str, cases: &[(&str, Option<i64>)]) {
        let parsed = Pattern::new(pattern).unwrap();
        for (text, expected) in cases {
            assert_eq!(
                parsed.parse(text, &Zone::UTC),
                expected.map(Timestamp),
                "{pattern} of {text}"
            );
        }
    }

    #[test]
    fn patterns_read_what_spark_reads() {
        check(
            "yyyy-MM-dd HH:mm:ss",
            &[
                ("2025-09-02 08:00:05", Some(EIGHT)),
                ("2025-9-2 8:0:5", None),
                ("2025-09-02 08:00:05.1", None),
                ("2025-09-02T08:00:05", None),
                ("2025-09-02 24:00:00", None),
                ("2025-02-30 00:00:00", None),
                (" 2025-09-02 08:00:05", None),
                ("25-09-02 08:00:05", None),
                ("12025-09-02 08:00:05", None),
                ("+12025-09-02 08:00:05", Some(317_326_320_005_000_000)),
                ("", None),
            ],
        );
        check(
            "dd/MM/yyyy HH:mm:ss.SSS",
            &[
                ("02/09/2025 08:00:05.123", Some(EIGHT + 123_000)),
                ("02/09/2025 08:00:05.1", Some(EIGHT + 100_000)),
                ("02/09/2025 08:00:05.1234", None),
                ("02/09/2025 08:00:05", None),
                ("2/9/2025 08:00:05.123", None),
            ],
        );
        check(
            "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            &[
                ("2025-09-02T08:00:05.123Z", Some(EIGHT + 123_000)),
                ("2025-09-02T08:00:05.123+02:00", Some(EIGHT + 123_000 - 7_200_000_000)),
                ("2025-09-02T08:00:05.123+0200", None),
                ("2025-09-02T08:00:05Z", None),
                ("2025-09-02T08:00:05.123", None),
            ],
        );
        check(
            "yyyy-MM-dd'T'HH:mm:ss[.SSSSSS][XXX]",
            &[
                ("2025-09-02T08:00:05", Some(EIGHT)),
                ("2025-09-02T08:00:05Z", Some(EIGHT)),
                ("2025-09-02T08:00:05.123456+01:00", Some(EIGHT + 123_456 - 3_600_000_000)),
                ("2025-09-02T08:00:05.12Z", Some(EIGHT + 120_000)),
            ],
        );
        check(
            "d MMM yyyy h:mm a",
            &[
                ("2 Sep 2025 8:00 AM", Some(EIGHT - 5_000_000)),
                ("2 sep 2025 8:00 am", Some(EIGHT - 5_000_000)),
                ("12 Sep 2025 12:00 PM", Some(1_757_678_400_000_000)),
                ("2 September 2025 8:00 AM", None),
            ],
        );
        check(
            "yyyyMMddHHmmss",
            &[("20250902080005", Some(EIGHT)), ("2025090208000", None), ("202509020800051", None)],
        );
        check("HH:mm:ss", &[("08:00:05", Some(28_805_000_000))]);
    }

    #[test]
    fn offsets_zones_and_weekdays_are_read() {
        check("yyyy-MM-dd HH:mm:ss Z", &[("2025-09-02 10:00:05 +0200", Some(EIGHT))]);
        check(
            "yyyy-MM-dd HH:mm:ssX",
            &[
                ("2025-09-02 10:00:05+02", Some(EIGHT)),
                ("2025-09-02 10:00:05+0200", Some(EIGHT)),
                ("2025-09-02 08:00:05Z", Some(EIGHT)),
                ("2025-09-02 08:00:05+19", None),
            ],
        );
        check(
            "yyyy-MM-dd HH:mm:ss z",
            &[
                ("2025-09-02 08:00:05 UTC", Some(EIGHT)),
                ("2025-09-02 10:00:05 Europe/Paris", Some(EIGHT)),
                ("2025-09-02 01:00:05 PDT", Some(EIGHT)),
                ("2025-09-02 01:00:05 Nowhere", None),
            ],
        );
        check(
            "EEE, dd MMM yyyy HH:mm:ss",
            &[("Tue, 02 Sep 2025 08:00:05", Some(EIGHT)), ("Mon, 02 Sep 2025 08:00:05", None)],
        );
        check("yy-M-d''kk", &[("25-9-2'24", Some(EIGHT - 28_805_000_000))]);
    }

    #[test]
    fn what_is_not_supported_is_refused_with_a_reason() {
        for pattern in
            ["", "yyyyyyy", "YYYY-MM-dd", "DDD", "yyyy 'a", "yyyy]", "{yyyy}", "MMMMM", "HHH", "n"]
        {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
        assert!(check_pattern("yyyy-ww").unwrap_err().contains("`ww` is not supported"));
        assert_eq!(check_pattern("yyyy-MM-dd'T'HH:mm:ss[.SSS]XXX"), Ok(()));
    }
}
