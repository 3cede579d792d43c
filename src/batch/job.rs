//! The job as a value: state, decoder and position, moved forward one batch at a time.
//!
//! What a pipeline keeps between batches is behind [`Operators`]: the job moves the watermark and counts, and knows
//! nothing of windows; records come into a batch by its [`Lane`]s. A second way of doing it (another Spark's sums
//! and order of rows) is one more variant there, with the same calls.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

#[cfg(feature = "faults")]
use crate::faults::{Mutant, is_planted};
use crate::{
    batch::{
        BadRecord, BatchRecord, Counts, DeadLetter, Identity, OutputChunk, Plan, Publication,
        Range, WrittenAhead,
        lane::{Lane, Record, Share, Tools, row_of},
        operators::{Closed, Operators, StateError},
        output::{self, Output, Spilled, Spilling, TakesOutput},
    },
    decode::{self, Texts},
    spark::StateLog,
    spec::Pipeline,
    types::{
        BatchId, Digest, EventTimeStats, EventTimes, Incarnation, Keeper, LeaderEpoch, Lineage,
        Offset, OperatorCounts, Partition, PartitionTimes, Place, Position, Rows, Timestamp, Watch,
    },
    window::{Group, NewestTime, ResultsError, Shelf, Watermarks},
};

/// A batch of fewer records for each lane is read before the lanes have begun. Trials have few.
const RECORDS_OF_A_LANE: u64 = if cfg!(any(test, feature = "faults")) { 2 } else { 25_000 };

/// Where the job stands: everything the next batch follows from, besides the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The history.
    pub lineage: Lineage,
    /// This start.
    pub incarnation: Incarnation,
    /// The newest batch, if there is one.
    pub last: Option<BatchRecord>,
    /// Where each partition is read next.
    pub positions: BTreeMap<Partition, Position>,
    /// The watermarks of the next batch.
    pub watermarks: Watermarks,
    /// Whether this process ran a batch, or published the newest one again.
    pub has_run: bool,
}

impl Head {
    /// Number of the next batch.
    #[must_use]
    pub fn next_batch(&self) -> BatchId {
        self.last.as_ref().map_or(BatchId(0), |last| last.batch.next())
    }

    /// Link of the newest batch.
    #[must_use]
    pub fn digest_of_last(&self) -> Option<Digest> {
        self.last.as_ref().map(|last| last.digest)
    }

    /// Whether reading goes on elsewhere than where the newest batch ended: a partition is new or gone,
    /// or records were lost. That makes a batch by itself, as in Spark.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.last.as_ref().is_some_and(|last| {
            let ends = last.ranges.iter().map(|(partition, range)| (partition, range.end.offset));
            !ends.eq(self.positions.iter().map(|(partition, at)| (partition, at.offset)))
        })
    }

    fn advance(&mut self, record: &BatchRecord) {
        self.positions = record.positions();
        self.watermarks = record.next_watermarks;
        self.last = Some(record.clone());
    }
}

/// How much of a job may be in memory; the rest is in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of state.
    pub state_bytes: usize,
    /// Bytes of rows that follow from state, of one batch. More of them are stored with it.
    pub rows_bytes: usize,
    /// Bytes of what a batch holds while it is read. One that turns out larger is dropped and cut smaller.
    pub batch_bytes: usize,
}

impl Room {
    /// Everything may be.
    pub const ENDLESS: Room =
        Room { state_bytes: usize::MAX, rows_bytes: usize::MAX, batch_bytes: usize::MAX };
}

/// What a batch may use beyond memory while it is closed.
#[derive(Default)]
pub struct Beyond<'a> {
    /// State that is not in memory. Lent only when every batch before is durable.
    pub shelf: Option<&'a mut (dyn Shelf + 'a)>,
    /// Takes rows that are too many ahead into the checkpoint; without it all stay in memory.
    pub ahead: Option<&'a mut (dyn TakesOutput + 'a)>,
}

