//! SIGKILL at seeded random instants, over the embedded broker: whatever was interrupted, the files
//! sink holds each result exactly once, the same as a run that was never killed wrote, and the same
//! as an independent recount of the topic.

mod support;

use std::{fs, time::Duration};

use support::{
    Broker, Process, Seeded, assert_same, available_now, batch_files, expected_decimals,
    expected_ints, out_dir, produce, results, sales_stream, succeed, topic_lines,
};

const EVENTS: u64 = 60_000;
const KILLS: u32 = 50;

/// Runs the command, killing it at random instants, until it was killed often enough; then lets it
/// finish. How often it was killed before it ended by itself.
fn kill_and_finish(command: impl Fn() -> std::process::Command, kills: u32, seed: u64) -> u32 {
    let mut random = Seeded(seed);
    let mut killed = 0;
    for _ in 0..kills {
        let mut process = Process::start(&mut command());
        if process.ends_within(Duration::from_micros(random.below(120_000))) {
            break;
        }
        process.kill_hard();
        killed += 1;
    }
    succeed(&mut command());
    killed
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
    succeed(&mut command("straight"));
    let killed = kill_and_finish(|| command("killed"), KILLS, 1);
    assert!(killed >= KILLS / 2, "only {killed} kills hit a running process");

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
    let command = || {
        let mut command = available_now(&broker.address, "sales", home.path(), "cents");
        command.arg("--pipeline").arg(&spec).args(["--max-offsets-per-trigger", "500"]);
        command
    };
    kill_and_finish(command, 10, 2);
    let lines = topic_lines(&broker.address, "sales", EVENTS / 2);
    assert_same(&results(&out_dir(home.path(), "cents")), &expected_decimals(&lines));
}
