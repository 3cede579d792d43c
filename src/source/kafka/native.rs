//! What is used of librdkafka's C interface, as values that clean up after themselves.
//!
//! Invariants: every pointer held here is valid for as long as the value that holds it; a message's
//! bytes are borrowed from the message and live no longer. All `unsafe` of the source is in this file.
//!
//! Start at [`PartitionQueue`]. Not here: what messages and errors mean (`reader`, `questions`).

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr, slice,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    bindings::{
        RD_KAFKA_EVENT_OFFSET_COMMIT, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
        rd_kafka_AdminOptions_set_broker, rd_kafka_AdminOptions_set_isolation_level,
        rd_kafka_AdminOptions_set_request_timeout, rd_kafka_AdminOptions_t,
        rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics, rd_kafka_IsolationLevel_t,
        rd_kafka_ListOffsets, rd_kafka_ListOffsets_result_infos,
        rd_kafka_ListOffsetsResultInfo_topic_partition, rd_kafka_Node_id, rd_kafka_OffsetSpec_t,
        rd_kafka_TopicCollection_destroy, rd_kafka_TopicCollection_of_topic_names,
        rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_partitions,
        rd_kafka_TopicDescription_topic_id, rd_kafka_TopicPartitionInfo_leader,
        rd_kafka_TopicPartitionInfo_partition, rd_kafka_Uuid_base64str,
        rd_kafka_Uuid_least_significant_bits, rd_kafka_Uuid_most_significant_bits,
        rd_kafka_admin_op_t, rd_kafka_assign, rd_kafka_clusterid, rd_kafka_commit_queue,
        rd_kafka_committed, rd_kafka_consume_batch_queue, rd_kafka_error_code,
        rd_kafka_error_destroy, rd_kafka_error_string, rd_kafka_error_t,
        rd_kafka_event_DescribeTopics_result, rd_kafka_event_ListOffsets_result,
        rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_error_string,
        rd_kafka_event_t, rd_kafka_event_topic_partition_list, rd_kafka_event_type,
        rd_kafka_incremental_assign, rd_kafka_incremental_unassign, rd_kafka_mem_free,
        rd_kafka_mem_malloc, rd_kafka_message_destroy, rd_kafka_message_errstr,
        rd_kafka_message_leader_epoch, rd_kafka_message_t, rd_kafka_position,
        rd_kafka_queue_cb_event_enable, rd_kafka_queue_destroy, rd_kafka_queue_forward,
        rd_kafka_queue_get_partition, rd_kafka_queue_length, rd_kafka_queue_new,
        rd_kafka_queue_poll, rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_seek_partitions,
        rd_kafka_t, rd_kafka_topic_partition_list_add, rd_kafka_topic_partition_list_destroy,
        rd_kafka_topic_partition_list_new, rd_kafka_topic_partition_list_t,
        rd_kafka_topic_partition_set_leader_epoch, rd_kafka_topic_partition_t,
    },
    error::RDKafkaErrorCode,
};

use crate::types::{LeaderEpoch, Offset, Partition, Position};

const NO_ERROR: rd_kafka_resp_err_t = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// An error of the C interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NativeError {
    /// Its code.
    pub(super) code: RDKafkaErrorCode,
    /// Its sentence.
    pub(super) text: String,
}

impl NativeError {
    fn of(code: rd_kafka_resp_err_t) -> NativeError {
        let code = RDKafkaErrorCode::from(code);
        NativeError { code, text: code.to_string() }
    }

    /// An answer lacks what was asked for.
    pub(super) fn no_offset() -> NativeError {
        NativeError::of(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NO_OFFSET)
    }

    fn check(code: rd_kafka_resp_err_t) -> Result<(), NativeError> {
        if code == NO_ERROR { Ok(()) } else { Err(NativeError::of(code)) }
    }
}

