//! What the trials stand on: a topic in an embedded broker of its own, what an undisturbed run makes
//! of it, and one trial's directories, runs and settlement.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{
    points,
    support::{Broker, Process, copy_dir, sale_json, sales_stream, send, succeed},
};

/// No run may take longer; an undisturbed one takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ninety sales in thousands of seconds: with [`LIMIT`], fifty batches, most of which close a window.
const SALES: u64 = 590;
const LIMIT: &str = "12";
/// 2025-09-02T08:00:00Z.
const BEGINNING: i64 = 1_756_800_000;

/// Files by their path below the run's directory.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The topic, the preloaded library, and what is right.
pub struct Ground {
    pub broker: Broker,
    pub shim: PathBuf,
    root: tempfile::TempDir,
    right: Files,
    trials: AtomicU64,
    pub kills: AtomicU64,
    pub faults: AtomicU64,
}

impl Ground {
    /// Fills the topic and runs it once undisturbed; `Err` says why that cannot be tried here.
    pub fn prepare() -> Result<Ground, String> {
        // Syncs cost nothing there, and what they are worth is not tried here.
        let fast = Path::new("/dev/shm");
        let root = tempfile::tempdir_in(fast).or_else(|_| tempfile::tempdir());
        let root = root.expect("a directory can be made");
        let shim = compile(root.path())?;
        let broker = Broker::start(&["sales:3", "real-time-transactions:3"]);
        fill(&broker.address);
        points::fill_transactions(&broker.address);
        let (trials, kills, faults) = Default::default();
        let mut ground = Ground { broker, shim, root, right: Files::new(), trials, kills, faults };
        let straight = Trial::new(&ground);
        let ended = straight.run(&[]);
        assert_eq!(ended.code, Some(0), "an undisturbed run: {ended}");
        let right = straight.files();
        drop(straight);
        ground.right = right;
        assert!(ground.right.len() > 40, "most batches have results or dead letters");
        Ok(ground)
    }
}

/// Compiles the preloaded library.
fn compile(root: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/io_faults.c");
    let target = root.join("io_faults.so");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&target).arg(source).arg("-ldl");
    match command.output() {
        Ok(output) if output.status.success() => Ok(target),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("there is no C compiler: {error}")),
    }
}

/// Sales out of order, late and malformed ones, and some more by hand.
fn fill(brokers: &str) {
    let mut produce = sales_stream();
    produce
        .args(["produce", "sales", "--brokers", brokers, "--rate", "unlimited", "--seed", "5"])
        .args(["--events", &SALES.to_string(), "--time-scale", "2500", "--stores", "4"])
        .args(["--start-time", &BEGINNING.to_string(), "--out-of-order", "8s"])
        .args(["--late-fraction", "0.03", "--malformed-fraction", "0.03"]);
    succeed(&mut produce);
    let late = sale_json("store-1", "1000.00", BEGINNING - 3_600);
    let broken: &[u8] = b"{\"store\":\"store-";
    for partition in 0..3 {
        send(brokers, "sales", partition, &[&late, broken, &late]);
    }
}

/// How a run ended.
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub hung: bool,
    pub stderr: String,
    /// The calls that were logged.
    pub calls: Vec<Call>,
}

impl Ended {
    /// The call that the fault befell first.
    pub fn struck(&self) -> Option<&Call> {
        self.calls.iter().find(|call| call.struck)
    }

    /// The last line that says what was wrong.
    pub fn error(&self) -> &str {
        let start = self.stderr.rfind("error: ").unwrap_or(self.stderr.len());
        self.stderr[start..].trim()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { code, signal, hung, stderr, .. } = self;
        let last: Vec<_> = stderr.lines().rev().take(4).collect();
        write!(f, "code {code:?} signal {signal:?}{}", if *hung { " HUNG" } else { "" })?;
        last.iter().rev().try_for_each(|line| write!(f, "\n      | {line}"))
    }
}

/// One line of the preloaded library's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub struck: bool,
    pub number: usize,
    pub name: String,
    /// Below the run's directory.
    pub path: String,
}

