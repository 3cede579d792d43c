//! What a closed batch asks the shell to do, and what the outside may see of it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    batch::{BatchRecord, Begun, Superseded},
    spark::LogWrite,
    types::{
        BatchId, Digest, FaultReason, Incarnation, Lineage, Offset, Partition, Place, Position,
        Rows,
    },
    window::Changes,
};

/// What is written once, before the first batch: who this checkpoint belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Genesis {
    /// The history's name.
    pub lineage: Lineage,
    /// By what it was begun.
    pub begun: Begun,
    /// Histories it replaced, oldest first.
    pub superseded: Vec<Superseded>,
    /// The newest batch there was when this history began: none, unless it goes on from a rollback.
    pub began_after: Option<BatchId>,
    /// The pipeline's name.
    pub pipeline: String,
    /// The spec as the user wrote it.
    pub spec_text: String,
    /// The fields whose change would mix old and new meaning (`Pipeline::identity`).
    pub identity: Vec<(String, String)>,
    /// Kafka's cluster id, where the cluster tells it.
    pub cluster_id: Option<String>,
    /// Kafka's topic id, where the cluster tells it.
    pub topic_id: Option<String>,
    /// The first batch that reads this topic, where batches before read one of its name that was
    /// deleted: their leader epochs are of another log.
    pub topic_since: Option<BatchId>,
    /// Where every partition starts.
    pub starting: BTreeMap<Partition, Position>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
}

impl Genesis {
    /// Whether `last` is the newest batch that can be durable before this history has announced one.
    #[must_use]
    pub fn has_just_begun(&self, last: Option<BatchId>) -> bool {
        let first = self.began_after.map_or(BatchId(0), BatchId::next);
        last.is_none_or(|last| last <= first)
    }

    /// Whether `last`, the newest batch, is of the history that this one replaced, and none is of this one.
    #[must_use]
    pub fn has_no_batch_of_its_own(&self, last: Option<BatchId>) -> bool {
        last == self.began_after
    }

    /// Whether `last`, the newest batch, was read from a topic of the name that was deleted since.
    #[must_use]
    pub fn has_left_log_of(&self, last: Option<BatchId>) -> bool {
        last < self.topic_since
    }
}

/// Names one published batch to the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The history.
    pub lineage: Lineage,
    /// The start that publishes it.
    pub incarnation: Incarnation,
    /// Its number.
    pub batch: BatchId,
    /// Its link in the chain.
    pub digest: Digest,
}

/// What the outside may see of a batch once it is durable and announced.
///
/// Rows that are not state and dead letters can be more than memory holds. What went ahead of the
/// batch (see [`WrittenAhead`]) is not here, and once the batch is durable none of them is: they are
/// read back from the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Its name.
    pub identity: Identity,
    /// What it read and counted.
    pub record: BatchRecord,
    /// Its results, in canonical order; of rows that are not state, those that did not go ahead.
    pub rows: Rows,
    /// Late and malformed records, of each partition in their order, that did not go ahead; kept only for
    /// a dead-letter sink.
    pub dead_letters: Arc<[DeadLetter]>,
}

/// A full piece of an open batch's output, at most one MiB unless a single row or letter is larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputChunk {
    /// Encoded rows, as [`Rows::chunks`] has them.
    Rows(Vec<u8>),
    /// Dead letters.
    DeadLetters(Vec<DeadLetter>),
}

/// Which stored chunks belong to a batch: as many, and with exactly these checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// How many there are, numbered from 0.
    pub count: u32,
    /// Sum of their checksums.
    pub seal: u64,
}

/// All rows of a place, written anew ahead of a batch, as they are behind it: in place of what is stored of the
/// place and of what the batch changes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholePlace {
    /// Where the rows are kept.
    pub place: Place,
    /// The chunks they are in.
    pub chunks: Chunks,
    /// How many bytes these have.
    pub bytes: u64,
}

/// What of an open batch was written ahead of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenAhead {
    /// The first chunks of its rows.
    pub rows: Chunks,
    /// The first chunks of its dead letters.
    pub dead_letters: Chunks,
    /// Places whose rows were written anew.
    pub places: Vec<WholePlace>,
}

/// A record that was not, or not wholly, used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it is.
    pub partition: Partition,
    /// Where it is.
    pub offset: Offset,
    /// Why.
    pub reason: DeadLetterReason,
    /// The schema's column, where the reason has one.
    pub column: Option<String>,
    /// The record's value, if it has one.
    pub payload: Option<Payload>,
}

/// The value of a record that became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Valid UTF-8 of at most [`DeadLetter::MAX_PAYLOAD`] bytes.
    Text(String),
    /// So many bytes that were left in the topic, because they are more or no UTF-8.
    Omitted(u64),
}

impl DeadLetter {
    /// Longer payloads are left in the topic; the coordinates find them.
    pub const MAX_PAYLOAD: usize = 1 << 20;

    /// About how many bytes it takes, in memory and stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let payload = match &self.payload {
            Some(Payload::Text(text)) => text.len(),
            Some(Payload::Omitted(_)) | None => 0,
        };
        size_of::<DeadLetter>() + self.column.as_ref().map_or(0, String::len) + payload
    }
}

/// Why a record is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// Its window had closed.
    Late,
    /// It has a fault.
    Fault(FaultReason),
}

impl DeadLetterReason {
    /// The name in dead-letter files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DeadLetterReason::Late => "late",
            DeadLetterReason::Fault(reason) => reason.name(),
        }
    }
}

/// One batch, ready to be made durable: written whole or not at all.
#[derive(Debug)]
pub struct Plan {
    /// What it changes of the state, by place, ascending.
    pub changes: Vec<Changes>,
    /// What it adds to the log of changes, where the state is one.
    pub log: Option<LogWrite>,
    /// Whether the rows can be computed again from stored state, and were few enough to be in memory; if not,
    /// they are stored.
    pub rows_are_state: bool,
    /// What of its output is in the checkpoint already and counts from now on.
    pub ahead: WrittenAhead,
    /// What is published once this is durable and announced.
    pub publication: Publication,
}
