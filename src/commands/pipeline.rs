//! `pipeline show` and `pipeline check`, and finding the spec of a run.
//!
//! Not here: what a spec may say (`crate::spec`).

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _},
    time::Duration,
};

use super::{Failure, print};
use crate::{
    cli::PipelineCommand,
    spec::{
        self, Asked, Compat, Deduplication, DeduplicationScope, EventTime, MAX_DURATION, PRESETS,
        Pipeline, Query, Semantics, SessionGap, Spec, SpecError, StateStore, TimeFormat, Window,
        format_duration,
    },
};

pub(super) fn pipeline(command: &PipelineCommand) -> Result<(), Failure> {
    match command {
        PipelineCommand::Show { name } => match spec::preset(name) {
            Some(text) => print(text),
            None => Err(Failure::new(2, no_such_preset(name))),
        },
        PipelineCommand::Check { file } => {
            let (_, spec) = read(file, Asked::default())?;
            print(&describe(&spec.pipeline))
        }
    }
}

/// The text of a preset, a file, or stdin (`-`), checked.
pub(super) fn read(name: &str, asked: Asked) -> Result<(String, Spec), Failure> {
    let (text, origin) = if name == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|error| {
            Failure::new(2, format!("reading a spec from stdin failed: {error}"))
        })?;
        (text, "stdin")
    } else if let Some(preset) = spec::preset(name) {
        (preset.to_owned(), name)
    } else {
        (read_file(name)?, name)
    };
    match spec::parse_for(&text, origin, asked) {
        Ok(spec) => {
            for SpecError { place, message } in &spec.doubts {
                tracing::warn!(%place, doubt = message, "the spec says what is most likely not meant");
            }
            Ok((text, spec))
        }
        Err(errors) => {
            let count = match errors.0.len() {
                1 => "a mistake".to_owned(),
                count => format!("{count} mistakes"),
            };
            Err(Failure::new(2, format!("the spec {origin} has {count}:\n{errors}")))
        }
    }
}

fn read_file(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let is_name = !path.contains(['/', '.']);
        let message = if error.kind() == io::ErrorKind::NotFound && is_name {
            no_such_preset(path)
        } else {
            format!("reading the spec {path} failed: {error}")
        };
        Failure::new(2, message)
    })
}

fn no_such_preset(name: &str) -> String {
    let presets: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    format!(
        "there is no pipeline {name:?}: the built-in ones are {}; any other is named by the path of \
         its spec, like ./mine.toml",
        presets.join(" and ")
    )
}

/// What a spec means, for its author.
fn describe(pipeline: &Pipeline) -> String {
    let mut text = format!("ok: pipeline {}\n", pipeline.name);
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<12} {value}").expect("a String takes everything");
    };
    line("topic", &pipeline.topic);
    if let Some(time) = &pipeline.event_time {
        line("event time", &event_time(pipeline, time));
    }
    if let Some(column) = pipeline.corrupt_column {
        let name = &pipeline.schema[column].name;
        line("json", &format!("what cannot be read goes whole into column {name}"));
    }
    let [below, above] = [&pipeline.filter, &pipeline.filter_above_watermark];
    if below.is_some() {
        line("where", "records for which its condition is not true are left out");
    }
    if above.is_some() {
        let what = "behind the watermark: records that are left out here still move it";
        line(if below.is_some() { "" } else { "where" }, what);
    }
    if let Some(deduplication) = &pipeline.deduplication {
        line("duplicates", &duplicates(pipeline, deduplication));
    }
    if let Query::Aggregation(aggregation) = &pipeline.query {
        let keys = names(pipeline, &aggregation.keys);
        let by = if keys.is_empty() { String::new() } else { format!(", by {keys}") };
        line("window", &format!("{}{by}", window(aggregation.window.as_ref())));
    }
    if pipeline.session_time_zone != "UTC" {
        line("time zone", &pipeline.session_time_zone);
    }
    if let Some(compat) = pipeline.semantics.compat {
        line("compat", &sparks_way(compat, &pipeline.semantics));
    }
    line("output mode", pipeline.output_mode.name());
    let width = pipeline.output.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
    for (index, column) in pipeline.output.iter().enumerate() {
        let name = if index == 0 { "columns" } else { "" };
        line(name, &format!("{:width$}  {}", column.name, column.data_type));
    }
    text
}

fn names(pipeline: &Pipeline, columns: &[usize]) -> String {
    let names: Vec<&str> =
        columns.iter().map(|column| pipeline.schema[*column].name.as_str()).collect();
    names.join(", ")
}

/// A length in microseconds, which may be negative.
fn length(length_us: i64) -> String {
    let text = format_duration(Duration::from_micros(length_us.unsigned_abs()));
    if length_us < 0 { format!("-{text}") } else { text }
}

fn window(window: Option<&Window>) -> String {
    match window {
        None => "none".to_owned(),
        Some(Window::Sliding(window)) => {
            let mut text = length(window.duration_us);
            if !window.is_tumbling() {
                text += &format!(" every {}", length(window.slide_us));
            }
            if window.offset_us != 0 {
                text += &format!(", starting at {}", length(window.offset_us));
            }
            text
        }
        Some(Window::Session(SessionGap::Fixed(gap_us))) => {
            format!("sessions that end after {} without an event", length(*gap_us))
        }
        Some(Window::Session(SessionGap::Dynamic(_))) => {
            "sessions that end after a gap that each event computes".to_owned()
        }
    }
}

