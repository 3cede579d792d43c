//! Backups, restores and views, also beside a live writer.

use std::{fs, sync::atomic::AtomicBool, sync::atomic::Ordering, thread};

use super::*;
use crate::{
    batch::{self, Begun, Decision, VisibleFact, WitnessFact},
    checkpoint::{
        Checkpoint, RestoreGroup, VisitLog,
        rocks::{
            RocksCheckpoint,
            damage::facts_with,
            tests::{begun, files, filled, state_dir},
        },
        trials::{load, run, sink, totals},
    },
    spark,
    types::Digest,
};

#[test]
fn a_backup_made_beside_a_live_process_restores_to_the_same() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    for _ in 0..8 {
        run(&mut checkpoint, trial.plan(&[(0, "a"), (1, "b")], 0)).unwrap();
    }
    let before = files(&directory);
    let copy = root.path().join("copy");
    let made = super::backup(&directory, &copy).unwrap();
    assert_eq!((made.batch, made.pipeline.as_str()), (Some(BatchId(7)), "sales"));
    assert_eq!(files(&directory), before, "the live directory is untouched");
    let copied = trial.clone();
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    drop(checkpoint);
    let target = root.path().join("other").join("sales");
    assert_eq!(super::restore(&copy, &target, Rollback::Refuse).unwrap(), made);
    assert_eq!(verify(&target).unwrap().problems, Vec::<String>::new());
    let mut restored = RocksCheckpoint::open(&target).unwrap();
    let (recovered, groups) = load(&mut restored).unwrap();
    assert_eq!(recovered.last, copied.last);
    assert!(!recovered.rollback_accepted);
    let last = copied.last.as_ref().unwrap();
    assert_eq!(
        recovered.visible,
        VisibleFact::At(recovered.genesis.unwrap().lineage, last.batch, last.digest)
    );
    assert_eq!(totals(&groups), copied.expected());
    let refused = super::restore(&copy, &directory, Rollback::Refuse).unwrap_err();
    assert!(matches!(refused, CheckpointError::Misfit { .. }), "{refused}");
    let refused = super::backup(&directory, &copy).unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
}

#[test]
fn an_accepted_rollback_is_a_permission_for_one_start() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    filled(&directory, 3);
    let copy = root.path().join("copy");
    super::backup(&directory, &copy).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    super::restore(&copy, &directory, Rollback::AcceptOnce).unwrap();
    for _ in 0..2 {
        let examined = RocksCheckpoint::examine(&directory).unwrap();
        assert!(examined.facts().rollback_accepted, "looking does not use it up");
    }
    let mut checkpoint = RocksCheckpoint::open(&directory).unwrap();
    checkpoint.next_incarnation().unwrap();
    drop(checkpoint);
    assert!(!RocksCheckpoint::examine(&directory).unwrap().facts().rollback_accepted);
}

#[test]
fn a_changed_backup_is_refused_and_an_interrupted_restore_done_again() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    filled(&directory, 3);
    let copy = root.path().join("copy");
    super::backup(&directory, &copy).unwrap();
    let target = root.path().join("target");
    for (path, content) in files(&copy) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("LO") || name.starts_with('.') || name == MANIFEST {
            continue;
        }
        let mut damaged = content.clone();
        match damaged.first_mut() {
            Some(byte) => *byte ^= 1,
            None => damaged.push(1),
        }
        fs::write(&path, damaged).unwrap();
        let refused = super::restore(&copy, &target, Rollback::Refuse).unwrap_err();
        assert!(refused.to_string().contains(name), "{refused}");
        fs::write(&path, content).unwrap();
    }
    assert!(RocksCheckpoint::examine(&target).unwrap().facts().genesis.is_none());
    super::restore(&copy, &target, Rollback::Refuse).unwrap();
    assert!(RocksCheckpoint::examine(&target).unwrap().facts().last.is_some());
}

#[test]
fn a_torn_announcement_is_told_as_what_the_next_start_drops() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    filled(&directory, 3);
    let path = VisibleFile::path(&directory);
    let whole = fs::read(&path).unwrap();
    for slot in 0..2 {
        let mut torn = whole.clone();
        torn[slot * 4096 + 20] ^= 1;
        fs::write(&path, torn).unwrap();
        let report = verify(&directory).unwrap();
        assert!(report.next_start_drops_it && report.problems.len() == 1, "{report:?}");
        RocksCheckpoint::examine(&directory).unwrap();
    }
    let mut gone = whole.clone();
    (gone[20], gone[4096 + 20]) = (!gone[20], !gone[4096 + 20]);
    fs::write(&path, gone).unwrap();
    assert!(!verify(&directory).unwrap().next_start_drops_it);
    fs::write(&path, whole).unwrap();
    assert_eq!(verify(&directory).unwrap().problems, Vec::<String>::new());
}

