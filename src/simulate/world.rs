//! Everything that is outside of the engine in a trial, moved by one stream of chance: time, the
//! producers and the brokers, when the process dies, what fails.
//!
//! Invariant: nothing here depends on anything but the seed and the calls that the engine makes, in
//! their order; so one seed is one story, told by [`World::note`] to its digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    batch::{Begun, Identity},
    simulate::{
        book::{Book, Checked, Positions},
        chance::{Chance, mixed},
    },
    source::memory::MemoryTopic,
    stop::Stop,
    types::{LeaderEpoch, Offset, Partition, Position},
};

/// When the clock stands at nothing, Unix milliseconds.
const BEGINNING_MS: i64 = 1_756_800_000_000;

/// What is counted over all trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Seeds tried.
    pub seeds: u64,
    /// Calls the engine made outside of itself.
    pub steps: u64,
    /// Batches that became durable.
    pub batches: u64,
    /// Records produced.
    pub records: u64,
    /// Everything that was made to go wrong but deaths.
    pub faults_injected: u64,
    /// Processes killed.
    pub app_kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Transactions aborted.
    pub aborted_transactions: u64,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Counts) {
        let Counts { seeds, steps, batches, records, .. } = other;
        self.seeds += seeds;
        self.steps += steps;
        self.batches += batches;
        self.records += records;
        self.faults_injected += other.faults_injected;
        self.app_kills += other.app_kills;
        self.power_cuts += other.power_cuts;
        self.aborted_transactions += other.aborted_transactions;
    }
}

/// What may go wrong in a trial: each in so many of a thousand calls where it could.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plague {
    pub(super) broker_errors: u64,
    pub(super) rereads: u64,
    pub(super) refusals: u64,
    pub(super) stalls: u64,
    pub(super) commit_errors: u64,
    pub(super) storage_errors: u64,
    pub(super) sink_troubles: u64,
    pub(super) transactions: u64,
    pub(super) data_loss: u64,
    /// What happens to the state, the sinks and the topic while nothing runs.
    pub(super) between_runs: u64,
}

impl Plague {
    /// Each trial has some kinds of trouble and not others, so that each meets the rest undisturbed.
    pub(super) fn drawn(chance: &mut Chance) -> Plague {
        let mut some = |of: u64, most: u64| match chance.below(of) {
            0 => 1 + chance.below(most),
            _ => 0,
        };
        Plague {
            broker_errors: some(2, 60),
            rereads: some(2, 60),
            refusals: some(4, 6),
            stalls: some(2, 30),
            commit_errors: some(2, 400),
            storage_errors: some(2, 30),
            sink_troubles: some(2, 250),
            transactions: some(2, 500),
            data_loss: some(4, 12),
            between_runs: some(2, 500),
        }
    }
}

/// How a process ends that is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    Kill,
    PowerCut,
}

/// How a call finds the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Alive,
    /// It dies in this very call.
    Dying,
    Dead,
}

/// A commit that is on its way to the group.
pub(super) struct InFlight {
    pub(super) positions: Positions,
    pub(super) identity: Identity,
    pub(super) begun: Begun,
}

/// An open transaction of a partition.
#[derive(Default)]
struct Transaction {
    offsets: Vec<Offset>,
}

/// The world of one trial.
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) topic: MemoryTopic,
    pub(super) book: Book,
    pub(super) plague: Plague,
    pub(super) counts: Counts,
    pub(super) uptime: Duration,
    pub(super) stop: Stop,
    /// Calls until the process dies, and how.
    pub(super) dies: Option<(u64, Death)>,
    pub(super) death: Option<Death>,
    /// Calls until it is asked to stop.
    pub(super) stops: Option<u64>,
    /// Calls of this run.
    pub(super) calls: u64,
    /// Exit codes that something has given a reason for in this run.
    pub(super) deserved: Vec<u8>,
    pub(super) in_flight: Vec<InFlight>,
    /// How often what can be read where was changed otherwise than by growing.
    pub(super) upheavals: u64,
    /// Records were deleted or cut off that no durable batch had read.
    pub(super) is_damaged: bool,
    /// Why the start that is under way must be refused.
    pub(super) must_refuse: Option<&'static str>,
    /// The start has got past its decision, durably.
    pub(super) has_begun: bool,
    /// Until when no broker answers.
    pub(super) outage_until: Duration,
    /// Partitions whose log was cut off below what was durably read of it.
    pub(super) cut_off: BTreeSet<Partition>,
    /// Whatever must not be and was.
    pub(super) violation: Option<String>,
    digest: u64,
    records_left: u64,
    produced: i64,
    transactions: BTreeMap<Partition, Transaction>,
    stalled_until: Duration,
    lineages: u64,
    trace: Option<Vec<String>>,
}

