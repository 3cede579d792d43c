//! What every Kafka client of the product shares: settings, a context that logs, and errors that say
//! what to do next.
//!
//! Invariants: no secret is ever shown (values appear only for options known to be harmless); no
//! option that runs a command or loads code is passed on unless the user allowed it by name; an
//! option that the product's guarantees rest on cannot be changed from outside.
//!
//! Start at [`ClientSettings`], then [`consumer`] and [`topic_partitions`]. Not here: consuming for the engine (`source/kafka`), producing (`producer`), topics
//! (`topics`).

mod context;
mod error;
mod port;
mod settings;

pub use context::{KafkaContext, Refusal};
pub use error::{ErrorKind, KafkaFailure, kind_of};
pub use settings::{ClientSettings, DEFAULT_BROKERS, Secrets, SettingsError, Trust};

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaRespErr;

use crate::stop::Stop;

/// How long the first question for metadata may wait before the client's own events are looked at: a
/// refused login must be reported at once, not when the whole deadline has passed. Each further one waits
/// twice as long, because a broker may be slower than that for good.
const METADATA_SLICE: Duration = Duration::from_millis(500);

/// The consumer type of this room's helpers.
pub type KafkaConsumer = BaseConsumer<KafkaContext>;

/// Makes a consumer from `settings` and what this use of it needs (`required` wins).
///
/// It answers questions at once; to read with it, `required` must name a `group.id`. Nothing has been
/// sent to Kafka when this returns.
///
/// # Errors
/// librdkafka does not accept an option or its value.
pub fn consumer(
    settings: &ClientSettings,
    required: &[(&str, &str)],
) -> Result<KafkaConsumer, KafkaFailure> {
    let mut config = settings.client_config();
    for (key, value) in required {
        config.set(*key, *value);
    }
    config
        .create_with_context(KafkaContext::new(settings))
        .map_err(|error| KafkaFailure::new("setting up a Kafka client", error))
}

/// Fetches metadata of one topic, or of all topics.
///
/// `attempted` is how an error names the step. A topic's own errors are in the answer: see
/// [`topic_partitions`].
///
/// # Errors
/// No answer within `timeout`, or a refusal by the cluster, reported at once.
pub fn metadata(
    consumer: &KafkaConsumer,
    topic: Option<&str>,
    attempted: &str,
    timeout: Duration,
) -> Result<Metadata, KafkaFailure> {
    let deadline = Instant::now() + timeout;
    let mut patience = METADATA_SLICE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let slice = left.clamp(Duration::from_millis(1), patience);
        let error = match consumer.client().fetch_metadata(topic, slice) {
            Ok(metadata) => {
                consumer.context().note_answer();
                return Ok(metadata);
            }
            Err(error) => error,
        };
        serve_events(consumer);
        if let Some(refusal) = consumer.context().refusal_at_start() {
            return Err(KafkaFailure::refused(attempted, &refusal));
        }
        if kind_of(&error) != ErrorKind::Unreachable || left <= patience {
            return Err(KafkaFailure::new(attempted, error).of_client(consumer.context()));
        }
        patience *= 2;
    }
}

/// The partitions of `topic` as Kafka has them now; `None` if there is no such topic.
///
/// # Errors
/// As [`metadata`]; also when Kafka answers with an error for the topic (no permission, bad name).
pub fn topic_partitions(
    consumer: &KafkaConsumer,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Vec<PartitionInfo>>, KafkaFailure> {
    let attempted = format!("looking up topic {topic}");
    let deadline = Instant::now() + timeout;
    let mut refused = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = match metadata(consumer, Some(topic), &attempted, left) {
            // The brokers did answer before.
            Err(failure) if failure.kind() == ErrorKind::Unreachable => {
                return Err(refused.unwrap_or(failure));
            }
            answer => answer?,
        };
        let Some(found) = answer.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        let code = match found.error().map(RDKafkaErrorCode::from) {
            None => return Ok(Some(partitions_of(found))),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(None);
            }
            Some(code) => code,
        };
        let failure = KafkaFailure::new(&attempted, KafkaError::MetadataFetch(code));
        // A topic that is just being made has no leader for a moment.
        if code != RDKafkaErrorCode::LeaderNotAvailable || Instant::now() >= deadline {
            return Err(failure);
        }
        refused = Some(failure);
        thread::sleep(Duration::from_millis(50));
    }
}

/// One partition in an answer for metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Number of the partition.
    pub id: i32,
    /// Whether it has a leader that answers: without one it can be neither read nor written.
    pub has_leader: bool,
}

