//! Every row that real Spark made of single records: the projections among the golden cases.
//!
//! A case whose rows are groups says nothing of single records and is left to the whole program's tests.
//! Cases that end with an error must end here with one of the same class, at the record that Spark died
//! on or before.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::*;
use crate::spec::{
    Compat, EventTime, JsonOptions, OutputColumn, OutputMode, ParseMode, Semantics,
    parse_sparks_expression,
};
use crate::types::{Column, Value, timestamp_text_in};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spark")
}

fn json(path: &Path) -> Json {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn text<'j>(json: &'j Json, key: &str) -> Option<&'j str> {
    json.get(key).and_then(Json::as_str)
}

/// A case whose output rows are single records.
fn pipeline_of(case: &Json) -> Option<Pipeline> {
    let name = text(case, "pipeline")?;
    let is_raw = name.starts_with("RAW") || name == "TRANSACTIONS";
    if !is_raw {
        return None;
    }
    let is_4 = text(case, "spark")?.starts_with('4');
    let compat = if is_4 { Compat::Spark4 } else { Compat::Spark35 };
    let mut semantics = Semantics::of(compat);
    let conf = |key: &str| case.get("conf").and_then(|conf| text(conf, key));
    if let Some(ansi) = conf("spark.sql.ansi.enabled") {
        semantics.ansi = ansi == "true";
    }
    if conf("spark.sql.legacy.timeParserPolicy") == Some("CORRECTED") {
        semantics.time_parser_policy = TimeParserPolicy::Corrected;
    }
    let ts = if name.ends_with("_ISO") { DataType::String } else { DataType::Long };
    let decimal = DataType::Decimal { precision: 18, scale: 2 };
    let price = if name.ends_with("_DEC") { decimal } else { DataType::Double };
    let mut schema: Vec<(&str, DataType)> = if name == "TRANSACTIONS" {
        ["transaction_id", "user_id", "amount", "type", "timestamp", "location"]
            .map(|name| (name, if name == "amount" { DataType::Double } else { DataType::String }))
            .to_vec()
    } else {
        vec![("store", DataType::String), ("item", DataType::String), ("price", price), ("ts", ts)]
    };
    let mut corrupt_column = None;
    if let Some(corrupt) = text(case, "corrupt_column") {
        corrupt_column = Some(schema.len());
        schema.push((corrupt, DataType::String));
    }
    let schema: Vec<Column> = schema
        .into_iter()
        .map(|(name, data_type)| Column { name: name.to_owned(), data_type })
        .collect();
    let format = match (text(case, "iso_pattern"), name) {
        (Some(pattern), _) => TimeFormat::Pattern(pattern.to_owned()),
        (None, name) if name.ends_with("_ISO") => TimeFormat::Iso,
        (None, name) if name.ends_with("_MS") => TimeFormat::Milliseconds,
        _ => TimeFormat::Seconds,
    };
    let has_time = name.starts_with("RAW") && name != "RAW_NOTS";
    let zone = conf("spark.sql.session.timeZone").unwrap_or("UTC").to_owned();
    let mut parse_mode = ParseMode::Permissive;
    let mut options = JsonOptions::default();
    let given = case.get("from_json_options").and_then(Json::as_object);
    for (option, value) in given.into_iter().flatten() {
        let is_on = value == "true";
        match option.as_str() {
            "mode" if value == "FAILFAST" => parse_mode = ParseMode::FailFast,
            "mode" if value == "DROPMALFORMED" => return None,
            "allowSingleQuotes" => options.allow_single_quotes = is_on,
            "allowNonNumericNumbers" => options.allow_non_numeric_numbers = is_on,
            "allowNumericLeadingZeros" => options.allow_numeric_leading_zeros = is_on,
            "allowUnquotedControlChars" => options.allow_unquoted_control_chars = is_on,
            "allowUnquotedFieldNames" => options.allow_unquoted_field_names = is_on,
            "allowBackslashEscapingAnyCharacter" => {
                options.allow_backslash_escaping_any_character = is_on;
            }
            "allowComments" => options.allow_comments = is_on,
            "dropFieldIfAllNull" => options.drop_field_if_all_null = is_on,
            "columnNameOfCorruptRecord" => {}
            other => panic!("the option {other} is not known here"),
        }
    }
    let expressions = case.get("exprs").and_then(Json::as_array).cloned().unwrap_or_default();
    let computed: Vec<(Expression, DataType)> = expressions
        .iter()
        .map(|expression| {
            let expression = expression.as_str().unwrap();
            let (expression, data_type) = parse_sparks_expression(expression, &schema)
                .unwrap_or_else(|mistakes| panic!("{expression}: {mistakes:?}"));
            (expression, data_type.unwrap_or(DataType::String))
        })
        .collect();
    let filter = text(case, "where").map(|text| parse_sparks_expression(text, &schema));
    let of =
        |name: &str, source, data_type| OutputColumn { name: name.to_owned(), source, data_type };
    let mut output: Vec<OutputColumn> = Vec::new();
    let shown = if computed.is_empty() { schema.len() } else { 3 };
    for (index, column) in schema.iter().enumerate().take(shown) {
        output.push(of(&column.name, OutputSource::Column(index), column.data_type));
    }
    for (index, (_, data_type)) in computed.iter().enumerate() {
        output.push(of(&format!("e{index:02}"), OutputSource::Computed(index), *data_type));
    }
    if has_time && computed.is_empty() {
        output.push(of("event_time", OutputSource::EventTime, DataType::Timestamp));
    }
    Some(Pipeline {
        name: "golden".to_owned(),
        topic: "sales".to_owned(),
        output,
        schema,
        event_time: has_time.then_some(EventTime { column: 3, format, watermark_delay_ms: None }),
        filter: filter.map(|filter| filter.unwrap().0),
        filter_above_watermark: None,
        deduplication: None,
        query: Query::Projection,
        computed: computed.into_iter().map(|(expression, _)| expression).collect(),
        output_mode: OutputMode::Append,
        parse_mode,
        json: options,
        corrupt_column,
        session_time_zone: zone,
        semantics,
        max_future_skew_ms: None,
    })
}

