//! Disks that are full, read-only or gone, under the real binary: it stops with exit 14 and says where
//! and why, what is there can still be looked at, and once there is room a plain start goes on to the
//! results of a run that was never disturbed.
//!
//! The disk is an ext4 of 32 MiB on a loop device (`support::ext4`), filled by a ballast file so that
//! every kind of write meets the end of the space: before the start, in fine steps, and while a run is
//! on. `SALES_STREAM_TIER=long` takes finer steps. Without root there is only a line that says so.

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use support::{
    Broker, Process, Seeded, batch_files, copy_dir, ext4::Disk, produce, sales_stream, succeed,
};

const MEBIBYTES: u64 = 32;
const EVENTS: u64 = 6000;

/// A disk, or a line that says why there is none.
fn disk(what: &str) -> Option<Disk> {
    match Disk::make(MEBIBYTES, "") {
        Ok(disk) => Some(disk),
        Err(why) => {
            println!("{what}: SKIPPED, {why}");
            None
        }
    }
}

struct Work {
    broker: Broker,
    straight: BTreeMap<String, Vec<u8>>,
}

/// How a run ended: its exit code and what it said.
struct Ended {
    code: Option<i32>,
    said: String,
}

impl Work {
    fn new() -> Work {
        let broker = Broker::with_sales(EVENTS, "60");
        let home = tempfile::tempdir().expect("there is room");
        let mut work = Work { broker, straight: BTreeMap::new() };
        succeed(&mut work.command("straight", home.path()));
        work.straight = batch_files(&home.path().join("out"));
        assert!(work.straight.len() > 5, "there are results: {}", work.straight.len());
        work
    }

    fn command(&self, group: &str, root: &Path) -> Command {
        let mut command = sales_stream();
        command
            .args(["--brokers", &self.broker.address, "--starting-offsets", "earliest"])
            .args(["--trigger", "available-now", "--max-offsets-per-trigger", "10"])
            .args(["--group-id", group, "--checkpoint-dir"])
            .arg(root.join("checkpoint"))
            .arg("--sink")
            .arg(format!("files:{}", root.join("out").display()))
            .stdout(Stdio::null());
        command
    }

    /// Starts a run whose words go to a file beside the disk.
    fn start(&self, group: &str, disk: &Disk) -> Process {
        let log = File::create(disk.beside().join("log")).expect("there is room for words");
        Process::start(self.command(group, &disk.root).stderr(log))
    }

    fn ended(process: &mut Process, disk: &Disk) -> Ended {
        let code = process.wait();
        let said = fs::read_to_string(disk.beside().join("log")).expect("the words are there");
        Ended { code, said }
    }

    /// Waits until there are so many results; whether the run ended first.
    fn ends_before(process: &mut Process, disk: &Disk, results: usize) -> bool {
        let deadline = Instant::now() + support::PATIENCE;
        while !process.ends_within(Duration::from_micros(500)) {
            if Work::results(disk) >= results {
                return false;
            }
            assert!(Instant::now() < deadline, "{results} results do not come");
        }
        true
    }

    fn results(disk: &Disk) -> usize {
        let out = disk.root.join("out");
        if out.is_dir() { batch_files(&out).len() } else { 0 }
    }

    fn run(&self, group: &str, disk: &Disk) -> Ended {
        Work::ended(&mut self.start(group, disk), disk)
    }

    /// A plain start goes on to what an undisturbed run gives.
    fn goes_on(&self, group: &str, disk: &Disk, after: &str) {
        let Ended { code, said } = self.run(group, disk);
        assert_eq!(code, Some(0), "{after}: {said}");
        let found = batch_files(&disk.root.join("out"));
        assert_eq!(found.len(), self.straight.len(), "{after}: files");
        assert!(found == self.straight, "{after}: the results differ");
    }
}

