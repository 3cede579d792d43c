//! Bytes to events: a record's JSON becomes typed cells and an event time, or a fault that is counted.
//!
//! Pure and total: whatever the bytes are, [`Decoder::decode`] gives an event, and never panics or
//! recurses. The rules are those of Spark's `from_json` in PERMISSIVE mode with its default options
//! (`JacksonParser`, Jackson 2.15):
//! - a syntax error anywhere in the root object makes every cell NULL;
//! - a value that does not fit its column leaves that column as it was, the other fields are kept;
//! - names are exact, the last of two equal ones wins, unknown fields are passed over;
//! - what follows the root object is not read.
//!
//! Invariants: an ordinary record allocates nothing (cells and scratch are reused, texts are spans);
//! only columns that the pipeline uses are decoded, the others stay NULL.
//!
//! Records are read by the quick scanner (`scan`), which learns what producers write between values
//! (`glue`); those that are no JSON to it are read again as Jackson reads them (`jackson`), which also knows
//! the options of `from_json` that are not Spark's defaults.
//!
//! Start at [`Decoder::decode`]. Not here: what is done with faults (`batch`), limits on future times,
//! which need a clock.

mod coerce;
mod filter;
mod glue;
mod jackson;
mod old_parser;
mod pattern;
mod scan;
mod text;
mod time;
mod value_error;

use crate::spec::{
    Compat, Expression, JsonOptions, OutputSource, ParseMode, Pipeline, Query, SessionGap,
    TimeFormat, TimeParserPolicy, Window,
};
use crate::types::{
    Cell, DataType, DoubleTexts, Event, Fault, FaultReason, Source, Timestamp, Zone,
};

pub use filter::{Evaluator, Texts};
pub use pattern::check_pattern;
pub use time::looks_like_milliseconds;
pub use value_error::ValueError;

use glue::Glue;
use jackson::{Jackson, Token};
use pattern::Pattern;
use scan::{RawString, Scanner, Stop};
use time::{Session, Unit};

/// The place where nothing of a record has been read.
const BEGIN: usize = 0;
/// Places behind unknown fields that are told apart, so that records of many names do not take memory.
const MOST_UNKNOWN_PLACES: usize = 64;
/// Scratch space that is kept from record to record.
const SCRATCH_KEPT_BYTES: usize = 1 << 20;

/// Why a pipeline's records cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The event time's pattern has a part that is not supported.
    #[error("the pattern {pattern:?} of the event time column {column:?} cannot be used: {reason}")]
    Pattern {
        /// The column's name.
        column: String,
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A regular expression that cannot be used.
    #[error("the regular expression {pattern:?} of RLIKE cannot be used: {reason}")]
    Regex {
        /// The expression as written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such zone.
    #[error("there is no time zone {0:?}; write a region as Europe/Paris, or an offset as +02:00")]
    Zone(String),
    /// The event time's format does not go with the column's type.
    #[error("the event time column {column:?} is {data_type}; {format} need {needed}")]
    TimeType {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
        /// The format that was asked for.
        format: &'static str,
        /// The types that have it.
        needed: &'static str,
    },
}

/// A record as far as it could be read.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// Its cells and event time; all NULL when nothing could be used.
    pub event: Event<'a>,
    /// The first thing that was wrong with it.
    pub fault: Option<Fault>,
    /// That thing is a text in a column of another type (Spark 4 gives it a class of its own).
    pub fault_is_text: bool,
    /// Why the event time cannot be computed, where that ends the run: unless the record is filtered
    /// out by a condition that does not ask for it ([`Evaluator::admits`]).
    pub time_error: Option<Box<ValueError>>,
}

/// Whether a fault makes its record malformed to Spark's `from_json`: such a record ends a run in
/// fail-fast mode, is left out in skip-malformed mode, and is kept in the corrupt-record column.
#[must_use]
pub fn is_malformed(reason: FaultReason) -> bool {
    match reason {
        FaultReason::Syntax
        | FaultReason::NotAnObject
        | FaultReason::TooDeep
        | FaultReason::TooLarge
        | FaultReason::WrongType
        | FaultReason::OutOfRange => true,
        FaultReason::NullValue
        | FaultReason::Empty
        | FaultReason::NoEventTime
        | FaultReason::Future => false,
    }
}

