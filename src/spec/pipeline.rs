//! What a checked pipeline is. Every index points into [`Pipeline::schema`] unless it says otherwise.

use std::sync::Arc;

use crate::types::{Column, DataType, Timestamp};

/// A pipeline whose every name is resolved and whose every type fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Names the state directory and the default consumer group: `[a-z0-9][a-z0-9_-]*`.
    pub name: String,
    /// Kafka topic it reads.
    pub topic: String,
    /// Columns of the JSON records, in order.
    pub schema: Vec<Column>,
    /// Where event time comes from; always there when there is a window or a watermark.
    pub event_time: Option<EventTime>,
    /// Records for which this is not true are left out before anything else sees them, the
    /// watermark included (Spark pushes such a filter below `withWatermark`).
    pub filter: Option<Expression>,
    /// The part of a condition behind the watermark that uses the event time: records for which it
    /// is not true move the watermark and go no further.
    pub filter_above_watermark: Option<Expression>,
    /// Which records are seen as one, before anything is computed of them.
    pub deduplication: Option<Deduplication>,
    /// What is computed.
    pub query: Query,
    /// Expressions that output columns of projections are computed by.
    pub computed: Vec<Expression>,
    /// Columns of the results, in order.
    pub output: Vec<OutputColumn>,
    /// Which rows a batch publishes.
    pub output_mode: OutputMode,
    /// What happens on a record that cannot be read.
    pub parse_mode: ParseMode,
    /// How JSON is read (Spark's options of `from_json`).
    pub json: JsonOptions,
    /// The STRING column that takes the text of a record that is malformed (Spark's
    /// `columnNameOfCorruptRecord`); it is never read from the record itself.
    pub corrupt_column: Option<usize>,
    /// Zone of times that name none, when read and when printed: an IANA name or an offset.
    pub session_time_zone: String,
    /// Where Spark and this program differ, whose way it is.
    pub semantics: Semantics,
    /// Event times further ahead of a batch's clock reading than this are set aside, in milliseconds.
    pub max_future_skew_ms: Option<i64>,
}

/// Event time of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct EventTime {
    /// The schema's column it is read from.
    pub column: usize,
    /// How that column is to be understood.
    pub format: TimeFormat,
    /// Delay of the watermark behind the newest event time, in milliseconds, never negative
    /// (Spark's `withWatermark`); without it nothing is late and nothing closes.
    pub watermark_delay_ms: Option<i64>,
}

/// How a column holds a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// LONG, INT, DOUBLE or DECIMAL column of Unix seconds.
    Seconds,
    /// LONG, INT, DOUBLE or DECIMAL column of Unix milliseconds.
    Milliseconds,
    /// STRING column, ISO 8601 as Spark's cast reads it; without a zone it is UTC.
    Iso,
    /// STRING column in a datetime pattern (`yyyy-MM-dd HH:mm:ss`), UTC unless it has a zone.
    Pattern(String),
    /// TIMESTAMP column, used as it is.
    Timestamp,
}

/// What a pipeline computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Every record becomes one row.
    Projection,
    /// Groups of records become rows.
    Aggregation(Aggregation),
}

/// Windows, groups and what is computed for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// The windows; `None` groups by the keys alone.
    pub window: Option<Window>,
    /// Schema columns to group by, besides the window.
    pub keys: Vec<usize>,
    /// What is computed for each group, in the order they are named.
    pub aggregates: Vec<Aggregate>,
}

/// How events are put into windows.
#[derive(Clone, Debug, PartialEq)]
pub enum Window {
    /// Windows of one length at equal distances.
    Sliding(SlidingWindow),
    /// Windows that grow while events of a group follow each other closely.
    Session(SessionGap),
}

/// Windows `[start, start + duration)` with `start` = offset + k × slide, for every whole k. They
/// neither overlap nor leave gaps where the slide is the duration (tumbling windows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Length in microseconds, above 0.
    pub duration_us: i64,
    /// Distance of two starts in microseconds, above 0 and at most the duration.
    pub slide_us: i64,
    /// Where one window starts, in microseconds from 1970 UTC; its absolute value is below the slide.
    pub offset_us: i64,
}

