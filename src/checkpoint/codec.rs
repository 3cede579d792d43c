//! The bytes on disk: which families there are, how keys order them, what each value looks like.
//!
//! | family | key | value |
//! |---|---|---|
//! | `meta` | `genesis` | who the checkpoint belongs to |
//! | `meta` | `head` | newest batch, its digest, how many window chunks there are and their seal |
//! | `meta` | `incarnation` | number of starts |
//! | `meta` | `mark/` sink name | newest batch the sink has published |
//! | `meta` | `rollback_accepted` | a permission for the next start |
//! | `offsets` | partition | batch, next offset, leader epoch |
//! | `windows` | 1, closing instant, batch, chunk | rows of the groups a batch touched |
//! | `windows` | 3, closing instant, batch, chunk | keys a batch saw first (deduplication) |
//! | `windows` | 2, closing instant, start, group key | one row (read by no version yet, reserved) |
//! | `order` | 1, batch, chunk | changes of state in their order, where that decides the rows' |
//! | `outbox` | 1, batch | what the batch publishes, how many chunks hold it and their seals |
//! | `outbox` | 2, batch, chunk | result rows, where they are not state |
//! | `outbox` | 3, batch, chunk | dead letters |
//! | `history` | batch | the batch's record, one link of the chain |
//!
//! Numbers in keys are big-endian, signed ones with the sign bit flipped, so that bytes sort as
//! numbers do; closing a window is one range delete. A value is `format`, `shape`, payload, CRC-32C;
//! the checksum covers family and key too, so that a value under a wrong key is noticed. Rows of state
//! are in a form of their own (`chunk`), where most bytes are; all other payloads are bincode 2 in its
//! standard configuration. The shapes are this room's own, never the core's types, and their bytes are
//! pinned by fixtures: the format outlives the library.
//!
//! Invariants: decoding never panics, reads no value whose checksum does not fit, and allocates no
//! more than a bound; encoding then decoding is the identity.
//!
//! Not here: what belongs together (`ledger`), where bytes are kept (`rocks`, `memory`).

mod chunk;
mod envelope;
mod log;
mod shapes;
mod varint;

pub(in crate::checkpoint) use chunk::{
    Chunk, ChunkReader, ChunkWriter, Row, TotalsReader, encode_totals, row_key_prefix,
};
pub(in crate::checkpoint) use log::{LogKey, decode_log, encode_log, open_log};
pub(in crate::checkpoint) use shapes::*;

/// What every value begins with. A value of a later format is refused, never guessed at.
pub(in crate::checkpoint) const FORMAT: u8 = 1;

/// A kind of thing that is kept; RocksDB calls it a column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Who the checkpoint belongs to and where it stands.
    Meta,
    /// Where each partition is read next.
    Offsets,
    /// Rows of state: groups of open windows, keys that were seen.
    Windows,
    /// Changes of state in their order, where the order of rows depends on it.
    Order,
    /// What the newest batch publishes.
    Outbox,
    /// Every batch's record.
    History,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 6] = [
        Family::Meta,
        Family::Offsets,
        Family::Windows,
        Family::Order,
        Family::Outbox,
        Family::History,
    ];

    /// Its name on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Offsets => "offsets",
            Family::Windows => "windows",
            Family::Order => "order",
            Family::Outbox => "outbox",
            Family::History => "history",
        }
    }
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Entry {
    /// Where it is kept.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value, sealed.
    pub value: Vec<u8>,
}

/// Bytes that are not what this version writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Fewer bytes than any value has.
    #[error("the value is too short")]
    Short,
    /// The checksum does not fit.
    #[error("the checksum does not fit the value")]
    Checksum,
    /// Another version wrote it.
    #[error(
        "it is in format {found}, and this version reads format {FORMAT}; use the newer version"
    )]
    Format {
        /// The format found.
        found: u8,
    },
    /// A value of another shape than its key says.
    #[error("the value has shape {found}, not {expected}")]
    Shape {
        /// What it has.
        found: u8,
        /// What its key asks for.
        expected: u8,
    },
    /// A payload that cannot be.
    #[error("the value cannot be read: {0}")]
    Content(String),
    /// A key of no known form.
    #[error("the key has no known form")]
    Key,
}

impl CodecError {
    /// Whether a newer version could read it, so that it is no damage.
    #[must_use]
    pub fn is_newer_format(&self) -> bool {
        matches!(self, CodecError::Format { .. })
    }
}

/// Reads bytes as a value of every family: a length, as many bytes of key, and a value, once as it is and
/// once with the checksum that it would need.
#[cfg(any(test, fuzzing))]
pub(in crate::checkpoint) fn read_any(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (key, content) = rest.split_at(usize::from(*length).min(rest.len()));
    for family in Family::ALL {
        let _ = check_value(family, key, content);
        let _ = check_value(family, key, &envelope::with_checksum(family, key, content));
    }
}

#[cfg(test)]
mod tests;
