//! Sends what a generator makes, at its rate, until it has been acknowledged.
//!
//! Invariants: a run that gives `Ok` has every record it sent acknowledged by all in-sync replicas,
//! in the order of its partition, none twice (idempotent producer; for this process only, a second
//! run is new records); sending keeps an absolute schedule, so a slow broker delays events but does
//! not make the rate drift. The first failed delivery ends the sending, and so does a refusal by the
//! cluster.
//!
//! Start at [`run`]. Not here: what is sent (`sales`, `transactions`).

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use super::atomic::{Atomic, Ended, Transactions};
use super::deliveries::Deliveries;
use super::{Generate, Rate, Record};
use crate::kafka::{self, ClientSettings, ErrorKind, KafkaFailure};
use crate::stop::Stop;

/// Where a run sends and when it ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The topic, which must be there.
    pub topic: String,
    /// End after so many events.
    pub events: Option<u64>,
    /// How long to wait for Kafka at the start.
    pub timeout: Duration,
    /// How long to wait for acknowledgements once asked to stop.
    pub drain: Duration,
    /// Whether a bounded run shows a progress bar, if stderr is a terminal. Not beside a generator
    /// that announces its events: the two would write over each other.
    pub progress: bool,
    /// Send in transactions.
    pub transactions: Option<Transactions>,
}

impl Bounds {
    /// The timeout at the start when nothing is said.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The wait for acknowledgements when nothing is said.
    pub const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

    /// Sends to `topic`, without end if `events` is `None`.
    #[must_use]
    pub fn new(topic: &str, events: Option<u64>) -> Bounds {
        Bounds {
            topic: topic.to_owned(),
            events,
            timeout: Bounds::DEFAULT_TIMEOUT,
            drain: Bounds::DEFAULT_DRAIN,
            progress: true,
            transactions: None,
        }
    }
}

/// What was sent, all of it acknowledged; `Display` is the closing line for stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The topic.
    pub topic: String,
    /// Events sent and acknowledged.
    pub events: u64,
    /// From the first event to the last acknowledgement.
    pub elapsed: Duration,
    /// The transactions, if events were sent in such; `events` holds those of aborted ones too.
    pub transactions: Option<Ended>,
}

impl Produced {
    fn nothing(topic: &str) -> Produced {
        Produced { topic: topic.to_owned(), events: 0, elapsed: Duration::ZERO, transactions: None }
    }
}

impl fmt::Display for Produced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Produced { topic, events, elapsed, transactions } = self;
        if *events == 0 {
            return write!(f, "produced 0 events to {topic}");
        }
        let tenths = u128::from(*events) * 10_000_000 / elapsed.as_micros().max(1);
        let per_second = match tenths {
            0..100 => format!("{}.{}", tenths / 10, tenths % 10),
            _ => (tenths / 10).to_string(),
        };
        let plural = if *events == 1 { "" } else { "s" };
        write!(
            f,
            "produced {events} event{plural} to {topic} in {:.1} s ({per_second} events/s), \
             all acknowledged",
            elapsed.as_secs_f64()
        )?;
        match transactions {
            None => Ok(()),
            Some(Ended { committed, aborted, aborted_events }) => write!(
                f,
                "; {committed} transactions committed, {aborted} aborted with {aborted_events} events"
            ),
        }
    }
}

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Kafka could not be reached, or said no.
    #[error(transparent)]
    Kafka(#[from] KafkaFailure),
    /// No such topic.
    #[error(
        "there is no topic {topic} at {}: create it with `sales-stream topics create {topic} \
         --partitions 3{}`",
        settings.brokers(),
        settings.brokers_option()
    )]
    NoTopic {
        /// The topic.
        topic: String,
        /// The cluster.
        settings: ClientSettings,
    },
    /// Some records are not known to be in the topic.
    #[error(
        "{failed} of {sent} events sent to {topic} were not acknowledged ({reason}): they may or may \
         not be in the topic; the other {} are",
        sent - failed
    )]
    NotAcknowledged {
        /// The topic.
        topic: String,
        /// Events handed to the client.
        sent: u64,
        /// Of these, without acknowledgement.
        failed: u64,
        /// The first failure.
        reason: String,
        /// What the first failure asks for.
        kind: ErrorKind,
    },
    /// The cluster turned the client away before the end.
    #[error("{failure}. Events that were acknowledged before: {acknowledged}, none was not")]
    TurnedAway {
        /// Events sent before, all in the topic.
        acknowledged: u64,
        /// The refusal.
        failure: KafkaFailure,
    },
    /// What is told about the events could not be written.
    #[error("writing to stdout failed: {0}")]
    Output(io::Error),
}

