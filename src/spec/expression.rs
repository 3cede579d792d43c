//! The text of `where` and of other expressions: SQL's grammar, resolved against the columns and checked
//! for types.
//!
//! `sqlparser` gives the tree; here each node becomes an [`Expression`] or a mistake that says where
//! in the text it is and what to write instead. All mistakes of a text are found, not only the first.
//! Meaning is Spark's: `''` is a quote, a backslash escapes, types are cast to each other in comparisons.
//! What Spark takes but is most likely a mistake is let through and noted as a doubt ([`Names::doubts`]).
//!
//! Invariants: an [`Expression`] made here is nested a few times [`MAX_DEPTH`] deep at most (chains of
//! AND and OR are balanced); whatever the text, neither reading it nor dropping it overflows the stack.
//!
//! Not here: evaluating (`decode`); where in the TOML the text stands (`parse`).

use std::cell::RefCell;

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType as SqlType, Expr, Function as SqlFunction,
    FunctionArg, FunctionArgExpr, FunctionArguments, Spanned as _, TrimWhereField, UnaryOperator,
    Value as SqlValue,
};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::errors::{list, suggestion};
use super::pipeline::{Arithmetic, Comparison, Expression, Function, Literal};
use super::typing::{is_number, parse_data_type};
use crate::types::{Column, DataType, Timestamp};

/// Levels of a condition below each other.
const MAX_DEPTH: usize = 64;
/// Longest text, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Words and operators in a text. Only they nest; each level takes at least one.
const MAX_OPERATORS: usize = 1000;

const SUPPORTED: &str = "where has = <> < <= > >= <=>, AND OR NOT, IS [NOT] NULL, [NOT] IN, \
    [NOT] BETWEEN, [NOT] LIKE, ILIKE and RLIKE, + - * / % ||, CASE WHEN, CAST(… AS type), the functions \
    abs, coalesce, concat, day, hour, isnan, length, lower, ltrim, minute, month, rtrim, second, trim, \
    upper and year, numbers, 'text', TIMESTAMP '…', true, false and columns";

/// A mistake: the byte of the text where it is, and what would be right.
pub(super) type Mistake = (usize, String);

/// Names that a condition may use.
pub(super) struct Names<'a> {
    /// The schema's columns, in order; a type that could not be read is `None`.
    pub(super) columns: &'a [(String, Option<DataType>)],
    /// Whether `event_time` means something.
    pub(super) has_event_time: bool,
    /// What was read and is let through, as Spark does, though it is most likely a mistake: the byte of
    /// the text where it is, and what was probably meant.
    pub(super) doubts: RefCell<Vec<Mistake>>,
}

impl<'a> Names<'a> {
    /// Names without a doubt yet.
    pub(super) fn new(
        columns: &'a [(String, Option<DataType>)],
        has_event_time: bool,
    ) -> Names<'a> {
        Names { columns, has_event_time, doubts: RefCell::default() }
    }
}

/// Reads an expression of any type; gives its type too, where it has one.
pub(super) fn parse_value(
    text: &str,
    names: &Names<'_>,
) -> Result<(Expression, Option<DataType>), Vec<Mistake>> {
    let tree = parse_sql(text).map_err(|mistake| vec![mistake])?;
    value_of(text, &tree, names)
}

/// Reads a condition.
pub(super) fn parse_condition(text: &str, names: &Names<'_>) -> Result<Expression, Vec<Mistake>> {
    let tree = parse_sql(text).map_err(|mistake| vec![mistake])?;
    condition_of(text, &tree, names)
}

/// What a tree that was read elsewhere from `text` means as a condition.
pub(super) fn condition_of(
    text: &str,
    tree: &Expr,
    names: &Names<'_>,
) -> Result<Expression, Vec<Mistake>> {
    let mut reader = Reader { text, names, mistakes: Vec::new(), too_deep: false };
    match reader.condition(tree, 0) {
        Some(condition) if reader.mistakes.is_empty() => Ok(condition),
        _ => Err(reader.mistakes),
    }
}

/// What a tree that was read elsewhere from `text` means as a value of any type.
pub(super) fn value_of(
    text: &str,
    tree: &Expr,
    names: &Names<'_>,
) -> Result<(Expression, Option<DataType>), Vec<Mistake>> {
    let mut reader = Reader { text, names, mistakes: Vec::new(), too_deep: false };
    match reader.read(tree, 0) {
        Some(typed) if reader.mistakes.is_empty() => {
            let data_type = type_of(&typed.expression, names);
            Ok((typed.expression, data_type))
        }
        _ => Err(reader.mistakes),
    }
}

/// An expression and its type, which NULL has none of; or each mistake: the byte of the text where it is,
/// and what would be right.
pub type ReadExpression = Result<(Expression, Option<DataType>), Vec<(usize, String)>>;

/// Reads an expression as Spark does, over the columns of a schema and `event_time`, and gives its type,
/// which NULL has none of.
///
/// # Errors
/// Each mistake: the byte of the text where it is, and what would be right.
pub fn parse_sparks_expression(text: &str, schema: &[Column]) -> ReadExpression {
    let columns: Vec<(String, Option<DataType>)> =
        schema.iter().map(|column| (column.name.clone(), Some(column.data_type))).collect();
    parse_value(text, &Names::new(&columns, true))
}

/// SQL as Spark writes it: backquotes around names, double quotes around texts too, in which a backslash
/// escapes.
#[derive(Debug)]
pub(super) struct Sql;

impl Dialect for Sql {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn ignores_wildcard_escapes(&self) -> bool {
        true
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }
}

fn parse_sql(text: &str) -> Result<Expr, Mistake> {
    let mut parser = Parser::new(&Sql).with_tokens_with_locations(tokens_of(text)?);
    let tree = parser.parse_expr().map_err(|error| parse_mistake(text, error))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let offset = byte_of(text, rest.span.start).unwrap_or(text.len());
        let message = format!(
            "{:?} does not continue the condition before it; {SUPPORTED}; a column whose name is \
             a word of SQL goes into `backquotes`",
            clipped(&text[offset..])
        );
        return Err((offset, message));
    }
    Ok(tree)
}

/// The words of a text that is neither empty, nor too long, nor nested too deep to be read.
pub(super) fn tokens_of(text: &str) -> Result<Vec<TokenWithSpan>, Mistake> {
    if text.trim().is_empty() {
        return Err((0, "where is empty; write a condition, or leave it out".to_owned()));
    }
    if text.len() > MAX_TEXT {
        return Err((0, format!("where is longer than {MAX_TEXT} bytes")));
    }
    let mut tokenizer = Tokenizer::new(&Sql, text).with_unescape(false);
    let tokens = tokenizer.tokenize_with_location().map_err(|error| {
        let offset = byte_of(text, error.location).unwrap_or(text.len());
        (offset, format!("where cannot be read: {}", error.message))
    })?;
    if tokens.iter().filter(|token| may_nest(token)).count() > MAX_OPERATORS {
        let message = format!(
            "where has more than {MAX_OPERATORS} words and operators; \
             instead of a long chain of OR write column IN (…)"
        );
        return Err((0, message));
    }
    Ok(with_number_suffixes(tokens.into_iter().map(unescaped_token).collect()))
}

