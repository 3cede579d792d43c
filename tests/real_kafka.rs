//! The main paths on a real Kafka (KRaft or ZooKeeper), whose address `SALES_STREAM_TEST_KAFKA` gives;
//! `scripts/test.sh` starts one of each. Without it these tests say that they did not run.

mod support;

use std::{fs, path::Path, process::Command};

use support::{
    Process, Seeded, assert_same, available_now, batch_files, expected_decimals, out_dir, results,
    sales_stream, succeed, topic_lines,
};

/// The brokers, or `None` after saying that the test did not run.
fn kafka(test: &str) -> Option<String> {
    let brokers = std::env::var("SALES_STREAM_TEST_KAFKA").ok();
    if brokers.is_none() {
        eprintln!("{test}: NOT RUN, SALES_STREAM_TEST_KAFKA names no Kafka");
    }
    brokers
}

/// A topic of its own for each test and run.
fn topic(name: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_millis();
    format!("{name}-{now}")
}

fn create(brokers: &str, topic: &str, partitions: &str) {
    succeed(sales_stream().args([
        "topics",
        "create",
        topic,
        "--brokers",
        brokers,
        "--partitions",
        partitions,
    ]));
}

fn cents_spec(home: &Path) -> std::path::PathBuf {
    let preset = succeed(sales_stream().args(["pipeline", "show", "sales"])).stdout;
    let preset = String::from_utf8(preset).unwrap();
    let spec = home.join("cents.toml");
    let changed = preset.replace("cast = \"int\"", "cast = \"decimal(18,2)\"");
    assert_ne!(changed, preset, "the preset casts to int");
    fs::write(&spec, changed).unwrap();
    spec
}

#[test]
fn a_million_sales_are_right_to_the_cent_straight_and_after_kills() {
    let Some(brokers) = kafka("a_million_sales") else { return };
    let topic = topic("million");
    let home = tempfile::tempdir().unwrap();
    create(&brokers, &topic, "3");
    succeed(
        sales_stream()
            .args(["produce", "sales", "--brokers", &brokers, "--topic", &topic])
            .args(["--events", "1000000", "--rate", "unlimited", "--seed", "7", "--stores", "100"])
            .args(["--time-scale", "4", "--out-of-order", "20s"])
            .args(["--start-time", "2025-09-02T08:00:00Z"]),
    );
    let spec = cents_spec(home.path());
    let command = |name: &str| -> Command {
        let mut command = available_now(&brokers, &topic, home.path(), name);
        command.arg("--pipeline").arg(&spec).args(["--max-offsets-per-trigger", "5000"]);
        command
    };
    succeed(&mut command("straight"));
    let lines = topic_lines(&brokers, &topic, 1_000_000);
    let expected = expected_decimals(&lines);
    assert!(expected.len() > 10_000, "there is something to compare: {}", expected.len());
    assert_same(&results(&out_dir(home.path(), "straight")), &expected);

    let mut random = Seeded(3);
    for _ in 0..20 {
        let mut process = Process::start(&mut command("killed"));
        if process.ends_within(std::time::Duration::from_micros(random.below(300_000))) {
            break;
        }
        process.kill_hard();
    }
    succeed(&mut command("killed"));
    let straight = batch_files(&out_dir(home.path(), "straight"));
    let killed = batch_files(&out_dir(home.path(), "killed"));
    assert!(killed == straight, "file for file: {} and {} files", killed.len(), straight.len());
}

#[test]
fn a_partition_added_while_it_ran_is_read_from_its_beginning() {
    let Some(brokers) = kafka("a_partition_added") else { return };
    let topic = topic("growing");
    let home = tempfile::tempdir().unwrap();
    create(&brokers, &topic, "1");
    support::send_sales(&brokers, &topic, &[("A", "1.00", 5)]);
    let run = || available_now(&brokers, &topic, home.path(), "grow");
    succeed(&mut run());
    add_partition(&brokers, &topic);
    support::send(&brokers, &topic, 1, &[&support::sale_json("B", "2.00", 6)]);
    support::send_sales(&brokers, &topic, &[("A", "1.00", 100)]);
    succeed(&mut run());
    let rows = results(&out_dir(home.path(), "grow"));
    let totals: Vec<_> =
        rows.iter().map(|((store, _), total)| (store.as_str(), total.as_str())).collect();
    assert_eq!(totals, [("A", "1"), ("B", "2")]);
}

fn add_partition(brokers: &str, topic: &str) {
    use rdkafka::{
        ClientConfig,
        admin::{AdminClient, AdminOptions, NewPartitions},
        client::DefaultClientContext,
    };
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let grown = runtime
        .block_on(admin.create_partitions(&[NewPartitions::new(topic, 2)], &AdminOptions::new()))
        .unwrap();
    assert!(grown.iter().all(Result::is_ok), "{grown:?}");
}

