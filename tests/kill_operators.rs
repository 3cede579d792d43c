//! SIGKILL between any two batches, within them and while starting, for every operator besides plain windows: hopping windows,
//! sessions, deduplication, keys alone, and the compatibility modes.
//!
//! Each pipeline reads the same topic twice: once undisturbed, once killed again and again and started
//! again with the same command. The topic is written before, and where a batch ends follows only from
//! where the one before it ended and from what the topic holds (`batch::cut`), so both have the same
//! batches, and the files sink must hold the same files, byte for byte.
//!
//! In a compatibility mode two things are as in Spark, and not the same after a restart: the order of
//! a batch's rows, which is that of Spark's hash maps, and the last batch without data, which is not
//! made up for by a start that found nothing to read. So there rows are compared in no order, the
//! last batch may be missing, and its rows must come with the next data.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    Broker, Process, Seeded, available_now, batch_files, out_dir, sale_json, sales_stream, send,
    succeed, topic_lines,
};

const KILLS: u32 = 15;
/// About as many as 40 records each make of the topic.
const BATCHES: u64 = 100;
const ROUNDS: i64 = 4;
const SALES_A_ROUND: i64 = 1_000;
/// Ten sales in a second of event time.
const SECONDS_A_ROUND: i64 = SALES_A_ROUND / 10;
/// 2025-09-02T08:00:00Z.
const BEGINNING: i64 = 1_756_800_000;
/// After each round: late sales, and records that are none.
const ODD_ONES_A_ROUND: usize = 4;

const SCHEMA: &str = r#"
[schema]
store = "string"
item = "string"
price = "double"
ts = "long"
[event_time]
column = "ts"
format = "seconds"
watermark = "30 seconds"
"#;

/// A topic with everything in it: out of order within the watermark, malformed in many ways, late by
/// minutes, and late by an hour.
fn fill(broker: &Broker, wild: bool) {
    for round in 0..ROUNDS {
        let beginning = BEGINNING + round * SECONDS_A_ROUND;
        let mut produce = sales_stream();
        produce
            .args(["produce", "sales", "--brokers", &broker.address, "--rate", "unlimited"])
            .args(["--events", &SALES_A_ROUND.to_string(), "--time-scale", "100"])
            .args(["--start-time", &beginning.to_string(), "--seed", &round.to_string()])
            .args(["--stores", "12", "--out-of-order", "8s"]);
        if wild {
            produce.args(["--late-fraction", "0.03", "--malformed-fraction", "0.03"]);
        }
        succeed(&mut produce);
        let late = sale_json("store-1", "1000.00", beginning - 3_600);
        let broken = b"{\"store\":\"store-";
        let odd_ones: [&[u8]; ODD_ONES_A_ROUND] = [&late, broken, &late, broken];
        send(&broker.address, "sales", i32::try_from(round % 3).unwrap(), &odd_ones);
    }
}

/// How a run was killed.
#[derive(Default)]
struct Kills {
    /// It was still running.
    hit: u32,
    /// It had made a batch since it was started.
    after_batches: u32,
    /// It was durable and perhaps not out, so that the next start published it again.
    again: u32,
}

/// A pipeline over a topic of its own broker, in a directory of its own.
struct Trial {
    broker: Broker,
    home: tempfile::TempDir,
    spec: PathBuf,
    more: Vec<String>,
}

impl Trial {
    fn new(spec: &str, more: &[&str], wild: bool) -> Trial {
        let broker = Broker::start(&["sales:3"]);
        fill(&broker, wild);
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spec.toml");
        fs::write(&path, spec).unwrap();
        let more = more.iter().map(ToString::to_string).collect();
        Trial { broker, home, spec: path, more }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = available_now(&self.broker.address, "sales", self.home.path(), name);
        command.arg("--pipeline").arg(&self.spec).args(["--max-offsets-per-trigger", "40"]);
        command.args(&self.more);
        command
    }

    fn out(&self, name: &str) -> PathBuf {
        out_dir(self.home.path(), name)
    }

    /// Runs it undisturbed, and with kills: most a few batches after a start and some moments on,
    /// some while it starts.
    fn run(&self, seed: u64) {
        let started = Instant::now();
        succeed(&mut self.command("straight"));
        let seed = seed + support::results::number("SALES_STREAM_SEED", 0, 0);
        let mut random = Seeded(seed);
        let mut kills = Kills::default();
        // However fast the machine is, most kills come before the end: a run is let make a third of its
        // share of batches on average, the moments after them take their part of the rest.
        while kills.hit < KILLS {
            let batches = random.below(BATCHES / u64::from(KILLS) * 2 / 3 + 1);
            let moments = Duration::from_micros(random.below(2_000));
            let mut process = Process::start(self.command("killed").stderr(Stdio::piped()));
            let stderr = process.0.stderr.take().expect("it is piped");
            let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
            if batches == 0 {
                process.ends_within(Duration::from_micros(random.below(30_000)));
            }
            let mut made = 0;
            while made < batches
                && let Some(line) = lines.next()
            {
                made += u64::from(line.contains(" INFO batch batch="));
                kills.again += u32::from(line.contains("newest batch again"));
            }
            kills.after_batches += u32::from(made > 0);
            if process.ends_within(moments) {
                break;
            }
            process.kill_hard();
            kills.hit += 1;
        }
        succeed(&mut self.command("killed"));
        assert!(kills.hit >= KILLS / 2, "only {} kills hit a running process", kills.hit);
        assert!(kills.after_batches >= KILLS / 4, "only {} after batches", kills.after_batches);
        assert!(kills.again >= 1, "only {} batches were published again", kills.again);
        self.verify("killed");
        let counts = [("app_kills", u64::from(kills.hit)), ("batches", BATCHES)];
        support::results::report("kill-loop", seed, started, &counts);
    }