impl SlidingWindow {
    /// Windows aligned to 1970 UTC of which each event is in one.
    #[must_use]
    pub fn tumbling(duration_us: i64) -> SlidingWindow {
        SlidingWindow { duration_us, slide_us: duration_us, offset_us: 0 }
    }

    /// Whether each event is in exactly one window.
    #[must_use]
    pub fn is_tumbling(&self) -> bool {
        self.slide_us == self.duration_us
    }
}

/// How long after its last event a session ends. A gap that is NULL or not above 0 leaves the event
/// out of all sessions.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionGap {
    /// Microseconds, the same for all events.
    Fixed(i64),
    /// Computed for each event: a text such as `10 seconds`.
    Dynamic(Expression),
}

/// Which records are seen as one: of those with equal columns only the first is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deduplication {
    /// Schema columns that are compared; NULL equals NULL.
    pub columns: Vec<usize>,
    /// How long a kept record is remembered.
    pub scope: DeduplicationScope,
}

/// How long a kept record is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeduplicationScope {
    /// Until the watermark reaches its event time plus the delay (`dropDuplicatesWithinWatermark`).
    WithinWatermark,
    /// Event times are compared too, until the watermark reaches it (`dropDuplicates` with the event
    /// time among its columns).
    WithEventTime,
    /// For ever (`dropDuplicates` of columns alone).
    Forever,
}

/// How JSON is read: Spark's options of `from_json`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "these are Spark's switches, each on its own")]
pub struct JsonOptions {
    /// `allowSingleQuotes`: names and texts may stand in single quotes.
    pub allow_single_quotes: bool,
    /// `allowNonNumericNumbers`: `NaN`, `Infinity`, `-INF` and their like are numbers.
    pub allow_non_numeric_numbers: bool,
    /// `allowNumericLeadingZeros`: `007` is 7.
    pub allow_numeric_leading_zeros: bool,
    /// `allowUnquotedControlChars`: texts may hold raw control characters.
    pub allow_unquoted_control_chars: bool,
    /// `allowUnquotedFieldNames`: names may stand without quotes.
    pub allow_unquoted_field_names: bool,
    /// `allowBackslashEscapingAnyCharacter`: `\x` is x for any x.
    pub allow_backslash_escaping_any_character: bool,
    /// `allowComments`: `/* … */` and `// …` are skipped.
    pub allow_comments: bool,
    /// `primitivesAsString` has no meaning here; `dropFieldIfAllNull` none for a given schema.
    pub drop_field_if_all_null: bool,
}

impl Default for JsonOptions {
    fn default() -> JsonOptions {
        JsonOptions {
            allow_single_quotes: true,
            allow_non_numeric_numbers: true,
            allow_numeric_leading_zeros: false,
            allow_unquoted_control_chars: false,
            allow_unquoted_field_names: false,
            allow_backslash_escaping_any_character: false,
            allow_comments: false,
            drop_field_if_all_null: false,
        }
    }
}

/// A version of Spark whose way is taken wherever it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compat {
    /// Spark 3.5.
    Spark35,
    /// Spark 4.
    Spark4,
}

impl Compat {
    /// The name in options and specs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compat::Spark35 => "spark-3.5",
            Compat::Spark4 => "spark-4",
        }
    }
}

/// Where Spark and this program differ, whose way it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semantics {
    /// The Spark whose sums, order of rows and texts are given; `None` is this program's own way.
    pub compat: Option<Compat>,
    /// `spark.sql.ansi.enabled`: a value that does not fit ends the run instead of being NULL.
    pub ansi: bool,
    /// `spark.sql.shuffle.partitions`, above 0; only of consequence to the order of rows.
    pub shuffle_partitions: u32,
    /// The state store whose order of rows is given in a compatibility mode.
    pub state_store: StateStore,
    /// `spark.sql.streaming.noDataMicroBatches.enabled`
    pub no_data_batches: bool,
    /// `spark.sql.legacy.timeParserPolicy`
    pub time_parser_policy: TimeParserPolicy,
}