/// Spark's error class for a record that ends a run in fail-fast mode; `None` if the pipeline follows no
/// version of Spark.
#[must_use]
pub fn malformed_class(
    pipeline: &Pipeline,
    decoded: &Decoded<'_>,
    value: Option<&[u8]>,
) -> Option<ValueError> {
    let compat = pipeline.semantics.compat?;
    let first = value.unwrap_or_default().iter().find(|byte| !byte.is_ascii_whitespace());
    Some(ValueError::Malformed(match decoded.fault?.reason {
        FaultReason::NotAnObject if first == Some(&b'[') => "CANNOT_PARSE_JSON_ARRAYS_AS_STRUCTS",
        FaultReason::WrongType if decoded.fault_is_text && compat == Compat::Spark4 => {
            "CANNOT_PARSE_STRING_AS_DATATYPE"
        }
        _ => "WITHOUT_SUGGESTION",
    }))
}

/// Decodes the records of one pipeline, one after the other.
#[derive(Clone, Debug)]
pub struct Decoder {
    columns: Vec<ColumnPlan>,
    time: Option<TimePlan>,
    rules: Rules,
    corrupt_column: Option<usize>,
    fault_is_text: bool,
    max_value_bytes: usize,
    /// Where a field may stand: [`BEGIN`], behind the value of column `i` at `i + 1`, then behind unknown
    /// fields as they were met.
    places: Vec<Place>,
    cells: Vec<Cell>,
    scratch: Vec<u8>,
}

/// What is found in a record besides its cells; as in [`Decoded`].
struct Found {
    fault: Option<Fault>,
    time: Option<Timestamp>,
    time_error: Option<Box<ValueError>>,
}

/// What is the pipeline's choice in how values are read.
#[derive(Clone, Debug)]
struct Rules {
    json: JsonOptions,
    doubles: DoubleTexts,
    session: Session,
    /// An event time that cannot be read ends the run (ANSI mode).
    ansi: bool,
    /// Spark 2's parser is asked too, and what it alone would take ends the run.
    asks_old_parser: bool,
    /// Milliseconds become seconds as doubles, as in Spark.
    is_compat: bool,
}

impl Rules {
    fn of(pipeline: &Pipeline) -> Result<Rules, DecodeError> {
        let semantics = &pipeline.semantics;
        Ok(Rules {
            json: pipeline.json,
            doubles: double_texts(pipeline),
            session: session_of(pipeline)?,
            ansi: semantics.ansi,
            asks_old_parser: semantics.time_parser_policy == TimeParserPolicy::Exception,
            is_compat: semantics.compat.is_some(),
        })
    }

    /// Whether less is taken in than by default, which the quick scanner cannot tell.
    fn are_narrow(&self) -> bool {
        !self.json.allow_single_quotes || !self.json.allow_non_numeric_numbers
    }
}

/// A column of the schema as the decoder looks for it.
#[derive(Clone, Debug)]
struct ColumnPlan {
    name: Box<[u8]>,
    /// Its type if the pipeline uses it.
    used_as: Option<DataType>,
}

/// Where a field of a record may stand, and what is known of it.
#[derive(Clone, Debug, Default)]
struct Place {
    /// What led to the field that came here last.
    glue: Option<Glue>,
    /// The place behind an unknown field that comes here.
    behind_unknown: Option<usize>,
}

/// A field of a record whose value is next.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// The column if the pipeline uses it, and its type.
    column: usize,
    used_as: Option<DataType>,
    /// The place behind its value.
    place: usize,
}

#[derive(Clone, Debug)]
struct TimePlan {
    column: usize,
    format: TimeReader,
}

