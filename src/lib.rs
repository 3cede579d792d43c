//! A fault-tolerant stream processor with durable checkpointing.
//!
//! JSON events come from Kafka, are summed in event-time windows, and every batch is persisted whole
//! (state, watermark, offsets) before anyone may see it. This page is the map of the code.
//!
//! ```text
//!  floor 8   main ─ commands                what the verbs do, exit codes; `demo`
//!  floor 7   cli   progress   simulate      what can be typed; log, signals; lines of progress; trials of
//!                                           the engine over the memory twins, by seed
//!  floor 6   engine   inspect               the loop and the order of a batch's steps; read-only views
//!  floor 5   source::kafka  checkpoint::rocks  sink::{console,files,dead_letter}   one library each,
//!            (each with a memory twin)                                             beside it:
//!            producer   broker   consume   topics                    clients to make and look at input
//!            kafka   stop   umask                                    below them: client settings, the stop
//!  floor 4   source   checkpoint (+ codec, visible)   sink           the ports
//!  floor 3   batch                          the core value: job, plan, recovery decision
//!  floor 2   decode   window   spark        bytes → event;  event → state: our way, Spark's
//!  floor 1   spec                           pipeline text → checked pipeline
//!  floor 0   types   faults                 shared words; faults that tests plant (feature `faults`)
//! ```
//!
//! Imports point down only. Floors 0 to 3 are pure: no I/O (but for the system's time zones, looked up
//! by name), clock, randomness, log or async. One batch goes through the house like this:
//!
//! ```text
//!  records ─► decode ─► window ─► batch::Plan ─► persist ─► announce ─► publish ─► commit ─► mark
//!                                               `Durable`   `Visible`   each sink   Kafka
//! ```
//!
//! Two engines can be behind a job (`batch::operators`): [`window`], our own way, whose state is rows of
//! state and whose results follow from it; and [`spark`], for pipelines with `compat`, whose state is a log
//! of changes and whose rows are stored, because there their order is part of the result.
//!
//! Large batches are decoded and added up in several lanes, each a thread with partitions of its own
//! (`batch::Lane`, `source::Taker`), whose shares are joined before the batch is planned.
//!
//! Rows that are not state and dead letters go ahead into the checkpoint while their batch is read, and
//! sinks get them back from there piece by piece. Groups that do not fit in memory are in the checkpoint
//! alone; a batch that needs them is joined with what is stored (`window`, `engine::run`).
//!
//! The engine meets time and chance in its clock alone, and its way out can be driven in line, so that
//! [`simulate`] runs the same engine in a world that follows from one seed.
//!
//! What Spark itself did is in `tests/golden`, and where our own way differs from it, in
//! `docs/differences-from-spark.md`.
//!
//! What any bytes from outside do to readers is tried by `fuzz.rs`, which no program has, and the crate in
//! `fuzz/`.
//!
//! Start reading at [`batch`] for what a batch is, at [`engine`] for what happens in which order, and
//! at [`checkpoint`] for what is on disk.

pub mod batch;
pub mod broker;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod consume;
pub mod decode;
pub mod engine;
pub mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod inspect;
pub mod kafka;
pub mod producer;
pub mod progress;
pub mod simulate;
pub mod sink;
pub mod source;
pub mod spark;
pub mod spec;
pub mod stop;
pub mod topics;
pub mod types;
pub mod umask;
pub mod window;