impl Default for Semantics {
    fn default() -> Semantics {
        Semantics {
            compat: None,
            ansi: false,
            shuffle_partitions: 200,
            state_store: StateStore::Hdfs,
            no_data_batches: true,
            time_parser_policy: TimeParserPolicy::Corrected,
        }
    }
}

impl Semantics {
    /// The defaults of a version of Spark.
    #[must_use]
    pub fn of(compat: Compat) -> Semantics {
        let (ansi, time_parser_policy) = match compat {
            Compat::Spark35 => (false, TimeParserPolicy::Exception),
            Compat::Spark4 => (true, TimeParserPolicy::Corrected),
        };
        Semantics { compat: Some(compat), ansi, time_parser_policy, ..Semantics::default() }
    }
}

/// Spark's state store providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateStore {
    /// `HDFSBackedStateStoreProvider`, Spark's default: rows come in the order of a hash map.
    Hdfs,
    /// `RocksDBStateStoreProvider`: rows come in the order of their key's bytes.
    RocksDb,
}

/// What a text means that only Spark 2's parser would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeParserPolicy {
    /// It ends the run.
    Exception,
    /// It is NULL, as any text that does not parse.
    Corrected,
}

/// One aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Name of the result.
    pub name: String,
    /// What is computed.
    pub function: AggregateFunction,
    /// Over which column; `None` counts records (`count(*)`).
    pub column: Option<usize>,
    /// Type before the cast: what Spark gives `function` over that column's type.
    pub result_type: DataType,
    /// Type after the cast; the same as `result_type` where there is none.
    pub output_type: DataType,
}

/// The aggregate functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// Sum of the values that are not NULL; NULL if there is none.
    Sum,
    /// Number of values that are not NULL, or of records.
    Count,
    /// Least value that is not NULL.
    Min,
    /// Greatest value that is not NULL; NaN is the greatest double.
    Max,
    /// Sum over count of the values that are not NULL.
    Avg,
}

/// A column of the results.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputColumn {
    /// Name as printed.
    pub name: String,
    /// Where it comes from.
    pub source: OutputSource,
    /// Its type.
    pub data_type: DataType,
}

/// Where a column of the results comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputSource {
    /// A column of the schema (projections).
    Column(usize),
    /// The event time (projections).
    EventTime,
    /// Start of the window.
    WindowStart,
    /// End of the window.
    WindowEnd,
    /// Index into [`Aggregation::keys`].
    Key(usize),
    /// Index into [`Aggregation::aggregates`].
    Aggregate(usize),
    /// Index into [`Pipeline::computed`] (projections).
    Computed(usize),
}

/// Which rows a batch publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputMode {
    /// Each window once, when it closes.
    Append,
    /// Each group that the batch touched, with its new totals.
    Update,
    /// Every group there is; nothing is late and nothing closes.
    Complete,
}

impl OutputMode {
    /// The name in options, specs and progress.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OutputMode::Append => "append",
            OutputMode::Update => "update",
            OutputMode::Complete => "complete",
        }
    }
}

/// What happens on a record that cannot be read (Spark's `mode` of `from_json`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseMode {
    /// What cannot be read is NULL, counted.
    Permissive,
    /// The run ends, naming the record.
    FailFast,
    /// The record is left out, counted (the mode that Spark offers for files only).
    SkipMalformed,
}

/// A condition over the columns of one record, with SQL's three-valued logic.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// Index of a schema column.
    Column(usize),
    /// The event time.
    EventTime,
    /// A constant.
    Literal(Literal),
    /// `left op right`.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// `left op right` over numbers.
    Arithmetic(Arithmetic, Box<Expression>, Box<Expression>),
    /// `left AND right`.
    And(Box<Expression>, Box<Expression>),
    /// `left OR right`.
    Or(Box<Expression>, Box<Expression>),
    /// `NOT operand`.
    Not(Box<Expression>),
    /// `operand IS NULL`.
    IsNull(Box<Expression>),
    /// `operand IN (list)`.
    In(Box<Expression>, Vec<Expression>),
    /// `operand LIKE pattern`, with `%`, `_` and `\` as the escape.
    Like(Box<Expression>, String),
    /// `CASE WHEN condition THEN value … ELSE value END`.
    Case(Vec<(Expression, Expression)>, Option<Box<Expression>>),
    /// `operand RLIKE pattern`: whether a regular expression is found in a text.
    RLike(Box<Expression>, String),
    /// `CAST(operand AS type)`.
    Cast(Box<Expression>, DataType),
    /// `function(operands)`; the number of operands is the function's.
    Call(Function, Vec<Expression>),
    /// Whether the record has no JSON object at all: Spark's `data IS NULL` behind `from_json`.
    NoData,
}

