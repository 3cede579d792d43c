//! Least, greatest and average event time of a batch, as Spark's progress has them.

use crate::types::Timestamp;

/// Event times of a batch in whole milliseconds (Spark's `EventTimeStats`). A NULL counts as 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventTimes {
    /// The least.
    pub min_ms: i64,
    /// The greatest.
    pub max_ms: i64,
    /// The running average, in the order the records came.
    pub average_ms: f64,
    /// How many there are.
    pub count: u64,
}

impl EventTimes {
    /// Takes one more into account.
    pub(super) fn observe(times: &mut Option<EventTimes>, time: Option<Timestamp>) {
        let time_ms = time.map_or(0, Timestamp::floor_ms);
        let times = times.get_or_insert(EventTimes {
            min_ms: time_ms,
            max_ms: time_ms,
            average_ms: 0.0,
            count: 0,
        });
        times.min_ms = times.min_ms.min(time_ms);
        times.max_ms = times.max_ms.max(time_ms);
        times.count += 1;
        times.average_ms += (time_ms as f64 - times.average_ms) / times.count as f64;
    }

    /// Takes those of another task into account.
    pub(super) fn merge(self, other: EventTimes) -> EventTimes {
        let count = self.count + other.count;
        EventTimes {
            min_ms: self.min_ms.min(other.min_ms),
            max_ms: self.max_ms.max(other.max_ms),
            average_ms: self.average_ms
                + (other.average_ms - self.average_ms) * other.count as f64 / count as f64,
            count,
        }
    }
}
