//! Every named place: a run of each kind is ended there, and what comes after makes everything right.
//!
//! A panic ends the process with SIGABRT (134 in a shell) on whatever thread it is.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::{
    Failures, Tier,
    calls::Counts,
    every,
    ground::{Ended, Ground, Trial},
    support::{batch_files, sales_stream, send, succeed},
};

/// A run that is ended at places, on top of what an earlier run left.
struct Scenario<'a> {
    name: &'static str,
    left: Trial<'a>,
    /// What is done to a copy of that before.
    prepare: fn(&Trial<'_>),
    /// The command that is ended.
    command: fn(&Trial<'_>) -> Command,
    /// The places, each with the occurrences to try.
    places: Vec<(&'static str, Vec<u32>)>,
    /// Another fault that makes the run come by.
    with: &'static str,
    /// What makes it right, and looks that it is.
    settle: fn(&Trial<'_>) -> Result<(), String>,
}

struct Case<'s, 'a> {
    scenario: &'s Scenario<'a>,
    place: &'static str,
    occurrence: u32,
    action: &'static str,
}

/// Every place in every kind of run.
pub fn points(ground: &Ground, tier: &Tier, counts: &mut Counts) -> Failures {
    let mut failures = Failures::default();
    let scenarios = [
        from_nothing(ground),
        again(ground),
        more_sinks(ground),
        fewer_sinks(ground),
        rollback(ground),
        start_over(ground),
        backup(ground),
        restore(ground),
        chunks(ground),
        orphans(ground),
        discarded(ground),
    ];
    let mut cases = Vec::new();
    for scenario in &scenarios {
        for (place, occurrences) in &scenario.places {
            for (index, &occurrence) in occurrences.iter().enumerate() {
                let actions: &[_] = match index {
                    0 => &["kill", "panic", "exit"],
                    _ => &["kill"],
                };
                let case = |action| Case { scenario, place, occurrence, action };
                cases.extend(actions.iter().map(|action| case(*action)));
            }
        }
    }
    let reached = Mutex::new(BTreeSet::new());
    failures.extend(&every(tier, "named places", &cases, |case| {
        let mut outcome = attempt(case);
        // On a fast machine a batch may be whole before its first chunk is written; then a request to
        // stop comes too late to drop it.
        for _ in 0..40 {
            let is_late = |problem: &String| problem.starts_with("it ended with code Some(143)");
            if case.scenario.name != "discarded" || !outcome.as_ref().is_err_and(is_late) {
                break;
            }
            outcome = attempt(case);
        }
        let was_reached = outcome.map_err(|problem| {
            let Case { scenario, place, occurrence, action } = case;
            format!("{}: {place}#{occurrence}={action}: {problem}", scenario.name)
        })?;
        if was_reached {
            reached.lock().unwrap_or_else(PoisonError::into_inner).insert(case.place);
        }
        Ok(())
    }));
    counts.points += cases.len() as u64;
    let reached = reached.into_inner().unwrap_or_else(PoisonError::into_inner);
    for name in names() {
        if !reached.contains(name.as_str()) {
            failures.add(&format!("no run came by {name}"));
        }
    }
    failures
}

/// The names of all places, from the program itself.
fn names() -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sales-stream-faults"));
    let listed = succeed(command.env("SALES_STREAM_FAULT", "list"));
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

/// Ends a run at a place and settles what it left; whether it came by.
fn attempt(case: &Case<'_, '_>) -> Result<bool, String> {
    let Case { scenario, place, occurrence, action } = case;
    let trial = Trial::copy_of(&scenario.left);
    (scenario.prepare)(&trial);
    let fault = format!("{place}#{occurrence}={action}{}", scenario.with);
    let ended = trial.carry_out(&mut (scenario.command)(&trial), &[("SALES_STREAM_FAULT", fault)]);
    let was_reached = judge(action, *occurrence == 1, &ended)?;
    (scenario.settle)(&trial)?;
    Ok(was_reached)
}

fn judge(action: &str, must_come_by: bool, ended: &Ended) -> Result<bool, String> {
    let is_right = match action {
        "kill" => ended.signal == Some(9),
        // 134 in a shell.
        "panic" => ended.signal == Some(6) && ended.stderr.contains("planted at"),
        _ => ended.code == Some(99),
    };
    match (is_right, ended.code) {
        (true, _) => Ok(true),
        (false, Some(0)) if !must_come_by => Ok(false),
        _ => Err(format!("it ended with {ended}")),
    }
}

fn left_at<'a>(ground: &'a Ground, fault: &str) -> Trial<'a> {
    let trial = Trial::new(ground);
    leave_at(&trial, &mut trial.command(), fault);
    trial
}

fn leave_at(trial: &Trial<'_>, command: &mut Command, fault: &str) {
    let ended = trial.carry_out(command, &[("SALES_STREAM_FAULT", format!("{fault}=kill"))]);
    assert_eq!(ended.signal, Some(9), "{fault}: {ended}");
}

fn once(places: &[&'static str]) -> Vec<(&'static str, Vec<u32>)> {
    places.iter().map(|place| (*place, vec![1])).collect()
}

/// The ordinary run on top of what was left, settled by a plain start.
fn plain<'a>(
    name: &'static str,
    left: Trial<'a>,
    places: Vec<(&'static str, Vec<u32>)>,
) -> Scenario<'a> {
    Scenario {
        name,
        left,
        prepare: |_| {},
        command: |trial| trial.command(),
        places,
        with: "",
        settle: |trial| trial.settle(),
    }
}

const OF_A_START: [&str; 5] = ["facts-read", "decided", "opened", "incarnation-counted", "loaded"];

fn from_nothing(ground: &Ground) -> Scenario<'_> {
    let mut places = once(&OF_A_START);
    places.extend(once(&["fresh-begun", "ending"]));
    // First, middle and last of 51 batches; of results and dead letters.
    for place in ["planned", "before-persist", "after-persist", "before-announce", "after-announce"]
    {
        places.push((place, vec![1, 26, 51]));
    }
    for place in ["before-commit", "before-report", "after-report"] {
        places.push((place, vec![1, 26, 51]));
    }
    for place in ["before-publish", "after-publish", "before-mark", "after-mark"] {
        places.push((place, vec![1, 2, 51, 52, 101, 102]));
    }
    for place in ["file-written", "file-synced", "file-renamed"] {
        places.push((place, vec![1, 2, 3, 4, 40, 70, 71, 72]));
    }
    for place in ["committing", "committed"] {
        places.push((place, vec![1, 2, 5]));
    }
    for place in ["owner-written", "sink-begun"] {
        places.push((place, vec![1, 2]));
    }
    plain("from nothing", Trial::new(ground), places)
}