#[test]
fn what_was_sent_in_aborted_transactions_is_never_counted() {
    let Some(brokers) = kafka("aborted_transactions") else { return };
    let topic = topic("aborted");
    let home = tempfile::tempdir().unwrap();
    create(&brokers, &topic, "3");
    let produced = succeed(
        sales_stream()
            .args(["produce", "sales", "--brokers", &brokers, "--topic", &topic])
            .args(["--events", "105", "--rate", "unlimited", "--timeout", "60s"])
            .args(["--transaction-size", "10", "--abort-every", "2"]),
    );
    let told = String::from_utf8_lossy(&produced.stderr).into_owned();
    let ended = "6 transactions committed, 5 aborted with 50 events";
    assert!(told.contains(ended), "{told}");
    succeed(&mut available_now(&brokers, &topic, home.path(), "again"));
    assert_eq!(totals(home.path())["rows_in"], 55);
}

#[test]
fn a_topic_made_again_is_refused() {
    let Some(brokers) = kafka("a_topic_made_again") else { return };
    let topic = topic("again");
    let home = tempfile::tempdir().unwrap();
    create(&brokers, &topic, "1");
    support::send_sales(&brokers, &topic, &[("A", "1.00", 5)]);
    let run = || available_now(&brokers, &topic, home.path(), "again");
    succeed(&mut run());
    delete(&brokers, &topic);
    create(&brokers, &topic, "1");
    support::send_sales(&brokers, &topic, &[("A", "1.00", 5), ("A", "1.00", 6)]);
    let output = run().output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(20), "{message}");
    for part in ["made again", "--fail-on-data-loss false"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_topic_is_made_again_before_the_cluster_is_done_with_deleting_it() {
    let Some(brokers) = kafka("a_topic_deleted") else { return };
    let topic = topic("deleted");
    create(&brokers, &topic, "100");
    for _ in 0..3 {
        delete(&brokers, &topic);
        create(&brokers, &topic, "100");
    }
}

/// One with two sales after one with five was read.
fn made_again(name: &str) -> Option<(String, tempfile::TempDir, Command)> {
    let brokers = kafka(name)?;
    let topic = topic(name);
    let home = tempfile::tempdir().unwrap();
    create(&brokers, &topic, "1");
    support::send_sales(&brokers, &topic, &[("A", "1.00", 5); 5]);
    let mut run = available_now(&brokers, &topic, home.path(), "again");
    run.args(["--output-mode", "update"]);
    succeed(&mut run);
    delete(&brokers, &topic);
    create(&brokers, &topic, "1");
    support::send_sales(&brokers, &topic, &[("A", "1.00", 5); 2]);
    Some((topic, home, run))
}

fn totals(home: &Path) -> serde_json::Value {
    let directory = home.join("checkpoint-again");
    let mut inspect = sales_stream();
    inspect.args(["inspect", "--json", "--checkpoint-dir"]).arg(directory);
    let told: serde_json::Value = serde_json::from_slice(&succeed(&mut inspect).stdout).unwrap();
    told["totals"].clone()
}

#[test]
fn a_topic_made_again_is_read_on_from_its_end_where_records_may_be_lost() {
    let Some((topic, home, mut run)) = made_again("lenient") else { return };
    let stderr = succeed(run.args(["--fail-on-data-loss", "false"])).stderr;
    let told = String::from_utf8_lossy(&stderr).into_owned();
    for part in ["deleted and made again", "records 2 to 4 are gone", "partition 0", &topic] {
        assert!(told.contains(part), "{part} is not in: {told}");
    }
    assert_eq!(totals(home.path())["lost"], 3);
    let brokers = std::env::var("SALES_STREAM_TEST_KAFKA").unwrap();
    support::send_sales(&brokers, &topic, &[("A", "1.00", 5)]);
    // The checkpoint is of the new topic now: nothing need be allowed for it, and nothing is for another.
    let mut run = available_now(&brokers, &topic, home.path(), "again");
    run.args(["--output-mode", "update"]);
    succeed(&mut run);
    let totals = totals(home.path());
    assert_eq!((&totals["rows_in"], &totals["lost"]), (&6.into(), &3.into()));
    delete(&brokers, &topic);
    create(&brokers, &topic, "1");
    assert_eq!(run.output().unwrap().status.code(), Some(20));
}

fn delete(brokers: &str, topic: &str) {
    use rdkafka::{
        ClientConfig,
        admin::{AdminClient, AdminOptions},
        client::DefaultClientContext,
    };
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
    // Deletion is asynchronous, and where ZooKeeper is, the name is free only after nobody describes it any more.
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        let listed = succeed(sales_stream().args(["topics", "list", "--brokers", brokers])).stdout;
        if !String::from_utf8_lossy(&listed)
            .lines()
            .any(|line| line.starts_with(&format!("{topic} ")))
        {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the topic is still there");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
