//! State larger than memory: under a small `--memory-limit`, killed and started again, a run gives the files of a
//! run that has room for everything, byte for byte.
//!
//! The least limit leaves state 6 MiB, and each store sells about once, so that most of the groups are elsewhere
//! than in memory. Both runs read the same topic, and where a batch ends follows from its number of records
//! alone.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use support::{
    Broker, Process, available_now, batch_files, out_dir, produce, sales_stream, send_sales,
    succeed,
};

const SALES: u64 = 140_000;
/// 2025-09-02T08:00:00Z; the sales are a millisecond apart.
const BEGINNING: i64 = 1_756_800_000;
const SMALL_STATE_BYTES: u64 = 6 << 20;

const SCHEMA: &str = "[schema]\nstore = \"string\"\nitem = \"string\"\nprice = \"double\"\nts = \"long\"\n\
                      [event_time]\ncolumn = \"ts\"\nformat = \"seconds\"\nwatermark = \"30 seconds\"\n\
                      [aggregates]\ntotal = { sum = \"price\", cast = \"decimal(18,2)\" }\n";
const WINDOWED: &str = "group_by = [\"store\"]\noutput = [\"store\", \"total\", \"window_start\", \
                        \"window_end\"]\n";
const ALONE: &str = "group_by = [\"store\"]\noutput = [\"store\", \"total\"]\n";

fn spec_text(head: &str, window: &str, mode: &str) -> String {
    format!(
        "name = \"sales\"\ntopic = \"sales\"\n{head}{SCHEMA}{window}[run]\noutput_mode = \"{mode}\"\n"
    )
}

struct Trial {
    broker: Broker,
    home: tempfile::TempDir,
    spec: PathBuf,
}

impl Trial {
    fn new(head: &str, window: &str, mode: &str) -> Trial {
        let broker = Broker::start(&["sales:6"]);
        let (beginning, stores) = (BEGINNING.to_string(), (SALES * 4).to_string());
        let more = ["--start-time", &beginning, "--stores", &stores, "--out-of-order", "8s"];
        produce(&broker.address, "sales", SALES, &more);
        // Two hours on, so that every window of before closes, and again, so that those do.
        for hours in [2, 4] {
            send_sales(&broker.address, "sales", &[("last", "1.00", BEGINNING + hours * 3600)]);
        }
        let home = tempfile::tempdir().unwrap();
        let spec = home.path().join("spec.toml");
        fs::write(&spec, spec_text(head, window, mode)).unwrap();
        Trial { broker, home, spec }
    }

    fn command(&self, name: &str, limit: &str) -> Command {
        let mut command = available_now(&self.broker.address, "sales", self.home.path(), name);
        command.arg("--pipeline").arg(&self.spec).args(["--max-offsets-per-trigger", "10000"]);
        command.args(["--memory-limit", limit, "--progress"]);
        command.arg(format!("jsonl:{}", self.progress(name).display()));
        command
    }

    fn progress(&self, name: &str) -> PathBuf {
        self.home.path().join(format!("{name}.jsonl"))
    }

    /// The most bytes of state that were in memory behind a batch.
    fn most_state(&self, name: &str) -> u64 {
        let text = fs::read_to_string(self.progress(name)).unwrap();
        let of_line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["stateOperators"][0]["memoryUsedBytes"].as_u64().unwrap()
        };
        text.lines().map(of_line).max().expect("there were batches")
    }

    /// Kills a small run behind some batches, several times, and compares what it comes to.
    fn is_the_same_in_little_memory(&self) {
        succeed(&mut self.command("large", "4GiB"));
        for batches in [3, 5, 1, 4] {
            let mut process = Process::start(self.command("small", "96MiB").stderr(Stdio::piped()));
            let stderr = process.0.stderr.take().expect("it is piped");
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            let made = lines.filter(|line| line.contains(" INFO batch batch=")).take(batches);
            assert_eq!(made.count(), batches, "it was still running");
            process.kill_hard();
        }
        succeed(&mut self.command("small", "96MiB"));
        let small = batch_files(&out_dir(self.home.path(), "small"));
        let large = batch_files(&out_dir(self.home.path(), "large"));
        let rows: usize =
            large.values().map(|file| file.iter().filter(|b| **b == b'\n').count()).sum();
        assert!(rows > 120_000, "there is something to compare: {rows}");
        assert_eq!(small.len(), large.len(), "as many batches");
        for (name, bytes) in &large {
            assert!(small.get(name) == Some(bytes), "{name} differs");
        }
        let (small, large) = (self.most_state("small"), self.most_state("large"));
        assert!(small <= SMALL_STATE_BYTES && large > 2 * small, "{small} of {large} bytes");
        let directory = self.home.path().join("checkpoint-small");
        succeed(sales_stream().args(["checkpoints", "verify", "--checkpoint-dir"]).arg(directory));
    }
}

#[test]
fn one_window_larger_than_memory_is_published_whole_and_once() {
    let window = "[window]\nduration = \"1 hour\"\n";
    Trial::new(WINDOWED, window, "append").is_the_same_in_little_memory();
}

