//! `files:DIR`: the rows of each batch as one file of JSON lines.
//!
//! Invariant: DIR holds each result exactly once, whenever the process or the machine stops: see
//! `batch_files`, which does the work. Not here: the form of a line (`json`).

use std::path::PathBuf;

use crate::{
    batch::MarkerFact,
    checkpoint::Visible,
    sink::{
        Sink, SinkError,
        batch_files::{BatchFiles, Kind},
        json::RowWriter,
    },
    types::{BatchId, Lineage, SinkName},
};

/// Writes `batch-000000000012.jsonl` for each batch with rows.
#[derive(Debug)]
pub struct FileSink {
    name: SinkName,
    files: BatchFiles,
}

impl FileSink {
    /// The sink `files:DIR`. The directory need not exist; nothing is touched before
    /// [`Sink::begin`].
    #[must_use]
    pub fn new(directory: PathBuf) -> FileSink {
        FileSink {
            name: SinkName(format!("files:{}", directory.display())),
            files: BatchFiles::new(directory, Kind::Results),
        }
    }
}

impl Sink for FileSink {
    fn name(&self) -> &SinkName {
        &self.name
    }

    fn marker(&mut self) -> Result<MarkerFact, SinkError> {
        self.files.marker()
    }

    fn begin(&mut self, lineage: Lineage, newest: Option<BatchId>) -> Result<(), SinkError> {
        self.files.begin(lineage, newest)
    }

    fn publish(&mut self, batch: &Visible) -> Result<(), SinkError> {
        #[cfg(feature = "faults")]
        if crate::faults::is_planted(crate::faults::Mutant::MergeTwoBatches) {
            return self.publish_in_twos(batch);
        }
        self.files.publish(batch.identity().batch, batch.record().counts.rows_out, |out| {
            let mut writer = RowWriter::new(batch.columns());
            for rows in batch.rows() {
                let rows = rows?;
                writer.write(&rows, out)?;
            }
            Ok(writer.finish(out)?)
        })
    }
}

