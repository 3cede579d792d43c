//! `simulate`: tries seeds on every core, shows how far it is, and tells of the first that does not hold.
//!
//! Not here: what a trial is (`crate::simulate`).

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal as _},
    panic,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Failure, print};
use crate::{
    cli::{LogArguments, Signals, SimulateArguments, say},
    simulate::{Counts, Outcome, try_seed},
};

/// Seeds that one thread takes at a time.
const TAKEN: u64 = 16;

/// What all seeds came to.
#[derive(Default)]
struct Results {
    counts: Counts,
    /// Digests of all seeds, combined so that their order does not matter.
    digest: u64,
    by_pipeline: BTreeMap<String, u64>,
    /// The lowest seed found that does not hold.
    broken: Option<(u64, Outcome)>,
}

impl Results {
    fn take(&mut self, seed: u64, outcome: Outcome) {
        self.counts.add(&outcome.counts);
        self.digest = self.digest.wrapping_add(outcome.digest);
        *self.by_pipeline.entry(outcome.pipeline.clone()).or_default() += 1;
        if outcome.violation.is_some()
            && self.broken.as_ref().is_none_or(|(broken, _)| seed < *broken)
        {
            self.broken = Some((seed, outcome));
        }
    }
}

pub(super) fn simulate(
    arguments: SimulateArguments,
    log: LogArguments,
    signals: &Signals,
) -> Result<(), Failure> {
    let began = Instant::now();
    catch_panics();
    let results = Mutex::new(Results::default());
    let next = AtomicU64::new(0);
    let bar = progress(arguments.seeds);
    let threads = arguments.threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        std::num::NonZeroUsize::get,
    );
    let work = || {
        loop {
            let first = next.fetch_add(TAKEN, Ordering::Relaxed);
            if first >= arguments.seeds
                || signals.stop().is_requested()
                || !arguments.keep_going && is_broken(&results)
            {
                return;
            }
            for index in first..arguments.seeds.min(first + TAKEN) {
                let seed = arguments.seed.wrapping_add(index);
                let outcome = try_one(seed, arguments.verbose);
                if arguments.verbose {
                    tell(seed, &outcome);
                }
                if let (true, Some(problem)) = (arguments.keep_going, &outcome.violation) {
                    say(format_args!("seed {seed} ({}): {problem}", outcome.pipeline));
                }
                results.lock().unwrap_or_else(PoisonError::into_inner).take(seed, outcome);
            }
            bar.inc(TAKEN);
        }
    };
    let quiet = tracing::Dispatch::none();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| match log.log_level {
                Some(_) => work(),
                None => tracing::dispatcher::with_default(&quiet, work),
            });
        }
    });
    bar.finish_and_clear();
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = began.elapsed().as_secs_f64();
    print(&summary(&results, &arguments, seconds))?;
    match &results.broken {
        Some((seed, outcome)) => Err(Failure::new(1, explain(*seed, outcome))),
        None if results.counts.seeds < arguments.seeds => Err(Failure::new(signals.code(), "")),
        None => Ok(()),
    }
}

fn is_broken(results: &Mutex<Results>) -> bool {
    results.lock().unwrap_or_else(PoisonError::into_inner).broken.is_some()
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic in a trial is a finding with a seed, and not the end of the process.
fn catch_panics() {
    panic::set_hook(Box::new(|panic| {
        PANIC.with(|last| *last.borrow_mut() = Some(panic.to_string()));
    }));
}

fn try_one(seed: u64, told: bool) -> Outcome {
    panic::catch_unwind(|| try_seed(seed, told)).unwrap_or_else(|_| Outcome {
        pipeline: "?".to_owned(),
        digest: 0,
        counts: Counts { seeds: 1, ..Counts::default() },
        story: Vec::new(),
        violation: Some(format!(
            "it panicked: {}",
            PANIC.with(|last| last.borrow_mut().take()).unwrap_or_default()
        )),
    })
}

fn progress(seeds: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} seeds, {per_sec}, {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    let target = ProgressDrawTarget::stderr_with_hz(5);
    ProgressBar::with_draw_target(Some(seeds), target).with_style(style)
}

fn tell(seed: u64, outcome: &Outcome) {
    let mut text = format!("seed {seed}  {}  digest {:016x}\n", outcome.pipeline, outcome.digest);
    for line in &outcome.story {
        let _ = writeln!(text, "  {line}");
    }
    say(format_args!("{}", text.trim_end()));
}

fn summary(results: &Results, arguments: &SimulateArguments, seconds: f64) -> String {
    let Counts { seeds, steps, batches, records, faults_injected, .. } = results.counts;
    let Counts { app_kills, power_cuts, aborted_transactions, .. } = results.counts;
    let rate = seeds as f64 / seconds.max(0.001);
    let verdict = match results.broken {
        Some(_) => "a seed does not hold",
        None if results.counts.seeds < arguments.seeds => "stopped, and every seed so far holds",
        None => "every seed holds",
    };
    let ok = results.broken.is_none();
    let seed = arguments.seed;
    format!(
        "{verdict}: {seeds} seeds of {} pipelines in {seconds:.1} s ({rate:.0}/s), {batches} batches of \
         {records} records, {app_kills} kills, {power_cuts} power cuts, {faults_injected} other faults, \
         {steps} steps; digest {:016x}\n\
         RESULT {{\"harness\":\"simulate\",\"seed\":{seed},\"seconds\":{seconds:.1},\"ok\":{ok},\
         \"seeds\":{seeds},\"steps\":{steps},\"batches\":{batches},\"records\":{records},\
         \"faults_injected\":{faults_injected},\"app_kills\":{app_kills},\"power_cuts\":{power_cuts},\
         \"aborted_transactions\":{aborted_transactions}}}\n",
        results.by_pipeline.len(),
        results.digest,
    )
}

fn explain(seed: u64, outcome: &Outcome) -> String {
    let violation = outcome.violation.as_deref().unwrap_or_default();
    format!(
        "seed {seed} ({}) does not hold: {violation}\nAgain, with all that happened: sales-stream simulate \
         --seed {seed} --seeds 1 --verbose",
        outcome.pipeline
    )
}
