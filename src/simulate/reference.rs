//! What windows must give, computed again in the plainest way there is: maps, one record after the
//! other, nothing shared with the engine under trial.
//!
//! It knows tumbling and hopping windows by store, in append, update and complete mode, with counts, a
//! sum, a minimum and a maximum. Input is what a batch read; the boundaries of batches are given.
//!
//! Not here: other pipelines (`book` compares those with an undisturbed run of the job).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::spec::OutputMode;

/// The windows of a pipeline; everything in seconds but the delay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) length: i64,
    pub(super) slide: i64,
    pub(super) start: i64,
    pub(super) delay_ms: i64,
    pub(super) mode: OutputMode,
}

/// What has been added up of one window and store; prices are in quarters of the unit.
#[derive(Clone, Debug, Default)]
struct Sum {
    records: u64,
    priced: u64,
    quarters: i64,
    low: Option<i64>,
    high: Option<i64>,
}

/// The state of all windows, and what one batch gave.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    windows: Windows,
    /// By start of the window in seconds, and store.
    open: BTreeMap<(i64, Option<String>), Sum>,
    late_bound_ms: i64,
    closing_bound_ms: i64,
}

/// What a batch gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Its rows as texts, sorted.
    pub(super) rows: Vec<String>,
    pub(super) late: u64,
    /// The watermarks of the batch after it.
    pub(super) late_bound_ms: i64,
    pub(super) closing_bound_ms: i64,
}

/// A record's fields that matter here.
struct Sale {
    store: Option<String>,
    quarters: Option<i64>,
    time: i64,
}

impl Reference {
    pub(super) fn new(windows: Windows) -> Reference {
        Reference { windows, open: BTreeMap::new(), late_bound_ms: 0, closing_bound_ms: 0 }
    }

    /// How many groups are stored between batches.
    pub(super) fn groups(&self) -> usize {
        self.open.len()
    }

    /// Takes a batch.
    pub(super) fn batch<'a>(&mut self, records: impl Iterator<Item = Option<&'a [u8]>>) -> Given {
        let mut given = Given::default();
        let mut touched = BTreeSet::new();
        let mut newest = None;
        for sale in records.filter_map(sale) {
            newest = newest.max(Some(sale.time));
            let mut is_late = false;
            for start in self.starts(sale.time) {
                // Complete mode keeps every window, so that nothing comes too late for it.
                let closes = self.windows.mode != OutputMode::Complete;
                if closes && (start + self.windows.length) * 1000 <= self.late_bound_ms {
                    is_late = true;
                    continue;
                }
                let group = (start, sale.store.clone());
                self.open.entry(group.clone()).or_default().add(sale.quarters);
                touched.insert(group);
            }
            given.late += u64::from(is_late);
        }
        let ends_by = |start: i64, bound: i64| (start + self.windows.length) * 1000 <= bound;
        let bound = self.closing_bound_ms;
        for (group, sum) in &self.open {
            let is_shown = match self.windows.mode {
                OutputMode::Append => ends_by(group.0, bound),
                OutputMode::Update => touched.contains(group),
                OutputMode::Complete => true,
            };
            if is_shown {
                given.rows.push(self.row(group, sum));
            }
        }
        if self.windows.mode != OutputMode::Complete {
            let length = self.windows.length;
            self.open.retain(|(start, _), _| (start + length) * 1000 > bound);
        }
        given.rows.sort();
        self.late_bound_ms = self.closing_bound_ms;
        if let Some(newest) = newest {
            let behind = newest * 1000 - self.windows.delay_ms;
            self.closing_bound_ms = self.closing_bound_ms.max(behind);
        }
        (given.late_bound_ms, given.closing_bound_ms) = (self.late_bound_ms, self.closing_bound_ms);
        given
    }

    /// The starts of every window that holds a time.
    fn starts(&self, time: i64) -> Vec<i64> {
        let Windows { length, slide, start, .. } = self.windows;
        let mut at = (time - start).div_euclid(slide) * slide + start;
        let mut starts = Vec::new();
        while at + length > time {
            starts.push(at);
            at -= slide;
        }
        starts
    }

    fn row(&self, (start, store): &(i64, Option<String>), sum: &Sum) -> String {
        let end = start + self.windows.length;
        let store = store.as_deref().unwrap_or("NULL");
        let total =
            if sum.priced == 0 { "NULL".to_owned() } else { (sum.quarters / 4).to_string() };
        let price = |quarters: Option<i64>| {
            quarters.map_or("NULL".to_owned(), |quarters| (quarters as f64 / 4.0).to_string())
        };
        let (low, high) = (price(sum.low), price(sum.high));
        format!("{store}|{}|{}|{total}|{low}|{high}|{start}|{end}", sum.records, sum.priced)
    }
}

impl Sum {
    fn add(&mut self, quarters: Option<i64>) {
        self.records += 1;
        let Some(quarters) = quarters else { return };
        self.priced += 1;
        self.quarters += quarters;
        self.low = Some(self.low.map_or(quarters, |low| low.min(quarters)));
        self.high = Some(self.high.map_or(quarters, |high| high.max(quarters)));
    }
}

/// Reads a record; `None` where it has no event time, so that no window holds it.
fn sale(value: Option<&[u8]>) -> Option<Sale> {
    let Ok(Json::Object(fields)) = serde_json::from_slice(value?) else { return None };
    let time = fields.get("ts")?.as_i64()?;
    let store = fields.get("store").and_then(Json::as_str).map(str::to_owned);
    let price = fields.get("price").and_then(Json::as_f64);
    // Prices of the trial are quarters, so that doubles hold them exactly.
    let quarters = price.map(|price| (price * 4.0) as i64);
    Some(Sale { store, quarters, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(mode: OutputMode, batches: &[&[(i64, f64)]]) -> Vec<Given> {
        let windows = Windows { length: 30, slide: 30, start: 0, delay_ms: 10_000, mode };
        let mut reference = Reference::new(windows);
        let mut given = Vec::new();
        for batch in batches {
            let text = |(time, price): &(i64, f64)| {
                format!(r#"{{"store":"a","price":{price},"ts":{time}}}"#).into_bytes()
            };
            let records: Vec<_> = batch.iter().map(text).collect();
            given.push(reference.batch(records.iter().map(|record| Some(&record[..]))));
        }
        given
    }

    #[test]
    fn a_window_is_given_once_when_the_watermark_has_passed_its_end() {
        let given =
            batches(OutputMode::Append, &[&[(5, 1.5), (7, 2.0)], &[(40, 1.0)], &[], &[(29, 9.0)]]);
        assert_eq!(given[1].rows, Vec::<String>::new(), "W(2) = 30 closes from batch 2 on");
        assert_eq!(given[2].rows, ["a|2|2|3|1.5|2|0|30"]);
        assert_eq!((given[3].late, given[3].rows.len()), (1, 0));
    }

    #[test]
    fn update_gives_what_was_touched_and_complete_gives_all() {
        let input: [&[(i64, f64)]; 2] = [&[(5, 1.0)], &[(35, 1.0)]];
        assert_eq!(batches(OutputMode::Update, &input)[1].rows, ["a|1|1|1|1|1|30|60"]);
        assert_eq!(batches(OutputMode::Complete, &input)[1].rows.len(), 2);
    }
}
