//! SIGKILL at seeded random instants, over the embedded broker: whatever was interrupted, the files
//! sink holds each result exactly once, the same as a run that was never killed wrote, and the same
//! as an independent recount of the topic. The same for rows and dead letters that go ahead of a batch
//! larger than a chunk.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use support::{
    Broker, Process, Seeded, assert_same, available_now, batch_files, expected_decimals,
    expected_ints, out_dir, produce, results, sales_stream, send, succeed, topic_lines,
};

const EVENTS: u64 = 60_000;
const KILLS: u32 = 50;

/// How a run was killed.
#[derive(Default)]
struct Kills {
    /// It was still running.
    hit: u32,
    /// It had written more than at the kill before.
    advanced: u32,
}

/// Runs the command, killing it [`KILLS`] times at random instants spread so that about as many take it to
/// its end; then lets it finish. `straight` is how long it takes undisturbed and `idle` how long a start
/// with nothing to do takes; where the machine is faster or slower by now, the instants follow.
fn kill_and_finish(
    command: impl Fn() -> std::process::Command,
    written: impl Fn() -> usize,
    (straight, idle): (Duration, Duration),
    seed: u64,
) -> Kills {
    let started = Instant::now();
    let seed = seed + support::results::number("SALES_STREAM_SEED", 0, 0);
    let mut random = Seeded(seed);
    let mut kills = Kills::default();
    let work = straight.saturating_sub(idle);
    let mut longest = idle + 2 * work / KILLS;
    let mut before = 0;
    let deadline = started + Duration::from_secs(120);
    while kills.hit < KILLS {
        assert!(Instant::now() < deadline, "only {} kills hit a running process", kills.hit);
        let micros = u64::try_from(longest.as_micros()).expect("a test takes less than an age");
        let mut process = Process::start(&mut command());
        if process.ends_within(Duration::from_micros(random.below(micros))) {
            longest = longest * 3 / 4;
            continue;
        }
        process.kill_hard();
        kills.hit += 1;
        let now = written();
        if now > before {
            kills.advanced += 1;
        } else {
            longest = longest * 17 / 16;
        }
        before = now;
    }
    succeed(&mut command());
    let counts = [("app_kills", u64::from(kills.hit))];
    support::results::report("kill-loop", seed, started, &counts);
    kills
}

/// How long a command takes.
fn timed(command: &mut std::process::Command) -> Duration {
    let started = Instant::now();
    succeed(command);
    started.elapsed()
}

fn files(directory: &Path) -> usize {
    if directory.is_dir() { batch_files(directory).len() } else { 0 }
}

#[test]
fn fifty_kills_lose_and_double_nothing() {
    let broker = Broker::start(&["sales:3"]);
    let home = tempfile::tempdir().unwrap();
    produce(
        &broker.address,
        "sales",
        EVENTS,
        &["--stores", "20", "--time-scale", "60", "--out-of-order", "5s", "--seed", "7"],
    );
    let command = |name: &str| {
        let mut command = available_now(&broker.address, "sales", home.path(), name);
        command.args(["--max-offsets-per-trigger", "100"]);
        command
    };
    let pace = (timed(&mut command("straight")), timed(&mut command("straight")));
    let out = out_dir(home.path(), "killed");
    let kills = kill_and_finish(|| command("killed"), || files(&out), pace, 1);
    assert!(kills.advanced >= 5, "only {} kills came after new results", kills.advanced);

    let straight = batch_files(&out_dir(home.path(), "straight"));
    let resumed = batch_files(&out_dir(home.path(), "killed"));
    assert!(resumed == straight, "file for file: {} and {} files", resumed.len(), straight.len());
    let lines = topic_lines(&broker.address, "sales", EVENTS);
    let expected = expected_ints(&lines);
    assert!(expected.len() > 1000, "there is something to compare: {}", expected.len());
    assert_same(&results(&out_dir(home.path(), "killed")), &expected);

    let verify = sales_stream()
        .args(["checkpoints", "verify", "--checkpoint-dir"])
        .arg(home.path().join("checkpoint-killed"))
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}

#[test]
fn sums_are_right_to_the_cent_after_kills() {
    let broker = Broker::start(&["sales:3"]);
    let home = tempfile::tempdir().unwrap();
    let preset = succeed(sales_stream().args(["pipeline", "show", "sales"])).stdout;
    let cents = String::from_utf8(preset).unwrap().replace("\"int\"", "\"decimal(18,2)\"");
    // The schema's own types stay as they are: only the cast names int.
    let spec = home.path().join("cents.toml");
    fs::write(&spec, &cents).unwrap();
    produce(&broker.address, "sales", EVENTS / 2, &["--stores", "10", "--time-scale", "30"]);
    let command = |name: &str| {
        let mut command = available_now(&broker.address, "sales", home.path(), name);
        command.arg("--pipeline").arg(&spec).args(["--max-offsets-per-trigger", "500"]);
        command
    };
    let pace = (timed(&mut command("straight")), timed(&mut command("straight")));
    let out = out_dir(home.path(), "cents");
    kill_and_finish(|| command("cents"), || files(&out), pace, 2);
    let lines = topic_lines(&broker.address, "sales", EVENTS / 2);
    assert_same(&results(&out_dir(home.path(), "cents")), &expected_decimals(&lines));
}

