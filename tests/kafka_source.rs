//! The Kafka source against the embedded broker, and against real Kafka where there is one.
//!
//! The embedded broker knows no transactions, retention or new partitions: what needs those runs
//! only if `SALES_STREAM_TEST_KAFKA` holds the address of a Kafka cluster for trying things out
//! (`scripts/kafka.sh start`), and says on stderr that it did not otherwise.

use std::{
    collections::BTreeMap,
    ops::Range,
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::RDKafkaErrorCode,
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use sales_stream::{
    batch::{
        BadRecord, BatchRecord, Begun, Counts, Identity, Plan, Publication, Range as Read, Record,
        WitnessFact, WrittenAhead,
    },
    checkpoint::{
        Checkpoint as _, Visible,
        memory::{MemoryCheckpoint, MemoryDisk},
    },
    kafka::{ClientSettings, Trust},
    source::{
        Progress, Source, SourceError, Taker, TopicDescription,
        kafka::{KafkaSource, KafkaSourceConfig},
    },
    spec::OutputMode,
    types::{
        BatchId, Digest, FaultReason, Incarnation, LeaderEpoch, Lineage, Offset, Partition,
        Position, Rows,
    },
    window::Watermarks,
};

const DEADLINE: Duration = Duration::from_secs(30);
const TOPIC: &str = "sales";

type Sender = ThreadedProducer<DefaultProducerContext>;
type Seen = BTreeMap<i32, Vec<(i64, Option<Vec<u8>>)>>;

fn mock(partitions: i32) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("the mock cluster starts");
    cluster.create_topic(TOPIC, partitions, 1).expect("the topic is made");
    cluster
}

fn source(brokers: &str, topic: &str, group_id: &str) -> KafkaSource {
    KafkaSource::new(config(brokers, topic, group_id)).unwrap()
}

fn config(brokers: &str, topic: &str, group_id: &str) -> KafkaSourceConfig {
    let settings = ClientSettings::new(brokers, Vec::new(), Trust::SafeOptionsOnly).unwrap();
    KafkaSourceConfig {
        settings,
        topic: topic.to_owned(),
        group_id: group_id.to_owned(),
        startup_timeout: None,
        follows_new_topic: false,
        queue_bytes: KafkaSourceConfig::QUEUE_BYTES,
    }
}

/// Idempotent: without it a batch that a new topic's leader is not yet ready for is sent again
/// behind the next one, and the numbers come out of order.
fn sender(brokers: &str) -> Sender {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create()
        .unwrap()
}

fn send(sender: &Sender, topic: &str, partition: i32, range: Range<i64>) {
    for value in range.map(|number| number.to_string()) {
        let mut record =
            BaseRecord::<str, str>::to(topic).partition(partition).key("k").payload(&value);
        let deadline = Instant::now() + DEADLINE;
        while let Err((error, back)) = sender.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            assert!(Instant::now() < deadline);
            sender.poll(Duration::from_millis(5));
            record = back;
        }
    }
}

fn produce(brokers: &str, topic: &str, partition: i32, range: Range<i64>) {
    let sender = sender(brokers);
    send(&sender, topic, partition, range);
    sender.flush(DEADLINE).unwrap();
}

fn positions(offsets: &[i64]) -> BTreeMap<Partition, Position> {
    let at = |offset: &i64| Position { offset: Offset(*offset), epoch: LeaderEpoch::UNKNOWN };
    (0..).map(Partition).zip(offsets.iter().map(at)).collect()
}

fn ends(offsets: &[i64]) -> BTreeMap<Partition, Offset> {
    (0..).map(Partition).zip(offsets.iter().map(|offset| Offset(*offset))).collect()
}

