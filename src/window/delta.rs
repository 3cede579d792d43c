//! What one batch adds ([`Delta`]) and everything that is open ([`Windows`]).
//!
//! The two are apart so that a batch can be dropped without a trace until it is planned.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    types::{Event, Timestamp, Watermark},
    window::{Group, Table, WindowPlan, key},
};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in its window's group.
    Counted,
    /// Its window had closed.
    Late,
    /// It has no event time, so it is in no window.
    NoTime,
}

/// The groups one batch touches, with what the batch adds to each.
#[derive(Debug)]
pub struct Delta {
    plan: Arc<WindowPlan>,
    late_bound: Watermark,
    tables: Vec<(Timestamp, Table)>,
    /// Index into `tables` of the window last used: neighbours in a topic share windows.
    recent: usize,
    key: Vec<u8>,
}

impl Delta {
    /// An empty delta of a batch that drops windows ending at or before `late_bound`.
    #[must_use]
    pub fn new(plan: Arc<WindowPlan>, late_bound: Watermark) -> Delta {
        Delta { plan, late_bound, tables: Vec::new(), recent: 0, key: Vec::new() }
    }

    /// Adds an event to the group it belongs to.
    pub fn add(&mut self, event: &Event<'_>) -> Verdict {
        let Some(time) = event.time else { return Verdict::NoTime };
        let (start, end) = window_of(time, self.plan.duration_us);
        if self.plan.closes && self.late_bound.closes(end) {
            return Verdict::Late;
        }
        self.key.clear();
        for &column in &self.plan.key_columns {
            key::encode(event.value(column), &mut self.key);
        }
        let table = self.table(end);
        let (plan, key) = (&self.plan, &self.key);
        let table = &mut self.tables[table].1;
        let group = table.find_or_insert(key, (start, end), plan);
        for (accumulator, planned) in table.accumulators_mut(group).iter_mut().zip(&plan.aggregates)
        {
            let column = planned.aggregate.column;
            accumulator.add(event, column, planned.scale, planned.keep_greater);
        }
        Verdict::Counted
    }

    /// How many groups the batch touched.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.tables.iter().map(|(_, table)| table.len() as u64).sum()
    }

    /// The touched groups by closing instant, ascending.
    #[must_use]
    pub fn into_tables(mut self) -> Vec<(Timestamp, Table)> {
        self.tables.sort_by_key(|(closing, _)| *closing);
        self.tables
    }

    fn table(&mut self, closing: Timestamp) -> usize {
        if self.tables.get(self.recent).is_some_and(|(instant, _)| *instant == closing) {
            return self.recent;
        }
        let found = self.tables.binary_search_by_key(&closing, |(instant, _)| *instant);
        self.recent = found.unwrap_or_else(|place| {
            self.tables.insert(place, (closing, Table::new(self.plan.stride())));
            place
        });
        self.recent
    }
}

/// `[start, end)` of the tumbling window that holds `time`; at the ends of the representable range
/// it is cut off instead of overflowing.
fn window_of(time: Timestamp, duration_us: i64) -> (Timestamp, Timestamp) {
    let start = time.0.saturating_sub(time.0.rem_euclid(duration_us));
    (Timestamp(start), Timestamp(start.saturating_add(duration_us)))
}

/// Every open window with its groups.
#[derive(Clone, Debug)]
pub struct Windows {
    plan: Arc<WindowPlan>,
    open: BTreeMap<Timestamp, Table>,
}

impl Windows {
    /// No window is open.
    #[must_use]
    pub fn new(plan: Arc<WindowPlan>) -> Windows {
        Windows { plan, open: BTreeMap::new() }
    }

    /// What the windows do.
    #[must_use]
    pub fn plan(&self) -> &Arc<WindowPlan> {
        &self.plan
    }

    /// Puts back a group read from a checkpoint, in place of an older one with its key.
    pub fn restore(&mut self, closing: Timestamp, group: Group<'_>) {
        let stride = self.plan.stride();
        self.open.entry(closing).or_insert_with(|| Table::new(stride)).put(group);
    }

    /// Adds a batch's delta; the delta then holds the new totals of the groups it touched.
    pub fn merge(&mut self, delta: &mut Delta) {
        let stride = self.plan.stride();
        for (closing, touched) in &mut delta.tables {
            let table = self.open.entry(*closing).or_insert_with(|| Table::new(stride));
            for index in 0..touched.len() {
                let added = touched.group(index);
                let group = table.find_or_insert(added.key, (added.start, added.end), &self.plan);
                let totals = table.accumulators_mut(group);
                for ((total, more), planned) in
                    totals.iter_mut().zip(added.accumulators).zip(&self.plan.aggregates)
                {
                    total.merge(more, planned.scale, planned.keep_greater);
                }
                touched.accumulators_mut(index).clone_from_slice(totals);
            }
        }
    }

    /// Takes out the windows that close under `watermark`, in the order they end.
    pub fn close(&mut self, watermark: Watermark) -> Vec<(Timestamp, Table)> {
        let mut closed = Vec::new();
        while let Some(entry) = self.open.first_entry()
            && self.plan.closes
            && watermark.closes(*entry.key())
        {
            closed.push(entry.remove_entry());
        }
        closed
    }

    /// The open windows by closing instant.
    pub fn open(&self) -> impl Iterator<Item = (Timestamp, &Table)> {
        self.open.iter().map(|(closing, table)| (*closing, table))
    }

    /// How many groups are open.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.open.values().map(|table| table.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_half_open_and_floored_before_1970() {
        let window = |time| {
            let (start, end) = window_of(Timestamp(time), 30);
            (start.0, end.0)
        };
        assert_eq!(window(0), (0, 30));
        assert_eq!(window(29), (0, 30));
        assert_eq!(window(30), (30, 60));
        assert_eq!(window(-1), (-30, 0));
        assert_eq!(window(i64::MAX).1, i64::MAX);
        assert_eq!(window(i64::MIN).0, i64::MIN);
    }
}
