//! Replays what real Spark did, case by case, and compares.
//!
//! One named test for each case of `tests/golden/spark` (or of `GOLDEN_DIR`, with the same layout) in
//! two modes: `VERSION/CASE` in the compatibility mode of its version, and `own/VERSION/CASE` in this
//! program's own way, where rows are compared as sets and every difference must follow from a rule.
//! A filter by name works as with any test: `cargo test --release --test golden late_dropped`.
//!
//! Cases run through the real engine, source and checkpoint over an embedded broker of their own.
//! What that broker cannot do (new partitions, topics made again, starting by time) has `@kafka` behind
//! its name, runs on the Kafka at `SALES_STREAM_TEST_KAFKA`, and is said not to have run without it.
//!
//! | file | what it knows |
//! |---|---|
//! | `case` | a case on disk |
//! | `translate` | a case's job as a spec |
//! | `broker`, `gate`, `replay` | carrying a case out |
//! | `console`, `failures`, `progress`, `compare` | what must be equal |
//! | `own_way` | the rules by which our own way differs |
//! | `exemptions` | which cases are not held to Spark's outcome |

mod broker;
mod case;
mod compare;
mod console;
mod exemptions;
mod failures;
mod gate;
mod own_way;
mod progress;
mod replay;
mod translate;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    case::{Case, Place},
    translate::Mode,
};

/// Cases wait more than they compute.
const THREADS_A_CORE: usize = 4;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Passed,
    /// Differs by a rule of our own way.
    Explained(String),
    Exempt(&'static str),
    NotRun,
    Failed,
}

/// Outcomes by mode, version and name.
type Outcomes = Arc<Mutex<BTreeMap<(Mode, &'static str, String), Outcome>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores * THREADS_A_CORE);
    let root = std::env::var_os("GOLDEN_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spark"),
        PathBuf::from,
    );
    let places = case::find(&root);
    if places.is_empty() {
        eprintln!("there are no cases in {}", root.display());
        return ExitCode::FAILURE;
    }
    let outcomes = Outcomes::default();
    let mut trials: Vec<Trial> = Vec::new();
    for mode in [Mode::Compat, Mode::Own] {
        trials.extend(places.iter().map(|place| trial(place, mode, &outcomes)));
    }
    trials.extend(case::Version::ALL.map(|version| few_exemptions(&places, version)));
    trials.extend(case::Version::ALL.map(|version| whole_expectations(&places, version)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        summary(&outcomes.lock().unwrap_or_else(PoisonError::into_inner));
    }
    conclusion.exit_code()
}

fn trial(place: &Place, mode: Mode, outcomes: &Outcomes) -> Trial {
    let version = place.version.directory();
    let prefix = if mode == Mode::Own { "own/" } else { "" };
    let needs_kafka = Case::read(place).is_ok_and(|case| case.needs_real_kafka());
    let suffix = if needs_kafka { "@kafka" } else { "" };
    let name = format!("{prefix}{version}/{}{suffix}", place.name);
    let (place, outcomes) = (place.clone(), outcomes.clone());
    Trial::test(name, move || {
        let (outcome, told) = match run(&place, mode) {
            Ok(outcome) => (outcome, Ok(())),
            Err(problem) => (Outcome::Failed, Err(Failed::from(problem))),
        };
        let key = (mode, version, place.name.clone());
        outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(key, outcome);
        told
    })
}

/// Runs one case in one mode.
fn run(place: &Place, mode: Mode) -> Result<Outcome, String> {
    let case = Case::read(place)?;
    if let Some(exemption) = exemptions::exemption(&case) {
        return Ok(Outcome::Exempt(exemption.reason));
    }
    let kafka = std::env::var("SALES_STREAM_TEST_KAFKA").ok();
    let kafka = case.needs_real_kafka().then_some(kafka);
    let kafka = match &kafka {
        Some(None) => return Ok(Outcome::NotRun),
        Some(Some(address)) => Some(address.as_str()),
        None => None,
    };
    let found = replay::replay(&case, mode, kafka)?;
    let (differences, outcome) = match mode {
        Mode::Compat => (compare::compare(&case, &found)?, Outcome::Passed),
        Mode::Own => {
            let judged = own_way::judge(&case, &found)?;
            let reasons: Vec<&str> = judged.explained.into_iter().collect();
            let outcome = match reasons.as_slice() {
                [] => Outcome::Passed,
                reasons => Outcome::Explained(reasons.join("; ")),
            };
            (judged.unexplained, outcome)
        }
    };
    if differences.is_empty() { Ok(outcome) } else { Err(first_few(&differences)) }
}

