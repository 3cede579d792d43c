//! The options of a run. Every field is what was typed or set in the environment, without a default.
//!
//! Not here: merging with a spec (`commands::run`).

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{connect::ConnectArguments, values};
use crate::{
    batch::Permission,
    sink::console::Truncate,
    spec::{
        Compat, DeadLetterSpec, MaxOffsets, MemoryLimit, OutputMode, ParseMode, ProgressSpec,
        SinkSpec, StartingOffsets, StartingTimestamps, Threads, TimestampStrategy, Trigger,
        check_time_zone,
    },
};

/// The options of a run.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArguments {
    /// What to run: sales, transactions, or the path of a spec [default: sales]
    ///
    /// `sales-stream pipeline show sales > mine.toml` gives you a spec to change, and
    /// `sales-stream pipeline check mine.toml` checks it.
    #[arg(
        long,
        value_name = "NAME|FILE.toml",
        env = "SALES_STREAM_PIPELINE",
        help_heading = "Pipeline"
    )]
    pub pipeline: Option<String>,
    /// Read this topic instead of the spec's
    #[arg(long, value_name = "TOPIC", env = "SALES_STREAM_TOPIC", help_heading = "Pipeline")]
    pub topic: Option<String>,
    /// Which rows a batch publishes: append, update or complete [default: append]
    ///
    /// append: each window once, when it closes. update: every group a batch touched, with its running
    /// total. complete: every group there is, each time.
    #[arg(long, value_name = "MODE", env = "SALES_STREAM_OUTPUT_MODE", help_heading = "Pipeline")]
    pub output_mode: Option<OutputMode>,
    /// How far the watermark follows behind the newest event, for example 30s [default: the spec's]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = values::signed_milliseconds,
        allow_hyphen_values = true,
        env = "SALES_STREAM_WATERMARK",
        help_heading = "Pipeline"
    )]
    pub watermark: Option<i64>,
    /// Do as this Spark does wherever it differs: spark-3.5 or spark-4 [default: our own way]
    ///
    /// Sums as doubles in Spark's order, its order of rows, its texts of numbers, its console, ANSI off
    /// (3.5) or on (4). Without it sums are exact and rows are sorted.
    #[arg(long, value_name = "SPARK", env = "SALES_STREAM_COMPAT", help_heading = "Pipeline")]
    pub compat: Option<Compat>,
    /// Zone of times that name none, when read and when printed [default: UTC]
    #[arg(
        long,
        value_name = "ZONE",
        value_parser = check_time_zone,
        env = "SALES_STREAM_SESSION_TIME_ZONE",
        help_heading = "Pipeline"
    )]
    pub session_time_zone: Option<String>,
    /// What a bad record does: permissive (counted) or failfast (exit 40) [default: permissive]
    #[arg(long, value_name = "MODE", env = "SALES_STREAM_MODE", help_heading = "Pipeline")]
    pub mode: Option<ParseMode>,
    /// Set events aside that are further ahead of the clock than this [default: off]
    ///
    /// Keeps one absurd timestamp from dragging the watermark so far that everything else is late.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = values::signed_milliseconds,
        allow_hyphen_values = true,
        env = "SALES_STREAM_MAX_FUTURE_SKEW",
        help_heading = "Pipeline"
    )]
    pub max_future_skew: Option<i64>,
    /// When and how much.
    #[command(flatten)]
    pub batches: BatchArguments,
    /// Where Kafka is.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Kafka, beyond where it is.
    #[command(flatten)]
    pub reading: ReadingArguments,
    /// State.
    #[command(flatten)]
    pub checkpoint: CheckpointArguments,
    /// Results.
    #[command(flatten)]
    pub sinks: SinkArguments,
}