/// The newest batch is durable, announced, and in the first sink only.
fn again(ground: &Ground) -> Scenario<'_> {
    let mut places = once(&OF_A_START);
    places.extend(once(&["before-republish", "after-republish", "file-found", "planned"]));
    places.extend(once(&["before-announce", "after-announce", "before-commit"]));
    for place in ["before-publish", "after-publish", "before-mark", "after-mark", "sink-begun"] {
        places.push((place, vec![1, 2]));
    }
    for place in ["file-written", "file-synced", "file-renamed", "committing", "committed"] {
        places.push((place, vec![1]));
    }
    plain("again", left_at(ground, "after-publish#93"), places)
}

fn with_more_sinks(trial: &Trial<'_>) -> Command {
    let mut command = trial.command();
    command.args(["--sink", "files:more", "--sink", "none"]);
    command
}

/// Goes on with another sink, which begins with the next batch.
fn more_sinks(ground: &Ground) -> Scenario<'_> {
    Scenario {
        name: "more sinks",
        left: left_at(ground, "before-persist#46"),
        prepare: |_| {},
        command: with_more_sinks,
        places: vec![("sink-admitted", vec![1, 2]), ("sink-begun", vec![1, 2, 3, 4])],
        with: "",
        settle: |trial| {
            succeed_in(trial, &mut with_more_sinks(trial))?;
            let (out, more) = (trial.below().join("out"), trial.below().join("more"));
            let (out, more) = (batch_files(&out), batch_files(&more));
            let same = more.iter().all(|(name, bytes)| out.get(name) == Some(bytes));
            if more.is_empty() || !same {
                return Err("the new sink has something else".to_owned());
            }
            trial.settle()
        },
    }
}

