//! The text of `where`: SQL's grammar, resolved against the columns and checked for types.
//!
//! `sqlparser` gives the tree; here each node becomes an [`Expression`] or a mistake that says where
//! in the text it is and what to write instead. All mistakes of a text are found, not only the first.
//! Strings are standard SQL: `''` is a quote, a backslash is a backslash (and escapes in LIKE).
//!
//! Invariants: an [`Expression`] made here is nested a few times [`MAX_DEPTH`] deep at most (chains of
//! AND and OR are balanced); whatever the text, neither reading it nor dropping it overflows the stack.
//!
//! Not here: evaluating (`decode`); where in the TOML the text stands (`parse`).

use sqlparser::ast::{
    BinaryOperator, DataType as SqlType, Expr, Spanned as _, UnaryOperator, Value as SqlValue,
};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::errors::{list, suggestion};
use super::pipeline::{Arithmetic, Comparison, Expression, Literal};
use super::typing::is_number;
use crate::types::{DataType, Timestamp};

/// Levels of a condition below each other.
const MAX_DEPTH: usize = 64;
/// Longest text, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Words and operators in a text. Only they nest; each level takes at least one.
const MAX_OPERATORS: usize = 1000;

const SUPPORTED: &str = "where has = <> < <= > >= <=>, AND OR NOT, IS [NOT] NULL, [NOT] IN, \
    [NOT] BETWEEN, [NOT] LIKE, + - * / %, numbers, 'text', TIMESTAMP '…', true, false and columns";

/// A mistake: the byte of the text where it is, and what would be right.
pub(super) type Mistake = (usize, String);

/// Names that a condition may use.
pub(super) struct Names<'a> {
    /// The schema's columns, in order; a type that could not be read is `None`.
    pub(super) columns: &'a [(String, Option<DataType>)],
    /// Whether `event_time` means something.
    pub(super) has_event_time: bool,
    /// Whether comparisons that Spark takes, but that are most likely mistakes, are taken too.
    pub(super) lenient: bool,
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
    let mut reader = Reader { text, names, mistakes: Vec::new(), too_deep: false };
    let typed = reader.condition(&tree, 0);
    match typed {
        Some(typed) if reader.mistakes.is_empty() => Ok(typed),
        _ => Err(reader.mistakes),
    }
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
        Some(typed) if reader.mistakes.is_empty() => Ok((typed.expression, typed.kind.data_type())),
        _ => Err(reader.mistakes),
    }
}

/// SQL as Spark writes names and operators: backquotes around names, double quotes around texts.
#[derive(Debug)]
pub(super) struct Sql;

impl Dialect for Sql {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
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
    let tokens = Tokenizer::new(&Sql, text).tokenize_with_location().map_err(|error| {
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
    Ok(tokens)
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

    fn data_type(self) -> Option<DataType> {
        match self {
            Kind::Null | Kind::Unknown => None,
            Kind::Boolean => Some(DataType::Boolean),
            Kind::Number => Some(DataType::Double),
            Kind::String => Some(DataType::String),
            Kind::Timestamp => Some(DataType::Timestamp),
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
            other => return self.unsupported(other),
        };
        Some(Typed { expression, kind, offset: self.offset(tree) })
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
        let example = "write TIMESTAMP '2025-09-02 10:30:00'; without a zone it is UTC";
        let (SqlType::Timestamp(..), SqlValue::SingleQuotedString(text)) = (data_type, value)
        else {
            self.note(offset, format!("this kind of constant is not supported; {example}"));
            return None;
        };
        let Some(timestamp) = timestamp(text) else {
            self.note(offset, format!("{text:?} is not a time; {example}"));
            return None;
        };
        Some((Expression::Literal(Literal::Timestamp(timestamp)), Kind::Timestamp))
    }

    fn is_null(&mut self, operand: &Expr, depth: usize) -> Option<Expression> {
        // What `from_json` gives as a whole is called `data` in Spark's jobs.
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
                let zero = Expression::Literal(Literal::Long(0));
                let operand = self.number(operand, depth)?;
                Some((arithmetic(Arithmetic::Subtract, zero, operand), Kind::Number))
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
            if negated && item.kind == Kind::Null && !self.names.lenient {
                self.note(
                    item.offset,
                    "NOT IN is never true with NULL in its list; take it out, and \
                    write AND column IS NOT NULL",
                );
                return None;
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

    fn check_comparison(&mut self, op: Comparison, left: &Typed, right: &Typed) -> Option<()> {
        if self.names.lenient {
            return Some(());
        }
        let has = |kind| left.kind == kind || right.kind == kind;
        let for_equality = [Comparison::Equal, Comparison::NotEqual, Comparison::NullSafeEqual];
        let message = if has(Kind::Null) && op != Comparison::NullSafeEqual {
            "a comparison with NULL is never true; write IS NULL or IS NOT NULL".to_owned()
        } else if has(Kind::Unknown) || has(Kind::Null) {
            return Some(());
        } else if left.kind != right.kind {
            let advice = comparison_advice(left, right);
            format!("{} cannot be compared with {}; {advice}", left.kind.name(), right.kind.name())
        } else if left.kind == Kind::Boolean && !for_equality.contains(&op) {
            "true and false have no order; compare them with = or <>".to_owned()
        } else {
            return Some(());
        };
        self.note(left.offset.min(right.offset), message);
        None
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
        parse_condition(text, &Names { columns: &columns, has_event_time: true, lenient: false })
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
            other => format!("{other:?}"),
        }
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
        check("store != 'a\\b'", "NotEqual(store, String(\"a\\\\b\"))");
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
             Divide(Long(1), Long(4))), Subtract(Long(0), ts))",
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
            "GreaterOrEqual(event_time, Timestamp(Timestamp(1000000)))",
        );
        check("seen < event_time", "Less(seen, event_time)");
    }

