//! What damage does: every start must refuse, or hold exactly what was announced.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path};

use super::*;
use crate::{
    batch::{self, DatabaseFact, Decision, Facts, MarkerFact, Permissions, WitnessFact},
    checkpoint::{
        Checkpoint as _,
        rocks::tests::{begun, files, filled, state_dir},
        trials::{Restored, Trial, load, run, sink, totals},
    },
};

/// What a start would do with these facts.
fn decision(recovered: &Recovered) -> Decision {
    batch::recover(&facts_with(recovered, WitnessFact::None))
}

/// What a start rests on, with what Kafka says.
pub(super) fn facts_with(recovered: &Recovered, witness: WitnessFact) -> Facts {
    let database = match &recovered.genesis {
        None => DatabaseFact::Fresh,
        Some(genesis) => DatabaseFact::History {
            lineage: genesis.lineage,
            begun: genesis.begun,
            superseded: genesis.superseded.clone(),
            just_begun: genesis.has_just_begun(recovered.last.as_ref().map(|last| last.batch)),
            is_unborn: genesis
                .has_no_batch_of_its_own(recovered.last.as_ref().map(|last| last.batch)),
            last: recovered.last.as_ref().map(|last| (last.batch, last.digest)),
            marks: recovered.marks.clone(),
        },
    };
    Facts {
        database,
        visible: recovered.visible.clone(),
        witness,
        markers: vec![(sink(), MarkerFact::NotKept)],
        permissions: Permissions::default(),
    }
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
    let examined = match RocksCheckpoint::examine(directory) {
        Ok(examined) => examined,
        Err(CheckpointError::Corrupt { .. } | CheckpointError::Stale { .. }) => return None,
        Err(other) => panic!("damage ends with neither 11 nor 13: {other}"),
    };
    if let Decision::Refuse(refusal) = decision(examined.facts()) {
        assert!(!refusal.is_misfit(), "{refusal}");
        return None;
    }
    // A state so damaged that it seems to be new would be begun again.
    let recovered = examined.facts().clone();
    let log_end = examined.log_end;
    drop(examined);
    let groups = match recovered.genesis {
        Some(_) => match groups_of(directory, log_end) {
            Ok(groups) => groups,
            Err(CheckpointError::Corrupt { .. }) => return None,
            Err(other) => panic!("damage ends with neither 11 nor 13: {other}"),
        },
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

/// How many bytes apart the flips in a file are.
fn stride(path: &Path) -> usize {
    let name = path.file_name().unwrap().to_string_lossy();
    match name.rsplit('.').next() {
        Some("sst") => 5,
        // Every byte of it is flipped where it is read.
        _ if name == "visible" => 127,
        // RocksDB's note of its options, which nothing reads.
        _ if name.starts_with("OPTIONS") => 509,
        _ => 1,
    }
}

/// Whether a check says which file it is, or which batch the log lacks.
fn is_named(problems: &[String], path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    let names = |problem: &String| {
        problem.contains(&*name)
            || (name.ends_with(".log") && problem.contains("batch") && problem.contains("missing"))
    };
    problems.iter().any(names)
}

/// Opens a copy for writing, as a start that goes on does, and reads it all.
fn opened(directory: &Path) -> (Recovered, Vec<Restored>) {
    let root = tempfile::tempdir().unwrap();
    let copy = state_dir(&root);
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).recursive(true).create(copy.join("db")).unwrap();
    for path in files(directory).keys() {
        fs::copy(path, copy.join(path.strip_prefix(directory).unwrap())).unwrap();
    }
    load(&mut RocksCheckpoint::open(&copy).unwrap()).unwrap()
}

/// Spoils a state directory in one way after the other, and holds after each: a start refuses and a
/// check names the file, or every value is what it was.
struct Spoiler<'a> {
    directory: &'a Path,
    whole: (Recovered, Vec<Restored>),
    refused: usize,
    harmless: usize,
}

