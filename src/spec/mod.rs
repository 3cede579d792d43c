//! Pipeline specs: the text a user writes, checked into a [`Pipeline`] that cannot be wrong.
//!
//! Pure: it is given text and gives back a value or errors with line and column; it reads no file and
//! no environment. A [`Pipeline`] only holds resolved things: columns are indices into the schema,
//! durations are numbers, types are checked. Start at [`parse()`].
//!
//! | file | what it knows |
//! |---|---|
//! | `pipeline` | what a checked pipeline is |
//! | `parse` | the sections of a spec; `document` reads TOML values, `windows`, `spark` and `run` their sections |
//! | `expression` | the condition of `where`; `sql` a whole query as SQL |
//! | `typing`, `time_format`, `durations`, `names`, `options` | single values, shared with the command line |
//! | `rules` | what must fit together, also after an option replaced a part |
//! | `identity` | what must stay the same while a checkpoint lives |
//! | `secrets` | the text as it may be kept |
//! | `presets` | the specs that are built in |
//! | `errors` | mistakes and their places |
//!
//! Not here: evaluating expressions (`decode`), aggregating (`window`), merging command line options
//! into a spec (`commands`).

mod document;
mod durations;
mod errors;
mod expression;
mod identity;
mod names;
mod options;
mod parse;
mod pipeline;
mod presets;
mod rules;
mod run;
mod secrets;
mod spark;
mod sql;
mod time_format;
mod timestamps;
mod typing;
mod windows;

pub use durations::{MAX_DURATION, format_duration, parse_duration, parse_interval};
pub use errors::{InvalidOption, Place, SpecError, SpecErrors};
pub use expression::{ReadExpression, parse_sparks_expression};
pub use names::{check_pipeline_name, check_topic_name};
pub use options::{
    DeadLetterSpec, MaxOffsets, MemoryLimit, ProgressSpec, SinkSpec, StartingOffset,
    StartingOffsets, Threads, Trigger, whole_milliseconds,
};
pub use parse::{Asked, Spec, parse, parse_for};
pub use pipeline::{
    Aggregate, AggregateFunction, Aggregation, Arithmetic, Comparison, Compat, Deduplication,
    DeduplicationScope, EventTime, Expression, Function, JsonOptions, Literal, OutputColumn,
    OutputMode, OutputSource, ParseMode, Pipeline, Query, Semantics, SessionGap, SlidingWindow,
    StateStore, TimeFormat, TimeParserPolicy, Window,
};
pub use presets::{PRESETS, preset};
pub use rules::Overrides;
pub use run::{KafkaSetting, RunOptions};
pub use secrets::without_secrets;
pub use spark::{SparkChoices, check_time_zone};
pub use timestamps::{StartingTimestamps, TimestampStrategy};
pub use typing::parse_data_type;
