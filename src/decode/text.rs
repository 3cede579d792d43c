//! Rewriting texts: escapes resolved, bad UTF-8 replaced, JSON and numbers written as Spark writes them.
//!
//! What is written here is what Spark's STRING column holds. Everything appended to the scratch
//! buffer is valid UTF-8, except by [`append_name`], whose output is compared and thrown away.
//!
//! Not here: finding where a string ends (`scan`).

use std::io::Write as _;

use super::scan::{NumberForm, Output, RawNumber, RawString};
use crate::types::{DoubleTexts, double_text};

/// What one step through a string's content gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A character.
    Char(char),
    /// A UTF-16 surrogate without its partner, which only escapes can make.
    Lone(u16),
}

/// Appends a string's text. A lone surrogate becomes `?`, as Java encodes it.
pub(super) fn append_text(bytes: &[u8], string: RawString, out: &mut Vec<u8>) {
    each_unit(bytes, string, |unit| match unit {
        Unit::Char(char) => append_char(char, out),
        Unit::Lone(_) => out.push(b'?'),
    });
}

/// Appends a name's text for comparing. A lone surrogate becomes 0xFF, which no column's name holds.
pub(super) fn append_name(bytes: &[u8], string: RawString, out: &mut Vec<u8>) {
    each_unit(bytes, string, |unit| match unit {
        Unit::Char(char) => append_char(char, out),
        Unit::Lone(_) => out.push(0xff),
    });
}

fn append_char(char: char, out: &mut Vec<u8>) {
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn each_unit(bytes: &[u8], string: RawString, mut take: impl FnMut(Unit)) {
    let content = &bytes[string.start..string.end];
    let mut pos = 0;
    while let Some(byte) = content.get(pos) {
        let (unit, len) = match byte {
            b'\\' => escape(&content[pos..]),
            0..0x80 => (Unit::Char(char::from(*byte)), 1),
            _ => java_char(&content[pos..]),
        };
        take(unit);
        pos += len;
    }
}

/// The escape at the head of `rest`, which the scanner has checked, and its length.
fn escape(rest: &[u8]) -> (Unit, usize) {
    let plain = match rest[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(rest),
        0x80.. => {
            // Only with the option that any character may be escaped.
            let (unit, len) = java_char(&rest[1..]);
            return (unit, 1 + len);
        }
        other => char::from(other),
    };
    (Unit::Char(plain), 2)
}

fn unicode_escape(rest: &[u8]) -> (Unit, usize) {
    let high = code_unit(rest).unwrap_or(0xfffd);
    if !(0xd800..0xdc00).contains(&high) {
        let unit = char::from_u32(u32::from(high)).map_or(Unit::Lone(high), Unit::Char);
        return (unit, 6);
    }
    match code_unit(&rest[6..]).filter(|low| (0xdc00..0xe000).contains(low)) {
        Some(low) => {
            let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
            (Unit::Char(char::from_u32(code).unwrap_or('\u{fffd}')), 12)
        }
        None => (Unit::Lone(high), 6),
    }
}

/// The value of a `\uXXXX` at the head of `rest`, if there is one.
fn code_unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// One step of Java's UTF-8 decoder, which differs from the Unicode recommendation in how many bytes
/// one U+FFFD stands for (`sun.nio.cs.UTF_8`): an encoded surrogate is three bytes, not one by one.
fn java_char(rest: &[u8]) -> (Unit, usize) {
    let bad = |len| (Unit::Char('\u{fffd}'), len);
    let is_tail = |index: usize| rest.get(index).is_some_and(|byte| byte & 0xc0 == 0x80);
    let first = rest[0];
    let len = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => return bad(1),
    };
    let text = rest.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    if let Some(char) = text.and_then(|text| text.chars().next()) {
        return (Unit::Char(char), len);
    }
    let second = rest.get(1).copied().unwrap_or(0);
    let second_is_bad = !is_tail(1)
        || (first == 0xe0 && second < 0xa0)
        || (first == 0xf0 && second < 0x90)
        || (first == 0xf4 && second > 0x8f)
        || first > 0xf4;
    if len == 2 || second_is_bad {
        return bad(1);
    }
    if !is_tail(2) {
        return bad(2);
    }
    // Three bytes: an encoded surrogate, or the head of a character whose fourth byte is missing.
    bad(3)
}

/// Writes a value as compact JSON, as Jackson's UTF-8 generator does.
pub(super) struct Render<'s> {
    /// Where to.
    pub out: &'s mut Vec<u8>,
    /// How doubles are written.
    pub doubles: DoubleTexts,
}

impl Output for Render<'_> {
    fn mark(&mut self, mark: u8) {
        self.out.push(mark);
    }

    fn string(&mut self, bytes: &[u8], string: RawString) {
        self.out.push(b'"');
        each_unit(bytes, string, |unit| append_json_unit(unit, self.out));
        self.out.push(b'"');
    }

    fn number(&mut self, bytes: &[u8], number: RawNumber) {
        append_number(bytes, number, self.doubles, self.out);
    }

    fn literal(&mut self, literal: &'static [u8]) {
        self.out.extend_from_slice(literal);
    }

    fn non_finite(&mut self, value: f64) {
        append_non_finite(value, self.out);
    }
}

