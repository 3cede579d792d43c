//! The real binary without a broker: help, specs, usage errors, exit codes, closed pipes.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use support::{Process, sales_stream, succeed};

/// Nothing listens on port 1 of the loopback interface.
const NOBODY: &str = "127.0.0.1:1";

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must end with `code`; its stderr.
fn refuse(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}", stderr(&output));
    stderr(&output)
}

/// Runs a command with a text on its stdin.
fn with_stdin(command: &mut Command, text: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn help_and_version_go_to_stdout_and_end_with_0() {
    let help = stdout(&succeed(sales_stream().arg("--help")));
    for part in ["--checkpoint-dir", "Examples:", "SALES_STREAM_TRIGGER", "demo", "Exit codes"] {
        assert!(help.contains(part), "{part} in\n{help}");
    }
    let version = stdout(&succeed(sales_stream().arg("--version")));
    assert_eq!(version, format!("sales-stream {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_does_not_show_what_the_environment_holds() {
    let mut command = sales_stream();
    command.arg("--help").env("SALES_STREAM_KAFKA_OPTIONS", "sasl.password=hunter2");
    assert!(!stdout(&succeed(&mut command)).contains("hunter2"));
}

#[test]
fn a_preset_that_is_shown_checks_as_what_it_is() {
    for (name, column) in [("sales", "total_revenue_int  int"), ("transactions", "amount")] {
        let text = stdout(&succeed(sales_stream().args(["pipeline", "show", name])));
        let checked = with_stdin(sales_stream().args(["pipeline", "check", "-"]), &text);
        assert!(checked.status.success(), "{}", stderr(&checked));
        let told = stdout(&checked);
        assert!(told.starts_with(&format!("ok: pipeline {name}\n")), "{told}");
        assert!(told.contains(column), "{told}");
    }
}

#[test]
fn every_mistake_of_a_spec_is_named_and_nothing_is_started() {
    let checked =
        with_stdin(sales_stream().args(["pipeline", "check", "-"]), "name = \"A\"\nx = 1\n");
    assert_eq!(checked.status.code(), Some(2));
    assert_eq!(stdout(&checked), "");
    assert!(stderr(&checked).contains("stdin:1:8: "), "{}", stderr(&checked));
    assert!(stderr(&checked).contains("stdin:2:1: "), "{}", stderr(&checked));

    let home = tempfile::tempdir().unwrap();
    let spec = home.path().join("bad.toml");
    fs::write(&spec, "name = \"A\"\n").unwrap();
    let mut run = sales_stream();
    run.arg("--pipeline").arg(&spec).arg("--checkpoint-dir").arg(home.path().join("state"));
    assert!(refuse(&mut run, 2).contains("bad.toml:1:8: "));
    assert!(!home.path().join("state").exists());
}

#[test]
fn usage_errors_end_with_2() {
    for arguments in [
        &["--no-such-option"][..],
        &["no-such-command"],
        &["--trigger", "soon"],
        &["--brokers", NOBODY, "produce", "sales"],
        &["produce"],
        &["consume"],
        &["pipeline", "show", "nope"],
        &["pipeline", "check", "/no/such/file.toml"],
        &["--sink", "none", "--sink", "none"],
    ] {
        refuse(sales_stream().args(arguments), 2);
    }
}

#[test]
fn kafka_options_that_run_commands_are_refused_without_their_value() {
    let home = tempfile::tempdir().unwrap();
    for verb in [&[][..], &["consume", "sales"], &["produce", "sales"], &["topics", "list"]] {
        let mut command = sales_stream();
        command.args(verb).args(["--kafka-option", "plugin.library.paths=hunter2"]);
        command.current_dir(home.path());
        let told = refuse(&mut command, 2);
        assert!(told.contains("--allow-unsafe-kafka-options"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn no_broker_within_the_startup_timeout_is_22_and_says_what_to_type() {
    let home = tempfile::tempdir().unwrap();
    let mut run = sales_stream();
    run.args(["--brokers", NOBODY, "--startup-timeout", "1s", "--checkpoint-dir"]).arg(home.path());
    let told = refuse(&mut run, 22);
    assert!(told.contains("sales-stream demo") && told.contains("--brokers"), "{told}");
    for verb in [&["consume", "sales"][..], &["produce", "sales"], &["topics", "list"]] {
        let mut command = sales_stream();
        command.args(verb).args(["--brokers", NOBODY, "--timeout", "1s"]);
        let told = refuse(&mut command, 22);
        assert!(told.contains("error: ") && told.contains(NOBODY), "{told}");
    }
}

#[test]
fn no_broker_is_said_in_one_sentence_as_soon_as_the_time_is_up() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("a").join("b");
    let mut run = sales_stream();
    run.args(["--brokers", NOBODY, "--startup-timeout", "1s", "--checkpoint-dir"]).arg(&state);
    let started = Instant::now();
    let told = refuse(&mut run, 22);
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
    assert!(told.starts_with("error: ") && told.lines().count() == 1, "{told}");
    assert!(told.contains("Connection refused"), "{told}");
    assert!(!home.path().join("a").exists(), "a refused start leaves nothing behind");
    let mut consume = sales_stream();
    consume.args(["consume", "sales", "--brokers", NOBODY, "--timeout", "500ms"]);
    let told = refuse(&mut consume, 22);
    assert!(told.starts_with("error: ") && told.lines().count() == 1, "{told}");
}

#[test]
fn clients_that_wait_for_a_broker_end_at_once_when_told_to() {
    // Takes connections and never says a word; by then the client watches for signals.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    for (verb, code, summary) in [
        (&["produce", "sales"][..], 0, "produced 0 events to sales\n"),
        (&["produce", "transactions"], 0, "produced 0 events to real-time-transactions\n"),
        (&["consume", "sales"], 0, "consumed 0 records of sales\n"),
        (&["topics", "create", "sales"], 143, "stopped: "),
        (&["topics", "list"], 143, "stopped before"),
    ] {
        let mut command = sales_stream();
        command.args(verb).args(["--brokers", &address, "--timeout", "60s"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let _connection = mute.accept().unwrap();
        process.signal(Signal::TERM);
        assert!(process.ends_within(Duration::from_secs(5)), "{verb:?} goes on");
        let mut told = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(process.wait(), Some(code), "{verb:?}: {told}");
        assert!(told.contains(summary), "{verb:?}: {told}");
    }
}

#[test]
fn a_kafka_option_that_librdkafka_does_not_take_is_a_usage_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    for verb in [&[][..], &["consume", "sales"], &["produce", "sales"], &["topics", "list"]] {
        for name in ["no.such", "security.protocol"] {
            let mut command = sales_stream();
            command.args(verb).args(["--kafka-option", &format!("{name}=hunter2")]);
            command.current_dir(home.path());
            let told = refuse(&mut command, 2);
            let is_named = told.contains("--kafka-option") || told.contains("the Kafka option");
            assert!(told.contains(name) && is_named, "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was left");
}

#[test]
fn a_place_where_no_state_can_be_kept_is_14() {
    let home = tempfile::tempdir().unwrap();
    let in_the_way = home.path().join("state");
    fs::write(&in_the_way, "a file").unwrap();
    let mut run = sales_stream();
    run.args(["--brokers", NOBODY, "--startup-timeout", "1s", "--checkpoint-dir"]).arg(&in_the_way);
    let told = refuse(&mut run, 14);
    assert!(told.contains(in_the_way.to_str().unwrap()), "{told}");
}

#[test]
fn variables_count_and_flags_win_over_them() {
    let home = tempfile::tempdir().unwrap();
    let mut run = sales_stream();
    run.env("SALES_STREAM_STARTUP_TIMEOUT", "500ms")
        .env("SALES_STREAM_BROKERS", "127.0.0.1:2")
        .env("SALES_STREAM_CHECKPOINT_DIR", home.path())
        // As docker-compose passes a variable that is not set.
        .env("SALES_STREAM_TRIGGER", "")
        .args(["--brokers", NOBODY]);
    let told = refuse(&mut run, 22);
    assert!(told.contains(NOBODY) && !told.contains("127.0.0.1:2"), "{told}");
    let mut missing = sales_stream();
    missing.arg("inspect").env("SALES_STREAM_CHECKPOINT_DIR", home.path().join("nowhere"));
    assert!(stderr(&missing.output().unwrap()).contains("nowhere"));
    refuse(sales_stream().env("SALES_STREAM_TRIGGER", "soon"), 2);
}

#[test]
fn a_run_that_waits_for_a_broker_stops_when_told_to() {
    for (signal, trigger, code) in [
        (Signal::TERM, "10s", 0),
        (Signal::INT, "10s", 0),
        (Signal::TERM, "available-now", 143),
        (Signal::INT, "available-now", 130),
    ] {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        let mut command = sales_stream();
        command
            .args(["--brokers", NOBODY, "--trigger", trigger, "--checkpoint-dir"])
            .arg(home.path().join("state"))
            .stderr(fs::File::create(&log).unwrap());
        let mut run = Process::start(&mut command);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(&log).unwrap().contains("waiting for it") {
            assert!(Instant::now() < deadline, "{}", fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        run.signal(signal);
        assert_eq!(run.wait(), Some(code), "{signal:?} {trigger}");
        let told = fs::read_to_string(&log).unwrap();
        assert!(told.contains("stopping in order"), "{told}");
        assert!(told.contains("stopped before the first batch"), "{told}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_bug() {
    // The reading end is closed before the process writes: both ends of stdout and stderr.
    for arguments in
        [&["pipeline", "show", "sales"][..], &["--help"], &["pipeline", "check", "sales"]]
    {
        let mut command = sales_stream();
        command.args(arguments).stdout(closed_pipe()).stderr(closed_pipe());
        assert_eq!(Process::start(&mut command).wait(), Some(0), "{arguments:?}");
    }
    let mut command = sales_stream();
    command.args(["--pipeline", "nope"]).stderr(closed_pipe());
    assert_eq!(Process::start(&mut command).wait(), Some(2));
    let home = tempfile::tempdir().unwrap();
    let mut run = sales_stream();
    run.args(["--brokers", NOBODY, "--startup-timeout", "1s", "--checkpoint-dir"])
        .arg(home.path())
        .stderr(closed_pipe());
    assert_eq!(Process::start(&mut run).wait(), Some(22));
}

#[test]
fn a_demo_whose_reader_leaves_ends_at_once_with_its_processes() {
    for lines in [1, 4] {
        let mark = format!("{}-{lines}", std::process::id());
        let mut command = sales_stream();
        command.arg("demo").env("DEMO_MARK", &mark).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut demo = Process::start(&mut command);
        let mut reader = BufReader::new(demo.0.stdout.take().unwrap());
        for _ in 0..lines {
            reader.read_line(&mut String::new()).unwrap();
        }
        drop(reader);
        assert!(demo.ends_within(Duration::from_secs(10)), "{lines}: it goes on");
        let mut told = String::new();
        demo.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(demo.wait(), Some(0), "{told}");
        assert!(!told.contains("error:"), "{told}");
        assert_eq!(marked(&mark), 0, "no process outlives it");
    }
}

/// Live processes with this mark in their environment.
fn marked(mark: &str) -> usize {
    let mark = format!("DEMO_MARK={mark}\0");
    let has_mark = |path: std::path::PathBuf| {
        fs::read(path.join("environ"))
            .is_ok_and(|text| text.windows(mark.len()).any(|part| part == mark.as_bytes()))
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| has_mark(entry.path())).count()
}

/// The writing end of a pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let writing_end = reader.stdin.take().unwrap();
    reader.wait().unwrap();
    Stdio::from(writing_end)
}
