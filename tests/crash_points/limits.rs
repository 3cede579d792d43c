//! Limits of the system on threads and files, and disks that take their time.

use std::process::Command;

use crate::{
    Failures, Tier,
    calls::{Class, Counts, straight},
    every,
    ground::{Ended, Ground, Trial},
};

/// More than a run asks for.
const THREADS: usize = 30;
const FEWEST_FILES: usize = 6;
const MOST_FILES: usize = 80;
/// How long a slow sync takes.
const SLOW_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug)]
enum Limit {
    /// No more threads than this are alive at a time, besides the first.
    Threads(usize),
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
    let mut limits: Vec<_> = (0..THREADS).map(Limit::Threads).collect();
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
        Limit::Threads(most) => {
            let ended = trial.run_under(&[("IO_FAULTS_THREADS", most.to_string())]);
            judge(&ended, "threads")?;
        }
        Limit::Files(most) => {
            let ended = trial.carry_out(&mut limited(&trial, most), &[]);
            judge(&ended, "open files")?;
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

/// It has enough, or says what there is too little of.
fn judge(ended: &Ended, what: &str) -> Result<(), String> {
    match ended.code {
        Some(0) => Ok(()),
        Some(50) if ended.error().contains(what) => Ok(()),
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
