//! Where a batch ends: fixed from positions, ends seen and the limit alone.

use std::collections::BTreeMap;

use crate::types::{Offset, Partition, Position};

/// What a partition holds that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First record that is still there.
    pub earliest: Offset,
    /// End of what may be read (the last stable offset).
    pub latest: Offset,
}

/// The end offset of every partition for a batch of at most `limit` records.
///
/// Spark's rule for `maxOffsetsPerTrigger`: the limit is shared in proportion to what each partition
/// has waiting; a share below one record becomes one, others are cut to whole records, so that small
/// partitions are never starved (`KafkaMicroBatchStream.rateLimit`). A partition whose end lies
/// before its position keeps its position.
#[must_use]
pub fn cut(
    positions: &BTreeMap<Partition, Position>,
    latest: &BTreeMap<Partition, Offset>,
    limit: Option<u64>,
) -> BTreeMap<Partition, Offset> {
    let waiting = |partition: &Partition, position: &Position| {
        let end = latest.get(partition).copied().unwrap_or(position.offset);
        u64::try_from(end.0.saturating_sub(position.offset.0)).unwrap_or(0)
    };
    let total: u64 = positions.iter().map(|(partition, at)| waiting(partition, at)).sum();
    let share = |size: u64| match limit {
        Some(limit) if total > limit => {
            let prorated = limit as f64 * (size as f64 / total as f64);
            let whole = if prorated < 1.0 { prorated.ceil() } else { prorated.floor() };
            // At most `size`, which is an offset difference, so the conversion is exact enough.
            (whole as u64).min(size)
        }
        _ => size,
    };
    positions
        .iter()
        .map(|(partition, at)| {
            let size = share(waiting(partition, at));
            let size = i64::try_from(size).expect("an offset difference fits an offset");
            (*partition, Offset(at.offset.0 + size))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderEpoch;

    fn check(begins: [i64; 3], latest: [i64; 3], limit: Option<u64>, expected: [i64; 3]) {
        let positions = partitions(begins).map(|(partition, offset)| {
            (partition, Position { offset, epoch: LeaderEpoch::UNKNOWN })
        });
        let ends = cut(&positions.collect(), &partitions(latest).collect(), limit);
        assert_eq!(ends, partitions(expected).collect());
    }

    fn partitions(offsets: [i64; 3]) -> impl Iterator<Item = (Partition, Offset)> {
        (0..).map(Partition).zip(offsets.map(Offset))
    }

    #[test]
    fn the_limit_is_shared_as_spark_does() {
        check([0; 3], [7, 5, 3], Some(1), [1, 1, 1]);
        check([0; 3], [7, 5, 3], Some(4), [1, 1, 1]);
        check([1; 3], [7, 5, 3], Some(4), [3, 2, 2].map(|end| end));
        check([0; 3], [100, 10, 1], Some(50), [45, 4, 1]);
    }

    #[test]
    fn without_a_limit_or_below_it_everything_is_taken() {
        check([2, 5, 0], [7, 5, 3], None, [7, 5, 3]);
        check([2, 5, 0], [7, 5, 3], Some(8), [7, 5, 3]);
    }

    #[test]
    fn an_end_before_the_position_moves_nothing() {
        check([5, 5, 5], [3, 5, 6], None, [5, 5, 6]);
    }
}
