//! Records of assigned partitions, in order and exactly once, up to ends that are told.
//!
//! Every partition has a queue of its own, so that one that is far behind holds no other back, and
//! one that has reached its end is not read on. What is taken from a queue and lies behind the end
//! is carried to the next call.
//!
//! A partition has reached its end when a record at or behind it was seen, an end-of-partition
//! message at or behind it, or the client's position passed it (control records, aborted
//! transactions). librdkafka tells the end of a partition once for each end offset
//! (`rktp_offsets.eof_offset`), so it is remembered.
//!
//! A client has one request for records on the way to each broker at a time, and a broker that has none for it answers
//! late (`fetch.wait.max.ms`): asked for partitions at the end of their logs alone, because the queues of all others were
//! full just then, it would hold those up for as long. So where much is left to read, partitions of which nothing more is
//! wanted rest: they are taken out of the assignment until something is, and then assigned where they stand. (A pause
//! would keep librdkafka's own position instead, which is one too high behind an end-of-partition message, and has an
//! epoch that the message does not.) Where little is left they do not, for one that is assigned again may have to wait
//! for the request that is on the way. Of one that rests nobody hears what befalls it before it is read on.
//!
//! Several takers are given records at once, each on a thread of its own and of partitions of its own.
//!
//! Not here: what a failure means to the job (`super::KafkaSource`).

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CStr, CString},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    batch::{BadRecord, Record},
    kafka::{ErrorKind, KafkaContext, Refusal, kind_of},
    source::{Progress, SourceError, Taker},
    types::{LeaderEpoch, Offset, Partition, Position},
};

use super::{
    Client, KafkaSourceConfig,
    native::{self, Message, NativeError, PartitionList, PartitionQueue, Slots, Wake},
    options,
};

/// Messages taken from a queue at once; also how many records pass between two looks at the clock.
const MESSAGES_AT_ONCE: usize = 10_000;
/// How long a lost wake-up can go unnoticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);
/// With more records to come than so many, partitions that have no part in them rest.
const MUCH: i64 = 10_000;
/// With more than so many waiting, a partition is not at rest.
const FEW: usize = 1000;

/// Why reading ended.
pub(super) enum ReadError {
    /// The caller did not want a record.
    Bad(BadRecord),
    /// The offset to go on from is not there.
    Gone { partition: Partition, wanted: Offset, detail: String },
    /// The cluster turned the client away.
    Refused(Refusal),
    /// What was read or comes next is damaged or out of order.
    Untrusted { place: Option<(Partition, Offset)>, detail: String },
}

/// How long to wait for the leaders' names before leaving it to the client.
const LEADERS_PATIENCE: Duration = Duration::from_millis(500);

/// How a read went that did not fail.
pub(super) struct Outcome {
    pub(super) progress: Progress,
    /// Anything came from the brokers.
    pub(super) moved: bool,
    /// The brokers say that they do not know the topic or partition.
    pub(super) topic_in_doubt: bool,
}

/// Reads one assignment.
pub(super) struct Reader {
    // Before the client: queues go first.
    partitions: Vec<PartitionReader>,
    assignment: Assignment,
    sized_for: usize,
    /// Of each taker; there is one at least.
    slots: Vec<Slots>,
    spoilt: bool,
}

/// A call to read, as each of its takers' partitions sees it.
#[derive(Clone, Copy)]
struct Reading<'r> {
    ends: &'r BTreeMap<Partition, Offset>,
    deadline: Instant,
    assignment: &'r Assignment,
    /// One of the takers failed, or doubts the topic.
    is_over: &'r AtomicBool,
    /// How many records may still come, of all takers together, when each last looked.
    to_come: &'r AtomicI64,
}

/// Gives partitions to the client, and takes them away again.
struct Assignment {
    client: Client,
    /// What is assigned, once anything is.
    topic: CString,
    wake: Arc<Wake>,
}

/// What is read for one taker.
struct Task<'r, 't> {
    partitions: &'r mut [PartitionReader],
    slots: &'r mut Slots,
    taker: &'r mut Taker<'t>,
}

/// How far some partitions were read.
struct Part {
    finished: bool,
    moved: bool,
    topic_in_doubt: bool,
}