#[cfg(feature = "faults")]
impl FileSink {
    /// What a mutant does: keeps every second batch for the file of the one behind it.
    fn publish_in_twos(&mut self, batch: &Visible) -> Result<(), SinkError> {
        static KEPT: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());
        let mut kept = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut writer = RowWriter::new(batch.columns());
        for rows in batch.rows() {
            let rows = rows?;
            writer.write(&rows, &mut *kept).expect("a vector takes every write");
        }
        writer.finish(&mut *kept).expect("a vector takes every write");
        if batch.identity().batch.0.is_multiple_of(2) {
            return Ok(());
        }
        let bytes = std::mem::take(&mut *kept);
        self.files
            .publish(batch.identity().batch, bytes.len() as u64, |out| Ok(out.write_all(&bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsString,
        fs,
        os::unix::{
            ffi::OsStringExt,
            fs::{FileTypeExt, PermissionsExt, symlink},
        },
        path::Path,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        batch::Shared,
        sink::fixtures,
        types::{DataType, Decimal, Value},
    };

    const OURS: Lineage = Lineage(1);
    const LATER: Lineage = Lineage(2);

    fn shared(lineage: Lineage, until: Option<u64>) -> Shared {
        Shared { lineage, until: until.map(BatchId) }
    }

    const FILE_12: &str = "batch-000000000012.jsonl";
    const LINE_12: &str = "{\"store\":\"s\",\"total\":12.00}\n";

    /// A batch whose one row names it.
    fn batch(number: u64) -> Visible {
        let columns = fixtures::columns(&[
            ("store", DataType::String),
            ("total", DataType::Decimal { precision: 18, scale: 2 }),
        ]);
        let total = Decimal { unscaled: i128::from(number) * 100, scale: 2 };
        fixtures::visible(number, columns, &[&[Value::String("s"), Value::Decimal(total)]])
    }

    fn empty_batch(number: u64) -> Visible {
        fixtures::visible(number, fixtures::columns(&[("store", DataType::String)]), &[])
    }

    /// A start as the engine makes it: look, decide, begin.
    fn start(directory: &Path, lineage: Lineage, newest: Option<u64>) -> FileSink {
        let mut sink = FileSink::new(directory.to_owned());
        sink.marker().unwrap();
        sink.begin(lineage, newest.map(BatchId)).unwrap();
        sink
    }

    /// What one process leaves after publishing these batches.
    fn run(directory: &Path, lineage: Lineage, newest: Option<u64>, batches: &[u64]) {
        let mut sink = start(directory, lineage, newest);
        batches.iter().for_each(|number| sink.publish(&batch(*number)).unwrap());
    }

    fn marker(directory: &Path) -> Result<MarkerFact, SinkError> {
        FileSink::new(directory.to_owned()).marker()
    }

    /// Names of what is there, without dot files.
    fn listing(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    fn diverged(outcome: Result<(), SinkError>) -> String {
        let Err(SinkError::Diverged(message)) = outcome else { panic!("{outcome:?}") };
        message
    }

    fn foreign<T: std::fmt::Debug>(outcome: Result<T, SinkError>) -> String {
        let Err(SinkError::Foreign(message)) = outcome else { panic!("{outcome:?}") };
        message
    }

    fn storage<T: std::fmt::Debug>(outcome: Result<T, SinkError>) -> String {
        let Err(SinkError::Storage(message)) = outcome else { panic!("{outcome:?}") };
        message
    }

    #[test]
    fn a_batch_is_one_file_and_a_batch_without_rows_none() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b/out");
        let mut sink = FileSink::new(directory.clone());
        assert_eq!(sink.name().0, format!("files:{}", directory.display()));
        assert_eq!(sink.marker().unwrap(), MarkerFact::Absent);
        assert!(!directory.exists(), "looking changes nothing");
        sink.begin(OURS, None).unwrap();
        sink.publish(&empty_batch(11)).unwrap();
        sink.publish(&batch(12)).unwrap();
        assert_eq!(listing(&directory), ["_query", FILE_12]);
        assert_eq!(fs::read_to_string(directory.join(FILE_12)).unwrap(), LINE_12);
        assert_eq!(
            fs::read_to_string(directory.join("_query")).unwrap(),
            "{\"format\":1,\"kind\":\"results\",\"lineage\":\"00000000000000000000000000000001\"}\n"
        );
        drop(sink);
        let found = marker(&directory).unwrap();
        assert_eq!(found, MarkerFact::At(OURS, Some(BatchId(12)), vec![]));
    }

    /// Brings a directory into a state that a crash can leave.
    type Leave = fn(&Path);

    /// Every state that a process can leave when it dies while publishing batch 12, and what may be
    /// left of it after a power cut.
    fn left_by_a_crash() -> Vec<(&'static str, Leave)> {
        fn temporary(directory: &Path, bytes: &str) {
            fs::write(directory.join(format!(".{FILE_12}.tmp")), bytes).unwrap();
        }
        vec![
            ("before anything", |_| {}),
            ("temporary file made", |directory| temporary(directory, "")),
            ("half written", |directory| temporary(directory, &LINE_12[..9])),
            ("written", |directory| temporary(directory, LINE_12)),
            ("blocks of nothing after a power cut", |directory| temporary(directory, "\0\0\0")),
            ("renamed, not marked", |directory| {
                fs::write(directory.join(FILE_12), LINE_12).unwrap();
            }),
            ("new owner's name half written", |directory| {
                fs::write(directory.join("._query.tmp"), "{\"for").unwrap();
            }),
        ]
    }

    #[test]
    fn whatever_a_crash_left_the_next_start_completes_it() {
        for (state, leave) in left_by_a_crash() {
            let root = tempfile::tempdir().unwrap();
            run(root.path(), OURS, None, &[11]);
            leave(root.path());
            // Batch 12 is durable, so the start may find it in the directory.
            run(root.path(), OURS, Some(12), &[12, 13]);
            let names = ["_query", "batch-000000000011.jsonl", FILE_12, "batch-000000000013.jsonl"];
            assert_eq!(listing(root.path()), names, "{state}");
            assert_eq!(fs::read_to_string(root.path().join(FILE_12)).unwrap(), LINE_12, "{state}");
            let temporary = root.path().join(format!(".{FILE_12}.tmp"));
            assert!(!temporary.exists() && !root.path().join("._query.tmp").exists(), "{state}");
        }
    }

    #[test]
    fn the_same_batch_again_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), OURS, None, &[12]);
        let before = fs::metadata(root.path().join(FILE_12)).unwrap();
        run(root.path(), OURS, Some(12), &[12, 12]);
        let after = fs::metadata(root.path().join(FILE_12)).unwrap();
        assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    }

    #[test]
    fn other_bytes_under_the_batchs_name_are_never_overwritten() {
        for there in ["", "x", &LINE_12[..9], &format!("{LINE_12}\n"), &LINE_12.replace("12", "13")]
        {
            let root = tempfile::tempdir().unwrap();
            let mut sink = start(root.path(), OURS, None);
            fs::write(root.path().join(FILE_12), there).unwrap();
            let message = diverged(sink.publish(&batch(12)));
            assert!(message.contains(FILE_12), "{message}");
            assert_eq!(fs::read_to_string(root.path().join(FILE_12)).unwrap(), there);
        }
    }

    #[test]
    fn a_file_where_the_batch_has_no_rows_is_another_batchs() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), OURS, None, &[12]);
        let mut sink = start(root.path(), OURS, Some(12));
        diverged(sink.publish(&empty_batch(12)));
        fs::write(root.path().join("batch-000000000013.jsonl"), "").unwrap();
        diverged(sink.publish(&empty_batch(13)));
    }

    #[test]
    fn large_batches_compare_equal_and_differ_in_any_byte() {
        let columns = fixtures::columns(&[("text", DataType::String)]);
        let text = "y".repeat(70_000);
        let row: &[Value<'_>] = &[Value::String(&text)];
        let large = fixtures::visible(12, columns, &[row; 40]);
        let root = tempfile::tempdir().unwrap();
        let mut sink = start(root.path(), OURS, None);
        sink.publish(&large).unwrap();
        sink.publish(&large).unwrap();
        let path = root.path().join(FILE_12);
        let whole = fs::read(&path).unwrap();
        for place in [0, 65_536, 262_144, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).unwrap();
            diverged(sink.publish(&large));
        }
    }

    #[test]
    fn an_accepted_rollback_moves_only_what_is_above_it() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), OURS, None, &[10, 11, 12, 13]);
        run(root.path(), LATER, Some(11), &[11, 12]);
        assert_eq!(
            listing(root.path()),
            [
                "_query",
                "_rolled_back",
                "batch-000000000010.jsonl",
                "batch-000000000011.jsonl",
                FILE_12
            ]
        );
        let aside = root.path().join("_rolled_back").join(OURS.to_string());
        assert_eq!(listing(&aside), [FILE_12, "batch-000000000013.jsonl"]);
        assert_eq!(
            marker(root.path()).unwrap(),
            MarkerFact::At(LATER, Some(BatchId(12)), vec![shared(OURS, Some(11))])
        );
        // A second rollback, to before the first batch, has its own folder.
        run(root.path(), Lineage(3), None, &[]);
        assert_eq!(
            marker(root.path()).unwrap(),
            MarkerFact::At(Lineage(3), None, vec![shared(OURS, None), shared(LATER, None)])
        );
        assert_eq!(listing(root.path()), ["_query", "_rolled_back"]);
        let aside = root.path().join("_rolled_back").join(LATER.to_string());
        assert_eq!(listing(&aside).len(), 3);
    }

    #[test]
    fn an_interrupted_rollback_goes_on_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), OURS, None, &[11, 12, 13]);
        let aside = root.path().join("_rolled_back").join(OURS.to_string());
        fs::create_dir_all(&aside).unwrap();
        let last = "batch-000000000013.jsonl";
        fs::rename(root.path().join(last), aside.join(last)).unwrap();
        assert_eq!(marker(root.path()).unwrap(), MarkerFact::At(OURS, Some(BatchId(12)), vec![]));
        run(root.path(), LATER, Some(11), &[12]);
        assert_eq!(listing(&aside), [FILE_12, last]);
        let names = ["_query", "_rolled_back", "batch-000000000011.jsonl", FILE_12];
        assert_eq!(listing(root.path()), names);
    }

    #[test]
    fn a_rollback_overwrites_nothing_that_was_moved_before() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), OURS, None, &[12]);
        let aside = root.path().join("_rolled_back").join(OURS.to_string());
        fs::create_dir_all(&aside).unwrap();
        fs::write(aside.join(FILE_12), "kept").unwrap();
        let mut sink = FileSink::new(root.path().to_owned());
        diverged(sink.begin(LATER, None));
        assert_eq!(fs::read_to_string(aside.join(FILE_12)).unwrap(), "kept");
        drop(sink);
        assert_eq!(marker(root.path()).unwrap(), MarkerFact::At(OURS, Some(BatchId(12)), vec![]));
    }

    #[test]
    fn files_above_this_very_historys_end_are_refused() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), OURS, None, &[11, 12]);
        let mut sink = FileSink::new(root.path().to_owned());
        let message = diverged(sink.begin(OURS, Some(BatchId(11))));
        assert!(message.contains("batch 12"), "{message}");
    }

    #[test]
    fn batch_files_without_an_owner_are_someone_elses() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(FILE_12), LINE_12).unwrap();
        foreign(marker(root.path()));
        foreign(FileSink::new(root.path().to_owned()).begin(OURS, Some(BatchId(12))));
        assert!(!root.path().join("_query").exists());
    }

    #[test]
    fn an_owner_that_cannot_be_read_is_not_overwritten() {
        let lineage = OURS.to_string();
        for text in [
            String::new(),
            "hello".to_owned(),
            format!("{{\"format\":2,\"kind\":\"results\",\"lineage\":\"{lineage}\"}}"),
            format!("{{\"format\":1,\"kind\":\"dead-letters\",\"lineage\":\"{lineage}\"}}"),
            "{\"format\":1,\"kind\":\"results\",\"lineage\":\"hello\"}".to_owned(),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("_query"), &text).unwrap();
            let message = foreign(marker(root.path()));
            assert!(message.contains("_query"), "{message}");
            foreign(FileSink::new(root.path().to_owned()).begin(OURS, None));
            assert_eq!(fs::read_to_string(root.path().join("_query")).unwrap(), text);
        }
    }

    #[test]
    fn a_second_user_of_the_directory_is_refused_within_a_second() {
        let root = tempfile::tempdir().unwrap();
        let mut first = start(root.path(), OURS, None);
        let began = Instant::now();
        foreign(marker(root.path()));
        foreign(FileSink::new(root.path().to_owned()).begin(LATER, None));
        assert!(began.elapsed() < Duration::from_secs(2));
        first.publish(&batch(12)).unwrap();
        drop(first);
        assert_eq!(marker(root.path()).unwrap(), MarkerFact::At(OURS, Some(BatchId(12)), vec![]));
    }

    #[test]
    fn a_directory_that_changed_hands_during_the_start_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("out");
        let mut slow = FileSink::new(directory.clone());
        assert_eq!(slow.marker().unwrap(), MarkerFact::Absent);
        run(&directory, LATER, None, &[0]);
        foreign(slow.begin(OURS, None));
        drop(slow);
        assert_eq!(marker(&directory).unwrap(), MarkerFact::At(LATER, Some(BatchId(0)), vec![]));
    }

    #[test]
    fn surprises_in_the_directory_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path();
        let kept = [
            "batch-12.jsonl",
            "batch-+00000000012.jsonl",
            "batch-0000000000012.jsonl",
            "batch-000000000012.jsonl.bak",
            "batch-99999999999999999999999.jsonl",
            ".batch-000000000012.jsonl.swp",
            ".something.tmp",
            "notes.txt",
        ];
        kept.iter().for_each(|name| fs::write(directory.join(name), name).unwrap());
        fs::create_dir(directory.join("folder")).unwrap();
        fs::create_dir(directory.join(".batch-000000000099.jsonl.tmp")).unwrap();
        symlink("/nowhere", directory.join("dangling")).unwrap();
        let not_text = OsString::from_vec(b"\xff\xfe.jsonl".to_vec());
        fs::write(directory.join(not_text), "x").unwrap();
        assert_eq!(marker(directory).unwrap(), MarkerFact::Absent);
        run(directory, OURS, None, &[12]);
        for name in kept {
            assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), name);
        }
        assert!(directory.join(".batch-000000000099.jsonl.tmp").is_dir());
    }

    #[test]
    fn links_and_pipes_under_our_names_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("out");
        let victim = root.path().join("victim");
        fs::write(&victim, LINE_12).unwrap();
        let mut sink = start(&directory, OURS, None);

        symlink(&victim, directory.join(FILE_12)).unwrap();
        diverged(sink.publish(&batch(12)));
        fs::create_dir(directory.join("batch-000000000013.jsonl")).unwrap();
        diverged(sink.publish(&batch(13)));
        let pipe = directory.join("batch-000000000014.jsonl");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        diverged(sink.publish(&batch(14)));
        symlink(&victim, directory.join(".batch-000000000015.jsonl.tmp")).unwrap();
        sink.publish(&batch(15)).unwrap();

        assert_eq!(fs::read_to_string(&victim).unwrap(), LINE_12);
        let published = directory.join("batch-000000000015.jsonl");
        assert!(fs::symlink_metadata(published).unwrap().is_file());
    }

    #[test]
    fn linked_marks_of_ownership_are_refused() {
        for name in ["_query", ".lock"] {
            let root = tempfile::tempdir().unwrap();
            let directory = root.path().join("out");
            fs::create_dir(&directory).unwrap();
            symlink(root.path().join("elsewhere"), directory.join(name)).unwrap();
            assert!(FileSink::new(directory).begin(OURS, None).is_err(), "{name}");
            assert!(!root.path().join("elsewhere").exists(), "{name}");
        }
    }

    #[test]
    fn failures_name_the_path_the_reason_and_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        for outcome in [
            marker(&file).map(|_| ()),
            marker(&file.join("below")).map(|_| ()),
            FileSink::new(file.clone()).begin(OURS, None),
            FileSink::new(file.join("below")).begin(OURS, None),
        ] {
            let message = storage(outcome);
            assert!(message.contains(&file.display().to_string()), "{message}");
            assert!(message.contains("os error"), "{message}");
            assert!(message.contains("Name a directory"), "{message}");
        }
    }

    #[test]
    fn a_directory_taken_away_while_running_stops_the_run() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("out");
        let mut sink = start(&directory, OURS, None);
        fs::remove_dir_all(&directory).unwrap();
        let message = storage(sink.publish(&batch(12)));
        assert!(message.contains(FILE_12), "{message}");
    }

    #[test]
    fn results_may_be_read_by_those_the_umask_lets_in() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), OURS, None, &[12]);
        let mode = fs::metadata(root.path().join(FILE_12)).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
        assert_eq!(mode & 0o111, 0);
    }
}