impl ProduceError {
    /// What the failure asks for.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ProduceError::Kafka(failure) | ProduceError::TurnedAway { failure, .. } => {
                failure.kind()
            }
            ProduceError::NotAcknowledged { kind, .. } => *kind,
            ProduceError::NoTopic { .. } | ProduceError::Output(_) => ErrorKind::Other,
        }
    }
}

/// Sends until `bounds.events`, `stop`, or a closed pipe on `out`, then waits for the
/// acknowledgements. What a generator announces goes to `out`.
///
/// # Errors
/// See [`ProduceError`].
pub fn run(
    settings: &ClientSettings,
    bounds: &Bounds,
    generator: &mut dyn Generate,
    out: &mut dyn Write,
    stop: &Stop,
) -> Result<Produced, ProduceError> {
    let checked = {
        let (settings, bounds) = (settings.clone(), bounds.clone());
        kafka::unless_stopped(stop, move || check_topic(&settings, &bounds))
    };
    let Some(checked) = checked else { return Ok(Produced::nothing(&bounds.topic)) };
    checked?;
    let producer: BaseProducer<Deliveries> = producer_config(settings, bounds)
        .create_with_context(Deliveries::new(settings))
        .map_err(|error| KafkaFailure::new("setting up a Kafka producer", error))?;
    send_with(&producer, bounds, generator, out, stop)
}

/// Sends with a client of its own.
fn send_with(
    producer: &BaseProducer<Deliveries>,
    bounds: &Bounds,
    generator: &mut dyn Generate,
    out: &mut dyn Write,
    stop: &Stop,
) -> Result<Produced, ProduceError> {
    let started = Instant::now();
    let polling = AtomicBool::new(true);
    let sent = thread::scope(|scope| {
        scope.spawn(|| {
            while polling.load(Ordering::Relaxed) {
                producer.poll(POLL);
            }
        });
        let _end = EndPolling(&polling);
        let sent = Sender { producer, bounds, stop, started }.send(generator, out)?;
        drain(producer, bounds, stop);
        Ok::<_, ProduceError>(sent)
    })?;
    let (events, transactions) = sent;
    settle(producer, bounds, stop, events)?;
    let (topic, elapsed) = (bounds.topic.clone(), started.elapsed());
    Ok(Produced { topic, events, elapsed, transactions })
}

/// Ends the polling thread however the sending ends; the scope would wait for it for ever.
struct EndPolling<'a>(&'a AtomicBool);

impl Drop for EndPolling<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// How long one poll for events waits; also how long a finished run may linger.
const POLL: Duration = Duration::from_millis(10);

fn check_topic(settings: &ClientSettings, bounds: &Bounds) -> Result<(), ProduceError> {
    let consumer = kafka::consumer(settings, &[])?;
    match kafka::topic_partitions(&consumer, &bounds.topic, bounds.timeout)? {
        Some(_) => Ok(()),
        None => {
            Err(ProduceError::NoTopic { topic: bounds.topic.clone(), settings: settings.clone() })
        }
    }
}

fn producer_config(settings: &ClientSettings, bounds: &Bounds) -> ClientConfig {
    let mut config = settings.client_config();
    if let Some(transactions) = &bounds.transactions {
        config.set("transactional.id", &transactions.id);
    }
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // As Kafka's Java client, so that all tools put a key into the same partition.
        .set("partitioner", "murmur2_random")
        // Success is known without a report for each record: the queue is empty, nothing failed.
        .set("delivery.report.only.error", "true");
    config
}

