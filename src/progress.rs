//! Progress: one line of JSON for each batch, with the keys of Spark's `StreamingQueryProgress` in its
//! order and meaning, and our own under `salesStream`.
//!
//! Times are Unix milliseconds as ISO 8601 in UTC, rates are records a second rounded to one place, as
//! Spark's; a rate that cannot be told (no time has passed) is left out. Start at [`Progress::line`].
//!
//! Not here: when a batch may be told of (`engine::report`).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    time::Duration,
};

use serde::Serialize;

use crate::{
    engine::{Report, Reporter},
    spec::{Aggregation, Compat, DeduplicationScope, OutputMode, Pipeline, Query, Window},
    types::{Keeper, Lineage, Offset, OperatorCounts, Partition},
};

/// Spark's name of the operator that keeps sessions.
const SESSIONS: &str = "sessionWindowStateStoreSaveExec";

/// What stays the same from line to line.
#[derive(Debug)]
pub struct Progress {
    name: String,
    topic: String,
    run_id: u128,
    sink: String,
    compat: Option<Compat>,
    shuffle_partitions: u32,
    state_stores: u32,
    is_watermarked: bool,
    operators: Vec<Operator>,
    trigger_before_ms: Option<i64>,
}

impl Progress {
    /// Lines of one run of a pipeline; `run_id` tells this run from others, `sink` names its sinks.
    #[must_use]
    pub fn new(pipeline: &Pipeline, run_id: u128, sink: String) -> Progress {
        let event_time = pipeline.event_time.as_ref();
        let compat = pipeline.semantics.compat;
        let partitions = compat.map_or(1, |_| pipeline.semantics.shuffle_partitions);
        // Spark's session operator tells nothing of its stores in complete mode, and 3.5 not even of
        // its partitions.
        let is_silent = compat.is_some()
            && pipeline.output_mode == OutputMode::Complete
            && operator_names(pipeline).first().is_some_and(|(name, _)| *name == SESSIONS);
        let state_stores = if is_silent { 0 } else { partitions };
        let shuffle_partitions =
            if is_silent && compat == Some(Compat::Spark35) { 0 } else { partitions };
        Progress {
            name: pipeline.name.clone(),
            topic: pipeline.topic.clone(),
            run_id,
            sink,
            compat: pipeline.semantics.compat,
            shuffle_partitions,
            state_stores,
            is_watermarked: event_time.is_some_and(|time| time.watermark_delay_ms.is_some()),
            operators: operator_names(pipeline),
            trigger_before_ms: None,
        }
    }

    /// The line of a batch, without its end.
    ///
    /// # Panics
    /// Never: every value can be written as JSON.
    #[must_use]
    pub fn line(&mut self, report: &Report<'_>) -> String {
        let line = self.shape(report);
        serde_json::to_string(&line).expect("numbers and texts can be written as JSON")
    }

