//! The JSON scanner: bytes to tokens, by Jackson's rules as Spark's `from_json` sets them up.
//!
//! Accepted beyond RFC 8259: single-quoted strings and names, and the bare tokens `NaN`, `Infinity`,
//! `+Infinity`, `-Infinity`, `+INF`, `-INF`. Refused: comments, trailing commas, unquoted names, raw control
//! characters in strings, leading zeros, `.5`, `5.`, `+1`. Invalid UTF-8 is refused outside of strings.
//!
//! Invariants: no recursion (nesting is a bit stack of [`MAX_DEPTH`] bits), no allocation, and `pos`
//! never passes the end. Start at [`Scanner::skip_value`].
//!
//! The functions beside it read the commonest forms of a value off a record's rest and leave all others,
//! and what is wrong, to it: where they give a value, it is the one that [`Scanner`] gives.
//!
//! Not here: what a token means for a column (`coerce`), rewriting texts (`text`).

/// Containers open at once, the root object included (Jackson's `StreamReadConstraints`).
pub(super) const MAX_DEPTH: usize = 1000;
/// Digits of one number (Jackson's `StreamReadConstraints`).
const MAX_NUMBER_DIGITS: usize = 1000;
/// Digits that always fit an `i64` mantissa.
const SHORT_DIGITS: usize = 18;

/// Why scanning a record ended: none of its fields can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Not JSON.
    Syntax,
    /// Containers nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A number of more digits than Jackson reads.
    TooLarge,
}

/// A string token: where its content lies, and whether it can be used as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawString {
    /// First byte of the content.
    pub start: usize,
    /// One past its last byte: the closing quote.
    pub end: usize,
    /// The content has no escape.
    pub unescaped: bool,
    /// The content is ASCII.
    pub ascii: bool,
}

/// Form of a number token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberForm {
    /// Digits alone.
    Integer,
    /// With a point, without an exponent.
    Fraction,
    /// With an exponent.
    Exponent,
}

/// A number token.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawNumber {
    /// First byte, the sign included.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// It begins with `-`.
    pub negative: bool,
    /// Its form.
    pub form: NumberForm,
    /// All digits before the exponent without sign, if `is_short`.
    pub mantissa: i64,
    /// Digits after the point.
    pub scale: usize,
    /// `mantissa` holds the digits without loss.
    pub is_short: bool,
}

