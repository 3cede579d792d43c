//! Worked examples: what Spark was seen to print, batch by batch, for each kind of operator. Every
//! batch is followed by a restart, so that what is published again is looked at too.

use super::trials::{Trial, pipeline, sale, with_gaps};
use crate::spec::{OutputColumn, OutputSource};

const SUM: &str = "[aggregates]\nn = { sum = \"price\", cast = \"int\" }\n";
const ROW: &str = "output = [\"store\", \"n\", \"window_start\", \"window_end\"]";
const BY_STORE: &str = "group_by = [\"store\"]";

fn windows(mode: &str, delay: Option<&str>, window: &str) -> Trial {
    let sections = format!("[window]\n{window}\n{SUM}");
    Trial::new(pipeline(mode, delay, &format!("{BY_STORE}\n{ROW}"), &sections))
}

fn sessions(mode: &str) -> Trial {
    windows(mode, Some("30 seconds"), "session_gap = \"10 seconds\"")
}

fn deduplicated(mode: &str, delay: Option<&str>, how: &str) -> Trial {
    let sections = format!("[drop_duplicates]\ncolumns = [\"store\"]\n{how}");
    let output = "output = [\"store\", \"price\", \"ts\"]";
    Trial::new(pipeline(mode, delay, output, &sections))
}

#[test]
fn a_hopping_event_counts_in_every_window_that_is_still_open() {
    let hop = "duration = \"30 seconds\"\nslide = \"10 seconds\"";
    let mut trial = windows("append", Some("0 seconds"), hop);
    assert_eq!(trial.sales(&[("A", 1.0, 0)]), [""], "W = 0 lets no window end yet");
    assert_eq!(trial.sales(&[("B", 1.0, 12)]), ["", "A 1 -20 10"]);
    // Of the windows that hold second 5 one had closed: late, and counted in the other two.
    assert_eq!(trial.sales(&[("A", 4.0, 5)]), [""]);
    assert_eq!(trial.late(), 1);
    let closed = ["", "A 5 -10 20; B 1 -10 20; A 5 0 30; B 1 0 30; B 1 10 40"];
    assert_eq!(trial.sales(&[("C", 1.0, 40)]), closed);
}

#[test]
fn a_window_may_start_off_the_hour_and_before_1970() {
    let mut trial = windows("update", Some("30 seconds"), "duration = \"30s\"\nstart = \"-5s\"");
    assert_eq!(trial.sales(&[("A", 1.0, 24), ("A", 2.0, 25)]), ["A 1 -5 25; A 2 25 55"]);
    assert_eq!(trial.sales(&[("A", 1.0, -6)]), [""], "its window ended at -5, before W = 0");
    assert_eq!(trial.late(), 1);
}

#[test]
fn without_a_watermark_nothing_is_late_and_nothing_closes() {
    let mut trial = windows("update", None, "duration = \"30 seconds\"");
    assert_eq!(trial.sales(&[("A", 1.0, 100), ("A", 2.0, -40)]), ["A 2 -60 -30; A 1 90 120"]);
    assert_eq!(
        trial.sales(&[("A", 1.0, 100_000), ("A", 1.0, -40)]),
        ["A 3 -60 -30; A 1 99990 100020"]
    );
    let mut trial = windows("complete", None, "duration = \"30 seconds\"");
    trial.sales(&[("A", 1.0, 100), ("A", 2.0, -40)]);
    assert_eq!(trial.sales(&[("B", 1.0, 0)]), ["A 2 -60 -30; B 1 0 30; A 1 90 120"]);
}

#[test]
fn an_event_exactly_a_gap_after_the_last_belongs_to_its_session() {
    let mut trial = sessions("append");
    let events = [
        ("S", 1.0, 0),
        ("S", 2.0, 10),
        ("T", 1.0, 10),
        ("T", 1.0, 0),
        ("U", 1.0, 0),
        ("U", 5.0, 11),
    ];
    assert_eq!(trial.sales(&events), [""]);
    // W = 51 closes what ends by then.
    let closed = ["", "S 3 0 20; T 2 0 20; U 1 0 10; U 5 11 21"];
    assert_eq!(trial.sales(&[("Z", 1.0, 81)]), closed);
}