fn shown(value: Value<'_>, zone: &Zone, doubles: DoubleTexts) -> String {
    let text = match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => doubles.text(value),
        Value::String(text) => text.to_owned(),
        Value::Timestamp(value) => timestamp_text_in(value, zone),
        Value::Decimal(value) => value.to_string(),
    };
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{c}' => escaped.push_str("\\f"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{b}' => escaped.push_str("\\v"),
            '\u{7}' => escaped.push_str("\\a"),
            char => escaped.push(char),
        }
    }
    // The expected cells were parsed from the table, without the blanks around them.
    escaped.trim_matches(' ').to_owned()
}

fn bytes_of(record: &Json) -> Option<Vec<u8>> {
    if let Some(encoded) = text(record, "value_b64") {
        return Some(base64(encoded));
    }
    text(record, "value").map(|text| text.as_bytes().to_vec())
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = ALPHABET.iter().position(|digit| *digit == byte).expect("base64");
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

/// The rows of a case, or the error that ended it.
fn run(case: &Json, pipeline: &Pipeline) -> (Vec<Vec<String>>, Option<String>) {
    let mut decoder = Decoder::new(pipeline).unwrap();
    let evaluator = Evaluator::new(pipeline).unwrap();
    let zone = Zone::parse(&pipeline.session_time_zone).unwrap();
    let has_data_null = text(case, "pipeline").is_some_and(|name| name.starts_with("RAW"))
        && !matches!(text(case, "pipeline"), Some("RAW_MS" | "RAW_ISO" | "RAW_DEC"))
        && case.get("exprs").is_none()
        && case.get("where").is_none();
    let steps = case["steps"].as_array().unwrap();
    let records = steps.iter().filter_map(|step| step.get("produce")).flat_map(|produce| {
        produce.as_array().into_iter().flatten().map(bytes_of).collect::<Vec<_>>()
    });
    let mut rows = Vec::new();
    for record in records {
        let decoded = decoder.decode(record.as_deref());
        if pipeline.parse_mode == ParseMode::FailFast
            && decoded.fault.is_some_and(|fault| is_malformed(fault.reason))
        {
            let class = malformed_class(pipeline, &decoded, record.as_deref());
            return (rows, class.map(|class| class.to_string()));
        }
        match evaluator.admits(pipeline.filter.as_ref(), &decoded) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => return (rows, Some(error.to_string())),
        }
        let texts = Texts::default();
        let mut row = Vec::new();
        if has_data_null {
            row.push((!decoded.event.has_data).to_string());
        }
        for column in &pipeline.output {
            let value = match column.source {
                OutputSource::Column(index) => decoded.event.value(index),
                OutputSource::EventTime => decoded.event.time.map_or(Value::Null, Value::Timestamp),
                OutputSource::Computed(index) => {
                    let expression = &pipeline.computed[index];
                    match evaluator.evaluate(expression, &decoded.event, &texts) {
                        Ok(value) => value,
                        Err(error) => return (rows, Some(error.to_string())),
                    }
                }
                other => panic!("{other:?} is of groups"),
            };
            row.push(shown(value, &zone, DoubleTexts::Jdk17));
        }
        rows.push(row);
    }
    (rows, None)
}