/// Takes in what a value consists of, in order.
pub(super) trait Output {
    /// `{`, `}`, `[`, `]`, `,` or `:`.
    fn mark(&mut self, mark: u8);
    /// A string or a name.
    fn string(&mut self, bytes: &[u8], string: RawString);
    /// A number.
    fn number(&mut self, bytes: &[u8], number: RawNumber);
    /// `true`, `false` or `null`.
    fn literal(&mut self, literal: &'static [u8]);
    /// NaN, Infinity or -Infinity as a bare token.
    fn non_finite(&mut self, value: f64);
}

/// Checks only.
pub(super) struct Skip;

impl Output for Skip {
    fn mark(&mut self, _mark: u8) {}
    fn string(&mut self, _bytes: &[u8], _string: RawString) {}
    fn number(&mut self, _bytes: &[u8], _number: RawNumber) {}
    fn literal(&mut self, _literal: &'static [u8]) {}
    fn non_finite(&mut self, _value: f64) {}
}

/// Reads tokens off a record's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    /// The record.
    pub bytes: &'a [u8],
    /// Next byte to read.
    pub pos: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, pos: 0 }
    }

    /// A scanner that has come to `rest`, the end of `bytes`.
    #[inline(always)]
    pub(super) fn at(bytes: &'a [u8], rest: &[u8]) -> Scanner<'a> {
        Scanner { bytes, pos: bytes.len() - rest.len() }
    }

    /// What has not been read.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.pos..]
    }

    /// The next byte, or 0 at the end: a NUL is an error wherever a token may begin, as the end is.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    /// The next byte that is not white space, which stays the next.
    #[inline(always)]
    pub(super) fn peek_token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.pos += 1;
        }
    }

    /// Passes `byte`, which must come next but for white space.
    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek_token() != byte {
            return Err(Stop::Syntax);
        }
        self.pos += 1;
        Ok(())
    }

    /// Reads a string whose opening quote is next.
    pub(super) fn string(&mut self) -> Result<RawString, Stop> {
        let start = self.pos + 1;
        let quote = self.bytes[self.pos];
        let (rest, high) = pass_plain(&self.bytes[start..], quote);
        self.string_slowly(start, self.bytes.len() - rest.len(), high & HIGH_BITS == 0)
    }

    /// The rest of a string from `pos`: escapes, errors and the record's last bytes.
    fn string_slowly(
        &mut self,
        start: usize,
        mut pos: usize,
        mut ascii: bool,
    ) -> Result<RawString, Stop> {
        let quote = self.bytes[start - 1];
        let mut unescaped = true;
        loop {
            match self.bytes.get(pos).copied() {
                None | Some(0..=0x1f) => return Err(Stop::Syntax),
                Some(b'\\') => {
                    unescaped = false;
                    pos = self.escape_end(pos)?;
                }
                Some(byte) if byte == quote => {
                    self.pos = pos + 1;
                    return Ok(RawString { start, end: pos, unescaped, ascii });
                }
                Some(byte) => {
                    ascii &= byte < 0x80;
                    pos += 1;
                }
            }
        }
    }

    /// One past the escape that begins at `pos`.
    fn escape_end(&self, pos: usize) -> Result<usize, Stop> {
        match self.bytes.get(pos + 1).copied() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(pos + 2),
            // Jackson takes `\'` once single quotes are allowed.
            Some(b'\'') => Ok(pos + 2),
            Some(b'u') => match self.bytes.get(pos + 2..pos + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(pos + 6),
                _ => Err(Stop::Syntax),
            },
            _ => Err(Stop::Syntax),
        }
    }

    /// Reads a number whose first digit or `-` is next. `-INF` and `-Infinity` are the caller's.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<RawNumber, Stop> {
        let start = self.pos;
        let negative = self.peek() == b'-';
        self.pos += usize::from(negative);
        let mut mantissa = 0i64;
        let first = self.pos;
        self.digits(&mut mantissa);
        let whole = self.pos - first;
        if whole == 0 || (whole > 1 && self.bytes[first] == b'0') {
            return Err(Stop::Syntax);
        }
        let mut form = NumberForm::Integer;
        let mut scale = 0;
        if self.peek() == b'.' {
            form = NumberForm::Fraction;
            self.pos += 1;
            let point = self.pos;
            self.digits(&mut mantissa);
            scale = self.pos - point;
            if scale == 0 {
                return Err(Stop::Syntax);
            }
        }
        let mut digits = whole + scale;
        if matches!(self.peek(), b'e' | b'E') {
            form = NumberForm::Exponent;
            digits += self.exponent()?;
        }
        if digits > MAX_NUMBER_DIGITS {
            return Err(Stop::TooLarge);
        }
        let is_short = whole + scale <= SHORT_DIGITS;
        Ok(RawNumber { start, end: self.pos, negative, form, mantissa, scale, is_short })
    }

    /// Passes digits, adding them to a mantissa that is only good while there are at most 18.
    #[inline(always)]
    fn digits(&mut self, mantissa: &mut i64) {
        let mut pos = self.pos;
        let mut value = *mantissa;
        // Eight at a time do not wait for each other.
        while let Some(word) = self.bytes.get(pos..).and_then(<[u8]>::first_chunk::<8>)
            && let Some(eight) = eight_digits(u64::from_le_bytes(*word))
        {
            value = value.wrapping_mul(100_000_000).wrapping_add(eight);
            pos += 8;
        }
        while let Some(byte) = self.bytes.get(pos) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            pos += 1;
        }
        self.pos = pos;
        *mantissa = value;
    }

    /// Passes an exponent and gives the number of its digits.
    fn exponent(&mut self) -> Result<usize, Stop> {
        self.pos += 1;
        self.pos += usize::from(matches!(self.peek(), b'+' | b'-'));
        let first = self.pos;
        self.digits(&mut 0);
        match self.pos - first {
            0 => Err(Stop::Syntax),
            digits => Ok(digits),
        }
    }

    /// Reads `NaN`, `Infinity`, or one of `±INF` and `±Infinity` with its sign.
    pub(super) fn non_finite(&mut self) -> Result<f64, Stop> {
        const TOKENS: [(&[u8], f64); 6] = [
            (b"NaN", f64::NAN),
            (b"Infinity", f64::INFINITY),
            (b"+Infinity", f64::INFINITY),
            (b"+INF", f64::INFINITY),
            (b"-Infinity", f64::NEG_INFINITY),
            (b"-INF", f64::NEG_INFINITY),
        ];
        let rest = &self.bytes[self.pos..];
        let found = TOKENS.iter().find(|(token, _)| rest.starts_with(token));
        let (token, value) = found.ok_or(Stop::Syntax)?;
        self.pos += token.len();
        Ok(*value)
    }

    /// Passes `true`, `false` or `null`.
    #[inline(always)]
    pub(super) fn literal(&mut self, literal: &[u8]) -> Result<(), Stop> {
        if !self.bytes[self.pos..].starts_with(literal) {
            return Err(Stop::Syntax);
        }
        self.pos += literal.len();
        Ok(())
    }

    /// Whether a `-` that is next begins `-INF` or `-Infinity`.
    pub(super) fn is_minus_infinity(&self) -> bool {
        self.bytes.get(self.pos + 1) == Some(&b'I')
    }

    /// Passes one value of any kind, which lies inside `depth` containers.
    pub(super) fn skip_value(&mut self, depth: usize) -> Result<(), Stop> {
        match self.peek_token() {
            b'{' | b'[' => self.value(depth, &mut Skip),
            b'"' | b'\'' => self.string().map(drop),
            _ => self.scalar(&mut Skip),
        }
    }

    /// Passes one value of any kind, which lies inside `depth` containers, and shows it to `output`.
    pub(super) fn value<O: Output>(&mut self, depth: usize, output: &mut O) -> Result<(), Stop> {
        let mut open = Nesting::new(depth);
        loop {
            // A value begins here.
            match self.peek_token() {
                mark @ (b'{' | b'[') => {
                    self.pos += 1;
                    output.mark(mark);
                    open.push(mark == b'{')?;
                    if self.peek_token() != mark + 2 {
                        if mark == b'{' {
                            self.name(output)?;
                        }
                        continue;
                    }
                }
                _ => self.scalar(output)?,
            }
            // A value has ended here, or a container without anything in it is next to.
            loop {
                let Some(in_object) = open.top() else { return Ok(()) };
                match (self.peek_token(), in_object) {
                    (b',', _) => {
                        self.pos += 1;
                        output.mark(b',');
                        if in_object {
                            self.name(output)?;
                        }
                        break;
                    }
                    (mark @ b'}', true) | (mark @ b']', false) => {
                        self.pos += 1;
                        output.mark(mark);
                        open.pop();
                    }
                    _ => return Err(Stop::Syntax),
                }
            }
        }
    }

    fn name<O: Output>(&mut self, output: &mut O) -> Result<(), Stop> {
        if !matches!(self.peek_token(), b'"' | b'\'') {
            return Err(Stop::Syntax);
        }
        let name = self.string()?;
        output.string(self.bytes, name);
        output.mark(b':');
        self.expect(b':')
    }

    /// A value that is no container; white space before it has been passed.
    fn scalar<O: Output>(&mut self, output: &mut O) -> Result<(), Stop> {
        match self.peek() {
            b'"' | b'\'' => {
                let string = self.string()?;
                output.string(self.bytes, string);
            }
            b'-' if self.is_minus_infinity() => output.non_finite(self.non_finite()?),
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                output.number(self.bytes, number);
            }
            b't' => {
                self.literal(b"true")?;
                output.literal(b"true");
            }
            b'f' => {
                self.literal(b"false")?;
                output.literal(b"false");
            }
            b'n' => {
                self.literal(b"null")?;
                output.literal(b"null");
            }
            b'N' | b'I' | b'+' => output.non_finite(self.non_finite()?),
            _ => return Err(Stop::Syntax),
        }
        Ok(())
    }
}

