//! Checkpoints: encoding what a batch changed, writing it to disk with its sync, reading it back. Asserts nothing
//! about time.
//!
//! `cargo bench --bench checkpoint`; with `cargo test` each is run once. Directories are made where TMPDIR says:
//! a file system in memory has no sync to speak of.

mod state;

use std::{path::Path, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use state::{Found, Held};

/// Groups that a batch of `scripts/bench.sh` changes with 100,000 stores.
const CHANGED: u64 = 70_000;
/// Groups held while they change.
const HELD: u64 = 100_000;
/// Groups that are read back.
const RECOVERED: [u64; 2] = [10_000, 100_000];

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(10));
    targets = stall, encode, write, recover
}
criterion_main!(benches);

/// What the next batch's reading waits for: merging the changed groups into those held, and planning what is to be
/// written. Everything else of a checkpoint is done beside it.
fn stall(criterion: &mut Criterion) {
    let mut held = Held::create(None).expect("memory takes a checkpoint");
    held.fill(HELD).expect("it can be written");
    let held = std::cell::RefCell::new(held);
    let mut group = criterion.benchmark_group("checkpoint/stall");
    group.throughput(Throughput::Elements(CHANGED));
    group.bench_function(BenchmarkId::from_parameter(CHANGED), |bencher| {
        bencher.iter_batched(
            || held.borrow_mut().read(0..CHANGED),
            |batch| held.borrow_mut().close(batch),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Persisting without a disk: the rows of the changed groups become chunks with checksums, put into a map.
fn encode(criterion: &mut Criterion) {
    let held = Held::create(None).expect("memory takes a checkpoint");
    persist(criterion, "checkpoint/encode", held);
}

/// Persisting and announcing on disk, each with its sync.
fn write(criterion: &mut Criterion) {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let held = Held::create(Some(&place.path().join("state"))).expect("a directory can be made");
    persist(criterion, "checkpoint/write", held);
}

fn persist(criterion: &mut Criterion, name: &str, mut held: Held) {
    held.fill(HELD).expect("it can be written");
    let held = std::cell::RefCell::new(held);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(CHANGED));
    group.bench_function(BenchmarkId::from_parameter(CHANGED), |bencher| {
        bencher.iter_batched(
            || held.borrow_mut().plan(0..CHANGED),
            |plan| held.borrow_mut().persist(plan).expect("it can be written"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Opening a state directory, reading every group, and taking the directory's lock.
fn recover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkpoint/recover");
    for groups in RECOVERED {
        let place = tempfile::tempdir().expect("there is a place for temporary files");
        let directory = place.path().join("state");
        fill(&directory, groups);
        group.throughput(Throughput::Elements(groups));
        group.bench_function(BenchmarkId::from_parameter(groups), |bencher| {
            bencher.iter_batched(
                || (),
                |()| {
                    let (held, found) = Held::recover(&directory).expect("it can be read");
                    let cents = i128::from(groups);
                    assert_eq!(found, Found { groups, cents, state_bytes: found.state_bytes });
                    held
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn fill(directory: &Path, groups: u64) {
    let mut held = Held::create(Some(directory)).expect("a directory can be made");
    held.fill(groups).expect("it can be written");
}
