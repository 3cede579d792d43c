//! `sales-stream demo`: the whole story on one machine with nothing but this binary.
//!
//! An embedded broker, a producer and the processor run as processes of their own, so that SIGKILL is
//! the real thing. The proof at the end compares what the killed and restarted processor wrote with a
//! run that was never killed and with sums recomputed straight from the topic; it is made to be able
//! to fail.
//!
//! Not here: the processor (`run`); the embedded broker (`crate::broker`).

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::stop::Stop;

/// Events produced; the embedded broker holds a hundred times as many.
const EVENTS: u64 = 1000;
/// Events a second; with [`TIME_SCALE`] a second shows one window of 30 seconds.
const RATE: u64 = 50;
/// Seconds of event time in a second.
const TIME_SCALE: u64 = 30;
/// Fixed, so that every demo shows the same sales.
const START_TIME: &str = "2025-09-02T08:00:00Z";
const WINDOW_S: i64 = 30;
const DELAY_S: i64 = 30;
/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What ended a demo early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A process or a file did not do its part.
    #[error("{attempt} failed: {problem}")]
    Failed {
        /// What was attempted.
        attempt: String,
        /// What went wrong.
        problem: String,
    },
    /// It was told to stop.
    #[error("stopped before its proof")]
    Stopped,
    /// The reader of stdout has seen enough.
    #[error("the reader of stdout is gone")]
    Closed,
}

fn failed(attempt: impl Into<String>, problem: impl ToString) -> DemoError {
    DemoError::Failed { attempt: attempt.into(), problem: problem.to_string() }
}

/// Runs the demo, telling its story on `out`; whether the proof held.
///
/// # Errors
/// A part that could not be started or did not end in time, a request to stop, or a reader that has
/// seen enough. Every process it started is gone in any case.
pub fn run(out: &mut dyn Write, stop: &Stop) -> Result<bool, DemoError> {
    let home =
        tempfile::tempdir().map_err(|error| failed("making a temporary directory", error))?;
    let mut tell = |text: &str| print(out, format_args!("» {text}"));
    let mut stage = Stage { home: home.path(), stop, broker: String::new() };

    tell("an embedded Kafka-protocol broker, in a process of its own")?;
    let (_broker, address) = stage.start_broker()?;
    stage.broker = address;
    tell(&format!("it listens at {}; topic sales has 3 partitions", stage.broker))?;
    tell(
        "the processor starts on an empty topic, checkpointing every 2 seconds; windows of 30 s, 30 s watermark",
    )?;
    let mut processor = stage.start_processor("killed")?;
    tell(&format!(
        "a producer sends {EVENTS} sales, {RATE} a second, {TIME_SCALE} s of event time each second"
    ))?;
    let mut producer = stage.start_producer()?;

    stage.wait_for(|| stage.batches_written("killed") >= 4, "the first windows to close")?;
    tell("kill -9: the processor is gone in the middle of its work")?;
    processor.kill_hard()?;
    stage.pause(Duration::from_secs(1))?;
    tell("it starts again with the same command, from its checkpoint")?;
    let mut processor = stage.start_processor("killed")?;
    producer.wait(PATIENCE, stop)?;
    tell("the producer is done; one more kill -9, and a last start that reads what is left")?;
    processor.kill_hard()?;
    stage.run_to_the_end("killed")?;
    tell("for comparison: the same topic by a processor that is never killed")?;
    stage.run_to_the_end("straight")?;

    let recount = recount(&stage.topic_lines()?)?;
    let proof = Proof::new(&stage.results("killed")?, &stage.results("straight")?, &recount);
    let held = proof.held();
    print(out, format_args!("\n{proof}\n\n{NEXT}"))?;
    Ok(held)
}

fn print(out: &mut dyn Write, line: std::fmt::Arguments<'_>) -> Result<(), DemoError> {
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => DemoError::Closed,
        _ => failed("writing to stdout", error),
    })
}

/// Sleeps for `time`, unless nobody wants the rest of the story.
fn pause(time: Duration, stop: &Stop) -> Result<(), DemoError> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
    let deadline = Instant::now() + time;
    loop {
        if stdout_is_closed() {
            return Err(DemoError::Closed);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if stop.wait_timeout(left.min(BETWEEN_LOOKS)) {
            return Err(DemoError::Stopped);
        }
    }
}

/// Whether stdout is a pipe whose reader is gone, found out without writing to it.
fn stdout_is_closed() -> bool {
    let mut stdout = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
    // SAFETY: one entry, which lives during the call, that does not wait.
    let found = unsafe { libc::poll(&raw mut stdout, 1, 0) };
    found == 1 && stdout.revents & libc::POLLERR != 0
}

const NEXT: &str = "\
What to type next:
  sales-stream --help                                      every option, with its default
  scripts/kafka.sh start                                   a real Kafka, then: topics create sales
  sales-stream --checkpoint-dir ./checkpoints              the processor; `produce sales` beside it";