/// The token with what its quotes hold, instead of how that is written.
fn unescaped_token(mut token: TokenWithSpan) -> TokenWithSpan {
    match &mut token.token {
        Token::SingleQuotedString(text) => *text = unescaped(text, '\''),
        Token::DoubleQuotedString(text) => *text = unescaped(text, '"'),
        Token::Word(word) if word.quote_style == Some('`') => {
            word.value = word.value.replace("``", "`");
        }
        _ => {}
    }
    token
}

/// What a text between `quote`s means in Spark (`ParserUtils.unescapeSQLString`); a quote may be doubled,
/// as in Spark 4. `\%` and `\_` stay as they are, for LIKE.
fn unescaped(text: &str, quote: char) -> String {
    let mut meant = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(['\\', quote]) {
        meant.push_str(&rest[..place]);
        rest = &rest[place..];
        let mut chars = rest.chars();
        let (first, second) = (chars.next(), chars.next());
        if first == Some(quote) {
            meant.push(quote);
            rest = &rest[if second == Some(quote) { 2 } else { 1 }..];
            continue;
        }
        let numbered =
            [('u', 4, 16), ('U', 8, 16)].into_iter().find_map(|(letter, count, radix)| {
                let digits = (second == Some(letter)).then(|| rest.get(2..2 + count))??;
                Some((2 + count, character(digits, radix)?))
            });
        let octal = || {
            let digits = rest.get(1..4).filter(|digits| digits.starts_with(['0', '1']))?;
            Some((4, character(digits, 8)?))
        };
        if let Some((length, char)) = numbered.or_else(octal) {
            meant.push(char);
            rest = &rest[length..];
            continue;
        }
        match second {
            Some('0') => meant.push('\0'),
            Some('b') => meant.push('\u{8}'),
            Some('n') => meant.push('\n'),
            Some('r') => meant.push('\r'),
            Some('t') => meant.push('\t'),
            Some('Z') => meant.push('\u{1a}'),
            Some(wildcard @ ('%' | '_')) => meant.extend(['\\', wildcard]),
            Some(other) => meant.push(other),
            None => meant.push('\\'),
        }
        rest = chars.as_str();
    }
    meant.push_str(rest);
    meant
}

/// The character with a number, of nothing but digits.
fn character(digits: &str, radix: u32) -> Option<char> {
    let all_digits = digits.chars().all(|digit| digit.is_digit(radix));
    char::from_u32(u32::from_str_radix(digits, radix).ok().filter(|_| all_digits)?)
}

/// `10.5D`, `3L` and their like, which the parser takes for a number and a word.
fn with_number_suffixes(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut joined: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if let Token::Word(word) = &token.token
            && word.quote_style.is_none()
            && let Some(last) = joined.last_mut()
            && last.span.end == token.span.start
            && let Token::Number(digits, _) = &mut last.token
        {
            match word.value.to_ascii_uppercase().as_str() {
                "D" | "F" if !digits.contains(['e', 'E']) => {
                    digits.push_str("e0");
                    continue;
                }
                "D" | "F" | "BD" | "L" | "S" | "Y" => continue,
                _ => {}
            }
        }
        joined.push(token);
    }
    joined
}

fn may_nest(token: &TokenWithSpan) -> bool {
    !matches!(
        token.token,
        Token::Whitespace(_)
            | Token::Comma
            | Token::EOF
            | Token::Number(..)
            | Token::SingleQuotedString(_)
    )
}

/// The parser puts the place at the end of its message: `…at Line: 1, Column: 9`.
pub(super) fn parse_mistake(text: &str, error: ParserError) -> Mistake {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => return (0, too_deep()),
    };
    let (message, place) = message.rsplit_once(" at Line: ").unwrap_or((&message, ""));
    let location = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location { line: line.parse().ok()?, column: column.parse().ok()? })
    });
    let offset = location.and_then(|location| byte_of(text, location)).unwrap_or(text.len());
    let message = message.replace("Expected: ", "expected ").replace("found: EOF", "found its end");
    (offset, format!("where cannot be read: {message}; {SUPPORTED}"))
}

fn too_deep() -> String {
    "where is nested too deep; take parentheses away, or write column IN (…)".to_owned()
}

/// The byte of a line and column, both from 1; `None` for the parser's "unknown" and "at the end".
pub(super) fn byte_of(text: &str, location: Location) -> Option<usize> {
    let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(line_start..)?;
    let offset = rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset);
    Some(line_start + offset)
}

pub(super) fn clipped(text: &str) -> String {
    let mut clipped: String = text.chars().take(30).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

/// What a part of a condition gives. `Unknown`: a mistake elsewhere hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Timestamp,
    Unknown,
}

impl Kind {
    fn of(data_type: Option<DataType>) -> Kind {
        match data_type {
            None => Kind::Unknown,
            Some(DataType::String) => Kind::String,
            Some(DataType::Boolean) => Kind::Boolean,
            Some(DataType::Timestamp) => Kind::Timestamp,
            Some(other) => {
                debug_assert!(is_number(other));
                Kind::Number
            }
        }
    }

    fn is(self, wanted: Kind) -> bool {
        self == wanted || matches!(self, Kind::Null | Kind::Unknown)
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Null | Kind::Unknown => "NULL",
            Kind::Boolean => "a condition (true or false)",
            Kind::Number => "a number",
            Kind::String => "a text",
            Kind::Timestamp => "a timestamp",
        }
    }
}

/// An expression with its kind and its place.
struct Typed {
    expression: Expression,
    kind: Kind,
    offset: usize,
}

struct Reader<'a> {
    text: &'a str,
    names: &'a Names<'a>,
    mistakes: Vec<Mistake>,
    too_deep: bool,
}