#[test]
fn windows_that_went_cold_come_back_when_they_are_touched_or_close() {
    let window = "[window]\nduration = \"40 seconds\"\nslide = \"20 seconds\"\n";
    Trial::new(WINDOWED, window, "append").is_the_same_in_little_memory();
}

#[test]
fn groups_of_keys_alone_go_on_adding_up_where_they_do_not_fit() {
    Trial::new(ALONE, "", "update").is_the_same_in_little_memory();
}

#[test]
fn a_deduplication_that_does_not_fit_ends_with_50_and_goes_on_with_more() {
    let head = "output = [\"store\", \"price\"]\n";
    let sections = "[drop_duplicates]\ncolumns = [\"store\"]\n";
    let trial = Trial::new(head, sections, "append");
    let spec = fs::read_to_string(&trial.spec).unwrap();
    let spec =
        spec.replace("[aggregates]\ntotal = { sum = \"price\", cast = \"decimal(18,2)\" }\n", "");
    fs::write(&trial.spec, spec).unwrap();
    succeed(&mut trial.command("large", "4GiB"));
    let ended = trial.command("small", "96MiB").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(50), "{said}");
    for part in ["the deduplication", "--memory-limit 96 MiB", "6 MiB"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    succeed(&mut trial.command("small", "4GiB"));
    let small = batch_files(&out_dir(trial.home.path(), "small"));
    assert!(small == batch_files(&out_dir(trial.home.path(), "large")), "the files differ");
}

/// How a command ended, what it said and the most memory it had, in MiB.
fn measured(command: &mut Command) -> (Option<i32>, Vec<u8>, u64) {
    let mut process = Process::start(command.stdout(Stdio::piped()));
    let status = format!("/proc/{}/status", process.0.id());
    let ended = Arc::new(AtomicBool::new(false));
    let (watching, is_over) = (status, ended.clone());
    let watcher = thread::spawn(move || {
        let mut most = 0u64;
        while !is_over.load(Ordering::SeqCst) {
            let text = fs::read_to_string(&watching).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            most = most.max(kib.unwrap_or(0) / 1024);
            thread::sleep(Duration::from_millis(2));
        }
        most
    });
    let mut said = Vec::new();
    process.0.stdout.take().expect("it is piped").read_to_end(&mut said).unwrap();
    let code = process.wait();
    ended.store(true, Ordering::SeqCst);
    (code, said, watcher.join().expect("it only reads"))
}

/// Ninety megabytes of keys are one batch, unless it is cut for its memory's sake.
#[test]
fn long_keys_keep_to_the_limit_while_they_are_read_and_looked_at() {
    const PARTITIONS: i32 = 24;
    const OF_EACH: i64 = 480;
    let broker = Broker::start(&[&format!("sales:{PARTITIONS}")]);
    for partition in 0..PARTITIONS {
        let sale = |index: i64| {
            let store = format!("{partition}-{index}-{}", "x".repeat(8000));
            support::sale_json(&store, "1.00", BEGINNING + index)
        };
        let sales: Vec<_> = (0..OF_EACH).map(sale).collect();
        let sales: Vec<&[u8]> = sales.iter().map(Vec::as_slice).collect();
        support::send(&broker.address, "sales", partition, &sales);
    }
    let home = tempfile::tempdir().unwrap();
    let spec = home.path().join("spec.toml");
    let window = "[window]\nduration = \"1 hour\"\n";
    fs::write(&spec, spec_text(WINDOWED, window, "append")).unwrap();
    let run = |name: &str, limit: &str| {
        let mut command = available_now(&broker.address, "sales", home.path(), name);
        command.arg("--pipeline").arg(&spec).args(["--memory-limit", limit]);
        measured(&mut command)
    };
    let (small, large) = (run("small", "96MiB"), run("large", "4GiB"));
    assert_eq!((small.0, large.0), (Some(0), Some(0)));
    assert!(small.2 < 160 && large.2 > small.2 + 100, "{} and {} MiB", small.2, large.2);
    let inspect = |name: &str, more: &[&str]| {
        let mut command = sales_stream();
        command.args(["inspect", "--json", "--checkpoint-dir"]);
        measured(command.arg(home.path().join(format!("checkpoint-{name}"))).args(more))
    };
    let window = BEGINNING.to_string();
    let hour = ["--window", &window];
    for (more, rows) in [(&[][..], 0), (&hour[..], 11_520), (&["--key", "0-0"][..], 0)] {
        let [small, large] = ["small", "large"].map(|name| {
            let (code, said, peak) = inspect(name, more);
            assert_eq!(code, Some(0));
            // What a batch wrote last is in the database's log, which is read whole: in large memory all was one.
            assert!(peak < 96 || name == "large", "{more:?} took {peak} MiB");
            let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
            said["windows"].clone()
        });
        assert!(small == large, "{more:?}: they differ");
        assert_eq!(small[0]["rows"].as_array().map_or(0, Vec::len), rows);
    }
}

#[test]
fn a_limit_that_is_too_small_or_no_amount_is_refused() {
    for (limit, part) in [("95MiB", "too little"), ("much", "1GiB, 512MiB"), ("1.5g", "1GiB")] {
        let ended = sales_stream().args(["--memory-limit", limit]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{limit}: {said}");
    }
}
