//! The table of a file of runs: medians, spreads, ratios, and how results were compared.
//!
//! Invariants: only runs whose results were right count, and a system with a wrong run is shown as WRONG; how the results
//! of a row were compared is said in the row; a ratio is the median of those of the rounds that both systems have, of two
//! that both keep their results or both keep none. Start at [`Table::run`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use clap::Args;
use serde::Deserialize;

use crate::{Outcome, check, latency::Percentiles, rounds::Rounds};

/// What every table needs to be read rightly.
const LEGEND: &str = "\
K events per CPU-second: the CPU time is user and system time of the process and its children from their launch on, so it \
includes starting and, in a JVM, compiling: the fewer events, the more of it. What the broker spends is in none. Started \
and restarted: until the first batch was out, of Flink and Kafka Streams until the first record was read.

Right runs and restarts: those whose results were compared with the recount, each of them, to the cent. *summed*: the \
system kept no results; their number and the sum of all were compared. *counted*: only the numbers of records and results \
were. *not compared*: a killed process that keeps no results takes its counts with it. What was wrong or failed counts \
nowhere.

A ratio is the median of the rounds' ratios, of rounds that both systems have. Systems that keep no results are compared \
with `sales-stream none`, the others with `sales-stream files`.
";

/// Which runs, and which of them the others are compared with.
#[derive(Args)]
pub struct Table {
    /// The file of runs, one JSON object a line
    runs: PathBuf,
    /// The systems that the others are compared with: each with those that keep results as it does, or keep none
    #[arg(long, default_values = ["sales-stream files", "sales-stream none"])]
    ours: Vec<String>,
}

/// One line of the file, as `scripts/bench.sh` writes it.
#[derive(Deserialize)]
struct Run {
    stores: u32,
    events: u64,
    round: u32,
    system: String,
    /// `run`, `restart`, `probe` or `latency`.
    kind: String,
    right: bool,
    /// The verdict of the check.
    said: String,
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

/// How the results of a run were compared, from the strictest to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Compared {
    ToTheCent,
    Summed,
    Counted,
    Not,
}

impl Compared {
    /// By what was said of a run that was right.
    fn of(said: &str) -> Compared {
        match said {
            said if said.contains("not compared") => Compared::Not,
            said if !said.starts_with(check::COUNTED_ONLY) => Compared::ToTheCent,
            said if said.contains(" cents") => Compared::Summed,
            _ => Compared::Counted,
        }
    }
}

/// Runs of one kind: how many were right, as far as they were compared.
#[derive(Default)]
struct Verdict {
    right: usize,
    wrong: usize,
    /// That of the run that was compared least.
    compared: Option<Compared>,
}

impl Verdict {
    fn add(&mut self, run: &Run) {
        if run.right {
            self.right += 1;
            self.compared = self.compared.max(Some(Compared::of(&run.said)));
        } else {
            self.wrong += 1;
        }
    }

    fn shown(&self) -> String {
        if self.right + self.wrong == 0 {
            return "–".to_owned();
        }
        let how = match self.compared {
            Some(Compared::Summed) => ", summed",
            Some(Compared::Counted) => ", counted",
            Some(Compared::Not) => ", not compared",
            Some(Compared::ToTheCent) | None => "",
        };
        let wrong = if self.wrong > 0 { format!(", WRONG {}", self.wrong) } else { String::new() };
        format!("{}{how}{wrong}", self.right)
    }
}

/// The runs of one system on one workload.
#[derive(Default)]
struct Row {
    is_probe: bool,
    runs: Verdict,
    restarts: Verdict,
    per_cpu_second: Rounds,
    per_second: Rounds,
    peak_mib: Rounds,
    first_s: Rounds,
    restarted_s: Rounds,
}

/// The systems on one workload, in the order in which they were first measured.
#[derive(Default)]
struct Workload {
    rows: Vec<(String, Row)>,
    rounds: BTreeSet<u32>,
}

