//! What damage does: every start must refuse, or hold exactly what was announced.

use std::{fs, path::Path};

use super::*;
use crate::{
    batch::{self, DatabaseFact, Decision, Facts, MarkerFact, Permissions, WitnessFact},
    checkpoint::{
        rocks::tests::{begun, files, filled, state_dir},
        trials::{Restored, Trial, load, run, sink, totals},
    },
};

/// What a start would do with these facts.
fn decision(recovered: &Recovered) -> Decision {
    let database = match &recovered.genesis {
        None => DatabaseFact::Fresh,
        Some(genesis) => DatabaseFact::History {
            lineage: genesis.lineage,
            superseded: genesis.superseded.clone(),
            just_begun: genesis.has_just_begun(recovered.last.as_ref().map(|last| last.batch)),
            last: recovered.last.as_ref().map(|last| (last.batch, last.digest)),
            marks: recovered.marks.clone(),
        },
    };
    batch::recover(&Facts {
        database,
        visible: recovered.visible.clone(),
        witness: WitnessFact::None,
        markers: vec![(sink(), MarkerFact::NotKept)],
        permissions: Permissions::default(),
    })
}

fn groups_of(directory: &Path, log_end: LogEnd) -> Result<Vec<Restored>, CheckpointError> {
    let database = Database::read_only(directory, log_end)?;
    let mut groups = Vec::new();
    Contents::read(&database)?.restore_groups(&database, None, &mut |_, group, newest| {
        groups.push((group.end.0, group.key.to_vec(), group.accumulators.to_vec(), newest));
        Ok(())
    })?;
    Ok(groups)
}

/// What is right; `None` when a start refuses.
fn started(directory: &Path) -> Option<(Recovered, Vec<Restored>)> {
    let examined = RocksCheckpoint::examine(directory).ok()?;
    if matches!(decision(examined.facts()), Decision::Refuse(_)) {
        return None;
    }
    // A state so damaged that it seems to be new would be begun again.
    let recovered = examined.facts().clone();
    let log_end = examined.log_end;
    drop(examined);
    let groups = match recovered.genesis {
        Some(_) => groups_of(directory, log_end).ok()?,
        None => Vec::new(),
    };
    Some((recovered, groups))
}

/// The facts without the announce file, whose older slot may stand in for the newest.
fn without_visible((recovered, groups): (Recovered, Vec<Restored>)) -> (Recovered, Vec<Restored>) {
    (Recovered { visible: VisibleFact::Absent, ..recovered }, groups)
}

fn is_log_of_rocksdb(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("LOG"))
}

/// Batches in sorted files and in the log.
fn prepared(directory: &Path) -> Trial {
    let mut trial = filled(directory, 6);
    let mut checkpoint = RocksCheckpoint::open(directory).unwrap();
    for _ in 0..4 {
        run(&mut checkpoint, trial.plan(&[(1, "store-1"), (2, "store-3")], 30)).unwrap();
    }
    checkpoint.mark(&sink(), trial.last.as_ref().unwrap().batch).unwrap();
    trial
}

#[test]
fn a_flipped_byte_is_refused_or_changes_no_value() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let trial = prepared(&directory);
    let whole = started(&directory).unwrap();
    assert_eq!(totals(&whole.1), trial.expected());
    let whole = without_visible(whole);
    assert_eq!(verify(&directory).unwrap().problems, Vec::<String>::new());
    let (mut refused, mut harmless) = (0, 0);
    for (path, content) in files(&directory) {
        if is_log_of_rocksdb(&path) || content.is_empty() {
            continue;
        }
        let stride = (content.len() / 40).max(1) | 1;
        for at in (0..content.len()).step_by(stride) {
            let mut damaged = content.clone();
            damaged[at] ^= 0x80 >> (at % 8);
            fs::write(&path, &damaged).unwrap();
            let problems = verify(&directory).unwrap().problems;
            match started(&directory) {
                None => {
                    refused += 1;
                    assert!(!problems.is_empty(), "byte {at} of {} is not named", path.display());
                }
                Some(found) => {
                    harmless += 1;
                    let same = without_visible(found) == whole;
                    // The newest mark is not synced, so a start may lack it: it publishes again.
                    assert!(same || !problems.is_empty(), "byte {at} of {}", path.display());
                }
            }
        }
        fs::write(&path, &content).unwrap();
    }
    assert!(refused > 100, "only {refused} of {} flips were refused", refused + harmless);
    assert_eq!(without_visible(started(&directory).unwrap()), whole);
}

/// The newest write-ahead log.
fn log_file(directory: &Path) -> PathBuf {
    let logs = files(&directory.join("db")).into_keys();
    let newest = logs.filter(|path| path.extension().is_some_and(|end| end == "log")).max();
    newest.expect("a database has a log")
}

