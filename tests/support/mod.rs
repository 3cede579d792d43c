//! What the integration tests share: the real binary as child processes, and an independent recount.
//!
//! Nothing here uses the library: results are read from files and the topic as a user would.

#![allow(dead_code, reason = "each test target uses its own part")]

pub mod ext4;
pub mod results;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// No step may take longer.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A secret that every command of every test is given, and that no output may show; `scripts/test.sh` looks
/// for it in its own, too.
pub const CANARY: &str = "CANARY-7f3a91c2";

/// The binary under test, without the environment's own settings but with a secret in it.
pub fn sales_stream() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sales-stream"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SALES_STREAM_") {
            command.env_remove(name);
        }
    }
    command.env("SALES_STREAM_KAFKA_OPTIONS", format!("sasl.password={CANARY}"));
    command.stdin(Stdio::null());
    command
}

/// Fails if a text or a file's content holds the secret.
pub fn assert_no_secret(what: &str, content: &[u8]) {
    let canary = CANARY.as_bytes();
    // Six bytes of it would be enough to know where it came from.
    let shown =
        content.windows(6).position(|window| window == &canary[..6] || window == &canary[8..14]);
    if let Some(at) = shown {
        let around = &content[at.saturating_sub(200)..content.len().min(at + 40)];
        panic!("{what} shows a secret: {}", String::from_utf8_lossy(around));
    }
}

/// A child that does not outlive the test.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Process {
        Process(command.spawn().expect("the binary can be started"))
    }

    /// Waits for the end with a deadline; the exit code, if it ended by itself.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child can be asked") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the process did not end in time");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it ended within `time`, looking often.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            if self.0.try_wait().expect("a child can be asked").is_some() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub fn kill_hard(&mut self) {
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a child can be waited for");
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("a child can be signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The embedded broker in a process of its own.
pub struct Broker {
    pub address: String,
    _process: Process,
}

impl Broker {
    pub fn start(topics: &[&str]) -> Broker {
        let mut command = sales_stream();
        command.arg("broker");
        for topic in topics {
            command.args(["--topic", topic]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start(&mut command);
        let stdout = process.0.stdout.take().expect("it is piped");
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).expect("the broker prints its address");
        let address = address.trim().to_owned();
        assert!(address.contains(':'), "the first line is the address, not {address:?}");
        Broker { address, _process: process }
    }

    /// One with the topic `sales`: three partitions of seeded sales, out of order, `time_scale` seconds of
    /// them to a second.
    pub fn with_sales(events: u64, time_scale: &str) -> Broker {
        let broker = Broker::start(&["sales:3"]);
        let more =
            ["--stores", "7", "--out-of-order", "5s", "--seed", "11", "--time-scale", time_scale];
        produce(&broker.address, "sales", events, &more);
        broker
    }
}

/// Runs a command to its end; it must succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the binary can be started");
    assert_no_secret("stdout", &output.stdout);
    assert_no_secret("stderr", &output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Produces seeded sales.
pub fn produce(brokers: &str, topic: &str, events: u64, more: &[&str]) {
    let events = events.to_string();
    succeed(
        sales_stream()
            .args(["produce", "sales", "--brokers", brokers, "--topic", topic])
            .args(["--events", &events, "--rate", "unlimited"])
            .args(["--start-time", "2025-09-02T08:00:00Z"])
            .args(more),
    );
}

/// Every record of a topic, as text lines.
pub fn topic_lines(brokers: &str, topic: &str, records: u64) -> Vec<String> {
    let output = succeed(
        sales_stream()
            .args(["consume", topic, "--brokers", brokers, "--from-beginning"])
            .args(["--max", &records.to_string()]),
    );
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A processor that reads everything there is into files.
pub fn available_now(brokers: &str, topic: &str, home: &Path, name: &str) -> Command {
    let mut command = sales_stream();
    command
        .args(["--brokers", brokers, "--topic", topic, "--starting-offsets", "earliest"])
        .args(["--trigger", "available-now", "--group-id", &format!("{topic}-{name}")])
        .arg("--checkpoint-dir")
        .arg(home.join(format!("checkpoint-{name}")))
        .arg("--sink")
        .arg(format!("files:{}", out_dir(home, name).display()));
    command
}

pub fn out_dir(home: &Path, name: &str) -> PathBuf {
    home.join(format!("out-{name}"))
}

/// The batch files of a files sink with their bytes.
pub fn batch_files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("the sink's directory is there");
    entries
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a batch file can be read"))
        })
        .collect()
}

/// Every row of a files sink, as (store, window start) with its total as text; a window that was
/// written twice fails the test.
pub fn results(directory: &Path) -> BTreeMap<(String, String), String> {
    let mut rows = BTreeMap::new();
    for (file, bytes) in batch_files(directory) {
        for line in String::from_utf8(bytes).expect("results are UTF-8").lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("results are JSON");
            let text = |name: &str| row[name].as_str().expect("it is a text").to_owned();
            // The number's own text: a JSON reader would drop the last zero of 5967.10.
            let start = line.find("\"total_revenue_int\":").expect("the column is there") + 20;
            let total = line[start..].split([',', '}']).next().expect("it has a value").to_owned();
            let window = (text("store"), text("window_start"));
            let earlier = rows.insert(window.clone(), total);
            assert_eq!(earlier, None, "{window:?} is written twice, again in {file}");
        }
    }
    rows
}

