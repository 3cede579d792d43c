//! Sales: `{"store":"store-1","item":"item-7","price":12.34,"ts":1756800000}`, keyed by store.
//!
//! Pure, and integers only: event i is a function of the options and i, the same on every machine
//! and in every release (pinned by a test with literal bytes; a change there breaks other people's
//! comparisons). `ts` is `floor(start + i × time scale ÷ rate)` in Unix seconds, where an unlimited
//! rate counts as 1000 a second; disorder and lateness are taken off before the floor.
//!
//! Start at [`SalesGenerator`]. Not here: sending (`run`).

use std::time::Duration;

use super::{Draws, Fraction, Generate, Rate, Record, TimeScale, below, push_cents, push_number};
use crate::types::Timestamp;

const MICROS_PER_SECOND: i128 = 1_000_000;
/// What an unlimited rate counts as in event time.
const UNLIMITED_EVENTS_PER_SECOND: u32 = 1000;
/// Prices run from 1.00 to 99.99.
const PRICE_CENTS: std::ops::Range<u64> = 100..10_000;
/// Items run from 1.
const ITEMS: u64 = 20;
/// A late event is so much later than disorder alone would make it: beyond any sensible watermark.
const LATE_MICROS: std::ops::RangeInclusive<u64> = 120_000_000..=600_000_000;

/// What the generated sales are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesOptions {
    /// Number of stores (`store-1` to `store-N`), at least 1.
    pub stores: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Each event's time is moved back by a random part of this.
    pub out_of_order: Duration,
    /// Share of events that come 2 to 10 minutes later still.
    pub late_fraction: Fraction,
    /// Share of records that are not a sale, in about a dozen ways.
    pub malformed_fraction: Fraction,
    /// Event time of event 0.
    pub start_time: Timestamp,
    /// How fast event time runs.
    pub time_scale: TimeScale,
    /// Events a second.
    pub rate: Rate,
}

impl SalesOptions {
    /// Stores when nothing is said.
    pub const DEFAULT_STORES: u32 = 5;
    /// The topic when nothing is said.
    pub const DEFAULT_TOPIC: &'static str = "sales";

    /// One event a second from 5 stores, in order, none late, none malformed.
    #[must_use]
    pub fn new(start_time: Timestamp, seed: u64) -> SalesOptions {
        SalesOptions {
            stores: SalesOptions::DEFAULT_STORES,
            seed,
            out_of_order: Duration::ZERO,
            late_fraction: Fraction::ZERO,
            malformed_fraction: Fraction::ZERO,
            start_time,
            time_scale: TimeScale::ONE,
            rate: Rate::ONE,
        }
    }
}

/// Makes sales without end.
pub struct SalesGenerator {
    options: SalesOptions,
    out_of_order_us: u64,
    rate_micro: u64,
    draws: Draws,
    next: u64,
}

impl SalesGenerator {
    /// A generator that begins with event 0.
    #[must_use]
    pub fn new(options: SalesOptions) -> SalesGenerator {
        let Rate::Micro(rate_micro) = (match options.rate {
            Rate::Unlimited => Rate::per_second(UNLIMITED_EVENTS_PER_SECOND),
            limited => limited,
        }) else {
            unreachable!("an unlimited rate was just replaced")
        };
        let most_us = u64::MAX - 1;
        let out_of_order_us = u64::try_from(options.out_of_order.as_micros()).unwrap_or(most_us);
        let draws = Draws::new(options.seed);
        SalesGenerator {
            options,
            out_of_order_us: out_of_order_us.min(most_us),
            rate_micro: rate_micro.max(1),
            draws,
            next: 0,
        }
    }

    /// Event time of event `index` before disorder, in microseconds (floor).
    fn planned_us(&self, index: u64) -> i128 {
        let progress = i128::from(index) * i128::from(self.options.time_scale.0);
        i128::from(self.options.start_time.0)
            + (progress * MICROS_PER_SECOND).div_euclid(i128::from(self.rate_micro))
    }

    fn event_seconds(&self, index: u64, disorder: u64, late: u64, lateness: u64) -> i64 {
        let mut micros = self.planned_us(index);
        micros -= i128::from(below(disorder, self.out_of_order_us + 1));
        if self.options.late_fraction.hits(late) {
            let span = LATE_MICROS.end() - LATE_MICROS.start() + 1;
            micros -= i128::from(LATE_MICROS.start() + below(lateness, span));
        }
        let seconds = micros.div_euclid(MICROS_PER_SECOND);
        i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX })
    }
}

