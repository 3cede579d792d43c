//! Values that a spec's `[run]` and the command line share, each read by `FromStr` and written back
//! by `Display` in its canonical form.
//!
//! Not here: which option has which default (`cli`), the table `[run]` (`run`).

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::durations::{format_duration, parse_duration};
use super::errors::{InvalidOption, suggestion};
use super::names::check_topic_name;
use super::pipeline::{Compat, OutputMode, ParseMode, StateStore, TimeParserPolicy};
use super::timestamps::{StartingTimestamps, TimestampStrategy};
use crate::types::{Offset, Partition};

/// When batches are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At most one batch an interval, aligned to 1970; zero: as soon as there is data.
    ProcessingTime {
        /// The interval in milliseconds.
        interval_ms: u64,
    },
    /// Everything that is there at the start, then the end.
    AvailableNow,
    /// Everything that is there at the start in one batch, whatever its size, then the end.
    Once,
}

impl FromStr for Trigger {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "available-now" {
            return Ok(Trigger::AvailableNow);
        }
        if text == "once" {
            return Ok(Trigger::Once);
        }
        let hint = suggestion(text, ["available-now", "once"]);
        let interval = whole_milliseconds(text).map_err(|error| {
            InvalidOption(format!(
                "a trigger is a duration like 10s, 0s for batches as soon as there is data, \
                 available-now, or once: {error}{hint}"
            ))
        })?;
        Ok(Trigger::ProcessingTime { interval_ms: interval })
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::ProcessingTime { interval_ms } => {
                f.write_str(&format_duration(Duration::from_millis(*interval_ms)))
            }
            Trigger::AvailableNow => f.write_str("available-now"),
            Trigger::Once => f.write_str("once"),
        }
    }
}

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkSpec {
    /// Tables on stdout.
    Console,
    /// One JSON-lines file a batch in this directory.
    Files(PathBuf),
    /// Nowhere: state and offsets only.
    None,
}

impl FromStr for SinkSpec {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "console" => Ok(SinkSpec::Console),
            "none" => Ok(SinkSpec::None),
            _ => directory(text).map(SinkSpec::Files).map_err(|problem| {
                let hint = suggestion(text, ["console", "none", "files:"]);
                InvalidOption(format!(
                    "{text:?} is not a sink{problem}; a sink is console, files:DIR or none{hint}"
                ))
            }),
        }
    }
}

impl fmt::Display for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinkSpec::Console => f.write_str("console"),
            SinkSpec::Files(directory) => write!(f, "files:{}", directory.display()),
            SinkSpec::None => f.write_str("none"),
        }
    }
}

/// Where progress is reported, one line of JSON a trigger that made a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgressSpec {
    /// Appended to this file.
    JsonLines(PathBuf),
    /// On stderr.
    Stderr,
}

impl FromStr for ProgressSpec {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("jsonl:") {
            Some(file) if !file.is_empty() => Ok(ProgressSpec::JsonLines(PathBuf::from(file))),
            _ if text == "stderr" => Ok(ProgressSpec::Stderr),
            _ => Err(InvalidOption(format!(
                "{text:?} is no place for progress; write jsonl:FILE or stderr{}",
                suggestion(text, ["stderr", "jsonl:"])
            ))),
        }
    }
}

impl fmt::Display for ProgressSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgressSpec::JsonLines(file) => write!(f, "jsonl:{}", file.display()),
            ProgressSpec::Stderr => f.write_str("stderr"),
        }
    }
}

/// Where late and malformed records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterSpec {
    /// One JSON-lines file a batch in this directory.
    Files(PathBuf),
}

impl FromStr for DeadLetterSpec {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        directory(text).map(DeadLetterSpec::Files).map_err(|problem| {
            InvalidOption(format!(
                "{text:?} cannot keep dead letters{problem}; write files:DIR, or leave it out"
            ))
        })
    }
}

impl fmt::Display for DeadLetterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeadLetterSpec::Files(directory) = self;
        write!(f, "files:{}", directory.display())
    }
}

/// Where a new query starts to read. Meaningless once there is a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingOffsets {
    /// Only what arrives from now on.
    Latest,
    /// Everything the topic still has.
    Earliest,
    /// A position for each partition, in Spark's JSON: `{"sales":{"0":123,"1":-2}}`.
    Specific {
        /// The topic they are for; see [`StartingOffsets::check_topic`].
        topic: String,
        /// At least one partition.
        partitions: BTreeMap<Partition, StartingOffset>,
    },
    /// The first record of each partition that is not older than a time.
    ByTimestamp(StartingTimestamps, TimestampStrategy),
}

