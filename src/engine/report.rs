//! What a run tells of each batch once it has left through every sink and is marked.
//!
//! Invariant: nothing of a batch is told before its last step, so that progress never shows what a
//! restart could still take back.
//!
//! Not here: how it is written down (`progress`).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    batch::{BatchRecord, Identity},
    types::{Offset, Partition},
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
    /// Reading, decoding and adding up its records.
    pub read: Duration,
    /// Computing its results.
    pub plan: Duration,
    /// Where each partition ended when its trigger fired.
    pub latest: BTreeMap<Partition, Offset>,
    /// Where the batch before it ended; `None` for the first.
    pub before: Option<BTreeMap<Partition, Offset>>,
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