/// The text at `text`, which may be null.
///
/// # Safety
/// `text` is null or a C string that lives during the call.
unsafe fn text_at(text: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises; null is looked at first.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// A list of partitions of one topic, with offsets, epochs, metadata and errors.
pub(super) struct PartitionList(*mut rd_kafka_topic_partition_list_t);

impl PartitionList {
    pub(super) fn new(topic: &CStr, partitions: impl IntoIterator<Item = Partition>) -> Self {
        // SAFETY: both calls only allocate; the topic's name is copied.
        unsafe {
            let list = rd_kafka_topic_partition_list_new(8);
            for partition in partitions {
                rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition.0);
            }
            PartitionList(list)
        }
    }

    pub(super) fn at_positions<'a>(
        topic: &CStr,
        positions: impl IntoIterator<Item = (&'a Partition, &'a Position)> + Clone,
    ) -> Self {
        let partitions = positions.clone().into_iter().map(|(partition, _)| *partition);
        let mut list = PartitionList::new(topic, partitions);
        for (entry, (_, position)) in list.entries_mut().iter_mut().zip(positions) {
            entry.offset = position.offset.0;
            // SAFETY: the entry is one of a live list.
            unsafe { rd_kafka_topic_partition_set_leader_epoch(entry, position.epoch.0) };
        }
        list
    }

    fn set_offset_spec(&mut self, spec: rd_kafka_OffsetSpec_t) {
        for entry in self.entries_mut() {
            entry.offset = spec as i64;
        }
    }

    /// Gives each partition its own offset, or whatever a request reads in its place.
    fn set_offsets(&mut self, offsets: impl IntoIterator<Item = i64>) {
        for (entry, offset) in self.entries_mut().iter_mut().zip(offsets) {
            entry.offset = offset;
        }
    }

    /// Attaches the same metadata to every partition.
    fn set_metadata(&mut self, metadata: &str) {
        for entry in self.entries_mut() {
            // SAFETY: the list frees its entries' metadata with librdkafka's allocator, which is
            // asked for this copy; source and copy are of the same length and do not overlap.
            unsafe {
                let copy = rd_kafka_mem_malloc(ptr::null_mut(), metadata.len().max(1));
                assert!(!copy.is_null(), "out of memory");
                ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                entry.metadata = copy;
            }
            entry.metadata_size = metadata.len();
        }
    }

    fn entries(&self) -> &[rd_kafka_topic_partition_t] {
        // SAFETY: the list is alive and has `cnt` entries.
        unsafe { entries_of(self.0) }
    }

    fn entries_mut(&mut self) -> &mut [rd_kafka_topic_partition_t] {
        // SAFETY: as in `entries_of`, and this borrow is the only one.
        unsafe {
            match usize::try_from((*self.0).cnt) {
                Ok(count) if count > 0 => slice::from_raw_parts_mut((*self.0).elems, count),
                _ => &mut [],
            }
        }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: made by `new`, dropped once.
        unsafe { rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

/// # Safety
/// `list` is a list that lives as long as the answer is used.
unsafe fn entries_of<'a>(
    list: *const rd_kafka_topic_partition_list_t,
) -> &'a [rd_kafka_topic_partition_t] {
    // SAFETY: as the caller promises; a list's `elems` has `cnt` entries.
    unsafe {
        match usize::try_from((*list).cnt) {
            Ok(count) if count > 0 => slice::from_raw_parts((*list).elems, count),
            _ => &[],
        }
    }
}

/// What was found for each partition, each with its own error.
pub(super) type OffsetAnswers = Vec<(Partition, Result<Offset, NativeError>)>;

/// A queue made for answers.
struct AnswerQueue(*mut rd_kafka_queue_t);

impl AnswerQueue {
    /// # Safety
    /// The client outlives the queue.
    unsafe fn new(client: *mut rd_kafka_t) -> AnswerQueue {
        // SAFETY: as the caller promises.
        AnswerQueue(unsafe { rd_kafka_queue_new(client) })
    }

