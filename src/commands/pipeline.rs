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
        self, EventTime, MAX_DURATION, PRESETS, Pipeline, Query, Spec, TimeFormat, Window,
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
            let (_, spec) = read(file)?;
            print(&describe(&spec.pipeline))
        }
    }
}

/// The text of a preset, a file, or stdin (`-`), checked.
pub(super) fn read(name: &str) -> Result<(String, Spec), Failure> {
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
    match spec::parse(&text, origin) {
        Ok(spec) => Ok((text, spec)),
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
    if let Query::Aggregation(aggregation) = &pipeline.query {
        let window = match &aggregation.window {
            Some(Window::Sliding(window)) => {
                format_duration(Duration::from_micros(window.duration_us.unsigned_abs()))
            }
            Some(Window::Session(_)) => "sessions".to_owned(),
            None => "none".to_owned(),
        };
        let keys: Vec<&str> =
            aggregation.keys.iter().map(|key| pipeline.schema[*key].name.as_str()).collect();
        let by = if keys.is_empty() { String::new() } else { format!(", by {}", keys.join(", ")) };
        line("window", &format!("{window}{by}"));
    }
    if pipeline.filter.is_some() {
        line("where", "records for which its condition is not true are left out");
    }
    line("output mode", pipeline.output_mode.name());
    let width = pipeline.output.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
    for (index, column) in pipeline.output.iter().enumerate() {
        let name = if index == 0 { "columns" } else { "" };
        line(name, &format!("{:width$}  {}", column.name, column.data_type));
    }
    text
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
        let (_, spec) = read("sales").unwrap();
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
    fn a_name_that_is_no_preset_is_told_from_a_file_that_cannot_be_read() {
        let failure = read("slaes").err().unwrap();
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("sales and transactions"), "{}", failure.message);
        let failure = read("./not-there.toml").err().unwrap();
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
        let failure = read(path.to_str().unwrap()).err().unwrap();
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("bad.toml has "), "{}", failure.message);
        assert!(failure.message.lines().count() >= 3, "{}", failure.message);
    }
}