/// Asks until there is an answer.
fn patiently<T>(mut question: impl FnMut() -> Result<T, SourceError>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match question() {
            Ok(answer) => return answer,
            Err(SourceError::Unreachable(why)) => assert!(Instant::now() < deadline, "{why}"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn latest(source: &mut KafkaSource, partitions: &[i32]) -> Vec<i64> {
    let partitions: Vec<_> = partitions.iter().copied().map(Partition).collect();
    patiently(|| source.bounds(&partitions)).values().map(|bounds| bounds.latest.0).collect()
}

fn try_read_to(
    source: &mut KafkaSource,
    to: &[i64],
) -> Result<(Seen, BTreeMap<Partition, Position>), SourceError> {
    let mut seen = Seen::new();
    let deadline = Instant::now() + DEADLINE;
    let mut take = |record: Record<'_>| {
        let value = record.value.map(<[u8]>::to_vec);
        seen.entry(record.partition.0).or_default().push((record.offset.0, value));
        Ok(())
    };
    loop {
        match source.read(&ends(to), Duration::from_millis(100), &mut [&mut take])? {
            Progress::Reached(reached) => return Ok((seen, reached)),
            Progress::Waiting => assert!(Instant::now() < deadline, "stalled before {to:?}"),
        }
    }
}

fn read_to(source: &mut KafkaSource, to: &[i64]) -> (Seen, BTreeMap<Partition, Position>) {
    let (seen, reached) = try_read_to(source, to).unwrap();
    let offsets: Vec<_> = reached.values().map(|position| position.offset.0).collect();
    assert_eq!(offsets, to);
    (seen, reached)
}

/// Record n of a partition holds the text of n.
fn assert_numbers(seen: &Seen, partition: i32, range: Range<i64>) {
    let seen = seen.get(&partition).map(Vec::as_slice).unwrap_or_default();
    let expected = |number: i64| (number, Some(number.to_string().into_bytes()));
    let wrong = seen.iter().zip(range.clone()).find(|(seen, number)| **seen != expected(*number));
    assert!(wrong.is_none(), "partition {partition}: {wrong:?} in {range:?}");
    let records = i64::try_from(seen.len()).unwrap();
    assert_eq!(records, range.end - range.start, "records of partition {partition} in {range:?}");
}

/// Makes batches that may be committed: durable and announced in a checkpoint in memory.
struct Batches {
    checkpoint: MemoryCheckpoint,
    last: Option<BatchRecord>,
}

impl Batches {
    fn new() -> Batches {
        let checkpoint = MemoryCheckpoint::open(&MemoryDisk::new()).unwrap();
        Batches { checkpoint, last: None }
    }

    /// The next batch, which ends at these offsets.
    fn next(&mut self, offsets: &[i64]) -> Visible {
        let read = |end| Read { begin: Offset(0), end };
        let ranges = positions(offsets).into_iter();
        let mut record = BatchRecord {
            batch: self.last.as_ref().map_or(BatchId(0), |last| last.batch.next()),
            incarnation: Incarnation(1),
            clock_ms: 0,
            took_ms: 0,
            ranges: ranges.map(|(partition, end)| (partition, read(end))).collect(),
            watermarks: Watermarks::FIRST,
            next_watermarks: Watermarks::FIRST,
            output_mode: OutputMode::Append,
            counts: Counts::default(),
            totals: Counts::default(),
            operators: Vec::new(),
            event_times: None,
            rows_digest: Digest::ZERO,
            previous: self.last.as_ref().map_or(Digest::ZERO, |last| last.digest),
            digest: Digest::ZERO,
        };
        record.digest = record.link();
        self.last = Some(record.clone());
        let (batch, digest) = (record.batch, record.digest);
        let identity = Identity { lineage: Lineage(7), incarnation: Incarnation(1), batch, digest };
        let rows = Rows::new([].into());
        let publication = Publication { identity, record, rows, dead_letters: [].into() };
        let plan = Plan {
            changes: Vec::new(),
            log: None,
            rows_are_state: true,
            ahead: WrittenAhead::default(),
            publication,
        };
        let durable = self.checkpoint.persist(plan).unwrap();
        self.checkpoint.announce(durable).unwrap()
    }
}

fn witness_of(batch: &Visible, begun: Begun) -> WitnessFact {
    let Identity { lineage, batch, digest, .. } = *batch.identity();
    WitnessFact::At(lineage, batch, digest, begun)
}

#[test]
fn a_topic_is_described_with_its_partitions() {
    let cluster = mock(3);
    let mut source = source(&cluster.bootstrap_servers(), TOPIC, "g");
    let described = source.describe().unwrap();
    assert_eq!(described.partitions, [0, 1, 2].map(Partition));
    assert!(described.cluster_id.is_some_and(|id| !id.is_empty()));
    assert_eq!(source.describe().unwrap().topic_id, described.topic_id);
}

#[test]
fn a_missing_topic_is_told_with_the_command_that_makes_it() {
    let cluster = mock(1);
    cluster.topic_error("other", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let mut source = source(&cluster.bootstrap_servers(), "other", "g");
    match source.describe() {
        Err(SourceError::NoTopic(message)) => {
            assert!(message.contains("sales-stream topics create other --partitions 3"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_absent_broker_is_unreachable_within_seconds() {
    let mut source = source("127.0.0.1:1", TOPIC, "g");
    let started = Instant::now();
    assert!(matches!(source.describe(), Err(SourceError::Unreachable(_))));
    assert!(started.elapsed() < Duration::from_secs(10));
    let started = Instant::now();
    drop(source);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn bounds_are_the_first_and_the_next_offset() {
    let cluster = mock(2);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 1, 0..5);
    let mut source = source(&brokers, TOPIC, "g");
    let bounds = source.bounds(&[Partition(0), Partition(1)]).unwrap();
    let pairs: Vec<_> = bounds.values().map(|b| (b.earliest.0, b.latest.0)).collect();
    assert_eq!(pairs, [(0, 0), (0, 5)]);
    let unknown = source.bounds(&[Partition(0), Partition(9)]);
    assert!(matches!(unknown, Err(SourceError::Unreachable(_))), "{unknown:?}");
}

#[test]
fn records_behind_an_end_wait_for_the_next_call() {
    let cluster = mock(2);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..100);
    produce(&brokers, TOPIC, 1, 0..100);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0, 10])).unwrap();
    let (seen, reached) = read_to(&mut source, &[30, 11]);
    assert_numbers(&seen, 0, 0..30);
    assert_numbers(&seen, 1, 10..11);
    assert!(reached.values().all(|position| position.epoch.0 >= 0), "{reached:?}");
    let (seen, _) = read_to(&mut source, &[30, 11]);
    assert!(seen.is_empty(), "nothing is read twice");
    let (seen, _) = read_to(&mut source, &[31, 100]);
    assert_numbers(&seen, 0, 30..31);
    assert_numbers(&seen, 1, 11..100);
}

#[test]
fn many_batches_over_one_assignment_neither_stall_nor_lose() {
    let cluster = mock(3);
    let brokers = cluster.bootstrap_servers();
    let sender = sender(&brokers);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0, 0, 0])).unwrap();
    let mut from = [0_i64; 3];
    for round in 0..100_i64 {
        let to = [from[0] + round % 5, from[1] + (round + 3) % 5, from[2] + (round + 6) % 2];
        for (partition, (from, to)) in (0..).zip(from.into_iter().zip(to)) {
            send(&sender, TOPIC, partition, from..to);
        }
        sender.flush(DEADLINE).unwrap();
        let (seen, _) = read_to(&mut source, &to);
        for (partition, (from, to)) in (0..).zip(from.into_iter().zip(to)) {
            assert_numbers(&seen, partition, from..to);
        }
        from = to;
    }
}

/// In each round the first partition lacks many records until it is read again, so that others come to rest.
fn read_in_starts(mut source: KafkaSource, brokers: &str, topic: &str, rounds: i64) {
    let sender = sender(brokers);
    source.assign(&positions(&[0; 4])).unwrap();
    let mut from = [0_i64; 4];
    for round in 0..rounds {
        let more = [20, i64::from(round % 2 == 0), round % 3, round % 5 * (round % 7)];
        let to = [0, 1, 2, 3].map(|partition: usize| from[partition] + more[partition]);
        let send = |range: [Range<i64>; 4]| {
            (0..).zip(range).for_each(|(partition, range)| send(&sender, topic, partition, range));
            sender.flush(DEADLINE).unwrap();
        };
        // Some come before anything is read, some while the first partition keeps the others waiting.
        let middle = [0, 1, 2, 3].map(|partition: usize| from[partition] + more[partition] / 2);
        send([0, 1, 2, 3].map(|partition: usize| from[partition]..middle[partition]));
        let mut seen = Seen::new();
        let mut take = |record: Record<'_>| {
            let value = record.value.map(<[u8]>::to_vec);
            seen.entry(record.partition.0).or_default().push((record.offset.0, value));
            Ok(())
        };
        // Of others less is wanted than there is.
        let wanted = [1, 2, 3].map(|partition: usize| (from[partition] + middle[partition]) / 2);
        let wanted = ends(&[to[0] + 20_000, wanted[0], wanted[1], wanted[2]]);
        let waiting = source.read(&wanted, Duration::from_millis(40), &mut [&mut take]).unwrap();
        assert_eq!(waiting, Progress::Waiting);
        send([0, 1, 2, 3].map(|partition: usize| middle[partition]..to[partition]));
        let (rest, _) = read_to(&mut source, &to);
        for (partition, records) in rest {
            seen.entry(partition).or_default().extend(records);
        }
        for (partition, (from, to)) in (0..).zip(from.into_iter().zip(to)) {
            assert_numbers(&seen, partition, from..to);
        }
        from = to;
    }
}