impl Reader {
    pub(super) fn new(
        config: &KafkaSourceConfig,
        partitions: usize,
    ) -> Result<Reader, SourceError> {
        let client = Client::new(options::reading(config, partitions)?);
        // The client that asks was answered, or there would be nothing to read.
        client.context().note_answer();
        Ok(Reader {
            partitions: Vec::new(),
            assignment: Assignment { client, topic: CString::default(), wake: Arc::default() },
            sized_for: partitions,
            slots: vec![Slots::new(MESSAGES_AT_ONCE)],
            spoilt: false,
        })
    }

    pub(super) fn context(&self) -> &Arc<KafkaContext> {
        self.assignment.client.context()
    }

    /// Whether nothing was assigned yet and the queues have the right size.
    pub(super) fn is_unused_for(&self, partitions: usize) -> bool {
        self.partitions.is_empty() && !self.spoilt && self.sized_for == partitions
    }

    /// Whether it was told what to read.
    pub(super) fn is_assigned(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// Whether it is reading just these partitions and stands at these offsets.
    pub(super) fn stands_at(&self, positions: &BTreeMap<Partition, Position>) -> bool {
        !self.spoilt
            && !self.partitions.is_empty()
            && self.partitions.len() == positions.len()
            && self.partitions.iter().all(|reader| {
                positions
                    .get(&reader.partition)
                    .is_some_and(|position| position.offset == reader.next)
            })
    }

    /// Starts reading. To be called once.
    pub(super) fn assign(
        &mut self,
        topic: &CStr,
        positions: &BTreeMap<Partition, Position>,
    ) -> Result<(), NativeError> {
        assert!(self.partitions.is_empty(), "a reader has one assignment");
        self.assignment.topic = topic.to_owned();
        for (partition, position) in positions {
            let queue = self.assignment.queue(*partition)?;
            self.partitions.push(PartitionReader::new(*partition, *position, queue));
        }
        let list = PartitionList::at_positions(topic, positions);
        // SAFETY: the client lives as long as `self`.
        unsafe { native::assign(self.assignment.client.native(), &list) }?;
        self.learn_leaders(topic);
        Ok(())
    }

    /// Asks who leads the partitions. librdkafka asks by itself, but a question that falls between
    /// two connections is only asked again by its timer, a second later.
    fn learn_leaders(&self, topic: &CStr) {
        let consumer = self.assignment.client.consumer();
        let topic = topic.to_str().ok();
        if let Err(error) = consumer.client().fetch_metadata(topic, LEADERS_PATIENCE) {
            tracing::debug!(%error, "the leaders are not known yet; the client goes on asking");
        }
    }

    /// Hands out records below `ends`, for about `patience`.
    ///
    /// # Panics
    /// When there is no taker.
    pub(super) fn read(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        patience: Duration,
        takers: &mut [Taker<'_>],
    ) -> Result<Outcome, ReadError> {
        let read = self.read_until(ends, Instant::now() + patience, takers);
        // After a failure the caller assigns again: nothing of this one may be used.
        self.spoilt |= read.is_err();
        read
    }

    fn read_until(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        deadline: Instant,
        takers: &mut [Taker<'_>],
    ) -> Result<Outcome, ReadError> {
        if self.spoilt {
            let detail = "it failed before and was not assigned again".to_owned();
            return Err(ReadError::Untrusted { place: None, detail });
        }
        while self.slots.len() < takers.len() {
            self.slots.push(Slots::new(MESSAGES_AT_ONCE));
        }
        let assignment = &self.assignment;
        let (is_over, to_come) = (&AtomicBool::new(false), &AtomicI64::new(0));
        let reading = Reading { ends, deadline, assignment, is_over, to_come };
        to_come.store(reading.to_come_of(&self.partitions), Ordering::Relaxed);
        let of_each = self.partitions.len().div_ceil(takers.len()).max(1);
        let tasks = self.partitions.chunks_mut(of_each).zip(&mut self.slots).zip(takers);
        let mut tasks = tasks.map(|((partitions, slots), taker)| Task { partitions, slots, taker });
        let first = tasks.next().expect("something is assigned, and there is a taker");
        // Each is taken by its thread, or by this one where there is none for it.
        let tasks: Vec<_> = tasks.map(|task| Mutex::new(Some(task))).collect();
        let part = thread::scope(|scope| {
            let (mut begun, mut left) = (Vec::new(), Vec::new());
            for task in &tasks {
                let lane = thread::Builder::new().name("lane".to_owned());
                match lane.spawn_scoped(scope, move || reading.read_taken(task)) {
                    Ok(lane) => begun.push(lane),
                    Err(_) => left.push(task),
                }
            }
            let mut part = reading.read(first, || check_client(&assignment.client));
            for task in left {
                part = part.and_then(|part| Ok(part.and(reading.read_taken(task)?)));
            }
            for lane in begun {
                let read = lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                part = part.and_then(|part| Ok(part.and(read?)));
            }
            part
        })?;
        let progress = match part.finished {
            true => Progress::Reached(self.reached(ends)),
            false => Progress::Waiting,
        };
        Ok(Outcome { progress, moved: part.moved, topic_in_doubt: part.topic_in_doubt })
    }

    fn reached(&mut self, ends: &BTreeMap<Partition, Offset>) -> BTreeMap<Partition, Position> {
        let reached = self.partitions.iter_mut().map(|reader| {
            let end = ends.get(&reader.partition).copied().unwrap_or(reader.next);
            (reader.partition, reader.advance_to(end))
        });
        reached.collect()
    }

    /// Waits until a record can be read, or for `patience`. Errors in front of it are looked at.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<bool, ReadError> {
        let waited = self.wait_until(Instant::now() + patience);
        self.spoilt |= waited.is_err();
        waited
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<bool, ReadError> {
        let mut heard = self.assignment.wake.rings();
        loop {
            check_client(&self.assignment.client)?;
            let mut ready = self.spoilt;
            for reader in &mut self.partitions {
                reader.fill(&mut self.slots[0]);
                ready |= reader.has_record()?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if ready || left.is_zero() {
                return Ok(ready);
            }
            self.assignment.resume(self.partitions.iter_mut())?;
            self.assignment.wake.wait(&mut heard, left.min(LONGEST_SLEEP));
        }
    }
}

impl Assignment {
    /// The queue of a partition that is to be assigned.
    fn queue(&self, partition: Partition) -> Result<PartitionQueue, NativeError> {
        // SAFETY: queues are dropped before the client (order of the reader's fields).
        let queue = unsafe {
            PartitionQueue::take(self.client.native(), &self.topic, partition, self.wake.clone())
        };
        queue.ok_or_else(NativeError::no_offset)
    }

    /// Lets those of the partitions rest that can.
    fn rest<'p>(
        &self,
        partitions: impl Iterator<Item = &'p mut PartitionReader>,
        slots: &mut Slots,
    ) -> Result<(), ReadError> {
        let mut resting: Vec<_> =
            partitions.filter_map(|it| it.comes_to_log_end(slots).then_some(it)).collect();
        if resting.is_empty() {
            return Ok(());
        }
        let list = PartitionList::new(&self.topic, resting.iter().map(|it| it.partition));
        // SAFETY: the client lives.
        unsafe { native::unassign(self.client.native(), &list) }.map_err(unsteady)?;
        for reader in &mut resting {
            reader.queue = None;
        }
        Ok(())
    }

    /// Has those of the partitions read on that rest.
    fn resume<'p>(
        &self,
        partitions: impl Iterator<Item = &'p mut PartitionReader>,
    ) -> Result<(), ReadError> {
        let mut positions = BTreeMap::new();
        for reader in partitions.filter(|reader| reader.rests()) {
            reader.queue = Some(self.queue(reader.partition).map_err(unsteady)?);
            positions.insert(reader.partition, reader.behind());
        }
        if positions.is_empty() {
            return Ok(());
        }
        let list = PartitionList::at_positions(&self.topic, &positions);
        // SAFETY: the client lives.
        unsafe { native::assign_more(self.client.native(), &list) }.map_err(unsteady)
    }
}

/// The client did not do what it was told.
fn unsteady(error: NativeError) -> ReadError {
    let detail = format!("the client could not change what is assigned: {}", error.text);
    ReadError::Untrusted { place: None, detail }
}

impl Part {
    fn and(self, other: Part) -> Part {
        Part {
            finished: self.finished && other.finished,
            moved: self.moved || other.moved,
            topic_in_doubt: self.topic_in_doubt || other.topic_in_doubt,
        }
    }
}

impl Reading<'_> {
    /// Reads for one taker; `check` is asked again and again whether the topic is in doubt.
    fn read(
        self,
        task: Task<'_, '_>,
        check: impl FnMut() -> Result<bool, ReadError>,
    ) -> Result<Part, ReadError> {
        let read = self.read_until(task, check);
        if read.as_ref().map_or(true, |part| part.topic_in_doubt) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        read
    }

    /// The same where nobody looks after the client.
    fn read_taken(self, task: &Mutex<Option<Task<'_, '_>>>) -> Result<Part, ReadError> {
        let task = task.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.read(task.expect("each is taken once"), || Ok(false))
    }

    fn read_until(
        self,
        Task { partitions, slots, taker }: Task<'_, '_>,
        mut check: impl FnMut() -> Result<bool, ReadError>,
    ) -> Result<Part, ReadError> {
        let mut part = Part { finished: false, moved: false, topic_in_doubt: false };
        let wake = &self.assignment.wake;
        let mut heard = wake.rings();
        let mut to_come = self.to_come_of(partitions);
        loop {
            part.topic_in_doubt |= check()?;
            let wanted = partitions.iter_mut().filter(|reader| {
                reader.rests()
                    && reader.carried.is_empty()
                    && !reader.has_reached(self.end_of(reader))
            });
            self.assignment.resume(wanted)?;
            let mut busy = false;
            part.finished = true;
            for reader in &mut *partitions {
                let end = self.end_of(reader);
                if reader.has_reached(end) {
                    continue;
                }
                if self.is_over.load(Ordering::Relaxed) {
                    part.finished = false;
                    break;
                }
                busy |= reader.fill(slots);
                part.topic_in_doubt |= reader.hand_out(end, *taker)?;
                part.finished &= reader.has_reached(end);
            }
            part.moved |= busy;
            let left = self.deadline.saturating_duration_since(Instant::now());
            let is_over = left.is_zero() || self.is_over.load(Ordering::Relaxed);
            let is_done = part.finished || part.topic_in_doubt || is_over;
            if busy && !is_done {
                continue;
            }
            let came = to_come - self.to_come_of(partitions);
            to_come -= came;
            let of_all = self.to_come.fetch_sub(came, Ordering::Relaxed) - came;
            if of_all > MUCH && !part.topic_in_doubt {
                self.rest(partitions, slots)?;
            }
            if is_done {
                return Ok(part);
            }
            wake.wait(&mut heard, left.min(LONGEST_SLEEP));
        }
    }

    fn end_of(self, reader: &PartitionReader) -> Offset {
        self.ends.get(&reader.partition).copied().unwrap_or(reader.next)
    }

    /// How many records of some partitions may still come.
    fn to_come_of(self, partitions: &[PartitionReader]) -> i64 {
        let wanted = partitions.iter().filter(|reader| !reader.has_reached(self.end_of(reader)));
        wanted.map(|reader| self.end_of(reader).0 - reader.next.0).sum()
    }

    /// Lets partitions rest of which nothing more is wanted.
    fn rest(self, partitions: &mut [PartitionReader], slots: &mut Slots) -> Result<(), ReadError> {
        let unwanted =
            partitions.iter_mut().filter(|reader| reader.has_reached(self.end_of(reader)));
        self.assignment.rest(unwanted, slots)
    }
}

/// Looks after the consumer's own queue; tells whether the topic is in doubt.
fn check_client(client: &Client) -> Result<bool, ReadError> {
    match client.serve_events() {
        None => Ok(false),
        Some(KafkaError::MessageConsumptionFatal(code)) => {
            Err(ReadError::Refused(Refusal { code, reason: code.to_string() }))
        }
        // The context has seen it, with the broker's words, and knows whether the code means it.
        Some(error) if kind_of(&error) == ErrorKind::Refused => {
            let refusal = client.context().refusal();
            let meant = refusal.filter(|it| Some(it.code) == error.rdkafka_error_code());
            meant.map_or(Ok(false), |refusal| Err(ReadError::Refused(refusal)))
        }
        Some(error) => {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            judge(code, &error.to_string(), None)
        }
    }
}

struct PartitionReader {
    partition: Partition,
    /// None while it rests.
    queue: Option<PartitionQueue>,
    /// Taken from the queue and not yet handed out, in order.
    carried: VecDeque<Message>,
    /// Where the next record may be: every one below was handed out.
    next: Offset,
    /// The epoch of the record directly before `next`, as far as known.
    epoch: LeaderEpoch,
    /// Every record below was taken from the queue.
    taken: Offset,
    /// Where the newest error or end-of-partition message was: the client's position directly
    /// behind one is one too high.
    doubtful: Option<Offset>,
    /// The end of the log, when it was last reached.
    log_end: Option<Offset>,
}

impl PartitionReader {
    fn new(partition: Partition, position: Position, queue: PartitionQueue) -> PartitionReader {
        PartitionReader {
            partition,
            queue: Some(queue),
            carried: VecDeque::new(),
            next: position.offset,
            epoch: position.epoch,
            taken: position.offset,
            doubtful: None,
            log_end: None,
        }
    }

