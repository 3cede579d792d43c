//! The workload: sales whose event time rises over a span, with disorder, keyed by store.
//!
//! Invariants: event i depends on the options alone; the bytes are those of this Python, `random` seeded with
//! the seed, so that figures taken with either can be compared:
//!
//! ```python
//! store = "store-%d" % (int(random() * stores) + 1)
//! ts = 1_756_800_000 + i * span // events - int(random() * 20)
//! cents = int(random() * 50000)
//! '{"store": "%s", "item": "%s", "price": %d.%02d, "ts": %d}' % (store, items[i & 7], cents // 100, cents % 100, ts)
//! ```
//!
//! Start at [`Load::run`]; [`Close`] ends a topic so that every window of it closes. Not here: what the sums must be (`truth`, from the topic and not from here).

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Args;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{Outcome, kafka};

const START: i64 = 1_756_800_000;
const DISORDER_S: u32 = 20;
/// Event time of the records that close a topic: years behind all others.
const CLOSING: i64 = START + 100_000_000;
const CENTS: f64 = 50_000.0;
const ITEMS: [&str; 8] =
    ["laptop", "mouse", "keyboard", "monitor", "phone", "tablet", "cable", "headset"];

/// What to write and where.
#[derive(Args)]
pub struct Load {
    /// Kafka's brokers; without them the values are printed, one a line
    #[arg(long)]
    brokers: Option<String>,
    /// The topic, which must be there; one that holds exactly so many events is left as it is
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Number of events
    #[arg(long, default_value_t = 10_000_000)]
    events: u32,
    /// Number of stores
    #[arg(long, default_value_t = 100)]
    stores: u32,
    /// Seconds of event time that the events are spread over
    #[arg(long, default_value_t = 3600)]
    span: u32,
    /// Event time goes back by up to so many seconds, not included; with a span of 1 all events lie in the seconds
    /// before the first, and in no order
    #[arg(long, default_value_t = DISORDER_S)]
    disorder: u32,
    /// The most bytes of a batch of the producer's
    #[arg(long, default_value_t = 1_000_000)]
    batch_bytes: u32,
    /// Give each partition as many events, in turn, instead of those of its stores: with few stores some would have many
    #[arg(long)]
    even: bool,
    /// Event time of the first, in Unix seconds
    #[arg(long, default_value_t = START)]
    start: i64,
    /// Seed of everything random
    #[arg(long, default_value_t = 42)]
    seed: u32,
}

impl Load {
    pub fn run(&self) -> Outcome<()> {
        match &self.brokers {
            Some(brokers) => self.load(brokers),
            None => self.print(),
        }
    }

    fn sales(&self) -> Sales {
        Sales {
            start: self.start,
            disorder: f64::from(self.disorder),
            ..Sales::new(self.seed, self.stores, self.events, self.span)
        }
    }

    fn print(&self) -> Outcome<()> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut sales = self.sales();
        for index in 0..self.events {
            sales.next(index);
            out.write_all(&sales.value)?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    fn load(&self, brokers: &str) -> Outcome<()> {
        match self.count(brokers)? {
            0 => (),
            there if there == u64::from(self.events) => return Ok(()),
            there => {
                return Err(format!(
                    "topic {} holds {there} records instead of none or {}: delete it first",
                    self.topic, self.events
                )
                .into());
            }
        }
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "50")
            .set("batch.num.messages", "10000")
            .set("batch.size", self.batch_bytes.to_string())
            .set("queue.buffering.max.messages", "500000")
            .create()?;
        let partitions = kafka::bounds(&kafka::consumer(brokers)?, &self.topic)?.len();
        let mut in_turn = (0..i32::try_from(partitions)?).cycle();
        let mut sales = self.sales();
        let mut shown = Instant::now();
        for index in 0..self.events {
            sales.next(index);
            let partition = if self.even { in_turn.next() } else { None };
            self.send(&producer, &sales, partition)?;
            if shown.elapsed() > Duration::from_secs(1) && std::io::stderr().is_terminal() {
                eprint!("\r{}: {index} of {} events", self.topic, self.events);
                shown = Instant::now();
            }
        }
        producer.flush(Duration::from_secs(60))?;
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        match self.count(brokers)? {
            there if there == u64::from(self.events) => Ok(()),
            there => {
                Err(format!("topic {} holds {there} records after loading", self.topic).into())
            }
        }
    }

