//! A view as text for people: short tables, numbers right-aligned.

use std::io::Write;

use crate::{
    inspect::{Filter, View, ViewError, clock_text, watermark, windows::OpenWindow},
    spec::Query,
    types::{FaultReason, Watermark, timestamp_iso},
    window::Watermarks,
};

/// How many windows are listed before the rest is only counted.
const WINDOWS_SHOWN: u64 = 20;

impl View<'_> {
    /// Writes everything as text for people.
    ///
    /// # Errors
    /// Groups that cannot be read, or the write failed.
    pub fn write_text(&self, f: &mut dyn Write) -> Result<(), ViewError> {
        self.head(f)?;
        self.partition_table(f)?;
        self.window_table(f)?;
        self.batch_table(f)
    }

    fn head(&self, f: &mut dyn Write) -> Result<(), ViewError> {
        let Some(genesis) = &self.recovered.genesis else { return Ok(()) };
        writeln!(f, "pipeline    {} (topic {})", genesis.pipeline, self.topic())?;
        writeln!(f, "lineage     {}", genesis.lineage)?;
        let Some(last) = &self.recovered.last else {
            return Ok(writeln!(f, "batch       none yet")?);
        };
        writeln!(f, "batch       {} (start {})", last.batch, last.incarnation)?;
        writeln!(f, "digest      {}", last.digest)?;
        if self.pipeline.is_stateful() {
            let next = last.next_watermarks;
            writeln!(f, "watermark   {}", watermark_text(next.closing_bound))?;
            writeln!(f, "late bound  {}", watermark_text(next.late_bound))?;
        }
        let pending = self.pending();
        let outbox = if pending.is_empty() {
            "empty".to_owned()
        } else {
            format!("batch {} for {}", last.batch, pending.join(", "))
        };
        writeln!(f, "outbox      {outbox}")?;
        let totals = &last.totals;
        writeln!(
            f,
            "totals      {} records read, {} filtered, {} late, {} malformed, {} rows published",
            totals.rows_in,
            totals.filtered,
            totals.late,
            totals.malformed(),
            totals.rows_out
        )?;
        let doubts = [
            (totals.nulled, "results NULL because they did not fit their type"),
            (totals.inexact_sums, "sums inexact, because a value was no plain decimal"),
            (totals.lost, "offsets passed over, because their records were gone"),
        ];
        for (count, what) in doubts.iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "            {count} {what}")?;
        }
        for reason in FaultReason::ALL {
            let count = totals.faults[reason as usize];
            if count > 0 {
                writeln!(f, "            {} {}", count, reason.name())?;
            }
        }
        Ok(())
    }

    fn partition_table(&self, f: &mut dyn Write) -> Result<(), ViewError> {
        writeln!(f, "\n{:>9} {:>15} {:>15} {:>12}", "partition", "offset", "end", "lag")?;
        for view in self.partitions() {
            let number =
                |value: Option<i64>| value.map_or_else(|| "?".to_owned(), |n| n.to_string());
            writeln!(
                f,
                "{:>9} {:>15} {:>15} {:>12}",
                view.partition.0,
                view.offset.0,
                number(view.end.map(|end| end.0)),
                number(view.lag())
            )?;
        }
        if self.ends.is_empty() {
            writeln!(f, "(no broker answered, so ends and lag are not known)")?;
        }
        Ok(())
    }

    fn window_table(&self, f: &mut dyn Write) -> Result<(), ViewError> {
        if self.is_hidden() {
            writeln!(
                f,
                "\nthe state cannot be told before the batch behind this one is announced"
            )?;
            return Ok(());
        }
        if self.pipeline.deduplication.is_some() {
            writeln!(f, "\nremembered  {} keys of the deduplication", self.remembered)?;
        }
        if !matches!(self.pipeline.query, Query::Aggregation(_)) {
            return Ok(());
        }
        let mut listed = 0;
        self.each_window(&mut |window| {
            listed += 1;
            match listed {
                1 => writeln!(f, "\n{:<24} {:<24} {:>9}", "open window start", "end", "groups")?,
                2..=WINDOWS_SHOWN => {}
                _ => return Ok(()),
            }
            window_line(f, window)
        })?;
        if listed == 0 {
            writeln!(f, "\n{}", no_window(&self.filter))?;
        }
        let rest = listed.saturating_sub(WINDOWS_SHOWN);
        if rest > 0 {
            writeln!(f, "and {rest} more; --json lists them all")?;
        }
        Ok(())
    }

    fn batch_table(&self, f: &mut dyn Write) -> Result<(), ViewError> {
        writeln!(
            f,
            "\n{:>9} {:<24} {:>9} {:>7} {:>9} {:>8} {:>7}",
            "batch", "time", "rows in", "late", "malformed", "rows out", "took ms"
        )?;
        for record in &self.history {
            writeln!(
                f,
                "{:>9} {:<24} {:>9} {:>7} {:>9} {:>8} {:>7}",
                record.batch.0,
                clock_text(record.clock_ms),
                record.counts.rows_in,
                record.counts.late,
                record.counts.malformed(),
                record.counts.rows_out,
                record.took_ms
            )?;
        }
        Ok(())
    }
}

/// A watermark; before the first event it is at the beginning of 1970, as Spark has it.
fn watermark_text(mark: Watermark) -> String {
    if mark == Watermarks::FIRST.closing_bound {
        return "none yet".to_owned();
    }
    watermark(mark.0)
}

/// Says that there is nothing to list, and what was asked for.
fn no_window(filter: &Filter) -> String {
    let which = filter
        .window
        .map_or_else(String::new, |start| format!(" that starts at {}", timestamp_iso(start)));
    match &filter.key {
        Some(key) => format!("no open window{which} has key {key}"),
        None => format!("no open window{which}"),
    }
}

fn window_line(f: &mut dyn Write, window: &OpenWindow<'_>) -> Result<(), ViewError> {
    let (start, end) = match window.window() {
        Some((start, end)) => (timestamp_iso(start), timestamp_iso(end)),
        None => ("(no windows)".to_owned(), String::new()),
    };
    writeln!(f, "{start:<24} {end:<24} {:>9}", window.groups())?;
    window.each_row(&mut |row| {
        let cells: Vec<_> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(writeln!(f, "    {}", cells.join("  "))?)
    })
}