    /// The next event, if one comes in time. `meanwhile` is called every now and then; with an
    /// error it ends the wait.
    fn wait(
        &self,
        deadline: Instant,
        meanwhile: &mut dyn FnMut() -> Result<(), NativeError>,
    ) -> Result<Event, NativeError> {
        const SLICE: Duration = Duration::from_millis(50);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let slice = c_int::try_from(left.min(SLICE).as_millis()).unwrap_or(0);
            // SAFETY: the queue lives; the event is owned by whoever polled it.
            let event = unsafe { rd_kafka_queue_poll(self.0, slice) };
            if !event.is_null() {
                let event = Event(event);
                return event.check().map(|()| event);
            }
            meanwhile()?;
            if left.is_zero() {
                return Err(NativeError::of(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT));
            }
        }
    }
}

impl Drop for AnswerQueue {
    fn drop(&mut self) {
        // SAFETY: made by `new`, dropped once.
        unsafe { rd_kafka_queue_destroy(self.0) };
    }
}

struct Event(*mut rd_kafka_event_t);

impl Event {
    fn check(&self) -> Result<(), NativeError> {
        // SAFETY: the event lives, and its error text as long.
        unsafe {
            NativeError::check(rd_kafka_event_error(self.0)).map_err(|error| NativeError {
                text: text_at(rd_kafka_event_error_string(self.0)).unwrap_or(error.text),
                code: error.code,
            })
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: polled once, destroyed once.
        unsafe { rd_kafka_event_destroy(self.0) };
    }
}

struct AdminOptions(*mut rd_kafka_AdminOptions_t);

impl AdminOptions {
    /// # Safety
    /// The client lives.
    unsafe fn new(client: *mut rd_kafka_t, kind: rd_kafka_admin_op_t, timeout: Duration) -> Self {
        let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        let mut problem = [0; 256];
        // SAFETY: the client lives; the buffer has the length told. A timeout beyond its range
        // leaves the default.
        unsafe {
            let options = rd_kafka_AdminOptions_new(client, kind);
            rd_kafka_AdminOptions_set_request_timeout(
                options,
                timeout_ms,
                problem.as_mut_ptr(),
                problem.len(),
            );
            AdminOptions(options)
        }
    }

    fn ask_broker(&mut self, broker: i32) {
        let mut problem = [0; 256];
        // SAFETY: the options live; the buffer has the length told. A number that is none leaves the
        // choice to librdkafka.
        unsafe {
            rd_kafka_AdminOptions_set_broker(self.0, broker, problem.as_mut_ptr(), problem.len());
        }
    }

    fn read_committed(&mut self) {
        // SAFETY: the options live; the answer is an error to be destroyed, or null.
        unsafe {
            let refused = rd_kafka_AdminOptions_set_isolation_level(
                self.0,
                rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            );
            assert!(refused.is_null(), "ListOffsets takes an isolation level");
        }
    }
}

impl Drop for AdminOptions {
    fn drop(&mut self) {
        // SAFETY: made by `new`, dropped once.
        unsafe { rd_kafka_AdminOptions_destroy(self.0) };
    }
}

/// A client to ask questions of, for as long as the value it comes from lives.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    client: *mut rd_kafka_t,
    timeout: Duration,
    meanwhile: &'a dyn Fn() -> Result<(), NativeError>,
}

/// What the cluster says of a topic.
pub(super) struct NativeDescription {
    /// Its id as base64, where the brokers know ids.
    pub(super) topic_id: Option<String>,
    /// Its partitions with whether each has a leader.
    pub(super) partitions: Vec<(Partition, bool)>,
}

