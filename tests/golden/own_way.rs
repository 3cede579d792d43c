//! Our own way beside Spark's: rows as sets, and every difference by a rule.
//!
//! What the rules allow is what the documentation calls deliberate: exact sums, NULL for a result that
//! does not fit, the shortest text of a double, ANSI off, a no-data batch that is due also after a
//! restart, and refusing to mix what was with what is. Whatever no rule explains is a failure.
//!
//! Some of these change what comes after them; from there on only the records read are compared.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::{
    case::{Case, Event, Step, Version},
    compare::{self, lines_apart},
    console::{Block, blocks},
    failures,
    replay::{Done, Replayed},
};

const ANSI: &str = "Spark stops on a value that does not fit (ANSI, or two versions' time parsers)";
const OTHER_JOB: &str = "a job that was changed is not run on the checkpoint of the old one";
const OTHER_TOPIC: &str = "a topic that was made again, or lost data, is refused";
const PENDING: &str = "a no-data batch that is due runs also after a restart";
const EXACT: &str = "sums of doubles are exact";
const UNFIT: &str = "a sum that does not fit is NULL";
const SHORTEST: &str = "doubles have their shortest text";

const MILLISECONDS: &str = "milliseconds are exact where Spark's division is off by microseconds";

const ZEROS: &str = "0.0 and -0.0 are one key, as in Spark 4";
const LAST_WINDOW: &str =
    "a window beyond the last instant ends there, where Spark 3.5 wraps around";

/// The last instant that a timestamp can tell, as printed.
const LAST_INSTANT: &str = "+294247-01-10 04:00:54.775807";

/// Fields of a case whose change over a restart changes what its state means.
const IDENTITY: [&str; 16] = [
    "output_mode",
    "window",
    "slide",
    "start_time",
    "session_gap",
    "session_gap_expr",
    "watermark_delay",
    "where",
    "where_after",
    "agg",
    "group",
    "dedup",
    "dedup_plain",
    "dedup_exact",
    "iso_pattern",
    "pipeline",
];

/// What came of a comparison.
#[derive(Default)]
pub struct Judged {
    /// The rules that explain what differs.
    pub explained: BTreeSet<&'static str>,
    /// What no rule explains.
    pub unexplained: Vec<String>,
}

/// Compares a replayed case with what Spark did.
///
/// # Errors
/// An expectation that cannot be read.
pub fn judge(case: &Case, found: &Replayed) -> Result<Judged, String> {
    let mut judge = Judge {
        case,
        expected: blocks(&case.console).into_iter(),
        found: blocks(&found.console).into_iter(),
        judged: Judged::default(),
        started: false,
    };
    for step in 0..case.steps.len() {
        let done = found.events.iter().find(|done| done.after_step == step);
        let alike = judge.step(step, case.event(step), done)?;
        judge.started |= matches!(case.steps[step], Step::Start(_));
        if let Alike::NoLonger(reason) = alike {
            judge.judged.explained.insert(reason);
            if reason == PENDING {
                judge.records_read(step, found);
            }
            break;
        }
    }
    Ok(judge.judged)
}

/// Whether what comes later can still be compared.
enum Alike {
    Still,
    /// Why not.
    NoLonger(&'static str),
}

struct Judge<'a> {
    case: &'a Case,
    expected: std::vec::IntoIter<Block>,
    found: std::vec::IntoIter<Block>,
    judged: Judged,
    /// Whether there was a start before this step.
    started: bool,
}

