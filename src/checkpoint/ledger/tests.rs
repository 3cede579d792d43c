//! The ledger over the memory twin: what survives, what is merged, what is refused.

use proptest::prelude::*;

use crate::{
    batch::{Plan, Publication, WrittenAhead},
    checkpoint::{
        Ahead, Checkpoint, CheckpointError,
        ledger::HISTORY_BATCHES,
        memory::{MemoryCheckpoint, MemoryDisk},
        trials::{
            Trial, WINDOW_US, genesis, load, marks, published_again, rows, run, sink, totals,
            write_ahead,
        },
    },
    spec::OutputMode,
    types::{BatchId, Column, DataType, Incarnation, Keeper, Place, Rows, Timestamp},
    window::{Accumulator, Changes, Group, Sum, Table},
};

fn begun() -> (MemoryDisk, MemoryCheckpoint) {
    let disk = MemoryDisk::new();
    let mut checkpoint = MemoryCheckpoint::open(&disk).unwrap();
    checkpoint.begin(&genesis(), marks()).unwrap();
    checkpoint.next_incarnation().unwrap();
    (disk, checkpoint)
}

#[test]
fn history_keeps_the_newest_ten_thousand_batches_and_every_start_reads_them() {
    let disk = MemoryDisk::new();
    let mut checkpoint = MemoryCheckpoint::open(&disk).unwrap();
    checkpoint.begin(&genesis(), marks()).unwrap();
    let mut trial = Trial::new();
    let history = || disk.keys_of("history");
    let kept = usize::try_from(HISTORY_BATCHES).unwrap();
    while trial.next_batch() < HISTORY_BATCHES {
        run(&mut checkpoint, trial.plan(&[], 0)).unwrap();
    }
    assert_eq!(history(), kept, "all of them up to the limit");
    for _ in 0..30 {
        run(&mut checkpoint, trial.plan(&[], 0)).unwrap();
        assert_eq!(history(), kept);
    }
    checkpoint = MemoryCheckpoint::open(&disk).unwrap();
    for _ in 0..20 {
        run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    }
    let mut checkpoint = MemoryCheckpoint::open(&disk).unwrap();
    let (recovered, groups) = load(&mut checkpoint).unwrap();
    assert_eq!(recovered.last, trial.last);
    assert_eq!(totals(&groups), trial.expected());
    assert_eq!(history(), kept);
    // The oldest that is left is not the first: one less is a loss, at the end or within.
    let first = disk.index_of("history").unwrap();
    for index in [first, first + kept / 2] {
        let damaged = disk.fork();
        let removed = damaged.remove(index);
        let refused = MemoryCheckpoint::open(&damaged).unwrap_err();
        assert!(matches!(refused, CheckpointError::Corrupt { .. }), "{removed}: {refused}");
    }
}

#[test]
fn many_runs_of_one_window_are_merged_and_lose_nothing() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    let names: Vec<_> = (0..40).map(|number| format!("store-{number}")).collect();
    for batch in 0..200 {
        let touched: Vec<_> =
            (0..10).map(|n| (0, names[(batch * 7 + n * n) % 40].as_str())).collect();
        let mut unique = touched.clone();
        unique.sort_unstable();
        unique.dedup();
        run(&mut checkpoint, trial.plan(&unique, 0)).unwrap();
        if batch % 20 == 0 {
            let mut again = MemoryCheckpoint::open(&disk).unwrap();
            assert_eq!(totals(&load(&mut again).unwrap().1), trial.expected());
        }
    }
    let runs = disk.keys_of("windows");
    assert!(runs < 30, "{runs} chunks are left of 200 runs");
    let mut again = MemoryCheckpoint::open(&disk).unwrap();
    assert_eq!(totals(&load(&mut again).unwrap().1), trial.expected());
}

