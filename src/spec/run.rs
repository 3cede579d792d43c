//! The table `[run]`: how a pipeline is run, where its spec says so.
//!
//! Every value is optional, so that whoever merges it with a command line can tell what was said.
//! `output_mode`, `mode` and `max_future_skew` also stand in `[run]`, but they are meaning: they
//! become fields of the [`Pipeline`](super::Pipeline).
//!
//! Not here: defaults (`cli`), merging (`commands`).

use std::fmt;
use std::path::PathBuf;

use toml::de::DeValue;

use super::document::{RUN_KEYS, Section, described, noted, text_of, unsigned_of};
use super::errors::{InvalidOption, Mistakes};
use super::options::{
    DeadLetterSpec, MaxOffsets, MemoryLimit, ProgressSpec, SinkSpec, StartingOffsets, Threads,
    Trigger, whole_milliseconds,
};
use super::pipeline::{OutputMode, ParseMode};
use super::timestamps::{StartingTimestamps, TimestampStrategy};

/// What a spec says about running it; `None` is "nothing said".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// When batches are cut.
    pub trigger: Option<Trigger>,
    /// Where results go, at least one sink.
    pub sinks: Option<Vec<SinkSpec>>,
    /// Where late and malformed records are kept.
    pub dead_letter: Option<DeadLetterSpec>,
    /// Where a new query starts.
    pub starting_offsets: Option<StartingOffsets>,
    /// The most records of a batch.
    pub max_offsets_per_trigger: Option<MaxOffsets>,
    /// Kafka's `bootstrap.servers`.
    pub brokers: Option<String>,
    /// Consumer group that offsets are committed to.
    pub group_id: Option<String>,
    /// Rows of a batch that the console shows.
    pub num_rows: Option<u64>,
    /// Whether the console cuts texts to 20 characters.
    pub truncate: Option<bool>,
    /// Whether each row is shown as a block of its own.
    pub vertical: Option<bool>,
    /// Fewest records of one batch, while `max_trigger_delay` has not passed.
    pub min_offsets_per_trigger: Option<u64>,
    /// How long `min_offsets_per_trigger` may hold a batch back, in milliseconds.
    pub max_trigger_delay_ms: Option<u64>,
    /// How much memory the run may take.
    pub memory_limit: Option<MemoryLimit>,
    /// How many threads decode and add up records.
    pub threads: Option<Threads>,
    /// Where a new query starts, as times of records; these win over `starting_offsets`.
    pub starting_timestamps: Option<StartingTimestamps>,
    /// What to do where no record is that late.
    pub timestamp_strategy: Option<TimestampStrategy>,
    /// Where progress is reported.
    pub progress: Option<ProgressSpec>,
    /// Whether records that were lost before they were read end the run.
    pub fail_on_data_loss: Option<bool>,
    /// Where state lives; a relative path starts at the working directory of the process.
    pub checkpoint_dir: Option<PathBuf>,
    /// How long to wait for a broker at the start, in milliseconds.
    pub startup_timeout_ms: Option<u64>,
    /// How long an ordered shutdown may take, in milliseconds.
    pub shutdown_timeout_ms: Option<u64>,
    /// Settings for librdkafka by its own names, in the order of the text. May hold secrets.
    pub kafka: Vec<KafkaSetting>,
}

/// One setting for librdkafka. Its `Debug` keeps the value to itself: it may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSetting {
    /// librdkafka's name, like `security.protocol`.
    pub name: String,
    /// The value as librdkafka takes it.
    pub value: String,
}

impl fmt::Debug for KafkaSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

/// What `[run]` says that belongs to the pipeline itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunMeaning {
    pub(super) output_mode: Option<OutputMode>,
    pub(super) parse_mode: Option<ParseMode>,
    pub(super) max_future_skew_ms: Option<i64>,
}

/// Reads `[run]`.
pub(super) fn read_run(
    run: Section<'_, '_>,
    topic: Option<&str>,
    mistakes: &mut Mistakes<'_>,
) -> (RunOptions, RunMeaning) {
    run.check_keys(RUN_KEYS, mistakes);
    let meaning = RunMeaning {
        output_mode: run.parsed("output_mode", mistakes),
        parse_mode: run.parsed("mode", mistakes),
        max_future_skew_ms: run
            .duration("max_future_skew", whole_milliseconds, mistakes)
            .map(milliseconds),
    };
    let options = RunOptions {
        trigger: run.duration("trigger", str::parse, mistakes),
        sinks: read_sinks(run, mistakes),
        dead_letter: run.parsed("dead_letter", mistakes),
        starting_offsets: read_starting_offsets(run, topic, mistakes),
        max_offsets_per_trigger: read_max_offsets(run, mistakes),
        min_offsets_per_trigger: run.unsigned("min_offsets_per_trigger", mistakes),
        max_trigger_delay_ms: run.duration("max_trigger_delay", whole_milliseconds, mistakes),
        memory_limit: read_memory_limit(run, mistakes),
        threads: read_threads(run, mistakes),
        starting_timestamps: read_starting_timestamps(run, topic, mistakes),
        timestamp_strategy: run.parsed("starting_offsets_by_timestamp_strategy", mistakes),
        progress: run.parsed("progress", mistakes),
        brokers: run.read_with("brokers", not_empty, mistakes),
        group_id: run.read_with("group_id", not_empty, mistakes),
        num_rows: run.unsigned("num_rows", mistakes),
        truncate: run.boolean("truncate", mistakes),
        vertical: run.boolean("vertical", mistakes),
        fail_on_data_loss: run.boolean("fail_on_data_loss", mistakes),
        checkpoint_dir: run.read_with("checkpoint_dir", not_empty, mistakes).map(PathBuf::from),
        startup_timeout_ms: run.duration("startup_timeout", whole_milliseconds, mistakes),
        shutdown_timeout_ms: run.duration("shutdown_timeout", whole_milliseconds, mistakes),
        kafka: read_kafka(run, mistakes),
    };
    (options, meaning)
}