impl Judge<'_> {
    fn step(
        &mut self,
        step: usize,
        expected: Option<&Event>,
        done: Option<&Done>,
    ) -> Result<Alike, String> {
        let wanted = expected.map(|event| event.batches.as_slice()).unwrap_or_default();
        let got = done.map(|done| done.batches.as_slice()).unwrap_or_default();
        let error = expected.and_then(|event| event.error.as_deref());
        let failure = done.and_then(|done| done.failure.as_ref());
        let code = failure.map(|failure| failure.code);
        let mut alike = Alike::Still;
        if code == Some(12) && error.is_none() && self.changes_the_job(step) {
            return Ok(Alike::NoLonger(OTHER_JOB));
        }
        if code == Some(20) && self.case.has_step(|step| matches!(step, Step::RecreateTopic(_))) {
            return Ok(Alike::NoLonger(OTHER_TOPIC));
        }
        if let (Some(text), None) = (error, code)
            && failures::kind_of(text)?.name == failures::VALUE
        {
            alike = Alike::NoLonger(ANSI);
        } else {
            let difference = failures::compare(error, failure)?;
            self.fail(difference.map(|difference| format!("step {step}: {difference}")));
        }
        let wanted_ids: Vec<_> = wanted.iter().filter_map(batch_id).collect();
        let got_ids: Vec<_> = got.iter().map(|seen| seen.record.batch.0).collect();
        let is_restart = self.started && matches!(self.case.steps[step], Step::Start(_));
        if is_restart && got_ids.len() == wanted_ids.len() + 1 && self.is_pending(got) {
            return Ok(Alike::NoLonger(PENDING));
        }
        let is_prefix = got_ids.starts_with(&wanted_ids);
        if wanted_ids != got_ids && !(matches!(alike, Alike::NoLonger(_)) && is_prefix) {
            self.fail(Some(format!("step {step}: batches {got_ids:?}, not {wanted_ids:?}")));
        }
        for (wanted, seen) in wanted.iter().zip(got) {
            let differing = compare::batch(self.case, wanted, seen, false);
            let batch = seen.record.batch.0;
            for difference in differing {
                self.fail(Some(format!("step {step}, batch {batch}: {difference}")));
            }
            if let (Some(printed), Some(got)) = (self.expected.next(), self.found.next()) {
                let rows_out = wanted.get("numOutputRows").and_then(Json::as_u64);
                let rows = got.rows().len() as u64;
                if printed.is_cut() && rows_out != Some(rows) {
                    let problem =
                        format!("step {step}, batch {batch}: {rows} rows, not {rows_out:?}");
                    self.fail(Some(problem));
                }
                self.rows(&printed, &got);
            }
        }
        Ok(alike)
    }

    /// The records that each step from this one on reads, whatever batches they fall into.
    fn records_read(&mut self, from: usize, found: &Replayed) {
        for step in from..self.case.steps.len() {
            let event = self.case.event(step);
            let batches = event.map(|event| event.batches.as_slice()).unwrap_or_default();
            let rows = batches.iter().filter_map(|batch| batch.get("numInputRows")?.as_u64());
            let wanted: u64 = rows.sum();
            let done = found.events.iter().filter(|done| done.after_step == step);
            let records = done.flat_map(|done| &done.batches).map(|seen| &seen.record);
            let got: u64 = records.map(|record| record.counts.rows_in).sum();
            if wanted != got {
                self.fail(Some(format!("step {step}: {got} records read, not {wanted}")));
            }
        }
    }

    fn fail(&mut self, difference: Option<String>) {
        self.judged.unexplained.extend(difference);
    }

    fn changes_the_job(&self, step: usize) -> bool {
        match &self.case.steps[step] {
            Step::Start(overrides) => {
                self.started && IDENTITY.iter().any(|key| overrides.contains_key(*key))
            }
            _ => false,
        }
    }

    /// Whether one of the batches is a no-data batch whose watermark was still to be applied.
    fn is_pending(&self, got: &[crate::gate::Seen]) -> bool {
        let is_due = |seen: &crate::gate::Seen| {
            let watermarks = seen.record.watermarks;
            seen.record.counts.rows_in == 0 && watermarks.closing_bound > watermarks.late_bound
        };
        self.case.text("output_mode") != "complete" && got.iter().any(is_due)
    }

    /// Two tables: the same columns, and the same rows by keys.
    fn rows(&mut self, wanted: &Block, got: &Block) {
        let batch = wanted.batch;
        let differing = |what: &str| {
            format!("batch {batch}: {what} (-: expected, +: found):\n{}", lines_apart(wanted, got))
        };
        if wanted.header() != got.header() || wanted.batch != got.batch {
            self.judged.unexplained.push(differing("other columns"));
            return;
        }
        let columns = wanted.header();
        let mut left = self.cells(got);
        let mut other = Vec::new();
        for row in self.cells(wanted) {
            match left.iter().position(|candidate| *candidate == row) {
                Some(index) => drop(left.remove(index)),
                None => other.push(row),
            }
        }
        // Rows that are not there as they are must be there with the same keys.
        for row in other {
            let index =
                left.iter().position(|candidate| self.same_cells(&row, candidate, &columns));
            let Some(index) = index else {
                if self.is_other_zero(&row, &columns) {
                    self.judged.explained.insert(ZEROS);
                    continue;
                }
                self.judged.unexplained.push(differing("rows differ"));
                return;
            };
            left.remove(index);
        }
        let before = left.len();
        left.retain(|row| row.last().is_none_or(|end| end != LAST_INSTANT));
        if left.len() < before {
            self.judged.explained.insert(LAST_WINDOW);
        }
        // A table that Spark cut shows only some of the rows.
        if !left.is_empty() && !wanted.is_cut() {
            self.judged.unexplained.push(differing("there are more rows"));
        }
    }

    fn cells(&self, block: &Block) -> Vec<Vec<String>> {
        let rows = block.rows().into_iter();
        let rows =
            rows.filter(|line| !(compare::names_today(self.case) && compare::has_time_alone(line)));
        rows.map(crate::console::cells).collect()
    }

    /// Whether Spark 3.5 kept a row because its key is -0.0 and another's is 0.0.
    fn is_other_zero(&self, row: &[String], columns: &[String]) -> bool {
        let price = columns.iter().position(|name| name == "price");
        let is_zero = price.is_some_and(|index| matches!(row[index].as_str(), "-0.0" | "0.0"));
        let is_deduplication = self.case.json.keys().any(|key| key.starts_with("dedup"));
        self.case.version == Version::V35 && is_zero && is_deduplication
    }

    fn same_cells(&mut self, wanted: &[String], got: &[String], columns: &[String]) -> bool {
        if wanted.len() != got.len() {
            return false;
        }
        let mut reasons = BTreeSet::new();
        for (index, (wanted, got)) in wanted.iter().zip(got).enumerate() {
            if wanted == got {
                continue;
            }
            let column = columns.get(index).map_or("", String::as_str);
            match self.reason(column, wanted, got) {
                Some(reason) => reasons.insert(reason),
                None => return false,
            };
        }
        self.judged.explained.extend(reasons);
        true
    }

    /// Whether a column is a sum of doubles, or computed from one.
    fn adds(&self, column: &str) -> bool {
        match (self.case.text("agg"), column) {
            ("decimal", _) => false,
            ("" | "sum_count" | "avg", "total_revenue_int") => true,
            (_, column) => matches!(column, "total_revenue" | "sum_price" | "avg_price"),
        }
    }

    /// Why a cell may differ, if it may.
    fn reason(&self, column: &str, wanted: &str, got: &str) -> Option<&'static str> {
        let number = |text: &str| text.parse::<f64>().ok();
        if is_same_double(wanted, got) {
            return Some(SHORTEST);
        }
        if column == "event_time" && self.case.text("pipeline").ends_with("_MS") {
            return is_same_millisecond(wanted, got).then_some(MILLISECONDS);
        }
        if !self.adds(column) {
            return None;
        }
        if got == "NULL" && matches!(wanted, "2147483647" | "-2147483648" | "0") {
            return Some(UNFIT);
        }
        let numbers = number(wanted).is_some() && number(got).is_some();
        (numbers && adds_inexactly(self.case)).then_some(EXACT)
    }
}