    fn shape(&mut self, report: &Report<'_>) -> Line<'_> {
        let Report { record, timing, way_out, identity } = *report;
        let rows_in = record.counts.rows_in;
        let (checkpoint, out) =
            (way_out.persist + way_out.announce, way_out.publish + way_out.mark);
        let before = timing.latest_offset + timing.planning + timing.open;
        let whole = before + timing.read + timing.plan + checkpoint + out;
        let trigger_ms = if timing.trigger_ms == 0 { record.clock_ms } else { timing.trigger_ms };
        let since = self.trigger_before_ms.replace(trigger_ms).map(|before| trigger_ms - before);
        let input_rate = since.and_then(|passed_ms| rate(rows_in, passed_ms));
        let processed_rate = rate(rows_in, i64::try_from(whole.as_millis()).unwrap_or(i64::MAX));
        let ends: BTreeMap<_, _> =
            record.ranges.iter().map(|(partition, range)| (*partition, range.end.offset)).collect();
        let begins = match &timing.before {
            Some(before) => Some(before.clone()),
            None if record.batch.0 == 0 => None,
            None => Some(
                record.ranges.iter().map(|(partition, range)| (*partition, range.begin)).collect(),
            ),
        };
        // A batch that is published again had its brokers asked in another life.
        let latest = (!timing.latest.is_empty()).then(|| timing.latest.clone());
        let topic = |offsets| BTreeMap::from([(self.topic.clone(), named(offsets))]);
        Line {
            id: uuid_of(identity.lineage),
            run_id: uuid(self.run_id),
            name: &self.name,
            timestamp: millis_iso(trigger_ms, self.compat),
            batch_id: record.batch.0,
            batch_duration: millis(whole),
            num_input_rows: rows_in,
            input_rows_per_second: input_rate,
            processed_rows_per_second: processed_rate,
            duration_ms: Durations {
                add_batch: millis(timing.read + timing.plan + way_out.publish),
                commit_offsets: millis(way_out.mark),
                get_batch: millis(timing.open),
                latest_offset: millis(timing.latest_offset),
                query_planning: millis(timing.planning),
                trigger_execution: millis(whole),
                wal_commit: millis(checkpoint),
            },
            event_time: self.event_times(report),
            state_operators: self.operators(report),
            sources: [SourceProgress {
                description: format!("KafkaV2[Subscribe[{}]]", self.topic),
                start_offset: begins.map(topic),
                latest_offset: latest.clone().map(topic),
                end_offset: topic(ends.clone()),
                num_input_rows: rows_in,
                input_rows_per_second: input_rate,
                processed_rows_per_second: processed_rate,
                metrics: behind(&ends, latest.as_ref().unwrap_or(&ends)),
            }],
            sink: SinkProgress { description: &self.sink, num_output_rows: record.counts.rows_out },
            observed_metrics: Empty {},
            sales_stream: Own {
                late_rows: record.counts.late,
                malformed_rows: record.counts.malformed(),
                filtered_rows: record.counts.filtered,
                nulled_results: record.counts.nulled,
                inexact_sums: record.counts.inexact_sums,
                lost_offsets: record.counts.lost,
                checkpoint_ms: millis(checkpoint),
                publish_ms: millis(way_out.publish),
                digest: identity.digest.to_string(),
            },
        }
    }

    /// Spark's map: `avg`, `max`, `min` where there were records, `watermark` where there is one.
    fn event_times(&self, report: &Report<'_>) -> BTreeMap<&'static str, String> {
        let mut times = BTreeMap::new();
        if !self.is_watermarked {
            return times;
        }
        let text = |time_ms| millis_iso(time_ms, self.compat);
        times.insert("watermark", text(report.record.watermarks.closing_bound.0));
        if let Some(seen) = &report.record.event_times {
            times.insert("avg", text(seen.average_ms));
            times.insert("max", text(seen.max_ms));
            times.insert("min", text(seen.min_ms));
        }
        times
    }

    fn operators(&self, report: &Report<'_>) -> Vec<OperatorProgress> {
        let Report { timing, way_out, .. } = report;
        let timing_of = |keeper: &Keeper| match keeper {
            Keeper::Groups => timing.groups,
            Keeper::Keys => timing.keys,
        };
        let kept = |((name, keeper), counts): (&Operator, &OperatorCounts)| OperatorProgress {
            operator_name: name,
            num_rows_total: counts.total,
            num_rows_updated: counts.updated,
            all_updates_time_ms: millis(timing_of(keeper).updates),
            num_rows_removed: counts.removed,
            all_removals_time_ms: millis(timing_of(keeper).removals),
            // One write makes the state of all operators durable.
            commit_time_ms: millis(way_out.persist),
            memory_used_bytes: timing_of(keeper).memory_bytes,
            num_rows_dropped_by_watermark: counts.dropped,
            num_shuffle_partitions: self.shuffle_partitions,
            num_state_store_instances: self.state_stores,
            custom_metrics: Empty {},
        };
        self.operators.iter().zip(&report.record.operators).map(kept).collect()
    }
}

/// What every line begins with; an x stands for any hexadecimal digit.
const BEGINNING: &[u8] = b"{\"id\":\"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\",\"runId\":\"";
/// More than a line is long.
const LONGEST_LINE: u64 = 1 << 20;

/// Makes a file that lines were written to one that lines can be added to: of a last line that a kill tore
/// nothing stays, and after anything else that has no end of line there is one. The file is open for reading
/// and appending.
///
/// # Errors
/// The system's, for a file that cannot be read or written.
pub fn end_at_a_line(file: &mut File) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(LONGEST_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut tail)?;
    let ended = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let open = &tail[ended..];
    if open.is_empty() {
        return Ok(());
    }
    // Without an end of line in sight it is no line of ours.
    let is_in_sight = ended > 0 || from == 0;
    // A file that may only grow keeps it.
    if is_in_sight && is_torn(open) && file.set_len(from + ended as u64).is_ok() {
        return Ok(());
    }
    file.write_all(b"\n")
}

/// Whether this is a line of ours that is not whole.
fn is_torn(line: &[u8]) -> bool {
    let begins = |(has, is): (&u8, &u8)| has == is || (*is == b'x' && has.is_ascii_hexdigit());
    line.iter().zip(BEGINNING).all(begins)
        && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err()
}

/// Writes each line down; where that fails it says so once and goes on without.
pub struct ProgressWriter {
    progress: Progress,
    out: Option<Box<dyn Write + Send>>,
}

impl ProgressWriter {
    /// Lines go to `out`, each flushed.
    #[must_use]
    pub fn new(progress: Progress, out: Box<dyn Write + Send>) -> ProgressWriter {
        ProgressWriter { progress, out: Some(out) }
    }