struct Sender<'a> {
    producer: &'a BaseProducer<Deliveries>,
    bounds: &'a Bounds,
    stop: &'a Stop,
    started: Instant,
}

impl Sender<'_> {
    /// Sends until there is a reason to end, in transactions where that is wanted; gives the number of
    /// events the client has taken.
    fn send(
        &self,
        generator: &mut dyn Generate,
        out: &mut dyn Write,
    ) -> Result<(u64, Option<Ended>), ProduceError> {
        let Bounds { transactions, timeout, drain, .. } = self.bounds;
        let begin = |options| Atomic::begin(self.producer, options, self.stop, *timeout, *drain);
        let mut atomic = transactions.as_ref().map(begin).transpose()?;
        let sent = self.send_events(generator, out, &mut atomic)?;
        let Some(mut atomic) = atomic else { return Ok((sent, None)) };
        atomic.end()?;
        Ok((sent, Some(atomic.ended())))
    }

    fn send_events(
        &self,
        generator: &mut dyn Generate,
        out: &mut dyn Write,
        atomic: &mut Option<Atomic<'_>>,
    ) -> Result<u64, ProduceError> {
        let (rate, limit) = (generator.rate(), self.bounds.events.unwrap_or(u64::MAX));
        let (progress, watchable) = (self.progress(), watchable(rate));
        let mut record = Record::default();
        let mut sent = 0;
        while sent < limit && !self.must_end() && !self.wait_until_due(rate, sent) {
            generator.generate(&mut record);
            atomic.as_mut().map_or(Ok(()), Atomic::before_event)?;
            if !self.enqueue(&record)? {
                break;
            }
            atomic.as_mut().map_or(Ok(()), Atomic::after_event)?;
            sent += 1;
            if let Some(bar) = progress.as_ref().filter(|_| watchable || sent % 1024 == 0) {
                bar.set_position(self.acknowledged(sent));
            }
            let told = generator.announce(out);
            match told.and_then(|()| if watchable { out.flush() } else { Ok(()) }) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(ProduceError::Output(error)),
            }
        }
        if let Some(bar) = progress {
            bar.finish_and_clear();
        }
        Ok(sent)
    }

    fn must_end(&self) -> bool {
        let context = self.producer.context();
        self.stop.is_requested() || context.failed() > 0 || context.refusal().is_some()
    }

    /// Sleeps until event `index` is due on the schedule; true if there is a reason to end meanwhile.
    fn wait_until_due(&self, rate: Rate, index: u64) -> bool {
        const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
        let due = Duration::from_nanos(rate.due_ns(index));
        loop {
            let early = due.saturating_sub(self.started.elapsed());
            if early.is_zero() {
                return false;
            }
            if self.stop.wait_timeout(early.min(BETWEEN_LOOKS)) || self.must_end() {
                return true;
            }
        }
    }

    /// Hands the record to the client, waiting while its queue is full; false if the run must end.
    fn enqueue(&self, record: &Record) -> Result<bool, ProduceError> {
        const FULL_PAUSE: Duration = Duration::from_millis(1);
        let mut message = BaseRecord::to(&self.bounds.topic).key(record.key.as_slice());
        message.payload = record.payload();
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(true),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    if self.must_end() {
                        return Ok(false);
                    }
                    thread::sleep(FULL_PAUSE);
                }
                Err((error, _)) => {
                    let Bounds { topic, .. } = self.bounds;
                    let attempted = format!("sending event {} to topic {topic}", record.index);
                    return Err(KafkaFailure::new(attempted, error).into());
                }
            }
        }
    }

    fn acknowledged(&self, sent: u64) -> u64 {
        let waiting = u64::try_from(self.producer.in_flight_count()).unwrap_or(0);
        sent.saturating_sub(waiting)
    }

    fn progress(&self) -> Option<ProgressBar> {
        let events =
            self.bounds.events.filter(|_| self.bounds.progress && io::stderr().is_terminal())?;
        let style = ProgressStyle::with_template(
            "{wide_bar} {human_pos}/{human_len} events, {per_sec}, {eta} left",
        )
        .expect("a fixed template");
        let target = ProgressDrawTarget::stderr_with_hz(5);
        Some(ProgressBar::with_draw_target(Some(events), target).with_style(style))
    }
}

