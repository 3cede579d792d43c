//! Limits of the system on threads and files, and disks that take their time.

use std::process::Command;

use crate::{
    Failures, Tier,
    calls::{Class, Counts, straight},
    every,
    ground::{Ended, Ground, Trial},
};

/// More than a run has threads, and fewer than it has files open.
const THREADS: usize = 40;
const FEWEST_FILES: usize = 6;
const MOST_FILES: usize = 80;
/// How long a slow sync takes.
const SLOW_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug)]
enum Limit {
    /// The thread of this number, and every one after it, cannot be made.
    Thread(usize),
    /// No more files than this are open at a time.
    Files(usize),
    /// This sync of an undisturbed run takes [`SLOW_MS`] longer.
    SlowSync(usize),
}

pub fn limits(ground: &Ground, tier: &Tier, counts: &mut Counts) -> Failures {
    let syncs: Vec<_> = straight(ground, Class::Write)
        .into_iter()
        .filter(|call| call.name.ends_with("sync"))
        .map(|call| call.number)
        .collect();
    let step = if tier.is_long { 1 } else { 3 };
    let mut limits: Vec<_> = (1..THREADS).map(Limit::Thread).collect();
    limits.extend((FEWEST_FILES..MOST_FILES).step_by(step).map(Limit::Files));
    let slow = if tier.is_long { 40 } else { syncs.len() / 2 };
    limits.extend(syncs.iter().skip(1).step_by(slow).map(|at| Limit::SlowSync(*at)));
    counts.points += limits.len() as u64;
    every(tier, "limits", &limits, |limit| {
        attempt(ground, *limit).map_err(|problem| format!("{limit:?}: {problem}"))
    })
}

fn attempt(ground: &Ground, limit: Limit) -> Result<(), String> {
    let trial = Trial::new(ground);
    match limit {
        Limit::Thread(at) => {
            let ended = trial.run_under(&[("IO_FAULTS_THREAD_AT", at.to_string())]);
            judge(&ended, &["thread", "Resource temporarily unavailable"])?;
        }
        Limit::Files(most) => {
            let ended = trial.carry_out(&mut limited(&trial, most), &[]);
            judge(&ended, &["open files"])?;
        }
        Limit::SlowSync(at) => {
            let variables = [
                ("IO_FAULTS_KIND", "slow".to_owned()),
                ("IO_FAULTS_AT", at.to_string()),
                ("IO_FAULTS_SLOW_MS", SLOW_MS.to_string()),
            ];
            let ended = trial.run_under(&variables);
            if ended.code != Some(0) || ended.struck().is_none() {
                return Err(ended.to_string());
            }
            trial.compare(true)?;
        }
    }
    trial.settle()
}

/// It goes on without, or says what there is too little of.
fn judge(ended: &Ended, words: &[&str]) -> Result<(), String> {
    match ended.code {
        Some(0) => Ok(()),
        Some(14 | 50) if words.iter().any(|word| ended.error().contains(word)) => Ok(()),
        _ => Err(ended.to_string()),
    }
}

/// The run in a shell that allows no more open files.
fn limited(trial: &Trial<'_>, most: usize) -> Command {
    let run = trial.command();
    let mut shell = trial.program_of("sh");
    shell.arg("-c").arg(format!("ulimit -n {most}; exec \"$0\" \"$@\""));
    shell.arg(run.get_program()).args(run.get_args());
    shell
}