/// Where the demo plays.
struct Stage<'a> {
    home: &'a Path,
    stop: &'a Stop,
    broker: String,
}

impl Stage<'_> {
    fn start_broker(&self) -> Result<(Process, String), DemoError> {
        let mut command = own(&["broker", "--topic", "sales:3"])?;
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start("the embedded broker", &mut command)?;
        let stdout = process.child.stdout.take().expect("it is piped");
        let mut address = String::new();
        BufReader::new(stdout)
            .read_line(&mut address)
            .map_err(|error| failed("reading the broker's address", error))?;
        let address = address.trim().to_owned();
        if address.is_empty() {
            return Err(failed("starting the embedded broker", "it ended without an address"));
        }
        Ok((process, address))
    }

    fn start_producer(&self) -> Result<Process, DemoError> {
        let (events, rate, scale) = (EVENTS.to_string(), RATE.to_string(), TIME_SCALE.to_string());
        let mut command = own(&[
            "produce",
            "sales",
            "--brokers",
            &self.broker,
            "--events",
            &events,
            "--rate",
            &rate,
            "--time-scale",
            &scale,
            "--out-of-order",
            "10s",
            "--stores",
            "3",
            "--seed",
            "1",
            "--start-time",
            START_TIME,
        ])?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Process::start("the producer", &mut command)
    }

    fn start_processor(&self, name: &str) -> Result<Process, DemoError> {
        let mut command = self.processor(name, "2s")?;
        command.args(["--sink", "console"]);
        command.stderr(Stdio::null());
        Process::start("the processor", &mut command)
    }

    fn run_to_the_end(&self, name: &str) -> Result<(), DemoError> {
        let mut command = self.processor(name, "available-now")?;
        command.stderr(Stdio::null());
        if name == "killed" {
            command.args(["--sink", "console"]);
        }
        let status = Process::start("the processor", &mut command)?.wait(PATIENCE, self.stop)?;
        if status.success() { Ok(()) } else { Err(failed("the processor's last run", status)) }
    }

    fn processor(&self, name: &str, trigger: &str) -> Result<Command, DemoError> {
        let mut command = own(&[
            "--brokers",
            &self.broker,
            "--starting-offsets",
            "earliest",
            "--trigger",
            trigger,
            "--group-id",
            &format!("demo-{name}"),
        ])?;
        command.arg("--checkpoint-dir").arg(self.home.join(format!("checkpoints-{name}")));
        command.arg("--sink").arg(format!("files:{}", self.out_dir(name).display()));
        Ok(command)
    }

    fn out_dir(&self, name: &str) -> PathBuf {
        self.home.join(format!("out-{name}"))
    }

    fn batch_files(&self, name: &str) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.out_dir(name))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn batches_written(&self, name: &str) -> usize {
        self.batch_files(name).map_or(0, |files| files.len())
    }

    fn results(&self, name: &str) -> Result<Vec<Window>, DemoError> {
        let attempt = || format!("reading the results of the run {name}");
        let files = self.batch_files(name).map_err(|error| failed(attempt(), error))?;
        let mut windows = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).map_err(|error| failed(attempt(), error))?;
            for line in text.lines() {
                let row: ResultRow =
                    serde_json::from_str(line).map_err(|error| failed(attempt(), error))?;
                windows.push(((row.store, row.window_start), row.total_revenue_int));
            }
        }
        Ok(windows)
    }

    fn topic_lines(&self) -> Result<Vec<String>, DemoError> {
        let events = EVENTS.to_string();
        let mut command = own(&[
            "consume",
            "sales",
            "--brokers",
            &self.broker,
            "--from-beginning",
            "--max",
            &events,
        ])?;
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed("reading the topic", error))?;
        let text =
            String::from_utf8(output.stdout).map_err(|error| failed("reading the topic", error))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn wait_for(&self, done: impl Fn() -> bool, what: &str) -> Result<(), DemoError> {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > deadline {
                return Err(failed(format!("waiting for {what}"), "it took too long"));
            }
            self.pause(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn pause(&self, time: Duration) -> Result<(), DemoError> {
        pause(time, self.stop)
    }
}

/// This binary with other arguments.
fn own(arguments: &[&str]) -> Result<Command, DemoError> {
    let program = std::env::current_exe().map_err(|error| failed("finding this binary", error))?;
    let mut command = Command::new(program);
    // What the user set for real runs must not bend the demo.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SALES_STREAM_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// A child process that does not outlive the demo.
struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    fn start(name: &'static str, command: &mut Command) -> Result<Process, DemoError> {
        let child = command.spawn().map_err(|error| failed(format!("starting {name}"), error))?;
        Ok(Process { name, child })
    }

    fn kill_hard(&mut self) -> Result<(), DemoError> {
        if let Ok(Some(status)) = self.child.try_wait() {
            if stdout_is_closed() {
                return Err(DemoError::Closed);
            }
            return Err(failed(self.name, format!("it ended by itself: {status}")));
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::KILL).map_err(|error| failed("kill -9", error))?;
        self.child.wait().map_err(|error| failed("kill -9", error))?;
        Ok(())
    }

    fn wait(&mut self, patience: Duration, stop: &Stop) -> Result<ExitStatus, DemoError> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.child.try_wait().map_err(|error| failed(self.name, error))?;
            if let Some(status) = ended {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(failed(self.name, "it took too long"));
            }
            pause(Duration::from_millis(20), stop)?;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(serde::Deserialize)]
struct ResultRow {
    store: String,
    total_revenue_int: i64,
    window_start: String,
}

#[derive(serde::Deserialize)]
struct Sale<'a> {
    store: &'a str,
    #[serde(borrow)]
    price: &'a serde_json::value::RawValue,
    ts: i64,
}