impl Reader<'_> {
    fn note(&mut self, offset: usize, message: impl Into<String>) {
        self.mistakes.push((offset, message.into()));
    }

    fn doubt(&self, offset: usize, message: impl Into<String>) {
        self.names.doubts.borrow_mut().push((offset, message.into()));
    }

    fn offset(&self, tree: &Expr) -> usize {
        byte_of(self.text, tree.span().start).unwrap_or(0)
    }

    /// A part that must be true or false.
    fn condition(&mut self, tree: &Expr, depth: usize) -> Option<Expression> {
        let typed = self.read(tree, depth)?;
        if typed.kind.is(Kind::Boolean) {
            return Some(typed.expression);
        }
        self.note(
            typed.offset,
            format!(
                "a condition is needed here, and this is {}; compare it with something",
                typed.kind.name()
            ),
        );
        None
    }

    /// A part that must be a number.
    fn number(&mut self, tree: &Expr, depth: usize) -> Option<Expression> {
        let typed = self.read(tree, depth)?;
        if typed.kind.is(Kind::Number) {
            return Some(typed.expression);
        }
        if typed.kind == Kind::String {
            return Some(Expression::Cast(Box::new(typed.expression), DataType::Double));
        }
        self.note(
            typed.offset,
            format!("a number is needed here, and this is {}", typed.kind.name()),
        );
        None
    }

    fn read(&mut self, tree: &Expr, depth: usize) -> Option<Typed> {
        if depth > MAX_DEPTH {
            if !std::mem::replace(&mut self.too_deep, true) {
                self.note(0, too_deep());
            }
            return None;
        }
        let depth = depth + 1;
        let boolean = |expression| (expression, Kind::Boolean);
        let (expression, kind) = match tree {
            Expr::Nested(inner) => return self.read(inner, depth),
            Expr::Identifier(name) => self.name(&name.value, self.offset(tree))?,
            Expr::CompoundIdentifier(parts) => {
                let name =
                    parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
                if self.names.columns.iter().all(|(column, _)| *column != name) {
                    let message = format!("{name} looks into a column, and columns have no parts");
                    self.note(self.offset(tree), message);
                    return None;
                }
                self.name(&name, self.offset(tree))?
            }
            Expr::Value(value) => self.literal(&value.value, self.offset(tree))?,
            Expr::TypedString(typed) => {
                self.typed_string(&typed.data_type, &typed.value.value, self.offset(tree))?
            }
            Expr::IsNull(operand) => boolean(self.is_null(operand, depth)?),
            Expr::IsNotNull(operand) => boolean(not(self.is_null(operand, depth)?)),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, tree, depth)?,
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, depth)?,
            Expr::InList { expr, list, negated } => {
                let within = self.in_list(expr, list, *negated, depth)?;
                boolean(negated_if(*negated, within))
            }
            Expr::Between { expr, negated, low, high } => {
                let between = self.between(expr, low, high, depth)?;
                boolean(negated_if(*negated, between))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
                let like = self.like(expr, pattern, depth)?;
                boolean(negated_if(*negated, like))
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char: None } => {
                let like = self.like(expr, pattern, depth)?;
                let Expression::Like(operand, pattern) = like else { return None };
                let lower = Expression::Call(Function::Lower, vec![*operand]);
                let like = Expression::Like(Box::new(lower), pattern.to_lowercase());
                boolean(negated_if(*negated, like))
            }
            Expr::RLike { negated, expr, pattern, .. } => {
                let matched = self.rlike(expr, pattern, depth)?;
                boolean(negated_if(*negated, matched))
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), depth)?
            }
            Expr::Cast { kind: CastKind::Cast, expr, data_type, format: None } => {
                self.cast(expr, data_type, self.offset(tree), depth)?
            }
            Expr::Trim { trim_where, trim_what: None, expr, trim_characters: None } => {
                let function = match trim_where {
                    None | Some(TrimWhereField::Both) => Function::Trim,
                    Some(TrimWhereField::Leading) => Function::LeftTrim,
                    Some(TrimWhereField::Trailing) => Function::RightTrim,
                };
                let operand = self.of_kind(expr, Kind::String, depth)?;
                (Expression::Call(function, vec![operand]), Kind::String)
            }
            Expr::Function(function) => match self.function(function, tree, depth)? {
                Ok(read) => read,
                Err(tree) => return self.unsupported(tree),
            },
            other => return self.unsupported(other),
        };
        Some(Typed { expression, kind, offset: self.offset(tree) })
    }

    /// A part that must be of a kind; anything is cast to a text or a timestamp, as in Spark.
    fn of_kind(&mut self, tree: &Expr, kind: Kind, depth: usize) -> Option<Expression> {
        let typed = self.read(tree, depth)?;
        if typed.kind.is(kind) {
            return Some(typed.expression);
        }
        if matches!(kind, Kind::String | Kind::Timestamp) {
            let to = if kind == Kind::String { DataType::String } else { DataType::Timestamp };
            return Some(Expression::Cast(Box::new(typed.expression), to));
        }
        let message = format!("{} is needed here, and this is {}", kind.name(), typed.kind.name());
        self.note(typed.offset, message);
        None
    }

    fn rlike(&mut self, operand: &Expr, pattern: &Expr, depth: usize) -> Option<Expression> {
        let operand = self.of_kind(operand, Kind::String, depth);
        let pattern = self.read(pattern, depth);
        let (operand, pattern) = (operand?, pattern?);
        let Expression::Literal(Literal::String(text)) = pattern.expression else {
            self.note(pattern.offset, "the pattern of RLIKE is a text in quotes, like '^store'");
            return None;
        };
        if let Err(error) = regex::Regex::new(&text) {
            self.note(pattern.offset, format!("this is no regular expression: {error}"));
            return None;
        }
        Some(Expression::RLike(Box::new(operand), text))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        branches: &[CaseWhen],
        otherwise: Option<&Expr>,
        depth: usize,
    ) -> Option<(Expression, Kind)> {
        let operand = match operand {
            Some(operand) => Some(self.read(operand, depth)?),
            None => None,
        };
        let mut conditions = Vec::with_capacity(branches.len());
        let mut values = Vec::with_capacity(branches.len() + 1);
        for branch in branches {
            let condition = match &operand {
                None => self.condition(&branch.condition, depth),
                Some(operand) => self.read(&branch.condition, depth).map(|value| {
                    compare(Comparison::Equal, operand.expression.clone(), value.expression)
                }),
            };
            values.push(self.read(&branch.result, depth));
            conditions.push(condition);
        }
        if let Some(otherwise) = otherwise {
            values.push(self.read(otherwise, depth));
        }
        let (mut values, kind) = self.of_one_type(values.into_iter().collect::<Option<_>>()?)?;
        let otherwise = otherwise.and_then(|_| values.pop()).map(Box::new);
        let conditions: Vec<Expression> = conditions.into_iter().collect::<Option<_>>()?;
        Some((Expression::Case(conditions.into_iter().zip(values).collect(), otherwise), kind))
    }

    /// Values one of which is chosen: cast to one type where they differ.
    fn of_one_type(&mut self, values: Vec<Typed>) -> Option<(Vec<Expression>, Kind)> {
        let kinds = || values.iter().map(|value| value.kind).filter(|kind| *kind != Kind::Null);
        let kind = kinds().next().unwrap_or(Kind::Null);
        if let Some(other) =
            values.iter().find(|value| !value.kind.is(kind) && kind != Kind::Unknown)
        {
            let message = format!(
                "{} cannot stand beside {}; the values here need one type",
                other.kind.name(),
                kind.name()
            );
            self.note(other.offset, message);
            return None;
        }
        let expressions: Vec<Expression> =
            values.into_iter().map(|value| value.expression).collect();
        let types: Vec<DataType> =
            expressions.iter().filter_map(|value| type_of(value, self.names)).collect();
        let common = types.iter().copied().reduce(wider);
        let cast = |value: Expression| match (type_of(&value, self.names), common) {
            (Some(own), Some(common)) if own != common => Expression::Cast(Box::new(value), common),
            _ => value,
        };
        Some((expressions.into_iter().map(cast).collect(), kind))
    }

    fn cast(
        &mut self,
        operand: &Expr,
        data_type: &SqlType,
        offset: usize,
        depth: usize,
    ) -> Option<(Expression, Kind)> {
        let operand = self.read(operand, depth)?;
        let name = data_type.to_string().to_lowercase();
        let name = match name.as_str() {
            "bigint" => "long",
            "integer" => "int",
            "double precision" => "double",
            other => other,
        };
        match parse_data_type(name) {
            Ok(to) => {
                Some((Expression::Cast(Box::new(operand.expression), to), Kind::of(Some(to))))
            }
            Err(error) => {
                self.note(offset, error.to_string());
                None
            }
        }
    }

    /// A function; gives the tree back if it is not known.
    fn function<'t>(
        &mut self,
        function: &SqlFunction,
        tree: &'t Expr,
        depth: usize,
    ) -> Option<Result<(Expression, Kind), &'t Expr>> {
        let name = function.name.to_string().to_lowercase();
        let Some(operands) = plain_operands(function) else { return Some(Err(tree)) };
        let signature = match name.as_str() {
            "abs" => (Function::Abs, Kind::Number, Kind::Number),
            "day" | "dayofmonth" => (Function::Day, Kind::Timestamp, Kind::Number),
            "hour" => (Function::Hour, Kind::Timestamp, Kind::Number),
            "isnan" => (Function::IsNan, Kind::Number, Kind::Boolean),
            "length" | "char_length" => (Function::Length, Kind::String, Kind::Number),
            "lower" | "lcase" => (Function::Lower, Kind::String, Kind::String),
            "ltrim" => (Function::LeftTrim, Kind::String, Kind::String),
            "minute" => (Function::Minute, Kind::Timestamp, Kind::Number),
            "month" => (Function::Month, Kind::Timestamp, Kind::Number),
            "rtrim" => (Function::RightTrim, Kind::String, Kind::String),
            "second" => (Function::Second, Kind::Timestamp, Kind::Number),
            "trim" => (Function::Trim, Kind::String, Kind::String),
            "upper" | "ucase" => (Function::Upper, Kind::String, Kind::String),
            "year" => (Function::Year, Kind::Timestamp, Kind::Number),
            "concat" if !operands.is_empty() => {
                let read: Option<Vec<Expression>> =
                    operands.iter().map(|part| self.of_kind(part, Kind::String, depth)).collect();
                return Some(Ok((Expression::Call(Function::Concat, read?), Kind::String)));
            }
            "coalesce" | "nvl" | "ifnull" if !operands.is_empty() => {
                let read: Vec<Option<Typed>> =
                    operands.iter().map(|value| self.read(value, depth)).collect();
                let (values, kind) = self.of_one_type(read.into_iter().collect::<Option<_>>()?)?;
                return Some(Ok((Expression::Call(Function::Coalesce, values), kind)));
            }
            "isnull" | "isnotnull" if operands.len() == 1 => {
                let is_null = self.is_null(operands[0], depth)?;
                return Some(Ok((negated_if(name == "isnotnull", is_null), Kind::Boolean)));
            }
            _ => return Some(Err(tree)),
        };
        let [operand] = operands[..] else { return Some(Err(tree)) };
        let (function, takes, gives) = signature;
        let operand = match takes {
            Kind::Number => self.number(operand, depth)?,
            kind => self.of_kind(operand, kind, depth)?,
        };
        Some(Ok((Expression::Call(function, vec![operand]), gives)))
    }

    fn unsupported(&mut self, tree: &Expr) -> Option<Typed> {
        let offset = self.offset(tree);
        let message = format!("{:?} is not supported; {SUPPORTED}", clipped(&self.text[offset..]));
        self.note(offset, message);
        None
    }

    /// A column; the schema's own come before `event_time`.
    fn name(&mut self, name: &str, offset: usize) -> Option<(Expression, Kind)> {
        let columns = self.names.columns;
        if let Some(index) = columns.iter().position(|(column, _)| column == name) {
            return Some((Expression::Column(index), Kind::of(columns[index].1)));
        }
        if name == "event_time" && self.names.has_event_time {
            return Some((Expression::EventTime, Kind::Timestamp));
        }
        let known = || columns.iter().map(|(column, _)| column.as_str());
        let message = if name == "event_time" {
            "event_time has no meaning without [event_time]; add it".to_owned()
        } else {
            format!(
                "unknown column {name:?} in where; the schema has {}{}",
                list(known()),
                suggestion(name, known().chain(self.names.has_event_time.then_some("event_time")))
            )
        };
        self.note(offset, message);
        None
    }

    fn literal(&mut self, value: &SqlValue, offset: usize) -> Option<(Expression, Kind)> {
        let (literal, kind) = match value {
            SqlValue::Null => (Literal::Null, Kind::Null),
            SqlValue::Boolean(value) => (Literal::Boolean(*value), Kind::Boolean),
            SqlValue::SingleQuotedString(text) | SqlValue::DoubleQuotedString(text) => {
                (Literal::String(text.clone()), Kind::String)
            }
            SqlValue::Number(digits, _) => (self.numeral(digits, offset)?, Kind::Number),
            _ => {
                let message =
                    format!("{:?} is not supported; {SUPPORTED}", clipped(&self.text[offset..]));
                self.note(offset, message);
                return None;
            }
        };
        Some((Expression::Literal(literal), kind))
    }

    fn numeral(&mut self, digits: &str, offset: usize) -> Option<Literal> {
        let whole = digits.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
        let literal = if whole {
            digits.parse().ok().map(Literal::Long)
        } else {
            digits.parse().ok().filter(|number: &f64| number.is_finite()).map(Literal::Double)
        };
        if literal.is_none() {
            let advice = if whole { "; write it with an exponent (1e19) for a double" } else { "" };
            self.note(offset, format!("{} does not fit a number{advice}", clipped(digits)));
        }
        literal
    }

    fn typed_string(
        &mut self,
        data_type: &SqlType,
        value: &SqlValue,
        offset: usize,
    ) -> Option<(Expression, Kind)> {
        let example =
            "write TIMESTAMP '2025-09-02 10:30:00'; without a zone it is of the session's";
        let (SqlType::Timestamp(..), SqlValue::SingleQuotedString(text)) = (data_type, value)
        else {
            self.note(offset, format!("this kind of constant is not supported; {example}"));
            return None;
        };
        let Some(timestamp) = timestamp(text) else {
            self.note(offset, format!("{text:?} is not a time; {example}"));
            return None;
        };
        if text.trim().parse::<jiff::Timestamp>().is_err() {
            // Without a zone it is of the session's, which only the evaluation knows.
            let text = Expression::Literal(Literal::String(text.clone()));
            let cast = Expression::Cast(Box::new(text), DataType::Timestamp);
            return Some((cast, Kind::Timestamp));
        }
        Some((Expression::Literal(Literal::Timestamp(timestamp)), Kind::Timestamp))
    }

    fn is_null(&mut self, operand: &Expr, depth: usize) -> Option<Expression> {
        if let Expr::Identifier(name) = operand
            && name.value == "data"
            && self.names.columns.iter().all(|(column, _)| column != "data")
        {
            return Some(Expression::NoData);
        }
        Some(Expression::IsNull(Box::new(self.read(operand, depth)?.expression)))
    }

    fn unary(
        &mut self,
        op: UnaryOperator,
        operand: &Expr,
        tree: &Expr,
        depth: usize,
    ) -> Option<(Expression, Kind)> {
        match op {
            UnaryOperator::Not => Some((not(self.condition(operand, depth)?), Kind::Boolean)),
            UnaryOperator::Plus => Some((self.number(operand, depth)?, Kind::Number)),
            UnaryOperator::Minus => {
                if let Expr::Value(value) = operand
                    && let SqlValue::Number(digits, _) = &value.value
                {
                    let literal = self.numeral(&format!("-{digits}"), self.offset(operand))?;
                    return Some((Expression::Literal(literal), Kind::Number));
                }
                let operand = self.number(operand, depth)?;
                Some((Expression::Call(Function::Negate, vec![operand]), Kind::Number))
            }
            _ => self.unsupported(tree).map(|typed| (typed.expression, typed.kind)),
        }
    }

    fn binary(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        depth: usize,
    ) -> Option<(Expression, Kind)> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return Some((self.chain(left, op, right, depth)?, Kind::Boolean));
        }
        if let Some(op) = arithmetic_operator(op) {
            let (left, right) = (self.number(left, depth), self.number(right, depth));
            return Some((arithmetic(op, left?, right?), Kind::Number));
        }
        if let Some(op) = comparison_operator(op) {
            let (left, right) = (self.read(left, depth), self.read(right, depth));
            let (left, right) = (left?, right?);
            self.check_comparison(op, &left, &right)?;
            return Some((compare(op, left.expression, right.expression), Kind::Boolean));
        }
        if *op == BinaryOperator::StringConcat {
            let parts = [left, right].map(|part| self.of_kind(part, Kind::String, depth));
            let parts: Vec<Expression> = parts.into_iter().collect::<Option<_>>()?;
            return Some((Expression::Call(Function::Concat, parts), Kind::String));
        }
        let offset = self.offset(left);
        self.note(offset, format!("the operator {op} is not supported; {SUPPORTED}"));
        None
    }

    /// `a AND b AND c …`, however long, becomes a balanced tree: AND and OR are associative.
    fn chain(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        depth: usize,
    ) -> Option<Expression> {
        let mut operands = vec![right];
        let mut rest = left;
        while let Expr::BinaryOp { left, op: other, right } = rest
            && other == op
        {
            operands.push(right);
            rest = left;
        }
        operands.push(rest);
        operands.reverse();
        let conditions: Vec<Option<Expression>> =
            operands.into_iter().map(|operand| self.condition(operand, depth)).collect();
        let conditions: Vec<Expression> = conditions.into_iter().collect::<Option<_>>()?;
        let join = if *op == BinaryOperator::And { Expression::And } else { Expression::Or };
        balanced(conditions, join)
    }

    fn in_list(
        &mut self,
        operand: &Expr,
        items: &[Expr],
        negated: bool,
        depth: usize,
    ) -> Option<Expression> {
        let operand = self.read(operand, depth);
        let items: Vec<Option<Typed>> = items.iter().map(|item| self.read(item, depth)).collect();
        let operand = operand?;
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let item = item?;
            if negated && item.kind == Kind::Null {
                self.doubt(
                    item.offset,
                    "NOT IN is never true with NULL in its list; take it out, and \
                    write AND column IS NOT NULL",
                );
            }
            if item.kind != Kind::Null {
                self.check_comparison(Comparison::Equal, &operand, &item)?;
            }
            list.push(item.expression);
        }
        if list.is_empty() {
            self.note(operand.offset, "the list of IN is empty; nothing is ever in it");
            return None;
        }
        Some(Expression::In(Box::new(operand.expression), list))
    }

    /// `x BETWEEN a AND b` is `x >= a AND x <= b`. The copy of `x` stays small: it is no condition,
    /// so it holds no other BETWEEN.
    fn between(
        &mut self,
        operand: &Expr,
        low: &Expr,
        high: &Expr,
        depth: usize,
    ) -> Option<Expression> {
        let operand = self.read(operand, depth);
        let (low, high) = (self.read(low, depth), self.read(high, depth));
        let (operand, low, high) = (operand?, low?, high?);
        if holds_condition(&operand.expression) {
            self.note(operand.offset, "BETWEEN of this is not supported; write it with >= and <=");
            return None;
        }
        self.check_comparison(Comparison::GreaterOrEqual, &operand, &low)?;
        self.check_comparison(Comparison::LessOrEqual, &operand, &high)?;
        let above = compare(Comparison::GreaterOrEqual, operand.expression.clone(), low.expression);
        let below = compare(Comparison::LessOrEqual, operand.expression, high.expression);
        Some(Expression::And(Box::new(above), Box::new(below)))
    }

    fn like(&mut self, operand: &Expr, pattern: &Expr, depth: usize) -> Option<Expression> {
        let operand = self.read(operand, depth);
        let pattern = self.read(pattern, depth);
        let (operand, pattern) = (operand?, pattern?);
        if !operand.kind.is(Kind::String) {
            let message = format!("LIKE is for texts, and this is {}", operand.kind.name());
            self.note(operand.offset, message);
            return None;
        }
        let Expression::Literal(Literal::String(text)) = pattern.expression else {
            self.note(pattern.offset, "the pattern of LIKE is a text in quotes, like 'store-%'");
            return None;
        };
        if !escapes_are_valid(&text) {
            self.note(
                pattern.offset,
                "in a pattern of LIKE a backslash stands before %, _ or another backslash",
            );
            return None;
        }
        Some(Expression::Like(Box::new(operand.expression), text))
    }

    /// Refuses what Spark has no meaning for, and doubts what it casts or what is never true.
    fn check_comparison(&mut self, op: Comparison, left: &Typed, right: &Typed) -> Option<()> {
        let has = |kind| left.kind == kind || right.kind == kind;
        let is_equality =
            matches!(op, Comparison::Equal | Comparison::NotEqual | Comparison::NullSafeEqual);
        let offset = left.offset.min(right.offset);
        if has(Kind::Null) && op != Comparison::NullSafeEqual {
            self.doubt(
                offset,
                "a comparison with NULL is never true; write IS NULL or IS NOT NULL",
            );
        } else if has(Kind::Unknown) || has(Kind::Null) {
            // Nothing is known of the other side, or it is as it should be.
        } else if left.kind != right.kind {
            let (one, other) = (left.kind.name(), right.kind.name());
            let advice = comparison_advice(left, right);
            let is_cast =
                has(Kind::String) || has(Kind::Boolean) && has(Kind::Number) && is_equality;
            if !is_cast {
                self.note(offset, format!("{one} cannot be compared with {other}; {advice}"));
                return None;
            }
            self.doubt(offset, format!("{one} is compared with {other} and one is cast; {advice}"));
        } else if left.kind == Kind::Boolean && !is_equality {
            self.doubt(offset, "false is below true here; compare them with = or <>");
        }
        Some(())
    }
}

