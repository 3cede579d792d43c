//! The source's twin without Kafka: a topic in memory that a test fills and disturbs.
//!
//! Invariants: what the port promises holds here as for Kafka, so that a test of the job proves
//! something about both; nothing happens unless a method of [`MemoryTopic`] makes it happen, and
//! every call of the source sees the topic as the calls before left it.
//!
//! Start at [`MemoryTopic`]. Not here: a broker that speaks Kafka's protocol (`broker`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    batch::{Begun, Bounds, Identity, Record, WitnessFact},
    checkpoint::Visible,
    source::{Committer, Progress, Source, SourceError, Taker, TopicDescription},
    types::{LeaderEpoch, Offset, Partition, Position},
};

/// A call of the port that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Source::describe`]
    Describe,
    /// [`Source::bounds`]
    Bounds,
    /// [`Source::assign`]
    Assign,
    /// [`Source::read`]
    Read,
    /// [`Source::witness`]
    Witness,
    /// [`Committer::commit`]
    Commit,
}

/// A record that is there: its offset and value.
pub type Held = (Offset, Option<Arc<[u8]>>);

/// A topic with the commits of one group. Clones are the same topic.
#[derive(Clone, Default)]
pub struct MemoryTopic {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Which making of the topic this is; `None` while it is deleted.
    incarnation: Option<u64>,
    /// How often it was made.
    made: u64,
    partitions: Vec<Log>,
    commits: Vec<(BTreeMap<Partition, Position>, Identity)>,
    /// By what the history of the newest commit was begun.
    begun: Begun,
    witness: Option<WitnessFact>,
    failures: BTreeMap<Call, VecDeque<Failure>>,
    records_at_once: Option<usize>,
}

struct Failure {
    after_records: usize,
    error: SourceError,
}

#[derive(Default)]
struct Log {
    /// Offset of `slots[0]`, the first that is still there.
    earliest: i64,
    slots: VecDeque<Slot>,
    /// The end of what may be read, while a transaction is open.
    held_at: Option<i64>,
    stalled: bool,
    epoch: i32,
}

#[derive(Clone)]
struct Slot {
    epoch: LeaderEpoch,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Record(Option<Arc<[u8]>>),
    /// An offset that no reader sees: a control record, an aborted or compacted one.
    Nothing,
}

impl Log {
    fn end(&self) -> i64 {
        self.earliest + i64::try_from(self.slots.len()).expect("a log fits in memory")
    }

    fn latest(&self) -> i64 {
        self.held_at.unwrap_or_else(|| self.end()).min(self.end())
    }

    fn slot(&self, offset: i64) -> Option<&Slot> {
        self.slots.get(usize::try_from(offset.checked_sub(self.earliest)?).ok()?)
    }

    fn push(&mut self, content: Content) -> Offset {
        let offset = Offset(self.end());
        self.slots.push_back(Slot { epoch: LeaderEpoch(self.epoch), content });
        offset
    }

    /// Whether a reader may stand here.
    fn holds(&self, position: Position) -> bool {
        let offset = position.offset.0;
        let before = self.slot(offset - 1).map(|slot| slot.epoch);
        let same = position.epoch == LeaderEpoch::UNKNOWN
            || before.is_none_or(|before| before == position.epoch);
        same && (self.earliest..=self.end()).contains(&offset)
    }
}

impl MemoryTopic {
    /// An empty topic with partitions 0 to `partitions` - 1.
    #[must_use]
    pub fn new(partitions: usize) -> MemoryTopic {
        let topic = MemoryTopic::default();
        topic.make(partitions);
        topic
    }

    /// A source that reads it.
    #[must_use]
    pub fn source(&self) -> MemorySource {
        MemorySource {
            topic: self.clone(),
            partitions: BTreeMap::new(),
            known: None,
            follows_new_topic: false,
        }
    }

    /// A source that goes on with a topic that was made again under the name.
    #[must_use]
    pub fn following_source(&self) -> MemorySource {
        MemorySource { follows_new_topic: true, ..self.source() }
    }

    /// Makes it (again), empty and with another topic id; commits stay, as Kafka's do.
    pub fn make(&self, partitions: usize) {
        self.change(|state| {
            state.made += 1;
            state.incarnation = Some(state.made);
            state.partitions = (0..partitions).map(|_| Log::default()).collect();
        });
    }