/// When batches are cut, and how large they are.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Batches")]
pub struct BatchArguments {
    /// When a batch is cut: 10s, 0s, available-now, once [default: 10s]
    ///
    /// 10s: every ten seconds, aligned to the clock. 0s: as soon as there is data. available-now:
    /// everything that is there at the start, then exit 0. once: the same in one single batch.
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true, env = "SALES_STREAM_TRIGGER")]
    pub trigger: Option<Trigger>,
    /// Most records of one batch, or unlimited [default: 1000000, fewer under a small --memory-limit]
    ///
    /// A batch that turns out to take more than its part of --memory-limit is dropped and cut smaller.
    #[arg(long, value_name = "RECORDS", env = "SALES_STREAM_MAX_OFFSETS_PER_TRIGGER")]
    pub max_offsets_per_trigger: Option<MaxOffsets>,
    /// Fewest records of one batch, unless --max-trigger-delay has passed [default: 1]
    #[arg(long, value_name = "RECORDS", env = "SALES_STREAM_MIN_OFFSETS_PER_TRIGGER")]
    pub min_offsets_per_trigger: Option<u64>,
    /// How long --min-offsets-per-trigger may hold a batch back [default: 15m]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = values::duration,
        env = "SALES_STREAM_MAX_TRIGGER_DELAY"
    )]
    pub max_trigger_delay: Option<Duration>,
    /// How much memory the run may take: 1GiB, 512MiB, 2g, at least 96MiB [default: a quarter of the machine's]
    ///
    /// Client queues, state, the open batch and the database together. Windows and groups of keys alone that do
    /// not fit stay in the checkpoint and are read back where a batch needs them, which is slower. Sessions,
    /// deduplications and everything with --compat stay in memory: where they take too much, the run ends with
    /// exit 50 before the batch is written, and goes on from there with a larger limit. The most records of a
    /// batch are fewer under a small limit, unless --max-offsets-per-trigger says how many.
    #[arg(long, value_name = "BYTES", env = "SALES_STREAM_MEMORY_LIMIT")]
    pub memory_limit: Option<MemoryLimit>,
    /// Threads that decode and add up records, up to 64 [default: one for every two processors]
    ///
    /// The records of a partition go to one thread, so that no more are used than a topic has partitions; beside them
    /// one fetches for each broker and one writes. Large batches of windows and groups of keys are read so; small
    /// ones, sessions, deduplications, pipelines of rows and everything with --compat on a single one. Exact
    /// sums are the same with any number.
    #[arg(long, value_name = "THREADS", env = "SALES_STREAM_THREADS")]
    pub threads: Option<Threads>,
    /// Begin a new query at the first records of this time, in Unix milliseconds
    ///
    /// The time that Kafka keeps with each record, not the event time. Wins over
    /// --starting-offsets-by-timestamp, which wins over --starting-offsets.
    #[arg(long, value_name = "MS", env = "SALES_STREAM_STARTING_TIMESTAMP")]
    pub starting_timestamp: Option<i64>,
    /// The same for each partition, as Spark's JSON: {"sales":{"0":1756800000000}}
    #[arg(long, value_name = "JSON", env = "SALES_STREAM_STARTING_OFFSETS_BY_TIMESTAMP")]
    pub starting_offsets_by_timestamp: Option<StartingTimestamps>,
    /// What to do where no record is that late: error or latest [default: error]
    #[arg(
        long,
        value_name = "STRATEGY",
        env = "SALES_STREAM_STARTING_OFFSETS_BY_TIMESTAMP_STRATEGY"
    )]
    pub starting_offsets_by_timestamp_strategy: Option<TimestampStrategy>,
    /// Where a new query begins: latest, earliest or JSON [default: latest]
    ///
    /// As Spark's: {"sales":{"0":123,"1":-2}}, where -2 is earliest and -1 is latest. Only counts while
    /// there is no checkpoint; afterwards positions come from it alone.
    #[arg(long, value_name = "OFFSETS", env = "SALES_STREAM_STARTING_OFFSETS")]
    pub starting_offsets: Option<StartingOffsets>,
}