/// Where a new query starts to read one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartingOffset {
    /// The oldest record there is; -2 in Spark's JSON.
    Earliest,
    /// What arrives from now on; -1 in Spark's JSON.
    Latest,
    /// This record, never negative.
    At(Offset),
}

impl StartingOffsets {
    /// Checks that positions are for the topic that is read.
    ///
    /// # Errors
    /// Names both topics.
    pub fn check_topic(&self, read: &str) -> Result<(), InvalidOption> {
        match self {
            StartingOffsets::Specific { topic, .. }
            | StartingOffsets::ByTimestamp(StartingTimestamps::Specific { topic, .. }, _)
                if topic != read =>
            {
                Err(InvalidOption(format!(
                    "the starting offsets are for topic {topic:?}, but the pipeline reads {read:?}; \
                 write {{{read:?}: {{…}}}}"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for StartingOffsets {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => Ok(StartingOffsets::Latest),
            "earliest" => Ok(StartingOffsets::Earliest),
            json if json.trim_start().starts_with('{') => specific_offsets(json),
            _ => Err(InvalidOption(format!(
                "{text:?} is no starting position; write latest, earliest or JSON like \
                 {{\"sales\":{{\"0\":123,\"1\":-2}}}} (-2 is earliest, -1 is latest){}",
                suggestion(text, ["latest", "earliest"])
            ))),
        }
    }
}

impl fmt::Display for StartingOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartingOffsets::Latest => f.write_str("latest"),
            StartingOffsets::Earliest => f.write_str("earliest"),
            StartingOffsets::ByTimestamp(timestamps, _) => timestamps.fmt(f),
            StartingOffsets::Specific { topic, partitions } => {
                write!(f, "{{{}:{{", serde_json::Value::from(topic.as_str()))?;
                for (index, (partition, offset)) in partitions.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "," };
                    let number = match offset {
                        StartingOffset::Earliest => -2,
                        StartingOffset::Latest => -1,
                        StartingOffset::At(offset) => offset.0,
                    };
                    write!(f, "{separator}\"{partition}\":{number}")?;
                }
                f.write_str("}}")
            }
        }
    }
}

/// How much memory a run may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryLimit(u64);

impl MemoryLimit {
    /// Less is too little to work with.
    pub const LEAST: MemoryLimit = MemoryLimit(96 << 20);

    /// So many bytes, but not less than the least.
    #[must_use]
    pub fn at_least(bytes: u64) -> MemoryLimit {
        MemoryLimit(bytes.max(MemoryLimit::LEAST.0))
    }

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for MemoryLimit {
    type Err = InvalidOption;

    /// Bytes, or with a unit: `k`, `m`, `g` or `t`, also as `MB` or `MiB`; all are powers of 1024, as in Spark.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let power = match unit.trim_end_matches('b').trim_end_matches('i') {
            "" if !unit.contains('i') => Some(0),
            "k" => Some(1),
            "m" => Some(2),
            "g" => Some(3),
            "t" => Some(4),
            _ => None,
        };
        let number: Option<u64> = number.replace('_', "").parse().ok();
        let bytes =
            power.zip(number).and_then(|(power, number)| number.checked_mul(1 << (10 * power)));
        match bytes.map(MemoryLimit) {
            Some(limit) if limit >= MemoryLimit::LEAST => Ok(limit),
            Some(_) => Err(InvalidOption(format!(
                "{text:?} is too little to work with; write {} or more",
                MemoryLimit::LEAST
            ))),
            None => Err(InvalidOption(format!(
                "{text:?} is no amount of memory; write 1GiB, 512MiB or a number of bytes"
            ))),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0.is_multiple_of(1 << shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// How many threads decode and add up records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threads(NonZeroUsize);

impl Threads {
    /// More are a mistake rather than a wish.
    const MOST: usize = 64;

    /// One for every two of these processors: fetching and writing take some, too.
    #[must_use]
    pub fn of_processors(processors: usize) -> Threads {
        let threads = (processors / 2).min(Threads::MOST);
        Threads(NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> NonZeroUsize {
        self.0
    }
}

impl FromStr for Threads {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number =
            text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= Threads::MOST);
        number.map(Threads).ok_or_else(|| {
            InvalidOption(format!("{text:?} is no number of threads from 1 to {}", Threads::MOST))
        })
    }
}

/// The most records a batch may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxOffsets {
    /// This many, at least 1, split over the partitions by what waits in each.
    Limited(u64),
    /// All that is there.
    Unlimited,
}

impl FromStr for MaxOffsets {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unlimited" {
            return Ok(MaxOffsets::Unlimited);
        }
        match text.replace('_', "").parse() {
            Ok(limit) if limit > 0 => Ok(MaxOffsets::Limited(limit)),
            _ => Err(InvalidOption(format!(
                "{text:?} is not a number of records; write a whole number from 1, or unlimited"
            ))),
        }
    }
}