    /// Deletes it.
    pub fn delete(&self) {
        self.change(|state| {
            state.incarnation = None;
            state.partitions.clear();
        });
    }

    /// Adds partitions behind the existing ones.
    pub fn add_partitions(&self, count: usize) {
        self.change(|state| state.partitions.extend((0..count).map(|_| Log::default())));
    }

    /// Appends a record; tells its offset.
    ///
    /// # Panics
    /// There is no such partition (as in all methods that name one).
    pub fn append(&self, partition: Partition, value: Option<&[u8]>) -> Offset {
        self.log(partition, |log| log.push(Content::Record(value.map(Arc::from))))
    }

    /// Appends offsets that no reader sees: control records, aborted or compacted ones.
    pub fn append_gap(&self, partition: Partition, count: usize) {
        self.log(partition, |log| {
            for _ in 0..count {
                log.push(Content::Nothing);
            }
        });
    }

    /// Deletes the records before an offset, as retention does.
    pub fn delete_before(&self, partition: Partition, offset: Offset) {
        self.log(partition, |log| {
            while log.earliest < offset.0 && log.slots.pop_front().is_some() {
                log.earliest += 1;
            }
        });
    }

    /// Cuts off the records from an offset on, as an unclean leader election does. What comes next
    /// has another leader epoch.
    pub fn cut_off_at(&self, partition: Partition, offset: Offset) {
        self.log(partition, |log| {
            let kept = usize::try_from(offset.0 - log.earliest).unwrap_or(0);
            log.slots.truncate(kept);
            log.epoch += 1;
        });
    }

    /// Makes a record one that no reader sees, as the abort of its transaction does.
    pub fn abort(&self, partition: Partition, offset: Offset) {
        self.log(partition, |log| {
            let index = usize::try_from(offset.0 - log.earliest).ok();
            if let Some(slot) = index.and_then(|index| log.slots.get_mut(index)) {
                slot.content = Content::Nothing;
            }
        });
    }

    /// First offset that is there, end of what may be read, and end of all.
    #[must_use]
    pub fn ends(&self, partition: Partition) -> (Offset, Offset, Offset) {
        self.log(partition, |log| (Offset(log.earliest), Offset(log.latest()), Offset(log.end())))
    }

    /// Every record in `[from, to)` that a reader would see.
    #[must_use]
    pub fn records(&self, partition: Partition, from: Offset, to: Offset) -> Vec<Held> {
        self.log(partition, |log| {
            let offsets = from.0.max(log.earliest)..to.0.min(log.latest());
            let held = |offset| match &log.slot(offset)?.content {
                Content::Record(value) => Some((Offset(offset), value.clone())),
                Content::Nothing => None,
            };
            offsets.filter_map(held).collect()
        })
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.lock().partitions.len()
    }

    /// Commits what a committer would.
    pub fn commit_as(
        &self,
        positions: BTreeMap<Partition, Position>,
        identity: Identity,
        begun: Begun,
    ) {
        self.change(|state| {
            state.commits.push((positions, identity));
            state.begun = begun;
        });
    }

    /// What the newest commit names.
    #[must_use]
    pub fn newest_commit(&self) -> Option<Identity> {
        self.lock().commits.last().map(|(_, identity)| *identity)
    }

    /// Forgets every commit, as when a group's offsets expire.
    pub fn forget_commits(&self) {
        self.change(|state| state.commits.clear());
    }

    /// Nothing from this offset on may be read, as if a transaction began there; `None` ends it.
    pub fn hold_at(&self, partition: Partition, offset: Option<Offset>) {
        self.log(partition, |log| log.held_at = offset.map(|offset| offset.0));
    }

    /// Whether reads get nothing from the partition, as if its broker were slow.
    pub fn set_stalled(&self, partition: Partition, stalled: bool) {
        self.log(partition, |log| log.stalled = stalled);
    }

    /// At most so many records in one [`Source::read`], which then ends with [`Progress::Waiting`]
    /// at once; `None` for as many as there are.
    pub fn set_records_at_once(&self, records: Option<usize>) {
        self.change(|state| state.records_at_once = records);
    }

    /// Makes the next call of this kind fail, behind those that were told before.
    pub fn fail(&self, call: Call, error: SourceError) {
        self.fail_after(call, 0, error);
    }

