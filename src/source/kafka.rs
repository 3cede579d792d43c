//! The source that reads Kafka.
//!
//! Two clients: one asks and commits for as long as the source lives, one reads and is made anew by
//! every [`Source::assign`], so that nothing fetched for an earlier position can ever be handed out
//! for a later one.
//!
//! Invariants: positions come from the caller alone (no group offsets, no reset policy); a partition
//! ends where a record, an end-of-partition message or a control record says so, never because
//! nothing came; commits are written for lag tools and the witness, and never read as a position.
//!
//! Start at [`KafkaSource`]. The parts: `native` (the C interface), `reader` (records in order),
//! `options` (settings of the two clients), `witness` (commit metadata). Not here: what users may set
//! and how errors are told apart (`crate::kafka`).

mod native;
mod options;
mod reader;
mod witness;

use std::{
    collections::BTreeMap,
    ffi::CString,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};

pub use options::{PartitionRoom, TUNING};

use crate::{
    batch::{Begun, Bounds, WitnessFact},
    checkpoint::Visible,
    faults::{Mutant, is_planted},
    kafka::{self, ClientSettings, ErrorKind, KafkaConsumer, KafkaContext, KafkaFailure, kind_of},
    source::{Committer, Progress, Source, SourceError, Taker, TopicDescription},
    types::{LeaderEpoch, Offset, Partition, Position},
};

use native::{Asking, NativeError};
use reader::{ReadError, Reader};

/// How long one question may take before the caller gets to know that nobody answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The same where the start's own time is almost over.
const LEAST_ANSWER_TIMEOUT: Duration = Duration::from_millis(50);
/// How long one commit may take; a later one covers a lost one.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of a client may hold up the process; then it is left behind.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(50);
/// How often the same damage is read again before it is taken for permanent.
const REREADS: u32 = 5;
/// How long nothing may come while something should, before that is looked into.
const STALL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the look may take: the loop waits for it.
const STALL_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What to read.
#[derive(Clone, Debug)]
pub struct KafkaSourceConfig {
    /// The cluster.
    pub settings: ClientSettings,
    /// The topic.
    pub topic: String,
    /// The consumer group, used for commits only.
    pub group_id: String,
    /// How long the start may wait for the first answer, if there is a limit: no single question before
    /// that answer takes longer than what is left.
    pub startup_timeout: Option<Duration>,
    /// Whether a topic that is made again under the name while it is read is gone on with.
    pub follows_new_topic: bool,
    /// How many fetched bytes may wait, of all partitions together.
    pub queue_bytes: usize,
}

impl KafkaSourceConfig {
    /// As many bytes wait where memory is not short.
    pub const QUEUE_BYTES: usize = 12 << 20;
}

/// A topic of a Kafka cluster.
pub struct KafkaSource {
    config: KafkaSourceConfig,
    topic: CString,
    asking: Arc<Client>,
    reader: Option<Reader>,
    /// What was described first: a topic that was there and is not any more was deleted.
    known: Option<TopicDescription>,
    made: Instant,
    rereads: Rereads,
    stalled_since: Option<Instant>,
    /// A partition ended before its part of the batch, when it was last looked at.
    seemed_cut_off: bool,
    /// Kafka's own positions, where a mutant reads from them.
    #[cfg(feature = "faults")]
    planted: BTreeMap<Partition, Offset>,
}

impl KafkaSource {
    /// Makes the client that asks. Nothing has been sent when this returns.
    ///
    /// # Errors
    /// `Usage` when librdkafka does not accept the options, `Refused` for the topic's name.
    pub fn new(config: KafkaSourceConfig) -> Result<KafkaSource, SourceError> {
        let topic = native::topic_name(&config.topic).map_err(|error| {
            SourceError::Refused(format!("topic name {:?}: {}", config.topic, error.text))
        })?;
        let client = options::asking(&config)?;
        Ok(KafkaSource {
            config,
            topic,
            asking: Arc::new(Client::new(client)),
            reader: None,
            known: None,
            made: Instant::now(),
            rereads: Rereads::default(),
            stalled_since: None,
            seemed_cut_off: false,
            #[cfg(feature = "faults")]
            planted: BTreeMap::new(),
        })
    }