#[test]
fn names_in_a_manifest_cannot_lead_elsewhere() {
    let root = Path::new("/state");
    for name in ["../x", "db/../../x", "/etc/passwd", "db/", "db/.x", "db/a/b", ""] {
        assert_eq!(safe_target(root, name), None, "{name}");
    }
    assert_eq!(safe_target(root, "db/000012.sst"), Some(PathBuf::from("/state/db/000012.sst")));
}

#[test]
fn a_view_shows_nothing_that_is_not_announced() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    let durable = checkpoint.persist(trial.plan(&[(0, "a")], 0)).unwrap();
    let view = RocksView::open(&directory).unwrap();
    assert_eq!((view.recovered().last.as_ref(), view.newest_durable()), (None, Some(BatchId(0))));
    assert_eq!(groups(&view), []);
    checkpoint.announce(durable).unwrap();
    run(&mut checkpoint, trial.plan(&[(0, "a"), (1, "b")], 30)).unwrap();
    let announced = trial.clone();
    checkpoint.persist(trial.plan(&[(1, "b"), (1, "c")], 60)).unwrap();
    let view = RocksView::open(&directory).unwrap();
    assert_eq!(view.recovered().last, announced.last);
    assert_eq!(totals(&groups(&view)), announced.expected());
    let history: Vec<_> = view.history().unwrap().iter().map(|record| record.batch.0).collect();
    assert_eq!(history, [0, 1]);
}

#[test]
fn a_view_shows_no_change_that_is_not_announced_and_says_where_it_cannot_tell() {
    let logged = |mut plan: batch::Plan, is_snapshot: bool| {
        let change = spark::Change {
            operator: spark::Operator::Aggregation,
            partition: 0,
            key: plan.publication.record.batch.0.to_be_bytes().into(),
            value: None,
        };
        let log = spark::StateLog {
            partitions: 1,
            state_store: crate::spec::StateStore::Hdfs,
            schema: String::new(),
            changes: vec![change],
        };
        plan.log = Some(spark::LogWrite { log, is_snapshot });
        plan
    };
    for is_snapshot in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let directory = state_dir(&root);
        let (mut checkpoint, mut trial) = begun(&directory);
        run(&mut checkpoint, logged(trial.plan(&[], 0), false)).unwrap();
        run(&mut checkpoint, logged(trial.plan(&[], 0), false)).unwrap();
        let durable = checkpoint.persist(logged(trial.plan(&[], 0), is_snapshot)).unwrap();
        let keys = |view: &RocksView| {
            let mut keys = Vec::new();
            let visit: &mut VisitLog<'_> = &mut |part| {
                keys.extend(part.changes.iter().map(|change| change.key[7]));
                Ok(())
            };
            view.log(visit).unwrap();
            keys
        };
        let view = RocksView::open(&directory).unwrap();
        assert_eq!(view.is_log_cut(), is_snapshot);
        assert_eq!(keys(&view), if is_snapshot { vec![] } else { vec![0, 1] });
        checkpoint.announce(durable).unwrap();
        let view = RocksView::open(&directory).unwrap();
        assert_eq!(keys(&view), if is_snapshot { vec![2] } else { vec![0, 1, 2] });
    }
}

fn groups(view: &RocksView) -> Vec<crate::checkpoint::trials::Restored> {
    let mut groups = Vec::new();
    let visit: &mut RestoreGroup<'_> = &mut |_, group, newest| {
        groups.push((group.end.0, group.key.to_vec(), group.accumulators.to_vec(), newest));
        Ok(())
    };
    view.groups(visit).unwrap();
    groups
}

#[test]
fn views_beside_a_busy_writer_are_always_whole() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let backups = scope.spawn(|| {
            let mut made = 0;
            while !done.load(Ordering::Acquire) {
                let copy = root.path().join(format!("copy-{made}"));
                super::backup(&directory, &copy).unwrap();
                assert_eq!(verify_backup(&root, &copy).problems, Vec::<String>::new());
                made += 1;
            }
            made
        });
        scope.spawn(|| {
            let mut newest = None;
            while !done.load(Ordering::Acquire) {
                let view = RocksView::open(&directory).unwrap();
                let last = view.recovered().last.as_ref().map(|last| last.batch);
                assert_eq!(view.problem().unwrap(), None, "a false alarm");
                assert!(last >= newest, "a later view shows an older batch");
                newest = last;
                // Every batch adds one to the same group: the sum tells the batch.
                let total = totals(&groups(&view)).first().map(|(_, _, total)| *total);
                let expected = last.map(|batch| i64::try_from(batch.0).unwrap() + 1);
                assert_eq!(total, expected);
            }
        });
        for batch in 0..400 {
            run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
            if batch % 90 == 0 {
                checkpoint.flush().unwrap();
            }
        }
        done.store(true, Ordering::Release);
        assert!(backups.join().unwrap() > 0);
    });
}

