//! The real binary over the embedded broker: what a run prints, refuses, resumes and counts.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use support::{
    Broker, Process, available_now, batch_files, copy_dir, expected_ints, out_dir, produce,
    results, sales_stream, send, send_sales, succeed, topic_lines,
};

/// A run of everything there is, onto the console.
fn console(broker: &Broker, home: &Path, more: &[&str]) -> Command {
    let mut command = sales_stream();
    command
        .args(["--brokers", &broker.address, "--starting-offsets", "earliest"])
        .args(["--trigger", "available-now", "--checkpoint-dir"])
        .arg(home.join("checkpoint"))
        .args(more);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
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

fn inspect(home: &Path) -> serde_json::Value {
    let output = succeed(
        sales_stream().args(["inspect", "--json", "--checkpoint-dir"]).arg(home.join("checkpoint")),
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// 1970-01-01T00:01:40 and before: the worked timeline of Spark's rules.
const SALES: &[(&str, &str, i64)] = &[("A", "1.50", 5), ("B", "2.25", 35), ("A", "4.00", 100)];

#[test]
fn append_mode_prints_each_window_once_when_it_closes() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", SALES);
    let output = succeed(&mut console(&broker, home.path(), &[]));
    let rule = "-------------------------------------------";
    let expected = format!(
        "{rule}\nBatch: 0\n{rule}\n\
         +-----+-----------------+------------+----------+\n\
         |store|total_revenue_int|window_start|window_end|\n\
         +-----+-----------------+------------+----------+\n\
         +-----+-----------------+------------+----------+\n\n\
         {rule}\nBatch: 1\n{rule}\n\
         +-----+-----------------+-------------------+-------------------+\n\
         |store|total_revenue_int|window_start       |window_end         |\n\
         +-----+-----------------+-------------------+-------------------+\n\
         |A    |1                |1970-01-01 00:00:00|1970-01-01 00:00:30|\n\
         |B    |2                |1970-01-01 00:00:30|1970-01-01 00:01:00|\n\
         +-----+-----------------+-------------------+-------------------+\n\n"
    );
    assert_eq!(stdout(&output), expected);
    let again = succeed(&mut console(&broker, home.path(), &[]));
    assert_eq!(stdout(&again), "", "nothing is new, so nothing is printed");
}

#[test]
fn update_mode_prints_what_was_touched_and_complete_mode_everything() {
    let broker = Broker::start(&["sales:1"]);
    for (mode, second) in
        [("update", &["|A    |9 "][..]), ("complete", &["|A    |9 ", "|B    |2 "])]
    {
        let home = tempfile::tempdir().unwrap();
        let topic = "--topic=sales".to_owned();
        let group = format!("--group-id={mode}");
        let run = |broker: &Broker| {
            stdout(&succeed(&mut console(
                broker,
                home.path(),
                &["--output-mode", mode, &topic, &group],
            )))
        };
        if mode == "update" {
            send_sales(&broker.address, "sales", SALES);
            assert!(run(&broker).contains("|A    |4 "));
            send_sales(&broker.address, "sales", &[("A", "5.00", 101)]);
        }
        let text = run(&broker);
        for row in second {
            assert!(text.contains(row), "{mode}: {row} in\n{text}");
        }
        assert_eq!(text.contains("|B "), mode == "complete", "{text}");
    }
}

#[test]
fn late_rows_are_dropped_and_counted_and_kept_when_asked() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let letters = home.path().join("letters");
    let dead_letter = format!("files:{}", letters.display());
    let options = ["--dead-letter", &dead_letter, "--sink", "none"];
    send_sales(&broker.address, "sales", SALES);
    succeed(&mut console(&broker, home.path(), &options));
    send_sales(&broker.address, "sales", &[("B", "1.00", 30), ("B", "1.00", 65)]);
    send(
        &broker.address,
        "sales",
        0,
        &[b"{\"store\":", b"", b"{\"store\":\"A\",\"price\":\"x\",\"ts\":70}", b"\xff\xfe"],
    );
    let output = succeed(&mut console(&broker, home.path(), &options));
    let closing = stderr(&output);
    assert!(closing.contains("1 late") && closing.contains("4 malformed"), "{closing}");
    let text: String = batch_files(&letters)
        .into_values()
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons: Vec<_> = lines.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["late", "syntax", "empty", "wrong_type", "syntax"]);
    assert_eq!(lines[0]["offset"], 3);
    assert_eq!(lines[3]["column"], "price");
    assert_eq!(lines[1]["payload"], "{\"store\":");
    assert_eq!(lines[4]["payload_omitted"], "2 bytes", "no UTF-8 is no text");
}