/// Batches large enough for several threads, of a topic of more partitions than threads.
#[test]
fn kills_of_several_reading_threads_lose_and_double_nothing() {
    const SALES: u64 = 240_000;
    let broker = Broker::start(&["sales:6"]);
    let home = tempfile::tempdir().unwrap();
    let more = ["--stores", "300", "--time-scale", "60", "--out-of-order", "50s", "--seed", "9"];
    produce(&broker.address, "sales", SALES, &more);
    for partition in 0..6 {
        send(&broker.address, "sales", partition, &[b"{\"store\":".as_slice(); 200]);
    }
    let letters = |name: &str| home.path().join(format!("letters-{name}"));
    let command = |name: &str, threads: &str| {
        let mut command = available_now(&broker.address, "sales", home.path(), name);
        command.args(["--max-offsets-per-trigger", "80000", "--threads", threads]);
        command.args(["--dead-letter", &format!("files:{}", letters(name).display())]);
        command
    };
    let straight = timed(&mut command("straight", "1"));
    let pace = (straight, timed(&mut command("straight", "1")));
    let out = out_dir(home.path(), "killed");
    kill_and_finish(|| command("killed", "4"), || files(&out), pace, 4);
    let resumed = batch_files(&out);
    assert!(resumed == batch_files(&out_dir(home.path(), "straight")), "file for file");
    let [killed, straight] = ["killed", "straight"].map(|name| sorted_lines(&letters(name)));
    assert_eq!(killed.values().map(Vec::len).sum::<usize>(), 6 * 200);
    assert!(killed == straight, "each batch has its own letters");
}

const TRANSACTIONS: usize = 60_000;
const MALFORMED_A_PARTITION: usize = 3_000;

/// About what their rows and dead letters take in the log.
const OUTPUT_BYTES: u64 = 8 << 20;

/// What is logged when a start finds output of a batch that was not finished.
const LEFT_BEHIND: &str = "deleting what was ahead of a batch that was not finished";

/// The lines of every batch file, sorted: rows of different partitions come in no fixed order.
fn sorted_lines(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let sorted = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    batch_files(directory).into_iter().map(|(name, bytes)| (name, sorted(bytes))).collect()
}

/// How long RocksDB's write-ahead logs are: it tells how much output has gone ahead.
fn written_to_logs(database: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(database) else { return 0 };
    let logs = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn count(files: &BTreeMap<String, Vec<String>>) -> usize {
    files.values().map(Vec::len).sum()
}

#[test]
fn output_that_goes_ahead_of_a_killed_batch_is_neither_lost_nor_doubled() {
    let topic = "real-time-transactions";
    let broker = Broker::start(&["real-time-transactions:3"]);
    let home = tempfile::tempdir().unwrap();
    succeed(
        sales_stream()
            .args(["produce", "transactions", "--brokers", &broker.address])
            .args(["--events", &TRANSACTIONS.to_string(), "--rate", "unlimited", "--seed", "5"])
            .stdout(Stdio::null()),
    );
    let malformed = format!("{{\"transaction_id\":\"{}", "x".repeat(100));
    for partition in 0..3 {
        send(&broker.address, topic, partition, &[malformed.as_bytes(); MALFORMED_A_PARTITION]);
    }
    let letters_dir = |name: &str| home.path().join(format!("letters-{name}"));
    let command = |name: &str| {
        let mut command = available_now(&broker.address, topic, home.path(), name);
        command
            .args(["--pipeline", "transactions", "--max-offsets-per-trigger", "unlimited"])
            .arg("--dead-letter")
            .arg(format!("files:{}", letters_dir(name).display()));
        command
    };
    succeed(&mut command("straight"));
    let rows = sorted_lines(&out_dir(home.path(), "straight"));
    let letters = sorted_lines(&letters_dir("straight"));
    assert_eq!(count(&rows), TRANSACTIONS + 3 * MALFORMED_A_PARTITION);
    assert_eq!(count(&letters), 3 * MALFORMED_A_PARTITION);

    let mut random = Seeded(3);
    let mut left_behind = 0;
    for round in 0..40 {
        let name = format!("killed-{round}");
        let mut process = Process::start(&mut command(&name));
        let log_bytes = 1 + random.below(OUTPUT_BYTES);
        let state = home.path().join(format!("checkpoint-{name}/transactions/db"));
        while !process.ends_within(Duration::ZERO) {
            if written_to_logs(&state) >= log_bytes {
                process.kill_hard();
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let verify = sales_stream()
            .args(["checkpoints", "verify", "--checkpoint-dir"])
            .arg(home.path().join(format!("checkpoint-{name}")))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verify.stdout);
        assert_ne!(verify.status.code(), Some(11), "what went ahead is no damage: {said}");
        let log = succeed(&mut command(&name)).stderr;
        left_behind += u32::from(String::from_utf8_lossy(&log).contains(LEFT_BEHIND));
        assert!(sorted_lines(&out_dir(home.path(), &name)) == rows, "rows of round {round}");
        assert!(sorted_lines(&letters_dir(&name)) == letters, "letters of round {round}");
        if round >= 5 && left_behind >= 3 {
            return;
        }
    }
    panic!("only {left_behind} kills came while output was ahead");
}