#[test]
fn partitions_that_rest_meanwhile_lose_nothing() {
    let cluster = mock(4);
    let brokers = cluster.bootstrap_servers();
    read_in_starts(source(&brokers, TOPIC, "g"), &brokers, TOPIC, 20);
}

#[test]
fn real_partitions_that_rest_meanwhile_lose_nothing() {
    let Some(real) = Real::topic(4, &[]) else { return };
    read_in_starts(real.source(), &real.brokers, &real.topic, 20);
}

#[test]
fn real_what_is_deleted_behind_a_partition_that_rests_is_no_loss() {
    let Some(real) = Real::topic(2, &[]) else { return };
    let sender = real.transactional_sender();
    let send_all = |range: Range<i64>| {
        sender.begin_transaction().unwrap();
        send(&sender, &real.topic, 1, range);
        sender.commit_transaction(DEADLINE).unwrap();
    };
    send_all(0..3);
    real.produce(0, 0..20);
    let mut source = real.source();
    source.assign(&positions(&[0, 0])).unwrap();
    // Behind the record of offset 2 is a control record.
    let mut ignore = |_: Record<'_>| Ok(());
    for _ in 0..5 {
        let wanted = ends(&[50_000, 4]);
        source.read(&wanted, Duration::from_millis(100), &mut [&mut ignore]).unwrap();
    }
    real.delete_records(1, 4);
    send_all(4..6);
    let (seen, _) = read_to(&mut source, &[20, 7]);
    assert_numbers(&seen, 1, 4..6);
}