#[test]
fn rows_that_are_gone_stay_gone_and_keys_are_kept_apart_from_groups() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    run(&mut checkpoint, trial.plan(&[(0, "a"), (0, "b"), (0, "c")], 0)).unwrap();
    // The other batches only remove or add keys, so that runs are merged over a tombstone.
    for batch in 0..20 {
        let mut plan = trial.plan(&[(0, "c")], 0);
        if batch == 0 {
            let gone = ["a", "b"].map(|key| (Timestamp(0), key.as_bytes().into()));
            plan.changes[0].removed = gone.into();
            trial.model.retain(|(_, key), _| key == b"c");
        }
        let expiry = Timestamp(30_000_000 + batch);
        let mut keys = Table::new(0);
        keys.put(Group { start: expiry, end: expiry, key: b"a", accumulators: &[] });
        plan.changes.push(Changes::written(Place::keys(Timestamp(40_000_000)), keys));
        run(&mut checkpoint, plan).unwrap();
    }
    let mut again = MemoryCheckpoint::open(&disk).unwrap();
    let (mut groups, mut keys) = (Vec::new(), 0);
    again
        .load(&mut |place, group, _| {
            match place.keeper {
                Keeper::Groups => groups.push(group.key.to_vec()),
                Keeper::Keys => keys += 1,
            }
            Ok(())
        })
        .unwrap();
    assert_eq!((groups, keys), (vec![b"c".to_vec()], 20));
    // Behind the watermark both go.
    run(&mut checkpoint, trial.plan(&[], 40)).unwrap();
    run(&mut checkpoint, trial.plan(&[], 40)).unwrap();
    run(&mut checkpoint, trial.plan(&[], 40)).unwrap();
    assert_eq!(disk.keys_of("windows"), 0);
}

#[test]
fn after_a_failed_write_everything_is_refused() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    let before = trial.clone();
    disk.fail_writes_after(0);
    let failed = checkpoint.persist(trial.plan(&[(0, "a")], 0)).unwrap_err();
    assert!(matches!(failed, CheckpointError::Storage { .. }));
    disk.fail_writes_after(100);
    let refused = checkpoint.mark(&sink(), BatchId(0)).unwrap_err();
    assert!(refused.to_string().contains("earlier write failed"), "{refused}");
    disk.crash();
    let mut again = MemoryCheckpoint::open(&disk).unwrap();
    let (recovered, groups) = load(&mut again).unwrap();
    assert_eq!(recovered.last, before.last);
    assert_eq!(totals(&groups), before.expected());
}

#[test]
fn output_written_ahead_of_a_batch_that_never_came_is_deleted_at_open_and_never_mixes() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    run(&mut checkpoint, trial.stateless(&["a"])).unwrap();
    let mut ahead = checkpoint.ahead();
    ahead.begin(BatchId(1)).unwrap();
    write_ahead(&mut *ahead, &["x", "y", "z"]).unwrap();
    assert_eq!(disk.keys_of("outbox"), 3 + 6);
    // The batch's own write fails; what went ahead reached the disk.
    disk.fail_writes_after(0);
    let plan = trial.clone().stateless_after(&["x", "y", "z"], ahead.written(), &[]);
    checkpoint.persist(plan).unwrap_err();
    let refused = write_ahead(&mut *ahead, &["x"]).unwrap_err();
    assert!(refused.to_string().contains("earlier write failed"), "{refused}");
    disk.sync();
    disk.crash();
    let mut again = MemoryCheckpoint::open(&disk).unwrap();
    assert_eq!(disk.keys_of("outbox"), 3);
    assert_eq!(published_again(&mut again, &trial).unwrap(), rows(&["a"]));
    // Cut anew with other boundaries, the batch has fewer chunks than there were.
    let mut ahead = again.ahead();
    ahead.begin(BatchId(1)).unwrap();
    write_ahead(&mut *ahead, &["p"]).unwrap();
    run(&mut again, trial.stateless_after(&["p"], ahead.written(), &["q"])).unwrap();
    let mut again = MemoryCheckpoint::open(&disk).unwrap();
    assert_eq!(published_again(&mut again, &trial).unwrap(), rows(&["p", "q"]));
}