/// How Kafka is read, besides where it is.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Kafka")]
pub struct ReadingArguments {
    /// Consumer group that offsets are committed to [default: sales-stream-PIPELINE]
    ///
    /// For lag tools, and as a witness of how far this got; positions are never read from it.
    #[arg(long, value_name = "GROUP", env = "SALES_STREAM_GROUP_ID")]
    pub group_id: Option<String>,
    /// Whether losing records that were not read yet ends the run [default: true]
    ///
    /// true: exit 20, with the range that is lost. false: as Spark goes on, from the earliest record that
    /// is left, or from the end of a log that was cut off or of a topic made again; the range is
    /// logged, and its offsets are counted as lost.
    #[arg(
        long,
        value_name = "true|false",
        hide_possible_values = true,
        env = "SALES_STREAM_FAIL_ON_DATA_LOSS"
    )]
    pub fail_on_data_loss: Option<bool>,
    /// Give up with exit 22 when no broker answers within this time [default: keep trying]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = values::duration,
        allow_hyphen_values = true,
        env = "SALES_STREAM_STARTUP_TIMEOUT"
    )]
    pub startup_timeout: Option<Duration>,
    /// How long the end of a run may wait for its last batch and commit [default: 30s]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = values::duration,
        allow_hyphen_values = true,
        env = "SALES_STREAM_SHUTDOWN_TIMEOUT"
    )]
    pub shutdown_timeout: Option<Duration>,
}

/// Where state lives, and what a start may do once.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Checkpoint")]
pub struct CheckpointArguments {
    /// Where state lives, in a folder for each pipeline [default: ./checkpoints]
    #[arg(long, value_name = "DIR", env = "SALES_STREAM_CHECKPOINT_DIR")]
    pub checkpoint_dir: Option<PathBuf>,
    /// Let an empty checkpoint begin although the consumer group knows an earlier history
    ///
    /// A permission for one loss: left in the command it does nothing at the next one, which asks for
    /// --start-over=LINEAGE, naming the history that is given up. In the environment: true, or the
    /// lineage.
    #[arg(
        long,
        value_name = "LINEAGE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = values::permission,
        env = "SALES_STREAM_START_OVER"
    )]
    pub start_over: Option<Permission>,
    /// Let a restored, older checkpoint go on although later batches were seen
    ///
    /// A permission for one rollback: left in the command it does nothing at the next one, which asks
    /// for --accept-rollback=LINEAGE, naming the history that is given up. Batches that are computed
    /// again are published again; files of the ones they replace are moved to DIR/_rolled_back/. In the
    /// environment: true, or the lineage.
    #[arg(
        long,
        value_name = "LINEAGE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = values::permission,
        env = "SALES_STREAM_ACCEPT_ROLLBACK"
    )]
    pub accept_rollback: Option<Permission>,
}

/// Where results go.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sinks")]
pub struct SinkArguments {
    /// Where results go: console, files:DIR or none; may be repeated [default: console]
    ///
    /// files:DIR holds each result exactly once, one JSON-lines file a batch; the console shows each
    /// batch at least once; none keeps state and offsets only.
    #[arg(long, value_name = "SINK", value_delimiter = '\n', env = "SALES_STREAM_SINK")]
    pub sink: Vec<SinkSpec>,
    /// Write a line of JSON for each batch: jsonl:FILE (appended) or stderr [default: off]
    ///
    /// The keys are those of Spark's StreamingQueryProgress; what is ours stands under salesStream.
    #[arg(long, value_name = "PLACE", env = "SALES_STREAM_PROGRESS")]
    pub progress: Option<ProgressSpec>,
    /// Keep late and malformed records, with the reason, in files:DIR [default: only counted]
    #[arg(long, value_name = "files:DIR", env = "SALES_STREAM_DEAD_LETTER")]
    pub dead_letter: Option<DeadLetterSpec>,
    /// Rows of a batch that the console shows at most [default: 20]
    #[arg(long, value_name = "ROWS", env = "SALES_STREAM_NUM_ROWS")]
    pub num_rows: Option<u64>,
    /// Show each row as a block of its own, a column a line
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        default_missing_value = "true",
        hide_possible_values = true,
        env = "SALES_STREAM_VERTICAL"
    )]
    pub vertical: Option<bool>,
    /// Whether the console cuts long cells: true (20 characters), false, or a number [default: false]
    #[arg(
        long,
        value_name = "true|false|N",
        num_args = 0..=1,
        default_missing_value = "true",
        env = "SALES_STREAM_TRUNCATE"
    )]
    pub truncate: Option<Truncate>,
}
