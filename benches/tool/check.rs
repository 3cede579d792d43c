//! Compares the results of a run with the recount of its topic.
//!
//! Invariants: every due group must be there exactly once with the exact sum; of windows that are not due a
//! group may be there once, whole; nothing else may be there. A system whose sink keeps nothing is asked for
//! what it counted instead, and the verdict says so.
//!
//! Start at [`Check::run`]. Not here: what is due (`truth`).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Outcome,
    kafka::Reader,
    truth::{self, Sums, Truth, WINDOW_S},
};

/// How the verdict on counts begins, which says less than one on results.
pub const COUNTED_ONLY: &str = "counted only";

/// How many wrong groups are shown.
const SHOWN: usize = 5;

/// What to compare with what.
#[derive(Args)]
pub struct Check {
    /// The file of `bench recount`
    #[arg(long)]
    truth: PathBuf,
    /// Kafka's brokers, for topic:
    #[arg(long, default_value = "")]
    brokers: String,
    /// Where the results are: files:DIR (JSON lines of sales-stream), updates:DIR (the same of update mode, where
    /// the newest row of each group counts, and no group may be without), closed:DIR (like files, behind
    /// `bench close`: no group may be without), topic:NAME (committed records, JSON with
    /// store, window in Unix seconds and sum), lines:FILE (window number, store, cents), progress:FILE (counts
    /// in lines of sales-stream's progress), counted:FILE (its line `COUNTED rows=N results=N late=N cents=N`,
    /// where all but the rows may be left out)
    #[arg(long)]
    results: String,
}

#[derive(Deserialize)]
struct FileRow<'a> {
    store: &'a str,
    #[serde(borrow)]
    total_revenue: &'a RawValue,
    window_start: &'a str,
}

#[derive(Deserialize)]
struct TopicRow<'a> {
    store: &'a str,
    window: i64,
    #[serde(borrow)]
    sum: &'a RawValue,
}

impl Check {
    pub fn run(&self) -> Outcome<()> {
        let truth = Truth::read(&self.truth)?;
        let (form, place) = self.results.split_once(':').ok_or("--results FORM:PLACE")?;
        let mut comparison = Comparison::new(truth);
        match form {
            "files" => compare_files(Path::new(place), &mut comparison)?,
            "closed" => {
                comparison.expect_all();
                compare_files(Path::new(place), &mut comparison)?;
            }
            "updates" => compare_updates(Path::new(place), &mut comparison)?,
            "topic" => Reader::open(&self.brokers, place)?.each(|_, value| {
                let row: TopicRow<'_> = serde_json::from_slice(value)?;
                comparison.add(row.window, row.store, truth::cents(row.sum.get())?)
            })?,
            "lines" => compare_lines(Path::new(place), &mut comparison)?,
            "progress" => return Counts::of_progress(Path::new(place))?.verdict(&comparison.truth),
            "counted" => return Counts::of_last_line(Path::new(place))?.verdict(&comparison.truth),
            form => return Err(format!("--results {form}: there is no such form").into()),
        }
        comparison.verdict()
    }
}

fn open(path: &Path) -> Outcome<BufReader<File>> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// Hands every line of a file to `take`, without its end.
fn each_line(path: &Path, mut take: impl FnMut(&str) -> Outcome<()>) -> Outcome<()> {
    let (mut file, mut line) = (open(path)?, String::new());
    while file.read_line(&mut line)? > 0 {
        take(line.trim_end_matches('\n'))?;
        line.clear();
    }
    Ok(())
}

fn compare_files(directory: &Path, comparison: &mut Comparison) -> Outcome<()> {
    each_row(directory, |window, store, cents| comparison.add(window, store, cents))
}

