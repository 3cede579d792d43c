//! Laws over traces: how input is cut into batches, and where the job is restarted, changes no result.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use crate::{
    batch::{Due, Head, Job, Plan, Record, due},
    spec,
    types::{Incarnation, LeaderEpoch, Lineage, Offset, Partition, Position, Timestamp},
    window::{Table, Watermarks},
};

const PARTITION: Partition = Partition(0);

/// One event of a trace: store, price in cents, disorder in seconds (below the watermark's delay).
type Step = (u8, u32, i64);

fn job(mode: &str) -> Job {
    let text = spec::preset("sales").expect("the preset is there");
    let mut pipeline = spec::parse(text, "sales").expect("the preset is right").pipeline;
    pipeline.output_mode = mode.parse().expect("a mode");
    let start = Position { offset: Offset(0), epoch: LeaderEpoch::UNKNOWN };
    let head = Head {
        lineage: Lineage(1),
        incarnation: Incarnation(1),
        last: None,
        positions: BTreeMap::from([(PARTITION, start)]),
        watermarks: Watermarks::FIRST,
    };
    Job::new(Arc::new(pipeline), head, false).expect("the preset can be decoded")
}

/// A new job from what a checkpoint holds after `plan`: the groups as they were before its batch
/// closed any, and its record. What it publishes again must be what it published.
fn restarted(stored: &BTreeMap<Timestamp, Table>, plan: &Plan) -> Job {
    let mut again = self::job(plan.publication.record.output_mode.name());
    let touched = plan.touched.iter().map(|(closing, table)| (*closing, table));
    for (closing, table) in stored.iter().map(|(closing, table)| (*closing, table)).chain(touched) {
        for group in table.sorted() {
            again.restore(closing, group).expect("its own groups fit");
        }
    }
    let record = plan.publication.record.clone();
    let publication = again.resume(record, &plan.touched).expect("its own groups fit");
    assert_eq!(publication, plan.publication, "what is published again is what was published");
    again
}

fn record(trace: &[Step], index: usize) -> Vec<u8> {
    let (store, cents, disorder) = trace[index];
    let newest = 1000 + 7 * i64::try_from(index).expect("traces are short");
    let (whole, rest) = (cents / 100, cents % 100);
    format!(
        r#"{{"store":"s{store}","item":"i","price":{whole}.{rest:02},"ts":{}}}"#,
        newest - disorder
    )
    .into_bytes()
}

/// Runs a trace with a batch after each cut, restarting after those that say so; all published rows
/// and the digest of the last batch.
fn run(mode: &str, trace: &[Step], cuts: &[(usize, bool)]) -> (Vec<String>, Plan) {
    let mut job = job(mode);
    let mut published = Vec::new();
    let mut begin = 0;
    let mut last = None;
    let ends = cuts.iter().copied().chain([(trace.len(), false), (trace.len(), false)]);
    for (end, restart) in ends {
        let end = end.clamp(begin, trace.len());
        if due(job.head(), true, job.pipeline().output_mode, end > begin) == Due::Nothing {
            continue;
        }
        let offset = Offset(i64::try_from(end).expect("traces are short"));
        let mut open = job.open(BTreeMap::from([(PARTITION, offset)]), 0);
        for index in begin..end {
            let value = record(trace, index);
            let offset = Offset(i64::try_from(index).expect("traces are short"));
            let record = Record { partition: PARTITION, offset, value: Some(&value) };
            job.add(&mut open, record).expect("permissive mode goes on");
        }
        let windows = job.windows().expect("sales has windows");
        let stored = windows.open().map(|(closing, table)| (closing, table.clone())).collect();
        let reached = Position { offset, epoch: LeaderEpoch::UNKNOWN };
        let plan = job
            .close(open, &BTreeMap::from([(PARTITION, reached)]), 0)
            .expect("its own groups fit");
        let mut rows = plan.publication.rows.reader();
        while let Some(row) = rows.next() {
            published.push(format!("{row:?}"));
        }
        assert_eq!(plan.publication.record.counts.late, 0, "the trace has no late rows");
        if restart {
            job = restarted(&stored, &plan);
        }
        begin = end;
        last = Some(plan);
    }
    (published, last.expect("the first batch always runs"))
}

fn trace() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..4, 0u32..100_000, 0i64..30), 1..120)
}

fn cuts() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((0usize..120, any::<bool>()), 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    #[test]
    fn how_a_trace_is_cut_changes_no_final_result(trace in trace(), cuts in cuts()) {
        let (mut whole, _) = run("append", &trace, &[]);
        let (mut pieces, _) = run("append", &trace, &cuts);
        whole.sort();
        pieces.sort();
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn restarting_anywhere_leaves_every_batch_and_digest_as_it_was(trace in trace(), cuts in cuts()) {
        let straight: Vec<_> = cuts.iter().map(|(end, _)| (*end, false)).collect();
        for mode in ["append", "update", "complete"] {
            let (rows, plan) = run(mode, &trace, &straight);
            let (rows_again, plan_again) = run(mode, &trace, &cuts);
            prop_assert_eq!(&rows, &rows_again, "{}", mode);
            prop_assert_eq!(
                plan.publication.record.digest,
                plan_again.publication.record.digest
            );
        }
    }
}
