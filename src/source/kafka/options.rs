//! Settings of the two clients: what the guarantees need, and what makes reading fast in little room.
//!
//! Invariant: of the options named here a user can change only those in [`TUNING`]; the others are
//! refused by `ClientSettings` or set last.
//!
//! Not here: what a user may set at all (`crate::kafka::ClientSettings`).

use crate::{
    faults::{Mutant, is_planted},
    kafka::{self, KafkaConsumer},
    source::SourceError,
};

use super::KafkaSourceConfig;

/// What both clients need.
const REQUIRED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("allow.auto.create.topics", "false"),
    ("socket.keepalive.enable", "true"),
];

/// What reading needs besides.
const READING: &[(&str, &str)] = &[
    // Anything else jumps over lost data with no more than a log line (librdkafka issue 3745).
    ("auto.offset.reset", "error"),
    ("check.crcs", "true"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
];

/// What makes a client that reads fast, unless the user sets it.
pub const TUNING: &[(&str, &str)] = &[
    ("fetch.queue.backoff.ms", "1"),
    // The longest a client waits to be told that a partition has ended behind control records.
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    // Of an answer nothing is freed before all of it was taken: with many partitions that is late.
    ("fetch.max.bytes", "4194304"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("topic.metadata.refresh.fast.interval.ms", "50"),
    // Also how long a client waits between two first connections: 100 ms, the default, is most of
    // the time to the first record. While a broker is down the pause grows all the same.
    ("reconnect.backoff.ms", "10"),
];

/// Of so many bytes that may wait there may be a record: one that waits costs about 300 bytes besides its own.
const BYTES_OF_A_RECORD: usize = 280;

/// Bytes of one partition in an answer, at least and at most. A broker gives one whole batch of a producer in any
/// case.
const LEAST_FETCH: usize = 128 << 10;
const MOST_FETCH: usize = 1 << 20;

/// How much a client that reads may hold of each partition, and fetch of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRoom {
    /// Kibibytes that may wait.
    pub queue_kib: usize,
    /// Records that may wait.
    pub queue_records: usize,
    /// Bytes in one answer.
    pub fetch_bytes: usize,
}

impl PartitionRoom {
    /// Where so many bytes of all partitions together may wait.
    #[must_use]
    pub fn of(queue_bytes: usize, partitions: usize) -> PartitionRoom {
        let partitions = partitions.max(1);
        PartitionRoom {
            queue_kib: (queue_bytes / 1024 / partitions).max(256),
            queue_records: (queue_bytes / BYTES_OF_A_RECORD / partitions).max(1000),
            // What one answer brings may come on top of what waits, of each partition.
            fetch_bytes: (queue_bytes / partitions).clamp(LEAST_FETCH, MOST_FETCH),
        }
    }
}

/// The client that asks and commits.
pub(super) fn asking(config: &KafkaSourceConfig) -> Result<KafkaConsumer, SourceError> {
    let mut required = vec![("group.id", config.group_id.as_str())];
    required.extend(REQUIRED);
    make(config, &required)
}

/// The client that reads `partitions` partitions. librdkafka applies its limits to each queue by
/// itself where queues are separate.
pub(super) fn reading(
    config: &KafkaSourceConfig,
    partitions: usize,
) -> Result<KafkaConsumer, SourceError> {
    let room = PartitionRoom::of(config.queue_bytes, partitions);
    let [kib, records, fetched] =
        [room.queue_kib, room.queue_records, room.fetch_bytes].map(|it| it.to_string());
    let users = config.settings.client_config();
    // Needed for `assign`; the reader neither joins the group nor commits.
    let mut required = vec![("group.id", config.group_id.as_str())];
    required.extend(REQUIRED);
    required.extend(READING);
    let queues = [
        ("queued.max.messages.kbytes", kib.as_str()),
        ("queued.min.messages", records.as_str()),
        ("max.partition.fetch.bytes", fetched.as_str()),
    ];
    let tuning = TUNING.iter().chain(&queues);
    required.extend(tuning.filter(|(key, _)| users.get(key).is_none()));
    if is_planted(Mutant::ReadUncommitted) {
        required.push(("isolation.level", "read_uncommitted"));
    }
    make(config, &required)
}

fn make(
    config: &KafkaSourceConfig,
    required: &[(&str, &str)],
) -> Result<KafkaConsumer, SourceError> {
    kafka::consumer(&config.settings, required).map_err(super::from_failure)
}
