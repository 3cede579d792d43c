//! Mutants: defects that can be switched on, one at a time, to see that the auditor finds them.
//!
//! `SALES_STREAM_MUTANT=NAME` plants one for the whole run.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Sinks are given a batch before it is durable.
    PublishBeforePersist,
}

/// Whether this defect is switched on. Always false without the feature `faults`.
#[inline]
#[must_use]
pub fn is_planted(mutant: Mutant) -> bool {
    let _ = mutant;
    false
}
