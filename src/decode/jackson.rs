//! Records that the quick scanner refuses or must not judge, read token by token as Jackson does.
//!
//! Spark reads a record with Jackson's `ReaderBasedJsonParser`. Two of its ways show only on records that
//! are no JSON, and only here: a text in double quotes is not looked at before its column asks for it,
//! so that a fault inside of it spoils that column alone and reading goes on behind the fault; and what
//! is wrong elsewhere ends the record. Spark's options that take in more than JSON, or less than is
//! usual, are also only known here.
//!
//! Invariants: no recursion, nesting at most [`MAX_DEPTH`] deep, `pos` never passes the end.
//!
//! Start at [`Jackson::next_token`]. Not here: what a token means for a column (`coerce`).

use super::scan::{MAX_DEPTH, Output, RawNumber, RawString, Scanner, Stop};
use super::text::Render;
use crate::spec::JsonOptions;

/// A token; texts and numbers by where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    StartObject,
    EndObject,
    StartArray,
    EndArray,
    Name,
    /// A text; `None` while it has not been looked at.
    Text(Option<RawString>),
    Number(RawNumber),
    /// NaN, Infinity or -Infinity as a bare token.
    NonFinite(f64),
    True,
    False,
    Null,
}

#[derive(Clone, Copy, Debug)]
struct Context {
    is_object: bool,
    /// Whether a value or name has been read in it, so that a comma comes next.
    has_items: bool,
    name: Option<RawString>,
}

/// Jackson's parser over one record.
#[derive(Debug)]
pub(super) struct Jackson<'a> {
    scanner: Scanner<'a>,
    options: JsonOptions,
    current: Option<Token>,
    /// The value behind a name, which Jackson reads together with the name.
    behind_name: Option<Token>,
    /// Containers that are open.
    open: Vec<Context>,
}

impl<'a> Jackson<'a> {
    pub(super) fn new(bytes: &'a [u8], options: JsonOptions) -> Jackson<'a> {
        Jackson {
            scanner: Scanner::new(bytes),
            options,
            current: None,
            behind_name: None,
            open: Vec::new(),
        }
    }

    /// The record.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.scanner.bytes
    }

    /// The token that was read last.
    pub(super) fn current(&self) -> Option<Token> {
        self.current
    }

    /// The name of the field that the current token belongs to.
    pub(super) fn name(&self) -> Option<RawString> {
        let is_start = matches!(self.current, Some(Token::StartObject | Token::StartArray));
        let depth = self.open.len().checked_sub(if is_start { 2 } else { 1 })?;
        self.open[depth].name
    }

    /// Reads the next token; `None` at the end, or where a fault in a value has left nothing behind.
    pub(super) fn next_token(&mut self) -> Result<Option<Token>, Stop> {
        if matches!(self.current, Some(Token::Name)) {
            self.current = self.behind_name.take();
            return self.enter();
        }
        if matches!(self.current, Some(Token::Text(None))) {
            self.finish_text()?;
        }
        let Some(mut byte) = self.skip_blanks()? else {
            self.current = None;
            return if self.open.is_empty() { Ok(None) } else { Err(Stop::Syntax) };
        };
        if matches!(byte, b']' | b'}') {
            return self.close(byte == b'}').map(Some);
        }
        if let Some(context) = self.open.last_mut()
            && std::mem::replace(&mut context.has_items, true)
        {
            self.pass(b',')?;
            byte = self.skip_blanks()?.ok_or(Stop::Syntax)?;
        }
        if self.open.last().is_some_and(|context| context.is_object) {
            let name = self.read_name(byte)?;
            if let Some(context) = self.open.last_mut() {
                context.name = Some(name);
            }
            self.current = Some(Token::Name);
            self.skip_blanks()?;
            self.pass(b':')?;
            self.behind_name = None;
            self.behind_name = Some(self.read_value()?);
            return Ok(self.current);
        }
        self.current = Some(self.read_value()?);
        self.enter()
    }

    /// Opens the container that the current token begins.
    fn enter(&mut self) -> Result<Option<Token>, Stop> {
        let is_object = match self.current {
            Some(Token::StartObject) => true,
            Some(Token::StartArray) => false,
            other => return Ok(other),
        };
        if self.open.len() >= MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        self.open.push(Context { is_object, has_items: false, name: None });
        Ok(self.current)
    }

