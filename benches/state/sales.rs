//! Records made from numbers, and the spec that reads them: that of `scripts/bench.sh`.
//!
//! Start at [`write`].

use std::io::Write;

/// The spec.
pub const SPEC: &str = include_str!("../../scripts/bench/sales.toml");

/// Event time of all records, in Unix seconds.
const TIME_S: i64 = 1_756_800_000;

/// Appends a sale of one cent by store `group` to `value`.
///
/// # Panics
/// Never: a buffer takes everything.
pub fn write(group: u64, value: &mut Vec<u8>) {
    write!(
        value,
        r#"{{"store": "store-{group}", "item": "cable", "price": 0.01, "ts": {TIME_S}}}"#
    )
    .expect("a buffer takes everything");
}