impl Generate for SalesGenerator {
    fn generate(&mut self, record: &mut Record) {
        let index = self.next;
        self.next += 1;
        let [store, item, price, disorder, late, lateness, malformed, kind] =
            self.draws.next_event();
        record.index = index;
        record.tombstone = false;
        record.key.clear();
        record.key.extend_from_slice(b"store-");
        push_number(&mut record.key, 1 + below(store, u64::from(self.options.stores.max(1))));
        let sale = Sale {
            store: &record.key,
            item: 1 + below(item, ITEMS),
            cents: PRICE_CENTS.start + below(price, PRICE_CENTS.end - PRICE_CENTS.start),
            ts: self.event_seconds(index, disorder, late, lateness),
        };
        record.value.clear();
        if self.options.malformed_fraction.hits(malformed) {
            record.tombstone = sale.write_malformed(&mut record.value, kind);
        } else {
            sale.write(&mut record.value);
        }
    }

    fn rate(&self) -> Rate {
        self.options.rate
    }
}

impl Iterator for SalesGenerator {
    type Item = Record;

    /// Never ends.
    fn next(&mut self) -> Option<Record> {
        let mut record = Record::default();
        self.generate(&mut record);
        Some(record)
    }
}

struct Sale<'a> {
    store: &'a [u8],
    item: u64,
    cents: u64,
    ts: i64,
}

impl Sale<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        self.write_with(out, |out| push_cents(out, self.cents), |out| push_signed(out, self.ts));
    }

    /// The record with its last two values written by others.
    fn write_with(
        &self,
        out: &mut Vec<u8>,
        price: impl FnOnce(&mut Vec<u8>),
        ts: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(b"{\"store\":\"");
        out.extend_from_slice(self.store);
        out.extend_from_slice(b"\",\"item\":\"item-");
        push_number(out, self.item);
        out.extend_from_slice(b"\",\"price\":");
        price(out);
        out.extend_from_slice(b",\"ts\":");
        ts(out);
        out.push(b'}');
    }

    /// Writes something that is not a sale; true if it is to be a tombstone.
    ///
    /// None of them has a readable time in the far future: one such record would close every window.
    fn write_malformed(&self, out: &mut Vec<u8>, kind: u64) -> bool {
        const KINDS: u64 = 12;
        let ts = |out: &mut Vec<u8>| push_signed(out, self.ts);
        let price = |out: &mut Vec<u8>| push_cents(out, self.cents);
        let literal = |text: &'static [u8]| move |out: &mut Vec<u8>| out.extend_from_slice(text);
        match below(kind, KINDS) {
            0 => out.extend_from_slice(b"not json"),
            1 => {
                // Cut off in the middle.
                self.write(out);
                out.truncate(out.len() / 2);
            }
            2 => self.write_with(out, literal(b"\"twelve\""), ts),
            3 => self.write_with(out, price, literal(b"\"yesterday\"")),
            4 => self.write_with(out, price, literal(b"null")),
            5 => {
                // Invalid UTF-8 instead of the record.
                out.extend_from_slice(b"{\"store\":\"\xff\xfe");
            }
            6 => {}
            7 => out.extend_from_slice(b"   \n"),
            8 => {
                // An array is not an object.
                out.push(b'[');
                push_signed(out, self.ts);
                out.push(b']');
            }
            9 => self.write_with(out, price, literal(b"123456789012345678901234567890")),
            10 => {
                out.extend_from_slice(b"{\"store\":\"");
                out.extend_from_slice(self.store);
                out.extend_from_slice(b"\",\"price\":1.00}");
            }
            _ => return true,
        }
        false
    }
}