/// Sums in cents by store and window start (Unix seconds), straight from the records.
pub fn recount_cents(lines: &[String]) -> (BTreeMap<(String, i64), i64>, i64) {
    let mut cents: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let mut newest = i64::MIN;
    for line in lines {
        let Some((store, price, ts)) = sale(line) else { continue };
        *cents.entry((store, ts.div_euclid(30) * 30)).or_default() += price;
        newest = newest.max(ts);
    }
    (cents, newest)
}

/// The fields of a well-formed sale, by plain text search: store, price in cents, Unix seconds.
pub fn sale(line: &str) -> Option<(String, i64, i64)> {
    let field = |name: &str| {
        let start = line.find(&format!("\"{name}\":"))? + name.len() + 3;
        let end = line[start..].find([',', '}'])? + start;
        Some(&line[start..end])
    };
    let (whole, places) = field("price")?.split_once('.')?;
    let cents = whole.parse::<i64>().ok()? * 100 + format!("{places:0<2}").parse::<i64>().ok()?;
    Some((field("store")?.trim_matches('"').to_owned(), cents, field("ts")?.parse().ok()?))
}

/// The windows that closed, with totals cut to whole units, keyed as the files sink keys them.
pub fn expected_ints(lines: &[String]) -> BTreeMap<(String, String), String> {
    expected(lines, |cents| (cents / 100).to_string())
}

/// The same to the cent, as the files sink writes a decimal.
pub fn expected_decimals(lines: &[String]) -> BTreeMap<(String, String), String> {
    expected(lines, |cents| format!("{}.{:02}", cents / 100, cents % 100))
}

fn expected(lines: &[String], text: impl Fn(i64) -> String) -> BTreeMap<(String, String), String> {
    let (cents, newest) = recount_cents(lines);
    cents
        .into_iter()
        .filter(|((_, start), _)| start + 30 <= newest - 30)
        .map(|((store, start), cents)| ((store, iso(start)), text(cents)))
        .collect()
}

fn iso(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).expect("test times are ordinary").to_string()
}

/// A small seeded generator for instants (SplitMix64), so that a failing run can be repeated.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Sends raw values to one partition, in order.
pub fn send(brokers: &str, topic: &str, partition: i32, values: &[&[u8]]) {
    use rdkafka::{
        ClientConfig,
        producer::{BaseProducer, BaseRecord, Producer as _},
    };
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer can be made");
    for value in values {
        let record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(value);
        producer.send(record).expect("there is room in the queue");
    }
    producer.flush(Duration::from_secs(20)).expect("the broker acknowledges");
}

/// One sale as JSON.
pub fn sale_json(store: &str, price: &str, ts: i64) -> Vec<u8> {
    format!(r#"{{"store":"{store}","item":"x","price":{price},"ts":{ts}}}"#).into_bytes()
}

/// Sends sales of one store to partition 0.
pub fn send_sales(brokers: &str, topic: &str, sales: &[(&str, &str, i64)]) {
    let values: Vec<_> =
        sales.iter().map(|(store, price, ts)| sale_json(store, price, *ts)).collect();
    let borrowed: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    send(brokers, topic, 0, &borrowed);
}

/// A copy of a directory as it is now.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let entry = entry.expect("its entries can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}

/// Compares two sets of results and shows only what differs.
pub fn assert_same(
    found: &BTreeMap<(String, String), String>,
    expected: &BTreeMap<(String, String), String>,
) {
    let keys: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differing: Vec<_> = keys
        .into_iter()
        .filter(|key| found.get(*key) != expected.get(*key))
        .map(|key| format!("{key:?}: found {:?}, expected {:?}", found.get(key), expected.get(key)))
        .collect();
    let shown = &differing[..differing.len().min(10)];
    assert!(differing.is_empty(), "{} differ, among them:\n{}", differing.len(), shown.join("\n"));
}
