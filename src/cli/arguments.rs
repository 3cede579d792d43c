//! Everything that can be typed. Options without a value here are filled in by `commands`: from the
//! spec, then from the default that their help names.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    broker::TopicSpec,
    producer::{Fraction, Rate, TimeScale},
    sink::console::Truncate,
    spec::{
        DeadLetterSpec, MaxOffsets, OutputMode, ParseMode, SinkSpec, StartingOffsets, Trigger,
        parse_duration, whole_milliseconds,
    },
    types::Timestamp,
};

const AFTER_HELP: &str = "\
Examples:
  sales-stream demo                                         see it work, with nothing installed
  sales-stream --checkpoint-dir ./checkpoints               run the pipeline `sales` against localhost:9092
  sales-stream --pipeline mine.toml --trigger available-now --sink files:out
  sales-stream produce sales --rate 100                     make sales to read
  sales-stream inspect --checkpoint-dir ./checkpoints       look inside, also while it runs

Every option has an environment variable and a place in the spec; a flag wins over the environment, the
environment over the spec. Results go to stdout, everything else to stderr.

Exit codes: 0 clean, 2 usage or spec, 10 checkpoint in use, 11 damaged, 12 of another pipeline, 13 older
than what was seen of it, 14 storage failed, 20 source lost data, 21 source refused, 22 no broker,
30 sink refused, 40 bad record in failfast mode, 130/143 ended by a signal before it was done, 1 other.";

/// A fault-tolerant stream processor: JSON events from Kafka, summed in event-time windows,
/// checkpointed every trigger, resumed exactly after any crash.
///
/// Without a command it runs a pipeline.
#[derive(Debug, Parser)]
#[command(name = "sales-stream", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do; without one, a pipeline is run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of a run.
    #[command(flatten)]
    pub run: Box<RunArguments>,
    /// How much to log: error, warn, info, debug, trace (RUST_LOG says it in detail)
    #[arg(long, global = true, default_value = "info", env = "SALES_STREAM_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: String,
    /// How to log
    #[arg(long, global = true, default_value = "text", env = "SALES_STREAM_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write seeded events to Kafka
    #[command(subcommand)]
    Produce(ProduceCommand),
    /// Print the records of a topic as they are, one a line
    Consume(ConsumeArguments),
    /// Run an embedded Kafka-protocol broker for trying things out (memory only, about 5 MB a partition)
    Broker(BrokerArguments),
    /// See it all work: broker, producer, processor, kill -9, restart, and a proof, in under a minute
    Demo,
    /// Create or list topics
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Show what is in a checkpoint; works offline and beside a live process
    Inspect(InspectArguments),
    /// Take care of checkpoints: list, verify, backup, restore
    #[command(subcommand)]
    Checkpoints(CheckpointsCommand),
    /// Print or check pipeline specs
    #[command(subcommand)]
    Pipeline(PipelineCommand),
}

/// How to reach Kafka.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub struct ConnectArguments {
    /// Kafka's addresses, separated by commas [default: localhost:9092]
    #[arg(long, env = "SALES_STREAM_BROKERS", value_name = "HOST:PORT")]
    pub brokers: Option<String>,
    /// A setting of librdkafka, such as security.protocol=SASL_SSL; may be given several times
    #[arg(long, value_name = "KEY=VALUE", env = "SALES_STREAM_KAFKA_OPTIONS", hide_env_values = true, value_delimiter = ';')]
    pub kafka_option: Vec<String>,
    /// Allow librdkafka settings that load code or run commands
    #[arg(long, env = "SALES_STREAM_ALLOW_UNSAFE_KAFKA_OPTIONS")]
    pub allow_unsafe_kafka_options: bool,
}

