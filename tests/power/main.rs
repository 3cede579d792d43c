//! Power cuts: the disk under the real binary loses its power at seeded instants and right before
//! single syncs, and what an outside reader has seen by then is never contradicted afterwards.
//!
//! The disk is an ext4 on a loop device (`support::ext4`) and holds checkpoint, results and dead
//! letters. What was seen is kept elsewhere: the console's tables, the lines of progress, and the commits
//! of the consumer group in a broker that goes on. After each cut the state is that of the newest batch
//! seen or of the one after it, `checkpoints verify` is content, and a plain start goes on; at the end
//! the results are file for file those of a run that was never disturbed.
//!
//! `SALES_STREAM_TIER=long` makes more than a thousand cuts; `SALES_STREAM_POWER_CUTS` and
//! `SALES_STREAM_SEED` choose. Without root there is only a line that says so.

#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    Broker, Process, Seeded, batch_files,
    ext4::{Disk, tool},
    results, sales_stream, send, succeed,
};

const EVENTS: u64 = 12_000;

/// Mount options of the disks: ext4's own, and one that keeps less order than anyone asks for.
const MOUNTS: [&str; 2] = ["", "data=writeback,noauto_da_alloc,commit=300"];

/// A disk, or a line that says why there is none.
fn disk(what: &str, options: &str) -> Option<Disk> {
    match Disk::make(64, options) {
        Ok(disk) => Some(disk),
        Err(why) => {
            println!("{what}: SKIPPED, {why}");
            None
        }
    }
}

/// What runs, without the places it writes to.
struct Work {
    broker: Broker,
    arguments: Vec<String>,
    /// Where a run keeps dead letters, if it does.
    letters: bool,
    /// Whether the order of lines in a file is part of the result.
    ordered: bool,
}

/// What a run left: lines by file, of results and of dead letters, and the console's tables by batch.
#[derive(PartialEq)]
struct Left {
    results: BTreeMap<String, Vec<String>>,
    letters: BTreeMap<String, Vec<String>>,
}

impl Work {
    /// Sales in windows, five records a batch, so that there are thousands of batches.
    fn of_sales() -> Work {
        let broker = Broker::with_sales(EVENTS, "60");
        Work::new(broker, "sales", &["--max-offsets-per-trigger", "5"], false)
    }

    /// Transactions and malformed records, in batches whose output goes ahead in several chunks.
    fn of_transactions() -> Work {
        let topic = "real-time-transactions";
        let broker = Broker::start(&["real-time-transactions:3"]);
        succeed(
            sales_stream()
                .args(["produce", "transactions", "--brokers", &broker.address])
                .args(["--events", "60000", "--rate", "unlimited", "--seed", "5"])
                .stdout(Stdio::null()),
        );
        let malformed = format!("{{\"transaction_id\":\"{}", "x".repeat(100));
        for partition in 0..3 {
            send(&broker.address, topic, partition, &[malformed.as_bytes(); 3000]);
        }
        let more = ["--pipeline", "transactions", "--max-offsets-per-trigger", "23000"];
        Work::new(broker, topic, &more, true)
    }

    fn new(broker: Broker, topic: &str, more: &[&str], letters: bool) -> Work {
        let address = broker.address.clone();
        let base = ["--brokers", &address, "--topic", topic, "--starting-offsets", "earliest"];
        let arguments = base.iter().chain(more).map(|text| (*text).to_owned()).collect();
        Work { broker, arguments, letters, ordered: !letters }
    }

    /// A run that reads everything, with its state and results below `root` and what an outsider sees
    /// of it below `outside`.
    fn command(&self, name: &str, root: &Path, outside: &Path) -> Command {
        let append = |file: &str| {
            File::options().create(true).append(true).open(outside.join(file)).expect("it is ours")
        };
        let mut command = sales_stream();
        command
            .args(&self.arguments)
            .args(["--trigger", "available-now", "--group-id", name])
            .arg("--checkpoint-dir")
            .arg(root.join("checkpoint"))
            .arg("--progress")
            .arg(format!("jsonl:{}", outside.join("progress.jsonl").display()))
            .args(["--sink", "console", "--sink"])
            .arg(format!("files:{}", root.join("out").display()))
            .stdout(append("console"))
            .stderr(append("log"));
        if self.letters {
            let letters = root.join("letters");
            command.arg("--dead-letter").arg(format!("files:{}", letters.display()));
        }
        command
    }

    fn left(&self, root: &Path) -> Left {
        let lines = |directory: PathBuf| {
            if !directory.is_dir() {
                return BTreeMap::new();
            }
            let files = batch_files(&directory).into_iter();
            files.map(|(name, bytes)| (name, self.lines(&bytes))).collect()
        };
        Left { results: lines(root.join("out")), letters: lines(root.join("letters")) }
    }