/// Hands window, store and cents of each row to `take`, batch by batch.
fn each_row(directory: &Path, mut take: impl FnMut(i64, &str, i64) -> Outcome<()>) -> Outcome<()> {
    let entries = fs::read_dir(directory)
        .map_err(|error| format!("no results in {}: {error}", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
    let is_batch = |path: &PathBuf| path.extension().is_some_and(|it| it == "jsonl");
    let mut batches: Vec<_> = paths.into_iter().filter(is_batch).collect();
    batches.sort();
    for batch in &batches {
        each_line(batch, |line| {
            let row: FileRow<'_> = serde_json::from_str(line)?;
            let window: jiff::Timestamp = row.window_start.parse()?;
            take(window.as_second(), row.store, truth::cents(row.total_revenue.get())?)
        })?;
    }
    Ok(())
}

fn compare_updates(directory: &Path, comparison: &mut Comparison) -> Outcome<()> {
    let mut newest = BTreeMap::new();
    each_row(directory, |window, store, cents| {
        newest.insert((window, store.to_owned()), cents);
        Ok(())
    })?;
    comparison.expect_all();
    for ((window, store), cents) in newest {
        comparison.add(window, &store, cents)?;
    }
    Ok(())
}

fn compare_lines(path: &Path, comparison: &mut Comparison) -> Outcome<()> {
    each_line(path, |line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [window, store, cents] = words.as_slice() else {
            return Err(format!("{}: not a result: {line:?}", path.display()).into());
        };
        comparison.add(window.parse::<i64>()? * WINDOW_S, store, cents.parse()?)
    })
}

/// Results so far, against what they must be.
struct Comparison {
    truth: Truth,
    seen: Sums,
    results: u64,
    doubled: u64,
    wrong: u64,
    unknown: u64,
    examples: Vec<String>,
}

impl Comparison {
    fn new(truth: Truth) -> Comparison {
        Comparison {
            truth,
            seen: Sums::new(),
            results: 0,
            doubled: 0,
            wrong: 0,
            unknown: 0,
            examples: Vec::new(),
        }
    }

    /// Every group is due.
    fn expect_all(&mut self) {
        let summary = &mut self.truth.summary;
        summary.due_until = i64::MAX;
        summary.due_groups = summary.groups;
    }

    fn add(&mut self, window: i64, store: &str, cents: i64) -> Outcome<()> {
        let number = truth::store_number(store)?;
        self.results += 1;
        let stores = self.truth.sums.get(&window);
        let wanted = stores.and_then(|stores| stores.get(number as usize).copied().flatten());
        match wanted {
            None => self.unknown += 1,
            Some(wanted) if wanted != cents => self.wrong += 1,
            Some(_) => (),
        }
        if wanted != Some(cents) && self.examples.len() < SHOWN {
            self.examples.push(format!("window {window} {store}: {cents}, not {wanted:?} cents"));
        }
        let seen = truth::place(self.seen.entry(window).or_default(), number);
        if seen.replace(cents).is_some() {
            self.doubled += 1;
        }
        Ok(())
    }

    fn missing(&self) -> u64 {
        let until = self.truth.summary.due_until;
        let due = self.truth.sums.iter().filter(|(window, _)| *window + WINDOW_S <= until);
        due.map(|(window, stores)| {
            let seen = self.seen.get(window);
            let is_missing = |(store, wanted): (usize, &Option<i64>)| {
                let there = seen.and_then(|seen| seen.get(store).copied().flatten());
                wanted.is_some() && there.is_none()
            };
            stores.iter().enumerate().filter(|group| is_missing(*group)).count() as u64
        })
        .sum()
    }

    fn verdict(&self) -> Outcome<()> {
        let (missing, doubled, wrong) = (self.missing(), self.doubled, self.wrong);
        let (unknown, results) = (self.unknown, self.results);
        let due = self.truth.summary.due_groups;
        let said = format!(
            "{results} results, {due} due: missing {missing}, doubled {doubled}, wrong {wrong}, unknown {unknown}"
        );
        if missing + doubled + wrong + unknown > 0 || due == 0 {
            return Err(format!("WRONG: {said}\n{}", self.examples.join("\n")).into());
        }
        println!("{said}");
        Ok(())
    }
}

/// What a system says it did, where its sink keeps nothing.
#[derive(Default)]
struct Counts {
    rows: u64,
    results: Option<u64>,
    late: u64,
    cents: Option<i64>,
}

impl Counts {
    fn of_progress(path: &Path) -> Outcome<Counts> {
        let mut counts = Counts::default();
        each_line(path, |line| {
            if line.starts_with('{') {
                let line: serde_json::Value = serde_json::from_str(line)?;
                let number = |pointer: &str| line.pointer(pointer).and_then(|it| it.as_u64());
                counts.rows += number("/numInputRows").ok_or("progress without numInputRows")?;
                let results = number("/sink/numOutputRows").ok_or("progress without results")?;
                *counts.results.get_or_insert(0) += results;
                counts.late +=
                    number("/salesStream/lateRows").ok_or("progress without lateRows")?;
            }
            Ok(())
        })?;
        Ok(counts)
    }

    fn of_last_line(path: &Path) -> Outcome<Counts> {
        let mut last = None;
        each_line(path, |line| {
            if let Some(counts) = line.strip_prefix("COUNTED ") {
                last = Some(counts.to_owned());
            }
            Ok(())
        })?;
        let last = last.ok_or_else(|| format!("{} has no line COUNTED", path.display()))?;
        let mut counts = Counts::default();
        for word in last.split(' ') {
            match word.split_once('=').ok_or("COUNTED wants name=number")? {
                ("rows", number) => counts.rows = number.parse()?,
                ("results", number) => counts.results = Some(number.parse()?),
                ("late", number) => counts.late = number.parse()?,
                ("cents", number) => counts.cents = Some(number.parse()?),
                _ => (),
            }
        }
        Ok(counts)
    }

    fn verdict(&self, truth: &Truth) -> Outcome<()> {
        let summary = &truth.summary;
        let mut said = format!("{COUNTED_ONLY}: {} of {} records", self.rows, summary.events);
        let mut is_right = self.rows == summary.events && self.late == 0;
        if let Some(results) = self.results {
            said += &format!(", {results} results, {} due, {} late", summary.due_groups, self.late);
            is_right &= (summary.due_groups..=summary.groups).contains(&results);
        }
        if let Some(cents) = self.cents {
            said += &format!(", {cents} of {} cents", summary.total_cents);
            is_right &= cents == summary.total_cents;
        }
        if !is_right {
            return Err(format!("WRONG: {said}").into());
        }
        println!("{said}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Counts};
    use crate::truth::{Summary, Sums, Truth};

    /// Window 0 with stores 1 and 2 is due, window 30 with store 1 is not.
    fn truth() -> Truth {
        let sums = Sums::from([(0, vec![None, Some(100), Some(250)]), (30, vec![None, Some(5)])]);
        let summary =
            Summary { events: 9, groups: 3, due_groups: 2, total_cents: 355, due_until: 59 };
        Truth { summary, sums }
    }

    fn check(results: &[(i64, &str, i64)], expected: &str) {
        let mut comparison = Comparison::new(truth());
        for (window, store, cents) in results {
            comparison.add(*window, store, *cents).unwrap();
        }
        let said = comparison.verdict().err().map_or(String::new(), |error| error.to_string());
        assert!(said.contains(expected), "{results:?}: {said:?} instead of {expected:?}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{results:?}: {said:?}");
    }

    #[test]
    fn exactly_the_due_groups_once_are_right_with_or_without_later_ones() {
        check(&[(0, "store-2", 250), (0, "store-1", 100)], "");
        check(&[(0, "store-2", 250), (0, "store-1", 100), (30, "store-1", 5)], "");
    }

    #[test]
    fn what_is_missing_doubled_wrong_or_unknown_is_told() {
        check(&[(0, "store-1", 100)], "missing 1");
        check(&[(0, "store-2", 250), (0, "store-1", 100), (0, "store-1", 100)], "doubled 1");
        check(&[(0, "store-2", 251), (0, "store-1", 100)], "wrong 1");
        check(&[(0, "store-2", 250), (0, "store-1", 100), (30, "store-1", 4)], "wrong 1");
        check(&[(0, "store-2", 250), (0, "store-1", 100), (60, "store-1", 1)], "unknown 1");
        check(&[], "missing 2");
    }

    #[test]
    fn of_updates_the_newest_counts_and_every_group_is_due() {
        let directory = tempfile::tempdir().unwrap();
        let row = |window: i64, store: u32, cents: i64| {
            let window = jiff::Timestamp::from_second(window).unwrap();
            let (whole, rest) = (cents / 100, cents % 100);
            format!(
                r#"{{"store":"store-{store}","total_revenue":{whole}.{rest:02},"window_start":"{window}"}}"#
            ) + "\n"
        };
        let write = |batch: u32, rows: &[String]| {
            let name = format!("batch-{batch:012}.jsonl");
            std::fs::write(directory.path().join(name), rows.concat()).unwrap();
        };
        let verdict = || {
            let mut comparison = Comparison::new(truth());
            super::compare_updates(directory.path(), &mut comparison).unwrap();
            comparison.verdict().err().map_or(String::new(), |error| error.to_string())
        };
        write(10, &[row(0, 1, 100), row(0, 2, 250)]);
        write(9, &[row(0, 1, 60), row(0, 2, 250)]);
        assert!(verdict().contains("missing 1"), "{}", verdict());
        write(11, &[row(30, 1, 5)]);
        assert_eq!(verdict(), "");
        write(12, &[row(0, 1, 99)]);
        assert!(verdict().contains("wrong 1"), "{}", verdict());
    }

    #[test]
    fn counts_are_right_only_if_all_that_were_told_are() {
        let verdict = |counts: Counts| counts.verdict(&truth()).is_ok();
        let right = || Counts { rows: 9, results: Some(2), late: 0, cents: Some(355) };
        assert!(verdict(right()));
        assert!(verdict(Counts { results: None, cents: None, ..right() }));
        assert!(verdict(Counts { results: Some(3), ..right() }));
        assert!(!verdict(Counts { rows: 8, ..right() }));
        assert!(!verdict(Counts { results: Some(1), ..right() }));
        assert!(!verdict(Counts { results: Some(4), ..right() }));
        assert!(!verdict(Counts { late: 1, ..right() }));
        assert!(!verdict(Counts { cents: Some(354), ..right() }));
    }
}