#[test]
fn fail_fast_names_the_record_and_writes_nothing() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", SALES);
    send(&broker.address, "sales", 0, &[b"{\"store\":"]);
    let message = refuse(&mut console(&broker, home.path(), &["--mode", "failfast"]), 40);
    for part in ["topic sales", "partition 0", "record 3"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(inspect(home.path())["batch"], serde_json::Value::Null);
}

#[test]
fn of_several_reading_threads_one_names_the_record_and_nothing_is_written() {
    let broker = Broker::start(&["sales:4"]);
    let home = tempfile::tempdir().unwrap();
    produce(&broker.address, "sales", 100_000, &["--stores", "100"]);
    send(&broker.address, "sales", 3, &[b"{\"store\":"]);
    let more = ["--mode", "failfast", "--threads", "4"];
    let message = refuse(&mut console(&broker, home.path(), &more), 40);
    assert!(message.contains("of partition 3 of topic sales"), "{message}");
    assert!(!message.contains("record 0 "), "others stand before it: {message}");
    assert_eq!(inspect(home.path())["batch"], serde_json::Value::Null);
}

#[test]
fn a_second_process_is_turned_away_and_the_first_goes_on() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let mut first = console(&broker, home.path(), &["--trigger", "0s"]);
    let mut first = Process::start(first.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(first.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "Batch: 0"));
    let message = refuse(&mut console(&broker, home.path(), &[]), 10);
    assert!(message.contains("in use"), "{message}");
    send_sales(&broker.address, "sales", SALES);
    assert!(lines.any(|line| line.unwrap().starts_with("|B    |2 ")));
    first.signal(Signal::TERM);
    assert_eq!(first.wait(), Some(0), "SIGTERM ends a continuous run cleanly");
}

#[test]
fn another_pipeline_is_refused_with_the_fields_that_differ() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", SALES);
    succeed(&mut console(&broker, home.path(), &[]));
    let preset = stdout(&succeed(sales_stream().args(["pipeline", "show", "sales"])));
    let changed = home.path().join("changed.toml");
    std::fs::write(
        &changed,
        preset.replace("duration = \"30 seconds\"", "duration = \"60 seconds\""),
    )
    .unwrap();
    let changed = changed.to_str().unwrap();
    let message = refuse(&mut console(&broker, home.path(), &["--pipeline", changed]), 12);
    assert!(
        message.contains("window") && message.contains("30s") && message.contains("1m"),
        "{message}"
    );
}

#[test]
fn a_lost_checkpoint_is_noticed_and_start_over_begins_a_new_history_once() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", SALES);
    succeed(&mut console(&broker, home.path(), &[]));
    std::fs::remove_dir_all(home.path().join("checkpoint")).unwrap();
    let message = refuse(&mut console(&broker, home.path(), &[]), 13);
    for way_out in ["checkpoints restore", "--accept-rollback", "--start-over", "--group-id"] {
        assert!(message.contains(way_out), "{way_out} in {message}");
    }
    let output = succeed(&mut console(&broker, home.path(), &["--start-over"]));
    assert!(stdout(&output).contains("Batch: 1"));
    let output = succeed(&mut console(&broker, home.path(), &["--start-over"]));
    assert_eq!(stdout(&output), "", "with the flag left in nothing happens a second time");
    let mut flag = "--start-over".to_owned();
    for loss in ["second", "third"] {
        std::fs::remove_dir_all(home.path().join("checkpoint")).unwrap();
        let message = refuse(&mut console(&broker, home.path(), &[&flag]), 13);
        flag = way_out(&message, "--start-over");
        let output = succeed(&mut console(&broker, home.path(), &[&flag]));
        assert!(stdout(&output).contains("Batch: 1"), "the {loss} loss is accepted by name");
        let output = succeed(&mut console(&broker, home.path(), &[&flag]));
        assert_eq!(stdout(&output), "", "with the flag left in nothing happens a second time");
    }
}