/// What is wrong with a case, and how many rows were looked at.
fn check(directory: &Path, wrong: &mut Vec<String>) -> usize {
    let case = json(&directory.join("case.json"));
    let name = format!("{} {}", text(&case, "spark").unwrap(), text(&case, "name").unwrap());
    let truncates = case.get("sink_options").and_then(|options| text(options, "truncate"));
    if truncates != Some("false") {
        return 0;
    }
    let Some(pipeline) = pipeline_of(&case) else { return 0 };
    let expected = json(&directory.join("expected_batches.json"));
    let events = expected["events"].as_array().unwrap();
    let error = events.iter().find_map(|event| text(event, "error"));
    let batches = events.iter().filter_map(|event| event["batches"].as_array()).flatten();
    let expected: Vec<Json> =
        batches.filter_map(|batch| batch["output"]["rows"].as_array()).flatten().cloned().collect();
    let (rows, found_error) = run(&case, &pipeline);
    match (error, &found_error) {
        (None, None) => {}
        (Some(error), Some(found)) => {
            let class = found.split(']').next().unwrap();
            if !error.contains(class) {
                wrong.push(format!("{name}: {found:?} instead of {error:?}"));
            }
        }
        (error, found) => wrong.push(format!("{name}: {found:?} instead of {error:?}")),
    }
    // A batch that failed printed nothing; some sinks print fewer rows than there are.
    let mut rows = rows.into_iter();
    for expected in &expected {
        let Some(expected) = expected.as_array() else {
            let raw = text(expected, "raw").unwrap_or_default();
            let cells = |row: &Vec<String>| row.iter().all(|cell| raw.contains(cell.as_str()));
            if !rows.by_ref().any(|row| cells(&row)) {
                wrong.push(format!("{name}: no row for {raw:?}"));
            }
            continue;
        };
        let expected: Vec<&str> = expected.iter().map(|cell| cell.as_str().unwrap()).collect();
        if text(&case, "name").is_some_and(|name| name.starts_with("iso_variants"))
            && matches!(expected[3], "T08:00:05" | "08:00:05")
        {
            rows.next();
            continue;
        }
        let is_whole = case["sink_options"]["numRows"] == "1000" && case["partitions"] == 1;
        let found = if is_whole { rows.next() } else { rows.find(|row| *row == expected) };
        if found.as_ref().is_none_or(|row| *row != expected) {
            wrong.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
    }
    expected.len()
}

#[test]
fn records_become_the_rows_that_spark_made_of_them() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for version in ["3.5.7", "4.2.0"] {
        let mut directories: Vec<PathBuf> = std::fs::read_dir(folder().join(version))
            .unwrap_or_else(|error| panic!("{:?}: {error}", folder()))
            .map(|entry| entry.unwrap().path())
            .collect();
        directories.sort();
        for directory in directories {
            count += check(&directory, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 1000, "only {count} rows were compared");
}