    /// Whether it is not assigned just now.
    fn rests(&self) -> bool {
        self.queue.is_none()
    }

    /// Whether every record below `end` was handed out.
    fn has_reached(&self, end: Offset) -> bool {
        if self.next >= end {
            return true;
        }
        match self.carried.front() {
            Some(message) => message.error().is_none() && message.offset() >= end,
            None => self.taken >= end,
        }
    }

    /// Takes what is in the queue, unless something is carried; tells whether anything was.
    fn fill(&mut self, slots: &mut Slots) -> bool {
        !self.carried.is_empty() || self.take(slots) > 0
    }

    /// Takes what is in the queue; tells how many messages.
    fn take(&mut self, slots: &mut Slots) -> usize {
        let Some(queue) = &mut self.queue else { return 0 };
        let count = queue.drain(slots, &mut self.carried);
        for message in self.carried.iter().rev().take(count) {
            let Some(code) = message.error() else { continue };
            self.doubtful = self.doubtful.max(Some(message.offset()));
            if code == RDKafkaErrorCode::PartitionEOF {
                self.log_end = self.log_end.max(Some(message.offset()));
            }
        }
        if count < slots.len()
            && let Some(position) = queue.position()
            && self.doubtful.is_none_or(|doubtful| position.0 > doubtful.0 + 1)
        {
            self.taken = self.taken.max(position);
        }
        count
    }

