//! The engine against what real Spark printed: the golden cases, replayed batch by batch.
//!
//! Each case's batches are cut where Spark cut them, restarts are made by replaying the log of changes
//! as Spark replays its delta files, and rows in order, watermarks, event times and state counts must
//! be Spark's. Cases of a kind that is not this room's (offsets, parsing, refusals) are left out by
//! what they are, not by name.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, sync::Arc};

use serde_json::{Map, Value as Json};

use super::{Bounds, Change, SparkEngine, SparkError, topic_order};
use crate::{
    decode::{self, Decoder},
    spec::{self, OutputMode, Pipeline, Query, SessionGap, Window},
    types::{
        EventTimeStats, EventTimes, Partition, Rows, Timestamp, Value, Watermark, double_text,
        timestamp_text,
    },
};

type Object = Map<String, Json>;

fn cases(version: &str) -> Vec<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/spark");
    let root = std::env::var("GOLDEN_DIR").map_or_else(|_| PathBuf::from(own), PathBuf::from);
    let entries = std::fs::read_dir(root.join(version)).expect("the golden cases are there");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn object(path: PathBuf) -> Object {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn text<'j>(object: &'j Object, key: &str) -> Option<&'j str> {
    object.get(key).and_then(Json::as_str)
}

/// What a case is about that this room has no part in.
fn is_elsewhere(case: &Object) -> Option<&'static str> {
    let steps = case["steps"].as_array().unwrap();
    let has = |key: &str| steps.iter().any(|step| step.get(key).is_some());
    match text(case, "pipeline").unwrap() {
        "SALES" | "SALES_MS" | "SALES_ISO" => {}
        _ => return Some("rows as they were parsed"),
    }
    if has("recreate_topic") {
        return Some("a topic made anew");
    }
    if case.get("conf").is_some_and(|conf| conf.get("spark.sql.session.timeZone").is_some()) {
        return Some("how times are printed");
    }
    None
}

