//! Damage to a state directory: flipped bytes, cut, missing, older and exchanged files. Every start
//! refuses it with exit 11, 12 or 13, or its next batches are those of an undamaged one; none ends
//! in a wrong number, a panic, an abort or a wait without end.
//!
//! The engine is the real one over the real database, with a topic and a sink in memory, so that a trial
//! takes milliseconds. The sink keeps nothing and the topic has no commits: a checkpoint must
//! protect itself. Three histories together fill every family. Each is made in several starts, so that
//! there are sorted files, logs and older copies of both.
//!
//! The short tier tries a sample and `SALES_STREAM_TIER=long` every byte and every length of every file;
//! `SALES_STREAM_DAMAGE_STRIDE` and `SALES_STREAM_SEED` choose the distance of samples and the first.
//! `checkpoint/rocks/damage.rs` looks deeper into single files and at what `verify` says of them.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use sales_stream::{
    batch::{Permissions, Publication},
    checkpoint::rocks::{self, RocksCheckpoint},
    engine::{self, Clock, EngineError, Parts, Settings},
    sink::memory::{Keeps, MemorySink},
    source::memory::MemoryTopic,
    spec::{self, MaxOffsets, StartingOffsets, Trigger},
    stop::Stop,
    types::{Digest, Incarnation, Lineage, Partition},
};

/// No trial may take longer.
const LONGEST_TRIAL: Duration = Duration::from_secs(30);

/// Starts that make a golden directory, and records for each.
const STARTS: u32 = 4;
const RECORDS_A_START: u32 = 12;

struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> i64 {
        1_756_800_000_000
    }
}

/// Files by their path in the state directory.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A history, and what its state directory held after each start.
struct Golden {
    settings: Settings,
    record: fn(u32) -> String,
    /// After each start but the last, oldest first.
    older: Vec<Files>,
    whole: Files,
    /// Every batch that a right run publishes, those before the damage included.
    expected: BTreeMap<u64, Publication>,
    home: tempfile::TempDir,
}