fn comparison_advice(left: &Typed, right: &Typed) -> &'static str {
    let kinds = [left.kind, right.kind];
    let quoted = [left, right]
        .iter()
        .any(|typed| matches!(typed.expression, Expression::Literal(Literal::String(_))));
    if kinds.contains(&Kind::Timestamp) {
        "write the time as TIMESTAMP '2025-09-02 10:30:00'"
    } else if kinds.contains(&Kind::Boolean) {
        "compare a boolean with true or false"
    } else if quoted {
        "write the number without quotes"
    } else {
        "write the number in quotes, or give the column a number type in [schema]"
    }
}

fn comparison_operator(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        BinaryOperator::Spaceship => Comparison::NullSafeEqual,
        _ => return None,
    })
}

fn arithmetic_operator(op: &BinaryOperator) -> Option<Arithmetic> {
    Some(match op {
        BinaryOperator::Plus => Arithmetic::Add,
        BinaryOperator::Minus => Arithmetic::Subtract,
        BinaryOperator::Multiply => Arithmetic::Multiply,
        BinaryOperator::Divide => Arithmetic::Divide,
        BinaryOperator::Modulo => Arithmetic::Remainder,
        _ => return None,
    })
}

fn not(operand: Expression) -> Expression {
    Expression::Not(Box::new(operand))
}