/// A refusal of the disk is exit 14, with the path, what the system said and what to do.
fn assert_names_trouble(ended: &Ended, disk: &Disk, words: &str, after: &str) {
    let Ended { code, said } = ended;
    assert_eq!(*code, Some(14), "{after}: {said}");
    let error = said.lines().find(|line| line.contains("error: ")).unwrap_or_default();
    assert!(error.contains(&*disk.root.to_string_lossy()), "{after}: no path: {said}");
    assert!(error.contains(words), "{after}: not {words:?}: {said}");
    assert!(error.contains("start again"), "{after}: not what to do: {said}");
}

fn look(verb: &[&str], root: &Path) -> Output {
    let mut command = sales_stream();
    command.args(verb).arg("--checkpoint-dir").arg(root.join("checkpoint"));
    command.output().expect("the binary can be started")
}

/// What is on a disk that takes no more can be looked at: the codes of `inspect` and `verify`.
fn assert_can_be_seen(root: &Path, after: &str) {
    for verb in [&["inspect", "--brokers", "127.0.0.1:1"][..], &["checkpoints", "verify"]] {
        let done = look(verb, root);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let shown = String::from_utf8_lossy(&done.stdout).into_owned();
        let nothing_yet = said.contains("no checkpoint")
            || said.contains("holds nothing")
            || said.contains("no batch")
            || said.contains("cannot be read: No such file");
        let is_well =
            done.status.code() == Some(0) || (done.status.code() == Some(1) && nothing_yet);
        assert!(is_well, "{after}: {verb:?} ended with {}: {shown}{said}", done.status);
    }
}

/// Space that a run finds: little of it in fine steps, where the files of a start are made, and more in
/// coarse ones, where batches are written.
fn spaces() -> Vec<u64> {
    let steps: &[(u64, u64)] = match support::results::is_long() {
        true => &[(400, 4), (2000, 16), (8000, 128), (28_000, 1000)],
        false => &[(240, 16), (700, 100), (6000, 1300)],
    };
    let mut spaces = vec![0];
    for (end, step) in steps {
        while spaces[spaces.len() - 1] < *end {
            spaces.push(spaces[spaces.len() - 1] + step);
        }
    }
    spaces.iter().map(|kibibytes| kibibytes << 10).collect()
}

#[test]
fn a_start_on_a_disk_with_too_little_room_stops_and_goes_on_when_there_is() {
    let started = Instant::now();
    let Some(_) = disk("a full disk") else { return };
    let work = Work::new();
    let (mut stopped, mut steps) = (0, 0);
    for space in spaces() {
        let Some(disk) = disk("a full disk") else { return };
        let after = format!("with {space} bytes free");
        let group = format!("room-{space}");
        disk.fill_up_to(space);
        let ended = work.run(&group, &disk);
        if ended.code != Some(0) {
            stopped += 1;
            assert_names_trouble(&ended, &disk, "No space left on device", &after);
            assert_can_be_seen(&disk.root, &after);
            // Nothing is made worse by a second try.
            let again = work.run(&group, &disk);
            if again.code != Some(0) {
                assert_names_trouble(&again, &disk, "No space left on device", &after);
            }
        }
        disk.empty();
        work.goes_on(&group, &disk, &after);
        steps += 1;
    }
    assert!(stopped > 10, "only {stopped} of {steps} runs met the end of the space");
    support::results::report("disk", 0, started, &[("steps", steps), ("faults_injected", stopped)]);
}

