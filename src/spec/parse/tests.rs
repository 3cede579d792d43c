//! What a spec becomes, and what each mistake in one says.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::spec::{
    DeadLetterSpec, Deduplication, DeduplicationScope, KafkaSetting, MaxOffsets, MemoryLimit,
    PRESETS, ProgressSpec, Semantics, SessionGap, SinkSpec, SlidingWindow, StartingOffsets,
    StartingTimestamps, TimeParserPolicy, TimestampStrategy, Trigger, preset,
};

const SALES: &str = r#"name = "sales"
topic = "sales"
group_by = ["store"]
output = ["store", "total", "window_start", "window_end"]
where = "price > 0"

[schema]
store = "string"
item = "string"
price = "double"
ts = "long"

[event_time]
column = "ts"
format = "seconds"
watermark = "30 seconds"

[window]
duration = "30 seconds"

[aggregates]
total = { sum = "price", cast = "int" }

[run]
output_mode = "append"
"#;

fn read(text: &str) -> Spec {
    parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// The text with one piece replaced; the piece must be there.
fn changed(from: &str, to: &str) -> String {
    assert!(SALES.contains(from), "{from}");
    SALES.replacen(from, to, 1)
}

/// The mistakes after a replacement.
fn mistakes(from: &str, to: &str) -> String {
    let text = changed(from, to);
    parse(&text, "test.toml").expect_err(&text).to_string()
}

#[test]
fn a_spec_becomes_a_pipeline_of_resolved_names() {
    let pipeline = read(SALES).pipeline;
    assert_eq!(pipeline.name, "sales");
    assert_eq!(pipeline.schema.len(), 4);
    let time = pipeline.event_time.unwrap();
    assert_eq!((time.column, time.watermark_delay_ms), (3, Some(30_000)));
    let Query::Aggregation(aggregation) = pipeline.query else { panic!("a window") };
    assert_eq!(aggregation.keys, [0]);
    let aggregate = &aggregation.aggregates[0];
    assert_eq!((aggregate.name.as_str(), aggregate.column), ("total", Some(2)));
    let sources: Vec<OutputSource> = pipeline.output.iter().map(|column| column.source).collect();
    let expected = [
        OutputSource::Key(0),
        OutputSource::Aggregate(0),
        OutputSource::WindowStart,
        OutputSource::WindowEnd,
    ];
    assert_eq!(sources, expected);
    assert!(pipeline.filter.is_some());
    assert_eq!((pipeline.parse_mode, pipeline.max_future_skew_ms), (ParseMode::Permissive, None));
}

#[test]
fn a_spec_without_groups_is_a_projection() {
    let spec = read(
        r#"
        name = "raw"
        topic = "sales"
        output = ["price", { name = "at", from = "event_time" }, { name = "shop", from = "store" }]
        [schema]
        store = "string"
        price = "decimal(18,2)"
        time = "timestamp"
        [event_time]
        column = "time"
        "#,
    );
    let pipeline = spec.pipeline;
    assert_eq!(pipeline.query, Query::Projection);
    assert_eq!(pipeline.event_time.unwrap().format, TimeFormat::Timestamp);
    let columns: Vec<(&str, OutputSource)> =
        pipeline.output.iter().map(|column| (column.name.as_str(), column.source)).collect();
    let expected = [
        ("price", OutputSource::Column(1)),
        ("at", OutputSource::EventTime),
        ("shop", OutputSource::Column(0)),
    ];
    assert_eq!(columns, expected);
    assert_eq!(spec.run, RunOptions::default());
}

#[test]
fn keys_may_be_left_out_and_aggregates_may_count_records() {
    let text = changed("group_by = [\"store\"]\n", "")
        .replace("\"store\", \"total\"", "\"total\", \"n\"")
        .replace("total = {", "n = { count = \"*\" }\ntotal = {");
    let Query::Aggregation(aggregation) = read(&text).pipeline.query else { panic!("a window") };
    assert!(aggregation.keys.is_empty());
    assert_eq!(aggregation.aggregates[0].column, None);
    assert_eq!(aggregation.aggregates[0].output_type, DataType::Long);
}

#[test]
fn everything_in_run_is_read() {
    let text = changed(
        "output_mode = \"append\"\n",
        r#"trigger = "available-now"
        output_mode = "update"
        sinks = ["console", "files:out"]
        dead_letter = "files:dead"
        starting_offsets = '{"sales":{"0":123}}'
        max_offsets_per_trigger = 1_000
        min_offsets_per_trigger = 5
        max_trigger_delay = "1m"
        memory_limit = "1 GiB"
        threads = 3
        starting_timestamp = 7
        starting_offsets_by_timestamp_strategy = "latest"
        progress = "jsonl:p.jsonl"
        mode = "failfast"
        max_future_skew = "1h"
        brokers = "a:9092,b:9092"
        group_id = "group"
        num_rows = 5
        truncate = true
        vertical = true
        fail_on_data_loss = false
        checkpoint_dir = "state"
        startup_timeout = "5s"
        shutdown_timeout = "1m"
        [run.kafka]
        "security.protocol" = "SASL_SSL"
        "fetch.wait.max.ms" = 1_00
        "check.crcs" = true
        "#,
    );
    let spec = read(&text);
    assert_eq!(spec.pipeline.output_mode, OutputMode::Update);
    assert_eq!(spec.pipeline.parse_mode, ParseMode::FailFast);
    assert_eq!(spec.pipeline.max_future_skew_ms, Some(3_600_000));
    let run = spec.run;
    let starting: StartingOffsets = r#"{"sales":{"0":123}}"#.parse().unwrap();
    let setting =
        |name: &str, value: &str| KafkaSetting { name: name.to_owned(), value: value.to_owned() };
    let expected = RunOptions {
        trigger: Some(Trigger::AvailableNow),
        sinks: Some(vec![SinkSpec::Console, SinkSpec::Files(PathBuf::from("out"))]),
        dead_letter: Some(DeadLetterSpec::Files(PathBuf::from("dead"))),
        starting_offsets: Some(starting),
        max_offsets_per_trigger: Some(MaxOffsets::Limited(1000)),
        min_offsets_per_trigger: Some(5),
        max_trigger_delay_ms: Some(60_000),
        memory_limit: Some("1g".parse().unwrap()),
        threads: Some("3".parse().unwrap()),
        starting_timestamps: Some(StartingTimestamps::All(7)),
        timestamp_strategy: Some(TimestampStrategy::Latest),
        progress: Some(ProgressSpec::JsonLines(PathBuf::from("p.jsonl"))),
        brokers: Some("a:9092,b:9092".to_owned()),
        group_id: Some("group".to_owned()),
        num_rows: Some(5),
        truncate: Some(true),
        vertical: Some(true),
        fail_on_data_loss: Some(false),
        checkpoint_dir: Some(PathBuf::from("state")),
        startup_timeout_ms: Some(5000),
        shutdown_timeout_ms: Some(60_000),
        kafka: vec![
            setting("security.protocol", "SASL_SSL"),
            setting("fetch.wait.max.ms", "100"),
            setting("check.crcs", "true"),
        ],
    };
    assert_eq!(run, expected);
    assert!(!format!("{run:?}").contains("SASL_SSL"), "settings may be secrets");
    assert_eq!(
        run_of("max_offsets_per_trigger = \"unlimited\"").max_offsets_per_trigger,
        Some(MaxOffsets::Unlimited)
    );
    assert_eq!(run_of("[run.kafka]").kafka, []);
    let limit = run_of("memory_limit = 200_000_000").memory_limit.map(MemoryLimit::bytes);
    assert_eq!(limit, Some(200_000_000));
}

fn run_of(line: &str) -> RunOptions {
    read(&changed("output_mode = \"append\"", line)).run
}

#[test]
fn the_message_of_a_mistake_has_its_place_and_what_would_be_right() {
    assert_eq!(
        mistakes("sum = \"price\"", "sum = \"prise\""),
        "test.toml:22:17: unknown column \"prise\" in [aggregates]; the schema has store, item, \
         price, ts; did you mean \"price\"?"
    );
}

#[test]
fn each_mistake_says_where_it_is_and_what_would_be_right() {
    let check = |from: &str, to: &str, place: &str, part: &str| {
        let message = mistakes(from, to);
        assert!(message.starts_with(&format!("test.toml:{place}: ")), "{to}: {message}");
        assert!(message.contains(part), "{to}: {message}");
        assert_eq!(message.lines().count(), 1, "{to} is one mistake: {message}");
    };
    // The top.
    check("name = \"sales\"\n", "", "1:1", "name is missing in the spec; write for example name");
    check("name = \"sales\"", "name = \"Sales!\"", "1:8", "cannot name a pipeline");
    check("name = \"sales\"", "name = 5", "1:8", "name is a text, not a number; write \"5\"");
    check("topic = \"sales\"\n", "", "1:1", "topic is missing");
    check("topic = \"sales\"", "topic = \"..\"", "2:9", "is not a topic's name");
    check("topic = \"sales\"", "topik = \"x\"\ntopic = \"a\"", "2:1", "did you mean \"topic\"?");
    check("where = ", "output_mode = \"update\"\nwhere = ", "5:1", "it belongs in [run]");
    check("price > 0", "price > 0 AND prise = 1", "5:24", "did you mean \"price\"?");
    check("\"price > 0\"", "'''\n  price > 0\n  AND prise = 1'''", "7:7", "\"price\"?");
    check("\"price > 0\"", "\"store = \\\"a\\\" AND x = 1\"", "5:28", "unknown column \"x\"");
    check("where = \"price > 0\"", "where = 5", "5:9", "where is a text");
    // [schema]
    check("item = \"string\"", "item = \"strin\"", "9:8", "did you mean \"string\"?");
    check("item = \"string\"", "item = { a = 1 }", "9:8", "a column's type is a text, not a table");
    check("item = \"string\"", "\"\" = \"string\"", "9:1", "a column has no name");
    // [event_time]
    check("column = \"ts\"", "column = \"tz\"", "14:10", "in [event_time]; the schema has store");
    check("column = \"ts\"\n", "", "13:2", "column is missing in [event_time]");
    check("column = \"ts\"", "column = \"store\"", "15:1", "for it the format is iso or a pattern");
    check("format = \"seconds\"\n", "", "13:2", "format is missing in [event_time]");
    check("format = \"seconds\"", "format = \"secnds\"", "15:10", "did you mean \"seconds\"?");
    check("format = \"seconds\"", "format = \"iso\"", "15:1", "seconds or milliseconds");
    check("watermark = \"30 seconds\"", "watermark = \"-5s\"", "16:13", "negative");
    check("watermark = \"30 seconds\"", "watermark = 30", "16:13", "a text with a unit");
    check(
        "watermark = \"30 seconds\"",
        "watermark = \"5s\"\ndelay = \"5s\"",
        "17:1",
        "the keys are column, format",
    );
    // [window]
    check("duration = \"30 seconds\"", "duration = \"0s\"", "19:1", "longer than nothing");
    check("duration = \"30 seconds\"", "duration = \"1 month\"", "19:12", "use days");
    check(
        "duration = \"30 seconds\"",
        "length = \"30s\"\nduration = \"30s\"",
        "19:1",
        "the keys are",
    );
    check("duration = ", "session_gap = \"1s\"\nduration = ", "18:2", "either duration");
    check("duration = ", "slide = \"1m\"\nduration = ", "19:1", "at most the duration");
    check("duration = ", "start = \"-30s\"\nduration = ", "19:1", "shorter than the slide");
    // What Spark has too.
    check("topic = ", "compat = \"spark\"\ntopic = ", "2:10", "write spark-3.5 or spark-4");
    check("topic = ", "session_time_zone = \"Mars\"\ntopic = ", "2:21", "not a time zone");
    check("[window]", "[spark]\nansy = true\n[window]", "19:1", "did you mean \"ansi\"?");
    check("[window]", "[spark]\nshuffle_partitions = 0\n[window]", "19:1", "a number from 1");
    check("[window]", "[json]\ncorrupt_column = \"price\"\n[window]", "19:1", "make it string");
    check("[window]", "[drop_duplicates]\ncolumns = []\n[window]", "19:1", "columns is empty");
    check("[window]", "[drop_duplicates]\n[window]", "18:2", "columns is missing");
    check(
        "[window]",
        "[drop_duplicates]\ncolumns = [\"shop\"]\n[window]",
        "19:12",
        "unknown column \"shop\" in [drop_duplicates]",
    );
    check(
        "[window]",
        "[drop_duplicates]\ncolumns = [\"store\"]\nwithin_watermark = true\nevent_time = true\n[window]",
        "18:2",
        "do not go together",
    );
    check("output_mode = \"append\"", "mode = \"dropmalformed\"", "25:8", "skip-malformed");
}

#[test]
fn windows_slide_have_offsets_or_are_sessions() {
    let window = |to: &str| {
        let text = changed("duration = \"30 seconds\"", to);
        match read(&text).pipeline.query {
            Query::Aggregation(aggregation) => aggregation.window.unwrap(),
            Query::Projection => panic!("a window was asked for"),
        }
    };
    let sliding = |duration_us, slide_us, offset_us| {
        Window::Sliding(SlidingWindow { duration_us, slide_us, offset_us })
    };
    let second = 1_000_000;
    assert_eq!(window("duration = \"30s\""), sliding(30 * second, 30 * second, 0));
    assert_eq!(
        window("duration = \"30s\"\nslide = \"10s\"\nstart = \"-7 seconds\""),
        sliding(30 * second, 10 * second, -7 * second)
    );
    let fixed = |us| Window::Session(SessionGap::Fixed(us));
    assert_eq!(window("session_gap = \"10 seconds\""), fixed(10 * second));
    assert_eq!(window("session_gap = \"-1s\""), fixed(-second));
}

#[test]
fn a_condition_behind_the_watermark_is_split_there() {
    let text = changed(
        "where = \"price > 0\"",
        "where = \"price > 0\"\nwhere_after_watermark = \"item = 'a' AND event_time > TIMESTAMP \
         '2025-09-02 08:00:00' AND ts > 1\"",
    );
    let pipeline = read(&text).pipeline;
    let below = format!("{:?}", pipeline.filter.unwrap());
    assert!(below.contains("Column(1)") && below.contains("Column(3)"), "{below}");
    let above = format!("{:?}", pipeline.filter_above_watermark.unwrap());
    assert!(above.contains("EventTime") && !above.contains("Column"), "{above}");
}

#[test]
fn groups_may_have_no_window_and_duplicates_may_be_dropped() {
    let text = changed(
        "[window]\nduration = \"30 seconds\"",
        "[drop_duplicates]\ncolumns = [\"store\", \"item\"]\nwithin_watermark = true",
    )
    .replace(", \"window_start\", \"window_end\"", "")
    .replace("\"append\"", "\"update\"");
    let pipeline = read(&text).pipeline;
    let Query::Aggregation(aggregation) = pipeline.query else { panic!("groups were asked for") };
    assert_eq!((aggregation.window, aggregation.keys), (None, vec![0]));
    let scope = DeduplicationScope::WithinWatermark;
    assert_eq!(pipeline.deduplication, Some(Deduplication { columns: vec![0, 1], scope }));
}

#[test]
fn spark_is_chosen_with_its_defaults() {
    let text = changed(
        "topic = \"sales\"",
        "topic = \"sales\"\ncompat = \"spark-4\"\nsession_time_zone = \"America/New_York\"",
    );
    let pipeline = read(&text).pipeline;
    assert_eq!(pipeline.semantics, Semantics::of(Compat::Spark4));
    assert_eq!(pipeline.session_time_zone, "America/New_York");
    let text = text.replace("[window]", "[spark]\nansi = false\nshuffle_partitions = 3\n[window]");
    let spec = read(&text);
    assert!(!spec.pipeline.semantics.ansi);
    assert_eq!(spec.pipeline.semantics.shuffle_partitions, 3);
    // What was chosen stays chosen under another version.
    let semantics = spec.spark.semantics(Some(Compat::Spark35));
    assert_eq!(semantics.time_parser_policy, TimeParserPolicy::Exception);
    assert_eq!(semantics.shuffle_partitions, 3);
}

#[test]
fn what_is_asked_for_elsewhere_wins_before_the_rules_are_looked_at() {
    let asked = |text: &str, asked| parse_for(text, "x", asked).map(|spec| spec.pipeline);
    let compat = Asked { compat: Some(Compat::Spark35), ..Asked::default() };
    let pipeline = asked(SALES, compat).unwrap();
    assert_eq!(pipeline.semantics, Semantics::of(Compat::Spark35));

    let keys_alone = SALES
        .replace("[window]\nduration = \"30 seconds\"\n", "")
        .replace(", \"window_start\", \"window_end\"", "");
    let update = Asked { output_mode: Some(OutputMode::Update), ..Asked::default() };
    for text in [&keys_alone, &keys_alone.replace("output_mode = \"append\"", "")] {
        assert!(parse(text, "x").is_err());
        assert_eq!(asked(text, update).unwrap().output_mode, OutputMode::Update);
    }
    let no_watermark = SALES.replace("watermark = \"30 seconds\"\n", "");
    assert!(parse(&no_watermark, "x").is_err());
    let delay = Asked { watermark_delay_ms: Some(5000), ..Asked::default() };
    let event_time = asked(&no_watermark, delay).unwrap().event_time.unwrap();
    assert_eq!(event_time.watermark_delay_ms, Some(5000));
    // What is asked for is looked at, too.
    let session = changed("duration = \"30 seconds\"", "session_gap = \"10s\"");
    assert!(parse(&session, "x").is_ok() && asked(&session, update).is_err());
}

#[test]
fn what_is_most_likely_a_mistake_is_told_with_its_place_and_does_not_keep_a_spec_from_running() {
    let text = changed("price > 0", "price > 0 AND item = NULL");
    let spec = read(&text);
    let doubts: Vec<String> = spec.doubts.iter().map(SpecError::to_string).collect();
    let line = text.lines().position(|line| line.starts_with("where")).unwrap() + 1;
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    assert!(doubts[0].contains(&format!(":{line}:24: a comparison with NULL")), "{doubts:?}");
    assert!(read(SALES).doubts.is_empty());
}

#[test]
fn queries_that_spark_refuses_are_refused() {
    let refuse = |text: &str, part: &str| {
        let message = parse(text, "test.toml").expect_err(text).to_string();
        assert!(message.contains(part), "{message}");
    };
    let session = changed("duration = \"30 seconds\"", "session_gap = \"10s\"");
    refuse(&session.replace("\"append\"", "\"update\""), "update is not supported for sessions");
    let of_nothing = session
        .replace("group_by = [\"store\"]\n", "")
        .replace("\"store\", \"total\"", "\"total\"");
    refuse(&of_nothing, "a global aggregation with a session window");
    let no_window = changed("[window]\nduration = \"30 seconds\"", "")
        .replace(", \"window_start\", \"window_end\"", "");
    refuse(&no_window, "groups without a window never do");
    let timeless = no_window.replace(
        "[event_time]\ncolumn = \"ts\"\nformat = \"seconds\"\nwatermark = \"30 seconds\"\n",
        "",
    );
    refuse(&timeless, "without a watermark none ever does");
    let within = changed(
        "[window]",
        "[drop_duplicates]\ncolumns = [\"store\"]\nwithin_watermark = true\n[window]",
    )
    .replace("watermark = \"30 seconds\"\n", "")
    .replace("\"append\"", "\"update\"");
    refuse(&within, "drop_duplicates within the watermark needs one");
}

#[test]
fn each_mistake_in_groups_and_results_says_what_would_be_right() {
    let check = |from: &str, to: &str, place: &str, part: &str| {
        let message = mistakes(from, to);
        assert!(message.starts_with(&format!("test.toml:{place}: ")), "{to}: {message}");
        assert!(message.contains(part), "{to}: {message}");
        assert_eq!(message.lines().count(), 1, "{to} is one mistake: {message}");
    };
    // group_by
    check(
        "group_by = [\"store\"]",
        "group_by = [\"store\", \"shop\"]",
        "3:22",
        "unknown column \"shop\" in group_by",
    );
    check("group_by = [\"store\"]", "group_by = [\"store\", \"store\"]", "3:22", "there twice");
    check(
        "group_by = [\"store\"]",
        "group_by = [\"store\", \"window_start\"]",
        "3:22",
        "groups anyway",
    );
    check(
        "group_by = [\"store\"]",
        "group_by = [\"store\", 5]",
        "3:22",
        "a column to group by is a text",
    );
    // [aggregates]
    check(
        "sum = \"price\"",
        "sum = \"item\"",
        "22:17",
        "sum(item): sum needs numbers (double, long, int or decimal), and this column is string",
    );
    check("sum = \"price\"", "sum = \"*\"", "22:17", "only count takes \"*\"");
    check(
        "sum = \"price\"",
        "sum = \"price\", max = \"ts\"",
        "22:1",
        "an aggregate has one of sum, count",
    );
    check("sum = \"price\"", "sun = \"price\"", "22:11", "did you mean \"sum\"?");
    check("sum = \"price\", ", "", "22:1", "an aggregate has one of sum, count");
    check(
        "sum = \"price\"",
        "max = \"item\"",
        "22:25",
        "string cannot be cast to int; it can become string",
    );
    check("cast = \"int\"", "cast = \"integer\"", "22:33", "did you mean \"int\"?");
    check("cast = \"int\"", "cast = \"timestamp\"", "22:26", "double cannot be cast to timestamp");
    check("total = {", "store = { count = \"*\" }\ntotal = {", "22:1", "choose another");
    check("total = {", "window_end = { count = \"*\" }\ntotal = {", "22:1", "choose another");
    check(
        "total = {",
        "where = \"x\"\ntotal = {",
        "22:1",
        "the key where belongs at the top of the spec",
    );
    // output
    check(
        "output = [\"store\", \"total\", \"window_start\", \"window_end\"]\n",
        "",
        "1:1",
        "write for example output = [\"window_start\", \"window_end\", \"store\", \"total\"]",
    );
    check("\"total\", ", "\"totl\", ", "4:20", "did you mean \"total\"?");
    check("\"total\", ", "\"item\", ", "4:20", "there are window_start, window_end, store, total");
    check("\"total\", ", "\"total\", \"store\", ", "4:29", "\"store\" is there twice");
    check("\"total\", ", "{ name = \"store\", from = \"total\" }, ", "4:20", "there twice");
    check("\"total\", ", "{ name = \"x\" }, ", "4:20", "from is missing in an output column");
    check("\"total\", ", "{ name = \"\", from = \"total\" }, ", "4:29", "a column has no name");
    check(
        "\"total\", ",
        "{ nam = \"x\", from = \"total\", name = \"y\" }, ",
        "4:22",
        "did you mean \"name\"?",
    );
    check("\"total\", ", "5, ", "4:20", "an output column is a text");
    check(
        "output = [\"store\", \"total\", \"window_start\", \"window_end\"]",
        "output = []",
        "4:1",
        "output is empty",
    );
    // [run] and what must fit together
    check("watermark = \"30 seconds\"\n", "", "24:1", "append shows a window once it closes");
    check("\"append\"", "\"apend\"", "25:15", "did you mean \"append\"?");
    check(
        "output_mode = \"append\"",
        "output-mode = \"append\"",
        "25:1",
        "did you mean \"output_mode\"?",
    );
    check("output_mode", "watermark = \"5s\"\noutput_mode", "25:1", "it belongs in [event_time]");
    check("output_mode", "trigger = \"10\"\noutput_mode", "25:11", "10 has no unit");
    check("output_mode", "trigger = 10\noutput_mode", "25:11", "trigger is a text with a unit");
    check("output_mode", "sinks = \"console\"\noutput_mode", "25:9", "sinks is a list, not a text");
    check("output_mode", "sinks = []\noutput_mode", "25:1", "sinks is empty");
    check("output_mode", "sinks = [\"none\", \"none\"]\noutput_mode", "25:18", "there twice");
    check("output_mode", "num_rows = -1\noutput_mode", "25:12", "a whole number from 0");
    check("output_mode", "truncate = \"no\"\noutput_mode", "25:12", "truncate is true or false");
    check(
        "output_mode",
        "max_offsets_per_trigger = 0\noutput_mode",
        "25:27",
        "from 1, or \"unlimited\"",
    );
    check(
        "output_mode",
        "starting_offsets = '{\"x\":{\"0\":1}}'\noutput_mode",
        "25:1",
        "the pipeline reads \"sales\"",
    );
    check(
        "output_mode",
        "kafka.security.protocol = \"x\"\noutput_mode",
        "25:7",
        "put the whole name in quotes",
    );
    check("output_mode", "brokers = \"\"\noutput_mode", "25:11", "it is empty");
    check("output_mode", "kafka = 5\noutput_mode", "25:1", "kafka is a table, not a number");
}

#[test]
fn rules_of_projections_are_checked() {
    let projection = "name = \"p\"\ntopic = \"t\"\noutput = [\"a\"]\n[schema]\na = \"long\"\n";
    assert!(parse(projection, "p").is_ok());
    let check = |more: &str, expected: &str| {
        let message = parse(&format!("{projection}{more}"), "p").unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    };
    check("[run]\noutput_mode = \"complete\"", "p:7:1: complete shows all groups");
    check("[run]\nmax_future_skew = \"1h\"", "p:7:1: a limit on future event times needs");
    assert!(parse(&format!("{projection}[run]\noutput_mode = \"update\""), "p").is_ok());
    let event_time = projection.replace("[\"a\"]", "[\"event_time\"]");
    let message = parse(&event_time, "p").unwrap_err().to_string();
    assert!(message.contains("unknown column \"event_time\" in output"), "{message}");
}

#[test]
fn all_mistakes_of_a_text_are_told_in_its_order() {
    let text = changed("name = \"sales\"", "name = \"S\"")
        .replace("item = \"string\"", "item = \"strin\"")
        .replace("sum = \"price\"", "sum = \"prise\"")
        .replace("\"append\"", "\"apend\"");
    let errors = parse(&text, "x").unwrap_err();
    let lines: Vec<String> = errors.0.iter().map(|error| error.place.to_string()).collect();
    assert_eq!(lines, ["x:1:8", "x:9:8", "x:22:17", "x:25:15"]);
}

#[test]
fn what_follows_from_a_slip_is_not_told() {
    let check = |from: &str, to: &str, root: &str| {
        let told = mistakes(from, to);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(root), "{told}");
    };
    check("group_by = [\"store\"]", "group_by = [\"stroe\"]", "did you mean \"store\"?");
    check("group_by = [", "groupby = [", "did you mean \"group_by\"?");
    check("topic = ", "topc = ", "did you mean \"topic\"?");
    check("[window]", "[windw]", "did you mean \"window\"?");
    check("[aggregates]", "[aggregate]", "did you mean \"aggregates\"?");
    check("[event_time]", "[eventtime]", "did you mean \"event_time\"?");
    check("output = [", "outputs = [", "did you mean \"output\"?");
    check("name = ", "kafka_option = 1\nname = ", "[run.kafka]");
}