    fn verify(&self, name: &str) {
        let directory = self.home.path().join(format!("checkpoint-{name}"));
        succeed(sales_stream().args(["checkpoints", "verify", "--checkpoint-dir"]).arg(directory));
    }

    /// File for file, the killed run wrote what the other did; returns that.
    fn assert_same_files(&self) -> BTreeMap<String, Vec<u8>> {
        let straight = batch_files(&self.out("straight"));
        let killed = batch_files(&self.out("killed"));
        assert!(straight.len() > 10, "there are many results: {}", straight.len());
        assert_eq!(killed.len(), straight.len(), "as many batches");
        for (name, bytes) in &straight {
            assert!(killed.get(name) == Some(bytes), "{name} differs");
        }
        straight
    }
}

fn rows(files: &BTreeMap<String, Vec<u8>>) -> usize {
    files.values().map(|bytes| bytes.split(|byte| *byte == b'\n').count() - 1).sum()
}

/// The rows of each file in no order.
fn sorted(directory: &Path) -> Vec<Vec<String>> {
    let sorted = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    batch_files(directory).into_values().map(sorted).collect()
}

/// Runs a pipeline in our own way and compares its files.
fn survives(spec: &str, seed: u64) {
    let trial = Trial::new(spec, &[], true);
    trial.run(seed);
    let files = trial.assert_same_files();
    assert!(rows(&files) > 200, "there is something to compare: {} rows", rows(&files));
}

/// Cents by (store, start of the window) of windows that closed, straight from the records. Late and
/// malformed ones of [`fill`] do not count.
fn recount(lines: &[String], length: i64, slide: i64, offset: i64) -> BTreeMap<(String, i64), i64> {
    let mut cents = BTreeMap::new();
    let mut newest = i64::MIN;
    for line in lines {
        let Some((store, price, ts)) = support::sale(line) else { continue };
        if price == 100_000 {
            continue;
        }
        newest = newest.max(ts);
        let mut start = (ts - offset).div_euclid(slide) * slide + offset;
        while start > ts - length {
            *cents.entry((store.clone(), start)).or_default() += price;
            start -= slide;
        }
    }
    cents.retain(|(_, start), _| start + length <= newest - 30);
    cents
}

/// Cents by (store, start of the window) from results; none may be there twice.
fn results(directory: &Path) -> BTreeMap<(String, i64), i64> {
    let mut found = BTreeMap::new();
    for line in sorted(directory).concat() {
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        let start: jiff::Timestamp = row["window_start"].as_str().unwrap().parse().unwrap();
        let at = line.find("\"total\":").unwrap() + 8;
        let total = line[at..].split([',', '}']).next().unwrap().replace('.', "");
        let window = (row["store"].as_str().unwrap().to_owned(), start.as_second());
        let earlier = found.insert(window.clone(), total.parse().unwrap());
        assert_eq!(earlier, None, "{window:?} is written twice");
    }
    found
}

fn assert_recounted(trial: &Trial, (length, slide, offset): (i64, i64, i64), closing: i64) {
    let produced = ROUNDS * SALES_A_ROUND;
    let sent = ROUNDS * i64::try_from(ODD_ONES_A_ROUND).unwrap() + closing;
    let records = u64::try_from(produced + sent).unwrap();
    let lines = topic_lines(&trial.broker.address, "sales", records);
    let expected = recount(&lines, length, slide, offset);
    let found = results(&trial.out("killed"));
    assert!(expected.len() > 100, "there is something to compare: {}", expected.len());
    let differing = expected.iter().find(|(window, cents)| found.get(window) != Some(*cents));
    assert_eq!(differing, None, "found {:?}", differing.map(|(window, _)| found.get(window)));
    assert_eq!(found.len(), expected.len(), "and no other windows");
}

fn cents(window: &str) -> String {
    format!(
        "name = \"cents\"\ntopic = \"sales\"\ngroup_by = [\"store\"]\n\
         output = [\"store\", \"total\", \"window_start\", \"window_end\"]\n{SCHEMA}\
         [window]\n{window}\n\
         [aggregates]\ntotal = {{ sum = \"price\", cast = \"decimal(18,2)\" }}\n"
    )
}