#[test]
fn a_disk_that_fills_up_under_a_run_stops_it_and_goes_on_when_there_is_room() {
    let started = Instant::now();
    let seed = support::results::number("SALES_STREAM_SEED", 1, 1);
    let rounds = support::results::number("SALES_STREAM_DISK_ROUNDS", 12, 200);
    let Some(mut disk_of_life) = disk("a disk that fills up") else { return };
    let work = Work::new();
    let mut random = Seeded(seed);
    let (mut stopped, mut life) = (0, 0);
    for round in 0..rounds {
        let group = format!("fills-{life}");
        let after = format!("round {round}");
        let mut process = work.start(&group, &disk_of_life);
        let all = u64::try_from(work.straight.len()).unwrap_or(u64::MAX);
        let results = usize::try_from(random.below(all)).unwrap_or(0);
        if !Work::ends_before(&mut process, &disk_of_life, results) {
            disk_of_life.fill_up_to(random.below(40) << 10);
        }
        let ended = Work::ended(&mut process, &disk_of_life);
        if ended.code == Some(0) {
            disk_of_life.empty();
            work.goes_on(&group, &disk_of_life, &after);
            let Some(next) = disk("a disk that fills up") else { return };
            disk_of_life = next;
            life += 1;
            continue;
        }
        stopped += 1;
        assert_names_trouble(&ended, &disk_of_life, "No space left on device", &after);
        assert_can_be_seen(&disk_of_life.root, &after);
        disk_of_life.empty();
    }
    work.goes_on(&format!("fills-{life}"), &disk_of_life, "at the end");
    assert!(stopped > rounds / 4, "only {stopped} of {rounds} runs met the end of the space");
    support::results::report(
        "disk",
        seed,
        started,
        &[("steps", rounds), ("faults_injected", stopped)],
    );
}

#[test]
fn a_disk_that_turns_read_only_stops_the_run_and_goes_on_when_it_is_well() {
    let started = Instant::now();
    let rounds = support::results::number("SALES_STREAM_DISK_ROUNDS", 4, 60);
    let Some(mut disk) = disk("a read-only disk") else { return };
    let work = Work::new();
    let mut random = Seeded(4);
    let mut stopped = 0;
    for round in 0..rounds {
        let after = format!("round {round}");
        let mut process = work.start("read-only", &disk);
        let share = u64::try_from(work.straight.len()).unwrap_or(1) / (rounds + 1);
        let more = usize::try_from(random.below(share.max(1))).unwrap_or(0);
        let results = Work::results(&disk) + more;
        if !Work::ends_before(&mut process, &disk, results) {
            // What ext4 does by itself after an error, writers or not.
            disk.remount("abort");
        }
        let ended = Work::ended(&mut process, &disk);
        if ended.code == Some(0) {
            // It may have ended while the disk turned.
            disk.come_up();
            break;
        }
        stopped += 1;
        assert_eq!(ended.code, Some(14), "{after}: {}", ended.said);
        assert!(ended.said.contains(&*disk.root.to_string_lossy()), "{after}: {}", ended.said);
        let again = work.run("read-only", &disk);
        assert_names_trouble(&again, &disk, "Read-only file system", &after);
        disk.come_up();
        disk.remount("ro");
        let again = work.run("read-only", &disk);
        assert_names_trouble(&again, &disk, "Read-only file system", &after);
        assert_can_be_seen(&disk.root, &after);
        disk.remount("rw");
    }
    work.goes_on("read-only", &disk, "at the end");
    assert!(stopped > 1, "only {stopped} runs were stopped");
    let counts = [("steps", rounds), ("faults_injected", 3 * stopped)];
    support::results::report("disk", 4, started, &counts);
}

