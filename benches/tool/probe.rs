//! The limits that the pipeline is measured against: as little work as one kind of job needs, by the same
//! libraries on the same topic.
//!
//! | step | what it does |
//! |---|---|
//! | `source` | reads by the pipeline's own source and looks at the last byte of each record |
//! | `consume` | takes batches from librdkafka and looks at the last byte of each record |
//! | `parse` | also store, price and time of each record, by a scanner that knows flat objects only |
//! | `aggregate` | also sums by (window, store) in a hash table, and closes windows |
//! | `checkpoint` | also writes, every million records, what changed and the offsets to RocksDB in one synced write, on a thread of its own, behind the rows of closed windows in a synced file, as the files sink of sales-stream writes them |
//!
//! Invariants: a probe promises nothing that a user needs. It knows one shape of input, recovers from
//! nothing and tells nobody of bad records; that is the point: what the pipeline costs more is the price of
//! what it guarantees. Its sums are checked like everybody's. Start at [`Probe::run`].

mod client;
mod scan;
mod source;
mod store;
mod sums;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{Outcome, truth::WATERMARK_S};
use client::Batches;
use scan::Sale;
use store::Store;
use sums::Sums;

const RECORDS_A_CHECKPOINT: u64 = 1_000_000;

/// What to read, and how far to go.
#[derive(Args)]
pub struct Probe {
    /// How much of the work is done
    #[arg(long)]
    step: Step,
    /// Kafka's brokers
    #[arg(long)]
    brokers: String,
    /// The topic to read, from its begin to its end
    #[arg(long)]
    topic: String,
    /// A directory that is not there yet, for the checkpoints and the results of --step checkpoint
    #[arg(long, default_value = "probe")]
    dir: PathBuf,
    /// Seconds by which the watermark follows the newest event
    #[arg(long, default_value_t = WATERMARK_S)]
    watermark: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Step {
    Source,
    Consume,
    Parse,
    Aggregate,
    Checkpoint,
}

/// What was seen, for the check.
#[derive(Default)]
struct Seen {
    rows: u64,
    /// Keeps the optimizer from leaving the payload alone.
    last_bytes: u64,
    cents: i64,
}

impl Seen {
    fn add(&mut self, value: &[u8]) {
        self.rows += 1;
        self.last_bytes += u64::from(value.last().copied().unwrap_or(0));
    }

    fn tell_rows(&self) {
        println!("COUNTED rows={} bytes={}", self.rows, self.last_bytes);
    }
}

impl Probe {
    pub fn run(&self) -> Outcome<()> {
        if self.step == Step::Source {
            return self.source();
        }
        let mut batches = Batches::open(&self.brokers, &self.topic)?;
        let seen = match self.step {
            Step::Source | Step::Consume => Probe::consume(&mut batches)?,
            Step::Parse => Probe::parse(&mut batches)?,
            Step::Aggregate | Step::Checkpoint => return self.aggregate(&mut batches),
        };
        match self.step {
            Step::Source | Step::Consume => seen.tell_rows(),
            _ => println!("COUNTED rows={} cents={}", seen.rows, seen.cents),
        }
        Ok(())
    }

    fn source(&self) -> Outcome<()> {
        let mut seen = Seen::default();
        source::each(&self.brokers, &self.topic, |value| {
            seen.add(value);
            tell_first(seen.rows);
        })?;
        seen.tell_rows();
        Ok(())
    }

    fn consume(batches: &mut Batches) -> Outcome<Seen> {
        let mut seen = Seen::default();
        while batches.next(&mut |_, _, value| {
            seen.add(value);
            Ok(())
        })? {
            tell_first(seen.rows);
        }
        Ok(seen)
    }

    fn parse(batches: &mut Batches) -> Outcome<Seen> {
        let mut seen = Seen::default();
        while batches.next(&mut |_, _, value| {
            let sale = Sale::scan(value).ok_or("not a sale")?;
            seen.rows += 1;
            std::hint::black_box((sale.store, sale.ts));
            seen.cents += sale.cents;
            Ok(())
        })? {
            tell_first(seen.rows);
        }
        Ok(seen)
    }

    fn aggregate(&self, batches: &mut Batches) -> Outcome<()> {
        let mut store =
            if self.step == Step::Checkpoint { Some(Store::create(&self.dir)?) } else { None };
        let mut sums = Sums::new(batches.partitions(), self.watermark, store.is_some());
        let (mut rows, mut saved) = (0, 0);
        while batches.next(&mut |partition, offset, value| {
            let sale = Sale::scan(value).ok_or("not a sale")?;
            sums.add(partition, offset, &sale);
            rows += 1;
            Ok(())
        })? {
            tell_first(rows);
            sums.close();
            if rows - saved >= RECORDS_A_CHECKPOINT {
                saved = rows;
                store.as_mut().map_or(Ok(()), |store| store.save(sums.changes()))?;
            }
        }
        if let Some(mut store) = store {
            store.save(sums.changes())?;
            store.finish()?;
        }
        println!(
            "COUNTED rows={rows} results={} late={} cents={}",
            sums.closed,
            sums.late,
            sums.total_cents()
        );
        Ok(())
    }
}

/// Says when the first batch is through; `rows` are those so far.
fn tell_first(rows: u64) {
    static TOLD: std::sync::Once = std::sync::Once::new();
    if rows > 0 {
        TOLD.call_once(|| println!("FIRST"));
    }
}