impl<'a> Spoiler<'a> {
    fn of(directory: &'a Path) -> Spoiler<'a> {
        assert_eq!(verify(directory).unwrap().problems, Vec::<String>::new());
        let whole = without_visible(started(directory).unwrap());
        Spoiler { directory, whole, refused: 0, harmless: 0 }
    }

    fn spoil(&mut self, path: &Path, content: &[u8], what: &str) {
        fs::write(path, content).unwrap();
        let Report { problems, remarks, .. } = verify(self.directory).unwrap();
        let what = format!("{what} of {}", path.display());
        let Some(found) = started(self.directory) else {
            self.refused += 1;
            assert!(is_named(&problems, path), "{what} is not named: {problems:?}");
            return;
        };
        self.harmless += 1;
        assert!(problems.is_empty() || is_named(&problems, path), "{what}: {problems:?}");
        let mut found = without_visible(found);
        if is_named(&problems, path) || is_named(&remarks, path) {
            // The newest mark is not synced, so a crash may lose it too: the start publishes again.
            found.0.marks.clone_from(&self.whole.0.marks);
        }
        assert!(found == self.whole, "{what} changes something and the start goes on");
        if self.harmless % 64 == 1 {
            let (recovered, groups) = opened(self.directory);
            assert_eq!((recovered.last, groups), (self.whole.0.last.clone(), self.whole.1.clone()));
        }
    }

    fn flip_every_byte(&mut self) {
        for (path, content) in files(self.directory) {
            if is_log_of_rocksdb(&path) {
                continue;
            }
            for at in (0..content.len()).step_by(stride(&path)) {
                let mut damaged = content.clone();
                damaged[at] ^= 0x80 >> (at % 8);
                self.spoil(&path, &damaged, &format!("byte {at}"));
            }
            fs::write(&path, &content).unwrap();
        }
    }

    fn cut_every_file(&mut self) {
        for (path, content) in files(self.directory) {
            if is_log_of_rocksdb(&path) {
                continue;
            }
            for length in (0..content.len()).step_by((content.len() / 20).max(1)) {
                self.spoil(&path, &content[..length], &format!("a cut at {length}"));
            }
            fs::write(&path, &content).unwrap();
        }
    }

    fn done(self) -> (usize, usize) {
        assert_eq!(without_visible(started(self.directory).unwrap()), self.whole);
        assert_eq!(verify(self.directory).unwrap().problems, Vec::<String>::new());
        (self.refused, self.harmless)
    }
}

#[test]
fn any_flipped_byte_beside_a_log_is_named_or_changes_no_value() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let trial = filled(&directory, 4);
    let mut spoiler = Spoiler::of(&directory);
    assert_eq!(totals(&spoiler.whole.1), trial.expected());
    spoiler.flip_every_byte();
    let (refused, harmless) = spoiler.done();
    assert!(refused > 100, "only {refused} of {} flips were refused", refused + harmless);
}

#[test]
fn any_flipped_byte_beside_sorted_files_is_named_or_changes_no_value() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let trial = prepared(&directory);
    let mut spoiler = Spoiler::of(&directory);
    assert_eq!(totals(&spoiler.whole.1), trial.expected());
    spoiler.flip_every_byte();
    let (refused, harmless) = spoiler.done();
    assert!(refused > 100, "only {refused} of {} flips were refused", refused + harmless);
}

/// RocksDB's own reader would turn in a loop for ever.
#[test]
fn a_record_that_seems_to_be_of_a_recycled_log_is_refused_and_not_read_for_ever() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let _ = filled(&directory, 4);
    for name in ["000004.log", "MANIFEST-000005"] {
        let path = directory.join("db").join(name);
        let content = fs::read(&path).unwrap();
        let first = 7 + usize::from(u16::from_le_bytes([content[4], content[5]]));
        let mut damaged = content.clone();
        assert_eq!(damaged[first + 6], 1, "a whole record");
        damaged[first + 6] ^= 4;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(started(&directory), None);
        let expected = format!("db/{name} is damaged: the record at byte {first}");
        let problems = verify(&directory).unwrap().problems;
        assert!(problems[0].contains(&expected), "{problems:?}");
        let refused = RocksView::open(&directory).unwrap_err();
        assert!(refused.to_string().contains(&expected), "{refused}");
        fs::write(&path, &content).unwrap();
    }
}

#[test]
fn a_file_cut_at_any_length_is_named_or_changes_no_value() {
    for batches_in_log_only in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let directory = state_dir(&root);
        let _ = if batches_in_log_only { filled(&directory, 4) } else { prepared(&directory) };
        let mut spoiler = Spoiler::of(&directory);
        spoiler.cut_every_file();
        assert!(spoiler.done().0 > 50);
    }
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