#[test]
fn one_backup_is_gone_on_from_again_and_again_by_naming_what_is_given_up() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let out = out_dir(home.path(), "o");
    let checkpoint = home.path().join("checkpoint-o");
    let run = |more: &[&str]| {
        let mut command = available_now(&broker.address, "sales", home.path(), "o");
        command.args(more);
        command
    };
    let put_back = || {
        std::fs::remove_dir_all(&checkpoint).unwrap();
        copy_dir(&home.path().join("older"), &checkpoint);
    };
    let mut sent = 0;
    let mut send = |sales: &[(&str, &str, i64)]| {
        send_sales(&broker.address, "sales", sales);
        sent += sales.len() as u64;
        sent
    };
    send(SALES);
    succeed(&mut run(&[]));
    copy_dir(&checkpoint, &home.path().join("older"));
    send(&[("A", "1.00", 130), ("B", "1.00", 300)]);
    succeed(&mut run(&["--max-offsets-per-trigger", "1"]));
    put_back();
    let mut flag = "--accept-rollback".to_owned();
    succeed(&mut run(&[&flag]));
    for time in 1..=2 {
        let sent = send(&[("A", "2.00", 400 * time), ("B", "3.00", 400 * time + 90)]);
        succeed(&mut run(&[&flag]));
        put_back();
        let before = batch_files(&out);
        let message = refuse(&mut run(&[&flag]), 13);
        assert_eq!(batch_files(&out), before, "a refusal changes nothing");
        flag = way_out(&message, "--accept-rollback");
        succeed(&mut run(&[&flag]));
        let lines = topic_lines(&broker.address, "sales", sent);
        assert_eq!(results(&out), expected_ints(&lines), "nothing is missing or there twice");
    }
    let aside = std::fs::read_dir(out.join("_rolled_back")).unwrap();
    assert_eq!(aside.count(), 3, "each history that was given up has its files there");
    let before = batch_files(&out);
    let mut live = Process::start(run(&[&flag, "--trigger", "0s"]).stderr(Stdio::null()));
    let sent = send(&[("A", "1.00", 2000)]);
    let deadline = Instant::now() + support::PATIENCE;
    while batch_files(&out) == before {
        assert!(Instant::now() < deadline, "the batch is not published");
        std::thread::sleep(Duration::from_millis(20));
    }
    live.kill_hard();
    succeed(&mut run(&[&flag]));
    let lines = topic_lines(&broker.address, "sales", sent);
    assert_eq!(results(&out), expected_ints(&lines), "a flag left in the command does nothing");
}

#[test]
fn a_newer_backup_does_not_take_a_directory_that_went_on_from_an_older_one() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let checkpoint = home.path().join("checkpoint-n");
    let run = || available_now(&broker.address, "sales", home.path(), "n");
    let put_back = |name: &str| {
        std::fs::remove_dir_all(&checkpoint).unwrap();
        copy_dir(&home.path().join(name), &checkpoint);
    };
    for (name, sales) in [("older", SALES), ("newer", &[("A", "1.00", 300)][..])] {
        send_sales(&broker.address, "sales", sales);
        succeed(&mut run());
        copy_dir(&checkpoint, &home.path().join(name));
    }
    put_back("older");
    succeed(run().arg("--accept-rollback"));
    put_back("newer");
    let message = refuse(&mut run(), 13);
    let flag = way_out(&message, "--accept-rollback");
    let message = refuse(run().arg(&flag), 12);
    assert!(message.contains("another place"), "{message}");
    let elsewhere = format!("--sink=files:{}", out_dir(home.path(), "elsewhere").display());
    let mut run = console(&broker, home.path(), &["--group-id=sales-n", &elsewhere, &flag]);
    run.arg("--checkpoint-dir").arg(&checkpoint);
    succeed(&mut run);
}