fn partitions_of(topic: &MetadataTopic) -> Vec<PartitionInfo> {
    let mut partitions: Vec<PartitionInfo> = topic
        .partitions()
        .iter()
        .map(|partition| PartitionInfo {
            id: partition.id(),
            // A replica that is down is an "error" of a partition that can well be used.
            has_leader: partition.leader() >= 0
                && partition.error()
                    != Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.id);
    partitions
}

/// Hands the client's waiting events (errors, log lines) to its context without waiting.
fn serve_events(consumer: &KafkaConsumer) {
    // One call serves one event, and does not tell whether that was the last.
    const EVENTS: usize = 16;
    for _ in 0..EVENTS {
        // Nothing is read with this client; its errors reach the context.
        drop(consumer.poll(Duration::ZERO));
    }
}

/// Does something that waits for brokers on a thread of its own; `None` as soon as `stop` is requested,
/// with the thread left behind.
pub fn unless_stopped<T: Send + 'static>(
    stop: &Stop,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
    let (done, waiting) = mpsc::channel();
    thread::Builder::new()
        .name("kafka-question".into())
        .spawn(move || {
            // The waiting side may have given up.
            let _ = done.send(work());
        })
        .expect("the system has room for one more thread");
    loop {
        match waiting.recv_timeout(BETWEEN_LOOKS) {
            Ok(answer) => return Some(answer),
            Err(_) if stop.is_requested() => return None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the work sends its answer or panics"),
        }
    }
}

/// Closes a consumer as [`drop_within`] does, and as soon as it can be.
pub fn close_within(consumer: KafkaConsumer, deadline: Duration) -> bool {
    drop_within(Closing(Some(consumer)), deadline)
}

/// A consumer whose end is looked for every millisecond: rust-rdkafka, which closes it where that has not
/// been done, looks for it every 100 ms only.
struct Closing(Option<KafkaConsumer>);

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(consumer) = self.0.take() else { return };
        // A consumer that cannot be closed is destroyed as it is.
        if consumer.close_queue().is_ok() {
            while !consumer.closed() {
                // What still comes is for nobody.
                let _ = consumer.poll(Duration::from_millis(1));
            }
        }
        // rust-rdkafka would log that it is closed already.
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
            drop(consumer);
        });
    }
}

/// Drops a client on a thread of its own and waits for that at most `deadline`; true if it is gone.
///
/// Closing a consumer of a group waits for brokers without any limit (rust-rdkafka issues 509 and
/// 611), so nothing may depend on it: after the deadline the thread is left behind.
pub fn drop_within<T: Send + 'static>(client: T, deadline: Duration) -> bool {
    let (done, gone) = mpsc::channel();
    let spawned = thread::Builder::new().name("kafka-close".into()).spawn(move || {
        drop(client);
        // The waiting side may have given up.
        let _ = done.send(());
    });
    spawned.is_ok() && gone.recv_timeout(deadline).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing listens on port 1 of the loopback interface.
    const NOBODY: &str = "127.0.0.1:1";

    #[test]
    fn an_absent_broker_is_unreachable_within_the_timeout_and_says_what_to_type() {
        let settings = ClientSettings::new(NOBODY, Vec::new(), Trust::SafeOptionsOnly).unwrap();
        let started = Instant::now();
        let consumer = consumer(&settings, &[]).unwrap();
        let failure = topic_partitions(&consumer, "sales", Duration::from_millis(700)).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(failure.kind(), ErrorKind::Unreachable);
        let message = failure.to_string();
        assert!(message.contains(NOBODY) && message.contains("--brokers"), "{message}");
        assert!(message.contains("sales-stream demo"), "{message}");
    }

    #[test]
    fn a_topic_without_a_leader_is_not_an_absent_broker() {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("sales", 2, 1).unwrap();
        let code = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        cluster.topic_error("sales", code).unwrap();
        let brokers = cluster.bootstrap_servers();
        let settings = ClientSettings::new(&brokers, Vec::new(), Trust::SafeOptionsOnly).unwrap();
        let consumer = consumer(&settings, &[]).unwrap();
        let failure = topic_partitions(&consumer, "sales", Duration::from_millis(700)).unwrap_err();
        assert_ne!(failure.kind(), ErrorKind::Unreachable, "{failure}");
        assert!(failure.to_string().contains("LeaderNotAvailable"), "{failure}");
    }

    #[test]
    fn a_broker_that_is_slower_than_the_first_question_waits_is_waited_for() {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("sales", 2, 1).unwrap();
        cluster.broker_round_trip_time(1, 2 * METADATA_SLICE).unwrap();
        let brokers = cluster.bootstrap_servers();
        let settings = ClientSettings::new(&brokers, Vec::new(), Trust::SafeOptionsOnly).unwrap();
        let consumer = consumer(&settings, &[]).unwrap();
        let found = topic_partitions(&consumer, "sales", Duration::from_secs(30)).unwrap();
        assert_eq!(found.map(|partitions| partitions.len()), Some(2));
    }

    #[test]
    fn a_request_to_stop_does_not_wait_for_an_answer() {
        let stop = Stop::new();
        assert_eq!(unless_stopped(&stop, || 7), Some(7));
        stop.request();
        let (_release, never) = mpsc::channel::<()>();
        assert_eq!(unless_stopped(&stop, move || never.recv().is_ok()), None);
    }

    #[test]
    fn dropping_gives_up_at_its_deadline() {
        struct Slow(mpsc::Receiver<()>);
        impl Drop for Slow {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        let (release, wait) = mpsc::channel();
        assert!(!drop_within(Slow(wait), Duration::from_millis(10)));
        drop(release);
        assert!(drop_within(String::new(), Duration::from_secs(30)));
    }
}
