//! Making and listing topics on a Kafka cluster.
//!
//! Invariant: [`create`] returns success only when every partition has a leader, so that whatever
//! comes next can use the topic at once. Start at [`create`].
//!
//! Not here: the embedded broker's topics, which are made when it starts (`broker`).

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::kafka::{
    self, ClientSettings, ErrorKind, KafkaConsumer, KafkaContext, KafkaFailure, PartitionInfo,
};

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const BETWEEN_REQUESTS: Duration = Duration::from_millis(200);

/// Brokers have heard of all partitions of a topic that others made.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A question asked at the end of the time that everything together may take has so long for its answer.
const LAST_QUESTION: Duration = Duration::from_secs(1);

/// What topic to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Name of the topic.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// Copies of each partition; `None` leaves it to the cluster (`default.replication.factor`).
    pub replication: Option<i32>,
    /// Whether a topic that is there with another number of partitions will do.
    pub if_not_exists: bool,
    /// How long to wait for everything together; the last question may take two seconds more.
    pub timeout: Duration,
}

impl CreateTopic {
    /// Partitions when nothing is said.
    pub const DEFAULT_PARTITIONS: i32 = 3;
    /// The timeout when nothing is said.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

    /// A topic of `partitions` partitions with the defaults for the rest.
    #[must_use]
    pub fn new(name: &str, partitions: i32) -> CreateTopic {
        CreateTopic {
            name: name.to_owned(),
            partitions,
            replication: None,
            if_not_exists: false,
            timeout: CreateTopic::DEFAULT_TIMEOUT,
        }
    }
}

/// A topic that is there now; `Display` says so in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCreated {
    /// Name of the topic.
    pub name: String,
    /// Its partitions.
    pub partitions: usize,
    /// Whether it was there before.
    pub existed: bool,
}

impl fmt::Display for TopicCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicCreated { name, partitions, existed } = self;
        let plural = if *partitions == 1 { "" } else { "s" };
        if *existed {
            write!(f, "topic {name} is already there, with {partitions} partition{plural}")
        } else {
            write!(f, "created topic {name} with {partitions} partition{plural}")
        }
    }
}

/// Why a topic could not be made or looked up.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Kafka could not be reached, or said no.
    #[error(transparent)]
    Kafka(#[from] KafkaFailure),
    /// There is one, but not of the wanted size.
    #[error(
        "topic {name} is already there, with {existing} partitions instead of {wanted}: use it as it \
         is (--if-not-exists), or choose another name"
    )]
    OtherPartitions {
        /// Name of the topic.
        name: String,
        /// Partitions it has.
        existing: usize,
        /// Partitions asked for.
        wanted: i32,
    },
    /// The broker has no request for making topics.
    #[error(
        "the broker at {brokers} cannot make topic {name} while it runs: if it is the embedded one, \
         start it with `sales-stream broker --topic {name}:{partitions}`"
    )]
    NotSupported {
        /// The broker.
        brokers: String,
        /// Name of the topic.
        name: String,
        /// Partitions asked for.
        partitions: i32,
    },
    /// It was made, or was there, but cannot be used yet.
    #[error(
        "topic {name} {state}, but after {waited_s} s not all of its partitions have a leader: check \
         that all brokers run, and look again with `sales-stream topics list{option}`"
    )]
    NoLeader {
        /// ` --brokers …`, where needed.
        option: String,
        /// Name of the topic.
        name: String,
        /// What it is, as a predicate.
        state: &'static str,
        /// Seconds waited.
        waited_s: u64,
    },
}

impl TopicError {
    /// What the failure asks for; the last three are neither of the first two kinds.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            TopicError::Kafka(failure) => failure.kind(),
            _ => ErrorKind::Other,
        }
    }
}