#[test]
fn output_of_a_dropped_batch_is_deleted_before_the_next_attempt_writes() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    let mut ahead = checkpoint.ahead();
    ahead.begin(BatchId(0)).unwrap();
    write_ahead(&mut *ahead, &["x", "y"]).unwrap();
    ahead.begin(BatchId(0)).unwrap();
    assert_eq!(disk.keys_of("outbox"), 0, "the same batch is read anew");
    write_ahead(&mut *ahead, &["p"]).unwrap();
    run(&mut checkpoint, trial.stateless_after(&["p"], ahead.written(), &[])).unwrap();
    assert_eq!(published_again(&mut checkpoint, &trial).unwrap(), rows(&["p"]));
    ahead.begin(BatchId(1)).unwrap();
    write_ahead(&mut *ahead, &["x"]).unwrap();
    ahead.discard().unwrap();
    assert_eq!(disk.keys_of("outbox"), 3, "what batch 0 has stays");
    assert_eq!(ahead.written(), WrittenAhead::default());
}

/// The rows of a window as they are behind the trial's newest batch, written anew ahead of `batch`.
fn write_anew(ahead: &mut dyn Ahead, trial: &Trial, batch: u64) -> Result<(), CheckpointError> {
    ahead.begin(BatchId(batch))?;
    ahead.begin_place(Place::groups(Timestamp(WINDOW_US)));
    for ((end, key), total) in &trial.model {
        let sum = Sum { exact: i128::from(*total) * 25, inexact: None, count: *total };
        let accumulators = [Accumulator::Count(*total), Accumulator::Sum(sum)];
        let (start, end) = (Timestamp(end - WINDOW_US), Timestamp(*end));
        ahead.put_row(Group { start, end, key, accumulators: &accumulators })?;
    }
    ahead.end_place()
}

/// The rows of the first window as a reader gives them: keys and counts.
fn read(checkpoint: &MemoryCheckpoint, newest: u64) -> Vec<(Vec<u8>, i64)> {
    let mut read = Vec::new();
    let place = Place::groups(Timestamp(WINDOW_US));
    let mut reader = checkpoint.state_reader();
    let visited = reader.rows(place, BatchId(newest), &mut |_, _| true, &mut |_, group, _| {
        let [Accumulator::Count(count), _] = group.accumulators else { panic!("{group:?}") };
        read.push((group.key.to_vec(), *count));
        Ok(())
    });
    visited.unwrap();
    read
}

#[test]
fn a_place_that_is_written_anew_stands_for_all_its_runs_and_these_go_one_batch_later() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    for (batch, store) in ["a", "b", "c", "a"].into_iter().enumerate() {
        run(&mut checkpoint, trial.plan(&[(0, store)], 0)).unwrap();
        let is_scattered = checkpoint
            .state_reader()
            .is_scattered(Place::groups(Timestamp(WINDOW_US)), BatchId(batch as u64));
        assert_eq!(is_scattered, batch == 3, "four runs as large as each other are too many");
    }
    let plan = trial.plan(&[(0, "d")], 0);
    let mut ahead = checkpoint.ahead();
    write_anew(&mut *ahead, &trial, 4).unwrap();
    assert_eq!(read(&checkpoint, 3).len(), 3, "it does not count yet");
    let unfinished = disk.fork();
    run(&mut checkpoint, Plan { ahead: ahead.written(), ..plan }).unwrap();
    assert_eq!(disk.keys_of("windows"), 5, "the older runs are what was there before the batch");
    let expected = [("a", 2), ("b", 1), ("c", 1), ("d", 1)];
    let expected = expected.map(|(key, count)| (key.as_bytes().to_vec(), count));
    assert_eq!(read(&checkpoint, 4), expected);
    let mut again = MemoryCheckpoint::open(&disk.fork()).unwrap();
    assert_eq!(totals(&load(&mut again).unwrap().1), trial.expected());
    run(&mut checkpoint, trial.plan(&[(0, "d")], 0)).unwrap();
    assert_eq!(disk.keys_of("windows"), 2);
    assert_eq!(read(&checkpoint, 5)[3], (b"d".to_vec(), 2));
    let mut again = MemoryCheckpoint::open(&disk).unwrap();
    assert_eq!(totals(&load(&mut again).unwrap().1), trial.expected());

    // A batch that never came leaves none of it, whether the process ended or went on.
    unfinished.sync();
    let mut again = MemoryCheckpoint::open(&unfinished).unwrap();
    assert_eq!((unfinished.keys_of("windows"), read(&again, 3).len()), (4, 3));
    assert_eq!(load(&mut again).unwrap().1.len(), 3);
    let mut ahead = again.ahead();
    write_anew(&mut *ahead, &trial, 4).unwrap();
    assert_eq!(unfinished.keys_of("windows"), 5);
    ahead.discard().unwrap();
    assert_eq!(unfinished.keys_of("windows"), 4);
}