#[test]
fn a_new_source_goes_on_from_positions_alone() {
    let cluster = mock(2);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..50);
    produce(&brokers, TOPIC, 1, 0..50);
    let mut first = source(&brokers, TOPIC, "g");
    first.assign(&positions(&[0, 0])).unwrap();
    let (_, reached) = read_to(&mut first, &[20, 35]);
    drop(first);
    let mut second = source(&brokers, TOPIC, "g");
    second.assign(&reached).unwrap();
    let (seen, _) = read_to(&mut second, &[50, 50]);
    assert_numbers(&seen, 0, 20..50);
    assert_numbers(&seen, 1, 35..50);
}

#[test]
fn a_new_assignment_reads_again_and_elsewhere() {
    let cluster = mock(2);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..5000);
    produce(&brokers, TOPIC, 1, 0..5000);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0])).unwrap();
    read_to(&mut source, &[2000]);
    source.assign(&positions(&[100])).unwrap();
    let (seen, _) = read_to(&mut source, &[4000]);
    assert_numbers(&seen, 0, 100..4000);
    source.assign(&positions(&[4000, 0])).unwrap();
    let (seen, _) = read_to(&mut source, &[5000, 5000]);
    assert_numbers(&seen, 0, 4000..5000);
    assert_numbers(&seen, 1, 0..5000);
}

#[test]
fn tombstones_have_no_value() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    let sender = sender(&brokers);
    let tombstone = BaseRecord::<str, str>::to(TOPIC).partition(0).key("k");
    assert!(sender.send(tombstone).is_ok());
    let empty = BaseRecord::<str, str>::to(TOPIC).partition(0).payload("");
    assert!(sender.send(empty).is_ok());
    sender.flush(DEADLINE).unwrap();
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0])).unwrap();
    let (seen, _) = read_to(&mut source, &[2]);
    assert_eq!(seen[&0], [(0, None), (1, Some(Vec::new()))]);
}

#[test]
fn a_record_the_caller_refuses_ends_the_read() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..10);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0])).unwrap();
    let (topic, reason, column) = (TOPIC.to_owned(), FaultReason::Empty, None);
    let (partition, offset) = (Partition(0), Offset(4));
    let bad = BadRecord { topic, partition, offset, reason, column, error: None };
    let mut count = 0;
    let mut take = |record: Record<'_>| {
        count += 1;
        if record.offset == offset { Err(bad.clone()) } else { Ok(()) }
    };
    let read = source.read(&ends(&[10]), DEADLINE, &mut [&mut take]);
    assert!(matches!(read, Err(SourceError::BadRecord(found)) if found == bad));
    assert_eq!(count, 5);
    let again = source.read(&ends(&[10]), DEADLINE, &mut [&mut |_: Record<'_>| Ok(())]);
    assert!(matches!(again, Err(SourceError::Reread(_))), "a failed assignment is not read on");
}

#[test]
fn each_taker_has_partitions_of_its_own_and_all_of_their_records_in_order() {
    let cluster = mock(5);
    let brokers = cluster.bootstrap_servers();
    for partition in 0..5 {
        produce(&brokers, TOPIC, partition, 0..20_000);
    }
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0; 5])).unwrap();
    let deadline = Instant::now() + DEADLINE;
    // Fewer takers than partitions, more, and again as many as before.
    for (takers, to) in [(2, 5_000), (7, 10_000), (2, 15_000), (1, 20_000)] {
        let mut seen: Vec<Seen> = vec![Seen::new(); takers];
        let mut takes: Vec<_> = seen
            .iter_mut()
            .map(|seen| {
                |record: Record<'_>| {
                    let value = record.value.map(<[u8]>::to_vec);
                    seen.entry(record.partition.0).or_default().push((record.offset.0, value));
                    Ok(())
                }
            })
            .collect();
        let mut takes: Vec<Taker<'_>> = takes.iter_mut().map(|take| take as _).collect();
        let ends = ends(&[to; 5]);
        while source.read(&ends, Duration::from_millis(20), &mut takes).unwrap()
            == Progress::Waiting
        {
            assert!(Instant::now() < deadline, "stalled before {to}");
        }
        let partitions: usize = seen.iter().map(Seen::len).sum();
        assert_eq!(partitions, 5, "no partition goes to two");
        assert!(seen.iter().filter(|seen| !seen.is_empty()).count() >= takers.min(3));
        for (partition, records) in seen.into_iter().flatten() {
            assert_numbers(&Seen::from([(partition, records)]), partition, to - 5_000..to);
        }
    }
}

