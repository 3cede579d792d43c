//! The plain clients of the bench: where a topic ends, and reading all of it once.
//!
//! Start at [`Reader::open`]. Not here: the probes' client, which takes batches from librdkafka (`probe`).

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::BorrowedMessage,
};

use crate::Outcome;

const ANSWER: Duration = Duration::from_secs(10);
/// Nothing for so long, with records still to come, is a fault.
const SILENCE: Duration = Duration::from_secs(30);

/// A partition may be without a leader so long, when its broker or topic is new.
const NO_LEADER: Duration = Duration::from_secs(15);

/// Begin (inclusive) and end (exclusive) of each partition of a topic, by partition number.
pub fn bounds(consumer: &BaseConsumer, topic: &str) -> Outcome<Vec<(i64, i64)>> {
    let deadline = Instant::now() + NO_LEADER;
    loop {
        match ask_bounds(consumer, topic) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            answered => return answered,
        }
    }
}

fn ask_bounds(consumer: &BaseConsumer, topic: &str) -> Outcome<Vec<(i64, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if partitions == 0 {
        return Err(format!("there is no topic {topic}").into());
    }
    (0..i32::try_from(partitions)?)
        .map(|partition| Ok(consumer.fetch_watermarks(topic, partition, ANSWER)?))
        .collect()
}

/// A client that commits nothing and reads what is committed.
pub fn consumer(brokers: &str) -> Outcome<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-recount")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "1")
        .create()?)
}

/// One pass over a topic, up to where it ended when it was opened.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    /// End of each partition, and whether it has been reached.
    ends: Vec<(i64, bool)>,
}

impl Reader {
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub fn open(brokers: &str, topic: &str) -> Outcome<Reader> {
        let consumer = consumer(brokers)?;
        let bounds = bounds(&consumer, topic)?;
        let mut list = TopicPartitionList::new();
        for (partition, (begin, _)) in (0..).zip(&bounds) {
            list.add_partition_offset(topic, partition, Offset::Offset(*begin))?;
        }
        consumer.assign(&list)?;
        let ends = bounds.iter().map(|(begin, end)| (*end, begin >= end)).collect();
        Ok(Reader { consumer, topic: topic.to_owned(), ends })
    }

    /// Hands every record to `take`, with its partition.
    ///
    /// # Errors
    /// What `take` says, a client's fault, or half a minute without a record.
    pub fn each(mut self, mut take: impl FnMut(usize, &[u8]) -> Outcome<()>) -> Outcome<()> {
        while self.ends.iter().any(|(_, reached)| !reached) {
            match self.consumer.poll(SILENCE) {
                None => {
                    return Err(format!("topic {}: no record for {SILENCE:?}", self.topic).into());
                }
                // The end that is reported lies behind control records, which are never delivered.
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                    self.ends[usize::try_from(partition)?].1 = true;
                }
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => {
                    let place = usize::try_from(message.partition())?;
                    let end = self.ends[place].0;
                    if message.offset() < end {
                        take(place, value(&message)?)?;
                    }
                    self.ends[place].1 |= message.offset() + 1 >= end;
                }
            }
        }
        Ok(())
    }
}

fn value<'a>(message: &'a BorrowedMessage<'_>) -> Outcome<&'a [u8]> {
    message.payload().ok_or_else(|| "a record has no value".into())
}