#[test]
fn a_batch_makes_what_went_ahead_of_it_durable() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    let mut ahead = checkpoint.ahead();
    ahead.begin(BatchId(0)).unwrap();
    write_ahead(&mut *ahead, &["x", "y"]).unwrap();
    run(&mut checkpoint, trial.stateless_after(&["x", "y"], ahead.written(), &["z"])).unwrap();
    disk.crash();
    let mut again = MemoryCheckpoint::open(&disk).unwrap();
    assert_eq!(published_again(&mut again, &trial).unwrap(), rows(&["x", "y", "z"]));
}

#[test]
fn a_chunk_of_another_attempt_cannot_stand_in_for_one() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    let mut ahead = checkpoint.ahead();
    ahead.begin(BatchId(0)).unwrap();
    write_ahead(&mut *ahead, &["x", "y"]).unwrap();
    let written = ahead.written();
    ahead.begin(BatchId(0)).unwrap();
    write_ahead(&mut *ahead, &["x", "Y"]).unwrap();
    run(&mut checkpoint, trial.stateless_after(&["x", "y"], written, &[])).unwrap();
    let refused = MemoryCheckpoint::open(&disk).unwrap_err();
    assert!(refused.to_string().contains("chunks of rows with seal"), "{refused}");
}

#[test]
fn a_lost_mark_only_falls_back_and_a_forgotten_sink_stays_forgotten() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    run(&mut checkpoint, trial.plan(&[(0, "a")], 0)).unwrap();
    checkpoint.mark(&sink(), BatchId(0)).unwrap();
    let mark = |disk: &MemoryDisk| MemoryCheckpoint::open(disk).unwrap().facts().unwrap().marks;
    assert_eq!(mark(&disk)[0].published, Some(BatchId(0)));
    disk.crash();
    assert_eq!(mark(&disk)[0].published, None);
    MemoryCheckpoint::open(&disk).unwrap().forget_sink(&sink()).unwrap();
    disk.crash();
    assert_eq!(mark(&disk), []);
}

#[test]
fn publishing_again_needs_the_very_same_batch() {
    let (_, mut checkpoint) = begun();
    let mut trial = Trial::new();
    let plan = trial.plan(&[(0, "a")], 0);
    let good = plan.publication.clone();
    checkpoint.persist(plan).unwrap();
    assert_eq!(checkpoint.durable_again(good.clone()).unwrap().batch(), BatchId(0));
    let mut other = good.clone();
    other.rows = rows(&["b"]);
    let refused = checkpoint.durable_again(other).unwrap_err();
    assert!(matches!(refused, CheckpointError::Corrupt { .. }), "{refused}");
    // Rows that are not state are read back: they must be those of the record.
    let mut plan = trial.stateless(&["a"]);
    plan.publication.rows = rows(&["b"]);
    checkpoint.persist(plan).unwrap();
    let refused = published_again(&mut checkpoint, &trial).unwrap_err();
    assert!(matches!(refused, CheckpointError::Corrupt { .. }), "{refused}");
}