    /// Queues one sale, waiting where the client's queue is full; without a partition, for that of its store.
    fn send(&self, producer: &BaseProducer, sales: &Sales, partition: Option<i32>) -> Outcome<()> {
        loop {
            let mut record = BaseRecord::to(&self.topic).key(&sales.store).payload(&sales.value);
            record.partition = partition;
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    fn count(&self, brokers: &str) -> Outcome<u64> {
        let bounds = kafka::bounds(&kafka::consumer(brokers)?, &self.topic)?;
        Ok(u64::try_from(bounds.iter().map(|(begin, end)| end - begin).sum::<i64>())?)
    }
}

/// A topic whose windows are to close.
#[derive(Args)]
pub struct Close {
    /// Kafka's brokers
    #[arg(long)]
    brokers: String,
    /// The topic
    #[arg(long)]
    topic: String,
}

impl Close {
    /// Writes one sale of nothing at the end of each partition, years behind all others.
    ///
    /// # Errors
    /// There is no such topic, or a record was not taken.
    pub fn run(&self) -> Outcome<()> {
        let partitions = kafka::bounds(&kafka::consumer(&self.brokers)?, &self.topic)?.len();
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .create()?;
        let value =
            format!(r#"{{"store": "store-1", "item": "cable", "price": 0.00, "ts": {CLOSING}}}"#);
        for partition in 0..i32::try_from(partitions)? {
            let record =
                BaseRecord::<(), str>::to(&self.topic).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(producer.flush(Duration::from_secs(60))?)
    }
}

/// The sales one after the other, in buffers that are used again.
pub struct Sales {
    random: Twister,
    start: i64,
    disorder: f64,
    stores: f64,
    events: i64,
    span: i64,
    store: Vec<u8>,
    value: Vec<u8>,
}

impl Sales {
    /// Those of this seed: `events` of so many stores, over `span` seconds of event time.
    pub fn new(seed: u32, stores: u32, events: u32, span: u32) -> Sales {
        Sales {
            random: Twister::new(seed),
            start: START,
            disorder: f64::from(DISORDER_S),
            stores: f64::from(stores),
            events: i64::from(events),
            span: i64::from(span),
            store: Vec::with_capacity(16),
            value: Vec::with_capacity(96),
        }
    }

    /// The newest sale's store, which is its key.
    pub fn store(&self) -> &[u8] {
        &self.store
    }

    /// The newest sale as JSON.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Makes the buffers hold sale `index`; called once for each index, in order.
    pub fn next(&mut self, index: u32) {
        let store = self.below(self.stores) + 1;
        let ts =
            self.start + i64::from(index) * self.span / self.events - self.below(self.disorder);
        let cents = self.below(CENTS);
        let item = ITEMS[index as usize % ITEMS.len()];
        self.store.clear();
        self.value.clear();
        let (whole, rest) = (cents / 100, cents % 100);
        write!(self.store, "store-{store}").expect("a buffer takes everything");
        write!(
            self.value,
            r#"{{"store": "store-{store}", "item": "{item}", "price": {whole}.{rest:02}, "ts": {ts}}}"#
        )
        .expect("a buffer takes everything");
    }

    /// Python's `int(random() * limit)`.
    #[expect(clippy::cast_possible_truncation, reason = "limits are far below 2^53")]
    fn below(&mut self, limit: f64) -> i64 {
        (self.random.unit() * limit) as i64
    }
}

/// The Mersenne Twister MT19937 as Python's `random` seeds and reads it (Matsumoto and Nishimura, 1998).
struct Twister {
    state: [u32; Twister::SIZE],
    next: usize,
}

impl Twister {
    const SIZE: usize = 624;
    const SHIFT: usize = 397;

    /// `init_by_array` with the one word `seed`.
    fn new(seed: u32) -> Twister {
        let mut state = [0_u32; Twister::SIZE];
        state[0] = 19_650_218;
        for index in 1..Twister::SIZE {
            let last = state[index - 1];
            state[index] =
                (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(index as u32);
        }
        let mut index = 1;
        for _ in 0..Twister::SIZE {
            let last = state[index - 1];
            state[index] =
                (state[index] ^ (last ^ (last >> 30)).wrapping_mul(1_664_525)).wrapping_add(seed);
            index = Twister::following(&mut state, index);
        }
        for _ in 1..Twister::SIZE {
            let last = state[index - 1];
            state[index] = (state[index] ^ (last ^ (last >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(index as u32);
            index = Twister::following(&mut state, index);
        }
        state[0] = 0x8000_0000;
        Twister { state, next: Twister::SIZE }
    }

    /// The place after `index`; the last word becomes the first where the end is reached.
    fn following(state: &mut [u32; Twister::SIZE], index: usize) -> usize {
        if index + 1 < Twister::SIZE {
            return index + 1;
        }
        state[0] = state[Twister::SIZE - 1];
        1
    }

    fn word(&mut self) -> u32 {
        if self.next == Twister::SIZE {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for index in 0..Twister::SIZE {
            let high = self.state[index] & 0x8000_0000;
            let low = self.state[(index + 1) % Twister::SIZE] & 0x7fff_ffff;
            let mixed = high | low;
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] =
                self.state[(index + Twister::SHIFT) % Twister::SIZE] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// A number in [0, 1) with 53 random bits.
    fn unit(&mut self) -> f64 {
        let high = f64::from(self.word() >> 5);
        let low = f64::from(self.word() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::Sales;

    /// What Python 3 prints with seed 42, 10,000,000 events, 100 stores and a span of 3600 s.
    #[test]
    fn the_sales_are_those_of_pythons_random() {
        let mut sales = Sales::new(42, 100, 10_000_000, 3600);
        let expected = [
            r#"{"store": "store-64", "item": "laptop", "price": 137.51, "ts": 1756800000}"#,
            r#"{"store": "store-23", "item": "mouse", "price": 338.34, "ts": 1756799986}"#,
            r#"{"store": "store-90", "item": "keyboard", "price": 210.96, "ts": 1756799999}"#,
        ];
        for (index, expected) in (0..).zip(expected) {
            sales.next(index);
            assert_eq!(String::from_utf8_lossy(&sales.value), expected);
        }
    }
}