#[derive(Clone, Debug)]
enum TimeReader {
    Number(Unit),
    Iso,
    Pattern(Pattern),
    Timestamp,
}

impl Decoder {
    /// Records larger than this are not read unless [`Decoder::set_max_value_bytes`] says otherwise.
    pub const DEFAULT_MAX_VALUE_BYTES: usize = 64 << 20;
    /// The most that may be allowed: spans are 32-bit, and a rewritten text is up to three times longer.
    pub const MAX_VALUE_BYTES: usize = 1 << 30;

    /// A decoder for the columns that `pipeline` uses.
    ///
    /// # Errors
    /// An event time whose pattern is not supported or whose format does not go with its column.
    ///
    /// # Panics
    /// On a column index beyond the schema, which a checked pipeline does not have.
    pub fn new(pipeline: &Pipeline) -> Result<Decoder, DecodeError> {
        let used = used_columns(pipeline);
        let plan = |(index, column): (usize, &crate::types::Column)| ColumnPlan {
            name: column.name.as_bytes().into(),
            used_as: used[index].then_some(column.data_type),
        };
        let count = pipeline.schema.len();
        Ok(Decoder {
            columns: pipeline.schema.iter().enumerate().map(plan).collect(),
            time: time_plan(pipeline)?,
            rules: Rules::of(pipeline)?,
            corrupt_column: pipeline.corrupt_column,
            fault_is_text: false,
            max_value_bytes: Decoder::DEFAULT_MAX_VALUE_BYTES,
            places: vec![Place::default(); count + 1],
            cells: vec![Cell::Null; count],
            scratch: Vec::new(),
        })
    }

    /// Sets the length above which a record is `TooLarge`, at most [`Decoder::MAX_VALUE_BYTES`].
    pub fn set_max_value_bytes(&mut self, bytes: usize) {
        self.max_value_bytes = bytes.min(Decoder::MAX_VALUE_BYTES);
    }

    /// Sets the batch's clock reading, in milliseconds from 1970: texts of a time without a date are of
    /// its day.
    pub fn set_clock(&mut self, clock_ms: i64) {
        self.rules.session.clock = Timestamp(clock_ms.saturating_mul(1000));
    }

    /// Decodes one record's value. The event borrows the value and this decoder.
    // Inlined, so that what is made of the event need not be copied.
    #[inline(always)]
    pub fn decode<'a>(&'a mut self, value: Option<&'a [u8]>) -> Decoded<'a> {
        let Found { fault, time, time_error } = self.find(value);
        let has_data = !matches!(
            fault,
            Some(Fault { reason: FaultReason::NullValue | FaultReason::Empty, .. })
        );
        let payload = value.unwrap_or_default();
        let source = Source { payload, scratch: &self.scratch };
        let event = Event { time, has_data, cells: &self.cells, source };
        Decoded { event, fault, fault_is_text: self.fault_is_text, time_error }
    }

    /// Fills the cells from a record's value.
    #[inline(never)]
    fn find(&mut self, value: Option<&[u8]>) -> Found {
        self.scratch.clear();
        if self.scratch.capacity() > SCRATCH_KEPT_BYTES {
            self.scratch = Vec::new();
        }
        self.cells.fill(Cell::Null);
        self.fault_is_text = false;
        let read = match value {
            None => Err(FaultReason::NullValue),
            Some(payload) if payload.len() > self.max_value_bytes => Err(FaultReason::TooLarge),
            Some(payload) => self.read(payload),
        };
        let payload = value.unwrap_or_default();
        let mut fault = read.unwrap_or_else(|reason| {
            self.cells.fill(Cell::Null);
            Some(Fault { reason, column: None })
        });
        if let (Some(column), Some(fault)) = (self.corrupt_column, fault)
            && is_malformed(fault.reason)
            && payload.len() <= self.max_value_bytes
        {
            self.cells[column] = coerce::whole_text(payload, &mut self.scratch);
        }
        let Some(plan) = &self.time else { return Found { fault, time: None, time_error: None } };
        let source = Source { payload, scratch: &self.scratch };
        let (time, time_error) =
            match plan.format.read(source, self.cells[plan.column], &self.rules) {
                Ok(time) => (time, None),
                Err(error) => (None, Some(error)),
            };
        if time.is_none() {
            let missing = Fault { reason: FaultReason::NoEventTime, column: Some(plan.column) };
            fault = fault.or(Some(missing));
        }
        Found { fault, time, time_error }
    }

