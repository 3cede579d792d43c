//! Whether Spark 2's time parser would take a text: Java's `SimpleDateFormat`, not lenient.
//!
//! Spark 3 asks it about texts that its own parser refuses, to warn of results that changed. Only yes
//! or no is wanted, never the time. It takes a text whose head fits: blanks before a field, fewer or
//! more digits than letters, names of months in both lengths, and anything behind the end.
//!
//! Not here: patterns as they are read today (`pattern`).

use super::time::Local;
use crate::types::Zone;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

enum Item {
    Literal(char),
    Field { letter: char, count: usize },
}

/// Whether `text` begins with a time in `pattern`; not for patterns that the old parser refuses.
pub(super) fn takes(pattern: &str, text: &str) -> bool {
    items_of(pattern).is_some_and(|items| parse(&items, text).is_some())
}

fn items_of(pattern: &str) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\'' {
            if chars.next_if_eq(&'\'').is_some() {
                items.push(Item::Literal('\''));
                continue;
            }
            loop {
                match chars.next()? {
                    '\'' if chars.next_if_eq(&'\'').is_some() => items.push(Item::Literal('\'')),
                    '\'' => break,
                    char => items.push(Item::Literal(char)),
                }
            }
        } else if char.is_ascii_alphabetic() {
            let mut count = 1;
            while chars.next_if_eq(&char).is_some() {
                count += 1;
            }
            if !"yMLdEHkKhmsSaXZz".contains(char) || (char == 'X' && count > 3) {
                return None;
            }
            items.push(Item::Field { letter: char, count });
        } else {
            items.push(Item::Literal(char));
        }
    }
    Some(items)
}

fn parse(items: &[Item], text: &str) -> Option<()> {
    let mut rest = text;
    let mut local =
        Local { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0, micros: 0 };
    for (index, item) in items.iter().enumerate() {
        match item {
            Item::Literal(char) => rest = rest.strip_prefix(*char)?,
            Item::Field { letter, count } => {
                let is_abutting = matches!(items.get(index + 1), Some(Item::Field { .. }));
                let digits = if is_abutting { *count } else { usize::MAX };
                rest = field(
                    *letter,
                    *count,
                    digits,
                    rest.trim_start_matches([' ', '\t']),
                    &mut local,
                )?;
            }
        }
    }
    local.seconds().map(|_| ())
}

/// Reads a field off the front and gives the rest.
fn field<'t>(
    letter: char,
    count: usize,
    most: usize,
    text: &'t str,
    local: &mut Local,
) -> Option<&'t str> {
    match letter {
        'M' | 'L' if count > 2 => {
            let (month, rest) = named(text, &MONTHS)?;
            local.month = month;
            return Some(rest);
        }
        'E' => return named(text, &WEEKDAYS).map(|(_, rest)| rest),
        'a' => {
            let is_half = text.get(..2).is_some_and(|half| {
                half.eq_ignore_ascii_case("AM") || half.eq_ignore_ascii_case("PM")
            });
            return is_half.then(|| &text[2..]);
        }
        'X' | 'Z' | 'z' => return zone(letter, count, text),
        _ => {}
    }
    let (value, rest) = number(text, most)?;
    let in_range = |least: i64, greatest: i64| (least..=greatest).contains(&value);
    let slot = match letter {
        'y' => &mut local.year,
        'd' => &mut local.day,
        'H' => &mut local.hour,
        'm' => &mut local.minute,
        's' => &mut local.second,
        'M' | 'L' => &mut local.month,
        'k' => return in_range(1, 24).then_some(rest),
        'h' => return in_range(1, 12).then_some(rest),
        'K' => return in_range(0, 11).then_some(rest),
        _ => return in_range(0, 999).then_some(rest),
    };
    *slot = if letter == 'y' && count <= 2 && value < 100 { 2000 + value } else { value };
    Some(rest)
}

fn number(text: &str, most: usize) -> Option<(i64, &str)> {
    if most != usize::MAX && text.len() < most {
        return None;
    }
    let negative = text.starts_with('-');
    let start = usize::from(negative);
    let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    let len = digits.min(most.saturating_sub(start));
    let value: i64 = text[start..start + len].parse().ok()?;
    Some((if negative { -value } else { value }, &text[start + len..]))
}

/// The place of a name, from 1: the whole of it or its first three letters.
fn named<'t>(text: &'t str, names: &[&str]) -> Option<(i64, &'t str)> {
    let begins = |len: usize, name: &str| {
        text.get(..len).is_some_and(|head| head.eq_ignore_ascii_case(&name[..len]))
    };
    let whole = names.iter().zip(1..).find(|(name, _)| begins(name.len(), name));
    if let Some((name, place)) = whole {
        return Some((place, &text[name.len()..]));
    }
    let (_, place) = names.iter().zip(1..).find(|(name, _)| begins(3, name))?;
    Some((place, &text[3..]))
}

fn zone(letter: char, count: usize, text: &str) -> Option<&str> {
    if letter == 'X' && text.starts_with('Z') {
        return Some(&text[1..]);
    }
    let Some(rest) = text.strip_prefix(['+', '-']) else {
        if letter == 'X' {
            return None;
        }
        let is_part = |char: char| char.is_ascii_alphanumeric() || "/_".contains(char);
        let len = text.find(|char| !is_part(char)).unwrap_or(text.len());
        let is_known =
            matches!(&text[..len], "PST" | "PDT" | "MST" | "MDT" | "CST" | "CDT" | "EST" | "EDT")
                || (!text.starts_with('Z') && Zone::parse(&text[..len]).is_some());
        return is_known.then(|| &text[len..]);
    };
    let two =
        |text: &str| text.get(..2).is_some_and(|two| two.bytes().all(|byte| byte.is_ascii_digit()));
    if !two(rest) {
        return None;
    }
    let rest = &rest[2..];
    if letter == 'X' && count == 1 {
        return Some(rest);
    }
    let minutes = match (letter, count) {
        ('X', 3) => rest.strip_prefix(':')?,
        ('X', _) => rest,
        _ => rest.strip_prefix(':').unwrap_or(rest),
    };
    two(minutes).then(|| &minutes[2..])
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn the_old_parser_takes_what_todays_refuses_in_part() {
        let plain = "yyyy-MM-dd HH:mm:ss";
        assert!(takes(plain, "2025-9-2 8:0:5"));
        assert!(takes(plain, " 2025-09-02 08:00:05 "));
        assert!(takes(plain, "2025-09-02 08:00:05.1"));
        assert!(takes(plain, "12025-09-02 08:00:05"));
        assert!(!takes(plain, "2025-09-02T08:00:05"));
        assert!(!takes(plain, "2025-09-02 24:00:00"));
        assert!(!takes(plain, "2025-02-30 00:00:00"));
        assert!(!takes(plain, ""));
        assert!(takes("d MMM yyyy h:mm a", "2 September 2025 8:00 AM"));
        assert!(takes("dd/MM/yyyy HH:mm:ss.SSS", "2/9/2025 08:00:05.123"));
        assert!(takes("yyyyMMddHHmmss", "202509020800051"));
        assert!(takes("yyyyMMddHHmmss", "2025090208000x"));
        assert!(!takes("yyyyMMddHHmmss", "202509020800x"));
        let zoned = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX";
        assert!(!takes(zoned, "2025-09-02T08:00:05.123+0200"));
        assert!(!takes(zoned, "2025-09-02T08:00:05.123"));
        assert!(!takes("yyyy[.SSSSSS]", "2025"));
    }
}
