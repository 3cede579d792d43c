//! Which triggers become batches, and when the next trigger is due.

use crate::{
    batch::Head,
    spec::{OutputMode, Pipeline, Query},
};

/// What a trigger has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// There is new data, or it is the first batch of all, which always runs.
    Data,
    /// There is no data, but the watermark moved, so that windows may close.
    NoData,
    /// Nothing.
    Nothing,
}

/// Decides from the head of the job, its pipeline and whether there is new data.
///
/// A batch without data runs after the watermark moved, where that can close or forget something:
/// with a deduplication in every mode, with an aggregation alone in append and update mode (Spark's
/// `noDataMicroBatches`, whose rules these are, groups of keys alone and keys that are never
/// forgotten included). Unlike Spark's, ours is due after a restart too; in a compatibility mode it
/// is not, until a batch ran in this process.
#[must_use]
pub fn due(head: &Head, pipeline: &Pipeline, new_data: bool) -> Due {
    let aggregates = matches!(pipeline.query, Query::Aggregation(_));
    let waits = pipeline.semantics.compat.is_some() && !head.has_run;
    let may_close = pipeline.deduplication.is_some()
        || aggregates && pipeline.output_mode != OutputMode::Complete;
    if new_data || head.digest_of_last().is_none() {
        Due::Data
    } else if pipeline.semantics.no_data_batches && may_close && !waits && head.watermarks.moved() {
        Due::NoData
    } else {
        Due::Nothing
    }
}

/// Whether a trigger waits for more data: Spark's `minOffsetsPerTrigger` with `maxTriggerDelay`
/// (`KafkaMicroBatchStream.delayBatch`). Counts from the last batch that was not held back; the first
/// of a run never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldBack {
    let_through_ms: Option<i64>,
}

impl HoldBack {
    /// Decides for `waiting` records at `now_ms`, and remembers a batch that is let through.
    pub fn holds(&mut self, now_ms: i64, waiting: u64, least: u64, longest_ms: u64) -> bool {
        let longest_ms = i64::try_from(longest_ms).unwrap_or(i64::MAX);
        let is_over =
            self.let_through_ms.is_none_or(|last_ms| now_ms.saturating_sub(last_ms) >= longest_ms);
        if !is_over && waiting < least {
            return true;
        }
        self.let_through_ms = Some(now_ms);
        false
    }
}

/// When the trigger after the one at `now_ms` fires: the next multiple of the interval since 1970,
/// as Spark's `ProcessingTimeExecutor` has it.
#[must_use]
pub fn next_tick(now_ms: i64, interval_ms: i64) -> i64 {
    if interval_ms <= 0 {
        return now_ms;
    }
    now_ms.div_euclid(interval_ms) * interval_ms + interval_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_held_back_until_it_is_large_enough_or_the_delay_is_over() {
        let mut hold = HoldBack::default();
        assert!(!hold.holds(0, 0, 10, 1000), "the first of a run is let through");
        assert!(hold.holds(999, 9, 10, 1000));
        assert!(!hold.holds(999, 10, 10, 1000));
        assert!(hold.holds(1998, 9, 10, 1000));
        assert!(!hold.holds(1999, 0, 10, 1000));
    }

    #[test]
    fn ticks_are_aligned_to_the_clock() {
        assert_eq!(next_tick(42_436, 10_000), 50_000);
        assert_eq!(next_tick(50_000, 10_000), 60_000);
        assert_eq!(next_tick(42_436, 0), 42_436);
    }
}