    /// What each of the two readers makes of a record, in words: the quick one's, then Jackson's. `None`
    /// where the quick one does not judge the record.
    #[cfg(any(test, fuzzing))]
    pub fn read_both_ways(&mut self, payload: &[u8]) -> Option<(String, String)> {
        if self.rules.are_narrow() {
            return None;
        }
        let quick = self.describe(payload, Decoder::read_quickly);
        let is_judged = !quick.starts_with("Err(Syntax)");
        is_judged.then(|| (quick, self.describe(payload, Decoder::read_as_jackson)))
    }

    #[cfg(any(test, fuzzing))]
    fn describe(
        &mut self,
        payload: &[u8],
        read: fn(&mut Decoder, &[u8]) -> Result<Option<Fault>, FaultReason>,
    ) -> String {
        self.scratch.clear();
        self.cells.fill(Cell::Null);
        self.fault_is_text = false;
        let result = read(self, payload);
        if result.is_err() {
            return format!("{result:?}");
        }
        let source = Source { payload, scratch: &self.scratch };
        let event = Event { time: None, has_data: true, cells: &self.cells, source };
        let values: Vec<_> = (0..self.cells.len()).map(|column| event.value(column)).collect();
        format!("{result:?} {} {values:?}", self.fault_is_text)
    }

    /// Fills the cells from a value, and gives the first field that did not fit.
    fn read(&mut self, payload: &[u8]) -> Result<Option<Fault>, FaultReason> {
        if !self.rules.are_narrow() {
            match self.read_quickly(payload) {
                Err(FaultReason::Syntax) => {}
                read => return read,
            }
            self.scratch.clear();
            self.cells.fill(Cell::Null);
        }
        self.read_as_jackson(payload)
    }

    #[cold]
    fn read_as_jackson(&mut self, payload: &[u8]) -> Result<Option<Fault>, FaultReason> {
        let mut parser = Jackson::new(payload, self.rules.json);
        match parser.next_token().map_err(reason_of)? {
            None => Err(FaultReason::Empty),
            Some(Token::StartObject) => self.read_tokens(&mut parser).map_err(reason_of),
            Some(Token::Text(_)) => {
                parser.finish_text().map_err(reason_of)?;
                Err(FaultReason::NotAnObject)
            }
            Some(_) => Err(FaultReason::NotAnObject),
        }
    }

    /// Reads fields until an object ends, which after a fault need not be the root (Spark's
    /// `JacksonParser.convertObject`).
    fn read_tokens(&mut self, parser: &mut Jackson<'_>) -> Result<Option<Fault>, Stop> {
        let mut fault = None;
        loop {
            match parser.next_token()? {
                None | Some(Token::EndObject) => return Ok(fault),
                Some(_) => {}
            }
            let column = parser.name().and_then(|name| self.column_named(parser.bytes(), name));
            let used = column.and_then(|column| Some((column, self.columns[column].used_as?)));
            let Some((column, data_type)) = used else {
                parser.skip_children()?;
                continue;
            };
            let cell = &mut self.cells[column];
            let read = coerce::read_token(parser, data_type, &mut self.scratch, cell, &self.rules);
            let reason = match read {
                Ok(reason) => reason,
                Err(Stop::Syntax) => Some(FaultReason::Syntax),
                Err(stop) => return Err(stop),
            };
            if let Some(reason) = reason {
                if fault.is_none() {
                    self.fault_is_text = matches!(parser.current(), Some(Token::Text(_)));
                    fault = Some(Fault { reason, column: Some(column) });
                }
                parser.skip_children()?;
            }
        }
    }