#[test]
fn a_bridge_merges_stored_sessions_over_batches() {
    let mut trial = sessions("append");
    trial.sales(&[("B", 1.0, 0), ("B", 2.0, 20), ("A", 1.0, 5), ("A", 1.0, 100)]);
    let mut trial = sessions("append");
    assert_eq!(trial.sales(&[("B", 1.0, 0), ("B", 2.0, 20), ("A", 1.0, 15)]), [""]);
    assert_eq!(trial.sales(&[("B", 4.0, 10), ("A", 1.0, 8)]), [""]);
    let last = trial.last.clone().expect("there was a batch");
    let counts = last.operators[0];
    assert_eq!((counts.updated, counts.removed, counts.total), (2, 2, 2), "B 20 and A 15 vanished");
    assert_eq!(trial.sales(&[("Z", 1.0, 70)]), ["", "B 7 0 30; A 2 8 25"]);
}

#[test]
fn a_session_s_event_is_late_by_its_own_end_even_beside_an_open_session() {
    for (mode, before) in [("append", ""), ("complete", "A 3 30 60; B 1 75 85")] {
        let mut trial = sessions(mode);
        trial.sales(&[("A", 1.0, 30), ("A", 1.0, 40), ("A", 1.0, 50), ("B", 1.0, 75)]);
        // In complete mode no batch without data moves the late bound to W.
        trial.batch(&[(0, "{}".to_owned())], true);
        // W = 45: 32 and 35 are late although [30, 60) is open, 36 is not.
        let rows = trial.sales(&[("A", 8.0, 32), ("A", 8.0, 35), ("A", 1.0, 36)]);
        assert_eq!(rows[0], before.replace("A 3", "A 4"), "{mode}");
        assert_eq!(trial.late(), 2, "{mode}");
        assert_eq!(rows.len(), 1, "{mode}: the watermark did not move");
    }
}

#[test]
fn an_event_may_begin_a_session_anew_beside_one_that_was_closed() {
    let mut trial = sessions("append");
    assert_eq!(trial.sales(&[("A", 1.0, 30), ("Z", 1.0, 71)]), ["", "A 1 30 40"]);
    // W = 41: second 36 would have bridged into [30, 40).
    assert_eq!(trial.sales(&[("A", 1.0, 36), ("A", 1.0, 44)]), [""]);
    assert_eq!(trial.sales(&[("Z", 1.0, 90)]), ["", "A 2 36 54"]);
}

#[test]
fn gaps_may_differ_by_event_and_a_gap_of_nothing_leaves_the_event_out() {
    let sections = format!("[window]\nsession_gap = \"1s\"\n{SUM}");
    let fixed = pipeline("append", Some("30 seconds"), &format!("{BY_STORE}\n{ROW}"), &sections);
    let gaps = [("A", "5 seconds"), ("B", "20 seconds"), ("C", "0 seconds")];
    let mut trial = Trial::new(with_gaps(fixed, 0, &gaps));
    let events = [
        ("A", 1.0, 0),
        ("A", 1.0, 6),
        ("B", 1.0, 0),
        ("B", 1.0, 19),
        ("C", 1.0, 0),
        ("D", 1.0, 60),
    ];
    let rows = ["", "A 1 0 5; A 1 6 11"];
    assert_eq!(trial.sales(&events), rows, "the one without a gap moved W to 30");
    assert_eq!(trial.last.as_ref().map(|last| last.totals.filtered), Some(2));
    assert_eq!(trial.sales(&[("A", 1.0, 100)]), ["", "B 2 0 39"]);
}

