//! Compares a replayed case with what Spark did, in the compatibility mode of its version.

use std::collections::BTreeMap;

use sales_stream::batch::BatchRecord;
use serde_json::Value as Json;

use crate::{
    case::{Case, Event, array},
    console::{Block, blocks},
    failures,
    gate::Seen,
    progress,
    replay::{Done, Replayed},
};

/// Everything that differs, in the order of the steps; empty when nothing does.
///
/// # Errors
/// An expectation that cannot be read.
pub fn compare(case: &Case, found: &Replayed) -> Result<Vec<String>, String> {
    let mut differences = Vec::new();
    for step in 0..case.steps.len() {
        let done = found.events.iter().find(|done| done.after_step == step);
        differences.extend(compare_step((case, &found.topic), case.event(step), done, step)?);
    }
    differences.extend(compare_checkpoint(case, found));
    differences.extend(compare_console(case, &found.console));
    Ok(differences)
}

fn compare_step(
    (case, topic): (&Case, &str),
    expected: Option<&Event>,
    done: Option<&Done>,
    step: usize,
) -> Result<Vec<String>, String> {
    let mut differences = Vec::new();
    let wanted = expected.map(|event| event.batches.as_slice()).unwrap_or_default();
    let got = done.map(|done| done.batches.as_slice()).unwrap_or_default();
    let ids = |batches: Vec<u64>| format!("{batches:?}");
    let wanted_ids: Vec<u64> = wanted.iter().map(batch_id).collect();
    let got_ids: Vec<u64> = got.iter().map(|seen| seen.record.batch.0).collect();
    let error = expected.and_then(|event| event.error.as_deref());
    let failure = done.and_then(|done| done.failure.as_ref());
    let failed = failures::compare(error, failure)?;
    differences.extend(failed.map(|difference| format!("step {step}: {difference}")));
    if wanted_ids != got_ids {
        differences.push(format!("step {step}: batches {}, not {}", ids(got_ids), ids(wanted_ids)));
    }
    for (wanted, seen) in wanted.iter().zip(got) {
        let number = batch_id(wanted);
        let mut differing = batch(case, wanted, seen, true);
        differing.extend(progress::compare(case, topic, wanted, seen));
        differences.extend(
            differing
                .into_iter()
                .map(|difference| format!("step {step}, batch {number}: {difference}")),
        );
    }
    Ok(differences)
}

/// The number of an expected batch.
pub fn batch_id(batch: &Json) -> u64 {
    batch.get("batchId").and_then(Json::as_u64).unwrap_or(u64::MAX)
}

/// The numbers of one batch; how many rows came out of it, only on request.
pub fn batch(case: &Case, wanted: &Json, seen: &Seen, rows_out: bool) -> Vec<String> {
    let record = &seen.record;
    let mut differences = Vec::new();
    let mut number = |what: &str, found: i64, key: &str| {
        let expected = wanted.get(key).and_then(Json::as_i64);
        if expected.is_some_and(|expected| expected >= 0 && expected != found) {
            differences.push(format!("{what} {found}, not {}", expected.unwrap_or_default()));
        }
    };
    number("rows in", signed(record.counts.rows_in), "numInputRows");
    if rows_out {
        number("rows out", signed(record.counts.rows_out), "numOutputRows");
    }
    differences.extend(compare_offsets(case, wanted, record));
    differences
}