    /// Hands out what is carried below `end`; tells whether the topic is in doubt.
    fn hand_out(&mut self, end: Offset, take: Taker<'_>) -> Result<bool, ReadError> {
        let mut topic_in_doubt = false;
        while let Some(message) = self.carried.front() {
            let offset = message.offset();
            if let Some(code) = message.error() {
                topic_in_doubt |= self.take_error(code)?;
                self.carried.pop_front();
                continue;
            }
            if offset >= end {
                break;
            }
            if offset < self.next {
                return Err(self.untrusted(format!("the record at offset {offset} came late")));
            }
            let record = Record { partition: self.partition, offset, value: message.value() };
            take(record).map_err(ReadError::Bad)?;
            self.next = Offset(offset.0 + 1);
            let after = self.carried.get(1);
            // Asking the client for it costs as much as taking the message; nobody looks in between.
            if after.is_none_or(|after| after.error().is_some() || after.offset() >= end) {
                self.epoch = message.epoch();
            }
            self.carried.pop_front();
        }
        Ok(topic_in_doubt)
    }

    /// What the error at the front means; tells whether the topic is in doubt.
    fn take_error(&mut self, code: RDKafkaErrorCode) -> Result<bool, ReadError> {
        let Some(message) = self.carried.front() else { return Ok(false) };
        let detail = message.error_text();
        match code {
            RDKafkaErrorCode::PartitionEOF => {
                self.taken = self.taken.max(message.offset());
                Ok(false)
            }
            RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::LogTruncation => {
                Err(ReadError::Gone { partition: self.partition, wanted: self.next, detail })
            }
            _ => judge(code, &detail, Some((self.partition, self.next))),
        }
    }