impl<'a> Asking<'a> {
    /// `meanwhile` is called while an answer is waited for, and can end the wait.
    ///
    /// # Safety
    /// `client` lives for `'a`.
    pub(super) unsafe fn new(
        client: *mut rd_kafka_t,
        timeout: Duration,
        meanwhile: &'a dyn Fn() -> Result<(), NativeError>,
    ) -> Asking<'a> {
        Asking { client, timeout, meanwhile }
    }

    fn wait(&self, queue: &AnswerQueue, deadline: Instant) -> Result<Event, NativeError> {
        queue.wait(deadline, &mut || (self.meanwhile)())
    }

    /// The cluster's id, as far as the client has heard it or hears it soon.
    pub(super) fn cluster_id(&self) -> Option<String> {
        // SAFETY: the client lives; the text is ours to free.
        unsafe {
            let id = rd_kafka_clusterid(self.client, 1000);
            let text = text_at(id);
            if !id.is_null() {
                rd_kafka_mem_free(self.client, id.cast());
            }
            text.filter(|id| !id.is_empty())
        }
    }

    /// Asks the broker with this number: left alone, librdkafka asks the controller, whom not every
    /// cluster names (the embedded broker does not).
    pub(super) fn describe(
        &self,
        topic: &CStr,
        broker: i32,
    ) -> Result<NativeDescription, NativeError> {
        let deadline = Instant::now() + self.timeout;
        // SAFETY: the client lives for `'a`; what is made is destroyed here; the result is read
        // while its event lives.
        unsafe {
            let queue = AnswerQueue::new(self.client);
            let kind = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let mut options = AdminOptions::new(self.client, kind, self.timeout);
            options.ask_broker(broker);
            let mut names = [topic.as_ptr()];
            let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            rd_kafka_DescribeTopics(self.client, topics, options.0, queue.0);
            rd_kafka_TopicCollection_destroy(topics);
            let event = self.wait(&queue, deadline)?;
            let result = rd_kafka_event_DescribeTopics_result(event.0);
            let mut count = 0;
            let found = rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if count != 1 {
                return Err(NativeError::of(
                    rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                ));
            }
            let found = *found;
            let error = rd_kafka_TopicDescription_error(found);
            if !error.is_null() {
                NativeError::check(rd_kafka_error_code(error))?;
            }
            let id = rd_kafka_TopicDescription_topic_id(found);
            let known = !id.is_null()
                && (rd_kafka_Uuid_most_significant_bits(id) != 0
                    || rd_kafka_Uuid_least_significant_bits(id) != 0);
            let topic_id = if known { text_at(rd_kafka_Uuid_base64str(id)) } else { None };
            let partitions = rd_kafka_TopicDescription_partitions(found, &mut count);
            let partitions = (0..count).map(|index| {
                let info = *partitions.add(index);
                let leader = rd_kafka_TopicPartitionInfo_leader(info);
                let has_leader = !leader.is_null() && rd_kafka_Node_id(leader) >= 0;
                (Partition(rd_kafka_TopicPartitionInfo_partition(info)), has_leader)
            });
            Ok(NativeDescription { topic_id, partitions: partitions.collect() })
        }
    }

    /// The beginnings and the ends (last stable offsets) of partitions, each with its own error.
    pub(super) fn bounds(
        &self,
        topic: &CStr,
        partitions: &[Partition],
    ) -> Result<[OffsetAnswers; 2], NativeError> {
        let deadline = Instant::now() + self.timeout;
        let of_all = |spec| {
            let mut list = PartitionList::new(topic, partitions.iter().copied());
            list.set_offset_spec(spec);
            self.ask_for_offsets(&list)
        };
        let queues = [
            of_all(rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST),
            of_all(rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST),
        ];
        let [earliest, latest] = queues.map(|queue| self.offsets(&queue, deadline));
        Ok([earliest?, latest?])
    }

    /// The first offset of each partition whose record's time is not before the given one, in Unix
    /// milliseconds; a negative one where there is none.
    pub(super) fn offsets_for_times(
        &self,
        topic: &CStr,
        times_ms: &BTreeMap<Partition, i64>,
    ) -> Result<OffsetAnswers, NativeError> {
        let deadline = Instant::now() + self.timeout;
        let mut list = PartitionList::new(topic, times_ms.keys().copied());
        list.set_offsets(times_ms.values().copied());
        let queue = self.ask_for_offsets(&list);
        self.offsets(&queue, deadline)
    }

    /// Asks for what each entry's offset says: a kind of offset, or a time.
    fn ask_for_offsets(&self, list: &PartitionList) -> AnswerQueue {
        let kind = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        // SAFETY: the client lives for `'a`; list and options are copied by the call.
        unsafe {
            let queue = AnswerQueue::new(self.client);
            let mut options = AdminOptions::new(self.client, kind, self.timeout);
            options.read_committed();
            rd_kafka_ListOffsets(self.client, list.0, options.0, queue.0);
            queue
        }
    }

    fn offsets(
        &self,
        queue: &AnswerQueue,
        deadline: Instant,
    ) -> Result<OffsetAnswers, NativeError> {
        let event = self.wait(queue, deadline)?;
        // SAFETY: the result is read while its event lives.
        unsafe {
            let mut count = 0;
            let result = rd_kafka_event_ListOffsets_result(event.0);
            let infos = rd_kafka_ListOffsets_result_infos(result, &mut count);
            let answers = (0..count).map(|index| {
                let entry = &*rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
                let offset = NativeError::check(entry.err).map(|()| Offset(entry.offset));
                (Partition(entry.partition), offset)
            });
            Ok(answers.collect())
        }
    }

    /// What the group has committed: for each partition the offset, if any, and the metadata.
    #[expect(clippy::type_complexity, reason = "one answer for each partition")]
    pub(super) fn committed(
        &self,
        topic: &CStr,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Result<Option<Vec<u8>>, NativeError>)>, NativeError> {
        let timeout_ms = c_int::try_from(self.timeout.as_millis()).unwrap_or(c_int::MAX);
        let list = PartitionList::new(topic, partitions.iter().copied());
        // SAFETY: client and list live during the call.
        NativeError::check(unsafe { rd_kafka_committed(self.client, list.0, timeout_ms) })?;
        let answers = list.entries().iter().map(|entry| {
            let committed = NativeError::check(entry.err).map(|()| {
                (entry.offset >= 0).then(|| {
                    if entry.metadata.is_null() || entry.metadata_size == 0 {
                        return Vec::new();
                    }
                    // SAFETY: the list owns that many bytes there.
                    unsafe {
                        slice::from_raw_parts(entry.metadata.cast::<u8>(), entry.metadata_size)
                    }
                    .to_vec()
                })
            });
            (Partition(entry.partition), committed)
        });
        Ok(answers.collect())
    }

    /// Commits positions with metadata and waits for the group coordinator's answer.
    pub(super) fn commit<'p>(
        &self,
        topic: &CStr,
        positions: impl IntoIterator<Item = (&'p Partition, &'p Position)> + Clone,
        metadata: &str,
    ) -> Result<(), NativeError> {
        let deadline = Instant::now() + self.timeout;
        let mut list = PartitionList::at_positions(topic, positions);
        list.set_metadata(metadata);
        // SAFETY: the client lives for `'a`; the list is copied by the call; the event's list is
        // read while the event lives.
        unsafe {
            let queue = AnswerQueue::new(self.client);
            let sent = rd_kafka_commit_queue(self.client, list.0, queue.0, None, ptr::null_mut());
            NativeError::check(sent)?;
            let event = self.wait(&queue, deadline)?;
            assert_eq!(rd_kafka_event_type(event.0), RD_KAFKA_EVENT_OFFSET_COMMIT);
            let answered = rd_kafka_event_topic_partition_list(event.0);
            if answered.is_null() {
                return Ok(());
            }
            entries_of(answered).iter().try_for_each(|entry| NativeError::check(entry.err))
        }
    }
}

