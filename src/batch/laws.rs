//! Laws over traces, for every kind of pipeline: how input is cut into batches, and where the job is
//! restarted, changes no result.

use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::trials::{Trial, pipeline, sale, with_gaps};
use crate::{
    batch::{BatchRecord, Room},
    spec::{Compat, Pipeline, Semantics},
    types::Keeper,
};

/// One event of a trace: store, item, price in cents, disorder in seconds (below the watermark's
/// delay), whether it is the event before it once more.
type Step = (u8, u8, u32, i64, bool);

/// After how many events a batch ends, and whether the job is restarted then.
type Cuts = Vec<(usize, bool)>;

const AGGREGATES: &str = "[aggregates]\nn = { sum = \"price\", cast = \"int\" }\nc = { count = \"*\" }\n\
                          low = { min = \"item\" }\nhigh = { max = \"price\" }\nmean = { avg = \"price\" }\n";

/// Kinds of groups, each with what stands before the sections and the window.
const GROUPS: [(&str, &str); 9] = [
    ("store", "[window]\nduration = \"30 seconds\"\n"),
    ("store", "[window]\nduration = \"30 seconds\"\nslide = \"10 seconds\"\n"),
    (
        "store",
        "[window]\nduration = \"25 seconds\"\nslide = \"10 seconds\"\nstart = \"-3 seconds\"\n",
    ),
    ("store\", \"item", "[window]\nduration = \"1 minute\"\nstart = \"7 seconds\"\n"),
    ("", "[window]\nduration = \"30 seconds\"\n"),
    ("store", "[window]\nsession_gap = \"10 seconds\"\n"),
    ("store", "[window]\nsession_gap = \"1 second\"\n"),
    ("store", ""),
    ("", ""),
];

/// The first of them without a window.
const ALONE: usize = 7;

/// Which of them gets gaps that depend on the item.
const DYNAMIC: usize = 6;

const DEDUPLICATIONS: [&str; 4] = [
    "",
    "[drop_duplicates]\ncolumns = [\"store\", \"item\", \"price\"]\nwithin_watermark = true\n",
    "[drop_duplicates]\ncolumns = [\"store\", \"item\", \"price\"]\nevent_time = true\n",
    "[drop_duplicates]\ncolumns = [\"store\", \"item\", \"price\"]\n",
];

fn aggregation(mode: &str, group: usize, deduplication: usize) -> Pipeline {
    let (keys, window) = GROUPS[group];
    let by = if keys.is_empty() { String::new() } else { format!("group_by = [\"{keys}\"]\n") };
    let names = if keys.is_empty() { String::new() } else { format!("\"{keys}\", ") };
    let times = if window.is_empty() { "" } else { ", \"window_start\", \"window_end\"" };
    let head = format!("{by}output = [{names}\"n\", \"c\", \"low\", \"high\", \"mean\"{times}]");
    let sections = format!("{}{window}{AGGREGATES}", DEDUPLICATIONS[deduplication]);
    let pipeline = pipeline(mode, Some("30 seconds"), &head, &sections);
    if group == DYNAMIC {
        // Events of other items are in no session.
        return with_gaps(pipeline, 1, &[("i0", "4 seconds"), ("i1", "25 seconds")]);
    }
    pipeline
}

fn deduplicated(deduplication: usize) -> Pipeline {
    let output = "output = [\"store\", \"item\", \"price\", \"ts\"]";
    pipeline("append", Some("30 seconds"), output, DEDUPLICATIONS[deduplication])
}

fn records(trace: &[Step]) -> Vec<(i32, String)> {
    let mut records: Vec<(i32, String)> = Vec::new();
    for (index, (store, item, cents, disorder, again)) in trace.iter().enumerate() {
        let newest = 1000 + 7 * i64::try_from(index).expect("traces are short");
        let (store, item) = (format!("s{store}"), format!("i{item}"));
        let value = sale(&store, &item, f64::from(*cents) / 100.0, newest - disorder);
        let partition = i32::try_from(cents % 2).expect("it is 0 or 1");
        let before = records.last().filter(|_| *again).map(|(_, value)| value.clone());
        records.push((partition, before.unwrap_or(value)));
    }
    records
}