/// Passes the value that begins `rest`, the end of `bytes`, and lies inside `depth` containers.
#[inline(always)]
pub(super) fn skip_value<'a>(
    bytes: &'a [u8],
    rest: &'a [u8],
    depth: usize,
) -> Result<&'a [u8], Stop> {
    if let Some((_, _, after)) = plain_text(rest) {
        return Ok(after);
    }
    let mut scanner = Scanner::at(bytes, rest);
    scanner.skip_value(depth)?;
    Ok(scanner.rest())
}

/// The string in double quotes that begins `rest`, if it is right and has no escape: its length, whether
/// it is ASCII, and what follows it.
#[inline(always)]
pub(super) fn plain_text(rest: &[u8]) -> Option<(usize, bool, &[u8])> {
    let (b'"', content) = rest.split_first()? else { return None };
    let (end, high) = pass_plain(content, b'"');
    let (b'"', after) = end.split_first()? else { return None };
    Some((content.len() - end.len(), high & HIGH_BITS == 0, after))
}

/// Passes bytes of a string up to the quote, an escape or a control character, or some bytes before the
/// end. The high bits of the bytes passed are put together.
#[inline(always)]
fn pass_plain(mut rest: &[u8], quote: u8) -> (&[u8], u64) {
    let mut high = 0;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // A borrow may mark bytes above one that is rightly marked: only the first one counts.
        let special = ((word ^ (LOW_BITS * u64::from(quote))).wrapping_sub(LOW_BITS)
            | (word ^ (LOW_BITS * 0x5c)).wrapping_sub(LOW_BITS)
            | word.wrapping_sub(LOW_BITS * 0x20))
            & !word
            & HIGH_BITS;
        if special == 0 {
            high |= word;
            rest = after;
            continue;
        }
        // The special byte itself is ASCII.
        high |= word & (special ^ (special - 1));
        return (&rest[(special.trailing_zeros() / 8) as usize..], high);
    }
    (rest, high)
}