/// The spec of one start.
fn spec_text(case: &Object, version: &str) -> String {
    let mut spec = String::new();
    let mut line = |text: String| writeln!(spec, "{text}").unwrap();
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let get = |key: &str| text(case, key);
    let topic = get("real_topic").or(get("topic")).unwrap();
    line(format!("name = \"sales\"\ntopic = {}", quoted(topic)));
    line(format!("compat = \"spark-{}\"", if version.starts_with('3') { "3.5" } else { "4" }));
    let empty = Object::new();
    let conf = case.get("conf").and_then(Json::as_object).unwrap_or(&empty);
    if let Some(zone) = text(conf, "spark.sql.session.timeZone") {
        line(format!("session_time_zone = {}", quoted(zone)));
    }
    for (ours, theirs) in [("where", "where"), ("where_after_watermark", "where_after")] {
        if let Some(condition) = get(theirs) {
            line(format!("{ours} = {}", quoted(condition)));
        }
    }
    let dedup =
        ["dedup", "dedup_plain", "dedup_exact"].into_iter().find(|key| case.contains_key(*key));
    let is_grouped = dedup.is_none() || case.get("dedup_then_window").is_some();
    let group = get("group");
    let keys: &[&str] = match group {
        Some("window_item") => &["item"],
        Some("window_only" | "global") => &[],
        Some("window_store_item") => &["store", "item"],
        _ => &["store"],
    };
    let sum = "total_revenue_int = { sum = \"price\", cast = \"int\" }";
    let aggregates = match get("agg") {
        Some("sum_count") => format!("{sum}\nn = {{ count = \"price\" }}"),
        Some("count") => "total_revenue_int = { count = \"price\" }".to_owned(),
        Some("avg") => "total_revenue_int = { avg = \"price\" }".to_owned(),
        Some("sum_double") => "total_revenue = { sum = \"price\" }".to_owned(),
        Some("max") => "total_revenue_int = { max = \"price\" }".to_owned(),
        Some("count_all") => "count = { count = \"*\" }".to_owned(),
        Some("stats") => "sum_price = { sum = \"price\" }\ncount_all = { count = \"*\" }\n\
            count_price = { count = \"price\" }\nmin_price = { min = \"price\" }\n\
            max_price = { max = \"price\" }\navg_price = { avg = \"price\" }"
            .to_owned(),
        Some("min_max_string") => {
            "min_item = { min = \"item\" }\nmax_item = { max = \"item\" }".to_owned()
        }
        Some("decimal") => "sum_price = { sum = \"price\" }".to_owned(),
        _ => sum.to_owned(),
    };
    let mut output: Vec<String> = Vec::new();
    if is_grouped {
        output.extend(keys.iter().map(|key| quoted(key)));
        let names = aggregates.lines().map(|line| line.split(' ').next().unwrap());
        output.extend(names.map(&quoted));
        if !matches!(group, Some("store_only" | "global")) {
            output.extend(["window_start", "window_end"].map(quoted));
        }
        let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
        line(format!("group_by = [{}]", keys.join(", ")));
    } else {
        output.extend(["store", "item", "price", "ts", "event_time"].map(quoted));
    }
    line(format!("output = [{}]", output.join(", ")));
    let pipeline = get("pipeline").unwrap();
    let price = if get("agg") == Some("decimal") { "decimal(18,2)" } else { "double" };
    let ts = if pipeline.ends_with("_ISO") { "string" } else { "long" };
    line(format!(
        "[schema]\nstore = \"string\"\nitem = \"string\"\nprice = \"{price}\"\nts = \"{ts}\""
    ));
    let format = match pipeline {
        "SALES_MS" => "milliseconds",
        "SALES_ISO" => get("iso_pattern").unwrap_or("iso"),
        _ => "seconds",
    };
    line(format!("[event_time]\ncolumn = \"ts\"\nformat = {}", quoted(format)));
    match case.get("watermark_delay") {
        Some(Json::Null) => {}
        delay => {
            let delay = delay.and_then(Json::as_str).unwrap_or("30 seconds");
            line(format!("watermark = {}", quoted(delay)));
        }
    }
    if let Some(kind) = dedup {
        line(format!("[drop_duplicates]\ncolumns = {}", case[kind]));
        match kind {
            "dedup" => line("within_watermark = true".to_owned()),
            "dedup_plain" => line("event_time = true".to_owned()),
            _ => {}
        }
    }
    if is_grouped {
        if !matches!(group, Some("store_only" | "global")) {
            line("[window]".to_owned());
            if let Some(gap) = get("session_gap_expr") {
                line(format!("session_gap_expr = {}", quoted(gap)));
            } else if let Some(gap) = get("session_gap") {
                line(format!("session_gap = {}", quoted(gap)));
            } else {
                line(format!("duration = {}", quoted(get("window").unwrap_or("30 seconds"))));
                for (ours, theirs) in [("slide", "slide"), ("start", "start_time")] {
                    if let Some(value) = get(theirs) {
                        line(format!("{ours} = {}", quoted(value)));
                    }
                }
            }
        }
        line(format!("[aggregates]\n{aggregates}"));
    }
    line("[spark]".to_owned());
    let partitions = text(conf, "spark.sql.shuffle.partitions").unwrap_or("1");
    line(format!("shuffle_partitions = {partitions}"));
    if let Some(ansi) = text(conf, "spark.sql.ansi.enabled") {
        line(format!("ansi = {ansi}"));
    }
    if conf.contains_key("spark.sql.streaming.stateStore.providerClass") {
        line("state_store = \"rocksdb\"".to_owned());
    }
    if let Some(policy) = text(conf, "spark.sql.legacy.timeParserPolicy") {
        line(format!("time_parser_policy = \"{}\"", policy.to_lowercase()));
    }
    line(format!("[run]\noutput_mode = \"{}\"", get("output_mode").unwrap()));
    spec
}

/// One batch as the harness remembers it.
struct Ran {
    bounds: Bounds,
    next: Watermark,
    changes: Vec<Change>,
}