    fn close(&mut self, is_object: bool) -> Result<Token, Stop> {
        if self.open.last().is_none_or(|context| context.is_object != is_object) {
            self.scanner.pos += 1;
            return Err(Stop::Syntax);
        }
        self.scanner.pos += 1;
        self.open.pop();
        let token = if is_object { Token::EndObject } else { Token::EndArray };
        self.current = Some(token);
        Ok(token)
    }

    /// Passes the rest of a container that the current token begins.
    pub(super) fn skip_children(&mut self) -> Result<(), Stop> {
        if !matches!(self.current, Some(Token::StartObject | Token::StartArray)) {
            return Ok(());
        }
        let mut depth = 1;
        loop {
            match self.next_token()?.ok_or(Stop::Syntax)? {
                Token::StartObject | Token::StartArray => depth += 1,
                Token::EndObject | Token::EndArray => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Writes the container that the current token begins as compact JSON.
    pub(super) fn copy(&mut self, render: &mut Render<'_>) -> Result<(), Stop> {
        let mut depth = 0;
        let mut needs_comma = false;
        let mut token = self.current.ok_or(Stop::Syntax)?;
        loop {
            let is_end = matches!(token, Token::EndObject | Token::EndArray);
            if needs_comma && !is_end {
                render.mark(b',');
            }
            needs_comma = true;
            match token {
                Token::StartObject | Token::StartArray => {
                    render.mark(if matches!(token, Token::StartObject) { b'{' } else { b'[' });
                    depth += 1;
                    needs_comma = false;
                }
                Token::EndObject | Token::EndArray => {
                    render.mark(if matches!(token, Token::EndObject) { b'}' } else { b']' });
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                Token::Name => {
                    let name = self.name().ok_or(Stop::Syntax)?;
                    render.string(self.scanner.bytes, name);
                    render.mark(b':');
                    needs_comma = false;
                }
                Token::Text(_) => {
                    let text = self.finish_text()?;
                    render.string(self.scanner.bytes, text);
                }
                Token::Number(number) => render.number(self.scanner.bytes, number),
                Token::NonFinite(value) => render.non_finite(value),
                Token::True => render.literal(b"true"),
                Token::False => render.literal(b"false"),
                Token::Null => render.literal(b"null"),
            }
            token = self.next_token()?.ok_or(Stop::Syntax)?;
        }
    }

    /// The text that is the current token. Where something is wrong in it, reading goes on behind that.
    pub(super) fn finish_text(&mut self) -> Result<RawString, Stop> {
        if let Some(Token::Text(Some(text))) = self.current {
            return Ok(text);
        }
        let start = self.scanner.pos;
        // Jackson takes the text for read even if it cannot be.
        let nothing = RawString { start, end: start, unescaped: true, ascii: true };
        self.current = Some(Token::Text(Some(nothing)));
        let text = self.text_until(b'"')?;
        self.current = Some(Token::Text(Some(text)));
        Ok(text)
    }

    /// Reads up to the closing quote.
    fn text_until(&mut self, quote: u8) -> Result<RawString, Stop> {
        let start = self.scanner.pos;
        let mut text = RawString { start, end: start, unescaped: true, ascii: true };
        loop {
            let byte = self.take().ok_or(Stop::Syntax)?;
            match byte {
                b'\\' => {
                    text.unescaped = false;
                    self.pass_escape()?;
                }
                _ if byte == quote => {
                    text.end = self.scanner.pos - 1;
                    return Ok(text);
                }
                0..=0x1f if !self.options.allow_unquoted_control_chars => return Err(Stop::Syntax),
                _ => text.ascii &= byte < 0x80,
            }
        }
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.scanner.bytes.get(self.scanner.pos).copied();
        self.scanner.pos += usize::from(byte.is_some());
        byte
    }

    /// Passes what follows a backslash.
    fn pass_escape(&mut self) -> Result<(), Stop> {
        match self.take().ok_or(Stop::Syntax)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    if !self.take().is_some_and(|digit| digit.is_ascii_hexdigit()) {
                        return Err(Stop::Syntax);
                    }
                }
                Ok(())
            }
            _ if self.options.allow_backslash_escaping_any_character => Ok(()),
            b'\'' if self.options.allow_single_quotes => Ok(()),
            _ => Err(Stop::Syntax),
        }
    }

    /// The next byte that is neither white space nor in a comment; `None` at the end.
    fn skip_blanks(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            let byte = self.scanner.peek_token();
            if self.scanner.pos >= self.scanner.bytes.len() {
                return Ok(None);
            }
            if byte != b'/' || !self.options.allow_comments {
                return Ok(Some(byte));
            }
            self.pass_comment()?;
        }
    }