/// The number that begins `rest` if it has no sign and no exponent and ends within eight bytes: its digits,
/// how many of them are behind the point, and what follows it.
#[inline(always)]
pub(super) fn short_decimal(rest: &[u8]) -> Option<(i64, u8, &[u8])> {
    let word = first_word(rest);
    let digits = word ^ (LOW_BITS * 0x30);
    let others = not_digits(digits);
    // Lengths are counted in bits.
    let whole = first_byte(others)?;
    let has_noughts = digits & 0xff == 0 && whole > 8;
    if whole == 0 || has_noughts {
        return None;
    }
    let (mut end, mut scale, mut joined) = (whole, 0, digits);
    if (word >> whole) as u8 == b'.' {
        end = first_byte(others & (!0xff << whole))?;
        scale = end - whole - 8;
        if scale == 0 {
            return None;
        }
        let before = (1 << whole) - 1;
        joined = (digits & before) | (digits >> 8 & !before);
    }
    if (word >> end) as u8 | 0x20 == b'e' {
        return None;
    }
    // Noughts are put before the digits until there are eight.
    let mantissa = join_digits(joined << (64 - whole - scale));
    Some((mantissa, (scale / 8) as u8, rest.get((end / 8) as usize..)?))
}

/// The whole number that begins `rest` if it is short, positive and without sign, and what follows it.
#[inline(always)]
pub(super) fn short_integer(rest: &[u8]) -> Option<(i64, &[u8])> {
    if rest.first() == Some(&b'0') {
        return None;
    }
    let (mut value, mut after) = (0, rest);
    if let Some((word, behind)) = rest.split_first_chunk::<8>()
        && let Some(eight) = eight_digits(u64::from_le_bytes(*word))
    {
        (value, after) = (eight, behind);
    }
    while let Some((byte, behind)) = after.split_first() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let is_whole = !matches!(byte, b'.' | b'e' | b'E');
            let len = rest.len() - after.len();
            return (is_whole && (1..=SHORT_DIGITS).contains(&len)).then_some((value, after));
        }
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        after = behind;
    }
    None
}

