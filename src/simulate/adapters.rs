//! What the engine is given in a trial: clock, source, committer, checkpoint, sinks, reporter and pace,
//! each over its memory twin, each asking the world what befalls the call and telling the book of it.
//!
//! A process that has died goes on unwinding; nothing it does then has any effect, and every call
//! tells it to end.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    batch::{Begun, Bounds, Genesis, Mark, MarkerFact, Plan, Publication, Record, WitnessFact},
    checkpoint::{
        Ahead, Checkpoint, CheckpointError, Durable, Recovered, RestoreGroup, StateReader, Visible,
        VisitLog,
        memory::{Attempt, Fate, Judge},
    },
    engine::{Clock, Moment, Pace, Report, Reporter},
    simulate::{
        book::Checked,
        world::{Found, InFlight, Shared},
    },
    sink::{
        Sink, SinkError,
        memory::{MemorySink, Trouble},
    },
    source::{
        Committer, Progress, Source, SourceError, Taker, TopicDescription,
        memory::{Held, MemorySource},
    },
    stop::Stop,
    types::{
        BatchId, Incarnation, Keeper, LeaderEpoch, Lineage, Offset, Partition, Place, Position,
        SinkName,
    },
    window::Wanted,
};

/// The world's time.
pub(super) struct VirtualClock(pub(super) Shared);

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        self.0.lock().now_ms()
    }

    fn uptime(&self) -> Duration {
        self.0.lock().uptime
    }

    fn wait(&self, stop: &Stop, timeout: Duration) -> bool {
        let mut world = self.0.lock();
        world.call("waits");
        if !stop.is_requested() {
            world.pass(timeout);
        }
        stop.is_requested()
    }

    fn new_lineage(&self) -> Lineage {
        Lineage(self.0.lock().new_lineage())
    }
}

/// How far a batch gets on its way out at each look.
pub(super) struct RandomPace(pub(super) Shared);

impl Pace for RandomPace {
    fn effects(&mut self, moment: Moment) -> usize {
        let mut world = self.0.lock();
        match moment {
            Moment::Look => world.chance.index(4),
            Moment::HandOver | Moment::Finish => 1 + world.chance.index(3),
        }
    }
}

/// The disk as the world has it.
pub(super) struct Weather(pub(super) Shared);

impl Judge for Weather {
    fn judge(&mut self, attempt: Attempt) -> Fate {
        let mut world = self.0.lock();
        let found = world.call(match attempt {
            Attempt::Write => "writes",
            Attempt::SyncedWrite => "writes and syncs",
            Attempt::Announce => "announces",
        });
        let fails = [Fate::Fails, Fate::FailsButRead, Fate::FailsButDurable];
        match found {
            Found::Dead => Fate::Fails,
            Found::Dying => world.chance.pick(&fails),
            Found::Alive => {
                let permille = world.plague.storage_errors;
                if !world.chance.permille(permille) {
                    return Fate::Done;
                }
                world.fault("a write fails", 14);
                world.chance.pick(&fails)
            }
        }
    }
}

fn killed() -> SourceError {
    SourceError::Refused("the process was killed".to_owned())
}

/// The topic.
pub(super) struct WorldSource {
    pub(super) shared: Shared,
    pub(super) inner: MemorySource,
    /// How often there was an upheaval when reading was last sent somewhere.
    pub(super) upheavals: u64,
}

impl WorldSource {
    fn ask(&mut self, what: &str) -> Result<(), SourceError> {
        let mut world = self.shared.lock();
        if world.call(what) != Found::Alive {
            return Err(killed());
        }
        let (errors, refusals) = (world.plague.broker_errors, world.plague.refusals);
        let is_out = world.uptime < world.outage_until;
        if is_out || world.chance.permille(errors) {
            // Whoever asks at the start gives up in the end.
            world.fault("the brokers do not answer", 22);
            world.pass(Duration::from_millis(200));
            return Err(SourceError::Unreachable("no broker answers".to_owned()));
        }
        if world.chance.permille(refusals) {
            world.fault("the brokers refuse", 21);
            return Err(SourceError::Refused("not allowed any more".to_owned()));
        }
        Ok(())
    }

