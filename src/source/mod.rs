//! The source port: records by partition and offset, positions, and the commits others look at.
//!
//! Invariants: a source reads where it is told and nowhere else; it hands out every record of
//! `[position, end)` once and in order, or fails; what it cannot find out is an error, never an
//! absence.
//!
//! Not here: Kafka (`kafka`), the pure twin for tests (`memory`), where a batch ends (`batch::cut`).

pub mod kafka;
pub mod memory;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    batch::{BadRecord, Begun, Bounds, Record, WitnessFact},
    checkpoint::Visible,
    types::{Offset, Partition, Position},
};

/// What the topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The cluster's id, where it tells one.
    pub cluster_id: Option<String>,
    /// The topic's id, where the cluster tells one: a topic made again under its name has another.
    pub topic_id: Option<String>,
    /// Its partitions, none of which had an error in the answer.
    pub partitions: Vec<Partition>,
}

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every partition reached its end; the positions behind it.
    Reached(BTreeMap<Partition, Position>),
    /// The time was up first; call again to go on.
    Waiting,
}

/// Where records come from.
pub trait Source: Send {
    /// Asks the cluster what the topic is.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `NoTopic`, or `Lost` when it was there before and is not any more, or
    /// was made anew. A source that is to follow a topic made anew describes that one instead, and
    /// reads nothing before the next `assign`.
    fn describe(&mut self) -> Result<TopicDescription, SourceError>;

    /// Asks the cluster where each of these partitions begins and ends (for readers of committed
    /// records: the last stable offset).
    ///
    /// # Errors
    /// As [`Source::describe`]; an error for any one partition is an error for all.
    fn bounds(
        &mut self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Bounds>, SourceError>;

    /// For each of these partitions, the first record whose time is not before the given one (Unix
    /// milliseconds); `None` where there is none.
    ///
    /// # Errors
    /// As [`Source::bounds`].
    fn offsets_for_times(
        &mut self,
        times_ms: &BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, Option<Offset>>, SourceError>;

    /// Reads from these positions from now on, in place of whatever was read before.
    ///
    /// # Errors
    /// The client refused.
    fn assign(&mut self, positions: &BTreeMap<Partition, Position>) -> Result<(), SourceError>;

    /// Hands out records until every partition has reached its end, or for about `patience`. Records
    /// at or behind an end wait for a later call. With several takers all records of a partition go to the same one, and
    /// the source may call them at once, each on a thread of its own.
    ///
    /// # Errors
    /// `Replaced` before a record of a topic made anew is handed out that the source is to follow;
    /// `Reread` when what was handed out since the last `assign` must be dropped and read again;
    /// `Gone`, also where a partition turns out to end before its end here, so that nothing would come;
    /// `Lost`, `Refused`; or `BadRecord` from `take`.
    fn read(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        patience: Duration,
        takers: &mut [Taker<'_>],
    ) -> Result<Progress, SourceError>;

    /// Waits until a record can be read, or for `patience`; tells whether one can. May be wrong in
    /// saying that one can.
    ///
    /// # Errors
    /// What befell a partition while nothing was read of it, as [`Source::read`] would tell it; or the next read does.
    fn wait(&mut self, patience: Duration) -> Result<bool, SourceError>;

    /// What the consumer group's commits say of this topic.
    ///
    /// # Errors
    /// `Unreachable` when it could not be found out for every partition: ask again.
    fn witness(&mut self, partitions: &[Partition]) -> Result<WitnessFact, SourceError>;

    /// A handle that commits, for use beside reading; every commit tells by what this run's history
    /// was begun.
    fn committer(&self, begun: Begun) -> Box<dyn Committer>;
}

/// What takes the records that a source hands out.
pub type Taker<'a> = &'a mut (dyn FnMut(Record<'_>) -> Result<(), BadRecord> + Send + 'a);

/// Tells the consumer group how far published results go; lag tools and the next start's witness
/// look at it.
pub trait Committer: Send {
    /// Commits a batch's positions of all partitions with its name as metadata, waiting for the
    /// answer. Takes the proof that the batch is durable and announced, as a sink does.
    ///
    /// # Errors
    /// The commit was not confirmed. Reported, never a reason to stop: the next one covers it.
    fn commit(&mut self, batch: &Visible) -> Result<(), SourceError>;
}

/// What can go wrong with a source; each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No broker answers (exit 22 at the start with a timeout; waited for otherwise).
    #[error("{0}")]
    Unreachable(String),
    /// There is no such topic (yet).
    #[error("{0}")]
    NoTopic(String),
    /// The cluster refuses us for good: authentication, authorization, fatal client errors (21).
    #[error("{0}")]
    Refused(String),
    /// The client does not take its options (exit 2).
    #[error("{0}")]
    Usage(String),
    /// Data that was still needed is gone (exit 20).
    #[error("{0}")]
    Lost(String),
    /// Records cannot be read from where reading stands: they were deleted, or the log was cut off
    /// (exit 20, unless the run is to go on without them). What the partitions hold must be asked anew.
    #[error("{0}")]
    Gone(String),
    /// The topic was made anew and is to be followed: describe it again before reading goes on.
    #[error("{0}")]
    Replaced(String),
    /// What was handed out since the last `assign` cannot be trusted; assign again and reread.
    #[error("{0}")]
    Reread(String),
    /// A record that ends the run (exit 40).
    #[error(transparent)]
    BadRecord(#[from] BadRecord),
}