#[test]
fn a_log_cut_at_any_length_is_as_new_as_announced_or_refused() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let trial = prepared(&directory);
    let log = log_file(&directory);
    let content = fs::read(&log).unwrap();
    let mut refused = 0;
    for length in (0..content.len()).step_by(23) {
        fs::write(&log, &content[..length]).unwrap();
        match started(&directory) {
            None => {
                refused += 1;
                let problems = verify(&directory).unwrap().problems;
                assert!(!problems.is_empty(), "the cut at {length} is not named");
            }
            Some((recovered, groups)) => {
                assert_eq!(recovered.last, trial.last, "cut at {length}");
                assert_eq!(totals(&groups), trial.expected());
            }
        }
    }
    assert!(refused > 20);
}

#[test]
fn an_earlier_end_of_the_log_is_named_with_the_batches_that_are_missing() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    let mut lengths = Vec::new();
    for _ in 0..5 {
        run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
        lengths.push(fs::metadata(log_file(&directory)).unwrap().len());
    }
    drop(checkpoint);
    let log = log_file(&directory);
    fs::File::options().write(true).open(&log).unwrap().set_len(lengths[2]).unwrap();
    let problems = verify(&directory).unwrap().problems;
    assert_eq!(
        problems,
        ["the log ends at batch 2, but batch 4 was announced: batches 3 to 4 are missing"]
    );
    assert_eq!(started(&directory), None);
}

/// Spoils the content of the last record without changing its length, as a torn write does.
fn tear_last_record(directory: &Path, from: u64) {
    let log = log_file(directory);
    let mut content = fs::read(&log).unwrap();
    let from = usize::try_from(from).unwrap();
    content[from + 40..].fill(0);
    fs::write(&log, content).unwrap();
}

#[test]
fn a_torn_record_that_nobody_saw_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    let seen = trial.clone();
    let before = fs::metadata(log_file(&directory)).unwrap().len();
    checkpoint.persist(trial.plan(&[(0, "a"), (0, "b")], 0)).unwrap();
    drop(checkpoint);
    tear_last_record(&directory, before);
    let intact = files(&directory);
    let examined = RocksCheckpoint::examine(&directory).unwrap();
    assert_eq!(examined.log_end, LogEnd::TornRecord);
    assert_eq!(examined.facts().last, seen.last);
    assert_eq!(files(&directory), intact, "examining changed something");
    let mut checkpoint = examined.into_open().unwrap();
    assert_eq!(totals(&load(&mut checkpoint).unwrap().1), seen.expected());
    let mut seen = seen;
    run(&mut checkpoint, seen.plan(&[(0, "c")], 0)).unwrap();
    drop(checkpoint);
    let examined = RocksCheckpoint::examine(&directory).unwrap();
    assert_eq!(examined.log_end, LogEnd::Whole, "once is enough");
    assert_eq!(examined.facts().last, seen.last);
}

#[test]
fn a_torn_record_that_was_announced_is_refused_as_stale() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    let before = fs::metadata(log_file(&directory)).unwrap().len();
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    drop(checkpoint);
    tear_last_record(&directory, before);
    let intact = files(&directory);
    let refused = RocksCheckpoint::examine(&directory).unwrap_err();
    assert!(matches!(refused, CheckpointError::Stale { .. }), "{refused}");
    assert!(refused.to_string().contains("batch 1 was announced"), "{refused}");
    assert_eq!(files(&directory), intact);
}

#[test]
fn a_file_that_is_gone_or_older_is_never_a_wrong_state() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let mut trial = filled(&directory, 6);
    let older = files(&directory);
    let mut checkpoint = RocksCheckpoint::open(&directory).unwrap();
    for _ in 0..4 {
        run(&mut checkpoint, trial.plan(&[(1, "store-1"), (2, "store-3")], 30)).unwrap();
    }
    drop(checkpoint);
    let whole = without_visible(started(&directory).unwrap());
    let newer = files(&directory);
    for (path, content) in &newer {
        if is_log_of_rocksdb(path) {
            continue;
        }
        fs::remove_file(path).unwrap();
        if let Some(found) = started(&directory) {
            assert_eq!(without_visible(found), whole, "without {}", path.display());
        }
        if let Some(old) = older.get(path) {
            fs::write(path, old).unwrap();
            if let Some(found) = started(&directory) {
                assert_eq!(without_visible(found), whole, "with an older {}", path.display());
            }
        }
        fs::write(path, content).unwrap();
    }
    assert_eq!(without_visible(started(&directory).unwrap()), whole);
}
