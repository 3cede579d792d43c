//! Updating windows: what a batch adds to its groups, and merging a batch into what is open, over few and many
//! keys. Asserts nothing about time.
//!
//! `cargo bench --bench window`; with `cargo test` each is run once.

#[path = "state/sales.rs"]
mod sales;

use std::{cell::RefCell, hint::black_box, sync::Arc};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sales_stream::{
    decode::Decoder,
    spec,
    types::{OwnedEvent, Verdict, Watermark},
    window::{Delta, Merged, WindowPlan, Windows},
};

/// Numbers of keys.
const KEYS: [u64; 2] = [100, 100_000];
/// Events of a batch.
const EVENTS: u64 = 200_000;

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = add, merge
}
criterion_main!(benches);

/// An event into a batch that holds its group already, as most do.
fn add(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window/add");
    group.throughput(Throughput::Elements(1));
    for keys in KEYS {
        let (windows, events) = (windows(), events(keys));
        let mut delta = delta(&windows, &events);
        let mut events = events.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter(|| {
                let event = events.next().expect("there are events").borrow();
                black_box(delta.add(black_box(&event)))
            });
        });
        assert_eq!(delta.groups(), keys);
    }
    group.finish();
}

/// A batch that touches every key into windows that hold them all.
fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window/merge");
    for keys in KEYS {
        let events = events(keys);
        let windows = RefCell::new(windows());
        let first = delta(&windows.borrow(), &events);
        merged(&windows, first);
        group.throughput(Throughput::Elements(keys));
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter_batched(
                || delta(&windows.borrow(), &events),
                |delta| merged(&windows, delta),
                BatchSize::PerIteration,
            );
        });
        assert_eq!(windows.borrow().groups(), keys);
    }
    group.finish();
}

fn merged(windows: &RefCell<Windows>, delta: Delta) -> Merged {
    windows.borrow_mut().merge(delta, Watermark::ZERO, None).expect("all is in memory")
}

fn windows() -> Windows {
    let pipeline = spec::parse(sales::SPEC, "bench").expect("the spec is good").pipeline;
    Windows::new(Arc::new(WindowPlan::new(&pipeline).expect("it has windows")))
}

fn delta(windows: &Windows, events: &[OwnedEvent]) -> Delta {
    let mut delta = Delta::new(windows, Watermark::ZERO, 1);
    for event in events {
        assert_eq!(delta.add(&event.borrow()), Verdict::Counted);
    }
    delta
}

/// Events of all keys in an order that is not theirs.
fn events(keys: u64) -> Vec<OwnedEvent> {
    let pipeline = spec::parse(sales::SPEC, "bench").expect("the spec is good").pipeline;
    let mut decoder = Decoder::new(&pipeline).expect("the pipeline is good");
    let mut value = Vec::new();
    (0..keys.max(EVENTS.min(keys * 10)))
        .map(|index| {
            value.clear();
            // A factor that shares no divisor with any number of keys, so that each key comes up as often.
            sales::write(index * 2_654_435_769 % keys, &mut value);
            decoder.decode(Some(&value)).event.to_owned_event()
        })
        .collect()
}