struct Replay<'c> {
    case: &'c Object,
    version: &'c str,
    /// The case with the overrides of the starts so far.
    job: Object,
    records: BTreeMap<i32, Vec<Option<Vec<u8>>>>,
    ran: Vec<Ran>,
    /// Whether a partition without a start begins at the end: the first batch of `latest`.
    from_end: bool,
    engine: Option<(SparkEngine, Arc<Pipeline>, Decoder)>,
}

impl Replay<'_> {
    fn run(&mut self, expected: &Object) -> Result<usize, String> {
        let steps = self.case["steps"].as_array().unwrap();
        let mut events: BTreeMap<u64, Vec<&Json>> = BTreeMap::new();
        for event in expected["events"].as_array().unwrap() {
            events.entry(event["after_step"].as_u64().unwrap()).or_default().push(event);
        }
        let mut batches = 0;
        for (index, step) in steps.iter().enumerate() {
            for record in step.get("produce").and_then(Json::as_array).into_iter().flatten() {
                let partition = i32::try_from(record["partition"].as_i64().unwrap()).unwrap();
                self.records.entry(partition).or_default().push(value_of(record));
            }
            if let Some(overrides) = step.get("start").and_then(Json::as_object) {
                self.job.extend(overrides.clone());
                self.engine = None;
            }
            for event in events.remove(&(index as u64)).unwrap_or_default() {
                for batch in event["batches"].as_array().unwrap() {
                    self.batch(batch)
                        .map_err(|problem| format!("batch {}: {problem}", batch["batchId"]))?;
                    batches += 1;
                }
                if let Some(error) = event.get("error").and_then(Json::as_str) {
                    self.failure(error)?;
                    batches += 1;
                }
            }
        }
        Ok(batches)
    }

    /// Starts at batch `id`, if nothing runs.
    fn start(&mut self, id: usize) -> Result<(), String> {
        if self.engine.is_some() {
            return Ok(());
        }
        let text = spec_text(&self.job, self.version);
        let spec = spec::parse(&text, "case").map_err(|error| {
            let kind = if self.job.contains_key("session_gap_expr") { "elsewhere: " } else { "" };
            format!("{kind}{error}\n{text}")
        })?;
        let pipeline = Arc::new(spec.pipeline);
        let decoder = Decoder::new(&pipeline).map_err(|error| error.to_string())?;
        let mut engine = SparkEngine::new(&pipeline).expect("it is in a compatibility mode");
        self.ran.truncate(id);
        if self.ran.len() < id {
            return Err(format!("batch {id} follows no batch"));
        }
        let changes = self.ran.iter().flat_map(|ran| &ran.changes);
        let replayed = engine.replay(changes).and_then(|()| engine.resume(id as u64));
        replayed.map_err(|error| error.to_string())?;
        self.engine = Some((engine, pipeline, decoder));
        Ok(())
    }

    fn execute(
        &mut self,
        ends: &BTreeMap<i32, i64>,
        starts: &BTreeMap<i32, i64>,
    ) -> Result<(super::SparkOutcome, Bounds, Option<EventTimes>), Failed> {
        let bounds =
            self.ran
                .last()
                .map_or(Bounds { late: Watermark::ZERO, closing: Watermark::ZERO }, |last| {
                    Bounds { late: last.bounds.closing, closing: last.next }
                });
        let (engine, pipeline, decoder) = self.engine.as_mut().expect("it was started");
        let mut batch = engine.open(bounds.late);
        let mut times: BTreeMap<Partition, EventTimeStats> = BTreeMap::new();
        for (&partition, &end) in ends {
            let begin =
                starts.get(&partition).copied().unwrap_or(if self.from_end { end } else { 0 });
            let records = self.records.get(&partition).map_or(&[][..], Vec::as_slice);
            for offset in begin..end {
                let value = &records[usize::try_from(offset).unwrap()];
                let decoded = decoder.decode(value.as_deref());
                let times = times.entry(Partition(partition)).or_default();
                take(pipeline, (&mut batch, times), Partition(partition), &decoded.event)?;
            }
        }
        let outcome =
            engine.close(batch, bounds, ends.len(), &mut |_| {}).map_err(Failed::Spark)?;
        let mut all = EventTimeStats::default();
        let order = topic_order(pipeline.semantics.compat.unwrap(), &pipeline.topic, ends.len());
        order
            .iter()
            .filter_map(|partition| times.get(partition))
            .for_each(|times| all.merge(times));
        Ok((outcome, bounds, all.times()))
    }

    fn batch(&mut self, expected: &Json) -> Result<(), String> {
        let id = usize::try_from(expected["batchId"].as_u64().unwrap()).unwrap();
        self.start(id)?;
        if id != self.ran.len() {
            return Err(format!("expected batch {}", self.ran.len()));
        }
        let source = &expected["sources"][0];
        let (starts, ends) = (offsets(&source["startOffset"]), offsets(&source["endOffset"]));
        let rows_in = expected["numInputRows"].as_u64().unwrap();
        self.from_end = source["startOffset"].is_null() && rows_in == 0;
        let (outcome, bounds, times) =
            self.execute(&ends, &starts).map_err(|failed| format!("ended: {failed:?}"))?;
        let (_, pipeline, _) = self.engine.as_ref().expect("it was started");
        let delay = pipeline.event_time.as_ref().and_then(|time| time.watermark_delay_ms);
        let newest = times.map_or(i64::MIN, |times| times.max_ms);
        let next = delay.map_or(0, |delay| newest.saturating_sub(delay)).max(bounds.closing.0);
        let times = times.filter(|_| delay.is_some());
        compare_times(&expected["eventTime"], times, bounds, delay.is_some())?;
        compare_state(&expected["state"], &outcome)?;
        let (engine, pipeline, _) = self.engine.as_ref().expect("it was started");
        if pipeline.output_mode == OutputMode::Complete {
            compare_open_groups(engine, &outcome.rows)?;
        }
        let limit = self.case["sink_options"].get("numRows").and_then(Json::as_str);
        let limit = limit.map_or(20, |limit| limit.parse::<i64>().unwrap().max(0));
        let is_cut =
            self.case["sink_options"].get("truncate").and_then(Json::as_str) != Some("false");
        compare_rows(&expected["output"], &outcome.rows, usize::try_from(limit).unwrap(), is_cut)?;
        self.ran.push(Ran { bounds, next: Watermark(next), changes: outcome.changes });
        Ok(())
    }

    /// The next batch, of all there is, must end as Spark's did.
    fn failure(&mut self, error: &str) -> Result<(), String> {
        let class = error.split([']', '.']).next().unwrap_or_default().trim_start_matches('[');
        let class = if error.contains("CAST_OVERFLOW") { "CAST_OVERFLOW" } else { class };
        if !matches!(class, "CAST_OVERFLOW" | "ARITHMETIC_OVERFLOW") {
            return Err(format!("elsewhere: {}", error.lines().next().unwrap_or_default()));
        }
        self.start(self.ran.len())?;
        let ends =
            self.records.iter().map(|(&partition, records)| (partition, records.len() as i64));
        let ends: BTreeMap<i32, i64> = ends.collect();
        let found = match self.execute(&ends, &BTreeMap::new()) {
            Err(Failed::Spark(SparkError::Failure(failure))) => failure.class.name(),
            other => return Err(format!("expected {class}, not {other:?}")),
        };
        if found == class { Ok(()) } else { Err(format!("expected {class}, not {found}")) }
    }
}