fn sessions(gap: &str) -> String {
    format!(
        "name = \"sessions\"\ntopic = \"sales\"\ngroup_by = [\"store\", \"item\"]\n\
         output = [\"store\", \"item\", \"window_start\", \"window_end\", \"n\", \"total\"]\n{SCHEMA}\
         [window]\n{gap}\n\
         [aggregates]\nn = {{ count = \"*\" }}\n\
         total = {{ sum = \"price\", cast = \"decimal(18,2)\" }}\n"
    )
}

fn deduplication(how: &str) -> String {
    format!(
        "name = \"dedup\"\ntopic = \"sales\"\noutput = [\"store\", \"item\", \"price\", \"ts\"]\n\
         {SCHEMA}[drop_duplicates]\ncolumns = [\"store\", \"item\"]\n{how}\n"
    )
}

const FIXED_GAP: &str = "session_gap = \"4 seconds\"";
const GAP_BY_CASE: &str = "session_gap_expr = \"CASE WHEN store = 'store-1' THEN '2 seconds' \
                           WHEN price > 50 THEN '7 seconds' ELSE '4 seconds' END\"";

#[test]
fn hopping_windows_with_an_offset_survive_kills() {
    let window = "duration = \"30 seconds\"\nslide = \"10 seconds\"\nstart = \"-3 seconds\"";
    let trial = Trial::new(&cents(window), &[], false);
    trial.run(11);
    trial.assert_same_files();
    assert_recounted(&trial, (30, 10, -3), 0);
}

#[test]
fn sessions_of_a_fixed_gap_survive_kills() {
    survives(&sessions(FIXED_GAP), 12);
}

#[test]
fn sessions_with_a_gap_by_case_survive_kills() {
    survives(&sessions(GAP_BY_CASE), 13);
}

#[test]
fn deduplication_within_the_watermark_survives_kills() {
    survives(&deduplication("within_watermark = true"), 14);
}

#[test]
fn deduplication_with_the_event_time_survives_kills() {
    survives(&deduplication("event_time = true"), 15);
}

#[test]
fn deduplication_before_windows_survives_kills() {
    let dedup = "[drop_duplicates]\ncolumns = [\"store\", \"item\"]\nevent_time = true\n";
    survives(&(cents("duration = \"10 seconds\"") + dedup), 16);
}

#[test]
fn keys_alone_in_update_mode_survive_kills() {
    let spec = cents("").replace("[window]\n\n", "");
    let spec = spec.replace(", \"window_start\", \"window_end\"", "");
    survives(&(spec + "[run]\noutput_mode = \"update\"\n"), 17);
}

/// One after the other, each in a batch of its own: the first moves the watermark behind everything.
const CLOSING_SALES: i64 = 2;

/// Runs a pipeline in a compatibility mode and compares its rows.
fn survives_in(compat: &str, spec: &str, seed: u64) -> Trial {
    let trial = Trial::new(spec, &["--compat", compat], false);
    trial.run(seed);
    let (straight, killed) = (sorted(&trial.out("straight")), sorted(&trial.out("killed")));
    assert!(straight.len() > 10, "there are many results: {}", straight.len());
    let counts = (killed.len(), straight.len());
    assert!(counts.0 == counts.1 || counts.0 + 1 == counts.1, "{counts:?} batches with rows");
    let differing = straight.iter().zip(&killed).position(|(straight, killed)| straight != killed);
    assert_eq!(differing, None, "this batch differs");
    // Whatever the last batch without data had not closed comes with the next data.
    let closing = sale_json("store-1", "0.00", BEGINNING + 86_400);
    for _ in 0..CLOSING_SALES {
        send(&trial.broker.address, "sales", 0, &[closing.as_slice()]);
        succeed(&mut trial.command("straight"));
        succeed(&mut trial.command("killed"));
    }
    let all = |name: &str| {
        let mut all = sorted(&trial.out(name)).concat();
        all.sort_unstable();
        all
    };
    let (straight, killed) = (all("straight"), all("killed"));
    assert!(straight.len() > 100, "there is something to compare: {}", straight.len());
    assert!(straight == killed, "{} and {} rows in all", straight.len(), killed.len());
    trial.verify("killed");
    trial
}

#[test]
fn the_preset_as_in_spark_3_5_survives_kills() {
    let preset = succeed(sales_stream().args(["pipeline", "show", "sales"])).stdout;
    survives_in("spark-3.5", &String::from_utf8(preset).unwrap(), 18);
}

#[test]
fn the_preset_as_in_spark_4_survives_kills() {
    let preset = succeed(sales_stream().args(["pipeline", "show", "sales"])).stdout;
    survives_in("spark-4", &String::from_utf8(preset).unwrap(), 19);
}

#[test]
fn hopping_windows_as_in_spark_survive_kills_to_the_cent() {
    let window = "duration = \"30 seconds\"\nslide = \"10 seconds\"";
    let trial = survives_in("spark-4", &cents(window), 20);
    assert_recounted(&trial, (30, 10, 0), CLOSING_SALES);
}

#[test]
fn sessions_as_in_spark_survive_kills() {
    survives_in("spark-3.5", &sessions(GAP_BY_CASE), 21);
}

#[test]
fn deduplication_as_in_spark_survives_kills() {
    survives_in("spark-4", &deduplication("within_watermark = true"), 22);
}
