//! Batches of records straight from librdkafka's queue, borrowed until the batch is through.
//!
//! As much may wait as in the pipeline's own client, and as much is fetched at once, by the same rule
//! ([`PartitionRoom`]); only that there each partition has a queue, and here one queue holds what all of those
//! may. All `unsafe` of the probes is in this file. Start at [`Batches::next`].

use std::{slice, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    bindings::{
        rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_message_t,
        rd_kafka_queue_destroy, rd_kafka_queue_get_consumer, rd_kafka_queue_t, rd_kafka_resp_err_t,
    },
    consumer::{BaseConsumer, Consumer},
};
use sales_stream::source::kafka::{KafkaSourceConfig, PartitionRoom, TUNING};

use crate::{Outcome, kafka};

const RECORDS_A_BATCH: usize = 10_000;
const PATIENCE_MS: i32 = 1000;
/// So many waits without a record are a fault.
const WAITS: u32 = 30;

/// A topic from its begin to where it ended when it was opened.
pub struct Batches {
    queue: *mut rd_kafka_queue_t,
    slots: Vec<*mut rd_kafka_message_t>,
    partitions: usize,
    left: u64,
    /// The one that reads, which lives longer than its queue, and the one that was asked: closing it early would take
    /// time.
    _clients: [BaseConsumer; 2],
}

impl Batches {
    /// # Errors
    /// There is no such topic, or no broker answers.
    pub fn open(brokers: &str, topic: &str) -> Outcome<Batches> {
        // How many partitions there are decides on how much is fetched.
        let asking = kafka::consumer(brokers)?;
        let bounds = kafka::bounds(&asking, topic)?;
        let consumer: BaseConsumer = settings(brokers, bounds.len()).create()?;
        let mut list = TopicPartitionList::new();
        for (partition, (begin, _)) in (0..).zip(&bounds) {
            list.add_partition_offset(topic, partition, Offset::Offset(*begin))?;
        }
        consumer.assign(&list)?;
        let left = u64::try_from(bounds.iter().map(|(begin, end)| end - begin).sum::<i64>())?;
        // SAFETY: the client lives as long as this does.
        let queue = unsafe { rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        if queue.is_null() {
            return Err("the client has no queue".into());
        }
        let slots = vec![std::ptr::null_mut(); RECORDS_A_BATCH];
        let clients = [consumer, asking];
        Ok(Batches { queue, slots, partitions: bounds.len(), left, _clients: clients })
    }

    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Hands the records of a batch to `take` with partition and offset; false where the topic's end was
    /// reached before.
    ///
    /// # Errors
    /// What `take` says, a fault of the client, or half a minute of silence.
    pub fn next(
        &mut self,
        take: &mut impl FnMut(usize, i64, &[u8]) -> Outcome<()>,
    ) -> Outcome<bool> {
        for _ in 0..WAITS {
            if self.left == 0 {
                return Ok(false);
            }
            // SAFETY: the queue lives; the array has the length told; a filled slot owns its message.
            let count = unsafe {
                let slots = self.slots.as_mut_ptr();
                rd_kafka_consume_batch_queue(self.queue, PATIENCE_MS, slots, self.slots.len())
            };
            let count = usize::try_from(count).map_err(|_| "taking a batch failed")?;
            let mut outcome = Ok(());
            for slot in &self.slots[..count] {
                // SAFETY: the message is ours until it is destroyed, once, behind its last use.
                unsafe {
                    outcome = outcome.and_then(|()| Batches::record(&**slot, take));
                    rd_kafka_message_destroy(*slot);
                }
            }
            outcome?;
            self.left = self.left.saturating_sub(count as u64);
            if count > 0 {
                return Ok(true);
            }
        }
        let silence = Duration::from_millis(PATIENCE_MS.unsigned_abs().into()) * WAITS;
        Err(format!("no record for {silence:?}").into())
    }

    /// # Safety
    /// The message lives during the call, and its payload is its own.
    unsafe fn record(
        message: &rd_kafka_message_t,
        take: &mut impl FnMut(usize, i64, &[u8]) -> Outcome<()>,
    ) -> Outcome<()> {
        if message.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(format!("the client says {:?}", message.err).into());
        }
        if message.payload.is_null() {
            return Err("a record has no value".into());
        }
        // SAFETY: librdkafka says where the payload is and how long.
        let value = unsafe { slice::from_raw_parts(message.payload.cast::<u8>(), message.len) };
        take(usize::try_from(message.partition)?, message.offset, value)
    }
}

/// What the client is told that reads so many partitions.
fn settings(brokers: &str, partitions: usize) -> ClientConfig {
    let room = PartitionRoom::of(KafkaSourceConfig::QUEUE_BYTES, partitions);
    let partitions = partitions.max(1);
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-probe")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("queued.max.messages.kbytes", (room.queue_kib * partitions).to_string())
        .set("queued.min.messages", (room.queue_records * partitions).to_string())
        .set("max.partition.fetch.bytes", room.fetch_bytes.to_string())
        .set("check.crcs", "true");
    TUNING.iter().for_each(|(key, value)| _ = settings.set(*key, *value));
    settings
}

impl Drop for Batches {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody any more.
        unsafe { rd_kafka_queue_destroy(self.queue) };
    }
}

#[cfg(test)]
mod tests {
    use super::settings;

    #[test]
    fn one_queue_holds_what_those_of_all_partitions_may() {
        let of = |partitions, key| settings("", partitions).get(key).map(str::to_owned);
        assert_eq!(of(3, "queued.max.messages.kbytes").unwrap(), "12288");
        assert_eq!(of(96, "queued.max.messages.kbytes").unwrap(), "24576");
        assert_eq!(of(3, "max.partition.fetch.bytes").unwrap(), "1048576");
        assert_eq!(of(96, "max.partition.fetch.bytes").unwrap(), "131072");
    }
}