    /// Whether a record waits. What stands before it is judged in passing; a topic in doubt is looked
    /// up at the next trigger anyway.
    fn has_record(&mut self) -> Result<bool, ReadError> {
        while let Some(message) = self.carried.front() {
            let Some(code) = message.error() else { return Ok(true) };
            self.take_error(code)?;
            self.carried.pop_front();
        }
        Ok(false)
    }

    /// Whether it was read to the end of its log, as far as known. What waits is taken for that, if it is little.
    fn comes_to_log_end(&mut self, slots: &mut Slots) -> bool {
        let Some(queue) = &self.queue else { return false };
        if self.carried.len() + queue.len() > FEW {
            return false;
        }
        self.take(slots);
        self.log_end >= Some(self.behind().offset)
    }

    /// The position behind everything that was taken from the queue.
    fn behind(&self) -> Position {
        let last = self.carried.iter().rev().find(|message| message.error().is_none());
        let behind_last = match last {
            Some(last) => Position { offset: Offset(last.offset().0 + 1), epoch: last.epoch() },
            None => Position { offset: self.next, epoch: self.epoch },
        };
        if self.taken > behind_last.offset {
            // What is between are control records, which may be deleted before it is read on.
            return Position { offset: self.taken, epoch: LeaderEpoch::UNKNOWN };
        }
        behind_last
    }

