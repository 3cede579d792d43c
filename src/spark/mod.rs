//! Spark's exact physical way, for pipelines in a compatibility mode.
//!
//! Results are not only equal but come in Spark's order, and doubles are added in it: partition by
//! partition of the topic, then shuffle partition by shuffle partition, in the order of the state
//! store's hash maps. Pure. Start at [`SparkEngine`].
//!
//! The map of this room, from a record to a row:
//!
//! ```text
//!  groups (a task's partial aggregate)  ─┐                           ┌─ emit (rows, casts)
//!  dedup  (records kept once)  ──────────┴─► aggregate or session ──►┴─ store (state, its log)
//!  below them: buffer (sums), row (keys as bytes), murmur, hash_map, topic_order, cast
//! ```
//!
//! Invariant: replaying the changes of all batches gives the state, and the order that Spark has after
//! a restart.
//!
//! Not modelled: maintenance snapshots of Spark's default state store, which may change the order of
//! rows after a restart; deduplication over more than four columns with several shuffle partitions
//! (Spark orders the columns by a hash set); the two-level hash map of groups by columns alone once a
//! task has many thousands of them.
//!
//! Not here: the exact sums and sorted rows of the default way (`window`); how bytes become events
//! (`decode`); how the log is stored (`checkpoint`).

mod aggregate;
mod buffer;
mod cast;
mod dedup;
mod emit;
mod engine;
mod error;
mod field;
mod groups;
mod hash_map;
mod murmur;
mod plan;
mod row;
mod session;
mod store;
mod topic_order;

pub use cast::ErrorClass;
pub use engine::{Bounds, OpenGroup, SparkBatch, SparkEngine, SparkOutcome};
pub use error::{Failure, SparkError};
pub use field::Field;
pub use row::KeyError;
pub use store::{Change, LogWrite, Operator, StateLog};
pub use topic_order::topic_order;

#[cfg(test)]
mod tests;