/// Whether a person could follow single events: a faster run is told about in larger pieces.
fn watchable(rate: Rate) -> bool {
    match rate {
        Rate::Unlimited => false,
        Rate::Micro(micro) => micro <= 100 * super::MILLION,
    }
}

/// Waits until nothing is on its way any more: acknowledged or failed. Asked to stop or turned away, only
/// for `bounds.drain`; otherwise until the client itself gives up (`message.timeout.ms`, 5 minutes).
///
/// Not until `in_flight_count` is 0: lines of the client's log count there, and flushing makes new ones.
fn drain(producer: &BaseProducer<Deliveries>, bounds: &Bounds, stop: &Stop) {
    let mut deadline = None;
    // Flushing ends the lingering of records as well.
    while producer.flush(POLL).is_err() {
        let is_hurried = stop.is_requested() || producer.context().refusal().is_some();
        let now = Instant::now();
        if is_hurried && now >= *deadline.get_or_insert(now + bounds.drain) {
            return;
        }
    }
}

/// Has the client give up what is still on its way, so that it is counted as failed; gives the number of
/// records of which even that is not known.
fn give_up(producer: &BaseProducer<Deliveries>) -> u64 {
    const ALL_REPORTED_WITHIN: Duration = Duration::from_secs(1);
    if producer.flush(Duration::ZERO).is_ok() {
        return 0;
    }
    producer.purge(PurgeConfig::default().queue().inflight());
    if producer.flush(ALL_REPORTED_WITHIN).is_ok() {
        return 0;
    }
    u64::try_from(producer.in_flight_count()).unwrap_or(0)
}

