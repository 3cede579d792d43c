//! What was typed, the spec and the defaults, and how a run says that it ended.

use std::fs;

use super::*;
use crate::{
    batch::Counts,
    cli,
    spec::{MaxOffsets, OutputMode, ParseMode},
};

/// What a run with these options has chosen.
fn chosen(options: &[&str]) -> Result<Choices, Failure> {
    let arguments = ["sales-stream"].iter().chain(options);
    choose(*cli::parse(arguments).unwrap_or_else(|error| panic!("{error}")).run)
}

fn refused(options: &[&str], part: &str) {
    let Err(failure) = chosen(options) else { panic!("{options:?} are taken") };
    assert_eq!(failure.code, 2, "{}", failure.message);
    assert!(failure.message.contains(part), "{}", failure.message);
}

/// The preset `sales` with `lines` at the end of its `[run]`, in a file.
fn spec_with(lines: &str) -> (tempfile::TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("spec.toml");
    fs::write(&path, format!("{}\n{lines}\n", crate::spec::preset("sales").unwrap())).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (home, path)
}

#[test]
fn nothing_said_is_the_preset_sales_with_the_defaults() {
    let choices = chosen(&["--memory-limit", "4GiB"]).unwrap();
    assert_eq!(choices.pipeline.name, "sales");
    assert_eq!(choices.group_id, "sales-stream-sales");
    assert_eq!(choices.state, PathBuf::from("./checkpoints/sales"));
    assert_eq!(choices.sinks, [SinkSpec::Console]);
    assert_eq!(choices.client.brokers(), "localhost:9092");
    assert_eq!(choices.console, ConsoleOptions::default());
    let settings = choices.settings;
    assert_eq!(settings.trigger, DEFAULT_TRIGGER);
    assert_eq!(settings.max_offsets, MaxOffsets::Limited(1_000_000));
    assert_eq!(settings.starting_offsets, StartingOffsets::Latest);
    assert_eq!(settings.startup_timeout, None);
    assert_eq!(settings.shutdown_timeout, DEFAULT_SHUTDOWN);
    assert_eq!(settings.permissions, Permissions::default());
    assert!(!settings.keep_dead_letters);
}

#[test]
fn the_spec_wins_over_the_defaults_and_an_option_over_the_spec() {
    let (_home, spec) = spec_with(
        "starting_offsets = \"earliest\"\nmax_offsets_per_trigger = 7\nbrokers = \"spec:1\"\n\
         group_id = \"of-spec\"\nnum_rows = 3\ntruncate = true\nstartup_timeout = \"5s\"\n\
         checkpoint_dir = \"state\"\ndead_letter = \"files:dead\"\nmode = \"failfast\"",
    );
    let choices = chosen(&["--pipeline", &spec]).unwrap();
    assert_eq!(choices.settings.starting_offsets, StartingOffsets::Earliest);
    assert_eq!(choices.settings.max_offsets, MaxOffsets::Limited(7));
    assert_eq!(choices.settings.startup_timeout, Some(Duration::from_secs(5)));
    assert_eq!(choices.client.brokers(), "spec:1");
    assert_eq!(choices.group_id, "of-spec");
    assert_eq!(choices.state, PathBuf::from("state/sales"));
    assert_eq!(choices.console.num_rows, 3);
    assert_eq!(choices.console.truncate, Truncate::TRUE);
    assert_eq!(choices.pipeline.parse_mode, ParseMode::FailFast);
    assert!(choices.settings.keep_dead_letters);

    let choices = chosen(&[
        "--pipeline",
        &spec,
        "--starting-offsets",
        "latest",
        "--max-offsets-per-trigger",
        "unlimited",
        "--brokers",
        "flag:2",
        "--group-id",
        "of-flag",
        "--num-rows",
        "4",
        "--truncate",
        "10",
        "--startup-timeout",
        "6s",
        "--checkpoint-dir",
        "other",
        "--mode",
        "permissive",
        "--trigger",
        "available-now",
        "--output-mode",
        "update",
        "--sink",
        "none",
        "--sink",
        "files:out",
        "--topic",
        "t",
        "--watermark",
        "1m",
        "--max-future-skew",
        "1h",
    ])
    .unwrap();
    assert_eq!(choices.settings.starting_offsets, StartingOffsets::Latest);
    assert_eq!(choices.settings.max_offsets, MaxOffsets::Unlimited);
    assert_eq!(choices.settings.trigger, Trigger::AvailableNow);
    assert_eq!(choices.settings.startup_timeout, Some(Duration::from_secs(6)));
    assert_eq!(choices.client.brokers(), "flag:2");
    assert_eq!(choices.group_id, "of-flag");
    assert_eq!(choices.state, PathBuf::from("other/sales"));
    assert_eq!(choices.console.num_rows, 4);
    assert_eq!(choices.console.truncate, Truncate::After(10));
    assert_eq!(choices.sinks, [SinkSpec::None, SinkSpec::Files("out".into())]);
    let pipeline = choices.pipeline;
    assert_eq!(pipeline.topic, "t");
    assert_eq!(pipeline.output_mode, OutputMode::Update);
    assert_eq!(pipeline.parse_mode, ParseMode::Permissive);
    assert_eq!(pipeline.max_future_skew_ms, Some(3_600_000));
    assert_eq!(pipeline.event_time.unwrap().watermark_delay_ms, Some(60_000));
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_touched() {
    refused(&["--sink", "none", "--sink", "none"], "--sink none is given twice");
    refused(&["--sink", "files:a", "--dead-letter", "files:./a/"], "cannot both go to a");
    refused(&["--starting-offsets", r#"{"other":{"0":1}}"#], "topic \"other\"");
    refused(&["--pipeline", "transactions", "--output-mode", "complete"], "--output-mode");
    refused(&["--pipeline", "nope"], "sales and transactions");
    refused(&["--brokers", ""], "--brokers");
}

#[test]
fn unsafe_kafka_options_need_their_own_flag_also_in_a_spec() {
    let unsafe_option = ["--kafka-option", "plugin.library.paths=secret"];
    refused(&unsafe_option, "--allow-unsafe-kafka-options");
    let allowed = [unsafe_option[0], unsafe_option[1], "--allow-unsafe-kafka-options"];
    assert!(chosen(&allowed).is_ok());
    refused(&["--kafka-option", "group.id=x"], "use --group-id");
    let (_home, spec) = spec_with("[run.kafka]\n\"ssl.engine.location\" = \"x\"");
    refused(&["--pipeline", &spec], "ssl.engine.location");
}

#[test]
fn a_run_ends_with_one_line_of_counts() {
    let mut totals = Counts { rows_in: 1234, late: 3, rows_out: 40, ..Counts::default() };
    totals.faults[FaultReason::Syntax as usize] = 3;
    totals.faults[FaultReason::WrongType as usize] = 2;
    let end = End::Stopped { unfinished: false };
    let mut summary = Summary { end, last: Some(BatchId(12)), batches: 13, totals };
    assert_eq!(
        closing_line(&summary),
        "stopped after batch 12: 1,234 records read, 3 late, 5 malformed (syntax 3, wrong_type 2), \
         40 rows published"
    );
    summary.batches = 1;
    summary.totals = Counts { rows_in: 1, nulled: 1_000_000, ..Counts::default() };
    summary.end = End::Finished;
    assert_eq!(
        closing_line(&summary),
        "finished after batch 12: 1 record read, 0 late, 0 malformed, 0 rows published, 1,000,000 \
         results NULL because they did not fit (1 batch in this run)"
    );
    summary.last = None;
    assert_eq!(closing_line(&summary), "finished before the first batch");
}