/// The flag with its lineage, as a refusal says it is to be typed.
fn way_out(message: &str, flag: &str) -> String {
    let start = message.find(&format!("{flag}=")).unwrap_or_else(|| panic!("{message}"));
    message[start..start + flag.len() + 33].to_owned()
}

#[test]
fn an_older_checkpoint_is_refused_until_the_rollback_is_accepted() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let checkpoint = home.path().join("checkpoint-r");
    let run = || available_now(&broker.address, "sales", home.path(), "r");
    send_sales(&broker.address, "sales", SALES);
    succeed(&mut run());
    copy_dir(&checkpoint, &home.path().join("older"));
    send_sales(&broker.address, "sales", &[("A", "1.00", 300)]);
    succeed(&mut run());
    let before = batch_files(&out_dir(home.path(), "r"));
    std::fs::remove_dir_all(&checkpoint).unwrap();
    copy_dir(&home.path().join("older"), &checkpoint);
    refuse(&mut run(), 13);
    assert_eq!(batch_files(&out_dir(home.path(), "r")), before, "a refusal changes nothing");
    succeed(run().arg("--accept-rollback"));
    assert_eq!(batch_files(&out_dir(home.path(), "r")), before, "computed again, the same");
    assert!(out_dir(home.path(), "r").join("_rolled_back").is_dir());
    succeed(&mut run());
}

#[test]
fn the_same_checkpoint_in_another_cluster_is_refused() {
    let first = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&first.address, "sales", SALES);
    succeed(&mut console(&first, home.path(), &[]));
    let second = Broker::start(&["sales:1"]);
    let output = console(&second, home.path(), &[]).output().unwrap();
    assert!(matches!(output.status.code(), Some(20)), "{:?} {}", output.status, stderr(&output));
}

#[test]
fn a_stopped_available_now_run_says_that_it_is_unfinished_and_the_next_one_finishes() {
    let broker = Broker::start(&["sales:3"]);
    let home = tempfile::tempdir().unwrap();
    produce(&broker.address, "sales", 50_000, &["--time-scale", "10"]);
    let run = || {
        let mut command = available_now(&broker.address, "sales", home.path(), "stop");
        command.args(["--max-offsets-per-trigger", "20"]).stderr(Stdio::null());
        command
    };
    let mut process = Process::start(&mut run());
    assert!(!process.ends_within(Duration::from_millis(400)), "it has more to do than that");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(143));
    let mut process = Process::start(&mut run());
    assert!(!process.ends_within(Duration::from_millis(300)), "it has more to do than that");
    process.signal(Signal::INT);
    assert_eq!(process.wait(), Some(130));
}

#[test]
fn a_reader_that_goes_away_ends_the_run_cleanly() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", SALES);
    let mut command = console(&broker, home.path(), &[]);
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    drop(process.0.stdout.take());
    assert_eq!(process.wait(), Some(0));
    let told = BufReader::new(process.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(!told.into_iter().any(|line| line.starts_with("error:")));
    let output = succeed(&mut console(&broker, home.path(), &[]));
    assert!(stdout(&output).starts_with("-------------------------------------------\nBatch: "));
    assert!(stdout(&output).contains("|B    |2 "), "what was not printed is printed now");
}

