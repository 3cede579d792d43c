//! The embedded broker: librdkafka's mock cluster, for trying things out and for tests.
//!
//! It speaks Kafka's protocol on a port of the loopback interface that the system chooses, in this
//! process, without Java. Its limits are documented in [`EmbeddedBroker`].
//!
//! Not here: a real cluster.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::stop::Stop;

/// Why the embedded broker could not be started, or could not say where it is.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The mock cluster could not be made.
    #[error("starting the embedded broker failed: {0}")]
    Start(KafkaError),
    /// A topic could not be made: named twice, or with no partition.
    #[error(
        "making topic {topic} with {partitions} partitions on the embedded broker failed: {source}"
    )]
    Topic {
        /// The topic.
        topic: String,
        /// Its partitions.
        partitions: i32,
        /// The mock cluster's reason.
        source: KafkaError,
    },
    /// Its address could not be printed.
    #[error("printing the embedded broker's address failed: {0}")]
    Output(#[from] io::Error),
}

/// A topic to make when the embedded broker starts, written `name:partitions` (or `name`: 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name of the topic.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: i32,
}

impl TopicSpec {
    /// Partitions of a topic that does not say.
    pub const DEFAULT_PARTITIONS: i32 = 3;
    /// More would only be a mistake: each may take 5 MB.
    pub const MAX_PARTITIONS: i32 = 1000;

    /// A topic of `partitions` partitions.
    #[must_use]
    pub fn new(name: &str, partitions: i32) -> TopicSpec {
        TopicSpec { name: name.to_owned(), partitions }
    }
}

impl FromStr for TopicSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<TopicSpec, String> {
        let (name, partitions) = match text.split_once(':') {
            None => (text, Some(TopicSpec::DEFAULT_PARTITIONS)),
            Some((name, count)) => (name, count.parse().ok()),
        };
        match partitions {
            Some(partitions)
                if !name.is_empty() && (1..=TopicSpec::MAX_PARTITIONS).contains(&partitions) =>
            {
                Ok(TopicSpec::new(name, partitions))
            }
            _ => Err(format!(
                "a topic is written name or name:partitions (1 to {}), as in sales:3, not {text:?}",
                TopicSpec::MAX_PARTITIONS
            )),
        }
    }
}

impl fmt::Display for TopicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.partitions)
    }
}

/// A running embedded broker; dropping it ends it and loses its data.
///
/// For trying and testing only. It holds everything in memory and silently forgets the oldest records
/// of a partition beyond 5 MB (about 60,000 sales). Its topics are made at its start; it cannot make or
/// delete topics, add partitions, or look up times; and it never shows an open or aborted transaction.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// Starts one broker with these topics.
    ///
    /// # Errors
    /// The mock cluster did not start, or a topic is named twice.
    pub fn start(topics: &[TopicSpec]) -> Result<EmbeddedBroker, BrokerError> {
        const BROKERS: i32 = 1;
        const REPLICAS: i32 = 1;
        let cluster = MockCluster::new(BROKERS).map_err(BrokerError::Start)?;
        for topic in topics {
            cluster.create_topic(&topic.name, topic.partitions, REPLICAS).map_err(|source| {
                BrokerError::Topic {
                    topic: topic.name.clone(),
                    partitions: topic.partitions,
                    source,
                }
            })?;
        }
        Ok(EmbeddedBroker { cluster })
    }

    /// Where it listens, as `--brokers` takes it.
    #[must_use]
    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// The mock cluster itself, for tests that inject errors, delays or downtime.
    #[must_use]
    pub fn cluster(&self) -> &MockCluster<'static, DefaultProducerContext> {
        &self.cluster
    }
}

/// The topics of the two built-in pipelines: what `broker` makes when nothing is said.
#[must_use]
pub fn default_topics() -> Vec<TopicSpec> {
    ["sales", "real-time-transactions"]
        .map(|name| TopicSpec::new(name, TopicSpec::DEFAULT_PARTITIONS))
        .to_vec()
}

/// Runs an embedded broker until `stop`.
///
/// The first line on `out` is its address alone (`127.0.0.1:41873`), flushed, for scripts to read;
/// what a person should know goes to `notes`.
///
/// # Errors
/// The broker did not start, or the address could not be written.
pub fn run(
    topics: &[TopicSpec],
    out: &mut dyn Write,
    notes: &mut dyn Write,
    stop: &Stop,
) -> Result<(), BrokerError> {
    let broker = EmbeddedBroker::start(topics)?;
    let address = broker.address();
    writeln!(out, "{address}")?;
    out.flush()?;
    let listed: Vec<String> = topics.iter().map(TopicSpec::to_string).collect();
    // Nobody may be reading the notes; the broker is useful all the same.
    let _ = writeln!(
        notes,
        "embedded broker with topics {}: for trying and testing only. It keeps its data in memory, \
         about 5 MB a partition (older records are forgotten), and loses it at the end.\n\
         Use it with --brokers {address}. Ctrl+C ends it.",
        listed.join(", ")
    );
    stop.wait();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_written_with_or_without_its_partitions() {
        assert_eq!("sales".parse(), Ok(TopicSpec::new("sales", 3)));
        assert_eq!("sales:12".parse(), Ok(TopicSpec::new("sales", 12)));
        for wrong in ["", ":3", "sales:0", "sales:-1", "sales:x", "sales:1001"] {
            assert!(wrong.parse::<TopicSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_line_is_the_address_alone() {
        let stop = Stop::new();
        stop.request();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        run(&default_topics(), &mut out, &mut notes, &stop).unwrap();
        let out = String::from_utf8(out).unwrap();
        let port = out.strip_prefix("127.0.0.1:").unwrap().strip_suffix('\n').unwrap();
        assert!(port.parse::<u16>().is_ok(), "{out}");
        let notes = String::from_utf8(notes).unwrap();
        assert!(notes.contains("trying and testing") && notes.contains("5 MB"), "{notes}");
    }

    #[test]
    fn a_topic_named_twice_is_an_error() {
        let twice = [TopicSpec::new("sales", 1), TopicSpec::new("sales", 2)];
        assert!(matches!(EmbeddedBroker::start(&twice), Err(BrokerError::Topic { .. })));
    }
}