/// Functions over the values of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `abs(number)`
    Abs,
    /// `coalesce(a, b, …)`: the first that is not NULL.
    Coalesce,
    /// `a || b || …`, `concat(a, b, …)`: texts behind each other; NULL if one is.
    Concat,
    /// `day(timestamp)`, in the session's zone like the others.
    Day,
    /// `hour(timestamp)`
    Hour,
    /// `isnan(number)`
    IsNan,
    /// `length(text)` in characters.
    Length,
    /// `lower(text)`
    Lower,
    /// `ltrim(text)`: without blanks at its begin.
    LeftTrim,
    /// `minute(timestamp)`
    Minute,
    /// `month(timestamp)`
    Month,
    /// `-number`
    Negate,
    /// `rtrim(text)`: without blanks at its end.
    RightTrim,
    /// `second(timestamp)`
    Second,
    /// `trim(text)`: without blanks around.
    Trim,
    /// `upper(text)`
    Upper,
    /// `year(timestamp)`
    Year,
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`; NaN equals NaN, as in Spark.
    Equal,
    /// `<>`
    NotEqual,
    /// `<`; NaN is greater than every number.
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<=>`: like `=`, but NULL equals NULL.
    NullSafeEqual,
}

/// Arithmetic operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`, always a double; NULL when dividing by zero.
    Divide,
    /// `%`; NULL when dividing by zero.
    Remainder,
}

/// A constant in an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// NULL.
    Null,
    /// true, false.
    Boolean(bool),
    /// A whole number.
    Long(i64),
    /// A number with a point or an exponent.
    Double(f64),
    /// `'text'`.
    String(String),
    /// `TIMESTAMP '2025-09-02 10:30:00'`.
    Timestamp(Timestamp),
}

impl StateStore {
    /// The name in specs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StateStore::Hdfs => "hdfs",
            StateStore::RocksDb => "rocksdb",
        }
    }
}

impl TimeParserPolicy {
    /// The name in specs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TimeParserPolicy::Exception => "exception",
            TimeParserPolicy::Corrected => "corrected",
        }
    }
}

impl Expression {
    /// Shows every part of the expression to `look`, itself first.
    pub fn visit(&self, look: &mut dyn FnMut(&Expression)) {
        look(self);
        match self {
            Expression::Column(_)
            | Expression::EventTime
            | Expression::Literal(_)
            | Expression::NoData => {}
            Expression::Compare(_, left, right)
            | Expression::Arithmetic(_, left, right)
            | Expression::And(left, right)
            | Expression::Or(left, right) => {
                left.visit(look);
                right.visit(look);
            }
            Expression::Not(operand)
            | Expression::IsNull(operand)
            | Expression::Like(operand, _)
            | Expression::RLike(operand, _)
            | Expression::Cast(operand, _) => operand.visit(look),
            Expression::Call(_, operands) => {
                operands.iter().for_each(|operand| operand.visit(look));
            }
            Expression::In(operand, list) => {
                operand.visit(look);
                list.iter().for_each(|item| item.visit(look));
            }
            Expression::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    condition.visit(look);
                    value.visit(look);
                }
                otherwise.iter().for_each(|value| value.visit(look));
            }
        }
    }
}

impl Pipeline {
    /// Whether batches keep state between them.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        matches!(self.query, Query::Aggregation(_)) || self.deduplication.is_some()
    }

    /// The columns of the results.
    #[must_use]
    pub fn output_columns(&self) -> Arc<[Column]> {
        self.output
            .iter()
            .map(|column| Column { name: column.name.clone(), data_type: column.data_type })
            .collect()
    }
}
