//! Pipeline specs: the text a user writes, checked into a [`Pipeline`] that cannot be wrong.
//!
//! Pure: it is given text and gives back a value or errors with line and column; it reads no file and
//! no environment. A [`Pipeline`] only holds resolved things: columns are indices into the schema,
//! durations are numbers, types are checked. Start at [`parse`].
//!
//! Not here: evaluating expressions (`decode`), aggregating (`window`), merging command line options
//! into a spec (`commands`).

mod pipeline;

pub use pipeline::{
    Aggregate, AggregateFunction, Aggregation, Arithmetic, Comparison, EventTime, Expression,
    Literal, OutputColumn, OutputMode, OutputSource, ParseMode, Pipeline, Query, TimeFormat,
    TumblingWindow,
};