/// Tells the threads that read that a queue is no longer empty.
#[derive(Default)]
pub(super) struct Wake {
    /// How often it was rung.
    rings: Mutex<u64>,
    bell: Condvar,
}

impl Wake {
    fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.bell.notify_all();
    }

    /// How often it was rung so far.
    pub(super) fn rings(&self) -> u64 {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was rung oftener than was `heard`, or for `patience`; it is heard then.
    pub(super) fn wait(&self, heard: &mut u64, patience: Duration) {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(rings, patience, |rings| rings == heard);
        *heard = *waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Called by librdkafka's threads when a queue is no longer empty.
unsafe extern "C" fn ring(_: *mut rd_kafka_t, wake: *mut c_void) {
    // SAFETY: `PartitionQueue` keeps the `Wake` alive until it has taken the callback away.
    unsafe { &*wake.cast::<Wake>() }.ring();
}

/// A record or an error of a partition.
pub(super) struct Message(*mut rd_kafka_message_t);

// SAFETY: a message may be read and destroyed on any thread.
unsafe impl Send for Message {}

impl Message {
    fn inner(&self) -> &rd_kafka_message_t {
        // SAFETY: the message lives until it is dropped.
        unsafe { &*self.0 }
    }

    /// The error it is, if it is one.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let code = self.inner().err;
        (code != NO_ERROR).then(|| RDKafkaErrorCode::from(code))
    }

    /// The error's sentence.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the text belongs to the message.
        unsafe { text_at(rd_kafka_message_errstr(self.0)) }.unwrap_or_default()
    }

    /// The record's offset, or where the error happened.
    pub(super) fn offset(&self) -> Offset {
        Offset(self.inner().offset)
    }

    /// The epoch of the leader that wrote the record.
    pub(super) fn epoch(&self) -> LeaderEpoch {
        // SAFETY: the message lives.
        LeaderEpoch(unsafe { rd_kafka_message_leader_epoch(self.0) })
    }

    /// The record's value.
    pub(super) fn value(&self) -> Option<&[u8]> {
        let message = self.inner();
        // SAFETY: a payload has `len` bytes and lives as long as the message.
        (!message.payload.is_null())
            .then(|| unsafe { slice::from_raw_parts(message.payload.cast::<u8>(), message.len) })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: taken from a queue once, destroyed once.
        unsafe { rd_kafka_message_destroy(self.0) };
    }
}