#[test]
fn a_duplicate_within_the_watermark_neither_refreshes_nor_changes_its_key() {
    let mut trial = deduplicated("append", Some("30 seconds"), "within_watermark = true");
    assert_eq!(trial.sales(&[("A", 1.0, 5), ("A", 2.0, 105), ("B", 1.0, 2)]), ["A 1 5; B 1 2", ""]);
    assert_eq!(trial.last.as_ref().map(|last| last.totals.duplicates), Some(1));
    // A is free at 35: W = 75 forgot it. Second 75 is late, 76 is not.
    assert_eq!(trial.sales(&[("A", 3.0, 75), ("A", 4.0, 76), ("A", 5.0, 77)]), ["A 4 76"]);
    assert_eq!(trial.late(), 1);
    // Kept until 106: the batch that sees W = 105 does not forget it, that of 106 does.
    assert_eq!(trial.sales(&[("Z", 1.0, 135)]), ["Z 1 135", ""]);
    assert_eq!(trial.sales(&[("A", 6.0, 110)]), [""]);
    assert_eq!(trial.sales(&[("Y", 1.0, 136)]), ["Y 1 136", ""]);
    assert_eq!(trial.sales(&[("A", 7.0, 110)]), ["A 7 110"]);
}

#[test]
fn a_null_event_time_takes_part_and_is_forgotten_as_one_of_1970() {
    let mut trial = deduplicated("append", Some("30 seconds"), "within_watermark = true");
    assert_eq!(
        trial.sales(&[("A", 1.0, i64::MIN), ("A", 2.0, 10), ("Z", 1.0, 100)]),
        ["A 1 NULL; Z 1 100", ""]
    );
    assert_eq!(trial.sales(&[("A", 3.0, 80)]), ["A 3 80"]);
    assert_eq!(trial.sales(&[("N", 3.0, i64::MIN), ("N", 4.0, 90)]), ["N 3 NULL"]);
    assert_eq!(trial.sales(&[("N", 4.0, 90)]), ["N 4 90"], "it was forgotten with its batch");
}

#[test]
fn with_the_event_time_keys_are_kept_until_the_watermark_reaches_it() {
    let mut trial = deduplicated("update", Some("30 seconds"), "event_time = true");
    assert_eq!(trial.sales(&[("A", 1.0, 5), ("A", 2.0, 5), ("A", 3.0, 6)]), ["A 1 5; A 3 6"]);
    assert_eq!(trial.sales(&[("A", 9.0, i64::MIN), ("Z", 1.0, 36)]), ["A 9 NULL; Z 1 36", ""]);
    let last = trial.last.clone().expect("there was a batch");
    assert_eq!((last.operators[0].total, last.operators[0].removed), (2, 2), "the NULL stays");
    assert_eq!(trial.sales(&[("A", 1.0, 6), ("A", 1.0, 7), ("A", 1.0, i64::MIN)]), ["A 1 7"]);
    assert_eq!(trial.late(), 1);
}

#[test]
fn without_the_event_time_keys_are_kept_for_ever_and_late_records_dropped_all_the_same() {
    let mut trial = deduplicated("append", Some("30 seconds"), "");
    assert_eq!(trial.sales(&[("A", 1.0, 5), ("Z", 1.0, 100)]), ["A 1 5; Z 1 100", ""]);
    assert_eq!(trial.sales(&[("A", 1.0, 101), ("B", 1.0, 70)]), ["", ""]);
    assert_eq!(trial.late(), 1);
    let mut trial = deduplicated("append", None, "");
    assert_eq!(trial.sales(&[("A", 1.0, 1000)]), ["A 1 1000"]);
    assert_eq!(trial.sales(&[("A", 1.0, 5), ("B", 1.0, 5)]), ["B 1 5"]);
}

#[test]
fn of_equal_records_the_first_by_partition_and_offset_is_kept_however_they_arrive() {
    let mut trial = deduplicated("append", None, "");
    let records = [(1, "A", 1.0), (1, "B", 2.0), (0, "C", 3.0), (0, "A", 4.0)];
    let records = records.map(|(partition, store, price)| (partition, sale(store, "i", price, 7)));
    assert_eq!(trial.batch(&records, true).expect("it is due"), ["C 3 7", "A 4 7", "B 2 7"]);
}