    /// What Kafka has committed, for a mutant that reads from there.
    #[cfg(feature = "faults")]
    fn note_commits(&mut self, partitions: &[Partition]) {
        let mut list = rdkafka::TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.config.topic, partition.0);
        }
        let asked = self.asking.consumer().committed_offsets(list, ANSWER_TIMEOUT);
        for element in asked.iter().flat_map(|list| list.elements()) {
            if let rdkafka::Offset::Offset(offset) = element.offset() {
                self.planted.insert(Partition(element.partition()), Offset(offset));
            }
        }
    }

    fn asking<T>(
        &self,
        attempted: &str,
        question: impl FnOnce(Asking<'_>) -> Result<T, NativeError>,
    ) -> Result<T, SourceError> {
        self.asking.ask(ANSWER_TIMEOUT, question).map_err(|error| self.failure(attempted, error))
    }

    fn failure(&self, attempted: &str, error: NativeError) -> SourceError {
        failure(&self.asking, attempted, error)
    }

    fn first_answer_timeout(&self) -> Duration {
        match (&self.known, self.config.startup_timeout) {
            (None, Some(limit)) => limit
                .saturating_sub(self.made.elapsed())
                .clamp(LEAST_ANSWER_TIMEOUT, ANSWER_TIMEOUT),
            _ => ANSWER_TIMEOUT,
        }
    }

    /// A topic that cannot be found: deleted if it was there, and otherwise never made.
    fn no_topic(&self) -> SourceError {
        let topic = &self.config.topic;
        match self.known {
            Some(_) => SourceError::Lost(format!(
                "topic {topic} was deleted on the cluster at {} while it was being read",
                self.config.settings.brokers()
            )),
            None => SourceError::NoTopic(format!(
                "there is no topic {topic} on the cluster at {}: make it with `sales-stream topics \
                 create {topic} --partitions 3{}`, or name another one with --topic",
                self.config.settings.brokers(),
                self.config.settings.brokers_option()
            )),
        }
    }

    /// The offset a partition is needed from is not there; says what is.
    fn gone(&self, partition: Partition, wanted: Offset, detail: &str) -> SourceError {
        let topic = &self.config.topic;
        let range = self.asking("", |asking| asking.bounds(&self.topic, &[partition]));
        let there =
            match range.as_ref().map(|[earliest, latest]| (earliest.first(), latest.first())) {
                Ok((Some((_, Ok(earliest))), Some((_, Ok(latest))))) => {
                    format!("Kafka now has offsets {earliest} up to, not including, {latest}")
                }
                _ => "what Kafka has now could not be found out".to_owned(),
            };
        SourceError::Gone(format!(
            "partition {partition} of topic {topic} cannot be read from offset {wanted}: {there} \
             ({detail}). Records that were not yet read were deleted (retention) or cut off \
             (unclean leader election)"
        ))
    }

    fn read_error(&mut self, error: ReadError) -> SourceError {
        match error {
            ReadError::Bad(record) => SourceError::BadRecord(record),
            ReadError::Gone { partition, wanted, detail } => self.gone(partition, wanted, &detail),
            ReadError::Refused(refusal) => {
                let attempted = format!("reading topic {}", self.config.topic);
                SourceError::Refused(KafkaFailure::refused(attempted, &refusal).to_string())
            }
            ReadError::Untrusted { place, detail } => {
                let topic = &self.config.topic;
                let at = place.map_or_else(String::new, |(partition, offset)| {
                    format!(" at offset {offset} of partition {partition}")
                });
                let problem = format!("reading topic {topic}{at} failed: {detail}");
                if self.rereads.again(place) > REREADS {
                    return SourceError::Lost(format!(
                        "{problem}; it was read {REREADS} times with the same outcome. Nothing was \
                         skipped: repair the topic's log, or begin behind the damage with a new \
                         --checkpoint-dir and --starting-offsets"
                    ));
                }
                SourceError::Reread(problem)
            }
        }
    }

    /// Whether a partition ends before where it is to be read to: its log was cut off, and what is
    /// waited for will not come. A leader that was just elected may know less for a moment, so it is
    /// only believed the second time.
    fn look_for_cut_off(&mut self, ends: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        let partitions: Vec<_> = ends.keys().copied().collect();
        let bounds = self.bounds(&partitions)?;
        let cut_off = bounds.iter().find(|(partition, bounds)| bounds.latest < ends[*partition]);
        let Some((partition, bounds)) = cut_off else {
            self.seemed_cut_off = false;
            return Ok(());
        };
        let problem = format!(
            "partition {partition} of topic {} ends at {} although records up to {} were promised: \
             the log was cut off (an unclean leader election)",
            self.config.topic, bounds.latest, ends[partition]
        );
        if self.seemed_cut_off {
            self.seemed_cut_off = false;
            return Err(SourceError::Gone(problem));
        }
        self.seemed_cut_off = true;
        tracing::warn!(problem, "looking again");
        Ok(())
    }

    /// Nothing comes although something should: looks whether the topic is still there and the
    /// cluster still lets us in. librdkafka itself waits for a deleted topic without a word, and a
    /// client that is turned away only sees silence.
    fn look_into_stall(&mut self, ends: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        self.stalled_since = None;
        match self.describe_within(STALL_ANSWER_TIMEOUT) {
            // What was fetched was the old topic's.
            Ok(_) if self.reader.is_none() => Err(SourceError::Replaced(format!(
                "topic {} was deleted and made again while a batch of it was read",
                self.config.topic
            ))),
            Ok(_) => self.look_for_cut_off(ends),
            Err(SourceError::Unreachable(_)) => {
                let refusal = self.reader.as_ref().and_then(|reader| reader.context().refusal());
                let Some(refusal) = refusal else { return Ok(()) };
                let attempted = format!("reading topic {}", self.config.topic);
                Err(SourceError::Refused(KafkaFailure::refused(attempted, &refusal).to_string()))
            }
            Err(error) => Err(error),
        }
    }

    fn describe_within(&mut self, timeout: Duration) -> Result<TopicDescription, SourceError> {
        let attempted = format!("looking up topic {}", self.config.topic);
        let metadata =
            kafka::metadata(self.asking.consumer(), Some(&self.config.topic), &attempted, timeout)
                .map_err(from_failure)?;
        let broker = match metadata.orig_broker_id() {
            bootstrap if bootstrap < 0 => {
                metadata.brokers().first().map_or(-1, |broker| broker.id())
            }
            broker => broker,
        };
        let asked = self.asking.ask(timeout, |asking| {
            let found = asking.describe(&self.topic, broker)?;
            Ok((found, asking.cluster_id()))
        });
        let (found, cluster_id) = match asked {
            Ok(found) => found,
            Err(error) if names_no_topic(error.code) => return Err(self.no_topic()),
            Err(error) => return Err(self.failure(&attempted, error)),
        };
        if let Some((partition, _)) = found.partitions.iter().find(|(_, has_leader)| !has_leader) {
            return Err(SourceError::Unreachable(format!(
                "partition {partition} of topic {} has no leader at the moment",
                self.config.topic
            )));
        }
        let mut partitions: Vec<_> =
            found.partitions.into_iter().map(|(partition, _)| partition).collect();
        partitions.sort_unstable();
        let described = TopicDescription { cluster_id, topic_id: found.topic_id, partitions };
        match &self.known {
            Some(known) if is_other_topic(known, &described) => {
                if self.config.follows_new_topic {
                    // What was fetched is the old topic's.
                    self.reader = None;
                    self.known = Some(described.clone());
                    return Ok(described);
                }
                return Err(SourceError::Lost(format!(
                    "topic {} was deleted and made again while it was being read: its offsets no \
                     longer mean what the checkpoint knows. Begin again with a new --checkpoint-dir",
                    self.config.topic
                )));
            }
            Some(_) => {}
            None => self.known = Some(described.clone()),
        }
        Ok(described)
    }
}