impl Table {
    pub fn run(&self) -> Outcome<()> {
        let text = fs::read_to_string(&self.runs)
            .map_err(|error| format!("{}: {error}", self.runs.display()))?;
        print!("{}", self.tables(&text)?);
        Ok(())
    }

    /// All tables of the lines of a file of runs.
    fn tables(&self, lines: &str) -> Outcome<String> {
        let mut workloads: BTreeMap<(u32, u64), Workload> = BTreeMap::new();
        let mut latencies: BTreeMap<u32, Vec<Latency>> = BTreeMap::new();
        let mut wrong_latencies = 0;
        for line in lines.lines() {
            let run: Run = serde_json::from_str(line)?;
            if run.kind == "latency" {
                match run.latency.filter(|_| run.right) {
                    Some(latency) => latencies.entry(latency.rate).or_default().push(latency),
                    None => wrong_latencies += 1,
                }
                continue;
            }
            workloads.entry((run.stores, run.events)).or_default().add(&run);
        }
        let mut text = String::new();
        for ((stores, events), workload) in &workloads {
            let _ = writeln!(text, "## {stores} stores, {events} events\n");
            text += &workload.table();
            for ours in &self.ours {
                text += &self.ratios(ours, workload);
            }
            text.push('\n');
        }
        if !workloads.is_empty() {
            let _ = writeln!(text, "{LEGEND}");
        }
        Ok(text + &latency_table(&latencies, wrong_latencies))
    }

    /// `ours` against each other system that keeps results as it does: times the events of a peer, per cent of those
    /// of a probe, per cent of the memory and the time.
    fn ratios(&self, ours: &str, workload: &Workload) -> String {
        let Some((_, mine)) = workload.rows.iter().find(|(system, _)| system == ours) else {
            return String::new();
        };
        let compares = |system: &String, row: &Row| {
            let keeps = row.keeps_results();
            !self.ours.contains(system) && keeps.is_some() && keeps == mine.keeps_results()
        };
        let others = workload.rows.iter().filter(|(system, row)| compares(system, row));
        let mut text = String::new();
        for (system, other) in others {
            let more = |of: fn(&Row) -> &Rounds| {
                workload.ratio(of(mine), of(other), |ratio| match other.is_probe {
                    true => format!("{:.0} %", ratio * 100.0),
                    false => format!("{ratio:.1} x"),
                })
            };
            let less = |of: fn(&Row) -> &Rounds| {
                workload.ratio(of(mine), of(other), |ratio| format!("{:.1} %", ratio * 100.0))
            };
            let _ = writeln!(
                text,
                "| {system} | {} | {} | {} | {} | {} |",
                more(|row| &row.per_cpu_second),
                more(|row| &row.per_second),
                less(|row| &row.peak_mib),
                less(|row| &row.first_s),
                less(|row| &row.restarted_s),
            );
        }
        if text.is_empty() {
            return text;
        }
        format!(
            "\n| {ours} against | events per CPU-second | events a second | peak memory | start | \
             restart |\n|---|---|---|---|---|---|\n{text}"
        )
    }
}

impl Workload {
    fn add(&mut self, run: &Run) {
        self.rounds.insert(run.round);
        let place = self.rows.iter().position(|(system, _)| *system == run.system);
        let place = place.unwrap_or_else(|| {
            self.rows.push((run.system.clone(), Row::default()));
            self.rows.len() - 1
        });
        self.rows[place].1.add(run);
    }