#[test]
fn null_keys_are_equal_and_differ_from_texts_that_look_like_them() {
    let mut trial = deduplicated("append", None, "");
    let sales = [("NULL", 1.0, 1), ("null", 2.0, 1), ("", 3.0, 1), ("NULL", 4.0, 1)];
    assert_eq!(trial.sales(&sales), ["NULL 1 1; null 2 1;  3 1"]);
}

fn deduplicated_windows(mode: &str) -> Trial {
    let sections = format!(
        "[drop_duplicates]\ncolumns = [\"store\", \"price\"]\nwithin_watermark = true\n\
         [window]\nduration = \"30 seconds\"\n{SUM}"
    );
    let head = format!("{BY_STORE}\n{ROW}");
    Trial::new(pipeline(mode, Some("30 seconds"), &head, &sections))
}

#[test]
fn a_deduplication_before_a_window_gives_it_each_record_once() {
    let mut trial = deduplicated_windows("append");
    assert_eq!(trial.sales(&[("A", 1.0, 1), ("A", 1.0, 2), ("A", 2.0, 3)]), [""]);
    assert_eq!(trial.sales(&[("A", 2.0, 4), ("B", 1.0, 70)]), ["", "A 3 0 30"]);
    let last = trial.last.clone().expect("there was a batch");
    let totals: Vec<_> = last.operators.iter().map(|operator| operator.total).collect();
    assert_eq!(totals, [1, 1], "the aggregation first, then the deduplication");
    assert_eq!(trial.sales(&[("A", 7.0, 40)]), [""], "late at the deduplication");
    assert_eq!((trial.late(), trial.last.map(|last| last.operators[1].dropped)), (1, Some(1)));
}

#[test]
fn complete_mode_runs_batches_without_data_only_for_a_deduplication() {
    let mut trial = deduplicated_windows("complete");
    assert_eq!(trial.sales(&[("A", 1.0, 1), ("B", 1.0, 70)]), ["A 1 0 30; B 1 60 90"; 2]);
    let mut trial = windows("complete", Some("30 seconds"), "duration = \"30 seconds\"");
    assert_eq!(trial.sales(&[("A", 1.0, 1), ("B", 1.0, 70)]), ["A 1 0 30; B 1 60 90"]);
    assert_eq!(trial.sales(&[("A", 1.0, 1)]), ["A 2 0 30; B 1 60 90"], "nothing is late");
}

#[test]
fn groups_of_keys_alone_never_close_and_batches_without_data_run_in_update_mode() {
    let head = format!("{BY_STORE}\noutput = [\"store\", \"n\"]");
    let trial = |mode| Trial::new(pipeline(mode, Some("30 seconds"), &head, SUM));
    let mut update = trial("update");
    assert_eq!(update.sales(&[("B", 1.0, 1), ("A", 1.0, 100)]), ["A 1; B 1", ""]);
    assert_eq!(update.sales(&[("B", 1.0, 1), ("NULL", 1.0, i64::MIN)]), ["NULL 1; B 2"]);
    assert_eq!(update.late(), 0);
    let mut complete = trial("complete");
    assert_eq!(complete.sales(&[("B", 1.0, 1), ("A", 1.0, 100)]), ["A 1; B 1"]);
    assert_eq!(complete.sales(&[("B", 1.0, 1)]), ["A 1; B 2"]);
}

#[test]
fn a_group_of_nothing_is_there_without_any_record() {
    let aggregates =
        "[aggregates]\nn = { sum = \"price\", cast = \"int\" }\nc = { count = \"*\" }\n";
    let trial = |mode| {
        let output = "output = [\"n\", \"c\"]";
        Trial::new(pipeline(mode, Some("30 seconds"), output, aggregates))
    };
    let mut complete = trial("complete");
    assert_eq!(complete.sales(&[]), ["NULL 0"]);
    assert_eq!(complete.sales(&[("A", 1.0, 100)]), ["1 1"]);
    let mut update = trial("update");
    assert_eq!(update.sales(&[]), ["NULL 0"]);
    assert_eq!(update.sales(&[("A", 1.0, 100)]), ["1 1", "1 1"], "every batch shows it");
}

