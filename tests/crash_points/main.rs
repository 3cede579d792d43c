//! Every crash point: a run of fifty batches is ended, or made to fail, at each of its calls of the
//! system and at each named place, and a plain start must make everything right.
//!
//! A trial is a run with one fault (see `tests/shim/io_faults.c` for those at calls and
//! `src/faults/points.rs` for the named places) and a run without: the second ends with 0, `checkpoints
//! verify` finds nothing, and the files are those of an undisturbed run, byte for byte. A run that was
//! not killed says what is wrong and what to do (exit 14; 11 where damage was read), and never hangs.
//!
//! ```text
//! cargo test --release --features faults --test crash_points [-- SECTION…]      calls pairs points limits
//! SALES_STREAM_TIER=long     every call × every kind, every pair; without it a sample in some two minutes
//! SALES_STREAM_SEED=N        another sample
//! SALES_STREAM_PAIRS_PER_MILLE=N  how many of a thousand pairs (15; all in the long tier)
//! SALES_STREAM_JOBS=N        trials at a time (as many as there are cores)
//! SALES_STREAM_RESULTS=FILE  the line with the counts is appended to it
//! ```

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod ground;
mod limits;
mod points;

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use ground::Ground;

/// How much is tried.
pub struct Tier {
    pub is_long: bool,
    pub seed: u64,
    /// Of a thousand pairs so many; all of them if not given.
    pub pairs_per_mille: Option<u64>,
    pub jobs: usize,
}

impl Tier {
    fn of_environment() -> Tier {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        let is_long = std::env::var("SALES_STREAM_TIER").is_ok_and(|tier| tier == "long");
        Tier {
            is_long,
            pairs_per_mille: number("SALES_STREAM_PAIRS_PER_MILLE").or((!is_long).then_some(15)),
            seed: number("SALES_STREAM_SEED").unwrap_or(1),
            jobs: number("SALES_STREAM_JOBS").map_or(cores, |jobs| jobs as usize),
        }
    }
}

/// What did not hold; told at once, and counted.
#[derive(Default)]
pub struct Failures {
    count: usize,
}

impl Failures {
    pub fn add(&mut self, problem: &str) {
        println!("FAILED {problem}");
        self.count += 1;
    }

    pub fn extend(&mut self, more: &Failures) {
        self.count += more.count;
    }
}

/// Tries every one, some at a time.
pub fn every<T: Sync>(
    tier: &Tier,
    what: &str,
    items: &[T],
    attempt: impl Fn(&T) -> Result<(), String> + Sync,
) -> Failures {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Failures::default()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..tier.jobs {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(problem) = attempt(item) {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).add(&problem);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = began.elapsed().as_secs_f32();
    println!("{what}: {} tried in {seconds:.1} s, {} failed", items.len(), failures.count);
    failures
}

fn main() -> ExitCode {
    let began = Instant::now();
    let wanted: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let tier = Tier::of_environment();
    let ground = match Ground::prepare() {
        Ok(ground) => ground,
        Err(why) => {
            println!("crash points: SKIPPED, {why}");
            return ExitCode::SUCCESS;
        }
    };
    let (mut counts, mut failures) = (calls::Counts::default(), Failures::default());
    if is_wanted("calls") {
        failures.extend(&calls::singles(&ground, &tier, &mut counts));
    }
    if is_wanted("pairs") {
        failures.extend(&calls::pairs(&ground, &tier, &mut counts));
    }
    if is_wanted("points") {
        failures.extend(&points::points(&ground, &tier, &mut counts));
    }
    if is_wanted("limits") {
        failures.extend(&limits::limits(&ground, &tier, &mut counts));
    }
    let ok = failures.count == 0;
    report(&result(&ground, &tier, &counts, ok, began.elapsed().as_secs()));
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn result(ground: &Ground, tier: &Tier, counts: &calls::Counts, ok: bool, seconds: u64) -> String {
    let mut line = format!(
        "RESULT {{\"harness\":\"crash-points\",\"seed\":{},\"seconds\":{seconds},\"ok\":{ok}",
        tier.seed
    );
    let numbers = [
        ("app_kills", ground.kills.load(Ordering::Relaxed)),
        ("faults_injected", ground.faults.load(Ordering::Relaxed)),
        ("crash_points", counts.tried),
        ("crash_points_total", counts.total),
        ("pairs", counts.pairs),
        ("named_points", counts.points),
        ("batches", counts.batches),
    ];
    for (name, number) in numbers {
        let _ = write!(line, ",\"{name}\":{number}");
    }
    line + "}"
}

fn report(line: &str) {
    println!("{line}");
    let Ok(file) = std::env::var("SALES_STREAM_RESULTS") else { return };
    let opened = OpenOptions::new().create(true).append(true).open(&file);
    let written = opened.and_then(|mut file| writeln!(file, "{line}"));
    written.expect("SALES_STREAM_RESULTS can be written");
}