/// The options of a run.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// What to compute: sales, transactions, or a file [default: sales]
    #[arg(long, env = "SALES_STREAM_PIPELINE", value_name = "NAME|FILE.toml", help_heading = "Pipeline")]
    pub pipeline: Option<String>,
    /// Read this topic instead of the spec's
    #[arg(long, env = "SALES_STREAM_TOPIC", help_heading = "Pipeline")]
    pub topic: Option<String>,
    /// Which rows a batch publishes: append, update, complete [default: append]
    #[arg(long, env = "SALES_STREAM_OUTPUT_MODE", value_name = "MODE", help_heading = "Pipeline")]
    pub output_mode: Option<OutputMode>,
    /// Delay of the watermark, in place of the spec's
    #[arg(long, env = "SALES_STREAM_WATERMARK", value_name = "DURATION", value_parser = milliseconds, help_heading = "Pipeline")]
    pub watermark: Option<i64>,
    /// What a record that cannot be read does: permissive counts it, failfast ends the run (40) [default: permissive]
    #[arg(long, env = "SALES_STREAM_MODE", value_name = "MODE", help_heading = "Pipeline")]
    pub mode: Option<ParseMode>,
    /// Set aside events whose time is further than this ahead of the clock [default: off]
    #[arg(long, env = "SALES_STREAM_MAX_FUTURE_SKEW", value_name = "DURATION", value_parser = milliseconds, help_heading = "Pipeline")]
    pub max_future_skew: Option<i64>,

    /// How to reach Kafka.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Where a new query starts: latest, earliest, or {"sales":{"0":123,"1":-2}} [default: latest]
    #[arg(long, env = "SALES_STREAM_STARTING_OFFSETS", value_name = "WHERE", help_heading = "Kafka")]
    pub starting_offsets: Option<StartingOffsets>,
    /// The consumer group that offsets are committed to, never read from [default: sales-stream-PIPELINE]
    #[arg(long, env = "SALES_STREAM_GROUP_ID", value_name = "GROUP", help_heading = "Kafka")]
    pub group_id: Option<String>,
    /// Whether data that is gone before it was read ends the run (20); only true for now [default: true]
    #[arg(long, env = "SALES_STREAM_FAIL_ON_DATA_LOSS", value_name = "BOOL", help_heading = "Kafka")]
    pub fail_on_data_loss: Option<bool>,
    /// Give up (22) when no broker answers at the start for so long [default: wait for ever]
    #[arg(long, env = "SALES_STREAM_STARTUP_TIMEOUT", value_name = "DURATION", value_parser = duration, help_heading = "Kafka")]
    pub startup_timeout: Option<Duration>,

    /// When batches are cut: 10s (aligned to the clock), 0s (as soon as there is data), available-now [default: 10s]
    #[arg(long, env = "SALES_STREAM_TRIGGER", value_name = "WHEN", help_heading = "Batches")]
    pub trigger: Option<Trigger>,
    /// How many records a batch takes at most, or unlimited [default: 1000000]
    #[arg(long, env = "SALES_STREAM_MAX_OFFSETS_PER_TRIGGER", value_name = "N", help_heading = "Batches")]
    pub max_offsets_per_trigger: Option<MaxOffsets>,
    /// How long a stop may wait for the last batch and its commit [default: 30s]
    #[arg(long, env = "SALES_STREAM_SHUTDOWN_TIMEOUT", value_name = "DURATION", value_parser = duration, help_heading = "Batches")]
    pub shutdown_timeout: Option<Duration>,

    /// Where results go: console, files:DIR, none; may be given several times [default: console]
    #[arg(long, env = "SALES_STREAM_SINK", value_name = "SINK", value_delimiter = ',', help_heading = "Sinks")]
    pub sink: Vec<SinkSpec>,
    /// Keep late and malformed records: files:DIR [default: they are counted only]
    #[arg(long, env = "SALES_STREAM_DEAD_LETTER", value_name = "SINK", help_heading = "Sinks")]
    pub dead_letter: Option<DeadLetterSpec>,
    /// Rows the console shows of a batch at most [default: 20]
    #[arg(long, env = "SALES_STREAM_NUM_ROWS", value_name = "N", help_heading = "Sinks")]
    pub num_rows: Option<u64>,
    /// Cut the console's cells: true (20 characters), a number, or false [default: false]
    #[arg(long, env = "SALES_STREAM_TRUNCATE", value_name = "BOOL|N", num_args = 0..=1, default_missing_value = "true", help_heading = "Sinks")]
    pub truncate: Option<Truncate>,

    /// The folder that keeps state, one sub-folder a pipeline [default: ./checkpoints]
    #[arg(long, env = "SALES_STREAM_CHECKPOINT_DIR", value_name = "DIR", help_heading = "Checkpoint")]
    pub checkpoint_dir: Option<PathBuf>,
    /// Let an empty checkpoint directory begin although Kafka knows an earlier history of this pipeline
    #[arg(long, env = "SALES_STREAM_START_OVER", help_heading = "Checkpoint")]
    pub start_over: bool,
    /// Go on from a checkpoint that is older than what Kafka or a sink has seen (a restored backup)
    #[arg(long, env = "SALES_STREAM_ACCEPT_ROLLBACK", help_heading = "Checkpoint")]
    pub accept_rollback: bool,
}

/// `produce`
#[derive(Debug, Subcommand)]
pub enum ProduceCommand {
    /// Sales: {"store","item","price","ts"}, keyed by store, one a second by default
    Sales(ProduceSalesArguments),
    /// Bank transactions of six fields, one every 2 seconds, 1000 of them by default
    Transactions(ProduceTransactionsArguments),
}

/// `produce sales`
#[derive(Debug, Args)]
pub struct ProduceSalesArguments {
    /// How to reach Kafka.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// The topic
    #[arg(long, default_value = "sales")]
    pub topic: String,
    /// Events a second, or unlimited
    #[arg(long, default_value = "1", value_name = "N|unlimited")]
    pub rate: Rate,
    /// End after so many events [default: go on until Ctrl+C]
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// Number of stores
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub stores: u32,
    /// Seed of everything random: with a start time, the same seed gives the same bytes
    #[arg(long, default_value_t = 42, value_name = "S")]
    pub seed: u64,
    /// Move each event's time back by a random part of this
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = duration)]
    pub out_of_order: Duration,
    /// Share of events that come minutes late (0 to 1)
    #[arg(long, default_value = "0", value_name = "SHARE")]
    pub late_fraction: Fraction,
    /// Share of records that are no sales at all (0 to 1)
    #[arg(long, default_value = "0", value_name = "SHARE")]
    pub malformed_fraction: Fraction,
    /// Seconds of event time in a second (in 1000 events where the rate is unlimited)
    #[arg(long, default_value = "1", value_name = "FACTOR")]
    pub time_scale: TimeScale,
    /// Event time of the first event: 2025-09-02T08:00:00Z or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub start_time: Option<Timestamp>,
}

