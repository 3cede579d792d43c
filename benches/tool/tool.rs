//! What `scripts/bench.sh` and `scripts/growth.sh` need besides a shell: the workload, its recount, the checks, the measuring of a
//! process and of latency, the tables and curves, and the limit probes that the pipeline is compared with.
//!
//! Invariants: nothing here but the probe of the source and the held states (`state`) uses the code of the pipeline, so that a mistake there
//! cannot hide in a check; every number printed comes with the run it was taken from;
//! what is written down names no directory of the machine (`places`). Start at [`Command`]; `bench --help` explains
//! each. Not here: which systems are compared and how they are started (`scripts/bench/systems.sh`).

mod check;
mod draw;
mod kafka;
mod latency;
mod measure;
mod places;
mod probe;
mod rounds;
mod state;
mod table;
mod truth;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use places::Places;

/// The allocator of the program itself, so that the probes have what the pipeline has.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The settings of sales-stream (`src/main.rs`): its state is read back here as it is there, and a limit is one
/// under the same conditions.
// SAFETY: jemalloc reads a text that ends with a zero byte there, or nothing; it has no other symbol of this name
// but its own weak one.
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_SETTINGS: Option<&'static u8> = Some(&SETTINGS[0]);
static SETTINGS: [u8; 41] = *b"narenas:2,dirty_decay_ms:3000,thp:always\0";

/// What goes wrong is told to whoever runs the bench; nothing decides by its kind.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(
    about = "The tool behind scripts/bench.sh and scripts/growth.sh: workload, recount, checks, measuring, probes, tables"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    places: Places,
}

#[derive(Subcommand)]
enum Command {
    /// Write the workload into a topic, or print its values
    Load(workload::Load),
    /// Write a record behind the end of each partition that closes every window
    Close(workload::Close),
    /// Read a topic and write down what every (window, store) must sum to
    Recount(truth::Recount),
    /// Compare results with a recount; exit 1 and say what is wrong
    Check(check::Check),
    /// Run a command; write its CPU seconds, wall time, peak memory and time to the first mark
    Measure(measure::Measure),
    /// Send records at a fixed rate to a command's topic; write how long each took to be published
    Latency(latency::Latency),
    /// Read a topic with as little work as one kind of job needs
    Probe(probe::Probe),
    /// Make a checkpoint and measure batches that change part of it
    Hold(state::Hold),
    /// Read a checkpoint of `hold` back and measure that
    Recover(state::Recover),
    /// Print the table of a file of runs
    Table(table::Table),
    /// Draw the curves of a file of points
    Draw(draw::Draw),
}

fn main() -> ExitCode {
    let Arguments { command, places } = Arguments::parse();
    let outcome = match command {
        Command::Load(load) => load.run(),
        Command::Close(close) => close.run(),
        Command::Recount(recount) => recount.run(),
        Command::Check(check) => check.run(),
        Command::Measure(measure) => return measure.run(&places),
        Command::Latency(latency) => return latency.run(&places),
        Command::Probe(probe) => probe.run(),
        Command::Hold(hold) => hold.run(),
        Command::Recover(recover) => recover.run(),
        Command::Table(table) => table.run(),
        Command::Draw(draw) => draw.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {}", places.short(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