#[test]
fn no_broker_is_said_in_a_sentence_and_ends_with_22_when_a_timeout_is_given() {
    let home = tempfile::tempdir().unwrap();
    let mut command = sales_stream();
    command.args(["--brokers", "localhost:1", "--startup-timeout", "1s", "--checkpoint-dir"]);
    let message = refuse(command.arg(home.path()), 22);
    assert!(message.contains("sales-stream demo") && message.contains("--brokers"), "{message}");
}

/// A proxy on a port of its own. It takes every connection and, until there is a broker to pass them on to,
/// closes them.
struct Proxy {
    address: String,
    broker: Arc<Mutex<Option<String>>>,
    turned_away: Arc<AtomicUsize>,
}

impl Proxy {
    fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (broker, turned_away) = (Arc::<Mutex<Option<String>>>::default(), Arc::default());
        let proxy =
            Proxy { address, broker: Arc::clone(&broker), turned_away: Arc::clone(&turned_away) };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let behind = broker.lock().unwrap().clone();
                match behind.and_then(|broker| TcpStream::connect(broker).ok()) {
                    Some(broker) => pass_on(client.unwrap(), broker),
                    None => drop(turned_away.fetch_add(1, Ordering::Relaxed)),
                }
            }
        });
        proxy
    }
}

fn pass_on(client: TcpStream, broker: TcpStream) {
    let (from, to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
    for (mut from, mut to) in [(from, to), (broker, client)] {
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
}

#[test]
fn a_proxy_whose_broker_is_down_is_waited_for_and_then_gone_through() {
    let proxy = Proxy::start();
    let home = tempfile::tempdir().unwrap();
    let mut command = available_now(&proxy.address, "sales", home.path(), "a");
    let mut run = Process::start(command.stderr(Stdio::piped()));
    let waits = !run.ends_within(Duration::from_secs(6));
    let told = |run: &mut Process| std::io::read_to_string(run.0.stderr.take().unwrap()).unwrap();
    assert!(waits, "{}", told(&mut run));
    assert!(proxy.turned_away.load(Ordering::Relaxed) > 2, "it was tried again and again");
    let broker = Broker::start(&["sales:1"]);
    send_sales(&broker.address, "sales", SALES);
    *proxy.broker.lock().unwrap() = Some(broker.address.clone());
    let code = run.wait();
    assert_eq!(code, Some(0), "{}", told(&mut run));
    assert_eq!(results(&out_dir(home.path(), "a")).len(), 2);
}

#[test]
fn a_proxy_whose_broker_is_down_ends_with_22_when_a_timeout_is_given_in_tls_too() {
    let proxy = Proxy::start();
    let home = tempfile::tempdir().unwrap();
    for protocol in ["PLAINTEXT", "SSL"] {
        let mut command = available_now(&proxy.address, "sales", home.path(), "a");
        command.args(["--startup-timeout", "5s"]);
        command.env("SALES_STREAM_KAFKA_OPTIONS", format!("security.protocol={protocol}"));
        let message = refuse(&mut command, 22);
        assert!(
            message.contains("no broker answered") && message.contains("--brokers"),
            "{message}"
        );
    }
}

#[test]
fn a_port_of_another_security_protocol_ends_with_21_before_a_timeout() {
    let closing = Proxy::start();
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    // The second of them is the broker, which speaks no TLS.
    let brokers = format!("{},{}", closing.address, broker.address);
    let mut command = available_now(&brokers, "sales", home.path(), "a");
    command.args(["--startup-timeout", "60s"]);
    command.env("SALES_STREAM_KAFKA_OPTIONS", "security.protocol=SSL");
    let started = Instant::now();
    let message = refuse(&mut command, 21);
    assert!(message.contains("with TLS") && message.contains(&broker.address), "{message}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn a_stop_ends_a_start_at_once_while_a_port_is_asked() {
    // It takes connections, reads nothing and says nothing: the first is closed, questions wait.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, questions) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut first = [0; 1];
            // A question for TLS; whatever else comes is Kafka's own and closed.
            if client.read_exact(&mut first).is_ok() && first == [0x16] {
                asked.send(client).unwrap();
            }
        }
    });
    let home = tempfile::tempdir().unwrap();
    let mut run = Process::start(&mut available_now(&address, "sales", home.path(), "a"));
    let _kept_open = questions.recv_timeout(support::PATIENCE).unwrap();
    let asked_to_stop = Instant::now();
    run.signal(Signal::TERM);
    assert_eq!(run.wait(), Some(143), "not everything was read");
    assert!(asked_to_stop.elapsed() < Duration::from_secs(4), "{:?}", asked_to_stop.elapsed());
}