/// Jackson writes characters beyond the basic plane as two escapes.
fn append_json_unit(unit: Unit, out: &mut Vec<u8>) {
    match unit {
        Unit::Char('"') => out.extend_from_slice(b"\\\""),
        Unit::Char('\\') => out.extend_from_slice(b"\\\\"),
        Unit::Char('\u{8}') => out.extend_from_slice(b"\\b"),
        Unit::Char('\u{c}') => out.extend_from_slice(b"\\f"),
        Unit::Char('\n') => out.extend_from_slice(b"\\n"),
        Unit::Char('\r') => out.extend_from_slice(b"\\r"),
        Unit::Char('\t') => out.extend_from_slice(b"\\t"),
        Unit::Char(char) if char < ' ' => append_unit_escape(char as u16, out),
        Unit::Char(char) if char > '\u{ffff}' => {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| append_unit_escape(*unit, out));
        }
        Unit::Char(char) => append_char(char, out),
        Unit::Lone(unit) => append_unit_escape(unit, out),
    }
}

fn append_unit_escape(unit: u16, out: &mut Vec<u8>) {
    write!(out, "\\u{unit:04X}").expect("writing to memory does not fail");
}

/// Appends a number as Spark prints it in a STRING column: integers as they are, others as doubles, as
/// strings if they are beyond the range.
pub(super) fn append_number(
    bytes: &[u8],
    number: RawNumber,
    doubles: DoubleTexts,
    out: &mut Vec<u8>,
) {
    let text = &bytes[number.start..number.end];
    match number.form {
        NumberForm::Integer => append_integer(text, out),
        NumberForm::Fraction | NumberForm::Exponent => {
            let value = parse_double(text);
            if value.is_finite() {
                out.extend_from_slice(doubles.text(value).as_bytes());
            } else {
                append_non_finite(value, out);
            }
        }
    }
}

fn append_integer(text: &[u8], out: &mut Vec<u8>) {
    let Some(digits) = text.strip_prefix(b"-0") else { return out.extend_from_slice(text) };
    match digits.iter().position(|digit| *digit != b'0') {
        Some(first) => {
            out.push(b'-');
            out.extend_from_slice(&digits[first..]);
        }
        None => out.push(b'0'),
    }
}

/// The nearest double of a JSON number's text; ±infinity beyond the range.
pub(super) fn parse_double(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Appends NaN or an infinity as Jackson does, as a string.
pub(super) fn append_non_finite(value: f64, out: &mut Vec<u8>) {
    write!(out, "\"{}\"", double_text(value)).expect("writing to memory does not fail");
}

/// Appends bytes as Java reads them as UTF-8.
pub(super) fn append_java_text(bytes: &[u8], out: &mut Vec<u8>) {
    let mut pos = 0;
    while pos < bytes.len() {
        let (unit, len) = match bytes[pos] {
            byte @ 0..0x80 => (Unit::Char(char::from(byte)), 1),
            _ => java_char(&bytes[pos..]),
        };
        if let Unit::Char(char) = unit {
            append_char(char, out);
        }
        pos += len;
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scanner;
    use super::*;

    fn text_of(content: &[u8]) -> String {
        let mut quoted = content.to_vec();
        quoted.insert(0, b'"');
        quoted.push(b'"');
        let string = Scanner::new(&quoted).string().unwrap();
        let mut out = Vec::new();
        append_text(&quoted, string, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn rendered(json: &str) -> String {
        let mut out = Vec::new();
        Scanner::new(json.as_bytes())
            .value(0, &mut Render { out: &mut out, doubles: DoubleTexts::Shortest })
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        assert_eq!(text_of(br#"a\"b\\c\/d\u0041\n\t\r\b\f\'"#), "a\"b\\c/dA\n\t\r\u{8}\u{c}'");
        assert_eq!(text_of(br"\u0000\u00e9\uD83D\uDE00"), "\0é😀");
        assert_eq!(text_of(br"a\ud800b\udc00\ud83d\u0041\ud83d\ud83d\ude00"), "a?b??A?😀");
    }

    #[test]
    fn invalid_utf8_is_replaced_as_javas_decoder_does() {
        let check =
            |bytes: &[u8], expected: &str| assert_eq!(text_of(bytes), expected, "{bytes:x?}");
        check(b"a\xffb", "a\u{fffd}b");
        check(b"\xc0\x80", "\u{fffd}\u{fffd}");
        check(b"\xc3", "\u{fffd}");
        check(b"\xe0\x80\x80", "\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xe2\x82x", "\u{fffd}x");
        check(b"\xed\xa0\x80", "\u{fffd}");
        check(b"\xf0\x9f\x98x", "\u{fffd}x");
        check(b"\xf5\x80\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check(b"\xf4\x90\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check("é€😀".as_bytes(), "é€😀");
    }

    #[test]
    fn nested_json_is_written_compactly_with_jacksons_numbers_and_escapes() {
        assert_eq!(rendered(r#"{"a":1, "b":[1,2.50,"x"]}"#), r#"{"a":1,"b":[1,2.5,"x"]}"#);
        assert_eq!(
            rendered(r"[ {} , [ ] , null , true, -0, 'it''s' ]".replace("''", "").as_str()),
            r#"[{},[],null,true,0,"its"]"#
        );
        assert_eq!(
            rendered(r#"{'a"b':"\u0001\/é😀\ud800"}"#),
            r#"{"a\"b":"\u0001/é\uD83D\uDE00\uD800"}"#
        );
        assert_eq!(rendered("[NaN,-INF,1e400]"), r#"["NaN","-Infinity","Infinity"]"#);
    }
}