/// What is open in complete mode is what was published.
fn compare_open_groups(engine: &SparkEngine, published: &Rows) -> Result<(), String> {
    let mut found = Vec::new();
    for group in engine.open_groups().map_err(|error| error.to_string())? {
        found.extend(texts(&engine.row_of(&group).map_err(|error| error.to_string())?));
    }
    let mut published = texts(published);
    found.sort();
    published.sort();
    if found == published { Ok(()) } else { Err(format!("open: {found:?}, not {published:?}")) }
}

fn texts(rows: &Rows) -> Vec<String> {
    let mut reader = rows.reader();
    std::iter::from_fn(|| reader.next().map(|row| format!("{row:?}"))).collect()
}

#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug")]
enum Failed {
    Spark(SparkError),
    Other(String),
}

/// Gives a record to the batch as the job does.
fn take(
    pipeline: &Pipeline,
    (batch, times): (&mut super::SparkBatch, &mut EventTimeStats),
    partition: Partition,
    event: &crate::types::Event<'_>,
) -> Result<(), Failed> {
    let evaluator = decode::Evaluator::new(pipeline).expect("its expressions can be used");
    let keeps = |filter| evaluator.keeps(filter, event).expect("no value ends a case here");
    if pipeline.filter.as_ref().is_some_and(|filter| !keeps(filter)) {
        return Ok(());
    }
    times.observe(event.time);
    if pipeline.filter_above_watermark.as_ref().is_some_and(|filter| !keeps(filter)) {
        return Ok(());
    }
    let gap = match &pipeline.query {
        Query::Aggregation(aggregation) => match &aggregation.window {
            Some(Window::Session(SessionGap::Dynamic(gap))) => {
                match evaluator.evaluate(gap, event, &decode::Texts::default()) {
                    Ok(Value::String(text)) => spec::parse_duration(text).ok(),
                    _ => None,
                }
            }
            _ => None,
        },
        Query::Projection => None,
    };
    let gap = gap.and_then(|gap| i64::try_from(gap.as_micros()).ok());
    let row: Vec<Value<'_>> = match &pipeline.query {
        Query::Aggregation(_) => Vec::new(),
        Query::Projection => (0..4)
            .map(|column| event.value(column))
            .chain([event.time.map_or(Value::Null, Value::Timestamp)])
            .collect(),
    };
    let added = batch.add(partition, event, gap, &row);
    added.map(|_| ()).map_err(|failure| Failed::Spark(failure.into()))
}

