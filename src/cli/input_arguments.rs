//! The options of the commands that make input and look at it: produce, consume, broker, topics,
//! pipeline.

use std::{num::NonZeroU64, time::Duration};

use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::{
    connect::ConnectArguments,
    values::{self, Events},
};
use crate::{
    broker::TopicSpec,
    producer::{Fraction, Rate, TimeScale},
    spec::PRESETS,
    types::Timestamp,
};

const PRODUCE_SALES_EXAMPLES: &str = "\
Event i has ts = start time + i x time scale / rate (an unlimited rate counts as 1000 a second).
Given a start time no clock enters, and the same options give the same bytes.

Examples:
  sales-stream produce sales                                     one sale a second, until Ctrl+C
  sales-stream produce sales --rate 100 --time-scale 60          an hour of sales in a minute
  sales-stream produce sales --events 1000000 --rate unlimited --seed 7 --stores 100 \\
      --time-scale 4 --out-of-order 20s --start-time 2025-09-02T08:00:00Z
  sales-stream produce sales --late-fraction 0.01 --malformed-fraction 0.01
  sales-stream produce sales --rate 100 --transaction-size 50 --abort-every 4";

/// What to produce.
#[derive(Debug, Subcommand)]
pub enum ProduceCommand {
    /// Sales as the pipeline `sales` reads them: {"store","item","price","ts"}, keyed by store
    ///
    /// Prices have two decimals, ts is in Unix seconds. Every record is acknowledged by all in-sync
    /// replicas; Ctrl+C ends with a one-line summary.
    #[command(after_long_help = PRODUCE_SALES_EXAMPLES)]
    Sales(ProduceSalesArguments),
    /// Bank transactions as the pipeline `transactions` reads them, keyed by user
    ///
    /// Fields transaction_id, user_id, amount, type, timestamp (local time), location. Says each on
    /// stdout; Ctrl+C ends with a one-line summary.
    Transactions(ProduceTransactionsArguments),
}

/// `produce sales`.
#[derive(Debug, Args)]
pub struct ProduceSalesArguments {
    /// Events a second, or unlimited
    #[arg(long, value_name = "N|unlimited", default_value = "1")]
    pub rate: Rate,
    /// Stop after this many events
    #[arg(long, value_name = "N|unlimited", default_value = "unlimited")]
    pub events: Events,
    /// How many stores sell: store-1 to store-N
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub stores: u32,
    /// Seed of everything random
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
    /// Move each event's time back by a random part of this
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = values::duration, allow_hyphen_values = true)]
    pub out_of_order: Duration,
    /// Share of events, from 0 to 1, that come 2 to 10 minutes late
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub late_fraction: Fraction,
    /// Share of records, from 0 to 1, that are no sale, in about a dozen ways
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub malformed_fraction: Fraction,
    /// Seconds of event time in a second of sending
    #[arg(long, value_name = "N", default_value = "1")]
    pub time_scale: TimeScale,
    /// Event time of the first event: 2025-09-02T08:00:00Z or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = values::parse_start_time)]
    pub start_time: Option<Timestamp>,
    /// Send in Kafka's transactions of so many events
    ///
    /// Readers see a transaction whole or not at all. The transactional id is made of topic and seed: a
    /// producer that begins again with the same ones ends what the one before left open, and shuts it
    /// out if it is still there.
    #[arg(long, value_name = "N")]
    pub transaction_size: Option<NonZeroU64>,
    /// Abort every Nth transaction: its events must never be counted
    #[arg(long, value_name = "N", requires = "transaction_size")]
    pub abort_every: Option<NonZeroU64>,
    /// The topic, which must be there
    #[arg(long, value_name = "TOPIC", default_value = "sales", help_heading = "Kafka")]
    pub topic: String,
    /// Where Kafka is.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Patience at the start.
    #[command(flatten)]
    pub patience: PatienceArguments,
}

/// `produce transactions`.
#[derive(Debug, Args)]
pub struct ProduceTransactionsArguments {
    /// Transactions a second, or unlimited
    #[arg(long, value_name = "N|unlimited", default_value = "0.5")]
    pub rate: Rate,
    /// Stop after this many transactions
    #[arg(long, value_name = "N|unlimited", default_value = "1000")]
    pub events: Events,
    /// Seed of everything random [default: from the clock]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Time of the first transaction: 2025-09-02T08:00:00Z or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = values::parse_start_time)]
    pub start_time: Option<Timestamp>,
    /// The topic, which must be there
    #[arg(
        long,
        value_name = "TOPIC",
        default_value = "real-time-transactions",
        help_heading = "Kafka"
    )]
    pub topic: String,
    /// Where Kafka is.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Patience at the start.
    #[command(flatten)]
    pub patience: PatienceArguments,
}

/// How long to wait for Kafka at the start.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub struct PatienceArguments {
    /// How long to wait for Kafka's first answer
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = values::duration, allow_hyphen_values = true,
        env = "SALES_STREAM_TIMEOUT"
    )]
    pub timeout: Duration,
}

const CONSUME_EXAMPLES: &str = "\
Nothing is committed to Kafka. A record without a value is printed as null.

Examples:
  sales-stream consume sales                              what arrives from now on, until Ctrl+C
  sales-stream consume sales --from-beginning --max 10    the first ten there are";

/// `consume`.
#[derive(Debug, Args)]
#[command(after_long_help = CONSUME_EXAMPLES)]
pub struct ConsumeArguments {
    /// The topic to print
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Begin with the oldest record instead of what arrives from now on
    #[arg(long)]
    pub from_beginning: bool,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,
    /// Print only this partition
    #[arg(long, value_name = "PARTITION", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Where Kafka is.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Patience at the start.
    #[command(flatten)]
    pub patience: PatienceArguments,
}

/// `broker`.
#[derive(Debug, Args)]
pub struct BrokerArguments {
    /// A topic to make; may be repeated [default: sales:3 and real-time-transactions:3]
    #[arg(long, value_name = "NAME[:PARTITIONS]")]
    pub topic: Vec<TopicSpec>,
}

/// What to do about topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create a topic and wait until it can be used
    Create(CreateTopicArguments),
    /// List the topics with their partitions
    List(ListTopicsArguments),
}

/// `topics create`.
#[derive(Debug, Args)]
pub struct CreateTopicArguments {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Number of partitions
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Copies of each partition [default: what the cluster says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub replication: Option<i32>,
    /// Be content with a topic that has another number of partitions
    #[arg(long)]
    pub if_not_exists: bool,
    /// Where Kafka is.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Patience.
    #[command(flatten)]
    pub patience: PatienceArguments,
}

/// `topics list`.
#[derive(Debug, Args)]
pub struct ListTopicsArguments {
    /// Where Kafka is.
    #[command(flatten)]
    pub connect: ConnectArguments,
    /// Patience.
    #[command(flatten)]
    pub patience: PatienceArguments,
}

/// What to do about pipeline specs.
#[derive(Debug, Subcommand)]
pub enum PipelineCommand {
    /// Print a built-in pipeline's spec, to be copied and changed
    ///
    /// sales-stream pipeline show sales > mine.toml
    Show {
        /// The pipeline
        #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(PRESETS.map(|(name, _)| name)))]
        name: String,
    },
    /// Check a spec: name every mistake with its line, or show what it means
    ///
    /// Prints the columns and types of the results, or every mistake with line, column and what would
    /// be right (exit 2).
    Check {
        /// The spec's file, - for stdin, or the name of a built-in pipeline
        #[arg(value_name = "FILE")]
        file: String,
    },
}