fn negated_if(negated: bool, operand: Expression) -> Expression {
    if negated { not(operand) } else { operand }
}

fn compare(op: Comparison, left: Expression, right: Expression) -> Expression {
    Expression::Compare(op, Box::new(left), Box::new(right))
}

fn arithmetic(op: Arithmetic, left: Expression, right: Expression) -> Expression {
    Expression::Arithmetic(op, Box::new(left), Box::new(right))
}

fn balanced(
    mut operands: Vec<Expression>,
    join: fn(Box<Expression>, Box<Expression>) -> Expression,
) -> Option<Expression> {
    if operands.len() <= 1 {
        return operands.pop();
    }
    let right = operands.split_off(operands.len().div_ceil(2));
    let (left, right) = (balanced(operands, join)?, balanced(right, join)?);
    Some(join(Box::new(left), Box::new(right)))
}

/// The operands of a function that is called plainly.
fn plain_operands(function: &SqlFunction) -> Option<Vec<&Expr>> {
    let is_plain = function.filter.is_none()
        && function.over.is_none()
        && function.null_treatment.is_none()
        && function.within_group.is_empty()
        && matches!(function.parameters, FunctionArguments::None);
    let FunctionArguments::List(list) = &function.args else { return None };
    if !is_plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let operand = |operand| match operand {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref operand)) => Some(operand),
        _ => None,
    };
    list.args.iter().map(operand).collect()
}

