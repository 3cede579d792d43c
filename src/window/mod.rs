//! Event-time windows and everything else that keeps state between batches: which groups an event
//! falls in, what they add up to, when they close, and which records are seen as one.
//!
//! Pure. This is our own way: sums are exact, rows sorted by window and keys. A [`Chain`] is a
//! pipeline's operators at work: a batch gathers its events in a [`ChainBatch`], closing it gives the
//! new state and the rows. Start at [`Chain::add`], then [`Delta::add`] for windows of a fixed length
//! and groups of keys alone, [`SessionDelta::add`] for sessions.
//!
//! Invariants: windows are half-open `[start, end)`; an open window ends after the watermark it was
//! last closed under, and a closed one never opens again; merging deltas in any order, or one delta
//! instead of two, gives the same totals unless a sum is inexact; which groups of windows of a fixed length
//! and of keys alone are in memory, and which only on the shelf (`cold`), changes nothing that a batch gives.
//!
//! Not here: where the watermark is kept (`batch`); how state is stored (`checkpoint/codec`).

mod accumulator;
mod chain;
mod cold;
mod dedup;
mod delta;
mod index;
mod key;
mod plan;
mod result;
mod session;
mod table;
mod watermark;
mod windows;

pub use accumulator::{Accumulator, Scalar, Sum};
pub use chain::{Chain, ChainBatch, Changes, Closed, ResultsError};
pub use cold::{KeepRows, Shelf, Spill, VisitGroup, Wanted, overlaid};
pub use dedup::Deduplicator;
pub use delta::Delta;
pub use key::KeyError;
pub use plan::WindowPlan;
pub use result::{Misfits, cast_value};
pub use session::{SessionDelta, Sessions};
pub use table::{Group, Table};
pub use watermark::{NewestTime, Watermarks};
pub use windows::{Merged, Windows};