fn value_of(record: &Json) -> Option<Vec<u8>> {
    if let Some(text) = record.get("value").and_then(Json::as_str) {
        return Some(text.as_bytes().to_vec());
    }
    let encoded = record.get("value_b64").and_then(Json::as_str)?;
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in encoded.bytes().filter(|byte| *byte != b'=') {
        bits = (bits << 6 | u32::from(digit(byte))) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

fn offsets(json: &Json) -> BTreeMap<i32, i64> {
    let topics = json.as_object().into_iter().flatten();
    let partitions = topics.flat_map(|(_, partitions)| partitions.as_object().unwrap());
    partitions
        .map(|(partition, offset)| (partition.parse().unwrap(), offset.as_i64().unwrap()))
        .collect()
}

fn iso_ms(ms: i64) -> String {
    let whole =
        timestamp_text(Timestamp(ms.div_euclid(1000).saturating_mul(1_000_000))).replace(' ', "T");
    format!("{whole}.{:03}Z", ms.rem_euclid(1000))
}

fn compare_times(
    expected: &Json,
    times: Option<EventTimes>,
    bounds: Bounds,
    has_watermark: bool,
) -> Result<(), String> {
    let mut found = BTreeMap::new();
    if has_watermark {
        found.insert("watermark", bounds.closing.0);
    }
    if let Some(times) = times {
        found.insert("min", times.min_ms);
        found.insert("max", times.max_ms);
        found.insert("avg", times.average_ms);
    }
    let found: BTreeMap<String, String> =
        found.into_iter().map(|(name, ms)| (name.to_owned(), iso_ms(ms))).collect();
    let expected = expected.as_object().into_iter().flatten();
    let expected: BTreeMap<String, String> =
        expected.map(|(name, time)| (name.clone(), time.as_str().unwrap().to_owned())).collect();
    // Spark writes times before 1582 by the Julian calendar: how is not this room's.
    const GREGORIAN_MS: i64 = -12_219_292_800_000;
    if times.is_some_and(|times| times.min_ms < GREGORIAN_MS) {
        return Ok(());
    }
    // Years beyond 9999 are written in other ways.
    let plain = |times: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let shown = |time: &String| time.trim_start_matches('+').to_owned();
        times.iter().map(|(name, time)| (name.clone(), shown(time))).collect()
    };
    if plain(&found) == plain(&expected) {
        Ok(())
    } else {
        Err(format!("times {found:?}, expected {expected:?}"))
    }
}

fn compare_state(expected: &Json, outcome: &super::SparkOutcome) -> Result<(), String> {
    let number = |state: &Json, key: &str| state[key].as_u64().unwrap();
    let expected: Vec<[u64; 4]> = expected
        .as_array()
        .into_iter()
        .flatten()
        .map(|state| {
            ["numRowsTotal", "numRowsUpdated", "numRowsRemoved", "numRowsDroppedByWatermark"]
                .map(|key| number(state, key))
        })
        .collect();
    let found: Vec<[u64; 4]> = outcome
        .operators
        .iter()
        .map(|state| [state.total, state.updated, state.removed, state.dropped])
        .collect();
    if found == expected { Ok(()) } else { Err(format!("state {found:?}, expected {expected:?}")) }
}

fn compare_rows(expected: &Json, rows: &Rows, limit: usize, is_cut: bool) -> Result<(), String> {
    let Some(expected) = expected.get("rows").and_then(Json::as_array) else { return Ok(()) };
    let mut found = Vec::new();
    let mut reader = rows.reader();
    while let Some(row) = reader.next() {
        let cells = row.iter().map(|value| cell(*value, is_cut));
        found.push(cells.collect::<Vec<String>>());
    }
    found.truncate(limit);
    let expected: Vec<Vec<String>> = expected
        .iter()
        .map(|row| match row.as_array() {
            Some(cells) => {
                cells.iter().map(|cell| cell.as_str().unwrap().trim().to_owned()).collect()
            }
            None => Vec::new(),
        })
        .collect();
    let is_row =
        |expected: &Vec<String>, found: &Vec<String>| expected.is_empty() || expected == found;
    let same = |expected: &[Vec<String>], found: &[Vec<String>]| {
        expected.len() == found.len()
            && expected.iter().zip(found).all(|(expected, found)| is_row(expected, found))
    };
    if same(&expected, &found) {
        return Ok(());
    }
    let (mut left, mut right) = (expected.clone(), found.clone());
    left.sort();
    right.sort();
    let kind = if left == right { "order" } else { "rows" };
    Err(format!("{kind}: found {:?}\n      expected {:?}", head(&found), head(&expected)))
}

fn head(rows: &[Vec<String>]) -> Vec<String> {
    rows.iter().take(6).map(|row| row.join("|")).collect()
}

fn cell(value: Value<'_>, is_cut: bool) -> String {
    let text = match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => double_text(value),
        Value::String(text) => text.to_owned(),
        Value::Timestamp(time) => timestamp_text(time),
        Value::Decimal(value) => value.to_string(),
    };
    let text = match text.encode_utf16().count() {
        21.. if is_cut => format!("{}...", text.chars().take(17).collect::<String>()),
        _ => text,
    };
    text.replace('\n', "\\n").replace('\t', "\\t").trim().to_owned()
}

fn replay_all(version: &str) -> (usize, Vec<String>) {
    let (mut right, mut wrong) = (0, Vec::new());
    for path in cases(version) {
        let case = object(path.join("case.json"));
        if is_elsewhere(&case).is_some() {
            continue;
        }
        let mut replay = Replay {
            case: &case,
            version,
            job: case.clone(),
            records: BTreeMap::new(),
            ran: Vec::new(),
            from_end: false,
            engine: None,
        };
        let expected = object(path.join("expected_batches.json"));
        match replay.run(&expected) {
            Ok(_) => right += 1,
            Err(problem) if problem.contains("elsewhere: ") => {}
            Err(problem) => wrong.push(format!("{}: {problem}", case["name"])),
        }
    }
    (right, wrong)
}

#[test]
fn batches_are_those_of_spark_3_5() {
    let (right, wrong) = replay_all("3.5.7");
    println!("{right} right, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn batches_are_those_of_spark_4() {
    let (right, wrong) = replay_all("4.2.0");
    println!("{right} right, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
