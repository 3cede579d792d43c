//! Looking at a topic raw: its records' values, one a line.
//!
//! Invariants: nothing is committed to Kafka, whatever happens; open and aborted transactions are
//! never shown. Start at [`run`].
//!
//! Not here: how the engine reads (`source/kafka`).

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::kafka::{self, ClientSettings, ErrorKind, KafkaConsumer, KafkaFailure};
use crate::stop::Stop;

/// Consumers that are assigned their partitions still need a group's name; no offset is ever
/// committed to it.
const GROUP: &str = "sales-stream-consume";

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// The topic.
    pub topic: String,
    /// From the oldest record on; otherwise only what arrives after the start.
    pub from_beginning: bool,
    /// End after so many records.
    pub max: Option<u64>,
    /// Only this partition.
    pub partition: Option<i32>,
    /// How long to wait for Kafka at the start.
    pub timeout: Duration,
}

impl ConsumeOptions {
    /// The timeout when nothing is said.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// New records of all partitions, without end.
    #[must_use]
    pub fn new(topic: &str) -> ConsumeOptions {
        ConsumeOptions {
            topic: topic.to_owned(),
            from_beginning: false,
            max: None,
            partition: None,
            timeout: ConsumeOptions::DEFAULT_TIMEOUT,
        }
    }
}

/// What was shown; `Display` is the closing line for stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// The topic.
    pub topic: String,
    /// Records shown.
    pub records: u64,
    /// Partitions read.
    pub partitions: usize,
}

impl fmt::Display for Consumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Consumed { topic, records, partitions } = self;
        let records_word = if *records == 1 { "record" } else { "records" };
        let partitions_word = if *partitions == 1 { "partition" } else { "partitions" };
        write!(f, "consumed {records} {records_word} of {topic}")?;
        match partitions {
            // Stopped before Kafka said how many there are.
            0 => Ok(()),
            _ => write!(f, " ({partitions} {partitions_word})"),
        }
    }
}

/// Why a topic could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Kafka could not be reached, or said no.
    #[error(transparent)]
    Kafka(#[from] KafkaFailure),
    /// No such topic.
    #[error(
        "there is no topic {topic} at {}: create it with `sales-stream topics create {topic} \
         --partitions 3{option}`, or look at `sales-stream topics list{option}`",
        settings.brokers(),
        option = settings.brokers_option()
    )]
    NoTopic {
        /// The topic.
        topic: String,
        /// The cluster.
        settings: ClientSettings,
    },
    /// No such partition.
    #[error("topic {topic} has partitions 0 to {last}, not {partition}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// Its last partition.
        last: i32,
    },
    /// The records could not be written.
    #[error("writing the records of topic {topic} failed: {source}")]
    Output {
        /// The topic.
        topic: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl ConsumeError {
    /// What the failure asks for.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConsumeError::Kafka(failure) => failure.kind(),
            _ => ErrorKind::Other,
        }
    }
}

/// Writes each record's value and a newline to `out` until `max`, `stop`, or a closed pipe.
///
/// A record without a value (a tombstone) is shown as `null`. Values are written as they are, also
/// when they are not JSON or hold newlines. `out` is flushed whenever no further record is waiting.
///
/// # Errors
/// See [`ConsumeError`]. A broker that goes away after the start is waited for.
pub fn run(
    settings: &ClientSettings,
    options: &ConsumeOptions,
    out: &mut dyn Write,
    stop: &Stop,
) -> Result<Consumed, ConsumeError> {
    let consumer = kafka::consumer(
        settings,
        &[
            ("group.id", GROUP),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
            // Retention may overtake a reader; here that only means to go on with what is left.
            ("auto.offset.reset", "earliest"),
        ],
    )?;
    let prepared = {
        let (settings, options) = (settings.clone(), options.clone());
        kafka::unless_stopped(stop, move || {
            let partitions = choose_partitions(&consumer, &settings, &options)?;
            assign(&consumer, &options, &partitions)?;
            Ok::<_, ConsumeError>((consumer, partitions))
        })
    };
    let Some(prepared) = prepared else {
        return Ok(Consumed { topic: options.topic.clone(), records: 0, partitions: 0 });
    };
    let (consumer, partitions) = prepared?;
    let shown = show(&consumer, settings, options, out, stop);
    // Closing may wait for a broker that is gone; nothing depends on it.
    kafka::close_within(consumer, Duration::from_secs(2));
    Ok(Consumed { topic: options.topic.clone(), records: shown?, partitions: partitions.len() })
}