fn sale(index: u32) -> String {
    let (store, price, ts) = (index % 5, index % 7, 1000 + index * 10);
    format!(r#"{{"store":"s{store}","item":"x","price":{price}.25,"ts":{ts}}}"#)
}

fn transaction(index: u32) -> String {
    let amount = if index % 5 == 3 { "\"much\"".to_owned() } else { format!("{index}.5") };
    format!(r#"{{"transaction_id":"t{index}","user_id":"u","amount":{amount},"type":"x"}}"#)
}

fn preset(name: &str) -> String {
    spec::preset(name).expect("the preset is there").to_owned()
}

/// Windows of sums behind a deduplication.
fn windows() -> String {
    let window = "[window]\nduration = \"30 seconds\"\n";
    let deduplicate = "[drop_duplicates]\ncolumns = [\"store\", \"ts\"]\nevent_time = true\n";
    let sales = preset("sales");
    assert!(sales.contains(window));
    sales.replace(window, &format!("{deduplicate}\n{window}"))
}

/// The same in Spark's ways, whose state is a log of changes.
fn compat() -> String {
    format!("compat = \"spark-4\"\n{}\n[spark]\nshuffle_partitions = 3\n", windows())
}

fn settings(spec_text: String) -> Settings {
    Settings {
        trigger: Trigger::AvailableNow,
        max_offsets: MaxOffsets::Limited(6),
        min_offsets: None,
        max_trigger_delay_ms: 900_000,
        starting_offsets: StartingOffsets::Earliest,
        permissions: Permissions::default(),
        startup_timeout: Some(Duration::ZERO),
        shutdown_timeout: Duration::from_secs(5),
        keep_dead_letters: true,
        fail_on_data_loss: true,
        output_chunk_bytes: 200,
        spec_text,
        brokers: "memory".to_owned(),
    }
}

impl Golden {
    fn make(spec_text: String, record: fn(u32) -> String) -> Golden {
        let memory = Path::new("/dev/shm");
        let home = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let home = home.expect("there is room");
        let mut golden = Golden {
            settings: settings(spec_text),
            record,
            older: Vec::new(),
            whole: Files::new(),
            expected: BTreeMap::new(),
            home,
        };
        for start in 1..=STARTS {
            let published = golden.run(start * RECORDS_A_START).expect("nothing is in its way");
            golden.expected.extend(published);
            golden.older.push(golden.files());
        }
        golden.whole = golden.older.pop().expect("there were starts");
        let next = golden.run((STARTS + 2) * RECORDS_A_START).expect("nothing is in its way");
        assert!(next.len() > 3, "there are batches to be wrong: {}", next.len());
        assert!(next.values().any(|batch| batch.rows.len() > 0), "with rows");
        golden.expected.extend(next);
        golden.restore();
        golden
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Reads everything up to so many records; what was published, by batch.
    fn run(&self, records: u32) -> Result<BTreeMap<u64, Publication>, EngineError> {
        let topic = MemoryTopic::new(2);
        for index in 0..records {
            let partition = i32::try_from(index % 2).expect("it is small");
            topic.append(Partition(partition), Some((self.record)(index).as_bytes()));
        }
        topic.set_records_at_once(Some(4));
        let sink = MemorySink::new("memory", Keeps::Nothing);
        let pipeline =
            spec::parse(&self.settings.spec_text, "sales").expect("it is right").pipeline;
        let examined = RocksCheckpoint::examine(&self.state())?;
        let recovered = examined.facts().clone();
        let source = match self.settings.takes_new_topic(&pipeline) {
            true => topic.following_source(),
            false => topic.source(),
        };
        let parts = Parts {
            pipeline,
            source: Box::new(source),
            recovered,
            open: Box::new(move || Ok(Box::new(examined.into_open()?))),
            sinks: vec![Box::new(sink.clone())],
            reporter: None,
            clock: &Fixed,
            stop: Stop::new(),
        };
        engine::run(parts, &self.settings)?;
        Ok(sink
            .published()
            .into_iter()
            .map(|batch| (batch.identity.batch.0, bare(batch)))
            .collect())
    }

    fn files(&self) -> Files {
        let mut files = Files::new();
        for directory in ["", "db"] {
            for entry in fs::read_dir(self.state().join(directory)).expect("it is there") {
                let path = entry.expect("it can be read").path();
                if path.is_file() {
                    let name = path.strip_prefix(self.state()).expect("it is below").to_owned();
                    files.insert(name, fs::read(&path).expect("it can be read"));
                }
            }
        }
        files
    }

    /// Puts the golden directory back.
    fn restore(&self) {
        self.put(&self.whole);
    }

    fn put(&self, files: &Files) {
        let state = self.state();
        if state.exists() {
            fs::remove_dir_all(&state).expect("it is ours");
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).recursive(true).create(state.join("db")).expect("it is ours");
        for (name, content) in files {
            fs::write(state.join(name), content).expect("there is room");
        }
    }
}

/// A publication without what differs from start to start.
fn bare(mut batch: Publication) -> Publication {
    batch.identity.incarnation = Incarnation(0);
    batch.identity.lineage = Lineage(0);
    batch.identity.digest = Digest::ZERO;
    batch.record.incarnation = Incarnation(0);
    batch.record.digest = Digest::ZERO;
    batch.record.previous = Digest::ZERO;
    batch.record.took_ms = 0;
    batch
}

/// What is tried right now, for the watchman.
static NOW: Mutex<Option<(Instant, String)>> = Mutex::new(None);

fn now_trying(what: Option<String>) {
    let mut now = NOW.lock().unwrap_or_else(PoisonError::into_inner);
    *now = what.map(|what| (Instant::now(), what));
}

/// Ends the tests when a trial does not end.
fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = NOW.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some((since, what)) = now
                    && since.elapsed() > LONGEST_TRIAL
                {
                    use std::io::Write as _;
                    let _ = writeln!(std::io::stderr(), "no end: {what}");
                    std::process::abort();
                }
            }
        });
    });
}

/// How the trials on one golden directory ended.
#[derive(Default)]
struct Counts {
    flipped: u64,
    cut: u64,
    removed: u64,
    replaced: u64,
    refused: u64,
    unharmed: u64,
}

struct Trials<'a> {
    golden: &'a Golden,
    counts: Counts,
}