/// A duration of this room as the signed number that is subtracted from times.
pub(super) fn milliseconds(duration_ms: u64) -> i64 {
    i64::try_from(duration_ms).expect("the longest duration fits")
}

fn not_empty(text: &str) -> Result<String, InvalidOption> {
    if text.trim().is_empty() {
        return Err(InvalidOption("it is empty; write a value, or leave the key out".to_owned()));
    }
    Ok(text.to_owned())
}

fn read_sinks(run: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<Vec<SinkSpec>> {
    let values = run.array("sinks", "sinks = [\"console\"]", mistakes)?;
    let mut sinks: Vec<SinkSpec> = Vec::new();
    for value in values {
        let Some(text) = text_of("a sink", value, mistakes) else { continue };
        match noted(text.offset, text.value.parse(), mistakes) {
            Some(sink) if sinks.contains(&sink) => {
                mistakes.note(text.offset, format!("sink {:?} is there twice", text.value));
            }
            Some(sink) => sinks.push(sink),
            None => {}
        }
    }
    if values.is_empty() {
        let offset = run.offset_of("sinks");
        mistakes.note(offset, "sinks is empty; write [\"none\"] to publish nothing");
    }
    Some(sinks)
}

fn read_starting_offsets(
    run: Section<'_, '_>,
    topic: Option<&str>,
    mistakes: &mut Mistakes<'_>,
) -> Option<StartingOffsets> {
    let offsets: StartingOffsets = run.parsed("starting_offsets", mistakes)?;
    if let Some(topic) = topic {
        noted(run.offset_of("starting_offsets"), offsets.check_topic(topic), mistakes)?;
    }
    Some(offsets)
}

/// `starting_timestamp` comes before `starting_offsets_by_timestamp`, as in Spark.
fn read_starting_timestamps(
    run: Section<'_, '_>,
    topic: Option<&str>,
    mistakes: &mut Mistakes<'_>,
) -> Option<StartingTimestamps> {
    let all = run.unsigned("starting_timestamp", mistakes).and_then(|ms| i64::try_from(ms).ok());
    let timestamps = match all {
        Some(timestamp_ms) => StartingTimestamps::All(timestamp_ms),
        None => run.parsed("starting_offsets_by_timestamp", mistakes)?,
    };
    if let Some(topic) = topic {
        let offsets =
            StartingOffsets::ByTimestamp(timestamps.clone(), TimestampStrategy::default());
        let place = run.offset_of("starting_offsets_by_timestamp");
        noted(place, offsets.check_topic(topic), mistakes)?;
    }
    Some(timestamps)
}

/// A number, or a text with one or with `unlimited`.
fn read_max_offsets(run: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<MaxOffsets> {
    const KEY: &str = "max_offsets_per_trigger";
    let value = run.value(KEY)?;
    if !value.get_ref().is_integer() {
        return run.parsed(KEY, mistakes);
    }
    let limit = unsigned_of(value.get_ref()).filter(|limit| *limit > 0);
    if limit.is_none() {
        mistakes
            .note(value.span().start, format!("{KEY} is a whole number from 1, or \"unlimited\""));
    }
    limit.map(MaxOffsets::Limited)
}

fn read_threads(run: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<Threads> {
    let value = run.value("threads")?;
    let number = unsigned_of(value.get_ref());
    let number =
        number.map_or_else(|| described(value.get_ref()).to_owned(), |number| number.to_string());
    noted(value.span().start, number.parse(), mistakes)
}

/// A number of bytes, or a text with its unit.
fn read_memory_limit(run: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<MemoryLimit> {
    const KEY: &str = "memory_limit";
    let value = run.value(KEY)?;
    if !value.get_ref().is_integer() {
        return run.parsed(KEY, mistakes);
    }
    let bytes = mistakes.text()[value.span()].to_owned();
    noted(value.span().start, bytes.parse(), mistakes)
}

/// `[run.kafka]`: texts, numbers and true or false, all as the text librdkafka takes.
fn read_kafka(run: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Vec<KafkaSetting> {
    let Some(kafka) = run.section("kafka", "[run.kafka]", mistakes) else { return Vec::new() };
    let mut settings = Vec::new();
    for (key, value) in kafka.entries() {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Integer(_) | DeValue::Float(_) => {
                mistakes.text()[value.span()].replace('_', "")
            }
            DeValue::Table(_) => {
                // `security.protocol = …` without quotes is a table to TOML.
                let name = key.value;
                mistakes.note(
                    key.offset,
                    format!(
                        "{name} is a table; put the whole name in quotes, like \"{name}.…\" = …"
                    ),
                );
                continue;
            }
            other => {
                let found = described(other);
                mistakes.note(
                    value.span().start,
                    format!("{:?} is a text, a number, true or false, not {found}", key.value),
                );
                continue;
            }
        };
        settings.push(KafkaSetting { name: key.value.to_owned(), value: text });
    }
    settings
}