/// Makes a topic and waits until every partition has a leader.
///
/// A topic that is there with the wanted number of partitions (with any number, if
/// `if_not_exists`) is a success. Blocks; needs no async runtime.
///
/// # Errors
/// See [`TopicError`].
pub fn create(settings: &ClientSettings, topic: &CreateTopic) -> Result<TopicCreated, TopicError> {
    let deadline = Instant::now() + topic.timeout;
    let consumer = kafka::consumer(settings, &[])?;
    let name = topic.name.clone();
    let found = kafka::topic_partitions(&consumer, &name, topic.timeout)?;
    if let Some(found) = &found {
        judge_existing(topic, found.len())?;
    }
    let not_supported = || TopicError::NotSupported {
        brokers: settings.brokers().to_owned(),
        name: topic.name.clone(),
        partitions: topic.partitions,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if found.is_none() && is_embedded(&consumer, left) {
        return Err(not_supported());
    }
    let (mut is_there, mut admin) = (found.is_some(), None);
    loop {
        let existed = is_there
            || match request_creation(settings, &mut admin, topic, deadline) {
                Ok(()) => false,
                // It may be made all the same.
                Err(KafkaError::AdminOp(
                    RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut,
                )) => false,
                // Somebody else was faster, or our own first answer was lost, or one is still being deleted.
                Err(KafkaError::AdminOp(RDKafkaErrorCode::TopicAlreadyExists)) => true,
                Err(KafkaError::AdminOp(
                    RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion,
                )) => return Err(not_supported()),
                Err(error) => {
                    let failure = KafkaFailure::new(format!("creating topic {name}"), error);
                    return Err(failure.of_client(consumer.context()).into());
                }
            };
        if let Some(found) = wait_for_leaders(settings, &consumer, topic, existed, deadline)? {
            let partitions = judge_existing(topic, found)?;
            return Ok(TopicCreated { name, partitions, existed });
        }
        is_there = false;
        thread::sleep(BETWEEN_REQUESTS);
    }
}

/// A topic in [`list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListed {
    /// Name of the topic.
    pub name: String,
    /// Number of partitions.
    pub partitions: usize,
    /// Partitions without a leader: they can be neither read nor written now.
    pub without_leader: usize,
}

/// All topics, by name; Kafka's own (`__consumer_offsets` and the like) are left out.
///
/// # Errors
/// Kafka could not be reached within `timeout`, or said no.
pub fn list(
    settings: &ClientSettings,
    timeout: Duration,
) -> Result<Vec<TopicListed>, KafkaFailure> {
    let consumer = kafka::consumer(settings, &[])?;
    let answer = kafka::metadata(&consumer, None, "listing the topics", timeout)?;
    let mut topics: Vec<TopicListed> = answer
        .topics()
        .iter()
        .filter(|topic| !topic.name().starts_with("__"))
        .map(|topic| TopicListed {
            name: topic.name().to_owned(),
            partitions: topic.partitions().len(),
            without_leader: topic.partitions().iter().filter(|one| one.leader() < 0).count(),
        })
        .collect();
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(topics)
}

/// librdkafka's mock cluster names itself so (`rdkafka_mock.c`). It answers no request to make a topic,
/// so that asking it would only end with a timeout.
fn is_embedded(consumer: &KafkaConsumer, timeout: Duration) -> bool {
    let cluster = consumer.client().fetch_cluster_id(timeout);
    cluster.is_some_and(|id| id.starts_with("mockCluster"))
}

fn judge_existing(topic: &CreateTopic, existing: usize) -> Result<usize, TopicError> {
    let wanted = topic.partitions;
    if topic.if_not_exists || usize::try_from(wanted) == Ok(existing) {
        return Ok(existing);
    }
    Err(TopicError::OtherPartitions { name: topic.name.clone(), existing, wanted })
}

/// The client is made for the first request.
fn request_creation(
    settings: &ClientSettings,
    admin: &mut Option<AdminClient<KafkaContext>>,
    topic: &CreateTopic,
    deadline: Instant,
) -> Result<(), KafkaError> {
    /// "The cluster's default", since protocol version 4 (Kafka 2.4, KIP-464).
    const CLUSTER_DEFAULT: i32 = -1;
    if admin.is_none() {
        let context = KafkaContext::new(settings);
        // Whether the topic is there was asked before.
        context.note_answer();
        *admin = Some(settings.client_config().create_with_context(context)?);
    }
    let Some(admin) = admin else { unreachable!("it was just made") };
    let replication = TopicReplication::Fixed(topic.replication.unwrap_or(CLUSTER_DEFAULT));
    let wanted = NewTopic::new(&topic.name, topic.partitions, replication);
    let left = deadline.saturating_duration_since(Instant::now()).max(LAST_QUESTION);
    let options = AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left));
    let answer = wait(admin.create_topics([&wanted], &options), left + Duration::from_secs(1))
        .unwrap_or(Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut)))?;
    match answer.into_iter().next() {
        Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
        Some(Ok(_)) => Ok(()),
        None => Err(KafkaError::AdminOp(RDKafkaErrorCode::Unknown)),
    }
}