/// The first eight bytes, the first of them lowest; noughts stand for those behind the end.
#[inline(always)]
fn first_word(rest: &[u8]) -> u64 {
    match rest.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The number that eight ASCII digits are, the first of them in the lowest byte.
#[inline(always)]
fn eight_digits(word: u64) -> Option<i64> {
    let digits = word ^ (LOW_BITS * 0x30);
    (not_digits(digits) == 0).then(|| join_digits(digits))
}

/// Sets bits in each byte above nine. Bytes above the first such byte may be marked by mistake, which
/// does no harm where only the first one counts.
#[inline(always)]
fn not_digits(digits: u64) -> u64 {
    // A byte above nine has a high nibble, or gets one.
    (digits | digits.wrapping_add(LOW_BITS * 0x06)) & (LOW_BITS * 0xf0)
}

/// The number whose eight digits are a word's bytes.
#[inline(always)]
fn join_digits(digits: u64) -> i64 {
    // Neighbours are put together: bytes to pairs, pairs to fours, fours to all.
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let all = (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff;
    all.cast_signed()
}

/// The first byte that is not zero, as its place in bits.
#[inline(always)]
fn first_byte(word: u64) -> Option<u32> {
    (word != 0).then(|| word.trailing_zeros() & !7)
}

/// Which containers are open: a bit for each, set for objects.
struct Nesting {
    bits: [u64; MAX_DEPTH.div_ceil(64)],
    depth: usize,
    base: usize,
}

impl Nesting {
    fn new(base: usize) -> Nesting {
        Nesting { bits: [0; MAX_DEPTH.div_ceil(64)], depth: base, base }
    }

    fn push(&mut self, is_object: bool) -> Result<(), Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.bits[self.depth / 64];
        *word = if is_object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    /// Whether the innermost container is an object; `None` when the value is complete.
    fn top(&self) -> Option<bool> {
        let index = self.depth.checked_sub(1).filter(|index| *index >= self.base)?;
        Some(self.bits[index / 64] >> (index % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(text: &str) -> Result<usize, Stop> {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.skip_value(0).map(|()| scanner.pos)
    }

    #[test]
    fn values_of_every_kind_are_passed_whole() {
        for text in [
            "{}",
            "[]",
            "[[],{}]",
            r#"{"a":[1,{"b":null}],"c":{}}"#,
            "true",
            "-0",
            "1.5e+3",
            "'it'",
            r#""a\"b""#,
            "NaN",
            "-INF",
            "+Infinity",
            r#"{'a' : 'b"c' }"#,
            "[ 1 , 2 ]",
        ] {
            assert_eq!(skip(text), Ok(text.len()), "{text}");
        }
    }

    #[test]
    fn what_jackson_refuses_is_a_syntax_error() {
        for text in [
            "",
            "{",
            "[",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "[,1]",
            "{a:1}",
            "{\"a\" 1}",
            "{\"a\":}",
            "tru",
            "nul",
            "-",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "INF",
            "-NaN",
            "[1}",
            "{\"a\":1]",
            "/*c*/1",
            "{1:2}",
            "\u{feff}1",
            "\"a\\",
        ] {
            assert_eq!(skip(text), Err(Stop::Syntax), "{text}");
        }
    }

    #[test]
    fn nesting_ends_at_a_thousand_containers_whatever_its_length() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(skip(&nested(1000)), Ok(2000));
        assert_eq!(skip(&nested(1001)), Err(Stop::TooDeep));
        assert_eq!(skip(&nested(100_000)), Err(Stop::TooDeep));
        assert_eq!(skip(&"{\"a\":".repeat(100_000)), Err(Stop::TooDeep));
    }

    #[test]
    fn a_number_ends_at_a_thousand_digits() {
        assert_eq!(skip(&"1".repeat(1000)), Ok(1000));
        assert_eq!(skip(&"1".repeat(1001)), Err(Stop::TooLarge));
    }

    #[test]
    fn every_special_byte_is_found_at_every_place_of_a_string() {
        for before in 0..20 {
            for (middle, unescaped, ascii) in
                [("é", true, false), ("\\n", false, true), ("x", true, true)]
            {
                let text =
                    format!("\"{}{middle}{}\"rest of it", "a".repeat(before), "b".repeat(before));
                let string = Scanner::new(text.as_bytes()).string().unwrap();
                let found = (string.end, string.unescaped, string.ascii);
                assert_eq!(found, (1 + 2 * before + middle.len(), unescaped, ascii), "{text}");
            }
            let text = format!("\"{}\u{1}bbbbbbbbb\"", "a".repeat(before));
            assert!(Scanner::new(text.as_bytes()).string().is_err());
        }
    }

    #[test]
    fn short_numbers_are_read_as_all_numbers_are() {
        let digits = "1203456789";
        let wholes = (0..=10).map(|len| &digits[..len]).chain(["0", "00", "05"]);
        for whole in wholes {
            for fraction in 0..=9 {
                for behind in ["", "}", "   ,   ", "e5     ", "E5", ".", ".5     ", "\0", "x"] {
                    let point = if fraction > 0 { "." } else { "" };
                    let text = format!("{whole}{point}{}{behind}", &digits[..fraction]);
                    let number = Scanner::new(text.as_bytes()).number();
                    if let Some((mantissa, scale, rest)) = short_decimal(text.as_bytes()) {
                        let number = number.unwrap();
                        assert_ne!(number.form, NumberForm::Exponent, "{text}");
                        let found = (mantissa, usize::from(scale), text.len() - rest.len());
                        assert_eq!(found, (number.mantissa, number.scale, number.end), "{text}");
                    }
                    if let Some((value, rest)) = short_integer(text.as_bytes()) {
                        let number = number.unwrap();
                        assert_eq!(number.form, NumberForm::Integer, "{text}");
                        let found = (value, text.len() - rest.len());
                        assert_eq!(found, (number.mantissa, number.end), "{text}");
                    }
                }
            }
        }
        assert_eq!(short_decimal(b"12.34,"), Some((1234, 2, &b","[..])));
        assert_eq!(short_decimal(b"1.23456"), Some((123_456, 5, &b""[..])));
        assert_eq!(short_decimal(b"0}"), Some((0, 0, &b"}"[..])));
        assert_eq!(short_integer(b"1756800005}"), Some((1_756_800_005, &b"}"[..])));
        assert_eq!(
            short_integer(b"123456789012345678 "),
            Some((123_456_789_012_345_678, &b" "[..]))
        );
        assert_eq!(short_integer(b"1234567890123456789 "), None);
    }

    #[test]
    fn eight_digits_are_a_number_and_nothing_else_is() {
        for number in [0, 1, 9, 12_345_678, 90_000_000, 99_999_999, 10_203_040, 8_070_605] {
            let text = format!("{number:08}");
            let word = u64::from_le_bytes(*text.as_bytes().first_chunk().unwrap());
            assert_eq!(eight_digits(word), Some(number), "{text}");
        }
        for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            for place in 0..8 {
                let mut text = *b"90909090";
                text[place] = byte;
                assert_eq!(eight_digits(u64::from_le_bytes(text)), None, "{byte} at {place}");
            }
        }
        for len in 1..=18 {
            let text = &b"123456789012345678"[..len];
            let number = Scanner::new(text).number().unwrap();
            assert_eq!(number.mantissa.to_string().as_bytes(), text);
            assert_eq!((number.end, number.is_short), (len, true));
        }
    }
}
