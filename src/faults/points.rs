//! Fail points: named places of a batch and of recovery where a run can be made to end or fail.
//!
//! `SALES_STREAM_FAULT=NAME[#OCCURRENCE]=ACTION` plants one; OCCURRENCE counts from 1 (the default).
//! ACTION is `kill` (SIGKILL), `panic` or `exit`.

/// A place where a run can be made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A batch is planned; nothing of it is written.
    BeforePersist,
    /// A batch is durable and not announced.
    AfterPersist,
}

/// The run has come to this place. Empty without the feature `faults`.
#[inline]
pub fn reach(point: Point) {
    let _ = point;
}
