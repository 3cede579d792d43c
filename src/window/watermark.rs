//! The two watermarks of a batch, and how the next one is found.
//!
//! Batch n drops rows of windows that end at or before W(n−1) and closes windows that end at or
//! before W(n) (Spark since 3.4, SPARK-40925 and SPARK-42376).

use crate::types::{Timestamp, Watermark};

/// The watermarks a batch works under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// W(n−1): windows that end at or before it take no more rows.
    pub late_bound: Watermark,
    /// W(n): windows that end at or before it close.
    pub closing_bound: Watermark,
}

impl Watermarks {
    /// Those of the first batch: W(0) = 0 is a real watermark.
    pub const FIRST: Watermarks =
        Watermarks { late_bound: Watermark::ZERO, closing_bound: Watermark::ZERO };

    /// Those of the batch after this one, which saw `newest` (late rows included).
    ///
    /// W(n+1) = max(W(n), floor(newest in ms) − delay); a batch that saw nothing moves nothing.
    #[must_use]
    pub fn next(self, newest: NewestTime, delay_ms: Option<i64>) -> Watermarks {
        let candidate = match (newest.0, delay_ms) {
            (Some(newest), Some(delay_ms)) => newest.floor_ms().saturating_sub(delay_ms),
            _ => 0,
        };
        Watermarks {
            late_bound: self.closing_bound,
            closing_bound: self.closing_bound.max(Watermark(candidate)),
        }
    }

    /// Whether a batch without data would have something to do: the watermark moved.
    #[must_use]
    pub fn moved(self) -> bool {
        self.closing_bound > self.late_bound
    }
}

/// The newest event time seen, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewestTime(pub Option<Timestamp>);

impl NewestTime {
    /// Takes one more event time into account.
    pub fn observe(&mut self, time: Timestamp) {
        self.0 = self.0.max(Some(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: i64) -> Timestamp {
        Timestamp(value * 1_000_000)
    }

    fn after(watermarks: Watermarks, newest: Option<i64>) -> (i64, i64) {
        let next = watermarks.next(NewestTime(newest.map(seconds)), Some(30_000));
        (next.late_bound.0, next.closing_bound.0)
    }

    #[test]
    fn the_worked_timeline_of_spark_holds() {
        let batch = |late, closing| Watermarks {
            late_bound: Watermark(late),
            closing_bound: Watermark(closing),
        };
        assert_eq!(after(Watermarks::FIRST, Some(100)), (0, 70_000));
        assert_eq!(after(batch(0, 70_000), Some(50)), (70_000, 70_000));
        assert_eq!(after(batch(70_000, 70_000), Some(130)), (70_000, 100_000));
        assert_eq!(after(batch(70_000, 100_000), None), (100_000, 100_000));
    }

    #[test]
    fn it_never_falls_below_zero_nor_back() {
        assert_eq!(after(Watermarks::FIRST, Some(10)), (0, 0));
        assert_eq!(after(Watermarks::FIRST, Some(-100)), (0, 0));
        let far = Watermarks::FIRST.next(NewestTime(Some(Timestamp(i64::MIN))), Some(i64::MAX));
        assert_eq!(far, Watermarks::FIRST);
    }

    #[test]
    fn microseconds_are_cut_to_whole_milliseconds() {
        let next = Watermarks::FIRST.next(NewestTime(Some(Timestamp(59_999_999))), Some(30_000));
        assert_eq!(next.closing_bound, Watermark(29_999));
    }
}