fn choose_partitions(
    consumer: &KafkaConsumer,
    settings: &ClientSettings,
    options: &ConsumeOptions,
) -> Result<Vec<i32>, ConsumeError> {
    let topic = &options.topic;
    let found = kafka::topic_partitions(consumer, topic, options.timeout)?.ok_or_else(|| {
        ConsumeError::NoTopic { topic: topic.clone(), settings: settings.clone() }
    })?;
    let all: Vec<i32> = found.iter().map(|partition| partition.id).collect();
    match options.partition {
        None => Ok(all),
        Some(partition) if all.contains(&partition) => Ok(vec![partition]),
        Some(partition) => {
            let last = all.last().copied().unwrap_or(0);
            Err(ConsumeError::NoPartition { topic: topic.clone(), partition, last })
        }
    }
}

/// Fixes where each partition starts before anything is read, so that "latest" means the moment of
/// the start and not of the first fetch.
fn assign(
    consumer: &KafkaConsumer,
    options: &ConsumeOptions,
    partitions: &[i32],
) -> Result<(), ConsumeError> {
    let mut list = TopicPartitionList::new();
    for &partition in partitions {
        let attempted = || format!("finding the start of {}/{partition}", options.topic);
        let start = if options.from_beginning {
            Offset::Beginning
        } else {
            let (_, end) = consumer
                .fetch_watermarks(&options.topic, partition, options.timeout)
                .map_err(|error| KafkaFailure::new(attempted(), error))?;
            Offset::Offset(end)
        };
        list.add_partition_offset(&options.topic, partition, start)
            .map_err(|error| KafkaFailure::new(attempted(), error))?;
    }
    let attempted = || format!("reading topic {}", options.topic);
    Ok(consumer.assign(&list).map_err(|error| KafkaFailure::new(attempted(), error))?)
}

/// The loop: gives the number of records shown.
fn show(
    consumer: &KafkaConsumer,
    settings: &ClientSettings,
    options: &ConsumeOptions,
    out: &mut dyn Write,
    stop: &Stop,
) -> Result<u64, ConsumeError> {
    const PATIENCE: Duration = Duration::from_millis(100);
    let max = options.max.unwrap_or(u64::MAX);
    let mut shown = 0;
    while shown < max && !stop.is_requested() {
        let polled = match consumer.poll(Duration::ZERO) {
            Some(polled) => Some(polled),
            None => {
                if reader_left(out.flush(), options)? {
                    return Ok(shown);
                }
                consumer.poll(PATIENCE)
            }
        };
        match polled {
            None => {}
            Some(Ok(message)) => {
                if reader_left(write_line(out, message.payload()), options)? {
                    return Ok(shown);
                }
                shown += 1;
            }
            Some(Err(error)) => give_up_if_hopeless(settings, options, error)?,
        }
    }
    reader_left(out.flush(), options)?;
    Ok(shown)
}

fn write_line(out: &mut dyn Write, value: Option<&[u8]>) -> io::Result<()> {
    out.write_all(value.unwrap_or(b"null"))?;
    out.write_all(b"\n")
}

/// Whether the other end of the pipe is closed: an ordinary end, as with `| head`.
fn reader_left(written: io::Result<()>, options: &ConsumeOptions) -> Result<bool, ConsumeError> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(source) => Err(ConsumeError::Output { topic: options.topic.clone(), source }),
    }
}

