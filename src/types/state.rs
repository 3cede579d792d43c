//! Words for what operators keep between batches and what they say of an event.

use super::Timestamp;

/// Which operator keeps a row of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// An aggregation: groups with their totals.
    Groups,
    /// A deduplication: keys that were seen.
    Keys,
}

/// Where a row of state is kept: rows of one operator that can be forgotten together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Whose row it is.
    pub keeper: Keeper,
    /// Once the watermark reaches it the row is not needed any more; [`Place::NEVER`] is never
    /// reached. A row may be done with earlier, by its own end.
    pub closing: Timestamp,
}

impl Place {
    /// The closing instant of rows that are kept for ever: no watermark reaches it.
    pub const NEVER: Timestamp = Timestamp(i64::MAX);

    /// The place of groups that close at an instant.
    #[must_use]
    pub fn groups(closing: Timestamp) -> Place {
        Place { keeper: Keeper::Groups, closing }
    }

    /// The place of keys that are forgotten at an instant.
    #[must_use]
    pub fn keys(closing: Timestamp) -> Place {
        Place { keeper: Keeper::Keys, closing }
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in its group, in all of its windows, or it waits for the end of the batch.
    Counted,
    /// No operator keeps it: it is a result row as it is.
    Row,
    /// It is late: a window of its had closed, or the watermark had passed it.
    Late,
    /// It has no event time, so it is in no window.
    NoTime,
    /// Its gap is NULL or not above zero, so it is in no session.
    NoSession,
    /// An equal one was seen before.
    Duplicate,
}

/// What is done while a batch is closed, for whoever measures how long that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// An operator's state takes in what the batch adds.
    Updates(Keeper),
    /// What an operator is done with is found and taken out.
    Removals(Keeper),
    /// Everything else.
    Rest,
}

/// Told what is done from now on, a few times a batch.
pub type Watch<'a> = dyn FnMut(Work) + 'a;

/// What Spark's progress shows of a stateful operator after a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorCounts {
    /// Rows it keeps (`numRowsTotal`).
    pub total: u64,
    /// Rows the batch wrote (`numRowsUpdated`).
    pub updated: u64,
    /// Rows the batch removed (`numRowsRemoved`).
    pub removed: u64,
    /// What came too late (`numRowsDroppedByWatermark`): records in our own way, groups or records in
    /// Spark's.
    pub dropped: u64,
}