/// Where each partition's part of the batch begins and ends.
pub fn compare_offsets(case: &Case, wanted: &Json, record: &BatchRecord) -> Option<String> {
    let source = array(wanted.get("sources")).first()?;
    let expected = |key: &str| -> Option<BTreeMap<i64, i64>> {
        let offsets = source.get(key)?.get(case.topic())?.as_object()?;
        let pairs = offsets.iter().map(|(partition, offset)| {
            (partition.parse().unwrap_or(-1), offset.as_i64().unwrap_or(-1))
        });
        Some(pairs.collect())
    };
    let found = |end: bool| -> BTreeMap<i64, i64> {
        let pairs = record.ranges.iter().map(|(partition, range)| {
            let offset = if end { range.end.offset } else { range.begin };
            (i64::from(partition.0), offset.0)
        });
        pairs.collect()
    };
    let (ends, begins) = (found(true), found(false));
    if let Some(expected) = expected("endOffset")
        && expected != ends
    {
        return Some(format!("ends {ends:?}, not {expected:?}"));
    }
    // A partition's first batch has no start in Spark's map, and one that is gone has no end.
    let expected = expected("startOffset")?;
    let is_other = |(partition, at)| begins.get(partition).is_some_and(|begin| begin != at);
    let differs = expected.iter().any(is_other);
    differs.then(|| format!("begins {begins:?}, not {expected:?}"))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Both watermarks of every batch, from the files of Spark's checkpoint.
fn compare_checkpoint(case: &Case, found: &Replayed) -> Vec<String> {
    let newest: BTreeMap<u64, &BatchRecord> = found
        .events
        .iter()
        .flat_map(|done| &done.batches)
        .map(|seen| (seen.record.batch.0, &seen.record))
        .collect();
    let file = |kind: &str, batch: u64, key: &str| -> Option<i64> {
        let text = case.checkpoint.get(&format!("{kind}/{batch}"))?.as_str()?;
        let json = text.lines().find(|line| line.starts_with('{'))?;
        let json: Json = serde_json::from_str(json).ok()?;
        json.get(key)?.as_i64()
    };
    let mut differences = Vec::new();
    for (batch, record) in newest {
        let before = batch.checked_sub(1);
        let wanted = [
            ("the watermark it closes by", file("offsets", batch, "batchWatermarkMs")),
            (
                "the watermark it finds late rows by",
                before.and_then(|before| file("offsets", before, "batchWatermarkMs")),
            ),
            ("the next watermark", file("commits", batch, "nextBatchWatermarkMs")),
        ];
        let found = [
            record.watermarks.closing_bound.0,
            record.watermarks.late_bound.0,
            record.next_watermarks.closing_bound.0,
        ];
        for ((what, wanted), found) in wanted.into_iter().zip(found) {
            if let Some(wanted) = wanted
                && wanted != found
            {
                differences.push(format!("batch {batch}: {what} is {found}, not {wanted}"));
            }
        }
    }
    differences
}

/// What was printed: byte for byte, or with rows as sets where the order of partitions counts.
fn compare_console(case: &Case, found: &[u8]) -> Vec<String> {
    let (expected, found) = (blocks(&case.console), blocks(found));
    let ids = |blocks: &[Block]| blocks.iter().map(|block| block.batch).collect::<Vec<_>>();
    let mut differences = Vec::new();
    if ids(&expected) != ids(&found) {
        differences.push(format!("printed {:?}, not {:?}", ids(&found), ids(&expected)));
    }
    for (wanted, got) in expected.iter().zip(&found) {
        let same = if case.partitions() > 1 {
            wanted.frame() == got.frame() && sorted(wanted.rows()) == sorted(got.rows())
        } else if names_today(case) {
            without_today(wanted) == without_today(got)
        } else {
            wanted == got
        };
        if !same {
            differences.push(format!(
                "batch {} is printed otherwise (-: expected, +: found):\n{}",
                wanted.batch,
                lines_apart(wanted, got)
            ));
        }
    }
    differences
}

fn sorted(mut rows: Vec<&[u8]>) -> Vec<&[u8]> {
    rows.sort_unstable();
    rows
}

/// A time without a date is on the day of the run.
pub fn names_today(case: &Case) -> bool {
    case.text("pipeline").ends_with("_ISO")
}

/// The lines but those whose `ts` (the fourth column) is a time alone.
pub fn without_today(block: &Block) -> Vec<&[u8]> {
    block.bytes.split(|byte| *byte == b'\n').filter(|line| !has_time_alone(line)).collect()
}

/// Whether a printed row's `ts` (the fourth column) is a time alone.
pub fn has_time_alone(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let Some(cell) = text.split('|').nth(4).map(str::trim) else { return false };
    let time = cell.strip_prefix('T').unwrap_or(cell);
    let is_digit = |character: char| character.is_ascii_digit();
    let hour = time.split(':').next().unwrap_or_default();
    time.contains(':') && !time.contains('-') && hour.len() <= 2 && hour.chars().all(is_digit)
}

/// The lines in which two tables differ, few of them, with the header.
pub fn lines_apart(wanted: &Block, got: &Block) -> String {
    const MOST: usize = 8;
    let text = |block: &Block| String::from_utf8_lossy(&block.bytes).into_owned();
    let (wanted, got) = (text(wanted), text(got));
    let (wanted, got): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), got.lines().collect());
    let mut told: Vec<String> =
        got.get(4).map(|header| format!("  {header}")).into_iter().collect();
    let mut differing = 0;
    for index in 0..wanted.len().max(got.len()) {
        let (wanted, got) = (wanted.get(index), got.get(index));
        if wanted == got {
            continue;
        }
        differing += 1;
        if differing <= MOST {
            told.extend(wanted.map(|line| format!("- {line}")));
            told.extend(got.map(|line| format!("+ {line}")));
        }
    }
    if differing > MOST {
        told.push(format!("and {} more lines", differing - MOST));
    }
    told.join("\n")
}