fn push_signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_number(out, number.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// 2025-09-02T08:00:00Z
    const START: Timestamp = Timestamp(1_756_800_000_000_000);

    fn values(options: SalesOptions, count: usize) -> Vec<String> {
        SalesGenerator::new(options)
            .take(count)
            .map(|record| String::from_utf8_lossy(&record.value).into_owned())
            .collect()
    }

    fn times(options: SalesOptions, count: usize) -> Vec<i64> {
        values(options, count)
            .iter()
            .map(|value| serde_json::from_str::<serde_json::Value>(value).unwrap())
            .map(|sale| sale["ts"].as_i64().unwrap())
            .collect()
    }

    /// These bytes are a promise. If this test fails, the generator is wrong, not the test.
    #[test]
    fn the_same_seed_gives_the_same_bytes_for_ever() {
        let options = SalesOptions {
            stores: 100,
            out_of_order: Duration::from_secs(20),
            time_scale: TimeScale(4 * 1_000_000),
            rate: Rate::Unlimited,
            late_fraction: "0.2".parse().unwrap(),
            malformed_fraction: "0.3".parse().unwrap(),
            ..SalesOptions::new(START, 7)
        };
        let expected = [
            r#"{"store":"store-77","item":"item-10","price":1.56,"ts":1756799993}"#,
            r#"{"store":"store-61","item":"item-20","price":61.86,"ts":1756799986}"#,
            r#"{"store":"store-28","item":"item-1","price":"twelve","ts":1756799985}"#,
            r#"{"store":"store-72","item":"item-20","price":1.48,"ts":1756799990}"#,
            r#"{"store":"store-21","item":"item-9","price":21.13,"ts":1756799984}"#,
            r#"{"store":"store-4","item":"item-2","price":16.91,"ts":1756799982}"#,
            r#"{"store":"store-62","item":"item-8","price":32.92,"ts":1756799622}"#,
            r#"{"store":"store-17","item":"item-10","price":52.07,"ts":1756799996}"#,
        ];
        assert_eq!(values(options, 8), expected);
    }

    #[test]
    fn event_times_follow_rate_and_scale_without_rounding_up() {
        let check = |rate: &str, scale: &str, expected: &[i64]| {
            let options = SalesOptions {
                rate: rate.parse().unwrap(),
                time_scale: scale.parse().unwrap(),
                ..SalesOptions::new(START, 1)
            };
            let expected: Vec<i64> = expected.iter().map(|ts| ts + 1_756_800_000).collect();
            assert_eq!(times(options, expected.len()), expected, "{rate} {scale}");
        };
        check("1", "1", &[0, 1, 2, 3]);
        check("2", "1", &[0, 0, 1, 1, 2]);
        check("0.5", "1", &[0, 2, 4]);
        check("1", "60", &[0, 60, 120]);
        check("3", "1", &[0, 0, 0, 1, 1, 1, 2]);
        check("unlimited", "400", &[0, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn times_before_1970_are_floored_too() {
        let options = SalesOptions {
            rate: Rate::per_second(2),
            ..SalesOptions::new(Timestamp(-1_250_000), 1)
        };
        assert_eq!(times(options, 4), [-2, -1, -1, 0]);
    }

    #[test]
    fn disorder_moves_times_back_by_at_most_its_bound_and_lateness_further() {
        let plain = SalesOptions::new(START, 3);
        let disordered = SalesOptions { out_of_order: Duration::from_secs(20), ..plain.clone() };
        let late = SalesOptions { late_fraction: "1".parse().unwrap(), ..disordered.clone() };
        let (plain, disordered, late) =
            (times(plain, 2000), times(disordered, 2000), times(late, 2000));
        let back: BTreeSet<i64> =
            plain.iter().zip(&disordered).map(|(one, other)| one - other).collect();
        // Whole seconds after the floor; nothing at all is taken off once in 20 million times.
        assert_eq!(back, (1..=20).collect());
        assert!(
            disordered.iter().zip(&late).all(|(one, other)| (120..=600).contains(&(one - other)))
        );
    }

    #[test]
    fn one_option_leaves_the_other_draws_alone() {
        let plain = SalesOptions::new(START, 9);
        let some = SalesOptions { malformed_fraction: "0.2".parse().unwrap(), ..plain.clone() };
        let (plain, some) = (values(plain, 500), values(some, 500));
        let same = plain.iter().zip(&some).filter(|(one, other)| one == other).count();
        assert!((350..450).contains(&same), "{same}");
    }

    #[test]
    fn keys_are_the_stores_and_all_stores_sell() {
        let options = SalesOptions { stores: 7, ..SalesOptions::new(START, 2) };
        let mut stores = BTreeSet::new();
        for record in SalesGenerator::new(options).take(500) {
            let sale: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
            let store = sale["store"].as_str().unwrap().to_owned();
            assert_eq!(record.key, store.as_bytes());
            stores.insert(store);
        }
        let expected: BTreeSet<String> = (1..=7).map(|store| format!("store-{store}")).collect();
        assert_eq!(stores, expected);
    }

    #[test]
    fn malformed_records_come_in_all_kinds_and_none_is_a_sale() {
        let options = SalesOptions {
            malformed_fraction: "1".parse().unwrap(),
            ..SalesOptions::new(START, 4)
        };
        let (mut kinds, mut tombstones) = (BTreeSet::new(), 0);
        for record in SalesGenerator::new(options).take(1000) {
            tombstones += usize::from(record.payload().is_none());
            let sale = serde_json::from_slice::<serde_json::Value>(&record.value).ok();
            let whole = sale
                .as_ref()
                .is_some_and(|sale| sale["price"].is_f64() && sale["ts"].as_i64().is_some());
            assert!(!whole, "{:?}", String::from_utf8_lossy(&record.value));
            kinds.insert(
                record.value.iter().copied().filter(|b| !b.is_ascii_digit()).collect::<Vec<u8>>(),
            );
        }
        assert!(tombstones > 0);
        assert!(kinds.len() >= 11, "{}", kinds.len());
    }
}