/// Goes on without sinks that there were.
fn fewer_sinks(ground: &Ground) -> Scenario<'_> {
    let left = Trial::new(ground);
    leave_at(&left, &mut with_more_sinks(&left), "before-persist#46");
    plain("fewer sinks", left, vec![("sink-forgotten", vec![1, 2])])
}

fn with_rollback(trial: &Trial<'_>) -> Command {
    let mut command = trial.command();
    command.arg("--accept-rollback");
    command
}

fn care(trial: &Trial<'_>, what: &[&str]) -> Command {
    let mut command = trial.program();
    command.arg("checkpoints").args(what).args(["--checkpoint-dir", "checkpoint"]);
    command
}

fn backup_command(trial: &Trial<'_>) -> Command {
    care(trial, &["backup", "backup"])
}

fn restore_command(trial: &Trial<'_>) -> Command {
    care(trial, &["restore", "backup", "--accept-rollback"])
}

fn succeed_in(trial: &Trial<'_>, command: &mut Command) -> Result<(), String> {
    let ended = trial.carry_out(command, &[]);
    if ended.code == Some(0) { Ok(()) } else { Err(format!("{command:?}: {ended}")) }
}

/// A run up to its 40th batch, and a backup of it.
fn with_backup(ground: &Ground) -> Trial<'_> {
    let trial = left_at(ground, "before-persist#41");
    succeed_in(&trial, &mut backup_command(&trial)).expect("a backup can be made");
    trial
}

/// An older backup was put back, and the sinks have later batches.
fn rollback(ground: &Ground) -> Scenario<'_> {
    let left = with_backup(ground);
    leave_at(&left, &mut left.command(), "before-persist#6");
    fs::remove_dir_all(left.below().join("checkpoint")).expect("it can be removed");
    succeed_in(&left, &mut care(&left, &["restore", "backup"])).expect("it can be restored");
    let mut places = once(&OF_A_START);
    places.extend(once(&["rollback-begun", "before-republish", "after-republish"]));
    places.push(("file-moved-aside", vec![1, 2, 4, 5]));
    places.push(("owner-written", vec![1, 2]));
    places.push(("sink-begun", vec![1, 2]));
    Scenario {
        name: "rollback",
        left,
        prepare: |_| {},
        command: with_rollback,
        places,
        with: "",
        settle: |trial| {
            succeed_in(trial, &mut with_rollback(trial))?;
            trial.settle()
        },
    }
}

fn with_start_over(trial: &Trial<'_>) -> Command {
    let mut command = trial.command();
    command.arg("--start-over");
    command
}

/// Everything is gone but what Kafka has seen of an earlier history.
fn start_over(ground: &Ground) -> Scenario<'_> {
    let mut places = once(&OF_A_START);
    places.extend(once(&["fresh-begun", "planned", "after-persist", "after-announce"]));
    places.extend(once(&["before-commit", "committing", "committed", "after-mark"]));
    Scenario {
        name: "start over",
        left: Trial::new(ground),
        prepare: |trial| {
            leave_at(trial, &mut trial.command(), "before-persist#6");
            for directory in ["checkpoint", "out", "letters"] {
                fs::remove_dir_all(trial.below().join(directory)).expect("it can be removed");
            }
        },
        command: with_start_over,
        places,
        with: "",
        settle: |trial| {
            succeed_in(trial, &mut with_start_over(trial))?;
            trial.settle()
        },
    }
}

fn backup(ground: &Ground) -> Scenario<'_> {
    Scenario {
        name: "backup",
        left: left_at(ground, "before-persist#46"),
        prepare: |_| {},
        command: backup_command,
        places: once(&["backup-copied", "backup-announced", "backup-written"]),
        with: "",
        settle: |trial| {
            let is_whole = trial.below().join("backup/manifest.json").exists();
            let mut command = trial.program();
            command.args(["checkpoints", "restore", "backup", "--pipeline", "sales"]);
            command.args(["--checkpoint-dir", "elsewhere"]);
            let ended = trial.carry_out(&mut command, &[]);
            let expected = if is_whole { 0 } else { 12 };
            if ended.code != Some(expected) {
                return Err(format!("restoring it, whole {is_whole}: {ended}"));
            }
            fs::remove_dir_all(trial.below().join("backup")).expect("it can be removed");
            succeed_in(trial, &mut backup_command(trial))?;
            trial.settle()
        },
    }
}

