//! Nanoseconds to decode one record, for the shapes that producers write. Asserts nothing about time.
//!
//! `cargo bench --bench decode`

use std::hint::black_box;
use std::time::Instant;

use sales_stream::decode::Decoder;
use sales_stream::spec::{
    EventTime, JsonOptions, OutputColumn, OutputMode, OutputSource, ParseMode, Pipeline, Query,
    Semantics, TimeFormat,
};
use sales_stream::types::{Column, DataType};

const RECORDS: u32 = 2_000_000;
const ROUNDS: u32 = 5;

fn main() {
    let compact = |store: u32| {
        format!(r#"{{"store":"store-{store:03}","item":"item-3","price":12.34,"ts":1756800000}}"#)
    };
    let spaced = |store: u32| {
        format!(
            r#"{{"store": "store-{store:03}", "item": "item-3", "price": 12.34, "ts": 1756800000}}"#
        )
    };
    let other_order = |store: u32| {
        format!(
            r#"{{"ts":1756800000,"id":{store},"price":12.34,"item":"item-3","store":"store-{store:03}"}}"#
        )
    };
    let escaped = |store: u32| {
        format!(
            r#"{{"store":"größe\n{store:03}","item":"item-3","price":12.34e0,"ts":1756800000}}"#
        )
    };
    let seconds = TimeFormat::Seconds;
    run("compact, store price ts used", &[0, 2], DataType::Long, seconds.clone(), compact);
    run("compact, all used", &[0, 1, 2], DataType::Long, seconds.clone(), compact);
    run("spaces after colons", &[0, 2], DataType::Long, seconds.clone(), spaced);
    run("other order, one unknown", &[0, 2], DataType::Long, seconds.clone(), other_order);
    run("escapes and non-ASCII", &[0, 2], DataType::Long, seconds, escaped);
    let iso = |store: u32| {
        format!(
            r#"{{"store":"store-{store:03}","item":"item-3","price":12.34,"ts":"2025-09-02T08:00:05.123Z"}}"#
        )
    };
    run("ISO event time", &[0, 2], DataType::String, TimeFormat::Iso, iso);
    let pattern = TimeFormat::Pattern("yyyy-MM-dd'T'HH:mm:ss.SSSXXX".to_owned());
    run("event time in a pattern", &[0, 2], DataType::String, pattern, iso);
}

/// Times records of 100 stores in turn and prints the best round.
fn run(
    name: &str,
    used: &[usize],
    ts: DataType,
    format: TimeFormat,
    record: impl Fn(u32) -> String,
) {
    let records: Vec<String> = (0..100).map(record).collect();
    let mut decoder = Decoder::new(&pipeline(used, ts, format)).expect("the pipeline is good");
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut faults = 0;
        for index in 0..RECORDS {
            let payload = records[index as usize % records.len()].as_bytes();
            let decoded = black_box(decoder.decode(black_box(Some(payload))));
            faults += u32::from(decoded.fault.is_some());
        }
        assert_eq!(faults, 0, "{name}");
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(RECORDS));
    }
    println!("{name:<32} {best:7.1} ns a record");
}

fn pipeline(used: &[usize], ts: DataType, format: TimeFormat) -> Pipeline {
    let schema = [
        ("store", DataType::String),
        ("item", DataType::String),
        ("price", DataType::Double),
        ("ts", ts),
    ];
    let schema = schema.map(|(name, data_type)| Column { name: name.to_owned(), data_type });
    let output = used.iter().map(|index| OutputColumn {
        name: schema[*index].name.clone(),
        source: OutputSource::Column(*index),
        data_type: schema[*index].data_type,
    });
    Pipeline {
        name: "bench".to_owned(),
        topic: "bench".to_owned(),
        output: output.collect(),
        schema: schema.to_vec(),
        event_time: Some(EventTime { column: 3, format, watermark_delay_ms: None }),
        filter: None,
        filter_above_watermark: None,
        deduplication: None,
        query: Query::Projection,
        computed: Vec::new(),
        output_mode: OutputMode::Append,
        parse_mode: ParseMode::Permissive,
        json: JsonOptions::default(),
        corrupt_column: None,
        session_time_zone: "UTC".to_owned(),
        semantics: Semantics::default(),
        max_future_skew_ms: None,
    }
}