#[test]
fn what_one_taker_refuses_ends_the_read_of_all() {
    for bad in 0..2 {
        let cluster = mock(2);
        let brokers = cluster.bootstrap_servers();
        // Of the other partition there is nothing, for as long as a read may take.
        produce(&brokers, TOPIC, bad, 0..10);
        let mut source = source(&brokers, TOPIC, "g");
        source.assign(&positions(&[0, 0])).unwrap();
        let refuse = |record: Record<'_>| {
            let (topic, reason, column) = (TOPIC.to_owned(), FaultReason::Empty, None);
            let Record { partition, offset, .. } = record;
            Err(BadRecord { topic, partition, offset, reason, column, error: None })
        };
        let (mut one, mut other) = (refuse, refuse);
        let started = Instant::now();
        let read = source.read(&ends(&[10, 10]), DEADLINE, &mut [&mut one, &mut other]);
        let Err(SourceError::BadRecord(found)) = read else { panic!("{read:?}") };
        assert_eq!((found.partition, found.offset), (Partition(bad), Offset(0)));
        assert!(started.elapsed() < DEADLINE / 2, "the other taker's thread ends too");
        let again = source.read(&ends(&[10, 10]), DEADLINE, &mut [&mut one]);
        assert!(matches!(again, Err(SourceError::Reread(_))), "a failed assignment is not read on");
    }
}

#[test]
fn waiting_ends_with_data_and_not_with_the_end_of_a_partition() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..3);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0])).unwrap();
    read_to(&mut source, &[3]);
    assert!(!source.wait(Duration::from_millis(300)).unwrap());
    produce(&brokers, TOPIC, 0, 3..4);
    let deadline = Instant::now() + DEADLINE;
    while !source.wait(Duration::from_millis(20)).unwrap() {
        assert!(Instant::now() < deadline);
    }
    assert_numbers(&read_to(&mut source, &[4]).0, 0, 3..4);
}

#[test]
fn an_offset_that_is_gone_is_lost_data_with_the_range_that_is_there() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..10);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[500])).unwrap();
    match try_read_to(&mut source, &[600]) {
        Err(SourceError::Gone(message)) => {
            for part in ["partition 0", "topic sales", "offset 500", "0 up to, not including, 10"] {
                assert!(message.contains(part), "{message}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_end_that_was_promised_and_is_not_there_any_more_is_lost_data() {
    let cluster = mock(2);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..10);
    produce(&brokers, TOPIC, 1, 0..10);
    let mut source = source(&brokers, TOPIC, "g");
    patiently(|| source.describe());
    source.assign(&positions(&[0, 0])).unwrap();
    match try_read_to(&mut source, &[10, 15]) {
        Err(SourceError::Gone(message)) => {
            assert!(message.contains("ends at 10 although records up to 15 were promised"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_partition_that_cannot_be_trusted_is_read_again_and_in_the_end_given_up() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..10);
    let mut source = source(&brokers, TOPIC, "g");
    // Fetching begins with the assignment, so the damage has to be there before it.
    let damage = || {
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG; 20];
        cluster.request_errors(RDKafkaApiKey::Fetch, &errors);
    };
    damage();
    source.assign(&positions(&[0])).unwrap();
    let mut rereads = 0;
    let lost = loop {
        match try_read_to(&mut source, &[10]) {
            Err(SourceError::Reread(message)) => {
                assert!(message.contains("offset 0 of partition 0"), "{message}");
                rereads += 1;
                assert!(rereads < 20);
                damage();
                source.assign(&positions(&[0])).unwrap();
            }
            Err(SourceError::Lost(message)) => break message,
            other => panic!("{other:?}"),
        }
    };
    assert!(rereads > 1 && lost.contains("partition 0"), "{rereads} {lost}");
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    source.assign(&positions(&[0])).unwrap();
    assert_numbers(&read_to(&mut source, &[10]).0, 0, 0..10);
}

#[test]
fn passing_trouble_of_a_broker_is_waited_out() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..10);
    let trouble = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    cluster.request_errors(RDKafkaApiKey::Fetch, &trouble);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0])).unwrap();
    assert_numbers(&read_to(&mut source, &[10]).0, 0, 0..10);
}

#[test]
fn commits_are_read_back_as_the_witness() {
    let cluster = mock(2);
    let brokers = cluster.bootstrap_servers();
    let partitions = [Partition(0), Partition(1)];
    let mut first = source(&brokers, TOPIC, "g");
    assert_eq!(patiently(|| first.witness(&partitions)), WitnessFact::None);
    let mut batches = Batches::new();
    let committed = [batches.next(&[3, 4]), batches.next(&[5, 6])];
    for begun in [Begun::Freely, Begun::StartOver, Begun::AcceptedRollback] {
        let mut committer = first.committer(begun);
        committed.iter().for_each(|batch| patiently(|| committer.commit(batch)));
        let mut second = source(&brokers, TOPIC, "g");
        let expected = witness_of(&committed[1], begun);
        assert_eq!(patiently(|| second.witness(&partitions)), expected);
    }
    drop(first);
    let mut other = source(&brokers, TOPIC, "another group");
    assert_eq!(patiently(|| other.witness(&partitions)), WitnessFact::None);
}

#[test]
fn a_foreign_commit_says_nothing_and_an_error_is_not_an_absence() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "g")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, rdkafka::Offset::Offset(3)).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = consumer.commit(&list, CommitMode::Sync) {
        assert!(Instant::now() < deadline, "{error}");
    }
    let mut source = source(&brokers, TOPIC, "g");
    assert_eq!(patiently(|| source.witness(&[Partition(0)])), WitnessFact::None);
    let trouble = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN; 10];
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &trouble);
    let answer = source.witness(&[Partition(0)]);
    assert!(matches!(answer, Err(SourceError::Unreachable(_))), "{answer:?}");
}