#[test]
fn a_missing_event_time_is_told_once() {
    let text = SALES.replace(
        "[event_time]\ncolumn = \"ts\"\nformat = \"seconds\"\nwatermark = \"30 seconds\"\n",
        "",
    );
    let message = parse(&text, "x").unwrap_err().to_string();
    assert!(message.contains("a window needs the time of events"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let check = |text: &str, place: &str| {
        let message = parse(text, "x").unwrap_err().to_string();
        assert!(message.starts_with(&format!("x:{place}: this is not TOML: ")), "{message}");
    };
    check("name = ", "1:8");
    check("name = \"a\"\nname = \"b\"", "2:1");
    check("name = \"a\"\n[schema\n", "2:8");
    check("name = 'a", "1:10");
    check("a = [[[[", "1:9");
    check(&format!("a = {}", "[".repeat(100_000)), "1:85");
}

#[test]
fn an_empty_text_names_all_that_is_needed() {
    let errors = parse("", "x").unwrap_err();
    assert_eq!(errors.0.len(), 4, "name, topic, [schema] and output: {errors}");
}

/// Cuts, doubles or overwrites a piece of a text.
fn mutated(text: &str, from: usize, len: usize, with: &str) -> String {
    let at = |offset: usize| crate::spec::errors::character_start(text, offset);
    let (from, to) = (at(from), at(from.saturating_add(len)));
    format!("{}{with}{}", &text[..from], &text[to..])
}

proptest! {
    #[test]
    fn reading_any_text_never_panics(text in "\\PC{0,200}") {
        if let Err(errors) = parse(&text, "x") {
            prop_assert!(!errors.0.is_empty());
        }
    }

    #[test]
    fn reading_a_mutated_preset_never_panics(
        which in 0..PRESETS.len(),
        edits in proptest::collection::vec((0_usize..2500, 0_usize..12, "[\"'=\\[\\]{}.,\n0-9a-z_*-]{0,3}|\\PC{0,2}"), 1..4),
    ) {
        let mut text = PRESETS[which].1.to_owned();
        for (from, len, with) in &edits {
            text = mutated(&text, *from, *len, with);
        }
        match parse(&text, "x") {
            Ok(spec) => prop_assert_eq!(spec.pipeline.identity().len(), 14),
            Err(errors) => prop_assert!(!errors.0.is_empty()),
        }
    }

    #[test]
    fn reading_a_preset_with_its_lines_shuffled_never_panics(
        lines in Just(preset("sales").unwrap().lines().collect::<Vec<_>>()).prop_shuffle(),
    ) {
        if let Err(errors) = parse(&lines.join("\n"), "x") {
            prop_assert!(!errors.0.is_empty());
        }
    }
}