    fn write(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        match &mut self.out {
            Some(out) => out.write_all(line.as_bytes()).and_then(|()| out.flush()),
            None => Ok(()),
        }
    }
}

impl Reporter for ProgressWriter {
    fn report(&mut self, report: &Report<'_>) {
        let line = self.progress.line(report);
        if let Err(error) = self.write(line) {
            self.out = None;
            tracing::warn!(%error, "progress cannot be written; going on without it");
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    id: String,
    run_id: String,
    name: &'a str,
    timestamp: String,
    batch_id: u64,
    batch_duration: u64,
    num_input_rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_rows_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_rows_per_second: Option<f64>,
    duration_ms: Durations,
    event_time: BTreeMap<&'static str, String>,
    state_operators: Vec<OperatorProgress>,
    sources: [SourceProgress; 1],
    sink: SinkProgress<'a>,
    observed_metrics: Empty,
    sales_stream: Own,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Durations {
    add_batch: u64,
    commit_offsets: u64,
    get_batch: u64,
    latest_offset: u64,
    query_planning: u64,
    trigger_execution: u64,
    wal_commit: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperatorProgress {
    operator_name: &'static str,
    num_rows_total: u64,
    num_rows_updated: u64,
    all_updates_time_ms: u64,
    num_rows_removed: u64,
    all_removals_time_ms: u64,
    commit_time_ms: u64,
    memory_used_bytes: u64,
    num_rows_dropped_by_watermark: u64,
    num_shuffle_partitions: u32,
    num_state_store_instances: u32,
    custom_metrics: Empty,
}

type TopicOffsets = BTreeMap<String, BTreeMap<String, i64>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceProgress {
    description: String,
    start_offset: Option<TopicOffsets>,
    end_offset: TopicOffsets,
    latest_offset: Option<TopicOffsets>,
    num_input_rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_rows_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_rows_per_second: Option<f64>,
    metrics: Behind,
}

/// Spark writes these numbers as texts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Behind {
    avg_offsets_behind_latest: String,
    max_offsets_behind_latest: String,
    min_offsets_behind_latest: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SinkProgress<'a> {
    description: &'a str,
    num_output_rows: u64,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Own {
    late_rows: u64,
    malformed_rows: u64,
    filtered_rows: u64,
    nulled_results: u64,
    inexact_sums: u64,
    lost_offsets: u64,
    checkpoint_ms: u64,
    publish_ms: u64,
    digest: String,
}

/// Spark's name of a stateful operator, and which one it is.
type Operator = (&'static str, Keeper);

/// The stateful operators, the last one in the chain first.
fn operator_names(pipeline: &Pipeline) -> Vec<Operator> {
    let aggregation = match &pipeline.query {
        Query::Aggregation(Aggregation { window: Some(Window::Session(_)), .. }) => Some(SESSIONS),
        Query::Aggregation(_) => Some("stateStoreSave"),
        Query::Projection => None,
    };
    let deduplication = pipeline.deduplication.as_ref().map(|kept| match kept.scope {
        DeduplicationScope::WithinWatermark => "dedupeWithinWatermark",
        DeduplicationScope::WithEventTime | DeduplicationScope::Forever => "dedupe",
    });
    let aggregation = aggregation.map(|name| (name, Keeper::Groups));
    aggregation.into_iter().chain(deduplication.map(|name| (name, Keeper::Keys))).collect()
}

fn named(offsets: BTreeMap<Partition, Offset>) -> BTreeMap<String, i64> {
    offsets.into_iter().map(|(partition, offset)| (partition.to_string(), offset.0)).collect()
}

fn behind(ends: &BTreeMap<Partition, Offset>, latest: &BTreeMap<Partition, Offset>) -> Behind {
    let behind: Vec<i64> = ends
        .iter()
        .map(|(partition, end)| latest.get(partition).map_or(0, |latest| latest.0 - end.0).max(0))
        .collect();
    let count = behind.len().max(1) as f64;
    let average = behind.iter().map(|records| *records as f64).sum::<f64>() / count;
    let text = |records: Option<&i64>| records.copied().unwrap_or(0).to_string();
    Behind {
        avg_offsets_behind_latest: crate::types::double_text(average),
        max_offsets_behind_latest: text(behind.iter().max()),
        min_offsets_behind_latest: text(behind.iter().min()),
    }
}

/// Records a second, to one place; `None` where no time has passed.
fn rate(records: u64, passed_ms: i64) -> Option<f64> {
    (passed_ms > 0).then(|| (records as f64 * 10_000.0 / passed_ms as f64).round() / 10.0)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time with three places after the second. Spark 3.5 writes years by the calendar of the time,
/// Julian before October 1582, and as years of their era, without a sign; Spark 4 writes years of
/// their era too, by today's calendar.
fn millis_iso(time_ms: i64, compat: Option<Compat>) -> String {
    let days = time_ms.div_euclid(MS_PER_DAY);
    let (year, month, day) = match compat {
        Some(Compat::Spark35) if days < GREGORIAN_SINCE => julian_date(days),
        _ => gregorian_date(days),
    };
    let year = match (compat, year) {
        (Some(_), ..=0) => 1 - year,
        _ => year,
    };
    let year = match year {
        0..=9999 => format!("{year:04}"),
        10_000.. if compat == Some(Compat::Spark35) => year.to_string(),
        10_000.. => format!("+{year}"),
        _ => format!("-{:04}", year.unsigned_abs()),
    };
    let in_day = time_ms.rem_euclid(MS_PER_DAY);
    let (second, millis) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

const MS_PER_DAY: i64 = 86_400_000;

/// The day on which the Gregorian calendar began, 1582-10-15, counted from 1970.
const GREGORIAN_SINCE: i64 = -141_427;

/// Year, month and day of a day counted from 1970, in the Gregorian calendar, also before it began.
fn gregorian_date(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years from 0000-03-01.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    from_march(year_of_era + era * 400, of_year)
}

/// The same in the Julian calendar.
fn julian_date(days: i64) -> (i64, i64, i64) {
    // Eras of 4 years from 0000-03-01, which is two days before the Gregorian one.
    let shifted = days + 719_470;
    let (era, of_era) = (shifted.div_euclid(1461), shifted.rem_euclid(1461));
    let year_of_era = (of_era - of_era / 1460) / 365;
    from_march(year_of_era + era * 4, of_era - 365 * year_of_era)
}

/// A day counted from the first of March of a year.
fn from_march(year: i64, of_year: i64) -> (i64, i64, i64) {
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + i64::from(month <= 2), month, day)
}

fn uuid_of(lineage: Lineage) -> String {
    uuid(lineage.0)
}

fn uuid(number: u128) -> String {
    let hex = format!("{number:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{BatchRecord, Counts, Identity},
        engine::{OperatorTiming, Timing, WayOut},
        spec,
        types::{BatchId, Digest, Incarnation},
        window::Watermarks,
    };

    #[test]
    fn times_have_milliseconds_and_rates_one_place() {
        assert_eq!(millis_iso(1_756_800_029_000, None), "2025-09-02T08:00:29.000Z");
        assert_eq!(millis_iso(-1, None), "1969-12-31T23:59:59.999Z");
        let far = 1_756_800_029_000_000;
        assert!(millis_iso(far, Some(Compat::Spark4)).starts_with("+57640-"));
        assert!(millis_iso(far, Some(Compat::Spark35)).starts_with("57640-"));
        let year_one = -62_135_596_800_000;
        assert_eq!(millis_iso(year_one, None), "0001-01-01T00:00:00.000Z");
        assert_eq!(millis_iso(year_one - 1, None), "0000-12-31T23:59:59.999Z");
        assert_eq!(millis_iso(year_one - 1, Some(Compat::Spark4)), "0001-12-31T23:59:59.999Z");
        assert_eq!(millis_iso(year_one, Some(Compat::Spark35)), "0001-01-03T00:00:00.000Z");
        assert_eq!(millis_iso(year_one - 1000, Some(Compat::Spark35)), "0001-01-02T23:59:59.000Z");
        let first = i64::MIN / 1000;
        assert_eq!(millis_iso(first, Some(Compat::Spark35)), "290303-12-10T19:59:05.225Z");
        assert!(millis_iso(first, None).starts_with("-290308-12-21T19:59:05.225"));
        assert_eq!(rate(10, 3000), Some(3.3));
        assert_eq!(rate(10, 0), None);
    }

    #[test]
    fn a_line_that_a_kill_tore_is_taken_away_and_nothing_else() {
        let ends_as = |before: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(before.as_bytes()).unwrap();
            end_at_a_line(&mut file).unwrap();
            let mut text = String::new();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        let begun = "{\"id\":\"00112233-4455-6677-8899-aabbccddeeff\",\"runId\":\"";
        let whole = format!("{begun}0\"}}\n");
        for torn in [
            "",
            "{",
            "{\"id\":",
            &begun[..20],
            &format!("{begun}00"),
            whole.trim_end_matches("}\n"),
        ] {
            assert_eq!(ends_as(&format!("{whole}{torn}")), whole);
            assert_eq!(ends_as(torn), "");
        }
        // Whole, but for its end; begun by somebody else.
        for other in [whole.trim_end(), "{\"id\":\"some\",\"runId", "{\"id\":\"1\"}"] {
            assert_eq!(ends_as(&format!("{whole}{other}")), format!("{whole}{other}\n"));
            assert_eq!(ends_as(other), format!("{other}\n"));
        }
        assert_eq!(ends_as(&format!("{whole}a note")), format!("{whole}a note\n"));
        let long = format!("{begun}{}", "0".repeat(2 << 20));
        assert_eq!(ends_as(&long), format!("{long}\n"));
        assert_eq!(ends_as(&format!("{whole}{long}")), format!("{whole}{long}\n"));
    }

    fn record() -> BatchRecord {
        BatchRecord {
            batch: BatchId(0),
            incarnation: Incarnation(1),
            clock_ms: 0,
            took_ms: 0,
            ranges: BTreeMap::new(),
            watermarks: Watermarks::FIRST,
            next_watermarks: Watermarks::FIRST,
            output_mode: OutputMode::Append,
            counts: Counts::default(),
            totals: Counts::default(),
            operators: vec![OperatorCounts::default(); 2],
            event_times: None,
            rows_digest: Digest::ZERO,
            previous: Digest::ZERO,
            digest: Digest::ZERO,
        }
    }

    #[test]
    fn what_was_measured_stands_at_the_key_that_names_it() {
        let text = format!(
            "{}\n[drop_duplicates]\ncolumns = [\"store\"]\nwithin_watermark = true\n",
            spec::preset("sales").unwrap()
        );
        let pipeline = spec::parse(&text, "sales").unwrap().pipeline;
        let ms = Duration::from_millis;
        let operator = |first: u64| OperatorTiming {
            updates: ms(first),
            removals: ms(first + 1),
            memory_bytes: first + 2,
        };
        let timing = Timing {
            latest_offset: ms(1),
            planning: ms(2),
            open: ms(4),
            read: ms(8),
            plan: ms(16),
            groups: operator(100),
            keys: operator(200),
            ..Timing::default()
        };
        let way_out = WayOut { persist: ms(32), announce: ms(64), publish: ms(128), mark: ms(256) };
        let record = record();
        let (lineage, batch) = (Lineage(1), record.batch);
        let incarnation = record.incarnation;
        let identity = Identity { lineage, incarnation, batch, digest: record.digest };
        let report = Report { identity, record: &record, timing: &timing, way_out };
        let line = Progress::new(&pipeline, 0, "console".to_owned()).line(&report);
        assert!((1..line.len()).all(|end| is_torn(&line.as_bytes()[..end])));
        assert!(!is_torn(line.as_bytes()));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "addBatch": 8 + 16 + 128, "commitOffsets": 256, "getBatch": 4, "latestOffset": 1,
            "queryPlanning": 2, "triggerExecution": 511, "walCommit": 32 + 64,
        });
        assert_eq!(line["durationMs"], expected);
        for (index, first) in [(0, 100), (1, 200)] {
            let operator = &line["stateOperators"][index];
            assert_eq!(operator["allUpdatesTimeMs"], first, "{operator}");
            assert_eq!(operator["allRemovalsTimeMs"], first + 1, "{operator}");
            assert_eq!(operator["memoryUsedBytes"], first + 2, "{operator}");
            assert_eq!(operator["commitTimeMs"], 32, "{operator}");
        }
    }

    #[test]
    fn a_lineage_is_shown_as_a_uuid() {
        assert_eq!(
            uuid(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            "00112233-4455-6677-8899-aabbccddeeff"
        );
    }
}