/// Whether there is a condition somewhere in an expression that is none.
fn holds_condition(expression: &Expression) -> bool {
    match expression {
        Expression::Column(_) | Expression::EventTime | Expression::Literal(_) => false,
        Expression::Arithmetic(_, left, right) => holds_condition(left) || holds_condition(right),
        Expression::Cast(operand, _) => holds_condition(operand),
        Expression::Call(_, operands) => operands.iter().any(holds_condition),
        _ => true,
    }
}

/// The type of an expression's values; `None` for NULL, and where a column's type is not known.
fn type_of(expression: &Expression, names: &Names<'_>) -> Option<DataType> {
    let of = |operand: &Expression| type_of(operand, names);
    match expression {
        Expression::Column(index) => names.columns[*index].1,
        Expression::EventTime => Some(DataType::Timestamp),
        Expression::Literal(literal) => match literal {
            Literal::Null => None,
            Literal::Boolean(_) => Some(DataType::Boolean),
            Literal::Long(_) => Some(DataType::Long),
            Literal::Double(_) => Some(DataType::Double),
            Literal::String(_) => Some(DataType::String),
            Literal::Timestamp(_) => Some(DataType::Timestamp),
        },
        Expression::Arithmetic(Arithmetic::Divide, ..) => Some(DataType::Double),
        Expression::Arithmetic(operator, left, right) => {
            Some(calculated_type(*operator, of(left)?, of(right)?))
        }
        Expression::Cast(_, to) => Some(*to),
        Expression::Call(function, operands) => match function {
            Function::Abs | Function::Negate => of(operands.first()?),
            Function::Coalesce => operands.iter().find_map(of),
            Function::Concat
            | Function::Lower
            | Function::LeftTrim
            | Function::RightTrim
            | Function::Trim
            | Function::Upper => Some(DataType::String),
            Function::IsNan => Some(DataType::Boolean),
            Function::Day
            | Function::Hour
            | Function::Length
            | Function::Minute
            | Function::Month
            | Function::Second
            | Function::Year => Some(DataType::Int),
        },
        Expression::Case(branches, otherwise) => branches
            .iter()
            .find_map(|(_, value)| of(value))
            .or_else(|| otherwise.as_deref().and_then(of)),
        Expression::Compare(..)
        | Expression::And(..)
        | Expression::Or(..)
        | Expression::Not(_)
        | Expression::IsNull(_)
        | Expression::In(..)
        | Expression::Like(..)
        | Expression::RLike(..)
        | Expression::NoData => Some(DataType::Boolean),
    }
}

/// What `+ - * %` give.
fn calculated_type(operator: Arithmetic, left: DataType, right: DataType) -> DataType {
    use DataType::{Decimal, Double, Int, Long};
    let scale = |data_type| match data_type {
        Decimal { scale, .. } => Some(scale),
        Int | Long => Some(0),
        _ => None,
    };
    match (left, right) {
        (Int, Int) => Int,
        (Int | Long, Int | Long) => Long,
        _ => match (scale(left), scale(right)) {
            (Some(left), Some(right)) => Decimal {
                precision: crate::types::MAX_DECIMAL_PRECISION,
                scale: if operator == Arithmetic::Multiply {
                    left.saturating_add(right)
                } else {
                    left.max(right)
                },
            },
            _ => Double,
        },
    }
}

/// The type that holds values of both.
fn wider(left: DataType, right: DataType) -> DataType {
    match (left, right) {
        (left, right) if left == right => left,
        (DataType::Int | DataType::Long, DataType::Int | DataType::Long) => DataType::Long,
        (left, right) if is_number(left) && is_number(right) => DataType::Double,
        _ => DataType::String,
    }
}

fn escapes_are_valid(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character == '\\' && !matches!(characters.next(), Some('%' | '_' | '\\')) {
            return false;
        }
    }
    true
}

