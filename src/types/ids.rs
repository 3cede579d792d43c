//! Identifiers and points in time, each its own type so that no two can be mistaken for each other.

use std::fmt;

/// A partition of the source topic, numbered from 0 as Kafka numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

/// The *next* record to read: a position between records, never "the last one read".
///
/// The same contract holds wherever an offset appears: in a checkpoint, in a batch's range
/// (`begin` is its first record, `end` the first record of the next batch) and in Kafka's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

/// Kafka's leader epoch of the record directly before an offset (KIP-320); `UNKNOWN` is -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// No epoch is known for the position: Kafka then skips its truncation check.
    pub const UNKNOWN: LeaderEpoch = LeaderEpoch(-1);
}

/// Where a partition is read next, with the epoch that lets the broker detect a truncated log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Next record to read.
    pub offset: Offset,
    /// Epoch of the record directly before `offset`, or [`LeaderEpoch::UNKNOWN`].
    pub epoch: LeaderEpoch,
}

/// Number of a batch, counted from 0 for the life of a checkpoint directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

impl BatchId {
    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> BatchId {
        BatchId(self.0 + 1)
    }
}

/// Names one history of checkpoints: random, 128 bits. A start-over or an accepted rollback begins
/// a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lineage(pub u128);

/// Names a sink within a pipeline, as the user wrote it: `console`, `files:/data/out`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkName(pub String);

/// Counts the starts on one checkpoint directory, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// The link of one batch in the chain of digests (BLAKE3, 256 bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What the first batch of a lineage names as its predecessor.
    pub const ZERO: Digest = Digest([0; 32]);
}

/// Microseconds since 1970-01-01T00:00:00Z, as Spark's TIMESTAMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The whole milliseconds at or before this instant (floor, also before 1970).
    #[must_use]
    pub fn floor_ms(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// A watermark in whole milliseconds since 1970, never below 0 (Spark's `batchWatermarkMs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub i64);

impl Watermark {
    /// The watermark of a query that has seen nothing.
    pub const ZERO: Watermark = Watermark(0);

    /// Whether a window ending at `end` is closed under this watermark: `end <= watermark`.
    #[must_use]
    pub fn closes(self, end: Timestamp) -> bool {
        i128::from(end.0) <= i128::from(self.0) * 1000
    }
}

macro_rules! shown_as_its_content {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
shown_as_its_content!(Partition, Offset, BatchId, Incarnation, SinkName);

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for Lineage {
    type Err = std::num::ParseIntError;

    /// Reads the 32 hexadecimal digits that `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Lineage)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = String;

    /// Reads the 64 hexadecimal digits that `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("a digest has 64 hexadecimal digits, not {text:?}"));
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16)
                .map_err(|error| error.to_string())?;
        }
        Ok(Digest(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_when_the_watermark_reaches_its_end() {
        assert!(Watermark(30_000).closes(Timestamp(30_000_000)));
        assert!(!Watermark(29_999).closes(Timestamp(30_000_000)));
        assert!(Watermark::ZERO.closes(Timestamp(0)), "W(0) = 0 is a real watermark");
        assert!(!Watermark(i64::MAX / 1000).closes(Timestamp(i64::MAX)));
    }

    #[test]
    fn digests_and_lineages_read_back_what_they_print() {
        let digest = Digest(std::array::from_fn(|index| u8::try_from(index * 7).unwrap()));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("zz".parse::<Digest>().is_err());
        assert_eq!(Lineage(42).to_string().parse(), Ok(Lineage(42)));
    }

    #[test]
    fn milliseconds_are_floored_before_1970_too() {
        assert_eq!(Timestamp(-1).floor_ms(), -1);
        assert_eq!(Timestamp(1999).floor_ms(), 1);
    }
}
