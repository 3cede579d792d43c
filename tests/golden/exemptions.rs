//! Cases that are not held to Spark's outcome, each told by a predicate over its `case.json` and a
//! reason that a user of Spark would accept. No case is named. More than 4 % of a set is a failure.

use crate::case::{Case, object};

/// One exemption.
pub struct Exemption {
    /// Why.
    pub reason: &'static str,
    /// Which cases.
    pub covers: fn(&Case) -> bool,
}

/// Most cases of a set that may be exempt, in percent.
pub const MOST_PERCENT: usize = 4;

/// All of them.
pub const EXEMPTIONS: [Exemption; 1] = [Exemption {
    reason: "with a trigger of seconds, which record falls into which batch depends on the time of \
             day the query was started at",
    covers: has_interval,
}];

/// The exemption of a case, if it has one.
pub fn exemption(case: &Case) -> Option<&'static Exemption> {
    EXEMPTIONS.iter().find(|exemption| (exemption.covers)(case))
}

fn has_interval(case: &Case) -> bool {
    let interval = object(case.json.get("trigger")).get("processingTime");
    interval.and_then(|interval| interval.as_str()).is_some_and(|text| text != "0 seconds")
}