fn batch_id(batch: &Json) -> Option<u64> {
    batch.get("batchId").and_then(Json::as_u64)
}

/// Whether adding a case's prices as doubles can lose anything: not all of them are small multiples
/// of a power of two.
fn adds_inexactly(case: &Case) -> bool {
    let is_exact = |price: f64| {
        const FINEST: f64 = 1024.0;
        const LARGEST: f64 = 1_099_511_627_776.0;
        price.is_nan() || ((price * FINEST).fract() == 0.0 && price.abs() < LARGEST)
    };
    case.steps.iter().any(|step| match step {
        Step::Produce(records) => records.iter().any(|record| {
            let json = record.value.as_deref().map(serde_json::from_slice::<Json>);
            let price = json.and_then(Result::ok).and_then(|json| json.get("price")?.as_f64());
            price.is_some_and(|price| !is_exact(price))
        }),
        _ => false,
    })
}

/// Whether two texts are of one double, of which the first may be cut.
fn is_same_double(wanted: &str, got: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    if let Some(digits) = wanted.strip_suffix("...") {
        let mantissa = got.strip_suffix("...").or(got.split('E').next());
        let (cut, whole) = (number(digits), mantissa.and_then(number));
        return cut.zip(whole).is_some_and(|(cut, whole)| (cut - whole).abs() < cut.abs() * 1e-12);
    }
    let (wanted, got) = (number(wanted), number(got));
    wanted.zip(got).is_some_and(|(wanted, got)| wanted.to_bits() == got.to_bits())
}

/// Whether two printed times of the same second are at most a millisecond apart: beyond 2^53 ms a
/// double loses one.
fn is_same_millisecond(wanted: &str, got: &str) -> bool {
    let parts = |text: &str| {
        let (second, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let micros = format!("{fraction:0<6}").parse::<i64>().ok()?;
        Some((second.to_owned(), micros))
    };
    match (parts(wanted), parts(got)) {
        (Some((wanted, one)), Some((got, other))) => wanted == got && one.abs_diff(other) <= 1000,
        _ => false,
    }
}