/// The world as all who act in it hold it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Shared {
        Shared(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    pub(super) fn new(mut chance: Chance, topic: MemoryTopic, book: Book, traced: bool) -> World {
        let plague = Plague::drawn(&mut chance);
        let records_left = 5 + chance.below(36);
        World {
            chance,
            topic,
            book,
            plague,
            counts: Counts { seeds: 1, ..Counts::default() },
            uptime: Duration::ZERO,
            stop: Stop::new(),
            dies: None,
            death: None,
            stops: None,
            calls: 0,
            deserved: Vec::new(),
            in_flight: Vec::new(),
            upheavals: 0,
            is_damaged: false,
            must_refuse: None,
            has_begun: false,
            outage_until: Duration::ZERO,
            cut_off: BTreeSet::new(),
            violation: None,
            digest: 0,
            records_left,
            produced: 0,
            transactions: BTreeMap::new(),
            stalled_until: Duration::ZERO,
            lineages: 0,
            trace: traced.then(Vec::new),
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        BEGINNING_MS + i64::try_from(self.uptime.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn new_lineage(&mut self) -> u128 {
        self.lineages += 1;
        u128::from(self.lineages)
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Something happened: it becomes part of the digest.
    pub(super) fn note(&mut self, what: &str, number: u64) {
        let mut digest = self.digest ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in what.bytes() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.digest = mixed(digest);
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>8} ms  {what} {number}", self.uptime.as_millis()));
        }
    }

    pub(super) fn check(&mut self, checked: Checked) {
        if let (Err(problem), None) = (checked, &self.violation) {
            self.violation = Some(problem);
            self.die(Death::Kill);
        }
    }

    /// A fault was injected that may end the run with this code.
    pub(super) fn fault(&mut self, what: &str, code: u8) {
        self.counts.faults_injected += 1;
        self.note(what, u64::from(code));
        self.deserved.push(code);
    }

    fn die(&mut self, death: Death) {
        self.death = Some(death);
        self.note("dies", death as u64);
        self.stop.request();
    }

    /// The engine made a call; meanwhile the world goes on.
    pub(super) fn call(&mut self, what: &str) -> Found {
        if self.death.is_some() {
            return Found::Dead;
        }
        self.calls += 1;
        self.counts.steps += 1;
        self.pass(Duration::from_millis(1));
        self.note(what, self.calls);
        self.evolve();
        if let Some(left) = &mut self.stops {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.stops = None;
                self.note("is asked to stop", 0);
                self.stop.request();
            }
        }
        if let Some((left, death)) = &mut self.dies {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let death = *death;
                self.dies = None;
                self.die(death);
                return Found::Dying;
            }
        }
        Found::Alive
    }

    /// The state is another one: what was read of the topic may be to be read again.
    pub(super) fn state_was_replaced(&mut self) {
        self.cut_off.clear();
        self.is_damaged |= self.upheavals > 0;
    }

    /// The start that is under way is not refused.
    pub(super) fn begins(&mut self) {
        if let Some(why) = self.must_refuse {
            self.check(Err(format!("a start is not refused although {why}")));
        }
    }

    /// Time passes.
    pub(super) fn pass(&mut self, time: Duration) {
        self.uptime += time;
    }

    /// What happens of itself: input, transactions, stalls, commits that arrive.
    pub(super) fn evolve(&mut self) {
        if self.records_left > 0 && self.chance.permille(150) {
            let count = 1 + self.chance.below(3);
            self.produce(count.min(self.records_left));
        }
        if !self.in_flight.is_empty() && self.chance.permille(300) {
            self.commits_arrive();
        }
        if self.uptime >= self.stalled_until && self.stalled_until > Duration::ZERO {
            self.stalled_until = Duration::ZERO;
            self.set_stalled(false);
        }
        if self.plague.stalls > 0 && self.chance.permille(self.plague.stalls) {
            self.counts.faults_injected += 1;
            self.note("stalls", 0);
            self.stalled_until = self.uptime + Duration::from_millis(10 + self.chance.below(3000));
            self.set_stalled(true);
        }
        if self.plague.data_loss > 0 && self.chance.permille(self.plague.data_loss) {
            self.lose_data();
        }
    }

    fn set_stalled(&mut self, stalled: bool) {
        for partition in self.partitions() {
            let stalled = stalled && self.chance.below(2) == 0;
            self.topic.set_stalled(partition, stalled);
        }
    }

    fn partitions(&self) -> Vec<Partition> {
        (0..).map(Partition).take(self.topic.partitions()).collect()
    }

    pub(super) fn commits_arrive(&mut self) {
        for InFlight { positions, identity, begun } in std::mem::take(&mut self.in_flight) {
            self.note("a commit arrives", identity.batch.0);
            self.topic.commit_as(positions, identity, begun);
        }
    }

    /// Appends records, some of them in transactions, some twice.
    pub(super) fn produce(&mut self, count: u64) {
        for _ in 0..count {
            let partitions = self.partitions();
            let partition = self.chance.pick(&partitions);
            let value = self.value();
            let times = if self.chance.permille(30) { 2 } else { 1 };
            for _ in 0..times {
                self.append(partition, value.as_deref());
            }
            self.records_left = self.records_left.saturating_sub(1);
        }
    }

    fn append(&mut self, partition: Partition, value: Option<&[u8]>) {
        let is_open = self.transactions.contains_key(&partition);
        if !is_open && self.plague.transactions > 0 && self.chance.permille(200) {
            let (.., end) = self.topic.ends(partition);
            self.topic.hold_at(partition, Some(end));
            self.transactions.insert(partition, Transaction::default());
            self.note("a transaction begins", end.0.cast_unsigned());
        }
        let offset = self.topic.append(partition, value);
        self.counts.records += 1;
        self.note("appended", offset.0.cast_unsigned());
        let in_it = self.chance.below(2) == 0;
        if let Some(transaction) = self.transactions.get_mut(&partition)
            && (in_it || transaction.offsets.is_empty())
        {
            transaction.offsets.push(offset);
        }
        if is_open && self.chance.permille(self.plague.transactions) {
            self.end_transaction(partition);
        }
    }

    fn end_transaction(&mut self, partition: Partition) {
        let Some(transaction) = self.transactions.remove(&partition) else { return };
        let is_aborted = self.chance.below(2) == 0;
        if is_aborted {
            self.counts.aborted_transactions += 1;
            transaction.offsets.iter().for_each(|offset| self.topic.abort(partition, *offset));
        }
        self.note("a transaction ends", u64::from(is_aborted));
        // The control record that says so.
        self.topic.append_gap(partition, 1);
        self.topic.hold_at(partition, None);
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        self.produced += 1;
        let chance = &mut self.chance;
        let newest = 1000 + self.produced * 6;
        let time = match chance.below(10) {
            0 => newest - chance.between(60, 400),
            1 => newest + chance.between(20, 60),
            _ => newest - chance.between(0, 40),
        };
        let store = chance.below(3);
        let price = chance.between(0, 400) as f64 / 4.0;
        let text = match chance.below(30) {
            0 => return None,
            1 => "{\"store\":".to_owned(),
            2 => format!(r#"{{"store":"s{store}","item":"x","price":"much","ts":{time}}}"#),
            3 => format!(r#"{{"store":"s{store}","item":"x","price":{price}}}"#),
            4 => format!(r#"{{"item":"x","price":{price},"ts":{time}}}"#),
            5 => "[]".to_owned(),
            6 => format!(r#"{{"store":"s{store}","item":"x","ts":{time}}}"#),
            _ => format!(r#"{{"store":"s{store}","item":"x","price":{price},"ts":{time}}}"#),
        };
        Some(text.into_bytes())
    }

    /// Retention or an unclean election takes records away.
    fn lose_data(&mut self) {
        let partitions = self.partitions();
        let partition = self.chance.pick(&partitions);
        let (earliest, latest, _) = self.topic.ends(partition);
        if latest <= earliest || self.transactions.contains_key(&partition) {
            return;
        }
        let at = Offset(self.chance.between(earliest.0, latest.0));
        let read = self.book.positions().and_then(|positions| positions.get(&partition).copied());
        self.upheavals += 1;
        self.counts.faults_injected += 1;
        if self.chance.below(2) == 0 {
            self.note("records are deleted before", at.0.cast_unsigned());
            self.topic.delete_before(partition, at);
            self.is_damaged |= read.is_none_or(|read| read.offset < at);
        } else {
            self.note("the log is cut off at", at.0.cast_unsigned());
            self.topic.cut_off_at(partition, at);
            self.is_damaged = true;
            let known = |read: &Position| read.epoch != LeaderEpoch::UNKNOWN && read.offset > at;
            if read.as_ref().is_some_and(known) {
                self.cut_off.insert(partition);
            }
            // Often there is soon as much again as was lost: only epochs tell then.
            if self.chance.below(2) == 0 {
                for _ in at.0..=latest.0 {
                    let value = self.value();
                    self.append(partition, value.as_deref());
                }
            }
        }
    }

    /// The topic is deleted and made again, or gets one more partition.
    pub(super) fn change_topic(&mut self) {
        let partitions = self.topic.partitions();
        if self.plague.data_loss > 0 && self.chance.below(2) == 0 {
            let made = 1 + self.chance.index(3);
            self.note("the topic is made again, with partitions", made as u64);
            self.topic.make(made);
            self.transactions.clear();
            self.cut_off.clear();
            self.upheavals += 1;
            self.is_damaged = true;
            let some = self.chance.below(10);
            self.produce(some.min(self.records_left));
        } else if partitions < 4 {
            self.note("the topic gets one more partition than", partitions as u64);
            self.topic.add_partitions(1);
        }
        self.counts.faults_injected += 1;
    }

    /// Everything that is still to come comes, everything that was wrong is well.
    pub(super) fn calm(&mut self) {
        self.note("calm", 0);
        self.produce(self.records_left);
        for partition in self.partitions() {
            self.end_transaction(partition);
        }
        self.set_stalled(false);
        self.stalled_until = Duration::ZERO;
        self.commits_arrive();
        self.outage_until = Duration::ZERO;
        self.plague = Plague::default();
    }

    /// A run begins.
    pub(super) fn begin_run(&mut self) {
        self.stop = Stop::new();
        self.death = None;
        self.calls = 0;
        self.deserved.clear();
        (self.must_refuse, self.has_begun) = (None, false);
    }
}