    fn lines(&self, bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if !self.ordered {
            // Rows of different partitions come in no fixed order.
            lines.sort_unstable();
        }
        lines
    }
}

/// The console's tables by batch; one that is there twice is there with the same rows.
fn tables(console: &Path) -> BTreeMap<u64, String> {
    let text = fs::read_to_string(console).unwrap_or_default();
    let mut tables = BTreeMap::new();
    for part in text.split("Batch: ").skip(1) {
        let (number, table) = part.split_once('\n').expect("a batch is written in one piece");
        let number: u64 = number.trim().parse().expect("batches have numbers");
        let table = table.trim_matches(['-', '\n']).to_owned();
        let seen = tables.entry(number).or_insert_with(|| table.clone());
        assert_eq!(*seen, table, "batch {number} was seen with other rows before");
    }
    tables
}

/// The newest batch that anyone outside has seen.
fn newest_seen(outside: &Path) -> Option<u64> {
    let text = fs::read_to_string(outside.join("console")).unwrap_or_default();
    let numbers = text.split("Batch: ").skip(1);
    numbers.filter_map(|part| part.lines().next()?.trim().parse().ok()).max()
}

/// What `checkpoints verify` says of what came up again: the newest batch, and whether it found a
/// torn end that nobody saw.
fn verified(root: &Path) -> (Option<u64>, bool) {
    let checkpoint = root.join("checkpoint");
    let done = sales_stream()
        .args(["checkpoints", "verify", "--checkpoint-dir"])
        .arg(&checkpoint)
        .output()
        .expect("the binary can be started");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.code() {
        // Nothing there yet.
        Some(1) if complaint.contains("there is no checkpoint") => (None, false),
        Some(1) if !checkpoint.exists() => (None, false),
        Some(0) => {
            let batch = said.lines().find_map(|line| line.strip_prefix("ok: batch "));
            (batch.and_then(|rest| rest.split(',').next()?.parse().ok()), false)
        }
        Some(11) if complaint.contains("the next start drops it") => (None, true),
        code => panic!("verify ended with {code:?}: {said}{complaint}"),
    }
}

/// One disk, one history on it.
struct Life<'a> {
    work: &'a Work,
    disk: Disk,
    name: String,
    outside: PathBuf,
    cuts: u64,
    torn: u64,
    refused_writes: u64,
}

