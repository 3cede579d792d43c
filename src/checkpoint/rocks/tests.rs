//! A real directory: reopening, locking, refusing, damage.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::*;
use crate::{
    checkpoint::{
        Checkpoint as _,
        trials::{self, Trial, genesis, load, marks, run, totals},
    },
    types::BatchId,
};

pub(super) fn begun(directory: &Path) -> (RocksCheckpoint, Trial) {
    let mut checkpoint = RocksCheckpoint::open(directory).unwrap();
    checkpoint.begin(&genesis(), marks()).unwrap();
    assert_eq!(checkpoint.next_incarnation().unwrap(), Incarnation(1));
    (checkpoint, Trial::new())
}

pub(super) fn state_dir(root: &tempfile::TempDir) -> PathBuf {
    root.path().join("sales")
}

/// Every file's content, but the lock's.
pub(super) fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// A handful of batches: some windows closed, some open, some groups touched again and again.
pub(super) fn filled(directory: &Path, batches: i64) -> Trial {
    let (mut checkpoint, mut trial) = begun(directory);
    for batch in 0..batches {
        let window = batch / 3;
        let stores = [(window, "store-1"), (window, "store-2"), (window + 1, "store-1")];
        let plan = trial.plan(&stores, window * 30 - 30);
        run(&mut checkpoint, plan).unwrap();
    }
    trial
}

#[test]
fn what_was_persisted_is_restored_by_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let trial = filled(&directory, 20);
    let mut checkpoint = RocksCheckpoint::open(&directory).unwrap();
    let (recovered, groups) = load(&mut checkpoint).unwrap();
    assert_eq!(recovered.genesis, Some(genesis()));
    assert_eq!(recovered.last, trial.last);
    assert_eq!(totals(&groups), trial.expected());
    let last = trial.last.as_ref().unwrap();
    assert_eq!(recovered.visible, VisibleFact::At(genesis().lineage, last.batch, last.digest));
    let touched: Vec<_> = groups.iter().filter(|(.., newest)| *newest).collect();
    assert_eq!(touched.len(), 3, "the newest batch touched three groups");
    assert_eq!(checkpoint.next_incarnation().unwrap(), Incarnation(2));
}

#[test]
fn examining_changes_no_file() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let trial = filled(&directory, 5);
    let before = files(&directory);
    let examined = RocksCheckpoint::examine(&directory).unwrap();
    assert_eq!(examined.facts().last, trial.last);
    drop(examined);
    assert_eq!(files(&directory), before);
}

#[test]
fn a_second_opener_is_told_so_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    let before = files(&directory);
    let started = std::time::Instant::now();
    let refused = RocksCheckpoint::examine(&directory).unwrap_err();
    assert!(matches!(refused, CheckpointError::Locked { .. }), "{refused}");
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
    assert_eq!(files(&directory), before);
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
}

#[test]
fn a_directory_that_is_taken_away_takes_no_announcement() {
    for part in [".lock", "db/CURRENT", "db", ""] {
        let root = tempfile::tempdir().unwrap();
        let directory = state_dir(&root);
        let (mut checkpoint, mut trial) = begun(&directory);
        run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
        let last = trial.last.clone();
        let taken = root.path().join("taken");
        fs::rename(directory.join(part), &taken).unwrap();
        let refused = run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap_err();
        assert!(matches!(refused, CheckpointError::TakenAway { .. }), "{part:?}: {refused}");
        drop(checkpoint);
        fs::rename(&taken, directory.join(part)).unwrap();
        let recovered = RocksCheckpoint::examine(&directory).unwrap().facts().clone();
        let VisibleFact::At(_, batch, _) = recovered.visible else { panic!("one was announced") };
        assert_eq!(Some(batch), last.map(|last| last.batch), "{part:?}");
    }
}

#[test]
fn a_directory_that_others_could_exchange_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    drop(RocksCheckpoint::open(&directory).unwrap());
    let mode = fs::metadata(&directory).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o700);
    let link = root.path().join("link");
    symlink(&directory, &link).unwrap();
    let refused = RocksCheckpoint::examine(&link).unwrap_err();
    assert!(matches!(refused, CheckpointError::Misfit { .. }), "{refused}");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o770)).unwrap();
    let refused = RocksCheckpoint::examine(&directory).unwrap_err();
    assert!(refused.to_string().contains("0770"), "{refused}");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(directory.join("visible"), root.path().join("elsewhere")).unwrap();
    symlink(root.path().join("elsewhere"), directory.join("visible")).unwrap();
    let refused = RocksCheckpoint::examine(&directory).unwrap_err();
    assert!(matches!(refused, CheckpointError::Misfit { .. }), "{refused}");
}

#[test]
fn rows_that_are_not_state_and_dead_letters_come_back() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    let large = "x".repeat(3 << 20);
    for texts in [&["a", "b"][..], &[&large, &large, "c"], &["d"]] {
        let mut ahead = checkpoint.ahead();
        ahead.begin(BatchId(trial.next_batch())).unwrap();
        trials::write_ahead(&mut *ahead, &["early", &large]).unwrap();
        let plan = trial.stateless_after(&["early", &large], ahead.written(), texts);
        let resumed = trial.last.clone().unwrap();
        run(&mut checkpoint, plan).unwrap();
        drop((checkpoint, ahead));
        checkpoint = RocksCheckpoint::open(&directory).unwrap();
        assert_eq!(load(&mut checkpoint).unwrap().0.last, Some(resumed));
        let all: Vec<_> = ["early", &large].into_iter().chain(texts.iter().copied()).collect();
        let again = trials::published_again(&mut checkpoint, &trial).unwrap();
        assert_eq!(again, trials::rows(&all));
    }
}

#[test]
fn output_of_an_open_batch_is_invisible_and_no_damage() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    run(&mut checkpoint, trial.stateless(&["a"])).unwrap();
    let before = care::verify(&directory);
    assert!(before.is_err(), "a process holds it");
    let mut ahead = checkpoint.ahead();
    for batch in [1, 2] {
        ahead.begin(BatchId(batch)).unwrap();
        trials::write_ahead(&mut *ahead, &["x", "y"]).unwrap();
    }
    let view = RocksView::open(&directory).unwrap();
    assert_eq!(view.recovered().last, trial.last);
    assert_eq!(view.newest_durable(), Some(BatchId(0)));
    let copy = root.path().join("copy");
    care::backup(&directory, &copy).unwrap();
    drop((checkpoint, ahead, view));
    for (directory, values) in [(&directory, 11), (&copy, 3)] {
        let report = care::verify(directory).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.values["outbox"], values, "a copy leaves what is not finished behind");
    }
    drop(RocksCheckpoint::open(&directory).unwrap());
    assert_eq!(care::verify(&directory).unwrap().values["outbox"], 3);
}

#[test]
fn an_empty_directory_and_one_without_a_batch_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    assert_eq!(RocksCheckpoint::examine(&directory).unwrap().facts().genesis, None);
    drop(RocksCheckpoint::open(&directory).unwrap());
    assert_eq!(RocksCheckpoint::examine(&directory).unwrap().facts().genesis, None);
    drop(begun(&directory));
    let examined = RocksCheckpoint::examine(&directory).unwrap();
    assert_eq!(examined.facts().genesis, Some(genesis()));
    assert_eq!(examined.facts().incarnation, Incarnation(1));
    assert_eq!(examined.facts().last, None);
    assert_eq!(trials::load(&mut examined.into_open().unwrap()).unwrap().1, []);
}
