//! Planted faults: places where a run can be made to end or fail, and defects that can be switched on.
//!
//! A build with the feature `faults` (the binary `sales-stream-faults`) is the one that the tests of
//! crash points and the auditor's tests use; a run of it is told by the environment what to plant. In
//! every other build [`reach`] and [`is_planted`] are empty, nothing here is left in the binary, and a
//! test looks that it is so.
//!
//! Invariant: without the feature no line of this room can change what a run does. Start at [`Point`]
//! for the places and at [`Mutant`] for the defects.
//!
//! Not here: faults that come from outside of the process (signals, disks, networks).

mod mutants;
mod points;

pub use mutants::{Mutant, Step, is_planted};
#[cfg(feature = "faults")]
pub use mutants::{asks_for_end_after, end_after, is_first, state_bytes, witness_fails};
pub use points::{Point, reach};
#[cfg(feature = "faults")]
pub use points::{is_list_asked, names};

/// Stands in every binary with planted faults and in no other.
#[cfg(feature = "faults")]
pub const MARKER: &str = "this build of sales-stream has planted faults";
