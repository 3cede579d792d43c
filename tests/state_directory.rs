//! State directories under the real binary from outside: copied while a run writes them, and damaged.
//!
//! A copy that was made at any instant opens elsewhere, is whole, and its next batches are those of the
//! run it was taken from. A damaged directory is refused with exit 11, 12 or 13, or the next batches are
//! right; nothing is published that is not. `damage.rs` tries far more, without the binary.

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use support::{Broker, Process, Seeded, batch_files, copy_dir, sales_stream, succeed};

const EVENTS: u64 = 3000;

struct Work {
    broker: Broker,
    home: tempfile::TempDir,
    straight: BTreeMap<String, Vec<u8>>,
}

impl Work {
    fn new() -> Work {
        let broker = Broker::with_sales(EVENTS, "150");
        let home = tempfile::tempdir().unwrap();
        let mut work = Work { broker, home, straight: BTreeMap::new() };
        succeed(&mut work.command("straight"));
        work.straight = batch_files(&work.out("straight"));
        assert!(work.straight.len() > 5, "there are results: {}", work.straight.len());
        work
    }

    /// Where a run of this name works; its paths are relative to it, so that every run has the same.
    fn place(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn checkpoint(&self, name: &str) -> PathBuf {
        self.place(name).join("checkpoint")
    }

    fn out(&self, name: &str) -> PathBuf {
        self.place(name).join("out")
    }

    fn command(&self, name: &str) -> Command {
        fs::create_dir_all(self.place(name)).expect("there is room");
        let mut command = sales_stream();
        command
            .current_dir(self.place(name))
            .args(["--brokers", &self.broker.address, "--starting-offsets", "earliest"])
            .args(["--trigger", "available-now", "--max-offsets-per-trigger", "5"])
            .args(["--group-id", name, "--checkpoint-dir", "checkpoint", "--sink", "files:out"]);
        command
    }

    fn care(&self, verb: &str, name: &str, place: Option<&Path>) -> std::process::Output {
        let mut command = sales_stream();
        command.args(["checkpoints", verb, "--checkpoint-dir"]).arg(self.checkpoint(name));
        command.args(place).output().expect("the binary can be started")
    }

    /// The results as they were when batch `until` was the newest.
    fn copy_results(&self, from: &str, to: &str, until: u64) {
        fs::create_dir_all(self.out(to)).expect("there is room");
        fs::copy(self.out(from).join("_query"), self.out(to).join("_query")).expect("it is there");
        for (file, bytes) in batch_files(&self.out(from)) {
            if number(&file) <= until {
                fs::write(self.out(to).join(file), bytes).expect("there is room");
            }
        }
    }

    /// Holds the files of a history that went on from batch `from` against the undisturbed run's.
    fn assert_goes_on(&self, name: &str, from: u64) {
        let found = match self.out(name).is_dir() {
            true => batch_files(&self.out(name)),
            false => BTreeMap::new(),
        };
        for (file, bytes) in &found {
            assert!(self.straight.get(file) == Some(bytes), "{name}: {file} is another");
        }
        let later = self.straight.keys().filter(|file| number(file) > from);
        for file in later {
            assert!(found.contains_key(file), "{name}, from batch {from}: {file} is missing");
        }
    }
}

/// The batch of a batch file.
fn number(file: &str) -> u64 {
    let digits = file.trim_start_matches("batch-").trim_end_matches(".jsonl");
    digits.parse().expect("batch files have numbers")
}

/// The batch that a command names: `… batch N, …`.
fn batch_in(text: &str) -> Option<u64> {
    text.split_once("batch ")?.1.split(|sign: char| !sign.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn a_backup_made_while_batches_are_written_goes_on_elsewhere_as_the_original_does() {
    let work = Work::new();
    let rounds = support::results::number("SALES_STREAM_BACKUPS", 20, 200);
    let mut random = Seeded(3);
    let mut running = 0;
    let mut batches = Vec::new();
    let mut run = None;
    for round in 0..rounds {
        let (mut process, name): (Process, String) = run.take().unwrap_or_else(|| {
            let name = format!("written-{round}");
            let log = File::create(work.home.path().join("log")).unwrap();
            (Process::start(work.command(&name).stdout(Stdio::null()).stderr(log)), name)
        });
        let visible = work.checkpoint(&name).join("sales/visible");
        let deadline = Instant::now() + support::PATIENCE;
        while fs::read(&visible).map_or(true, |bytes| bytes.iter().all(|byte| *byte == 0)) {
            assert!(Instant::now() < deadline, "no batch was announced");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        let copy = work.home.path().join(format!("backup-{round}"));
        let made = work.care("backup", &name, Some(&copy));
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "round {round}: {said}{complaint}");
        if process.ends_within(Duration::ZERO) {
            assert_eq!(process.wait(), Some(0));
        } else {
            running += 1;
            run = Some((process, name.clone()));
        }
        let batch = batch_in(&said).expect("a backup says up to where it goes");
        batches.push(batch);
        let elsewhere = format!("restored-{round}");
        assert!(work.care("restore", &elsewhere, Some(&copy)).status.success());
        let verified = work.care("verify", &elsewhere, None);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "round {round}: {said}");
        assert_eq!(batch_in(&said), Some(batch));
        work.copy_results(&name, &elsewhere, batch);
        succeed(&mut work.command(&elsewhere));
        assert_eq!(batch_files(&work.out(&elsewhere)).len(), work.straight.len());
        work.assert_goes_on(&elsewhere, 0);
        fs::remove_dir_all(&copy).unwrap();
    }
    assert!(running > rounds / 4, "only {running} backups were made beside a live process");
    batches.dedup();
    assert!(batches.len() > 5, "they are of different batches: {batches:?}");
}

#[test]
fn a_damaged_directory_is_refused_or_harmless_to_the_binary_too() {
    let started = Instant::now();
    let work = Work::new();
    let seed = support::results::number("SALES_STREAM_SEED", 1, 1);
    let trials = support::results::number("SALES_STREAM_DAMAGE_TRIALS", 40, 1000);
    // A run that was killed on its way, twice, so that there are sorted files and a log.
    for _ in 0..2 {
        let visible = work.checkpoint("golden").join("sales/visible");
        let before = fs::read(&visible).unwrap_or_else(|_| vec![0; 8192]);
        let mut process = Process::start(work.command("golden").stderr(Stdio::null()));
        let deadline = Instant::now() + support::PATIENCE;
        while fs::read(&visible).map_or(true, |now| now == before) {
            assert!(Instant::now() < deadline, "no batch was announced");
            std::thread::sleep(Duration::from_millis(1));
        }
        if !process.ends_within(Duration::from_millis(30)) {
            process.kill_hard();
        }
    }
    let state = work.checkpoint("golden").join("sales");
    let files: Vec<PathBuf> = ["", "db"]
        .iter()
        .flat_map(|part| fs::read_dir(state.join(part)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && !path.to_string_lossy().contains("LOG"))
        .map(|path| path.strip_prefix(&state).unwrap().to_owned())
        .collect();
    let mut random = Seeded(seed);
    let (mut flipped, mut cut, mut removed, mut refused, mut unharmed) = (0, 0, 0, 0, 0);
    for trial in 0..trials {
        let name = format!("damaged-{trial}");
        copy_dir(&work.place("golden"), &work.place(&name));
        let index = usize::try_from(trial).unwrap() % files.len();
        let path = work.checkpoint(&name).join("sales").join(&files[index]);
        let mut content = fs::read(&path).unwrap();
        let at = usize::try_from(random.below(content.len().max(1) as u64)).unwrap();
        match random.below(5) {
            0 => {
                fs::remove_file(&path).unwrap();
                removed += 1;
            }
            1 => {
                fs::write(&path, &content[..at.min(content.len())]).unwrap();
                cut += 1;
            }
            _ if content.is_empty() => {}
            kind => {
                content[at] ^= if kind == 2 { 0xff } else { 1 << random.below(8) };
                fs::write(&path, content).unwrap();
                flipped += 1;
            }
        }
        let log = File::create(work.home.path().join("log")).unwrap();
        let mut process = Process::start(work.command(&name).stderr(log));
        let code = process.wait();
        let said = fs::read_to_string(work.home.path().join("log")).unwrap();
        let what = format!("trial {trial}, {} at {at}", files[index].display());
        assert!(matches!(code, Some(0 | 11 | 12 | 13)), "{what}: {code:?}: {said}");
        refused += u64::from(code != Some(0));
        if code == Some(0) {
            // From the beginning: its files are those of the golden run and of what follows.
            work.assert_goes_on(&name, 0);
            unharmed += 1;
        } else {
            work.assert_goes_on(&name, u64::MAX);
        }
        fs::remove_dir_all(work.place(&name)).unwrap();
    }
    assert!(refused > trials / 4, "only {refused} of {trials} were refused");
    assert!(unharmed > 0, "none was harmless");
    let counts = [
        ("bytes_flipped", flipped),
        ("truncations", cut),
        ("files_removed", removed),
        ("refused", refused),
        ("unharmed", unharmed),
    ];
    support::results::report("damage", seed, started, &counts);
}