#[test]
fn stored_rows_are_published_again_under_the_columns_they_were_written_with() {
    let (_, mut checkpoint) = begun();
    let mut trial = Trial::new();
    let plan = trial.stateless(&["a"]);
    let good = plan.publication.clone();
    checkpoint.persist(plan).unwrap();
    let column = Column { name: "renamed".to_owned(), data_type: DataType::Long };
    let rows = Rows::new([column.clone(), column].into());
    let durable = checkpoint.durable_again(Publication { rows, ..good.clone() }).unwrap();
    let again = checkpoint.announce(durable).unwrap().whole().unwrap();
    assert_eq!(again.rows, good.rows);
}

#[test]
#[should_panic(expected = "directly follows")]
fn a_batch_that_does_not_follow_is_a_broken_invariant() {
    let (_, mut checkpoint) = begun();
    let mut trial = Trial::new();
    trial.plan(&[(0, "a")], 0);
    let _ = checkpoint.persist(trial.plan(&[(0, "a")], 0));
}

#[test]
fn an_entry_that_goes_missing_is_noticed_whatever_it_is() {
    let (disk, mut checkpoint) = begun();
    let mut trial = Trial::new();
    for window in 0..4 {
        run(&mut checkpoint, trial.plan(&[(window, "a"), (window + 1, "b")], 30 * window)).unwrap();
    }
    checkpoint.mark(&sink(), BatchId(3)).unwrap();
    for index in 0..disk.keys() {
        let other = disk.fork();
        let gone = other.remove(index);
        // Marks and the number of starts are facts of their own: nothing else tells them.
        if gone.contains("mark/") || gone.contains("incarnation") {
            continue;
        }
        let opened = MemoryCheckpoint::open(&other).map(|_| ());
        assert!(matches!(opened, Err(CheckpointError::Corrupt { .. })), "without {gone}");
    }
}

#[test]
fn every_start_counts_and_uses_the_permission_up() {
    let (disk, _) = begun();
    for expected in 2..5 {
        let mut checkpoint = MemoryCheckpoint::open(&disk).unwrap();
        assert_eq!(checkpoint.next_incarnation().unwrap(), Incarnation(expected));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Batch { touched: Vec<(i64, u8)>, watermark_s: i64 },
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let touched = prop::collection::vec((0i64..6, 0u8..5), 0..8);
    prop_oneof![
        6 => (touched, 0i64..150).prop_map(|(touched, watermark_s)| {
            Step::Batch { touched, watermark_s }
        }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn what_is_restored_is_always_what_a_model_holds(
        steps in prop::collection::vec(step(), 1..60),
        complete: bool,
    ) {
        let (disk, mut checkpoint) = begun();
        let mut trial = Trial::new();
        if complete {
            trial.output_mode = OutputMode::Complete;
        }
        for step in steps {
            match step {
                Step::Batch { touched, watermark_s } => {
                    let late = trial.last.as_ref().map_or(0, |l| l.next_watermarks.late_bound.0);
                    let mut groups: Vec<_> = touched
                        .into_iter()
                        .filter(|(window, _)| complete || (window + 1) * 30_000 > late)
                        .map(|(window, store)| (window, format!("s{store}")))
                        .collect();
                    groups.sort_unstable();
                    groups.dedup();
                    let groups: Vec<_> =
                        groups.iter().map(|(window, store)| (*window, store.as_str())).collect();
                    run(&mut checkpoint, trial.plan(&groups, watermark_s)).unwrap();
                }
                Step::Reopen => checkpoint = MemoryCheckpoint::open(&disk).unwrap(),
                Step::Crash => {
                    disk.crash();
                    checkpoint = MemoryCheckpoint::open(&disk).unwrap();
                }
            }
            let (recovered, groups) = load(&mut checkpoint).unwrap();
            prop_assert_eq!(&recovered.last, &trial.last);
            prop_assert_eq!(totals(&groups), trial.expected());
        }
    }
}