    fn reached(&self, ends: &BTreeMap<Partition, Position>) {
        let mut world = self.shared.lock();
        let from = world.book.reads_from().clone();
        let moved = |at: &Partition| {
            let (from, end) = (from.get(at)?, ends.get(at)?);
            (from.offset < end.offset).then_some(from.epoch)
        };
        if self.upheavals == world.upheavals && !world.book.may_lose {
            // Behind a control record nobody knows the epoch, and where the record before is deleted
            // nobody can compare it: there nobody could notice.
            let known = |at: &&Partition| {
                let before =
                    from.get(at).is_some_and(|from| world.topic.ends(**at).0 < from.offset);
                before && moved(at).is_some_and(|epoch| epoch != LeaderEpoch::UNKNOWN)
            };
            let noticed = world.cut_off.iter().find(known).copied();
            if let Some(partition) = noticed {
                let problem =
                    format!("partition {partition} is read on behind where it was cut off");
                world.check(Err(problem));
            }
        }
        world.cut_off.retain(|at| moved(at).is_none());
        let topic = world.topic.clone();
        let there = |partition, from, to| topic.records(partition, from, to);
        let there: Option<&dyn Fn(Partition, Offset, Offset) -> Vec<Held>> =
            (self.upheavals == world.upheavals).then_some(&there);
        let checked = world.book.reached(ends, there);
        world.check(checked);
    }
}

impl Source for WorldSource {
    fn describe(&mut self) -> Result<TopicDescription, SourceError> {
        self.ask("describes the topic")?;
        self.inner.describe()
    }

