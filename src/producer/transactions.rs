//! Bank transactions with six fields, keyed by user, as the `transactions` pipeline reads them.
//!
//! Pure: transaction i happens at `start + i ÷ rate`, shown in the given time zone. Start at
//! [`TransactionGenerator`]. Not here: sending (`run`).

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::{Draws, Generate, Rate, Record, below, push_cents};
use crate::types::Timestamp;

/// What `produce transactions` prints before its first transaction.
pub const BANNER: &str = "\
============================================================
KAFKA PRODUCER
Generating transactions in real time...
Press Ctrl+C to stop
============================================================
";

const TYPES: [&str; 3] = ["purchase", "withdrawal", "transfer"];
const LOCATIONS: [&str; 2] = ["online", "store"];
/// Users run from 1.
const USERS: u64 = 50;
/// Amounts run from 10.00 to 1000.00.
const AMOUNT_CENTS: std::ops::RangeInclusive<u64> = 1_000..=100_000;

/// What the generated transactions are like.
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// When transaction 0 happens.
    pub start_time: Timestamp,
    /// Transactions a second.
    pub rate: Rate,
    /// Whose local time `timestamp` is.
    pub time_zone: TimeZone,
}

impl TransactionOptions {
    /// Transactions when nothing is said.
    pub const DEFAULT_EVENTS: u64 = 1000;
    /// One every 2 s when nothing is said.
    pub const DEFAULT_RATE: Rate = Rate::Micro(500_000);
    /// The topic when nothing is said.
    pub const DEFAULT_TOPIC: &'static str = "real-time-transactions";

    /// One transaction every 2 s.
    #[must_use]
    pub fn new(start_time: Timestamp, time_zone: TimeZone, seed: u64) -> TransactionOptions {
        TransactionOptions { seed, start_time, rate: TransactionOptions::DEFAULT_RATE, time_zone }
    }
}

/// Makes transactions without end.
pub struct TransactionGenerator {
    options: TransactionOptions,
    draws: Draws,
    next: u64,
    last: Transaction,
}

#[derive(Default)]
struct Transaction {
    index: u64,
    cents: u64,
    kind: &'static str,
    location: &'static str,
}

impl TransactionGenerator {
    /// A generator that begins with transaction 0.
    #[must_use]
    pub fn new(options: TransactionOptions) -> TransactionGenerator {
        let draws = Draws::new(options.seed);
        TransactionGenerator { options, draws, next: 0, last: Transaction::default() }
    }

    /// Local time of transaction `index` as `YYYY-MM-DD HH:MM:SS`.
    fn local_time(&self, index: u64) -> String {
        let after_us = i64::try_from(self.options.rate.due_ns(index) / 1000).unwrap_or(i64::MAX);
        let at_us = self.options.start_time.0.saturating_add(after_us);
        let at = jiff::Timestamp::from_microsecond(at_us).unwrap_or(jiff::Timestamp::MAX);
        self.options.time_zone.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

impl Generate for TransactionGenerator {
    fn generate(&mut self, record: &mut Record) {
        let [user, amount, kind, location, ..] = self.draws.next_event();
        let index = self.next;
        self.next += 1;
        let user = 1 + below(user, USERS);
        let span = AMOUNT_CENTS.end() - AMOUNT_CENTS.start() + 1;
        self.last = Transaction {
            index,
            cents: AMOUNT_CENTS.start() + below(amount, span),
            kind: choose(&TYPES, kind),
            location: choose(&LOCATIONS, location),
        };
        let Transaction { cents, kind, location, .. } = self.last;
        record.index = index;
        record.tombstone = false;
        record.key = format!("user_{user:02}").into_bytes();
        let mut amount = Vec::new();
        push_cents(&mut amount, cents);
        let amount = String::from_utf8(amount).expect("digits and a point");
        record.value = format!(
            "{{\"transaction_id\":\"txn_{index:04}\",\"user_id\":\"user_{user:02}\",\
             \"amount\":{amount},\"type\":\"{kind}\",\"timestamp\":\"{}\",\
             \"location\":\"{location}\"}}",
            self.local_time(index)
        )
        .into_bytes();
    }

    fn rate(&self) -> Rate {
        self.options.rate
    }

    /// `[0] purchase: $123.45 (online)`
    fn announce(&self, out: &mut dyn Write) -> io::Result<()> {
        let Transaction { index, cents, kind, location } = self.last;
        writeln!(out, "[{index}] {kind}: ${}.{:02} ({location})", cents / 100, cents % 100)
    }
}

fn choose(words: &[&'static str], draw: u64) -> &'static str {
    let count = u64::try_from(words.len()).expect("a few");
    words[usize::try_from(below(draw, count)).expect("an index of words")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator() -> TransactionGenerator {
        let start = Timestamp(1_766_783_780_000_000);
        TransactionGenerator::new(TransactionOptions::new(start, TimeZone::UTC, 7))
    }

    #[test]
    fn the_same_seed_gives_the_same_transactions_and_lines() {
        let mut generator = generator();
        let mut record = Record::default();
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            generator.generate(&mut record);
            generator.announce(&mut lines).unwrap();
            values.push(String::from_utf8(record.value.clone()).unwrap());
        }
        let expected = [
            r#"{"transaction_id":"txn_0000","user_id":"user_39","amount":471.28,"type":"purchase","timestamp":"2025-12-26 21:16:20","location":"online"}"#,
            r#"{"transaction_id":"txn_0001","user_id":"user_31","amount":953.06,"type":"withdrawal","timestamp":"2025-12-26 21:16:22","location":"store"}"#,
        ];
        assert_eq!(values, expected);
        let lines = String::from_utf8(lines).unwrap();
        assert_eq!(lines, "[0] purchase: $471.28 (online)\n[1] withdrawal: $953.06 (store)\n");
    }

    #[test]
    fn every_transaction_has_the_six_fields_and_its_user_as_key() {
        let mut generator = generator();
        let mut record = Record::default();
        for _ in 0..500 {
            generator.generate(&mut record);
            let fields: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&record.value).unwrap();
            assert_eq!(fields.len(), 6);
            assert_eq!(fields["user_id"].as_str().unwrap().as_bytes(), record.key);
            assert!((10.0..=1000.0).contains(&fields["amount"].as_f64().unwrap()));
            assert!(TYPES.contains(&fields["type"].as_str().unwrap()));
            assert!(LOCATIONS.contains(&fields["location"].as_str().unwrap()));
        }
    }

    #[test]
    fn the_timestamp_is_local_time() {
        let options = TransactionOptions {
            time_zone: TimeZone::fixed(jiff::tz::offset(2)),
            ..generator().options
        };
        let generator = TransactionGenerator::new(options);
        assert_eq!(generator.local_time(0), "2025-12-26 23:16:20");
        assert_eq!(generator.local_time(3), "2025-12-26 23:16:26");
    }
}
