//! Least, greatest and average event time of a batch, as Spark's progress has them.

use super::{Partition, Timestamp};

/// Event times of a batch in whole milliseconds; a record without one counts as 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimes {
    /// The least.
    pub min_ms: i64,
    /// Their average, cut to whole milliseconds.
    pub average_ms: i64,
    /// The greatest.
    pub max_ms: i64,
}

/// Event times being gathered (Spark's `EventTimeStats`): those of one partition, or of several in
/// the order they are merged, which decides the average's last digits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EventTimeStats {
    min_ms: i64,
    max_ms: i64,
    average_ms: f64,
    count: u64,
}

impl EventTimeStats {
    /// Takes one more into account.
    #[inline]
    pub fn observe(&mut self, time: Option<Timestamp>) {
        let time_ms = time.map_or(0, Timestamp::floor_ms);
        let first = self.count == 0;
        self.min_ms = if first { time_ms } else { self.min_ms.min(time_ms) };
        self.max_ms = if first { time_ms } else { self.max_ms.max(time_ms) };
        self.count += 1;
        self.average_ms += (time_ms as f64 - self.average_ms) / self.count as f64;
    }

    /// Takes those of another partition into account.
    pub fn merge(&mut self, other: &EventTimeStats) {
        if self.count == 0 {
            *self = *other;
        } else if other.count > 0 {
            self.min_ms = self.min_ms.min(other.min_ms);
            self.max_ms = self.max_ms.max(other.max_ms);
            self.count += other.count;
            let distance = other.average_ms - self.average_ms;
            self.average_ms += distance * other.count as f64 / self.count as f64;
        }
    }

    /// What there is to say; `None` if there was no record.
    #[must_use]
    pub fn times(&self) -> Option<EventTimes> {
        let EventTimeStats { min_ms, max_ms, average_ms, count } = *self;
        // Toward zero, as Java's `toLong`.
        (count > 0).then_some(EventTimes { min_ms, average_ms: average_ms as i64, max_ms })
    }
}

/// Event times being gathered of all partitions at once, each for itself.
#[derive(Clone, Debug, Default)]
pub struct PartitionTimes {
    partitions: Vec<(Partition, EventTimeStats)>,
    /// Index of the partition last observed: records come from one partition for a while.
    recent: usize,
}

impl PartitionTimes {
    /// Takes one more record of a partition into account.
    #[inline]
    pub fn observe(&mut self, partition: Partition, time: Option<Timestamp>) {
        match self.partitions.get_mut(self.recent) {
            Some((recent, stats)) if *recent == partition => stats.observe(time),
            _ => self.stats_of(partition).observe(time),
        }
    }

    /// Those of one partition.
    #[must_use]
    pub fn of(&self, partition: Partition) -> EventTimeStats {
        let found = self.partitions.iter().find(|(known, _)| *known == partition);
        found.map_or_else(EventTimeStats::default, |(_, stats)| *stats)
    }

    /// Takes those of other partitions into account, or of some of their records.
    pub fn merge(&mut self, other: &PartitionTimes) {
        for (partition, stats) in &other.partitions {
            self.stats_of(*partition).merge(stats);
        }
    }

    fn stats_of(&mut self, partition: Partition) -> &mut EventTimeStats {
        let found = self.partitions.iter().position(|(known, _)| *known == partition);
        self.recent = found.unwrap_or(self.partitions.len());
        if found.is_none() {
            self.partitions.push((partition, EventTimeStats::default()));
        }
        &mut self.partitions[self.recent].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_a_time_counts_as_1970() {
        let mut stats = EventTimeStats::default();
        assert_eq!(stats.times(), None);
        stats.observe(Some(Timestamp(-3_000)));
        stats.observe(None);
        let expected = EventTimes { min_ms: -3, average_ms: -1, max_ms: 0 };
        assert_eq!(stats.times(), Some(expected));
    }

    #[test]
    fn partitions_that_take_turns_are_kept_apart() {
        let mut times = PartitionTimes::default();
        let records = [(2, 10), (0, 1), (2, 30), (0, 2), (0, 3)];
        for (partition, time_ms) in records {
            times.observe(Partition(partition), Some(Timestamp(time_ms * 1000)));
        }
        let of = |partition| times.of(Partition(partition)).times();
        assert_eq!(of(0), Some(EventTimes { min_ms: 1, average_ms: 2, max_ms: 3 }));
        assert_eq!(of(1), None);
        assert_eq!(of(2), Some(EventTimes { min_ms: 10, average_ms: 20, max_ms: 30 }));
    }

    #[test]
    fn partitions_are_weighed_by_their_records() {
        let of = |times: &[i64]| {
            let mut stats = EventTimeStats::default();
            times.iter().for_each(|time| stats.observe(Some(Timestamp(time * 1000))));
            stats
        };
        let mut stats = EventTimeStats::default();
        stats.merge(&of(&[]));
        stats.merge(&of(&[10, 20, 30]));
        stats.merge(&of(&[100]));
        let expected = EventTimes { min_ms: 10, average_ms: 40, max_ms: 100 };
        assert_eq!(stats.times(), Some(expected));
    }
}
