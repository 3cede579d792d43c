//! Where a new query starts to read, told as times: `startingTimestamp`, `startingOffsetsByTimestamp`
//! and what to do where no record is that late.
//!
//! Not here: starting positions told as offsets (`options`).

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::errors::InvalidOption;
use super::options::one_of;
use crate::types::Partition;

/// Records of this time or later, by the time that Kafka keeps with each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingTimestamps {
    /// The same for all partitions, in Unix milliseconds.
    All(i64),
    /// One for each partition, in Spark's JSON: `{"sales":{"0":1756800000000}}`.
    Specific {
        /// The topic they are for.
        topic: String,
        /// Unix milliseconds.
        partitions: BTreeMap<Partition, i64>,
    },
}

/// What to do where a partition has no record of that time or later
/// (`startingOffsetsByTimestampStrategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampStrategy {
    /// The start is refused.
    #[default]
    Error,
    /// The partition is read from its end.
    Latest,
}

impl TimestampStrategy {
    /// The name in options and specs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TimestampStrategy::Error => "error",
            TimestampStrategy::Latest => "latest",
        }
    }
}

impl FromStr for TimestampStrategy {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let strategies = [TimestampStrategy::Error, TimestampStrategy::Latest];
        one_of("a strategy", text, &strategies, TimestampStrategy::name)
    }
}

impl FromStr for StartingTimestamps {
    type Err = InvalidOption;

    /// A number of milliseconds, or JSON.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let example = r#"write Unix milliseconds, or JSON like {"sales":{"0":1756800000000}}"#;
        if let Ok(timestamp_ms) = text.trim().parse() {
            return Ok(StartingTimestamps::All(timestamp_ms));
        }
        let topics: BTreeMap<String, BTreeMap<String, i64>> =
            serde_json::from_str(text).map_err(|error| {
                InvalidOption(format!("{text:?} is no starting time ({error}); {example}"))
            })?;
        let mut topics = topics.into_iter();
        let (Some((topic, named)), None) = (topics.next(), topics.next()) else {
            return Err(InvalidOption(format!("starting times are for one topic; {example}")));
        };
        let mut partitions = BTreeMap::new();
        for (name, timestamp_ms) in named {
            let partition =
                name.parse().ok().filter(|number: &i32| *number >= 0).ok_or_else(|| {
                    InvalidOption(format!("{name:?} is not the number of a partition; {example}"))
                })?;
            partitions.insert(Partition(partition), timestamp_ms);
        }
        if partitions.is_empty() {
            return Err(InvalidOption(format!("no partition is named; {example}")));
        }
        Ok(StartingTimestamps::Specific { topic, partitions })
    }
}

impl fmt::Display for StartingTimestamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartingTimestamps::All(timestamp_ms) => timestamp_ms.fmt(f),
            StartingTimestamps::Specific { topic, partitions } => {
                let named: Vec<String> = partitions
                    .iter()
                    .map(|(partition, timestamp_ms)| format!("\"{partition}\":{timestamp_ms}"))
                    .collect();
                let topic = serde_json::Value::from(topic.as_str());
                write!(f, "{{{topic}:{{{}}}}}", named.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_times_are_milliseconds_or_json() {
        for text in ["1756800000000", r#"{"sales":{"0":5,"1":-1}}"#] {
            let read: StartingTimestamps = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        for text in
            ["", "now", "{}", r#"{"a":{}}"#, r#"{"a":{"0":1},"b":{"0":1}}"#, r#"{"a":{"x":1}}"#]
        {
            assert!(text.parse::<StartingTimestamps>().is_err(), "{text}");
        }
        assert_eq!("latest".parse(), Ok(TimestampStrategy::Latest));
        assert!("newest".parse::<TimestampStrategy>().is_err());
    }
}