/// A time with a zone or, without one, in UTC; to the microsecond.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(Timestamp(instant.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns() -> Vec<(String, Option<DataType>)> {
        [
            ("store", DataType::String),
            ("price", DataType::Double),
            ("cents", DataType::Decimal { precision: 18, scale: 2 }),
            ("ts", DataType::Long),
            ("paid", DataType::Boolean),
            ("seen", DataType::Timestamp),
            ("type", DataType::String),
            ("timestamp", DataType::String),
        ]
        .into_iter()
        .map(|(name, data_type)| (name.to_owned(), Some(data_type)))
        .collect()
    }

    fn read(text: &str) -> Result<Expression, Vec<Mistake>> {
        let mut columns = columns();
        columns.push(("broken".to_owned(), None));
        parse_condition(text, &Names::new(&columns, true))
    }

    /// What is let through and most likely a mistake.
    fn doubts(text: &str) -> Vec<Mistake> {
        let columns = columns();
        let names = Names::new(&columns, true);
        parse_condition(text, &names).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
        names.doubts.into_inner()
    }

    /// One line that shows the structure.
    fn shown(expression: &Expression) -> String {
        match expression {
            Expression::Column(index) => columns()[*index].0.clone(),
            Expression::EventTime => "event_time".to_owned(),
            Expression::Literal(literal) => format!("{literal:?}"),
            Expression::Compare(op, left, right) => {
                format!("{op:?}({}, {})", shown(left), shown(right))
            }
            Expression::Arithmetic(op, left, right) => {
                format!("{op:?}({}, {})", shown(left), shown(right))
            }
            Expression::And(left, right) => format!("And({}, {})", shown(left), shown(right)),
            Expression::Or(left, right) => format!("Or({}, {})", shown(left), shown(right)),
            Expression::Not(operand) => format!("Not({})", shown(operand)),
            Expression::IsNull(operand) => format!("IsNull({})", shown(operand)),
            Expression::In(operand, list) => {
                let list: Vec<String> = list.iter().map(shown).collect();
                format!("In({}, [{}])", shown(operand), list.join(", "))
            }
            Expression::Like(operand, pattern) => format!("Like({}, {pattern:?})", shown(operand)),
            Expression::Cast(operand, to) => format!("Cast({}, {to})", shown(operand)),
            Expression::Call(function, operands) => {
                let operands: Vec<String> = operands.iter().map(shown).collect();
                format!("{function:?}({})", operands.join(", "))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn functions_and_choices_have_a_type() {
        let columns = columns();
        let names = Names::new(&columns, true);
        let check = |text: &str, expected: &str, data_type: Option<DataType>| {
            let read = parse_value(text, &names);
            let (expression, found) =
                read.unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
            assert_eq!((shown(&expression).as_str(), found), (expected, data_type), "{text}");
        };
        check("upper(store)", "Upper(store)", Some(DataType::String));
        check("hour(event_time) + 1", "Add(Hour(event_time), Long(1))", Some(DataType::Long));
        check("store || 'a'", "Concat(store, String(\"a\"))", Some(DataType::String));
        check("coalesce(ts, price)", "Coalesce(Cast(ts, double), price)", Some(DataType::Double));
        check("NULL", "Null", None);
        check("data IS NULL", "NoData", Some(DataType::Boolean));
        check("trim(store)", "Trim(store)", Some(DataType::String));
        check("length(store)", "Length(store)", Some(DataType::Int));
        check("price / 10.5D", "Divide(price, Double(10.5))", Some(DataType::Double));
        check("CAST(store AS INT)", "Cast(store, int)", Some(DataType::Int));
        check("CAST(NULL AS STRING)", "Cast(Null, string)", Some(DataType::String));
        check("-price", "Negate(price)", Some(DataType::Double));
        check("store ILIKE 'A%'", "Like(Lower(store), \"a%\")", Some(DataType::Boolean));
        let (case, data_type) = parse_value(
            "CASE WHEN price > 1 THEN '5 seconds' ELSE CAST(NULL AS STRING) END",
            &names,
        )
        .unwrap();
        assert!(matches!(case, Expression::Case(branches, Some(_)) if branches.len() == 1));
        assert_eq!(data_type, Some(DataType::String));
    }

    #[test]
    fn types_are_cast_and_backslashes_escape_as_in_spark() {
        let columns = columns();
        let names = Names::new(&columns, true);
        let check = |text: &str, expected: &str| {
            let read = parse_condition(text, &names);
            let expression = read.unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
            assert_eq!(shown(&expression), expected, "{text}");
        };
        check("store > 5", "Greater(store, Long(5))");
        check("price = 'NaN'", "Equal(price, String(\"NaN\"))");
        check("store NOT IN ('a', NULL)", "Not(In(store, [String(\"a\"), Null]))");
        check(r"store LIKE 'a\\_b'", r#"Like(store, "a\\_b")"#);
        check(r"store = 'it\'s'", r#"Equal(store, String("it's"))"#);
        check("store = 'it''s'", r#"Equal(store, String("it's"))"#);
        check(r#"store = "a""b\"c""#, r#"Equal(store, String("a\"b\"c"))"#);
        check(r"store = '\a\f\t\\\\'", r#"Equal(store, String("af\t\\\\"))"#);
        check(r"store = '\u00e4\101\u12\Z\0'", "Equal(store, String(\"äAu12\\u{1a}\\0\"))");
        check(r"store = '\%\_'", r#"Equal(store, String("\\%\\_"))"#);
        check(r"store = '\U0001F600ä\ä'", "Equal(store, String(\"😀ää\"))");
        check(
            "event_time < timestamp'1970-01-01 00:00:00'",
            "Less(event_time, Cast(String(\"1970-01-01 00:00:00\"), timestamp))",
        );
    }

    #[test]
    fn conditions_become_expressions() {
        let check = |text: &str, expected: &str| {
            let expression = read(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
            assert_eq!(shown(&expression), expected, "{text}");
        };
        check("price > 0", "Greater(price, Long(0))");
        check("price >= 1.5", "GreaterOrEqual(price, Double(1.5))");
        check("price < .5e1", "Less(price, Double(5.0))");
        check("price <= cents", "LessOrEqual(price, cents)");
        check("store = 'it''s'", "Equal(store, String(\"it's\"))");
        check("store == \"a\"", "Equal(store, String(\"a\"))");
        check("store <> 'a'", "NotEqual(store, String(\"a\"))");
        check("store != 'a\\\\b'", "NotEqual(store, String(\"a\\\\b\"))");
        check("store <=> NULL", "NullSafeEqual(store, Null)");
        check("paid", "paid");
        check("not paid and true", "And(Not(paid), Boolean(true))");
        check("paid = FALSE", "Equal(paid, Boolean(false))");
        check("store IS NULL", "IsNull(store)");
        check("store IS NOT NULL", "Not(IsNull(store))");
        check("store IN ('a', 'b', NULL)", "In(store, [String(\"a\"), String(\"b\"), Null])");
        check("ts NOT IN (1, -2)", "Not(In(ts, [Long(1), Long(-2)]))");
        check("ts BETWEEN 1 AND 2", "And(GreaterOrEqual(ts, Long(1)), LessOrEqual(ts, Long(2)))");
        check(
            "ts NOT BETWEEN 1 AND 2 + 3",
            "Not(And(GreaterOrEqual(ts, Long(1)), LessOrEqual(ts, Add(Long(2), Long(3)))))",
        );
        check("store LIKE 'a\\_%'", "Like(store, \"a\\\\_%\")");
        check("store NOT LIKE 'a'", "Not(Like(store, \"a\"))");
        check(
            "price * 2 + ts % 3 - 1 / 4 > -(ts)",
            "Greater(Subtract(Add(Multiply(price, Long(2)), Remainder(ts, Long(3))), \
             Divide(Long(1), Long(4))), Negate(ts))",
        );
        check("ts > -9223372036854775808", "Greater(ts, Long(-9223372036854775808))");
        check("ts > + 5", "Greater(ts, Long(5))");
        check("(paid OR (paid)) AND paid", "And(Or(paid, paid), paid)");
        check("paid OR paid AND paid", "Or(paid, And(paid, paid))");
        check("NOT ts = 1", "Not(Equal(ts, Long(1)))");
        check("paid AND paid AND paid AND paid", "And(And(paid, paid), And(paid, paid))");
        check("type = 'x'", "Equal(type, String(\"x\"))");
        check("timestamp = 'x'", "Equal(timestamp, String(\"x\"))");
        check("`timestamp` = 'x' -- a comment", "Equal(timestamp, String(\"x\"))");
        check(
            "event_time >= TIMESTAMP '1970-01-01 00:00:01'",
            "GreaterOrEqual(event_time, Cast(String(\"1970-01-01 00:00:01\"), timestamp))",
        );
        check(
            "event_time >= TIMESTAMP '1970-01-01 00:00:01Z'",
            "GreaterOrEqual(event_time, Timestamp(Timestamp(1000000)))",
        );
        check("seen < event_time", "Less(seen, event_time)");
    }

    #[test]
    fn times_are_utc_unless_they_have_a_zone() {
        let check = |text: &str, expected_us| {
            let read = timestamp(text).map(|timestamp| timestamp.0);
            assert_eq!(read, expected_us, "{text}");
        };
        check("1970-01-02", Some(86_400_000_000));
        check("1970-01-01 00:00:30", Some(30_000_000));
        check("1970-01-01T00:00:30.000001", Some(30_000_001));
        check("1970-01-01T00:00:30Z", Some(30_000_000));
        check("1970-01-01 01:00:00+01:00", Some(0));
        check("1969-12-31 23:59:59", Some(-1_000_000));
        check("yesterday", None);
        check("1970-02-30", None);
    }

    #[test]
    fn mistakes_are_found_at_their_place_and_say_what_is_right() {
        let check = |text: &str, place: &str, part: &str| {
            let mistakes = read(text).expect_err(text);
            let (offset, message) = &mistakes[0];
            assert!(message.contains(part), "{text}: {message}");
            assert!(text[*offset..].starts_with(place), "{text}: at {:?}", &text[*offset..]);
        };
        check(
            "prise > 0",
            "prise",
            "unknown column \"prise\" in where; the schema has store, price",
        );
        check("price > 0 AND prise > 0", "prise", "did you mean \"price\"?");
        check("seen > 5", "seen", "write the time as TIMESTAMP '");
        check("seen IN (5)", "seen", "cannot be compared");
        check("seen = true", "seen", "a timestamp cannot be compared with a condition");
        check("paid > 1", "paid", "compare a boolean with true or false");
        check("seen > TIMESTAMP 'soon'", "'soon'", "\"soon\" is not a time");
        check("seen > DATE '2025-01-01'", "'2025", "write TIMESTAMP '");
        check("price", "price", "a condition is needed here, and this is a number");
        check("price + 1", "price", "a condition is needed");
        check("NOT price", "price", "a condition is needed");
        check("paid + 1 > 0", "paid", "a number is needed here, and this is a condition");
        check("price LIKE 'a'", "price", "LIKE is for texts");
        check("store LIKE store", "store", "the pattern of LIKE is a text in quotes");
        check("store LIKE 'a\\\\b'", "'a", "a backslash stands before");
        check("ts > 9223372036854775808", "9223372036854775808", "write it with an exponent");
        check("price > 1e999", "1e999", "does not fit a number");
        check("data.price > 1", "data.price", "columns have no parts");
        check("price > 0 price", "price", "does not continue the condition");
        check("", "", "where is empty");
        check("price >", "", "where cannot be read: expected an expression, found its end");
        check("store = 'a", "'a", "where cannot be read: Unterminated string literal");
        check("store LIKE 'a' ESCAPE '!'", "store", "is not supported");
        check("store ^ 'a' = 'b'", "store", "the operator ^ is not supported");
        check("price > 0 AND sha2(store) = 'A'", "sha2", "\"sha2(store) = 'A'\" is not supported");
        check("CAST(store AS BLOB) > 1", "", "is not a type");
        check("store RLIKE '('", "'('", "this is no regular expression");
        check("price > (SELECT 1)", "", "is not supported");
        check("price IN (SELECT 1)", "", "is not supported");
        check("price > ?", "?", "is not supported");
        check("paid IS TRUE", "paid", "is not supported");
    }

    #[test]
    fn what_is_most_likely_a_mistake_is_let_through_with_its_place_and_what_is_right() {
        let check = |text: &str, place: &str, part: &str| {
            let doubts = doubts(text);
            assert_eq!(doubts.len(), 1, "{text}: {doubts:?}");
            let (offset, message) = &doubts[0];
            assert!(message.contains(part), "{text}: {message}");
            assert!(text[*offset..].starts_with(place), "{text}: at {:?}", &text[*offset..]);
        };
        check("price > '5'", "price", "write the number without quotes");
        check("paid AND store > 5", "store", "write the number in quotes");
        check("store > price", "store", "a number type in [schema]");
        check("event_time > '2025-01-01'", "event_time", "write the time as TIMESTAMP '");
        check("paid = 1", "paid", "compare a boolean with true or false");
        check("paid > true", "paid", "compare them with = or <>");
        check("store = NULL", "store", "write IS NULL or IS NOT NULL");
        check("store NOT IN ('a', NULL)", "NULL", "NOT IN is never true");
        check("store IN (1)", "store", "one is cast");
        for text in ["store = 'a'", "store <=> NULL", "store IN ('a', NULL)", "paid <> true"] {
            assert_eq!(doubts(text), [], "{text}");
        }
    }

    #[test]
    fn every_mistake_of_a_condition_is_found() {
        let mistakes = read("prise > 0 AND seen > 1 AND itme = 'x'").unwrap_err();
        assert_eq!(mistakes.len(), 3);
        // A column whose type could not be read hides no other mistake, and causes none.
        assert!(read("broken > 1 AND broken = 'a'").is_ok());
    }

    #[test]
    fn event_time_means_nothing_without_its_section_and_a_field_of_that_name_comes_first() {
        let columns = columns();
        let names = Names::new(&columns, false);
        let mistakes = parse_condition("event_time IS NULL", &names).unwrap_err();
        assert!(mistakes[0].1.contains("without [event_time]"));
        let own = [("event_time".to_owned(), Some(DataType::Long))];
        let names = Names::new(&own, true);
        let expression = parse_condition("event_time = 1", &names).unwrap();
        assert!(
            matches!(expression, Expression::Compare(_, left, _) if *left == Expression::Column(0))
        );
    }

    #[test]
    fn deep_or_long_conditions_are_refused_or_flat_but_never_overflow() {
        let refused = |text: String| {
            let mistakes = read(&text).expect_err(&text[..20]);
            assert!(mistakes.len() == 1, "{:?}", mistakes[0]);
        };
        refused(format!("{}paid{}", "(".repeat(100_000), ")".repeat(100_000)));
        refused(format!("{}paid{}", "(".repeat(400), ")".repeat(400)));
        refused(format!("{}paid", "NOT ".repeat(400)));
        refused(format!("ts > {}1", "- ".repeat(400)));
        refused(format!("ts > 1{}", " + 1".repeat(400)));
        refused(format!("ts > 1{}", " + 1".repeat(100_000)));
        refused(format!("paid{}", " IS NULL".repeat(300)));
        refused(format!("ts > a{}", "::int".repeat(300)));
        refused(format!("ts > a{}", "[1]".repeat(300)));
        refused(format!("ts > {}1{}", "f(".repeat(300), ")".repeat(300)));
        refused(format!("{}paid", "CASE WHEN ".repeat(300)));
        let chain = vec!["ts = 1"; 240].join(" OR ");
        let Ok(Expression::Or(..)) = read(&chain) else { panic!("a chain of OR is read") };
        let list = vec!["'some text'"; 4000].join(", ");
        let Ok(Expression::In(_, items)) = read(&format!("store IN ({list})")) else {
            panic!("a long list is read")
        };
        assert_eq!(items.len(), 4000);
    }

    proptest! {
        #[test]
        fn reading_any_text_never_panics(text in "\\PC{0,60}") {
            let _ = read(&text);
        }

        #[test]
        fn reading_any_words_of_sql_never_panics(words in proptest::collection::vec(
            prop_oneof![
                Just("price"), Just("store"), Just("event_time"), Just("("), Just(")"), Just("AND"),
                Just("OR"), Just("NOT"), Just("IS"), Just("NULL"), Just("IN"), Just("BETWEEN"),
                Just("LIKE"), Just("TIMESTAMP"), Just("'a'"), Just("1"), Just("1.5"), Just("-"),
                Just("+"), Just("*"), Just("%"), Just("="), Just("<=>"), Just(","), Just("ä"),
                Just("CASE"), Just("INTERVAL"), Just("["), Just("{"), Just("::"), Just("."), Just("\n"),
            ],
            0..40,
        )) {
            let text = words.join(" ");
            if let Err(mistakes) = read(&text) {
                prop_assert!(!mistakes.is_empty());
                for (offset, _) in mistakes {
                    prop_assert!(text.is_char_boundary(offset));
                }
            }
        }
    }
}