/// Runs a trace with a batch after each cut, restarting after those that say so; the rows of every
/// batch, and the newest batch.
fn run(
    pipeline: &Pipeline,
    records: &[(i32, String)],
    cuts: &Cuts,
) -> (Vec<Vec<String>>, BatchRecord) {
    run_on(&mut Trial::new(pipeline.clone()), records, cuts)
}

fn run_on(
    trial: &mut Trial,
    records: &[(i32, String)],
    cuts: &Cuts,
) -> (Vec<Vec<String>>, BatchRecord) {
    let mut published = Vec::new();
    let mut begin = 0;
    let ends = cuts.iter().copied().chain([(records.len(), false), (records.len(), false)]);
    for (end, restart) in ends {
        let end = end.clamp(begin, records.len());
        published.extend(trial.batch(&records[begin..end], restart));
        begin = end;
    }
    (published, trial.last.clone().expect("the first batch always runs"))
}

fn sorted(batches: Vec<Vec<String>>) -> Vec<String> {
    let mut rows: Vec<_> = batches.into_iter().flatten().collect();
    rows.sort();
    rows
}

fn trace(longest_disorder: i64) -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..4, 0u8..3, 0u32..100_000, 0..longest_disorder, prop::bool::weighted(0.2));
    prop::collection::vec(step, 1..80)
}

