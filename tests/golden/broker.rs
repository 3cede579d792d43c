//! Where a case's topic lives: the embedded broker, or real Kafka for what that cannot do.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
    types::RDKafkaRespErr,
};

use crate::case::Record;

const PATIENCE: Duration = Duration::from_secs(60);

/// One case's broker with its topic.
pub struct Broker {
    address: String,
    topic: String,
    producer: BaseProducer,
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Broker {
    /// An embedded broker of its own with this topic.
    pub fn embedded(topic: &str, partitions: i32) -> Broker {
        let mock = MockCluster::new(1).expect("the mock cluster starts");
        mock.create_topic(topic, partitions, 1).expect("the topic is made");
        let address = mock.bootstrap_servers();
        let producer = producer(&address);
        Broker { address, topic: topic.to_owned(), producer, mock: Some(mock) }
    }

    /// Real Kafka at `address`, where the topic is made anew.
    pub fn real(address: &str, topic: &str, partitions: i32) -> Broker {
        let address = address.to_owned();
        let producer = producer(&address);
        let broker = Broker { address, topic: topic.to_owned(), producer, mock: None };
        broker.delete_topic();
        broker.create_topic(partitions);
        broker
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// A consumer group of the topic.
    pub fn group(&self, id: &str) -> Group {
        Group { address: self.address.clone(), topic: self.topic.clone(), id: id.to_owned() }
    }

    /// No such topic exists (the embedded broker would make it when asked).
    pub fn forbid(&self, topic: &str) {
        if let Some(mock) = &self.mock {
            let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
            mock.topic_error(topic, error).expect("a topic can have an error");
        }
    }

    /// Sends records and returns when all of them can be read.
    pub fn produce(&self, records: &[Record]) {
        for record in records {
            let mut message = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(record.partition);
            if let Some(key) = &record.key {
                message = message.key(key.as_bytes());
            }
            if let Some(value) = &record.value {
                message = message.payload(value);
            }
            if let Err((error, _)) = self.producer.send(message) {
                panic!("producing to partition {}: {error}", record.partition);
            }
        }
        // `flush` would look only every 100 ms.
        let deadline = Instant::now() + PATIENCE;
        while self.producer.in_flight_count() > 0 {
            assert!(Instant::now() < deadline, "the broker does not acknowledge");
            self.producer.poll(Duration::from_millis(1));
        }
    }

    /// Makes the topic larger.
    pub fn add_partitions(&mut self, total: i32) {
        let total = usize::try_from(total).expect("partitions are counted");
        let wanted = [NewPartitions::new(&self.topic, total)];
        let options = AdminOptions::new();
        let results = block_on(admin(&self.address).create_partitions(&wanted, &options));
        results.expect("the cluster answers")[0].as_ref().expect("the partitions are made");
        self.await_partitions(total);
        // The one there is learns of them only after a while.
        self.producer = producer(&self.address);
    }

    /// Deletes the topic and makes it again, empty.
    pub fn recreate_topic(&mut self, partitions: i32) {
        self.delete_topic();
        self.create_topic(partitions);
        // A producer would number its records on from those of the old topic.
        self.producer = producer(&self.address);
    }

    fn create_topic(&self, partitions: i32) {
        let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        let deadline = Instant::now() + PATIENCE;
        // A topic that is being deleted keeps its name for a while.
        loop {
            let results =
                block_on(admin(&self.address).create_topics([&topic], &AdminOptions::new()));
            match &results.expect("the cluster answers")[0] {
                Ok(_) => break,
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.await_partitions(usize::try_from(partitions).expect("partitions are counted"));
    }

    fn delete_topic(&self) {
        let names = [self.topic.as_str()];
        let results = block_on(admin(&self.address).delete_topics(&names, &AdminOptions::new()));
        // It need not be there.
        drop(results);
        self.await_partitions(0);
    }

    fn await_partitions(&self, total: usize) {
        let asking: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("allow.auto.create.topics", "false")
            .create()
            .expect("a client can be made");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = asking.fetch_metadata(Some(&self.topic), Duration::from_secs(5));
            let found = answer.as_ref().map_or(0, |answer| {
                let topic = answer.topics().iter().find(|topic| topic.name() == self.topic);
                topic.map_or(0, |topic| topic.partitions().len())
            });
            if answer.is_ok() && found == total {
                return;
            }
            assert!(Instant::now() < deadline, "{} has {found}, not {total}", self.topic);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a consumer group was told: offset and metadata by partition.
pub type Commits = Vec<(i32, i64, String)>;

/// A consumer group of a topic.
#[derive(Clone, Debug)]
pub struct Group {
    address: String,
    topic: String,
    pub id: String,
}

impl Group {
    /// What it was told.
    pub fn commits(&self) -> Commits {
        let consumer = self.consumer();
        let topic = consumer.fetch_metadata(Some(&self.topic), PATIENCE).expect("there is a topic");
        let mut asked = TopicPartitionList::new();
        for partition in topic.topics()[0].partitions() {
            asked.add_partition(&self.topic, partition.id());
        }
        let answer = consumer.committed_offsets(asked, PATIENCE).expect("the group answers");
        let told = answer.elements().into_iter().filter_map(|element| {
            let Offset::Offset(offset) = element.offset() else { return None };
            Some((element.partition(), offset, element.metadata().to_owned()))
        });
        told.collect()
    }

    /// Tells it the same again.
    pub fn commit(&self, commits: &Commits) {
        let mut list = TopicPartitionList::new();
        for (partition, offset, metadata) in commits {
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(*offset)).expect("an offset can be set");
            element.set_metadata(metadata);
        }
        self.consumer().commit(&list, CommitMode::Sync).expect("the group takes it");
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", &self.id)
            .set("enable.auto.commit", "false")
            .create()
            .expect("a client can be made")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.mock.is_none() {
            let names = [self.topic.as_str()];
            drop(block_on(admin(&self.address).delete_topics(&names, &AdminOptions::new())));
        }
    }
}

/// One request at a time, so that records stay in order. (Idempotence would keep it too, and take half
/// a second to begin with.)
fn producer(address: &str) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("max.in.flight.requests.per.connection", "1")
        .set("linger.ms", "0")
        .create()
        .expect("a producer can be made")
}

fn admin(address: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", address).create().expect("a client can be made")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(future)
}
