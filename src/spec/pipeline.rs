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
    /// What is computed.
    pub query: Query,
    /// Columns of the results, in order.
    pub output: Vec<OutputColumn>,
    /// Which rows a batch publishes.
    pub output_mode: OutputMode,
    /// What happens on a record that cannot be read.
    pub parse_mode: ParseMode,
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
    /// The windows.
    pub window: TumblingWindow,
    /// Schema columns to group by, besides the window.
    pub keys: Vec<usize>,
    /// What is computed for each group, in the order they are named.
    pub aggregates: Vec<Aggregate>,
}

/// Windows `[start, start + duration)` that neither overlap nor leave gaps, aligned to 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingWindow {
    /// Length in microseconds, above 0.
    pub duration_us: i64,
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

impl Pipeline {
    /// Whether batches keep state between them.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        matches!(self.query, Query::Aggregation(_))
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