#[test]
fn committing_beside_reading_is_safe() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..5000);
    let mut source = source(&brokers, TOPIC, "g");
    source.assign(&positions(&[0])).unwrap();
    let mut committer = source.committer(Begun::Freely);
    let committing = std::thread::spawn(move || {
        let mut batches = Batches::new();
        for offset in 0..50 {
            let batch = batches.next(&[offset]);
            patiently(|| committer.commit(&batch));
        }
    });
    for end in (100..=5000).step_by(100) {
        assert_numbers(&read_to(&mut source, &[end]).0, 0, end - 100..end);
    }
    committing.join().unwrap();
}

#[test]
fn dropping_a_source_takes_no_time() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 0, 0..10);
    let mut source = source(&brokers, TOPIC, "g");
    source.describe().unwrap();
    source.assign(&positions(&[0])).unwrap();
    read_to(&mut source, &[10]);
    let started = Instant::now();
    drop(source);
    let elapsed = started.elapsed();
    eprintln!("dropped in {elapsed:?}");
    assert!(elapsed < Duration::from_millis(500), "{elapsed:?}");
}

#[test]
fn the_first_record_is_there_soon() {
    let cluster = mock(3);
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, TOPIC, 1, 0..10);
    assert_soon(|| source(&brokers, TOPIC, "g"), &[0, 10, 0]);
}

/// Times a start; far below a second unless the machine is very busy.
fn assert_soon(source: impl Fn() -> KafkaSource, end: &[i64]) {
    let started = Instant::now();
    let mut source = source();
    let described = patiently(|| source.describe());
    let described_after = started.elapsed();
    assert_eq!(latest(&mut source, &(0..3).collect::<Vec<_>>()), end);
    let bounds_after = started.elapsed();
    patiently(|| source.witness(&described.partitions));
    let witness_after = started.elapsed();
    source.assign(&positions(&[0, 0, 0])).unwrap();
    read_to(&mut source, end);
    let read_after = started.elapsed();
    eprintln!(
        "described {described_after:?}, bounds {bounds_after:?}, witness {witness_after:?}, \
         read {read_after:?}"
    );
    assert!(read_after < Duration::from_secs(5));
}

// Real Kafka.

/// A topic of its own on the cluster for trying things out.
struct Real {
    brokers: String,
    topic: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Real {
    /// `None` where there is no cluster.
    fn topic(partitions: i32, config: &[(&str, &str)]) -> Option<Real> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Ok(brokers) = std::env::var("SALES_STREAM_TEST_KAFKA") else {
            eprintln!("NOT RUN against real Kafka: SALES_STREAM_TEST_KAFKA is not set");
            return None;
        };
        let topic = format!("test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let real = Real { brokers, topic, admin, runtime };
        real.create(partitions, config);
        Some(real)
    }

    fn options() -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(DEADLINE))
    }

    fn create(&self, partitions: i32, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        topic.config.extend(config);
        let made = self.admin.create_topics([&topic], &Real::options());
        self.runtime.block_on(made).unwrap()[0].as_ref().unwrap();
    }

    fn delete(&self) {
        let topics = [self.topic.as_str()];
        let options = Real::options();
        self.runtime.block_on(self.admin.delete_topics(&topics, &options)).unwrap();
    }

    fn delete_records(&self, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, rdkafka::Offset::Offset(before)).unwrap();
        self.runtime.block_on(self.admin.delete_records(&list, &Real::options())).unwrap();
    }

    fn add_partitions(&self, count: usize) {
        let more = NewPartitions::new(&self.topic, count);
        let options = Real::options();
        self.runtime.block_on(self.admin.create_partitions([&more], &options)).unwrap();
    }

    fn produce(&self, partition: i32, range: Range<i64>) {
        produce(&self.brokers, &self.topic, partition, range);
    }

    fn transactional_sender(&self) -> Sender {
        let sender: Sender = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("transactional.id", &self.topic)
            .create()
            .unwrap();
        sender.init_transactions(DEADLINE).unwrap();
        sender
    }

    fn source(&self) -> KafkaSource {
        source(&self.brokers, &self.topic, &format!("group-{}", self.topic))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.delete();
        }
    }
}

fn describe_until_error(source: &mut KafkaSource) -> SourceError {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match source.describe() {
            Ok(_) | Err(SourceError::Unreachable(_)) => assert!(Instant::now() < deadline),
            Err(error) => return error,
        }
    }
}

#[test]
fn real_topics_have_an_id_that_changes_when_they_are_made_anew() {
    let Some(real) = Real::topic(3, &[]) else { return };
    let mut source = real.source();
    let first = patiently(|| source.describe());
    assert_eq!(first.partitions, [0, 1, 2].map(Partition));
    assert!(first.topic_id.is_some() && first.cluster_id.is_some(), "{first:?}");
    real.delete();
    let gone = describe_until_error(&mut source).to_string();
    assert!(gone.contains("was deleted"), "{gone}");
    let missing = real.source().describe();
    assert!(matches!(missing, Err(SourceError::NoTopic(_))), "{missing:?}");
    real.create(3, &[]);
    let again = patiently(|| real.source().describe());
    assert_ne!(again.topic_id, first.topic_id);
    let anew = describe_until_error(&mut source).to_string();
    assert!(anew.contains("made again"), "{anew}");
}