    /// Reads the fields of the root object.
    fn read_quickly(&mut self, payload: &[u8]) -> Result<Option<Fault>, FaultReason> {
        let mut rest = payload;
        let mut fault = None;
        let mut place = BEGIN;
        loop {
            let field = match &self.places[place].glue {
                Some(glue) if glue.begins(rest) => {
                    rest = &rest[glue.len..];
                    glue.field
                }
                _ if place != BEGIN && rest.first() == Some(&b'}') => return Ok(fault),
                _ => {
                    let mut scanner = Scanner::at(payload, rest);
                    let Some(field) = self.read_name(&mut scanner, place)? else {
                        return Ok(fault);
                    };
                    rest = scanner.rest();
                    field
                }
            };
            place = field.place;
            let Field { column, used_as: Some(data_type), .. } = field else {
                rest = scan::skip_value(payload, rest, 1).map_err(reason_of)?;
                continue;
            };
            let cell = &mut self.cells[column];
            let read =
                coerce::read(payload, &mut rest, data_type, &mut self.scratch, cell, &self.rules);
            if let Some(reason) = read.map_err(reason_of)?
                && fault.is_none()
            {
                // Only texts end in a quote.
                let last = payload[payload.len() - rest.len() - 1];
                self.fault_is_text = matches!(last, b'"' | b'\'');
                fault = Some(Fault { reason, column: Some(column) });
            }
        }
    }

    /// Reads the next name with all that stands between the values that it parts, and learns it. `None` at
    /// the end of the root object.
    #[inline(never)]
    fn read_name(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: usize,
    ) -> Result<Option<Field>, FaultReason> {
        let start = scanner.pos;
        let mark = scanner.peek_token();
        match mark {
            b'{' if place == BEGIN => scanner.pos += 1,
            _ if place == BEGIN => return Err(misfit_of_root(scanner)),
            b',' => scanner.pos += 1,
            b'}' => return Ok(None),
            _ => return Err(FaultReason::Syntax),
        }
        match scanner.peek_token() {
            b'"' | b'\'' => {}
            b'}' if mark == b'{' => return Ok(None),
            _ => return Err(FaultReason::Syntax),
        }
        let name = scanner.string().map_err(reason_of)?;
        let column = self.column_named(scanner.bytes, name);
        scanner.expect(b':').map_err(reason_of)?;
        scanner.peek_token();
        let field = match column {
            Some(column) => {
                Field { column, used_as: self.columns[column].used_as, place: column + 1 }
            }
            None => Field { column: 0, used_as: None, place: self.place_behind_unknown(place) },
        };
        self.places[place].glue = Glue::new(&scanner.bytes[start..scanner.pos], field);
        Ok(Some(field))
    }

    /// The place behind an unknown field at `place`; never [`BEGIN`], as something has been read.
    fn place_behind_unknown(&mut self, place: usize) -> usize {
        if let Some(behind) = self.places[place].behind_unknown {
            return behind;
        }
        let mut behind = place;
        if place == BEGIN || self.places.len() <= self.columns.len() + MOST_UNKNOWN_PLACES {
            behind = self.places.len();
            self.places.push(Place::default());
        }
        self.places[place].behind_unknown = Some(behind);
        behind
    }

    fn column_named(&mut self, bytes: &[u8], name: RawString) -> Option<usize> {
        let find = |name: &[u8]| self.columns.iter().position(|plan| *plan.name == *name);
        if name.unescaped && name.ascii {
            return find(&bytes[name.start..name.end]);
        }
        let start = self.scratch.len();
        text::append_name(bytes, name, &mut self.scratch);
        let column = find(&self.scratch[start..]);
        self.scratch.truncate(start);
        column
    }
}