/// One pipeline's life: its directories, and a consumer group of its own.
pub struct Trial<'a> {
    ground: &'a Ground,
    pub home: PathBuf,
    group: String,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl<'a> Trial<'a> {
    /// Nothing is there yet.
    pub fn new(ground: &'a Ground) -> Trial<'a> {
        let number = ground.trials.fetch_add(1, Ordering::Relaxed);
        let home = ground.root.path().join(format!("trial-{number}"));
        fs::create_dir_all(home.join("run")).expect("a directory can be made");
        Trial { ground, home, group: format!("trial-{number}") }
    }

    /// What another left, under a group that Kafka has not seen yet.
    pub fn copy_of(other: &Trial<'a>) -> Trial<'a> {
        let copy = Trial::new(other.ground);
        copy_dir(&other.below(), &copy.below());
        copy
    }

    /// Everything a run writes is below this.
    pub fn below(&self) -> PathBuf {
        self.home.join("run")
    }

    /// The run itself; paths are relative, so that a copy of what it left is as good.
    pub fn command(&self) -> Command {
        self.command_on("sales", LIMIT)
    }

    /// The same on another topic, with so many records a batch.
    pub fn command_on(&self, topic: &str, limit: &str) -> Command {
        let mut command = self.program();
        command
            .args(["--brokers", &self.ground.broker.address, "--topic", topic])
            .args(["--starting-offsets", "earliest", "--trigger", "available-now"])
            .args(["--max-offsets-per-trigger", limit, "--group-id", &self.group])
            .args(["--checkpoint-dir", "checkpoint", "--sink", "files:out"])
            .args(["--dead-letter", "files:letters", "--progress", "jsonl:progress"]);
        command
    }

    /// The program with planted faults, in this trial's directory.
    pub fn program(&self) -> Command {
        self.program_of(env!("CARGO_BIN_EXE_sales-stream-faults"))
    }

    /// Another program there.
    pub fn program_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SALES_STREAM_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0").current_dir(self.below());
        command
    }

    /// One run with these variables set, to its end.
    pub fn run(&self, variables: &[(&str, String)]) -> Ended {
        self.carry_out(&mut self.command(), variables)
    }

    /// The same with every call logged.
    pub fn run_under(&self, variables: &[(&str, String)]) -> Ended {
        self.carry_out_under(&mut self.command(), variables)
    }

    /// One run of this command with the library preloaded.
    pub fn carry_out_under(&self, command: &mut Command, variables: &[(&str, String)]) -> Ended {
        command
            .env("LD_PRELOAD", &self.ground.shim)
            .env("IO_FAULTS_BELOW", self.below())
            .env("IO_FAULTS_LOG", self.home.join("calls"))
            .env("IO_FAULTS_LOG_ALL", "1");
        self.carry_out(command, variables)
    }

    /// One run of this command to its end.
    pub fn carry_out(&self, command: &mut Command, variables: &[(&str, String)]) -> Ended {
        let (said, log) = (self.home.join("stderr"), self.home.join("calls"));
        let _ = fs::remove_file(&log);
        command.stdout(Stdio::null());
        command.stderr(File::create(&said).expect("a file can be made"));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start(command);
        let deadline = Instant::now() + PATIENCE;
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            status = process.0.try_wait().expect("a child can be asked");
            if status.is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(process);
        let ended = Ended {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            hung: status.is_none(),
            stderr: String::from_utf8_lossy(&fs::read(said).unwrap_or_default()).into_owned(),
            calls: calls(&log, &self.below()),
        };
        self.ground.kills.fetch_add(u64::from(ended.signal == Some(9)), Ordering::Relaxed);
        let faults = variables.iter().any(|(name, _)| name.ends_with("_AT"));
        self.ground.faults.fetch_add(u64::from(faults), Ordering::Relaxed);
        ended
    }

    /// What anyone can see of the results and dead letters.
    pub fn files(&self) -> Files {
        let mut found = Files::new();
        for directory in ["out", "letters"] {
            let Ok(entries) = fs::read_dir(self.below().join(directory)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with(['.', '_']) {
                    let mut bytes = fs::read(entry.path()).expect("a file can be read");
                    if directory == "letters" {
                        bytes = sorted_lines(&bytes);
                    }
                    found.insert(format!("{directory}/{name}"), bytes);
                }
            }
        }
        found
    }

    /// What is there is part of what is right, byte for byte; all of it, where that is wanted.
    pub fn compare(&self, all: bool) -> Result<(), String> {
        let found = self.files();
        for (name, bytes) in &found {
            match self.ground.right.get(name) {
                None => return Err(format!("{name} should not be there")),
                Some(right) if right != bytes => return Err(format!("{name} differs")),
                Some(_) => {}
            }
        }
        match self.ground.right.keys().find(|name| !found.contains_key(*name)) {
            Some(missing) if all => Err(format!("{missing} is missing")),
            _ => Ok(()),
        }
    }

    /// `checkpoints verify` finds nothing wrong; before a restart there may be nothing yet, or what the
    /// next start drops.
    pub fn verify(&self, is_before: bool) -> Result<(), String> {
        let mut command = self.program();
        command.args(["checkpoints", "verify", "--checkpoint-dir", "checkpoint"]);
        let ended = self.carry_out(&mut command, &[]);
        match ended.code {
            Some(0) => Ok(()),
            Some(1) if is_before => Ok(()),
            Some(11) if is_before && ended.error().contains("the next start drops it") => Ok(()),
            _ => Err(format!("verify: {ended}")),
        }
    }

    /// A plain start finishes the work and everything is right.
    pub fn settle(&self) -> Result<(), String> {
        self.compare(false).map_err(|problem| format!("before the restart: {problem}"))?;
        self.verify(true).map_err(|problem| format!("before the restart: {problem}"))?;
        let ended = self.run(&[]);
        if ended.code != Some(0) {
            return Err(format!("the restart: {ended}"));
        }
        self.compare(true)?;
        self.verify(false)?;
        let left = ["out", "letters"].map(|directory| self.below().join(directory));
        for entry in left.iter().flat_map(|path| fs::read_dir(path).into_iter().flatten().flatten())
        {
            if entry.file_name().to_string_lossy().ends_with(".tmp") {
                return Err(format!("{} is left", entry.path().display()));
            }
        }
        Ok(())
    }
}

/// Dead letters of one batch are in the order in which partitions answered.
fn sorted_lines(bytes: &[u8]) -> Vec<u8> {
    let mut lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

fn calls(log: &Path, below: &Path) -> Vec<Call> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let below = format!("{}/", below.display());
    let call = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let struck = words.next()? == "F";
        let number = words.next()?.parse().ok()?;
        let name = words.next()?.to_owned();
        let path = words.next()?;
        let path = path.strip_prefix(&below).unwrap_or(path).to_owned();
        Some(Call { struck, number, name, path })
    };
    let mut calls: Vec<_> = text.lines().filter_map(call).collect();
    calls.sort_by_key(|call| call.number);
    calls
}
