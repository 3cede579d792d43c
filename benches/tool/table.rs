//! The table of a file of runs: medians, spreads, ratios.
//!
//! Invariants: only runs whose results were right count, and a system with a wrong run is shown as WRONG; a
//! ratio is that of the two medians in this file and of nothing else. Start at [`Table::run`].

use std::{collections::BTreeMap, fs, path::PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::{Outcome, latency::Percentiles};

/// Which runs, and which of them the others are compared with.
#[derive(Args)]
pub struct Table {
    /// The file of runs, one JSON object a line
    runs: PathBuf,
    /// The system that the others are compared with, for each kind of sink
    #[arg(long, default_values = ["sales-stream files", "sales-stream none"])]
    ours: Vec<String>,
}

/// One line of the file, as `scripts/bench.sh` writes it.
#[derive(Deserialize)]
struct Run {
    stores: u32,
    events: u64,
    system: String,
    /// `run`, `restart`, `probe` or `latency`.
    kind: String,
    right: bool,
    figures: Option<Figures>,
    /// Figures of the start that followed a SIGKILL.
    restarted: Option<Figures>,
    /// Those of a run of the kind `latency`.
    #[serde(default)]
    latency: Option<Latency>,
}

/// What `bench latency` writes, as far as it is shown.
#[derive(Deserialize)]
struct Latency {
    rate: u32,
    count: u64,
    acknowledged: Percentiles,
    due: Percentiles,
}

#[derive(Deserialize)]
struct Figures {
    wall_s: f64,
    user_s: f64,
    system_s: f64,
    peak_mib: f64,
    first_s: Option<f64>,
    done_s: Option<f64>,
}

/// The runs of one system on one workload.
#[derive(Default)]
struct Row {
    is_probe: bool,
    wrong: usize,
    per_cpu_second: Vec<f64>,
    per_second: Vec<f64>,
    peak_mib: Vec<f64>,
    first_s: Vec<f64>,
    restarted_s: Vec<f64>,
}

impl Table {
    pub fn run(&self) -> Outcome<()> {
        let text = fs::read_to_string(&self.runs)
            .map_err(|error| format!("{}: {error}", self.runs.display()))?;
        let mut workloads: BTreeMap<(u32, u64), Vec<(String, Row)>> = BTreeMap::new();
        let mut latencies: BTreeMap<u32, Vec<Latency>> = BTreeMap::new();
        let mut wrong_latencies = 0;
        for line in text.lines() {
            let run: Run = serde_json::from_str(line)?;
            if run.kind == "latency" {
                match run.latency.filter(|_| run.right) {
                    Some(latency) => latencies.entry(latency.rate).or_default().push(latency),
                    None => wrong_latencies += 1,
                }
                continue;
            }
            let rows = workloads.entry((run.stores, run.events)).or_default();
            let place = rows.iter().position(|(system, _)| *system == run.system);
            let place = place.unwrap_or_else(|| {
                rows.push((run.system.clone(), Row::default()));
                rows.len() - 1
            });
            rows[place].1.add(&run);
        }
        for ((stores, events), rows) in &workloads {
            self.print(*stores, *events, rows);
        }
        print_latencies(&latencies, wrong_latencies);
        Ok(())
    }

    fn print(&self, stores: u32, events: u64, rows: &[(String, Row)]) {
        println!("## {stores} stores, {events} events\n");
        println!(
            "| system | K events per CPU-second | K events a second | peak MiB | start → first batch, s | \
             restart → first batch, s | right runs |"
        );
        println!("|---|---|---|---|---|---|---|");
        for (system, row) in rows {
            let right = row.per_cpu_second.len();
            let verdict = if row.wrong > 0 {
                format!("{right}, WRONG {}", row.wrong)
            } else {
                right.to_string()
            };
            println!(
                "| {system} | {} | {} | {} | {} | {} | {verdict} |",
                shown(&row.per_cpu_second, 0),
                shown(&row.per_second, 0),
                shown(&row.peak_mib, 0),
                shown(&row.first_s, 3),
                shown(&row.restarted_s, 3),
            );
        }
        for ours in &self.ours {
            if let Some((_, mine)) = rows.iter().find(|(system, _)| system == ours) {
                self.print_ratios(ours, mine, rows);
            }
        }
        println!();
    }

    /// `mine` against each other system, by medians: times the events of a peer, per cent of those of a probe,
    /// per cent of the memory and the time.
    fn print_ratios(&self, ours: &str, mine: &Row, rows: &[(String, Row)]) {
        let others: Vec<_> =
            rows.iter().filter(|(system, _)| !self.ours.contains(system)).collect();
        if others.is_empty() {
            return;
        }
        println!(
            "\n| {ours} against | events per CPU-second | events a second | peak memory | start | \
             restart |"
        );
        println!("|---|---|---|---|---|---|");
        for (system, other) in others {
            let more = |of: fn(&Row) -> &[f64]| {
                ratio(of(mine), of(other)).map_or("–".to_owned(), |ratio| {
                    if other.is_probe {
                        format!("{:.0} %", ratio * 100.0)
                    } else {
                        format!("{ratio:.1} x")
                    }
                })
            };
            let less = |of: fn(&Row) -> &[f64]| {
                ratio(of(mine), of(other))
                    .map_or("–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
            };
            println!(
                "| {system} | {} | {} | {} | {} | {} |",
                more(|row| &row.per_cpu_second),
                more(|row| &row.per_second),
                less(|row| &row.peak_mib),
                less(|row| &row.first_s),
                less(|row| &row.restarted_s),
            );
        }
    }
}

/// Medians over the rounds of each round's percentiles.
fn print_latencies(latencies: &BTreeMap<u32, Vec<Latency>>, wrong: usize) {
    if latencies.is_empty() && wrong == 0 {
        return;
    }
    println!("## Latency, ms: from acknowledged by the broker to durable and published\n");
    println!(
        "| records a second | p50 | p90 | p99 | p99.9 | most | p99 from due | records | right runs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (rate, runs) in latencies {
        let of = |value: fn(&Latency) -> f64| shown(&runs.iter().map(value).collect::<Vec<_>>(), 1);
        println!(
            "| {rate} | {} | {} | {} | {} | {} | {} | {} | {} |",
            of(|run| run.acknowledged.p50_ms),
            of(|run| run.acknowledged.p90_ms),
            of(|run| run.acknowledged.p99_ms),
            of(|run| run.acknowledged.p999_ms),
            of(|run| run.acknowledged.max_ms),
            of(|run| run.due.p99_ms),
            runs.iter().map(|run| run.count).sum::<u64>(),
            runs.len(),
        );
    }
    if wrong > 0 {
        println!("\n{wrong} runs of latency were WRONG or failed.");
    }
    println!();
}

/// How two systems compare, where both were measured: the median of the rounds' ratios, because a machine's speed
/// drifts from round to round; of the medians where a round is missing.
fn ratio(of: &[f64], to: &[f64]) -> Option<f64> {
    if of.len() != to.len() {
        return Some(median(of)? / median(to)?);
    }
    let of_rounds: Vec<f64> = of.iter().zip(to).map(|(of, to)| of / to).collect();
    median(&of_rounds)
}

impl Row {
    fn add(&mut self, run: &Run) {
        self.is_probe |= run.kind == "probe";
        if !run.right {
            self.wrong += 1;
            return;
        }
        let events = run.events as f64 / 1000.0;
        if let Some(figures) = run.figures.as_ref().filter(|_| run.kind != "restart") {
            self.per_cpu_second.push(events / (figures.user_s + figures.system_s));
            self.per_second.push(events / figures.done_s.unwrap_or(figures.wall_s));
            self.peak_mib.push(figures.peak_mib);
        }
        // A start with small batches says more about starting than one whose first batch is a million.
        if run.kind == "restart" {
            self.first_s.extend(run.figures.as_ref().and_then(|figures| figures.first_s));
            self.restarted_s.extend(run.restarted.as_ref().and_then(|figures| figures.first_s));
        }
    }
}

/// The one in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The median with the least and the most behind it.
fn shown(values: &[f64], places: usize) -> String {
    let Some(median) = median(values) else { return "–".to_owned() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() == 1 {
        return format!("{median:.places$}");
    }
    format!("{median:.places$} ({least:.places$} to {most:.places$})")
}

#[cfg(test)]
mod tests {
    use super::{median, ratio, shown};

    #[test]
    fn systems_are_compared_round_by_round() {
        assert_eq!(ratio(&[1.0, 20.0, 3.0], &[2.0, 10.0, 6.0]), Some(0.5));
        assert_eq!(ratio(&[1.0, 3.0], &[2.0]), Some(1.0));
        assert_eq!(ratio(&[], &[]), None);
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn several_values_are_shown_with_their_spread() {
        assert_eq!(shown(&[], 1), "–");
        assert_eq!(shown(&[1.25], 1), "1.2");
        assert_eq!(shown(&[3.0, 1.0, 2.0], 0), "2 (1 to 3)");
    }
}