/// A pipeline at work.
#[derive(Debug)]
pub struct Job {
    pipeline: Arc<Pipeline>,
    keep_dead_letters: bool,
    chunk_bytes: usize,
    room: Room,
    /// Of each lane there may be.
    tools: Vec<Tools>,
    operators: Operators,
    head: Head,
    /// Offsets passed over since the newest batch.
    lost: u64,
    /// Where the records of a partition begin, as long as it stands below: what lies between is gone.
    deleted_below: BTreeMap<Partition, Offset>,
}

/// A batch that is being read. Dropping it leaves no trace but what was taken of its output.
#[derive(Debug)]
pub struct OpenBatch {
    clock_ms: i64,
    ends: BTreeMap<Partition, Offset>,
    /// One of each lane.
    shares: Vec<Share>,
}

impl OpenBatch {
    /// Where each partition's part of the batch ends.
    #[must_use]
    pub fn ends(&self) -> &BTreeMap<Partition, Offset> {
        &self.ends
    }

    /// The newest event time so far.
    #[must_use]
    pub fn newest(&self) -> NewestTime {
        self.shares.iter().map(|share| share.newest).max().unwrap_or_default()
    }

    /// How many records it took.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.shares.iter().map(|share| share.counts.rows_in).sum()
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.shares.iter().map(Share::memory_bytes).sum()
    }

    /// Takes the full chunks of its output away, those of each lane in order, so that they can be kept elsewhere than
    /// in memory.
    pub fn take_full_output(&mut self) -> Vec<OutputChunk> {
        self.shares.iter_mut().flat_map(|share| share.output.take_full()).collect()
    }

    /// All records are there: joins what the lanes added. Done when it is closed, too, unless it was before.
    pub fn join(&mut self) {
        let others = self.shares.split_off(1);
        others.into_iter().for_each(|share| self.shares[0].absorb(share));
    }
}

impl Job {
    /// A job at `head` without any state.
    ///
    /// # Errors
    /// What the decoder says of the pipeline, such as a time pattern it does not know.
    pub fn new(
        pipeline: Arc<Pipeline>,
        head: Head,
        keep_dead_letters: bool,
    ) -> Result<Job, decode::DecodeError> {
        let tools = vec![Tools::new(&pipeline)?];
        let operators = Operators::new(&pipeline);
        let chunk_bytes = Rows::CHUNK_BYTES;
        Ok(Job {
            pipeline,
            keep_dead_letters,
            chunk_bytes,
            room: Room::ENDLESS,
            tools,
            operators,
            head,
            lost: 0,
            deleted_below: BTreeMap::new(),
        })
    }

    /// Cuts output into chunks of at most so many bytes, instead of [`Rows::CHUNK_BYTES`].
    #[must_use]
    pub fn with_output_chunks_of(self, chunk_bytes: usize) -> Job {
        Job { chunk_bytes, ..self }
    }

