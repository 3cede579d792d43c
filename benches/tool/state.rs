//! Checkpoints of a held state, without Kafka: what a batch costs that changes part of it, and reading it back.
//!
//! Invariants: the steps are those of the product, on the file system of the given directory, synced; what is held
//! is known to the cent, and a state that is not read back as it was written is a failure. Each call is a process
//! of its own, so that nothing is warm but the system's page cache. Start at [`Hold::run`] and [`Recover::run`].

#[path = "../state/mod.rs"]
mod held;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use crate::{Outcome, measure};
use held::{Found, Held};

/// How much is held, and how much of it a batch changes.
#[derive(Args)]
pub struct Hold {
    /// A state directory that is not there yet
    #[arg(long)]
    dir: PathBuf,
    /// Groups that are held
    #[arg(long)]
    held: u64,
    /// Groups that each batch changes, different ones from batch to batch while there are any
    #[arg(long, default_value_t = 1)]
    changed: u64,
    /// Batches that are measured
    #[arg(long, default_value_t = 0)]
    batches: u64,
}

/// Which state to read back, and what must be in it.
#[derive(Args)]
pub struct Recover {
    /// The state directory
    #[arg(long)]
    dir: PathBuf,
    /// Groups that are held
    #[arg(long)]
    held: u64,
    /// Cents that were added to them, one at a time
    #[arg(long)]
    cents: i128,
}

impl Hold {
    pub fn run(&self) -> Outcome<()> {
        if self.changed > self.held {
            return Err("a batch cannot change more than there is".into());
        }
        let mut held = Held::create(Some(&self.dir))?;
        held.fill(self.held)?;
        let mut times = Vec::new();
        for batch in 0..self.batches {
            let first = batch * self.changed % self.held;
            let plan = held.plan((first..first + self.changed).map(|group| group % self.held));
            let begun = Instant::now();
            held.persist(plan)?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let at = |part: f64| {
            let last = times.len().saturating_sub(1) as f64;
            times.get((last * part) as usize).map(milliseconds)
        };
        let batches = u32::try_from(times.len().max(1))?;
        let mean_ms = milliseconds(&(times.iter().sum::<Duration>() / batches));
        println!(
            "{}",
            json!({
                "held": self.held, "changed": self.changed, "batches": self.batches,
                "cents": self.held + self.batches * self.changed,
                "median_ms": at(0.5), "mean_ms": mean_ms, "most_ms": at(1.0),
                "bytes": bytes_below(&self.dir)?,
            })
        );
        Ok(())
    }
}

impl Recover {
    pub fn run(&self) -> Outcome<()> {
        let disk_bytes = bytes_below(&self.dir)?;
        let begun = Instant::now();
        let (state, found) = Held::recover(&self.dir)?;
        let took = begun.elapsed();
        let peak_mib = measure::peak_mib();
        drop(state);
        let Found { groups, cents, state_bytes } = found;
        let wanted = (self.held, self.cents);
        if (groups, cents) != wanted {
            return Err(format!("WRONG: {found:?} was read back instead of {wanted:?}").into());
        }
        let figures = json!({
            "held": self.held, "disk_bytes": disk_bytes, "state_bytes": state_bytes,
            "seconds": took.as_secs_f64(), "peak_mib": peak_mib,
        });
        println!("{figures}");
        Ok(())
    }
}

/// To the microsecond.
fn milliseconds(time: &Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}

/// The bytes of all files in a directory and below.
fn bytes_below(directory: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => bytes_below(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}