    #[test]
    fn times_are_utc_unless_they_have_a_zone() {
        let check = |text: &str, expected_us| {
            assert_eq!(timestamp(text).map(|timestamp| timestamp.0), expected_us, "{text}");
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
        check("price > '5'", "price", "write the number without quotes");
        check("store > 5", "store", "write the number in quotes");
        check("store > price", "store", "a number type in [schema]");
        check("event_time > '2025-01-01'", "event_time", "write the time as TIMESTAMP '");
        check("seen > 5", "seen", "write the time as TIMESTAMP '");
        check("seen > TIMESTAMP 'soon'", "'soon'", "\"soon\" is not a time");
        check("seen > DATE '2025-01-01'", "'2025", "write TIMESTAMP '");
        check("paid = 1", "paid", "compare a boolean with true or false");
        check("paid > true", "paid", "have no order");
        check("store = NULL", "store", "write IS NULL or IS NOT NULL");
        check("store NOT IN ('a', NULL)", "NULL", "NOT IN is never true");
        check("store IN (1)", "store", "cannot be compared");
        check("price", "price", "a condition is needed here, and this is a number");
        check("price + 1", "price", "a condition is needed");
        check("NOT price", "price", "a condition is needed");
        check("store + 1 > 0", "store", "a number is needed here, and this is a text");
        check("price LIKE 'a'", "price", "LIKE is for texts");
        check("store LIKE store", "store", "the pattern of LIKE is a text in quotes");
        check("store LIKE 'a\\b'", "'a", "a backslash stands before");
        check("ts > 9223372036854775808", "9223372036854775808", "write it with an exponent");
        check("price > 1e999", "1e999", "does not fit a number");
        check("data.price > 1", "data.price", "columns have no parts");
        check("price > 0 price", "price", "does not continue the condition");
        check("", "", "where is empty");
        check("price >", "", "where cannot be read: expected an expression, found its end");
        check("store = 'a", "'a", "where cannot be read: Unterminated string literal");
        check(
            "price > 0 AND upper(store) = 'A'",
            "upper",
            "\"upper(store) = 'A'\" is not supported",
        );
        check("CAST(store AS INT) > 1", "", "is not supported");
        check("store ILIKE 'a'", "store", "is not supported");
        check("store LIKE 'a' ESCAPE '!'", "store", "is not supported");
        check("store || 'a' = 'b'", "store", "the operator || is not supported");
        check("price > (SELECT 1)", "", "is not supported");
        check("price IN (SELECT 1)", "", "is not supported");
        check("price > ?", "?", "is not supported");
        check("CASE WHEN paid THEN true END", "CASE", "is not supported");
        check("paid IS TRUE", "paid", "is not supported");
    }

    #[test]
    fn every_mistake_of_a_condition_is_found() {
        let mistakes = read("prise > 0 AND store > 1 AND itme = 'x'").unwrap_err();
        assert_eq!(mistakes.len(), 3);
        // A column whose type could not be read hides no other mistake, and causes none.
        assert!(read("broken > 1 AND broken = 'a'").is_ok());
    }

    #[test]
    fn event_time_means_nothing_without_its_section_and_a_field_of_that_name_comes_first() {
        let columns = columns();
        let names = Names { columns: &columns, has_event_time: false, lenient: false };
        let mistakes = parse_condition("event_time IS NULL", &names).unwrap_err();
        assert!(mistakes[0].1.contains("without [event_time]"));
        let own = [("event_time".to_owned(), Some(DataType::Long))];
        let names = Names { columns: &own, has_event_time: true, lenient: false };
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
