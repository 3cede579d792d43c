//! What every (window, store) must sum to, recounted from the topic itself.
//!
//! Invariants: sums are exact, in cents; the recount parses with `serde_json` and shares no code with any
//! system that is measured. A window is *due* when it ends at or before the watermark that every system must
//! have reached at the end of the topic: the least of the partitions' newest times, less the watermark's delay. Later
//! windows may be in the results, whole, or missing: systems differ in what the end of a topic closes.
//!
//! Start at [`Recount::run`] and [`Truth::read`].

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Outcome, kafka::Reader};

/// Seconds of a window.
pub const WINDOW_S: i64 = 30;
/// Seconds by which the watermark follows the newest event, unless told otherwise.
pub const WATERMARK_S: i64 = 30;

/// Which topic, and where the recount goes.
#[derive(Args)]
pub struct Recount {
    /// Kafka's brokers
    #[arg(long)]
    brokers: String,
    /// The topic to read
    #[arg(long)]
    topic: String,
    /// Seconds by which the watermark follows the newest event
    #[arg(long, default_value_t = WATERMARK_S)]
    watermark: i64,
    /// The file to write
    #[arg(long)]
    out: PathBuf,
}

/// The first line of the file; rows follow it, 20 bytes each: window, store, cents.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub struct Summary {
    pub events: u64,
    /// All groups, and those whose window is due.
    pub groups: u64,
    pub due_groups: u64,
    /// Of all prices, in cents.
    pub total_cents: i64,
    /// Windows that end at or before this Unix second are due.
    pub due_until: i64,
}

/// The sums in cents of a window's stores, by store number; `None` where a store sold nothing.
pub type Sums = BTreeMap<i64, Vec<Option<i64>>>;

/// A recount that was read from its file.
pub struct Truth {
    pub summary: Summary,
    pub sums: Sums,
}

#[derive(Deserialize)]
struct Sale<'a> {
    store: &'a str,
    #[serde(borrow)]
    price: &'a RawValue,
    ts: i64,
}

impl Recount {
    pub fn run(&self) -> Outcome<()> {
        let (mut sums, mut events, mut newest) = (Sums::new(), 0, BTreeMap::new());
        Reader::open(&self.brokers, &self.topic)?.each(|partition, value| {
            let sale: Sale<'_> = serde_json::from_slice(value)?;
            let cents = cents(sale.price.get())?;
            let stores = sums.entry(sale.ts.div_euclid(WINDOW_S) * WINDOW_S).or_default();
            *place(stores, store_number(sale.store)?).get_or_insert(0) += cents;
            events += 1;
            let newest = newest.entry(partition).or_insert(sale.ts);
            *newest = sale.ts.max(*newest);
            Ok(())
        })?;
        let due_until = newest.values().min().ok_or("the topic is empty")? - self.watermark;
        let summary = summary(&sums, events, due_until);
        write(&self.out, &summary, &sums)?;
        println!("{}", serde_json::to_string(&summary)?);
        Ok(())
    }
}

fn summary(sums: &Sums, events: u64, due_until: i64) -> Summary {
    let count = |stores: &Vec<Option<i64>>| stores.iter().flatten().count() as u64;
    let due = sums.iter().filter(|(window, _)| *window + WINDOW_S <= due_until);
    Summary {
        events,
        groups: sums.values().map(count).sum(),
        due_groups: due.map(|(_, stores)| count(stores)).sum(),
        total_cents: sums.values().flatten().flatten().sum(),
        due_until,
    }
}

fn write(path: &Path, summary: &Summary, sums: &Sums) -> Outcome<()> {
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "{}", serde_json::to_string(summary)?)?;
    for (window, stores) in sums {
        for (store, cents) in (0_u32..).zip(stores) {
            let Some(cents) = cents else { continue };
            out.write_all(&window.to_le_bytes())?;
            out.write_all(&store.to_le_bytes())?;
            out.write_all(&cents.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}

impl Truth {
    /// # Errors
    /// There is no such file, or it is not one of [`Recount`].
    pub fn read(path: &Path) -> Outcome<Truth> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut file = BufReader::new(file);
        let mut line = String::new();
        file.read_line(&mut line)?;
        let summary: Summary = serde_json::from_str(&line)?;
        let mut sums = Sums::new();
        let mut row = [0_u8; 20];
        for _ in 0..summary.groups {
            file.read_exact(&mut row)?;
            let window = i64::from_le_bytes(row[0..8].try_into()?);
            let store = u32::from_le_bytes(row[8..12].try_into()?);
            let cents = i64::from_le_bytes(row[12..20].try_into()?);
            *place(sums.entry(window).or_default(), store) = Some(cents);
        }
        Ok(Truth { summary, sums })
    }
}

/// The place of a store, made where there is none yet.
pub fn place(stores: &mut Vec<Option<i64>>, store: u32) -> &mut Option<i64> {
    let store = store as usize;
    if store >= stores.len() {
        stores.resize(store + 1, None);
    }
    &mut stores[store]
}

/// `store-17` is 17.
pub fn store_number(store: &str) -> Outcome<u32> {
    let number = store.strip_prefix("store-").and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("no store is called {store:?}").into())
}

/// `12.34` is 1234; also `12.3`, `12` and, as doubles are printed, `1.234E7` and `12.340000000000003`.
pub fn cents(price: &str) -> Outcome<i64> {
    let exact = |price: &str| {
        let (whole, rest) = price.split_once('.').unwrap_or((price, ""));
        let rest = format!("{rest:0<2}");
        let is_plain = rest.len() == 2 && (whole.len() + rest.len()) < 18;
        if is_plain { format!("{whole}{rest}").parse::<i64>().ok() } else { None }
    };
    if let Some(cents) = exact(price) {
        return Ok(cents);
    }
    let value: f64 = price.parse().map_err(|_| format!("{price:?} is no price"))?;
    let cents = format!("{:.0}", value * 100.0);
    cents.parse().map_err(|_| format!("{price:?} is no price").into())
}

#[cfg(test)]
mod tests {
    use super::{cents, store_number};

    #[test]
    fn prices_are_read_as_cents() {
        for (price, expected) in
            [("12.34", 1234), ("12.3", 1230), ("12", 1200), ("1.234E7", 1_234_000_000), ("0.05", 5)]
        {
            assert_eq!(cents(price).unwrap(), expected, "{price}");
        }
        // As sums of doubles are printed.
        assert_eq!(cents("12.340000000000003").unwrap(), 1234);
        assert_eq!(cents("12.339999999999998").unwrap(), 1234);
        assert!(cents("a lot").is_err());
    }

    #[test]
    fn stores_are_known_by_number() {
        assert_eq!(store_number("store-17").unwrap(), 17);
        assert!(store_number("shop-17").is_err());
    }
}