impl<'a> Life<'a> {
    fn begin(work: &'a Work, disk: Disk, name: &str) -> Life<'a> {
        let outside = disk.beside().to_owned();
        let name = name.to_owned();
        Life { work, disk, name, outside, cuts: 0, torn: 0, refused_writes: 0 }
    }

    fn command(&self) -> Command {
        self.work.command(&self.name, &self.disk.root, &self.outside)
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.outside.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Runs until a seeded instant and cuts the power; whether the run came to its end before.
    fn run_into_cut(&mut self, random: &mut Seeded, longest: Duration) -> bool {
        let mut process = Process::start(&mut self.command());
        let micros = u64::try_from(longest.as_micros()).expect("an instant is soon");
        let instant = Duration::from_micros(random.below(micros));
        let written_out = random.below(3) == 0;
        if written_out {
            // The system writes out what it likes, when it likes.
            let halfway = instant.mul_f64(0.9);
            if !process.ends_within(halfway) {
                self.disk.sync();
            }
        }
        if process.ends_within(if written_out { instant.mul_f64(0.1) } else { instant }) {
            assert_eq!(process.wait(), Some(0), "{}", self.log());
            return true;
        }
        match random.below(3) {
            0 => {
                process.kill_hard();
                self.disk.cut();
            }
            1 => {
                self.disk.cut();
                let code = process.wait();
                assert!(matches!(code, Some(14 | 0)), "{code:?} on a dead disk: {}", self.log());
                self.refused_writes += u64::from(code == Some(14));
            }
            _ => {
                self.disk.cut();
                process.kill_hard();
            }
        }
        self.come_up();
        false
    }

    /// Mounts the disk again and holds what it has against what was seen.
    fn come_up(&mut self) {
        self.cuts += 1;
        let seen = newest_seen(&self.outside);
        self.disk.come_up();
        let (state, is_torn) = verified(&self.disk.root);
        if is_torn {
            self.torn += 1;
            return;
        }
        let is_newest_or_next = state == seen || state == Some(seen.map_or(0, |seen| seen + 1));
        assert!(
            is_newest_or_next,
            "cut {}: the state is at {state:?}, but {seen:?} was seen: {}",
            self.cuts,
            self.log()
        );
    }

    /// Lets it finish, and compares.
    fn finish(&mut self, straight: &Left, console: &BTreeMap<u64, String>) {
        let mut process = Process::start(&mut self.command());
        assert_eq!(process.wait(), Some(0), "{}", self.log());
        let left = self.work.left(&self.disk.root);
        assert_eq!(left.results.len(), straight.results.len(), "files of results");
        assert!(left == *straight, "the results are not those of an undisturbed run");
        let seen = tables(&self.outside.join("console"));
        assert_eq!(seen.len(), console.len(), "every batch was seen");
        if self.work.ordered {
            assert!(seen == *console, "a batch was seen with other rows");
        }
    }
}

/// An undisturbed run: what it leaves and shows, and how long a start with nothing to do takes.
fn straight(work: &Work) -> (Left, BTreeMap<u64, String>, Duration) {
    let home = tempfile::tempdir().expect("there is room");
    let run = || {
        let started = Instant::now();
        let mut process = Process::start(&mut work.command("straight", home.path(), home.path()));
        assert_eq!(process.wait(), Some(0));
        started.elapsed()
    };
    run();
    let idle = run();
    (work.left(home.path()), tables(&home.path().join("console")), idle)
}

#[test]
fn nothing_that_was_seen_is_gone_after_a_power_cut() {
    let started = Instant::now();
    let seed = support::results::number("SALES_STREAM_SEED", 1, 1);
    let wanted = support::results::number("SALES_STREAM_POWER_CUTS", 25, 1000);
    if disk("power cuts", "").is_none() {
        return;
    }
    let work = Work::of_sales();
    let (left, console, idle) = straight(&work);
    assert!(console.len() > 2000, "there are batches to cut: {}", console.len());
    assert!(left.results.len() > 15, "there are results: {}", left.results.len());
    let mut random = Seeded(seed);
    let (mut cuts, mut torn, mut refused_writes, mut lives) = (0, 0, 0, 0);
    while cuts < wanted {
        let mount = MOUNTS[lives % MOUNTS.len()];
        let Some(disk) = disk("power cuts", mount) else { return };
        let mut life = Life::begin(&work, disk, &format!("life-{lives}"));
        while cuts + life.cuts < wanted && !life.run_into_cut(&mut random, idle * 2) {}
        life.finish(&left, &console);
        cuts += life.cuts;
        torn += life.torn;
        refused_writes += life.refused_writes;
        lives += 1;
    }
    support::results::report(
        "power",
        seed,
        started,
        &[
            ("power_cuts", cuts),
            ("torn_ends", torn),
            ("refused_writes", refused_writes),
            ("batches", console.len() as u64 * lives as u64),
        ],
    );
}

#[test]
fn output_that_goes_ahead_of_its_batch_is_whole_after_a_power_cut() {
    let started = Instant::now();
    let seed = support::results::number("SALES_STREAM_SEED", 1, 1);
    let wanted = support::results::number("SALES_STREAM_POWER_CUTS_AHEAD", 8, 100);
    if disk("power cuts beside output that is ahead", "").is_none() {
        return;
    }
    let work = Work::of_transactions();
    let (left, console, idle) = straight(&work);
    assert!(left.letters.values().map(Vec::len).sum::<usize>() == 9000);
    let mut random = Seeded(seed);
    let (mut cuts, mut torn, mut lives) = (0, 0, 0);
    while cuts < wanted {
        let mount = MOUNTS[lives % MOUNTS.len()];
        let Some(disk) = disk("power cuts beside output that is ahead", mount) else { return };
        let mut life = Life::begin(&work, disk, &format!("ahead-{lives}"));
        let longest = idle * 3;
        while cuts + life.cuts < wanted && !life.run_into_cut(&mut random, longest) {}
        life.finish(&left, &console);
        cuts += life.cuts;
        torn += life.torn;
        lives += 1;
    }
    let counts = [("power_cuts", cuts), ("torn_ends", torn)];
    support::results::report("power", seed, started, &counts);
}

/// Builds the library that ends a process right before one of its syncs; why not, where it cannot.
fn before_sync(home: &Path) -> Result<PathBuf, String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/power/before_sync.c");
    let library = home.join("before_sync.so");
    tool(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source))?;
    Ok(library)
}