impl Source for KafkaSource {
    fn describe(&mut self) -> Result<TopicDescription, SourceError> {
        let described = self.describe_within(self.first_answer_timeout())?;
        if self.reader.is_none() {
            // Made early, so that it is connected when the positions are known.
            self.reader = Some(Reader::new(&self.config, described.partitions.len())?);
        }
        Ok(described)
    }

    fn bounds(
        &mut self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Bounds>, SourceError> {
        let attempted = format!("asking where the partitions of topic {} end", self.config.topic);
        let [earliest, latest] =
            self.asking(&attempted, |asking| asking.bounds(&self.topic, partitions))?;
        let of_all = |answers: Vec<(Partition, Result<Offset, NativeError>)>| {
            let offset = |(partition, offset): (Partition, Result<Offset, NativeError>)| {
                let offset = offset.map_err(|error| partition_failure(self, partition, error))?;
                if offset.0 < 0 {
                    let error = NativeError::no_offset();
                    return Err(partition_failure(self, partition, error));
                }
                Ok((partition, offset))
            };
            answers.into_iter().map(offset).collect::<Result<BTreeMap<_, _>, SourceError>>()
        };
        let (earliest, latest) = (of_all(earliest)?, of_all(latest)?);
        let both = |partition: &Partition| {
            let (earliest, latest) = earliest.get(partition).zip(latest.get(partition))?;
            Some((*partition, Bounds { earliest: *earliest, latest: *latest }))
        };
        partitions
            .iter()
            .map(|partition| {
                both(partition)
                    .ok_or_else(|| partition_failure(self, *partition, NativeError::no_offset()))
            })
            .collect()
    }

    fn offsets_for_times(
        &mut self,
        times_ms: &BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, Option<Offset>>, SourceError> {
        let attempted =
            format!("asking for the records of topic {} from a time on", self.config.topic);
        let answers =
            self.asking(&attempted, |asking| asking.offsets_for_times(&self.topic, times_ms))?;
        let mut found = BTreeMap::new();
        for (partition, offset) in answers {
            let offset = offset.map_err(|error| partition_failure(self, partition, error))?;
            found.insert(partition, Some(offset).filter(|offset| offset.0 >= 0));
        }
        match times_ms.keys().find(|partition| !found.contains_key(partition)) {
            Some(missing) => Err(partition_failure(self, *missing, NativeError::no_offset())),
            None => Ok(found),
        }
    }

    fn assign(&mut self, positions: &BTreeMap<Partition, Position>) -> Result<(), SourceError> {
        #[cfg(feature = "faults")]
        let positions = &{
            let mut planted = positions.clone();
            for (partition, offset) in mem::take(&mut self.planted) {
                planted.insert(partition, Position { offset, epoch: LeaderEpoch::UNKNOWN });
            }
            planted
        };
        if let Some(reader) = &mut self.reader
            && reader.stands_at(positions)
        {
            return Ok(());
        }
        let unused = self.reader.take().filter(|reader| reader.is_unused_for(positions.len()));
        let mut reader = match unused {
            Some(reader) => reader,
            None => Reader::new(&self.config, positions.len())?,
        };
        reader.assign(&self.topic, positions).map_err(|error| {
            SourceError::Refused(format!(
                "starting to read topic {} failed: {}",
                self.config.topic, error.text
            ))
        })?;
        self.reader = Some(reader);
        Ok(())
    }

    fn read(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        patience: Duration,
        takers: &mut [Taker<'_>],
    ) -> Result<Progress, SourceError> {
        let Some(reader) = self.reader.as_mut().filter(|reader| reader.is_assigned()) else {
            return Err(SourceError::Reread("nothing is assigned".to_owned()));
        };
        let outcome =
            reader.read(ends, patience, takers).map_err(|error| self.read_error(error))?;
        if let Progress::Reached(_) = &outcome.progress {
            self.rereads = Rereads::default();
        }
        if outcome.moved || outcome.progress != Progress::Waiting {
            self.stalled_since = None;
        } else {
            let since = *self.stalled_since.get_or_insert_with(Instant::now);
            if outcome.topic_in_doubt || since.elapsed() > STALL_PATIENCE {
                self.look_into_stall(ends)?;
            }
        }
        self.asking.serve_events();
        Ok(outcome.progress)
    }

    fn wait(&mut self, patience: Duration) -> Result<bool, SourceError> {
        self.asking.serve_events();
        match &mut self.reader {
            Some(reader) => match reader.wait(patience) {
                // Nothing was to be read: when something is, it is read again and counted.
                Err(ReadError::Untrusted { detail, .. }) => Err(SourceError::Reread(detail)),
                waited => waited.map_err(|error| self.read_error(error)),
            },
            None => {
                std::thread::sleep(patience);
                Ok(false)
            }
        }
    }

    fn witness(&mut self, partitions: &[Partition]) -> Result<WitnessFact, SourceError> {
        #[cfg(feature = "faults")]
        {
            if is_planted(Mutant::PositionsFromCommit) {
                self.note_commits(partitions);
            }
            if crate::faults::witness_fails() && is_planted(Mutant::ErrorAsAbsence) {
                return Ok(WitnessFact::None);
            }
            if crate::faults::witness_fails() {
                let problem = "asking for the witness failed, because it was to fail".to_owned();
                return Err(SourceError::Unreachable(problem));
            }
        }
        let group = &self.config.group_id;
        let attempted = format!("asking what consumer group {group} has committed");
        let committed =
            self.asking(&attempted, |asking| asking.committed(&self.topic, partitions))?;
        if committed.len() != partitions.len() {
            return Err(self.failure(&attempted, NativeError::no_offset()));
        }
        let mut texts = Vec::new();
        for (_, metadata) in committed {
            texts.extend(metadata.map_err(|error| self.failure(&attempted, error))?);
        }
        Ok(witness::newest(texts.iter().map(Vec::as_slice)))
    }

    fn committer(&self, begun: Begun) -> Box<dyn Committer> {
        Box::new(KafkaCommitter {
            begun,
            client: Arc::clone(&self.asking),
            topic: self.topic.clone(),
            attempted: format!(
                "committing offsets of topic {} for consumer group {}",
                self.config.topic, self.config.group_id
            ),
        })
    }
}

struct KafkaCommitter {
    begun: Begun,
    client: Arc<Client>,
    topic: CString,
    attempted: String,
}

impl Committer for KafkaCommitter {
    fn commit(&mut self, batch: &Visible) -> Result<(), SourceError> {
        let mut positions = batch.record().positions();
        if is_planted(Mutant::CommitBegins) {
            for (partition, range) in &batch.record().ranges {
                let begin = Position { offset: range.begin, epoch: LeaderEpoch::UNKNOWN };
                positions.insert(*partition, begin);
            }
        }
        let metadata = witness::metadata(batch.identity(), self.begun);
        self.client
            .ask(COMMIT_TIMEOUT, |asking| asking.commit(&self.topic, &positions, &metadata))
            .map_err(|error| failure(&self.client, &self.attempted, error))
    }
}

/// A client that is closed without holding anybody up.
struct Client {
    consumer: Option<KafkaConsumer>,
}

impl Client {
    fn new(consumer: KafkaConsumer) -> Client {
        Client { consumer: Some(consumer) }
    }

    fn consumer(&self) -> &KafkaConsumer {
        self.consumer.as_ref().expect("taken only when dropped")
    }

    fn context(&self) -> &Arc<KafkaContext> {
        self.consumer().context()
    }

    fn native(&self) -> *mut rdkafka::bindings::rd_kafka_t {
        self.consumer().client().native_ptr()
    }

    /// Hands the client's waiting events (log lines, errors) to its context. The first error of the
    /// consumer itself is returned.
    fn serve_events(&self) -> Option<KafkaError> {
        // One call serves one event, and does not tell whether that was the last.
        const EVENTS: usize = 16;
        let mut first = None;
        for _ in 0..EVENTS {
            match self.consumer().poll(Duration::ZERO) {
                None => {}
                Some(Ok(message)) => {
                    // Every partition has a queue of its own: one here was meant for none of them.
                    mem::drop(message);
                    first.get_or_insert(KafkaError::MessageConsumption(RDKafkaErrorCode::Conflict));
                }
                Some(Err(error)) => {
                    first.get_or_insert(error);
                }
            }
        }
        first
    }

    fn ask<T>(
        &self,
        timeout: Duration,
        question: impl FnOnce(Asking<'_>) -> Result<T, NativeError>,
    ) -> Result<T, NativeError> {
        // A refusal from before may be over; one that comes now is not waited out.
        let before = self.context().refusal();
        let meanwhile = || {
            self.serve_events();
            match self.context().refusal() {
                Some(refusal) if Some(&refusal) != before.as_ref() => {
                    Err(NativeError { code: refusal.code, text: refusal.reason })
                }
                _ => Ok(()),
            }
        };
        // SAFETY: the client lives as long as `self`, which is borrowed for longer than the question.
        question(unsafe { Asking::new(self.native(), timeout, &meanwhile) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            // Whether it is gone or left behind makes no difference.
            let _ = kafka::close_within(consumer, CLOSE_TIMEOUT);
        }
    }
}

/// Counts how often the same place was read again.
#[derive(Default)]
struct Rereads {
    place: Option<(Partition, Offset)>,
    count: u32,
}

impl Rereads {
    fn again(&mut self, place: Option<(Partition, Offset)>) -> u32 {
        if self.place != place {
            *self = Rereads { place, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

fn failure(client: &Client, attempted: &str, error: NativeError) -> SourceError {
    let kafka = KafkaError::AdminOp(error.code);
    let refused = kind_of(&kafka) == ErrorKind::Refused;
    let failure = match client.context().refusal() {
        Some(refusal) if refused => KafkaFailure::refused(attempted, &refusal),
        _ => KafkaFailure::new(attempted, kafka).of_client(client.context()),
    };
    if refused {
        SourceError::Refused(failure.to_string())
    } else {
        SourceError::Unreachable(failure.to_string())
    }
}

fn from_failure(failure: KafkaFailure) -> SourceError {
    match failure.kind() {
        ErrorKind::Refused => SourceError::Refused(failure.to_string()),
        ErrorKind::Usage => SourceError::Usage(failure.to_string()),
        ErrorKind::Unreachable | ErrorKind::Other => SourceError::Unreachable(failure.to_string()),
    }
}

fn partition_failure(
    source: &KafkaSource,
    partition: Partition,
    error: NativeError,
) -> SourceError {
    let attempted =
        format!("asking where partition {partition} of topic {} ends", source.config.topic);
    source.failure(&attempted, error)
}

fn names_no_topic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicId
    )
}

fn is_other_topic(known: &TopicDescription, now: &TopicDescription) -> bool {
    matches!((&known.topic_id, &now.topic_id), (Some(known), Some(now)) if known != now)
}