    /// Reads large batches in at most so many lanes, if the pipeline lets it.
    ///
    /// # Errors
    /// As [`Job::new`].
    pub fn in_lanes(mut self, lanes: NonZeroUsize) -> Result<Job, decode::DecodeError> {
        let lanes = if self.operators.can_be_shared() { lanes.get() } else { 1 };
        let tools = (0..lanes).map(|_| Tools::new(&self.pipeline));
        self.tools = tools.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Keeps no more than this in memory.
    #[must_use]
    pub fn within(mut self, room: Room) -> Job {
        self.operators.set_limit(room.state_bytes);
        Job { room, ..self }
    }

    /// The first operator, if there is one, whose state must all be in memory and takes more than is allowed;
    /// how many bytes it takes.
    #[must_use]
    pub fn too_large(&self) -> Option<(Keeper, usize)> {
        self.larger_than(self.room.state_bytes)
    }

    /// The same while state is restored, when what the newest batch closed is still among it: that was there
    /// before that batch, or came with it.
    #[must_use]
    pub fn too_large_to_restore(&self) -> Option<(Keeper, usize)> {
        let Room { state_bytes, batch_bytes, .. } = self.room;
        self.larger_than(state_bytes.saturating_mul(2).saturating_add(batch_bytes))
    }

    fn larger_than(&self, allowed: usize) -> Option<(Keeper, usize)> {
        let state = [Keeper::Groups, Keeper::Keys].into_iter();
        let bytes = state.map(|keeper| (keeper, self.memory_bytes(keeper)));
        let mut bytes = bytes.filter(|(keeper, _)| self.operators.stays_in_memory(*keeper));
        bytes.find(|(_, bytes)| *bytes > allowed)
    }

    /// Whether a batch can only be closed with a shelf, so that the batches before it must be durable first.
    #[must_use]
    pub fn wants_shelf(&self, batch: &mut OpenBatch) -> bool {
        batch.join();
        self.operators.wants_shelf(&mut batch.shares[0].operators, self.head.watermarks)
    }

    /// The pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Where the job stands.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// When the open groups that close first do so; `None` when there are none that ever close.
    #[must_use]
    pub fn first_closing(&self) -> Option<Timestamp> {
        self.operators.first_closing()
    }

    /// About how many bytes of memory an operator's state takes.
    #[must_use]
    pub fn memory_bytes(&self, keeper: Keeper) -> usize {
        self.operators.memory_bytes(keeper)
    }

    /// Takes new partitions in, to be read from `position`. Known ones are left alone.
    pub fn add_partitions(&mut self, found: impl IntoIterator<Item = (Partition, Position)>) {
        for (partition, position) in found {
            self.head.positions.entry(partition).or_insert(position);
        }
    }

    /// Where a source has to stand to read the next batch: behind what was deleted.
    #[must_use]
    pub fn reading_positions(&self) -> BTreeMap<Partition, Position> {
        let mut positions = self.head.positions.clone();
        for (partition, first) in &self.deleted_below {
            if let Some(position) = positions.get_mut(partition).filter(|at| at.offset < *first) {
                *position = Position { offset: *first, epoch: LeaderEpoch::UNKNOWN };
            }
        }
        positions
    }

    /// Goes on without the records of a partition below `first`, which were deleted. Their offsets stay
    /// part of the batches, as in Spark: a batch of nothing else is empty, and each counts those in its
    /// range as lost.
    pub fn do_without(&mut self, partition: Partition, first: Offset) {
        self.deleted_below.insert(partition, first);
    }

    /// Goes on at another offset of a partition, because its log ends before. The distance is counted as
    /// lost by the next batch.
    pub fn move_to(&mut self, partition: Partition, offset: Offset) {
        self.deleted_below.remove(&partition);
        if let Some(position) = self.head.positions.get_mut(&partition) {
            self.lost += position.offset.0.abs_diff(offset.0);
            *position = Position { offset, epoch: LeaderEpoch::UNKNOWN };
        }
    }

    /// Reads a partition no longer: it is gone.
    pub fn remove_partition(&mut self, partition: Partition) {
        self.deleted_below.remove(&partition);
        self.head.positions.remove(&partition);
    }

    /// Stands at the same offsets of another log than the one that was read: who led its partitions
    /// there, and what of them was deleted, is not known.
    pub fn forget_log(&mut self) {
        self.deleted_below.clear();
        for position in self.head.positions.values_mut() {
            position.epoch = LeaderEpoch::UNKNOWN;
        }
    }

    /// Puts back a row of state read from a checkpoint; of two with the same place, start and key the
    /// later one counts. `newest`: the newest batch wrote it.
    ///
    /// # Errors
    /// A row that is not of this pipeline: the checkpoint is damaged.
    pub fn restore(
        &mut self,
        place: Place,
        row: Group<'_>,
        newest: bool,
    ) -> Result<(), ResultsError> {
        #[cfg(feature = "faults")]
        if is_planted(Mutant::AcceptDamagedRow) && crate::faults::is_first() {
            let mut accumulators = row.accumulators.to_vec();
            if let Some(crate::window::Accumulator::Sum(sum)) = accumulators.first_mut() {
                sum.exact += 10_000_000_000;
            }
            let damaged = Group { accumulators: &accumulators, ..row };
            return self.operators.restore(place, damaged, newest);
        }
        self.operators.restore(place, row, newest)
    }

    /// Puts back the next part of a checkpoint's log of changes.
    ///
    /// # Errors
    /// A log that is not of this pipeline.
    pub fn restore_log(&mut self, part: &StateLog) -> Result<(), StateError> {
        self.operators.restore_log(part)
    }

    /// Notes that the newest batch was published again by this process, which for Spark is running
    /// it again.
    pub fn note_run_again(&mut self) {
        self.head.has_run = true;
    }

    /// Opens the batch that ends at `ends` and whose one clock reading is `clock_ms`. Of several open
    /// ones only the newest may be gone on with.
    #[must_use]
    pub fn open(&mut self, ends: BTreeMap<Partition, Offset>, clock_ms: i64) -> OpenBatch {
        let lanes = self.lanes_to(&ends);
        self.tools[..lanes].iter_mut().for_each(|tools| tools.set_clock(clock_ms));
        let share = |_| {
            let operators = self.operators.open(self.head.watermarks, lanes);
            let output = Output::new(self.pipeline.output_columns(), self.chunk_bytes);
            Share::new(operators, output, self.delay_ms().is_some())
        };
        let shares = (0..lanes).map(share).collect();
        OpenBatch { clock_ms, ends, shares }
    }

    /// In how many lanes a batch with these ends is worth being read.
    fn lanes_to(&self, ends: &BTreeMap<Partition, Offset>) -> usize {
        let records = ends.iter().filter_map(|(partition, end)| {
            let stood = self.head.positions.get(partition)?;
            Some(end.0.saturating_sub(stood.offset.0).max(0).cast_unsigned())
        });
        let lanes = records.sum::<u64>() / RECORDS_OF_A_LANE;
        let lanes = usize::try_from(lanes).unwrap_or(usize::MAX).clamp(1, self.tools.len());
        // Fewer may do where each has as many partitions as the fullest one.
        let of_each = ends.len().div_ceil(lanes).max(1);
        ends.len().div_ceil(of_each).max(1)
    }

    /// What takes records into a batch that is open: one, or several that may do so at once. All records of a partition
    /// are to go to the same one, whichever that is.
    pub fn lanes<'a>(&'a mut self, batch: &'a mut OpenBatch) -> Vec<Lane<'a>> {
        let Job { pipeline, operators, tools, .. } = self;
        let lane = |(tools, share)| Lane {
            pipeline,
            operators,
            clock_ms: batch.clock_ms,
            keep_dead_letters: self.keep_dead_letters,
            #[cfg(feature = "faults")]
            is_first_batch: self.head.last.is_none(),
            tools,
            share,
        };
        tools.iter_mut().zip(&mut batch.shares).map(lane).collect()
    }

    /// Takes one record into a batch.
    ///
    /// # Errors
    /// As [`Lane::add`].
    pub fn add(&mut self, batch: &mut OpenBatch, record: Record<'_>) -> Result<(), BadRecord> {
        let mut lanes = self.lanes(batch);
        let lane = record.lane_of(lanes.len());
        lanes[lane].add(record)
    }

    /// The batch that was opened last is dropped, because it was too large: it tells nothing of the next one.
    pub fn forget_sizes(&mut self) {
        self.operators.forget_sizes();
    }

    /// Closes a batch that was read up to `reached` and plans what it does. The job then stands
    /// behind it: the plan must be carried out, or the process must end. Where output of the batch
    /// was taken, the caller says in [`Plan::ahead`] what became of it. `now_ms` only tells how long
    /// it took; `watch` is told what is being done.
    ///
    /// # Errors
    /// Stored groups that are not of this pipeline; with ANSI mode on, a value that does not fit;
    /// [`ResultsError::Beyond`], also when a shelf is wanted and not lent ([`Job::wants_shelf`]).
    pub fn close(
        &mut self,
        mut batch: OpenBatch,
        reached: &BTreeMap<Partition, Position>,
        now_ms: i64,
        beyond: Beyond<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Plan, StateError> {
        batch.join();
        let OpenBatch { clock_ms, ends, mut shares } = batch;
        let share = shares.pop().expect("a batch has a lane");
        let Share { operators, mut output, newest, times, mut counts } = share;
        let event_times = times.as_ref().and_then(|times| self.event_times(times));
        let partitions = self.head.positions.len();
        let mut rows_are_state = self.operators.rows_are_state();
        let columns = self.pipeline.output_columns();
        let bounds = (self.room.rows_bytes, self.chunk_bytes);
        let ahead = beyond.ahead.filter(|_| rows_are_state);
        let mut spilling = Spilling::new(&columns, bounds, ahead);
        let out =
            (Rows::with_chunks_of(columns, self.chunk_bytes), beyond.shelf, &mut spilling as _);
        let under = (self.head.watermarks, partitions);
        let closed = self.operators.close(operators, under, out, watch)?;
        let Closed { rows: mut computed, kept, changes, log, misfits, operators, .. } = closed;
        if !rows_are_state {
            let none = Rows::new(computed.columns().clone());
            output.rows().append(std::mem::replace(&mut computed, none));
        }
        for event in kept {
            let (event, texts) = (event.borrow(), Texts::default());
            let row = row_of(&self.pipeline, self.tools[0].evaluator(), &event, &texts)?;
            output.rows().push(&row);
        }
        let output::Closed { mut row_count, mut rows_digest, mut rows, letter_count, letters } =
            output.close();
        if rows_are_state {
            let spilled = spilling.close(computed);
            rows_are_state = !spilled.has_spilled;
            Spilled { rows, row_count, rows_digest, .. } = spilled;
        }
        counts.groups_touched = closed.groups_touched;
        counts.duplicates += closed.duplicates;
        counts.filtered += closed.without_session;
        counts.rows_out = row_count;
        counts.nulled = misfits.nulled;
        counts.inexact_sums = misfits.inexact_sums;
        counts.dead_letters = letter_count;
        let mut reached = reached.clone();
        counts.lost = std::mem::take(&mut self.lost) + self.pass_deleted(&ends, &mut reached);
        let times = (clock_ms, now_ms);
        let observed = (newest, event_times);
        let record = self.record(times, &reached, observed, (counts, operators), rows_digest);
        self.head.advance(&record);
        self.head.has_run = true;
        let publication = self.publication(record, rows, letters.into());
        Ok(Plan { changes, log, rows_are_state, ahead: WrittenAhead::default(), publication })
    }

    /// Puts the job behind the newest durable batch, after its state was restored, and computes what
    /// that batch published again, where that follows from state and is needed. What it closed is taken out.
    /// Rows that are stored, and dead letters, stay in the checkpoint. Where the room is endless, no shelf is
    /// needed.
    ///
    /// # Errors
    /// Stored state that is not of this pipeline; [`ResultsError::Beyond`].
    pub fn resume(
        &mut self,
        record: BatchRecord,
        needs_rows: bool,
        shelf: Option<&mut (dyn Shelf + '_)>,
    ) -> Result<Publication, StateError> {
        let newest = (record.batch, record.watermarks);
        let rows = self.operators.resume(newest, needs_rows, shelf)?;
        let rows = rows.unwrap_or_else(|| Rows::new(self.pipeline.output_columns()));
        self.head.advance(&record);
        #[cfg(feature = "faults")]
        self.forget_at_resume(&record);
        Ok(self.publication(record, rows, Arc::new([])))
    }

    /// What a mutant does not know after a restart.
    #[cfg(feature = "faults")]
    fn forget_at_resume(&mut self, record: &BatchRecord) {
        if is_planted(Mutant::ForgetWatermark) {
            self.head.watermarks = crate::window::Watermarks::FIRST;
        }
        if is_planted(Mutant::MoveWatermarkBack) {
            self.head.watermarks.late_bound.0 -= 60_000;
            self.head.watermarks.closing_bound.0 -= 60_000;
        }
        let second = record.ranges.iter().nth(1);
        if let (true, Some((partition, range))) = (is_planted(Mutant::ForgetOnePosition), second)
            && let Some(position) = self.head.positions.get_mut(partition)
        {
            *position = Position { offset: range.begin, epoch: LeaderEpoch::UNKNOWN };
        }
    }

    /// Whether the rows of a batch can be computed again from state; if not, they are stored.
    #[must_use]
    pub fn rows_are_state(&self) -> bool {
        self.operators.rows_are_state()
    }

    /// A batch does not reach farther than its end, though the source stands behind what was deleted;
    /// how many offsets of the batch were. What it has not passed is left to the next ones.
    fn pass_deleted(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        reached: &mut BTreeMap<Partition, Position>,
    ) -> u64 {
        let mut lost = 0;
        for (partition, first) in std::mem::take(&mut self.deleted_below) {
            let Some(stood) = self.head.positions.get(&partition) else { continue };
            let end = ends.get(&partition).copied().unwrap_or(stood.offset);
            let passed = end.min(first).max(stood.offset);
            lost += stood.offset.0.abs_diff(passed.0);
            if passed < first {
                let epoch = LeaderEpoch::UNKNOWN;
                reached.insert(partition, Position { offset: passed, epoch });
                self.deleted_below.insert(partition, first);
            }
        }
        lost
    }

    /// How far the watermark stays behind, where there is one.
    fn delay_ms(&self) -> Option<i64> {
        self.pipeline.event_time.as_ref()?.watermark_delay_ms
    }

    fn event_times(&self, times: &PartitionTimes) -> Option<EventTimes> {
        let mut all = EventTimeStats::default();
        let partitions = self.head.positions.len();
        for partition in self.operators.order(&self.pipeline, partitions) {
            all.merge(&times.of(partition));
        }
        all.times()
    }

    fn record(
        &self,
        (clock_ms, now_ms): (i64, i64),
        reached: &BTreeMap<Partition, Position>,
        (newest, event_times): (NewestTime, Option<EventTimes>),
        (counts, operators): (Counts, Vec<OperatorCounts>),
        rows_digest: Digest,
    ) -> BatchRecord {
        let last = self.head.last.as_ref();
        let ranges = self.head.positions.iter().map(|(partition, stood)| {
            let end = reached.get(partition).copied().unwrap_or(*stood);
            let before = last.and_then(|last| last.ranges.get(partition));
            let begin = before.map_or(stood.offset, |range| range.end.offset);
            (*partition, Range { begin, end })
        });
        let mut totals = self.head.last.as_ref().map_or_else(Counts::default, |last| last.totals);
        totals.add(&counts);
        let mut record = BatchRecord {
            batch: self.head.next_batch(),
            incarnation: self.head.incarnation,
            clock_ms,
            took_ms: now_ms.saturating_sub(clock_ms).max(0),
            ranges: ranges.collect(),
            watermarks: self.head.watermarks,
            next_watermarks: self.head.watermarks.next(newest, self.delay_ms()),
            output_mode: self.pipeline.output_mode,
            counts,
            totals,
            operators,
            event_times,
            rows_digest,
            previous: self.head.digest_of_last().unwrap_or(Digest::ZERO),
            digest: Digest::ZERO,
        };
        record.digest = record.link();
        record
    }

    fn publication(
        &self,
        record: BatchRecord,
        rows: Rows,
        dead_letters: Arc<[DeadLetter]>,
    ) -> Publication {
        let identity = Identity {
            lineage: self.head.lineage,
            incarnation: self.head.incarnation,
            batch: record.batch,
            digest: record.digest,
        };
        Publication { identity, record, rows, dead_letters }
    }
}
