//! Event-time windows: which window an event falls in, what its group adds up to, when it closes.
//!
//! Pure. A batch gathers its events in a [`Delta`]; merging the delta into the [`Windows`] gives the
//! new totals, closing takes the finished windows out. Start at [`Delta::add`].
//!
//! Invariants: windows are half-open `[start, end)`; an open window ends after the watermark it was
//! last closed under, and a closed one never opens again; merging deltas in any order, or one delta
//! instead of two, gives the same totals unless a sum is inexact.
//!
//! Not here: where the watermark is kept (`batch`); how state is stored (`checkpoint/codec`).

mod accumulator;
mod delta;
mod key;
mod plan;
mod result;
mod table;
mod watermark;

pub use accumulator::{Accumulator, Scalar, Sum};
pub use delta::{Delta, Verdict, Windows};
pub use key::KeyError;
pub use plan::WindowPlan;
pub use result::Misfits;
pub use table::{Group, Table};
pub use watermark::{NewestTime, Watermarks};