fn restore(ground: &Ground) -> Scenario<'_> {
    let left = with_backup(ground);
    fs::remove_dir_all(left.below().join("checkpoint")).expect("it can be removed");
    Scenario {
        name: "restore",
        left,
        prepare: |_| {},
        command: restore_command,
        places: once(&[
            "restore-staged",
            "restore-permitted",
            "restore-visible-moved",
            "restore-moved",
        ]),
        with: "",
        settle: |trial| {
            // Whoever does not restore again goes on where that is possible, or is refused; and then
            // restoring again does not touch what he made.
            let early = Trial::copy_of(trial);
            let ended = early.run(&[]);
            match ended.code {
                Some(0) => {
                    let again = early.carry_out(&mut restore_command(&early), &[]);
                    if again.code != Some(12) {
                        return Err(format!("restoring over a checkpoint: {again}"));
                    }
                    early.settle().map_err(|problem| format!("not restored again: {problem}"))?;
                }
                Some(12 | 13) => {}
                _ => return Err(format!("a run behind an interrupted restore: {ended}")),
            }
            let again = trial.carry_out(&mut restore_command(trial), &[]);
            if again.code != Some(0) {
                return Err(format!("restoring again: {again}"));
            }
            trial.settle()
        },
    }
}

/// Rows that are not state, more than a chunk of them.
const ROWS: usize = 60_000;
const TOPIC: &str = "real-time-transactions";

fn transactions(trial: &Trial<'_>) -> Command {
    let mut command = trial.command_on(TOPIC, "unlimited");
    command.args(["--pipeline", "transactions"]);
    command
}

/// Fills a topic for [`transactions`].
pub fn fill_transactions(brokers: &str) {
    let mut produce = sales_stream();
    produce
        .args(["produce", "transactions", "--brokers", brokers, "--rate", "unlimited"])
        .args(["--events", &ROWS.to_string(), "--seed", "5"])
        .stdout(Stdio::null());
    succeed(&mut produce);
    let broken: &[u8] = b"{\"transaction_id\":";
    send(brokers, TOPIC, 0, &[broken; 20]);
}

/// Every row and dead letter is there once.
fn settle_transactions(trial: &Trial<'_>) -> Result<(), String> {
    succeed_in(trial, &mut transactions(trial))?;
    for (directory, expected) in [("out", ROWS + 20), ("letters", 20)] {
        let files = batch_files(&trial.below().join(directory));
        let lines: Vec<_> = files
            .values()
            .flat_map(|bytes| bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()))
            .collect();
        if lines.len() != expected {
            return Err(format!("{} lines in {directory}, not {expected}", lines.len()));
        }
    }
    let mut verify = care(trial, &["verify"]);
    succeed_in(trial, &mut verify)
}

fn chunks(ground: &Ground) -> Scenario<'_> {
    Scenario {
        name: "chunks",
        left: Trial::new(ground),
        prepare: |_| {},
        command: transactions,
        places: vec![("chunk-written", vec![1, 2]), ("before-persist", vec![1])],
        with: "",
        settle: settle_transactions,
    }
}

fn orphans(ground: &Ground) -> Scenario<'_> {
    let left = Trial::new(ground);
    leave_at(&left, &mut transactions(&left), "before-persist");
    Scenario {
        name: "orphans",
        left,
        prepare: |_| {},
        command: transactions,
        places: once(&["orphans-deleted", "chunk-written"]),
        with: "",
        settle: settle_transactions,
    }
}

fn discarded(ground: &Ground) -> Scenario<'_> {
    Scenario {
        name: "discarded",
        left: Trial::new(ground),
        prepare: |_| {},
        command: transactions,
        places: once(&["chunks-discarded"]),
        with: ",chunk-written=stop",
        settle: settle_transactions,
    }
}