/// Most errors pass (the client tries again and its context logs them); a refusal or a topic that is
/// gone does not.
fn give_up_if_hopeless(
    settings: &ClientSettings,
    options: &ConsumeOptions,
    error: KafkaError,
) -> Result<(), ConsumeError> {
    match error.rdkafka_error_code() {
        // The group is only a name here: no permission on it is needed to read.
        Some(RDKafkaErrorCode::GroupAuthorizationFailed) => Ok(()),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            let (topic, settings) = (options.topic.clone(), settings.clone());
            Err(ConsumeError::NoTopic { topic, settings })
        }
        _ if kafka::kind_of(&error) == ErrorKind::Refused => {
            Err(KafkaFailure::new(format!("reading topic {}", options.topic), error).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{EmbeddedBroker, TopicSpec};
    use crate::kafka::Trust;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use std::sync::mpsc;
    use std::thread;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn broker() -> (EmbeddedBroker, ClientSettings) {
        let broker = EmbeddedBroker::start(&[TopicSpec::new("raw", 2)]).unwrap();
        let settings =
            ClientSettings::new(broker.address(), Vec::new(), Trust::SafeOptionsOnly).unwrap();
        (broker, settings)
    }

    fn send(settings: &ClientSettings, partition: i32, values: &[Option<&str>]) {
        let producer: BaseProducer = settings.client_config().create().unwrap();
        for value in values {
            let mut record: BaseRecord<'_, str, str> = BaseRecord::to("raw").partition(partition);
            record.payload = *value;
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
    }

    fn from_beginning(max: u64) -> ConsumeOptions {
        ConsumeOptions { from_beginning: true, max: Some(max), ..ConsumeOptions::new("raw") }
    }

    /// Hands each flushed piece to the test.
    struct Pipe(mpsc::Sender<Vec<u8>>, Vec<u8>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0
                .send(std::mem::take(&mut self.1))
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        }
    }

    #[test]
    fn values_are_shown_one_a_line_and_tombstones_as_null() {
        let (_broker, settings) = broker();
        send(&settings, 1, &[Some("{\"a\":1}"), None, Some("not json"), Some("more")]);
        let mut out = Vec::new();
        let consumed = run(&settings, &from_beginning(3), &mut out, &Stop::new()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":1}\nnull\nnot json\n");
        assert_eq!(consumed.to_string(), "consumed 3 records of raw (2 partitions)");
    }

    #[test]
    fn without_from_beginning_only_new_records_are_shown_until_the_stop() {
        let (_broker, settings) = broker();
        send(&settings, 0, &[Some("old")]);
        let stop = Stop::new();
        let (pipe, flushed) = mpsc::channel();
        let reader = {
            let (settings, stop) = (settings.clone(), stop.clone());
            thread::spawn(move || {
                run(&settings, &ConsumeOptions::new("raw"), &mut Pipe(pipe, Vec::new()), &stop)
            })
        };
        // The first flush comes when the positions are fixed and nothing is there.
        assert_eq!(flushed.recv_timeout(DEADLINE).unwrap(), b"");
        send(&settings, 0, &[Some("new")]);
        let mut shown = Vec::new();
        while shown.is_empty() {
            shown.extend(flushed.recv_timeout(DEADLINE).unwrap());
        }
        stop.request();
        assert_eq!(shown, b"new\n");
        assert_eq!(reader.join().unwrap().unwrap().records, 1);
    }

    #[test]
    fn a_closed_pipe_ends_it_cleanly() {
        let (_broker, settings) = broker();
        send(&settings, 0, &[Some("one"), Some("two")]);
        let (pipe, flushed) = mpsc::channel();
        drop(flushed);
        let mut options = from_beginning(0);
        options.max = None;
        run(&settings, &options, &mut Pipe(pipe, Vec::new()), &Stop::new()).unwrap();
    }

    #[test]
    fn what_is_not_there_is_named() {
        let (_broker, settings) = broker();
        let check = |options: ConsumeOptions, expected: &str| {
            let message =
                run(&settings, &options, &mut io::sink(), &Stop::new()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(ConsumeOptions::new("row"), "sales-stream topics create row");
        let far = ConsumeOptions { partition: Some(2), ..ConsumeOptions::new("raw") };
        check(far, "topic raw has partitions 0 to 1, not 2");
    }
}