fn verify_backup(root: &tempfile::TempDir, copy: &Path) -> Report {
    let target = root.path().join("restored");
    super::restore(copy, &target, Rollback::Refuse).unwrap();
    let report = verify(&target).unwrap();
    fs::remove_dir_all(&target).unwrap();
    report
}

#[test]
fn a_batch_that_is_durable_and_not_announced_is_copied_as_such() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    checkpoint.mark(&sink(), BatchId(0)).unwrap();
    let seen = trial.last.clone().unwrap();
    let durable = checkpoint.persist(trial.plan(&[(0, "a"), (1, "b")], 30)).unwrap();
    let copy = root.path().join("copy");
    super::backup(&directory, &copy).unwrap();
    // The original goes on meanwhile.
    checkpoint.announce(durable).unwrap();
    let copied = trial.clone();
    run(&mut checkpoint, trial.plan(&[(1, "b")], 30)).unwrap();
    let target = root.path().join("other").join("sales");
    super::restore(&copy, &target, Rollback::Refuse).unwrap();
    assert_eq!(verify(&target).unwrap().problems, Vec::<String>::new());
    let mut restored = RocksCheckpoint::open(&target).unwrap();
    let (recovered, groups) = load(&mut restored).unwrap();
    let lineage = recovered.genesis.as_ref().unwrap().lineage;
    assert_eq!(recovered.visible, VisibleFact::At(lineage, seen.batch, seen.digest));
    assert_eq!((&recovered.last, totals(&groups)), (&copied.last, copied.expected()));
    // Nobody saw it: a start publishes it, as after a crash.
    let start = |witness| batch::recover(&facts_with(&recovered, witness));
    let republished = Decision::Republish { sinks: vec![sink()] };
    assert_eq!(start(WitnessFact::None), republished);
    assert_eq!(
        start(WitnessFact::At(lineage, seen.batch, seen.digest, Begun::Freely)),
        republished
    );
    // Where it was computed again otherwise, or more was seen, it is refused.
    let other = Digest([9; 32]);
    for witness in [(BatchId(1), other), (BatchId(2), trial.last.as_ref().unwrap().digest)] {
        let decision = start(WitnessFact::At(lineage, witness.0, witness.1, Begun::Freely));
        assert!(matches!(decision, Decision::Refuse(_)), "{decision:?}");
    }
}

#[test]
fn a_view_says_what_was_announced_and_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    let (mut checkpoint, mut trial) = begun(&directory);
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    let log = directory.join("db").join("000004.log");
    let length = fs::metadata(&log).unwrap().len();
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    drop(checkpoint);
    assert_eq!(RocksView::open(&directory).unwrap().problem().unwrap(), None);
    fs::File::options().write(true).open(&log).unwrap().set_len(length).unwrap();
    let view = RocksView::open(&directory).unwrap();
    assert_eq!(view.recovered().last.as_ref().unwrap().batch, BatchId(0));
    assert_eq!(
        view.problem().unwrap().unwrap(),
        "the log ends at batch 0, but batch 1 was announced: batch 1 is missing"
    );
    let refused = super::backup(&directory, &root.path().join("copy")).unwrap_err();
    assert!(refused.to_string().contains("batch 1 is missing"), "{refused}");
    fs::remove_dir_all(directory.join("db")).unwrap();
    let view = RocksView::open(&directory).unwrap();
    let expected =
        "the database (db/) is missing, but batch 1 was announced: batches 0 to 1 are missing";
    assert_eq!(view.problem().unwrap().unwrap(), expected);
    assert_eq!(verify(&directory).unwrap().problems, [expected]);
}

#[test]
fn listing_and_checking_a_directory_that_is_not_there_make_nothing() {
    let root = tempfile::tempdir().unwrap();
    let directory = state_dir(&root);
    assert!(RocksView::open(&directory).is_err());
    assert!(verify(&directory).is_err());
    assert!(!directory.exists());
    let trial = filled(&directory, 4);
    let listed = RocksView::open(&directory).unwrap().history().unwrap();
    assert_eq!(listed.len(), 4);
    assert_eq!(listed.last(), trial.last.as_ref());
}