fn duplicates(pipeline: &Pipeline, deduplication: &Deduplication) -> String {
    let columns = names(pipeline, &deduplication.columns);
    match deduplication.scope {
        DeduplicationScope::WithinWatermark => {
            format!("dropped by {columns}, remembered until the watermark passes them by its delay")
        }
        DeduplicationScope::WithEventTime => {
            format!(
                "dropped by {columns} and event time, remembered until the watermark reaches it"
            )
        }
        DeduplicationScope::Forever => format!("dropped by {columns}, remembered for ever"),
    }
}

fn sparks_way(compat: Compat, semantics: &Semantics) -> String {
    let partitions = match semantics.shuffle_partitions {
        1 => "1 shuffle partition".to_owned(),
        count => format!("{count} shuffle partitions"),
    };
    let state_store = match semantics.state_store {
        StateStore::Hdfs => "hdfs",
        StateStore::RocksDb => "rocksdb",
    };
    let ansi = if semantics.ansi { "on" } else { "off" };
    format!("{}, ANSI {ansi}, {partitions}, rows in the order of {state_store}", compat.name())
}

fn event_time(pipeline: &Pipeline, time: &EventTime) -> String {
    let format = match &time.format {
        TimeFormat::Seconds => "Unix seconds".to_owned(),
        TimeFormat::Milliseconds => "Unix milliseconds".to_owned(),
        TimeFormat::Iso => "ISO 8601".to_owned(),
        TimeFormat::Timestamp => "timestamp".to_owned(),
        TimeFormat::Pattern(pattern) => format!("pattern {pattern}"),
    };
    let watermark = match time.watermark_delay_ms {
        Some(delay_ms) => {
            let delay = u64::try_from(delay_ms).map_or(MAX_DURATION, Duration::from_millis);
            format!("watermark {}", format_duration(delay))
        }
        None => "no watermark".to_owned(),
    };
    format!("{} ({format}), {watermark}", pipeline.schema[time.column].name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checked_spec_is_described_with_its_columns_and_types() {
        let (_, spec) = read("sales", Asked::default()).unwrap();
        let expected = "\
ok: pipeline sales
  topic        sales
  event time   ts (Unix seconds), watermark 30s
  window       30s, by store
  output mode  append
  columns      store              string
               total_revenue_int  int
               window_start       timestamp
               window_end         timestamp
";
        assert_eq!(describe(&spec.pipeline), expected);
    }

    #[test]
    fn every_part_of_a_spec_is_described() {
        let sales = spec::preset("sales").unwrap();
        let described = |window: &str, head: &str| {
            let text = format!("{head}\n{sales}").replace("duration = \"30 seconds\"", window);
            describe(&spec::parse(&text, "x").unwrap_or_else(|errors| panic!("{errors}")).pipeline)
        };
        let hopping = described(
            "duration = \"30s\"\nslide = \"10s\"\nstart = \"-5s\"\n\
             [drop_duplicates]\ncolumns = [\"store\", \"item\"]\nwithin_watermark = true\n\
             [spark]\nshuffle_partitions = 3",
            "compat = \"spark-4\"\nsession_time_zone = \"America/New_York\"\n\
             where = \"price > 0\"\nwhere_after_watermark = \"event_time > TIMESTAMP '1970-01-02'\"",
        );
        for part in [
            "  where        records for which its condition is not true are left out\n",
            "               behind the watermark: records that are left out here still move it\n",
            "  duplicates   dropped by store, item, remembered until the watermark passes them",
            "  window       30s every 10s, starting at -5s, by store\n",
            "  time zone    America/New_York\n",
            "  compat       spark-4, ANSI on, 3 shuffle partitions, rows in the order of hdfs\n",
        ] {
            assert!(hopping.contains(part), "{part}\nin\n{hopping}");
        }
        let sessions = described("session_gap = \"90 seconds\"", "");
        assert!(sessions.contains("sessions that end after 1m 30s without"), "{sessions}");
        let own = described("session_gap_expr = \"'5 seconds'\"", "");
        assert!(own.contains("a gap that each event computes"), "{own}");
    }

    #[test]
    fn a_name_that_is_no_preset_is_told_from_a_file_that_cannot_be_read() {
        let failure = read("slaes", Asked::default()).err().unwrap();
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("sales and transactions"), "{}", failure.message);
        let failure = read("./not-there.toml", Asked::default()).err().unwrap();
        assert_eq!(failure.code, 2);
        assert!(failure.message.starts_with("reading the spec ./not-there.toml"));
    }

    #[test]
    fn every_mistake_of_a_file_is_named_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("bad.toml");
        let text = spec::preset("sales").unwrap();
        let text =
            text.replace("price = \"double\"", "price = \"money\"").replace("\"10s\"", "\"x\"");
        fs::write(&path, text).unwrap();
        let failure = read(path.to_str().unwrap(), Asked::default()).err().unwrap();
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("bad.toml has "), "{}", failure.message);
        assert!(failure.message.lines().count() >= 3, "{}", failure.message);
    }
}
