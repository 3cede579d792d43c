//! Our own way beside Spark's: rows as sets, and every difference by a rule.

use crate::{case::Case, compare, replay::Replayed};

/// What came of a comparison.
pub struct Judged {
    /// The rule that explains what differs, if something does.
    pub explained: Option<&'static str>,
    /// What no rule explains.
    pub unexplained: Vec<String>,
}

/// Compares a replayed case with what Spark did.
///
/// # Errors
/// An expectation that cannot be read.
pub fn judge(case: &Case, found: &Replayed) -> Result<Judged, String> {
    Ok(Judged { explained: None, unexplained: compare::compare(case, found)? })
}
