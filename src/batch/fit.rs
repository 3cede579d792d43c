//! How many records a batch may have, where what it holds while it is read is to keep to a number of bytes.
//!
//! How large records are, and what is held of each, only shows when they are read. So a batch that turns out too
//! large is dropped and cut anew, smaller: its ends still come from [`cut`](super::cut) alone, and every partition
//! goes on in step with the others, as event time needs it. What was learned holds for the batches behind it.
//!
//! Not here: what a batch holds ([`OpenBatch::memory_bytes`](super::OpenBatch::memory_bytes)).

/// What is known of the batches of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    bytes: usize,
    /// The most records of a batch, once one was too large.
    records: Option<u64>,
}

impl Fit {
    /// Batches may hold so many bytes, and nothing is known yet.
    #[must_use]
    pub fn new(bytes: usize) -> Fit {
        Fit { bytes, records: None }
    }

    /// The most records of the next batch, where `asked` are asked for.
    #[must_use]
    pub fn limit(&self, asked: Option<u64>) -> Option<u64> {
        asked.into_iter().chain(self.records).min()
    }

    /// Whether a batch that holds so many bytes is to be dropped. One that was cut as small as it can be is not.
    #[must_use]
    pub fn is_too_large(&self, held: usize) -> bool {
        held > self.bytes && self.records != Some(1)
    }

    /// A batch was dropped that held so many bytes of so many records: the next one is to hold half of what it
    /// may. How many records it may have.
    pub fn dropped(&mut self, held: usize, records: u64) -> u64 {
        let of_half = share(records, self.bytes, held) / 2;
        let smaller = self.records.map_or(of_half, |before| of_half.min(before / 2)).max(1);
        self.records = Some(smaller);
        smaller
    }

    /// A batch was read that held so many bytes of so many records. Where it has as many as it may and is far from
    /// too large, the next one may have twice as many.
    pub fn took(&mut self, held: usize, records: u64) {
        let Some(most) = self.records else { return };
        if records >= most / 2 && held < self.bytes / 3 {
            self.records = Some(most.saturating_mul(2));
        }
    }
}

/// The part of `records` that `bytes` are of `held`.
fn share(records: u64, bytes: usize, held: usize) -> u64 {
    let part = u128::from(records) * bytes as u128 / (held as u128).max(1);
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run makes of records of so many bytes each, of which so many are asked for.
    fn settled(fit: &mut Fit, asked: u64, bytes: usize) -> (u64, u32) {
        let (mut batches, mut dropped) = (0, 0);
        loop {
            let limit = fit.limit(Some(asked)).expect("there is a limit");
            let held = bytes * usize::try_from(limit).unwrap();
            if fit.is_too_large(held) {
                fit.dropped(held, limit);
                dropped += 1;
                continue;
            }
            let before = *fit;
            fit.took(held, limit);
            batches += 1;
            if *fit == before || batches > 100 {
                return (limit, dropped);
            }
        }
    }

    #[test]
    fn a_batch_that_was_too_large_is_cut_once_and_those_behind_it_fit() {
        let mut fit = Fit::new(1000);
        assert_eq!(fit.limit(None), None);
        assert_eq!(settled(&mut fit, 1_000_000, 10), (50, 1), "half of what fits");
        assert_eq!(settled(&mut fit, 1_000_000, 10), (50, 0), "it goes on so");
        assert_eq!(settled(&mut fit, 20, 10), (20, 0), "what is asked for counts where it is less");
    }

    #[test]
    fn what_was_learned_of_large_records_is_forgotten_behind_small_ones() {
        let mut fit = Fit::new(1000);
        assert_eq!(settled(&mut fit, 500, 100), (5, 1));
        assert_eq!(settled(&mut fit, 500, 1), (500, 0), "it grows to what is asked for");
        assert_eq!(settled(&mut fit, 5000, 1), (640, 0), "and as long as little is held");
    }

    #[test]
    fn one_record_that_is_too_large_for_a_batch_is_taken_all_the_same() {
        let mut fit = Fit::new(10);
        let (limit, dropped) = settled(&mut fit, 1_000_000, 11);
        assert_eq!(limit, 1);
        assert!(dropped <= 20, "{dropped}");
        assert!(!Fit { bytes: 0, records: Some(1) }.is_too_large(1));
    }

    #[test]
    fn a_batch_that_held_much_before_it_read_anything_ends_the_same() {
        let mut fit = Fit::new(10);
        while fit.is_too_large(11) {
            fit.dropped(11, 0);
        }
        assert_eq!(fit.limit(None), Some(1));
    }
}