    /// As [`MemoryTopic::fail`], for a read only after it has handed out so many records.
    pub fn fail_after(&self, call: Call, after_records: usize, error: SourceError) {
        self.change(|state| {
            state.failures.entry(call).or_default().push_back(Failure { after_records, error });
        });
    }

    /// Every commit, oldest first.
    #[must_use]
    pub fn commits(&self) -> Vec<(BTreeMap<Partition, Position>, Identity)> {
        self.lock().commits.clone()
    }

    /// What the group says from now on, whatever was committed; `None` for the newest commit.
    pub fn set_witness(&self, witness: Option<WitnessFact>) {
        self.change(|state| state.witness = witness);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.shared.changed.notify_all();
        changed
    }

    fn log<T>(&self, partition: Partition, change: impl FnOnce(&mut Log) -> T) -> T {
        self.change(|state| {
            let log = usize::try_from(partition.0).ok().and_then(|at| state.partitions.get_mut(at));
            change(log.unwrap_or_else(|| panic!("there is no partition {partition}")))
        })
    }
}

impl State {
    fn check(&mut self, call: Call) -> Result<(), SourceError> {
        let failures = self.failures.entry(call).or_default();
        match failures.front() {
            Some(failure) if failure.after_records == 0 => {
                Err(failures.pop_front().expect("it was just looked at").error)
            }
            _ => Ok(()),
        }
    }

    /// Counts one record of a read towards its failure.
    fn count_record(&mut self) {
        if let Some(failure) = self.failures.entry(Call::Read).or_default().front_mut() {
            failure.after_records = failure.after_records.saturating_sub(1);
        }
    }

    fn find(&self, partition: Partition) -> Option<&Log> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }
}

/// Reads a [`MemoryTopic`].
pub struct MemorySource {
    topic: MemoryTopic,
    partitions: BTreeMap<Partition, Position>,
    known: Option<u64>,
    follows_new_topic: bool,
}

/// What one step of a read finds in a partition.
enum Step {
    Record(Offset, Option<Arc<[u8]>>),
    Reached,
    Stuck,
}