impl fmt::Display for MaxOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaxOffsets::Limited(limit) => limit.fmt(f),
            MaxOffsets::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl FromStr for OutputMode {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let modes = [OutputMode::Append, OutputMode::Update, OutputMode::Complete];
        one_of("an output mode", text, &modes, OutputMode::name)
    }
}

impl FromStr for Compat {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        one_of(
            "a Spark to be compatible with",
            text,
            &[Compat::Spark35, Compat::Spark4],
            Compat::name,
        )
    }
}

impl FromStr for StateStore {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        one_of("a state store", text, &[StateStore::Hdfs, StateStore::RocksDb], StateStore::name)
    }
}

impl FromStr for TimeParserPolicy {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let policies = [TimeParserPolicy::Exception, TimeParserPolicy::Corrected];
        one_of("a time parser policy", text, &policies, TimeParserPolicy::name)
    }
}

impl fmt::Display for OutputMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ParseMode {
    /// The name in options and specs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ParseMode::Permissive => "permissive",
            ParseMode::FailFast => "failfast",
            ParseMode::SkipMalformed => "skip-malformed",
        }
    }
}

impl FromStr for ParseMode {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let modes = [ParseMode::Permissive, ParseMode::FailFast, ParseMode::SkipMalformed];
        if text.eq_ignore_ascii_case("dropmalformed") {
            return Err(InvalidOption(format!(
                "from_json() doesn't support the {text} mode in Spark, so none is offered under \
                 that name; \"skip-malformed\" leaves malformed records out, counted. Acceptable \
                 modes are permissive, failfast and skip-malformed"
            )));
        }
        one_of("a mode", text, &modes, ParseMode::name)
    }
}

impl fmt::Display for ParseMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value of that name.
pub(super) fn one_of<T: Copy>(
    what: &str,
    text: &str,
    values: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, InvalidOption> {
    values.iter().copied().find(|value| name(*value) == text).ok_or_else(|| {
        let names = || values.iter().map(|value| name(*value));
        let hint = suggestion(text, names());
        let names: Vec<&str> = names().collect();
        InvalidOption(format!("{text:?} is not {what}; write {}{hint}", names.join(" or ")))
    })
}

/// A duration of whole milliseconds, in milliseconds.
///
/// # Errors
/// What [`parse_duration`] refuses, and microseconds.
pub fn whole_milliseconds(text: &str) -> Result<u64, InvalidOption> {
    let duration = parse_duration(text)?;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(InvalidOption(format!("{text:?} is finer than a millisecond")));
    }
    Ok(u64::try_from(duration.as_millis()).expect("the longest duration fits"))
}

/// The directory of `files:DIR`; on failure a piece of an explanation, maybe empty.
fn directory(text: &str) -> Result<PathBuf, &'static str> {
    match text.strip_prefix("files:") {
        Some("") => Err(" without a directory"),
        Some(directory) => Ok(PathBuf::from(directory)),
        None => Err(""),
    }
}

