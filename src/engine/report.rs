//! What a run tells of each batch once it has left through every sink and is marked.
//!
//! Invariant: nothing of a batch is told before its last step, so that progress never shows what a
//! restart could still take back.
//!
//! Not here: how it is written down (`progress`).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    batch::{BatchRecord, Identity},
    engine::Clock,
    types::{Keeper, Offset, Partition, Work},
};

/// Takes the report of each batch, in order. A failure to write it down is its own affair.
pub trait Reporter: Send {
    /// One batch has left.
    fn report(&mut self, report: &Report<'_>);
}

/// How a batch came about; a batch that is published again after a restart has no times of its own.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    /// When its trigger fired, Unix milliseconds.
    pub trigger_ms: i64,
    /// Asking the brokers for the ends of partitions.
    pub latest_offset: Duration,
    /// Deciding whether a batch is due and where it ends.
    pub planning: Duration,
    /// Making everything ready to read it.
    pub open: Duration,
    /// Reading, decoding and adding up its records.
    pub read: Duration,
    /// Computing its results.
    pub plan: Duration,
    /// What of that each operator took, and what it keeps.
    pub groups: OperatorTiming,
    /// The same of a deduplication.
    pub keys: OperatorTiming,
    /// Where each partition ended when its trigger fired.
    pub latest: BTreeMap<Partition, Offset>,
    /// Where the batch before it ended; `None` for the first.
    pub before: Option<BTreeMap<Partition, Offset>>,
}

/// What an operator took of a batch's computing, and what it keeps behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorTiming {
    /// Taking in what the batch adds.
    pub updates: Duration,
    /// Finding and taking out what is done with.
    pub removals: Duration,
    /// About how many bytes of memory its state takes.
    pub memory_bytes: u64,
}

/// Measures what is done while a batch is closed, with a clock reading for each thing.
pub(super) struct Stopwatch<'a> {
    clock: &'a dyn Clock,
    since: Duration,
    work: Work,
    pub(super) groups: OperatorTiming,
    pub(super) keys: OperatorTiming,
}

impl Stopwatch<'_> {
    pub(super) fn start(clock: &dyn Clock) -> Stopwatch<'_> {
        let none = OperatorTiming::default();
        Stopwatch { clock, since: clock.uptime(), work: Work::Rest, groups: none, keys: none }
    }

    /// From now on `work` is done.
    pub(super) fn turn_to(&mut self, work: Work) {
        let now = self.clock.uptime();
        let passed = now.saturating_sub(self.since);
        match self.work {
            Work::Updates(keeper) => self.of(keeper).updates += passed,
            Work::Removals(keeper) => self.of(keeper).removals += passed,
            Work::Rest => {}
        }
        (self.since, self.work) = (now, work);
    }

    pub(super) fn of(&mut self, keeper: Keeper) -> &mut OperatorTiming {
        match keeper {
            Keeper::Groups => &mut self.groups,
            Keeper::Keys => &mut self.keys,
        }
    }
}

/// How long the steps of its way out took.
#[derive(Clone, Copy, Debug, Default)]
pub struct WayOut {
    /// Making it durable.
    pub persist: Duration,
    /// Announcing it.
    pub announce: Duration,
    /// Giving it to every sink.
    pub publish: Duration,
    /// Handing its commit over and noting what every sink has.
    pub mark: Duration,
}

/// One batch that has left.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Its name.
    pub identity: Identity,
    /// What it read and counted.
    pub record: &'a BatchRecord,
    /// How it came about.
    pub timing: &'a Timing,
    /// How it left.
    pub way_out: WayOut,
}