impl MemorySource {
    /// The topic must be the one that was described last.
    fn check_topic(&self) -> Result<(), SourceError> {
        let now = self.topic.lock().incarnation;
        match (self.known, now) {
            (Some(known), Some(now)) if known != now && self.follows_new_topic => {
                Err(SourceError::Replaced("the topic was made again".to_owned()))
            }
            (Some(known), now) if now != Some(known) => {
                Err(SourceError::Lost("the topic was deleted".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, partition: Partition, end: Offset) -> Result<Step, SourceError> {
        let mut state = self.topic.lock();
        state.check(Call::Read)?;
        let position = self.partitions.get_mut(&partition).expect("an assigned partition");
        let Some(log) = state.find(partition) else {
            return Err(SourceError::Lost("the topic was deleted".to_owned()));
        };
        if position.offset >= end {
            return Ok(Step::Reached);
        }
        if !log.holds(*position) {
            return Err(SourceError::Gone(format!(
                "partition {partition} cannot be read from offset {}: it holds {} up to, not \
                 including, {}",
                position.offset,
                log.earliest,
                log.end()
            )));
        }
        if log.stalled {
            return Ok(Step::Stuck);
        }
        while position.offset < end && position.offset.0 < log.latest() {
            let Some(slot) = log.slot(position.offset.0).cloned() else { break };
            let offset = position.offset;
            *position = Position { offset: Offset(offset.0 + 1), epoch: LeaderEpoch::UNKNOWN };
            if let Content::Record(value) = slot.content {
                position.epoch = slot.epoch;
                state.count_record();
                return Ok(Step::Record(offset, value));
            }
        }
        if position.offset < end && log.end() < end.0 {
            return Err(SourceError::Gone(format!(
                "partition {partition} ends at {} although records up to {end} were promised",
                log.end()
            )));
        }
        Ok(if position.offset >= end { Step::Reached } else { Step::Stuck })
    }
}

impl Source for MemorySource {
    fn describe(&mut self) -> Result<TopicDescription, SourceError> {
        let mut state = self.topic.lock();
        state.check(Call::Describe)?;
        let incarnation = match (state.incarnation, self.known) {
            (None, None) => return Err(SourceError::NoTopic("there is no such topic".to_owned())),
            (now, Some(known))
                if now != Some(known) && !(self.follows_new_topic && now.is_some()) =>
            {
                return Err(SourceError::Lost("the topic was deleted".to_owned()));
            }
            (Some(now), _) => now,
            (None, Some(_)) => unreachable!("a deleted topic is not the known one"),
        };
        if self.known.is_some_and(|known| known != incarnation) {
            self.partitions.clear();
        }
        self.known = Some(incarnation);
        Ok(TopicDescription {
            cluster_id: Some("memory".to_owned()),
            topic_id: Some(format!("topic {incarnation}")),
            partitions: (0..).map(Partition).take(state.partitions.len()).collect(),
        })
    }

    fn bounds(
        &mut self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Bounds>, SourceError> {
        let mut state = self.topic.lock();
        state.check(Call::Bounds)?;
        let bounds = partitions.iter().map(|partition| {
            let log = state.find(*partition).ok_or_else(|| {
                SourceError::Unreachable(format!("partition {partition} has no leader"))
            })?;
            let (earliest, latest) = (Offset(log.earliest), Offset(log.latest()));
            Ok((*partition, Bounds { earliest, latest }))
        });
        bounds.collect()
    }

    /// Records in memory have no time: each partition is as old as 1970.
    fn offsets_for_times(
        &mut self,
        times_ms: &BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, Option<Offset>>, SourceError> {
        let partitions: Vec<_> = times_ms.keys().copied().collect();
        let bounds = self.bounds(&partitions)?;
        let first = |(partition, bounds): (Partition, Bounds)| {
            let found = times_ms[&partition] <= 0 && bounds.earliest < bounds.latest;
            (partition, found.then_some(bounds.earliest))
        };
        Ok(bounds.into_iter().map(first).collect())
    }

    fn assign(&mut self, positions: &BTreeMap<Partition, Position>) -> Result<(), SourceError> {
        self.topic.lock().check(Call::Assign)?;
        self.partitions.clone_from(positions);
        Ok(())
    }

    fn read(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        patience: Duration,
        takers: &mut [Taker<'_>],
    ) -> Result<Progress, SourceError> {
        if self.partitions.is_empty() {
            return Err(SourceError::Reread("nothing is assigned".to_owned()));
        }
        self.check_topic()?;
        let deadline = Instant::now() + patience;
        let mut left = self.topic.lock().records_at_once;
        let assigned: Vec<Partition> = self.partitions.keys().copied().collect();
        loop {
            let (mut moved, mut reached) = (false, 0);
            for partition in &assigned {
                let end = ends.get(partition).copied();
                match self.step(*partition, end.unwrap_or(self.partitions[partition].offset))? {
                    Step::Record(offset, value) => {
                        let value = value.as_deref();
                        let record = Record { partition: *partition, offset, value };
                        takers[record.lane_of(takers.len())](record)?;
                        moved = true;
                        if let Some(left) = &mut left {
                            *left = left.saturating_sub(1);
                        }
                        if left == Some(0) {
                            return Ok(Progress::Waiting);
                        }
                    }
                    Step::Reached => reached += 1,
                    Step::Stuck => {}
                }
            }
            if reached == assigned.len() {
                return Ok(Progress::Reached(self.partitions.clone()));
            }
            let time_left = deadline.saturating_duration_since(Instant::now());
            if !moved && time_left.is_zero() {
                return Ok(Progress::Waiting);
            }
            if !moved {
                // A change between the look and the wait is noticed a little later.
                let state = self.topic.lock();
                let nap = time_left.min(Duration::from_millis(5));
                drop(self.topic.shared.changed.wait_timeout(state, nap));
            }
        }
    }

    fn wait(&mut self, patience: Duration) -> Result<bool, SourceError> {
        let deadline = Instant::now() + patience;
        loop {
            let state = self.topic.lock();
            let readable = |(partition, position): (&Partition, &Position)| {
                state.find(*partition).is_none_or(|log| {
                    let from = position.offset.0.max(log.earliest);
                    !log.stalled
                        && (from..log.latest()).any(|offset| {
                            log.slot(offset)
                                .is_some_and(|slot| matches!(slot.content, Content::Record(_)))
                        })
                })
            };
            let ready = self.partitions.iter().any(readable);
            let left = deadline.saturating_duration_since(Instant::now());
            if ready || left.is_zero() {
                return Ok(ready);
            }
            drop(self.topic.shared.changed.wait_timeout(state, left));
        }
    }

    fn witness(&mut self, _: &[Partition]) -> Result<WitnessFact, SourceError> {
        let mut state = self.topic.lock();
        state.check(Call::Witness)?;
        let committed = || {
            state.commits.last().map_or(WitnessFact::None, |(_, identity)| {
                let Identity { lineage, batch, digest, .. } = *identity;
                WitnessFact::At(lineage, batch, digest, state.begun)
            })
        };
        Ok(state.witness.clone().unwrap_or_else(committed))
    }

    fn committer(&self, begun: Begun) -> Box<dyn Committer> {
        Box::new(MemoryCommitter { topic: self.topic.clone(), begun })
    }
}

struct MemoryCommitter {
    topic: MemoryTopic,
    begun: Begun,
}

impl Committer for MemoryCommitter {
    fn commit(&mut self, batch: &Visible) -> Result<(), SourceError> {
        self.topic.change(|state| {
            state.check(Call::Commit)?;
            state.commits.push((batch.record().positions(), *batch.identity()));
            state.begun = self.begun;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::Range,
        sink::fixtures,
        types::{BatchId, Digest, Lineage},
    };

    const P0: Partition = Partition(0);
    const P1: Partition = Partition(1);

    fn topic() -> MemoryTopic {
        let topic = MemoryTopic::new(2);
        for value in ["a", "b", "c"] {
            topic.append(P0, Some(value.as_bytes()));
            topic.append(P1, Some(value.as_bytes()));
        }
        topic
    }

    fn at(offset: i64) -> Position {
        Position { offset: Offset(offset), epoch: LeaderEpoch::UNKNOWN }
    }

    fn assigned(topic: &MemoryTopic, offsets: [i64; 2]) -> MemorySource {
        let mut source = topic.source();
        source.assign(&BTreeMap::from([(P0, at(offsets[0])), (P1, at(offsets[1]))])).unwrap();
        source
    }

    fn read(
        source: &mut MemorySource,
        ends: [i64; 2],
    ) -> (Vec<(i32, i64)>, Result<Progress, SourceError>) {
        let mut seen = Vec::new();
        let ends = BTreeMap::from([(P0, Offset(ends[0])), (P1, Offset(ends[1]))]);
        let mut take = |record: Record<'_>| {
            seen.push((record.partition.0, record.offset.0));
            Ok(())
        };
        let progress = source.read(&ends, Duration::ZERO, &mut [&mut take]);
        (seen, progress)
    }

    fn reached(progress: &Result<Progress, SourceError>) -> Vec<(i64, i32)> {
        match progress {
            Ok(Progress::Reached(reached)) => {
                reached.values().map(|position| (position.offset.0, position.epoch.0)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_record_up_to_the_ends_comes_once_and_in_order() {
        let mut source = assigned(&topic(), [0, 1]);
        let (seen, progress) = read(&mut source, [2, 3]);
        assert_eq!(seen, [(0, 0), (1, 1), (0, 1), (1, 2)]);
        assert_eq!(reached(&progress), [(2, 0), (3, 0)]);
        let (seen, _) = read(&mut source, [3, 3]);
        assert_eq!(seen, [(0, 2)]);
    }

    #[test]
    fn a_gap_at_the_end_is_passed_without_an_epoch() {
        let topic = topic();
        topic.append_gap(P0, 2);
        let mut source = assigned(&topic, [2, 3]);
        let (seen, progress) = read(&mut source, [5, 3]);
        assert_eq!(seen, [(0, 2)]);
        assert_eq!(reached(&progress), [(5, -1), (3, -1)]);
    }

    #[test]
    fn a_read_fails_after_the_records_it_was_told() {
        let topic = topic();
        let mut source = assigned(&topic, [0, 0]);
        topic.fail_after(Call::Read, 2, SourceError::Reread("damage".to_owned()));
        let (seen, progress) = read(&mut source, [3, 3]);
        assert_eq!(seen.len(), 2);
        assert!(matches!(progress, Err(SourceError::Reread(_))));
        let mut source = assigned(&topic, [0, 0]);
        assert_eq!(read(&mut source, [3, 3]).0.len(), 6);
    }

    #[test]
    fn held_and_stalled_partitions_make_a_read_wait() {
        let topic = topic();
        topic.hold_at(P0, Some(Offset(1)));
        topic.set_stalled(P1, true);
        let mut source = assigned(&topic, [0, 0]);
        assert_eq!(source.bounds(&[P0]).unwrap()[&P0].latest, Offset(1));
        let (seen, progress) = read(&mut source, [3, 3]);
        assert_eq!(seen, [(0, 0)]);
        assert!(matches!(progress, Ok(Progress::Waiting)));
        assert!(!source.wait(Duration::ZERO).unwrap());
        topic.hold_at(P0, None);
        topic.set_stalled(P1, false);
        assert!(source.wait(Duration::ZERO).unwrap());
        topic.set_records_at_once(Some(2));
        assert_eq!(read(&mut source, [3, 3]).0.len(), 2);
    }

    #[test]
    fn deleted_and_cut_off_records_are_lost_data() {
        let check = |disturb: fn(&MemoryTopic), position: Position| {
            let topic = topic();
            disturb(&topic);
            let mut source = topic.source();
            source.assign(&BTreeMap::from([(P0, position)])).unwrap();
            let read = read(&mut source, [4, 0]).1;
            let error = read.expect_err("records are missing");
            assert!(matches!(error, SourceError::Gone(_) | SourceError::Lost(_)), "{error:?}");
        };
        check(|topic| topic.delete_before(P0, Offset(2)), at(1));
        check(|topic| topic.cut_off_at(P0, Offset(1)), at(3));
        let rewritten = |topic: &MemoryTopic| {
            topic.cut_off_at(P0, Offset(1));
            for _ in 0..5 {
                topic.append(P0, None);
            }
        };
        check(rewritten, Position { offset: Offset(3), epoch: LeaderEpoch(0) });
        check(MemoryTopic::delete, at(0));
    }

    #[test]
    fn a_topic_made_anew_is_another_one() {
        let topic = topic();
        let mut source = topic.source();
        let first = source.describe().unwrap();
        topic.delete();
        assert!(matches!(source.describe(), Err(SourceError::Lost(_))));
        assert!(matches!(topic.source().describe(), Err(SourceError::NoTopic(_))));
        topic.make(2);
        assert_ne!(topic.source().describe().unwrap().topic_id, first.topic_id);
        assert!(matches!(source.describe(), Err(SourceError::Lost(_))));
    }

    #[test]
    fn the_newest_commit_is_the_witness_unless_another_is_told() {
        let topic = topic();
        let mut source = topic.source();
        assert_eq!(source.witness(&[P0]).unwrap(), WitnessFact::None);
        let mut publication = fixtures::publication(3, fixtures::columns(&[]), &[]);
        let range = Range { begin: Offset(0), end: at(3) };
        publication.record.ranges = BTreeMap::from([(P0, range)]);
        let batch = Visible::for_test(publication);
        topic.fail(Call::Commit, SourceError::Unreachable("down".to_owned()));
        let mut committer = source.committer(Begun::StartOver);
        assert!(committer.commit(&batch).is_err());
        committer.commit(&batch).unwrap();
        assert_eq!(topic.commits().len(), 1);
        assert_eq!(topic.commits()[0].0, BTreeMap::from([(P0, at(3))]));
        let own = WitnessFact::At(Lineage(1), BatchId(3), Digest::ZERO, Begun::StartOver);
        assert_eq!(source.witness(&[P0]).unwrap(), own);
        topic.set_witness(Some(WitnessFact::None));
        assert_eq!(source.witness(&[P0]).unwrap(), WitnessFact::None);
    }

    #[test]
    fn the_records_of_an_aborted_transaction_are_seen_by_nobody() {
        let topic = topic();
        topic.hold_at(P0, Some(Offset(1)));
        let seen = |topic: &MemoryTopic| topic.records(P0, Offset(0), Offset(9)).len();
        assert_eq!((topic.ends(P0), seen(&topic)), ((Offset(0), Offset(1), Offset(3)), 1));
        topic.abort(P0, Offset(1));
        topic.append_gap(P0, 1);
        topic.hold_at(P0, None);
        assert_eq!((topic.ends(P0).1, seen(&topic)), (Offset(4), 2));
    }
}
