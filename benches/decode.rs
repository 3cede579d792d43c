//! Decoding one record, for the shapes that producers write. Asserts nothing about time.
//!
//! `cargo bench --bench decode`; with `cargo test` each is run once.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sales_stream::decode::Decoder;
use sales_stream::spec::{
    EventTime, JsonOptions, OutputColumn, OutputMode, OutputSource, ParseMode, Pipeline, Query,
    Semantics, TimeFormat,
};
use sales_stream::types::{Column, DataType};

criterion_group!(benches, decode);
criterion_main!(benches);

fn decode(criterion: &mut Criterion) {
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
    let iso = |store: u32| {
        format!(
            r#"{{"store":"store-{store:03}","item":"item-3","price":12.34,"ts":"2025-09-02T08:00:05.123Z"}}"#
        )
    };
    let seconds = || TimeFormat::Seconds;
    let pattern = TimeFormat::Pattern("yyyy-MM-dd'T'HH:mm:ss.SSSXXX".to_owned());
    let (long, text) = (DataType::Long, DataType::String);
    let mut shapes = Shapes(criterion);
    shapes.run("compact, store price ts used", pipeline(&[0, 2], long, seconds()), compact);
    shapes.run("compact, all used", pipeline(&[0, 1, 2], long, seconds()), compact);
    shapes.run("spaces after colons", pipeline(&[0, 2], long, seconds()), spaced);
    shapes.run("other order, one unknown", pipeline(&[0, 2], long, seconds()), other_order);
    shapes.run("escapes and non-ASCII", pipeline(&[0, 2], long, seconds()), escaped);
    shapes.run("ISO event time", pipeline(&[0, 2], text, TimeFormat::Iso), iso);
    shapes.run("event time in a pattern", pipeline(&[0, 2], text, pattern), iso);
}

struct Shapes<'a>(&'a mut Criterion);

impl Shapes<'_> {
    /// Times records of 100 stores in turn.
    fn run(&mut self, name: &str, pipeline: Pipeline, record: impl Fn(u32) -> String) {
        let records: Vec<String> = (0..100).map(record).collect();
        let mut decoder = Decoder::new(&pipeline).expect("the pipeline is good");
        for record in &records {
            assert!(decoder.decode(Some(record.as_bytes())).fault.is_none(), "{name}: {record}");
        }
        let mut records = records.iter().cycle();
        let mut group = self.0.benchmark_group("decode");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let payload = records.next().map(|record| record.as_bytes());
                black_box(decoder.decode(black_box(payload)).fault.is_some())
            });
        });
        group.finish();
    }
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