fn specific_offsets(json: &str) -> Result<StartingOffsets, InvalidOption> {
    let invalid = |problem: String| {
        InvalidOption(format!(
            "the starting offsets cannot be read: {problem}; write {{\"sales\":{{\"0\":123,\"1\":-2}}}}, \
             where -2 is earliest and -1 is latest"
        ))
    };
    let topics: BTreeMap<String, BTreeMap<String, i64>> =
        serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
    let count = topics.len();
    let mut topics = topics.into_iter();
    let (Some((topic, offsets)), None) = (topics.next(), topics.next()) else {
        return Err(invalid(format!("a pipeline reads one topic, and there are {count}")));
    };
    check_topic_name(&topic)?;
    if offsets.is_empty() {
        return Err(invalid("there is no partition".to_owned()));
    }
    let mut partitions = BTreeMap::new();
    for (partition, offset) in offsets {
        let number = partition.parse().ok().filter(|number| (0..=i32::MAX).contains(number));
        let number = number.ok_or_else(|| invalid(format!("{partition:?} is no partition")))?;
        let offset = match offset {
            -2 => StartingOffset::Earliest,
            -1 => StartingOffset::Latest,
            0.. => StartingOffset::At(Offset(offset)),
            _ => return Err(invalid(format!("{offset} is no offset"))),
        };
        if partitions.insert(Partition(number), offset).is_some() {
            return Err(invalid(format!("partition {number} is there twice")));
        }
    }
    Ok(StartingOffsets::Specific { topic, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text is read, and written in its canonical form, which reads back the same.
    fn check<T>(text: &str, canonical: &str)
    where
        T: FromStr<Err = InvalidOption> + fmt::Display + PartialEq + fmt::Debug,
    {
        let value: T = text.parse().expect(text);
        assert_eq!(value.to_string(), canonical, "{text}");
        assert_eq!(canonical.parse(), Ok(value));
    }

    fn refuse<T: FromStr<Err = InvalidOption> + fmt::Debug>(text: &str, part: &str) {
        let message = text.parse::<T>().expect_err(text).to_string();
        assert!(message.contains(part), "{text}: {message}");
    }

    #[test]
    fn options_read_back_what_they_print() {
        check::<Trigger>("10 seconds", "10s");
        check::<Trigger>("0s", "0s");
        check::<Trigger>("available-now", "available-now");
        check::<SinkSpec>("console", "console");
        check::<SinkSpec>("none", "none");
        check::<SinkSpec>("files:out/a b", "files:out/a b");
        check::<DeadLetterSpec>("files:dead", "files:dead");
        check::<StartingOffsets>("latest", "latest");
        check::<StartingOffsets>("earliest", "earliest");
        check::<StartingOffsets>(
            r#" {"sales": {"10": -1, "2": -2, "0": 123}} "#,
            r#"{"sales":{"0":123,"2":-2,"10":-1}}"#,
        );
        check::<MaxOffsets>("1_000_000", "1000000");
        check::<MaxOffsets>("unlimited", "unlimited");
        for mode in ["append", "update", "complete"] {
            check::<OutputMode>(mode, mode);
        }
        for mode in ["permissive", "failfast"] {
            check::<ParseMode>(mode, mode);
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_would_be_right() {
        refuse::<Trigger>("10", "10 has no unit");
        refuse::<Trigger>("availablenow", "did you mean \"available-now\"?");
        refuse::<Trigger>("5us", "finer than a millisecond");
        refuse::<SinkSpec>("consle", "did you mean \"console\"?");
        refuse::<SinkSpec>("files:", "without a directory");
        refuse::<SinkSpec>("kafka:x", "console, files:DIR or none");
        refuse::<DeadLetterSpec>("console", "files:DIR");
        refuse::<StartingOffsets>("newest", "latest, earliest or JSON");
        refuse::<StartingOffsets>("{", "EOF");
        refuse::<StartingOffsets>("{}", "there are 0");
        refuse::<StartingOffsets>(r#"{"a":{"0":1},"b":{"0":1}}"#, "there are 2");
        refuse::<StartingOffsets>(r#"{"a":{}}"#, "no partition");
        refuse::<StartingOffsets>(r#"{"a":{"x":1}}"#, "\"x\" is no partition");
        refuse::<StartingOffsets>(r#"{"a":{"-1":1}}"#, "\"-1\" is no partition");
        refuse::<StartingOffsets>(r#"{"a":{"1":1,"01":2}}"#, "partition 1 is there twice");
        refuse::<StartingOffsets>(r#"{"a":{"0":-3}}"#, "-3 is no offset");
        refuse::<StartingOffsets>(r#"{"a b":{"0":3}}"#, "not a topic's name");
        refuse::<MaxOffsets>("0", "from 1, or unlimited");
        refuse::<MaxOffsets>("many", "from 1, or unlimited");
        refuse::<OutputMode>("appnd", "append or update or complete; did you mean \"append\"?");
        refuse::<ParseMode>("strict", "permissive or failfast");
    }

    #[test]
    fn positions_for_another_topic_are_refused() {
        let offsets: StartingOffsets = r#"{"sales":{"0":1}}"#.parse().unwrap();
        assert_eq!(offsets.check_topic("sales"), Ok(()));
        assert!(offsets.check_topic("other").is_err());
        assert_eq!(StartingOffsets::Latest.check_topic("other"), Ok(()));
    }
}
