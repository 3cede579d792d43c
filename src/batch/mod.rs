//! The core value: what one batch is, and what a restart must do.
//!
//! Pure: it knows neither RocksDB nor Kafka, reads no clock and does no I/O. A [`Job`] opens a batch,
//! takes its records in [`Lane`]s and closes it into a [`Plan`]; the shell obeys the plan. State and rows that are more
//! than its [`Room`] are [`Beyond`] memory, behind ports that the shell lends. [`recover`] decides from
//! facts already read what a start may do.
//!
//! Invariants kept here:
//! - *Boundaries*: a batch's ends come from [`cut`] alone and are fixed before its first record.
//! - *Totality*: everything that data alone can make fail, fails in [`Lane::add`] or [`Job::close`],
//!   before anything is written.
//! - *Closure*: the rows of a batch are a function of its [`BatchRecord`] and the stored groups;
//!   [`BatchRecord::link`] ties them together.
//!
//! Not here: the order persist → announce → publish → commit → mark (`engine`, `checkpoint`).

mod cut;
mod fit;
mod history;
mod job;
mod lane;
#[cfg(test)]
mod laws;
mod operators;
mod output;
mod plan;
mod recover;
#[cfg(test)]
mod trials;
mod trigger;
mod ways_out;
#[cfg(test)]
mod worked;

pub use cut::{Bounds, cut};
pub use fit::Fit;
pub use history::{BatchRecord, Begun, Counts, Range, Superseded};
pub use job::{Beyond, Head, Job, OpenBatch, Room};
pub use lane::{BadRecord, Lane, Record};
pub use operators::StateError;
pub(crate) use output::RowsHasher;
pub use output::TakesOutput;
pub use plan::{
    Chunks, DeadLetter, DeadLetterReason, Genesis, Identity, OutputChunk, Payload, Plan,
    Publication, WholePlace, WrittenAhead,
};
pub use recover::{
    DatabaseFact, Decision, Facts, Mark, MarkerFact, Permission, Permissions, Refusal, Shared,
    VisibleFact, WitnessFact, recover,
};
pub use trigger::{Due, HoldBack, due, next_tick};
pub use ways_out::ways_out;