impl TimeReader {
    /// The event time in a cell.
    #[inline(always)]
    fn read(
        &self,
        source: Source<'_>,
        cell: Cell,
        rules: &Rules,
    ) -> Result<Option<Timestamp>, Box<ValueError>> {
        match (cell, self) {
            (Cell::Long(value), TimeReader::Number(Unit::Seconds)) => {
                Ok(Some(time::from_integer(value, Unit::Seconds)))
            }
            (cell, reader) => {
                let event = Event { time: None, has_data: true, cells: &[], source };
                reader.read_rarer(&event, cell, rules)
            }
        }
    }

    fn read_rarer(
        &self,
        event: &Event<'_>,
        cell: Cell,
        rules: &Rules,
    ) -> Result<Option<Timestamp>, Box<ValueError>> {
        Ok(match (cell, self) {
            (Cell::Long(value), TimeReader::Number(unit)) => from_whole(value, *unit, rules),
            (Cell::Int(value), TimeReader::Number(unit)) => {
                from_whole(i64::from(value), *unit, rules)
            }
            (Cell::Double(number), TimeReader::Number(unit)) if rules.is_compat => {
                time::from_java_double(event.source.double(number), *unit)
            }
            (Cell::Double(number), TimeReader::Number(unit)) => {
                time::from_double(event.source.double(number), *unit)
            }
            (Cell::Decimal(value), TimeReader::Number(unit)) => {
                Some(time::from_decimal(value, *unit))
            }
            (Cell::String(span), TimeReader::Iso) => {
                let read = time::iso(event.source.bytes(span), &rules.session);
                if read.is_none() && rules.ansi {
                    let value = event.source.text(span).to_owned();
                    return Err(Box::new(ValueError::InvalidInput { value, to: "TIMESTAMP" }));
                }
                read
            }
            (Cell::String(span), TimeReader::Pattern(pattern)) => {
                let text = event.source.text(span);
                match pattern.parse(text, &rules.session.zone) {
                    Some(time) => Some(time),
                    None => return pattern_misfit(pattern, text, rules).map(|()| None),
                }
            }
            (Cell::Timestamp(value), TimeReader::Timestamp) => Some(value),
            _ => None,
        })
    }
}

fn from_whole(value: i64, unit: Unit, rules: &Rules) -> Option<Timestamp> {
    if unit == Unit::Milliseconds && rules.is_compat {
        // Rounds to the nearest double, as Spark's `ts / 1000.0` does.
        return time::from_java_double(value as f64, unit);
    }
    Some(time::from_integer(value, unit))
}

/// A text that is not in the pattern: NULL, or the end of the run.
#[cold]
fn pattern_misfit(pattern: &Pattern, text: &str, rules: &Rules) -> Result<(), Box<ValueError>> {
    let (value, pattern_text) = (text.to_owned(), pattern.text().to_owned());
    if rules.asks_old_parser && old_parser::takes(pattern.text(), text) {
        return Err(Box::new(ValueError::OldParser { value, pattern: pattern_text }));
    }
    if rules.ansi {
        return Err(Box::new(ValueError::Timestamp { value, pattern: pattern_text }));
    }
    Ok(())
}

/// What is wrong with a record whose first token, which is next, does not begin an object.
fn misfit_of_root(scanner: &mut Scanner<'_>) -> FaultReason {
    if scanner.pos == scanner.bytes.len() {
        return FaultReason::Empty;
    }
    match scanner.peek() {
        b'[' => FaultReason::NotAnObject,
        _ => scanner.skip_value(0).map_or_else(reason_of, |()| FaultReason::NotAnObject),
    }
}

fn reason_of(stop: Stop) -> FaultReason {
    match stop {
        Stop::Syntax => FaultReason::Syntax,
        Stop::TooDeep => FaultReason::TooDeep,
        Stop::TooLarge => FaultReason::TooLarge,
    }
}