    /// Stands at `end`, which was reached.
    fn advance_to(&mut self, end: Offset) -> Position {
        if end > self.next {
            // The record before `end` is none of ours (control record, compacted away): its epoch is
            // not known, and that of an earlier one would look like a truncated log after the next
            // change of leaders.
            self.next = end;
            self.epoch = LeaderEpoch::UNKNOWN;
        }
        Position { offset: self.next, epoch: self.epoch }
    }

    fn untrusted(&self, detail: String) -> ReadError {
        ReadError::Untrusted { place: Some((self.partition, self.next)), detail }
    }
}

/// Sorts an error that came instead of records: `Ok(true)` if the topic may be gone, `Ok(false)` if
/// the client goes on by itself.
fn judge(
    code: RDKafkaErrorCode,
    detail: &str,
    place: Option<(Partition, Offset)>,
) -> Result<bool, ReadError> {
    use RDKafkaErrorCode as Code;
    match code {
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => Ok(true),
        Code::PartitionEOF
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::KafkaStorageError
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::WaitingForCoordinator
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator => Ok(false),
        _ => match kind_of(&KafkaError::MessageConsumption(code)) {
            ErrorKind::Unreachable => Ok(false),
            ErrorKind::Refused => {
                Err(ReadError::Refused(Refusal { code, reason: format!("{code}: {detail}") }))
            }
            ErrorKind::Usage | ErrorKind::Other => {
                Err(ReadError::Untrusted { place, detail: format!("{code}: {detail}") })
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        ClientConfig,
        mocking::MockCluster,
        producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
    };

    use super::*;
    use crate::kafka::{ClientSettings, Trust};

    const DEADLINE: Duration = Duration::from_secs(30);

    type Sender = ThreadedProducer<DefaultProducerContext>;

    /// What was read, by partition.
    type Seen = BTreeMap<i32, Vec<i64>>;

    fn config(brokers: &str) -> KafkaSourceConfig {
        KafkaSourceConfig {
            settings: ClientSettings::new(brokers, Vec::new(), Trust::SafeOptionsOnly).unwrap(),
            topic: "sales".to_owned(),
            group_id: "group".to_owned(),
            startup_timeout: None,
            follows_new_topic: false,
            queue_bytes: KafkaSourceConfig::QUEUE_BYTES,
        }
    }

    fn produce(sender: &Sender, partition: i32, count: usize) {
        for _ in 0..count {
            let record = BaseRecord::<str, str>::to("sales").partition(partition).payload("{}");
            sender.send(record).map_err(|(error, _)| error).unwrap();
        }
        sender.flush(DEADLINE).unwrap();
    }

    fn read(reader: &mut Reader, to: [i64; 2], patience: Duration, seen: &mut Seen) -> Progress {
        let ends = (0..).map(Partition).zip(to.map(Offset)).collect();
        let mut take = |record: Record<'_>| {
            seen.entry(record.partition.0).or_default().push(record.offset.0);
            Ok(())
        };
        let Ok(outcome) = reader.read(&ends, patience, &mut [&mut take]) else {
            panic!("reading failed");
        };
        outcome.progress
    }

    fn rests(reader: &Reader) -> Vec<bool> {
        reader.partitions.iter().map(PartitionReader::rests).collect()
    }

    fn reader(brokers: &str) -> Reader {
        let mut reader = Reader::new(&config(brokers), 2).unwrap_or_else(|_| panic!("no client"));
        let start = Position { offset: Offset(0), epoch: LeaderEpoch::UNKNOWN };
        let positions = BTreeMap::from([(Partition(0), start), (Partition(1), start)]);
        reader.assign(c"sales", &positions).unwrap();
        reader
    }

    /// Much more is wanted of the first partition than there is, until the second rests.
    fn come_to_rest(reader: &mut Reader, to: [i64; 2], seen: &mut Seen) {
        let deadline = Instant::now() + DEADLINE;
        while rests(reader) != [false, true] {
            assert!(Instant::now() < deadline, "{:?} {seen:?}", rests(reader));
            let to = [to[0] + MUCH, to[1]];
            let _ = read(reader, to, Duration::from_millis(50), seen);
        }
    }

    fn cluster(brokers: i32) -> MockCluster<'static, DefaultProducerContext> {
        let cluster = MockCluster::new(brokers).unwrap();
        cluster.create_topic("sales", 2, brokers).unwrap();
        cluster
    }

    /// 20 records in the first partition, 3 in the second, which rests; what was read of them.
    fn begin(brokers: &str) -> (Sender, Reader, Seen) {
        let sender = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        produce(&sender, 0, 20);
        produce(&sender, 1, 3);
        let (mut reader, mut seen) = (reader(brokers), Seen::new());
        come_to_rest(&mut reader, [40, 3], &mut seen);
        (sender, reader, seen)
    }

    #[test]
    fn a_partition_that_rests_follows_its_leader() {
        let cluster = cluster(2);
        let led_by = |broker: i32| {
            (0..2).for_each(|it| cluster.partition_leader("sales", it, Some(broker)).unwrap());
        };
        led_by(1);
        let (sender, mut reader, mut seen) = begin(&cluster.bootstrap_servers());
        led_by(2);
        produce(&sender, 0, 20);
        produce(&sender, 1, 2);
        assert!(matches!(read(&mut reader, [40, 3], DEADLINE, &mut seen), Progress::Reached(_)));
        assert_eq!(rests(&reader), [false, true]);
        assert!(matches!(read(&mut reader, [40, 5], DEADLINE, &mut seen), Progress::Reached(_)));
        assert_eq!(seen, Seen::from([(0, (0..40).collect()), (1, (0..5).collect())]));
    }

    #[test]
    fn a_partition_at_its_end_rests_while_others_are_read_and_goes_on_where_it_stands() {
        let cluster = cluster(1);
        let (sender, mut reader, mut seen) = begin(&cluster.bootstrap_servers());
        produce(&sender, 0, 20);
        produce(&sender, 1, 2);
        assert!(matches!(read(&mut reader, [40, 5], DEADLINE, &mut seen), Progress::Reached(_)));
        let all = Seen::from([(0, (0..40).collect()), (1, (0..5).collect())]);
        assert_eq!(seen, all);

        // Little is wanted.
        let _ = read(&mut reader, [60, 5], Duration::from_millis(50), &mut seen);
        assert_eq!(rests(&reader), [false, false]);

        // Whoever waits for anything waits for all of them, but does not have them fetched to look.
        come_to_rest(&mut reader, [60, 5], &mut seen);
        assert!(reader.wait(Duration::ZERO).is_ok_and(|ready| !ready));
        assert_eq!(rests(&reader), [false, true]);
        assert!(reader.wait(Duration::from_millis(1)).is_ok_and(|ready| !ready));
        assert_eq!(rests(&reader), [false, false]);
        produce(&sender, 1, 1);
        assert!(reader.wait(DEADLINE).is_ok_and(|ready| ready));
        assert!(matches!(read(&mut reader, [40, 6], DEADLINE, &mut seen), Progress::Reached(_)));
        assert_eq!(seen[&1], [0, 1, 2, 3, 4, 5]);
    }
}
