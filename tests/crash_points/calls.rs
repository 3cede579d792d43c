//! Every call that reads or changes a file, with every kind of fault it can meet; and pairs: a crash,
//! and a fault at every call of the recovery that follows.

use std::sync::{Mutex, PoisonError};

use crate::{
    Failures, Tier, every,
    ground::{Call, Ended, Ground, Trial},
    support::Seeded,
};

/// Which calls count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Write,
    Read,
}

/// A fault at a call.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    pub class: Class,
    pub kind: &'static str,
    pub at: usize,
}

/// What can befall a call that changes something.
const KINDS: [&str; 8] = [
    "kill-before",
    "kill-after",
    "torn",
    "short",
    "eio",
    "eio-forever",
    "enospc",
    "enospc-forever",
];

impl Plant {
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let class = match self.class {
            Class::Write => "write",
            Class::Read => "read",
        };
        vec![
            ("IO_FAULTS_CLASS", class.to_owned()),
            ("IO_FAULTS_KIND", self.kind.to_owned()),
            ("IO_FAULTS_AT", self.at.to_string()),
        ]
    }

    fn kills(&self) -> bool {
        self.kind.starts_with("kill") || self.kind == "torn"
    }
}

/// Whether a fault of this kind can befall a call (as the preloaded library has it).
fn can_befall(kind: &str, call: &Call) -> bool {
    let transfers = ["write", "pwrite", "copy_file_range"].contains(&call.name.as_str());
    match kind {
        "torn" | "short" => transfers,
        "enospc" | "enospc-forever" => {
            transfers || ["open", "mkdir", "fallocate", "ftruncate"].contains(&call.name.as_str())
        }
        _ => true,
    }
}

/// Whether a run ended as it must with that fault: it is over at once, or has said what is wrong.
pub fn judge(plant: &Plant, ended: &Ended) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {ended}"));
    if ended.hung {
        return wrong("it hangs");
    }
    let Some(struck) = ended.struck() else {
        return if ended.code == Some(0) {
            Ok(())
        } else {
            wrong("nothing befell it and it failed")
        };
    };
    if plant.kills() {
        return if ended.signal == Some(9) { Ok(()) } else { wrong("it outlives SIGKILL") };
    }
    match ended.code {
        // What befell it is not needed: RocksDB's notes, room asked for in advance.
        Some(0) => return Ok(()),
        Some(14) => {}
        Some(11) if plant.class == Class::Read => {}
        _ => return wrong("it ends in a way that nobody is told of"),
    }
    if plant.kind == "short" {
        return wrong("a short write is no failure");
    }
    let error = ended.error();
    let names_place = ["checkpoint/sales", "out", "letters", "jsonl:progress"]
        .iter()
        .any(|path| error.contains(path));
    let says_what_to_do = error.contains("start again") || error.contains("restore the newest");
    if !names_place || !says_what_to_do {
        return wrong("its message does not help");
    }
    let notes = struck.path.contains("/db/LOG");
    if struck.name.ends_with("sync") && !notes { after_failed_sync(struck, ended) } else { Ok(()) }
}

/// Behind a sync that failed nothing is synced again, announced or published.
fn after_failed_sync(struck: &Call, ended: &Ended) -> Result<(), String> {
    for call in ended.calls.iter().filter(|call| call.number > struck.number) {
        let again = call.name.ends_with("sync") && call.path == struck.path;
        let announced = call.path.ends_with("/visible");
        let published = call.name == "rename" && call.path.contains("/batch-");
        if again || announced || published {
            return Err(format!(
                "behind the failed {} of {}: {} of {}",
                struck.name, struck.path, call.name, call.path
            ));
        }
    }
    Ok(())
}

/// The calls of an undisturbed run.
pub fn straight(ground: &Ground, class: Class) -> Vec<Call> {
    let trial = Trial::new(ground);
    let ended = trial.run_under(&Plant { class, kind: "none", at: 0 }.variables());
    assert_eq!(ended.code, Some(0), "{ended}");
    ended.calls
}

/// Where the announcements are: a batch's calls go from the one before its own to its own.
fn announcements(calls: &[Call]) -> Vec<usize> {
    let is_one = |call: &&Call| call.name == "pwrite" && call.path.ends_with("/visible");
    // The first write makes the file.
    calls.iter().filter(is_one).skip(1).map(|call| call.number).collect()
}

/// Counts for the result.
#[derive(Default)]
pub struct Counts {
    pub tried: u64,
    pub total: u64,
    pub pairs: u64,
    pub points: u64,
    pub pairs_total: u64,
    pub calls: u64,
    pub batches: u64,
}

/// One fault at one call of a run from nothing, then a plain start.
fn single(ground: &Ground, plant: &Plant) -> Result<(), String> {
    let trial = Trial::new(ground);
    let ended = trial.run_under(&plant.variables());
    let told = |problem: String| {
        let at = ended.struck().map_or_else(
            || "not reached".to_owned(),
            |call| format!("{} {}", call.name, call.path),
        );
        format!("{plant:?} ({at}): {problem}")
    };
    judge(plant, &ended).map_err(told)?;
    if ended.code == Some(0) {
        trial.compare(true).map_err(told)?;
    }
    trial.settle().map_err(told)
}