    fn bounds(
        &mut self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Bounds>, SourceError> {
        self.ask("asks for bounds")?;
        self.inner.bounds(partitions)
    }

    fn offsets_for_times(
        &mut self,
        times_ms: &BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, Option<Offset>>, SourceError> {
        self.ask("asks for offsets")?;
        self.inner.offsets_for_times(times_ms)
    }

    fn assign(&mut self, positions: &BTreeMap<Partition, Position>) -> Result<(), SourceError> {
        let mut world = self.shared.lock();
        if world.call("assigns") != Found::Alive {
            return Err(killed());
        }
        self.upheavals = world.upheavals;
        let checked = world.book.assigned(positions);
        world.check(checked);
        drop(world);
        self.inner.assign(positions)
    }

    fn read(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        patience: Duration,
        takers: &mut [Taker<'_>],
    ) -> Result<Progress, SourceError> {
        self.ask("reads")?;
        let (at_once, rereads) = {
            let mut world = self.shared.lock();
            let rereads = world.plague.rereads;
            (1 + world.chance.index(12), world.chance.permille(rereads))
        };
        self.shared.lock().topic.set_records_at_once(Some(at_once));
        let mut handed = Vec::new();
        let mut take = |record: Record<'_>| {
            let value = record.value.map(std::sync::Arc::from);
            handed.push((record.partition, (record.offset, value)));
            takers[record.lane_of(takers.len())](record)
        };
        let read = self.inner.read(ends, Duration::ZERO, &mut [&mut take]);
        let mut world = self.shared.lock();
        let count = handed.len() as u64;
        world.note("was handed", count);
        for (partition, held) in handed {
            world.book.handed(partition, held);
        }
        match &read {
            Ok(_) if rereads => {
                world.counts.faults_injected += 1;
                world.note("must read again", count);
                return Err(SourceError::Reread("a fetch was damaged".to_owned()));
            }
            Ok(Progress::Waiting) if count == 0 => world.pass(patience),
            Ok(Progress::Waiting) => {}
            Ok(Progress::Reached(ends)) => {
                drop(world);
                self.reached(ends);
            }
            Err(SourceError::Gone(_) | SourceError::Lost(_)) => world.note("records are gone", 0),
            Err(_) => {}
        }
        read
    }

    fn wait(&mut self, patience: Duration) -> Result<bool, SourceError> {
        let mut world = self.shared.lock();
        if world.call("waits for data") != Found::Alive {
            return Err(killed());
        }
        let rereads = world.plague.rereads;
        if world.chance.permille(rereads / 4) {
            world.counts.faults_injected += 1;
            return Err(SourceError::Reread("a fetch was damaged".to_owned()));
        }
        drop(world);
        let is_ready = self.inner.wait(Duration::ZERO)?;
        if !is_ready {
            self.shared.lock().pass(patience);
        }
        Ok(is_ready)
    }

    fn witness(&mut self, partitions: &[Partition]) -> Result<WitnessFact, SourceError> {
        self.ask("asks for commits")?;
        self.inner.witness(partitions)
    }

    fn committer(&self, begun: Begun) -> Box<dyn Committer> {
        let inner = self.inner.committer(begun);
        Box::new(WorldCommitter { shared: self.shared.clone(), inner, begun })
    }
}

struct WorldCommitter {
    shared: Shared,
    inner: Box<dyn Committer>,
    begun: Begun,
}

impl Committer for WorldCommitter {
    fn commit(&mut self, batch: &Visible) -> Result<(), SourceError> {
        let mut world = self.shared.lock();
        match world.call("commits") {
            Found::Dead => return Err(killed()),
            Found::Dying if world.chance.below(2) == 0 => return Err(killed()),
            Found::Alive | Found::Dying => {}
        }
        let checked = world.book.committing(batch);
        world.check(checked);
        let errors = world.plague.commit_errors;
        if world.chance.permille(errors) {
            world.counts.faults_injected += 1;
            match world.chance.below(3) {
                0 => {
                    world.note("a commit fails", batch.identity().batch.0);
                    return Err(SourceError::Unreachable("the commit failed".to_owned()));
                }
                // It arrives later, perhaps after the process is gone.
                _ => {
                    world.note("a commit is late", batch.identity().batch.0);
                    let (positions, identity) = (batch.record().positions(), *batch.identity());
                    world.in_flight.push(InFlight { positions, identity, begun: self.begun });
                    return Ok(());
                }
            }
        }
        world.commits_arrive();
        drop(world);
        self.inner.commit(batch)
    }
}

/// A sink.
pub(super) struct WorldSink {
    pub(super) shared: Shared,
    pub(super) inner: MemorySink,
    /// Its place in the run's list.
    pub(super) place: usize,
}

impl WorldSink {
    fn dead() -> SinkError {
        SinkError::Refused("the process was killed".to_owned())
    }

    /// What the publish meets.
    fn trouble(&self, batch: &Visible) -> Option<Trouble> {
        let mut world = self.shared.lock();
        let found = world.call("publishes");
        if found == Found::Dead {
            return None;
        }
        let checked = world.book.publishing(self.place, batch);
        world.check(checked);
        if world.violation.is_some() {
            return None;
        }
        if found == Found::Dying {
            return Some(world.chance.pick(&[Trouble::Broken, Trouble::BrokenAfterwards]));
        }
        let permille = world.plague.sink_troubles;
        if !world.chance.permille(permille) {
            return Some(Trouble::None);
        }
        let (trouble, code) = match world.chance.below(20) {
            0 => (Trouble::Broken, 14),
            1 => (Trouble::BrokenAfterwards, 14),
            2 => (Trouble::Refusing, 30),
            3 => (Trouble::Closed, 0),
            4..12 => (Trouble::AnswerLost, 0),
            _ => (Trouble::Busy, 0),
        };
        world.fault("a sink makes trouble", code);
        if matches!(trouble, Trouble::AnswerLost | Trouble::Busy) {
            // Asked to stop, the run does not wait for it and ends with what it said.
            world.deserved.push(30);
        }
        Some(trouble)
    }
}

impl Sink for WorldSink {
    fn name(&self) -> &SinkName {
        self.inner.name()
    }

    fn marker(&mut self) -> Result<MarkerFact, SinkError> {
        match self.shared.lock().call("asks a sink") {
            Found::Alive => {}
            Found::Dying | Found::Dead => return Err(WorldSink::dead()),
        }
        self.inner.marker()
    }

    fn begin(&mut self, lineage: Lineage, newest: Option<BatchId>) -> Result<(), SinkError> {
        let mut world = self.shared.lock();
        match world.call("begins with a sink") {
            Found::Alive => {}
            Found::Dying if world.chance.below(2) == 0 => {}
            Found::Dying | Found::Dead => return Err(WorldSink::dead()),
        }
        drop(world);
        self.inner.begin(lineage, newest)
    }

    fn publish(&mut self, batch: &Visible) -> Result<(), SinkError> {
        let Some(trouble) = self.trouble(batch) else { return Err(WorldSink::dead()) };
        self.inner.expect_troubles([trouble]);
        let published = self.inner.publish(batch);
        if published.is_ok() {
            let mut world = self.shared.lock();
            let number = batch.identity().batch.0;
            world.note("has published", number);
            world.book.published(self.place, number);
        }
        published
    }
}

/// The checkpoint, seen from above.
pub(super) struct WorldCheckpoint {
    pub(super) shared: Shared,
    pub(super) inner: Box<dyn Checkpoint>,
}

impl WorldCheckpoint {
    fn check(&self, look: impl FnOnce(&mut crate::simulate::book::Book) -> Checked) {
        let mut world = self.shared.lock();
        if world.death.is_none() {
            let checked = look(&mut world.book);
            world.check(checked);
        }
    }
}

impl Checkpoint for WorldCheckpoint {
    fn begin(&mut self, genesis: &Genesis, marks: Vec<Mark>) -> Result<(), CheckpointError> {
        let mut world = self.shared.lock();
        world.begins();
        world.book.named(genesis.lineage);
        drop(world);
        self.inner.begin(genesis, marks)
    }

    fn next_incarnation(&mut self) -> Result<Incarnation, CheckpointError> {
        self.shared.lock().begins();
        let incarnation = self.inner.next_incarnation()?;
        let mut world = self.shared.lock();
        world.book.synced();
        world.has_begun = true;
        Ok(incarnation)
    }

    fn ahead(&self) -> Box<dyn Ahead> {
        self.inner.ahead()
    }

    fn state_reader(&self) -> Box<dyn StateReader> {
        let (shared, inner) = (self.shared.clone(), self.inner.state_reader());
        Box::new(WorldReader { shared, inner })
    }

    fn persist(&mut self, plan: Plan) -> Result<Durable, CheckpointError> {
        self.check(|book| book.planned(&plan.publication.record));
        let record = &plan.publication.record;
        let batch = record.batch.0;
        let rows = *record.rows_digest.0.first_chunk().expect("a digest is longer");
        let durable = self.inner.persist(plan)?;
        let mut world = self.shared.lock();
        world.note("is durable: batch", batch);
        world.note("with rows", u64::from_le_bytes(rows));
        world.book.durable();
        world.counts.batches += 1;
        Ok(durable)
    }

    fn durable_again(&mut self, publication: Publication) -> Result<Durable, CheckpointError> {
        self.inner.durable_again(publication)
    }

    fn announce(&mut self, durable: Durable) -> Result<Visible, CheckpointError> {
        let batch = durable.batch().0;
        self.check(|book| book.announcing(batch));
        let visible = self.inner.announce(durable)?;
        let mut world = self.shared.lock();
        let lineage = visible.identity().lineage;
        world.book.named(lineage);
        world.book.was_announced(batch);
        Ok(visible)
    }

    fn mark(&mut self, sink: &SinkName, batch: BatchId) -> Result<(), CheckpointError> {
        self.check(|book| book.marking(&sink.0, batch.0));
        self.inner.mark(sink, batch)
    }

    fn admit_sink(
        &mut self,
        sink: &SinkName,
        newest: Option<BatchId>,
    ) -> Result<(), CheckpointError> {
        self.check(|book| book.admitting(&sink.0, newest.map(|newest| newest.0)));
        self.inner.admit_sink(sink, newest)
    }

    fn forget_sink(&mut self, sink: &SinkName) -> Result<(), CheckpointError> {
        self.inner.forget_sink(sink)
    }

    fn load_log(&mut self, restore: &mut VisitLog<'_>) -> Result<(), CheckpointError> {
        self.inner.load_log(restore)
    }

    fn load(&mut self, restore: &mut RestoreGroup<'_>) -> Result<Recovered, CheckpointError> {
        let shared = self.shared.clone();
        let bound_us = shared.lock().book.closing_bound_us();
        let mut open = 0;
        let loaded = self.inner.load(&mut |place, row, newest| {
            if place.keeper == Keeper::Groups {
                let mut world = shared.lock();
                open += usize::from(place.closing.0 > bound_us);
                if world.death.is_none() {
                    let checked = world.book.restored(place.closing.0);
                    world.check(checked);
                }
            }
            restore(place, row, newest)
        });
        if loaded.is_ok() {
            self.check(|book| book.restored_all(open));
        }
        loaded
    }
}

/// State that is not in memory, read back.
struct WorldReader {
    shared: Shared,
    inner: Box<dyn StateReader>,
}

impl StateReader for WorldReader {
    fn rows(
        &mut self,
        place: Place,
        newest: BatchId,
        wanted: &mut Wanted<'_>,
        visit: &mut RestoreGroup<'_>,
    ) -> Result<(), CheckpointError> {
        self.shared.lock().note("reads state back behind batch", newest.0);
        self.inner.rows(place, newest, wanted, visit)
    }

    fn is_scattered(&mut self, place: Place, newest: BatchId) -> bool {
        self.inner.is_scattered(place, newest)
    }
}

/// Who is told of each batch.
pub(super) struct WorldReporter(pub(super) Shared);

impl Reporter for WorldReporter {
    fn report(&mut self, report: &Report<'_>) {
        let mut world = self.0.lock();
        let batch = report.identity.batch.0;
        world.note("tells of batch", batch);
        let checked = world.book.reported(batch);
        world.check(checked);
    }
}