fn cuts() -> impl Strategy<Value = Cuts> {
    prop::collection::vec((0usize..80, any::<bool>()), 0..10).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    /// With a deduplication this holds for keys that are kept for ever or compared with their event
    /// time. Within the watermark it does not: whether a key was forgotten when an equal record comes
    /// depends on where the batches ended. And which of equal records is kept is told by partition
    /// and offset within a batch only, so their partitions are left out.
    #[test]
    fn how_a_trace_is_cut_changes_no_final_result(
        trace in trace(30), cuts in cuts(), group in 0..ALONE,
        deduplication in prop::sample::select(vec![0usize, 2, 3]),
    ) {
        let pipeline = aggregation("append", group, deduplication);
        let mut records = records(&trace);
        records.iter_mut().for_each(|(partition, _)| *partition = 0);
        let (whole, last) = run(&pipeline, &records, &Vec::new());
        prop_assert_eq!(last.totals.late, 0);
        let (pieces, last) = run(&pipeline, &records, &cuts);
        prop_assert_eq!(last.totals.late, 0);
        prop_assert_eq!(sorted(whole), sorted(pieces));
    }

    #[test]
    fn groups_of_keys_alone_add_up_to_the_same_however_the_trace_is_cut(
        trace in trace(200), cuts in cuts(), group in ALONE..GROUPS.len(),
    ) {
        let pipeline = aggregation("complete", group, 0);
        let records = records(&trace);
        let (whole, _) = run(&pipeline, &records, &Vec::new());
        let (pieces, _) = run(&pipeline, &records, &cuts);
        prop_assert_eq!(whole.last(), pieces.last());
    }

    /// Late records included: what is late follows from the batches alone. Every restart publishes
    /// its batch again, alike (`Trial::batch`).
    #[test]
    fn restarting_anywhere_leaves_every_batch_and_digest_as_it_was(
        trace in trace(90), cuts in cuts(), group in 0..GROUPS.len(), deduplication in 0usize..4,
    ) {
        let straight: Vec<_> = cuts.iter().map(|(end, _)| (*end, false)).collect();
        for mode in modes(group) {
            let pipeline = aggregation(mode, group, deduplication);
            let records = records(&trace);
            prop_assert_eq!(run(&pipeline, &records, &straight), run(&pipeline, &records, &cuts));
        }
    }

    #[test]
    fn restarting_a_deduplication_anywhere_leaves_every_batch_and_digest_as_it_was(
        trace in trace(90), cuts in cuts(), deduplication in 1usize..4,
    ) {
        let straight: Vec<_> = cuts.iter().map(|(end, _)| (*end, false)).collect();
        let (pipeline, records) = (deduplicated(deduplication), records(&trace));
        prop_assert_eq!(run(&pipeline, &records, &straight), run(&pipeline, &records, &cuts));
    }

    /// None of it, some of it or all: of windows and keys alone what does not fit is read back, of every kind
    /// the rows that are too many go ahead.
    #[test]
    fn how_much_state_is_in_memory_changes_no_batch_and_no_digest(
        trace in trace(90), cuts in cuts(), group in 0..GROUPS.len(), deduplication in 0usize..4,
        state_bytes in prop_oneof![Just(0usize), 0usize..6000], rows_bytes in 0usize..500,
    ) {
        let straight: Vec<_> = cuts.iter().map(|(end, _)| (*end, false)).collect();
        for mode in modes(group) {
            let pipeline = aggregation(mode, group, deduplication);
            let records = records(&trace);
            let mut small = Trial::within(pipeline.clone(), Room { state_bytes, rows_bytes, ..Room::ENDLESS });
            let given = run_on(&mut small, &records, &cuts);
            prop_assert_eq!(run(&pipeline, &records, &straight), given);
            let stays = GROUPS[group].1.contains("session");
            prop_assert!(stays || state_bytes > 0 || small.beyond.0 > 0, "something was read back");
        }
    }

    /// Whether each partition has a lane of its own, and what of the state is in memory then.
    #[test]
    fn in_how_many_lanes_batches_are_read_changes_no_batch_and_no_digest(
        trace in trace(90), cuts in cuts(), group in 0..GROUPS.len(), deduplication in 0usize..4,
        state_bytes in prop_oneof![Just(usize::MAX), Just(0usize), 0usize..6000],
    ) {
        for mode in modes(group) {
            let pipeline = aggregation(mode, group, deduplication);
            let records = records(&trace);
            let two = NonZeroUsize::MIN.saturating_add(1);
            let room = Room { state_bytes, ..Room::ENDLESS };
            let mut lanes = Trial::within(pipeline.clone(), room).in_lanes(two);
            let given = run_on(&mut lanes, &records, &cuts);
            prop_assert_eq!(run_on(&mut Trial::within(pipeline, room), &records, &cuts), given);
        }
    }

    /// Of sessions, and of every kind of groups in Spark's way: a group keeps the least text.
    #[test]
    fn texts_that_groups_keep_are_counted_to_the_byte(
        trace in trace(90), cuts in cuts(), group in prop::sample::select(vec![0usize, 1, 4, 5, 7, 8]),
    ) {
        let ours = aggregation("complete", group, 0);
        let is_session = GROUPS[group].1.contains("session");
        for pipeline in [is_session.then(|| ours.clone()), Some(in_sparks_way(ours))].into_iter().flatten() {
            let held = |padding: usize| {
                let longer = |(partition, value): (i32, String)| {
                    (partition, value.replace("\"item\":\"", &format!("\"item\":\"{}", "x".repeat(padding))))
                };
                let records: Vec<_> = records(&trace).into_iter().map(longer).collect();
                let mut trial = Trial::new(pipeline.clone());
                let (_, last) = run_on(&mut trial, &records, &cuts);
                (trial.job.memory_bytes(Keeper::Groups), last.operators[0].total)
            };
            let ((short, groups), (long, _)) = (held(0), held(1000));
            prop_assert_eq!(long - short, 1000 * usize::try_from(groups).expect("they are few"));
        }
    }

    /// There the order of rows may change with a restart, as Spark's does; nothing else may.
    #[test]
    fn in_sparks_way_restarting_anywhere_leaves_every_batch_as_it_was_but_for_its_order(
        trace in trace(90), cuts in cuts(), group in 0..GROUPS.len(), deduplication in 0usize..4,
    ) {
        let straight: Vec<_> = cuts.iter().map(|(end, _)| (*end, false)).collect();
        for mode in modes(group) {
            let pipeline = in_sparks_way(aggregation(mode, group, deduplication));
            let records = records(&trace);
            let (left, last) = run(&pipeline, &records, &straight);
            let (right, again) = run(&pipeline, &records, &cuts);
            prop_assert_eq!(sorted_each(left), sorted_each(right));
            prop_assert_eq!(last.operators, again.operators);
        }
    }

    /// Both ways are of one mind on what is in which window, what is late and what is done with. Sums
    /// are left out: theirs are rounded at every step.
    #[test]
    fn sparks_way_gives_the_rows_of_ours_in_another_order(
        trace in trace(90), cuts in cuts(), group in 0..GROUPS.len(), deduplication in 0usize..4,
    ) {
        for mode in modes(group) {
            let mut ours = aggregation(mode, group, deduplication);
            ours.output.retain(|column| !matches!(column.name.as_str(), "n" | "mean"));
            // Which of equal records is kept is told by partition and offset in our way.
            let mut records = records(&trace);
            records.iter_mut().for_each(|(partition, _)| *partition = 0);
            let (left, last) = run(&ours, &records, &cuts);
            let (right, theirs) = run(&in_sparks_way(ours), &records, &cuts);
            prop_assert_eq!(sorted_each(left), sorted_each(right));
            // Spark also writes sessions of a touched key that did not change.
            let counts = |record: &BatchRecord| -> Vec<[u64; 2]> {
                let each = record.operators.iter();
                each.map(|counts| [counts.total, counts.removed]).collect()
            };
            prop_assert_eq!(counts(&last), counts(&theirs));
        }
    }
}