impl Life<'_> {
    /// A run that is killed right before its k-th sync; whether it came so far.
    fn run_into_sync(&self, library: &Path, call: u64) -> bool {
        let mut command = self.command();
        command.env("LD_PRELOAD", library).env("DIE_BEFORE_SYNC", call.to_string());
        let code = Process::start(&mut command).wait();
        assert!(matches!(code, None | Some(0)), "{code:?}: {}", self.log());
        code.is_none()
    }

    /// A plain start that is cut as soon as it has shown a batch; whether it did.
    fn cut_after_first_word(&mut self) -> bool {
        let console = self.outside.join("console");
        let shown = || fs::metadata(&console).map_or(0, |metadata| metadata.len());
        let before = shown();
        let mut process = Process::start(&mut self.command());
        let deadline = Instant::now() + support::PATIENCE;
        while shown() == before {
            assert!(Instant::now() < deadline, "it shows nothing: {}", self.log());
            if process.ends_within(Duration::from_micros(50)) {
                assert_eq!(process.wait(), Some(0), "{}", self.log());
                return false;
            }
        }
        self.disk.cut();
        process.kill_hard();
        true
    }
}

/// Between a write and its sync the system can read back what a power cut would still take: a start that
/// found it there must not show it before it is safe.
#[test]
fn what_a_killed_process_had_not_synced_is_safe_before_the_next_one_shows_it() {
    let started = Instant::now();
    let calls = support::results::number("SALES_STREAM_SYNCS", 10, 150);
    let Some(first) = disk("power cuts before a sync", MOUNTS[1]) else { return };
    let library = match before_sync(first.beside()) {
        Ok(library) => library,
        Err(why) => {
            println!("power cuts before a sync: SKIPPED, {why}");
            return;
        }
    };
    let work = Work::of_sales();
    let (left, console, _) = straight(&work);
    let mut cuts = 0;
    // In the short tier every seventh call, or so, is tried; the first calls are those of a start.
    let step = if support::results::is_long() { 1 } else { 5 };
    let mut life = Life::begin(&work, first, "before-sync");
    for call in (1..).step_by(step).take(usize::try_from(calls).expect("it is small")) {
        // The cut takes what was not synced.
        if life.run_into_sync(&library, call) {
            life.disk.cut();
            life.come_up();
        }
        // The next start shows what it found, and the cut comes then.
        life.run_into_sync(&library, call + 1);
        if life.cut_after_first_word() {
            life.come_up();
        }
    }
    life.finish(&left, &console);
    cuts += life.cuts;
    assert!(cuts > calls, "only {cuts} cuts");
    let counts = [("power_cuts", cuts), ("app_kills", 2 * calls)];
    support::results::report("power", 0, started, &counts);
}

#[test]
fn windows_are_right_after_power_cuts_under_a_producer() {
    let started = Instant::now();
    let wanted = support::results::number("SALES_STREAM_POWER_CUTS_LIVE", 6, 60);
    let Some(disk) = disk("power cuts under a producer", "") else { return };
    let work = Work::new(Broker::start(&["sales:3"]), "sales", &[], false);
    let address = work.broker.address.clone();
    let events = 3000 * wanted;
    let mut producer = sales_stream();
    producer
        .args(["produce", "sales", "--brokers", &address, "--topic", "sales"])
        .args(["--events", &events.to_string(), "--rate", "6000", "--stores", "7"])
        .args(["--start-time", "2025-09-02T08:00:00Z", "--time-scale", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut producer = Process::start(&mut producer);
    let mut life = Life::begin(&work, disk, "live");
    let mut random = Seeded(9);
    for _ in 0..wanted {
        // The last of two triggers counts for the binary only where it may be given once.
        let mut process = Process::start(&mut live(&work, &life));
        std::thread::sleep(Duration::from_millis(100 + random.below(300)));
        life.disk.cut();
        process.kill_hard();
        life.come_up();
    }
    assert_eq!(producer.wait(), Some(0));
    assert_eq!(Process::start(&mut life.command()).wait(), Some(0), "{}", life.log());
    let lines = support::topic_lines(&address, "sales", events);
    let found = results(&life.disk.root.join("out"));
    support::assert_same(&found, &support::expected_ints(&lines));
    assert!(found.len() > 5, "there are windows: {}", found.len());
    support::results::report("power", 9, started, &[("power_cuts", life.cuts)]);
}

/// The same run as [`Life::command`], going on for ever.
fn live(work: &Work, life: &Life<'_>) -> Command {
    let mut command = work.command(&life.name, &life.disk.root, &life.outside);
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let arguments: Vec<_> = arguments
        .into_iter()
        .map(|text| if text == "available-now" { "0s".into() } else { text })
        .collect();
    let log = File::options().append(true).open(life.outside.join("log")).expect("it is ours");
    let console =
        File::options().append(true).open(life.outside.join("console")).expect("it is ours");
    command = sales_stream();
    command.args(arguments).stdout(console).stderr(log);
    command
}