/// One partition's queue, taken off the consumer's own.
pub(super) struct PartitionQueue {
    client: *mut rd_kafka_t,
    queue: *mut rd_kafka_queue_t,
    position: PartitionList,
    wake: Arc<Wake>,
}

// SAFETY: librdkafka's queues may be used from any thread; this value is used by one at a time.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Takes the partition's queue. Must come before the partition is assigned: librdkafka then
    /// leaves the queue where it is (`rd_kafka_toppar_op_fetch_start`), so that nothing is lost to
    /// the consumer's queue in between.
    ///
    /// # Safety
    /// The client outlives the queue.
    pub(super) unsafe fn take(
        client: *mut rd_kafka_t,
        topic: &CStr,
        partition: Partition,
        wake: Arc<Wake>,
    ) -> Option<PartitionQueue> {
        // SAFETY: as the caller promises; `wake` is kept alive beside the queue.
        unsafe {
            let queue = rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.0);
            if queue.is_null() {
                return None;
            }
            rd_kafka_queue_forward(queue, ptr::null_mut());
            let opaque = Arc::as_ptr(&wake).cast_mut().cast();
            rd_kafka_queue_cb_event_enable(queue, Some(ring), opaque);
            let position = PartitionList::new(topic, [partition]);
            Some(PartitionQueue { client, queue, position, wake })
        }
    }

    /// Moves what is there, at most `slots.len()` messages, to `into`; tells how many.
    pub(super) fn drain(&self, slots: &mut Slots, into: &mut VecDeque<Message>) -> usize {
        let slots = &mut slots.0;
        // SAFETY: the queue lives; the array has the length told; a filled slot owns its message.
        let count =
            unsafe { rd_kafka_consume_batch_queue(self.queue, 0, slots.as_mut_ptr(), slots.len()) };
        let count = usize::try_from(count).unwrap_or(0);
        into.extend(slots[..count].iter().map(|message| Message(*message)));
        count
    }

    /// How much waits in it: messages, and marks of librdkafka's own.
    pub(super) fn len(&self) -> usize {
        // SAFETY: the queue lives.
        unsafe { rd_kafka_queue_length(self.queue) }
    }

    /// One past the last offset that was taken from the queue, control records included; `None`
    /// before the first. One too high directly after an error or an end-of-partition message.
    pub(super) fn position(&mut self) -> Option<Offset> {
        // SAFETY: client and list live.
        let error = unsafe { rd_kafka_position(self.client, self.position.0) };
        let entry = self.position.entries().first()?;
        (error == NO_ERROR && entry.err == NO_ERROR && entry.offset >= 0)
            .then_some(Offset(entry.offset))
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue lives. The callback is taken away under the queue's lock, so that none
        // is running when `wake` goes.
        unsafe {
            rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            rd_kafka_queue_destroy(self.queue);
        }
        debug_assert!(Arc::strong_count(&self.wake) > 0);
    }
}