#[test]
fn a_topic_that_was_never_there_is_22_and_one_that_is_gone_is_20() {
    let other = Broker::start(&["other:1"]);
    let home = tempfile::tempdir().unwrap();
    let message = refuse(&mut console(&other, home.path(), &[]), 22);
    let hint = format!("topics create sales --partitions 3 --brokers {}`", other.address);
    assert!(message.contains(&hint), "{message}");
    assert!(!home.path().join("checkpoint").exists(), "a refused start leaves nothing behind");

    let broker = Broker::start(&["sales:1"]);
    send_sales(&broker.address, "sales", SALES);
    succeed(&mut console(&broker, home.path(), &[]));
    let message = refuse(&mut console(&other, home.path(), &[]), 20);
    assert!(message.contains("up to batch 1") && message.contains("lost"), "{message}");
}

#[test]
fn a_run_told_to_stop_while_no_broker_answers_says_where_it_stands() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", SALES);
    succeed(&mut console(&broker, home.path(), &[]));
    drop(broker);
    let mut command = sales_stream();
    command
        .args(["--brokers", "127.0.0.1:1", "--checkpoint-dir"])
        .arg(home.path().join("checkpoint"));
    let mut run = Process::start(command.stderr(Stdio::piped()));
    let mut lines = BufReader::new(run.0.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("waiting for it")));
    run.signal(Signal::TERM);
    assert_eq!(run.wait(), Some(0));
    let told: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(told.iter().any(|line| line.contains("goes on after batch 1")), "{told:?}");
}

#[test]
fn append_mode_explains_itself_to_a_new_query_only() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", &SALES[..2]);
    let first = stderr(&succeed(&mut console(&broker, home.path(), &[])));
    // The window of second 5 ends at 30, and the watermark is 30 s behind.
    assert!(first.contains("ends at 1970-01-01 00:00:30 UTC"), "{first}");
    assert!(first.contains("an event of 1970-01-01 00:01:00 UTC or later"), "{first}");
    send_sales(&broker.address, "sales", &[("B", "1.00", 40)]);
    let second = stderr(&succeed(&mut console(&broker, home.path(), &[])));
    assert!(!second.contains("append mode prints"), "{second}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let broker = Broker::start(&["sales:3"]);
    produce(&broker.address, "sales", 30_000, &["--time-scale", "60", "--stores", "20"]);
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let home = tempfile::tempdir().unwrap();
        let options = ["--max-offsets-per-trigger", "500", "--num-rows", "1000"];
        let mut command = console(&broker, home.path(), &options);
        command.arg(format!("--group-id=second-{code}"));
        // Nobody reads, so that the last batch cannot leave.
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert!(!process.ends_within(Duration::from_secs(2)), "nobody reads what it prints");
        process.signal(Signal::TERM);
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("a second signal ends at once")));
        assert!(!process.ends_within(Duration::from_millis(300)), "it waits for the reader");
        process.signal(second);
        assert!(process.ends_within(Duration::from_secs(5)), "it goes on");
        assert_eq!(process.wait(), Some(code));
    }
}

