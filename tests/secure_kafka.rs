//! Clients of a real Kafka with TLS and a login, right and wrong. `SALES_STREAM_TEST_SECURE_KAFKA` gives the
//! address and `SALES_STREAM_TEST_SECURE_KAFKA_DIR` the directory of a cluster that `scripts/kafka.sh start
//! --secure` made; without them these tests say that they did not run.
//!
//! Every refusal must come within [`SOON`], end with 21, and say what is wrong.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use support::{Process, available_now, out_dir, results, sales_stream, succeed};

/// Longest time from the start of a process to the word that it is refused.
const SOON: Duration = Duration::from_secs(15);

struct Cluster {
    brokers: String,
    home: PathBuf,
}

impl Cluster {
    /// The cluster, or `None` after saying that the test did not run.
    fn of_environment(test: &str) -> Option<Cluster> {
        let variable = |name| std::env::var(name).ok();
        let brokers = variable("SALES_STREAM_TEST_SECURE_KAFKA");
        let home = variable("SALES_STREAM_TEST_SECURE_KAFKA_DIR");
        if brokers.is_none() || home.is_none() {
            eprintln!("{test}: NOT RUN, SALES_STREAM_TEST_SECURE_KAFKA names no Kafka");
        }
        Some(Cluster { brokers: brokers?, home: home?.into() })
    }

    /// The options that work, one a line.
    fn options(&self) -> String {
        fs::read_to_string(self.home.join("secure/client.properties")).unwrap()
    }

    fn ca(&self) -> String {
        self.home.join("secure/ca.pem").display().to_string()
    }

    fn plain_brokers(&self) -> String {
        let (host, port) = self.brokers.split_once(':').unwrap();
        format!("{host}:{}", port.parse::<u16>().unwrap() + 30)
    }
}

fn with_options(mut command: Command, options: &str) -> Command {
    command.env("SALES_STREAM_KAFKA_OPTIONS", options);
    command
}

/// Everything a stranger or a mistaken user may come with: name, address, options, words of the refusal.
fn wrong(cluster: &Cluster, home: &Path) -> Vec<(&'static str, String, String, &'static str)> {
    let right = cluster.options();
    let with = |more: &str| format!("{right}{more}\n");
    let other_ca = home.join("other.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other"])
        .arg("-keyout")
        .arg(home.join("other.key"))
        .arg("-out")
        .arg(&other_ca)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let (brokers, ca) = (cluster.brokers.clone(), cluster.ca());
    let by_number = brokers.replace("localhost", "127.0.0.1");
    let unknown_ca = with(&format!("ssl.ca.location={}", other_ca.display()));
    let no_login = format!("security.protocol=SSL\nssl.ca.location={ca}\n");
    let in_clear = right.replace("SASL_SSL", "SASL_PLAINTEXT");
    vec![
        ("wrong password", brokers.clone(), with("sasl.password=wrong"), "sasl.password"),
        ("unknown user", brokers.clone(), with("sasl.username=nobody"), "sasl.username"),
        ("other mechanism", brokers.clone(), with("sasl.mechanism=PLAIN"), "SCRAM-SHA-512"),
        ("wrong host name", by_number, right.clone(), "host name"),
        ("unknown authority", brokers.clone(), unknown_ca, "ssl.ca.location"),
        ("no TLS", brokers.clone(), "security.protocol=PLAINTEXT\n".into(), "SASL_SSL"),
        ("login without TLS", brokers.clone(), in_clear, "SASL_SSL"),
        ("no login", brokers, no_login, "SASL_SSL"),
        ("TLS to a port without", cluster.plain_brokers(), right.clone(), "with TLS"),
    ]
}

#[test]
fn whoever_is_not_let_in_is_told_why_and_ends_with_21() {
    let Some(cluster) = Cluster::of_environment("whoever_is_not_let_in") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (what, brokers, options, expected) in wrong(&cluster, home.path()) {
        let mut run = available_now(&brokers, "any", home.path(), "refused");
        run.args(["--log-level", "debug"]);
        let mut list = sales_stream();
        list.args(["topics", "list", "--brokers", &brokers]);
        for command in [run, list] {
            let started = Instant::now();
            let output = with_options(command, &options).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            let told = message.lines().last().unwrap_or_default();
            assert_eq!(output.status.code(), Some(21), "{what}: {message}");
            assert!(told.contains(expected), "{what}: {expected:?} is not in: {told}");
            assert!(started.elapsed() < SOON, "{what}: {:?}", started.elapsed());
            checked += 1;
        }
    }
    assert!(!home.path().join("checkpoint-refused").exists(), "nothing was begun");
    println!("CHECKED {checked}");
}