/// The verdict, once [`drain`] is through.
fn settle(
    producer: &BaseProducer<Deliveries>,
    bounds: &Bounds,
    stop: &Stop,
    sent: u64,
) -> Result<(), ProduceError> {
    let unknown = give_up(producer);
    let deliveries = producer.context();
    let failed = (deliveries.failed() + unknown).min(sent);
    let topic = bounds.topic.clone();
    let refused = deliveries
        .refusal()
        .map(|refusal| KafkaFailure::refused(format!("sending to topic {topic}"), &refusal));
    if failed == 0 {
        let is_complete = stop.is_requested() || bounds.events == Some(sent);
        return match refused {
            Some(failure) if !is_complete => {
                Err(ProduceError::TurnedAway { acknowledged: sent, failure })
            }
            _ => Ok(()),
        };
    }
    let (kind, reason) = match (refused, deliveries.first()) {
        (Some(failure), _) => (ErrorKind::Refused, failure.to_string()),
        (None, Some(first)) => {
            (kafka::kind_of(&KafkaError::MessageProduction(first)), first.to_string())
        }
        (None, None) => {
            let waited_s = bounds.drain.as_secs();
            (ErrorKind::Unreachable, format!("not within {waited_s} s of the request to stop"))
        }
    };
    Err(ProduceError::NotAcknowledged { topic, sent, failed, reason, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{EmbeddedBroker, TopicSpec};
    use crate::consume::{self, ConsumeOptions};
    use crate::kafka::Trust;
    use crate::producer::{SalesGenerator, SalesOptions, TransactionGenerator, TransactionOptions};
    use crate::types::Timestamp;
    use jiff::tz::TimeZone;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use std::collections::BTreeMap;

    const START: Timestamp = Timestamp(1_756_800_000_000_000);

    fn broker() -> (EmbeddedBroker, ClientSettings) {
        let broker = EmbeddedBroker::start(&[TopicSpec::new("sales", 3)]).unwrap();
        let settings = ClientSettings::new(broker.address(), Vec::new(), Trust::SafeOptionsOnly);
        (broker, settings.unwrap())
    }

    fn sales(rate: Rate) -> SalesGenerator {
        SalesGenerator::new(SalesOptions { rate, stores: 20, ..SalesOptions::new(START, 7) })
    }

    /// The values in a partition, oldest first.
    fn read(settings: &ClientSettings, partition: Option<i32>, max: u64) -> Vec<String> {
        let stop = Stop::new();
        let mut out = Vec::new();
        let options = ConsumeOptions {
            from_beginning: true,
            max: Some(max),
            partition,
            ..ConsumeOptions::new("sales")
        };
        let consumed = consume::run(settings, &options, &mut out, &stop).unwrap();
        assert_eq!(consumed.records, max);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn everything_produced_is_acknowledged_and_can_be_consumed() {
        const EVENTS: u64 = 5000;
        let (broker, settings) = broker();
        let bounds = Bounds::new("sales", Some(EVENTS));
        let produced =
            run(&settings, &bounds, &mut sales(Rate::Unlimited), &mut io::sink(), &Stop::new());
        assert_eq!(produced.unwrap().events, EVENTS);
        let mut consumed = read(&settings, None, EVENTS);
        let mut expected: Vec<String> = sales(Rate::Unlimited)
            .take(5000)
            .map(|record| String::from_utf8(record.value).unwrap())
            .collect();
        consumed.sort();
        expected.sort();
        assert_eq!(consumed, expected);
        drop(broker);
    }

    /// Expected partitions by Kafka's own rule: `toPositive(murmur2(key)) % 3`, computed with an
    /// independent implementation that is held against the vectors of Kafka's `UtilsTest`.
    #[test]
    fn a_store_goes_to_the_partition_that_kafkas_own_tools_choose() {
        assert_eq!(murmur2(b"21"), -973_932_308);
        assert_eq!(murmur2(b"foobar"), -790_332_482);
        let (broker, settings) = broker();
        let bounds = Bounds::new("sales", Some(300));
        run(&settings, &bounds, &mut sales(Rate::Unlimited), &mut io::sink(), &Stop::new())
            .unwrap();
        let mut expected: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for record in sales(Rate::Unlimited).take(300) {
            let partition = (murmur2(&record.key) & 0x7fff_ffff) % 3;
            expected.entry(partition).or_default().push(String::from_utf8(record.value).unwrap());
        }
        assert_eq!(expected.len(), 3);
        for (partition, values) in expected {
            let count = u64::try_from(values.len()).unwrap();
            assert_eq!(read(&settings, Some(partition), count), values, "partition {partition}");
        }
        drop(broker);
    }

    /// `org.apache.kafka.common.utils.Utils.murmur2`
    fn murmur2(data: &[u8]) -> i32 {
        const M: u32 = 0x5bd1_e995;
        let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap();
        let mut chunks = data.chunks_exact(4);
        for chunk in &mut chunks {
            let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
            k = (k ^ (k >> 24)).wrapping_mul(M);
            hash = hash.wrapping_mul(M) ^ k;
        }
        for (place, byte) in chunks.remainder().iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        if !chunks.remainder().is_empty() {
            hash = hash.wrapping_mul(M);
        }
        hash = (hash ^ (hash >> 13)).wrapping_mul(M);
        (hash ^ (hash >> 15)).cast_signed()
    }

    #[test]
    fn a_request_to_stop_ends_a_slow_run_at_once_with_all_acknowledged() {
        let (broker, settings) = broker();
        let stop = Stop::new();
        let (first, told) = std::sync::mpsc::channel();
        let stopper = {
            let stop = stop.clone();
            thread::spawn(move || {
                told.recv().unwrap();
                stop.request();
            })
        };
        let started = Instant::now();
        // The second event would be due in a day.
        let rate = "0.00001".parse().unwrap();
        let options =
            TransactionOptions { rate, ..TransactionOptions::new(START, TimeZone::UTC, 7) };
        let mut generator = TransactionGenerator::new(options);
        let bounds = Bounds::new("sales", None);
        let produced = run(&settings, &bounds, &mut generator, &mut Tell(first), &stop).unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(produced.events, 1);
        assert!(produced.to_string().starts_with("produced 1 event to sales in "), "{produced}");
        stopper.join().unwrap();
        drop(broker);
    }

    /// Passes on that something was written.
    struct Tell(std::sync::mpsc::Sender<()>);

    impl Write for Tell {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Whoever is told once may be gone.
            let _ = self.0.send(());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_limited_rate_is_kept_on_the_whole() {
        let (broker, settings) = broker();
        let bounds = Bounds::new("sales", Some(101));
        let mut generator = sales(Rate::per_second(200));
        let produced =
            run(&settings, &bounds, &mut generator, &mut io::sink(), &Stop::new()).unwrap();
        // The 101st event is due after half a second; a busy machine may only be later.
        assert!(produced.elapsed >= Duration::from_millis(500), "{:?}", produced.elapsed);
        drop(broker);
    }

    #[test]
    fn the_closing_line_says_how_many_how_long_and_how_fast() {
        let check = |events, elapsed, expected: &str| {
            let produced = Produced { topic: "sales".into(), events, elapsed, transactions: None };
            assert_eq!(produced.to_string(), expected);
        };
        check(
            123,
            Duration::from_millis(4200),
            "produced 123 events to sales in 4.2 s (29 events/s), all acknowledged",
        );
        check(
            4,
            Duration::from_secs(7),
            "produced 4 events to sales in 7.0 s (0.5 events/s), all acknowledged",
        );
    }

    #[test]
    fn events_in_transactions_are_committed_or_aborted_as_wanted() {
        let (broker, settings) = broker();
        let transactions = Transactions {
            id: "seven".into(),
            size: 10.try_into().unwrap(),
            abort_every: Some(2.try_into().unwrap()),
        };
        let bounds = Bounds { transactions: Some(transactions), ..Bounds::new("sales", Some(35)) };
        let mut generator = sales(Rate::Unlimited);
        let produced = run(&settings, &bounds, &mut generator, &mut io::sink(), &Stop::new());
        let produced = produced.unwrap();
        let ended = Ended { committed: 2, aborted: 2, aborted_events: 15 };
        assert_eq!((produced.events, produced.transactions), (35, Some(ended)));
        let told = "; 2 transactions committed, 2 aborted with 15 events";
        assert!(produced.to_string().ends_with(told), "{produced}");
        drop(broker);
    }

    #[test]
    fn a_missing_topic_is_an_error_with_the_command_that_makes_it() {
        let (broker, settings) = broker();
        let bounds = Bounds::new("sails", Some(1));
        let refused = run(&settings, &bounds, &mut sales(Rate::ONE), &mut io::sink(), &Stop::new());
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("sales-stream topics create sails --partitions 3"), "{message}");
        drop(broker);
    }

    #[test]
    fn a_record_that_kafka_refuses_fails_the_run_with_its_reason() {
        let (broker, settings) = broker();
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 10];
        broker.cluster().request_errors(RDKafkaApiKey::Produce, &errors);
        let bounds = Bounds::new("sales", Some(3));
        let refused =
            run(&settings, &bounds, &mut sales(Rate::Unlimited), &mut io::sink(), &Stop::new())
                .unwrap_err();
        let message = refused.to_string();
        assert!(matches!(refused, ProduceError::NotAcknowledged { failed: 1.., .. }), "{message}");
        assert_eq!(refused.kind(), ErrorKind::Refused, "{message}");
        assert!(message.contains("sales") && message.contains("authorization"), "{message}");
        drop(broker);
    }

    #[test]
    fn a_broker_that_is_gone_is_waited_for_only_so_long_after_a_request_to_stop() {
        let (broker, settings) = broker();
        let stop = Stop::new();
        let bounds = Bounds { drain: Duration::from_millis(200), ..Bounds::new("sales", None) };
        let mut out = StopWhenTold { broker: &broker, stop: &stop };
        let options = TransactionOptions {
            rate: Rate::per_second(20),
            ..TransactionOptions::new(START, TimeZone::UTC, 7)
        };
        let mut generator = TransactionGenerator::new(options);
        let started = Instant::now();
        let error = run(&settings, &bounds, &mut generator, &mut out, &stop).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains("were not acknowledged"), "{error}");
    }

    /// Takes the broker away and asks to stop as soon as the first event is announced.
    struct StopWhenTold<'a> {
        broker: &'a EmbeddedBroker,
        stop: &'a Stop,
    }

    impl Write for StopWhenTold<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.broker.cluster().broker_down(-1).map_err(io::Error::other)?;
            self.stop.request();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_cluster_that_turns_the_client_away_ends_the_run_with_the_count_of_what_is_there() {
        let check = |rate, transactions: Option<Transactions>, expected: &[&str]| {
            let (broker, settings) = broker();
            let bounds = Bounds { transactions, ..Bounds::new("sales", None) };
            let producer: BaseProducer<Deliveries> = producer_config(&settings, &bounds)
                .create_with_context(Deliveries::new(&settings))
                .unwrap();
            // What is on its way is acknowledged, a transaction is not committed.
            let gone = bounds.transactions.is_some().then_some(&broker);
            let mut out = RefuseWhenTold { producer: &producer, gone };
            let options =
                TransactionOptions { rate, ..TransactionOptions::new(START, TimeZone::UTC, 7) };
            let mut generator = TransactionGenerator::new(options);
            let started = Instant::now();
            let refused = send_with(&producer, &bounds, &mut generator, &mut out, &Stop::new());
            let refused = refused.unwrap_err();
            assert!(started.elapsed() < Duration::from_secs(30));
            assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
            let message = refused.to_string();
            for words in expected.iter().chain(&["no such user", "sasl.password"]) {
                assert!(message.contains(words), "{words}: {message}");
            }
            drop(broker);
        };
        // The second event would be due in a day.
        let slow = "0.00001".parse().unwrap();
        check(slow, None, &["sending to topic sales", "acknowledged before: 1"]);
        let each_three =
            Transactions { id: "t".into(), size: 3.try_into().unwrap(), abort_every: None };
        check(slow, Some(each_three), &["after 0 committed and 0 aborted"]);
    }

    /// Has the cluster refuse the client as soon as the first event is announced.
    struct RefuseWhenTold<'a> {
        producer: &'a BaseProducer<Deliveries>,
        /// Goes away, too.
        gone: Option<&'a EmbeddedBroker>,
    }

    impl Write for RefuseWhenTold<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let code = KafkaError::Global(RDKafkaErrorCode::Authentication);
            rdkafka::ClientContext::error(&**self.producer.context(), code, "no such user");
            let down = self.gone.map(|broker| broker.cluster().broker_down(-1));
            down.transpose().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_the_clients_log_are_nothing_on_its_way() {
        let (broker, settings) = broker();
        let bounds = Bounds::new("sales", None);
        let mut config = producer_config(&settings, &bounds);
        config.set("debug", "all").set_log_level(rdkafka::config::RDKafkaLogLevel::Debug);
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::new(&settings)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while producer.in_flight_count() == 0 {
            assert!(Instant::now() < deadline, "a client says something when it begins");
            thread::sleep(Duration::from_millis(1));
        }
        // Nobody takes the lines.
        let (done, drained) = std::sync::mpsc::channel();
        thread::spawn(move || {
            drain(&producer, &bounds, &Stop::new());
            let settled = settle(&producer, &bounds, &Stop::new(), 0);
            let _ = done.send(settled.is_ok());
        });
        assert_eq!(drained.recv_timeout(Duration::from_secs(30)), Ok(true));
        drop(broker);
    }

    #[test]
    fn transactions_are_announced_one_a_line() {
        let (broker, settings) = broker();
        let options = TransactionOptions {
            rate: Rate::per_second(1000),
            ..TransactionOptions::new(START, TimeZone::UTC, 7)
        };
        let mut out = Vec::new();
        let mut generator = TransactionGenerator::new(options);
        run(&settings, &Bounds::new("sales", Some(3)), &mut generator, &mut out, &Stop::new())
            .unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count(), 3);
        assert!(out.starts_with("[0] ") && out.contains("\n[2] "), "{out}");
        drop(broker);
    }
}