/// Room for the pointers of one call of [`PartitionQueue::drain`].
pub(super) struct Slots(Vec<*mut rd_kafka_message_t>);

// SAFETY: between calls the slots own nothing.
unsafe impl Send for Slots {}

impl Slots {
    pub(super) fn new(count: usize) -> Slots {
        Slots(vec![ptr::null_mut(); count])
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Assigns partitions at exact positions.
///
/// # Safety
/// The client lives.
pub(super) unsafe fn assign(
    client: *mut rd_kafka_t,
    list: &PartitionList,
) -> Result<(), NativeError> {
    // SAFETY: as the caller promises; the list is copied.
    NativeError::check(unsafe { rd_kafka_assign(client, list.0) })
}

/// Assigns further partitions at exact positions, and has them looked at for a log that was cut meanwhile: an assignment
/// alone looks only when it learns of a newer leader, which the client may have heard of before.
///
/// # Safety
/// The client lives.
pub(super) unsafe fn assign_more(
    client: *mut rd_kafka_t,
    list: &PartitionList,
) -> Result<(), NativeError> {
    const PATIENCE_MS: c_int = 5000;
    const PAUSE: Duration = Duration::from_millis(1);
    // SAFETY: as the caller promises; the list is copied, the error is checked once.
    unsafe { check_error(rd_kafka_incremental_assign(client, list.0)) }?;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        // SAFETY: client and list live; the error is checked once.
        unsafe { check_error(rd_kafka_seek_partitions(client, list.0, PATIENCE_MS)) }?;
        let failed = list.entries().iter().find(|entry| entry.err != NO_ERROR);
        let Some(failed) = failed else { return Ok(()) };
        // Not begun yet: others are still stopped.
        let is_early = failed.err == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__STATE;
        if !is_early || Instant::now() > deadline {
            return Err(NativeError::of(failed.err));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Takes partitions out of the assignment. Records of them that wait in queues, or are on their way, are never seen
/// again; errors may be.
///
/// # Safety
/// The client lives.
pub(super) unsafe fn unassign(
    client: *mut rd_kafka_t,
    list: &PartitionList,
) -> Result<(), NativeError> {
    // SAFETY: as the caller promises; the list is copied, the error is checked once.
    unsafe { check_error(rd_kafka_incremental_unassign(client, list.0)) }
}

/// # Safety
/// `error` is null, or an error that nobody else destroys.
unsafe fn check_error(error: *mut rd_kafka_error_t) -> Result<(), NativeError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller promises; its text is copied before.
    unsafe {
        let code = rd_kafka_error_code(error);
        let text = text_at(rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        let known = NativeError::of(code);
        Err(NativeError { text: text.unwrap_or(known.text), code: known.code })
    }
}

/// A topic's name for the C interface.
pub(super) fn topic_name(topic: &str) -> Result<CString, NativeError> {
    CString::new(topic)
        .map_err(|_| NativeError::of(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rung_before_the_wait_is_heard() {
        let wake = Wake::default();
        let [mut one, mut other] = [wake.rings(); 2];
        wake.ring();
        let started = Instant::now();
        wake.wait(&mut one, Duration::from_secs(30));
        wake.wait(&mut other, Duration::from_secs(30));
        assert!(started.elapsed() < Duration::from_secs(10));
        wake.wait(&mut one, Duration::from_millis(1));
    }

    #[test]
    fn a_topic_name_with_a_zero_byte_is_an_error() {
        assert!(topic_name("a\0b").is_err());
    }
}