    fn table(&self) -> String {
        let mut text = "| system | K events per CPU-second | K events a second | peak MiB | \
                        start → first batch or record, s | restart → first batch or record, s | \
                        right runs | right restarts |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for (system, row) in &self.rows {
            let _ = writeln!(
                text,
                "| {system} | {} | {} | {} | {} | {} | {} | {} |",
                shown(&row.per_cpu_second, 0),
                shown(&row.per_second, 0),
                shown(&row.peak_mib, 0),
                shown(&row.first_s, 3),
                shown(&row.restarted_s, 3),
                row.runs.shown(),
                row.restarts.shown(),
            );
        }
        text
    }

    /// How two systems compare, in the words of `said`; with the number of rounds where those are not all.
    fn ratio(&self, of: &Rounds, to: &Rounds, said: impl Fn(f64) -> String) -> String {
        let ratios = of.by(to);
        let Some(ratio) = ratios.median() else { return "–".to_owned() };
        let (rounds, all) = (ratios.numbers().count(), self.rounds.len());
        if rounds < all {
            return format!("{} ({rounds} of {all} rounds)", said(ratio));
        }
        said(ratio)
    }
}

/// Medians over the rounds of each round's percentiles.
fn latency_table(latencies: &BTreeMap<u32, Vec<Latency>>, wrong: usize) -> String {
    let mut text = String::new();
    if latencies.is_empty() && wrong == 0 {
        return text;
    }
    text += "## Latency, ms: from acknowledged by the broker to durable and published\n\n\
             | records a second | p50 | p90 | p99 | p99.9 | most | p99 from due | records | \
             right runs |\n|---|---|---|---|---|---|---|---|---|\n";
    for (rate, runs) in latencies {
        let of = |value: fn(&Latency) -> f64| {
            let mut rounds = Rounds::default();
            (1..).zip(runs).for_each(|(round, run)| rounds.push(round, value(run)));
            shown(&rounds, 1)
        };
        let _ = writeln!(
            text,
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
        let _ = writeln!(text, "\n{wrong} runs of latency were WRONG or failed.");
    }
    text + "\n"
}

impl Row {
    fn add(&mut self, run: &Run) {
        self.is_probe |= run.kind == "probe";
        let is_restart = run.kind == "restart";
        if is_restart { &mut self.restarts } else { &mut self.runs }.add(run);
        let Some(figures) = run.figures.as_ref().filter(|_| run.right) else { return };
        let (events, round) = (run.events as f64 / 1000.0, run.round);
        if !is_restart {
            self.per_cpu_second.push(round, events / (figures.user_s + figures.system_s));
            self.per_second.push(round, events / figures.done_s.unwrap_or(figures.wall_s));
            self.peak_mib.push(round, figures.peak_mib);
            return;
        }
        // A start with small batches says more about starting than one whose first batch is a million.
        if let Some(first_s) = figures.first_s {
            self.first_s.push(round, first_s);
        }
        if let Some(first_s) = run.restarted.as_ref().and_then(|restarted| restarted.first_s) {
            self.restarted_s.push(round, first_s);
        }
    }

    /// Whether there were results to compare; `None` where no run was right.
    fn keeps_results(&self) -> Option<bool> {
        self.runs.compared.map(|compared| compared == Compared::ToTheCent)
    }
}

/// The median with the least and the most behind it.
fn shown(values: &Rounds, places: usize) -> String {
    let (Some(median), Some((least, most))) = (values.median(), values.range()) else {
        return "–".to_owned();
    };
    if values.values().len() == 1 {
        return format!("{median:.places$}");
    }
    format!("{median:.places$} ({least:.places$} to {most:.places$})")
}

#[cfg(test)]
mod tests {
    use super::{Compared, Table, shown};
    use crate::rounds::tests::rounds;

    const EACH: &str = "6 results, 6 due: missing 0";
    const COUNTED: &str = "counted only: 9000 of 9000 records; 1.00 CPU-seconds";

    /// A line of a run of 9,000 events that cost so many CPU-seconds.
    fn run(system: &str, round: u32, said: &str, user_s: f64) -> String {
        let kind = if system.starts_with("probe") { "probe" } else { "run" };
        let right = !said.starts_with("WRONG");
        format!(
            r#"{{"system":"{system}","stores":1,"events":9000,"round":{round},"kind":"{kind}","right":{right},"said":"{said}",
            "figures":{{"wall_s":1.0,"user_s":{user_s},"system_s":0.0,"peak_mib":1.0,"first_s":null,"done_s":null}},
            "restarted":null,"latency":null}}"#
        )
        .replace('\n', "")
            + "\n"
    }

    fn tables(runs: &[String]) -> String {
        let ours = ["sales-stream files", "sales-stream none"].map(str::to_owned).to_vec();
        Table { runs: "runs.jsonl".into(), ours }.tables(&runs.concat()).unwrap()
    }

    #[test]
    fn systems_are_compared_in_rounds_in_which_both_were_right() {
        let ours = |round, said, user_s| run("sales-stream files", round, said, user_s);
        let flink = |round, said, user_s| run("flink heap", round, said, user_s);
        let runs = [ours(1, "WRONG: wrong 1", 1.0), ours(2, EACH, 1.0), ours(3, EACH, 10.0)];
        let others = [flink(1, EACH, 50.0), flink(2, EACH, 4.0), flink(3, "WRONG", 10.0)];
        let text = tables(&[runs, others].concat());
        assert!(text.contains("| flink heap | 4.0 x (1 of 3 rounds) |"), "{text}");
        let others = [flink(1, EACH, 6.0), flink(2, EACH, 5.0), flink(3, EACH, 80.0)];
        let runs = [ours(1, EACH, 1.0), ours(2, EACH, 5.0), ours(3, EACH, 10.0)];
        let text = tables(&[runs, others].concat());
        // 6, 1 and 8; that of the medians would be 6 by 5.
        assert!(text.contains("| flink heap | 6.0 x |"), "{text}");
    }

    #[test]
    fn what_keeps_no_results_is_compared_with_what_keeps_none() {
        let runs = [
            run("sales-stream files", 1, EACH, 2.0),
            run("sales-stream none", 1, COUNTED, 1.0),
            run("spark noop", 1, COUNTED, 3.0),
            run("flink heap", 1, EACH, 8.0),
            run("probe parse", 1, "counted only: 9000 of 9000 records, 5 of 5 cents", 0.5),
        ];
        let text = tables(&runs);
        let (_, ratios) = text.split_once("sales-stream files against").unwrap();
        let (files, none) = ratios.split_once("sales-stream none against").unwrap();
        assert!(files.contains("| flink heap | 4.0 x |") && !files.contains("spark"), "{text}");
        assert!(none.contains("| spark noop | 3.0 x |") && !none.contains("flink"), "{text}");
        assert!(none.contains("| probe parse | 50 % |") && !files.contains("probe"), "{text}");
    }

    #[test]
    fn a_row_says_how_its_results_were_compared() {
        let runs = [
            run("sales-stream files", 1, EACH, 1.0),
            run("sales-stream files", 2, "WRONG: 6 results: missing 1", 1.0),
            run("sales-stream none", 1, COUNTED, 1.0),
            run("sales-stream none", 1, "results are not kept, so they were not compared", 1.0)
                .replace(r#""kind":"run""#, r#""kind":"restart""#),
        ];
        let text = tables(&runs);
        assert!(text.contains("| 1, WRONG 1 | – |"), "{text}");
        assert!(text.contains("| 1, counted | 1, not compared |"), "{text}");
        let summed = "counted only: 9 of 9 records, 2 results, 2 due, 0 late, 5 of 5 cents";
        assert_eq!(Compared::of(summed), Compared::Summed);
    }

    #[test]
    fn several_values_are_shown_with_their_spread() {
        assert_eq!(shown(&rounds(&[]), 1), "–");
        assert_eq!(shown(&rounds(&[(1, 1.25)]), 1), "1.2");
        assert_eq!(shown(&rounds(&[(1, 3.0), (2, 1.0), (3, 2.0)]), 0), "2 (1 to 3)");
    }
}