/// A source that follows a topic that is made again, behind the five records that there are; and the topic.
fn following_source(real: &Real) -> (KafkaSource, TopicDescription) {
    real.produce(0, 0..5);
    let config = config(&real.brokers, &real.topic, "g");
    let mut source =
        KafkaSource::new(KafkaSourceConfig { follows_new_topic: true, ..config }).unwrap();
    let first = patiently(|| source.describe());
    source.assign(&positions(&[0])).unwrap();
    read_to(&mut source, &[5]);
    (source, first)
}

/// Deletes the topic, waits until it is gone, and makes it again.
fn make_again(real: &Real) {
    real.delete();
    patiently(|| match real.source().describe() {
        Err(SourceError::NoTopic(_)) => Ok(()),
        other => Err(SourceError::Unreachable(format!("still there: {other:?}"))),
    });
    real.create(1, &[]);
}

#[test]
fn real_topics_made_anew_are_followed_where_that_is_wanted() {
    let Some(real) = Real::topic(1, &[]) else { return };
    let (mut source, first) = following_source(&real);
    make_again(&real);
    let deadline = Instant::now() + DEADLINE;
    let again = loop {
        match source.describe() {
            Ok(described) if described.topic_id != first.topic_id => break described,
            answer => assert!(Instant::now() < deadline, "{answer:?}"),
        }
    };
    assert_eq!(again.partitions, first.partitions);
    real.produce(0, 0..8);
    let unassigned = source.read(&ends(&[8]), Duration::ZERO, &mut [&mut |_: Record<'_>| Ok(())]);
    assert!(matches!(unassigned, Err(SourceError::Reread(_))), "{unassigned:?}");
    source.assign(&positions(&[5])).unwrap();
    assert_numbers(&read_to(&mut source, &[8]).0, 0, 5..8);
}

#[test]
fn real_topics_made_anew_while_a_batch_is_read_must_be_looked_up_again() {
    let Some(real) = Real::topic(1, &[]) else { return };
    let (mut source, first) = following_source(&real);
    make_again(&real);
    // Whichever is noticed first, the id or the end: either way the topic is looked up before it is read.
    match try_read_to(&mut source, &[8]) {
        Err(SourceError::Replaced(_) | SourceError::Gone(_)) => {}
        other => panic!("{other:?}"),
    }
    let unassigned = source.read(&ends(&[8]), Duration::ZERO, &mut [&mut |_: Record<'_>| Ok(())]);
    assert!(matches!(unassigned, Err(SourceError::Reread(_))), "{unassigned:?}");
    assert_ne!(patiently(|| source.describe()).topic_id, first.topic_id);
}

#[test]
fn real_deletion_while_reading_is_lost_data() {
    let Some(real) = Real::topic(1, &[]) else { return };
    real.produce(0, 0..10);
    let mut source = real.source();
    patiently(|| source.describe());
    source.assign(&positions(&[0])).unwrap();
    read_to(&mut source, &[10]);
    real.delete();
    let deadline = Instant::now() + DEADLINE * 3;
    let lost = loop {
        match source.read(
            &ends(&[11]),
            Duration::from_millis(100),
            &mut [&mut |_: Record<'_>| Ok(())],
        ) {
            Err(SourceError::Lost(message)) => break message,
            Ok(Progress::Waiting) => assert!(Instant::now() < deadline, "deletion not noticed"),
            other => panic!("{other:?}"),
        }
    };
    assert!(lost.contains("was deleted"), "{lost}");
    real.create(1, &[]);
}

#[test]
fn real_aborted_and_open_transactions_are_never_read_and_ends_are_reached() {
    let Some(real) = Real::topic(1, &[]) else { return };
    let sender = real.transactional_sender();
    let mut source = real.source();
    source.assign(&positions(&[0])).unwrap();
    let mut from = 0;
    let mut slowest = Duration::ZERO;
    for round in 0..20_i64 {
        sender.begin_transaction().unwrap();
        let range = round * 100..round * 100 + 1 + round;
        send(&sender, &real.topic, 0, range.clone());
        sender.flush(DEADLINE).unwrap();
        assert_eq!(latest(&mut source, &[0]), [from], "an open transaction is not there yet");
        let expected = if round % 3 == 1 {
            sender.abort_transaction(DEADLINE).unwrap();
            0..0
        } else {
            sender.commit_transaction(DEADLINE).unwrap();
            range
        };
        let deadline = Instant::now() + DEADLINE;
        let to = loop {
            let to = latest(&mut source, &[0])[0];
            if to > from {
                break to;
            }
            assert!(Instant::now() < deadline);
        };
        let started = Instant::now();
        let (seen, reached) = read_to(&mut source, &[to]);
        slowest = slowest.max(started.elapsed());
        assert_eq!(reached[&Partition(0)].epoch, LeaderEpoch::UNKNOWN, "behind a control record");
        let values: Vec<_> =
            seen.get(&0).into_iter().flatten().filter_map(|(_, value)| value.clone()).collect();
        let expected: Vec<_> = expected.map(|number| number.to_string().into_bytes()).collect();
        assert_eq!(values, expected);
        from = to;
    }
    eprintln!("slowest end behind a transaction {slowest:?}");
    // From the middle, in steps of one offset.
    let mut again = real.source();
    again.assign(&positions(&[3])).unwrap();
    for to in 4..=from {
        read_to(&mut again, &[to]);
    }
}

#[test]
fn real_retention_is_lost_data_and_bounds_follow_it() {
    let Some(real) = Real::topic(2, &[]) else { return };
    real.produce(0, 0..100);
    real.produce(1, 0..10);
    real.delete_records(0, 60);
    let mut source = real.source();
    let bounds = patiently(|| source.bounds(&[Partition(0), Partition(1)]));
    let pairs: Vec<_> = bounds.values().map(|b| (b.earliest.0, b.latest.0)).collect();
    assert_eq!(pairs, [(60, 100), (0, 10)]);
    source.assign(&positions(&[60, 0])).unwrap();
    assert_numbers(&read_to(&mut source, &[100, 10]).0, 0, 60..100);
    source.assign(&positions(&[59, 0])).unwrap();
    match try_read_to(&mut source, &[100, 10]) {
        Err(SourceError::Gone(message)) => {
            for part in ["partition 0", "offset 59", "60 up to, not including, 100"] {
                assert!(message.contains(part), "{message}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn real_compaction_gaps_are_no_loss() {
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "200"),
    ];
    let Some(real) = Real::topic(1, &config) else { return };
    // What is compacted when is the broker's affair: offsets must ascend, the last record must be
    // there and the end must be reached, with and without gaps.
    let mut to = 0;
    let deadline = Instant::now() + DEADLINE;
    loop {
        real.produce(0, to..to + 50);
        to += 50;
        let mut source = real.source();
        source.assign(&positions(&[0])).unwrap();
        let (seen, _) = read_to(&mut source, &[to]);
        let offsets: Vec<_> = seen[&0].iter().map(|(offset, _)| *offset).collect();
        assert!(offsets.is_sorted() && offsets.last() == Some(&(to - 1)), "{offsets:?}");
        if offsets.len() < usize::try_from(to).unwrap() {
            eprintln!("{} of {to} records were left by compaction", offsets.len());
            break;
        }
        if Instant::now() > deadline {
            eprintln!("NOT TRIED: the broker did not compact in time");
            break;
        }
    }
}

#[test]
fn real_new_partitions_are_described_and_read() {
    let Some(real) = Real::topic(1, &[]) else { return };
    real.produce(0, 0..100);
    let mut source = real.source();
    patiently(|| source.describe());
    source.assign(&positions(&[0])).unwrap();
    read_to(&mut source, &[40]);
    real.add_partitions(3);
    let deadline = Instant::now() + DEADLINE;
    while patiently(|| source.describe()).partitions.len() < 3 {
        assert!(Instant::now() < deadline);
    }
    real.produce(2, 0..10);
    assert_eq!(latest(&mut source, &[0, 1, 2]), [100, 0, 10]);
    source.assign(&positions(&[40, 0, 0])).unwrap();
    let (seen, _) = read_to(&mut source, &[100, 0, 10]);
    assert_numbers(&seen, 0, 40..100);
    assert_numbers(&seen, 2, 0..10);
}

#[test]
fn real_commits_are_read_back_as_the_witness() {
    let Some(real) = Real::topic(2, &[]) else { return };
    let partitions = [Partition(0), Partition(1)];
    let mut first = real.source();
    assert_eq!(patiently(|| first.witness(&partitions)), WitnessFact::None);
    let batch = Batches::new().next(&[3, 4]);
    patiently(|| first.committer(Begun::AcceptedRollback).commit(&batch));
    let expected = witness_of(&batch, Begun::AcceptedRollback);
    assert_eq!(patiently(|| real.source().witness(&partitions)), expected);
}

#[test]
fn real_many_records_come_once_and_in_order() {
    let Some(real) = Real::topic(3, &[]) else { return };
    for partition in 0..3 {
        real.produce(partition, 0..60_000);
    }
    assert_soon(|| real.source(), &[60_000; 3]);
    let mut source = real.source();
    source.assign(&positions(&[0, 0, 0])).unwrap();
    let mut from = [0_i64; 3];
    while from != [60_000; 3] {
        let to = from.map(|offset| (offset + 7001).min(60_000));
        let (seen, _) = read_to(&mut source, &to);
        for (partition, (from, to)) in (0..).zip(from.into_iter().zip(to)) {
            assert_numbers(&seen, partition, from..to);
        }
        from = to;
    }
}