fn time_plan(pipeline: &Pipeline) -> Result<Option<TimePlan>, DecodeError> {
    let Some(event_time) = &pipeline.event_time else { return Ok(None) };
    let column = &pipeline.schema[event_time.column];
    let is_number = matches!(
        column.data_type,
        DataType::Long | DataType::Int | DataType::Double | DataType::Decimal { .. }
    );
    let is_string = column.data_type == DataType::String;
    let wrong = |format, needed| DecodeError::TimeType {
        column: column.name.clone(),
        data_type: column.data_type,
        format,
        needed,
    };
    const NUMBERS: &str = "long, int, double or decimal";
    let format = match &event_time.format {
        TimeFormat::Seconds if is_number => TimeReader::Number(Unit::Seconds),
        TimeFormat::Seconds => return Err(wrong("seconds", NUMBERS)),
        TimeFormat::Milliseconds if is_number => TimeReader::Number(Unit::Milliseconds),
        TimeFormat::Milliseconds => return Err(wrong("milliseconds", NUMBERS)),
        TimeFormat::Iso if is_string => TimeReader::Iso,
        TimeFormat::Iso => return Err(wrong("ISO 8601 texts", "string")),
        TimeFormat::Pattern(pattern) if is_string => {
            let named = |reason| DecodeError::Pattern {
                column: column.name.clone(),
                pattern: pattern.clone(),
                reason,
            };
            TimeReader::Pattern(Pattern::new(pattern).map_err(named)?)
        }
        TimeFormat::Pattern(_) => return Err(wrong("texts in a pattern", "string")),
        TimeFormat::Timestamp if column.data_type == DataType::Timestamp => TimeReader::Timestamp,
        TimeFormat::Timestamp => return Err(wrong("timestamps", "timestamp")),
    };
    Ok(Some(TimePlan { column: event_time.column, format }))
}

fn session_of(pipeline: &Pipeline) -> Result<Session, DecodeError> {
    let zone = Zone::parse(&pipeline.session_time_zone)
        .ok_or_else(|| DecodeError::Zone(pipeline.session_time_zone.clone()))?;
    Ok(Session { zone, clock: Timestamp(0) })
}

fn double_texts(pipeline: &Pipeline) -> DoubleTexts {
    match pipeline.semantics.compat {
        Some(_) => DoubleTexts::Jdk17,
        None => DoubleTexts::Shortest,
    }
}

/// For each column of the schema, whether it is read: if anything is made of it, or if a misfit in it
/// is told.
fn used_columns(pipeline: &Pipeline) -> Vec<bool> {
    let is_told = pipeline.corrupt_column.is_some() || pipeline.parse_mode != ParseMode::Permissive;
    let mut used = vec![is_told; pipeline.schema.len()];
    mark_used(pipeline, &mut used);
    if let Some(corrupt) = pipeline.corrupt_column {
        used[corrupt] = false;
    }
    used
}

fn mark_used(pipeline: &Pipeline, used: &mut [bool]) {
    if let Some(event_time) = &pipeline.event_time {
        used[event_time.column] = true;
    }
    mark_expressions(pipeline, &mut |expression| {
        if let Expression::Column(column) = expression {
            used[*column] = true;
        }
    });
    if let Some(deduplication) = &pipeline.deduplication {
        deduplication.columns.iter().for_each(|column| used[*column] = true);
    }
    if let Query::Aggregation(aggregation) = &pipeline.query {
        let aggregated = aggregation.aggregates.iter().filter_map(|aggregate| aggregate.column);
        aggregation.keys.iter().copied().chain(aggregated).for_each(|column| used[column] = true);
    }
    for output in &pipeline.output {
        if let OutputSource::Column(column) = output.source {
            used[column] = true;
        }
    }
}

/// Shows every part of every expression of a pipeline to `see`.
fn mark_expressions(pipeline: &Pipeline, see: &mut dyn FnMut(&Expression)) {
    let filters = [&pipeline.filter, &pipeline.filter_above_watermark];
    for expression in filters.into_iter().flatten().chain(&pipeline.computed) {
        expression.visit(see);
    }
    if let Query::Aggregation(aggregation) = &pipeline.query
        && let Some(Window::Session(SessionGap::Dynamic(gap))) = &aggregation.window
    {
        gap.visit(see);
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