fn first_few(differences: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = differences[..differences.len().min(SHOWN)].join("\n");
    if differences.len() > SHOWN {
        text.push_str(&format!("\nand {} more", differences.len() - SHOWN));
    }
    text
}

/// The exemptions must stay few.
fn few_exemptions(places: &[Place], version: case::Version) -> Trial {
    let places: Vec<Place> =
        places.iter().filter(|place| place.version == version).cloned().collect();
    Trial::test(format!("exemptions_are_few/{}", version.directory()), move || {
        let mut exempt = 0;
        for place in &places {
            exempt += usize::from(exemptions::exemption(&Case::read(place)?).is_some());
        }
        if exempt * 100 > places.len() * exemptions::MOST_PERCENT {
            return Err(format!("{exempt} of {} cases are exempt", places.len()).into());
        }
        Ok(())
    })
}

/// What is expected must be understood whole: every printed batch is in the events, and every failure
/// is of a known kind.
fn whole_expectations(places: &[Place], version: case::Version) -> Trial {
    let places: Vec<Place> =
        places.iter().filter(|place| place.version == version).cloned().collect();
    Trial::test(format!("expectations_are_whole/{}", version.directory()), move || {
        for place in &places {
            let case = Case::read(place)?;
            let printed: Vec<u64> =
                console::blocks(&case.console).iter().map(|block| block.batch).collect();
            let batches = case.events.iter().flat_map(|event| &event.batches);
            let reported: Vec<u64> = batches.map(compare::batch_id).collect();
            if printed != reported {
                let name = &place.name;
                return Err(format!("{name} printed {printed:?} and reported {reported:?}").into());
            }
            for error in case.events.iter().filter_map(|event| event.error.as_deref()) {
                failures::kind_of(error).map_err(|problem| format!("{}: {problem}", place.name))?;
            }
        }
        Ok(())
    })
}

fn summary(outcomes: &BTreeMap<(Mode, &'static str, String), Outcome>) {
    let mut sets: BTreeMap<(Mode, &str), BTreeMap<&Outcome, Vec<&str>>> = BTreeMap::new();
    for ((mode, version, name), outcome) in outcomes {
        sets.entry((*mode, version)).or_default().entry(outcome).or_default().push(name);
    }
    for ((mode, version), by_outcome) in &sets {
        let count = |wanted: fn(&Outcome) -> bool| -> usize {
            by_outcome
                .iter()
                .filter(|(outcome, _)| wanted(outcome))
                .map(|(_, names)| names.len())
                .sum()
        };
        let mode = match mode {
            Mode::Compat => "compat",
            Mode::Own => "own way",
        };
        println!(
            "golden {version}, {mode}: {} passed, {} differ by rule, {} exempt, {} NOT RUN, {} failed",
            count(|outcome| *outcome == Outcome::Passed),
            count(|outcome| matches!(outcome, Outcome::Explained(_))),
            count(|outcome| matches!(outcome, Outcome::Exempt(_))),
            count(|outcome| *outcome == Outcome::NotRun),
            count(|outcome| *outcome == Outcome::Failed),
        );
        for (outcome, names) in by_outcome {
            match outcome {
                Outcome::Explained(reason) => println!("  differ: {reason}: {}", names.join(" ")),
                Outcome::Exempt(reason) => println!("  exempt: {reason}: {}", names.join(" ")),
                Outcome::NotRun => println!(
                    "  NOT RUN: needs SALES_STREAM_TEST_KAFKA, a real Kafka: {}",
                    names.join(" ")
                ),
                Outcome::Passed | Outcome::Failed => {}
            }
        }
    }
}