impl Trials<'_> {
    /// Starts on what is there now; it refuses, or every batch is right.
    fn start(&mut self, what: &str) {
        now_trying(Some(what.to_owned()));
        let ended = std::panic::catch_unwind(|| self.golden.run((STARTS + 2) * RECORDS_A_START));
        now_trying(None);
        match ended.unwrap_or_else(|_| panic!("{what} ends in a panic")) {
            Err(error) => {
                let code = error.exit_code();
                assert!(matches!(code, 11..=13), "{what} ends with exit {code}: {error}");
                self.counts.refused += 1;
            }
            Ok(published) => {
                for (batch, publication) in &published {
                    let expected = self.golden.expected.get(batch);
                    assert!(Some(publication) == expected, "{what}: batch {batch} is another");
                }
                let last = self.golden.expected.keys().next_back();
                assert_eq!(published.keys().next_back(), last, "{what}: batches are missing");
                self.counts.unharmed += 1;
            }
        }
        self.golden.restore();
    }

    fn write(&mut self, name: &Path, content: &[u8], what: &str) {
        fs::write(self.golden.state().join(name), content).expect("there is room");
        self.start(&format!("{}: {what}", name.display()));
    }

    fn flip(&mut self, name: &Path, content: &[u8], places: impl Iterator<Item = usize>) {
        for at in places {
            // All bits, and one of them.
            for mask in [0xff, 1 << (at % 8)] {
                let mut damaged = content.to_vec();
                damaged[at] ^= mask;
                self.write(name, &damaged, &format!("byte {at} ^ {mask:#04x}"));
                self.counts.flipped += 1;
            }
        }
    }

    fn cut(&mut self, name: &Path, content: &[u8], lengths: impl Iterator<Item = usize>) {
        for length in lengths {
            self.write(name, &content[..length], &format!("cut at {length}"));
            self.counts.cut += 1;
        }
    }

    fn remove(&mut self, name: &Path) {
        fs::remove_file(self.golden.state().join(name)).expect("it was there");
        self.start(&format!("without {}", name.display()));
        self.counts.removed += 1;
    }

    /// Every file as it was after an earlier start, those that are gone by now brought back.
    fn replace_by_older(&mut self) {
        let golden = self.golden;
        for (start, files) in golden.older.iter().enumerate() {
            for (name, content) in files {
                if golden.whole.get(name) != Some(content) {
                    self.write(name, content, &format!("as after start {}", start + 1));
                    self.counts.replaced += 1;
                }
            }
        }
    }

    /// Every file in the place of every other.
    fn exchange(&mut self) {
        let golden = self.golden;
        for (name, content) in &golden.whole {
            for (other, others) in &golden.whole {
                if name < other && !is_note(name) && !is_note(other) && content != others {
                    fs::write(golden.state().join(other), content).expect("there is room");
                    self.write(name, others, &format!("exchanged with {}", other.display()));
                    self.counts.replaced += 1;
                }
            }
        }
    }
}

/// RocksDB's log of messages, which nothing reads.
fn is_note(name: &Path) -> bool {
    name.to_string_lossy().contains("LOG")
}

/// How many bytes apart samples are: closer where something is read.
fn stride(name: &Path) -> usize {
    let given = |short| {
        let stride = support::results::number("SALES_STREAM_DAMAGE_STRIDE", short, 1);
        usize::try_from(stride).expect("it is small").max(1)
    };
    match name.to_string_lossy() {
        // Every sample is a write of the same kind of text.
        name if name.contains("LOG") => given(20_011),
        name if name.contains("OPTIONS") => given(8_009),
        name if name == "visible" => given(613),
        _ => given(67),
    }
}

fn try_everything(what: &str, spec_text: String, record: fn(u32) -> String, families: &[&str]) {
    watch();
    let started = Instant::now();
    let golden = Golden::make(spec_text, record);
    let report = rocks::verify(&golden.state()).expect("it can be looked at");
    assert_eq!(report.problems, Vec::<String>::new());
    for family in families {
        assert!(report.values[family] > 0, "{what}: family {family} is empty");
    }
    let seed = support::results::number("SALES_STREAM_SEED", 1, 0);
    let first = usize::try_from(seed).expect("it is small");
    let mut trials = Trials { golden: &golden, counts: Counts::default() };
    trials.start("nothing");
    assert_eq!((trials.counts.unharmed, trials.counts.refused), (1, 0));
    for (name, content) in &golden.whole {
        let step = stride(name);
        let places = || (first % step..content.len()).step_by(step);
        trials.flip(name, content, places());
        trials.cut(name, content, places());
        trials.remove(name);
    }
    trials.replace_by_older();
    trials.exchange();
    let Counts { flipped, cut, removed, replaced, refused, unharmed } = trials.counts;
    assert!(refused > 50, "{what}: only {refused} were refused, {unharmed} unharmed");
    let counts = [
        ("bytes_flipped", flipped),
        ("truncations", cut),
        ("files_removed", removed),
        ("files_replaced", replaced),
        ("refused", refused),
        ("unharmed", unharmed),
    ];
    support::results::report("damage", seed, started, &counts);
}

#[test]
fn damage_to_windows_and_seen_keys_is_refused_or_harmless() {
    try_everything("windows", windows(), sale, &["meta", "offsets", "windows", "history"]);
}

#[test]
fn damage_to_stored_output_is_refused_or_harmless() {
    try_everything("output", preset("transactions"), transaction, &["meta", "outbox", "history"]);
}

#[test]
fn damage_to_a_log_of_changes_is_refused_or_harmless() {
    try_everything("compat", compat(), sale, &["meta", "order", "outbox", "history"]);
}