/// `produce transactions`
#[derive(Debug, Args)]
pub struct ProduceTransactionsArguments {
    /// How to reach Kafka.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// The topic
    #[arg(long, default_value = "real-time-transactions")]
    pub topic: String,
    /// Transactions a second, or unlimited
    #[arg(long, default_value = "0.5", value_name = "N|unlimited")]
    pub rate: Rate,
    /// End after so many
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub events: u64,
    /// Seed of everything random [default: from the clock]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Time of the first one: 2025-09-02T08:00:00Z or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub start_time: Option<Timestamp>,
}

/// `consume`
#[derive(Debug, Args)]
pub struct ConsumeArguments {
    /// The topic
    pub topic: String,
    /// How to reach Kafka.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Start with the oldest record instead of the next new one
    #[arg(long)]
    pub from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,
    /// Only this partition
    #[arg(long, value_name = "P")]
    pub partition: Option<i32>,
}

/// `broker`
#[derive(Debug, Args)]
pub struct BrokerArguments {
    /// A topic with its partitions, such as sales:3; may be given several times
    /// [default: sales:3 and real-time-transactions:3]
    #[arg(long, value_name = "NAME:PARTITIONS")]
    pub topic: Vec<TopicSpec>,
}

/// `topics`
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create a topic
    Create {
        /// Its name
        name: String,
        /// How many partitions
        #[arg(long, default_value_t = 3, value_name = "N")]
        partitions: i32,
        /// How many copies of each [default: the cluster's]
        #[arg(long, value_name = "N")]
        replication: Option<i32>,
        /// Be content with a topic that has another number of partitions
        #[arg(long)]
        if_not_exists: bool,
        /// How to reach Kafka.
        #[command(flatten)]
        connect: ConnectArguments,
    },
    /// List topics with their partitions
    List {
        /// How to reach Kafka.
        #[command(flatten)]
        connect: ConnectArguments,
    },
}

/// Which checkpoint.
#[derive(Clone, Debug, Args)]
pub struct StateArguments {
    /// The folder that keeps state
    #[arg(long, default_value = "./checkpoints", env = "SALES_STREAM_CHECKPOINT_DIR", value_name = "DIR")]
    pub checkpoint_dir: PathBuf,
    /// Which pipeline's, where the folder holds several
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
}

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Which checkpoint.
    #[command(flatten)]
    pub state: StateArguments,
    /// How to reach Kafka, for ends and lag.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Show the groups of the window that starts then: 2025-09-02T10:30:00Z or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub window: Option<Timestamp>,
    /// Show the groups with this key
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// Print everything as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `checkpoints`
#[derive(Debug, Subcommand)]
pub enum CheckpointsCommand {
    /// List the batches that history holds
    List(StateArguments),
    /// Read every value and checksum, the chain of digests and the announce file; exit 11 on damage
    Verify(StateArguments),
    /// Write a copy that stands on its own
    Backup(BackupArguments),
    /// Put a backup in place of a missing checkpoint
    Restore(RestoreArguments),
}

/// `checkpoints backup`
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Where to; must be empty or not there
    pub to: PathBuf,
    /// Which checkpoint.
    #[command(flatten)]
    pub state: StateArguments,
}

/// `checkpoints restore`
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The backup
    pub from: PathBuf,
    /// Which checkpoint.
    #[command(flatten)]
    pub state: StateArguments,
    /// Let the next run go on from it although Kafka or a sink has seen newer batches
    #[arg(long)]
    pub accept_rollback: bool,
}

/// `pipeline`
#[derive(Debug, Subcommand)]
pub enum PipelineCommand {
    /// Print the text of a preset (sales, transactions), to be copied and changed
    Show {
        /// Which one
        name: String,
    },
    /// Check a spec; every mistake is named with its line (exit 2)
    Check {
        /// The file, or - for stdin
        file: String,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn milliseconds(text: &str) -> Result<i64, String> {
    let milliseconds = whole_milliseconds(text).map_err(|error| error.to_string())?;
    i64::try_from(milliseconds).map_err(|_| format!("{text:?} is too long"))
}

/// RFC 3339 or Unix seconds.
fn instant(text: &str) -> Result<Timestamp, String> {
    let micros = match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1_000_000),
        Err(_) => text.parse::<jiff::Timestamp>().ok().map(|at| at.as_microsecond()),
    };
    micros
        .map(Timestamp)
        .ok_or_else(|| format!("{text:?} is no time; write 2025-09-02T08:00:00Z or Unix seconds"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(instant("2025-09-02T08:00:00Z"), Ok(Timestamp(1_756_800_000_000_000)));
        assert_eq!(instant("1756800000"), Ok(Timestamp(1_756_800_000_000_000)));
        assert!(instant("yesterday").is_err());
    }
}