#[test]
fn an_open_batch_tells_how_much_its_keys_and_records_take() {
    let mut pipelines = vec![deduplicated(1)];
    for (group, (keys, _)) in GROUPS.iter().enumerate().filter(|(group, _)| *group != DYNAMIC) {
        let deduplications = if keys.is_empty() { 1..4 } else { 0..4 };
        pipelines.extend(deduplications.map(|dedup| aggregation("complete", group, dedup)));
    }
    for ours in pipelines {
        for pipeline in [ours.clone(), in_sparks_way(ours)] {
            let held = |padding: usize| {
                let store = |index: i64| format!("{}{index}", "x".repeat(padding));
                let of = |index| (0, sale(&store(index), "i", 1.0, 1000 + index));
                let records: Vec<_> = (0..20).map(of).collect();
                let mut trial = Trial::new(pipeline.clone());
                trial.batch(&records, false);
                trial.held_bytes
            };
            let (short, long) = (held(0), held(10_000));
            assert!(short < 50_000 && (200_000..2_000_000).contains(&long), "{short}, {long}");
        }
    }
}

/// The output modes that a kind of groups allows.
fn modes(group: usize) -> Vec<&'static str> {
    let window = GROUPS[group].1;
    let is_allowed = |mode: &&str| match *mode {
        "update" => !window.contains("session"),
        "append" => !window.is_empty(),
        _ => true,
    };
    ["append", "update", "complete"].into_iter().filter(is_allowed).collect()
}

fn in_sparks_way(mut pipeline: Pipeline) -> Pipeline {
    pipeline.semantics = Semantics { shuffle_partitions: 3, ..Semantics::of(Compat::Spark35) };
    pipeline
}

fn sorted_each(mut batches: Vec<Vec<String>>) -> Vec<Vec<String>> {
    batches.iter_mut().for_each(|rows| rows.sort());
    batches
}