    fn pass_comment(&mut self) -> Result<(), Stop> {
        let rest = &self.scanner.bytes[self.scanner.pos..];
        let end = match rest.get(1) {
            Some(b'/') => rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')),
            Some(b'*') => {
                let inside = rest[2..].windows(2).position(|pair| pair == b"*/");
                Some(inside.ok_or(Stop::Syntax)? + 4)
            }
            _ => return Err(Stop::Syntax),
        };
        self.scanner.pos += end.unwrap_or(rest.len());
        Ok(())
    }

    fn pass(&mut self, byte: u8) -> Result<(), Stop> {
        if self.scanner.peek() != byte {
            return Err(Stop::Syntax);
        }
        self.scanner.pos += 1;
        Ok(())
    }

    fn read_name(&mut self, first: u8) -> Result<RawString, Stop> {
        match first {
            b'"' => {
                self.scanner.pos += 1;
                self.text_until(b'"')
            }
            b'\'' if self.options.allow_single_quotes => {
                self.scanner.pos += 1;
                self.text_until(b'\'')
            }
            _ if self.options.allow_unquoted_field_names => self.bare_name(),
            _ => Err(Stop::Syntax),
        }
    }

    /// A name without quotes: what Java takes in identifiers, and `@ # * - +`.
    fn bare_name(&mut self) -> Result<RawString, Stop> {
        let start = self.scanner.pos;
        let is_part = |char: char| {
            matches!(char, '@' | '#' | '*' | '-' | '+' | '$' | '_')
                || (char <= '\u{ffff}' && char.is_alphanumeric())
        };
        let rest = &self.scanner.bytes[start..];
        let good = match std::str::from_utf8(rest) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default(),
        };
        let end = start + good.find(|char| !is_part(char)).unwrap_or(good.len());
        if end == start {
            return Err(Stop::Syntax);
        }
        self.scanner.pos = end;
        let ascii = self.scanner.bytes[start..end].is_ascii();
        Ok(RawString { start, end, unescaped: true, ascii })
    }

    fn read_value(&mut self) -> Result<Token, Stop> {
        let first = self.skip_blanks()?.ok_or(Stop::Syntax)?;
        let (literal, token): (&[u8], Token) = match first {
            b'"' => {
                self.scanner.pos += 1;
                return Ok(Token::Text(None));
            }
            b'\'' if self.options.allow_single_quotes => {
                self.scanner.pos += 1;
                return Ok(Token::Text(Some(self.text_until(b'\'')?)));
            }
            b'{' => (b"{", Token::StartObject),
            b'[' => (b"[", Token::StartArray),
            b't' => (b"true", Token::True),
            b'f' => (b"false", Token::False),
            b'n' => (b"null", Token::Null),
            b'-' if self.scanner.is_minus_infinity() => return self.non_finite(),
            b'N' | b'I' | b'+' => return self.non_finite(),
            b'-' | b'0'..=b'9' => return self.number().map(Token::Number),
            _ => return Err(Stop::Syntax),
        };
        self.scanner.literal(literal)?;
        Ok(token)
    }

    fn non_finite(&mut self) -> Result<Token, Stop> {
        if !self.options.allow_non_numeric_numbers {
            return Err(Stop::Syntax);
        }
        self.scanner.non_finite().map(Token::NonFinite)
    }

    fn number(&mut self) -> Result<RawNumber, Stop> {
        if !self.options.allow_numeric_leading_zeros {
            return self.scanner.number();
        }
        let start = self.scanner.pos;
        let negative = self.scanner.peek() == b'-';
        self.scanner.pos += usize::from(negative);
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        while self.scanner.peek() == b'0' && is_digit(self.scanner.bytes.get(self.scanner.pos + 1))
        {
            self.scanner.pos += 1;
        }
        if !is_digit(self.scanner.bytes.get(self.scanner.pos)) {
            return Err(Stop::Syntax);
        }
        let number = self.scanner.number()?;
        let start = if negative { start } else { number.start };
        Ok(RawNumber { start, negative, ..number })
    }
}