#[test]
fn groups_may_be_of_several_keys_or_of_the_window_alone() {
    let window = "[window]\nduration = \"30 seconds\"\n";
    let head =
        "group_by = [\"store\", \"item\"]\noutput = [\"store\", \"item\", \"least\", \"most\"]";
    let aggregates = "[aggregates]\nleast = { min = \"item\" }\nmost = { max = \"item\" }\n";
    let mut trial =
        Trial::new(pipeline("update", Some("30 seconds"), head, &format!("{window}{aggregates}")));
    let records = [("B", "x"), ("A", "NULL"), ("A", "b"), ("A", "a"), ("B", "x")];
    let records = records.map(|(store, item)| (0, sale(store, item, 1.0, 5)));
    let expected = ["A NULL NULL NULL", "A a a a", "A b b b", "B x x x"];
    assert_eq!(trial.batch(&records, true).expect("it is due"), expected);
    let head = "output = [\"least\", \"most\", \"window_start\"]";
    let mut trial =
        Trial::new(pipeline("update", Some("30 seconds"), head, &format!("{window}{aggregates}")));
    // By their UTF-8 bytes; NULL is passed over and the empty text is the least.
    let items = ["z", "\u{1f600}", "\u{ffee}", "e\u{301}", "NULL", "", "\u{e9}"];
    let records = items.map(|item| (0, sale("A", item, 1.0, 5)));
    assert_eq!(trial.batch(&records, true).expect("it is due"), [" \u{1f600} 0"]);
}

#[test]
fn a_condition_above_the_watermark_drops_records_that_still_move_it() {
    let window = "[window]\nduration = \"30 seconds\"\n";
    let head = format!(
        "{BY_STORE}\n{ROW}\nwhere_after_watermark = \"price > 0 AND event_time < TIMESTAMP \
         '1970-01-01 00:01:00'\""
    );
    let mut trial =
        Trial::new(pipeline("append", Some("30 seconds"), &head, &format!("{window}{SUM}")));
    assert_eq!(trial.sales(&[("A", 1.0, 5), ("A", 0.0, 500)]), [""], "the price is asked below");
    assert_eq!(trial.sales(&[("A", 1.0, 100)]), ["", "A 1 0 30"], "the time above");
    assert_eq!(trial.last.map(|last| last.totals.filtered), Some(2));
}

#[test]
fn batches_without_data_can_be_switched_off_and_the_next_data_closes_instead() {
    let sections = format!("[window]\nduration = \"30s\"\n{SUM}[spark]\nno_data_batches = false\n");
    let head = format!("{BY_STORE}\n{ROW}");
    let mut trial = Trial::new(pipeline("append", Some("30 seconds"), &head, &sections));
    assert_eq!(trial.sales(&[("A", 1.0, 10), ("B", 1.0, 70)]), [""]);
    // The late bound is still the watermark before: second 10 is taken, and closed at once.
    assert_eq!(trial.sales(&[("A", 1.0, 10)]), ["A 2 0 30"]);
}

#[test]
fn a_projection_computes_its_columns() {
    let mut pipeline = pipeline("append", None, "output = [\"store\"]", "");
    pipeline.filter = None;
    let computed = crate::spec::Expression::NoData;
    pipeline.computed = vec![computed];
    pipeline.output.push(OutputColumn {
        name: "no_data".to_owned(),
        source: OutputSource::Computed(0),
        data_type: crate::types::DataType::Boolean,
    });
    let mut trial = Trial::new(pipeline);
    let records = [(0, sale("A", "i", 1.0, 1)), (0, String::new())];
    assert_eq!(trial.batch(&records, true).expect("it is due"), ["A false", "NULL true"]);
    assert_eq!(trial.batch(&[], true), None, "a projection has no batch without data");
}