/// Waits until the topic is known with all its partitions, each with a leader; gives their number. `None` for one that
/// existed and that no broker knows: a cluster with ZooKeeper takes a deleted topic from its brokers before it frees
/// the name (`TopicDeletionManager.completeDeleteTopic`).
fn wait_for_leaders(
    settings: &ClientSettings,
    consumer: &KafkaConsumer,
    topic: &CreateTopic,
    existed: bool,
    deadline: Instant,
) -> Result<Option<usize>, TopicError> {
    let settled = Instant::now() + SETTLED_AFTER;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A cluster that answers is not one that cannot be reached: the last question has its time, too.
        let patience = left.max(LAST_QUESTION);
        let found = kafka::topic_partitions(consumer, &topic.name, patience)?.unwrap_or_default();
        // A broker that has just heard of the topic may know only some of its partitions; one that others made may
        // never have as many.
        let known = found.len();
        let complete = if existed && (topic.if_not_exists || Instant::now() > settled) {
            known > 0
        } else {
            usize::try_from(topic.partitions).is_ok_and(|wanted| known >= wanted)
        };
        if complete && found.iter().all(|PartitionInfo { has_leader, .. }| *has_leader) {
            return Ok(Some(found.len()));
        }
        if left.is_zero() {
            let waited_s = topic.timeout.as_secs();
            let option = settings.brokers_option();
            let state = match (existed, found.is_empty()) {
                (false, _) => "was made",
                (true, false) => "is there",
                (true, true) => "is still being deleted",
            };
            return Err(TopicError::NoLeader { option, name: topic.name.clone(), state, waited_s });
        }
        if existed && found.is_empty() {
            return Ok(None);
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// Wakes the thread that waits in [`wait`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one future to its end on this thread; `None` if that takes longer than `timeout`.
///
/// The admin client completes its futures from its own thread, so no runtime is needed, and this
/// works inside of one too (where entering another would panic).
fn wait<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    let deadline = Instant::now() + timeout;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{EmbeddedBroker, TopicSpec};
    use crate::kafka::Trust;

    fn broker() -> (EmbeddedBroker, ClientSettings) {
        let broker = EmbeddedBroker::start(&[TopicSpec::new("sales", 3)]).unwrap();
        let settings =
            ClientSettings::new(broker.address(), Vec::new(), Trust::SafeOptionsOnly).unwrap();
        (broker, settings)
    }

    #[test]
    fn a_topic_that_is_there_is_fine_if_its_partitions_are_as_wanted() {
        let (_broker, settings) = broker();
        let created = create(&settings, &CreateTopic::new("sales", 3)).unwrap();
        assert!(created.existed);
        assert_eq!(created.to_string(), "topic sales is already there, with 3 partitions");

        let refused = create(&settings, &CreateTopic::new("sales", 4)).unwrap_err().to_string();
        assert!(refused.contains("3 partitions instead of 4"), "{refused}");

        let lenient = CreateTopic { if_not_exists: true, ..CreateTopic::new("sales", 4) };
        assert_eq!(create(&settings, &lenient).unwrap().partitions, 3);
    }

    #[test]
    fn the_embedded_broker_says_how_it_gets_its_topics() {
        let (_broker, settings) = broker();
        let refused = create(&settings, &CreateTopic::new("other", 2)).unwrap_err();
        let message = refused.to_string();
        assert!(message.contains("sales-stream broker --topic other:2"), "{message}");
    }

    #[test]
    fn topics_are_listed_with_their_partitions() {
        let (_broker, settings) = broker();
        let topics = list(&settings, Duration::from_secs(30)).unwrap();
        let sales = TopicListed { name: "sales".into(), partitions: 3, without_leader: 0 };
        assert_eq!(topics, [sales]);
    }

    #[test]
    fn waiting_for_a_future_has_a_deadline() {
        assert_eq!(wait(std::future::ready(7), Duration::ZERO), Some(7));
        assert_eq!(wait(std::future::pending::<()>(), Duration::from_millis(10)), None);
    }
}