/// A result: store and window start, with its total.
type Window = ((String, String), i64);

/// Closed windows and their totals from the raw records, by nothing the processor uses.
fn recount(lines: &[String]) -> Result<BTreeMap<(String, String), i64>, DemoError> {
    let mut cents: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let mut newest = i64::MIN;
    for line in lines {
        let sale: Sale<'_> =
            serde_json::from_str(line).map_err(|error| failed("recounting the topic", error))?;
        let price = cents_of(sale.price.get())
            .ok_or_else(|| failed("recounting the topic", format!("price {}", sale.price)))?;
        let start = sale.ts.div_euclid(WINDOW_S) * WINDOW_S;
        *cents.entry((sale.store.to_owned(), start)).or_default() += price;
        newest = newest.max(sale.ts);
    }
    Ok(cents
        .into_iter()
        .filter(|((_, start), _)| start + WINDOW_S <= newest - DELAY_S)
        .map(|((store, start), cents)| ((store, iso(start)), cents / 100))
        .collect())
}

fn cents_of(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: i64 = format!("{fraction:0<2}").parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 100 + fraction)
}

fn iso(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// What the comparison found.
#[derive(Debug, PartialEq, Eq)]
struct Proof {
    windows: usize,
    kills: usize,
    missing: usize,
    doubled: usize,
    wrong: usize,
}

impl Proof {
    fn new(
        killed: &[Window],
        straight: &[Window],
        recount: &BTreeMap<(String, String), i64>,
    ) -> Proof {
        let mut proof =
            Proof { windows: recount.len(), kills: 2, missing: 0, doubled: 0, wrong: 0 };
        for run in [killed, straight] {
            let mut seen: BTreeMap<&(String, String), i64> = BTreeMap::new();
            for (window, total) in run {
                proof.doubled += usize::from(seen.insert(window, *total).is_some());
                proof.wrong += usize::from(recount.get(window) != Some(total));
            }
            proof.missing += recount.keys().filter(|window| !seen.contains_key(window)).count();
        }
        proof
    }

    fn held(&self) -> bool {
        self.windows > 0 && self.missing + self.doubled + self.wrong == 0
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} results after {} kill -9, compared with a run never killed and with sums \
             recomputed from the topic: missing {}, doubled {}, wrong {}",
            if self.held() { "PROOF" } else { "NOT PROVEN" },
            self.windows,
            self.kills,
            self.missing,
            self.doubled,
            self.wrong
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(store: &str, total: i64) -> Window {
        ((store.to_owned(), "2025-09-02T08:00:00Z".to_owned()), total)
    }

    fn check(killed: &[Window], expected: (usize, usize, usize)) {
        let recount = [window("a", 1), window("b", 2)].into_iter().collect();
        let proof = Proof::new(killed, &[window("a", 1), window("b", 2)], &recount);
        assert_eq!((proof.missing, proof.doubled, proof.wrong), expected);
        assert_eq!(proof.held(), expected == (0, 0, 0));
    }

    #[test]
    fn the_proof_says_what_is_missing_doubled_or_wrong() {
        check(&[window("a", 1), window("b", 2)], (0, 0, 0));
        check(&[window("a", 1)], (1, 0, 0));
        check(&[window("a", 1), window("b", 2), window("a", 1)], (0, 1, 0));
        check(&[window("a", 1), window("b", 3)], (0, 0, 1));
        check(&[window("a", 1), window("b", 2), window("c", 2)], (0, 0, 1));
    }

    #[test]
    fn the_recount_keeps_only_windows_that_closed() {
        let line = |ts: i64, price: &str| {
            format!(r#"{{"store":"a","item":"i","price":{price},"ts":{ts}}}"#)
        };
        let lines = [line(0, "1.25"), line(29, "0.5"), line(30, "7.00"), line(89, "1.00")];
        let recount = recount(&lines).unwrap();
        let expected = (("a".to_owned(), "1970-01-01T00:00:00Z".to_owned()), 1);
        assert_eq!(recount.into_iter().collect::<Vec<_>>(), [expected]);
    }
}