#[test]
fn an_expired_certificate_is_refused() {
    let Some(cluster) = Cluster::of_environment("an_expired_certificate") else { return };
    let home = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(home.path())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "openssl {arguments}");
    };
    let secure = cluster.home.join("secure").display().to_string();
    openssl("req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout old.key -out old.csr");
    fs::write(home.path().join("old.ext"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(&format!(
        "x509 -req -in old.csr -CA {secure}/ca.pem -CAkey {secure}/ca.key -set_serial 7 -days -1 \
         -extfile old.ext -out old.pem"
    ));
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port().to_string()
    };
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-accept", &port, "-cert", "old.pem", "-key", "old.key"]);
    server.current_dir(home.path()).stdin(Stdio::piped());
    server.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Process::start(&mut server);
    let mut list = sales_stream();
    list.args(["topics", "list", "--brokers", &format!("localhost:{port}")]);
    let output = with_options(list, &cluster.options()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(21), "{message}");
    assert!(message.contains("expired"), "{message}");
    println!("CHECKED 1");
}

fn unique_topic(name: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("{name}-{now}")
}

#[test]
fn the_right_user_works_from_end_to_end_until_the_password_is_taken_away() {
    let Some(cluster) = Cluster::of_environment("the_right_user") else { return };
    let (brokers, options) = (cluster.brokers.as_str(), cluster.options());
    let home = tempfile::tempdir().unwrap();
    let topic = unique_topic("secure");
    let ours = |arguments: &[&str]| {
        let mut command = sales_stream();
        command.args(arguments).args(["--brokers", brokers]);
        with_options(command, &options)
    };
    succeed(&mut ours(&["topics", "create", &topic, "--partitions", "2"]));
    succeed(&mut ours(&[
        "produce",
        "sales",
        "--topic",
        &topic,
        "--events",
        "20000",
        "--rate",
        "unlimited",
        "--seed",
        "3",
        "--start-time",
        "2025-09-02T08:00:00Z",
        "--time-scale",
        "60",
    ]));
    let run = || with_options(available_now(brokers, &topic, home.path(), "a"), &options);
    succeed(&mut run());
    let first = results(&out_dir(home.path(), "a"));
    assert!(!first.is_empty());
    succeed(&mut run());
    assert_eq!(results(&out_dir(home.path(), "a")), first, "a restart goes on behind its commit");
    let state = home.path().join("checkpoint-a");
    let told =
        succeed(&mut ours(&["inspect", "--json", "--checkpoint-dir", state.to_str().unwrap()]));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["totals"]["rows_in"], 20_000);

    let mut run = run();
    run.args(["--trigger", "1s", "--log-level", "info"]);
    let log = home.path().join("log");
    run.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null());
    let mut process = Process::start(&mut run);
    // It sends elsewhere, without an end.
    let other = unique_topic("secure-other");
    succeed(&mut ours(&["topics", "create", &other, "--partitions", "2"]));
    let mut produce = ours(&["produce", "sales", "--topic", &other, "--rate", "50"]);
    let produce_log = home.path().join("produce-log");
    produce.stderr(fs::File::create(&produce_log).unwrap()).stdout(Stdio::null());
    let mut producer = Process::start(&mut produce);
    assert!(!process.ends_within(Duration::from_secs(4)), "{}", fs::read_to_string(&log).unwrap());
    let told = || fs::read_to_string(&produce_log).unwrap();
    assert!(!producer.ends_within(Duration::ZERO), "{}", told());
    let user = |change: &[&str]| {
        let mut tool = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh"));
        tool.args(["tool", "--dir"]).arg(&cluster.home).arg("kafka.admin.ConfigCommand");
        tool.args(["--bootstrap-server", "{}", "--alter", "--entity-type", "users"]);
        tool.args(["--entity-name", "sales"]).args(change);
        assert!(tool.stdout(Stdio::null()).status().unwrap().success());
    };
    user(&["--delete-config", "SCRAM-SHA-512"]);
    // The cluster asks for the password again every few seconds (connections.max.reauth.ms).
    let code = process.wait();
    let produced = producer.wait();
    let password = cluster.home.join("secure/user.properties");
    user(&["--add-config-file", password.to_str().unwrap()]);
    let message = fs::read_to_string(&log).unwrap();
    assert_eq!(code, Some(21), "{message}");
    assert!(message.contains("sasl.password"), "{message}");
    assert_eq!(results(&out_dir(home.path(), "a")), first, "nothing was published twice");
    let message = told();
    assert_eq!(produced, Some(21), "{message}");
    let last = message.lines().last().unwrap();
    assert!(last.contains("sasl.password") && last.contains("acknowledged"), "{message}");
    println!("CHECKED 8");
}