/// Every call × every kind; in the short tier three whole batches, every third call of the start,
/// the end, and a sample of the rest.
pub fn singles(ground: &Ground, tier: &Tier, counts: &mut Counts) -> Failures {
    let writes = straight(ground, Class::Write);
    let reads = straight(ground, Class::Read);
    let batches = announcements(&writes);
    counts.calls = (writes.len() + reads.len()) as u64;
    counts.batches = batches.len() as u64;
    println!(
        "a run of {} batches makes {} calls that change files and {} that read them",
        batches.len(),
        writes.len(),
        reads.len()
    );
    let whole: Vec<_> = [1, batches.len() / 2, batches.len() - 1]
        .map(|batch| batches[batch - 1]..batches[batch])
        .to_vec();
    let last = batches[batches.len() - 1];
    let mut random = Seeded(tier.seed);
    let mut plants = Vec::new();
    for call in &writes {
        for kind in KINDS.into_iter().filter(|kind| can_befall(kind, call)) {
            counts.total += 1;
            let at = call.number;
            let chosen = whole.iter().any(|batch| batch.contains(&at)) || at > last;
            let share = if at < batches[0] { 25 } else { 5 };
            if tier.is_long || chosen || random.below(100) < share {
                plants.push(Plant { class: Class::Write, kind, at });
            }
        }
    }
    for call in &reads {
        for kind in ["eio", "eio-forever"] {
            counts.total += 1;
            if tier.is_long || random.below(100) < 50 {
                plants.push(Plant { class: Class::Read, kind, at: call.number });
            }
        }
    }
    counts.tried = plants.len() as u64;
    every(tier, "calls", &plants, |plant| single(ground, plant))
}

/// A crash in batch 47 at each of its steps, then a fault at each call of the recovery.
pub fn pairs(ground: &Ground, tier: &Tier, counts: &mut Counts) -> Failures {
    let writes = straight(ground, Class::Write);
    let batches = announcements(&writes);
    let step = |batch: usize| batches[batch - 1]..batches[batch];
    let late = batches.len() - 4;
    let mut first: Vec<(usize, &'static str)> =
        step(late).map(|at| (at, "kill-after")).chain(step(late).map(|at| (at, "torn"))).collect();
    first.retain(|(at, kind)| can_befall(kind, &writes[at - 1]));
    // While the checkpoint is made, too.
    first.extend((1..batches[0]).step_by(10).map(|at| (at, "kill-after")));
    // What each crash leaves, and what can befall the recovery from it.
    let made = Mutex::new(Vec::new());
    let firsts: Vec<_> = first.into_iter().enumerate().collect();
    let mut failures = every(tier, "crashes to recover from", &firsts, |(index, (at, kind))| {
        let crash = Plant { class: Class::Write, kind, at: *at };
        let crashed = Trial::new(ground);
        let ended = crashed.run_under(&crash.variables());
        if ended.signal != Some(9) {
            return Err(format!("{crash:?}: {ended}"));
        }
        // What is read depends little on where the crash was.
        let plants = recovery_faults(&crashed, index % 5 == 0);
        made.lock().unwrap_or_else(PoisonError::into_inner).push((*index, crash, crashed, plants));
        Ok(())
    });
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_by_key(|(index, ..)| *index);
    let mut random = Seeded(tier.seed);
    let mut pairs = Vec::new();
    for (_, crash, crashed, plants) in &made {
        counts.pairs_total += plants.len() as u64;
        // Fewer where the checkpoint is made: those pairs are much alike.
        let fewer = if crash.at < batches[0] { 4 } else { 1 };
        let share = tier.pairs_per_mille.map_or(1000, |per_mille| per_mille / fewer);
        let chosen = plants.iter().filter(|_| random.below(1000) < share);
        pairs.extend(chosen.map(|plant| (crash, crashed, plant)));
    }
    counts.pairs += pairs.len() as u64;
    failures.extend(&every(tier, "pairs", &pairs, |(crash, crashed, plant)| {
        double(crashed, plant).map_err(|problem| format!("after {crash:?}: {problem}"))
    }));
    failures
}

/// Faults at every call of a recovery, up to the announcement of its first new batch.
fn recovery_faults(crashed: &Trial<'_>, reads_too: bool) -> Vec<Plant> {
    let mut plants = Vec::new();
    for (class, kinds) in [
        (Class::Write, &["kill-before", "torn", "eio", "enospc-forever"] as &[_]),
        (Class::Read, if reads_too { &["eio", "eio-forever"] } else { &[] }),
    ] {
        let copy = Trial::copy_of(crashed);
        let ended = copy.run_under(&Plant { class, kind: "none", at: 0 }.variables());
        assert_eq!(ended.code, Some(0), "{ended}");
        let end = match class {
            Class::Write => announcements(&ended.calls).get(1).copied(),
            Class::Read => None,
        };
        let calls = ended.calls.iter().filter(|call| end.is_none_or(|end| call.number <= end));
        for call in calls {
            let kinds = kinds.iter().filter(|kind| can_befall(kind, call));
            plants.extend(kinds.map(|kind| Plant { class, kind, at: call.number }));
        }
    }
    plants
}

/// A fault in the recovery of a crash, then a plain start.
fn double(crashed: &Trial<'_>, plant: &Plant) -> Result<(), String> {
    let trial = Trial::copy_of(crashed);
    let ended = trial.run_under(&plant.variables());
    let told = |problem: String| {
        let at = ended.struck().map(|call| format!("{} {}", call.name, call.path));
        format!("{plant:?} ({at:?}): {problem}")
    };
    judge(plant, &ended).map_err(told)?;
    if ended.code == Some(0) {
        trial.compare(true).map_err(told)?;
    }
    trial.settle().map_err(told)
}