#[test]
fn a_state_directory_that_is_taken_away_stops_the_run() {
    let broker = Broker::start(&["sales:3"]);
    let work = Work { broker, straight: BTreeMap::new() };
    for part in ["", "db"] {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        let mut command = work.command(&format!("taken-{part}"), home.path());
        command.args(["--progress", "stderr"]).stderr(File::create(&log).unwrap());
        // Behind the first one, which cannot be given twice.
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut command = sales_stream();
        for text in arguments {
            command.arg(if text == "available-now" { "0s".into() } else { text });
        }
        command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut process = Process::start(&mut command);
        let state = home.path().join("checkpoint/sales");
        let deadline = Instant::now() + support::PATIENCE;
        let said = || fs::read_to_string(&log).unwrap();
        let more = || produce(&work.broker.address, "sales", 20, &["--rate", "1000"]);
        more();
        while !said().contains("batchId") {
            assert!(Instant::now() < deadline, "{}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::rename(state.join(part), home.path().join("taken")).unwrap();
        more();
        let code = process.wait();
        assert_eq!(code, Some(14), "without {part:?}: {}", said());
        assert!(said().contains(&*state.to_string_lossy()), "{}", said());
        assert!(said().contains("was taken away"), "{}", said());
        // Brought back, it goes on.
        if part.is_empty() {
            let _ = fs::remove_dir_all(&state);
        }
        fs::rename(home.path().join("taken"), state.join(part)).unwrap();
        succeed(&mut work.command(&format!("taken-{part}"), home.path()));
    }
}

#[test]
fn a_backup_onto_a_full_disk_says_so_and_one_with_room_restores() {
    let Some(disk) = disk("a backup onto a full disk") else { return };
    let work = Work::new();
    let home = tempfile::tempdir().unwrap();
    succeed(&mut work.command("backup", home.path()));
    let backup = |to: &Path| {
        let checkpoint = home.path().join("checkpoint");
        let mut command = sales_stream();
        command.args(["checkpoints", "backup", "--checkpoint-dir"]).arg(checkpoint);
        command.arg(to).output().expect("the binary can be started")
    };
    let mut met = 0;
    for (index, space) in (0..400).step_by(40).enumerate() {
        disk.fill_up_to(space << 10);
        let to = disk.root.join(format!("backup-{index}"));
        let done = backup(&to);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if !done.status.success() {
            met += 1;
            assert_eq!(done.status.code(), Some(14), "{said}");
            assert!(said.contains("No space left on device"), "{said}");
            assert!(said.contains(&*disk.root.to_string_lossy()), "{said}");
            let restored = sales_stream()
                .args(["checkpoints", "restore", "--checkpoint-dir"])
                .arg(home.path().join(format!("part-{index}")))
                .arg(&to)
                .output()
                .unwrap();
            assert!(!restored.status.success(), "half a backup is none");
        }
        disk.empty();
        if to.is_dir() {
            fs::remove_dir_all(&to).unwrap();
        }
    }
    assert!(met > 2, "only {met} backups met the end of the space");
    let to = disk.root.join("whole");
    assert!(backup(&to).status.success());
    let elsewhere = home.path().join("elsewhere");
    copy_dir(&to, &elsewhere);
    succeed(
        sales_stream()
            .args(["checkpoints", "restore", "--checkpoint-dir"])
            .arg(home.path().join("restored"))
            .arg(&elsewhere),
    );
}

/// Takes the lock files of a copy away.
fn without_locks(path: &Path) -> usize {
    let mut taken = 0;
    for entry in fs::read_dir(path).expect("a directory can be read").flatten() {
        if entry.path().is_dir() {
            taken += without_locks(&entry.path());
        } else if entry.file_name() == ".lock" {
            fs::remove_file(entry.path()).expect("it is ours");
            taken += 1;
        }
    }
    taken
}

#[test]
fn a_copy_without_a_lock_file_can_be_looked_at_on_a_read_only_disk() {
    let Some(disk) = disk("a copy on a read-only disk") else { return };
    let work = Work::new();
    let home = tempfile::tempdir().unwrap();
    succeed(&mut work.command("copied", home.path()));
    copy_dir(&home.path().join("checkpoint"), &disk.root.join("checkpoint"));
    assert!(without_locks(&disk.root) > 0, "a state directory has a lock file");
    disk.remount("ro");
    assert_can_be_seen(&disk.root, "a copy");
    let verified = look(&["checkpoints", "verify"], &disk.root);
    assert!(verified.status.success(), "{verified:?}");
    disk.remount("rw");
    assert_can_be_seen(&disk.root, "a copy that could be written to");
    assert_eq!(without_locks(&disk.root), 1, "who looks there locks");
}