#[test]
fn triggers_are_aligned_to_the_clock() {
    const INTERVAL_MS: i64 = 2000;
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let mut producer = sales_stream();
    producer.args(["produce", "sales", "--brokers", &broker.address, "--rate", "20"]);
    let _producer = Process::start(producer.stdout(Stdio::null()).stderr(Stdio::null()));
    let mut command = console(&broker, home.path(), &["--trigger", "2s"]);
    let mut run = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(run.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "Batch: 5"));
    run.signal(Signal::TERM);
    let history = inspect(home.path())["batches"].clone();
    let times: Vec<i64> = history
        .as_array()
        .unwrap()
        .iter()
        .filter(|batch| batch["batch"].as_i64() > Some(0))
        .map(|batch| {
            let time: jiff::Timestamp = batch["time"].as_str().unwrap().parse().unwrap();
            time.as_millisecond()
        })
        .collect();
    // A busy machine may start one late, but not most of them.
    let aligned = times.iter().filter(|time| *time % INTERVAL_MS < INTERVAL_MS / 4).count();
    assert!(aligned * 2 > times.len(), "{times:?}");
    let mut ticks: Vec<i64> = times.iter().map(|time| time / INTERVAL_MS).collect();
    ticks.dedup();
    assert_eq!(ticks.len(), times.len(), "one batch a tick: {times:?}");
}

#[test]
fn every_transaction_is_a_row() {
    let broker = Broker::start(&["real-time-transactions:3"]);
    let home = tempfile::tempdir().unwrap();
    let output = succeed(
        sales_stream().args(["produce", "transactions", "--brokers", &broker.address]).args([
            "--events",
            "3",
            "--rate",
            "unlimited",
            "--seed",
            "1",
        ]),
    );
    assert!(stdout(&output).contains("KAFKA PRODUCER"));
    let output = succeed(&mut console(&broker, home.path(), &["--pipeline", "transactions"]));
    let text = stdout(&output);
    assert!(text.contains("|transaction_id|user_id|amount|type"), "{text}");
    assert_eq!(text.matches("|txn_000").count(), 3, "{text}");
}

#[test]
fn inspect_tells_offsets_watermarks_and_open_windows_beside_a_live_process() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    send_sales(&broker.address, "sales", SALES);
    let mut command = console(&broker, home.path(), &["--trigger", "0s"]);
    let mut live = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut lines = BufReader::new(live.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "Batch: 1"));
    assert!(lines.any(|line| line.unwrap().is_empty()));
    let view = inspect(home.path());
    assert_eq!(view["batch"], 1, "{view:#}");
    assert_eq!(view["pipeline"], "sales");
    assert_eq!(view["partitions"][0]["offset"], 3);
    assert_eq!(view["windows"][0]["window_start"], "1970-01-01T00:01:30Z");
    assert_eq!(view["windows"][0]["groups"], 1);
    live.signal(Signal::TERM);
    assert_eq!(live.wait(), Some(0), "looking inside disturbed nobody");
    assert_eq!(inspect(home.path())["batch"], 1);
}

#[test]
fn inspect_shows_what_is_open_in_sparks_way_too() {
    let broker = Broker::start(&["sales:1"]);
    send_sales(&broker.address, "sales", SALES);
    let kinds = [
        ("", "[window]\nduration = \"30s\"\nslide = \"15s\"", 2),
        ("", "[window]\nsession_gap = \"20s\"", 1),
        (
            "[drop_duplicates]\ncolumns = [\"store\"]\nevent_time = true",
            "[window]\nduration = \"30s\"",
            1,
        ),
    ];
    let sales = succeed(sales_stream().args(["pipeline", "show", "sales"]));
    let sales = stdout(&sales);
    for (index, (before, window, open)) in kinds.iter().enumerate() {
        let home = tempfile::tempdir().unwrap();
        let spec = home.path().join("spec.toml");
        let window = format!("{before}\n{window}\n");
        let text = sales.replace("[window]\nduration = \"30 seconds\"\n", &window);
        fs::write(&spec, text).unwrap();
        let group = format!("--group-id=spark-{index}");
        let options = ["--compat", "spark-3.5", &group, "--pipeline", spec.to_str().unwrap()];
        succeed(&mut console(&broker, home.path(), &options));
        let view = inspect(home.path());
        let windows = view["windows"].as_array().unwrap();
        assert_eq!(windows.len(), *open, "{view:#}");
        assert_eq!(view["remembered_keys"], u64::from(!before.is_empty()), "{view:#}");
        let looked = |key: &str| {
            let mut command = sales_stream();
            command.args(["inspect", "--json", "--key", key, "--checkpoint-dir"]);
            let output = succeed(command.arg(home.path().join("checkpoint")));
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
        };
        let found = looked("A");
        for window in found["windows"].as_array().unwrap() {
            assert_eq!(window["rows"][0]["store"], "A", "{found:#}");
            assert_eq!(window["rows"][0]["total_revenue_int"], 4, "{found:#}");
            assert_eq!(window["rows"][0]["window_end"], window["window_end"]);
        }
        assert_eq!(found["windows"].as_array().unwrap().len(), *open);
        assert_eq!(looked("B")["windows"], serde_json::json!([]), "B's windows are closed");
        let mut command = sales_stream();
        command.args(["inspect", "--checkpoint-dir"]).arg(home.path().join("checkpoint"));
        let table = stdout(&succeed(&mut command));
        assert!(table.contains("open window start"), "{table}");
    }
}

#[test]
fn a_stop_does_not_wait_for_ever_on_a_reader_that_reads_nothing() {
    let broker = Broker::start(&["sales:3"]);
    let home = tempfile::tempdir().unwrap();
    produce(&broker.address, "sales", 30_000, &["--time-scale", "60", "--stores", "20"]);
    let options = ["--max-offsets-per-trigger", "500", "--num-rows", "1000"];
    let mut command = console(&broker, home.path(), &options);
    command.args(["--shutdown-timeout", "1s"]);
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let waits = !process.ends_within(Duration::from_secs(2));
    assert!(waits, "what nobody has read is not called finished");
    process.signal(Signal::TERM);
    assert!(process.ends_within(Duration::from_secs(10)), "--shutdown-timeout is heeded");
    assert_eq!(process.wait(), Some(143), "it says that a batch was left");
    let output = succeed(&mut console(&broker, home.path(), &["--num-rows", "1000"]));
    assert!(stdout(&output).contains("Batch: "), "the next start publishes it");
}

#[test]
fn a_backup_is_restored_and_gone_on_from_once_its_rollback_is_accepted() {
    let broker = Broker::start(&["sales:1"]);
    let home = tempfile::tempdir().unwrap();
    let checkpoint = home.path().join("checkpoint-b");
    let run = || available_now(&broker.address, "sales", home.path(), "b");
    let care = |verb: &str| {
        let mut command = sales_stream();
        command.args(["checkpoints", verb]);
        if verb != "verify" {
            command.arg(home.path().join("backup"));
        }
        command.arg("--checkpoint-dir").arg(&checkpoint);
        command
    };
    send_sales(&broker.address, "sales", SALES);
    succeed(&mut run());
    succeed(&mut care("backup"));
    send_sales(&broker.address, "sales", &[("A", "1.00", 300)]);
    succeed(&mut run());
    let before = batch_files(&out_dir(home.path(), "b"));
    std::fs::remove_dir_all(&checkpoint).unwrap();
    succeed(&mut care("restore"));
    succeed(&mut care("verify"));
    refuse(&mut run(), 13);
    std::fs::remove_dir_all(&checkpoint).unwrap();
    succeed(care("restore").arg("--accept-rollback"));
    succeed(&mut run());
    assert_eq!(batch_files(&out_dir(home.path(), "b")), before, "computed again, the same");
    succeed(&mut run());
    std::fs::remove_dir_all(&checkpoint).unwrap();
    let lost = refuse(&mut run(), 13);
    succeed(care("restore").arg("--accept-rollback"));
    refuse(&mut run(), 13);
    succeed(run().arg(way_out(&lost, "--accept-rollback")));
    assert_eq!(batch_files(&out_dir(home.path(), "b")), before, "computed again, the same");
    succeed(&mut run());
}
